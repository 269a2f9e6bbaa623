//! What is judged and what the journal tells, as figures for a monitor.

use super::{Known, Objective, Status};
use crate::check::OLDEST_FACT;
use crate::history::History;
use crate::metrics::{CopyFigures, Metrics, ObjectiveFigure, RepositoryFigures, RunCounts, SourceFigures};
use crate::operation::{self, Operation};
use crate::plan::{CopyTo, Plan, Source};
use crate::time::WallTime;
use vault_format::journal::RunOutcome;

/// All figures of a plan.
pub fn figures(plan: &Plan, known: &Known<'_>, judged: &[Objective]) -> Metrics {
    let (history, seen) = (known.history, known.seen);
    let domain = history.domain();
    let objective = |one: &Objective| ObjectiveFigure {
        source: one.source.clone(),
        domain: domain.clone(),
        objective: one.aim.name().to_owned(),
        is_met: one.status == Status::Met,
    };
    let quota_left = plan.repository.quota.zip(seen.stored).map(|(quota, stored)| quota.saturating_sub(stored));
    Metrics {
        plan: plan.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_up: true,
        sources: plan.sources.iter().filter(|source| source.enabled).map(|one| of_source(history, one)).collect(),
        // what this version does not judge has no series: it would be an alarm for ever
        objectives: judged.iter().filter(|one| !one.is_later).map(objective).collect(),
        clusters: Vec::new(),
        copies: plan.copies.iter().map(|copy| of_copy(history, copy)).collect(),
        repository: RepositoryFigures {
            stored_bytes: seen.stored.unwrap_or_default(),
            quota_bytes: plan.repository.quota,
            free_bytes: quota_left.or(seen.free),
            last_check: last_good(history, Operation::CHECK, ""),
            oldest_verified: oldest_verified(history),
        },
    }
}

fn last_good(history: &History, operation: Operation, concerned: &str) -> Option<WallTime> {
    history.task(operation::name(operation), concerned)?.last_good().map(|told| told.began)
}

/// As the newest check tells that does: since when all data was read, or stored.
pub(super) fn oldest_verified(history: &History) -> Option<WallTime> {
    let checks = history.task(operation::name(Operation::CHECK), "")?.all();
    let told = checks.iter().rev().find_map(|told| told.facts.get(OLDEST_FACT))?;
    told.parse().ok().and_then(WallTime::of)
}

fn of_copy(history: &History, copy: &CopyTo) -> CopyFigures {
    CopyFigures { copy: copy.name.clone(), last_success: last_good(history, Operation::COPY, &copy.name) }
}

fn of_source(history: &History, source: &Source) -> SourceFigures {
    let runs = history.source(&source.name).cloned().unwrap_or_default();
    let newest = runs.all().iter().rev().find(|told| matches!(told.outcome, RunOutcome::Done | RunOutcome::Partial));
    let figure = |name: &str| newest.and_then(|told| told.figures.get(name)).copied().unwrap_or_default();
    let mut counts = RunCounts::default();
    for told in runs.all() {
        let count = match told.outcome {
            RunOutcome::Done => &mut counts.done,
            RunOutcome::Unchanged => &mut counts.unchanged,
            RunOutcome::Partial => &mut counts.partial,
            RunOutcome::Failed => &mut counts.failed,
            RunOutcome::Busy => &mut counts.busy,
            RunOutcome::Skipped => &mut counts.skipped,
            RunOutcome::Begun => continue,
        };
        *count = count.saturating_add(1);
    }
    SourceFigures {
        source: source.name.clone(),
        domain: history.domain(),
        last_success: runs.last_good().map(|told| told.began),
        last_attempt: runs.last().map(|told| told.began),
        bytes: figure("read_bytes"),
        added_bytes: figure("added_bytes"),
        stored_bytes: figure("stored_bytes"),
        duration: runs.last().map(|told| told.took).unwrap_or_default(),
        snapshots: history.snapshots_of(&source.name),
        runs: counts,
        rpo: source.rpo,
        rto: source.rto,
        drill: None,
    }
}
