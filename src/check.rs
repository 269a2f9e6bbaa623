//! Looks whether everything that snapshots need is there, and if asked whether packs read back: name against bytes,
//! directory against index, seal and id of every blob. Only looks, and goes on as far as it can: what is damaged it names
//! once, by object, with how it was noticed and the files that need it. Prune may run meanwhile.

mod finding;
mod objects;
mod packs;
mod scrub;
mod selection;
mod trees;

pub use crate::size::Share as Read;
pub use finding::Finding;
pub use scrub::{Scrub, scrub};

use crate::error::Result;
use crate::operation::{self, Ending, Figures, Operation, Run};
use crate::progress::Progress;
use crate::repository;
use crate::repository::index::vouching;
use crate::repository::lookup::{FrameNumber, PackNumber, PackRecord};
use crate::repository::objects::index_objects::IndexObjects;
use crate::repository::objects::marks;
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::View;
use crate::repository::{Hidden, Repository};
use crate::time::WallTime;
use finding::Findings;
use jiff::Timestamp;
use packs::{Domain, Outcome, Packs};
use selection::{Selection, Verified};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use trees::Trees;
use vault_format::bundle::Role;
use vault_format::id::{DomainId, ObjectId};
use vault_format::journal::RunOutcome as Ended;

/// In the record of a check: when the data was verified, or stored, for which that is longest ago.
pub const OLDEST_FACT: &str = "oldest_verified";

/// How deep to look.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which packs are read, opened and hashed; structure and presence are looked at in any case.
    pub read: Read,
    /// A head that was kept elsewhere: a record that must be there.
    pub head: Option<ObjectId>,
    /// Packs that were verified within this time, by a check or a restore, are not read.
    pub max_age: Option<Duration>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
#[must_use = "it tells of the damage"]
#[non_exhaustive]
pub struct Report {
    /// Damage, each object once; empty = all well at this depth.
    pub findings: Vec<Finding>,
    /// Paths of objects of a kind that only a later version knows, at most 20: prune and repair stop at them.
    pub later: Vec<String>,
    /// Orders that are missing, and what this machine saw and is not there: all of it is among the findings.
    pub hidden: Vec<Hidden>,
    /// When this machine last looked; `None` if never: then what a store hides may not show.
    pub looked: Option<WallTime>,
    /// Objects that do not count, since who made them may not or broke the rules; the notes name each.
    pub uncounted: u64,
    /// Other things worth knowing that are no damage.
    pub notes: Vec<String>,
    /// Beginnings of the ids of snapshots of which repair made a copy of what is left, and their sources.
    pub repaired: Vec<(String, String)>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Those of them that are forgotten, and that prune has not deleted yet.
    pub forgotten: u64,
    /// Packs that the store lists.
    pub packs: u64,
    /// Blobs that the index tells of.
    pub blobs: u64,
    /// Packs read and found good.
    pub verified_packs: u64,
    /// Packs left out because they were verified lately.
    pub skipped_packs: u64,
    /// Stored bytes of packs read.
    pub read_bytes: u64,
    /// When that pack was verified, or if it never was reached the store, for which this is longest ago; `None` if there
    /// is no pack, or the store keeps no times.
    pub oldest_verified: Option<WallTime>,
}

/// Checks a repository as far as the key can see: the owner everything, a client its domain, a writer structure and
/// names only.
pub fn check(repository: &Repository, options: &Options, progress: &dyn Progress) -> Result<Report> {
    let run = Run::start(repository, Operation::CHECK);
    repository.distrust_cache();
    let result = run.attempts(|number| {
        let look = Look::take(repository, options.head)?;
        let (report, verified) = look.judge(options, progress)?;
        // what was swept meanwhile was no damage; its index objects were replaced by others
        if report.findings.is_empty() || number == operation::TRIES || !look.was_swept(repository)? {
            return Ok((report, verified));
        }
        Err(repository::Error::Swept.into())
    });
    let ending = match &result {
        Ok((report, verified)) => Ending { verified: verified.clone(), ..ending(options.read, report) },
        Err(_) => Ending::done(""),
    };
    run.finish(&result, ending).into_iter().for_each(|warning| progress.note(&warning));
    result.map(|(report, _)| report)
}

