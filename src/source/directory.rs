//! The walk over a directory: depth first, names in byte order, one event at a time. Every step goes through the
//! handle of the directory it is in, so no link is followed and no path is too long; only what the user named himself
//! is. At most 64 handles are open, whatever the depth: those above are reopened on the way back and compared.

use super::databases::Databases;
use super::folder::Folder;
use super::named::{Named, Selection, open_child, open_path, select};
use super::pattern::Root;
use super::sizes::{Sizes, sizes_of};
use super::{Entry, EntryKind, Event, Excludes, OpenError, Options, Skip, marks};
use crate::metadata::{self, At, Fault, Names};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault_format::snapshot::LeftOut;
use vault_format::tree::{Metadata, PATH_BYTES_MAX};

/// Most directory handles kept open, the root's aside.
const HANDLES_MAX: usize = 64;

/// A walk.
pub struct Directory {
    base: PathBuf,
    root: Metadata,
    /// Where the walk may go.
    devices: HashSet<u64>,
    /// What is known of the file systems that were met.
    sizes: HashMap<u64, Sizes>,
    stack: Vec<Frame>,
    relative: Vec<u8>,
    pending: VecDeque<Event>,
    excludes: Excludes,
    options: Options,
    doubts: Vec<String>,
    /// Folders that belong to the repository itself.
    own: HashSet<(u64, u64)>,
    databases: Databases,
    names: Arc<Names>,
    /// Files come without their attributes.
    is_bare: bool,
}

struct Frame {
    name: Vec<u8>,
    folder: Option<Arc<Folder>>,
    identity: (u64, u64),
    names: std::vec::IntoIter<Vec<u8>>,
    /// Present where only what the user named is part of the snapshot.
    selection: Option<Selection>,
    followed: bool,
    /// Length of the relative path without this directory.
    above: usize,
}

/// What a listed name turned out to be, or why it is nothing.
type Seen<T> = Result<T, Missed>;

/// A name that doesn't become part of the snapshot.
struct Missed {
    path: PathBuf,
    why: Result<Skip, io::Error>,
}

impl From<Missed> for Event {
    fn from(missed: Missed) -> Self {
        match missed.why {
            Ok(why) => Self::Skipped { path: missed.path, why },
            Err(error) => Self::Failed { path: missed.path, error },
        }
    }
}

impl Directory {
    /// One path: its content is the root. Several: each lies under its path below their common parent. A path to a
    /// file is a root with that one entry. The paths themselves may lead through links.
    pub fn open(paths: &[PathBuf], options: &Options) -> Result<Self, OpenError> {
        let Named { base, selection, devices, missing } = select(paths, options.listed)?;
        let (options, doubts) = rooted(options, &base)?;
        let excludes = Excludes::new(&options.rules.patterns, &options.rules.any_case)?;
        let own = identities(&options.own);
        let databases = Databases::new(&options.databases);
        let names = Arc::new(Names::load());
        let failed = |error: io::Error| OpenError::Path { path: base.clone(), error };
        let handle = open_path(&base).map_err(failed)?;
        let stat = rustix::fs::fstat(&handle).map_err(|error| failed(error.into()))?;
        if own.contains(&metadata::identity(&stat)) {
            return Err(OpenError::Own(base));
        }
        let (root, lacks) = metadata::read(At::Open(handle.as_fd()), &stat, &names);
        let mut pending: VecDeque<Event> =
            lacks.map(|fault| Event::Lacking { path: base.clone(), fault }).into_iter().collect();
        pending.extend(missing.into_iter().map(|(path, error)| Event::Failed { path, error }));
        let listed = match &selection {
            Some(selection) => selection.children.keys().cloned().collect(),
            None => match list(handle.as_fd()) {
                (names, None) => names,
                (names, Some(error)) if names.is_empty() => return Err(failed(error)),
                (names, Some(error)) => {
                    pending.push_back(Event::Failed { path: base.clone(), error });
                    names
                }
            },
        };
        let frame = Frame {
            name: Vec::new(),
            folder: Some(Folder::new(handle, base.clone(), &names)),
            identity: metadata::identity(&stat),
            names: listed.into_iter(),
            selection,
            followed: true,
            above: 0,
        };
        Ok(Self {
            base,
            root,
            devices,
            sizes: HashMap::new(),
            stack: vec![frame],
            relative: Vec::new(),
            pending,
            excludes,
            options,
            doubts,
            own,
            databases,
            names,
            is_bare: false,
        })
    }

