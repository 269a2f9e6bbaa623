//! Which frames go into a pack, and when it is closed: the one rule for whoever writes packs and whoever foretells them.
//! A few frames wait outside of the pack. When all of them would be too much for it, those are put in that leave the
//! least padding and the least room, and the others begin the next one: padding (Padmé) rounds a pack of 16 MiB up by
//! 128 KiB on average, and nearly nothing where one may choose.

use std::collections::VecDeque;
use vault_format::directory::PACK_BLOBS_MAX;
use vault_format::pack::padme;
use vault_format::volume::Volume;

/// Frames that wait, at most: each doubles the choice, and lies in memory.
const WAITING_MAX: usize = 10;
/// Their bytes, about.
const WAITING_BYTES: usize = 12 << 20;
/// So many bytes of room that is left weigh as much as one of padding: more packs mean more requests.
const ROOM_WEIGHT: usize = 128;

/// What is to be done with a pack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// Put this frame into it.
    Add(T),
    /// Close it.
    Close,
}

/// A pack that takes frames, and those that wait for it.
#[derive(Debug)]
pub(crate) struct Filling<T> {
    /// Bytes of a pack.
    limit: usize,
    /// Bytes of its wraps.
    wraps: usize,
    held: Volume,
    waiting: VecDeque<(Volume, T)>,
}

impl<T> Filling<T> {
    /// An empty one, for packs of `limit` bytes with wraps of so many.
    pub fn new(limit: usize, wraps: usize) -> Self {
        Self { limit, wraps, held: Volume::default(), waiting: VecDeque::new() }
    }

    /// Takes one more frame.
    pub fn push(&mut self, volume: Volume, frame: T) -> Vec<Step<T>> {
        let mut steps = Vec::new();
        self.waiting.push_back((volume, frame));
        while !self.fits(self.waiting.iter().fold(self.held, |all, (volume, _)| all.and(*volume))) {
            if !self.close(&mut steps) {
                break;
            }
        }
        let bytes = |waiting: &VecDeque<(Volume, T)>| waiting.iter().map(|(volume, _)| volume.stored).sum::<usize>();
        while self.waiting.len() > WAITING_MAX || bytes(&self.waiting) > WAITING_BYTES {
            self.add(0, &mut steps);
        }
        steps
    }

    /// Takes nothing more.
    pub fn end(&mut self) -> Vec<Step<T>> {
        let mut steps = Vec::new();
        while !self.waiting.is_empty() {
            self.add(0, &mut steps);
        }
        if self.held.frames > 0 {
            steps.push(Step::Close);
        }
        self.held = Volume::default();
        steps
    }

    fn fits(&self, volume: Volume) -> bool {
        volume.blobs <= PACK_BLOBS_MAX && padme(volume.pack_bytes(self.wraps)) <= self.limit
    }

    fn add(&mut self, position: usize, steps: &mut Vec<Step<T>>) {
        if let Some((volume, frame)) = self.waiting.remove(position) {
            self.held = self.held.and(volume);
            steps.push(Step::Add(frame));
        }
    }

    /// Closes the pack with those that fill it best. False if it would be empty.
    fn close(&mut self, steps: &mut Vec<Step<T>>) -> bool {
        let chosen = self.best();
        if self.held.frames == 0 && chosen == 0 {
            return false;
        }
        let positions = (0..self.waiting.len()).filter(|position| chosen & (1 << position) != 0);
        // each that is taken moves those behind it up
        positions.enumerate().for_each(|(taken, position)| self.add(position - taken, steps));
        steps.push(Step::Close);
        self.held = Volume::default();
        true
    }

    /// Those that fill the pack best, a bit for each that waits. What is larger than a pack may be has one for itself.
    fn best(&self) -> u32 {
        let all = 1u32 << self.waiting.len().min(WAITING_MAX + 1);
        let fitting = (0..all).filter_map(|chosen| {
            let picked = self.waiting.iter().enumerate().filter(|(position, _)| chosen & (1 << position) != 0);
            let volume = picked.fold(self.held, |sum, (_, (volume, _))| sum.and(*volume));
            let bytes = volume.pack_bytes(self.wraps);
            let cost = (padme(bytes) - bytes) + self.limit.saturating_sub(bytes) / ROOM_WEIGHT;
            (volume.frames > 0 && self.fits(volume)).then_some((cost, chosen))
        });
        // of those that cost the same the ones that came first
        fitting.min().map_or(u32::from(self.held.frames == 0), |(_, chosen)| chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::{Filling, Step, WAITING_MAX};
    use vault_format::directory::PACK_BLOBS_MAX;
    use vault_format::pack::padme;
    use vault_format::volume::Volume;

    const LIMIT: usize = 16 << 20;

    /// Frames of each pack, by number.
    fn packs(limit: usize, frames: &[Volume]) -> Vec<Vec<usize>> {
        let (mut filling, mut packs, mut open) = (Filling::new(limit, 1000), Vec::new(), Vec::new());
        let mut steps: Vec<_> = frames.iter().enumerate().flat_map(|(n, frame)| filling.push(*frame, n)).collect();
        steps.extend(filling.end());
        for step in steps {
            match step {
                Step::Add(number) => open.push(number),
                Step::Close => packs.push(std::mem::take(&mut open)),
            }
        }
        assert!(open.is_empty(), "what was added is in a pack");
        let mut all: Vec<usize> = packs.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..frames.len()), "each once");
        packs
    }

    fn bytes(frames: &[Volume], pack: &[usize]) -> usize {
        pack.iter().fold(Volume::default(), |sum, number| sum.and(frames[*number])).pack_bytes(1000)
    }

    /// Lengths that follow no rule.
    fn lengths(count: usize, mut next: impl FnMut(u64) -> usize) -> Vec<Volume> {
        let mut state = 1u64;
        let mut step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        (0..count).map(|_| Volume::frame(next(step()), 0, 4)).collect()
    }

    #[test]
    fn full_packs_have_little_padding() {
        for frames in [
            lengths(300, |random| (512 << 10) + random as usize % (1 << 20)),
            lengths(2000, |random| (50 << 10) + random as usize % (200 << 10)),
        ] {
            let packs = packs(LIMIT, &frames);
            let (full, _) = packs.split_at(packs.len() - 1);
            assert!(full.len() > 10);
            let (mut all, mut padded) = (0, 0);
            for pack in full {
                let bytes = bytes(&frames, pack);
                assert!(padme(bytes) <= LIMIT && bytes > LIMIT / 4 * 3, "{bytes}");
                all += bytes;
                padded += padme(bytes) - bytes;
                assert!(pack.windows(2).all(|two| two[1] + WAITING_MAX > two[0]), "nearly as they came");
            }
            assert!(padded < all / 1000, "{padded} of {all}");
        }
    }

    #[test]
    fn what_is_too_large_has_a_pack_for_itself_and_blobs_are_counted() {
        let large = [Volume::frame(300, 0, 1), Volume::frame(1 << 20, 0, 1), Volume::frame(2 << 20, 0, 1)];
        assert_eq!(packs(256 << 10, &large), [[0], [1], [2]]);
        let many = [Volume::frame(300, 0, PACK_BLOBS_MAX / 2); 5];
        assert!(packs(LIMIT, &many).iter().all(|pack| pack.len() <= 2));
        assert!(packs(LIMIT, &[]).is_empty());
    }
}
