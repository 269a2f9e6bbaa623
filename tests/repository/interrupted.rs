//! Forget, tag, undelete, mark and every change of keys die at each of their writes, in every way that a write can end.
//! Nothing that was not meant is gone afterwards, some password opens, and the same commands go through again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testkit::faulty::{self, Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{Hand, PASSWORD, backend, check, init, member, noise, open_as, restore_stream, snapshot_stream};
use vault::backend::Store;
use vault::error::{Error, Result};
use vault::progress::Silent;
use vault::repository::objects::orders;
use vault::repository::{Access, Options, Repository, SnapshotEntry};
use vault::{forget, keys, list, prune, repository, tag, undelete};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::slot::{KDF_FLOOR, NewPassword};

const SEED: u64 = 60;
const NEW_PASSWORD: &[u8] = b"battery staple";

/// One command, with the snapshot that it is about.
#[derive(Clone, Copy, Debug)]
enum Step {
    Forget(usize),
    Hold(usize),
    Undelete(usize),
    /// What is forgotten is condemned, and half a day passes.
    Mark,
    AddKey,
    ChangePassword,
    RemoveKey,
}

/// An undelete that is an order, and one that is a copy since a mark of age names the snapshot.
const SERIES: &[Step] = &[
    Step::Forget(0),
    Step::Hold(1),
    Step::Undelete(0),
    Step::Forget(2),
    Step::Mark,
    Step::Undelete(2),
    Step::AddKey,
    Step::ChangePassword,
    Step::RemoveKey,
];

/// What is there before.
struct Start {
    store: Simulated,
    /// Snapshots of the owner, and the last one of the client whose key is to be removed.
    snapshots: Vec<(ObjectId, Vec<u8>)>,
    client: (ObjectId, Bundle),
}

impl Start {
    fn new(hand: &Hand) -> Self {
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(SEED, 0));
        let mut snapshots = Vec::new();
        for seed in 0..3 {
            let bytes = noise(seed, 60_000);
            snapshots.push((snapshot_stream(&owner, &bytes).unwrap().snapshot.unwrap(), bytes));
        }
        let client = member(&owner, Role::Client, "laptop", None);
        let laptop = open_as(store.clone(), &hand.runtime(SEED + 1, 0), &client.1).unwrap();
        let bytes = noise(3, 60_000);
        snapshots.push((snapshot_stream(&laptop, &bytes).unwrap().snapshot.unwrap(), bytes));
        Self { store, snapshots, client }
    }
}

fn take(repository: &Repository, start: &Start, step: Step) -> Result<()> {
    let id = |number: usize| start.snapshots[number].0.to_string();
    match step {
        Step::Forget(number) => drop(forget::by_id(repository, &[id(number)], &forget::Options::default())?),
        Step::Hold(number) => {
            let change = tag::Change { add: vec!["kept".into()], remove: Vec::new(), hold: Some(true), expire: None };
            tag::tag(repository, &id(number), &|_| None, &change)?;
        }
        Step::Undelete(number) => match undelete::undelete(repository, &id(number)) {
            // the copy was there before the answer was lost
            Err(Error::Request(why)) if why.to_string().contains("is back already") => {}
            done => drop(done?),
        },
        Step::Mark => {
            prune::mark(repository, &prune::Options::default())?;
            repository.runtime().clock.sleep(Duration::from_hours(13));
        }
        Step::AddKey => {
            let new = keys::NewKey { role: Role::Writer, label: Some("server".into()), domain: None };
            let draft = keys::draft(repository, &new)?;
            keys::add(repository, &draft, None, &Silent)?;
        }
        Step::ChangePassword => {
            let new = NewPassword { password: NEW_PASSWORD, kdf: KDF_FLOOR };
            keys::change_password(repository, new, &Silent)?;
        }
        Step::RemoveKey => _ = keys::remove(repository, start.client.0, &Silent)?,
    }
    Ok(())
}

fn open(store: impl Store + Clone + 'static, hand: &Hand) -> repository::Result<Repository> {
    let runtime = hand.runtime(SEED + 2, 0);
    let open = |password: &[u8]| {
        let access = Access::Password(password);
        Repository::open(backend(store.clone(), &runtime), runtime.clone(), Options::default(), access)
    };
    open(PASSWORD).or_else(|_| open(NEW_PASSWORD))
}

