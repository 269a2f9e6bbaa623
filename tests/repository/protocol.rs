//! What writers make of marks, and what initialisation and opening make of places that are not as they should be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, assert_restores, backend, cheap, folder, init, init_like, noise, open, restore_stream,
    snapshot_folder, snapshot_stream,
};
use vault::backend::Store;
use vault::copy;
use vault::error::Error as OperationError;
use vault::progress::Silent;
use vault::repository::{Access, Error, NewRepository, Options, Repository};
use vault::runtime::{Clock, Runtime};
use vault_format::id::{Class, ObjectId};
use vault_format::mark::Mark;
use vault_format::name::Name;

/// A repository with a folder and a stream in it, and a mark that condemns all its packs and is not put yet.
struct Condemned {
    hand: Hand,
    store: Simulated,
    folder: tempfile::TempDir,
    stream: Vec<u8>,
    packs: BTreeSet<(Class, ObjectId)>,
    mark: (String, Vec<u8>),
}

fn packs(store: &Simulated) -> BTreeSet<(Class, ObjectId)> {
    let pack = |name: &String| match Name::parse(name) {
        Some(Name::Pack(class, id)) => Some((class, id)),
        _ => None,
    };
    store.objects().keys().filter_map(pack).collect()
}

impl Condemned {
    fn new() -> Self {
        let (hand, stream) = (Hand::new(), noise(1, 50_000));
        let folder = folder(|root| std::fs::write(root.join("file"), noise(2, 50_000)).unwrap());
        let store = hand.store();
        let repository = init(store.clone(), &hand.runtime(1, 0));
        snapshot_folder(&repository, folder.path()).unwrap();
        snapshot_stream(&repository, &stream).unwrap();
        let packs = packs(&store);
        let mark = Mark::Condemn { packs: packs.iter().copied().collect(), snapshots: Vec::new(), grace: DAY };
        let sealed = mark.seal(repository.id(), repository.keys().signer(), &[7; 32]).unwrap();
        let mark = (Name::Mark(ObjectId::of(&sealed)).to_string(), sealed);
        Self { hand, store, folder, stream, packs, mark }
    }

    /// Opens the repository; the mark appears at the `nth` look at marks, at that age.
    fn open(&self, nth: u64, age: Duration) -> Repository {
        let (store, hand, (name, bytes)) = (self.store.clone(), self.hand.clone(), self.mark.clone());
        let looks = AtomicU64::new(0);
        let hooked = Hooked::new(self.store.clone(), move |_, what, listed| {
            if (what, listed) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                store.put(&name, &bytes).unwrap();
                hand.advance(age);
            }
        });
        open(hooked, &self.hand.runtime(2, 0)).unwrap()
    }
}

const HALF: Duration = Duration::from_hours(12);
/// The grace of a mark, in nanoseconds.
const DAY: u64 = 24 * 3600 * 1_000_000_000;

#[test]
fn a_stream_that_relies_on_condemned_packs_fails() {
    for nth in [2, 3] {
        let world = Condemned::new();
        let repository = world.open(nth, HALF + Duration::from_secs(1));
        let failure = snapshot_stream(&repository, &world.stream).unwrap_err();
        assert!(matches!(failure, OperationError::Repository(Error::Condemned(_))), "look {nth}: {failure}");
        // the next run stores it again
        let report = snapshot_stream(&repository, &world.stream).unwrap();
        assert!(report.head.statistics.stored_bytes > 50_000, "{:?}", report.head.statistics);
        assert!(restore_stream(&repository, report.snapshot.unwrap()).unwrap() == world.stream);
    }
}

