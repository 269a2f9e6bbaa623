//! Directories of a target. A new one is made under another name, gets its owner and mode at once and then its name, so
//! that a repeated run tells what it made itself from what was there before. Times come last, deepest first, when nothing
//! below changes any more.

use super::handles::{self, Branch, put, settle};
use super::{Entered, Frame, NoteKind, Overwrite, Target, keep};
use crate::metadata::{self, At, Fault};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// What is done about the metadata of a directory at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Care {
    /// It takes that of the snapshot.
    Whole,
    /// It existed and differs, and is mended.
    Mend,
    /// It has that of the snapshot; only its time changes with what is in it.
    Time,
    /// It is left alone, but for this mode that it had before it was opened up.
    Leave(Option<u32>),
}

/// A directory that was entered.
#[derive(Debug)]
pub(super) struct Folder {
    branch: Arc<Branch>,
    metadata: Metadata,
    care: Care,
    /// The mode that it had before it was opened up.
    before: Option<u32>,
}

/// A directory as it was found or made.
struct Opened {
    handle: OwnedFd,
    identity: (u64, u64),
    care: Care,
    before: Option<u32>,
}

/// Answer to the wish for a directory.
enum Found {
    /// There, or made.
    Open(Opened),
    /// A dry run would make it.
    Planned,
    /// Something else has the name and stays.
    Left,
    /// A link is on the way.
    Link,
    /// It belongs to the repository that is restored from.
    Own,
}

impl Target {
    /// Goes into a directory, made if need be. Its time is set at the very end.
    pub fn enter(&mut self, node: &Node) -> io::Result<Entered> {
        self.go_into(node, true)
    }

    /// The same on the way to something below it: if it exists, nothing of it changes.
    pub fn pass(&mut self, node: &Node) -> io::Result<Entered> {
        self.go_into(node, false)
    }

    fn go_into(&mut self, node: &Node, is_wanted: bool) -> io::Result<Entered> {
        node.validate().map_err(io::Error::other)?;
        self.see(&node.name);
        let number = self.number();
        let frame = self.stack.last().ok_or(Errno::BADF)?;
        let (parent, above) = (Arc::clone(&frame.branch), frame.handle.clone());
        let (mut device, mut is_foreign) = (frame.device, frame.is_foreign);
        let found = match above {
            None => Found::Planned,
            Some(above) => self.directory(above.as_fd(), node, is_wanted)?,
        };
        let mut before = None;
        let (handle, identity, care) = match found {
            Found::Left => {
                self.shared.note(self.path_of(&node.name), NoteKind::Left);
                return Ok(Entered::Left);
            }
            Found::Link => return Ok(Entered::Link),
            Found::Own => {
                // a snapshot of what is around a repository has an empty folder there
                let is_empty = matches!(node.kind, NodeKind::Directory(TreeRoot { count: 0, .. }));
                if !is_empty {
                    self.shared.note(self.path_of(&node.name), NoteKind::Own);
                }
                return Ok(Entered::Left);
            }
            Found::Planned => {
                self.needs.add(device, 0, None, || self.shared.path(&parent, &node.name));
                (None, (0, 0), None)
            }
            Found::Open(opened) => {
                before = opened.before;
                (Some(Arc::new(opened.handle)), opened.identity, Some(opened.care))
            }
        };
        let branch = Branch::new(Some(parent), &node.name, identity, number);
        if let Some(handle) = &handle {
            is_foreign |= identity.0 != device || keep::is_mounted(handle.as_fd());
            device = identity.0;
            is_foreign &= !self.is_named(&branch);
        }
        if let Some(care) = care.filter(|_| !self.options.dry_run) {
            let metadata = node.metadata.clone();
            self.directories.push(Folder { branch: Arc::clone(&branch), metadata, care, before });
        }
        let is_real = handle.is_some();
        let existed = care.is_some_and(|care| care != Care::Whole);
        let seen = HashSet::new();
        self.stack.push(Frame { branch, handle, is_real, existed, seen, keep_extra: false, device, is_foreign });
        self.release();
        Ok(Entered::Inside)
    }

