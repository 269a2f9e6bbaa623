//! What a role's holder keeps: all keys that the role needs, the owner's public keys, and the hash of the config. A key
//! slot wraps a bundle under a password, a key file holds one in the open. Trust begins here: what lies in the store
//! counts only if the owner's key vouches for it, or for the key of its writer.

use crate::codec::{self, Limited, Stored};
use crate::envelope::SEALING_KEY_BYTES;
use crate::error::{Error, Result, ensure, rule};
use crate::header::SUITE;
use crate::id::{DomainId, ObjectId, RepositoryId};
use crate::key::Key;
use crate::owner::{OwnerKeys, OwnerPublic};
use bincode::{Decode, Encode};
use std::fmt;
use zeroize::Zeroizing;

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Role {
    /// Everything: reads all, gives orders, prunes, makes keys.
    Owner,
    /// Backs up, and reads what its own domain wrote.
    Client,
    /// Backs up, and opens no content, not even its own: a stolen machine shows no content of older snapshots.
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

/// What a slot wraps and a key file holds.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Bundle {
    /// Cipher suite of the repository; a program that does not know it refuses the bundle.
    pub suite: u8,
    /// The repository that the keys belong to.
    pub repository: RepositoryId,
    /// BLAKE3 of the stored config: another one, signed by whomever, is refused.
    pub config: ObjectId,
    /// The owner's public keys, by which everything in the store is judged.
    pub owner: OwnerPublic,
    /// The secret part, which differs by role.
    pub keys: BundleKeys,
}

/// The secret part of a bundle.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum BundleKeys {
    /// All keys follow from the root.
    Owner {
        /// The root of the repository, the same as on the recovery sheet.
        root: Key,
    },
    /// A member of a domain; `read` is present for clients only.
    Member {
        /// Names blobs.
        id_key: Key,
        /// Decides where content is cut.
        gear_key: Key,
        /// The member's domain.
        domain: DomainId,
        /// Opens the domain's bookkeeping: indexes, heads, journal, orders.
        book: Key,
        /// Opens the domain's content; writers do not hold it.
        read: Option<Key>,
        /// Seed of the member's Ed25519 key, with which it signs all that it puts.
        signing: Key,
    },
}

impl Stored for Bundle {
    const WHAT: &'static str = "a key bundle";
    type Codec = Limited<8192>;

    fn validate(&self) -> Result<()> {
        ensure(self.suite == SUITE, Error::UnsupportedSuite(self.suite))?;
        rule(self.owner.sealing.len() == SEALING_KEY_BYTES, "the owner's sealing key has the wrong length")
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

impl OwnerKeys {
    /// The bundle of the owner.
    pub fn bundle(&self, config: ObjectId) -> Bundle {
        Bundle {
            suite: SUITE,
            repository: self.repository(),
            config,
            owner: self.public(),
            keys: BundleKeys::Owner { root: self.root().clone() },
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
            repository: self.repository(),
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
}
