//! One look at the repository, in the one order that is safe for all who look (SPEC, section 23), and owned: it can be
//! kept as long as the protocol lets what was seen be relied on.
//!
//! | step | why not later, or not before |
//! |---|---|
//! | 1. `orders/` | what the owner wants passed over must be known before anything is found damaged |
//! | 2. `keys/` | who may write: without it nothing counts |
//! | 3. `marks/` | a writer may rely on no pack that was condemned before it was listed, so marks come before packs |
//! | 4. `journal/` | before snapshots: else a record of what is committed meanwhile names one that is not listed yet |
//! | 5. `snapshots/` | before the index: what a listed snapshot needs was indexed before it |
//! | 6. `index/` | before packs: else an index tells of a pack that was put meanwhile, and that passes for missing |
//! | 7. `orders/` again | what a writer puts after its revocation never counts, so its index objects are judged by this |
//! | 8. `packs/` | last: every pack that an index tells of is there, unless a mark names it or it is lost |
//!
//! The forms leave out steps, and differ in how damage is taken, but never in the order:
//!
//! | form | for | marks | journal | snapshots | index | packs | damage |
//! |---|---|---|---|---|---|---|---|
//! | `to_read` | list, find, restore, diff, stats, the source of a copy | - | - | all | asked for | asked for | told |
//! | `to_read_journal` | journal | - | yes | all | asked for | asked for | told |
//! | `to_decide` | tag | - | - | all | asked for | asked for | an order that can't be read stops |
//! | `to_forget` | forget | - | yes | all | asked for | asked for | the same; what is missing is told |
//! | `to_undelete` | undelete | must be readable | - | all | asked for | asked for | an order that can't be read stops |
//! | `to_write` | snapshot, the target of a copy | go on beside | - | a source, or all | its domain, or all | yes | told |
//! | `to_revoke` | key removal | name nothing | yes | all | one domain | - | told |
//! | `to_check` | check | name nothing | yes | all | all | yes | told; what the store refuses stops |
//! | `to_repair` | repair, the rebuilt index | must be readable | yes | all | all | yes | told; what the store refuses stops |
//! | `to_delete` | prune | must be readable | yes | all | all | yes | stops, or leaves its domain out; what is unknown stops |

pub mod address;
mod doubts;
pub mod hidden;
pub(crate) mod memory;
pub mod missing;
pub mod readable;

pub(crate) use doubts::Doubts;

use crate::repository::index::inherited::{self, Inherited};
use crate::repository::index::loose;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::arrivals::Late;
use crate::repository::objects::index_objects::{self, IndexObjects, PackListing};
use crate::repository::objects::loaded::Damage;
use crate::repository::objects::marks::{Marks, Unreadable};
use crate::repository::objects::orders::{Orders, UNKNOWN_FEATURES};
use crate::repository::objects::slots::Slots;
use crate::repository::objects::snapshots::{Snapshots, SourcePlace};
use crate::repository::objects::trust::Trust;
use crate::repository::{Error, Repository, Result};
use crate::runtime::Locked;
use memory::{Memory, Shown};
use missing::{Heads, OnRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::Name;

/// What was seen.
pub struct View {
    repository: Repository,
    /// The owner's word.
    pub(crate) orders: Orders,
    /// Whose objects count.
    pub(crate) trust: Trust,
    /// What is condemned; nothing in forms that do not ask.
    pub(crate) marks: Marks,
    /// Snapshots that records name; none in forms that do not ask.
    pub(crate) heads: Heads,
    /// Snapshots, oldest first.
    pub snapshots: Snapshots,
    /// What this machine remembers, and does not see.
    pub(crate) memory: Memory,
    /// Index objects of the forms that need them all at once.
    pub(crate) objects: IndexObjects,
    /// Packs as listed after the index; none in forms that do not ask.
    pub(crate) packs: PackListing,
    /// What earlier runs of this key have left in no index, for who writes.
    pub(crate) left: Arc<Inherited>,
    /// Lookups that were asked for.
    lookups: Locked<BTreeMap<Asked, Found>>,
}

/// A lookup of a domain that is loaded when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    domain: DomainId,
    /// Packs are listed, and only those that are there count.
    is_listed: bool,
}

