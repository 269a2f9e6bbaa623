//! What can go wrong with a repository, each in one line that names the thing. The command line adds what to try next.

use crate::backend;
use crate::runtime::Interrupted;
use crate::time::WallTime;
use std::time::Duration;
use vault_format::bundle::Role;
use vault_format::id::{BlobId, DomainId, ObjectId, WriterId};
use vault_format::name::Name;

/// Why a repository could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// An object's bytes are wrong.
    #[error("cannot use {object}: {source}")]
    Object {
        /// Name of the object.
        object: String,
        /// What is wrong with it.
        #[source]
        source: vault_format::Error,
    },
    /// It opens with the key of its domain, so a member made it, and no key slot announces that member.
    #[error("cannot use {0}: the key slot of its writer is missing")]
    LostSlot(String),
    /// A frame of a pack does not open.
    #[error("cannot use frame {frame} of {pack}: {source}")]
    Frame {
        /// Its number in the pack.
        frame: u32,
        /// The pack.
        pack: Name,
        /// What is wrong with it.
        #[source]
        source: vault_format::Error,
    },
    /// Bytes and name do not fit: rot or tampering.
    #[error("{0} is damaged: its bytes do not match its name")]
    Rot(String),
    /// Nothing is there.
    #[error("there is no repository at {0}")]
    NoRepository(String),
    /// The folder, bucket or container is not there.
    #[error("there is no repository at {0}: {1}")]
    NoPlace(String, String),
    /// Something else is there.
    #[error("{0} is not a vault repository")]
    NotARepository(String),
    /// Initialisation did not finish.
    #[error("the repository at {0} is half-made: it has keys but no config")]
    HalfMade(String),
    /// Packs or snapshots are there, and neither config nor its copy can be used.
    #[error("the repository at {0} has lost its config and the copy of it")]
    LostConfig(String),
    /// The key was made for another config of the same repository.
    #[error("the config at {0} is not the one that this key vouches for")]
    ForeignConfig(String),
    /// The words of the recovery sheet are those of another repository.
    #[error("the recovery words do not belong to the repository at {0}")]
    WrongWords(String),
    /// The owner has revoked the key in use.
    #[error("the owner of the repository at {0} has revoked the key in use: what it writes would not count")]
    Revoked(String),
    /// Init refuses any place that is not empty.
    #[error("cannot make a repository at {0}: the place is not empty")]
    NotEmpty(String),
    /// Another init was there at the same time.
    #[error("cannot make a repository at {0}: another initialisation put key slot {1} at the same time")]
    RacingInit(String, String),
    /// No slot opens.
    #[error("wrong password for the repository at {0}, or a damaged key slot")]
    WrongPassword(String),
    /// The key lacks a right.
    #[error("cannot {what}: this needs the {needs} role, and the key in use is a {has}'s")]
    Role {
        /// What was tried.
        what: &'static str,
        /// Needed.
        needs: &'static str,
        /// In use.
        has: Role,
    },
    /// A blob has no usable location.
    #[error("blob {} is missing: no pack that is present holds it", .0.short())]
    MissingBlob(BlobId),
    /// A blob lies in several places and none gives the right bytes.
    #[error("blob {} cannot be read from pack {}: {why}", .blob.short(), .pack.short())]
    DamagedBlob {
        /// The blob.
        blob: BlobId,
        /// The last pack tried.
        pack: ObjectId,
        /// What was wrong.
        why: Box<Error>,
    },
    /// No such snapshot.
    #[error("there is no snapshot {0:?}")]
    NoSnapshot(String),
    /// The time behind the `@` of an address can't be read.
    #[error("{0:?} has a time that is not understood")]
    UnreadableTime(String),
    /// The source is younger.
    #[error("{name} has no snapshot that old")]
    NotThatOld {
        /// The source, as it was asked for.
        name: String,
        /// When its first snapshot was taken.
        first: WallTime,
    },
    /// Several fit.
    #[error("{address:?} is ambiguous: {candidates}")]
    Ambiguous {
        /// What was asked.
        address: String,
        /// What fits.
        candidates: String,
    },
    /// No such path.
    #[error("snapshot {snapshot} has no {path:?}")]
    NoPath {
        /// Snapshot, short.
        snapshot: String,
        /// Path.
        path: String,
    },
    /// Prune condemned data that this run relies on.
    #[error("data that this run relies on was condemned by prune meanwhile (mark {})", .0.short())]
    Condemned(ObjectId),
    /// Prune deleted what was being looked at.
    #[error("prune deletes packs at the same time")]
    Swept,
    /// The commit took longer than the protocol allows.
    #[error("the snapshot could not be committed in time: the store needed more than {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// The run is too old to commit.
    #[error("the run took more than {} days, and what it knows of the repository is too old", .0.as_secs() / 86400)]
    TooOld(Duration),
    /// A value could not be encoded.
    #[error("cannot write {what}: {source}")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: vault_format::Error,
    },
    /// A worker thread could not be started.
    #[error("cannot start worker threads: {0}")]
    Threads(String),
    /// An order that may keep something is not listed.
    #[error(transparent)]
    Hidden(Box<Hidden>),
    /// An order can't be read.
    #[error("an order of the owner cannot be read, and it may be one that keeps a snapshot: {0}")]
    Undecided(String),
    /// Data without any snapshot: never taken, or not shown.
    #[error("cannot prune safely: domain {} has data, but the store shows no snapshot of it and no record of one", .0.short())]
    NoSnapshots(DomainId),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A deleter met something that it must not guess about.
    #[error("cannot prune safely: {0}")]
    Unsafe(Doubt),
    /// Repair met something that it must not guess about.
    #[error("cannot repair safely: {0}")]
    CannotRepair(Doubt),
    /// What cannot happen has happened.
    #[error("this is a fault in vault itself: {0}")]
    Bug(&'static str),
}

