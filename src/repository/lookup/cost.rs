//! What opening a blob costs from where it lies, all that lies below it included: the writer of a delta checks the limits
//! that readers enforce, and chooses by it.

use super::{BlobLocation, BlobLookup, PackRule};
use vault_format::frame::{DEPTH_MAX, OPEN_BYTES_MAX, OPEN_FRAMES_MAX};

/// Frames and plaintext bytes that are decoded to open a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Depth of its frame.
    pub depth: u8,
    /// Frames.
    pub frames: u32,
    /// Plaintext bytes of them.
    pub bytes: u64,
}

impl Cost {
    /// What lies in a frame of this depth and plaintext length, without its bases.
    pub fn of(depth: u8, plain: u64) -> Self {
        Self { depth, frames: 1, bytes: plain }
    }

    /// With what one of its bases costs.
    pub fn over(self, base: Self) -> Self {
        let (frames, bytes) = (self.frames.saturating_add(base.frames), self.bytes.saturating_add(base.bytes));
        Self { frames, bytes, ..self }
    }

    /// True if readers open it.
    pub fn is_allowed(&self) -> bool {
        self.depth <= DEPTH_MAX && self.frames <= OPEN_FRAMES_MAX && self.bytes <= OPEN_BYTES_MAX
    }
}

impl BlobLookup {
    /// What opening a blob from a place costs, with bases in places that count by a rule. `None` if one has none.
    pub fn cost(&self, place: BlobLocation, rule: &PackRule<'_>) -> Option<Cost> {
        let frame = self.table.frame(place.frame)?;
        frame.bases.iter().try_fold(Cost::of(frame.depth, u64::from(frame.plain)), |total, base| {
            Some(total.over(self.cost(self.place_below(base, frame.depth, rule)?, rule)?))
        })
    }
}
