//! A folder for what has to lie in a file before it can be read as a stream. It is locked while its process lives and
//! goes with it; what a process that was killed has left there goes with the next one that makes a folder in the same
//! place. Invariant: a folder whose process lives is never taken away.

use super::named::open_path;
use crate::metadata;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How the names of these folders begin.
const PREFIX: &str = "vault-scratch-";
/// Another process may take a folder away that is not locked yet; it does not do so again and again.
const TRIES: usize = 10;

/// A folder that goes when it is dropped.
pub struct Scratch {
    folder: TempDir,
    /// Holds the lock.
    _handle: OwnedFd,
}

impl Scratch {
    /// Makes one in a folder, or in the system's for temporary files. That folder itself is made if it is missing.
    pub fn new(place: Option<&Path>) -> io::Result<Self> {
        let place = place_of(place);
        DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        sweep(&place);
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(&place)?;
            let handle = open_path(folder.path())?;
            // a file system without locks: nobody takes the folder away then
            let _ = flock(&handle, FlockOperation::NonBlockingLockExclusive);
            if is_same(&handle, folder.path()) {
                return Ok(Self { folder, _handle: handle });
            }
        }
        Err(io::Error::other("another process takes away every folder that is made there"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes that whoever runs this may write in such a place.
    pub fn free(place: Option<&Path>) -> io::Result<u64> {
        let place = place_of(place);
        let existing = place.ancestors().find(|path| path.exists()).unwrap_or(&place);
        let stat = rustix::fs::statvfs(existing)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The folder as it is given, or the system's.
pub fn place_of(place: Option<&Path>) -> PathBuf {
    place.map_or_else(tempfile::env::temp_dir, Path::to_owned)
}

fn is_same(handle: &OwnedFd, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (rustix::fs::fstat(handle), rustix::fs::lstat(path)) else { return false };
    metadata::identity(&open) == metadata::identity(&named)
}

/// Takes away what dead processes of this user have left. What does not go is the next one's.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        let is_own =
            entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw());
        if !is_own {
            continue;
        }
        let Ok(handle) = open_path(&entry.path()) else { continue };
        if flock(handle.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() && is_same(&handle, &entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, Scratch};

    #[test]
    fn what_a_dead_process_left_goes_and_what_a_living_one_has_stays() {
        let place = tempfile::tempdir().unwrap();
        let left = place.path().join(format!("{PREFIX}dead"));
        let others = place.path().join("others");
        std::fs::create_dir_all(left.join("below")).unwrap();
        std::fs::create_dir(&others).unwrap();
        let first = Scratch::new(Some(place.path())).unwrap();
        assert!(!left.exists() && others.exists());
        let second = Scratch::new(Some(place.path())).unwrap();
        assert!(first.path().exists() && second.path().exists() && first.path() != second.path());
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }

    #[test]
    fn a_place_is_made_if_it_is_missing() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("a/b");
        assert!(Scratch::free(Some(&missing)).unwrap() > 0);
        assert!(Scratch::new(Some(&missing)).unwrap().path().starts_with(&missing));
    }
}
