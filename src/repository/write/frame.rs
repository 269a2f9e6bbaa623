//! Frames on their way into a pack: encoded just now, or as they were read from another pack. Whoever packs them seals them
//! anew, and compresses nothing again.

use crate::repository::lookup::FrameRecord;
use vault_format::directory::{BlobEntry, Descent};
use vault_format::frame::FrameCodec;
use vault_format::id::{BlobId, Class};

/// An encoded frame on its way into a pack.
pub struct EncodedFrame {
    /// Class of the pack.
    pub class: Class,
    /// How it is encoded.
    pub codec: FrameCodec,
    /// Encoded bytes.
    pub bytes: Vec<u8>,
    /// What it holds.
    pub blobs: Vec<BlobEntry>,
    /// Bases of a delta.
    pub bases: Vec<BlobId>,
    /// Zero unless a delta.
    pub descent: Descent,
}

impl EncodedFrame {
    /// A frame that was read, to be stored again as it is.
    pub fn again(class: Class, frame: &FrameRecord, bytes: Vec<u8>, blobs: Vec<BlobEntry>) -> Self {
        let (bases, descent) = (frame.bases.to_vec(), Descent { depth: frame.depth, generation: frame.generation });
        Self { class, codec: frame.codec, bytes, blobs, bases, descent }
    }
}
