//! The records of a month of a domain's journal in one object, as they were stored, so that each signature and each name
//! still tells the same. The owner signs that they were there; what a record says only its own signature vouches for.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, ensure, rule};
use crate::header::{Header, Kind};
use crate::id::{DomainId, ObjectId, RepositoryId};
use crate::object::SignedObject;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;

/// Records of one month, or of a part of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Month {
    /// Stored bytes of records, by their ids ascending.
    records: Vec<Vec<u8>>,
}

impl Stored for Month {
    const WHAT: &'static str = "a month of the journal";
    type Codec = Limited<{ 64 << 20 }>;

    fn validate(&self) -> Result<()> {
        let are_sorted = self.ids().collect::<Vec<_>>().is_sorted_by(|left, right| left < right);
        rule(
            are_sorted && !self.records.is_empty(),
            "the records of a month are not in strict order, or there are none",
        )
    }
}

impl Month {
    /// Of these records, each once.
    pub fn of(records: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut records: Vec<(ObjectId, Vec<u8>)> =
            records.into_iter().map(|bytes| (ObjectId::of(&bytes), bytes)).collect();
        records.sort();
        records.dedup();
        Self { records: records.into_iter().map(|(_, bytes)| bytes).collect() }
    }

    fn ids(&self) -> impl Iterator<Item = ObjectId> {
        self.records.iter().map(|bytes| ObjectId::of(bytes))
    }

    /// Each record with its id.
    pub fn into_records(self) -> impl Iterator<Item = (ObjectId, Vec<u8>)> {
        self.records.into_iter().map(|bytes| (ObjectId::of(&bytes), bytes))
    }

    /// The signed object. It holds nothing that the store did not show before, and lies in clear.
    pub fn seal(
        &self,
        (repository, domain): (RepositoryId, DomainId),
        signer: &SigningKey,
        salt: &[u8; 32],
    ) -> Result<Vec<u8>> {
        let header = Header { domain, ..Header::without_domain(Kind::Month, repository, signer) };
        SignedObject::assemble(&header, salt, &[codec::encode(self)?], signer)
    }

    /// Reads and verifies a month of a domain. The salt keeps names from recurring.
    pub fn open(bytes: &[u8], (repository, domain): (RepositoryId, DomainId), owner: &[u8; 32]) -> Result<Self> {
        let object = SignedObject::parse(bytes, Kind::Month, Some(repository))?;
        object.verify(owner)?;
        ensure(object.header.domain == domain, Error::WrongOrigin)?;
        codec::decode(object.section(0))
    }
}
