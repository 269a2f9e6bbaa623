//! Packs that no index tells of and that lie, about what they hold or about who has made them. The owner indexes what is
//! loose, and everybody believes the owner: so he takes none of these.

use crate::claims::World;
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{backend, check, member, noise, restore_stream, snapshot_stream};
use vault::backend::Store;
use vault::progress::Silent;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::trust::Trust;
use vault::repository::{Options, Recovery, Repository};
use vault::{keys, prune, repair};
use vault_format::SigningKey;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::directory::{BlobEntry, Descent};
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, BlobKind, Class, ObjectId, WriterId};
use vault_format::name::Name;
use vault_format::pack::{NewFrame, PackBuilder};
use vault_format::slot::KDF_FLOOR;

/// What will be stored later: known to who guesses it.
fn later() -> Vec<u8> {
    noise(77, 3000)
}

/// For each pack of the thief's domain one with the same directory and noise in it, that names a writer; by odd seeds each
/// chunk is said to be a delta on what will be stored later. No index tells of them.
fn junk(store: &Simulated, owner: &Repository, thief: &Bundle, (said, seed): (WriterId, u8)) -> Vec<ObjectId> {
    let BundleKeys::Member { domain, book, signing, .. } = &thief.keys else { panic!("a member's bundle") };
    let objects = IndexObjects::load(owner, &Trust::load(owner).unwrap(), Some(*domain)).unwrap().good;
    let base: BlobId = owner.keys().id_key().blob_id(BlobKind::Chunk, &later());
    let secret = RunSecret::new([seed; 32]);
    let mut made = Vec::new();
    for entry in objects.iter().flat_map(|object| &object.index.packs) {
        let kind = if entry.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
        let header = Header { kind, repository: owner.id(), domain: *domain, writer: said };
        let sealing = &owner.keys().owner("forge").unwrap().public().sealing;
        let wrap = secret.wrap_for_owner(sealing, &header.scope(), &mut owner.runtime().generator()).unwrap();
        let salt = [seed; 32];
        let mut pack = PackBuilder::new(header, salt, secret.pack_key(entry.class, &salt)).unwrap();
        for blob in &entry.directory.blobs {
            let bytes = noise(u64::from(seed), blob.length as usize);
            let blobs = [*blob];
            let frame = NewFrame::whole(FrameCodec::Raw, &bytes, &blobs);
            let frame = match !seed.is_multiple_of(2) && entry.class == Class::Data {
                true => {
                    let descent = Descent { depth: 1, generation: 1 };
                    NewFrame { codec: FrameCodec::Delta, bases: vec![base], descent, ..frame }
                }
                false => frame,
            };
            pack.push(frame).unwrap();
        }
        let bytes = pack.finish(book, &Wraps(vec![wrap]), &signing.signing_key()).unwrap().bytes;
        let id = ObjectId::of(&bytes);
        store.put(&Name::Pack(entry.class, id).to_string(), &bytes).unwrap();
        made.push(id);
    }
    assert!(!made.is_empty());
    made
}

fn writer_of(bundle: &Bundle) -> WriterId {
    let BundleKeys::Member { signing, .. } = &bundle.keys else { panic!("a member's bundle") };
    WriterId::of(&signing.signing_key().verifying_key().to_bytes())
}

/// An honest member's snapshot, and junk of a thief of another key of the domain, said to be by everybody.
struct Junkyard {
    world: World,
    stream: Vec<u8>,
    snapshot: ObjectId,
    junk: Vec<ObjectId>,
}

