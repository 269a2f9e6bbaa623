//! Directories of a target, by what they were when they were entered: a name below a parent, and an inode. Handles are
//! opened from the root, one component at a time, without following links, and compared with that inode, so that
//! whoever moves or replaces a directory meanwhile leads nobody outside. Few are kept open at a time.

use crate::metadata;
use crate::runtime::Locked;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most handles that one cache keeps.
pub(super) const HANDLES_MAX: usize = 64;

/// Names tried for one unfinished entry.
const TRIES_MAX: u32 = 1000;

/// Flags for a directory that must be one, not a link to one.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A directory below the root of a target.
#[derive(Debug)]
pub(super) struct Branch {
    parent: Option<Arc<Branch>>,
    name: Vec<u8>,
    identity: (u64, u64),
    number: u64,
}

impl Branch {
    /// A directory in another; without one, the root itself. Numbers must differ.
    pub(super) fn new(parent: Option<Arc<Self>>, name: &[u8], identity: (u64, u64), number: u64) -> Arc<Self> {
        Arc::new(Self { parent, name: name.to_vec(), identity, number })
    }

    /// Path below the root, for messages.
    pub(super) fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut branch = Some(self);
        while let Some(here) = branch {
            names.push(OsStr::from_bytes(&here.name));
            branch = here.parent.as_deref();
        }
        names.iter().rev().filter(|name| !name.is_empty()).collect()
    }
}

impl Drop for Branch {
    /// Without recursion: a chain may be deeper than the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut branch| branch.parent.take());
        }
    }
}

/// The most recently used handles.
#[derive(Debug, Default)]
pub(super) struct Recent(Locked<VecDeque<(u64, Arc<OwnedFd>)>>);

impl Recent {
    pub(super) fn get(&self, number: u64) -> Option<Arc<OwnedFd>> {
        let mut list = self.0.lock();
        let place = list.iter().position(|(other, _)| *other == number)?;
        let found = list.remove(place)?;
        let handle = Arc::clone(&found.1);
        list.push_back(found);
        Some(handle)
    }

    pub(super) fn insert(&self, number: u64, handle: Arc<OwnedFd>) {
        let mut list = self.0.lock();
        if list.iter().any(|(other, _)| *other == number) {
            return;
        }
        if list.len() >= HANDLES_MAX {
            list.pop_front();
        }
        list.push_back((number, handle));
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().retain(|(other, _)| *other != number);
    }
}

/// All directory handles of a target.
#[derive(Debug)]
pub(super) struct Handles {
    root: Arc<OwnedFd>,
    recent: Recent,
}

impl Handles {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Arc::new(root), recent: Recent::default() }
    }

    /// Opens a directory again, from the nearest one above it that is open.
    pub(super) fn open(&self, branch: &Branch) -> io::Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut here = branch;
        let mut handle = loop {
            let Some(parent) = here.parent.as_deref() else { break Arc::clone(&self.root) };
            if let Some(handle) = self.recent.get(here.number) {
                break handle;
            }
            missing.push(here);
            here = parent;
        };
        for branch in missing.into_iter().rev() {
            let (child, identity) = open_directory(handle.as_fd(), &branch.name)?;
            if identity != branch.identity {
                return Err(io::Error::other("a directory of the target was replaced meanwhile"));
            }
            handle = Arc::new(child);
            self.recent.insert(branch.number, Arc::clone(&handle));
        }
        Ok(handle)
    }
}

/// Opens a directory in another and tells which it is.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, (u64, u64))> {
    let handle = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    let identity = metadata::identity(&rustix::fs::fstat(&handle)?);
    Ok((handle, identity))
}

/// What a name is, if it is there.
pub(super) fn existing(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Names in a directory.
pub(super) fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Names for what is not finished: of this run alone, since the nonce is random, and each used once.
#[derive(Debug)]
pub(super) struct Temporary {
    prefix: String,
    next: AtomicU64,
}

impl Temporary {
    pub(super) fn new(nonce: u64) -> Self {
        Self { prefix: format!(".vault-{nonce:016x}-"), next: AtomicU64::new(0) }
    }

    fn next(&self) -> Vec<u8> {
        format!("{}{:x}", self.prefix, self.next.fetch_add(1, Ordering::SeqCst)).into_bytes()
    }

    /// True for a name of this run.
    pub(super) fn is_ours(&self, name: &[u8]) -> bool {
        name.starts_with(self.prefix.as_bytes())
    }
}

/// What all unfinished entries of the run begin with that this one is of, if it is one.
pub(super) fn run_of(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (nonce, number) = name.strip_prefix(".vault-")?.split_once('-')?;
    let is_one = nonce.len() == 16 && is_hex(nonce) && is_hex(number);
    name.get(..name.len() - number.len()).filter(|_| is_one)
}

/// Makes something under a name that nothing has: what is in the way is never touched. Gives the name with the result.
pub(super) fn put<T>(
    temporary: &Temporary,
    mut call: impl FnMut(&[u8]) -> rustix::io::Result<T>,
) -> io::Result<(Vec<u8>, T)> {
    for _ in 0..TRIES_MAX {
        let temp = temporary.next();
        match call(&temp) {
            Err(Errno::EXIST) => {}
            made => return Ok((temp, made?)),
        }
    }
    Err(io::Error::other("every name for an unfinished entry is taken"))
}

/// Gives the finished entry its name. False if something has taken it meanwhile that is not to be replaced: then the
/// unfinished one goes.
pub(super) fn settle(directory: BorrowedFd<'_>, temp: &[u8], name: &[u8], replace: bool) -> io::Result<bool> {
    if replace {
        rustix::fs::renameat(directory, temp, directory, name)?;
        return Ok(true);
    }
    let is_settled = metadata::rename_new(directory, temp, name)?;
    if !is_settled {
        discard(directory, temp)?;
    }
    Ok(is_settled)
}

fn discard(directory: BorrowedFd<'_>, temp: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, temp, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(directory, temp, AtFlags::REMOVEDIR),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::open_directory;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    /// Somebody may put it there after the folder was looked at.
    #[test]
    fn a_link_that_takes_the_place_of_a_folder_is_not_entered() {
        let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(place.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path(), place.path().join("link")).unwrap();
        let parent = File::open(place.path()).unwrap();
        assert!(open_directory(parent.as_fd(), b"folder").is_ok());
        assert!(open_directory(parent.as_fd(), b"link").is_err());
    }
}
