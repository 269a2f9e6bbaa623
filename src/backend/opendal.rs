//! Every remote place, through Apache OpenDAL. Async lives and ends here: a small runtime of its own runs the
//! requests, callers block. Invariant: an operation ends in its budget of time with a final error, or goes on only
//! while the server answers; and a put never replaces other bytes where the store can be asked not to.

use super::error::{Error, ErrorKind, Operation, Result};
use super::location::{Remote, Scheme};
use super::{BackendOptions, Entry, Stat, Store, wording};
use crate::runtime::Runtime;
use crate::time::StoreTime;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{Buffer, EntryMode, Metadata, Operator};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Below this rate a transfer counts as stuck.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
/// A whole read does not know its size beforehand; packs close at this one.
const USUAL_PACK: u64 = 16 << 20;
/// A listing of tens of millions of objects takes hours of pages.
const LONGEST_LISTING: Duration = Duration::from_hours(6);
/// How long a server that has missed its time may take to show that it lives.
const PROBE: Duration = Duration::from_secs(12);
const RETRIES: usize = 8;
const SSH_RETRIES: u32 = 3;
const CONFLICTS: u32 = 4;
/// Uploads that a crash left in `tmp/` go after this time.
const TMP_AGE: Duration = Duration::from_hours(24);

pub(super) struct Opendal {
    // Before the runtime: connections are closed while it still runs.
    operator: Operator,
    permits: Semaphore,
    tokio: tokio::runtime::Runtime,
    scheme: Scheme,
    /// Folder of the repository inside the service, empty or ending in '/'.
    root: String,
    described: String,
    timeout: Duration,
    /// Whether the store refuses to overwrite when asked; cleared when it says that it cannot.
    conditional: AtomicBool,
    run: String,
    next: AtomicU64,
}

/// What a request may take beyond the timeout while the server answers.
#[derive(Clone, Copy)]
pub(super) struct Extra {
    attempt: Duration,
    total: Duration,
}

impl Extra {
    pub(super) const NONE: Self = Self { attempt: Duration::ZERO, total: Duration::ZERO };
    pub(super) const LISTING: Self = Self { attempt: Duration::ZERO, total: LONGEST_LISTING };

    pub(super) fn transfer(bytes: u64) -> Self {
        let time = Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        Self { attempt: time, total: time }
    }
}

impl Opendal {
    /// Opens the place of a repository.
    pub(super) fn open(remote: &Remote, options: &BackendOptions, runtime: &Runtime) -> Result<Self> {
        let store = Self::connect(remote, options, runtime)?;
        store.prepare_root(options.create)?;
        if remote.scheme.has_folders() {
            // Nothing depends on the sweep, so its failures do not matter.
            drop(store.sweep_tmp(StoreTime::from_wall(runtime.clock.now())));
        }
        Ok(store)
    }

