//! Stats: figures that add up, and what made a source grow.

use std::fs;
use testkit::world::{Hand, folder, init, noise, restore_stream, snapshot_folder, snapshot_stream, tick};
use vault::plan::Delta;
use vault::progress::Silent;
use vault::repository::Repository;
use vault::repository::tree::changes::Difference;
use vault::stats::{self, Added, Files, LARGEST_MAX, Large};
use vault::{backup, forget, list};
use vault_format::id::ObjectId;

#[test]
fn figures_add_up_to_what_the_store_holds() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| {
        fs::write(root.join("noise"), noise(1, 1 << 20)).unwrap();
        fs::write(root.join("noise again"), noise(1, 1 << 20)).unwrap();
        fs::write(root.join("zeros"), vec![b'0'; 1 << 20]).unwrap();
    });
    (0..3).for_each(|_| drop(snapshot_folder(&repository, source.path()).unwrap()));
    snapshot_stream(&repository, b"short").unwrap();
    let catalog = list::snapshots(&repository).unwrap();
    let stored = stats::stored(&repository, &catalog).unwrap();
    let listed = repository.backend().list("").unwrap();
    assert_eq!(stored.bytes(), listed.iter().map(|entry| entry.size).sum::<u64>());
    assert_eq!(stored.snapshots.count, 4);
    assert_eq!(stored.logical_bytes, 9 * (1 << 20) + 5);
    // one file of noise, and the zeros in chunks of which some are equal
    assert!((1 << 20..(2 << 20) + 6).contains(&stored.unique_bytes), "{stored:?}");
    assert!(stored.compressed_bytes < stored.plain_bytes && stored.plain_bytes >= stored.unique_bytes, "{stored:?}");
    assert!(stored.compressed_bytes <= stored.data.bytes, "{stored:?}");
    let sources = stats::sources(&catalog, None).unwrap();
    let counts: Vec<_> = sources.iter().map(|source| (source.name, source.snapshots.len())).collect();
    assert_eq!(counts, [("folder", 3), ("stream", 1)]);
    assert!(stats::sources(&catalog, Some("other")).unwrap().is_empty());
}

#[test]
fn growth_names_what_was_new_changed_and_gone() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| {
        fs::create_dir(root.join("old")).unwrap();
        fs::write(root.join("old/a"), noise(1, 1000)).unwrap();
        fs::write(root.join("log"), noise(2, 2000)).unwrap();
        fs::write(root.join("same"), noise(3, 9000)).unwrap();
    });
    let growth = || {
        let catalog = list::snapshots(&repository).unwrap();
        let sources = stats::sources(&catalog, Some("folder")).unwrap();
        let source = sources.first().unwrap();
        stats::growth(&repository, &catalog, source, source.snapshots.last().unwrap()).unwrap()
    };
    let first = snapshot_folder(&repository, source.path()).unwrap().snapshot;
    let grown = growth();
    assert_eq!((grown.parent, grown.new), (None, Files { count: 3, bytes: 12_000 }));
    let names: Vec<_> = grown.largest.iter().map(|large| String::from_utf8(large.path.clone()).unwrap()).collect();
    assert_eq!(names, ["same", "log", "old"]);

    fs::remove_dir_all(source.path().join("old")).unwrap();
    fs::write(source.path().join("log"), noise(4, 2500)).unwrap();
    fs::create_dir_all(source.path().join("new/below")).unwrap();
    for number in 0..20 {
        fs::write(source.path().join(format!("new/below/{number}")), noise(10 + number, 300)).unwrap();
    }
    snapshot_folder(&repository, source.path()).unwrap();
    let grown = growth();
    assert_eq!(grown.parent, first);
    assert_eq!(grown.new, Files { count: 20, bytes: 6000 });
    assert_eq!(grown.changed, Files { count: 1, bytes: 2500 });
    assert_eq!(grown.removed, Files { count: 1, bytes: 1000 });
    let large = |path: &str, is_directory, difference, added_bytes, removed_bytes| Large {
        path: path.into(),
        is_directory,
        difference,
        added_bytes,
        removed_bytes,
    };
    let expected = [
        large("new", true, Difference::Added, 6000, 0),
        large("log", false, Difference::Content, 2500, 2000),
        large("old", true, Difference::Removed, 0, 1000),
    ];
    assert_eq!(grown.largest, expected);
    for number in 0..20 {
        fs::write(source.path().join(format!("{number}")), noise(40 + number, 300)).unwrap();
    }
    snapshot_folder(&repository, source.path()).unwrap();
    assert_eq!(growth().largest.len(), LARGEST_MAX);
}

