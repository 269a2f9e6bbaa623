//! Runs that are cut off, and those that come after them: whatever ended a run, what it has stored is not stored again, for
//! every kind of key, with this machine's cache and without. Only what the same key has made is taken over, whoever else
//! says so.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::faulty::{Failure, Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, PASSWORD, assert_clean, backend, init, member, noise, open, open_as, restore_stream, snapshot_reader,
    snapshot_stream,
};
use testkit::wrapped::{Wrapped, Wrapper};
use vault::backend::{ErrorKind, Operation, Store};
use vault::error::Error;
use vault::progress::{Progress, Silent};
use vault::repository::{Access, Options, Repository};
use vault::time::StoreTime;
use vault::{backup, copy, list, prune, repository, stats};
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, ObjectId};
use vault_format::name::Name;
use vault_format::pack::{NewFrame, PackBuilder, PackEnd};

const SIZE: usize = 16_000_000;
/// With the memory that these runs may use: what does not compress is one chunk and one frame a pack.
const PACK: u64 = 1100 << 10;

fn small() -> Options {
    Options { memory_bytes: 1 << 20, ..Options::default() }
}

/// Opens as the owner, with small packs.
fn process(store: impl Store + 'static, hand: &Hand, seed: u64) -> repository::Result<Repository> {
    process_of(store, hand, seed, None, None)
}

/// Opens with a key file, or as the owner, and small packs.
fn process_of(
    store: impl Store + 'static,
    hand: &Hand,
    seed: u64,
    key: Option<&Bundle>,
    cache: Option<&Path>,
) -> repository::Result<Repository> {
    let runtime = hand.runtime(seed, 0);
    let access = key.map_or(Access::Password(PASSWORD), |key| Access::Bundle(Box::new(key.clone())));
    let repository = Repository::open(backend(store, &runtime), runtime, small(), access)?;
    if let Some(cache) = cache {
        repository.use_cache(cache).unwrap();
    }
    Ok(repository)
}

fn packs(store: &Simulated) -> BTreeMap<ObjectId, (Class, Vec<u8>)> {
    let objects = store.objects().into_iter();
    let packs = objects.filter_map(|(name, bytes)| match Name::parse(&name) {
        Some(Name::Pack(class, id)) => Some((id, (class, bytes))),
        _ => None,
    });
    packs.collect()
}

fn pack_bytes(store: &Simulated) -> u64 {
    packs(store).values().map(|(_, bytes)| bytes.len() as u64).sum()
}

fn index_objects(store: &Simulated) -> usize {
    store.objects().keys().filter(|name| name.starts_with("index/")).count()
}

/// Dies at the nth write of the run.
fn dies(store: &Simulated, operation_number: u64) -> Faulty {
    let faulty = Faulty::new(Arc::new(store.clone()));
    faulty.plan(Fault { operation_number, mode: Mode::AppliedUnacknowledged, then_dead: true });
    faulty
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_and_stores_nothing_twice() {
    let bytes = noise(1, SIZE);
    for role in [Role::Owner, Role::Client, Role::Writer] {
        for has_cache in [false, true] {
            let context = format!("{role}, cache: {has_cache}");
            let hand = Hand::new();
            let store = hand.store();
            let owner = init(store.clone(), &hand.runtime(1, 0));
            let key = (role != Role::Owner).then(|| member(&owner, role, "web", None).1);
            let folder = tempfile::tempdir().unwrap();
            let cache = has_cache.then(|| folder.path());
            let (mut deaths, mut read_bytes) = (0, 0);
            let id = loop {
                let faulty = dies(&store, 5);
                let run = process_of(faulty.clone(), &hand, 10 + deaths, key.as_ref(), cache).unwrap();
                let taken = snapshot_stream(&run, &bytes);
                read_bytes += run.backend().counts().bytes_read;
                match taken {
                    // the last write is the journal record
                    Ok(report) if report.snapshot.is_some() => break report.snapshot.unwrap(),
                    _ => assert!(faulty.is_dead(), "{context}"),
                }
                deaths += 1;
                assert!(deaths < 20, "{context}: no end");
            };
            assert!(deaths > 3, "{context}: {deaths} deaths");
            let all = pack_bytes(&store);
            assert!(
                all < SIZE as u64 / 20 * 21 + deaths * 8192 + 2 * PACK,
                "{context}: {all} stored after {deaths} deaths"
            );
            if has_cache {
                assert!(read_bytes < SIZE as u64 / 2, "{context}: {read_bytes} read back, though the cache knows");
            }
            let owner = open(store.clone(), &hand.runtime(2, 0)).unwrap();
            assert!(restore_stream(&owner, id).unwrap() == bytes, "{context}");
            assert_clean(&owner, true, &context);
        }
    }
}

/// Sets the flag that a signal sets, once so much was read.
struct Signal<'r> {
    repository: &'r Repository,
    after: u64,
    read: AtomicU64,
    kept: AtomicU64,
}

