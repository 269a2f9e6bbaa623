//! The backward half of the flow: find, fetch, open, decompress, verify. A blob that lies in several places is tried in
//! each before it counts as lost. Opening one blob decodes a bounded number of frames and bytes, bases included. What is
//! given is always what its id says; bases are compared with theirs unless a reader trusts them, and then once it must.
//! Decoded frames are kept up to a byte limit, since neighbours are wanted next.

use super::frames::KeptFrames;
use crate::repository::lookup::{ANY_DEPTH, BlobLocation, BlobLookup, FrameNumber, FrameRecord, PackRecord};
use crate::repository::{Error, Repository, Result};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vault_format::frame::{FrameCodec, FrameSeal, OPEN_BYTES_MAX, OPEN_FRAMES_MAX};
use vault_format::id::{BlobId, BlobKind, ObjectId};
use vault_format::name::Name;
use vault_format::promise;

/// What it does, for errors.
const READ: &str = "read content";

/// Reads blobs through a lookup: a handle, and every clone of it keeps the same frames.
#[derive(Clone)]
pub struct Reader {
    repository: Repository,
    index: BlobLookup,
    others: Arc<[Reader]>,
    shared: Arc<Shared>,
    /// Packs that this machine keeps are not fetched.
    is_cached: bool,
    /// Bases are not compared with their ids as long as what rests on them is what its own says.
    is_trusting: bool,
}

/// What clones of one reader share.
struct Shared {
    kept: KeptFrames,
    fetched: AtomicU64,
    // one bit for each frame that was opened and decoded
    opened: Vec<AtomicU64>,
}

/// What is done with the bases of a delta.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bases {
    /// They are taken as they come: where one is wrong, so is what is decoded with it.
    Taken,
    /// Each is compared with its id, and sought in another place if it is not what that says.
    Compared,
}

/// What opening one blob may still decode.
struct Allowance {
    frames: u32,
    bytes: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { frames: OPEN_FRAMES_MAX, bytes: OPEN_BYTES_MAX }
    }
}

impl Reader {
    /// A reader over a loaded lookup, which keeps a third of the memory that is given: as much may be in flight.
    pub fn new(repository: &Repository, index: &BlobLookup) -> Self {
        Self::keeping(repository, index, repository.options().memory_bytes / 3)
    }

    /// The same for who needs the memory for something else: it keeps so many bytes of plaintext.
    pub(crate) fn keeping(repository: &Repository, index: &BlobLookup, kept_bytes: usize) -> Self {
        let shared = Shared {
            kept: KeptFrames::new(kept_bytes),
            fetched: AtomicU64::new(0),
            opened: (0..index.frame_count().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        };
        let (repository, index, others) = (repository.clone(), index.clone(), Arc::new([]));
        Self { repository, index, others, shared: Arc::new(shared), is_cached: false, is_trusting: false }
    }

    /// Asks other readers, of other domains or of a repository with the same id key, for what this one can't give.
    pub(crate) fn or(self, others: &[Reader]) -> Self {
        Self { others: others.into(), ..self }
    }

    /// Takes what it can from the packs that this machine keeps. What they hold is authentic, but they may be damaged
    /// where the store is not: only for what may also be missing.
    pub(crate) fn cached(self) -> Self {
        Self { is_cached: true, ..self }
    }

    /// Compares bases with their ids only where what rests on them is not what its own id says: for who wants the content
    /// alone. Who tells others that a place is good needs more: a base that is a lie can suit a delta that is another one.
    pub(crate) fn trusting_bases(self) -> Self {
        Self { is_trusting: true, ..self }
    }

    /// The repository that it reads.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The lookup.
    pub(crate) fn index(&self) -> &BlobLookup {
        &self.index
    }

    /// The most nodes of a tree that is walked path by path: pages can be shared, but not without end.
    pub(crate) fn nodes_max(&self) -> u64 {
        let own = self.index.tree_pages();
        promise::nodes_max(self.others.iter().fold(own, |sum, other| sum.saturating_add(other.index.tree_pages())))
    }

    /// Frames fetched and decoded frames evicted so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.fetched.load(Ordering::Relaxed), self.shared.kept.evicted())
    }

    /// Packs all of whose frames were read, opened and decoded.
    pub(crate) fn verified_packs(&self) -> Vec<ObjectId> {
        let is_opened = |number: FrameNumber| {
            let word = self.shared.opened.get(number.index() / 64).map_or(0, |word| word.load(Ordering::Relaxed));
            word >> (number.index() % 64) & 1 == 1
        };
        let whole = self.index.packs().filter(|(number, _)| self.index.frames_of(*number).all(is_opened));
        whole.map(|(_, pack)| pack.id).collect()
    }

