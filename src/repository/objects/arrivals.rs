//! Which time of a snapshot counts (T5, T6): it follows from what all of them claim, and when the store received them.
//! A member's claim counts near the arrival; else the arrival does, unless the store seems to have been moved: then all
//! arrivals are those of the move, and what is late is in doubt. No claim places a snapshot behind its arrival, or before
//! one of its writer that it names as seen.

use super::snapshots::{SnapshotEntry, Snapshots};
use crate::retention::Counted;
use crate::time::{StoreTime, WallTime};
use std::collections::HashMap;
use std::time::Duration;
use vault_format::id::ObjectId;

const HOUR_NANOSECONDS: i64 = 3600 * 1_000_000_000;

/// What the owner says of snapshots whose times are in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// They are as old as they say: the store was moved.
    Claimed,
    /// They came when the store says.
    Arrived,
}

impl SnapshotEntry {
    fn by_claim(&self) -> Counted {
        if self.by_owner {
            Counted::of_owner(self.claimed())
        } else {
            Counted::of_writer(self.claimed(), self.pinned.or(self.arrived))
        }
    }

    /// True if it claims to be older than its arrival can explain, and no pin tells of that.
    fn is_behind(&self) -> bool {
        self.pinned.is_none() && self.by_claim().is_behind(self.claimed())
    }

    /// The arrival to pin for what is late and was never pinned. It came after the last pins were made, so it can't be
    /// much older than those, whatever it says.
    fn settled(&self, late: Late, last_pins: Option<WallTime>) -> Option<StoreTime> {
        match late {
            // the owner vouches for the claim: it becomes the arrival
            Late::Claimed => Some(self.claimed()).max(last_pins).map(StoreTime::from_wall).min(self.arrived),
            Late::Arrived => self.arrived,
        }
    }
}

impl Snapshots {
    /// Pins what is late and new as the owner says, and counts anew; returns how many there were.
    pub(crate) fn settle(&mut self, late: Late, last_pins: Option<WallTime>, saw_move: bool) -> usize {
        let mut settled = 0;
        for one in self.all.iter_mut().filter(|one| one.is_late_and_new()) {
            one.pinned = one.settled(late, last_pins);
            settled += 1;
        }
        self.count(saw_move);
        settled
    }

    /// Gives each the time that counts, and sorts them by it. `saw_move`: the owner's own objects came in long after they
    /// were made.
    pub(super) fn count(&mut self, saw_move: bool) {
        let until = moved_until(&self.all, saw_move);
        for one in &mut self.all {
            one.counted = one.by_claim();
            one.doubtful = one.is_behind() && one.arrived <= until;
            if one.doubtful {
                one.counted.time = one.claimed();
            }
        }
        follow(&mut self.all);
        self.all.sort_by_key(|one| (one.counted.time, one.id));
    }
}

/// What this store received until then may have come with a move; `None` if it was not moved, as far as can be seen.
fn moved_until(all: &[SnapshotEntry], saw_move: bool) -> Option<StoreTime> {
    let pinned = || all.iter().filter_map(|one| one.pinned.zip(one.arrived));
    if came_together(all) || saw_move && pinned().next().is_none() {
        return Some(StoreTime::MAX);
    }
    // what was pinned since tells better than the owner's first objects, which came in late for ever
    let moved = pinned().filter(|(pinned, arrived)| *arrived > *pinned + Duration::from_mins(10));
    moved.map(|(_, arrived)| arrived + Duration::from_hours(26)).max()
}

/// True if two that are late claim to lie further apart than they came in. One wrong clock does not do that; a move does.
fn came_together(all: &[SnapshotEntry]) -> bool {
    let mut late: Vec<(i64, i64)> = Vec::new();
    for one in all.iter().filter(|one| one.is_behind()) {
        // the store has it when the run is over, and a run may take hours
        let took = Duration::from_nanos(one.head.statistics.duration);
        let (made, came) = ((one.claimed() + took).nanoseconds(), one.by_claim().time.nanoseconds());
        late.push((made.min(came).saturating_sub(came), made.min(came).saturating_add(came)));
    }
    // one lies before another by more than an hour in the difference and in the sum of both times
    late.sort_unstable();
    let (mut next, mut least) = (0, i64::MAX);
    late.iter().any(|(difference, sum)| {
        while let Some((_, before)) =
            late.get(next).filter(|(before, _)| before.saturating_add(HOUR_NANOSECONDS) < *difference)
        {
            least = least.min(*before);
            next += 1;
        }
        least.saturating_add(HOUR_NANOSECONDS) < *sum
    })
}

/// A snapshot comes behind those of its writer and source that it names as seen, if one of both is late: the order in
/// which they were made is known, whatever the clocks said.
fn follow(all: &mut [SnapshotEntry]) {
    if !all.iter().any(|one| one.counted.late) {
        return;
    }
    let at: HashMap<ObjectId, usize> = all.iter().enumerate().map(|(at, one)| (one.id, at)).collect();
    let mut later: Vec<Vec<usize>> = vec![Vec::new(); all.len()];
    let mut waits = vec![0_usize; all.len()];
    for (after, one) in all.iter().enumerate().filter(|(_, one)| !one.by_owner) {
        for before in one.head.seen.iter().filter_map(|id| at.get(id)).copied() {
            let other = &all[before];
            let is_same = other.header.writer == one.header.writer
                && (other.place.domain, other.place.label) == (one.place.domain, one.place.label);
            if is_same && (one.counted.late || other.counted.late) {
                later[before].push(after);
                waits[after] += 1;
            }
        }
    }
    let mut ready: Vec<usize> = (0..all.len()).filter(|at| waits[*at] == 0).collect();
    while let Some(before) = ready.pop() {
        let least = all[before].counted.time + Duration::from_nanos(1);
        for after in std::mem::take(&mut later[before]) {
            all[after].counted.time = all[after].counted.time.max(least);
            waits[after] -= 1;
            if waits[after] == 0 {
                ready.push(after);
            }
        }
    }
}
