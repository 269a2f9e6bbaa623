//! What the target of a restore does with hostile entries. The bytes choose what lies in the target beforehand, which
//! entries come in which order, and what somebody else changes in between. Whatever they choose: nothing beside the
//! target changes, and a last run that removes everything extra leaves it empty.
//! All names and links that can be chosen end in one folder, and the first bad name that is accepted ends the run: a
//! target that breaks its promise must not break the machine that it is tested on.
#![allow(clippy::unwrap_used, reason = "what the harness itself does must work")]

use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vault::target::{Entered, FileSlot, Options, Overwrite, Placement, Target};
use vault_format::id::BlobId;
use vault_format::list::{ChunkRef, Content};
use vault_format::tree::{Extent, Metadata, Node, NodeKind, Time, TreeRoot, Xattr};

/// Steps of one input; libFuzzer's inputs are longer than what they do.
const STEPS_MAX: usize = 400;
/// Deep enough that a target lets go of handles on the way down and opens them again on the way up.
const DEPTH_MAX: usize = 100;
/// More folders than a target keeps handles of.
const CROWD: u32 = 70;

/// How often something was done, so that a replay can tell that its corpus does anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub entered: u32,
    pub placed: u32,
    pub written: u32,
    pub left: u32,
    pub refused: u32,
    pub planted: u32,
}

/// The bytes of an input, one decision after the other; an exhausted one decides for 0.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn some(&mut self) -> &'a [u8] {
        let length = self.below(24).min(self.0.len());
        let (part, rest) = self.0.split_at(length);
        self.0 = rest;
        part
    }
}

/// A folder with the target of one run and everything that must stay as it is.
pub struct Place {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, State>,
}

/// All that is to stay of one entry.
#[derive(PartialEq, Eq, Debug)]
struct State {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    content: Vec<u8>,
    attributes: Vec<u8>,
}

impl Place {
    /// In memory where that is possible.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let outside = folder.path().join("outside");
        for folder in ["folder/below", "empty", "closed"] {
            fs::create_dir_all(outside.join(folder)).unwrap();
        }
        for file in ["file", "folder/a", "folder/below/b", "closed/c"] {
            fs::write(outside.join(file), file).unwrap();
        }
        symlink("file", outside.join("link")).unwrap();
        fs::set_permissions(outside.join("file"), PermissionsExt::from_mode(0o640)).unwrap();
        fs::set_permissions(outside.join("closed"), PermissionsExt::from_mode(0o711)).unwrap();
        fs::create_dir(folder.path().join("target")).unwrap();
        let before = states(folder.path());
        Self { folder, before }
    }

    /// Restores what the bytes say, more than once if they go on.
    pub fn run(&self, bytes: &[u8]) -> Tally {
        let (mut bytes, mut tally) = (Bytes(bytes), Tally::default());
        for _ in 0..bytes.below(8) {
            tally.planted += u32::from(plant(&mut bytes, &self.target(), &self.outside()));
        }
        for _ in 0..3 {
            self.restore(&mut bytes, &mut tally);
            self.check();
            if bytes.0.is_empty() {
                break;
            }
        }
        self.empty();
        self.check();
        tally
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn restore(&self, bytes: &mut Bytes<'_>, tally: &mut Tally) {
        let (path, outside) = (self.target(), self.outside());
        let style = bytes.byte();
        let overwrite =
            [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always, Overwrite::Always][usize::from(style & 3)];
        let options = Options {
            overwrite,
            delete_extra: style & 4 != 0,
            dry_run: style & 0x18 == 0x18,
            numeric_owner: style & 0x20 != 0,
            nonce: 0,
            name_all: false,
        };
        let Ok(target) = Target::open(&path, options) else { return };
        let slots = Vec::new();
        let mut run = Run { bytes, steps: 0, tally, outside: &outside, path: &path, target, slots, depth: 0 };
        while run.steps < STEPS_MAX && !run.bytes.0.is_empty() && run.step() {
            run.steps += 1;
        }
        for (slot, node) in std::mem::take(&mut run.slots) {
            run.tally.written += u32::from(slot.finish(&node).unwrap_or(false));
        }
        let root = (style & 0x40 != 0).then(|| metadata(run.bytes));
        let _ = run.target.finish(root.as_ref());
    }

    /// Removes everything through the target itself, and makes it anew.
    fn empty(&self) {
        let path = self.target();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        // another run than those that left something behind
        let options = Options { delete_extra: true, nonce: 1, ..Options::default() };
        let notes = Target::open(&path, options).unwrap().finish(None).unwrap().0;
        let left = fs::read_dir(&path).unwrap().count();
        assert!(left == 0, "{left} entries were not removed: {notes:?}");
        fs::remove_dir(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }

    fn check(&self) {
        let after = states(self.folder.path());
        assert_eq!(self.before, after, "something outside of the target changed");
    }
}

/// Everything in the folder but what is in the target, and the times of the folder that the target is in.
fn states(folder: &Path) -> BTreeMap<PathBuf, State> {
    let mut states = BTreeMap::new();
    let mut paths = vec![folder.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let mut attributes = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut attributes[..]).unwrap_or_default();
        attributes.truncate(length);
        let content = if metadata.is_dir() {
            if path != folder.join("target") {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            // Nothing else is there; if it came, it must not be opened.
            Vec::new()
        };
        let is_around = path == folder || path == folder.join("target");
        let state = State {
            // The target itself takes the mode and owner of the root of a snapshot.
            mode: if path == folder.join("target") { 0 } else { metadata.mode() },
            owner: if path == folder.join("target") { (0, 0) } else { (metadata.uid(), metadata.gid()) },
            modified: if is_around { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) },
            content,
            attributes: if is_around { Vec::new() } else { attributes },
        };
        states.insert(path, state);
    }
    states
}

