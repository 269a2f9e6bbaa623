//! A plan that one timer carries out over simulated time, with the real engine and a store in memory: what is due is
//! judged by an oracle of its own, which knows neither slots nor the journal.

use jiff::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, init, open};
use testkit::wrapped::{Wrapped, Wrapper};
use vault::backend::{Error, ErrorKind, Operation, Store};
use vault::check;
use vault::health::{self, Aim, Known, Objective, Seen, Status};
use vault::history::History;
use vault::plan::{self, Plan};
use vault::progress::{Progress, Silent};
use vault::repository::Repository;
use vault::retention::TimeZone;
use vault::run::{self, Machine, Options, Outcome, Report};
use vault::time::WallTime;

/// A machine without secrets, of this zone.
fn machine(zone: &str, scratch: PathBuf) -> Machine<'static> {
    Machine {
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        host: "host".into(),
        user: "user".into(),
        locks: None,
        scratch,
        zone: TimeZone::get(zone).unwrap(),
        open_copy: &|_| Err("there is no second place".into()),
    }
}

struct World {
    hand: Hand,
    store: Simulated,
    folder: tempfile::TempDir,
    plan: Plan,
    seed: u64,
}

impl World {
    fn new(plan: &str, at: &str) -> Self {
        let (hand, folder) = (Hand::new(), tempfile::tempdir().unwrap());
        let at: Timestamp = at.parse().unwrap();
        hand.0.store(at.as_nanosecond().try_into().unwrap(), std::sync::atomic::Ordering::SeqCst);
        let store = hand.store();
        init(store.clone(), &hand.runtime(1, 0));
        let path = folder.path().join("vault.toml");
        fs::write(&path, plan).unwrap();
        let plan = plan::parse(&path, plan).unwrap_or_else(|error| panic!("{error}"));
        Self { hand, store, folder, plan, seed: 1 }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Another process each time.
    fn open(&mut self) -> Repository {
        self.seed += 1;
        open(self.store.clone(), &self.hand.runtime(self.seed, 0)).unwrap()
    }

    fn tick(&mut self, zone: &str) -> Report {
        self.watched(zone, &Silent)
    }

    fn watched(&mut self, zone: &str, progress: &dyn Progress) -> Report {
        let repository = self.open();
        let machine = machine(zone, self.path().to_owned());
        run::run(&repository, &self.plan, &machine, &Options::default(), progress).unwrap()
    }

    fn now(&self) -> i64 {
        self.hand.0.load(std::sync::atomic::Ordering::SeqCst) / 1_000_000_000
    }
}

#[test]
fn check_07_every_hour_has_its_snapshot_through_both_changes_of_the_clocks() {
    for (zone, at) in [
        ("UTC", "2026-11-03T00:00:30Z"),
        ("Europe/Berlin", "2026-03-28T12:00:30Z"),
        ("Europe/Berlin", "2026-10-24T12:00:30Z"),
    ] {
        let mut world = World::new("[source.app]\nkind = \"directory\"\npaths = [\"app\"]\nevery = \"1h\"\n", at);
        fs::create_dir(world.path().join("app")).unwrap();
        let (begin, mut taken) = (world.now(), Vec::new());
        for minute in 0..24 * 60i64 {
            // the timer is up to 20 seconds early or late
            let jitter = minute * 7919 % 41 - 20;
            let ahead = begin + minute * 60 + jitter - world.now();
            world.hand.advance(Duration::from_secs(ahead.max(0).unsigned_abs()));
            fs::write(world.path().join("app/file"), minute.to_string()).unwrap();
            let report = world.tick(zone);
            assert!(!report.has_failed(), "{zone}: {report:?}");
            taken.extend(report.sources.iter().filter(|one| one.outcome == Outcome::Done).map(|_| world.now()));
        }
        assert!((24..=25).contains(&taken.len()), "{zone} {at}: {}", taken.len());
        let gap = taken.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(gap <= 61 * 60, "{zone} {at}: {gap} s");
    }
}

/// Each file takes so long.
struct Slow(Hand, Duration);

impl Progress for Slow {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, _: u64) {}
    fn at(&self, _: &Path) {
        self.0.advance(self.1);
    }
    fn note(&self, _: &str) {}
}

#[test]
fn a_folder_that_takes_longer_than_its_timeout_has_failed() {
    let plan = "[source.app]\nkind = \"directory\"\npaths = [\"app\"]\ntimeout = \"1h\"\n";
    let mut world = World::new(plan, "2026-11-03T00:00:30Z");
    fs::create_dir(world.path().join("app")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(world.path().join("app").join(name), name).unwrap();
    }
    let slow = |minutes| Slow(Hand(world.hand.0.clone()), Duration::from_mins(minutes));
    let (too_slow, fast_enough) = (slow(40), slow(15));
    let report = world.watched("UTC", &too_slow);
    let app = &report.sources[0];
    assert_eq!(app.outcome, Outcome::Failed);
    let error = app.error.as_ref().map(|trouble| trouble.all.as_str()).unwrap_or_default();
    assert!(error.contains("longer than its timeout of 1h"), "{error}");
    assert_eq!(History::read(&world.open()).unwrap().snapshots_of("app"), 0);
    world.hand.advance(Duration::from_hours(1));
    assert_eq!(world.watched("UTC", &fast_enough).sources[0].outcome, Outcome::Done);
}

