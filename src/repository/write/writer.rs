//! The forward half of the flow behind the source: dedup, shared frames, compression, packs, index, and the commit of
//! a snapshot in the order that the protocol demands (W1-W5). With `workers = 0` everything happens on the caller's
//! thread; otherwise frames are compressed on a pool, packed on one thread and put by a few others, with a byte budget
//! between them.

mod cost;
mod early;
mod engine;
mod flushed;

use super::bases::{Bases, Reach};
use super::frame::EncodedFrame;
use super::packer::Run;
pub use super::packer::{Place, pack_bytes};
use crate::repository::index::inherited::Inherited;
use crate::repository::lookup::{BlobLookup, Cost, PackNumber, PackRule};
use crate::repository::read::reader::Reader;
use crate::repository::{Error, Repository, Result};
use engine::Engine;
pub use flushed::Flushed;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use vault_format::bundle::Role;
use vault_format::directory::{BlobEntry, PACK_BLOBS_MAX};
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::key::Key;

/// A shared frame is closed at this many plaintext bytes, or at an eighth of a pack: of a source tree 2 MiB take a
/// twentieth less than 512 KiB, and whoever wants one file opens no more than that.
const FRAME_BYTES_TARGET: usize = 2 << 20;
/// The same for blobs that are this large on average: they are of content that does not compress, and gain nothing.
const FRAME_BYTES_LEAST: usize = 512 << 10;
const LARGE_BLOB_BYTES: usize = 256 << 10;

/// A shared frame is closed at this many blobs, however small they are: a pack has room for a few such frames.
const FRAME_BLOBS_MAX: usize = PACK_BLOBS_MAX / 8;

/// Highest zstd level: those above need the memory of many frames.
const LEVEL_MAX: i32 = 19;

/// Pages that go into the cache in one transaction.
const PAGES_AT_ONCE: usize = 256;

/// Counts of what a writer did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// New blobs.
    pub added_blobs: u64,
    /// Plaintext bytes of new blobs.
    pub added_bytes: u64,
}

/// Writes blobs for one run, then commits its snapshot.
pub struct Writer {
    repository: Repository,
    index: BlobLookup,
    run: Arc<Run>,
    engine: Engine,
    open: Vec<(BlobKind, OpenFrame)>,
    written: HashSet<BlobId>,
    /// What opening those blobs costs that this run wrote as deltas.
    deltas: HashMap<BlobId, Cost>,
    relied: BTreeSet<PackNumber>,
    /// For the cache, and those of them that it has.
    pages: Vec<(BlobId, Option<Vec<u8>>)>,
    kept_pages: HashSet<BlobId>,
    carried: BTreeSet<ObjectId>,
    /// The domain whose members must be able to read what the owner relies on.
    for_members: Option<DomainId>,
    inherited: Option<Arc<Inherited>>,
    is_dry: bool,
    /// What no index tells of when the run fails is deleted again.
    all_or_nothing: bool,
    /// What happened so far.
    pub counts: Counts,
}

/// What a run has stored: outlives the writer, so that the next run finds it.
pub struct Written(Arc<Run>);

impl Written {
    /// Bytes of packs stored so far.
    pub fn stored_bytes(&self) -> u64 {
        self.0.stored.lock().pack_bytes
    }

    /// Packs stored so far.
    pub fn stored_packs(&self) -> u64 {
        self.0.stored.lock().packs.len() as u64
    }

    /// Adds it to a lookup, which is copied only if somebody still reads or writes by it.
    pub fn add_to(&self, index: &mut BlobLookup) -> Result<()> {
        self.0.add_to(index)
    }
}

fn book(repository: &Repository, domain: DomainId) -> Result<Key> {
    let keys = repository.keys();
    keys.book(domain).ok_or(Error::Role { what: "write there", needs: "owner", has: keys.role() })
}

/// Blobs that are encoded together.
#[derive(Default)]
struct OpenFrame {
    bytes: Vec<u8>,
    blobs: Vec<BlobEntry>,
    /// What each takes the place of.
    before: Vec<Vec<BlobId>>,
}

impl OpenFrame {
    /// Plaintext bytes at which it is closed, in packs of so many.
    fn target(&self, pack_bytes: usize) -> usize {
        let is_of_large = self.bytes.len() >= self.blobs.len() * LARGE_BLOB_BYTES;
        let target = if is_of_large { FRAME_BYTES_LEAST } else { FRAME_BYTES_TARGET };
        target.min(pack_bytes / 8).max(FRAME_BYTES_LEAST)
    }
}

impl Writer {
    /// Starts a run that writes for a source of `domain`. `index` must be loaded by rule W1.
    pub fn new(repository: &Repository, index: &BlobLookup, domain: DomainId, source: &str) -> Result<Self> {
        let label = book(repository, domain)?.source_label(source);
        Self::at(repository, index, Place { domain, label, shared: true })
    }

