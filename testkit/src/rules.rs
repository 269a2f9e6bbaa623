//! The rules of the write protocol by name, and how each is broken: by another order of steps or another judgement, by
//! other limits, or from outside, by what a process is shown of its store and when its store gets what it puts. The
//! product knows nothing of it. A rule that is broken must cost somebody something that the simulation notices.

use crate::wrapped::{Wrapped, Wrapper};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::backend::{Entry, Result as StoreResult, Stat, Store};
use vault::repository::lookup::PackRule;
use vault::repository::objects::marks::{Condemnation, Marks};
use vault::repository::objects::orders::State;
use vault::repository::protocol::{CommitStep, DeletionStep, Kept, Outlook, Protocol, Survival, SweepStep};
use vault::repository::{Options, Repository, Result};
use vault::time::StoreTime;
use vault_format::name::{INDEX, JOURNAL, Name, SNAPSHOTS};

/// One rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Packs are indexed before a snapshot that needs them is put (W2 before W4).
    IndexBeforeSnapshot,
    /// Marks are looked at before the commit (W3).
    LookBeforeCommit,
    /// A snapshot is put within the commit window after that look (W4).
    CommitWindow,
    /// Marks are looked at again after the commit (W5).
    LookAfterCommit,
    /// Only a young mark may name what a run relies on.
    YoungMarksOnly,
    /// A mark's age is taken on the store's clock.
    StoreClock,
    /// Time that passes while a run goes on, suspend included, counts.
    TimeGoesOn,
    /// A listing that shows fewer snapshots than others name stops a deleter.
    DoubtListings,
    /// What lives is looked at only once a mark is known to be old enough (S1 before S2).
    SurveyAfterAge,
    /// Orders are read again before a condemned snapshot is deleted.
    OrdersAgain,
    /// A held snapshot lives, whatever was forgotten.
    HeldIsLive,
    /// What lives in condemned packs is copied before they go (S3).
    RescueFirst,
    /// A copy in a pack that any mark names is no survivor.
    SurvivorOutsideMarks,
    /// Index objects without the condemned packs are there before anything is deleted (S4).
    IndexBeforeDelete,
    /// A mark outlives its sweep.
    KeepMarks,
    /// A run that began longer ago than marks are sure to be kept does not commit.
    RunLifetime,
}

impl Rule {
    pub const ALL: [Self; 16] = [
        Self::IndexBeforeSnapshot,
        Self::LookBeforeCommit,
        Self::CommitWindow,
        Self::LookAfterCommit,
        Self::YoungMarksOnly,
        Self::StoreClock,
        Self::DoubtListings,
        Self::SurveyAfterAge,
        Self::OrdersAgain,
        Self::HeldIsLive,
        Self::RescueFirst,
        Self::SurvivorOutsideMarks,
        Self::IndexBeforeDelete,
        Self::KeepMarks,
        Self::TimeGoesOn,
        Self::RunLifetime,
    ];

    /// The options of a process that breaks it. If the life of a run is the rule, one that only takes snapshots has no
    /// end of it; who deletes keeps marks for as long as ever.
    pub fn options(self, kept: Options, is_writer: bool) -> Options {
        let mut options = Options { protocol: Arc::new(Broken(self)), ..kept };
        if self == Self::RunLifetime && is_writer {
            options.run_lifetime = Duration::from_hours(1_000_000);
        }
        options
    }

    /// The store as a process has it that breaks the rule.
    pub fn store(self, store: Arc<dyn Store>, is_writer: bool) -> Arc<dyn Store> {
        match self {
            Self::IndexBeforeSnapshot if !is_writer => store,
            Self::IndexBeforeSnapshot | Self::StoreClock | Self::DoubtListings => {
                Arc::new(Wrapped(Bent { inner: store, rule: self, held_back: Mutex::default() }))
            }
            _ => store,
        }
    }
}

/// The protocol with another order of steps, or another judgement.
#[derive(Debug)]
struct Broken(Rule);

