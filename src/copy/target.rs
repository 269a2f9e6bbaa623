//! The repository that is copied into, as it was found at the start: lookup, snapshots and packs. A pack that no index
//! tells of is not there, unless this key has made it: nobody vouches for its content, and what it holds is sent again.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::index::inherited::Inherited;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::orders;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::tree::whole;
use crate::repository::view::View;
use std::collections::BTreeMap;
use std::sync::Arc;
use vault_format::id::{DomainId, ObjectId};
use vault_format::order::Action;

/// One look at the whole target.
pub(super) struct Target(View);

/// What there is in one domain of the target.
pub(super) struct Domain {
    pub id: DomainId,
    pub index: BlobLookup,
    /// Newest heads of the owner as writer, by source.
    heads: BTreeMap<String, Vec<ObjectId>>,
    /// Copies by what they are copies of.
    pub copies: BTreeMap<ObjectId, ObjectId>,
    snapshots: Vec<SnapshotEntry>,
    /// What this run has copied, by first ids.
    fresh: BTreeMap<ObjectId, ObjectId>,
}

impl Target {
    /// Looks as a writer must (W1).
    pub fn load(repository: &Repository) -> Result<Self> {
        Ok(Self(View::to_write(repository, None)?))
    }

    /// What earlier runs of this key have left in no index.
    pub fn left(&self) -> &Arc<Inherited> {
        &self.0.left
    }

    /// Has a domain called there as it is called here, where nobody has a key of it.
    pub fn call(&self, domain: DomainId, label: Option<&str>) -> Result<()> {
        if let Some(label) = label.filter(|label| !self.0.snapshots.domains.is_called(domain, label)) {
            let label = label.to_owned();
            orders::put(self.0.repository(), domain, Action::Call { domain, label })?;
        }
        Ok(())
    }

    /// True if its owner has dropped a copy of this snapshot, or the snapshot itself if it was taken here.
    pub fn declines(&self, snapshot: &SnapshotEntry) -> bool {
        self.0.orders.is_declined(snapshot.first_id())
            || snapshot.left_of().is_some_and(|id| self.0.orders.is_declined(id))
    }

    /// The copy of what a snapshot that repair made is left of, if that is there and whole: then the rest is not wanted.
    pub fn whole(&self, domain: &Domain, snapshot: &SnapshotEntry) -> Result<Option<ObjectId>> {
        let Some(first) = snapshot.left_of() else { return Ok(None) };
        if let Some(copy) = domain.fresh.get(&first) {
            return Ok(Some(*copy));
        }
        let is_it = |one: &&SnapshotEntry| one.first_id() == first && one.left_of().is_none();
        for copy in domain.snapshots.iter().filter(is_it) {
            if whole::is_whole(&self.0, copy)? {
                return Ok(Some(copy.id));
            }
        }
        Ok(None)
    }

    /// One domain of it.
    pub fn domain(&mut self, id: DomainId) -> Result<Domain> {
        let index = self.0.lookup_to_write(id)?;
        let own = |snapshot: &&SnapshotEntry| snapshot.place.domain == id;
        let mut heads: BTreeMap<String, Vec<ObjectId>> = BTreeMap::new();
        for snapshot in self.0.snapshots.all.iter().filter(own) {
            if snapshot.header.writer == self.0.repository().keys().writer() {
                heads.entry(snapshot.head.source.clone()).or_default().push(snapshot.id);
            }
        }
        let snapshots = self.0.snapshots.visible().filter(own).cloned().collect();
        Ok(Domain { id, index, heads, copies: BTreeMap::new(), snapshots, fresh: BTreeMap::new() })
    }
}

impl Domain {
    /// The newest heads of a source that the next one names, so that a missing one shows as a gap.
    pub fn seen(&self, source: &str) -> Vec<ObjectId> {
        self.heads.get(source).into_iter().flatten().rev().take(4).copied().collect()
    }

    /// A copy was committed.
    pub fn add(&mut self, original: &SnapshotEntry, copy: ObjectId) {
        self.heads.entry(original.head.source.clone()).or_default().push(copy);
        self.copies.insert(original.id, copy);
        self.came(original, copy);
    }

    /// Its content is there, or would be.
    pub fn came(&mut self, original: &SnapshotEntry, copy: ObjectId) {
        self.fresh.insert(original.first_id(), copy);
    }

    /// The copy of a snapshot that is there already. Without equal ids, what both come from has to tell.
    pub fn recognise(&self, snapshot: &SnapshotEntry, like: bool) -> Option<ObjectId> {
        let (head, origin) = (&snapshot.head, snapshot.first_id());
        let is_copy = |copy: &&SnapshotEntry| {
            let other = &copy.head;
            let same = other.source == head.source
                && (other.root.bytes, other.root.count) == (head.root.bytes, head.root.count);
            // the time that counts may have been another when it was copied
            let alike = like && other.root.id == head.root.id && copy.claimed() == snapshot.counted.time;
            // else what somebody took of the same state would stand for it, in buckets that others fill
            let alike = alike && copy.writer() == snapshot.writer();
            same && (alike || copy.first_id() == origin)
        };
        self.snapshots.iter().find(is_copy).map(|copy| copy.id)
    }
}
