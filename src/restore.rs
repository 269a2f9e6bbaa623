//! The backward flow: snapshot -> tree -> find -> fetch -> open -> verify -> target. Directories are made while the tree
//! is walked, files are collected and filled in pack order, and metadata of directories comes last. What exists and
//! differs stays unless the caller says otherwise, so that a repeated restore resumes.

mod plan;
mod stream;

pub use stream::restore_to;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::BlobIndex;
use crate::repository::reader::Reader;
use crate::repository::snapshots::{Catalog, SnapshotEntry};
use crate::repository::walk::{self, Nodes};
use crate::repository::{self, Repository, journal};
use crate::source::{self, Excludes};
use crate::target::{self, Entered, NoteKind, Placement, Target};
use plan::{Outcome, Plan};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use vault_format::id::BlobKind;
use vault_format::journal::Outcome as Ended;
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// What is restored, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only what one of these patterns names; empty = all.
    pub include: Vec<String>,
    /// Not what one of these patterns names.
    pub exclude: Vec<String>,
    /// How the target is treated.
    pub target: target::Options,
    /// Read every restored file back and compare.
    pub verify: bool,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Entries that were there already and are the same.
    pub same: u64,
    /// Existing entries that differ and were left.
    pub left: Vec<String>,
    /// Entries that could not be restored, each with the reason.
    pub failed: Vec<String>,
    /// Other notes.
    pub notes: Vec<String>,
    /// Ranges of packs fetched.
    pub fetched: u64,
    /// Decoded frames that had to be dropped to stay within the memory for them.
    pub evicted_frames: u64,
}

/// Restores what lies at `path` of a snapshot into the directory `target`.
pub fn restore(
    repository: &Repository,
    (catalog, snapshot): (&Catalog, &SnapshotEntry),
    path: &[u8],
    target: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    repository.keys().content("restore")?;
    let started = repository.runtime().clock.now();
    let lookup = BlobIndex::for_reading(repository, &catalog.trust, snapshot.place.domain)?;
    let reader = Reader::new(repository, &lookup);
    let found = walk::find(&reader, &snapshot.head.root, path, &snapshot.id.short())?;
    let open = Target::open(target, options.target);
    let open = open.map_err(|source| Error::File { what: "restore into", path: target.into(), source })?;
    let mut run = Run::new(repository, &reader, options, progress, open)?;
    let root = match found {
        None => {
            run.tree(&snapshot.head.root)?;
            snapshot.body(repository)?.root
        }
        Some(Node { kind: NodeKind::Directory(root), metadata, .. }) => {
            run.tree(&root)?;
            Some(metadata)
        }
        Some(node) => {
            progress.expect(1, file_size(&node));
            run.entry(&node)?;
            None
        }
    };
    let report = run.finish(root.as_ref())?;
    if !options.target.dry_run {
        record(&reader, snapshot, started, &report, progress);
    }
    Ok(report)
}

/// The audit trail; whoever may only read the store restores without it.
fn record(reader: &Reader<'_>, snapshot: &SnapshotEntry, started: i64, report: &Report, progress: &dyn Progress) {
    let repository = reader.repository();
    let mut record = journal::record(repository, "restore");
    record.source.clone_from(&snapshot.head.source);
    record.started = started;
    let duration = repository.runtime().clock.now().saturating_sub(started);
    record.duration = u64::try_from(duration).unwrap_or_default();
    record.outcome = if report.failed.is_empty() { Ended::Done } else { Ended::Partial };
    record.heads = vec![snapshot.id];
    record.figures = vec![("restored_bytes".into(), report.bytes), ("restored_files".into(), report.files)];
    // what was read in full need not be read soon by a check
    if let Err(error) = journal::put_verified(repository, &record, &reader.verified_packs()) {
        progress.note(&format!("the journal record could not be written: {error}"));
    }
}

fn file_size(node: &Node) -> u64 {
    match &node.kind {
        NodeKind::File { size, .. } => *size,
        _ => 0,
    }
}