/// What a walk over the trees of one domain found.
#[derive(Default)]
struct Walked {
    findings: Findings,
    notes: Vec<String>,
}

/// Everything but the content of packs, as it was found. What is committed meanwhile is not missed, only not looked at.
struct Look<'a> {
    repository: &'a Repository,
    /// Its index objects are in `domains`.
    view: View,
    /// Packs that the owner or this key verified.
    verified: Verified,
    domains: BTreeMap<DomainId, IndexObjects>,
    /// Snapshots and index objects that could not be read.
    unreadable: Vec<ObjectId>,
    findings: Findings,
    later: Vec<String>,
    uncounted: u64,
    notes: Vec<String>,
}

impl<'a> Look<'a> {
    fn take(repository: &'a Repository, head: Option<ObjectId>) -> Result<Self> {
        let (mut verified, mut has_head, mut of_keys) = (Verified::default(), head.is_none(), String::new());
        let believed = [repository.keys().owner_writer(), repository.keys().writer()];
        let now = repository.runtime().clock.now();
        let mut view = View::to_check(repository, &mut |name, header, record| {
            has_head |= name.id() == head;
            // that it was added does not say why it is gone
            if record.operation.starts_with("key ") && record.operation != operation::name(Operation::ADD_KEY) {
                of_keys.push_str(&record.message);
            }
            if believed.contains(&header.writer) {
                verified.note(&record.verified, WallTime::new(record.started), now);
            }
        })?;
        let objects = std::mem::take(&mut view.objects);
        let mut findings = Findings::default();
        objects::head(head.filter(|_| !has_head), &mut findings);
        let View { trust, orders, marks, heads, snapshots, .. } = &view;
        for damaged in
            [&trust.damaged, &orders.damaged, &marks.damaged, &heads.damaged, &snapshots.damaged, &objects.damaged]
        {
            findings.add_all(damaged);
        }
        let unreadable =
            snapshots.damaged.iter().chain(&objects.damaged).filter_map(|damage| damage.name.id()).collect();
        let others = repository.others()?;
        let (later, mut notes) = (others.later().collect(), others.notes());
        notes.extend(objects::lost_slots(&view.memory, &of_keys));
        let ignored = [&trust.ignored, &orders.ignored, &marks.ignored, &objects.ignored, &snapshots.ignored];
        let uncounted = ignored.iter().map(|ignored| ignored.len() as u64).sum();
        notes.extend(ignored.into_iter().flatten().map(|ignored| format!("not counted: {ignored}")));
        let mut domains = packs::by_domain(objects);
        for snapshot in &snapshots.all {
            domains.entry(snapshot.place.domain).or_default();
        }
        Ok(Self { repository, view, verified, domains, unreadable, findings, later, uncounted, notes })
    }

