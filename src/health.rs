//! Whether what a plan wants holds: each objective of each source, and those of the repository itself, judged by the
//! journal and the heads. Without a plan the journal implies what is usual: a source that came every hour is missed after
//! two. What this key or this version can't see is unknown and says so; it never passes for met.

mod figures;
mod source;
mod upkeep;

pub use figures::figures;

use crate::error::Result;
use crate::history::History;
use crate::operation::{self, Operation};
use crate::plan::Plan;
use crate::repository::Repository;
use crate::repository::objects::index_objects;
use crate::time::WallTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// In the record of a try to delete: whether the store let it.
pub const DELETES_FACT: &str = "deletes";
/// A machine that has not tried for so long is gone, and what it saw with it.
const DELETES_KNOWN: Duration = Duration::from_hours(7 * 24);

/// What is judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Aim {
    /// How old the newest good data is.
    Rpo,
    /// How long a restore takes.
    Rto,
    /// A restore was tried.
    Drill,
    /// What is stored was verified.
    Check,
    /// The newest is about as large as usual.
    Size,
    /// A run ends before the next is due.
    Duration,
    /// WAL is archived.
    Wal,
    /// There is room.
    Storage,
    /// The store refuses to delete.
    NoDelete,
    /// The second place is not behind.
    Copy,
    /// Clocks agree.
    Clock,
    /// The last run did not fail.
    Runs,
    /// Nothing is missing that others name.
    Chain,
}

impl Aim {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rpo => "rpo",
            Self::Rto => "rto",
            Self::Drill => "drill",
            Self::Check => "check",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Wal => "wal",
            Self::Storage => "storage",
            Self::NoDelete => "no_delete",
            Self::Copy => "copy",
            Self::Clock => "clock",
            Self::Runs => "runs",
            Self::Chain => "chain",
        }
    }
}

/// Whether it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It does.
    Met,
    /// It does not.
    Missed,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Unknown => "unknown",
        }
    }
}

/// One objective, judged.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Objective {
    /// Of which source or copy; empty for the repository.
    pub source: String,
    /// What is judged.
    pub aim: Aim,
    /// Whether it holds.
    pub status: Status,
    /// What was seen; empty if nothing was.
    pub observed: String,
    /// What was wanted.
    pub limit: String,
    /// Since when it is so.
    pub since: Option<WallTime>,
    /// In one line.
    pub message: String,
    /// The command that helps; empty if there is none.
    pub next: String,
    /// What was seen and what was wanted, in seconds, where it is a length of time.
    pub seconds: Option<(u64, u64)>,
    /// This version does not do what it would be judged by: no fault of anybody.
    pub is_later: bool,
}

impl Objective {
    fn new(source: &str, aim: Aim, status: Status, message: impl Into<String>) -> Self {
        let (observed, limit, next) = (String::new(), String::new(), String::new());
        let (source, message) = (source.to_owned(), message.into());
        Self { source, aim, status, observed, limit, since: None, message, next, seconds: None, is_later: false }
    }

    fn seen(self, observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self { observed: observed.into(), limit: limit.into(), ..self }
    }

    fn since(self, since: WallTime) -> Self {
        Self { since: Some(since), ..self }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }

    /// What this version can't do yet.
    fn later(source: &str, aim: Aim, what: &str) -> Self {
        Self {
            is_later: true,
            ..Self::new(source, aim, Status::Unknown, format!("{what} are not run by this version"))
        }
    }

    /// True if somebody should do something about it.
    pub fn is_fault(&self) -> bool {
        self.status != Status::Met && !self.is_later
    }
}

/// What can be seen besides the journal.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Seen {
    /// Bytes that are stored.
    pub stored: Option<u64>,
    /// Bytes that are free where they are stored.
    pub free: Option<u64>,
    /// How far the store's clock is from this one.
    pub skew: Option<Duration>,
    /// The store let a machine of the plan delete, when that was last tried.
    pub deletes: Option<bool>,
}

impl Seen {
    /// Looks at as much as a plan asks for: to see how much is stored takes a listing of all packs.
    pub fn of(repository: &Repository, history: &History, plan: Option<&Plan>) -> Result<Self> {
        let wants = |wants: &dyn Fn(&Plan) -> bool| plan.is_some_and(wants);
        let stored = if wants(&|plan| plan.repository.quota.is_some()) { Some(stored(repository)?) } else { None };
        let free = wants(&|plan| plan.alerts.storage_low.is_some()).then(|| repository.backend().free()).flatten();
        let now = repository.runtime().clock.now();
        let deletes = plan.filter(|plan| plan.health.no_delete).and_then(|plan| deletes(history, plan, now));
        Ok(Self { stored, free, skew: history.skew(), deletes })
    }
}

/// Whether the store let any machine of a plan delete: what each saw last, unless that is too long ago.
fn deletes(history: &History, plan: &Plan, now: WallTime) -> Option<bool> {
    let runs = history.task(operation::name(Operation::PROBE), &plan.name)?;
    let mut last: BTreeMap<&str, bool> = BTreeMap::new();
    for told in runs.all().iter().filter(|told| now.since(told.began) < DELETES_KNOWN) {
        if let Some(deletes) = told.facts.get(DELETES_FACT) {
            last.insert(&told.actor, deletes == "true");
        }
    }
    last.into_values().reduce(|one, other| one || other)
}

/// By what is judged.
pub struct Known<'k> {
    /// What is wanted; without it what the journal implies.
    pub plan: Option<&'k Plan>,
    /// What the journal tells.
    pub history: &'k History,
    /// What else can be seen.
    pub seen: Seen,
    /// When.
    pub now: WallTime,
}

/// Judges all objectives: sources as in the plan, then what concerns the repository.
pub fn judge(known: &Known<'_>) -> Vec<Objective> {
    let mut judged = match known.plan {
        Some(plan) => {
            let enabled = plan.sources.iter().filter(|source| source.enabled);
            enabled.flat_map(|source| source::judge(known, source)).collect()
        }
        None => source::implied(known),
    };
    judged.extend(upkeep::judge(known));
    judged
}

/// Bytes of all packs.
pub(crate) fn stored(repository: &Repository) -> Result<u64> {
    let packs = index_objects::list_packs(repository)?.0;
    Ok(packs.values().map(|(_, entry)| entry.size).sum())
}

/// A length of time in words, as short as it tells something: `3 h 10 min`, `12 days`.
pub fn spoken(length: Duration) -> String {
    let seconds = length.as_secs();
    let with = |whole: u64, unit: &str, rest: u64, small: &str| {
        if rest == 0 { format!("{whole} {unit}") } else { format!("{whole} {unit} {rest} {small}") }
    };
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => with(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::spoken;
    use std::time::Duration;

    #[test]
    fn lengths_are_short_and_tell_something() {
        for (seconds, words) in [
            (0, "0 s"),
            (90, "90 s"),
            (600, "10 min"),
            (3600, "60 min"),
            (7200, "2 h"),
            (11_400, "3 h 10 min"),
            (86_400, "24 h"),
            (1_036_800, "12 days"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), words);
        }
    }
}
