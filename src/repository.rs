//! All objects together, and the one owner of write order, blob lookup and the walk over stored trees. Operations are
//! free functions over `&Repository`; nothing here knows them. What the store says is believed only if the owner or a
//! writer that the owner announced signed it.

mod access;
mod error;
#[cfg(not(feature = "internals"))]
pub(crate) mod index;
#[cfg(feature = "internals")]
pub mod index;
pub(crate) mod keys;
#[cfg(not(feature = "internals"))]
pub(crate) mod lookup;
#[cfg(feature = "internals")]
pub mod lookup;
#[cfg(not(feature = "internals"))]
pub(crate) mod objects;
#[cfg(feature = "internals")]
pub mod objects;
#[cfg(not(feature = "internals"))]
pub(crate) mod protocol;
#[cfg(feature = "internals")]
pub mod protocol;
pub(crate) mod read;
#[cfg(not(feature = "internals"))]
pub(crate) mod tree;
#[cfg(feature = "internals")]
pub mod tree;
pub(crate) mod view;
#[cfg(not(feature = "internals"))]
pub(crate) mod write;
#[cfg(feature = "internals")]
pub mod write;

use crate::backend::{Backend, ErrorKind};
use crate::cache::Cache;
use crate::runtime::{Locked, Runtime};
use crate::time::{BootTime, StoreTime};
use crate::{backend, cache};
pub use access::create::NewRepository;
pub(crate) use access::opening;
pub use access::opening::probe;
pub use access::recover::{Recovered, Recovery};
pub use cache::Error as CacheError;
pub use error::{Doubt, Error, Hidden, Result};
pub use keys::Keys;
pub use objects::domains::Domains;
pub use objects::journal::Actor;
pub use objects::loaded::{Damage, Ignored, Reason};
pub use objects::orders::State as SnapshotState;
pub use objects::snapshots::{SnapshotEntry, Snapshots};
use objects::{foreign, journal};
use protocol::Protocol;
pub use read::reader::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
pub use tree::file::FileReader;
pub use tree::path::Address;
use vault_format::bundle::Bundle;
use vault_format::config::Config;
use vault_format::header::Header;
use vault_format::id::{ObjectId, RepositoryId, RunId};
use vault_format::mark::Mark;
use vault_format::name::Name;
use vault_format::order::Order;
use vault_format::slot::SlotInfo;
pub use view::View;

/// An object as a listing shows it.
pub(crate) type Listed = (Name, backend::Entry);

/// Names the object in a format error.
pub(crate) fn of_object<T>(object: impl fmt::Display, result: vault_format::Result<T>) -> Result<T> {
    result.map_err(|source| Error::Object { object: object.to_string(), source })
}

pub(crate) fn encoding<T>(what: &'static str, result: vault_format::Result<T>) -> Result<T> {
    result.map_err(|source| Error::Encode { what, source })
}

/// Limits of one process's use of a repository. Tests shrink the times.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time from the last look at marks to the commit (W).
    pub commit_window: Duration,
    /// Longest time that a listing may lag (D); `None` = what the store is known for.
    pub listing_lag: Option<Duration>,
    /// Error of clocks (e).
    pub clock_error: Duration,
    /// Time from condemning to deleting (G).
    pub grace: Duration,
    /// Longest time from a run's first look at the repository to its commit. Marks are kept for twice as long.
    pub run_lifetime: Duration,
    /// Bytes of plaintext and packs that may be in flight.
    pub memory_bytes: usize,
    /// Open every seal again before it is stored.
    pub verify_seals: bool,
    /// Who uses it, and why: told in the journal.
    pub actor: Actor,
    /// The order of steps, and what may be deleted. For tests that break it.
    #[doc(hidden)]
    pub protocol: Arc<dyn Protocol>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit_window: Duration::from_secs(600),
            listing_lag: None,
            clock_error: Duration::from_secs(60),
            grace: Duration::from_secs(24 * 3600),
            run_lifetime: Duration::from_secs(15 * 24 * 3600),
            memory_bytes: 96 << 20,
            verify_seals: cfg!(debug_assertions),
            actor: Actor::default(),
            protocol: Arc::new(protocol::Kept),
        }
    }
}

/// What opens a repository.
pub enum Access<'a> {
    /// A password, tried on every slot.
    Password(&'a [u8]),
    /// A key file's bundle.
    Bundle(Box<Bundle>),
}

/// An open repository: a handle, and every clone of it is the same repository.
#[derive(Clone)]
pub struct Repository(Arc<Opened>);

struct Opened {
    backend: Backend,
    runtime: Runtime,
    options: Options,
    config: Config,
    keys: Keys,
    cache: OnceLock<Arc<Cache>>,
    cache_counts: AtomicBool,
    store_clock: Locked<Option<StoreClock>>,
    known: Locked<Known>,
}

