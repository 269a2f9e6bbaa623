//! What each role may do, and what becomes of a key that is taken away or gets another password.

use std::sync::Arc;
use testkit::faulty::{Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, PASSWORD, assert_clean, assert_restores, backend, folder, init, member, noise, open, open_as, restore_folder,
    restore_stream, snapshot_folder, snapshot_stream,
};
use vault::backend::Store;
use vault::error::{Error, Refusal};
use vault::progress::Silent;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::orders;
use vault::repository::objects::trust::Trust;
use vault::repository::{Access, Options, Repository};
use vault::{forget, keys, list, prune, repair, repository};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::slot::{KDF_FLOOR, NewPassword};

fn opens(store: &Simulated, hand: &Hand, password: &[u8]) -> bool {
    let runtime = hand.runtime(90, 0);
    let access = Access::Password(password);
    Repository::open(backend(store.clone(), &runtime), runtime, Options::default(), access).is_ok()
}

fn visible(repository: &Repository) -> Vec<ObjectId> {
    list::snapshots(repository).unwrap().snapshots.visible().map(|snapshot| snapshot.id).collect()
}

#[test]
fn a_client_restores_its_own_domain_and_no_other() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let source = folder(|root| std::fs::write(root.join("file"), noise(1, 30_000)).unwrap());
    let theirs = snapshot_folder(&owner, source.path()).unwrap().snapshot.unwrap();
    let (_, laptop) = member(&owner, Role::Client, "laptop", None);
    let (_, phone) = member(&owner, Role::Client, "phone", None);
    let laptop = open_as(store.clone(), &hand.runtime(2, 0), &laptop).unwrap();
    let phone = open_as(store.clone(), &hand.runtime(3, 0), &phone).unwrap();
    let first = snapshot_folder(&laptop, source.path()).unwrap().snapshot.unwrap();
    let second = snapshot_folder(&laptop, source.path()).unwrap();
    assert_eq!(second.head.statistics.unchanged_files, 1, "a client reads its own trees");
    let other = snapshot_folder(&phone, source.path()).unwrap().snapshot.unwrap();
    assert_restores(&laptop, first, source.path(), "its own");
    assert_clean(&laptop, true, "its own");
    let place = tempfile::tempdir().unwrap();
    for foreign in [theirs, other] {
        let error = restore_folder(&laptop, foreign, &place.path().join("out")).unwrap_err();
        assert!(matches!(error, Error::Repository(repository::Error::NoSnapshot(_))), "{error}");
    }
    for id in [theirs, first, other] {
        assert_restores(&owner, id, source.path(), "the owner");
    }
    assert_clean(&owner, true, "the owner");
}

/// A member of the same domain wraps its runs for the owner alone: a client must not rely on what it can't restore.
#[test]
fn a_client_relies_on_nothing_that_it_can_not_open() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, writer) = member(&owner, Role::Writer, "server", Some("shared"));
    let (_, client) = member(&owner, Role::Client, "desk", Some("shared"));
    let writer = open_as(store.clone(), &hand.runtime(2, 0), &writer).unwrap();
    let client = open_as(store.clone(), &hand.runtime(3, 0), &client).unwrap();
    let stream = noise(2, 400_000);
    let by_writer = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
    let by_client = snapshot_stream(&client, &stream).unwrap().snapshot.unwrap();
    assert!(restore_stream(&client, by_client).unwrap() == stream);
    let error = restore_stream(&client, by_writer).unwrap_err();
    assert!(error.to_string().contains("needs the owner's or the domain's client role"), "{error}");
    // the writer finds what the client stored: it restores nothing itself
    let again = snapshot_stream(&writer, &stream).unwrap();
    // but for the page that holds the time
    assert!(again.head.statistics.added_bytes < 1000, "{:?}", again.head.statistics);
    assert!(restore_stream(&owner, again.snapshot.unwrap()).unwrap() == stream);
}