/// A run that slept: what it has stored itself was in no index for longer than the grace, and condemned.
#[test]
fn a_run_relies_on_what_it_has_stored_itself() {
    for nth in [2, 3] {
        let (hand, stream) = (Hand::new(), noise(1, 50_000));
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (inner, clock, looks) = (store.clone(), hand.clone(), AtomicU64::new(0));
        let hooked = Hooked::new(store.clone(), move |_, what, listed| {
            if (what, listed) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                let packs = packs(&inner).into_iter().collect();
                let mark = Mark::Condemn { packs, snapshots: Vec::new(), grace: DAY };
                let sealed = mark.seal(owner.id(), owner.keys().signer(), &[7; 32]).unwrap();
                inner.put(&Name::Mark(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
                clock.advance(HALF + Duration::from_secs(1));
            }
        });
        let repository = open(hooked, &hand.runtime(2, 0)).unwrap();
        let failure = snapshot_stream(&repository, &stream).unwrap_err();
        assert!(matches!(failure, OperationError::Repository(Error::Condemned(_))), "look {nth}: {failure}");
    }
}

#[test]
fn a_folder_that_relies_on_condemned_packs_is_stored_again() {
    for nth in [1, 2, 3] {
        let world = Condemned::new();
        let repository = world.open(nth, HALF + Duration::from_secs(1));
        let report = snapshot_folder(&repository, world.folder.path()).unwrap();
        let context = format!("look {nth}");
        assert_eq!(report.head.statistics.unchanged_files, 0, "{context}");
        // nothing of it lies in the packs that are about to go
        for (class, id) in &world.packs {
            assert!(world.store.remove(&Name::Pack(*class, *id).to_string()));
        }
        assert_restores(&repository, report.snapshot.unwrap(), world.folder.path(), &context);
    }
}

/// The second of two snapshots that are copied shares a folder with the first, so that it is not walked again: what lies
/// there is condemned between the two commits.
#[test]
fn a_copy_relies_on_what_it_takes_over_unwalked() {
    let hand = Hand::new();
    let store = hand.store();
    let from = init(hand.store(), &hand.runtime(1, 0));
    let to = init_like(store.clone(), &hand.runtime(2, 0), &from);
    let source = folder(|root| {
        std::fs::create_dir(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/file"), noise(2, 50_000)).unwrap();
    });
    let take = |name: &str| {
        std::fs::write(source.path().join("name"), name).unwrap();
        snapshot_folder(&from, source.path()).unwrap().snapshot.unwrap()
    };
    let copy_to = |to: &Repository| copy::copy(&from, to, &copy::Options::default(), &Silent).unwrap();
    take("old");
    assert_eq!(copy_to(&to).copied.len(), 1);
    let old = packs(&store);
    let [_, last] = ["one", "two"].map(take);
    let mark = Mark::Condemn { packs: old.iter().copied().collect(), snapshots: Vec::new(), grace: DAY };
    let sealed = mark.seal(to.id(), to.keys().signer(), &[7; 32]).unwrap();
    let (inner, clock, looks) = (store.clone(), hand.clone(), AtomicU64::new(0));
    let hooked = Hooked::new(store.clone(), move |_, what, listed| {
        // the first look, two for the first commit
        if (what, listed) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) + 1 == 4 {
            inner.put(&Name::Mark(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
            clock.advance(HALF + Duration::from_secs(1));
        }
    });
    let report = copy_to(&open(hooked, &hand.runtime(3, 0)).unwrap());
    let copied = report.copied.iter().rfind(|one| one.source == last).and_then(|one| one.copy).unwrap();
    for (class, id) in old {
        assert!(store.remove(&Name::Pack(class, id).to_string()));
    }
    assert_restores(&to, copied, source.path(), "its folder was stored again");
}

#[test]
fn a_young_mark_is_no_hindrance() {
    for nth in [2, 3] {
        let world = Condemned::new();
        let repository = world.open(nth, HALF - Duration::from_secs(1));
        let report = snapshot_folder(&repository, world.folder.path()).unwrap();
        assert_eq!(report.head.statistics.unchanged_files, 1, "look {nth}");
        let world = Condemned::new();
        let repository = world.open(nth, HALF - Duration::from_secs(1));
        snapshot_stream(&repository, &world.stream).unwrap();
    }
}

/// The store's clock is learnt by a put, which may take long: the mark may have aged as long, so it counts as old.
#[test]
fn a_mark_that_may_not_be_young_any_more_is_not() {
    let world = Condemned::new();
    let (store, hand, (name, bytes)) = (world.store.clone(), world.hand.clone(), world.mark.clone());
    let looks = AtomicU64::new(0);
    let hooked = Hooked::new(world.store.clone(), move |_, what, at| {
        if (what, at) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            store.put(&name, &bytes).unwrap();
            hand.advance(HALF - Duration::from_mins(3));
        } else if what == "put" && at.starts_with("journal/") {
            hand.advance(Duration::from_mins(2));
        }
    });
    let repository = open(hooked, &world.hand.runtime(2, 0)).unwrap();
    let failure = snapshot_stream(&repository, &world.stream).unwrap_err();
    assert!(matches!(failure, OperationError::Repository(Error::Condemned(_))), "{failure}");
}

#[test]
fn a_store_that_is_too_slow_to_commit_is_told_so() {
    let hand = Hand::new();
    let slow = hand.clone();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let hooked = Hooked::new(store.clone(), move |_, what, listed| {
        if (what, listed) == ("list", "marks/") {
            slow.advance(Duration::from_mins(11));
        }
    });
    let repository = open(hooked, &hand.runtime(2, 0)).unwrap();
    let failure = snapshot_stream(&repository, b"some bytes").unwrap_err();
    assert!(matches!(failure, OperationError::Repository(Error::TooSlow(_))), "{failure}");
    assert!(!store.objects().keys().any(|name| name.starts_with("snapshots/")));
}

fn try_init(store: impl Store + 'static, runtime: &Runtime) -> Result<Repository, Error> {
    Repository::init(backend(store, runtime), runtime.clone(), Options::default(), cheap())
}

/// What the race left: the winner's repository and nothing else that opens, or no repository.
fn assert_one_winner(store: &Simulated, results: [Result<Repository, Error>; 2], runtime: &Runtime, context: &str) {
    let winners: Vec<&Repository> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert!(winners.len() < 2, "{context}: both won");
    let objects = store.objects();
    match winners.first() {
        Some(winner) => {
            assert_eq!(objects["config"], objects["config.copy"], "{context}");
            let found = open(store.clone(), runtime).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(found.id(), winner.id(), "{context}");
            let report = snapshot_stream(&found, b"of the winner").unwrap();
            runtime.clock.sleep(store.listing_lag());
            assert_eq!(restore_stream(&found, report.snapshot.unwrap()).unwrap(), b"of the winner", "{context}");
        }
        None => {
            assert!(!objects.contains_key("config"), "{context}: {results:?}", results = results.map(|r| r.err()));
            assert!(matches!(open(store.clone(), runtime), Err(Error::HalfMade(_))), "{context}");
        }
    }
}

/// A second init runs before each call of the first one, and in the middle of its wait.
#[test]
fn of_two_interleaved_inits_at_most_one_wins() {
    for (lag, seeds) in [(Duration::ZERO, 1), (Duration::from_mins(10), 20)] {
        for (seed, at) in (0..seeds).flat_map(|seed| (1..=6).map(move |at| (seed, at))) {
            let hand = Hand::new();
            let store = Simulated::new(hand.clock(), lag, seed);
            let other = Arc::new(std::sync::Mutex::new(None));
            let (result, inner, runtime) = (other.clone(), store.clone(), hand.runtime(1000 + seed, 0));
            let hooked = Hooked::new(store.clone(), move |call, _, _| {
                if call == at {
                    *result.lock().unwrap() = Some(try_init(inner.clone(), &runtime));
                }
            });
            let first = try_init(hooked, &hand.runtime(seed, 0));
            let context = format!("lag {lag:?}, seed {seed}, before call {at}");
            let Some(second) = other.lock().unwrap().take() else { continue };
            hand.advance(lag);
            assert_one_winner(&store, [first, second], &hand.runtime(9, 0), &context);
        }
    }
}

#[test]
fn of_two_inits_at_once_at_most_one_wins() {
    for round in 0..20 {
        let lag = Duration::from_millis(if round % 2 == 0 { 0 } else { 30 });
        let store = Simulated::new(Clock::System, lag, round);
        let start = Arc::new(std::sync::Barrier::new(2));
        let threads = [1, 2].map(|which| {
            let (store, start) = (store.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                try_init(store, &Runtime::seeded(100 * round + which, Clock::System, 0))
            })
        });
        let results = threads.map(|thread| thread.join().unwrap());
        std::thread::sleep(lag);
        let runtime = Runtime::seeded(9, Clock::System, 0);
        assert_one_winner(&store, results, &runtime, &format!("round {round}"));
    }
}

#[test]
fn only_an_empty_place_becomes_a_repository() {
    let hand = Hand::new();
    let refuse = |store: &Simulated| try_init(store.clone(), &hand.runtime(3, 0)).err().unwrap();
    let store = hand.store();
    assert!(matches!(open(store.clone(), &hand.runtime(2, 0)), Err(Error::NoRepository(_))));
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let before = store.objects();
    assert!(matches!(refuse(&store), Error::NotEmpty(_)));
    assert_eq!(store.objects(), before);
    store.remove("config");
    store.remove("config.copy");
    assert!(matches!(refuse(&store), Error::HalfMade(_)));
    assert!(matches!(open(store.clone(), &hand.runtime(2, 0)), Err(Error::HalfMade(_))));
    let store = hand.store();
    store.put("holiday.jpg", b"not ours").unwrap();
    assert!(matches!(refuse(&store), Error::NotEmpty(_)));
    assert!(matches!(open(store, &hand.runtime(2, 0)), Err(Error::NotARepository(_))));
}

#[test]
fn a_wrong_password_opens_nothing() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let runtime = hand.runtime(2, 0);
    let access = Access::Password(b"incorrect horse");
    let opened = Repository::open(backend(store, &runtime), runtime, Options::default(), access);
    assert!(matches!(opened, Err(Error::WrongPassword(_))));
}

