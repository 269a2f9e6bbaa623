//! One look at everything that repair judges: snapshots before index before packs, so that what is committed meanwhile
//! is whole. Index objects that others replace are kept too: they may be the last to know what a damaged pack holds.

use super::{Options, Report};
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::index::loose;
use crate::repository::index::loose::{Ends, LoosePack};
use crate::repository::lookup::{BlobLookup, PackRecord};
use crate::repository::objects::index_objects::{IndexObject, IndexObjects, PackListing};
use crate::repository::objects::marks::Marks;
use crate::repository::objects::orders::Orders;
use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::objects::trust::Trust;
use crate::repository::objects::{index_objects, marks};
use crate::repository::view::View;
use crate::time::StoreTime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::Name;

/// Everything, as it was found.
pub(super) struct Look {
    pub trust: Trust,
    pub orders: Orders,
    pub marks: Marks,
    pub snapshots: Snapshots,
    pub objects: IndexObjects,
    /// Names of the index objects that are in force.
    pub current: BTreeSet<Name>,
    /// Packs as listed.
    pub packs: PackListing,
    /// Packs in no index that is in force, and in no mark.
    pub loose: Vec<LoosePack>,
    /// Packs are read whole.
    is_read: bool,
    /// Packs that are damaged, missing or not what they say.
    pub bad: BTreeSet<ObjectId>,
    /// Packs of which nothing is there.
    pub missing: BTreeSet<ObjectId>,
    /// What the store received before is listed with all that it needs; `None` = everything is.
    settled: Option<StoreTime>,
}

/// The time before which nothing is younger than a listing may lag.
fn settled(repository: &Repository, options: &Options) -> Result<Option<StoreTime>> {
    let lag = repository.listing_lag();
    if lag.is_zero() {
        return Ok(None);
    }
    // the store's clock is known only from something that was put
    let now = if options.dry_run { repository.presumed_store_now() } else { repository.store_now()? };
    Ok(Some(now - lag))
}

impl Look {
    /// Looks; what can't be used is put into the report.
    pub fn take(repository: &Repository, (options, report): (&Options, &mut Report)) -> Result<Self> {
        let settled = settled(repository, options)?;
        let View { trust, orders, marks, heads, snapshots, objects, packs, .. } = View::to_repair(repository)?;
        let left = trust.damaged.iter().chain(&orders.damaged);
        report.left.extend(left.chain(&snapshots.damaged).chain(&heads.damaged).map(ToString::to_string));
        let in_force: Vec<&IndexObject> =
            index_objects::current(&objects.good, repository.keys().owner_writer()).collect();
        let current = in_force.into_iter().map(|object| object.name.clone()).collect();
        let mut loose = Vec::new();
        for read in Ends::new(repository).read(&loose::unindexed(repository, &packs, &objects, &marks))? {
            match read {
                Ok(pack) => loose.push(pack),
                Err((name, problem)) => {
                    report.notes.push(format!("{name} is in no index and does not open: {problem}"));
                }
            }
        }
        let (bad, missing) = (BTreeSet::new(), BTreeSet::new());
        let is_read = !options.structure_only;
        Ok(Self { trust, orders, marks, snapshots, objects, current, packs, loose, is_read, bad, missing, settled })
    }

    /// Domains that have snapshots, index objects or loose packs.
    pub fn domains(&self) -> BTreeSet<DomainId> {
        let indexed = self.objects.good.iter().filter_map(|object| object.name.domain());
        let loose = self.loose.iter().map(|pack| pack.header.domain);
        indexed.chain(loose).chain(self.snapshots.all.iter().map(|snapshot| snapshot.place.domain)).collect()
    }

