//! One operation on a repository from its start to its record in the journal: who runs it and why, when it began, what
//! came of it in figures, and when it starts over. Whatever leaves a record does it through a `Run`, so that all records
//! say the same things in the same words; names of operations and of figures are spelled here and nowhere else. A record
//! that can't be written is a warning, never a failure of the run that it tells of.

use crate::error::Result;
use crate::repository;
pub use crate::repository::Actor;
use crate::repository::Repository;
use crate::repository::objects::journal;
use crate::time::{self, BootTime, WallTime};
use std::fmt::Display;
use vault_format::facts::Facts;
use vault_format::id::{ObjectId, RunId};
use vault_format::journal::{Record, RunOutcome};

/// How often an operation begins in all, if others overtake it each time.
pub(crate) const TRIES: u32 = 3;

/// What leaves a record, by its name in the journal.
#[derive(Clone, Copy)]
pub(crate) struct Operation(&'static str);

impl Operation {
    pub const SNAPSHOT: Self = Self("snapshot");
    pub const RESTORE: Self = Self("restore");
    pub const CHECK: Self = Self("check");
    pub const PRUNE: Self = Self("prune");
    pub const FORGET: Self = Self("forget");
    pub const TAG: Self = Self("tag");
    pub const UNDELETE: Self = Self("undelete");
    pub const COPY: Self = Self("copy");
    pub const REPAIR: Self = Self("repair");
    pub const QUARANTINE: Self = Self("quarantine");
    pub const ADD_KEY: Self = Self("key add");
    pub const REMOVE_KEY: Self = Self("key remove");
    pub const PROBE: Self = Self("probe");
    pub const CHANGE_PASSWORD: Self = Self("key passwd");
    pub const JOURNAL: Self = Self("journal");
    pub const ACCEPT: Self = Self("accept");
    pub const RUN: Self = Self("run");
    pub const DRILL: Self = Self("drill");
    pub const ALERT: Self = Self("alert");
    pub const WAL: Self = Self("wal");
    pub const PLAN: Self = Self("plan");

    /// All of them.
    const ALL: [Self; 21] = [
        Self::SNAPSHOT,
        Self::RESTORE,
        Self::CHECK,
        Self::PRUNE,
        Self::FORGET,
        Self::TAG,
        Self::UNDELETE,
        Self::COPY,
        Self::REPAIR,
        Self::QUARANTINE,
        Self::ACCEPT,
        Self::ADD_KEY,
        Self::REMOVE_KEY,
        Self::CHANGE_PASSWORD,
        Self::JOURNAL,
        Self::RUN,
        Self::DRILL,
        Self::ALERT,
        Self::WAL,
        Self::PLAN,
        Self::PROBE,
    ];
}

/// What one operation is called in the journal.
pub(crate) fn name(operation: Operation) -> &'static str {
    operation.0
}

/// What operations are called in the journal.
pub fn names() -> impl Iterator<Item = &'static str> {
    Operation::ALL.into_iter().map(|operation| operation.0)
}

/// Kinds of figures, each with their names in the journal, which are those of the fields here, and in that order.
macro_rules! figures {
    ($($kind:ident { $($field:ident),* })*) => {
        /// What came of a run, in numbers.
        #[derive(Clone, Debug, Default)]
        pub(crate) enum Figures {
            #[default]
            None,
            $($kind { $($field: u64),* },)*
        }

        impl Figures {
            fn named(&self) -> Vec<(&'static str, u64)> {
                match self {
                    Self::None => Vec::new(),
                    $(Self::$kind { $($field),* } => vec![$((stringify!($field), *$field)),*],)*
                }
            }
        }
    };
}

figures! {
    Snapshot { read_bytes, added_bytes, stored_bytes, files }
    Restore { restored_bytes, restored_files }
    Check { findings, verified_packs, skipped_packs, read_bytes }
    Prune {
        deleted_packs, deleted_bytes, deleted_snapshots, rescued_blobs, condemned_packs, condemned_bytes,
        condemned_snapshots, read_bytes, written_bytes, live_bytes, held_bytes, loose_bytes
    }
    Forget { forgotten_snapshots, kept_snapshots }
    Undelete { copied_bytes }
    Copy { snapshots, added_bytes, stored_bytes }
    Repair { damaged_packs, indexed_packs, recovered_blobs, lost_blobs, stored_bytes }
}

/// What a run tells of its end.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The source that it concerned, empty if none.
    pub source: String,
    /// How it ended, unless by an error: then it failed.
    pub outcome: RunOutcome,
    /// A summary in one line; an error takes its place.
    pub message: String,
    pub figures: Figures,
    /// What else there is to tell that is bookkeeping, like the verdict of a drill.
    pub facts: Facts,
    /// The snapshot that it made, or that it was about.
    pub snapshot: Option<ObjectId>,
    /// Heads that it saw, and what it committed.
    pub heads: Vec<ObjectId>,
    /// Packs that it read and found good: a check need not read them again soon.
    pub verified: Vec<ObjectId>,
}

