//! The objectives of one source: how old its newest good data is, whether the last run failed, whether its size is usual,
//! whether its runs end in time.

use super::{Aim, Known, Objective, Status, spoken};
use crate::history::{Runs, Told};
use crate::plan::{Kind, Source};
use crate::size::rounded;
use std::time::Duration;
use vault_format::journal::RunOutcome;

/// How often a source is due that is never run from here.
const DAY: Duration = Duration::from_hours(24);
/// Fewer good runs imply nothing.
const IMPLYING: usize = 3;

/// Of a source of the plan.
pub fn judge(known: &Known<'_>, source: &Source) -> Vec<Objective> {
    let runs = known.history.source(&source.name).cloned().unwrap_or_default();
    let name = &source.name;
    let run = match source.kind {
        Kind::Stdin => format!("vault snapshot --name {name} --stdin {name}"),
        _ => format!("vault run {name}"),
    };
    let every = source.every.or_else(|| matches!(source.kind, Kind::Stdin).then_some(DAY));
    let mut judged = Vec::new();
    let limit = source.rpo.map(|rpo| (rpo, "RPO")).or_else(|| every.map(|every| (every * 2, "implied RPO")));
    let is_for_later = matches!(source.kind, Kind::PostgresBase(_));
    if let Some((limit, word)) = limit {
        let age = age(known, name, &runs, (limit, word));
        judged.push(if is_for_later { nobody_takes(source, age) } else { age.next(run.clone()) });
    }
    let until_now = runs.until(known.now);
    judged.extend(failures(name, &until_now).map(|one| one.next(run)));
    judged.extend(size(name, &until_now));
    judged.extend(every.and_then(|every| duration(name, &runs, every)));
    if source.rto.is_some() {
        judged.push(Objective::later(name, Aim::Rto, "drills, which measure how long a restore takes,"));
    }
    let wants_drill = known.plan.is_some_and(|plan| plan.health.drill_required) && source.kind.is_database();
    if source.drill.is_some() || wants_drill {
        judged.push(Objective::later(name, Aim::Drill, "drills"));
    }
    if is_for_later {
        judged.push(Objective::later(name, Aim::Wal, "base backups and WAL"));
    }
    judged
}

/// A kind that this version does not run: nothing is backed up, so it is no objective to wait for, but a miss.
fn nobody_takes(source: &Source, age: Objective) -> Objective {
    let (name, kind) = (&source.name, source.kind.name());
    let message = format!("{name}: nothing is backed up: sources of kind {kind} are not run by this version");
    Objective { status: Status::Missed, message, ..age }
        .next(format!("take it by another kind, or say `enabled = false` for {name}"))
}

/// Of all sources that the journal knows, by what it implies.
pub fn implied(known: &Known<'_>) -> Vec<Objective> {
    let mut judged = Vec::new();
    for (_, name, runs) in known.history.sources() {
        let begins: Vec<_> = runs.all().iter().filter(|told| told.is_good()).map(|told| told.began).collect();
        let mut gaps: Vec<_> = begins.iter().zip(begins.iter().skip(1)).map(|(one, next)| next.since(*one)).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().filter(|_| begins.len() >= IMPLYING);
        if let Some(usual) = usual {
            let next = format!("vault snapshot --name {name}");
            judged.push(age(known, name, runs, (usual * 2, "implied RPO")).next(next));
        }
        judged.extend(failures(name, runs));
        judged.extend(size(name, runs));
    }
    judged
}

/// Data is as old as the begin of the run that took it.
fn age(known: &Known<'_>, name: &str, runs: &Runs, (limit, word): (Duration, &str)) -> Objective {
    let is_there = |told: &&Told| told.snapshot.is_none_or(|id| known.history.is_visible(&id));
    let good = runs.all().iter().rev().filter(|told| told.is_good()).find(is_there);
    let wanted = spoken(limit);
    let Some(good) = good else {
        let message = format!("{name}: there is no snapshot; {word} {wanted}");
        return Objective::new(name, Aim::Rpo, Status::Missed, message).seen("no snapshot", wanted);
    };
    let age = known.now.since(good.began);
    let observed = spoken(age);
    let observed = if age > limit && observed == wanted { format!("more than {observed}") } else { observed };
    let (status, since) = if age > limit { (Status::Missed, good.began + limit) } else { (Status::Met, good.began) };
    let message = format!("{name}: newest snapshot is {observed} old, {word} {wanted}");
    let judged = Objective::new(name, Aim::Rpo, status, message).seen(observed, wanted).since(since);
    Objective { seconds: Some((age.as_secs(), limit.as_secs())), ..judged }
}

/// Whether the last run failed, and since when.
fn failures(name: &str, runs: &Runs) -> Option<Objective> {
    let last = runs.last()?;
    let failed: Vec<&Told> = runs.all().iter().rev().take_while(|told| !told.is_good()).collect();
    let Some(first) = failed.last() else {
        let message = if last.outcome == RunOutcome::Partial {
            format!("{name}: the last run left something out: {}", last.message)
        } else {
            format!("{name}: the last run is done")
        };
        return Some(Objective::new(name, Aim::Runs, Status::Met, message).since(last.began));
    };
    let times = if failed.len() == 1 { String::new() } else { format!(" {} times", failed.len()) };
    let message = format!("{name}: failed{times}: {}", last.message);
    let judged = Objective::new(name, Aim::Runs, Status::Missed, message).since(first.began);
    Some(judged.seen(format!("{} failed", failed.len()), "0 failed"))
}

fn size(name: &str, runs: &Runs) -> Option<Objective> {
    let stored =
        || runs.all().iter().rev().filter(|told| matches!(told.outcome, RunOutcome::Done | RunOutcome::Partial));
    let taken = stored().next()?;
    let bytes = rounded(taken.bytes());
    let Some(usual) = taken.suspect() else {
        let message = format!("{name}: its size is usual, {bytes}");
        return Some(Objective::new(name, Aim::Size, Status::Met, message).seen(bytes, "as usual").since(taken.began));
    };
    let (percent, usual) = (taken.bytes().saturating_mul(100).checked_div(usual).unwrap_or_default(), rounded(usual));
    let message = format!("{name}: newest snapshot has {bytes}, {percent} % of the usual {usual}");
    // several in a row are one trouble
    let first = stored().take_while(|told| told.suspect().is_some()).last().unwrap_or(taken);
    let judged = Objective::new(name, Aim::Size, Status::Missed, message).seen(bytes, usual).since(first.began);
    Some(judged.next(format!("vault run {name} --accept")))
}

/// A run that takes longer than the time to the next can't keep up.
fn duration(name: &str, runs: &Runs, every: Duration) -> Option<Objective> {
    let last = runs.last_good()?;
    let (took, limit) = (spoken(last.took), spoken(every));
    let status = if last.took > every { Status::Missed } else { Status::Met };
    let message = format!("{name}: the last run took {took}; it is due every {limit}");
    Some(Objective::new(name, Aim::Duration, status, message).seen(took, limit).since(last.began))
}
