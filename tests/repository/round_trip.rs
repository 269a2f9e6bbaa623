//! A folder and a stream go in and come back; what did not change costs next to nothing.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use testkit::recording::Recording;
use testkit::world::{
    Hand, assert_clean, assert_restores, folder, init, member, noise, open, open_as, open_with, restore_stream,
    snapshot_folder, snapshot_stream,
};
use vault::backend::Operation;
use vault::progress::Silent;
use vault::repository::{Options, Repository};
use vault::runtime::Clock;
use vault::{backup, source};
use vault_format::bundle::Role;

/// Regular files of [`fill`], by name.
const FILES: u64 = 51;

/// One of everything that content can look like.
pub fn fill(root: &Path) {
    let path = |name: &str| root.join(name);
    fs::create_dir_all(path("a/b/c/d")).unwrap();
    fs::create_dir(path("empty folder")).unwrap();
    fs::write(path("empty"), b"").unwrap();
    let text = |from: u32| (from..).flat_map(|n| format!("line {n}\n").into_bytes()).take(3 << 20).collect::<Vec<_>>();
    fs::write(path("a/text"), text(0)).unwrap();
    fs::write(path("a/b/noise"), noise(1, 2 << 20)).unwrap();
    fs::write(path("a/b/c/noise again"), noise(1, 2 << 20)).unwrap();
    symlink("../nowhere", path("a/link")).unwrap();
    fs::write(path("one"), b"one inode").unwrap();
    fs::hard_link(path("one"), path("a/b/two")).unwrap();
    for number in 0..44 {
        fs::write(path(&format!("a/b/c/d/{number}")), format!("small {}", number / 2)).unwrap();
    }
    let sparse = File::create(path("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(&noise(2, 100_000), 3 << 20).unwrap();
}

#[test]
fn a_dry_run_puts_nothing() {
    let hand = Hand::new();
    let store = hand.store();
    let runtime = hand.runtime(1, 0);
    drop(init(store.clone(), &runtime));
    let options = Options { memory_bytes: 1 << 20, ..Options::default() };
    let repository = open_with(store.clone(), &runtime, options).unwrap();
    let before = store.objects();
    let bytes = noise(9, 4 << 20);
    let mut input = bytes.as_slice();
    let source = backup::Source::Stream(&mut input, b"dump".to_vec());
    let options = backup::Options { name: "stream".into(), dry_run: true, ..backup::Options::default() };
    let report = backup::backup(&repository, source, &options, &Silent).unwrap();
    assert!(report.snapshot.is_none() && report.head.statistics.added_bytes >= 4 << 20, "{report:?}");
    drop(repository);
    assert!(store.objects().keys().eq(before.keys()));
}

/// Nothing has changed in the folder, but the last snapshot has lost a pack.
#[test]
fn what_heals_the_last_snapshot_is_not_skipped() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("noise"), noise(10, 300_000)).unwrap());
    let first = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    let skip = || {
        let paths = backup::Source::Paths(vec![source.path().to_owned()], source::Options::default());
        let options = backup::Options { name: "folder".into(), skip_if_unchanged: true, ..backup::Options::default() };
        backup::backup(&repository, paths, &options, &Silent).unwrap().snapshot
    };
    assert_eq!(skip(), None);
    let data = store.objects().into_keys().find(|name| name.starts_with("packs/d/")).unwrap();
    assert!(store.remove(&data));
    assert!(skip().is_some());
    assert_restores(&repository, first, source.path(), "healed");
    assert_eq!(skip(), None);
}

