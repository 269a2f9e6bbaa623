//! How a writer's key stops to count (T4): from the first order on nothing new of it does. What it put before everybody
//! could see that order goes on to count, since others may rely on it by then; a second order says so. Of a stolen key
//! the owner may drop what came since a time (T8), be it accepted or not: one order has it passed over.

use super::Removed;
use crate::error::{Error, Refusal, Result};
use crate::progress::Progress;
use crate::repository::objects::orders::{self, Orders, Revocation};
use crate::repository::view::View;
use crate::repository::view::missing::Missing;
use crate::repository::{Hidden, Repository};
use crate::time::StoreTime;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::Name;
use vault_format::order::Action;

/// Times of stores may be as coarse as this.
const TICK: Duration = Duration::from_secs(2);
/// How often a wait looks whether it was interrupted.
const WAIT_PARTS: u32 = 20;

/// What of a removed key counts no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// How many snapshots of each source.
    pub snapshots: BTreeMap<String, u64>,
    /// Index objects: what they alone tell of is stored in vain.
    pub indexes: u64,
}

impl Dropped {
    /// All snapshots.
    pub fn count(&self) -> u64 {
        self.snapshots.values().sum()
    }
}

/// A key that is about to be revoked.
pub(super) struct Revoking<'r> {
    pub repository: &'r Repository,
    pub writer: WriterId,
    pub domain: DomainId,
    /// What the store received from then on is dropped.
    pub drop_since: Option<StoreTime>,
}

/// What a writer has stored.
struct Stored {
    /// Snapshots, and index objects, that are to count.
    ids: (BTreeSet<ObjectId>, BTreeSet<ObjectId>),
    /// Those of both that are not.
    drops: BTreeSet<ObjectId>,
    dropped: Dropped,
    /// A snapshot, of whomever, that should be listed and is not.
    missing: Option<Missing>,
    /// An order that should be listed and is not.
    hidden: Option<Hidden>,
    /// How many snapshots only the key itself names, and the store does not show.
    unheard: u64,
}

