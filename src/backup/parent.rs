//! The parent snapshot's tree, read along with the one that is being taken: both come in the order of names, so that each
//! node is met once. Beside what is new stands what it is most likely the next version of: a file or a folder that bears
//! its name but for digits. What can't be read counts as not there. A file that seems to be the parent's has its
//! attributes too, for to set one moves the ctime.

use super::files::Belief;
use crate::metadata::Fault;
use crate::repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::nodes::Nodes;
use crate::source::{Entry, EntryKind, Event};
use std::iter::Peekable;
use std::path::PathBuf;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Where the parent's tree begins in the new one.
#[derive(Clone, Default)]
pub struct Join {
    /// Its tree.
    pub root: Option<TreeRoot>,
    /// Names of the folders to go through before it begins, the first one last.
    pub ahead: Vec<Vec<u8>>,
}

impl Join {
    /// The tree, if it begins here.
    pub fn here(&self) -> Option<&TreeRoot> {
        self.root.as_ref().filter(|_| self.ahead.is_empty())
    }

    /// The same, seen from a folder of this name.
    pub fn enter(&self, name: &[u8]) -> Self {
        match self.ahead.split_last() {
            Some((first, rest)) if first == name => Self { root: self.root, ahead: rest.to_vec() },
            _ => Self::default(),
        }
    }
}

/// What the parent has for an entry.
#[derive(Default)]
pub struct Earlier {
    node: Option<Node>,
    is_same: bool,
}

impl Earlier {
    /// What stood in its place.
    pub fn same(&self) -> Option<&Node> {
        self.node.as_ref().filter(|_| self.is_same)
    }

    /// What it is a version of: that, or the dump of the day before, the log before it was rotated.
    pub fn version(&self) -> Option<&Node> {
        self.node.as_ref()
    }
}

/// A step of the walk, and what the parent has for it.
pub struct Met {
    pub event: Event,
    /// Of an entry.
    pub earlier: Earlier,
    /// What could not be read of its metadata.
    pub lacks: Option<(PathBuf, Fault)>,
}

/// The parent's tree, as far as the walk has come.
pub struct ParentTree {
    reader: Reader,
    /// The folders that the walk is in; the root's is never left.
    folders: Vec<ParentFolder>,
    belief: Belief,
    /// Nothing is known to be missing of what the parent says of a file.
    is_complete: bool,
}

impl ParentTree {
    /// The tree from where it begins. `is_complete`: all that the parent should have was read when it was taken.
    pub fn new(reader: &Reader, join: Join, belief: Belief, is_complete: bool) -> Self {
        let (reader, top) = (reader.clone(), ParentFolder::top(reader, join));
        Self { reader, folders: vec![top], belief, is_complete }
    }

    /// What there is for an event; all of them must come, in their order.
    pub fn meet(&mut self, mut event: Event) -> Met {
        let (mut earlier, mut lacks) = (Earlier::default(), None);
        match &mut event {
            Event::Enter { name, .. } => {
                let entered = self.folders.last_mut().map(|folder| folder.enter(&self.reader, name));
                self.folders.extend(entered);
            }
            Event::Leave => drop(self.folders.pop()),
            Event::Entry(entry) => {
                earlier = self.folders.last_mut().map(|folder| folder.entry(&entry.name)).unwrap_or_default();
                lacks = self.attributes(entry, &earlier).map(|fault| (entry.path(), fault));
            }
            Event::Skipped { .. } | Event::Lacking { .. } | Event::Failed { .. } => {}
        }
        Met { event, earlier, lacks }
    }

    /// Completes a file, which the walk gives without its attributes.
    fn attributes(&self, entry: &mut Entry, earlier: &Earlier) -> Option<Fault> {
        let EntryKind::File { size } = entry.kind else { return None };
        let same = earlier.same().filter(|_| self.is_complete && self.belief.knows_attributes());
        match same.filter(|node| entry.is_sized() && self.belief.is_same((size, &entry.metadata), node)) {
            Some(node) => {
                entry.metadata.xattrs.clone_from(&node.metadata.xattrs);
                None
            }
            None => entry.read_attributes(),
        }
    }
}

/// A directory of the parent, or nothing where it had none.
pub struct ParentFolder {
    nodes: Option<Peekable<Nodes>>,
    /// It is not the same directory, but one that this is the next version of.
    is_earlier: bool,
    /// The last file, and the last directory, that was passed of those that may be versions of one another.
    passed: [Option<Node>; 2],
    /// Where the parent's tree begins, if not above.
    join: Join,
}

impl ParentFolder {
    /// What there is where the walk begins.
    pub fn top(reader: &Reader, join: Join) -> Self {
        Self::new(reader, (None, false), join)
    }

    fn new(reader: &Reader, (root, is_earlier): (Option<TreeRoot>, bool), join: Join) -> Self {
        let (root, is_earlier) = join.here().map_or((root, is_earlier), |begun| (Some(*begun), false));
        let nodes = root.map(|root| Nodes::new(reader, &root).peekable());
        Self { nodes, is_earlier, passed: [None, None], join }
    }

    /// What there is for the entry with this name; names must ascend.
    pub fn entry(&mut self, name: &[u8]) -> Earlier {
        match self.node(name) {
            Some(node) => Earlier { node: Some(node), is_same: !self.is_earlier },
            None => Earlier { node: self.passed(name, false).cloned(), is_same: false },
        }
    }

    /// The directory with this name in it, or the one that it is the next version of; names must ascend.
    pub fn enter(&mut self, reader: &Reader, name: &[u8]) -> Self {
        let tree = |node: &Node| match node.kind {
            NodeKind::Directory(root) => Some(root),
            _ => None,
        };
        let same = self.node(name).as_ref().and_then(tree).map(|root| (Some(root), self.is_earlier));
        let found = same.unwrap_or_else(|| (self.passed(name, true).and_then(tree), true));
        Self::new(reader, found, self.join.enter(name))
    }

    fn node(&mut self, name: &[u8]) -> Option<Node> {
        let nodes = self.nodes.as_mut()?;
        while let Some(node) = nodes.next_if(|node| node.as_ref().map_or(true, |node| node.name.as_slice() < name)) {
            node.into_iter().for_each(|node| pass(&mut self.passed, node));
        }
        let found = nodes.next_if(|node| node.as_ref().is_ok_and(|node| node.name == name));
        let found = found.and_then(repository::Result::ok);
        if let Some(node) = found.as_ref().filter(|node| is_numbered(node)) {
            pass(&mut self.passed, node.clone());
        }
        found
    }

    /// What came before this name and bears it but for its digits.
    fn passed(&self, name: &[u8], is_directory: bool) -> Option<&Node> {
        let passed = self.passed[usize::from(is_directory)].as_ref();
        passed.filter(|node| node.name != name && words(&node.name).eq(words(name)))
    }
}

fn pass(passed: &mut [Option<Node>; 2], node: Node) {
    if is_numbered(&node) {
        let is_directory = matches!(node.kind, NodeKind::Directory(_));
        passed[usize::from(is_directory)] = Some(node);
    }
}

/// What a name is made of besides digits.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(u8::is_ascii_digit).filter(|word| !word.is_empty())
}

/// True for a file or a directory with digits in its name.
fn is_numbered(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File { .. } | NodeKind::Directory(_)) && node.name.iter().any(u8::is_ascii_digit)
}
