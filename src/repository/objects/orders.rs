//! Reads and puts the owner's orders. A snapshot's state is its object and all orders on it; numbers decide, a tie keeps
//! the snapshot, so the outcome does not depend on the order of reading.

use super::chain::{Chain, NEWEST_MAX};
use super::loaded::{Damage, Ignored, Loaded, Verdict, load};
use crate::repository::{Listed, Repository, Result, encoding};
use crate::time::{StoreTime, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::config::FEATURES_KNOWN;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::order::{Action, Order};
use vault_format::salt::Salt;

/// What orders say of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    forget: u64,
    undelete: u64,
    hold: u64,
    release: u64,
    expire: (u64, Option<WallTime>),
    arrived: Option<(u64, StoreTime)>,
    tags: BTreeMap<String, (u64, bool)>,
}

impl State {
    /// The owner ordered it forgotten.
    pub fn is_forgotten(&self) -> bool {
        self.forget > self.undelete
    }

    /// It is live whatever else is ordered.
    pub fn is_held(&self) -> bool {
        self.hold > 0 && self.hold >= self.release
    }

    /// When the store received it, if an order says so.
    pub fn arrived(&self) -> Option<StoreTime> {
        self.arrived.map(|(_, at)| at)
    }

    /// When it expires, if an order says so.
    pub fn expires(&self) -> Option<Option<WallTime>> {
        (self.expire.0 > 0).then_some(self.expire.1)
    }

    /// Applies tag orders to the tags of the body.
    pub fn tags(&self, body: &[String]) -> Vec<String> {
        let mut tags: BTreeSet<&str> = body.iter().map(String::as_str).collect();
        for (tag, (_, present)) in &self.tags {
            if *present {
                tags.insert(tag);
            } else {
                tags.remove(tag.as_str());
            }
        }
        tags.into_iter().map(str::to_owned).collect()
    }
}

/// All orders that this key can open.
#[derive(Debug, Default)]
pub struct Orders {
    states: BTreeMap<ObjectId, State>,
    /// First ids of snapshots that no copy is to bring back.
    pub declined: BTreeSet<ObjectId>,
    /// When the owner last pinned arrivals, by its own clock.
    pub last_pins: Option<WallTime>,
    /// What domains are called without a key here that bears the label; the highest number counts.
    pub labels: BTreeMap<DomainId, (u64, String)>,
    /// Objects to pass over.
    pub quarantined: BTreeSet<ObjectId>,
    /// Features that a program must know to change anything, as bits.
    pub required: u64,
    /// Highest number seen.
    pub highest: u64,
    /// Which there are, and which they name.
    pub(crate) chain: Chain,
    /// Writers whose word counts no longer.
    pub(super) revocations: Revocations,
    /// Orders that can't be used.
    pub damaged: Vec<Damage>,
    /// Orders that are not the owner's.
    pub ignored: Vec<Ignored>,
}

/// What stops whoever deletes or repairs.
pub const UNKNOWN_FEATURES: &str = "the owner requires features that this program does not know: update it";

impl Orders {
    /// False if the owner requires features that this program does not know.
    pub fn are_understood(&self) -> bool {
        self.required & !FEATURES_KNOWN == 0
    }

    /// Reads all orders; those of foreign domains are passed over.
    pub fn load(repository: &Repository) -> Result<Self> {
        let listed = repository.list(name::ORDERS)?.0;
        let chain = Chain::of(listed.iter().filter_map(|(name, _)| name.id()));
        let mut orders = Self { chain, ..Self::default() };
        let mut loaded = load_listed(repository, &listed)?;
        for one in std::mem::take(&mut loaded.good) {
            orders.revocations.take(repository, &one);
            orders.chain.add(one.name.id().unwrap_or_default(), one.arrived, one.order.as_ref());
            if let Some(order) = one.order {
                orders.apply(order);
            }
        }
        loaded.spare(&orders.quarantined);
        (orders.damaged, orders.ignored) = (loaded.damaged, loaded.ignored);
        repository.0.known.lock().newest = orders.chain.newest();
        Ok(orders)
    }

    /// What orders say of a snapshot.
    pub fn state(&self, snapshot: ObjectId) -> State {
        self.states.get(&snapshot).cloned().unwrap_or_default()
    }

    /// What was said of a writer, if it is revoked.
    pub fn revocation(&self, writer: WriterId) -> Option<&Revocation> {
        self.revocations.of(writer)
    }

    /// True if the owner has dropped what was first taken under this id, be it long ago.
    pub fn is_declined(&self, first: ObjectId) -> bool {
        self.declined.contains(&first) || self.state(first).is_forgotten()
    }

