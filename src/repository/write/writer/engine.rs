//! Who compresses, packs and puts: the caller itself, or a pool, a packer and a few uploaders with a byte budget between
//! them. Both do the same in the same order; the first error ends the run, and nothing waits for what never comes.

use super::OpenFrame;
use crate::repository::write::bases::Placed;
use crate::repository::write::frame::EncodedFrame;
use crate::repository::write::packer::{FullPack, Packer, Run};
use crate::repository::{Error, Result, encoding};
use crate::runtime::Locked;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::sync::{Arc, Condvar, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use vault_format::compress;
use vault_format::directory::{BlobEntry, Descent};
use vault_format::frame::FrameCodec;
use vault_format::id::Class;

/// How often a run that waits for its threads looks whether it is stopped, and how many such times they have then: a slow
/// store must not keep somebody who wants an end from having it, nor the index from being put before.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_WHEN_STOPPED: u32 = 80;

/// Bytes that wait to be compressed, for each who does that and for the packer: enough that nobody waits for more, and
/// what is more only lies in memory.
const WAITING_BYTES: usize = 4 << 20;

/// What is looked at of a large frame before all of it is compressed.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 8 << 10;

/// A blob that came now would be in no pack, and whoever committed over it would lose it without a word.
const FINISHED: &str = "something was to be stored after a run had ended";

/// Who compresses, packs and puts.
pub(super) enum Engine {
    Inline(Packer),
    Threads(Threads),
    Finished,
}

pub(super) struct Threads {
    pool: rayon::ThreadPool,
    frames: Sender<(Vec<EncodedFrame>, Permit)>,
    budget: Arc<Budget>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected once all threads are over.
    alive: Receiver<()>,
}

/// How the threads ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Panicked,
    /// The run was stopped, and something is still being put: nobody waits for it.
    Left,
}

impl Engine {
    pub fn start(run: &Arc<Run>) -> Result<Self> {
        let workers = run.repository.runtime().workers;
        if workers == 0 {
            return Ok(Self::Inline(Packer::default()));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|number| format!("encode {number}"))
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let (frames, encoded) = unbounded::<(Vec<EncodedFrame>, Permit)>();
        // whoever puts takes it from the packer's hands: one more would only wait, with all its bytes
        let (packs, full) = bounded::<FullPack>(0);
        let (life, alive) = bounded::<()>(0);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let life = life.clone();
            let work = move || {
                work();
                drop(life);
            };
            std::thread::Builder::new().name(name.into()).spawn(work).map_err(|error| Error::Threads(error.to_string()))
        };
        let mut threads = Vec::new();
        let own = run.clone();
        threads.push(spawn("packer", Box::new(move || pack_all(&own, &encoded, &packs)))?);
        for _ in 0..workers.min(2) {
            let (own, full) = (run.clone(), full.clone());
            threads.push(spawn("uploader", Box::new(move || put_all(&own, &full)))?);
        }
        let most = (run.repository.options().memory_bytes / 3).max(1);
        let budget = Arc::new(Budget::new(most.min(WAITING_BYTES * (workers + 1))));
        drop(life);
        Ok(Self::Threads(Threads { pool, frames, budget, threads, alive }))
    }

    pub fn encode(&mut self, run: &Arc<Run>, class: Class, frame: OpenFrame) -> Result<()> {
        match self {
            Self::Inline(packer) => {
                let mut frames = encode(run, class, frame)?.into_iter();
                frames.try_for_each(|frame| put(run, packer.push(run, frame)?))
            }
            Self::Threads(threads) => {
                run.check()?;
                let permit = Budget::take(&threads.budget, frame.bytes.len(), run);
                let (run, frames) = (run.clone(), threads.frames.clone());
                threads.pool.spawn_fifo(move || {
                    if run.has_ended() {
                        return;
                    }
                    match encode(&run, class, frame) {
                        // the receiver is gone only after an error that is kept already
                        Ok(encoded) => drop(frames.send((encoded, permit))),
                        Err(error) => run.fail(error),
                    }
                });
                Ok(())
            }
            Self::Finished => Err(Error::Bug(FINISHED)),
        }
    }

    /// Packs a frame that is encoded already.
    pub fn pass(&mut self, run: &Arc<Run>, frame: EncodedFrame) -> Result<()> {
        match self {
            Self::Inline(packer) => put(run, packer.push(run, frame)?),
            Self::Threads(threads) => {
                run.check()?;
                let permit = Budget::take(&threads.budget, frame.bytes.len(), run);
                // the receiver is gone only after an error that is kept already
                drop(threads.frames.send((vec![frame], permit)));
                Ok(())
            }
            Self::Finished => Err(Error::Bug(FINISHED)),
        }
    }

    /// Waits until all is put; nothing can be encoded after that.
    pub fn finish(&mut self, run: &Arc<Run>) -> Result<()> {
        match std::mem::replace(self, Self::Finished) {
            Self::Inline(mut packer) => put(run, packer.end(run)?),
            Self::Threads(mut threads) => {
                if threads.join(run) == End::Panicked {
                    run.fail(Error::Threads("a worker thread panicked".into()));
                }
                run.check()?;
                // then something was left out
                Ok(run.repository.runtime().check_stopped()?)
            }
            Self::Finished => Err(Error::Bug(FINISHED)),
        }
    }

    /// Ends a run that can't go on: waits for what is being put, and packs nothing more.
    pub fn leave(&mut self, run: &Run) {
        run.end();
        if let Self::Threads(mut threads) = std::mem::replace(self, Self::Finished) {
            threads.join(run);
        }
    }
}

