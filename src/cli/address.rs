//! The snapshot that an address on the command line means. What is unusual about it is said on standard error, so that
//! nobody takes it for what it is not; an address that means nothing is answered with what would mean something.

use super::session::Session;
use super::{Context, Failure, render, time};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use vault::backend::nearby;
use vault::list;
use vault::repository;
use vault::repository::{Address, SnapshotEntry, View};

/// So many names are enough to choose from.
const SHOWN: usize = 12;

/// What an address means. `what` reads like `cannot restore app-db`.
pub fn find<'v>(session: &Session, catalog: &'v View, address: &OsStr, what: &str) -> Result<Address<'v>, Failure> {
    let found = list::find(catalog, address.as_bytes(), &time::parse_address);
    let near = match &found {
        Err(vault::error::Error::Repository(repository::Error::NoSnapshot(text))) => near(catalog, text),
        _ => None,
    };
    let mut found = found.context(what).map_err(|failure| failure.hint_instead(near))?;
    let id = found.snapshot.id.to_string();
    let is_by_id = address
        .as_bytes()
        .split(|byte| *byte == b':')
        .next()
        .is_some_and(|first| id.as_bytes().starts_with(&first.to_ascii_lowercase()));
    let whole = if is_by_id { None } else { list::instead(catalog, found.snapshot).context(what)? };
    found.snapshot = whole.unwrap_or(found.snapshot);
    say_oddities(session, found.snapshot);
    Ok(found)
}

/// What a name that means nothing was meant to be.
fn near(catalog: &View, text: &str) -> Option<String> {
    let snapshots = &catalog.snapshots;
    let (domain, name) = text.rsplit_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let name = name.split('@').next().unwrap_or(name);
    let domains: BTreeSet<_> = snapshots.all.iter().map(|one| one.place.domain).collect();
    if let Some(domain) = domain.filter(|domain| snapshots.domains.meant(domain, &domains).is_empty()) {
        let known: Vec<String> = domains.iter().map(|domain| snapshots.domains.show(*domain)).collect();
        return Some(format!("no domain is called {domain:?}; domains: {}", some(known)));
    }
    let near = nearby::nearest(name, snapshots.all.iter().map(|one| one.head.source.as_str()))?;
    Some(format!("perhaps {near}; `vault snapshots` lists what there is"))
}

/// The first ones of many.
fn some(mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "none".into();
    }
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("…".into());
    }
    names.join(", ")
}

/// What `text` means where snapshots are listed: all of a source, or one by its id or address.
pub fn listed<'c>(catalog: &'c View, text: &str) -> Result<Vec<&'c SnapshotEntry>, Failure> {
    let snapshots = &catalog.snapshots;
    let source = snapshots.source(text);
    if let Err(error @ repository::Error::Ambiguous { .. }) = source {
        return Err(error).context("cannot list snapshots");
    }
    if let Ok(asked) = source
        && text != "latest"
    {
        let all: Vec<&SnapshotEntry> = snapshots.all.iter().filter(|one| asked.fits(one)).collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    match list::find(catalog, text.as_bytes(), &time::parse_address) {
        Ok(found) => Ok(vec![found.snapshot]),
        Err(vault::error::Error::Repository(repository::Error::NoSnapshot(_))) => {
            let names: BTreeSet<&String> = snapshots.all.iter().map(|one| &one.head.source).collect();
            let known = some(names.into_iter().cloned().collect());
            let hint = near(catalog, text).unwrap_or_else(|| format!("sources: {known}"));
            Err(Failure::failed(format!("there is no source {text:?}")).hint(hint))
        }
        error => error.map(|_| Vec::new()).context("cannot list snapshots"),
    }
}

/// Words of the command line as bytes: names of files need not be text.
pub fn bytes(words: &[OsString]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Says what is unusual about a snapshot.
pub fn say_oddities(session: &Session, snapshot: &SnapshotEntry) {
    late(snapshot).iter().for_each(|note| session.global.remark(note));
}

/// What to say of one whose claimed time does not fit to its arrival.
fn late(snapshot: &SnapshotEntry) -> Option<String> {
    let (short, counted) = (snapshot.id.short(), snapshot.counted);
    let arrived = render::time(snapshot.arrived.filter(|_| counted.late)?);
    let claimed = render::time(snapshot.claimed());
    Some(if snapshot.doubtful {
        format!(
            "snapshot {short} says {claimed}, but arrived on {arrived}: was the repository moved? see `vault forget --help`"
        )
    } else {
        format!("snapshot {short} says {claimed}, but arrived on {arrived}, which counts: check the clock of its host")
    })
}
