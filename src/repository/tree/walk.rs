//! The walk over a stored tree: everything below a directory, in the order of names, a directory before what is in it.
//! Whoever walks takes step after step and may pass a directory over or rise out of several; stack, path and promises of
//! pages are kept here. What can't be read is told, and the walk goes on behind it.

use super::levels::Levels;
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
    levels: Levels<Nodes>,
    /// A directory that was shown last: its pages are read when the next step is asked for.
    ahead: Option<TreeRoot>,
}

impl Walk {
    /// A walk over what is below a directory that lies at `path`; neither its `Enter` nor its `Leave` is told.
    pub fn new(reader: &Reader, root: &TreeRoot, path: &[u8]) -> Self {
        let mut walk = Self { reader: reader.clone(), levels: Levels::new(path), ahead: Some(*root) };
        walk.descend();
        walk
    }

    /// The path of what the last step told of; of an `Unread`, that of its directory.
    pub fn path(&self) -> &[u8] {
        self.levels.path()
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
            self.levels.push(Nodes::new(&self.reader, &root));
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.descend();
        let step = match self.levels.last()?.next() {
            None => {
                self.levels.pop();
                return (self.levels.len() > 0).then_some(Step::Leave);
            }
            Some(Err(error)) => Step::Unread(error),
            Some(Ok(node)) => match (self.levels.name(&node.name), &node.kind) {
                (Err(error), _) => Step::Unread(error),
                (Ok(()), NodeKind::Directory(root)) => {
                    let root = *self.ahead.insert(*root);
                    Step::Enter(node, root)
                }
                (Ok(()), _) => Step::Node(node),
            },
        };
        Some(step)
    }
}
