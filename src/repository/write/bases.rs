//! New blobs as the difference to those that they take the place of. Which bases one gets follows the idea of Subversion's
//! skip deltas (FSFS): the nth version of a lineage is stored against an earlier one that few steps lead to, so that
//! neither the differences nor the steps grow with the number of versions. A base lies in a pack that the run may rely on,
//! and relies on from then on. Where a base can't be had, the blob is stored whole: nothing fails for want of one.

use crate::repository::lookup::{BlobLocation, BlobLookup, Cost, PackNumber, PackRule};
use crate::repository::read::reader::Reader;
use crate::repository::write::frame::EncodedFrame;
use crate::repository::{Result, encoding};
use crate::runtime::Locked;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use vault_format::compress::{self, CLEARLY_SMALL, DeltaCompressor, PREFIX_BYTES_MAX};
use vault_format::directory::{BlobEntry, Descent, Directory};
use vault_format::frame::{BASES_MAX, FrameCodec};
use vault_format::id::{BlobId, BlobKind, DomainId};

/// Smaller blobs are stored with their neighbours: a frame of its own costs a delta nearly as much as it saves.
const CHUNK_BYTES_MIN: usize = 16 << 10;
const PAGE_BYTES_MIN: usize = 1 << 10;

/// A lineage is stored whole again at this version.
const VERSIONS_MAX: u32 = 63;

/// Versions on one level of the steps between versions: each level steps over so many of the one below.
const VERSIONS_PER_LEVEL: u32 = 4;

/// So many blobs in a row are tried in vain; after that one in so many is.
const UNLIKE_MAX: u32 = 32;
const TRIED_THEN: u32 = 16;

/// Bytes of bases that are read before anything is compressed against them, about.
const PREFIXES_BYTES: usize = 2 << 20;

/// Finds and reads bases, for all threads of a run.
pub(crate) struct Bases {
    index: BlobLookup,
    reader: Reader,
    for_members: Option<DomainId>,
    reach: Reach,
    /// Packs that were asked for so far, and whether they are at hand.
    known: Locked<HashMap<PackNumber, bool>>,
    relied: Locked<BTreeSet<PackNumber>>,
    /// Blobs in a row that were not like what they take the place of.
    unlike: AtomicU32,
}

/// Where bases may be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The store.
    Store,
    /// The store, but first what this machine keeps of it; what is put is kept too.
    StoreAndCache,
    /// Only what this machine keeps.
    Cache,
}

/// A blob that is to be stored, and what it takes the place of.
pub(crate) struct Placed<'a> {
    pub blob: BlobEntry,
    pub plaintext: &'a [u8],
    pub before: Vec<BlobId>,
}

/// The bases of one delta, one after the other.
struct Prefix {
    chosen: Chosen,
    bytes: Vec<u8>,
}

/// Which they are.
struct Chosen {
    bases: Vec<BlobId>,
    places: Vec<BlobLocation>,
    descent: Descent,
}

impl Bases {
    pub fn new(index: BlobLookup, reader: Reader, for_members: Option<DomainId>, reach: Reach) -> Self {
        let reader = if reach == Reach::Store { reader } else { reader.cached() };
        Self {
            index,
            reader,
            for_members,
            reach,
            known: Locked::default(),
            relied: Locked::default(),
            unlike: AtomicU32::new(0),
        }
    }

    /// True if what is put is to be kept on this machine, so that the next run finds its bases here.
    pub fn keeps(&self, directory: &Directory) -> bool {
        let stored = |is_raw: bool| {
            let frames = directory.frames.iter().filter(|frame| (frame.codec == FrameCodec::Raw) == is_raw);
            frames.map(|frame| u64::from(frame.stored)).sum::<u64>()
        };
        // what does not compress rarely changes a little
        self.reach != Reach::Store && stored(false) > stored(true)
    }

