//! From the 32-byte root to every key of a repository. Identity and gear keys come from the root alone, so that
//! repositories made alike share blob ids; all others from root and repository id, so that no other key serves in two
//! repositories. Only the owner can do this: members hold what their bundle gives them.

use crate::envelope::SealingKey;
use crate::id::{DomainId, RepositoryId, WriterId, first};
use crate::key::Key;
use bincode::{Decode, Encode};

/// The name of the owner's own domain.
pub const OWNER_DOMAIN: &str = "owner";

/// The owner's public keys: everything in the store is believed only through them.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OwnerPublic {
    /// Ed25519 verifying key.
    pub verifying: [u8; 32],
    /// X-Wing encapsulation key (1216 bytes), to which run secrets are wrapped.
    pub sealing: Vec<u8>,
}

/// Every key that follows from the root for one repository.
#[derive(Clone, Debug)]
pub struct OwnerKeys {
    root: Key,
    repository: RepositoryId,
}

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
        DomainId(first(self.scoped("vault v1 domain id", &[name.as_bytes()]).expose()))
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

    /// The owner's writer identity.
    pub fn writer(&self) -> WriterId {
        WriterId::of(&self.public().verifying)
    }
}
