//! One pass over named files and folders. The walk is merge-joined with the parent snapshot, so that unchanged files are
//! never opened, and what it yields becomes a tree, bottom-up. What can't be read is named and left out.

use super::Options;
use super::compressed::{Comes, CompressedInput, CompressedInputs};
use super::files::{self, Belief, FileWriter, Input, ReadError};
use super::gaps::GapList;
use super::origin::{Origin, absolute};
use super::parent::{Earlier, Met, ParentTree};
use super::reread::Reread;
use super::walk;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::before::Before;
use crate::repository::tree::build::TreeBuilder;
use crate::repository::tree::content;
use crate::repository::write::writer::Writer;
use crate::source::{self, Directory, EntryKind, Event, FileReader, Skip};
use crate::time::WallTime;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vault_format::name::Name;
use vault_format::snapshot::{Body, Statistics};
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// What a pass over a source found.
#[derive(Default)]
pub struct Found {
    pub root: TreeRoot,
    /// What of the content part the source tells.
    pub body: Body,
    pub statistics: Statistics,
    pub profile: u8,
    pub failed: Vec<String>,
    pub gaps: GapList,
    pub notes: Vec<String>,
    pub remarks: Vec<String>,
    pub advice: Vec<String>,
    pub compressed: CompressedInputs,
    /// What this machine saw in the store, and is not there any more.
    pub unseen: Vec<Name>,
}

/// One pass over a source.
pub struct Scan<'s> {
    pub repository: &'s Repository,
    pub options: &'s Options,
    pub progress: &'s dyn Progress,
    pub reader: &'s Reader,
    pub writer: &'s mut Writer,
    pub files: FileWriter,
    pub found: Found,
    pub started: WallTime,
    pub origin: &'s Origin<'s>,
    /// Which of the unchanged files are read all the same.
    pub reread: Option<Reread>,
}

/// A directory that is being read.
struct Level {
    name: Vec<u8>,
    metadata: Metadata,
    builder: TreeBuilder,
}

impl Level {
    fn new(name: Vec<u8>, metadata: Metadata) -> Self {
        Self { name, metadata, builder: TreeBuilder::default() }
    }
}