impl Progress for Signal<'_> {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, bytes: u64) {
        if self.read.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.after {
            self.repository.runtime().stop.store(true, Ordering::SeqCst);
        }
    }
    fn at(&self, _: &Path) {}
    fn note(&self, _: &str) {}
    fn kept(&self, bytes: u64) {
        self.kept.store(bytes, Ordering::SeqCst);
    }
}

#[test]
fn a_run_that_is_interrupted_leaves_an_index_and_says_how_much() {
    let bytes = noise(1, SIZE);
    for workers in [0, 2] {
        let hand = Hand::new();
        let store = hand.store();
        let runtime = hand.runtime(1, workers);
        drop(init(store.clone(), &runtime));
        let access = Access::Password(PASSWORD);
        let first = Repository::open(backend(store.clone(), &runtime), runtime, small(), access).unwrap();
        let after = SIZE as u64 * 3 / 4;
        let signal = Signal { repository: &first, after, read: AtomicU64::new(0), kept: AtomicU64::new(0) };
        let source = backup::Source::Stream(&mut bytes.as_slice(), b"dump".to_vec());
        let options = backup::Options { name: "stream".into(), ..backup::Options::default() };
        let failed = backup::backup(&first, source, &options, &signal).unwrap_err();
        assert!(matches!(failed, Error::Repository(repository::Error::Interrupted(_))), "{failed}");
        let before = pack_bytes(&store);
        assert_eq!(signal.kept.into_inner(), before);
        assert!(before > 2_000_000 && index_objects(&store) == 1, "{workers} workers: {before} stored");
        let second = process(store.clone(), &hand, 3).unwrap();
        let report = snapshot_stream(&second, &bytes).unwrap();
        let stored = report.head.statistics.stored_bytes;
        assert!(
            stored < SIZE as u64 / 20 * 21 - before + 2 * PACK,
            "{workers} workers: {stored} stored, {before} before"
        );
        assert!(restore_stream(&second, report.snapshot.unwrap()).unwrap() == bytes);
    }
}

/// From its fourth pack on it takes as long as nobody wants to wait.
struct Slow(Simulated, AtomicU64);

impl Wrapper for Slow {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    fn put(&self, name: &str, bytes: &[u8]) -> vault::backend::Result<()> {
        if name.starts_with("packs/") && self.1.fetch_add(1, Ordering::SeqCst) >= 3 {
            std::thread::sleep(Duration::from_secs(40));
        }
        self.0.put(name, bytes)
    }
}

#[test]
fn a_slow_store_keeps_nobody_from_an_end_and_has_its_index_all_the_same() {
    let bytes = noise(1, SIZE);
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let runtime = hand.runtime(2, 2);
    let slow = backend(Wrapped(Slow(store.clone(), AtomicU64::new(0))), &runtime);
    let stop = runtime.stop.clone();
    let run = Repository::open(slow, runtime, small(), Access::Password(PASSWORD)).unwrap();
    let started = std::time::Instant::now();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::SeqCst);
    });
    let failed = snapshot_stream(&run, &bytes).unwrap_err();
    assert!(matches!(failed, Error::Repository(repository::Error::Interrupted(_))), "{failed}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!((packs(&store).len(), index_objects(&store)), (3, 1));
}

#[test]
fn a_full_or_silent_store_costs_no_more_than_what_it_did_not_take() {
    let bytes = noise(1, SIZE);
    for kind in [ErrorKind::NoSpace, ErrorKind::Unreachable] {
        let hand = Hand::new();
        let store = hand.store();
        drop(init(store.clone(), &hand.runtime(1, 0)));
        let faulty = Faulty::new(Arc::new(store.clone()));
        // one object does not fit, or none arrives any more
        let from_then_on = kind == ErrorKind::Unreachable;
        faulty.fail(Failure { operation: Operation::Put, nth: 10, from_then_on, kind });
        let first = process(faulty.clone(), &hand, 2).unwrap();
        snapshot_stream(&first, &bytes).unwrap_err();
        let before = pack_bytes(&store);
        assert!(before > 1_500_000, "{kind:?}: {before}");
        assert_eq!(index_objects(&store), usize::from(!from_then_on), "{kind:?}");
        let second = process(store.clone(), &hand, 3).unwrap();
        let stored = snapshot_stream(&second, &bytes).unwrap().head.statistics.stored_bytes;
        assert!(stored < SIZE as u64 / 20 * 21 - before + 2 * PACK, "{kind:?}: {stored} stored, {before} before");
        assert_clean(&second, true, "afterwards");
    }
}

