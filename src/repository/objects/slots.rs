//! Key slots: the owner announces with each who else may write, and where. Only slots that the owner signed count.

use super::loaded::{Damage, Ignored, Loaded, Verdict, load};
use super::orders::Orders;
use crate::repository::{Repository, Result, of_object};
use crate::retention::Counted;
use crate::time::WallTime;
use vault_format::id::ObjectId;
use vault_format::name::{self, Name};
use vault_format::slot::{Slot, SlotInfo};

/// All key slots.
#[derive(Debug, Default)]
pub struct Slots {
    /// Those that the owner signed.
    pub good: Vec<(ObjectId, SlotInfo)>,
    /// Those that can't be used.
    pub damaged: Vec<Damage>,
    /// Those of nobody known.
    pub ignored: Vec<Ignored>,
    /// One reached this store long after the owner had signed it: the store is a copy, or was moved.
    pub moved: bool,
}

impl Slots {
    /// Lists and reads them.
    pub fn load(repository: &Repository, orders: &Orders) -> Result<Self> {
        let mut listed = repository.list(name::KEYS)?.0;
        listed.retain(|(name, _)| matches!(name, Name::Slot(_)));
        let mut loaded = load(repository, &listed, |(name, entry)| {
            let info = read(repository, name)?;
            let created = WallTime::new(info.created);
            let is_behind = Counted::of_writer(created, entry.modified).is_behind(created);
            Ok(Verdict::Counts((name.id().unwrap_or_default(), info, is_behind)))
        })?;
        loaded.spare(&orders.quarantined);
        let Loaded { good, damaged, ignored } = loaded;
        let moved = good.iter().any(|(.., is_behind)| *is_behind);
        Ok(Self { good: good.into_iter().map(|(id, info, _)| (id, info)).collect(), damaged, ignored, moved })
    }
}

/// Reads and verifies one slot.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<SlotInfo> {
    let Some(id) = name.id() else { return of_object(name, Err(vault_format::Error::WrongKind)) };
    if let Some(known) = repository.known().slots.get(&id) {
        return Ok(known.clone());
    }
    let stored = repository.get_named(name)?;
    let parsed = Slot::parse(&stored).and_then(|slot| {
        slot.verify(repository.keys().owner_verifying())?;
        Ok(slot.info.clone())
    });
    let info = of_object(name, parsed)?;
    repository.known().slots.insert(id, info.clone());
    Ok(info)
}
