//! A stored file, read from any place: the bytes of a range, with zeros for its holes. Only the list pages and chunks
//! that a range touches are fetched and decoded, and those read last are kept, so that who reads on from where it was
//! reads nothing twice. Lists and chunks are held to what is promised of them: a byte is given at its own place or not
//! at all.

use super::chunks::{self, Chunks};
use crate::repository::read::reader::Reader;
use crate::repository::{Error, Result, of_object};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use vault_format::id::BlobKind;
use vault_format::list::{ChunkRef, Content, ListPage};
use vault_format::tree::{Node, NodeKind};

/// Reads one stored file, like an open file of a file system: at any offset, or on from a position of its own that
/// `Read` and `Seek` move. It is owned, so that a server can keep it; a clone reads on its own.
///
/// ```no_run
/// # use vault::repository::{FileReader, Reader, Result};
/// # fn end_of(reader: &Reader, node: &vault::format::tree::Node) -> Result<Vec<u8>> {
/// let mut file = FileReader::new(reader, node)?;
/// let mut end = vec![0; 100];
/// let length = file.read_at(file.len().saturating_sub(100), &mut end)?;
/// end.truncate(length);
/// # Ok(end)
/// # }
/// ```
#[derive(Clone)]
pub struct FileReader {
    reader: Reader,
    length: u64,
    content: Content,
    holes: Vec<Hole>,
    leaf: Option<Leaf>,
    chunk: Option<OpenChunk>,
    position: u64,
}

#[derive(Clone)]
struct Hole {
    /// Offsets in the file.
    range: Range<u64>,
    /// Bytes of content before it.
    before: u64,
}

/// Chunks that follow each other, and the bytes of the content that they hold.
#[derive(Clone)]
struct Leaf {
    range: Range<u64>,
    chunks: Vec<ChunkRef>,
}

#[derive(Clone)]
struct OpenChunk {
    /// Offset in the content.
    start: u64,
    bytes: Vec<u8>,
}

impl FileReader {
    /// A reader of a node's content, at its first byte; nothing is fetched yet. What is no regular file has no bytes.
    /// Fails if the node breaks the rules of nodes, which none does that was read from a page.
    pub fn new(reader: &Reader, node: &Node) -> Result<Self> {
        of_object("a file of a tree", node.validate())?;
        let (length, content, extents) = match &node.kind {
            NodeKind::File { size, content, holes } => (*size, content.clone(), holes.as_slice()),
            _ => (0, Content::Inline(Vec::new()), [].as_slice()),
        };
        let mut empty = 0;
        let hole = |extent: &vault_format::tree::Extent| {
            let before = extent.offset - empty;
            empty += extent.length;
            Hole { range: extent.offset..extent.offset + extent.length, before }
        };
        let holes = extents.iter().map(hole).collect();
        Ok(Self { reader: reader.clone(), length, content, holes, leaf: None, chunk: None, position: 0 })
    }

    /// Bytes of the file, holes included.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Fails if a page or chunk that the file needs is in no pack that is there. Reads all list pages, and no chunk.
    pub fn require_all(&self) -> Result<()> {
        Chunks::new(&self.reader, &self.content).try_for_each(|chunk| match chunk?.id {
            id if self.reader.index().is_there(&id) => Ok(()),
            id => Err(Error::MissingBlob(id)),
        })
    }

    /// Reads at an offset in bytes. Gives the number of bytes, which is less than the buffer holds only at the end of
    /// the file, and 0 behind it. Fails if a page or chunk of the range can't be read; the rest of the file still can.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_some(offset.saturating_add(filled as u64), rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Reads up to the end of the hole or chunk at an offset.
    fn read_some(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let next = self.holes.partition_point(|hole| hole.range.end <= at);
        let before = next.checked_sub(1).and_then(|last| self.holes.get(last));
        let (is_hole, end) = match self.holes.get(next) {
            Some(hole) if hole.range.contains(&at) => (true, hole.range.end),
            Some(hole) => (false, hole.range.start),
            None => (false, self.length),
        };
        let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        if is_hole || buffer.is_empty() {
            buffer.fill(0);
            return Ok(count);
        }
        let offset = before.map_or(at, |hole| at - hole.range.end + hole.before);
        let chunk = self.chunk_at(offset)?;
        let rest = usize::try_from(offset - chunk.start).ok().and_then(|from| chunk.bytes.get(from..));
        let rest = rest.unwrap_or_default();
        let count = count.min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// The chunk that holds a byte of the content.
    fn chunk_at(&mut self, offset: u64) -> Result<&OpenChunk> {
        let covers = |chunk: &OpenChunk| (chunk.start..chunk.start + chunk.bytes.len() as u64).contains(&offset);
        let chunk = match self.chunk.take().filter(covers) {
            Some(chunk) => chunk,
            None => self.open_chunk(offset)?,
        };
        Ok(self.chunk.insert(chunk))
    }

    fn open_chunk(&mut self, offset: u64) -> Result<OpenChunk> {
        let leaf = match self.leaf.take().filter(|leaf| leaf.range.contains(&offset)) {
            Some(leaf) => leaf,
            None => self.leaf_at(offset)?,
        };
        let leaf = self.leaf.insert(leaf);
        let mut start = leaf.range.start;
        for ChunkRef { id, length } in &leaf.chunks {
            let end = start + u64::from(*length);
            if offset < end {
                let bytes = self.reader.blob(BlobKind::Chunk, id)?;
                if bytes.len() as u64 != u64::from(*length) {
                    let wrong = vault_format::Error::Invalid("a chunk has another length than its list says");
                    return of_object(format!("chunk {}", id.short()), Err(wrong));
                }
                return Ok(OpenChunk { start, bytes });
            }
            start = end;
        }
        Err(Error::Bug("a byte of a file lies in none of its chunks"))
    }

    /// The leaf of the list that holds a byte of the content: reads one page a level.
    fn leaf_at(&self, offset: u64) -> Result<Leaf> {
        let mut root = match &self.content {
            Content::List(root) => *root,
            Content::Inline(chunks) => {
                let bytes = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
                return Ok(Leaf { range: 0..bytes, chunks: chunks.clone() });
            }
        };
        let (mut start, mut height) = (0, None);
        // heights fall with every level, so this ends after at most eight
        loop {
            match chunks::page(&self.reader, &root, height)? {
                ListPage::Leaf(chunks) => return Ok(Leaf { range: start..start + root.bytes, chunks }),
                ListPage::Branch { height: above, children } => {
                    height = Some(above - 1);
                    let next = children.into_iter().find(|child| {
                        let is_here = offset < start + child.bytes;
                        start += if is_here { 0 } else { child.bytes };
                        is_here
                    });
                    root = next.ok_or(Error::Bug("a byte of a file lies below none of its list pages"))?;
                }
            }
        }
    }
}

/// An error is that of the repository: `io::Error::downcast` gives it back.
impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_some(self.position, buffer).map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A position behind the end is fine, as in a file: there are no bytes there.
impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
