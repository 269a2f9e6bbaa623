//! What the journal tells of each source and each task: when it ran, how that ended, how much it was. Whoever decides
//! what is due, judges what is usual or reports on objectives goes by this and needs nothing that a machine remembers.
//! Records of other domains are there as far as the key opens them; a source of the own domain comes before one of the
//! same name elsewhere.

use crate::due::Attempt;
use crate::error::Result;
use crate::operation::{self, Operation};
use crate::repository::Repository;
use crate::repository::view::View;
use crate::time::WallTime;
use crate::usual::{ACCEPTED_FACT, Past, SUSPECT_FACT};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault_format::id::{DomainId, ObjectId};
use vault_format::journal::{Record, RunOutcome};

/// In the record of a snapshot: how the plan describes what is taken, as a hash.
pub const DESCRIPTION_FACT: &str = "description";

/// One run, as its record tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Told {
    /// The record.
    pub record: ObjectId,
    /// When it began.
    pub began: WallTime,
    /// From there to its end.
    pub took: Duration,
    /// How it ended.
    pub outcome: RunOutcome,
    /// In one line.
    pub message: String,
    /// Who ran it.
    pub actor: String,
    /// What it made, or what stands for it.
    pub snapshot: Option<ObjectId>,
    /// By name.
    pub figures: BTreeMap<String, u64>,
    /// By name.
    pub facts: BTreeMap<String, String>,
}

impl Told {
    fn of(record: ObjectId, told: &Record) -> Self {
        Self {
            record,
            began: WallTime::new(told.started),
            took: Duration::from_nanos(told.duration),
            outcome: told.outcome,
            message: told.message.clone(),
            actor: told.actor.clone(),
            snapshot: told.snapshot,
            figures: told.figures.iter().cloned().collect(),
            facts: told.facts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// True if it gave what was wished, be it with gaps, or found that there is nothing new.
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, RunOutcome::Done | RunOutcome::Partial | RunOutcome::Unchanged)
    }

    /// True if it stored something that was not there; or if somebody accepted what was.
    fn is_of_its_own(&self) -> bool {
        matches!(self.outcome, RunOutcome::Done | RunOutcome::Partial) || self.facts.contains_key(ACCEPTED_FACT)
    }

    /// The usual size, if this was suspect.
    pub fn suspect(&self) -> Option<u64> {
        self.facts.get(SUSPECT_FACT)?.parse().ok()
    }

    /// Bytes of the source.
    pub fn bytes(&self) -> u64 {
        self.figures.get("read_bytes").copied().unwrap_or_default()
    }

    /// As an attempt. A check that found damage has looked: to look again at once finds the same.
    pub fn attempt(&self) -> Attempt {
        let has_looked = self.figures.get("findings").is_some_and(|findings| *findings > 0);
        Attempt { began: self.began, ended: self.began + self.took, is_good: self.is_good() || has_looked }
    }

    fn past(&self) -> Past {
        Past {
            bytes: self.bytes(),
            is_suspect: self.suspect().is_some(),
            is_accepted: self.facts.contains_key(ACCEPTED_FACT),
            description: self.facts.get(DESCRIPTION_FACT).cloned().unwrap_or_default(),
        }
    }
}

/// What ran, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<Told>);

impl Runs {
    /// All.
    pub fn all(&self) -> &[Told] {
        &self.0
    }

    /// The newest that gave something.
    pub fn last_good(&self) -> Option<&Told> {
        self.0.iter().rev().find(|told| told.is_good())
    }

    /// The newest that was tried.
    pub fn last(&self) -> Option<&Told> {
        self.0.last()
    }

    /// Those that somebody ran.
    pub fn by(&self, actor: &str) -> Self {
        Self(self.0.iter().filter(|told| told.actor == actor).cloned().collect())
    }

    /// Without those that began behind a moment: a clock that was ahead once hides nothing that came after it.
    pub fn until(&self, moment: WallTime) -> Self {
        Self(self.0.iter().filter(|told| told.began <= moment).cloned().collect())
    }

    /// As attempts.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.iter().map(Told::attempt).collect()
    }

    /// The last good one before those that are suspect, if nobody has accepted a size since.
    pub fn before_suspect(&self) -> Option<ObjectId> {
        let newest = self.0.iter().rev().find(|told| told.is_of_its_own())?;
        newest.suspect()?;
        self.0.iter().rev().filter(|told| told.is_good() && told.suspect().is_none()).find_map(|told| told.snapshot)
    }

    /// Sizes of what was taken; what was found unchanged is the same once more, and tells nothing.
    pub fn sizes(&self) -> Vec<Past> {
        let taken = self.0.iter().filter(|told| told.is_of_its_own());
        taken.map(Told::past).collect()
    }
}

