//! The keyed table of the rolling hash that finds chunk boundaries, and the chunk sizes to choose from. Both decide
//! where content is cut, so they are part of the format: two writers with other tables would share nothing.

use crate::error::{Result, within};
use crate::key::Key;
use bincode::{Decode, Encode};

/// Chunk sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ChunkProfile {
    /// Number by which snapshot heads name it.
    pub id: u8,
    /// Smallest chunk but the last.
    pub min: u32,
    /// Length aimed at, a power of two.
    pub average: u32,
    /// A chunk is cut here at the latest.
    pub max: u32,
}

/// Profile for content that compresses.
pub const PROFILE_DEFAULT: ChunkProfile = ChunkProfile { id: 1, min: 32 << 10, average: 128 << 10, max: 512 << 10 };
/// Profile for content that does not.
pub const PROFILE_INCOMPRESSIBLE: ChunkProfile = ChunkProfile { id: 2, min: 256 << 10, average: 1 << 20, max: 1 << 20 };

impl ChunkProfile {
    /// Checks sizes: even, in order, at most 1 MiB.
    pub fn validate(&self) -> Result<()> {
        let even = [self.min, self.average, self.max].iter().all(|size| size & 1 == 0);
        // the masks of the cut begin at an average of 256 bytes
        let ordered = self.average >= 256 && 64 <= self.min && self.min <= self.average && self.average <= self.max;
        let fits = self.average.is_power_of_two() && self.max <= crate::list::CHUNK_BYTES_MAX;
        within(even && ordered && fits, "a chunk profile")
    }
}

/// The 256 gear values of a gear key: BLAKE3 key derivation, extended output, little-endian u64 each.
pub fn table(gear_key: &Key) -> Box<[u64; 256]> {
    let mut output = blake3::Hasher::new_derive_key("vault v1 gear table").update(gear_key.expose()).finalize_xof();
    let mut table = Box::new([0u64; 256]);
    for value in table.iter_mut() {
        let mut bytes = [0u8; 8];
        output.fill(&mut bytes);
        *value = u64::from_le_bytes(bytes);
    }
    table
}
