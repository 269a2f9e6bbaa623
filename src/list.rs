//! What is in the repository: snapshots with their states, and the nodes of one of them. Only looks.

use crate::error::Result;
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::walk;
use crate::repository::tree::walk::Nodes;
use crate::repository::view::View;
use crate::time::WallTime;
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Reads the heads of all snapshots.
pub fn snapshots(repository: &Repository) -> Result<View> {
    Ok(View::to_read(repository)?)
}

/// Calls `each` with path and node of everything directly below `path`, or at any depth. A file's path gives that file.
pub fn nodes(
    reader: &Reader,
    snapshot: &SnapshotEntry,
    path: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    let found = walk::find(reader, &snapshot.head.root, path, &snapshot.id.short())?;
    let trimmed = path.strip_suffix(b"/").unwrap_or(path).to_vec();
    match found {
        None => below(reader, &snapshot.head.root, Vec::new(), recursive, each),
        Some(Node { kind: NodeKind::Directory(root), .. }) => below(reader, &root, trimmed, recursive, each),
        Some(node) => each(&trimmed, &node),
    }
}

fn below(
    reader: &Reader,
    root: &TreeRoot,
    prefix: Vec<u8>,
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    // a stack of our own: trees may be deeper than a thread's stack
    let mut levels = vec![(prefix, Nodes::new(reader, root))];
    while let Some((prefix, nodes)) = levels.last_mut() {
        let Some(node) = nodes.next() else {
            levels.pop();
            continue;
        };
        let node = node.map_err(crate::error::Error::from)?;
        let mut path = prefix.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&node.name);
        each(&path, &node)?;
        if let (NodeKind::Directory(root), true) = (&node.kind, recursive) {
            levels.push((path, Nodes::new(reader, root)));
        }
    }
    Ok(())
}

fn weight(error: &repository::Error) -> u8 {
    match error {
        repository::Error::NotThatOld { .. } => 2,
        repository::Error::UnreadableTime(_) => 1,
        _ => 0,
    }
}

/// The snapshot of an address and the path behind its colon.
pub fn find<'c>(
    catalog: &'c View,
    address: &[u8],
    at: &dyn Fn(&str) -> Option<WallTime>,
) -> Result<(&'c SnapshotEntry, Vec<u8>)> {
    // a time has colons of its own: the path begins at the first colon behind which the rest is an address
    let colons = address.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let mut cuts: Vec<usize> = colons.map(|(at, _)| at).collect();
    cuts.push(address.len());
    let mut first_error: Option<repository::Error> = None;
    for cut in cuts.into_iter().rev() {
        // paths are bytes, the names of snapshots are text
        let name = String::from_utf8_lossy(address.get(..cut).unwrap_or_default());
        match catalog.snapshots.find(&name, at) {
            Ok(snapshot) => {
                let mut path = address.get(cut + 1..).unwrap_or_default();
                while let Some(rest) = path.strip_prefix(b"/") {
                    path = rest;
                }
                return Ok((snapshot, path.to_vec()));
            }
            Err(error @ repository::Error::Ambiguous { .. }) => return Err(error.into()),
            Err(error) => {
                // a time that can be read, though nothing is that old, was meant; then one that can't be; of others the
                // shortest form names what the user most likely meant
                let known = first_error.take_if(|known| weight(known) > weight(&error));
                first_error = known.or(Some(error));
            }
        }
    }
    Err(first_error
        .unwrap_or_else(|| repository::Error::NoSnapshot(String::from_utf8_lossy(address).into_owned()))
        .into())
}
