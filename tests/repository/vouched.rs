//! What the members of one domain rely on of each other: what the owner says that he has opened whole, and nothing else
//! (T7). Whoever knows the id of something can say that a pack of garbage holds it.

use crate::claims::{World, claim_all};
use std::sync::Arc;
use testkit::faulty::{Failure, Faulty};
use testkit::world::{
    PASSWORD, assert_clean, backend, check, member, noise, open_as, restore_stream, snapshot_stream, stored_bytes,
};
use vault::backend::{ErrorKind, Operation, Store};
use vault::progress::Silent;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::trust::Trust;
use vault::repository::{Access, Options, Repository};
use vault::{keys, repair};
use vault_format::SigningKey;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::directory::BlobEntry;
use vault_format::envelope::{RunSecret, Wrap, Wraps};
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobKind, Class, ObjectId, WriterId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::pack::{NewFrame, PackBuilder};

/// One more member of the shared domain.
fn another(world: &World, role: Role, label: &str) -> Repository {
    let (_, bundle) = member(&world.owner, role, label, Some("shared"));
    let seed = label.bytes().fold(40, |seed: u64, byte| 31 * seed + u64::from(byte));
    open_as(world.store.clone(), &world.hand.runtime(seed, 0), &bundle).unwrap()
}

/// Bytes that a new member had to store for a stream, which it can restore if anybody may.
fn stored_for(world: &World, role: Role, label: &str, stream: &[u8]) -> u64 {
    let repository = another(world, role, label);
    let report = snapshot_stream(&repository, stream).unwrap();
    let reader = if role == Role::Client { &repository } else { &world.owner };
    assert!(restore_stream(reader, report.snapshot.unwrap()).unwrap() == stream, "{label}");
    report.head.statistics.stored_bytes
}

fn index_objects(world: &World) -> usize {
    world.store.objects().keys().filter(|name| name.starts_with("index/")).count()
}

#[test]
fn members_share_what_the_owner_has_opened_and_nothing_before() {
    for role in [Role::Client, Role::Writer] {
        let world = World::new(role);
        let stream = noise(1, 1 << 20);
        let whole = stream.len() as u64;
        assert!(stored_for(&world, role, "first", &stream) > whole);
        assert!(stored_for(&world, role, "second", &stream) > whole, "nobody has looked");
        let third = another(&world, role, "third");
        assert_clean(&third, true, "a member");
        assert!(stored_for(&world, role, "fourth", &stream) > whole, "a member's check says nothing");
        assert_clean(&world.owner, false, "structure");
        let (before, told) = (stored_bytes(&world.store), index_objects(&world));
        assert_clean(&world.owner, true, "vouching");
        assert!(stored_bytes(&world.store) - before < whole / 50, "only index objects");
        assert!(index_objects(&world) > told);
        let told = index_objects(&world);
        assert_clean(&world.owner, true, "again");
        assert_eq!(index_objects(&world), told, "nothing is new");
        assert!(stored_for(&world, role, "fifth", &stream) < whole / 10, "{role}");
        // what was stored twice goes, and what is told of the rest is told anew
        assert_eq!(world.prune_often(), 0);
        assert!(stored_for(&world, role, "sixth", &stream) < whole / 10, "{role}, pruned");
        assert_clean(&world.owner, true, "pruned");
    }
}

#[test]
fn a_repair_keeps_what_the_owner_vouched_for() {
    let world = World::new(Role::Client);
    let [kept, lost] = [10, 11].map(|seed| noise(seed, 300_000));
    stored_for(&world, Role::Client, "first", &kept);
    let before = world.store.objects();
    stored_for(&world, Role::Client, "second", &lost);
    assert_clean(&world.owner, true, "vouching");
    let is_new = |name: &&String| name.starts_with("packs/d/") && !before.contains_key(*name);
    let name = world.store.objects().keys().find(is_new).unwrap().clone();
    assert!(world.store.damage(&name, |bytes| bytes.truncate(100)));
    let report = repair::repair(&world.owner, None, &repair::Options::default(), &Silent).unwrap();
    assert_eq!(report.damaged_packs.len(), 1);
    assert!(stored_for(&world, Role::Client, "third", &kept) < 30_000);
}