/// The first names that unfinished entries get in a run without a random number.
fn temporary(number: usize) -> Vec<u8> {
    format!(".vault-{:016x}-{number:x}", 0).into_bytes()
}

/// Few names, so that they meet again.
fn plain_name(bytes: &mut Bytes<'_>) -> Vec<u8> {
    const PLAIN: [&[u8]; 5] = [b"a", b"b", b"folder", b"file", b"\xff"];
    match bytes.below(8) {
        number @ 0..5 => PLAIN[number].to_vec(),
        number => temporary(number - 5),
    }
}

fn hostile_name(bytes: &mut Bytes<'_>, outside: &Path) -> Vec<u8> {
    const HOSTILE: [&[u8]; 8] =
        [b"..", b".", b"", b"../outside/file", b"a/b", b"a/../../outside/x", b"a\0b", b"../outside/"];
    match bytes.below(32) {
        number @ 0..8 => HOSTILE[number].to_vec(),
        8 => outside.join("file").into_os_string().into_vec(),
        9 => outside.join("folder").into_os_string().into_vec(),
        10 => without_slash(bytes.some()),
        11 => vec![b'n'; 255 + bytes.below(3)],
        _ => plain_name(bytes),
    }
}

/// What a name has to be; asked here and not of the code that is tested.
fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// A component, so that no path can be made up that leads far away.
fn without_slash(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if *byte == b'/' { b'|' } else { *byte }).collect()
}

fn link_target(bytes: &mut Bytes<'_>, outside: &Path) -> Vec<u8> {
    match bytes.below(12) {
        0 | 1 => b"../outside".to_vec(),
        2 => b"../outside/folder".to_vec(),
        3 => b".".to_vec(),
        4 => b"a".to_vec(),
        5 | 6 => outside.as_os_str().as_bytes().to_vec(),
        7 => outside.join("file").into_os_string().into_vec(),
        8 => outside.join("folder").into_os_string().into_vec(),
        9 => outside.join("new").into_os_string().into_vec(),
        10 => outside.join("closed").into_os_string().into_vec(),
        // Not upwards: a link upwards, followed, could be made again one folder further up.
        _ => [b"n", without_slash(bytes.some()).as_slice()].concat(),
    }
}

