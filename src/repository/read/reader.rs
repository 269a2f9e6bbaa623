//! The backward half of the flow: find, fetch, open, decompress, verify. A blob that lies in several places is tried in
//! each before it counts as lost. Opening one blob decodes a bounded number of frames and bytes, bases included.
//! Decoded frames are kept up to a byte limit, since neighbours are wanted next.

use crate::repository::keys::CONTENT_ROLES;
use crate::repository::lookup::{ANY_DEPTH, BlobLookup, FrameRecord, Location, PackRecord};
use crate::repository::{Error, Repository, Result, of_object};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vault_format::bundle::Role;
use vault_format::envelope::RunSecret;
use vault_format::frame::{FrameCodec, FrameSeal, OPEN_BYTES_MAX, OPEN_FRAMES_MAX};
use vault_format::id::{BlobId, BlobKind, ObjectId};
use vault_format::name::Name;

/// Plaintext of decoded frames that a reader keeps, in bytes.
const KEPT_BYTES: usize = 64 << 20;

/// Reads blobs through a lookup: a handle, and every clone of it keeps the same frames.
#[derive(Clone)]
pub struct Reader {
    repository: Repository,
    index: BlobLookup,
    others: Arc<[Reader]>,
    shared: Arc<Shared>,
}

/// What clones of one reader share.
struct Shared {
    kept: Mutex<Kept>,
    fetched: AtomicU64,
    evicted: AtomicU64,
    // one bit for each frame that was opened and decoded
    opened: Vec<AtomicU64>,
}

#[derive(Default)]
struct Kept {
    frames: HashMap<u32, (Arc<Vec<u8>>, u64)>,
    bytes: usize,
    clock: u64,
}

/// What opening one blob may still decode.
struct Allowance {
    frames: u32,
    bytes: u64,
}

