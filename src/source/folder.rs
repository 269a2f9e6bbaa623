//! A directory as a walk met it: whatever lies in it is reached through its handle, and told of by its path. Entries hold
//! it, so that the walk may be ahead of whoever reads them.

use crate::metadata::Names;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// An open directory.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
    /// Who owners are.
    names: Arc<Names>,
}

impl Folder {
    pub fn new(handle: OwnedFd, path: PathBuf, names: &Arc<Names>) -> Arc<Self> {
        Arc::new(Self { handle, path, names: names.clone() })
    }

    /// Full path of an entry in it.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(OsStr::from_bytes(name)) }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}