fn metadata(bytes: &mut Bytes<'_>) -> Metadata {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let style = bytes.byte();
    let (uid, gid) = [own, own, (12_345, 54_321), (u32::MAX, 0)][usize::from(style & 3)];
    let user: &[u8] = [b"".as_slice(), b"root", b"nobody", b"\xff"][usize::from(style >> 2 & 3)];
    let link_group = u64::from(style >> 4 & 3);
    let mode = u32::from(bytes.byte()) << 8 | u32::from(bytes.byte());
    let seconds = [0, 5, -1, i64::MAX][bytes.below(4)];
    let mut xattrs = Vec::new();
    if style & 0x40 != 0 {
        let name: &[u8] =
            [b"user.x".as_slice(), b"system.posix_acl_access", b"system.posix_acl_default", b"odd"][bytes.below(4)];
        xattrs.push(Xattr { name: name.to_vec(), value: bytes.some().to_vec() });
    }
    // The highest bit asks for a mode that no snapshot may hold.
    let mode = if style & 0x80 == 0 { mode & 0o7777 } else { mode };
    let mtime = Time { seconds, nanoseconds: 6 };
    Metadata { mode, uid, gid, user: user.to_vec(), mtime, link_group, xattrs, ..Metadata::default() }
}

fn bytes_of(length: u32) -> Content {
    let chunk = ChunkRef { id: BlobId([1; 32]), length };
    Content::Inline(if length == 0 { Vec::new() } else { vec![chunk] })
}

fn node(bytes: &mut Bytes<'_>, outside: &Path) -> Node {
    let name = hostile_name(bytes, outside);
    let kind = match bytes.below(8) {
        0 => NodeKind::Symlink(link_target(bytes, outside)),
        1 => NodeKind::Fifo,
        2 => NodeKind::CharDevice(bytes.byte().into(), bytes.byte().into()),
        3 => NodeKind::BlockDevice(bytes.byte().into(), bytes.byte().into()),
        _ => {
            let length = bytes.below(8) as u32;
            let content = bytes_of(length);
            let hole = Extent { offset: u64::from(length), length: [0, 4096, u64::MAX >> 1][bytes.below(3)] };
            let size = hole.length.saturating_add(length.into());
            let holes = if hole.length == 0 { Vec::new() } else { vec![hole] };
            NodeKind::File { size, content, holes }
        }
    };
    Node { name, kind, metadata: metadata(bytes) }
}

fn directory(bytes: &mut Bytes<'_>, outside: &Path) -> Node {
    let name = hostile_name(bytes, outside);
    let root = TreeRoot { id: BlobId([2; 32]), bytes: 0, count: 0 };
    Node { name, kind: NodeKind::Directory(root), metadata: metadata(bytes) }
}

/// Where somebody else is at work: the target, or a folder of it that is no link.
fn somewhere(bytes: &mut Bytes<'_>, target: &Path) -> PathBuf {
    let mut path = target.to_owned();
    for _ in 0..bytes.below(4) {
        let next = path.join(std::ffi::OsString::from_vec(plain_name(bytes)));
        if next.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            path = next;
        }
    }
    path
}

/// Somebody else puts something in the way, or moves what is there. Only what is in the target, and in whatever way
/// fails where it fails.
fn plant(bytes: &mut Bytes<'_>, target: &Path, outside: &Path) -> bool {
    let folder = somewhere(bytes, target);
    let name = folder.join(std::ffi::OsString::from_vec(plain_name(bytes)));
    let what = bytes.below(9);
    if what < 8 && name.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) && fs::remove_file(&name).is_err() {
        return false;
    }
    match what {
        0 | 1 => symlink(std::ffi::OsString::from_vec(link_target(bytes, outside)), &name).is_ok(),
        2 => fs::hard_link(outside.join("file"), &name).is_ok(),
        3 => fs::create_dir(&name).is_ok(),
        4 => fs::write(&name, bytes.some()).is_ok(),
        5 => rustix::fs::mknodat(CWD, &name, FileType::Fifo, Mode::RUSR, 0).is_ok(),
        6 => fs::create_dir(&name).is_ok() && fs::set_permissions(&name, PermissionsExt::from_mode(0o000)).is_ok(),
        7 => {
            let flags = XattrFlags::empty();
            fs::create_dir(&name).is_ok() && rustix::fs::lsetxattr(&name, "user.planted", b"x", flags).is_ok()
        }
        _ => {
            let to = somewhere(bytes, target).join(std::ffi::OsString::from_vec(plain_name(bytes)));
            rustix::fs::renameat(CWD, &name, CWD, &to).is_ok()
        }
    }
}

