//! Reads and puts marks: which packs are condemned, and since when on the store's clock. A mark that can't be read stops
//! everybody, until the owner quarantines it: nobody may rely on, or delete, what it might name.

use super::orders::Orders;
use super::{Repository, Result, encoding, of_object};
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
    /// Age in nanoseconds on the store's clock.
    pub fn age(&self, repository: &Repository) -> Result<i64> {
        let now = repository.store_now()?;
        // without a store time nothing is known of its age: a writer takes it for old, a sweeper for young
        Ok(self.put_at.map_or(-1, |at| now.saturating_sub(at).max(0)))
    }
}

/// All marks.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Marks that condemn, carried out or not.
    pub condemnations: Vec<Condemnation>,
}

impl Marks {
    /// Lists and reads all marks.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut condemnations = BTreeMap::new();
        let mut swept = BTreeSet::new();
        let mut quarantined = None;
        for (name, entry) in repository.list(name::MARKS)?.0 {
            let Name::Mark(id) = name else { continue };
            let mark = match read(repository, &name) {
                Ok(mark) => mark,
                Err(error) => {
                    // orders are only read when there is something to pass over
                    let known = match &mut quarantined {
                        Some(known) => known,
                        none => none.insert(Orders::load(repository)?.quarantined),
                    };
                    if known.contains(&id) {
                        continue;
                    }
                    return Err(error);
                }
            };
            match mark {
                Mark::Swept { mark } => {
                    swept.insert(mark);
                }
                Mark::Condemn { packs, snapshots, grace } => {
                    let packs = packs.into_iter().map(|(_, pack)| pack).collect();
                    let put_at = entry.modified;
                    condemnations.insert(id, Condemnation { id, packs, snapshots, grace, put_at, swept: false });
                }
            }
        }
        for id in swept {
            if let Some(mark) = condemnations.get_mut(&id) {
                mark.swept = true;
            }
        }
        Ok(Self { condemnations: condemnations.into_values().collect() })
    }

    /// True if any mark, carried out or not, names the pack.
    pub fn names(&self, pack: &ObjectId) -> bool {
        self.condemnations.iter().any(|mark| mark.packs.contains(pack))
    }
}

/// Reads and verifies one mark.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<Mark> {
    let stored = repository.get_named(name)?;
    of_object(name, Mark::open(&stored, repository.id(), repository.keys().owner_verifying()))
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
