//! Trees of a few pages that nobody comes to the end of: folders that hold the same ones over and over, and that lie below
//! each other without end. Whoever goes by pages takes them as they are; whoever goes by paths refuses the snapshot, and
//! the others are none the worse.

use testkit::world::{Hand, check, init, init_like, snapshot_stream};
use vault::error::Result;
use vault::progress::Silent;
use vault::repository::tree::build::TreeBuilder;
use vault::repository::tree::changes::Changes;
use vault::repository::tree::walk::{Step, Walk};
use vault::repository::write::writer::Writer;
use vault::repository::{Address, Reader, Repository};
use vault::{copy, diff, find, list, prune, repair, restore, stats};
use vault_format::id::{BlobKind, ObjectId};
use vault_format::key::Key;
use vault_format::list::Content;
use vault_format::snapshot::{Body, Head};
use vault_format::tree::{Metadata, Node, NodeKind, PATH_BYTES_MAX, TreePage, TreeRoot, Xattr};

fn node(name: &[u8], kind: NodeKind) -> Node {
    Node { name: name.to_vec(), kind, metadata: Metadata::default() }
}

fn file(name: &[u8]) -> Node {
    node(name, NodeKind::File { size: 0, content: Content::Inline(Vec::new()), holes: Vec::new() })
}

/// Stores a leaf page; its root says what it holds, or what a liar has it say.
fn leaf(writer: &mut Writer, nodes: Vec<Node>, is_lie: bool) -> TreeRoot {
    let page = TreePage::Leaf(nodes);
    let count = if is_lie { 1 } else { page.count() };
    TreeRoot { id: writer.put(BlobKind::Tree, &page.encode().unwrap()).unwrap(), bytes: 0, count }
}

/// A snapshot of a tree that `make` makes.
fn snapshot(repository: &Repository, make: impl FnOnce(&mut Writer) -> TreeRoot) -> ObjectId {
    let catalog = list::snapshots(repository).unwrap();
    let last = catalog.snapshots.visible().last().unwrap();
    let lookup = testkit::world::catalog_of_packs(repository);
    let mut writer = Writer::new(repository, &lookup, repository.keys().domain(), "evil").unwrap();
    let root = make(&mut writer);
    let head = Head { source: "evil".into(), root, time: last.head.time + 1, parent: None, ..last.head.clone() };
    writer.flush().unwrap().commit(&head, &Body::default()).unwrap().id().unwrap()
}

/// Sixty pages, each of which is twice in the next: 2^60 paths.
fn wide(writer: &mut Writer, is_lie: bool) -> TreeRoot {
    let mut root = leaf(writer, vec![file(b"x")], false);
    for _ in 0..60 {
        let twice = [b"a", b"b"].map(|name| node(name, NodeKind::Directory(root)));
        root = leaf(writer, twice.to_vec(), is_lie);
    }
    root
}

/// A chain of folders whose path is longer than any may be.
fn deep(writer: &mut Writer) -> TreeRoot {
    let mut root = leaf(writer, vec![file(b"x")], false);
    for _ in 0..600 {
        root = leaf(writer, vec![node(&[b'd'; 255], NodeKind::Directory(root))], false);
    }
    root
}

fn patterns(pattern: &str) -> find::Options {
    find::Options { patterns: vec![pattern.into()], ..find::Options::default() }
}

fn found(repository: &Repository, pattern: &str) -> find::Report {
    let catalog = list::snapshots(repository).unwrap();
    let all: Vec<_> = catalog.snapshots.visible().collect();
    find::find(repository, &catalog, &all, &patterns(pattern)).unwrap()
}

/// What lists, compares, restores and copies refuses the one snapshot, and what only goes by pages takes it.
fn assert_refused(repository: &Repository, hand: &Hand, good: ObjectId, evil: ObjectId, context: &str) {
    let catalog = list::snapshots(repository).unwrap();
    let address = |id: ObjectId| Address::new(&catalog, catalog.snapshots.by_id(&id.to_string()).unwrap(), b"");
    assert!(list::nodes(&address(evil), true, &mut |_, _| Ok(())).is_err(), "{context}: list");
    let mut each = |_: &diff::Change, _: (u64, u64)| Result::Ok(());
    assert!(diff::snapshots(repository, &address(evil), &address(good), &mut each).is_err(), "{context}: diff");
    let source = stats::sources(&catalog, Some("evil")).unwrap().remove(0);
    assert!(stats::growth(repository, &catalog, &source, source.snapshots[0]).is_err(), "{context}: stats");
    let stored = stats::stored(repository, &catalog).unwrap();
    let costs = stats::costs(repository, &catalog, &stored, &[source], &Silent).unwrap();
    assert!(costs.unread.is_empty(), "{context}: costs");
    let place = tempfile::tempdir().unwrap();
    let target = restore::TargetOptions { dry_run: true, ..restore::TargetOptions::default() };
    let options = restore::Options { target, ..restore::Options::default() };
    let restored = restore::restore(repository, &address(evil), place.path(), &options, &Silent).unwrap();
    assert_eq!(restored.failed.len(), 1, "{context}: {:?}", restored.failed);

    let evil_name = evil.short().to_string();
    let findings = check(repository, false).findings;
    assert_eq!(findings.len(), 1, "{context}: {findings:?}");
    assert_eq!(findings[0].mismade, Some(evil), "{context}: {findings:?}");

    let like = init_like(hand.store(), &hand.runtime(5, 0), repository);
    let moved = copy::copy(repository, &like, &copy::Options::default(), &Silent).unwrap();
    assert!(moved.failed.is_empty() && moved.copied.len() == 2, "{context}: {moved:?}");
    let other = init(hand.store(), &hand.runtime(6, 0));
    let written = copy::copy(repository, &other, &copy::Options::default(), &Silent).unwrap();
    assert_eq!(written.copied.iter().map(|one| one.source).collect::<Vec<_>>(), [good], "{context}: {written:?}");
    assert!(written.failed.len() == 1 && written.failed[0].to_string().contains(&evil_name), "{context}: {written:?}");

    prune::prune(repository, &prune::Options::default(), &Silent).unwrap();
    let repaired = repair::repair(repository, None, &repair::Options::default(), &Silent).unwrap();
    assert!(repaired.lost.is_empty(), "{context}: {repaired:?}");
    assert_eq!(testkit::world::restore_stream(repository, good).unwrap(), b"good", "{context}");
}

