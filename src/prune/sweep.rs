//! Carries out the marks that are old enough, or all where nobody writes: copies live blobs that have no other place
//! outside all marks, puts index objects without the condemned packs, and only then deletes index objects, due snapshots
//! and packs, in this order.
//! A crash anywhere leaves every live blob indexed in a pack that is there; the next sweep goes on.

use super::Options;
use super::rescue::rescue;
use super::survey::Survey;
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::operation::{Operation, Run};
use crate::repository::index::merge;
use crate::repository::index::merge::Merge;
use crate::repository::objects::marks;
use crate::repository::objects::marks::Condemnation;
use crate::repository::{Error, Repository, Rule};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{Class, ObjectId};
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::Name;

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Marks carried out.
    pub marks: u64,
    /// Packs deleted.
    pub packs: u64,
    /// Stored bytes freed.
    pub bytes: u64,
    /// Snapshots deleted.
    pub snapshots: u64,
    /// Live blobs that had to be copied first.
    pub rescued_blobs: u64,
    /// Index objects put instead of those that told of what is gone.
    pub merged_indexes: u64,
    /// Marks that are not old enough yet.
    pub waiting: u64,
}

impl SweepReport {
    /// Adds a later sweep of the same run.
    pub(super) fn add(&mut self, later: Self) {
        self.marks += later.marks;
        self.packs += later.packs;
        self.bytes += later.bytes;
        self.snapshots += later.snapshots;
        self.rescued_blobs += later.rescued_blobs;
        self.merged_indexes += later.merged_indexes;
        self.waiting = later.waiting;
    }
}

/// Carries out every mark that is due. Needs the owner.
pub fn sweep(repository: &Repository) -> Result<SweepReport> {
    let options = Options::default();
    sweep_with(&Run::start(repository, Operation::Prune, &options.actor), &options)
}

pub(super) fn sweep_with(run: &Run, options: &Options) -> Result<SweepReport> {
    let repository = run.repository();
    repository.keys().owner("prune")?;
    let mut report = SweepReport::default();
    let keeps = |rule| repository.options().keeps(rule);
    let nobody_writes = options.grace(repository).is_zero();
    let (mut ripe, mut hurried) = (Vec::new(), Vec::new());
    let early = if keeps(Rule::SurveyAfterAge) { None } else { Some(Survey::take(repository)?) };
    // S1: the ages first, the listing of snapshots only after it
    for mark in marks::Marks::load(repository)?.condemnations {
        if mark.swept {
            continue;
        }
        if mark.grace == 0 {
            ripe.push(mark);
        } else if nobody_writes {
            hurried.push(mark);
        } else if u64::try_from(mark.age(repository)?).is_ok_and(|age| age >= mark.grace) {
            ripe.push(mark);
        } else {
            report.waiting += 1;
        }
    }
    if !hurried.is_empty() {
        ripe.extend(name_again(run, &hurried)?);
        ripe.append(&mut hurried);
    }
    if ripe.is_empty() {
        return Ok(report);
    }
    let survey = early.map_or_else(|| Survey::take(repository), Ok)?;
    let forgotten = survey.forgotten(repository.options());
    let forgotten: BTreeSet<SnapshotPlace> = forgotten.map(|snapshot| snapshot.place).collect();
    let is_due = |place: &SnapshotPlace| forgotten.contains(place) || !keeps(Rule::OrdersAgain);
    let due: BTreeSet<SnapshotPlace> =
        ripe.iter().flat_map(|mark| mark.snapshots.iter().copied()).filter(is_due).collect();
    let packs: BTreeSet<ObjectId> = ripe.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
    for domain in survey.domains() {
        // whatever lives there now can't be seen, and so can't be rescued
        let hidden = survey.unclear.contains(&domain) && !options.without_snapshots;
        if hidden && packs.iter().any(|pack| survey.tells_of(domain, pack)) {
            return Err(Error::NoSnapshots(domain).into());
        }
        report.rescued_blobs += rescue(repository, &survey, domain, (&ripe, &packs, &due))?;
    }
    delete(repository, &survey, (&packs, &due), &mut report)?;
    for Condemnation { id, .. } in ripe {
        marks::put(repository, &Mark::Swept { mark: id })?;
        if !keeps(Rule::KeepMarks) {
            repository.backend().delete(&Name::Mark(id).to_string())?;
        }
        report.marks += 1;
    }
    Ok(report)
}

