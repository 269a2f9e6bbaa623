//! A place whose objects are somebody else's, which are read and never written: what a source of the kind `bucket` is
//! taken from. It lists names with what tells whether they have changed, and reads ranges of objects as they were listed.
//! Invariant: nothing is ever put, deleted or swept there, and a listing that failed is an error and never a short one.

use super::bandwidth::Bandwidth;
use super::error::{Error, ErrorKind, Operation, Result};
use super::location::{Location, Remote, Scheme};
use super::opendal::{Extra, Opendal, modified};
use super::{BackendOptions, Counts};
use crate::runtime::{Locked, Runtime};
use crate::time::StoreTime;
use futures_core::Stream;
use opendal::raw::normalize_path;
use opendal::{EntryMode, Metadata};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;

/// The tag of an object without bytes in S3.
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What a listing has found under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// Content.
    File,
    /// A folder, or an object that stands for one: its name ends in `/`.
    Folder,
    /// Such an object that seems to have bytes. The client tells neither how many nor which, and of encrypted ones the
    /// tag does not say whether it has any.
    Marker,
    /// Something else, like a link.
    Other,
}

/// One object, as the listing tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its name below the place, as it is there.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Option<StoreTime>,
    /// What the store calls this state of it.
    pub etag: Option<Box<str>>,
}

impl Object {
    /// The tag, if it names these very bytes.
    pub fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.is_empty() && !etag.starts_with("W/"))
    }

    /// True if this can be the same state, as far as both tell. Some requests tell times in whole seconds.
    fn is_same(&self, other: &Self) -> bool {
        let second = |time: StoreTime| time.nanoseconds().div_euclid(1_000_000_000);
        let both = |one: Option<StoreTime>, other: Option<StoreTime>| one.zip(other);
        self.kind == other.kind
            && self.size == other.size
            && both(self.modified, other.modified).is_none_or(|(one, other)| second(one) == second(other))
            && self.etag.as_ref().zip(other.etag.as_ref()).is_none_or(|(one, other)| one == other)
    }
}

/// An open place. Callable from many threads at once.
pub struct Bucket {
    store: Opendal,
    place: String,
    remote: Remote,
    connections: usize,
    runtime: Runtime,
    counts: Locked<Counts>,
    download: Option<Bandwidth>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Opens the place at `location`; nothing is made there.
    pub fn open(location: &Location, options: &BackendOptions, runtime: &Runtime) -> Result<Self> {
        let Location::Remote(remote) = location else {
            let cause = "it is a folder of this machine: kind directory reads it";
            return Err(Error::new(ErrorKind::Unsupported, Operation::Open, "", cause).at(&location.to_string()));
        };
        let shown = location.to_string();
        let place = shown.split('?').next().unwrap_or(&shown).trim_end_matches('/').to_owned();
        let store = Opendal::connect(remote, options, runtime).map_err(|e| e.at(&place))?;
        let bucket = Self {
            store,
            place,
            remote: remote.clone(),
            connections: options.connections.unwrap_or_else(|| location.default_connections()).max(1),
            runtime: runtime.clone(),
            counts: Locked::default(),
            download: options.download.map(|rate| Bandwidth::new(rate, runtime.clone())),
        };
        bucket.store.prepare_root(false).map_err(|e| bucket.told(e))?;
        Ok(bucket)
    }

    /// The place, without options and secrets.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Where a repository lies below this place, by how its backend describes itself: empty if it is all of it, or this
    /// place lies in the repository; `None` if they have nothing in common.
    pub fn overlap(&self, described: &str) -> Option<String> {
        let Ok(Location::Remote(other)) = Location::parse(described) else { return None };
        let server = |remote: &Remote| (remote.scheme, remote.options.get("endpoint").cloned());
        if server(&other) != server(&self.remote) || other.authority != self.remote.authority {
            return None;
        }
        let below = |inner: &str, outer: &str| {
            let rest = if outer.is_empty() { Some(inner) } else { inner.strip_prefix(outer) }?;
            let is_part = rest.is_empty() || outer.is_empty() || rest.starts_with('/');
            is_part.then(|| rest.trim_start_matches('/').to_owned())
        };
        let (here, there) = (&self.remote.root, &other.root);
        below(there, here).or_else(|| below(here, there).map(|_| String::new()))
    }

    /// How many threads can read at once before they queue.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Requests made and bytes read so far.
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// True if an object of this name can be asked for: the client takes empty parts out of names, and blanks off their
    /// ends, and so would read another object.
    pub fn is_readable(&self, name: &str) -> bool {
        let path = self.store.path(name);
        normalize_path(&path) == path
    }

