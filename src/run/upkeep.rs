//! What the repository itself needs when it is due: the plan stored as a source of its own, check, forget, prune, and the
//! second places. Only the owner forgets and prunes; for another key both are skipped, which is no failure.

use super::choice::{later, reason};
use super::lock::{self, Lock};
use super::probing;
use super::stored_plan;
use super::{Context, Next, Outcome, Task};
use crate::due::{Due, Schedule};
use crate::error::Result;
use crate::history::{History, Runs};
use crate::operation::{self, Ending, Operation, Run};
use crate::plan::{CopyTo, PLAN_NAME, Plan, Source};
use crate::retention::{Policy, TimeZone};
use crate::size::Share;
use crate::{check, copy, forget, prune};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use vault_format::bundle::Role;

/// How soon a task that failed is tried again.
const RETRY: Duration = Duration::from_mins(10);
/// How many plans are kept.
const PLANS_KEPT: u32 = 30;

/// What was done, and what is next.
#[derive(Default)]
pub struct Upkeep {
    pub tasks: Vec<Task>,
    pub next: Vec<Next>,
}

/// Everything that is due.
pub fn run(context: &Context<'_>, history: &History) -> Result<Upkeep> {
    let mut upkeep = Upkeep::default();
    upkeep.tasks.extend(stored_plan::store(context, history));
    let maintenance = &context.plan.maintenance;
    let is_owner = context.repository.keys().role() == Role::Owner;
    let reads = context.repository.keys().role() != Role::Writer || maintenance.read_data == Share::Nothing;
    let needs_owner = (!is_owner).then_some("it needs the owner's key");
    let needs_reader = (!reads).then_some("this key can't read data");
    let forget = |context: &Context<'_>| forgotten(context, history);
    let all: [Job<'_>; 3] = [
        Job { operation: Operation::CHECK, every: maintenance.check, refused: needs_reader, act: &checked },
        Job { operation: Operation::FORGET, every: maintenance.forget, refused: needs_owner, act: &forget },
        Job { operation: Operation::PRUNE, every: maintenance.prune, refused: needs_owner, act: &pruned },
    ];
    for Job { operation, every, refused, act } in all {
        context.repository.runtime().check_stopped()?;
        let (Some(every), name) = (every, operation::name(operation)) else { continue };
        match refused {
            Some(why) => upkeep.tasks.push(Task::new(name, Outcome::Skipped, why)),
            None => upkeep.if_due(context, (name, every), history.task(name, ""), act),
        }
    }
    if context.plan.health.no_delete {
        // each machine has credentials of its own
        let actor = &context.repository.options().actor.name;
        let own = history.task(operation::name(Operation::PROBE), &context.plan.name).map(|runs| runs.by(actor));
        let own = own.unwrap_or_default();
        upkeep.if_due(context, ("probe", probing::every(&own)), Some(&own), &probing::probe);
    }
    for place in &context.plan.copies {
        context.repository.runtime().check_stopped()?;
        let Some(every) = place.every else { continue };
        let runs = history.task(operation::name(Operation::COPY), &place.name);
        upkeep.if_due(context, (&format!("copy {}", place.name), every), runs, &|context| copied(context, place));
    }
    Ok(upkeep)
}

/// What the plan wants done from time to time.
struct Job<'j> {
    operation: Operation,
    every: Option<Duration>,
    /// Why this key can't.
    refused: Option<&'static str>,
    act: &'j dyn Fn(&Context<'_>) -> Did,
}

/// How something ended, in one line.
type Did = std::result::Result<(Outcome, String), String>;

impl Task {
    /// One that ended so.
    pub(super) fn new(task: &str, outcome: Outcome, message: impl Into<String>) -> Self {
        Self { task: task.to_owned(), outcome, message: message.into() }
    }
}

impl Upkeep {
    fn if_due(
        &mut self,
        context: &Context<'_>,
        (name, every): (&str, Duration),
        runs: Option<&Runs>,
        act: &dyn Fn(&Context<'_>) -> Did,
    ) {
        let schedule = Schedule { every: Some(every), at: Vec::new(), retry: RETRY, zone: context.zone() };
        let attempts = runs.map(Runs::attempts).unwrap_or_default();
        let due = match schedule.judge(&attempts, context.now()) {
            _ if context.options.all => Due::First,
            due => due,
        };
        if !due.is_now() {
            return self.next.push(later(name, &due, context.now()));
        }
        if context.options.dry_run {
            return self.tasks.push(Task::new(name, Outcome::Due, reason(&due)));
        }
        let lock = lock::take(
            context.machine.locks.as_deref(),
            context.repository.id(),
            &format!("-{}", name.replace(' ', "-")),
        );
        if matches!(lock, Lock::Busy) {
            return self.tasks.push(Task::new(name, Outcome::Busy, "another run of it is going on"));
        }
        self.tasks.push(match act(context) {
            Ok((outcome, message)) => Task::new(name, outcome, message),
            Err(error) => Task::new(name, Outcome::Failed, error),
        });
    }
}

fn checked(context: &Context<'_>) -> Did {
    let options = check::Options { read: context.plan.maintenance.read_data, ..check::Options::default() };
    let report = check::check(context.repository, &options, context.progress).map_err(|error| error.to_string())?;
    match report.findings.as_slice() {
        [] => Ok((Outcome::Done, format!("no damage in {} packs", report.packs))),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Err(format!("{}: {}{more}", first.object, first.problems.join("; ")))
        }
    }
}

