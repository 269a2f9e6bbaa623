//! What opening a blob costs from where it lies, all that lies below it included: the writer of a delta chooses by it, and
//! keeps well below the limits that readers enforce, for what the bases move to may be larger.

use super::{BlobLocation, BlobLookup, PackRule};
use vault_format::frame::{DEPTH_MAX, OPEN_BYTES_MAX, OPEN_FRAMES_MAX, STORE_BYTES_MAX, STORE_FRAMES_MAX};

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

    /// True if it may be stored so.
    pub fn is_allowed(&self) -> bool {
        self.depth <= DEPTH_MAX && self.frames <= STORE_FRAMES_MAX && self.bytes <= STORE_BYTES_MAX
    }

    /// True if readers open it.
    pub fn is_readable(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::Cost;
    use vault_format::frame::{BASES_MAX, FRAME_BYTES_MAX, STORE_BYTES_MAX, STORE_FRAMES_MAX};

    /// A delta of these bases, and those of `steps` more.
    fn over(bases: usize, steps: u8, plain: u64) -> Cost {
        let own = Cost::of(steps, plain);
        if steps == 0 { own } else { (0..bases).fold(own, |total, _| total.over(over(bases, steps - 1, plain))) }
    }

    #[test]
    fn what_is_stored_is_read_when_its_bases_lie_in_frames_as_large_as_can_be() {
        for bases in 1..=BASES_MAX {
            for steps in 0..8 {
                let small = over(bases, steps, 100_000);
                let large = over(bases, steps, FRAME_BYTES_MAX as u64);
                assert!(!small.is_allowed() || large.is_readable(), "{bases} bases, {steps} steps");
            }
        }
        let most = Cost { depth: 8, frames: STORE_FRAMES_MAX, bytes: STORE_BYTES_MAX };
        assert!(
            most.is_allowed() && !most.over(Cost::of(0, 1)).is_allowed() && most.over(Cost::of(0, 1)).is_readable()
        );
    }
}
