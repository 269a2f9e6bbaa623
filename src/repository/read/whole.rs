//! A pack opened whole: all of its bytes are here, and every frame in it is opened and every blob compared with its id.
//! Check, repair and recovery tell by this what a pack really holds; nothing else that is said of it proves that.

use super::reader::Reader;
use crate::repository::lookup::{BlobLocation, FrameNumber, PackNumber};
use crate::repository::{Error, Repository, Result};
use vault_format::directory::BlobPlace;

/// What came of each frame of a pack, as they lie; `places` are those of its directory.
pub(crate) fn frames<'a>(
    reader: &'a Reader,
    pack: PackNumber,
    places: &'a [BlobPlace],
    bytes: &'a [u8],
) -> impl Iterator<Item = (FrameNumber, Result<()>)> + 'a {
    // a directory has the frames of the pack, in their order
    let frames = reader.index().frames_of(pack).zip(places.chunk_by(|left, right| left.frame == right.frame));
    frames.map(|(number, places)| (number, frame(reader, number, places, bytes)))
}

/// Opens one frame and compares every blob in it with its id.
fn frame(reader: &Reader, number: FrameNumber, places: &[BlobPlace], bytes: &[u8]) -> Result<()> {
    let frame = reader.index().frame(number)?;
    let range = frame.offset as usize..(frame.offset as usize).saturating_add(frame.stored as usize);
    let plain = reader.open_frame(number, bytes.get(range).unwrap_or_default())?;
    for BlobPlace { blob, at, .. } in places {
        let (pack, depth) = (frame.pack, frame.depth);
        let at = BlobLocation { frame: number, pack, at: *at, length: blob.length, kind: blob.kind, depth };
        reader.slice(blob.kind, &blob.id, at, &plain).map_err(|_| Error::Object {
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
