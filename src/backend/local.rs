//! The store in a folder of this machine. Objects are written to `tmp/`, made durable and then given their name, so
//! a name never shows half an object, and power loss after `put` returns loses nothing.
//! Order of a put: data fsynced, new folders fsynced up the chain, name given without replacing, its folder fsynced.

mod filesystem;
mod root;

use super::error::{Error, ErrorKind, Operation, Result};
use super::leftovers::Maker;
use super::{Entry, Leftovers, Stat, Store};
use crate::metadata;
use crate::runtime::Runtime;
use crate::time::StoreTime;
use root::Root;
use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vault_format::name;

const TMP: &str = "tmp";

pub(super) struct Local {
    root: Root,
    maker: Maker,
    /// Makes names in `tmp/` differ between processes and machines that share the folder.
    run: String,
    next: AtomicU64,
}

impl Local {
    pub(super) fn open(path: &Path, create: bool, runtime: &Runtime) -> Result<Self> {
        let open_error = |e: io::Error| match e.kind() {
            io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::NotAFolder, Operation::Open, "", "it is not a folder")
            }
            _ => error(Operation::Open, "", &e),
        };
        let path = std::path::absolute(path).map_err(open_error)?;
        let root = Root::open(path, create).map_err(open_error)?;
        let random = u64::from_le_bytes(runtime.random());
        let maker = Maker::this();
        let run = format!("{}{random:016x}", maker.prefix());
        let local = Self { root, maker, run, next: AtomicU64::new(0) };
        let now = runtime.clock.now();
        // Nothing depends on the sweep, so its failures do not matter.
        drop(local.sweep_tmp(&|name, modified| local.maker.knows_left(name, modified, now)));
        Ok(local)
    }

    /// Removes unfinished files by name and time.
    fn sweep_tmp(&self, is_left: &dyn Fn(&str, StoreTime) -> bool) -> io::Result<Leftovers> {
        let mut removed = Leftovers::default();
        for entry in Dir::new(self.root.folder(TMP)?)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy();
            let name = format!("{TMP}/{file}");
            // another process may be faster, or own it: the next file may be easier
            let Ok(stat) = self.root.stat(&name) else { continue };
            if metadata::file_type(&stat).is_file()
                && is_left(&file, modified(&stat))
                && self.root.remove(&name).is_ok()
            {
                removed.files += 1;
                removed.bytes += metadata::size(&stat);
            }
        }
        Ok(removed)
    }

    /// Writes `bytes` durably under a name of its own in `tmp/`.
    fn write_tmp(&self, bytes: &[u8]) -> io::Result<String> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TMP}/{}-{number}", self.run);
            let mut file = match self.root.create(&name) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.root.make_folder(TMP)?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            return match file.write_all(bytes).and_then(|()| file.sync_all()) {
                Ok(()) => Ok(name),
                Err(e) => {
                    drop(self.root.remove(&name));
                    Err(e)
                }
            };
        }
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let mut file = self.root.open_at(name)?;
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
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(prefix) = folders.pop() {
            let listing = match self.root.folder(&prefix) {
                Ok(folder) => Dir::new(folder)?,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(e),
            };
            for entry in listing {
                let entry = entry?;
                let file = entry.file_name().to_string_lossy();
                let name = format!("{prefix}{file}");
                if name == TMP || matches!(&*file, "." | "..") {
                    continue;
                }
                let stat = match self.stat_foreign(&name) {
                    Ok(stat) => stat,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                };
                if !metadata::file_type(&stat).is_dir() {
                    found.push(Entry { name, size: metadata::size(&stat), modified: Some(modified(&stat)) });
                } else if name::may_hold_objects(&name) {
                    folders.push(format!("{name}/"));
                } else {
                    // somebody else's, and perhaps closed or large: named, and not entered
                    found.push(Entry { name, size: 0, modified: Some(modified(&stat)) });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// What a name leads to, or the link itself if that leads in circles or where this user may not look.
    fn stat_foreign(&self, name: &str) -> io::Result<rustix::fs::Stat> {
        match self.root.stat(name) {
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::LOOP | Errno::ACCESS)) => {
                let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
                Ok(rustix::fs::statat(self.root.folder(folder)?, file, AtFlags::SYMLINK_NOFOLLOW)?)
            }
            found => found,
        }
    }

    /// An error if the path leads to another folder by now: what is there, or not there, says nothing.
    fn is_here(&self, operation: Operation, name: &str) -> Result<()> {
        match self.root.absence() {
            Some(why) => Err(Error::new(ErrorKind::NoPlace, operation, name, why)),
            None => Ok(()),
        }
    }

    fn failed(&self, operation: Operation, name: &str, e: &io::Error) -> Error {
        match self.is_here(operation, name) {
            Err(gone) => gone,
            Ok(()) if e.kind() == io::ErrorKind::NotFound => Error::missing(operation, name),
            Ok(()) => error(operation, name, e),
        }
    }
}

