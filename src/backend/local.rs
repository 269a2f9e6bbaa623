//! The store in a folder of this machine. Objects are written to `tmp/`, made durable and then given their name, so
//! a name never shows half an object, and power loss after `put` returns loses nothing.
//! Order of a put: data fsynced, new folders fsynced up the chain, name given without replacing, its folder fsynced.

use super::error::{Error, ErrorKind, Operation, Result};
use super::leftovers::Maker;
use super::{Entry, Leftovers, Stat, Store};
use crate::runtime::Runtime;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const TMP: &str = "tmp";

pub(super) struct Local {
    root: PathBuf,
    maker: Maker,
    /// Makes names in `tmp/` differ between processes and machines that share the folder.
    run: String,
    next: AtomicU64,
    /// Folders that exist durably: they need neither mkdir nor fsync of their parent again.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    pub(super) fn open(path: &Path, create: bool, runtime: &Runtime) -> Result<Self> {
        let open_error = |e: io::Error| error(Operation::Open, "", &e);
        let root = std::path::absolute(path).map_err(open_error)?;
        if create {
            create_root(&root).map_err(open_error)?;
        }
        if !root.metadata().map_err(open_error)?.is_dir() {
            return Err(Error::new(ErrorKind::Other, Operation::Open, "", "it is not a folder"));
        }
        let random = u64::from_le_bytes(runtime.random());
        let maker = Maker::this();
        let run = format!("{}{random:016x}", maker.prefix());
        let local = Self { root, maker, run, next: AtomicU64::new(0), durable: Mutex::new(HashSet::new()) };
        let now = runtime.clock.now();
        // Nothing depends on the sweep, so its failures do not matter.
        drop(local.sweep_tmp(&|name, modified| local.maker.knows_left(name, (modified, now))));
        Ok(local)
    }

    /// Removes unfinished files by name and time.
    fn sweep_tmp(&self, is_left: &dyn Fn(&str, i64) -> bool) -> io::Result<Leftovers> {
        let mut removed = Leftovers::default();
        for entry in self.root.join(TMP).read_dir()? {
            let entry = entry?;
            // another process may be faster, or own it: the next file may be easier
            let Ok(meta) = entry.metadata() else { continue };
            let goes = meta.is_file() && is_left(&entry.file_name().to_string_lossy(), modified(&meta));
            if goes && std::fs::remove_file(entry.path()).is_ok() {
                removed.files += 1;
                removed.bytes += meta.len();
            }
        }
        Ok(removed)
    }

    /// Writes `bytes` durably under a name of its own in `tmp/`.
    fn write_tmp(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(TMP).join(format!("{}-{number}", self.run));
            let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    // Not `create_dir_all`: a root that vanished must stay an error.
                    make_folder(&self.root.join(TMP))?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            return match file.write_all(bytes).and_then(|()| file.sync_all()) {
                Ok(()) => Ok(path),
                Err(e) => {
                    drop(std::fs::remove_file(&path));
                    Err(e)
                }
            };
        }
    }

    /// Makes the folders above `name` and makes each of them durable in its parent.
    fn make_folders(&self, name: &str) -> io::Result<PathBuf> {
        let mut folder = self.root.clone();
        let parts: Vec<&str> = name.split('/').collect();
        for part in parts.iter().take(parts.len().saturating_sub(1)) {
            let parent = folder.clone();
            folder.push(part);
            if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&folder) {
                continue;
            }
            make_folder(&folder)?;
            // Also if it was there: whoever made it may not have reached this line.
            sync_folder(&parent)?;
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone());
        }
        Ok(folder)
    }

    /// Gives the file `tmp` its name; false if the name is taken.
    fn publish(&self, tmp: &Path, name: &str) -> io::Result<bool> {
        let target = self.root.join(name);
        let mut folder = self.make_folders(name)?;
        let mut taken = rename_new(tmp, &target);
        if taken.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // Somebody removed a folder that this process made.
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
            folder = self.make_folders(name)?;
            taken = rename_new(tmp, &target);
        }
        let created = taken?;
        sync_folder(&folder)?;
        Ok(created)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.root.join(name))?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let range = range.unwrap_or(0..meta.len());
        if range.end > meta.len() {
            let text = format!("bytes {} to {} are wanted, it has {}", range.start, range.end, meta.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        file.seek(SeekFrom::Start(range.start))?;
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn walk(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        // A vanished mount must not read as an empty repository.
        drop(self.root.read_dir()?);
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(prefix) = folders.pop() {
            let listing = match self.root.join(&prefix).read_dir() {
                Ok(listing) => listing,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for entry in listing {
                let entry = entry?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if name == TMP {
                    continue;
                }
                let meta = match std::fs::metadata(entry.path()) {
                    Ok(meta) => meta,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                };
                if meta.is_dir() {
                    folders.push(format!("{name}/"));
                } else {
                    found.push(Entry { name, size: meta.len(), modified: Some(modified(&meta)) });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Turns "no such file" into words that say which of the two is missing.
    fn missing(&self, operation: Operation, name: &str, e: &io::Error) -> Error {
        if e.kind() != io::ErrorKind::NotFound {
            return error(operation, name, e);
        }
        match self.root.metadata() {
            Ok(_) if operation != Operation::List => Error::missing(operation, name),
            _ => Error::new(ErrorKind::NotFound, operation, name, "the folder of the repository is missing"),
        }
    }
}

impl Store for Local {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let failed = |e: io::Error| self.missing(Operation::Put, name, &e);
        let tmp = self.write_tmp(bytes).map_err(failed)?;
        let published = self.publish(&tmp, name);
        if !matches!(published, Ok(true)) {
            drop(std::fs::remove_file(&tmp));
        }
        if published.map_err(failed)? {
            return Ok(());
        }
        let same = self.read(name, None).map_err(failed)? == bytes;
        if same { Ok(()) } else { Err(Error::exists(name)) }
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.read(name, range).map_err(|e| self.missing(Operation::Get, name, &e))
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        let meta = std::fs::metadata(self.root.join(name)).map_err(|e| self.missing(Operation::Stat, name, &e))?;
        if meta.is_dir() {
            return Err(Error::missing(Operation::Stat, name));
        }
        Ok(Stat { size: meta.len(), modified: Some(modified(&meta)) })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.walk(prefix).map_err(|e| self.missing(Operation::List, prefix, &e))
    }

    fn delete(&self, name: &str) -> Result<()> {
        let failed = |e: io::Error| self.missing(Operation::Delete, name, &e);
        let path = self.root.join(name);
        match std::fs::remove_file(&path) {
            // A deletion that power loss undoes could bring back a snapshot whose packs are gone.
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)).map_err(failed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.root.metadata().map_err(failed)?;
                Ok(())
            }
            Err(e) => Err(failed(e)),
        }
    }

    fn remove_unfinished(&self) -> Result<Leftovers> {
        let own = self.maker.prefix();
        match self.sweep_tmp(&|name, _| !name.starts_with(&own)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Leftovers::default()),
            swept => swept.map_err(|e| error(Operation::Delete, TMP, &e)),
        }
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn listing_lag(&self) -> Duration {
        Duration::ZERO
    }
}

fn create_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let Some(parent) = root.parent() else { return Ok(()) };
    create_root(parent)?;
    make_folder(root)?;
    sync_folder(parent)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot fsync a folder and make renames durable themselves.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(()),
        done => done,
    }
}

/// Renames without replacing; false if the name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(e) => return Err(e.into()),
    }
    // NFS and some FUSE file systems have only the older way.
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::PERM | Errno::NOTSUP | Errno::NOSYS)) => {
            // No way at all to refuse atomically. Names are hashes of their bytes, so the race is between equals.
            if to.try_exists()? { Ok(false) } else { std::fs::rename(from, to).map(|()| true) }
        }
        Err(e) => Err(e),
    }
}

