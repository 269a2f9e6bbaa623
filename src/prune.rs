//! Frees what no snapshot needs, in two phases that may be days and machines apart: a mark condemns packs, and after its
//! grace a sweep copies what came to be needed meanwhile and deletes the rest. What lives in half-dead packs, and in many
//! small ones, is written again before their mark. No lock: writers look at marks before they commit. Whatever is missing, unreadable or unknown
//! stops both phases, for a deleter must not guess.

mod months;
mod need;
mod plan;
mod repack;
mod rescue;
mod running;
mod survey;
mod sweep;
mod tidy;

pub use crate::repository::index::unfinished::Unfinished;
pub use plan::{PlanFigures, Unused};
pub use sweep::{SweepReport, sweep};

use crate::backend::{ErrorKind, Leftovers};
use crate::error::{Error, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::progress::{Progress, Silent};
use crate::repository;
use crate::repository::objects::{marks, pins};
use crate::repository::view::Doubts;
use crate::repository::write::writer::{Place, Written, pack_bytes};
use crate::repository::{Doubt, Repository};
use crate::time::{self, StoreTime};
use need::Need;
use plan::{Limits, Lineage, PackUse, Plan};
use repack::Repacked;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use survey::Survey;
use vault_format::id::{Class, DomainId, ObjectId};
use vault_format::journal::RunOutcome;
use vault_format::mark::{Mark, SnapshotPlace};

/// How to prune.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between condemning and deleting; `None` = the repository's. Below its bound only for a quiet repository.
    pub grace: Option<Duration>,
    /// Garbage that may be kept.
    pub max_unused: Unused,
    /// Most stored bytes of packs to repack; `None` = any.
    pub max_repack: Option<u64>,
    /// Small packs of one place are merged once so many of them are worth it.
    pub merge_at: usize,
    /// Free the data of domains of which there is neither a snapshot nor a record of one.
    pub without_snapshots: bool,
    /// Look, but put and delete nothing.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: None,
            max_unused: Unused::Thousandths(100),
            max_repack: None,
            merge_at: 8,
            without_snapshots: false,
            dry_run: false,
        }
    }
}

impl Options {
    fn grace(&self, repository: &Repository) -> Duration {
        self.grace.unwrap_or(repository.options().grace)
    }
}

/// What a mark condemns.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MarkReport {
    /// The mark; `None` if there is nothing to free, or for a dry run.
    pub mark: Option<ObjectId>,
    /// Packs that will be deleted, those that were repacked included.
    pub packs: BTreeSet<(Class, ObjectId)>,
    /// Snapshots that will be deleted.
    pub snapshots: BTreeSet<SnapshotPlace>,
    /// Stored bytes of these packs.
    pub bytes: u64,
    /// What was planned; after a repack with what was really read and written.
    pub figures: PlanFigures,
    /// Domains that could not be judged.
    pub left_out: Vec<LeftOut>,
}

/// A domain of which nothing is condemned or deleted until somebody has helped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftOut {
    /// Which.
    pub domain: DomainId,
    /// What it is called.
    pub name: String,
    /// Why.
    pub doubt: Doubt,
}

/// What a run of prune did, or would do.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What was deleted.
    pub swept: SweepReport,
    /// What was condemned.
    pub marked: MarkReport,
    /// Index objects put in place of many.
    pub merged_indexes: u64,
    /// Old marks deleted.
    pub old_marks: u64,
    /// Journal records, and months of them, put together.
    pub merged_records: u64,
    /// Those that were deleted, since months hold them.
    pub deleted_records: u64,
    /// Kept though no snapshot needs it, for a run that may go on.
    pub unfinished: Unfinished,
    /// Domains that could not be judged, by the sweep or for the mark.
    pub left_out: Vec<LeftOut>,
    /// Those were all that there are: nothing was done.
    pub is_idle: bool,
    /// Temporary files removed, where nobody writes.
    pub leftovers: Leftovers,
    /// Things worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// Each domain once: the mark is judged later than the sweep.
    fn collect_left_out(&mut self) {
        let all = self.marked.left_out.iter().chain(&self.swept.left_out);
        let all: BTreeMap<DomainId, &LeftOut> = all.map(|one| (one.domain, one)).rev().collect();
        self.left_out = all.into_values().cloned().collect();
    }
}

