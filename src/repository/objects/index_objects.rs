//! Index objects: what writers tell of the packs that they have put. Only those of accepted signers count, a member's
//! only about its own packs, and the owner's replace those of others. They never prove that a pack exists: for that there
//! is the listing of packs beside them.

use crate::backend;
use crate::repository::objects::orders;
use crate::repository::objects::trust::Trust;
use crate::repository::{Damage, Error, Judged, Repository, Result, Rule, STRANGE, encoding, of_object, strange};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{Class, DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::{self, Index, Sketches};
use vault_format::name::{self, Name};
use vault_format::object::Author;

/// How often index objects are listed again when some vanished in between.
const LISTINGS: usize = 3;

/// One index object that was loaded.
#[derive(Clone, Debug)]
pub struct IndexObject {
    /// Its name.
    pub name: Name,
    /// Its writer.
    pub writer: WriterId,
    /// What it holds.
    pub index: Index,
    /// When the store received it, nanoseconds on its clock.
    pub arrived: Option<i64>,
}

/// Index objects as they were loaded.
#[derive(Debug, Default)]
pub struct IndexObjects {
    /// Those that can be used, replaced ones included.
    pub objects: Vec<IndexObject>,
    /// Those that can't, with the reason.
    pub damaged: Vec<Damage>,
    /// Those that do not count, with the reason.
    pub ignored: Vec<String>,
}

impl IndexObjects {
    /// Loads the index objects of `domain`, or of all domains that this key can open.
    pub fn load(repository: &Repository, trust: &Trust, domain: Option<DomainId>) -> Result<Self> {
        let mut known: BTreeMap<Name, Result<Judged<IndexObject>>> = BTreeMap::new();
        let prefix = domain.map_or(name::INDEX.to_owned(), |domain| format!("{}{domain}/", name::INDEX));
        // prune replaces index objects meanwhile: what vanished after it was listed lies in others now
        for _ in 0..LISTINGS {
            let mut vanished = false;
            let mut listed = BTreeSet::new();
            let entries = repository.list(&prefix)?.0;
            // not before this: somebody may rely on what was listed, and what came after a revocation never counts
            let trust =
                if repository.options().keeps(Rule::OrdersAfterIndex) { &trust.renewed(repository)? } else { trust };
            for (name, entry) in entries {
                let Name::Index(domain, ..) = &name else { continue };
                if repository.keys().book(*domain).is_none() {
                    continue;
                }
                listed.insert(name.clone());
                if !known.get(&name).is_some_and(Result::is_ok) {
                    let object =
                        strange(read(repository, trust, (&name, entry.modified))).map(std::result::Result::flatten);
                    vanished |= object.as_ref().is_err_and(is_missing);
                    known.insert(name, object);
                }
            }
            known.retain(|name, object| object.is_ok() || listed.contains(name));
            if !vanished {
                break;
            }
        }
        Ok(Self::sorted_out(repository, known))
    }

    fn sorted_out(repository: &Repository, known: BTreeMap<Name, Result<Judged<IndexObject>>>) -> Self {
        let mut loaded = Self::default();
        let mut damaged = Vec::new();
        for (name, object) in known {
            match object {
                Ok(Ok(object)) => loaded.objects.push(object),
                Ok(Err(why)) => loaded.ignored.push(format!("{name}: {why}")),
                // one bad index must not cost the others
                Err(error) => damaged.push((name, error)),
            }
        }
        let owner = repository.keys().owner_writer();
        let by_owner = loaded.objects.iter().filter(|object| object.writer == owner);
        let replaced: BTreeSet<ObjectId> = by_owner.flat_map(|object| object.index.supersedes.clone()).collect();
        // what the owner has replaced nobody misses, be it gone or unreadable
        damaged.retain(|(name, _)| !name.id().is_some_and(|id| replaced.contains(&id)));
        if !damaged.is_empty() {
            let passed_over = orders::quarantined(repository);
            damaged.retain(|(name, _)| !name.id().is_some_and(|id| passed_over.contains(&id)));
        }
        loaded.damaged = damaged.into_iter().map(|(name, error)| (name, error.to_string())).collect();
        loaded
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Backend(error) if error.kind == backend::ErrorKind::NotFound)
}

/// The packs that the store lists, with their sizes in bytes.
pub type PackListing = BTreeMap<ObjectId, (Class, backend::Entry)>;

/// Lists all packs; unknown names in the second part.
pub fn list_packs(repository: &Repository) -> Result<(PackListing, Vec<String>)> {
    let (known, unknown) = repository.list(name::PACKS)?;
    let packs = known.into_iter().filter_map(|(name, entry)| match name {
        Name::Pack(class, id) => Some((id, (class, entry))),
        _ => None,
    });
    Ok((packs.collect(), unknown))
}

/// Reads and judges one index object.
pub(crate) fn read(
    repository: &Repository,
    trust: &Trust,
    (name, arrived): (&Name, Option<i64>),
) -> Result<Judged<IndexObject>> {
    let Name::Index(domain, _, id) = name else {
        return of_object(name, Err(vault_format::Error::WrongKind));
    };
    let stored = repository.get_named(name)?;
    let object = of_object(name, index::parse(&stored, repository.id()))?;
    let writer = object.header.writer;
    let book = repository.keys().book(*domain).ok_or(vault_format::Error::NoAccess);
    let index = index::open(&object, &of_object(name, book)?);
    match trust.judge(&object.header, *domain, (*id, arrived), |key| object.verify(key)) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Ok(Err(why)),
        // only a member can have sealed it: its slot is lost
        Err(unknown) if index.is_ok() => return of_object(name, Err(unknown)),
        Err(_) => return Ok(Err(STRANGE)),
    }
    let mut index = of_object(name, index)?;
    // nobody but the owner has a say about the packs of others
    if writer != repository.keys().owner_writer() {
        index.packs.retain(|pack| pack.writer == writer);
    }
    Ok(Ok(IndexObject { name: name.clone(), writer, index, arrived }))
}

/// Puts an index object for a domain. Needs the owner.
pub(crate) fn put(
    repository: &Repository,
    (domain, label): (DomainId, SourceLabel),
    index: &Index,
    sketches: &Sketches,
) -> Result<Name> {
    let book = &repository.keys().owner("write an index")?.book(domain);
    let author = Author { repository: repository.id(), domain, signer: repository.keys().signer(), book };
    let salt = repository.runtime().random();
    let bytes = encoding("an index", index::seal(&author, &salt, index, sketches))?;
    let name = Name::Index(domain, label, ObjectId::of(&bytes));
    repository.put(&name, &bytes)?;
    Ok(name)
}

/// Drops index objects that another one of the same writer, or of the owner, replaces. The owner's come first, then
/// older before younger: where two tell of one pack, the first is to be believed.
pub fn current(objects: &[IndexObject], owner: WriterId) -> impl Iterator<Item = &IndexObject> {
    let mut replaced: BTreeMap<ObjectId, Vec<WriterId>> = BTreeMap::new();
    for object in objects {
        for id in &object.index.supersedes {
            replaced.entry(*id).or_default().push(object.writer);
        }
    }
    let is_replaced = |object: &IndexObject| {
        let by = object.name.id().and_then(|id| replaced.get(&id));
        by.is_some_and(|writers| writers.iter().any(|writer| *writer == owner || *writer == object.writer))
    };
    let mut current: Vec<&IndexObject> = objects.iter().filter(|object| !is_replaced(object)).collect();
    current.sort_by_key(|object| (object.writer != owner, object.arrived.unwrap_or(i64::MAX)));
    current.into_iter()
}
