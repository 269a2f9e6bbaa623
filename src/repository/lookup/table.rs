//! How a lookup is stored: packs, their frames one pack after the other, and for each blob the frames that hold it.
//! Numbers of packs and frames are positions here and mean nothing in another table. Nobody but the lookup sees how the
//! table is made, so that another form of it, sorted or mapped, is a change of this file and of the lookup.

use crate::repository::{Error, Result};
use crate::time::StoreTime;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use vault_format::directory::Directory;
use vault_format::envelope::Wraps;
use vault_format::frame::FrameCodec;
use vault_format::header::Header;
use vault_format::id::{BlobId, BlobKind, Class, ObjectId};
use vault_format::index::PackEntry;

/// A pack of one lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackNumber(u32);

/// A frame of one lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNumber(u32);

impl PackNumber {
    /// Its place in a list that has an entry for each pack.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FrameNumber {
    /// Its place in a list that has an entry for each frame.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    #[cfg(test)]
    pub(crate) fn for_test(number: u32) -> Self {
        Self(number)
    }
}

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
    /// When the store received it; `None` if nobody tells.
    pub arrived: Option<StoreTime>,
    /// Its own writer asks, the owner has written it, or the owner says that he has opened it whole (T7).
    pub vouched: bool,
    /// No index tells of it, and anybody who holds the domain's book key may have made it.
    pub is_loose: bool,
}

impl PackRecord {
    /// A pack that is there, in no mark, within reach and vouched for.
    pub fn new(entry: &PackEntry, header: Header, wraps: Arc<Wraps>) -> Self {
        let (id, class, size, salt) = (entry.id, entry.class, entry.size, entry.salt);
        let (present, condemned, within_reach, vouched, arrived, is_loose) = (true, false, true, true, None, false);
        Self { id, class, size, header, salt, wraps, present, condemned, within_reach, arrived, vouched, is_loose }
    }
}

/// One frame.
#[derive(Clone, Debug)]
pub struct FrameRecord {
    /// Its pack.
    pub pack: PackNumber,
    /// Nonce.
    pub ordinal: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Sealed length in bytes.
    pub stored: u32,
    /// Plaintext length in bytes.
    pub plain: u32,
    /// Kind of its blobs.
    pub kind: BlobKind,
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
pub struct BlobLocation {
    /// Its frame.
    pub frame: FrameNumber,
    /// The pack of that frame.
    pub pack: PackNumber,
    /// First byte in the frame's plaintext.
    pub at: u32,
    /// Length in bytes.
    pub length: u32,
    /// Kind.
    pub kind: BlobKind,
    /// Depth of the frame; 0 = whole.
    pub depth: u8,
}

/// A blob's place as it is stored: the rest is its frame's.
#[derive(Clone, Copy, Debug)]
struct StoredPlace {
    frame: FrameNumber,
    at: u32,
    length: u32,
    kind: BlobKind,
}

#[derive(Clone, Debug)]
struct StoredPack {
    record: PackRecord,
    frames: Range<u32>,
}

/// All packs, frames and blobs of one lookup.
#[derive(Clone, Debug, Default)]
pub struct Table {
    packs: Vec<StoredPack>,
    numbers: HashMap<ObjectId, PackNumber>,
    frames: Vec<FrameRecord>,
    first: HashMap<BlobId, StoredPlace>,
    /// Different pages of directories.
    tree_pages: u64,
    // few blobs lie in more than one place
    more: HashMap<BlobId, Vec<StoredPlace>>,
}

fn number(position: usize) -> Result<u32> {
    u32::try_from(position).map_err(|_| Error::Bug("a lookup has more packs or frames than it can number"))
}

impl Table {
    /// Adds a pack; of one that is there already the first record stays.
    pub(super) fn insert(&mut self, record: PackRecord, directory: &Directory) -> Result<()> {
        let Entry::Vacant(vacant) = self.numbers.entry(record.id) else { return Ok(()) };
        let pack = *vacant.insert(PackNumber(number(self.packs.len())?));
        let start = number(self.frames.len())?;
        let end = number(self.frames.len() + directory.frames.len())?;
        self.packs.push(StoredPack { record, frames: start..end });
        let mut known = None;
        for place in directory.places() {
            if known != Some(place.frame) {
                known = Some(place.frame);
                let frame = directory.frames.get(place.frame as usize).ok_or(MISPLACED)?;
                self.frames.push(FrameRecord {
                    pack,
                    ordinal: frame.ordinal,
                    offset: place.offset,
                    stored: frame.stored,
                    plain: place.plain,
                    kind: place.blob.kind,
                    codec: frame.codec,
                    depth: frame.depth,
                    generation: frame.generation,
                    bases: frame.bases.clone().into_boxed_slice(),
                });
            }
            let frame = FrameNumber(start + place.frame);
            let stored = StoredPlace { frame, at: place.at, length: place.blob.length, kind: place.blob.kind };
            match self.first.entry(place.blob.id) {
                Entry::Vacant(slot) => {
                    slot.insert(stored);
                    self.tree_pages += u64::from(place.blob.kind == BlobKind::Tree);
                }
                Entry::Occupied(_) => self.more.entry(place.blob.id).or_default().push(stored),
            }
        }
        // a frame without blobs would move all that follow it
        if self.frames.len() == end as usize { Ok(()) } else { Err(MISPLACED) }
    }

