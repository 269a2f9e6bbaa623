//! Everything that a deleter must know, read in full or not at all: snapshots, orders, marks, index, the listing of
//! packs. An empty or shortened listing, an object that does not open, a prefix from the future: each is a reason to
//! stop. The config is read again after the listings, since a vanished mount lists as empty.

use crate::error::Result;
use crate::repository::index::{self, BlobIndex, IndexObject, IndexObjects, PackListing, PackRecord};
use crate::repository::marks::{Condemnation, Marks};
use crate::repository::orders::Orders;
use crate::repository::reader::Reader;
use crate::repository::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::trust::Trust;
use crate::repository::walk;
use crate::repository::writer::Place;
use crate::repository::{self, Error, Options, Repository, Rule, journal};
use std::collections::{BTreeSet, HashMap, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::index::PackEntry;
use vault_format::mark::SnapshotPlace;
use vault_format::name::Name;

/// One complete look at a repository.
pub(super) struct Survey {
    pub marks: Marks,
    pub packs: PackListing,
    pub objects: IndexObjects,
    /// Domains that have data, but no snapshot and no record of one: nobody can tell what lives there.
    pub unclear: BTreeSet<DomainId>,
    pub snapshots: Snapshots,
    /// Where an index tells of a pack: index object, entry.
    entries: HashMap<ObjectId, (usize, usize)>,
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
        // before snapshots, or a record of what is committed meanwhile would name one that is not listed yet; a record
        // that can't be read names nothing
        let records = journal::load(repository, &trust)?.0;
        let snapshots = Snapshots::load(repository, &trust, &orders, None)?;
        let objects = IndexObjects::load(repository, &trust, None)?;
        let (packs, _) = index::list_packs(repository)?;
        let due = marks.due_snapshots();
        // a listing that lags shows a snapshot that a sweep has deleted
        let is_gone = |name: &Name| name.id().is_some_and(|id| due.contains(&id) && orders.state(id).is_forgotten());
        let lost = snapshots.damaged.iter().filter(|(name, _)| !is_gone(name));
        let mut stopped = trust.damaged.iter().chain(&orders.damaged).chain(&objects.damaged).chain(lost);
        if let Some((_, problem)) = stopped.next() {
            return Err(unsafe_because(problem));
        }
        if let Some(unknown) = repository.unknown_objects()?.first() {
            return Err(unsafe_because(format!("{unknown} is not known to this program")));
        }
        let entries = entries(repository, &objects);
        let mut survey = Self { marks, packs, objects, unclear: BTreeSet::new(), snapshots, entries };
        if repository.options().keeps(Rule::DoubtListings) {
            let now = repository.runtime().clock.now();
            nothing_missing(&records, &survey.snapshots, &orders, (&survey.marks, now))?;
            survey.unclear = survey.unclear(&records);
        }
        let config = repository.backend().get(&Name::Config.to_string(), None)?;
        if ObjectId::of(&config) != repository.keys().config() {
            return Err(unsafe_because("the config has changed meanwhile"));
        }
        Ok(survey)
    }

    /// Domains with data that no mark names, of which neither a snapshot is listed nor a record tells of one.
    fn unclear(&self, records: &[journal::Read]) -> BTreeSet<DomainId> {
        let mut unclear = BTreeSet::new();
        for (pack, (object, _)) in &self.entries {
            if let Name::Index(domain, ..) = self.objects.objects[*object].name
                && self.packs.contains_key(pack)
                && !self.marks.names(pack)
            {
                unclear.insert(domain);
            }
        }
        for snapshot in &self.snapshots.all {
            unclear.remove(&snapshot.place.domain);
        }
        for (name, record) in records {
            if let Name::Journal(domain, ..) = name
                && !record.heads.is_empty()
            {
                unclear.remove(domain);
            }
        }
        unclear
    }

    /// True if the store shows no snapshot at all.
    pub fn is_empty(&self) -> bool {
        self.snapshots.all.is_empty()
    }

    /// True if the index of a domain tells of a pack.
    pub fn tells_of(&self, domain: DomainId, pack: &ObjectId) -> bool {
        self.entry(pack).is_some_and(|(object, _)| matches!(object.name, Name::Index(of, ..) if of == domain))
    }

    /// Where the copies of a pack of a domain go: to its own source, for the same readers.
    pub fn place_of(&self, domain: DomainId, pack: &PackRecord) -> Option<Place> {
        let (object, _) = self.entry(&pack.id)?;
        let Name::Index(of, label, _) = object.name else { return None };
        (of == domain).then(|| Place { domain, label, shared: pack.wraps.reaches(domain) })
    }

    /// What an index says of a pack, and in which index object.
    pub fn entry(&self, pack: &ObjectId) -> Option<(&IndexObject, &PackEntry)> {
        let (object, entry) = self.entries.get(pack)?;
        let object = self.objects.objects.get(*object)?;
        Some((object, object.index.packs.get(*entry)?))
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
        self.entries.contains_key(pack)
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
        for snapshot in self.snapshots.all.iter().filter(|snapshot| snapshot.place.domain == domain) {
            if !due.contains(&snapshot.place) {
                walk::blobs(&reader, &snapshot.head.root, &mut live).map_err(stop)?;
            }
        }
        Ok(live)
    }
}

