//! What is copied restores from the copy, bit for bit; copying again adds nothing; and a copy that was interrupted goes
//! on where it was.

use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use testkit::faulty::{self, Fault, Faulty, Mode};
use testkit::hooked::Hooked;
use testkit::recording::Recording;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, assert_restores, backend, blobs, folder, init, init_like, member, noise, open, open_as,
    open_with, restore_stream, snapshot_folder, snapshot_stream,
};
use vault::backend::Operation;
use vault::progress::Silent;
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::marks::Marks;
use vault::repository::objects::orders;
use vault::repository::objects::trust::Trust;
use vault::repository::{Access, Options, Repository, SnapshotEntry};
use vault::retention::{Amount, Policy};
use vault::{backup, copy, forget, list, prune};
use vault_format::bundle::Role;
use vault_format::id::{BlobId, BlobKind, ObjectId};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::slot::{self, NewSlot};

const SEED: u64 = 60;

fn small_packs() -> Options {
    Options { memory_bytes: 1 << 20, ..Options::default() }
}

fn copy_all(from: &Repository, to: &Repository) -> copy::Report {
    copy::copy(from, to, &copy::Options::default(), &Silent).unwrap()
}

/// Announces a client of a domain of its own, and opens the repository with its key.
pub fn client(owner: &Repository, store: &Simulated, hand: &Hand) -> Repository {
    let keys = owner.keys().owner("test").unwrap();
    let domain = keys.domain("web");
    let signing = Key::new([9; 32]);
    let verifying = signing.signing_key().verifying_key().to_bytes();
    let bundle = keys.member_bundle(owner.keys().config(), domain, signing, Role::Client).unwrap();
    let new = NewSlot { bundle: &bundle, label: "web".into(), created: 0, domain, verifying };
    let stored = slot::seal(&new, None, &[7; 32], owner.keys().signer()).unwrap();
    owner.backend().put(&Name::Slot(ObjectId::of(&stored)).to_string(), &stored).unwrap();
    let runtime = hand.runtime(SEED + 9, 0);
    let access = Access::Bundle(Box::new(bundle));
    Repository::open(backend(store.clone(), &runtime), runtime, Options::default(), access).unwrap()
}

/// A folder in two states and a stream of the owner, and a folder of a client.
struct First {
    hand: Hand,
    store: Simulated,
    repository: Repository,
    folders: [TempDir; 3],
    stream: Vec<u8>,
    ids: [ObjectId; 4],
    /// A pack that only the stream needs.
    stream_pack: String,
}

fn fill(root: &Path, seed: u64) {
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("sub/noise"), noise(seed, 700_000)).unwrap();
    fs::write(root.join("text"), "text\n".repeat(10_000)).unwrap();
    for number in 0..20 {
        fs::write(root.join(format!("{number}")), noise(seed + 100 + number, 3_000)).unwrap();
    }
}

impl First {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        init(store.clone(), &hand.runtime(SEED, 0));
        let repository = open_with(store.clone(), &hand.runtime(SEED + 1, 0), small_packs()).unwrap();
        let folders = [folder(|root| fill(root, 1)), folder(|root| fill(root, 1)), folder(|root| fill(root, 2))];
        fs::write(folders[1].path().join("sub/more"), noise(5, 200_000)).unwrap();
        let stream = noise(6, 400_000);
        let older = [0, 1].map(|state: usize| snapshot_folder(&repository, folders[state].path()));
        let before = store.objects();
        let dump = snapshot_stream(&repository, &stream);
        let is_new = |name: &&String| name.starts_with("packs/d/") && !before.contains_key(*name);
        let stream_pack = store.objects().keys().find(is_new).unwrap().clone();
        let [one, two] = older;
        let taken = [one, two, dump, snapshot_folder(&client(&repository, &store, &hand), folders[2].path())];
        let ids = taken.map(|report| report.unwrap().snapshot.unwrap());
        Self { hand, store, repository, folders, stream, ids, stream_pack }
    }

    fn second(&self) -> (Simulated, Repository) {
        self.another(SEED + 2)
    }

    /// A repository with the same blob ids; the seed decides its own id.
    fn another(&self, seed: u64) -> (Simulated, Repository) {
        let store = self.hand.store();
        init_like(store.clone(), &self.hand.runtime(seed, 0), &self.repository);
        (store.clone(), open_with(store, &self.hand.runtime(SEED + 3, 0), small_packs()).unwrap())
    }

    /// Restores every copy and compares it with what the original was taken of.
    fn assert_copied(&self, copy: &Repository, context: &str) {
        let copies = by_original(copy);
        assert_eq!(copies.len(), self.ids.len(), "{context}");
        for (number, folder) in [(0, 0), (1, 1), (3, 2)] {
            let copied = copies[&self.ids[number]].id;
            assert_restores(copy, copied, self.folders[folder].path(), &format!("{context}, snapshot {number}"));
        }
        assert!(restore_stream(copy, copies[&self.ids[2]].id).unwrap() == self.stream, "{context}");
        assert_clean(copy, true, context);
    }
}

