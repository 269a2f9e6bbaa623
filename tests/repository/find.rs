//! Find: each version of an entry once, with the snapshots that hold it; pages that were seen are not read again.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use testkit::world::{Hand, folder, init, snapshot_folder, snapshot_stream};
use vault::find::{Options, Report, Type, find};
use vault::list;
use vault::repository::Repository;

fn look(repository: &Repository, options: &Options) -> Report {
    let catalog = list::snapshots(repository).unwrap();
    let all: Vec<_> = catalog.snapshots.visible().collect();
    find(repository, &catalog, &all, options).unwrap()
}

fn patterns(patterns: &[&str]) -> Options {
    Options { patterns: patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect(), ..Options::default() }
}

/// Path, number of snapshots, first and last of them.
fn shown(report: &Report) -> Vec<(String, u64, usize, usize)> {
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    let path = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    report.versions.iter().map(|v| (path(&v.path), v.snapshots, v.first, v.last)).collect()
}

fn fill(root: &Path) {
    for number in 0..40 {
        fs::create_dir_all(root.join(format!("d{number}/deep/er"))).unwrap();
        fs::write(root.join(format!("d{number}/deep/er/photo.jpg")), format!("{number}")).unwrap();
    }
    fs::write(root.join("notes.txt"), "one").unwrap();
    symlink("notes.txt", root.join("link")).unwrap();
}

#[test]
fn each_version_is_found_once_with_the_snapshots_that_hold_it() {
    let source = folder(fill);
    let notes = source.path().join("notes.txt");
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    let first = look(&repository, &patterns(&["notes.txt"]));
    assert_eq!(shown(&first), [("notes.txt".into(), 1, 0, 0)]);
    snapshot_folder(&repository, source.path()).unwrap();
    // nothing changed, so there is nothing more to read
    let second = look(&repository, &patterns(&["notes.txt"]));
    assert_eq!((shown(&second), second.pages), (vec![("notes.txt".into(), 2, 0, 1)], first.pages));
    fs::write(&notes, "two, longer").unwrap();
    snapshot_folder(&repository, source.path()).unwrap();
    snapshot_stream(&repository, b"another source").unwrap();
    let third = look(&repository, &patterns(&["notes.txt"]));
    assert_eq!(shown(&third), [("notes.txt".into(), 2, 0, 1), ("notes.txt".into(), 1, 2, 2)]);
    // the changed root, and the root of the stream
    assert_eq!(third.pages, first.pages + 2);
    fs::remove_file(&notes).unwrap();
    snapshot_folder(&repository, source.path()).unwrap();
    fs::write(&notes, "two, longer").unwrap();
    fs::set_permissions(source.path().join("d7"), fs::Permissions::from_mode(0o700)).unwrap();
    snapshot_folder(&repository, source.path()).unwrap();
    let all = shown(&look(&repository, &patterns(&["notes.txt", "dump", "/d7"])));
    // the file that came back has another time
    let notes = |snapshots, first, last| ("notes.txt".to_owned(), snapshots, first, last);
    let folders = [("d7".to_owned(), 4, 0, 4), ("d7".to_owned(), 1, 5, 5)];
    let files = [notes(2, 0, 1), notes(1, 2, 2), notes(1, 5, 5), ("dump".to_owned(), 1, 3, 3)];
    assert_eq!(all, folders.into_iter().chain(files).collect::<Vec<_>>());
}

#[test]
fn patterns_and_filters_must_all_fit() {
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.jpg");
    let source = folder(|root| {
        fill(root);
        fs::write(root.join(name), [7; 5000]).unwrap();
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    let now = hand.clock().now();
    let hour = std::time::Duration::from_hours(1);
    let count = |options: Options| look(&repository, &options).versions.len();
    let jpg = || patterns(&["*.jpg"]);
    let table = [
        (patterns(&["*.jpg"]), 41),
        (patterns(&["d1*/deep/er/*.jpg"]), 11),
        (patterns(&["/deep"]), 0),
        (patterns(&["er/"]), 40),
        (patterns(&["photo.jpg/"]), 0),
        (patterns(&["*.jpg", "notes.*"]), 42),
        (Options { types: vec![Type::Symlink], ..patterns(&["*"]) }, 1),
        (Options { types: vec![Type::Directory, Type::Symlink], ..patterns(&["*"]) }, 121),
        (Options { larger_than: Some(4999), ..jpg() }, 1),
        (Options { larger_than: Some(5000), ..jpg() }, 0),
        (Options { smaller_than: Some(2), ..jpg() }, 10),
        (Options { smaller_than: Some(5000), ..patterns(&["deep"]) }, 0),
        (Options { newer: Some(now - hour), ..jpg() }, 41),
        (Options { older: Some(now - hour), ..jpg() }, 0),
        (Options { newer: Some(now), ..jpg() }, 0),
    ];
    for (options, expected) in table {
        assert_eq!(count(options.clone()), expected, "{options:?}");
    }
    let catalog = list::snapshots(&repository).unwrap();
    assert!(find(&repository, &catalog, &[], &patterns(&["["])).is_err());
}

#[test]
fn damage_is_named_and_the_rest_is_found() {
    let source = folder(fill);
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    let before = repository.backend().list("packs/m/").unwrap();
    fs::write(source.path().join("new.jpg"), "new").unwrap();
    snapshot_folder(&repository, source.path()).unwrap();
    before.iter().for_each(|pack| repository.backend().delete(&pack.name).unwrap());
    let report = look(&repository, &patterns(&["*.jpg"]));
    assert_eq!(report.versions.iter().map(|version| &version.path).collect::<Vec<_>>(), [b"new.jpg"]);
    assert_eq!(report.damaged.len(), 41, "{:#?}", report.damaged);
}
