//! The content of files and streams: chunks in, chunk list out; and the question whether a file may be taken over from
//! the parent snapshot without being opened. It may if size, mtime, ctime and inode are the same, it is not too young
//! to trust its time, and all its chunks are in packs to rely on.

use super::bounds::Bounds;
use crate::chunk::{Chunker, Gear};
use crate::compression::Compression;
use crate::error::Error;
use crate::progress::Progress;
use crate::repository::read::reader::Reader;
use crate::repository::tree::before::Before;
use crate::repository::tree::build::ListBuilder;
use crate::repository::tree::chunks::Chunks;
use crate::repository::write::writer::Writer;
use crate::time::WallTime;
use std::io::{self, Read};
use std::time::Duration;
use vault_format::id::BlobKind;
use vault_format::list::{ChunkRef, Content};
use vault_format::tree::{Metadata, Node, NodeKind};

/// A time that was younger than this when the parent's scan began is not trusted: after it was read, the file may have
/// changed again within one tick of its clock.
const YOUNG: Duration = Duration::from_secs(2);

/// Cuts streams and puts their chunks.
pub struct FileWriter {
    gear: Gear,
    /// When it ends early.
    pub bounds: Bounds,
    chunker: Chunker,
    /// Id of the chunk profile of the last stream.
    pub profile: u8,
    /// By what the last stream was compressed before it was read.
    pub compression: Option<Compression>,
    /// Bytes that the last stream added.
    pub added_bytes: u64,
}

/// What is read.
pub enum Input<'i> {
    /// What comes when it comes.
    Stream(&'i mut dyn Read),
    /// A file of about so many bytes, which is always there to be read.
    File(&'i mut (dyn Read + Send), u64),
}

/// Files of at least so many bytes are read and cut on a thread of their own, while their chunks are identified on this
/// one: both take about as long.
const LONG_BYTES: u64 = 8 << 20;

/// What reading a stream can end with, besides its content.
pub enum ReadError {
    /// The stream failed: this file is left out.
    Input(io::Error),
    /// The repository failed, or the pass must not go on: the run ends.
    Repository(Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl FileWriter {
    /// A writer of files with a gear table.
    pub fn new(gear: Gear, bounds: Bounds) -> Self {
        Self { gear, bounds, chunker: Chunker::new(), profile: 0, compression: None, added_bytes: 0 }
    }

    /// Reads a stream to its end; returns its content and length in bytes.
    pub fn write(
        &mut self,
        writer: &mut Writer,
        input: Input<'_>,
        before: Option<&Before<'_>>,
        progress: &dyn Progress,
    ) -> std::result::Result<(Content, u64), ReadError> {
        let failed = |error: crate::repository::Error| ReadError::Repository(error.into());
        let before = before.filter(|_| writer.has_bases());
        let (mut list, mut beside) = (ListBuilder::beside(before), before.map(Before::chunks));
        let (mut bytes, added_before) = (0u64, writer.counts.added_bytes);
        self.chunker.restart();
        let (bounds, mut compression, workers) = (&self.bounds, None, writer.workers());
        let each = |chunk: &[u8]| -> std::result::Result<(), ReadError> {
            bounds.go_on().map_err(ReadError::Repository)?;
            if bytes == 0 {
                compression = Compression::of(chunk);
            }
            let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let id = match &mut beside {
                Some(beside) => beside.put(writer, chunk, u64::from(length)),
                None => writer.put(BlobKind::Chunk, chunk),
            };
            id.and_then(|id| list.push(writer, ChunkRef { id, length })).map_err(failed)?;
            bytes += u64::from(length);
            progress.advance(0, u64::from(length));
            Ok(())
        };
        match input {
            Input::File(mut input, size) if size >= LONG_BYTES && workers > 0 => {
                self.chunker.cut_ahead(&self.gear, &mut input, each)?;
            }
            Input::File(mut input, _) => self.chunker.cut(&self.gear, &mut input, each)?,
            Input::Stream(mut input) => self.chunker.cut(&self.gear, &mut input, each)?,
        }
        beside.map_or(Ok(()), |beside| beside.finish(writer)).map_err(failed)?;
        self.profile = self.chunker.profile().map_or(0, |profile| profile.id);
        let content = list.finish(writer).map_err(failed)?;
        self.added_bytes = writer.counts.added_bytes - added_before;
        self.compression = compression;
        Ok((content, bytes))
    }
}

/// What has to be the same for a file to be unchanged, besides size and mtime.
#[derive(Clone, Copy)]
pub struct Belief {
    /// When the parent's scan began.
    pub parent_started: WallTime,
    /// The inode number may be another.
    pub ignore_inode: bool,
    /// The time of change may be another.
    pub ignore_ctime: bool,
}

impl Belief {
    /// True if what is the same has the same attributes too.
    pub fn knows_attributes(&self) -> bool {
        !self.ignore_ctime
    }

    /// True if a file of this size and metadata seems to be the one of the parent's node.
    pub fn is_same(&self, (size, metadata): (u64, &Metadata), parent: &Node) -> bool {
        let NodeKind::File { size: parent_size, .. } = &parent.kind else { return false };
        let before = &parent.metadata;
        // a change always moves the ctime, which nobody can set
        let changed = if self.ignore_ctime { metadata.mtime } else { metadata.ctime };
        size == *parent_size
            && metadata.mtime == before.mtime
            && (metadata.ctime == before.ctime || self.ignore_ctime)
            && (metadata.inode == before.inode || self.ignore_inode)
            && WallTime::from(changed) + YOUNG <= self.parent_started
    }
}

/// The kind to take over from the parent's node, if all its chunks are in packs to rely on.
pub fn relied(writer: &mut Writer, reader: &Reader, parent: &Node) -> Option<NodeKind> {
    let NodeKind::File { content, .. } = &parent.kind else { return None };
    let mut chunks = Chunks::new(reader, content);
    // a list page that can't be read is stored again with the file
    let present = chunks.by_ref().all(|chunk| chunk.is_ok_and(|chunk| writer.rely(&chunk.id)));
    let all = present && chunks.pages().iter().all(|page| writer.rely(page));
    if all {
        chunks.pages().iter().for_each(|page| writer.keep_known_page(*page));
    }
    all.then(|| parent.kind.clone())
}
