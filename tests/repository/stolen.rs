//! A thief has a writer's key, and puts what was never taken: snapshots that name others which never were, under any
//! number of names. One command of the owner settles it, and until then it stops nobody but its own domain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::faulty::{Fault, Faulty, Mode};
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, check, init, member, noise, open, open_as, restore_stream, snapshot_stream};
use vault::backend::Store;
use vault::error::{Error, Refusal};
use vault::progress::Silent;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::trust::Trust;
use vault::repository::{Reason, Repository};
use vault::time::{StoreTime, WallTime};
use vault::{forget, keys, list, prune, repair};
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::directory::BlobEntry;
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::{self, Sketches};
use vault_format::journal::Record;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::snapshot::{self, Body, Head, NewSnapshot};

/// A key in the wrong hands, and the repository.
pub struct Thief {
    pub hand: Hand,
    pub store: Simulated,
    pub owner: Repository,
    pub slot: ObjectId,
    pub bundle: Bundle,
    /// What the machine stored before the theft.
    pub stream: Vec<u8>,
    pub honest: ObjectId,
}

impl Thief {
    pub fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (slot, bundle) = member(&owner, Role::Writer, "server", None);
        let writer = open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap();
        let stream = noise(5, 50_000);
        let honest = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
        hand.advance(Duration::from_hours(1));
        Self { hand, store, owner, slot, bundle, stream, honest }
    }

    fn now(&self) -> WallTime {
        WallTime::new(self.hand.clock().now().nanoseconds())
    }

    fn sealed<T>(&self, work: impl FnOnce(&Author<'_>) -> T) -> T {
        let BundleKeys::Member { domain, book, signing, .. } = &self.bundle.keys else { panic!("a member's bundle") };
        let signer = signing.signing_key();
        work(&Author { repository: self.owner.id(), domain: *domain, signer: &signer, book })
    }

    /// A snapshot with this root that names another one.
    pub fn put_snapshot(&self, source: &str, seen: ObjectId, seed: u8) -> ObjectId {
        self.put(source, &|head| head.seen = vec![seen], seed)
    }

    fn put(&self, source: &str, change: &dyn Fn(&mut Head), seed: u8) -> ObjectId {
        self.sealed(|author| {
            let secret = RunSecret::new([seed; 32]);
            let writer = WriterId::of(&author.signer.verifying_key().to_bytes());
            let (kind, repository, domain) = (Kind::Snapshot, author.repository, author.domain);
            let scope = Header { kind, repository, domain, writer }.scope();
            let public = self.owner.keys().owner("forge").unwrap().public();
            let wrap = secret.wrap_for_owner(&public.sealing, &scope, &mut self.owner.runtime().generator()).unwrap();
            let root =
                list::snapshots(&self.owner).unwrap().snapshots.by_id(&self.honest.to_string()).unwrap().head.root;
            let mut head = Head { source: source.into(), time: self.now().nanoseconds(), root, ..Head::default() };
            change(&mut head);
            let new = NewSnapshot { secret: &secret, wraps: &Wraps(vec![wrap]), head: &head, body: &Body::default() };
            let sealed = snapshot::seal(author, &[seed; 32], &new).unwrap();
            let id = ObjectId::of(&sealed);
            let name = Name::Snapshot(domain, author.book.source_label(source), id);
            self.store.put(&name.to_string(), &sealed).unwrap();
            id
        })
    }

    /// A journal record that names a snapshot.
    pub fn put_record(&self, head: ObjectId) {
        self.sealed(|author| {
            let record = Record { operation: "snapshot".into(), heads: vec![head], ..Record::default() };
            let sealed = record.seal(author, &[9; 32]).unwrap();
            let name = Name::Journal(author.domain, 2026, 11, ObjectId::of(&sealed));
            self.store.put(&name.to_string(), &sealed).unwrap();
        });
    }

    /// A snapshot whose tree was never stored.
    fn put_broken_snapshot(&self) -> ObjectId {
        self.put("broken", &|head| (head.root.id, head.seen) = (BlobId([7; 32]), Vec::new()), 2)
    }

    /// Bytes that are none of the objects that their name says.
    fn put_torn(&self, name: fn(DomainId, SourceLabel, ObjectId) -> Name) {
        self.sealed(|author| {
            let name = name(author.domain, author.book.source_label("torn"), ghost(3));
            self.store.put(&name.to_string(), b"torn").unwrap();
        });
    }

    /// What the owner does about all of it.
    fn heal(&self) {
        let options = forget::Options { may_empty: true, ..forget::Options::default() };
        for name in ["evil", "broken"] {
            let all = list::snapshots(&self.owner).unwrap().snapshots.all;
            if let Some(one) = all.iter().find(|one| one.head.source == name) {
                forget::by_id(&self.owner, &[one.id.to_string()], &options).unwrap();
            }
        }
        let names = self.store.objects();
        if let Some(torn) = names.keys().find(|name| name.ends_with(&ghost(3).to_string())) {
            repair::quarantine(&self.owner, torn, false).unwrap();
        }
        if names.keys().any(|name| name.starts_with("journal/")) {
            _ = forget::by_id(&self.owner, &[ghost(1).to_string()], &options);
        }
    }

    fn visible(&self) -> Vec<ObjectId> {
        list::snapshots(&self.owner).unwrap().snapshots.visible().map(|one| one.id).collect()
    }

    fn orders(&self) -> usize {
        self.store.objects().keys().filter(|name| name.starts_with("orders/")).count()
    }
}

