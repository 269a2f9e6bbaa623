//! Keys whose slot is not there any more: removed before, or lost with its object. The owner's records of what was added
//! and removed tell of them, so a removal can be said twice, and a key whose slot somebody has deleted is announced again
//! to be revoked.

use super::revoke::Revoking;
use super::{Draft, Dropped, Entry, Removed, put_slot, recorded, take_away};
use crate::error::{Error, Result};
use crate::operation::{self, Operation};
use crate::progress::Progress;
use crate::repository::objects::orders::Orders;
use crate::repository::view::View;
use crate::repository::{Repository, encoding};
use crate::time::{StoreTime, WallTime};
use std::collections::BTreeMap;
use vault_format::bundle::Role;
use vault_format::facts::Facts;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::key::Key;

/// Fewer digits of an id name no key that is gone: they could be a slip.
const DIGITS_MIN: usize = 4;

const SLOT: &str = "slot";
const ROLE: &str = "role";
const LABEL: &str = "label";
const DOMAIN: &str = "domain";
const VERIFYING: &str = "verifying";
const DROP_SINCE: &str = "drop_since";

/// What the record of a key that comes or goes tells of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Noted {
    /// Name of its slot.
    pub id: ObjectId,
    /// Its role.
    pub role: Role,
    /// In the owner's words.
    pub label: String,
    pub(super) domain: DomainId,
    pub(super) verifying: [u8; 32],
}

impl Noted {
    pub(super) fn facts(&self, drop_since: Option<StoreTime>) -> Facts {
        let known = [
            (SLOT, self.id.to_string()),
            (ROLE, self.role.to_string()),
            (LABEL, self.label.clone()),
            (DOMAIN, self.domain.to_string()),
            (VERIFYING, ObjectId(self.verifying).to_string()),
        ];
        known.into_iter().chain(drop_since.map(|since| (DROP_SINCE, since.nanoseconds().to_string()))).collect()
    }

    fn read(facts: &Facts) -> Option<Self> {
        let role = facts.get(ROLE)?;
        Some(Self {
            id: ObjectId::parse(facts.get(SLOT)?).ok()?,
            role: [Role::Owner, Role::Client, Role::Writer].into_iter().find(|one| one.to_string() == role)?,
            label: facts.get(LABEL)?.to_owned(),
            domain: DomainId::parse(facts.get(DOMAIN)?).ok()?,
            verifying: ObjectId::parse(facts.get(VERIFYING)?).ok()?.0,
        })
    }
}

/// A key without a slot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gone {
    /// As it was.
    pub key: Noted,
    /// When it was removed; `None` if its slot is lost.
    pub removed: Option<WallTime>,
    /// What the store received from then on was dropped.
    dropped_since: Option<StoreTime>,
}

/// The key with this label, or whose id begins so, among those that are gone. Of several the one that still has to be
/// dealt with counts, else the one that was removed last. Needs the owner.
pub fn gone(repository: &Repository, keys: &[Entry], text: &str) -> Result<Option<Gone>> {
    repository.keys().owner("look for a key")?;
    let digits = text.to_ascii_lowercase();
    let is_meant = |Noted { id, label, .. }: &Noted| {
        label == text || (digits.len() >= DIGITS_MIN && id.to_string().starts_with(&digits))
    };
    let is_there = |one: &Noted| keys.iter().any(|key| key.id == one.id || key.info.verifying == one.verifying);
    let mut meant: Vec<Gone> = known(repository)?.into_values().filter(|one| is_meant(&one.key)).collect();
    // an owner's keys are all the same, and without its slot one opens nothing
    meant.retain(|one| one.removed.is_some() || (one.key.role != Role::Owner && !is_there(&one.key)));
    let lost: Vec<Gone> = meant.iter().filter(|one| one.removed.is_none()).cloned().collect();
    match lost.as_slice() {
        [] => Ok(meant.into_iter().max_by_key(|one| one.removed)),
        [only] => Ok(Some(only.clone())),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.key.id.short()).collect();
            Err(Error::refused(format!("key {text:?} is ambiguous: say the id {}", ids.join(" or "))))
        }
    }
}

