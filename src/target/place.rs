//! Entries that are not directories: compared with what has their name, and made anew beside it if the policy wants
//! so. Links, pipes and devices are complete at once; of files only a slot is given out.

use super::handles::{existing, put, settle};
use super::{FileSlot, NoteKind, Overwrite, Placement, Shared, Target};
use crate::metadata::{self, At};
use crate::runtime::Locked;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use vault_format::tree::{Metadata, Node, NodeKind};

/// What the policy says about a name.
enum Verdict {
    Same,
    /// Something else stays.
    Left,
    /// The same stays, though its metadata is not that of the snapshot.
    Differs(String),
    /// The same is there, and its metadata is to be set.
    Mend(String),
    Make {
        replace: bool,
    },
}

impl Shared {
    /// Counts an entry that belongs to somebody else in the snapshot, but to whoever restores here.
    pub(super) fn note_owner(&self, metadata: &Metadata) {
        let own = rustix::process::geteuid();
        if !own.is_root() && metadata::owner(metadata, self.names()).0 != own.as_raw() {
            let mut owned = self.owned.lock();
            owned.add(|| String::from_utf8_lossy(&metadata.user).into_owned());
        }
    }
}

impl Target {
    /// Places an entry in the directory entered last.
    pub fn place(&mut self, node: &Node) -> io::Result<Placement> {
        node.validate().map_err(io::Error::other)?;
        self.see(&node.name);
        let frame = self.stack.last().ok_or(Errno::BADF)?;
        let branch = Arc::clone(&frame.branch);
        let handle = frame.handle.clone();
        let group = node.metadata.link_group;
        let is_further = self.shared.links.lock().has(group);
        let existing = match &handle {
            None => None,
            Some(handle) => existing(handle.as_fd(), &node.name)?,
        };
        if existing.as_ref().is_some_and(|stat| self.own.contains(&metadata::identity(stat))) {
            return Ok(self.left(node, NoteKind::Own));
        }
        let Some(handle) = handle else {
            self.plan(node, None, is_further);
            return Ok(Placement::Planned);
        };
        let directory = handle.as_fd();
        let mut verdict = self.judge(directory, node, existing.as_ref(), is_further)?;
        if let (Verdict::Mend(how), Some(stat)) = (&verdict, &existing) {
            let path = self.path_of(&node.name);
            if self.options.dry_run || self.mend(directory, node, stat) {
                self.changes.mended.add(|| format!("{} ({how})", self.shared.short(&path)));
                self.shared.links.lock().begin(group, &branch, &node.name, Some(metadata::identity(stat)));
                return Ok(Placement::Mended);
            }
            verdict = Verdict::Make { replace: true };
        }
        // further names of the inode are linked to what is there
        if !is_further && matches!(verdict, Verdict::Same | Verdict::Mend(_) | Verdict::Differs(_)) {
            self.shared.links.lock().begin(group, &branch, &node.name, existing.as_ref().map(metadata::identity));
        }
        let replace = match verdict {
            Verdict::Same | Verdict::Mend(_) => return Ok(Placement::Same),
            Verdict::Left => return Ok(self.left(node, NoteKind::Left)),
            Verdict::Differs(how) => return Ok(self.left(node, NoteKind::Differs(how))),
            Verdict::Make { replace } => replace,
        };
        if !self.make_way(directory, &node.name, existing.as_ref())? {
            return Ok(self.left(node, NoteKind::Left));
        }
        self.plan(node, existing.as_ref(), is_further);
        if self.options.dry_run {
            return Ok(Placement::Planned);
        }
        if is_further {
            self.shared.links.lock().defer(group, &branch, &node.name, replace);
            return Ok(Placement::Linked);
        }
        if let NodeKind::File { size, .. } = node.kind {
            self.shared.links.lock().begin(group, &branch, &node.name, None);
            return Ok(Placement::Write(FileSlot {
                shared: Arc::clone(&self.shared),
                branch,
                name: node.name.clone(),
                size,
                replace,
                number: self.number(),
                made: Locked::new(None),
            }));
        }
        let Some(identity) = self.create(directory, node, replace)? else { return Ok(Placement::Omitted) };
        self.shared.links.lock().begin(group, &branch, &node.name, Some(identity));
        Ok(Placement::Created)
    }

    /// Removes a directory that is in the way; false if it has to stay.
    fn make_way(&mut self, directory: BorrowedFd<'_>, name: &[u8], existing: Option<&Stat>) -> io::Result<bool> {
        if existing.is_none_or(|stat| metadata::file_type(stat) != FileType::Directory) {
            return Ok(true);
        }
        let is_empty = self.is_empty(directory, name)?;
        self.clear(directory, name, is_empty)
    }

    fn left(&self, node: &Node, kind: NoteKind) -> Placement {
        self.shared.note(self.path_of(&node.name), kind);
        Placement::Left
    }

    /// Counts what is about to be made: the room for it, and what makes room for it.
    fn plan(&mut self, node: &Node, existing: Option<&Stat>, is_further: bool) {
        let Some(frame) = self.stack.last() else { return };
        let group = node.metadata.link_group;
        let bytes = match &node.kind {
            NodeKind::File { size, holes, .. } if !is_further => {
                let holes = holes.iter().fold(0u64, |sum, hole| sum.saturating_add(hole.length));
                size.saturating_sub(holes)
            }
            _ => 0,
        };
        let branch = Arc::clone(&frame.branch);
        if self.options.dry_run {
            self.needs.add(frame.device, bytes, existing, || self.shared.path(&branch, b""));
            if !is_further {
                self.shared.links.lock().begin(group, &branch, &node.name, None);
            }
        }
        if existing.is_some() {
            let path = self.shared.path(&branch, &node.name);
            self.changes.replaced.add(|| self.shared.short(&path));
        }
    }