impl Protocol for Broken {
    fn commit(&self) -> &'static [CommitStep] {
        match self.0 {
            Rule::LookBeforeCommit => &[CommitStep::Put, CommitStep::Look],
            Rule::CommitWindow => &[CommitStep::Look, CommitStep::Put, CommitStep::Look],
            Rule::LookAfterCommit => &[CommitStep::LookInTime, CommitStep::Put],
            _ => Kept.commit(),
        }
    }

    fn sweep(&self) -> &'static [SweepStep] {
        use SweepStep::{Close, Delete, FindRipe, Rescue, SpareTakenBack, Survey};
        match self.0 {
            Rule::SurveyAfterAge => &[Survey, FindRipe, SpareTakenBack, Rescue, Delete, Close],
            Rule::OrdersAgain => &[FindRipe, Survey, Rescue, Delete, Close],
            Rule::RescueFirst => &[FindRipe, Survey, SpareTakenBack, Delete, Close],
            _ => Kept.sweep(),
        }
    }

    fn deletion(&self) -> &'static [DeletionStep] {
        use DeletionStep::{DeleteCondemned, DeleteIndexes, PutIndexes};
        match self.0 {
            Rule::IndexBeforeDelete => &[DeleteIndexes, DeleteCondemned, PutIndexes],
            _ => Kept.deletion(),
        }
    }

    fn is_young(&self, mark: &Condemnation, now: StoreTime) -> bool {
        self.0 == Rule::YoungMarksOnly || Kept.is_young(mark, now)
    }

    fn is_live(&self, state: &State) -> bool {
        if self.0 == Rule::HeldIsLive { !state.is_forgotten() } else { Kept.is_live(state) }
    }

    /// Broken: it is enough that each mark by itself leaves a copy.
    fn survival(&self, ripe: &[Condemnation], outlook: Outlook<'_>) -> Result<Survival> {
        if self.0 != Rule::SurvivorOutsideMarks {
            return Kept.survival(ripe, outlook);
        }
        for mark in ripe {
            if outlook(PackRule::THERE.without(&mark.packs))? == Survival::No {
                return Ok(Survival::No);
            }
        }
        Ok(Survival::Sure)
    }

    fn store_time(&self, told: StoreTime, passed: Duration) -> StoreTime {
        if self.0 == Rule::TimeGoesOn { told } else { Kept.store_time(told, passed) }
    }
}

/// A store that shows a process less than there is, or gets what it puts in another order.
struct Bent {
    inner: Arc<dyn Store>,
    rule: Rule,
    /// Index objects that were put and wait for a snapshot.
    held_back: Mutex<VecDeque<(String, Vec<u8>)>>,
}

impl Wrapper for Bent {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn put(&self, name: &str, bytes: &[u8]) -> StoreResult<()> {
        if self.rule == Rule::IndexBeforeSnapshot && name.starts_with(INDEX) {
            self.held_back.lock().unwrap().push_back((name.to_owned(), bytes.to_vec()));
            return Ok(());
        }
        self.inner.put(name, bytes)?;
        if !name.starts_with(SNAPSHOTS) {
            return Ok(());
        }
        let held_back = std::mem::take(&mut *self.held_back.lock().unwrap());
        held_back.iter().try_for_each(|(name, bytes)| self.inner.put(name, bytes))
    }

    fn stat(&self, name: &str) -> StoreResult<Stat> {
        let stat = self.inner.stat(name)?;
        Ok(if self.rule == Rule::StoreClock { Stat { modified: None, ..stat } } else { stat })
    }

    fn list(&self, prefix: &str) -> StoreResult<Vec<Entry>> {
        match self.rule {
            Rule::DoubtListings if prefix == JOURNAL => Ok(Vec::new()),
            _ => self.inner.list(prefix),
        }
    }
}

/// Deletes the marks that were carried out, as nobody may before every run is over that relies on what they named.
pub fn drop_marks(repository: &Repository) -> Result<()> {
    for mark in Marks::load(repository)?.condemnations.iter().filter(|mark| mark.swept) {
        repository.backend().delete(&Name::Mark(mark.id).to_string())?;
    }
    Ok(())
}
