//! The folder of a local store, held by a handle from its opening to the end: all names are looked up from there, so
//! that nothing goes into another folder that takes its place, as the one below a mount point does when a disk is
//! unmounted. Invariant: a store whose path leads elsewhere by now says so, and makes no folder anew.

use super::filesystem::{self, FileSystem};
use crate::metadata::{identity, rename_new};
use crate::runtime::Locked;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// Whose new files and folders are, and who may use them: as the repository's folder has it, so that whoever can use
/// the repository can use what another user, root for one, has put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Likeness {
    me: u32,
    user: u32,
    group: u32,
    folder: u32,
    file: u32,
}

impl Likeness {
    fn of(root: &Stat, me: u32) -> Self {
        let mode = bits(root.st_mode);
        // a group counts that was meant to share: it may write, or new files are given to it
        let shared = if mode & 0o2020 == 0 { 0 } else { mode & 0o070 };
        let user = if me == 0 { root.st_uid } else { me };
        let folder = 0o700 | shared | mode & 0o2000;
        Self { me, user, group: root.st_gid, folder, file: 0o600 | shared & 0o060 }
    }

    /// Makes a file or folder that this user owns like that. What the file system or the system refuses is left.
    fn give(&self, handle: BorrowedFd<'_>, is_folder: bool) -> io::Result<()> {
        let mut found = rustix::fs::fstat(handle)?;
        if found.st_uid != self.me {
            return Ok(());
        }
        let mut wanted = if is_folder { self.folder } else { self.file };
        let is_shared = wanted & 0o2070 != 0;
        if found.st_uid != self.user || is_shared && found.st_gid != self.group {
            let user = (found.st_uid != self.user).then(|| Uid::from_raw(self.user));
            let _ = rustix::fs::fchown(handle, user, Some(Gid::from_raw(self.group)));
            found = rustix::fs::fstat(handle)?;
        }
        if found.st_gid != self.group {
            // the rights are meant for another group than this one
            wanted &= 0o700;
        }
        if bits(found.st_mode) & 0o7777 != wanted {
            let _ = rustix::fs::fchmod(handle, Mode::from_raw_mode(raw(wanted)));
        }
        Ok(())
    }
}

/// A handle of the repository's folder, and what is known of it.
pub(super) struct Root {
    handle: OwnedFd,
    path: PathBuf,
    identity: (u64, u64),
    likeness: Likeness,
    /// What it lies on.
    pub file_system: FileSystem,
    /// Folders that exist durably: they need neither mkdir nor fsync of their parent again.
    durable: Locked<HashSet<String>>,
}

impl Root {
    /// Opens the folder at an absolute path; made first, if that is asked.
    pub fn open(path: PathBuf, create: bool) -> io::Result<Self> {
        if create {
            create_root(&path)?;
        }
        let handle = rustix::fs::open(&path, FOLDER, Mode::empty())?;
        let found = rustix::fs::fstat(&handle)?;
        let likeness = Likeness::of(&found, rustix::process::geteuid().as_raw());
        let file_system = FileSystem::of(handle.as_fd());
        Ok(Self { handle, path, identity: identity(&found), likeness, file_system, durable: Locked::default() })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why this folder is no longer the one at its path; `None` if it is.
    pub fn absence(&self) -> Option<String> {
        match rustix::fs::stat(&self.path) {
            Ok(found) if identity(&found) == self.identity => None,
            Ok(_) => Some("another folder has taken its place: was a disk unmounted, or the folder replaced?".into()),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                Some("the folder of the repository is missing: was a disk unmounted, or the folder moved?".into())
            }
            Err(e) => Some(io::Error::from(e).to_string()),
        }
    }

    /// Opens a file or folder below for reading.
    pub fn open_at(&self, name: &str) -> io::Result<File> {
        Ok(rustix::fs::openat(&self.handle, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// Opens a folder below, or itself for an empty name.
    pub fn folder(&self, name: &str) -> io::Result<OwnedFd> {
        let name = if name.is_empty() { "." } else { name };
        Ok(rustix::fs::openat(&self.handle, name, FOLDER, Mode::empty())?)
    }

    /// Size, time and kind of what a name leads to.
    pub fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.handle, name, AtFlags::empty())?)
    }