/// A member's index object says that garbage was opened, and tells of a pack that is lost: the owner writes it anew.
#[test]
fn a_repair_takes_over_no_word_of_a_member() {
    let world = World::new(Role::Client);
    let stream = noise(12, 300_000);
    snapshot_stream(&world.honest, &stream).unwrap();
    let before = world.store.objects();
    let (_, thief) = member(&world.owner, Role::Client, "thief", Some("shared"));
    claim_all(&world.store, &world.owner, &thief, (1, None));
    let is_new = |name: &&String| name.starts_with("packs/m/") && !before.contains_key(*name);
    assert!(world.store.remove(&world.store.objects().keys().find(is_new).unwrap().clone()));
    let options = repair::Options { structure_only: true, ..repair::Options::default() };
    let report = repair::repair(&world.owner, None, &options, &Silent).unwrap();
    assert_eq!((report.damaged_packs.len(), report.replaced_indexes), (1, 1), "{report:?}");
    assert!(stored_for(&world, Role::Client, "second", &stream) > stream.len() as u64);
}

#[test]
fn garbage_under_known_ids_is_relied_on_by_nobody() {
    for (role, is_removed) in [(Role::Client, false), (Role::Client, true), (Role::Writer, false), (Role::Writer, true)]
    {
        let context = format!("{role}, removed: {is_removed}");
        let world = World::new(role);
        let stream = noise(2, 300_000);
        snapshot_stream(&world.honest, &stream).unwrap();
        let (slot, thief) = member(&world.owner, role, "thief", Some("shared"));
        claim_all(&world.store, &world.owner, &thief, (1, None));
        if is_removed {
            keys::remove(&world.owner, slot, &Silent).unwrap();
        }
        assert!(stored_for(&world, role, "second", &stream) > stream.len() as u64, "{context}");
        assert!(!check(&world.owner, true).findings.is_empty(), "{context}");
        assert!(!vouched(&world.owner).contains(&writer_of(&thief)), "{context}: it is bad");
        assert!(stored_for(&world, role, "third", &stream) < 100_000, "{context}: the honest ones' are good");
    }
}

/// Puts one chunk as a client does, but with a wrap for the domain that it chose.
fn publish(world: &World, liar: &Bundle, plain: &[u8], wrap: impl FnOnce(&RunSecret, &Key, &Header) -> Wrap) -> Index {
    let BundleKeys::Member { domain, book, signing, read: Some(read), id_key, .. } = &liar.keys else {
        panic!("a client's bundle")
    };
    let signer = signing.signing_key();
    let writer = WriterId::of(&signer.verifying_key().to_bytes());
    let (secret, salt) = (RunSecret::new([5; 32]), [6; 32]);
    let header = Header { kind: Kind::DataPack, repository: world.owner.id(), domain: *domain, writer };
    let sealing = &world.owner.keys().owner("forge").unwrap().public().sealing;
    let random = &mut world.owner.runtime().generator();
    let own = secret.wrap_for_owner(sealing, &header.scope(), random).unwrap();
    let wraps = Wraps(vec![own, wrap(&secret, read, &header)]);
    let mut pack = PackBuilder::new(header, salt, secret.pack_key(Class::Data, &salt)).unwrap();
    let id = id_key.blob_id(BlobKind::Chunk, plain);
    let blob = BlobEntry { id, kind: BlobKind::Chunk, length: plain.len() as u32 };
    pack.push(NewFrame::whole(FrameCodec::Raw, plain, &[blob])).unwrap();
    let finished = pack.finish(book, &wraps, &signer).unwrap();
    let (id, class, size) = (ObjectId::of(&finished.bytes), Class::Data, finished.bytes.len() as u64);
    world.store.put(&Name::Pack(class, id).to_string(), &finished.bytes).unwrap();
    let entry = PackEntry { id, class, size, writer, salt, wraps: 0, directory: finished.directory };
    let index = Index { packs: vec![entry], wraps: vec![wraps], ..Index::default() };
    put_index(world, liar, (&signer, &index));
    index
}

fn put_index(world: &World, member: &Bundle, (signer, index): (&SigningKey, &Index)) {
    let BundleKeys::Member { domain, book, .. } = &member.keys else { panic!("a client's bundle") };
    let author = Author { repository: world.owner.id(), domain: *domain, signer, book };
    let sealed = index::seal(&author, &[7; 32], index, &Sketches::default()).unwrap();
    let name = Name::Index(*domain, book.source_label("stream"), ObjectId::of(&sealed));
    world.store.put(&name.to_string(), &sealed).unwrap();
}

