//! Whatever the number of threads and however little memory: the same blobs, the same bytes, and an end.

use crate::round_trip::fill;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use testkit::world::{
    Hand, assert_clean, assert_restores, blobs, folder, init, noise, open_with, restore_stream, snapshot_folder,
    snapshot_stream,
};
use vault::repository::Options;

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
