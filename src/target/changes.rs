//! What a restore does to what exists, counted, with the first few names: what a question, a dry run and a summary tell.
//! Counts are exact; names are bounded, however many entries a target has. The room that new entries take is added up
//! by file system.

use rustix::fs::Stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names kept of one kind.
const NAMES_MAX: usize = 20;
/// What most file systems give out at a time.
const BLOCK_BYTES: u64 = 4096;
/// The unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// Entries of one kind.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// How many.
    pub count: u64,
    /// The first of them, for people.
    pub first: Vec<String>,
    /// How many these names tell of.
    pub told: u64,
    /// All are named, however many there are.
    name_all: bool,
}

impl Named {
    /// One more.
    pub(super) fn add(&mut self, name: impl FnOnce() -> String) {
        self.add_many(1, name);
    }

    /// Several under one name.
    pub(super) fn add_many(&mut self, count: u64, name: impl FnOnce() -> String) {
        self.count += count;
        if self.name_all || self.first.len() < NAMES_MAX {
            self.first.push(name());
            self.told += count;
        }
    }

    /// How many have no name here.
    pub fn more(&self) -> u64 {
        self.count.saturating_sub(self.told)
    }
}

/// What happens, or in a dry run would happen, to what exists.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Entries that make room for others.
    pub replaced: Named,
    /// Entries of which only mode, owner or attributes change.
    pub mended: Named,
    /// Entries that the snapshot lacks, with all that is below them.
    pub deleted: Named,
    /// Entries that the snapshot lacks, but that were never a part of it: each with the reason.
    pub kept: Named,
    /// Entries given to whoever restores, since only root may give them to their owners.
    pub owned: Named,
    /// Unfinished entries of other runs that were met, by what their names begin with.
    pub leftovers: BTreeMap<String, Leftover>,
}

impl Changes {
    /// With the first names only, or with all.
    pub(super) fn new(name_all: bool) -> Self {
        let named = || Named { name_all, ..Named::default() };
        Self { replaced: named(), mended: named(), deleted: named(), ..Self::default() }
    }
}

/// What another run has not finished: it was cut off, or goes on at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leftover {
    /// Entries.
    pub entries: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What is still to be made on one file system.
#[derive(Clone, Debug)]
pub struct Need {
    /// A folder on it, which need not exist yet.
    pub place: PathBuf,
    /// Bytes of new files, holes aside, as blocks.
    pub bytes: u64,
    /// Bytes of what is replaced.
    pub freed: u64,
    /// New entries.
    pub entries: u64,
}

/// All file systems of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs(BTreeMap<u64, Need>);

impl Needs {
    /// Notes a new entry and what it replaces.
    pub(super) fn add(&mut self, device: u64, bytes: u64, replaced: Option<&Stat>, place: impl FnOnce() -> PathBuf) {
        let new = || Need { place: place(), bytes: 0, freed: 0, entries: 0 };
        let need = self.0.entry(device).or_insert_with(new);
        need.bytes = need.bytes.saturating_add(bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES));
        match replaced {
            None => need.entries += 1,
            Some(stat) if stat.st_nlink == 1 => {
                need.freed = need.freed.saturating_add(allocated(stat));
            }
            Some(_) => {}
        }
    }

    pub(super) fn list(&self) -> Vec<Need> {
        self.0.values().cloned().collect()
    }
}

/// Bytes that an entry takes on the disk.
pub(super) fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(STAT_BLOCK_BYTES)
}

/// Room of a file system.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Free bytes for whoever asks.
    pub bytes: u64,
    /// Free entries, if they are limited.
    pub entries: Option<u64>,
}

/// The room where a folder is, or will be made; `None` if the file system does not tell.
pub fn room(folder: &Path) -> Option<Room> {
    let there = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    // File systems that can't tell say 0 for everything.
    if there.f_blocks == 0 {
        return None;
    }
    let entries = (there.f_files > 0).then_some(there.f_favail);
    Some(Room { bytes: there.f_bavail.saturating_mul(there.f_frsize), entries })
}

/// True if the error says that there is no room left, be it of the disk or of a quota.
pub fn is_full(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