    fn is_named(&self, branch: &Branch) -> bool {
        use std::os::unix::ffi::OsStrExt;
        self.keep.as_ref().is_some_and(|keep| keep.is_named(branch.path().as_os_str().as_bytes()))
    }

    fn directory(&mut self, above: BorrowedFd<'_>, node: &Node, is_wanted: bool) -> io::Result<Found> {
        let name = node.name.as_slice();
        let existing = handles::existing(above, name)?;
        if existing.as_ref().is_some_and(|stat| self.own.contains(&metadata::identity(stat))) {
            return Ok(Found::Own);
        }
        let is_directory = existing.is_some_and(|stat| metadata::file_type(&stat) == FileType::Directory);
        if is_directory {
            return self.existing(above, node, is_wanted);
        }
        // somebody moved what is only on the way: other things lie behind the link
        if !is_wanted && existing.is_some_and(|stat| metadata::file_type(&stat) == FileType::Symlink) {
            return Ok(Found::Link);
        }
        if existing.is_some() {
            if self.options.overwrite == Overwrite::Never {
                return Ok(Found::Left);
            }
            let path = self.path_of(name);
            self.changes.replaced.add(|| self.shared.short(&path));
        }
        if self.options.dry_run {
            return Ok(Found::Planned);
        }
        if existing.is_some() {
            rustix::fs::unlinkat(above, name, AtFlags::empty())?;
        }
        self.make_directory(above, node).map(Found::Open)
    }

    fn make_directory(&self, above: BorrowedFd<'_>, node: &Node) -> io::Result<Opened> {
        let (temp, ()) = put(&self.shared.temporary, |temp| rustix::fs::mkdirat(above, temp, Mode::RWXU))?;
        let made = handles::open_directory(above, &temp).and_then(|(handle, identity)| {
            self.prepare_folder(handle.as_fd(), &node.metadata);
            if settle(above, &temp, &node.name, false)? {
                Ok(Opened { handle, identity, care: Care::Whole, before: None })
            } else {
                Err(io::Error::other("something else has taken its name meanwhile"))
            }
        });
        if made.is_err() {
            let _ = rustix::fs::unlinkat(above, temp.as_slice(), AtFlags::REMOVEDIR);
        }
        made
    }

    /// Owner and mode for now, open to its owner. What goes wrong is told when it is done again at the end.
    fn prepare_folder(&self, handle: BorrowedFd<'_>, metadata: &Metadata) {
        let open = Metadata { mode: metadata.mode | 0o700, ..metadata.clone() };
        metadata::apply(At::Open(handle), false, &open, self.shared.names());
    }

    fn existing(&mut self, above: BorrowedFd<'_>, node: &Node, is_wanted: bool) -> io::Result<Found> {
        let name = node.name.as_slice();
        if self.options.dry_run {
            let Ok((handle, identity)) = handles::open_directory(above, name) else { return Ok(Found::Planned) };
            let care = self.judge_folder(handle.as_fd(), name, &node.metadata, is_wanted)?;
            return Ok(Found::Open(Opened { handle, identity, care, before: None }));
        }
        let before = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777;
        let mut is_opened_up = false;
        let (handle, identity) = handles::open_directory(above, name).or_else(|error| {
            // Ours, but closed to us: opened up until the end.
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            metadata::apply_mode(At::Below(above, name), before | 0o700)?;
            is_opened_up = true;
            handles::open_directory(above, name)
        })?;
        if is_opened_up {
            metadata::apply_mode(At::Open(handle.as_fd()), before)?;
        }
        let mut care = self.judge_folder(handle.as_fd(), name, &node.metadata, is_wanted)?;
        // If it is not ours to change, the first entry made in it says so.
        let must_open = before & 0o700 != 0o700;
        let is_open = must_open && metadata::apply_mode(At::Open(handle.as_fd()), before | 0o700).is_ok();
        care = match care {
            Care::Leave(_) if is_open => Care::Leave(Some(before)),
            Care::Time if must_open => Care::Whole,
            care => care,
        };
        Ok(Found::Open(Opened { handle, identity, care, before: is_open.then_some(before) }))
    }

