//! Somebody takes a machine over and has its key. Every key that follows from it is tried on everything that is stored:
//! a writer's opens no content at all, a client's that of its domain, and the same search with the owner's opens all.

use std::collections::BTreeSet;
use testkit::simulated::Simulated;
use testkit::world::{Hand, folder, init, member, noise, open_as, snapshot_folder, snapshot_stream};
use vault::repository::Repository;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::envelope::{RunSecret, SealingKey, Wraps};
use vault_format::frame::FrameSeal;
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, DomainId};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::SignedObject;
use vault_format::owner::OwnerKeys;
use vault_format::pack::PackEnd;
use vault_format::snapshot::Snapshot;

/// Every context of key derivation that the format knows.
const CONTEXTS: &[&str] = &[
    "vault v1 id key",
    "vault v1 gear key",
    "vault v1 owner sealing seed",
    "vault v1 owner signing seed",
    "vault v1 domain id",
    "vault v1 domain book key",
    "vault v1 domain read key",
    "vault v1 domain wrap",
    "vault v1 source label",
    "vault v1 section",
    "vault v1 class key",
    "vault v1 pack key",
    "vault v1 body key",
    "vault v1 padding",
    "vault v1 slot wrap",
    "vault v1 slot commitment",
];

/// A sealed thing that holds content.
enum Content {
    Frame { pack: Header, wraps: Wraps, salt: [u8; 32], seal: FrameSeal, sealed: Vec<u8> },
    Body { header: Header, stored: Vec<u8> },
}

struct Sealed {
    domain: DomainId,
    content: Content,
}

/// Everything in the store that holds content; the owner's keys only tell where frames begin.
fn sealed(store: &Simulated, owner: &OwnerKeys) -> Vec<Sealed> {
    let mut out = Vec::new();
    for (name, stored) in store.objects() {
        match Name::parse(&name).unwrap() {
            Name::Pack(class, _) => {
                let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
                let pack = Header::decode(&stored, kind, owner.repository()).unwrap();
                let end = PackEnd::parse(&stored, stored.len() as u64).unwrap();
                let directory = end.directory(&pack, &owner.book(pack.domain)).unwrap();
                let mut frames = BTreeSet::new();
                for place in directory.places().into_iter().filter(|place| frames.insert(place.frame)) {
                    let frame = &directory.frames[place.frame as usize];
                    let from = place.offset as usize;
                    let sealed = stored[from..from + frame.stored as usize].to_vec();
                    let seal = frame.seal(&pack, class, place.plain);
                    let (wraps, salt) = (end.wraps.clone(), end.salt);
                    out.push(Sealed {
                        domain: pack.domain,
                        content: Content::Frame { pack, wraps, salt, seal, sealed },
                    });
                }
            }
            Name::Snapshot(domain, ..) => {
                let header = *Snapshot::parse(&stored, owner.repository()).unwrap().header();
                out.push(Sealed { domain, content: Content::Body { header, stored } });
            }
            _ => {}
        }
    }
    out
}

/// All that a bundle holds, secret or not, and all that follows from it in one step.
fn keys_of(bundle: &Bundle, domains: &[DomainId]) -> Vec<Key> {
    let mut first = vec![bundle.owner.verifying, bundle.config.0];
    match &bundle.keys {
        BundleKeys::Owner { root } => first.push(*root.expose()),
        BundleKeys::Member { id_key, gear_key, book, read, signing, .. } => {
            let held = [Some(id_key), Some(gear_key), Some(book), read.as_ref(), Some(signing)];
            first.extend(held.into_iter().flatten().map(|key| *key.expose()));
        }
    }
    let mut all: Vec<Key> = first.into_iter().map(Key::new).collect();
    for key in all.clone() {
        for context in CONTEXTS {
            all.push(key.derive(context, &[]));
            all.push(key.derive(context, &[&bundle.repository.0]));
            all.extend(domains.iter().map(|domain| key.derive(context, &[&bundle.repository.0, &domain.0])));
        }
    }
    all
}

/// The run secrets that a key opens, as whatever it may be.
fn secrets(key: &Key, sealing: &SealingKey, wraps: &Wraps, header: &Header, domains: &[DomainId]) -> Vec<RunSecret> {
    let scope = header.scope();
    let as_member = domains.iter().filter_map(|domain| RunSecret::open_as_member(wraps, *domain, key, &scope).ok());
    let as_owner = RunSecret::open_as_owner(wraps, sealing, &scope).ok();
    as_member.chain(as_owner).chain([RunSecret::new(*key.expose())]).collect()
}

