//! Forget, tag and undelete over a store in memory: who may, what is refused, what a policy leaves, and a snapshot that
//! comes back while prune marks and sweeps, with the one interrupted by the other before each of its calls.

use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::faulty::sample;
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, backend, init, noise, open, open_with, records, restore_stream, snapshot_stream,
};
use vault::backend::Store;
use vault::error::{Error as OperationError, Result};
use vault::progress::Silent;
use vault::repository::{Access, Actor, Error, Options, Repository, View};
use vault::retention::{Amount, Policy};
use vault::tag::{Change, tag};
use vault::time::WallTime;
use vault::undelete::{self, undelete};
use vault::{backup, forget, prune};
use vault_format::bundle::Role;
use vault_format::id::ObjectId;
use vault_format::journal::RunOutcome;
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::slot::{self, NewSlot};

const HOUR: Duration = Duration::from_hours(1);
/// Past the grace of a mark.
const RIPE: Duration = Duration::from_hours(25);

struct World {
    hand: Hand,
    store: Simulated,
    owner: Repository,
}

impl World {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        Self { hand, store, owner }
    }

    fn open(&self, seed: u64) -> Repository {
        open(self.store.clone(), &self.hand.runtime(seed, 0)).unwrap()
    }

    /// One snapshot an hour of the same stream.
    fn hourly(&self, count: usize) -> Vec<ObjectId> {
        let take = |_| {
            self.hand.advance(HOUR);
            snapshot_stream(&self.owner, b"a stream").unwrap().snapshot.unwrap()
        };
        (0..count).map(take).collect()
    }

    /// A key of its own in the domain of a team.
    fn member(&self, seed: u8, role: Role) -> Repository {
        let keys = self.owner.keys().owner("add a key").unwrap();
        let (domain, signing) = (keys.domain("team"), Key::new([seed; 32]));
        let verifying = signing.signing_key().verifying_key().to_bytes();
        let bundle = keys.member_bundle(self.owner.keys().config(), domain, signing, role).unwrap();
        let slot = NewSlot { bundle: &bundle, label: format!("member {seed}"), created: 0, domain, verifying };
        let sealed = slot::seal(&slot, None, &[seed; 32], self.owner.keys().signer()).unwrap();
        self.store.put(&Name::Slot(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
        let runtime = self.hand.runtime(seed.into(), 0);
        let backend = backend(self.store.clone(), &runtime);
        Repository::open(backend, runtime, Options::default(), Access::Bundle(Box::new(bundle))).unwrap()
    }
}

fn visible(repository: &Repository) -> BTreeSet<ObjectId> {
    View::to_read(repository).unwrap().snapshots.visible().map(|snapshot| snapshot.id).collect()
}

fn by_policy(repository: &Repository, only: Option<&str>, policy: &Policy) -> Result<forget::Report> {
    forget::by_policy(repository, only, (policy, &TimeZone::UTC), &forget::Options::default())
}

fn by_id(repository: &Repository, id: ObjectId, may_empty: bool) -> Result<forget::Report> {
    let options = forget::Options { may_empty, ..forget::Options::default() };
    forget::by_id(repository, &[id.to_string()], &options)
}

fn change(repository: &Repository, id: ObjectId, change: &Change) -> Result<vault::tag::Report> {
    tag(repository, &id.to_string(), &|_| None, change)
}

fn back(repository: &Repository, id: ObjectId) -> Result<undelete::Report> {
    undelete(repository, &id.to_string())
}

fn mark(repository: &Repository) -> prune::MarkReport {
    prune::mark(repository, &prune::Options::default()).unwrap()
}

fn assert_refused(result: Result<impl std::fmt::Debug>, says: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, OperationError::Request(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

fn last(count: u32) -> Policy {
    Policy { last: Some(count), ..Policy::default() }
}

#[test]
fn a_policy_forgets_by_source_and_the_journal_tells() {
    let world = World::new();
    let ids = world.hourly(5);
    let other = backup::Options { name: "other".into(), ..backup::Options::default() };
    let source = backup::Source::Stream(&mut &b"another"[..], b"dump".to_vec());
    let other = backup::backup(&world.owner, source, &other, &Silent).unwrap().snapshot.unwrap();
    let before = world.store.objects();
    let dry = forget::Options { dry_run: true, ..forget::Options::default() };
    let report = forget::by_policy(&world.owner, None, (&last(2), &TimeZone::UTC), &dry).unwrap();
    assert_eq!((report.forgotten(), report.verdicts.len(), report.orders.len()), (3, 6, 0));
    assert_eq!(world.store.objects(), before, "a dry run puts nothing");
    let actor = Actor { name: "ann@host".into(), reason: "disk is full".into() };
    let options = Options { actor, ..Options::default() };
    let owner = open_with(world.store.clone(), &world.hand.runtime(5, 0), options).unwrap();
    let report = forget::by_policy(&owner, Some("stream"), (&last(2), &TimeZone::UTC), &Default::default()).unwrap();
    assert_eq!((report.forgotten(), report.verdicts.len(), report.orders.len()), (3, 5, 1));
    assert_eq!(visible(&world.owner), BTreeSet::from([ids[3], ids[4], other]));
    let records = records(&world.owner);
    let record = records.iter().find(|one| one.operation == "forget" && one.outcome == RunOutcome::Done).unwrap();
    let said = (record.source.as_str(), record.reason.as_str(), record.actor.as_str());
    assert_eq!(said, ("stream", "disk is full", "ann@host"));
    assert_eq!(record.figures, [("forgotten_snapshots".into(), 3), ("kept_snapshots".into(), 2)]);
    // nothing is left to forget, so no order is put
    assert!(by_policy(&world.owner, None, &last(2)).unwrap().orders.is_empty());
}

/// Somebody deletes a snapshot that the next one names: prune waits until the owner says that it may be missing.
#[test]
fn a_missing_snapshot_is_forgotten_by_its_whole_id() {
    let world = World::new();
    let ids = world.hourly(3);
    let name = world.store.objects().into_keys().find(|name| name.ends_with(&ids[1].to_string())).unwrap();
    assert!(world.store.remove(&name));
    let prune = || prune::prune(&world.owner, &prune::Options::default(), &Silent);
    let error = prune().unwrap_err().to_string();
    assert!(error.contains(&format!("snapshot {} is missing", ids[1])), "{error}");
    let forget = |id: String| forget::by_id(&world.owner, &[id], &forget::Options::default());
    assert!(forget(ids[1].short()).is_err());
    assert!(forget("0".repeat(64)).is_err(), "nobody names it");
    let report = forget(ids[1].to_string()).unwrap();
    assert_eq!((report.orders.len(), report.verdicts.len(), report.missing.len()), (1, 0, 1));
    prune().unwrap();
    assert_eq!(visible(&world.owner), BTreeSet::from([ids[0], ids[2]]));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_put() {
    let world = World::new();
    let ids = world.hourly(2);
    let before = world.store.objects().keys().filter(|name| name.starts_with("orders/")).count();
    assert_refused(by_policy(&world.owner, None, &Policy::default()), "no rule");
    let zero = Policy { daily: Some(Amount::Count(0)), last: Some(0), ..Policy::default() };
    assert_refused(by_policy(&world.owner, None, &zero), "no rule");
    let missing = by_policy(&world.owner, Some("nothing"), &last(1)).unwrap_err();
    assert!(matches!(missing, OperationError::Repository(Error::NoSnapshot(_))), "{missing}");
    let all = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_refused(forget::by_id(&world.owner, &all, &forget::Options::default()), "without any snapshot");
    assert_refused(change(&world.owner, ids[0], &Change::default()), "what to change");
    let both = Change { add: vec!["a".into()], remove: vec!["a".into()], ..Change::default() };
    assert_refused(change(&world.owner, ids[0], &both), "at once");
    assert_eq!(world.store.objects().keys().filter(|name| name.starts_with("orders/")).count(), before);
    change(&world.owner, ids[0], &Change { hold: Some(true), ..Change::default() }).unwrap();
    assert_refused(by_id(&world.owner, ids[0], true), "is held");
    assert_eq!(visible(&world.owner).len(), 2);
    // said twice, the last one of a source may go
    change(&world.owner, ids[0], &Change { hold: Some(false), ..Change::default() }).unwrap();
    let options = forget::Options { may_empty: true, ..forget::Options::default() };
    assert_eq!(forget::by_id(&world.owner, &all, &options).unwrap().emptied.len(), 1);
    assert!(visible(&world.owner).is_empty());
    assert_eq!(by_id(&world.owner, ids[0], false).unwrap().notes.len(), 1, "forgotten already");
}

#[test]
fn an_order_that_cannot_be_read_stops_who_decides() {
    let world = World::new();
    let ids = world.hourly(3);
    let hold = change(&world.owner, ids[0], &Change { hold: Some(true), ..Change::default() }).unwrap();
    let name = Name::Order(hold.orders[0]).to_string();
    assert!(world.store.damage(&name, |bytes| bytes[60] ^= 1));
    // whoever has read it before knows it; another run does not
    let owner = open(world.store.clone(), &world.hand.runtime(9, 0)).unwrap();
    let stopped = by_policy(&owner, None, &last(1)).unwrap_err();
    assert!(matches!(stopped, OperationError::Repository(Error::Undecided(_))), "{stopped}");
    assert!(matches!(by_id(&owner, ids[0], false), Err(OperationError::Repository(Error::Undecided(_)))));
}

#[test]
fn only_the_owner_forgets() {
    let world = World::new();
    for (seed, role) in [(1, Role::Client), (2, Role::Writer)] {
        let member = world.member(seed, role);
        let id = snapshot_stream(&member, b"of a member").unwrap().snapshot.unwrap();
        let refused = [
            by_policy(&member, None, &last(1)).unwrap_err(),
            by_id(&member, id, true).unwrap_err(),
            back(&member, id).unwrap_err(),
            change(&member, id, &Change { hold: Some(true), ..Change::default() }).unwrap_err(),
        ];
        for error in refused {
            let role_is_named =
                matches!(error, OperationError::Repository(Error::Role { needs: "owner", has, .. }) if has == role);
            assert!(role_is_named, "{error}");
        }
    }
    assert!(!world.store.objects().keys().any(|name| name.starts_with("orders/")));
}

/// A writer of the same source floods it with snapshots of forged times.
#[test]
fn a_hostile_writer_costs_an_honest_one_nothing() {
    let world = World::new();
    let (honest, hostile) = (world.member(1, Role::Client), world.member(2, Role::Writer));
    let policy = Policy { last: Some(2), daily: Some(Amount::Count(3)), ..Policy::default() };
    let mut ids = BTreeSet::new();
    for hour in 0..60 {
        world.hand.advance(HOUR);
        if hour % 6 == 0 {
            ids.insert(snapshot_stream(&honest, b"a stream").unwrap().snapshot.unwrap());
        }
        let offset = i64::from(hour % 9 - 4) * 30 * 24 * 3600 * 1_000_000_000;
        let time = Some(WallTime::new(world.hand.clock().now().nanoseconds() + offset));
        let options = backup::Options { name: "stream".into(), time, ..backup::Options::default() };
        let source = backup::Source::Stream(&mut &b"forged"[..], b"dump".to_vec());
        backup::backup(&hostile, source, &options, &Silent).unwrap();
    }
    let dry = forget::Options { dry_run: true, ..forget::Options::default() };
    let judge = || forget::by_policy(&world.owner, None, (&policy, &TimeZone::UTC), &dry).unwrap();
    let kept = |report: &forget::Report| {
        let kept = report.verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.place.id);
        kept.collect::<BTreeSet<_>>().intersection(&ids).copied().collect::<BTreeSet<_>>()
    };
    let together = judge();
    assert!(together.verdicts.iter().filter(|verdict| verdict.late).count() > 30);
    let catalog = View::to_read(&world.owner).unwrap();
    for snapshot in catalog.snapshots.all.iter().filter(|snapshot| !ids.contains(&snapshot.id)) {
        assert!(world.store.remove(&snapshot.name().to_string()));
    }
    let alone = judge();
    assert_eq!(alone.verdicts.len(), ids.len());
    assert_eq!(kept(&alone), kept(&together));
    assert!((3..ids.len()).contains(&kept(&alone).len()));
}

#[test]
fn tags_holds_and_expiry_count() {
    let world = World::new();
    let ids = world.hourly(6);
    let now = world.hand.clock().now();
    let past = Some(now - Duration::from_nanos(1));
    let add = |id, tag: &str| change(&world.owner, id, &Change { add: vec![tag.into()], ..Change::default() });
    assert_eq!(add(ids[0], "gold").unwrap().tags, ["gold"]);
    assert_eq!(add(ids[0], "before").unwrap().tags, ["before", "gold"]);
    let report = change(&world.owner, ids[0], &Change { remove: vec!["gold".into()], ..Change::default() }).unwrap();
    assert_eq!(report.tags, ["before"]);
    assert!(change(&world.owner, ids[1], &Change { hold: Some(true), ..Change::default() }).unwrap().held);
    let expire = |id, time| change(&world.owner, id, &Change { expire: Some(time), ..Change::default() }).unwrap();
    expire(ids[2], past);
    expire(ids[3], past);
    assert_eq!(expire(ids[3], None).expires, None);
    expire(ids[4], Some(now + Duration::from_secs(1_000_000)));
    // the newest stays even so
    expire(ids[5], past);
    let policy = Policy { tags: vec!["before".into()], last: Some(3), ..Policy::default() };
    let report = by_policy(&world.owner, None, &policy).unwrap();
    let said: Vec<String> = report.verdicts.iter().map(|verdict| verdict.reasons.join(", ")).collect();
    assert_eq!(said[0], "tag before");
    assert_eq!(said[1], "last 3 of 3, held");
    assert!(said[2].starts_with("expired on "), "{said:?}");
    assert_eq!(said[3..], ["last 2 of 3", "last 1 of 3", "newest"]);
    assert_eq!(visible(&world.owner), ids.iter().copied().filter(|id| *id != ids[2]).collect());
    // a hold would promise what only undelete can look after
    assert_refused(change(&world.owner, ids[2], &Change { hold: Some(true), ..Change::default() }), "is forgotten");
    back(&world.owner, ids[2]).unwrap();
    change(&world.owner, ids[2], &Change { hold: Some(true), ..Change::default() }).unwrap();
    assert_eq!(by_policy(&world.owner, None, &policy).unwrap().forgotten(), 0);
}

/// A stream that was forgotten, next to one that stays.
struct Lost {
    world: World,
    stream: Vec<u8>,
    id: ObjectId,
    kept: (ObjectId, Vec<u8>),
}

impl Lost {
    fn new() -> Self {
        Self::beside(b"another")
    }

    /// Next to the same stream, there is nothing but its own object to lose.
    fn beside(kept: &[u8]) -> Self {
        let (world, stream) = (World::new(), noise(1, 300_000));
        let id = snapshot_stream(&world.owner, &stream).unwrap().snapshot.unwrap();
        // at the same time, so that the same stream has the same tree
        let options = backup::Options { name: "stream".into(), ..backup::Options::default() };
        let source = backup::Source::Stream(&mut &*kept, b"dump".to_vec());
        let other = backup::backup(&world.owner, source, &options, &Silent).unwrap();
        let kept = (other.snapshot.unwrap(), kept.to_vec());
        by_id(&world.owner, id, false).unwrap();
        Self { world, stream, id, kept }
    }

    fn marked(age: Duration) -> Self {
        Self::new().mark(age)
    }

    fn mark(self, age: Duration) -> Self {
        let lost = self;
        let report = mark(&lost.world.owner);
        assert_eq!(report.packs.is_empty(), lost.kept.1 == lost.stream);
        assert_eq!(report.snapshots.len(), 1);
        lost.world.hand.advance(age);
        lost
    }

    /// Prunes twice with all the time that it takes, and looks that what came back is there.
    fn assert_back(&self, id: ObjectId, context: &str) {
        for round in 0..2 {
            self.world.hand.advance(RIPE);
            let owner = self.world.open(50 + round);
            prune::sweep(&owner, &prune::Options::default()).unwrap();
            mark(&owner);
        }
        let owner = self.world.open(60);
        assert!(visible(&owner).contains(&id), "{context}: it is not listed");
        assert!(restore_stream(&owner, id).unwrap() == self.stream, "{context}");
        assert!(restore_stream(&owner, self.kept.0).unwrap() == self.kept.1, "{context}");
        assert_clean(&owner, true, context);
    }
}

#[test]
fn a_forgotten_snapshot_comes_back() {
    let lost = Lost::new();
    let report = back(&lost.world.owner, lost.id).unwrap();
    assert!(report.was_forgotten && !report.is_copy && report.copied_blobs == 0, "{report:?}");
    assert_eq!(report.snapshot, lost.id);
    let again = back(&lost.world.owner, lost.id).unwrap();
    assert!(!again.was_forgotten && !again.is_copy, "{again:?}");
    lost.assert_back(lost.id, "never marked");
    // and can go again
    by_id(&lost.world.owner, lost.id, false).unwrap();
    assert!(!visible(&lost.world.owner).contains(&lost.id));
}

#[test]
fn from_under_a_young_mark_it_comes_back_as_it_is() {
    let lost = Lost::marked(HOUR);
    let report = back(&lost.world.owner, lost.id).unwrap();
    assert!(!report.is_copy && report.copied_blobs == 0 && report.snapshot == lost.id, "{report:?}");
    lost.world.hand.advance(RIPE);
    assert!(prune::sweep(&lost.world.open(3), &prune::Options::default()).unwrap().rescued_blobs > 0);
    lost.assert_back(lost.id, "young");
}

#[test]
fn from_under_an_old_mark_it_comes_back_as_a_copy() {
    for age in [Duration::from_hours(13), RIPE] {
        let lost = Lost::marked(age);
        change(&lost.world.owner, lost.kept.0, &Change { add: vec!["x".into()], ..Change::default() }).unwrap();
        let report = back(&lost.world.owner, lost.id).unwrap();
        assert!(report.was_forgotten && report.is_copy && report.copied_bytes > 250_000, "{report:?}");
        assert_ne!(report.snapshot, lost.id);
        assert_refused(back(&lost.world.owner, lost.id), "is back already");
        lost.assert_back(report.snapshot, "old");
        assert_refused(back(&lost.world.owner, lost.id), "prune has deleted snapshot");
        let catalog = View::to_read(&lost.world.owner).unwrap();
        let copy = catalog.snapshots.by_id(&report.snapshot.to_string()).unwrap();
        assert_eq!(copy.head.original, Some(lost.id));
        assert!(copy.claimed() < lost.world.hand.clock().now() - Duration::from_hours(48), "its time stands");
    }
}

#[test]
fn what_is_swept_is_gone_and_says_so() {
    let lost = Lost::marked(RIPE);
    prune::sweep(&lost.world.owner, &prune::Options::default()).unwrap();
    assert_refused(back(&lost.world.owner, lost.id), "prune has deleted snapshot");
    assert_refused(back(&lost.world.open(5), lost.id), "prune has deleted snapshot");
    // the packs are gone, the snapshot not yet
    let lost = Lost::new();
    let names: Vec<String> =
        lost.world.store.objects().into_keys().filter(|name| name.starts_with("packs/d")).collect();
    names.iter().for_each(|name| assert!(lost.world.store.remove(name)));
    assert_refused(back(&lost.world.owner, lost.id), "not there any more");
    assert!(!visible(&lost.world.owner).contains(&lost.id));
}

/// Runs `first` over a store that lets `second` happen before the `nth` call; says if there was such a call.
fn interrupted<T, U: Send + 'static>(
    lost: &Lost,
    nth: u64,
    first: impl FnOnce(&Repository) -> T,
    second: impl Fn(&Repository, &Hand) -> U + Send + Sync + 'static,
) -> Option<(T, U)> {
    let other = lost.world.open(20);
    let between = Arc::new(Mutex::new(None));
    let (result, hand, opened) = (between.clone(), lost.world.hand.clone(), AtomicU64::new(0));
    let opened = Arc::new(opened);
    let is_open = opened.clone();
    let hooked = Hooked::new(lost.world.store.clone(), move |_, _, _| {
        if is_open.load(Ordering::SeqCst) > 0 && is_open.fetch_add(1, Ordering::SeqCst) == nth {
            *result.lock().unwrap() = Some(second(&other, &hand));
        }
    });
    let repository = open(hooked, &lost.world.hand.runtime(21, 0)).unwrap();
    opened.store(1, Ordering::SeqCst);
    let first = first(&repository);
    let second = between.lock().unwrap().take()?;
    Some((first, second))
}

fn came_back(result: &Result<undelete::Report>, context: &str) -> Option<ObjectId> {
    match result {
        Ok(report) => Some(report.snapshot),
        Err(OperationError::Repository(Error::Condemned(_) | Error::NoSnapshot(_)) | OperationError::Request(_)) => {
            None
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Before each call of undelete: a mark is put, a mark is put and gets old, an old mark is swept.
#[test]
fn undelete_survives_prune_at_every_step() {
    type Meanwhile = fn(&Repository, &Hand);
    let events: [(&str, Duration, Meanwhile); 4] = [
        ("mark", Duration::ZERO, |owner, _| drop(mark(owner))),
        ("mark that gets old", Duration::ZERO, |owner, hand| {
            mark(owner);
            hand.advance(Duration::from_hours(13));
        }),
        ("mark and sweep", Duration::ZERO, |owner, hand| {
            mark(owner);
            hand.advance(RIPE);
            prune::sweep(owner, &prune::Options::default()).unwrap();
        }),
        ("sweep", Duration::from_hours(11), |owner, hand| {
            hand.advance(RIPE);
            prune::sweep(owner, &prune::Options::default()).unwrap();
        }),
    ];
    let kept = [b"another".to_vec(), noise(1, 300_000)];
    for ((what, age, event), kept) in events.iter().flat_map(|event| kept.iter().map(move |kept| (*event, kept))) {
        let (mut back_again, mut given_up) = (0, 0);
        for nth in sample(10_000, 2) {
            let lost = Lost::beside(kept);
            let lost = if age.is_zero() { lost } else { lost.mark(age) };
            let context = format!("{what} before call {nth}, beside {} bytes", kept.len());
            let done = interrupted(&lost, nth, |repository| back(repository, lost.id), event);
            let Some((result, ())) = done else { break };
            match came_back(&result, &context) {
                Some(id) => {
                    back_again += 1;
                    lost.assert_back(id, &context);
                }
                None => given_up += 1,
            }
        }
        println!("{what}: back {back_again} times, given up {given_up} times");
        assert!(back_again > 0, "{what}: never came back");
    }
}

/// Before each call of a mark, and before each call of a sweep, undelete runs: what it says is true at the end.
#[test]
fn prune_minds_undelete_at_every_step() {
    for sweeping in [false, true] {
        let mut back_again = 0;
        for nth in sample(10_000, 2) {
            let lost = if sweeping { Lost::marked(RIPE) } else { Lost::new() };
            let context = format!("undelete before call {nth} of {}", if sweeping { "a sweep" } else { "a mark" });
            let prune = |repository: &Repository| match sweeping {
                true => prune::sweep(repository, &prune::Options::default()).map(drop),
                false => prune::mark(repository, &prune::Options::default()).map(drop),
            };
            let id = lost.id;
            let Some((_, result)) = interrupted(&lost, nth, prune, move |owner, _| back(owner, id)) else { break };
            if let Some(id) = came_back(&result, &context) {
                back_again += 1;
                lost.assert_back(id, &context);
            }
        }
        assert!(back_again > 0);
    }
}
