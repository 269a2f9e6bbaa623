//! A snapshot beside a folder of this machine: the walk that a backup would do, joined with the stored tree. A file is
//! opened only if its size or times are not those of the snapshot. What can't be read is named, and counts as neither
//! new nor gone; what patterns leave out is left out on both sides.

use super::{Each, Options, Place, Report};
use crate::chunk::{Chunker, Gear};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::changes::{Balance, Change, Changes, Difference, difference};
use crate::repository::tree::content;
use crate::repository::tree::names::join;
use crate::repository::tree::nodes::Nodes;
use crate::source::{self, Directory, Entry, EntryKind, Event, FileReader};
use crate::time::WallTime;
use std::io;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vault_format::id::BlobKind;
use vault_format::list::Content;
use vault_format::snapshot::LeftOut;
use vault_format::tree::{Extent, Metadata, Node, NodeKind};

/// A file that changed less than this before the snapshot was taken may have changed again within one tick of its clock.
const YOUNG: Duration = Duration::from_secs(2);

/// Compares.
pub fn compare(
    reader: &Reader,
    (snapshot, place): (&SnapshotEntry, Place),
    path: PathBuf,
    options: &Options,
    (each, progress): (&mut Each<'_>, &dyn Progress),
) -> Result<Report> {
    let repository = reader.repository();
    let is_directory = std::fs::metadata(&path)
        .map_err(|source| Error::File { what: "compare with", path: path.clone(), source })?
        .is_dir();
    let mut rules = LeftOut::default();
    let nodes = match place {
        Place::Root(_) if !is_directory && snapshot.head.root.count != 1 => {
            return Err(Error::refused(format!("{} is not a folder", path.display())));
        }
        Place::Node(_) if is_directory => {
            return Err(Error::refused(format!("{} is a folder, and the address names none", path.display())));
        }
        Place::Root(root) => {
            rules = snapshot.body(repository)?.left_out;
            Nodes::new(reader, &root)
        }
        Place::Node(node) => {
            // two names, but one thing in two versions
            let name = path.file_name().map_or_else(|| node.name.clone(), |name| name.as_bytes().to_vec());
            Nodes::of(reader, Some(Node { name, ..*node }))
        }
    };
    rules.patterns.extend_from_slice(&options.exclude);
    rules.other_file_systems |= options.one_file_system;
    let walk = source::Options { rules, ..source::Options::default() };
    let directory = Directory::open(&[path], &walk).map_err(|error| Error::Source(error.to_string()))?;
    let side = Side { repository, reader, progress, options, gear: Gear::new(repository.keys().gear_key()) };
    let mut join = Join {
        side,
        trusted: snapshot.claimed().min(snapshot.counted.time) - YOUNG,
        levels: vec![Level { path: Vec::new(), nodes: nodes.peekable() }],
        report: Report::default(),
        each,
    };
    join.walk(directory)?;
    Ok(join.report)
}

/// What does not change while the two are walked.
struct Side<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    progress: &'a dyn Progress,
    options: &'a Options,
    gear: Gear,
}

struct Level {
    path: Vec<u8>,
    nodes: Peekable<Nodes>,
}

struct Join<'a, 'e> {
    side: Side<'a>,
    /// Times before this one tell that a file is the same.
    trusted: WallTime,
    levels: Vec<Level>,
    report: Report,
    each: &'a mut Each<'e>,
}

impl Join<'_, '_> {
    fn walk(&mut self, mut directory: Directory) -> Result<()> {
        while let Some(event) = directory.next() {
            self.side.repository.runtime().check_stopped()?;
            match event {
                Event::Enter { name, metadata } => self.enter(name, metadata)?,
                Event::Entry(entry) => self.entry(entry)?,
                Event::Leave => self.leave()?,
                Event::Skipped { path, why } => {
                    if why.is_loss() {
                        self.fail(format!("{}: {why}", path.display()));
                    }
                    self.pass(&directory, &path)?;
                }
                Event::Lacking { path, fault } => self.fail(format!("{}: {fault}", path.display())),
                Event::Failed { path, error } => {
                    self.fail(format!("{}: {error}", path.display()));
                    self.pass(&directory, &path)?;
                }
            }
        }
        self.leave()
    }

