//! Everything that a deleter must know, read in full or not at all: snapshots, orders, marks, index, the listing of
//! packs. An empty or shortened listing, an object that does not open, a prefix from the future: each is a reason to
//! stop. The config is read again after the listings, since a vanished mount lists as empty.

use crate::error::Result;
use crate::repository::index::{self, BlobIndex, IndexObject, IndexObjects, PackListing};
use crate::repository::marks::Marks;
use crate::repository::orders::Orders;
use crate::repository::reader::Reader;
use crate::repository::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::trust::Trust;
use crate::repository::walk::{self, Nodes};
use crate::repository::{self, Error, Options, Repository, Rule, journal};
use std::collections::{BTreeSet, HashSet};
use vault_format::frame::DEPTH_MAX;
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::mark::SnapshotPlace;
use vault_format::name::Name;
use vault_format::tree::{NodeKind, TreePage};

/// One complete look at a repository.
pub(super) struct Survey {
    pub marks: Marks,
    pub packs: PackListing,
    pub objects: IndexObjects,
    snapshots: Snapshots,
    indexed: BTreeSet<ObjectId>,
}

fn unsafe_because(why: impl Into<String>) -> crate::error::Error {
    Error::Unsafe(why.into()).into()
}

impl Survey {
    pub fn take(repository: &Repository) -> Result<Self> {
        repository.distrust_cache();
        let trust = Trust::load(repository)?;
        let orders = Orders::load(repository)?;
        let marks = Marks::load(repository)?;
        let snapshots = Snapshots::load(repository, &trust, &orders, None)?;
        let objects = IndexObjects::load(repository, &trust, None)?;
        let (packs, _) = index::list_packs(repository)?;
        let stopped = trust.damaged.iter().chain(&orders.damaged).chain(&objects.damaged);
        if let Some(problem) = stopped.chain(snapshots.damaged.iter().map(|(_, problem)| problem)).next() {
            return Err(unsafe_because(problem));
        }
        if let Some(unknown) = repository.unknown_objects()?.first() {
            return Err(unsafe_because(format!("{unknown} is not known to this program")));
        }
        if repository.options().keeps(Rule::DoubtListings) {
            nothing_missing(repository, &trust, &snapshots, &orders, &marks)?;
        }
        let config = repository.backend().get(&Name::Config.to_string(), None)?;
        if ObjectId::of(&config) != repository.keys().config() {
            return Err(unsafe_because("the config has changed meanwhile"));
        }
        let indexed = objects.objects.iter().flat_map(|object| object.index.packs.iter().map(|pack| pack.id)).collect();
        Ok(Self { marks, packs, objects, snapshots, indexed })
    }

    /// Snapshots that the owner ordered forgotten and does not hold.
    pub fn forgotten(&self, options: &Options) -> impl Iterator<Item = &SnapshotEntry> {
        let held = options.keeps(Rule::HeldIsLive);
        let is_live =
            move |snapshot: &SnapshotEntry| !snapshot.state.is_forgotten() || held && snapshot.state.is_held();
        self.snapshots.all.iter().filter(move |snapshot| !is_live(snapshot))
    }

    /// Named in a mark that is not carried out.
    pub fn is_due_already(&self, place: &SnapshotPlace) -> bool {
        self.marks.condemnations.iter().any(|mark| !mark.swept && mark.snapshots.contains(place))
    }

    pub fn is_indexed(&self, pack: &ObjectId) -> bool {
        self.indexed.contains(pack)
    }

    /// Domains that have snapshots or index objects.
    pub fn domains(&self) -> BTreeSet<DomainId> {
        let indexed = self.objects.objects.iter().filter_map(|object| match object.name {
            Name::Index(domain, ..) => Some(domain),
            _ => None,
        });
        indexed.chain(self.snapshots.all.iter().map(|snapshot| snapshot.place.domain)).collect()
    }

    /// The lookup of one domain: nobody else's copies count for it.
    pub fn lookup(&self, repository: &Repository, domain: DomainId) -> BlobIndex {
        let own = |object: &&IndexObject| matches!(object.name, Name::Index(of, ..) if of == domain);
        let objects = self.objects.objects.iter().filter(own).cloned().collect();
        let objects = IndexObjects { objects, ..IndexObjects::default() };
        BlobIndex::new(repository, &objects, Some(&self.packs), &self.marks)
    }