    /// Makes a file that is not there yet.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let mode = Mode::from_raw_mode(raw(self.likeness.file));
        let file = rustix::fs::openat(&self.handle, name, NEW_FILE, mode)?;
        self.likeness.give(file.as_fd(), false)?;
        Ok(file.into())
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Makes a folder, or takes the one that is there.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(raw(self.likeness.folder))) {
            Ok(()) | Err(Errno::EXIST) => self.likeness.give(self.folder(name)?.as_fd(), true),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the folders above `name` and makes each of them durable in its parent; returns the last one.
    pub fn make_folders<'n>(&self, name: &'n str) -> io::Result<&'n str> {
        let mut parent = "";
        for (end, _) in name.match_indices('/') {
            let folder = name.get(..end).unwrap_or_default();
            if !self.durable.lock().contains(folder) {
                self.make_folder(folder)?;
                // Also if it was there: whoever made it may not have reached this line.
                self.sync(parent)?;
                self.durable.lock().insert(folder.to_owned());
            }
            parent = folder;
        }
        Ok(parent)
    }

    /// Gives a file its name, durably; false if the name is taken.
    pub fn publish(&self, tmp: &str, name: &str) -> io::Result<bool> {
        let mut folder = self.make_folders(name)?;
        let mut named = rename_new(self.handle.as_fd(), tmp, name);
        if named.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // Somebody removed a folder that this process made.
            self.durable.lock().clear();
            folder = self.make_folders(name)?;
            named = rename_new(self.handle.as_fd(), tmp, name);
        }
        let created = named?;
        self.sync(folder)?;
        Ok(created)
    }

    /// Makes the names in a folder durable.
    pub fn sync(&self, folder: &str) -> io::Result<()> {
        filesystem::sync_folder(self.folder(folder)?.as_fd())
    }
}

fn bits(mode: impl Into<u32>) -> u32 {
    mode.into()
}

/// Systems differ in how wide a mode is.
fn raw(mode: u32) -> rustix::fs::RawMode {
    rustix::fs::RawMode::try_from(mode).unwrap_or_default()
}

/// A new root is for its maker, and for the group of the folder above if new files are given to that.
fn create_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let Some(parent) = root.parent() else { return Ok(()) };
    create_root(parent)?;
    let above = rustix::fs::open(parent, FOLDER, Mode::empty())?;
    let mode = bits(rustix::fs::fstat(&above)?.st_mode);
    let mode = if mode & 0o2000 == 0 { 0o700 } else { 0o700 | mode & 0o2070 };
    match rustix::fs::mkdir(root, Mode::from_raw_mode(raw(mode))) {
        Ok(()) => drop(rustix::fs::chmod(root, Mode::from_raw_mode(raw(mode)))),
        Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    filesystem::sync_folder(above.as_fd())
}

#[cfg(test)]
mod tests {
    use super::{Likeness, Root};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn rights_follow_the_folder() {
        for (mode, folders, files) in [
            (0o700, 0o700, 0o600),
            (0o755, 0o700, 0o600),
            (0o770, 0o770, 0o660),
            (0o2750, 0o2750, 0o640),
            (0o2775, 0o2770, 0o660),
            (0o2700, 0o2700, 0o600),
            (0o1777, 0o770, 0o660),
        ] {
            let place = folder(mode);
            let root = Root::open(place.path().to_owned(), false).unwrap();
            assert_eq!((root.likeness.folder, root.likeness.file), (folders, files), "{mode:o}");
            root.make_folders("a/b/x").unwrap();
            drop(root.create("a/b/x").unwrap());
            let found = |name: &str| place.path().join(name).metadata().unwrap().mode() & 0o7777;
            assert_eq!((found("a"), found("a/b"), found("a/b/x")), (folders, folders, files), "{mode:o}");
        }
    }

    /// Needs root, as CI is: what root puts into another's repository is that one's.
    #[test]
    fn root_leaves_what_it_puts_to_the_owner_of_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = folder(0o700);
        std::fs::create_dir(place.path().join("old")).unwrap();
        chown(place.path(), Some(65534), Some(65533)).unwrap();
        let root = Root::open(place.path().to_owned(), false).unwrap();
        assert_eq!(root.likeness, Likeness { me: 0, user: 65534, group: 65533, folder: 0o700, file: 0o600 });
        root.make_folders("old/new/x").unwrap();
        drop(root.create("old/new/x").unwrap());
        for name in ["old", "old/new", "old/new/x"] {
            let found = place.path().join(name).metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (65534, 65533), "{name}");
        }
    }

    #[test]
    fn a_folder_that_took_its_place_is_another() {
        let place = folder(0o700);
        let path = place.path().join("root");
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(path.clone(), false).unwrap();
        assert_eq!(root.absence(), None);
        std::fs::rename(&path, place.path().join("away")).unwrap();
        assert!(root.absence().unwrap().contains("missing"));
        std::fs::create_dir(&path).unwrap();
        assert!(root.absence().unwrap().contains("another folder"));
        root.make_folders("a/b/x").unwrap();
        assert!(!path.join("a").exists());
    }
}
