//! The process dies at every write of a series of operations, in every way that a write can end. What was acknowledged
//! must be there afterwards, exactly, and the next run must work.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use testkit::faulty::{self, Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_restores, check, folder, init, noise, open_with, restore_folder, restore_stream, snapshot_folder,
    snapshot_stream,
};
use vault::error::Result;
use vault::progress::Silent;
use vault::prune;
use vault::repository::objects::orders;
use vault::repository::{Options, Repository};
use vault_format::id::ObjectId;
use vault_format::name::Name;
use vault_format::order::Action;

const SEED: u64 = 20;

/// One operation of the series.
#[derive(Clone, Copy, Debug)]
enum Step {
    Folder(usize),
    Stream(usize),
    Restore,
    /// Forgets the first snapshots.
    Forget(usize),
    /// Keeps no garbage: half-dead packs are repacked.
    Mark,
    /// A day later.
    Sweep,
    /// Everything at once.
    Prune,
}

/// Changes in between, and a folder that did not change at all.
const SERIES: &[Step] = &[
    Step::Stream(2),
    Step::Folder(0),
    Step::Stream(0),
    Step::Folder(1),
    Step::Folder(1),
    Step::Stream(1),
    Step::Restore,
    Step::Forget(2),
    Step::Mark,
    Step::Stream(1),
    Step::Sweep,
    Step::Stream(2),
    Step::Folder(1),
    Step::Forget(1),
    Step::Prune,
];

fn thorough(grace: Option<Duration>) -> prune::Options {
    prune::Options { grace, max_unused: prune::Unused::Bytes(0), ..prune::Options::default() }
}

/// The sources in their states.
struct Sources {
    folders: [TempDir; 2],
    streams: [Vec<u8>; 3],
}

impl Sources {
    fn new() -> Self {
        let first = folder(|root| {
            fs::create_dir(root.join("sub")).unwrap();
            fs::write(root.join("sub/gone"), noise(5, 120_000)).unwrap();
            fs::write(root.join("sub/noise"), noise(1, 2_300_000)).unwrap();
            fs::write(root.join("text"), "text\n".repeat(10_000)).unwrap();
            fs::write(root.join("empty"), b"").unwrap();
        });
        let second = tempfile::tempdir().unwrap();
        let (from, to) = (first.path().join("."), second.path());
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        fs::write(to.join("sub/more"), noise(2, 200_000)).unwrap();
        fs::remove_file(to.join("text")).unwrap();
        fs::remove_file(to.join("sub/gone")).unwrap();
        let stream = noise(3, 400_000);
        let mut changed = stream.clone();
        changed[200_000] ^= 1;
        Self { folders: [first, second], streams: [stream, changed, noise(4, 150_000)] }
    }

    fn folder(&self, state: usize) -> &Path {
        self.folders[state].path()
    }
}

/// A snapshot that was acknowledged, and the step that took it.
type Acknowledged = Vec<(Step, ObjectId)>;

fn take(repository: &Repository, sources: &Sources, step: Step, done: &mut Acknowledged) -> Result<()> {
    let report = match step {
        Step::Folder(state) => snapshot_folder(repository, sources.folder(state))?,
        Step::Stream(state) => snapshot_stream(repository, &sources.streams[state])?,
        Step::Restore => {
            let Some((_, id)) = done.iter().rfind(|(step, _)| matches!(step, Step::Folder(_))) else { return Ok(()) };
            let place = tempfile::tempdir().unwrap();
            return restore_folder(repository, *id, &place.path().join("out")).map(drop);
        }
        Step::Forget(first) => {
            // from here on they may be there or not
            let forgotten = done.drain(..first).map(|(_, id)| id).collect();
            orders::put(repository, repository.keys().domain(), Action::Forget(forgotten))?;
            return Ok(());
        }
        Step::Mark => {
            let report = prune::mark(repository, &thorough(None))?;
            let (figures, snapshots) = (report.figures, report.snapshots.len());
            assert!(figures.moved_frames > 0 && figures.recoded_frames > 0 && snapshots == 2, "{report:?}");
            return Ok(());
        }
        Step::Sweep => {
            repository.runtime().clock.sleep(Duration::from_hours(25));
            let report = prune::sweep(repository, &prune::Options::default())?;
            assert!(report.packs > 0 && report.snapshots == 2 && report.merged_indexes > 0, "{report:?}");
            return Ok(());
        }
        Step::Prune => {
            let report = prune::prune(repository, &thorough(Some(Duration::ZERO)), &Silent)?;
            assert!(report.swept.snapshots == 1 && report.swept.packs > 0, "{report:?}");
            return Ok(());
        }
    };
    assert!(report.failed.is_empty(), "{report:?}");
    done.push((step, report.snapshot.unwrap()));
    Ok(())
}

/// Several packs a run, and several frames a pack.
fn small_packs() -> Options {
    Options { memory_bytes: 8 << 20, ..Options::default() }
}

