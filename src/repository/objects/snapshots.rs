//! Lists snapshots, applies the owner's orders to them, and finds the one that an address means. A head counts only if
//! its writer is known, accepted and at home in the domain; others are reported and ignored.

use super::domains::Domains;
use super::loaded::{Damage, Ignored, Loaded, Reason, Verdict, load};
use super::orders::{Orders, State};
use super::trust::{Claimant, Trust};
use crate::repository::{Repository, Result, of_object};
use crate::retention::Counted;
use crate::time::{StoreTime, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::bundle::Role;
use vault_format::envelope::Wraps;
use vault_format::header::Header;
use vault_format::id::{DomainId, ObjectId, RunId, SourceLabel, WriterId};
use vault_format::mark::SnapshotPlace;
use vault_format::name::{self, Name};
use vault_format::snapshot::{Body, Head, Snapshot};

/// One snapshot with its head.
#[derive(Clone, Debug)]
pub struct SnapshotEntry {
    /// Object.
    pub id: ObjectId,
    /// Where it lies.
    pub place: SnapshotPlace,
    /// Clear header.
    pub header: Header,
    /// Bookkeeping.
    pub head: Head,
    /// When the store received it.
    pub arrived: Option<StoreTime>,
    /// When it was first seen to have been received, in the owner's word.
    pub pinned: Option<StoreTime>,
    /// Orders on it.
    pub state: State,
    /// True if the owner signed it.
    pub by_owner: bool,
    /// The time that counts, for order, addresses and retention.
    pub counted: Counted,
    /// It is late, and the store seems to have been moved: the claimed time counts, but nothing is dropped by it.
    pub doubtful: bool,
    wraps: Wraps,
}

/// All snapshots that this key can see.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Oldest first by the time that counts, forgotten ones included.
    pub all: Vec<SnapshotEntry>,
    /// Objects that can't be used.
    pub damaged: Vec<Damage>,
    /// Objects that do not count.
    pub ignored: Vec<Ignored>,
    /// What their domains are called.
    pub domains: Domains,
    /// All that the store lists, whether they count or not.
    pub listed: BTreeSet<ObjectId>,
}

/// One source of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// The domain.
    pub domain: DomainId,
    /// The source in it.
    pub label: SourceLabel,
}

impl SnapshotEntry {
    /// Object name.
    pub fn name(&self) -> Name {
        Name::Snapshot(self.place.domain, self.place.label, self.id)
    }

    /// The id under which its content was first committed, before any plain copy of the owner's. What repair made of a
    /// snapshot holds less, and so has an id of its own.
    pub fn first_id(&self) -> ObjectId {
        self.head.original.filter(|_| self.by_owner && self.repaired_from().is_none()).unwrap_or(self.id)
    }

    /// Who took it. A copy is the owner's, who tells whose the original was: his word alone makes it another's.
    pub fn writer(&self) -> WriterId {
        self.head.taken_by.filter(|_| self.by_owner).unwrap_or(self.header.writer)
    }

    /// True if commands show it: not forgotten, or held.
    pub fn is_visible(&self) -> bool {
        !self.state.is_forgotten() || self.state.is_held()
    }

    /// True if members of its domain may read it: its writer was no mere writer.
    pub fn is_shared(&self) -> bool {
        self.wraps.reaches(self.place.domain)
    }

    /// The snapshot of which repair made this one, here, without what was lost. Other copies have no such parent.
    pub fn repaired_from(&self) -> Option<ObjectId> {
        self.head.original.filter(|_| self.by_owner && self.head.parent == self.head.original)
    }

    /// The snapshot, by its first id, of which this holds what was left, wherever repair made it.
    pub fn left_of(&self) -> Option<ObjectId> {
        self.head.left_of.filter(|_| self.by_owner).or_else(|| self.repaired_from())
    }

    /// True if this holds what was left of `whole`.
    pub fn is_left_of(&self, whole: &Self) -> bool {
        let is_near = self.id != whole.id && self.place.domain == whole.place.domain;
        let is_first = || whole.left_of().is_none() && self.left_of() == Some(whole.first_id());
        is_near && (self.repaired_from() == Some(whole.id) || is_first())
    }

    /// When its run began, as it says.
    pub fn claimed(&self) -> WallTime {
        WallTime::new(self.head.time)
    }

    /// True if it claims to be older than its arrival can explain, and the owner has never seen it.
    pub(crate) fn is_late_and_new(&self) -> bool {
        let arrived = self.arrived.filter(|_| self.counted.late && self.pinned.is_none());
        arrived.is_some_and(|at| self.claimed() < WallTime::from_store(at))
    }

    /// The head of a copy of it by a run, in a history that continues `seen`: with the owner's word in it, so that its
    /// time stands.
    pub(crate) fn copied(&self, run: RunId, seen: Vec<ObjectId>) -> Head {
        Head {
            time: self.counted.time.nanoseconds(),
            run,
            parent: None,
            seen,
            expires: self.expires().map(WallTime::nanoseconds),
            original: Some(self.first_id()),
            left_of: self.left_of(),
            taken_by: Some(self.writer()),
            ..self.head.clone()
        }
    }

    /// When it expires: the owner's last word, else its writer's.
    pub fn expires(&self) -> Option<WallTime> {
        self.state.expires().unwrap_or(self.head.expires.map(WallTime::new))
    }

