//! Writes and reads journal records, each a sealed object of its own under year and month. What a record says is for
//! people, but for two things: the heads that it names must stay visible, and a `begun` record serves as the object that
//! shows the store's clock.

use super::orders;
use super::trust::Trust;
use crate::repository::{Damage, Error, Repository, Result, encoding, of_object};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use vault_format::header::Header;
use vault_format::id::{ObjectId, RunId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::name::{self, Name};
use vault_format::object::Author;

/// Most packs that one record says were verified: 2 MiB of ids, where the format allows 32.
const VERIFIED_MAX: usize = 1 << 16;
/// Records that are in memory together.
const RECORDS_AT_ONCE: usize = 16;

/// Puts a record into the journal of the own domain.
fn put(repository: &Repository, record: &Record) -> Result<Name> {
    let keys = repository.keys();
    let book = &keys.own_book();
    let author = Author { repository: repository.id(), domain: keys.domain(), signer: keys.signer(), book };
    let stored = encoding("a journal record", record.seal(&author, &repository.runtime().random()))?;
    let time = Timestamp::from_nanosecond(i128::from(record.started)).unwrap_or_default().to_zoned(TimeZone::UTC);
    let year = u16::try_from(time.year()).unwrap_or_default();
    let month = u8::try_from(time.month()).unwrap_or(1);
    let name = Name::Journal(keys.domain(), year, month, ObjectId::of(&stored));
    repository.put(&name, &stored)?;
    Ok(name)
}

/// Puts a record that says that a run has begun, and names snapshots that it saw: whoever deletes later must see them too.
pub(crate) fn put_begun(repository: &Repository, run: RunId, operation: &str, heads: Vec<ObjectId>) -> Result<Name> {
    let record = Record {
        run,
        operation: operation.to_owned(),
        source: String::new(),
        started: repository.runtime().clock.now(),
        duration: 0,
        outcome: RunOutcome::Begun,
        message: String::new(),
        reason: String::new(),
        actor: String::new(),
        figures: Vec::new(),
        heads,
        verified: Vec::new(),
    };
    put(repository, &record)
}

/// Puts a record, and the packs that its run verified: as many more records of the same run as they need.
pub(crate) fn put_verified(repository: &Repository, record: &Record, packs: &[ObjectId]) -> Result<Name> {
    let (first, rest) = packs.split_at(packs.len().min(VERIFIED_MAX));
    for more in rest.chunks(VERIFIED_MAX) {
        put(repository, &Record { verified: more.to_vec(), heads: Vec::new(), figures: Vec::new(), ..record.clone() })?;
    }
    put(repository, &Record { verified: first.to_vec(), ..record.clone() })
}

/// Gives every record that this key can open, with its name and its header, and keeps none; returns what could not be
/// used.
pub fn visit(
    repository: &Repository,
    trust: &Trust,
    each: &mut dyn FnMut(&Name, &Header, Record),
) -> Result<Vec<Damage>> {
    let names = repository.list(name::JOURNAL)?.0.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    visit_some(repository, trust, &names, each)
}

/// The same for some of them.
pub(crate) fn visit_some(
    repository: &Repository,
    trust: &Trust,
    names: &[Name],
    each: &mut dyn FnMut(&Name, &Header, Record),
) -> Result<Vec<Damage>> {
    let mut damaged = Vec::new();
    let threads = repository.backend().connections();
    for some in names.chunks(RECORDS_AT_ONCE) {
        let found = repository.runtime().map(threads, some, |name| read(repository, trust, name));
        for (name, read) in some.iter().zip(found) {
            match read {
                Ok(Some((header, record))) => each(name, &header, record),
                Ok(None) => {}
                // nobody has signed it
                Err(Error::Object { source: vault_format::Error::BadSignature(_), .. }) => {}
                Err(error) => damaged.push((name.clone(), error.to_string())),
            }
        }
    }
    if !damaged.is_empty() {
        let passed_over = orders::quarantined(repository);
        damaged.retain(|(name, _): &Damage| !name.id().is_some_and(|id| passed_over.contains(&id)));
    }
    Ok(damaged)
}

/// Reads and judges one record. `None` for a record of a domain that this key can't open, and for one that does not
/// count.
pub(crate) fn read(repository: &Repository, trust: &Trust, name: &Name) -> Result<Option<(Header, Record)>> {
    let Name::Journal(domain, _, _, id) = name else { return Ok(None) };
    let Some(book) = repository.keys().book(*domain) else { return Ok(None) };
    let stored = repository.get_named(name)?;
    let object = of_object(name, Record::parse(&stored, repository.id()))?;
    let header = object.header;
    let verify = |key: &[u8; 32]| object.verify(key);
    if of_object(name, trust.judge(&object.header, *domain, (*id, None), verify))?.is_err() {
        return Ok(None);
    }
    of_object(name, Record::open(&object, &book)).map(|record| Some((header, record)))
}
