//! What exists in a target: equal content with other metadata, folders that others made, names that somebody takes in
//! the middle, and what an interrupted run left. Nothing changes that the policy does not give free.

use crate::copy::{directory, file};
use crate::promises::is_failure;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use testkit::compare::compare;
use vault::target::{Changes, Entered, FileSlot, Note, NoteKind, Options, Overwrite, Placement, Target};
use vault_format::tree::{Metadata, Node, NodeKind, Time, Xattr};

fn metadata(mode: u32) -> Metadata {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Metadata { mode, uid, gid, mtime: Time { seconds: 5, nanoseconds: 6 }, ..Metadata::default() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    fs::create_dir(&target).unwrap();
    (place, target)
}

fn open(target: &Path, overwrite: Overwrite) -> Target {
    Target::open(target, Options { overwrite, ..Options::default() }).unwrap()
}

fn slot(target: &mut Target, node: &Node) -> FileSlot {
    let Placement::Write(slot) = target.place(node).unwrap() else { panic!("no slot") };
    slot
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

/// The nodes of a small tree: `file`, `fifo`, `link`, `folder` and `folder/inner`.
struct Tree {
    file: Node,
    fifo: Node,
    link: Node,
    folder: Node,
    inner: Node,
}

impl Tree {
    fn new() -> Self {
        let node = |name: &[u8], kind, mode| Node { name: name.to_vec(), kind, metadata: metadata(mode) };
        let xattrs = vec![Xattr { name: b"user.kept".to_vec(), value: b"x".to_vec() }];
        Self {
            file: file(b"file", 4, Metadata { xattrs, ..metadata(0o640) }),
            fifo: node(b"fifo", NodeKind::Fifo, 0o640),
            link: node(b"link", NodeKind::Symlink(b"file".to_vec()), 0o777),
            folder: directory(b"folder", metadata(0o750)),
            inner: file(b"inner", 4, metadata(0o600)),
        }
    }

    /// Restores it; what is not finished at the end is as a killed run leaves it.
    fn restore(&self, target: &Path, overwrite: Overwrite) -> (Vec<&'static str>, Vec<Note>, Changes) {
        let mut run = open(target, overwrite);
        let root = metadata(0o755);
        run.begin(Some(&root)).unwrap();
        let mut said = Vec::new();
        assert_eq!(run.enter(&self.folder).unwrap(), Entered::Inside);
        said.push(put(&mut run, &self.inner));
        run.leave().unwrap();
        for node in [&self.file, &self.fifo, &self.link] {
            said.push(put(&mut run, node));
        }
        let mut notes = run.notes();
        let (more, changes) = run.finish(Some(&root)).unwrap();
        notes.extend(more);
        (said, notes, changes)
    }
}

fn put(target: &mut Target, node: &Node) -> &'static str {
    match target.place(node).unwrap() {
        Placement::Write(slot) => {
            slot.write_at(0, b"data").unwrap();
            assert!(slot.finish(node).unwrap());
            "written"
        }
        Placement::Created => "made",
        Placement::Left => "left",
        Placement::Same => "same",
        Placement::Mended => "mended",
        other => panic!("{other:?}"),
    }
}

fn differing(notes: &[Note]) -> Vec<String> {
    let name = |note: &Note| note.path.file_name().unwrap().to_string_lossy().into_owned();
    notes.iter().filter(|note| matches!(note.kind, NoteKind::Differs(_))).map(name).collect()
}

type Change = (&'static str, fn(&Path));

fn changes() -> Vec<Change> {
    let mut changes: Vec<Change> = vec![
        ("file", |root| fs::set_permissions(root.join("file"), PermissionsExt::from_mode(0o666)).unwrap()),
        ("file", |root| fs::set_permissions(root.join("file"), PermissionsExt::from_mode(0o4640)).unwrap()),
        ("fifo", |root| fs::set_permissions(root.join("fifo"), PermissionsExt::from_mode(0o666)).unwrap()),
        ("folder", |root| fs::set_permissions(root.join("folder"), PermissionsExt::from_mode(0o777)).unwrap()),
        ("folder", |root| fs::set_permissions(root.join("folder"), PermissionsExt::from_mode(0o2750)).unwrap()),
        ("target", |root| fs::set_permissions(root, PermissionsExt::from_mode(0o711)).unwrap()),
        ("file", |root| rustix::fs::removexattr(root.join("file"), "user.kept").unwrap()),
        ("file", |root| {
            rustix::fs::setxattr(root.join("file"), "user.new", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        }),
    ];
    if is_root() {
        changes.push(("file", |root| std::os::unix::fs::chown(root.join("file"), Some(7), None).unwrap()));
        changes.push(("link", |root| std::os::unix::fs::lchown(root.join("link"), None, Some(7)).unwrap()));
        changes.push(("folder", |root| std::os::unix::fs::chown(root.join("folder"), None, Some(7)).unwrap()));
    }
    changes
}

#[test]
fn other_metadata_is_left_and_named_or_mended() {
    let tree = Tree::new();
    for (name, change) in changes() {
        let (place, target) = place();
        let expected = place.path().join("expected");
        fs::create_dir(&expected).unwrap();
        for folder in [&target, &expected] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
            let (said, notes, _) = tree.restore(folder, Overwrite::Never);
            assert_eq!(said, ["written", "written", "made", "made"], "{notes:?}");
        }
        let (said, notes, changed) = tree.restore(&target, Overwrite::Never);
        assert_eq!(said, ["same"; 4], "{name}");
        assert!(notes.is_empty() && changed.mended.count == 0, "{name}: {notes:?}");
        change(&target);
        let before = compare(&expected, &target);
        assert!(!before.is_empty(), "{name}: the change is seen");
        let inode = target.join("file").metadata().unwrap().ino();
        let (_, notes, changed) = tree.restore(&target, Overwrite::Never);
        assert_eq!(differing(&notes), [name], "{notes:?}");
        assert!(notes.iter().all(is_failure) && changed.mended.count + changed.replaced.count == 0);
        assert_eq!(compare(&expected, &target), before, "{name}: nothing was touched");
        let (_, notes, changed) = tree.restore(&target, Overwrite::IfChanged);
        assert!(notes.is_empty(), "{name}: {notes:?}");
        assert_eq!(changed.mended.count + changed.replaced.count, 1, "{name}");
        assert_eq!(compare(&expected, &target), [], "{name}");
        assert_eq!(target.join("file").metadata().unwrap().ino(), inode, "{name}: content is not written again");
        change(&target);
        tree.restore(&target, Overwrite::Always);
        assert_eq!(compare(&expected, &target), [], "{name}");
    }
}

#[test]
fn a_file_with_a_name_elsewhere_is_made_anew() {
    let tree = Tree::new();
    let (place, target) = place();
    tree.restore(&target, Overwrite::Never);
    let outside = place.path().join("outside");
    fs::hard_link(target.join("file"), &outside).unwrap();
    fs::set_permissions(&outside, PermissionsExt::from_mode(0o604)).unwrap();
    tree.restore(&target, Overwrite::IfChanged);
    assert_eq!((mode(&outside), mode(&target.join("file"))), (0o604, 0o640));
}

#[test]
fn folders_on_the_way_stay_as_they_are() {
    for overwrite in [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always] {
        let (_place, target) = place();
        fs::create_dir(target.join("folder")).unwrap();
        fs::set_permissions(target.join("folder"), PermissionsExt::from_mode(0o555)).unwrap();
        fs::set_permissions(&target, PermissionsExt::from_mode(0o711)).unwrap();
        let tree = Tree::new();
        let mut run = open(&target, overwrite);
        run.begin(None).unwrap();
        run.pass(&tree.folder).unwrap();
        put(&mut run, &tree.inner);
        run.leave().unwrap();
        let (notes, _) = run.finish(None).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!((mode(&target), mode(&target.join("folder"))), (0o711, 0o555));
        assert_eq!(mode(&target.join("folder/inner")), 0o600);
        let old = fs::metadata(target.join("folder")).unwrap().mtime();
        assert_ne!(old, 5, "the time of the snapshot's folder is not that of this one");
        fs::set_permissions(target.join("folder"), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_a_killed_run_left_is_no_difference() {
    for mode_of_folder in [0o750, 0o500, 0o2770, 0o000] {
        let (place, target) = place();
        let folder = directory(b"folder", metadata(mode_of_folder));
        let root = metadata(0o711);
        let node = file(b"inner", 4, metadata(0o640));
        let mut run = open(&target, Overwrite::Never);
        run.begin(Some(&root)).unwrap();
        run.enter(&folder).unwrap();
        put(&mut run, &node);
        // nothing of it ends as it should
        std::mem::forget(run);
        let expected = place.path().join("expected");
        for (path, overwrite) in [(&target, Overwrite::Never), (&expected, Overwrite::Never)] {
            let mut run = open(path, overwrite);
            run.begin(Some(&root)).unwrap();
            run.enter(&folder).unwrap();
            put(&mut run, &node);
            run.leave().unwrap();
            let (notes, _) = run.finish(Some(&root)).unwrap();
            assert!(notes.is_empty(), "{mode_of_folder:o}: {notes:?}");
        }
        assert_eq!(mode(&target.join("folder")), mode_of_folder);
        for path in [&target, &expected] {
            fs::set_permissions(path.join("folder"), PermissionsExt::from_mode(0o700)).unwrap();
        }
        assert_eq!(compare(&expected, &target), []);
    }
}

#[test]
fn a_run_that_ends_early_closes_what_it_opened() {
    for closed in [0o555, 0o000, 0o750] {
        let (_place, target) = place();
        fs::create_dir(target.join("folder")).unwrap();
        fs::set_permissions(target.join("folder"), PermissionsExt::from_mode(closed)).unwrap();
        let mut run = open(&target, Overwrite::Never);
        // once as it should be, once different
        run.enter(&directory(b"folder", metadata(0o555))).unwrap();
        put(&mut run, &file(b"inner", 4, metadata(0o600)));
        assert_eq!(mode(&target.join("folder")) & 0o700, 0o700);
        drop(run);
        assert_eq!(mode(&target.join("folder")), closed);
        fs::set_permissions(target.join("folder"), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(target.join("folder/inner").exists());
    }
}

#[test]
fn unfinished_entries_have_names_that_nobody_has() {
    for overwrite in [Overwrite::Never, Overwrite::Always] {
        let (_place, target) = place();
        // a run without a random number begins with these
        let names: Vec<String> = (0..40).map(|number| format!(".vault-{:016x}-{number:x}", 0)).collect();
        for (number, name) in names.iter().enumerate() {
            let path = target.join(name);
            match number % 4 {
                0 => fs::write(&path, "precious").unwrap(),
                1 => symlink("nowhere", &path).unwrap(),
                2 => fs::create_dir(&path).unwrap(),
                _ => rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap(),
            }
        }
        let inodes =
            || names.iter().map(|name| target.join(name).symlink_metadata().unwrap().ino()).collect::<Vec<_>>();
        let before = inodes();
        let mut tree = Tree::new();
        tree.inner.metadata.link_group = 9;
        tree.restore(&target, overwrite);
        // and an entry of the snapshot that is called so comes back like any other
        let mut run = open(&target, overwrite);
        let odd = file(b".vault-0000000000000000-ff", 4, metadata(0o644));
        assert_eq!(put(&mut run, &odd), "written");
        let (notes, _) = run.finish(None).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(inodes(), before);
        assert_eq!(fs::read_dir(&target).unwrap().count(), names.len() + 5, "nothing unfinished is left");
        assert_eq!(fs::read(target.join(".vault-0000000000000000-ff")).unwrap(), b"data");
    }
}

#[test]
fn two_runs_never_share_a_name() {
    let (_place, target) = place();
    let node = file(b"file", 4, metadata(0o644));
    let mut runs: Vec<_> = [1u64, 2].map(|nonce| Options { nonce, ..Options::default() }).into();
    let mut slots: Vec<FileSlot> = Vec::new();
    for options in runs.drain(..) {
        let mut run = Target::open(&target, options).unwrap();
        let slot = slot(&mut run, &node);
        slot.write_at(0, b"da").unwrap();
        slots.push(slot);
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
    // the second to finish finds the name taken
    let settled: Vec<bool> = slots.into_iter().map(|slot| slot.finish(&node).unwrap()).collect();
    assert_eq!(settled, [true, false]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}

#[test]
fn what_another_run_left_is_told_and_stays() {
    let tree = Tree::new();
    let (_place, target) = place();
    let entered = directory(b"folder", metadata(0o750));
    let mut cut_off = Target::open(&target, Options { nonce: 7, ..Options::default() }).unwrap();
    cut_off.enter(&entered).unwrap();
    let pending = [b"inner".as_slice(), b"other"].map(|name| {
        let slot = slot(&mut cut_off, &file(name, 4, metadata(0o600)));
        slot.write_at(0, b"data").unwrap();
        slot
    });
    std::mem::forget((cut_off, pending));
    for overwrite in [Overwrite::Never, Overwrite::Always] {
        let (_, notes, changes) = tree.restore(&target, overwrite);
        assert!(notes.is_empty(), "{notes:?}");
        let told: Vec<(&str, u64)> = changes.leftovers.iter().map(|(run, left)| (run.as_str(), left.entries)).collect();
        assert_eq!(told, [(".vault-0000000000000007-", 2)]);
        assert_eq!(fs::read_dir(target.join("folder")).unwrap().count(), 3);
    }
    // what the snapshot holds is nobody's leftover
    let mut run = open(&target, Overwrite::Never);
    run.enter(&entered).unwrap();
    for name in fs::read_dir(target.join("folder")).unwrap().map(|entry| entry.unwrap().file_name()) {
        run.place(&file(name.as_encoded_bytes(), 4, metadata(0o600))).unwrap();
    }
    run.leave().unwrap();
    assert!(run.finish(None).unwrap().1.leftovers.is_empty());
}

#[test]
fn a_name_that_is_taken_meanwhile_stays_taken() {
    type Taker = fn(&Path);
    let takers: [Taker; 4] = [
        |path| fs::write(path, "somebody").unwrap(),
        |path| symlink("elsewhere", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| fs::create_dir_all(path.join("below")).unwrap(),
    ];
    for take in takers {
        let (_place, target) = place();
        let node = file(b"file", 4, metadata(0o644));
        let mut run = open(&target, Overwrite::Never);
        let slot = slot(&mut run, &node);
        slot.write_at(0, b"data").unwrap();
        take(&target.join("file"));
        let inode = target.join("file").symlink_metadata().unwrap().ino();
        assert!(!slot.finish(&node).unwrap());
        assert_eq!(target.join("file").symlink_metadata().unwrap().ino(), inode);
        let (notes, _) = run.finish(None).unwrap();
        assert!(matches!(notes[..], [Note { kind: NoteKind::Left, .. }]), "{notes:?}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }
}

#[test]
fn a_directory_replaced_by_another_gets_nothing() {
    let (_place, target) = place();
    let mut run = open(&target, Overwrite::Never);
    run.enter(&directory(b"folder", metadata(0o755))).unwrap();
    let node = file(b"file", 4, metadata(0o644));
    let (slot, early) = (slot(&mut run, &node), slot(&mut run, &file(b"early", 4, metadata(0o644))));
    early.write_at(0, b"data").unwrap();
    run.leave().unwrap();
    // more directories than handles are kept, so that it has to be opened again
    for number in 0..100u32 {
        run.enter(&directory(format!("{number}").as_bytes(), metadata(0o755))).unwrap();
        put(&mut run, &node);
        run.leave().unwrap();
    }
    fs::rename(target.join("folder"), target.join("moved")).unwrap();
    fs::create_dir(target.join("folder")).unwrap();
    fs::set_permissions(target.join("folder"), PermissionsExt::from_mode(0o711)).unwrap();
    assert!(slot.write_at(0, b"data").is_err() && slot.finish(&node).is_err() && early.finish(&node).is_err());
    let (notes, _) = run.finish(None).unwrap();
    assert!(notes.iter().any(crate::promises::is_fault), "{notes:?}");
    assert_eq!(fs::read_dir(target.join("folder")).unwrap().count(), 0);
    assert_eq!(mode(&target.join("folder")), 0o711);
}

fn setuid_needs_its_owner() {
    // nobody can be this user; and an ordinary user can't give a file to root
    let owners: &[(u32, u32)] = if is_root() { &[(u32::MAX, 0), (0, u32::MAX)] } else { &[(0, 0), (1, 1)] };
    for (uid, gid) in owners.iter().copied() {
        let (_place, target) = place();
        let metadata = |mode| Metadata { uid, gid, ..metadata(mode) };
        let mut run = open(&target, Overwrite::Never);
        run.enter(&directory(b"folder", metadata(0o6755))).unwrap();
        put(&mut run, &file(b"program", 4, metadata(0o6755)));
        run.leave().unwrap();
        let (notes, changes) = run.finish(None).unwrap();
        assert_eq!(mode(&target.join("folder/program")), 0o755, "{notes:?}");
        assert_eq!(mode(&target.join("folder")), 0o755, "{notes:?}");
        assert_eq!(changes.owned.count, if is_root() { 0 } else { 2 }, "an ordinary user is told of it");
    }
    let (_place, target) = place();
    let mut run = open(&target, Overwrite::Never);
    put(&mut run, &file(b"program", 4, metadata(0o6755)));
    run.finish(None).unwrap();
    assert_eq!(mode(&target.join("program")), 0o6755, "one's own keeps it");
}

#[test]
fn setuid_goes_where_the_owner_could_not_be_set() {
    setuid_needs_its_owner();
}

#[test]
fn setuid_goes_where_the_owner_could_not_be_set_by_an_ordinary_user() {
    crate::copy::as_ordinary_user("existing::setuid_goes_where_the_owner_could_not_be_set", setuid_needs_its_owner);
}

#[test]
fn other_metadata_is_left_and_named_or_mended_by_an_ordinary_user() {
    let test = "existing::other_metadata_is_left_and_named_or_mended";
    crate::copy::as_ordinary_user(test, other_metadata_is_left_and_named_or_mended);
}

#[test]
fn what_a_killed_run_left_is_no_difference_for_an_ordinary_user() {
    let test = "existing::what_a_killed_run_left_is_no_difference";
    crate::copy::as_ordinary_user(test, what_a_killed_run_left_is_no_difference);
}