/// Every key that the owner's records tell of, by its slot.
fn known(repository: &Repository) -> Result<BTreeMap<ObjectId, Gone>> {
    let mut known: BTreeMap<ObjectId, Gone> = BTreeMap::new();
    let own = repository.keys().domain();
    View::to_read_journal(repository, &mut |name, _, record| {
        if name.domain() != Some(own) || record.outcome != RunOutcome::Done {
            return;
        }
        let Some(told) = read(record) else { return };
        let one = known.entry(told.key.id).or_insert_with(|| told.clone());
        // the first removal is the one that counts, and the drop that reaches back furthest
        one.removed = [one.removed, told.removed].into_iter().flatten().min();
        one.dropped_since = [one.dropped_since, told.dropped_since].into_iter().flatten().min();
    })?;
    Ok(known)
}

fn read(record: &Record) -> Option<Gone> {
    let is_removal = record.operation == operation::name(Operation::REMOVE_KEY);
    if !is_removal && record.operation != operation::name(Operation::ADD_KEY) {
        return None;
    }
    Some(Gone {
        key: Noted::read(&record.facts)?,
        removed: is_removal.then(|| WallTime::new(record.started)),
        dropped_since: record.facts.get(DROP_SINCE).and_then(|since| since.parse().ok()).map(StoreTime::new),
    })
}

impl Gone {
    /// What removing it now would drop; nothing is changed.
    pub fn would_drop(&self, repository: &Repository, since: WallTime) -> Result<Dropped> {
        if self.removed.is_none() {
            return Err(Error::refused("its slot is lost: what would be dropped can't be told before it is removed"));
        }
        self.revoking(repository, StoreTime::new(since.nanoseconds()))?.would_drop()
    }

    /// Removes it, and drops what the store received since. What was done before is a success, and stays as it is.
    pub fn remove(
        &self,
        repository: &Repository,
        drop_since: Option<WallTime>,
        progress: &dyn Progress,
    ) -> Result<Removed> {
        repository.keys().owner("remove a key")?;
        let since = drop_since.map(|since| StoreTime::new(since.nanoseconds()));
        match (self.removed, since) {
            (None, _) => recorded(repository, Operation::REMOVE_KEY, progress, || {
                let id = self.announce(repository)?;
                let (removed, message, _) = take_away(repository, id, since, progress)?;
                let message = format!("{message}, announced again since its slot {} was lost", self.key.id.short());
                Ok((removed, message, self.key.facts(since)))
            }),
            (Some(_), Some(since)) if self.dropped_since.is_none_or(|before| before > since) => {
                let revoking = self.revoking(repository, since)?;
                recorded(repository, Operation::REMOVE_KEY, progress, || {
                    let removed = Removed { before: self.removed, ..revoking.run(progress)? };
                    let (Noted { role, label, .. }, dropped) = (&self.key, removed.dropped.count());
                    let message = format!("{role} {label}, removed before: {dropped} of its snapshots dropped");
                    Ok((removed, message, self.key.facts(Some(since))))
                })
            }
            (Some(_), _) => Ok(self.already()),
        }
    }

    /// There is nothing left to do.
    pub(super) fn already(&self) -> Removed {
        Removed { before: self.removed, is_revoked: self.key.role != Role::Owner, ..Removed::default() }
    }

    /// Puts a slot that says again whose key it is: what its holder wrote can be judged, and counts until it is revoked.
    fn announce(&self, repository: &Repository) -> Result<ObjectId> {
        let owner = repository.keys().owner("remove a key")?;
        // without a password the slot holds nothing of the bundle, so its own secret is of no account
        let signing = Key::new(repository.runtime().random());
        let Noted { role, label, domain, verifying, .. } = self.key.clone();
        let bundle = encoding("a key", owner.member_bundle(repository.keys().config(), domain, signing, role))?;
        let draft = Draft { bundle, label, domain, verifying };
        put_slot(repository, &draft, None)
    }

    fn revoking<'r>(&self, repository: &'r Repository, since: StoreTime) -> Result<Revoking<'r>> {
        let writer = WriterId::of(&self.key.verifying);
        if self.removed.is_some() && Orders::load(repository)?.revocation(writer).is_none() {
            return Err(Error::refused("the key was not revoked when its slot was removed: all that it wrote counts"));
        }
        Ok(Revoking { repository, writer, domain: self.key.domain, drop_since: Some(since) })
    }
}
