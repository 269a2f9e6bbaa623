//! The walk over a stored tree: everything below a directory, in the order of names, a directory before what is in it.
//! Whoever walks takes step after step and may pass a directory over or rise out of several; stack, path and promises of
//! pages are kept here. What can't be read is told, and the walk goes on behind it.

use super::nodes::Nodes;
use crate::repository::Error;
use crate::repository::read::reader::Reader;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// What a walk comes to.
pub enum Step {
    /// A directory: what is below it comes next, and then its `Leave`.
    Enter(Node, TreeRoot),
    /// Anything else.
    Node(Node),
    /// All of the directory was seen that was entered last.
    Leave,
    /// A part of the directory that the walk is in can't be read.
    Unread(Error),
}

/// A walk under way. It has a stack of its own: trees may be deeper than a thread's stack.
pub struct Walk {
    reader: Reader,
    levels: Vec<Level>,
    path: Vec<u8>,
    /// A directory that was shown last: its pages are read when the next step is asked for.
    ahead: Option<TreeRoot>,
}

struct Level {
    nodes: Nodes,
    /// Bytes of the directory's path.
    path: usize,
}

impl Walk {
    /// A walk over what is below a directory that lies at `path`; neither its `Enter` nor its `Leave` is told.
    pub fn new(reader: &Reader, root: &TreeRoot, path: &[u8]) -> Self {
        let mut walk = Self { reader: reader.clone(), levels: Vec::new(), path: path.to_vec(), ahead: Some(*root) };
        walk.descend();
        walk
    }

    /// The path of what the last step told of; of an `Unread`, that of its directory.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Passes over the directory that was shown last: nothing below it is told, nor its `Leave`.
    pub fn pass(&mut self) {
        self.ahead = None;
    }

    /// Gives up all directories but the first `depth` of those that were entered, without their `Leave`.
    pub fn rise(&mut self, depth: usize) {
        self.ahead = None;
        self.levels.truncate(depth + 1);
    }

    fn descend(&mut self) {
        if let Some(root) = self.ahead.take() {
            self.levels.push(Level { nodes: Nodes::new(&self.reader, &root), path: self.path.len() });
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.descend();
        let level = self.levels.last_mut()?;
        self.path.truncate(level.path);
        match level.nodes.next() {
            None => {
                self.levels.pop();
                (!self.levels.is_empty()).then_some(Step::Leave)
            }
            Some(Err(error)) => Some(Step::Unread(error)),
            Some(Ok(node)) => {
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(&node.name);
                let NodeKind::Directory(root) = node.kind else { return Some(Step::Node(node)) };
                self.ahead = Some(root);
                Some(Step::Enter(node, root))
            }
        }
    }
}
