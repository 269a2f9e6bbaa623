//! Writes and reads journal records. A record that can't be written is a warning, never a failure of the run that it
//! tells of; a `begun` record also serves as the object that shows the store's clock.

use super::{Repository, Result, encoding, of_object, trust::Trust};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use vault_format::id::{ObjectId, RunId};
use vault_format::journal::{Outcome, Record};
use vault_format::name::{self, Name};

/// A record with everything empty but run, operation and start.
pub fn record(repository: &Repository, operation: &str) -> Record {
    Record {
        run: RunId(repository.runtime().random()),
        operation: operation.into(),
        source: String::new(),
        started: repository.runtime().clock.now(),
        duration: 0,
        outcome: Outcome::Done,
        message: String::new(),
        reason: String::new(),
        actor: String::new(),
        figures: Vec::new(),
        heads: Vec::new(),
        verified: Vec::new(),
    }
}

/// Puts a record into the journal of the own domain.
pub fn put(repository: &Repository, record: &Record) -> Result<Name> {
    let keys = repository.keys();
    let salt = repository.runtime().random();
    let place = (repository.id(), keys.domain());
    let stored = encoding("a journal record", record.seal(place, keys.signer(), &keys.own_book(), &salt))?;
    let time = Timestamp::from_nanosecond(i128::from(record.started)).unwrap_or_default().to_zoned(TimeZone::UTC);
    let year = u16::try_from(time.year()).unwrap_or_default();
    let month = u8::try_from(time.month()).unwrap_or(1);
    let name = Name::Journal(keys.domain(), year, month, ObjectId::of(&stored));
    repository.put(&name, &stored)?;
    Ok(name)
}

/// Puts a record that says that a run has begun.
pub(super) fn put_begun(repository: &Repository) -> Result<Name> {
    put(repository, &Record { outcome: Outcome::Begun, ..record(repository, "run") })
}

/// A record and the name of its object.
pub type Read = (Name, Record);

/// All records that this key can open, oldest first, and what could not be used.
pub fn load(repository: &Repository, trust: &Trust) -> Result<(Vec<Read>, Vec<String>)> {
    let mut records = Vec::new();
    let mut damaged = Vec::new();
    for (name, _) in repository.list(name::JOURNAL)?.0 {
        let Name::Journal(domain, _, _, id) = name else { continue };
        let Some(book) = repository.keys().book(domain).filter(|_| !trust.quarantined.contains(&id)) else { continue };
        let read = || {
            let stored = repository.get_named(&name)?;
            let small = of_object(&name, Record::parse(&stored, repository.id()))?;
            let Some(verifying) = trust.verifying(small.header.writer, domain, id) else {
                return of_object(&name, Err(vault_format::Error::WrongOrigin));
            };
            of_object(&name, small.verify(verifying, "a journal record"))?;
            of_object(&name, Record::open(&small, &book))
        };
        match read() {
            Ok(record) => records.push((name, record)),
            Err(error) => damaged.push(error.to_string()),
        }
    }
    records.sort_by_key(|(_, record)| record.started);
    Ok((records, damaged))
}
