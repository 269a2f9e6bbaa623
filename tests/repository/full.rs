//! Prune on a disk with little or no room: it frees first, and where it can't even begin nothing is lost.

use crate::repacked::{forget, state, thorough};
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, assert_restores, init, open, open_with, snapshot_folder, stored_bytes};
use testkit::wrapped::{Wrapped, Wrapper};
use vault::backend::{Error, ErrorKind, Operation, Result, Store};
use vault::progress::Silent;
use vault::prune::{self, Options};
use vault::repository;

/// A disk of a fixed size.
struct Narrow {
    inner: Simulated,
    capacity: u64,
}

impl Wrapper for Narrow {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if stored_bytes(&self.inner) + bytes.len() as u64 > self.capacity {
            return Err(Error::new(ErrorKind::NoSpace, Operation::Put, name, "no space left"));
        }
        self.inner.put(name, bytes)
    }
}

#[test]
fn whatever_room_is_left_nothing_is_lost_and_a_mark_is_enough() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for number in [0, 6, 12] {
        state(folder.path(), number);
        ids.push(snapshot_folder(&repository, folder.path()).unwrap().snapshot.unwrap());
    }
    forget(&repository, &ids[..2]);
    let full = stored_bytes(&store);
    let mut refused = 0;
    for room in [0, 300, 700, 1500, 3000, 6000, 330_000, 4_000_000] {
        let inner = store.snapshot(room);
        let narrow = Wrapped(Narrow { inner: inner.clone(), capacity: full + room });
        let owner = open(narrow, &hand.runtime(2, 0)).unwrap();
        let context = format!("{room} bytes left");
        match prune::prune(&owner, &thorough(), &Silent) {
            Ok(report) => {
                assert!(report.swept.packs > 2 && report.marked.figures.repacked_packs > 0, "{context}: {report:?}")
            }
            Err(error) => {
                assert!(room < 3000, "{context}: {error}");
                assert!(stored_bytes(&inner) >= full, "{context}: {error}");
                refused += 1;
            }
        }
        assert_clean(&owner, false, &context);
        assert_restores(&owner, ids[2], folder.path(), &context);
        // without a grace of zero the copies have no room, and what nothing needs is condemned all the same
        if room >= 3000 {
            let inner = store.snapshot(room);
            let narrow = Wrapped(Narrow { inner: inner.clone(), capacity: full + room });
            let small_packs = repository::Options { memory_bytes: 1 << 20, ..repository::Options::default() };
            let owner = open_with(narrow, &hand.runtime(3, 0), small_packs).unwrap();
            let report = prune::prune(&owner, &Options { grace: None, ..thorough() }, &Silent).unwrap();
            let repacked = report.marked.figures.repacked_packs > 0;
            assert_eq!(
                (repacked, report.notes.is_empty()),
                (room > 1_000_000, room > 1_000_000),
                "{context}: {report:?}"
            );
            assert!(report.marked.mark.is_some(), "{context}: {report:?}");
        }
    }
    assert!(refused > 0);
}