#[test]
fn a_writer_stores_each_chunk_once_and_reads_nothing() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Writer, "server", None);
    let writer = open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap();
    let source = folder(|root| {
        std::fs::create_dir(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/noise"), noise(3, 700_000)).unwrap();
        std::fs::write(root.join("text"), "text\n".repeat(1000)).unwrap();
    });
    let first = snapshot_folder(&writer, source.path()).unwrap();
    let second = snapshot_folder(&writer, source.path()).unwrap();
    assert_eq!(second.head.statistics.added_bytes, 0, "the same content again");
    assert_eq!(second.head.statistics.files, 2);
    assert_eq!(second.head.parent, first.snapshot);
    std::fs::write(source.path().join("sub/noise"), noise(4, 700_000)).unwrap();
    let third = snapshot_folder(&writer, source.path()).unwrap();
    assert_restores(&owner, third.snapshot.unwrap(), source.path(), "third");
    assert_clean(&writer, true, "as far as a writer sees");
    let place = tempfile::tempdir().unwrap();
    let error = restore_folder(&writer, third.snapshot.unwrap(), &place.path().join("out")).unwrap_err();
    assert!(matches!(error, Error::Repository(repository::Error::Role { has: Role::Writer, .. })), "{error}");
}

#[test]
fn what_needs_the_owner_says_so() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    for role in [Role::Client, Role::Writer] {
        let (slot, bundle) = member(&owner, role, &role.to_string(), None);
        let repository = open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap();
        let before = store.objects();
        let draft = keys::NewKey { role: Role::Owner, label: None, domain: None };
        let forget = Action::Forget(vec![ObjectId::default()]);
        let refused: [Error; 6] = [
            prune::mark(&repository, &prune::Options::default()).unwrap_err(),
            prune::sweep(&repository, &prune::Options::default()).unwrap_err(),
            orders::put(&repository, repository.keys().domain(), forget).unwrap_err().into(),
            keys::draft(&repository, &draft).unwrap_err(),
            keys::remove(&repository, slot, &Silent).unwrap_err(),
            keys::change_password(&repository, NewPassword { password: b"new", kdf: KDF_FLOOR }, &Silent).unwrap_err(),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(text.contains("needs the owner role") && text.contains(&format!("a {role}'s")), "{text}");
        }
        assert_eq!(store.objects(), before, "{role}");
        assert_eq!(keys::list(&repository).unwrap().keys.len(), keys::list(&owner).unwrap().keys.len());
    }
}

/// A repository with a writer that has stored something.
struct Taken {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    slot: ObjectId,
    bundle: Bundle,
    writer: Repository,
    stream: Vec<u8>,
    id: ObjectId,
}

impl Taken {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (slot, bundle) = member(&owner, Role::Writer, "server", None);
        let writer = open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap();
        let stream = noise(5, 50_000);
        let id = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
        Self { hand, store, owner, slot, bundle, writer, stream, id }
    }
}

#[test]
fn a_removed_key_counts_for_what_it_wrote_and_no_more() {
    let taken = Taken::new();
    // what a thief of the key writes, without having heard of the removal
    let away = taken.store.snapshot(7);
    let removed = keys::remove(&taken.owner, taken.slot, &Silent).unwrap();
    assert!(removed.is_revoked && removed.snapshots == 1, "{removed:?}");
    let refused = snapshot_stream(&taken.writer, &noise(6, 1000)).unwrap_err();
    assert!(matches!(refused, Error::Repository(repository::Error::Revoked(_))), "{refused}");
    assert_eq!(visible(&taken.owner), [taken.id]);
    assert!(restore_stream(&taken.owner, taken.id).unwrap() == taken.stream);
    assert_clean(&taken.owner, true, "removed");

    let thief = open_as(away.clone(), &taken.hand.runtime(9, 0), &taken.bundle).unwrap();
    snapshot_stream(&thief, &noise(7, 60_000)).unwrap();
    snapshot_stream(&thief, &taken.stream).unwrap();
    for (name, bytes) in away.objects() {
        if !taken.store.objects().contains_key(&name) && !name.starts_with("keys/") {
            taken.store.put(&name, &bytes).unwrap();
        }
    }
    assert_eq!(visible(&taken.owner), [taken.id], "what came later does not count");
    assert_clean(&taken.owner, true, "with junk");
    taken.hand.advance(std::time::Duration::from_hours(25));
    let marked = prune::mark(&taken.owner, &prune::Options::default()).unwrap();
    assert!(!marked.packs.is_empty(), "junk stops nobody, and is garbage");
    taken.hand.advance(std::time::Duration::from_hours(25));
    prune::sweep(&taken.owner, &prune::Options::default()).unwrap();
    assert!(restore_stream(&taken.owner, taken.id).unwrap() == taken.stream);
}

