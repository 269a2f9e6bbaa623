//! Stats: figures that add up, and what made a source grow.

use std::fs;
use testkit::world::{Hand, folder, init, noise, snapshot_folder, snapshot_stream};
use vault::progress::Silent;
use vault::repository::tree::changes::Difference;
use vault::stats::{self, Files, LARGEST_MAX, Large};
use vault::{forget, list};

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
        let costs = stats::costs(&repository, &catalog, &sources, &Silent).unwrap();
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
