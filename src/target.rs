//! Where a snapshot is restored to: a directory and nothing outside of it. Every step is relative to a handle of the
//! directory it is in, no link is followed, and nothing that exists is written into: entries are made under another
//! name and renamed. The metadata of directories comes last, deepest first, when nothing below changes any more.

mod file;
mod handles;
mod links;
mod place;
mod remove;
mod tar;

pub use file::{FileSlot, open_restored};
pub use tar::TarWriter;

use crate::metadata::{self, At, Fault, Names};
use handles::{Branch, Handles, Recent};
use links::Links;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vault_format::tree::{Metadata, Node};

/// How a restore treats what exists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Entries in the way.
    pub overwrite: Overwrite,
    /// Entries that the snapshot lacks are removed.
    pub delete_extra: bool,
    /// Nothing is touched; notes tell what would be.
    pub dry_run: bool,
    /// Owners by number, not by name.
    pub numeric_owner: bool,
}

/// What happens to an existing entry. A directory on both sides is gone into and takes the metadata of the snapshot,
/// whatever the policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overwrite {
    /// It stays, and is named if it differs.
    #[default]
    Never,
    /// It is replaced if type, size, time, target or device differ.
    IfChanged,
    /// It is replaced.
    Always,
}

/// Answer to a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entered {
    /// What follows lies in it, up to `leave`.
    Inside,
    /// Something else has the name and stays: nothing below can be restored, and no `leave` follows.
    Left,
}

/// Answer to an entry that is not a directory.
#[derive(Debug)]
pub enum Placement {
    /// Made, complete.
    Created,
    /// An equal one is there: left by an interrupted run, or unchanged.
    Same,
    /// A different one is there and stays.
    Left,
    /// A further name of an inode; it is made at the end.
    Linked,
    /// A device, which an ordinary user can't make.
    Omitted,
    /// It would be made or written.
    Planned,
    /// The content is wanted.
    Write(FileSlot),
}

/// Something worth telling about one entry.
#[derive(Debug)]
pub struct Note {
    /// Full path.
    pub path: PathBuf,
    /// What.
    pub kind: NoteKind,
}

/// What there is to tell.
#[derive(Debug)]
pub enum NoteKind {
    /// A different entry was there and stayed.
    Left,
    /// A device was left out: only root can make one.
    Device,
    /// An entry that the snapshot lacks was removed.
    Deleted,
    /// It would be removed.
    WouldDelete,
    /// A step failed; the entry is there all the same, unless the fault says otherwise.
    Fault(Fault),
}

impl Note {
    /// True if the target is not what was asked for.
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, NoteKind::Left | NoteKind::Fault(_))
    }
}

/// What files pending in other threads share with the target.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// None in a dry run into nothing.
    handles: Option<Handles>,
    files: Recent,
    names: Option<Names>,
    links: Mutex<Links>,
    notes: Mutex<Vec<Note>>,
}

impl Shared {
    fn handles(&self) -> io::Result<&Handles> {
        self.handles.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, path: PathBuf, kind: NoteKind) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(Note { path, kind });
    }

    fn path(&self, branch: &Branch, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let mut path = self.path.join(branch.path());
        if !name.is_empty() {
            path.push(std::ffi::OsStr::from_bytes(name));
        }
        path
    }
}

/// A directory being restored into.
#[derive(Debug)]
pub struct Target {
    shared: Arc<Shared>,
    options: Options,
    was_empty: bool,
    stack: Vec<Frame>,
    /// In the order they were entered.
    directories: Vec<(Arc<Branch>, Metadata)>,
    numbers: u64,
}

#[derive(Debug)]
struct Frame {
    branch: Arc<Branch>,
    /// Absent for a directory that a dry run didn't make, and for those far above.
    handle: Option<Arc<OwnedFd>>,
    is_real: bool,
    seen: HashSet<Vec<u8>>,
    keep_extra: bool,
}

