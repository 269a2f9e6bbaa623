//! What stays in a target though the snapshot lacks it. Whoever restores says so, as a [`Keep`]: what was never a part
//! of the snapshot. Mounts and sockets, which no snapshot takes along, stay by themselves. Entries are looked at
//! without following links, so nobody can have something outside of the target judged in the place of one in it.

use crate::metadata;
use rustix::fs::{AtFlags, FileType, StatxAttributes};
use std::os::fd::BorrowedFd;

/// An entry that the snapshot lacks.
#[derive(Debug)]
pub struct Extra<'a> {
    /// Path below the root of the target.
    pub path: &'a [u8],
    /// True for a directory.
    pub is_directory: bool,
    /// Apparent size in bytes.
    pub size: u64,
    /// True if it bears the attribute `nodump`.
    pub no_dump: bool,
}

/// Says what must stay though the snapshot lacks it.
pub trait Keep: Send + Sync + std::fmt::Debug {
    /// True if the user named this directory when the snapshot was taken: everything below it was looked at.
    fn is_named(&self, path: &[u8]) -> bool;
    /// Why an entry stays, with all that is below it.
    fn entry(&self, extra: &Extra<'_>) -> Option<&'static str>;
    /// Why everything in a directory stays, which is open here.
    fn below(&self, path: &[u8], directory: BorrowedFd<'_>) -> Option<&'static str>;
    /// True if nothing in the directory was ever a part of the snapshot but what that holds: then nobody wonders why it
    /// stays.
    fn is_outside(&self, path: &[u8]) -> bool;
}

/// True if something is mounted on a directory.
pub(super) fn is_mounted(directory: BorrowedFd<'_>) -> bool {
    metadata::marks(directory, b"", AtFlags::EMPTY_PATH).contains(StatxAttributes::MOUNT_ROOT)
}

/// No walk takes these along.
pub(super) fn kind_that_stays(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::Socket => Some("no snapshot holds sockets"),
        FileType::Unknown => Some("no snapshot holds entries of its type"),
        _ => None,
    }
}
