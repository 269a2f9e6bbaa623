//! A snapshot as a tar stream, in the order of its trees. PAX records carry what the old header can't: long names,
//! large files, nanoseconds, attributes, large holes. The further names of an inode are links.

use super::remove::join;
use super::sparse::{Content, Sparse};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use tar::{Builder, EntryType, Header};
use vault_format::tree::{Metadata, Node, NodeKind, Time};

/// Longest path that a header holds.
const HEADER_PATH_BYTES: usize = 100;
/// What a file is called in a reader that knows nothing of holes, and so takes map and data for its content.
const SPARSE_NAME: &[u8] = b"GNUSparseFile.0/map-and-data";
/// Largest number of an eleven-digit octal field.
const HEADER_NUMBER_MAX: u64 = 0o77_777_777_777;
/// Largest number of a seven-digit octal field.
const HEADER_ID_MAX: u64 = 0o7_777_777;

/// Writes nodes as a tar stream.
pub struct TarWriter<W: Write> {
    builder: Builder<W>,
    path: Vec<u8>,
    above: Vec<usize>,
    links: HashMap<u64, Vec<u8>>,
}

type Records = Vec<(String, Vec<u8>)>;

impl<W: Write> TarWriter<W> {
    /// A stream into a writer.
    pub fn new(writer: W) -> Self {
        Self { builder: Builder::new(writer), path: Vec::new(), above: Vec::new(), links: HashMap::new() }
    }

    /// Writes a directory; what follows lies in it, up to `leave`.
    pub fn enter(&mut self, node: &Node) -> io::Result<()> {
        node.validate().map_err(io::Error::other)?;
        let path = join(&self.path, &node.name);
        let mut slashed = path.clone();
        slashed.push(b'/');
        let header = self.header(node, &HeaderFields { path: &slashed, ..HeaderFields::of(EntryType::Directory) })?;
        self.builder.append(&header, io::empty())?;
        self.above.push(self.path.len());
        self.path = path;
        Ok(())
    }

    /// Leaves the directory entered last.
    pub fn leave(&mut self) {
        if let Some(length) = self.above.pop() {
            self.path.truncate(length);
        }
    }

    /// True if `place` will read the content of this node: it is a file, and not a further name of one.
    pub fn wants_content(&self, node: &Node) -> bool {
        let group = node.metadata.link_group;
        matches!(node.kind, NodeKind::File { .. }) && (group == 0 || !self.links.contains_key(&group))
    }

