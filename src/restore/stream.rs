//! A restore onto a stream: one file, or everything as a tar archive. What goes out can't be taken back, so everything
//! that a file needs is looked up before its first byte.

use super::{Report, plan, record};
use crate::error::{Error, Refusal, Result};
use crate::operation::{Actor, Operation, Run};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::walk;
use crate::repository::tree::walk::Nodes;
use crate::repository::view::View;
use crate::target::TarWriter;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use vault_format::id::{BlobId, BlobKind};
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Writes one file to a stream, or with `tar` everything at `path` as a tar archive.
#[expect(clippy::too_many_arguments, reason = "a snapshot and a path in it are not one thing yet")]
pub fn restore_to(
    repository: &Repository,
    (catalog, snapshot): (&View, &SnapshotEntry),
    path: &[u8],
    tar: bool,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    repository.keys().content("restore")?;
    let run = Run::start(repository, Operation::Restore, &Actor::default());
    let mut out = Counted { out, bytes: 0 };
    let lookup = catalog.lookup(snapshot.place.domain)?;
    let reader = Reader::new(repository, &lookup);
    match walk::find(&reader, &snapshot.head.root, path, &snapshot.id.short())? {
        None => root_to(&reader, &snapshot.head.root, tar, &mut out, progress)?,
        Some(Node { kind: NodeKind::Directory(root), .. }) => root_to(&reader, &root, tar, &mut out, progress)?,
        Some(node) if tar => {
            let mut writer = TarWriter::new(&mut out);
            tar_entry(&mut writer, &reader, &node)?;
            writer.finish().map(drop).map_err(Error::Output)?;
        }
        Some(node) => stream(repository, &reader, &node, &mut out, progress)?,
    }
    record(run, &reader, snapshot, &Report { bytes: out.bytes, ..Report::default() }, progress);
    Ok(())
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
    let NodeKind::File { size, .. } = &node.kind else {
        return Err(Error::refused("only a regular file can go to standard output"));
    };
    progress.expect(1, *size);
    let mut content = FileContent::new(reader, node)?;
    let mut buffer = vec![0u8; 256 << 10];
    let mut at = 0u64;
    let NodeKind::File { holes, .. } = &node.kind else { return Ok(()) };
    loop {
        repository.runtime().check_stopped()?;
        let read = content.read(&mut buffer).map_err(|error| content.error.take().unwrap_or(Error::Output(error)))?;
        if read == 0 {
            break;
        }
        let start = content.offset - read as u64;
        for (offset, part) in plan::spread(holes, start, &buffer[..read]) {
            zeros(out, offset - at)?;
            out.write_all(part).map_err(Error::Output)?;
            at = offset + part.len() as u64;
        }
        progress.advance(0, read as u64);
    }
    zeros(out, size - at)?;
    out.flush().map_err(Error::Output)
}

fn zeros(out: &mut dyn Write, count: u64) -> Result<()> {
    io::copy(&mut io::repeat(0).take(count), out).map(drop).map_err(Error::Output)
}

/// A file's content without its holes, chunk by chunk.
struct FileContent<'a> {
    reader: &'a Reader,
    chunks: VecDeque<BlobId>,
    open: Vec<u8>,
    used: usize,
    offset: u64,
    error: Option<Error>,
}

impl<'a> FileContent<'a> {
    fn new(reader: &'a Reader, node: &Node) -> Result<Self> {
        let mut chunks = VecDeque::new();
        if let NodeKind::File { content, .. } = &node.kind {
            let mut each = |chunk: vault_format::list::ChunkRef| {
                chunks.push_back(chunk.id);
                Ok(())
            };
            walk::chunks(reader, content, &mut each, &mut |_| {})?;
            // known before the first byte goes out: half a dump is worse than none
            if let Some(lost) = chunks.iter().find(|id| !reader.index().is_there(id)) {
                return Err(repository::Error::MissingBlob(*lost).into());
            }
        }
        Ok(Self { reader, chunks, open: Vec::new(), used: 0, offset: 0, error: None })
    }
}

impl Read for FileContent<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.open.len() {
            let Some(id) = self.chunks.pop_front() else { return Ok(0) };
            self.open = self.reader.blob(BlobKind::Chunk, &id).map_err(|error| {
                let shown = io::Error::other(error.to_string());
                self.error = Some(error.into());
                shown
            })?;
            self.used = 0;
        }
        let count = out.len().min(self.open.len() - self.used);
        out[..count].copy_from_slice(&self.open[self.used..self.used + count]);
        self.used += count;
        self.offset += count as u64;
        Ok(count)
    }
}

fn tar_entry<W: Write>(writer: &mut TarWriter<W>, reader: &Reader, node: &Node) -> Result<()> {
    if writer.wants_content(node) {
        let mut content = FileContent::new(reader, node)?;
        let placed = writer.place(node, &mut content);
        return placed.map_err(|error| content.error.take().unwrap_or(Error::Output(error)));
    }
    writer.place(node, &mut io::empty()).map_err(Error::Output)
}

fn tar_tree(repository: &Repository, reader: &Reader, root: &TreeRoot, out: &mut dyn Write) -> Result<()> {
    let mut writer = TarWriter::new(out);
    let mut levels = vec![Nodes::new(reader, root)];
    while let Some(nodes) = levels.last_mut() {
        repository.runtime().check_stopped()?;
        match nodes.next().transpose()? {
            None => {
                levels.pop();
                if !levels.is_empty() {
                    writer.leave();
                }
            }
            Some(node) => match &node.kind {
                NodeKind::Directory(root) => {
                    writer.enter(&node).map_err(Error::Output)?;
                    levels.push(Nodes::new(reader, root));
                }
                _ => tar_entry(&mut writer, reader, &node)?,
            },
        }
    }
    writer.finish().map(drop).map_err(Error::Output)
}