/// A directory on the way from the root.
struct Level<'a, 'r> {
    nodes: Nodes<'a, 'r>,
    path: Vec<u8>,
    /// `Some` until something below it is wanted.
    waiting: Option<Node>,
    /// A pattern names it: all below is wanted.
    wanted: bool,
    entered: bool,
}

struct Run<'a, 'r> {
    repository: &'r Repository,
    reader: &'a Reader<'r>,
    options: &'a Options,
    progress: &'a dyn Progress,
    include: Excludes,
    exclude: Excludes,
    target: Target,
    plan: Plan,
    report: Report,
}

fn patterns(patterns: &[String]) -> Result<Excludes> {
    let options = source::Options { exclude: patterns.to_vec(), ..source::Options::default() };
    Excludes::new(&options).map_err(|error| Error::Request(error.to_string()))
}

impl<'a, 'r> Run<'a, 'r> {
    fn new(
        repository: &'r Repository,
        reader: &'a Reader<'r>,
        options: &'a Options,
        progress: &'a dyn Progress,
        target: Target,
    ) -> Result<Self> {
        let (include, exclude) = (patterns(&options.include)?, patterns(&options.exclude)?);
        let (plan, report) = (Plan::default(), Report::default());
        Ok(Self { repository, reader, options, progress, include, exclude, target, plan, report })
    }

    fn tree(&mut self, root: &TreeRoot) -> Result<()> {
        self.progress.expect(root.count, root.bytes);
        let wanted = self.options.include.is_empty();
        let nodes = Nodes::new(self.reader, root);
        let mut levels = vec![Level { nodes, path: Vec::new(), waiting: None, wanted, entered: true }];
        self.keep_extra_if_filtered();
        while let Some(level) = levels.last_mut() {
            if self.repository.runtime().is_stopped() {
                return Err(Error::Interrupted);
            }
            let Some(node) = level.nodes.next() else {
                let done = levels.pop();
                if done.is_some_and(|done| done.entered) && !levels.is_empty() {
                    self.leave()?;
                }
                continue;
            };
            let node = match node {
                Ok(node) => node,
                Err(error) if self.repository.is_silent(&error) => return Err(error.into()),
                Err(error) => {
                    self.target.keep_extra();
                    let place = String::from_utf8_lossy(&level.path).into_owned();
                    self.fail(format!("part of the directory /{place}: {error}"));
                    continue;
                }
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&node.name);
            let is_directory = matches!(node.kind, NodeKind::Directory(_));
            if self.exclude.excludes(&path, is_directory) {
                continue;
            }
            let wanted = level.wanted || self.include.excludes(&path, is_directory);
            if let NodeKind::Directory(root) = node.kind {
                let nodes = Nodes::new(self.reader, &root);
                levels.push(Level { nodes, path, waiting: Some(node), wanted, entered: false });
                if wanted {
                    self.enter(&mut levels)?;
                }
            } else if wanted && self.enter(&mut levels)? {
                self.entry(&node)?;
            }
        }
        Ok(())
    }

