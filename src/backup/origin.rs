//! Where a source comes from, compared with the last snapshot of its name. A name that was only taken from a path must
//! not stand for two places: `forget` would cut both as one history. What is taken over unread comes from the machine's
//! own snapshots alone (W10); the same comparison tells where that tree fits into the new one.

use super::parent::Join;
use super::{Options, Source};
use crate::error::{Error, Refusal, Result};
use crate::repository::Repository;
use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::read::reader::Reader;
use crate::repository::tree::path;
use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use vault_format::facts::Facts;
use vault_format::id::{ObjectId, OriginMark, WriterId};
use vault_format::key::Key;
use vault_format::snapshot::{Body, Head};
use vault_format::tree::{Node, NodeKind};

/// Most bytes of paths and patterns that a snapshot is asked to keep: half of what one may have.
const WORDS_BYTES_MAX: usize = 32 << 20;

/// What a run knows of its source before it begins.
pub struct Origin<'s> {
    /// The last snapshot of this name.
    last: Option<&'s SnapshotEntry>,
    /// It too, if this machine committed it: it alone may stand for a new one.
    pub own_last: Option<&'s SnapshotEntry>,
    /// True if the last is of other paths.
    elsewhere: bool,
    /// True if some snapshot of this name is of these paths.
    is_known: bool,
    /// The content part of the last, where it was needed and can be opened.
    body: Option<Body>,
    /// That whose tree is compared with.
    pub parent: Option<Parent<'s>>,
}

/// What a run takes unchanged files over from, unread (W10).
pub struct Parent<'s> {
    /// The last of the machine's own of the same paths, of this host if there is one; else the last of its own.
    pub entry: &'s SnapshotEntry,
    /// True if it is of the same paths.
    same_place: bool,
    /// True if it is not known to be of this host.
    other_host: bool,
    /// The folder at its root, if it is of other paths and tells.
    base: Vec<u8>,
}

/// W10: which snapshots this machine has committed itself, as far as it can know. Who copied its key signs like it, so
/// what the cache remembers counts more than who signed; and a copy may hold what somebody else took.
struct Own {
    writer: WriterId,
    remembered: BTreeSet<ObjectId>,
}

impl Own {
    fn is(&self, one: &SnapshotEntry) -> bool {
        one.header.writer == self.writer
            && one.head.original.is_none()
            && (self.remembered.is_empty() || self.remembered.contains(&one.id))
    }
}

/// What is backed up now, in the words of snapshots.
struct Here<'s> {
    snapshots: &'s Snapshots,
    body: Body,
    book: Key,
    place: OriginMark,
    host: OriginMark,
    /// Of the paths without links.
    resolved: LazyCell<OriginMark, Box<dyn FnOnce() -> OriginMark>>,
}

impl<'s> Here<'s> {
    fn new(snapshots: &'s Snapshots, body: Body, book: Key) -> Self {
        let (place, host) = (body.place(&book), body.host_mark(&book));
        let (paths, key) = (body.paths.clone(), book.clone());
        let resolve = move || Body { paths: real(&paths), ..Body::default() }.place(&key);
        Self { snapshots, body, book, place, host, resolved: LazyCell::new(Box::new(resolve)) }
    }

    /// True if a snapshot says by its marks that it is of these paths.
    fn is_of(&self, one: &SnapshotEntry) -> bool {
        one.head.place == self.place || one.head.place == *self.resolved
    }

    /// The same, where the marks may differ by links alone: then the paths of its content part tell.
    fn is_same(&self, one: &SnapshotEntry, before: Option<&Body>) -> bool {
        if one.head.place == self.place {
            return true;
        }
        if self.body.paths.is_empty() {
            return false;
        }
        let before = before.map(|body| Body { paths: real(&body.paths), ..Body::default() });
        self.is_of(one) || before.is_some_and(|before| before.place(&self.book) == *self.resolved)
    }

