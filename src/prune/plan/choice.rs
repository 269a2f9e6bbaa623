//! The order of choosing: what nothing needs goes; then packs from which most is freed for what is written again, until
//! the garbage is within its limit; then frames that are encoded anew; then dead bases. Every pack that is taken counts
//! against the limit of what may be repacked.

use super::{FrameUse, Held, Limits, Lineage, PackUse, Plan};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Chooses, without figures.
pub(super) fn choose(packs: &[PackUse], lineages: &[Lineage], limits: Limits) -> Plan {
    let mut choice = Choice::new(packs, limits);
    choice.move_frames();
    choice.recode_frames();
    choice.replace_bases(lineages);
    choice.plan
}

/// Puts the most gain for what is written first; ties in the order of packs.
fn by_worth(candidates: &mut [(u64, u64, usize)]) {
    candidates
        .sort_by_key(|(gain, cost, pack)| (Reverse(u128::from(*gain) * 1_000_000 / u128::from((*cost).max(1))), *pack));
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
    fn new(packs: &'p [PackUse], limits: Limits) -> Self {
        let is_dead = |(number, pack): (usize, &PackUse)| (!pack.fixed && !pack.is_needed()).then_some(number);
        let delete: BTreeSet<usize> = packs.iter().enumerate().filter_map(is_dead).collect();
        let kept = || packs.iter().enumerate().filter(|(number, _)| !delete.contains(number)).map(|(_, pack)| pack);
        let limit = limits.unused.of(packs.iter().map(|pack| pack.sum(FrameUse::live_bytes)).sum());
        let (unused, loose) = (kept().map(PackUse::garbage).sum(), kept().map(PackUse::loose).sum());
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

    /// A dead base is replaced by one of the versions that need it, stored whole.
    fn replace_bases(&mut self, lineages: &[Lineage]) {
        let mut order: Vec<(u64, usize)> =
            lineages.iter().enumerate().map(|(number, lineage)| (lineage.dead_bytes(self.packs), number)).collect();
        order.sort_by_key(|(bytes, number)| (Reverse(*bytes), *number));
        for (bytes, number) in order {
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
            self.unused = self.unused.saturating_sub(bytes);
            self.plan.rebase.insert(number);
        }
    }
}
