//! The owner's word on when the store received snapshots. Whoever forgets or prunes puts what it saw of that into an
//! order, once for each snapshot; from then on no copy of the store can make them look younger. While times are in doubt
//! nothing is pinned, so that the owner's answer decides, and a pin tells of no time but one that was seen or attested.

use super::orders;
use super::snapshots::Snapshots;
use crate::repository::{Repository, Result};
use std::collections::BTreeMap;
use vault_format::id::{DomainId, ObjectId};
use vault_format::order::Action;

/// Pins in one order: 4 MiB of 16.
const PINS_MAX: usize = 100_000;

/// Pins what is not pinned yet, unless something is in doubt; returns the orders. Needs the owner.
pub(crate) fn pin(repository: &Repository, snapshots: &Snapshots) -> Result<Vec<ObjectId>> {
    if snapshots.all.iter().any(|one| one.doubtful) {
        return Ok(Vec::new());
    }
    let mut pins: BTreeMap<DomainId, Vec<(ObjectId, i64)>> = BTreeMap::new();
    for one in snapshots.all.iter().filter(|one| !one.by_owner && one.state.arrived().is_none()) {
        if let Some(at) = one.pinned.or(one.arrived) {
            pins.entry(one.place.domain).or_default().push((one.id, at.nanoseconds()));
        }
    }
    let mut put = Vec::new();
    for (domain, pins) in pins {
        for some in pins.chunks(PINS_MAX) {
            put.push(orders::put(repository, domain, Action::Arrived(some.to_vec()))?);
        }
    }
    Ok(put)
}
