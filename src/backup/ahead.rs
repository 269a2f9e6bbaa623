//! A second walk over a source, ahead of the one that reads: it only counts, so that whoever watches knows how much there
//! is. It goes by the same rules, finds no faults of its own, and ends with the walk that reads.

use crate::progress::Progress;
use crate::runtime::Runtime;
use crate::source::{self, Directory, EntryKind, Event};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the reading walk has for itself.
const DELAY: Duration = Duration::from_millis(300);

/// Does the work, and meanwhile counts if anybody wants to know.
pub fn while_counting<T>(
    runtime: &Runtime,
    (paths, options): (&[PathBuf], &source::Options),
    progress: &dyn Progress,
    work: impl FnOnce() -> T,
) -> T {
    // without workers all happens in order
    if runtime.workers == 0 || !progress.wants_total() {
        return work();
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            // a short run is not worth it
            std::thread::park_timeout(DELAY);
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            if let Some((files, bytes)) = count(paths, options, &is_over) {
                progress.expect(files, bytes);
            }
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        counting.thread().unpark();
        done
    })
}

fn count(paths: &[PathBuf], options: &source::Options, is_over: &AtomicBool) -> Option<(u64, u64)> {
    let directory = Directory::open(paths, options).ok()?.bare();
    let (mut files, mut bytes) = (0u64, 0u64);
    for event in directory {
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        if let Event::Entry(source::Entry { kind: EntryKind::File { size }, .. }) = event {
            files += 1;
            bytes = bytes.saturating_add(size);
        }
    }
    Some((files, bytes))
}