fn ghost(number: u8) -> ObjectId {
    ObjectId([number; 32])
}

#[test]
fn one_command_drops_what_a_stolen_key_wrote() {
    // at once, and after a removal that took for good what was listed, and could not be finished
    for was_tried in [false, true] {
        let thief = Thief::new();
        let since = thief.now();
        thief.hand.advance(Duration::from_hours(1));
        for number in 0..30u8 {
            thief.put_snapshot(&format!("name-{}", number % 20), ghost(100 + number), number);
        }
        thief.put_record(ghost(99));
        let stolen = open_as(thief.store.clone(), &thief.hand.runtime(3, 0), &thief.bundle).unwrap();
        snapshot_stream(&stolen, &noise(8, 20_000)).unwrap();
        thief.hand.advance(Duration::from_hours(1));
        if was_tried {
            let faulty = Faulty::new(Arc::new(thief.store.clone()));
            faulty.plan(Fault { operation_number: 2, mode: Mode::NotApplied, then_dead: true });
            let owner = open(faulty, &thief.hand.runtime(7, 0)).unwrap();
            keys::remove(&owner, thief.slot, &Silent).unwrap_err();
        }
        let (orders, before) = (thief.orders(), thief.store.objects());
        let would = keys::would_drop(&thief.owner, thief.slot, since).unwrap();
        assert_eq!((would.count(), would.snapshots.len(), would.snapshots["name-3"]), (31, 21, 2));
        assert!(would.indexes > 0 && thief.store.objects() == before, "it only looks");
        let removed = keys::remove_and_drop(&thief.owner, thief.slot, since, &Silent).unwrap();
        assert_eq!((removed.is_revoked, removed.snapshots, &removed.dropped), (true, 1, &would));
        // and one that keeps the label of the domain
        assert_eq!(thief.orders(), orders + 2);
        assert_eq!(thief.visible(), [thief.honest]);
        let indexes = IndexObjects::load(&thief.owner, &Trust::load(&thief.owner).unwrap(), None).unwrap();
        assert_eq!(indexes.ignored.len() as u64, would.indexes, "nor do its index objects count");
        assert_clean(&thief.owner, true, "dropped");
        for _ in 0..3 {
            prune::prune(&thief.owner, &prune::Options::default(), &Silent).unwrap();
            thief.hand.advance(Duration::from_hours(25));
        }
        assert!(restore_stream(&thief.owner, thief.honest).unwrap() == thief.stream);
        assert_clean(&thief.owner, true, "pruned");
    }
}