/// The same password, and even the same root key: another repository's config is refused all the same.
#[test]
fn a_foreign_config_is_refused() {
    let hand = Hand::new();
    let (store, other) = (hand.store(), hand.store());
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let root = repository.keys().owner("share").unwrap().root().clone();
    let runtime = hand.runtime(2, 0);
    let like = NewRepository { like: Some(root), ..cheap() };
    drop(Repository::init(backend(other.clone(), &runtime), runtime, Options::default(), like).unwrap());
    let foreign = other.objects()["config"].clone();
    for names in [&["config"][..], &["config", "config.copy"]] {
        let copy = store.snapshot(1);
        for name in names {
            assert!(copy.damage(name, |bytes| bytes.clone_from(&foreign)));
        }
        let opened = open(copy, &hand.runtime(3, 0));
        assert!(opened.is_err(), "{names:?}");
    }
}

#[test]
fn a_rotten_config_is_replaced_by_its_copy() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let bytes = store.objects()["config"].clone();
    let shapes = (0..bytes.len()).map(|at| (at, bytes.len())).chain([(0, 0), (0, 7)]);
    for (position, length) in shapes.step_by(5).chain([(0, 0), (0, 7)]) {
        let copy = store.snapshot(1);
        copy.damage("config", |bytes| {
            bytes[position] ^= 0xff;
            bytes.truncate(length);
        });
        let context = format!("byte {position}, length {length}");
        let repository = open(copy, &hand.runtime(2, 0)).unwrap_or_else(|error| panic!("{context}: {error}"));
        let findings = testkit::world::check(&repository, false).findings;
        assert_eq!(findings.iter().map(|f| f.object.as_str()).collect::<Vec<_>>(), ["config"], "{context}");
    }
    let repository = open(store, &hand.runtime(3, 0)).unwrap();
    assert_clean(&repository, true, "whole");
}
