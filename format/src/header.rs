//! The clear first bytes of every object: what kind of object it is, and where it belongs. Seals and signatures cover
//! them, so that no object passes for one of another repository, domain, writer or kind. A version, suite or epoch that
//! this program does not know is told from damage, since a later program may have written it.

use crate::codec;
use crate::error::{Error, Result, ensure, rule};
use crate::id::{DomainId, RepositoryId, WriterId};
use ed25519_dalek::SigningKey;

/// First bytes of every object.
pub const MAGIC: [u8; 5] = *b"vault";
/// The format version.
pub const VERSION: u8 = 1;
/// The cipher suite.
pub const SUITE: u8 = 1;
/// Length of the clear header in bytes.
pub const HEADER_BYTES: usize = 64;
/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `config` and `config.copy`.
    Config = 1,
    /// A key slot.
    Slot = 2,
    /// A pack of data.
    DataPack = 3,
    /// A pack of trees and lists.
    MetadataPack = 4,
    /// An index object.
    Index = 5,
    /// A snapshot.
    Snapshot = 6,
    /// An owner's order.
    Order = 7,
    /// A mark of prune.
    Mark = 8,
    /// A journal record.
    Journal = 9,
    /// A WAL segment.
    Wal = 10,
    /// A key file, outside of the store.
    KeyFile = 11,
    /// Records of a month of the journal.
    Month = 12,
}

/// The clear header: what kind of object it is, and where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the object is.
    pub kind: Kind,
    /// Repository that it belongs to.
    pub repository: RepositoryId,
    /// Domain that it lies under, zero where none applies.
    pub domain: DomainId,
    /// Who signed it, zero where nobody does.
    pub writer: WriterId,
}

impl Header {
    /// The header of what a writer signs for no domain.
    pub fn without_domain(kind: Kind, repository: RepositoryId, signer: &SigningKey) -> Self {
        let writer = WriterId::of(&signer.verifying_key().to_bytes());
        Self { kind, repository, domain: DomainId::default(), writer }
    }

    /// The 64 stored bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0u8; HEADER_BYTES];
        let fields = MAGIC
            .into_iter()
            .chain([VERSION, SUITE, self.kind as u8])
            .chain(0u32.to_le_bytes())
            .chain(self.repository.0)
            .chain(self.domain.0)
            .chain(self.writer.0);
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }

    /// Reads the header of an object that must be of `kind` and in `repository`. Bytes may follow it.
    pub fn decode(bytes: &[u8], kind: Kind, repository: RepositoryId) -> Result<Self> {
        let header = Self::decode_any(bytes, kind)?;
        if header.repository == repository { Ok(header) } else { Err(Error::WrongRepository) }
    }

    /// Reads the header of an object that must be of `kind`, before the repository is known: for `config` and slots.
    pub fn decode_any(mut bytes: &[u8], kind: Kind) -> Result<Self> {
        const WHAT: &str = "an object header";
        ensure(codec::take_array::<5>(&mut bytes, WHAT)? == MAGIC, Error::BadMagic)?;
        let [version, suite, stored_kind] = codec::take_array(&mut bytes, WHAT)?;
        ensure(version == VERSION, Error::UnsupportedVersion(version))?;
        ensure(suite == SUITE, Error::UnsupportedSuite(suite))?;
        let epoch = codec::take_u32(&mut bytes, WHAT)?;
        ensure(epoch == 0, Error::UnsupportedEpoch(epoch))?;
        ensure(stored_kind == kind as u8, Error::WrongKind)?;
        let repository = RepositoryId(codec::take_array(&mut bytes, WHAT)?);
        let domain = DomainId(codec::take_array(&mut bytes, WHAT)?);
        let writer = WriterId(codec::take_array(&mut bytes, WHAT)?);
        rule(codec::take_u32(&mut bytes, WHAT)? == 0, "reserved header bytes are not zero")?;
        Ok(Self { kind, repository, domain, writer })
    }

    /// What wraps of a run are bound to: repository, domain, writer.
    pub fn scope(&self) -> Vec<u8> {
        self.repository.0.into_iter().chain(self.domain.0).chain(self.writer.0).collect()
    }
}

/// True if these bytes begin as objects do, and are not known to be of another repository.
pub fn may_be_of(bytes: &[u8], repository: RepositoryId) -> bool {
    let version_and_id = bytes.get(MAGIC.len()).zip(bytes.get(12..28));
    let is_ours = |(version, id): (&u8, &[u8])| *version != VERSION || *id == repository.0;
    bytes.len() >= HEADER_BYTES && bytes.starts_with(&MAGIC[..]) && version_and_id.is_some_and(is_ours)
}