    /// Enters every directory down to the last that is not entered yet; false if one of them can't be.
    fn enter(&mut self, levels: &mut Vec<Level<'_, '_>>) -> Result<bool> {
        for number in 0..levels.len() {
            let Some(node) = levels.get_mut(number).and_then(|level| level.waiting.take()) else { continue };
            match self.target.enter(&node) {
                Ok(Entered::Inside) => {
                    self.keep_extra_if_filtered();
                    if let Some(level) = levels.get_mut(number) {
                        level.entered = true;
                    }
                }
                Ok(Entered::Left) => {
                    levels.truncate(number);
                    return Ok(false);
                }
                Err(error) => {
                    self.fail(format!("{}: {error}", self.target.path_of(&node.name).display()));
                    levels.truncate(number);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What a filter leaves out is not extra.
    fn keep_extra_if_filtered(&mut self) {
        if !self.include.is_empty() || !self.exclude.is_empty() {
            self.target.keep_extra();
        }
    }

    fn leave(&mut self) -> Result<()> {
        self.target.leave().map_err(|source| Error::File { what: "finish", path: self.target.path_of(b""), source })
    }

    fn fail(&mut self, what: String) {
        self.progress.note(&what);
        self.report.failed.push(what);
    }

    /// Places anything but a directory.
    fn entry(&mut self, node: &Node) -> Result<()> {
        let path = self.target.path_of(&node.name);
        self.progress.at(&path);
        match self.target.place(node) {
            Ok(Placement::Write(slot)) => {
                self.plan.add(self.reader, node, slot)?;
                if self.plan.is_full() {
                    self.execute()?;
                }
            }
            Ok(Placement::Same) => {
                self.report.same += 1;
                self.progress.advance(1, file_size(node));
            }
            Ok(Placement::Planned) => {
                self.report.files += 1;
                self.report.bytes += file_size(node);
            }
            Ok(Placement::Created | Placement::Linked | Placement::Omitted | Placement::Left) => {
                self.progress.advance(1, 0);
            }
            Err(error) => self.fail(format!("{}: {error}", path.display())),
        }
        Ok(())
    }

    fn execute(&mut self) -> Result<()> {
        let plan = std::mem::take(&mut self.plan);
        let Outcome { files, bytes, failed, written, silent } =
            plan.execute(self.repository, self.reader, self.progress);
        if self.repository.runtime().is_stopped() {
            return Err(Error::Interrupted);
        }
        if let Some(error) = silent {
            return Err(repository::Error::from(error).into());
        }
        self.report.files += files;
        self.report.bytes += bytes;
        self.report.failed.extend(failed);
        if self.options.verify {
            for (path, node) in written {
                if let Err(why) = verify(self.repository, self.reader, &path, &node) {
                    self.fail(format!("{}: {why}", path.display()));
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, root: Option<&Metadata>) -> Result<Report> {
        self.execute()?;
        let mut report = self.report;
        let place = self.target.path_of(b"");
        let root = root.filter(|_| self.target.was_empty());
        let early = self.target.notes();
        let notes = self.target.finish(root);
        let notes = notes.map_err(|source| Error::File { what: "finish the restore in", path: place, source })?;
        for note in early.into_iter().chain(notes) {
            let path = note.path.display().to_string();
            match note.kind {
                NoteKind::Left => report.left.push(path),
                NoteKind::Device => report.notes.push(format!("{path}: a device, left out: only root can make one")),
                NoteKind::Deleted => report.notes.push(format!("{path}: deleted, the snapshot does not have it")),
                NoteKind::WouldDelete => report.notes.push(format!("{path}: would be deleted")),
                NoteKind::Fault(fault) => report.failed.push(format!("{path}: {fault}")),
            }
        }
        (report.fetched, report.evicted_frames) = self.reader.counts();
        Ok(report)
    }
}

/// Reads a restored file back and compares every chunk's id.
fn verify(repository: &Repository, reader: &Reader<'_>, path: &Path, node: &Node) -> std::result::Result<(), String> {
    let NodeKind::File { content, holes, .. } = &node.kind else { return Ok(()) };
    let mut file = target::open_restored(path).map_err(|error| error.to_string())?;
    let mut offset = 0u64;
    let mut different = None;
    let mut each = |chunk: vault_format::list::ChunkRef| {
        let filler = vec![0u8; chunk.length as usize];
        let mut bytes = Vec::with_capacity(filler.len());
        for (at, part) in plan::spread(holes, offset, &filler) {
            let read = file
                .seek(SeekFrom::Start(at))
                .and_then(|_| (&mut file).take(part.len() as u64).read_to_end(&mut bytes));
            if let Err(error) = read {
                different.get_or_insert(error.to_string());
            }
        }
        if repository.keys().id_key().blob_id(BlobKind::Chunk, &bytes) != chunk.id {
            different.get_or_insert(format!("reads back differently behind byte {offset}"));
        }
        offset += u64::from(chunk.length);
        Ok(())
    };
    walk::chunks(reader, content, &mut each, &mut |_| {}).map_err(|error| error.to_string())?;
    different.map_or(Ok(()), Err)
}
