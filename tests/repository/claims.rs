//! Members who say that they have what they only know the id of, and copies that not everybody can open: what prune takes
//! for another place of a blob has to be one.

use std::io::Read;
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{
    Hand, assert_clean, backend, check, init, member, noise, open_as, restore_stream, snapshot_reader, snapshot_stream,
    stored_bytes,
};
use vault::backend::Store;
use vault::progress::Silent;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::orders;
use vault::repository::objects::trust::Trust;
use vault::repository::{Access, Options, Repository};
use vault::{forget, prune, undelete};
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, ObjectId, WriterId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::order::Action;
use vault_format::pack::{NewFrame, PackBuilder};

/// For every pack of the thief's domain another one with the same directory and noise in it, and an index of them that
/// says who wrote them, and that who signs it has opened them.
pub fn claim_all(store: &Simulated, owner: &Repository, thief: &Bundle, (seed, said): (u8, Option<WriterId>)) {
    let BundleKeys::Member { domain, book, signing, read, .. } = &thief.keys else { panic!("a member's bundle") };
    let signer = signing.signing_key();
    let writer = WriterId::of(&signer.verifying_key().to_bytes());
    let secret = RunSecret::new([seed; 32]);
    let header = |kind| Header { kind, repository: owner.id(), domain: *domain, writer };
    let scope = header(Kind::DataPack).scope();
    let sealing = &owner.keys().owner("forge").unwrap().public().sealing;
    let mut wraps = vec![secret.wrap_for_owner(sealing, &scope, &mut owner.runtime().generator()).unwrap()];
    if let Some(read) = read {
        wraps.push(secret.wrap_for_domain(*domain, read, &scope, &[seed; 32]).unwrap());
    }
    let wraps = Wraps(wraps);
    let mut forged = Index { wraps: vec![wraps.clone()], ..Index::default() };
    let trust = Trust::load(owner).unwrap();
    let objects = IndexObjects::load(owner, &trust, Some(*domain)).unwrap().good;
    for entry in objects.iter().filter(|object| object.writer != writer).flat_map(|object| &object.index.packs) {
        let header = header(if entry.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack });
        let salt = [seed; 32];
        let mut pack = PackBuilder::new(header, salt, secret.pack_key(entry.class, &salt)).unwrap();
        let mut blobs = entry.directory.blobs.as_slice();
        for frame in &entry.directory.frames {
            let (own, rest) = blobs.split_at(frame.blobs as usize);
            blobs = rest;
            let plain: u32 = own.iter().map(|blob| blob.length).sum();
            pack.push(NewFrame::whole(FrameCodec::Raw, &noise(u64::from(seed), plain as usize), own)).unwrap();
        }
        let finished = pack.finish(book, &wraps, &signer).unwrap();
        let id = ObjectId::of(&finished.bytes);
        if forged.packs.iter().any(|pack| pack.id == id) {
            continue;
        }
        store.put(&Name::Pack(entry.class, id).to_string(), &finished.bytes).unwrap();
        let (class, size) = (entry.class, finished.bytes.len() as u64);
        let directory = finished.directory;
        let writer = said.unwrap_or(writer);
        forged.packs.push(PackEntry { id, class, size, writer, salt: finished.salt, wraps: 0, directory });
    }
    assert!(!forged.packs.is_empty());
    forged.opened = forged.packs.iter().map(|pack| pack.id).collect();
    forged.opened.sort();
    let author = Author { repository: owner.id(), domain: *domain, signer: &signer, book };
    let sealed = index::seal(&author, &[seed; 32], &forged, &Sketches::default()).unwrap();
    let name = Name::Index(*domain, book.source_label("stream"), ObjectId::of(&sealed));
    store.put(&name.to_string(), &sealed).unwrap();
}

pub struct World {
    pub hand: Hand,
    pub store: Simulated,
    pub owner: Repository,
    pub honest: Repository,
    thief: Bundle,
}

impl World {
    pub fn new(role: Role) -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (_, honest) = member(&owner, role, "honest", Some("shared"));
        let (_, thief) = member(&owner, Role::Writer, "stolen", Some("shared"));
        let honest = open_as(store.clone(), &hand.runtime(2, 0), &honest).unwrap();
        Self { hand, store, owner, honest, thief }
    }

    /// Gives how many blobs had to be copied at the last moment.
    pub fn prune_often(&self) -> u64 {
        let thorough = prune::Options { max_unused: prune::Unused::Bytes(0), ..prune::Options::default() };
        let rescued = (0..3).map(|_| {
            let report = prune::prune(&self.owner, &thorough, &Silent).unwrap();
            self.hand.advance(Duration::from_hours(25));
            report.swept.rescued_blobs
        });
        rescued.sum()
    }
}

