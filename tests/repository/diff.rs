//! Diff: between snapshots and against a folder, the same answer as a comparison of the folders themselves.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use testkit::world::{Hand, folder, init, noise, restore_folder, snapshot_folder, snapshot_stream, with_content};
use vault::diff::{self, Options, Report};
use vault::list;
use vault::progress::Progress;
use vault::repository::tree::changes::Difference;
use vault::repository::{Address, Repository};
use vault_format::id::ObjectId;

type Found = BTreeMap<String, Difference>;

/// Counts the bytes that were read.
#[derive(Default)]
struct Counter(AtomicU64);

impl Progress for Counter {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }
    fn at(&self, _: &Path) {}
    fn note(&self, _: &str) {}
}

fn between(repository: &Repository, before: (ObjectId, &str), after: (ObjectId, &str)) -> (Found, Report) {
    let catalog = list::snapshots(repository).unwrap();
    let part = |(id, path): (ObjectId, &str)| {
        Address::new(&catalog, catalog.snapshots.by_id(&id.to_string()).unwrap(), path.as_bytes())
    };
    let mut found = Found::new();
    let report = diff::snapshots(repository, &part(before), &part(after), &mut |change, _| {
        found.insert(String::from_utf8(change.path.clone()).unwrap(), change.difference);
        Ok(())
    });
    (found, report.unwrap())
}

/// The differences, the figures, and the bytes read of the folder.
fn with_folder(repository: &Repository, id: ObjectId, folder: &Path, options: &Options) -> (Found, Report, u64) {
    let catalog = list::snapshots(repository).unwrap();
    let snapshot = catalog.snapshots.by_id(&id.to_string()).unwrap();
    let progress = Counter::default();
    let mut found = Found::new();
    let mut each = |change: &vault::repository::tree::changes::Change, _: (u64, u64)| {
        found.insert(String::from_utf8(change.path.clone()).unwrap(), change.difference);
        Ok(())
    };
    let before = Address::new(&catalog, snapshot, b"");
    let report = diff::with_folder(&before, folder.to_owned(), options, &mut each, &progress).unwrap();
    (found, report, progress.0.into_inner())
}

/// What diff should tell of an entry: type, content, permissions.
#[derive(Clone, PartialEq)]
enum Entry {
    File(Vec<u8>, u32),
    Folder(u32),
    Link(String),
}

fn read(root: &Path) -> BTreeMap<String, Entry> {
    let mut out = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode();
            let entry = if metadata.is_symlink() {
                Entry::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else if metadata.is_dir() {
                pending.push(path);
                Entry::Folder(mode)
            } else {
                Entry::File(fs::read(&path).unwrap(), mode)
            };
            out.insert(name, entry);
        }
    }
    out
}

/// The differences without those of metadata: times change all over.
fn expected(before: &BTreeMap<String, Entry>, after: &BTreeMap<String, Entry>) -> Found {
    let mut out = Found::new();
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let difference = match (before.get(name), after.get(name)) {
            (None, _) => Difference::Added,
            (_, None) => Difference::Removed,
            (Some(Entry::File(old, _)), Some(Entry::File(new, _))) if old != new => Difference::Content,
            (Some(Entry::Link(old)), Some(Entry::Link(new))) if old != new => Difference::Content,
            (Some(old), Some(new)) if std::mem::discriminant(old) != std::mem::discriminant(new) => Difference::Type,
            _ => continue,
        };
        out.insert(name.clone(), difference);
    }
    out
}

fn without_metadata(found: Found) -> Found {
    found.into_iter().filter(|(_, difference)| *difference != Difference::Metadata).collect()
}

