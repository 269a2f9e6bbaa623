//! Blob lookup: which pack, frame and bytes hold a blob. Filled from the index objects of accepted signers, and judged
//! against the listing of packs and the marks: a place counts only if its pack does by the rule of whoever asks, and each
//! base of a delta has such a place of smaller depth. Index objects never prove that a pack exists. It answers questions
//! and shows nothing of how it is stored.

mod cost;
mod rule;
mod table;

pub use cost::Cost;
pub use rule::PackRule;
pub use table::{BlobLocation, FrameNumber, FrameRecord, PackNumber, PackRecord, Table};

use crate::repository::objects::index_objects::{IndexObject, IndexObjects, PackListing, in_force};
use crate::repository::objects::marks::Marks;
use crate::repository::{Error, Repository, Result};
use crate::time::BootTime;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use vault_format::bundle::Role;
use vault_format::directory::Directory;
use vault_format::envelope::Wraps;
use vault_format::frame::DEPTH_MAX;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, Class, ObjectId};
use vault_format::name::Name;

/// Where a depth is asked for below which a frame must lie: any will do.
pub const ANY_DEPTH: u8 = DEPTH_MAX + 1;

/// The lookup: a handle, and clones of it share one table until one of them adds to it.
#[derive(Clone, Debug, Default)]
pub struct BlobLookup {
    table: Arc<Table>,
    since: Option<BootTime>,
    opaque: Arc<BTreeSet<ObjectId>>,
}

/// What anybody tells of, usable or not.
impl Deref for BlobLookup {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl BlobLookup {
    /// The lookup over loaded index objects, each of which is dropped as soon as the table has what it tells.
    pub fn new(
        repository: &Repository,
        objects: IndexObjects,
        packs: Option<&PackListing>,
        marks: &Marks,
    ) -> Result<Self> {
        let order = in_force(&objects.good, repository.keys().owner_writer()).into_iter();
        let mut objects: Vec<Option<IndexObject>> = objects.good.into_iter().map(Some).collect();
        Self::over(repository, order.filter_map(|number| objects.get_mut(number)?.take()), packs, marks)
    }

    /// The lookup over index objects as they are to be believed, the first that tells of a pack; others may need them still.
    pub fn over<O: Borrow<IndexObject>>(
        repository: &Repository,
        objects: impl Iterator<Item = O>,
        packs: Option<&PackListing>,
        marks: &Marks,
    ) -> Result<Self> {
        let opaque = Arc::new(marks.opaque.iter().map(|mark| mark.id).collect());
        let mut lookup = Self { table: Arc::default(), since: marks.since, opaque };
        for object in objects {
            lookup.add(repository, object.borrow(), packs, marks)?;
        }
        Ok(lookup)
    }

    fn add(
        &mut self,
        repository: &Repository,
        object: &IndexObject,
        packs: Option<&PackListing>,
        marks: &Marks,
    ) -> Result<()> {
        let Name::Index(domain, ..) = object.name else {
            return Err(Error::Bug("an index object has the name of something else"));
        };
        let keys = repository.keys();
        let wraps: Vec<Arc<Wraps>> = object.index.wraps.iter().cloned().map(Arc::new).collect();
        let (owner, mut reach) = (keys.owner_writer(), BTreeMap::new());
        for entry in &object.index.packs {
            let wraps =
                wraps.get(usize::from(entry.wraps)).ok_or(Error::Bug("a pack of a valid index has no wraps"))?;
            let kind = if entry.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
            let header = Header { kind, repository: repository.id(), domain, writer: entry.writer };
            let listed = packs.and_then(|packs| packs.get(&entry.id)).map(|(_, listed)| listed);
            let present = packs.is_none() || listed.is_some_and(|listed| listed.size == entry.size);
            let arrived = listed.and_then(|listed| listed.modified);
            let condemned = marks.names(&entry.id) || marks.may_name(arrived);
            // members of one domain may be writers, who wrap for the owner alone, or liars, whose wrap does not open
            let opens = || keys.role() != Role::Client || keys.opens(wraps, &header);
            let within_reach = *reach.entry((entry.wraps, entry.writer)).or_insert_with(opens);
            let is_opened = || object.writer == owner && object.index.opened.binary_search(&entry.id).is_ok();
            let vouched = [owner, keys.writer()].contains(&entry.writer) || is_opened();
            let record = PackRecord::new(entry, header, wraps.clone());
            let record = PackRecord { present, condemned, arrived, within_reach, vouched, ..record };
            self.add_pack(record, &entry.directory)?;
        }
        Ok(())
    }

