//! Index objects: what writers tell of the packs that they have put. Only those of accepted signers count, a member's
//! only about its own packs, and the owner's replace those of others. They never prove that a pack exists: for that there
//! is the listing of packs beside them.

use super::loaded::{Loaded, Reason, Verdict, load};
use super::trust::{Claimant, Trust};
use crate::backend;
use crate::repository::{Error, Repository, Result, encoding, of_object};
use crate::time::StoreTime;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::envelope::Wraps;
use vault_format::id::{Class, DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::name::{self, Name};
use vault_format::object::Author;
use vault_format::salt::Salt;

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
    /// When the store received it.
    pub arrived: Option<StoreTime>,
}

/// Index objects as they were loaded, replaced ones included.
pub type IndexObjects = Loaded<IndexObject>;

impl IndexObjects {
    /// Loads the index objects of `domain`, or of all domains that this key can open.
    pub fn load(repository: &Repository, trust: &Trust, domain: Option<DomainId>) -> Result<Self> {
        let prefix = domain.map_or(name::INDEX.to_owned(), |domain| format!("{}{domain}/", name::INDEX));
        let mut loaded = Self::default();
        let mut known: BTreeSet<Name> = BTreeSet::new();
        // prune replaces index objects meanwhile: what vanished after it was listed lies in others now
        for _ in 0..LISTINGS {
            let mut listed = repository.list(&prefix)?.0;
            // not before this: somebody may rely on what was listed, and what came after a revocation never counts
            let trust = &trust.renewed(repository)?;
            let can_open = |domain: DomainId| repository.keys().book(domain).is_some();
            listed.retain(|(name, _)| matches!(name, Name::Index(domain, ..) if can_open(*domain)));
            listed.retain(|(name, _)| !known.contains(name));
            let more = load(repository, &listed, |(name, entry)| read(repository, trust, name, entry.modified))?;
            known.extend(more.good.iter().map(|object: &IndexObject| object.name.clone()));
            known.extend(more.ignored.iter().map(|one| one.name.clone()));
            loaded.good.extend(more.good);
            loaded.ignored.extend(more.ignored);
            // those of before were listed again, or are gone
            loaded.damaged = more.damaged;
            if !loaded.damaged.iter().any(|damage| damage.error.is_missing()) {
                break;
            }
        }
        loaded.spare(trust.quarantined());
        let owner = repository.keys().owner_writer();
        let by_owner = loaded.good.iter().filter(|object| object.writer == owner);
        let replaced: BTreeSet<ObjectId> = by_owner.flat_map(|object| object.index.supersedes.clone()).collect();
        // what the owner has replaced nobody misses, be it gone or unreadable
        loaded.spare(&replaced);
        Ok(loaded)
    }
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

/// Reads and judges one index object; `arrived` is when the store received it, if that is known.
pub(crate) fn read(
    repository: &Repository,
    trust: &Trust,
    name: &Name,
    arrived: Option<StoreTime>,
) -> Result<Verdict<IndexObject>> {
    let Name::Index(domain, ..) = name else {
        return of_object(name, Err(vault_format::Error::WrongKind));
    };
    let stored = repository.get_named(name)?;
    let object = of_object(name, index::parse(&stored, repository.id()))?;
    let (writer, header) = (object.header.writer, &object.header);
    let book = repository.keys().book(*domain).ok_or(vault_format::Error::NoAccess);
    let index = index::open(&object, &of_object(name, book)?);
    let claimant = Claimant { name, header, arrived, opens: index.is_ok() };
    if let Verdict::Ignored(reason) =
        trust.judge(&claimant, |key| repository.verify_once(name, key, || object.verify(key)))?
    {
        return Ok(Verdict::Ignored(reason));
    }
    let is_owners = writer == repository.keys().owner_writer();
    if index.is_err() && !is_owners {
        return Ok(Verdict::Ignored(Reason::Malformed));
    }
    let mut index = of_object(name, index)?;
    // nobody but the owner has a say about the packs of others
    if !is_owners {
        index.packs.retain(|pack| pack.writer == writer);
    }
    Ok(Verdict::Counts(IndexObject { name: name.clone(), writer, index, arrived }))
}

/// Has an index tell of a pack too. Runs are few: their wraps, each told once, are looked for one by one.
pub(crate) fn tell(index: &mut Index, pack: &PackEntry, wraps: &Wraps) -> Result<()> {
    let position = index.wraps.iter().position(|known| known == wraps).unwrap_or(index.wraps.len());
    if position == index.wraps.len() {
        index.wraps.push(wraps.clone());
    }
    let wraps = u16::try_from(position).map_err(|_| Error::Bug("an index has too many wraps"))?;
    index.packs.push(PackEntry { wraps, ..pack.clone() });
    Ok(())
}

/// Has an index vouch for a pack that it tells of (T7).
pub(crate) fn vouch(index: &mut Index, pack: ObjectId) {
    if let Err(position) = index.opened.binary_search(&pack) {
        index.opened.insert(position, pack);
    }
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
    let salt = Salt::Fresh(repository.runtime().random());
    let bytes = encoding("an index", index::seal(&author, salt, index, sketches))?;
    let name = Name::Index(domain, label, ObjectId::of(&bytes));
    repository.put(&name, &bytes)?;
    Ok(name)
}

/// The index objects that are in force, as they are to be believed where two tell of one pack.
pub fn current(objects: &[IndexObject], owner: WriterId) -> impl Iterator<Item = &IndexObject> {
    in_force(objects, owner).into_iter().filter_map(|number| objects.get(number))
}

/// The positions of those that no other one of the same writer, or of the owner, replaces. The owner's come first, then
/// older before younger: where two tell of one pack, the first is to be believed.
pub fn in_force(objects: &[IndexObject], owner: WriterId) -> Vec<usize> {
    // who says that it replaces what is not there takes no memory
    let mut replaced: BTreeMap<ObjectId, BTreeSet<WriterId>> =
        objects.iter().filter_map(|object| Some((object.name.id()?, BTreeSet::new()))).collect();
    for object in objects {
        for id in &object.index.supersedes {
            if let Some(writers) = replaced.get_mut(id) {
                writers.insert(object.writer);
            }
        }
    }
    let is_replaced = |object: &IndexObject| {
        let by = object.name.id().and_then(|id| replaced.get(&id));
        by.is_some_and(|writers| writers.contains(&owner) || writers.contains(&object.writer))
    };
    let in_force = objects.iter().enumerate().filter(|(_, object)| !is_replaced(object));
    let mut order: Vec<_> = in_force
        .map(|(number, object)| (object.writer != owner, object.arrived.unwrap_or(StoreTime::MAX), number))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(.., number)| number).collect()
}
