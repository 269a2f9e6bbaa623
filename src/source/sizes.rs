//! Whether a file system knows how long its files are before they are read. Those that make content up as it is read
//! say 0, or anything; a few of their files have no end at all.

use std::os::fd::BorrowedFd;

/// What the size that `stat` tells is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizes {
    /// It is the number of bytes, and a change of content shows in it or in the times.
    Known,
    /// It may be anything.
    Unknown,
    /// The kernel makes up what is read; some files never end.
    MadeUp,
}

/// Magic numbers of file systems that keep their files, as in `statfs(2)`: ext, xfs, btrfs, tmpfs, ramfs, overlayfs,
/// f2fs, zfs, bcachefs, reiserfs, jfs, nilfs, fat, exfat, ntfs3, hfs, hfs+, iso9660, udf, squashfs, erofs, nfs, ceph,
/// smb, smb2.
const KEEPING: &[u64] = &[
    0xef53, 0x58465342, 0x9123683e, 0x1021994, 0x858458f6, 0x794c7630, 0xf2f52010, 0x2fc12fc1, 0xca451a4e, 0x52654973,
    0x3153464a, 0x3434, 0x4d44, 0x2011bab0, 0x7366746e, 0x4244, 0x482b, 0x9660, 0x15013346, 0x73717368, 0xe0f5e1e2,
    0x6969, 0xc36400, 0xff534d42, 0xfe534d42,
];

/// Those of the kernel's own: proc, sysfs, debugfs, tracefs, securityfs, configfs, cgroup, cgroup2, pstore, bpf,
/// selinux, binfmt, efivarfs.
const MAKING_UP: &[u64] = &[
    0x9fa0, 0x62656572, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0x27e0eb, 0x63677270, 0x6165676c, 0xcafe4a11,
    0xf97cff8c, 0x42494e4d, 0xde5e81e4,
];

/// Asks the file system of an open directory.
pub fn sizes_of(directory: BorrowedFd<'_>) -> Sizes {
    let Ok(found) = rustix::fs::fstatfs(directory) else { return Sizes::Unknown };
    match u64::try_from(found.f_type) {
        Ok(magic) if KEEPING.contains(&(magic & 0xffff_ffff)) => Sizes::Known,
        Ok(magic) if MAKING_UP.contains(&(magic & 0xffff_ffff)) => Sizes::MadeUp,
        _ => Sizes::Unknown,
    }
}