/// A thief of a writer's key claims all that another member of the domain has stored, many times over, so that some of
/// its packs have smaller names.
#[test]
fn a_claim_makes_no_pack_garbage() {
    let world = World::new(Role::Writer);
    let stream = noise(1, 300_000);
    let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    world.hand.advance(Duration::from_hours(1));
    for seed in 1..9 {
        claim_all(&world.store, &world.owner, &world.thief, (seed, None));
        let owner = world.owner.keys().owner_writer();
        claim_all(&world.store, &world.owner, &world.thief, (seed + 9, Some(owner)));
    }
    assert_eq!(world.prune_often(), 0);
    assert!(restore_stream(&world.owner, id).unwrap() == stream);
    assert!(!check(&world.owner, true).findings.is_empty(), "they could belong to a run that goes on");
    // as long as no run lives
    world.hand.advance(Duration::from_hours(15 * 24));
    assert_eq!(world.prune_often(), 0);
    assert!(restore_stream(&world.owner, id).unwrap() == stream);
    assert_clean(&world.owner, true, "pruned");
}

/// What is claimed is forgotten and swept, and somebody stores it anew: that the claim is older by then says nothing.
#[test]
fn a_claim_that_outlives_what_it_copied_takes_the_place_of_nothing() {
    for role in [Role::Client, Role::Writer] {
        let world = World::new(role);
        let stream = noise(7, 300_000);
        let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
        claim_all(&world.store, &world.owner, &world.thief, (1, None));
        let options = forget::Options { may_empty: true, ..forget::Options::default() };
        forget::by_id(&world.owner, &[id.to_string()], &options).unwrap();
        // something of the domain lives, or nothing of it would be judged
        snapshot_stream(&world.honest, b"another").unwrap();
        world.prune_often();
        let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
        world.hand.advance(Duration::from_hours(1));
        assert_eq!(world.prune_often(), 0, "{role}: it was condemned");
        assert!(restore_stream(&world.owner, id).unwrap() == stream, "{role}");
    }
}

/// The claim comes when the data is condemned already, and the snapshot is taken back: what can't be read is no copy.
#[test]
fn a_claim_keeps_nothing_from_being_copied() {
    let world = World::new(Role::Writer);
    let stream = noise(2, 300_000);
    let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    snapshot_stream(&world.honest, &noise(3, 1000)).unwrap();
    // else nothing of it would be relied on
    assert_clean(&world.owner, true, "vouching");
    forget::by_id(&world.owner, &[id.to_string()], &forget::Options::default()).unwrap();
    prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    world.hand.advance(Duration::from_hours(1));
    claim_all(&world.store, &world.owner, &world.thief, (1, None));
    let report = undelete::undelete(&world.owner, &id.to_string()).unwrap();
    assert_eq!(report.copied_blobs, 0);
    let back = report.snapshot;
    world.hand.advance(Duration::from_hours(25));
    let swept = prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap().swept;
    assert!(swept.packs > 0 && swept.rescued_blobs > 0, "{swept:?}");
    assert!(restore_stream(&world.owner, back).unwrap() == stream);
}

/// The same, by a client, while a copy that clients can't open is sound: for them it is no copy.
#[test]
fn a_claim_for_members_is_judged_by_what_members_can_read() {
    let world = World::new(Role::Client);
    let writer = open_as(world.store.clone(), &world.hand.runtime(3, 0), &world.thief).unwrap();
    let (_, thief) = member(&world.owner, Role::Client, "other", Some("shared"));
    let stream = noise(17, 300_000);
    let by_writer = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
    let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    snapshot_stream(&world.honest, &noise(18, 1000)).unwrap();
    assert_clean(&world.owner, true, "vouching");
    forget::by_id(&world.owner, &[id.to_string()], &forget::Options::default()).unwrap();
    prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    world.hand.advance(Duration::from_hours(1));
    claim_all(&world.store, &world.owner, &thief, (1, None));
    let report = undelete::undelete(&world.owner, &id.to_string()).unwrap();
    assert_eq!(report.copied_blobs, 0);
    let back = report.snapshot;
    world.hand.advance(Duration::from_hours(25));
    let swept = prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap().swept;
    assert!(swept.packs > 0 && swept.rescued_blobs > 0, "{swept:?}");
    assert!(restore_stream(&world.honest, back).unwrap() == stream);
    assert!(restore_stream(&world.owner, by_writer).unwrap() == stream);
}

