//! Blobs on their way from the packs where a reader finds them into the packs of a writer, of the same repository or of
//! one with the same id key. A frame of which at least half is wanted moves as it is: its seal is renewed, nothing is
//! compressed again. Every blob is compared with its id on the way, so that damage does not spread.

use super::packer::EncodedFrame;
use super::writer::Writer;
use crate::repository::lookup::Location;
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
type Placed = (BlobId, Location);

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
    let mut by_frame: BTreeMap<(u8, u32, u32), Vec<Placed>> = BTreeMap::new();
    let mut single: Vec<(BlobKind, BlobId)> = Vec::new();
    for (kind, id) in wanted {
        match reader.index().usable(id) {
            // bases before what needs them, then in the order of packs
            Some(place) => {
                let frame = reader.index().frame(place.frame);
                by_frame.entry((frame.depth, frame.pack, place.frame)).or_default().push((*id, place));
            }
            None => single.push((*kind, *id)),
        }
    }
    // as they lie: what is read together stays together, and a seed can be replayed
    by_frame.values_mut().for_each(|placed| placed.sort_by_key(|(_, place)| place.at));
    single.sort_unstable();
    let frames: Vec<(u32, Vec<Placed>)> = by_frame.into_iter().map(|((.., frame), placed)| (frame, placed)).collect();
    let work = Work { reader, neighbours: neighbours(reader, &frames), frames };
    let fetches = ranges::ranges(reader.index(), work.frames.iter().map(|(frame, _)| *frame));
    for batch in fetches.chunks(writer.workers().max(1)) {
        for (fetch, taken) in batch.iter().zip(work.take_all(batch, writer.workers())) {
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
fn neighbours(reader: &Reader, frames: &[(u32, Vec<Placed>)]) -> HashMap<u32, Vec<Placed>> {
    let in_part = frames.iter().filter(|(frame, placed)| {
        let (bytes, plain) = (wanted_bytes(placed), u64::from(reader.index().frame(*frame).plain));
        bytes < plain && 2 * bytes >= plain
    });
    let mut found: HashMap<u32, Vec<Placed>> = in_part.map(|(frame, _)| (*frame, Vec::new())).collect();
    if !found.is_empty() {
        for id in reader.index().blobs() {
            for place in reader.index().locations(id) {
                if let Some(all) = found.get_mut(&place.frame) {
                    all.push((*id, place));
                }
            }
        }
    }
    found
}

fn wanted_bytes(placed: &[Placed]) -> u64 {
    placed.iter().map(|(_, place)| u64::from(place.length)).sum()
}

struct Work<'a> {
    reader: &'a Reader,
    frames: Vec<(u32, Vec<Placed>)>,
    neighbours: HashMap<u32, Vec<Placed>>,
}

impl Work<'_> {
    /// Fetches and opens at the same time; the results come in order.
    fn take_all(&self, batch: &[Fetch], workers: usize) -> Vec<Vec<Taken>> {
        if workers == 0 {
            return batch.iter().map(|fetch| self.take(fetch)).collect();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = batch.iter().map(|fetch| scope.spawn(|| self.take(fetch))).collect();
            // a thread that panicked has read nothing
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        })
    }

    fn take(&self, fetch: &Fetch) -> Vec<Taken> {
        let Some(frames) = self.frames.get(fetch.frames.clone()) else { return Vec::new() };
        let Some((first, _)) = frames.first() else { return Vec::new() };
        let index = self.reader.index();
        let bytes = self.reader.fetch(index.pack_of(*first), fetch.start..fetch.end);
        let sealed = |number: u32| {
            let frame = index.frame(number);
            let start = usize::try_from(u64::from(frame.offset) - fetch.start).ok()?;
            bytes.as_ref().ok()?.get(start..start.checked_add(frame.stored as usize)?)
        };
        frames
            .iter()
            .map(|(number, placed)| {
                sealed(*number).and_then(|sealed| self.frame(*number, placed, sealed)).unwrap_or(Taken::Unread)
            })
            .collect()
    }

    fn frame(&self, number: u32, placed: &[Placed], sealed: &[u8]) -> Option<Taken> {
        let (encoded, plain) = self.reader.take_frame(number, sealed).ok()?;
        let frame = self.reader.index().frame(number);
        let slice = |(id, place): &Placed| self.reader.slice(place.kind, id, *place, &plain);
        let mut all = self.neighbours.get(&number).map_or(placed, Vec::as_slice).to_vec();
        all.sort_by_key(|(_, place)| place.at);
        if wanted_bytes(&all) == u64::from(frame.plain) && all.iter().all(|blob| slice(blob).is_ok()) {
            let class = self.reader.index().pack_of(number).class;
            let entry = |(id, place): &Placed| BlobEntry { id: *id, kind: place.kind, length: place.length };
            let blobs = all.iter().map(entry).collect();
            return Some(Taken::Whole(EncodedFrame::again(class, frame, encoded, blobs), plain));
        }
        let parts = placed.iter().map(|blob| slice(blob).map(|bytes| (blob.1.kind, bytes)));
        parts.collect::<Result<Vec<_>>>().ok().map(Taken::Parts)
    }
}
