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
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x5265_4973,
    0x3153_464a,
    0x3434,
    0x4d44,
    0x2011_bab0,
    0x7366_746e,
    0x4244,
    0x482b,
    0x9660,
    0x1501_3346,
    0x7371_7368,
    0xe0f5_e1e2,
    0x6969,
    0x00c3_6400,
    0xff53_4d42,
    0xfe53_4d42,
];

/// Those of the kernel's own: proc, sysfs, debugfs, tracefs, securityfs, configfs, cgroup, cgroup2, pstore, bpf,
/// selinux, binfmt, efivarfs.
const MAKING_UP: &[u64] = &[
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0x0027_e0eb,
    0x6367_7270,
    0x6165_676c,
    0xcafe_4a11,
    0xf97c_ff8c,
    0x4249_4e4d,
    0xde5e_81e4,
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
