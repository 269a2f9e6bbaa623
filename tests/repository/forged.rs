//! Somebody has full control over the store, or the key of a member. What the owner did not sign is refused or passed
//! over: it changes nothing of what is restored, and stops neither writers nor prune.

use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, PASSWORD, assert_clean, backend, cheap, check, init, member, noise, open, open_as, restore_stream,
    snapshot_stream,
};
use vault::backend::Store;
use vault::check::Finding;
use vault::progress::Silent;
use vault::repository::objects::trust::Trust;
use vault::repository::{Error, NewRepository, Options, Repository};
use vault::{keys, list, prune};
use vault_format::SigningKey;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::config::Config;
use vault_format::header::Kind;
use vault_format::id::{Class, DomainId, ObjectId, WriterId};
use vault_format::index::{self, Index, Sketches};
use vault_format::key::Key;
use vault_format::mark::Mark;
use vault_format::name::Name;
use vault_format::object::{Author, SignedObject};
use vault_format::order::{Action, Order};
use vault_format::slot::{self, KDF_FLOOR, NewPassword, NewSlot, Slot};

/// A repository with an owner and a client, who stored a stream each.
struct World {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    client: Bundle,
    stream: Vec<u8>,
    snapshots: [ObjectId; 2],
}

impl World {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let stream = noise(1, 40_000);
        let (_, client) = member(&owner, Role::Client, "client", None);
        let own = snapshot_stream(&owner, &stream).unwrap().snapshot.unwrap();
        let repository = open_as(store.clone(), &hand.runtime(2, 0), &client).unwrap();
        let theirs = snapshot_stream(&repository, &stream).unwrap().snapshot.unwrap();
        Self { hand, store, owner, client, stream, snapshots: [own, theirs] }
    }

    fn put(&self, bytes: &[u8], name: impl FnOnce(ObjectId) -> Name) {
        self.store.put(&name(ObjectId::of(bytes)).to_string(), bytes).unwrap();
    }

    /// The client's keys: domain, book key, signing key.
    fn thief(&self) -> (DomainId, Key, SigningKey) {
        match &self.client.keys {
            BundleKeys::Member { domain, book, signing, .. } => (*domain, book.clone(), signing.signing_key()),
            BundleKeys::Owner { .. } => panic!("a client's bundle"),
        }
    }

    /// Everything works as before, and something is noted but nothing is damaged.
    fn assert_unmoved(&self, context: &str) {
        let owner = open(self.store.clone(), &self.hand.runtime(3, 0)).unwrap();
        for id in self.snapshots {
            assert!(restore_stream(&owner, id).unwrap() == self.stream, "{context}");
        }
        let visible: Vec<ObjectId> =
            list::snapshots(&owner).unwrap().snapshots.visible().map(|snapshot| snapshot.id).collect();
        assert!(self.snapshots.iter().all(|id| visible.contains(id)), "{context}");
        let report = check(&owner, true);
        assert!(report.findings.is_empty(), "{context}: {:#?}", report.findings);
        assert!(report.notes.iter().any(|note| note.contains("not counted")), "{context}: {:?}", report.notes);
        let client = open_as(self.store.clone(), &self.hand.runtime(4, 0), &self.client).unwrap();
        assert!(snapshot_stream(&client, &self.stream).is_ok(), "{context}");
        self.hand.advance(Duration::from_hours(25));
        let sweep = prune::mark(&owner, &prune::Options::default())
            .and_then(|_| prune::sweep(&owner, &prune::Options::default()));
        assert!(sweep.is_ok(), "{context}: {sweep:?}");
        for id in self.snapshots {
            assert!(restore_stream(&owner, id).unwrap() == self.stream, "{context}, pruned");
        }
    }
}

fn anybody() -> SigningKey {
    Key::new([66; 32]).signing_key()
}

/// Same repository id, well-formed, and signed, but by another key.
#[test]
fn a_swapped_config_is_refused() {
    let world = World::new();
    let signer = anybody();
    let (_, honest) = Config::open(&world.store.objects()["config"], None).unwrap();
    let evil = Config { pack_bytes: 1 << 20, owner: signer.verifying_key().to_bytes(), ..honest.clone() };
    let evil = evil.seal(world.owner.id(), &signer).unwrap();
    // the owner's own signature under other settings: not what the keys vouch for
    let other = Config { pack_bytes: 1 << 20, ..honest };
    let other = other.seal(world.owner.id(), world.owner.keys().signer()).unwrap();
    for swapped in [evil, other] {
        for names in [&["config"][..], &["config", "config.copy"]] {
            let copy = world.store.snapshot(1);
            names.iter().for_each(|name| assert!(copy.damage(name, |bytes| bytes.clone_from(&swapped))));
            let opened = open(copy.clone(), &world.hand.runtime(5, 0));
            assert!(matches!(opened, Err(Error::ForeignConfig(_))), "{names:?}");
            let opened = open_as(copy, &world.hand.runtime(5, 0), &world.client);
            assert!(matches!(opened, Err(Error::ForeignConfig(_))), "{names:?}");
        }
    }
}

