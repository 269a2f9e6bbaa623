//! A directory is a content-cut tree of pages. Leaf pages hold nodes sorted by name, branch pages hold the last name
//! of each child. Pages are stored as blobs of kind `Tree` and encoded by column, inode and ctime last, so that similar
//! values lie together for the compressor. Names are single plain components: a tree can't name anything outside itself.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, rule, within};
use crate::id::BlobId;
use crate::list::{Content, INLINE_CHUNKS_MAX};
use crate::page::{self, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use bincode::{Decode, Encode};
use std::collections::VecDeque;

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// Longest path below the root of a tree in bytes, names and the slashes between them: four times what a call of Linux takes.
pub const PATH_BYTES_MAX: usize = 16384;
/// Longest link target in bytes.
pub const TARGET_BYTES_MAX: usize = 65536;

/// A point in time: seconds since 1970-01-01T00:00:00Z and nanoseconds (0..10^9) after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 10^9.
    pub nanoseconds: u32,
}

/// One extended attribute. POSIX ACLs are attributes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Xattr {
    /// Full name with namespace, as bytes.
    pub name: Vec<u8>,
    /// Value, as bytes of no meaning here.
    pub value: Vec<u8>,
}

/// A byte range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Extent {
    /// Position of the first byte in the file.
    pub offset: u64,
    /// Number of bytes, more than 0.
    pub length: u64,
}

/// Owner, permissions and times of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Metadata {
    /// Permission, setuid, setgid and sticky bits (12 bits).
    pub mode: u32,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Owner's name, empty if unknown.
    pub user: Vec<u8>,
    /// Group's name, empty if unknown.
    pub group: Vec<u8>,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of the inode; never restored.
    pub ctime: Time,
    /// Inode number; never restored.
    pub inode: u64,
    /// Nodes of one snapshot with the same non-zero group are one inode.
    pub link_group: u64,
    /// Sorted by name, names unique.
    pub xattrs: Vec<Xattr>,
}

/// Refers to the page at the root of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct TreeRoot {
    /// Blob of the page.
    pub id: BlobId,
    /// Content bytes of all files below.
    pub bytes: u64,
    /// Nodes below, at any depth.
    pub count: u64,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A regular file. `content` is the file without its holes.
    File {
        /// Apparent size in bytes.
        size: u64,
        /// Where the bytes are.
        content: Content,
        /// Ranges without data, sorted, disjoint, inside `size`.
        holes: Vec<Extent>,
    },
    /// A directory.
    Directory(TreeRoot),
    /// A symbolic link and its target, never followed.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// A single plain component.
    pub name: Vec<u8>,
    /// Type and content.
    pub kind: NodeKind,
    /// Owner, permissions and times.
    pub metadata: Metadata,
}

/// A child of a branch page.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TreeChild {
    /// Greatest name below.
    pub last_name: Vec<u8>,
    /// Page, content bytes and nodes below.
    pub root: TreeRoot,
}

/// One page of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreePage {
    /// Nodes, strictly ascending by name.
    Leaf(Vec<Node>),
    /// Children, strictly ascending by last name, all of height `height - 1`.
    Branch {
        /// 1 to [`page::HEIGHT_MAX`].
        height: u8,
        /// At least two children.
        children: Vec<TreeChild>,
    },
}

/// True for a name that is one plain component: not empty, not `.` or `..`, without `/` and NUL.
pub fn is_plain_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// The nodes of a leaf by column, or the children of a branch.
#[derive(Encode, Decode, Default, PartialEq)]
struct Columns {
    height: u8,
    names: VecDeque<Vec<u8>>,
    kinds: Vec<u8>,
    modes: VecDeque<u32>,
    uids: VecDeque<u32>,
    gids: VecDeque<u32>,
    users: VecDeque<Vec<u8>>,
    groups: VecDeque<Vec<u8>>,
    sizes: VecDeque<u64>,
    contents: VecDeque<Content>,
    holes: VecDeque<Vec<Extent>>,
    directories: VecDeque<TreeRoot>,
    targets: VecDeque<Vec<u8>>,
    devices: VecDeque<(u32, u32)>,
    link_groups: VecDeque<u64>,
    xattrs: VecDeque<Vec<Xattr>>,
    mtimes: VecDeque<Time>,
    children: Vec<TreeChild>,
    inodes: VecDeque<u64>,
    ctimes: VecDeque<Time>,
}