    /// Adds one pack, unless it is there already; a table that others share is copied first.
    pub fn add_pack(&mut self, record: PackRecord, directory: &Directory) -> Result<()> {
        Arc::make_mut(&mut self.table).insert(record, directory)
    }

    /// Vouches for those packs that were opened whole just now.
    pub(crate) fn vouch(&mut self, is_good: &dyn Fn(&PackRecord) -> bool) {
        Arc::make_mut(&mut self.table).vouch(is_good);
    }

    /// When the marks were looked at by which it says what to rely on.
    pub fn since(&self) -> Option<BootTime> {
        self.since
    }

    /// Marks that nobody can read: no pack that the store had when they came is relied on by this.
    pub fn opaque(&self) -> &BTreeSet<ObjectId> {
        &self.opaque
    }

    /// The best usable place of a blob: the one of least depth.
    pub fn place(&self, id: &BlobId, rule: &PackRule<'_>) -> Option<BlobLocation> {
        self.place_below(id, ANY_DEPTH, rule)
    }

    /// The best usable place among those of a depth below `below`: where a delta of that depth finds its base.
    pub fn place_below(&self, id: &BlobId, below: u8, rule: &PackRule<'_>) -> Option<BlobLocation> {
        self.places_below(id, below, rule).min_by_key(|place| place.depth)
    }

    /// All usable places of a blob.
    pub fn places(&self, id: &BlobId, rule: &PackRule<'_>) -> impl Iterator<Item = BlobLocation> {
        self.places_below(id, ANY_DEPTH, rule)
    }

    /// All usable places of a depth below `below`.
    pub fn places_below(&self, id: &BlobId, below: u8, rule: &PackRule<'_>) -> impl Iterator<Item = BlobLocation> {
        self.table.known_places(id).filter(move |place| place.depth < below && self.is_usable(place, rule))
    }

    fn is_usable(&self, place: &BlobLocation, rule: &PackRule<'_>) -> bool {
        let has_place = |base: &BlobId| self.place_below(base, place.depth, rule).is_some();
        rule.takes(place.frame)
            && self.table.pack(place.pack).is_some_and(|pack| rule.counts(pack))
            && self.table.frame(place.frame).is_some_and(|frame| frame.bases.iter().all(has_place))
    }

    /// True if a blob has a place from which it may be read, condemned or not.
    pub fn is_there(&self, id: &BlobId) -> bool {
        self.place(id, &PackRule::THERE).is_some()
    }

    /// All places of a depth below `below` in the order in which a reader tries them: packs that are there before those
    /// that are not listed, those outside of marks before those that may go, and whole before delta. None is left out,
    /// for a listing may show too little.
    pub fn places_to_try(&self, id: &BlobId, below: u8) -> Vec<BlobLocation> {
        let mut places: Vec<BlobLocation> = self.table.known_places(id).filter(|place| place.depth < below).collect();
        places.sort_by_key(|place| {
            let pack = self.table.pack(place.pack);
            (pack.is_none_or(|pack| !pack.present), pack.is_none_or(|pack| pack.condemned), place.depth)
        });
        places
    }

    /// A frame. An error if the number is another lookup's.
    pub fn frame(&self, number: FrameNumber) -> Result<FrameRecord> {
        self.table.frame(number).cloned().ok_or(Error::Bug("a frame is asked for that is not in this lookup"))
    }

    /// All frames, those of one pack together as they lie.
    pub fn frames(&self) -> impl Iterator<Item = (FrameNumber, FrameRecord)> {
        self.table.frames().map(|(number, frame)| (number, frame.clone()))
    }

    /// A pack. An error if the number is another lookup's.
    pub fn pack(&self, number: PackNumber) -> Result<&PackRecord> {
        self.table.pack(number).ok_or(Error::Bug("a pack is asked for that is not in this lookup"))
    }

