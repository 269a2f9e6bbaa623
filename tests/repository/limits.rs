//! The limits of the format, met by ordinary data: what one page, frame or pack can't hold goes into the next, and comes
//! back.

use std::fs;
use testkit::world::{Hand, assert_clean, folder, init, restore_folder, snapshot_folder};
use vault::list;
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::marks::Marks;
use vault::repository::objects::trust::Trust;
use vault::repository::tree::build::TreeBuilder;
use vault::repository::tree::nodes::Nodes;
use vault::repository::write::writer::Writer;
use vault::repository::{Address, Reader, Repository};
use vault_format::directory::PACK_BLOBS_MAX;
use vault_format::id::BlobKind;
use vault_format::list::Content;
use vault_format::tree::{
    Extent, Metadata, NAME_BYTES_MAX, Node, NodeKind, PATH_BYTES_MAX, TARGET_BYTES_MAX, TreeChild, TreePage, TreeRoot,
    Xattr,
};

/// Runs with an index of all that is stored.
fn with_index<T>(repository: &Repository, work: impl FnOnce(&BlobLookup) -> T) -> T {
    let trust = Trust::load(repository).unwrap();
    let (packs, _) = index_objects::list_packs(repository).unwrap();
    let objects = IndexObjects::load(repository, &trust, None).unwrap();
    work(&BlobLookup::new(repository, objects, Some(&packs), &Marks::default()).unwrap())
}

#[test]
fn a_pack_of_the_smallest_blobs_ends_at_its_number_of_blobs() {
    let hand = Hand::new();
    for workers in [0, 2] {
        let repository = init(hand.store(), &hand.runtime(1, workers));
        let number = u32::try_from(PACK_BLOBS_MAX).unwrap() + 1;
        let ids: Vec<_> = with_index(&repository, |index| {
            let mut writer = Writer::new(&repository, index, repository.keys().domain(), "tiny").unwrap();
            let ids = (0..number).map(|n| writer.put(BlobKind::Chunk, &n.to_le_bytes()).unwrap()).collect();
            writer.flush().unwrap().uncommitted();
            ids
        });
        with_index(&repository, |index| {
            let reader = Reader::new(&repository, index);
            for (n, id) in (0..number).zip(&ids).step_by(1000).chain((0..number).zip(&ids).skip(PACK_BLOBS_MAX - 1)) {
                assert_eq!(reader.blob(BlobKind::Chunk, id).unwrap().as_slice(), n.to_le_bytes(), "{n}");
            }
        });
    }
}

fn file(name: Vec<u8>, metadata: Metadata) -> Node {
    Node { name, kind: NodeKind::File { size: 0, content: Content::Inline(Vec::new()), holes: Vec::new() }, metadata }
}

#[test]
fn the_largest_nodes_share_a_directory() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let key = repository.keys().gear_key().clone();
    let megabyte = Metadata {
        xattrs: (0..16u8).map(|n| Xattr { name: vec![b'u', n + 1], value: vec![n; 65534] }).collect(),
        ..Metadata::default()
    };
    let holes: Vec<Extent> = (0..8192).map(|n| Extent { offset: n * 10, length: 10 }).collect();
    let mut nodes: Vec<Node> = (0..9u8).map(|n| file(vec![b'a', n + 1], megabyte.clone())).collect();
    nodes.push(file(vec![b'b'; NAME_BYTES_MAX], Metadata::default()));
    nodes.push(Node { kind: NodeKind::Symlink(vec![b't'; TARGET_BYTES_MAX]), ..file(b"c".into(), megabyte.clone()) });
    let sparse = NodeKind::File { size: 81920, content: Content::Inline(Vec::new()), holes };
    nodes.push(Node { kind: sparse, ..file(b"d".into(), megabyte) });
    let root = with_index(&repository, |index| {
        let mut writer = Writer::new(&repository, index, repository.keys().domain(), "large").unwrap();
        let mut builder = TreeBuilder::default();
        nodes.iter().for_each(|node| builder.push(&mut writer, &key, node.clone()).unwrap());
        let root = builder.finish(&mut writer, &key).unwrap();
        writer.flush().unwrap().uncommitted();
        root
    });
    with_index(&repository, |index| {
        let reader = Reader::new(&repository, index);
        let read: Vec<Node> = Nodes::new(&reader, &root).map(Result::unwrap).collect();
        assert!(read == nodes);
    });
}