/// Takes steps until one fails; returns how many were done.
fn run(store: Faulty, hand: &Hand, start: &Start) -> usize {
    let Ok(repository) = open(store, hand) else { return 0 };
    SERIES.iter().take_while(|step| take(&repository, start, **step).is_ok()).count()
}

/// Torn objects are passed over by the owner's word; nothing else may be reported.
fn quarantine(repository: &Repository, store: &Simulated) -> Vec<String> {
    let is_whole = |id: ObjectId, bytes: &[u8]| id == ObjectId::of(bytes);
    let mut torn = Vec::new();
    for (name, bytes) in store.objects() {
        if let Some(id) = Name::parse(&name).and_then(|name| name.id()).filter(|id| !is_whole(*id, &bytes)) {
            torn.push((name, id));
        }
    }
    if !torn.is_empty() {
        let ids: Vec<ObjectId> = torn.iter().map(|(_, id)| *id).collect();
        let domains = list::snapshots(repository).unwrap().snapshots.all.into_iter().map(|one| one.place.domain);
        for domain in domains.collect::<BTreeSet<_>>() {
            orders::put(repository, domain, Action::Quarantine(ids.clone())).unwrap();
        }
    }
    torn.into_iter().map(|(name, _)| name).collect()
}

fn assert_sound(store: &Simulated, hand: &Hand, start: &Start, done: usize, context: &str) {
    let repository = open(store.clone(), hand).unwrap_or_else(|error| panic!("{context}: no password opens: {error}"));
    let torn = quarantine(&repository, store);
    let mut findings = check(&repository, true).findings;
    findings.retain(|finding| !torn.contains(&finding.object));
    assert!(findings.is_empty(), "{context}: {findings:#?}");
    // whatever was forgotten can still be restored, and so can what the removed key wrote
    for (id, bytes) in &start.snapshots {
        let found = restore_stream(&repository, *id).unwrap_or_else(|error| panic!("{context}: {id}: {error}"));
        assert!(found == *bytes, "{context}: {id}: other bytes");
    }
    let remaining: Vec<Step> = SERIES.iter().skip(done).copied().collect();
    for step in remaining {
        match take(&repository, start, step) {
            // it was done, and its answer was lost
            Err(Error::Request(_)) if matches!(step, Step::AddKey | Step::RemoveKey) => {}
            Err(error) => panic!("{context}: {step:?} again: {error}"),
            Ok(()) => {}
        }
    }
    let repository = open(store.clone(), hand).unwrap_or_else(|error| panic!("{context}: at the end: {error}"));
    let catalog = list::snapshots(&repository).unwrap();
    for (id, bytes) in &start.snapshots {
        let is_it = |one: &&SnapshotEntry| one.id == *id || one.head.original == Some(*id);
        let shown = catalog.snapshots.visible().find(is_it).unwrap_or_else(|| panic!("{context}: {id} is not shown"));
        assert!(restore_stream(&repository, shown.id).unwrap() == *bytes, "{context}: {id}: other bytes");
    }
    let laptop = open_as(store.clone(), &hand.runtime(SEED + 3, 0), &start.client.1).unwrap();
    let refused = snapshot_stream(&laptop, b"after all").unwrap_err().to_string();
    assert!(refused.contains("revoked"), "{context}: {refused}");
}

fn crash_everywhere(modes: &[Mode]) {
    let hand = Hand::new();
    let start = Start::new(&hand);
    let faulty = Faulty::new(Arc::new(start.store.snapshot(1)));
    assert_eq!(run(faulty.clone(), &hand, &start), SERIES.len());
    let writes = faulty.mutations();
    assert!(writes > 15, "{writes}");
    for operation_number in faulty::strikes(writes) {
        for mode in modes {
            let context = format!("seed {SEED}, write {operation_number} of {writes}, {mode:?}");
            let store = start.store.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode: *mode, then_dead: true });
            let done = run(faulty.clone(), &hand, &start);
            assert!(faulty.is_dead(), "{context}: did not strike");
            assert_sound(&store, &hand, &start, done, &context);
        }
    }
}

#[test]
fn orders_and_keys_survive_a_crash_at_any_write() {
    crash_everywhere(&[Mode::NotApplied, Mode::AppliedUnacknowledged]);
}

#[test]
fn orders_and_keys_survive_a_store_that_tears() {
    crash_everywhere(&[Mode::TornBytes(0), Mode::TornFraction(0.5), Mode::TornFraction(0.999_999)]);
}
