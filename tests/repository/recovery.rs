//! The worst day: packs and snapshots are all that is left, and the words of the sheet. Everything comes back, in any
//! state of loss, and after a recovery that was itself interrupted.

use std::sync::Arc;
use tempfile::TempDir;
use testkit::faulty::{self, Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, PASSWORD, assert_clean, assert_restores, backend, blobs, cheap, folder, init, member, noise, open, open_as,
    restore_stream, snapshot_folder, snapshot_stream,
};
use vault::backend::Store;
use vault::progress::Silent;
use vault::repository::{Error, NewRepository, Options, Recovered, Recovery, Repository};
use vault::{keys, list, repository};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::{ObjectId, RepositoryId};
use vault_format::key::Key;
use vault_format::recovery;
use vault_format::slot::KDF_FLOOR;

/// An owner, a client and a writer, each with a folder and a stream, and the owner's sheet.
struct Whole {
    hand: Hand,
    store: Simulated,
    sheet: String,
    id: RepositoryId,
    folder: TempDir,
    stream: Vec<u8>,
    members: [Bundle; 2],
    snapshots: Vec<(ObjectId, ObjectId)>,
}

impl Whole {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (folder, stream) = (folder(crate::round_trip::fill), noise(1, 300_000));
        let (_, client) = member(&owner, Role::Client, "client", None);
        let (_, writer) = member(&owner, Role::Writer, "writer", None);
        let take = |repository: &Repository| {
            let first = snapshot_folder(repository, folder.path()).unwrap().snapshot.unwrap();
            (first, snapshot_stream(repository, &stream).unwrap().snapshot.unwrap())
        };
        let mut snapshots = vec![take(&owner)];
        for (seed, bundle) in [(2, &client), (3, &writer)] {
            snapshots.push(take(&open_as(store.clone(), &hand.runtime(seed, 0), bundle).unwrap()));
        }
        let root = owner.keys().owner("print").unwrap().root();
        let sheet = recovery::sheet(root, owner.id(), &owner.location()).unwrap().to_string();
        let (id, members) = (owner.id(), [client, writer]);
        Self { hand, store, sheet, id, folder, stream, members, snapshots }
    }

    /// A copy of the store with only what lies under these prefixes.
    fn left(&self, prefixes: &[&str]) -> Simulated {
        let copy = self.store.snapshot(5);
        for name in copy.objects().keys().filter(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix))) {
            assert!(copy.remove(name));
        }
        copy
    }

    fn recover(&self, store: impl Store + 'static, seed: u64) -> repository::Result<(Repository, Recovered)> {
        let sheet = recovery::read(&self.sheet).unwrap();
        recover(store, &self.hand, seed, (sheet.repository, sheet.root))
    }

    fn assert_restores(&self, repository: &Repository, context: &str) {
        for (number, (folder, stream)) in self.snapshots.iter().enumerate() {
            let context = format!("{context}, member {number}");
            assert_restores(repository, *folder, self.folder.path(), &context);
            assert!(restore_stream(repository, *stream).unwrap() == self.stream, "{context}");
        }
        assert_clean(repository, true, context);
    }
}

fn recover(
    store: impl Store + 'static,
    hand: &Hand,
    seed: u64,
    (id, root): (Option<RepositoryId>, Key),
) -> repository::Result<(Repository, Recovered)> {
    let runtime = hand.runtime(seed, usize::from(seed.is_multiple_of(2)));
    let recovery = Recovery { kdf: KDF_FLOOR, ..Recovery::new(root, id, b"new") };
    Repository::recover(backend(store, &runtime), runtime, Options::default(), recovery, &Silent)
}

fn opens(store: &Simulated, hand: &Hand, password: &[u8]) -> repository::Result<Repository> {
    let runtime = hand.runtime(80, 0);
    let access = repository::Access::Password(password);
    Repository::open(backend(store.clone(), &runtime), runtime, Options::default(), access)
}

