//! A restore onto a stream: one file, or everything as a tar archive. What goes out can't be taken back, so everything
//! that a file needs is looked up before its first byte.

use super::{Report, record};
use crate::error::{Error, Refusal, Result};
use crate::operation::{Operation, Run};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::file::FileReader;
use crate::repository::tree::nodes::Nodes;
use crate::repository::tree::path::Address;
use crate::repository::tree::walk::{Step, Walk};
use crate::target::TarWriter;
use std::io::{self, Write};
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Writes one file to a stream, or with `tar` everything at an address as a tar archive.
pub fn restore_to(
    repository: &Repository,
    address: &Address<'_>,
    tar: bool,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    repository.keys().content("restore")?;
    let run = Run::start(repository, Operation::RESTORE);
    let mut out = Counted { out, bytes: 0 };
    let (reader, snapshot) = (address.reader()?, address.snapshot);
    let found = address.find(&reader)?;
    let is_file = found.is_some() && !tar;
    let result = match found {
        None => root_to(&reader, &snapshot.head.root, tar, &mut out, progress),
        Some(Node { kind: NodeKind::Directory(root), .. }) => root_to(&reader, &root, tar, &mut out, progress),
        Some(node) if tar => {
            let mut writer = TarWriter::new(&mut out);
            let put = tar_entry(&mut writer, &reader, &node);
            put.and_then(|()| writer.finish().map(drop).map_err(Error::Output))
        }
        Some(node) => stream(repository, &reader, &node, &mut out, progress),
    };
    let files = u64::from(is_file && result.is_ok());
    let report = Report { bytes: out.bytes, files, ..Report::default() };
    record(run, &reader, snapshot, (&result, &report), progress);
    result
}

/// Counts what goes through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn root_to(reader: &Reader, root: &TreeRoot, tar: bool, out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
    if tar {
        return tar_tree(reader.repository(), reader, root, out);
    }
    // a snapshot of a stream has one file: that is what is meant
    let mut nodes = Nodes::new(reader, root);
    match (nodes.next().transpose()?, nodes.next().transpose()?) {
        (Some(node @ Node { kind: NodeKind::File { .. }, .. }), None) => {
            stream(reader.repository(), reader, &node, out, progress)
        }
        _ => Err(Error::refused(Refusal::SeveralFiles)),
    }
}

fn stream(
    repository: &Repository,
    reader: &Reader,
    node: &Node,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    if !matches!(node.kind, NodeKind::File { .. }) {
        return Err(Error::refused("only a regular file can go to standard output"));
    }
    if let Some(refusal) = too_many_zeros(node) {
        return Err(Error::refused(refusal));
    }
    let mut content = whole(reader, node)?;
    progress.expect(1, content.len());
    let mut buffer = vec![0u8; 256 << 10];
    let mut at = 0u64;
    loop {
        repository.runtime().check_stopped()?;
        let count = content.read_at(at, &mut buffer)?;
        if count == 0 {
            return out.flush().map_err(Error::Output);
        }
        out.write_all(&buffer[..count]).map_err(Error::Output)?;
        at += count as u64;
        progress.advance(0, count as u64);
    }
}

/// Most bytes of holes that go out as zeros: more than any disk image has, which are days. A file that claims more was
/// made to have no end.
const ZEROS_MAX: u64 = 64 << 40;

/// Why a file does not go out, though it is regular.
fn too_many_zeros(node: &Node) -> Option<Refusal> {
    let NodeKind::File { size, holes, .. } = &node.kind else { return None };
    let zeros = holes.iter().fold(0u64, |sum, hole| sum.saturating_add(hole.length));
    let refusal = || Refusal::Zeros { name: String::from_utf8_lossy(&node.name).into_owned(), size: *size, zeros };
    (zeros > ZEROS_MAX).then(refusal)
}

/// A file all of which is there. That is known before its first byte goes out: half a dump is worse than none.
fn whole(reader: &Reader, node: &Node) -> Result<FileReader> {
    let content = FileReader::new(reader, node)?;
    content.require_all()?;
    Ok(content)
}

fn tar_entry<W: Write>(writer: &mut TarWriter<W>, reader: &Reader, node: &Node) -> Result<()> {
    if writer.wants_content(node) {
        let placed = writer.place(node, &mut whole(reader, node)?);
        return placed.map_err(|error| error.downcast::<repository::Error>().map_or_else(Error::Output, Error::from));
    }
    writer.place(node, &mut io::empty()).map_err(Error::Output)
}

fn tar_tree(repository: &Repository, reader: &Reader, root: &TreeRoot, out: &mut dyn Write) -> Result<()> {
    let mut writer = TarWriter::new(out);
    for step in Walk::new(reader, root, b"") {
        repository.runtime().check_stopped()?;
        match step {
            Step::Enter(node, _) => writer.enter(&node).map_err(Error::Output)?,
            Step::Node(node) => tar_entry(&mut writer, reader, &node)?,
            Step::Leave => writer.leave(),
            Step::Unread(error) => return Err(error.into()),
        }
    }
    writer.finish().map(drop).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::{Node, NodeKind, too_many_zeros};
    use crate::error::Refusal;
    use vault_format::list::Content;
    use vault_format::tree::{Extent, Metadata};

    fn zeros(size: u64, holes: &[Extent]) -> Option<Refusal> {
        let kind = NodeKind::File { size, content: Content::Inline(Vec::new()), holes: holes.to_vec() };
        too_many_zeros(&Node { name: b"disk.img".to_vec(), kind, metadata: Metadata::default() })
    }

    #[test]
    fn a_disk_image_goes_out_and_a_file_without_end_does_not() {
        let hole = |length| Extent { offset: 4, length };
        assert!(zeros(10 << 40, &[hole((10 << 40) - 4)]).is_none());
        assert!(zeros(100 << 40, &[]).is_none(), "all of it is stored");
        let refusal = zeros(1 << 62, &[hole((1 << 62) - 4)]);
        let said = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(said.contains("disk.img") && said.contains("4611686018427387904"), "{said}");
        assert!(zeros(u64::MAX, &[hole(1 << 63), hole(1 << 63)]).is_some());
    }
}