/// A member tells of a pack of another one, with another directory.
#[test]
fn nobody_speaks_for_the_packs_of_others() {
    let world = World::new(Role::Client);
    let stream = noise(4, 300_000);
    let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    let BundleKeys::Member { domain, book, signing, .. } = &world.thief.keys else { panic!("a member's bundle") };
    let trust = Trust::load(&world.owner).unwrap();
    let objects = IndexObjects::load(&world.owner, &trust, Some(*domain)).unwrap().good;
    let writer = WriterId::of(&signing.signing_key().verifying_key().to_bytes());
    // as it is, and as if it were the thief's own; with any name, be it before or behind that of the true one
    for (seed, by) in (0..16).flat_map(|seed| [(seed, writer), (seed, world.honest.keys().writer())]) {
        let mut index = objects[0].index.clone();
        for pack in &mut index.packs {
            pack.writer = by;
            pack.directory.blobs.iter_mut().for_each(|blob| blob.id.0[0] ^= 1);
        }
        let signer = &signing.signing_key();
        let author = Author { repository: world.owner.id(), domain: *domain, signer, book };
        let sealed = index::seal(&author, &[seed; 32], &index, &Sketches::default()).unwrap();
        let name = Name::Index(*domain, book.source_label("stream"), ObjectId::of(&sealed));
        world.hand.advance(Duration::from_mins(1));
        world.store.put(&name.to_string(), &sealed).unwrap();
    }
    assert!(restore_stream(&world.honest, id).unwrap() == stream);
    world.prune_often();
    assert!(restore_stream(&world.honest, id).unwrap() == stream);
}

/// The same stream lies in a pack that only the owner opens and in one that the client opens: the client's stays.
#[test]
fn a_client_can_restore_what_prune_has_thinned_out() {
    let world = World::new(Role::Client);
    let writer = open_as(world.store.clone(), &world.hand.runtime(3, 0), &world.thief).unwrap();
    let stream = noise(5, 300_000);
    let by_writer = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
    let by_client = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    assert_eq!(world.prune_often(), 0);
    assert!(restore_stream(&world.honest, by_client).unwrap() == stream);
    assert!(restore_stream(&world.owner, by_writer).unwrap() == stream);
    assert_clean(&world.honest, true, "the client");
}

/// What nobody has opened is not relied on, also by an order that takes back what needs it.
#[test]
fn what_is_taken_back_unseen_is_stored_again() {
    let world = World::new(Role::Client);
    let stream = noise(19, 300_000);
    let id = snapshot_stream(&world.honest, &stream).unwrap().snapshot.unwrap();
    snapshot_stream(&world.honest, &noise(20, 1000)).unwrap();
    forget::by_id(&world.owner, &[id.to_string()], &forget::Options::default()).unwrap();
    let report = undelete::undelete(&world.owner, &id.to_string()).unwrap();
    assert!(report.copied_bytes > stream.len() as u64 && !report.is_copy, "{report:?}");
    assert!(restore_stream(&world.honest, id).unwrap() == stream);
}

/// What a writer stored for the owner alone stays so when the owner takes it back.
#[test]
fn a_snapshot_taken_back_is_read_by_whom_it_was() {
    let world = World::new(Role::Client);
    let writer = open_as(world.store.clone(), &world.hand.runtime(3, 0), &world.thief).unwrap();
    let stream = noise(6, 300_000);
    let id = snapshot_stream(&writer, &stream).unwrap().snapshot.unwrap();
    snapshot_stream(&writer, &noise(7, 1000)).unwrap();
    forget::by_id(&world.owner, &[id.to_string()], &forget::Options::default()).unwrap();
    prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    world.hand.advance(Duration::from_hours(23));
    let report = undelete::undelete(&world.owner, &id.to_string()).unwrap();
    assert!(report.is_copy);
    assert!(restore_stream(&world.owner, report.snapshot).unwrap() == stream);
    let error = restore_stream(&world.honest, report.snapshot).unwrap_err();
    assert!(error.to_string().contains("client role"), "{error}");
}

