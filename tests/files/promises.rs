//! Single promises: the comparer finds every kind of difference, the target stays inside, policies, excludes, changing
//! files, commands.

use crate::copy::{copy, directory, file};
use crate::zoo;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use testkit::compare::compare;
use vault::progress::Silent;
use vault::runtime::Runtime;
use vault::source::{
    Child, ChildFailure, Directory, EntryKind, Event, Excludes, Options as SourceOptions, Skip, Start,
};
use vault::target::{Entered, NoteKind, Options, Overwrite, Placement, Target};
use vault_format::snapshot::LeftOut;
use vault_format::tree::{Metadata, Time};

pub fn metadata() -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode: 0o644, uid, gid, mtime: Time { seconds: 5, nanoseconds: 6 }, ..Metadata::default() }
}

pub fn pair() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (left, right) = (place.path().join("left"), place.path().join("right"));
    fs::create_dir(&left).unwrap();
    fs::create_dir(&right).unwrap();
    (place, left, right)
}

#[test]
fn the_comparer_finds_every_difference() {
    type Change = fn(&Path);
    let is_root = rustix::process::geteuid().is_root();
    let mut changes: Vec<(&str, Change)> = vec![
        ("only right", |root| fs::write(root.join("new"), "").unwrap()),
        ("only left", |root| fs::remove_file(root.join("file")).unwrap()),
        ("type", |root| {
            fs::remove_file(root.join("file")).unwrap();
            fs::create_dir(root.join("file")).unwrap();
        }),
        ("content", |root| fs::write(root.join("file"), "other").unwrap()),
        ("size", |root| fs::write(root.join("file"), "longer content").unwrap()),
        ("mode", |root| fs::set_permissions(root.join("folder"), PermissionsExt::from_mode(0o711)).unwrap()),
        ("mtime", |root| zoo::set_mtime(&root.join("file"), 1, 2)),
        ("mtime", |root| zoo::set_mtime(&root.join("link"), 1, 2)),
        ("target", |root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("elsewhere", root.join("link")).unwrap();
        }),
        ("link group", |root| {
            fs::remove_file(root.join("two")).unwrap();
            fs::write(root.join("two"), "linked").unwrap();
        }),
        ("holes", |root| fs::write(root.join("sparse"), vec![0; 4 << 20]).unwrap()),
        ("xattr", |root| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(root.join("file"), "user.new", b"x", flags).unwrap();
        }),
        ("xattr", |root| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(root.join("file"), "system.posix_acl_access", &zoo::acl(), flags).unwrap();
        }),
    ];
    if is_root {
        changes.push(("uid", |root| std::os::unix::fs::lchown(root.join("link"), Some(7), None).unwrap()));
        changes.push(("gid", |root| std::os::unix::fs::chown(root.join("folder"), None, Some(7)).unwrap()));
        changes.push(("device", |root| {
            fs::remove_file(root.join("device")).unwrap();
            device(root, 9);
        }));
    }
    for (what, change) in changes {
        let (_place, left, right) = pair();
        for root in [&left, &right] {
            fs::write(root.join("file"), "bytes").unwrap();
            fs::create_dir(root.join("folder")).unwrap();
            symlink("somewhere", root.join("link")).unwrap();
            fs::write(root.join("one"), "linked").unwrap();
            fs::hard_link(root.join("one"), root.join("two")).unwrap();
            fs::File::create(root.join("sparse")).unwrap().set_len(4 << 20).unwrap();
            if is_root {
                device(root, 3);
            }
        }
        let align = |root: &Path| {
            for name in ["file", "folder", "link", "one", "two", "sparse", "device", ""] {
                if root.join(name).symlink_metadata().is_ok() {
                    zoo::set_mtime(&root.join(name), 1000, 0);
                }
            }
        };
        align(&left);
        align(&right);
        assert_eq!(compare(&left, &right), []);
        change(&right);
        let found = compare(&left, &right);
        assert!(found.iter().any(|(_, text)| text.starts_with(what)), "{what}: {found:?}");
    }
}