    fn fail(&mut self, what: String) {
        self.side.progress.note(&what);
        self.report.failed.push(what);
    }

    /// The stored node of this name; those before it are gone from the folder.
    fn stored(&mut self, name: &[u8]) -> Result<Option<Node>> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let node = level.nodes.next_if(|node| node.as_ref().map_or(true, |node| node.name.as_slice() <= name));
            match node.transpose()? {
                Some(node) if node.name == name => return Ok(Some(node)),
                Some(node) => self.removed(node)?,
                None => return Ok(None),
            }
        }
    }

    /// A node that is gone, with everything below it.
    fn removed(&mut self, node: Node) -> Result<()> {
        let above = self.levels.last().map(|level| level.path.clone()).unwrap_or_default();
        let reader = self.side.reader;
        for change in Changes::new((reader, Some(node)), (reader, None), &above) {
            let change = change?;
            let bytes = change.bytes(reader, reader)?;
            self.report.tell(&change, bytes, self.each)?;
        }
        Ok(())
    }

    fn enter(&mut self, name: Vec<u8>, metadata: Metadata) -> Result<()> {
        let before = self.stored(&name)?;
        let above = self.levels.last().map(|level| level.path.as_slice()).unwrap_or_default();
        let path = join(above, &name);
        let root = match &before {
            Some(Node { kind: NodeKind::Directory(root), .. }) => Some(*root),
            _ => None,
        };
        let after = Node { name, kind: NodeKind::Directory(root.unwrap_or_default()), metadata };
        let bytes = gone(before.as_ref());
        self.tell(before, after, bytes)?;
        let reader = self.side.reader;
        let nodes = root.map_or_else(|| Nodes::of(reader, None), |root| Nodes::new(reader, &root));
        self.levels.push(Level { path, nodes: nodes.peekable() });
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        while let Some(node) = self.levels.last_mut().and_then(|level| level.nodes.next()) {
            self.removed(node?)?;
        }
        self.levels.pop();
        Ok(())
    }

    /// Leaves out what the walk left out: an entry of the folder that it is in, or the rest of that folder.
    fn pass(&mut self, directory: &Directory, path: &Path) -> Result<()> {
        let here = directory.path_of(b"");
        if here == path {
            if let Some(level) = self.levels.last_mut() {
                level.nodes = Nodes::of(self.side.reader, None).peekable();
            }
        } else if let Some(name) = path.file_name().filter(|_| path.parent() == Some(&here)) {
            self.stored(name.as_bytes())?;
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry) -> Result<()> {
        let before = self.stored(&entry.name)?;
        let path = entry.path();
        self.side.progress.at(&path);
        let stored = match before.as_ref().map(|node| &node.kind) {
            Some(NodeKind::File { size, content, holes }) => Some((*size, content, holes)),
            _ => None,
        };
        let (kind, bytes) = match (entry.kind.clone(), stored) {
            (EntryKind::File { size }, Some(stored)) => {
                // of a file whose size nobody knows, reading tells
                let size = if entry.is_sized() { size } else { stored.0 };
                let node = before.as_ref().filter(|node| stored.0 == size && self.is_trusted(&entry, &node.metadata));
                let compared = match node {
                    Some(_) => Ok(None),
                    None => self.side.compare(&mut entry, size, stored)?,
                };
                match (compared, &before) {
                    (Ok(Some(bytes)), _) => (unread(size), bytes),
                    (Ok(None), Some(before)) => (before.kind.clone(), (0, 0)),
                    (Ok(None), None) => (unread(size), (0, 0)),
                    (Err(error), _) => {
                        self.fail(format!("{}: {error}", path.display()));
                        return Ok(());
                    }
                }
            }
            (EntryKind::File { size }, None) => (unread(size), (size, 0)),
            (EntryKind::Symlink(target), _) => (NodeKind::Symlink(target), gone(before.as_ref())),
            (EntryKind::Fifo, _) => (NodeKind::Fifo, gone(before.as_ref())),
            (EntryKind::CharDevice(major, minor), _) => (NodeKind::CharDevice(major, minor), gone(before.as_ref())),
            (EntryKind::BlockDevice(major, minor), _) => (NodeKind::BlockDevice(major, minor), gone(before.as_ref())),
        };
        self.tell(before, Node { name: entry.name, kind, metadata: entry.metadata }, bytes)
    }

    /// Size and times tell that the file is the one that was stored.
    fn is_trusted(&self, entry: &Entry, before: &Metadata) -> bool {
        let now = &entry.metadata;
        !self.side.options.read_all
            && entry.is_sized()
            && (now.mtime, now.ctime, now.inode) == (before.mtime, before.ctime, before.inode)
            && WallTime::from(now.mtime.max(now.ctime)) < self.trusted
    }

    fn tell(&mut self, before: Option<Node>, after: Node, bytes: (u64, u64)) -> Result<()> {
        let above = self.levels.last().map(|level| level.path.as_slice()).unwrap_or_default();
        let path = join(above, &after.name);
        let Some(difference) = difference(before.as_ref(), Some(&after)) else { return Ok(()) };
        let was_directory =
            before.clone().filter(|node| difference == Difference::Type && matches!(node.kind, NodeKind::Directory(_)));
        self.report.tell(&Change { path: path.clone(), before, after: Some(after), difference }, bytes, self.each)?;
        if let Some(Node { kind: NodeKind::Directory(root), .. }) = was_directory {
            self.levels.push(Level { path, nodes: Nodes::new(self.side.reader, &root).peekable() });
            self.leave()?;
        }
        Ok(())
    }
}

