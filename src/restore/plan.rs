//! The content of many files at once: which frames hold it, in ranges worth one fetch, and what they are decoded over. Each
//! frame is fetched once per plan, opened once, and its pieces are written wherever they belong, by as many threads as
//! the runtime allows. A frame that fails costs only the files that have no other copy of the blob.

use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::lookup::{BlobLocation, FrameNumber, PackRule};
use crate::repository::read::lineage::{self, Lineage, Wanted};
use crate::repository::read::ranges;
use crate::repository::read::ranges::Fetch;
use crate::repository::read::reader::Reader;
use crate::repository::tree::chunks::Chunks;
use crate::target::{self, FileSlot};
use crate::{backend, repository};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::ChunkRef;
use vault_format::tree::{Extent, Node, NodeKind};

/// A plan is carried out when it holds this many chunks or files: bounds memory, not repositories.
const CHUNKS_MAX: usize = 1 << 20;
const FILES_MAX: usize = 1 << 15;

/// A file whose content is still missing.
struct Pending {
    node: Node,
    slot: Mutex<Option<FileSlot>>,
    left: AtomicUsize,
}

/// A piece of a file.
struct Piece {
    file: u32,
    /// Offset in the content without holes.
    offset: u64,
    place: BlobLocation,
    id: BlobId,
}

/// Files and pieces to be restored together.
#[derive(Default)]
pub struct Plan {
    files: Vec<Pending>,
    pieces: Vec<Piece>,
    lost: Vec<(usize, repository::Error)>,
}

/// How a plan went.
#[derive(Default)]
pub struct Outcome {
    /// Files written.
    pub files: u64,
    /// Content bytes written.
    pub bytes: u64,
    /// Files that could not be restored, with the reason.
    pub failed: Vec<String>,
    /// Packs and blobs that are damaged.
    pub damaged: BTreeSet<String>,
    /// What was written, for verification.
    pub written: Vec<(PathBuf, Node)>,
    /// What the store said when it answered nothing any more: the rest was given up.
    pub silent: Option<backend::Error>,
    /// Where the target had no room left: the rest was given up.
    pub full: Option<(PathBuf, io::Error)>,
}

impl Plan {
    /// Adds a file; its chunks are looked up now. An error means that the store answers nothing any more.
    pub fn add(&mut self, reader: &Reader, node: &Node, slot: FileSlot) -> repository::Result<()> {
        let number = self.files.len();
        let file = u32::try_from(number).map_err(|_| repository::Error::Bug("a plan has too many files"))?;
        let before = self.pieces.len();
        if let NodeKind::File { content, .. } = &node.kind {
            let mut offset = 0u64;
            for chunk in Chunks::new(reader, content) {
                let found = chunk.and_then(|ChunkRef { id, length }| {
                    let place = reader.index().place(&id, &PackRule::THERE);
                    Ok((id, length, place.ok_or(repository::Error::MissingBlob(id))?))
                });
                match found {
                    Ok((id, length, place)) => {
                        self.pieces.push(Piece { file, offset, place, id });
                        offset += u64::from(length);
                    }
                    Err(error) if reader.repository().is_silent(&error) => return Err(error),
                    Err(error) => {
                        self.lost.push((number, error));
                        break;
                    }
                }
            }
        }
        let left = AtomicUsize::new(self.pieces.len() - before);
        self.files.push(Pending { node: node.clone(), slot: Mutex::new(Some(slot)), left });
        Ok(())
    }

    /// True if it should be carried out before more is added.
    pub fn is_full(&self) -> bool {
        self.pieces.len() >= CHUNKS_MAX || self.files.len() >= FILES_MAX
    }

    /// Fetches and writes everything.
    pub fn execute(
        self,
        repository: &Repository,
        reader: &Reader,
        progress: &dyn Progress,
    ) -> repository::Result<Outcome> {
        let mut by_frame: BTreeMap<FrameNumber, Vec<usize>> = BTreeMap::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            by_frame.entry(piece.place.frame).or_default().push(number);
        }
        let lineages = lineage::lineages(reader.index(), by_frame)?;
        let work = Work { repository, reader, progress, plan: &self, outcome: Mutex::new(Outcome::default()) };
        for (number, why) in &self.lost {
            work.fail_to_read(*number, why);
        }
        for (number, file) in self.files.iter().enumerate() {
            if file.left.load(Ordering::SeqCst) == 0 && !work.is_stopped() {
                work.finish(number);
            }
        }
        for batch in lineage::batches(&lineages) {
            work.batch(batch)?;
        }
        Ok(work.outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Work<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    progress: &'a dyn Progress,
    plan: &'a Plan,
    outcome: Mutex<Outcome>,
}

impl Work<'_> {
    fn is_stopped(&self) -> bool {
        let outcome = self.outcome();
        self.repository.runtime().is_stopped() || outcome.silent.is_some() || outcome.full.is_some()
    }

