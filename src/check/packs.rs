//! Packs: are they there, with the size that the index says, and if they are read: name against bytes, header and
//! directory against the index, seal and id of everything in them. Each pack is read once, worked on and dropped; what
//! stays is one entry for a damaged frame. Domains are kept apart, for nobody reads another's copies.

use super::finding::Findings;
use crate::backend::{self, ErrorKind};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::lookup::{BlobLookup, FrameNumber, PackNumber, PackRecord};
use crate::repository::objects::index_objects;
use crate::repository::objects::index_objects::{IndexObjects, PackListing};
use crate::repository::objects::marks::Marks;
use crate::repository::read::reader::Reader;
use crate::repository::read::whole::{self, Apart, Delta};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;
use vault_format::bundle::Role;
use vault_format::frame::FrameCodec;
use vault_format::header::{HEADER_BYTES, Header};
use vault_format::id::{Class, DomainId, ObjectId};
use vault_format::index::PackEntry;
use vault_format::name::Name;
use vault_format::pack::PackEnd;

/// All packs that the store lists or an index tells of.
pub(super) struct Packs<'a> {
    pub repository: &'a Repository,
    pub listing: &'a PackListing,
    marks: &'a Marks,
    indexed: HashSet<ObjectId>,
    /// What the store said when it answered nothing any more.
    silent: OnceLock<backend::Error>,
}

/// What the index of one domain tells.
pub(super) struct Domain<'a> {
    pub lookup: BlobLookup,
    entries: HashMap<ObjectId, Vec<&'a PackEntry>>,
}

/// What came of reading packs.
#[derive(Default)]
pub(super) struct Outcome {
    /// Frames that do not give what the index says.
    pub bad: HashSet<FrameNumber>,
    /// Packs without fault.
    pub verified: Vec<ObjectId>,
    /// Bytes read.
    pub read_bytes: u64,
    /// What is wrong with the others.
    pub findings: Findings,
}

/// What came of one pack.
#[derive(Default)]
struct Seen {
    bad: Vec<FrameNumber>,
    problems: Vec<String>,
    /// What is still to be opened.
    deltas: Vec<Delta>,
}

/// Bytes of deltas that wait until all packs of a batch are read.
const DELTA_BYTES: u64 = 32 << 20;
/// Bytes of a pack that are read at once where the store is near.
const NEAR_BYTES: u64 = 1 << 20;
/// Deltas that one thread opens in a row.
const DELTAS_IN_A_ROW: usize = 64;

/// Index objects by domain.
pub(super) fn by_domain(objects: IndexObjects) -> BTreeMap<DomainId, IndexObjects> {
    let mut domains: BTreeMap<DomainId, IndexObjects> = BTreeMap::new();
    for object in objects.good {
        if let Name::Index(domain, ..) = object.name {
            domains.entry(domain).or_default().good.push(object);
        }
    }
    domains
}

impl<'a> Domain<'a> {
    pub fn new(
        repository: &Repository,
        objects: &'a IndexObjects,
        listing: &PackListing,
        marks: &Marks,
    ) -> repository::Result<Self> {
        let current = || index_objects::current(&objects.good, repository.keys().owner_writer());
        let mut entries: HashMap<ObjectId, Vec<&PackEntry>> = HashMap::new();
        for object in current() {
            for entry in &object.index.packs {
                entries.entry(entry.id).or_default().push(entry);
            }
        }
        Ok(Self { lookup: BlobLookup::over(repository, current(), Some(listing), marks)?, entries })
    }

    /// Packs that can be read, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (PackNumber, &PackRecord)> {
        self.lookup.packs().filter(|(_, pack)| pack.present)
    }
}

/// What is wrong with a pack that is not there.
pub(super) const MISSING: &str = "missing, though an index tells of it";