impl Stored for Columns {
    const WHAT: &'static str = "a tree page";
    type Codec = Limited<{ 4 * PAGE_BYTES_MAX }>;
}

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
const SYMLINK: u8 = 2;
const FIFO: u8 = 3;
const CHAR_DEVICE: u8 = 4;
const BLOCK_DEVICE: u8 = 5;

impl TreePage {
    /// Bytes of a valid page.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let bytes = codec::encode(&self.columns())?;
        within(bytes.len() <= PAGE_BYTES_MAX, "a tree page")?;
        Ok(bytes)
    }

    /// A valid page of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        within(bytes.len() <= PAGE_BYTES_MAX, "a tree page")?;
        let columns: Columns = codec::decode(bytes)?;
        let page = if columns.height == 0 { Self::Leaf(columns.nodes()?) } else { columns.only_children()? };
        page.validate()?;
        Ok(page)
    }

    /// Height of the page: 0 for a leaf.
    pub fn height(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch { height, .. } => *height,
        }
    }

    fn columns(&self) -> Columns {
        let mut out = Columns { height: self.height(), ..Columns::default() };
        match self {
            Self::Branch { children, .. } => out.children.clone_from(children),
            Self::Leaf(nodes) => nodes.iter().for_each(|node| out.push(node)),
        }
        out
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::Leaf(nodes) => {
                within(nodes.len() <= PAGE_ENTRIES_MAX, "a tree page")?;
                nodes.iter().try_for_each(Node::validate)?;
                ascending(nodes.iter().map(|node| node.name.as_slice()))
            }
            Self::Branch { height, children } => {
                page::validate_height(*height, "the height of a tree")?;
                page::validate_children(children.len(), "a tree page")?;
                let are_plain = children.iter().all(|child| is_plain_name(&child.last_name));
                rule(are_plain, "a tree names something outside itself")?;
                ascending(children.iter().map(|child| child.last_name.as_slice()))
            }
        }
    }
}

fn ascending<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    rule(names.is_sorted_by(|left, right| left < right), "the names of a tree page are not in strict order")
}

impl Columns {
    fn push(&mut self, node: &Node) {
        let metadata = &node.metadata;
        self.names.push_back(node.name.clone());
        self.modes.push_back(metadata.mode);
        self.uids.push_back(metadata.uid);
        self.gids.push_back(metadata.gid);
        self.users.push_back(metadata.user.clone());
        self.groups.push_back(metadata.group.clone());
        self.link_groups.push_back(metadata.link_group);
        self.xattrs.push_back(metadata.xattrs.clone());
        self.mtimes.push_back(metadata.mtime);
        self.inodes.push_back(metadata.inode);
        self.ctimes.push_back(metadata.ctime);
        self.kinds.push(match &node.kind {
            NodeKind::File { size, content, holes } => {
                self.sizes.push_back(*size);
                self.contents.push_back(content.clone());
                self.holes.push_back(holes.clone());
                FILE
            }
            NodeKind::Directory(root) => {
                self.directories.push_back(*root);
                DIRECTORY
            }
            NodeKind::Symlink(target) => {
                self.targets.push_back(target.clone());
                SYMLINK
            }
            NodeKind::Fifo => FIFO,
            NodeKind::CharDevice(major, minor) => {
                self.devices.push_back((*major, *minor));
                CHAR_DEVICE
            }
            NodeKind::BlockDevice(major, minor) => {
                self.devices.push_back((*major, *minor));
                BLOCK_DEVICE
            }
        });
    }

