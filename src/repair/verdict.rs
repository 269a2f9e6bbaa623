//! Whether a tree is whole: no page, list or chunk below it is lost. Each page is judged once for all snapshots, bottom
//! up; a page that can't be read is not whole, unless the store just did not answer: then nothing is judged.

use super::blobs::Blobs;
use crate::repository::Result;
use crate::repository::read::reader::Reader;
use crate::repository::tree::walk;
use std::collections::HashMap;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::Content;
use vault_format::tree::{NodeKind, TreePage};

/// Judges trees of one domain.
pub(super) struct Verdict<'v> {
    reader: &'v Reader,
    lost: &'v Blobs,
    known: HashMap<BlobId, bool>,
}

struct Page {
    id: BlobId,
    below: Vec<BlobId>,
    is_whole: bool,
}

impl<'v> Verdict<'v> {
    /// Nothing is judged yet.
    pub fn new(reader: &'v Reader, lost: &'v Blobs) -> Self {
        Self { reader, lost, known: HashMap::new() }
    }

    /// True if nothing below the page is lost.
    pub fn is_whole(&mut self, root: BlobId) -> Result<bool> {
        if let Some(known) = self.known.get(&root) {
            return Ok(*known);
        }
        let mut stack = vec![self.page(root)?];
        while let Some(top) = stack.last_mut() {
            match top.below.pop() {
                Some(id) => match self.known.get(&id) {
                    Some(is_whole) => top.is_whole &= is_whole,
                    None => {
                        let page = self.page(id)?;
                        stack.push(page);
                    }
                },
                None => {
                    let (id, is_whole) = (top.id, top.is_whole);
                    stack.pop();
                    self.known.insert(id, is_whole);
                    if let Some(above) = stack.last_mut() {
                        above.is_whole &= is_whole;
                    }
                }
            }
        }
        Ok(self.is_known_whole(&root))
    }

    /// The same, if it was judged before.
    pub fn is_known_whole(&self, page: &BlobId) -> bool {
        self.known.get(page).copied().unwrap_or_default()
    }

    fn page(&self, id: BlobId) -> Result<Page> {
        let mut page = Page { id, below: Vec::new(), is_whole: true };
        match walk::page(self.reader, &id) {
            Ok(TreePage::Branch { children, .. }) => page.below.extend(children.iter().map(|child| child.root.id)),
            Ok(TreePage::Leaf(nodes)) => {
                for node in nodes {
                    match node.kind {
                        NodeKind::Directory(root) => page.below.push(root.id),
                        NodeKind::File { content, .. } => page.is_whole &= self.has(&content)?,
                        _ => {}
                    }
                }
            }
            Err(error) if error.is_unanswered() => return Err(error),
            Err(_) => page.is_whole = false,
        }
        Ok(page)
    }

    /// True if nothing of a file's content is lost.
    pub fn has(&self, content: &Content) -> Result<bool> {
        let (mut all, mut pages) = (true, Vec::new());
        let mut each = |chunk: vault_format::list::ChunkRef| {
            all = all && !self.lost.contains(&(BlobKind::Chunk, chunk.id));
            Ok(())
        };
        let walked = walk::chunks(self.reader, content, &mut each, &mut |page| pages.push(page));
        match walked {
            Err(error) if error.is_unanswered() => Err(error),
            Err(_) => Ok(false),
            Ok(()) => Ok(all && !pages.iter().any(|page| self.lost.contains(&(BlobKind::List, *page)))),
        }
    }
}
