//! The snapshot that an address on the command line means. What is unusual about it is said on standard error, so that
//! nobody takes it for what it is not; an address that means nothing is answered with what would mean something.

use super::exit::{Context, Failure};
use super::{Session, render, time};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use vault::list::{self, Catalog};
use vault::repository::snapshots::SnapshotEntry;
use vault::repository::{Repository, whole};

/// The snapshot, and the path behind its colon. `what` reads like `cannot restore app-db`.
pub fn find<'c>(
    (session, repository): (&Session, &Repository),
    catalog: &'c Catalog,
    address: &OsStr,
    what: &str,
) -> Result<(&'c SnapshotEntry, Vec<u8>), Failure> {
    let (snapshot, path) = list::find(catalog, address.as_bytes(), &time::parse_address).context(what)?;
    let id = snapshot.id.to_string();
    let is_by_id = address
        .as_bytes()
        .split(|byte| *byte == b':')
        .next()
        .is_some_and(|first| id.as_bytes().starts_with(&first.to_ascii_lowercase()));
    let whole = if is_by_id { None } else { whole::instead(repository, catalog, snapshot).context(what)? };
    let snapshot = whole.unwrap_or(snapshot);
    say_oddities(session, snapshot);
    Ok((snapshot, path))
}

/// Words of the command line as bytes: names of files need not be text.
pub fn bytes(words: &[OsString]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Says what is unusual about a snapshot.
pub fn say_oddities(session: &Session, snapshot: &SnapshotEntry) {
    if !session.global.quiet {
        late(snapshot).iter().for_each(|note| render::complain(note));
    }
}

/// What to say of one whose claimed time does not fit to its arrival.
fn late(snapshot: &SnapshotEntry) -> Option<String> {
    let (short, counted) = (snapshot.id.short(), snapshot.counted);
    let arrived = render::time(snapshot.arrived.filter(|_| counted.late)?);
    let claimed = render::time(snapshot.head.time);
    Some(if snapshot.doubtful {
        format!(
            "snapshot {short} says {claimed}, but arrived on {arrived}: was the repository moved? see `vault forget --help`"
        )
    } else {
        format!("snapshot {short} says {claimed}, but arrived on {arrived}, which counts: check the clock of its host")
    })
}
