//! Orders that others name, and that the store does not list (D5): it shows an older state, or hides what keeps or revokes
//! something. Whoever drops or deletes stops at one, for what is to be kept can't be told without it; check reports the
//! same ones, by the same rule. So it is with what this machine remembers. What only a member says concerns its own domain: it could name what never was.

use super::{View, memory};
use crate::repository::error::{Hidden, Member};
use crate::repository::objects::orders::Orders;
use crate::repository::{Repository, Result};
use std::collections::BTreeMap;
use vault_format::id::{ObjectId, WriterId};
use vault_format::name::Name;

/// Orders that are named, each with who names it, `None` = the owner, and a record or a snapshot that does.
pub(super) type Named = BTreeMap<(ObjectId, Option<Member>), String>;

/// Who says what lies under a name.
pub(super) fn by(repository: &Repository, writer: WriterId, place: &Name) -> Option<Member> {
    let domain = place.domain().filter(|_| writer != repository.keys().owner_writer());
    domain.map(|domain| Member { writer, domain })
}

/// True of what was missing at a first look, if neither a listing nor the owner's word of now explains it.
fn is_gone(name: &Name, orders: &Orders) -> bool {
    let is_listed = matches!(name, Name::Order(id) if orders.chain.is_listed(id));
    !is_listed && !memory::is_explained(name, orders)
}

impl View {
    /// All orders that are missing in what was seen.
    pub(crate) fn hidden(&self) -> Vec<Hidden> {
        self.hidden_from(&self.orders)
    }

    /// True if an order is one of them.
    pub(crate) fn names_hidden(&self, order: &ObjectId) -> bool {
        self.hidden().iter().any(|hidden| hidden.object == Some(Name::Order(*order)))
    }

    /// What this machine saw, and is not there at a second look either, key slots among it: for whoever goes on all the same.
    pub(crate) fn unseen(&self) -> Result<Vec<Name>> {
        if self.memory.lacks.is_empty() {
            return Ok(Vec::new());
        }
        let orders = Orders::load(&self.repository)?;
        Ok(self.memory.lacks.iter().filter(|name| is_gone(name, &orders)).cloned().collect())
    }

    /// Those that are missing at a second look too, for whoever only tells: one may have been given, and named, while the
    /// first was taken.
    pub(crate) fn still_hidden(&self) -> Result<Vec<Hidden>> {
        let first = self.hidden();
        if first.is_empty() { Ok(first) } else { Ok(self.hidden_from(&Orders::load(&self.repository)?)) }
    }

    fn hidden_from(&self, orders: &Orders) -> Vec<Hidden> {
        let mut named: Named = self.heads.orders.clone();
        // as with snapshots, the word of a forgotten one is not needed
        for one in self.snapshots.all.iter().filter(|one| !one.state.is_forgotten()) {
            let member = by(&self.repository, one.header.writer, &one.name());
            for order in &one.head.orders {
                named.entry((*order, member)).or_insert_with(|| format!("snapshot {}", one.id.short()));
            }
        }
        named.extend(orders.chain.named().map(|(order, by)| ((order, None), format!("order {}", by.short()))));
        named.retain(|(order, by), _| {
            let is_believed = by.is_none_or(|member| self.trust.believes(member.writer, order));
            is_believed && !orders.chain.is_listed(order) && !orders.quarantined.contains(order)
        });
        let named = named.into_iter().map(|((order, member), by)| Hidden {
            object: Some(Name::Order(order)),
            pass: Some(order),
            what: format!("order {order} is"),
            by: format!("{by} names it"),
            member,
        });
        let gaps = orders.chain.gaps(&orders.quarantined).into_iter().map(|gap| Hidden {
            object: None,
            pass: Some(gap.behind),
            what: format!("orders with the numbers {} to {} are", gap.first, gap.last),
            by: format!("order {} has the number {}", gap.behind.short(), gap.last + 1),
            member: None,
        });
        let lacks = self.memory.lacks.iter().filter(|name| !matches!(name, Name::Slot(_)) && is_gone(name, orders));
        let lacks = lacks.map(|name| Hidden {
            object: Some(name.clone()),
            pass: name.id().filter(|_| matches!(name, Name::Order(_))),
            what: format!("{name} is"),
            by: "this machine saw it there".into(),
            member: None,
        });
        named.chain(gaps).chain(lacks).collect()
    }
}
