//! `vault diff`: what changed between two snapshots, or between a snapshot and a folder of this machine. Lines are
//! printed as differences are found; figures come last.

use super::printed::printed;
use super::{Context, Failure, Outcome, Session, address, code, node, output, render, time};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vault::diff::{self, Change, Difference, Report, metadata};
use vault::repository::{Address, SnapshotEntry, View};
use vault::{list, repository};
use vault_format::tree::Node;

/// Show what changed between two snapshots, or between a snapshot and a folder
///
/// A line begins with + for what is new, - for what is gone, M for other content, T for another type, and with
/// --metadata U for other permissions, owner, time or attributes. Of other content it is said if size and times are the
/// same: such a file rotted, or a clock lies. ADDRESS is an id or its beginning, latest, NAME, or
/// NAME@TIME, and then :path if only a part is meant. A DIR that reads like an ADDRESS is written ./DIR. What the
/// snapshot left out by --exclude is not looked at. Files of a folder are read only if size or times changed, all of
/// them with --read; of the repository no content is fetched. The exit code is 0 with or without differences.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault diff uploads@yesterday uploads
  vault diff uploads:photos /srv/uploads/photos --metadata
  vault diff uploads /srv/uploads --read")]
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
    #[arg(long, alias = "read-all")]
    read: bool,
}

printed! {
    /// What `vault diff` prints.
    struct Diffed<'a>(before: &SnapshotEntry, after: String, changes: &'a [Line], report: &'a Report) {
        /// Id of the first snapshot.
        before: String = before.id.to_string(),
        /// Id of the second, or the path of the folder.
        after: String = after,
        /// Each entry that differs.
        changes: &'a [Line] = changes,
        /// Entries that are only after.
        added: u64 = report.added,
        /// Entries that are only before.
        removed: u64 = report.removed,
        /// Entries of another type or content.
        changed: u64 = report.changed,
        /// Entries that differ in metadata alone.
        metadata: u64 = report.metadata,
        /// Content bytes that the entry of the same path lacks before.
        added_bytes: u64 = report.added_bytes,
        /// Content bytes that the entry of the same path lacks after.
        removed_bytes: u64 = report.removed_bytes,
        /// Entries of the folder that could not be compared, each with the reason.
        failed: &'a [String] = &report.failed,
    }

    /// One entry that differs.
    struct Line(change: &Change, bytes: (u64, u64)) {
        /// Path in the snapshot; what is not UTF-8 is replaced.
        path: String = node::lossy(&change.path),
        /// The bytes of the path in hex, only if it is not UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_hex: Option<String> = node::hex(&change.path),
        /// `added`, `removed`, `type`, `content`, or with --metadata `metadata`.
        change: &'static str = word(change.difference),
        /// As in `ls`.
        #[serde(rename = "type")]
        kind: &'static str = shown(change).map_or("", node::kind),
        /// Bytes before; null if it was not there.
        size_before: Option<u64> = change.before.as_ref().map(node::size),
        /// Bytes after; null if it is gone.
        size_after: Option<u64> = change.after.as_ref().map(node::size),
        /// Bytes that it added.
        added_bytes: u64 = bytes.0,
        /// Bytes that it removed.
        removed_bytes: u64 = bytes.1,
        /// The content is another though size and times are the same.
        hidden: bool = change.is_hidden(),
        /// What of the metadata changed, in words.
        metadata: Vec<&'static str> = parts(change),
    }
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
            lines.push(Line::of(change, bytes));
        } else if !session.global.quiet {
            progress.above(|| render::line(&line(change)));
        }
        output::go_on()
    };
    let options = diff::Options {
        exclude: address::bytes(&arguments.exclude),
        one_file_system: arguments.one_file_system,
        read_all: arguments.read,
    };
    let report = progress.during(|progress| match &after {
        After::Snapshot(after) => diff::snapshots(&repository, &before, after, &mut each),
        After::Folder(path) => diff::with_folder(&before, path.clone(), &options, &mut each, progress),
    });
    let report = report.context(&what)?;
    if session.global.json {
        let after = match &after {
            After::Snapshot(after) => after.snapshot.id.to_string(),
            After::Folder(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        };
        render::json(&Diffed::of(before.snapshot, after, &lines, &report));
    }
    session.say(&summary(&report));
    session.say_requests(&repository);
    if report.failed.is_empty() {
        return Ok(code::DONE);
    }
    progress.tell(&report.failed);
    let failed = render::count(report.failed.len() as u64, "entry", "entries");
    Err(Failure::failed(format!("{failed} could not be compared, named above")))
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

/// What a difference is called in JSON.
pub fn word(difference: Difference) -> &'static str {
    sign(difference).1
}

/// The letter before a path.
pub fn letter(difference: Difference) -> char {
    sign(difference).0
}

fn sign(difference: Difference) -> (char, &'static str) {
    match difference {
        Difference::Added => ('+', "added"),
        Difference::Removed => ('-', "removed"),
        Difference::Type => ('T', "type"),
        Difference::Content => ('M', "content"),
        Difference::Metadata => ('U', "metadata"),
    }
}

/// The entry as it came, or else as it was.
fn shown(change: &Change) -> Option<&Node> {
    change.after.as_ref().or(change.before.as_ref())
}

fn parts(change: &Change) -> Vec<&'static str> {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => metadata(before, after),
        _ => Vec::new(),
    }
}

fn line(change: &Change) -> String {
    let Some(shown) = shown(change) else { return String::new() };
    let mut line = format!("{} {}", letter(change.difference), node::name(&change.path, shown));
    if let (Difference::Metadata, Some(before), Some(after)) = (change.difference, &change.before, &change.after) {
        let mode = format!("mode {} to {}", node::mode(before), node::mode(after));
        let parts: Vec<&str> =
            parts(change).into_iter().map(|part| if part == "mode" { &mode } else { part }).collect();
        line.push_str(&format!(" ({})", parts.join(", ")));
    }
    if change.is_hidden() {
        line.push_str(" (size and times are the same)");
    }
    line
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
