//! Builds directories and content lists bottom-up as content-cut trees of pages. Where a page ends depends on names
//! (directories) or chunk ids (lists) alone, so that one change touches one page a level. A stored tree can be written
//! anew in the same way, with other files or for other ids.

use super::before::{Before, Beside};
use super::walk::{Step, Walk};
use crate::repository::read::reader::Reader;
use crate::repository::write::writer::Writer;
use crate::repository::{Error, Result, encoding, of_object};
use vault_format::id::{BlobId, BlobKind};
use vault_format::key::Key;
use vault_format::list::{ChunkRef, Content, INLINE_CHUNKS_MAX, ListPage, ListRoot};
use vault_format::page::{PAGE_BYTES_TARGET, PAGE_ENTRIES_MAX};
use vault_format::tree::{Node, NodeKind, TreeChild, TreePage, TreeRoot};

/// Rough bytes of a node besides its names, link target, attributes and chunks.
const NODE_BYTES: usize = 140;

/// Where the pages of a tree go.
pub trait Pages {
    /// Takes a page, and gives its id.
    fn put_page(&mut self, page: &[u8]) -> Result<BlobId>;
}

impl Pages for Writer {
    fn put_page(&mut self, page: &[u8]) -> Result<BlobId> {
        self.put(BlobKind::Tree, page)
    }
}

/// Tells what a tree would be called, and stores nothing of it.
pub struct Unstored<'w>(pub &'w Writer);

impl Pages for Unstored<'_> {
    fn put_page(&mut self, page: &[u8]) -> Result<BlobId> {
        Ok(self.0.id_of(BlobKind::Tree, page))
    }
}

/// Collects the nodes of one directory in order.
#[derive(Default)]
pub struct TreeBuilder {
    leaf: Vec<Node>,
    leaf_bytes: usize,
    children: Vec<TreeChild>,
}

impl TreeBuilder {
    /// Adds the next node; names must ascend.
    pub fn push(&mut self, pages: &mut dyn Pages, key: &Key, node: Node) -> Result<()> {
        let bytes = node_bytes(&node);
        if self.leaf_bytes + bytes > PAGE_BYTES_TARGET && !self.leaf.is_empty() {
            self.close_leaf(pages)?;
        }
        let ends = ends_page(key, &node.name, 0);
        self.leaf_bytes += bytes;
        self.leaf.push(node);
        if ends || self.leaf.len() == PAGE_ENTRIES_MAX {
            self.close_leaf(pages)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, pages: &mut dyn Pages) -> Result<()> {
        let nodes = std::mem::take(&mut self.leaf);
        self.leaf_bytes = 0;
        let last_name = nodes.last().map(|node| node.name.clone()).unwrap_or_default();
        let (bytes, count) = nodes.iter().fold((0u64, 0u64), |(bytes, count), node| match &node.kind {
            NodeKind::File { size, .. } => (bytes.saturating_add(*size), count.saturating_add(1)),
            NodeKind::Directory(root) => {
                (bytes.saturating_add(root.bytes), count.saturating_add(1).saturating_add(root.count))
            }
            _ => (bytes, count.saturating_add(1)),
        });
        let id = put_page(pages, &TreePage::Leaf(nodes))?;
        self.children.push(TreeChild { last_name, root: TreeRoot { id, bytes, count } });
        Ok(())
    }

    /// Ends the directory.
    pub fn finish(mut self, pages: &mut dyn Pages, key: &Key) -> Result<TreeRoot> {
        if !self.leaf.is_empty() || self.children.is_empty() {
            self.close_leaf(pages)?;
        }
        let mut level = self.children;
        for height in 1..=vault_format::page::HEIGHT_MAX {
            if level.len() == 1 {
                break;
            }
            let mut above = Vec::new();
            let size = |child: &TreeChild| child.last_name.len() + 60;
            for children in group(level, size, |child| ends_page(key, &child.last_name, height)) {
                let last_name = children.last().map(|child| child.last_name.clone()).unwrap_or_default();
                let bytes = children.iter().fold(0u64, |sum, child| sum.saturating_add(child.root.bytes));
                let count = children.iter().fold(0u64, |sum, child| sum.saturating_add(child.root.count));
                let id = put_page(pages, &TreePage::Branch { height, children })?;
                above.push(TreeChild { last_name, root: TreeRoot { id, bytes, count } });
            }
            level = above;
        }
        match <[TreeChild; 1]>::try_from(level) {
            Ok([only]) => Ok(only.root),
            Err(_) => of_object("a directory", Err(vault_format::Error::Limit("the height of a tree"))),
        }
    }
}

fn put_page(pages: &mut dyn Pages, page: &TreePage) -> Result<BlobId> {
    let bytes = encoding("a tree page", page.encode())?;
    pages.put_page(&bytes)
}

fn node_bytes(node: &Node) -> usize {
    let metadata = &node.metadata;
    let xattrs: usize = metadata.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 16).sum();
    let kind = match &node.kind {
        NodeKind::File { content: Content::Inline(chunks), holes, .. } => chunks.len() * 36 + holes.len() * 16,
        NodeKind::File { holes, .. } => 48 + holes.len() * 16,
        NodeKind::Symlink(target) => target.len(),
        _ => 0,
    };
    NODE_BYTES + node.name.len() + metadata.user.len() + metadata.group.len() + xattrs + kind
}

/// One name in 256 ends its page, another one on each level.
fn ends_page(key: &Key, name: &[u8], height: u8) -> bool {
    blake3::keyed_hash(key.expose(), name).as_bytes()[usize::from(height)] == 0
}