/// S6: where nobody writes no mark has to wait: one with a grace of 0 names again what the waiting ones name. A sweep
/// that is cut off then leaves nothing missing that no mark of age explains. What was taken back meanwhile it does not
/// name.
fn name_again(run: &Run, waiting: &[Condemnation]) -> Result<Option<Condemnation>> {
    let repository = run.repository();
    let survey = Survey::take(repository)?;
    let forgotten = survey.forgotten(repository.options());
    let forgotten: BTreeSet<SnapshotPlace> = forgotten.map(|snapshot| snapshot.place).collect();
    let snapshots: BTreeSet<SnapshotPlace> =
        waiting.iter().flat_map(|mark| mark.snapshots.iter().copied()).filter(|one| forgotten.contains(one)).collect();
    let named: BTreeSet<ObjectId> = waiting.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
    let class_of = |id: ObjectId| survey.packs.get(&id).map(|(class, _)| (*class, id));
    let listed: BTreeSet<(Class, ObjectId)> = named.into_iter().filter_map(class_of).collect();
    if listed.is_empty() && snapshots.is_empty() {
        return Ok(None);
    }
    let packs = listed.iter().map(|(_, id)| *id).collect();
    let snapshots: Vec<SnapshotPlace> = snapshots.into_iter().collect();
    run.announce(survey.snapshots.newest(&BTreeSet::new()))?;
    let mark = Mark::Condemn { packs: listed.into_iter().collect(), snapshots: snapshots.clone(), grace: 0 };
    let id = marks::put(repository, &mark)?;
    Ok(Some(Condemnation { id, packs, snapshots, grace: 0, put_at: None, swept: false }))
}

/// S4: index, then index objects, snapshots, packs.
fn delete(
    repository: &Repository,
    survey: &Survey,
    (packs, due): (&BTreeSet<ObjectId>, &BTreeSet<SnapshotPlace>),
    report: &mut SweepReport,
) -> Result<()> {
    let gone = survey.marks.gone().union(packs).copied().collect();
    let merges = merge::plan(repository, &survey.objects.objects, &gone);
    let in_order = repository.options().keeps(Rule::IndexBeforeDelete);
    let mut later: Vec<&Merge<'_>> = Vec::new();
    for merge in &merges {
        if !in_order {
            merge.delete_replaced(repository)?;
        }
        match if in_order { merge.put(repository) } else { Ok(0) } {
            Ok(0) if !in_order => later.push(merge),
            Ok(put) => {
                report.merged_indexes += put;
                merge.delete_replaced(repository)?;
            }
            // the old objects tell of all that stays too: on a full disk the packs go first
            Err(Error::Backend(error)) if error.kind == ErrorKind::NoSpace => later.push(merge),
            Err(error) => return Err(error.into()),
        }
    }
    for place in due {
        repository.backend().delete(&Name::Snapshot(place.domain, place.label, place.id).to_string())?;
        report.snapshots += 1;
    }
    let present: BTreeMap<_, _> = survey.packs.iter().filter(|(id, _)| packs.contains(id)).collect();
    for (id, (class, entry)) in present {
        repository.backend().delete(&Name::Pack(*class, *id).to_string())?;
        report.packs += 1;
        report.bytes += entry.size;
    }
    for merge in later {
        report.merged_indexes += merge.put(repository)?;
        merge.delete_replaced(repository)?;
    }
    Ok(())
}