pub fn by_original(copy: &Repository) -> BTreeMap<ObjectId, SnapshotEntry> {
    let all = list::snapshots(copy).unwrap().snapshots.all;
    all.into_iter().filter_map(|one| one.head.original.map(|original| (original, one))).collect()
}

pub fn lookup(repository: &Repository) -> BlobLookup {
    let trust = Trust::load(repository).unwrap();
    let objects = IndexObjects::load(repository, &trust, None).unwrap();
    BlobLookup::new(repository, objects, None, &Marks::default()).unwrap()
}

/// Codec and sizes of all frames: they tell whether frames moved as they are.
fn frames(repository: &Repository) -> Vec<(u32, u32, u8)> {
    let mut all: Vec<_> = lookup(repository).frames().map(|(_, f)| (f.stored, f.plain, f.depth)).collect();
    all.sort_unstable();
    all
}

fn puts(store: &Recording) -> Vec<String> {
    store.take().into_iter().filter(|call| call.operation == Operation::Put).map(|call| call.name).collect()
}

#[test]
fn a_copy_restores_and_a_second_one_adds_nothing() {
    let first = First::new();
    let (store, second) = first.second();
    let report = copy_all(&first.repository, &second);
    assert!(report.like && report.failed.is_empty(), "{report:?}");
    assert_eq!((report.copied.len(), report.known), (4, 0));
    first.assert_copied(&second, "like");
    assert_eq!(blobs(&first.repository), blobs(&second));
    assert_eq!(frames(&first.repository), frames(&second));
    let originals = list::snapshots(&first.repository).unwrap().snapshots.all;
    let copies = by_original(&second);
    for original in originals {
        let copy = &copies[&original.id];
        assert_eq!((copy.head.time, &copy.head.source), (original.head.time, &original.head.source));
        assert!(copy.by_owner);
        let is_owners = original.place.domain == first.repository.keys().domain();
        let expected = if is_owners { second.keys().domain() } else { original.place.domain };
        assert_eq!(copy.place.domain, expected);
        let parent = original.head.parent.map(|parent| copies[&parent].id);
        assert_eq!(copy.head.parent, parent);
    }
    let recording = Recording::new(Arc::new(store));
    let second = open(recording.clone(), &first.hand.runtime(SEED + 4, 0)).unwrap();
    recording.take();
    let again = copy_all(&first.repository, &second);
    assert_eq!((again.copied.len(), again.known, again.stored_bytes), (0, 4, 0));
    assert_eq!(puts(&recording), Vec::<String>::new());
    // only what is new moves
    fs::write(first.folders[1].path().join("new"), noise(7, 50_000)).unwrap();
    snapshot_folder(&first.repository, first.folders[1].path()).unwrap();
    let third = copy_all(&first.repository, &second);
    assert_eq!((third.copied.len(), third.known), (1, 4));
    assert!((50_000..80_000).contains(&third.added_bytes), "{third:?}");
}

#[test]
fn a_copy_of_a_copy_is_known_where_it_comes_from() {
    let first = First::new();
    let (_, second) = first.second();
    let (_, third) = first.another(SEED + 10);
    drop(copy_all(&first.repository, &second));
    drop(copy_all(&second, &third));
    first.assert_copied(&third, "copy of a copy");
    for (from, to) in [(&third, &first.repository), (&third, &second), (&first.repository, &third)] {
        let report = copy_all(from, to);
        assert_eq!((report.copied.len(), report.known), (0, 4), "{report:?}");
    }
}

