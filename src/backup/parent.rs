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
        Self { nodes: root.map(|root| Nodes::new(reader, &root).peekable()), join }
    }

    /// The node with this name; names must ascend.
    pub fn node(&mut self, name: &[u8]) -> Option<Node> {
        let nodes = self.nodes.as_mut()?;
        while nodes.next_if(|node| node.as_ref().map_or(true, |node| node.name.as_slice() < name)).is_some() {}
        nodes.next_if(|node| node.as_ref().is_ok_and(|node| node.name == name)).and_then(repository::Result::ok)
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