/// A liar's pack, which the owner reads by his own wrap, with one of three wraps for the domain: of another secret, under
/// another key, and as it should be.
fn lie(plain: &[u8], number: u8) -> (World, Bundle, Index) {
    let world = World::new(Role::Client);
    let (_, liar) = member(&world.owner, Role::Client, "liar", Some("shared"));
    let told = publish(&world, &liar, plain, |secret, read, header| {
        let wrap = |secret: &RunSecret, read: &Key| {
            secret.wrap_for_domain(header.domain, read, &header.scope(), &[8; 32]).unwrap()
        };
        match number {
            0 => wrap(&RunSecret::new([9; 32]), read),
            1 => wrap(secret, &Key::new([9; 32])),
            _ => wrap(secret, read),
        }
    });
    (world, liar, told)
}

#[test]
fn a_wrap_that_gives_members_something_else_makes_no_pack_theirs() {
    let plain = noise(3, 50_000);
    for (number, is_shared) in [(0, false), (1, false), (2, true)] {
        let (world, liar, _) = lie(&plain, number);
        assert!(stored_for(&world, Role::Client, "before", &plain) > plain.len() as u64);
        assert_clean(&world.owner, true, "the owner reads it");
        let by_liar = vouched(&world.owner).iter().filter(|writer| **writer == writer_of(&liar)).count();
        assert_eq!(by_liar, usize::from(is_shared), "wrap {number}");
        assert!(stored_for(&world, Role::Client, "after", &plain) < plain.len() as u64);
    }
}

/// The same where no index tells of the pack: whoever indexes it has opened it by the owner's wrap.
#[test]
fn a_repair_vouches_for_no_pack_whose_wraps_differ() {
    let plain = noise(6, 50_000);
    for (number, is_shared) in [(0, false), (2, true)] {
        let (world, liar, _) = lie(&plain, number);
        for name in world.store.objects().into_keys().filter(|name| name.starts_with("index/")) {
            assert!(world.store.remove(&name));
        }
        let report = repair::repair(&world.owner, None, &repair::Options::default(), &Silent).unwrap();
        assert_eq!(report.indexed_packs, 1, "{report:?}");
        assert_eq!(vouched(&world.owner) == [writer_of(&liar)], is_shared, "wrap {number}");
        assert_eq!(stored_for(&world, Role::Client, "after", &plain) < plain.len() as u64, is_shared, "wrap {number}");
    }
}

#[test]
fn a_client_relies_on_what_it_opens_whatever_the_owner_says() {
    let plain = noise(5, 50_000);
    for (number, opens) in [(1, false), (2, true)] {
        let (world, liar, told) = lie(&plain, number);
        let said = Index { opened: told.packs.iter().map(|pack| pack.id).collect(), ..told };
        put_index(&world, &liar, (world.owner.keys().signer(), &said));
        assert_eq!(stored_for(&world, Role::Client, "told", &plain) < plain.len() as u64, opens, "wrap {number}");
    }
}

fn writer_of(bundle: &Bundle) -> WriterId {
    let BundleKeys::Member { signing, .. } = &bundle.keys else { panic!("a member's bundle") };
    WriterId::of(&signing.signing_key().verifying_key().to_bytes())
}

/// The writers of the packs that the owner vouches for.
fn vouched(owner: &Repository) -> Vec<WriterId> {
    let objects = IndexObjects::load(owner, &Trust::load(owner).unwrap(), None).unwrap().good;
    let own = objects.iter().filter(|object| object.writer == owner.keys().owner_writer());
    let packs = own.flat_map(|object| object.index.packs.iter().filter(|pack| object.index.opened.contains(&pack.id)));
    packs.map(|pack| pack.writer).collect()
}

#[test]
fn a_check_of_what_takes_nothing_says_what_it_could_not_say_there() {
    let world = World::new(Role::Client);
    snapshot_stream(&world.honest, &noise(4, 50_000)).unwrap();
    let faulty = Faulty::new(Arc::new(world.store.clone()));
    let runtime = world.hand.runtime(9, 0);
    let password = Access::Password(PASSWORD);
    let owner = Repository::open(backend(faulty.clone(), &runtime), runtime, Options::default(), password).unwrap();
    faulty.fail(Failure { operation: Operation::Put, nth: 1, from_then_on: true, kind: ErrorKind::Denied });
    let report = check(&owner, true);
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("not vouched for")), "{:?}", report.notes);
}
