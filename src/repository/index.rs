//! Blob lookup: which pack, frame and bytes hold a blob. Filled from the index objects of accepted signers, and judged
//! against the listing of packs and the marks: a location counts only if its pack is there and each base of a delta has
//! a usable location of smaller depth. Index objects never prove that a pack exists.

use super::marks::Marks;
use super::trust::Trust;
use super::{Repository, Result, encoding, of_object};
use crate::backend;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use vault_format::envelope::Wraps;
use vault_format::frame::{Codec, DEPTH_MAX};
use vault_format::id::{BlobId, BlobKind, Class, DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::name::{self, Name};
use vault_format::seal::{Header, Kind};

/// One pack that index objects tell of.
#[derive(Clone, Debug)]
pub struct PackRecord {
    /// Name.
    pub id: ObjectId,
    /// Class.
    pub class: Class,
    /// Stored size in bytes.
    pub size: u64,
    /// Its clear header.
    pub header: Header,
    /// Salt of its key.
    pub salt: [u8; 32],
    /// Wraps of its run.
    pub wraps: Arc<Wraps>,
    /// Listed with the right size.
    pub present: bool,
    /// Named in a mark.
    pub condemned: bool,
}

/// One frame.
#[derive(Clone, Debug)]
pub struct FrameRecord {
    /// Position of its pack.
    pub pack: u32,
    /// Nonce.
    pub ordinal: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Sealed length in bytes.
    pub stored: u32,
    /// Plaintext length in bytes.
    pub plain: u32,
    /// Codec.
    pub codec: Codec,
    /// 0 = whole.
    pub depth: u8,
    /// Hint for deltas.
    pub generation: u32,
    /// Bases.
    pub bases: Box<[BlobId]>,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Position of its frame.
    pub frame: u32,
    /// First byte in the frame's plaintext.
    pub at: u32,
    /// Length in bytes.
    pub length: u32,
    /// Kind.
    pub kind: BlobKind,
}

/// Which locations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To rely on when writing: present, and in no mark.
    Rely,
    /// To read: present, condemned or not.
    Read,
}

/// One index object that was loaded.
#[derive(Clone, Debug)]
pub struct IndexObject {
    /// Its name.
    pub name: Name,
    /// Its writer.
    pub writer: WriterId,
    /// What it holds.
    pub index: Index,
}

/// The lookup.
#[derive(Debug, Default)]
pub struct BlobIndex {
    packs: Vec<PackRecord>,
    pack_numbers: HashMap<ObjectId, u32>,
    frames: Vec<FrameRecord>,
    first: HashMap<BlobId, Location>,
    // few blobs lie in more than one place
    more: HashMap<BlobId, Vec<Location>>,
}

/// Index objects as they were loaded.
#[derive(Debug, Default)]
pub struct IndexObjects {
    /// Those that can be used, replaced ones included.
    pub objects: Vec<IndexObject>,
    /// Those that can't, with the reason.
    pub damaged: Vec<String>,
    /// The same as domain and name.
    pub damaged_ids: Vec<(DomainId, ObjectId)>,
}

impl IndexObjects {
    /// Loads the index objects of `domain`, or of all domains that this key can open.
    pub fn load(repository: &Repository, trust: &Trust, domain: Option<DomainId>) -> Result<Self> {
        let mut loaded = Self::default();
        let mut damaged = Vec::new();
        let prefix = domain.map_or(name::INDEX.to_owned(), |domain| format!("{}{domain}/", name::INDEX));
        for (name, _) in repository.list(&prefix)?.0 {
            let Name::Index(domain, ..) = &name else { continue };
            if repository.keys().book(*domain).is_none() {
                continue;
            }
            let Some(id) = name.id().filter(|id| !trust.quarantined.contains(id)) else { continue };
            match read(repository, trust, &name) {
                Ok(object) => loaded.objects.push(object),
                // one bad index must not cost the others
                Err(error) => damaged.push((id, *domain, error.to_string())),
            }
        }
        // the owner has replaced it, so nobody misses it
        let owner = repository.keys().owner_writer();
        let by_owner = loaded.objects.iter().filter(|object| object.writer == owner);
        let replaced: BTreeSet<ObjectId> =
            by_owner.flat_map(|object| object.index.supersedes.iter().copied()).collect();
        damaged.retain(|(id, ..)| !replaced.contains(id));
        loaded.damaged_ids = damaged.iter().map(|(id, domain, _)| (*domain, *id)).collect();
        loaded.damaged = damaged.into_iter().map(|(.., problem)| problem).collect();
        Ok(loaded)
    }
}

