//! A repository of a few kilobytes that has one of everything: two roles, several snapshots, orders, a mark, a journal.

use std::fs;
use tempfile::TempDir;
use testkit::simulated::Simulated;
use testkit::world::{Hand, PASSWORD, backend, folder, init, noise, snapshot_folder, snapshot_stream, tick};
use vault::backend::Store;
use vault::progress::Silent;
use vault::repository::objects::orders;
use vault::repository::{Access, Address, Options, Repository};
use vault::{error, list, repository, restore};
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::id::{Class, ObjectId};
use vault_format::key::Key;
use vault_format::mark::Mark;
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::salt::Salt;
use vault_format::slot::{self, NewSlot, Slot};

/// The small repository and what was put into it.
pub struct Small {
    pub hand: Hand,
    pub store: Simulated,
    pub folder: TempDir,
    pub stream: Vec<u8>,
    /// The owner's folder in its first and its last state, and the client's stream.
    pub ids: [ObjectId; 3],
    /// Every snapshot with what [`flat`] must give.
    pub contents: Vec<(ObjectId, Vec<u8>)>,
    pub owner: Bundle,
    pub client: Bundle,
}

impl Small {
    pub fn new() -> Self {
        let (hand, stream) = (Hand::new(), noise(3, 500));
        let store = hand.store();
        let repository = init(store.clone(), &hand.runtime(1, 0));
        let client = add_member(&store, &repository, Role::Client);
        let folder = folder(|root| {
            fs::create_dir(root.join("sub")).unwrap();
            fs::write(root.join("sub/one"), noise(2, 800)).unwrap();
            fs::write(root.join("two"), &stream).unwrap();
        });
        let first = snapshot_folder(&repository, folder.path()).unwrap();
        fs::write(folder.path().join("three"), noise(4, 300)).unwrap();
        let last = snapshot_folder(&repository, folder.path()).unwrap();
        let member = open_as(store.clone(), &hand, 2, client.clone()).unwrap();
        // content of the folder in another domain: nobody else's copy may hide that it is lost
        let own = snapshot_stream(&member, &stream).unwrap();
        let ids = [first, last, own].map(|report| report.snapshot.unwrap());
        let domain = repository.keys().domain();
        tick(&repository);
        orders::put(&repository, domain, Action::Hold(vec![ids[0]])).unwrap();
        orders::put(
            &repository,
            domain,
            Action::Tag { snapshots: ids[..2].into(), add: vec!["t".into()], remove: vec![] },
        )
        .unwrap();
        let gone = (Class::Data, ObjectId([7; 32]));
        let mark = Mark::Condemn { packs: vec![gone], snapshots: Vec::new(), grace: 24 * 3600 * 1_000_000_000 };
        let mark = mark.seal(repository.id(), repository.keys().signer(), &[7; 32]).unwrap();
        store.put(&Name::Mark(ObjectId::of(&mark)).to_string(), &mark).unwrap();
        let (slot, _) = owner_slot(&store);
        let owner = Slot::parse(&slot).unwrap().open(PASSWORD).unwrap();
        let mut small = Self { hand, store, folder, stream, ids, contents: Vec::new(), owner, client };
        let repository = small.open(small.store.snapshot(3), 3).unwrap();
        small.contents = small.ids.iter().map(|id| (*id, flat(&repository, *id).unwrap())).collect();
        small
    }

    /// Opens a store with the owner's keys.
    pub fn open(&self, store: impl Store + 'static, seed: u64) -> repository::Result<Repository> {
        open_as(store, &self.hand, seed, self.owner.clone())
    }

    pub fn names(&self) -> Vec<Name> {
        self.store.objects().keys().map(|name| Name::parse(name).unwrap()).collect()
    }

    pub fn without(&self, name: &Name) -> Simulated {
        let copy = self.store.snapshot(2);
        assert!(copy.remove(&name.to_string()));
        copy
    }
}

/// The only slot that a password opens, and its name.
fn owner_slot(store: &Simulated) -> (Vec<u8>, String) {
    let slots = store.objects().into_iter().filter(|(name, _)| name.starts_with("keys/"));
    let found =
        slots.map(|(name, bytes)| (bytes, name)).find(|(bytes, _)| Slot::parse(bytes).unwrap().info.kdf.is_some());
    found.unwrap()
}

pub fn open_as(store: impl Store + 'static, hand: &Hand, seed: u64, bundle: Bundle) -> repository::Result<Repository> {
    let runtime = hand.runtime(seed, 0);
    Repository::open(backend(store, &runtime), runtime, Options::default(), Access::Bundle(Box::new(bundle)))
}

/// Adds a key with a domain of its own, as a file without a password.
pub fn add_member(store: &impl Store, repository: &Repository, role: Role) -> Bundle {
    let owner = repository.keys().owner("add a key").unwrap();
    let domain = owner.domain(&role.to_string());
    let signing = Key::new(repository.runtime().random());
    let verifying = signing.signing_key().verifying_key().to_bytes();
    let bundle = owner.member_bundle(repository.keys().config(), domain, signing, role).unwrap();
    assert!(matches!(bundle.keys, BundleKeys::Member { .. }));
    let new = NewSlot { bundle: &bundle, label: "member".into(), created: 0, domain, verifying };
    let stored =
        slot::seal(&new, None, Salt::Fresh(repository.runtime().random()), repository.keys().signer()).unwrap();
    store.put(&Name::Slot(ObjectId::of(&stored)).to_string(), &stored).unwrap();
    bundle
}

/// A snapshot in memory: the file of a stream, or everything as a tar archive.
pub fn flat(repository: &Repository, id: ObjectId) -> error::Result<Vec<u8>> {
    flat_of(repository, &list::snapshots(repository)?, id)
}

/// The same out of a catalog that is loaded already.
pub fn flat_of(repository: &Repository, catalog: &vault::repository::View, id: ObjectId) -> error::Result<Vec<u8>> {
    let snapshot = catalog.snapshots.by_id(&id.to_string())?;
    let mut out = Vec::new();
    let tar = snapshot.head.source == "folder";
    restore::restore_to(repository, &Address::new(catalog, snapshot, b""), tar, &mut out, &Silent)?;
    Ok(out)
}
