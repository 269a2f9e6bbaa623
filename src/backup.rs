//! The forward flow: source -> walk -> chunk -> dedup -> frame -> seal -> pack -> store, and the commit of a snapshot.
//! A directory is merge-joined with the parent snapshot, so that unchanged files are never opened. What can't be read is
//! named and left out; what the protocol refuses at commit is read and stored again.

mod files;

use crate::chunk::Gear;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::{self, BlobIndex, IndexObjects};
use crate::repository::marks::Marks;
use crate::repository::orders::Orders;
use crate::repository::reader::Reader;
use crate::repository::snapshots::{self, SnapshotEntry, Snapshots};
use crate::repository::trees::TreeBuilder;
use crate::repository::trust::Trust;
use crate::repository::walk::Nodes;
use crate::repository::writer::Writer;
use crate::repository::{self, Repository, journal};
use crate::source::{self, Command, Directory, EntryKind, Event};
use files::{FileWriter, ReadError};
use std::ffi::OsString;
use std::io::Read;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use vault_format::id::{ObjectId, RunId};
use vault_format::journal::Outcome;
use vault_format::secret::Role;
use vault_format::snapshot::{Body, Gaps, Head, LeftOut, Statistics};
use vault_format::tree::{Metadata, Node, NodeKind, Time, TreeRoot};

/// How often a run starts over when prune condemns what it relies on.
const TRIES: u32 = 3;

/// What is backed up.
pub enum Source<'a> {
    /// Files and folders.
    Paths(Vec<PathBuf>, source::Options),
    /// A stream that becomes one file.
    Stream(&'a mut dyn Read, Vec<u8>),
    /// The standard output of a command, which becomes one file.
    Command(Vec<OsString>, Vec<u8>),
}

/// How it is backed up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the source.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// In the user's words.
    pub description: String,
    /// Host name to record.
    pub host: String,
    /// User name to record.
    pub user: String,
    /// Time to record instead of now, nanoseconds since 1970.
    pub time: Option<i64>,
    /// An empty stream is taken as it is.
    pub allow_empty: bool,
    /// No snapshot if nothing changed since the parent.
    pub skip_if_unchanged: bool,
    /// Read again a random part of unchanged files: numerator, denominator.
    pub reread: Option<(u32, u32)>,
    /// Look, but put nothing.
    pub dry_run: bool,
}

/// What happened.
#[derive(Debug)]
pub struct Report {
    /// The snapshot; `None` for a dry run, or if nothing changed and that was asked.
    pub snapshot: Option<ObjectId>,
    /// Its head.
    pub head: Head,
    /// Entries that were left out against the user's wish, each with the reason.
    pub failed: Vec<String>,
    /// Other notes.
    pub notes: Vec<String>,
}

struct Found {
    root: TreeRoot,
    metadata: Option<Metadata>,
    /// Absolute path of the root; empty for streams.
    base: Vec<u8>,
    paths: Vec<Vec<u8>>,
    statistics: Statistics,
    profile: u8,
    failed: Vec<String>,
    notes: Vec<String>,
}

/// Takes one snapshot.
pub fn backup(
    repository: &Repository,
    mut source: Source<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    let started = repository.runtime().clock.now();
    let run = RunId(repository.runtime().random());
    let mut tries = 0;
    let result = loop {
        tries += 1;
        let result = attempt(repository, &mut source, (options, run), progress);
        if !matches!(&result, Err(Error::Repository(repository::Error::Condemned(_) | repository::Error::TooOld(_)))) {
            break result;
        }
        // a snapshot that was put too late may lack what it needs, and would stop prune
        if repository.keys().role() == Role::Owner
            && let Err(error) = snapshots::drop_unfinished(repository, run)
        {
            progress.note(&format!("what was put too late could not be forgotten: {error}"));
        }
        // the condemned data is absent for the next try, and is read and stored again
        if tries == TRIES || matches!(source, Source::Stream(..)) {
            break result;
        }
    };
    if !options.dry_run {
        record(repository, options, started, &result, progress);
    }
    result
}

/// A journal record that can't be written is a warning: the snapshot is there, or the error is already on its way.
fn record(repository: &Repository, options: &Options, started: i64, result: &Result<Report>, progress: &dyn Progress) {
    let now = repository.runtime().clock.now();
    let mut record = journal::record(repository, "snapshot");
    record.source.clone_from(&options.name);
    record.started = started;
    record.duration = u64::try_from(now.saturating_sub(started)).unwrap_or_default();
    record.actor = format!("{}@{}", options.user, options.host);
    match result {
        Ok(report) => {
            record.run = report.head.run;
            record.outcome = if report.failed.is_empty() { Outcome::Done } else { Outcome::Partial };
            record.message = format!("{} left out", report.failed.len());
            record.heads = report.head.seen.iter().copied().chain(report.snapshot).collect();
            let statistics = &report.head.statistics;
            record.figures = vec![
                ("read_bytes".into(), statistics.bytes),
                ("added_bytes".into(), statistics.added_bytes),
                ("stored_bytes".into(), statistics.stored_bytes),
                ("files".into(), statistics.files),
            ];
        }
        Err(error) => {
            record.outcome = Outcome::Failed;
            record.message = error.to_string();
        }
    }
    if let Err(error) = journal::put(repository, &record) {
        progress.note(&format!("the journal record could not be written: {error}"));
    }
}