    /// Files come without their attributes, which take as long to read as all else of them: who may know them from
    /// elsewhere asks for those that it does not know.
    pub(crate) fn bare(self) -> Self {
        Self { is_bare: true, ..self }
    }

    /// Absolute path of the root directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Patterns that match nothing, each with the reason.
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// The rules by which entries are left out, relative to the root.
    pub fn left_out(&self) -> LeftOut {
        self.options.rules.clone()
    }

    /// Metadata of the root directory itself.
    pub fn root(&self) -> &Metadata {
        &self.root
    }

    /// Full path of an entry of the directory that the walk is in, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        let mut path = self.base.clone();
        let below = self.stack.iter().skip(1).map(|frame| frame.name.as_slice());
        path.extend(below.chain([name]).filter(|name| !name.is_empty()).map(OsStr::from_bytes));
        path
    }

    /// The directory that the walk is in.
    fn top(&self, name: &[u8]) -> Seen<&Arc<Folder>> {
        let folder = self.stack.last().and_then(|frame| frame.folder.as_ref());
        folder.ok_or_else(|| self.failed(name, Errno::BADF))
    }

    fn step(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        let frame = self.stack.last_mut()?;
        let Some(name) = frame.names.next() else {
            if self.stack.len() == 1 {
                self.stack.clear();
                return None;
            }
            self.ascend();
            return Some(Event::Leave);
        };
        Some(self.look(name).unwrap_or_else(Event::from))
    }

    fn skipped(&self, name: &[u8], why: Skip) -> Missed {
        Missed { path: self.path_of(name), why: Ok(why) }
    }

    fn failed(&self, name: &[u8], error: impl Into<io::Error>) -> Missed {
        let error = error.into();
        match error.kind() {
            io::ErrorKind::NotFound => self.skipped(name, Skip::Vanished),
            _ => Missed { path: self.path_of(name), why: Err(error) },
        }
    }

    fn look(&mut self, name: Vec<u8>) -> Seen<Event> {
        let selection = self.stack.last_mut().and_then(|frame| frame.selection.as_mut());
        let selected = selection.and_then(|selection| selection.children.remove(&name));
        let folder = self.top(&name)?;
        // what a list names is met as if it had been found
        let said = selected.as_ref().is_some_and(|selected| !(self.options.listed && selected.whole));
        let follow = if said { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = rustix::fs::statat(folder, name.as_slice(), follow).map_err(|error| self.failed(&name, error))?;
        let is_directory = metadata::file_type(&stat) == FileType::Directory;
        if !said && self.is_excluded(&name, is_directory) {
            return Err(self.skipped(&name, Skip::Excluded));
        }
        if !said && let Some(why) = self.stack.last().and_then(|frame| self.databases.claim(frame.identity, &name)) {
            return Err(self.skipped(&name, why));
        }
        if !said && self.options.rules.nodump && marks::is_nodump(self.top(&name)?.as_fd(), &name) {
            return Err(self.skipped(&name, Skip::NoDump));
        }
        if self.relative.len() + 1 + name.len() > PATH_BYTES_MAX {
            let why = format!("its path is longer than {PATH_BYTES_MAX} bytes");
            return Err(self.failed(&name, io::Error::new(io::ErrorKind::InvalidFilename, why)));
        }
        if is_directory {
            return self.descend(name, selected, said);
        }
        if self.is_foreign(&stat) && selected.is_none() {
            return Err(self.skipped(&name, Skip::OtherFileSystem));
        }
        let (entry, lacks) = self.entry(name, &stat, said)?;
        if let Some(fault) = lacks {
            self.pending.push_back(Event::Lacking { path: self.path_of(&entry.name), fault });
        }
        Ok(Event::Entry(entry))
    }

    /// Whether the file system of an entry of the directory that the walk is in knows how long its files are.
    fn sizes(&mut self, device: u64) -> Sizes {
        if let Some(known) = self.sizes.get(&device) {
            return *known;
        }
        let frame = self.stack.last().filter(|frame| frame.identity.0 == device);
        let found = frame.and_then(|frame| frame.folder.as_ref()).map(|folder| sizes_of(folder.as_fd()));
        // a single file that is a mount: nobody asks its file system
        let Some(found) = found else { return Sizes::Unknown };
        self.sizes.insert(device, found);
        found
    }

    fn is_foreign(&self, stat: &Stat) -> bool {
        self.options.rules.other_file_systems && !self.devices.contains(&stat.st_dev)
    }

    fn is_excluded(&mut self, name: &[u8], is_directory: bool) -> bool {
        if self.excludes.is_empty() {
            return false;
        }
        let length = self.relative.len();
        extend(&mut self.relative, name);
        let excluded = self.excludes.excludes(&self.relative, is_directory);
        self.relative.truncate(length);
        excluded
    }

    fn entry(&mut self, name: Vec<u8>, stat: &Stat, followed: bool) -> Seen<(Entry, Option<Fault>)> {
        let sizes = self.sizes(stat.st_dev);
        let folder = self.top(&name)?.clone();
        let handle = folder.as_fd();
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match metadata::file_type(stat) {
            FileType::RegularFile => {
                let size = metadata::size(stat);
                if self.options.rules.larger_than.is_some_and(|limit| size > limit) {
                    return Err(self.skipped(&name, Skip::TooLarge));
                }
                EntryKind::File { size }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(handle, name.as_slice(), Vec::new());
                EntryKind::Symlink(target.map_err(|error| self.failed(&name, error))?.into_bytes())
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice(device().0, device().1),
            FileType::BlockDevice => EntryKind::BlockDevice(device().0, device().1),
            FileType::Socket => return Err(self.skipped(&name, Skip::Socket)),
            _ => return Err(self.skipped(&name, Skip::Unknown)),
        };
        let is_file = matches!(kind, EntryKind::File { .. });
        let file = followed_file(handle, &name, followed && is_file).map_err(|error| self.failed(&name, error))?;
        let (metadata, lacks) = match file {
            _ if self.is_bare && is_file => (metadata::of_stat(stat, &self.names), None),
            Some(file) => metadata::read(At::Open(file.as_fd()), stat, &self.names),
            None => metadata::read(At::Below(handle, &name), stat, &self.names),
        };
        Ok((Entry { name, kind, metadata, followed, sizes, folder }, lacks))
    }

    fn descend(&mut self, name: Vec<u8>, selected: Option<Selection>, followed: bool) -> Seen<Event> {
        let selection = selected.filter(|selection| !selection.whole);
        let folder = self.top(&name)?;
        let path = folder.path_of(&name);
        let child = open_child(folder.as_fd(), &name, followed).map_err(|error| self.failed(&name, error))?;
        let stat = rustix::fs::fstat(&child).map_err(|error| self.failed(&name, error))?;
        if !followed && self.is_marked(child.as_fd()) {
            return Err(self.skipped(&name, Skip::Marked));
        }
        let (metadata, lacks) = metadata::read(At::Open(child.as_fd()), &stat, &self.names);
        if let Some(fault) = lacks {
            self.pending.push_back(Event::Lacking { path: self.path_of(&name), fault });
        }
        let passed_over = if self.own.contains(&metadata::identity(&stat)) {
            Some(Skip::Own)
        } else {
            (self.is_foreign(&stat) && !followed).then_some(Skip::OtherFileSystem)
        };
        let mut names = Vec::new();
        if let Some(why) = passed_over {
            self.pending.push_back(self.skipped(&name, why).into());
        } else if let Some(selection) = &selection {
            names = selection.children.keys().cloned().collect();
        } else {
            let (listed, fault) = list(child.as_fd());
            names = listed;
            // Half a listing is better than none, but it is named.
            if let Some(error) = fault {
                self.pending.push_back(Event::Failed { path: self.path_of(&name), error });
            }
        }
        let above = self.relative.len();
        extend(&mut self.relative, &name);
        self.stack.push(Frame {
            name: name.clone(),
            folder: Some(Folder::new(child, path, &self.names)),
            identity: metadata::identity(&stat),
            names: names.into_iter(),
            selection,
            followed,
            above,
        });
        // The root's handle stays: it is where everything can be reopened from.
        let far = self.stack.len().checked_sub(HANDLES_MAX + 1).filter(|far| *far > 0);
        if let Some(frame) = far.and_then(|far| self.stack.get_mut(far)) {
            frame.folder = None;
        }
        Ok(Event::Enter { name, metadata })
    }

    fn is_marked(&self, child: BorrowedFd<'_>) -> bool {
        let LeftOut { markers, caches, .. } = &self.options.rules;
        marks::holds(child, markers) || *caches && marks::is_cache(child)
    }

    /// Leaves a directory. If the one above can't be reached any more, what is left of it is given up and named.
    fn ascend(&mut self) {
        let Some(left) = self.stack.pop() else { return };
        self.relative.truncate(left.above);
        let Some(frame) = self.stack.last() else { return };
        if frame.folder.is_some() || frame.names.as_slice().is_empty() {
            return;
        }
        let identity = frame.identity;
        let up = left.folder.as_ref().and_then(|folder| open_same(folder.as_fd(), b"..", false, identity).ok());
        let reopened = up.map_or_else(|| self.reopen(), Ok);
        match reopened {
            Ok(handle) => {
                let path = self.path_of(b"");
                if let Some(frame) = self.stack.last_mut() {
                    frame.folder = Some(Folder::new(handle, path, &self.names));
                }
            }
            Err(error) => {
                let path = self.path_of(b"");
                if let Some(frame) = self.stack.last_mut() {
                    frame.names = Vec::new().into_iter();
                }
                // `Leave` of the directory below comes first.
                self.pending.push_back(Event::Failed { path, error });
            }
        }
    }

    /// The directory at the top of the stack, from the nearest open one above it.
    fn reopen(&self) -> io::Result<OwnedFd> {
        let open = self.stack.iter().rposition(|frame| frame.folder.is_some()).unwrap_or_default();
        let start = self.stack.get(open).and_then(|frame| frame.folder.as_ref()).ok_or(Errno::BADF)?;
        let mut handle = rustix::io::fcntl_dupfd_cloexec(start, 0)?;
        for frame in self.stack.iter().skip(open + 1) {
            handle = open_same(handle.as_fd(), &frame.name, frame.followed, frame.identity)?;
        }
        Ok(handle)
    }
}

impl Iterator for Directory {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.step()
    }
}