impl Revoking<'_> {
    /// Revokes it; tells how many snapshots still count, and what does not.
    pub fn run(&self, progress: &dyn Progress) -> Result<Removed> {
        let repository = self.repository;
        // one that can't be read could be an earlier word on this writer: then only the next try may accept anything
        let undecided = Orders::load(repository)?.damaged.into_iter().next();
        let (snapshots, indexes) = self.stored(None)?.ids;
        let (known, since) = match Orders::load(repository)?.revocation(self.writer).cloned() {
            // one that was cut off goes on, be it by somebody else, and what was listed just now may have come too late
            Some(Revocation { accepted, since }) => (accepted, since),
            // cut off at once, whatever may be missing
            None => {
                let listed = snapshots.union(&indexes).copied();
                let accepted = listed.filter(|_| undecided.is_none()).collect();
                let name = Name::Order(self.accept(&accepted)?).to_string();
                (accepted, repository.backend().stat(&name)?.modified)
            }
        };
        if let Some(damage) = undecided {
            let (order, problem) = (damage.name.to_string(), damage.to_string());
            return Err(Error::refused(Refusal::UnreadOrder { order, problem }));
        }
        let lag = repository.listing_lag();
        self.wait(2 * lag + TICK, "until the store shows all it wrote", progress)?;
        // somebody else may have revoked it before
        let before = Orders::load(repository)?.revocation(self.writer).and_then(|known| known.since);
        let seen_by_all = since.into_iter().chain(before).min().map(|at| at + lag);
        let Stored { ids: (snapshots, indexes), drops, dropped, missing, hidden, unheard } =
            self.stored(seen_by_all)?;
        if let Some(hidden) = hidden {
            return Err(Error::refused(Refusal::Hidden(Box::new(hidden))));
        }
        if let Some(missing) = missing {
            return Err(Error::refused(Refusal::MissingSnapshot(missing.to_string())));
        }
        let taken_back: Vec<ObjectId> = drops.intersection(&known).copied().collect();
        if !taken_back.is_empty() {
            orders::put(repository, self.domain, Action::Quarantine(taken_back))?;
        }
        let accepted: BTreeSet<ObjectId> = snapshots.union(&indexes).chain(&known).copied().collect();
        if accepted != known {
            self.accept(&accepted)?;
            // as long as its slot is there, prune spares what this order lists
            self.wait(lag, "until everybody sees what of it counts", progress)?;
        }
        Ok(Removed { is_revoked: true, snapshots: snapshots.len() as u64, dropped, unheard, before: None })
    }

    /// What would be dropped now.
    pub fn would_drop(&self) -> Result<Dropped> {
        Ok(self.stored(None)?.dropped)
    }

    fn accept(&self, accepted: &BTreeSet<ObjectId>) -> Result<ObjectId> {
        let (writer, accepted) = (self.writer, accepted.iter().copied().collect());
        Ok(orders::put(self.repository, DomainId::default(), Action::Revoke { writer, accepted })?)
    }

    /// Waits for a store whose listings lag. Can be interrupted.
    fn wait(&self, time: Duration, why: &str, progress: &dyn Progress) -> Result<()> {
        let runtime = self.repository.runtime();
        if time >= Duration::from_mins(1) {
            let minutes = time.as_secs().div_ceil(60);
            progress.note(&format!("the key is cut off; waiting {minutes} minutes {why}"));
        }
        for _ in 0..WAIT_PARTS {
            runtime.check_stopped()?;
            runtime.clock.sleep(time / WAIT_PARTS);
        }
        Ok(())
    }

    /// Snapshots and index objects that the store had received at a time, revoked or not.
    fn stored(&self, until: Option<StoreTime>) -> Result<Stored> {
        let view = View::to_revoke(self.repository, self.writer, self.domain)?;
        // what is rotten can't be vouched for; what the store did not serve just now must not be forgotten
        let mut damaged = view.snapshots.damaged.iter().chain(&view.objects.damaged);
        if let Some(unserved) = damaged.find(|damage| damage.error.backend().is_some()) {
            return Err(unserved.error.clone().into());
        }
        let in_time = |arrived: Option<StoreTime>| until.zip(arrived).is_none_or(|(until, arrived)| arrived <= until);
        let (mut ids, mut drops, mut dropped) =
            (<(BTreeSet<_>, BTreeSet<_>)>::default(), BTreeSet::new(), Dropped::default());
        for one in view.snapshots.all.iter().filter(|one| one.header.writer == self.writer) {
            if self.drops(&one.name(), one.pinned.or(one.arrived))? {
                drops.insert(one.id);
                *dropped.snapshots.entry(one.head.source.clone()).or_default() += 1;
            } else if in_time(one.arrived) {
                ids.0.insert(one.id);
            }
        }
        for object in view.objects.good.iter().filter(|object| object.writer == self.writer) {
            let Some(id) = object.name.id() else { continue };
            if self.drops(&object.name, object.arrived)? {
                drops.insert(id);
                dropped.indexes += 1;
            } else if in_time(object.arrived) {
                ids.1.insert(id);
            }
        }
        let concerns = |one: &Missing| one.concerns_all || one.domains.contains(&self.domain);
        let missing = view.missing().into_iter().find(concerns);
        let hidden = view.hidden().into_iter().find(|one| one.concerns(self.domain));
        Ok(Stored { ids, drops, dropped, missing, hidden, unheard: view.unheard(self.writer) })
    }

    fn drops(&self, name: &Name, arrived: Option<StoreTime>) -> Result<bool> {
        match (self.drop_since, arrived) {
            (None, _) => Ok(false),
            (Some(since), Some(arrived)) => Ok(arrived >= since),
            (Some(_), None) => Err(Error::refused(format!(
                "the store does not tell when {name} came, so it is not known what to drop"
            ))),
        }
    }
}