/// One restore into what is there.
struct Run<'a, 'b> {
    bytes: &'a mut Bytes<'b>,
    steps: usize,
    tally: &'a mut Tally,
    outside: &'a Path,
    path: &'a Path,
    target: Target,
    slots: Vec<(FileSlot, Node)>,
    depth: usize,
}

impl Run<'_, '_> {
    /// Does what the next byte says; false at the end of this run.
    fn step(&mut self) -> bool {
        match self.bytes.below(16) {
            0 => return false,
            1..4 => {
                let node = directory(self.bytes, self.outside);
                if self.depth < DEPTH_MAX {
                    let entered = self.target.enter(&node);
                    assert!(entered.is_err() || is_component(&node.name), "entered {}", node.name.escape_ascii());
                    match entered {
                        Ok(Entered::Inside) => {
                            self.depth += 1;
                            self.tally.entered += 1;
                        }
                        Ok(Entered::Left | Entered::Link) => self.tally.left += 1,
                        Err(_) => self.tally.refused += 1,
                    }
                }
            }
            4 | 5 => {
                if self.target.leave().is_ok() {
                    self.depth -= 1;
                }
            }
            6..11 => {
                let node = node(self.bytes, self.outside);
                let placed = self.target.place(&node);
                assert!(placed.is_err() || is_component(&node.name), "placed {}", node.name.escape_ascii());
                match placed {
                    Ok(Placement::Write(slot)) => self.slots.push((slot, node)),
                    Ok(Placement::Left) => self.tally.left += 1,
                    Ok(_) => self.tally.placed += 1,
                    Err(_) => self.tally.refused += 1,
                }
            }
            11 | 12 => self.write(),
            13 if self.bytes.byte() & 15 == 0 => self.crowd(),
            13 => self.target.keep_extra(),
            _ => self.tally.planted += u32::from(plant(self.bytes, self.path, self.outside)),
        }
        true
    }

    /// Many more folders with a file, so that the target lets go of its handles and opens them again later.
    fn crowd(&mut self) {
        let metadata = Metadata { mode: 0o700, ..Metadata::default() };
        let file = NodeKind::File { size: 4, content: bytes_of(4), holes: Vec::new() };
        for number in 0..CROWD {
            let name = format!("crowd {number}").into_bytes();
            let root = TreeRoot { id: BlobId([2; 32]), bytes: 0, count: 0 };
            let folder = Node { name, kind: NodeKind::Directory(root), metadata: metadata.clone() };
            if !matches!(self.target.enter(&folder), Ok(Entered::Inside)) {
                continue;
            }
            let node = Node { name: b"file".to_vec(), kind: file.clone(), metadata: metadata.clone() };
            if let Ok(Placement::Write(slot)) = self.target.place(&node) {
                let _ = slot.write_at(0, b"mine");
            }
            let _ = self.target.leave();
        }
    }

    /// Writes to a pending file, finishes it, or drops it unfinished.
    fn write(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let (number, what) = (self.bytes.below(self.slots.len()), self.bytes.below(4));
        if what == 0 {
            self.slots.swap_remove(number);
            return;
        }
        let _ = self.slots[number].0.write_at(u64::from(self.bytes.byte() & 7), b"mine");
        if what > 1 {
            let (slot, node) = self.slots.swap_remove(number);
            self.tally.written += u32::from(slot.finish(&node).unwrap_or(false));
        }
    }
}
