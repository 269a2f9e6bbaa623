//! A store, a clock and a repository to try things on. The clock stands still until a test moves it, ten seconds ahead
//! of the machine's, so that files just written are old enough to be believed.

use crate::compare::compare;
use crate::simulated::Simulated;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use vault::backend::{Backend, BackendOptions, Store};
use vault::error::Result;
use vault::progress::Silent;
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::journal;
use vault::repository::objects::marks::Marks;
use vault::repository::objects::trust::Trust;
use vault::repository::write::writer::Writer;
use vault::repository::{Access, Address, NewRepository, Options, Reader, Repository};
use vault::runtime::{Clock, Runtime};
use vault::{backup, check, keys, list, repository, restore, source};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::{BlobId, BlobKind, ObjectId};
use vault_format::journal::Record;
use vault_format::list::{ChunkRef, Content};
use vault_format::name::{JOURNAL, Name};
use vault_format::slot::KDF_FLOOR;
use vault_format::snapshot::Head;
use vault_format::tree::{Node, NodeKind, TreePage, TreeRoot};

pub const PASSWORD: &[u8] = b"correct horse";
const SECOND: i64 = 1_000_000_000;

/// A clock that a test moves.
#[derive(Clone)]
pub struct Hand(pub Arc<AtomicI64>);

#[expect(clippy::new_without_default, reason = "a clock that is set to the time of the call is no default")]
impl Hand {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Clock::System.now().nanoseconds() + 10 * SECOND)))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        Clock::Manual(self.0.clone())
    }

    pub fn runtime(&self, seed: u64, workers: usize) -> Runtime {
        Runtime::seeded(seed, self.clock(), workers)
    }

    pub fn store(&self) -> Simulated {
        Simulated::new(self.clock(), Duration::ZERO, 1)
    }
}

pub fn backend(store: impl Store + 'static, runtime: &Runtime) -> Backend {
    Backend::from_store(Arc::new(store), &BackendOptions::default(), runtime)
}

pub fn cheap() -> NewRepository<'static> {
    NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(PASSWORD) }
}

/// A new repository; everything that follows in it comes from `runtime`.
pub fn init(store: impl Store + 'static, runtime: &Runtime) -> Repository {
    Repository::init(backend(store, runtime), runtime.clone(), Options::default(), cheap()).unwrap()
}

/// A new repository that shares its root, and so its blob ids, with another one.
pub fn init_like(store: impl Store + 'static, runtime: &Runtime, other: &Repository) -> Repository {
    let like = Some(other.keys().owner("test").unwrap().root().clone());
    let new = NewRepository { like, ..cheap() };
    Repository::init(backend(store, runtime), runtime.clone(), Options::default(), new).unwrap()
}

pub fn open(store: impl Store + 'static, runtime: &Runtime) -> repository::Result<Repository> {
    open_with(store, runtime, Options::default())
}

pub fn open_with(store: impl Store + 'static, runtime: &Runtime, options: Options) -> repository::Result<Repository> {
    Repository::open(backend(store, runtime), runtime.clone(), options, Access::Password(PASSWORD))
}

/// Opens a repository with a key file's bundle.
pub fn open_as(store: impl Store + 'static, runtime: &Runtime, bundle: &Bundle) -> repository::Result<Repository> {
    let access = Access::Bundle(Box::new(bundle.clone()));
    Repository::open(backend(store, runtime), runtime.clone(), Options::default(), access)
}

/// Adds a client or a writer that has a key file; gives its slot and its bundle.
pub fn member(repository: &Repository, role: Role, label: &str, domain: Option<&str>) -> (ObjectId, Bundle) {
    let new = keys::NewKey { role, label: Some(label.into()), domain: domain.map(str::to_owned) };
    let draft = keys::draft(repository, &new).unwrap();
    let slot = keys::add(repository, &draft, None, &Silent).unwrap();
    (slot, draft.bundle)
}

fn named(name: &str) -> backup::Options {
    backup::Options { name: name.into(), host: "host".into(), user: "user".into(), ..backup::Options::default() }
}

/// Moves a manual clock, so that no two snapshots have the same time.
pub fn tick(repository: &Repository) {
    if let Clock::Manual(_) = repository.runtime().clock {
        repository.runtime().clock.sleep(Duration::from_mins(1));
    }
}

pub fn snapshot_folder(repository: &Repository, folder: &Path) -> Result<backup::Report> {
    tick(repository);
    let source = backup::Source::Paths(vec![folder.to_owned()], source::Options::default());
    backup::backup(repository, source, &named("folder"), &Silent)
}

pub fn snapshot_stream(repository: &Repository, bytes: &[u8]) -> Result<backup::Report> {
    let mut input = bytes;
    snapshot_reader(repository, &mut input)
}

pub fn snapshot_reader(repository: &Repository, input: &mut dyn Read) -> Result<backup::Report> {
    tick(repository);
    let source = backup::Source::Stream(input, b"dump".to_vec());
    backup::backup(repository, source, &named("stream"), &Silent)
}

