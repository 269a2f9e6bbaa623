//! A pack opened whole: all of its bytes are here, and every frame in it is opened and every blob compared with its id.
//! Check, repair and recovery tell by this what a pack really holds; nothing else that is said of it proves that.

use super::lineage;
use super::reader::Reader;
use crate::repository::lookup::{BlobLocation, BlobLookup, FrameNumber, PackNumber};
use crate::repository::{Error, Repository, Result};
use std::ops::Range;
use vault_format::directory::BlobPlace;
use vault_format::frame::FrameCodec;

/// What came of each frame of a pack, as they lie; `places` are those of its directory.
pub(crate) fn frames<'a>(
    reader: &'a Reader,
    pack: PackNumber,
    places: &'a [BlobPlace],
    bytes: &'a [u8],
) -> impl Iterator<Item = (FrameNumber, Result<()>)> + 'a {
    by_frame(reader, pack, places).map(|(number, places)| {
        let opened = sealed(reader, number, (0, bytes)).and_then(|sealed| {
            let plain = reader.open_frame(number, sealed)?;
            compare(reader, number, places, &plain)
        });
        (number, opened)
    })
}

/// A delta that is opened later, when others of its lineage are: each base is then decoded once for all of them.
pub(crate) struct Delta {
    /// The frame.
    pub number: FrameNumber,
    places: Vec<BlobPlace>,
    sealed: Vec<u8>,
}

/// A part of a pack that is read at once, and the frames that lie in it.
pub(crate) struct Piece<'a> {
    /// Which bytes of the pack.
    pub range: Range<u64>,
    frames: Vec<(FrameNumber, &'a [BlobPlace])>,
}

/// A pack of `size` bytes in pieces that cut no frame: about `bytes_max` bytes each. One after the other they are the pack.
pub(crate) fn pieces<'a>(
    reader: &Reader,
    pack: PackNumber,
    places: &'a [BlobPlace],
    (size, bytes_max): (u64, u64),
) -> Result<Vec<Piece<'a>>> {
    let piece = |start| Piece { range: start..start, frames: Vec::new() };
    let (mut pieces, mut last) = (Vec::new(), piece(0));
    for (number, places) in by_frame(reader, pack, places) {
        let frame = reader.index().frame(number)?;
        let end = u64::from(frame.offset).saturating_add(u64::from(frame.stored)).min(size);
        last.range.end = last.range.end.max(end);
        last.frames.push((number, places));
        if last.range.end - last.range.start >= bytes_max {
            let next = piece(last.range.end);
            pieces.push(std::mem::replace(&mut last, next));
        }
    }
    last.range.end = size;
    pieces.push(last);
    Ok(pieces)
}

/// The frames of a pack.
#[derive(Default)]
pub(crate) struct Apart {
    /// What came of those that need no others, as they lie.
    pub opened: Vec<(FrameNumber, Result<()>)>,
    /// Those that are still to be opened.
    pub deltas: Vec<Delta>,
}

impl Apart {
    /// Opens the frames of a piece, but for its deltas.
    pub fn take(&mut self, reader: &Reader, piece: &Piece<'_>, bytes: &[u8]) -> Result<()> {
        for &(number, places) in &piece.frames {
            let sealed = sealed(reader, number, (piece.range.start, bytes))?;
            if reader.index().frame(number)?.codec == FrameCodec::Delta {
                self.deltas.push(Delta { number, places: places.to_vec(), sealed: sealed.to_vec() });
            } else {
                let plain = reader.open_frame(number, sealed);
                self.opened.push((number, plain.and_then(|plain| compare(reader, number, places, &plain))));
            }
        }
        Ok(())
    }
}

/// Deltas in the order in which they are best opened: those of one lineage together, each after its bases.
pub(crate) fn sort_by_lineage<T>(index: &BlobLookup, deltas: &mut [(T, Delta)]) {
    deltas.sort_by_cached_key(|(_, delta)| {
        let depth = index.frame(delta.number).map(|frame| frame.depth);
        (lineage::first_of(index, delta.number), depth.unwrap_or_default(), delta.number)
    });
}

impl Delta {
    /// Opens it, and keeps it for those that are stored as the difference to it.
    pub fn open(&self, reader: &Reader) -> Result<()> {
        let plain = reader.open_and_keep(self.number, &self.sealed)?;
        compare(reader, self.number, &self.places, &plain)
    }
}

/// The frames of a pack, each with what the directory says of it: that has them all, in their order.
fn by_frame<'a>(
    reader: &Reader,
    pack: PackNumber,
    places: &'a [BlobPlace],
) -> impl Iterator<Item = (FrameNumber, &'a [BlobPlace])> + use<'a> {
    reader.index().frames_of(pack).zip(places.chunk_by(|left, right| left.frame == right.frame))
}

/// The sealed bytes of a frame, as many of them as there are in what was read of its pack from some byte on.
fn sealed<'b>(reader: &Reader, number: FrameNumber, (start, bytes): (u64, &'b [u8])) -> Result<&'b [u8]> {
    let frame = reader.index().frame(number)?;
    let at = usize::try_from(u64::from(frame.offset).saturating_sub(start)).unwrap_or(usize::MAX);
    Ok(bytes.get(at..at.saturating_add(frame.stored as usize)).unwrap_or_default())
}

/// Compares every blob of a frame with its id.
fn compare(reader: &Reader, number: FrameNumber, places: &[BlobPlace], plain: &[u8]) -> Result<()> {
    let frame = reader.index().frame(number)?;
    for BlobPlace { blob, at, .. } in places {
        let (pack, depth) = (frame.pack, frame.depth);
        let at = BlobLocation { frame: number, pack, at: *at, length: blob.length, kind: blob.kind, depth };
        reader.slice(blob.kind, &blob.id, at, plain).map_err(|_| Error::Object {
            object: format!("blob {}", blob.id.short()),
            source: vault_format::Error::WrongBlob,
        })?;
    }
    Ok(())
}

/// On how many threads packs are read whole: as many as keep those in flight within the memory that is given, and the
/// processor or the network busy.
pub(crate) fn threads(repository: &Repository) -> usize {
    let packs = repository.options().memory_bytes / repository.config().pack_bytes.max(1) as usize;
    let (backend, workers) = (repository.backend(), repository.runtime().workers);
    let useful = if backend.is_local() { workers } else { workers.max(backend.connections()) };
    useful.min(packs).max(1)
}
