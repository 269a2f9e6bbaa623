//! Marks by which people keep entries out of backups: a file of some name in a folder, `CACHEDIR.TAG`, the attribute
//! `nodump`.

use crate::metadata;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes};
use std::io::Read;
use std::os::fd::BorrowedFd;

/// How a valid `CACHEDIR.TAG` begins.
const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// True if a directory holds an entry of one of the names.
pub fn holds(directory: BorrowedFd<'_>, names: &[Vec<u8>]) -> bool {
    let present = |name: &Vec<u8>| rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    names.iter().any(present)
}

/// True for a directory that its program calls a cache.
pub fn is_cache(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(file) = rustix::fs::openat(directory, "CACHEDIR.TAG", flags, Mode::empty()) else { return false };
    let mut start = Vec::new();
    let read = std::fs::File::from(file).take(SIGNATURE.len() as u64).read_to_end(&mut start);
    read.is_ok() && start == SIGNATURE
}

/// True for an entry of a directory that must not be dumped (`chattr +d`).
pub fn is_nodump(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    metadata::marks(directory, name, AtFlags::SYMLINK_NOFOLLOW).contains(StatxAttributes::NODUMP)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::{SIGNATURE, is_cache};
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    /// Who may write there could else keep a whole folder out of the backup with a link to any tag on the machine.
    #[test]
    fn a_link_to_a_tag_makes_no_folder_a_cache() {
        let place = tempfile::tempdir().unwrap();
        let tag = place.path().join("tag");
        fs::write(&tag, SIGNATURE).unwrap();
        let is_cache_with = |make: &dyn Fn(&std::path::Path)| {
            let folder = tempfile::tempdir().unwrap();
            make(&folder.path().join("CACHEDIR.TAG"));
            is_cache(File::open(folder.path()).unwrap().as_fd())
        };
        assert!(is_cache_with(&|name| fs::write(name, [SIGNATURE, b"\nmore"].concat()).unwrap()));
        assert!(!is_cache_with(&|name| symlink(&tag, name).unwrap()));
        assert!(!is_cache_with(&|name| fs::write(name, b"Signature: none").unwrap()));
        assert!(!is_cache_with(&|_| ()));
    }
}
