//! Carries out the marks that are old enough, or all where nobody writes: copies live blobs that have no other place
//! outside all marks, puts index objects without the condemned packs, and only then deletes index objects, due snapshots
//! and packs, in this order.
//! A crash anywhere leaves every live blob indexed in a pack that is there; the next sweep goes on.

use super::rescue::{Going, rescue};
use super::survey::{self, Survey};
use super::{LeftOut, Options};
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::operation::{Operation, Run};
use crate::repository::index::merge;
use crate::repository::index::merge::Merge;
use crate::repository::objects::marks;
use crate::repository::objects::marks::Condemnation;
use crate::repository::protocol::{DeletionStep, SweepStep};
use crate::repository::view::Doubts;
use crate::repository::{Error, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use vault_format::id::{Class, ObjectId};
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::Name;

/// What a sweep did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
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
    /// Domains that could not be judged: their part of the marks waits.
    pub left_out: Vec<LeftOut>,
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
        self.left_out.extend(later.left_out);
    }
}

/// Carries out every mark that is due. Needs the owner.
pub fn sweep(repository: &Repository, options: &Options) -> Result<SweepReport> {
    sweep_with(&Run::start(repository, Operation::PRUNE), options)
}

pub(super) fn sweep_with(run: &Run, options: &Options) -> Result<SweepReport> {
    let repository = run.repository();
    repository.keys().owner("prune")?;
    let mut sweep = Sweep::new(run, options);
    for step in repository.protocol().sweep() {
        match step {
            SweepStep::FindRipe => {
                if !sweep.find_ripe()? {
                    break;
                }
            }
            SweepStep::Survey => sweep.doubts = sweep.survey()?.doubts.clone(),
            SweepStep::SpareTakenBack => sweep.spare_taken_back()?,
            SweepStep::Rescue => sweep.rescue()?,
            SweepStep::Delete => sweep.delete()?,
            SweepStep::Close => sweep.close()?,
        }
    }
    Ok(sweep.report)
}

/// A sweep on its way.
struct Sweep<'a> {
    run: &'a Run,
    repository: &'a Repository,
    options: &'a Options,
    going: Going,
    survey: Option<Arc<Survey>>,
    /// Domains of which nothing goes.
    doubts: Doubts,
    /// What of the marks may be theirs.
    withheld: BTreeSet<ObjectId>,
    report: SweepReport,
}

impl<'a> Sweep<'a> {
    fn new(run: &'a Run, options: &'a Options) -> Self {
        let (repository, going) = (run.repository(), Going::default());
        let (doubts, withheld, report) = (Doubts::new(), BTreeSet::new(), SweepReport::default());
        Self { run, repository, options, going, survey: None, doubts, withheld, report }
    }

    /// True if there is anything to carry out.
    fn find_ripe(&mut self) -> Result<bool> {
        let nobody_writes = self.options.grace(self.repository).is_zero();
        let (mut ripe, mut hurried) = (Vec::new(), Vec::new());
        for mark in marks::Marks::load(self.repository)?.condemnations {
            if mark.swept {
                continue;
            }
            if mark.grace.is_zero() {
                ripe.push(mark);
            } else if nobody_writes {
                hurried.push(mark);
            } else if mark.must_wait(self.repository)? {
                self.report.waiting += 1;
            } else {
                ripe.push(mark);
            }
        }
        if !hurried.is_empty() {
            ripe.extend(name_again(self.run, &hurried)?);
            ripe.append(&mut hurried);
        }
        let packs = ripe.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
        let snapshots = ripe.iter().flat_map(|mark| mark.snapshots.iter().copied()).collect();
        self.going = Going { marks: ripe, packs, snapshots };
        Ok(!self.going.marks.is_empty())
    }

    /// The one look at what lives, taken when it is first asked for.
    fn survey(&mut self) -> Result<Arc<Survey>> {
        let survey = match self.survey.take() {
            Some(survey) => survey,
            None => Arc::new(Survey::take(self.repository)?),
        };
        Ok(self.survey.insert(survey).clone())
    }

    fn spare_taken_back(&mut self) -> Result<()> {
        let survey = self.survey()?;
        let forgotten = survey.forgotten(self.repository.options());
        self.going.snapshots.retain(|place| forgotten.contains(place));
        Ok(())
    }