    fn only_children(mut self) -> Result<TreePage> {
        let (height, children) = (self.height, std::mem::take(&mut self.children));
        rule(self == (Self { height, ..Self::default() }), "a branch page holds nodes")?;
        Ok(TreePage::Branch { height, children })
    }

    fn nodes(mut self) -> Result<Vec<Node>> {
        let kinds = std::mem::take(&mut self.kinds);
        let nodes: Option<Vec<Node>> = kinds.into_iter().map(|kind| self.next(kind)).collect();
        // whatever a column holds beyond that belongs to no node
        let nodes = nodes.filter(|_| self == Self::default());
        nodes.ok_or(Error::Invalid("the columns of a tree page differ in length"))
    }

    /// The next node, which is of this kind; `None` if a column has come to its end.
    fn next(&mut self, kind: u8) -> Option<Node> {
        let kind = match kind {
            FILE => NodeKind::File {
                size: self.sizes.pop_front()?,
                content: self.contents.pop_front()?,
                holes: self.holes.pop_front()?,
            },
            DIRECTORY => NodeKind::Directory(self.directories.pop_front()?),
            SYMLINK => NodeKind::Symlink(self.targets.pop_front()?),
            FIFO => NodeKind::Fifo,
            CHAR_DEVICE => self.devices.pop_front().map(|(major, minor)| NodeKind::CharDevice(major, minor))?,
            BLOCK_DEVICE => self.devices.pop_front().map(|(major, minor)| NodeKind::BlockDevice(major, minor))?,
            _ => return None,
        };
        let metadata = Metadata {
            mode: self.modes.pop_front()?,
            uid: self.uids.pop_front()?,
            gid: self.gids.pop_front()?,
            user: self.users.pop_front()?,
            group: self.groups.pop_front()?,
            mtime: self.mtimes.pop_front()?,
            ctime: self.ctimes.pop_front()?,
            inode: self.inodes.pop_front()?,
            link_group: self.link_groups.pop_front()?,
            xattrs: self.xattrs.pop_front()?,
        };
        Some(Node { name: self.names.pop_front()?, kind, metadata })
    }
}

impl Node {
    /// Checks the rules of one node.
    pub fn validate(&self) -> Result<()> {
        rule(is_plain_name(&self.name), "a tree names something outside itself")?;
        self.metadata.validate()?;
        match &self.kind {
            NodeKind::File { size, content, holes } => validate_file(*size, content, holes),
            NodeKind::Symlink(target)
                if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) =>
            {
                Err(Error::Invalid("a link target is empty, too long or holds a NUL"))
            }
            _ => Ok(()),
        }
    }
}

impl Metadata {
    /// Checks the rules of metadata: 12 mode bits, nanoseconds, sorted attributes without NUL in names.
    pub fn validate(&self) -> Result<()> {
        rule(self.mode <= 0o7777, "a mode has more than 12 bits")?;
        let are_times = [self.mtime, self.ctime].iter().all(|time| time.nanoseconds < 1_000_000_000);
        rule(are_times, "a time has too many nanoseconds")?;
        let are_named = self.xattrs.iter().all(|xattr| !xattr.name.is_empty() && !xattr.name.contains(&0));
        rule(are_named, "an attribute has no proper name")?;
        rule(self.xattrs.is_sorted_by(|left, right| left.name < right.name), "attributes are not in strict order")
    }
}

fn validate_file(size: u64, content: &Content, holes: &[Extent]) -> Result<()> {
    let mut end = 0u64;
    let mut empty = 0u64;
    for hole in holes {
        let wrong = Error::Invalid("the holes of a file overlap or leave it");
        if hole.length == 0 || hole.offset < end {
            return Err(wrong);
        }
        end = hole.offset.checked_add(hole.length).filter(|end| *end <= size).ok_or(wrong)?;
        empty = empty.saturating_add(hole.length);
    }
    if let Content::Inline(chunks) = content
        && chunks.len() > INLINE_CHUNKS_MAX
    {
        return Err(Error::Limit("the chunks of a file"));
    }
    rule(content.bytes()? == size.saturating_sub(empty), "a file's size is not that of its content and holes")
}
