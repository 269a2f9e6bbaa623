//! Entries that are not directories: compared with what has their name, and made anew beside it if the policy wants
//! so. Links, pipes and devices are complete at once; of files only a slot is given out.

use super::handles::{make, settle, temporary};
use super::{FileSlot, NoteKind, Overwrite, Placement, Target, remove};
use crate::metadata::{self, At};
use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use vault_format::tree::{Node, NodeKind};

/// What the policy says about a name.
enum Verdict {
    Same,
    Left,
    Make { replace: bool },
}

impl Target {
    /// Places an entry in the directory entered last.
    pub fn place(&mut self, node: &Node) -> io::Result<Placement> {
        node.validate().map_err(io::Error::other)?;
        self.see(&node.name);
        let frame = self.stack.last().ok_or(Errno::BADF)?;
        let branch = Arc::clone(&frame.branch);
        let Some(handle) = frame.handle.clone() else { return Ok(Placement::Planned) };
        let directory = handle.as_fd();
        let group = node.metadata.link_group;
        let existing = match rustix::fs::statat(directory, node.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let is_further = self.shared.links().has(group);
        let replace = match self.judge(directory, node, existing.as_ref(), is_further)? {
            Verdict::Left => {
                self.shared.note(self.path_of(&node.name), NoteKind::Left);
                return Ok(Placement::Left);
            }
            Verdict::Same => {
                if !is_further {
                    self.shared.links().begin(group, &branch, &node.name, existing.as_ref().map(metadata::identity));
                }
                return Ok(Placement::Same);
            }
            Verdict::Make { replace } => replace,
        };
        if self.options.dry_run {
            return Ok(Placement::Planned);
        }
        if existing.is_some_and(|stat| metadata::file_type(&stat) == FileType::Directory) {
            remove::remove(directory, &node.name)?;
        }
        if is_further {
            self.shared.links().defer(group, &branch, &node.name, replace);
            return Ok(Placement::Linked);
        }
        if let NodeKind::File { size, .. } = node.kind {
            self.shared.links().begin(group, &branch, &node.name, None);
            return Ok(Placement::Write(FileSlot {
                shared: Arc::clone(&self.shared),
                branch,
                name: node.name.clone(),
                size,
                replace,
                number: self.number(),
                made: Mutex::new(None),
            }));
        }
        let Some(identity) = self.create(directory, node, replace)? else { return Ok(Placement::Omitted) };
        self.shared.links().begin(group, &branch, &node.name, Some(identity));
        Ok(Placement::Created)
    }

    fn judge(
        &self,
        directory: BorrowedFd<'_>,
        node: &Node,
        existing: Option<&Stat>,
        is_further: bool,
    ) -> io::Result<Verdict> {
        let Some(stat) = existing else { return Ok(Verdict::Make { replace: false }) };
        let same = if is_further {
            self.shared.links().identity(node.metadata.link_group) == Some(metadata::identity(stat))
        } else {
            self.options.overwrite != Overwrite::Always && is_same(directory, node, stat)?
        };
        if same {
            return Ok(Verdict::Same);
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

    fn is_empty(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        let (child, _) = super::handles::open_directory(directory, name)?;
        Ok(super::handles::list(child.as_fd())?.is_empty())
    }

    /// Makes a link, a pipe or a device; `None` for a device that may not be made.
    fn create(&self, directory: BorrowedFd<'_>, node: &Node, replace: bool) -> io::Result<Option<(u64, u64)>> {
        let temp = temporary(&node.name);
        let node_of = |file_type, device| {
            make(directory, &temp, || {
                rustix::fs::mknodat(directory, temp.as_slice(), file_type, Mode::RUSR | Mode::WUSR, device)
            })
        };
        let made = match &node.kind {
            NodeKind::Symlink(target) => {
                make(directory, &temp, || rustix::fs::symlinkat(target.as_slice(), directory, temp.as_slice()))
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
        made?;
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        for fault in metadata::apply(At::Below(directory, &temp), is_link, &node.metadata, self.shared.names()) {
            self.shared.note(self.path_of(&node.name), NoteKind::Fault(fault));
        }
        let stat = rustix::fs::statat(directory, temp.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        if !settle(directory, &temp, &node.name, replace)? {
            self.shared.note(self.path_of(&node.name), NoteKind::Left);
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
            rustix::fs::readlinkat(directory, node.name.as_slice(), Vec::new())?.as_bytes() == target.as_slice()
        }
        (NodeKind::Fifo, FileType::Fifo) => true,
        (NodeKind::CharDevice(major, minor), FileType::CharacterDevice)
        | (NodeKind::BlockDevice(major, minor), FileType::BlockDevice) => (*major, *minor) == device,
        _ => false,
    })
}