#[test]
fn a_copy_that_is_killed_again_and_again_sends_nothing_twice() {
    let bytes = noise(1, SIZE);
    let hand = Hand::new();
    let (here, there) = (hand.store(), hand.store());
    drop(init(here.clone(), &hand.runtime(1, 0)));
    drop(init(there.clone(), &hand.runtime(2, 0)));
    let from = process(here, &hand, 3).unwrap();
    snapshot_stream(&from, &bytes).unwrap();
    let mut deaths = 0;
    while let Err(error) = {
        let to = process(dies(&there, 5), &hand, 4 + deaths).unwrap();
        copy::copy(&from, &to, &copy::Options::default(), &Silent)
    } {
        deaths += 1;
        assert!(deaths < 20, "no end: {error}");
    }
    let all = pack_bytes(&there);
    assert!(deaths > 3 && all < SIZE as u64 / 20 * 21 + deaths * 8192 + 2 * PACK, "{all} stored after {deaths} deaths");
    let to = process(there, &hand, 50).unwrap();
    let copied = list::snapshots(&to).unwrap().snapshots.all[0].id;
    assert!(restore_stream(&to, copied).unwrap() == bytes);
    assert_clean(&to, true, "the copy");
}

/// Packs that name the victim in their headers and claim to have what it is about to store.
fn forgeries(store: &Simulated, victim: &Repository, thief: &Bundle) -> Vec<(ObjectId, Class, Vec<u8>)> {
    let BundleKeys::Member { book, signing, .. } = &thief.keys else { panic!("a member's bundle") };
    let mut forged = Vec::new();
    for (class, bytes) in packs(store).into_values() {
        let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
        let header = Header::decode(&bytes, kind, victim.id()).unwrap();
        assert_eq!(header.writer, victim.keys().writer());
        let end = PackEnd::parse(&bytes, bytes.len() as u64).unwrap();
        let directory = end.directory(&header, book).unwrap();
        let key = vault_format::key::Key::new([7; 32]);
        let mut pack = PackBuilder::new(header, [8; 32], key).unwrap();
        let mut blobs = directory.blobs.as_slice();
        for frame in &directory.frames {
            let (own, rest) = blobs.split_at(frame.blobs as usize);
            blobs = rest;
            let plain: u32 = own.iter().map(|blob| blob.length).sum();
            pack.push(NewFrame::whole(FrameCodec::Raw, &noise(9, plain as usize), own)).unwrap();
        }
        // all that a member can make itself
        let made = pack.finish(book, &end.wraps, &signing.signing_key()).unwrap().bytes;
        // a whole end that the victim has signed, behind other frames
        let mut spliced = bytes.clone();
        spliced[100..200].fill(0);
        // the victim's signature taken over
        let mut moved = made.clone();
        let at = |bytes: &[u8]| bytes.len() - PackEnd::suffix_bytes(bytes).unwrap();
        let signature = bytes[at(&bytes) - 64..at(&bytes)].to_vec();
        let offset = at(&made);
        moved[offset - 64..offset].copy_from_slice(&signature);
        for made in [made, spliced, moved] {
            forged.push((ObjectId::of(&made), class, made));
        }
        // all as the victim made it, but for the name
        forged.push((ObjectId::of(&[&bytes[..], b"other"].concat()), class, bytes));
    }
    forged
}

