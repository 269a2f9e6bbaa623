//! How an entry gets a name that is free, whatever the file system can do: nothing that exists is ever replaced. What a
//! file system does not know is told from what has failed, and only then the next best way is taken. Who gives names that
//! are hashes of bytes loses nothing by the last way either: there a race is between equals.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use std::io;
use std::os::fd::BorrowedFd;

/// True if a rename without replacing, or a link, may be unknown to the file system, or to a filter of system calls.
fn may_be_unknown(e: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS, Errno::XDEV, Errno::MLINK]
        .contains(&e)
}

/// Renames within a folder without replacing; false if the name is taken.
pub fn rename_new(folder: BorrowedFd<'_>, from: impl Arg + Copy, to: impl Arg + Copy) -> io::Result<bool> {
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Ok(false),
        Err(e) if may_be_unknown(e) => {}
        Err(e) => return Err(e.into()),
    }
    link_new(folder, from, to)
}

/// NFS and some FUSE file systems have only the older way.
fn link_new(folder: BorrowedFd<'_>, from: impl Arg + Copy, to: impl Arg + Copy) -> io::Result<bool> {
    match rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()) {
        Ok(()) => rustix::fs::unlinkat(folder, from, AtFlags::empty()).map(|()| true).map_err(io::Error::from),
        Err(Errno::EXIST) => Ok(false),
        Err(e) if may_be_unknown(e) => rename_checked(folder, from, to),
        Err(e) => Err(e.into()),
    }
}

/// No way at all to refuse atomically, as on FAT, SMB, and for folders on NFS: a look has to do.
fn rename_checked(folder: BorrowedFd<'_>, from: impl Arg + Copy, to: impl Arg + Copy) -> io::Result<bool> {
    match rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(false),
        Err(Errno::NOENT) => rustix::fs::renameat(folder, from, folder, to).map(|()| true).map_err(io::Error::from),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{link_new, rename_checked, rename_new};
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    /// Each way gives a free name, and leaves one that is taken.
    #[test]
    fn no_way_of_naming_replaces() {
        type Way = fn(BorrowedFd<'_>, &'static str, &'static str) -> io::Result<bool>;
        for way in [rename_new as Way, link_new, rename_checked] {
            let folder = tempfile::tempdir().unwrap();
            let root = std::fs::File::open(folder.path()).unwrap();
            let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
            write("first");
            assert!(way(root.as_fd(), "first", "name").unwrap());
            assert!(!folder.path().join("first").exists());
            write("second");
            assert!(!way(root.as_fd(), "second", "name").unwrap());
            assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), b"first");
            assert!(way(root.as_fd(), "second", "missing/name").is_err());
        }
    }
}