    fn judge(
        &self,
        directory: BorrowedFd<'_>,
        node: &Node,
        existing: Option<&Stat>,
        is_further: bool,
    ) -> io::Result<Verdict> {
        let Some(stat) = existing else { return Ok(Verdict::Make { replace: false }) };
        if is_further {
            let first = self.shared.links.lock().identity(node.metadata.link_group);
            if first == Some(metadata::identity(stat)) {
                return Ok(Verdict::Same);
            }
        } else if self.options.overwrite != Overwrite::Always && is_same(directory, node, stat)? {
            return Ok(self.judge_metadata(directory, node, stat));
        }
        if self.options.overwrite == Overwrite::Never {
            return Ok(Verdict::Left);
        }
        if metadata::file_type(stat) != FileType::Directory {
            return Ok(Verdict::Make { replace: true });
        }
        // A whole directory goes only if removing was asked for, or if it is empty.
        let goes = self.options.delete_extra || self.is_empty(directory, &node.name)?;
        Ok(if goes { Verdict::Make { replace: false } } else { Verdict::Left })
    }

    /// An entry with the right content.
    fn judge_metadata(&self, directory: BorrowedFd<'_>, node: &Node, stat: &Stat) -> Verdict {
        let at = At::Below(directory, &node.name);
        let Some(how) = metadata::difference(at, stat, &node.metadata, self.shared.names()) else {
            return Verdict::Same;
        };
        match (self.options.overwrite, &node.kind) {
            (Overwrite::Never, _) => Verdict::Differs(how),
            // The inode may have names elsewhere, which are not ours to change.
            (_, NodeKind::File { .. }) if stat.st_nlink == 1 => Verdict::Mend(how),
            _ => Verdict::Make { replace: true },
        }
    }

    /// Sets the metadata of an existing file; false if it has to be made anew for that.
    fn mend(&self, directory: BorrowedFd<'_>, node: &Node, stat: &Stat) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let Ok(file) = rustix::fs::openat(directory, node.name.as_slice(), flags, Mode::empty()) else { return false };
        let is_it = |now: Stat| metadata::identity(&now) == metadata::identity(stat) && now.st_nlink == 1;
        if !rustix::fs::fstat(&file).is_ok_and(is_it) {
            return false;
        }
        for fault in metadata::mend(At::Open(file.as_fd()), false, &node.metadata, self.shared.names()) {
            self.shared.note(self.path_of(&node.name), NoteKind::Fault(fault));
        }
        true
    }

    fn is_empty(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        let (child, _) = super::handles::open_directory(directory, name)?;
        Ok(super::handles::list(child.as_fd())?.is_empty())
    }

    /// Makes a link, a pipe or a device; `None` for a device that may not be made.
    fn create(&self, directory: BorrowedFd<'_>, node: &Node, replace: bool) -> io::Result<Option<(u64, u64)>> {
        let node_of = |file_type, device| {
            put(&self.shared.temporary, |temp| {
                rustix::fs::mknodat(directory, temp, file_type, Mode::RUSR | Mode::WUSR, device)
            })
        };
        let made = match &node.kind {
            NodeKind::Symlink(target) => {
                put(&self.shared.temporary, |temp| rustix::fs::symlinkat(target.as_slice(), directory, temp))
            }
            NodeKind::Fifo => node_of(FileType::Fifo, 0),
            NodeKind::CharDevice(major, minor) => {
                node_of(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::BlockDevice(major, minor) => node_of(FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
            NodeKind::File { .. } | NodeKind::Directory(_) => Err(Errno::INVAL.into()),
        };
        let is_device = matches!(node.kind, NodeKind::CharDevice(..) | NodeKind::BlockDevice(..));
        if is_device && made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            self.shared.note(self.path_of(&node.name), NoteKind::Device);
            return Ok(None);
        }
        let (temp, ()) = made?;
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        let at = At::Below(directory, &temp);
        for fault in metadata::apply(at, is_link, &node.metadata, self.shared.names()) {
            self.shared.note(self.path_of(&node.name), NoteKind::Fault(fault));
        }
        self.shared.note_owner(&node.metadata);
        let stat = rustix::fs::statat(directory, temp.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        match settle(directory, &temp, &node.name, replace) {
            Ok(true) => {}
            Ok(false) => self.shared.note(self.path_of(&node.name), NoteKind::Left),
            Err(error) => {
                let _ = rustix::fs::unlinkat(directory, temp.as_slice(), AtFlags::empty());
                return Err(error);
            }
        }
        Ok(Some(metadata::identity(&stat)))
    }
}

/// Equal as far as can be told without reading: what a run that was interrupted has finished is.
fn is_same(directory: BorrowedFd<'_>, node: &Node, stat: &Stat) -> io::Result<bool> {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match (&node.kind, metadata::file_type(stat)) {
        (NodeKind::File { size, .. }, FileType::RegularFile) => {
            *size == metadata::size(stat) && metadata::mtime(stat) == node.metadata.mtime
        }
        (NodeKind::Symlink(target), FileType::Symlink) => {
            metadata::mtime(stat) == node.metadata.mtime
                && rustix::fs::readlinkat(directory, node.name.as_slice(), Vec::new())?.as_bytes() == target.as_slice()
        }
        (NodeKind::Fifo, FileType::Fifo) => true,
        (NodeKind::CharDevice(major, minor), FileType::CharacterDevice)
        | (NodeKind::BlockDevice(major, minor), FileType::BlockDevice) => (*major, *minor) == device,
        _ => false,
    })
}
