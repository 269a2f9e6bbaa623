//! Removes an entry of a target with all that is below it, over handles and without following links. One handle is
//! open at a time: the way back up is compared with the way down, so that a directory that is moved meanwhile ends
//! the removal instead of leading it elsewhere.

use super::handles::{list, open_directory};
use crate::metadata::{self, At};
use rustix::fs::{AtFlags, FileType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

struct Level {
    name: Vec<u8>,
    identity: (u64, u64),
    directories: Vec<Vec<u8>>,
}

/// Removes one entry, whatever it is.
pub(super) fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if !is_directory(directory, name)? {
        return Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?);
    }
    let (mut handle, identity) = enter(directory, name)?;
    let mut stack = vec![Level { name: name.to_vec(), identity, directories: empty(handle.as_fd())? }];
    while let Some(level) = stack.last_mut() {
        if let Some(name) = level.directories.pop() {
            let (child, identity) = enter(handle.as_fd(), &name)?;
            let directories = empty(child.as_fd())?;
            stack.push(Level { name, identity, directories });
            handle = child;
            continue;
        }
        let Some(done) = stack.pop() else { break };
        let Some(above) = stack.last() else { break };
        let (parent, identity) = open_directory(handle.as_fd(), b"..")?;
        if identity != above.identity {
            return Err(io::Error::other("a directory was moved while it was removed"));
        }
        rustix::fs::unlinkat(&parent, done.name.as_slice(), AtFlags::REMOVEDIR)?;
        handle = parent;
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

fn is_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(metadata::file_type(&stat) == FileType::Directory)
}

/// Opens a directory that is about to go, even if it is closed to its owner.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, (u64, u64))> {
    let opened = open_directory(parent, name).or_else(|_| {
        metadata::apply_mode(At::Below(parent, name), 0o700)?;
        open_directory(parent, name)
    })?;
    // Refused only where nothing needs to be changed, or where the removal then says why it fails.
    let _ = metadata::apply_mode(At::Open(opened.0.as_fd()), 0o700);
    Ok(opened)
}

/// Removes everything in a directory but the directories, which are returned.
fn empty(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for name in list(directory)? {
        if is_directory(directory, &name)? {
            directories.push(name);
        } else {
            rustix::fs::unlinkat(directory, name.as_slice(), AtFlags::empty())?;
        }
    }
    Ok(directories)
}
