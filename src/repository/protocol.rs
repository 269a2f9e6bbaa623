//! The protocol in one place: in which order the steps of a commit, a sweep and its deletions come, and the judgements
//! on which deleting rests. `Kept` is the one implementation that vault runs; whoever overrides a method breaks the rule
//! that it states, which the simulation does one at a time to see that the loss is noticed. What a step does is told
//! where it is done. SPEC section 23 says why this order and these judgements suffice.

use crate::repository::Result;
use crate::repository::lookup::PackRule;
use crate::repository::objects::marks::Condemnation;
use crate::repository::objects::orders::State;
use crate::time::StoreTime;
use std::fmt;
use std::time::Duration;

/// A step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStep {
    /// Every mark that names what is relied on must be young, and this is known within the commit window.
    LookInTime,
    /// The object is put.
    Put,
    /// Every mark that names what is relied on must still be young.
    Look,
}

/// A step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepStep {
    /// Which marks are old enough. Without any the sweep is over.
    FindRipe,
    /// The look at all that lives.
    Survey,
    /// Snapshots that were taken back since they were condemned stay.
    SpareTakenBack,
    /// What lives in condemned packs, and has no other place, is copied.
    Rescue,
    /// What was condemned is deleted.
    Delete,
    /// The marks are told to be carried out.
    Close,
}

/// A step of the deletions of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionStep {
    /// Index objects without the condemned packs are put; on a full disk some have to wait.
    PutIndexes,
    /// Index objects that others replace by now are deleted.
    DeleteIndexes,
    /// Snapshots, then packs are deleted.
    DeleteCondemned,
    /// What had to wait has room now.
    PutWaiting,
}

/// Whether a blob stays readable once condemned packs are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// It does.
    Sure,
    /// Somebody says so, who may only know its id.
    Claimed,
    /// It does not.
    No,
}

/// Tells what becomes of a blob if only the packs are left that count by a rule.
pub type Outlook<'a> = &'a dyn Fn(PackRule<'_>) -> Result<Survival>;

/// The order of steps and the judgements, each method with the rule that it states.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// W3 to W5: marks are looked at before and after an object is put by which something becomes live.
    fn commit(&self) -> &'static [CommitStep] {
        &[CommitStep::LookInTime, CommitStep::Put, CommitStep::Look]
    }

    /// S1 to S5: ages come before the look at what lives, so that a commit which a mark's age allowed is seen.
    fn sweep(&self) -> &'static [SweepStep] {
        use SweepStep::{Close, Delete, FindRipe, Rescue, SpareTakenBack, Survey};
        &[FindRipe, Survey, SpareTakenBack, Rescue, Delete, Close]
    }

    /// S4: whatever stays is told of by some index object at any moment.
    fn deletion(&self) -> &'static [DeletionStep] {
        use DeletionStep::{DeleteCondemned, DeleteIndexes, PutIndexes, PutWaiting};
        &[PutIndexes, DeleteIndexes, DeleteCondemned, PutWaiting]
    }

    /// W3, W5: a mark's sweep is far enough away to see what is committed at `now`.
    fn is_young(&self, mark: &Condemnation, now: StoreTime) -> bool {
        mark.is_young_at(now)
    }

    /// The owner has not forgotten the snapshot, or holds it.
    fn is_live(&self, state: &State) -> bool {
        !state.is_forgotten() || state.is_held()
    }

    /// S3: a blob must outlive the ripe marks in packs that no mark names, ripe or not: the others are carried out too.
    fn survival(&self, _ripe: &[Condemnation], outlook: Outlook<'_>) -> Result<Survival> {
        outlook(PackRule::OUTSIDE_MARKS)
    }

    /// The store's clock, so long after it told `told`: all time counts, suspend included.
    fn store_time(&self, told: StoreTime, passed: Duration) -> StoreTime {
        told + passed
    }
}

/// Every rule as it is stated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept;

impl Protocol for Kept {}
