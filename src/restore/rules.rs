//! What a restore that deletes must leave alone: all that was never a part of the snapshot. The snapshot itself tells
//! it: which paths were named, by which rules entries were left out, what could not be read. Where it does not, nothing
//! is deleted.

use crate::repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::source::Excludes;
use crate::target::{Extra, Keep};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use vault_format::snapshot::Body;

/// How a valid `CACHEDIR.TAG` begins.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What of a snapshot the user named, for a target that stands for `prefix` of it.
#[derive(Clone, Debug)]
pub struct Scope {
    prefix: Vec<u8>,
    /// Named paths, relative to the base; the base itself is empty.
    named: BTreeSet<Vec<u8>>,
}

impl Scope {
    /// None if it is not known. The prefix is made of the names in the tree, without anything that says nothing.
    pub fn of(body: &Body, prefix: &[u8]) -> Option<Self> {
        let named = body.paths.iter().map(|path| relative(path, &body.base)).collect::<Option<BTreeSet<_>>>()?;
        (!named.is_empty()).then(|| Self { prefix: prefix.to_vec(), named })
    }

    /// The path below the base.
    fn whole(&self, path: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'/')
    }

    /// The path below the base of what is wanted, or of the first that was named below a folder on the way to it.
    pub fn first_named(&self, path: &[u8], wanted: &[u8]) -> Vec<u8> {
        let (path, wanted) = (self.whole(path), self.whole(wanted));
        let is_below =
            |named: &&Vec<u8>| named.strip_prefix(path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
        if wanted == path { self.named.iter().find(is_below).cloned().unwrap_or(wanted) } else { wanted }
    }

    fn is_named(&self, path: &[u8]) -> bool {
        self.named.contains(&self.whole(path))
    }

    /// True for folders that are only there since something below them was named.
    pub fn is_outside(&self, path: &[u8]) -> bool {
        let whole = self.whole(path);
        !ancestors(&whole).any(|above| self.named.contains(above))
    }
}

/// The rules of one snapshot.
#[derive(Debug)]
pub struct Rules {
    scope: Scope,
    patterns: Excludes,
    markers: Vec<Vec<u8>>,
    larger_than: Option<u64>,
    caches: bool,
    no_dump: bool,
    unread: BTreeSet<Vec<u8>>,
    not_entered: BTreeSet<Vec<u8>>,
}

impl Rules {
    /// Reads them off a snapshot. An error says why nothing may be deleted.
    pub fn of(snapshot: &SnapshotEntry, body: &repository::Result<Body>, prefix: &[u8]) -> Result<Self, String> {
        let body = body.as_ref().map_err(|error| format!("what the snapshot left out can't be read: {error}"))?;
        let (gaps, left_out) = (&body.gaps, &body.left_out);
        if super::lost::is_repaired(snapshot, body) {
            return Err("the snapshot is what repair saved of a damaged one, and lacks what was lost".into());
        }
        if gaps.more || snapshot.head.statistics.errors > 0 && gaps.unread.is_empty() {
            return Err("the snapshot lacks entries that could not be read, and does not name them all".into());
        }
        if body.paths.is_empty() {
            return Err("the snapshot is of a stream, not of a folder".into());
        }
        let scope = Scope::of(body, prefix).ok_or("the paths that the snapshot is of are not told apart")?;
        Ok(Self {
            scope,
            patterns: Excludes::new(&left_out.patterns, &left_out.any_case)
                .map_err(|_| "a pattern that the snapshot left entries out by is not understood")?,
            markers: left_out.markers.clone(),
            larger_than: left_out.larger_than,
            caches: left_out.caches,
            no_dump: left_out.nodump,
            unread: gaps.unread.iter().cloned().collect(),
            not_entered: gaps.not_entered.iter().cloned().collect(),
        })
    }

    /// Why a path, or one above it, is no business of the snapshot.
    fn gap(&self, whole: &[u8]) -> Option<&'static str> {
        let mut above = ancestors(whole);
        above.find_map(|path| {
            let unread = self.unread.contains(path).then_some("it could not be read when the snapshot was taken");
            let apart = || self.not_entered.contains(path).then_some("it was left out when the snapshot was taken");
            unread.or_else(apart)
        })
    }
}

impl Keep for Rules {
    fn is_named(&self, path: &[u8]) -> bool {
        self.scope.is_named(path)
    }

    fn entry(&self, extra: &Extra<'_>) -> Option<&'static str> {
        let whole = self.scope.whole(extra.path);
        if let Some(why) = self.gap(&whole) {
            return Some(why);
        }
        if self.patterns.excludes(&whole, extra.is_directory) {
            return Some("the snapshot excludes it");
        }
        if !extra.is_directory && self.larger_than.is_some_and(|limit| extra.size > limit) {
            return Some("it is larger than what the snapshot takes");
        }
        (self.no_dump && extra.no_dump).then_some("it is marked as nodump")
    }

    fn below(&self, path: &[u8], directory: BorrowedFd<'_>) -> Option<&'static str> {
        let whole = self.scope.whole(path);
        if let Some(why) = self.gap(&whole) {
            return Some(why);
        }
        if self.scope.named.contains(&whole) {
            return None;
        }
        let is_there =
            |name: &Vec<u8>| rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if self.markers.iter().any(is_there) {
            return Some("it holds a marker that the snapshot goes by");
        }
        (self.caches && is_cache(directory)).then_some("it is marked as a cache")
    }

    fn is_outside(&self, path: &[u8]) -> bool {
        self.scope.is_outside(path)
    }
}

/// A path and all above it, down to the empty one.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let path = next?;
        next = match path.iter().rposition(|byte| *byte == b'/') {
            Some(end) => path.get(..end),
            None if path.is_empty() => None,
            None => Some(&[]),
        };
        Some(path)
    })
}

/// A path below a base, without what says nothing; `None` if it is elsewhere, or if nobody can tell.
fn relative(path: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    let path = Path::new(OsStr::from_bytes(path));
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let below = path.strip_prefix(OsStr::from_bytes(base)).ok()?;
    let parts: Vec<&[u8]> = below.components().map(|part| part.as_os_str().as_bytes()).collect();
    Some(parts.join(&b'/'))
}

fn is_cache(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(directory, "CACHEDIR.TAG", flags, Mode::empty()) else { return false };
    let mut start = Vec::new();
    let read = std::fs::File::from(file).take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut start);
    read.is_ok() && start == CACHE_SIGNATURE
}
