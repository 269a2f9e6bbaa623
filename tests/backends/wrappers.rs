//! The simulated store's lag and crashes, and the wrappers that break and record stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use testkit::faulty::{Failure, Fault, Faulty, ListFault, Mode};
use testkit::recording::Recording;
use testkit::simulated::Simulated;
use vault::backend::{Backend, BackendOptions, ErrorKind, Operation, Store};
use vault::runtime::{Clock, Runtime};

const SECOND: i64 = 1_000_000_000;

fn backend(store: impl Store + 'static) -> Backend {
    Backend::from_store(Arc::new(store), &BackendOptions::default(), &Runtime::seeded(1, Clock::System, 0))
}

fn simulated() -> Simulated {
    Simulated::new(Clock::Manual(Arc::new(AtomicI64::new(0))), Duration::ZERO, 1)
}

#[test]
fn listings_lag_and_a_seed_replays_them() {
    let run = |seed| {
        let time = Arc::new(AtomicI64::new(0));
        let store = Simulated::new(Clock::Manual(time.clone()), Duration::from_secs(600), seed);
        for n in 0..100 {
            store.put(&format!("x/{n}"), b"1").unwrap();
            assert_eq!(store.get(&format!("x/{n}"), None).unwrap(), b"1");
        }
        let mut lengths = vec![store.list("x/").unwrap().len()];
        time.store(300 * SECOND, Ordering::SeqCst);
        lengths.push(store.list("x/").unwrap().len());
        time.store(600 * SECOND, Ordering::SeqCst);
        lengths.push(store.list("x/").unwrap().len());
        for n in 0..100 {
            store.delete(&format!("x/{n}")).unwrap();
        }
        lengths.push(store.list("x/").unwrap().len());
        time.store(900 * SECOND, Ordering::SeqCst);
        lengths.push(store.list("x/").unwrap().len());
        time.store(1200 * SECOND, Ordering::SeqCst);
        lengths.push(store.list("x/").unwrap().len());
        lengths
    };
    let lengths = run(5);
    assert_eq!(lengths, run(5));
    assert_ne!(lengths, run(6));
    assert_eq!((lengths[0], lengths[2], lengths[3], lengths[5]), (0, 100, 100, 0));
    assert!((20..80).contains(&lengths[1]) && (20..80).contains(&lengths[4]), "{lengths:?}");
}

#[test]
fn a_crash_keeps_what_was_acknowledged() {
    let store = simulated();
    store.put("packs/a", b"whole").unwrap();
    store.crash(Some(("packs/b", b"in flight")));
    assert_eq!(store.objects().into_iter().collect::<Vec<_>>(), [("packs/a".to_owned(), b"whole".to_vec())]);
    assert_eq!(store.list("").unwrap().len(), 1);
    store.torn_finals(true);
    store.crash(Some(("packs/b", b"in flight")));
    let torn = store.get("packs/b", None).unwrap();
    assert!(b"in flight".starts_with(&torn));
    let copy = store.snapshot(2);
    assert!(copy.damage("packs/a", |bytes| bytes[0] ^= 1));
    assert!(copy.remove("packs/b") && !copy.remove("packs/b"));
    assert_eq!(store.get("packs/a", None).unwrap(), b"whole");
    assert_ne!(copy.get("packs/a", None).unwrap(), b"whole");
}

#[test]
fn faults_strike_the_write_that_they_name() {
    for (mode, left) in [
        (Mode::NotApplied, None),
        (Mode::AppliedUnacknowledged, Some(&b"0123456789"[..])),
        (Mode::TornBytes(3), Some(b"012")),
        (Mode::TornFraction(0.5), Some(b"01234")),
    ] {
        let store = simulated();
        let faulty = Faulty::new(Arc::new(store.clone()));
        let backend = backend(faulty.clone());
        faulty.plan(Fault { operation_number: 2, mode, then_dead: true });
        backend.put("a", b"1").unwrap();
        assert_eq!(backend.put("b", b"0123456789").unwrap_err().kind, ErrorKind::Unreachable);
        assert!(faulty.is_dead());
        assert_eq!(backend.get("a", None).unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(backend.put("c", b"1").unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(faulty.mutations(), 2);
        assert_eq!(store.objects().get("b").map(Vec::as_slice), left);
        faulty.revive();
        backend.put("c", b"1").unwrap();
    }
}

#[test]
fn a_lost_answer_of_a_delete_still_deletes() {
    let faulty = Faulty::new(Arc::new(simulated()));
    let backend = backend(faulty.clone());
    backend.put("a", b"1").unwrap();
    faulty.plan(Fault { operation_number: 2, mode: Mode::AppliedUnacknowledged, then_dead: false });
    backend.delete("a").unwrap_err();
    backend.delete("a").unwrap();
    assert_eq!(backend.stat("a").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn failures_and_short_listings_come_as_planned() {
    let faulty = Faulty::new(Arc::new(simulated()));
    let backend = backend(faulty.clone());
    for n in 0..5 {
        backend.put(&format!("x/{n}"), b"1").unwrap();
    }
    let get = Operation::Get;
    faulty.fail(Failure { operation: get, nth: 2, from_then_on: false, kind: ErrorKind::Denied });
    faulty.fail(Failure { operation: get, nth: 4, from_then_on: true, kind: ErrorKind::Unreachable });
    let kinds: Vec<_> = (0..6).map(|_| backend.get("x/1", None).map_err(|e| e.kind).err()).collect();
    let dead = Some(ErrorKind::Unreachable);
    assert_eq!(kinds, [None, Some(ErrorKind::Denied), None, dead, dead, dead]);
    faulty.mislist("x/", 1, ListFault::FirstPage(2));
    faulty.mislist("x/", 3, ListFault::Empty);
    let lengths: Vec<_> = (0..4).map(|_| backend.list("x/").unwrap().len()).collect();
    assert_eq!(lengths, [2, 5, 0, 5]);
}

#[test]
fn a_recording_tells_the_order_of_calls() {
    let recording = Recording::new(Arc::new(simulated()));
    let backend = backend(recording.clone());
    backend.put("packs/a", b"123").unwrap();
    backend.get("packs/a", Some(1..2)).unwrap();
    backend.stat("packs/b").unwrap_err();
    backend.list("packs/").unwrap();
    backend.delete("packs/a").unwrap();
    let calls: Vec<_> =
        recording.take().into_iter().map(|c| (c.operation, c.name, c.amount, c.range, c.outcome)).collect();
    assert_eq!(
        calls,
        [
            (Operation::Put, "packs/a".to_owned(), 3, None, Ok(())),
            (Operation::Get, "packs/a".to_owned(), 1, Some(1..2), Ok(())),
            (Operation::Stat, "packs/b".to_owned(), 0, None, Err(ErrorKind::NotFound)),
            (Operation::List, "packs/".to_owned(), 1, None, Ok(())),
            (Operation::Delete, "packs/a".to_owned(), 0, None, Ok(())),
        ]
    );
    assert!(recording.calls().is_empty());
}
