//! From encoded frames to stored packs and index objects: puts frames into the open pack of their class, seals and signs
//! full packs, puts them, and puts an index object for packs whose put was acknowledged. The same code runs on the
//! caller's thread or on threads of its own; what is not acknowledged is in no index.

use super::bases::Bases;
use super::commit::refuse_age;
use super::filling::{Filling, Step};
use super::frame::EncodedFrame;
use crate::backend::ErrorKind;
use crate::repository::index::loose;
use crate::repository::index::loose::LoosePack;
use crate::repository::lookup::{BlobLookup, PackRecord};
use crate::repository::objects::index_objects;
use crate::repository::{Error, Repository, Result, encoding};
use crate::runtime::Locked;
use crate::time::BootTime;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use vault_format::compress::LEVEL_DEFAULT;
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, DomainId, ObjectId, SourceLabel};
use vault_format::index::{self, INDEX_BLOBS_MAX, Index, PackEntry, Sketches};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::pack::{FinishedPack, NewFrame, PackBuilder, PackEnd};
use vault_format::salt::Salt;
use vault_format::volume::Volume;

/// Where and for whom a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Domain.
    pub domain: DomainId,
    /// Source.
    pub label: SourceLabel,
    /// The domain's members may read what the owner writes here.
    pub shared: bool,
}

/// W7: an index object is put for so many packs that none tells of yet, or for this part of those that the run has
/// stored, whichever is more: a run that is cut off leaves little to be read again, and a long one puts no object for
/// every few.
const INDEX_PACKS: usize = 16;
const INDEX_PART: usize = 16;
/// The same for packs of earlier runs: a run that is cut off while it reads them must have come further.
const INDEX_TAKEN: usize = 8;
/// A pack of more bytes will most likely become as large as packs may be.
const RESERVED_FROM: usize = 1 << 20;
/// Longest time between two index objects of a run.
const INDEX_INTERVAL: Duration = Duration::from_mins(15);
/// Most packs of one index object: each may bring wraps of more than a kilobyte.
const INDEX_PACKS_MAX: usize = 4096;

/// Stored bytes that a pack has at most, if it holds more than one frame.
pub fn pack_bytes(repository: &Repository) -> usize {
    let half_budget = repository.options().memory_bytes / 6;
    (repository.config().pack_bytes as usize).min(half_budget.max(256 << 10))
}

/// A pack that takes no more frames, and is still to be sealed, signed and put.
pub(crate) struct FullPack {
    class: Class,
    builder: PackBuilder,
}

/// What a run writes with; shared by all its threads.
pub(crate) struct Run {
    pub repository: Repository,
    pub domain: DomainId,
    pub label: SourceLabel,
    pub book: Key,
    pub secret: RunSecret,
    pub wraps: Arc<Wraps>,
    pub pack_bytes: usize,
    /// When it first looked at marks.
    pub since: BootTime,
    /// What new blobs may be stored as the difference to.
    pub bases: OnceLock<Bases>,
    /// zstd level of what is stored, if it is another than the default.
    pub level: OnceLock<i32>,
    pub stored: Locked<Stored>,
    /// The first error of any thread: nothing more is packed or put.
    failed: OnceLock<Error>,
    /// Nothing more is packed.
    ending: AtomicBool,
    /// The store does not answer.
    silent: AtomicBool,
}

/// What a run has stored so far.
#[derive(Default)]
pub(crate) struct Stored {
    /// Packs that no index tells of yet, with the wraps of their runs.
    pending: Vec<(PackEntry, Arc<Wraps>)>,
    pending_blobs: usize,
    /// How many of them are of earlier runs.
    taken: usize,
    index_at: BootTime,
    supersedes: Vec<ObjectId>,
    /// All packs of the run.
    pub packs: Vec<PackEntry>,
    /// Bytes of packs.
    pub pack_bytes: u64,
    /// Index objects of the run.
    pub indexes: Vec<ObjectId>,
}

impl Stored {
    /// Forgets the packs that no index tells of yet, and names those of this run.
    pub fn take_pending(&mut self) -> Vec<(Class, ObjectId)> {
        self.pending_blobs = 0;
        let own = |id: &ObjectId| self.packs.iter().any(|pack| pack.id == *id);
        let pending = std::mem::take(&mut self.pending);
        pending.iter().filter(|(pack, _)| own(&pack.id)).map(|(pack, _)| (pack.class, pack.id)).collect()
    }

