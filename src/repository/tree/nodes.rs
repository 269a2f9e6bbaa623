//! The nodes of one directory in order, page by page, or of two side by side. Every page is held to what its parent
//! promised (height, order), so a hostile repository can't send a reader in circles. What goes below a directory is `walk`.

use crate::repository::read::reader::Reader;
use crate::repository::{Result, of_object};
use std::cmp::Ordering;
use std::collections::VecDeque;
use vault_format::id::{BlobId, BlobKind};
use vault_format::promise::Promise;
use vault_format::tree::{Node, TreeChild, TreePage, TreeRoot};

/// Reads one page of a directory, and holds it to what its parent says.
pub fn page(reader: &Reader, id: &BlobId, promise: Promise<'_>) -> Result<TreePage> {
    let object = || format!("tree page {}", id.short());
    let page = of_object(object(), TreePage::decode(&reader.blob(BlobKind::Tree, id)?))?;
    of_object(object(), promise.check(page.span()))?;
    Ok(page)
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
        match page(&self.reader, id, Promise { height, last_name, after: self.last_name.as_deref() })? {
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