#[test]
fn packs_snapshots_and_the_sheet_suffice() {
    let whole = Whole::new();
    let words = recovery::root(&recovery::words(&recovery::read(&whole.sheet).unwrap().root).unwrap()).unwrap();
    for (seed, id) in [(10, Some(whole.id)), (11, None)] {
        let store = whole.left(&["packs/", "snapshots/"]);
        assert!(matches!(open(store.clone(), &whole.hand.runtime(9, 0)), Err(Error::LostConfig(_))));
        let (repository, report) = recover(store.clone(), &whole.hand, seed, (id, words.clone())).unwrap();
        assert!(report.config && report.new_config && report.damaged.is_empty(), "{report:?}");
        assert_eq!(report.vouched.values().collect::<Vec<_>>(), [&2, &2], "client and writer");
        assert_eq!(blobs(&repository), blobs(&open(whole.store.clone(), &whole.hand.runtime(8, 0)).unwrap()));
        drop(repository);
        let repository = opens(&store, &whole.hand, b"new").unwrap();
        whole.assert_restores(&repository, "recovered");
        assert_eq!(keys::list(&repository).unwrap().keys.len(), 1);
        // the next run finds everything
        let next = snapshot_folder(&repository, whole.folder.path()).unwrap();
        assert_eq!(next.head.statistics.added_bytes, 0);
        // keys from before vouch for the config that is gone
        for bundle in &whole.members {
            let opened = open_as(store.clone(), &whole.hand.runtime(7, 0), bundle);
            assert!(matches!(opened, Err(Error::ForeignConfig(_))));
        }
        let (again, report) = whole.recover(store, 13).unwrap();
        assert!(!report.config && report.vouched.is_empty() && report.index.packs == 0, "{report:?}");
        whole.assert_restores(&again, "recovered twice");
    }
}

#[test]
fn a_lost_password_costs_one_new_slot() {
    let whole = Whole::new();
    let before = whole.store.objects();
    let (repository, report) = whole.recover(whole.store.clone(), 10).unwrap();
    assert!(!report.config && report.vouched.is_empty() && report.index.packs == 0, "{report:?}");
    let after = whole.store.objects();
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert!(matches!(new.as_slice(), [slot] if slot.starts_with("keys/")), "{new:?}");
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    assert!(opens(&whole.store, &whole.hand, b"new").is_ok() && opens(&whole.store, &whole.hand, PASSWORD).is_ok());
    whole.assert_restores(&repository, "new password");
}

/// Slots that are left vouch for the config that is made again: it has the same bytes.
#[test]
fn a_lost_config_comes_back_as_it_was() {
    let whole = Whole::new();
    let config = whole.store.objects()["config"].clone();
    let lost = |names: &[&str]| {
        let copy = whole.store.snapshot(6);
        names.iter().for_each(|name| assert!(copy.remove(name)));
        copy
    };
    for names in [&["config"][..], &["config.copy"], &["config", "config.copy"]] {
        let store = lost(names);
        let opened = opens(&store, &whole.hand, PASSWORD);
        match names {
            [_, _] => assert!(matches!(opened, Err(Error::LostConfig(_))), "{names:?}"),
            _ => whole.assert_restored_but(&opened.unwrap(), names),
        }
        let (_, report) = whole.recover(store.clone(), 12).unwrap();
        assert!(report.config && report.new_config == (names.len() == 2), "{names:?}: {report:?}");
        assert!(store.objects()["config"] == config && store.objects()["config.copy"] == config, "{names:?}");
        whole.assert_restores(&opens(&store, &whole.hand, PASSWORD).unwrap(), "old password");
        for bundle in &whole.members {
            let member = open_as(store.clone(), &whole.hand.runtime(7, 0), bundle).unwrap();
            assert!(snapshot_stream(&member, b"goes on").is_ok(), "{names:?}");
        }
    }
    let store = whole.store.snapshot(7);
    for name in ["config", "config.copy"] {
        assert!(store.damage(name, |bytes| bytes[100] ^= 1));
    }
    assert!(opens(&store, &whole.hand, PASSWORD).is_err());
    whole.recover(store.clone(), 14).unwrap();
    assert!(store.objects()["config"] == config && store.objects()["config.copy"] == config);
}

impl Whole {
    /// All restores, and check misses exactly these objects.
    fn assert_restored_but(&self, repository: &Repository, names: &[&str]) {
        let findings = testkit::world::check(repository, false).findings;
        assert_eq!(findings.iter().map(|finding| finding.object.as_str()).collect::<Vec<_>>(), names);
        assert!(restore_stream(repository, self.snapshots[0].1).unwrap() == self.stream);
    }
}

