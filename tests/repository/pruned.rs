//! Prune while others write, and over listings that show too little: what a snapshot needs stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::faulty::{Failure, Faulty, ListFault};
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, init, noise, open, restore_stream, snapshot_stream};
use vault::backend::error::{ErrorKind, Operation};
use vault::progress::Silent;
use vault::repository::Repository;
use vault::repository::objects::orders;
use vault::{prune, undelete};
use vault_format::id::ObjectId;
use vault_format::order::Action;

const DAY: Duration = Duration::from_hours(25);

fn forget(repository: &Repository, id: ObjectId) {
    orders::put(repository, repository.keys().domain(), Action::Forget(vec![id])).unwrap();
}

fn mark(repository: &Repository) -> prune::MarkReport {
    prune::mark(repository, &prune::Options::default()).unwrap()
}

/// A repository whose only old snapshot is forgotten and marked while a run that relies on its packs commits.
struct Rescue {
    hand: Hand,
    store: Simulated,
    stream: Vec<u8>,
    new: ObjectId,
}

impl Rescue {
    fn new() -> Self {
        let (hand, stream) = (Hand::new(), noise(1, 300_000));
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let old = snapshot_stream(&owner, &stream).unwrap().snapshot.unwrap();
        let looks = AtomicU64::new(0);
        let hooked = Hooked::new(store.clone(), move |_, what, prefix| {
            if (what, prefix) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) == 1 {
                forget(&owner, old);
                assert!(!mark(&owner).packs.is_empty());
            }
        });
        let repository = open(hooked, &hand.runtime(2, 0)).unwrap();
        let report = snapshot_stream(&repository, &stream).unwrap();
        assert!(report.head.statistics.added_bytes < 50_000, "{:?}", report.head.statistics);
        Self { hand, store, stream, new: report.snapshot.unwrap() }
    }

    fn assert_kept(&self, context: &str) {
        let repository = open(self.store.clone(), &self.hand.runtime(4, 0)).unwrap();
        assert!(restore_stream(&repository, self.new).unwrap() == self.stream, "{context}");
        assert_clean(&repository, true, context);
    }
}

#[test]
fn what_came_to_be_needed_meanwhile_is_rescued() {
    let world = Rescue::new();
    world.assert_kept("marked");
    let owner = open(world.store.clone(), &world.hand.runtime(3, 0)).unwrap();
    let early = prune::sweep(&owner, &prune::Options::default()).unwrap();
    assert_eq!((early.packs, early.marks, early.waiting), (0, 0, 1), "{early:?}");
    world.hand.advance(DAY);
    let report = prune::sweep(&owner, &prune::Options::default()).unwrap();
    assert!(report.rescued_blobs > 0 && report.packs > 0, "{report:?}");
    world.assert_kept("swept");
    assert_eq!(prune::sweep(&owner, &prune::Options::default()).unwrap().marks, 0);
}

