//! Metadata between the file system and the nodes of a tree. Sources read it, targets apply it, both through handles
//! and never through a path that somebody else could redirect. Applying goes on after a failure and names each one:
//! a file without one attribute is better than no file.

mod attributes;
mod names;
mod naming;

pub use attributes::read as attributes_of;
pub use names::Names;
pub use naming::rename_new;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid};
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
#[derive(Debug, thiserror::Error)]
#[error("could not {what}: {error}")]
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

/// Metadata of an entry of which `stat` is the state, and what of it could not be read: an entry that lacks an attribute
/// is better than none.
pub fn read(at: At<'_>, stat: &Stat, names: &Names) -> (Metadata, Option<Fault>) {
    let (xattrs, fault) = attributes::read(at);
    (Metadata { xattrs, ..of_stat(stat, names) }, fault)
}

/// What `stat` alone tells of an entry: all but its attributes.
pub fn of_stat(stat: &Stat, names: &Names) -> Metadata {
    Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: names.user(stat.st_uid).to_vec(),
        group: names.group(stat.st_gid).to_vec(),
        mtime: mtime(stat),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
        link_group: link_group(stat),
        xattrs: Vec::new(),
    }
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
    let nanoseconds: u32 = nanoseconds.try_into().unwrap_or_default();
    // a file system may say anything
    Time { seconds: seconds.try_into().unwrap_or_default(), nanoseconds: nanoseconds.min(999_999_999) }
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

/// Attributes of an entry that only newer kernels tell, and that a mount of the same file system can only be told by.
pub fn marks(directory: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> StatxAttributes {
    let found = rustix::fs::statx(directory, name, flags, StatxFlags::TYPE);
    found.map_or(StatxAttributes::empty(), |found| found.stx_attributes)
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
    // The owner goes first: changing it clears setuid.
    let (owned, grouped) = apply_owner(at, metadata, names, &mut faults);
    let mode = permitted(metadata.mode, owned, grouped);
    if !is_link && let Err(error) = apply_mode(at, mode) {
        faults.push(Fault::new("set the permissions", error));
    }
    attributes::apply(at, &metadata.xattrs, &mut faults);
    faults.extend(apply_time(at, metadata.mtime));
    faults
}

/// Sets the time of the last change of content.
pub fn apply_time(at: At<'_>, time: Time) -> Option<Fault> {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    let done = match at {
        At::Open(handle) => rustix::fs::futimens(handle, &times),
        At::Below(directory, name) => rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    };
    done.err().map(|error| Fault::new("set the time", error))
}

/// Sets what `apply` sets on something that exists already. What is not as wished afterwards is a fault, also where an
/// ordinary user may not change it.
pub fn mend(at: At<'_>, is_link: bool, metadata: &Metadata, names: Option<&Names>) -> Vec<Fault> {
    let mut faults = apply(at, is_link, metadata, names);
    if faults.is_empty() {
        let stat = match at {
            At::Open(handle) => rustix::fs::fstat(handle),
            At::Below(directory, name) => rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        match stat {
            Ok(stat) => faults.extend(
                difference(at, &stat, metadata, names)
                    .map(|what| Fault::new(format!("mend the metadata ({what})"), Errno::PERM)),
            ),
            Err(error) => faults.push(Fault::new("look at it again", error)),
        }
    }
    faults
}

/// How an existing entry differs from what `apply` would make of it, times aside; in words, `None` if it does not.
pub fn difference(at: At<'_>, stat: &Stat, metadata: &Metadata, names: Option<&Names>) -> Option<String> {
    let (uid, gid) = owner(metadata, names);
    let own = rustix::process::geteuid();
    let is_possible = uid != u32::MAX && gid != u32::MAX;
    let user_is_right = is_possible && stat.st_uid == uid;
    let group_is_right = is_possible && stat.st_gid == gid;
    // What an ordinary user restores is his own, whatever the snapshot says.
    let user_may_stay = user_is_right || !is_possible || !own.is_root() && stat.st_uid == own.as_raw();
    let group_may_stay = group_is_right || !is_possible || !own.is_root() && !is_own_group(gid);
    if !user_may_stay || !group_may_stay {
        return Some(format!("owner {}:{} instead of {uid}:{gid}", stat.st_uid, stat.st_gid));
    }
    let kind = file_type(stat);
    if kind == FileType::Symlink {
        return None;
    }
    let wanted = permitted(metadata.mode, user_is_right, group_is_right);
    let mode = stat.st_mode & 0o7777;
    // A directory that an interrupted run left is still open to its owner.
    if mode != wanted && !(kind == FileType::Directory && mode == wanted | 0o700) {
        return Some(format!("mode {mode:o} instead of {wanted:o}"));
    }
    let attribute = attributes::difference(at, &metadata.xattrs)?;
    Some(format!("another attribute {}", String::from_utf8_lossy(&attribute)))
}

fn is_own_group(gid: u32) -> bool {
    rustix::process::getegid().as_raw() == gid
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// The mode that an entry gets: a program must not run as somebody it does not belong to.
fn permitted(mode: u32, owned: bool, grouped: bool) -> u32 {
    let user = if owned { 0 } else { 0o4000 };
    let group = if grouped { 0 } else { 0o2000 };
    mode & 0o7777 & !user & !group
}

/// User and group as they are called here; without names the numbers count.
pub fn owner(metadata: &Metadata, names: Option<&Names>) -> (u32, u32) {
    let uid = names.and_then(|names| names.uid(&metadata.user)).unwrap_or(metadata.uid);
    let gid = names.and_then(|names| names.gid(&metadata.group)).unwrap_or(metadata.gid);
    (uid, gid)
}

/// True for owner and group if they are as wished. An ordinary user can't give files away: that is no fault.
fn apply_owner(at: At<'_>, metadata: &Metadata, names: Option<&Names>, faults: &mut Vec<Fault>) -> (bool, bool) {
    let (uid, gid) = owner(metadata, names);
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
