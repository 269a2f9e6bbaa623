//! What the snapshot lacks: found on the way, removed at the end, but for what must stay and the folders above that.
//! Mounts and sockets stay by themselves, other things because whoever restores says so.

use crate::copy::{directory, file};
use crate::promises::is_failure;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use vault::target::{Changes, Extra, Keep, Note, NoteKind, Options, Overwrite, Placement, Target};
use vault_format::tree::{Metadata, Time};

fn metadata(mode: u32) -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode, uid, gid, mtime: Time { seconds: 5, nanoseconds: 6 }, ..Metadata::default() }
}

fn deleting() -> Options {
    Options { delete_extra: true, ..Options::default() }
}

/// Names that stay, wherever they are; below `sealed` everything does.
#[derive(Debug)]
struct Names;

impl Keep for Names {
    fn is_named(&self, path: &[u8]) -> bool {
        path == b"named"
    }

    fn entry(&self, extra: &Extra<'_>) -> Option<&'static str> {
        extra.path.ends_with(b"stays").then_some("it is called so")
    }

    fn below(&self, path: &[u8], _: BorrowedFd<'_>) -> Option<&'static str> {
        path.ends_with(b"sealed").then_some("it is sealed")
    }

    fn is_outside(&self, path: &[u8]) -> bool {
        path == b"outside"
    }
}

/// All paths below a folder.
fn paths(root: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            found.insert(entry.path().strip_prefix(root).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

fn make(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with('/') { fs::create_dir_all(path).unwrap() } else { fs::write(path, "x").unwrap() }
    }
}

/// Restores the folders `in`, `named`, `outside` and `sealed`, with nothing in them.
fn restore(target: &Path, options: Options) -> (Vec<Note>, Changes) {
    let mut run = Target::open(target, options).unwrap();
    run.spare(Arc::new(Names));
    for name in ["in", "named", "outside", "sealed"] {
        run.enter(&directory(name.as_bytes(), metadata(0o755))).unwrap();
        run.leave().unwrap();
    }
    run.finish(None).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    fs::create_dir(&target).unwrap();
    for name in ["in", "named", "outside", "sealed"] {
        fs::create_dir(target.join(name)).unwrap();
        fs::set_permissions(target.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    (place, target)
}

#[test]
fn what_must_stay_stays_with_the_folders_above_it() {
    let (_place, target) = place();
    let goes = ["goes", "in/goes", "in/a/b/c", "in/a/goes", "deep/1/2/3/goes", "deep/1/2/x/"];
    make(&target, &goes);
    make(&target, &["in/a/stays", "stays", "deep/1/2/3/stays", "outside/any", "sealed/any", "deep/sealed/any/more"]);
    fs::set_permissions(target.join("deep/1"), PermissionsExt::from_mode(0o500)).unwrap();
    symlink("/", target.join("in/link")).unwrap();
    let dry = Options { dry_run: true, ..deleting() };
    let before = paths(&target);
    let (_, planned) = restore(&target, dry);
    assert_eq!(paths(&target), before);
    let (notes, changes) = restore(&target, deleting());
    assert!(notes.iter().all(|note| !is_failure(note)), "{notes:?}");
    let left = [
        "in",
        "named",
        "outside",
        "sealed",
        "in/a",
        "in/a/stays",
        "stays",
        "deep",
        "deep/1",
        "deep/1/2",
        "deep/1/2/3",
        "deep/1/2/3/stays",
        "outside/any",
        "sealed/any",
        "deep/sealed",
        "deep/sealed/any",
        "deep/sealed/any/more",
    ];
    assert_eq!(paths(&target), left.iter().map(ToString::to_string).collect());
    let gone = (before.len() - left.len()) as u64;
    assert_eq!((changes.deleted.count, planned.deleted.count), (gone, gone), "{:?}", changes.deleted);
    // three by name, one folder that is sealed, and the content of another
    assert_eq!((changes.kept.count, planned.kept.count), (5, 5), "{:?}", changes.kept);
    assert_eq!(target.join("deep/1").metadata().unwrap().mode() & 0o7777, 0o500, "closed again");
    fs::set_permissions(target.join("deep/1"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn nothing_is_deleted_before_the_end_nor_after_a_failure() {
    let (_place, target) = place();
    make(&target, &["extra", "in/extra"]);
    let mut run = Target::open(&target, deleting()).unwrap();
    run.enter(&directory(b"in", metadata(0o755))).unwrap();
    run.leave().unwrap();
    run.leave_all().unwrap();
    assert!(target.join("extra").exists() && target.join("in/extra").exists());
    assert_eq!(run.keep_all_extra(), 5, "two files, and three folders that this snapshot lacks");
    let (_, changes) = run.finish(None).unwrap();
    assert!(changes.deleted.count == 0 && target.join("extra").exists() && target.join("in/extra").exists());
}

#[test]
fn a_folder_in_the_way_goes_as_a_whole_or_not_at_all() {
    for (names, goes) in [(&["way/a/b", "way/c"][..], true), (&["way/a/b", "way/c", "way/d/stays"], false)] {
        let (_place, target) = place();
        make(&target, names);
        let before = paths(&target);
        let options = Options { overwrite: Overwrite::IfChanged, ..deleting() };
        for dry_run in [true, false] {
            let mut run = Target::open(&target, Options { dry_run, ..options }).unwrap();
            run.spare(Arc::new(Names));
            run.keep_extra();
            let placed = run.place(&file(b"way", 0, metadata(0o644))).unwrap();
            match placed {
                Placement::Left => assert!(!goes),
                Placement::Planned => assert!(goes && dry_run),
                Placement::Write(slot) => assert!(goes && slot.finish(&file(b"way", 0, metadata(0o644))).unwrap()),
                other => panic!("{other:?}"),
            }
            let (_, changes) = run.finish(None).unwrap();
            assert_eq!(changes.deleted.count, if goes { names.len() as u64 + 2 } else { 0 });
        }
        if goes { assert!(target.join("way").is_file()) } else { assert_eq!(paths(&target), before) }
    }
}

#[test]
fn sockets_stay() {
    let (_place, target) = place();
    make(&target, &["in/x/goes"]);
    let _one = std::os::unix::net::UnixListener::bind(target.join("in/one")).unwrap();
    let _two = std::os::unix::net::UnixListener::bind(target.join("in/x/two")).unwrap();
    let (notes, changes) = restore(&target, deleting());
    assert!(target.join("in/one").exists() && target.join("in/x/two").exists() && !target.join("in/x/goes").exists());
    assert!(notes.iter().all(|note| matches!(note.kind, NoteKind::Deleted(_))), "{notes:?}");
    assert_eq!(changes.kept.count, 2);
}

/// Runs a test of this binary with mounts of its own; without the right to mount it is skipped.
fn with_own_mounts(test: &str, run: impl FnOnce()) {
    if std::env::var_os("VAULT_TEST_MOUNTS").is_some() {
        return run();
    }
    let may_mount = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        // Straight to the terminal: the harness would swallow it.
        return drop(writeln!(std::io::stderr(), "SKIPPED {test}: nothing can be mounted here (needs root)"));
    }
    let output = Command::new("unshare")
        .arg("-m")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("VAULT_TEST_MOUNTS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn mount(words: &[&str], on: &Path) {
    assert!(Command::new("mount").args(words).arg(on).status().unwrap().success());
}

#[test]
fn other_file_systems_stay_wherever_they_are_mounted() {
    with_own_mounts("extra::other_file_systems_stay_wherever_they_are_mounted", || {
        let (place, target) = place();
        make(&target, &["in/disk/", "in/goes", "in/bound/", "extra/a/disk/", "extra/a/goes", "file", "named/goes"]);
        let outside = place.path().join("elsewhere");
        make(&outside, &["precious"]);
        for name in ["in/disk", "extra/a/disk", "named"] {
            mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs"], &target.join(name));
            make(&target.join(name), &["precious", "below/precious"]);
        }
        // the same file system in a second place has the same device
        mount(&["--bind", outside.to_str().unwrap()], &target.join("in/bound"));
        mount(&["--bind", outside.join("precious").to_str().unwrap()], &target.join("file"));
        let (notes, _) = restore(&target, deleting());
        let left = paths(&target);
        for name in ["in/disk/precious", "in/disk/below/precious", "extra/a/disk/below/precious", "in/bound/precious"] {
            assert!(left.contains(name), "{name} is gone: {notes:?}");
        }
        assert!(left.contains("file") && outside.join("precious").exists());
        assert!(!left.contains("in/goes") && !left.contains("extra/a/goes"), "{left:?}");
        // the user named this one himself, whatever it lies on
        assert!(!left.contains("named/precious") && !left.contains("named/below"), "{left:?}");
        assert!(notes.iter().all(|note| !is_failure(note)), "{notes:?}");
        // one that the snapshot holds as a folder
        let mut run = Target::open(&target, deleting()).unwrap();
        run.enter(&directory(b"in", metadata(0o755))).unwrap();
        for name in ["bound", "disk"] {
            run.enter(&directory(name.as_bytes(), metadata(0o755))).unwrap();
            run.leave().unwrap();
        }
        run.keep_extra();
        run.leave().unwrap();
        run.keep_extra();
        let (notes, changes) = run.finish(None).unwrap();
        assert!(outside.join("precious").exists() && target.join("in/disk/below/precious").exists(), "{notes:?}");
        assert_eq!((changes.deleted.count, changes.kept.count), (0, 3));
    });
}