    /// The same for a place: how the owner writes anew what others have written.
    pub fn at(repository: &Repository, index: &BlobLookup, place: Place) -> Result<Self> {
        let (Place { domain, shared, .. }, keys) = (place, repository.keys());
        // the run began when it looked at marks, which may be long ago if the machine slept since
        let since = index.since().unwrap_or_else(|| repository.runtime().clock.elapsed());
        let run = Arc::new(Run::start(repository, place, book(repository, domain)?, since)?);
        let engine = Engine::start(&run)?;
        let open = [BlobKind::Chunk, BlobKind::Tree, BlobKind::List].map(|kind| (kind, OpenFrame::default())).into();
        Ok(Self {
            repository: repository.clone(),
            index: index.clone(),
            run,
            engine,
            open,
            written: HashSet::new(),
            deltas: HashMap::new(),
            relied: BTreeSet::new(),
            pages: Vec::new(),
            kept_pages: HashSet::new(),
            carried: BTreeSet::new(),
            inherited: None,
            is_dry: false,
            all_or_nothing: false,
            for_members: (shared && keys.role() == Role::Owner && domain != keys.domain()).then_some(domain),
            counts: Counts::default(),
        })
    }

    /// Relies also on what earlier runs of this key have left in no index; the lookup must tell of it.
    pub(crate) fn inheriting(mut self, inherited: &Arc<Inherited>) -> Self {
        self.inherited = Some(inherited.clone());
        self
    }

    /// The pages that the next run of this source will ask for are kept, and no others.
    fn keep_pages_for_the_next_run(&mut self) {
        self.flush_pages();
        if let Some(cache) = self.repository.cache() {
            cache.retain_pages(self.run.label, &self.kept_pages);
        }
    }

    /// Stores what takes the place of something as the difference to that, as far as it can be read.
    pub(crate) fn with_bases(self, reader: &Reader, reach: Reach) -> Self {
        let bases = Bases::new(self.index.clone(), reader.clone(), self.for_members, reach);
        // nobody else gives it any
        let _ = self.run.bases.set(bases);
        self
    }

    /// Compresses by zstd at this level.
    pub(crate) fn at_level(self, level: i32) -> Self {
        // nobody else gives it any
        let _ = self.run.level.set(level.clamp(1, LEVEL_MAX));
        self
    }

    /// Counts what would be stored, and stores nothing.
    pub fn dry(mut self) -> Self {
        self.is_dry = true;
        self
    }

    /// Half of this run would help nobody, and may have taken the last room: if it fails, the packs that no index tells
    /// of are deleted again, which nobody else knows.
    pub fn all_or_nothing(mut self) -> Self {
        self.all_or_nothing = true;
        self
    }

    /// The id that a plaintext has here.
    pub fn id_of(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        self.repository.keys().id_key().blob_id(kind, plaintext)
    }

