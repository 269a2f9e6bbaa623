//! The order of choosing: what nothing needs goes; then packs from which most is freed for what is written again, until
//! the garbage is within its limit; then frames that are encoded anew; then dead bases; last, small packs that become one.
//! Every pack that is taken counts against the limit of what may be repacked.

use super::{FrameUse, Held, Limits, Lineage, PackUse, Plan};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::Class;

/// A pack is small if what is needed of it is less than this part of a full one, in bytes and in blobs.
pub(super) const SMALL_PART: usize = 4;

/// Chooses, without figures.
pub(super) fn choose(packs: &[PackUse], lineages: &[Lineage], limits: Limits) -> Plan {
    let mut choice = Choice::new(packs, lineages, limits);
    choice.move_frames();
    choice.recode_frames();
    choice.replace_bases(lineages);
    choice.merge_small(limits);
    choice.plan
}

/// How many of these packs, or other things, smallest first, are to become one with `moving` bytes that are written anyway: the most of
/// which none is larger than all before it together. So each time that a byte is written again it lies among twice as
/// many as before, and is so but a dozen times, however often prune runs; and what is left grows from pack to pack.
pub(in crate::prune) fn merged(sizes: &[u64], moving: u64) -> usize {
    let (mut before, mut most) = (moving, 0);
    for (number, size) in (1..).zip(sizes) {
        if *size <= before {
            most = number;
        }
        before += size;
    }
    most
}

/// Puts the most gain for what is written first; ties in the order of packs.
fn by_worth(candidates: &mut [(u64, u64, usize)]) {
    candidates
        .sort_by_key(|(gain, cost, pack)| (Reverse(u128::from(*gain) * 1_000_000 / u128::from((*cost).max(1))), *pack));
}

/// Packs of one place and class that are merged with what moves there anyway.
#[derive(Default)]
struct Small {
    /// Bytes that move.
    moving: u64,
    /// With the bytes that they take.
    packs: Vec<(u64, usize)>,
}

/// The choice while it is made.
struct Choice<'p> {
    packs: &'p [PackUse],
    plan: Plan,
    /// Garbage that is kept by the choice so far, and the part of it that lies in dead frames.
    unused: u64,
    loose: u64,
    limit: u64,
    /// Bytes of packs that may still be repacked.
    left: u64,
}

impl<'p> Choice<'p> {
    fn new(packs: &'p [PackUse], lineages: &[Lineage], limits: Limits) -> Self {
        let is_dead = |(number, pack): (usize, &PackUse)| (!pack.fixed && !pack.is_needed()).then_some(number);
        let delete: BTreeSet<usize> = packs.iter().enumerate().filter_map(is_dead).collect();
        let kept = || packs.iter().enumerate().filter(|(number, _)| !delete.contains(number)).map(|(_, pack)| pack);
        let live: u64 = packs.iter().map(|pack| pack.sum(FrameUse::live_bytes)).sum();
        let dead: u64 = lineages.iter().map(|lineage| lineage.dead_bytes(packs)).sum();
        let reducible: u64 = lineages.iter().map(|lineage| lineage.gain(packs)).sum();
        // the rest of the bases would be there in any case, under other names
        let limit = limits.unused.of(live + dead - reducible);
        let (unused, loose) = (kept().map(PackUse::garbage).sum::<u64>() + reducible, kept().map(PackUse::loose).sum());
        let plan = Plan { delete, ..Plan::default() };
        Self { packs, plan, unused, loose, limit, left: limits.repack }
    }

    fn candidates(&self, anew: bool) -> Vec<(u64, u64, usize)> {
        let free = |number: &usize| !self.plan.delete.contains(number) && !self.packs[*number].fixed;
        let mut out: Vec<_> = (0..self.packs.len())
            .filter(free)
            .map(|number| (self.packs[number].gain(anew), self.packs[number].written(anew), number))
            .filter(|(gain, ..)| *gain > 0)
            .collect();
        by_worth(&mut out);
        out
    }

    /// Takes a pack if the budget allows it.
    fn take(&mut self, number: usize, anew: bool) -> bool {
        let pack = &self.packs[number];
        if !self.plan.repack.contains_key(&number) {
            if pack.size > self.left {
                return false;
            }
            self.left -= pack.size;
            self.loose -= pack.loose();
        }
        let before = self.plan.repack.insert(number, anew).map_or(0, |anew| pack.gain(anew));
        self.unused = self.unused.saturating_sub(pack.gain(anew) - before);
        true
    }