#[test]
fn a_dry_run_tells_what_the_copy_then_does() {
    let first = First::new();
    let (store, second) = first.second();
    let before = store.objects();
    let dry = copy::Options { dry_run: true, ..copy::Options::default() };
    let planned = copy::copy(&first.repository, &second, &dry, &Silent).unwrap();
    assert!(store.objects() == before);
    let done = copy_all(&first.repository, &second);
    assert_eq!((planned.added_blobs, planned.added_bytes), (done.added_blobs, done.added_bytes));
    assert_eq!(planned.copied.len(), done.copied.len());
}

#[test]
fn a_copy_under_other_ids_restores_too() {
    let first = First::new();
    let store = first.hand.store();
    let second = init(store.clone(), &first.hand.runtime(SEED + 5, 0));
    let report = copy_all(&first.repository, &second);
    assert!(!report.like && report.failed.is_empty(), "{report:?}");
    first.assert_copied(&second, "unlike");
    assert!(blobs(&first.repository).is_disjoint(&blobs(&second)));
    let again = copy_all(&first.repository, &second);
    assert_eq!((again.copied.len(), again.known, again.stored_bytes), (0, 4, 0));
    fs::write(first.folders[1].path().join("new"), noise(7, 50_000)).unwrap();
    snapshot_folder(&first.repository, first.folders[1].path()).unwrap();
    let third = copy_all(&first.repository, &second);
    assert!(third.copied.len() == 1 && third.added_bytes < 80_000, "{third:?}");
}

#[test]
fn only_what_the_chosen_need_is_copied() {
    for (kept, whole) in [(15, true), (5, false)] {
        let hand = Hand::new();
        let source = folder(|root| {
            for number in 0..20 {
                fs::write(root.join(format!("{number}")), noise(100 + number, 3_000)).unwrap();
            }
        });
        let repository = init(hand.store(), &hand.runtime(SEED, 0));
        snapshot_folder(&repository, source.path()).unwrap();
        let all: BTreeSet<BlobId> = chunks(&repository);
        assert_eq!(all.len(), 20);
        (kept..20).for_each(|number| fs::remove_file(source.path().join(format!("{number}"))).unwrap());
        let last = snapshot_folder(&repository, source.path()).unwrap().snapshot.unwrap();
        let second = init_like(hand.store(), &hand.runtime(SEED + 1, 0), &repository);
        let options = copy::Options { snapshots: vec![last], ..copy::Options::default() };
        let report = copy::copy(&repository, &second, &options, &Silent).unwrap();
        assert_eq!(report.copied.len(), 1);
        assert_restores(&second, report.copied[0].copy.unwrap(), source.path(), "the last");
        assert_clean(&second, true, "the last");
        let expected = if whole { 20 } else { 5 };
        assert_eq!(chunks(&second).len(), expected, "{kept} kept");
    }
}

fn chunks(repository: &Repository) -> BTreeSet<BlobId> {
    let index = lookup(repository);
    let is_chunk = |id: &BlobId| index.known_places(id).any(|place| place.kind == BlobKind::Chunk);
    index.blobs().filter(is_chunk).collect()
}

#[test]
fn forgotten_snapshots_stay_behind_and_orders_take_effect() {
    let first = First::new();
    let domain = first.repository.keys().domain();
    orders::put(&first.repository, domain, Action::Forget(vec![first.ids[0]])).unwrap();
    let tag = Action::Tag { snapshots: vec![first.ids[1]], add: vec!["blue".into()], remove: Vec::new() };
    orders::put(&first.repository, domain, tag).unwrap();
    orders::put(&first.repository, domain, Action::Expire(vec![first.ids[1]], Some(77))).unwrap();
    let (_, second) = first.second();
    let report = copy_all(&first.repository, &second);
    assert_eq!(report.copied.len(), 3);
    let copies = by_original(&second);
    assert!(!copies.contains_key(&first.ids[0]));
    let copy = &copies[&first.ids[1]];
    assert_eq!(copy.body(&second).unwrap().tags, ["blue"]);
    assert_eq!((copy.head.expires, copy.head.parent), (Some(77), None));
    assert_clean(&second, true, "three of four");
}

#[test]
fn damage_costs_only_the_snapshots_that_need_it() {
    let first = First::new();
    assert!(first.store.remove(&first.stream_pack));
    let (_, second) = first.second();
    let report = copy_all(&first.repository, &second);
    assert_eq!((report.copied.len(), report.failed.len()), (3, 1), "{report:?}");
    assert!(report.failed[0].to_string().contains(&first.ids[2].short()), "{report:?}");
    assert_clean(&second, true, "three of four");
}

