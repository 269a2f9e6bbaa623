//! What all who use a repository must agree on, signed by the owner; it holds no keys. Stored twice, as `config` and
//! `config.copy`; bundles carry its hash, so that a swapped config is refused.

use crate::codec::{self, Limited, Stored};
use crate::directory::PACK_BYTES_MAX;
use crate::error::{Error, Result, ensure, rule, within};
use crate::gear::ChunkProfile;
use crate::header::{Header, Kind};
use crate::id::{DomainId, RepositoryId};
use crate::object::SignedObject;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;

/// Features that this program knows, as bits.
pub const FEATURES_KNOWN: u64 = 0;

/// Repository-wide settings.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Config {
    /// Chunk profiles by id.
    pub profiles: Vec<ChunkProfile>,
    /// A pack is closed at this size in bytes.
    pub pack_bytes: u32,
    /// Features that a program must know to touch the repository.
    pub required_features: u64,
    /// Verifying key of the owner.
    pub owner: [u8; 32],
    /// When it was made, nanoseconds since 1970.
    pub created: i64,
}

impl Stored for Config {
    const WHAT: &'static str = "the config";
    type Codec = Limited<65536>;

    fn validate(&self) -> Result<()> {
        let unknown = self.required_features & !FEATURES_KNOWN;
        ensure(unknown == 0, Error::UnsupportedFeature(unknown))?;
        let pack_fits = usize::try_from(self.pack_bytes).is_ok_and(|bytes| (4096..=PACK_BYTES_MAX).contains(&bytes));
        within(!self.profiles.is_empty() && pack_fits, "the config")?;
        let are_sorted = self.profiles.is_sorted_by(|left, right| left.id < right.id);
        rule(are_sorted, "the chunk profiles are not in strict order")?;
        self.profiles.iter().try_for_each(ChunkProfile::validate)
    }
}

impl Config {
    /// The signed object.
    pub fn seal(&self, repository: RepositoryId, signer: &SigningKey) -> Result<Vec<u8>> {
        let header = Header::without_domain(Kind::Config, repository, signer);
        SignedObject::assemble(&header, &[0; 32], &[codec::encode(self)?], signer)
    }

    /// Reads and verifies a config; `owner` is the key that a bundle trusts, if one is open already.
    pub fn open(bytes: &[u8], owner: Option<&[u8; 32]>) -> Result<(RepositoryId, Self)> {
        let object = SignedObject::parse(bytes, Kind::Config, None)?;
        if let Some(owner) = owner {
            object.verify(owner)?;
        }
        let config: Self = codec::decode(object.section(0))?;
        object.verify(&config.owner)?;
        let is_bare = object.salt == [0; 32] && object.header.domain == DomainId::default();
        rule(is_bare, "the config has a salt or a domain")?;
        Ok((object.header.repository, config))
    }
}