    fn rescue(&mut self) -> Result<()> {
        let survey = self.survey()?;
        for domain in survey.domains().into_iter().filter(|domain| !survey.doubts.contains_key(domain)) {
            // whatever lives there now can't be seen, and so can't be rescued
            let hidden = survey.unclear.contains(&domain) && !self.options.without_snapshots;
            if hidden && self.going.packs.iter().any(|pack| survey.tells_of(domain, pack)) {
                return Err(Error::NoSnapshots(domain).into());
            }
            match rescue(self.repository, &survey, domain, &self.going) {
                Ok(rescued) => self.report.rescued_blobs += rescued,
                Err(error) => survey::leave_out(&mut self.doubts, domain, error)?,
            }
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let survey = self.survey()?;
        self.report.left_out = super::left_out(&survey, &self.doubts);
        self.withheld = survey.withheld(&self.doubts).intersection(&self.going.packs).copied().collect();
        self.going.packs.retain(|pack| !self.withheld.contains(pack));
        self.going.snapshots.retain(|place| !self.doubts.contains_key(&place.domain));
        let gone = survey.marks.gone().union(&self.going.packs).copied().collect();
        let mut merges = merge::plan(self.repository.keys().owner_writer(), &survey.objects.good, &gone);
        merges.retain(|merge| !self.doubts.contains_key(&merge.domain()));
        Deletion { sweep: self, survey: &survey, merges, waiting: Vec::new() }.run()
    }

    fn close(&mut self) -> Result<()> {
        let waits = |mark: &&Condemnation| {
            let is_doubted = |place: &SnapshotPlace| self.doubts.contains_key(&place.domain);
            mark.packs.iter().any(|pack| self.withheld.contains(pack)) || mark.snapshots.iter().any(is_doubted)
        };
        for mark in self.going.marks.iter().filter(|mark| !waits(mark)) {
            marks::put(self.repository, &Mark::Swept { mark: mark.id })?;
            self.report.marks += 1;
        }
        Ok(())
    }
}

/// S4: what goes, and the index objects that no longer tell of it.
struct Deletion<'s, 'a> {
    sweep: &'s mut Sweep<'a>,
    survey: &'s Survey,
    merges: Vec<Merge<'s>>,
    /// Merges for which there was no room.
    waiting: Vec<Merge<'s>>,
}

impl Deletion<'_, '_> {
    fn run(mut self) -> Result<()> {
        for step in self.sweep.repository.protocol().deletion() {
            match step {
                DeletionStep::PutIndexes => self.put_indexes()?,
                DeletionStep::DeleteIndexes => self.delete_indexes()?,
                DeletionStep::DeleteCondemned => self.delete_condemned()?,
                DeletionStep::PutWaiting => self.put_waiting()?,
            }
        }
        Ok(())
    }

    fn put_indexes(&mut self) -> Result<()> {
        for merge in std::mem::take(&mut self.merges) {
            match merge.put(self.sweep.repository) {
                Ok(put) => {
                    self.sweep.report.merged_indexes += put;
                    self.merges.push(merge);
                }
                // the old objects tell of all that stays too: on a full disk the packs go first
                Err(Error::Backend(error)) if error.kind == ErrorKind::NoSpace => self.waiting.push(merge),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn delete_indexes(&mut self) -> Result<()> {
        for merge in &self.merges {
            merge.delete_replaced(self.sweep.repository)?;
        }
        Ok(())
    }

    fn delete_condemned(&mut self) -> Result<()> {
        let Sweep { repository, going, report, .. } = &mut *self.sweep;
        for place in &going.snapshots {
            repository.backend().delete(&Name::Snapshot(place.domain, place.label, place.id).to_string())?;
            report.snapshots += 1;
        }
        let present: BTreeMap<_, _> = self.survey.packs.iter().filter(|(id, _)| going.packs.contains(id)).collect();
        for (id, (class, entry)) in present {
            repository.backend().delete(&Name::Pack(*class, *id).to_string())?;
            report.packs += 1;
            report.bytes += entry.size;
        }
        Ok(())
    }

    fn put_waiting(&mut self) -> Result<()> {
        for merge in &self.waiting {
            self.sweep.report.merged_indexes += merge.put(self.sweep.repository)?;
            merge.delete_replaced(self.sweep.repository)?;
        }
        Ok(())
    }
}

/// S6: where nobody writes no mark has to wait: one with a grace of 0 names again what the waiting ones name. A sweep
/// that is cut off then leaves nothing missing that no mark of age explains. What was taken back meanwhile it does not
/// name.
fn name_again(run: &Run, waiting: &[Condemnation]) -> Result<Option<Condemnation>> {
    let repository = run.repository();
    let survey = Survey::take(repository)?;
    let mut forgotten = survey.forgotten(repository.options());
    forgotten.retain(|place| !survey.doubts.contains_key(&place.domain));
    let snapshots: BTreeSet<SnapshotPlace> =
        waiting.iter().flat_map(|mark| mark.snapshots.iter().copied()).filter(|one| forgotten.contains(one)).collect();
    let named: BTreeSet<ObjectId> = waiting.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
    let named = &named - &survey.withheld(&survey.doubts);
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
    Ok(Some(Condemnation { id, packs, snapshots, grace: Duration::ZERO, put_at: None, swept: false }))
}