fn forgotten(context: &Context<'_>, history: &History) -> Did {
    let rules = rules(context.plan, history, context.zone());
    let report =
        forget::by_plan(context.repository, &rules, &forget::Options::default()).map_err(|error| error.to_string())?;
    let mut told = vec![format!("{} of {} snapshots dropped", report.forgotten(), report.verdicts.len())];
    told.extend(report.left_out.iter().map(|one| format!("{} was left out: {}", one.source, one.hidden)));
    if !report.doubtful.is_empty() {
        let doubtful = report.doubtful.len();
        told.push(format!(
            "{doubtful} are kept since their times are in doubt: the owner has to say which time counts"
        ));
    }
    told.extend(report.notes);
    let outcome = if told.len() > 1 { Outcome::Partial } else { Outcome::Done };
    Ok((outcome, told.join("; ")))
}

/// The rules of a plan, and what they must spare: while a size is suspect, the last good one before it.
pub fn rules(plan: &Plan, history: &History, zone: TimeZone) -> forget::PlanRules {
    let of = |source: &Source| Some((source.name.clone(), source.keep.clone()?));
    let mut policies: BTreeMap<String, Policy> = plan.sources.iter().filter_map(of).collect();
    policies.insert(PLAN_NAME.to_owned(), Policy { last: Some(PLANS_KEPT), ..Policy::default() });
    let spared = plan.sources.iter().filter_map(|source| history.source(&source.name)?.before_suspect());
    let spared = spared.map(|id| (id, "the last before a suspect one".to_owned())).collect();
    forget::PlanRules { policies, spared, zone }
}

fn pruned(context: &Context<'_>) -> Did {
    let report = prune::prune(context.repository, &prune::Options::default(), context.progress)
        .map_err(|error| error.to_string())?;
    let message = format!("{} packs deleted, {} condemned", report.swept.packs, report.marked.packs.len());
    match report.left_out.first() {
        None => Ok((Outcome::Done, message)),
        Some(one) => Ok((Outcome::Partial, format!("{message}; {} was left out: {}", one.name, one.doubt))),
    }
}

/// The record stands in the repository that is copied from: there its plan looks when the copy is due.
fn copied(context: &Context<'_>, place: &CopyTo) -> Did {
    let run = Run::start(context.repository, Operation::COPY);
    let result = copy_all(context, place);
    let ending = match &result {
        Ok(copied) => Ending::done_or_partial(copied.to_string(), !copied.failed.is_empty()),
        Err(_) => Ending::done(""),
    };
    let ending = Ending { source: place.name.clone(), ..ending };
    run.finish(&result, ending).into_iter().for_each(|warning| context.progress.note(&warning));
    let copied = result?;
    match copied.failed.first() {
        None => Ok((Outcome::Done, copied.to_string())),
        Some(first) => Err(format!("{copied}: {first}")),
    }
}

/// What came of all sources of one place.
#[derive(Default)]
struct Copied {
    snapshots: usize,
    stored: u64,
    failed: Vec<String>,
}

impl fmt::Display for Copied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} snapshots copied, {} bytes stored", self.snapshots, self.stored)?;
        if self.failed.is_empty() { Ok(()) } else { write!(out, ", {} not copied", self.failed.len()) }
    }
}

fn copy_all(context: &Context<'_>, place: &CopyTo) -> std::result::Result<Copied, String> {
    let to = (context.machine.open_copy)(place)?;
    let names = if place.sources.is_empty() { vec![None] } else { place.sources.iter().cloned().map(Some).collect() };
    let mut all = Copied::default();
    for name in names {
        let options = copy::Options { name, ..copy::Options::default() };
        let report = copy::copy(context.repository, &to, &options, context.progress);
        let report = report.map_err(|error| error.to_string())?;
        all.snapshots += report.copied.len();
        all.stored = all.stored.saturating_add(report.stored_bytes);
        all.failed.extend(report.failed.iter().map(ToString::to_string));
    }
    Ok(all)
}