/// What came of loading it.
#[derive(Debug)]
struct Found {
    lookup: BlobLookup,
    /// Index objects that can't be used.
    damaged: Vec<Damage>,
}

/// Of which domains something is read at once.
#[derive(Clone, Copy, Default)]
enum Scope {
    #[default]
    Nothing,
    One(DomainId),
    All,
}

/// How the journal is read.
#[derive(Default)]
enum Journal<'j> {
    #[default]
    NotAtAll,
    ForHeads,
    /// Every record is read, and given.
    ForRecords(&'j mut OnRecord<'j>),
}

/// In what the forms differ. The least looks at orders, slots and snapshots.
#[derive(Default)]
struct Look<'l> {
    /// How marks that can't be read are taken; `None` = marks are not looked at.
    marks: Option<Unreadable>,
    /// Marks that are young as soon as they are seen are left out: later they may have been carried out meanwhile.
    leaves_young: bool,
    journal: Journal<'l>,
    /// Only snapshots of this source.
    source: Option<SourcePlace>,
    index: Scope,
    lists_packs: bool,
    /// The removal of a key may not be finished, and what it will accept may not go.
    is_patient: bool,
    /// A writer to be taken as if it had never been revoked: what it has stored counts, and not what it names.
    pardoned: Option<WriterId>,
}

impl<'l> Look<'l> {
    /// Everything.
    fn whole(marks: Unreadable, journal: Journal<'l>) -> Self {
        Self { marks: Some(marks), journal, index: Scope::All, lists_packs: true, ..Self::default() }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, orders, trust, marks, heads, snapshots, .. } = self;
        let mut out = out.debug_struct("View");
        out.field("repository", &repository.location()).field("orders", orders).field("trust", trust);
        out.field("marks", marks).field("heads", heads).field("snapshots", snapshots).finish_non_exhaustive()
    }
}

impl View {
    /// For whoever reads. Index objects of a domain are read when its lookup is asked for.
    pub fn to_read(repository: &Repository) -> Result<Self> {
        Self::take(repository, Look::default())
    }

    /// For whoever decides by snapshots what may go: an order that can't be read could be one that keeps a snapshot.
    pub(crate) fn to_decide(repository: &Repository) -> Result<Self> {
        Self::take(repository, Look { is_patient: true, ..Look::default() })?.decided()
    }

    /// The same for whoever drops snapshots by it: an order that is missing could keep one too.
    pub(crate) fn to_forget(repository: &Repository) -> Result<Self> {
        let look = || Look { journal: Journal::ForHeads, is_patient: true, ..Look::default() };
        Self::take_unhidden(|| Self::take(repository, look())?.decided())
    }

    /// Looks a second time if an order is missing: it may have been given, and named, while the first look was taken.
    fn take_unhidden(mut take: impl FnMut() -> Result<Self>) -> Result<Self> {
        let view = take()?;
        if view.hidden().is_empty() { Ok(view) } else { take() }
    }

    /// For whoever takes a snapshot back. Marks that are young at this moment are left out: their sweeps see what is
    /// committed now.
    pub(crate) fn to_undelete(repository: &Repository) -> Result<Self> {
        let marks = Some(Unreadable::Stops);
        Self::take(repository, Look { marks, leaves_young: true, is_patient: true, ..Look::default() })?.decided()
    }

    /// For a writer (W1) to one source, or to all.
    pub(crate) fn to_write(repository: &Repository, source: Option<SourcePlace>) -> Result<Self> {
        let index = source.map_or(Scope::All, |place| Scope::One(place.domain));
        let look = Look { marks: Some(Unreadable::NamesAll), source, index, lists_packs: true, ..Look::default() };
        let mut view = Self::take(repository, look)?;
        // what was cut off before the last run that was not is needed no more, or was found by that
        let own = view.snapshots.all.iter().filter(|one| one.header.writer == repository.keys().writer());
        let since = source.and_then(|_| own.filter_map(|one| one.arrived).max());
        let domain = source.map(|place| place.domain);
        view.left = Arc::new(inherited::find(repository, view.unindexed(), &view.packs, domain, since));
        Ok(view)
    }

