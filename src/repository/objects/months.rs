//! Months of the journal: records of one domain in one object of the owner, each as it was stored. What a record says is
//! judged as if it lay there by itself; the owner's signature only says that it did.

use super::loaded::Verdict;
use crate::repository::{Error, Listed, Repository, Result, encoding, of_object};
use vault_format::id::{DomainId, ObjectId};
use vault_format::month::Month;
use vault_format::name::Name;

/// Where records lie that may become one object: domain, year, month.
pub(crate) type Folder = (DomainId, u16, u8);

/// The records of a month, each with the name that it would have by itself.
pub(crate) struct Opened {
    /// Which.
    pub id: ObjectId,
    /// Their names and stored bytes.
    pub records: Vec<(Name, Vec<u8>)>,
}

/// Reads one; what the owner did not sign does not count.
pub(crate) fn read(repository: &Repository, name: &Name) -> Result<Verdict<Opened>> {
    let Name::Month(domain, year, month, id) = *name else {
        return of_object(name, Err(vault_format::Error::WrongKind));
    };
    let stored = repository.get_named(name)?;
    let owner = repository.keys().owner_verifying();
    let opened = of_object(name, Month::open(&stored, (repository.id(), domain), owner))?;
    let named = |(record, bytes)| (Name::Journal(domain, year, month, record), bytes);
    Ok(Verdict::Counts(Opened { id, records: opened.into_records().map(named).collect() }))
}

/// Where a record or a month lies.
pub(crate) fn folder((name, _): &Listed) -> Option<Folder> {
    match *name {
        Name::Journal(domain, year, month, _) | Name::Month(domain, year, month, _) => Some((domain, year, month)),
        _ => None,
    }
}

/// Puts records as one object, and reads it back: from here on what it holds may go, in its time. Needs the owner.
pub(crate) fn put(
    repository: &Repository,
    (domain, year, month): Folder,
    records: impl IntoIterator<Item = Vec<u8>>,
) -> Result<Name> {
    repository.keys().owner("merge journal records")?;
    let (signer, salt) = (repository.keys().signer(), repository.runtime().random());
    let sealed = Month::of(records).seal((repository.id(), domain), signer, &salt);
    let stored = encoding("a month of the journal", sealed)?;
    let name = Name::Month(domain, year, month, ObjectId::of(&stored));
    repository.put(&name, &stored)?;
    if repository.backend().get(&name.to_string(), None)? != stored {
        return Err(Error::Rot(name.to_string()));
    }
    Ok(name)
}
