//! A file or stream beside what was stored in its place before: each new chunk, and each new page of the list of chunks,
//! is told what it takes the place of, so that it can be stored as the difference. What waits to be told is kept in
//! memory, some megabytes at most. What can't be read of the old one counts as not there.

use super::chunks::{self, Chunks};
use crate::repository::Result;
use crate::repository::read::reader::Reader;
use crate::repository::write::writer::Writer;
use crate::similar::{Alignment, Piece, Settled};
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::Content;
use vault_format::tree::{Node, NodeKind};

/// What was stored of a file before.
#[derive(Clone, Copy)]
pub struct Before<'r> {
    reader: &'r Reader,
    content: &'r Content,
}

impl<'r> Before<'r> {
    /// What a node of an older snapshot holds, if it is a file.
    pub fn of(reader: &'r Reader, node: &'r Node) -> Option<Self> {
        match &node.kind {
            NodeKind::File { content, .. } => Some(Self { reader, content }),
            _ => None,
        }
    }

    /// Its chunks beside those of a new stream, of which nothing was read yet.
    pub fn chunks(&self) -> Beside<'r> {
        let chunks = Chunks::new(self.reader, self.content).map_while(Result::ok);
        Beside::new(BlobKind::Chunk, chunks.map(|chunk| Piece { id: chunk.id, length: u64::from(chunk.length) }))
    }

    /// The pages of its list beside those of a new one.
    pub(super) fn pages(&self) -> Beside<'r> {
        let pages = chunks::leaves(self.reader, self.content);
        Beside::new(BlobKind::List, pages.map(|page| Piece { id: page.id, length: page.bytes }))
    }
}

/// What is known of a new piece: its id, and what it holds if it is to be stored.
type Known = (BlobId, Option<Vec<u8>>);

/// New pieces of one kind beside old ones.
pub struct Beside<'r> {
    kind: BlobKind,
    alignment: Alignment<'r, Known>,
}

impl<'r> Beside<'r> {
    fn new(kind: BlobKind, old: impl Iterator<Item = Piece> + 'r) -> Self {
        Self { kind, alignment: Alignment::new(old) }
    }

    /// Makes sure that the next piece, of so many bytes of the stream, is stored: at the latest when this is finished.
    pub fn put(&mut self, writer: &mut Writer, plaintext: &[u8], length: u64) -> Result<BlobId> {
        let (id, is_new) = writer.look_for(self.kind, plaintext);
        let settled = self.alignment.push(Piece { id, length }, (id, is_new.then(|| plaintext.to_vec())));
        store(writer, self.kind, settled)?;
        Ok(id)
    }

    /// Makes sure that all pieces are stored.
    pub fn finish(self, writer: &mut Writer) -> Result<()> {
        store(writer, self.kind, self.alignment.finish())
    }
}

fn store(writer: &mut Writer, kind: BlobKind, settled: Vec<Settled<Known>>) -> Result<()> {
    settled.into_iter().try_for_each(|Settled { given: (id, plaintext), before }| match plaintext {
        Some(plaintext) => writer.put_after((kind, id), &plaintext, before),
        None => Ok(()),
    })
}
