//! Objects of a bucket, fetched in pieces by a few threads while the ones before them are stored. What comes is of the
//! state that was listed, or an error: an object that changes meanwhile never becomes a file of two states. Without
//! workers each piece is fetched when it is needed.

use crate::backend::bucket::Object;
use crate::backend::{Bucket, Error, ErrorKind};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::thread::Scope;

/// Bytes of one request.
const PIECE: u64 = 4 << 20;
/// Pieces of one object that are fetched ahead.
const PIECES_AHEAD: usize = 4;

/// Why an object is not read.
#[derive(Debug)]
pub enum Unread {
    /// This one can't be: it is left out.
    One(String),
    /// The place does not answer, or no longer: the run ends.
    Place(Error),
    /// The run should stop.
    Stopped,
}

type Answer = Result<Vec<u8>, Unread>;

struct Job<'o> {
    object: &'o Object,
    range: Range<u64>,
    answer: Sender<Answer>,
}

/// What fetches.
pub struct Fetch<'o> {
    bucket: &'o Bucket,
    jobs: Option<Sender<Job<'o>>>,
    must_stop: &'o (dyn Fn() -> bool + Sync),
}

impl<'o> Fetch<'o> {
    /// Starts so many threads, which end when this and all its readers are dropped.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        bucket: &'o Bucket,
        threads: usize,
        must_stop: &'o (dyn Fn() -> bool + Sync),
    ) -> Self
    where
        'o: 'scope,
    {
        let (sender, jobs) = unbounded::<Job<'o>>();
        for _ in 0..threads {
            let jobs = jobs.clone();
            scope.spawn(move || {
                for job in jobs {
                    // whoever has hung up wants it no more
                    drop(job.answer.send(fetch(bucket, job.object, job.range, must_stop)));
                }
            });
        }
        Self { bucket, jobs: (threads > 0).then_some(sender), must_stop }
    }

    /// Begins to fetch an object.
    pub fn open(&self, object: &'o Object) -> ObjectReader<'o> {
        let (coming, piece) = (VecDeque::new(), io::Cursor::default());
        let fetch = Self { bucket: self.bucket, jobs: self.jobs.clone(), must_stop: self.must_stop };
        let mut reader = ObjectReader { fetch, object, asked: 0, coming, piece, why: None };
        reader.ask();
        reader
    }
}

/// The content of one object.
pub struct ObjectReader<'o> {
    fetch: Fetch<'o>,
    /// What is read.
    pub object: &'o Object,
    /// Bytes that were asked for.
    asked: u64,
    coming: VecDeque<Receiver<Answer>>,
    piece: io::Cursor<Vec<u8>>,
    /// Why it ended early, if it did.
    pub why: Option<Unread>,
}

impl ObjectReader<'_> {
    /// The next bytes to ask for.
    fn next(&mut self) -> Range<u64> {
        let range = self.asked..self.asked.saturating_add(PIECE).min(self.object.size);
        self.asked = range.end;
        range
    }

    fn is_asked(&self) -> bool {
        self.asked >= self.object.size
    }

    /// Asks for the next piece ahead of time.
    fn ask(&mut self) {
        let Some(jobs) = self.fetch.jobs.clone().filter(|_| !self.is_asked()) else { return };
        let (answer, receiver) = bounded(1);
        self.coming.push_back(receiver);
        // if nobody is there to answer, `take` sees it
        drop(jobs.send(Job { object: self.object, range: self.next(), answer }));
    }

    fn take(&mut self) -> Answer {
        if self.fetch.jobs.is_none() {
            let range = self.next();
            return fetch(self.fetch.bucket, self.object, range, self.fetch.must_stop);
        }
        while self.coming.len() < PIECES_AHEAD && !self.is_asked() {
            self.ask();
        }
        let answer = self.coming.pop_front().and_then(|receiver| receiver.recv().ok());
        answer.unwrap_or_else(|| Err(Unread::One("its bytes did not come".into())))
    }
}

impl Read for ObjectReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(out)?;
            if read > 0 || out.is_empty() || self.coming.is_empty() && self.is_asked() {
                return Ok(read);
            }
            match self.take() {
                Ok(bytes) => self.piece = io::Cursor::new(bytes),
                Err(why) => {
                    self.why = Some(why);
                    return Err(io::Error::other("it ended early"));
                }
            }
        }
    }
}

/// Fetches a piece; with the last one it is made sure that all were of one state.
fn fetch(bucket: &Bucket, object: &Object, range: Range<u64>, must_stop: &dyn Fn() -> bool) -> Answer {
    if must_stop() {
        return Err(Unread::Stopped);
    }
    let (is_whole, is_last) = (range.start == 0 && range.end == object.size, range.end == object.size);
    let bytes = bucket.read(object, range).map_err(|error| unread(bucket, error))?;
    // one answer is of one state; that several are of the same one, only stores that heed the condition promise
    if is_last && !(is_whole && bucket.is_conditional(object)) {
        let is_same = bucket.is_unchanged(object).map_err(|error| unread(bucket, error))?;
        if !is_same {
            return Err(Unread::One("changed while it was read".into()));
        }
    }
    Ok(bytes)
}

fn unread(bucket: &Bucket, error: Error) -> Unread {
    match error.kind {
        ErrorKind::NotFound => Unread::One("vanished while it was read".into()),
        ErrorKind::Exists | ErrorKind::Damaged => Unread::One("changed while it was read".into()),
        // one object may be refused, or lie in an archive: is it that one alone?
        ErrorKind::Denied | ErrorKind::Other | ErrorKind::Unsupported => match bucket.check() {
            Ok(()) => Unread::One(error.cause),
            Err(_) => Unread::Place(error),
        },
        _ => Unread::Place(error),
    }
}