/// What this process has read and verified, by the hash of its bytes: asked for several times by most operations.
#[derive(Default)]
struct Known {
    slots: BTreeMap<ObjectId, SlotInfo>,
    /// `None` = for a domain whose key is not here.
    orders: BTreeMap<ObjectId, Option<Order>>,
    marks: BTreeMap<ObjectId, Mark>,
    /// Of journal records only who wrote them, and the snapshots, orders and records that they name.
    heads: BTreeMap<ObjectId, (Header, [Vec<ObjectId>; 3])>,
    /// The records of each month of the journal.
    months: BTreeMap<ObjectId, Vec<Name>>,
    /// Orders that no other one names, as they were read last.
    newest: Vec<ObjectId>,
    /// Orders that this process gave, and no record of an end names yet.
    given: BTreeSet<ObjectId>,
    /// Records that the next one of this process follows.
    records: Vec<ObjectId>,
}

#[derive(Clone, Copy)]
struct StoreClock {
    modified: StoreTime,
    /// Just before the object was put, and just after its time was told.
    before: BootTime,
    after: BootTime,
}

impl Repository {
    /// Opens a repository.
    pub fn open(backend: Backend, runtime: Runtime, options: Options, access: Access<'_>) -> Result<Self> {
        let stored = opening::config(&backend)?;
        let (slot, bundle) = match access {
            Access::Bundle(bundle) => (None, *bundle),
            Access::Password(password) => opening::slot(&backend, &stored, password)?,
        };
        if bundle.repository != stored.repository {
            return Err(Error::Object { object: "config".into(), source: vault_format::Error::WrongRepository });
        }
        if bundle.config != stored.hash {
            return Err(Error::ForeignConfig(backend.describe().to_owned()));
        }
        of_object("config", Config::open(&stored.bytes, Some(&bundle.owner.verifying)))?;
        Ok(Self::assemble(backend, runtime, options, (stored.config, Keys::new(bundle, slot))))
    }

    fn assemble(backend: Backend, runtime: Runtime, options: Options, (config, keys): (Config, Keys)) -> Self {
        Self(Arc::new(Opened {
            backend,
            runtime,
            options,
            config,
            keys,
            cache: OnceLock::new(),
            cache_counts: AtomicBool::new(true),
            store_clock: Locked::default(),
            known: Locked::default(),
        }))
    }

    /// Opens this machine's cache in a folder and uses it from now on; the first folder that opens stays.
    pub fn use_cache(&self, folder: &Path) -> std::result::Result<(), cache::Error> {
        let cache = Cache::open(folder, self.id(), self.keys().cache_key())?;
        self.0.cache.get_or_init(|| Arc::new(cache));
        Ok(())
    }

    /// Forgets what this machine saw here.
    pub(crate) fn forget_seen(&self) {
        self.0.cache.get().iter().for_each(|cache| cache.forget_seen());
    }

    /// From now on everything comes from the store: for operations that judge or delete what lies there.
    pub(crate) fn distrust_cache(&self) {
        self.0.cache_counts.store(false, Ordering::SeqCst);
    }

    /// The cache, if there is one to use.
    pub(crate) fn cache(&self) -> Option<&Arc<Cache>> {
        self.0.cache.get().filter(|_| self.0.cache_counts.load(Ordering::SeqCst))
    }

    /// The repository's identity.
    pub fn id(&self) -> RepositoryId {
        self.0.keys.repository()
    }

    /// Where it is, without secrets.
    pub fn location(&self) -> String {
        self.0.backend.describe().to_owned()
    }

