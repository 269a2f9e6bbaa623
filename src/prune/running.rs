//! Packs of runs that may still go on (M2). A run that takes days would never end if every prune condemned what it has
//! stored so far: what no snapshot has ever needed stays until its writer takes another snapshot of the same source, or
//! until no run can be that old. Copies that prune itself has made are needed by something, if only by what is
//! forgotten.

use super::need::Need;
use super::survey::Survey;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::time::StoreTime;
use std::collections::BTreeSet;
use vault_format::id::{DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::name::Name;

/// Whose packs they are.
type Author = (DomainId, SourceLabel, WriterId);

fn author(survey: &Survey, pack: &ObjectId) -> Option<Author> {
    let (object, entry) = survey.entry(pack)?;
    let Name::Index(domain, label, _) = object.name else { return None };
    Some((domain, label, entry.writer))
}

/// Packs that are to stay though nothing needs them.
pub(super) fn packs(repository: &Repository, survey: &Survey, needs: &[Need]) -> Result<BTreeSet<ObjectId>> {
    let author_of = |one: &SnapshotEntry| (one.place.domain, one.place.label, one.header.writer);
    let newest = survey.snapshots.last_arrivals(author_of);
    // a wrong clock here can only keep garbage for longer, or not at all
    let (now, lifetime) = (repository.presumed_store_now(), repository.options().run_lifetime);
    let is_running = |id: &ObjectId, arrived: StoreTime| {
        let Some(author) = author(survey, id) else { return false };
        newest.get(&author).is_none_or(|at| *at < arrived) && now.since(arrived) <= lifetime
    };
    let listed = survey.packs.iter().filter(|(id, _)| !survey.marks.names(id));
    let mut running: BTreeSet<ObjectId> = listed
        .filter(|(id, (_, entry))| entry.modified.is_some_and(|at| is_running(id, at)))
        .map(|(id, _)| *id)
        .collect();
    let mut needed = BTreeSet::new();
    for need in needs {
        for id in &running {
            needed.extend(need.needs_of(id)?.then_some(*id));
        }
    }
    running.retain(|id| !needed.contains(id));
    let domains: BTreeSet<DomainId> = running.iter().filter_map(|id| Some(author(survey, id)?.0)).collect();
    for need in needs.iter().filter(|need| domains.contains(&need.domain)) {
        let wished = survey.live(repository, &need.lookup, need.domain, &BTreeSet::new())?.wished;
        for place in wished.iter().flat_map(|(_, id)| need.lookup.known_places(id)) {
            running.remove(&need.lookup.pack(place.pack)?.id);
        }
    }
    Ok(running)
}