    /// Writes an entry that is not a directory. `content` gives the bytes of a file, zeros for its
    /// holes included.
    pub fn place(&mut self, node: &Node, content: &mut dyn Content) -> io::Result<()> {
        node.validate().map_err(io::Error::other)?;
        let path = join(&self.path, &node.name);
        let group = node.metadata.link_group;
        if let Some(first) = self.links.get(&group).cloned().filter(|_| group != 0) {
            let fields = HeaderFields { path: &path, target: &first, ..HeaderFields::of(EntryType::Link) };
            let header = self.header(node, &fields)?;
            return self.builder.append(&header, io::empty());
        }
        let sparse = match &node.kind {
            NodeKind::File { size, holes, .. } => Sparse::of(*size, holes),
            _ => None,
        };
        let fields = match &node.kind {
            NodeKind::File { size, .. } => {
                let size = sparse.as_ref().map_or(*size, Sparse::stored);
                HeaderFields { size, sparse: sparse.as_ref(), ..HeaderFields::of(EntryType::Regular) }
            }
            NodeKind::Symlink(target) => HeaderFields { target, ..HeaderFields::of(EntryType::Symlink) },
            NodeKind::Fifo => HeaderFields::of(EntryType::Fifo),
            NodeKind::CharDevice(..) => HeaderFields::of(EntryType::Char),
            NodeKind::BlockDevice(..) => HeaderFields::of(EntryType::Block),
            NodeKind::Directory(_) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mut header = self.header(node, &HeaderFields { path: &path, ..fields })?;
        if let NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) = node.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            header.set_cksum();
        }
        match &node.kind {
            NodeKind::File { size, .. } => match &sparse {
                Some(sparse) => self.append(&header, sparse.stored(), &mut sparse.packed(content))?,
                None => self.append(&header, *size, content)?,
            },
            _ => self.builder.append(&header, io::empty())?,
        }
        if group != 0 {
            self.links.insert(group, path);
        }
        Ok(())
    }

    /// Writes a header and so many bytes of content.
    fn append(&mut self, header: &Header, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut content = content.take(size);
        self.builder.append(header, &mut content)?;
        if content.limit() == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Ends the stream and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }

    /// Writes the PAX records that an entry needs, and returns its header.
    fn header(&mut self, node: &Node, fields: &HeaderFields<'_>) -> io::Result<Header> {
        let HeaderFields { entry_type, path, size, target, sparse } = *fields;
        let metadata = &node.metadata;
        let mut records = records(metadata);
        records.extend(sparse.into_iter().flat_map(|sparse| sparse.records(path)));
        let path = if sparse.is_some() { SPARSE_NAME } else { path };
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_mode(metadata.mode);
        let old = header.as_old_mut();
        fill(&mut old.name, path);
        fill(&mut old.linkname, target);
        // Readers disagree on names with a slash at the end in a cut field, so any that is not plain goes to a record.
        for (key, text) in [("path", path), ("linkpath", target)] {
            if text.len() > HEADER_PATH_BYTES || !text.is_ascii() {
                records.push((key.to_owned(), text.to_vec()));
            }
        }
        let limits = [
            ("size", size, HEADER_NUMBER_MAX),
            ("uid", metadata.uid.into(), HEADER_ID_MAX),
            ("gid", metadata.gid.into(), HEADER_ID_MAX),
        ];
        for (key, value, limit) in limits {
            if value > limit {
                records.push((key.to_owned(), value.to_string().into_bytes()));
            }
        }
        header.set_uid(u64::from(metadata.uid).min(HEADER_ID_MAX));
        header.set_gid(u64::from(metadata.gid).min(HEADER_ID_MAX));
        header.set_mtime(u64::try_from(metadata.mtime.seconds).unwrap_or_default().min(HEADER_NUMBER_MAX));
        if let Some(ustar) = header.as_ustar_mut() {
            fill(&mut ustar.uname, &metadata.user);
            fill(&mut ustar.gname, &metadata.group);
        }
        if !records.is_empty() {
            self.builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        }
        // Beyond the octal field the size is binary, which the record then only repeats.
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }
}

/// What a header says that is not among the metadata.
struct HeaderFields<'a> {
    entry_type: EntryType,
    path: &'a [u8],
    /// Bytes of content that follow.
    size: u64,
    /// Where a link leads.
    target: &'a [u8],
    /// It is stored without its holes.
    sparse: Option<&'a Sparse>,
}

impl HeaderFields<'_> {
    /// Those of an entry without content, that leads nowhere.
    fn of(entry_type: EntryType) -> Self {
        Self { entry_type, path: &[], size: 0, target: &[], sparse: None }
    }
}

/// As much as fits.
fn fill(field: &mut [u8], text: &[u8]) {
    field.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
}

fn records(metadata: &Metadata) -> Records {
    let mut records = Records::new();
    let Time { seconds, nanoseconds } = metadata.mtime;
    if nanoseconds != 0 || seconds < 0 || seconds.unsigned_abs() > HEADER_NUMBER_MAX {
        records.push(("mtime".to_owned(), decimal(metadata.mtime).into_bytes()));
    }
    for xattr in &metadata.xattrs {
        // A key is text and ends at the first `=`; other names can't be told in a record.
        let name = std::str::from_utf8(&xattr.name).ok().filter(|name| !name.contains('='));
        records.extend(name.map(|name| (format!("SCHILY.xattr.{name}"), xattr.value.clone())));
    }
    records
}

/// Seconds with a fraction; before 1970 the fraction counts downwards.
fn decimal(time: Time) -> String {
    match (time.seconds, time.nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds < 0 => {
            format!("-{}.{:09}", seconds.saturating_add(1).unsigned_abs(), 1_000_000_000u32.saturating_sub(nanoseconds))
        }
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Time, decimal};

    #[test]
    fn times_before_1970_are_decimal_fractions() {
        assert_eq!(decimal(Time { seconds: -2, nanoseconds: 500_000_000 }), "-1.500000000");
        assert_eq!(decimal(Time { seconds: -1, nanoseconds: 999_999_999 }), "-0.000000001");
        assert_eq!(decimal(Time { seconds: -5, nanoseconds: 0 }), "-5");
        assert_eq!(decimal(Time { seconds: 7, nanoseconds: 1 }), "7.000000001");
    }
}
