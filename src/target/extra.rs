//! Entries of a target that the snapshot lacks. They are found while the directories are left and removed at the very
//! end, when all content is there: a restore that fails has deleted nothing. What was never a part of the snapshot
//! stays: see [`Keep`].

use super::handles::{self, Branch};
use super::keep::Keep;
use super::remove::Removal;
use super::{Note, NoteKind, Target, changes};
use crate::metadata;
use rustix::fs::AtFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What went of an entry that the snapshot lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// How many entries, itself included.
    pub entries: u64,
    /// False if it is a directory in which something stays.
    pub is_whole: bool,
}

/// The name of what goes, with how many entries go that lie in it.
fn with_entries(name: String, gone: u64, is_whole: bool) -> String {
    match (gone, is_whole) {
        (1, true) => name,
        (2, true) => format!("{name}/ (with 1 entry)"),
        (_, true) => format!("{name}/ (with {} entries)", gone - 1),
        (1, false) => format!("{name}/ (1 entry of it)"),
        (_, false) => format!("{name}/ ({gone} entries of it)"),
    }
}

/// Extra entries of one directory.
#[derive(Debug)]
pub(super) struct Pending {
    branch: Arc<Branch>,
    device: u64,
    names: Vec<Vec<u8>>,
}

impl Target {
    /// Sets the rules for what the snapshot lacks; without them everything goes but mounts and sockets.
    pub fn spare(&mut self, keep: Arc<dyn Keep>) {
        self.keep = Some(keep);
    }

    /// What these paths are, be it a link or what it leads to, is never touched: the repository that is read, its cache.
    pub fn spare_own(&mut self, paths: &[PathBuf]) {
        let both = |path: &PathBuf| [rustix::fs::stat(path), rustix::fs::lstat(path)];
        self.own = paths.iter().flat_map(both).flatten().map(|stat| metadata::identity(&stat)).collect();
    }

    /// Nothing that was found to be extra is removed: not everything was restored. Gives the number of such entries.
    pub fn keep_all_extra(&mut self) -> u64 {
        self.pending.drain(..).map(|pending| pending.names.len() as u64).sum()
    }

    /// Notes what other runs have not finished in the directory entered last. One of them may be at work, so it stays.
    pub(super) fn find_leftovers(&mut self) -> io::Result<()> {
        let Some(frame) = self.stack.last().filter(|frame| frame.existed) else { return Ok(()) };
        let Some(handle) = frame.handle.clone() else { return Ok(()) };
        for name in handles::list(handle.as_fd())? {
            let run =
                handles::run_of(&name).filter(|_| !self.shared.is_temporary(&name) && !frame.seen.contains(&name));
            let Some(run) = run else { continue };
            let stat = rustix::fs::statat(&handle, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            let leftover = self.changes.leftovers.entry(run.to_owned()).or_default();
            leftover.entries += 1;
            leftover.bytes += stat.as_ref().map_or(0, changes::allocated);
        }
        Ok(())
    }

    /// Notes what is extra in the directory entered last.
    pub(super) fn find_extra(&mut self) -> io::Result<()> {
        let Some(frame) = self.stack.last() else { return Ok(()) };
        let Some(handle) = frame.handle.clone() else { return Ok(()) };
        let path = frame.branch.path();
        let path = path.as_os_str().as_bytes();
        let is_outside = self.keep.as_ref().is_some_and(|keep| keep.is_outside(path));
        if !self.options.delete_extra || frame.keep_extra || is_outside {
            return Ok(());
        }
        let mut names = handles::list(handle.as_fd())?;
        names.retain(|name| !frame.seen.contains(name) && !self.shared.is_temporary(name));
        if names.is_empty() {
            return Ok(());
        }
        let below = self.keep.as_ref().and_then(|keep| keep.below(path, handle.as_fd()));
        let why = if frame.is_foreign { Some("it lies on another file system") } else { below };
        let (branch, device) = (Arc::clone(&frame.branch), frame.device);
        if let Some(why) = why {
            let count = names.len() as u64;
            let place = self.shared.short(&self.path_of(b""));
            self.changes.kept.add_many(count, || format!("{place}: what the snapshot lacks of it: {why}"));
            return Ok(());
        }
        names.sort_unstable();
        self.pending.push(Pending { branch, device, names });
        Ok(())
    }

    /// Removes what was found, deepest first.
    pub(super) fn delete_extra(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        for Pending { branch, device, names } in std::mem::take(&mut self.pending) {
            let handle = match self.shared.handles().and_then(|handles| handles.open(&branch)) {
                Ok(handle) => handle,
                Err(error) => {
                    let kind = NoteKind::Fault(metadata::Fault::new("remove what the snapshot lacks", error));
                    notes.push(Note { path: self.shared.path(&branch, b""), kind });
                    continue;
                }
            };
            for name in names {
                let path = self.shared.path(&branch, &name);
                notes.extend(self.remove(handle.as_fd(), (&branch, &name), device).map(|kind| Note { path, kind }));
            }
        }
        notes
    }

    fn remove(&mut self, handle: BorrowedFd<'_>, (branch, name): (&Branch, &[u8]), device: u64) -> Option<NoteKind> {
        let keep = self.keep.clone();
        let mut removal = Removal::new((keep.as_deref(), &self.own), device, self.options.dry_run);
        let done = removal.remove(handle, name, branch.path().as_os_str().as_bytes());
        let (gone, kept) = (removal.gone, removal.kept);
        self.note_kept(&kept);
        let path = self.shared.path(branch, name);
        let is_whole = done.as_ref().is_ok_and(|is_whole| *is_whole);
        if gone > 0 {
            self.changes.deleted.add_many(gone, || with_entries(self.shared.short(&path), gone, is_whole));
        }
        let gone = Gone { entries: gone, is_whole };
        match done {
            Err(error) => Some(NoteKind::Fault(metadata::Fault::new("remove it", error))),
            Ok(_) if gone.entries == 0 => None,
            Ok(_) if self.options.dry_run => Some(NoteKind::WouldDelete(gone)),
            Ok(_) => Some(NoteKind::Deleted(gone)),
        }
    }

    fn note_kept(&mut self, kept: &[(Vec<u8>, &'static str)]) {
        for (path, why) in kept {
            let place = String::from_utf8_lossy(path);
            self.changes.kept.add(|| format!("{place}: {why}"));
        }
    }

    /// Removes a directory that is in the way of something else; false if something in it must stay: then all does.
    pub(super) fn clear(&mut self, directory: BorrowedFd<'_>, name: &[u8], is_empty: bool) -> io::Result<bool> {
        if is_empty {
            if !self.options.dry_run {
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            return Ok(true);
        }
        let Some(frame) = self.stack.last() else { return Ok(false) };
        let (branch, device) = (Arc::clone(&frame.branch), frame.device);
        let path: PathBuf = branch.path();
        let path = path.as_os_str().as_bytes();
        let keep = self.keep.clone();
        let mut first = Removal::new((keep.as_deref(), &self.own), device, true);
        if !first.remove(directory, name, path)? {
            let kept = first.kept;
            self.note_kept(&kept);
            return Ok(false);
        }
        if !self.options.dry_run {
            Removal::new((keep.as_deref(), &self.own), device, false).remove(directory, name, path)?;
        }
        let whole = self.path_of(name);
        self.changes.deleted.add_many(first.gone, || with_entries(self.shared.short(&whole), first.gone, true));
        Ok(true)
    }
}
