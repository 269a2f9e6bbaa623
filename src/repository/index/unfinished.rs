//! What runs have stored that did not end, or that go on: no snapshot needs it yet, and it stays for a while so that they,
//! or those that come after them, need not store it again. How much that is, and until when, is said wherever somebody
//! wonders where the room has gone.

use super::loose;
use crate::repository::objects::index_objects::{IndexObjects, PackListing, current};
use crate::repository::objects::marks::{Marks, Unreadable};
use crate::repository::objects::snapshots::Snapshots;
use crate::repository::{Repository, Result};
use crate::time::StoreTime;
use std::collections::BTreeSet;
use std::time::Duration;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Packs that are kept for a run that may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// How many.
    pub packs: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// When the last of them may go.
    pub until: Option<StoreTime>,
}

impl Unfinished {
    /// Adds a pack that stays for so long after its arrival.
    pub(crate) fn add(&mut self, bytes: u64, arrived: Option<StoreTime>, stays: Duration) {
        self.packs += 1;
        self.bytes += bytes;
        self.until = self.until.max(arrived.map(|at| at + stays));
    }
}

/// Adds up what no snapshot can need: packs in no index, and those that are younger than every snapshot of their domain.
/// Only the owner's index objects tell of all packs.
pub(crate) fn look(
    repository: &Repository,
    packs: &PackListing,
    objects: &IndexObjects,
    snapshots: &Snapshots,
) -> Result<Unfinished> {
    let options = repository.options();
    let marks = Marks::load_with(repository, Unreadable::NamesNothing)?;
    let mut unfinished = Unfinished::default();
    let arrived = |id: &ObjectId| packs.get(id).and_then(|(_, listed)| listed.modified);
    for (id, _, size) in loose::unindexed(repository, packs, objects, &marks) {
        unfinished.add(size, arrived(&id), options.grace);
    }
    let newest = snapshots.last_arrivals(|one| one.place.domain);
    let (now, lifetime) = (repository.presumed_store_now(), options.run_lifetime);
    let mut seen = BTreeSet::new();
    for object in current(&objects.good, repository.keys().owner_writer()) {
        let Name::Index(domain, ..) = object.name else { continue };
        for pack in object.index.packs.iter().filter(|pack| !marks.names(&pack.id) && seen.insert(pack.id)) {
            let is_young =
                |at: &StoreTime| newest.get(&domain).is_none_or(|newest| newest < at) && now.since(*at) <= lifetime;
            if let Some(at) = arrived(&pack.id).filter(is_young) {
                unfinished.add(pack.size, Some(at), lifetime);
            }
        }
    }
    Ok(unfinished)
}