    /// What makes requests to a place; nothing is asked yet.
    pub(super) fn connect(remote: &Remote, options: &BackendOptions, runtime: &Runtime) -> Result<Self> {
        let failed = |text: String| Error::new(ErrorKind::Other, Operation::Open, "", text);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let tokio = builder.worker_threads(2).thread_name("vault-network").enable_all().build();
        let tokio = tokio.map_err(|e| failed(e.to_string()))?;
        #[cfg(feature = "cloud")]
        if remote.scheme != Scheme::Sftp {
            super::transport::install().map_err(failed)?;
        }
        let operator = Operator::via_iter(remote.scheme.service(), service_options(remote));
        let operator = operator.map_err(|e| translate(&e, Operation::Open, ""))?;
        let connections = options.connections.unwrap_or(if remote.scheme == Scheme::Sftp { 4 } else { 8 });
        let folder = remote.root.strip_prefix("~/").unwrap_or(if remote.root == "~" { "" } else { &remote.root });
        let root = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let random = u64::from_le_bytes(runtime.random());
        Ok(Self {
            conditional: AtomicBool::new(operator.info().capability().write_with_if_not_exists),
            operator,
            permits: Semaphore::new(connections.max(1)),
            tokio,
            scheme: remote.scheme,
            root,
            described: remote.to_string(),
            timeout: options.timeout.max(Duration::from_millis(100)),
            run: format!("{}-{random:016x}", std::process::id()),
            next: AtomicU64::new(0),
        })
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Folder inside the service, empty or ending in '/'.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// Where folders are real, a missing root is an error from the start, unless it may be made.
    pub(super) fn prepare_root(&self, create: bool) -> Result<()> {
        if !self.scheme.has_folders() {
            return Ok(());
        }
        if create && !self.root.is_empty() {
            self.run(Operation::Open, "", Extra::NONE, async |op| op.create_dir(&self.root).await)?;
        }
        self.check_root(Operation::Open, "")
    }

    pub(super) fn check_root(&self, operation: Operation, name: &str) -> Result<()> {
        let root = if self.root.is_empty() { "/" } else { &self.root };
        match self.run(operation, name, Extra::NONE, async |op| op.stat(root).await) {
            Err(e) if e.kind == ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NoPlace, operation, name, "the folder of the repository is missing"))
            }
            found => found.map(drop),
        }
    }

    /// Where folders are real, an object may be missing because all is.
    fn missing(&self, e: Error) -> Error {
        let all = |e: &Error| e.kind == ErrorKind::NotFound && self.scheme.has_folders();
        let gone = if all(&e) { self.check_root(e.operation, &e.name).err() } else { None };
        gone.filter(|gone| gone.kind == ErrorKind::NoPlace).unwrap_or(e)
    }

    /// Removes what crashed writers left behind.
    fn sweep_tmp(&self, now: StoreTime) -> Result<()> {
        let folder = self.path("tmp/");
        let found = self.run(Operation::List, "tmp/", Extra::NONE, async |op| op.list(&folder).await)?;
        let old = |meta: &Metadata| modified(meta).is_some_and(|time| now.since(time) > TMP_AGE);
        for entry in found.iter().filter(|e| e.metadata().mode() == EntryMode::FILE && old(e.metadata())) {
            self.remove("tmp/", entry.path())?;
        }
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// Runs one request with timeouts and retries, on a connection of the permitted number.
    pub(super) fn run<T>(
        &self,
        operation: Operation,
        name: &str,
        extra: Extra,
        make: impl AsyncFn(Operator) -> opendal::Result<T>,
    ) -> Result<T> {
        let work = async {
            // Waiting for a turn is not the server's fault and costs no budget.
            let _turn = self.permits.acquire().await.map_err(|e| other(operation, name, &e.to_string()))?;
            let operator = self.layered(extra);
            let mut work = std::pin::pin!(with_ssh_retries(async || make(operator.clone()).await));
            let mut waited = Duration::ZERO;
            loop {
                if let Ok(result) = tokio::time::timeout(self.timeout, &mut work).await {
                    return result.map_err(|e| translate(&e, operation, name));
                }
                waited += self.timeout;
                if waited >= self.timeout + extra.total || !self.answers().await {
                    let text = format!("no answer within {} s", waited.as_secs_f32());
                    return Err(Error::new(ErrorKind::Unreachable, operation, name, text));
                }
            }
        };
        // The sftp client panics on answers that it did not expect, such as file names that are not UTF-8.
        catch_unwind(AssertUnwindSafe(|| self.tokio.block_on(work)))
            .unwrap_or_else(|_| Err(other(operation, name, "the client stumbled over the server's answer")))
    }

    /// Timeout below retry: each attempt is timed, and the sum ends with the budget in `run`.
    fn layered(&self, extra: Extra) -> Operator {
        let attempt = self.timeout / 3;
        let timeout = TimeoutLayer::new().with_timeout(attempt).with_io_timeout(attempt + extra.attempt);
        let retry = RetryLayer::new()
            .with_max_times(RETRIES)
            .with_min_delay(self.timeout / 450)
            .with_max_delay(self.timeout / 18)
            .with_jitter();
        self.operator.clone().layer(timeout).layer(retry)
    }

    /// Whether the server answers anything at all.
    async fn answers(&self) -> bool {
        let path = self.path("config");
        match tokio::time::timeout(PROBE.min(self.timeout), self.operator.stat(&path)).await {
            Ok(Ok(_)) => true,
            Ok(Err(e)) => matches!(e.kind(), opendal::ErrorKind::NotFound | opendal::ErrorKind::PermissionDenied),
            Err(_) => false,
        }
    }

    /// The size of an object if the server says it in one short try: no second budget for a server that is dead.
    fn size_at_once(&self, path: &str) -> Option<u64> {
        let stat = async { tokio::time::timeout(PROBE.min(self.timeout), self.operator.stat(path)).await };
        Some(self.tokio.block_on(stat).ok()?.ok()?.content_length())
    }

    fn write(&self, name: &str, path: &str, bytes: &[u8], only_new: bool) -> Result<()> {
        let buffer = Buffer::from(bytes.to_vec());
        let write = async |op: Operator| op.write_with(path, buffer.clone()).if_not_exists(only_new).await;
        self.run(Operation::Put, name, Extra::transfer(bytes.len() as u64), write).map(drop)
    }

    /// Whether the name holds these bytes; `None` if it holds nothing.
    fn holds(&self, name: &str, bytes: &[u8]) -> Result<Option<bool>> {
        let as_put = |e: Error| Error { operation: Operation::Put, ..e };
        match self.stat(name) {
            Ok(stat) if stat.size != bytes.len() as u64 => Ok(Some(false)),
            Ok(_) => self.get(name, None).map(|found| Some(found == bytes)).map_err(as_put),
            Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(as_put(e)),
        }
    }

    /// For stores that show an upload before it is complete: write aside, then rename.
    fn put_staged(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if let Some(same) = self.holds(name, bytes)? {
            return if same { Ok(()) } else { Err(Error::exists(name)) };
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (aside, path) = (self.path(&format!("tmp/{}-{number}", self.run)), self.path(name));
        let renamed = self
            .write(name, &aside, bytes, false)
            .and_then(|()| self.run(Operation::Put, name, Extra::NONE, async |op| op.rename(&aside, &path).await));
        let Err(failure) = renamed else { return Ok(()) };
        // A rename whose answer was lost fails when it is tried again.
        if failure.kind != ErrorKind::Unreachable && matches!(self.holds(name, bytes), Ok(Some(true))) {
            return Ok(());
        }
        if failure.kind != ErrorKind::Unreachable {
            drop(self.remove(name, &aside));
        }
        Err(failure)
    }

    fn remove(&self, name: &str, path: &str) -> Result<()> {
        self.run(Operation::Delete, name, Extra::NONE, async |op| op.delete(path).await)
    }

    fn entry(&self, found: &opendal::Entry) -> Option<Entry> {
        let name = found.path().strip_prefix(&self.root)?;
        let meta = found.metadata();
        if meta.mode() == EntryMode::DIR || name.is_empty() || name.ends_with('/') || name.starts_with("tmp/") {
            return None;
        }
        Some(Entry { name: name.to_owned(), size: meta.content_length(), modified: modified(meta) })
    }
}

impl Store for Opendal {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if self.scheme.has_folders() {
            return self.put_staged(name, bytes);
        }
        let path = self.path(name);
        // More than once only if the name is taken and free in turn: S3 answers so while another put is on its way.
        for attempt in 1.. {
            if !self.conditional.load(Ordering::Relaxed) {
                break;
            }
            match self.write(name, &path, bytes, true) {
                // Also the answer to a retry after our own first attempt had landed.
                Err(e) if e.kind == ErrorKind::Exists => match self.holds(name, bytes)? {
                    Some(true) => return Ok(()),
                    Some(false) => return Err(Error::exists(name)),
                    None if attempt < CONFLICTS => std::thread::sleep(self.timeout / 90 * attempt),
                    None => return Err(Error { kind: ErrorKind::Unreachable, ..e }),
                },
                Err(e) if e.kind == ErrorKind::Unsupported => self.conditional.store(false, Ordering::Relaxed),
                done => return done,
            }
        }
        match self.holds(name, bytes)? {
            Some(true) => Ok(()),
            Some(false) => Err(Error::exists(name)),
            None => self.write(name, &path, bytes, false),
        }
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let path = self.path(name);
        if range.as_ref().is_some_and(Range::is_empty) {
            let (size, end) = (self.stat(name)?.size, range.map_or(0, |r| r.end));
            return if end <= size { Ok(Vec::new()) } else { Err(short(name, size, end)) };
        }
        let extra = Extra::transfer(range.as_ref().map_or(USUAL_PACK, |r| r.end - r.start));
        let read = self.run(Operation::Get, name, extra, async |op| match &range {
            Some(range) => op.read_with(&path).range(range.clone()).await,
            None => op.read(&path).await,
        });
        let read = read.map_err(|e| self.missing(e));
        let Some(range) = range else { return read.map(|buffer| buffer.to_vec()) };
        match read {
            Ok(buffer) if buffer.len() as u64 == range.end - range.start => Ok(buffer.to_vec()),
            Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::NoPlace | ErrorKind::Denied) => Err(e),
            // Services answer a range past the end in different ways; the size tells it from a broken connection.
            answer => match self.size_at_once(&path) {
                Some(size) if size < range.end => Err(short(name, size, range.end)),
                _ => Err(answer.err().unwrap_or_else(|| short(name, 0, range.end))),
            },
        }
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        let path = self.path(name);
        let meta = self.run(Operation::Stat, name, Extra::NONE, async |op| op.stat(&path).await);
        let meta = meta.map_err(|e| self.missing(e))?;
        if meta.mode() == EntryMode::DIR {
            return Err(Error::missing(Operation::Stat, name));
        }
        Ok(Stat { size: meta.content_length(), modified: modified(&meta) })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let path = self.path(prefix);
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let list = async |op: Operator| op.list_with(&path).recursive(true).await;
        let found = match self.run(Operation::List, prefix, Extra::LISTING, list) {
            Err(e) if e.kind == ErrorKind::NotFound && self.scheme.has_folders() => Vec::new(),
            found => found?,
        };
        if found.is_empty() && self.scheme.has_folders() {
            self.check_root(Operation::List, prefix)?;
        }
        let mut entries: Vec<Entry> = found.iter().filter_map(|entry| self.entry(entry)).collect();
        drop(found);
        // Memory keeps no times at all.
        for entry in entries.iter_mut().filter(|e| e.modified.is_none() && self.scheme != Scheme::Memory) {
            let stat = self.stat(&entry.name)?;
            (entry.size, entry.modified) = (stat.size, stat.modified);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.remove(name, &self.path(name)) {
            Err(e) if e.kind == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn describe(&self) -> String {
        self.described.clone()
    }

    fn is_local(&self) -> bool {
        self.scheme == Scheme::Memory
    }

    fn listing_lag(&self) -> Duration {
        self.scheme.listing_lag()
    }
}

/// OpenDAL calls every failure of `ssh` permanent, among them the ones that a busy server causes.
async fn with_ssh_retries<T>(make: impl AsyncFn() -> opendal::Result<T>) -> opendal::Result<T> {
    let mut tries = 0;
    loop {
        match make().await {
            Err(e) if e.message() == "ssh error" && tries < SSH_RETRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(200 << tries)).await;
            }
            done => return done,
        }
    }
}

