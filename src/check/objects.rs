//! The small objects: config and its copy, key slots, and the snapshots that something names. What can't be read was
//! found by whoever loads it; here is what only shows when objects are compared with each other.

use super::finding::Findings;
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::repository::objects::trust::Trust;
use crate::repository::view::View;
use crate::repository::view::memory::Memory;
use crate::repository::view::missing::Missing;
use crate::repository::{Hidden, Repository};
use vault_format::id::ObjectId;
use vault_format::name::{self, Name};

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

/// Orders and snapshots at which whoever deletes would stop, since something names them and nothing explains that they are gone.
pub(super) fn heads(view: &View, findings: &mut Findings) -> Result<Vec<Hidden>> {
    let hidden = view.still_hidden()?;
    for hidden in &hidden {
        let object = hidden.object.as_ref().map_or_else(|| name::ORDERS.to_owned(), Name::to_string);
        findings.add(object, &hidden.problem());
    }
    for Missing { id, by, .. } in view.still_missing()? {
        findings.miss(id, &format!("missing, though {by} names it"));
    }
    Ok(hidden)
}

/// A head that was kept elsewhere, and is not among the records that count: then what it names may be hidden with it. What
/// one names that is there is missed as all that records name.
pub(super) fn head(missing: Option<ObjectId>, findings: &mut Findings) {
    if let Some(id) = missing {
        let object = format!("{}…/{id}", name::JOURNAL);
        findings
            .add(object, "missing, or not to be read, though it was kept as a head: the store shows an older state");
    }
}

/// Key slots that this machine saw, and of which no record of a removal tells.
pub(super) fn lost_slots(memory: &Memory, of_keys: &str) -> Vec<String> {
    let gone = memory.lacks.iter().filter(|name| matches!(name, Name::Slot(id) if !of_keys.contains(&id.short())));
    gone.map(|name| format!("{name} is gone, though this machine saw it there, and no record says why")).collect()
}