    /// For the removal of a writer's key: all that it has stored in its domain, revoked or not.
    pub(crate) fn to_revoke(repository: &Repository, writer: WriterId, domain: DomainId) -> Result<Self> {
        let look = Look {
            marks: Some(Unreadable::NamesNothing),
            journal: Journal::ForHeads,
            index: Scope::One(domain),
            pardoned: Some(writer),
            ..Look::default()
        };
        Self::take(repository, look)
    }

    /// For whoever reads the journal; records are given to `on_record` as they are read.
    pub(crate) fn to_read_journal<'r>(repository: &Repository, on_record: &'r mut OnRecord<'r>) -> Result<Self> {
        Self::take(repository, Look { journal: Journal::ForRecords(on_record), ..Look::default() })
    }

    /// For whoever looks for damage; records are given to `on_record` as they are read.
    pub(crate) fn to_check<'r>(repository: &Repository, on_record: &'r mut OnRecord<'r>) -> Result<Self> {
        let look = Look::whole(Unreadable::NamesNothing, Journal::ForRecords(on_record));
        Self::take(repository, look)?.answered()
    }

    /// For whoever mends damage.
    pub(crate) fn to_repair(repository: &Repository) -> Result<Self> {
        Self::take(repository, Look::whole(Unreadable::Stops, Journal::ForHeads))?.answered()
    }

    /// For a deleter, who must know everything or nothing: damage of what concerns all, a feature or an object of a version
    /// to come each stop it, and so does a config that is another one at the end, since a mount that has vanished lists
    /// as empty. What concerns one domain [`View::doubts`] tells.
    pub(crate) fn to_delete(repository: &Repository) -> Result<Self> {
        let look = || Look { is_patient: true, ..Look::whole(Unreadable::Stops, Journal::ForHeads) };
        let view = Self::take_unhidden(|| Self::take(repository, look()))?;
        if let Some(damage) = view.trust.damaged.iter().chain(&view.orders.damaged).next() {
            return Err(Error::Unsafe(damage.to_string().into()));
        }
        if !view.orders.are_understood() {
            return Err(Error::Unsafe(UNKNOWN_FEATURES.into()));
        }
        if let Some(unknown) = repository.later_object()? {
            return Err(Error::Unsafe(unknown));
        }
        let config = repository.backend().get(&Name::Config.to_string(), None)?;
        if ObjectId::of(&config) != repository.keys().config() {
            return Err(Error::Unsafe("the config has changed meanwhile".into()));
        }
        Ok(view)
    }

    /// The look itself: the only place where the order is written down.
    fn take(repository: &Repository, look: Look<'_>) -> Result<Self> {
        let orders = Orders::load(repository)?;
        let slots = Slots::load(repository, &orders)?;
        let mut trust = Trust::new(repository, &orders, &slots);
        if let Some(writer) = look.pardoned {
            trust.pardon(writer);
        }
        let marks = match look.marks {
            Some(unreadable) => Marks::load_with(repository, unreadable)?,
            None => Marks::default(),
        };
        let marks = if look.leaves_young { marks.without_young(repository)? } else { marks };
        let heads = match look.journal {
            Journal::NotAtAll => Heads::default(),
            Journal::ForHeads => Heads::load(repository, &trust, None)?,
            Journal::ForRecords(on_record) => Heads::load(repository, &trust, Some(on_record))?,
        };
        // not before: a record of a revoked writer, who can name what never was, must stop nobody
        if look.is_patient {
            trust = trust.patient(repository);
        }
        let snapshots = Snapshots::load(repository, &trust, &orders, look.source)?;
        let memory = repository.0.cache.get().map(|cache| {
            let slots = slots.good.iter().map(|slot| slot.id).collect();
            let shown = Shown { orders: &orders, slots, snapshots: &snapshots, source: look.source };
            Memory::renew(cache, &shown, repository.runtime().clock.now())
        });
        let memory = memory.unwrap_or_default();
        // lists the orders again
        let objects = match look.index {
            Scope::Nothing => IndexObjects::default(),
            Scope::One(domain) => IndexObjects::load(repository, &trust, Some(domain))?,
            Scope::All => IndexObjects::load(repository, &trust, None)?,
        };
        let packs = if look.lists_packs { index_objects::list_packs(repository)?.0 } else { PackListing::new() };
        let (repository, left, lookups) = (repository.clone(), Arc::default(), Locked::default());
        Ok(Self { repository, orders, trust, marks, heads, snapshots, memory, objects, packs, left, lookups })
    }

    /// Stops at an order that can't be read.
    fn decided(self) -> Result<Self> {
        match self.orders.damaged.first() {
            Some(damage) => Err(Error::Undecided(damage.to_string())),
            None => Ok(self),
        }
    }

    /// Stops at what the store refused: that is no damage.
    fn answered(self) -> Result<Self> {
        let all = [
            &self.trust.damaged,
            &self.orders.damaged,
            &self.marks.damaged,
            &self.snapshots.damaged,
            &self.objects.damaged,
        ];
        let unanswered = all.into_iter().flatten().find(|damage| damage.error.is_unanswered());
        unanswered.map_or(Ok(()), |damage| Err(damage.error.clone()))?;
        Ok(self)
    }

    /// Where it was seen.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Takes the owner's answer for snapshots that are late and were never pinned; returns how many there are.
    pub(crate) fn settle(&mut self, late: Late) -> usize {
        self.snapshots.settle(late, self.orders.last_pins, self.trust.saw_move)
    }

    /// The lookup of one domain to read with, loaded when it is first asked for. Listings prove nothing to a reader, so
    /// none are taken: what an index tells of is tried.
    pub(crate) fn lookup(&self, domain: DomainId) -> Result<BlobLookup> {
        self.asked(Asked { domain, is_listed: false })
    }

    /// The lookup of one domain where only packs count that are listed; what marks of this view name is condemned.
    pub(crate) fn lookup_of_listed(&self, domain: DomainId) -> Result<BlobLookup> {
        self.asked(Asked { domain, is_listed: true })
    }

    fn asked(&self, asked: Asked) -> Result<BlobLookup> {
        if let Some(found) = self.lookups.lock().get(&asked) {
            return Ok(found.lookup.clone());
        }
        let mut objects = IndexObjects::load(&self.repository, &self.trust, Some(asked.domain))?;
        let damaged = std::mem::take(&mut objects.damaged);
        let packs = if asked.is_listed { Some(index_objects::list_packs(&self.repository)?.0) } else { None };
        let lookup = BlobLookup::new(&self.repository, objects, packs.as_ref(), &self.marks)?;
        self.lookups.lock().insert(asked, Found { lookup: lookup.clone(), damaged });
        Ok(lookup)
    }

    /// Index objects of a domain that could not be used for the lookups that were asked for.
    pub(crate) fn damaged_index(&self, domain: DomainId) -> Vec<Damage> {
        let found = self.lookups.lock();
        let own = found.iter().filter(|(asked, _)| asked.domain == domain);
        own.flat_map(|(_, found)| found.damaged.iter().cloned()).collect()
    }

    /// Packs that are listed, and that neither an index of this look tells of nor a mark names.
    pub(crate) fn unindexed(&self) -> Vec<loose::Pack> {
        loose::unindexed(&self.repository, &self.packs, &self.objects, &self.marks)
    }

    /// The lookups of all domains over what this look has of their index.
    pub(crate) fn indexed(&self) -> Result<BTreeMap<DomainId, BlobLookup>> {
        let domains: BTreeSet<DomainId> = self.objects.good.iter().filter_map(|object| object.name.domain()).collect();
        let lookup = |domain: DomainId| {
            let current = index_objects::current(&self.objects.good, self.repository.keys().owner_writer());
            let own = current.filter(|object| object.name.domain() == Some(domain));
            Ok((domain, BlobLookup::over(&self.repository, own, Some(&self.packs), &self.marks)?))
        };
        domains.into_iter().map(lookup).collect()
    }

    /// The lookup of one domain to write with, from the index objects of this look: those of the domain are dropped, for
    /// beside the lookup they would take as much memory again.
    pub(crate) fn lookup_to_write(&mut self, domain: DomainId) -> Result<BlobLookup> {
        let (own, others) =
            std::mem::take(&mut self.objects.good).into_iter().partition(|object| object.name.domain() == Some(domain));
        self.objects.good = others;
        let own = IndexObjects { good: own, ..IndexObjects::default() };
        let mut lookup = BlobLookup::new(&self.repository, own, Some(&self.packs), &self.marks)?;
        self.left.add_to(&mut lookup, &self.repository, domain)?;
        Ok(lookup)
    }
}
