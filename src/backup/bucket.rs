//! One pass over a bucket, whose objects become files under folders. It is listed whole, and joined with the parent
//! snapshot: an object with the size, time and tag of the last one is not fetched. Objects are fetched a few ahead and
//! stored in order; one that changes, vanishes or has no usable name is named and left out.

mod fetch;
mod listing;

use super::BucketOptions;
use super::compressed::Comes;
use super::files::{self, Belief, Input, ReadError};
use super::parent::{Earlier, ParentFolder};
use super::scan::{Found, Scan};
use crate::backend::Bucket;
use crate::backend::bucket::Object;
use crate::error::{Error, Result};
use crate::repository::tree::before::Before;
use crate::repository::tree::build::TreeBuilder;
use crate::source::{Excludes, Skip};
use crate::time::WallTime;
use fetch::{Fetch, ObjectReader, Unread};
use listing::{Listing, Step, last};
use std::collections::VecDeque;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use vault_format::snapshot::{Body, LeftOut};
use vault_format::tree::{Metadata, Node, NodeKind, Time};

/// Objects that are fetched ahead.
const OBJECTS_AHEAD: usize = 16;
/// Steps that wait for the object before them.
const STEPS_AHEAD: usize = 4096;
/// Longest name that common file systems take, in bytes.
const USUAL_NAME_MAX: usize = 255;

/// What comes next in the tree, in order.
enum Coming<'o> {
    Enter(&'o str),
    Leave,
    Unchanged(Node),
    Fetched(ObjectReader<'o>, Box<Earlier>),
}

/// A folder that is being built.
#[derive(Default)]
struct Folder {
    name: Vec<u8>,
    builder: TreeBuilder,
    /// The newest time below it, which becomes its own: stores keep none.
    newest: Time,
}

/// Both ends of the pass: where it is decided, and where it is built.
struct Ends<'o> {
    before: Vec<ParentFolder>,
    coming: VecDeque<Coming<'o>>,
    fetching: usize,
    folders: Vec<Folder>,
}

