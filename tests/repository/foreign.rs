//! What lies in a repository and is none of its objects: files of systems and other tools, junk of whoever can write, and
//! objects of versions to come. None of it stops the backups of anybody; deleters stop only at what may be an object.

use crate::copied::client;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, assert_restores, backend, cheap, check, folder, init, noise, open, restore_stream,
    snapshot_folder, snapshot_stream,
};
use testkit::wrapped::{Wrapped, Wrapper};
use vault::backend::{Entry, Store};
use vault::error::Error as OperationError;
use vault::progress::Silent;
use vault::repository::{Doubt, Error, Options, Repository};
use vault::{prune, repair};
use vault_format::id::ObjectId;
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::OBJECT_BYTES_MAX;

const FOREIGN: [&str; 14] = [
    ".DS_Store",
    "@eaDir/x",
    "lost+found/#123",
    "Thumbs.db",
    "packs/.DS_Store",
    "packs/d/00/desktop.ini",
    ".nfs000001",
    "parity/x",
    "snapshots/zz",
    "x",
    "config.partial",
    "index/._copy",
    ".snapshots/1/parity/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "other/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

fn prune_now(repository: &Repository) -> vault::error::Result<prune::Report> {
    let options = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
    prune::prune(repository, &options, &Silent)
}

#[test]
fn foreign_files_stop_nobody_and_are_named_and_left() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let stream = noise(1, 50_000);
    snapshot_stream(&repository, &stream).unwrap();
    for name in FOREIGN {
        store.put(name, b"no object begins like this, although this is longer than the header of one").unwrap();
    }
    let report = check(&repository, true);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    for name in FOREIGN {
        assert!(report.notes.iter().any(|note| note.starts_with(name)), "{name}: {:#?}", report.notes);
    }
    prune_now(&repository).unwrap();
    drop(repair::repair(&repository, None, &repair::Options::default(), &Silent).unwrap());
    let id = snapshot_stream(&repository, &stream).unwrap().snapshot.unwrap();
    assert!(restore_stream(&repository, id).unwrap() == stream);
    assert!(FOREIGN.iter().all(|name| store.objects().contains_key(*name)));
}

/// Only what begins as an object of this repository does, or of any in a version to come, can be one.
#[test]
fn an_object_of_a_version_to_come_stops_who_deletes_until_it_is_quarantined() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    snapshot_stream(&repository, &noise(1, 50_000)).unwrap();
    let config = store.objects()["config"].clone();
    let later = |byte: u8, version: u8| {
        let mut bytes = config.clone();
        (bytes[5], bytes[20]) = (version, bytes[20] ^ byte);
        bytes
    };
    // of another repository, in the version that is known
    let foreign = later(1, 1);
    store.put(&format!("parity/{}", ObjectId::of(&foreign)), &foreign).unwrap();
    prune_now(&repository).unwrap();
    for (prefix, bytes) in [("parity", later(0, 1)), ("deltas/aa", later(1, 2))] {
        let id = ObjectId::of(&bytes);
        let path = format!("{prefix}/{id}");
        store.put(&path, &bytes).unwrap();
        let stopped = prune_now(&repository).unwrap_err();
        let names_it =
            matches!(&stopped, OperationError::Repository(Error::Unsafe(Doubt::Later(later))) if *later == path);
        assert!(names_it, "{stopped}");
        assert!(repair::repair(&repository, None, &repair::Options::default(), &Silent).is_err(), "{path}");
        snapshot_stream(&repository, &noise(2, 50_000)).unwrap();
        let report = check(&repository, false);
        assert!(report.findings.is_empty() && report.later == [path.as_str()], "{report:?}");
        let done = repair::quarantine(&repository, &id.to_string()[..10], false).unwrap();
        assert_eq!(done.name, path);
        prune_now(&repository).unwrap();
        assert!(store.objects().contains_key(&path));
    }
}