    /// Compares everything with everything; returns the packs that were verified too.
    fn judge(&self, options: &Options, progress: &dyn Progress) -> Result<(Report, Vec<ObjectId>)> {
        let repository = self.repository;
        let mut findings = self.findings.clone();
        let (later, notes) = (self.later.clone(), self.notes.clone());
        let mut report = Report { later, uncounted: self.uncounted, notes, ..Report::default() };
        let copies = self.view.snapshots.visible().filter_map(|one| Some((one.repaired_from()?.short(), one)));
        report.repaired = copies.map(|(id, one)| (id, one.head.source.clone())).collect();
        objects::config(repository, &mut findings)?;
        objects::slots(&self.view.trust, &mut findings);
        report.looked = self.view.memory.at;
        report.hidden = objects::heads(&self.view, &mut findings)?;
        let domain = |objects| Domain::new(repository, objects, &self.view.packs, &self.view.marks);
        let domains: BTreeMap<DomainId, Domain<'_>> =
            self.domains.iter().map(|(id, objects)| Ok((*id, domain(objects)?))).collect::<Result<_>>()?;
        let packs = Packs::new(repository, domains.values(), &self.view.packs, &self.view.marks);
        packs.note_loose(&mut report.notes);
        domains.values().for_each(|domain| packs.presence(domain, &mut findings));
        let mut chosen = self.choose(options, &domains, &mut report);
        progress.expect(
            chosen.values().map(|packs| packs.len() as u64).sum(),
            chosen.values().flatten().map(|(_, pack)| pack.size).sum(),
        );
        if options.read == Read::All {
            report.read_bytes += packs.read_loose(&mut report.notes);
        }
        let mut verified = Vec::new();
        for (id, domain) in &domains {
            let chosen = chosen.remove(id).unwrap_or_default();
            let (outcome, walked) = self.look_into((*id, domain), &packs, &chosen, progress)?;
            report.read_bytes += outcome.read_bytes;
            findings.join(outcome.findings);
            findings.join(walked.findings);
            report.notes.extend(walked.notes);
            report.blobs += domain.lookup.blobs().count() as u64;
            self.vouch(*id, &outcome.verified, &mut report.notes);
            verified.extend(outcome.verified);
        }
        if repository.keys().role() == Role::Owner {
            // a run that slept until its packs were swept tells of them when it wakes
            let gone = findings.take_unneeded(packs::MISSING).into_iter();
            report.notes.extend(gone.map(|pack| format!("{pack} is {}; no snapshot needs it", packs::MISSING)));
        }
        if repository.keys().role() == Role::Writer {
            report.notes.push("a writer's key opens no content: only structure and names were checked".into());
        }
        report.verified_packs = verified.len() as u64;
        report.oldest_verified = self.oldest(&domains, &verified);
        report.snapshots = self.view.snapshots.all.len() as u64;
        report.forgotten = report.snapshots.saturating_sub(self.view.snapshots.visible().count() as u64);
        report.packs = self.view.packs.len() as u64;
        report.findings = findings.finish();
        Ok((report, verified))
    }