impl Scan<'_> {
    /// Reads the objects of a bucket.
    pub fn bucket(mut self, bucket: &Bucket, options: &BucketOptions) -> Result<Found> {
        let excludes = Excludes::new(&options.exclude, &[]).map_err(|error| Error::Source(error.to_string()))?;
        self.found.body = body(bucket.place(), options);
        let listed = bucket.list(&options.prefix);
        self.files.bounds.go_on()?;
        let mut objects = listed.map_err(|error| Error::Source(error.to_string()))?;
        self.without_repository(bucket, &mut objects)?;
        let listing = Listing::new(objects);
        let total = listing.total();
        self.progress.expect(total.files, total.bytes);
        let before = self.origin.parent.as_ref().map_or(0, |parent| parent.entry.head.statistics.files);
        if total.files == 0 && before > 0 && !options.allow_empty {
            return Err(Error::Source(format!(
                "{}/{} has no objects, and had {before}: an empty snapshot is taken only if `allow_empty` says so",
                bucket.place(),
                options.prefix
            )));
        }
        let runtime = self.repository.runtime();
        let is_over = AtomicBool::new(false);
        let bounds = self.files.bounds.clone();
        let must_stop = || bounds.go_on().is_err() || is_over.load(Ordering::Relaxed);
        let threads = if runtime.workers == 0 { 0 } else { bucket.connections() };
        let is_readable = |name: &str| bucket.is_readable(name);
        std::thread::scope(|scope| {
            let fetch = Fetch::start(scope, bucket, threads, &must_stop);
            let walked = self.objects(&fetch, listing.steps(&excludes, &is_readable));
            // what is still to be fetched by then is of no use
            is_over.store(true, Ordering::Relaxed);
            walked
        })?;
        Ok(self.found)
    }

    /// Leaves out what the repository itself keeps there: each run would store all before it.
    fn without_repository(&mut self, bucket: &Bucket, objects: &mut Vec<Object>) -> Result<()> {
        let Some(own) = bucket.overlap(self.repository.backend().describe()) else { return Ok(()) };
        if own.is_empty() {
            return Err(Error::Source(format!("{} is the repository itself", bucket.place())));
        }
        let all = objects.len();
        objects.retain(|object| !listing::is_in(&object.name, &own));
        if objects.len() < all {
            let what = format!("{own}: {}", Skip::Own);
            self.found.gaps.not_entered(own.as_bytes());
            self.found.remarks.push(what.clone());
            self.found.notes.push(what);
        }
        Ok(())
    }

    fn objects<'o>(&mut self, fetch: &Fetch<'o>, steps: impl Iterator<Item = Step<'o>>) -> Result<()> {
        let join = self.origin.join(self.reader, &self.found.body.base, self.options);
        let before = vec![ParentFolder::top(self.reader, join)];
        let folders = vec![Folder::default()];
        let mut ends = Ends { before, coming: VecDeque::new(), fetching: 0, folders };
        for step in steps {
            self.files.bounds.go_on()?;
            self.decide(&mut ends, fetch, step);
            while ends.fetching > OBJECTS_AHEAD || ends.coming.len() > STEPS_AHEAD {
                self.build(&mut ends)?;
            }
        }
        while !ends.coming.is_empty() {
            self.files.bounds.go_on()?;
            self.build(&mut ends)?;
        }
        let key = self.repository.keys().gear_key().clone();
        let top = ends.folders.pop().unwrap_or_default();
        self.found.root = top.builder.finish(self.writer, &key)?;
        Ok(())
    }

    /// What becomes of the next object.
    fn decide<'o>(&mut self, ends: &mut Ends<'o>, fetch: &Fetch<'o>, step: Step<'o>) {
        match step {
            Step::Enter(path) => {
                let inner = ends.before.last_mut().map(|before| before.enter(self.reader, last(path).as_bytes()));
                ends.before.extend(inner);
                ends.coming.push_back(Coming::Enter(path));
            }
            Step::Leave => {
                ends.before.pop();
                ends.coming.push_back(Coming::Leave);
            }
            Step::File(object) => {
                let (folder, name) = (ends.before.last_mut(), last(&object.name).as_bytes());
                let earlier = folder.map_or_else(Earlier::default, |folder| folder.entry(name));
                let node = earlier.same().and_then(|before| self.taken_over(object, before));
                let fetched = || Coming::Fetched(fetch.open(object), earlier.into());
                ends.coming.push_back(node.map_or_else(fetched, Coming::Unchanged));
                ends.fetching += usize::from(matches!(ends.coming.back(), Some(Coming::Fetched(..))));
            }
            Step::Marker(name) => {
                let note =
                    format!("{name}: stored as the folder that it stands for; if it has bytes, they are not stored");
                self.found.notes.push(note);
            }
            Step::Excluded(path) => self.found.notes.push(format!("{path}: excluded by a pattern")),
            Step::Odd(name, why) => self.leave_out(name, &why),
        }
    }

    /// The node of an object that is as it was.
    fn taken_over(&mut self, object: &Object, before: &Node) -> Option<Node> {
        let metadata = metadata(object);
        let mut belief = Belief { ignore_inode: false, ignore_ctime: false, ..self.belief() };
        if object.strong_etag().is_some() {
            // the tag tells two states of one moment apart
            belief.parent_started = WallTime::MAX;
        }
        let is_same = object.modified.is_some() && belief.is_same((object.size, &metadata), before);
        let is_due = self.reread.as_ref().is_some_and(|reread| reread.is_due(object.name.as_bytes()));
        let kind = if is_same && !is_due { files::relied(self.writer, self.reader, before) } else { None }?;
        Some(Node { name: last(&object.name).as_bytes().to_vec(), kind, metadata })
    }

    /// Puts what comes next into the tree.
    fn build(&mut self, ends: &mut Ends<'_>) -> Result<()> {
        let key = self.repository.keys().gear_key().clone();
        let node = match ends.coming.pop_front() {
            None => None,
            Some(Coming::Enter(path)) => {
                self.found.statistics.directories += 1;
                ends.folders.push(Folder { name: last(path).as_bytes().to_vec(), ..Folder::default() });
                None
            }
            Some(Coming::Leave) => {
                let Some(done) = ends.folders.pop() else { return Ok(()) };
                let root = done.builder.finish(self.writer, &key)?;
                let metadata = Metadata { mode: 0o700, mtime: done.newest, ctime: done.newest, ..Metadata::default() };
                Some(Node { name: done.name, kind: NodeKind::Directory(root), metadata })
            }
            Some(Coming::Unchanged(node)) => {
                let size = if let NodeKind::File { size, .. } = &node.kind { *size } else { 0 };
                self.found.statistics.files += 1;
                self.found.statistics.unchanged_files += 1;
                self.found.compressed.pass_over(size);
                self.add_bytes(size);
                self.progress.advance(1, size);
                Some(node)
            }
            Some(Coming::Fetched(reader, earlier)) => {
                ends.fetching = ends.fetching.saturating_sub(1);
                self.found.statistics.files += 1;
                self.store_object(reader, earlier.version())?
            }
        };
        let (Some(node), Some(folder)) = (node, ends.folders.last_mut()) else { return Ok(()) };
        folder.newest = folder.newest.max(node.metadata.mtime);
        Ok(folder.builder.push(self.writer, &key, node)?)
    }

    /// Stores the content of one object; nothing if it can't be read.
    fn store_object(&mut self, mut reader: ObjectReader<'_>, before: Option<&Node>) -> Result<Option<Node>> {
        let (object, before) = (reader.object, before.and_then(|node| Before::of(self.reader, node)));
        self.progress.at(Path::new(&object.name));
        let input = Input::Stream(&mut reader);
        let (content, size) = match self.files.write(self.writer, input, before.as_ref(), self.progress) {
            Ok(done) => done,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(error)) => {
                self.files.bounds.go_on()?;
                match reader.why {
                    Some(Unread::Place(error)) => return Err(Error::Source(error.to_string())),
                    Some(Unread::One(why)) => self.leave_out(&object.name, &why),
                    Some(Unread::Stopped) | None => self.leave_out(&object.name, &error),
                }
                return Ok(None);
            }
        };
        self.add_bytes(size);
        self.found.profile = self.files.profile;
        self.note_compressed(object.name.as_bytes(), Comes::AsFile, size, before.is_some());
        self.progress.advance(1, 0);
        let name = last(&object.name).as_bytes().to_vec();
        if name.len() > USUAL_NAME_MAX {
            let note = format!("{}: its name is too long for most file systems; stored all the same", object.name);
            self.found.notes.push(note);
        }
        let kind = NodeKind::File { size, content, holes: Vec::new() };
        let node = Node { name, kind, metadata: metadata(object) };
        if let Err(error) = node.validate() {
            self.leave_out(&object.name, &error);
            return Ok(None);
        }
        Ok(Some(node))
    }

    fn leave_out(&mut self, name: &str, why: &dyn Display) {
        let what = format!("{name}: {why}");
        self.progress.note(&what);
        self.found.failed.push(what);
        self.found.gaps.unread(name.as_bytes());
    }
}

fn body(place: &str, options: &BucketOptions) -> Body {
    Body {
        paths: options.paths(place),
        base: place.as_bytes().to_vec(),
        left_out: LeftOut { patterns: options.exclude.clone(), ..LeftOut::default() },
        ..Body::default()
    }
}

/// What a store tells of an object, where files keep what tells whether they have changed: its time as both times, and
/// a stamp of its tag as the number of the inode. Neither ctime nor inode is ever restored.
fn metadata(object: &Object) -> Metadata {
    let time = object.modified.map_or_else(Time::default, |time| WallTime::from_store(time).into());
    let inode = object.etag.as_deref().map_or(0, |etag| {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(etag.as_bytes()).as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
    });
    Metadata { mode: 0o600, mtime: time, ctime: time, inode, ..Metadata::default() }
}