/// Who looked at the orders before a removal, and at the index after it, must not take in what came in between (T3).
#[test]
fn what_a_removed_key_indexes_counts_for_nobody_who_looked_before() {
    let taken = Taken::new();
    let away = taken.store.snapshot(7);
    let (before, trust) = (taken.store.objects(), Trust::load(&taken.owner).unwrap());
    keys::remove(&taken.owner, taken.slot, &Silent).unwrap();
    let thief = open_as(away.clone(), &taken.hand.runtime(9, 0), &taken.bundle).unwrap();
    snapshot_stream(&thief, &noise(7, 60_000)).unwrap();
    let new: Vec<(String, Vec<u8>)> =
        away.objects().into_iter().filter(|(name, _)| !before.contains_key(name)).collect();
    new.iter().for_each(|(name, bytes)| taken.store.put(name, bytes).unwrap());
    let objects = IndexObjects::load(&taken.owner, &trust, None).unwrap();
    let ignored: Vec<String> = objects.ignored.iter().map(|one| one.name.to_string()).collect();
    assert!(new.iter().filter(|(name, _)| name.starts_with("index/")).all(|(name, _)| ignored.contains(name)));
    assert_eq!((ignored.len(), objects.good.len()), (1, 1), "what it had indexed before goes on to count");
}

/// Whatever the moment of the crash: the key counts as before or is revoked, and what it wrote stays.
#[test]
fn removing_a_key_can_be_interrupted() {
    let taken = Taken::new();
    for operation_number in 1..=4 {
        for mode in [Mode::NotApplied, Mode::AppliedUnacknowledged] {
            let context = format!("write {operation_number}, {mode:?}");
            let store = taken.store.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode, then_dead: true });
            let owner = open(faulty, &taken.hand.runtime(3, 0)).unwrap();
            // the last write is the journal's, which is only missed
            let outcome = keys::remove(&owner, taken.slot, &Silent);
            assert_eq!(outcome.is_ok(), operation_number == 4, "{context}: {outcome:?}");
            let owner = open(store, &taken.hand.runtime(4, 0)).unwrap();
            assert_eq!(visible(&owner), [taken.id], "{context}");
            assert_clean(&owner, true, &context);
            if keys::list(&owner).unwrap().keys.iter().any(|key| key.id == taken.slot) {
                assert!(keys::remove(&owner, taken.slot, &Silent).unwrap().is_revoked, "{context}");
            }
            assert!(restore_stream(&owner, taken.id).unwrap() == taken.stream, "{context}");
            assert_clean(&owner, true, &format!("{context}, again"));
        }
    }
}

/// The first order was put before the store showed what the key had written, and days pass until the second: prune must
/// not take for garbage what that one lists.
#[test]
fn what_a_removal_that_was_cut_off_will_accept_is_not_pruned() {
    let taken = Taken::new();
    let owner = &taken.owner;
    snapshot_stream(owner, &noise(8, 1000)).unwrap();
    let revoke = Action::Revoke { writer: taken.writer.keys().writer(), accepted: Vec::new() };
    orders::put(owner, DomainId::default(), revoke).unwrap();
    assert_eq!(visible(owner).len(), 1);
    // what prune can stop at the owner can forget
    let look = forget::Options { dry_run: true, may_empty: true, ..forget::Options::default() };
    assert_eq!(forget::by_id(owner, &[taken.id.to_string()], &look).unwrap().forgotten(), 1);
    // so late that no run can still go on
    let options = prune::Options { max_unused: prune::Unused::Bytes(0), ..prune::Options::default() };
    for _ in 0..3 {
        prune::prune(owner, &options, &Silent).unwrap();
        taken.hand.advance(std::time::Duration::from_hours(25 * 24));
    }
    let removed = keys::remove(owner, taken.slot, &Silent).unwrap();
    assert_eq!(removed.snapshots, 1);
    assert!(restore_stream(owner, taken.id).unwrap() == taken.stream);
    assert_clean(owner, true, "removed at last");
}

