//! Whether a snapshot of which repair made a copy without what was lost is whole again: everything that it needs lies in
//! packs that are there, since a later run stored it anew or a second place gave it. Then the snapshot itself is meant,
//! and not the copy. Content is not read for this, only pages of trees and lists.

use super::reach;
use crate::repository::Result;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::view::View;
use std::collections::HashSet;

/// True if nothing that it needs is missing.
pub fn is_whole(view: &View, snapshot: &SnapshotEntry) -> Result<bool> {
    let lookup = view.lookup_of_listed(snapshot.place.domain)?;
    let reader = Reader::new(view.repository(), &lookup);
    let mut is_whole = true;
    let mut each = |_, id| is_whole &= lookup.is_there(&id);
    reach::reach(&reader, snapshot.head.root.id, &mut HashSet::new(), &mut each)?;
    Ok(is_whole)
}

/// What a copy that repair made was made of, if that is there, shown, and whole again.
pub fn instead<'v>(view: &'v View, copy: &SnapshotEntry) -> Result<Option<&'v SnapshotEntry>> {
    let mut found = None;
    let (mut at, mut seen) = (copy, HashSet::from([copy.id]));
    // first the snapshot itself, then copies that lost less
    let of = |at: &SnapshotEntry| {
        let mut all = view.snapshots.visible().filter(|one| at.is_left_of(one));
        let first = all.next()?;
        Some(if first.left_of().is_none() { first } else { all.find(|one| one.left_of().is_none()).unwrap_or(first) })
    };
    while let Some(original) = of(at).filter(|original| seen.insert(original.id)) {
        if is_whole(view, original)? {
            found = Some(original);
        }
        at = original;
    }
    Ok(found)
}
