//! Snapshots that others name, that nobody had removed, and that the store does not list (D2): the listing is short, or
//! somebody deleted them. Whoever deletes, or says what of a revoked writer counts, stops at one, for what a snapshot
//! needs can't be told without it; check reports the same ones, by the same rule. The newest heads, and all of them if the
//! listing is empty, are named by the journal alone, which therefore has to be read before snapshots are listed.

use super::View;
use super::hidden::{self, Named};
use crate::backend::ErrorKind;
use crate::repository::objects::journal;
use crate::repository::objects::loaded::{Damage, Ignored, Loaded, Verdict};
use crate::repository::objects::marks::{Condemnation, Marks, Unreadable};
use crate::repository::objects::orders::Orders;
use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::objects::trust::{Claimant, Trust};
use crate::repository::{Listed, Repository, Result};
use crate::time::StoreTime;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::header::Header;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::journal::Record;
use vault_format::name::{self, Name};

/// Takes the name of a record, its header and what it says.
pub(crate) type OnRecord<'r> = dyn FnMut(&Name, &Header, &Record) + 'r;

/// Snapshots, and orders, that journal records name.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    named: BTreeMap<ObjectId, Naming>,
    /// Orders that they name.
    pub(super) orders: Named,
    /// Domains in whose records some are named.
    pub domains: BTreeSet<DomainId>,
    /// Snapshots that only the key names which is about to go.
    unheard: BTreeSet<ObjectId>,
    /// All records that are listed, sound or not, and of whichever domain.
    pub listed: BTreeSet<ObjectId>,
    /// Records that can't be read: they name nothing, and stop nobody.
    pub damaged: Vec<Damage>,
    /// Records that do not count, as far as this look has read them.
    pub ignored: Vec<Ignored>,
}

/// Who names a snapshot.
#[derive(Clone, Debug, Default)]
struct Naming {
    /// The first object that does.
    by: String,
    domain: DomainId,
    /// Of all that do.
    domains: BTreeSet<DomainId>,
    /// A record of the owner does, who names snapshots of all domains: it does not tell whose this one is.
    concerns_all: bool,
}

impl Naming {
    fn add(&mut self, by: impl FnOnce() -> String, domain: DomainId, concerns_all: bool) {
        if self.domains.is_empty() {
            (self.by, self.domain) = (by(), domain);
        }
        self.domains.insert(domain);
        self.concerns_all |= concerns_all;
    }
}

/// A snapshot that is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {id} is missing, though {by} names it")]
pub(crate) struct Missing {
    /// Which.
    pub id: ObjectId,
    /// The snapshot or the record that names it.
    pub by: String,
    /// Those that may miss it: a member can only speak for its own.
    pub domains: BTreeSet<DomainId>,
    /// Any domain may miss it.
    pub concerns_all: bool,
}

/// A record, and what it names, as this process has read it.
type Known = (Name, (Header, [Vec<ObjectId>; 3]));

/// The record, or those of the month, if this process has read it; what counted of them.
fn known(repository: &Repository, name: &Name) -> Option<Vec<Known>> {
    let known = repository.0.known.lock();
    let told = |name: &Name| Some((name.clone(), known.heads.get(&name.id()?)?.clone()));
    match name {
        Name::Month(_, _, _, id) => Some(known.months.get(id)?.iter().filter_map(told).collect()),
        name => Some(vec![told(name)?]),
    }
}

