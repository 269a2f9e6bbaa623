//! Whether a tree is whole: no page, list or chunk below it is lost. Each page is judged once for all snapshots, bottom
//! up; a page that can't be read is not whole, unless the store just did not answer: then nothing is judged.

use super::blobs::Blobs;
use crate::repository::read::reader::Reader;
use crate::repository::tree::chunks::Chunks;
use crate::repository::tree::fold::{self, Fold, Level};
use crate::repository::tree::nodes;
use crate::repository::{Error, Result};
use std::collections::HashMap;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::Content;
use vault_format::promise::Promise;
use vault_format::tree::{NodeKind, TreePage};

/// Judges trees of one domain.
pub(super) struct Verdict<'v> {
    lost: Lost<'v>,
    known: HashMap<BlobId, bool>,
}

struct Lost<'v> {
    reader: &'v Reader,
    blobs: &'v Blobs,
}

impl<'v> Verdict<'v> {
    /// Nothing is judged yet.
    pub fn new(reader: &'v Reader, blobs: &'v Blobs) -> Self {
        Self { lost: Lost { reader, blobs }, known: HashMap::new() }
    }

    /// True if nothing below the page is lost.
    pub fn is_whole(&mut self, root: BlobId) -> Result<bool> {
        fold::fold(&mut self.lost, &mut self.known, root)?;
        Ok(self.is_known_whole(&root))
    }

    /// The same, if it was judged before.
    pub fn is_known_whole(&self, page: &BlobId) -> bool {
        self.known.get(page).copied().unwrap_or_default()
    }

    /// True if nothing of a file's content is lost.
    pub fn has(&self, content: &Content) -> Result<bool> {
        self.lost.has(content)
    }
}

impl Fold for Lost<'_> {
    type Page = BlobId;
    type Sum = bool;
    type Error = Error;

    fn id(page: &BlobId) -> BlobId {
        *page
    }

    fn open(&mut self, _: &[Level<BlobId, bool>], id: &BlobId) -> Result<(bool, Vec<BlobId>)> {
        match nodes::page(self.reader, id, Promise::default()) {
            Ok(TreePage::Branch { children, .. }) => Ok((true, children.iter().map(|child| child.root.id).collect())),
            Ok(TreePage::Leaf(nodes)) => {
                let (mut is_whole, mut below) = (true, Vec::new());
                for node in nodes {
                    match node.kind {
                        NodeKind::Directory(root) => below.push(root.id),
                        NodeKind::File { content, .. } => is_whole &= self.has(&content)?,
                        _ => {}
                    }
                }
                Ok((is_whole, below))
            }
            Err(error) if error.is_unanswered() => Err(error),
            Err(_) => Ok((false, Vec::new())),
        }
    }

    fn add(&mut self, is_whole: &mut bool, _: &BlobId, below: &bool) -> Result<()> {
        *is_whole &= below;
        Ok(())
    }
}

impl Lost<'_> {
    fn has(&self, content: &Content) -> Result<bool> {
        let mut chunks = Chunks::new(self.reader, content);
        for chunk in chunks.by_ref() {
            match chunk {
                Ok(chunk) if !self.blobs.contains(&(BlobKind::Chunk, chunk.id)) => {}
                Err(error) if error.is_unanswered() => return Err(error),
                _ => return Ok(false),
            }
        }
        Ok(!chunks.pages().iter().any(|page| self.blobs.contains(&(BlobKind::List, *page))))
    }
}