    /// Makes sure that a blob is stored; nothing is durable before [`Writer::flush`].
    pub fn put(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<BlobId> {
        let (id, is_new) = self.look_for(kind, plaintext);
        if is_new {
            self.store(kind, id, plaintext, Vec::new())?;
        }
        Ok(id)
    }

    /// The id of what is to be stored, and true if it is not there yet.
    pub(crate) fn look_for(&mut self, kind: BlobKind, plaintext: &[u8]) -> (BlobId, bool) {
        let id = self.id_of(kind, plaintext);
        let is_new = !self.rely(&id);
        if kind != BlobKind::Chunk {
            self.keep(id, Some(plaintext));
        }
        (id, is_new)
    }

    /// True if it pays to say what a blob takes the place of.
    pub(crate) fn has_bases(&self) -> bool {
        self.run.bases.get().is_some() && !self.is_dry
    }

    /// Makes sure that a blob is stored, which takes the place of others.
    pub(crate) fn put_after(
        &mut self,
        (kind, id): (BlobKind, BlobId),
        plaintext: &[u8],
        before: Vec<BlobId>,
    ) -> Result<()> {
        if self.rely(&id) { Ok(()) } else { self.store(kind, id, plaintext, before) }
    }

    /// Keeps a page, which the cache has already, for the next run: it belongs to something that was taken over unread.
    pub fn keep_known_page(&mut self, id: BlobId) {
        self.keep(id, None);
    }

    /// Keeps a page for the next run of this source on this machine.
    fn keep(&mut self, id: BlobId, plaintext: Option<&[u8]>) {
        if self.repository.cache().is_some() {
            self.pages.push((id, plaintext.map(<[u8]>::to_vec)));
            if self.pages.len() == PAGES_AT_ONCE {
                self.flush_pages();
            }
        }
    }

    fn flush_pages(&mut self) {
        if let Some(cache) = self.repository.cache() {
            cache.keep_pages(self.run.label, &self.pages);
        }
        self.kept_pages.extend(self.pages.drain(..).map(|(id, _)| id));
    }

    /// True if the blob is stored already, in a place to rely on; notes the packs that it relies on.
    pub fn rely(&mut self, id: &BlobId) -> bool {
        self.written.contains(id)
            || self.note_relied(id).unwrap_or_else(|error| {
                // nobody would look whether a mark names what this relies on: the run fails
                self.run.fail(error);
                false
            })
    }

    fn note_relied(&mut self, id: &BlobId) -> Result<bool> {
        let rule = PackRule::RELIABLE.open_to(self.for_members);
        match self.index.place(id, &rule) {
            Some(place) => self.index.collect_packs(place, &rule, &mut self.relied).map(|()| true),
            None => self.inherit(id),
        }
    }

    /// Relies on packs that an earlier run of the same process relied on: its trees are taken over without a walk.
    pub(crate) fn carry(&mut self, packs: BTreeSet<ObjectId>) {
        self.carried.extend(packs);
    }

    /// Stores a blob again, wherever else it lies, but only once in this run.
    pub fn copy(&mut self, kind: BlobKind, id: BlobId, plaintext: &[u8]) -> Result<()> {
        if self.written.contains(&id) { Ok(()) } else { self.store(kind, id, plaintext, Vec::new()) }
    }

    /// Stores a base whole, though what was written here may hold it already: that may be too deep for what rests on it.
    pub fn copy_base(&mut self, kind: BlobKind, id: BlobId, plaintext: &[u8]) -> Result<()> {
        self.store(kind, id, plaintext, Vec::new())
    }

    /// Stores a frame as it was encoded before, wherever else its blobs lie.
    pub fn copy_frame(&mut self, frame: EncodedFrame) -> Result<()> {
        for blob in frame.blobs.iter().filter(|blob| !self.written.contains(&blob.id)) {
            self.counts.added_blobs += 1;
            self.counts.added_bytes += u64::from(blob.length);
        }
        self.written.extend(frame.blobs.iter().map(|blob| blob.id));
        if self.is_dry { Ok(()) } else { self.engine.pass(&self.run, frame) }
    }

    /// Threads in use.
    pub(crate) fn workers(&self) -> usize {
        self.repository.runtime().workers
    }

    fn store(&mut self, kind: BlobKind, id: BlobId, plaintext: &[u8], before: Vec<BlobId>) -> Result<()> {
        self.written.insert(id);
        self.counts.added_blobs += 1;
        self.counts.added_bytes += plaintext.len() as u64;
        if self.is_dry {
            return Ok(());
        }
        let length =
            u32::try_from(plaintext.len()).map_err(|_| Error::Bug("a blob of more than 4 GiB was to be stored"))?;
        let Some((_, open)) = self.open.iter_mut().find(|(of, _)| *of == kind) else {
            return Err(Error::Bug("a kind of blob has no open frame"));
        };
        let mut full = None;
        if !open.bytes.is_empty() && open.bytes.len() + plaintext.len() > 2 * FRAME_BYTES_TARGET {
            full = Some(std::mem::take(open));
        }
        if open.bytes.is_empty() && kind == BlobKind::Chunk {
            // else what grows is moved again and again
            open.bytes.reserve(FRAME_BYTES_LEAST + plaintext.len());
        }
        open.bytes.extend_from_slice(plaintext);
        open.blobs.push(BlobEntry { id, kind, length });
        open.before.push(before);
        let is_full = open.bytes.len() >= open.target(self.run.pack_bytes) || open.blobs.len() >= FRAME_BLOBS_MAX;
        let now_full = is_full.then(|| std::mem::take(open));
        for frame in full.into_iter().chain(now_full) {
            self.engine.encode(&self.run, kind.class(), frame)?;
        }
        Ok(())
    }

    /// W2: everything that was put is stored and indexed when this returns; only then something can be committed.
    pub fn flush(mut self) -> Result<Flushed> {
        if self.is_dry {
            return Err(Error::Bug("a dry run was to be stored"));
        }
        for (kind, open) in &mut self.open {
            let frame = std::mem::take(open);
            if !frame.blobs.is_empty() {
                self.engine.encode(&self.run, kind.class(), frame)?;
            }
        }
        self.engine.finish(&self.run)?;
        self.put_index()?;
        Ok(Flushed(self))
    }

    fn put_index(&self) -> Result<()> {
        let mut stored = self.run.stored.lock();
        self.run.put_index(&mut stored)
    }

    /// What this run stores, to be asked when the writer is gone.
    pub fn written(&self) -> Written {
        Written(self.run.clone())
    }

    /// All packs that this run relies on, its own among them.
    pub(crate) fn relied_packs(&self) -> Result<BTreeSet<ObjectId>> {
        let bases = self.run.bases.get().map(Bases::relied).unwrap_or_default();
        let known = self.relied.iter().chain(&bases).map(|number| Ok(self.index.pack(*number)?.id));
        let mut packs = known.collect::<Result<BTreeSet<ObjectId>>>()?;
        packs.extend(self.run.stored.lock().packs.iter().map(|pack| pack.id));
        packs.extend(&self.carried);
        Ok(packs)
    }
}
