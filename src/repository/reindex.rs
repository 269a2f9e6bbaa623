//! Index objects made again from the directories of packs, for packs that no index tells of. One read of a pack's end
//! gives its directory and the wraps of its run; the book key of its domain opens it, so that only the owner can do this
//! for all domains. Only adds: what is indexed stays as it is, and packs that a mark names stay without.

use super::index::{IndexObjects, PackListing, current, list_packs};
use super::marks::Marks;
use super::trust::Trust;
use super::{Error, Repository, Result, encoding, of_object};
use crate::backend::{Backend, ErrorKind};
use crate::progress::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use vault_format::envelope::Wraps;
use vault_format::id::{Class, DomainId, ObjectId, RepositoryId};
use vault_format::index::{self, INDEX_BLOBS_MAX, Index, PackEntry, Sketches};
use vault_format::name::Name;
use vault_format::pack::{PackEnd, SUFFIX_BYTES};
use vault_format::seal::{HEADER_BYTES, Header, Kind};
use vault_format::secret::Key;

/// The source under whose label such index objects lie: a pack does not tell its source.
const SOURCE: &str = "reindex";
/// Packs read at a time: bounds what is in memory.
const BATCH: usize = 256;
/// Most runs that one index object tells of; their wraps are its largest part.
const WRAPS_MAX: usize = 4096;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Reindexed {
    /// Packs that an index tells of now.
    pub packs: u64,
    /// Their blobs.
    pub blobs: u64,
    /// Packs whose directories can't be read, with the reason.
    pub unreadable: Vec<String>,
}

/// Name, class and size in bytes of a pack.
pub(super) type Pack = (ObjectId, Class, u64);

/// A pack's end, opened.
pub(super) struct Opened {
    header: Header,
    entry: PackEntry,
    wraps: Wraps,
}

/// Reads and opens the end of a pack. One of the headers `seen` saves the read of its own.
pub(super) fn read_end(
    backend: &Backend,
    (id, class, size): Pack,
    seen: &[Header],
    (repository, book): (RepositoryId, &dyn Fn(DomainId) -> Option<Key>),
) -> Result<Opened> {
    let name = Name::Pack(class, id);
    let get = |from: u64, to: u64| backend.get(&name.to_string(), Some(from..to));
    let mut suffix = get(size.saturating_sub(SUFFIX_BYTES as u64), size)?;
    let needed = of_object(&name, PackEnd::suffix_bytes(&suffix))?;
    if needed > suffix.len() {
        suffix = get(size.saturating_sub(needed as u64), size)?;
    }
    let end = of_object(&name, PackEnd::parse(&suffix, size))?;
    let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
    let open = |header: Header| {
        let book = book(header.domain).ok_or(vault_format::Error::NoAccess)?;
        end.directory(&header, &book).map(|directory| (header, directory))
    };
    let known = seen.iter().rev().find_map(|header| open(Header { kind, ..*header }).ok());
    let (header, directory) = match known {
        Some(opened) => opened,
        None => {
            let start = get(0, HEADER_BYTES as u64)?;
            let (header, _) = of_object(&name, Header::decode(&start, kind, repository))?;
            of_object(&name, open(header))?
        }
    };
    let entry = PackEntry { id, class, size, writer: header.writer, salt: end.salt, wraps: 0, directory };
    Ok(Opened { header, entry, wraps: end.wraps })
}

/// Indexes every pack that is in no index. Needs the owner.
pub fn reindex(repository: &Repository, progress: &dyn Progress) -> Result<Reindexed> {
    repository.keys().owner("rebuild the index")?;
    let trust = Trust::load(repository)?;
    let marks = Marks::load(repository)?;
    let known = IndexObjects::load(repository, &trust, None)?;
    let packs = list_packs(repository)?.0;
    let indexed: BTreeSet<(ObjectId, u64)> = current(&known.objects, repository.keys().owner_writer())
        .flat_map(|object| object.index.packs.iter().map(|pack| (pack.id, pack.size)))
        .collect();
    let mut loose: PackListing = packs;
    loose.retain(|id, (_, entry)| !indexed.contains(&(*id, entry.size)) && !marks.names(id));
    let loose: Vec<Pack> = loose.into_iter().map(|(id, (class, entry))| (id, class, entry.size)).collect();
    progress.expect(loose.len() as u64, loose.iter().map(|(_, _, size)| size).sum());
    let mut run = Run { repository, headers: Mutex::default(), open: BTreeMap::new(), report: Reindexed::default() };
    for batch in loose.chunks(BATCH) {
        for opened in run.read(batch)? {
            match opened {
                Ok(opened) => run.add(opened)?,
                Err(problem) => run.report.unreadable.push(problem),
            }
        }
        progress.advance(batch.len() as u64, batch.iter().map(|(_, _, size)| size).sum());
    }
    run.finish()
}