pub(super) fn stop(error: repository::Error) -> crate::error::Error {
    unsafe_because(error.to_string())
}

/// A head that another or the journal names, and that nobody had removed, is missing: the listing is short, or somebody
/// deleted it. The newest heads, and all of them if the listing is empty, are named by the journal alone.
fn nothing_missing(
    records: &[journal::Read],
    snapshots: &Snapshots,
    orders: &Orders,
    (marks, now): (&Marks, i64),
) -> Result<()> {
    let known: BTreeSet<ObjectId> = snapshots.all.iter().map(|snapshot| snapshot.id).collect();
    // only a mark of age may have been carried out, at least in part
    let is_open = |mark: &&Condemnation| {
        !mark.swept
            && mark.put_at.is_some_and(|at| u64::try_from(now.saturating_sub(at)).is_ok_and(|age| age < mark.grace))
    };
    let (open, of_age): (Vec<_>, Vec<_>) = marks.condemnations.iter().partition(is_open);
    let (open, of_age) = (snapshots_of(&open), snapshots_of(&of_age));
    let is_missing = |id: &ObjectId| {
        // two prunes may have condemned it, one after the other
        let removed = of_age.contains(id) || orders.state(*id).is_forgotten() && !open.contains(id);
        !known.contains(id) && !removed && !orders.quarantined.contains(id)
    };
    for snapshot in &snapshots.all {
        if let Some(id) = snapshot.head.seen.iter().chain(&snapshot.head.parent).find(|id| is_missing(id)) {
            let what = format!("snapshot {} is missing, though {} names it", id.short(), snapshot.id.short());
            return Err(unsafe_because(what));
        }
    }
    for (name, record) in records {
        if let Some(id) = record.heads.iter().find(|id| is_missing(id)) {
            return Err(unsafe_because(format!("snapshot {} is missing, though {name} names it", id.short())));
        }
    }
    Ok(())
}

fn snapshots_of(marks: &[&Condemnation]) -> BTreeSet<ObjectId> {
    marks.iter().flat_map(|mark| mark.snapshots.iter()).map(|place| place.id).collect()
}

/// Where each pack is told of; replaced index objects tell of nothing.
fn entries(repository: &Repository, objects: &IndexObjects) -> HashMap<ObjectId, (usize, usize)> {
    let current: BTreeSet<&Name> =
        index::current(&objects.objects, repository.keys().owner_writer()).map(|object| &object.name).collect();
    let mut entries = HashMap::new();
    for (number, object) in objects.objects.iter().enumerate().filter(|(_, object)| current.contains(&object.name)) {
        for (entry, pack) in object.index.packs.iter().enumerate() {
            entries.entry(pack.id).or_insert((number, entry));
        }
    }
    entries
}
