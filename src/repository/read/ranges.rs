//! Ranges worth one request: frames that lie near each other in a pack are fetched together, a small gap included.
//! Frames come in pack order, and every byte is fetched once.

use super::reader::Reader;
use crate::repository::lookup::{FrameNumber, PackNumber};
use crate::repository::{Repository, Result};
use std::ops::Range;

/// Most bytes of one fetch from a store that is near, and from one where each costs the way there and back.
const NEAR_BYTES_MAX: u64 = 4 << 20;
const FAR_BYTES_MAX: u64 = 8 << 20;
/// Unwanted bytes between two frames that are cheaper read than asked for twice.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// A run of frames of one pack that are fetched together: positions in the sorted frames.
pub struct Fetch {
    /// Positions.
    pub frames: Range<usize>,
    /// Their pack.
    pub pack: PackNumber,
    /// First byte in the pack.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

fn fetch_bytes_max(repository: &Repository) -> u64 {
    if repository.backend().is_local() { NEAR_BYTES_MAX } else { FAR_BYTES_MAX }
}

/// On how many threads ranges are fetched and opened: as many as keep the processor or the network busy, within the
/// memory that is given.
pub fn threads(repository: &Repository) -> usize {
    let (backend, workers) = (repository.backend(), repository.runtime().workers);
    let useful = if backend.is_local() { workers } else { workers.max(backend.connections()) };
    // one that is fetched, and frames of it that are opened
    let most = repository.options().memory_bytes / (2 * fetch_bytes_max(repository) as usize);
    useful.min(most).max(1)
}

/// The ranges of frames that are sorted by pack and place.
pub fn ranges(reader: &Reader, frames: impl Iterator<Item = FrameNumber>) -> Result<Vec<Fetch>> {
    let (index, bytes_max) = (reader.index(), fetch_bytes_max(reader.repository()));
    let mut out: Vec<Fetch> = Vec::new();
    for (position, number) in frames.enumerate() {
        let frame = index.frame(number)?;
        let (start, end) = (u64::from(frame.offset), u64::from(frame.offset) + u64::from(frame.stored));
        match out.last_mut() {
            Some(fetch)
                if fetch.pack == frame.pack
                    && (fetch.end..=fetch.end + GAP_BYTES_MAX).contains(&start)
                    && end - fetch.start <= bytes_max =>
            {
                fetch.frames.end = position + 1;
                fetch.end = end;
            }
            _ => out.push(Fetch { frames: position..position + 1, pack: frame.pack, start, end }),
        }
    }
    Ok(out)
}
