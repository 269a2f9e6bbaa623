//! Who did what, when, why and with what result: one or two records per run of anything. Health, reports and audits
//! read only these and the heads. Sealed with the domain's book key, signed by the one who ran.

use crate::codec::{self, Limited, Stored, limited};
use crate::error::{Error, Result};
use crate::id::{DomainId, ObjectId, RepositoryId, RunId, WriterId};
use crate::seal::{self, Header, Kind, Small};
use crate::secret::Key;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Outcome {
    /// It has begun; a second record tells the end.
    Begun,
    /// All done.
    Done,
    /// Done, but something was left out.
    Partial,
    /// Not done.
    Failed,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Record {
    /// The run.
    pub run: RunId,
    /// What was run: `snapshot`, `restore`, `check`, `prune`, ...
    pub operation: String,
    /// Source that it concerned, empty if none.
    pub source: String,
    /// Start, nanoseconds since 1970.
    pub started: i64,
    /// Nanoseconds.
    pub duration: u64,
    /// Result.
    pub outcome: Outcome,
    /// One line: error or summary.
    pub message: String,
    /// Why, in the user's words.
    pub reason: String,
    /// Host and user, as `user@host`.
    pub actor: String,
    /// Named figures; the unit is the last word of the name.
    pub figures: Vec<(String, u64)>,
    /// Heads of this writer that it saw, and what it committed.
    pub heads: Vec<ObjectId>,
    /// Packs whose content was verified.
    pub verified: Vec<ObjectId>,
}

impl Stored for Record {
    const WHAT: &'static str = "a journal record";
    type Codec = Limited<{ 32 << 20 }>;
    const CODEC: Self::Codec = limited();

    fn validate(&self) -> Result<()> {
        if self.operation.is_empty() { Err(Error::Invalid("a journal record has no operation")) } else { Ok(()) }
    }
}

impl Record {
    /// Seals and signs a record. `salt` must be fresh.
    pub fn seal(
        &self,
        (repository, domain): (RepositoryId, DomainId),
        signer: &SigningKey,
        book: &Key,
        salt: &[u8; 32],
    ) -> Result<Vec<u8>> {
        let writer = WriterId::of(&signer.verifying_key().to_bytes());
        let header = Header { kind: Kind::Journal, repository, domain, writer };
        let section = seal::seal_section(book, salt, 0, &header, &[], &codec::encode(self)?)?;
        Small::assemble(&header, salt, &[section], signer)
    }

    /// Takes a record apart; the signature must then be verified with the key of the writer in its header.
    pub fn parse(bytes: &[u8], repository: RepositoryId) -> Result<Small<'_>> {
        Small::parse(bytes, Kind::Journal, Some(repository), 1, "a journal record")
    }

    /// Opens a verified record.
    pub fn open(small: &Small<'_>, book: &Key) -> Result<Self> {
        codec::decode(&small.open(book, 0, &[], "a journal record")?)
    }
}
