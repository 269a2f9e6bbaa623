//! What a tree reaches: its pages, the lists and chunks of its files, and so on at any depth. Pages that were seen
//! before are passed over, so that many snapshots of one source cost one walk and what changed. A page that is lost is
//! named, and the walk goes on without what lies below it; a store that does not answer ends it.

use super::chunks::Pages;
use super::nodes;
use crate::repository::read::reader::Reader;
use crate::repository::{Error, Result};
use std::collections::HashSet;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::Content;
use vault_format::promise::Promise;
use vault_format::tree::{NodeKind, TreePage};

/// So many pages are read at a time.
pub const AHEAD: usize = 64;

/// Calls `each` for everything below a root page, whether it can be read or not; returns what is lost.
pub fn reach(
    reader: &Reader,
    root: BlobId,
    seen: &mut HashSet<BlobId>,
    each: &mut dyn FnMut(BlobKind, BlobId),
) -> Result<Vec<Error>> {
    let mut lost = Vec::new();
    let mut note = |error: Error| {
        if error.is_unanswered() {
            return Err(error);
        }
        lost.push(error);
        Ok(())
    };
    // a stack of our own: trees may be deeper than a thread's stack
    let (mut pages, mut batch) = (vec![root], Vec::new());
    loop {
        if batch.is_empty() {
            batch = pages.split_off(pages.len().saturating_sub(AHEAD));
            batch.retain(|id| seen.insert(*id));
            reader.read_ahead(BlobKind::Tree, &batch);
        }
        let Some(id) = batch.pop() else {
            if pages.is_empty() {
                return Ok(lost);
            }
            continue;
        };
        each(BlobKind::Tree, id);
        // a page that several parents promise differently is reached all the same
        match nodes::page(reader, &id, Promise::default()) {
            Ok(TreePage::Branch { children, .. }) => pages.extend(children.iter().map(|child| child.root.id)),
            Ok(TreePage::Leaf(nodes)) => {
                for node in nodes {
                    match node.kind {
                        NodeKind::Directory(root) => pages.push(root.id),
                        NodeKind::File { content, .. } => {
                            file(reader, &content, seen, each).map_or(Ok(()), &mut note)?;
                        }
                        _ => {}
                    }
                }
            }
            Err(error) => note(error)?,
        }
    }
}

/// Adds everything below a root page to `needed`; fails if anything of it is lost.
pub fn all(
    reader: &Reader,
    root: BlobId,
    seen: &mut HashSet<BlobId>,
    needed: &mut HashSet<(BlobKind, BlobId)>,
) -> Result<()> {
    let mut each = |kind, id| needed.extend([(kind, id)]);
    reach(reader, root, seen, &mut each)?.into_iter().next().map_or(Ok(()), Err)
}

fn file(
    reader: &Reader,
    content: &Content,
    seen: &mut HashSet<BlobId>,
    each: &mut dyn FnMut(BlobKind, BlobId),
) -> Option<Error> {
    if let Content::List(root) = content
        && !seen.insert(root.id)
    {
        return None;
    }
    let mut failed = None;
    for (page, chunks) in Pages::new(reader, content) {
        page.into_iter().for_each(|id| each(BlobKind::List, id));
        match chunks {
            Ok(chunks) => chunks.iter().for_each(|chunk| each(BlobKind::Chunk, chunk.id)),
            Err(error) => failed = Some(error),
        }
    }
    failed
}