/// Visits the journal; what was listed and is gone has moved into a month meanwhile, which a second look shows.
fn visit_moving(
    repository: &Repository,
    trust: &Trust,
    listed: Vec<Listed>,
    each: &mut dyn FnMut(&Name, &Header, Record),
) -> Result<Loaded<(ObjectId, Vec<Name>)>> {
    let before: BTreeSet<Name> = listed.iter().map(|(name, _)| name.clone()).collect();
    let mut visited = journal::visit(repository, trust, listed, each)?;
    let is_gone = |damage: &Damage| damage.error.backend().is_some_and(|error| error.kind == ErrorKind::NotFound);
    if visited.damaged.iter().any(is_gone) {
        let mut more = repository.list(name::JOURNAL)?.0;
        more.retain(|(name, _)| matches!(name, Name::Month(..)) && !before.contains(name));
        let mut more = journal::visit(repository, trust, more, each)?;
        let moved: BTreeSet<Name> = more.good.iter().flat_map(|(_, names)| names.iter().cloned()).collect();
        visited.damaged.retain(|damage| !(is_gone(damage) && moved.contains(&damage.name)));
        visited.good.append(&mut more.good);
        visited.damaged.append(&mut more.damaged);
        visited.ignored.append(&mut more.ignored);
    }
    Ok(visited)
}

impl Heads {
    /// Reads the journal. What this process has read before is not read again, unless somebody wants the records.
    pub fn load(repository: &Repository, trust: &Trust, mut on_record: Option<&mut OnRecord<'_>>) -> Result<Self> {
        let mut heads = Self::default();
        let (mut new, mut records) = (Vec::new(), BTreeMap::new());
        for (name, entry) in repository.list(name::JOURNAL)?.0 {
            heads.listed.extend(name.id());
            let Some(told) = known(repository, &name).filter(|_| on_record.is_none()) else {
                new.push((name, entry));
                continue;
            };
            for (name, (header, named)) in told {
                heads.listed.extend(name.id());
                // its signature was verified, but its writer may have been revoked since
                let claimant = Claimant { name: &name, header: &header, arrived: None, opens: true };
                if matches!(trust.judge(&claimant, |_| Ok(())), Ok(Verdict::Counts(()))) {
                    let after = heads.add(repository, trust, (&name, &header), named);
                    records.insert(name.id().unwrap_or_default(), after);
                }
            }
        }
        let mut each = |name: &Name, header: &Header, record: Record| {
            if let Some(on_record) = &mut on_record {
                on_record(name, header, &record);
            }
            let named = [record.heads, record.orders, record.after];
            if let Some(id) = name.id() {
                repository.0.known.lock().heads.insert(id, (*header, named.clone()));
            }
            let after = heads.add(repository, trust, (name, header), named);
            records.insert(name.id().unwrap_or_default(), after);
        };
        let others = visit_moving(repository, trust, new, &mut each)?;
        let mut known = repository.0.known.lock();
        for (id, names) in others.good {
            heads.listed.extend(names.iter().filter_map(Name::id));
            known.months.insert(id, names);
        }
        drop(known);
        journal::note_newest(repository, &records);
        Ok(Self { damaged: others.damaged, ignored: others.ignored, ..heads })
    }

    /// Takes what a record names; returns the records among that.
    fn add(
        &mut self,
        repository: &Repository,
        trust: &Trust,
        (name, header): (&Name, &Header),
        [heads, orders, after]: [Vec<ObjectId>; 3],
    ) -> Vec<ObjectId> {
        let Name::Journal(domain, ..) = name else { return after };
        let (heads, unheard): (Vec<_>, Vec<_>) = heads.into_iter().partition(|id| trust.believes(header.writer, id));
        self.unheard.extend(unheard);
        let member = hidden::by(repository, header.writer, name);
        for order in orders {
            self.orders.entry((order, member)).or_insert_with(|| name.to_string());
        }
        if !heads.is_empty() {
            self.domains.insert(*domain);
        }
        for head in heads {
            self.named.entry(head).or_default().add(|| name.to_string(), *domain, member.is_none());
        }
        after
    }

    /// The domain of a record that names a snapshot.
    pub fn domain_of(&self, id: &ObjectId) -> Option<DomainId> {
        Some(self.named.get(id)?.domain)
    }