#[test]
fn a_source_costs_what_its_snapshots_need_whatever_was_forgotten() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("big"), noise(1, 3 << 20)).unwrap());
    let first = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
    fs::write(source.path().join("small"), noise(2, 1000)).unwrap();
    snapshot_folder(&repository, source.path()).unwrap();
    let cost = |name: &str| {
        let catalog = list::snapshots(&repository).unwrap();
        let sources = stats::sources(&catalog, Some(name)).unwrap();
        let stored = stats::stored(&repository, &catalog).unwrap();
        let costs = stats::costs(&repository, &catalog, &stored, &sources, &Silent).unwrap();
        assert_eq!(costs.unread, Vec::<String>::new());
        costs.of(sources.first().unwrap()).unwrap()
    };
    let before = cost("folder");
    assert!(before.alone > 3 << 20 && before.shared == 0, "{before:?}");
    forget::by_id(&repository, &[first.to_string()], &forget::Options::default()).unwrap();
    let after = cost("folder");
    // only the page of the older state went
    assert!(before.alone - after.alone < 1000 && after.shared == 0, "{before:?} {after:?}");

    // another source with the same content: neither has it alone
    snapshot_stream(&repository, &noise(1, 3 << 20)).unwrap();
    let (folder, stream) = (cost("folder"), cost("stream"));
    assert!(folder.shared > 3 << 20 && folder.alone < 10_000, "{folder:?}");
    assert_eq!(folder.shared, stream.shared);
    assert!(stream.alone < 10_000 && folder.bytes() == after.alone, "{stream:?} {folder:?}");
    // and all of it lies in the store
    let stored = stats::stored(&repository, &list::snapshots(&repository).unwrap()).unwrap();
    assert!(folder.alone + stream.alone + folder.shared <= stored.data.bytes + stored.metadata.bytes);
}

/// A dump of rows, of which the change of a run is in a few.
fn rows(change: u32) -> Vec<u8> {
    let row = |number: u32| {
        let version = if number.is_multiple_of(9_973) { change } else { 0 };
        let word = number.wrapping_mul(2_654_435_761) ^ version.wrapping_mul(40_503);
        format!("{number}\t{word:08x}\t{}\n", word.wrapping_mul(2_246_822_519))
    };
    (0..200_000).map(row).collect::<String>().into_bytes()
}

#[test]
fn what_each_run_added_is_told_by_cause_and_adds_up() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let before = stats::stored(&repository, &list::snapshots(&repository).unwrap()).unwrap();
    let options = backup::Options { name: "db".into(), delta: Delta::Always, ..backup::Options::default() };
    let ids: Vec<_> = [1, 2, 2].map(|change| take(&repository, &rows(change), &options)).into();
    let catalog = list::snapshots(&repository).unwrap();
    let stored = stats::stored(&repository, &catalog).unwrap();
    let sources = stats::sources(&catalog, Some("db")).unwrap();
    let costs = stats::costs(&repository, &catalog, &stored, &sources, &Silent).unwrap();
    let added: Vec<Added> = ids.iter().map(|id| costs.added(id).unwrap()).collect();
    let chunks = |added: &Added| (added.whole.count, added.deltas.count);
    let whole = chunks(&added[0]).0;
    assert!(whole > 20 && chunks(&added[0]).1 == 0, "{added:?}");
    // most of what changed became a difference, which is far smaller
    let (again, deltas) = chunks(&added[1]);
    assert!(deltas > again && again + deltas < whole, "{added:?}");
    assert!(added[1].deltas.bytes * 10 < added[0].whole.bytes && added[1].deltas.bytes > 0, "{added:?}");
    // the same once more is a page of its tree, since the time is another
    assert_eq!((chunks(&added[2]), added[2].pages.count), ((0, 0), 1));
    assert!(added.iter().all(|one| one.pages.bytes > 0 && one.index_bytes > 500), "{added:?}");
    let cost = costs.of(sources.first().unwrap()).unwrap();
    assert_eq!(cost.bytes(), added.iter().map(|one| one.bytes() - one.index_bytes).sum::<u64>());
    // all packs, index objects and snapshots, but for what rounding loses
    let (all, other) = (stored.bytes() - before.bytes(), stored.other.bytes - before.other.bytes);
    let told: u64 = added.iter().map(Added::bytes).sum();
    assert!(told <= all - other && all - other - told < 200, "{told} of {all}, {other} of other kinds");
}

fn take(repository: &Repository, mut bytes: &[u8], options: &backup::Options) -> ObjectId {
    tick(repository);
    let source = backup::Source::Stream(&mut bytes, b"db.sql".to_vec());
    backup::backup(repository, source, options, &Silent).unwrap().snapshot.unwrap()
}

#[test]
fn a_higher_level_stores_less_of_what_is_whole_and_of_differences() {
    let stored = [1, 19].map(|level| {
        let hand = Hand::new();
        let repository = init(hand.store(), &hand.runtime(1, 0));
        let options =
            backup::Options { name: "db".into(), delta: Delta::Always, level: Some(level), ..Default::default() };
        for change in [1, 2] {
            let id = take(&repository, &rows(change), &options);
            assert_eq!(restore_stream(&repository, id).unwrap(), rows(change));
        }
        let catalog = list::snapshots(&repository).unwrap();
        stats::stored(&repository, &catalog).unwrap().compressed_bytes
    });
    assert!(stored[1] * 100 < stored[0] * 97, "{stored:?}");
}
