//! What lies in a repository's place and is none of its objects: what systems and other tools leave there, junk that
//! anybody with a right to write can put, and objects of a kind that a later version brings. Only the last stop whoever
//! deletes or repairs, and only until the owner quarantines them. Invariant: nothing of this is ever changed.

use super::orders;
use crate::backend::{Backend, Entry, ErrorKind};
use crate::repository::{Doubt, Repository, Result};
use std::collections::BTreeMap;
use vault_format::header::{self, Kind};
use vault_format::id::{ObjectId, RepositoryId, WriterId};
use vault_format::name::{self, Name};
use vault_format::object;

/// Most places of foreign files that are named one by one.
const NAMED_MAX: usize = 20;

/// What systems leave at the root of a disk or in any folder that somebody looks into.
const DROPPINGS: &str = "lost+found|System Volume Information|$RECYCLE.BIN|RECYCLER|.Trash|.Trashes|.Spotlight-V100|\
    .fseventsd|.TemporaryItems|.DocumentRevisions-V100|.VolumeIcon.icns|.apdisk|.localized|.DS_Store|\
    .metadata_never_index|.directory|.nomedia|.hidden|.autorelabel|.snapshot|.snapshots|.zfs|.stfolder|Thumbs.db|\
    desktop.ini|@eaDir|#recycle|@Recycle|aquota.user|aquota.group";
const DROPPINGS_BEGIN: [&str; 6] = [".Trash-", "._", ".nfs", ".fuse_hidden", ".goutputstream-", "@Recently"];

/// Begins the name of what a key tries to delete, to see whether the store lets it.
const PROBE: &str = ".probe-";

/// The name of what a key tries to delete.
pub(crate) fn probe(writer: WriterId) -> String {
    format!("{PROBE}{writer}")
}

/// True for such a name: where a store refuses to delete, it stays.
pub(crate) fn is_probe(path: &str) -> bool {
    path.strip_prefix(PROBE).is_some_and(|writer| WriterId::parse(writer).is_ok())
}

/// True if only a system can have made this at the top of a place: a new repository may lie beside it.
pub(crate) fn is_dropping(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    DROPPINGS.split('|').any(|name| first == name) || DROPPINGS_BEGIN.iter().any(|begin| first.starts_with(begin))
}

/// What is not of this version.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Objects of kinds to come, which the owner has not quarantined.
    pub later: Vec<(String, ObjectId)>,
    /// Names that are nothing of vault's.
    pub foreign: Vec<String>,
}

impl Others {
    /// Objects of kinds to come, at most as many as anybody wants to read.
    pub fn later(&self) -> impl Iterator<Item = String> {
        self.later.iter().map(|(path, _)| path.clone()).take(NAMED_MAX)
    }

    /// A line for each place of what is nothing of vault's.
    pub fn notes(&self) -> Vec<String> {
        let mut places: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
        for path in &self.foreign {
            let place = path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder);
            places.entry(place).or_insert((path, 0)).1 += 1;
        }
        let mut notes: Vec<String> = places
            .iter()
            .take(NAMED_MAX)
            .map(|(folder, (path, count))| match count {
                1 => format!("{path} is not an object of vault: it is left alone"),
                count => format!("{count} files in {folder} are not objects of vault: they are left alone"),
            })
            .collect();
        let more: u64 = places.values().skip(NAMED_MAX).map(|(_, count)| count).sum();
        if more > 0 {
            notes.push(format!("{more} more files are not objects of vault: they are left alone"));
        }
        notes
    }
}

impl Repository {
    /// All that is not of this version.
    pub(crate) fn others(&self) -> Result<Others> {
        let mut others = Others::default();
        let mut passed_over = None;
        for entry in self.backend().list("")? {
            if Name::parse(&entry.name).is_some() || is_probe(&entry.name) {
                continue;
            }
            let Some(id) = name::later(&entry.name) else {
                others.foreign.push(entry.name);
                continue;
            };
            let quarantined = match &passed_over {
                Some(known) => known,
                None => passed_over.insert(orders::quarantined(self)?),
            };
            if quarantined.contains(&id) {
                continue;
            }
            if is_object(self.backend(), &entry, self.id())? {
                others.later.push((entry.name, id));
            } else {
                others.foreign.push(entry.name);
            }
        }
        Ok(others)
    }

    /// Why nothing may be deleted or repaired: an object may need what would go. `None` if there is no such thing.
    pub(crate) fn later_object(&self) -> Result<Option<Doubt>> {
        Ok(self.others()?.later.into_iter().next().map(|(path, _)| Doubt::Later(path)))
    }
}

/// True if a file begins as objects do, of whatever version, and is of this repository as far as that can be told.
fn is_object(backend: &Backend, entry: &Entry, repository: RepositoryId) -> Result<bool> {
    let length = header::HEADER_BYTES as u64;
    if entry.size < length {
        return Ok(false);
    }
    match backend.get(&entry.name, Some(0..length)) {
        Ok(header) => Ok(header::may_be_of(&header, repository)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        // nobody can tell, until the owner says so
        Err(error) if matches!(error.kind, ErrorKind::Damaged | ErrorKind::Denied) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// False for bytes under a name of their own that nobody can have signed, since they have not even the form of what
/// belongs there. What a later version has put is not judged.
pub(crate) fn is_formed(name: &Name, bytes: &[u8]) -> bool {
    let kind = match name {
        Name::Slot(_) => Kind::Slot,
        Name::Index(..) => Kind::Index,
        Name::Snapshot(..) => Kind::Snapshot,
        Name::Order(_) => Kind::Order,
        Name::Mark(_) => Kind::Mark,
        Name::Journal(..) => Kind::Journal,
        Name::Month(..) => Kind::Month,
        Name::Config | Name::ConfigCopy | Name::Pack(..) | Name::Wal(..) => return true,
    };
    object::is_formed(bytes, kind)
}

#[cfg(test)]
mod tests {
    use super::{Others, is_dropping};

    #[test]
    fn a_new_disk_is_an_empty_place() {
        for name in ["lost+found", "System Volume Information/x", ".Trash-1000/files/a", "._x", "@eaDir", ".DS_Store"] {
            assert!(is_dropping(name), "{name}");
        }
        for name in ["photos/a.jpg", "config", "keys/x", "notes.txt", "Trash-1000", ".ssh/id", ".git/config"] {
            assert!(!is_dropping(name), "{name}");
        }
    }

    #[test]
    fn notes_are_few() {
        let many = |folder: &str| (0..100).map(|n| format!("{folder}/{n}")).collect::<Vec<_>>();
        let mut others = Others { foreign: many("packs/x"), ..Others::default() };
        others.foreign.push(".DS_Store".into());
        others.foreign.extend((0..50).map(|n| format!("notes{n}/x")));
        let notes = others.notes();
        assert!(notes.len() <= 21, "{notes:#?}");
        assert!(notes.iter().any(|note| note.starts_with(".DS_Store is not")), "{notes:#?}");
        assert!(notes.last().unwrap().contains("more files"), "{notes:#?}");
    }
}