/// Splits one level into pages of at least two.
fn group<T>(level: Vec<T>, size: impl Fn(&T) -> usize, ends: impl Fn(&T) -> bool) -> Vec<Vec<T>> {
    let mut pages: Vec<Vec<T>> = Vec::new();
    let mut page = Vec::new();
    let mut bytes = 0;
    for child in level {
        bytes += size(&child);
        let full = ends(&child) || bytes > PAGE_BYTES_TARGET || page.len() + 2 >= PAGE_ENTRIES_MAX;
        page.push(child);
        if full && page.len() >= 2 {
            pages.push(std::mem::take(&mut page));
            bytes = 0;
        }
    }
    match (page.len(), pages.last_mut()) {
        (0, _) => {}
        (1, Some(last)) => last.append(&mut page),
        _ => pages.push(page),
    }
    pages
}

/// Collects the chunks of one file in order.
#[derive(Default)]
pub struct ListBuilder<'b> {
    chunks: Vec<ChunkRef>,
    children: Vec<ListRoot>,
    beside: Option<Beside<'b>>,
}

impl<'b> ListBuilder<'b> {
    /// The list of what takes the place of something.
    pub fn beside(before: Option<&Before<'b>>) -> Self {
        Self { beside: before.map(Before::pages), ..Self::default() }
    }

    /// Adds the next chunk.
    pub fn push(&mut self, writer: &mut Writer, chunk: ChunkRef) -> Result<()> {
        self.chunks.push(chunk);
        let long = self.chunks.len() > INLINE_CHUNKS_MAX || !self.children.is_empty();
        if (long && chunk.id.0[0] == 0) || self.chunks.len() == PAGE_ENTRIES_MAX {
            self.close_leaf(writer)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, writer: &mut Writer) -> Result<()> {
        let chunks = std::mem::take(&mut self.chunks);
        let count = chunks.len() as u64;
        let root = put_list(writer, &ListPage::Leaf(chunks), count, self.beside.as_mut())?;
        self.children.push(root);
        Ok(())
    }

    /// Ends the list.
    pub fn finish(mut self, writer: &mut Writer) -> Result<Content> {
        if self.children.is_empty() && self.chunks.len() <= INLINE_CHUNKS_MAX {
            return Ok(Content::Inline(self.chunks));
        }
        if !self.chunks.is_empty() {
            self.close_leaf(writer)?;
        }
        self.beside.take().map_or(Ok(()), |beside| beside.finish(writer))?;
        let mut level = self.children;
        for height in 1..=vault_format::page::HEIGHT_MAX {
            if level.len() == 1 {
                break;
            }
            let mut above = Vec::new();
            for children in group(level, |_| 48, |child| child.id.0[usize::from(height)] == 0) {
                let count = children.iter().map(|child| child.count).sum();
                above.push(put_list(writer, &ListPage::Branch { height, children }, count, None)?);
            }
            level = above;
        }
        match <[ListRoot; 1]>::try_from(level) {
            Ok([only]) => Ok(Content::List(only)),
            Err(_) => of_object("a content list", Err(vault_format::Error::Limit("the height of a list"))),
        }
    }
}

fn put_list(writer: &mut Writer, page: &ListPage, count: u64, beside: Option<&mut Beside<'_>>) -> Result<ListRoot> {
    let bytes = of_object("a list page", page.bytes())?;
    let encoded = encoding("a list page", page.encode())?;
    let id = match beside {
        Some(beside) => beside.put(writer, &encoded, bytes)?,
        None => writer.put(BlobKind::List, &encoded)?,
    };
    Ok(ListRoot { id, bytes, count })
}

/// How a tree is written anew.
pub trait Rewrite {
    /// The node that takes a file's place; `None` leaves it out.
    fn file(&mut self, writer: &mut Writer, node: Node) -> Result<Option<Node>>;
    /// A page can't be read: an error ends it all, else the rest goes on without the page.
    fn unread(&mut self, error: Error) -> Result<()>;
    /// The root that took the place of another one before, if it may be taken over; the writer relies on what is below.
    fn known(&self, root: &TreeRoot) -> Option<TreeRoot>;
    /// A directory and all below it was written.
    fn wrote(&mut self, from: &TreeRoot, to: &TreeRoot);
}

/// Writes a tree anew, node by node, bottom-up.
pub fn rewrite(
    reader: &Reader,
    root: &TreeRoot,
    writer: &mut Writer,
    key: &Key,
    how: &mut dyn Rewrite,
) -> Result<TreeRoot> {
    let mut top = TreeBuilder::default();
    // directories under way: the node, its root before, and what was built of the directory above it
    let mut above: Vec<(Node, TreeRoot, TreeBuilder)> = Vec::new();
    let mut walk = Walk::new(reader, root, b"");
    while let Some(step) = walk.next() {
        match step {
            Step::Enter(node, from) => match how.known(&from) {
                Some(to) => {
                    walk.pass();
                    top.push(writer, key, Node { kind: NodeKind::Directory(to), ..node })?;
                }
                None => above.push((node, from, std::mem::take(&mut top))),
            },
            Step::Node(node @ Node { kind: NodeKind::File { .. }, .. }) => {
                if let Some(node) = how.file(writer, node)? {
                    top.push(writer, key, node)?;
                }
            }
            Step::Node(node) => top.push(writer, key, node)?,
            Step::Unread(error) => how.unread(error)?,
            Step::Leave => {
                let (node, from, before) = above.pop().ok_or(Error::Bug("a walk left a directory twice"))?;
                let to = std::mem::replace(&mut top, before).finish(writer, key)?;
                how.wrote(&from, &to);
                top.push(writer, key, Node { kind: NodeKind::Directory(to), ..node })?;
            }
        }
    }
    let to = top.finish(writer, key)?;
    how.wrote(root, &to);
    Ok(to)
}
