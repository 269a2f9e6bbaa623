//! What a tree reaches: its pages, the lists and chunks of its files, and so on at any depth. Pages that were seen
//! before are passed over, so that many snapshots of one source cost one walk and what changed. A page that can't be
//! read is named, and the walk goes on without what lies below it.

use super::walk;
use crate::repository::Error;
use crate::repository::read::reader::Reader;
use std::collections::HashSet;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::Content;
use vault_format::tree::{NodeKind, TreePage};

/// Calls `each` for everything below a root page, whether it can be read or not; returns what could not be read.
pub fn reach(
    reader: &Reader,
    root: BlobId,
    seen: &mut HashSet<BlobId>,
    each: &mut dyn FnMut(BlobKind, BlobId),
) -> Vec<Error> {
    let mut unread = Vec::new();
    // a stack of our own: trees may be deeper than a thread's stack
    let mut pages = vec![root];
    while let Some(id) = pages.pop() {
        if !seen.insert(id) {
            continue;
        }
        each(BlobKind::Tree, id);
        match walk::page(reader, &id) {
            Ok(TreePage::Branch { children, .. }) => pages.extend(children.iter().map(|child| child.root.id)),
            Ok(TreePage::Leaf(nodes)) => {
                for node in nodes {
                    match node.kind {
                        NodeKind::Directory(root) => pages.push(root.id),
                        NodeKind::File { content, .. } => unread.extend(file(reader, &content, seen, each)),
                        _ => {}
                    }
                }
            }
            Err(error) => unread.push(error),
        }
    }
    unread
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
    let (mut chunks, mut pages) = (Vec::new(), Vec::new());
    let mut chunk = |chunk: vault_format::list::ChunkRef| {
        chunks.push(chunk.id);
        Ok(())
    };
    let walked = walk::chunks(reader, content, &mut chunk, &mut |page| pages.push(page));
    pages.into_iter().for_each(|id| each(BlobKind::List, id));
    chunks.into_iter().for_each(|id| each(BlobKind::Chunk, id));
    walked.err()
}
