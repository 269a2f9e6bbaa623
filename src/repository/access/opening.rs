//! What a place holds before a key is known: a config or its copy, and slots to try a password on. A config that is
//! missing or does not decode is as good as its copy; whether it is the right one only the opened bundle tells.

use crate::backend;
use crate::backend::{Backend, ErrorKind};
use crate::repository::objects::foreign;
use crate::repository::{Error, Result};
use vault_format::bundle::Bundle;
use vault_format::config::Config;
use vault_format::id::{ObjectId, RepositoryId};
use vault_format::name::{self, Name};
use vault_format::object::OBJECT_BYTES_MAX;
use vault_format::slot::Slot;

/// A config as it lies in the store, its signature by a key of its own choice.
pub(crate) struct StoredConfig {
    pub bytes: Vec<u8>,
    pub hash: ObjectId,
    pub repository: RepositoryId,
    pub config: Config,
}

impl StoredConfig {
    fn decode(bytes: Vec<u8>) -> vault_format::Result<Self> {
        let (repository, config) = Config::open(&bytes, None)?;
        Ok(Self { hash: ObjectId::of(&bytes), bytes, repository, config })
    }
}

/// An object's bytes; `None` if it is not there.
pub(crate) fn get(backend: &Backend, name: &Name) -> Result<Option<Vec<u8>>> {
    match backend.get(&name.to_string(), None) {
        Ok(stored) => Ok(Some(stored)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The config, else its copy.
pub(crate) fn config(backend: &Backend) -> Result<StoredConfig> {
    let place = || backend.describe().to_owned();
    // a vanished root is told from an empty one by the listing, not here
    let first = match get(backend, &Name::Config) {
        Err(Error::Backend(error)) if error.kind == ErrorKind::NoPlace => {
            return Err(Error::NoPlace(place(), error.cause));
        }
        first => first?,
    };
    let wrong = match first.map(StoredConfig::decode) {
        Some(Ok(found)) => return Ok(found),
        Some(Err(wrong)) => Some(wrong),
        None => None,
    };
    let copy = get(backend, &Name::ConfigCopy)?.map(StoredConfig::decode);
    match (copy, wrong) {
        (Some(Ok(copy)), _) => Ok(copy),
        (_, None) => Err(missing(backend)?),
        (_, Some(vault_format::Error::BadMagic | vault_format::Error::Truncated(_))) => match missing(backend)? {
            lost @ Error::LostConfig(_) => Err(lost),
            _ => Err(Error::NotARepository(place())),
        },
        (_, Some(source)) => Err(Error::Object { object: "config".into(), source }),
    }
}

/// What a place without a usable config is.
fn missing(backend: &Backend) -> Result<Error> {
    let place = backend.describe().to_owned();
    let found = match backend.list("") {
        Err(error) if error.kind == ErrorKind::NoPlace => return Ok(Error::NoPlace(place, error.cause)),
        found => found?,
    };
    let found: Vec<_> = found.into_iter().filter(|entry| !foreign::is_dropping(&entry.name)).collect();
    let is_content = |entry: &backend::Entry| {
        matches!(Name::parse(&entry.name), Some(Name::Pack(..) | Name::Snapshot(..) | Name::Index(..)))
    };
    if found.is_empty() {
        return Ok(Error::NoRepository(place));
    }
    if found.iter().any(is_content) {
        return Ok(Error::LostConfig(place));
    }
    let has_keys = found.iter().any(|entry| entry.name.starts_with(name::KEYS));
    Ok(if has_keys { Error::HalfMade(place) } else { Error::NotARepository(place) })
}

/// Fails if there is nothing that a key could open. Reading the objects may tell more.
pub fn probe(backend: &Backend) -> Result<()> {
    for name in [Name::Config, Name::ConfigCopy] {
        match backend.stat(&name.to_string()) {
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::NoPlace) => {}
            _ => return Ok(()),
        }
    }
    Err(missing(backend)?)
}

/// Tries the password on each slot that the owner of the config has signed: whoever can put may put slots too, and each
/// try may cost a gigabyte and many seconds. A slot that does not decode is passed over: another may open. Whether it is
/// the right config the bundle says in the end.
pub(crate) fn slot(backend: &Backend, config: &StoredConfig, password: &[u8]) -> Result<(Option<ObjectId>, Bundle)> {
    let (mut damage, mut is_signed, mut is_strange) = (None, false, false);
    // a listing may lag, and nobody can tell how many slots there should be: try all that there are
    for entry in backend.list(name::KEYS)? {
        let Some(name @ Name::Slot(hash)) = Name::parse(&entry.name) else { continue };
        // no slot is that large
        if entry.size > OBJECT_BYTES_MAX as u64 {
            continue;
        }
        // removed since it was listed
        let Some(stored) = get(backend, &name)? else { continue };
        if ObjectId::of(&stored) != hash {
            damage.get_or_insert(Error::Rot(name.to_string()));
            continue;
        }
        match Slot::parse(&stored).and_then(|slot| {
            if slot.repository() != config.repository {
                return Err(vault_format::Error::WrongRepository);
            }
            slot.verify(&config.config.owner)?;
            is_signed = true;
            slot.open(password)
        }) {
            // an old slot may have the same password as one that was made after a recovery
            Ok(bundle) if bundle.config != config.hash => {
                damage = Some(Error::ForeignConfig(backend.describe().to_owned()));
            }
            Ok(bundle) => return Ok((Some(hash), bundle)),
            Err(vault_format::Error::WrongPassword | vault_format::Error::NoAccess) => {}
            Err(vault_format::Error::BadSignature(_) | vault_format::Error::WrongOrigin) => is_strange = true,
            Err(source) => {
                damage.get_or_insert(Error::Object { object: name.to_string(), source });
            }
        }
    }
    // slots by an owner who is not that of the config: one of the two was swapped
    if is_strange && !is_signed {
        return Err(Error::ForeignConfig(backend.describe().to_owned()));
    }
    Err(damage.unwrap_or_else(|| Error::WrongPassword(backend.describe().to_owned())))
}
