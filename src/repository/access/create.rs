//! How a repository comes to be, in an empty place: the first slot of its owner first, then, if no other slot appeared,
//! the copy of the config and the config. Two who do this at the same time make one repository or none.

use crate::backend::Backend;
use crate::repository::keys::Keys;
use crate::repository::objects::foreign;
use crate::repository::{Error, Options, Repository, Result, encoding};
use crate::runtime::Runtime;
use vault_format::bundle::Bundle;
use vault_format::config::Config;
use vault_format::gear::{PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE};
use vault_format::id::{ObjectId, RepositoryId};
use vault_format::key::Key;
use vault_format::name::{self, Name};
use vault_format::owner::{OWNER_DOMAIN, OwnerKeys};
use vault_format::salt::Salt;
use vault_format::slot::{self, KDF_DEFAULT, KdfParams, NewPassword, NewSlot};

/// What a new repository is made of.
pub struct NewRepository<'a> {
    /// Password of the owner's first slot.
    pub password: &'a [u8],
    /// Cost of the password.
    pub kdf: KdfParams,
    /// The root of another repository, to share blob ids with it.
    pub like: Option<Key>,
    /// Label of the slot.
    pub label: String,
}

impl<'a> NewRepository<'a> {
    /// Defaults for a password.
    pub fn new(password: &'a [u8]) -> Self {
        Self { password, kdf: KDF_DEFAULT, like: None, label: "first".into() }
    }
}

impl Repository {
    /// Makes a repository in an empty place: slot first, then, if no other slot appeared, config copy and config.
    pub fn init(backend: Backend, runtime: Runtime, options: Options, new: NewRepository<'_>) -> Result<Self> {
        let place = backend.describe().to_owned();
        let mut found = backend.list("")?;
        found.retain(|entry| !foreign::is_dropping(&entry.name));
        if !found.is_empty() {
            let only_keys = found.iter().all(|entry| entry.name.starts_with(name::KEYS));
            return Err(if only_keys { Error::HalfMade(place) } else { Error::NotEmpty(place) });
        }
        let id = RepositoryId(runtime.random());
        let root = new.like.unwrap_or_else(|| Key::new(runtime.random()));
        let owner = OwnerKeys::new(root, id);
        let config = new_config(&owner, runtime.clock.now().nanoseconds());
        let stored = encoding("the config", config.seal(id, &owner.signing().signing_key()))?;
        let bundle = owner.bundle(ObjectId::of(&stored));
        let password = NewPassword { password: new.password, kdf: new.kdf };
        let (slot_id, slot) = owner_slot(&owner, &bundle, (new.label, config.created), password, runtime.random())?;
        let slot_name = Name::Slot(slot_id).to_string();
        backend.put(&slot_name, &slot)?;
        let lag = options.listing_lag.unwrap_or_else(|| backend.listing_lag());
        // a folder has no two configs, so the other one fails by itself
        if !lag.is_zero() && !backend.is_local() {
            runtime.clock.sleep(lag);
        }
        if let Some(other) = backend.list(name::KEYS)?.into_iter().find(|entry| entry.name != slot_name) {
            return Err(Error::RacingInit(place, other.name));
        }
        backend.put(&Name::ConfigCopy.to_string(), &stored)?;
        backend.put(&Name::Config.to_string(), &stored)?;
        backend.lay_out(&[name::PACKS, name::INDEX, name::SNAPSHOTS, name::ORDERS, name::MARKS, name::JOURNAL]);
        let keys = Keys::new(bundle, Some(slot_id));
        Ok(Self::assemble(backend, runtime, options, (config, keys)))
    }
}

/// A slot of the owner's with a label, made at a time, and its name.
pub(super) fn owner_slot(
    owner: &OwnerKeys,
    bundle: &Bundle,
    (label, created): (String, i64),
    password: NewPassword<'_>,
    random: [u8; 32],
) -> Result<(ObjectId, Vec<u8>)> {
    let (domain, verifying) = (owner.domain(OWNER_DOMAIN), bundle.owner.verifying);
    let new = NewSlot { bundle, label, created, domain, verifying };
    let slot =
        encoding("a key slot", slot::seal(&new, Some(password), Salt::Fresh(random), &owner.signing().signing_key()))?;
    Ok((ObjectId::of(&slot), slot))
}

/// What all repositories begin with.
pub(super) fn new_config(owner: &OwnerKeys, created: i64) -> Config {
    Config {
        profiles: vec![PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE],
        pack_bytes: 16 << 20,
        required_features: 0,
        owner: owner.public().verifying,
        created,
    }
}
