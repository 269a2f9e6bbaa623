//! Whether a snapshot of which repair made a copy without what was lost is whole again: everything that it needs lies in
//! packs that are there, since a later run stored it anew or a second place gave it. Then the snapshot itself is meant,
//! and not the copy. Content is not read for this, only pages of trees and lists.

use super::reach;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::index_objects;
use crate::repository::objects::index_objects::IndexObjects;
use crate::repository::objects::marks::Marks;
use crate::repository::objects::snapshots::{Catalog, SnapshotEntry};
use crate::repository::objects::trust::Trust;
use crate::repository::read::reader::Reader;
use crate::repository::{Error, Repository, Result};
use std::collections::HashSet;

/// True if nothing that it needs is missing.
pub fn is_whole(repository: &Repository, trust: &Trust, snapshot: &SnapshotEntry) -> Result<bool> {
    let (packs, _) = index_objects::list_packs(repository)?;
    let objects = IndexObjects::load(repository, trust, Some(snapshot.place.domain))?;
    let lookup = BlobLookup::new(repository, objects, Some(&packs), &Marks::default())?;
    let reader = Reader::new(repository, &lookup);
    let mut is_whole = true;
    let mut each = |_, id| is_whole &= lookup.is_there(&id);
    let unread = reach::reach(&reader, snapshot.head.root.id, &mut HashSet::new(), &mut each);
    match unread.into_iter().find(Error::is_unanswered) {
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
    let (mut at, mut seen) = (copy, HashSet::from([copy.id]));
    // first the snapshot itself, then copies that lost less
    let of = |at: &SnapshotEntry| {
        let mut all = catalog.snapshots.visible().filter(|one| at.is_left_of(one));
        let first = all.next()?;
        Some(if first.left_of().is_none() { first } else { all.find(|one| one.left_of().is_none()).unwrap_or(first) })
    };
    while let Some(original) = of(at).filter(|original| seen.insert(original.id)) {
        if is_whole(repository, &catalog.trust, original)? {
            found = Some(original);
        }
        at = original;
    }
    Ok(found)
}
