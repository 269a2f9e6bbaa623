//! The chunks of a file's content in order, be they in the node itself or in a list of pages. Each page is held to what
//! its parent says of it: the bytes below it and its height, which falls with every level.

use crate::repository::read::reader::Reader;
use crate::repository::{Result, of_object};
use std::collections::HashSet;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};

/// Reads one page of a list, and holds it to what its parent says: the bytes below it, and its height unless it is the
/// root.
pub(super) fn page(reader: &Reader, root: &ListRoot, height: Option<u8>) -> Result<ListPage> {
    let object = || format!("list page {}", root.id.short());
    let bytes = reader.blob(BlobKind::List, &root.id)?;
    let found = of_object(object(), ListPage::decode(&bytes))?;
    let promised = height.is_none_or(|height| height == found.height());
    if !promised || of_object(object(), found.bytes())? != root.bytes {
        return of_object(object(), Err(vault_format::Error::Invalid("a page holds other bytes than its parent says")));
    }
    Ok(found)
}

/// The chunks of one file. After an error there are no more. It borrows, since it is made anew for each of very many
/// files, most of them of one chunk.
pub struct Chunks<'c> {
    reader: &'c Reader,
    inline: std::slice::Iter<'c, ChunkRef>,
    leaf: std::vec::IntoIter<ChunkRef>,
    // pages still to read, next one last, each with the height that it must have
    pending: Vec<(Option<u8>, ListRoot)>,
    pages: Vec<BlobId>,
}

impl<'c> Chunks<'c> {
    /// Begins with the first chunk; nothing is fetched yet.
    pub fn new(reader: &'c Reader, content: &'c Content) -> Self {
        let (inline, pending) = match content {
            Content::Inline(chunks) => (chunks.iter(), Vec::new()),
            Content::List(root) => ([].iter(), vec![(None, *root)]),
        };
        Self { reader, inline, leaf: Vec::new().into_iter(), pending, pages: Vec::new() }
    }

    /// The list pages that were passed so far; the last one is at fault for an error.
    pub fn pages(&self) -> &[BlobId] {
        &self.pages
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<ChunkRef>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.inline.next().copied().or_else(|| self.leaf.next()) {
                return Some(Ok(chunk));
            }
            let (height, root) = self.pending.pop()?;
            self.pages.push(root.id);
            match page(self.reader, &root, height) {
                Ok(ListPage::Leaf(chunks)) => self.leaf = chunks.into_iter(),
                // heights fall with every level, so this ends after at most eight
                Ok(ListPage::Branch { height, children }) => {
                    self.pending.extend(children.into_iter().rev().map(|child| (Some(height - 1), child)));
                }
                Err(error) => {
                    self.pending.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The pages of a list that hold chunks, in order, without being read; nothing after what can't be read.
pub(super) fn leaves<'c>(reader: &'c Reader, content: &'c Content) -> impl Iterator<Item = ListRoot> + 'c {
    let mut pending = match content {
        Content::Inline(_) => Vec::new(),
        Content::List(root) => vec![(None, *root)],
    };
    std::iter::from_fn(move || {
        loop {
            let (height, root) = pending.pop()?;
            if height == Some(0) {
                return Some(root);
            }
            match page(reader, &root, height).ok()? {
                ListPage::Leaf(_) => return Some(root),
                ListPage::Branch { height, children } => {
                    pending.extend(children.into_iter().rev().map(|child| (Some(height - 1), child)));
                }
            }
        }
    })
}

/// All chunks that a file's content names, for whoever asks which and not where: page by page, each page once for all that
/// is said of it. Lists share pages, and six that name one another four thousand times each make 2^60 chunks.
pub struct Pages<'c> {
    reader: &'c Reader,
    inline: Option<&'c [ChunkRef]>,
    pending: Vec<(Option<u8>, ListRoot)>,
    seen: HashSet<(Option<u8>, BlobId, u64)>,
}

impl<'c> Pages<'c> {
    /// Begins with what the node itself holds.
    pub fn new(reader: &'c Reader, content: &'c Content) -> Self {
        let (inline, pending) = match content {
            Content::Inline(chunks) => (Some(chunks.as_slice()), Vec::new()),
            Content::List(root) => (None, vec![(None, *root)]),
        };
        Self { reader, inline, pending, seen: HashSet::new() }
    }
}

impl Iterator for Pages<'_> {
    /// A page, unless it is the node, and the chunks that it names itself. After an error there are no more.
    type Item = (Option<BlobId>, Result<Vec<ChunkRef>>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(chunks) = self.inline.take() {
            return Some((None, Ok(chunks.to_vec())));
        }
        while let Some((height, root)) = self.pending.pop() {
            if !self.seen.insert((height, root.id, root.bytes)) {
                continue;
            }
            let chunks = page(self.reader, &root, height).map(|page| match page {
                ListPage::Leaf(chunks) => chunks,
                ListPage::Branch { height, children } => {
                    self.pending.extend(children.into_iter().rev().map(|child| (Some(height - 1), child)));
                    Vec::new()
                }
            });
            if chunks.is_err() {
                self.pending.clear();
            }
            return Some((Some(root.id), chunks));
        }
        None
    }
}