    /// Reads one blob: a page from this machine's cache, anything from whichever of its places gives the right bytes.
    pub fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>> {
        let cache = self.repository.cache().filter(|_| kind != BlobKind::Chunk);
        let cached = cache.and_then(|cache| cache.page(id));
        if let Some(page) = cached.filter(|page| self.repository.keys().id_key().blob_id(kind, page) == *id) {
            return Ok(page);
        }
        self.repository.keys().content(READ)?;
        let mut found = self.whole(kind, id, self.bases());
        if self.is_trusting && found.as_ref().is_err_and(|error| !error.is_unanswered()) {
            found = self.whole(kind, id, Bases::Compared);
        }
        for other in self.others.iter() {
            let Err(error) = found else { return found };
            found = match other.blob(kind, id) {
                Err(other) if !other.is_unanswered() => Err(error),
                answer => answer,
            };
        }
        found
    }

    /// Reads pages that are wanted next, as many at a time as the store serves, and keeps their frames: one after the other
    /// each would cost the way to the store and back. What fails here fails again for whoever wants it, who tells.
    pub(crate) fn read_ahead(&self, kind: BlobKind, ids: &[BlobId]) {
        let (runtime, backend) = (self.repository.runtime(), self.repository.backend());
        // what is here already is as near as what is kept
        if runtime.workers == 0 || backend.is_local() || ids.len() < 2 {
            return;
        }
        let _ = runtime.try_map(backend.connections(), ids, |id| match self.blob(kind, id) {
            Err(error) if error.is_unanswered() => Err(error),
            _ => Ok(()),
        });
    }

    fn bases(&self) -> Bases {
        if self.is_trusting { Bases::Taken } else { Bases::Compared }
    }

