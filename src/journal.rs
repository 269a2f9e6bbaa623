//! What was run, by whom, and how it ended; and a head to keep elsewhere: the id of a record that names the newest
//! snapshot of each source and the newest orders. Who shows that id to a check later learns whether the store still shows
//! all that was there, by the rules of what is missing (D2, D5).

use crate::error::Result;
use crate::operation::{Ending, Operation, Run};
use crate::repository::Repository;
use crate::repository::objects::chain::NEWEST_MAX;
use crate::repository::view::View;
use std::collections::BTreeSet;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::journal::Record;

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

/// The journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Journal {
    /// All records that this key can open, oldest first.
    pub entries: Vec<Entry>,
    /// Records that can't be used, with the reason.
    pub damaged: Vec<String>,
    /// A record that names the newest of everything.
    pub head: ObjectId,
    /// What is there.
    pub view: View,
}

/// Reads the journal; puts a record for the head unless one that the owner or this key signed says it all already.
pub fn read(repository: &Repository) -> Result<Journal> {
    let run = Run::start(repository, Operation::JOURNAL);
    let mut entries = Vec::new();
    let view = View::to_read_journal(repository, &mut |name, header, record| {
        let (Some(id), Some(domain)) = (name.id(), name.domain()) else { return };
        entries.push(Entry { id, domain, record: record.clone(), writer: header.writer });
    })?;
    entries.sort_by_key(|entry| (entry.record.started, entry.record.duration, entry.id));
    let keys = repository.keys();
    let newest = view.snapshots.newest(&BTreeSet::new());
    let orders: Vec<ObjectId> = view.orders.chain.newest().into_iter().take(NEWEST_MAX).collect();
    let is_believed = |entry: &&Entry| [keys.owner_writer(), keys.writer()].contains(&entry.writer);
    let says_all = |entry: &&Entry| {
        let Record { heads, orders: seen, .. } = &entry.record;
        newest.iter().all(|id| heads.contains(id)) && orders.iter().all(|id| seen.contains(id))
    };
    let known = entries.iter().rev().filter(is_believed).find(says_all);
    let head = match known {
        Some(entry) => entry.id,
        None => run.conclude(Ending { heads: newest, ..Ending::done("a head to keep elsewhere") })?,
    };
    let damaged = view.heads.damaged.iter().map(ToString::to_string).collect();
    Ok(Journal { entries, damaged, head, view })
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