    /// Dead frames cost only a copy of their neighbours, so that little of them is left: a quarter of the limit.
    fn move_frames(&mut self) {
        for (_, _, number) in self.candidates(false) {
            if self.unused <= self.limit && self.loose <= self.limit / 4 {
                break;
            }
            self.take(number, false);
        }
    }

    /// Frames of which the larger part lives are encoded anew only for the limit.
    fn recode_frames(&mut self) {
        for (_, _, number) in self.candidates(true) {
            if self.unused <= self.limit {
                break;
            }
            self.take(number, true);
        }
    }

    /// Every run leaves a pack or two, however little it stores: those of one place and class become few.
    fn merge_small(&mut self, limits: Limits) {
        let mut places: BTreeMap<(u32, Class), Small> = BTreeMap::new();
        for (number, pack) in self.packs.iter().enumerate() {
            let size = pack.written(self.plan.repack.get(&number).copied().unwrap_or(false));
            let Small { moving, packs: small } = places.entry((pack.group, pack.class)).or_default();
            if self.plan.repack.contains_key(&number) {
                *moving += size;
            } else if !pack.fixed && !self.plan.delete.contains(&number) && pack.is_small(size, limits.pack_bytes) {
                small.push((size, number));
            }
        }
        for Small { moving, packs: mut small } in places.into_values() {
            small.sort_unstable();
            let mut left = self.left;
            let fits = |(_, number): &&(u64, usize)| {
                let rest = left.checked_sub(self.packs[*number].size);
                left = rest.unwrap_or(0);
                rest.is_some()
            };
            small.truncate(small.iter().take_while(fits).count());
            let sizes: Vec<u64> = small.iter().map(|(size, _)| *size).collect();
            small.truncate(merged(&sizes, moving));
            if small.len() >= limits.merge_at.max(2) {
                for (_, number) in small {
                    self.take(number, false);
                    self.plan.merged.insert(number);
                }
            }
        }
    }

    /// Dead bases are replaced by one of the versions that need them, stored whole.
    fn replace_bases(&mut self, lineages: &[Lineage]) {
        let worth =
            |(number, lineage): (usize, &Lineage)| (lineage.gain(self.packs), lineage.cost(self.packs).1, number);
        let mut order: Vec<_> = lineages.iter().enumerate().map(worth).filter(|(gain, ..)| *gain > 0).collect();
        by_worth(&mut order);
        for (gain, _, number) in order {
            if self.unused <= self.limit {
                break;
            }
            let lineage = &lineages[number];
            let packs: BTreeSet<usize> = lineage.dead.iter().map(|dead| dead.pack).collect();
            let size: u64 = packs
                .iter()
                .filter(|pack| !self.plan.repack.contains_key(pack))
                .map(|pack| self.packs[*pack].size)
                .sum();
            let movable = |held: &Held| !self.packs[held.pack].fixed;
            if size > self.left || !lineage.dead.iter().all(movable) || lineage.deltas.is_empty() {
                continue;
            }
            // a dead base that shares a frame would stay in it if the frame moved
            packs.into_iter().for_each(|pack| {
                self.take(pack, true);
            });
            self.unused = self.unused.saturating_sub(gain);
            self.plan.rebase.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn nothing_is_merged_that_is_larger_than_what_it_is_merged_with() {
        assert_eq!(merged(&[], 0), 0);
        assert_eq!(merged(&[5], 0), 0);
        assert_eq!(merged(&[5], 5), 1);
        assert_eq!(merged(&[5, 5, 5], 0), 3);
        assert_eq!(merged(&[1, 5, 6, 100], 0), 3);
        assert_eq!(merged(&[1, 2, 4, 8, 16], 0), 0);
    }

    /// Prune after each few runs of a year: what is written again, and what is left, grows with the logarithm.
    #[test]
    fn a_year_of_small_packs_costs_a_dozen_writes_each_and_leaves_a_dozen() {
        for runs in [1, 7, 24, 168] {
            let (mut packs, mut written, full) = (Vec::<u64>::new(), 0u64, 10_000);
            for run in 1..=8_760u64 {
                packs.push(1);
                if run.is_multiple_of(runs) {
                    packs.sort_unstable();
                    let small = packs.partition_point(|pack| *pack < full);
                    let most = merged(&packs[..small], 0);
                    if most >= 8 {
                        let sum: u64 = packs.drain(..most).sum();
                        packs.push(sum);
                        written += sum;
                    }
                }
            }
            assert!(written <= 14 * 8_760, "{runs}: {written}");
            assert!(packs.len() <= 20 + usize::try_from(runs).unwrap(), "{runs}: {}", packs.len());
        }
    }
}
