//! Standard output. The first write that fails is kept and ends all further ones; `exit` tells it, once, at the end. A
//! closed pipe is not a failure: whoever reads has seen enough.

use super::plain;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something was to be written.
static WRITTEN: AtomicBool = AtomicBool::new(false);
/// Why nothing more is written, once that is so.
static END: OnceLock<End> = OnceLock::new();

/// Why nothing more can be written.
pub enum End {
    /// Whoever read it is gone.
    Closed,
    /// It can't be written, for this reason.
    Failed(String),
}

/// Writes to standard output, past the buffers and the kindness of the standard library, which takes an output that
/// can't be written for a closed one.
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.store(true, Ordering::Relaxed);
        loop {
            match rustix::io::write(rustix::stdio::stdout(), bytes) {
                // whoever made the pipe may have set it so
                Err(rustix::io::Errno::AGAIN) => std::thread::sleep(std::time::Duration::from_millis(5)),
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of this, unless a write failed before.
pub fn put(bytes: &[u8]) {
    if END.get().is_none()
        && let Err(error) = Output.write_all(bytes)
    {
        failed(&error);
    }
}

/// An error once nothing more can be written, for what would go on printing for long.
pub fn go_on() -> vault::error::Result<()> {
    Err(vault::error::Error::Output(match END.get() {
        None => return Ok(()),
        Some(End::Closed) => io::ErrorKind::BrokenPipe.into(),
        Some(End::Failed(cause)) => io::Error::other(cause.clone()),
    }))
}

/// Keeps the first failure.
pub fn failed(error: &io::Error) {
    END.get_or_init(|| match error.kind() {
        io::ErrorKind::BrokenPipe => End::Closed,
        _ => End::Failed(plain::line(&error.to_string())),
    });
}

/// At the end of the program: what was written has to be with the file system, since some say only now that it has no
/// room. Tells why not all of it got there.
pub fn finish() -> Option<&'static End> {
    let is_waiting = WRITTEN.load(Ordering::Relaxed) && END.get().is_none();
    if is_waiting && let Err(error) = settle() {
        failed(&error);
    }
    END.get()
}

fn settle() -> io::Result<()> {
    use rustix::fs::{FileType, fstat, fsync};
    use rustix::io::Errno;
    let stdout = rustix::stdio::stdout();
    if !fstat(stdout).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
        return Ok(());
    }
    match fsync(stdout) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => Err(error.into()),
        // not every file system knows it
        _ => Ok(()),
    }
}
