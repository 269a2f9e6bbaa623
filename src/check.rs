//! Looks whether everything that snapshots need is there, and with `read_data` whether every pack reads back: name
//! against bytes, directory against index, seal and id of every blob. Only looks; what it finds it names by object, by
//! how it was noticed, and by the files that need it.

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::index::{self, BlobIndex, IndexObjects, PackListing, PackRecord};
use crate::repository::marks::Marks;
use crate::repository::orders::Orders;
use crate::repository::reader::Reader;
use crate::repository::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::trust::{self, Trust};
use crate::repository::walk::{self, Nodes};
use crate::repository::{self, Repository, journal};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use vault_format::frame::DEPTH_MAX;
use vault_format::id::{BlobId, ObjectId};
use vault_format::journal::Outcome;
use vault_format::name::{self, Name};
use vault_format::pack::PackEnd;
use vault_format::secret::Role;
use vault_format::tree::{Node, NodeKind, TreePage, TreeRoot};

/// Most files that one finding names.
const AFFECTED_MAX: usize = 20;

/// How deep to look.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Read, open and hash every pack; else only structure.
    pub read_data: bool,
}

/// One piece of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Object or blob.
    pub object: String,
    /// How it was noticed.
    pub problem: String,
    /// Snapshots and files that need it, as `snapshot:path`; at most 20.
    pub affected: Vec<String>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Damage; empty = all well at this depth.
    pub findings: Vec<Finding>,
    /// Things worth knowing that are no damage.
    pub notes: Vec<String>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Blobs that snapshots need.
    pub blobs: u64,
    /// Stored bytes read.
    pub read_bytes: u64,
}

/// Checks a repository as far as the key can see: the owner everything, a client its domain, a writer structure only.
pub fn check(repository: &Repository, options: &Options, progress: &dyn Progress) -> Result<Report> {
    let started = repository.runtime().clock.now();
    repository.distrust_cache();
    let mut report = Report::default();
    let trust = Trust::load(repository)?;
    let orders = Orders::load(repository)?;
    // snapshots before index before packs: what is committed meanwhile is then not missed, only not looked at
    let snapshots = Snapshots::load(repository, &trust, &orders, None)?;
    let marks = Marks::load(repository)?;
    let objects = IndexObjects::load(repository, &trust, None)?;
    let (packs, unknown) = index::list_packs(repository)?;
    let lookup = BlobIndex::new(repository, &objects, Some(&packs), &marks);
    config(repository, &mut report)?;
    slots_and_orders(repository, &trust, &orders, &mut report)?;
    for (_, problem) in &objects.damaged {
        report.find("an index object", problem.clone());
    }
    report.notes.extend(unknown.into_iter().map(|name| format!("{name} is not an object of vault")));
    let ignored = [&trust.ignored, &orders.ignored, &marks.ignored, &objects.ignored];
    report.notes.extend(ignored.into_iter().flatten().map(|why| format!("not counted: {why}")));
    report.notes.extend(snapshots.ignored.iter().map(|(name, why)| format!("not counted: {name}: {why}")));
    absent_packs(repository, &lookup, &packs, &marks, &mut report);
    let bad = if options.read_data {
        read_packs(repository, &lookup, &packs, &mut report, progress)?
    } else {
        HashSet::new()
    };
    for (name, problem) in &snapshots.damaged {
        report.find(&name.to_string(), problem.clone());
    }
    heads(repository, &trust, &snapshots, &orders, &marks, &mut report)?;
    if repository.keys().role() == Role::Writer {
        report.notes.push("a writer's key opens no content: only structure and names were checked".into());
    } else {
        let reader = Reader::new(repository, &lookup);
        let mut walk = Walk {
            repository,
            reader: &reader,
            lookup: &lookup,
            bad: &bad,
            seen: HashSet::new(),
            lost: BTreeMap::new(),
        };
        let due: BTreeSet<ObjectId> =
            marks.condemnations.iter().flat_map(|mark| mark.snapshots.iter().map(|place| place.id)).collect();
        // a forgotten snapshot that a sweep is removing may have lost its packs already
        for snapshot in snapshots.all.iter().filter(|one| one.is_visible() || !due.contains(&one.id)) {
            walk.snapshot(snapshot, progress)?;
        }
        report.blobs = walk.seen.len() as u64;
        report.findings.extend(walk.findings());
    }
    report.snapshots = snapshots.all.len() as u64;
    report.packs = packs.len() as u64;
    record(repository, started, options, &report, progress);
    Ok(report)
}

