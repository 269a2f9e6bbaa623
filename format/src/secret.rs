//! From the 32-byte root to every key of the repository, and the role bundles that machines hold. Identity and gear keys
//! come from the root alone, so that repositories made alike share blob ids; all others from root and repository id.
//! A bundle holds all that its role needs, the owner's public keys and the hash of the config included.

use crate::codec::{self, Limited, Stored, limited};
use crate::envelope::{self, SealingKey};
use crate::error::{Error, Result};
use crate::id::{BlobId, BlobKind, DomainId, ObjectId, OriginMark, RepositoryId, SourceLabel, WriterId};
use crate::seal::SUITE;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A symmetric key or seed of 32 bytes, wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Key(pub(crate) [u8; 32]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key of fresh random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who seals or wraps them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// BLAKE3 key derivation: `derive_key(context, self || parts)`.
    pub fn derive(&self, context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        for part in parts {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The id of a blob: keyed BLAKE3 over kind and plaintext. Use with the id key only.
    pub fn blob_id(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind.byte()]);
        hasher.update(plaintext);
        BlobId(*hasher.finalize().as_bytes())
    }

    /// The folder of a source. Use with a domain's book key only.
    pub fn source_label(&self, source: &str) -> SourceLabel {
        let hash = self.derive("vault v1 source label", &[source.as_bytes()]);
        let mut out = [0u8; 8];
        out.iter_mut().zip(hash.0).for_each(|(to, from)| *to = from);
        SourceLabel(out)
    }

    /// A mark of some texts: equal for equal texts under one key, and of no use without it.
    pub fn origin_mark<'a>(&self, what: &str, texts: impl IntoIterator<Item = &'a [u8]>) -> OriginMark {
        let mut joined = Vec::new();
        for text in texts {
            joined.extend((text.len() as u64).to_le_bytes());
            joined.extend(text);
        }
        let hash = self.derive("vault v1 origin", &[what.as_bytes(), &joined]);
        let mut out = [0u8; 16];
        out.iter_mut().zip(hash.0).for_each(|(to, from)| *to = from);
        OriginMark(out)
    }

    /// The Ed25519 key whose seed this is.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }
}

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Role {
    /// Everything.
    Owner,
    /// Writes, and reads what its own domain wrote.
    Client,
    /// Writes, and opens no content.
    Writer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Client => "client",
            Self::Writer => "writer",
        })
    }
}

/// The owner's public keys: everything in the store is believed only through them.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OwnerPublic {
    /// Ed25519 verifying key.
    pub verifying: [u8; 32],
    /// X-Wing encapsulation key (1216 bytes), to which run secrets are wrapped.
    pub sealing: Vec<u8>,
}

/// What a slot wraps and a key file holds.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Bundle {
    /// Cipher suite.
    pub suite: u8,
    /// The repository.
    pub repository: RepositoryId,
    /// BLAKE3 of the stored config.
    pub config: ObjectId,
    /// The owner's public keys.
    pub owner: OwnerPublic,
    /// Keys by role.
    pub keys: BundleKeys,
}

/// The secret part of a bundle.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum BundleKeys {
    /// All keys follow from the root.
    Owner {
        /// The root.
        root: Key,
    },
    /// A member of a domain; `read` is present for clients only.
    Member {
        /// Blob identity.
        id_key: Key,
        /// Chunk boundaries.
        gear_key: Key,
        /// The member's domain.
        domain: DomainId,
        /// Opens the domain's bookkeeping.
        book: Key,
        /// Opens the domain's content; writers do not hold it.
        read: Option<Key>,
        /// Ed25519 seed.
        signing: Key,
    },
}

impl Stored for Bundle {
    const WHAT: &'static str = "a key bundle";
    type Codec = Limited<8192>;
    const CODEC: Self::Codec = limited();

    fn validate(&self) -> Result<()> {
        if self.suite != SUITE {
            return Err(Error::UnsupportedSuite(self.suite));
        }
        if self.owner.sealing.len() != envelope::SEALING_KEY_BYTES {
            return Err(Error::Invalid("the owner's sealing key has the wrong length"));
        }
        Ok(())
    }
}

