//! An entry of a snapshot in words: its type, its permissions in letters, a long line as `ls` prints it, and the fields
//! that it has in JSON.

use super::printed::printed;
use super::render;
use vault::time::WallTime;
use vault_format::tree::{Node, NodeKind};

printed! {
    /// What `vault ls` prints, one object for each entry.
    pub struct Fields(path: &[u8], node: &Node) {
        /// Path in the snapshot; what is not UTF-8 is replaced.
        path: String = lossy(path),
        /// The bytes of the path in hex, only if it is not UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_hex: Option<String> = hex(path),
        /// `file`, `directory`, `symlink`, `fifo`, `char_device` or `block_device`.
        #[serde(rename = "type")]
        kind: &'static str = kind(node),
        /// Bytes; of a directory those of all files below it.
        size: u64 = size(node),
        /// Permissions in octal.
        mode: String = mode(node),
        /// Number of the owner.
        uid: u32 = node.metadata.uid,
        /// Number of the group.
        gid: u32 = node.metadata.gid,
        /// Name of the owner; empty if unknown.
        user: String = lossy(&node.metadata.user),
        /// Name of the group; empty if unknown.
        group: String = lossy(&node.metadata.group),
        /// When the content last changed.
        mtime: String = render::time_rfc3339(WallTime::from(node.metadata.mtime)),
        /// Where a link points, only of links.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String> = if let NodeKind::Symlink(target) = &node.kind { Some(lossy(target)) } else { None },
    }
}

/// Text of bytes, for programs.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes of a path that is no text.
pub fn hex(path: &[u8]) -> Option<String> {
    std::str::from_utf8(path).is_err().then(|| path.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Its type as JSON and `find --type` call it.
pub fn kind(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::File { .. } => "file",
        NodeKind::Directory(_) => "directory",
        NodeKind::Symlink(_) => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::CharDevice(..) => "char_device",
        NodeKind::BlockDevice(..) => "block_device",
    }
}

/// Its size in bytes; of a directory that of all files below.
pub fn size(node: &Node) -> u64 {
    match &node.kind {
        NodeKind::File { size, .. } => *size,
        NodeKind::Directory(root) => root.bytes,
        NodeKind::Symlink(target) => target.len() as u64,
        NodeKind::Fifo | NodeKind::CharDevice(..) | NodeKind::BlockDevice(..) => 0,
    }
}

/// Its permissions in octal.
pub fn mode(node: &Node) -> String {
    format!("{:04o}", node.metadata.mode)
}

/// Its path, with a slash behind that of a directory.
pub fn name(path: &[u8], node: &Node) -> String {
    let slash = if matches!(node.kind, NodeKind::Directory(_)) { "/" } else { "" };
    format!("{}{slash}", render::name(path))
}

/// Type, permissions, owner, size, time, path and target in one line.
pub fn long(path: &[u8], node: &Node) -> String {
    let metadata = &node.metadata;
    let who = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { render::name(name) };
    let (letter, more) = match &node.kind {
        NodeKind::File { .. } => ('-', String::new()),
        NodeKind::Directory(_) => ('d', String::new()),
        NodeKind::Symlink(target) => ('l', format!(" -> {}", render::name(target))),
        NodeKind::Fifo => ('p', String::new()),
        NodeKind::CharDevice(major, minor) => ('c', format!(" ({major}, {minor})")),
        NodeKind::BlockDevice(major, minor) => ('b', format!(" ({major}, {minor})")),
    };
    format!(
        "{letter}{} {:<8} {:<8} {:>10} {} {}{more}",
        permissions(metadata.mode),
        who(&metadata.user, metadata.uid),
        who(&metadata.group, metadata.gid),
        render::size(size(node)),
        render::time(WallTime::from(metadata.mtime)),
        name(path, node)
    )
}

/// Permission bits in letters, setuid, setgid and sticky bits included.
fn permissions(mode: u32) -> String {
    let mut out = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{long, permissions};
    use vault_format::tree::{Metadata, Node, NodeKind};

    #[test]
    fn permissions_read_as_in_ls() {
        let table = [
            (0o644, "rw-r--r--"),
            (0o755, "rwxr-xr-x"),
            (0o4755, "rwsr-xr-x"),
            (0o4644, "rwSr--r--"),
            (0o2750, "rwxr-s---"),
            (0o1777, "rwxrwxrwt"),
            (0o1666, "rw-rw-rwT"),
            (0, "---------"),
        ];
        for (mode, text) in table {
            assert_eq!(permissions(mode), text, "{mode:o}");
        }
    }

    #[test]
    fn a_long_line_hides_control_characters_and_shows_where_a_link_leads() {
        let metadata = Metadata { mode: 0o777, uid: 7, group: b"staff".to_vec(), ..Metadata::default() };
        let node = Node { name: b"l".to_vec(), kind: NodeKind::Symlink(b"a\x1b[2J\xff".to_vec()), metadata };
        let line = long(b"x/l", &node);
        assert!(line.starts_with("lrwxrwxrwx 7        staff "), "{line}");
        assert!(line.ends_with(" x/l -> a\\u{1b}[2J\\xff"), "{line}");
    }
}
