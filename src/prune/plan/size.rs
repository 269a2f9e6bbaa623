//! How large new packs will be: filled as the packer fills them, with what a frame takes as far as it is known before it
//! is written.

use crate::repository::write::filling::{Filling, Step};
use vault_format::pack::padme;
use vault_format::seal::TAG_BYTES;
use vault_format::volume::Volume;

/// Wraps of a pack, about.
const WRAPS_BYTES: usize = 1252;

/// New packs of one group and class as they fill.
pub(super) struct NewPacks {
    packs: u64,
    bytes: u64,
    filling: Filling<Volume>,
    open: Volume,
}

impl NewPacks {
    /// None so far.
    pub fn new(pack_bytes: usize) -> Self {
        Self { packs: 0, bytes: 0, filling: Filling::new(pack_bytes, WRAPS_BYTES), open: Volume::default() }
    }

    /// Adds a frame.
    pub fn push(&mut self, stored: u64, blobs: u32) {
        if stored > 0 {
            let encoded = usize::try_from(stored).unwrap_or(usize::MAX).saturating_sub(TAG_BYTES);
            let frame = Volume::frame(encoded, 0, blobs as usize);
            let steps = self.filling.push(frame, frame);
            self.follow(steps);
        }
    }

    fn follow(&mut self, steps: Vec<Step<Volume>>) {
        for step in steps {
            match step {
                Step::Add(frame) => self.open = self.open.and(frame),
                Step::Close => {
                    self.bytes += padme(self.open.pack_bytes(WRAPS_BYTES)) as u64;
                    self.packs += 1;
                    self.open = Volume::default();
                }
            }
        }
    }

    /// Packs and their bytes.
    pub fn end(mut self) -> (u64, u64) {
        let steps = self.filling.end();
        self.follow(steps);
        (self.packs, self.bytes)
    }
}
