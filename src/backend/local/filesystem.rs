//! What file systems differ in: which of them lie beyond a network or a program, and what they answer to a sync that they
//! do not know. Invariant: what a file system can't do is told from what has failed, and only the former is passed over.

use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Attribute caches of network file systems live for a minute by default, on either end.
const NETWORK_LAG: Duration = Duration::from_mins(2);
/// Caches of what lies behind FUSE are as old as their programs like.
const FUSE_LAG: Duration = Duration::from_mins(10);

const FUSE: u32 = 0x6573_5546;
const NETWORK: [(u32, &str); 14] = [
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786F_4256, "VirtualBox"),
    (0xBACB_ACBC, "VMware"),
    (0x7C7C_6673, "Parallels"),
];

/// Whether others may see changes late, and what comes between a sync and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// A disk of this machine, or what behaves like one.
    Disk,
    /// Another machine's, by the protocol's name.
    Network(&'static str),
    /// A program of this machine, whatever it does.
    Fuse,
}

impl FileSystem {
    /// What a folder lies on.
    pub fn of(folder: BorrowedFd<'_>) -> Self {
        // the field's type differs between architectures, the numbers have 32 bits
        let magic = rustix::fs::fstatfs(folder).map(|found| (found.f_type as u64 & 0xFFFF_FFFF) as u32);
        magic.map_or(Self::Disk, Self::of_magic)
    }

    fn of_magic(magic: u32) -> Self {
        if magic == FUSE {
            return Self::Fuse;
        }
        NETWORK.iter().find(|(known, _)| *known == magic).map_or(Self::Disk, |(_, name)| Self::Network(name))
    }

    /// How long a listing may show what was before (D of the protocol).
    pub fn listing_lag(self) -> Duration {
        match self {
            Self::Disk => Duration::ZERO,
            Self::Network(_) => NETWORK_LAG,
            Self::Fuse => FUSE_LAG,
        }
    }

    /// What can't be promised there, in words.
    pub fn caveat(self) -> Option<String> {
        let kind = match self {
            Self::Disk => return None,
            Self::Network(name) => name,
            Self::Fuse => "FUSE",
        };
        Some(format!("it lies on {kind}: whether a power loss takes what was stored last is up to that"))
    }
}

/// True if this says that a file system has no way to sync a folder: such ones make names durable in their own time.
pub(super) fn has_no_sync(e: Errno) -> bool {
    // SMB servers deny a flush of what is open for reading, as folders are
    let lacking =
        [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF, Errno::ISDIR, Errno::ACCESS];
    lacking.contains(&e) || e == Errno::NOTTY
}

/// Syncs a folder, where that can be done.
pub(super) fn sync_folder(folder: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        Err(e) if has_no_sync(e) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::{FileSystem, has_no_sync};
    use rustix::io::Errno;
    use std::time::Duration;

    #[test]
    fn what_lies_elsewhere_is_said() {
        assert_eq!(FileSystem::of_magic(0xEF53), FileSystem::Disk);
        for (magic, word) in [(0x6969, "NFS"), (0xFE53_4D42, "SMB"), (0xFF53_4D42, "SMB"), (0x6573_5546, "FUSE")] {
            let found = FileSystem::of_magic(magic);
            assert!(found.caveat().is_some_and(|text| text.contains(word)), "{word}: {found:?}");
            assert!(found.listing_lag() >= Duration::from_mins(1), "{word}");
        }
        assert_eq!((FileSystem::Disk.caveat(), FileSystem::Disk.listing_lag()), (None, Duration::ZERO));
    }

    #[test]
    fn a_failed_sync_is_no_missing_one() {
        for lacking in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF, Errno::ACCESS, Errno::ISDIR] {
            assert!(has_no_sync(lacking), "{lacking}");
        }
        for failed in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::STALE, Errno::ROFS] {
            assert!(!has_no_sync(failed), "{failed}");
        }
    }
}
