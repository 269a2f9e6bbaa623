//! Whether a snapshot of which repair made a copy without what was lost is whole again: everything that it needs lies in
//! packs that are there, since a later run stored it anew or a second place gave it. Then the snapshot itself is meant,
//! and not the copy. Content is not read for this, only pages of trees and lists.

use super::index::{self, ANY_DEPTH, BlobIndex, IndexObjects};
use super::marks::Marks;
use super::reader::Reader;
use super::snapshots::{Catalog, SnapshotEntry};
use super::{Repository, Result, reach};
use std::collections::HashSet;

/// True if nothing that it needs is missing.
pub fn is_whole(repository: &Repository, catalog: &Catalog, snapshot: &SnapshotEntry) -> Result<bool> {
    let (packs, _) = index::list_packs(repository)?;
    let objects = IndexObjects::load(repository, &catalog.trust, Some(snapshot.place.domain))?;
    let lookup = BlobIndex::new(repository, &objects, Some(&packs), &Marks::default());
    let reader = Reader::new(repository, &lookup);
    let mut is_whole = true;
    let mut each = |_, id| is_whole &= lookup.usable_where(&id, ANY_DEPTH, &|pack| pack.present).is_some();
    let unread = reach::reach(&reader, snapshot.head.root.id, &mut HashSet::new(), &mut each);
    match unread.into_iter().find(super::Error::is_unanswered) {
        Some(error) => Err(error),
        None => Ok(is_whole),
    }
}

/// What a copy that repair made was made of, if that is there, shown, and whole again.
pub fn instead<'c>(
    repository: &Repository,
    catalog: &'c Catalog,
    copy: &SnapshotEntry,
) -> Result<Option<&'c SnapshotEntry>> {
    let mut found = None;
    let mut at = copy.repaired_from();
    while let Some(id) = at {
        let Some(original) = catalog.snapshots.visible().find(|one| one.id == id) else { break };
        if is_whole(repository, catalog, original)? {
            found = Some(original);
        }
        // what a copy was made of has an id that came before it, so this ends
        at = original.repaired_from();
    }
    Ok(found)
}
