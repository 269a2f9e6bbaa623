//! Which orders there are, and how they name each other: each tells the newest that its giver saw, so that one that a
//! store hides leaves a gap (D5). Members name orders too that they can't open: the owner's signature is enough.

use crate::time::StoreTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::ObjectId;
use vault_format::order::Order;

/// Most orders that a record or a snapshot names as the newest: those before them follow from these.
pub(crate) const NEWEST_MAX: usize = 4;

/// The orders of one listing.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// All that are listed, sound or not.
    listed: BTreeSet<ObjectId>,
    /// Those that the owner signed.
    links: BTreeMap<ObjectId, Link>,
}

#[derive(Clone, Debug)]
struct Link {
    /// 0 if this key can't open it.
    number: u64,
    arrived: Option<StoreTime>,
    after: Vec<ObjectId>,
}

/// Numbers that no order bears, though a later one is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The order behind it.
    pub behind: ObjectId,
    pub first: u64,
    pub last: u64,
}

impl Chain {
    pub(super) fn of(listed: impl Iterator<Item = ObjectId>) -> Self {
        Self { listed: listed.collect(), links: BTreeMap::new() }
    }

    /// Takes an order that the owner signed; `None` if this key can't open it.
    pub(super) fn add(&mut self, id: ObjectId, arrived: Option<StoreTime>, order: Option<&Order>) {
        let (number, after) = order.map_or((0, Vec::new()), |order| (order.number, order.after.clone()));
        self.links.insert(id, Link { number, arrived, after });
    }

    /// True if the store lists it.
    pub fn is_listed(&self, order: &ObjectId) -> bool {
        self.listed.contains(order)
    }

    /// The newest: those that no other one names. Of these the highest number comes first; those that this key can't open
    /// come last, by their arrival.
    pub fn newest(&self) -> Vec<ObjectId> {
        let named: BTreeSet<&ObjectId> = self.links.values().flat_map(|link| &link.after).collect();
        let mut newest: Vec<_> = self.links.iter().filter(|(id, _)| !named.contains(id)).collect();
        newest.sort_by_key(|(id, link)| Reverse((link.number, link.arrived, **id)));
        newest.into_iter().map(|(id, _)| *id).collect()
    }

    /// What orders name, each with the order that does.
    pub(crate) fn named(&self) -> impl Iterator<Item = (ObjectId, ObjectId)> {
        self.links.iter().flat_map(|(by, link)| link.after.iter().map(|order| (*order, *by)))
    }

    /// Numbers that are missing, and that no order which is named and can't be used explains, nor the owner's word on the
    /// one behind them. Nothing can be told where an order does not open.
    pub(crate) fn gaps(&self, quarantined: &BTreeSet<ObjectId>) -> Vec<Gap> {
        let mut behind: BTreeMap<u64, Vec<(&ObjectId, &Link)>> = BTreeMap::new();
        for (id, link) in &self.links {
            behind.entry(link.number).or_default().push((id, link));
        }
        if behind.contains_key(&0) {
            return Vec::new();
        }
        let before = [0].into_iter().chain(behind.keys().copied());
        let mut gaps = Vec::new();
        for (before, (number, orders)) in before.zip(&behind) {
            let names_absent = |after: &[ObjectId]| after.iter().any(|id| !self.links.contains_key(id));
            let is_explained = orders.iter().any(|(id, link)| quarantined.contains(*id) || names_absent(&link.after));
            if let (false, true, Some((id, _))) = (is_explained, number - before > 1, orders.first()) {
                gaps.push(Gap { behind: **id, first: before + 1, last: number - 1 });
            }
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Chain, Gap, StoreTime};
    use vault_format::id::ObjectId;
    use vault_format::order::{Action, Order};

    fn id(byte: u8) -> ObjectId {
        ObjectId([byte; 32])
    }

    /// Orders with numbers, each behind some; number 0 = it does not open. The ids are 1, 2, 3 and so on, and so are the
    /// arrivals.
    fn chain(orders: &[(u64, &[u8])]) -> Chain {
        let mut chain = Chain::of((1..).take(orders.len()).map(id));
        for (byte, (number, after)) in (1..).zip(orders) {
            let after = after.iter().copied().map(id).collect();
            let order = Order { number: *number, time: 0, action: Action::Require(0), after };
            let order = Some(order).filter(|order| order.number > 0);
            chain.add(id(byte), Some(StoreTime::new(byte.into())), order.as_ref());
        }
        chain
    }

    #[test]
    fn the_newest_are_those_that_no_other_names() {
        assert_eq!(chain(&[]).newest(), []);
        assert_eq!(chain(&[(1, &[]), (2, &[1])]).newest(), [id(2)]);
        // two owners at once, and then somebody who has not seen one of them
        assert_eq!(chain(&[(1, &[]), (2, &[1]), (2, &[1]), (3, &[2])]).newest(), [id(4), id(3)]);
        // a member's view
        assert_eq!(chain(&[(0, &[]), (5, &[1]), (0, &[]), (0, &[])]).newest(), [id(2), id(4), id(3)]);
    }

    #[test]
    fn numbers_without_an_order_are_a_gap_unless_a_named_one_is_not_there() {
        let gap = |behind, first, last| Gap { behind: id(behind), first, last };
        assert_eq!(chain(&[]).gaps(&BTreeSet::new()), []);
        assert_eq!(chain(&[(1, &[]), (2, &[1]), (2, &[1]), (3, &[2, 3])]).gaps(&BTreeSet::new()), []);
        assert_eq!(chain(&[(1, &[]), (4, &[1])]).gaps(&BTreeSet::new()), [gap(2, 2, 3)]);
        assert_eq!(chain(&[(1, &[]), (4, &[1])]).gaps(&[id(2)].into()), [], "the owner has accepted it");
        assert_eq!(chain(&[(3, &[])]).gaps(&BTreeSet::new()), [gap(1, 1, 2)]);
        assert_eq!(
            chain(&[(1, &[]), (4, &[9])]).gaps(&BTreeSet::new()),
            [],
            "one that is named stands for those before it"
        );
        assert_eq!(
            chain(&[(1, &[]), (4, &[1]), (0, &[])]).gaps(&BTreeSet::new()),
            [],
            "it may bear one of the numbers"
        );
    }
}
