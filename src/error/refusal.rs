//! Why a request is refused though nothing is wrong with the repository: it names what is not there, or asks for what
//! would lose something. A refusal says what stands in the way, as data where the way out depends on it. The way out
//! itself is the caller's: the command line names a command, another program has a button for it.

use crate::repository;
use vault_format::id::ObjectId;

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// What is said of a forgotten snapshot changes nothing: it must be taken back first.
    #[error("snapshot {} is forgotten", .0.short())]
    Forgotten(ObjectId),
    /// Somebody else forgot the snapshot after it was looked at.
    #[error("snapshot {} was forgotten meanwhile", .0.short())]
    ForgottenMeanwhile(ObjectId),
    /// A held snapshot can't be forgotten.
    #[error("snapshot {} is held", .0.short())]
    Held(ObjectId),
    /// Rules that keep nothing of a source: nobody means that only its newest snapshot stays.
    #[error("no rule keeps anything of {0}, so only its newest would stay")]
    KeepsNothing(String),
    /// A snapshot can't be taken back.
    #[error("data of it is not there any more, and prune has most likely deleted it: {error}")]
    Gone {
        /// What is missing first.
        error: Box<repository::Error>,
        /// False for one that was taken back too late, and now lets prune not go on.
        is_forgotten: bool,
    },
    /// No key has this label or id.
    #[error("there is no key {0:?}")]
    NoKey(String),
    /// Without this key slot nobody could open the repository with a password and the owner's rights.
    #[error("key {} stays: it holds the last password of the owner", .0.short())]
    LastPassword(ObjectId),
    /// There is no password to change.
    #[error("no password is in use, but a key file")]
    NoPassword,
    /// Whoever held a key of this domain once could read what the new key writes.
    #[error("there is a domain {0:?} already")]
    DomainTaken(String),
    /// A key is revoked, but an order that nobody can read may be an earlier word on it, so nothing of it is accepted.
    #[error("the key is cut off, but {problem}")]
    UnreadOrder {
        /// Name of the order.
        order: String,
        /// Why it can't be read.
        problem: String,
    },
    /// A key is revoked, but the store does not show a snapshot that should be there, so nothing of it is accepted.
    #[error("the key is cut off, but {0}")]
    MissingSnapshot(String),
    /// A key is revoked, but the store does not show an order that should be there, and that may speak of it.
    #[error("the key is cut off, but {0}")]
    Hidden(Box<repository::Hidden>),
    /// Packs are repaired, and never passed over.
    #[error("{0} is a pack")]
    IsPack(String),
    /// Of several files none can be chosen.
    #[error("only one file can go to standard output")]
    SeveralFiles,
    /// A file that is next to nothing but holes, and as zeros would have no end.
    #[error("{name} has {size} bytes, and {zeros} of them are holes, which would go out as zeros")]
    Zeros {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// How many of them are holes.
        zeros: u64,
    },
    /// A name that nobody said, but that was made of a path, stands for something else already.
    #[error("the name {name} stands for {before}, and this is {here}")]
    OtherOrigin {
        /// The name.
        name: String,
        /// What its last snapshot is of.
        before: String,
        /// What this one would be of.
        here: String,
        /// A name that would tell them apart.
        proposal: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl<T: AsRef<str>> From<T> for Refusal {
    fn from(text: T) -> Self {
        Self::Other(text.as_ref().to_owned())
    }
}
