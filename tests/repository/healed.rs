//! A repair that lost something, and what comes after it: prune goes on, the copy takes no place of its original under
//! rules, and once a later run has stored again what was lost, the original is meant again and the copy goes first.

use crate::repaired::{Small, repair_all};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::world::{assert_restores, restore_folder, snapshot_folder};
use vault::progress::Silent;
use vault::repository::tree::whole;
use vault::repository::{Repository, View};
use vault::retention::Policy;
use vault::{forget, list, prune};
use vault_format::id::{Class, ObjectId};
use vault_format::name::Name;

pub fn visible(repository: &Repository) -> BTreeSet<ObjectId> {
    View::to_read(repository).unwrap().snapshots.visible().map(|one| one.id).collect()
}

pub fn keep_last(repository: &Repository, count: u32) -> forget::Report {
    let policy = Policy { last: Some(count), ..Policy::default() };
    forget::by_policy(repository, ["folder"], (&policy, &TimeZone::UTC), &forget::Options::default()).unwrap()
}

/// Prune as on two days, so that what it condemns is deleted.
fn prune_twice(small: &Small, repository: &Repository) {
    for _ in 0..2 {
        prune::prune(repository, &prune::Options::default(), &Silent).unwrap();
        small.hand.advance(Duration::from_hours(30));
    }
}

/// Loses the largest data packs that both states of the folder need, and repairs.
fn damaged() -> (Small, Repository, Vec<ObjectId>) {
    let small = Small::new();
    let (owner, copies) = damage(&small);
    (small, owner, copies)
}

pub fn damage(small: &Small) -> (Repository, Vec<ObjectId>) {
    let packs = small.packs().into_iter().filter(|name| matches!(name, Name::Pack(Class::Data, _)));
    let objects = small.store.objects();
    let largest = packs.max_by_key(|name| objects[&name.to_string()].len()).unwrap();
    small.store.remove(&largest.to_string());
    let report = repair_all(&small.open(&small.store, 20), None);
    let copies: Vec<ObjectId> = report.lost.iter().filter_map(|lost| lost.copy).collect();
    (small.open(&small.store, 21), copies)
}

#[test]
fn prune_goes_on_after_a_repair_with_losses_and_keeps_what_is_left() {
    let (small, owner, copies) = damaged();
    assert!(!copies.is_empty());
    small.hand.advance(Duration::from_hours(1));
    prune_twice(&small, &owner);
    let place = tempfile::tempdir().unwrap();
    for copy in &copies {
        let report = restore_folder(&owner, *copy, &place.path().join(copy.short())).unwrap();
        assert!(report.failed.is_empty() && report.files > 0, "{report:?}");
    }
    // what was lost is still at hand: the next run stores it, and nothing that was left of the original has gone
    snapshot_folder(&owner, small.folders[0].path()).unwrap();
    assert_restores(&owner, small.ids[0], small.folders[0].path(), "the original, healed after prune");
    prune_twice(&small, &owner);
    assert_restores(&owner, small.ids[0], small.folders[0].path(), "and after one more");
}

#[test]
fn copies_take_no_place_of_their_originals_and_go_with_them() {
    let (small, owner, copies) = damaged();
    let before = visible(&owner);
    assert_eq!(copies.len(), 2, "both states of the folder");
    let report = keep_last(&owner, 2);
    assert_eq!((report.forgotten(), visible(&owner)), (0, before), "two states and what is left of them");
    small.hand.advance(Duration::from_hours(1));
    let report = keep_last(&owner, 1);
    let gone: BTreeSet<ObjectId> = report.verdicts.iter().filter(|one| !one.keep).map(|one| one.place.id).collect();
    let older = View::to_read(&owner).unwrap();
    let copy = copies.iter().find(|id| older.snapshots.by_id(&id.to_string()).unwrap().left_of() == Some(small.ids[1]));
    assert_eq!(gone, BTreeSet::from([small.ids[1], *copy.unwrap()]));
}

#[test]
fn the_original_is_meant_again_once_it_is_whole_and_the_copy_goes_first() {
    let (small, owner, copies) = damaged();
    let catalog = View::to_read(&owner).unwrap();
    let addressed = list::find(&catalog, b"folder", &|_| None).unwrap().snapshot;
    assert!(copies.contains(&addressed.id), "until then the name means the one that restores");
    assert!(whole::instead(&catalog, addressed).unwrap().is_none());
    snapshot_folder(&owner, small.folders[0].path()).unwrap();
    let catalog = View::to_read(&owner).unwrap();
    let copy = catalog.snapshots.by_id(&addressed.id.to_string()).unwrap();
    let original = whole::instead(&catalog, copy).unwrap().expect("it is whole again");
    assert_eq!(Some(original.id), copy.head.original);
    keep_last(&owner, 10);
    let left = visible(&owner);
    assert!(copies.iter().all(|copy| !left.contains(copy)), "rules drop what is no longer needed first");
    assert!(small.ids.iter().all(|id| left.contains(id)), "and keep all originals");
}
