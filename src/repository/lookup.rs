//! Blob lookup: which pack, frame and bytes hold a blob. Filled from the index objects of accepted signers, and judged
//! against the listing of packs and the marks: a location counts only if its pack is there and each base of a delta has
//! a usable location of smaller depth. Index objects never prove that a pack exists.

use crate::repository::objects::index_objects::{IndexObject, IndexObjects, PackListing, current};
use crate::repository::objects::marks::Marks;
use crate::repository::objects::trust::Trust;
use crate::repository::{Repository, Result};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use vault_format::bundle::Role;
use vault_format::directory::Directory;
use vault_format::envelope::Wraps;
use vault_format::frame::{DEPTH_MAX, FrameCodec};
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, BlobKind, Class, DomainId, ObjectId, WriterId};
use vault_format::index::PackEntry;
use vault_format::name::Name;

/// Where a depth is asked for below which a frame must lie: any will do.
pub const ANY_DEPTH: u8 = DEPTH_MAX + 1;

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
    /// The key in use opens it, or opens no content anyway.
    pub within_reach: bool,
    /// When the store received it, nanoseconds on its clock; `None` if nobody tells.
    pub arrived: Option<i64>,
    /// No index tells of it, and anybody who holds the domain's book key may have made it.
    pub is_loose: bool,
}

impl PackRecord {
    /// A pack that is there, in no mark and within reach.
    pub fn new(entry: &PackEntry, header: Header, wraps: Arc<Wraps>) -> Self {
        let (id, class, size, salt) = (entry.id, entry.class, entry.size, entry.salt);
        let (present, condemned, within_reach, arrived, is_loose) = (true, false, true, None, false);
        Self { id, class, size, header, salt, wraps, present, condemned, within_reach, arrived, is_loose }
    }

    /// Of several packs with the same blob, those with the least of this may take the place of the others. The owner has
    /// read what he copied. Others may claim to have what they only know the id of, but not before somebody really had it.
    pub fn standing(&self, owner: WriterId) -> Option<(i64, ObjectId)> {
        (self.header.writer != owner).then_some((self.arrived.unwrap_or(i64::MAX), self.id))
    }

    /// True if new snapshots may rely on it: present, in no mark, and open to whoever must restore what relies on it.
    pub fn is_reliable(&self) -> bool {
        self.present && !self.condemned && self.within_reach && !self.is_loose
    }
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
    pub codec: FrameCodec,
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

/// The lookup: a handle, and clones of it share one table until one of them adds to it.
#[derive(Clone, Debug, Default)]
pub struct BlobLookup {
    table: Arc<Table>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    packs: Vec<PackRecord>,
    pack_numbers: HashMap<ObjectId, u32>,
    frames: Vec<FrameRecord>,
    first: HashMap<BlobId, Location>,
    // few blobs lie in more than one place
    more: HashMap<BlobId, Vec<Location>>,
    since: Option<i64>,
    opaque: BTreeSet<ObjectId>,
}

impl BlobLookup {
    /// The lookup over loaded index objects, judged against a listing of packs, if one is given, and marks.
    pub fn new(repository: &Repository, objects: &IndexObjects, packs: Option<&PackListing>, marks: &Marks) -> Self {
        let opaque = marks.opaque.iter().map(|mark| mark.id).collect();
        let mut index = Self { table: Arc::new(Table { since: marks.since, opaque, ..Table::default() }) };
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
        let keys = repository.keys();
        let wraps: Vec<Arc<Wraps>> = object.index.wraps.iter().cloned().map(Arc::new).collect();
        for entry in &object.index.packs {
            let Some(wraps) = wraps.get(usize::from(entry.wraps)) else { continue };
            let kind = if entry.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
            let header = Header { kind, repository: repository.id(), domain, writer: entry.writer };
            let listed = packs.and_then(|packs| packs.get(&entry.id)).map(|(_, listed)| listed);
            let present = packs.is_none() || listed.is_some_and(|listed| listed.size == entry.size);
            let arrived = listed.and_then(|listed| listed.modified);
            let condemned = marks.names(&entry.id) || marks.may_name(arrived);
            let record = PackRecord { present, condemned, arrived, ..PackRecord::new(entry, header, wraps.clone()) };
            // members of one domain may be writers, who wrap for the owner alone
            let within_reach = keys.role() != Role::Client || wraps.reaches(keys.domain());
            self.add_pack(PackRecord { within_reach, ..record }, &entry.directory);
        }
    }