impl<'a> Packs<'a> {
    pub fn new<'d>(
        repository: &'a Repository,
        domains: impl Iterator<Item = &'d Domain<'d>>,
        listing: &'a PackListing,
        marks: &'a Marks,
    ) -> Self {
        let indexed = domains.flat_map(|domain| domain.entries.keys().copied()).collect();
        Self { repository, listing, marks, indexed, silent: OnceLock::new() }
    }

    /// Packs that no index tells of.
    pub fn loose(&self) -> impl Iterator<Item = (ObjectId, Class, u64)> {
        let loose = self.listing.iter().filter(|(id, _)| !self.indexed.contains(id));
        loose.map(|(id, (class, entry))| (*id, *class, entry.size))
    }

    /// Reports packs of a domain that are not there, or not of their size.
    pub fn presence(&self, domain: &Domain<'_>, findings: &mut Findings) {
        for (_, pack) in domain.lookup.packs().filter(|(_, pack)| !pack.present && !self.marks.names(&pack.id)) {
            let problem = match self.listing.get(&pack.id) {
                Some((_, entry)) => format!("has {} bytes, the index says {}", entry.size, pack.size),
                None => MISSING.into(),
            };
            findings.add(Name::Pack(pack.class, pack.id), &problem);
        }
    }

    /// A note on packs that nothing needs. To others than the owner those of foreign domains look the same.
    pub fn note_loose(&self, notes: &mut Vec<String>) {
        let loose = self.loose().filter(|(id, ..)| !self.marks.names(id)).count();
        if loose > 0 && self.repository.keys().role() == Role::Owner {
            notes.push(format!("{loose} packs are in no index: left by interrupted runs, or of a run that goes on"));
        }
    }

    /// Reads, opens and hashes packs of a domain.
    pub fn read(&self, domain: &Domain<'_>, chosen: &[(PackNumber, &PackRecord)], progress: &dyn Progress) -> Outcome {
        let reader = Reader::new(self.repository, &domain.lookup);
        let mut outcome = Outcome::default();
        for batch in batches(&domain.lookup, chosen) {
            let mut all = self.repository.runtime().map(whole::threads(self.repository), batch, |(number, pack)| {
                let seen = self.read_pack((domain, &reader), *number, pack);
                progress.advance(1, pack.size);
                seen
            });
            self.open_deltas(&reader, &mut all);
            let seen = batch.iter().zip(all).filter_map(|((_, pack), seen)| Some((*pack, seen?)));
            outcome.take(seen);
        }
        outcome
    }

    /// Opens the deltas of all packs of a batch.
    fn open_deltas(&self, reader: &Reader, all: &mut [Option<Seen>]) {
        let deltas = |(position, seen): (usize, &mut Option<Seen>)| {
            let own = seen.as_mut().map(|seen| std::mem::take(&mut seen.deltas)).unwrap_or_default();
            own.into_iter().map(move |delta| (position, delta))
        };
        let mut deltas: Vec<(usize, Delta)> = all.iter_mut().enumerate().flat_map(deltas).collect();
        whole::sort_by_lineage(reader.index(), &mut deltas);
        let rows: Vec<&[(usize, Delta)]> = deltas.chunks(DELTAS_IN_A_ROW).collect();
        let opened = self.repository.runtime().map(whole::threads(self.repository), &rows, |row| {
            let is_over = || self.repository.runtime().is_stopped() || self.silent.get().is_some();
            row.iter().map(|(_, delta)| if is_over() { None } else { Some(delta.open(reader)) }).collect::<Vec<_>>()
        });
        for ((position, delta), opened) in deltas.iter().zip(opened.into_iter().flatten()) {
            let Some(place) = all.get_mut(*position) else { continue };
            let is_read = match (place.as_mut(), opened) {
                (Some(seen), Some(opened)) => self.note(seen, delta.number, opened).is_some(),
                _ => false,
            };
            if !is_read {
                *place = None;
            }
        }
    }

    /// Notes what came of a frame; `None` if the store is silent, so that nothing is known of it.
    fn note(&self, seen: &mut Seen, frame: FrameNumber, opened: repository::Result<()>) -> Option<()> {
        match opened {
            // another key's run in this domain: what can be seen was looked at
            Ok(()) | Err(repository::Error::Role { .. }) => {}
            Err(error) if self.is_silent(&error) => return None,
            // what is damaged or missing is a base, which lies elsewhere
            Err(repository::Error::MissingBlob(_) | repository::Error::DamagedBlob { .. }) => seen.bad.push(frame),
            Err(error) => {
                seen.bad.push(frame);
                seen.problems.push(reason(&error));
            }
        }
        Some(())
    }

    /// Compares packs that no index tells of with their names; returns the bytes read. They are garbage, whole or not: a
    /// repair leaves damaged ones so, for prune to remove.
    pub fn read_loose(&self, notes: &mut Vec<String>) -> u64 {
        // to others than the owner they are packs of foreign domains
        if self.repository.keys().role() != Role::Owner {
            return 0;
        }
        let loose: Vec<(ObjectId, Class, u64)> = self.loose().collect();
        let problems = self.repository.runtime().map(whole::threads(self.repository), &loose, |(id, class, _)| {
            let name = Name::Pack(*class, *id);
            match self.repository.get_named(&name) {
                Ok(_) => None,
                // a run's leftover may be swept meanwhile
                Err(repository::Error::Backend(error)) if error.kind == ErrorKind::NotFound => None,
                Err(error) if self.is_silent(&error) => None,
                Err(error) => Some(format!("{error} (no index tells of it, so nothing that is known needs it)")),
            }
        });
        notes.extend(problems.into_iter().flatten());
        loose.iter().map(|(_, _, size)| size).sum()
    }

    /// `None` if it was not read.
    fn read_pack(
        &self,
        (domain, reader): (&Domain<'_>, &Reader),
        number: PackNumber,
        pack: &PackRecord,
    ) -> Option<Seen> {
        if self.repository.runtime().is_stopped() || self.silent.get().is_some() {
            return None;
        }
        let entries = domain.entries.get(&pack.id).map(Vec::as_slice).unwrap_or_default();
        let places = entries.first().map(|entry| entry.directory.places()).unwrap_or_default();
        let (mut seen, mut hasher, mut head, mut end) =
            (Seen::default(), blake3::Hasher::new(), Vec::new(), Vec::new());
        let mut apart = Ok(Apart::default());
        let pieces = match whole::pieces(reader, number, &places, (pack.size, self.piece_bytes())) {
            Ok(pieces) => pieces,
            Err(error) => return Some(Seen { problems: vec![reason(&error)], ..seen }),
        };
        for piece in pieces {
            let range = Some(piece.range.clone()).filter(|range| *range != (0..pack.size));
            let bytes = match self.repository.backend().get(&Name::Pack(pack.class, pack.id).to_string(), range) {
                Ok(bytes) => bytes,
                // a condemned pack may be swept meanwhile
                Err(error) if error.kind == ErrorKind::NotFound && pack.condemned => return None,
                Err(error) => {
                    let error = repository::Error::from(error);
                    let bad = domain.lookup.frames_of(number).collect();
                    let seen = || Seen { bad, problems: vec![error.to_string()], ..Seen::default() };
                    return (!self.is_silent(&error)).then(seen);
                }
            };
            hasher.update(&bytes);
            if self.repository.keys().role() != Role::Writer {
                apart = apart.and_then(|mut apart| apart.take(reader, &piece, &bytes).map(|()| apart));
            }
            if head.is_empty() {
                head = bytes.iter().take(HEADER_BYTES).copied().collect();
            }
            end = bytes;
        }
        if ObjectId(*hasher.finalize().as_bytes()) != pack.id {
            seen.problems.push("its bytes do not match its name".into());
        }
        if let Err(problem) = self.directory(domain, pack, (&head, &end)) {
            seen.problems.push(problem);
        }
        match apart {
            Ok(apart) => {
                apart.opened.into_iter().try_for_each(|(frame, opened)| self.note(&mut seen, frame, opened))?;
                seen.deltas = apart.deltas;
            }
            Err(error) => seen.problems.push(reason(&error)),
        }
        Some(seen)
    }

    /// So many bytes of a pack are read at once: a store that is far away is asked once for each pack, and of one that is
    /// near no more is held than is worked on.
    fn piece_bytes(&self) -> u64 {
        if self.repository.backend().is_local() { NEAR_BYTES } else { u64::MAX }
    }

    /// True if the store answers nothing any more: then there is no more to be seen, and what was seen last is no damage.
    pub fn is_silent(&self, error: &repository::Error) -> bool {
        let is_silent = self.repository.is_silent(error);
        if let Some(error) = error.backend().filter(|_| is_silent) {
            let _ = self.silent.set(error.clone());
        }
        is_silent
    }

    /// An error if the store was found silent.
    pub fn answered(&self) -> repository::Result<()> {
        self.silent.get().map_or(Ok(()), |error| Err(error.clone().into()))
    }

    /// Compares how a pack begins and ends with what the index says.
    fn directory(&self, domain: &Domain<'_>, pack: &PackRecord, (head, end): (&[u8], &[u8])) -> Result<(), String> {
        let words = |error: vault_format::Error| error.to_string();
        let header = Header::decode(head, pack.header.kind, self.repository.id()).map_err(words)?;
        if header != pack.header {
            return Err("its header is not what the index says".into());
        }
        let end = PackEnd::parse(end, pack.size).map_err(words)?;
        let book = self.repository.keys().book(header.domain).ok_or("no key for its directory")?;
        let directory = end.directory(&header, &book).map_err(words)?;
        let mut told = domain.entries.get(&pack.id).into_iter().flatten();
        if end.wraps != *pack.wraps || !told.all(|entry| entry.salt == end.salt && entry.directory == directory) {
            return Err("its directory is not what the index says".into());
        }
        Ok(())
    }
}