/// Another repository's slot, which the same password opens, and one whose public key was exchanged.
#[test]
fn a_swapped_slot_opens_and_announces_nothing() {
    let world = World::new();
    let other = world.hand.store();
    let runtime = world.hand.runtime(6, 0);
    let root = world.owner.keys().owner("share").unwrap().root().clone();
    let like = NewRepository { like: Some(root), ..cheap() };
    let foreign = Repository::init(backend(other.clone(), &runtime), runtime, Options::default(), like).unwrap();
    let (name, bytes) = other.objects().into_iter().find(|(name, _)| name.starts_with("keys/")).unwrap();
    let only = world.store.snapshot(1);
    for name in only.objects().keys().filter(|name| name.starts_with("keys/")) {
        only.remove(name);
    }
    only.put(&name, &bytes).unwrap();
    assert!(open(only, &world.hand.runtime(7, 0)).is_err(), "{}", foreign.id());
    world.store.put(&name, &bytes).unwrap();

    // a slot of the owner with another public key in it
    let (_, bytes) = world
        .store
        .objects()
        .into_iter()
        .find(|(name, bytes)| name.starts_with("keys/") && Slot::parse(bytes).unwrap().info.role == Role::Client)
        .unwrap();
    let honest = Slot::parse(&bytes).unwrap().info.verifying;
    let evil = anybody().verifying_key().to_bytes();
    let at = bytes.windows(32).position(|window| window == honest).unwrap();
    let mut forged = bytes.clone();
    forged[at..at + 32].copy_from_slice(&evil);
    world.put(&forged, Name::Slot);

    // and one that a stranger made and signed
    let (domain, ..) = world.thief();
    let new = NewSlot { bundle: &world.client, label: "me too".into(), created: 0, domain, verifying: evil };
    let stored =
        slot::seal(&new, Some(NewPassword { password: PASSWORD, kdf: KDF_FLOOR }), &[1; 32], &anybody()).unwrap();
    world.put(&stored, Name::Slot);

    let trust = Trust::load(&world.owner).unwrap();
    assert!(trust.signer(WriterId::of(&evil)).is_none());
    assert_eq!((trust.ignored.len(), trust.damaged.len()), (3, 0), "{trust:?}");
    assert_eq!(keys::list(&world.owner).unwrap().keys.len(), 2);
    world.assert_unmoved("slots");
}

/// A key slot that got lost: what its member stored opens with the key of the domain, and nobody can tell what of it is
/// needed. Readers go on without it, check says so, and prune leaves the domain out.
#[test]
fn a_lost_slot_leaves_its_domain_out_of_what_is_deleted() {
    let world = World::new();
    let of_client = |bytes: &[u8]| Slot::parse(bytes).is_ok_and(|slot| slot.info.role == Role::Client);
    let objects = world.store.objects();
    let slots = objects.iter().filter(|(name, bytes)| name.starts_with("keys/") && of_client(bytes));
    slots.for_each(|(name, _)| assert!(world.store.remove(name)));
    world.hand.advance(Duration::from_hours(25));
    let owner = open(world.store.clone(), &world.hand.runtime(3, 0)).unwrap();
    assert!(restore_stream(&owner, world.snapshots[0]).unwrap() == world.stream);
    let lost = format!("{}: the key slot of its writer is missing", world.snapshots[1]);
    let marked = prune::mark(&owner, &prune::Options::default()).unwrap();
    let left: Vec<String> = marked.left_out.iter().map(|one| one.doubt.to_string()).collect();
    assert!(matches!(&left[..], [only] if only.contains("the key slot of its writer is missing")), "{left:?}");
    assert!(marked.packs.is_empty(), "{marked:?}");
    let findings = check(&owner, false).findings;
    let of_snapshot = |one: &&Finding| one.object.ends_with(&world.snapshots[1].to_string());
    let problems = &findings.iter().find(of_snapshot).expect(&lost).problems;
    assert_eq!(problems, &["the key slot of its writer is missing"]);
}