    fn choose<'d>(
        &self,
        options: &Options,
        domains: &'d BTreeMap<DomainId, Domain<'_>>,
        report: &mut Report,
    ) -> BTreeMap<DomainId, Vec<(PackNumber, &'d PackRecord)>> {
        let runtime = self.repository.runtime();
        let now = runtime.clock.now();
        let (read, max_age) = (options.read, options.max_age);
        let selection = Selection { read, max_age, verified: &self.verified, now };
        let all = domains.iter().flat_map(|(id, domain)| domain.present().map(|(number, pack)| ((*id, number), pack)));
        let (chosen, skipped) = selection.choose(all, &mut runtime.generator());
        report.skipped_packs = skipped;
        let mut by_domain: BTreeMap<DomainId, Vec<(PackNumber, &PackRecord)>> = BTreeMap::new();
        for ((id, number), pack) in chosen {
            by_domain.entry(id).or_default().push((number, pack));
        }
        by_domain
    }

    /// When the pack was verified, or stored, for which that is longest ago.
    fn oldest(&self, domains: &BTreeMap<DomainId, Domain<'_>>, just_now: &[ObjectId]) -> Option<WallTime> {
        let just_now: BTreeSet<&ObjectId> = just_now.iter().collect();
        let now = self.repository.runtime().clock.now();
        let arrived = |pack: &ObjectId| self.view.packs.get(pack).and_then(|(_, entry)| entry.modified);
        let seen = |pack: &ObjectId| match self.verified.at(pack) {
            _ if just_now.contains(pack) => now,
            Some(at) => at,
            None => arrived(pack).map_or(WallTime::MIN, WallTime::from_store),
        };
        let all = domains.values().flat_map(|domain| domain.present()).map(|(_, pack)| seen(&pack.id));
        all.min().filter(|oldest| *oldest > WallTime::MIN)
    }

    /// Reads packs of a domain, and walks the trees of its snapshots: beside that where the store is near, for the walk
    /// leaves a processor idle. It does not know then which frames are bad, so if any is it goes again.
    fn look_into(
        &self,
        (id, domain): (DomainId, &Domain<'_>),
        packs: &Packs<'_>,
        chosen: &[(PackNumber, &PackRecord)],
        progress: &dyn Progress,
    ) -> Result<(Outcome, Walked)> {
        let runtime = self.repository.runtime();
        let walk = |bad: &HashSet<FrameNumber>| {
            let reader = Reader::keeping(self.repository, &domain.lookup, self.repository.options().memory_bytes / 6);
            self.walk(id, Trees::new(packs, &reader, bad, progress))
        };
        let is_beside = !chosen.is_empty() && runtime.workers > 0 && self.repository.backend().is_local();
        let (outcome, early) = if is_beside {
            let (outcome, early) = runtime.beside(|| packs.read(domain, chosen, progress), || walk(&HashSet::new()));
            (outcome, Some(early))
        } else {
            (packs.read(domain, chosen, progress), None)
        };
        runtime.check_stopped()?;
        packs.answered()?;
        let walked = match early.filter(|_| outcome.bad.is_empty()) {
            Some(walked) => walked?,
            None => walk(&outcome.bad)?,
        };
        Ok((outcome, walked))
    }

    /// Walks the trees of a domain's snapshots.
    fn walk(&self, id: DomainId, mut trees: Trees<'_, '_>) -> Result<Walked> {
        let mut notes = Vec::new();
        if self.repository.keys().role() == Role::Writer {
            return Ok(Walked::default());
        }
        let due = self.view.marks.due_snapshots();
        let own = self.view.snapshots.all.iter().filter(|snapshot| snapshot.place.domain == id);
        // a forgotten snapshot that a sweep is removing may have lost its packs already
        let own: Vec<_> = own.filter(|one| one.is_visible() || !due.contains(&one.id)).collect();
        for some in own.chunks(reach::AHEAD) {
            trees.snapshots(some)?;
        }
        if trees.closed > 0 {
            notes.push(format!("{} snapshots can only be read by the owner: a writer took them", trees.closed));
        }
        Ok(Walked { findings: trees.findings, notes })
    }

    /// The owner says which packs of others he has found good (T7). A store may take nothing: that is no damage.
    fn vouch(&self, id: DomainId, good: &[ObjectId], notes: &mut Vec<String>) {
        let objects = self.domains.get(&id).filter(|_| self.repository.keys().role() == Role::Owner);
        let objects = objects.map(|objects| objects.good.as_slice()).unwrap_or_default();
        if let Err(error) = vouching::vouch(self.repository, objects, good) {
            notes.push(format!("the packs of others that are good were not vouched for: {error}"));
        }
    }

    /// True if something that was listed at first is gone now.
    fn was_swept(&self, repository: &Repository) -> Result<bool> {
        let indexes = self.domains.values().flat_map(|objects| &objects.good).filter_map(|object| object.name.id());
        let snapshots = self.view.snapshots.all.iter().map(|snapshot| snapshot.id);
        let before =
            indexes.chain(snapshots).chain(self.view.packs.keys().copied()).chain(self.unreadable.iter().copied());
        Ok(marks::was_swept(repository, before)?)
    }
}

fn ending(read: Read, report: &Report) -> Ending {
    let depth = match read {
        Read::Nothing => "structure".into(),
        Read::All => "all data".into(),
        Read::Part { number, of } => format!("part {number} of {of} of the data"),
        Read::Percent(percent) => format!("{percent}% of the data"),
        Read::Bytes(bytes) => format!("{bytes} bytes of the data"),
    };
    Ending {
        outcome: if report.findings.is_empty() { Ended::Done } else { Ended::Failed },
        figures: Figures::Check {
            findings: report.findings.len() as u64,
            verified_packs: report.verified_packs,
            skipped_packs: report.skipped_packs,
            read_bytes: report.read_bytes,
        },
        facts: report
            .oldest_verified
            .map(|oldest| (OLDEST_FACT, Timestamp::from(oldest).to_string()))
            .into_iter()
            .collect(),
        ..Ending::done(depth)
    }
}
