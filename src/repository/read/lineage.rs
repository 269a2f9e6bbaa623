//! In which order frames are best opened. A delta needs its bases decoded: where all that goes back to one whole frame is
//! opened right after it, each base is decoded once for all of them, and little has to be kept. Check and restore go by
//! this; what they read on the way is their own matter.

use crate::repository::Result;
use crate::repository::lookup::{BlobLookup, FrameNumber, FrameRecord, PackRule};
use std::collections::BTreeMap;

/// A frame to be opened, and what it is opened for: nothing, if only others need it.
pub(crate) struct Wanted<T> {
    /// The frame.
    pub number: FrameNumber,
    /// What it is opened for.
    pub pieces: Vec<T>,
}

/// A frame, and those that are stored as the difference to it or to each other: each comes after its bases.
pub(crate) struct Lineage<T> {
    /// Whole; or a delta without a base, which nobody can open.
    pub first: Wanted<T>,
    /// The others.
    pub deltas: Vec<Wanted<T>>,
    /// Stored bytes of the others.
    pub bytes: u64,
}

/// Bytes of deltas that wait in memory for the frames that they go back to.
const WAITING_BYTES: u64 = 16 << 20;

/// The frame that a delta is decoded over, of several the first.
fn base_of(index: &BlobLookup, frame: &FrameRecord) -> Option<FrameNumber> {
    let base = frame.bases.first()?;
    index.place_below(base, frame.depth, &PackRule::THERE).map(|place| place.frame)
}

/// The frame that one goes back to in the end; a whole one is its own.
pub(crate) fn first_of(index: &BlobLookup, mut number: FrameNumber) -> FrameNumber {
    // depth falls with each step
    while let Some(base) = index.frame(number).ok().and_then(|frame| base_of(index, &frame)) {
        number = base;
    }
    number
}

/// Frames with all that they are decoded over, by the frame that they go back to, in the order in which those lie.
pub(crate) fn lineages<T>(index: &BlobLookup, wanted: BTreeMap<FrameNumber, Vec<T>>) -> Result<Vec<Lineage<T>>> {
    let mut firsts: BTreeMap<FrameNumber, Vec<T>> = BTreeMap::new();
    // by the frame that they go back to, depth and place
    let mut deltas: BTreeMap<(FrameNumber, u8, FrameNumber), Vec<T>> = BTreeMap::new();
    for (number, pieces) in wanted {
        let (mut frame, mut way) = (index.frame(number)?, vec![(number, pieces)]);
        while let Some(base) = base_of(index, &frame) {
            way.push((base, Vec::new()));
            frame = index.frame(base)?;
        }
        let Some((first, pieces)) = way.pop() else { continue };
        firsts.entry(first).or_default().extend(pieces);
        for (number, pieces) in way {
            deltas.entry((first, index.frame(number)?.depth, number)).or_default().extend(pieces);
        }
    }
    let mut deltas = deltas.into_iter().peekable();
    let mut out = Vec::with_capacity(firsts.len());
    for (number, pieces) in firsts {
        let mut lineage = Lineage { first: Wanted { number, pieces }, deltas: Vec::new(), bytes: 0 };
        while let Some(((_, _, delta), pieces)) = deltas.next_if(|((first, ..), _)| *first == number) {
            lineage.bytes += u64::from(index.frame(delta)?.stored);
            lineage.deltas.push(Wanted { number: delta, pieces });
        }
        out.push(lineage);
    }
    Ok(out)
}

/// Lineages, so many at a time that the deltas of all of them can wait in memory.
pub(crate) fn batches<T>(lineages: &[Lineage<T>]) -> impl Iterator<Item = &[Lineage<T>]> {
    let mut left = lineages;
    std::iter::from_fn(move || {
        let mut bytes = 0u64;
        let count = left.iter().take_while(|lineage| {
            let has_room = bytes <= WAITING_BYTES;
            bytes = bytes.saturating_add(lineage.bytes);
            has_room
        });
        let (batch, rest) = left.split_at(count.count());
        left = rest;
        Some(batch).filter(|batch| !batch.is_empty())
    })
}