impl Store for Local {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let failed = |e: io::Error| self.failed(Operation::Put, name, &e);
        self.is_here(Operation::Put, name)?;
        let tmp = self.write_tmp(bytes).map_err(failed)?;
        let published = self.root.publish(&tmp, name);
        if !matches!(published, Ok(true)) {
            drop(self.root.remove(&tmp));
        }
        let created = published.map_err(failed)?;
        // what went into a folder that nobody finds any more is not stored
        self.is_here(Operation::Put, name)?;
        if created {
            return Ok(());
        }
        let same = self.read(name, None).map_err(failed)? == bytes;
        if same { Ok(()) } else { Err(Error::exists(name)) }
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.is_here(Operation::Get, name)?;
        self.read(name, range).map_err(|e| self.failed(Operation::Get, name, &e))
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.is_here(Operation::Stat, name)?;
        let stat = self.root.stat(name).map_err(|e| self.failed(Operation::Stat, name, &e))?;
        if metadata::file_type(&stat).is_dir() {
            return Err(Error::missing(Operation::Stat, name));
        }
        Ok(Stat { size: metadata::size(&stat), modified: Some(modified(&stat)) })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let listed = self.walk(prefix).map_err(|e| self.failed(Operation::List, prefix, &e))?;
        // a vanished mount must not read as an empty repository
        self.is_here(Operation::List, prefix)?;
        Ok(listed)
    }

    fn delete(&self, name: &str) -> Result<()> {
        let failed = |e: io::Error| self.failed(Operation::Delete, name, &e);
        self.is_here(Operation::Delete, name)?;
        match self.root.remove(name) {
            // A deletion that power loss undoes could bring back a snapshot whose packs are gone.
            Ok(()) => self.root.sync(name.rsplit_once('/').map_or("", |(folder, _)| folder)).map_err(failed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    fn remove_unfinished(&self) -> Result<Leftovers> {
        self.is_here(Operation::Delete, TMP)?;
        let own = self.maker.prefix();
        match self.sweep_tmp(&|name, _| !name.starts_with(&own)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Leftovers::default()),
            swept => swept.map_err(|e| error(Operation::Delete, TMP, &e)),
        }
    }

    fn describe(&self) -> String {
        self.root.path().display().to_string()
    }

    fn lay_out(&self, folders: &[&str]) {
        // whatever is put makes the folders that it needs by itself
        folders.iter().for_each(|folder| drop(self.root.make_folder(folder.trim_end_matches('/'))));
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.root.path()).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn listing_lag(&self) -> Duration {
        self.root.file_system.listing_lag()
    }

    fn caveat(&self) -> Option<String> {
        self.root.file_system.caveat()
    }
}

/// Of a folder the clock of its file system is the store's.
fn modified(stat: &rustix::fs::Stat) -> StoreTime {
    StoreTime::from_wall(metadata::mtime(stat).into())
}

fn error(operation: Operation, name: &str, e: &io::Error) -> Error {
    let errno = Errno::from_io_error(e);
    let kind = match e.kind() {
        io::ErrorKind::NotFound if operation == Operation::Open => ErrorKind::NoPlace,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::UnexpectedEof => ErrorKind::Damaged,
        // a bad sector
        _ if operation == Operation::Get && errno == Some(Errno::IO) => ErrorKind::Damaged,
        io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::TimedOut => ErrorKind::Unreachable,
        // a server, a program behind FUSE, or a disk that has gone
        _ if errno.is_some_and(|e| [Errno::NOTCONN, Errno::HOSTDOWN, Errno::NODEV, Errno::NXIO].contains(&e)) => {
            ErrorKind::Unreachable
        }
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
        let clock = Arc::new(AtomicI64::new(Clock::System.now().nanoseconds()));
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

    /// What belongs to the system or to another tool is named and not entered, whoever may read it.
    #[test]
    fn folders_of_others_are_named_and_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["lost+found", "@eaDir/x", ".snapshots/1/packs/d/aa", "packs/@eaDir", "packs/d/aa"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [".snapshots/1/packs/d/aa/x", "@eaDir/x/y", "packs/@eaDir/x", "packs/d/aa/x", ".DS_Store"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink("round", folder.path().join("round")).unwrap();
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(folder.path().join("lost+found"), closed).unwrap();
        let local = Local::open(folder.path(), false, &Runtime::seeded(1, Clock::System, 0)).unwrap();
        let listed: Vec<String> = local.list("").unwrap().into_iter().map(|entry| entry.name).collect();
        let wanted = [".DS_Store", ".snapshots", "@eaDir", "lost+found", "packs/@eaDir", "packs/d/aa/x", "round"];
        assert_eq!(listed, wanted);
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
