//! Prune in two phases: a mark condemns packs and names snapshots that are due, and after its grace a sweep deletes
//! them. Marks are clear, so that every writer can avoid condemned packs, and signed by the owner.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, ensure, rule};
use crate::header::{Header, Kind};
use crate::id::{Class, DomainId, ObjectId, RepositoryId, SourceLabel};
use crate::object::SignedObject;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;

/// A snapshot's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct SnapshotPlace {
    /// Domain that it lies under.
    pub domain: DomainId,
    /// Folder of its source.
    pub label: SourceLabel,
    /// Hash of its stored bytes.
    pub id: ObjectId,
}

/// What a mark says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Mark {
    /// These will be deleted once the mark is as old as its grace.
    Condemn {
        /// Packs, ascending.
        packs: Vec<(Class, ObjectId)>,
        /// Snapshots whose forgetting is due, ascending.
        snapshots: Vec<SnapshotPlace>,
        /// Nanoseconds that must pass between the mark and its sweep.
        grace: u64,
    },
    /// A mark was carried out.
    Swept {
        /// The mark that was carried out.
        mark: ObjectId,
    },
}

impl Stored for Mark {
    const WHAT: &'static str = "a mark";
    type Codec = Limited<{ 64 << 20 }>;

    fn validate(&self) -> Result<()> {
        let Self::Condemn { packs, snapshots, .. } = self else { return Ok(()) };
        let are_sorted =
            packs.is_sorted_by(|left, right| left < right) && snapshots.is_sorted_by(|left, right| left < right);
        rule(are_sorted, "a mark is not in strict order")
    }
}

impl Mark {
    /// The signed object.
    pub fn seal(&self, repository: RepositoryId, signer: &SigningKey, salt: &[u8; 32]) -> Result<Vec<u8>> {
        let header = Header::without_domain(Kind::Mark, repository, signer);
        SignedObject::assemble(&header, salt, &[codec::encode(self)?], signer)
    }

    /// Reads and verifies a mark. The salt keeps names from recurring.
    pub fn open(bytes: &[u8], repository: RepositoryId, owner: &[u8; 32]) -> Result<Self> {
        let object = SignedObject::parse(bytes, Kind::Mark, Some(repository))?;
        object.verify(owner)?;
        ensure(object.header.domain == DomainId::default(), Error::WrongOrigin)?;
        codec::decode(object.section(0))
    }
}
