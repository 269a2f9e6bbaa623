//! The small objects: config and its copy, key slots, and the snapshots that something names. What can't be read was
//! found by whoever loads it; here is what only shows when objects are compared with each other.

use super::finding::Findings;
use super::selection::Verified;
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::repository::objects::journal;
use crate::repository::objects::marks::Marks;
use crate::repository::objects::orders::Orders;
use crate::repository::objects::snapshots::Snapshots;
use crate::repository::objects::trust::Trust;
use crate::repository::{Damage, Repository};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::ObjectId;
use vault_format::name::{self, Name};

/// What the journal says that a check must know.
pub(super) struct Told {
    /// Snapshots that records name, each with one of the records.
    heads: BTreeMap<ObjectId, Name>,
    /// Packs that the owner or this key verified.
    pub verified: Verified,
    damaged: Vec<Damage>,
}

impl Told {
    /// Reads the journal. To be done before snapshots are listed: what a record names was put before it.
    pub fn load(repository: &Repository, trust: &Trust) -> Result<Self> {
        let (mut heads, mut verified) = (BTreeMap::new(), Verified::default());
        let believed = [repository.keys().owner_writer(), repository.keys().writer()];
        let now = repository.runtime().clock.now();
        let damaged = journal::visit(repository, trust, &mut |name, header, record| {
            for head in record.heads {
                heads.entry(head).or_insert_with(|| name.clone());
            }
            if believed.contains(&header.writer) {
                verified.note(&record.verified, record.started, now);
            }
        })?;
        Ok(Self { heads, verified, damaged })
    }
}

/// The config opened, so one of the two is good: both should be.
pub(super) fn config(repository: &Repository, findings: &mut Findings) {
    for name in [Name::Config, Name::ConfigCopy] {
        match repository.backend().get(&name.to_string(), None) {
            Ok(bytes) if ObjectId::of(&bytes) == repository.keys().config() => {}
            Ok(_) => findings.add(name, "its bytes are not those that the key vouches for"),
            Err(error) if error.kind == ErrorKind::NotFound => findings.add(name, "missing"),
            Err(error) => findings.add(name, &error.to_string()),
        }
    }
}

/// Whose keys missing slots were nobody can tell, but every repository begins with one of the owner's.
pub(super) fn slots(trust: &Trust, findings: &mut Findings) {
    findings.add_all(&trust.damaged);
    // a damaged slot may be the one
    if trust.owner_slots == 0 && trust.damaged.is_empty() {
        findings.add("the owner's key slot", "missing: no password opens this repository as its owner");
    }
}

/// Snapshots that other heads or the journal name must be there, unless the owner had them removed.
pub(super) fn heads(
    repository: &Repository,
    (told, snapshots): (&Told, &Snapshots),
    (orders, marks): (&Orders, &Marks),
    findings: &mut Findings,
) -> Result<()> {
    findings.add_all(&told.damaged);
    let damaged_ids = snapshots.damaged.iter().filter_map(|damage| damage.name.id());
    let known: BTreeSet<ObjectId> = snapshots.all.iter().map(|snapshot| snapshot.id).chain(damaged_ids).collect();
    let due = marks.due_snapshots();
    let is_missing = |id: &ObjectId| {
        let removed = due.contains(id) || orders.state(*id).is_forgotten() || orders.quarantined.contains(id);
        !known.contains(id) && !removed
    };
    let mut missing: BTreeMap<ObjectId, String> = BTreeMap::new();
    for snapshot in &snapshots.all {
        for id in snapshot.head.seen.iter().chain(&snapshot.head.parent).filter(|id| is_missing(id)) {
            missing.entry(*id).or_insert_with(|| format!("snapshot {}", snapshot.id.short()));
        }
    }
    for (id, by) in told.heads.iter().filter(|(id, _)| is_missing(id)) {
        missing.entry(*id).or_insert_with(|| by.to_string());
    }
    if missing.is_empty() {
        return Ok(());
    }
    // a listing may have lagged behind
    let listed: BTreeSet<ObjectId> =
        repository.list(name::SNAPSHOTS)?.0.iter().filter_map(|(name, _)| name.id()).collect();
    for (id, by) in missing.iter().filter(|(id, _)| !listed.contains(id)) {
        findings.add(format!("{}…/{id}", name::SNAPSHOTS), &format!("missing, though {by} names it"));
    }
    Ok(())
}
