//! Frames that come out of another pack and are stored as they are: a delta only if its bases lie here too, in places of
//! less depth, and if what opening it costs from there is within the limits that readers enforce.

use super::{FRAME_BYTES_TARGET, Writer};
use crate::repository::Result;
use crate::repository::lookup::{Cost, PackRule};
use crate::repository::write::frame::EncodedFrame;
use vault_format::frame::FrameCodec;
use vault_format::id::BlobId;

impl Writer {
    /// Stores a frame that comes out of another pack, as it is. False, and nothing done, if it is a delta whose bases do
    /// not lie here with less depth, or could not be opened within the limits.
    pub(crate) fn put_frame(&mut self, frame: EncodedFrame) -> Result<bool> {
        if frame.codec == FrameCodec::Delta {
            let Some(cost) = self.cost_above(&frame) else { return Ok(false) };
            self.deltas.extend(frame.blobs.iter().map(|blob| (blob.id, cost)));
            for base in &frame.bases {
                if let Some(place) = self.index.place_below(base, frame.descent.depth, &PackRule::RELIABLE) {
                    self.index.collect_packs(place, &PackRule::RELIABLE, &mut self.relied)?;
                }
            }
        }
        self.copy_frame(frame)?;
        Ok(true)
    }

    /// What opening a delta costs here, if its bases have places of less depth and the limits hold.
    fn cost_above(&self, frame: &EncodedFrame) -> Option<Cost> {
        let plain: u64 = frame.blobs.iter().map(|blob| u64::from(blob.length)).sum();
        let own = Cost::of(frame.descent.depth, plain);
        let total = frame.bases.iter().try_fold(own, |total, base| Some(total.over(self.cost(base, own.depth)?)))?;
        total.is_allowed().then_some(total)
    }

    /// What opening a blob from a place below a depth costs.
    fn cost(&self, id: &BlobId, below: u8) -> Option<Cost> {
        if self.written.contains(id) {
            let whole = Cost::of(0, 2 * FRAME_BYTES_TARGET as u64);
            return Some(self.deltas.get(id).copied().unwrap_or(whole)).filter(|cost| cost.depth < below);
        }
        self.index.cost(self.index.place_below(id, below, &PackRule::RELIABLE)?, &PackRule::RELIABLE)
    }
}
