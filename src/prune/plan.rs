//! What prune does with each pack, as a pure function of what lives in it: delete what nothing needs, keep what is
//! nearly full of life, and repack the rest, those first that free most for what is written again. Dead bytes that no
//! move of whole frames frees, because they share a frame with living ones or are bases of them, are counted; once they
//! exceed the limit, frames are encoded anew and dead bases replaced, as far as that makes them less. Small packs are merged, however full of life.

mod choice;
mod size;

pub(super) use choice::merged;
use size::NewPacks;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use vault_format::directory::PACK_BLOBS_MAX;
use vault_format::header::HEADER_BYTES;
use vault_format::id::{BlobId, BlobKind, Class, ObjectId};

/// Ranges of a pack that are closer than this are read at once.
const GAP_BYTES: u64 = 256 << 10;
/// How much may be kept that nothing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// In thousandths of the live bytes.
    Thousandths(u64),
    /// In bytes.
    Bytes(u64),
}

impl Unused {
    fn of(self, live: u64) -> u64 {
        match self {
            Self::Thousandths(part) => u64::try_from(u128::from(live) * u128::from(part) / 1000).unwrap_or(u64::MAX),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// How to choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Garbage that may be kept.
    pub unused: Unused,
    /// Most stored bytes of packs that are repacked.
    pub repack: u64,
    /// Size at which a new pack is closed.
    pub pack_bytes: usize,
    /// Fewer small packs of one place and class are not worth a merge.
    pub merge_at: usize,
}

/// A frame, and how much of its plaintext is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameUse {
    /// Sealed bytes.
    pub stored: u32,
    /// Plaintext bytes.
    pub plain: u32,
    /// Plaintext of live blobs that are read from here.
    pub live: u32,
    /// Plaintext of dead blobs that are bases of live ones.
    pub base: u32,
    /// Blobs in it.
    pub blobs: u32,
}

/// A pack that may be chosen.
#[derive(Clone, Debug)]
pub(super) struct PackUse {
    pub id: ObjectId,
    pub class: Class,
    pub size: u64,
    /// Packs of one group may be written to one pack.
    pub group: u32,
    /// Its frames as they lie; none if no index tells of it.
    pub frames: Vec<FrameUse>,
    /// It stays as it is.
    pub fixed: bool,
}

/// A blob in the frame of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    /// Depth of its frame: order of replacement.
    pub depth: u8,
    pub pack: usize,
    pub frame: usize,
    pub length: u32,
    pub kind: BlobKind,
    pub blob: BlobId,
}

/// Dead bases that belong together, and the live deltas that need them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    pub dead: Vec<Held>,
    pub deltas: Vec<Held>,
}

/// What happens to a frame of a pack that is repacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing in it is needed.
    Left,
    /// Sealed again as it is.
    Moved,
    /// What is needed in it is encoded anew.
    Recoded,
}

/// What will be done, in numbers. Bytes and packs to write are estimates as far as something is encoded anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanFigures {
    /// Stored bytes of what snapshots need.
    pub live_bytes: u64,
    /// Packs that nothing needs.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs whose needed part is written again.
    pub repacked_packs: u64,
    /// Their bytes.
    pub repacked_bytes: u64,
    /// Of these, packs that are merged because they are small.
    pub merged_packs: u64,
    /// Packs that stay.
    pub kept_packs: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Frames that move as they are.
    pub moved_frames: u64,
    /// Frames of which the needed part is encoded anew.
    pub recoded_frames: u64,
    /// Bytes to read.
    pub read_bytes: u64,
    /// Requests to read.
    pub reads: u64,
    /// Bytes of new packs.
    pub written_bytes: u64,
    /// New packs.
    pub writes: u64,
    /// Dead frames left in packs that stay.
    pub loose_bytes: u64,
    /// Dead bytes that share a frame with needed ones.
    pub neighbour_bytes: u64,
    /// Dead bytes that are bases of live deltas.
    pub base_bytes: u64,
}

impl PlanFigures {
    /// Bytes that are free in the end.
    pub fn freed_bytes(&self) -> u64 {
        (self.deleted_bytes + self.repacked_bytes).saturating_sub(self.written_bytes)
    }

    /// Garbage held by shared frames or bases.
    pub fn held_bytes(&self) -> u64 {
        self.neighbour_bytes + self.base_bytes
    }
}