    /// Opens the content part: paths, host, tags.
    pub fn body(&self, repository: &Repository) -> Result<Body> {
        let (name, keys) = (&self.name(), repository.keys());
        let secret = keys.open_run("read a snapshot's content", name, (&self.wraps, &self.header))?;
        let stored = repository.get_named(name)?;
        let snapshot = of_object(name, Snapshot::parse(&stored, repository.id()))?;
        of_object(name, snapshot.body(&secret))
    }
}

/// Reads and judges one head; `arrived` is when the store received it, if that is known.
pub(crate) fn read(
    repository: &Repository,
    trust: &Trust,
    name: &Name,
    arrived: Option<StoreTime>,
) -> Result<Verdict<SnapshotEntry>> {
    let Name::Snapshot(domain, label, id) = *name else {
        return of_object(name, Err(vault_format::Error::WrongKind));
    };
    let place = SnapshotPlace { domain, label, id };
    let stored = repository.get_named(name)?;
    let snapshot = of_object(name, Snapshot::parse(&stored, repository.id()))?;
    let header = *snapshot.header();
    let book = repository.keys().book(place.domain).ok_or(vault_format::Error::NoAccess);
    let book = of_object(name, book)?;
    let head = snapshot.head(&book);
    let claimant = Claimant { name, header: &header, arrived, opens: head.is_ok() };
    if let Verdict::Ignored(reason) =
        trust.judge(&claimant, |key| repository.verify_once(name, key, || snapshot.verify(key)))?
    {
        return Ok(Verdict::Ignored(reason));
    }
    let head = of_object(name, head)?;
    if book.source_label(&head.source) != place.label {
        // anybody who can put can put it a second time: only where it belongs it counts
        return Ok(Verdict::Ignored(Reason::Unsigned));
    }
    let by_owner = trust.signer(header.writer).is_some_and(|signer| signer.role == Role::Owner);
    let (wraps, counted) = (snapshot.wraps, Counted::of_owner(WallTime::new(head.time)));
    let (pinned, state, doubtful) = (None, State::default(), false);
    let read = SnapshotEntry { id, place, header, head, arrived, pinned, state, by_owner, counted, doubtful, wraps };
    Ok(Verdict::Counts(read))
}

impl Snapshots {
    /// Reads the heads of one source of one domain, or of all that this key can open.
    pub(crate) fn load(
        repository: &Repository,
        trust: &Trust,
        orders: &Orders,
        only: Option<SourcePlace>,
    ) -> Result<Self> {
        let prefix = only
            .map_or(name::SNAPSHOTS.to_owned(), |only| format!("{}{}/{}/", name::SNAPSHOTS, only.domain, only.label));
        let mut listed = repository.list(&prefix)?.0;
        listed.retain(|(name, _)| matches!(name, Name::Snapshot(..)));
        let ids = listed.iter().filter_map(|(name, _)| name.id()).collect();
        let can_open = |name: &Name| name.domain().is_some_and(|domain| repository.keys().book(domain).is_some());
        let is_quarantined = |name: &Name| name.id().is_some_and(|id| orders.quarantined.contains(&id));
        listed.retain(|(name, _)| can_open(name) && !is_quarantined(name));
        let Loaded { good, damaged, ignored } =
            load(repository, &listed, |(name, entry)| read(repository, trust, name, entry.modified))?;
        let all = good.into_iter().map(|one| SnapshotEntry { state: orders.state(one.id), ..one }).collect();
        let domains = Domains::new(repository, trust, orders);
        let mut snapshots = Self { all, damaged, ignored, domains, listed: ids };
        for one in snapshots.all.iter_mut().filter(|one| !one.by_owner) {
            one.pinned = one.state.arrived();
        }
        snapshots.count(trust.saw_move);
        Ok(snapshots)
    }

    /// Those that commands show, oldest first.
    pub fn visible(&self) -> impl DoubleEndedIterator<Item = &SnapshotEntry> {
        self.all.iter().filter(|snapshot| snapshot.is_visible())
    }

    /// When the store received the last snapshot of each group; of one that it tells nothing of, not yet.
    pub(crate) fn last_arrivals<G: Ord>(&self, group: impl Fn(&SnapshotEntry) -> G) -> BTreeMap<G, StoreTime> {
        let mut last = BTreeMap::new();
        for one in &self.all {
            let at = last.entry(group(one)).or_insert(StoreTime::MIN);
            *at = one.arrived.unwrap_or(StoreTime::MAX).max(*at);
        }
        last
    }

    /// The newest snapshot of each source that commands show, `without` some.
    pub fn newest(&self, without: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        let stays = |snapshot: &&SnapshotEntry| !without.contains(&snapshot.id);
        let place = |snapshot: &SnapshotEntry| (snapshot.place.domain, snapshot.place.label);
        let newest: BTreeMap<_, _> = self.visible().filter(stays).map(|one| (place(one), one.id)).collect();
        newest.into_values().collect()
    }

    /// The newest heads of a writer in the source of `place`, to be named in its next one, so that a missing one shows
    /// as a gap.
    pub(crate) fn seen_by(&self, writer: WriterId, place: SourcePlace) -> Vec<ObjectId> {
        let is_own = |snapshot: &&SnapshotEntry| {
            snapshot.header.writer == writer
                && (snapshot.place.domain, snapshot.place.label) == (place.domain, place.label)
        };
        self.all.iter().rev().filter(is_own).take(4).map(|snapshot| snapshot.id).collect()
    }

    /// True if there are snapshots of more than one domain.
    pub fn are_mixed(&self) -> bool {
        let mut domains = self.all.iter().map(|one| one.place.domain);
        domains.next().is_some_and(|first| domains.any(|other| other != first))
    }
}
