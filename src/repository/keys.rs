//! The keys that a process holds, by role. Owner, client and writer take the same path everywhere: whoever lacks a key
//! gets `None` or a role error here, never deeper.

use crate::repository::{Error, Result, encoding, of_object};
use crate::runtime::{Locked, Runtime};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::HashMap;
use vault_format::SigningKey;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::header::Header;
use vault_format::id::{DomainId, ObjectId, RepositoryId, WriterId};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::owner::{OWNER_DOMAIN, OwnerKeys};
use vault_format::salt::Salt;

/// Whose keys open content, for errors.
const CONTENT_ROLES: &str = "owner's or the domain's client";

/// The open bundle.
pub struct Keys {
    bundle: Bundle,
    slot: Option<ObjectId>,
    holder: Holder,
    id_key: Key,
    gear_key: Key,
    domain: DomainId,
    signer: SigningKey,
    // opening one takes as long as reading a frame, and one run's secret opens thousands of them
    runs: Locked<HashMap<blake3::Hash, RunSecret>>,
}

/// What only one of the roles has.
enum Holder {
    Owner(OwnerKeys),
    /// The book key of its domain, and what opens the domain's content.
    Member(Key, Option<Key>),
}

impl Keys {
    /// `slot`: the one whose password opened the bundle; none for a key file.
    pub(super) fn new(bundle: Bundle, slot: Option<ObjectId>) -> Self {
        let (id_key, gear_key, domain, signing, holder) = match bundle.keys.clone() {
            BundleKeys::Owner { root } => {
                let owner = OwnerKeys::new(root, bundle.repository);
                let (id_key, gear_key, domain) = (owner.id_key(), owner.gear_key(), owner.domain(OWNER_DOMAIN));
                (id_key, gear_key, domain, owner.signing(), Holder::Owner(owner))
            }
            BundleKeys::Member { id_key, gear_key, domain, signing, book, read } => {
                (id_key, gear_key, domain, signing, Holder::Member(book, read))
            }
        };
        let (signer, runs) = (signing.signing_key(), Locked::default());
        Self { bundle, slot, holder, id_key, gear_key, domain, signer, runs }
    }

    /// The slot whose password is in use; none for a key file.
    pub fn slot(&self) -> Option<ObjectId> {
        self.slot
    }

    /// What the holder may do.
    pub fn role(&self) -> Role {
        self.bundle.role()
    }

    /// All keys, or an error that names what needs them.
    pub fn owner(&self, what: &'static str) -> Result<&OwnerKeys> {
        match &self.holder {
            Holder::Owner(owner) => Ok(owner),
            Holder::Member(..) => Err(Error::Role { what, needs: "owner", has: self.role() }),
        }
    }

    /// Refuses a key that opens no content, whatever this machine's cache still holds.
    pub fn content(&self, what: &'static str) -> Result<()> {
        match self.role() {
            Role::Writer => Err(Error::Role { what, needs: CONTENT_ROLES, has: Role::Writer }),
            Role::Owner | Role::Client => Ok(()),
        }
    }

    /// The repository.
    pub fn repository(&self) -> RepositoryId {
        self.bundle.repository
    }

    /// Hash of the config.
    pub fn config(&self) -> ObjectId {
        self.bundle.config
    }

    /// The domain in which this key writes.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// This key's identity as a writer.
    pub fn writer(&self) -> WriterId {
        WriterId::of(&self.signer.verifying_key().to_bytes())
    }

    /// Key of blob identity.
    pub fn id_key(&self) -> &Key {
        &self.id_key
    }

    /// Key of chunk boundaries.
    pub fn gear_key(&self) -> &Key {
        &self.gear_key
    }

    /// Signs what this key writes.
    pub fn signer(&self) -> &SigningKey {
        &self.signer
    }

    /// The owner's verifying key.
    pub(crate) fn owner_verifying(&self) -> &[u8; 32] {
        &self.bundle.owner.verifying
    }

    /// The owner's identity as a writer.
    pub fn owner_writer(&self) -> WriterId {
        WriterId::of(self.owner_verifying())
    }