struct Run<'r> {
    repository: &'r Repository,
    /// Headers seen so far: few writers fill most packs, and a header that opens the directory needs no read of its own.
    headers: Mutex<Vec<Header>>,
    /// The index object to come of each domain, and how many blobs it tells of.
    open: BTreeMap<DomainId, (Index, usize)>,
    report: Reindexed,
}

type Read = Result<std::result::Result<Opened, String>>;

impl Run<'_> {
    /// Reads the ends of some packs, on as many threads as the store serves, and returns them in order.
    fn read(&self, batch: &[Pack]) -> Result<Vec<std::result::Result<Opened, String>>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(pack) = batch.get(next.fetch_add(1, Ordering::SeqCst)) {
                let read = self.read_one(*pack);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((pack.0, read));
            }
        };
        match self.repository.runtime().workers {
            0 => work(),
            _ => std::thread::scope(|scope| {
                (0..self.repository.backend().connections()).for_each(|_| drop(scope.spawn(work)));
            }),
        }
        let mut done: Vec<(ObjectId, Read)> = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(id, _)| *id);
        done.into_iter().map(|(_, read)| read).collect()
    }

    /// The inner error is a pack that can't be used; the outer one a store that can't be read.
    fn read_one(&self, pack: Pack) -> Read {
        let seen = self.headers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let book = |domain| self.repository.keys().book(domain);
        match read_end(self.repository.backend(), pack, &seen, (self.repository.id(), &book)) {
            Ok(opened) => {
                if !seen.contains(&opened.header) {
                    self.headers.lock().unwrap_or_else(PoisonError::into_inner).push(opened.header);
                }
                Ok(Ok(opened))
            }
            Err(Error::Backend(error)) if !matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => {
                Err(error.into())
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn add(&mut self, opened: Opened) -> Result<()> {
        let Opened { header: Header { domain, .. }, mut entry, wraps } = opened;
        let added = entry.directory.blobs.len();
        let (index, blobs) = self.open.entry(domain).or_default();
        if *blobs + added > INDEX_BLOBS_MAX || index.wraps.len() == WRAPS_MAX {
            *blobs = 0;
            let full = std::mem::take(index);
            self.put(domain, &full)?;
        }
        self.report.packs += 1;
        self.report.blobs += added as u64;
        let (index, blobs) = self.open.entry(domain).or_default();
        *blobs += added;
        let position = index.wraps.iter().position(|known| *known == wraps).unwrap_or(index.wraps.len());
        if position == index.wraps.len() {
            index.wraps.push(wraps);
        }
        entry.wraps = u16::try_from(position).unwrap_or(u16::MAX);
        index.packs.push(entry);
        Ok(())
    }

    fn put(&self, domain: DomainId, index: &Index) -> Result<()> {
        let book = self.repository.keys().owner("rebuild the index")?.book(domain);
        let salt = self.repository.runtime().random();
        let place = (self.repository.id(), domain);
        let parts = (index, &Sketches::default());
        let sealed = index::seal(place, self.repository.keys().signer(), &book, &salt, parts);
        let bytes = encoding("an index", sealed)?;
        self.repository.put(&Name::Index(domain, book.source_label(SOURCE), ObjectId::of(&bytes)), &bytes)
    }

    fn finish(mut self) -> Result<Reindexed> {
        for (domain, (index, _)) in std::mem::take(&mut self.open) {
            self.put(domain, &index)?;
        }
        Ok(self.report)
    }
}