impl Outcome {
    fn take<'p>(&mut self, packs: impl Iterator<Item = (&'p PackRecord, Seen)>) {
        for (pack, seen) in packs {
            self.read_bytes += pack.size;
            if seen.problems.is_empty() && seen.bad.is_empty() {
                self.verified.push(pack.id);
            }
            for problem in &seen.problems {
                self.findings.add(Name::Pack(pack.class, pack.id), problem);
            }
            self.bad.extend(seen.bad);
        }
    }
}

/// Packs in batches whose deltas can wait in memory for one another.
fn batches<'c, 'p>(
    lookup: &'c BlobLookup,
    chosen: &'c [(PackNumber, &'p PackRecord)],
) -> impl Iterator<Item = &'c [(PackNumber, &'p PackRecord)]> {
    let mut left = chosen;
    std::iter::from_fn(move || {
        let mut bytes = 0u64;
        let deltas = |number: PackNumber| {
            let frames = lookup.frames_of(number).filter_map(|number| lookup.frame(number).ok());
            frames.filter(|frame| frame.codec == FrameCodec::Delta).map(|frame| u64::from(frame.stored)).sum::<u64>()
        };
        let count = left.iter().take_while(|(number, _)| {
            let has_room = bytes <= DELTA_BYTES;
            bytes = bytes.saturating_add(deltas(*number));
            has_room
        });
        let (batch, rest) = left.split_at(count.count());
        left = rest;
        Some(batch).filter(|batch| !batch.is_empty())
    })
}

/// The reason without the object, which the finding names.
pub(super) fn reason(error: &repository::Error) -> String {
    match error {
        repository::Error::Object { object, source } => {
            format!("{object}: {source}")
        }
        repository::Error::Frame { frame, source, .. } => format!("frame {frame}: {source}"),
        error => error.to_string(),
    }
}