#[test]
fn what_only_says_that_it_is_ours_is_never_relied_on() {
    let bytes = noise(1, SIZE / 4);
    for role in [Role::Client, Role::Writer] {
        for has_cache in [false, true] {
            let context = format!("{role}, cache: {has_cache}");
            let hand = Hand::new();
            let store = hand.store();
            let owner = init(store.clone(), &hand.runtime(1, 0));
            let (_, victim) = member(&owner, role, "web-1", Some("web"));
            let (_, thief) = member(&owner, role, "web-2", Some("web"));
            let folder = tempfile::tempdir().unwrap();
            let cache = has_cache.then(|| folder.path());
            let killed = process_of(dies(&store, 4), &hand, 2, Some(&victim), cache).unwrap();
            snapshot_stream(&killed, &bytes).unwrap_err();
            let own = packs(&store);
            assert!(own.len() > 2, "{context}");
            let forged = forgeries(&store, &killed, &thief);
            let backend = owner.backend();
            for (id, (class, _)) in &own {
                backend.delete(&Name::Pack(*class, *id).to_string()).unwrap();
            }
            for (id, class, bytes) in &forged {
                backend.put(&Name::Pack(*class, *id).to_string(), bytes).unwrap();
            }
            hand.advance(Duration::from_mins(1));
            // one that is whole comes after them
            let (id, (class, whole)) = own.iter().find(|(_, (class, _))| *class == Class::Data).unwrap();
            backend.put(&Name::Pack(*class, *id).to_string(), whole).unwrap();
            let next = process_of(store.clone(), &hand, 3, Some(&victim), cache).unwrap();
            let report = snapshot_stream(&next, &bytes).unwrap();
            assert!(report.head.statistics.stored_bytes < bytes.len() as u64, "{context}: the whole one counts");
            let owner = open(store.clone(), &hand.runtime(4, 0)).unwrap();
            assert!(restore_stream(&owner, report.snapshot.unwrap()).unwrap() == bytes, "{context}");
            let relied = index_names(&owner);
            assert!(relied.contains(id) && forged.iter().all(|(id, ..)| !relied.contains(id)), "{context}");
        }
    }
}

fn index_names(repository: &Repository) -> Vec<ObjectId> {
    let trust = vault::repository::objects::trust::Trust::load(repository).unwrap();
    let objects = vault::repository::objects::index_objects::IndexObjects::load(repository, &trust, None).unwrap().good;
    objects.iter().flat_map(|object| object.index.packs.iter().map(|pack| pack.id)).collect()
}

/// Gives its bytes, and runs something else in between.
struct Meanwhile<'a> {
    bytes: &'a [u8],
    at: usize,
    run: Option<Box<dyn FnOnce() + 'a>>,
}

impl Read for Meanwhile<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.len() <= self.at
            && let Some(run) = self.run.take()
        {
            run();
        }
        self.bytes.read(out)
    }
}

/// Two sources of one key: what the other run is storing at the moment must not be indexed as if it belonged here, or
/// prune would take it for what this source no longer needs.
#[test]
fn what_another_run_of_the_same_key_is_storing_stays_its_own() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let (long, short) = (noise(1, SIZE), noise(2, 10_000));
    let slow = process(store.clone(), &hand, 2).unwrap();
    let quick = process(store.clone(), &hand, 3).unwrap();
    let other = || {
        let options = backup::Options { name: "other".into(), ..backup::Options::default() };
        let source = backup::Source::Stream(&mut short.as_slice(), b"dump".to_vec());
        let before = packs(&store).len();
        assert!(before > 5, "{before} packs of the run that goes on");
        backup::backup(&quick, source, &options, &Silent).unwrap();
        let indexed = index_names(&quick);
        assert!(indexed.len() < 4, "{} packs indexed for a run that needed two", indexed.len());
        let owner = process(store.clone(), &hand, 4).unwrap();
        let report = prune::prune(&owner, &prune::Options::default(), &Silent).unwrap();
        assert_eq!(report.marked.packs.len(), 0, "{report:?}");
        assert!(report.unfinished.packs >= before as u64, "{report:?}");
    };
    let mut input = Meanwhile { bytes: &long, at: SIZE / 2, run: Some(Box::new(other)) };
    let report = snapshot_reader(&slow, &mut input).unwrap();
    assert!(restore_stream(&slow, report.snapshot.unwrap()).unwrap() == long);
}