fn device(root: &Path, minor: u32) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let number = rustix::fs::makedev(1, minor);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, root.join("device"), kind, mode, number).unwrap();
}

#[test]
fn nothing_outside_the_target_changes() {
    for overwrite in [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always] {
        let (place, target, outside) = pair();
        fs::write(outside.join("file"), "precious").unwrap();
        fs::create_dir(outside.join("folder")).unwrap();
        let before = place.path().join("before");
        copy(std::slice::from_ref(&outside), &before, &SourceOptions::default(), Options::default());
        // Links wait where the snapshot has a directory, a file, and a temporary name.
        symlink(&outside, target.join("folder")).unwrap();
        symlink(outside.join("file"), target.join("file")).unwrap();
        symlink(outside.join("file"), target.join(".vault-0000000000000000-0")).unwrap();
        let options = Options { overwrite, delete_extra: true, ..Options::default() };
        let mut restore = Target::open(&target, options).unwrap();
        let entered = restore.enter(&directory(b"folder", metadata())).unwrap();
        assert_eq!(entered == Entered::Left, overwrite == Overwrite::Never);
        if entered == Entered::Inside {
            put(&mut restore, b"file", b"mine");
            restore.leave().unwrap();
        }
        put(&mut restore, b"file", b"mine");
        put(&mut restore, b"fresh", b"fresh");
        // Names that lead outside are refused.
        for name in [b"..".as_slice(), b".", b"a/b", b"/etc", b"", b"a\0b"] {
            assert!(restore.place(&file(name, 0, metadata())).is_err());
            assert!(restore.enter(&directory(name, metadata())).is_err());
        }
        restore.finish(None).unwrap();
        assert_eq!(compare(&before, &outside), []);
        assert_eq!(fs::read(target.join("fresh")).unwrap(), b"fresh");
        assert_eq!(target.join("file").symlink_metadata().unwrap().is_symlink(), overwrite == Overwrite::Never);
    }
}

#[test]
fn a_directory_replaced_by_a_link_meanwhile_leads_nowhere() {
    let (_place, target, outside) = pair();
    let mut restore = Target::open(&target, Options::default()).unwrap();
    restore.enter(&directory(b"folder", metadata())).unwrap();
    let Placement::Write(slot) = restore.place(&file(b"file", 4, metadata())).unwrap() else { panic!("no slot") };
    restore.leave().unwrap();
    // Far more directories than handles are kept, so that the folder has to be opened again.
    for number in 0..100u32 {
        restore.enter(&directory(format!("{number}").as_bytes(), metadata())).unwrap();
        put(&mut restore, b"f", b"x");
        restore.leave().unwrap();
    }
    fs::rename(target.join("folder"), target.join("moved")).unwrap();
    symlink(&outside, target.join("folder")).unwrap();
    let node = file(b"file", 4, metadata());
    assert!(slot.write_at(0, b"data").is_err() && slot.finish(&node).is_err());
    let notes = restore.finish(None).unwrap().0;
    assert!(notes.iter().any(is_fault));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// True if the target is not what was asked for.
pub fn is_failure(note: &vault::target::Note) -> bool {
    !matches!(note.kind, NoteKind::Deleted(_) | NoteKind::WouldDelete(_))
}

pub fn is_fault(note: &vault::target::Note) -> bool {
    matches!(note.kind, NoteKind::Fault(_))
}

fn put(target: &mut Target, name: &[u8], bytes: &[u8]) -> &'static str {
    let node = file(name, bytes.len() as u64, metadata());
    match target.place(&node).unwrap() {
        Placement::Write(slot) => {
            slot.write_at(0, bytes).unwrap();
            assert!(slot.finish(&node).unwrap());
            "written"
        }
        Placement::Left => "left",
        Placement::Same => "same",
        Placement::Planned => "planned",
        other => panic!("{other:?}"),
    }
}

