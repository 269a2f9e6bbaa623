//! How large new packs will be: filled as the packer fills them, with what a directory and a trailer take, about.

use vault_format::header::HEADER_BYTES;
use vault_format::pack::padme;
use vault_format::seal::TAG_BYTES;

/// Signature, trailer and wraps of a pack, about.
const END_BYTES: usize = 1364;
/// What a directory says of one blob, and of one frame, about.
const BLOB_BYTES: usize = 40;
const FRAME_BYTES: usize = 21;

/// New packs of one group and class as they fill.
#[derive(Default)]
pub(super) struct NewPacks {
    packs: u64,
    bytes: u64,
    open: usize,
    frames: usize,
    blobs: usize,
}

impl NewPacks {
    /// Adds a frame.
    pub fn push(&mut self, stored: u64, blobs: u32, pack_bytes: usize) {
        if stored == 0 {
            return;
        }
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        if self.frames > 0 && HEADER_BYTES + self.open + stored - TAG_BYTES.min(stored) > pack_bytes {
            self.close();
        }
        self.open += stored;
        self.frames += 1;
        self.blobs += blobs as usize;
    }

    fn close(&mut self) {
        let directory = self.frames * FRAME_BYTES + self.blobs * BLOB_BYTES;
        self.bytes += padme(HEADER_BYTES + self.open + directory + END_BYTES) as u64;
        self.packs += 1;
        (self.open, self.frames, self.blobs) = (0, 0, 0);
    }

    /// Packs and their bytes.
    pub fn end(mut self) -> (u64, u64) {
        if self.frames > 0 {
            self.close();
        }
        (self.packs, self.bytes)
    }
}