/// Sweeps what is due, or with a grace of zero all that was ever condemned, condemns what nothing needs, and sweeps that
/// too if its grace is zero. Needs the owner.
pub fn prune(repository: &Repository, options: &Options, progress: &dyn Progress) -> Result<Report> {
    repository.keys().owner("prune")?;
    let mut report = Report::default();
    if options.dry_run {
        let prepared = Prepared::new(repository, options, &mut report.notes)?;
        report.swept = prepared.waiting(repository, options);
        (report.marked, report.unfinished) = (prepared.report(), prepared.unfinished);
        report.is_idle = prepared.is_idle();
        report.collect_left_out();
        return Ok(report);
    }
    let run = Run::start(repository, Operation::PRUNE);
    let result = carry_out(&run, options, progress, &mut report);
    report.collect_left_out();
    let ending = ending(&report);
    report.notes.extend(run.finish(&result, ending));
    result.map(|()| report)
}

fn carry_out(run: &Run, options: &Options, progress: &dyn Progress, report: &mut Report) -> Result<()> {
    let repository = run.repository();
    let is_immediate = options.grace(repository).is_zero();
    if is_immediate {
        // first of all: on a full disk this may be the room for a mark
        report.leftovers = repository.backend().remove_unfinished().map_err(repository::Error::from)?;
    }
    report.swept = sweep::sweep_with(run, options)?;
    let mut prepared = Prepared::new(repository, options, &mut report.notes)?;
    report.unfinished = prepared.unfinished;
    // what nothing needs goes first: on a full disk there is room for copies only then
    if !prepared.plan.repack.is_empty() && prepared.mark(run, false)?.is_some() && is_immediate {
        report.swept.add(sweep::sweep_with(run, options)?);
    }
    report.marked = prepared.carry_out(run, progress, &mut report.notes)?;
    report.is_idle = prepared.is_idle();
    if let Err(error) = pins::pin(repository, &prepared.survey.snapshots) {
        report.notes.push(format!("the times of new snapshots were not pinned: {error}"));
    }
    let doubts = std::mem::take(&mut prepared.doubts);
    drop(prepared);
    if is_immediate && report.marked.mark.is_some() {
        report.swept.add(sweep::sweep_with(run, options)?);
    }
    (report.merged_indexes, report.old_marks) = tidy::tidy(repository, &doubts)?;
    report.merged_indexes += report.swept.merged_indexes;
    let records = months::tidy(repository, options, &doubts)?;
    (report.merged_records, report.deleted_records) = (records.merged, records.deleted);
    Ok(())
}

/// Condemns all packs that no live snapshot needs, and repacks those that few need. Needs the owner.
pub fn mark(repository: &Repository, options: &Options) -> Result<MarkReport> {
    repository.keys().owner("prune")?;
    let run = Run::start(repository, Operation::PRUNE);
    let mut prepared = Prepared::new(repository, options, &mut Vec::new())?;
    if options.dry_run { Ok(prepared.report()) } else { prepared.carry_out(&run, &Silent, &mut Vec::new()) }
}

/// A survey and the plan made of it.
struct Prepared {
    survey: Survey,
    needs: Vec<Need>,
    packs: Vec<PackUse>,
    places: Vec<Place>,
    lineages: Vec<Lineage>,
    plan: Plan,
    grace: Duration,
    unfinished: Unfinished,
    /// Snapshots to condemn.
    due: BTreeSet<SnapshotPlace>,
    /// Packs that are condemned by now.
    marked: BTreeSet<usize>,
    last: Option<ObjectId>,
    /// Domains of which nothing is condemned.
    doubts: Doubts,
}

