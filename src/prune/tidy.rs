//! What is left to do once nothing waits: many small index objects become few, and marks that were carried out long ago
//! go. A mark must outlive every run that may still rely on what it named; entries of its packs leave the index first.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::index::merge;
use crate::repository::objects::index_objects::IndexObjects;
use crate::repository::objects::marks::{Marks, Swept};
use crate::repository::objects::trust::Trust;
use crate::repository::view::Doubts;
use crate::time::StoreTime;
use vault_format::name::Name;

/// Merges index objects, of those domains that could be judged, and deletes old marks; returns how many objects were put and how many marks went.
pub(super) fn tidy(repository: &Repository, doubts: &Doubts) -> Result<(u64, u64)> {
    let marks = Marks::load(repository)?;
    let old = old(repository, &marks)?;
    if old.is_empty() && !merge::is_crowded(repository)? {
        return Ok((0, 0));
    }
    let objects = IndexObjects::load(repository, &Trust::load(repository)?, None)?;
    let mut put = 0;
    let merges = merge::plan(repository.keys().owner_writer(), &objects.good, &marks.gone());
    for merge in merges.into_iter().filter(|merge| !doubts.contains_key(&merge.domain())) {
        put += merge.put(repository)?;
        merge.delete_replaced(repository)?;
    }
    for swept in &old {
        // in this order: a mark that nothing says was carried out would be carried out again
        repository.backend().delete(&Name::Mark(swept.mark).to_string())?;
        repository.backend().delete(&Name::Mark(swept.id).to_string())?;
    }
    Ok((put, old.len() as u64))
}

/// S5: marks that were carried out longer ago than twice the life of a run.
fn old<'m>(repository: &Repository, marks: &'m Marks) -> Result<Vec<&'m Swept>> {
    let most = 2 * repository.options().run_lifetime;
    let is_old = |swept: &&Swept, now: StoreTime| swept.put_at.is_some_and(|at| now.since(at) > most);
    let now = repository.presumed_store_now();
    let mut old: Vec<&Swept> = marks.swept.iter().filter(|swept| is_old(swept, now)).collect();
    if !old.is_empty() {
        // the store's clock decides; it is asked only if it may say yes
        let now = repository.store_now()?;
        old.retain(|swept| is_old(swept, now));
    }
    Ok(old)
}