impl Report {
    fn find(&mut self, object: &str, problem: String) {
        self.findings.push(Finding { object: object.into(), problem, affected: Vec::new() });
    }
}

fn record(repository: &Repository, started: i64, options: &Options, report: &Report, progress: &dyn Progress) {
    let mut record = journal::record(repository, "check");
    record.started = started;
    record.duration = u64::try_from(repository.runtime().clock.now().saturating_sub(started)).unwrap_or_default();
    record.outcome = if report.findings.is_empty() { Outcome::Done } else { Outcome::Failed };
    record.message = if options.read_data { "all data".into() } else { "structure".into() };
    record.figures = vec![("findings".into(), report.findings.len() as u64), ("read_bytes".into(), report.read_bytes)];
    if let Err(error) = journal::put(repository, &record) {
        progress.note(&format!("the journal record could not be written: {error}"));
    }
}

/// The config opened, so one of the two is good: both should be.
fn config(repository: &Repository, report: &mut Report) -> Result<()> {
    for name in [Name::Config, Name::ConfigCopy] {
        match repository.backend().get(&name.to_string(), None) {
            Ok(bytes) if ObjectId::of(&bytes) == repository.keys().config() => {}
            Ok(_) => report.find(&name.to_string(), "its bytes are not those that the key vouches for".into()),
            Err(error) if error.kind == crate::backend::ErrorKind::NotFound => {
                report.find(&name.to_string(), "missing".into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn slots_and_orders(repository: &Repository, trust: &Trust, orders: &Orders, report: &mut Report) -> Result<()> {
    for problem in &trust.damaged {
        report.find("a key slot", problem.clone());
    }
    // whose keys they were nobody can tell, but every repository begins with one of the owner's
    if !trust::slots(repository)?.good.iter().any(|(_, info)| info.role == Role::Owner) {
        report.find("the owner's key slot", "missing: no password opens this repository as its owner".into());
    }
    for problem in &orders.damaged {
        report.find("an order", problem.clone());
    }
    Ok(())
}

fn absent_packs(repository: &Repository, lookup: &BlobIndex, packs: &PackListing, marks: &Marks, report: &mut Report) {
    let mut indexed = BTreeSet::new();
    for pack in lookup.packs() {
        indexed.insert(pack.id);
        if !pack.present && !marks.names(&pack.id) {
            let problem = match packs.get(&pack.id) {
                Some((_, entry)) => format!("has {} bytes, the index says {}", entry.size, pack.size),
                None => "missing, though an index tells of it".into(),
            };
            report.find(&Name::Pack(pack.class, pack.id).to_string(), problem);
        }
    }
    if repository.keys().role() == Role::Owner {
        let loose = packs.keys().filter(|id| !indexed.contains(id) && !marks.names(id)).count();
        if loose > 0 {
            report
                .notes
                .push(format!("{loose} packs are in no index: left by interrupted runs, or of a run that goes on"));
        }
    }
}

/// Reads every pack that the index tells of; returns the frames that are not good.
fn read_packs(
    repository: &Repository,
    lookup: &BlobIndex,
    packs: &PackListing,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<HashSet<u32>> {
    let mut frames: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (number, frame) in lookup.frames().iter().enumerate() {
        frames.entry(frame.pack).or_default().push(number as u32);
    }
    let present: Vec<(u32, &PackRecord)> =
        lookup.packs().iter().enumerate().filter(|(_, pack)| pack.present).map(|(n, pack)| (n as u32, pack)).collect();
    progress.expect(present.len() as u64, present.iter().map(|(_, pack)| pack.size).sum());
    let reader = Reader::new(repository, lookup);
    let mut blobs: BTreeMap<u32, Vec<(BlobId, repository::index::Location)>> = BTreeMap::new();
    for id in lookup.blobs() {
        for place in lookup.locations(id) {
            blobs.entry(place.frame).or_default().push((*id, place));
        }
    }
    let (next, bad, findings) = (AtomicUsize::new(0), Mutex::new(HashSet::new()), Mutex::new(Vec::new()));
    let read_bytes = AtomicUsize::new(0);
    let work = || {
        while let Some((number, pack)) = present.get(next.fetch_add(1, Ordering::SeqCst)) {
            if repository.runtime().is_stopped() {
                return;
            }
            let own = frames.get(number).map(Vec::as_slice).unwrap_or_default();
            let (damaged, problems) = read_pack(repository, &reader, pack, own, &blobs);
            read_bytes.fetch_add(pack.size as usize, Ordering::SeqCst);
            progress.advance(1, pack.size);
            bad.lock().unwrap_or_else(PoisonError::into_inner).extend(damaged);
            findings.lock().unwrap_or_else(PoisonError::into_inner).extend(problems);
        }
    };
    match repository.runtime().workers {
        0 => work(),
        workers => std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work)))),
    }
    if repository.runtime().is_stopped() {
        return Err(crate::error::Error::Interrupted);
    }
    report.read_bytes = read_bytes.into_inner() as u64;
    report.findings.extend(findings.into_inner().unwrap_or_else(PoisonError::into_inner));
    loose_packs(repository, lookup, packs, report);
    Ok(bad.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Packs without an index are garbage, but their names can be compared all the same.
fn loose_packs(repository: &Repository, lookup: &BlobIndex, packs: &PackListing, report: &mut Report) {
    let indexed: BTreeSet<ObjectId> = lookup.packs().iter().map(|pack| pack.id).collect();
    for (id, (class, entry)) in packs.iter().filter(|(id, _)| !indexed.contains(id)) {
        let name = Name::Pack(*class, *id);
        match repository.get_named(&name) {
            Ok(_) => report.read_bytes += entry.size,
            Err(error) => report.notes.push(format!("{error} (it is in no index, nothing needs it)")),
        }
    }
}

fn read_pack(
    repository: &Repository,
    reader: &Reader<'_>,
    pack: &PackRecord,
    frames: &[u32],
    blobs: &BTreeMap<u32, Vec<(BlobId, repository::index::Location)>>,
) -> (Vec<u32>, Vec<Finding>) {
    let name = Name::Pack(pack.class, pack.id);
    let finding = |problem: String| Finding { object: name.to_string(), problem, affected: Vec::new() };
    let bytes = match repository.backend().get(&name.to_string(), None) {
        Ok(bytes) => bytes,
        Err(error) => return (frames.to_vec(), vec![finding(error.to_string())]),
    };
    let mut findings = Vec::new();
    if ObjectId::of(&bytes) != pack.id {
        findings.push(finding("its bytes do not match its name".into()));
    }
    if let Err(problem) = directory_matches(repository, pack, &bytes, reader.index(), frames) {
        findings.push(finding(problem));
    }
    let mut bad = Vec::new();
    for number in frames.iter().filter(|_| repository.keys().role() != Role::Writer) {
        let frame = reader.index().frame(*number);
        let range = frame.offset as usize..(frame.offset as usize).saturating_add(frame.stored as usize);
        let sealed = bytes.get(range).unwrap_or_default();
        // a delta that nothing needs may have lost its bases: its seal is all that can be looked at
        let is_present = |pack: &PackRecord| pack.present;
        let has = |base: &BlobId| reader.index().usable_where(base, frame.depth, &is_present).is_some();
        if !frame.bases.iter().all(has) {
            if let Err(error) = reader.open_seal(*number, sealed) {
                findings.push(finding(error.to_string()));
            }
            bad.push(*number);
            continue;
        }
        let opened = reader.open_frame(*number, sealed).and_then(|plain| {
            let own = blobs.get(number).map(Vec::as_slice).unwrap_or_default();
            own.iter().try_for_each(|(id, place)| reader.slice(place.kind, id, *place, &plain).map(drop))
        });
        if let Err(error) = opened {
            findings.push(finding(error.to_string()));
            bad.push(*number);
        }
    }
    (bad, findings)
}

fn directory_matches(
    repository: &Repository,
    pack: &PackRecord,
    bytes: &[u8],
    lookup: &BlobIndex,
    frames: &[u32],
) -> std::result::Result<(), String> {
    let header = vault_format::seal::Header::decode(bytes, pack.header.kind, repository.id());
    let (header, _) = header.map_err(|error| error.to_string())?;
    if header != pack.header {
        return Err("its header is not what the index says".into());
    }
    let end = PackEnd::parse(bytes, bytes.len() as u64).map_err(|error| error.to_string())?;
    let book = repository.keys().book(header.domain).ok_or("no key for its directory")?;
    let directory = end.directory(&header, &book).map_err(|error| error.to_string())?;
    let own = frames.iter().map(|number| lookup.frame(*number).ordinal);
    if end.salt != pack.salt || !own.eq(directory.frames.iter().map(|frame| frame.ordinal)) {
        return Err("its directory is not what the index says".into());
    }
    Ok(())
}

/// Snapshots that other heads or the journal name must be there, unless the owner had them removed.
fn heads(
    repository: &Repository,
    trust: &Trust,
    snapshots: &Snapshots,
    orders: &Orders,
    marks: &Marks,
    report: &mut Report,
) -> Result<()> {
    let (records, damaged) = journal::load(repository, trust)?;
    for problem in damaged {
        report.find("a journal record", problem);
    }
    let damaged_ids = snapshots.damaged.iter().filter_map(|(name, _)| name.id());
    let known: BTreeSet<ObjectId> = snapshots.all.iter().map(|snapshot| snapshot.id).chain(damaged_ids).collect();
    let due: BTreeSet<ObjectId> =
        marks.condemnations.iter().flat_map(|mark| mark.snapshots.iter().map(|place| place.id)).collect();
    let mut named: BTreeMap<ObjectId, String> = BTreeMap::new();
    for snapshot in &snapshots.all {
        for id in snapshot.head.seen.iter().chain(&snapshot.head.parent) {
            named.entry(*id).or_insert_with(|| format!("snapshot {}", snapshot.id.short()));
        }
    }
    for (name, record) in &records {
        for id in &record.heads {
            named.entry(*id).or_insert_with(|| name.to_string());
        }
    }
    for (id, by) in named {
        let removed = due.contains(&id) || orders.state(id).is_forgotten() || orders.quarantined.contains(&id);
        if !known.contains(&id) && !removed {
            report.find(&format!("{}…/{id}", name::SNAPSHOTS), format!("missing, though {by} names it"));
        }
    }
    Ok(())
}

struct Walk<'a, 'r> {
    repository: &'r Repository,
    reader: &'a Reader<'r>,
    lookup: &'a BlobIndex,
    bad: &'a HashSet<u32>,
    seen: HashSet<BlobId>,
    lost: BTreeMap<BlobId, (String, Vec<String>)>,
}

impl Walk<'_, '_> {
    /// A usable place none of whose frames is bad.
    fn is_good(&self, id: &BlobId, below: u8) -> bool {
        self.lookup.locations(id).any(|place| {
            let frame = self.lookup.frame(place.frame);
            frame.depth < below
                && self.lookup.pack_of(place.frame).present
                && !self.bad.contains(&place.frame)
                && frame.bases.iter().all(|base| self.is_good(base, frame.depth))
        })
    }

    fn lose(&mut self, id: BlobId, what: &str, snapshot: &SnapshotEntry, path: &[u8]) {
        let (_, affected) = self.lost.entry(id).or_insert_with(|| (what.to_owned(), Vec::new()));
        if affected.len() < AFFECTED_MAX {
            affected.push(format!("{}:/{}", snapshot.id.short(), String::from_utf8_lossy(path)));
        }
    }

    fn snapshot(&mut self, snapshot: &SnapshotEntry, progress: &dyn Progress) -> Result<()> {
        if let Err(error) = snapshot.body(self.repository) {
            self.lose(BlobId(snapshot.id.0), &error.to_string(), snapshot, b"");
        }
        let mut levels: Vec<(TreeRoot, Vec<u8>)> = vec![(snapshot.head.root, Vec::new())];
        while let Some((root, path)) = levels.pop() {
            if self.repository.runtime().is_stopped() {
                return Err(crate::error::Error::Interrupted);
            }
            progress.at(Path::new(&*String::from_utf8_lossy(&path)));
            // a directory whose root page was seen whole needs no second walk
            if self.seen.contains(&root.id) && !self.lost.contains_key(&root.id) {
                continue;
            }
            self.pages(&root, snapshot, &path);
            for node in Nodes::new(self.reader, &root) {
                let Ok(node) = node else { continue };
                let mut path = path.clone();
                path.push(b'/');
                path.extend_from_slice(&node.name);
                match &node.kind {
                    NodeKind::Directory(root) => levels.push((*root, path)),
                    NodeKind::File { .. } => self.file(&node, snapshot, &path),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Every page of a directory must have a good place and be read.
    fn pages(&mut self, root: &TreeRoot, snapshot: &SnapshotEntry, path: &[u8]) {
        let mut pending = vec![root.id];
        while let Some(id) = pending.pop() {
            if !self.is_good(&id, DEPTH_MAX + 1) {
                self.lose(id, "a directory page is missing or damaged", snapshot, path);
                continue;
            }
            if !self.seen.insert(id) {
                continue;
            }
            match walk::page(self.reader, &id) {
                Ok(TreePage::Branch { children, .. }) => pending.extend(children.iter().map(|child| child.root.id)),
                Ok(TreePage::Leaf(_)) => {}
                Err(error) => self.lose(id, &error.to_string(), snapshot, path),
            }
        }
        if let Some(error) = Nodes::new(self.reader, root).find_map(repository::Result::err)
            && !self.lost.contains_key(&root.id)
        {
            self.lose(root.id, &error.to_string(), snapshot, path);
        }
    }

    fn file(&mut self, node: &Node, snapshot: &SnapshotEntry, path: &[u8]) {
        let NodeKind::File { content, .. } = &node.kind else { return };
        let (mut chunks, mut pages) = (Vec::new(), Vec::new());
        let mut each = |chunk: vault_format::list::ChunkRef| {
            chunks.push(chunk.id);
            Ok(())
        };
        let walked = walk::chunks(self.reader, content, &mut each, &mut |page| pages.push(page));
        for id in chunks.into_iter().chain(pages.iter().copied()) {
            if self.is_good(&id, DEPTH_MAX + 1) {
                self.seen.insert(id);
            } else {
                self.lose(id, "content is missing or damaged", snapshot, path);
            }
        }
        if let (Err(error), Some(page)) = (walked, pages.first())
            && !self.lost.contains_key(page)
        {
            self.lose(*page, &error.to_string(), snapshot, path);
        }
    }

    fn findings(self) -> impl Iterator<Item = Finding> {
        self.lost.into_iter().map(|(id, (problem, affected))| Finding {
            object: format!("blob {}", id.short()),
            problem,
            affected,
        })
    }
}
