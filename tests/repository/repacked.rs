//! Prune repacks: what is live moves on, as frames or as blobs, and what is left over is small, counted and known before.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, backend, cheap, init, member, noise, open, open_with, restore_stream, snapshot_folder,
    snapshot_stream, stored_bytes,
};
use vault::backend::Store;
use vault::progress::Silent;
use vault::prune::{self, Options, Unused};
use vault::repository;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::orders;
use vault::repository::objects::trust::Trust;
use vault::repository::{Access, Error, NewRepository, Repository};
use vault_format::bundle::Role;
use vault_format::compress::{LEVEL_DEFAULT, compress_delta};
use vault_format::directory::{BlobEntry, Descent};
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobKind, Class, ObjectId, WriterId};
use vault_format::index::{Index, PackEntry, Sketches};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::order::Action;
use vault_format::pack::{NewFrame, PackBuilder};

fn now() -> Options {
    Options { grace: Some(Duration::ZERO), ..Options::default() }
}

pub fn thorough() -> Options {
    Options { max_unused: Unused::Bytes(0), ..now() }
}

pub fn forget(repository: &Repository, ids: &[ObjectId]) {
    orders::put(repository, repository.keys().domain(), Action::Forget(ids.to_vec())).unwrap();
}

fn index(repository: &Repository) -> IndexObjects {
    IndexObjects::load(repository, &Trust::load(repository).unwrap(), None).unwrap()
}

/// One state of a folder of files, some of which change with each state; the larger ones in one place only.
pub fn state(root: &Path, number: u64) {
    for file in 0..60u64 {
        let version = (number + file) / 12;
        let words = noise(1000 * file + version, 9_000).iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
        std::fs::write(root.join(format!("text-{file:02}")), words).unwrap();
    }
    for file in 0..2u64 {
        let mut bytes = noise(77 + file, 900_000);
        for change in 0..=number {
            let at = usize::try_from((change * 7919 + file * 331) * 613 % 899_000).unwrap();
            bytes[at..at + 500].copy_from_slice(&noise(change, 500));
        }
        std::fs::write(root.join(format!("large-{file}")), bytes).unwrap();
    }
}

/// After half of 24 snapshots are dropped, the rest needs hardly more than a fresh repository of it.
fn half_of_many(kept: impl Fn(u64) -> bool) {
    let hand = Hand::new();
    let (store, fresh) = (hand.store(), hand.store());
    let repository = init(store.clone(), &hand.runtime(1, 2));
    // the same root gives the same chunks
    let root = repository.keys().owner("share").unwrap().root().clone();
    let like = NewRepository { like: Some(root), ..cheap() };
    let runtime = hand.runtime(2, 2);
    let options = repository::Options::default();
    let rest = Repository::init(backend(fresh.clone(), &runtime), runtime, options, like).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut dropped, mut last) = (Vec::new(), None);
    for number in 0..24 {
        state(folder.path(), number);
        hand.advance(Duration::from_mins(1));
        let id = snapshot_folder(&repository, folder.path()).unwrap().snapshot.unwrap();
        if kept(number) {
            snapshot_folder(&rest, folder.path()).unwrap();
            last = Some(id);
        } else {
            dropped.push(id);
        }
    }
    let all = stored_bytes(&store);
    forget(&repository, &dropped);
    let report = prune::prune(&repository, &now(), &Silent).unwrap();
    let (size, least, figures) = (stored_bytes(&store), stored_bytes(&fresh), report.marked.figures);
    println!("{all} bytes, then {size}; fresh {least}; {figures:?}");
    let held = figures.held_bytes();
    assert!(size as f64 <= 1.05 * least as f64 + held as f64, "{size} instead of {least} + {held}: {figures:?}");
    assert!(10 * held <= figures.live_bytes, "{figures:?}");
    assert!(report.swept.snapshots == 12 && figures.repacked_packs > 0, "{report:?}");
    assert_clean(&repository, true, "pruned");
    testkit::world::assert_restores(&repository, last.unwrap(), folder.path(), "pruned");
}

