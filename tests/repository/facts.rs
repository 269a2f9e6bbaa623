//! What a snapshot and a record tell beside content: kind, set and facts stay with a snapshot wherever it is copied to,
//! and each run leaves a record that says who, why, and which snapshot.

use testkit::world::{
    Hand, init, init_like, member, noise, open_as, open_with, records, restore_folder, restore_stream,
};
use vault::backup::{self, Source};
use vault::progress::Silent;
use vault::repository::{Actor, Options, Repository};
use vault::{copy, keys, list};
use vault_format::bundle::Role;
use vault_format::id::{ObjectId, SetId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::slot::{KDF_FLOOR, NewPassword};
use vault_format::snapshot::{Body, Head};

fn options() -> backup::Options {
    backup::Options {
        name: "app-db".into(),
        kind: "postgres".into(),
        set: Some(SetId([3; 16])),
        facts: [("server_version", "16.4"), ("table:public.users", "5000")].into_iter().collect(),
        ..backup::Options::default()
    }
}

fn take(repository: &Repository, mut bytes: &[u8], options: &backup::Options) -> backup::Report {
    backup::backup(repository, Source::Stream(&mut bytes, b"app-db".to_vec()), options, &Silent).unwrap()
}

fn told(repository: &Repository, id: ObjectId) -> (Head, Body) {
    let catalog = list::snapshots(repository).unwrap();
    let entry = catalog.snapshots.by_id(&id.to_string()).unwrap();
    (entry.head.clone(), entry.body(repository).unwrap())
}

fn last(repository: &Repository) -> Record {
    records(repository).pop().unwrap()
}

#[test]
fn a_copy_keeps_kind_set_and_facts() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let bytes = noise(1, 5_000);
    let taken = take(&repository, &bytes, &options()).snapshot.unwrap();
    let second = init_like(hand.store(), &hand.runtime(2, 0), &repository);
    let copied = copy::copy(&repository, &second, &copy::Options::default(), &Silent).unwrap();
    for (repository, id) in [(&repository, taken), (&second, copied.copied[0].copy.unwrap())] {
        let (head, body) = told(repository, id);
        assert_eq!((head.kind.as_str(), head.set), ("postgres", Some(SetId([3; 16]))));
        let facts: Vec<_> = body.facts.iter().collect();
        assert_eq!(facts, [("server_version", "16.4"), ("table:public.users", "5000")]);
        assert_eq!(restore_stream(repository, id).unwrap(), bytes);
    }
}

#[test]
fn a_run_that_finds_nothing_new_names_the_snapshot_that_stands_for_it() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let options = backup::Options { skip_if_unchanged: true, ..options() };
    let taken = take(&repository, b"same", &options).snapshot.unwrap();
    let record = last(&repository);
    assert_eq!((record.outcome, record.snapshot), (RunOutcome::Done, Some(taken)));
    hand.advance(std::time::Duration::from_secs(60));
    // facts alone are no other state: a server that was updated has the same rows
    let newer = backup::Options { facts: [("server_version", "16.5")].into_iter().collect(), ..options };
    let again = take(&repository, b"same", &newer);
    assert_eq!((again.snapshot, again.unchanged), (None, Some(taken)));
    let record = last(&repository);
    assert_eq!((record.outcome, record.snapshot), (RunOutcome::Unchanged, Some(taken)));
}