/// Makes, changes or removes one entry somewhere.
fn mutate(root: &Path, random: &mut ChaCha20Rng) {
    let mut pick = |below: u64| random.next_u64() % below;
    let entries: Vec<PathBuf> = read(root).keys().map(|name| root.join(name)).collect();
    let at = |number: u64| entries.get(usize::try_from(number).unwrap() % entries.len().max(1)).cloned();
    let is_folder = |path: &PathBuf| fs::symlink_metadata(path).unwrap().is_dir();
    let target = at(pick(1 << 20));
    if let Some(path) = target.clone().filter(|_| pick(3) == 0) {
        if is_folder(&path) {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        if pick(2) == 0 {
            return;
        }
    }
    let above = target.filter(|path| path.exists() && is_folder(path)).unwrap_or_else(|| root.to_owned());
    let path = above.join(format!("{}", pick(12)));
    if let Ok(metadata) = fs::symlink_metadata(&path) {
        if metadata.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    match pick(6) {
        0 => symlink(format!("to {}", pick(3)), &path).unwrap(),
        1 | 2 => fs::create_dir(&path).unwrap(),
        _ => fs::write(&path, noise(pick(4), usize::try_from(pick(3) * 40_000).unwrap())).unwrap(),
    }
}

#[test]
fn random_trees_differ_in_what_was_changed() {
    for seed in 0..12 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let source = folder(|root| (0..30).for_each(|_| mutate(root, &mut random)));
        let hand = Hand::new();
        let repository = init(hand.store(), &hand.runtime(seed, 0));
        let first = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
        let before = read(source.path());
        let (found, report, bytes) = with_folder(&repository, first, source.path(), &Options::default());
        assert_eq!((found, report, bytes), (Found::new(), Report::default(), 0), "seed {seed}: nothing changed");
        (0..8).for_each(|_| mutate(source.path(), &mut random));
        let after = read(source.path());
        let wanted = expected(&before, &after);
        let (found, report, _) = with_folder(&repository, first, source.path(), &Options::default());
        assert_eq!(without_metadata(found), wanted, "seed {seed}: the folder");
        let second = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
        let (found, figures) = between(&repository, (first, ""), (second, ""));
        assert_eq!(without_metadata(found), wanted, "seed {seed}: the snapshots");
        assert_eq!(figures, report, "seed {seed}: both ways have the same figures");
        let (found, back) = between(&repository, (second, ""), (first, ""));
        assert_eq!(without_metadata(found), expected(&after, &before), "seed {seed}: backwards");
        let mirrored = (back.removed, back.added, back.changed, back.metadata, back.removed_bytes, back.added_bytes);
        let forward = (figures.added, figures.removed, figures.changed, figures.metadata);
        let forward = (forward.0, forward.1, forward.2, forward.3, figures.added_bytes, figures.removed_bytes);
        assert_eq!(mirrored, forward, "seed {seed}");
    }
}

#[test]
fn pages_that_both_have_are_not_read() {
    let source = folder(|root| {
        (0..3000).for_each(|number| fs::write(root.join(format!("{number}")), b"").unwrap());
        fs::create_dir_all(root.join("folder/below")).unwrap();
        fs::write(root.join("folder/below/file"), b"x").unwrap();
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    let first = repository.backend().list("packs/m/").unwrap();
    fs::write(source.path().join("1500"), b"one").unwrap();
    let second = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    fs::write(source.path().join("1500"), b"three").unwrap();
    let third = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    // only what is in the first run's packs is the same in both
    first.iter().for_each(|pack| repository.backend().delete(&pack.name).unwrap());
    let (found, report) = between(&repository, (second, ""), (third, ""));
    assert_eq!(found, Found::from([("1500".into(), Difference::Content)]));
    assert_eq!((report.added_bytes, report.removed_bytes), (5, 3));
}

#[test]
fn bytes_are_those_of_the_chunks_that_one_side_lacks() {
    let source = folder(|root| fs::write(root.join("big"), noise(1, 6 << 20)).unwrap());
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let first = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    let big = File::options().write(true).open(source.path().join("big")).unwrap();
    big.write_all_at(b"changed", 3 << 20).unwrap();
    let (found, report, read) = with_folder(&repository, first, source.path(), &Options::default());
    assert_eq!(found, Found::from([("big".into(), Difference::Content)]));
    assert!((1..3 << 20).contains(&report.added_bytes), "{report:?}");
    assert_eq!(report.added_bytes, report.removed_bytes);
    assert!(read <= 12 << 20, "{read}");
    let second = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    assert_eq!(between(&repository, (first, ""), (second, "")), (found, report.clone()));
    assert_eq!(between(&repository, (first, "big"), (second, "big")).1.added_bytes, report.added_bytes);
}

#[test]
fn a_restored_folder_is_read_and_is_the_same() {
    let source = folder(|root| {
        crate::round_trip::fill(root);
        let ends_in_hole = File::create(root.join("ends in a hole")).unwrap();
        ends_in_hole.write_all_at(b"data", 0).unwrap();
        ends_in_hole.set_len(1 << 20).unwrap();
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let report = snapshot_folder(&repository, source.path()).unwrap();
    let id = report.snapshot.unwrap();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out");
    drop(restore_folder(&repository, id, &target).unwrap());
    let (found, figures, read) = with_folder(&repository, id, &target, &Options::default());
    assert!(found.is_empty() && figures.failed.is_empty(), "{found:?} {figures:?}");
    assert!(read > 5 << 20, "{read}");
    // zeros in place of holes, and a hole in place of zeros, are no difference
    for name in ["sparse", "ends in a hole"] {
        let bytes = fs::read(target.join(name)).unwrap();
        fs::write(target.join(name), bytes).unwrap();
    }
    let (found, ..) = with_folder(&repository, id, &target, &Options::default());
    assert!(found.values().all(|difference| *difference == Difference::Metadata) && found.len() == 2, "{found:?}");
    let sparse = File::options().write(true).open(target.join("ends in a hole")).unwrap();
    sparse.write_all_at(b"x", (1 << 20) - 1).unwrap();
    let (found, ..) = with_folder(&repository, id, &target, &Options::default());
    assert_eq!(found.get("ends in a hole"), Some(&Difference::Content));
    // unchanged by its times, so only who asks reads it
    let (_, _, unread) = with_folder(&repository, id, source.path(), &Options::default());
    let (found, _, read) =
        with_folder(&repository, id, source.path(), &Options { read_all: true, ..Options::default() });
    assert_eq!((found, unread), (Found::new(), 0));
    assert!(read > 5 << 20, "{read}");
}

#[test]
fn a_stream_is_compared_with_a_file_of_any_name() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let id = snapshot_stream(&repository, &noise(5, 300_000)).unwrap().snapshot.unwrap();
    let catalog = list::snapshots(&repository).unwrap();
    let snapshot = catalog.snapshots.by_id(&id.to_string()).unwrap();
    let place = folder(|root| fs::write(root.join("other"), noise(5, 300_000)).unwrap());
    let compare = |path: &'static [u8], file: PathBuf| {
        let mut found = Vec::new();
        let mut each = |change: &vault::repository::tree::changes::Change, _: (u64, u64)| {
            found.push(change.difference);
            Ok(())
        };
        let before = Address::new(&catalog, snapshot, path);
        let compared = diff::with_folder(&before, file, &Options::default(), &mut each, &Counter::default());
        compared.map(|_| found)
    };
    assert_eq!(compare(b"dump", place.path().join("other")).unwrap(), [Difference::Metadata]);
    fs::write(place.path().join("other"), noise(6, 300_000)).unwrap();
    assert_eq!(compare(b"dump", place.path().join("other")).unwrap(), [Difference::Content]);
    assert!(compare(b"dump", place.path().to_owned()).is_err());
    assert!(compare(b"dump", place.path().join("no such file")).is_err());
}

#[test]
fn reading_finds_what_size_and_times_hide_and_fetches_no_content() {
    let source = folder(|root| {
        (0..3).for_each(|n| fs::write(root.join(n.to_string()), noise(n, 9_000)).unwrap());
    });
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let first = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    let rotten = with_content(&repository, first, b"what was there before");
    store.objects().keys().filter(|name| name.starts_with("packs/d/")).for_each(|name| assert!(store.remove(name)));
    let read = Options { read_all: true, ..Options::default() };
    assert_eq!(with_folder(&repository, first, source.path(), &read).0, Found::new());
    assert_eq!(with_folder(&repository, rotten, source.path(), &Options::default()).0, Found::new());
    let found = with_folder(&repository, rotten, source.path(), &read).0;
    assert!(found.len() == 3 && found.values().all(|one| *one == Difference::Content), "{found:?}");
}