/// Whoever takes a key away and does not know of a theft is held up by nothing that the key names. What the owner accepted
/// of it was there, and is missed.
#[test]
fn what_a_removed_key_names_stops_nobody() {
    let thief = Thief::new();
    let later = thief.put_snapshot("later", thief.honest, 50);
    let evil: Vec<ObjectId> =
        (0..5).map(|number| thief.put_snapshot(&format!("name-{number}"), ghost(100 + number), number)).collect();
    thief.put_record(ghost(99));
    let prune = || prune::prune(&thief.owner, &prune::Options::default(), &Silent).unwrap();
    let report = prune();
    assert!(report.left_out.len() == 1 && report.is_idle, "{report:?}");
    let removed = keys::remove(&thief.owner, thief.slot, &Silent).unwrap();
    assert_eq!((removed.is_revoked, removed.snapshots, removed.unheard), (true, 7, 6));
    assert_clean(&thief.owner, true, "removed");
    let report = prune();
    assert!(report.left_out.is_empty() && !report.is_idle, "{report:?}");
    let options = forget::Options { may_empty: true, ..forget::Options::default() };
    forget::by_id(&thief.owner, &evil.iter().map(ToString::to_string).collect::<Vec<_>>(), &options).unwrap();
    thief.hand.advance(Duration::from_hours(25));
    assert!(prune().left_out.is_empty());
    assert!(restore_stream(&thief.owner, later).unwrap() == thief.stream);
    let names = thief.store.objects();
    let lost = names.keys().find(|name| name.ends_with(&thief.honest.to_string())).unwrap();
    thief.store.remove(lost);
    thief
        .store
        .objects()
        .keys()
        .filter(|name| name.starts_with("journal/"))
        .for_each(|name| _ = thief.store.remove(name));
    let doubt = prune().left_out[0].doubt.to_string();
    assert!(
        doubt.contains(&format!("snapshot {} is missing, though snapshot {}", thief.honest, later.short())),
        "{doubt}"
    );
    assert!(check(&thief.owner, false).findings.iter().any(|one| one.object.ends_with(&thief.honest.to_string())));
}

/// What the store received at that very time is dropped, and what came before it is not, whatever the thief claims.
#[test]
fn arrival_decides_what_is_dropped() {
    let thief = Thief::new();
    let honest = thief.honest.to_string();
    let arrived: StoreTime = list::snapshots(&thief.owner).unwrap().snapshots.by_id(&honest).unwrap().arrived.unwrap();
    let count = |at: StoreTime| keys::would_drop(&thief.owner, thief.slot, WallTime::new(at.nanoseconds())).unwrap();
    assert_eq!(count(arrived).count(), 1);
    assert_eq!(count(arrived + Duration::from_nanos(1)).count(), 0);
    let theft = arrived + Duration::from_mins(30);
    thief.put("evil", &|head| head.time -= 20 * 3600 * 1_000_000_000, 1);
    assert_eq!(count(theft).count(), 1, "it claims to be older than the theft");
}

#[test]
fn what_the_owner_or_another_holder_wrote_is_not_dropped() {
    let thief = Thief::new();
    let own = thief.owner.keys().slot().unwrap();
    assert!(keys::would_drop(&thief.owner, own, thief.now()).is_err());
    assert!(keys::remove_and_drop(&thief.owner, own, thief.now(), &Silent).is_err());
}

/// Of a domain: all that lies under its name, and packs of which its index tells.
fn of_domain(thief: &Thief, domain: DomainId) -> BTreeSet<String> {
    let trust = Trust::load(&thief.owner).unwrap();
    let objects = IndexObjects::load(&thief.owner, &trust, Some(domain)).unwrap().good;
    let packs: BTreeSet<String> = objects
        .iter()
        .flat_map(|object| object.index.packs.iter().map(|pack| Name::Pack(pack.class, pack.id).to_string()))
        .collect();
    let is_its = |name: &String| name.contains(&format!("/{domain}/")) || packs.contains(name);
    let named = thief.store.objects().into_keys().filter(is_its);
    named.filter(|name| !name.starts_with("journal/")).collect()
}