fn attempt(
    repository: &Repository,
    source: &mut Source<'_>,
    (options, run): (&Options, RunId),
    progress: &dyn Progress,
) -> Result<Report> {
    let clock = &repository.runtime().clock;
    let (started, elapsed) = (clock.now(), clock.elapsed());
    let domain = repository.keys().domain();
    let trust = Trust::load(repository)?;
    trust.may_write(repository)?;
    let marks = Marks::load(repository)?;
    let (packs, _) = index::list_packs(repository)?;
    let objects = IndexObjects::load(repository, &trust, Some(domain))?;
    let lookup = BlobIndex::new(repository, &objects, Some(&packs), &marks);
    objects.damaged.iter().for_each(|(_, damage)| progress.note(damage));
    let orders = Orders::load(repository)?;
    let label = repository.keys().own_book().source_label(&options.name);
    let snapshots = Snapshots::load(repository, &trust, &orders, Some((domain, label)))?;
    snapshots.damaged.iter().for_each(|(_, damage)| progress.note(damage));
    let parent = snapshots.visible().next_back();
    let reader = Reader::new(repository, &lookup);
    let writer = Writer::new(repository, &lookup, domain, &options.name)?;
    let mut writer = if options.dry_run { writer.dry() } else { writer };
    let scan = Scan {
        repository,
        options,
        progress,
        reader: &reader,
        writer: &mut writer,
        files: FileWriter::new(Gear::new(repository.keys().gear_key())),
        found: Found::new(),
        started,
        parent_started: parent.map_or(i64::MIN, |parent| parent.head.time),
    };
    let found = match source {
        Source::Paths(paths, walk) => scan.paths(paths, walk, parent)?,
        Source::Stream(input, name) => scan.stream(input, name)?,
        Source::Command(words, name) => scan.command(words, name)?,
    };
    let counts = writer.counts;
    let body = body(source, options, &found);
    let book = repository.keys().own_book();
    // what was stored again heals what the parent has lost
    let unchanged = counts.added_blobs == 0 && parent.is_some_and(|parent| parent.head.root == found.root);
    let mut head = Head {
        source: options.name.clone(),
        time: options.time.unwrap_or(started),
        run,
        root: found.root,
        parent: parent.map(|parent| parent.id),
        seen: snapshots.seen_by(repository.keys().writer(), (domain, label)),
        statistics: Statistics { added_blobs: counts.added_blobs, added_bytes: counts.added_bytes, ..found.statistics },
        profile: found.profile,
        expires: None,
        original: None,
        place: body.place(&book),
        host: body.host_mark(&book),
    };
    head.statistics.errors = found.failed.len() as u64;
    let report = |snapshot, head| Report { snapshot, head, failed: found.failed.clone(), notes: found.notes.clone() };
    if options.dry_run || (options.skip_if_unchanged && unchanged) {
        return Ok(report(None, head));
    }
    writer.flush()?;
    head.statistics.stored_bytes = writer.stored_bytes();
    head.statistics.duration = u64::try_from(clock.elapsed().saturating_sub(elapsed)).unwrap_or_default();
    stopped(repository)?;
    let name = writer.commit(&head, &body)?;
    Ok(report(name.id(), head))
}

fn body(source: &Source<'_>, options: &Options, found: &Found) -> Body {
    let mut tags = options.tags.clone();
    tags.sort();
    tags.dedup();
    let bytes = |word: &OsString| std::os::unix::ffi::OsStrExt::as_bytes(word.as_os_str()).to_vec();
    let (command, left_out) = match source {
        Source::Paths(_, walk) => (Vec::new(), walk.left_out()),
        Source::Stream(..) => (Vec::new(), LeftOut::default()),
        Source::Command(words, _) => (words.iter().map(bytes).collect(), LeftOut::default()),
    };
    Body {
        root: found.metadata.clone(),
        base: found.base.clone(),
        paths: found.paths.clone(),
        host: options.host.clone(),
        user: options.user.clone(),
        tags,
        description: options.description.clone(),
        command,
        left_out,
        gaps: Gaps::default(),
        messages: Vec::new(),
        program: concat!("vault ", env!("CARGO_PKG_VERSION")).into(),
    }
}

