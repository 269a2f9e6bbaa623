//! The walk over stored trees: nodes of a directory in order, page by page, and chunks of a file. Every page is checked
//! against what its parent promised (height, order, counts), so a hostile repository can't send a reader in circles.

use crate::repository::read::reader::Reader;
use crate::repository::{Error, Result, of_object};
use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};
use vault_format::page::HEIGHT_MAX;
use vault_format::tree::{Node, NodeKind, TreeChild, TreePage, TreeRoot};

/// Reads one page of a directory.
pub fn page(reader: &Reader, id: &BlobId) -> Result<TreePage> {
    let bytes = reader.blob(BlobKind::Tree, id)?;
    of_object(format!("tree page {}", id.short()), TreePage::decode(&bytes))
}

/// The nodes of one directory, ascending by name. After an error it goes on with the next page.
pub struct Nodes {
    reader: Reader,
    // children still to visit, deepest level last, each with the height that its page must have
    pending: Vec<(u8, VecDeque<TreeChild>)>,
    leaf: VecDeque<Node>,
    root: Option<BlobId>,
    last_name: Option<Vec<u8>>,
}

impl Nodes {
    /// The nodes below a root page.
    pub fn new(reader: &Reader, root: &TreeRoot) -> Self {
        Self {
            reader: reader.clone(),
            pending: Vec::new(),
            leaf: VecDeque::new(),
            root: Some(root.id),
            last_name: None,
        }
    }

    /// The directory that is not there, or one that holds a single node.
    pub fn of(reader: &Reader, node: Option<Node>) -> Self {
        Self {
            reader: reader.clone(),
            pending: Vec::new(),
            leaf: node.into_iter().collect(),
            root: None,
            last_name: None,
        }
    }

    /// The page to read next, with its height; `None` while nodes are left, and at the end.
    fn ahead(&mut self) -> Option<(u8, BlobId)> {
        while self.pending.pop_if(|(_, children)| children.is_empty()).is_some() {}
        if !self.leaf.is_empty() {
            return None;
        }
        // nobody knows the height of a root before it is read
        let child = |(height, children): &(u8, VecDeque<TreeChild>)| Some((*height, children.front()?.root.id));
        self.root.map(|root| (u8::MAX, root)).or_else(|| self.pending.last().and_then(child))
    }

    /// Passes over the page that is ahead.
    fn pass(&mut self) {
        if self.root.take().is_none()
            && let Some(child) = self.pending.last_mut().and_then(|(_, children)| children.pop_front())
        {
            self.last_name = Some(child.last_name);
        }
    }

    /// Reads the page that is ahead, or goes up one level; `None` at the end.
    fn step(&mut self) -> Option<Result<()>> {
        if let Some(root) = self.root.take() {
            return Some(self.descend(&root, None, None));
        }
        let (height, children) = self.pending.last_mut()?;
        let height = *height;
        Some(match children.pop_front() {
            Some(child) => self.descend(&child.root.id, Some(height), Some(&child.last_name)),
            None => {
                self.pending.pop();
                Ok(())
            }
        })
    }

    fn descend(&mut self, id: &BlobId, height: Option<u8>, last_name: Option<&[u8]>) -> Result<()> {
        let page = page(&self.reader, id)?;
        let object = || format!("tree page {}", id.short());
        let wrong = |what| of_object(object(), Err(vault_format::Error::Invalid(what)));
        if height.is_some_and(|height| height != page.height()) || page.height() > HEIGHT_MAX {
            return wrong("a page has another height than its parent says");
        }
        let (first, last) = match &page {
            TreePage::Leaf(nodes) => (nodes.first().map(|n| &n.name), nodes.last().map(|n| &n.name)),
            TreePage::Branch { children, .. } => (None, children.last().map(|child| &child.last_name)),
        };
        if last_name.is_some_and(|promised| last.is_none_or(|last| last != promised)) {
            return wrong("a page ends with another name than its parent says");
        }
        if first.is_some_and(|first| self.last_name.as_ref().is_some_and(|before| before >= first)) {
            return wrong("the names of a directory are not in order");
        }
        match page {
            TreePage::Leaf(nodes) => {
                self.last_name = nodes.last().map(|node| node.name.clone()).or(self.last_name.take());
                self.leaf = nodes.into();
            }
            TreePage::Branch { height, children } => self.pending.push((height - 1, children.into())),
        }
        Ok(())
    }
}

impl Iterator for Nodes {
    type Item = Result<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(node) = self.leaf.pop_front() {
                return Some(Ok(node));
            }
            if let Err(error) = self.step()? {
                return Some(Err(error));
            }
        }
    }
}

/// Two directories side by side, ascending by name. Pages that both hold are passed over unread.
pub struct Pairs {
    before: Nodes,
    after: Nodes,
}

impl Pairs {
    /// Pairs up two walks that have not begun.
    pub fn new(before: Nodes, after: Nodes) -> Self {
        Self { before, after }
    }

    /// Reads pages until both sides have a node to show, or no more. The higher page is read first, so that equal ones
    /// meet.
    fn align(&mut self) -> Result<()> {
        loop {
            let next = match (self.before.ahead(), self.after.ahead()) {
                (None, None) => return Ok(()),
                (Some((_, before)), Some((_, after))) if before == after => {
                    self.before.pass();
                    self.after.pass();
                    continue;
                }
                (Some(_), None) => &mut self.before,
                (Some((before, _)), Some((after, _))) if before >= after => &mut self.before,
                _ => &mut self.after,
            };
            next.step().unwrap_or(Ok(()))?;
        }
    }
}

