//! Reads and puts marks: which packs are condemned, and since when. A mark that can't be read may
//! name everything that the store had when it came: nobody relies on that, and who deletes stops until the owner
//! quarantines the mark.

use super::loaded::{Damage, Ignored, Loaded, Verdict, load};
use super::orders;
use crate::backend::Entry;
use crate::repository::{Repository, Result, encoding};
use crate::time::{BootTime, StoreTime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault_format::id::ObjectId;
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::{self, Name};

/// One condemning mark.
#[derive(Clone, Debug)]
pub struct Condemnation {
    /// The mark.
    pub id: ObjectId,
    /// Its packs.
    pub packs: BTreeSet<ObjectId>,
    /// Snapshots that are due with it.
    pub snapshots: Vec<SnapshotPlace>,
    /// Time until it may be carried out.
    pub grace: Duration,
    /// When it was put; `None` if the store keeps no times.
    pub put_at: Option<StoreTime>,
    /// It was carried out.
    pub swept: bool,
}

impl Condemnation {
    /// True if it is not old enough to be carried out.
    pub fn must_wait(&self, repository: &Repository) -> Result<bool> {
        Ok(self.age_at(repository.store_now()?).is_none_or(|age| age < self.grace))
    }

    /// Without a time nothing is known of its age: a writer takes it for old, a sweeper for young.
    fn age_at(&self, now: StoreTime) -> Option<Duration> {
        self.put_at.map(|at| now.since(at))
    }

    /// True if its sweep is far enough away to see what is committed now.
    pub fn is_young(&self, repository: &Repository) -> Result<bool> {
        Ok(repository.protocol().is_young(self, repository.store_now_at_most()?))
    }

    /// The rule: it is not carried out, and not older than half its grace.
    pub(crate) fn is_young_at(&self, now: StoreTime) -> bool {
        !self.swept && self.age_at(now).is_some_and(|age| age <= self.grace / 2)
    }
}

/// All marks.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Marks that condemn, carried out or not.
    pub condemnations: Vec<Condemnation>,
    /// Marks that say that one was carried out.
    pub swept: Vec<Swept>,
    /// Marks that are not the owner's.
    pub ignored: Vec<Ignored>,
    /// Marks that can't be read, and are taken for such as name nothing.
    pub damaged: Vec<Damage>,
    /// Marks that can't be read, and are taken for such as name all that they may.
    pub opaque: Vec<Opaque>,
    /// When they were looked at: what is relied on by them is as old as this.
    pub since: Option<BootTime>,
}

/// How marks that can't be read are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// As an error: whoever deletes must know what each of them says.
    Stops,
    /// As one that names all that the store had received when it came: a writer goes on, and relies on nothing of that.
    NamesAll,
    /// As one that names nothing, and is told of: for whoever neither relies on packs nor deletes them.
    NamesNothing,
}

/// A mark that can't be read: rotten, or junk that looks like it (W9).
#[derive(Clone, Debug)]
pub struct Opaque {
    /// Its name.
    pub id: ObjectId,
    /// When it was put; `None` if the store keeps no times.
    pub put_at: Option<StoreTime>,
    /// What was there before this time it may name.
    until: Option<StoreTime>,
}

impl Opaque {
    /// True if its sweep is far enough away, whatever its grace is.
    pub(crate) fn is_young(&self, repository: &Repository) -> Result<bool> {
        let Some(put_at) = self.put_at else { return Ok(false) };
        Ok(repository.store_now_at_most()?.since(put_at) <= repository.shortest_grace() / 2)
    }
}

/// One mark that tells the end of another.
#[derive(Clone, Debug)]
pub struct Swept {
    /// This mark.
    pub id: ObjectId,
    /// The one that was carried out.
    pub mark: ObjectId,
    /// When it was put; `None` if the store keeps no times.
    pub put_at: Option<StoreTime>,
}

/// A mark, and when the store received it.
struct Received {
    id: ObjectId,
    mark: Mark,
    put_at: Option<StoreTime>,
}

/// Old enough that it may be gone, by this machine's clock.
fn is_past(repository: &Repository, put_at: Option<StoreTime>) -> bool {
    put_at.is_some_and(|at| repository.presumed_store_now().since(at) > 2 * repository.options().run_lifetime)
}

/// Reads one mark of the owner.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<Mark> {
    let open = |stored: &[u8]| Mark::open(stored, repository.id(), repository.keys().owner_verifying());
    repository.once(name, |known| &mut known.marks, open)
}

impl Marks {
    /// Lists and reads all marks; one that can't be read is an error.
    pub fn load(repository: &Repository) -> Result<Self> {
        Self::load_with(repository, Unreadable::Stops)
    }

    /// Lists and reads all marks. What the owner did not sign is no mark; what the owner quarantined is passed over.
    pub fn load_with(repository: &Repository, unreadable: Unreadable) -> Result<Self> {
        let since = Some(repository.runtime().clock.elapsed());
        let mut listed = repository.list(name::MARKS)?.0;
        listed.retain(|(name, _)| matches!(name, Name::Mark(_)));
        let mut loaded = load(repository, &listed, |(name, entry)| {
            let (id, mark) = (name.id().unwrap_or_default(), read(repository, name)?);
            Ok(Verdict::Counts(Received { id, mark, put_at: entry.modified }))
        })?;
        let entries: BTreeMap<&Name, &Entry> = listed.iter().map(|(name, entry)| (name, entry)).collect();
        let arrived = |name: &Name| entries.get(name).and_then(|entry| entry.modified);
        // deleted meanwhile by the owner: nothing else is that old
        loaded.damaged.retain(|damage| !(damage.error.is_missing() && is_past(repository, arrived(&damage.name))));
        if !loaded.damaged.is_empty() {
            loaded.spare(&orders::quarantined(repository)?);
        }
        let Loaded { good, damaged, ignored } = loaded;
        let mut marks = Self { ignored, since, ..Self::of(good) };
        match unreadable {
            Unreadable::NamesNothing => marks.damaged = damaged,
            Unreadable::Stops => damaged.into_iter().next().map_or(Ok(()), |damage| Err(damage.error))?,
            Unreadable::NamesAll => {
                for Damage { name, error } in damaged {
                    // a mark that is listed and not there may say what the store just did not show
                    if error.is_missing() {
                        return Err(error);
                    }
                    let put_at = arrived(&name);
                    let until = put_at.map(|at| at + repository.options().clock_error);
                    marks.opaque.extend(name.id().map(|id| Opaque { id, put_at, until }));
                }
            }
        }
        Ok(marks)
    }