impl Bundle {
    /// The role that these keys give.
    pub fn role(&self) -> Role {
        match &self.keys {
            BundleKeys::Owner { .. } => Role::Owner,
            BundleKeys::Member { read: Some(_), .. } => Role::Client,
            BundleKeys::Member { read: None, .. } => Role::Writer,
        }
    }

    /// Bytes, wiped when dropped.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>> {
        codec::encode(self).map(Zeroizing::new)
    }

    /// A bundle of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bundle: Self = codec::decode(bytes)?;
        if let BundleKeys::Owner { root } = &bundle.keys
            && OwnerKeys::new(root.clone(), bundle.repository).public() != bundle.owner
        {
            return Err(Error::Invalid("the owner's public keys do not follow from the root"));
        }
        Ok(bundle)
    }
}

/// Every key that follows from the root for one repository.
#[derive(Clone, Debug)]
pub struct OwnerKeys {
    root: Key,
    repository: RepositoryId,
}

/// The name of the owner's own domain.
pub const OWNER_DOMAIN: &str = "owner";

impl OwnerKeys {
    /// The keys of `root` in `repository`.
    pub fn new(root: Key, repository: RepositoryId) -> Self {
        Self { root, repository }
    }

    /// The root itself, for the recovery sheet and the owner's bundle.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// The repository whose keys these are.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    fn scoped(&self, context: &str, parts: &[&[u8]]) -> Key {
        let repository = self.repository.0;
        let parts: Vec<&[u8]> = std::iter::once(repository.as_slice()).chain(parts.iter().copied()).collect();
        self.root.derive(context, &parts)
    }

    /// Key of blob identity; from the root alone.
    pub fn id_key(&self) -> Key {
        self.root.derive("vault v1 id key", &[])
    }

    /// Key of chunk boundaries; from the root alone.
    pub fn gear_key(&self) -> Key {
        self.root.derive("vault v1 gear key", &[])
    }

    /// The X-Wing key that opens every run secret.
    pub fn sealing(&self) -> SealingKey {
        SealingKey::from_seed(&self.scoped("vault v1 owner sealing seed", &[]))
    }

    /// Seed of the owner's Ed25519 key.
    pub fn signing(&self) -> Key {
        self.scoped("vault v1 owner signing seed", &[])
    }

    /// The domain of a name.
    pub fn domain(&self, name: &str) -> DomainId {
        let key = self.scoped("vault v1 domain id", &[name.as_bytes()]);
        let mut out = [0u8; 16];
        out.iter_mut().zip(key.0).for_each(|(to, from)| *to = from);
        DomainId(out)
    }

    /// Book key of a domain.
    pub fn book(&self, domain: DomainId) -> Key {
        self.scoped("vault v1 domain book key", &[&domain.0])
    }

    /// Read key of a domain.
    pub fn read(&self, domain: DomainId) -> Key {
        self.scoped("vault v1 domain read key", &[&domain.0])
    }

    /// The public keys.
    pub fn public(&self) -> OwnerPublic {
        OwnerPublic {
            verifying: self.signing().signing_key().verifying_key().to_bytes(),
            sealing: self.sealing().public_bytes(),
        }
    }

    /// The bundle of the owner.
    pub fn bundle(&self, config: ObjectId) -> Bundle {
        Bundle {
            suite: SUITE,
            repository: self.repository,
            config,
            owner: self.public(),
            keys: BundleKeys::Owner { root: self.root.clone() },
        }
    }

    /// The bundle of a new client or writer whose Ed25519 seed is `signing`.
    pub fn member_bundle(&self, config: ObjectId, domain: DomainId, signing: Key, role: Role) -> Result<Bundle> {
        let read = match role {
            Role::Owner => return Err(Error::Invalid("an owner is not a member of a domain")),
            Role::Client => Some(self.read(domain)),
            Role::Writer => None,
        };
        Ok(Bundle {
            suite: SUITE,
            repository: self.repository,
            config,
            owner: self.public(),
            keys: BundleKeys::Member {
                id_key: self.id_key(),
                gear_key: self.gear_key(),
                domain,
                book: self.book(domain),
                read,
                signing,
            },
        })
    }

    /// The owner's writer identity.
    pub fn writer(&self) -> WriterId {
        WriterId::of(&self.public().verifying)
    }
}
