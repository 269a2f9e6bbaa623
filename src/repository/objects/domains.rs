//! What people call domains: the labels of the keys in them, also after the last key of one is gone and in the second
//! place of a copy, and for the owner the names that he gave them. A label stands for a domain wherever its id does; one that means several is refused with
//! all that it may mean, and what is shown here is understood here.

use super::orders::Orders;
use super::trust::Trust;
use crate::repository::Repository;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::DomainId;
use vault_format::owner::{OWNER_DOMAIN, OwnerKeys};

/// The names of domains.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// Labels of the keys of each, the best first.
    labels: BTreeMap<DomainId, Vec<String>>,
    /// Tells which domain a name gives.
    owner: Option<OwnerKeys>,
}

impl Domains {
    /// What the slots tell, then what the owner said of domains whose keys are not here.
    pub(crate) fn new(repository: &Repository, trust: &Trust, orders: &Orders) -> Self {
        let owner = repository.keys().owner("name domains").ok().cloned();
        let mut labels = trust.labels.clone();
        for (domain, labels) in &mut labels {
            // a domain that bears the name of one of its keys was made for it
            let is_name = |label: &String| owner.as_ref().is_some_and(|owner| owner.domain(label) == *domain);
            labels.sort_by_key(|label| label != OWNER_DOMAIN && !is_name(label));
        }
        for (domain, (_, label)) in &orders.labels {
            let known = labels.entry(*domain).or_default();
            if !known.contains(label) {
                known.push(label.clone());
            }
        }
        Self { labels, owner }
    }

    /// The domains among `there` that a text may mean: by label or name, else by the first digits of the id.
    pub fn meant(&self, text: &str, there: &BTreeSet<DomainId>) -> BTreeSet<DomainId> {
        let is_label = |domain: &&DomainId| {
            self.is_called(**domain, text) || self.owner.as_ref().is_some_and(|owner| owner.domain(text) == **domain)
        };
        let called: BTreeSet<DomainId> = there.iter().filter(is_label).copied().collect();
        if !called.is_empty() {
            return called;
        }
        let digits = text.to_ascii_lowercase();
        there.iter().filter(|domain| domain.to_string().starts_with(&digits)).copied().collect()
    }

    /// True if this is one of its labels.
    pub(crate) fn is_called(&self, domain: DomainId, label: &str) -> bool {
        self.labels.get(&domain).is_some_and(|labels| labels.iter().any(|known| known == label))
    }

    /// The first label that no other domain has.
    pub fn label(&self, domain: DomainId) -> Option<&str> {
        let others = || self.labels.iter().filter(|(other, _)| **other != domain).flat_map(|(_, labels)| labels);
        let own = self.labels.get(&domain)?;
        own.iter().find(|label| !others().any(|other| other == *label)).map(String::as_str)
    }

    /// Its label, else the first digits of its id.
    pub fn show(&self, domain: DomainId) -> String {
        self.label(domain).map_or_else(|| domain.short(), str::to_owned)
    }
}
