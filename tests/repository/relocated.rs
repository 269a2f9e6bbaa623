//! A repository that was moved by copying its objects: everything arrives at once, in the order of names, and nothing of
//! that says how old a snapshot is. What the owner has seen before is pinned; else nothing is dropped before the owner
//! has settled it. A thief of the writer's key gains nothing by it.

use crate::times::{DAY, SECOND, Shelf, found, take};
use jiff::tz::TimeZone;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::world::{init, member, open, open_as};
use vault::forget::{self, Late};
use vault::progress::Silent;
use vault::repository::{Repository, View};
use vault::retention::Policy;
use vault::{copy, prune};
use vault_format::bundle::Role;
use vault_format::id::ObjectId;

fn daily() -> Policy {
    Policy { daily: Some("30d".parse().unwrap()), ..Policy::default() }
}

fn forget(repository: &Repository, policy: &Policy, late: Option<Late>) -> forget::Report {
    let options = forget::Options { late, ..forget::Options::default() };
    forget::by_policy(repository, None, (policy, &TimeZone::UTC), &options).unwrap()
}

fn visible(repository: &Repository) -> BTreeSet<ObjectId> {
    View::to_read(repository).unwrap().snapshots.visible().map(|one| one.id).collect()
}

impl Shelf {
    /// One honest snapshot a day.
    fn days(&self, count: u64) -> Vec<ObjectId> {
        let day = |number| {
            self.hand.advance(DAY);
            self.take(100 + number, None).snapshot.unwrap()
        };
        (0..count).map(day).collect()
    }

    /// Goes on in a copy of the store, made by a tool that knows of no times.
    fn move_away(self, seed: u64, each: Duration) -> Self {
        let store = self.store.moved(seed, each);
        self.hand.advance(Duration::from_mins(5));
        let owner = open(store.clone(), &self.hand.runtime(seed, 0)).unwrap();
        Self { store, owner, ..self }
    }
}

#[test]
fn what_was_seen_before_keeps_its_time_through_any_move() {
    for by_prune in [false, true] {
        let shelf = Shelf::new();
        let ids = shelf.days(10);
        if by_prune {
            prune::prune(&shelf.owner, &prune::Options::default(), &Silent).unwrap();
        } else {
            forget(&shelf.owner, &daily(), None);
        }
        let newest = shelf.take(200, None).snapshot.unwrap();
        let mut shelf = shelf;
        for turn in 0..3 {
            shelf.hand.advance(DAY / 2);
            shelf = shelf.move_away(50 + turn, Duration::from_secs(20));
            let report = forget(&shelf.owner, &daily(), None);
            assert!(report.doubtful.is_empty(), "nothing to ask");
            // two on the last day: the older one of them goes
            let kept: BTreeSet<ObjectId> = ids[..9].iter().copied().chain([newest]).collect();
            assert_eq!(visible(&shelf.owner), kept, "by prune: {by_prune}, move {turn}");
            assert_eq!(shelf.found("db"), newest);
            let day_5 = View::to_read(&shelf.owner).unwrap().snapshots.by_id(&ids[5].to_string()).unwrap().head.time;
            assert_eq!(shelf.found(&format!("db@{}", day_5 / SECOND)), ids[5]);
        }
    }
}

#[test]
fn never_seen_and_moved_loses_nothing_and_stops_until_it_is_settled() {
    for late in [Late::Claimed, Late::Arrived] {
        let shelf = Shelf::new();
        let ids = shelf.days(10);
        let shelf = shelf.move_away(51, Duration::from_secs(20));
        let all: BTreeSet<ObjectId> = ids.iter().copied().collect();
        for _ in 0..2 {
            let report = forget(&shelf.owner, &daily(), None);
            assert!(report.doubtful.len() >= 8, "{}", report.doubtful.len());
            assert_eq!(visible(&shelf.owner), all, "nothing goes while it is in doubt");
            prune::prune(&shelf.owner, &prune::Options::default(), &Silent).unwrap();
        }
        assert_eq!(shelf.found("latest"), ids[9]);
        assert_eq!(found(&shelf.client(60), "db"), ids[9], "members see it too");
        let day_3 = View::to_read(&shelf.owner).unwrap().snapshots.by_id(&ids[3].to_string()).unwrap().head.time;
        assert_eq!(shelf.found(&format!("db@{}", day_3 / SECOND)), ids[3]);
        forget(&shelf.owner, &daily(), Some(late));
        match late {
            Late::Claimed => assert_eq!(visible(&shelf.owner), all),
            Late::Arrived => assert!(visible(&shelf.owner).len() <= 4, "what the owner says counts"),
        }
        // and it is settled for good
        shelf.hand.advance(2 * DAY);
        let next = shelf.take(300, None).snapshot.unwrap();
        let report = forget(&shelf.owner, &daily(), None);
        assert!(report.doubtful.is_empty() && report.forgotten() == 0, "{report:?}");
        assert_eq!(shelf.found("db"), next);
    }
}

