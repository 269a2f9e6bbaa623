//! Reads and puts marks: which packs are condemned, and since when on the store's clock. A mark that can't be read stops
//! everybody: nobody may rely on, or delete, what it might name.

use super::{Repository, Result, encoding, of_object, strange};
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
    /// Marks that are not the owner's, with the reason.
    pub ignored: Vec<String>,
}

impl Marks {
    /// Lists and reads all marks.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut condemnations = BTreeMap::new();
        let mut swept = BTreeSet::new();
        let mut ignored = Vec::new();
        for (name, entry) in repository.list(name::MARKS)?.0 {
            let Name::Mark(id) = name else { continue };
            let stored = repository.get_named(&name)?;
            let owner = repository.keys().owner_verifying();
            let read = of_object(&name, Mark::open(&stored, repository.id(), owner));
            let mark = match strange(read)? {
                Ok(mark) => mark,
                Err(why) => {
                    ignored.push(format!("{name}: {why}"));
                    continue;
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
        Ok(Self { condemnations: condemnations.into_values().collect(), ignored })
    }

    /// True if any mark, carried out or not, names the pack.
    pub fn names(&self, pack: &ObjectId) -> bool {
        self.condemnations.iter().any(|mark| mark.packs.contains(pack))
    }
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
