//! Which time of a snapshot counts (T5, T6): a pure function from what all of them claim, and when the store received
//! them. A member's claim counts near the arrival; else the arrival does, unless the store seems to have been moved:
//! then all arrivals are those of the move, and what is late is in doubt. No claim places a snapshot behind its
//! arrival, or before one of its writer that it names as seen.

use crate::retention::Counted;
use crate::time::{StoreTime, WallTime};
use std::collections::HashMap;
use std::time::Duration;
use vault_format::id::{ObjectId, WriterId};
use vault_format::mark::SnapshotPlace;

const HOUR: i64 = 3600 * 1_000_000_000;

/// What is known of one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'s> {
    /// Which, and where it lies.
    pub place: SnapshotPlace,
    /// Who signed it.
    pub writer: WriterId,
    /// True if that is the owner.
    pub by_owner: bool,
    /// When its run began, as it says.
    pub time: WallTime,
    /// How long the run took, as it says.
    pub took: Duration,
    /// Snapshots that its writer had seen.
    pub seen: &'s [ObjectId],
    /// When this store received it.
    pub arrived: Option<StoreTime>,
    /// When the owner saw that the store had received it.
    pub pinned: Option<StoreTime>,
}

/// What the owner says of snapshots whose times are in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// They are as old as they say: the store was moved.
    Claimed,
    /// They came when the store says.
    Arrived,
}

/// What is made of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The time that counts.
    pub counted: Counted,
    /// It is late, and may have been moved: the claim counts, but nobody should drop anything by it.
    pub doubtful: bool,
}

impl Claim<'_> {
    fn counted(&self) -> Counted {
        if self.by_owner {
            Counted::of_owner(self.time)
        } else {
            Counted::of_writer(self.time, self.pinned.or(self.arrived))
        }
    }

    /// True if it claims to be older than its arrival can explain, and no pin tells of that.
    fn is_behind(&self) -> bool {
        self.pinned.is_none() && self.counted().is_behind(self.time)
    }
}

/// The arrival to pin for what is late and was never pinned. It came after the last pins were made, so it can't be much
/// older than those, whatever it says.
pub(crate) fn settled(claim: &Claim<'_>, late: Late, last_pins: Option<WallTime>) -> Option<StoreTime> {
    match late {
        // the owner vouches for the claim: it becomes the arrival
        Late::Claimed => Some(claim.time).max(last_pins).map(StoreTime::from_wall).min(claim.arrived),
        Late::Arrived => claim.arrived,
    }
}

/// Judges all claims; verdicts come in their order. `saw_move`: the owner's own objects came in long after they were made.
pub fn judge(claims: &[Claim<'_>], saw_move: bool) -> Vec<Verdict> {
    let until = moved_until(claims, saw_move);
    let mut verdicts: Vec<Verdict> = claims
        .iter()
        .map(|claim| {
            let counted = claim.counted();
            let doubtful = claim.is_behind() && claim.arrived <= until;
            let time = if doubtful { claim.time } else { counted.time };
            Verdict { counted: Counted { time, ..counted }, doubtful }
        })
        .collect();
    follow(claims, &mut verdicts);
    verdicts
}

/// What this store received until then may have come with a move; `None` if it was not moved, as far as can be seen.
fn moved_until(claims: &[Claim<'_>], saw_move: bool) -> Option<StoreTime> {
    let pinned = || claims.iter().filter_map(|claim| claim.pinned.zip(claim.arrived));
    if came_together(claims) || saw_move && pinned().next().is_none() {
        return Some(StoreTime::MAX);
    }
    // what was pinned since tells better than the owner's first objects, which came in late for ever
    let moved = pinned().filter(|(pinned, arrived)| *arrived > *pinned + Duration::from_mins(10));
    moved.map(|(_, arrived)| arrived + Duration::from_hours(26)).max()
}

/// True if two that are late claim to lie further apart than they came in. One wrong clock does not do that; a move does.
fn came_together(claims: &[Claim<'_>]) -> bool {
    let mut late: Vec<(i64, i64)> = Vec::new();
    for claim in claims {
        let counted = claim.counted();
        if claim.is_behind() {
            // the store has it when the run is over, and a run may take hours
            let (made, came) = ((claim.time + claim.took).nanoseconds(), counted.time.nanoseconds());
            let made = made.min(came);
            late.push((made.saturating_sub(came), made.saturating_add(came)));
        }
    }
    // one lies before another by more than an hour in the difference and in the sum of both times
    late.sort_unstable();
    let (mut next, mut least) = (0, i64::MAX);
    late.iter().any(|(difference, sum)| {
        while let Some((_, before)) = late.get(next).filter(|(before, _)| before.saturating_add(HOUR) < *difference) {
            least = least.min(*before);
            next += 1;
        }
        least.saturating_add(HOUR) < *sum
    })
}

/// A snapshot comes behind those of its writer and source that it names as seen, if one of both is late: the order in
/// which they were made is known, whatever the clocks said.
fn follow(claims: &[Claim<'_>], verdicts: &mut [Verdict]) {
    if !verdicts.iter().any(|verdict| verdict.counted.late) {
        return;
    }
    let at: HashMap<ObjectId, usize> = claims.iter().enumerate().map(|(at, claim)| (claim.place.id, at)).collect();
    let mut later: Vec<Vec<usize>> = vec![Vec::new(); claims.len()];
    let mut waits = vec![0_usize; claims.len()];
    for (after, claim) in claims.iter().enumerate().filter(|(_, claim)| !claim.by_owner) {
        for before in claim.seen.iter().filter_map(|id| at.get(id)).copied() {
            let other = &claims[before];
            let is_same = other.writer == claim.writer
                && (other.place.domain, other.place.label) == (claim.place.domain, claim.place.label);
            if is_same && (verdicts[after].counted.late || verdicts[before].counted.late) {
                later[before].push(after);
                waits[after] += 1;
            }
        }
    }
    let mut ready: Vec<usize> = (0..claims.len()).filter(|at| waits[*at] == 0).collect();
    while let Some(before) = ready.pop() {
        let least = verdicts[before].counted.time + Duration::from_nanos(1);
        for after in std::mem::take(&mut later[before]) {
            verdicts[after].counted.time = verdicts[after].counted.time.max(least);
            waits[after] -= 1;
            if waits[after] == 0 {
                ready.push(after);
            }
        }
    }
}
