//! What a pack holds: its frames as they lie, and the blobs that tile each frame in order. A directory is sealed at the
//! end of its pack, and stands again in an index, so that a run starts without touching packs. All decoded ones are
//! valid: no blob reaches out of its frame, and no frame out of the pack.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, rule, within};
use crate::frame::{BASES_MAX, DEPTH_MAX, FRAME_BYTES_MAX, FrameCodec, FrameSeal};
use crate::header::{HEADER_BYTES, Header};
use crate::id::{BlobId, BlobKind, Class};
use bincode::{Decode, Encode};

/// Largest pack in bytes.
pub const PACK_BYTES_MAX: usize = 64 << 20;
/// Most blobs of one pack.
pub const PACK_BLOBS_MAX: usize = 65536;

/// One frame of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct FrameEntry {
    /// Nonce of its seal; unique in the pack.
    pub ordinal: u32,
    /// Sealed length in bytes, tag included.
    pub stored: u32,
    /// How its plaintext is stored.
    pub codec: FrameCodec,
    /// 0 = whole, else 1 + the depth of its deepest base.
    pub depth: u8,
    /// Versions since the lineage was stored whole; a hint.
    pub generation: u32,
    /// Bases of a delta, in prefix order.
    pub bases: Vec<BlobId>,
    /// How many blobs it holds.
    pub blobs: u32,
}

/// How far a frame is from content that was stored whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descent {
    /// 0 = whole, else 1 + the depth of its deepest base.
    pub depth: u8,
    /// Versions since the lineage was stored whole; a hint.
    pub generation: u32,
}

/// One blob of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct BlobEntry {
    /// Keyed hash of kind and plaintext.
    pub id: BlobId,
    /// Chunk, tree page or list page.
    pub kind: BlobKind,
    /// Plaintext length in bytes.
    pub length: u32,
}

/// What a pack holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Directory {
    /// Frames in the order in which they lie, the first right after the header, without gaps.
    pub frames: Vec<FrameEntry>,
    /// Blobs of the first frame, of the second, and so on.
    pub blobs: Vec<BlobEntry>,
}

impl Stored for Directory {
    const WHAT: &'static str = "a pack directory";
    type Codec = Limited<{ 32 << 20 }>;

    fn validate(&self) -> Result<()> {
        within(!self.frames.is_empty() && self.blobs.len() <= PACK_BLOBS_MAX, "the number of blobs of a pack")?;
        let mut ordinals: Vec<u32> = self.frames.iter().map(|frame| frame.ordinal).collect();
        ordinals.sort_unstable();
        rule(ordinals.is_sorted_by(|left, right| left < right), "two frames of a pack have one ordinal")?;
        let mut left = self.blobs.as_slice();
        for frame in &self.frames {
            let count = usize::try_from(frame.blobs).map_err(|_| Error::Limit("a frame"))?;
            validate_frame(frame, codec::take_slice(&mut left, count)?)?;
        }
        rule(left.is_empty(), "a directory has blobs without a frame")?;
        self.end().map(|_| ())
    }
}

pub(crate) fn validate_frame(frame: &FrameEntry, blobs: &[BlobEntry]) -> Result<()> {
    let plain = blobs.iter().try_fold(0usize, |total, blob| {
        let length = usize::try_from(blob.length).ok().filter(|length| *length > 0)?;
        total.checked_add(length).filter(|total| *total <= FRAME_BYTES_MAX)
    });
    within(plain.is_some() && !blobs.is_empty(), "the plaintext of a frame")?;
    let kind = blobs.first().map(|blob| blob.kind);
    rule(blobs.iter().all(|blob| Some(blob.kind) == kind), "a frame mixes kinds of blobs")?;
    match frame.codec {
        FrameCodec::Delta => {
            let proper = blobs.len() == 1
                && (1..=BASES_MAX).contains(&frame.bases.len())
                && (1..=DEPTH_MAX).contains(&frame.depth)
                && !blobs.iter().any(|blob| frame.bases.contains(&blob.id));
            rule(proper, "a delta needs one blob, 1 to 4 bases and a depth of 1 to 8")
        }
        _ => rule(frame.bases.is_empty() && frame.depth == 0, "a frame that is no delta has bases or a depth"),
    }
}

/// Where a blob lies, within a pack whose key is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobPlace {
    /// The blob that lies here.
    pub blob: BlobEntry,
    /// Position of its frame in the directory.
    pub frame: u32,
    /// First byte of the sealed frame in the pack.
    pub offset: u32,
    /// First byte of the blob in the frame's plaintext.
    pub at: u32,
    /// Plaintext length of the frame in bytes.
    pub plain: u32,
}

impl Directory {
    /// End of the last frame: offset in the pack.
    pub(crate) fn end(&self) -> Result<u32> {
        let start = codec::len_u32(HEADER_BYTES, "a pack")?;
        self.frames
            .iter()
            .try_fold(start, |end, frame| end.checked_add(frame.stored))
            .filter(|end| usize::try_from(*end).is_ok_and(|end| end <= PACK_BYTES_MAX))
            .ok_or(Error::Limit("a pack"))
    }

    /// Bytes of a valid directory.
    pub fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(self)
    }

    /// A valid directory of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }

    /// Every blob with its place, in order. The directory must be valid, as all decoded ones are.
    pub fn places(&self) -> Vec<BlobPlace> {
        let mut out = Vec::with_capacity(self.blobs.len());
        let mut blobs = self.blobs.as_slice();
        let mut offset = u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX);
        for (number, frame) in self.frames.iter().enumerate() {
            let count = usize::try_from(frame.blobs).unwrap_or(usize::MAX);
            let (own, rest) = blobs.split_at_checked(count).unwrap_or((blobs, &[]));
            blobs = rest;
            let plain = own.iter().fold(0u32, |total, blob| total.saturating_add(blob.length));
            let mut at = 0u32;
            for blob in own {
                let frame = u32::try_from(number).unwrap_or(u32::MAX);
                out.push(BlobPlace { blob: *blob, frame, offset, at, plain });
                at = at.saturating_add(blob.length);
            }
            offset = offset.saturating_add(frame.stored);
        }
        out
    }
}

impl FrameEntry {
    /// What the frame's seal binds.
    pub fn seal(&self, header: &Header, class: Class, plain: u32) -> FrameSeal {
        FrameSeal { repository: header.repository, class, ordinal: self.ordinal, codec: self.codec, plain }
    }
}
