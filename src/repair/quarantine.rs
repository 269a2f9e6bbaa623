//! The owner's word that an object is to be passed over: it is there, but torn or unreadable for ever, and deleters stop
//! at it; or that it is gone for good, though others name it. Every loader honours it. What reads well is refused:
//! quarantine is no way to forget.

use crate::backend::ErrorKind;
use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Operation, Run};
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::orders;
use crate::repository::objects::trust::Trust;
use crate::repository::view::{View, readable};
use std::collections::BTreeSet;
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::{self, Name};
use vault_format::order::Action;

/// Fewest digits of an id.
const DIGITS_MIN: usize = 4;

/// What is passed over from now on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Quarantined {
    /// The object.
    pub name: String,
    /// The orders that say so, one for each domain that has to know.
    pub orders: Vec<ObjectId>,
}

/// Orders an object to be passed over, given its name, its id or the beginning of its id. Needs the owner.
pub fn quarantine(repository: &Repository, object: &str, dry_run: bool) -> Result<Quarantined> {
    repository.keys().owner("quarantine an object")?;
    repository.distrust_cache();
    if let Some((path, id)) = of_later(repository, object)? {
        // only the owner is stopped by such a thing
        return put(repository, (path, id), &[repository.keys().domain()].into(), dry_run);
    }
    let Some(name) = find(repository, object)? else { return absent(repository, object, dry_run) };
    let Some(id) = name.id() else { return Err(Error::refused(format!("{name} can't be quarantined"))) };
    // neither a store that does not answer is a reason, nor what is not there
    match repository.backend().get(&name.to_string(), None) {
        Err(error) if error.kind != ErrorKind::Damaged => return Err(error.into()),
        _ => {}
    }
    match readable::read(repository, &Trust::load(repository)?.patient(repository), &name) {
        Ok(()) => return Err(Error::refused(format!("{name} is not damaged, so it is not quarantined"))),
        Err(error) if error.is_unanswered() => return Err(error.into()),
        Err(_) => {}
    }
    put(repository, (name.to_string(), id), &concerned(repository, &name)?, dry_run)
}

/// What is taken as it is from now on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// What is missing, in words.
    pub missing: Vec<String>,
    /// The orders that say so, one for each domain.
    pub orders: Vec<ObjectId>,
}

/// Takes an older copy of a store for what it is: orders that it lacks are passed over, and this machine remembers only
/// what is there. Needs the owner.
pub fn accept(repository: &Repository, dry_run: bool) -> Result<Accepted> {
    repository.keys().owner("accept an older copy")?;
    let hidden = View::to_forget(repository)?.hidden();
    let passed: BTreeSet<ObjectId> = hidden.iter().filter_map(|one| one.pass).collect();
    let mut accepted = Accepted { missing: hidden.iter().map(ToString::to_string).collect(), orders: Vec::new() };
    if dry_run || hidden.is_empty() {
        return Ok(accepted);
    }
    let run = Run::start(repository, Operation::ACCEPT);
    if !passed.is_empty() {
        for domain in all_domains(repository)? {
            let action = Action::Quarantine(passed.iter().copied().collect());
            accepted.orders.push(orders::put(repository, domain, action)?);
        }
    }
    repository.forget_seen();
    let ending = Ending::done(accepted.missing.join("; "));
    let done = Ok(accepted);
    // the orders are there: a record that can't be written changes nothing
    let _ = run.finish(&done, ending);
    done
}

/// An order that others name, and that the store does not list, by its whole id: gone for good, in the owner's word.
fn absent(repository: &Repository, object: &str, dry_run: bool) -> Result<Quarantined> {
    let id = object.strip_prefix(name::ORDERS).unwrap_or(object);
    let unknown = || Error::refused(format!("there is no object {object:?}"));
    let id = ObjectId::parse(id).map_err(|_| unknown())?;
    if !View::to_forget(repository)?.names_hidden(&id) {
        return Err(unknown());
    }
    let name = Name::Order(id);
    match repository.backend().stat(&name.to_string()) {
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Error::refused(format!("{name} is there, though the store does not list it yet"))),
    }
    put(repository, (name.to_string(), id), &concerned(repository, &name)?, dry_run)
}

fn put(
    repository: &Repository,
    (name, id): (String, ObjectId),
    domains: &BTreeSet<DomainId>,
    dry_run: bool,
) -> Result<Quarantined> {
    let mut quarantined = Quarantined { name, orders: Vec::new() };
    if dry_run {
        return Ok(quarantined);
    }
    let run = Run::start(repository, Operation::QUARANTINE);
    for domain in domains {
        quarantined.orders.push(orders::put(repository, *domain, Action::Quarantine(vec![id]))?);
    }
    let ending = Ending::done(quarantined.name.as_str());
    let done = Ok(quarantined);
    // the orders are there: a record that can't be written changes nothing
    let _ = run.finish(&done, ending);
    done
}

/// An object of a kind that only a later version knows.
fn of_later(repository: &Repository, object: &str) -> Result<Option<(String, ObjectId)>> {
    let wanted = object.to_ascii_lowercase();
    let fits = |(path, id): &(String, ObjectId)| {
        *path == object || wanted.len() >= DIGITS_MIN && id.to_string().starts_with(&wanted)
    };
    let found: Vec<(String, ObjectId)> = repository.others()?.later.into_iter().filter(fits).collect();
    Ok(found.into_iter().next())
}

fn find(repository: &Repository, object: &str) -> Result<Option<Name>> {
    let wanted = object.to_ascii_lowercase();
    let fits = |name: &Name| {
        let is_begun = name.id().is_some_and(|id| wanted.len() >= DIGITS_MIN && id.to_string().starts_with(&wanted));
        is_begun || name.to_string() == wanted
    };
    let mut found = Vec::new();
    for prefix in [name::KEYS, name::PACKS, name::INDEX, name::SNAPSHOTS, name::ORDERS, name::MARKS, name::JOURNAL] {
        found.extend(repository.list(prefix)?.0.into_iter().map(|(name, _)| name).filter(fits));
    }
    match found.as_slice() {
        [Name::Pack(..)] => Err(Error::refused(Refusal::IsPack(object.to_owned()))),
        [only] => Ok(Some(only.clone())),
        [] => Ok(None),
        [first, second, ..] => Err(repository::Error::Ambiguous {
            address: object.into(),
            candidates: format!("{first} and {second} begin with it"),
        }
        .into()),
    }
}

/// The domain of the object, or all domains if it has none: an order opens for one domain only.
fn concerned(repository: &Repository, name: &Name) -> Result<BTreeSet<DomainId>> {
    match name.domain() {
        Some(domain) => Ok([domain].into()),
        None => all_domains(repository),
    }
}

fn all_domains(repository: &Repository) -> Result<BTreeSet<DomainId>> {
    let trust = Trust::load(repository)?;
    let mut domains: BTreeSet<DomainId> = trust.signers().map(|(_, signer)| signer.domain).collect();
    domains.insert(repository.keys().domain());
    for prefix in [name::INDEX, name::SNAPSHOTS] {
        domains.extend(repository.list(prefix)?.0.iter().filter_map(|(name, _)| name.domain()));
    }
    Ok(domains)
}
