//! Blobs on their way from the packs where a reader finds them into the packs of a writer, of the same repository or of
//! one with the same id key. A frame of which at least half is wanted moves as it is: its seal is renewed, nothing is
//! compressed again. Every blob is compared with its id on the way, so that damage does not spread.

use super::frame::EncodedFrame;
use super::writer::Writer;
use crate::repository::lookup::{BlobLocation, FrameNumber, PackNumber, PackRule};
use crate::repository::read::ranges;
use crate::repository::read::ranges::Fetch;
use crate::repository::read::reader::Reader;
use crate::repository::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use vault_format::directory::BlobEntry;
use vault_format::id::{BlobId, BlobKind};

/// A blob that could not be had from any place, and why.
pub type Unread = (BlobKind, BlobId, Error);

/// A blob and its place in a frame.
type Placed = (BlobId, BlobLocation);

/// A frame, taken out of its pack and verified.
enum Taken {
    /// It moves as it is.
    Whole(EncodedFrame, Vec<u8>),
    /// Little of it is wanted.
    Parts(Vec<(BlobKind, Vec<u8>)>),
    /// It can't be read here.
    Unread,
}

/// Moves blobs; `moved` hears of stored bytes as they are fetched. What can't be read comes back, and the rest is moved.
pub fn blobs(
    reader: &Reader,
    wanted: &HashSet<(BlobKind, BlobId)>,
    writer: &mut Writer,
    moved: &dyn Fn(u64) -> Result<()>,
) -> Result<Vec<Unread>> {
    let mut by_frame: BTreeMap<(u8, PackNumber, FrameNumber), Vec<Placed>> = BTreeMap::new();
    let mut single: Vec<(BlobKind, BlobId)> = Vec::new();
    for (kind, id) in wanted {
        match reader.index().place(id, &PackRule::THERE) {
            // bases before what needs them, then in the order of packs
            Some(place) => by_frame.entry((place.depth, place.pack, place.frame)).or_default().push((*id, place)),
            None => single.push((*kind, *id)),
        }
    }
    // as they lie: what is read together stays together, and a seed can be replayed
    by_frame.values_mut().for_each(|placed| placed.sort_by_key(|(_, place)| place.at));
    single.sort_unstable();
    let frames: Vec<_> = by_frame.into_iter().map(|((.., frame), placed)| (frame, placed)).collect();
    let work = Work { reader, neighbours: neighbours(reader, &frames)?, frames };
    let fetches = ranges::ranges(reader, work.frames.iter().map(|(frame, _)| *frame))?;
    let workers = writer.workers().max(1);
    for batch in fetches.chunks(workers) {
        let all = reader.repository().runtime().map(workers, batch, |fetch| work.take(fetch));
        for (fetch, taken) in batch.iter().zip(all) {
            let mut taken = taken.into_iter();
            for (_, placed) in work.frames.get(fetch.frames.clone()).unwrap_or_default() {
                match taken.next().unwrap_or(Taken::Unread) {
                    Taken::Whole(frame, plain) => put_frame(writer, frame, &plain)?,
                    Taken::Parts(parts) => {
                        for (kind, bytes) in parts {
                            writer.put(kind, &bytes)?;
                        }
                    }
                    Taken::Unread => single.extend(placed.iter().map(|(id, place)| (place.kind, *id))),
                }
            }
            moved(fetch.end - fetch.start)?;
        }
    }
    let mut unread = Vec::new();
    for (kind, id) in single {
        match reader.blob(kind, &id) {
            Ok(bytes) => {
                writer.put(kind, &bytes)?;
            }
            Err(error) => unread.push((kind, id, error)),
        }
    }
    Ok(unread)
}

/// A delta whose bases do not lie where it goes is stored whole.
fn put_frame(writer: &mut Writer, frame: EncodedFrame, plain: &[u8]) -> Result<()> {
    let blobs = frame.blobs.clone();
    if writer.put_frame(frame)? {
        return Ok(());
    }
    let mut rest = plain;
    for blob in blobs {
        let Some((bytes, after)) = rest.split_at_checked(blob.length as usize) else { break };
        writer.put(blob.kind, bytes)?;
        rest = after;
    }
    Ok(())
}

/// All blobs of those frames that are wanted only in part, but by half or more.
fn neighbours(reader: &Reader, frames: &[(FrameNumber, Vec<Placed>)]) -> Result<HashMap<FrameNumber, Vec<Placed>>> {
    let mut found: HashMap<FrameNumber, Vec<Placed>> = HashMap::new();
    for (frame, placed) in frames {
        let (bytes, plain) = (wanted_bytes(placed), u64::from(reader.index().frame(*frame)?.plain));
        if bytes < plain && 2 * bytes >= plain {
            found.insert(*frame, Vec::new());
        }
    }
    if !found.is_empty() {
        for id in reader.index().blobs() {
            for place in reader.index().known_places(&id) {
                if let Some(all) = found.get_mut(&place.frame) {
                    all.push((id, place));
                }
            }
        }
    }
    Ok(found)
}

fn wanted_bytes(placed: &[Placed]) -> u64 {
    placed.iter().map(|(_, place)| u64::from(place.length)).sum()
}

struct Work<'a> {
    reader: &'a Reader,
    frames: Vec<(FrameNumber, Vec<Placed>)>,
    neighbours: HashMap<FrameNumber, Vec<Placed>>,
}

impl Work<'_> {
    fn take(&self, fetch: &Fetch) -> Vec<Taken> {
        let frames = self.frames.get(fetch.frames.clone()).unwrap_or_default();
        let index = self.reader.index();
        let bytes = index.pack(fetch.pack).and_then(|pack| self.reader.fetch(pack, fetch.start..fetch.end));
        let frame = |(number, placed): &(FrameNumber, Vec<Placed>)| {
            let frame = index.frame(*number).ok()?;
            let start = usize::try_from(u64::from(frame.offset) - fetch.start).ok()?;
            let sealed = bytes.as_ref().ok()?.get(start..start.checked_add(frame.stored as usize)?)?;
            self.frame(*number, placed, sealed)
        };
        frames.iter().map(|placed| frame(placed).unwrap_or(Taken::Unread)).collect()
    }

    fn frame(&self, number: FrameNumber, placed: &[Placed], sealed: &[u8]) -> Option<Taken> {
        let (encoded, plain) = self.reader.take_frame(number, sealed).ok()?;
        let frame = self.reader.index().frame(number).ok()?;
        let slice = |(id, place): &Placed| self.reader.slice(place.kind, id, *place, &plain);
        let mut all = self.neighbours.get(&number).map_or(placed, Vec::as_slice).to_vec();
        all.sort_by_key(|(_, place)| place.at);
        if wanted_bytes(&all) == u64::from(frame.plain) && all.iter().all(|blob| slice(blob).is_ok()) {
            let class = self.reader.index().pack(frame.pack).ok()?.class;
            let entry = |(id, place): &Placed| BlobEntry { id: *id, kind: place.kind, length: place.length };
            let blobs = all.iter().map(entry).collect();
            return Some(Taken::Whole(EncodedFrame::again(class, &frame, encoded, blobs), plain));
        }
        let parts = placed.iter().map(|blob| slice(blob).map(|bytes| (blob.1.kind, bytes)));
        parts.collect::<Result<Vec<_>>>().ok().map(Taken::Parts)
    }
}