impl Prepared {
    fn new(repository: &Repository, options: &Options, notes: &mut Vec<String>) -> Result<Self> {
        let survey = Survey::take(repository)?;
        let mut due = survey.forgotten(repository.options());
        let (mut needs, mut doubts) = (Vec::new(), survey.doubts.clone());
        for domain in survey.domains().into_iter().filter(|domain| !survey.doubts.contains_key(domain)) {
            match Need::of(repository, &survey, domain, &due) {
                Ok(need) => needs.push(need),
                Err(error) => survey::leave_out(&mut doubts, domain, error)?,
            }
        }
        due.retain(|place| !doubts.contains_key(&place.domain));
        let grace = options.grace(repository);
        let mut fixed = young_packs(repository, &survey, grace, options.dry_run)?;
        let running = if grace.is_zero() { BTreeSet::new() } else { running::packs(repository, &survey, &needs)? };
        let unfinished = unfinished(repository, &survey, (&fixed, grace), &running);
        fixed.extend(unclear_packs(&survey, options, notes)?);
        fixed.extend(survey.withheld(&doubts));
        fixed.extend(running);
        let (packs, places) = need::packs(&survey, &needs, &fixed)?;
        let numbers: HashMap<ObjectId, usize> = packs.iter().map(|pack| pack.id).zip(0..).collect();
        let mut lineages: Vec<Lineage> = Vec::new();
        for need in &needs {
            lineages.extend(need.lineages(&numbers)?);
        }
        let limits = Limits {
            unused: options.max_unused,
            repack: options.max_repack.unwrap_or(u64::MAX),
            pack_bytes: pack_bytes(repository),
            merge_at: options.merge_at,
        };
        let plan = Plan::choose(&packs, &lineages, limits);
        let due = due.into_iter().filter(|place| !survey.is_due_already(place)).collect();
        let marked = BTreeSet::new();
        Ok(Self { survey, needs, packs, places, lineages, plan, grace, unfinished, due, marked, last: None, doubts })
    }

    /// What earlier marks name: all of it would be deleted where nobody writes.
    fn waiting(&self, repository: &Repository, options: &Options) -> SweepReport {
        let open: Vec<_> = self.survey.marks.condemnations.iter().filter(|mark| !mark.swept).collect();
        let marks = open.len() as u64;
        if !options.grace(repository).is_zero() {
            return SweepReport { waiting: marks, ..SweepReport::default() };
        }
        let named: BTreeSet<&ObjectId> = open.iter().flat_map(|mark| &mark.packs).collect();
        let packs: Vec<u64> =
            named.into_iter().filter_map(|id| self.survey.packs.get(id)).map(|(_, entry)| entry.size).collect();
        let is_named = |place: &&SnapshotPlace| open.iter().any(|mark| mark.snapshots.contains(place));
        let snapshots = self.survey.forgotten(repository.options()).iter().filter(is_named).count() as u64;
        let bytes = packs.iter().sum();
        SweepReport { marks, packs: packs.len() as u64, bytes, snapshots, ..SweepReport::default() }
    }

    /// True if no domain could be judged.
    fn is_idle(&self) -> bool {
        !self.doubts.is_empty() && self.survey.domains().iter().all(|domain| self.doubts.contains_key(domain))
    }

    fn chosen(&self, repacked: bool) -> BTreeSet<usize> {
        let repacked = self.plan.repack.keys().filter(|_| repacked);
        self.plan.delete.iter().chain(repacked).copied().collect()
    }