/// The service's own root stays at the top, so that a missing folder of ours can be told from an empty one.
fn service_options(remote: &Remote) -> BTreeMap<String, String> {
    let mut options = remote.options.clone();
    let mut default = |key: &str, value: String| {
        options.entry(key.to_owned()).or_insert(value);
    };
    match remote.scheme {
        Scheme::Memory => {}
        Scheme::S3 | Scheme::Gcs | Scheme::B2 => default("bucket", remote.authority.clone()),
        Scheme::Azblob => default("container", remote.authority.clone()),
        Scheme::Sftp => default("endpoint", format!("ssh://{}", remote.authority)),
        Scheme::Webdav => default("endpoint", format!("http://{}", remote.authority)),
        Scheme::Webdavs => default("endpoint", format!("https://{}", remote.authority)),
    }
    let in_home = remote.root == "~" || remote.root.starts_with("~/");
    if remote.scheme == Scheme::Sftp && !in_home {
        default("root", "/".to_owned());
    }
    options
}

pub(super) fn modified(meta: &Metadata) -> Option<StoreTime> {
    let nanoseconds = meta.last_modified()?.into_inner().as_nanosecond();
    Some(StoreTime::new(nanoseconds.try_into().ok()?))
}

fn short(name: &str, size: u64, end: u64) -> Error {
    Error::new(ErrorKind::Damaged, Operation::Get, name, format!("bytes up to {end} are wanted, it has {size}"))
}

