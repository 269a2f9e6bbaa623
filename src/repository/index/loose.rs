//! Packs read from their own ends: one read gives a pack's directory and the wraps of its run. This is how packs that no
//! index tells of are found again: left by a run that was interrupted, or by an index that is lost. The book key of a
//! pack's domain opens its directory, so that only the owner can read all; a directory is not signed, so whoever holds
//! that key can have made it. A pack that does not open is garbage or damaged: it is named, and stays where it is.

use crate::backend::Backend;
use crate::repository::objects::index_objects::{IndexObjects, PackListing, current};
use crate::repository::objects::marks::Marks;
use crate::repository::{Repository, Result, of_object};
use crate::runtime::Locked;
use std::collections::BTreeSet;
use vault_format::envelope::Wraps;
use vault_format::header::{HEADER_BYTES, Header, Kind};
use vault_format::id::{Class, DomainId, ObjectId, RepositoryId};
use vault_format::index::PackEntry;
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::pack::{PackEnd, SUFFIX_BYTES};

/// Most bytes of a trailer and directory: a pack that claims more is damaged.
const END_BYTES_MAX: usize = 48 << 20;

/// Name, class and size in bytes of a pack.
pub type Pack = (ObjectId, Class, u64);

/// A pack that was read from its own end.
#[derive(Clone, Debug)]
pub struct LoosePack {
    /// Clear header.
    pub header: Header,
    /// What an index says of it.
    pub entry: PackEntry,
    /// Wraps of its run.
    pub wraps: Wraps,
    /// Hash of the end that was read, from the directory on.
    pub end: [u8; 32],
}

/// A pack that does not open, and why.
pub type Unread = (Name, String);

/// Listed packs that no index object in force tells of, with the size that they have, and no mark names.
pub fn unindexed(repository: &Repository, packs: &PackListing, objects: &IndexObjects, marks: &Marks) -> Vec<Pack> {
    let indexed: BTreeSet<(ObjectId, u64)> = current(&objects.good, repository.keys().owner_writer())
        .flat_map(|object| object.index.packs.iter().map(|pack| (pack.id, pack.size)))
        .collect();
    let packs = packs.iter().filter(|(id, (_, entry))| !marks.names(id) && !marks.may_name(entry.modified));
    let packs = packs.map(|(id, (class, entry))| (*id, *class, entry.size));
    packs.filter(|(id, _, size)| !indexed.contains(&(*id, *size))).collect()
}

/// Reads and opens the end of a pack. One of the headers `seen` saves the read of its own.
pub(crate) fn read_end(
    backend: &Backend,
    (id, class, size): Pack,
    seen: &[Header],
    (repository, book): (RepositoryId, &dyn Fn(DomainId) -> Option<Key>),
) -> Result<LoosePack> {
    let name = Name::Pack(class, id);
    let (end, hash) = suffix(backend, &name, size)?;
    let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
    let open = |header: Header| {
        let book = book(header.domain).ok_or(vault_format::Error::NoAccess)?;
        end.directory(&header, &book).map(|directory| (header, directory))
    };
    let known = seen.iter().rev().find_map(|header| open(Header { kind, ..*header }).ok());
    let (header, directory) = match known {
        Some(opened) => opened,
        None => {
            let header = header(backend, &name, kind, repository)?;
            of_object(&name, open(header))?
        }
    };
    let entry = PackEntry { id, class, size, writer: header.writer, salt: end.salt, wraps: 0, directory };
    Ok(LoosePack { header, entry, wraps: end.wraps, end: hash })
}

/// Reads the clear header of a pack.
pub(crate) fn header(backend: &Backend, name: &Name, kind: Kind, repository: RepositoryId) -> Result<Header> {
    let start = backend.get(&name.to_string(), Some(0..HEADER_BYTES as u64))?;
    of_object(name, Header::decode(&start, kind, repository))
}

/// Reads the end of a pack, and hashes it.
fn suffix(backend: &Backend, name: &Name, size: u64) -> Result<(PackEnd, [u8; 32])> {
    let get = |from: u64| backend.get(&name.to_string(), Some(from..size));
    let mut suffix = get(size.saturating_sub(SUFFIX_BYTES as u64))?;
    let needed = of_object(name, PackEnd::suffix_bytes(&suffix))?;
    if needed > END_BYTES_MAX {
        return of_object(name, Err(vault_format::Error::Limit("the trailer of a pack")));
    }
    if needed > suffix.len() {
        suffix = get(size.saturating_sub(needed as u64))?;
    }
    Ok((of_object(name, PackEnd::parse(&suffix, size))?, end_hash(&suffix)))
}

/// The hash of a pack's end, from its directory on, which its last bytes hold.
pub(crate) fn end_hash(suffix: &[u8]) -> [u8; 32] {
    let needed = PackEnd::suffix_bytes(suffix).unwrap_or_default();
    let end = suffix.get(suffix.len().saturating_sub(needed)..).unwrap_or_default();
    *blake3::hash(end).as_bytes()
}

/// Reads packs from their ends.
pub struct Ends<'r> {
    repository: &'r Repository,
    /// Headers seen so far: few writers fill most packs, and a header that opens the directory needs no read of its own.
    headers: Locked<Vec<Header>>,
}

/// The inner error is a pack that can't be used; the outer one a store that can't be read.
type Read = Result<std::result::Result<LoosePack, Unread>>;

impl<'r> Ends<'r> {
    /// Nothing is read yet.
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, headers: Locked::default() }
    }

    /// Reads the ends of some packs, on as many threads as the store serves, and returns them in order.
    pub fn read(&self, packs: &[Pack]) -> Result<Vec<std::result::Result<LoosePack, Unread>>> {
        let connections = self.repository.backend().connections();
        self.repository.runtime().try_map(connections, packs, |pack| self.read_one(*pack))
    }

    fn read_one(&self, pack: Pack) -> Read {
        let seen = self.headers.lock().clone();
        let book = |domain| self.repository.keys().book(domain);
        match read_end(self.repository.backend(), pack, &seen, (self.repository.id(), &book)) {
            Ok(opened) => {
                if !seen.contains(&opened.header) {
                    self.headers.lock().push(opened.header);
                }
                Ok(Ok(opened))
            }
            Err(error) if error.is_unanswered() => Err(error),
            Err(error) => Ok(Err((Name::Pack(pack.1, pack.0), error.to_string()))),
        }
    }
}