    fn whole(&self, kind: BlobKind, id: &BlobId, bases: Bases) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.blob_below((kind, id), ANY_DEPTH, (&mut Allowance::default(), bases), &mut bytes)?;
        Ok(bytes)
    }

    /// Appends a blob, from a place of a depth below `below`: any will do for what is wanted, and less for a base.
    fn blob_below(
        &self,
        (kind, id): (BlobKind, &BlobId),
        below: u8,
        (allowance, bases): (&mut Allowance, Bases),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let is_compared = below == ANY_DEPTH || bases == Bases::Compared;
        let mut last = Error::MissingBlob(*id);
        for place in self.index.places_to_try(id, below) {
            let pack = self.index.pack(place.pack)?;
            let read = self.frame(place.frame, (allowance, bases)).and_then(|plain| {
                let bytes = if is_compared { self.cut(kind, id, place, &plain)? } else { self.range(place, &plain)? };
                out.extend_from_slice(bytes);
                Ok(())
            });
            match read {
                Ok(()) => return Ok(()),
                // what is not known for sure weighs more than what the other places lack
                Err(_) if last.is_unanswered() => {}
                // another place may be open to this key; if none is, the reason is the key and not damage
                Err(error @ Error::Role { .. }) => last = error,
                Err(error) => last = Error::DamagedBlob { blob: *id, pack: pack.id, why: Box::new(error) },
            }
        }
        Err(last)
    }

    /// Cuts a blob out of its frame's plaintext and checks its id.
    pub(crate) fn slice(&self, kind: BlobKind, id: &BlobId, place: BlobLocation, plain: &[u8]) -> Result<Vec<u8>> {
        Ok(self.cut(kind, id, place, plain)?.to_vec())
    }

    fn cut<'p>(&self, kind: BlobKind, id: &BlobId, place: BlobLocation, plain: &'p [u8]) -> Result<&'p [u8]> {
        let bytes = self.range(place, plain)?;
        if self.repository.keys().id_key().blob_id(kind, bytes) == *id { Ok(bytes) } else { self.wrong(place) }
    }

    fn range<'p>(&self, place: BlobLocation, plain: &'p [u8]) -> Result<&'p [u8]> {
        let range = place.at as usize..place.at as usize + place.length as usize;
        plain.get(range).map_or_else(|| self.wrong(place), Ok)
    }

    fn wrong<T>(&self, place: BlobLocation) -> Result<T> {
        self.damaged(&self.index.frame(place.frame)?, vault_format::Error::WrongBlob)
    }

    fn frame(&self, number: FrameNumber, (allowance, bases): (&mut Allowance, Bases)) -> Result<Arc<Vec<u8>>> {
        let frame = self.index.frame(number)?;
        let left = (allowance.frames.checked_sub(1), allowance.bytes.checked_sub(u64::from(frame.plain)));
        let (Some(frames), Some(bytes)) = left else {
            return self.damaged(&frame, vault_format::Error::Limit("the frames behind one blob"));
        };
        (allowance.frames, allowance.bytes) = (frames, bytes);
        // what was decoded with a base that nobody compared may be wrong
        let is_sure = frame.depth == 0 || bases == self.bases();
        if let Some(plain) = self.shared.kept.get(number).filter(|_| is_sure) {
            return Ok(plain);
        }
        let pack = self.index.pack(frame.pack)?;
        let start = u64::from(frame.offset);
        let sealed = self.fetch(pack, start..start + u64::from(frame.stored))?;
        let plain = Arc::new(self.open_with(number, &sealed, (allowance, bases))?);
        self.shared.kept.insert(number, &plain);
        Ok(plain)
    }

    /// Fetches a byte range of a pack.
    pub(crate) fn fetch(&self, pack: &PackRecord, range: Range<u64>) -> Result<Vec<u8>> {
        let cache = self.repository.cache().filter(|_| self.is_cached);
        if let Some(bytes) = cache.and_then(|cache| cache.pack(&pack.id, &range)) {
            return Ok(bytes);
        }
        self.shared.fetched.fetch_add(1, Ordering::Relaxed);
        let name = Name::Pack(pack.class, pack.id).to_string();
        Ok(self.repository.backend().get(&name, Some(range))?)
    }

    /// Opens and decodes a frame whose sealed bytes the caller has fetched.
    pub(crate) fn open_frame(&self, number: FrameNumber, sealed: &[u8]) -> Result<Vec<u8>> {
        self.open_with(number, sealed, (&mut Allowance::default(), self.bases()))
    }

    /// The same, and keeps it: others are stored as the difference to what is in it.
    pub(crate) fn open_and_keep(&self, number: FrameNumber, sealed: &[u8]) -> Result<Arc<Vec<u8>>> {
        let plain = Arc::new(self.open_frame(number, sealed)?);
        self.shared.kept.insert(number, &plain);
        Ok(plain)
    }

    /// The same, and what lay under the seal: the encoded bytes, then the plaintext.
    pub(crate) fn take_frame(&self, number: FrameNumber, sealed: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let encoded = self.open_seal(number, sealed)?;
        let plain = self.decode(number, encoded.clone(), (&mut Allowance::default(), self.bases()))?;
        Ok((encoded, plain))
    }

    /// Opens the seal of a frame whose sealed bytes the caller has fetched; the result is still encoded.
    pub(crate) fn open_seal(&self, number: FrameNumber, sealed: &[u8]) -> Result<Vec<u8>> {
        let frame = self.index.frame(number)?;
        let pack = self.index.pack(frame.pack)?;
        let name = Name::Pack(pack.class, pack.id);
        let secret = self.repository.keys().open_run(READ, &name, (&pack.wraps, &pack.header))?;
        let opened = self.seal_of(&frame, pack).open(&secret.pack_key(pack.class, &pack.salt), sealed);
        opened.or_else(|error| self.damaged(&frame, error))
    }

    fn seal_of(&self, frame: &FrameRecord, pack: &PackRecord) -> FrameSeal {
        FrameSeal {
            repository: self.repository.id(),
            class: pack.class,
            ordinal: frame.ordinal,
            codec: frame.codec,
            plain: frame.plain,
        }
    }

    fn open_with(&self, number: FrameNumber, sealed: &[u8], how: (&mut Allowance, Bases)) -> Result<Vec<u8>> {
        self.decode(number, self.open_seal(number, sealed)?, how)
    }

    fn decode(
        &self,
        number: FrameNumber,
        encoded: Vec<u8>,
        (allowance, bases): (&mut Allowance, Bases),
    ) -> Result<Vec<u8>> {
        let frame = self.index.frame(number)?;
        let mut prefix = Vec::new();
        if frame.codec == FrameCodec::Delta {
            for base in &frame.bases {
                self.blob_below((frame.kind, base), frame.depth, (allowance, bases), &mut prefix)?;
            }
        }
        let seal = self.seal_of(&frame, self.index.pack(frame.pack)?);
        let plain = seal.decode(encoded, &prefix).or_else(|error| self.damaged(&frame, error))?;
        if let Some(word) = self.shared.opened.get(number.index() / 64) {
            word.fetch_or(1 << (number.index() % 64), Ordering::Relaxed);
        }
        Ok(plain)
    }

    fn damaged<T>(&self, frame: &FrameRecord, source: vault_format::Error) -> Result<T> {
        let pack = self.index.pack(frame.pack)?;
        Err(Error::Frame { frame: frame.ordinal, pack: Name::Pack(pack.class, pack.id), source })
    }
}
