//! A stream from outside: standard input, or the output of a program. It may be silent for hours, so nothing here waits
//! in a read: a stop is noticed within a tenth of a second, be there bytes or not.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nanoseconds after which a silent stream is looked at again.
const TICK: i64 = 100_000_000;

/// A reader that ends with an error once the run should stop.
pub struct Stream<R> {
    reader: R,
    stop: Arc<AtomicBool>,
}

impl<R: Read + AsFd> Stream<R> {
    /// A stream over a pipe, a file or the like. It must not have a buffer of its own.
    pub fn new(reader: R, stop: Arc<AtomicBool>) -> Self {
        Self { reader, stop }
    }
}

impl<R: Read + AsFd> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("interrupted"));
            }
            if ready(&[self.reader.as_fd()])?.first() == Some(&true)
                && let Some(length) = attempt(&mut self.reader, buffer)?
            {
                return Ok(length);
            }
        }
    }
}

/// Waits for a moment until one of these has bytes, or an end; tells which.
pub(super) fn ready(streams: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<Vec<bool>> {
    let mut all: Vec<_> = streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
    match poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: TICK })) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(all.iter().map(|one| !one.revents().is_empty()).collect())
}

/// One read; `None` if there was nothing after all.
pub(super) fn attempt(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match reader.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(error),
    }
}