#[test]
fn after_the_older_half_is_dropped_hardly_more_is_kept_than_needed() {
    half_of_many(|number| number >= 12);
}

#[test]
fn after_every_other_is_dropped_hardly_more_is_kept_than_needed() {
    half_of_many(|number| number % 2 == 1);
}

#[test]
fn a_dry_run_tells_what_will_be_done() {
    let hand = Hand::new();
    for unused in [Unused::Bytes(0), Unused::Thousandths(100), Unused::Thousandths(5000)] {
        let store = hand.store();
        let repository = init(store.clone(), &hand.runtime(1, 0));
        let folder = tempfile::tempdir().unwrap();
        let mut ids = Vec::new();
        for number in [0, 6, 12] {
            state(folder.path(), number);
            ids.push(snapshot_folder(&repository, folder.path()).unwrap().snapshot.unwrap());
        }
        forget(&repository, &ids[..2]);
        let options = Options { max_unused: unused, grace: None, ..Options::default() };
        let before = store.objects();
        let dry = Options { dry_run: true, ..options.clone() };
        let planned = prune::prune(&repository, &dry, &Silent).unwrap().marked;
        assert!(store.objects() == before, "a dry run wrote something");
        let requests = repository.backend().counts();
        let done = prune::prune(&repository, &options, &Silent).unwrap().marked;
        assert!(repository.backend().counts().get - requests.get >= done.figures.reads);
        assert_eq!((&planned.packs, &planned.snapshots, planned.bytes), (&done.packs, &done.snapshots, done.bytes));
        let (is, mut was) = (done.figures, planned.figures);
        let near = is.written_bytes.abs_diff(was.written_bytes) * 20 <= is.written_bytes;
        assert!(near, "{unused:?}: written {} instead of {}", is.written_bytes, was.written_bytes);
        // what is encoded anew may be a little smaller or larger than its part was before
        was.written_bytes = is.written_bytes;
        assert_eq!(is, was, "{unused:?}");
        let new =
            store.objects().into_iter().filter(|(name, _)| name.starts_with("packs/") && !before.contains_key(name));
        let new: Vec<u64> = new.map(|(_, bytes)| bytes.len() as u64).collect();
        assert_eq!((new.len() as u64, new.iter().sum::<u64>()), (is.writes, is.written_bytes), "{unused:?}");
        hand.advance(Duration::from_hours(25));
        let size = |store: &Simulated| -> u64 {
            store.objects().iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, b)| b.len() as u64).sum()
        };
        let full = size(&store);
        let swept = prune::sweep(&repository, &prune::Options::default()).unwrap();
        assert_eq!((swept.packs, swept.bytes), (planned.packs.len() as u64, planned.bytes), "{unused:?}");
        assert_eq!(full - size(&store), planned.bytes, "{unused:?}");
        assert_eq!(size(&store), is.kept_bytes + is.written_bytes, "{unused:?}");
        testkit::world::assert_restores(&repository, ids[2], folder.path(), "pruned");
    }
}

#[test]
fn at_most_so_much_is_repacked() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let small_packs = repository::Options { memory_bytes: 8 << 20, ..repository::Options::default() };
    let repository = open_with(store, &hand.runtime(2, 0), small_packs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for number in [0, 6, 12, 18] {
        state(folder.path(), number);
        ids.push(snapshot_folder(&repository, folder.path()).unwrap().snapshot.unwrap());
    }
    forget(&repository, &[ids[0], ids[2]]);
    let look = |max_repack| {
        let options = Options { dry_run: true, max_repack, ..thorough() };
        prune::prune(&repository, &options, &Silent).unwrap().marked.figures
    };
    let all = look(None);
    assert!(all.repacked_packs > 1, "{all:?}");
    let some = look(Some(all.repacked_bytes - 1));
    assert!(some.repacked_bytes < all.repacked_bytes && some.repacked_packs > 0, "{some:?}");
    assert_eq!(look(Some(0)).repacked_packs, 0);
}