/// The choice.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Packs to delete.
    pub delete: BTreeSet<usize>,
    /// Packs to repack; true if frames are encoded anew as soon as something in them is dead.
    pub repack: BTreeMap<usize, bool>,
    /// Those of them that are repacked only because they are small: they may as well stay.
    pub merged: BTreeSet<usize>,
    /// Lineages whose dead bases are replaced.
    pub rebase: BTreeSet<usize>,
    pub figures: PlanFigures,
}

fn share(stored: u32, part: u32, plain: u32) -> u64 {
    u64::from(stored) * u64::from(part) / u64::from(plain.max(1))
}

impl FrameUse {
    fn needed(&self) -> u32 {
        self.live + self.base
    }

    fn live_bytes(&self) -> u64 {
        share(self.stored, self.live, self.plain)
    }

    fn base_bytes(&self) -> u64 {
        share(self.stored, self.needed(), self.plain) - self.live_bytes()
    }

    /// Dead bytes beside needed ones.
    fn neighbour_bytes(&self) -> u64 {
        if self.needed() == 0 { 0 } else { u64::from(self.stored) - self.live_bytes() - self.base_bytes() }
    }

    /// Design: a frame moves as it is when at least half of it is live.
    fn fate(&self, anew: bool) -> Fate {
        match self.needed() {
            0 => Fate::Left,
            needed if needed == self.plain || (!anew && 2 * u64::from(needed) >= u64::from(self.plain)) => Fate::Moved,
            _ => Fate::Recoded,
        }
    }

    /// Stored bytes in a new pack.
    fn written(&self, anew: bool) -> u64 {
        match self.fate(anew) {
            Fate::Left => 0,
            Fate::Moved => u64::from(self.stored),
            Fate::Recoded => share(self.stored, self.needed(), self.plain),
        }
    }
}

impl PackUse {
    fn sum(&self, each: impl Fn(&FrameUse) -> u64) -> u64 {
        self.frames.iter().map(each).sum()
    }

    fn is_needed(&self) -> bool {
        self.frames.iter().any(|frame| frame.needed() > 0)
    }

    fn loose(&self) -> u64 {
        self.sum(|frame| if frame.needed() == 0 { frame.stored.into() } else { 0 })
    }

    /// Without bases: what of them could go, their lineage tells.
    fn garbage(&self) -> u64 {
        self.loose() + self.sum(FrameUse::neighbour_bytes)
    }

    fn written(&self, anew: bool) -> u64 {
        self.sum(|frame| frame.written(anew))
    }

    /// Garbage that is gone after a repack.
    fn gain(&self, anew: bool) -> u64 {
        let freed = |frame: &FrameUse| match frame.fate(anew) {
            Fate::Left => frame.stored.into(),
            Fate::Moved => 0,
            Fate::Recoded => frame.neighbour_bytes(),
        };
        self.sum(freed)
    }

    /// True if so little of it would be written that it is to be merged with others.
    fn is_small(&self, written: u64, pack_bytes: usize) -> bool {
        let blobs: u64 = self.frames.iter().map(|frame| u64::from(frame.blobs)).sum();
        let full = |of: usize| (of / choice::SMALL_PART) as u64;
        written > 0 && written < full(pack_bytes) && blobs < full(PACK_BLOBS_MAX)
    }

    /// The fate of each frame when the pack is repacked.
    pub fn fates(&self, anew: bool) -> Vec<Fate> {
        self.frames.iter().map(|frame| frame.fate(anew)).collect()
    }

    /// Byte ranges to read for a repack.
    pub fn ranges(&self, anew: bool) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut start = HEADER_BYTES as u64;
        for (frame, fate) in self.frames.iter().zip(self.fates(anew)) {
            let end = start + u64::from(frame.stored);
            if fate != Fate::Left {
                match ranges.last_mut().filter(|last| start - last.end <= GAP_BYTES) {
                    Some(last) => last.end = end,
                    None => ranges.push(start..end),
                }
            }
            start = end;
        }
        ranges
    }
}

impl Plan {
    /// Chooses. `packs` come without those that a mark names.
    pub fn choose(packs: &[PackUse], lineages: &[Lineage], limits: Limits) -> Self {
        let mut plan = choice::choose(packs, lineages, limits);
        let after = plan.without_dead(packs, lineages);
        // packs that were needed only for the deltas of a lineage go with those that are repacked
        for (number, _) in after.iter().enumerate().filter(|(_, pack)| !pack.fixed && !pack.is_needed()) {
            if !plan.delete.contains(&number) {
                plan.repack.insert(number, false);
            }
        }
        plan.figures = plan.count(packs, &after, lineages, limits.pack_bytes);
        plan
    }

