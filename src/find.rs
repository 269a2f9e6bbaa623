//! Looks for entries by name, type, size and time in many snapshots at once. Each version of an entry is found once,
//! with the snapshots that hold it. The work is that of the distinct pages, each of which is read once, and of what fits:
//! where nothing below a page can, nobody goes there. A snapshot whose folders hold the same ones so often that more would
//! fit than memory holds is named and left out.

use crate::error::{Error, Result};
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::changes::difference;
use crate::repository::tree::fold::{self, Fold, Level};
use crate::repository::tree::{names, nodes};
use crate::repository::view::View;
use crate::repository::{self, Repository};
use crate::source::Excludes;
use crate::time::WallTime;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
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
    pub node: Arc<Node>,
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
    let mut room = Room::default();
    for ((_, domain), numbers) in sources {
        let reader = Reader::new(repository, &catalog.lookup(domain)?);
        let mut search = Search::new(&reader, &patterns, options, &mut room);
        let mut pages = HashMap::new();
        for number in numbers {
            let Some(snapshot) = snapshots.get(number) else { continue };
            let root = Expected { id: snapshot.head.root.id, step: Vec::new() };
            fold::fold(&mut search, &mut pages, root)?;
            search.snapshot(&pages, number, snapshot)?;
        }
        search.finish(pages.len() as u64, &mut report);
    }
    Ok(report)
}

/// Bytes that all versions together may take, however little is stored.
const ROOM_FREE: u64 = 192 << 20;
/// The same for each node of the pages read that fits: it may lie at several paths.
const ROOM_EACH: u64 = 4 << 10;
/// What a version takes beside its path.
const VERSION_BYTES: u64 = 256;

/// The memory that versions may take: it follows from what is stored, though pages that are shared make far more paths.
#[derive(Default)]
struct Room {
    fitting: u64,
    taken: u64,
}

impl Room {
    fn has(&self, more: u64) -> bool {
        let all = self.fitting.saturating_mul(ROOM_EACH).saturating_add(ROOM_FREE);
        self.taken.saturating_add(more) <= all
    }
}

/// What a version at a path takes: the path is in two tables.
fn taken_by(path: &[u8]) -> u64 {
    VERSION_BYTES + 2 * path.len() as u64
}

/// A page to be looked through, and what lies between the paths of its parent and its own: a name, or nothing.
struct Expected {
    id: BlobId,
    step: Vec<u8>,
}

/// What of a page and of all below it can fit, wherever the page lies.
#[derive(Default)]
struct Page {
    nodes: Vec<Arc<Node>>,
    /// The pages below that are worth going to.
    below: Vec<Expected>,
    /// Paths that can fit, at any depth.
    paths: u64,
    /// Why the page can't be read.
    unread: Option<String>,
}

impl Page {
    fn is_worth_it(&self) -> bool {
        self.paths > 0 || self.unread.is_some() || !self.below.is_empty()
    }
}

/// The search through one source.
struct Search<'s> {
    reader: &'s Reader,
    patterns: &'s Excludes,
    options: &'s Options,
    room: &'s mut Room,
    versions: Vec<Version>,
    by_path: HashMap<Vec<u8>, Vec<usize>>,
    /// Pages of which it was told that they can't be read.
    told: HashSet<BlobId>,
    /// The last snapshot of which it was told that its paths are too long.
    told_long: Option<usize>,
    damaged: Vec<String>,
}

impl Fold for Search<'_> {
    type Page = Expected;
    type Sum = Page;
    type Error = Error;

    fn id(page: &Expected) -> BlobId {
        page.id
    }

    fn open(&mut self, _: &[Level<Expected, Page>], expected: &Expected) -> Result<(Page, Vec<Expected>)> {
        self.reader.repository().runtime().check_stopped()?;
        let (mut page, mut below) = (Page::default(), Vec::new());
        match nodes::page(self.reader, &expected.id, Promise::default()) {
            Ok(TreePage::Branch { children, .. }) => {
                below.extend(children.into_iter().map(|child| Expected { id: child.root.id, step: Vec::new() }));
            }
            Ok(TreePage::Leaf(nodes)) => {
                for node in nodes {
                    if let NodeKind::Directory(root) = &node.kind {
                        below.push(Expected { id: root.id, step: node.name.clone() });
                    }
                    if self.can_fit(&node) {
                        page.nodes.push(Arc::new(node));
                    }
                }
                page.paths = page.nodes.len() as u64;
                self.room.fitting = self.room.fitting.saturating_add(page.paths);
            }
            Err(error) => page.unread = Some(error.to_string()),
        }
        Ok((page, below))
    }

    fn add(&mut self, page: &mut Page, expected: &Expected, below: &Page) -> Result<()> {
        if below.is_worth_it() {
            page.below.push(Expected { id: expected.id, step: expected.step.clone() });
            page.paths = page.paths.saturating_add(below.paths);
        }
        Ok(())
    }
}

