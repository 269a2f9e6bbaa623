//! What the user named: the paths as a tree, the root that they have in common, and the file systems that they lie on.
//! Only here are links followed, since the user named them himself.

use super::OpenError;
use crate::metadata;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The named paths as a tree. Everything below an entry that is `whole` is part of the snapshot.
#[derive(Default)]
pub struct Selection {
    /// All below it.
    pub whole: bool,
    /// What was named below it.
    pub children: BTreeMap<Vec<u8>, Selection>,
}

/// A pipe that is named is a pipe that somebody writes to: a node without its content would be worth nothing.
fn refuse_special(path: &Path, stat: &Stat) -> Result<(), OpenError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (what, name) = match metadata::file_type(stat) {
        FileType::Fifo => ("a pipe", "NAME".to_owned()),
        FileType::CharacterDevice => ("a device", "NAME".to_owned()),
        FileType::BlockDevice => ("a disk", format!("{name}.img")),
        FileType::Socket => {
            let say = "a path to files, or --command for the program behind it".to_owned();
            return Err(OpenError::Special { path: path.to_owned(), what: "a socket", say });
        }
        _ => return Ok(()),
    };
    Err(OpenError::Special { path: path.to_owned(), what, say: format!("--stdin {name} < {}", path.display()) })
}

/// What was named, put together.
pub struct Named {
    /// The root of the snapshot.
    pub base: PathBuf,
    /// What of it was asked for, if not all.
    pub selection: Option<Selection>,
    /// The file systems that it lies on.
    pub devices: HashSet<u64>,
    /// Paths of a list that are not there.
    pub missing: Vec<(PathBuf, io::Error)>,
}

/// Puts together what was named, by the user himself or in a list.
pub fn select(paths: &[PathBuf], listed: bool) -> Result<Named, OpenError> {
    let mut top = Selection::default();
    let (mut devices, mut missing) = (HashSet::new(), Vec::new());
    for path in paths {
        let failed = |error: io::Error| OpenError::Path { path: path.clone(), error };
        let mut absolute = std::path::absolute(path).map_err(failed)?;
        // Only the kernel knows where `..` leads behind a link.
        if absolute.components().any(|part| part == Component::ParentDir) {
            absolute = std::fs::canonicalize(&absolute).map_err(failed)?;
        }
        let stat = match stat_of(&absolute, listed) {
            Ok(stat) => stat,
            Err(error) if listed => {
                missing.push((absolute, error));
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        if !listed {
            refuse_special(path, &stat)?;
        }
        devices.insert(stat.st_dev);
        let mut place = &mut top;
        for part in absolute.components() {
            if let Component::Normal(name) = part {
                place = place.children.entry(name.as_bytes().to_vec()).or_default();
            }
        }
        place.whole = true;
    }
    let mut base = PathBuf::from("/");
    let mut place = top;
    while !place.whole && place.children.len() == 1 {
        let Some((name, child)) = place.children.pop_first() else { break };
        let path = base.join(OsStr::from_bytes(&name));
        let stat =
            stat_of(&path, listed && child.whole).map_err(|error| OpenError::Path { path: path.clone(), error })?;
        if child.whole && metadata::file_type(&stat) != FileType::Directory {
            place.children.insert(name, child);
            return Ok(Named { base, selection: Some(place), devices, missing });
        }
        (base, place) = (path, child);
    }
    match (place.whole, place.children.is_empty()) {
        (true, _) => Ok(Named { base, selection: None, devices, missing }),
        (false, true) => Err(nothing(paths)),
        (false, false) => Ok(Named { base, selection: Some(place), devices, missing }),
    }
}

/// Why nothing of a list is there.
fn nothing(paths: &[PathBuf]) -> OpenError {
    let Some(first) = paths.first() else { return OpenError::Nothing };
    let is_cut = first.as_os_str().as_bytes().ends_with(b"\r");
    let hint = if is_cut { "; its lines end in CR LF: `tr -d '\\r'` takes the CR away" } else { "" };
    OpenError::Missing { number: paths.len(), first: first.clone(), hint }
}

/// Opens a directory below another one.
pub fn open_child(directory: BorrowedFd<'_>, name: &[u8], follow: bool) -> io::Result<OwnedFd> {
    let flags = if follow { DIRECTORY } else { DIRECTORY | OFlags::NOFOLLOW };
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Opens what the user named, one component at a time: the path may be longer than the kernel takes at once.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let mut handle = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut parts = path.components().filter(|part| !matches!(part, Component::RootDir)).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return open_child(handle.as_fd(), part.as_os_str().as_bytes(), true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        handle = rustix::fs::openat(&handle, part.as_os_str(), flags, Mode::empty())?;
    }
    open_child(handle.as_fd(), b".", true)
}

/// What the user named, links followed; in a list the last part is meant itself.
fn stat_of(path: &Path, listed: bool) -> io::Result<Stat> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(rustix::fs::stat(path)?) };
    let parent = open_path(parent)?;
    let follow = if listed { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    Ok(rustix::fs::statat(&parent, name, follow)?)
}
