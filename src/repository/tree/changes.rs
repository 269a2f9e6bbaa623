//! What two stored trees differ in, path by path. Whatever has the same id on both sides is passed over unread, so the
//! work is that of the difference and not of the trees. Damage ends the comparison: half of one would show entries as
//! new or gone that are neither.

use super::chunks::Chunks;
use super::levels::Levels;
use super::nodes::{Nodes, Pairs};
use crate::repository::Result;
use crate::repository::read::reader::Reader;
use std::collections::HashMap;
use vault_format::id::BlobId;
use vault_format::list::Content;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// In what two nodes of the same path differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// There is none before.
    Added,
    /// There is none after.
    Removed,
    /// Type.
    Type,
    /// Content, link target or device number.
    Content,
    /// Permissions, owner, time or attributes alone.
    Metadata,
}

/// One path of which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Below the roots.
    pub path: Vec<u8>,
    /// The node of the first tree.
    pub before: Option<Node>,
    /// The node of the second tree.
    pub after: Option<Node>,
    /// In what they differ.
    pub difference: Difference,
}

impl Change {
    /// True if nothing but reading tells that the content is another: it rotted, or somebody set a clock.
    pub fn is_hidden(&self) -> bool {
        let seen = |node: &Node| match &node.kind {
            NodeKind::File { size, .. } => Some((*size, node.metadata.mtime, node.metadata.ctime, node.metadata.inode)),
            _ => None,
        };
        let (before, after) = (self.before.as_ref().and_then(seen), self.after.as_ref().and_then(seen));
        self.difference == Difference::Content && before.is_some() && before == after
    }
}

/// In what two nodes differ, if in anything. Of directories only what they are themselves counts, not what they hold;
/// inode and ctime never do.
pub fn difference(before: Option<&Node>, after: Option<&Node>) -> Option<Difference> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Difference::Added),
        (Some(_), None) => return Some(Difference::Removed),
        (Some(before), Some(after)) => (before, after),
    };
    if std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind) {
        return Some(Difference::Type);
    }
    let is_directory = matches!(before.kind, NodeKind::Directory(_));
    if !is_directory && before.kind != after.kind {
        return Some(Difference::Content);
    }
    (!metadata(before, after).is_empty()).then_some(Difference::Metadata)
}

/// The parts of their metadata in which two nodes differ.
pub fn metadata(before: &Node, after: &Node) -> Vec<&'static str> {
    let (before, after) = (&before.metadata, &after.metadata);
    let owner = before.uid != after.uid || before.user != after.user;
    let group = before.gid != after.gid || before.group != after.group;
    let parts = [
        ("mode", before.mode != after.mode),
        ("owner", owner),
        ("group", group),
        ("mtime", before.mtime != after.mtime),
        ("attributes", before.xattrs != after.xattrs),
    ];
    parts.into_iter().filter(|(_, differ)| *differ).map(|(part, _)| part).collect()
}

/// Walks two trees side by side. Entries of a directory come right after it; after an error there is nothing more.
pub struct Changes {
    before: Reader,
    after: Reader,
    levels: Levels<Pairs>,
}

impl Changes {
    /// What differs between two nodes that lie at `path`; without one of them, all of the other.
    pub fn new((before, old): (&Reader, Option<Node>), (after, new): (&Reader, Option<Node>), above: &[u8]) -> Self {
        let pairs = Pairs::new(Nodes::of(before, old), Nodes::of(after, new));
        let mut levels = Levels::new(above);
        levels.push(pairs);
        Self { before: before.clone(), after: after.clone(), levels }
    }

    /// What differs between two directories; without one of them, all of the other.
    pub fn of_roots((before, old): (&Reader, Option<&TreeRoot>), (after, new): (&Reader, Option<&TreeRoot>)) -> Self {
        let mut changes = Self { before: before.clone(), after: after.clone(), levels: Levels::new(b"") };
        changes.enter(old, new);
        changes
    }

    fn enter(&mut self, old: Option<&TreeRoot>, new: Option<&TreeRoot>) {
        if old.map(|root| root.id) != new.map(|root| root.id) {
            let nodes = |reader: &Reader, root: Option<&TreeRoot>| match root {
                Some(root) => Nodes::new(reader, root),
                None => Nodes::of(reader, None),
            };
            self.levels.push(Pairs::new(nodes(&self.before, old), nodes(&self.after, new)));
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(pair) = self.levels.last()?.next() else {
                self.levels.pop();
                continue;
            };
            let named = pair.and_then(|(before, after)| {
                let name = before.as_ref().or(after.as_ref()).map(|node| node.name.as_slice()).unwrap_or_default();
                self.levels.name(name)?;
                Ok((before, after))
            });
            let (before, after) = match named {
                Ok(pair) => pair,
                Err(error) => {
                    self.levels.truncate(0);
                    return Some(Err(error));
                }
            };
            let difference = difference(before.as_ref(), after.as_ref());
            let path = difference.map(|_| self.levels.path().to_vec());
            self.enter(root(before.as_ref()), root(after.as_ref()));
            if let (Some(difference), Some(path)) = (difference, path) {
                return Some(Ok(Change { path, before, after, difference }));
            }
        }
    }
}

fn root(node: Option<&Node>) -> Option<&TreeRoot> {
    match node {
        Some(Node { kind: NodeKind::Directory(root), .. }) => Some(root),
        _ => None,
    }
}

/// The chunks of two versions of one file: which bytes are new, and which are gone.
#[derive(Default)]
pub struct Balance {
    before: HashMap<BlobId, (u32, bool)>,
    added: u64,
}

impl Balance {
    /// Begins with the chunks of the version before.
    pub fn new(reader: &Reader, before: &Content) -> Result<Self> {
        let mut balance = Self::default();
        for chunk in Chunks::new(reader, before) {
            let chunk = chunk?;
            balance.before.insert(chunk.id, (chunk.length, false));
        }
        Ok(balance)
    }

    /// Takes a chunk of the version after.
    pub fn take(&mut self, id: BlobId, length: u32) {
        let before = self.before.insert(id, (length, true));
        if before.is_none() {
            self.added += u64::from(length);
        }
    }

    /// Bytes added and bytes removed.
    pub fn bytes(&self) -> (u64, u64) {
        let gone = self.before.values().filter(|(_, taken)| !taken).map(|(length, _)| u64::from(*length));
        (self.added, gone.sum())
    }
}

impl Change {
    /// Content bytes of this entry itself that only one side has: added, and removed. Other files are not looked at.
    pub fn bytes(&self, before: &Reader, after: &Reader) -> Result<(u64, u64)> {
        let file = |node: &Option<Node>| match node {
            Some(Node { kind: NodeKind::File { content, size, .. }, .. }) => Some((content.clone(), *size)),
            _ => None,
        };
        match (file(&self.before), file(&self.after)) {
            (Some((old, _)), Some((new, _))) if old != new => {
                let mut balance = Balance::new(before, &old)?;
                for chunk in Chunks::new(after, &new) {
                    let chunk = chunk?;
                    balance.take(chunk.id, chunk.length);
                }
                Ok(balance.bytes())
            }
            (Some(_), Some(_)) => Ok((0, 0)),
            (old, new) => Ok((new.map_or(0, |(_, size)| size), old.map_or(0, |(_, size)| size))),
        }
    }
}