type Sickness = (&'static str, fn(&Thief));

/// How the domain of the thief comes not to be whole.
const SICKNESSES: [Sickness; 5] = [
    ("a record names what never was", |thief| thief.put_record(ghost(1))),
    ("a snapshot has seen what never was", |thief| _ = thief.put_snapshot("evil", ghost(1), 1)),
    ("a tree is not there", |thief| _ = thief.put_broken_snapshot()),
    ("an index object is torn", |thief| thief.put_torn(Name::Index)),
    ("a snapshot is torn", |thief| thief.put_torn(Name::Snapshot)),
];

/// Two domains with garbage each, of which one is sick from now on, or only once its garbage is condemned.
#[test]
fn a_sick_domain_stops_nobody_else() {
    for (what, strike) in SICKNESSES {
        for is_marked in [false, true] {
            let context = format!("{what}, marked before: {is_marked}");
            let thief = Thief::new();
            let (_, bundle) = member(&thief.owner, Role::Client, "other", None);
            let other = open_as(thief.store.clone(), &thief.hand.runtime(4, 0), &bundle).unwrap();
            let writer = open_as(thief.store.clone(), &thief.hand.runtime(5, 0), &thief.bundle).unwrap();
            let (theirs, own) = (other.keys().domain(), writer.keys().domain());
            let mut gone = vec![snapshot_stream(&other, &noise(20, 60_000)).unwrap().snapshot.unwrap()];
            let kept = snapshot_stream(&other, &thief.stream).unwrap().snapshot.unwrap();
            gone.push(snapshot_stream(&writer, &noise(21, 60_000)).unwrap().snapshot.unwrap());
            snapshot_stream(&writer, &thief.stream).unwrap();
            let options = forget::Options { may_empty: true, ..forget::Options::default() };
            let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
            forget::by_id(&thief.owner, &gone, &options).unwrap();
            let run = || {
                thief.hand.advance(Duration::from_hours(25));
                prune::prune(&thief.owner, &prune::Options::default(), &Silent)
            };
            if is_marked {
                assert!(run().unwrap().left_out.is_empty(), "{context}");
            }
            strike(&thief);
            let (sick, well) = (of_domain(&thief, own), of_domain(&thief, theirs));
            for number in 0..2 {
                let report = run().unwrap();
                let left: Vec<DomainId> = report.left_out.iter().map(|one| one.domain).collect();
                assert_eq!(left, [own], "{context}, prune {number}");
            }
            assert_eq!(of_domain(&thief, own), sick, "{context}: nothing of the sick domain goes");
            let after = thief.store.objects();
            let went = well.iter().filter(|name| !after.contains_key(*name));
            assert!(went.clone().any(|name| name.starts_with("packs/")), "{context}: the other one is swept");
            assert!(went.clone().any(|name| name.starts_with("snapshots/")), "{context}");
            assert!(restore_stream(&thief.owner, kept).unwrap() == thief.stream, "{context}");
            assert!(restore_stream(&thief.owner, thief.honest).unwrap() == thief.stream, "{context}");
            thief.heal();
            for _ in 0..3 {
                assert!(run().unwrap().left_out.is_empty(), "{context}, healed");
            }
            let left = of_domain(&thief, own);
            assert!(sick.iter().any(|name| name.starts_with("packs/") && !left.contains(name)), "{context}, healed");
            assert!(restore_stream(&thief.owner, thief.honest).unwrap() == thief.stream, "{context}");
            assert_clean(&thief.owner, true, &context);
        }
    }
}

/// Two domains with a pack each of which half is needed, and one that does not read: only that one stays as it is.
#[test]
fn a_pack_that_does_not_read_keeps_no_other_domain_from_repacking() {
    let thief = Thief::new();
    let (_, bundle) = member(&thief.owner, Role::Client, "other", None);
    let other = open_as(thief.store.clone(), &thief.hand.runtime(4, 0), &bundle).unwrap();
    let writer = open_as(thief.store.clone(), &thief.hand.runtime(5, 0), &thief.bundle).unwrap();
    let data = || -> BTreeSet<String> {
        thief.store.objects().into_keys().filter(|name| name.starts_with("packs/d/")).collect()
    };
    let (part, rest) = (noise(20, 3 << 20), noise(21, 3 << 20));
    let halved = |repository: &Repository| {
        let before = data();
        let whole = snapshot_stream(repository, &[part.as_slice(), &rest].concat()).unwrap().snapshot.unwrap();
        let pack = data().difference(&before).next().unwrap().clone();
        let kept = snapshot_stream(repository, &part).unwrap().snapshot.unwrap();
        let options = forget::Options { may_empty: true, ..forget::Options::default() };
        forget::by_id(&thief.owner, &[whole.to_string()], &options).unwrap();
        (pack, kept)
    };
    let ((sick, _), (well, kept)) = (halved(&writer), halved(&other));
    assert!(thief.store.damage(&sick, |bytes| bytes.iter_mut().skip(64).take(2 << 20).for_each(|byte| *byte ^= 1)));
    let options = prune::Options { max_unused: prune::Unused::Bytes(0), ..prune::Options::default() };
    let report = prune::prune(&thief.owner, &options, &Silent).unwrap();
    let left: Vec<DomainId> = report.left_out.iter().map(|one| one.domain).collect();
    assert_eq!((left, report.is_idle), (vec![writer.keys().domain()], false));
    let condemned: Vec<String> =
        report.marked.packs.iter().map(|(class, id)| Name::Pack(*class, *id).to_string()).collect();
    assert!(condemned.contains(&well) && !condemned.contains(&sick), "{condemned:?}");
    assert_eq!(report.marked.figures.repacked_packs, 1);
    thief.hand.advance(Duration::from_hours(25));
    prune::prune(&thief.owner, &options, &Silent).unwrap();
    let left = data();
    assert!(left.contains(&sick) && !left.contains(&well));
    assert!(restore_stream(&thief.owner, kept).unwrap() == part);
}

/// With the owner's word that there was a snapshot nobody can tell whose it is, and so nobody is judged.
#[test]
fn what_the_owner_names_concerns_all() {
    let thief = Thief::new();
    let (_, bundle) = member(&thief.owner, Role::Client, "other", None);
    let other = open_as(thief.store.clone(), &thief.hand.runtime(4, 0), &bundle).unwrap();
    let id = snapshot_stream(&other, &noise(20, 60_000)).unwrap().snapshot.unwrap();
    snapshot_stream(&other, &thief.stream).unwrap();
    let options = forget::Options { may_empty: true, ..forget::Options::default() };
    forget::by_id(&thief.owner, &[id.to_string()], &options).unwrap();
    prune::prune(&thief.owner, &prune::Options::default(), &Silent).unwrap();
    let objects = thief.store.objects();
    let lost = objects.keys().find(|name| name.ends_with(&thief.honest.to_string())).unwrap();
    thief.store.remove(lost);
    thief.hand.advance(Duration::from_hours(25));
    let stopped = prune::prune(&thief.owner, &prune::Options::default(), &Silent).unwrap_err();
    assert!(stopped.to_string().contains(&format!("snapshot {} is missing", thief.honest)), "{stopped}");
    let refused = keys::remove(&thief.owner, thief.slot, &Silent).unwrap_err();
    assert!(matches!(refused, Error::Request(Refusal::MissingSnapshot(_))), "{refused}");
    let findings = check(&thief.owner, false).findings;
    assert!(findings.iter().any(|one| one.missing == Some(thief.honest)), "{findings:?}");
}

/// A kilobyte that names one blob over and over: thousands of them would take gigabytes of whoever reads them.
#[test]
fn an_index_that_names_more_than_it_can_hold_is_passed_over() {
    let thief = Thief::new();
    let trust = Trust::load(&thief.owner).unwrap();
    let load = || IndexObjects::load(&thief.owner, &trust, None).unwrap();
    let mut bomb = load().good[0].index.clone();
    bomb.supersedes.clear();
    bomb.packs.truncate(1);
    for pack in &mut bomb.packs {
        pack.directory.frames.truncate(1);
        pack.directory.frames[0].blobs = 600;
        let blob = BlobEntry { length: 1, ..pack.directory.blobs[0] };
        pack.directory.blobs = vec![blob; 600];
    }
    thief.sealed(|author| {
        let sealed = index::seal(author, &[4; 32], &bomb, &Sketches::default()).unwrap();
        assert!(sealed.len() < 2_700, "{}", sealed.len());
        let name = Name::Index(author.domain, author.book.source_label("bomb"), ObjectId::of(&sealed));
        thief.store.put(&name.to_string(), &sealed).unwrap();
    });
    let IndexObjects { damaged, ignored, .. } = load();
    let is_malformed = matches!(&ignored[..], [only] if only.reason == Reason::Malformed);
    assert!(damaged.is_empty() && is_malformed, "{damaged:?} {ignored:?}");
}

/// A mount that vanishes under a prune lists as empty.
#[test]
fn a_place_that_vanishes_is_not_pruned() {
    let thief = Thief::new();
    let store = thief.store.clone();
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    let hooked = Hooked::new(thief.store.clone(), move |_, what, listed| {
        if armed.load(Ordering::SeqCst) && (what, listed) == ("list", "packs/") {
            assert!(store.damage("config", |bytes| bytes.reverse()));
        }
    });
    let owner = open(hooked, &thief.hand.runtime(6, 0)).unwrap();
    is_armed.store(true, Ordering::SeqCst);
    let stopped = prune::mark(&owner, &prune::Options::default()).unwrap_err().to_string();
    assert!(stopped.contains("the config has changed meanwhile"), "{stopped}");
}
