//! A backend: the place that keeps a repository's objects, behind one concrete type.
//! The repository calls `Backend`; below it one blocking trait, `Store`, has an implementation per kind of place, and
//! wrappers that break or record it. Invariant: an object is visible whole or not at all, it is never replaced by other
//! bytes, and a missing root is an error and never an empty listing.

mod bandwidth;
pub mod bucket;
pub mod error;
mod leftovers;
mod local;
pub mod location;
pub mod nearby;
mod opendal;
mod recent;
#[cfg(feature = "cloud")]
mod transport;
mod wording;

use crate::runtime::{Locked, Runtime};
use crate::time::StoreTime;
use bandwidth::Bandwidth;
use recent::Recent;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use bucket::Bucket;
pub use error::{Error, ErrorKind, Operation, Result};
pub use location::Location;

/// What a store says about one object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Stored bytes.
    pub size: u64,
    /// When it was written; `None` where the store keeps no times.
    pub modified: Option<StoreTime>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The object's name, from the root, with `/` between its parts.
    pub name: String,
    /// Stored bytes.
    pub size: u64,
    /// When it was written; `None` where the store keeps no times.
    pub modified: Option<StoreTime>,
}

/// Unfinished files that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What every kind of place can do. Blocking, and callable from many threads at once.
pub trait Store: Send + Sync {
    /// Creates an object. An existing one with the same bytes is success, with other bytes [`ErrorKind::Exists`].
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Reads an object or a range of it; a range that the object does not fill is [`ErrorKind::Damaged`].
    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>>;
    /// Size and time of an object.
    fn stat(&self, name: &str) -> Result<Stat>;
    /// Every object below `prefix` (empty, or ending in `/`), sorted by name.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>>;
    /// Removes an object; a missing one is success.
    fn delete(&self, name: &str) -> Result<()>;
    /// Makes these folders, where the place has any: whoever looks at it finds all that there can be. Without them
    /// nothing is amiss.
    fn lay_out(&self, _folders: &[&str]) {}
    /// What the place can't promise, in words.
    fn caveat(&self) -> Option<String> {
        None
    }
    /// Removes what writers have left unfinished and nobody lists, but for what this process is writing.
    fn remove_unfinished(&self) -> Result<Leftovers> {
        Ok(Leftovers::default())
    }
    /// The place, for messages; without secrets.
    fn describe(&self) -> String;
    /// Whether reading costs no network.
    fn is_local(&self) -> bool;
    /// Bytes that are free, if the place tells.
    fn free(&self) -> Option<u64> {
        None
    }
    /// The longest time that a listing may lag behind puts and deletes (D of the protocol).
    fn listing_lag(&self) -> Duration;
}

/// How to reach a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendOptions {
    /// Time for one operation with all its retries; large objects get more while the server answers.
    pub timeout: Duration,
    /// Requests in flight at once; `None` is 8, and 4 for sftp, whose servers refuse more.
    pub connections: Option<usize>,
    /// Ceiling on bytes sent per second.
    pub upload: Option<u64>,
    /// Ceiling on bytes received per second.
    pub download: Option<u64>,
    /// Whether a missing root folder may be created: only `init` says so.
    pub create: bool,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(90), connections: None, upload: None, download: None, create: false }
    }
}

/// Requests made and bytes moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Objects written.
    pub put: u64,
    /// Reads of objects or ranges.
    pub get: u64,
    /// Look-ups.
    pub stat: u64,
    /// Listings.
    pub list: u64,
    /// Deletions.
    pub delete: u64,
    /// Bytes of successful puts.
    pub bytes_written: u64,
    /// Bytes of successful gets.
    pub bytes_read: u64,
}

struct Inner {
    store: Arc<dyn Store>,
    location: String,
    connections: usize,
    /// Every operation that goes on now has a handle of this.
    busy: Arc<()>,
    counts: Locked<Counts>,
    upload: Option<Bandwidth>,
    download: Option<Bandwidth>,
    recent: Recent,
}

/// An open backend. Cheap to clone; clones share counters and limits.
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("location", &self.inner.location).finish_non_exhaustive()
    }
}

impl Backend {
    /// Opens the place at `location`. A folder that is not there is an error unless `options.create`.
    pub fn open(location: &Location, options: &BackendOptions, runtime: &Runtime) -> Result<Self> {
        let shown = location.to_string();
        let store: Result<Arc<dyn Store>> = match location {
            Location::Local(path) => {
                local::Local::open(path, options.create, runtime).map(|store| Arc::new(store) as _)
            }
            Location::Remote(remote) => {
                opendal::Opendal::open(remote, options, runtime).map(|store| Arc::new(store) as _)
            }
        };
        let store = store.map_err(|e| e.at(&shown))?;
        let connections = options.connections.unwrap_or_else(|| location.default_connections());
        Ok(Self::assemble(store, connections, options, runtime))
    }

    /// A backend over any store: for tests, and for wrapped stores.
    pub fn from_store(store: Arc<dyn Store>, options: &BackendOptions, runtime: &Runtime) -> Self {
        Self::assemble(store, options.connections.unwrap_or(8), options, runtime)
    }

    fn assemble(store: Arc<dyn Store>, connections: usize, options: &BackendOptions, runtime: &Runtime) -> Self {
        let limit = |rate: Option<u64>| rate.map(|rate| Bandwidth::new(rate, runtime.clone()));
        let (upload, download) = (limit(options.upload), limit(options.download));
        let location = store.describe();
        let recent = Recent::new(runtime.clock.clone(), store.listing_lag());
        let connections = connections.max(1);
        let (busy, counts) = (Arc::new(()), Locked::default());
        Self { inner: Arc::new(Inner { store, location, connections, busy, counts, upload, download, recent }) }
    }

