//! Builds a folder with one of everything that a file system can hold and that backup tools get wrong. What only root
//! may make is made by root only; what an ordinary user can't read is made for the ordinary user.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What a zoo holds.
pub struct Zoo {
    /// Files of the large folder.
    pub files: usize,
    /// Bytes of the sparse file.
    pub sparse: u64,
    /// Depth of the deep folder.
    pub depth: usize,
}

impl Default for Zoo {
    fn default() -> Self {
        let files = std::env::var("VAULT_TEST_FILES").ok().and_then(|files| files.parse().ok());
        Self { files: files.unwrap_or(1500), sparse: 4 << 30, depth: 1000 }
    }
}

/// An ACL: owner rwx, user 1 r-x, group r-x, mask r-x, others nothing, as the kernel stores it.
pub fn acl() -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, bits, id) in [(1u16, 7u16, none), (2, 5, 1), (4, 5, none), (16, 5, none), (32, 0, none)] {
        out.extend(tag.to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Fills a directory that exists and is empty. False parts are not there: attributes that the file system refuses.
pub fn build(root: &Path, zoo: &Zoo) {
    let is_root = rustix::process::geteuid().is_root();
    let path = |name: &str| root.join(name);
    fs::write(path("plain"), b"plain content").unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("large"), (0..3_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    fs::create_dir(path("links")).unwrap();
    fs::write(path("links/one"), b"one inode").unwrap();
    fs::hard_link(path("links/one"), path("links/two")).unwrap();
    fs::hard_link(path("links/one"), path("another")).unwrap();
    symlink("nowhere/at/all", path("dangling")).unwrap();
    symlink("../../../etc", path("links/upward")).unwrap();
    symlink("/", path("links/root")).unwrap();
    fs::hard_link(path("dangling"), path("links/dangling too")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    drop(UnixListener::bind(path("socket")).unwrap());
    fs::create_dir(path("empty folder")).unwrap();
    attributes(root);
    fs::set_permissions(path("plain"), PermissionsExt::from_mode(0o6755)).unwrap();
    sparse(&path("sparse"), zoo.sparse);
    names(root);
    deep(root, zoo.depth);
    fs::create_dir(path("many")).unwrap();
    let many = File::open(path("many")).unwrap();
    for number in 0..zoo.files {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o640);
        let file = rustix::fs::openat(&many, format!("file {number:06}"), flags, mode).unwrap();
        if number % 16 == 0 {
            rustix::io::write(&file, number.to_string().as_bytes()).unwrap();
        }
    }
    for (name, seconds) in [("1960", -315_619_200i64 + 12345), ("2200", 7_258_118_400 + 7)] {
        fs::write(path(name), name).unwrap();
        set_mtime(&path(name), seconds, 123_456_789);
    }
    set_mtime(&path("dangling"), -1, 999_999_999);
    fs::create_dir(path("read-only")).unwrap();
    fs::create_dir(path("read-only/inner")).unwrap();
    fs::write(path("read-only/inner/file"), b"inside").unwrap();
    fs::set_permissions(path("read-only/inner"), PermissionsExt::from_mode(0o500)).unwrap();
    fs::set_permissions(path("read-only"), PermissionsExt::from_mode(0o555)).unwrap();
    fs::write(path("unreadable"), b"secret").unwrap();
    fs::set_permissions(path("unreadable"), PermissionsExt::from_mode(0o000)).unwrap();
    if is_root {
        let mode = Mode::from_raw_mode(0o660);
        for (name, kind) in [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
            let device = rustix::fs::makedev(259, 1_000_000 % 256 + 300);
            rustix::fs::mknodat(rustix::fs::CWD, path(name), kind, mode, device).unwrap();
        }
        std::os::unix::fs::chown(path("1960"), Some(12345), Some(54321)).unwrap();
        std::os::unix::fs::lchown(path("links/upward"), Some(1), Some(2)).unwrap();
    }
    set_mtime(&path("links"), 1_000_000_000, 1);
    set_mtime(root, 1_100_000_000, 2);
}

fn attributes(root: &Path) {
    let set = |name: &str, key: &str, value: &[u8]| {
        let done = rustix::fs::lsetxattr(root.join(name), key, value, XattrFlags::empty());
        assert!(matches!(done, Ok(()) | Err(rustix::io::Errno::OPNOTSUPP)), "{name} {key}: {done:?}");
    };
    fs::write(root.join("attributes"), b"attributes").unwrap();
    set("attributes", "user.vault", b"\x00\xff raw");
    set("attributes", "user.empty", b"");
    set("attributes", "user.long", &[7; 2000]);
    set("attributes", "system.posix_acl_access", &acl());
    set("empty folder", "system.posix_acl_access", &acl());
    set("empty folder", "system.posix_acl_default", &acl());
    set("empty folder", "user.folder", b"yes");
    if rustix::process::geteuid().is_root() {
        set("dangling", "trusted.vault", b"on a link");
        set("pipe", "trusted.vault", b"on a pipe");
    }
}

fn sparse(path: &Path, size: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let write = |bytes: &[u8], offset| assert_eq!(rustix::io::pwrite(&file, bytes, offset).unwrap(), bytes.len());
    write(&[1; 70_000], 1 << 20);
    write(&[2; 5], size / 2);
    write(&[3; 4096], size / 4 * 3);
}

fn names(root: &Path) {
    let folder = root.join("names");
    fs::create_dir(&folder).unwrap();
    let long = [b'n'; 255];
    let names: [&[u8]; 8] =
        [b"\xff\xfe not utf-8", &long, b"-rf", b" space ", b"new\nline", b"*", "\u{fc}ml\u{e4}ut".as_bytes(), b"a.b"];
    for name in names {
        fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    // Sorted as bytes, `a` stands before `a.b`, and `a/...` in between.
    fs::create_dir(folder.join("a")).unwrap();
    fs::write(folder.join("a/z"), b"z").unwrap();
}

/// A chain of directories with a file at the end of it, and a wider one whose path is longer than `PATH_MAX`.
fn deep(root: &Path, depth: usize) {
    for (name, part, depth) in [("deep", "d".to_owned(), depth), ("long", "l".repeat(250), 20)] {
        fs::create_dir(root.join(name)).unwrap();
        let mut here: OwnedFd = File::open(root.join(name)).unwrap().into();
        for level in 0..depth {
            rustix::fs::mkdirat(here.as_fd(), part.as_str(), Mode::RWXU).unwrap();
            // Something before and after the directory keeps the way back in use.
            for (beside, every) in [("a", 100), ("z", 50)] {
                if level % every == 0 {
                    touch(&here, beside);
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            here = rustix::fs::openat(here.as_fd(), part.as_str(), flags, Mode::empty()).unwrap();
        }
        touch(&here, "bottom");
    }
}

fn touch(directory: &OwnedFd, name: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(&file, name.as_bytes()).unwrap();
}
