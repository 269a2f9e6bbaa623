//! Which snapshots a plan will take until some day, if every run succeeds at once: one at each slot.

use super::choice;
use crate::forget::Expected;
use crate::plan::Plan;
use crate::retention::TimeZone;
use crate::time::WallTime;
use std::collections::BTreeMap;

/// More of one source is not reckoned with: a year of every ten minutes.
pub const EXPECTED_MAX: usize = 52_560;

/// What is taken from one moment on and up to another, by source. What is off or only taken by name is not there.
pub fn expected(plan: &Plan, zone: &TimeZone, (from, until): (WallTime, WallTime)) -> BTreeMap<String, Expected> {
    let enabled = plan.sources.iter().filter(|source| source.enabled);
    let of = enabled.map(|source| {
        let times = choice::schedule(zone, source).slots(from, until, EXPECTED_MAX);
        (source.name.clone(), Expected { times, tags: source.tags.clone() })
    });
    of.collect()
}