    /// The next index object will tell of a pack of an earlier run, too.
    pub fn inherit(&mut self, pack: &LoosePack) {
        self.pending_blobs += pack.entry.directory.blobs.len();
        self.taken += 1;
        self.pending.push((pack.entry.clone(), Arc::new(pack.wraps.clone())));
    }

    /// True if so many packs of earlier runs are in no index that one should be put before more are read.
    pub fn has_taken_enough(&self) -> bool {
        self.taken >= INDEX_TAKEN
    }

    /// True if so much is in no index that one should be put.
    fn is_due(&self) -> bool {
        self.pending.len() >= INDEX_PACKS.max(self.packs.len() / INDEX_PART)
    }

    /// An index of the first packs that wait, as many as one may tell of, and how many these are.
    fn next_index(&self) -> Result<(Index, usize)> {
        let mut index = Index { supersedes: self.supersedes.clone(), ..Index::default() };
        let mut blobs = 0;
        for (entry, wraps) in &self.pending {
            blobs += entry.directory.blobs.len();
            if !index.packs.is_empty() && (blobs > INDEX_BLOBS_MAX || index.packs.len() == INDEX_PACKS_MAX) {
                break;
            }
            index_objects::tell(&mut index, entry, wraps)?;
        }
        let count = index.packs.len();
        Ok((index, count))
    }
}

impl Run {
    /// A run that first looked at marks at `since`.
    pub fn start(repository: &Repository, place: Place, book: Key, since: BootTime) -> Result<Self> {
        let (Place { domain, label, shared }, keys) = (place, repository.keys());
        let header = Header { kind: Kind::DataPack, repository: repository.id(), domain, writer: keys.writer() };
        let (secret, wraps) = keys.new_run(domain, shared, &header, repository.runtime())?;
        Ok(Self {
            repository: repository.clone(),
            domain,
            label,
            book,
            secret,
            wraps: Arc::new(wraps),
            pack_bytes: pack_bytes(repository),
            since,
            bases: OnceLock::new(),
            level: OnceLock::new(),
            stored: Locked::new(Stored { index_at: repository.runtime().clock.elapsed(), ..Stored::default() }),
            failed: OnceLock::new(),
            ending: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        })
    }

    /// zstd level of what is stored.
    pub fn level(&self) -> i32 {
        self.level.get().copied().unwrap_or(LEVEL_DEFAULT)
    }

    /// Keeps an error, unless another came before.
    pub fn fail(&self, error: Error) {
        self.failed.get_or_init(|| error);
    }

    /// From now on nothing more is packed.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// True if nothing more is to be packed: the run fails, or was stopped.
    pub fn has_ended(&self) -> bool {
        self.ending.load(Ordering::SeqCst) || self.is_broken() || self.repository.runtime().is_stopped()
    }

    /// True if nothing more is to be put.
    pub fn is_broken(&self) -> bool {
        self.failed.get().is_some()
    }