#[test]
fn folders_that_hold_the_same_ones_over_and_over_cost_their_own_snapshot_alone() {
    for is_lie in [false, true] {
        let hand = Hand::new();
        let repository = init(hand.store(), &hand.runtime(1, 0));
        let good = snapshot_stream(&repository, b"good").unwrap().snapshot.unwrap();
        let evil = snapshot(&repository, |writer| wide(writer, is_lie));
        assert_refused(&repository, &hand, good, evil, &format!("lie: {is_lie}"));
        // nothing that fits is a reason to go anywhere, and what fits everywhere is not told
        let nothing = found(&repository, "nothing*");
        assert!(nothing.versions.is_empty() && nothing.damaged.is_empty(), "{nothing:?}");
        for pattern in ["a", "x", "/a/**", "*"] {
            let report = found(&repository, pattern);
            assert_eq!(report.damaged.len(), 1, "{pattern}: {:?}", report.damaged);
            assert!(report.damaged[0].contains(&evil.short().to_string()), "{pattern}: {:?}", report.damaged);
            assert_eq!(report.versions.len(), usize::from(pattern == "*"), "{pattern}");
        }
    }
}

#[test]
fn folders_below_each_other_without_end_cost_their_own_snapshot_alone() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let good = snapshot_stream(&repository, b"good").unwrap().snapshot.unwrap();
    let evil = snapshot(&repository, deep);
    assert_refused(&repository, &hand, good, evil, "deep");
    let report = found(&repository, "x");
    assert!(report.versions.is_empty() && report.damaged.len() == 1, "{report:?}");
    // what lies no deeper than may be is found
    let report = found(&repository, "dd*");
    assert_eq!((report.versions.len(), report.damaged.len()), (PATH_BYTES_MAX / 256, 1));
}

/// A directory of several pages with another one in the midst of it, and so on.
fn full(writer: &mut Writer, key: &Key, depth: usize) -> TreeRoot {
    let mut root = None;
    for _ in 0..depth {
        let mut builder = TreeBuilder::default();
        for number in 0..9u8 {
            let name = format!("n{number}");
            let mut one = match root.filter(|_| number == 4) {
                Some(root) => node(name.as_bytes(), NodeKind::Directory(root)),
                None => file(name.as_bytes()),
            };
            one.metadata.xattrs = vec![Xattr { name: b"user.x".to_vec(), value: vec![number; 100_000] }];
            builder.push(writer, key, one).unwrap();
        }
        root = Some(builder.finish(writer, key).unwrap());
    }
    root.unwrap()
}

#[test]
fn directories_far_above_are_read_again_and_nothing_is_told_twice_or_left_out() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    snapshot_stream(&repository, b"good").unwrap();
    let depth = 40;
    let id = snapshot(&repository, |writer| full(writer, repository.keys().gear_key(), depth));
    let catalog = list::snapshots(&repository).unwrap();
    let root = catalog.snapshots.by_id(&id.to_string()).unwrap().head.root;
    let reader = Reader::new(&repository, &testkit::world::catalog_of_packs(&repository));
    let mut expected = Vec::new();
    let path = |level: usize, number: u8| format!("{}n{number}", "n4/".repeat(level));
    (0..depth).for_each(|level| expected.extend((0..5).map(|number| path(level, number))));
    (0..depth).rev().for_each(|level| expected.extend((5..9).map(|number| path(level, number))));
    let mut walk = Walk::new(&reader, &root, b"");
    let mut walked = Vec::new();
    while let Some(step) = walk.next() {
        match step {
            Step::Enter(..) | Step::Node(_) => walked.push(String::from_utf8(walk.path().to_vec()).unwrap()),
            Step::Leave => {}
            Step::Unread(error) => panic!("{error}"),
        }
    }
    assert!(walked == expected, "{walked:?}");
    for (old, new) in [(Some(&root), None), (None, Some(&root))] {
        let changes = Changes::of_roots((&reader, old), (&reader, new));
        let changed: Vec<_> = changes.map(|change| String::from_utf8(change.unwrap().path).unwrap()).collect();
        assert!(changed == expected, "{changed:?}");
    }
}
