//! `vault diff`: what changed between two snapshots, or between a snapshot and a folder of this machine. Lines are
//! printed as differences are found; figures come last.

use super::exit::{Context, Failure, code};
use super::session::Session;
use super::{Outcome, address, node, output, render, time};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vault::diff::{self, Change, Difference, Report, metadata};
use vault::repository::{Address, SnapshotEntry, View};
use vault::{list, repository};

/// Show what changed between two snapshots, or between a snapshot and a folder
///
/// A line begins with + for what is new, - for what is gone, M for other content, T for another type, and with
/// --metadata U for other permissions, owner, time or attributes. ADDRESS is an id or its beginning, latest, NAME, or
/// NAME@TIME, and then :path if only a part is meant. A DIR that reads like an ADDRESS is written ./DIR. What the
/// snapshot left out by --exclude is not looked at. Files of a folder are read only if size or times changed. The exit
/// code is 0 with or without differences.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault diff uploads@yesterday uploads
  vault diff uploads:photos /srv/uploads/photos --metadata")]
pub struct Arguments {
    /// What was before
    #[arg(value_name = "ADDRESS")]
    before: OsString,
    /// What came after
    #[arg(value_name = "ADDRESS|DIR")]
    after: OsString,
    /// Show entries too of which only permissions, owner, time or attributes changed
    #[arg(long)]
    metadata: bool,
    /// Of a folder, leave out what this pattern names (can be repeated)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// Of a folder, do not enter other file systems
    #[arg(long)]
    one_file_system: bool,
    /// Of a folder, read files too whose size and times are the same
    #[arg(long)]
    read_all: bool,
}

/// What `vault diff` prints.
#[derive(Serialize)]
struct Diffed {
    /// Id of the first snapshot.
    before: String,
    /// Id of the second, or the path of the folder.
    after: String,
    /// Each entry that differs.
    changes: Vec<Line>,
    /// Entries that are only after.
    added: u64,
    /// Entries that are only before.
    removed: u64,
    /// Entries of another type or content.
    changed: u64,
    /// Entries that differ in metadata alone.
    metadata: u64,
    /// Content bytes that the entry of the same path lacks before.
    added_bytes: u64,
    /// Content bytes that the entry of the same path lacks after.
    removed_bytes: u64,
    /// Entries of the folder that could not be compared, each with the reason.
    failed: Vec<String>,
}

/// One entry that differs.
#[derive(Serialize)]
struct Line {
    /// Path in the snapshot; what is not UTF-8 is replaced.
    path: String,
    /// The bytes of the path in hex, only if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    /// `added`, `removed`, `type`, `content`, or with --metadata `metadata`.
    change: &'static str,
    /// As in `ls`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Bytes before; null if it was not there.
    size_before: Option<u64>,
    /// Bytes after; null if it is gone.
    size_after: Option<u64>,
    /// Bytes that it added.
    added_bytes: u64,
    /// Bytes that it removed.
    removed_bytes: u64,
    /// What of the metadata changed, in words.
    metadata: Vec<&'static str>,
}

/// What the second argument means.
enum After<'c> {
    Snapshot(Address<'c>),
    Folder(PathBuf),
}

/// Compares.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let after_text = arguments.after.to_string_lossy().into_owned();
    let what = format!("cannot compare {} with {after_text}", arguments.before.display());
    let repository = session.open()?;
    repository.keys().content("compare files").context("")?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let before = address::find(session, &catalog, &arguments.before, &what)?;
    let after = after(&catalog, &arguments.after, &what)?;
    let progress = session.progress("comparing").watch(repository.backend());
    let mut lines = Vec::new();
    let mut each = |change: &Change, bytes: (u64, u64)| {
        if change.difference == Difference::Metadata && !arguments.metadata {
            return Ok(());
        }
        if session.global.json {
            lines.push(fields(change, bytes));
        } else if !session.global.quiet {
            progress.above(|| render::line(&line(change)));
        }
        output::go_on()
    };
    let options = diff::Options {
        exclude: address::bytes(&arguments.exclude),
        one_file_system: arguments.one_file_system,
        read_all: arguments.read_all,
    };
    let report = match &after {
        After::Snapshot(after) => diff::snapshots(&repository, &before, after, &mut each),
        After::Folder(path) => diff::with_folder(&before, path.clone(), &options, &mut each, &progress),
    };
    progress.done();
    let report = report.context(&what)?;
    if session.global.json {
        let after = match &after {
            After::Snapshot(after) => after.snapshot.id.to_string(),
            After::Folder(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        };
        render::json(&diffed(before.snapshot, after, lines, &report));
    }
    session.say(&summary(&report));
    session.say_requests(&repository);
    if report.failed.is_empty() {
        return Ok(code::DONE);
    }
    progress.tell(&report.failed);
    let failed = render::count(report.failed.len() as u64, "entry", "entries");
    Err(Failure::new(code::FAILED, format!("{failed} could not be compared, named above")))
}