    pub(in crate::repository) fn apply(&mut self, order: Order) {
        self.highest = self.highest.max(order.number);
        let number = order.number;
        let mut each = |ids: &[ObjectId], change: &dyn Fn(&mut State)| {
            for id in ids {
                change(self.states.entry(*id).or_default());
            }
        };
        match order.action {
            Action::Forget(ids) => each(&ids, &|state| state.forget = state.forget.max(number)),
            Action::Undelete(ids) => each(&ids, &|state| state.undelete = state.undelete.max(number)),
            Action::Hold(ids) => each(&ids, &|state| state.hold = state.hold.max(number)),
            Action::Release(ids) => each(&ids, &|state| state.release = state.release.max(number)),
            Action::Expire(ids, time) => each(&ids, &|state| {
                // on a tie the later time, or never, keeps the snapshot longer
                let (time, later) = (time.map(WallTime::new), |time: Option<WallTime>| (time.is_none(), time));
                if (number, later(time)) > (state.expire.0, later(state.expire.1)) {
                    state.expire = (number, time);
                }
            }),
            Action::Tag { snapshots, add, remove } => each(&snapshots, &|state| {
                let changes = remove.iter().map(|tag| (tag, false)).chain(add.iter().map(|tag| (tag, true)));
                for (tag, present) in changes {
                    let known = state.tags.entry(tag.clone()).or_default();
                    *known = (*known).max((number, present));
                }
            }),
            Action::Quarantine(ids) => self.quarantined.extend(ids),
            Action::Arrived(pins) => {
                self.last_pins = self.last_pins.max(Some(WallTime::new(order.time)));
                for (id, at) in pins {
                    let (state, at) = (self.states.entry(id).or_default(), StoreTime::new(at));
                    // on a tie the earlier one: a copy of the store is never older than the store
                    state.arrived = match state.arrived {
                        Some((known, before)) if known > number || known == number && before < at => state.arrived,
                        _ => Some((number, at)),
                    };
                }
            }
            Action::Decline(ids) => self.declined.extend(ids),
            Action::Call { domain, label } => {
                let known = self.labels.entry(domain).or_default();
                *known = std::mem::take(known).max((number, label));
            }
            Action::Require(features) => self.required |= features,
            Action::Revoke { .. } => {}
        }
    }
}

/// Reads and verifies one order; `None` if it is sealed for a domain whose key is not here.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<Option<Order>> {
    let keys = repository.keys();
    let open = |stored: &[u8]| {
        let object = Order::parse(stored, repository.id(), keys.owner_verifying())?;
        match Order::open(&object, keys.book(object.header.domain).as_ref()) {
            Err(vault_format::Error::NoAccess) => Ok(None),
            opened => opened.map(Some),
        }
    };
    repository.once(name, |known| &mut known.orders, open)
}

/// One order, and when the store received it.
struct Received {
    name: Name,
    /// `None` if it is for a domain whose key is not here.
    order: Option<Order>,
    arrived: Option<StoreTime>,
}

fn load_listed(repository: &Repository, listed: &[Listed]) -> Result<Loaded<Received>> {
    load(repository, listed, |(name, entry)| {
        let order = read(repository, name)?;
        Ok(Verdict::Counts(Received { name: name.clone(), order, arrived: entry.modified }))
    })
}

/// Objects that the owner wants passed over, as far as orders can be read: asked only once something can't be used.
pub(crate) fn quarantined(repository: &Repository) -> Result<BTreeSet<ObjectId>> {
    Ok(Orders::load(repository)?.quarantined)
}

/// What the owner said of one revoked writer.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// Its only objects that still count.
    pub accepted: BTreeSet<ObjectId>,
    /// When the store received the first order about it.
    pub since: Option<StoreTime>,
}

/// All revoked writers. Orders about one writer add up: what one of them accepts, somebody may rely on by now.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    pub(super) by_writer: BTreeMap<WriterId, Revocation>,
    pardoned: BTreeSet<WriterId>,
    seen: BTreeSet<Name>,
}

impl Revocations {
    /// Reads the orders that came since the last time. One that can't be read could be a revocation; whoever decides by
    /// that has stopped at the damage when it read all orders.
    pub(super) fn renew(&mut self, repository: &Repository) -> Result<()> {
        let mut listed = repository.list(name::ORDERS)?.0;
        listed.retain(|(name, _)| !self.seen.contains(name));
        load_listed(repository, &listed)?.good.iter().for_each(|one| self.take(repository, one));
        Ok(())
    }

    fn take(&mut self, repository: &Repository, one: &Received) {
        self.seen.insert(one.name.clone());
        // the owner's key follows from the root, and can't be taken back
        if let Some(Order { action: Action::Revoke { writer, accepted }, .. }) = &one.order
            && *writer != repository.keys().owner_writer()
            && !self.pardoned.contains(writer)
        {
            let known = self.by_writer.entry(*writer).or_default();
            known.accepted.extend(accepted);
            known.since = known.since.into_iter().chain(one.arrived).min();
        }
    }

    /// What was said of a writer, if it is revoked.
    pub fn of(&self, writer: WriterId) -> Option<&Revocation> {
        self.by_writer.get(&writer)
    }

    /// True if a writer's word that there was a snapshot is a reason to miss it. That of a key that is taken away, or is about
    /// to be, is none, for a thief can name what never was; what the owner accepted was there.
    pub(super) fn believes(&self, writer: WriterId, named: &ObjectId) -> bool {
        match self.by_writer.get(&writer) {
            Some(revocation) => revocation.accepted.contains(named),
            None => !self.pardoned.contains(&writer),
        }
    }