impl Target {
    /// Opens the directory, and makes it first unless this is a dry run. The path itself may lead through links.
    pub fn open(directory: &Path, options: Options) -> io::Result<Self> {
        let path = std::path::absolute(directory)?;
        if !options.dry_run {
            std::fs::create_dir_all(&path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(root) => Some(root),
            Err(Errno::NOENT) if options.dry_run => None,
            Err(error) => return Err(error.into()),
        };
        let mut was_empty = true;
        let mut identity = (0, 0);
        if let Some(root) = &root {
            identity = metadata::identity(&rustix::fs::fstat(root)?);
            was_empty = handles::list(root.as_fd())?.is_empty();
        }
        let branch = Branch::new(None, b"", identity, 0);
        let handles = root.map(Handles::new);
        let handle = handles.as_ref().map(|handles| handles.open(&branch)).transpose()?;
        let shared = Shared {
            path,
            handles,
            files: Recent::default(),
            names: (!options.numeric_owner).then(Names::load),
            links: Mutex::default(),
            notes: Mutex::default(),
        };
        let frame = Frame { branch, is_real: handle.is_some(), handle, seen: HashSet::new(), keep_extra: false };
        let shared = Arc::new(shared);
        Ok(Self { shared, options, was_empty, stack: vec![frame], directories: Vec::new(), numbers: 1 })
    }

    /// True if the directory was made now, or held nothing.
    pub fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// What happened since the last call.
    pub fn notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Full path of an entry of the directory entered last, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        let branch = self.stack.last().map(|frame| &frame.branch);
        branch.map_or_else(|| self.shared.path.clone(), |branch| self.shared.path(branch, name))
    }

    /// Goes into a directory, made if need be. Its metadata is set at the very end.
    pub fn enter(&mut self, node: &Node) -> io::Result<Entered> {
        node.validate().map_err(io::Error::other)?;
        self.see(&node.name);
        let number = self.number();
        let frame = self.stack.last().ok_or(Errno::BADF)?;
        let (parent, above) = (Arc::clone(&frame.branch), frame.handle.clone());
        let (handle, identity) = match above {
            None => (None, (0, 0)),
            Some(above) => match self.directory(above.as_fd(), &node.name)? {
                None => {
                    self.shared.note(self.path_of(&node.name), NoteKind::Left);
                    return Ok(Entered::Left);
                }
                Some(None) => (None, (0, 0)),
                Some(Some((handle, identity))) => (Some(handle), identity),
            },
        };
        let branch = Branch::new(Some(parent), &node.name, identity, number);
        let handle = handle.map(Arc::new);
        if handle.is_some() && !self.options.dry_run {
            self.directories.push((Arc::clone(&branch), node.metadata.clone()));
        }
        let frame = Frame { branch, is_real: handle.is_some(), handle, seen: HashSet::new(), keep_extra: false };
        self.stack.push(frame);
        self.release();
        Ok(Entered::Inside)
    }