    /// Leaves the packs that were to be repacked as they are.
    pub fn give_up_repack(&mut self, packs: &[PackUse]) {
        self.repack.clear();
        self.merged.clear();
        self.rebase.clear();
        self.figures = self.count(packs, packs, &[], usize::MAX);
    }

    /// The packs as they are used once the chosen dead bases are replaced.
    pub fn without_dead(&self, packs: &[PackUse], lineages: &[Lineage]) -> Vec<PackUse> {
        let mut packs = packs.to_vec();
        for lineage in self.rebase.iter().filter_map(|number| lineages.get(*number)) {
            for dead in &lineage.dead {
                let frame = &mut packs[dead.pack].frames[dead.frame];
                frame.base = frame.base.saturating_sub(dead.length);
            }
            for delta in &lineage.deltas {
                packs[delta.pack].frames[delta.frame].live = 0;
            }
        }
        packs
    }

    fn count(&self, before: &[PackUse], packs: &[PackUse], lineages: &[Lineage], pack_bytes: usize) -> PlanFigures {
        let mut figures = PlanFigures {
            live_bytes: before.iter().map(|p| p.sum(FrameUse::live_bytes)).sum(),
            ..PlanFigures::default()
        };
        let mut new: BTreeMap<(u32, bool), NewPacks> = BTreeMap::new();
        for (number, pack) in packs.iter().enumerate() {
            if self.delete.contains(&number) {
                figures.deleted_packs += 1;
                figures.deleted_bytes += pack.size;
                continue;
            }
            let Some(anew) = self.repack.get(&number).copied() else {
                figures.kept_packs += 1;
                figures.kept_bytes += pack.size;
                figures.loose_bytes += pack.loose();
                figures.neighbour_bytes += pack.sum(FrameUse::neighbour_bytes);
                figures.base_bytes += pack.sum(FrameUse::base_bytes);
                continue;
            };
            figures.repacked_packs += 1;
            figures.repacked_bytes += pack.size;
            figures.merged_packs += u64::from(self.merged.contains(&number));
            figures.base_bytes += pack.sum(FrameUse::base_bytes);
            let ranges = pack.ranges(anew);
            figures.reads += ranges.len() as u64;
            figures.read_bytes += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
            let packer =
                new.entry((pack.group, pack.class == Class::Data)).or_insert_with(|| NewPacks::new(pack_bytes));
            for (frame, fate) in pack.frames.iter().zip(pack.fates(anew)) {
                figures.moved_frames += u64::from(fate == Fate::Moved);
                figures.recoded_frames += u64::from(fate == Fate::Recoded);
                if fate == Fate::Moved {
                    figures.neighbour_bytes += frame.neighbour_bytes();
                }
                packer.push(frame.written(anew), frame.blobs);
            }
        }
        for lineage in self.rebase.iter().filter_map(|number| lineages.get(*number)) {
            let (read, written) = lineage.cost(before);
            figures.reads += (lineage.dead.len() + lineage.deltas.len()) as u64;
            figures.read_bytes += read;
            let Some(first) = lineage.deltas.first() else { continue };
            let place = (before[first.pack].group, first.kind.class() == Class::Data);
            let packer = new.entry(place).or_insert_with(|| NewPacks::new(pack_bytes));
            packer.push(written, u32::try_from(lineage.deltas.len()).unwrap_or(u32::MAX));
        }
        for packer in new.into_values() {
            let (packs, bytes) = packer.end();
            figures.writes += packs;
            figures.written_bytes += bytes;
        }
        figures
    }
}

impl Held {
    fn frame<'p>(&self, packs: &'p [PackUse]) -> &'p FrameUse {
        &packs[self.pack].frames[self.frame]
    }

    /// Its part of the stored bytes of its frame.
    fn bytes(&self, packs: &[PackUse]) -> u64 {
        let frame = self.frame(packs);
        share(frame.stored, self.length, frame.plain)
    }
}

impl Lineage {
    /// Stored bytes of the dead.
    fn dead_bytes(&self, packs: &[PackUse]) -> u64 {
        self.dead.iter().map(|dead| dead.bytes(packs)).sum()
    }

    /// Stored bytes of what would be whole in their place: about as much as is so now, for what several dead bases hold is
    /// seldom the same; less if all that needs them is shorter. Where none is whole, since what they rest on is live, it
    /// is not known what a version compresses to.
    fn whole_bytes(&self, packs: &[PackUse]) -> u64 {
        let whole = || self.dead.iter().filter(|dead| dead.depth == 0);
        let stored: u64 = whole().map(|dead| dead.bytes(packs)).sum();
        let plain: u64 = whole().map(|dead| u64::from(dead.length)).sum();
        let needed: u64 = self.deltas.iter().map(|delta| u64::from(delta.length)).sum();
        if plain == 0 {
            return self.deltas.first().map_or(0, |delta| delta.length.into());
        }
        u64::try_from(u128::from(stored) * u128::from(needed.min(plain)) / u128::from(plain)).unwrap_or(stored)
    }