    /// Forgets what was said of a writer, and passes over what else will be.
    pub(super) fn pardon(&mut self, writer: WriterId) {
        self.pardoned.insert(writer);
        self.by_writer.remove(&writer);
    }
}

/// Puts one order for a domain. Needs the owner.
pub fn put(repository: &Repository, domain: DomainId, action: Action) -> Result<ObjectId> {
    let (name, stored) = seal(repository, domain, action)?;
    repository.put(&name, &stored)?;
    Ok(given(repository, &stored))
}

/// Notes that this process gave an order: the next records name it, so that a store can't hide it later.
pub(crate) fn given(repository: &Repository, stored: &[u8]) -> ObjectId {
    let id = ObjectId::of(stored);
    repository.0.known.lock().given.insert(id);
    id
}

/// The newest orders that this process saw, as few as a record or a snapshot names.
pub(crate) fn newest(repository: &Repository) -> Vec<ObjectId> {
    repository.0.known.lock().newest.iter().take(NEWEST_MAX).copied().collect()
}

/// The same, and those that it gave since the last record of an end.
pub(super) fn to_record(repository: &Repository, is_end: bool) -> Vec<ObjectId> {
    let mut named = newest(repository);
    let mut known = repository.0.known.lock();
    let given: Vec<ObjectId> = known.given.iter().filter(|id| !named.contains(id)).copied().collect();
    named.extend(given);
    if is_end {
        known.given.clear();
    }
    named
}

/// One order for a domain, ready to be put. Needs the owner.
pub(crate) fn seal(repository: &Repository, domain: DomainId, action: Action) -> Result<(Name, Vec<u8>)> {
    let owner = repository.keys().owner("give orders")?;
    let seen = Orders::load(repository)?;
    let (number, after) = (seen.highest.saturating_add(1), seen.chain.newest());
    let order = Order { number, time: repository.runtime().clock.now().nanoseconds(), action, after };
    let signer = repository.keys().signer();
    let author = Author { repository: repository.id(), domain, signer, book: &owner.book(domain) };
    let stored = encoding("an order", order.seal(&author, Salt::Fresh(repository.runtime().random())))?;
    Ok((Name::Order(ObjectId::of(&stored)), stored))
}

#[cfg(test)]
mod tests {
    use super::{Orders, State, StoreTime, WallTime};
    use vault_format::id::ObjectId;
    use vault_format::order::{Action, Order};

    const ID: ObjectId = ObjectId([1; 32]);

    /// What orders say of a snapshot, which must not depend on the order in which they are read.
    fn state(orders: &[(u64, Action)]) -> State {
        let read = |all: &mut dyn Iterator<Item = &(u64, Action)>| {
            let mut orders = Orders::default();
            all.for_each(|(number, action)| {
                orders.apply(Order { number: *number, time: 0, action: action.clone(), after: Vec::new() })
            });
            orders.state(ID)
        };
        let state = read(&mut orders.iter());
        assert_eq!(state, read(&mut orders.iter().rev()), "{orders:?}");
        state
    }

    #[test]
    fn the_highest_number_decides_and_a_tie_keeps() {
        let forget = |number| (number, Action::Forget(vec![ID]));
        let undelete = |number| (number, Action::Undelete(vec![ID]));
        assert!(!state(&[]).is_forgotten());
        assert!(state(&[undelete(2), forget(3)]).is_forgotten());
        assert!(!state(&[undelete(3), forget(3)]).is_forgotten());
        assert!(!state(&[forget(3), undelete(4), forget(2)]).is_forgotten());
        assert!(!state(&[(3, Action::Forget(vec![ObjectId([2; 32])]))]).is_forgotten());
    }

    #[test]
    fn a_hold_lasts_until_a_release_with_a_higher_number() {
        let hold = |number| (number, Action::Hold(vec![ID]));
        let release = |number| (number, Action::Release(vec![ID]));
        assert!(!state(&[]).is_held() && !state(&[release(1)]).is_held());
        assert!(state(&[hold(2), release(2)]).is_held());
        assert!(!state(&[hold(2), release(3)]).is_held());
        assert!(state(&[hold(4), release(3)]).is_held());
    }

    #[test]
    fn of_two_times_of_one_number_the_later_counts_and_never_most() {
        let expire = |number, time| (number, Action::Expire(vec![ID], time));
        assert_eq!(state(&[expire(1, Some(5)), expire(2, Some(4))]).expires(), Some(Some(WallTime::new(4))));
        assert_eq!(state(&[expire(2, Some(5)), expire(2, Some(4))]).expires(), Some(Some(WallTime::new(5))));
        assert_eq!(state(&[expire(2, Some(5)), expire(2, None)]).expires(), Some(None));
    }

    #[test]
    fn a_copy_is_never_older_than_its_store() {
        let arrived = |number, at| (number, Action::Arrived(vec![(ID, at)]));
        assert_eq!(state(&[arrived(1, 5), arrived(1, 4)]).arrived(), Some(StoreTime::new(4)));
        assert_eq!(state(&[arrived(1, 4), arrived(2, 5)]).arrived(), Some(StoreTime::new(5)));
    }
}