impl<'s> Search<'s> {
    fn new(reader: &'s Reader, patterns: &'s Excludes, options: &'s Options, room: &'s mut Room) -> Self {
        let (versions, by_path, told, told_long, damaged) = Default::default();
        Self { reader, patterns, options, room, versions, by_path, told, told_long, damaged }
    }

    /// Notes what one snapshot holds of what can fit.
    fn snapshot(&mut self, pages: &HashMap<BlobId, Page>, number: usize, snapshot: &SnapshotEntry) -> Result<()> {
        let name = format!("snapshot {} of {}", snapshot.id.short(), snapshot.head.source);
        let root = snapshot.head.root.id;
        let (known, taken) = (self.versions.len(), self.room.taken);
        let paths = pages.get(&root).map_or(0, |page| page.paths);
        let is_shown = paths <= self.reader.nodes_max() && self.paths(pages, (number, &name), root)?;
        if !is_shown {
            for version in self.versions.drain(known..) {
                self.by_path.remove(&version.path);
            }
            self.room.taken = taken;
            self.damaged.push(format!(
                "{name}: more fits in it than is stored, since its folders hold the same ones many times over; it was left out"
            ));
        }
        Ok(())
    }

    /// Goes to every path that can fit; false if there are more than there is room for.
    fn paths(&mut self, pages: &HashMap<BlobId, Page>, of: (usize, &str), root: BlobId) -> Result<bool> {
        let mut path: Vec<u8> = Vec::new();
        // pages on the way, with the bytes of their paths and what of them was gone to
        let mut way: Vec<(usize, &Page, usize)> = Vec::new();
        let mut next = Some(root);
        loop {
            self.reader.repository().runtime().check_stopped()?;
            if let Some((id, page)) = next.take().and_then(|id| Some((id, pages.get(&id)?))) {
                if let Some(why) = page.unread.as_ref().filter(|_| self.told.insert(id)) {
                    self.damaged.push(format!("{}: /{}: {why}", of.1, names::beginning(&path)));
                }
                if !self.nodes(page, &mut path, of) {
                    return Ok(false);
                }
                way.push((path.len(), page, 0));
            }
            let Some((length, page, done)) = way.last_mut() else { return Ok(true) };
            path.truncate(*length);
            let Some(below) = page.below.get(*done) else {
                way.pop();
                continue;
            };
            *done += 1;
            match names::extend(&mut path, &below.step) {
                Ok(()) => next = Some(below.id),
                Err(error) => self.tell_long(of, &error),
            }
        }
    }

    /// Notes the nodes of one page; false if there is no room for them.
    fn nodes(&mut self, page: &Page, path: &mut Vec<u8>, of: (usize, &str)) -> bool {
        let length = path.len();
        for node in &page.nodes {
            path.truncate(length);
            if let Err(error) = names::extend(path, &node.name) {
                self.tell_long(of, &error);
                continue;
            }
            let is_directory = matches!(node.kind, NodeKind::Directory(_));
            if self.patterns.see_paths() && !self.patterns.excludes(path, is_directory) {
                continue;
            }
            if !self.version(path, node, of.0) {
                return false;
            }
        }
        path.truncate(length);
        true
    }

    /// Names a path that is too long, once for each snapshot.
    fn tell_long(&mut self, (number, name): (usize, &str), error: &repository::Error) {
        if self.told_long.replace(number) != Some(number) {
            self.damaged.push(format!("{name}: {error}"));
        }
    }

    /// True if a node can fit, as far as it tells itself: its path may be asked for too.
    fn can_fit(&self, node: &Node) -> bool {
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
            && (self.patterns.see_paths() || self.patterns.excludes(&node.name, node_type == Type::Directory))
    }

    /// Notes that a snapshot has this version, which an earlier one may have had too; false if there is no room for it.
    fn version(&mut self, path: &[u8], node: &Arc<Node>, number: usize) -> bool {
        let of_path = self.by_path.get(path).map(Vec::as_slice).unwrap_or_default();
        let known = of_path
            .iter()
            .copied()
            .find(|known| self.versions.get(*known).is_some_and(|version| is_same(&version.node, node)));
        if let Some(version) = known.and_then(|known| self.versions.get_mut(known)) {
            version.node = node.clone();
            // a version can lie in two pages of one snapshot only if the repository lies
            version.snapshots += u64::from(version.last != number);
            version.last = number;
            return true;
        }
        let bytes = taken_by(path);
        if !self.room.has(bytes) {
            return false;
        }
        self.room.taken = self.room.taken.saturating_add(bytes);
        self.by_path.entry(path.to_vec()).or_default().push(self.versions.len());
        let (path, node) = (path.to_vec(), node.clone());
        self.versions.push(Version { path, node, first: number, last: number, snapshots: 1 });
        true
    }

    fn finish(mut self, pages: u64, report: &mut Report) {
        self.versions.sort_by(|left, right| (&left.path, left.first).cmp(&(&right.path, right.first)));
        report.versions.append(&mut self.versions);
        report.damaged.append(&mut self.damaged);
        report.pages += pages;
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