impl Junkyard {
    fn new(is_removed: bool) -> Self {
        let world = World::new(Role::Client);
        let stream = noise(1, 300_000);
        let snapshot = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
        let (slot, thief) = member(&world.owner, Role::Writer, "thief", Some("shared"));
        let said = [world.owner.keys().writer(), writer_of(&thief), world.honest.keys().writer(), WriterId([9; 16])];
        let mut made = Vec::new();
        for (number, said) in (1..).zip(said) {
            for seed in [2 * number, 2 * number + 1] {
                made.extend(junk(&world.store, &world.owner, &thief, (said, seed)));
            }
        }
        if is_removed {
            keys::remove(&world.owner, slot, &Silent).unwrap();
        }
        Self { world, stream, snapshot, junk: made }
    }

    /// Nothing of the junk is indexed, now or later, and prune keeps what it claims to have.
    fn assert_unmoved(&self, store: &Simulated, owner: &Repository, context: &str) {
        let assert_untold = || {
            let objects = IndexObjects::load(owner, &Trust::load(owner).unwrap(), None).unwrap().good;
            let mut told = objects.iter().flat_map(|object| &object.index.packs);
            assert!(!told.any(|pack| self.junk.contains(&pack.id)), "{context}");
        };
        assert_untold();
        snapshot_stream(owner, &later()).unwrap();
        for _ in 0..3 {
            let _ = repair::repair(owner, None, &repair::Options::default(), &Silent).unwrap();
            assert_untold();
            prune::prune(owner, &prune::Options::default(), &Silent).unwrap();
            self.world.hand.advance(Duration::from_hours(25));
        }
        let names = store.objects();
        assert!(
            self.junk.iter().all(|id| !names.keys().any(|name| name.contains(&id.to_string()))),
            "{context}: pruned"
        );
        assert!(restore_stream(owner, self.snapshot).unwrap() == self.stream, "{context}");
        assert!(check(owner, true).findings.is_empty(), "{context}");
    }
}

#[test]
fn no_junk_is_taken_for_what_it_says() {
    for (structure_only, is_removed) in [(true, false), (true, true), (false, false), (false, true)] {
        let yard = Junkyard::new(is_removed);
        let options = repair::Options { structure_only, ..repair::Options::default() };
        let report = repair::repair(&yard.world.owner, None, &options, &Silent).unwrap();
        let context = format!("structure only: {structure_only}, removed: {is_removed}");
        let named = report.notes.iter().filter(|note| note.contains("not taken")).count();
        assert_eq!((named, report.indexed_packs), (yard.junk.len(), 0), "{context}: {:#?}", report.notes);
        // the base comes
        snapshot_stream(&yard.world.honest, &later()).unwrap();
        yard.assert_unmoved(&yard.world.store, &yard.world.owner, &context);
    }
}

#[test]
fn a_recovery_takes_no_junk_with_or_without_slots() {
    for (prefixes, is_removed) in [
        (&["packs/", "snapshots/"][..], false),
        (&["packs/", "snapshots/", "keys/"], false),
        (&["packs/", "snapshots/", "keys/", "orders/", "config"], true),
    ] {
        let yard = Junkyard::new(is_removed);
        let left = yard.world.store.snapshot(5);
        for name in left.objects().keys().filter(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix))) {
            assert!(left.remove(name));
        }
        let root = yard.world.owner.keys().owner("print").unwrap().root().clone();
        let runtime = yard.world.hand.runtime(11, 1);
        let recovery = Recovery { kdf: KDF_FLOOR, ..Recovery::new(root, Some(yard.world.owner.id()), b"new") };
        let (owner, report) =
            Repository::recover(backend(left.clone(), &runtime), runtime, Options::default(), recovery, &Silent)
                .unwrap();
        let context = format!("{prefixes:?}: {report:#?}");
        assert_eq!(report.index.unreadable.len(), yard.junk.len(), "{context}");
        assert!(report.index.packs > 0, "{context}");
        yard.assert_unmoved(&left, &owner, &context);
    }
}