    /// Snapshots that these records or other snapshots name.
    fn all_named(&self, trust: &Trust, snapshots: &Snapshots) -> BTreeMap<ObjectId, Naming> {
        let mut named: BTreeMap<ObjectId, Naming> = BTreeMap::new();
        // the word of a forgotten one is not needed: it could name what never was
        for one in snapshots.all.iter().filter(|one| !one.state.is_forgotten()) {
            for id in named_by(one).filter(|id| trust.believes(one.header.writer, id)) {
                let by = || format!("snapshot {}", one.id.short());
                named.entry(*id).or_default().add(by, one.place.domain, false);
            }
        }
        for (id, naming) in &self.named {
            let known = named.entry(*id).or_insert_with(|| naming.clone());
            known.domains.extend(&naming.domains);
            known.concerns_all |= naming.concerns_all;
        }
        named
    }
}

/// What a snapshot names.
fn named_by(one: &SnapshotEntry) -> impl Iterator<Item = &ObjectId> {
    one.head.seen.iter().chain(&one.head.parent)
}

/// What explains that a snapshot is not there.
struct Removals<'r> {
    orders: &'r Orders,
    /// Named by marks that may have been carried out, at least in part.
    of_age: BTreeSet<ObjectId>,
    /// Named by marks that nobody can have carried out yet.
    open: BTreeSet<ObjectId>,
}

impl<'r> Removals<'r> {
    fn new(orders: &'r Orders, marks: &Marks, now: StoreTime) -> Self {
        let is_open =
            |mark: &&Condemnation| !mark.swept && mark.put_at.is_some_and(|at| (at..at + mark.grace).contains(&now));
        let (open, of_age): (Vec<_>, Vec<_>) = marks.condemnations.iter().partition(is_open);
        let named = |marks: &[&Condemnation]| -> BTreeSet<ObjectId> {
            marks.iter().flat_map(|mark| mark.snapshots.iter()).map(|place| place.id).collect()
        };
        Self { orders, of_age: named(&of_age), open: named(&open) }
    }

    fn explain(&self, id: &ObjectId) -> bool {
        // two prunes may have condemned it, one after the other
        let is_removed = self.of_age.contains(id) || self.orders.state(*id).is_forgotten() && !self.open.contains(id);
        is_removed || self.orders.quarantined.contains(id)
    }
}

impl View {
    /// All snapshots that are missing. What is listed and does not count, of a writer that was revoked, is no gap.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let named = self.heads.all_named(&self.trust, &self.snapshots);
        gaps(named, &self.snapshots.listed, &self.removals())
    }

    fn removals(&self) -> Removals<'_> {
        Removals::new(&self.orders, &self.marks, self.repository.presumed_store_now())
    }

    /// How many snapshots a key names that is about to go, and that are not there: lost, or never taken. Whose word that
    /// is, nobody misses them.
    pub(crate) fn unheard(&self, writer: WriterId) -> u64 {
        let own = self.snapshots.all.iter().filter(|one| one.header.writer == writer && !one.state.is_forgotten());
        let named: BTreeSet<&ObjectId> = own.flat_map(named_by).chain(&self.heads.unheard).collect();
        let removals = self.removals();
        let is_gone = |id: &&&ObjectId| !self.snapshots.listed.contains(**id) && !removals.explain(id);
        named.iter().filter(is_gone).count() as u64
    }

    /// Those that are missing at a second look too, for whoever can't stop and look again later: listings lag, and a
    /// snapshot may have been forgotten and deleted while the first look was taken.
    pub(crate) fn still_missing(&self) -> Result<Vec<Missing>> {
        if self.missing().is_empty() {
            return Ok(Vec::new());
        }
        let orders = Orders::load(&self.repository)?;
        let marks = Marks::load_with(&self.repository, Unreadable::NamesNothing)?;
        let listed = self.repository.list(name::SNAPSHOTS)?.0;
        let listed = listed.iter().filter_map(|(name, _)| name.id()).chain(self.snapshots.listed.iter().copied());
        let removals = Removals::new(&orders, &marks, self.repository.presumed_store_now());
        Ok(gaps(self.heads.all_named(&self.trust, &self.snapshots), &listed.collect(), &removals))
    }
}

