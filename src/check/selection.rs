//! Which packs a check reads. A part `n` of `t` is a pure function of pack ids, so that `t` runs read everything; a share
//! or a size takes those that were verified longest ago, never before everything else, and chance decides among equals.

use crate::repository::lookup::PackRecord;
use crate::size::Share as Read;
use crate::time::WallTime;
use rand_core::Rng;
use std::collections::HashMap;
use std::time::Duration;
use vault_format::id::ObjectId;

/// When packs were last verified.
#[derive(Debug, Default)]
pub(super) struct Verified(HashMap<ObjectId, WallTime>);

impl Verified {
    /// Notes that packs were verified at a time. A time that has not come yet says nothing.
    pub fn note(&mut self, packs: &[ObjectId], at: WallTime, now: WallTime) {
        if at > now {
            return;
        }
        for pack in packs {
            let known = self.0.entry(*pack).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// When a pack was verified last.
    pub fn at(&self, pack: &ObjectId) -> Option<WallTime> {
        self.0.get(pack).copied()
    }

    fn age(&self, pack: &ObjectId, now: WallTime) -> Option<Duration> {
        self.0.get(pack).filter(|at| **at <= now).map(|at| now.since(*at))
    }
}

/// What decides.
pub(super) struct Selection<'a> {
    pub read: Read,
    /// Packs verified within this time are left out.
    pub max_age: Option<Duration>,
    pub verified: &'a Verified,
    pub now: WallTime,
}

impl Selection<'_> {
    /// The packs to read, with their numbers, and how many were left out because they were verified lately.
    pub fn choose<'p, N>(
        &self,
        packs: impl Iterator<Item = (N, &'p PackRecord)>,
        random: &mut impl Rng,
    ) -> (Vec<(N, &'p PackRecord)>, u64) {
        let mut young = 0;
        let (mut all, mut total) = (Vec::new(), 0u64);
        for (number, pack) in packs {
            total += pack.size;
            let age = self.verified.age(&pack.id, self.now);
            if age.zip(self.max_age).is_some_and(|(age, max)| age <= max) {
                young += u64::from(self.in_part(&pack.id));
            } else if self.in_part(&pack.id) {
                all.push((number, pack, age));
            }
        }
        let limit = match self.read {
            Read::Nothing => 0,
            Read::All | Read::Part { .. } => u64::MAX,
            // at most 2^53 loses nothing, and above that a byte more or less does not matter
            Read::Percent(percent) => (total as f64 * percent / 100.0).ceil() as u64,
            Read::Bytes(bytes) => bytes.max(1),
        };
        if limit != u64::MAX {
            // never verified comes first
            all.sort_by_cached_key(|(_, _, age)| (age.is_some(), age.map(std::cmp::Reverse), random.next_u64()));
        }
        let mut taken = 0u64;
        let chosen = all.into_iter().take_while(|(_, pack, _)| {
            let wanted = taken < limit;
            taken = taken.saturating_add(pack.size);
            wanted
        });
        (chosen.map(|(number, pack, _)| (number, pack)).collect(), young)
    }

    fn in_part(&self, pack: &ObjectId) -> bool {
        let Read::Part { number, of } = self.read else { return true };
        let [a, b, c, d, ..] = pack.0;
        u32::from_be_bytes([a, b, c, d]) % of.max(1) == number.saturating_sub(1)
    }
}