    fn parent(&self, repository: &Repository, own: &Own, ignores: bool) -> Option<Parent<'s>> {
        let all = || self.snapshots.visible().rev().filter(|one| own.is(one));
        let newest = all().next()?;
        let body = if newest.head.place == self.place { None } else { newest.body(repository).ok() };
        let mut parent = Parent { entry: newest, same_place: true, other_host: false, base: Vec::new() };
        parent.same_place = self.is_same(newest, body.as_ref());
        if !parent.same_place || newest.head.host != self.host {
            let here = || all().filter(|one| self.is_of(one));
            let earlier = here().find(|one| one.head.host == self.host);
            let earlier = earlier.or_else(|| here().next().filter(|_| !parent.same_place));
            if let Some(earlier) = earlier {
                (parent.entry, parent.same_place) = (earlier, true);
            }
        }
        if !parent.same_place {
            parent.base = body.map(|body| body.base).unwrap_or_default();
        }
        parent.other_host = parent.entry.head.host != self.host;
        if parent.other_host && !parent.entry.head.host.is_told() && ignores {
            parent.other_host = parent.entry.body(repository).map_or(true, |body| body.host != self.body.host);
        }
        Some(parent)
    }
}

/// The paths as the walk understands them: absolute, without what says nothing; `..` is resolved.
pub fn absolute(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    let one = |path: &PathBuf| {
        let resolved = if path.components().any(|part| part == Component::ParentDir) {
            std::fs::canonicalize(path)
        } else {
            std::path::absolute(path)
        };
        resolved.unwrap_or_else(|_| path.clone()).components().collect::<PathBuf>().as_os_str().as_bytes().to_vec()
    };
    let mut all: Vec<Vec<u8>> = paths.iter().map(one).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|path| seen.insert(path.clone()));
    all
}

/// The same without links.
fn real(paths: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let one = |path: &Vec<u8>| {
        let found = std::fs::canonicalize(OsStr::from_bytes(path));
        found.map_or_else(|_| path.clone(), |found| found.as_os_str().as_bytes().to_vec())
    };
    paths.iter().map(one).collect()
}

impl<'s> Origin<'s> {
    /// Compares a source with the last snapshot of its name; refuses a name that stands for something else.
    pub fn of(
        repository: &Repository,
        snapshots: &'s Snapshots,
        source: &Source<'_>,
        options: &Options,
    ) -> Result<Self> {
        let paths = match source {
            Source::Paths(paths, walk) => {
                let paths = absolute(paths);
                let words = paths.iter().chain(&walk.rules.patterns).chain(&walk.rules.any_case);
                if words.map(|word| word.len() + 8).sum::<usize>() > WORDS_BYTES_MAX {
                    let number = paths.len();
                    return Err(Error::refused(format!(
                        "the {number} paths and the patterns are longer than the 32 MiB that a snapshot can keep; name \
                         the folders above them"
                    )));
                }
                paths
            }
            Source::Bucket(bucket, options) => options.paths(bucket.place()),
            Source::Stream(..) | Source::Dump(..) => Vec::new(),
        };
        let book = repository.keys().own_book();
        let remembered = repository.cache().map(|cache| cache.committed(book.source_label(&options.name)));
        let own = Own { writer: repository.keys().writer(), remembered: remembered.unwrap_or_default() };
        let last = snapshots.visible().next_back();
        let own_last = last.filter(|last| own.is(last));
        let mut origin = Self { last, own_last, elsewhere: false, is_known: true, body: None, parent: None };
        let Some(last) = last else { return Ok(origin) };
        let here = Here::new(snapshots, Body { paths, host: options.host.clone(), ..Body::default() }, book);
        if last.head.place != here.place {
            origin.body = last.body(repository).ok();
            origin.elsewhere = !here.is_same(last, origin.body.as_ref());
            origin.is_known = !origin.elsewhere || snapshots.visible().any(|one| here.is_of(one));
        }
        if options.derived && last.head.place.is_told() && !origin.is_known {
            return Err(Error::refused(clash(&options.name, origin.body.as_ref(), &here.body.paths)));
        }
        origin.parent = here.parent(repository, &own, options.ignores());
        Ok(origin)
    }

    /// True if a snapshot with this head would say what the last of the name says, and this machine took that: the tree,
    /// and all else that a restore goes by.
    pub fn is_unchanged(&self, repository: &Repository, head: &Head, body: &Body) -> bool {
        let Some(last) = self.own_last.filter(|last| last.head.root == head.root) else { return false };
        // a tag that was taken off since is asked for again
        let borne = last.state.tags(&body.tags);
        if !body.tags.iter().all(|tag| borne.contains(tag)) {
            return false;
        }
        if last.head.terms.is_told() {
            return last.head.terms == head.terms;
        }
        let book = repository.keys().own_book();
        last.body(repository).is_ok_and(|before| head.terms.is_told() && before.terms(&book) == head.terms)
    }

