//! A file being restored. It lies under a temporary name in its directory until it is complete, and is written in any
//! order by any thread. It holds no descriptor of its own: thousands may be pending while few are open.

use super::handles::{Branch, put, settle};
use super::{NoteKind, Shared};
use crate::metadata::{self, At};
use crate::runtime::Locked;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault_format::tree::Node;

/// A file to be written. Dropped unfinished, nothing of it stays.
#[derive(Debug)]
pub struct FileSlot {
    pub(super) shared: Arc<Shared>,
    pub(super) branch: Arc<Branch>,
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) replace: bool,
    pub(super) number: u64,
    /// Name and identity of the unfinished file once it is made.
    pub(super) made: Locked<Option<Made>>,
}

/// An unfinished file.
#[derive(Clone, Debug)]
pub(super) struct Made {
    temp: Vec<u8>,
    identity: (u64, u64),
}

impl FileSlot {
    /// Path of the finished file, for messages.
    pub fn path(&self) -> PathBuf {
        self.shared.path(&self.branch, &self.name)
    }

    /// The same below the target.
    pub fn short_path(&self) -> String {
        self.shared.short(&self.path())
    }

    /// Writes bytes at an offset of the file, holes counted. Any order, any thread.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Errno::FBIG.into());
        }
        let file = self.open(bytes.len() as u64)?;
        let mut done = 0usize;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| rustix::io::pwrite(&file, rest, offset + done as u64))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                length => done += length,
            }
        }
        Ok(())
    }

    /// Sets the metadata and gives the file its name. False if something took the name meanwhile and may stay.
    pub fn finish(self, node: &Node) -> io::Result<bool> {
        let file = self.open(0)?;
        for fault in metadata::apply(At::Open(file.as_fd()), false, &node.metadata, self.shared.names()) {
            self.shared.note(self.path(), NoteKind::Fault(fault));
        }
        self.shared.note_owner(&node.metadata);
        let directory = self.shared.handles()?.open(&self.branch)?;
        let made = self.made.lock().clone();
        let made = made.ok_or(Errno::BADF)?;
        let settled = settle(directory.as_fd(), &made.temp, &self.name, self.replace)?;
        // Only now nothing is left to be removed.
        self.made.lock().take();
        if settled {
            self.shared.links.lock().complete(node.metadata.link_group, made.identity);
        } else {
            self.shared.note(self.path(), NoteKind::Left);
        }
        Ok(settled)
    }

    /// Opens it, to write so many bytes; makes it if this is the first time.
    fn open(&self, bytes: u64) -> io::Result<Arc<OwnedFd>> {
        if let Some(file) = self.shared.files.get(self.number) {
            return Ok(file);
        }
        let mut made = self.made.lock();
        if let Some(file) = self.shared.files.get(self.number) {
            return Ok(file);
        }
        let directory = self.shared.handles()?.open(&self.branch)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match &*made {
            Some(Made { temp, identity }) => {
                let file = rustix::fs::openat(&directory, temp.as_slice(), flags, Mode::empty())?;
                if metadata::identity(&rustix::fs::fstat(&file)?) != *identity {
                    return Err(io::Error::other("the unfinished file was replaced meanwhile"));
                }
                file
            }
            None => {
                let create = flags | OFlags::CREATE | OFlags::EXCL;
                let mode = Mode::RUSR | Mode::WUSR;
                let (temp, file) =
                    put(&self.shared.temporary, |temp| rustix::fs::openat(&directory, temp, create, mode))?;
                let identity = metadata::identity(&rustix::fs::fstat(&file)?);
                *made = Some(Made { temp, identity });
                // What is never written stays a hole. What is written at once has its size from that, and a file system
                // need not know of a size before.
                if bytes < self.size {
                    rustix::fs::ftruncate(&file, self.size)?;
                }
                file
            }
        };
        let file = Arc::new(file);
        self.shared.files.insert(self.number, Arc::clone(&file));
        Ok(file)
    }
}

impl Drop for FileSlot {
    fn drop(&mut self) {
        self.shared.files.remove(self.number);
        let Some(Made { temp, identity }) = self.made.lock().take() else {
            return;
        };
        let Ok(directory) = self.shared.handles().and_then(|handles| handles.open(&self.branch)) else { return };
        let stat = rustix::fs::statat(&directory, temp.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| metadata::identity(&stat) == identity) {
            // If even that fails, it stays beside what it should have become.
            let _ = rustix::fs::unlinkat(&directory, temp.as_slice(), AtFlags::empty());
        }
    }
}

/// Opens a restored file for reading. Paths may be longer than the kernel takes at once, so this goes folder by folder.
pub fn open_restored(path: &Path) -> io::Result<File> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut folder = None::<OwnedFd>;
    for part in path.parent().unwrap_or(Path::new("/")).components() {
        let at = folder.as_ref().map_or(rustix::fs::CWD, |folder| folder.as_fd());
        let next = rustix::fs::openat(at, part.as_os_str(), flags | OFlags::DIRECTORY, Mode::empty())?;
        folder = Some(next);
    }
    let at = folder.as_ref().map_or(rustix::fs::CWD, |folder| folder.as_fd());
    Ok(rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty())?.into())
}
