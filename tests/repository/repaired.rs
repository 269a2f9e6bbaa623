//! Damage of every kind, then repair: what can be had from anywhere comes back, what can't is named and left out of a
//! marked copy, the originals stay, and a second repair finds nothing to do.

use crate::copied::client;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::compare::compare;
use testkit::faulty::{self, Failure, Fault, Faulty, ListFault, Mode};
use testkit::recording::Recording;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, assert_restores, check, folder, init, init_like, noise, open_with, restore_folder,
    restore_stream, snapshot_folder, snapshot_stream,
};
use vault::backend::{ErrorKind, Operation, Store};
use vault::progress::Silent;
use vault::repository::{Options, Repository};
use vault::{copy, list, prune, repair};
use vault_format::id::ObjectId;
use vault_format::mark::Mark;
use vault_format::name::Name;

const SEED: u64 = 80;

/// A folder in two states and a stream, in many small packs.
pub struct Small {
    pub hand: Hand,
    pub store: Simulated,
    /// The last state, and the first.
    pub folders: [TempDir; 2],
    stream: Vec<u8>,
    /// The last state, the first, and the stream.
    pub ids: [ObjectId; 3],
}

fn small_packs() -> Options {
    Options { memory_bytes: 1 << 20, ..Options::default() }
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::write(root.join("sub/one"), noise(2, 600_000)).unwrap();
    fs::write(root.join("sub/deep/two"), noise(3, 300_000)).unwrap();
    fs::write(root.join("text"), "text\n".repeat(3_000)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("text", root.join("link")).unwrap();
    // every snapshot sees the same times
    for name in ["sub/one", "sub/deep/two", "text", "empty"] {
        let file = fs::File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
}

impl Small {
    pub fn new() -> Self {
        let (hand, stream) = (Hand::new(), noise(1, 300_000));
        let store = hand.store();
        init(store.clone(), &hand.runtime(SEED, 0));
        let repository = open_with(store.clone(), &hand.runtime(SEED + 1, 0), small_packs()).unwrap();
        let folders = [folder(fill), folder(fill)];
        let first = snapshot_folder(&repository, folders[1].path()).unwrap();
        fs::write(folders[0].path().join("three"), noise(4, 200_000)).unwrap();
        let last = snapshot_folder(&repository, folders[0].path()).unwrap();
        let dump = snapshot_stream(&repository, &stream).unwrap();
        let ids = [last, first, dump].map(|report| report.snapshot.unwrap());
        Self { hand, store, folders, stream, ids }
    }

    pub fn names(&self) -> Vec<Name> {
        self.store.objects().keys().map(|name| Name::parse(name).unwrap()).collect()
    }

    pub fn packs(&self) -> Vec<Name> {
        self.names().into_iter().filter(|name| matches!(name, Name::Pack(..))).collect()
    }

    pub fn open(&self, store: &Simulated, seed: u64) -> Repository {
        open_with(store.clone(), &self.hand.runtime(SEED + seed, 0), small_packs()).unwrap()
    }

    fn assert_whole(&self, repository: &Repository, context: &str) {
        for (id, folder) in self.ids.iter().zip(&self.folders) {
            assert_restores(repository, *id, folder.path(), context);
        }
        assert!(restore_stream(repository, self.ids[2]).unwrap() == self.stream, "{context}");
    }

    /// A second repository that holds the same snapshots.
    fn copy(&self) -> Repository {
        let first = self.open(&self.store, 2);
        let second = init_like(self.hand.store(), &self.hand.runtime(SEED + 3, 0), &first);
        let report = copy::copy(&first, &second, &copy::Options::default(), &Silent).unwrap();
        assert_eq!(report.copied.len(), 3);
        second
    }
}

pub fn repair_all(repository: &Repository, from: Option<&Repository>) -> repair::Report {
    repair::repair(repository, from, &repair::Options::default(), &Silent).unwrap()
}

/// What a folder lacks of another one: regular files by name.
fn missing(of: &Path, restored: &Path) -> BTreeSet<String> {
    compare(of, restored).into_iter().map(|(path, _)| path).collect()
}

/// A second repair writes no object but perhaps a journal record, and says the same.
fn assert_settled(small: &Small, store: &Simulated, report: &repair::Report, context: &str) {
    let before: BTreeSet<String> = store.objects().into_keys().filter(|name| !name.starts_with("journal/")).collect();
    let again = repair_all(&small.open(store, 8), None);
    let after: BTreeSet<String> = store.objects().into_keys().filter(|name| !name.starts_with("journal/")).collect();
    assert_eq!(before, after, "{context}: {again:?}");
    assert_eq!(again.is_whole(), report.is_whole(), "{context}: {again:?}");
    assert_eq!(again.is_healthy(), report.is_whole(), "{context}: {again:?}");
}

#[test]
fn a_healthy_repository_is_left_alone() {
    let small = Small::new();
    let store = Recording::new(Arc::new(small.store.clone()));
    let repository = open_with(store.clone(), &small.hand.runtime(SEED + 2, 0), small_packs()).unwrap();
    store.take();
    let report = repair_all(&repository, Some(&small.copy()));
    assert!(report.is_healthy() && report.notes.is_empty(), "{report:?}");
    assert!(report.packs >= 6 && report.read_bytes > 1_000_000, "{report:?}");
    let writes = |call: &testkit::recording::Call| matches!(call.operation, Operation::Put | Operation::Delete);
    let written: Vec<_> = store.take().into_iter().filter(writes).collect();
    assert!(written.is_empty(), "{written:?}");
}

#[test]
fn a_lost_index_is_rebuilt_from_packs() {
    let small = Small::new();
    let indexes: Vec<String> =
        small.names().iter().filter(|name| matches!(name, Name::Index(..))).map(Name::to_string).collect();
    for lost in indexes.iter().map(|one| vec![one.clone()]).chain([indexes.clone()]) {
        for is_torn in [false, true] {
            let context = format!("without {lost:?}, torn {is_torn}");
            let store = small.store.snapshot(1);
            for name in &lost {
                assert!(if is_torn { store.damage(name, |bytes| bytes.truncate(99)) } else { store.remove(name) });
            }
            let recording = Recording::new(Arc::new(store.clone()));
            let repository = open_with(recording.clone(), &small.hand.runtime(SEED + 2, 0), small_packs()).unwrap();
            recording.take();
            let options = repair::Options { structure_only: true, ..repair::Options::default() };
            let report = repair::repair(&repository, None, &options, &Silent).unwrap();
            let is_read = |call: &&testkit::recording::Call| {
                call.operation == Operation::Get && call.name.starts_with("packs/m/")
            };
            let reads = recording.take().iter().filter(is_read).map(|call| call.name.clone()).collect::<Vec<_>>();
            let distinct: BTreeSet<&String> = reads.iter().collect();
            assert!(!distinct.is_empty() && report.indexed_packs > 0 && report.is_whole(), "{context}: {report:?}");
            assert_clean(&repository, true, &context);
            small.assert_whole(&repository, &context);
            assert_settled(&small, &store, &report, &context);
        }
    }
}

/// Repairs a damaged store; what is lost must be what did not restore before, and everything else must restore.
fn assert_repaired(small: &Small, store: &Simulated, context: &str) -> repair::Report {
    let repository = small.open(store, 4);
    let place = tempfile::tempdir().unwrap();
    let stream_before = restore_stream(&repository, small.ids[2]);
    let report = repair_all(&repository, None);
    for number in [0, 1] {
        let lost = report.lost.iter().find(|lost| lost.snapshot == small.ids[number]);
        let Some(lost) = lost else {
            assert_restores(&repository, small.ids[number], small.folders[number].path(), context);
            continue;
        };
        let Some(copy) = lost.copy else {
            // its root page is gone, and with it all names
            let nothing = ["/ (entries of this directory)"];
            assert_eq!(lost.paths, nothing, "{context}: snapshot {number} has no copy: {report:?}");
            continue;
        };
        let target = place.path().join(format!("{number} repaired"));
        let restored = restore_folder(&repository, copy, &target).unwrap();
        assert!(restored.failed.is_empty(), "{context}: {restored:?}");
        // times of folders differ where an entry went
        let mut gone = missing(small.folders[number].path(), &target);
        gone.retain(|path| small.folders[number].path().join(&path[1.min(path.len())..]).is_file());
        let named: BTreeSet<String> = lost.paths.iter().cloned().collect();
        let is_named = |path: &String| named.iter().any(|name| path == name || is_below(path, name));
        assert!(gone.iter().all(is_named), "{context}: {gone:?} is gone, {named:?} is named");
        let files = named.iter().filter(|name| !name.ends_with(')'));
        for name in files {
            assert!(gone.contains(name), "{context}: {name} is named and there: {gone:?}");
        }
    }
    if let Some(lost) = report.lost.iter().find(|lost| lost.snapshot == small.ids[2]) {
        assert!(lost.copy.is_none() && stream_before.is_err(), "{context}: {lost:?}");
    } else {
        assert!(restore_stream(&repository, small.ids[2]).unwrap() == small.stream, "{context}");
    }
    let kept = list::snapshots(&repository).unwrap().snapshots.all;
    assert!(small.ids.iter().all(|id| kept.iter().any(|one| one.id == *id)), "{context}: the originals are kept");
    // exactly what is lost is still damaged
    let findings = check(&repository, true).findings;
    assert_eq!(findings.is_empty(), report.is_whole(), "{context}: {findings:#?} {report:#?}");
    let copies: Vec<String> =
        report.lost.iter().filter_map(|lost| lost.copy).map(|copy| format!("{}:", copy.short())).collect();
    let affected = findings.iter().flat_map(|finding| &finding.affected);
    for path in affected {
        assert!(!copies.iter().any(|copy| path.starts_with(copy)), "{context}: {findings:#?}");
    }
    assert_settled(small, store, &report, context);
    report
}

/// True if `name` says that entries of a directory are lost, and the path lies in it.
fn is_below(path: &str, name: &str) -> bool {
    name.strip_suffix("/ (entries of this directory)").is_some_and(|directory| path.starts_with(directory))
}

#[test]
fn a_lost_pack_costs_what_it_alone_held() {
    let small = Small::new();
    let mut lost = 0;
    for name in small.packs() {
        let store = small.store.snapshot(1);
        assert!(store.remove(&name.to_string()));
        let report = assert_repaired(&small, &store, &format!("without {name}"));
        assert_eq!(report.damaged_packs.len(), 1, "{report:?}");
        lost += report.lost.len();
        // the source still has it: one snapshot stores it again, and from it the old ones mend
        let repository = small.open(&store, 5);
        snapshot_folder(&repository, small.folders[0].path()).unwrap();
        snapshot_stream(&repository, &small.stream).unwrap();
        let after = repair_all(&repository, None);
        let is_data = name.to_string().starts_with("packs/d/");
        assert!(after.is_whole() || !is_data, "{name}: {after:?}");
        if after.is_whole() {
            small.assert_whole(&repository, &format!("stored again after {name}"));
        }
    }
    assert!(lost >= 4, "{lost}");
}

#[test]
fn what_still_decodes_in_a_damaged_pack_is_stored_again() {
    let small = Small::new();
    let mut salvaged = 0;
    for name in small.packs() {
        let length = small.store.objects()[&name.to_string()].len();
        // in the first frame, in the padding or directory, and in the trailer
        for position in [100, length * 2 / 3, length - 20] {
            let store = small.store.snapshot(1);
            store.damage(&name.to_string(), |bytes| bytes[position] ^= 0x41);
            let context = format!("byte {position} of {length} of {name}");
            let report = assert_repaired(&small, &store, &context);
            assert_eq!(report.damaged_packs.len(), 1, "{context}: {report:?}");
            salvaged += report.salvaged_blobs;
            // a writer relies on nothing rotten any more
            let repository = small.open(&store, 5);
            let next = snapshot_folder(&repository, small.folders[0].path()).unwrap().snapshot.unwrap();
            assert_restores(&repository, next, small.folders[0].path(), &context);
        }
        let store = small.store.snapshot(1);
        store.damage(&name.to_string(), |bytes| bytes.truncate(length - length / 3));
        drop(assert_repaired(&small, &store, &format!("{name} truncated")));
    }
    assert!(salvaged > 10, "{salvaged}");
}

#[test]
fn all_packs_lost_come_back_from_a_copy() {
    let small = Small::new();
    let second = small.copy();
    let packs = small.packs();
    for gone in packs.iter().map(|one| vec![one.clone()]).chain([packs.clone()]) {
        let store = small.store.snapshot(1);
        assert!(gone.iter().all(|name| store.remove(&name.to_string())));
        let repository = small.open(&store, 4);
        let dry = repair::Options { dry_run: true, ..repair::Options::default() };
        let before = store.objects();
        let planned = repair::repair(&repository, Some(&second), &dry, &Silent).unwrap();
        assert!(store.objects() == before);
        let report = repair_all(&repository, Some(&second));
        assert!(report.is_whole() && report.fetched_blobs > 0, "{report:?}");
        assert_eq!(planned.fetched_blobs, report.fetched_blobs, "{planned:?} {report:?}");
        small.assert_whole(&repository, &format!("{gone:?}"));
        assert_clean(&repository, true, &format!("{gone:?}"));
        assert_settled(&small, &store, &report, &format!("{gone:?}"));
    }
    // the copy can be mended from the first in turn
    let other = init(small.hand.store(), &small.hand.runtime(SEED + 7, 0));
    let refused = repair::repair(&small.open(&small.store, 4), Some(&other), &repair::Options::default(), &Silent);
    assert!(refused.unwrap_err().to_string().contains("--like"));
}

#[test]
fn what_a_sweep_has_to_rescue_is_mended_first() {
    let small = Small::new();
    let second = small.copy();
    let owner = small.open(&small.store, 2);
    let condemned: Vec<_> = small
        .packs()
        .into_iter()
        .filter_map(|name| match name {
            Name::Pack(class, id) => Some((class, id)),
            _ => None,
        })
        .collect();
    let grace = Duration::from_hours(24).as_nanos().try_into().unwrap();
    let mark = Mark::Condemn { packs: condemned, snapshots: Vec::new(), grace };
    let mark = mark.seal(owner.id(), owner.keys().signer(), &[1; 32]).unwrap();
    small.store.put(&Name::Mark(ObjectId::of(&mark)).to_string(), &mark).unwrap();
    small.store.damage(&small.packs()[0].to_string(), |bytes| bytes[100] ^= 1);
    small.hand.advance(Duration::from_hours(25));
    let swept = prune::sweep(&owner, &prune::Options::default()).unwrap();
    assert!(swept.packs == 0 && swept.left_out.len() == 1, "it deletes nothing that it can't copy: {swept:?}");
    let report = repair_all(&owner, Some(&second));
    assert!(report.fetched_blobs > 0 && report.is_whole() && report.damaged_packs.is_empty(), "{report:?}");
    assert!(prune::sweep(&owner, &prune::Options::default()).unwrap().packs > 3);
    small.assert_whole(&owner, "swept");
    assert_clean(&owner, true, "swept");
}

#[test]
fn another_domain_has_it_too() {
    let small = Small::new();
    let owner = small.open(&small.store, 2);
    let before = small.packs();
    let member = client(&owner, &small.store, &small.hand);
    let theirs = snapshot_folder(&member, small.folders[0].path()).unwrap().snapshot.unwrap();
    // the client stored all of it again, for it relies on nothing that others wrote
    assert!(before.iter().all(|name| small.store.remove(&name.to_string())));
    let owner = small.open(&small.store, 3);
    let report = repair_all(&owner, None);
    assert!(report.salvaged_blobs > 3, "{report:?}");
    let lost: BTreeSet<ObjectId> = report.lost.iter().map(|lost| lost.snapshot).collect();
    assert!(lost.contains(&small.ids[2]), "{report:?}");
    assert_restores(&owner, theirs, small.folders[0].path(), "the client's");
    let target = tempfile::tempdir().unwrap();
    let copied = report.lost.iter().find(|lost| lost.snapshot == small.ids[0]).and_then(|lost| lost.copy);
    let restored = restore_folder(&owner, copied.unwrap_or(small.ids[0]), &target.path().join("out"));
    assert!(restored.is_ok(), "{report:?}");
}

#[test]
fn each_config_is_restored_from_the_other() {
    let small = Small::new();
    let good = small.store.objects();
    for name in ["config", "config.copy"] {
        for is_torn in [false, true] {
            let store = small.store.snapshot(1);
            assert!(if is_torn { store.damage(name, |bytes| bytes.truncate(70)) } else { store.remove(name) });
            let repository = small.open(&store, 2);
            assert!(!check(&repository, false).findings.is_empty());
            let report = repair_all(&repository, None);
            assert_eq!(report.config, [name]);
            assert!(store.objects()[name] == good[name]);
            assert_clean(&repository, false, name);
            assert_settled(&small, &store, &report, name);
        }
    }
}

#[test]
fn what_the_program_does_not_know_stops_it() {
    let small = Small::new();
    let object = small.store.objects()["config"].clone();
    let later = format!("parity/{}", ObjectId::of(&object));
    small.store.put(&later, &object).unwrap();
    let repository = small.open(&small.store, 2);
    let refused = repair::repair(&repository, None, &repair::Options::default(), &Silent).unwrap_err();
    assert!(refused.to_string().contains(&later), "{refused}");
    let member = client(&repository, &small.store, &small.hand);
    let refused = repair::repair(&member, None, &repair::Options::default(), &Silent).unwrap_err();
    assert!(refused.to_string().contains("owner"), "{refused}");
}

#[test]
fn a_short_listing_loses_nothing() {
    let small = Small::new();
    for (prefix, nth) in [("packs/", 1), ("packs/", 2), ("index/", 1), ("snapshots/", 1)] {
        for fault in [ListFault::Empty, ListFault::FirstPage(2)] {
            let store = small.store.snapshot(1);
            let faulty = Faulty::new(Arc::new(store.clone()));
            let repository = open_with(faulty.clone(), &small.hand.runtime(SEED + 2, 0), small_packs()).unwrap();
            faulty.mislist(prefix, nth, fault);
            let report = repair_all(&repository, None);
            let context = format!("{prefix} {nth} {fault:?}: {report:?}");
            let repository = small.open(&store, 3);
            drop(repair_all(&repository, None));
            small.assert_whole(&repository, &context);
            assert_clean(&repository, true, &context);
        }
    }
}

/// A lost index, a rotten pack, a missing one.
fn broken(small: &Small) -> Simulated {
    let store = small.store.snapshot(1);
    let packs = small.packs();
    let last = |wanted: &dyn Fn(&Name) -> bool| small.names().iter().rfind(|name| wanted(name)).unwrap().to_string();
    store.remove(&last(&|name| matches!(name, Name::Index(..))));
    let (first, second) = (packs[0].to_string(), packs[1].to_string());
    store.damage(&first, |bytes| bytes[100] ^= 1);
    store.remove(&second);
    store
}

/// The same is lost as was expected, and each snapshot that lost something was copied once.
fn assert_lost(repository: &Repository, (report, expected): (&repair::Report, &repair::Report), context: &str) {
    let lost = |report: &repair::Report| -> BTreeSet<_> {
        report.lost.iter().map(|lost| (lost.snapshot, lost.paths.clone())).collect()
    };
    assert_eq!(lost(report), lost(expected), "{context}");
    let marked = list::snapshots(repository).unwrap().snapshots;
    let copies = marked.visible().filter(|one| one.head.original.is_some()).count();
    let due = expected.lost.iter().filter(|lost| lost.copy.is_some()).count();
    assert_eq!(copies, due, "{context}");
}

#[test]
fn what_the_store_does_not_give_just_now_is_not_lost() {
    let small = Small::new();
    let begin = broken(&small);
    let expected = repair_all(&small.open(&begin.snapshot(1), 3), None);
    assert!(!expected.is_whole());
    for nth in 1.. {
        let store = begin.snapshot(nth);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let repository = open_with(faulty.clone(), &small.hand.runtime(SEED + 3, 0), small_packs()).unwrap();
        let before = repository.backend().counts().get;
        faulty.revive();
        faulty.fail(Failure { operation: Operation::Get, nth, from_then_on: false, kind: ErrorKind::Unreachable });
        let first = repair::repair(&repository, None, &repair::Options::default(), &Silent);
        let reads = repository.backend().counts().get - before;
        let repository = small.open(&store, 4);
        let context = format!("read {nth} of {reads}: {first:?}");
        assert_lost(&repository, (&repair_all(&repository, None), &expected), &context);
        if nth > reads {
            assert!(nth > 20 && first.is_ok(), "{context}");
            break;
        }
    }
}

#[test]
fn a_repair_that_crashes_at_any_write_goes_on() {
    let small = Small::new();
    let copy = small.copy();
    for from in [None, Some(&copy)] {
        let begin = broken(&small);
        let run = |faulty: Faulty| {
            let repository = open_with(faulty, &small.hand.runtime(SEED + 3, 0), small_packs()).unwrap();
            repair::repair(&repository, from, &repair::Options::default(), &Silent)
        };
        let faulty = Faulty::new(Arc::new(begin.snapshot(1)));
        let expected = run(faulty.clone()).unwrap();
        assert_eq!(expected.is_whole(), from.is_some(), "{expected:?}");
        let writes = faulty.mutations();
        assert!(writes >= 5, "{writes}");
        for operation_number in faulty::strikes(writes) {
            for mode in [Mode::NotApplied, Mode::AppliedUnacknowledged, Mode::TornFraction(0.5)] {
                let context = format!("seed {SEED}, write {operation_number} of {writes}, {mode:?}");
                let store = begin.snapshot(operation_number);
                let faulty = Faulty::new(Arc::new(store.clone()));
                faulty.plan(Fault { operation_number, mode, then_dead: true });
                // a journal record that can't be written is only a warning
                let _ = run(faulty.clone());
                assert!(faulty.is_dead(), "{context}: did not strike");
                let repository = small.open(&store, 4);
                let report = repair::repair(&repository, from, &repair::Options::default(), &Silent).unwrap();
                if from.is_some() {
                    small.assert_whole(&repository, &context);
                } else {
                    assert_lost(&repository, (&report, &expected), &context);
                }
                if !matches!(mode, Mode::TornFraction(_)) {
                    assert_settled(&small, &store, &report, &context);
                }
            }
        }
    }
}
