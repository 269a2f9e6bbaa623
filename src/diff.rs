//! What differs between two snapshots, or between a snapshot and a folder on this machine. Only looks. Differences are
//! handed out as they are found, in the order of the trees.

mod folder;

pub use crate::repository::tree::changes::{Change, Difference, metadata};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::changes::Changes;
use crate::repository::tree::path::Address;
use std::path::PathBuf;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// How a folder is compared.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Patterns of what is left out, besides those that the snapshot left out.
    pub exclude: Vec<Vec<u8>>,
    /// Do not enter other file systems.
    pub one_file_system: bool,
    /// Read files too whose size and times are those of the snapshot.
    pub read_all: bool,
}

/// All differences in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that are only after.
    pub added: u64,
    /// Entries that are only before.
    pub removed: u64,
    /// Entries of another type or content.
    pub changed: u64,
    /// Entries of other permissions, owner, time or attributes, and the same otherwise.
    pub metadata: u64,
    /// Content bytes that the entry of the same path lacks before.
    pub added_bytes: u64,
    /// Content bytes that the entry of the same path lacks after.
    pub removed_bytes: u64,
    /// Entries of the folder that could not be compared, with the reason.
    pub failed: Vec<String>,
}

/// Takes a change with the content bytes that it added and removed. The content of a node of a folder is left empty.
pub type Each<'e> = dyn FnMut(&Change, (u64, u64)) -> Result<()> + 'e;

/// Compares two snapshots, or parts of them.
pub fn snapshots(
    repository: &Repository,
    before: &Address<'_>,
    after: &Address<'_>,
    each: &mut Each<'_>,
) -> Result<Report> {
    let (old_reader, new_reader) = (before.reader()?, after.reader()?);
    let changes = match (Place::find(&old_reader, before)?, Place::find(&new_reader, after)?) {
        (Place::Root(old), Place::Root(new)) => Changes::of_roots((&old_reader, Some(&old)), (&new_reader, Some(&new))),
        (Place::Node(old), Place::Node(new)) => {
            // two names, but one thing in two versions
            let new = Node { name: old.name.clone(), ..*new };
            Changes::new((&old_reader, Some(*old)), (&new_reader, Some(new)), b"")
        }
        _ => return Err(Error::refused("one is a folder and the other is not: there is nothing to compare")),
    };
    let mut report = Report::default();
    for change in changes {
        repository.runtime().check_stopped()?;
        let change = change?;
        let bytes = change.bytes(&old_reader, &new_reader)?;
        report.tell(&change, bytes, each)?;
    }
    Ok(report)
}

/// Compares a snapshot, or a part of it, with what lies at `path` now.
pub fn with_folder(
    before: &Address<'_>,
    path: PathBuf,
    options: &Options,
    each: &mut Each<'_>,
    progress: &dyn Progress,
) -> Result<Report> {
    let reader = before.reader()?;
    let place = Place::find(&reader, before)?;
    folder::compare(&reader, (before.snapshot, place), path, options, (each, progress))
}

/// What an address means in a tree.
enum Place {
    Root(TreeRoot),
    Node(Box<Node>),
}

impl Place {
    fn find(reader: &Reader, address: &Address<'_>) -> Result<Self> {
        Ok(match address.find(reader)? {
            None => Self::Root(address.snapshot.head.root),
            Some(Node { kind: NodeKind::Directory(root), .. }) => Self::Root(root),
            Some(node) => Self::Node(Box::new(node)),
        })
    }
}

impl Report {
    fn tell(&mut self, change: &Change, bytes: (u64, u64), each: &mut Each<'_>) -> Result<()> {
        *match change.difference {
            Difference::Added => &mut self.added,
            Difference::Removed => &mut self.removed,
            Difference::Type | Difference::Content => &mut self.changed,
            Difference::Metadata => &mut self.metadata,
        } += 1;
        self.added_bytes = self.added_bytes.saturating_add(bytes.0);
        self.removed_bytes = self.removed_bytes.saturating_add(bytes.1);
        each(change, bytes)
    }
}