/// What a run left is kept for it, and that is said; who knows that nobody writes frees it at once.
#[test]
fn prune_and_stats_say_what_is_kept_for_a_run_that_may_go_on() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let owner = process(store.clone(), &hand, 2).unwrap();
    let kept = snapshot_stream(&owner, b"a state that stays").unwrap().snapshot.unwrap();
    hand.advance(Duration::from_mins(5));
    let before = packs(&store).len() as u64;
    let killed = process(dies(&store, 9), &hand, 3).unwrap();
    snapshot_stream(&killed, &noise(1, SIZE)).unwrap_err();
    let left = packs(&store).len() as u64 - before;
    let put = StoreTime::from_wall(hand.clock().now());
    hand.advance(Duration::from_hours(1));
    let owner = process(store.clone(), &hand, 4).unwrap();
    let dry = prune::Options { dry_run: true, ..prune::Options::default() };
    for options in [&dry, &prune::Options::default()] {
        let unfinished = prune::prune(&owner, options, &Silent).unwrap().unfinished;
        assert_eq!(unfinished.packs, left, "{unfinished:?}");
        assert!(unfinished.bytes > 7 * PACK / 2, "{unfinished:?}");
        let (due, minute) = (put + owner.options().grace, Duration::from_mins(1));
        let is_near = |at: StoreTime| (due - minute..due + minute).contains(&at);
        assert!(unfinished.until.is_some_and(is_near), "{unfinished:?}");
    }
    let catalog = list::snapshots(&owner).unwrap();
    let figures = stats::stored(&owner, &catalog).unwrap().unfinished;
    assert_eq!(figures.packs, left, "{figures:?}");
    let now = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
    let report = prune::prune(&owner, &now, &Silent).unwrap();
    assert_eq!((report.unfinished.packs, report.swept.packs), (0, left), "{report:?}");
    assert_eq!(packs(&store).len() as u64, before);
    let figures = stats::stored(&owner, &catalog).unwrap().unfinished;
    assert_eq!((figures.packs, figures.bytes), (0, 0));
    assert_eq!(restore_stream(&owner, kept).unwrap(), b"a state that stays");
}

#[test]
fn what_an_interrupted_run_has_indexed_is_kept_and_said_too() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let faulty = Faulty::new(Arc::new(store.clone()));
    faulty.fail(Failure { operation: Operation::Put, nth: 10, from_then_on: false, kind: ErrorKind::NoSpace });
    let first = process(faulty, &hand, 2).unwrap();
    snapshot_stream(&first, b"of another source").unwrap();
    hand.advance(Duration::from_mins(5));
    snapshot_stream(&first, &noise(1, SIZE)).unwrap_err();
    let owner = open_owner(&store, &hand);
    hand.advance(Duration::from_hours(30));
    let report = prune::prune(&owner, &prune::Options::default(), &Silent).unwrap();
    assert!(report.unfinished.packs > 2 && report.marked.packs.is_empty(), "{report:?}");
    let figures = stats::stored(&owner, &list::snapshots(&owner).unwrap()).unwrap().unfinished;
    assert_eq!(figures.packs, report.unfinished.packs);
}

fn open_owner(store: &Simulated, hand: &Hand) -> Repository {
    open(store.clone(), &hand.runtime(40, 0)).unwrap()
}

/// A disk that is full to the last byte but for the mark: what a failed run left goes all the same.
#[test]
fn on_a_full_disk_what_a_failed_run_left_goes_at_once() {
    let hand = Hand::new();
    let store = hand.store();
    drop(init(store.clone(), &hand.runtime(1, 0)));
    let owner = process(store.clone(), &hand, 2).unwrap();
    snapshot_stream(&owner, b"a state that stays").unwrap();
    let before = packs(&store).len();
    snapshot_stream(&process(dies(&store, 9), &hand, 3).unwrap(), &noise(1, SIZE)).unwrap_err();
    let faulty = Faulty::new(Arc::new(store.clone()));
    let owner = process(faulty.clone(), &hand, 4).unwrap();
    // the record that would tell the store's time has no room
    faulty.fail(Failure { operation: Operation::Put, nth: 1, from_then_on: false, kind: ErrorKind::NoSpace });
    let now = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
    let report = prune::prune(&owner, &now, &Silent);
    assert!(report.is_err() || packs(&store).len() == before, "{report:?}");
    let report = prune::prune(&owner, &now, &Silent).unwrap();
    assert_eq!(packs(&store).len(), before, "{report:?}");
}

#[test]
fn a_removed_key_takes_nothing_over() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (slot, key) = member(&owner, Role::Client, "web", None);
    snapshot_stream(&process_of(dies(&store, 6), &hand, 2, Some(&key), None).unwrap(), &noise(1, SIZE)).unwrap_err();
    vault::keys::remove(&owner, slot, &Silent).unwrap();
    let client = open_as(store, &hand.runtime(3, 0), &key).unwrap();
    assert!(snapshot_stream(&client, &noise(1, SIZE)).unwrap_err().to_string().contains("revoked"));
}
