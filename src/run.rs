//! Makes true what a plan says: takes the sources that are due, one after the other, keeps the repository in order as
//! far as the key may, and fills the second places. What is due follows from the journal alone, so any machine with the
//! plan can go on where another stopped, and one line of cron is enough. One source that fails stops no other.

mod choice;
mod forecast;
mod hooks;
mod lock;
mod origin;
mod outage;
mod probing;
mod quota;
mod stored_plan;
mod survey;
mod taking;
mod telling;
mod trying;
mod upkeep;

use crate::alert::Signal;
use crate::backup::CompressedInput;
use crate::error::Result;
use crate::health;
use crate::history::History;
use crate::operation::{self, Operation};
use crate::plan::{CopyTo, Plan, Source};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::retention::TimeZone;
use crate::time::{BootTime, WallTime};
pub use forecast::{EXPECTED_MAX, expected};
pub use outage::{Outage, tell_of_outage};
use quota::Quota;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
pub use survey::{Surveyed, survey};
use telling::Pings;
pub use trying::{Tried, try_messages};
pub use upkeep::rules;
use vault_format::id::ObjectId;
use vault_format::journal::RunOutcome;

/// The longest time for which nothing is looked at: what others give may come too late meanwhile.
const QUIET_MAX: Duration = Duration::from_mins(15);

/// After this the journal is read again before a source is taken.
const LATE: Duration = Duration::from_mins(1);

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// These sources, due or not; empty for what is due.
    pub sources: Vec<String>,
    /// All, due or not.
    pub all: bool,
    /// A part of it.
    pub only: Option<Part>,
    /// Say what would run, and why.
    pub dry_run: bool,
    /// The sizes that are found are the usual ones from now on.
    pub accept: bool,
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Snapshots.
    Sources,
    /// Check, forget, prune, copies.
    Maintenance,
    /// Restores that are tried.
    Drills,
}

/// What the machine lends to a run: the library itself reads no environment.
pub struct Machine<'m> {
    /// All variables, for what the plan hands on of them.
    pub environment: Vec<(OsString, OsString)>,
    /// Name of the host.
    pub host: String,
    /// Who runs it.
    pub user: String,
    /// Folder for locks; `None`: two runs at once are harmless, only wasteful.
    pub locks: Option<PathBuf>,
    /// Folder for what can't flow.
    pub scratch: PathBuf,
    /// Zone where the plan names none.
    pub zone: TimeZone,
    /// Opens a second place of the plan.
    pub open_copy: &'m dyn Fn(&CopyTo) -> std::result::Result<Repository, String>,
}

impl Machine<'_> {
    /// A variable, if it is text.
    pub fn variable(&self, name: &str) -> Option<String> {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.to_str()).map(ToOwned::to_owned)
    }
}

/// How something ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As wished.
    Done,
    /// There was nothing new.
    Unchanged,
    /// With gaps.
    Partial,
    /// Not at all.
    Failed,
    /// Another run is at it.
    Busy,
    /// Not for this key, not by this version, or not any more.
    Skipped,
    /// It would be done.
    Due,
}

impl Outcome {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Skipped => "skipped",
            Self::Due => "due",
        }
    }
}

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Trouble {
    /// In our own words, which go to whoever is told.
    pub ours: String,
    /// With those of a program that failed: they may hold its secrets, or content, and are shown where it ran alone.
    pub all: String,
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self { ours: words.clone(), all: words }
    }
}

/// One source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// How that ended.
    pub outcome: Outcome,
    /// Why it was due.
    pub due: String,
    /// What it gave, or what stands for it.
    pub snapshot: Option<ObjectId>,
    /// Bytes of the source.
    pub bytes: u64,
    /// Bytes that were new.
    pub added_bytes: u64,
    /// Bytes that were stored.
    pub stored_bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// The usual size in bytes, if this one is suspect.
    pub suspect: Option<u64>,
    /// Why it failed.
    pub error: Option<Trouble>,
    /// When it is tried again, if it failed and is due by itself.
    pub again: Option<WallTime>,
    /// What is not in the snapshot, against the wish.
    pub failed: Vec<Trouble>,
    /// Worth knowing.
    pub notes: Vec<String>,
    /// Those notes that say how the next runs become cheaper: each is said once.
    pub advice: Vec<String>,
    /// What was compressed before it was read, and stored: what added most, first.
    pub compressed: Vec<CompressedInput>,
    /// Its record is written.
    is_on_record: bool,
    /// Pings that did not arrive.
    unheard: Vec<String>,
}