impl Iterator for Pairs {
    type Item = Result<(Option<Node>, Option<Node>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.align() {
            return Some(Err(error));
        }
        let (before, after) = (self.before.leaf.front(), self.after.leaf.front());
        let order = match (before, after) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => before.name.cmp(&after.name),
        };
        let before = order.is_le().then(|| self.before.leaf.pop_front()).flatten();
        let after = order.is_ge().then(|| self.after.leaf.pop_front()).flatten();
        Some(Ok((before, after)))
    }
}

/// The node with a name in a directory: reads one page a level.
pub fn child(reader: &Reader, root: &TreeRoot, name: &[u8]) -> Result<Option<Node>> {
    let mut id = root.id;
    for _ in 0..=HEIGHT_MAX {
        match page(reader, &id)? {
            TreePage::Leaf(nodes) => {
                let found = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
                return Ok(found.ok().and_then(|at| nodes.into_iter().nth(at)));
            }
            TreePage::Branch { children, .. } => {
                let at = children.partition_point(|child| child.last_name.as_slice() < name);
                match children.get(at) {
                    Some(child) => id = child.root.id,
                    None => return Ok(None),
                }
            }
        }
    }
    of_object(format!("tree page {}", root.id.short()), Err(vault_format::Error::Limit("the height of a tree")))
}

/// The node at a path below a root; `None` for the root itself.
pub fn find(reader: &Reader, root: &TreeRoot, path: &[u8], snapshot: &str) -> Result<Option<Node>> {
    Ok(locate(reader, root, path, snapshot)?.1)
}

/// The same, with the path as the names of the nodes on the way say it: there are several ways to write one.
pub fn locate(reader: &Reader, root: &TreeRoot, path: &[u8], snapshot: &str) -> Result<(Vec<u8>, Option<Node>)> {
    let missing = || Error::NoPath { snapshot: snapshot.into(), path: String::from_utf8_lossy(path).into_owned() };
    let mut at = *root;
    let mut found: Option<Node> = None;
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if let Some(Node { kind, .. }) = &found {
            let NodeKind::Directory(root) = kind else { return Err(missing()) };
            at = *root;
        }
        let node = match child(reader, &at, name)? {
            None => unescaped(name).map(|name| child(reader, &at, &name)).transpose()?.flatten(),
            found => found,
        };
        let node = node.ok_or_else(missing)?;
        names.push(node.name.clone());
        found = Some(node);
    }
    Ok((names.join(&b'/'), found))
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

/// Calls `each` for every chunk of a file's content, in order; `page` for every list page.
pub fn chunks(
    reader: &Reader,
    content: &Content,
    each: &mut dyn FnMut(ChunkRef) -> Result<()>,
    page: &mut dyn FnMut(BlobId),
) -> Result<()> {
    match content {
        Content::Inline(chunks) => chunks.iter().try_for_each(|chunk| each(*chunk)),
        Content::List(root) => list(reader, root, None, each, page),
    }
}

/// Reads one page of a list, and holds it to what its parent says: the bytes below it, and its height unless it is the
/// root.
pub fn list_page(reader: &Reader, root: &ListRoot, height: Option<u8>) -> Result<ListPage> {
    let object = || format!("list page {}", root.id.short());
    let bytes = reader.blob(BlobKind::List, &root.id)?;
    let found = of_object(object(), ListPage::decode(&bytes))?;
    let promised = height.is_none_or(|height| height == found.height());
    if !promised || of_object(object(), found.bytes())? != root.bytes {
        return of_object(object(), Err(vault_format::Error::Invalid("a page holds other bytes than its parent says")));
    }
    Ok(found)
}

fn list(
    reader: &Reader,
    root: &ListRoot,
    height: Option<u8>,
    each: &mut dyn FnMut(ChunkRef) -> Result<()>,
    page: &mut dyn FnMut(BlobId),
) -> Result<()> {
    page(root.id);
    match list_page(reader, root, height)? {
        ListPage::Leaf(chunks) => chunks.into_iter().try_for_each(each),
        // heights fall with every level, so this ends after at most eight
        ListPage::Branch { height, children } => {
            children.iter().try_for_each(|child| list(reader, child, Some(height - 1), each, page))
        }
    }
}

/// Adds every blob that the tree below a root needs: pages of trees and lists, and chunks. A root that is in `seen` was
/// walked before and is not walked again. Stops at the first that can't be read.
pub fn blobs(reader: &Reader, root: &TreeRoot, seen: &mut HashSet<(BlobKind, BlobId)>) -> Result<()> {
    let mut roots = vec![*root];
    while let Some(root) = roots.pop() {
        if seen.contains(&(BlobKind::Tree, root.id)) {
            continue;
        }
        let mut pages = vec![root.id];
        while let Some(id) = pages.pop() {
            seen.insert((BlobKind::Tree, id));
            if let TreePage::Branch { children, .. } = page(reader, &id)? {
                pages.extend(children.iter().map(|child| child.root.id));
            }
        }
        for node in Nodes::new(reader, &root) {
            match node?.kind {
                NodeKind::Directory(root) => roots.push(root),
                NodeKind::File { content, .. } => {
                    let (mut found, mut pages) = (Vec::new(), Vec::new());
                    let mut each = |chunk: ChunkRef| {
                        found.push((BlobKind::Chunk, chunk.id));
                        Ok(())
                    };
                    chunks(reader, &content, &mut each, &mut |page| pages.push((BlobKind::List, page)))?;
                    seen.extend(found.into_iter().chain(pages));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