    /// Opens or makes a directory. `None`: something else stays; `Some(None)`: a dry run would make it.
    #[expect(clippy::type_complexity, reason = "three answers that only `enter` tells apart")]
    fn directory(
        &self,
        above: std::os::fd::BorrowedFd<'_>,
        name: &[u8],
    ) -> io::Result<Option<Option<(OwnedFd, (u64, u64))>>> {
        let existing = match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let is_directory = existing.is_some_and(|stat| metadata::file_type(&stat) == FileType::Directory);
        if existing.is_some() && !is_directory && self.options.overwrite == Overwrite::Never {
            return Ok(None);
        }
        if self.options.dry_run {
            return Ok(Some(if is_directory { handles::open_directory(above, name).ok() } else { None }));
        }
        if !is_directory {
            if existing.is_some() {
                rustix::fs::unlinkat(above, name, AtFlags::empty())?;
            }
            rustix::fs::mkdirat(above, name, Mode::RWXU)?;
        }
        let opened = handles::open_directory(above, name).or_else(|error| {
            // Ours, but closed to us: opened up until the end, when its metadata is set.
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            metadata::apply_mode(At::Below(above, name), 0o700)?;
            handles::open_directory(above, name)
        })?;
        let mode = rustix::fs::fstat(&opened.0)?.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            // If it is not ours to change, the first entry made in it says so.
            let _ = metadata::apply_mode(At::Open(opened.0.as_fd()), mode | 0o700);
        }
        Ok(Some(Some(opened)))
    }

    /// Leaves the directory entered last.
    pub fn leave(&mut self) -> io::Result<()> {
        if self.stack.len() < 2 {
            return Err(Errno::INVAL.into());
        }
        self.delete_extra()?;
        self.stack.pop();
        let frame = self.stack.last_mut().ok_or(Errno::BADF)?;
        if frame.handle.is_none() && frame.is_real {
            frame.handle = Some(self.shared.handles()?.open(&frame.branch)?);
        }
        Ok(())
    }

    /// Nothing in the directory entered last is removed as extra: not everything that belongs there was placed.
    pub fn keep_extra(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.keep_extra = true;
        }
    }

    /// Makes the links and sets the metadata of all directories, that of the root if given. All files are finished.
    pub fn finish(mut self, root: Option<&Metadata>) -> io::Result<Vec<Note>> {
        while self.stack.len() > 1 {
            self.keep_extra();
            self.leave()?;
        }
        self.delete_extra()?;
        if !self.options.dry_run {
            self.link();
            let handles = self.shared.handles()?;
            for (branch, metadata) in self.directories.drain(..).rev() {
                let faults = match handles.open(&branch) {
                    Ok(handle) => metadata::apply(At::Open(handle.as_fd()), false, &metadata, self.shared.names()),
                    Err(error) => vec![Fault::new("open the directory", error)],
                };
                faults.into_iter().for_each(|fault| {
                    self.shared.note(self.shared.path(&branch, b""), NoteKind::Fault(fault));
                });
            }
            if let (Some(metadata), Some(frame)) = (root, self.stack.last()) {
                let handle = handles.open(&frame.branch)?;
                for fault in metadata::apply(At::Open(handle.as_fd()), false, metadata, self.shared.names()) {
                    self.shared.note(self.shared.path.clone(), NoteKind::Fault(fault));
                }
            }
        }
        Ok(self.notes())
    }

    fn link(&self) {
        let later = self.shared.links().take();
        for link in later {
            let linked = self.shared.handles().and_then(|handles| self.shared.links().link(&link, handles));
            let kind = match linked {
                Ok(true) => continue,
                Ok(false) => NoteKind::Left,
                Err(error) => NoteKind::Fault(Fault::new("make the hard link", error)),
            };
            self.shared.note(self.shared.path(&link.branch, &link.name), kind);
        }
    }

    fn delete_extra(&mut self) -> io::Result<()> {
        let Some(frame) = self.stack.last() else { return Ok(()) };
        let Some(handle) = frame.handle.clone() else { return Ok(()) };
        if !self.options.delete_extra || frame.keep_extra {
            return Ok(());
        }
        let mut extra = handles::list(handle.as_fd())?;
        extra.retain(|name| !frame.seen.contains(name));
        extra.sort_unstable();
        for name in extra {
            let kind = if self.options.dry_run {
                NoteKind::WouldDelete
            } else {
                match remove::remove(handle.as_fd(), &name) {
                    Ok(()) => NoteKind::Deleted,
                    Err(error) => NoteKind::Fault(Fault::new("remove it", error)),
                }
            };
            self.shared.note(self.path_of(&name), kind);
        }
        Ok(())
    }

    fn see(&mut self, name: &[u8]) {
        if let Some(frame) = self.stack.last_mut().filter(|_| self.options.delete_extra) {
            frame.seen.insert(name.to_vec());
            // Its unfinished form is not extra either.
            frame.seen.insert(handles::temporary(name));
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Keeps few handles: those far above are opened again on the way back.
    fn release(&mut self) {
        let far = self.stack.len().checked_sub(handles::HANDLES_MAX + 1);
        if let Some(frame) = far.and_then(|far| self.stack.get_mut(far)) {
            frame.handle = None;
        }
    }
}
