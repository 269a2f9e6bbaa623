//! From the ids of one repository to those of another with other keys: every chunk is decoded and stored under its new
//! id, and lists and trees are written anew around the new ids. What was translated once is remembered for the next
//! snapshots of the run.

use crate::progress::Progress;
use crate::repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::build;
use crate::repository::tree::build::{ListBuilder, Rewrite};
use crate::repository::tree::chunks::Chunks;
use crate::repository::write::writer::Writer;
use crate::repository::{Error, Repository};
use std::collections::HashMap;
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::{ChunkRef, Content};
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// What was translated so far.
#[derive(Default)]
pub(super) struct Translation {
    chunks: HashMap<BlobId, BlobId>,
    directories: HashMap<BlobId, TreeRoot>,
}

/// One pass over a tree of the first repository.
pub(super) struct Pass<'p> {
    pub reader: &'p Reader,
    pub to: &'p Repository,
    pub progress: &'p dyn Progress,
    pub known: &'p mut Translation,
}

impl Pass<'_> {
    /// Stores a tree under the ids of the writer's repository.
    pub fn rewrite(mut self, root: &TreeRoot, writer: &mut Writer) -> repository::Result<TreeRoot> {
        if let Some(known) = self.known.directories.get(&root.id) {
            return Ok(*known);
        }
        build::rewrite(self.reader, root, writer, self.to.keys().gear_key(), &mut self)
    }

    fn chunk(&mut self, writer: &mut Writer, chunk: ChunkRef) -> repository::Result<ChunkRef> {
        self.to.runtime().check_stopped()?;
        self.progress.advance(0, u64::from(chunk.length));
        if let Some(id) = self.known.chunks.get(&chunk.id).copied().filter(|id| writer.rely(id)) {
            return Ok(ChunkRef { id, ..chunk });
        }
        let bytes = self.reader.blob(BlobKind::Chunk, &chunk.id)?;
        let id = writer.put(BlobKind::Chunk, &bytes)?;
        self.known.chunks.insert(chunk.id, id);
        Ok(ChunkRef { id, ..chunk })
    }
}

impl Rewrite for Pass<'_> {
    fn file(&mut self, writer: &mut Writer, node: Node) -> repository::Result<Option<Node>> {
        let NodeKind::File { size, content, holes } = node.kind else { return Ok(Some(node)) };
        let mut list = ListBuilder::default();
        for chunk in Chunks::new(self.reader, &content) {
            let chunk = self.chunk(writer, chunk?)?;
            list.push(writer, chunk)?;
        }
        let content: Content = list.finish(writer)?;
        Ok(Some(Node { kind: NodeKind::File { size, content, holes }, ..node }))
    }

    fn unread(&mut self, error: Error) -> repository::Result<()> {
        Err(error)
    }

    fn known(&self, root: &TreeRoot) -> Option<TreeRoot> {
        self.known.directories.get(&root.id).copied()
    }

    fn wrote(&mut self, from: &TreeRoot, to: &TreeRoot) {
        self.known.directories.insert(from.id, *to);
    }
}