    /// The book key of a domain, if this key has it.
    pub fn book(&self, domain: DomainId) -> Option<Key> {
        match &self.holder {
            Holder::Owner(owner) => Some(owner.book(domain)),
            Holder::Member(book, _) => (domain == self.domain).then(|| book.clone()),
        }
    }

    /// The book key of the own domain.
    pub fn own_book(&self) -> Key {
        match &self.holder {
            Holder::Owner(owner) => owner.book(self.domain),
            Holder::Member(book, _) => book.clone(),
        }
    }

    /// What this machine's cache is sealed with: it follows from the bundle, and opens nothing else.
    pub(crate) fn cache_key(&self) -> Key {
        match &self.bundle.keys {
            BundleKeys::Owner { root } => root,
            BundleKeys::Member { signing, .. } => signing,
        }
        .derive("vault v1 cache key", &[&self.bundle.repository.0])
    }

    /// Opens the secret of a run, of which `object` has the header; a key that may not is an error that says `what` needs
    /// another one.
    pub(super) fn open_run(
        &self,
        what: &'static str,
        object: &Name,
        (wraps, header): (&Wraps, &Header),
    ) -> Result<RunSecret> {
        match self.secret(wraps, header) {
            Err(vault_format::Error::NoAccess) => Err(Error::Role { what, needs: CONTENT_ROLES, has: self.role() }),
            opened => of_object(object, opened),
        }
    }

    fn secret(&self, wraps: &Wraps, header: &Header) -> vault_format::Result<RunSecret> {
        let scope = header.scope();
        let place = blake3::Hasher::new().update(&scope).update(&wraps.encode()?).finalize();
        let known = self.runs.lock().get(&place).cloned();
        if let Some(secret) = known {
            return Ok(secret);
        }
        let secret = match &self.holder {
            Holder::Owner(owner) => RunSecret::open_as_owner(wraps, &owner.sealing(), &scope)?,
            Holder::Member(_, Some(read)) => RunSecret::open_as_member(wraps, self.domain, read, &scope)?,
            Holder::Member(_, None) => return Err(vault_format::Error::NoAccess),
        };
        self.runs.lock().insert(place, secret.clone());
        Ok(secret)
    }

    /// True if the key in use opens a run.
    pub(super) fn opens(&self, wraps: &Wraps, header: &Header) -> bool {
        self.secret(wraps, header).is_ok()
    }

    /// True if all wraps of a run give one secret, as only the owner can tell: a wrap for the domain that opens to another
    /// one would have its members rely on what they can't read.
    pub(crate) fn agree(&self, wraps: &Wraps, header: &Header) -> bool {
        let Holder::Owner(owner) = &self.holder else { return false };
        RunSecret::is_one(wraps, &owner.sealing(), |domain| owner.read(domain), &header.scope())
    }

    /// Draws the secret of a new run that writes for `domain`, and wraps it for all who may read it. What the owner
    /// writes is for the domain's members too if it is `shared`; what they write says itself whom it is for.
    pub fn new_run(
        &self,
        domain: DomainId,
        shared: bool,
        header: &Header,
        runtime: &Runtime,
    ) -> Result<(RunSecret, Wraps)> {
        let secret = RunSecret::new(runtime.random());
        let scope = header.scope();
        let mut random = ChaCha20Rng::from_seed(secret.wrapping_seed(runtime.random()));
        let mut wraps =
            vec![encoding("a run secret", secret.wrap_for_owner(&self.bundle.owner.sealing, &scope, &mut random))?];
        let read = match &self.holder {
            // the owner's own domain has no members
            Holder::Owner(owner) => (shared && domain != self.domain).then(|| owner.read(domain)),
            Holder::Member(_, read) => read.clone(),
        };
        if let Some(read) = read {
            let salt = Salt::Fresh(runtime.random());
            wraps.push(encoding("a run secret", secret.wrap_for_domain(domain, &read, &scope, salt))?);
        }
        Ok((secret, Wraps(wraps)))
    }
}
