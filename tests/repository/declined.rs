//! What the owner of a second place dropped there is not brought back by the next copy: before and after prune, in both
//! directions, over one more place, with and without equal ids; and it is copied again only if that is said.

use crate::copied::by_original;
use jiff::tz::TimeZone;
use std::fs;
use tempfile::TempDir;
use testkit::world::{Hand, assert_clean, assert_restores, folder, init, init_like, noise, snapshot_folder};
use vault::progress::Silent;
use vault::repository::{Repository, SnapshotEntry};
use vault::retention::Policy;
use vault::{copy, forget, list, prune, undelete};
use vault_format::id::ObjectId;

const SEED: u64 = 90;

struct Places {
    hand: Hand,
    first: Repository,
    source: TempDir,
    ids: Vec<ObjectId>,
}

impl Places {
    fn new() -> Self {
        let hand = Hand::new();
        let first = init(hand.store(), &hand.runtime(SEED, 0));
        let source = folder(|root| fs::write(root.join("a"), noise(1, 50_000)).unwrap());
        let mut ids = Vec::new();
        for state in 0..4 {
            fs::write(source.path().join("b"), noise(10 + state, 30_000)).unwrap();
            ids.push(snapshot_folder(&first, source.path()).unwrap().snapshot.unwrap());
        }
        Self { hand, first, source, ids }
    }

    fn another(&self, seed: u64, is_like: bool) -> Repository {
        let (store, runtime) = (self.hand.store(), self.hand.runtime(SEED + seed, 0));
        if is_like { init_like(store, &runtime, &self.first) } else { init(store, &runtime) }
    }
}

fn copied(from: &Repository, to: &Repository, again: bool) -> (usize, u64, u64) {
    let options = copy::Options { again, ..copy::Options::default() };
    let report = copy::copy(from, to, &options, &Silent).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    (report.copied.len(), report.known, report.dropped)
}

fn keep_last(repository: &Repository, count: u32) {
    let policy = Policy { last: Some(count), ..Policy::default() };
    forget::by_policy(repository, None, (&policy, &TimeZone::UTC), &forget::Options::default()).unwrap();
}

fn prune_now(repository: &Repository) {
    let options = prune::Options { grace: Some(std::time::Duration::ZERO), ..prune::Options::default() };
    prune::prune(repository, &options, &Silent).unwrap();
}

fn shown(repository: &Repository) -> usize {
    list::snapshots(repository).unwrap().snapshots.visible().count()
}

#[test]
fn what_was_dropped_there_stays_dropped_unless_again_is_said() {
    for (is_like, is_pruned) in [(true, false), (true, true), (false, false), (false, true)] {
        let context = format!("like {is_like}, pruned {is_pruned}");
        let places = Places::new();
        let second = places.another(1, is_like);
        assert_eq!(copied(&places.first, &second, false), (4, 0, 0), "{context}");
        keep_last(&second, 2);
        if is_pruned {
            prune_now(&second);
        }
        assert_eq!(copied(&places.first, &second, false), (0, 2, 2), "{context}");
        // what is new comes, and what was dropped still does not
        snapshot_folder(&places.first, places.source.path()).unwrap();
        assert_eq!(copied(&places.first, &second, false), (1, 2, 2), "{context}");
        assert_eq!(shown(&second), 3, "{context}");
        assert_eq!(copied(&places.first, &second, true), (2, 3, 0), "{context}");
        assert_eq!(copied(&places.first, &second, false), (0, 5, 0), "{context}");
        assert_clean(&second, true, &context);
        let last = by_original(&second)[&places.ids[3]].id;
        assert_restores(&second, last, places.source.path(), &context);
        // and again by id
        let all = list::snapshots(&second).unwrap().snapshots;
        let is_first = |one: &&SnapshotEntry| one.first_id() == places.ids[0];
        let ids: Vec<String> = all.visible().filter(is_first).map(|one| one.id.to_string()).collect();
        assert_eq!(ids.len(), 1, "{context}");
        forget::by_id(&second, &ids, &forget::Options::default()).unwrap();
        assert_eq!(copied(&places.first, &second, false), (0, 4, 1), "{context}");
    }
}

#[test]
fn a_copy_back_does_not_bring_back_what_was_dropped_here() {
    for is_pruned in [false, true] {
        let places = Places::new();
        let (second, third) = (places.another(1, true), places.another(2, false));
        copied(&places.first, &second, false);
        copied(&second, &third, false);
        keep_last(&places.first, 1);
        if is_pruned {
            prune_now(&places.first);
        }
        assert_eq!(copied(&second, &places.first, false), (0, 1, 3));
        assert_eq!(copied(&third, &places.first, false), (0, 1, 3));
        assert_eq!(shown(&places.first), 1);
        // there they are still wanted
        assert_eq!((shown(&second), shown(&third)), (4, 4));
        assert_eq!(copied(&third, &places.first, true), (3, 1, 0));
        assert_eq!(copied(&second, &places.first, false), (0, 4, 0));
    }
}

#[test]
fn a_copy_that_was_taken_back_is_known() {
    for (is_like, is_condemned) in [(true, false), (true, true), (false, false), (false, true)] {
        let places = Places::new();
        let second = places.another(1, is_like);
        copied(&places.first, &second, false);
        let copy = by_original(&second)[&places.ids[0]].id;
        forget::by_id(&second, &[copy.to_string()], &forget::Options::default()).unwrap();
        if is_condemned {
            prune::prune(&second, &prune::Options::default(), &Silent).unwrap();
            places.hand.advance(std::time::Duration::from_hours(20));
        }
        let report = undelete::undelete(&second, &copy.to_string()).unwrap();
        assert_eq!(report.is_copy, is_condemned);
        if is_condemned {
            places.hand.advance(std::time::Duration::from_hours(20));
            prune_now(&second);
        }
        assert_eq!(copied(&places.first, &second, false), (0, 4, 0), "like {is_like}, condemned {is_condemned}");
        assert_eq!(shown(&second), 4);
    }
}

#[test]
fn a_copy_that_a_run_took_back_by_itself_is_no_word_of_the_owner() {
    let places = Places::new();
    let second = places.another(1, true);
    copied(&places.first, &second, false);
    let copies = list::snapshots(&second).unwrap();
    let run = copies.snapshots.all[0].head.run;
    vault::repository::write::commit::forget_late(&second, run).unwrap();
    assert_eq!(copied(&places.first, &second, false), (1, 3, 0));
}
