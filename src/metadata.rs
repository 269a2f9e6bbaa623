//! Metadata between the file system and the nodes of a tree. Sources read it, targets apply it, both through handles
//! and never through a path that somebody else could redirect. Applying goes on after a failure and names each one:
//! a file without one attribute is better than no file.

mod attributes;
mod names;

pub use names::Names;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use vault_format::tree::{Metadata, Time};

/// An entry: open, or a name below an open directory.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// A handle of a regular file or a directory.
    Open(BorrowedFd<'a>),
    /// A name in a directory; a symbolic link is meant itself.
    Below(BorrowedFd<'a>, &'a [u8]),
}

/// A piece of metadata that could not be set.
#[derive(Debug)]
pub struct Fault {
    /// What was tried, as in "could not …".
    pub what: String,
    /// Why not.
    pub error: io::Error,
}

impl Fault {
    /// One failed step.
    pub fn new(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self { what: what.into(), error: error.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "could not {}: {}", self.what, self.error)
    }
}

/// Metadata of an entry of which `stat` is the state.
pub fn read(at: At<'_>, stat: &Stat, names: &Names) -> io::Result<Metadata> {
    Ok(Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: names.user(stat.st_uid).to_vec(),
        group: names.group(stat.st_gid).to_vec(),
        mtime: mtime(stat),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
        link_group: link_group(stat),
        xattrs: attributes::read(at)?,
    })
}

/// Time of the last change of content.
pub fn mtime(stat: &Stat) -> Time {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

/// Time of the last change of the inode.
pub fn ctime(stat: &Stat) -> Time {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

// The field types differ between architectures.
fn time(seconds: impl TryInto<i64>, nanoseconds: impl TryInto<u32>) -> Time {
    Time { seconds: seconds.try_into().unwrap_or_default(), nanoseconds: nanoseconds.try_into().unwrap_or_default() }
}

/// Apparent size in bytes.
pub fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// What the entry is.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Device and inode: the identity of what a handle or name refers to.
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// 0 for what has one name only, else a number of the inode that says nothing about it.
fn link_group(stat: &Stat) -> u64 {
    if stat.st_nlink <= 1 || file_type(stat) == FileType::Directory {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&stat.st_dev.to_le_bytes()).update(&stat.st_ino.to_le_bytes());
    let mut bytes = [0u8; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes).max(1)
}

/// Sets owner, mode, attributes and times. `names` maps owner names to local ids; without it the numbers count.
pub fn apply(at: At<'_>, is_link: bool, metadata: &Metadata, names: Option<&Names>) -> Vec<Fault> {
    let mut faults = Vec::new();
    // The owner goes first: changing it clears setuid. A program must not run as somebody it never belonged to.
    let (owned, grouped) = apply_owner(at, metadata, names, &mut faults);
    let mut mode = metadata.mode & 0o7777;
    if !owned {
        mode &= !0o4000;
    }
    if !grouped {
        mode &= !0o2000;
    }
    if !is_link && let Err(error) = apply_mode(at, mode) {
        faults.push(Fault::new("set the permissions", error));
    }
    attributes::apply(at, &metadata.xattrs, &mut faults);
    let time = Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: metadata.mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    let done = match at {
        At::Open(handle) => rustix::fs::futimens(handle, &times),
        At::Below(directory, name) => rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    };
    if let Err(error) = done {
        faults.push(Fault::new("set the time", error));
    }
    faults
}

/// True for owner and group if they are as wished. An ordinary user can't give files away: that is no fault.
fn apply_owner(at: At<'_>, metadata: &Metadata, names: Option<&Names>, faults: &mut Vec<Fault>) -> (bool, bool) {
    let uid = names.and_then(|names| names.uid(&metadata.user)).unwrap_or(metadata.uid);
    let gid = names.and_then(|names| names.gid(&metadata.group)).unwrap_or(metadata.gid);
    if uid == u32::MAX || gid == u32::MAX {
        faults.push(Fault::new("set the owner", Errno::INVAL));
        return (false, false);
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let change = |uid, gid| match at {
        At::Open(handle) => rustix::fs::fchown(handle, uid, gid),
        At::Below(directory, name) => rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    };
    match change(Some(uid), Some(gid)) {
        Ok(()) => (true, true),
        Err(Errno::PERM) => (change(Some(uid), None).is_ok(), change(None, Some(gid)).is_ok()),
        Err(error) => {
            faults.push(Fault::new("set the owner", error));
            (false, false)
        }
    }
}

/// Sets permission bits without following a link.
pub fn apply_mode(at: At<'_>, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match at {
        At::Open(handle) => Ok(rustix::fs::fchmod(handle, mode)?),
        At::Below(directory, name) => {
            // There is no chmod that refuses links: pin the inode, then change what is pinned.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let pinned = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            if file_type(&rustix::fs::fstat(&pinned)?) == FileType::Symlink {
                return Err(Errno::LOOP.into());
            }
            let path = format!("/proc/self/fd/{}", pinned.as_fd().as_raw_fd());
            Ok(rustix::fs::chmod(path, mode)?)
        }
    }
}
