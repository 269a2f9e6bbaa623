//! Reads and puts marks: which packs are condemned, and since when on the store's clock. A mark that can't be read stops
//! everybody, until the owner quarantines it: nobody may rely on, or delete, what it might name.

use super::{Damage, Error, Judged, Repository, Result, encoding, of_object, orders, strange};
use crate::backend::{Entry, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Nanoseconds until it may be carried out.
    pub grace: u64,
    /// When it was put, nanoseconds on the store's clock; `None` if the store has none.
    pub put_at: Option<i64>,
    /// It was carried out.
    pub swept: bool,
}

impl Condemnation {
    /// Age in nanoseconds on the store's clock, at least.
    pub fn age(&self, repository: &Repository) -> Result<i64> {
        Ok(self.age_at(repository.store_now()?))
    }

    fn age_at(&self, now: i64) -> i64 {
        // without a store time nothing is known of its age: a writer takes it for old, a sweeper for young
        self.put_at.map_or(-1, |at| now.saturating_sub(at).max(0))
    }

    /// True if its sweep is far enough away to see what is committed now.
    pub fn is_young(&self, repository: &Repository) -> Result<bool> {
        let half = i64::try_from(self.grace / 2).unwrap_or(i64::MAX);
        Ok(!self.swept && (0..=half).contains(&self.age_at(repository.store_now_at_most()?)))
    }
}

/// All marks.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Marks that condemn, carried out or not.
    pub condemnations: Vec<Condemnation>,
    /// Marks that say that one was carried out.
    pub swept: Vec<Swept>,
    /// Marks that are not the owner's, with the reason.
    pub ignored: Vec<String>,
    /// When they were looked at, nanoseconds since boot: what is relied on by them is as old as this.
    pub since: Option<i64>,
}

/// One mark that tells the end of another.
#[derive(Clone, Debug)]
pub struct Swept {
    /// This mark.
    pub id: ObjectId,
    /// The one that was carried out.
    pub mark: ObjectId,
    /// When it was put, nanoseconds on the store's clock; `None` if the store has none.
    pub put_at: Option<i64>,
}

/// Old enough that it may be gone, by this machine's clock.
fn is_past(repository: &Repository, entry: &Entry) -> bool {
    let lifetime = i64::try_from(2 * repository.options().run_lifetime.as_nanos()).unwrap_or(i64::MAX);
    entry.modified.is_some_and(|at| repository.runtime().clock.now().saturating_sub(at) > lifetime)
}

/// Reads and judges one mark.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<Judged<Mark>> {
    let Some(id) = name.id() else { return of_object(name, Err(vault_format::Error::WrongKind)) };
    if let Some(known) = repository.known().marks.get(&id) {
        return Ok(Ok(known.clone()));
    }
    let stored = repository.get_named(name)?;
    let mark = strange(of_object(name, Mark::open(&stored, repository.id(), repository.keys().owner_verifying())))?;
    if let Ok(mark) = &mark {
        repository.known().marks.insert(id, mark.clone());
    }
    Ok(mark)
}

impl Marks {
    /// Lists and reads all marks. What the owner did not sign is no mark; what the owner quarantined is passed over.
    pub fn load(repository: &Repository) -> Result<Self> {
        Self::load_with(repository, &mut |_, error| Err(error))
    }

    /// The marks that can be read, and those that can't: for whoever neither relies on packs nor deletes them.
    pub fn load_readable(repository: &Repository) -> Result<(Self, Vec<Damage>)> {
        let mut damaged = Vec::new();
        let marks = Self::load_with(repository, &mut |name, error| {
            damaged.push((name, error.to_string()));
            Ok(())
        })?;
        Ok((marks, damaged))
    }

    fn load_with(repository: &Repository, unreadable: &mut dyn FnMut(Name, Error) -> Result<()>) -> Result<Self> {
        let since = Some(repository.runtime().clock.elapsed());
        let mut condemnations = BTreeMap::new();
        let mut swept = BTreeMap::new();
        let mut ignored = Vec::new();
        let mut passed_over = None;
        for (name, entry) in repository.list(name::MARKS)?.0 {
            let Name::Mark(id) = name else { continue };
            match read(repository, &name) {
                Ok(Err(why)) => ignored.push(format!("{name}: {why}")),
                Ok(Ok(Mark::Swept { mark })) => {
                    swept.insert(id, Swept { id, mark, put_at: entry.modified });
                }
                Ok(Ok(Mark::Condemn { packs, snapshots, grace })) => {
                    let packs = packs.into_iter().map(|(_, pack)| pack).collect();
                    let put_at = entry.modified;
                    condemnations.insert(id, Condemnation { id, packs, snapshots, grace, put_at, swept: false });
                }
                // deleted meanwhile by the owner: nothing else is that old
                Err(Error::Backend(error)) if error.kind == ErrorKind::NotFound && is_past(repository, &entry) => {}
                Err(error) => {
                    let known = passed_over.get_or_insert_with(|| orders::quarantined(repository));
                    if !known.contains(&id) {
                        unreadable(name, error)?;
                    }
                }
            }
        }
        for Swept { mark, .. } in swept.values() {
            if let Some(mark) = condemnations.get_mut(mark) {
                mark.swept = true;
            }
        }
        let condemnations = condemnations.into_values().collect();
        Ok(Self { condemnations, swept: swept.into_values().collect(), ignored, since })
    }

    /// Packs of marks that were carried out.
    pub fn gone(&self) -> BTreeSet<ObjectId> {
        self.condemnations.iter().filter(|mark| mark.swept).flat_map(|mark| mark.packs.iter().copied()).collect()
    }

    /// The snapshots whose removal some mark, carried out or not, announces.
    pub fn due_snapshots(&self) -> BTreeSet<ObjectId> {
        self.condemnations.iter().flat_map(|mark| mark.snapshots.iter().map(|place| place.id)).collect()
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
