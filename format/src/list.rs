//! The content of a file: an ordered list of chunks. Up to 32 lie in the node itself; longer ones are a content-cut
//! tree of pages, blobs of kind `List`. Each entry carries lengths, so that seeking needs no index.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, rule, within};
use crate::id::BlobId;
use crate::page::{self, PAGE_ENTRIES_MAX};
use bincode::{Decode, Encode};

/// Most chunks that a node holds itself.
pub const INLINE_CHUNKS_MAX: usize = 32;
/// Largest chunk in bytes.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// One chunk of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ChunkRef {
    /// The blob.
    pub id: BlobId,
    /// Its plaintext length in bytes, 1 to [`CHUNK_BYTES_MAX`].
    pub length: u32,
}

/// Refers to a page of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ListRoot {
    /// Blob of the page.
    pub id: BlobId,
    /// Content bytes below the page, more than 0.
    pub bytes: u64,
    /// Chunks below the page.
    pub count: u64,
}

/// Where the bytes of a file are.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Content {
    /// The chunks themselves, in order.
    Inline(Vec<ChunkRef>),
    /// The root page of a longer list.
    List(ListRoot),
}

impl Content {
    /// Total plaintext bytes.
    pub fn bytes(&self) -> Result<u64> {
        match self {
            Self::Inline(chunks) => {
                let fits = |chunk: &ChunkRef| (1..=CHUNK_BYTES_MAX).contains(&chunk.length);
                within(chunks.iter().all(fits), "the length of a chunk")?;
                sum(chunks.iter().map(|chunk| chunk.length.into()))
            }
            Self::List(root) => Ok(root.bytes),
        }
    }
}

fn sum(mut lengths: impl Iterator<Item = u64>) -> Result<u64> {
    lengths.try_fold(0u64, |total, length| total.checked_add(length)).ok_or(Error::Limit("the size of a file"))
}

/// One page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum ListPage {
    /// Chunks in order.
    Leaf(Vec<ChunkRef>),
    /// Children in order, all of height `height - 1`.
    Branch {
        /// 1 to [`page::HEIGHT_MAX`].
        height: u8,
        /// At least two.
        children: Vec<ListRoot>,
    },
}

impl Stored for ListPage {
    const WHAT: &'static str = "a list page";
    type Codec = Limited<{ 1 << 20 }>;

    fn validate(&self) -> Result<()> {
        match self {
            Self::Leaf(chunks) => {
                Content::Inline(chunks.clone()).bytes()?;
                within((1..=PAGE_ENTRIES_MAX).contains(&chunks.len()), "a list page")?;
            }
            Self::Branch { height, children } => {
                page::validate_height(*height, "the height of a list")?;
                rule(children.iter().all(|child| child.bytes > 0), "an empty part of a list")?;
                self.bytes()?;
                page::validate_children(children.len(), "a list page")?;
            }
        }
        Ok(())
    }
}

impl ListPage {
    /// Bytes of a valid page.
    pub fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(self)
    }

    /// A valid page of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }

    /// Height of the page: 0 for a leaf.
    pub fn height(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch { height, .. } => *height,
        }
    }

    /// Content bytes below the page.
    pub fn bytes(&self) -> Result<u64> {
        match self {
            Self::Leaf(chunks) => sum(chunks.iter().map(|chunk| chunk.length.into())),
            Self::Branch { children, .. } => sum(children.iter().map(|child| child.bytes)),
        }
    }
}
