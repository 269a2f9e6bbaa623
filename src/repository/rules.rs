//! The rules of the write protocol that keep data safe, by name. Each is obeyed in exactly one place, which asks
//! [`Options::keeps`](super::Options::keeps) first, so that the simulation can break one at a time and prove that it
//! would notice. Builds without debug assertions keep every rule, whatever the options say.

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
    /// Orders are listed after the index objects that a run believes.
    OrdersAfterIndex,
}