/// Encodes blobs: as deltas those that have bases, and the others together.
fn encode(run: &Run, class: Class, frame: OpenFrame) -> Result<Vec<EncodedFrame>> {
    let Some(bases) = run.bases.get().filter(|_| frame.before.iter().any(|before| !before.is_empty())) else {
        return Ok(vec![compress(run.level(), class, frame.bytes, frame.blobs)?]);
    };
    let (mut encoded, mut whole, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = frame.bytes.as_slice();
    let placed = frame.blobs.into_iter().zip(frame.before).map(|(blob, before)| {
        let (plaintext, rest) = left.split_at(blob.length as usize);
        left = rest;
        Placed { blob, plaintext, before }
    });
    let placed: Vec<_> = placed.collect();
    for (Placed { blob, plaintext, .. }, delta) in placed.iter().zip(bases.deltas(run.level(), &placed)?) {
        match delta {
            Some(delta) => encoded.push(delta),
            None => {
                whole.extend_from_slice(plaintext);
                blobs.push(*blob);
            }
        }
    }
    if !blobs.is_empty() {
        encoded.push(compress(run.level(), class, whole, blobs)?);
    }
    Ok(encoded)
}

fn compress(level: i32, class: Class, plaintext: Vec<u8>, blobs: Vec<BlobEntry>) -> Result<EncodedFrame> {
    let smaller = match is_dense(&plaintext)? {
        true => None,
        false => encoding("a frame", compress::compress(&plaintext, level))?,
    };
    let (codec, bytes) = smaller.map_or((FrameCodec::Raw, plaintext), |bytes| (FrameCodec::Zstd, bytes));
    Ok(EncodedFrame { class, codec, bytes, blobs, bases: Vec::new(), descent: Descent::default() })
}

/// True if it looks as if nothing were to be gained by compressing: pictures, films, archives.
fn is_dense(plaintext: &[u8]) -> Result<bool> {
    if plaintext.len() < SAMPLES * SAMPLE_BYTES * 4 {
        return Ok(false);
    }
    let mut sampled = 0;
    for sample in plaintext.chunks(plaintext.len() / SAMPLES).take(SAMPLES) {
        let sample = sample.get(..SAMPLE_BYTES).unwrap_or_default();
        let smaller = encoding("a sample", compress::compress(sample, 1))?;
        sampled += smaller.map_or(sample.len(), |smaller| smaller.len());
    }
    Ok(sampled > SAMPLES * SAMPLE_BYTES / 32 * 31)
}

fn put(run: &Run, full: Vec<FullPack>) -> Result<()> {
    full.into_iter().try_for_each(|pack| run.put_pack(pack))
}

fn pack_all(run: &Run, encoded: &Receiver<(Vec<EncodedFrame>, Permit)>, packs: &Sender<FullPack>) {
    let mut packer = Packer::default();
    let send = |full: Result<Vec<FullPack>>| match full {
        Ok(full) => full.into_iter().for_each(|pack| drop(packs.send(pack))),
        Err(error) => run.fail(error),
    };
    // after an error the rest is drained, so that nobody waits for a budget that never comes
    for (frames, permit) in encoded {
        for frame in frames {
            if !run.has_ended() {
                send(packer.push(run, frame));
            }
        }
        drop(permit);
    }
    if !run.has_ended() {
        send(packer.end(run));
    }
}

fn put_all(run: &Run, full: &Receiver<FullPack>) {
    for pack in full {
        // what waits here when the run is stopped has not begun
        if !run.is_broken()
            && !run.repository.runtime().is_stopped()
            && let Err(error) = run.put_pack(pack)
        {
            run.fail(error);
        }
    }
}

/// Bounds the bytes that wait to be compressed and packed.
struct Budget {
    free: Locked<isize>,
    changed: Condvar,
}

struct Permit {
    budget: Arc<Budget>,
    bytes: isize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        Self { free: Locked::new(isize::try_from(bytes).unwrap_or(isize::MAX)), changed: Condvar::new() }
    }

    /// Waits until something is free, then takes all that is asked: a frame larger than the budget passes alone.
    fn take(budget: &Arc<Self>, bytes: usize, run: &Run) -> Permit {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
        let mut free = budget.free.lock();
        // who has ended needs no room: nothing more is packed
        while *free <= 0 && !run.has_ended() {
            free = budget.changed.wait_timeout(free, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= bytes;
        Permit { budget: budget.clone(), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.free.lock() += self.bytes;
        self.budget.changed.notify_one();
    }
}

impl Threads {
    /// Ends the input and waits for all threads; if the run is stopped, only a little for what is being put.
    fn join(&mut self, run: &Run) -> End {
        self.close();
        let mut looks = 0;
        while self.alive.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            looks += u32::from(run.repository.runtime().is_stopped());
            if looks == LOOKS_WHEN_STOPPED {
                self.threads.clear();
                return End::Left;
            }
        }
        if self.join_all() { End::Done } else { End::Panicked }
    }

    /// Ends the input. The jobs that still run hold senders of their own: the packer ends after the last of them.
    fn close(&mut self) {
        self.frames = unbounded().0;
    }

    fn join_all(&mut self) -> bool {
        // every one is waited for, also after one that panicked
        self.threads.drain(..).filter_map(|thread| thread.join().err()).count() == 0
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // an abandoned run must not leave threads behind that still put packs; if it is stopped they put no more
        self.close();
        self.join_all();
    }
}