/// A mark by a client, as the owner and as itself: it condemns nothing, and nobody waits for it.
#[test]
fn a_mark_that_is_not_the_owners_condemns_nothing() {
    let world = World::new();
    let (_, _, signer) = world.thief();
    let objects = world.store.objects();
    let packs = objects.keys().filter_map(|name| match Name::parse(name) {
        Some(Name::Pack(class, id)) => Some((class, id)),
        _ => None,
    });
    let mut packs: Vec<(Class, ObjectId)> = packs.collect();
    packs.sort();
    let mark = Mark::Condemn { packs, snapshots: Vec::new(), grace: 1 };
    let sealed = mark.seal(world.owner.id(), &signer, &[2; 32]).unwrap();
    world.put(&sealed, Name::Mark);
    // the same, with the owner in its header
    let mut claimed = sealed.clone();
    claimed[44..60].copy_from_slice(&world.owner.keys().owner_writer().0);
    world.put(&claimed, Name::Mark);
    world.hand.advance(Duration::from_hours(1));
    world.assert_unmoved("marks");
}

#[test]
fn an_order_that_is_not_the_owners_is_not_obeyed() {
    let world = World::new();
    let (domain, book, signer) = world.thief();
    let own = world.snapshots[1];
    let actions = [
        Action::Forget(vec![own, world.snapshots[0]]),
        Action::Quarantine(vec![own]),
        Action::Revoke { writer: world.owner.keys().owner_writer(), accepted: Vec::new() },
        Action::Revoke { writer: WriterId::of(&signer.verifying_key().to_bytes()), accepted: Vec::new() },
    ];
    for (number, action) in actions.into_iter().enumerate() {
        let order = Order { number: 1000, time: 0, action, after: Vec::new() };
        let author = Author { repository: world.owner.id(), domain, signer: &signer, book: &book };
        let sealed = order.seal(&author, &[number as u8; 32]).unwrap();
        world.put(&sealed, Name::Order);
    }
    world.assert_unmoved("orders");
}

/// A thief of a client's key writes under other domains, and as others.
#[test]
fn an_object_of_the_wrong_writer_is_passed_over() {
    let world = World::new();
    let (domain, book, signer) = world.thief();
    let home = world.owner.keys().domain();
    let snapshot = world.store.objects().into_iter().find(|(name, _)| name.contains(&world.snapshots[1].to_string()));
    let (_, stored) = snapshot.unwrap();
    // its own snapshot, laid into the owner's domain
    let label = book.source_label("stream");
    world.put(&stored, |id| Name::Snapshot(home, label, id));
    // an index that takes away what others stored
    let objects = world.store.objects();
    let everything = objects.keys().filter_map(|name| match Name::parse(name) {
        Some(Name::Index(_, _, id)) => Some(id),
        _ => None,
    });
    let index = Index { supersedes: everything.collect(), ..Index::default() };
    for (place, by) in [(home, &signer), (home, &anybody())] {
        let author = Author { repository: world.owner.id(), domain: place, signer: by, book: &book };
        let sealed = index::seal(&author, &[3; 32], &index, &Sketches::default()).unwrap();
        world.put(&sealed, |id| Name::Index(place, label, id));
    }
    assert_ne!(domain, home);
    world.assert_unmoved("wrong domain");
}

/// Members of one domain trust each other's index, but can't take anything out of it.
#[test]
fn a_member_replaces_only_its_own_index() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, first) = member(&owner, Role::Client, "first", Some("shared"));
    let (_, second) = member(&owner, Role::Client, "second", Some("shared"));
    let stream = noise(2, 40_000);
    let honest = open_as(store.clone(), &hand.runtime(2, 0), &first).unwrap();
    let id = snapshot_stream(&honest, &stream).unwrap().snapshot.unwrap();
    let BundleKeys::Member { domain, book, signing, .. } = &second.keys else { panic!("a member's bundle") };
    let objects = store.objects();
    let supersedes =
        objects.keys().filter_map(|name| Name::parse(name).filter(|name| matches!(name, Name::Index(..)))?.id());
    let index = Index { supersedes: supersedes.collect(), ..Index::default() };
    let author = Author { repository: owner.id(), domain: *domain, signer: &signing.signing_key(), book };
    let sealed = index::seal(&author, &[4; 32], &index, &Sketches::default()).unwrap();
    let name = Name::Index(*domain, book.source_label("stream"), ObjectId::of(&sealed));
    store.put(&name.to_string(), &sealed).unwrap();
    assert!(restore_stream(&honest, id).unwrap() == stream);
    assert_clean(&owner, true, "with a hostile index");
}