    /// Garbage that is gone once its dead are replaced: the steps between what is whole and what is needed.
    fn gain(&self, packs: &[PackUse]) -> u64 {
        self.dead_bytes(packs).saturating_sub(self.whole_bytes(packs))
    }

    /// Bytes to read, and to write: what is whole, and the others about as they were.
    fn cost(&self, packs: &[PackUse]) -> (u64, u64) {
        let stored = |held: &Held| u64::from(held.frame(packs).stored);
        let read = self.dead.iter().chain(&self.deltas).map(stored).sum();
        let deltas: u64 = self.deltas.iter().map(stored).sum();
        (read, deltas + self.whole_bytes(packs))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, FrameUse, Limits, PackUse, Plan, Unused};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use vault_format::id::{Class, ObjectId};

    fn pack(number: u8, fixed: bool, frames: &[(u8, u8, u8)]) -> PackUse {
        let frame = |(stored, live, base): &(u8, u8, u8)| {
            let live = u32::from(*live).min(256);
            let base = u32::from(*base).min(256 - live);
            FrameUse { stored: 100 + u32::from(*stored), plain: 256, live, base, blobs: 1 }
        };
        let frames: Vec<FrameUse> = frames.iter().map(frame).collect();
        let size = 2000 + frames.iter().map(|frame| u64::from(frame.stored)).sum::<u64>();
        PackUse { id: ObjectId([number; 32]), class: Class::Data, size, group: 0, frames, fixed }
    }

    #[test]
    fn a_frame_moves_when_half_of_it_is_needed_and_is_encoded_anew_below() {
        let fate = |live, base, anew| FrameUse { stored: 50, plain: 100, live, base, blobs: 3 }.fate(anew);
        assert_eq!(
            [fate(0, 0, false), fate(49, 0, false), fate(50, 0, false)],
            [Fate::Left, Fate::Recoded, Fate::Moved]
        );
        assert_eq!(
            [fate(30, 20, false), fate(99, 0, true), fate(80, 20, true)],
            [Fate::Moved, Fate::Recoded, Fate::Moved]
        );
    }

    #[test]
    fn far_ranges_are_read_apart_and_near_ones_at_once() {
        let needed = |stored, live| FrameUse { stored, plain: 10, live, base: 0, blobs: 1 };
        let frames = vec![needed(100, 10), needed(300_000, 0), needed(200, 10), needed(1000, 0), needed(50, 10)];
        let pack = PackUse { frames, ..pack(1, false, &[]) };
        assert_eq!(pack.ranges(false), [64..164, 300_164..301_414]);
    }

    proptest! {
        #[test]
        fn every_choice_adds_up_and_keeps_to_its_limits(
            packs in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<(u8, u8, u8)>(), 1..6)), 1..30),
            thousandths in 0u64..300,
            repack in prop::option::of(0u64..20_000),
        ) {
            let packs: Vec<PackUse> =
                packs.iter().zip(0..).map(|((fixed, frames), number)| pack(number, *fixed, frames)).collect();
            let limits =
                Limits { unused: Unused::Thousandths(thousandths), repack: repack.unwrap_or(u64::MAX), pack_bytes: 5000, merge_at: 4 };
            let plan = Plan::choose(&packs, &[], limits);
            let figures = plan.figures;
            let total: u64 = packs.iter().map(|pack| pack.size).sum();
            prop_assert_eq!(figures.deleted_bytes + figures.repacked_bytes + figures.kept_bytes, total);
            prop_assert!(figures.repacked_bytes <= limits.repack);
            for (number, pack) in packs.iter().enumerate() {
                let gone = plan.delete.contains(&number);
                prop_assert!(!pack.fixed || !gone && !plan.repack.contains_key(&number));
                prop_assert!(pack.fixed || gone != pack.is_needed());
            }
            // all that can go is gone, or what is left is within the limit
            if repack.is_none() && packs.iter().all(|pack| !pack.fixed) {
                let left = figures.loose_bytes + figures.neighbour_bytes;
                let limit = figures.live_bytes * thousandths / 1000;
                prop_assert!(left <= limit, "{left} of {limit}");
                prop_assert!(figures.loose_bytes <= limit / 4);
            }
        }
    }
}