    /// True if the store answers nothing any more: then all threads stop.
    fn is_silent(&self, error: &repository::Error) -> bool {
        let is_silent = self.repository.is_silent(error);
        if is_silent {
            self.outcome().silent = error.backend().cloned();
        }
        is_silent
    }

    /// Fetches and writes what is in some lineages: their deltas first, which wait for the frames that they go back to.
    /// What goes wrong is noted with the file; the rest is given up only once all is.
    fn batch(&self, batch: &[Lineage<usize>]) -> repository::Result<()> {
        let (reader, runtime) = (self.reader, self.repository.runtime());
        let threads = ranges::threads(self.repository);
        let deltas = batch.iter().flat_map(|lineage| &lineage.deltas);
        let deltas: BTreeSet<FrameNumber> = deltas.map(|delta| delta.number).collect();
        let deltas: Vec<FrameNumber> = deltas.into_iter().collect();
        let fetches = ranges::ranges(reader, deltas.iter().copied())?;
        let fetched = runtime.map(threads, &fetches, |fetch| {
            let Some(bytes) = self.fetch(fetch) else { return Vec::new() };
            let frames = deltas.get(fetch.frames.clone()).unwrap_or_default();
            frames.iter().map(|number| (*number, self.sealed(*number, fetch, &bytes).to_vec())).collect()
        });
        let waiting: HashMap<FrameNumber, Vec<u8>> = fetched.into_iter().flatten().collect();
        let fetches = ranges::ranges(reader, batch.iter().map(|lineage| lineage.first.number))?;
        runtime.map(threads, &fetches, |fetch| {
            let Some(bytes) = self.fetch(fetch) else { return };
            for lineage in batch.get(fetch.frames.clone()).unwrap_or_default() {
                self.lineage(lineage, self.sealed(lineage.first.number, fetch, &bytes), &waiting);
            }
        });
        Ok(())
    }

    /// The bytes of a range: none if they can't be had, for the same blobs may lie elsewhere. `None` once all is given up.
    fn fetch(&self, fetch: &Fetch) -> Option<Vec<u8>> {
        if self.is_stopped() {
            return None;
        }
        let pack = self.reader.index().pack(fetch.pack);
        let bytes = pack.and_then(|pack| self.reader.fetch(pack, fetch.start..fetch.end));
        let is_silent = bytes.as_ref().is_err_and(|error| self.is_silent(error));
        (!is_silent).then(|| bytes.unwrap_or_default())
    }

