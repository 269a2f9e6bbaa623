//! Objects vanish or rot one at a time. What is lost is named, the next run stores it again, and nothing damaged is
//! ever taken for good.

use crate::compare::compare;
use crate::world::{Hand, PASSWORD, assert_restores, check, folder, init, noise, open, restore_folder, restore_stream};
use crate::world::{snapshot_folder, snapshot_stream};
use std::fs;
use tempfile::TempDir;
use vault::backend::simulated::Simulated;
use vault::repository;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Positions tried in each object.
const POSITIONS: usize = 40;

/// A small repository: a folder in two states and a stream.
struct Small {
    hand: Hand,
    store: Simulated,
    folder: TempDir,
    stream: Vec<u8>,
    /// Folder in its first and its last state, and the stream.
    ids: [ObjectId; 3],
}

impl Small {
    fn new() -> Self {
        let (hand, stream) = (Hand::new(), noise(1, 9_000));
        let store = hand.store();
        let repository = init(store.clone(), &hand.runtime(1, 0));
        let folder = folder(|root| {
            fs::create_dir(root.join("sub")).unwrap();
            fs::write(root.join("sub/one"), noise(2, 8_000)).unwrap();
            fs::write(root.join("two"), noise(3, 5_000)).unwrap();
        });
        let first = snapshot_folder(&repository, folder.path()).unwrap();
        fs::write(folder.path().join("three"), noise(4, 3_000)).unwrap();
        let last = snapshot_folder(&repository, folder.path()).unwrap();
        let dump = snapshot_stream(&repository, &stream).unwrap();
        let ids = [first, last, dump].map(|report| report.snapshot.unwrap());
        assert!(store.objects().values().map(Vec::len).sum::<usize>() < 64 << 10);
        Self { hand, store, folder, stream, ids }
    }

    fn names(&self) -> Vec<Name> {
        self.store.objects().keys().map(|name| Name::parse(name).unwrap()).collect()
    }

    fn without(&self, name: &Name) -> Simulated {
        let copy = self.store.snapshot(2);
        assert!(copy.remove(&name.to_string()));
        copy
    }
}

#[test]
fn what_vanished_is_named() {
    let small = Small::new();
    for name in small.names() {
        // nobody can miss what nothing names: the newest snapshots, and the journal
        match &name {
            Name::Journal(..) => continue,
            Name::Snapshot(_, _, id) if *id == small.ids[2] => continue,
            _ => {}
        }
        let copy = small.without(&name);
        let repository = match open(copy, &small.hand.runtime(3, 0)) {
            Ok(repository) => repository,
            Err(error) => {
                assert!(matches!(name, Name::Config | Name::Slot(_)), "without {name}: {error}");
                continue;
            }
        };
        let findings = check(&repository, false).findings;
        assert!(!findings.is_empty(), "{name} is not missed");
        if let Name::Pack(..) = name {
            assert!(findings.iter().any(|finding| finding.object == name.to_string()), "{name}: {findings:#?}");
            let mut affected = findings.iter().flat_map(|finding| &finding.affected);
            let known = |path: &String| small.ids.iter().any(|id| path.starts_with(&format!("{}:/", id.short())));
            assert!(affected.any(known), "{name}: {findings:#?}");
        }
    }
}

/// A password's slot is gone, and somebody who holds a key looks.
#[test]
fn a_vanished_slot_is_missed_by_whoever_still_gets_in() {
    let small = Small::new();
    let (name, bytes) = small.store.objects().into_iter().find(|(name, _)| name.starts_with("keys/")).unwrap();
    let bundle = vault_format::slot::Slot::parse(&bytes).unwrap().open(PASSWORD).unwrap();
    let copy = small.without(&Name::parse(&name).unwrap());
    let runtime = small.hand.runtime(3, 0);
    let access = repository::Access::Bundle(Box::new(bundle));
    let backend = crate::world::backend(copy, &runtime);
    let repository = repository::Repository::open(backend, runtime, repository::Options::default(), access).unwrap();
    let findings = check(&repository, false).findings;
    assert!(findings.iter().any(|finding| finding.object.contains("slot")), "{findings:#?}");
    assert_restores(&repository, small.ids[1], small.folder.path(), "without a slot");
}

#[test]
fn the_next_run_stores_again_what_vanished() {
    let small = Small::new();
    for name in small.names().into_iter().filter(|name| matches!(name, Name::Pack(..) | Name::Index(..))) {
        let copy = small.without(&name);
        let repository = open(copy.clone(), &small.hand.runtime(4, 0)).unwrap();
        let report = snapshot_folder(&repository, small.folder.path()).unwrap();
        let dump = snapshot_stream(&repository, &small.stream).unwrap();
        let (new, dump) = (report.snapshot.unwrap(), dump.snapshot.unwrap());
        assert_restores(&repository, new, small.folder.path(), &name.to_string());
        assert!(restore_stream(&repository, dump).unwrap() == small.stream, "{name}");
        // without the old snapshots nothing lost is needed any more
        for old in small.names().into_iter().filter(|name| matches!(name, Name::Snapshot(..))) {
            copy.remove(&old.to_string());
        }
        let mut findings = check(&repository, true).findings;
        findings.retain(|finding| finding.object != name.to_string() && !finding.object.starts_with("snapshots/"));
        assert!(findings.is_empty(), "without {name}: {findings:#?}");
    }
}

/// Exact bytes or an error, for all three snapshots.
fn never_wrong(small: &Small, repository: &repository::Repository, context: &str) {
    if let Ok(bytes) = restore_stream(repository, small.ids[2]) {
        assert!(bytes == small.stream, "{context}: other bytes in the stream");
    }
    for id in &small.ids[..2] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let Ok(report) = restore_folder(repository, *id, &target) else { continue };
        let mut differences = compare(small.folder.path(), &target);
        if *id == small.ids[0] {
            differences.retain(|(path, what)| path != "/three" && !(path.is_empty() && what.starts_with("mtime")));
        }
        if !report.failed.is_empty() {
            differences.retain(|(_, what)| what.starts_with("content") || what.starts_with("size"));
        }
        assert!(differences.is_empty(), "{context}: {report:#?} {differences:#?}");
    }
}

#[test]
fn a_flipped_byte_is_noticed_and_never_restored() {
    let small = Small::new();
    let mut unnoticed = Vec::new();
    for (name, bytes) in small.store.objects() {
        let step = (bytes.len() / POSITIONS).max(1);
        for position in (0..bytes.len()).step_by(step) {
            let context = format!("{name} of {} bytes, byte {position}", bytes.len());
            let copy = small.store.snapshot(5);
            copy.damage(&name, |bytes| bytes[position] ^= 0x41);
            // a key slot that does not open is noticed
            let Ok(repository) = open(copy, &small.hand.runtime(6, 0)) else {
                assert!(name.starts_with("keys/"), "{context}: does not open");
                continue;
            };
            if check(&repository, true).findings.is_empty() {
                unnoticed.push(context.clone());
            }
            never_wrong(&small, &repository, &context);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