impl Ending {
    /// All is done, and there is nothing else to tell.
    pub fn done(message: impl Into<String>) -> Self {
        Self {
            source: String::new(),
            outcome: RunOutcome::Done,
            message: message.into(),
            figures: Figures::None,
            facts: Facts::default(),
            snapshot: None,
            heads: Vec::new(),
            verified: Vec::new(),
        }
    }

    /// The same, with something left out if `is_partial`.
    pub fn done_or_partial(message: impl Into<String>, is_partial: bool) -> Self {
        let outcome = if is_partial { RunOutcome::Partial } else { RunOutcome::Done };
        Self { outcome, ..Self::done(message) }
    }
}

/// An operation that has begun.
#[derive(Clone)]
#[must_use]
pub(crate) struct Run {
    repository: Repository,
    id: RunId,
    operation: Operation,
    started: WallTime,
    /// The same moment: the wall clock may be set meanwhile.
    began: BootTime,
}

impl Run {
    /// Begins an operation.
    pub fn start(repository: &Repository, operation: Operation) -> Self {
        let runtime = repository.runtime();
        Self {
            repository: repository.clone(),
            id: RunId(runtime.random()),
            operation,
            started: runtime.clock.now(),
            began: runtime.clock.elapsed(),
        }
    }

    /// What is worked on.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Names the run in its records, and in a snapshot that it takes.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Puts a record that says that the run has begun, and names snapshots that it saw: whoever deletes later must see
    /// them too. Unlike the last record this one is part of the protocol, so without it nothing goes on.
    pub fn announce(&self, heads: Vec<ObjectId>) -> repository::Result<()> {
        journal::put_begun(&self.repository, self.id, self.operation.0, heads).map(drop)
    }

    /// Calls `attempt` with the number of the try, and again if somebody changed meanwhile what it relied on: prune
    /// condemned it or swept it away, or the run took so long that nobody can tell. The last try's error stands.
    pub fn attempts<T>(&self, mut attempt: impl FnMut(u32) -> Result<T>) -> Result<T> {
        let mut number = 1;
        loop {
            match attempt(number) {
                Err(error) if error.is_overtaken() && number < TRIES => number += 1,
                ended => return ended,
            }
            self.repository.runtime().check_stopped()?;
        }
    }

    /// Puts the record of the run; returns what to tell the user if that was not possible.
    #[must_use]
    pub fn finish<T, E: Display>(self, result: &std::result::Result<T, E>, ending: Ending) -> Option<String> {
        let ending = match result {
            Ok(_) => ending,
            Err(error) => Ending { outcome: RunOutcome::Failed, message: error.to_string(), ..ending },
        };
        let put = self.conclude(ending);
        put.err().map(|error| format!("the journal record could not be written: {error}"))
    }

    /// Puts the record of a run that exists for its sake; returns its id.
    pub fn conclude(self, ending: Ending) -> repository::Result<ObjectId> {
        let Ending { source, outcome, message, figures, facts, snapshot, heads, verified } = ending;
        let Actor { name: actor, reason } = self.repository.options().actor.clone();
        let took = self.repository.runtime().clock.elapsed().since(self.began);
        let record = Record {
            run: self.id,
            operation: self.operation.0.to_owned(),
            source,
            started: self.started.nanoseconds(),
            duration: time::nanoseconds(took),
            outcome,
            message,
            reason,
            actor,
            figures: figures.named().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            facts,
            snapshot,
            heads,
            ..Record::default()
        };
        let name = journal::put_verified(&self.repository, &record, &verified)?;
        Ok(name.id().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    /// Reports of years read these names.
    #[test]
    fn figures_keep_their_names() {
        let names = |figures: Figures| figures.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
        let snapshot = Figures::Snapshot { read_bytes: 1, added_bytes: 2, stored_bytes: 3, files: 4 };
        assert_eq!(snapshot.named()[2], ("stored_bytes", 3));
        assert_eq!(names(snapshot), "read_bytes added_bytes stored_bytes files");
        assert_eq!(names(Figures::Restore { restored_bytes: 0, restored_files: 0 }), "restored_bytes restored_files");
        assert_eq!(
            names(Figures::Copy { snapshots: 0, added_bytes: 0, stored_bytes: 0 }),
            "snapshots added_bytes stored_bytes"
        );
        assert_eq!(names(Figures::Undelete { copied_bytes: 0 }), "copied_bytes");
    }
}