/// The rule: named, not listed, and nothing explains it.
fn gaps(named: BTreeMap<ObjectId, Naming>, listed: &BTreeSet<ObjectId>, removals: &Removals<'_>) -> Vec<Missing> {
    let missing = named.into_iter().filter(|(id, _)| !listed.contains(id) && !removals.explain(id));
    let missing =
        missing.map(|(id, Naming { by, domains, concerns_all, .. })| Missing { id, by, domains, concerns_all });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::{Naming, Removals, gaps};
    use crate::repository::objects::marks::{Condemnation, Marks};
    use crate::repository::objects::orders::Orders;
    use crate::time::StoreTime;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;
    use vault_format::id::{DomainId, ObjectId, SourceLabel};
    use vault_format::mark::SnapshotPlace;
    use vault_format::order::{Action, Order};

    const ID: ObjectId = ObjectId([1; 32]);
    const PUT: i64 = 1000;
    const GRACE: Duration = Duration::from_nanos(100);

    fn mark(put_at: Option<i64>, swept: bool) -> Condemnation {
        let place = SnapshotPlace { domain: DomainId::default(), label: SourceLabel::default(), id: ID };
        Condemnation {
            id: ObjectId([9; 32]),
            packs: BTreeSet::new(),
            snapshots: vec![place],
            grace: GRACE,
            put_at: put_at.map(StoreTime::new),
            swept,
        }
    }

    /// Whether a snapshot is missing that something names and nothing lists, `after` the time of the marks.
    fn is_missing(actions: &[Action], condemnations: &[Condemnation], after: i64) -> bool {
        let mut orders = Orders::default();
        for (number, action) in (1..).zip(actions) {
            orders.apply(Order { number, time: 0, action: action.clone(), after: Vec::new() });
        }
        let marks = Marks { condemnations: condemnations.to_vec(), ..Marks::default() };
        let removals = Removals::new(&orders, &marks, StoreTime::new(PUT + after));
        let named = || BTreeMap::from([(ID, Naming::default())]);
        assert!(gaps(named(), &BTreeSet::from([ID]), &removals).is_empty(), "what is listed is no gap");
        !gaps(named(), &BTreeSet::new(), &removals).is_empty()
    }

    #[test]
    fn what_nobody_removed_is_missing() {
        let (forget, undelete) = (Action::Forget(vec![ID]), Action::Undelete(vec![ID]));
        assert!(is_missing(&[], &[], 0));
        assert!(is_missing(&[Action::Forget(vec![ObjectId([2; 32])])], &[], 0), "another one was forgotten");
        assert!(is_missing(&[forget.clone(), undelete], &[], 0), "it was taken back");
        assert!(!is_missing(&[forget], &[], 0), "its mark may be gone by now");
        assert!(!is_missing(&[Action::Quarantine(vec![ID])], &[], 0));
    }

    #[test]
    fn a_mark_explains_nothing_before_it_can_be_carried_out() {
        let forget = [Action::Forget(vec![ID])];
        for (after, is_open) in [(0, true), (99, true), (100, false)] {
            assert_eq!(is_missing(&forget, &[mark(Some(PUT), false)], after), is_open, "{after} later");
            assert_eq!(is_missing(&[], &[mark(Some(PUT), false)], after), is_open, "{after} later, the order lost");
        }
        assert!(!is_missing(&forget, &[mark(Some(PUT), true)], 0), "with a grace of zero it was");
        assert!(!is_missing(&forget, &[mark(None, false)], 0), "nobody knows its age");
        let two = [mark(Some(PUT), false), mark(Some(PUT - 100), false)];
        assert!(!is_missing(&forget, &two, 0), "the older of two was carried out");
    }
}