#[test]
fn nothing_needed_is_condemned_over_short_listings() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    for seed in 0..3 {
        snapshot_stream(&repository, &noise(seed, 100_000)).unwrap();
    }
    hand.advance(DAY);
    let mut wrong = Vec::new();
    for prefix in ["snapshots/", "index/", "packs/", "orders/", "marks/", "keys/", "journal/"] {
        for fault in [ListFault::Empty, ListFault::FirstPage(1), ListFault::FirstPage(2)] {
            let faulty = Faulty::new(Arc::new(store.snapshot(1)));
            let owner = open(faulty.clone(), &hand.runtime(2, 0)).unwrap();
            (1..4).for_each(|nth| faulty.mislist(prefix, nth, fault));
            if let Ok(report) = prune::mark(&owner, &prune::Options::default())
                && !report.packs.is_empty()
            {
                wrong.push(format!("{prefix} {fault:?}: {} packs condemned", report.packs.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_needed_is_swept_over_short_listings() {
    let world = Rescue::new();
    world.hand.advance(DAY);
    let mut wrong = Vec::new();
    for prefix in ["snapshots/", "index/", "packs/", "orders/", "marks/"] {
        for fault in [ListFault::Empty, ListFault::FirstPage(1)] {
            let store = world.store.snapshot(1);
            let faulty = Faulty::new(Arc::new(store.clone()));
            let owner = open(faulty.clone(), &world.hand.runtime(2, 0)).unwrap();
            (1..4).for_each(|nth| faulty.mislist(prefix, nth, fault));
            let swept = prune::sweep(&owner, &prune::Options::default());
            let reopened = open(store, &world.hand.runtime(3, 0)).unwrap();
            if !restore_stream(&reopened, world.new).is_ok_and(|bytes| bytes == world.stream) {
                wrong.push(format!("{prefix} {fault:?}: lost after {swept:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The data of a forgotten snapshot that may still be taken back: a store that does not answer is no reason to give it up.
#[test]
fn a_read_that_fails_costs_no_forgotten_snapshot() {
    let world = Rescue::new();
    world.hand.advance(DAY);
    forget(&open(world.store.clone(), &world.hand.runtime(3, 0)).unwrap(), world.new);
    for nth in 1.. {
        let store = world.store.snapshot(1);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let owner = open(faulty.clone(), &world.hand.runtime(2, 0)).unwrap();
        let before = owner.backend().counts().get;
        faulty.revive();
        let kind = ErrorKind::Unreachable;
        faulty.fail(Failure { operation: Operation::Get, nth, from_then_on: false, kind });
        let first = prune::sweep(&owner, &prune::Options::default());
        let reads = owner.backend().counts().get - before;
        faulty.revive();
        let again = prune::sweep(&owner, &prune::Options::default()).unwrap();
        assert!(first.is_err() || again.packs == 0, "{first:?} {again:?}");
        let reopened = open(store, &world.hand.runtime(4, 0)).unwrap();
        let back = undelete::undelete(&reopened, &world.new.to_string());
        let back = back.unwrap_or_else(|error| panic!("read {nth}: {first:?}: {error}")).snapshot;
        assert!(restore_stream(&reopened, back).unwrap() == world.stream, "read {nth}: {first:?}");
        if nth > reads {
            assert!(nth > 5 && first.is_ok_and(|swept| swept.rescued_blobs > 0), "{nth} reads");
            break;
        }
    }
}

fn at_once() -> prune::Options {
    prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() }
}

/// Where nobody writes an earlier mark does not wait either, and what was taken back meanwhile stays.
#[test]
fn a_grace_of_zero_carries_out_earlier_marks() {
    for is_back in [false, true] {
        let context = format!("taken back: {is_back}");
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let streams = [noise(1, 300_000), noise(2, 300_000)];
        let ids = [0, 1].map(|number: usize| {
            hand.advance(Duration::from_hours(1));
            snapshot_stream(&owner, &streams[number]).unwrap().snapshot.unwrap()
        });
        forget(&owner, ids[0]);
        let first = prune::prune(&owner, &prune::Options::default(), &Silent).unwrap();
        assert!(first.swept.packs == 0 && !first.marked.packs.is_empty(), "{context}: {first:?}");
        let back = is_back.then(|| undelete::undelete(&owner, &ids[0].to_string()).unwrap());
        let dry = prune::Options { dry_run: true, ..at_once() };
        let planned = prune::prune(&owner, &dry, &Silent).unwrap().swept;
        let report = prune::prune(&owner, &at_once(), &Silent).unwrap();
        let swept = &report.swept;
        assert_eq!((planned.packs, planned.bytes), (swept.packs, swept.bytes), "{context}");
        assert_eq!((planned.snapshots, planned.waiting), (swept.snapshots, swept.waiting), "{context}");
        assert_eq!((swept.packs, swept.waiting), (first.marked.packs.len() as u64, 0), "{context}: {report:?}");
        let gone = |id: &ObjectId| !store.objects().keys().any(|name| name.ends_with(&id.to_string()));
        assert!(first.marked.packs.iter().all(|(_, id)| gone(id)), "{context}");
        let owner = open(store.clone(), &hand.runtime(2, 0)).unwrap();
        assert!(restore_stream(&owner, ids[1]).unwrap() == streams[1], "{context}");
        if let Some(back) = back {
            assert!(restore_stream(&owner, back.snapshot).unwrap() == streams[0], "{context}");
        } else {
            assert!(gone(&ids[0]), "{context}");
        }
        assert_clean(&owner, true, &context);
        prune::prune(&owner, &prune::Options::default(), &Silent).unwrap();
    }
}

/// A sweep before its time that is cut off, wherever, leaves nothing that stops the next prune with any grace.
#[test]
fn a_hurried_sweep_that_is_cut_off_stops_no_prune() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (stream, other) = (noise(1, 200_000), noise(2, 200_000));
    let old = snapshot_stream(&owner, &other).unwrap().snapshot.unwrap();
    hand.advance(Duration::from_hours(1));
    // names the one that goes
    let new = snapshot_stream(&owner, &stream).unwrap().snapshot.unwrap();
    forget(&owner, old);
    assert!(!mark(&owner).packs.is_empty());
    for operation in [Operation::Put, Operation::Delete] {
        for nth in 1.. {
            let store = store.snapshot(1);
            let faulty = Faulty::new(Arc::new(store.clone()));
            let owner = open(faulty.clone(), &hand.runtime(3, 0)).unwrap();
            faulty.revive();
            faulty.fail(Failure { operation, nth, from_then_on: true, kind: ErrorKind::Denied });
            let first = prune::prune(&owner, &at_once(), &Silent);
            for options in [prune::Options::default(), at_once()] {
                let context = format!("{operation:?} {nth}, {:?}: {first:?}", options.grace);
                let store = store.snapshot(2);
                let owner = open(store.clone(), &hand.runtime(4, 0)).unwrap();
                prune::prune(&owner, &options, &Silent).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(restore_stream(&owner, new).unwrap() == stream, "{context}");
                assert_clean(&owner, true, &context);
            }
            if first.is_ok() {
                assert!(nth > 2, "{operation:?}");
                break;
            }
        }
    }
}