fn opens(content: &Content, key: &Key, sealing: &SealingKey, domains: &[DomainId]) -> bool {
    match content {
        Content::Frame { pack, wraps, salt, seal, sealed } => {
            let found = secrets(key, sealing, wraps, pack, domains);
            seal.open(key, sealed).is_ok()
                || found.iter().any(|secret| seal.open(&secret.pack_key(seal.class, salt), sealed).is_ok())
        }
        Content::Body { header, stored } => {
            let snapshot = Snapshot::parse(stored, header.repository).unwrap();
            let object = SignedObject::parse(stored, Kind::Snapshot, Some(header.repository)).unwrap();
            let found = secrets(key, sealing, &snapshot.wraps, header, domains);
            object.open(key, 2, &[], "a body").is_ok() || found.iter().any(|secret| snapshot.body(secret).is_ok())
        }
    }
}

/// How many of the things of each domain a bundle opens, and how many there are.
fn opened(all: &[Sealed], bundle: &Bundle, domains: &[DomainId]) -> Vec<(usize, usize)> {
    let keys: Vec<(Key, SealingKey)> =
        keys_of(bundle, domains).into_iter().map(|key| (key.clone(), SealingKey::from_seed(&key))).collect();
    let count = |domain: &DomainId| {
        let here: Vec<&Sealed> = all.iter().filter(|one| one.domain == *domain).collect();
        let any = |one: &&&Sealed| keys.iter().any(|(key, sealing)| opens(&one.content, key, sealing, domains));
        (here.iter().filter(any).count(), here.len())
    };
    domains.iter().map(count).collect()
}

fn store_something(repository: &Repository, seed: u64) {
    let source = folder(|root| {
        std::fs::create_dir(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/secret"), noise(seed, 9_000)).unwrap();
    });
    snapshot_folder(repository, source.path()).unwrap();
    snapshot_stream(repository, &noise(seed + 1, 9_000)).unwrap();
}

#[test]
fn a_key_opens_what_its_role_says_and_no_more() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    store_something(&owner, 10);
    let mut domains = vec![owner.keys().domain()];
    let mut bundles = Vec::new();
    for (seed, role) in [(20, Role::Client), (30, Role::Writer)] {
        let (_, bundle) = member(&owner, role, &role.to_string(), None);
        let repository = open_as(store.clone(), &hand.runtime(seed, 0), &bundle).unwrap();
        store_something(&repository, seed);
        domains.push(repository.keys().domain());
        bundles.push(bundle);
    }
    let keys = owner.keys().owner("look").unwrap();
    let all = sealed(&store, keys);
    let totals = opened(&all, &keys.bundle(owner.keys().config()), &domains);
    // two snapshots each, and at least a frame of data and one of trees for each
    assert!(totals.iter().all(|(open, total)| open == total && *total >= 6), "the owner: {totals:?}");
    let none = |domain: usize| (0, totals[domain].1);
    assert_eq!(opened(&all, &bundles[0], &domains), [none(0), totals[1], none(2)], "the client");
    assert_eq!(opened(&all, &bundles[1], &domains), [none(0), none(1), none(2)], "the writer");
}

/// The bytes of a member's bundle hold no key of the owner or of another domain, and a writer's no key to content.
#[test]
fn a_bundle_holds_no_key_of_others() {
    let hand = Hand::new();
    let owner = init(hand.store(), &hand.runtime(1, 0));
    let (_, client) = member(&owner, Role::Client, "client", None);
    let (_, writer) = member(&owner, Role::Writer, "writer", None);
    let keys = owner.keys().owner("look").unwrap();
    let (home, other) = (owner.keys().domain(), keys.domain("client"));
    let scoped = |context| keys.root().derive(context, &[&keys.repository().0]);
    let mut secrets = vec![keys.root().clone(), keys.signing(), scoped("vault v1 owner sealing seed")];
    secrets.extend([keys.book(home), keys.read(home)]);
    let sealing = SealingKey::from_seed(&secrets[2]).public_bytes();
    assert_eq!(sealing, client.owner.sealing, "the seed is the owner's");
    let holds = |bundle: &Bundle, key: &Key| bundle.encode().unwrap().windows(32).any(|window| window == key.expose());
    assert!(holds(&client, &keys.read(other)), "what is looked for is found");
    secrets.iter().for_each(|key| assert!(!holds(&client, key)));
    secrets.extend([keys.book(other), keys.read(other), keys.read(keys.domain("writer"))]);
    secrets.iter().for_each(|key| assert!(!holds(&writer, key)));
    assert!(matches!(&writer.keys, BundleKeys::Member { read: None, .. }));
    assert_eq!((client.role(), writer.role()), (Role::Client, Role::Writer));
}