    /// True if all packs that reading from a place needs can be read from.
    fn is_at_hand(&self, place: BlobLocation) -> bool {
        if self.reach != Reach::Cache {
            return true;
        }
        let mut packs = BTreeSet::new();
        let collected = self.index.collect_packs(place, &self.rule(), &mut packs);
        let cache = self.reader.repository().cache().filter(|_| collected.is_ok());
        let mut known = self.known.lock();
        cache.is_some_and(|cache| {
            packs.into_iter().all(|number| {
                let is_kept = || self.index.pack(number).is_ok_and(|pack| cache.uses_pack(&pack.id));
                *known.entry(number).or_insert_with(is_kept)
            })
        })
    }

    /// The packs of all bases so far.
    pub fn relied(&self) -> BTreeSet<PackNumber> {
        self.relied.lock().clone()
    }

    /// Each blob as the difference to what it takes the place of; `None` if that is not clearly smaller, or can't be had.
    pub fn deltas(&self, level: i32, blobs: &[Placed<'_>]) -> Result<Vec<Option<EncodedFrame>>> {
        let (mut all, mut rest) = (Vec::new(), blobs);
        while !rest.is_empty() {
            // as many as may lie in memory: what compresses them borrows all their bases
            let (mut prefixes, mut bytes) = (Vec::new(), 0);
            while let Some(blob) = rest.get(prefixes.len()).filter(|_| bytes <= PREFIXES_BYTES) {
                let prefix = self.prefix(blob);
                bytes += prefix.as_ref().map_or(0, |prefix| prefix.bytes.len());
                prefixes.push(prefix);
            }
            let (some, later) = rest.split_at(prefixes.len());
            rest = later;
            let mut compressor = encoding("a delta", DeltaCompressor::new())?;
            for (blob, prefix) in some.iter().zip(&prefixes) {
                let delta = prefix.as_ref().map(|prefix| self.delta(&mut compressor, level, blob, prefix));
                all.push(delta.transpose()?.flatten());
            }
        }
        Ok(all)
    }

    /// The bases of a blob; none if it does not pay to ask for them, and if what can't be read now, or is damaged, would
    /// have to serve.
    fn prefix(&self, Placed { blob, plaintext, before }: &Placed<'_>) -> Option<Prefix> {
        let least = if blob.kind == BlobKind::Chunk { CHUNK_BYTES_MIN } else { PAGE_BYTES_MIN };
        if plaintext.len() < least || !self.is_worth_a_try() {
            return None;
        }
        let chosen = self.choose(blob, before)?;
        let mut bytes = Vec::new();
        for base in &chosen.bases {
            bytes.extend_from_slice(&self.reader.blob(blob.kind, base).ok()?);
        }
        Some(Prefix { chosen, bytes })
    }

    fn delta<'p>(
        &self,
        compressor: &mut DeltaCompressor<'p>,
        level: i32,
        Placed { blob, plaintext, .. }: &Placed<'_>,
        Prefix { chosen, bytes: prefix }: &'p Prefix,
    ) -> Result<Option<EncodedFrame>> {
        let delta = encoding("a delta", compressor.compress(plaintext, prefix, level))?;
        let Some(bytes) = delta.filter(|bytes| bytes.len() <= plaintext.len() / 2) else { return Ok(self.is_unlike()) };
        if bytes.len() > plaintext.len() / CLEARLY_SMALL {
            let alone = encoding("a frame", compress::compress(plaintext, level))?;
            if 2 * bytes.len() > alone.map_or(plaintext.len(), |alone| alone.len()) {
                return Ok(self.is_unlike());
            }
        }
        self.unlike.store(0, Ordering::Relaxed);
        let (rule, mut packs) = (self.rule(), BTreeSet::new());
        for place in &chosen.places {
            self.index.collect_packs(*place, &rule, &mut packs)?;
        }
        self.relied.lock().append(&mut packs);
        let (class, codec) = (blob.kind.class(), FrameCodec::Delta);
        let (bases, descent) = (chosen.bases.clone(), chosen.descent);
        Ok(Some(EncodedFrame { class, codec, bytes, blobs: vec![*blob], bases, descent }))
    }