#[test]
fn what_is_condemned_there_is_stored_again() {
    let first = First::new();
    let (store, second) = first.second();
    drop(copy_all(&first.repository, &second));
    let ids: Vec<ObjectId> = list::snapshots(&second).unwrap().snapshots.all.iter().map(|one| one.id).collect();
    orders::put(&second, second.keys().domain(), Action::Forget(ids)).unwrap();
    assert!(!prune::mark(&second, &prune::Options::default()).unwrap().packs.is_empty());
    // a mark that comes while the copy goes on, and is old by its commit, makes it start again
    let (looks, owner) = (AtomicU64::new(0), open(store.clone(), &first.hand.runtime(SEED + 6, 0)).unwrap());
    let hand = first.hand.clone();
    let hooked = Hooked::new(store.clone(), move |_, what, prefix| {
        if (what, prefix) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            let ids = list::snapshots(&owner).unwrap().snapshots.all.iter().map(|one| one.id).collect();
            orders::put(&owner, owner.keys().domain(), Action::Forget(ids)).unwrap();
            prune::mark(&owner, &prune::Options::default()).unwrap();
            hand.advance(Duration::from_hours(13));
        }
    });
    let second = open_with(hooked, &first.hand.runtime(SEED + 7, 0), small_packs()).unwrap();
    let report = copy_all(&first.repository, &second);
    assert!(report.failed.is_empty(), "{report:?}");
    first.hand.advance(Duration::from_hours(25));
    let second = open(store, &first.hand.runtime(SEED + 8, 0)).unwrap();
    assert!(prune::sweep(&second, &prune::Options::default()).unwrap().packs > 0);
    let visible: Vec<SnapshotEntry> = list::snapshots(&second).unwrap().snapshots.visible().cloned().collect();
    assert_eq!(visible.len(), 4, "{report:?}");
    assert_clean(&second, true, "swept");
    for one in &visible {
        if one.head.original == Some(first.ids[1]) {
            assert_restores(&second, one.id, first.folders[1].path(), "swept");
        }
    }
}

fn stored_twice(repository: &Repository) -> usize {
    let index = lookup(repository);
    index.blobs().filter(|id| index.known_places(id).count() > 1).count()
}

#[test]
fn a_copy_that_crashes_at_any_write_goes_on() {
    let first = First::new();
    let begin = first.hand.store();
    init_like(begin.clone(), &first.hand.runtime(SEED + 2, 0), &first.repository);
    let run = |faulty: Faulty| {
        let second = open_with(faulty, &first.hand.runtime(SEED + 3, 0), small_packs());
        second.is_ok_and(|second| copy::copy(&first.repository, &second, &copy::Options::default(), &Silent).is_ok())
    };
    let faulty = Faulty::new(Arc::new(begin.snapshot(1)));
    assert!(run(faulty.clone()));
    let writes = faulty.mutations();
    assert!(writes > 10, "{writes}");
    // domains share nothing
    let expected = stored_twice(&first.repository);
    for operation_number in faulty::strikes(writes) {
        for mode in [Mode::NotApplied, Mode::AppliedUnacknowledged, Mode::TornFraction(0.5)] {
            let context = format!("seed {SEED}, write {operation_number} of {writes}, {mode:?}");
            let store = begin.snapshot(operation_number);
            let faulty = Faulty::new(Arc::new(store.clone()));
            faulty.plan(Fault { operation_number, mode, then_dead: true });
            run(faulty.clone());
            assert!(faulty.is_dead(), "{context}: did not strike");
            let second = open_with(store.clone(), &first.hand.runtime(SEED + 4, 0), small_packs()).unwrap();
            let report = copy_all(&first.repository, &second);
            assert!(report.failed.is_empty(), "{context}: {report:?}");
            if matches!(mode, Mode::TornFraction(_)) {
                let copies = by_original(&second);
                assert_restores(&second, copies[&first.ids[1]].id, first.folders[1].path(), &context);
                continue;
            }
            first.assert_copied(&second, &context);
            // nothing that an index tells of is stored again
            assert_eq!(stored_twice(&second), expected, "{context}");
        }
    }
}