/// Takes steps until one fails.
fn run(store: Faulty, hand: &Hand, sources: &Sources) -> Acknowledged {
    let mut done = Acknowledged::new();
    let Ok(repository) = open_with(store, &hand.runtime(SEED, 0), small_packs()) else { return done };
    for step in SERIES {
        if take(&repository, sources, *step, &mut done).is_err() {
            break;
        }
    }
    done
}

fn assert_kept(repository: &Repository, sources: &Sources, done: &Acknowledged, context: &str) {
    for (step, id) in done {
        let context = format!("{context}: {step:?} {id}");
        match step {
            Step::Folder(state) => assert_restores(repository, *id, sources.folder(*state), &context),
            Step::Stream(state) => {
                let found = restore_stream(repository, *id).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(found == sources.streams[*state], "{context}: other bytes");
            }
            Step::Restore | Step::Forget(_) | Step::Mark | Step::Sweep | Step::Prune => {}
        }
    }
}

/// An interrupted prune is finished, and everything left over is freed.
fn prune_all(repository: &Repository, context: &str) {
    for _ in 0..2 {
        repository.runtime().clock.sleep(Duration::from_hours(25));
        prune::sweep(repository, &prune::Options::default())
            .unwrap_or_else(|error| panic!("{context}: sweep: {error}"));
        prune::mark(repository, &thorough(None)).unwrap_or_else(|error| panic!("{context}: mark: {error}"));
    }
    repository.runtime().clock.sleep(Duration::from_hours(25));
    let last = prune::sweep(repository, &prune::Options::default())
        .unwrap_or_else(|error| panic!("{context}: last sweep: {error}"));
    assert_eq!(last.waiting, 0, "{context}: {last:?}");
    let dry = prune::Options { dry_run: true, ..thorough(None) };
    let left = prune::mark(repository, &dry).unwrap_or_else(|error| panic!("{context}: look: {error}"));
    assert!(left.packs.is_empty(), "{context}: {left:?}");
    let notes = check(repository, false).notes;
    assert!(notes.is_empty(), "{context}: {notes:?}");
}

/// Opens what survived; only torn objects themselves may be reported.
fn assert_sound(store: &Simulated, hand: &Hand, sources: &Sources, done: &Acknowledged, context: &str) {
    let repository = open_with(store.clone(), &hand.runtime(SEED + 1, 0), small_packs()).unwrap();
    let torn = store.torn();
    // reading all data each time takes too long: every third store is enough
    let read_data = store.objects().len().is_multiple_of(3);
    // a mark that can't be read stops everybody, and a deleter stops at anything, until the owner has it passed over
    if !torn.is_empty() {
        let ids = torn.iter().filter_map(|name| Name::parse(name)?.id()).collect();
        orders::put(&repository, repository.keys().domain(), Action::Quarantine(ids)).unwrap();
    }
    let sound = |context: &str| {
        let mut findings = check(&repository, read_data).findings;
        findings.retain(|finding| !torn.contains(&finding.object));
        assert!(findings.is_empty(), "{context}: {findings:#?}");
    };
    sound(context);
    assert_kept(&repository, sources, done, context);
    let mut next = Acknowledged::new();
    for step in [Step::Folder(1), Step::Stream(1)] {
        take(&repository, sources, step, &mut next).unwrap_or_else(|error| panic!("{context}: next {step:?}: {error}"));
    }
    assert_kept(&repository, sources, &next, &format!("{context}, next"));
    sound(&format!("{context}, after the next"));
    prune_all(&repository, context);
    assert_kept(&repository, sources, done, &format!("{context}, pruned"));
    assert_kept(&repository, sources, &next, &format!("{context}, next, pruned"));
    sound(&format!("{context}, pruned"));
}

fn crash_everywhere(modes: &[Mode]) {
    let (sources, hand) = (Sources::new(), Hand::new());
    let begin = hand.store();
    drop(init(begin.clone(), &hand.runtime(SEED - 1, 0)));
    let now = hand.0.load(Ordering::SeqCst);
    let faulty = Faulty::new(Arc::new(begin.snapshot(1)));
    let all = run(faulty.clone(), &hand, &sources);
    assert_eq!(all.len(), 6, "{all:?}");
    let writes = faulty.mutations();
    assert!(writes > 20, "{writes}");
    for operation_number in faulty::strikes(writes) {
        for mode in modes {
            let context = format!("seed {SEED}, write {operation_number} of {writes}, {mode:?}");
            let store = begin.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode: *mode, then_dead: true });
            // in another month a prune writes more or less
            hand.0.store(now, Ordering::SeqCst);
            let done = run(faulty.clone(), &hand, &sources);
            assert!(faulty.is_dead(), "{context}: did not strike");
            assert_sound(&store, &hand, &sources, &done, &context);
        }
    }
}

#[test]
fn a_crash_at_any_write_loses_nothing() {
    crash_everywhere(&[Mode::NotApplied, Mode::AppliedUnacknowledged]);
}

#[test]
fn a_store_that_tears_loses_nothing_acknowledged() {
    crash_everywhere(&[Mode::TornBytes(0), Mode::TornFraction(0.5), Mode::TornFraction(0.999_999)]);
}