/// A source whose three versions are one chunk each; the second and the third are deltas.
struct Lineage {
    store: Simulated,
    repository: Repository,
    versions: Vec<Vec<u8>>,
    ids: Vec<ObjectId>,
}

impl Lineage {
    /// One version more than there are bases: that of the second, of the third, and so on.
    fn new(bases: &[usize]) -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let repository = init(store.clone(), &hand.runtime(1, 0));
        let mut version = noise(1, 30_000);
        let (mut versions, mut ids) = (Vec::new(), Vec::new());
        for number in 0..=bases.len() {
            version[number * 5000] ^= 1;
            ids.push(snapshot_stream(&repository, &version).unwrap().snapshot.unwrap());
            versions.push(version.clone());
        }
        let world = Self { store, repository, versions, ids };
        let mut depths = vec![0];
        for (newer, older) in (1..).zip(bases) {
            depths.push(depths[*older] + 1);
            world.replace_by_delta(newer, *older, depths[newer]);
        }
        world
    }

    /// Puts the pack of a version anew, as a delta, and an index that tells of it instead.
    fn replace_by_delta(&self, newer: usize, older: usize, depth: u8) {
        let repository = &self.repository;
        let keys = repository.keys();
        let blob = |version: usize| keys.id_key().blob_id(BlobKind::Chunk, &self.versions[version]);
        let objects = index(repository).good;
        let holds = |pack: &PackEntry| pack.directory.blobs.iter().any(|entry| entry.id == blob(newer));
        let object = objects.iter().find(|object| object.index.packs.iter().any(holds)).unwrap();
        let Name::Index(domain, label, old) = object.name else { panic!() };
        let header = Header { kind: Kind::DataPack, repository: repository.id(), domain, writer: keys.writer() };
        let (secret, wraps) = keys.new_run(domain, true, &header, repository.runtime()).unwrap();
        let salt = repository.runtime().random();
        let mut builder = PackBuilder::new(header, salt, secret.pack_key(Class::Data, &salt)).unwrap();
        let delta = compress_delta(&self.versions[newer], &self.versions[older], LEVEL_DEFAULT).unwrap().unwrap();
        let entry = BlobEntry { id: blob(newer), kind: BlobKind::Chunk, length: 30_000 };
        let descent = Descent { depth, generation: depth.into() };
        let (codec, bases) = (FrameCodec::Delta, vec![blob(older)]);
        builder.push(NewFrame { codec, encoded: &delta, blobs: &[entry], bases, descent }).unwrap();
        let pack = builder.finish(&keys.own_book(), &wraps, keys.signer()).unwrap();
        let id = ObjectId::of(&pack.bytes);
        self.store.put(&Name::Pack(Class::Data, id).to_string(), &pack.bytes).unwrap();
        let mut packs = object.index.packs.clone();
        let gone = packs.iter().position(holds).unwrap();
        self.store.remove(&Name::Pack(Class::Data, packs[gone].id).to_string());
        packs[gone] = PackEntry {
            id,
            class: Class::Data,
            size: pack.bytes.len() as u64,
            writer: WriterId::of(&keys.signer().verifying_key().to_bytes()),
            salt: pack.salt,
            wraps: u16::try_from(object.index.wraps.len()).unwrap(),
            directory: pack.directory,
        };
        let wraps = object.index.wraps.iter().cloned().chain([wraps]).collect();
        let new = Index { packs, wraps, supersedes: vec![old], ..Index::default() };
        let salt = repository.runtime().random();
        let author = Author { repository: repository.id(), domain, signer: keys.signer(), book: &keys.own_book() };
        let sealed = vault_format::index::seal(&author, &salt, &new, &Sketches::default()).unwrap();
        self.store.put(&Name::Index(domain, label, ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
    }

    /// Codec, depth and blob of every data frame that index objects tell of.
    fn frames(&self) -> Vec<(FrameCodec, u8, usize)> {
        let id = |bytes: &Vec<u8>| self.repository.keys().id_key().blob_id(BlobKind::Chunk, bytes);
        let ids: Vec<_> = self.versions.iter().map(id).collect();
        let mut frames = Vec::new();
        for object in index(&self.repository).good {
            for pack in object.index.packs.iter().filter(|pack| pack.class == Class::Data) {
                for place in pack.directory.places() {
                    let frame = &pack.directory.frames[place.frame as usize];
                    frames.push((frame.codec, frame.depth, ids.iter().position(|id| *id == place.blob.id).unwrap()));
                }
            }
        }
        frames.sort_by_key(|(_, _, version)| *version);
        frames
    }

    fn assert_kept(&self, versions: &[usize], context: &str) {
        for version in versions {
            let found = restore_stream(&self.repository, self.ids[*version]).unwrap();
            assert!(found == self.versions[*version], "{context}: version {version}");
        }
        assert_clean(&self.repository, true, context);
    }
}

#[test]
fn a_dead_base_is_replaced_where_that_makes_it_less_and_the_limit_asks_for_it() {
    let (whole, delta) =
        (|version| (FrameCodec::Raw, 0, version), |depth, version| (FrameCodec::Delta, depth, version));
    let (much, thousandth, none) = (Unused::Thousandths(1_000_000), Unused::Thousandths(1), Unused::Bytes(0));
    for (bases, forgotten, unused, expected) in [
        // one version is whole, and one would be
        (vec![0, 1], 1, none, vec![whole(0), delta(1, 1), delta(2, 2)]),
        (vec![0, 0], 1, none, vec![whole(0), delta(1, 1), delta(1, 2)]),
        // the link between them goes
        (vec![0, 1], 2, much, vec![whole(0), delta(1, 1), delta(2, 2)]),
        (vec![0, 1], 2, thousandth, vec![whole(2)]),
        (vec![0, 1, 1], 2, none, vec![whole(2), delta(1, 3)]),
    ] {
        let (world, context) = (Lineage::new(&bases), format!("{bases:?}, {forgotten} forgotten, {unused:?}"));
        let (all, kept): (Vec<_>, Vec<_>) = ((0..=bases.len()).collect(), (forgotten..=bases.len()).collect());
        world.assert_kept(&all, "as made");
        forget(&world.repository, &world.ids[..forgotten]);
        let options = Options { max_unused: unused, ..now() };
        let planned = prune::prune(&world.repository, &Options { dry_run: true, ..options.clone() }, &Silent).unwrap();
        let report = prune::prune(&world.repository, &options, &Silent).unwrap();
        world.assert_kept(&kept, &context);
        // where both lie as deep, the ids of packs decide which of them is whole now
        let is_either = bases.len() == 3 && world.frames() == [delta(1, 2), whole(3)];
        assert!(is_either || world.frames() == expected, "{context}: {:?} after {report:?}", world.frames());
        let (is, was) = (report.marked.figures, planned.marked.figures);
        assert_eq!((is.base_bytes, is.live_bytes), (was.base_bytes, was.live_bytes), "{context}");
        assert_eq!(is.base_bytes > 0, expected.contains(&whole(0)), "{context}: {is:?}");
        // nothing is left to do
        let again = prune::prune(&world.repository, &options, &Silent).unwrap();
        assert!(again.marked.packs.is_empty(), "{context}: {again:?}");
    }
}

#[test]
fn a_delta_moves_as_it_is_and_a_dead_link_of_its_chain_stays() {
    for unused in [Unused::Thousandths(500), Unused::Bytes(0)] {
        let world = Lineage::new(&[0, 1]);
        forget(&world.repository, &world.ids[1..2]);
        prune::prune(&world.repository, &Options { max_unused: unused, ..now() }, &Silent).unwrap();
        world.assert_kept(&[0, 2], "the link stays: without it the third version would be whole");
        assert_eq!(world.frames(), [(FrameCodec::Raw, 0, 0), (FrameCodec::Delta, 1, 1), (FrameCodec::Delta, 2, 2)]);
    }
}

/// Repack under the domain, for the same readers: a client goes on as if nothing had happened, a writer's data opens
/// for the owner alone.
#[test]
fn what_members_wrote_is_repacked_for_the_same_readers() {
    for role in [Role::Client, Role::Writer] {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (bundle, runtime) = (member(&owner, role, "member", None).1, hand.runtime(2, 0));
        let access = Access::Bundle(Box::new(bundle));
        let options = repository::Options::default();
        let member = Repository::open(backend(store.clone(), &runtime), runtime, options, access).unwrap();
        let folder = tempfile::tempdir().unwrap();
        state(folder.path(), 0);
        let first = snapshot_folder(&member, folder.path()).unwrap().snapshot.unwrap();
        state(folder.path(), 6);
        let second = snapshot_folder(&member, folder.path()).unwrap().snapshot.unwrap();
        orders::put(&owner, member.keys().domain(), Action::Forget(vec![first])).unwrap();
        let report = prune::prune(&owner, &thorough(), &Silent).unwrap();
        assert!(report.marked.figures.repacked_packs > 0 && report.swept.snapshots == 1, "{role}: {report:?}");
        assert_clean(&owner, true, "owner");
        testkit::world::assert_restores(&owner, second, folder.path(), "owner");
        let again = snapshot_folder(&member, folder.path()).unwrap();
        assert_eq!(again.head.statistics.added_blobs, 0, "{role}");
        let readable = index(&owner)
            .good
            .iter()
            .all(|object| object.index.wraps.iter().all(|w| w.reaches(member.keys().domain())));
        assert_eq!(readable, role == Role::Client);
        if role == Role::Client {
            testkit::world::assert_restores(&member, second, folder.path(), "client");
        }
    }
}

#[test]
fn many_index_objects_become_few_and_old_marks_go() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let ids: Vec<ObjectId> =
        (0..18).map(|seed| snapshot_stream(&repository, &noise(seed, 20_000)).unwrap().snapshot.unwrap()).collect();
    let count = |prefix: &str| store.objects().keys().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(count("index/"), 18);
    let before = testkit::world::blobs(&repository);
    // but for the packs, which are small too
    let prune_now = || prune::prune(&repository, &Options { merge_at: usize::MAX, ..now() }, &Silent).unwrap();
    let report = prune_now();
    assert_eq!((report.merged_indexes, count("index/")), (1, 1), "{report:?}");
    assert_eq!(testkit::world::blobs(&repository), before);
    assert!(snapshot_stream(&repository, &noise(3, 20_000)).unwrap().head.statistics.added_bytes < 1000);
    forget(&repository, &ids[..1]);
    prune_now();
    assert_eq!(count("marks/"), 2);
    hand.advance(Duration::from_hours(29 * 24));
    assert_eq!(prune_now().old_marks, 0);
    hand.advance(Duration::from_hours(2 * 24));
    assert_eq!(prune_now().old_marks, 1);
    assert_eq!(count("marks/"), 0);
    assert_clean(&repository, true, "old marks are gone");
    prune_now();
}