    fn report(&self) -> MarkReport {
        let chosen: Vec<&PackUse> = self.chosen(true).into_iter().map(|number| &self.packs[number]).collect();
        MarkReport {
            mark: self.last,
            packs: chosen.iter().map(|pack| (pack.class, pack.id)).collect(),
            snapshots: self.due.clone(),
            bytes: chosen.iter().map(|pack| pack.size).sum(),
            figures: self.plan.figures,
            left_out: left_out(&self.survey, &self.doubts),
        }
    }

    /// M3: one mark for what no mark of this run names yet.
    fn mark(&mut self, run: &Run, repacked: bool) -> Result<Option<ObjectId>> {
        if !repacked {
            self.prove(&[], false)?;
        }
        let fresh: BTreeSet<usize> = self.chosen(repacked).difference(&self.marked).copied().collect();
        let snapshots: Vec<SnapshotPlace> = self.due.iter().filter(|_| self.last.is_none()).copied().collect();
        if fresh.is_empty() && snapshots.is_empty() {
            return Ok(None);
        }
        let packs: BTreeSet<(Class, ObjectId)> =
            fresh.iter().map(|number| &self.packs[*number]).map(|pack| (pack.class, pack.id)).collect();
        let grace = time::nanoseconds(self.grace);
        if self.last.is_none() {
            // a listing that shows nothing when this is carried out can't be true
            let heads = self.survey.snapshots.newest(&BTreeSet::new());
            run.announce(heads)?;
        }
        let mark = Mark::Condemn { packs: packs.into_iter().collect(), snapshots, grace };
        self.last = Some(marks::put(run.repository(), &mark)?);
        self.marked.extend(fresh);
        Ok(self.last)
    }

    /// M2 and M3: copies and their index, then the mark.
    fn carry_out(&mut self, run: &Run, progress: &dyn Progress, notes: &mut Vec<String>) -> Result<MarkReport> {
        let mut written = Vec::new();
        if !self.plan.repack.is_empty() {
            progress.expect(self.plan.figures.repacked_packs, self.plan.figures.read_bytes);
            match repack::repack(run.repository(), self, progress) {
                Ok(Repacked { figures, written: new, doubts, stay }) => {
                    (self.plan.figures, written) = (figures, new);
                    self.leave_whole(doubts, &stay);
                }
                Err(Error::Repository(repository::Error::Backend(error))) if error.kind == ErrorKind::NoSpace => {
                    notes.push(
                        "no room to repack: only what nothing needs is condemned; prune again once that is free".into(),
                    );
                    self.plan.give_up_repack(&self.packs);
                }
                Err(error) => return Err(error),
            }
        }
        self.prove(&written, true)?;
        self.mark(run, true)?;
        Ok(self.report())
    }

    /// Packs of domains in which something could not be read stay as they are, and single ones that are not worth it.
    fn leave_whole(&mut self, doubts: Doubts, stay: &BTreeSet<usize>) {
        let (packs, places) = (&self.packs, &self.places);
        let is_doubted = |number: &usize| {
            let place = usize::try_from(packs[*number].group).ok().and_then(|group| places.get(group));
            place.is_some_and(|place| doubts.contains_key(&place.domain))
        };
        let figures = &mut self.plan.figures;
        for (number, _) in self.plan.repack.extract_if(.., |number, _| stay.contains(number) || is_doubted(number)) {
            figures.merged_packs -= u64::from(self.plan.merged.contains(&number));
            figures.repacked_packs -= 1;
            figures.repacked_bytes -= packs[number].size;
            figures.kept_packs += 1;
            figures.kept_bytes += packs[number].size;
        }
        self.doubts.extend(doubts);
    }

    /// Nothing is condemned before every live blob was seen to have a place without it.
    fn prove(&mut self, written: &[Vec<Written>], repacked: bool) -> Result<()> {
        let going = self.chosen(repacked).into_iter().map(|number| self.packs[number].id).collect();
        match repack::lost(&mut self.needs, written, &going)? {
            None => Ok(()),
            Some(blob) => Err(survey::stop(repository::Error::MissingBlob(blob))),
        }
    }
}