    /// What marks say, in the order of the listing.
    fn of(read: Vec<Received>) -> Self {
        let mut marks = Self::default();
        for Received { id, mark, put_at } in read {
            match mark {
                Mark::Swept { mark } => marks.swept.push(Swept { id, mark, put_at }),
                Mark::Condemn { packs, snapshots, grace } => {
                    let packs = packs.into_iter().map(|(_, pack)| pack).collect();
                    let grace = Duration::from_nanos(grace);
                    marks.condemnations.push(Condemnation { id, packs, snapshots, grace, put_at, swept: false });
                }
            }
        }
        for mark in &mut marks.condemnations {
            mark.swept = marks.swept.iter().any(|swept| swept.mark == mark.id);
        }
        marks
    }

    /// Without those that condemn and are young now: their sweeps see what is committed soon.
    pub(crate) fn without_young(mut self, repository: &Repository) -> Result<Self> {
        let mut old = Vec::new();
        for mark in std::mem::take(&mut self.condemnations) {
            if !mark.is_young(repository)? {
                old.push(mark);
            }
        }
        self.condemnations = old;
        Ok(self)
    }

    /// Packs of marks that were carried out.
    pub fn gone(&self) -> BTreeSet<ObjectId> {
        self.condemnations.iter().filter(|mark| mark.swept).flat_map(|mark| mark.packs.iter().copied()).collect()
    }

    /// The snapshots whose removal some mark, carried out or not, announces.
    pub fn due_snapshots(&self) -> BTreeSet<ObjectId> {
        self.condemnations.iter().flat_map(|mark| mark.snapshots.iter().map(|place| place.id)).collect()
    }

    /// True if a mark that nobody can read may name a pack that the store received at this time: those that came later
    /// it can't.
    pub fn may_name(&self, arrived: Option<StoreTime>) -> bool {
        self.opaque.iter().any(|mark| mark.until.zip(arrived).is_none_or(|(until, arrived)| arrived <= until))
    }

    /// Marks that nobody can read.
    pub fn unread(&self) -> impl Iterator<Item = Name> {
        self.opaque.iter().map(|mark| Name::Mark(mark.id))
    }

    /// True if any mark, carried out or not, names the pack.
    pub fn names(&self, pack: &ObjectId) -> bool {
        self.condemnations.iter().any(|mark| mark.packs.contains(pack))
    }
}

/// True if any of these packs, snapshots and index objects, which were listed before, is gone now.
pub(crate) fn was_swept(repository: &Repository, mut before: impl Iterator<Item = ObjectId>) -> Result<bool> {
    let mut listed = BTreeSet::new();
    for prefix in [name::INDEX, name::SNAPSHOTS, name::PACKS] {
        listed.extend(repository.list(prefix)?.0.into_iter().filter_map(|(name, _)| name.id()));
    }
    Ok(before.any(|id| !listed.contains(&id)))
}

/// Puts a mark. Needs the owner.
pub(crate) fn put(repository: &Repository, mark: &Mark) -> Result<ObjectId> {
    repository.keys().owner("prune")?;
    let salt = repository.runtime().random();
    let stored = encoding("a mark", mark.seal(repository.id(), repository.keys().signer(), &salt))?;
    let id = ObjectId::of(&stored);
    repository.put(&Name::Mark(id), &stored)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{Condemnation, Duration, Marks, Opaque, StoreTime};
    use std::collections::BTreeSet;
    use vault_format::id::ObjectId;

    const ID: ObjectId = ObjectId([1; 32]);

    fn mark(put_at: Option<StoreTime>, swept: bool) -> Condemnation {
        let grace = Duration::from_nanos(100);
        Condemnation { id: ID, packs: BTreeSet::new(), snapshots: Vec::new(), grace, put_at, swept }
    }

    #[test]
    fn a_mark_is_young_for_half_its_grace() {
        let put_at = Some(StoreTime::new(1000));
        for (now, is_young) in [(999, true), (1000, true), (1050, true), (1051, false), (1100, false)] {
            let now = StoreTime::new(now);
            assert_eq!(mark(put_at, false).is_young_at(now), is_young, "at {now:?}");
            assert!(!mark(put_at, true).is_young_at(now), "carried out");
            assert!(!mark(None, false).is_young_at(now), "nobody knows its age");
        }
    }

    #[test]
    fn a_mark_that_nobody_can_read_names_what_was_there_before_it() {
        let marks = |until| Marks { opaque: vec![Opaque { id: ID, put_at: until, until }], ..Marks::default() };
        let (then, later) = (Some(StoreTime::new(50)), Some(StoreTime::new(51)));
        assert!(marks(then).may_name(then) && !marks(then).may_name(later));
        assert!(marks(None).may_name(later) && marks(then).may_name(None), "where a time is missing, it may");
        assert!(!Marks::default().may_name(None));
    }
}