    /// Every blob that the snapshots of a domain need, but for those that are `due`.
    pub fn live(
        &self,
        repository: &Repository,
        lookup: &BlobIndex,
        domain: DomainId,
        due: &BTreeSet<SnapshotPlace>,
    ) -> Result<HashSet<(BlobKind, BlobId)>> {
        let reader = Reader::new(repository, lookup);
        let mut live = HashSet::new();
        let mut roots = Vec::new();
        for snapshot in self.snapshots.all.iter().filter(|snapshot| snapshot.place.domain == domain) {
            if !due.contains(&snapshot.place) {
                roots.push(snapshot.head.root);
            }
        }
        while let Some(root) = roots.pop() {
            if live.contains(&(BlobKind::Tree, root.id)) {
                continue;
            }
            let mut pages = vec![root.id];
            while let Some(id) = pages.pop() {
                live.insert((BlobKind::Tree, id));
                if let TreePage::Branch { children, .. } = walk::page(&reader, &id).map_err(stop)? {
                    pages.extend(children.iter().map(|child| child.root.id));
                }
            }
            for node in Nodes::new(&reader, &root) {
                match node.map_err(stop)?.kind {
                    NodeKind::Directory(root) => roots.push(root),
                    NodeKind::File { content, .. } => {
                        let (mut chunks, mut pages) = (Vec::new(), Vec::new());
                        let mut each = |chunk: vault_format::list::ChunkRef| {
                            chunks.push(chunk.id);
                            Ok(())
                        };
                        walk::chunks(&reader, &content, &mut each, &mut |page| pages.push(page)).map_err(stop)?;
                        live.extend(chunks.into_iter().map(|id| (BlobKind::Chunk, id)));
                        live.extend(pages.into_iter().map(|id| (BlobKind::List, id)));
                    }
                    _ => {}
                }
            }
        }
        Ok(live)
    }

    /// The packs, outside all marks, from which the live blobs of a domain are read.
    pub fn needed_packs(
        &self,
        repository: &Repository,
        domain: DomainId,
        due: &BTreeSet<SnapshotPlace>,
    ) -> Result<BTreeSet<ObjectId>> {
        let lookup = self.lookup(repository, domain);
        let mut numbers = BTreeSet::new();
        for (_, id) in self.live(repository, &lookup, domain, due)? {
            let outside = |pack: &index::PackRecord| pack.present && !pack.condemned;
            let present = |pack: &index::PackRecord| pack.present;
            if let Some(place) = lookup.usable_where(&id, DEPTH_MAX + 1, &outside) {
                lookup.collect_packs(place, &outside, &mut numbers);
            } else if lookup.usable_where(&id, DEPTH_MAX + 1, &present).is_none() {
                return Err(unsafe_because(Error::MissingBlob(id).to_string()));
            }
        }
        Ok(numbers.iter().filter_map(|number| lookup.packs().get(*number as usize)).map(|pack| pack.id).collect())
    }
}

fn stop(error: repository::Error) -> crate::error::Error {
    unsafe_because(error.to_string())
}

/// A head that another or the journal names, and that nobody had removed, is missing: the listing is short, or somebody
/// deleted it. The newest heads, and all of them if the listing is empty, are named by the journal alone.
fn nothing_missing(
    repository: &Repository,
    trust: &Trust,
    snapshots: &Snapshots,
    orders: &Orders,
    marks: &Marks,
) -> Result<()> {
    let known: BTreeSet<ObjectId> = snapshots.all.iter().map(|snapshot| snapshot.id).collect();
    let due: BTreeSet<ObjectId> =
        marks.condemnations.iter().flat_map(|mark| mark.snapshots.iter().map(|place| place.id)).collect();
    let is_missing = |id: &ObjectId| {
        let removed = due.contains(id) || orders.state(*id).is_forgotten() || orders.quarantined.contains(id);
        !known.contains(id) && !removed
    };
    for snapshot in &snapshots.all {
        if let Some(id) = snapshot.head.seen.iter().chain(&snapshot.head.parent).find(|id| is_missing(id)) {
            let what = format!("snapshot {} is missing, though {} names it", id.short(), snapshot.id.short());
            return Err(unsafe_because(what));
        }
    }
    // a record that can't be read names nothing
    for (name, record) in journal::load(repository, trust)?.0 {
        if let Some(id) = record.heads.iter().find(|id| is_missing(id)) {
            return Err(unsafe_because(format!("snapshot {} is missing, though {name} names it", id.short())));
        }
    }
    Ok(())
}