/// The packs that the store lists, with their sizes in bytes.
pub type PackListing = BTreeMap<ObjectId, (Class, backend::Entry)>;

/// Lists all packs; unknown names in the second part.
pub fn list_packs(repository: &Repository) -> Result<(PackListing, Vec<String>)> {
    let (known, unknown) = repository.list(name::PACKS)?;
    let packs = known.into_iter().filter_map(|(name, entry)| match name {
        Name::Pack(class, id) => Some((id, (class, entry))),
        _ => None,
    });
    Ok((packs.collect(), unknown))
}

/// Reads and verifies one index object.
pub fn read(repository: &Repository, trust: &Trust, name: &Name) -> Result<IndexObject> {
    let Name::Index(domain, _, id) = name else {
        return of_object(name, Err(vault_format::Error::WrongKind));
    };
    let stored = repository.get_named(name)?;
    let small = of_object(name, index::parse(&stored, repository.id()))?;
    let writer = small.header.writer;
    let verifying = trust.verifying(writer, *domain, *id).filter(|_| small.header.domain == *domain);
    let verifying = of_object(name, verifying.ok_or(vault_format::Error::WrongOrigin))?;
    of_object(name, small.verify(verifying, "an index"))?;
    let book = repository.keys().book(*domain).ok_or(vault_format::Error::NoAccess);
    let index = of_object(name, index::open(&small, &of_object(name, book)?))?;
    Ok(IndexObject { name: name.clone(), writer, index })
}

/// Puts an index object for a domain. Needs the owner.
pub(crate) fn put(repository: &Repository, domain: DomainId, label: SourceLabel, index: &Index) -> Result<Name> {
    let book = repository.keys().owner("write an index")?.book(domain);
    let salt = repository.runtime().random();
    let place = (repository.id(), domain);
    let sealed = index::seal(place, repository.keys().signer(), &book, &salt, (index, &Sketches::default()));
    let bytes = encoding("an index", sealed)?;
    let name = Name::Index(domain, label, ObjectId::of(&bytes));
    repository.put(&name, &bytes)?;
    Ok(name)
}

impl BlobIndex {
    /// The lookup over loaded index objects, judged against a listing of packs, if one is given, and marks.
    pub fn new(repository: &Repository, objects: &IndexObjects, packs: Option<&PackListing>, marks: &Marks) -> Self {
        let mut index = Self::default();
        for object in current(&objects.objects, repository.keys().owner_writer()) {
            index.add(repository, object, packs, marks);
        }
        index
    }

    /// The lookup of one domain for reading. Listings prove nothing to a reader, so none are taken.
    pub fn for_reading(repository: &Repository, trust: &Trust, domain: DomainId) -> Result<Self> {
        let objects = IndexObjects::load(repository, trust, Some(domain))?;
        Ok(Self::new(repository, &objects, None, &Marks::default()))
    }

    fn add(&mut self, repository: &Repository, object: &IndexObject, packs: Option<&PackListing>, marks: &Marks) {
        let Name::Index(domain, ..) = object.name else { return };
        let wraps: Vec<Arc<Wraps>> = object.index.wraps.iter().cloned().map(Arc::new).collect();
        for entry in &object.index.packs {
            let Some(wraps) = wraps.get(usize::from(entry.wraps)) else { continue };
            let kind = if entry.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
            let header = Header { kind, repository: repository.id(), domain, writer: entry.writer };
            let listed = packs.is_none_or(|packs| packs.get(&entry.id).is_some_and(|(_, at)| at.size == entry.size));
            self.add_pack(entry, header, wraps.clone(), listed, marks.names(&entry.id));
        }
    }

