//! What was run, by whom, and how it ended; and a head to keep elsewhere: the id of a record that names the newest
//! snapshot of each source and the newest orders, and follows all other records. Who shows that id to a check later
//! learns whether the store still shows all that was there, by the rules of what is missing (D2, D5); `chain` tells
//! the same of records.

pub mod chain;

use crate::error::Result;
use crate::operation::{Ending, Operation, Run};
use crate::repository::Repository;
use crate::repository::objects::chain::NEWEST_MAX;
use crate::repository::view::View;
use crate::time::WallTime;
use std::collections::{BTreeSet, HashMap};
use vault_format::id::{DomainId, ObjectId, RunId, WriterId};
use vault_format::journal::{Record, RunOutcome};

/// One record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its id.
    pub id: ObjectId,
    /// The domain of whoever ran it.
    pub domain: DomainId,
    /// What it says.
    pub record: Record,
    writer: WriterId,
}

/// Which records are wanted; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this source.
    pub source: Option<String>,
    /// Only those of this operation.
    pub operation: Option<String>,
    /// Only those that ended so.
    pub outcome: Option<RunOutcome>,
    /// Only of runs that began then or later.
    pub since: Option<WallTime>,
    /// Only of runs that began then or before.
    pub until: Option<WallTime>,
}

impl Filter {
    /// True if a record is wanted.
    pub fn takes(&self, record: &Record) -> bool {
        let started = WallTime::new(record.started);
        self.source.as_ref().is_none_or(|source| *source == record.source)
            && self.operation.as_ref().is_none_or(|operation| *operation == record.operation)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.since.is_none_or(|since| since <= started)
            && self.until.is_none_or(|until| started <= until)
    }
}

/// The journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Journal {
    /// All records that this key can open, oldest first.
    pub entries: Vec<Entry>,
    /// Records that can't be used, with the reason.
    pub damaged: Vec<String>,
    /// A record that names the newest of everything; `None` if there is none, and none could be put.
    pub head: Option<ObjectId>,
    /// Why none could be put.
    pub warning: Option<String>,
    /// What is there.
    pub view: View,
}

/// Reads the journal; puts a record for the head unless one that the owner or this key signed says it all already, and
/// follows all others.
pub fn read(repository: &Repository) -> Result<Journal> {
    let run = Run::start(repository, Operation::JOURNAL);
    let mut entries = Vec::new();
    let view = View::to_read_journal(repository, &mut |name, header, record| {
        let (Some(id), Some(domain)) = (name.id(), name.domain()) else { return };
        entries.push(Entry { id, domain, record: record.clone(), writer: header.writer });
    })?;
    sort(&mut entries);
    // a copy under another month is no second run
    entries.dedup_by_key(|entry| entry.id);
    let keys = repository.keys();
    let newest = view.snapshots.newest(&BTreeSet::new());
    let orders: Vec<ObjectId> = view.orders.chain.newest().into_iter().take(NEWEST_MAX).collect();
    let is_believed = |entry: &&Entry| [keys.owner_writer(), keys.writer()].contains(&entry.writer);
    let says_all = |entry: &&Entry| {
        let Record { heads, orders: seen, .. } = &entry.record;
        newest.iter().all(|id| heads.contains(id)) && orders.iter().all(|id| seen.contains(id))
    };
    let named: BTreeSet<ObjectId> = entries.iter().flat_map(|entry| entry.record.after.iter().copied()).collect();
    let last: Vec<ObjectId> = entries.iter().map(|entry| entry.id).filter(|id| !named.contains(id)).collect();
    // all other records lie before it: one that is taken out later is missed
    let is_last = |entry: &&Entry| last == [entry.id];
    let known = entries.iter().rev().filter(is_believed).find(|entry| is_last(entry) && says_all(entry));
    let head = match known {
        Some(entry) => Ok(entry.id),
        None => run.conclude(Ending { heads: newest, ..Ending::done("a head to keep elsewhere") }),
    };
    // whoever audits may only be allowed to read
    let warning = head.as_ref().err().map(|error| format!("there is no head to keep, since none can be put: {error}"));
    let damaged = view.heads.damaged.iter().map(ToString::to_string).collect();
    Ok(Journal { entries, damaged, head: head.ok(), warning, view })
}

/// Oldest first, and of one run its begin before its end, whichever of the two says that it came earlier.
fn sort(entries: &mut [Entry]) {
    let mut begun: HashMap<RunId, i64> = HashMap::new();
    for Entry { record, .. } in entries.iter() {
        let first = begun.entry(record.run).or_insert(record.started);
        *first = record.started.min(*first);
    }
    entries.sort_by_key(|Entry { id, record, .. }| {
        let is_end = record.outcome != RunOutcome::Begun;
        (begun.get(&record.run).copied(), record.run, is_end, record.duration, *id)
    });
}

impl Entry {
    /// What to call whoever ran it: what the record says, else the label of its domain.
    pub fn who(&self, view: &View) -> String {
        match self.record.actor.as_str() {
            "" => view.snapshots.domains.show(self.domain),
            actor => actor.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Filter, Record, RunOutcome, WallTime, sort};
    use vault_format::id::{DomainId, ObjectId, RunId, WriterId};

    #[test]
    fn a_run_begins_before_it_ends_whatever_its_records_say() {
        let entry = |run: u8, started, duration, outcome| Entry {
            id: ObjectId([9 - run; 32]),
            domain: DomainId([0; 16]),
            record: Record { run: RunId([run; 16]), started, duration, outcome, ..Record::default() },
            writer: WriterId([0; 16]),
        };
        let (begun, done) = (RunOutcome::Begun, RunOutcome::Done);
        let mut entries = [
            entry(2, 50, 7, done),
            entry(1, 20, 80, done),
            entry(2, 60, 0, begun),
            entry(1, 25, 0, begun),
            entry(3, 40, 1, done),
        ];
        sort(&mut entries);
        let order: Vec<_> = entries.iter().map(|entry| (entry.record.run.0[0], entry.record.outcome)).collect();
        assert_eq!(order, [(1, begun), (1, done), (3, done), (2, begun), (2, done)]);
    }

    #[test]
    fn a_filter_takes_what_fits_all_of_it() {
        let record = Record {
            source: "uploads".into(),
            operation: "snapshot".into(),
            outcome: RunOutcome::Failed,
            started: 100,
            ..Record::default()
        };
        let any = Filter::default;
        let fits = |filter: Filter| filter.takes(&record);
        let text = |text: &str| Some(text.to_owned());
        assert!(fits(any()));
        for (source, is_fit) in [("uploads", true), ("upload", false)] {
            assert_eq!(fits(Filter { source: text(source), ..any() }), is_fit);
        }
        for (operation, is_fit) in [("snapshot", true), ("restore", false)] {
            assert_eq!(fits(Filter { operation: text(operation), ..any() }), is_fit);
        }
        for (outcome, is_fit) in [(RunOutcome::Failed, true), (RunOutcome::Done, false)] {
            assert_eq!(fits(Filter { outcome: Some(outcome), ..any() }), is_fit);
        }
        for (time, is_since, is_until) in [(99, true, false), (100, true, true), (101, false, true)] {
            let time = Some(WallTime::new(time));
            assert_eq!(fits(Filter { since: time, ..any() }), is_since);
            assert_eq!(fits(Filter { until: time, ..any() }), is_until);
        }
        assert!(!fits(Filter { source: text("uploads"), outcome: Some(RunOutcome::Done), ..any() }));
    }
}
