//! Hard links of one restore. The first name of a link group is made like any entry; the others are linked to it when
//! everything is written, and only if it still is the inode that this run made or found complete.

use super::handles::{Branch, Handles, Temporary, put, settle};
use crate::metadata;
use rustix::fs::AtFlags;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// The first name of a group.
#[derive(Debug)]
struct First {
    branch: Arc<Branch>,
    name: Vec<u8>,
    /// None until it is finished.
    identity: Option<(u64, u64)>,
}

/// A name to be linked.
#[derive(Debug)]
pub(super) struct Later {
    group: u64,
    pub(super) branch: Arc<Branch>,
    pub(super) name: Vec<u8>,
    replace: bool,
}

/// All link groups seen.
#[derive(Debug, Default)]
pub(super) struct Links {
    first: HashMap<u64, First>,
    later: Vec<Later>,
}

impl Links {
    /// True if a first name of the group is known.
    pub(super) fn has(&self, group: u64) -> bool {
        group != 0 && self.first.contains_key(&group)
    }

    /// The finished inode of a group.
    pub(super) fn identity(&self, group: u64) -> Option<(u64, u64)> {
        self.first.get(&group).and_then(|first| first.identity)
    }

    /// Notes a first name, finished or not.
    pub(super) fn begin(&mut self, group: u64, branch: &Arc<Branch>, name: &[u8], identity: Option<(u64, u64)>) {
        if group != 0 {
            self.first.insert(group, First { branch: Arc::clone(branch), name: name.to_vec(), identity });
        }
    }

    /// The first name is finished.
    pub(super) fn complete(&mut self, group: u64, identity: (u64, u64)) {
        if let Some(first) = self.first.get_mut(&group) {
            first.identity = Some(identity);
        }
    }

    /// Notes a further name.
    pub(super) fn defer(&mut self, group: u64, branch: &Arc<Branch>, name: &[u8], replace: bool) {
        self.later.push(Later { group, branch: Arc::clone(branch), name: name.to_vec(), replace });
    }

    /// The further names, to be linked.
    pub(super) fn take(&mut self) -> Vec<Later> {
        std::mem::take(&mut self.later)
    }

    /// Links one of them; false if something has taken the name meanwhile.
    pub(super) fn link(&self, later: &Later, handles: &Handles, temporary: &Temporary) -> io::Result<bool> {
        let missing = || io::Error::other("the file that it is a link to was not restored");
        let first = self.first.get(&later.group).ok_or_else(missing)?;
        let identity = first.identity.ok_or_else(missing)?;
        let from = handles.open(&first.branch)?;
        let stat = rustix::fs::statat(&from, first.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        if metadata::identity(&stat) != identity {
            return Err(io::Error::other("the file that it is a link to was replaced meanwhile"));
        }
        let to = handles.open(&later.branch)?;
        let directory = std::os::fd::AsFd::as_fd(&to);
        let (temp, ()) =
            put(temporary, |temp| rustix::fs::linkat(&from, first.name.as_slice(), &to, temp, AtFlags::empty()))?;
        let settled = settle(directory, &temp, &later.name, later.replace);
        // Renaming one name of an inode over another does nothing at all: then the temporary name is still there.
        let _ = rustix::fs::unlinkat(directory, temp.as_slice(), AtFlags::empty());
        settled
    }
}
