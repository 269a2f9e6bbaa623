//! Reads and puts marks: which packs are condemned, and since when on the store's clock. A mark that can't be read may
//! name everything that the store had when it came: nobody relies on that, and who deletes stops until the owner
//! quarantines the mark.

use super::orders;
use crate::backend::{Entry, ErrorKind};
use crate::repository::{Damage, Error, Judged, Repository, Result, encoding, of_object, strange};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::ObjectId;
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::{self, Name};
use vault_format::object::OBJECT_BYTES_MAX;

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
    /// Marks that nobody can read, for whoever goes on beside them.
    pub opaque: Vec<Opaque>,
    /// When they were looked at, nanoseconds since boot: what is relied on by them is as old as this.
    pub since: Option<i64>,
}

/// A mark that can't be read: rotten, or junk that looks like it (W9).
#[derive(Clone, Debug)]
pub struct Opaque {
    /// Its name.
    pub id: ObjectId,
    /// When it was put, nanoseconds on the store's clock; `None` if the store has none.
    pub put_at: Option<i64>,
    /// What was there before this time it may name.
    until: Option<i64>,
}

impl Opaque {
    /// True if its sweep is far enough away, whatever its grace is.
    pub(crate) fn is_young(&self, repository: &Repository) -> Result<bool> {
        let Some(put_at) = self.put_at else { return Ok(false) };
        let half = i64::try_from((repository.shortest_grace() / 2).as_nanos()).unwrap_or(i64::MAX);
        Ok(repository.store_now_at_most()?.saturating_sub(put_at) <= half)
    }
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
    let open =
        |stored: Vec<u8>| of_object(name, Mark::open(&stored, repository.id(), repository.keys().owner_verifying()));
    let mark = strange(repository.get_named(name).and_then(open))?;
    if let Ok(mark) = &mark {
        repository.known().marks.insert(id, mark.clone());
    }
    Ok(mark)
}

/// Takes a mark that can't be read, with the time at which it was put.
type Unreadable<'u> = &'u mut dyn FnMut((Name, Option<i64>), Error) -> Result<()>;

impl Marks {
    /// Lists and reads all marks. What the owner did not sign is no mark; what the owner quarantined is passed over.
    pub fn load(repository: &Repository) -> Result<Self> {
        Self::load_with(repository, &mut |_, error| Err(error))
    }

    /// The marks that can be read, and those that can't: for whoever neither relies on packs nor deletes them.
    pub fn load_readable(repository: &Repository) -> Result<(Self, Vec<Damage>)> {
        let mut damaged = Vec::new();
        let marks = Self::load_with(repository, &mut |(name, _), error| {
            damaged.push((name, error.to_string()));
            Ok(())
        })?;
        Ok((marks, damaged))
    }

    /// The same for a writer, who only has to know what not to rely on: it goes on beside marks that nobody can read.
    pub fn load_beside(repository: &Repository) -> Result<Self> {
        let error_of_clocks = i64::try_from(repository.options().clock_error.as_nanos()).unwrap_or(i64::MAX);
        let mut opaque = Vec::new();
        let mut marks = Self::load_with(repository, &mut |(name, put_at), error| {
            let is_lost = match &error {
                Error::Backend(error) => matches!(error.kind, ErrorKind::Damaged | ErrorKind::Denied),
                error => !error.is_unanswered(),
            };
            if !is_lost {
                return Err(error);
            }
            let until = put_at.map(|at| at.saturating_add(error_of_clocks));
            opaque.extend(name.id().map(|id| Opaque { id, put_at, until }));
            Ok(())
        })?;
        marks.opaque = opaque;
        Ok(marks)
    }

    fn load_with(repository: &Repository, unreadable: Unreadable<'_>) -> Result<Self> {
        let since = Some(repository.runtime().clock.elapsed());
        let mut condemnations = BTreeMap::new();
        let mut swept = BTreeMap::new();
        let mut ignored = Vec::new();
        let mut passed_over = None;
        for (name, entry) in repository.list(name::MARKS)?.0 {
            let Name::Mark(id) = name else { continue };
            if entry.size > OBJECT_BYTES_MAX as u64 {
                ignored.push(format!("{name}: it is too large for a mark"));
                continue;
            }
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
                        unreadable((name, entry.modified), error)?;
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
        Ok(Self { condemnations, swept: swept.into_values().collect(), ignored, opaque: Vec::new(), since })
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
    pub fn may_name(&self, arrived: Option<i64>) -> bool {
        self.opaque.iter().any(|mark| mark.until.zip(arrived).is_none_or(|(until, arrived)| arrived <= until))
    }

    /// What a writer should be told of marks that nobody can read.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.opaque.iter().map(|mark| {
            let name = Name::Mark(mark.id);
            format!(
                "{name} can't be read: what was stored before it is stored again; the owner's \
                 `vault repair --quarantine {name}` ends that"
            )
        })
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
