//! Looks for entries by name, type, size and time in many snapshots at once. Each version of an entry is found once,
//! with the snapshots that hold it. The work is that of the distinct pages: a page of a tree that an earlier snapshot
//! had at the same place is not read again, only counted.

use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::changes::difference;
use crate::repository::tree::nodes;
use crate::repository::tree::path::join;
use crate::repository::view::View;
use crate::source::Excludes;
use crate::time::WallTime;
use std::collections::{BTreeMap, HashMap};
use vault_format::id::{BlobId, DomainId};
use vault_format::promise::Promise;
use vault_format::tree::{Node, NodeKind, TreePage};

/// Types of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// What is looked for: all of it must fit.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Patterns as in `source::Options::rules`; one must match.
    pub patterns: Vec<Vec<u8>>,
    /// Types; none = all.
    pub types: Vec<Type>,
    /// Files of more bytes than this.
    pub larger_than: Option<u64>,
    /// Files of fewer bytes than this.
    pub smaller_than: Option<u64>,
    /// Changed after this.
    pub newer: Option<WallTime>,
    /// Changed before this.
    pub older: Option<WallTime>,
}

/// One version of an entry: the same node at the same path of the same source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Version {
    /// Path below the root of the snapshots.
    pub path: Vec<u8>,
    /// As it is in the last of them.
    pub node: Node,
    /// The first snapshot that holds it: position in those that were asked for.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// How many hold it.
    pub snapshots: u64,
}

/// What was found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// By source and path, oldest first.
    pub versions: Vec<Version>,
    /// Parts of trees that could not be read, with the reason.
    pub damaged: Vec<String>,
    /// Pages read.
    pub pages: u64,
}

/// Looks through snapshots, given oldest first.
pub fn find(
    repository: &Repository,
    catalog: &View,
    snapshots: &[&SnapshotEntry],
    options: &Options,
) -> Result<Report> {
    let patterns = Excludes::new(&options.patterns, &[]).map_err(|error| Error::refused(error.to_string()))?;
    let mut sources: BTreeMap<(&str, DomainId), Vec<usize>> = BTreeMap::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        sources.entry((&snapshot.head.source, snapshot.place.domain)).or_default().push(number);
    }
    let mut report = Report::default();
    for ((_, domain), numbers) in sources {
        let reader = Reader::new(repository, &catalog.lookup(domain)?);
        let mut search = Search::new(&reader, &patterns, options);
        for number in numbers {
            let Some(snapshot) = snapshots.get(number) else { continue };
            search.snapshot(repository, number, snapshot)?;
        }
        search.finish(&mut report);
    }
    Ok(report)
}

/// A page at its place: the same page can lie in several folders.
type Key = (Vec<u8>, BlobId);

/// What a page holds: versions found in it, and the pages below it.
#[derive(Default)]
struct Page {
    versions: Vec<usize>,
    below: Vec<Key>,
}

/// The search through one source.
struct Search<'s> {
    reader: &'s Reader,
    patterns: &'s Excludes,
    options: &'s Options,
    pages: HashMap<Key, Page>,
    versions: Vec<Version>,
    by_path: HashMap<Vec<u8>, Vec<usize>>,
    damaged: Vec<String>,
}

impl<'s> Search<'s> {
    fn new(reader: &'s Reader, patterns: &'s Excludes, options: &'s Options) -> Self {
        Self {
            reader,
            patterns,
            options,
            pages: HashMap::new(),
            versions: Vec::new(),
            by_path: HashMap::new(),
            damaged: Vec::new(),
        }
    }

    fn snapshot(&mut self, repository: &Repository, number: usize, snapshot: &SnapshotEntry) -> Result<()> {
        let mut pending: Vec<Key> = vec![(Vec::new(), snapshot.head.root.id)];
        while let Some(key) = pending.pop() {
            repository.runtime().check_stopped()?;
            if !self.pages.contains_key(&key) {
                let page = self.page(&key, number);
                self.pages.insert(key.clone(), page);
            }
            let Some(page) = self.pages.get(&key) else { continue };
            pending.extend(page.below.iter().cloned());
            for version in &page.versions {
                let Some(version) = self.versions.get_mut(*version) else { continue };
                // a version can lie in two pages of one snapshot only if the repository lies
                if version.snapshots == 0 || version.last != number {
                    version.last = number;
                    version.snapshots += 1;
                }
            }
        }
        Ok(())
    }

    fn page(&mut self, (above, id): &Key, number: usize) -> Page {
        let mut found = Page::default();
        match nodes::page(self.reader, id, Promise::default()) {
            Ok(TreePage::Branch { children, .. }) => {
                found.below.extend(children.into_iter().map(|child| (above.clone(), child.root.id)));
            }
            Ok(TreePage::Leaf(nodes)) => {
                for node in nodes {
                    let path = join(above, &node.name);
                    if let NodeKind::Directory(root) = &node.kind {
                        found.below.push((path.clone(), root.id));
                    }
                    if self.fits(&path, &node) {
                        found.versions.push(self.version(path, node, number));
                    }
                }
            }
            Err(error) => self.damaged.push(format!("{}: {error}", String::from_utf8_lossy(above))),
        }
        found
    }

    fn fits(&self, path: &[u8], node: &Node) -> bool {
        let options = self.options;
        let (node_type, size) = match &node.kind {
            NodeKind::File { size, .. } => (Type::File, Some(*size)),
            NodeKind::Directory(_) => (Type::Directory, None),
            NodeKind::Symlink(_) => (Type::Symlink, None),
            NodeKind::Fifo => (Type::Fifo, None),
            NodeKind::CharDevice(..) => (Type::CharDevice, None),
            NodeKind::BlockDevice(..) => (Type::BlockDevice, None),
        };
        let time = WallTime::from(node.metadata.mtime);
        (options.types.is_empty() || options.types.contains(&node_type))
            && options.larger_than.is_none_or(|limit| size.is_some_and(|size| size > limit))
            && options.smaller_than.is_none_or(|limit| size.is_some_and(|size| size < limit))
            && options.newer.is_none_or(|limit| time > limit)
            && options.older.is_none_or(|limit| time < limit)
            && self.patterns.excludes(path, node_type == Type::Directory)
    }

    /// The number of this version, which an earlier page may have had too.
    fn version(&mut self, path: Vec<u8>, node: Node, number: usize) -> usize {
        let versions = self.by_path.entry(path.clone()).or_default();
        for known in versions.iter() {
            if let Some(version) = self.versions.get_mut(*known).filter(|version| is_same(&version.node, &node)) {
                version.node = node;
                return *known;
            }
        }
        versions.push(self.versions.len());
        self.versions.push(Version { path, node, first: number, last: number, snapshots: 0 });
        self.versions.len() - 1
    }

    fn finish(mut self, report: &mut Report) {
        self.versions.sort_by(|left, right| (&left.path, left.first).cmp(&(&right.path, right.first)));
        report.versions.append(&mut self.versions);
        report.damaged.append(&mut self.damaged);
        report.pages += self.pages.len() as u64;
    }
}

/// A folder changes with everything in it: as a version of its own counts only who may enter it.
fn is_same(left: &Node, right: &Node) -> bool {
    match (&left.kind, &right.kind) {
        (NodeKind::Directory(_), NodeKind::Directory(_)) => {
            let key = |node: &Node| (node.metadata.mode, node.metadata.uid, node.metadata.gid);
            key(left) == key(right)
        }
        _ => difference(Some(left), Some(right)).is_none(),
    }
}