impl Taken {
    fn new(source: &Source, why: &str) -> Self {
        Self {
            name: source.name.clone(),
            kind: source.kind.name(),
            outcome: Outcome::Failed,
            due: why.to_owned(),
            snapshot: None,
            bytes: 0,
            added_bytes: 0,
            stored_bytes: 0,
            duration: Duration::ZERO,
            suspect: None,
            error: None,
            again: None,
            failed: Vec::new(),
            notes: Vec::new(),
            advice: Vec::new(),
            compressed: Vec::new(),
            is_on_record: false,
            unheard: Vec::new(),
        }
    }
}

/// Something that the repository needs, or a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Task {
    /// `check`, `forget`, `prune`, `probe`, `copy NAME`, `plan`.
    pub task: String,
    /// How that ended.
    pub outcome: Outcome,
    /// In one line.
    pub message: String,
}

/// What is next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Next {
    /// Name of a source, or a task.
    pub name: String,
    /// When; `None`: when its name is said.
    pub due: Option<WallTime>,
    /// Why not now.
    pub why: String,
}

/// What was done.
#[derive(Clone, Debug)]
#[must_use = "it tells what failed"]
#[non_exhaustive]
pub struct Report {
    /// When it began.
    pub started: WallTime,
    /// How long it took.
    pub duration: Duration,
    /// Sources.
    pub sources: Vec<Taken>,
    /// Everything else.
    pub maintenance: Vec<Task>,
    /// What is not due.
    pub next: Vec<Next>,
    /// What should be seen and is no failure: an alert that could not be sent.
    pub notes: Vec<String>,
    /// Objectives that are missed, or that nobody could judge.
    faults: usize,
}

impl Report {
    fn new(started: WallTime) -> Self {
        let (sources, maintenance, next, notes) = Default::default();
        Self { started, duration: Duration::ZERO, sources, maintenance, next, notes, faults: 0 }
    }

    /// True if something failed.
    pub fn has_failed(&self) -> bool {
        let outcomes = self.sources.iter().map(|one| one.outcome).chain(self.maintenance.iter().map(|one| one.outcome));
        outcomes.into_iter().any(|outcome| outcome == Outcome::Failed)
    }

    /// True if something was taken with gaps, or a task has left something out.
    pub fn has_gaps(&self) -> bool {
        let mut outcomes =
            self.sources.iter().map(|one| one.outcome).chain(self.maintenance.iter().map(|one| one.outcome));
        outcomes.any(|outcome| outcome == Outcome::Partial)
    }
}

/// What all parts of one run share.
struct Context<'r> {
    repository: &'r Repository,
    plan: &'r Plan,
    machine: &'r Machine<'r>,
    options: &'r Options,
    progress: &'r dyn Progress,
    /// When the journal was read by which sources are chosen.
    began: BootTime,
}

impl Context<'_> {
    /// The journal was read so long ago that somebody else may well have done something since.
    fn is_late(&self) -> bool {
        self.repository.runtime().clock.elapsed().since(self.began) >= LATE
    }

    fn zone(&self) -> TimeZone {
        self.plan.timezone.clone().unwrap_or_else(|| self.machine.zone.clone())
    }

    fn now(&self) -> WallTime {
        self.repository.runtime().clock.now()
    }

    /// Until when the last run found nothing to do, if this machine remembers, and nothing else is asked for.
    fn quiet_until(&self) -> Option<WallTime> {
        let Options { sources, all, only, dry_run, accept } = self.options;
        let is_plain = sources.is_empty() && !all && only.is_none() && !dry_run && !accept;
        self.repository.cache().filter(|_| is_plain)?.quiet(&self.plan.digest, self.now())
    }

    /// Remembers that, if all is well: what is not is looked at again each time.
    fn note_quiet(&self, report: &Report) {
        let Options { sources, all, only, dry_run, accept } = self.options;
        let is_plain = sources.is_empty() && !all && only.is_none() && !accept;
        let is_busy = report.sources.iter().any(|taken| taken.outcome == Outcome::Busy);
        let is_well = !report.has_failed() && !report.has_gaps() && report.notes.is_empty() && report.faults == 0;
        let Some(cache) = self.repository.cache().filter(|_| !dry_run) else { return };
        let now = self.now();
        // what was taken just now is due again, and nobody has asked when
        let next = choice::next_of(self, report).into_iter().chain(report.next.iter().filter_map(|next| next.due));
        let next = next.min().unwrap_or(WallTime::MAX).min(now + QUIET_MAX);
        cache.note_quiet(&self.plan.digest, now, if is_plain && is_well && !is_busy { next } else { now });
    }

    fn wants(&self, part: Part) -> bool {
        self.options.only.is_none_or(|only| only == part)
    }
}