    /// What was encrypted anew, or shuffled, is like nothing that was there: where many blobs in a row were so, only one
    /// now and then is tried.
    fn is_worth_a_try(&self) -> bool {
        let unlike = self.unlike.load(Ordering::Relaxed);
        if unlike < UNLIKE_MAX {
            return true;
        }
        self.unlike.fetch_add(1, Ordering::Relaxed);
        unlike.is_multiple_of(TRIED_THEN)
    }

    fn is_unlike(&self) -> Option<EncodedFrame> {
        self.unlike.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn rule(&self) -> PackRule<'static> {
        PackRule::RELIABLE.open_to(self.for_members)
    }

    /// The bases for what takes the place of these blobs.
    fn choose(&self, blob: &BlobEntry, before: &[BlobId]) -> Option<Chosen> {
        let rule = self.rule();
        let own = |id: &BlobId| self.index.place(id, &rule).map(|place| (*id, place));
        let newest: Vec<(BlobId, BlobLocation)> = before.iter().filter_map(own).collect();
        let generation = self.generation(newest.first()?.1)?.checked_add(1)?;
        if generation >= VERSIONS_MAX {
            return None;
        }
        let mut found = Vec::new();
        newest.into_iter().for_each(|(id, place)| self.descend(id, place, base_of(generation), &mut found));
        found.truncate(BASES_MAX);
        let mut prefix = 0usize;
        found.retain(|(_, place)| {
            prefix = prefix.saturating_add(place.length as usize);
            prefix <= PREFIX_BYTES_MAX && place.kind == blob.kind && self.is_at_hand(*place)
        });
        let depth = found.iter().map(|(_, place)| place.depth).max()?.checked_add(1)?;
        let cost = found.iter().try_fold(Cost::of(depth, u64::from(blob.length)), |total, (_, place)| {
            Some(total.over(self.index.cost(*place, &rule)?))
        })?;
        let (bases, places) = found.into_iter().unzip();
        cost.is_allowed().then_some(Chosen { bases, places, descent: Descent { depth, generation } })
    }

    fn generation(&self, place: BlobLocation) -> Option<u32> {
        self.index.frame(place.frame).ok().map(|frame| frame.generation)
    }

    /// The newest versions of a lineage that are at most of this generation.
    fn descend(&self, id: BlobId, place: BlobLocation, generation: u32, out: &mut Vec<(BlobId, BlobLocation)>) {
        let Ok(frame) = self.index.frame(place.frame) else { return };
        if frame.generation <= generation || frame.bases.is_empty() {
            if out.iter().all(|(known, _)| *known != id) {
                out.push((id, place));
            }
            return;
        }
        // depth falls with each step
        for base in &frame.bases {
            if let Some(place) = self.index.place_below(base, frame.depth, &self.rule()) {
                self.descend(*base, place, generation, out);
            }
        }
    }
}

/// The version against which the one of this generation is stored: the one before it, or, where a level is full, the
/// first of that level. A lineage of 63 versions so has at most nine steps, and most differences are those of one step.
fn base_of(generation: u32) -> u32 {
    let mut step = 1;
    while generation != 0 && (generation / step).is_multiple_of(VERSIONS_PER_LEVEL) {
        step *= VERSIONS_PER_LEVEL;
    }
    generation.saturating_sub(step)
}

#[cfg(test)]
mod tests {
    use super::{VERSIONS_MAX, base_of};
    use vault_format::frame::DEPTH_MAX;

    #[test]
    fn few_steps_lead_to_what_is_whole() {
        let steps = |version: u32| std::iter::successors(Some(version), |v| (*v > 0).then(|| base_of(*v))).count() - 1;
        assert_eq!([1, 2, 3, 4, 5, 8, 16, 21].map(base_of), [0, 1, 2, 0, 4, 4, 0, 20]);
        assert!((0..VERSIONS_MAX).all(|version| steps(version) <= usize::from(DEPTH_MAX)));
    }
}