#[test]
fn policies_decide_about_what_exists() {
    use Overwrite::{Always, IfChanged, Never};
    for (overwrite, same, other) in
        [(Never, "same", "left"), (IfChanged, "same", "written"), (Always, "written", "written")]
    {
        let (_place, target, _) = pair();
        let mut first = Target::open(&target, Options::default()).unwrap();
        put(&mut first, b"same", b"abcd");
        first.finish(None).unwrap();
        fs::write(target.join("other"), "differs").unwrap();
        fs::write(target.join("extra"), "extra").unwrap();
        fs::create_dir_all(target.join("extra folder/below")).unwrap();
        let dry = Options { overwrite, delete_extra: true, dry_run: true, ..Options::default() };
        let mut restore = Target::open(&target, dry).unwrap();
        put(&mut restore, b"other", b"efgh");
        restore.enter(&directory(b"new", metadata())).unwrap();
        assert_eq!(put(&mut restore, b"below", b"x"), "planned");
        restore.leave().unwrap();
        let notes = restore.finish(None).unwrap().0;
        assert_eq!(notes.iter().filter(|note| matches!(note.kind, NoteKind::WouldDelete(_))).count(), 3);
        assert!(!target.join("new").exists() && target.join("extra").exists());
        let mut restore = Target::open(&target, Options { dry_run: false, ..dry }).unwrap();
        assert_eq!(put(&mut restore, b"same", b"abcd"), same);
        assert_eq!(put(&mut restore, b"other", b"efgh"), other);
        let notes = restore.finish(None).unwrap().0;
        assert_eq!(notes.iter().filter(|note| matches!(note.kind, NoteKind::Deleted(_))).count(), 2);
        let expected: &[u8] = if overwrite == Never { b"differs" } else { b"efgh" };
        assert_eq!(fs::read(target.join("other")).unwrap(), expected);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
    }
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let (_place, target, _) = pair();
    let mut restore = Target::open(&target, Options::default()).unwrap();
    let Placement::Write(slot) = restore.place(&file(b"file", 9, metadata())).unwrap() else { panic!("no slot") };
    slot.write_at(5, b"late").unwrap();
    assert!(slot.write_at(6, b"beyond").is_err());
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    drop(slot);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

fn walked(paths: &[PathBuf], options: &SourceOptions) -> (Vec<String>, Vec<(PathBuf, Skip)>) {
    let (mut seen, mut skipped, mut path) = (Vec::new(), Vec::new(), PathBuf::new());
    for event in Directory::open(paths, options).unwrap() {
        match event {
            Event::Enter { name, .. } => {
                path.push(String::from_utf8(name).unwrap());
                seen.push(format!("{}/", path.display()));
            }
            Event::Entry(entry) => seen.push(path.join(String::from_utf8(entry.name).unwrap()).display().to_string()),
            Event::Leave => assert!(path.pop()),
            Event::Skipped { path, why } => skipped.push((path, why)),
            Event::Failed { path, error } => panic!("{path:?} {error}"),
            Event::Lacking { path, fault } => panic!("{path:?} {fault}"),
        }
    }
    (seen, skipped)
}

#[test]
fn what_is_excluded_is_not_walked() {
    let (_place, root, _) = pair();
    for folder in ["cache", "x/cache/y", "marked", "keep"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for name in ["a.tmp", "x/b.tmp", "x/cache/y/z", "marked/TAG", "marked/data", "keep/cache", "keep/big", "keep/it"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::write(root.join("keep/big"), [0; 5000]).unwrap();
    fs::write(root.join("patterns"), "# comment\n\ncache/\n").unwrap();
    let rules = LeftOut {
        patterns: [vec!["*.tmp".into(), "/patterns".into()], Excludes::lines(b"# comment\n\ncache/\n")].concat(),
        markers: vec!["TAG".into()],
        larger_than: Some(4999),
        ..LeftOut::default()
    };
    let options = SourceOptions { rules, ..SourceOptions::default() };
    let (seen, skipped) = walked(std::slice::from_ref(&root), &options);
    assert_eq!(seen, ["keep/", "keep/cache", "keep/it", "x/"]);
    assert_eq!(skipped.len(), 7);
    assert!(skipped.contains(&(root.join("marked"), Skip::Marked)));
    assert!(skipped.contains(&(root.join("keep/big"), Skip::TooLarge)));
}

/// The mounts are those that every Linux has.
#[test]
fn other_file_systems_are_entered_only_if_something_on_them_is_named() {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    let root = device(Path::new("/dev")).unwrap();
    let mounts = ["/dev/shm", "/dev/pts", "/dev/mqueue"].map(PathBuf::from);
    let Some(mount) = mounts.into_iter().find(|mount| device(mount).is_ok_and(|device| device != root)) else {
        assert!(std::env::var_os("CI").is_none(), "nothing is mounted below /dev");
        return println!("SKIPPED: nothing is mounted below /dev");
    };
    let inside = format!("{}/", mount.file_name().unwrap().display());
    let rules = LeftOut { other_file_systems: true, ..LeftOut::default() };
    let options = SourceOptions { rules, ..SourceOptions::default() };
    let (seen, skipped) = walked(&["/dev".into()], &options);
    assert!(skipped.contains(&(mount.clone(), Skip::OtherFileSystem)), "{skipped:?}");
    assert!(
        seen.contains(&inside) && !seen.iter().any(|path| path.starts_with(&inside) && *path != inside),
        "{seen:?}"
    );
    let mut both = Directory::open(&["/dev".into(), mount.clone()], &options).unwrap();
    assert!(!both.any(|event| matches!(event, Event::Skipped { path, .. } if path == mount)));
    // two named folders, none of them on the file system of what is above both
    let shared = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(shared.path().join("file"), "here").unwrap();
    let (_place, other, _) = pair();
    fs::write(other.join("file"), "there").unwrap();
    let (seen, skipped) = walked(&[shared.path().into(), other], &options);
    assert_eq!(seen.iter().filter(|path| path.ends_with("/file")).count(), 2, "{seen:?} {skipped:?}");
}

#[test]
fn paths_become_the_root_they_should() {
    let (place, left, right) = pair();
    fs::create_dir_all(left.join("a/b")).unwrap();
    for name in ["a/b/one", "a/two", "three"] {
        fs::write(left.join(name), name).unwrap();
    }
    fs::write(right.join("four"), "4").unwrap();
    symlink(left.join("a"), right.join("to a")).unwrap();
    let none = SourceOptions::default();
    assert_eq!(walked(std::slice::from_ref(&left), &none).0, ["a/", "a/b/", "a/b/one", "a/two", "three"]);
    assert_eq!(walked(&[left.join("three")], &none).0, ["three"]);
    assert_eq!(walked(&[left.join("a/../three")], &none).0, ["three"]);
    let several = [left.join("a/b"), right.clone()];
    assert_eq!(
        walked(&several, &none).0,
        ["left/", "left/a/", "left/a/b/", "left/a/b/one", "right/", "right/four", "right/to a"]
    );
    assert_eq!(walked(&[left.join("a"), left.join("a/b")], &none).0, ["b/", "b/one", "two"]);
    assert_eq!(walked(&[right.join("to a")], &none).0, ["b/", "b/one", "two"]);
    assert!(Directory::open(&[place.path().join("missing")], &none).is_err());
    assert!(Directory::open(&[], &none).is_err());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let (_place, root, _) = pair();
    let path = root.join("file");
    type Change = fn(&Path);
    let changes: [(Change, u64, bool); 4] = [
        (|_| {}, 100_000, false),
        (|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(70_000).unwrap(), 70_000, true),
        (|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(200_000).unwrap(), 100_000, true),
        (|path| zoo::set_mtime(path, 1, 1), 100_000, true),
    ];
    for (change, size, changed) in changes {
        fs::write(&path, vec![7; 100_000]).unwrap();
        let mut walk = Directory::open(std::slice::from_ref(&root), &SourceOptions::default()).unwrap();
        let Some(Event::Entry(mut entry)) = walk.next() else { panic!("no entry") };
        let mut reader = entry.open().unwrap();
        let mut bytes = vec![0; 50_000];
        reader.read_exact(&mut bytes).unwrap();
        change(&path);
        reader.read_to_end(&mut bytes).unwrap();
        let end = reader.finish().unwrap();
        assert_eq!((end.size, end.changed, bytes.len() as u64), (size, changed, size));
    }
    let mut walk = Directory::open(std::slice::from_ref(&root), &SourceOptions::default()).unwrap();
    let Some(Event::Entry(mut entry)) = walk.next() else { panic!("no entry") };
    fs::rename(&path, root.join("old")).unwrap();
    fs::write(&path, "another").unwrap();
    // the walk may be ahead of who reads: what took the name is taken, and described as it is
    let mut text = String::new();
    let mut reader = entry.open().unwrap();
    reader.read_to_string(&mut text).unwrap();
    let end = reader.finish().unwrap();
    assert_eq!((text.as_str(), end.size, end.changed), ("another", 7, false));
    assert_eq!(entry.kind, EntryKind::File { size: 7 });
    assert_eq!(entry.metadata.inode, fs::metadata(&path).unwrap().ino());
    fs::remove_file(&path).unwrap();
    assert_eq!(entry.open().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    fs::create_dir(&path).unwrap();
    assert!(entry.open().is_err());
}

fn runtime() -> Runtime {
    Runtime::system(1).unwrap()
}

fn run(words: &[&str]) -> (String, Result<Vec<u8>, ChildFailure>) {
    let runtime = runtime();
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let mut command = match Child::spawn(Start { words, ..Start::default() }, &runtime, &Silent) {
        Ok(command) => command,
        Err(error) => return (String::new(), Err(error)),
    };
    let mut text = String::new();
    command.read_to_string(&mut text).unwrap();
    (text, command.finish())
}

#[test]
fn commands_fail_loudly() {
    let (text, end) = run(&["printf", "%s", "a b"]);
    assert!(text == "a b" && end.is_ok());
    let (text, end) = run(&["sh", "-c", "echo out; seq 1 100 >&2; exit 7"]);
    let end = end.unwrap_err();
    assert!(end.to_string().contains("(status 7)"), "{end}");
    let ChildFailure::Exit { stderr_tail, .. } = end else { panic!("{end}") };
    assert_eq!((text.as_str(), stderr_tail.len(), stderr_tail[19].as_str()), ("out\n", 20, "100"));
    let killed = run(&["sh", "-c", "kill -9 $$"]).1.unwrap_err();
    assert!(matches!(killed, ChildFailure::Exit { status, .. } if status.signal() == Some(9)), "{killed}");
    let missing = run(&["/nowhere/dump"]).1.unwrap_err().to_string();
    assert!(missing.starts_with("cannot start /nowhere/dump: No such file"), "{missing}");
    assert!(run(&[]).1.is_err());
    let start = std::time::Instant::now();
    let words = vec!["sleep".into(), "60".into()];
    drop(Child::spawn(Start { words, ..Start::default() }, &runtime(), &Silent).unwrap());
    assert!(start.elapsed().as_secs() < 2);
}

/// Run by the test below, under strace.
#[test]
#[ignore = "walks the directory it is started in"]
fn walk_here() {
    walked(&[PathBuf::from(".")], &SourceOptions::default());
}

#[test]
fn a_walk_opens_no_regular_file() {
    let (place, root, _) = pair();
    fs::create_dir(root.join("folder")).unwrap();
    for number in 0..50 {
        fs::write(root.join(format!("folder/regular {number}")), "x").unwrap();
    }
    let log = place.path().join("log");
    let status = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2,newfstatat", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "promises::walk_here", "--ignored"])
        .current_dir(&root)
        .output();
    let Ok(output) = status else {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        return drop(writeln!(std::io::stderr(), "SKIPPED the calls of a walk: strace is not installed"));
    };
    assert!(output.status.success());
    let calls = fs::read_to_string(log).unwrap();
    assert!(calls.lines().filter(|line| line.contains("newfstatat") && line.contains("regular")).count() >= 50);
    assert!(!calls.lines().any(|line| line.contains(" open") && line.contains("regular")));
}
