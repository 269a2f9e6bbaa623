//! What is in the repository: snapshots with their states, and the nodes of one of them. Only looks.

pub use crate::repository::tree::whole::instead;

use crate::error::Result;
use crate::repository;
use crate::repository::tree::path::Address;
use crate::repository::tree::walk::{Step, Walk};
use crate::repository::view::View;
use crate::repository::{Hidden, Repository};
use crate::time::WallTime;
use vault_format::name::Name;
use vault_format::tree::{Node, NodeKind};

/// Reads the heads of all snapshots.
pub fn snapshots(repository: &Repository) -> Result<View> {
    Ok(View::to_read(repository)?)
}

/// What the store does not show, though orders and snapshots name it, or this machine saw it.
pub fn hidden(view: &View) -> Result<Vec<Hidden>> {
    Ok(view.still_hidden()?)
}

/// What this machine saw in the store, and is not there any more: heads, orders, key slots. A slot is told once, since it
/// goes with its key.
pub fn unseen(view: &View) -> Result<Vec<Name>> {
    Ok(view.unseen()?)
}

/// Calls `each` with path and node of everything directly below an address, or at any depth. That of a file gives the file.
pub fn nodes(address: &Address<'_>, recursive: bool, each: &mut dyn FnMut(&[u8], &Node) -> Result<()>) -> Result<()> {
    let reader = address.reader()?;
    let trimmed = address.path.strip_suffix(b"/").unwrap_or(&address.path);
    let (root, above) = match address.find(&reader)? {
        None => (address.snapshot.head.root, b"".as_slice()),
        Some(Node { kind: NodeKind::Directory(root), .. }) => (root, trimmed),
        Some(node) => return each(trimmed, &node),
    };
    let mut walk = Walk::new(&reader, &root, above);
    while let Some(step) = walk.next() {
        match step {
            Step::Enter(node, _) => {
                each(walk.path(), &node)?;
                if !recursive {
                    walk.pass();
                }
            }
            Step::Node(node) => each(walk.path(), &node)?,
            Step::Leave => {}
            Step::Unread(error) => return Err(error.into()),
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

/// What an address means: a snapshot, and the path behind its colon.
pub fn find<'v>(view: &'v View, address: &[u8], at: &dyn Fn(&str) -> Option<WallTime>) -> Result<Address<'v>> {
    // a time has colons of its own: the path begins at the first colon behind which the rest is an address
    let colons = address.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let mut cuts: Vec<usize> = colons.map(|(at, _)| at).collect();
    cuts.push(address.len());
    let mut first_error: Option<repository::Error> = None;
    for cut in cuts.into_iter().rev() {
        // paths are bytes, the names of snapshots are text
        let name = String::from_utf8_lossy(address.get(..cut).unwrap_or_default());
        match view.snapshots.find(&name, at) {
            Ok(snapshot) => {
                let mut path = address.get(cut + 1..).unwrap_or_default();
                while let Some(rest) = path.strip_prefix(b"/") {
                    path = rest;
                }
                return Ok(Address::new(view, snapshot, path));
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