/// An index object that vanishes between its listing and its reading was merged into another.
#[test]
fn a_reader_finds_what_a_merge_moves_under_its_eyes() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let streams: Vec<Vec<u8>> = (0..17).map(|seed| noise(seed, 20_000)).collect();
    let ids: Vec<ObjectId> =
        streams.iter().map(|stream| snapshot_stream(&repository, stream).unwrap().snapshot.unwrap()).collect();
    let (merged, first) = (AtomicU64::new(0), AtomicU64::new(0));
    let hooked = Hooked::new(store.clone(), move |_, what, name| {
        if what == "get" && name.starts_with("index/") && first.fetch_add(1, Ordering::SeqCst) == 3 {
            merged.store(
                prune::prune(&repository, &Options::default(), &Silent).unwrap().merged_indexes,
                Ordering::SeqCst,
            );
            assert_eq!(merged.load(Ordering::SeqCst), 1);
        }
    });
    let reader = open(hooked, &hand.runtime(2, 0)).unwrap();
    assert!(restore_stream(&reader, ids[16]).unwrap() == streams[16]);
    assert_eq!(store.objects().keys().filter(|name| name.starts_with("index/")).count(), 1);
}

#[test]
fn data_without_any_snapshot_is_freed_only_on_demand() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let id = snapshot_stream(&repository, &noise(1, 50_000)).unwrap().snapshot.unwrap();
    // a store that shows neither snapshots nor records
    let lying = store.snapshot(2);
    for name in lying.objects().keys().filter(|name| name.starts_with("snapshots/") || name.starts_with("journal/")) {
        lying.remove(name);
    }
    let owner = open(lying.clone(), &hand.runtime(2, 0)).unwrap();
    let refused = prune::prune(&owner, &now(), &Silent).unwrap_err();
    assert!(matches!(refused, vault::error::Error::Repository(Error::NoSnapshots(_))), "{refused}");
    let report = prune::prune(&owner, &Options { without_snapshots: true, ..now() }, &Silent).unwrap();
    assert!(report.swept.packs > 0, "{report:?}");
    // the last snapshot is forgotten: the records tell that there was one
    forget(&repository, &[id]);
    let report = prune::prune(&repository, &now(), &Silent).unwrap();
    assert_eq!((report.swept.snapshots, report.swept.packs), (1, 2), "{report:?}");
}

