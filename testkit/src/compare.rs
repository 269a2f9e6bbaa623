//! Compares two trees on disk in everything that a restore brings back: names, types, content, permissions, owners,
//! modification times, link groups, link targets, attributes, device numbers, holes. It shares no code with vault. It
//! walks over handles, so that paths of any length work.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One difference: where, and what.
pub type Difference = (String, String);

/// Link groups of both sides must be the same sets of names.
#[derive(Default)]
struct Comparer {
    left: HashMap<(u64, u64), BTreeSet<String>>,
    right: HashMap<(u64, u64), BTreeSet<String>>,
    out: Vec<Difference>,
}

struct Level {
    path: String,
    names: std::vec::IntoIter<Vec<u8>>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// All differences between two directories.
pub fn compare(left: &Path, right: &Path) -> Vec<Difference> {
    let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap();
    let (mut left, mut right) = (open(left), open(right));
    let mut comparer = Comparer::default();
    comparer.metadata("", left.as_fd(), right.as_fd(), b".");
    let mut stack = vec![comparer.level(String::new(), left.as_fd(), right.as_fd())];
    while let Some(level) = stack.last_mut() {
        let Some(name) = level.names.next() else {
            stack.pop();
            if !stack.is_empty() {
                (left, right) = (down(left.as_fd(), b".."), down(right.as_fd(), b".."));
            }
            continue;
        };
        let path = format!("{}/{}", level.path, name.escape_ascii());
        if comparer.entry(&path, left.as_fd(), right.as_fd(), &name) {
            (left, right) = (down(left.as_fd(), &name), down(right.as_fd(), &name));
            stack.push(comparer.level(path, left.as_fd(), right.as_fd()));
        }
    }
    let groups = |map: &HashMap<_, BTreeSet<String>>| map.values().cloned().collect::<BTreeSet<_>>();
    let (left, right) = (groups(&comparer.left), groups(&comparer.right));
    for group in left.symmetric_difference(&right) {
        comparer.out.push((format!("{group:?}"), "link group".into()));
    }
    comparer.out
}

fn down(directory: BorrowedFd<'_>, name: &[u8]) -> OwnedFd {
    rustix::fs::openat(directory, name, DIRECTORY, Mode::empty()).unwrap()
}

fn list(directory: BorrowedFd<'_>) -> BTreeSet<Vec<u8>> {
    let entries = rustix::fs::Dir::read_from(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_bytes().to_vec());
    names.filter(|name| name != b"." && name != b"..").collect()
}

fn attributes(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut buffer = vec![0u8; 65536];
    let length = rustix::fs::llistxattr(&path, &mut buffer[..]).unwrap_or(0);
    let names: BTreeSet<Vec<u8>> =
        buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    let value = |name: &Vec<u8>| {
        let mut value = vec![0u8; 65536];
        let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap_or(0);
        value.truncate(length);
        value
    };
    names.iter().map(|name| (name.clone(), value(name))).collect()
}

impl Comparer {
    fn level(&mut self, path: String, left: BorrowedFd<'_>, right: BorrowedFd<'_>) -> Level {
        let (left, right) = (list(left), list(right));
        for name in left.symmetric_difference(&right) {
            let what = if left.contains(name) { "only left" } else { "only right" };
            self.out.push((format!("{path}/{}", name.escape_ascii()), what.into()));
        }
        let names: Vec<Vec<u8>> = left.intersection(&right).cloned().collect();
        Level { path, names: names.into_iter() }
    }

    fn differ<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, what: &str, left: T, right: T) {
        if left != right {
            let mut text = String::new();
            let _ = write!(text, "{what}: {left:?} and {right:?}");
            text.truncate(text.char_indices().nth(300).map_or(text.len(), |(place, _)| place));
            self.out.push((path.to_owned(), text));
        }
    }

    fn metadata(&mut self, path: &str, left: BorrowedFd<'_>, right: BorrowedFd<'_>, name: &[u8]) -> (Stat, Stat) {
        let stat = |directory| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let (one, two) = (stat(left), stat(right));
        self.differ(path, "type", one.st_mode & 0o170_000, two.st_mode & 0o170_000);
        self.differ(path, "mode", one.st_mode & 0o7777, two.st_mode & 0o7777);
        self.differ(path, "uid", one.st_uid, two.st_uid);
        self.differ(path, "gid", one.st_gid, two.st_gid);
        self.differ(path, "mtime", (one.st_mtime, one.st_mtime_nsec), (two.st_mtime, two.st_mtime_nsec));
        self.differ(path, "device", one.st_rdev, two.st_rdev);
        self.differ(path, "xattr", attributes(left, name), attributes(right, name));
        (one, two)
    }

    /// True for two directories, which are to be gone into.
    fn entry(&mut self, path: &str, left: BorrowedFd<'_>, right: BorrowedFd<'_>, name: &[u8]) -> bool {
        let (one, two) = self.metadata(path, left, right, name);
        let kinds = (FileType::from_raw_mode(one.st_mode), FileType::from_raw_mode(two.st_mode));
        if kinds.0 != FileType::Directory && one.st_nlink > 1 {
            self.left.entry((one.st_dev, one.st_ino)).or_default().insert(path.to_owned());
        }
        if kinds.1 != FileType::Directory && two.st_nlink > 1 {
            self.right.entry((two.st_dev, two.st_ino)).or_default().insert(path.to_owned());
        }
        match kinds {
            (FileType::Directory, FileType::Directory) => return true,
            (FileType::Symlink, FileType::Symlink) => {
                let target = |directory| rustix::fs::readlinkat(directory, name, Vec::new()).unwrap();
                self.differ(path, "target", target(left), target(right));
            }
            (FileType::RegularFile, FileType::RegularFile) => {
                self.differ(path, "size", one.st_size, two.st_size);
                // A mebibyte of slack: file systems round and keep attributes in blocks.
                if (one.st_blocks - two.st_blocks).abs() > 2048 {
                    self.differ(path, "holes", one.st_blocks, two.st_blocks);
                }
                self.content(path, left, right, name);
            }
            _ => {}
        }
        false
    }

    fn content(&mut self, path: &str, left: BorrowedFd<'_>, right: BorrowedFd<'_>, name: &[u8]) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |directory| rustix::fs::openat(directory, name, flags, Mode::empty());
        let (one, two) = match (open(left), open(right)) {
            (Ok(one), Ok(two)) => (one, two),
            (Err(one), Err(two)) if one == two => return,
            other => return self.differ(path, "readable", other.0.is_ok(), other.1.is_ok()),
        };
        // most files are small, and there are thousands
        let size = rustix::fs::fstat(&one).map_or(0, |stat| usize::try_from(stat.st_size).unwrap());
        let bytes = (size + 1).min(1 << 20);
        let (mut a, mut b) = (vec![0u8; bytes], vec![0u8; bytes]);
        let mut offset = 0;
        loop {
            // what is a hole in both is the same
            offset = data(&one, offset).min(data(&two, offset));
            if offset == u64::MAX {
                return;
            }
            let (m, n) = (fill(&one, &mut a, offset), fill(&two, &mut b, offset));
            if a[..m] != b[..n] {
                return self.out.push((path.to_owned(), format!("content after byte {offset}")));
            }
            if m == 0 {
                return;
            }
            offset += m as u64;
        }
    }
}

/// Where the next data begins; of a file that can't tell, here.
fn data(file: &OwnedFd, offset: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(at) => at,
        Err(Errno::NXIO) => u64::MAX,
        Err(_) => offset,
    }
}

fn fill(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64).unwrap() {
            0 => break,
            length => done += length,
        }
    }
    done
}
