//! Decoded frames that are kept, since their neighbours are wanted next: as many as fit into a number of bytes, and the one
//! that nobody has asked for for the longest time goes first.

use crate::repository::lookup::FrameNumber;
use crate::runtime::Locked;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A frame's plaintext.
type Plain = Arc<Vec<u8>>;

/// Frames that are kept, for all threads.
pub(super) struct KeptFrames {
    bytes_max: usize,
    frames: Locked<Frames>,
}

#[derive(Default)]
struct Frames {
    /// With the time of last use, which is a count of uses.
    kept: HashMap<FrameNumber, (Plain, u64)>,
    by_use: BTreeMap<u64, FrameNumber>,
    bytes: usize,
    uses: u64,
    evicted: u64,
}

impl KeptFrames {
    /// Nothing is kept yet.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, frames: Locked::default() }
    }

    pub fn get(&self, number: FrameNumber) -> Option<Plain> {
        let mut frames = self.frames.lock();
        let (plain, _) = frames.take(number)?;
        frames.put(number, &plain);
        Some(plain)
    }

    pub fn insert(&self, number: FrameNumber, plain: &Plain) {
        let mut frames = self.frames.lock();
        // two threads may have decoded the same frame
        frames.take(number);
        frames.put(number, plain);
        while frames.bytes > self.bytes_max {
            let Some((_, oldest)) = frames.by_use.first_key_value() else { return };
            let oldest = *oldest;
            frames.take(oldest);
            frames.evicted += 1;
        }
    }

    /// Frames that had to go so far.
    pub fn evicted(&self) -> u64 {
        self.frames.lock().evicted
    }
}

impl Frames {
    fn take(&mut self, number: FrameNumber) -> Option<(Plain, u64)> {
        let (plain, used) = self.kept.remove(&number)?;
        self.by_use.remove(&used);
        self.bytes -= plain.len();
        Some((plain, used))
    }

    fn put(&mut self, number: FrameNumber, plain: &Plain) {
        self.uses += 1;
        self.bytes += plain.len();
        self.by_use.insert(self.uses, number);
        self.kept.insert(number, (plain.clone(), self.uses));
    }
}

#[cfg(test)]
mod tests {
    use super::KeptFrames;
    use crate::repository::lookup::FrameNumber;
    use std::sync::Arc;

    #[test]
    fn what_was_asked_for_last_stays_within_the_bytes() {
        let [a, b, c, d] = [0, 1, 2, 3].map(FrameNumber::for_test);
        let (kept, plain) = (KeptFrames::new(300), |length: usize| Arc::new(vec![0; length]));
        [a, b, c].into_iter().for_each(|frame| kept.insert(frame, &plain(100)));
        // decoded twice at the same time: it counts once
        kept.insert(c, &plain(100));
        assert!(kept.get(a).is_some());
        kept.insert(d, &plain(100));
        assert_eq!([a, b, c, d].map(|frame| kept.get(frame).is_some()), [true, false, true, true]);
        assert_eq!(kept.evicted(), 1);
        // larger than all that may be kept: nothing is
        kept.insert(b, &plain(301));
        assert_eq!([a, b, c, d].map(|frame| kept.get(frame).is_some()), [false; 4]);
    }
}