    /// Adds the packs on which reading a blob from `place` relies: its own and those of its bases.
    pub fn collect_packs(
        &self,
        place: BlobLocation,
        rule: &PackRule<'_>,
        out: &mut BTreeSet<PackNumber>,
    ) -> Result<()> {
        out.insert(place.pack);
        for base in &self.frame(place.frame)?.bases {
            let base = self.place_below(base, place.depth, rule);
            self.collect_packs(base.ok_or(Error::Bug("a usable delta has a base without a place"))?, rule, out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ANY_DEPTH, BlobLookup, FrameNumber, PackRecord, PackRule};
    use std::collections::{BTreeSet, HashSet};
    use std::sync::Arc;
    use vault_format::directory::{BlobEntry, Directory, FrameEntry};
    use vault_format::envelope::{RunSecret, Wraps};
    use vault_format::frame::FrameCodec;
    use vault_format::header::{Header, Kind};
    use vault_format::id::{BlobId, BlobKind, Class, DomainId, ObjectId, RepositoryId, WriterId};
    use vault_format::index::PackEntry;
    use vault_format::key::Key;

    const DOMAIN: DomainId = DomainId([2; 16]);
    const OWNER: WriterId = WriterId([1; 16]);

    fn blob(number: u8) -> BlobId {
        BlobId([number; 32])
    }

    fn pack(number: u8) -> ObjectId {
        ObjectId([number; 32])
    }

    /// Frames of one blob each, with their bases: a frame without is whole.
    fn directory(frames: &[(u8, u8, &[u8])]) -> Directory {
        let frame = |(ordinal, (_, depth, bases)): (u32, &(u8, u8, &[u8]))| FrameEntry {
            ordinal,
            stored: 116,
            codec: if *depth == 0 { FrameCodec::Raw } else { FrameCodec::Delta },
            depth: *depth,
            generation: 0,
            blobs: 1,
            bases: bases.iter().map(|base| blob(*base)).collect(),
        };
        let entry = |(id, ..): &(u8, u8, &[u8])| BlobEntry { id: blob(*id), kind: BlobKind::Chunk, length: 100 };
        Directory { frames: (0..).zip(frames).map(frame).collect(), blobs: frames.iter().map(entry).collect() }
    }

    /// A pack that is there, in no mark and told of by an index, which only the owner can read.
    fn record(number: u8) -> PackRecord {
        let header = Header { kind: Kind::DataPack, repository: RepositoryId([3; 16]), domain: DOMAIN, writer: OWNER };
        let directory = Directory::default();
        let (id, class, size, writer, salt, wraps) = (pack(number), Class::Data, 1000, OWNER, [0; 32], 0);
        let entry = PackEntry { id, class, size, writer, salt, wraps, directory };
        PackRecord::new(&entry, header, Arc::new(Wraps(Vec::new())))
    }

    fn lookup(packs: &[(PackRecord, Directory)]) -> BlobLookup {
        let mut lookup = BlobLookup::default();
        packs.iter().for_each(|(record, directory)| lookup.add_pack(record.clone(), directory).unwrap());
        lookup
    }

    /// The packs of the usable places of a blob.
    fn packs_of(lookup: &BlobLookup, id: u8, rule: &PackRule<'_>) -> Vec<ObjectId> {
        lookup.places(&blob(id), rule).map(|place| lookup.pack(place.pack).unwrap().id).collect()
    }

    #[test]
    fn a_delta_counts_only_above_bases_of_less_depth_that_count() {
        let base = directory(&[(1, 0, &[])]);
        let deltas = directory(&[(2, 1, &[1]), (3, 2, &[2, 1]), (4, 1, &[2]), (5, 1, &[9])]);
        let whole = lookup(&[(record(1), base.clone()), (record(2), deltas.clone())]);
        assert_eq!([1, 2, 3, 4, 5].map(|id| whole.is_there(&blob(id))), [true, true, true, false, false]);
        let place = whole.place(&blob(3), &PackRule::THERE).unwrap();
        assert_eq!((place.depth, place.at, place.length), (2, 0, 100));
        assert!(whole.place_below(&blob(3), 2, &PackRule::THERE).is_none());
        let mut relied = BTreeSet::new();
        whole.collect_packs(place, &PackRule::THERE, &mut relied).unwrap();
        assert_eq!(relied.len(), 2);
        // its pack stays, but that of its base is gone
        let gone = PackRecord { present: false, ..record(1) };
        let broken = lookup(&[(gone, base), (record(2), deltas)]);
        assert_eq!([1, 2, 3].map(|id| broken.is_there(&blob(id))), [false; 3]);
        assert!(broken.collect_packs(place, &PackRule::THERE, &mut BTreeSet::new()).is_err());
    }

    #[test]
    fn each_rule_takes_the_packs_of_the_one_before_and_leaves_some_out() {
        let records = [
            record(1),
            PackRecord { is_loose: true, ..record(2) },
            PackRecord { within_reach: false, ..record(3) },
            PackRecord { condemned: true, ..record(4) },
            PackRecord { present: false, ..record(5) },
            PackRecord { vouched: false, ..record(6) },
        ];
        let lookup = lookup(&records.map(|record| (record, directory(&[(7, 0, &[])]))));
        let packs = |rule: &PackRule<'_>| packs_of(&lookup, 7, rule);
        assert_eq!(packs(&PackRule::THERE), [1, 2, 3, 4, 6].map(pack));
        assert_eq!(packs(&PackRule::OUTSIDE_MARKS), [1, 2, 3, 6].map(pack));
        assert_eq!(packs(&PackRule::RELIABLE), [pack(1)]);
        assert_eq!(packs(&PackRule::OUTSIDE_MARKS.without(&BTreeSet::from([pack(1)]))), [2, 3, 6].map(pack));
        assert_eq!(lookup.known_places(&blob(7)).count(), 6);
        // a proof reads the pack: only of one that would count then
        let asked = std::cell::RefCell::new(Vec::new());
        let prove = |id: &ObjectId| {
            asked.borrow_mut().push(*id);
            true
        };
        assert_eq!(packs(&PackRule::RELIABLE.or_proven(&prove)), [1, 2].map(pack));
        assert_eq!(asked.into_inner(), [pack(2)]);
    }

    #[test]
    fn what_members_must_read_counts_only_where_they_can() {
        let secret = RunSecret::new([4; 32]);
        let closed = record(1);
        let wrap = secret.wrap_for_domain(DOMAIN, &Key::new([6; 32]), &closed.header.scope(), &[8; 32]).unwrap();
        let open = PackRecord { wraps: Arc::new(Wraps(vec![wrap])), ..record(2) };
        let lookup = lookup(&[(closed, directory(&[(7, 0, &[])])), (open, directory(&[(7, 0, &[])]))]);
        assert_eq!(packs_of(&lookup, 7, &PackRule::RELIABLE.open_to(None)), [1, 2].map(pack));
        assert_eq!(packs_of(&lookup, 7, &PackRule::RELIABLE.open_to(Some(DOMAIN))), [pack(2)]);
        assert!(packs_of(&lookup, 7, &PackRule::RELIABLE.open_to(Some(DomainId([9; 16])))).is_empty());
    }

    #[test]
    fn a_damaged_frame_costs_what_is_above_it_and_nothing_else() {
        let lookup = lookup(&[(record(1), directory(&[(1, 0, &[]), (2, 1, &[1]), (3, 0, &[])]))]);
        let first = lookup.place(&blob(1), &PackRule::THERE).unwrap().frame;
        let damaged: HashSet<FrameNumber> = HashSet::from([first]);
        let rule = PackRule::THERE.without_frames(&damaged);
        assert_eq!([1, 2, 3].map(|id| lookup.place(&blob(id), &rule).is_some()), [false, false, true]);
    }

    #[test]
    fn a_reader_tries_what_is_listed_and_unmarked_and_whole_first() {
        let base = (record(9), directory(&[(1, 0, &[])]));
        let delta = |record| (record, directory(&[(7, 1, &[1])]));
        let whole = |record| (record, directory(&[(7, 0, &[])]));
        let lookup = lookup(&[
            base,
            whole(PackRecord { present: false, ..record(1) }),
            whole(PackRecord { condemned: true, ..record(2) }),
            delta(record(3)),
            whole(record(4)),
        ]);
        let order = |below| {
            let places = lookup.places_to_try(&blob(7), below);
            places.iter().map(|place| lookup.pack(place.pack).unwrap().id).collect::<Vec<_>>()
        };
        assert_eq!(order(ANY_DEPTH), [4, 3, 2, 1].map(pack));
        assert_eq!(order(1), [4, 2, 1].map(pack));
    }

    #[test]
    fn of_a_pack_the_first_record_is_believed_and_numbers_are_this_lookups_alone() {
        let mut one =
            lookup(&[(record(1), directory(&[(1, 0, &[]), (2, 0, &[])])), (record(2), directory(&[(3, 0, &[])]))]);
        let shared = one.clone();
        one.add_pack(PackRecord { present: false, ..record(1) }, &directory(&[(4, 0, &[])])).unwrap();
        assert!(one.is_there(&blob(1)) && !one.is_there(&blob(4)));
        one.add_pack(record(3), &directory(&[(4, 0, &[])])).unwrap();
        assert!(one.is_there(&blob(4)) && !shared.is_there(&blob(4)));
        assert_eq!((one.blobs().count(), one.pack_count(), one.frame_count()), (4, 3, 4));
        let number = one.number_of(&pack(1)).unwrap();
        let frames: Vec<usize> = one.frames_of(number).map(FrameNumber::index).collect();
        assert_eq!(frames, [0, 1]);
        let last = one.number_of(&pack(3)).unwrap();
        assert!(shared.pack(last).is_err() && shared.frames_of(last).next().is_none());
        assert!(shared.frame(one.frames_of(last).next().unwrap()).is_err());
    }
}