    /// Vouches for the packs that were opened whole just now.
    pub(super) fn vouch(&mut self, is_good: &dyn Fn(&PackRecord) -> bool) {
        for StoredPack { record, .. } in &mut self.packs {
            record.vouched = record.vouched || is_good(record);
        }
    }

    /// All places of a blob that anybody tells of, usable or not, in the order in which they are to be believed.
    pub fn known_places(&self, id: &BlobId) -> impl Iterator<Item = BlobLocation> {
        let more = self.more.get(id).map(Vec::as_slice).unwrap_or_default();
        self.first.get(id).into_iter().chain(more).filter_map(|stored| {
            let StoredPlace { frame, at, length, kind } = *stored;
            let record = self.frame(frame);
            debug_assert!(record.is_some(), "a blob lies in a frame that is not in the table");
            record.map(|record| BlobLocation { frame, pack: record.pack, at, length, kind, depth: record.depth })
        })
    }

    /// Where a blob lies first: in this order each frame is fetched once, and neighbours stay together.
    pub fn order_of(&self, id: &BlobId) -> impl Ord + use<> {
        (self.known_places(id).map(|place| (place.frame, place.at)).min(), *id)
    }

    /// All blobs, each once, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> {
        self.first.keys().copied()
    }

    /// How many different pages of directories anybody tells of.
    pub fn tree_pages(&self) -> u64 {
        self.tree_pages
    }

    pub(super) fn frame(&self, number: FrameNumber) -> Option<&FrameRecord> {
        self.frames.get(number.index())
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = (FrameNumber, &FrameRecord)> {
        (0..).map(FrameNumber).zip(&self.frames)
    }

    pub(super) fn pack(&self, number: PackNumber) -> Option<&PackRecord> {
        self.packs.get(number.index()).map(|pack| &pack.record)
    }

    /// All packs.
    pub fn packs(&self) -> impl Iterator<Item = (PackNumber, &PackRecord)> {
        (0..).map(PackNumber).zip(self.packs.iter().map(|pack| &pack.record))
    }

    /// The number of a pack, if this tells of it.
    pub fn number_of(&self, pack: &ObjectId) -> Option<PackNumber> {
        self.numbers.get(pack).copied()
    }

    /// The frames of a pack as they lie; none of one that this does not tell of.
    pub fn frames_of(&self, pack: PackNumber) -> impl ExactSizeIterator<Item = FrameNumber> + use<> {
        self.packs.get(pack.index()).map_or(0..0, |pack| pack.frames.clone()).map(FrameNumber)
    }

    /// How many frames: one more than the greatest index of a number.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// How many packs: one more than the greatest index of a number.
    pub fn pack_count(&self) -> usize {
        self.packs.len()
    }
}

const MISPLACED: Error = Error::Bug("a directory has a frame without blobs");

#[cfg(test)]
mod tests {
    use super::{FrameRecord, StoredPlace};
    use vault_format::id::BlobId;

    #[test]
    fn a_blob_costs_its_id_and_sixteen_bytes() {
        // ten million blobs are common: one word more is eighty megabytes
        assert_eq!(size_of::<(BlobId, StoredPlace)>(), 48);
        assert_eq!(size_of::<FrameRecord>(), 48);
    }
}