    /// What an existing directory gets by the policy; what stays different is named.
    fn judge_folder(
        &mut self,
        handle: BorrowedFd<'_>,
        name: &[u8],
        metadata: &Metadata,
        is_wanted: bool,
    ) -> io::Result<Care> {
        if !is_wanted {
            return Ok(Care::Leave(None));
        }
        let stat = rustix::fs::fstat(handle)?;
        let Some(how) = metadata::difference(At::Open(handle), &stat, metadata, self.shared.names()) else {
            // Open to its owner for longer than it should be: a run that was interrupted.
            let is_open = stat.st_mode & 0o700 != metadata.mode & 0o700;
            return Ok(if is_open { Care::Whole } else { Care::Time });
        };
        let path = self.path_of(name);
        if self.options.overwrite == Overwrite::Never {
            self.shared.note(path, NoteKind::Differs(how));
            return Ok(Care::Leave(None));
        }
        self.changes.mended.add(|| format!("{} ({how})", self.shared.short(&path)));
        Ok(Care::Mend)
    }

    /// Says what the root is to become, before anything is made in it: one that exists and holds something is judged like
    /// any other directory. Without metadata it is left alone.
    pub fn begin(&mut self, root: Option<&Metadata>) -> io::Result<()> {
        let Some(handle) = self.stack.first().and_then(|frame| frame.handle.clone()) else { return Ok(()) };
        self.root = match root {
            None => Care::Leave(None),
            Some(metadata) if self.was_empty => {
                if !self.options.dry_run {
                    self.prepare_folder(handle.as_fd(), metadata);
                }
                Care::Whole
            }
            Some(metadata) => self.judge_folder(handle.as_fd(), b"", metadata, true)?,
        };
        Ok(())
    }

    /// Sets what is left to set on all directories.
    pub(super) fn settle_folders(&mut self, root: Option<&Metadata>) -> io::Result<()> {
        let handles = self.shared.handles()?;
        for Folder { branch, metadata, care, .. } in self.directories.drain(..).rev() {
            let faults = match handles.open(&branch) {
                Ok(handle) => settle_folder(&self.shared, handle.as_fd(), &metadata, care),
                Err(error) => vec![Fault::new("open the directory", error)],
            };
            faults.into_iter().for_each(|fault| {
                self.shared.note(self.shared.path(&branch, b""), NoteKind::Fault(fault));
            });
        }
        if let (Some(metadata), Some(frame)) = (root, self.stack.first()) {
            let handle = handles.open(&frame.branch)?;
            for fault in settle_folder(&self.shared, handle.as_fd(), metadata, self.root) {
                self.shared.note(self.shared.path.clone(), NoteKind::Fault(fault));
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    /// A run that does not get to its end closes what it opened up in directories of others.
    fn drop(&mut self) {
        let Ok(handles) = self.shared.handles() else { return };
        for Folder { branch, before, .. } in self.directories.drain(..).rev() {
            let handle = before.and_then(|mode| Some((mode, handles.open(&branch).ok()?)));
            if let Some((mode, handle)) = handle {
                // nobody is left to tell
                let _ = metadata::apply_mode(At::Open(handle.as_fd()), mode);
            }
        }
    }
}

fn settle_folder(shared: &super::Shared, handle: BorrowedFd<'_>, metadata: &Metadata, care: Care) -> Vec<Fault> {
    let at = At::Open(handle);
    match care {
        Care::Whole => {
            let faults = metadata::apply(at, false, metadata, shared.names());
            shared.note_owner(metadata);
            faults
        }
        Care::Mend => metadata::mend(at, false, metadata, shared.names()),
        Care::Time => metadata::apply_time(at, metadata.mtime).into_iter().collect(),
        Care::Leave(None) => Vec::new(),
        Care::Leave(Some(mode)) => {
            let done = metadata::apply_mode(at, mode);
            done.err().map(|error| Fault::new("close it again", error)).into_iter().collect()
        }
    }
}