/// Two puts without a key: each kind of name, with bytes that fit it and with such that do not.
#[test]
fn garbage_under_any_prefix_stops_no_backup() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let member = client(&owner, &store, &hand);
    let (place, stream) =
        (folder(|root| std::fs::write(root.join("file"), noise(2, 50_000)).unwrap()), noise(1, 50_000));
    snapshot_folder(&member, place.path()).unwrap();
    snapshot_stream(&owner, &stream).unwrap();
    let index = store.objects().into_keys().find(|name| name.starts_with("index/")).unwrap();
    let (domain, label) = index.strip_prefix("index/").unwrap().rsplit_once('/').unwrap().0.split_once('/').unwrap();
    let header = store.objects()["config"][..64].to_vec();
    let headed = |kind: u8| [&header[..7], &[kind], &header[8..], &noise(3, 300)].concat();
    let mut wrong = Vec::new();
    for (at, kind) in [
        ("keys".to_owned(), 2),
        ("packs/d/xx".to_owned(), 3),
        ("packs/m/xx".to_owned(), 4),
        (format!("index/{domain}/{label}"), 5),
        (format!("snapshots/{domain}/{label}"), 6),
        ("orders".to_owned(), 7),
        ("marks".to_owned(), 8),
        (format!("journal/{domain}/2026-11"), 9),
    ] {
        for bytes in [Vec::new(), b"garbage".to_vec(), headed(kind), headed(1)] {
            for id in [ObjectId::of(&bytes), ObjectId::of(&[b"other", &bytes[..]].concat())] {
                let path = format!("{at}/{id}").replace("xx", &id.to_string()[..2]);
                assert!(Name::parse(&path).is_some(), "{path}");
                store.put(&path, &bytes).unwrap();
                let is_rot = id != ObjectId::of(&bytes) && !path.starts_with("packs/");
                wrong.extend(is_rot.then_some(path));
            }
        }
        for repository in [open(store.clone(), &hand.runtime(4, 0)).unwrap(), client(&owner, &store, &hand)] {
            let id =
                snapshot_folder(&repository, place.path()).unwrap_or_else(|e| panic!("{at}: {e}")).snapshot.unwrap();
            assert_restores(&repository, id, place.path(), &at);
        }
    }
    // what bears its right name is junk by that; the rest may be rot, and waits for one word of the owner each
    assert!(prune_now(&owner).is_err());
    for path in wrong {
        repair::quarantine(&owner, &path, false).unwrap();
    }
    assert_clean(&owner, false, "after quarantine");
    prune_now(&owner).unwrap();
}

/// A store that lists one object more below each prefix, of a size that none has.
struct Swollen {
    inner: Simulated,
    junk: Vec<String>,
    asked: Arc<AtomicU64>,
}

impl Wrapper for Swollen {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> vault::backend::Result<Vec<u8>> {
        self.asked.fetch_add(u64::from(self.junk.iter().any(|junk| junk == name)), Ordering::SeqCst);
        self.inner.get(name, range)
    }

    fn list(&self, prefix: &str) -> vault::backend::Result<Vec<Entry>> {
        let listed = self.inner.list(prefix)?;
        let modified = listed.first().and_then(|one| one.modified);
        let junk = self.junk.iter().filter(|name| name.starts_with(prefix)).cloned();
        let junk = junk.map(|name| Entry { name, size: OBJECT_BYTES_MAX as u64 + 1, modified });
        // a slot before those that open
        Ok(junk.chain(listed).collect())
    }
}

/// Junk of any size must not fill the memory of whoever looks.
#[test]
fn what_is_larger_than_any_object_is_not_asked_for() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    snapshot_stream(&owner, &noise(1, 50_000)).unwrap();
    let index = store.objects().into_keys().find(|name| name.starts_with("index/")).unwrap();
    let (domain, label) = index.strip_prefix("index/").unwrap().rsplit_once('/').unwrap().0.split_once('/').unwrap();
    let id = ObjectId([7; 32]);
    let places = ["keys", "orders", "marks"].map(str::to_owned).into_iter();
    let places = places.chain(["index", "snapshots"].map(|kind| format!("{kind}/{domain}/{label}")));
    let junk: Vec<String> =
        places.chain([format!("journal/{domain}/2026-11")]).map(|place| format!("{place}/{id}")).collect();
    assert!(junk.iter().all(|name| Name::parse(name).is_some()), "{junk:?}");
    let asked = Arc::new(AtomicU64::new(0));
    let swollen = Wrapped(Swollen { inner: store, junk, asked: asked.clone() });
    let owner = open(swollen, &hand.runtime(2, 0)).unwrap();
    let id = snapshot_stream(&owner, &noise(2, 50_000)).unwrap().snapshot.unwrap();
    assert!(restore_stream(&owner, id).unwrap() == noise(2, 50_000));
    let report = check(&owner, true);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.notes.iter().filter(|note| note.contains("larger than any object")).count(), 5, "{report:?}");
    prune_now(&owner).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

