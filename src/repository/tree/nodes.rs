//! The nodes of one directory in order, page by page, or of two side by side. Every page is held to what its parent
//! promised (height, order, nodes below), so a hostile repository can't send a reader in circles. A directory of more nodes
//! than the stored pages account for is refused before it is read. What goes below a directory is `walk`.

use super::levels::Directory;
use crate::repository::read::reader::Reader;
use crate::repository::{Result, of_object};
use std::cmp::Ordering;
use std::collections::VecDeque;
use vault_format::id::{BlobId, BlobKind};
use vault_format::promise::Promise;
use vault_format::tree::{Node, TreeChild, TreePage, TreeRoot};

/// Reads one page of a directory, and holds it to what its parent says.
pub fn page(reader: &Reader, id: &BlobId, promise: Promise<'_>) -> Result<TreePage> {
    Ok(sized_page(reader, id, promise)?.0)
}

/// The same with its encoded bytes.
fn sized_page(reader: &Reader, id: &BlobId, promise: Promise<'_>) -> Result<(TreePage, usize)> {
    let object = || format!("tree page {}", id.short());
    let bytes = reader.blob(BlobKind::Tree, id)?;
    let page = of_object(object(), TreePage::decode(&bytes))?;
    of_object(object(), promise.check(page.span()))?;
    Ok((page, bytes.len()))
}

/// The nodes of one directory, ascending by name. After an error it goes on with the next page.
pub struct Nodes {
    reader: Reader,
    /// What is read; nothing of one that holds a single node.
    directory: Option<TreeRoot>,
    /// The same while it is still to be read, or to be read again.
    root: Option<TreeRoot>,
    /// Branch pages with children still to visit, deepest level last.
    pending: Vec<Branch>,
    leaf: VecDeque<Node>,
    /// Encoded bytes of the leaf.
    leaf_bytes: usize,
    last_name: Option<Vec<u8>>,
    resume: Option<Resume>,
}

/// A branch page whose children are being visited.
struct Branch {
    /// The height that their pages must have.
    height: u8,
    children: VecDeque<TreeChild>,
    /// Its encoded bytes.
    bytes: usize,
}

/// Where a directory goes on that is read again: at a name, or at the first behind it.
enum Resume {
    At(Vec<u8>),
    Behind(Vec<u8>),
}

impl Resume {
    /// True if all up to this name was shown before.
    fn is_past(&self, name: &[u8]) -> bool {
        match self {
            Self::At(next) => name < next.as_slice(),
            Self::Behind(last) => name <= last.as_slice(),
        }
    }
}

/// Refuses a directory that nobody comes to the end of: its nodes, at any depth, are more than what is stored accounts for.
fn bounded(reader: &Reader, root: &TreeRoot) -> Result<()> {
    if root.count <= reader.nodes_max() {
        return Ok(());
    }
    of_object(format!("tree page {}", root.id.short()), Err(ENDLESS))
}

/// Why a directory is refused that lies in itself, so to speak, over and over.
pub const ENDLESS: vault_format::Error =
    vault_format::Error::Invalid("its folders lie in one another so often that nobody comes to their end");

impl Nodes {
    /// The nodes below a root page.
    pub fn new(reader: &Reader, root: &TreeRoot) -> Self {
        Self { directory: Some(*root), root: Some(*root), ..Self::of(reader, None) }
    }

    /// The directory that is not there, or one that holds a single node.
    pub fn of(reader: &Reader, node: Option<Node>) -> Self {
        Self {
            reader: reader.clone(),
            directory: None,
            root: None,
            pending: Vec::new(),
            leaf: node.into_iter().collect(),
            leaf_bytes: 0,
            last_name: None,
            resume: None,
        }
    }

    /// The page to read next, with its height; `None` while nodes are left, and at the end.
    fn ahead(&mut self) -> Option<(u8, BlobId)> {
        while self.pending.pop_if(|branch| branch.children.is_empty()).is_some() {}
        if !self.leaf.is_empty() {
            return None;
        }
        // nobody knows the height of a root before it is read
        let child = |branch: &Branch| Some((branch.height, branch.children.front()?.root.id));
        self.root.map(|root| (u8::MAX, root.id)).or_else(|| self.pending.last().and_then(child))
    }

    /// Passes over the page that is ahead.
    fn pass(&mut self) {
        if self.root.take().is_none()
            && let Some(child) = self.pending.last_mut().and_then(|branch| branch.children.pop_front())
        {
            self.last_name = Some(child.last_name);
        }
    }

    /// Reads the page that is ahead, or goes up one level; `None` at the end.
    fn step(&mut self) -> Option<Result<()>> {
        if let Some(root) = self.root.take() {
            return Some(bounded(&self.reader, &root).and_then(|()| self.descend(&root, None, None)));
        }
        let branch = self.pending.last_mut()?;
        let height = branch.height;
        Some(match branch.children.pop_front() {
            Some(child) => self.descend(&child.root, Some(height), Some(&child.last_name)),
            None => {
                self.pending.pop();
                Ok(())
            }
        })
    }

    fn descend(&mut self, root: &TreeRoot, height: Option<u8>, last_name: Option<&[u8]>) -> Result<()> {
        let promise = Promise { height, last_name, after: self.last_name.as_deref(), count: Some(root.count) };
        let (page, bytes) = sized_page(&self.reader, &root.id, promise)?;
        match page {
            TreePage::Leaf(nodes) => {
                self.last_name = nodes.last().map(|node| node.name.clone()).or(self.last_name.take());
                (self.leaf, self.leaf_bytes) = (nodes.into(), bytes);
                if let Some(resume) = self.resume.take() {
                    while self.leaf.pop_front_if(|node| resume.is_past(&node.name)).is_some() {}
                }
            }
            TreePage::Branch { height, children } => {
                let mut children = VecDeque::from(children);
                let is_past = |name: &[u8]| self.resume.as_ref().is_some_and(|resume| resume.is_past(name));
                while let Some(child) = children.pop_front_if(|child| is_past(&child.last_name)) {
                    self.last_name = Some(child.last_name);
                }
                self.pending.push(Branch { height: height - 1, children, bytes });
            }
        }
        Ok(())
    }
}

impl Directory for Nodes {
    fn held(&self) -> usize {
        self.pending.iter().fold(self.leaf_bytes, |sum, branch| sum + branch.bytes)
    }

    fn rest(&mut self) {
        let is_begun = self.root.is_none();
        while self.pending.pop_if(|branch| branch.children.is_empty()).is_some() {}
        let resume = match self.leaf.front() {
            Some(node) => Some(Resume::At(node.name.clone())),
            None => self.last_name.clone().map(Resume::Behind),
        };
        if let Some(directory) =
            self.directory.filter(|_| is_begun && !(self.leaf.is_empty() && self.pending.is_empty()))
        {
            (self.root, self.resume) = (Some(directory), resume);
            self.last_name = None;
            (self.pending, self.leaf, self.leaf_bytes) = (Vec::new(), VecDeque::new(), 0);
        }
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

impl Directory for Pairs {
    fn held(&self) -> usize {
        self.before.held() + self.after.held()
    }

    fn rest(&mut self) {
        self.before.rest();
        self.after.rest();
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