    /// Creates an object. An existing one with the same bytes is success, with other bytes [`ErrorKind::Exists`].
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.valid_name(Operation::Put, name)?;
        let _busy = Arc::clone(&self.inner.busy);
        if let Some(limit) = &self.inner.upload {
            limit.spend(bytes.len() as u64);
        }
        self.inner.counts.lock().put += 1;
        self.inner.store.put(name, bytes).map_err(|e| e.at(&self.inner.location))?;
        self.inner.counts.lock().bytes_written += bytes.len() as u64;
        self.inner.recent.note(name, Some(bytes.len() as u64));
        Ok(())
    }

    /// Reads an object, or exactly the bytes of `range`; fewer are [`ErrorKind::Damaged`], never a short answer.
    pub fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.valid_name(Operation::Get, name)?;
        if range.as_ref().is_some_and(|r| r.start > r.end) {
            return Err(self.refused(Operation::Get, name, "the range ends before it starts"));
        }
        self.inner.counts.lock().get += 1;
        let _busy = Arc::clone(&self.inner.busy);
        let wanted = range.as_ref().map(|r| r.end - r.start);
        let bytes = self.inner.store.get(name, range).map_err(|e| e.at(&self.inner.location))?;
        if wanted.is_some_and(|wanted| wanted != bytes.len() as u64) {
            let text = format!("the store sent {} bytes of {}", bytes.len(), wanted.unwrap_or_default());
            return Err(Error::new(ErrorKind::Damaged, Operation::Get, name, text).at(&self.inner.location));
        }
        self.inner.counts.lock().bytes_read += bytes.len() as u64;
        if let Some(limit) = &self.inner.download {
            limit.spend(bytes.len() as u64);
        }
        Ok(bytes)
    }

    /// Size and time of an object.
    pub fn stat(&self, name: &str) -> Result<Stat> {
        self.valid_name(Operation::Stat, name)?;
        self.inner.counts.lock().stat += 1;
        let _busy = Arc::clone(&self.inner.busy);
        self.inner.store.stat(name).map_err(|e| e.at(&self.inner.location))
    }

    /// Every object below `prefix` (empty, or ending in `/`), sorted by name; own changes show at once, others after the
    /// listing lag. No such folder is an empty list; no such root is an error.
    pub fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        match prefix.strip_suffix('/') {
            Some(folder) => self.valid_name(Operation::List, folder)?,
            None if prefix.is_empty() => {}
            None => return Err(self.refused(Operation::List, prefix, "a prefix ends in '/'")),
        }
        self.inner.counts.lock().list += 1;
        let _busy = Arc::clone(&self.inner.busy);
        let listed = self.inner.store.list(prefix).map_err(|e| e.at(&self.inner.location))?;
        Ok(self.inner.recent.apply(prefix, listed))
    }

    /// Removes an object; a missing one is success.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.valid_name(Operation::Delete, name)?;
        self.inner.counts.lock().delete += 1;
        let _busy = Arc::clone(&self.inner.busy);
        self.inner.store.delete(name).map_err(|e| e.at(&self.inner.location))?;
        self.inner.recent.note(name, None);
        Ok(())
    }

    /// Removes what other processes have left unfinished: right only while nobody else writes.
    pub fn remove_unfinished(&self) -> Result<Leftovers> {
        self.inner.store.remove_unfinished().map_err(|e| e.at(&self.inner.location))
    }

    /// Whether an operation goes on right now.
    pub fn is_busy(&self) -> bool {
        Arc::strong_count(&self.inner.busy) > 1
    }

    /// Requests made and bytes moved since this backend was opened.
    pub fn counts(&self) -> Counts {
        *self.inner.counts.lock()
    }

    /// The place, for messages; without secrets.
    pub fn describe(&self) -> &str {
        &self.inner.location
    }

    /// Whether reading costs no network.
    pub fn is_local(&self) -> bool {
        self.inner.store.is_local()
    }

    /// The longest time that a listing may lag behind puts and deletes (D of the protocol).
    pub fn listing_lag(&self) -> Duration {
        self.inner.store.listing_lag()
    }

    /// What the place can't promise, in words; nothing for most.
    pub fn caveat(&self) -> Option<String> {
        self.inner.store.caveat()
    }

    /// Makes the folders of a new repository, where the place has any.
    pub(crate) fn lay_out(&self, folders: &[&str]) {
        self.inner.store.lay_out(folders);
    }

    /// Bytes that are free in the place, if it tells.
    pub fn free(&self) -> Option<u64> {
        self.inner.store.free()
    }

    /// How many threads can use this backend at once before they queue.
    pub fn connections(&self) -> usize {
        self.inner.connections
    }

    fn refused(&self, operation: Operation, name: &str, text: &str) -> Error {
        Error::new(ErrorKind::Other, operation, name, text).at(&self.inner.location)
    }

    /// Names come from listings too, so a hostile store must not lead a local path out of its root.
    fn valid_name(&self, operation: Operation, name: &str) -> Result<()> {
        let part_ok = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']);
        // What lies in `tmp/` is unfinished and belongs to the stores.
        let own = name == "tmp" || name.starts_with("tmp/");
        if !own && name.split('/').all(part_ok) {
            Ok(())
        } else {
            Err(self.refused(operation, name, "not an object name"))
        }
    }
}
