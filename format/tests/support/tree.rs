//! Nodes and trees of the golden repositories, with the listing that a reader must arrive at.

use super::Run;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};
use vault_format::tree::{Metadata, Node, NodeKind, Time, TreeChild, TreePage, TreeRoot, Xattr};

/// Metadata that differs by `number`.
pub fn metadata(number: u64) -> Metadata {
    Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 100,
        user: b"anna".to_vec(),
        group: b"users".to_vec(),
        mtime: Time { seconds: 1_700_000_000 + number as i64, nanoseconds: 123_456_789 },
        ctime: Time { seconds: 1_700_000_100 + number as i64, nanoseconds: 5 },
        inode: 1000 + number,
        link_group: 0,
        xattrs: Vec::new(),
    }
}

/// Adds an attribute with bytes that are no text.
pub fn with_xattr(mut metadata: Metadata) -> Metadata {
    metadata.xattrs.push(Xattr { name: b"user.note".to_vec(), value: vec![0, 255, 7] });
    metadata
}

/// A path for `expected.json`: every byte but plain ones as `%XX`.
pub fn escape(path: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    path.iter().map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn name_of(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap().to_vec()
}

impl Run<'_> {
    fn expect(&mut self, path: &[u8], kind: &str, rest: &str) {
        self.nodes.push(format!("{{\"path\": \"{}\", \"type\": \"{kind}\"{rest}}}", escape(path)));
    }

    /// A regular file without holes out of chunks that are already stored, and all of its bytes.
    pub fn file(&mut self, path: &[u8], content: Content, bytes: &[u8], metadata: Metadata) -> Node {
        let size = bytes.len() as u64;
        self.expect(path, "file", &format!(", \"size\": {size}, \"blake3\": \"{}\"", blake3::hash(bytes)));
        Node { name: name_of(path), kind: NodeKind::File { size, content, holes: Vec::new() }, metadata }
    }

    /// A regular file of one chunk each in `parts`, stored in one frame.
    pub fn small_file(&mut self, path: &[u8], parts: &[&[u8]], metadata: Metadata) -> Node {
        let ids = if parts.is_empty() { Vec::new() } else { self.frame(BlobKind::Chunk, parts) };
        self.file(path, inline(&ids, parts), &parts.concat(), metadata)
    }

    pub fn symlink(&mut self, path: &[u8], target: &[u8], metadata: Metadata) -> Node {
        self.expect(path, "symlink", &format!(", \"target\": \"{}\"", escape(target)));
        Node { name: name_of(path), kind: NodeKind::Symlink(target.to_vec()), metadata }
    }

    pub fn special(&mut self, path: &[u8], kind: NodeKind, metadata: Metadata) -> Node {
        let word = match kind {
            NodeKind::Fifo => "fifo",
            NodeKind::CharDevice(..) => "char",
            _ => "block",
        };
        self.expect(path, word, "");
        Node { name: name_of(path), kind, metadata }
    }

    pub fn directory(&mut self, path: &[u8], root: TreeRoot, mut metadata: Metadata) -> Node {
        metadata.mode = 0o755;
        self.expect(path, "directory", "");
        Node { name: name_of(path), kind: NodeKind::Directory(root), metadata }
    }

    /// Stores nodes as a tree of pages with at most `per_page` nodes in each leaf, at most two levels.
    pub fn tree(&mut self, mut nodes: Vec<Node>, per_page: usize) -> TreeRoot {
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        let mut children = Vec::new();
        let leaves: Vec<Vec<Node>> =
            if nodes.is_empty() { vec![Vec::new()] } else { nodes.chunks(per_page).map(<[Node]>::to_vec).collect() };
        for leaf in leaves {
            let last_name = leaf.last().map(|node| node.name.clone()).unwrap_or_default();
            let (bytes, count) = totals(&leaf);
            let id = self.page(BlobKind::Tree, &TreePage::Leaf(leaf).encode().unwrap());
            children.push(TreeChild { last_name, root: TreeRoot { id, bytes, count } });
        }
        if let [only] = children.as_slice() {
            return only.root;
        }
        let bytes = children.iter().map(|child| child.root.bytes).sum();
        let count = children.iter().map(|child| child.root.count).sum();
        let id = self.page(BlobKind::Tree, &TreePage::Branch { height: 1, children }.encode().unwrap());
        TreeRoot { id, bytes, count }
    }

    /// Stores chunks as a list of pages with `per_page` chunks in each leaf.
    pub fn list(&mut self, chunks: &[ChunkRef], per_page: usize) -> Content {
        let mut children = Vec::new();
        for part in chunks.chunks(per_page) {
            let page = ListPage::Leaf(part.to_vec());
            let id = self.page(BlobKind::List, &page.encode().unwrap());
            children.push(ListRoot { id, bytes: page.bytes().unwrap(), count: part.len() as u64 });
        }
        let bytes = children.iter().map(|child| child.bytes).sum();
        let id = self.page(BlobKind::List, &ListPage::Branch { height: 1, children }.encode().unwrap());
        Content::List(ListRoot { id, bytes, count: chunks.len() as u64 })
    }

    fn page(&mut self, kind: BlobKind, bytes: &[u8]) -> BlobId {
        self.frame(kind, &[bytes])[0]
    }
}

/// Chunks in the node itself.
pub fn inline(ids: &[BlobId], parts: &[&[u8]]) -> Content {
    let chunks = ids.iter().zip(parts).map(|(id, part)| ChunkRef { id: *id, length: part.len() as u32 });
    Content::Inline(chunks.collect())
}

/// Content bytes and nodes of a directory: its own and all below.
fn totals(nodes: &[Node]) -> (u64, u64) {
    nodes.iter().fold((0, 0), |(bytes, count), node| match &node.kind {
        NodeKind::File { size, .. } => (bytes + size, count + 1),
        NodeKind::Directory(root) => (bytes + root.bytes, count + 1 + root.count),
        _ => (bytes, count + 1),
    })
}
