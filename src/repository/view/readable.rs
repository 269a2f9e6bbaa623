//! Whether one object reads well, whatever its kind: for whoever must tell an object that is damaged for good from one
//! that the store did not serve at first. What reads well, but nobody who may has signed, is not damaged.

use crate::repository::objects::trust::Trust;
use crate::repository::objects::{index_objects, journal, marks, orders, snapshots, trust};
use crate::repository::{Repository, Result, strange};
use vault_format::mark::SnapshotPlace;
use vault_format::name::Name;

/// Reads an object that is known by its name alone; the error says why it can't be used. Packs, the config and foreign
/// files are not looked at.
pub(crate) fn read(repository: &Repository, trust: &Trust, name: &Name) -> Result<()> {
    match name {
        Name::Index(..) => strange(index_objects::read(repository, trust, (name, None))).map(drop),
        Name::Order(_) => strange(orders::read(repository, name)).map(drop),
        Name::Mark(_) => marks::read(repository, name).map(drop),
        Name::Slot(_) => strange(trust::read_slot(repository, name)).map(drop),
        Name::Journal(..) => strange(journal::read(repository, trust, name)).map(drop),
        Name::Snapshot(domain, label, id) => {
            let place = SnapshotPlace { domain: *domain, label: *label, id: *id };
            strange(snapshots::read(repository, trust, (place, None))).map(drop)
        }
        Name::Config | Name::ConfigCopy | Name::Pack(..) | Name::Wal(..) => Ok(()),
    }
}