    /// True if something that was listed is gone: a sweep was there, and has copied first what lives.
    pub fn was_swept(&self, repository: &Repository) -> Result<bool> {
        // listings may lag, what was read does not
        if self.missing.iter().any(|id| self.packs.contains_key(id)) {
            return Ok(true);
        }
        let damaged = self.snapshots.damaged.iter().chain(&self.objects.damaged).map(|damage| &damage.name);
        let names = damaged.chain(self.objects.good.iter().map(|object| &object.name)).filter_map(Name::id);
        let snapshots = self.snapshots.all.iter().map(|snapshot| snapshot.id);
        Ok(marks::was_swept(repository, names.chain(snapshots).chain(self.packs.keys().copied()))?)
    }

    /// Snapshots of a domain that may be wanted: all but those that a sweep is removing, and those so new that the store
    /// may not list their index yet.
    pub fn live(&self, domain: DomainId) -> impl Iterator<Item = &SnapshotEntry> {
        let due = self.marks.due_snapshots();
        let is_settled = |one: &SnapshotEntry| self.settled.is_none_or(|at| one.arrived.is_none_or(|put| put < at));
        let is_live = move |one: &&SnapshotEntry| (one.is_visible() || !due.contains(&one.id)) && is_settled(one);
        self.snapshots.all.iter().filter(move |one| one.place.domain == domain).filter(is_live)
    }

    /// The lookup of a domain for reading: every place that anybody tells of.
    pub fn readable(&self, repository: &Repository, domain: DomainId) -> Result<BlobLookup> {
        let own = self.objects.good.iter().filter(|object| object.name.domain() == Some(domain));
        let mut objects = IndexObjects { good: own.cloned().collect(), ..IndexObjects::default() };
        // those that were replaced may know more than those that replaced them
        for object in &mut objects.good {
            object.index.supersedes.clear();
            object.index.packs.retain(|pack| !self.missing.contains(&pack.id));
        }
        let lookup = BlobLookup::new(repository, objects, None, &self.marks)?;
        self.with_loose(lookup, domain, &|_| true)
    }

    /// The lookup of a domain to rely on: only packs that are good.
    pub fn reliable(&self, repository: &Repository, domain: DomainId) -> Result<BlobLookup> {
        let mut lookup = self.indexed(repository, domain)?;
        if self.is_read {
            // the owner has just opened them
            lookup.vouch(&|pack| pack.present && repository.keys().agree(&pack.wraps, &pack.header));
        }
        self.with_loose(lookup, domain, &|id| !self.bad.contains(id))
    }

    /// The lookup of a domain over what its index tells, where only packs count that are good.
    pub fn indexed(&self, repository: &Repository, domain: DomainId) -> Result<BlobLookup> {
        let current = index_objects::current(&self.objects.good, repository.keys().owner_writer());
        let own = current.filter(|object| object.name.domain() == Some(domain));
        let good: PackListing =
            self.packs.iter().filter(|(id, _)| !self.bad.contains(id)).map(|(id, at)| (*id, at.clone())).collect();
        Ok(BlobLookup::over(repository, own, Some(&good), &self.marks)?)
    }

    fn with_loose(
        &self,
        mut lookup: BlobLookup,
        domain: DomainId,
        is_there: &dyn Fn(&ObjectId) -> bool,
    ) -> Result<BlobLookup> {
        for pack in self.loose.iter().filter(|pack| pack.header.domain == domain) {
            let record = PackRecord::new(&pack.entry, pack.header, Arc::new(pack.wraps.clone()));
            lookup.add_pack(PackRecord { present: is_there(&pack.entry.id), ..record }, &pack.entry.directory)?;
        }
        Ok(lookup)
    }

    /// Index objects in force by domain.
    pub fn by_domain(&self) -> BTreeMap<DomainId, Vec<&IndexObject>> {
        let mut all: BTreeMap<DomainId, Vec<&IndexObject>> = BTreeMap::new();
        for object in self.objects.good.iter().filter(|object| self.current.contains(&object.name)) {
            if let Some(domain) = object.name.domain() {
                all.entry(domain).or_default().push(object);
            }
        }
        all
    }
}
