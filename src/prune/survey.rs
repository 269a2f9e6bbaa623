//! Everything that a deleter must know, seen in full or not at all (M1), and what snapshots need by it. A listing that is
//! empty or too short is a reason to stop, as damage is.

use crate::error::Result;
use crate::repository::lookup::{BlobLookup, PackRecord};
use crate::repository::objects::index_objects;
use crate::repository::objects::index_objects::{IndexObject, IndexObjects, PackListing};
use crate::repository::objects::marks::Marks;
use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::missing::Heads;
use crate::repository::view::{Doubts, View};
use crate::repository::write::writer::Place;
use crate::repository::{Doubt, Error, Options, Repository};
use std::collections::{BTreeSet, HashMap, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::index::PackEntry;
use vault_format::mark::SnapshotPlace;
use vault_format::name::Name;

/// What snapshots need.
#[derive(Default)]
pub(super) struct Live {
    /// What those need that are not forgotten.
    pub needed: HashSet<(BlobKind, BlobId)>,
    /// What members must be able to read of it; nothing if they can read all packs.
    pub shared: HashSet<BlobId>,
    /// What forgotten ones need besides, as far as it can be told.
    pub wished: HashSet<(BlobKind, BlobId)>,
}

/// One complete look at a repository.
pub(super) struct Survey {
    pub marks: Marks,
    pub packs: PackListing,
    pub objects: IndexObjects,
    /// Domains that have data, but no snapshot and no record of one: nobody can tell what lives there.
    pub unclear: BTreeSet<DomainId>,
    pub snapshots: Snapshots,
    /// Domains that nobody can judge.
    pub doubts: Doubts,
    /// Where an index tells of a pack: index object, entry.
    entries: HashMap<ObjectId, (usize, usize)>,
}

pub(super) fn unsafe_because(why: impl Into<Doubt>) -> crate::error::Error {
    Error::Unsafe(why.into()).into()
}

impl Survey {
    pub fn take(repository: &Repository) -> Result<Self> {
        repository.distrust_cache();
        let view = View::to_delete(repository)?;
        let doubts = view.doubts()?;
        let View { marks, heads, snapshots, objects, packs, .. } = view;
        let entries = entries(repository, &objects);
        let mut survey = Self { marks, packs, objects, unclear: BTreeSet::new(), snapshots, doubts, entries };
        survey.unclear = survey.unclear(&heads);
        Ok(survey)
    }

    /// Domains with data that no mark names, of which neither a snapshot is listed nor a record tells of one.
    fn unclear(&self, heads: &Heads) -> BTreeSet<DomainId> {
        let mut unclear = BTreeSet::new();
        for (pack, (object, _)) in &self.entries {
            if let Some(domain) = self.objects.good[*object].name.domain()
                && self.packs.contains_key(pack)
                && !self.marks.names(pack)
            {
                unclear.insert(domain);
            }
        }
        let told = self.snapshots.all.iter().map(|snapshot| snapshot.place.domain).chain(heads.domains.iter().copied());
        let told: BTreeSet<DomainId> = told.collect();
        &unclear - &told
    }

    /// True if the store shows no snapshot at all.
    pub fn is_empty(&self) -> bool {
        self.snapshots.all.is_empty()
    }

    /// True if the index of a domain tells of a pack.
    pub fn tells_of(&self, domain: DomainId, pack: &ObjectId) -> bool {
        self.entry(pack).is_some_and(|(object, _)| object.name.domain() == Some(domain))
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
        let object = self.objects.good.get(*object)?;
        Some((object, object.index.packs.get(*entry)?))
    }

    /// Snapshots that the owner ordered forgotten and does not hold.
    pub fn forgotten(&self, options: &Options) -> BTreeSet<SnapshotPlace> {
        let forgotten = self.snapshots.all.iter().filter(|snapshot| !options.protocol.is_live(&snapshot.state));
        forgotten.map(|snapshot| snapshot.place).collect()
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
        let indexed = self.objects.good.iter().filter_map(|object| object.name.domain());
        indexed.chain(self.snapshots.all.iter().map(|snapshot| snapshot.place.domain)).collect()
    }

    /// Packs that may be those of a domain that is left out: what its index objects name, and what no index tells of,
    /// since an index of it may be what can't be read.
    pub fn withheld(&self, doubts: &Doubts) -> BTreeSet<ObjectId> {
        if doubts.is_empty() {
            return BTreeSet::new();
        }
        let is_doubted = |object: &&IndexObject| object.name.domain().is_some_and(|one| doubts.contains_key(&one));
        let doubted = self.objects.good.iter().filter(is_doubted);
        let named: HashSet<ObjectId> =
            doubted.flat_map(|object| object.index.packs.iter().map(|pack| pack.id)).collect();
        self.packs.keys().filter(|id| named.contains(id) || !self.is_indexed(id)).copied().collect()
    }

    /// The lookup of one domain: nobody else's copies count for it.
    pub fn lookup(&self, repository: &Repository, domain: DomainId) -> Result<BlobLookup> {
        let current = index_objects::current(&self.objects.good, repository.keys().owner_writer());
        let own = current.filter(|object| object.name.domain() == Some(domain));
        Ok(BlobLookup::over(repository, own, Some(&self.packs), &self.marks)?)
    }

    /// The same as if nothing had ever told of the packs that marks name, or of those that members can't read if it is
    /// `for_members`: a reader tries all that it knows.
    pub fn lookup_outside_marks(
        &self,
        repository: &Repository,
        domain: DomainId,
        for_members: bool,
    ) -> Result<BlobLookup> {
        let own = |object: &&IndexObject| object.name.domain() == Some(domain);
        let mut objects: Vec<IndexObject> = self.objects.good.iter().filter(own).cloned().collect();
        for IndexObject { index, .. } in &mut objects {
            let serves = |pack: &PackEntry| {
                !for_members || index.wraps.get(pack.wraps as usize).is_some_and(|wraps| wraps.reaches(domain))
            };
            index.packs.retain(|pack| !self.marks.names(&pack.id) && serves(pack));
        }
        let objects = IndexObjects { good: objects, ..IndexObjects::default() };
        Ok(BlobLookup::new(repository, objects, Some(&self.packs), &self.marks)?)
    }

    /// Every blob that the snapshots of a domain need, but for those that are `due`.
    pub fn live(
        &self,
        repository: &Repository,
        lookup: &BlobLookup,
        domain: DomainId,
        due: &BTreeSet<SnapshotPlace>,
    ) -> Result<Live> {
        let reader = Reader::new(repository, lookup);
        let forgotten = self.forgotten(repository.options());
        let here = |snapshot: &&SnapshotEntry| snapshot.place.domain == domain && !due.contains(&snapshot.place);
        let (wished, needed): (Vec<_>, Vec<_>) =
            self.snapshots.all.iter().filter(here).partition(|snapshot| forgotten.contains(&snapshot.place));
        let remnants: Vec<_> = needed.iter().copied().filter(|one| one.left_of().is_some()).collect();
        let is_saved = |one: &&SnapshotEntry| remnants.iter().any(|remnant| remnant.is_left_of(one));
        let (damaged, needed): (Vec<_>, Vec<_>) = needed.into_iter().partition(is_saved);
        let (shared, own): (Vec<_>, Vec<_>) = needed.into_iter().partition(|snapshot| snapshot.is_shared());
        let mut live = Live::default();
        let mut seen = HashSet::new();
        for snapshot in ahead(&reader, shared) {
            let walked = reach::all(&reader, snapshot.head.root.id, &mut seen, &mut live.needed);
            walked.map_err(|error| incomplete(snapshot, error))?;
        }
        let has_private = lookup.packs().any(|(_, pack)| !pack.wraps.reaches(domain));
        if has_private {
            live.shared = live.needed.iter().map(|(_, id)| *id).collect();
        }
        for snapshot in ahead(&reader, own) {
            let walked = reach::all(&reader, snapshot.head.root.id, &mut seen, &mut live.needed);
            walked.map_err(|error| incomplete(snapshot, error))?;
        }
        // what others need of it may not be shared yet, so it is walked anew
        let mut seen_damaged = HashSet::new();
        for snapshot in damaged {
            // repair has saved beside it what is left; of itself all that is there stays, and may be whole again one day
            let mut each = |kind, id| {
                if lookup.is_there(&id) {
                    live.needed.insert((kind, id));
                    if snapshot.is_shared() && has_private {
                        live.shared.insert(id);
                    }
                }
            };
            reach::reach(&reader, snapshot.head.root.id, &mut seen_damaged, &mut each).map_err(stop)?;
        }
        for snapshot in ahead(&reader, wished) {
            // what is broken and forgotten must not stop anybody
            let mut each = |kind, id| live.wished.extend([(kind, id)]);
            reach::reach(&reader, snapshot.head.root.id, &mut seen, &mut each).map_err(stop)?;
        }
        live.wished.retain(|blob| !live.needed.contains(blob));
        Ok(live)
    }
}

/// Gives snapshots with the first page of each read before it is asked for.
fn ahead<'s>(reader: &Reader, snapshots: Vec<&'s SnapshotEntry>) -> impl Iterator<Item = &'s SnapshotEntry> {
    (0..).zip(snapshots.clone()).map(move |(number, snapshot)| {
        if usize::is_multiple_of(number, reach::AHEAD) {
            let next = snapshots.iter().skip(number).take(reach::AHEAD);
            let roots: BTreeSet<BlobId> = next.map(|one| one.head.root.id).collect();
            reader.read_ahead(BlobKind::Tree, &Vec::from_iter(roots));
        }
        snapshot
    })
}

