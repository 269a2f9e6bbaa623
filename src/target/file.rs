//! A file being restored. It lies under a temporary name in its directory until it is complete, and is written in any
//! order by any thread. It holds no descriptor of its own: thousands may be pending while few are open.

use super::handles::{Branch, make, settle, temporary};
use super::{NoteKind, Shared};
use crate::metadata::{self, At};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Identity of the temporary file once it is made.
    pub(super) made: Mutex<Option<(u64, u64)>>,
}

impl FileSlot {
    /// Path of the finished file, for messages.
    pub fn path(&self) -> PathBuf {
        self.shared.path(&self.branch, &self.name)
    }

    /// Writes bytes at an offset of the file, holes counted. Any order, any thread.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Errno::FBIG.into());
        }
        let file = self.open()?;
        let mut done = 0usize;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pwrite(&file, rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => done += length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sets the metadata and gives the file its name. False if something took the name meanwhile and may stay.
    pub fn finish(self, node: &Node) -> io::Result<bool> {
        let file = self.open()?;
        for fault in metadata::apply(At::Open(file.as_fd()), false, &node.metadata, self.shared.names()) {
            self.shared.note(self.path(), NoteKind::Fault(fault));
        }
        let directory = self.shared.handles()?.open(&self.branch)?;
        let settled = settle(directory.as_fd(), &temporary(&self.name), &self.name, self.replace)?;
        let identity = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        match identity {
            Some(identity) if settled => self.shared.links().complete(node.metadata.link_group, identity),
            _ => self.shared.note(self.path(), NoteKind::Left),
        }
        Ok(settled)
    }

    fn open(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(file) = self.shared.files.get(self.number) {
            return Ok(file);
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.shared.files.get(self.number) {
            return Ok(file);
        }
        let directory = self.shared.handles()?.open(&self.branch)?;
        let temp = temporary(&self.name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match *made {
            Some(identity) => {
                let file = rustix::fs::openat(&directory, temp.as_slice(), flags, Mode::empty())?;
                if metadata::identity(&rustix::fs::fstat(&file)?) != identity {
                    return Err(io::Error::other("the unfinished file was replaced meanwhile"));
                }
                file
            }
            None => {
                let create = flags | OFlags::CREATE | OFlags::EXCL;
                let mode = Mode::RUSR | Mode::WUSR;
                let file =
                    make(directory.as_fd(), &temp, || rustix::fs::openat(&directory, temp.as_slice(), create, mode))?;
                *made = Some(metadata::identity(&rustix::fs::fstat(&file)?));
                // What is never written stays a hole.
                rustix::fs::ftruncate(&file, self.size)?;
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
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        if made.is_none() {
            return;
        }
        let Ok(handles) = self.shared.handles() else { return };
        if let Ok(directory) = handles.open(&self.branch) {
            // If even that fails, the next run to this target takes it away.
            let _ = rustix::fs::unlinkat(&directory, temporary(&self.name).as_slice(), AtFlags::empty());
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
