//! A store that stops answering in the middle: a restore and a check end with its word and soon, call nothing damaged,
//! and come to an end the next time. One that only keeps one object back costs what needs that object.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use testkit::compare::compare;
use testkit::faulty::{Failure, Faulty};
use testkit::hooked::Hooked;
use testkit::recording::Recording;
use testkit::simulated::Simulated;
use testkit::world::{Hand, PASSWORD, folder, init, noise, open_with, restore_folder, snapshot_folder};
use vault::backend::{Backend, BackendOptions, ErrorKind, Operation, Store};
use vault::check;
use vault::error::{Error, Result};
use vault::progress::Silent;
use vault::repository::objects::orders;
use vault::repository::{Access, Options, Repository};
use vault_format::id::ObjectId;
use vault_format::order::Action;

/// In more packs than a store is asked for at once, so that some file is whole before the last is asked for.
const FILES: u64 = 72;
const WORKERS: [usize; 2] = [0, 3];

struct World {
    hand: Hand,
    store: Simulated,
    folder: TempDir,
    id: ObjectId,
}

impl World {
    /// In many small packs.
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        init(store.clone(), &hand.runtime(1, 0));
        let folder = folder(|root| {
            fs::create_dir(root.join("sub")).unwrap();
            for number in 0..FILES {
                fs::write(root.join(format!("sub/{number}")), noise(number, 100_000)).unwrap();
            }
        });
        let small = Options { memory_bytes: 1 << 20, ..Options::default() };
        let repository = open_with(store.clone(), &hand.runtime(2, 0), small).unwrap();
        let id = snapshot_folder(&repository, folder.path()).unwrap().snapshot.unwrap();
        Self { hand, store, folder, id }
    }

    /// Over a store that answers nothing after the `nth` read of a pack. Counts all reads and those of packs.
    fn open(&self, workers: usize, nth: u64) -> (Faulty, Repository, Arc<[AtomicU64; 2]>) {
        let (dying, counts) = (Arc::new(OnceLock::<Faulty>::new()), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let (die, counted) = (dying.clone(), counts.clone());
        let hooked = Hooked::new(self.store.snapshot(1), move |_, what, name| {
            if what != "get" {
                return;
            }
            counted[0].fetch_add(1, Ordering::SeqCst);
            if name.starts_with("packs/") && counted[1].fetch_add(1, Ordering::SeqCst) + 1 == nth {
                let faulty = die.get().unwrap();
                // whoever meets the second asks by the first whether the store is there at all
                faulty.fail(unreachable(Operation::Stat, 1, true));
                faulty.fail(unreachable(Operation::Get, 1, true));
            }
        });
        let faulty = Faulty::new(Arc::new(hooked));
        assert!(dying.set(faulty.clone()).is_ok());
        let repository = open_with(faulty.clone(), &self.hand.runtime(3, workers), Options::default()).unwrap();
        (faulty, repository, counts)
    }
}

fn unreachable(operation: Operation, nth: u64, from_then_on: bool) -> Failure {
    Failure { operation, nth, from_then_on, kind: ErrorKind::Unreachable }
}

/// Whichever object but a pack a store does not give just once, check ends with its word and tells of no damage.
#[test]
fn what_was_not_answered_is_no_damage() {
    let world = World::new();
    let over = |store: Arc<dyn Store>| {
        let backend = Backend::from_store(store, &BackendOptions::default(), &world.hand.runtime(3, 0));
        let access = Access::Password(PASSWORD);
        Repository::open(backend, world.hand.runtime(3, 0), Options::default(), access).unwrap()
    };
    let owner = over(Arc::new(world.store.clone()));
    orders::put(&owner, owner.keys().domain(), Action::Hold(vec![world.id])).unwrap();
    let recording = Recording::new(Arc::new(world.store.snapshot(1)));
    let repository = over(Arc::new(recording.clone()));
    recording.take();
    drop(check::check(&repository, &check::Options::default(), &Silent).unwrap());
    let read: Vec<String> =
        recording.take().into_iter().filter(|call| call.operation == Operation::Get).map(|call| call.name).collect();
    for part in ["config", "keys/", "orders/", "journal/", "snapshots/", "index/"] {
        assert!(read.iter().any(|name| name.starts_with(part)), "{part}: {read:?}");
    }
    for (nth, name) in (1..).zip(&read).filter(|(_, name)| !name.starts_with("packs/")) {
        let faulty = Faulty::new(Arc::new(world.store.snapshot(1)));
        let repository = over(Arc::new(faulty.clone()));
        faulty.revive();
        faulty.fail(unreachable(Operation::Get, nth, false));
        let checked = check::check(&repository, &check::Options::default(), &Silent);
        assert!(checked.is_err(), "{name}: {checked:?}");
    }
}

