//! A run after its last byte: all that it has put is stored, and indexes tell of it. Only from here something is
//! committed, and nothing can be put any more, so that no snapshot is ever taken over blobs that are nowhere.

use super::{Writer, Written};
use crate::repository::objects::orders;
use crate::repository::write::commit::{self, Relied};
use crate::repository::{Result, encoding};
use std::collections::BTreeSet;
use vault_format::id::ObjectId;
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::salt::Salt;
use vault_format::snapshot::{self, Body, Head, NewSnapshot};

/// A run that is stored and can be committed.
#[must_use = "what was stored is garbage until it is committed"]
pub struct Flushed(pub(super) Writer);

impl Flushed {
    /// What this run has stored, to be asked when it is committed.
    pub fn written(&self) -> Written {
        self.0.written()
    }

    /// All packs that this run relies on, its own among them.
    pub(crate) fn relied_packs(&self) -> Result<BTreeSet<ObjectId>> {
        self.0.relied_packs()
    }

    /// Ends a run whose blobs serve a commit that is there already, or one that comes later.
    pub fn uncommitted(self) -> Written {
        self.0.written()
    }

    fn relied(&self, snapshot: Option<ObjectId>) -> Result<Relied> {
        let opaque = self.0.index.opaque().clone();
        Ok(Relied { packs: self.relied_packs()?, snapshot, opaque, since: self.0.run.since })
    }

    /// W3 to W5: commits a snapshot. It is there when this returns its name.
    pub fn commit(mut self, head: &Head, body: &Body) -> Result<Name> {
        let (repository, run) = (&self.0.repository, &self.0.run);
        let head = &Head { orders: orders::newest(repository), ..head.clone() };
        let new = NewSnapshot { secret: &run.secret, wraps: &run.wraps, head, body };
        let salt = Salt::Fresh(repository.runtime().random());
        let bytes = encoding("a snapshot", snapshot::seal(&run.author(), salt, &new))?;
        let name = Name::Snapshot(run.domain, run.label, ObjectId::of(&bytes));
        commit::commit(repository, &self.relied(None)?, (&name, &bytes))?;
        self.0.keep_pages_for_the_next_run();
        Ok(name)
    }

    /// W3 to W5 for an order that makes a stored snapshot live again: all of its blobs must be relied on or put by now.
    pub fn commit_undelete(self, snapshot: ObjectId) -> Result<ObjectId> {
        let (repository, run) = (&self.0.repository, &self.0.run);
        let (name, bytes) = orders::seal(repository, run.domain, Action::Undelete(vec![snapshot]))?;
        commit::commit(repository, &self.relied(Some(snapshot))?, (&name, &bytes))?;
        Ok(orders::given(repository, &bytes))
    }
}