    /// All objects whose names begin with `prefix`, in no order.
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let start = self.start(prefix);
        let list = async |op: opendal::Operator| {
            let mut lister = op.lister_with(&start).recursive(true).await?;
            let mut objects = Vec::new();
            while let Some(entry) = poll_fn(|context| Pin::new(&mut lister).poll_next(context)).await {
                if self.runtime.is_stopped() {
                    return Err(opendal::Error::new(opendal::ErrorKind::Unexpected, "interrupted"));
                }
                objects.extend(self.object(&entry?).filter(|object| object.name.starts_with(prefix)));
            }
            Ok(objects)
        };
        self.counts.lock().list += 1;
        let objects = match self.store.run(Operation::List, prefix, Extra::LISTING, list) {
            // no folder of this name, perhaps
            Err(e) if e.kind == ErrorKind::NotFound && self.store.scheme().has_folders() => Vec::new(),
            found => found.map_err(|e| self.told(e))?,
        };
        if objects.is_empty() && self.store.scheme().has_folders() {
            self.store.check_root(Operation::List, prefix).map_err(|e| self.told(e))?;
        }
        Ok(objects)
    }

    /// Reads exactly these bytes of an object. If it is another by now, that is [`ErrorKind::Exists`] where the store can
    /// tell; elsewhere [`Self::is_unchanged`] tells.
    pub fn read(&self, object: &Object, range: Range<u64>) -> Result<Vec<u8>> {
        let (path, length) = (self.store.path(&object.name), range.end.saturating_sub(range.start));
        let etag = self.condition(object);
        let read = async |op: opendal::Operator| {
            let read = op.read_with(&path).range(range.clone());
            match etag {
                Some(etag) => read.if_match(etag).await,
                None => read.await,
            }
        };
        self.counts.lock().get += 1;
        let read = self.store.run(Operation::Get, &object.name, Extra::transfer(length), read);
        let bytes = read.map_err(|e| self.told(e))?.to_vec();
        if bytes.len() as u64 != length {
            let text = format!("the store sent {} bytes of {length}", bytes.len());
            return Err(self.told(Error::new(ErrorKind::Damaged, Operation::Get, &object.name, text)));
        }
        self.counts.lock().bytes_read += length;
        if let Some(limit) = &self.download {
            limit.spend(length);
        }
        Ok(bytes)
    }

    /// True if what `read` gives is of the object as it was listed, however many ranges are read.
    pub fn is_conditional(&self, object: &Object) -> bool {
        self.condition(object).is_some()
    }

    /// True if an object is still as it was listed.
    pub fn is_unchanged(&self, object: &Object) -> Result<bool> {
        Ok(self.look(&object.name)?.is_same(object))
    }

    /// Whether the place answers: not what one object lacks.
    pub fn check(&self) -> Result<()> {
        let start = self.start("");
        let first = async |op: opendal::Operator| {
            let mut lister = op.lister_with(&start).limit(1).await?;
            poll_fn(|context| Pin::new(&mut lister).poll_next(context)).await.transpose().map(drop)
        };
        self.counts.lock().list += 1;
        self.store.run(Operation::List, "", Extra::NONE, first).map_err(|e| self.told(e))
    }

    fn look(&self, name: &str) -> Result<Object> {
        let path = self.store.path(name);
        self.counts.lock().stat += 1;
        let meta = self.store.run(Operation::Stat, name, Extra::NONE, async |op| op.stat(&path).await);
        Ok(object(name, &meta.map_err(|e| self.told(e))?))
    }

    /// The tag to ask for. Stores that are known to take it: with the others the object is looked at again.
    fn condition<'o>(&self, object: &'o Object) -> Option<&'o str> {
        object.strong_etag().filter(|_| matches!(self.store.scheme(), Scheme::S3 | Scheme::Azblob))
    }

    fn object(&self, entry: &opendal::Entry) -> Option<Object> {
        let name = entry.path().strip_prefix(self.store.root())?;
        let is_root = name.is_empty() || name == "/" && self.store.scheme().has_folders();
        let mut object = (!is_root).then(|| object(name, entry.metadata()))?;
        let tag = object.etag.as_deref().map(|etag| etag.trim_matches('"')).unwrap_or_default();
        let is_digest = tag.len() == EMPTY_MD5.len() && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        if object.kind == ObjectKind::Folder && self.store.scheme() == Scheme::S3 && is_digest && tag != EMPTY_MD5 {
            object.kind = ObjectKind::Marker;
        }
        Some(object)
    }

    /// Where to list from for names that begin so: stores with folders list folders, and the client changes some names.
    fn start(&self, prefix: &str) -> String {
        let mut start = self.store.path(prefix);
        if self.store.scheme().has_folders() {
            start.truncate(start.rfind('/').map_or(0, |slash| slash + 1));
        }
        while !start.is_empty() && normalize_path(&start) != start {
            let above = start.trim_end_matches('/').rfind('/');
            start.truncate(above.map_or(0, |slash| slash + 1));
        }
        if start.is_empty() { "/".to_owned() } else { start }
    }

    fn told(&self, mut error: Error) -> Error {
        if error.kind == ErrorKind::NoPlace && self.store.scheme().has_folders() {
            error.cause = "the folder is missing".to_owned();
        }
        error.at(&self.place)
    }
}

fn object(name: &str, meta: &Metadata) -> Object {
    let kind = match meta.mode() {
        EntryMode::FILE => ObjectKind::File,
        EntryMode::DIR => ObjectKind::Folder,
        EntryMode::Unknown => ObjectKind::Other,
    };
    let etag = meta.etag().map(Box::from);
    Object { name: name.to_owned(), kind, size: meta.content_length(), modified: modified(meta), etag }
}
