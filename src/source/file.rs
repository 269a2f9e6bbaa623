//! One regular file while it is read: its data in order, its holes apart. Size and holes that it reports at the end
//! fit the bytes that it gave, whatever happened to the file meanwhile, and it says whether anything happened.

use super::{Entry, EntryKind};
use crate::metadata;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use vault_format::tree::{Extent, Time};

/// Bytes of a block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

/// An open file. Reading gives its data without the holes.
#[derive(Debug)]
pub struct FileReader {
    file: OwnedFd,
    before: State,
    size: u64,
    holes: Vec<Extent>,
    data: std::vec::IntoIter<Extent>,
    position: u64,
    end: u64,
    is_done: bool,
    is_short: bool,
    changed: bool,
}

/// What was read in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEnd {
    /// Apparent size in bytes.
    pub size: u64,
    /// Ranges without data.
    pub holes: Vec<Extent>,
    /// The file was written to while it was read, or since it was listed.
    pub changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    size: u64,
    mtime: Time,
    ctime: Time,
    inode: u64,
}

impl State {
    fn of(stat: &Stat) -> Self {
        Self {
            size: metadata::size(stat),
            mtime: metadata::mtime(stat),
            ctime: metadata::ctime(stat),
            inode: stat.st_ino,
        }
    }
}

impl FileReader {
    pub(super) fn open(directory: BorrowedFd<'_>, entry: &Entry) -> io::Result<Self> {
        let EntryKind::File { size } = entry.kind else { return Err(Errno::INVAL.into()) };
        let file = open_quietly(directory, entry)?;
        let stat = rustix::fs::fstat(&file)?;
        let listed =
            State { size, mtime: entry.metadata.mtime, ctime: entry.metadata.ctime, inode: entry.metadata.inode };
        if metadata::file_type(&stat) != FileType::RegularFile || stat.st_ino != listed.inode {
            return Err(io::Error::other("it was replaced while it was looked at"));
        }
        let before = State::of(&stat);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        let dense = blocks.saturating_mul(BLOCK_BYTES) >= before.size;
        let holes = if dense { Vec::new() } else { find_holes(&file, before.size) };
        let data = between(&holes, before.size).into_iter();
        Ok(Self {
            file,
            before,
            size: before.size,
            holes,
            data,
            position: 0,
            end: 0,
            is_done: false,
            is_short: false,
            changed: before != listed,
        })
    }

    /// Apparent size in bytes at opening.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ranges without data at opening.
    pub fn holes(&self) -> &[Extent] {
        &self.holes
    }

    /// Closes the file and tells what the bytes given are. What was not read counts as cut off.
    pub fn finish(mut self) -> io::Result<FileEnd> {
        let after = State::of(&rustix::fs::fstat(&self.file)?);
        let changed = self.changed || self.is_short || after != self.before;
        if self.is_done && !self.is_short || self.position == self.end && self.data.as_slice().is_empty() {
            return Ok(FileEnd { size: self.size, holes: self.holes, changed });
        }
        let size = self.position;
        self.holes.retain(|hole| hole.offset < size);
        Ok(FileEnd { size, holes: self.holes, changed: true })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.is_done {
            return Ok(0);
        }
        if self.position == self.end {
            let Some(extent) = self.data.next() else {
                self.is_done = true;
                return Ok(0);
            };
            self.position = extent.offset;
            self.end = extent.offset.saturating_add(extent.length);
        }
        let want = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..want).unwrap_or_default();
        let length = loop {
            match rustix::io::pread(&self.file, &mut *buffer, self.position) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if length == 0 {
            // Cut off while being read: what came so far is the file.
            self.is_done = true;
            self.is_short = true;
        }
        self.position += length as u64;
        Ok(length)
    }
}

/// Leaves the access time alone where that is allowed, and never waits for a pipe that took the file's place.
fn open_quietly(directory: BorrowedFd<'_>, entry: &Entry) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if !entry.followed {
        flags |= OFlags::NOFOLLOW;
    }
    match rustix::fs::openat(directory, entry.name.as_slice(), flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(directory, entry.name.as_slice(), flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Ranges without data; none where the file system doesn't tell.
fn find_holes(file: &OwnedFd, size: u64) -> Vec<Extent> {
    let mut holes = Vec::new();
    let mut position = 0;
    while position < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(_) => return Vec::new(),
        };
        if data > position {
            holes.push(Extent { offset: position, length: data - position });
        }
        if data >= size {
            break;
        }
        match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > data => position = hole,
            _ => break,
        }
    }
    holes
}

/// The ranges between the holes.
fn between(holes: &[Extent], size: u64) -> Vec<Extent> {
    let mut out = Vec::with_capacity(holes.len() + 1);
    let mut position = 0u64;
    for hole in holes {
        if hole.offset > position {
            out.push(Extent { offset: position, length: hole.offset - position });
        }
        position = hole.offset.saturating_add(hole.length);
    }
    if size > position {
        out.push(Extent { offset: position, length: size - position });
    }
    out
}