/// Slots alone are lost: the writers can't be verified, and are vouched for; what they write later does not count.
#[test]
fn lost_slots_revoke_their_keys() {
    let whole = Whole::new();
    let store = whole.left(&["packs/", "snapshots/", "index/", "orders/", "journal/", "marks/", "config"]);
    let (repository, report) = whole.recover(store.clone(), 10).unwrap();
    assert!(!report.config && report.vouched.len() == 2, "{report:?}");
    whole.assert_restores(&repository, "slots lost");
    for bundle in &whole.members {
        let member = open_as(store.clone(), &whole.hand.runtime(7, 0), bundle).unwrap();
        let refused = snapshot_stream(&member, b"too late").unwrap_err();
        assert!(matches!(refused, vault::error::Error::Repository(Error::Revoked(_))), "{refused}");
    }
    assert_eq!(list::snapshots(&repository).unwrap().snapshots.visible().count(), 6);
}

#[test]
fn foreign_words_recover_nothing() {
    let whole = Whole::new();
    let foreign = Key::new([9; 32]);
    for prefixes in [&["packs/", "snapshots/"][..], &["packs/"], &[""]] {
        for id in [None, Some(whole.id), Some(RepositoryId([1; 16]))] {
            let store = whole.left(prefixes);
            let before = store.objects();
            let outcome = recover(store.clone(), &whole.hand, 10, (id, foreign.clone())).map(drop);
            assert!(matches!(outcome, Err(Error::WrongWords(_))), "{prefixes:?}, {id:?}: {outcome:?}");
            assert_eq!(store.objects(), before);
        }
    }
    // the right words on the sheet of another repository: one was made like the other
    let root = recovery::read(&whole.sheet).unwrap().root;
    for (id, is_other) in [(RepositoryId([1; 16]), true), (whole.id, false)] {
        let store = whole.left(&["packs/", "snapshots/"]);
        let (repository, report) = recover(store, &whole.hand, 10, (Some(id), root.clone())).unwrap();
        assert_eq!(report.other_sheet, is_other);
        whole.assert_restores(&repository, "the sheet of another");
    }
    let empty = recover(whole.hand.store(), &whole.hand, 10, (None, root.clone())).map(drop);
    assert!(matches!(empty, Err(Error::NoRepository(_))), "{empty:?}");
    let half = recover(whole.left(&["keys/"]), &whole.hand, 10, (None, root)).map(drop);
    assert!(matches!(half, Err(Error::HalfMade(_))), "{half:?}");
}

#[test]
fn a_recovery_can_be_interrupted_anywhere() {
    let whole = Whole::new();
    let begin = whole.left(&["packs/", "snapshots/"]);
    let faulty = Faulty::new(Arc::new(begin.snapshot(1)));
    whole.recover(faulty.clone(), 11).unwrap();
    let writes = faulty.mutations();
    // two orders, three index objects, slot, copy, config
    assert_eq!(writes, 8);
    for operation_number in faulty::strikes(writes) {
        for mode in [Mode::NotApplied, Mode::AppliedUnacknowledged, Mode::TornFraction(0.5)] {
            let context = format!("write {operation_number} of {writes}, {mode:?}");
            let store = begin.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode, then_dead: true });
            assert!(whole.recover(faulty.clone(), 11).is_err(), "{context}");
            let (repository, _) = whole.recover(store.clone(), 13).unwrap_or_else(|error| panic!("{context}: {error}"));
            for (_, stream) in &whole.snapshots {
                assert!(restore_stream(&repository, *stream).unwrap() == whole.stream, "{context}");
            }
            let torn = matches!(mode, Mode::TornFraction(_));
            let findings = testkit::world::check(&repository, false).findings;
            assert!(findings.is_empty() || torn, "{context}: {findings:#?}");
            assert!(opens(&store, &whole.hand, b"new").is_ok(), "{context}");
        }
    }
}

#[test]
fn repositories_of_one_root_share_the_ids_of_content() {
    let whole = Whole::new();
    let root = recovery::read(&whole.sheet).unwrap().root;
    let runtime = whole.hand.runtime(30, 0);
    let new = |like| NewRepository { like, ..cheap() };
    let make =
        |like| Repository::init(backend(whole.hand.store(), &runtime), runtime.clone(), Options::default(), like);
    let first = open(whole.store.clone(), &whole.hand.runtime(31, 0)).unwrap();
    let (like, unlike) = (make(new(Some(root))).unwrap(), make(new(None)).unwrap());
    for repository in [&like, &unlike] {
        snapshot_stream(repository, &whole.stream).unwrap();
    }
    let known = blobs(&first);
    let shared = |repository: &Repository| blobs(repository).iter().filter(|id| known.contains(id)).count();
    // chunks are the same, the tree differs by the time of the stream
    assert!(shared(&like) >= 1 && shared(&unlike) == 0, "{} {}", shared(&like), shared(&unlike));
    assert_ne!(like.id(), first.id());
}