impl Scan<'_> {
    /// Reads files and folders.
    pub fn paths(mut self, paths: &[PathBuf], rules: &source::Options) -> Result<Found> {
        let directory = Directory::open(paths, rules).map_err(|error| Error::Source(error.to_string()))?;
        self.found.body = Body {
            paths: absolute(paths),
            base: directory.base().as_os_str().as_bytes().to_vec(),
            root: Some(directory.root().clone()),
            left_out: directory.left_out(),
            ..Body::default()
        };
        directory.doubts().iter().for_each(|doubt| self.progress.note(doubt));
        self.found.notes.extend_from_slice(directory.doubts());
        let join = self.origin.join(self.reader, &self.found.body.base, self.options);
        let parent = ParentTree::new(self.reader, join, self.belief(), self.is_parent_complete());
        let mut levels = vec![Level::new(Vec::new(), Metadata::default())];
        let runtime = self.repository.runtime();
        walk::ahead(runtime, (directory, parent), |met| {
            self.files.bounds.go_on()?;
            self.event(met, &mut levels)
        })?;
        let root = levels.pop().map_or_else(TreeBuilder::default, |level| level.builder);
        self.found.root = root.finish(self.writer, self.repository.keys().gear_key())?;
        Ok(self.found)
    }

    /// True if the parent lacks nothing that it should have: what it says of a file may be all that there is.
    fn is_parent_complete(&self) -> bool {
        let body = self.origin.parent.as_ref().and_then(|parent| parent.entry.body(self.repository).ok());
        body.is_some_and(|body| body.gaps.unread.is_empty() && !body.gaps.more)
    }

    fn event(&mut self, Met { event, earlier, lacks }: Met, levels: &mut Vec<Level>) -> Result<()> {
        if let Some((path, fault)) = lacks {
            self.fail(&path, &fault);
        }
        match event {
            Event::Enter { name, metadata } => {
                self.found.statistics.directories += 1;
                levels.push(Level::new(name, metadata));
            }
            Event::Leave => {
                let Some(done) = levels.pop() else { return Ok(()) };
                let root = done.builder.finish(self.writer, self.repository.keys().gear_key())?;
                let node = Node { name: done.name, kind: NodeKind::Directory(root), metadata: done.metadata };
                self.push(levels, node)?;
            }
            Event::Entry(entry) => {
                let node = self.entry(entry, &earlier)?;
                node.map_or(Ok(()), |node| self.push(levels, node))?;
            }
            Event::Skipped { path, why } if why.is_loss() => self.fail(&path, &why),
            Event::Skipped { path, why } => self.pass(&path, why),
            Event::Lacking { path, fault } => self.fail(&path, &fault),
            Event::Failed { path, error } => self.fail(&path, &error),
        }
        Ok(())
    }

    /// The path below the root.
    fn relative<'p>(&self, path: &'p Path) -> &'p [u8] {
        path.strip_prefix(OsStr::from_bytes(&self.found.body.base)).unwrap_or(path).as_os_str().as_bytes()
    }

    fn fail(&mut self, path: &Path, why: &dyn std::fmt::Display) {
        let what = format!("{}: {why}", path.display());
        self.progress.note(&what);
        self.found.failed.push(what);
        self.found.gaps.unread(self.relative(path));
    }

    fn pass(&mut self, path: &Path, why: Skip) {
        if why.is_passed_over() {
            self.found.gaps.not_entered(self.relative(path));
        }
        // the database itself is named
        if why == Skip::BesideDatabase {
            return;
        }
        let what = format!("{}: {why}", path.display());
        if matches!(why, Skip::Own | Skip::Database) {
            self.found.remarks.push(what.clone());
        }
        self.found.notes.push(what);
    }

    /// What the format can't hold is left out: no run fails for one entry.
    fn push(&mut self, levels: &mut [Level], node: Node) -> Result<()> {
        if let Err(error) = node.validate() {
            let mut path = PathBuf::from(OsStr::from_bytes(&self.found.body.base));
            let names = levels.iter().map(|level| &level.name).filter(|name| !name.is_empty());
            path.extend(names.chain([&node.name]).map(|name| OsStr::from_bytes(name)));
            self.fail(&path, &error);
            return Ok(());
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        Ok(level.builder.push(self.writer, self.repository.keys().gear_key(), node)?)
    }

    fn entry(&mut self, mut entry: source::Entry, earlier: &Earlier) -> Result<Option<Node>> {
        let statistics = &mut self.found.statistics;
        let kind = match entry.kind.clone() {
            EntryKind::File { size } => {
                statistics.files += 1;
                let Some(kind) = self.file(&mut entry, size, earlier)? else { return Ok(None) };
                kind
            }
            other => {
                statistics.others += 1;
                match other {
                    EntryKind::Symlink(target) => NodeKind::Symlink(target),
                    EntryKind::CharDevice(major, minor) => NodeKind::CharDevice(major, minor),
                    EntryKind::BlockDevice(major, minor) => NodeKind::BlockDevice(major, minor),
                    EntryKind::Fifo | EntryKind::File { .. } => NodeKind::Fifo,
                }
            }
        };
        Ok(Some(Node { name: entry.name, kind, metadata: entry.metadata }))
    }

    fn file(&mut self, entry: &mut source::Entry, size: u64, earlier: &Earlier) -> Result<Option<NodeKind>> {
        let path = entry.path();
        self.progress.at(&path);
        let version = earlier.version().and_then(|node| Before::of(self.reader, node));
        let belief = self.belief();
        let before = earlier.same().filter(|node| entry.is_sized() && belief.is_same((size, &entry.metadata), node));
        let is_due = self.reread.as_ref().is_some_and(|reread| reread.is_due(self.relative(&path)));
        // the walk has taken them over with the rest
        if is_due
            && before.is_some()
            && let Some(fault) = entry.read_attributes()
        {
            self.fail(&path, &fault);
        }
        if let Some(kind) = before.filter(|_| !is_due).and_then(|node| files::relied(self.writer, self.reader, node)) {
            self.found.statistics.unchanged_files += 1;
            self.found.compressed.pass_over(size);
            self.add_bytes(size);
            self.progress.advance(1, size);
            return Ok(Some(kind));
        }
        let Some(mut reader) = self.open(entry, &path) else { return Ok(None) };
        // it may have been written to since it was listed
        let before = before.filter(|node| belief.is_same((size, &entry.metadata), node));
        let input = Input::File(&mut reader, size);
        let content = match self.files.write(self.writer, input, version.as_ref(), self.progress) {
            Ok((content, _)) => content,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(error)) => {
                self.fail(&path, &error);
                return Ok(None);
            }
        };
        match reader.finish() {
            Ok(end) => {
                if end.is_cut {
                    self.fail(&path, &"it has no end; only its beginning is stored");
                } else if end.changed {
                    self.fail(&path, &"changed while it was read");
                }
                self.add_bytes(end.size);
                self.found.profile = self.files.profile;
                self.note_compressed(self.relative(&path), Comes::AsFile, end.size, version.is_some());
                self.progress.advance(1, 0);
                let kind = NodeKind::File { size: end.size, content, holes: end.holes };
                if !end.changed
                    && let Some(before) = before.filter(|before| before.kind != kind)
                    && self.differs(entry, before)
                {
                    self.tell(format!(
                        "{}: its content is another than in the last snapshot, though size and times are the same: it \
                         has rotted, or a clock lies; it is stored as it is now",
                        path.display()
                    ));
                }
                Ok(Some(kind))
            }
            Err(error) => {
                self.fail(&path, &error);
                Ok(None)
            }
        }
    }

    fn open(&mut self, entry: &mut source::Entry, path: &Path) -> Option<FileReader> {
        match entry.open() {
            Ok(mut reader) => {
                if let Some(fault) = reader.lacks() {
                    self.fail(path, &fault);
                }
                return Some(reader);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fail(path, &Skip::Vanished),
            Err(error) => self.fail(path, &error),
        }
        None
    }

    pub fn belief(&self) -> Belief {
        let time = |parent: &SnapshotEntry| parent.claimed().min(parent.counted.time);
        Belief {
            parent_started: self.origin.parent.as_ref().map_or(WallTime::MIN, |parent| time(parent.entry)),
            ignore_inode: self.options.ignore_inode,
            ignore_ctime: self.options.ignore_ctime,
        }
    }

    /// Sparse files may be larger than all disks together.
    pub fn add_bytes(&mut self, size: u64) {
        self.found.statistics.bytes = self.found.statistics.bytes.saturating_add(size);
    }

    /// Notes the content that was stored just now, if it was compressed before it was read.
    pub fn note_compressed(&mut self, path: &[u8], comes: Comes, size: u64, is_again: bool) {
        if let Some(by) = self.files.compression.filter(|_| size >= comes.least()) {
            // pages of its list are new too
            let added_bytes = self.files.added_bytes.min(size);
            self.found.compressed.note(CompressedInput { path: path.to_vec(), by, size, added_bytes }, is_again);
        }
    }

    /// True if what a file reads as now is not what the parent's node holds, wherever that was cut and had its holes. In
    /// doubt nothing is said of it.
    fn differs(&self, entry: &mut source::Entry, before: &Node) -> bool {
        let NodeKind::File { content, holes, .. } = &before.kind else { return false };
        let Ok(mut file) = entry.open() else { return false };
        let stored = (content, holes.as_slice());
        let same = content::is_same((self.repository, self.reader), &mut file, stored, &|_| ());
        // to the end, so that it tells whether it changed meanwhile
        let is_read = matches!(same, Ok(Ok(false))) && io::copy(&mut file, &mut io::sink()).is_ok();
        is_read && file.finish().is_ok_and(|end| !end.changed)
    }

    fn tell(&mut self, what: String) {
        self.progress.note(&what);
        self.found.notes.push(what);
    }
}