/// What a member signs is no damage, so it is his junk and stops nobody.
#[test]
fn an_index_that_its_writer_made_against_the_rules_is_passed_over() {
    let world = World::new();
    let (domain, book, signer) = world.thief();
    let header = Author { repository: world.owner.id(), domain, signer: &signer, book: &book }.header(Kind::Index);
    let many = vault_format::compress::compress(&[0; 1 << 20], 3).unwrap().unwrap();
    // no index at all, and one that grows to a thousand times its size
    for (salt, text) in
        [([4; 32], b"\0\x04\0\0\0junk".to_vec()), ([5; 32], [b"\x01\0\0\x10\0", many.as_slice()].concat())]
    {
        let sealed = [0u8, 1].map(|number| {
            let aad = header.encode().into_iter().chain([number]).collect::<Vec<u8>>();
            vault_format::seal::seal(&book.derive("vault v1 section", &[&salt, &[number]]), 0, &aad, &text).unwrap()
        });
        let bytes = SignedObject::assemble(&header, &salt, &sealed, &signer).unwrap();
        world.put(&bytes, |id| Name::Index(domain, book.source_label("stream"), id));
    }
    let report = check(&world.owner, true);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let named = report.notes.iter().filter(|note| note.contains("its writer made it against the rules")).count();
    assert_eq!((named, report.uncounted), (2, 2), "{:?}", report.notes);
    let pruned = prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    assert!(pruned.left_out.is_empty(), "{pruned:?}");
    world.snapshots.iter().for_each(|id| assert!(restore_stream(&world.owner, *id).unwrap() == world.stream));
}

/// A member says that its own index object replaces one that is damaged: nobody else misses less for that.
#[test]
fn a_member_explains_no_damage_of_others() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, first) = member(&owner, Role::Client, "first", Some("shared"));
    let (_, second) = member(&owner, Role::Client, "second", Some("shared"));
    let honest = open_as(store.clone(), &hand.runtime(2, 0), &first).unwrap();
    snapshot_stream(&honest, &noise(2, 40_000)).unwrap();
    let torn = store.objects().into_keys().find(|name| name.starts_with("index/")).unwrap();
    assert!(store.damage(&torn, |bytes| bytes.truncate(100)));
    let BundleKeys::Member { domain, book, signing, .. } = &second.keys else { panic!("a member's bundle") };
    let supersedes = Name::parse(&torn).and_then(|name| name.id()).into_iter().collect();
    let author = Author { repository: owner.id(), domain: *domain, signer: &signing.signing_key(), book };
    let index = Index { supersedes, ..Index::default() };
    let sealed = index::seal(&author, &[4; 32], &index, &Sketches::default()).unwrap();
    let name = Name::Index(*domain, book.source_label("stream"), ObjectId::of(&sealed));
    store.put(&name.to_string(), &sealed).unwrap();
    let findings = check(&owner, false).findings;
    assert!(findings.iter().any(|one| one.object == torn), "{findings:?}");
    hand.advance(Duration::from_hours(25));
    let left_out = prune::mark(&owner, &prune::Options::default()).unwrap().left_out;
    assert!(left_out.iter().any(|one| one.doubt.to_string().contains(&torn)), "{left_out:?}");
}

/// The owner's slot with other password parameters in it, and how often.
fn costly_slots(world: &World, kdf: [u32; 3], count: u8) -> Vec<Vec<u8>> {
    let is_owners = |bytes: &[u8]| Slot::parse(bytes).is_ok_and(|slot| slot.info.role == Role::Owner);
    let objects = world.store.objects();
    let (_, honest) = objects.iter().find(|(name, bytes)| name.starts_with("keys/") && is_owners(bytes)).unwrap();
    let encoded = |kdf: [u32; 3]| kdf.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<u8>>();
    let floor = encoded([KDF_FLOOR.memory_kib, KDF_FLOOR.passes, KDF_FLOOR.lanes]);
    let at = honest.windows(12).position(|window| window == floor).unwrap();
    let forge = |number: u8| {
        let mut forged = honest.clone();
        forged[at..at + 12].copy_from_slice(&encoded(kdf));
        *forged.last_mut().unwrap() ^= number;
        forged
    };
    (0..count).map(forge).collect()
}

/// Whoever can put may put any number of slots: each try of one would cost a quarter of a gigabyte and seconds.
#[test]
fn a_slot_that_nobody_signed_costs_no_password_work() {
    let world = World::new();
    costly_slots(&world, [1 << 18, 16, 1], 8).iter().for_each(|slot| world.put(slot, Name::Slot));
    let began = std::time::Instant::now();
    open(world.store.clone(), &world.hand.runtime(7, 0)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn more_than_a_gibibyte_for_a_password_is_refused_before_any_work() {
    let world = World::new();
    let parsed = |kib: u32| {
        let slots = costly_slots(&world, [kib, 1, 1], 1);
        Slot::parse(&slots[0]).map(drop)
    };
    assert_eq!(parsed(1 << 20), Ok(()));
    assert_eq!(parsed((1 << 20) + 1), Err(vault_format::Error::Limit("the password parameters of a key slot")));
}