/// What the journal tells.
#[derive(Debug)]
#[non_exhaustive]
pub struct History {
    /// Runs that took a source, by its domain and its name.
    sources: BTreeMap<(DomainId, String), Runs>,
    /// Runs of everything else, by what was run and what it concerned.
    tasks: BTreeMap<(String, String), Runs>,
    own: DomainId,
    /// When the first of all records began.
    first: Option<WallTime>,
    visible: BTreeSet<ObjectId>,
    /// What is there.
    pub view: View,
}

impl History {
    /// Reads it.
    pub fn read(repository: &Repository) -> Result<Self> {
        let mut records: Vec<(DomainId, ObjectId, Record)> = Vec::new();
        let view = View::to_read_journal(repository, &mut |name, _, record| {
            let (Some(id), Some(domain)) = (name.id(), name.domain()) else { return };
            // what has begun is told by its end
            if record.outcome != RunOutcome::Begun {
                records.push((domain, id, Record { verified: Vec::new(), ..record.clone() }));
            }
        })?;
        records.sort_by_key(|(_, id, record)| (record.started, record.duration, *id));
        let own = repository.keys().domain();
        let first = records.first().map(|(_, _, record)| WallTime::new(record.started));
        let visible = view.snapshots.visible().map(|one| one.id).collect();
        let (sources, tasks) = (BTreeMap::new(), BTreeMap::new());
        let mut history = Self { sources, tasks, own, first, visible, view };
        // the packs that a run verified may need more than one record
        let mut seen = BTreeSet::new();
        for (domain, id, record) in records {
            if !seen.insert((record.run, record.operation.clone(), record.source.clone())) {
                continue;
            }
            let told = Told::of(id, &record);
            let is_snapshot = record.operation == operation::name(Operation::SNAPSHOT);
            // refused before it was known of what
            if is_snapshot && record.source.is_empty() {
                continue;
            }
            let runs = if is_snapshot {
                history.sources.entry((domain, record.source)).or_default()
            } else {
                history.tasks.entry((record.operation, record.source)).or_default()
            };
            runs.0.push(told);
        }
        Ok(history)
    }

    /// Runs that took a source: of the own domain, or if that has none, of another one that the key opens.
    pub fn source(&self, name: &str) -> Option<&Runs> {
        let own = self.sources.get(&(self.own, name.to_owned()));
        own.or_else(|| self.sources.iter().find(|((_, other), _)| other == name).map(|(_, runs)| runs))
    }

    /// All sources that were ever taken, each with its domain.
    pub fn sources(&self) -> impl Iterator<Item = (DomainId, &str, &Runs)> {
        self.sources.iter().map(|((domain, name), runs)| (*domain, name.as_str(), runs))
    }

    /// Runs of something else, like `check`, and what it concerned, if anything.
    pub fn task(&self, operation: &str, concerned: &str) -> Option<&Runs> {
        self.tasks.get(&(operation.to_owned(), concerned.to_owned()))
    }

    /// Runs of something else, whatever it concerned.
    pub fn tasks(&self, operation: &str) -> impl Iterator<Item = (&str, &Runs)> {
        let found = self.tasks.iter().filter(move |((one, _), _)| one == operation);
        found.map(|((_, concerned), runs)| (concerned.as_str(), runs))
    }

    /// True if a snapshot is there and was not dropped.
    pub fn is_visible(&self, id: &ObjectId) -> bool {
        self.visible.contains(id)
    }

    /// The own domain, as it is written.
    pub fn domain(&self) -> String {
        self.own.to_string()
    }

    /// How many snapshots of a source of the own domain there are.
    pub fn snapshots_of(&self, name: &str) -> u64 {
        let own = self.view.snapshots.visible().filter(|one| one.place.domain == self.own && one.head.source == name);
        own.count() as u64
    }

    /// When the first thing happened that the journal tells of.
    pub fn first(&self) -> Option<WallTime> {
        self.first
    }

    /// Snapshots and orders that somebody names, and that are not there, in one line each.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.view.missing().into_iter().map(|one| one.to_string());
        missing.chain(self.view.hidden().into_iter().map(|one| one.to_string())).collect()
    }

    /// Snapshots of a source, of the own domain, that the owner has put a tag on.
    pub fn tagged(&self, name: &str, tag: &str) -> Vec<ObjectId> {
        let own = self.view.snapshots.visible().filter(|one| one.place.domain == self.own && one.head.source == name);
        own.filter(|one| one.state.tags(&[]).iter().any(|borne| borne == tag)).map(|one| one.id).collect()
    }

    /// How far the store's clock is from that of this key's machine, as its newest snapshot shows.
    pub fn skew(&self) -> Option<Duration> {
        let writer = self.view.repository().keys().writer();
        let own =
            self.view.snapshots.all.iter().filter(|one| one.header.writer == writer && one.head.original.is_none());
        let (arrived, one) = own.filter_map(|one| Some((one.arrived?, one))).max_by_key(|(arrived, _)| *arrived)?;
        let (arrived, ended) =
            (WallTime::from_store(arrived), one.claimed() + Duration::from_nanos(one.head.statistics.duration));
        Some(arrived.since(ended).max(ended.since(arrived)))
    }
}
