//! Figures of a repository: what each source holds, what each run added and why, and what all of it costs to store.
//! They come from heads, the index and one listing; what a source costs and what changed in a run take pages of trees.

mod cost;
mod overhead;

pub use cost::{Added, Blobs, Cost, Costs, Needed, costs};

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::index::unfinished;
use crate::repository::index::unfinished::Unfinished;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::index_objects::{IndexObjects, PackListing};
use crate::repository::objects::marks::Marks;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::changes::{Changes, Difference};
use crate::repository::view::View;
use overhead::Overhead;
use std::collections::BTreeMap;
use vault_format::bundle::Role;
use vault_format::id::{BlobKind, Class, DomainId, ObjectId};
use vault_format::name::Name;
use vault_format::tree::{Node, NodeKind};

/// Most changes of a run that are named.
pub const LARGEST_MAX: usize = 10;

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objects {
    /// How many.
    pub count: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Packs of content.
    pub data: Objects,
    /// Packs of trees and lists.
    pub metadata: Objects,
    /// Index objects.
    pub index: Objects,
    /// Snapshots.
    pub snapshots: Objects,
    /// Everything else.
    pub other: Objects,
    /// Content bytes of all visible snapshots together.
    pub logical_bytes: u64,
    /// Content bytes in different blobs.
    pub unique_bytes: u64,
    /// Bytes of content frames before they were compressed.
    pub plain_bytes: u64,
    /// Bytes of the same frames in packs.
    pub compressed_bytes: u64,
    /// Kept though no snapshot needs it yet, for a run that may go on; only the owner can tell.
    pub unfinished: Unfinished,
    /// Index objects that could not be used, with the reason.
    pub damaged: Vec<String>,
    /// What is stored beside frames.
    overhead: Overhead,
}

impl Stored {
    /// All stored bytes.
    pub fn bytes(&self) -> u64 {
        [self.data, self.metadata, self.index, self.snapshots, self.other].iter().map(|objects| objects.bytes).sum()
    }
}

/// Visible snapshots of one source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Source<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its domain.
    pub domain: DomainId,
    /// Oldest first, never empty.
    pub snapshots: Vec<&'c SnapshotEntry>,
}

/// The visible snapshots by source; only of those that `name`, as `NAME` or `DOMAIN/NAME`, means, if one is given.
pub fn sources<'c>(catalog: &'c View, name: Option<&str>) -> Result<Vec<Source<'c>>> {
    let asked = name.map(|name| catalog.snapshots.source(name)).transpose()?;
    let mut sources: BTreeMap<(&str, DomainId), Vec<&SnapshotEntry>> = BTreeMap::new();
    for snapshot in catalog.snapshots.visible().filter(|one| asked.as_ref().is_none_or(|asked| asked.fits(one))) {
        sources.entry((&snapshot.head.source, snapshot.place.domain)).or_default().push(snapshot);
    }
    Ok(sources.into_iter().map(|((name, domain), snapshots)| Source { name, domain, snapshots }).collect())
}

/// Looks at the store as far as the key can see.
pub fn stored(repository: &Repository, catalog: &View) -> Result<Stored> {
    let (mut stored, mut packs) = (Stored::default(), PackListing::new());
    for entry in repository.backend().list("")? {
        let name = Name::parse(&entry.name);
        let objects = match name {
            Some(Name::Pack(Class::Data, _)) => &mut stored.data,
            Some(Name::Pack(Class::Metadata, _)) => &mut stored.metadata,
            Some(Name::Index(..)) => &mut stored.index,
            Some(Name::Snapshot(..)) => &mut stored.snapshots,
            _ => &mut stored.other,
        };
        objects.count += 1;
        objects.bytes += entry.size;
        name.iter().for_each(|name| stored.overhead.note(name, &entry));
        if let Some(Name::Pack(class, id)) = name {
            packs.insert(id, (class, entry));
        }
    }
    let objects = IndexObjects::load(repository, &catalog.trust, None)?;
    stored.overhead.divide(repository, &objects);
    if repository.keys().role() == Role::Owner {
        stored.unfinished = unfinished::look(repository, &packs, &objects, &catalog.snapshots)?;
    }
    stored.damaged = objects.damaged.iter().map(ToString::to_string).collect();
    let index = BlobLookup::new(repository, objects, None, &Marks::default())?;
    for (_, frame) in index.frames() {
        if index.pack(frame.pack)?.class == Class::Data {
            stored.plain_bytes += u64::from(frame.plain);
            stored.compressed_bytes += u64::from(frame.stored);
        }
    }
    let content = |id| index.known_places(&id).next().filter(|place| place.kind == BlobKind::Chunk);
    stored.unique_bytes = index.blobs().filter_map(content).map(|place| u64::from(place.length)).sum();
    stored.logical_bytes = catalog.snapshots.visible().map(|snapshot| snapshot.head.statistics.bytes).sum();
    Ok(stored)
}

