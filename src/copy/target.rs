//! The repository that is copied into, as it was found at the start: lookup, snapshots and packs. Packs of a run of the
//! owner that was interrupted before its index was put get one now, so that nothing in them is sent again.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::index::{self, BlobIndex, IndexObject, IndexObjects, PackListing};
use crate::repository::loose::{self, LoosePack};
use crate::repository::marks::Marks;
use crate::repository::orders::Orders;
use crate::repository::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::trust::Trust;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::Name;

/// One look at the whole target.
pub(super) struct Target<'r> {
    repository: &'r Repository,
    marks: Marks,
    packs: PackListing,
    objects: IndexObjects,
    snapshots: Snapshots,
    adopted: Vec<LoosePack>,
    /// Snapshots of the owner as writer, oldest first.
    pub heads: Vec<ObjectId>,
}

/// What there is in one domain of the target.
pub(super) struct Domain {
    pub id: DomainId,
    pub index: BlobIndex,
    pub heads: Vec<ObjectId>,
    /// Copies by what they are copies of.
    pub copies: BTreeMap<ObjectId, ObjectId>,
    snapshots: Vec<SnapshotEntry>,
}

impl<'r> Target<'r> {
    /// Looks as a writer must (W1), and adopts what an interrupted run left.
    pub fn load(repository: &'r Repository, dry_run: bool) -> Result<Self> {
        let trust = Trust::load(repository)?;
        let orders = Orders::load(repository)?;
        let marks = Marks::load(repository)?;
        let (packs, _) = index::list_packs(repository)?;
        let objects = IndexObjects::load(repository, &trust, None)?;
        let snapshots = Snapshots::load(repository, &trust, &orders, None)?;
        let own = repository.keys().writer();
        let heads = snapshots.all.iter().filter(|snapshot| snapshot.header.writer == own);
        let heads = heads.map(|snapshot| snapshot.id).collect();
        let indexed: BTreeSet<ObjectId> =
            objects.objects.iter().flat_map(|object| object.index.packs.iter().map(|pack| pack.id)).collect();
        let is_loose = |id: &&ObjectId| !indexed.contains(id) && !marks.names(id);
        let loose: BTreeSet<ObjectId> = packs.keys().filter(is_loose).copied().collect();
        let (mut adopted, _) = loose::read(repository, &trust, &packs, &loose)?;
        adopted.retain(|pack| pack.header.writer == own);
        if !dry_run && !adopted.is_empty() {
            loose::put_index(repository, &adopted, &BTreeMap::new())?;
        }
        Ok(Self { repository, marks, packs, objects, snapshots, adopted, heads })
    }

    /// One domain of it.
    pub fn domain(&self, id: DomainId) -> Domain {
        let own = |object: &&IndexObject| matches!(object.name, Name::Index(of, ..) if of == id);
        let objects = self.objects.objects.iter().filter(own).cloned().collect();
        let objects = IndexObjects { objects, ..IndexObjects::default() };
        let mut index = BlobIndex::new(self.repository, &objects, Some(&self.packs), &self.marks);
        for pack in self.adopted.iter().filter(|pack| pack.header.domain == id) {
            index.add_pack(&pack.entry, pack.header, Arc::new(pack.wraps.clone()), true, false);
        }
        let snapshots = self.snapshots.visible().filter(|snapshot| snapshot.place.domain == id).cloned().collect();
        Domain { id, index, heads: self.heads.clone(), copies: BTreeMap::new(), snapshots }
    }
}

impl Domain {
    /// The copy of a snapshot that is there already. Without equal ids, what both come from has to tell.
    pub fn recognise(&self, snapshot: &SnapshotEntry, like: bool) -> Option<ObjectId> {
        let (head, origin) = (&snapshot.head, super::origin(snapshot));
        let is_copy = |copy: &&SnapshotEntry| {
            let other = &copy.head;
            let same = other.source == head.source
                && other.time == head.time
                && (other.root.bytes, other.root.count) == (head.root.bytes, head.root.count);
            same && if like { other.root.id == head.root.id } else { super::origin(copy) == origin }
        };
        self.snapshots.iter().find(is_copy).map(|copy| copy.id)
    }
}