    /// True if the store did not answer.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    fn put(&self, name: &Name, bytes: &[u8]) -> Result<()> {
        self.repository.put(name, bytes).inspect_err(|error| {
            if error.backend().is_some_and(|error| error.kind == ErrorKind::Unreachable) {
                self.silent.store(true, Ordering::SeqCst);
            }
        })
    }

    /// Fails if a thread did.
    pub fn check(&self) -> Result<()> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Who signs what the run writes.
    pub fn author(&self) -> Author<'_> {
        let (repository, signer) = (self.repository.id(), self.repository.keys().signer());
        Author { repository, domain: self.domain, signer, book: &self.book }
    }

    fn header(&self, class: Class) -> Header {
        self.author().header(if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack })
    }

    /// Seals, signs and puts a pack, and notes it for the index.
    pub fn put_pack(&self, full: FullPack) -> Result<()> {
        let FullPack { class, builder } = full;
        let finished = encoding("a pack", builder.finish(&self.book, &self.wraps, self.repository.keys().signer()))?;
        if self.repository.options().verify_seals {
            let key = self.secret.pack_key(class, &finished.salt);
            encoding("a pack", verify_seals(&finished, &self.header(class), &self.book, (class, &key)))?;
        }
        if let Some(cache) = self.repository.cache() {
            // before it is there: a run that is cut off in between has stored it, or has not
            cache.note_made(&finished.id, &loose::end_hash(&finished.bytes));
        }
        self.put(&Name::Pack(class, finished.id), &finished.bytes)?;
        if let Some(cache) = self.repository.cache()
            && self.bases.get().is_some_and(|bases| bases.keeps(&finished.directory))
        {
            cache.keep_pack(&finished.id, &finished.bytes);
        }
        let FinishedPack { id, bytes, directory, salt } = finished;
        let (size, writer) = (bytes.len() as u64, self.header(class).writer);
        drop(bytes);
        let entry = PackEntry { id, class, size, writer, salt, wraps: 0, directory };
        let mut stored = self.stored.lock();
        stored.pack_bytes += entry.size;
        let blobs = entry.directory.blobs.len();
        if stored.pending_blobs + blobs > INDEX_BLOBS_MAX {
            self.put_index(&mut stored)?;
        }
        stored.pending_blobs += blobs;
        stored.packs.push(entry.clone());
        stored.pending.push((entry, self.wraps.clone()));
        let age = self.repository.runtime().clock.elapsed().since(stored.index_at);
        if age > INDEX_INTERVAL || stored.is_due() { self.put_index(&mut stored) } else { Ok(()) }
    }

    /// Puts index objects for the packs that none tells of yet.
    pub fn put_index(&self, stored: &mut Stored) -> Result<()> {
        let runtime = self.repository.runtime();
        (stored.index_at, stored.taken) = (runtime.clock.elapsed(), 0);
        while !(stored.pending.is_empty() && stored.supersedes.is_empty()) {
            // one that comes so late would tell of packs that prune took for nobody's
            refuse_age(&self.repository, self.since)?;
            let (index, count) = stored.next_index()?;
            let salt = Salt::Fresh(runtime.random());
            let bytes = encoding("an index", index::seal(&self.author(), salt, &index, &Sketches::default()))?;
            let id = ObjectId::of(&bytes);
            self.put(&Name::Index(self.domain, self.label, id), &bytes)?;
            stored.indexes.push(id);
            stored.supersedes.clear();
            stored.pending.drain(..count);
            let blobs = |(pack, _): &(PackEntry, Arc<Wraps>)| pack.directory.blobs.len();
            stored.pending_blobs = stored.pending.iter().map(blobs).sum();
        }
        Ok(())
    }

    /// Adds the run's packs to a lookup, so that its own blobs can be read.
    pub fn add_to(&self, index: &mut BlobLookup) -> Result<()> {
        let record = |entry: &PackEntry| PackRecord::new(entry, self.header(entry.class), self.wraps.clone());
        self.stored.lock().packs.iter().try_for_each(|entry| index.add_pack(record(entry), &entry.directory))
    }
}

/// The open pack of each class.
#[derive(Default)]
pub(crate) struct Packer {
    open: HashMap<Class, Open>,
}

struct Open {
    filling: Filling<EncodedFrame>,
    builder: Option<PackBuilder>,
}

impl Packer {
    /// Takes a frame; returns packs that are full.
    pub fn push(&mut self, run: &Run, frame: EncodedFrame) -> Result<Vec<FullPack>> {
        let class = frame.class;
        let open = match self.open.entry(class) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                let wraps = encoding("a pack", run.wraps.encode())?.len();
                vacant.insert(Open { filling: Filling::new(run.pack_bytes, wraps), builder: None })
            }
        };
        let volume = Volume::frame(frame.bytes.len(), frame.bases.len(), frame.blobs.len());
        let steps = open.filling.push(volume, frame);
        open.follow(run, class, steps)
    }

    /// Ends the open packs.
    pub fn end(&mut self, run: &Run) -> Result<Vec<FullPack>> {
        let mut full = Vec::new();
        for class in [Class::Data, Class::Metadata] {
            if let Some(mut open) = self.open.remove(&class) {
                let steps = open.filling.end();
                full.append(&mut open.follow(run, class, steps)?);
            }
        }
        Ok(full)
    }
}