    /// Adds one pack.
    pub fn add_pack(&mut self, entry: &PackEntry, header: Header, wraps: Arc<Wraps>, present: bool, condemned: bool) {
        if self.pack_numbers.contains_key(&entry.id) {
            return;
        }
        let Ok(pack) = u32::try_from(self.packs.len()) else { return };
        let (id, class, size, salt) = (entry.id, entry.class, entry.size, entry.salt);
        self.pack_numbers.insert(id, pack);
        self.packs.push(PackRecord { id, class, size, header, salt, wraps, present, condemned });
        let first_frame = self.frames.len();
        for place in entry.directory.places() {
            let number = first_frame + place.frame as usize;
            if number == self.frames.len() {
                let Some(frame) = entry.directory.frames.get(place.frame as usize) else { continue };
                self.frames.push(FrameRecord {
                    pack,
                    ordinal: frame.ordinal,
                    offset: place.offset,
                    stored: frame.stored,
                    plain: place.plain,
                    codec: frame.codec,
                    depth: frame.depth,
                    generation: frame.generation,
                    bases: frame.bases.clone().into_boxed_slice(),
                });
            }
            let Ok(frame) = u32::try_from(number) else { continue };
            let location = Location { frame, at: place.at, length: place.blob.length, kind: place.blob.kind };
            match self.first.entry(place.blob.id) {
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(location);
                }
                std::collections::hash_map::Entry::Occupied(_) => {
                    self.more.entry(place.blob.id).or_default().push(location);
                }
            }
        }
    }

    /// All locations of a blob, usable or not.
    pub fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> + '_ {
        let more = self.more.get(id).map(Vec::as_slice).unwrap_or_default();
        self.first.get(id).into_iter().chain(more).copied()
    }

    /// A frame by position.
    pub fn frame(&self, number: u32) -> &FrameRecord {
        // positions come only from this index
        &self.frames[number as usize]
    }

    /// The pack of a frame.
    pub fn pack_of(&self, frame: u32) -> &PackRecord {
        &self.packs[self.frame(frame).pack as usize]
    }

    /// All packs.
    pub fn packs(&self) -> &[PackRecord] {
        &self.packs
    }

    /// All frames.
    pub fn frames(&self) -> &[FrameRecord] {
        &self.frames
    }

    /// All blobs, each once, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.first.keys()
    }

    /// The best usable location: the one of least depth.
    pub fn usable(&self, id: &BlobId, purpose: Purpose) -> Option<Location> {
        self.usable_where(id, DEPTH_MAX + 1, &|pack| pack.present && (purpose == Purpose::Read || !pack.condemned))
    }

    /// The same with a rule of the caller's for packs; only locations of a depth below `below` count.
    pub fn usable_where(&self, id: &BlobId, below: u8, counts: &dyn Fn(&PackRecord) -> bool) -> Option<Location> {
        self.locations(id)
            .filter(|location| {
                let frame = self.frame(location.frame);
                frame.depth < below
                    && counts(self.pack_of(location.frame))
                    && frame.bases.iter().all(|base| self.usable_where(base, frame.depth, counts).is_some())
            })
            .min_by_key(|location| self.frame(location.frame).depth)
    }

    /// Adds the packs on which reading a blob from `location` relies: its own and those of its bases.
    pub fn collect_packs(&self, location: Location, counts: &dyn Fn(&PackRecord) -> bool, out: &mut BTreeSet<u32>) {
        let frame = self.frame(location.frame);
        out.insert(frame.pack);
        for base in &frame.bases {
            if let Some(base) = self.usable_where(base, frame.depth, counts) {
                self.collect_packs(base, counts, out);
            }
        }
    }
}

/// Drops index objects that another one of the same writer, or of the owner, replaces.
pub fn current(objects: &[IndexObject], owner: WriterId) -> impl Iterator<Item = &IndexObject> {
    let mut replaced: BTreeMap<ObjectId, Vec<WriterId>> = BTreeMap::new();
    for object in objects {
        for id in &object.index.supersedes {
            replaced.entry(*id).or_default().push(object.writer);
        }
    }
    objects.iter().filter(move |object| {
        let by = object.name.id().and_then(|id| replaced.get(&id));
        !by.is_some_and(|writers| writers.iter().any(|writer| *writer == owner || *writer == object.writer))
    })
}