#[test]
fn many_workers_copy_the_same() {
    let first = First::new();
    let expected = blobs(&first.repository);
    for workers in [1, 2, 8] {
        let store = first.hand.store();
        init_like(store.clone(), &first.hand.runtime(SEED + 2, 0), &first.repository);
        let second = open_with(store, &first.hand.runtime(SEED + 3, workers), small_packs()).unwrap();
        drop(copy_all(&first.repository, &second));
        assert_eq!(blobs(&second), expected);
        first.assert_copied(&second, &format!("{workers} workers"));
    }
}

#[test]
fn copying_needs_the_owner_and_another_repository() {
    let first = First::new();
    let (store, second) = first.second();
    let refused = |from: &Repository, to: &Repository| {
        copy::copy(from, to, &copy::Options::default(), &Silent).unwrap_err().to_string()
    };
    assert!(refused(&first.repository, &first.repository).contains("same repository"));
    let member = client(&second, &store, &first.hand);
    assert!(refused(&first.repository, &member).contains("owner"));
    // a client copies what it may read
    let member = client(&first.repository, &first.store, &first.hand);
    let report = copy_all(&member, &second);
    assert_eq!(report.copied.iter().map(|copied| copied.source).collect::<Vec<_>>(), [first.ids[3]]);
}

#[test]
fn a_copy_of_a_copy_tells_who_took_it_and_no_member_can_say_so() {
    let first = First::new();
    let (_, second) = first.second();
    let (_, third) = first.another(SEED + 10);
    drop(copy_all(&first.repository, &second));
    drop(copy_all(&second, &third));
    let originals = list::snapshots(&first.repository).unwrap().snapshots.all;
    assert_eq!(originals.iter().map(SnapshotEntry::writer).collect::<BTreeSet<_>>().len(), 2, "owner and client");
    for place in [&second, &third] {
        let copies = by_original(place);
        for original in &originals {
            assert_eq!(copies[&original.id].writer(), original.header.writer);
            assert_eq!(copies[&original.id].header.writer, place.keys().writer());
        }
    }
    let mut claim = originals.into_iter().find(|one| !one.by_owner).unwrap();
    let signer = claim.header.writer;
    claim.head.taken_by = Some(first.repository.keys().writer());
    claim.head.original = Some(first.ids[0]);
    assert_eq!((claim.writer(), claim.first_id()), (signer, claim.id));
}

#[test]
fn who_floods_a_source_costs_another_writer_nothing_in_a_copy_either() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(SEED, 0));
    let [honest, hostile] = [1, 2].map(|seed| {
        let (_, bundle) = member(&owner, Role::Client, &format!("member {seed}"), Some("d"));
        open_as(store.clone(), &hand.runtime(SEED + seed, 0), &bundle).unwrap()
    });
    for day in 0..5 {
        for (repository, count) in [(&honest, 1), (&hostile, 3)] {
            (0..count).for_each(|n| drop(snapshot_stream(repository, &[day, n]).unwrap()));
        }
        hand.advance(Duration::from_hours(24));
    }
    // one state at one time, of two writers
    let second = init_like(hand.store(), &hand.runtime(SEED + 3, 0), &owner);
    let time = Some(hand.clock().now());
    for (repository, copied) in [(&hostile, 21), (&honest, 1)] {
        let options = backup::Options { name: "stream".into(), time, ..backup::Options::default() };
        let source = backup::Source::Stream(&mut &b"both"[..], b"dump".to_vec());
        backup::backup(repository, source, &options, &Silent).unwrap();
        assert_eq!(copy_all(&owner, &second).copied.len(), copied);
    }
    let policy = Policy { daily: Some(Amount::Count(7)), last: Some(2), ..Policy::default() };
    let dry = forget::Options { dry_run: true, ..forget::Options::default() };
    for place in [&owner, &second] {
        let report = forget::by_policy(place, None, (&policy, &TimeZone::UTC), &dry).unwrap();
        let kept = report.verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.place.id);
        let kept: BTreeSet<ObjectId> = kept.collect();
        let all = list::snapshots(place).unwrap().snapshots.all;
        let of_honest = all.iter().filter(|one| one.writer() == honest.keys().writer());
        assert!(of_honest.clone().count() == 6 && of_honest.clone().all(|one| kept.contains(&one.id)), "{report:?}");
    }
}
