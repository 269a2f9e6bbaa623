//! Copies a tree from walker to target, the way backup and restore do it, and the zoo with it.

use crate::promises::is_failure;
use crate::zoo;
use std::io::Read;
use std::path::{Path, PathBuf};
use testkit::compare::compare;
use vault::source::{Directory, EntryKind, Event, Options as SourceOptions, Skip};
use vault::target::{Entered, FileSlot, Note, Options, Placement, Target};
use vault_format::id::BlobId;
use vault_format::list::{Content, ListRoot};
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// What a copy had to say.
#[derive(Debug, Default)]
pub struct Told {
    pub skipped: Vec<(PathBuf, Skip)>,
    pub failed: Vec<PathBuf>,
    pub notes: Vec<Note>,
    pub placements: Vec<(String, &'static str)>,
}

fn blob() -> BlobId {
    BlobId([0; 32])
}

pub fn directory(name: &[u8], metadata: Metadata) -> Node {
    let root = TreeRoot { id: blob(), bytes: 0, count: 0 };
    Node { name: name.to_vec(), kind: NodeKind::Directory(root), metadata }
}

pub fn file(name: &[u8], bytes: u64, metadata: Metadata) -> Node {
    let content = match bytes {
        0 => Content::Inline(Vec::new()),
        bytes => Content::List(ListRoot { id: blob(), bytes, count: 1 }),
    };
    Node { name: name.to_vec(), kind: NodeKind::File { size: bytes, content, holes: Vec::new() }, metadata }
}

/// Copies; all files are finished only at the end, out of order.
pub fn copy(from: &[PathBuf], to: &Path, source: &SourceOptions, options: Options) -> Told {
    let mut told = Told::default();
    let mut walk = Directory::open(from, source).unwrap();
    let mut target = Target::open(to, options).unwrap();
    let mut pending: Vec<(FileSlot, Node)> = Vec::new();
    let mut left_below = 0usize;
    for event in walk.by_ref() {
        match event {
            Event::Enter { .. } if left_below > 0 => left_below += 1,
            Event::Leave if left_below > 0 => left_below -= 1,
            Event::Entry(_) if left_below > 0 => {}
            Event::Enter { name, metadata } => {
                if target.enter(&directory(&name, metadata)).unwrap() == Entered::Left {
                    left_below = 1;
                }
            }
            Event::Leave => target.leave().unwrap(),
            Event::Skipped { path, why } => told.skipped.push((path, why)),
            Event::Failed { path, .. } | Event::Lacking { path, .. } => told.failed.push(path),
            Event::Entry(mut entry) => {
                let mut bytes = Vec::new();
                let kind = match entry.kind.clone() {
                    EntryKind::File { .. } => {
                        let Ok(mut reader) = entry.open() else {
                            told.failed.push(entry.path());
                            continue;
                        };
                        reader.read_to_end(&mut bytes).unwrap();
                        let end = reader.finish().unwrap();
                        assert!(!end.changed);
                        let content = file(b"x", bytes.len() as u64, Metadata::default()).kind;
                        let NodeKind::File { content, .. } = content else { unreachable!() };
                        NodeKind::File { size: end.size, content, holes: end.holes }
                    }
                    EntryKind::Symlink(target) => NodeKind::Symlink(target),
                    EntryKind::Fifo => NodeKind::Fifo,
                    EntryKind::CharDevice(major, minor) => NodeKind::CharDevice(major, minor),
                    EntryKind::BlockDevice(major, minor) => NodeKind::BlockDevice(major, minor),
                };
                let node = Node { name: entry.name, kind, metadata: entry.metadata };
                let what = match target.place(&node).unwrap() {
                    Placement::Write(slot) => {
                        write(&slot, &node, &bytes);
                        pending.push((slot, node.clone()));
                        "write"
                    }
                    Placement::Created => "created",
                    Placement::Same => "same",
                    Placement::Mended => "mended",
                    Placement::Left => "left",
                    Placement::Linked => "linked",
                    Placement::Omitted => "omitted",
                    Placement::Planned => "planned",
                };
                if told.placements.len() < 1000 {
                    told.placements.push((String::from_utf8_lossy(&node.name).into_owned(), what));
                }
            }
        }
    }
    for (slot, node) in pending.into_iter().rev() {
        assert!(slot.finish(&node).unwrap());
    }
    told.notes = target.finish(Some(walk.root())).unwrap().0;
    told
}

fn write(slot: &FileSlot, node: &Node, mut bytes: &[u8]) {
    let NodeKind::File { size, holes, .. } = &node.kind else { return };
    let mut offset = 0;
    let mut holes = holes.iter().peekable();
    while offset < *size {
        let end = holes.peek().map_or(*size, |hole| hole.offset);
        let (now, rest) = bytes.split_at((end - offset) as usize);
        slot.write_at(offset, now).unwrap();
        bytes = rest;
        offset = holes.next().map_or(end, |hole| hole.offset + hole.length);
    }
}

fn zoo_comes_back() {
    let is_root = rustix::process::geteuid().is_root();
    let place = tempfile::tempdir().unwrap();
    let (from, to, hidden) = (place.path().join("from"), place.path().join("to"), place.path().join("hidden"));
    std::fs::create_dir(&from).unwrap();
    zoo::build(&from, &zoo::Zoo::default());
    let told = copy(std::slice::from_ref(&from), &to, &SourceOptions::default(), Options::default());
    assert_eq!(told.skipped, [(from.join("socket"), Skip::Socket)]);
    let faults: Vec<&Note> = told.notes.iter().filter(|note| is_failure(note)).collect();
    assert!(faults.is_empty(), "{faults:?}");
    if is_root {
        assert!(told.failed.is_empty(), "{:?}", told.failed);
    } else {
        assert_eq!(told.failed, [from.join("unreadable")]);
        std::fs::remove_file(from.join("unreadable")).unwrap();
    }
    std::fs::remove_file(from.join("socket")).unwrap();
    zoo::set_mtime(&from, 1_100_000_000, 2);
    let differences = compare(&from, &to);
    assert!(differences.is_empty(), "{differences:#?}");
    // A second time everything is there already.
    let again = copy(std::slice::from_ref(&from), &to, &SourceOptions::default(), Options::default());
    let odd: Vec<_> = again.placements.iter().filter(|(_, what)| *what != "same").collect();
    assert!(odd.is_empty() && again.notes.is_empty(), "{odd:?} {:?}", again.notes);
    assert!(compare(&from, &to).is_empty());
    // And all of it goes again, with what an ordinary user has closed to himself.
    std::fs::create_dir(&hidden).unwrap();
    let options = Options { delete_extra: true, ..Options::default() };
    let gone = copy(std::slice::from_ref(&hidden), &to, &SourceOptions::default(), options);
    assert!(gone.notes.iter().all(|note| !is_failure(note)), "{:?}", gone.notes);
    assert!(compare(&hidden, &to).is_empty());
    copy(&[hidden], &from, &SourceOptions::default(), options);
}

#[test]
fn the_zoo_comes_back() {
    zoo_comes_back();
}

/// Copies a program that is started next. Another process does it: while it is open for writing here, what another test
/// starts inherits that for a moment, and then the system refuses to run it ("text file busy").
pub fn copy_program(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Runs a test of this binary as a user who is not root: here, if nobody is.
pub fn as_ordinary_user(test: &str, run: impl FnOnce()) {
    if !rustix::process::geteuid().is_root() {
        return run();
    }
    let program = std::env::current_exe().unwrap();
    let place = tempfile::tempdir().unwrap();
    let copied = place.path().join("files");
    copy_program(&program, &copied);
    for path in [place.path(), copied.as_path()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copied)
        .args(["--exact", test])
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_zoo_of_an_ordinary_user_comes_back() {
    as_ordinary_user("copy::the_zoo_comes_back", zoo_comes_back);
}
