//! The backward flow: snapshot -> tree -> find -> fetch -> open -> verify -> target.
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::snapshots::SnapshotEntry;
use crate::list::Catalog;
use crate::target;
use std::io::Write;
use std::path::Path;

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
    /// Frames fetched.
    pub fetched_frames: u64,
    /// Decoded frames that had to be dropped before they were used up.
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
    let _ = (repository, catalog, snapshot, path, target, options, progress);
    Ok(Report::default())
}

/// Writes one file to a stream, or with `tar` everything at `path` as a tar archive.
pub fn restore_to(
    repository: &Repository,
    (catalog, snapshot): (&Catalog, &SnapshotEntry),
    path: &[u8],
    tar: bool,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<()> {
    let _ = (repository, catalog, snapshot, path, tar, out, progress);
    Ok(())
}
