//! One regular file while it is read: its data in order, its holes apart. Size and holes that it reports at the end
//! fit the bytes that it gave, whatever happened to the file meanwhile, and it says whether anything happened. What
//! `stat` says of its size is a guess: a file is read until nothing more comes, but no writer is chased.

use super::sizes::Sizes;
use super::{Entry, EntryKind};
use crate::metadata::{self, At, Fault};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vault_format::tree::{Extent, Metadata, Time};

/// Most holes that are kept; the smaller ones are read as the zeros that they are.
const HOLES_MAX: usize = 8192;

/// Holes that are looked for at most; what lies behind them is read as it is.
const HOLES_SEEN_MAX: usize = 1 << 20;

/// Most bytes that are asked for at once where the size is a guess: the kernel refuses sysctls to who asks for 4 MiB.
const UNSURE_BYTES_AT_ONCE: usize = 256 << 10;

/// Most bytes of a file that the kernel makes up while it is read: some have no end.
const MADE_UP_BYTES_MAX: u64 = 64 << 20;

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
    sizes: Sizes,
    /// More came than `stat` said: where to stop.
    beyond: Option<u64>,
    is_cut: bool,
    lacks: Option<Fault>,
}

/// What was read in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEnd {
    /// Apparent size in bytes.
    pub size: u64,
    /// Ranges without data.
    pub holes: Vec<Extent>,
    /// The file was written to while it was read.
    pub changed: bool,
    /// Its file system makes up what is read, and there was no end to it.
    pub is_cut: bool,
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
    pub(super) fn open(entry: &mut Entry) -> io::Result<Self> {
        let EntryKind::File { size } = entry.kind else { return Err(Errno::INVAL.into()) };
        let file = open_quietly(entry.folder.as_fd(), entry)?;
        let stat = rustix::fs::fstat(&file)?;
        let listed =
            State { size, mtime: entry.metadata.mtime, ctime: entry.metadata.ctime, inode: entry.metadata.inode };
        if metadata::file_type(&stat) != FileType::RegularFile {
            return Err(io::Error::other("it was replaced while it was looked at"));
        }
        let before = State::of(&stat);
        let mut lacks = None;
        if before != listed {
            let (now, fault) = metadata::read(At::Open(file.as_fd()), &stat, entry.folder.names());
            // what could be read of it when it was listed is better than nothing
            let xattrs = if fault.is_some() { std::mem::take(&mut entry.metadata.xattrs) } else { now.xattrs };
            entry.metadata = Metadata { xattrs, ..now };
            entry.kind = EntryKind::File { size: before.size };
            lacks = fault;
        }
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
            sizes: entry.sizes,
            beyond: None,
            is_cut: false,
            lacks,
        })
    }

    /// What of its metadata could not be read when it was opened, and was another than when it was listed; told once.
    pub(crate) fn lacks(&mut self) -> Option<Fault> {
        self.lacks.take()
    }

    /// Ranges without data at opening.
    pub fn holes(&self) -> &[Extent] {
        &self.holes
    }

    /// Closes the file and tells what the bytes given are. What was not read counts as cut off.
    pub fn finish(mut self) -> io::Result<FileEnd> {
        let after = State::of(&rustix::fs::fstat(&self.file)?);
        // what is made up has the time at which somebody looked
        let changed = self.sizes != Sizes::MadeUp && after != self.before;
        let is_cut = self.is_cut;
        if self.is_done && !self.is_short || self.position == self.end && self.data.as_slice().is_empty() {
            return Ok(FileEnd { size: self.size, holes: self.holes, changed, is_cut });
        }
        let size = self.position;
        self.holes.retain(|hole| hole.offset < size);
        // nobody touched it: less comes than its file system says
        let changed = changed || !self.is_short || self.sizes == Sizes::Known;
        Ok(FileEnd { size, holes: self.holes, changed, is_cut })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.is_done {
            return Ok(0);
        }
        if self.position == self.end {
            let Some(extent) = self.data.next() else {
                // a true size is the end, and whether that has moved is asked when the file is closed
                self.is_done = self.sizes == Sizes::Known;
                return if self.is_done { Ok(0) } else { self.read_beyond(buffer) };
            };
            self.position = extent.offset;
            self.end = extent.offset.saturating_add(extent.length);
        }
        let want = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.read_at(buffer.get_mut(..want).unwrap_or_default(), self.position)?;
        if length == 0 {
            // Cut off while being read: what came so far is the file.
            self.is_done = true;
            self.is_short = true;
        }
        self.position += length as u64;
        if self.sizes == Sizes::MadeUp && self.position >= MADE_UP_BYTES_MAX {
            self.is_done = true;
            self.is_short = true;
            self.is_cut = true;
        }
        Ok(length)
    }
}

impl FileReader {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let most = if self.sizes == Sizes::Known { usize::MAX } else { UNSURE_BYTES_AT_ONCE };
        let want = buffer.len().min(most);
        let buffer = buffer.get_mut(..want).unwrap_or_default();
        match retry_on_intr(|| rustix::io::pread(&self.file, &mut *buffer, position)) {
            // it can't be sought in, and nothing of it was passed over
            Err(Errno::SPIPE) if self.holes.is_empty() => {
                Ok(retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer))?)
            }
            other => Ok(other?),
        }
    }

    /// Behind the size that `stat` told. A file that grows is stored as long as it was when it was opened; one whose
    /// size nobody knows is read until nothing more comes.
    fn read_beyond(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.read_at(buffer, self.size)? as u64;
        let now = metadata::size(&rustix::fs::fstat(&self.file)?);
        if length > 0 && now != self.before.size && self.beyond.is_none() {
            // only a file that was empty is worth more than its beginning
            self.beyond = Some(if self.before.size == 0 { now } else { self.before.size });
        }
        let made_up = if self.sizes == Sizes::MadeUp { MADE_UP_BYTES_MAX } else { u64::MAX };
        let room = self.beyond.unwrap_or(u64::MAX).min(made_up).saturating_sub(self.size);
        let taken = length.min(room);
        self.is_cut = length > taken && self.beyond.is_none();
        self.is_done = taken < length || taken == 0;
        self.size += taken;
        (self.position, self.end) = (self.size, self.size);
        Ok(usize::try_from(taken).unwrap_or_default())
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
    for _ in 0..HOLES_SEEN_MAX {
        if position >= size {
            break;
        }
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
        if holes.len() == 2 * HOLES_MAX {
            keep_largest(&mut holes);
        }
    }
    keep_largest(&mut holes);
    holes
}

/// Keeps at most [`HOLES_MAX`] holes, in order.
fn keep_largest(holes: &mut Vec<Extent>) {
    if holes.len() > HOLES_MAX {
        holes.sort_unstable_by_key(|hole| (std::cmp::Reverse(hole.length), hole.offset));
        holes.truncate(HOLES_MAX);
        holes.sort_unstable_by_key(|hole| hole.offset);
    }
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
