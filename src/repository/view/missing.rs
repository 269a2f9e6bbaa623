//! Snapshots that others name, that nobody had removed, and that the store does not list (D2): the listing is short, or
//! somebody deleted them. Whoever deletes, or says what of a revoked writer counts, stops at one, for what a snapshot
//! needs can't be told without it. The newest heads, and all of them if the listing is empty, are named by the journal
//! alone, which therefore has to be read before snapshots are listed.

use crate::repository::objects::journal;
use crate::repository::objects::loaded::Verdict;
use crate::repository::objects::marks::{Condemnation, Marks};
use crate::repository::objects::orders::Orders;
use crate::repository::objects::snapshots::Snapshots;
use crate::repository::objects::trust::{Claimant, Trust};
use crate::repository::{Repository, Result};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{DomainId, ObjectId};
use vault_format::name;
use vault_format::name::Name;

/// Snapshots that journal records name.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Each with one of the records.
    named: BTreeMap<ObjectId, Name>,
    /// Domains in whose records some are named.
    pub domains: BTreeSet<DomainId>,
}

impl Heads {
    /// Reads the journal. A record that can't be read names nothing.
    pub fn load(repository: &Repository, trust: &Trust) -> Result<Self> {
        let mut heads = Self::default();
        let mut new = Vec::new();
        for (name, entry) in repository.list(name::JOURNAL)?.0 {
            let known = name.id().and_then(|id| repository.known().heads.get(&id).cloned());
            let Some((header, named)) = known else {
                new.push((name, entry));
                continue;
            };
            // its signature was verified, but its writer may have been revoked since
            let claimant = Claimant { name: &name, header: &header, arrived: None, opens: true };
            if matches!(trust.judge(&claimant, |_| Ok(())), Ok(Verdict::Counts(()))) {
                heads.add(&name, named);
            }
        }
        journal::visit_some(repository, trust, new, &mut |name, header, record| {
            if let Some(id) = name.id() {
                repository.known().heads.insert(id, (*header, record.heads.clone()));
            }
            heads.add(name, record.heads);
        })?;
        Ok(heads)
    }

    fn add(&mut self, name: &Name, named: Vec<ObjectId>) {
        if let (Name::Journal(domain, ..), false) = (name, named.is_empty()) {
            self.domains.insert(*domain);
        }
        for head in named {
            self.named.entry(head).or_insert_with(|| name.clone());
        }
    }

    /// The domain of a record that names a snapshot.
    pub fn domain_of(&self, id: &ObjectId) -> Option<DomainId> {
        match self.named.get(id)? {
            Name::Journal(domain, ..) => Some(*domain),
            _ => None,
        }
    }

    /// A snapshot that is missing and who names it, in words. `now` is this machine's time.
    pub fn missing(&self, snapshots: &Snapshots, orders: &Orders, (marks, now): (&Marks, i64)) -> Option<String> {
        // only a mark of age may have been carried out, at least in part
        let is_open = |mark: &&Condemnation| {
            !mark.swept
                && mark.put_at.is_some_and(|at| u64::try_from(now.saturating_sub(at)).is_ok_and(|age| age < mark.grace))
        };
        let (open, of_age): (Vec<_>, Vec<_>) = marks.condemnations.iter().partition(is_open);
        let (open, of_age) = (snapshots_of(&open), snapshots_of(&of_age));
        let is_missing = |id: &ObjectId| {
            // two prunes may have condemned it, one after the other
            let removed = of_age.contains(id) || orders.state(*id).is_forgotten() && !open.contains(id);
            // what is listed and does not count, of a writer that was revoked, is no gap
            !snapshots.listed.contains(id) && !removed && !orders.quarantined.contains(id)
        };
        // the word of a forgotten one is not needed: it could name what never was
        let by_snapshots = snapshots.all.iter().filter(|one| !one.state.is_forgotten()).flat_map(|one| {
            let ids = one.head.seen.iter().chain(&one.head.parent);
            ids.map(move |id| (id, format!("snapshot {}", one.id.short())))
        });
        let by_records = self.named.iter().map(|(id, name)| (id, name.to_string()));
        let mut missing = by_snapshots.chain(by_records).filter(|(id, _)| is_missing(id));
        missing.next().map(|(id, by)| format!("snapshot {id} is missing, though {by} names it"))
    }
}

fn snapshots_of(marks: &[&Condemnation]) -> BTreeSet<ObjectId> {
    marks.iter().flat_map(|mark| mark.snapshots.iter()).map(|place| place.id).collect()
}
