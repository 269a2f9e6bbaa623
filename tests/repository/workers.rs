//! Whatever the number of threads and however little memory: the same blobs, the same bytes, and an end.

use crate::round_trip::fill;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use testkit::world::{
    Hand, PASSWORD, assert_clean, assert_restores, blobs, check, folder, init, noise, open_with, restore_stream,
    snapshot_folder, snapshot_stream,
};
use vault::backend::{Backend, BackendOptions, Location};
use vault::check::Finding;
use vault::repository::{Access, Options, Repository};

/// A run that hangs must not hang the tests: a thread can't be killed, the process can.
fn watched(name: &'static str, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_mins(2)) {
        eprintln!("{name} hangs");
        std::process::abort();
    }
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn all_numbers_of_workers_store_and_restore_the_same() {
    watched("a run with many workers", || {
        let source = folder(fill);
        let stream = noise(5, 5_000_000);
        let hand = Hand::new();
        let begin = hand.0.load(Ordering::SeqCst);
        let empty = hand.store();
        drop(init(empty.clone(), &hand.runtime(1, 0)));
        let mut first = None;
        for (workers, memory) in [(0, 96), (1, 96), (2, 96), (8, 96), (0, 4), (2, 4), (8, 4), (8, 0)] {
            let context = format!("{workers} workers, {memory} MiB");
            hand.0.store(begin, Ordering::SeqCst);
            let options = Options { memory_bytes: memory << 20, ..Options::default() };
            let seed = 10 + workers as u64 + 100 * memory as u64;
            let repository = open_with(empty.snapshot(2), &hand.runtime(seed, workers), options).unwrap();
            let report = snapshot_folder(&repository, source.path()).unwrap();
            let dump = snapshot_stream(&repository, &stream).unwrap();
            let found = blobs(&repository);
            let expected = first.get_or_insert_with(|| found.clone());
            assert!(*expected == found, "{context}: {} blobs instead of {}", found.len(), expected.len());
            assert_restores(&repository, report.snapshot.unwrap(), source.path(), &context);
            assert!(restore_stream(&repository, dump.snapshot.unwrap()).unwrap() == stream, "{context}");
            assert_clean(&repository, true, &context);
        }
    });
}

/// What a check of a store in a folder finds.
fn found(hand: &Hand, store: &Path, workers: usize) -> Vec<Finding> {
    let runtime = hand.runtime(7, workers);
    let location = Location::parse(store.to_str().unwrap()).unwrap();
    let backend = Backend::open(&location, &BackendOptions::default(), &runtime).unwrap();
    let options = Options::default();
    check(&Repository::open(backend, runtime, options, Access::Password(PASSWORD)).unwrap(), true).findings
}

/// Where a store is near, trees are walked while packs are read, before all that is bad is known.
#[test]
fn all_numbers_of_workers_name_the_same_damage() {
    let (hand, source) = (Hand::new(), folder(fill));
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    snapshot_folder(&repository, source.path()).unwrap();
    snapshot_stream(&repository, &noise(5, 5_000_000)).unwrap();
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in store.objects() {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let packs: Vec<String> = store.objects().into_keys().filter(|name| name.starts_with("packs/")).collect();
    assert!(packs.len() > 1 && found(&hand, place.path(), 2).is_empty());
    for pack in packs {
        let path = place.path().join(&pack);
        let whole = fs::read(&path).unwrap();
        // in the header, among the frames, in the padding or the directory, at the end
        for at in [10, 100, whole.len() / 2, whole.len() - 400, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            let expected = found(&hand, place.path(), 0);
            assert!(expected.iter().any(|finding| finding.object == pack), "{pack}, byte {at}: {expected:#?}");
            for workers in [1, 8] {
                assert_eq!(found(&hand, place.path(), workers), expected, "{pack}, byte {at}, {workers} workers");
            }
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(found(&hand, place.path(), 8), found(&hand, place.path(), 0), "{pack} is too short");
        fs::remove_file(&path).unwrap();
        assert_eq!(found(&hand, place.path(), 8), found(&hand, place.path(), 0), "{pack} is missing");
        fs::write(&path, whole).unwrap();
    }
}