/// One pack of true content, which nobody has indexed, said to be by one and signed by another.
fn put_true(owner: &Repository, thief: &Bundle, said: WriterId, signer: &SigningKey) -> ObjectId {
    let BundleKeys::Member { domain, book, .. } = &thief.keys else { panic!("a member's bundle") };
    let header = Header { kind: Kind::DataPack, repository: owner.id(), domain: *domain, writer: said };
    let sealing = &owner.keys().owner("forge").unwrap().public().sealing;
    let (secret, salt, plain) = (RunSecret::new([4; 32]), [4; 32], later());
    let wrap = secret.wrap_for_owner(sealing, &header.scope(), &mut owner.runtime().generator()).unwrap();
    let id = owner.keys().id_key().blob_id(BlobKind::Chunk, &plain);
    let blob = BlobEntry { id, kind: BlobKind::Chunk, length: u32::try_from(plain.len()).unwrap() };
    let mut pack = PackBuilder::new(header, salt, secret.pack_key(Class::Data, &salt)).unwrap();
    pack.push(NewFrame::whole(FrameCodec::Raw, &plain, &[blob])).unwrap();
    let bytes = pack.finish(book, &Wraps(vec![wrap]), signer).unwrap().bytes;
    let id = ObjectId::of(&bytes);
    owner.backend().put(&Name::Pack(Class::Data, id).to_string(), &bytes).unwrap();
    id
}

/// Under two names the same bytes would be two packs, and an index would tell of one that prune can take away.
#[test]
fn a_pack_is_taken_under_the_hash_of_its_bytes_alone() {
    let world = World::new(Role::Client);
    let (_, thief) = member(&world.owner, Role::Client, "thief", Some("shared"));
    let BundleKeys::Member { signing, .. } = &thief.keys else { panic!("a member's bundle") };
    let good = put_true(&world.owner, &thief, writer_of(&thief), &signing.signing_key());
    let bytes = world.store.objects()[&Name::Pack(Class::Data, good).to_string()].clone();
    let other = Name::Pack(Class::Data, ObjectId([9; 32]));
    world.store.put(&other.to_string(), &bytes).unwrap();
    let report = repair::repair(&world.owner, None, &repair::Options::default(), &Silent).unwrap();
    assert_eq!(report.indexed_packs, 1, "{report:?}");
    let refused = format!("{other} is in no index, and is not taken: its bytes do not match its name");
    assert!(report.notes.contains(&refused), "{:?}", report.notes);
}

/// What a pack holds says nothing about who has made it: as the owner's it would take the place of all others.
#[test]
fn true_content_makes_nobody_somebody_else() {
    let world = World::new(Role::Client);
    let (_, thief) = member(&world.owner, Role::Client, "thief", Some("shared"));
    let (_, guest) = member(&world.owner, Role::Client, "guest", Some("elsewhere"));
    let signer = |bundle: &Bundle| match &bundle.keys {
        BundleKeys::Member { signing, .. } => signing.signing_key(),
        BundleKeys::Owner { .. } => panic!("a member's bundle"),
    };
    let put = |said, by: &Bundle| put_true(&world.owner, &thief, said, &signer(by));
    let lies = [
        put(world.owner.keys().writer(), &thief),
        put(world.honest.keys().writer(), &thief),
        // a member, but not of this domain
        put(writer_of(&guest), &guest),
    ];
    // its own, and that of a key that nobody knows any more
    let taken = [put(writer_of(&thief), &thief), put(WriterId([9; 16]), &thief)];
    let report = repair::repair(&world.owner, None, &repair::Options::default(), &Silent).unwrap();
    assert_eq!(report.indexed_packs, 2, "{report:?}");
    let objects = IndexObjects::load(&world.owner, &Trust::load(&world.owner).unwrap(), None).unwrap().good;
    let is_told = |id: &ObjectId| objects.iter().any(|object| object.index.packs.iter().any(|pack| pack.id == *id));
    assert!(taken.iter().all(is_told) && !lies.iter().any(is_told));
    assert!(objects.iter().any(|object| taken.iter().all(|id| object.index.opened.contains(id))), "opened whole");
}