    /// A frame as it is stored, of the bytes of its range.
    fn sealed<'b>(&self, number: FrameNumber, fetch: &Fetch, bytes: &'b [u8]) -> &'b [u8] {
        let sealed = self.reader.index().frame(number).ok().and_then(|frame| {
            let start = (u64::from(frame.offset) - fetch.start) as usize;
            bytes.get(start..start + frame.stored as usize)
        });
        sealed.unwrap_or_default()
    }

    /// Opens the frames of a lineage, each before those that are stored as the difference to it, and writes what they hold.
    fn lineage(&self, lineage: &Lineage<usize>, first: &[u8], waiting: &HashMap<FrameNumber, Vec<u8>>) {
        if lineage.deltas.is_empty() {
            let plain = self.reader.open_frame(lineage.first.number, first).ok();
            return self.pieces(&lineage.first, plain.as_deref());
        }
        let plain = self.reader.open_and_keep(lineage.first.number, first).ok();
        self.pieces(&lineage.first, plain.as_ref().map(|plain| plain.as_slice()));
        for delta in &lineage.deltas {
            let sealed = waiting.get(&delta.number);
            let plain = sealed.and_then(|sealed| self.reader.open_and_keep(delta.number, sealed).ok());
            self.pieces(delta, plain.as_ref().map(|plain| plain.as_slice()));
        }
    }

    /// Writes what a frame holds.
    fn pieces(&self, frame: &Wanted<usize>, plain: Option<&[u8]>) {
        self.at(&frame.pieces);
        for piece in frame.pieces.iter().filter_map(|number| self.plan.pieces.get(*number)) {
            if self.is_stopped() {
                return;
            }
            self.piece(piece, plain);
        }
    }

    /// Tells which file is worked on.
    fn at(&self, pieces: &[usize]) {
        let first = pieces.first().and_then(|number| self.plan.pieces.get(*number));
        let Some(file) = first.and_then(|piece| self.plan.files.get(piece.file as usize)) else { return };
        let path = file.slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(FileSlot::path);
        path.iter().for_each(|path| self.progress.at(path));
    }

    fn piece(&self, piece: &Piece, plain: Option<&[u8]>) {
        let here = plain.map(|plain| self.reader.slice(BlobKind::Chunk, &piece.id, piece.place, plain));
        let bytes = match here {
            Some(Ok(bytes)) => Ok(bytes),
            // this copy is damaged or out of reach: another one may not be
            _ => self.reader.blob(BlobKind::Chunk, &piece.id),
        };
        if bytes.as_ref().is_err_and(|error| self.is_silent(error)) {
            return;
        }
        let number = piece.file as usize;
        let Some(file) = self.plan.files.get(number) else { return };
        let NodeKind::File { holes, .. } = &file.node.kind else { return };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return self.fail_to_read(number, &error),
        };
        let written = {
            let slot = file.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(slot) = slot.as_ref() else { return };
            spread(holes, piece.offset, &bytes).try_for_each(|(offset, part)| slot.write_at(offset, part))
        };
        match written {
            Ok(()) => {
                self.outcome().bytes += bytes.len() as u64;
                self.progress.advance(0, bytes.len() as u64);
                if file.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    self.finish(number);
                }
            }
            Err(error) => self.fail_to_write(number, error),
        }
    }

    /// Damage has one reason for many files, and is told at the end.
    fn fail_to_read(&self, number: usize, error: &repository::Error) {
        let Some(object) = super::damaged_object(error) else { return self.fail(number, &error.to_string()) };
        if let Some((slot, _)) = self.take(number) {
            let line = format!("{}: {error}", slot.path().display());
            self.progress.damaged(&format!("{}: its content is damaged in the repository", slot.short_path()), &line);
            let mut outcome = self.outcome();
            outcome.failed.push(line);
            outcome.damaged.insert(object);
        }
    }

    /// A full disk is one reason for all files, and stops all threads.
    fn fail_to_write(&self, number: usize, error: io::Error) {
        if !target::is_full(&error) {
            return self.fail(number, &error.to_string());
        }
        if let Some((slot, _)) = self.take(number) {
            self.outcome().full.get_or_insert((slot.path(), error));
        }
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, number: usize) -> Option<(FileSlot, &Node)> {
        let file = self.plan.files.get(number)?;
        let slot = file.slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((slot, &file.node))
    }

    fn fail(&self, number: usize, why: &str) {
        // the unfinished file is removed with its slot
        if let Some((slot, _)) = self.take(number) {
            let line = format!("{}: {why}", slot.path().display());
            self.progress.note(&line);
            self.outcome().failed.push(line);
        }
    }

    fn finish(&self, number: usize) {
        let Some((slot, node)) = self.take(number) else { return };
        let path = slot.path();
        match slot.finish(node) {
            Ok(true) => {
                let mut outcome = self.outcome();
                outcome.files += 1;
                outcome.written.push((path, node.clone()));
                self.progress.advance(1, 0);
            }
            // the target has noted what took the name
            Ok(false) => {}
            Err(error) if target::is_full(&error) => {
                self.outcome().full.get_or_insert((path, error));
            }
            Err(error) => self.outcome().failed.push(format!("{}: {error}", path.display())),
        }
    }
}

/// Where a run of content bytes lies in a file with holes: offset in the file and part of the bytes.
pub fn spread<'a>(holes: &'a [Extent], offset: u64, bytes: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
    let mut rest = bytes;
    // offset in the file of the next content byte, moved behind every hole that begins before it
    let mut at = offset;
    let mut holes = holes.iter().peekable();
    std::iter::from_fn(move || {
        while let Some(hole) = holes.next_if(|hole| hole.offset <= at) {
            at += hole.length;
        }
        if rest.is_empty() {
            return None;
        }
        let until = holes.peek().map_or(u64::MAX, |hole| hole.offset - at);
        let take = usize::try_from(until).unwrap_or(usize::MAX).min(rest.len());
        let (part, after) = rest.split_at(take);
        let start = at;
        rest = after;
        at += take as u64;
        Some((start, part))
    })
}

#[cfg(test)]
mod tests {
    use super::spread;
    use vault_format::tree::Extent;

    #[test]
    fn content_is_spread_around_holes() {
        let holes =
            [Extent { offset: 0, length: 10 }, Extent { offset: 14, length: 6 }, Extent { offset: 30, length: 5 }];
        // file: hole 0..10, data 10..14, hole 14..20, data 20..30, hole 30..35
        let parts = |offset, bytes| spread(&holes, offset, bytes).collect::<Vec<_>>();
        assert_eq!(parts(0, b"abcdefgh"), [(10, b"abcd".as_slice()), (20, b"efgh")]);
        assert_eq!(parts(4, b"efghijklmn"), [(20, b"efghijklmn".as_slice())]);
        assert_eq!(parts(2, b"cd"), [(12, b"cd".as_slice())]);
        assert!(parts(3, b"").is_empty());
    }
}