/// Files and their content bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub count: u64,
    /// Bytes that only one of the two sides has.
    pub bytes: u64,
}

/// One of the largest changes of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    /// Path; of a new or vanished folder only its own, not those below it.
    pub path: Vec<u8>,
    /// True for a folder.
    pub is_directory: bool,
    /// In what it changed.
    pub difference: Difference,
    /// Bytes that it added.
    pub added_bytes: u64,
    /// Bytes that it removed.
    pub removed_bytes: u64,
}

/// What a snapshot changed against the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Growth {
    /// The one before; `None` for the first of a source.
    pub parent: Option<ObjectId>,
    /// Files that are new.
    pub new: Files,
    /// Files of other content: their bytes that the version before lacked.
    pub changed: Files,
    /// Files that are gone.
    pub removed: Files,
    /// By bytes added, then removed, largest first.
    pub largest: Vec<Large>,
}

/// Compares a snapshot with its parent, or with the one before it in `source` if the parent is no more.
pub fn growth(
    repository: &Repository,
    catalog: &View,
    source: &Source<'_>,
    snapshot: &SnapshotEntry,
) -> Result<Growth> {
    let index = catalog.lookup(snapshot.place.domain)?;
    let reader = Reader::new(repository, &index);
    let visible = |id: ObjectId| catalog.snapshots.visible().find(|other| other.id == id);
    let before = source.snapshots.iter().rev().copied().find(|other| other.counted.time < snapshot.counted.time);
    let parent = snapshot.head.parent.and_then(visible).or(before);
    let mut growth = Growth { parent: parent.map(|parent| parent.id), ..Growth::default() };
    let old = parent.map(|parent| &parent.head.root);
    let changes = Changes::of_roots((&reader, old), (&reader, Some(&snapshot.head.root)));
    let mut whole: Vec<u8> = Vec::new();
    for change in changes {
        repository.runtime().check_stopped()?;
        let change = change?;
        let (mut added_bytes, mut removed_bytes) = change.bytes(&reader, &reader)?;
        let node = change.after.as_ref().or(change.before.as_ref());
        if let Some(Node { kind: NodeKind::File { .. }, .. }) = node {
            growth.count(change.difference, (added_bytes, removed_bytes));
        }
        let is_below =
            !whole.is_empty() && change.path.strip_prefix(whole.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
        if is_below || change.difference == Difference::Metadata {
            continue;
        }
        let is_directory = matches!(node, Some(Node { kind: NodeKind::Directory(_), .. }));
        if let (Some(Node { kind: NodeKind::Directory(root), .. }), true) = (node, is_directory) {
            match change.difference {
                Difference::Removed => removed_bytes = root.bytes,
                _ => added_bytes = root.bytes,
            }
            whole.clone_from(&change.path);
        }
        let (path, difference) = (change.path, change.difference);
        growth.rank(Large { path, is_directory, difference, added_bytes, removed_bytes });
    }
    Ok(growth)
}

impl Growth {
    fn count(&mut self, difference: Difference, (added, removed): (u64, u64)) {
        let (files, bytes) = match difference {
            Difference::Added => (&mut self.new, added),
            Difference::Removed => (&mut self.removed, removed),
            Difference::Type | Difference::Content => (&mut self.changed, added),
            Difference::Metadata => return,
        };
        files.count += 1;
        files.bytes = files.bytes.saturating_add(bytes);
    }

    fn rank(&mut self, large: Large) {
        let size = |large: &Large| (large.added_bytes, large.removed_bytes);
        let at = self.largest.partition_point(|other| size(other) >= size(&large));
        if at < LARGEST_MAX {
            self.largest.insert(at, large);
            self.largest.truncate(LARGEST_MAX);
        }
    }
}