#[test]
fn a_folder_and_a_stream_come_back() {
    let source = folder(fill);
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let stream = noise(3, 3_000_000);
    let report = snapshot_folder(&repository, source.path()).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!((report.head.statistics.files, report.head.statistics.unchanged_files), (FILES, 0));
    let dump = snapshot_stream(&repository, &stream).unwrap();
    drop(repository);

    let repository = open(store, &hand.runtime(2, 0)).unwrap();
    assert_restores(&repository, report.snapshot.unwrap(), source.path(), "folder");
    assert!(restore_stream(&repository, dump.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&repository, false, "structure");
    assert_clean(&repository, true, "data");
}

#[test]
fn an_unchanged_folder_costs_next_to_nothing() {
    let source = folder(fill);
    let hand = Hand::new();
    let store = Recording::new(std::sync::Arc::new(hand.store()));
    let repository = init(store.clone(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    store.take();
    let second = snapshot_folder(&repository, source.path()).unwrap();
    let puts: Vec<_> = store.take().into_iter().filter(|call| call.operation == Operation::Put).collect();
    assert_eq!(second.head.statistics.unchanged_files, FILES);
    assert!(!puts.iter().any(|call| call.name.starts_with("packs/")), "{puts:#?}");
    assert!(puts.len() <= 4 && puts.iter().map(|call| call.amount).sum::<u64>() < 20_000, "{puts:#?}");
    assert_restores(&repository, second.snapshot.unwrap(), source.path(), "second");
    assert_clean(&repository, true, "after the second");
}

#[test]
fn the_same_stream_twice_is_stored_once() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let stream = noise(4, 2_000_000);
    snapshot_stream(&repository, &stream).unwrap();
    let second = snapshot_stream(&repository, &stream).unwrap();
    assert!(second.head.statistics.stored_bytes < 20_000, "{:?}", second.head.statistics);
    assert!(restore_stream(&repository, second.snapshot.unwrap()).unwrap() == stream);
}

/// A writer opens no content, so its only way to the parent's tree is its own cache; what that says is checked.
#[test]
fn a_writer_leaves_unchanged_files_unread_if_it_has_its_cache() {
    let (hand, place) = (Hand::new(), tempfile::tempdir().unwrap());
    // the second has so many chunks that they fill a list of their own
    let folder = folder(|root| {
        std::fs::write(root.join("file"), noise(1, 50_000)).unwrap();
        std::fs::write(root.join("long"), noise(2, 12_000_000)).unwrap();
    });
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Writer, "member", None);
    let open = |seed, cached: bool| {
        let repository = open_as(store.clone(), &hand.runtime(seed, 0), &bundle).unwrap();
        if cached {
            repository.use_cache(place.path()).unwrap();
        }
        repository
    };
    let unchanged = |repository: &Repository| {
        let report = snapshot_folder(repository, folder.path()).unwrap();
        assert_restores(&owner, report.snapshot.unwrap(), folder.path(), "a writer's snapshot");
        (report.head.statistics.unchanged_files, report.head.statistics.added_bytes)
    };
    assert_eq!(unchanged(&open(2, true)).0, 0);
    for seed in 20..24 {
        assert_eq!(unchanged(&open(seed, true)).0, 2, "{seed}");
    }
    let (without, added) = unchanged(&open(4, false));
    assert!(without == 0 && added < 2_000, "read again, and known all the same: {added}");
    // the tables, and the log beside them
    let files = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.to_string_lossy().contains(".sqlite")) {
        std::fs::write(path, [1; 4096]).unwrap();
    }
    assert_eq!(unchanged(&open(5, true)).0, 0);
    assert_eq!(unchanged(&open(6, true)).0, 2);
}

/// What was changed within a tick of being read has the times that the parent knows, whatever time has passed since.
#[test]
fn a_file_that_was_young_when_the_parent_was_taken_is_read_again() {
    let hand = Hand(Arc::new(AtomicI64::new(Clock::System.now().nanoseconds())));
    let folder = folder(|root| std::fs::write(root.join("file"), noise(1, 50_000)).unwrap());
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let snapshot = || {
        let source = backup::Source::Paths(vec![folder.path().to_owned()], source::Options::default());
        let options = backup::Options { name: "folder".into(), ..backup::Options::default() };
        backup::backup(&repository, source, &options, &Silent).unwrap().head.statistics.unchanged_files
    };
    assert_eq!(snapshot(), 0);
    hand.advance(Duration::from_hours(1));
    assert_eq!(snapshot(), 0, "it was young in the first");
    assert_eq!(snapshot(), 1, "it was not in the second");
}
