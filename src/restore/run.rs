//! One pass over what is restored: the tree is walked, directories are made on the way, and files are collected and
//! filled in pack order. What fails is named and the pass goes on, but for a store that answers nothing any more and a
//! disk without room. A dry run is the same pass over a target that touches nothing.

use super::plan::{self, Outcome, Plan};
use super::rules::Scope;
use super::{Left, Options, Report, damaged_object, patterns};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::chunks::Chunks;
use crate::repository::tree::walk::{Step, Walk};
use crate::source::Excludes;
use crate::target::{self, Entered, Gone, Note, NoteKind, Placement, Target};
use std::borrow::Cow;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use vault_format::id::BlobKind;
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// A directory on the way from the root, which itself is none.
struct Level {
    /// Bytes of its path, which is where that of anything below begins.
    path: usize,
    /// `Some` until something below it is wanted.
    waiting: Option<Node>,
    /// A pattern names it: all below is wanted.
    wanted: bool,
    entered: bool,
}

/// One pass.
pub(super) struct Run<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    options: &'a Options,
    progress: &'a dyn Progress,
    include: Excludes,
    exclude: Excludes,
    /// What the user named when the snapshot was taken, if that is known.
    scope: Option<Scope>,
    /// Patterns that have named nothing yet.
    unmatched: Vec<(Vec<u8>, Excludes)>,
    target: Target,
    plan: Plan,
    report: Report,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        reader: &'a Reader,
        options: &'a Options,
        progress: &'a dyn Progress,
        target: Target,
    ) -> Result<Self> {
        let (include, exclude) = (patterns(&options.include)?, patterns(&options.exclude)?);
        let each = options.include.iter().filter(|pattern| !pattern.starts_with(b"!"));
        let each = each.map(|pattern| Ok((pattern.clone(), patterns(std::slice::from_ref(pattern))?)));
        let unmatched = each.collect::<Result<_>>()?;
        let (plan, report) = (Plan::default(), Report::default());
        let scope = None;
        Ok(Self { repository, reader, options, progress, include, exclude, scope, unmatched, target, plan, report })
    }

    /// Folders outside of it are only on the way.
    pub(super) fn within(self, scope: Option<Scope>) -> Self {
        Self { scope, ..self }
    }

    fn is_outside(&self, path: &[u8]) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.is_outside(path))
    }

    /// Restores a tree into the target, whose own metadata is `root`.
    pub(super) fn whole(mut self, tree: &TreeRoot, root: Option<&Metadata>) -> Result<Report> {
        // with a filter, or if nobody named it, an existing folder is only where something goes
        let is_wanted = self.options.include.is_empty() && !self.is_outside(b"");
        let root = root.filter(|_| is_wanted || self.target.was_made()).map(|root| self.allowed_root(root));
        let root = root.as_deref();
        let begun = self.target.begin(root);
        begun.map_err(|source| self.trouble("restore into", source))?;
        self.tree(tree)?;
        self.finish(root)
    }

    fn allowed_root<'m>(&mut self, root: &'m Metadata) -> Cow<'m, Metadata> {
        let allowed = self.options.allowed_metadata(root);
        self.report.without_setuid += u64::from(matches!(allowed, Cow::Owned(_)));
        allowed
    }

    /// An entry as it may be made; `None` if it may not, and is noted.
    fn allowed<'n>(&mut self, node: &'n Node) -> Option<Cow<'n, Node>> {
        let allowed = self.options.allowed(node);
        match &allowed {
            Some(Cow::Borrowed(_)) => {}
            Some(Cow::Owned(_)) => self.report.without_setuid += 1,
            None => self.report.not_made += 1,
        }
        allowed
    }

    /// Restores one entry into the target, which is no part of the snapshot.
    pub(super) fn single(mut self, node: &Node) -> Result<Report> {
        let begun = self.target.begin(None);
        begun.map_err(|source| self.trouble("restore into", source))?;
        self.target.keep_extra();
        self.unmatched.clear();
        self.progress.expect(1, file_size(node));
        self.entry(node)?;
        self.finish(None)
    }

    fn trouble(&self, what: &'static str, source: std::io::Error) -> Error {
        Error::File { what, path: self.target.path_of(b""), source }
    }

    fn tree(&mut self, root: &TreeRoot) -> Result<()> {
        self.progress.expect(root.count, root.bytes);
        self.keep_extra_if_filtered();
        let mut levels: Vec<Level> = Vec::new();
        let mut walk = Walk::new(self.reader, root, b"");
        while let Some(step) = walk.next() {
            self.repository.runtime().check_stopped()?;
            let (node, is_directory) = match step {
                Step::Enter(node, _) => (node, true),
                Step::Node(node) => (node, false),
                Step::Leave => {
                    if levels.pop().is_some_and(|done| done.entered) {
                        self.leave()?;
                        self.progress.advance(1, 0);
                    }
                    continue;
                }
                Step::Unread(error) => {
                    self.unread(walk.path(), error)?;
                    continue;
                }
            };
            let path = walk.path();
            if self.exclude.excludes(path, is_directory) {
                walk.pass();
                continue;
            }
            self.unmatched.retain(|(_, pattern)| !pattern.excludes(path, is_directory));
            let above = levels.last().map_or(self.options.include.is_empty(), |level| level.wanted);
            let wanted = above || self.include.excludes(path, is_directory);
            if is_directory {
                levels.push(Level { path: path.len(), waiting: Some(node), wanted, entered: false });
                if wanted && !self.enter(path, &mut levels)? {
                    walk.rise(levels.len());
                }
            } else if wanted {
                if self.enter(path, &mut levels)? {
                    self.entry(&node)?;
                } else {
                    walk.rise(levels.len());
                }
            }
        }
        Ok(())
    }

    /// A part of a directory can't be read.
    fn unread(&mut self, path: &[u8], error: repository::Error) -> Result<()> {
        if self.repository.is_silent(&error) {
            return Err(error.into());
        }
        self.target.keep_extra();
        let place = String::from_utf8_lossy(path);
        let line = format!("part of the directory /{place}: {error}");
        if let Some(object) = damaged_object(&error) {
            let brief = format!("/{place}: part of this folder is damaged in the repository");
            self.progress.damaged(&brief, &line);
            self.report.damaged.insert(object);
            self.report.failed.push(line);
        } else {
            self.fail(line);
        }
        Ok(())
    }

    /// Enters every directory down to the last that is not entered yet; false if one of them can't be.
    fn enter(&mut self, path: &[u8], levels: &mut Vec<Level>) -> Result<bool> {
        // those that were entered come first
        let first = levels.iter().rposition(|level| level.waiting.is_none()).map_or(0, |last| last + 1);
        for number in first..levels.len() {
            let Some(node) = levels.get_mut(number).and_then(|level| level.waiting.take()) else { continue };
            let path_of = |level: &Level| path.get(..level.path).unwrap_or(path);
            let is_wanted = levels.get(number).is_some_and(|level| level.wanted && !self.is_outside(path_of(level)));
            let Some(node) = self.allowed(&node) else { continue };
            let entered = if is_wanted { self.target.enter(&node) } else { self.target.pass(&node) };
            match entered {
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
                Ok(Entered::Link) => {
                    let (here, end) = (levels.get(number).map(path_of), levels.last().map(path_of));
                    self.fail_at_link(here.unwrap_or_default(), end.unwrap_or_default());
                    levels.truncate(number);
                    return Ok(false);
                }
                Err(source) if target::is_full(&source) => {
                    return Err(Error::File { what: "make", path: self.target.path_of(&node.name), source });
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

    /// Names a link that lies where a folder is on the way, and the command for what lies behind it.
    fn fail_at_link(&mut self, path: &[u8], wanted: &[u8]) {
        let whole = self.scope.as_ref().map_or_else(|| wanted.to_vec(), |scope| scope.first_named(path, wanted));
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let (place, whole) = (self.target.path_of(name), String::from_utf8_lossy(&whole).into_owned());
        self.fail(format!(
            "{}: it is a link here, and was left; for what is behind it: vault restore ADDRESS:{whole} --target DIR",
            place.display()
        ));
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
        let Some(node) = self.allowed(node) else {
            self.target.pass_over(&node.name);
            self.progress.advance(1, 0);
            return Ok(());
        };
        let node = node.as_ref();
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
            Ok(Placement::Mended) => {
                self.report.mended += 1;
                self.progress.advance(1, file_size(node));
            }
            Ok(Placement::Planned) => {
                self.report.files += u64::from(matches!(node.kind, NodeKind::File { .. }));
                self.report.bytes += file_size(node);
            }
            Ok(Placement::Created | Placement::Linked | Placement::Omitted | Placement::Left) => {
                self.progress.advance(1, 0);
            }
            Err(source) if target::is_full(&source) => return Err(Error::File { what: "make", path, source }),
            Err(error) => self.fail(format!("{}: {error}", path.display())),
        }
        Ok(())
    }

    fn execute(&mut self) -> Result<()> {
        let plan = std::mem::take(&mut self.plan);
        let Outcome { files, bytes, failed, damaged, written, silent, full } =
            plan.execute(self.repository, self.reader, self.progress)?;
        self.repository.runtime().check_stopped()?;
        if let Some(error) = silent {
            return Err(repository::Error::from(error).into());
        }
        if let Some((path, source)) = full {
            return Err(Error::File { what: "write", path, source });
        }
        self.report.files += files;
        self.report.bytes += bytes;
        self.report.failed.extend(failed);
        self.report.damaged.extend(damaged);
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
        for (pattern, _) in std::mem::take(&mut self.unmatched) {
            let pattern = String::from_utf8_lossy(&pattern);
            self.fail(format!("--include {pattern}: nothing in the snapshot is named so"));
        }
        let left = self.target.leave_all();
        left.map_err(|source| self.trouble("finish", source))?;
        if !self.report.failed.is_empty() {
            let extra = self.target.keep_all_extra();
            if extra > 0 {
                let what = "what the snapshot lacks was not deleted, since the restore is not complete";
                self.report.warnings.push(what.to_owned());
            }
        }
        let (place, needs) = (self.target.path_of(b""), self.target.needs());
        let early = self.target.notes();
        let mut report = self.report;
        let (notes, changes) = match self.target.finish(root) {
            Ok(finished) => finished,
            Err(source) => return Err(Error::File { what: "finish the restore in", path: place, source }),
        };
        early.into_iter().chain(notes).for_each(|note| report.add(note));
        (report.changes, report.needs) = (changes, needs);
        (report.fetched, report.evicted_frames) = self.reader.counts();
        Ok(report)
    }
}

impl Report {
    fn add(&mut self, note: Note) {
        let path = note.path.display().to_string();
        let all = |gone: Gone| match (gone.is_whole, gone.entries) {
            (true, 1) => String::new(),
            (true, entries) => format!(" with {} below it", entries - 1),
            (false, entries) => format!(", but for what stays in it: {entries} in all"),
        };
        match note.kind {
            NoteKind::Left => self.left.push(Left { path: note.path, how: None }),
            NoteKind::Differs(how) => self.left.push(Left { path: note.path, how: Some(how) }),
            NoteKind::Own => {
                self.failed.push(format!("{path}: it belongs to the repository that is restored from, and was left"));
            }
            NoteKind::Device => self.failed.push(format!("{path}: a device, left out: only root can make one")),
            NoteKind::Deleted(gone) => {
                self.notes.push(format!("{path}: deleted{}, the snapshot does not have it", all(gone)));
            }
            NoteKind::WouldDelete(gone) => self.notes.push(format!("{path}: would be deleted{}", all(gone))),
            NoteKind::Fault(fault) => self.failed.push(format!("{path}: {fault}")),
        }
    }
}

fn file_size(node: &Node) -> u64 {
    match &node.kind {
        NodeKind::File { size, .. } => *size,
        _ => 0,
    }
}

/// Reads a restored file back and compares every chunk's id.
fn verify(repository: &Repository, reader: &Reader, path: &Path, node: &Node) -> std::result::Result<(), String> {
    let NodeKind::File { content, holes, .. } = &node.kind else { return Ok(()) };
    let mut file = target::open_restored(path).map_err(|error| error.to_string())?;
    let mut offset = 0u64;
    for chunk in Chunks::new(reader, content) {
        let chunk = chunk.map_err(|error| error.to_string())?;
        let filler = vec![0u8; chunk.length as usize];
        let mut bytes = Vec::with_capacity(filler.len());
        for (at, part) in plan::spread(holes, offset, &filler) {
            file.seek(SeekFrom::Start(at))
                .and_then(|_| (&mut file).take(part.len() as u64).read_to_end(&mut bytes))
                .map_err(|error| error.to_string())?;
        }
        if repository.keys().id_key().blob_id(BlobKind::Chunk, &bytes) != chunk.id {
            return Err(format!("reads back differently behind byte {offset}"));
        }
        offset += u64::from(chunk.length);
    }
    Ok(())
}
