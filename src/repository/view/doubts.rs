//! What a deleter can't judge of one domain, and of one only (M4): domains share neither packs nor keys, and nobody's
//! copies count for another, so the others need not wait. Who may write in a domain can put any number of such things.

use super::View;
use crate::repository::{Doubt, Error, Result};
use std::collections::BTreeMap;
use vault_format::id::DomainId;
use vault_format::name::Name;

/// One reason for each domain that can't be judged.
pub(crate) type Doubts = BTreeMap<DomainId, Doubt>;

impl View {
    /// Domains with a snapshot or an index object that can't be used, or with a snapshot or an order that is missing. One that
    /// concerns all, or of which nobody can tell whose it is, is an error.
    pub(crate) fn doubts(&self) -> Result<Doubts> {
        let due = self.marks.due_snapshots();
        // a listing that lags shows a snapshot that a sweep has deleted
        let is_gone =
            |name: &Name| name.id().is_some_and(|id| due.contains(&id) && self.orders.state(id).is_forgotten());
        let lost = self.snapshots.damaged.iter().filter(|damage| !is_gone(&damage.name));
        let mut doubts = Doubts::new();
        for hidden in self.hidden() {
            match hidden.member {
                Some(member) => _ = doubts.entry(member.domain).or_insert_with(|| hidden.into()),
                None => return Err(Error::Unsafe(hidden.into())),
            }
        }
        for damage in self.objects.damaged.iter().chain(lost) {
            let doubt = Doubt::Damaged { object: damage.name.to_string(), problem: damage.to_string() };
            match damage.name.domain().filter(|_| !damage.error.is_of_later()) {
                Some(domain) => _ = doubts.entry(domain).or_insert(doubt),
                None => return Err(Error::Unsafe(doubt)),
            }
        }
        for missing in self.missing() {
            let doubt = Doubt::Missing { id: missing.id, by: missing.by };
            if missing.concerns_all {
                return Err(Error::Unsafe(doubt));
            }
            for domain in missing.domains {
                doubts.entry(domain).or_insert_with(|| doubt.clone());
            }
        }
        Ok(doubts)
    }
}
