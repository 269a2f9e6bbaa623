//! How often each operation lists each part of a repository: as often as the protocol asks and no more, since on a store
//! with many objects nothing costs as much. The numbers, for one domain and where nothing is damaged or overtaken:
//!
//! | | keys | orders | marks | journal | snapshots | index | packs | all |
//! |---|---|---|---|---|---|---|---|---|
//! | snapshot | 1 | 2 | 3 | - | 1 | 1 | 1 | - |
//! | restore | 1 | 2 | - | - | 1 | 1 | - | - |
//! | check | 1 | 2 | 1 | 1 | 1 | 1 | 1 | 1 |
//! | prune | 1 | 2 | 3 | 2 | 1 | 2 | 1 | 1 |
//!
//! Orders: before anything is judged, and after each listing of the index. Marks: at the first look, before and after the
//! commit; of prune, at the ages, the look and the tidying. Prune lists index and journal once more to see whether merging helps.
//! Each order that is put lists orders once more, for its number.

use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::recording::Recording;
use testkit::world::{Hand, PASSWORD, backend, init, noise, restore_stream, snapshot_stream};
use vault::backend::Operation;
use vault::progress::Silent;
use vault::repository::{Access, Options, Repository};
use vault::{check, prune};

const PARTS: [&str; 8] = ["keys/", "orders/", "marks/", "journal/", "snapshots/", "index/", "packs/", ""];

/// How often each part was listed, in the order of [`PARTS`].
fn listings(store: &Recording, work: impl FnOnce()) -> [usize; 8] {
    store.take();
    work();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in store.take().into_iter().filter(|call| call.operation == Operation::List) {
        let part = call.name.split_inclusive('/').next().unwrap_or_default().to_owned();
        *counts.entry(part).or_default() += 1;
    }
    PARTS.map(|part| counts.get(part).copied().unwrap_or_default())
}

#[test]
fn nothing_is_listed_more_often_than_the_protocol_asks() {
    let hand = Hand::new();
    let simulated = hand.store();
    init(simulated.clone(), &hand.runtime(1, 0));
    let store = Recording::new(Arc::new(simulated));
    let runtime = hand.runtime(2, 0);
    let password = Access::Password(PASSWORD);
    let owner = Repository::open(backend(store.clone(), &runtime), runtime, Options::default(), password).unwrap();
    let first = snapshot_stream(&owner, &noise(1, 50_000)).unwrap().snapshot.unwrap();
    let snapshot = listings(&store, || drop(snapshot_stream(&owner, &noise(2, 50_000)).unwrap()));
    assert_eq!(snapshot, [1, 2, 3, 0, 1, 1, 1, 0], "snapshot: {PARTS:?}");
    let restore = listings(&store, || drop(restore_stream(&owner, first).unwrap()));
    assert_eq!(restore, [1, 2, 0, 0, 1, 1, 0, 0], "restore: {PARTS:?}");
    let looked = listings(&store, || drop(check::check(&owner, &check::Options::default(), &Silent).unwrap()));
    assert_eq!(looked, [1, 2, 1, 1, 1, 1, 1, 1], "check: {PARTS:?}");
    let pruned = listings(&store, || drop(prune::prune(&owner, &prune::Options::default(), &Silent).unwrap()));
    assert_eq!(pruned, [1, 2, 3, 2, 1, 2, 1, 1], "prune: {PARTS:?}");
}
