//! Packs that no index tells of: left by a run that was interrupted, or by an index that is lost. Their directories are
//! read from the packs themselves, by one suffix read each, and the owner signs a new index for them. A pack that does
//! not open is garbage or damaged: it is named, and stays where it is.

use super::index::{self, PackListing};
use super::trust::Trust;
use super::{Repository, Result, of_object};
use crate::backend::Entry;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::envelope::Wraps;
use vault_format::id::{Class, DomainId, ObjectId, WriterId};
use vault_format::index::{INDEX_BLOBS_MAX, Index, PackEntry};
use vault_format::name::{self, Name};
use vault_format::pack::{Directory, PackEnd, SUFFIX_BYTES};
use vault_format::seal::{HEADER_BYTES, Header, Kind};

/// The source under whose label new index objects lie.
const INDEX_SOURCE: &str = "repair";
/// Most bytes of a trailer and directory: a pack that claims more is damaged.
const END_BYTES_MAX: usize = 48 << 20;

/// A pack that was read from its own end.
#[derive(Clone)]
pub struct LoosePack {
    /// Clear header.
    pub header: Header,
    /// What an index says of it.
    pub entry: PackEntry,
    /// Wraps of its run.
    pub wraps: Wraps,
    /// Its writer is known and not revoked; else only its content can vouch for it.
    pub is_vouched: bool,
}

/// A pack that does not open, and why.
pub type Unread = (Name, String);

/// Reads the ends of packs. Those that can't be used come second, with the reason.
pub fn read(
    repository: &Repository,
    trust: &Trust,
    packs: &PackListing,
    wanted: &BTreeSet<ObjectId>,
) -> Result<(Vec<LoosePack>, Vec<Unread>)> {
    let mut found = Vec::new();
    let mut unread = Vec::new();
    let origins = origins(repository, trust)?;
    for (id, (class, entry)) in packs.iter().filter(|(id, _)| wanted.contains(id)) {
        match read_one(repository, trust, &origins, (*class, *id, entry)) {
            Ok(pack) => found.push(pack),
            Err(error) => unread.push((Name::Pack(*class, *id), error.to_string())),
        }
    }
    Ok((found, unread))
}

/// Where packs may come from: the writers of each domain, and the owner, who writes for all.
fn origins(repository: &Repository, trust: &Trust) -> Result<BTreeSet<(DomainId, WriterId)>> {
    let owner = repository.keys().owner_writer();
    let mut origins: BTreeSet<_> = trust.signers().map(|(writer, signer)| (signer.domain, *writer)).collect();
    let mut domains: BTreeSet<DomainId> = origins.iter().map(|(domain, _)| *domain).collect();
    domains.extend(repository.list(name::SNAPSHOTS)?.0.into_iter().filter_map(|(name, _)| match name {
        Name::Snapshot(domain, ..) => Some(domain),
        _ => None,
    }));
    origins.extend(domains.into_iter().map(|domain| (domain, owner)));
    Ok(origins)
}

fn read_one(
    repository: &Repository,
    trust: &Trust,
    origins: &BTreeSet<(DomainId, WriterId)>,
    (class, id, entry): (Class, ObjectId, &Entry),
) -> Result<LoosePack> {
    let name = Name::Pack(class, id);
    let end = read_end(repository, &name, entry.size)?;
    let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
    let open = |header: &Header| {
        let book = repository.keys().book(header.domain).ok_or(vault_format::Error::NoAccess)?;
        end.directory(header, &book)
    };
    let guess = |(domain, writer): &(DomainId, WriterId)| {
        let header = Header { kind, repository: repository.id(), domain: *domain, writer: *writer };
        open(&header).ok().map(|directory| (header, directory))
    };
    // the header lies at the other end of the pack: most packs open without it
    let (header, directory): (Header, Directory) = match origins.iter().find_map(guess) {
        Some(found) => found,
        None => {
            let start = repository.backend().get(&name.to_string(), Some(0..HEADER_BYTES as u64))?;
            let (header, _) = of_object(&name, Header::decode(&start, kind, repository.id()))?;
            (header, of_object(&name, open(&header))?)
        }
    };
    let signer = trust.signer(header.writer);
    let is_vouched = trust.verifying(header.writer, header.domain, id).is_some()
        && signer.is_some_and(|signer| signer.accepted.is_none());
    let entry = PackEntry { id, class, size: entry.size, writer: header.writer, salt: end.salt, wraps: 0, directory };
    Ok(LoosePack { header, entry, wraps: end.wraps, is_vouched })
}

fn read_end(repository: &Repository, name: &Name, size: u64) -> Result<PackEnd> {
    let suffix = |bytes: usize| {
        let start = size.saturating_sub(bytes as u64);
        repository.backend().get(&name.to_string(), Some(start..size))
    };
    let mut read = suffix(SUFFIX_BYTES)?;
    let needed = of_object(name, PackEnd::suffix_bytes(&read))?;
    if needed > read.len() {
        if needed > END_BYTES_MAX {
            return of_object(name, Err(vault_format::Error::Limit("the trailer of a pack")));
        }
        read = suffix(needed)?;
    }
    of_object(name, PackEnd::parse(&read, size))
}

/// Puts index objects, signed by the owner, for packs that have none. The last of a domain replaces `supersedes` of it, so
/// that an interruption leaves the old ones in force.
pub fn put_index(
    repository: &Repository,
    packs: &[LoosePack],
    supersedes: &BTreeMap<DomainId, Vec<ObjectId>>,
) -> Result<Vec<Name>> {
    let mut domains: BTreeMap<DomainId, Vec<&LoosePack>> = supersedes.keys().map(|id| (*id, Vec::new())).collect();
    for pack in packs {
        domains.entry(pack.header.domain).or_default().push(pack);
    }
    let mut names = Vec::new();
    for (domain, packs) in domains {
        let label = repository.keys().owner("write an index")?.book(domain).source_label(INDEX_SOURCE);
        let mut open = Index::default();
        let mut blobs = 0;
        for pack in packs {
            let more = pack.entry.directory.blobs.len();
            if blobs + more > INDEX_BLOBS_MAX && !open.packs.is_empty() {
                names.push(index::put(repository, domain, label, &std::mem::take(&mut open))?);
                blobs = 0;
            }
            blobs += more;
            let known = open.wraps.iter().position(|wraps| *wraps == pack.wraps);
            let position = known.unwrap_or_else(|| {
                open.wraps.push(pack.wraps.clone());
                open.wraps.len() - 1
            });
            // fewer packs than blobs, so it fits
            let wraps = u16::try_from(position).unwrap_or(u16::MAX);
            open.packs.push(PackEntry { wraps, ..pack.entry.clone() });
        }
        open.supersedes = supersedes.get(&domain).cloned().unwrap_or_default();
        names.push(index::put(repository, domain, label, &open)?);
    }
    Ok(names)
}