fn other(operation: Operation, name: &str, text: &str) -> Error {
    Error::new(ErrorKind::Other, operation, name, text)
}

fn translate(e: &opendal::Error, operation: Operation, name: &str) -> Error {
    let text = wording::words(e);
    let says = |words: &[&str]| words.iter().any(|word| text.to_ascii_lowercase().contains(word));
    let kind = match e.kind() {
        opendal::ErrorKind::NotFound => ErrorKind::NotFound,
        opendal::ErrorKind::ConditionNotMatch | opendal::ErrorKind::AlreadyExists | opendal::ErrorKind::Conflict => {
            ErrorKind::Exists
        }
        opendal::ErrorKind::PermissionDenied => ErrorKind::Denied,
        opendal::ErrorKind::Unsupported => ErrorKind::Unsupported,
        opendal::ErrorKind::RangeNotSatisfied => ErrorKind::Damaged,
        opendal::ErrorKind::RateLimited => ErrorKind::Unreachable,
        opendal::ErrorKind::ConfigInvalid => ErrorKind::Other,
        _ if says(&["notimplemented", "not implemented"]) && operation == Operation::Put => ErrorKind::Unsupported,
        _ if e.is_temporary() || e.is_persistent() || says(&["ssh error"]) => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    };
    // what the client can't do is no answer of a store; of what it calls the settings' fault some is
    let is_own = e.kind() == opendal::ErrorKind::Unsupported;
    let (kind, text) = if is_own { (kind, text) } else { wording::of(&text, kind) };
    if kind == ErrorKind::NotFound && matches!(operation, Operation::Get | Operation::Stat) {
        return Error::missing(operation, name);
    }
    Error::new(kind, operation, name, text)
}
