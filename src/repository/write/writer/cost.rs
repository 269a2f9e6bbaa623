//! What opening a blob will cost from where a run leaves it: the writer checks the limits that readers enforce. A base
//! counts only in a place of less depth than the delta above it.

use super::{FRAME_BYTES_TARGET, Writer};
use crate::repository::Result;
use crate::repository::lookup::{BlobLocation, PackRule};
use crate::repository::write::packer::EncodedFrame;
use vault_format::frame::{DEPTH_MAX, FrameCodec, OPEN_BYTES_MAX, OPEN_FRAMES_MAX};
use vault_format::id::BlobId;

/// What opening a blob costs: bounded, whatever lies below it.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub depth: u8,
    pub frames: u32,
    pub bytes: u64,
}

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
        let mut total = Cost { depth: frame.descent.depth, frames: 1, bytes: plain };
        for base in &frame.bases {
            let cost = self.cost(base, total.depth)?;
            (total.frames, total.bytes) = (total.frames + cost.frames, total.bytes + cost.bytes);
        }
        (total.depth <= DEPTH_MAX && total.frames <= OPEN_FRAMES_MAX && total.bytes <= OPEN_BYTES_MAX).then_some(total)
    }

    /// What opening a blob from a place below a depth costs.
    fn cost(&self, id: &BlobId, below: u8) -> Option<Cost> {
        if self.written.contains(id) {
            let whole = Cost { depth: 0, frames: 1, bytes: 2 * FRAME_BYTES_TARGET as u64 };
            return Some(self.deltas.get(id).copied().unwrap_or(whole)).filter(|cost| cost.depth < below);
        }
        self.cost_of(self.index.place_below(id, below, &PackRule::RELIABLE)?)
    }

    /// `None` if it can't be told.
    fn cost_of(&self, place: BlobLocation) -> Option<Cost> {
        let frame = self.index.frame(place.frame).ok()?;
        let mut total = Cost { depth: frame.depth, frames: 1, bytes: u64::from(frame.plain) };
        for base in &frame.bases {
            let cost = self.cost_of(self.index.place_below(base, frame.depth, &PackRule::RELIABLE)?)?;
            total.frames = total.frames.saturating_add(cost.frames);
            total.bytes = total.bytes.saturating_add(cost.bytes);
        }
        Some(total)
    }
}