fn after<'c>(catalog: &'c View, text: &OsStr, what: &str) -> Result<After<'c>, Failure> {
    let folder = || After::Folder(PathBuf::from(text));
    let path = Path::new(text);
    let is_plain = path.components().next().is_some_and(|first| matches!(first, std::path::Component::Normal(_)));
    if !is_plain {
        return Ok(folder());
    }
    match list::find(catalog, text.as_bytes(), &time::parse_address) {
        Ok(address) => Ok(After::Snapshot(address)),
        Err(vault::error::Error::Repository(
            repository::Error::NoSnapshot(_) | repository::Error::UnreadableTime(_),
        )) if path.exists() => Ok(folder()),
        Err(error) => Err(error).context(what),
    }
}

fn diffed(before: &SnapshotEntry, after: String, changes: Vec<Line>, report: &Report) -> Diffed {
    Diffed {
        before: before.id.to_string(),
        after,
        changes,
        added: report.added,
        removed: report.removed,
        changed: report.changed,
        metadata: report.metadata,
        added_bytes: report.added_bytes,
        removed_bytes: report.removed_bytes,
        failed: report.failed.clone(),
    }
}

/// What a difference is called in JSON.
pub fn word(difference: Difference) -> &'static str {
    match difference {
        Difference::Added => "added",
        Difference::Removed => "removed",
        Difference::Type => "type",
        Difference::Content => "content",
        Difference::Metadata => "metadata",
    }
}

/// The letter before a path.
pub fn letter(difference: Difference) -> char {
    match difference {
        Difference::Added => '+',
        Difference::Removed => '-',
        Difference::Type => 'T',
        Difference::Content => 'M',
        Difference::Metadata => 'U',
    }
}

fn parts(change: &Change) -> Vec<&'static str> {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => metadata(before, after),
        _ => Vec::new(),
    }
}

fn line(change: &Change) -> String {
    let Some(shown) = change.after.as_ref().or(change.before.as_ref()) else { return String::new() };
    let mut line = format!("{} {}", letter(change.difference), node::name(&change.path, shown));
    if let (Difference::Metadata, Some(before), Some(after)) = (change.difference, &change.before, &change.after) {
        let mode = format!("mode {} to {}", node::mode(before), node::mode(after));
        let parts: Vec<&str> =
            parts(change).into_iter().map(|part| if part == "mode" { &mode } else { part }).collect();
        line.push_str(&format!(" ({})", parts.join(", ")));
    }
    line
}

fn fields(change: &Change, (added_bytes, removed_bytes): (u64, u64)) -> Line {
    let shown = change.after.as_ref().or(change.before.as_ref());
    Line {
        path: node::lossy(&change.path),
        path_hex: node::hex(&change.path),
        change: word(change.difference),
        kind: shown.map_or("", node::kind),
        size_before: change.before.as_ref().map(node::size),
        size_after: change.after.as_ref().map(node::size),
        added_bytes,
        removed_bytes,
        metadata: parts(change),
    }
}

fn summary(report: &Report) -> String {
    if report.added + report.removed + report.changed + report.metadata == 0 {
        return "no differences".into();
    }
    format!(
        "{} new, {} gone, {} changed, {} with other permissions, owner or time; {} added, {} removed",
        report.added,
        report.removed,
        report.changed,
        report.metadata,
        render::size(report.added_bytes),
        render::size(report.removed_bytes)
    )
}
