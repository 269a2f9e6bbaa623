//! Removes an entry of a target with all that is below it, over handles and without following links, but for what must
//! stay and the folders above that. One handle is open at a time: the way back up is compared with the way down, so
//! that a directory that is moved meanwhile ends the removal instead of leading it elsewhere.

use super::handles::{list, open_directory};
use super::keep::{Extra, Keep, kind_that_stays};
use crate::metadata::{self, At};
use rustix::fs::{AtFlags, FileType, StatxAttributes};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One removal: by whose rules, and how it went.
pub(super) struct Removal<'a> {
    pub(super) keep: Option<&'a dyn Keep>,
    /// What is never removed, by what it is.
    own: &'a HashSet<(u64, u64)>,
    /// The file system that is not left.
    pub(super) device: u64,
    pub(super) dry_run: bool,
    /// Entries that went.
    pub(super) gone: u64,
    /// What stays, below the root of the target, and why.
    pub(super) kept: Vec<(Vec<u8>, &'static str)>,
}

struct Level {
    name: Vec<u8>,
    /// Length of the path of the directory above.
    above: usize,
    identity: (u64, u64),
    directories: Vec<Vec<u8>>,
    /// Something in it stays.
    stays: bool,
    /// To be put back if it stays.
    mode: Option<u32>,
}

impl<'a> Removal<'a> {
    pub(super) fn new(
        (keep, own): (Option<&'a dyn Keep>, &'a HashSet<(u64, u64)>),
        device: u64,
        dry_run: bool,
    ) -> Self {
        Self { keep, own, device, dry_run, gone: 0, kept: Vec::new() }
    }

    /// Removes one entry, whatever it is; `path` is that of its directory. True if nothing of it is left.
    pub(super) fn remove(&mut self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<bool> {
        let mut path = path.to_vec();
        match self.judge(directory, name, &path)? {
            Judged::Stays => return Ok(false),
            Judged::Goes => return self.unlink(directory, name, &path),
            Judged::Directory => {}
        }
        let Some((mut handle, level)) = self.enter(directory, name, &mut path)? else { return Ok(true) };
        let mut stack = vec![level];
        while let Some(level) = stack.last_mut() {
            if let Some(name) = level.directories.pop() {
                if let Some((child, level)) = self.enter(handle.as_fd(), &name, &mut path)? {
                    handle = child;
                    stack.push(level);
                }
                continue;
            }
            let Some(done) = stack.pop() else { break };
            path.truncate(done.above);
            if let Some(mode) = done.mode.filter(|_| done.stays) {
                metadata::apply_mode(At::Open(handle.as_fd()), mode)?;
            }
            let Some(above) = stack.last_mut() else {
                return if done.stays { Ok(false) } else { self.remove_directory(directory, name) };
            };
            above.stays |= done.stays;
            let (parent, identity) = open_directory(handle.as_fd(), b"..")?;
            if identity != above.identity {
                return Err(io::Error::other("a directory was moved while it was removed"));
            }
            if !done.stays {
                self.remove_directory(parent.as_fd(), &done.name)?;
            }
            handle = parent;
        }
        Ok(true)
    }

    fn remove_directory(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        if !self.dry_run {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
        }
        self.gone += 1;
        Ok(true)
    }

    fn unlink(&mut self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<bool> {
        if !self.dry_run {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::BUSY) => {
                    self.stays(path, name, "something is mounted on it");
                    return Ok(false);
                }
                done => done?,
            }
        }
        self.gone += 1;
        Ok(true)
    }

    fn stays(&mut self, path: &[u8], name: &[u8], why: &'static str) {
        self.kept.push((join(path, name), why));
    }

    /// What is to be done with an entry, as far as can be told without going into it.
    fn judge(&mut self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<Judged> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone by itself.
            Err(Errno::NOENT) => return Ok(Judged::Stays),
            found => found?,
        };
        let marks = metadata::marks(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let (no_dump, is_mounted) =
            (marks.contains(StatxAttributes::NODUMP), marks.contains(StatxAttributes::MOUNT_ROOT));
        let kind = metadata::file_type(&stat);
        let is_directory = kind == FileType::Directory;
        let whole = join(path, name);
        let extra = Extra { path: &whole, is_directory, size: metadata::size(&stat), no_dump };
        let why = if self.own.contains(&metadata::identity(&stat)) {
            Some("it belongs to the repository that is restored from")
        } else if is_mounted || stat.st_dev != self.device {
            Some("it lies on another file system")
        } else {
            kind_that_stays(kind).or_else(|| self.keep.and_then(|keep| keep.entry(&extra)))
        };
        Ok(match why {
            Some(why) => {
                self.kept.push((whole, why));
                Judged::Stays
            }
            None if is_directory => Judged::Directory,
            None => Judged::Goes,
        })
    }

    /// Goes into a directory that is about to go, even if it is closed to its owner, and removes all that is no directory
    /// from it. None if a dry run can't look into it.
    fn enter(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> io::Result<Option<(OwnedFd, Level)>> {
        let before = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777;
        let opened = open_directory(parent, name).or_else(|error| {
            if self.dry_run {
                return Err(error);
            }
            metadata::apply_mode(At::Below(parent, name), before | 0o700)?;
            open_directory(parent, name)
        });
        let (handle, identity) = match opened {
            Err(error) if self.dry_run && error.kind() == io::ErrorKind::PermissionDenied => {
                self.gone += 1;
                return Ok(None);
            }
            opened => opened?,
        };
        let above = path.len();
        *path = join(path, name);
        let mut level =
            Level { name: name.to_vec(), above, identity, directories: Vec::new(), stays: false, mode: None };
        if before & 0o700 != 0o700 && !self.dry_run {
            // Refused only where nothing needs to be changed, or where the removal then says why it fails.
            let _ = metadata::apply_mode(At::Open(handle.as_fd()), before | 0o700);
            level.mode = Some(before);
        }
        if let Some(why) = self.keep.and_then(|keep| keep.below(path, handle.as_fd())) {
            self.kept.push((path.clone(), why));
            level.stays = true;
            return Ok(Some((handle, level)));
        }
        for name in list(handle.as_fd())? {
            match self.judge(handle.as_fd(), &name, path)? {
                Judged::Stays => level.stays = true,
                Judged::Goes => level.stays |= !self.unlink(handle.as_fd(), &name, path)?,
                Judged::Directory => level.directories.push(name),
            }
        }
        Ok(Some((handle, level)))
    }
}

enum Judged {
    Stays,
    Goes,
    Directory,
}

/// The path of an entry of a directory, both below the root of the target.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut whole = path.to_vec();
    if !whole.is_empty() {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}
