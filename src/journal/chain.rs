//! Whether the journal is whole: each record names those before it, so one that somebody took out, or that a store
//! hides, is missed by those behind it; one that was changed is not what its name or its signature says. Two machines
//! that write with one key at once fork the chain, and one without memory begins it anew, which is no offence. The last
//! record of a chain is missed only by the machine that put it, and by who kept its id.

use crate::error::Result;
use crate::repository::objects::journal::{self, month};
use crate::repository::view::View;
use crate::repository::{Damage, Error, Ignored, Reason, Repository};
use crate::time::WallTime;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::header::{HEADER_BYTES, Header, Kind};
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::{self, Name};

/// What of the journal can be shown to be whole.
#[derive(Debug)]
#[non_exhaustive]
pub struct Chain {
    /// Records that count.
    pub records: u64,
    /// Records of keys that the owner has removed, which nobody can verify any more.
    pub revoked: u64,
    /// Each writer, and what is found of it.
    pub writers: Vec<Writer>,
    /// The head that was kept elsewhere, if it is not among them.
    pub lost_head: Option<ObjectId>,
    /// What is there.
    pub view: View,
}

/// The records of one writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// Who; zero for what does not tell.
    pub id: WriterId,
    /// Its domain.
    pub domain: DomainId,
    /// When its first run began.
    pub first: Option<WallTime>,
    /// When its last run began.
    pub last: Option<WallTime>,
    /// Its last record.
    pub head: Option<ObjectId>,
    /// Records that its own name, or that this machine put, and that are not there.
    pub missing: BTreeSet<ObjectId>,
    /// Records in its name that nobody signed whose key is known here.
    pub unknown_signer: BTreeSet<String>,
    /// Records in its name that are not what was written, or not where.
    pub altered: BTreeSet<String>,
    /// How often two of its records follow the same one, or none.
    pub concurrent: u64,
}

impl Chain {
    /// True if nothing is missing, altered, or of a stranger.
    pub fn is_whole(&self) -> bool {
        let is_whole = |one: &Writer| one.missing.is_empty() && one.unknown_signer.is_empty() && one.altered.is_empty();
        self.lost_head.is_none() && self.writers.iter().all(is_whole)
    }
}

/// One record that counts.
struct Link {
    writer: WriterId,
    domain: DomainId,
    started: i64,
    after: Vec<ObjectId>,
    /// It lies under another month than that of its run, so that nobody finds it there.
    is_misplaced: bool,
}

/// Reads and judges all records that this key opens; `head` is the id of one that was kept elsewhere.
pub fn verify(repository: &Repository, head: Option<ObjectId>) -> Result<Chain> {
    repository.distrust_cache();
    let mut links: BTreeMap<ObjectId, Link> = BTreeMap::new();
    let view = View::to_read_journal(repository, &mut |name, header, record| {
        let (Name::Journal(domain, year, number, id), writer) = (name, header.writer) else { return };
        let is_misplaced = month(record) != (*year, *number);
        let link = Link { writer, domain: *domain, started: record.started, after: record.after.clone(), is_misplaced };
        // a copy under another month is no second record, and is told of all the same
        let known = links.entry(*id).or_insert(link);
        known.is_misplaced |= is_misplaced;
    })?;
    // what the store refused is no damage, and without a slot or an order nobody knows who may have signed
    let mut damaged = view.orders.damaged.iter().chain(&view.trust.damaged).chain(&view.heads.damaged);
    if let Some(silent) = damaged.find(|damage| damage.error.is_unanswered()) {
        return Err(silent.error.clone().into());
    }
    let gone = gone(repository, &view, &links)?;
    let mut writers = Writers::new();
    for (id, link) in &links {
        let writer = entry(&mut writers, (link.domain, link.writer));
        writer.missing.extend(link.after.iter().filter(|id| gone.contains(id)));
        if link.is_misplaced {
            writer.altered.insert(id.to_string());
        }
        let started = Some(WallTime::new(link.started));
        writer.first = writer.first.filter(|first| Some(*first) <= started).or(started);
        writer.last = writer.last.max(started);
    }
    if let Some(own) = journal::remembered(repository).filter(|own| gone.contains(own)) {
        let keys = repository.keys();
        entry(&mut writers, (keys.domain(), keys.writer())).missing.insert(own);
    }
    let revoked = note_unusable(repository, &view, &mut writers);
    for ((_, id), writer) in &mut writers {
        (writer.head, writer.concurrent) = ends(&links, *id);
    }
    let lost_head = head.filter(|head| !links.contains_key(head));
    let (records, writers) = (links.len() as u64, writers.into_values().collect());
    Ok(Chain { records, revoked, writers, lost_head, view })
}