/// Runs `work` over stores that fall silent after the first, second and so on read of a pack, until one does not.
fn at_each_read<T>(world: &World, workers: usize, mut work: impl FnMut(&Repository) -> Result<T>) -> (u64, T) {
    for nth in 1.. {
        let (faulty, repository, counts) = world.open(workers, nth);
        let result = work(&repository);
        let [answered, packs] = [0, 1].map(|number| counts[number].load(Ordering::SeqCst));
        let failed = repository.backend().counts().get - answered;
        match result {
            Ok(done) if failed == 0 => return (packs, done),
            Ok(_) => panic!("read {nth} of {packs} failed, and nothing came of it"),
            Err(Error::Repository(error)) => {
                let said = error.backend().unwrap_or_else(|| panic!("read {nth}: {error}"));
                assert_eq!(said.kind, ErrorKind::Unreachable, "{error}");
                // those that were on their way
                let most = if workers == 0 { 1 } else { workers.max(repository.backend().connections()) };
                assert!(failed <= most as u64, "{failed} more reads after read {nth}");
            }
            Err(error) => panic!("read {nth}: {error}"),
        }
        faulty.revive();
        work(&repository).unwrap();
    }
    unreachable!()
}

#[test]
fn a_restore_stops_and_goes_on_later() {
    let world = World::new();
    for workers in WORKERS {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let mut restored = 0;
        let (packs, _) = at_each_read(&world, workers, |repository| {
            let report = restore_folder(repository, world.id, &target)?;
            assert!(report.failed.is_empty() && report.files + report.same == FILES, "{report:?}");
            // the target itself was there already
            assert_eq!(compare(&world.folder.path().join("sub"), &target.join("sub")), []);
            restored += report.same;
            fs::remove_dir_all(&target).unwrap();
            Ok(report)
        });
        assert!(packs > 10 && restored > 0, "{packs} reads; {restored} files were there already");
    }
}

#[test]
fn a_check_names_no_damage() {
    let world = World::new();
    for workers in WORKERS {
        let options = check::Options { read: check::Read::All, ..check::Options::default() };
        let run = |repository: &Repository| check::check(repository, &options, &Silent);
        let (packs, report) = at_each_read(&world, workers, run);
        assert!(packs > 4 && report.findings.is_empty() && report.verified_packs > 3, "{packs} {report:?}");
    }
}

/// The store answers, but does not give some ranges of packs.
#[test]
fn what_is_kept_back_costs_what_needs_it() {
    let world = World::new();
    let mut partial = 0;
    for nth in 1..12 {
        let faulty = Faulty::new(Arc::new(world.store.snapshot(1)));
        let repository = open_with(faulty.clone(), &world.hand.runtime(3, 0), Options::default()).unwrap();
        faulty.revive();
        // a range, and then for each blob in it
        (nth..nth + 20).for_each(|nth| faulty.fail(unreachable(Operation::Get, nth, false)));
        let place = tempfile::tempdir().unwrap();
        if let Ok(report) = restore_folder(&repository, world.id, &place.path().join("out")) {
            partial += u64::from(!report.failed.is_empty() && report.files > 0);
        }
    }
    assert!(partial > 0);
}