/// An order that can't be read may be the first word on the key: it is cut off, and accepts nothing until that is clear.
#[test]
fn a_key_is_cut_off_though_an_order_is_torn() {
    let taken = Taken::new();
    let torn = Name::Order(ObjectId([7; 32])).to_string();
    taken.store.put(&torn, b"torn").unwrap();
    let error = keys::remove(&taken.owner, taken.slot, &Silent).unwrap_err();
    let names_it = matches!(&error, Error::Request(Refusal::UnreadOrder { order, .. }) if *order == torn);
    assert!(names_it && error.to_string().contains("cut off"), "{error}");
    let refused = snapshot_stream(&taken.writer, &noise(6, 1000)).unwrap_err();
    assert!(matches!(refused, Error::Repository(repository::Error::Revoked(_))), "{refused}");
    repair::quarantine(&taken.owner, &torn, false).unwrap();
    taken.hand.advance(std::time::Duration::from_hours(25));
    assert_eq!(keys::remove(&taken.owner, taken.slot, &Silent).unwrap().snapshots, 1);
    assert!(restore_stream(&taken.owner, taken.id).unwrap() == taken.stream);
    assert_clean(&taken.owner, true, "removed at last");
}

#[test]
fn a_new_password_replaces_the_old_one_and_one_always_opens() {
    let hand = Hand::new();
    let begin = hand.store();
    drop(init(begin.clone(), &hand.runtime(1, 0)));
    for operation_number in 1..=3 {
        for mode in [Mode::NotApplied, Mode::AppliedUnacknowledged, Mode::TornFraction(0.5)] {
            let store = begin.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode, then_dead: true });
            let owner = open(faulty, &hand.runtime(2, 0)).unwrap();
            let done = keys::change_password(&owner, NewPassword { password: b"new", kdf: KDF_FLOOR }, &Silent).is_ok();
            let (old, new) = (opens(&store, &hand, PASSWORD), opens(&store, &hand, b"new"));
            assert!(old || new, "write {operation_number}, {mode:?}");
            assert!(!done || (new && !old), "write {operation_number}, {mode:?}");
        }
    }
    let owner = open(begin.clone(), &hand.runtime(3, 0)).unwrap();
    assert!(keys::change_password(&owner, NewPassword { password: b"", kdf: KDF_FLOOR }, &Silent).is_err());
    keys::change_password(&owner, NewPassword { password: b"new", kdf: KDF_FLOOR }, &Silent).unwrap();
    assert!(!opens(&begin, &hand, PASSWORD) && opens(&begin, &hand, b"new"));
    assert_clean(&owner, false, "changed");
}

#[test]
fn the_last_password_of_the_owner_stays() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let first = owner.keys().slot().unwrap();
    let new = keys::NewKey { role: Role::Owner, label: None, domain: None };
    let draft = keys::draft(&owner, &new).unwrap();
    let file = keys::add(&owner, &draft, None, &Silent).unwrap();
    let error = keys::remove(&owner, first, &Silent).unwrap_err();
    assert!(error.to_string().contains("last password of the owner"), "{error}");
    let second = keys::add(&owner, &draft, Some(NewPassword { password: b"second", kdf: KDF_FLOOR }), &Silent).unwrap();
    keys::remove(&owner, first, &Silent).unwrap();
    assert!(opens(&store, &hand, b"second") && !opens(&store, &hand, PASSWORD));
    assert!(keys::remove(&owner, second, &Silent).is_err());
    keys::remove(&owner, file, &Silent).unwrap();
    assert_eq!(keys::list(&owner).unwrap().keys.iter().map(|key| key.id).collect::<Vec<_>>(), [second]);
}

/// A domain whose keys somebody held before is joined on purpose or not at all.
#[test]
fn a_domain_is_joined_only_by_name() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let draft = |label: Option<&str>, domain: Option<&str>| {
        let (label, domain) = (label.map(str::to_owned), domain.map(str::to_owned));
        keys::draft(&owner, &keys::NewKey { role: Role::Client, label, domain })
    };
    let (slot, bundle) = member(&owner, Role::Client, "laptop", None);
    snapshot_stream(&open_as(store, &hand.runtime(2, 0), &bundle).unwrap(), b"something").unwrap();
    assert!(draft(Some("laptop"), None).is_err());
    keys::remove(&owner, slot, &Silent).unwrap();
    assert!(draft(Some("laptop"), None).is_err(), "what it wrote is still there");
    let joined = draft(Some("new laptop"), Some("laptop")).unwrap();
    let apart = draft(None, None).unwrap();
    assert_eq!(apart.label, "client-1");
    assert_ne!(joined.domain, apart.domain);
    for name in ["owner", "", "a/b", "latest"] {
        assert!(draft(Some("x"), Some(name)).is_err(), "{name:?}");
    }
    assert!(draft(Some("owner"), None).is_err() && draft(Some("a\nb"), None).is_err());
    assert_ne!(joined.domain, DomainId::default());
}