impl Reader {
    /// A reader over a loaded lookup.
    pub fn new(repository: &Repository, index: &BlobLookup) -> Self {
        let shared = Shared {
            kept: Mutex::default(),
            fetched: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            opened: (0..index.frames().len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { repository: repository.clone(), index: index.clone(), others: Arc::new([]), shared: Arc::new(shared) }
    }

    /// Asks other readers, of other domains or of a repository with the same id key, for what this one can't give.
    pub fn or(self, others: &[Reader]) -> Self {
        Self { others: others.into(), ..self }
    }

    /// The repository that it reads.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The lookup.
    pub fn index(&self) -> &BlobLookup {
        &self.index
    }

    /// Frames fetched and decoded frames evicted so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.fetched.load(Ordering::Relaxed), self.shared.evicted.load(Ordering::Relaxed))
    }

    /// Packs all of whose frames were read, opened and decoded.
    pub fn verified_packs(&self) -> Vec<ObjectId> {
        let is_opened = |number: usize| {
            let word = self.shared.opened.get(number / 64).map_or(0, |word| word.load(Ordering::Relaxed));
            word >> (number % 64) & 1 == 1
        };
        let mut whole = vec![true; self.index.packs().len()];
        for (_, frame) in self.index.frames().iter().enumerate().filter(|(number, _)| !is_opened(*number)) {
            if let Some(whole) = whole.get_mut(frame.pack as usize) {
                *whole = false;
            }
        }
        self.index.packs().iter().zip(whole).filter(|(_, whole)| *whole).map(|(pack, _)| pack.id).collect()
    }

    /// Reads one blob: a page from this machine's cache, anything from whichever of its places gives the right bytes.
    pub fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>> {
        let cache = self.repository.cache().filter(|_| kind != BlobKind::Chunk);
        let cached = cache.and_then(|cache| cache.page(id));
        if let Some(page) = cached.filter(|page| self.repository.keys().id_key().blob_id(kind, page) == *id) {
            return Ok(page);
        }
        if self.repository.keys().role() == Role::Writer {
            return Err(Error::Role { what: "read content", needs: CONTENT_ROLES, has: Role::Writer });
        }
        let allowance = &mut Allowance { frames: OPEN_FRAMES_MAX, bytes: OPEN_BYTES_MAX };
        let mut found = self.blob_below(kind, id, ANY_DEPTH, allowance);
        for other in self.others.iter() {
            let Err(error) = found else { return found };
            found = match other.blob(kind, id) {
                Err(other) if !other.is_unanswered() => Err(error),
                answer => answer,
            };
        }
        found
    }

    fn blob_below(&self, kind: BlobKind, id: &BlobId, below: u8, allowance: &mut Allowance) -> Result<Vec<u8>> {
        let mut places: Vec<Location> =
            self.index.locations(id).filter(|place| self.index.frame(place.frame).depth < below).collect();
        places.sort_by_key(|place| {
            let frame = self.index.frame(place.frame);
            let pack = self.index.pack_of(place.frame);
            (!pack.present, pack.condemned, frame.depth)
        });
        let mut last = Error::MissingBlob(*id);
        for place in places {
            let pack = self.index.pack_of(place.frame);
            let read = self.frame(place.frame, allowance).and_then(|plain| self.slice(kind, id, place, &plain));
            match read {
                Ok(bytes) => return Ok(bytes),
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
    pub fn slice(&self, kind: BlobKind, id: &BlobId, place: Location, plain: &[u8]) -> Result<Vec<u8>> {
        let range = place.at as usize..place.at as usize + place.length as usize;
        let bytes = plain.get(range).filter(|bytes| self.repository.keys().id_key().blob_id(kind, bytes) == *id);
        match bytes {
            Some(bytes) => Ok(bytes.to_vec()),
            None => self.damaged(self.index.frame(place.frame), vault_format::Error::WrongBlob),
        }
    }

    fn frame(&self, number: u32, allowance: &mut Allowance) -> Result<Arc<Vec<u8>>> {
        let frame = self.index.frame(number);
        let left = (allowance.frames.checked_sub(1), allowance.bytes.checked_sub(u64::from(frame.plain)));
        let (Some(frames), Some(bytes)) = left else {
            return self.damaged(frame, vault_format::Error::Limit("the frames behind one blob"));
        };
        (allowance.frames, allowance.bytes) = (frames, bytes);
        if let Some(plain) = self.kept().get(number) {
            return Ok(plain);
        }
        let pack = self.index.pack_of(number);
        let start = u64::from(frame.offset);
        let sealed = self.fetch(pack, start..start + u64::from(frame.stored))?;
        let plain = Arc::new(self.open_with(number, &sealed, allowance)?);
        self.keep(number, &plain);
        Ok(plain)
    }

    /// Fetches a byte range of a pack.
    pub fn fetch(&self, pack: &PackRecord, range: Range<u64>) -> Result<Vec<u8>> {
        self.shared.fetched.fetch_add(1, Ordering::Relaxed);
        let name = Name::Pack(pack.class, pack.id).to_string();
        Ok(self.repository.backend().get(&name, Some(range))?)
    }

    /// Opens and decodes a frame whose sealed bytes the caller has fetched.
    pub fn open_frame(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>> {
        self.open_with(number, sealed, &mut Allowance { frames: OPEN_FRAMES_MAX, bytes: OPEN_BYTES_MAX })
    }

    /// The same, and what lay under the seal: the encoded bytes, then the plaintext.
    pub fn take_frame(&self, number: u32, sealed: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let encoded = self.open_seal(number, sealed)?;
        let allowance = &mut Allowance { frames: OPEN_FRAMES_MAX, bytes: OPEN_BYTES_MAX };
        let plain = self.decode(number, encoded.clone(), allowance)?;
        Ok((encoded, plain))
    }

    /// Opens the seal of a frame whose sealed bytes the caller has fetched; the result is still encoded.
    pub fn open_seal(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>> {
        let frame = self.index.frame(number);
        let pack = self.index.pack_of(number);
        let secret = self.secret(pack)?;
        let opened = self.seal_of(number).open(&secret.pack_key(pack.class, &pack.salt), sealed);
        opened.or_else(|error| self.damaged(frame, error))
    }

    fn seal_of(&self, number: u32) -> FrameSeal {
        let frame = self.index.frame(number);
        FrameSeal {
            repository: self.repository.id(),
            class: self.index.pack_of(number).class,
            ordinal: frame.ordinal,
            codec: frame.codec,
            plain: frame.plain,
        }
    }

    fn open_with(&self, number: u32, sealed: &[u8], allowance: &mut Allowance) -> Result<Vec<u8>> {
        self.decode(number, self.open_seal(number, sealed)?, allowance)
    }

    fn decode(&self, number: u32, encoded: Vec<u8>, allowance: &mut Allowance) -> Result<Vec<u8>> {
        let frame = self.index.frame(number);
        let mut prefix = Vec::new();
        if frame.codec == FrameCodec::Delta {
            for base in &frame.bases {
                prefix.extend_from_slice(&self.blob_below(BlobKind::Chunk, base, frame.depth, allowance)?);
            }
        }
        let plain = self.seal_of(number).decode(encoded, &prefix).or_else(|error| self.damaged(frame, error))?;
        if let Some(word) = self.shared.opened.get(number as usize / 64) {
            word.fetch_or(1 << (number % 64), Ordering::Relaxed);
        }
        Ok(plain)
    }

    fn damaged<T>(&self, frame: &FrameRecord, source: vault_format::Error) -> Result<T> {
        let pack = &self.index.packs()[frame.pack as usize];
        Err(Error::Object { object: format!("frame {} of {}", frame.ordinal, Name::Pack(pack.class, pack.id)), source })
    }

    fn secret(&self, pack: &PackRecord) -> Result<RunSecret> {
        match self.repository.keys().open_run(&pack.wraps, &pack.header) {
            Err(vault_format::Error::NoAccess) => {
                Err(Error::Role { what: "read content", needs: CONTENT_ROLES, has: self.repository.keys().role() })
            }
            opened => of_object(Name::Pack(pack.class, pack.id), opened),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, number: u32, plain: &Arc<Vec<u8>>) {
        let evicted = self.kept().insert(number, plain.clone());
        self.shared.evicted.fetch_add(evicted, Ordering::Relaxed);
    }
}

impl Kept {
    fn get(&mut self, number: u32) -> Option<Arc<Vec<u8>>> {
        self.clock += 1;
        let clock = self.clock;
        self.frames.get_mut(&number).map(|(plain, used)| {
            *used = clock;
            plain.clone()
        })
    }

    fn insert(&mut self, number: u32, plain: Arc<Vec<u8>>) -> u64 {
        self.clock += 1;
        self.bytes += plain.len();
        self.frames.insert(number, (plain, self.clock));
        let mut evicted = 0;
        while self.bytes > KEPT_BYTES {
            // a scan of at most a few hundred frames, next to a fetch
            let Some(oldest) = self.frames.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number) else {
                break;
            };
            if let Some((plain, _)) = self.frames.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(plain.len());
                evicted += 1;
            }
        }
        evicted
    }
}

/// True if a blob has a place from which it may be read.
pub fn is_present(index: &BlobLookup, id: &BlobId) -> bool {
    index.usable(id).is_some()
}
