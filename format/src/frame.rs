//! The unit of compression: one or more blobs as raw bytes, as zstd, or as a delta (zstd with the plaintext of 1 to 4
//! base blobs as prefix). Every decoder writes at most the promised length, whatever the compressed bytes claim.

use crate::compress::{decompress, decompress_delta};
use crate::error::{Error, Result, within};
use crate::header::SUITE;
use crate::id::{Class, RepositoryId};
use crate::key::Key;
use crate::seal;

/// Largest plaintext of a frame in bytes.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Most bases of a delta.
pub const BASES_MAX: usize = 4;
/// Deepest delta; 0 = whole.
pub const DEPTH_MAX: u8 = 8;
/// Most frames that opening one blob may decode.
pub const OPEN_FRAMES_MAX: u32 = 64;
/// Most plaintext bytes that opening one blob may decode.
pub const OPEN_BYTES_MAX: u64 = 128 << 20;
/// Most frames that opening a blob decodes when it is stored.
pub const STORE_FRAMES_MAX: u32 = 32;
/// Most plaintext bytes that opening a blob decodes when it is stored: its bases may move to larger frames.
pub const STORE_BYTES_MAX: u64 = 32 << 20;

/// How a frame's plaintext is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, bincode::Encode, bincode::Decode)]
pub enum FrameCodec {
    /// As it is, where compression gains nothing.
    Raw = 0,
    /// As one zstd frame.
    Zstd = 1,
    /// zstd with the bases as prefix; exactly one blob.
    Delta = 2,
}

/// What a frame's seal binds besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameSeal {
    /// Repository of the pack.
    pub repository: RepositoryId,
    /// Class of its pack.
    pub class: Class,
    /// Position in the order of drawing, the nonce.
    pub ordinal: u32,
    /// How the plaintext is stored.
    pub codec: FrameCodec,
    /// Plaintext length in bytes.
    pub plain: u32,
}

impl FrameSeal {
    fn aad(&self) -> Vec<u8> {
        [SUITE]
            .into_iter()
            .chain(self.repository.0)
            .chain(0u32.to_le_bytes())
            .chain([self.class.byte()])
            .chain(self.ordinal.to_le_bytes())
            .chain([self.codec as u8])
            .chain(self.plain.to_le_bytes())
            .collect()
    }

    /// Seals encoded bytes under the pack key. The ordinal must be used once in a pack.
    pub fn seal(&self, pack_key: &Key, encoded: &[u8]) -> Result<Vec<u8>> {
        seal::seal(pack_key, self.ordinal, &self.aad(), encoded)
    }

    /// The same where the encoded bytes lie, with room for the tag behind them.
    pub fn seal_in_place(&self, pack_key: &Key, encoded: &mut [u8]) -> Result<()> {
        seal::seal_in_place(pack_key, self.ordinal, &self.aad(), encoded)
    }

    /// Opens the seal; the result is still encoded.
    pub fn open(&self, pack_key: &Key, sealed: &[u8]) -> Result<Vec<u8>> {
        seal::open(pack_key, self.ordinal, &self.aad(), sealed, "a frame")
    }

    /// From encoded bytes to the plaintext. `prefix` is the plaintext of the bases, empty unless a delta.
    pub fn decode(&self, encoded: Vec<u8>, prefix: &[u8]) -> Result<Vec<u8>> {
        let length = usize::try_from(self.plain).map_err(|_| Error::BadFrame)?;
        within(length <= FRAME_BYTES_MAX, "a frame")?;
        match self.codec {
            FrameCodec::Raw if encoded.len() == length => Ok(encoded),
            FrameCodec::Raw => Err(Error::BadFrame),
            FrameCodec::Zstd => decompress(&encoded, length),
            FrameCodec::Delta => decompress_delta(&encoded, prefix, length),
        }
    }
}
