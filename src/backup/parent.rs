//! One directory of the parent snapshot's tree, read along with the one that is being taken: both come in the order of
//! names, so that each node is met once. What can't be read of it counts as not there.

use crate::repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::nodes::Nodes;
use std::iter::Peekable;
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

/// A directory of the parent, or nothing where it had none.
pub struct ParentFolder {
    nodes: Option<Peekable<Nodes>>,
    /// The last file that was passed of those that may be versions of one another.
    passed: Option<Node>,
    /// Where the parent's tree begins, if not above.
    join: Join,
}

impl ParentFolder {
    /// What there is where the walk begins.
    pub fn top(reader: &Reader, join: Join) -> Self {
        Self::new(reader, None, join)
    }

    fn new(reader: &Reader, root: Option<TreeRoot>, join: Join) -> Self {
        let root = join.here().copied().or(root);
        Self { nodes: root.map(|root| Nodes::new(reader, &root).peekable()), passed: None, join }
    }

    /// The node with this name; names must ascend.
    pub fn node(&mut self, name: &[u8]) -> Option<Node> {
        let nodes = self.nodes.as_mut()?;
        while let Some(node) = nodes.next_if(|node| node.as_ref().map_or(true, |node| node.name.as_slice() < name)) {
            self.passed = node.ok().filter(is_numbered).or(self.passed.take());
        }
        let found = nodes.next_if(|node| node.as_ref().is_ok_and(|node| node.name == name));
        let found = found.and_then(repository::Result::ok);
        if let Some(node) = found.as_ref().filter(|node| is_numbered(node)) {
            self.passed = Some(node.clone());
        }
        found
    }

    /// The file before this name that bears it but for its digits: the dump of the day before, the log before it was
    /// rotated. A new one is most likely its next version.
    pub fn version_before(&self, name: &[u8]) -> Option<&Node> {
        self.passed.as_ref().filter(|node| node.name != name && words(&node.name).eq(words(name)))
    }

    /// The directory with this name in it; names must ascend.
    pub fn enter(&mut self, reader: &Reader, name: &[u8]) -> Self {
        let root = self.node(name).and_then(|node| match node.kind {
            NodeKind::Directory(root) => Some(root),
            _ => None,
        });
        Self::new(reader, root, self.join.enter(name))
    }
}

/// What a name is made of besides digits.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(u8::is_ascii_digit).filter(|word| !word.is_empty())
}

/// True for a file with digits in its name.
fn is_numbered(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File { .. }) && node.name.iter().any(u8::is_ascii_digit)
}
