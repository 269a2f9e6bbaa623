//! Frees what no snapshot needs, in two phases that may be days and machines apart: a mark condemns packs, and after its
//! grace a sweep copies what came to be needed meanwhile and deletes the rest. No lock: writers look at marks before they
//! commit. Whatever is missing, unreadable or unknown stops both phases, for a deleter must not guess.

mod survey;
mod sweep;

pub use sweep::{SweepReport, sweep};

use crate::error::Result;
use crate::repository::index::PackListing;
use crate::repository::{Repository, marks};
use std::collections::BTreeSet;
use std::time::Duration;
use survey::Survey;
use vault_format::id::{Class, ObjectId};
use vault_format::mark::{Mark, SnapshotPlace};

/// How to prune.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Time between condemning and deleting; `None` = the repository's. Below its bound only for a quiet repository.
    pub grace: Option<Duration>,
    /// Look, but put and delete nothing.
    pub dry_run: bool,
}

/// What a mark condemns.
#[derive(Clone, Debug, Default)]
pub struct MarkReport {
    /// The mark; `None` if there is nothing to free, or for a dry run.
    pub mark: Option<ObjectId>,
    /// Packs that will be deleted.
    pub packs: BTreeSet<(Class, ObjectId)>,
    /// Snapshots that will be deleted.
    pub snapshots: BTreeSet<SnapshotPlace>,
    /// Stored bytes of these packs.
    pub bytes: u64,
}

/// Condemns all packs that no live snapshot needs. Needs the owner.
pub fn mark(repository: &Repository, options: &Options) -> Result<MarkReport> {
    repository.keys().owner("prune")?;
    let survey = Survey::take(repository)?;
    let due: BTreeSet<SnapshotPlace> = survey.forgotten(repository.options()).map(|snapshot| snapshot.place).collect();
    let mut needed: BTreeSet<ObjectId> = BTreeSet::new();
    for domain in survey.domains() {
        needed.extend(survey.needed_packs(repository, domain, &due)?);
    }
    let grace = options.grace.unwrap_or(repository.options().grace);
    let mut report = MarkReport { snapshots: due, ..MarkReport::default() };
    let fresh = young_packs(repository, &survey, grace)?;
    for (id, (class, entry)) in &survey.packs {
        if !needed.contains(id) && !fresh.contains(id) && !survey.marks.names(id) {
            report.packs.insert((*class, *id));
            report.bytes += entry.size;
        }
    }
    report.snapshots.retain(|place| !survey.is_due_already(place));
    if options.dry_run || (report.packs.is_empty() && report.snapshots.is_empty()) {
        return Ok(report);
    }
    let mark = Mark::Condemn {
        packs: report.packs.iter().copied().collect(),
        snapshots: report.snapshots.iter().copied().collect(),
        grace: u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX),
    };
    report.mark = Some(marks::put(repository, &mark)?);
    Ok(report)
}

/// Packs in no index may belong to a run that has not put its index yet: they count only once older than the grace.
fn young_packs(repository: &Repository, survey: &Survey, grace: Duration) -> Result<BTreeSet<ObjectId>> {
    let loose: PackListing =
        survey.packs.iter().filter(|(id, _)| !survey.is_indexed(id)).map(|(id, at)| (*id, at.clone())).collect();
    if loose.is_empty() {
        return Ok(BTreeSet::new());
    }
    let now = repository.store_now()?;
    let grace = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
    let is_young = |modified: Option<i64>| modified.is_none_or(|at| now.saturating_sub(at) < grace);
    Ok(loose.into_iter().filter(|(_, (_, entry))| is_young(entry.modified)).map(|(id, _)| id).collect())
}