/// Pages that lie about their height or their names could send a reader in circles, or hide an entry behind another.
#[test]
fn a_page_of_a_directory_is_held_to_what_its_parent_says() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let branch = |height, children: [(&TreeRoot, &str); 2]| {
        let child = |(root, last): (&TreeRoot, &str)| TreeChild { last_name: last.into(), root: *root };
        TreePage::Branch { height, children: children.map(child).into() }
    };
    let (good, bad) = with_index(&repository, |index| {
        let mut writer = Writer::new(&repository, index, repository.keys().domain(), "lies").unwrap();
        let mut put = |page: TreePage| {
            let id = writer.put(BlobKind::Tree, &page.encode().unwrap()).unwrap();
            TreeRoot { id, bytes: 0, count: page.count() }
        };
        let leaf = |names: [&str; 2]| TreePage::Leaf(names.map(|name| file(name.into(), Metadata::default())).into());
        let [first, second, mixed] = [["a", "b"], ["c", "d"], ["b", "e"]].map(|names| put(leaf(names)));
        let good = put(branch(1, [(&first, "b"), (&second, "d")]));
        let bad = [
            ("another height", put(branch(2, [(&first, "b"), (&second, "d")]))),
            ("ends with another name", put(branch(1, [(&first, "b"), (&second, "e")]))),
            ("not in order", put(branch(1, [(&second, "d"), (&mixed, "e")]))),
            ("more or fewer nodes", TreeRoot { count: 5, ..good }),
        ];
        writer.flush().unwrap().uncommitted();
        (good, bad)
    });
    with_index(&repository, |index| {
        let reader = Reader::new(&repository, index);
        let names: Vec<Vec<u8>> = Nodes::new(&reader, &good).map(|node| node.unwrap().name).collect();
        assert_eq!(names, [b"a", b"b", b"c", b"d"]);
        for (what, root) in bad {
            let errors: Vec<String> =
                Nodes::new(&reader, &root).filter_map(|node| Some(node.err()?.to_string())).collect();
            assert!(errors.iter().any(|error| error.contains(what)), "{what}: {errors:?}");
        }
    });
}

#[test]
fn what_lies_deeper_than_any_path_may_be_long_is_named_and_the_rest_comes_back() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let name = "d".repeat(255);
    let source = folder(|root| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(root, flags, Mode::empty()).unwrap();
        for _ in 0..PATH_BYTES_MAX / 256 + 2 {
            mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o755)).unwrap();
            at = openat(&at, name.as_str(), flags, Mode::empty()).unwrap();
        }
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let report = snapshot_folder(&repository, source.path()).unwrap();
    assert_eq!(report.failed.len(), 1, "{}", report.failed.len());
    assert_clean(&repository, false, "what is too long is not stored");
    let catalog = list::snapshots(&repository).unwrap();
    let address = Address::new(&catalog, catalog.snapshots.all.first().unwrap(), b"");
    let mut longest = 0;
    list::nodes(&address, true, &mut |path, _| {
        longest = longest.max(path.len());
        Ok(())
    })
    .unwrap();
    assert_eq!(longest, PATH_BYTES_MAX - 1);
}

#[test]
fn a_folder_of_extremes_comes_back() {
    let source = folder(|root| {
        fs::write(root.join("n".repeat(255)), "longest name").unwrap();
        std::os::unix::fs::symlink("t".repeat(4095), root.join("link")).unwrap();
        fs::File::create(root.join("vast")).unwrap().set_len((1 << 43) - 4096).unwrap();
        let deep = root.join(["d"; 1500].join("/"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("end"), "of a long path").unwrap();
        for (name, seconds) in [("early", -2_000_000_000i64), ("late", 9_000_000_000)] {
            fs::write(root.join(name), name).unwrap();
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 999_999_999 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(rustix::fs::CWD, root.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(root.join("late"), Some(u32::MAX - 1), Some(u32::MAX - 1)).unwrap();
        }
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let report = snapshot_folder(&repository, source.path()).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let place = tempfile::tempdir().unwrap();
    let restored = restore_folder(&repository, report.snapshot.unwrap(), &place.path().join("out")).unwrap();
    assert!(restored.failed.is_empty(), "{restored:?}");
    for name in ["early", "late", "link", &"n".repeat(255), "vast"] {
        use std::os::unix::fs::MetadataExt;
        let state = |root: &std::path::Path| {
            let found = root.join(name).symlink_metadata().unwrap();
            (found.len(), found.mtime(), found.mtime_nsec(), found.uid(), found.gid())
        };
        assert_eq!(state(source.path()), state(&place.path().join("out")), "{name}");
    }
    assert_clean(&repository, true, "after extremes");
}