/// The options with patterns relative to the root, and those patterns that match nothing.
fn rooted(options: &Options, base: &Path) -> Result<(Options, Vec<String>), OpenError> {
    let root = Root::new(base);
    let mut doubts = Vec::new();
    let mut relative = |patterns: &[Vec<u8>]| {
        let each = patterns.iter().map(|pattern| {
            let (pattern, doubt) = root.relative(pattern)?;
            doubts.extend(doubt);
            Ok(pattern)
        });
        each.collect::<Result<Vec<_>, OpenError>>()
    };
    let mut rooted = options.clone();
    rooted.rules.patterns = relative(&options.rules.patterns)?;
    rooted.rules.any_case = relative(&options.rules.any_case)?;
    Ok((rooted, doubts))
}

/// What folders are, wherever they are seen from.
fn identities(paths: &[PathBuf]) -> HashSet<(u64, u64)> {
    paths.iter().filter_map(|path| Some(metadata::identity(&rustix::fs::stat(path).ok()?))).collect()
}

fn extend(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// A file behind a link that is followed, opened: its attributes are not those of the link.
pub(super) fn followed_file(directory: BorrowedFd<'_>, name: &[u8], followed: bool) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?);
    followed.then(open).transpose()
}

fn open_same(directory: BorrowedFd<'_>, name: &[u8], follow: bool, identity: (u64, u64)) -> io::Result<OwnedFd> {
    let handle = open_child(directory, name, follow)?;
    if metadata::identity(&rustix::fs::fstat(&handle)?) == identity {
        Ok(handle)
    } else {
        Err(io::Error::other("it was moved while it was read"))
    }
}

/// Names in a directory, sorted; if there is an error, those that came before it.
fn list(directory: BorrowedFd<'_>) -> (Vec<Vec<u8>>, Option<io::Error>) {
    let mut names = Vec::new();
    let mut fault = None;
    match rustix::fs::Dir::read_from(directory) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => names.push(entry.file_name().to_bytes().to_vec()),
                    Err(error) => {
                        fault = Some(error.into());
                        break;
                    }
                }
            }
        }
        Err(error) => fault = Some(error.into()),
    }
    names.retain(|name| name != b"." && name != b"..");
    names.sort_unstable();
    names.dedup();
    (names, fault)
}