/// Two snapshots, and a repository so young that none of its own objects can tell of a move.
#[test]
fn the_newest_stays_the_newest_though_nothing_tells_of_the_move() {
    for back in [2, 5, 400] {
        let shelf = Shelf::new();
        let old = shelf.take(10, Some(shelf.now() - back * 86400 * SECOND)).snapshot.unwrap();
        let new = shelf.take(11, None).snapshot.unwrap();
        let shelf = shelf.move_away(52, Duration::from_millis(1));
        assert_eq!(shelf.found("db"), new);
        assert_eq!(found(&shelf.client(60), "latest"), new);
        forget(&shelf.owner, &daily(), None);
        assert_eq!(visible(&shelf.owner), BTreeSet::from([old, new]), "what is late is kept when it is first seen");
    }
}

/// Domains of their own, the owner's own snapshots, and a source that was copied alone into a store that lived on.
#[test]
fn other_domains_and_parts_of_a_store_are_treated_alike() {
    let shelf = Shelf::new();
    let (_, other) = member(&shelf.owner, Role::Writer, "other", Some("team"));
    let mut owned = Vec::new();
    for day in 0..6 {
        shelf.hand.advance(DAY);
        shelf.take(10 + day, None);
        let writer = open_as(shelf.store.clone(), &shelf.hand.runtime(30 + day, 0), &other).unwrap();
        take(&writer, "log", day, None);
        owned.push(take(&shelf.owner, "own", day, None).snapshot.unwrap());
    }
    let all = visible(&shelf.owner);
    // only the snapshots of one label were put again
    let part = shelf.store.snapshot(7);
    let moved = shelf.store.moved(8, Duration::ZERO);
    let home = shelf.client(90).keys().domain().to_string();
    let label = |name: &str| name.starts_with("snapshots/") && name.contains(home.as_str());
    for (name, bytes) in moved.objects().into_iter().filter(|(name, _)| label(name)) {
        part.remove(&name);
        vault::backend::Store::put(&part, &name, &bytes).unwrap();
    }
    for store in [part, moved] {
        let owner = open(store.clone(), &shelf.hand.runtime(70, 0)).unwrap();
        let report = forget(&owner, &daily(), None);
        assert!(report.doubtful.len() >= 4);
        assert_eq!(visible(&owner), all);
        assert_eq!(found(&owner, "own"), owned[5]);
        let writer = open_as(store, &shelf.hand.runtime(71, 0), &other).unwrap();
        let newest = View::to_read(&writer).unwrap().snapshots.visible().next_back().unwrap().head.time;
        assert!(newest > shelf.now() - 2 * 86400 * SECOND);
    }
}

/// Against moves, the time of every object is what the store says: a second place must not take over what is in doubt.
#[test]
fn a_copy_leaves_what_is_in_doubt() {
    let shelf = Shelf::new();
    let ids = shelf.days(5);
    let shelf = shelf.move_away(53, Duration::ZERO);
    let second = init(shelf.hand.store(), &shelf.hand.runtime(80, 0));
    let options = copy::Options::default();
    let report = copy::copy(&shelf.owner, &second, &options, &Silent).unwrap();
    assert!(report.failed.len() >= 3, "{:?}", report.failed);
    forget(&shelf.owner, &daily(), Some(Late::Claimed));
    let report = copy::copy(&shelf.owner, &second, &options, &Silent).unwrap();
    assert!(report.failed.is_empty());
    assert_eq!(visible(&second).len(), ids.len());
    let again = copy::copy(&shelf.owner, &second, &options, &Silent).unwrap();
    assert_eq!(again.copied.len(), 0, "a time that was settled since makes no second copy");
}

/// The thief has the writer's key from some day on, and tries to fill the days before with junk: before a move, after
/// it, and in the hope that the owner settles everything as claimed.
#[test]
fn a_thief_reaches_back_no_further_than_a_day_behind_the_last_pins() {
    for seed in 0..12 {
        let mut dice = ChaCha20Rng::seed_from_u64(seed);
        let shelf = Shelf::new();
        let honest = shelf.days(12);
        let pinned = !seed.is_multiple_of(3);
        if pinned {
            forget(&shelf.owner, &daily(), None);
        }
        let stolen = shelf.now();
        shelf.hand.advance(Duration::from_hours(3));
        let shelf = if seed.is_multiple_of(2) { shelf.move_away(54, Duration::from_secs(1)) } else { shelf };
        for number in 0..20 {
            let back = (dice.next_u64() % (20 * 24)) as i64 * 3600;
            shelf.take(1000 + number, Some(shelf.now() - back * SECOND));
        }
        let shelf = if seed % 4 < 2 { shelf.move_away(55, Duration::from_secs(1)) } else { shelf };
        let late = [None, Some(Late::Claimed), Some(Late::Arrived)][seed as usize % 3];
        for late in [None, late] {
            forget(&shelf.owner, &daily(), late);
        }
        let left = visible(&shelf.owner);
        let catalog = View::to_read(&shelf.owner).unwrap();
        for id in honest {
            let time = catalog.snapshots.by_id(&id.to_string()).unwrap().head.time;
            let out_of_reach = time < stolen - 52 * 3600 * SECOND;
            assert!(!pinned || !out_of_reach || left.contains(&id), "seed {seed}: {id} of {time} is gone");
        }
    }
}