fn torn(store: &Simulated) -> ObjectId {
    let id = ObjectId::of(b"whole");
    store.put(&Name::Mark(id).to_string(), b"who").unwrap();
    id
}

fn packs(store: &Simulated) -> BTreeSet<String> {
    store.objects().into_keys().filter(|name| name.starts_with("packs/")).collect()
}

/// Nobody can tell which packs it names: the writer takes it for all that the store had when it came.
#[test]
fn nothing_older_than_a_torn_mark_is_relied_on() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let place = folder(|root| std::fs::write(root.join("file"), noise(2, 50_000)).unwrap());
    let run = |seed: u64| {
        let repository = open(store.clone(), &hand.runtime(seed, 0)).unwrap();
        snapshot_folder(&repository, place.path()).unwrap().snapshot.unwrap()
    };
    run(2);
    hand.advance(Duration::from_mins(10));
    torn(&store);
    let before = packs(&store);
    hand.advance(Duration::from_hours(30));
    let id = run(3);
    // a sweep that had read the mark while it was whole deletes what it named
    for name in &before {
        store.remove(name);
    }
    let reader = open(store.clone(), &hand.runtime(4, 0)).unwrap();
    assert_restores(&reader, id, place.path(), "all that was named is gone");
    // what came later it can't name
    let before = packs(&store);
    run(5);
    assert_eq!(packs(&store), before);
}

/// One that comes while a run is going on is as good as young for a while, and then no more, whatever its grace is.
#[test]
fn a_torn_mark_in_the_middle_of_a_run_counts_as_the_shortest_grace() {
    for (age, is_young) in [(Duration::from_mins(9), true), (Duration::from_mins(12), false)] {
        for nth in [2, 3] {
            let hand = Hand::new();
            let store = hand.store();
            let stream = noise(1, 50_000);
            snapshot_stream(&init(store.clone(), &hand.runtime(1, 0)), &stream).unwrap();
            let (inner, clock, looks) = (store.clone(), hand.clone(), AtomicU64::new(0));
            let hooked = Hooked::new(store.clone(), move |_, what, listed| {
                if (what, listed) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                    torn(&inner);
                    clock.advance(age);
                }
            });
            let repository = open(hooked, &hand.runtime(2, 0)).unwrap();
            match snapshot_stream(&repository, &stream) {
                Ok(_) => assert!(is_young, "look {nth}: an old one is no hindrance"),
                Err(OperationError::Repository(Error::Condemned(_))) => assert!(!is_young, "look {nth}"),
                Err(error) => panic!("look {nth}: {error}"),
            }
            // the next run stores again what it needs
            let id = snapshot_stream(&repository, &stream).unwrap().snapshot.unwrap();
            assert!(restore_stream(&repository, id).unwrap() == stream);
        }
    }
}

/// A mark that the owner's program can't have made in this version, under its right name, may be one of a later one.
#[test]
fn a_mark_of_a_version_to_come_is_no_junk() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let mark = vault_format::mark::Mark::Condemn { packs: Vec::new(), snapshots: Vec::new(), grace: 0 };
    let mut later = mark.seal(repository.id(), &Key::new([8; 32]).signing_key(), &[1; 32]).unwrap();
    later[5] = 2;
    let name = Name::Mark(ObjectId::of(&later));
    store.put(&name.to_string(), &later).unwrap();
    snapshot_stream(&repository, &noise(1, 50_000)).unwrap();
    assert!(prune_now(&repository).is_err());
    repair::quarantine(&repository, &name.to_string(), false).unwrap();
    prune_now(&repository).unwrap();
}

#[test]
fn a_new_repository_may_lie_beside_what_systems_leave() {
    let hand = Hand::new();
    let try_beside = |names: &[&str]| {
        let store = hand.store();
        names.iter().for_each(|name| store.put(name, b"x").unwrap());
        let runtime = hand.runtime(1, 0);
        Repository::init(backend(store.clone(), &runtime), runtime, Options::default(), cheap()).map(|_| ())
    };
    try_beside(&["lost+found/#12", "System Volume Information/x", ".Trash-1000/files/a", ".DS_Store", "._x"]).unwrap();
    for other in ["photos/a.jpg", "notes.txt", "keys/x"] {
        assert!(
            matches!(try_beside(&["lost+found/x", other]), Err(Error::NotEmpty(_) | Error::HalfMade(_))),
            "{other}"
        );
    }
}