/// Somebody who can put lays a snapshot under another source, which takes no key.
#[test]
fn a_snapshot_counts_only_where_it_belongs() {
    let world = World::new(Role::Client);
    let id = snapshot_stream(&world.honest, &noise(8, 1000)).unwrap().snapshot.unwrap();
    let (name, stored) = world.store.objects().into_iter().find(|(name, _)| name.contains(&id.to_string())).unwrap();
    let Some(Name::Snapshot(domain, ..)) = Name::parse(&name) else { panic!("{name}") };
    let elsewhere = Name::Snapshot(domain, world.owner.keys().own_book().source_label("elsewhere"), id);
    world.store.put(&elsewhere.to_string(), &stored).unwrap();
    world.prune_often();
    assert!(restore_stream(&world.honest, id).is_ok());
    assert_clean(&world.owner, true, "with a second name");
}

#[test]
fn prune_heeds_features_that_it_does_not_know() {
    let world = World::new(Role::Client);
    snapshot_stream(&world.owner, &noise(9, 1000)).unwrap();
    orders::put(&world.owner, world.owner.keys().domain(), Action::Require(1 << 40)).unwrap();
    let error = prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("requires features"), "{error}");
}

/// A forgotten snapshot whose data is lost stops no sweep.
#[test]
fn what_is_forgotten_and_broken_stops_nobody() {
    let world = World::new(Role::Client);
    let [first, second, last] = [10, 11, 12].map(|seed| {
        let before: Vec<String> = world.store.objects().into_keys().collect();
        let id = snapshot_stream(&world.owner, &noise(seed, 300_000)).unwrap().snapshot.unwrap();
        let objects = world.store.objects().into_keys();
        (id, objects.filter(|name| name.starts_with("packs/") && !before.contains(name)).collect::<Vec<String>>())
    });
    let forget = |id: ObjectId| {
        forget::by_id(&world.owner, &[id.to_string()], &forget::Options::default()).unwrap();
    };
    forget(first.0);
    prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    second.1.iter().for_each(|name| assert!(world.store.remove(name)));
    world.hand.advance(Duration::from_hours(25));
    let report = prune::prune(&world.owner, &prune::Options::default(), &Silent).unwrap();
    assert!(report.is_idle && report.left_out[0].doubt.to_string().contains("missing"), "{report:?}");
    forget(second.0);
    world.prune_often();
    assert_eq!(restore_stream(&world.owner, last.0).unwrap(), noise(12, 300_000));
    assert!(restore_stream(&world.owner, second.0).is_err());
    assert_clean(&world.owner, true, "pruned");
}

/// A stream that takes days: while it is read the owner prunes every day.
struct Slow<'w> {
    world: &'w World,
    left: &'w [u8],
    read: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let hour = 40 << 10;
        let most = buffer.len().min(hour);
        let length = self.left.read(&mut buffer[..most])?;
        self.world.hand.advance(Duration::from_hours(1));
        self.read += length;
        if self.read > 25 * hour {
            self.read = 0;
            prune::prune(&self.world.owner, &prune::Options::default(), &Silent).unwrap();
        }
        Ok(length)
    }
}

#[test]
fn a_run_that_takes_days_ends_though_the_owner_prunes_every_day() {
    let world = World::new(Role::Client);
    // of another member, so that the domain has a snapshot
    snapshot_stream(&world.honest, &noise(13, 1000)).unwrap();
    let runtime = world.hand.runtime(3, 0);
    let access = Access::Bundle(Box::new(world.thief.clone()));
    let options = Options { memory_bytes: 1 << 20, ..Options::default() };
    let slow = Repository::open(backend(world.store.clone(), &runtime), runtime, options, access).unwrap();
    let stream = noise(14, 8 << 20);
    let report = snapshot_reader(&slow, &mut Slow { world: &world, left: &stream, read: 0 }).unwrap();
    world.prune_often();
    assert!(restore_stream(&world.owner, report.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&world.owner, true, "after days");
    // what a run has left that died is garbage once its writer has another snapshot of the source
    let dying = Slow { world: &world, left: &stream[..1], read: 0 };
    let mut torn = dying.chain(Torn(noise(15, 2 << 20)));
    assert!(snapshot_reader(&slow, &mut torn).is_err());
    let before = stored_bytes(&world.store);
    world.prune_often();
    assert!(stored_bytes(&world.store) >= before);
    snapshot_stream(&slow, &noise(16, 1000)).unwrap();
    world.prune_often();
    assert!(stored_bytes(&world.store) < before - (1 << 20), "{before}");
}

/// Gives its bytes, and then an error.
struct Torn(Vec<u8>);

impl Read for Torn {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Err(std::io::Error::other("torn"));
        }
        let length = self.0.as_slice().read(buffer)?;
        self.0.drain(..length);
        Ok(length)
    }
}
