//! Which sources are taken now, why, and in which order. Sources of one set follow one another, databases first: what a
//! row points to must be stored after the row.

use super::{Context, Next, Options, Outcome, Report};
use crate::due::{Attempt, Due, Schedule};
use crate::error::{Error, Result};
use crate::health::spoken;
use crate::history::History;
use crate::plan::{Kind, Source};
use crate::retention::TimeZone;
use crate::time::WallTime;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use vault_format::id::SetId;

/// Whether a source is due.
pub fn due(zone: &TimeZone, source: &Source, history: &History, now: WallTime) -> Due {
    let attempts = history.source(&source.name).map(|runs| runs.attempts()).unwrap_or_default();
    schedule(zone, source).judge(&attempts, now)
}

/// When a source that began then and failed just now is tried again, if nobody asks for it before.
pub fn again(context: &Context<'_>, history: &History, source: &Source, began: WallTime) -> Option<WallTime> {
    let mut attempts = history.source(&source.name).map(|runs| runs.attempts()).unwrap_or_default();
    let now = context.now();
    attempts.push(Attempt { began, ended: now, is_good: false });
    match schedule(&context.zone(), source).judge(&attempts, now) {
        Due::Waiting(until, _) | Due::Later(until) => WallTime::of(until),
        Due::ByName => None,
        Due::First | Due::Slot(_) | Due::Again(_) => Some(now),
    }
}

/// What is taken, and what is not.
pub struct Choice<'p> {
    /// In order.
    pub sets: Vec<Set<'p>>,
    /// The others.
    pub later: Vec<Next>,
}

/// Sources that are taken together, or one.
pub struct Set<'p> {
    /// Drawn for this run, if the plan calls it a set.
    pub id: Option<SetId>,
    /// In order.
    pub sources: Vec<Chosen<'p>>,
}

/// A source that is taken.
pub struct Chosen<'p> {
    /// Which.
    pub source: &'p Source,
    /// Why now.
    pub why: String,
    /// Since it is due, and not since somebody asks for it.
    pub is_due: bool,
}

/// When a source is due.
pub fn schedule(zone: &TimeZone, source: &Source) -> Schedule {
    // what others give is never fetched
    let every = source.every.filter(|_| !matches!(source.kind, Kind::Stdin));
    Schedule { every, at: source.at.clone(), retry: source.retry, zone: zone.clone() }
}

/// Chooses.
pub fn choose<'p>(context: &Context<'p>, history: &History) -> Result<Choice<'p>> {
    let (plan, zone) = (context.plan, context.zone());
    for name in &context.options.sources {
        if plan.source(name).is_none() && !plan.copies.iter().any(|copy| copy.name == *name) {
            return Err(Error::refused(format!("the plan has no source {name}; it has {}", names(context))));
        }
    }
    let mut choice = Choice { sets: Vec::new(), later: Vec::new() };
    let mut by_set: BTreeMap<&str, usize> = BTreeMap::new();
    for source in &plan.sources {
        let (why, is_due) = match asked(context.options, source) {
            Asked::Not => continue,
            Asked::Always(why) => (why, false),
            Asked::IfDue => {
                let due = due(&zone, source, history, context.now());
                if !due.is_now() {
                    choice.later.push(later(&source.name, &due, context.now()));
                    continue;
                }
                (reason(&due), true)
            }
        };
        let chosen = Chosen { source, why, is_due };
        let at = source.set.as_deref().and_then(|set| by_set.get(set)).copied();
        match at.and_then(|at| choice.sets.get_mut(at)) {
            Some(set) => set.sources.push(chosen),
            None => {
                if let Some(set) = &source.set {
                    by_set.insert(set, choice.sets.len());
                }
                let id = source.set.as_ref().map(|_| SetId(context.repository.runtime().random()));
                choice.sets.push(Set { id, sources: vec![chosen] });
            }
        }
    }
    for set in &mut choice.sets {
        set.sources.sort_by_key(|chosen| !chosen.source.kind.is_database());
    }
    Ok(choice)
}

enum Asked {
    Not,
    IfDue,
    Always(String),
}

fn asked(options: &Options, source: &Source) -> Asked {
    let is_named = options.sources.contains(&source.name);
    match source.kind {
        Kind::Stdin if !is_named => Asked::Not,
        _ if is_named => Asked::Always("named".into()),
        _ if !options.sources.is_empty() || !source.enabled => Asked::Not,
        _ if options.all => Asked::Always("all are asked for".into()),
        _ => Asked::IfDue,
    }
}

fn names(context: &Context<'_>) -> String {
    let all: Vec<&str> = context.plan.sources.iter().map(|source| source.name.as_str()).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// When what was taken just now is due again.
pub fn next_of(context: &Context<'_>, report: &Report) -> Vec<WallTime> {
    let taken = report.sources.iter().filter_map(|taken| context.plan.source(&taken.name));
    let (now, zone) = (context.now(), context.zone());
    let attempt = [Attempt { began: report.started, ended: now, is_good: true }];
    let next = taken.filter_map(|source| match schedule(&zone, source).judge(&attempt, now) {
        Due::Later(until) | Due::Waiting(until, _) => WallTime::of(until),
        Due::ByName => None,
        Due::First | Due::Slot(_) | Due::Again(_) => Some(now),
    });
    // a task that was run may be due again at any time
    let tasks = report.maintenance.iter().any(|task| task.outcome == Outcome::Done).then_some(now);
    next.chain(tasks).collect()
}

/// Why it is due, in words.
pub fn reason(due: &Due) -> String {
    match due {
        Due::First => "never taken".into(),
        Due::Slot(begin) => format!("not taken since {}", moment(*begin)),
        Due::Again(1) => "the last run failed".into(),
        Due::Again(times) => format!("the last {times} runs failed"),
        Due::Later(_) | Due::Waiting(..) | Due::ByName => "not due".into(),
    }
}

/// When it is due, in words.
pub fn later(name: &str, due: &Due, now: WallTime) -> Next {
    let wait = |until: &Timestamp| spoken(WallTime::of(*until).map_or(Duration::ZERO, |until| until.since(now)));
    let (due, why) = match due {
        Due::Later(until) => (WallTime::of(*until), format!("due in {}", wait(until))),
        Due::Waiting(until, times) => {
            let row = if *times == 1 { String::new() } else { format!(" {times} times in a row") };
            (WallTime::of(*until), format!("failed{row}, tried again in {}", wait(until)))
        }
        Due::ByName => (None, "only by name".into()),
        Due::First | Due::Slot(_) | Due::Again(_) => (Some(now), "due".into()),
    };
    Next { name: name.to_owned(), due, why }
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
