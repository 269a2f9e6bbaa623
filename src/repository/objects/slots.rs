//! Key slots: the owner announces with each who else may write, and where. Only slots that the owner signed count.

use super::loaded::{Loaded, Verdict, load};
use super::orders::Orders;
use crate::repository::{Repository, Result};
use crate::retention::Counted;
use crate::time::WallTime;
use vault_format::id::ObjectId;
use vault_format::name::{self, Name};
use vault_format::slot::{Slot, SlotInfo};

/// A key slot that the owner signed.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Its name.
    pub id: ObjectId,
    /// What it announces.
    pub info: SlotInfo,
    /// It reached this store long after the owner had signed it: the store is a copy, or was moved.
    pub is_behind: bool,
}

/// All key slots.
pub type Slots = Loaded<Announced>;

impl Slots {
    /// Lists and reads them.
    pub fn load(repository: &Repository, orders: &Orders) -> Result<Self> {
        let mut listed = repository.list(name::KEYS)?.0;
        listed.retain(|(name, _)| matches!(name, Name::Slot(_)));
        let mut loaded = load(repository, &listed, |(name, entry)| {
            let (id, info) = (name.id().unwrap_or_default(), read(repository, name)?);
            let created = WallTime::new(info.created);
            let is_behind = Counted::of_writer(created, entry.modified).is_behind(created);
            Ok(Verdict::Counts(Announced { id, info, is_behind }))
        })?;
        loaded.spare(&orders.quarantined);
        Ok(loaded)
    }
}

/// Reads and verifies one slot.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<SlotInfo> {
    repository.once(
        name,
        |known| &mut known.slots,
        |stored| {
            let slot = Slot::parse(stored)?;
            slot.verify(repository.keys().owner_verifying())?;
            Ok(slot.info)
        },
    )
}