fn left_out(survey: &Survey, doubts: &Doubts) -> Vec<LeftOut> {
    let one = |(domain, doubt): (&DomainId, &Doubt)| {
        let (domain, doubt) = (*domain, doubt.clone());
        LeftOut { domain, name: survey.snapshots.domains.show(domain), doubt }
    };
    doubts.iter().map(one).collect()
}

/// Packs in no index may belong to a run that has not put its index yet: they count only once older than the grace.
fn young_packs(repository: &Repository, survey: &Survey, grace: Duration, dry: bool) -> Result<BTreeSet<ObjectId>> {
    let loose: Vec<_> = survey.packs.iter().filter(|(id, _)| !survey.is_indexed(id)).collect();
    // without a grace there is nobody who may go on, and a full disk may have no room to ask for the time
    if loose.is_empty() || grace.is_zero() {
        return Ok(BTreeSet::new());
    }
    let now = match repository.store_now() {
        _ if dry => repository.presumed_store_now(),
        Ok(now) => now,
        // without room for the record that tells the time, nothing is old enough
        Err(repository::Error::Backend(error)) if error.kind == ErrorKind::NoSpace => StoreTime::MIN,
        Err(error) => return Err(error.into()),
    };
    let is_young = |modified: Option<StoreTime>| modified.is_none_or(|at| now.since(at) < grace);
    Ok(loose.into_iter().filter(|(_, (_, entry))| is_young(entry.modified)).map(|(id, _)| *id).collect())
}

/// What stays for a run that may go on: packs in no index for the grace, those that an index tells of for the life of a
/// run.
fn unfinished(
    repository: &Repository,
    survey: &Survey,
    (loose, grace): (&BTreeSet<ObjectId>, Duration),
    running: &BTreeSet<ObjectId>,
) -> Unfinished {
    let mut unfinished = Unfinished::default();
    let loose = loose.iter().map(|id| (id, grace));
    for (id, stays) in loose.chain(running.iter().map(|id| (id, repository.options().run_lifetime))) {
        if let Some((_, entry)) = survey.packs.get(id).filter(|_| !survey.marks.names(id)) {
            unfinished.add(entry.size, entry.modified, stays);
        }
    }
    unfinished
}

/// Packs of domains without snapshots stay: a run may be at its first, or the store hides them.
fn unclear_packs(survey: &Survey, options: &Options, notes: &mut Vec<String>) -> Result<BTreeSet<ObjectId>> {
    let mut fixed = BTreeSet::new();
    for domain in survey.unclear.iter().filter(|_| !options.without_snapshots) {
        if survey.is_empty() {
            return Err(repository::Error::NoSnapshots(*domain).into());
        }
        notes.push(format!("domain {} has data, but no snapshot yet: its data stays", domain.short()));
        fixed.extend(survey.packs.keys().filter(|id| survey.tells_of(*domain, id)));
    }
    Ok(fixed)
}

/// What was done, in words that the user reads too, and in figures.
fn ending(report: &Report) -> Ending {
    let (swept, marked, plan) = (&report.swept, &report.marked, &report.marked.figures);
    let figures = Figures::Prune {
        deleted_packs: swept.packs,
        deleted_bytes: swept.bytes,
        deleted_snapshots: swept.snapshots,
        rescued_blobs: swept.rescued_blobs,
        condemned_packs: marked.packs.len() as u64,
        condemned_bytes: marked.bytes,
        condemned_snapshots: marked.snapshots.len() as u64,
        read_bytes: plan.read_bytes,
        written_bytes: plan.written_bytes,
        live_bytes: plan.live_bytes,
        held_bytes: plan.held_bytes(),
        loose_bytes: plan.loose_bytes,
    };
    let outcome = if report.left_out.is_empty() { RunOutcome::Done } else { RunOutcome::Partial };
    Ending { figures, outcome, ..Ending::done(report.notes.join("; ")) }
}
