//! The moment at which something becomes live: a snapshot, or an order that makes one live again. Marks are looked at,
//! the object is put within a window after that look, and marks are looked at again (W3 to W5). A mark that names what
//! the object relies on must be young both times: its sweep, which looks at snapshots and orders again only after the
//! grace, then sees the object and saves what it needs.

use crate::repository::objects::marks::{Condemnation, Marks, Unreadable};
use crate::repository::objects::orders;
use crate::repository::protocol::CommitStep;
use crate::repository::view::View;
use crate::repository::{Error, Repository, Result};
use crate::time::BootTime;
use std::collections::BTreeSet;
use vault_format::id::{ObjectId, RunId};
use vault_format::name::Name;
use vault_format::order::Action;

/// How often a slow store is given another try.
const TRIES: u32 = 3;

/// What must outlive the commit.
#[derive(Debug)]
pub(crate) struct Relied {
    /// Packs.
    pub packs: BTreeSet<ObjectId>,
    /// A snapshot that is there already.
    pub snapshot: Option<ObjectId>,
    /// Marks that nobody can read, and that were there before anything was relied on: they name none of the packs.
    pub opaque: BTreeSet<ObjectId>,
    /// When the run first looked at the repository.
    pub since: BootTime,
}

impl Relied {
    fn is_named_by(&self, mark: &Condemnation) -> bool {
        let snapshot = mark.snapshots.iter().any(|place| Some(place.id) == self.snapshot);
        snapshot || !mark.packs.is_disjoint(&self.packs)
    }

    /// Every mark that names what is relied on must be young.
    fn validate(&self, repository: &Repository) -> Result<()> {
        let marks = Marks::load_with(repository, Unreadable::NamesAll)?;
        for mark in marks.opaque.iter().filter(|mark| !self.opaque.contains(&mark.id)) {
            // whatever its grace is: only one that lets nobody write is shorter
            if !mark.is_young(repository)? {
                return Err(Error::Condemned(mark.id));
            }
        }
        for mark in marks.condemnations {
            if self.is_named_by(&mark) && !mark.is_young(repository)? {
                return Err(Error::Condemned(mark.id));
            }
        }
        refuse_age(repository, self.since)
    }

    /// The same, known to be so within the commit window.
    fn validate_in_time(&self, repository: &Repository) -> Result<()> {
        let window = repository.options().commit_window;
        let clock = &repository.runtime().clock;
        for _ in 0..TRIES {
            let started = clock.elapsed();
            self.validate(repository)?;
            if clock.elapsed().since(started) <= window {
                return Ok(());
            }
        }
        Err(Error::TooSlow(window))
    }
}

/// W6: marks may be gone after twice the life of a run, and what they named looks as if it were never condemned.
pub(crate) fn refuse_age(repository: &Repository, since: BootTime) -> Result<()> {
    let lifetime = repository.options().run_lifetime;
    let age = repository.runtime().clock.elapsed().since(since);
    if age > lifetime { Err(Error::TooOld(lifetime)) } else { Ok(()) }
}

/// W3 to W5: validates, puts the object, validates again. It is committed when this returns.
pub(crate) fn commit(repository: &Repository, relied: &Relied, (name, bytes): (&Name, &[u8])) -> Result<()> {
    for step in repository.protocol().commit() {
        match step {
            CommitStep::LookInTime => relied.validate_in_time(repository)?,
            CommitStep::Put => repository.put(name, bytes)?,
            CommitStep::Look => relied.validate(repository)?,
        }
    }
    Ok(())
}

/// Forgets what a run has put, but too late to be safe: a sweep may not have seen it. Needs the owner.
pub fn forget_late(repository: &Repository, run: RunId) -> Result<()> {
    let view = View::to_read(repository)?;
    for snapshot in view.snapshots.visible().filter(|snapshot| snapshot.head.run == run) {
        orders::put(repository, snapshot.place.domain, Action::Forget(vec![snapshot.id]))?;
    }
    Ok(())
}
