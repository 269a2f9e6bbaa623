//! Whether one object reads well, whatever its kind: for whoever must tell an object that is damaged for good from one
//! that the store did not serve at first. What reads well, but nobody who may has signed, is not damaged.

use crate::repository::objects::loaded::Verdict;
use crate::repository::objects::trust::Trust;
use crate::repository::objects::{index_objects, journal, marks, months, orders, slots, snapshots};
use crate::repository::{Repository, Result};
use vault_format::name::Name;

/// Reads an object that is known by its name alone; the error says why it can't be used. Packs, the config and foreign
/// files are not looked at.
pub(crate) fn read(repository: &Repository, trust: &Trust, name: &Name) -> Result<()> {
    let read = match *name {
        Name::Index(..) => index_objects::read(repository, trust, name, None).map(drop),
        Name::Order(_) => orders::read(repository, name).map(drop),
        Name::Mark(_) => marks::read(repository, name).map(drop),
        Name::Slot(_) => slots::read(repository, name).map(drop),
        Name::Journal(..) => journal::read(repository, trust, name).map(drop),
        Name::Month(..) => months::read(repository, name).map(drop),
        Name::Snapshot(..) => snapshots::read(repository, trust, name, None).map(drop),
        Name::Config | Name::ConfigCopy | Name::Pack(..) | Name::Wal(..) => Ok(()),
    };
    Verdict::sorted(read.map(Verdict::Counts)).map(drop)
}