#[test]
fn a_run_that_is_too_old_does_not_commit() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let slow = hand.clone();
    let packs = Arc::new(AtomicU64::new(0));
    let hooked = Hooked::new(store.clone(), move |_, what, name| {
        if what == "put" && name.starts_with("packs/d/") && packs.fetch_add(1, Ordering::SeqCst) == 0 {
            slow.advance(Duration::from_hours(15 * 24 + 1));
        }
    });
    let repository = open_with(hooked, &hand.runtime(2, 0), repository::Options::default()).unwrap();
    let failure = snapshot_stream(&repository, &noise(1, 50_000)).unwrap_err();
    assert!(matches!(failure, vault::error::Error::Repository(Error::TooOld(_))), "{failure}");
    assert!(!store.objects().keys().any(|name| name.starts_with("snapshots/")));
    snapshot_stream(&repository, &noise(1, 50_000)).unwrap();
}

#[test]
fn a_mark_that_is_not_the_owners_is_no_mark_and_a_torn_one_waits_for_quarantine() {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let id = snapshot_stream(&repository, &noise(1, 50_000)).unwrap().snapshot.unwrap();
    let mark = vault_format::mark::Mark::Condemn { packs: Vec::new(), snapshots: Vec::new(), grace: 0 };
    let foreign = mark.seal(repository.id(), &Key::new([8; 32]).signing_key(), &[1; 32]).unwrap();
    store.put(&Name::Mark(ObjectId::of(&foreign)).to_string(), &foreign).unwrap();
    prune::prune(&repository, &now(), &Silent).unwrap();
    let torn = ObjectId::of(b"whole");
    store.put(&Name::Mark(torn).to_string(), b"who").unwrap();
    assert!(prune::prune(&repository, &now(), &Silent).is_err());
    snapshot_stream(&repository, &noise(2, 50_000)).unwrap();
    orders::put(&repository, repository.keys().domain(), Action::Quarantine(vec![torn])).unwrap();
    prune::prune(&repository, &now(), &Silent).unwrap();
    snapshot_stream(&repository, &noise(2, 50_000)).unwrap();
    let seen: BTreeSet<ObjectId> =
        vault::list::snapshots(&repository).unwrap().snapshots.all.iter().map(|s| s.id).collect();
    assert!(seen.contains(&id));
}