    /// Adds one pack; a table that others share is copied first.
    pub fn add_pack(&mut self, record: PackRecord, directory: &Directory) {
        let table = Arc::make_mut(&mut self.table);
        if table.pack_numbers.contains_key(&record.id) {
            return;
        }
        let Ok(pack) = u32::try_from(table.packs.len()) else { return };
        table.pack_numbers.insert(record.id, pack);
        table.packs.push(record);
        let first_frame = table.frames.len();
        for place in directory.places() {
            let number = first_frame + place.frame as usize;
            if number == table.frames.len() {
                let Some(frame) = directory.frames.get(place.frame as usize) else { continue };
                table.frames.push(FrameRecord {
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
            match table.first.entry(place.blob.id) {
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(location);
                }
                std::collections::hash_map::Entry::Occupied(_) => {
                    table.more.entry(place.blob.id).or_default().push(location);
                }
            }
        }
    }

    /// When the marks were looked at by which it says what to rely on, nanoseconds since boot.
    pub fn since(&self) -> Option<i64> {
        self.table.since
    }

    /// Marks that nobody can read: no pack that the store had when they came is relied on by this.
    pub fn opaque(&self) -> &BTreeSet<ObjectId> {
        &self.table.opaque
    }

    /// All locations of a blob, usable or not.
    pub fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> + '_ {
        let more = self.table.more.get(id).map(Vec::as_slice).unwrap_or_default();
        self.table.first.get(id).into_iter().chain(more).copied()
    }

    /// A frame by position.
    pub fn frame(&self, number: u32) -> &FrameRecord {
        // positions come only from this index
        &self.table.frames[number as usize]
    }

    /// The pack of a frame.
    pub fn pack_of(&self, frame: u32) -> &PackRecord {
        &self.table.packs[self.frame(frame).pack as usize]
    }

    /// All packs.
    pub fn packs(&self) -> &[PackRecord] {
        &self.table.packs
    }

    /// All frames.
    pub fn frames(&self) -> &[FrameRecord] {
        &self.table.frames
    }

    /// All blobs, each once, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.table.first.keys()
    }

    /// The best usable location to read from, condemned or not: the one of least depth.
    pub fn usable(&self, id: &BlobId) -> Option<Location> {
        self.usable_where(id, ANY_DEPTH, &|pack| pack.present)
    }

    /// The same with a rule of the caller's for packs; only locations of a depth below `below` count.
    pub fn usable_where(&self, id: &BlobId, below: u8, counts: &dyn Fn(&PackRecord) -> bool) -> Option<Location> {
        self.all_usable(id, below, counts).min_by_key(|location| self.frame(location.frame).depth)
    }

    /// All usable locations by a rule of the caller's.
    pub fn all_usable<'a>(
        &'a self,
        id: &BlobId,
        below: u8,
        counts: &'a dyn Fn(&PackRecord) -> bool,
    ) -> impl Iterator<Item = Location> + 'a {
        self.locations(id).filter(move |location| {
            let frame = self.frame(location.frame);
            frame.depth < below
                && counts(self.pack_of(location.frame))
                && frame.bases.iter().all(|base| self.usable_where(base, frame.depth, counts).is_some())
        })
    }

    /// The position of a pack, and of its first frame; the others follow.
    pub fn position(&self, pack: &ObjectId) -> Option<(u32, u32)> {
        let number = *self.table.pack_numbers.get(pack)?;
        let first = self.table.frames.partition_point(|frame| frame.pack < number);
        Some((number, u32::try_from(first).ok()?))
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