impl Open {
    fn follow(&mut self, run: &Run, class: Class, steps: Vec<Step<EncodedFrame>>) -> Result<Vec<FullPack>> {
        let mut full = Vec::new();
        for step in steps {
            match step {
                Step::Add(frame) => self.add(run, class, frame)?,
                Step::Close => full.extend(self.builder.take().map(|builder| FullPack { class, builder })),
            }
        }
        Ok(full)
    }

    fn add(&mut self, run: &Run, class: Class, frame: EncodedFrame) -> Result<()> {
        let pack = match &mut self.builder {
            Some(pack) => pack,
            none => {
                let random = run.repository.runtime().random();
                none.insert(encoding("a pack", PackBuilder::fresh(run.header(class), random, &run.secret))?)
            }
        };
        if pack.len() >= RESERVED_FROM {
            pack.reserve(run.pack_bytes);
        }
        let EncodedFrame { codec, bytes, blobs, bases, descent, .. } = frame;
        let pushed = pack.push(NewFrame { codec, encoded: &bytes, blobs: &blobs, bases, descent });
        encoding("a frame", pushed)
    }
}

/// Opens the directory and every frame of a finished pack, as a reader would. What the frames decode to was compared
/// when they were compressed.
fn verify_seals(
    finished: &FinishedPack,
    header: &Header,
    book: &Key,
    (class, key): (Class, &Key),
) -> vault_format::Result<()> {
    let end = PackEnd::parse(&finished.bytes, finished.bytes.len() as u64)?;
    let directory = end.directory(header, book)?;
    if directory != finished.directory {
        return Err(vault_format::Error::Invalid("the directory of a pack reads back differently"));
    }
    let mut last = None;
    for place in directory.places() {
        let Some(frame) = directory.frames.get(place.frame as usize).filter(|_| last != Some(place.frame)) else {
            continue;
        };
        last = Some(place.frame);
        let range = place.offset as usize..place.offset as usize + frame.stored as usize;
        let sealed = finished.bytes.get(range).unwrap_or_default();
        frame.seal(header, class, place.plain).open(key, sealed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::verify_seals;
    use vault_format::SigningKey;
    use vault_format::directory::BlobEntry;
    use vault_format::envelope::{RunSecret, Wraps};
    use vault_format::frame::FrameCodec;
    use vault_format::header::{HEADER_BYTES, Header, Kind};
    use vault_format::id::{BlobId, BlobKind, Class, DomainId, RepositoryId, WriterId};
    use vault_format::key::Key;
    use vault_format::pack::{NewFrame, PackBuilder};

    #[test]
    fn a_frame_that_does_not_open_is_not_stored() -> vault_format::Result<()> {
        let (repository, domain) = (RepositoryId([1; 16]), DomainId([2; 16]));
        let signer = SigningKey::from_bytes(&[9; 32]);
        let writer = WriterId::of(&signer.verifying_key().to_bytes());
        let header = Header { kind: Kind::DataPack, repository, domain, writer };
        let (secret, book, read) = (RunSecret::new([4; 32]), Key::new([5; 32]), Key::new([6; 32]));
        let key = secret.pack_key(Class::Data, &[7; 32]);
        let mut pack = PackBuilder::new(header, [7; 32], key.clone())?;
        for number in 0..3u8 {
            let blob = BlobEntry { id: BlobId([number; 32]), kind: BlobKind::Chunk, length: 100 };
            pack.push(NewFrame::whole(FrameCodec::Raw, &[number; 100], &[blob]))?;
        }
        let wraps = Wraps(vec![secret.wrap_for_domain(domain, &read, &header.scope(), &[8; 32])?]);
        let mut finished = pack.finish(&book, &wraps, &signer)?;
        let end = HEADER_BYTES + 3 * 116;
        verify_seals(&finished, &header, &book, (Class::Data, &key))?;
        for at in HEADER_BYTES..end {
            if let Some(byte) = finished.bytes.get_mut(at) {
                *byte ^= 1;
                assert!(verify_seals(&finished, &header, &book, (Class::Data, &key)).is_err(), "byte {at}");
            }
            if let Some(byte) = finished.bytes.get_mut(at) {
                *byte ^= 1;
            }
        }
        verify_seals(&finished, &header, &book, (Class::Data, &key))
    }
}
