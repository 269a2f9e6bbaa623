//! What a snapshot is known not to hold: what could not be read when it was taken, and what damage took from one that
//! repair saved. The latter is told by comparing the copy with what it was made of, whose pages know how much lay below
//! them. Nobody restores a part of such a copy without hearing whether that part is whole.

use super::{Options, Result, patterns};
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::path::{self, Address};
use crate::repository::tree::walk::{Step, Walk};
use crate::repository::view::View;
use crate::repository::{self, Repository};
use crate::source::Excludes;
use vault_format::snapshot::Body;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Tag of the copies that repair makes.
const REPAIRED: &str = "repaired";

/// What a snapshot is known not to hold, though it was meant to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lacks {
    /// How many entries could not be read when it was taken.
    pub unread: u64,
    /// Some of them, as paths below its root.
    pub names: Vec<Vec<u8>>,
    /// How many entries were lost by damage in the repository.
    pub lost: u64,
    /// True if repair made it, of what a damaged one still had.
    pub is_repaired: bool,
}

/// What damage left of a part of a snapshot that repair made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// How many entries of the part are lost; `None` if nobody can tell any more.
    pub entries: Option<u64>,
    /// True if there is nothing of the part but folders.
    pub is_empty: bool,
}

/// Tells what a snapshot lacks.
pub fn lacks(repository: &Repository, catalog: &View, snapshot: &SnapshotEntry) -> repository::Result<Lacks> {
    Ok(lacks_of(catalog, snapshot, snapshot.body(repository)?))
}

/// The same of one whose body was read.
pub fn lacks_of(catalog: &View, snapshot: &SnapshotEntry, body: Body) -> Lacks {
    let errors = snapshot.head.statistics.errors;
    let named = body.gaps.unread.len() as u64;
    let is_repaired = is_repaired(snapshot, &body);
    // repair adds what is lost to what was unread, and takes over the names of the latter
    let first = originals(catalog, snapshot).pop().filter(|first| first.left_of().is_none());
    let unread = match first {
        _ if !is_repaired => errors.max(named),
        Some(first) => first.head.statistics.errors.max(named),
        None => named,
    };
    Lacks { unread, names: body.gaps.unread, lost: errors.saturating_sub(unread), is_repaired }
}

pub(super) fn is_repaired(snapshot: &SnapshotEntry, body: &Body) -> bool {
    snapshot.left_of().is_some() || snapshot.head.original.is_some() && body.tags.iter().any(|tag| tag == REPAIRED)
}

/// What the snapshot was made of by repair, and what that was made of, as far as they are there.
fn originals<'c>(catalog: &'c View, snapshot: &SnapshotEntry) -> Vec<&'c SnapshotEntry> {
    let mut found: Vec<_> = catalog.snapshots.all.iter().filter(|one| snapshot.is_left_of(one)).collect();
    // what lost nothing comes last
    found.sort_by_key(|one| one.left_of().is_none());
    found
}

/// Tells what damage took from what lies at an address, in a snapshot that repair made, and is named by the patterns.
pub fn lost(address: &Address<'_>, options: &Options) -> Result<Lost> {
    let (reader, snapshot, path) = (address.reader()?, address.snapshot, address.path.as_slice());
    let (include, exclude) = (patterns(&options.include)?, patterns(&options.exclude)?);
    let is_all = options.include.is_empty() && options.exclude.is_empty();
    let part = Part { reader: &reader, path, include, exclude, any: options.include.is_empty(), is_all };
    let has = part.count(snapshot)?;
    let is_empty = part.is_empty(snapshot)?;
    // the first one knows most
    for original in originals(address.view, snapshot).into_iter().rev() {
        match part.count(original) {
            Ok(had) => return Ok(Lost { entries: Some(had.saturating_sub(has)), is_empty }),
            Err(error) if error.is_unanswered() => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(Lost { entries: None, is_empty })
}

/// What is asked for.
struct Part<'a> {
    reader: &'a Reader,
    path: &'a [u8],
    include: Excludes,
    exclude: Excludes,
    /// True without patterns to include.
    any: bool,
    /// True without any pattern.
    is_all: bool,
}

impl Part<'_> {
    /// What lies at the path; `None` if nothing does.
    fn find(&self, snapshot: &SnapshotEntry) -> repository::Result<Option<NodeKind>> {
        let root = snapshot.head.root;
        let found = path::locate(self.reader, &root, self.path)?;
        Ok(found.map(|(_, node)| node.map_or(NodeKind::Directory(root), |node| node.kind)))
    }

    /// How many entries there are of it, be they readable or not.
    fn count(&self, snapshot: &SnapshotEntry) -> repository::Result<u64> {
        let mut count = 0;
        match self.find(snapshot)? {
            None => {}
            Some(NodeKind::Directory(root)) if self.is_all => count = root.count,
            Some(NodeKind::Directory(root)) => self.visit(root, &mut |_| {
                count += 1;
                true
            })?,
            Some(_) => count = 1,
        }
        Ok(count)
    }

    fn is_empty(&self, snapshot: &SnapshotEntry) -> repository::Result<bool> {
        let mut is_empty = true;
        match self.find(snapshot)? {
            None => {}
            Some(NodeKind::Directory(root)) => self.visit(root, &mut |node| {
                is_empty &= matches!(node.kind, NodeKind::Directory(_));
                is_empty
            })?,
            Some(_) => is_empty = false,
        }
        Ok(is_empty)
    }

    /// Shows every entry of it that can be read, until `each` has seen enough.
    fn visit(&self, root: TreeRoot, each: &mut dyn FnMut(&Node) -> bool) -> repository::Result<()> {
        let mut walk = Walk::new(self.reader, &root, b"");
        // whether all in the directories on the way is wanted
        let mut wanted = vec![self.any];
        while let Some(step) = walk.next() {
            let (node, is_directory) = match step {
                Step::Enter(node, _) => (node, true),
                Step::Node(node) => (node, false),
                Step::Leave => {
                    wanted.pop();
                    continue;
                }
                Step::Unread(error) if error.is_unanswered() => return Err(error),
                Step::Unread(_) => continue,
            };
            if self.exclude.excludes(walk.path(), is_directory) {
                walk.pass();
                continue;
            }
            let is_wanted = wanted.last() == Some(&true) || self.include.excludes(walk.path(), is_directory);
            if is_wanted && !each(&node) {
                return Ok(());
            }
            if is_directory {
                wanted.push(is_wanted);
            }
        }
        Ok(())
    }
}
