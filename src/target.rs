//! Where a snapshot is restored to: a directory and nothing outside of it. Every step is relative to a handle of the
//! directory it is in, no link is followed, and nothing that exists is written into: entries are made under another
//! name and renamed. The metadata of directories comes last, deepest first, when nothing below changes any more.

mod changes;
mod extra;
mod file;
mod folder;
mod handles;
mod keep;
mod links;
mod place;
mod remove;
mod sparse;
mod tar;

pub use changes::{Changes, Leftover, Named, Need, is_full, room};
pub use extra::Gone;
pub use file::{FileSlot, open_restored};
pub use keep::{Extra, Keep};
pub use tar::TarWriter;

use crate::metadata::{self, Fault, Names};
use crate::runtime::Locked;
use changes::Needs;
use folder::{Care, Folder};
use handles::{Branch, Handles, Recent, Temporary};
use links::Links;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault_format::tree::Metadata;

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
    /// Everything that is replaced, mended or deleted is named, not only the first few.
    pub name_all: bool,
    /// Random, so that the names of unfinished entries are like nobody else's.
    pub nonce: u64,
}

/// What happens to an existing entry. A directory on both sides is gone into; its mode, owner and attributes are an
/// existing thing like the content of a file, and its time follows from what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overwrite {
    /// It stays, and is named if it differs.
    #[default]
    Never,
    /// It is replaced if type, size, time, target or device differ; if only mode, owner or attributes do, they are mended.
    IfChanged,
    /// It is replaced; a directory is mended.
    Always,
}

/// Answer to a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entered {
    /// What follows lies in it, up to `leave`.
    Inside,
    /// Something else has the name and stays: nothing below can be restored, and no `leave` follows.
    Left,
    /// The same for a link where a folder is only on the way; it was not noted yet.
    Link,
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
    /// Mode, owner or attributes of an equal one were set.
    Mended,
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
    /// The same was there, but with other metadata, and stayed: how it differs.
    Differs(String),
    /// It belongs to the repository that is restored from, and stayed.
    Own,
    /// A device was left out: only root can make one.
    Device,
    /// An entry that the snapshot lacks was removed.
    Deleted(Gone),
    /// It would be removed.
    WouldDelete(Gone),
    /// A step failed; the entry is there all the same, unless the fault says otherwise.
    Fault(Fault),
}

/// What files pending in other threads share with the target.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// None in a dry run into nothing.
    handles: Option<Handles>,
    files: Recent,
    names: Option<Names>,
    links: Locked<Links>,
    notes: Locked<Vec<Note>>,
    temporary: Temporary,
    /// Entries that belong to whoever restores, though they should not.
    owned: Locked<Named>,
}

impl Shared {
    fn handles(&self) -> io::Result<&Handles> {
        self.handles.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }

    fn note(&self, path: PathBuf, kind: NoteKind) {
        self.notes.lock().push(Note { path, kind });
    }

    fn is_temporary(&self, name: &[u8]) -> bool {
        self.temporary.is_ours(name)
    }

    /// A full path as it is called below the root, for people.
    fn short(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.path).unwrap_or(path);
        if below.as_os_str().is_empty() { ".".to_owned() } else { below.display().to_string() }
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
    was_made: bool,
    was_empty: bool,
    stack: Vec<Frame>,
    /// In the order they were entered.
    directories: Vec<Folder>,
    root: Care,
    numbers: u64,
    keep: Option<Arc<dyn Keep>>,
    /// The repository itself: it is neither replaced, removed, nor gone into.
    own: HashSet<(u64, u64)>,
    /// What the snapshot lacks.
    pending: Vec<extra::Pending>,
    changes: Changes,
    needs: Needs,
}

#[derive(Debug)]
struct Frame {
    branch: Arc<Branch>,
    /// Absent for a directory that a dry run didn't make, and for those far above.
    handle: Option<Arc<OwnedFd>>,
    is_real: bool,
    /// It was there before this run.
    existed: bool,
    seen: HashSet<Vec<u8>>,
    keep_extra: bool,
    /// The file system that it is on, or will be.
    device: u64,
    /// That is another one than where the user's folder begins.
    is_foreign: bool,
}