/// A member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub writer: WriterId,
    pub domain: DomainId,
}

/// What is missing: an order, several, or what this machine saw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} missing, though {by}")]
#[non_exhaustive]
pub struct Hidden {
    /// Which, unless only the numbers of orders are known.
    pub object: Option<Name>,
    /// The order that ends it when it is quarantined.
    pub(crate) pass: Option<ObjectId>,
    pub(super) what: String,
    pub(super) by: String,
    /// Who says so, if it is not the owner.
    pub(crate) member: Option<Member>,
}

impl Hidden {
    /// The same of an object that is named already.
    pub(crate) fn problem(&self) -> String {
        match self.object {
            Some(_) => format!("missing, though {}", self.by),
            None => self.to_string(),
        }
    }

    /// True if what happens in a domain may depend on it.
    pub(crate) fn concerns(&self, domain: DomainId) -> bool {
        self.member.is_none_or(|member| member.domain == domain)
    }
}

/// What nobody who deletes or repairs may guess about.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// A snapshot lost something of which repair has saved no copy.
    #[error("snapshot {} is not whole ({error})", .snapshot.short())]
    NotWhole {
        /// The snapshot.
        snapshot: ObjectId,
        /// What is missing first.
        error: Box<Error>,
    },
    /// A blob that some snapshot needs is nowhere.
    #[error("blob {} is missing: no pack that is present holds it", .0.short())]
    Lost(BlobId),
    /// Something names a snapshot that is not there, and nothing explains that.
    #[error("snapshot {id} is missing, though {by} names it")]
    Missing {
        /// Which.
        id: ObjectId,
        /// The snapshot or the record that names it.
        by: String,
    },
    /// An object of a domain can't be used.
    #[error("{problem}")]
    Damaged {
        /// Its name.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An order that may keep something is not listed.
    #[error(transparent)]
    Hidden(Box<Hidden>),
    /// An object, by its path, may need what would go.
    #[error("{0} is of a kind that this program does not know: prune and repair stop at it")]
    Later(String),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<Hidden> for Doubt {
    fn from(hidden: Hidden) -> Self {
        Self::Hidden(Box::new(hidden))
    }
}

impl<T: AsRef<str>> From<T> for Doubt {
    fn from(text: T) -> Self {
        Self::Other(text.as_ref().to_owned())
    }
}

impl Error {
    /// True if the store did not answer, so that this says nothing about any object: never a reason to give one up.
    pub fn is_unanswered(&self) -> bool {
        self.backend().is_some_and(backend::Error::is_unanswered)
    }

    /// True if the store has no such object.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Backend(error) if error.kind == backend::ErrorKind::NotFound)
    }

    /// What the store said, if this came of it.
    pub fn backend(&self) -> Option<&backend::Error> {
        match self {
            Self::Backend(error) => Some(error),
            Self::DamagedBlob { why, .. } => why.backend(),
            _ => None,
        }
    }

    /// What is wrong with an object, for whoever has named it.
    pub fn reason(&self, object: &Name) -> String {
        let object = object.to_string();
        match self {
            Self::Object { object: of, source } if *of == object => source.to_string(),
            Self::LostSlot(of) if *of == object => "the key slot of its writer is missing".into(),
            Self::Rot(of) if *of == object => "its bytes do not match its name".into(),
            error => error.to_string(),
        }
    }

    /// True if somebody else changed meanwhile what an operation relied on: begun again, it sees the change.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Condemned(_) | Self::TooOld(_) | Self::Swept)
    }

    /// True if a later version of this program may know what to do with the object.
    pub(crate) fn is_of_later(&self) -> bool {
        use vault_format::Error as F;
        let Self::Object { source, .. } = self else { return false };
        matches!(
            source,
            F::UnsupportedVersion(_) | F::UnsupportedSuite(_) | F::UnsupportedEpoch(_) | F::UnsupportedFeature(_)
        )
    }

    /// True if something that is stored is not as it should be, so that who judges by it can't.
    pub(crate) fn is_damage(&self) -> bool {
        let is_wrong = matches!(self, Self::Object { .. } | Self::Frame { .. } | Self::LostSlot(_) | Self::Rot(_));
        (is_wrong || self.is_lost()) && !self.is_unanswered() && !self.is_of_later()
    }

    /// True if no place in the repository gives a blob.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::MissingBlob(_) | Self::DamagedBlob { .. }) && !self.is_unanswered()
    }
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;