#[test]
fn a_restore_leaves_a_record_whether_it_succeeds_or_not() {
    let hand = Hand::new();
    let store = hand.store();
    init(store.clone(), &hand.runtime(1, 0));
    let actor = Actor { name: "ann@host".into(), reason: "the disk broke".into() };
    let repository = open_with(store, &hand.runtime(2, 0), Options { actor, ..Options::default() }).unwrap();
    let taken = take(&repository, b"rows", &options()).snapshot.unwrap();
    let place = tempfile::tempdir().unwrap();
    for (target, outcome) in [("out", RunOutcome::Done), ("file", RunOutcome::Failed)] {
        std::fs::write(place.path().join("file"), "no folder").unwrap();
        hand.advance(std::time::Duration::from_secs(60));
        assert_eq!(restore_folder(&repository, taken, &place.path().join(target)).is_ok(), outcome == RunOutcome::Done);
        let record = last(&repository);
        assert_eq!((record.operation.as_str(), record.outcome, record.snapshot), ("restore", outcome, Some(taken)));
        assert_eq!((record.actor.as_str(), record.reason.as_str()), ("ann@host", "the disk broke"));
        assert_eq!(record.message.is_empty(), outcome == RunOutcome::Done, "{}", record.message);
        assert_eq!(record.facts.get("target_host"), Some("host"));
    }
}

#[test]
fn a_change_of_keys_leaves_a_record_whether_it_succeeds_or_not() {
    let hand = Hand::new();
    let owner = init(hand.store(), &hand.runtime(1, 0));
    let (slot, _) = member(&owner, Role::Client, "laptop", None);
    let tell = |operation: &str, outcome: RunOutcome, says: &str| {
        let record = last(&owner);
        assert_eq!((record.operation.as_str(), record.outcome), (operation, outcome), "{}", record.message);
        assert!(record.message.contains(says), "{}", record.message);
        hand.advance(std::time::Duration::from_secs(60));
    };
    tell("key add", RunOutcome::Done, "client laptop");
    let new = keys::NewKey { role: Role::Client, label: Some("other".into()), domain: None };
    let empty = NewPassword { password: b"", kdf: KDF_FLOOR };
    keys::add(&owner, &keys::draft(&owner, &new).unwrap(), Some(empty), &Silent).unwrap_err();
    tell("key add", RunOutcome::Failed, "password is empty");
    keys::remove(&owner, ObjectId([7; 32]), &Silent).unwrap_err();
    tell("key remove", RunOutcome::Failed, "there is no key");
    keys::change_password(&owner, empty, &Silent).unwrap_err();
    tell("key passwd", RunOutcome::Failed, "password is empty");
    keys::remove(&owner, slot, &Silent).unwrap();
    tell("key remove", RunOutcome::Done, "client laptop");
}

#[test]
fn a_writer_sees_kind_and_set_but_no_facts() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Writer, "server", None);
    let writer = open_as(store, &hand.runtime(2, 0), &bundle).unwrap();
    let taken = take(&writer, b"rows", &options()).snapshot.unwrap();
    let catalog = list::snapshots(&writer).unwrap();
    let entry = catalog.snapshots.by_id(&taken.to_string()).unwrap();
    assert_eq!((entry.head.kind.as_str(), entry.head.set), ("postgres", Some(SetId([3; 16]))));
    assert!(entry.body(&writer).is_err());
    assert_eq!(told(&owner, taken).1.facts.get("server_version"), Some("16.4"));
}

/// Each record names the one before it, within a process and from what the machine remembers, so that one that is taken
/// out leaves a gap.
#[test]
fn records_name_those_before_them() {
    let hand = Hand::new();
    let store = hand.store();
    init(store.clone(), &hand.runtime(1, 0));
    let cache = tempfile::tempdir().unwrap();
    for seed in 2..5 {
        hand.advance(std::time::Duration::from_secs(60));
        let repository = open_with(store.clone(), &hand.runtime(seed, 0), Options::default()).unwrap();
        repository.use_cache(cache.path()).unwrap();
        take(&repository, b"rows", &options());
    }
    let names: Vec<ObjectId> = store.objects().into_values().map(|bytes| ObjectId::of(&bytes)).collect();
    let repository = open_with(store.clone(), &hand.runtime(9, 0), Options::default()).unwrap();
    let all = records(&repository);
    let starts = all.iter().filter(|record| record.after.is_empty()).count();
    assert!(all.len() >= 3 && starts == 1, "{all:#?}");
    assert!(all.iter().flat_map(|record| &record.after).all(|id| names.contains(id)));
}