impl Target {
    /// Opens the directory, and makes it first unless this is a dry run. The path itself may lead through links.
    pub fn open(directory: &Path, options: Options) -> io::Result<Self> {
        let path = std::path::absolute(directory)?;
        let was_made = path.symlink_metadata().is_err();
        if path.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder"));
        }
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
            links: Locked::default(),
            notes: Locked::default(),
            temporary: Temporary::new(options.nonce),
            owned: Locked::default(),
        };
        let frame = Frame {
            branch,
            is_real: handle.is_some(),
            existed: !was_empty,
            handle,
            seen: HashSet::new(),
            keep_extra: false,
            device: identity.0,
            is_foreign: false,
        };
        Ok(Self {
            shared: Arc::new(shared),
            options,
            was_made,
            was_empty,
            stack: vec![frame],
            directories: Vec::new(),
            root: Care::Whole,
            numbers: 1,
            keep: None,
            own: HashSet::new(),
            pending: Vec::new(),
            changes: Changes::new(options.name_all),
            needs: Needs::default(),
        })
    }

    /// True if the directory was made now.
    pub fn was_made(&self) -> bool {
        self.was_made
    }

    /// What happened since the last call.
    pub fn notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.shared.notes.lock())
    }

    /// What is still to be made, by file system.
    pub fn needs(&self) -> Vec<Need> {
        self.needs.list()
    }

    /// Full path of an entry of the directory entered last, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        let branch = self.stack.last().map(|frame| &frame.branch);
        branch.map_or_else(|| self.shared.path.clone(), |branch| self.shared.path(branch, name))
    }

    /// Leaves the directory entered last.
    pub fn leave(&mut self) -> io::Result<()> {
        if self.stack.len() < 2 {
            return Err(Errno::INVAL.into());
        }
        self.find_leftovers()?;
        self.find_extra()?;
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

    /// Leaves all directories: then it is known what is extra.
    pub fn leave_all(&mut self) -> io::Result<()> {
        while self.stack.len() > 1 {
            self.keep_extra();
            self.leave()?;
        }
        self.find_leftovers()?;
        self.find_extra()?;
        // once is enough
        if let Some(frame) = self.stack.last_mut() {
            (frame.existed, frame.keep_extra) = (false, true);
        }
        Ok(())
    }

    /// Makes the links, removes what is extra, and sets the metadata of all directories, that of the root if given. All
    /// files are finished.
    pub fn finish(mut self, root: Option<&Metadata>) -> io::Result<(Vec<Note>, Changes)> {
        self.leave_all()?;
        if !self.options.dry_run {
            self.link();
        }
        let deleted = self.delete_extra();
        if !self.options.dry_run {
            self.settle_folders(root)?;
        }
        let mut notes = self.notes();
        notes.extend(deleted);
        let mut changes = std::mem::take(&mut self.changes);
        changes.owned = std::mem::take(&mut *self.shared.owned.lock());
        Ok((notes, changes))
    }

    fn link(&self) {
        let later = self.shared.links.lock().take();
        for link in later {
            let linked = self.shared.handles().and_then(|handles| {
                let links = self.shared.links.lock();
                links.link(&link, handles, &self.shared.temporary)
            });
            let kind = match linked {
                Ok(true) => continue,
                Ok(false) => NoteKind::Left,
                Err(error) => NoteKind::Fault(Fault::new("make the hard link", error)),
            };
            self.shared.note(self.shared.path(&link.branch, &link.name), kind);
        }
    }

    /// An entry of the snapshot that is not made: what bears its name is none that the snapshot lacks.
    pub fn pass_over(&mut self, name: &[u8]) {
        self.see(name);
    }

    fn see(&mut self, name: &[u8]) {
        let matters = self.options.delete_extra || handles::run_of(name).is_some();
        if let Some(frame) = self.stack.last_mut().filter(|_| matters) {
            frame.seen.insert(name.to_vec());
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