/// Runs what is due, or what is named. Fails only if the repository can't be read, or a name is not in the plan.
pub fn run(
    repository: &Repository,
    plan: &Plan,
    machine: &Machine<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    let clock = &repository.runtime().clock;
    let (started, began) = (clock.now(), clock.elapsed());
    let context = Context { repository, plan, machine, options, progress, began };
    let (pings, mut quota) = (Pings::new(&context), Quota::of(&context));
    let ping = plan.alerts.ping_env.as_ref().filter(|_| !options.dry_run);
    if let Some(until) = context.quiet_until() {
        let left = health::spoken(until.since(started));
        let why = format!("all was looked at lately, next in {left}");
        let next = vec![Next { name: plan.name.clone(), due: Some(until), why }];
        // whoever waits for a sign of each run gets one of this run, too
        let notes = pings.send(ping, Signal::Success, "done").into_iter().collect();
        return Ok(Report { next, notes, ..Report::new(started) });
    }
    let history = History::read(repository)?;
    let mut report = Report::new(started);
    let chosen = choice::choose(&context, &history)?;
    report.next.extend(chosen.later);
    if context.wants(Part::Sources) {
        if !chosen.sets.is_empty() {
            report.notes.extend(pings.send(ping, Signal::Start, "begun"));
        }
        for set in &chosen.sets {
            for one in &set.sources {
                repository.runtime().check_stopped()?;
                let mut taken = taking::take(&context, &history, (&pings, &mut quota), (one, set.id));
                report.notes.append(&mut taken.unheard);
                report.sources.push(taken);
            }
        }
    }
    if context.wants(Part::Maintenance) && options.sources.is_empty() {
        let upkeep = upkeep::run(&context, &history)?;
        report.maintenance = upkeep.tasks;
        report.next.extend(upkeep.next);
    }
    if !options.dry_run {
        let failed = failure(&context, &history, &report);
        let signal = if failed.is_some() { Signal::Fail } else { Signal::Success };
        let line = failed.clone().unwrap_or_else(|| "done".to_owned());
        report.notes.extend(pings.send(ping, signal, &line));
        let told = telling::tell(&context, &report, &history)?;
        report.notes.extend(told.notes);
        report.faults = told.faults + usize::from(failed.is_some());
    }
    report.next.sort_by_key(|next| next.due.unwrap_or(WallTime::MAX));
    report.duration = clock.elapsed().since(began);
    context.note_quiet(&report);
    Ok(report)
}

/// What a ping must not call well: what failed now, or failed the last time that it was tried.
fn failure(context: &Context<'_>, history: &History, report: &Report) -> Option<String> {
    let now = report.sources.iter().find_map(|taken| Some(format!("{}: {}", taken.name, taken.error.as_ref()?.ours)));
    let tasks = || report.maintenance.iter().find(|task| task.outcome == Outcome::Failed);
    let of_tasks = || tasks().map(|task| format!("{}: {}", task.task, task.message));
    let is_tried = |source: &&Source| report.sources.iter().any(|taken| taken.name == source.name);
    let before = || {
        let all = context.options.sources.is_empty() && context.wants(Part::Sources);
        let mut others = context.plan.sources.iter().filter(|one| all && one.enabled && !is_tried(one));
        others.find_map(|source| {
            let last = history.source(&source.name)?.last().filter(|last| last.outcome == RunOutcome::Failed)?;
            Some(format!("{}: {}", source.name, last.message))
        })
    };
    now.or_else(of_tasks).or_else(before).or_else(|| task_before(context, history, report))
}

/// A task of the plan that is not due yet, and failed the last time.
fn task_before(context: &Context<'_>, history: &History, report: &Report) -> Option<String> {
    let all = context.options.sources.is_empty() && context.wants(Part::Maintenance);
    let (plan, upkeep) = (context.plan, &context.plan.maintenance);
    let every =
        [(Operation::CHECK, upkeep.check), (Operation::FORGET, upkeep.forget), (Operation::PRUNE, upkeep.prune)];
    let tasks = every.into_iter().filter(|(_, every)| every.is_some()).map(|(task, _)| {
        let name = operation::name(task);
        (name.to_owned(), history.task(name, ""))
    });
    let copies = plan
        .copies
        .iter()
        .filter(|place| place.every.is_some())
        .map(|place| (format!("copy {}", place.name), history.task(operation::name(Operation::COPY), &place.name)));
    // what was tried, or is not for this key, was told above
    let is_named = |name: &str| report.maintenance.iter().any(|task| task.task == name);
    tasks.chain(copies).filter(|(name, _)| all && !is_named(name)).find_map(|(name, runs)| {
        let last = runs?.last().filter(|last| last.outcome == RunOutcome::Failed)?;
        Some(format!("{name}: {}", last.message))
    })
}
