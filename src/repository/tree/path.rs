//! Paths in stored trees: names joined by slashes, without one at the front, and what lies at one. One page a level is
//! read, none is listed. An address is a path in a snapshot of a look.

use super::nodes;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::view::View;
use crate::repository::{Error, Result};
use vault_format::promise::Promise;
use vault_format::tree::{Node, NodeKind, TreePage, TreeRoot};

/// A path in a snapshot, as users write it: `SNAPSHOT:PATH`.
#[derive(Clone, Debug)]
pub struct Address<'v> {
    /// The look that has the snapshot.
    pub view: &'v View,
    /// The snapshot.
    pub snapshot: &'v SnapshotEntry,
    /// The path as it was written; empty = all of the snapshot.
    pub path: Vec<u8>,
}

impl<'v> Address<'v> {
    /// What lies at `path` of a snapshot.
    pub fn new(view: &'v View, snapshot: &'v SnapshotEntry, path: &[u8]) -> Self {
        Self { view, snapshot, path: path.to_vec() }
    }

    /// A reader of the snapshot's domain.
    pub fn reader(&self) -> Result<Reader> {
        Ok(Reader::new(self.view.repository(), &self.view.lookup(self.snapshot.place.domain)?).trusting_bases())
    }

    /// The node at the path; `None` for the root itself.
    pub fn find(&self, reader: &Reader) -> Result<Option<Node>> {
        Ok(self.locate(reader)?.1)
    }

    /// Finds the node at the path, with the path as the names of the nodes on the way say it: there are several ways to
    /// write one.
    pub fn locate(&self, reader: &Reader) -> Result<(Vec<u8>, Option<Node>)> {
        let snapshot = self.snapshot.id.short();
        locate(reader, &self.snapshot.head.root, &self.path)?
            .ok_or_else(|| Error::NoPath { snapshot, path: String::from_utf8_lossy(&self.path).into_owned() })
    }
}

/// The node with a name in a directory: reads one page a level.
fn child(reader: &Reader, root: &TreeRoot, name: &[u8]) -> Result<Option<Node>> {
    let (mut at, mut height, mut last_name) = (*root, None, None);
    loop {
        let promise = Promise { height, last_name: last_name.as_deref(), after: None, count: Some(at.count) };
        match nodes::page(reader, &at.id, promise)? {
            TreePage::Leaf(nodes) => {
                let found = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
                return Ok(found.ok().and_then(|at| nodes.into_iter().nth(at)));
            }
            // heights fall with every level, so this ends
            TreePage::Branch { height: above, children } => {
                let next = children.partition_point(|child| child.last_name.as_slice() < name);
                let Some(child) = children.into_iter().nth(next) else { return Ok(None) };
                (at, height, last_name) = (child.root, Some(above - 1), Some(child.last_name));
            }
        }
    }
}

/// The node at a path below a root, with the path as the names of nodes say it; without a node for the root itself, and
/// `None` if there is nothing.
pub fn locate(reader: &Reader, root: &TreeRoot, path: &[u8]) -> Result<Option<(Vec<u8>, Option<Node>)>> {
    let mut at = *root;
    let mut found: Option<Node> = None;
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if let Some(Node { kind, .. }) = &found {
            let NodeKind::Directory(root) = kind else { return Ok(None) };
            at = *root;
        }
        let node = match child(reader, &at, name)? {
            None => unescaped(name).map(|name| child(reader, &at, &name)).transpose()?.flatten(),
            found => found,
        };
        let Some(node) = node else { return Ok(None) };
        names.push(node.name.clone());
        found = Some(node);
    }
    Ok(Some((names.join(&b'/'), found)))
}

/// A name with `\xe9` as it is shown for a byte that is no text; `None` if there is nothing of that kind in it.
fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let byte =
        |rest: &[u8]| u8::from_str_radix(std::str::from_utf8(rest.strip_prefix(b"\\x")?.get(..2)?).ok()?, 16).ok();
    let (mut out, mut rest, mut any) = (Vec::with_capacity(name.len()), name, false);
    while let Some((first, more)) = rest.split_first() {
        if let Some(byte) = byte(rest) {
            any = true;
            out.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = more;
        }
    }
    any.then_some(out)
}