/// What is named, by records or by this machine's memory, and not there at a second look either: one may have been put,
/// and named, while the first was taken.
fn gone(repository: &Repository, view: &View, links: &BTreeMap<ObjectId, Link>) -> Result<BTreeSet<ObjectId>> {
    let named = links.values().flat_map(|link| link.after.iter().copied()).chain(journal::remembered(repository));
    let is_explained = |id: &ObjectId| view.heads.listed.contains(id) || view.trust.quarantined().contains(id);
    let mut gone: BTreeSet<ObjectId> = named.filter(|id| !is_explained(id)).collect();
    if !gone.is_empty() {
        let listed = repository.list(name::JOURNAL)?.0;
        gone.retain(|id| !listed.iter().any(|(name, _)| name.id() == Some(*id)));
        let months: Vec<_> = listed.into_iter().filter(|(name, _)| matches!(name, Name::Month(..))).collect();
        if !gone.is_empty() && !months.is_empty() {
            journal::visit(repository, &view.trust, months, &mut |name, _, _| {
                gone.remove(&name.id().unwrap_or_default());
            })?;
        }
    }
    Ok(gone)
}

/// Notes records that can't be used; returns how many there are of keys that were removed.
fn note_unusable(repository: &Repository, view: &View, writers: &mut Writers) -> u64 {
    for Damage { name, error } in &view.heads.damaged {
        let writer = entry(writers, (name.domain().unwrap_or_default(), writer_of(repository, name)));
        let what = if matches!(error, Error::LostSlot(_)) { &mut writer.unknown_signer } else { &mut writer.altered };
        what.insert(name.id().unwrap_or_default().to_string());
    }
    let mut revoked = 0;
    for Ignored { name, reason } in &view.heads.ignored {
        let id = name.id().unwrap_or_default();
        match reason {
            Reason::Revoked => revoked += 1,
            // the owner has looked at it
            _ if view.trust.quarantined().contains(&id) => {}
            _ => {
                let key = (name.domain().unwrap_or_default(), writer_of(repository, name));
                entry(writers, key).unknown_signer.insert(id.to_string());
            }
        }
    }
    revoked
}

type Writers = BTreeMap<(DomainId, WriterId), Writer>;

fn entry(writers: &mut Writers, (domain, id): (DomainId, WriterId)) -> &mut Writer {
    writers.entry((domain, id)).or_insert_with(|| Writer { id, domain, ..Writer::default() })
}

/// In whose name a record is that can't be used, as far as its first bytes still tell.
fn writer_of(repository: &Repository, name: &Name) -> WriterId {
    let start = Some(0..HEADER_BYTES as u64);
    let bytes = repository.backend().get(&name.to_string(), start).unwrap_or_default();
    Header::decode(&bytes, Kind::Journal, repository.id()).map_or_else(|_| WriterId::default(), |header| header.writer)
}

/// The last record of a writer, and how often its chain forks.
fn ends(links: &BTreeMap<ObjectId, Link>, writer: WriterId) -> (Option<ObjectId>, u64) {
    let own: BTreeMap<&ObjectId, &Link> = links.iter().filter(|(_, link)| link.writer == writer).collect();
    let mut followers: BTreeMap<Option<&ObjectId>, u64> = BTreeMap::new();
    for link in own.values() {
        let before: Vec<&ObjectId> = link.after.iter().filter(|id| own.contains_key(id)).collect();
        if before.is_empty() {
            *followers.entry(None).or_default() += 1;
        }
        before.into_iter().for_each(|id| *followers.entry(Some(id)).or_default() += 1);
    }
    let concurrent = followers.values().map(|count| count.saturating_sub(1)).sum();
    let last = own.iter().filter(|(id, _)| !followers.contains_key(&Some(**id)));
    let last = last.max_by_key(|(id, link)| (link.started, **id)).map(|(id, _)| **id);
    (last, concurrent)
}

#[cfg(test)]
mod tests {
    use super::{DomainId, Link, ObjectId, WriterId, ends};
    use std::collections::BTreeMap;

    const OWN: WriterId = WriterId([1; 16]);

    /// Records by their numbers, each behind some; they begin one after the other.
    fn links(records: &[(u8, &[u8])]) -> BTreeMap<ObjectId, Link> {
        let link = |(number, after): &(u8, &[u8])| {
            let after = after.iter().map(|number| ObjectId([*number; 32])).collect();
            let started = i64::from(*number);
            let link = Link { writer: OWN, domain: DomainId::default(), started, after, is_misplaced: false };
            (ObjectId([*number; 32]), link)
        };
        records.iter().map(link).collect()
    }

    #[test]
    fn a_fork_is_counted_and_is_no_gap() {
        let last = |number: u8| Some(ObjectId([number; 32]));
        assert_eq!(ends(&links(&[]), OWN), (None, 0));
        assert_eq!(ends(&links(&[(1, &[]), (2, &[1]), (3, &[2])]), OWN), (last(3), 0));
        // two that follow the same one, and one that has seen both
        assert_eq!(ends(&links(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3])]), OWN), (last(4), 1));
        // a machine without memory begins anew
        assert_eq!(ends(&links(&[(1, &[]), (2, &[1]), (3, &[])]), OWN), (last(3), 1));
        assert_eq!(ends(&links(&[(1, &[])]), WriterId([2; 16])), (None, 0));
    }
}