fn modified(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

fn error(operation: Operation, name: &str, e: &io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::UnexpectedEof => ErrorKind::Damaged,
        // a bad sector
        _ if operation == Operation::Get && Errno::from_io_error(e) == Some(Errno::IO) => ErrorKind::Damaged,
        io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::TimedOut => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    };
    Error::new(kind, operation, name, e.to_string())
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, Local, Operation, Store, error};
    use crate::runtime::{Clock, Runtime};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    #[test]
    fn old_leftovers_go_and_young_ones_stay_unseen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        std::fs::write(folder.path().join("tmp/left"), b"half").unwrap();
        let clock = Arc::new(AtomicI64::new(Clock::System.now()));
        let runtime = Runtime::seeded(1, Clock::Manual(clock.clone()), 0);
        let local = Local::open(folder.path(), false, &runtime).unwrap();
        assert!(folder.path().join("tmp/left").exists());
        assert_eq!(local.list("").unwrap(), []);
        clock.fetch_add(25 * 3600 * 1_000_000_000, std::sync::atomic::Ordering::SeqCst);
        Local::open(folder.path(), false, &runtime).unwrap();
        assert!(!folder.path().join("tmp/left").exists());
    }

    #[test]
    fn what_a_dead_process_left_goes_with_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::seeded(1, Clock::System, 0);
        let local = Local::open(folder.path(), false, &runtime).unwrap();
        let tmp = folder.path().join("tmp");
        std::fs::create_dir(&tmp).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let of = |process: u32| local.run.replacen(&format!("-{}-", std::process::id()), &format!("-{process}-"), 1);
        let (dead, own) = (format!("{}-0", of(child.id())), format!("{}-7", local.run));
        for name in [&dead, &own, "elsewhere"] {
            std::fs::write(tmp.join(name), b"half").unwrap();
        }
        Local::open(folder.path(), false, &runtime).unwrap();
        let there = |name: &str| tmp.join(name).exists();
        assert_eq!((there(&dead), there(&own), there("elsewhere")), (false, true, true));
        // once nobody writes but this process
        let removed = local.remove_unfinished().unwrap();
        assert_eq!((removed.files, removed.bytes), (1, 4));
        assert_eq!((there(&own), there("elsewhere")), (true, false));
    }

    #[test]
    fn objects_are_for_their_owner_and_leave_nothing_in_tmp() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path(), false, &Runtime::seeded(1, Clock::System, 0)).unwrap();
        local.put("packs/d/aa/x", b"bytes").unwrap();
        assert!(local.put("packs/d/aa/x", b"other").is_err());
        let mode = |path: &str| folder.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("packs/d"), mode("packs/d/aa/x")), (0o700, 0o600));
        assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
        std::fs::remove_dir_all(folder.path().join("packs")).unwrap();
        local.put("packs/d/aa/x", b"bytes").unwrap();
    }

    /// The memory of a process can't be read where nothing is mapped: the kernel says what it says of a bad sector.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_disk_can_not_read_is_damaged() {
        let unread = std::fs::File::open("/proc/self/mem").unwrap().read(&mut [0]).unwrap_err();
        let kind = |operation| error(operation, "packs/d/aa/x", &unread).kind;
        assert_eq!((kind(Operation::Get), kind(Operation::Put)), (ErrorKind::Damaged, ErrorKind::Other), "{unread}");
    }
}