/// A store that lets nobody delete.
struct Refusing(Simulated);

impl Wrapper for Refusing {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    fn delete(&self, name: &str) -> vault::backend::Result<()> {
        Err(Error::new(ErrorKind::Denied, Operation::Delete, name, "access denied"))
    }
}

#[test]
fn whether_the_store_refuses_to_delete_is_tried_and_leaves_one_object() {
    let plan = "[source.app]\nkind = \"directory\"\npaths = [\"app\"]\n[health]\nno_delete = true\n[maintenance]\n\
                check = { every = \"never\" }\nforget = { every = \"never\" }\nprune = { every = \"never\" }\n";
    let mut world = World::new(plan, "2026-11-03T12:00:30Z");
    fs::create_dir(world.path().join("app")).unwrap();
    fs::write(world.path().join("app/file"), "x").unwrap();
    let judged = |world: &mut World| {
        let repository = world.open();
        let history = History::read(&repository).unwrap();
        let seen = Seen::of(&repository, &history, Some(&world.plan)).unwrap();
        let now = WallTime::new(world.hand.0.load(std::sync::atomic::Ordering::SeqCst));
        let known = Known { plan: Some(&world.plan), history: &history, seen, now };
        let of = |one: &Objective| one.aim == Aim::NoDelete;
        health::judge(&known).into_iter().find(of).unwrap().status
    };
    let probes =
        |store: &Simulated| store.list("").unwrap().iter().filter(|one| one.name.starts_with(".probe-")).count();
    let tried = |report: &Report| report.maintenance.iter().any(|task| task.task == "probe");
    assert_eq!(judged(&mut world), Status::Unknown);
    assert!(tried(&world.tick("UTC")) && !tried(&world.tick("UTC")));
    assert_eq!((judged(&mut world), probes(&world.store)), (Status::Missed, 0));

    // somebody takes that right away
    world.hand.advance(Duration::from_hours(2));
    let tick = |world: &World, seed| {
        let repository = open(Wrapped(Refusing(world.store.clone())), &world.hand.runtime(seed, 0)).unwrap();
        let machine = machine("UTC", world.path().to_owned());
        run::run(&repository, &world.plan, &machine, &Options::default(), &Silent).unwrap()
    };
    assert!(tried(&tick(&world, 50)));
    assert_eq!((judged(&mut world), probes(&world.store)), (Status::Met, 1));
    world.hand.advance(Duration::from_hours(2));
    assert!(!tried(&tick(&world, 51)), "once a day is enough");
    world.hand.advance(Duration::from_hours(24));
    assert!(tried(&tick(&world, 52)));
    assert_eq!((judged(&mut world), probes(&world.store)), (Status::Met, 1));
    let report = check::check(&world.open(), &check::Options::default(), &Silent).unwrap();
    assert!(report.findings.is_empty() && !report.notes.iter().any(|note| note.contains(".probe-")), "{report:?}");
    world.hand.advance(Duration::from_hours(8 * 24));
    assert_eq!(judged(&mut world), Status::Unknown, "what nobody tries any more nobody knows");
}

/// Another host takes the source while this one waits, once.
struct Other {
    store: Simulated,
    hand: Hand,
    plan: Plan,
    scratch: PathBuf,
}

impl Progress for Other {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, _: u64) {}
    fn at(&self, path: &Path) {
        if path.ends_with("first") {
            self.hand.advance(Duration::from_mins(5));
            let repository = open(self.store.clone(), &self.hand.runtime(99, 0)).unwrap();
            let options = Options { sources: vec!["second".into()], ..Options::default() };
            let report = run::run(&repository, &self.plan, &machine("UTC", self.scratch.clone()), &options, &Silent);
            assert_eq!(report.unwrap().sources[0].outcome, Outcome::Done);
        }
    }
    fn note(&self, _: &str) {}
}

#[test]
fn what_another_host_took_meanwhile_is_not_taken_again() {
    let source = |name: &str| format!("[source.{name}]\nkind = \"directory\"\npaths = [\"{name}-files\"]\n");
    let mut world = World::new(&(source("first") + &source("second")), "2026-11-03T12:00:30Z");
    for name in ["first", "second"] {
        fs::create_dir(world.path().join(format!("{name}-files"))).unwrap();
        fs::write(world.path().join(format!("{name}-files")).join(name), name).unwrap();
    }
    let (store, hand, plan) = (world.store.clone(), Hand(world.hand.0.clone()), world.plan.clone());
    let other = Other { store, hand, plan, scratch: world.path().to_owned() };
    let report = world.watched("UTC", &other);
    let outcomes: Vec<_> = report.sources.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Skipped], "{report:?}");
    assert!(report.sources[1].notes.iter().any(|note| note.contains("taken meanwhile; due in")), "{report:?}");
    assert!(!report.has_failed());
    assert_eq!(History::read(&world.open()).unwrap().snapshots_of("second"), 1);
}