pub fn restore_folder(repository: &Repository, id: ObjectId, target: &Path) -> Result<restore::Report> {
    let catalog = list::snapshots(repository)?;
    let snapshot = catalog.snapshots.by_id(&id.to_string())?;
    let options = restore::Options { verify: true, ..restore::Options::default() };
    restore::restore(repository, &Address::new(&catalog, snapshot, b""), target, &options, &Silent)
}

pub fn restore_stream(repository: &Repository, id: ObjectId) -> Result<Vec<u8>> {
    let catalog = list::snapshots(repository)?;
    let snapshot = catalog.snapshots.by_id(&id.to_string())?;
    let mut out = Vec::new();
    restore::restore_to(repository, &Address::new(&catalog, snapshot, b""), false, &mut out, &Silent)?;
    Ok(out)
}

/// Restores a snapshot and compares it with the folder that it was taken of.
pub fn assert_restores(repository: &Repository, id: ObjectId, folder: &Path, context: &str) {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out");
    let report = restore_folder(repository, id, &target).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.failed.is_empty() && report.left.is_empty(), "{context}: {report:?}");
    let differences = compare(folder, &target);
    assert!(differences.is_empty(), "{context}: {differences:#?}");
}

pub fn check(repository: &Repository, read_data: bool) -> check::Report {
    let read = if read_data { check::Read::All } else { check::Read::Nothing };
    check::check(repository, &check::Options { read, ..check::Options::default() }, &Silent).unwrap()
}

pub fn assert_clean(repository: &Repository, read_data: bool, context: &str) {
    let report = check(repository, read_data);
    assert!(report.findings.is_empty(), "{context}: {:#?}", report.findings);
}

/// Bytes that don't compress, different for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A folder of its own that `fill` fills.
pub fn folder(fill: impl FnOnce(&Path)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    folder
}

/// All journal records, oldest first.
pub fn records(repository: &Repository) -> Vec<Record> {
    let trust = Trust::load(repository).unwrap();
    let listed = repository.backend().list(JOURNAL).unwrap().into_iter();
    let listed = listed.filter_map(|entry| Some((Name::parse(&entry.name)?, entry))).collect();
    let mut records = Vec::new();
    journal::visit(repository, &trust, listed, &mut |_, _, record| records.push(record)).unwrap();
    records.sort_by_key(|record: &Record| record.started);
    records
}

/// The same snapshot once more, signed by whoever has this key and a second later, in which each file at its root has
/// these bytes as often as they fit, or its own if there are none, and all that `stat` tells is as it was.
pub fn with_content(repository: &Repository, id: ObjectId, bytes: &[u8]) -> ObjectId {
    with_nodes(repository, id, |writer, node| {
        if let NodeKind::File { size, content: content @ Content::Inline(_), .. } = &mut node.kind
            && !bytes.is_empty()
        {
            let other: Vec<u8> = bytes.iter().copied().cycle().take(usize::try_from(*size).unwrap()).collect();
            let id = writer.put(BlobKind::Chunk, &other).unwrap();
            *content = Content::Inline(vec![ChunkRef { id, length: u32::try_from(*size).unwrap() }]);
        }
    })
}

/// The same, with what is changed of each node at its root.
pub fn with_nodes(repository: &Repository, id: ObjectId, mut change: impl FnMut(&mut Writer, &mut Node)) -> ObjectId {
    let catalog = list::snapshots(repository).unwrap();
    let entry = catalog.snapshots.by_id(&id.to_string()).unwrap();
    let lookup = catalog_of_packs(repository);
    let mut writer = Writer::new(repository, &lookup, entry.place.domain, &entry.head.source).unwrap();
    let page = Reader::new(repository, &lookup).blob(BlobKind::Tree, &entry.head.root.id).unwrap();
    let TreePage::Leaf(mut nodes) = TreePage::decode(&page).unwrap() else { panic!("it is small") };
    nodes.iter_mut().for_each(|node| change(&mut writer, node));
    let root = writer.put(BlobKind::Tree, &TreePage::Leaf(nodes).encode().unwrap()).unwrap();
    let root = TreeRoot { id: root, ..entry.head.root };
    let head = Head { time: entry.head.time + SECOND, root, ..entry.head.clone() };
    let body = entry.body(repository).unwrap();
    writer.flush().unwrap().commit(&head, &body).unwrap().id().unwrap()
}

/// Which blobs lie where, whoever stored them.
pub fn catalog_of_packs(repository: &Repository) -> BlobLookup {
    let trust = Trust::load(repository).unwrap();
    let objects = IndexObjects::load(repository, &trust, None).unwrap();
    assert!(objects.damaged.is_empty(), "{:?}", objects.damaged);
    BlobLookup::new(repository, objects, None, &Marks::default()).unwrap()
}

/// The ids of all blobs that index objects tell of.
pub fn blobs(repository: &Repository) -> BTreeSet<BlobId> {
    catalog_of_packs(repository).blobs().collect()
}

/// Bytes of all objects.
pub fn stored_bytes(store: &Simulated) -> u64 {
    store.objects().values().map(|bytes| bytes.len() as u64).sum()
}