fn stopped(repository: &Repository) -> Result<()> {
    if repository.runtime().is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}

impl Found {
    fn new() -> Self {
        Self {
            root: TreeRoot { id: Default::default(), bytes: 0, count: 0 },
            metadata: None,
            base: Vec::new(),
            paths: Vec::new(),
            statistics: Statistics::default(),
            profile: 0,
            failed: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// One pass over a source.
struct Scan<'s, 'r> {
    repository: &'r Repository,
    options: &'s Options,
    progress: &'s dyn Progress,
    reader: &'s Reader<'r>,
    writer: &'s mut Writer<'r>,
    files: FileWriter,
    found: Found,
    started: i64,
    /// When the parent's scan began.
    parent_started: i64,
}

/// A directory that is being read.
struct Level<'a, 'r> {
    name: Vec<u8>,
    metadata: Metadata,
    builder: TreeBuilder,
    parent: Option<Peekable<Nodes<'a, 'r>>>,
}

impl Level<'_, '_> {
    /// The parent's node with this name; names must ascend. A page that can't be read counts as not there.
    fn parent_node(&mut self, name: &[u8]) -> Option<Node> {
        let nodes = self.parent.as_mut()?;
        while nodes.next_if(|node| node.as_ref().map_or(true, |node| node.name.as_slice() < name)).is_some() {}
        nodes.next_if(|node| node.as_ref().is_ok_and(|node| node.name == name)).and_then(repository::Result::ok)
    }
}

impl<'s, 'r> Scan<'s, 'r> {
    fn level(&self, name: Vec<u8>, metadata: Metadata, parent: Option<&TreeRoot>) -> Level<'s, 'r> {
        let parent = parent.map(|root| Nodes::new(self.reader, root).peekable());
        Level { name, metadata, builder: TreeBuilder::default(), parent }
    }

    fn paths(mut self, paths: &[PathBuf], walk: &source::Options, parent: Option<&SnapshotEntry>) -> Result<Found> {
        let key = self.repository.keys().gear_key().clone();
        let mut directory = Directory::open(paths, walk).map_err(|error| Error::Source(error.to_string()))?;
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let bytes = |path: PathBuf| std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
        self.found.paths = paths.iter().map(absolute).map(bytes).collect();
        self.found.base = bytes(directory.base().to_owned());
        self.found.metadata = Some(directory.root().clone());
        let mut levels = vec![self.level(Vec::new(), Metadata::default(), parent.map(|parent| &parent.head.root))];
        while let Some(event) = directory.next() {
            stopped(self.repository)?;
            let Some(level) = levels.last_mut() else { break };
            match event {
                Event::Enter { name, metadata } => {
                    let root = level.parent_node(&name).and_then(|node| match node.kind {
                        NodeKind::Directory(root) => Some(root),
                        _ => None,
                    });
                    self.found.statistics.directories += 1;
                    levels.push(self.level(name, metadata, root.as_ref()));
                }
                Event::Leave => {
                    let Some(done) = levels.pop() else { break };
                    let root = done.builder.finish(self.writer, &key)?;
                    let node = Node { name: done.name, kind: NodeKind::Directory(root), metadata: done.metadata };
                    let Some(level) = levels.last_mut() else { break };
                    level.builder.push(self.writer, &key, node)?;
                }
                Event::Entry(entry) => {
                    let before = level.parent_node(&entry.name);
                    if let Some(node) = self.entry(&directory, entry, before.as_ref())? {
                        level.builder.push(self.writer, &key, node)?;
                    }
                }
                Event::Skipped { path, why } if why.is_loss() => {
                    self.fail(format!("{}: {why}", path.display()));
                }
                Event::Skipped { path, why } => {
                    self.found.notes.push(format!("{}: {why}", path.display()));
                }
                Event::Failed { path, error } => self.fail(format!("{}: {error}", path.display())),
            }
        }
        let root = levels.pop().map_or_else(TreeBuilder::default, |level| level.builder);
        self.found.root = root.finish(self.writer, &key)?;
        Ok(self.found)
    }

    fn fail(&mut self, what: String) {
        self.progress.note(&what);
        self.found.failed.push(what);
    }

    fn entry(&mut self, directory: &Directory, entry: source::Entry, before: Option<&Node>) -> Result<Option<Node>> {
        let statistics = &mut self.found.statistics;
        let kind = match &entry.kind {
            EntryKind::File { size } => {
                statistics.files += 1;
                let size = *size;
                match self.file(directory, &entry, size, before)? {
                    Some(kind) => kind,
                    None => return Ok(None),
                }
            }
            other => {
                statistics.others += 1;
                match other {
                    EntryKind::Symlink(target) => NodeKind::Symlink(target.clone()),
                    EntryKind::CharDevice(major, minor) => NodeKind::CharDevice(*major, *minor),
                    EntryKind::BlockDevice(major, minor) => NodeKind::BlockDevice(*major, *minor),
                    EntryKind::Fifo | EntryKind::File { .. } => NodeKind::Fifo,
                }
            }
        };
        Ok(Some(Node { name: entry.name, kind, metadata: entry.metadata }))
    }

    fn file(
        &mut self,
        directory: &Directory,
        entry: &source::Entry,
        size: u64,
        before: Option<&Node>,
    ) -> Result<Option<NodeKind>> {
        let path = directory.path_of(&entry.name);
        self.progress.at(&path);
        if let Some(before) = before.filter(|_| !self.is_reread()) {
            let file = (size, &entry.metadata);
            if let Some(kind) = files::unchanged(self.writer, self.reader, file, before, self.parent_started)? {
                self.found.statistics.unchanged_files += 1;
                self.found.statistics.bytes += size;
                self.progress.advance(1, size);
                return Ok(Some(kind));
            }
        }
        let mut reader = match directory.open_file(entry) {
            Ok(reader) => reader,
            Err(error) => {
                self.fail(format!("{}: {error}", path.display()));
                return Ok(None);
            }
        };
        let content = match self.files.write(self.writer, &mut reader, self.progress) {
            Ok((content, _)) => content,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(error)) => {
                self.fail(format!("{}: {error}", path.display()));
                return Ok(None);
            }
        };
        match reader.finish() {
            Ok(end) => {
                if end.changed {
                    self.fail(format!("{}: changed while it was read", path.display()));
                }
                self.found.statistics.bytes += end.size;
                self.found.profile = self.files.profile;
                self.progress.advance(1, 0);
                Ok(Some(NodeKind::File { size: end.size, content, holes: end.holes }))
            }
            Err(error) => {
                self.fail(format!("{}: {error}", path.display()));
                Ok(None)
            }
        }
    }

    /// Draws whether an unchanged file is read all the same.
    fn is_reread(&self) -> bool {
        self.options
            .reread
            .is_some_and(|(some, all)| u32::from_le_bytes(self.repository.runtime().random()) % all.max(1) < some)
    }

    fn stream(self, input: &mut dyn Read, name: &[u8]) -> Result<Found> {
        let (scan, bytes) = self.one_file(input, name)?;
        if bytes == 0 && !scan.options.allow_empty {
            return Err(Error::EmptySource("standard input".into()));
        }
        Ok(scan.found)
    }

    fn command(self, words: &[OsString], name: &[u8]) -> Result<Found> {
        let mut command = Command::spawn(words).map_err(|failure| Error::Source(failure.to_string()))?;
        let (scan, bytes) = self.one_file(&mut command, name)?;
        // the exit status comes first: a command that failed often gave no output either
        command.finish().map_err(|failure| Error::Source(failure.to_string()))?;
        if bytes == 0 && !scan.options.allow_empty {
            let program = words.first().map(|word| Path::new(word).display().to_string()).unwrap_or_default();
            return Err(Error::EmptySource(program));
        }
        Ok(scan.found)
    }

    fn one_file(mut self, input: &mut dyn Read, name: &[u8]) -> Result<(Self, u64)> {
        let mut input = Stoppable { input, repository: self.repository };
        let (content, bytes) = match self.files.write(self.writer, &mut input, self.progress) {
            Ok(done) => done,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(_)) if self.repository.runtime().is_stopped() => return Err(Error::Interrupted),
            Err(ReadError::Input(error)) => return Err(Error::Source(format!("cannot read the stream: {error}"))),
        };
        let time = self.options.time.unwrap_or(self.started);
        let mtime = Time {
            seconds: time.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(time.rem_euclid(1_000_000_000)).unwrap_or_default(),
        };
        let metadata = Metadata { mode: 0o600, mtime, ctime: mtime, ..Metadata::default() };
        let kind = NodeKind::File { size: bytes, content, holes: Vec::new() };
        let mut builder = TreeBuilder::default();
        let key = self.repository.keys().gear_key().clone();
        builder.push(self.writer, &key, Node { name: name.to_vec(), kind, metadata })?;
        self.found.root = builder.finish(self.writer, &key)?;
        self.found.profile = self.files.profile;
        self.found.statistics.files = 1;
        self.found.statistics.bytes = bytes;
        self.progress.advance(1, 0);
        Ok((self, bytes))
    }
}

/// A stream that ends with an error once the run should stop.
struct Stoppable<'a> {
    input: &'a mut dyn Read,
    repository: &'a Repository,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.repository.runtime().is_stopped() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.input.read(out)
    }
}