    /// The keys in use.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The store.
    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Folders on this machine that are the repository itself, and what is kept of it: no source, and no target.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let store = self.0.backend.is_local().then(|| PathBuf::from(self.0.backend.describe()));
        let cache = self.cache().and_then(|cache| cache.folder()).map(PathBuf::from);
        store.into_iter().chain(cache).collect()
    }

    /// True if this came of a store that answers nothing any more, or is not there: whatever is asked next would fail too.
    pub fn is_silent(&self, error: &Error) -> bool {
        let is_silent = |error: &backend::Error| matches!(error.kind, ErrorKind::Unreachable | ErrorKind::NoPlace);
        let asked_again = || self.0.backend.stat(&Name::Config.to_string()).is_err_and(|error| is_silent(&error));
        error.backend().is_some_and(is_silent) && asked_again()
    }

    /// Clock and randomness.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// Limits in use.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The protocol that is kept.
    pub(crate) fn protocol(&self) -> &dyn Protocol {
        &*self.0.options.protocol
    }

    /// The shortest grace of a mark that no writer at work can suffer from: 2 (W + 2 D + e).
    pub fn shortest_grace(&self) -> Duration {
        (self.0.options.commit_window + 2 * self.listing_lag() + self.0.options.clock_error) * 2
    }

    /// How long a listing may show what was before (D).
    pub fn listing_lag(&self) -> Duration {
        self.0.options.listing_lag.unwrap_or_else(|| self.0.backend.listing_lag())
    }

    /// Settings of the repository.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Puts an object under the name that its bytes give.
    pub(crate) fn put(&self, name: &Name, bytes: &[u8]) -> Result<()> {
        self.0.backend.put(&name.to_string(), bytes)?;
        // the next run will ask for it; what a month holds is deleted once the store has shown the month
        if matches!(name, Name::Index(..) | Name::Snapshot(..) | Name::Journal(..))
            && let Some(cache) = self.far_cache()
        {
            cache.keep_object(&name.to_string(), bytes);
        }
        Ok(())
    }

    /// The cache, where it is nearer than the store.
    fn far_cache(&self) -> Option<&Arc<Cache>> {
        self.cache().filter(|_| !self.0.backend.is_local())
    }

    /// Gets an object and compares its bytes with its name.
    pub(crate) fn get_named(&self, name: &Name) -> Result<Vec<u8>> {
        let Some(id) = name.id() else { return Ok(self.0.backend.get(&name.to_string(), None)?) };
        let is_of_journal = matches!(name, Name::Journal(..) | Name::Month(..));
        let is_kept =
            is_of_journal || matches!(name, Name::Index(..) | Name::Snapshot(..) | Name::Order(_) | Name::Mark(_));
        let cache = self.far_cache().filter(|_| is_kept);
        if let Some(bytes) = cache.and_then(|cache| cache.object(&name.to_string()))
            && ObjectId::of(&bytes) == id
        {
            return Ok(bytes);
        }
        let bytes = self.0.backend.get(&name.to_string(), None)?;
        if ObjectId::of(&bytes) != id {
            return Err(Error::Rot(name.to_string()));
        }
        if !foreign::is_formed(name, &bytes) {
            return of_object(name, Err(vault_format::Error::BadSignature("an object without its form")));
        }
        if let Some(cache) = cache {
            cache.keep_object(&name.to_string(), &bytes);
        }
        Ok(bytes)
    }

    /// Verifies the signature of an object whose bytes were compared with its name, unless this machine has done so.
    pub(crate) fn verify_once(
        &self,
        name: &Name,
        signer: &[u8; 32],
        verify: impl FnOnce() -> vault_format::Result<()>,
    ) -> vault_format::Result<()> {
        match (self.cache(), name.id()) {
            (Some(cache), Some(id)) => cache.verify_once(&id, signer, verify),
            _ => verify(),
        }
    }

    /// What an object says: known to this process, or read and judged now.
    fn once<T: Clone>(
        &self,
        name: &Name,
        of: fn(&mut Known) -> &mut BTreeMap<ObjectId, T>,
        read: impl FnOnce(&[u8]) -> vault_format::Result<T>,
    ) -> Result<T> {
        let Some(id) = name.id() else { return of_object(name, Err(vault_format::Error::WrongKind)) };
        if let Some(known) = of(&mut self.0.known.lock()).get(&id) {
            return Ok(known.clone());
        }
        let said = of_object(name, read(&self.get_named(name)?))?;
        of(&mut self.0.known.lock()).insert(id, said.clone());
        Ok(said)
    }

    /// Lists a prefix; what is not vault's comes back as paths in the second part.
    pub(crate) fn list(&self, prefix: &str) -> Result<(Vec<Listed>, Vec<String>)> {
        let mut known = Vec::new();
        let mut unknown = Vec::new();
        let listed = self.0.backend.list(prefix)?;
        if let Some(cache) = self.far_cache() {
            cache.retain_objects(prefix, &listed.iter().map(|entry| entry.name.clone()).collect());
        }
        for entry in listed {
            match Name::parse(&entry.name) {
                Some(name) => known.push((name, entry)),
                None => unknown.push(entry.name),
            }
        }
        Ok((known, unknown))
    }

    /// The store's clock now: from an object that this process has just put, plus the time since, suspend included. It
    /// may be later than this by as long as that put took; see [`Repository::store_now_at_most`].
    pub(crate) fn store_now(&self) -> Result<StoreTime> {
        let clock = self.store_clock()?;
        Ok(self.store_time(clock, clock.after))
    }

    /// What the store's clock shows now at most: whoever must not take for young what is old asks for this.
    pub(crate) fn store_now_at_most(&self) -> Result<StoreTime> {
        let clock = self.store_clock()?;
        Ok(self.store_time(clock, clock.before))
    }

    /// What the store's clock shows now if this machine's is right: for what a wrong clock may decide.
    pub(crate) fn presumed_store_now(&self) -> StoreTime {
        StoreTime::from_wall(self.0.runtime.clock.now())
    }

    fn store_time(&self, clock: StoreClock, told: BootTime) -> StoreTime {
        self.protocol().store_time(clock.modified, self.0.runtime.clock.elapsed().since(told))
    }

    fn store_clock(&self) -> Result<StoreClock> {
        let mut clock = self.0.store_clock.lock();
        if let Some(known) = *clock {
            return Ok(known);
        }
        let before = self.0.runtime.clock.elapsed();
        let name = journal::put_begun(self, RunId(self.0.runtime.random()), "clock", Vec::new())?;
        let stat = self.0.backend.stat(&name.to_string())?;
        // a store without times: this machine's clock has to serve
        let modified = stat.modified.unwrap_or_else(|| self.presumed_store_now());
        let told = StoreClock { modified, before, after: self.0.runtime.clock.elapsed() };
        // one that a suspend has blurred serves once
        *clock = Some(told).filter(|told| told.after.since(before) <= self.0.options.commit_window);
        Ok(told)
    }
}
