//! The small objects: config and its copy, key slots, and the snapshots that something names. What can't be read was
//! found by whoever loads it; here is what only shows when objects are compared with each other.

use super::finding::Findings;
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::objects::trust::Trust;
use crate::repository::view::View;
use crate::repository::view::missing::Missing;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// The config opened, so one of the two is good: both should be.
pub(super) fn config(repository: &Repository, findings: &mut Findings) -> Result<()> {
    for name in [Name::Config, Name::ConfigCopy] {
        match repository.backend().get(&name.to_string(), None) {
            Ok(bytes) if ObjectId::of(&bytes) == repository.keys().config() => {}
            Ok(_) => findings.add(name, "its bytes are not those that the key vouches for"),
            Err(error) if error.kind == ErrorKind::NotFound => findings.add(name, "missing"),
            Err(error) if error.is_unanswered() => return Err(error.into()),
            Err(error) => findings.add(name, &error.to_string()),
        }
    }
    Ok(())
}

/// Whose keys missing slots were nobody can tell, but every repository begins with one of the owner's.
pub(super) fn slots(trust: &Trust, findings: &mut Findings) {
    // a damaged slot may be the one
    if trust.owner_slots == 0 && trust.damaged.is_empty() {
        findings.add("the owner's key slot", "missing: no password opens this repository as its owner");
    }
}

/// Snapshots at which whoever deletes would stop, since something names them and nothing explains that they are gone.
pub(super) fn heads(view: &View, findings: &mut Findings) -> Result<()> {
    for Missing { id, by, .. } in view.still_missing()? {
        findings.miss(id, &format!("missing, though {by} names it"));
    }
    Ok(())
}
