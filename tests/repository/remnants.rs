//! What repair saved of a damaged snapshot, in a second place: it does not come where the whole snapshot is, is known as
//! a remnant where it does come, gives way once the whole one arrives, and never stands for it when it is dropped.

use crate::healed::{damage, keep_last, visible};
use crate::repaired::Small;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::world::{assert_restores, init, init_like, snapshot_folder};
use vault::progress::Silent;
use vault::repository::tree::whole;
use vault::repository::{Repository, SnapshotEntry, View};
use vault::retention::Policy;
use vault::{copy, forget, prune};
use vault_format::id::ObjectId;

fn second(small: &Small, is_like: bool) -> Repository {
    let (store, runtime) = (small.hand.store(), small.hand.runtime(700, 0));
    if is_like { init_like(store, &runtime, &small.open(&small.store, 30)) } else { init(store, &runtime) }
}

/// How many were copied, and how many were known.
fn copied(from: &Repository, to: &Repository) -> (usize, u64) {
    let report = copy::copy(from, to, &copy::Options::default(), &Silent).unwrap();
    (report.copied.len(), report.known)
}

fn find(repository: &Repository, is_it: impl Fn(&SnapshotEntry) -> bool) -> Option<SnapshotEntry> {
    View::to_read(repository).unwrap().snapshots.visible().find(|one| is_it(one)).cloned()
}

fn plain(repository: &Repository, first: ObjectId) -> Option<SnapshotEntry> {
    find(repository, |one| one.left_of().is_none() && one.first_id() == first)
}

fn remnant(repository: &Repository, first: ObjectId) -> Option<SnapshotEntry> {
    find(repository, |one| one.left_of() == Some(first))
}

fn forget_one(repository: &Repository, id: ObjectId) {
    forget::by_id(repository, &[id.to_string()], &forget::Options::default()).unwrap();
}

#[test]
fn a_remnant_does_not_come_where_the_whole_snapshot_is() {
    for is_like in [true, false] {
        let small = Small::new();
        let second = second(&small, is_like);
        assert_eq!(copied(&small.open(&small.store, 31), &second), (3, 0));
        let (owner, remnants) = damage(&small);
        assert_eq!((remnants.len(), copied(&owner, &second)), (2, (0, 5)), "like {is_like}");
        let policy = Policy { daily: Some(vault::retention::Amount::Count(7)), ..Policy::default() };
        let options = forget::Options::default();
        forget::by_policy(&second, None, (&policy, &TimeZone::UTC), &options).unwrap();
        let options = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
        prune::prune(&second, &options, &Silent).unwrap();
        let newest = plain(&second, small.ids[0]).expect("the newest stays").id;
        assert_restores(&second, newest, small.folders[0].path(), "the only whole copy");
    }
}

#[test]
fn a_remnant_is_known_as_one_in_the_second_place_and_gives_way_there() {
    for is_like in [true, false] {
        let small = Small::new();
        let second = second(&small, is_like);
        let (owner, remnants) = damage(&small);
        assert_eq!(copied(&owner, &second).0, 3, "what is left, and the stream");
        let there = remnant(&second, small.ids[0]).expect("the relation survives");
        assert!(remnants.contains(&there.first_id()) && there.head.parent != there.head.original);
        snapshot_folder(&owner, small.folders[0].path()).unwrap();
        assert_eq!(copied(&owner, &second), (3, 3), "like {is_like}: healed, so the originals come");
        let catalog = View::to_read(&second).unwrap();
        let instead = whole::instead(&catalog, &there).unwrap().expect("the whole one is meant");
        assert_eq!(instead.first_id(), small.ids[0]);
        assert_restores(&second, instead.id, small.folders[0].path(), "like the first");
        let report = keep_last(&second, 3);
        let gone: BTreeSet<ObjectId> = report.verdicts.iter().filter(|one| !one.keep).map(|one| one.place.id).collect();
        assert_eq!((gone.len(), gone.contains(&there.id)), (2, true), "both remnants and nothing else");
        assert!(small.ids.iter().all(|id| plain(&second, *id).is_some()));
        assert_eq!(copied(&owner, &second), (0, 6), "and they do not come back");
    }
}

#[test]
fn a_remnant_does_not_come_with_the_whole_snapshot() {
    for is_dry in [true, false] {
        let small = Small::new();
        let second = second(&small, false);
        let (owner, _) = damage(&small);
        snapshot_folder(&owner, small.folders[0].path()).unwrap();
        let options = copy::Options { dry_run: is_dry, ..copy::Options::default() };
        let report = copy::copy(&owner, &second, &options, &Silent).unwrap();
        assert_eq!((report.copied.len(), report.known), (4, 2), "dry {is_dry}");
    }
}

#[test]
fn who_drops_a_remnant_does_not_decline_the_whole_snapshot() {
    for is_like in [true, false] {
        let small = Small::new();
        let second = second(&small, is_like);
        let (owner, _) = damage(&small);
        copied(&owner, &second);
        forget_one(&second, remnant(&second, small.ids[0]).unwrap().id);
        assert_eq!(copied(&owner, &second).0, 0, "like {is_like}: what was dropped stays so");
        snapshot_folder(&owner, small.folders[0].path()).unwrap();
        copied(&owner, &second);
        assert!(plain(&second, small.ids[0]).is_some(), "like {is_like}: the whole one was never dropped");
        // and who drops the whole one wants no rest of it
        let third = self::second(&small, false);
        copied(&small.open(&small.store, 32), &third);
        forget_one(&third, plain(&third, small.ids[0]).unwrap().id);
        copied(&owner, &third);
        assert!(remnant(&third, small.ids[0]).is_none());
    }
}

#[test]
fn rules_that_drop_a_remnant_do_not_decline_the_whole_snapshot() {
    let small = Small::new();
    let second = second(&small, true);
    copied(&small.open(&small.store, 31), &second);
    let (owner, remnants) = damage(&small);
    snapshot_folder(&owner, small.folders[0].path()).unwrap();
    keep_last(&owner, 10);
    assert!(remnants.iter().all(|id| !visible(&owner).contains(id)), "its snapshot is whole again");
    let lost = plain(&owner, small.ids[0]).unwrap();
    small.store.remove(&lost.name().to_string());
    copied(&second, &owner);
    let back = plain(&owner, small.ids[0]).expect("it comes back from the second place");
    assert_restores(&owner, back.id, small.folders[0].path(), "back");
}