/// Bytes of a file that something else took the place of.
fn gone(before: Option<&Node>) -> (u64, u64) {
    match before {
        Some(Node { kind: NodeKind::File { size, .. }, .. }) => (0, *size),
        _ => (0, 0),
    }
}

/// A file of the folder whose chunks nobody needs to know.
fn unread(size: u64) -> NodeKind {
    NodeKind::File { size, content: Content::Inline(Vec::new()), holes: Vec::new() }
}

/// Size, content and holes of a stored file.
type Stored<'s> = (u64, &'s Content, &'s Vec<Extent>);

impl Side<'_> {
    /// `None` if the content is the same, else the bytes added and removed. The outer error is the repository's, the
    /// inner one the file's.
    fn compare(
        &self,
        entry: &mut Entry,
        size: u64,
        (old, content, holes): Stored<'_>,
    ) -> repository::Result<io::Result<Option<(u64, u64)>>> {
        let mut same = Ok(false);
        if size == old {
            let advance = |bytes| self.progress.advance(0, bytes);
            same = match entry.open() {
                Ok(mut file) => {
                    let stored = (content, holes.as_slice());
                    let same = content::is_same((self.repository, self.reader), &mut file, stored, &advance)?;
                    same.and_then(|same| if same { whole(file).map(|()| true) } else { Ok(false) })
                }
                Err(error) => Err(error),
            };
        }
        match same {
            Ok(true) => Ok(Ok(None)),
            Ok(false) => Ok(self.balance(entry, content)?.map(Some)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Cuts the file and weighs its chunks against the stored ones.
    fn balance(&self, entry: &mut Entry, stored: &Content) -> repository::Result<io::Result<(u64, u64)>> {
        let mut balance = Balance::new(self.reader, stored)?;
        let mut cut = || -> io::Result<(u64, u64)> {
            let mut file = entry.open()?;
            let mut chunker = Chunker::new();
            while let Some(chunk) = chunker.next(&self.gear, &mut file)? {
                let id = self.repository.keys().id_key().blob_id(BlobKind::Chunk, chunk);
                balance.take(id, u32::try_from(chunk.len()).unwrap_or(u32::MAX));
                self.progress.advance(0, chunk.len() as u64);
            }
            whole(file)?;
            Ok(balance.bytes())
        };
        Ok(cut())
    }
}

fn whole(file: FileReader) -> io::Result<()> {
    if file.finish()?.changed { Err(io::Error::other("changed while it was read")) } else { Ok(()) }
}