    /// What the last snapshot of this name holds at a path, whoever committed it: content speaks for itself.
    pub fn node(&self, reader: &Reader, path: &[u8]) -> Option<Node> {
        path::locate(reader, &self.last?.head.root, path).ok().flatten()?.1
    }

    /// What was known of the last snapshot of this name; `None` if this key can't read it.
    pub fn last_facts(&self, repository: &Repository) -> Option<Facts> {
        let Some(last) = self.last else { return Some(Facts::default()) };
        let facts = self.body.as_ref().map(|body| body.facts.clone());
        facts.or_else(|| Some(last.body(repository).ok()?.facts))
    }

    /// How many runs have built on one another before this one.
    pub fn turn(&self) -> u64 {
        self.parent.as_ref().map_or(0, |parent| parent.entry.head.turn.saturating_add(1))
    }

    /// What is said of a name that other paths or another host used just before.
    pub fn remarks(&self, repository: &Repository, options: &Options) -> Vec<String> {
        let Some(last) = self.last else { return Vec::new() };
        let book = repository.keys().own_book();
        let name = &options.name;
        let mut remarks = Vec::new();
        if self.elsewhere && self.is_known {
            let before = self.body.as_ref().map_or_else(|| "other paths".into(), |body| shown(&body.paths));
            remarks.push(format!(
                "the last snapshot of {name} is of {before}, which `forget` takes for one history with this; --name keeps \
                 them apart"
            ));
        }
        let here = Body { host: options.host.clone(), ..Body::default() }.host_mark(&book);
        if last.head.host.is_told() && last.head.host != here {
            let before = self.body.as_ref().map(|body| body.host.clone());
            let before = before.or_else(|| Some(last.body(repository).ok()?.host));
            let before = before.map_or_else(|| "another host".into(), |host| format!("host {host}"));
            let host = &options.host;
            remarks.push(format!(
                "the last snapshot of {name} came from {before}, this one comes from {host}; --name gives each a \
                 history of its own, --host a name that stays"
            ));
        }
        remarks
    }

    /// Where the tree of the parent fits into a walk that begins at `base`.
    pub fn join(&self, reader: &Reader, base: &[u8], options: &Options) -> Join {
        let Some(parent) = &self.parent else { return Join::default() };
        // size and mtime tell nothing of files of two machines
        if parent.other_host && options.ignores() {
            return Join::default();
        }
        let root = parent.entry.head.root;
        let whole = Join { root: Some(root), ahead: Vec::new() };
        if parent.base.is_empty() {
            return if parent.same_place || !options.ignores() { whole } else { Join::default() };
        }
        let (old, new) = (Path::new(OsStr::from_bytes(&parent.base)), Path::new(OsStr::from_bytes(base)));
        if let Ok(above) = old.strip_prefix(new) {
            return Join { root: Some(root), ahead: above.iter().rev().map(|name| name.as_bytes().to_vec()).collect() };
        }
        if let Ok(below) = new.strip_prefix(old) {
            let found = path::locate(reader, &root, below.as_os_str().as_bytes());
            return match found.ok().flatten() {
                Some((_, Some(Node { kind: NodeKind::Directory(root), .. }))) => {
                    Join { root: Some(root), ahead: Vec::new() }
                }
                _ => Join::default(),
            };
        }
        // a folder that was moved, perhaps: its files tell by themselves whether they are the same
        if options.ignores() { Join::default() } else { whole }
    }
}

fn shown(paths: &[Vec<u8>]) -> String {
    let all: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    if all.is_empty() { "a stream".to_owned() } else { all.join(", ") }
}

fn clash(name: &str, before: Option<&Body>, paths: &[Vec<u8>]) -> Refusal {
    let before =
        before.map_or_else(|| "something else, which this key can't read".to_owned(), |body| shown(&body.paths));
    let here = if paths.is_empty() { "a stream".to_owned() } else { shown(paths) };
    let proposal = paths.first().map_or_else(|| format!("{name}-stream"), |path| propose(path, name));
    Refusal::OtherOrigin { name: name.to_owned(), before, here, proposal }
}

/// A name of the last two parts of a path.
fn propose(path: &[u8], name: &str) -> String {
    let above = Path::new(OsStr::from_bytes(path)).parent().and_then(Path::file_name);
    let above = above.map(|above| above.to_string_lossy().into_owned()).unwrap_or_default();
    let above: String = above.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    let proposed = if above.is_empty() { format!("{name}-2") } else { format!("{above}-{name}") };
    if vault_format::snapshot::is_source_name(&proposed) { proposed } else { "NAME".into() }
}