/// Whatever a snapshot lost may be found again, so nothing goes before its owner gave it up, or saved what is left.
fn incomplete(snapshot: &SnapshotEntry, error: Error) -> crate::error::Error {
    match error.is_damage() {
        true => unsafe_because(Doubt::NotWhole { snapshot: snapshot.id, error: Box::new(error) }),
        false => stop(error),
    }
}

/// What is damaged leaves its domain out; a store that does not answer ends it all.
pub(super) fn stop(error: Error) -> crate::error::Error {
    if error.is_damage() { unsafe_because(error.to_string()) } else { error.into() }
}

/// M4: a domain that can't be judged is left out; any other error stays.
pub(super) fn leave_out(doubts: &mut Doubts, domain: DomainId, error: crate::error::Error) -> Result<()> {
    let doubt = match error {
        crate::error::Error::Repository(Error::Unsafe(doubt)) => doubt,
        crate::error::Error::Repository(error) if error.is_damage() => error.to_string().into(),
        error => return Err(error),
    };
    doubts.entry(domain).or_insert(doubt);
    Ok(())
}

/// Where each pack is told of; replaced index objects tell of nothing.
fn entries(repository: &Repository, objects: &IndexObjects) -> HashMap<ObjectId, (usize, usize)> {
    let numbers: HashMap<&Name, usize> = objects.good.iter().map(|object| &object.name).zip(0..).collect();
    let mut entries = HashMap::new();
    for object in index_objects::current(&objects.good, repository.keys().owner_writer()) {
        for (entry, pack) in object.index.packs.iter().enumerate() {
            entries.entry(pack.id).or_insert((numbers[&object.name], entry));
        }
    }
    entries
}
