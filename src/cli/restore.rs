//! `vault restore`: brings a snapshot, or a part of it, back into a folder or onto standard output. What exists is only
//! replaced after a yes; what stays or fails is named, and the exit code tells.

use super::exit::{Context, Failure, code};
use super::{Outcome, Session, output, render, secret, time};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use vault::progress::Progress;
use vault::repository::snapshots::SnapshotEntry;
use vault::{list, restore, target};

/// Bring files back
///
/// ADDRESS is an id or its beginning, latest, NAME, or NAME@TIME, and then :path if only a part is meant. A restore that
/// was interrupted goes on when it is run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault restore uploads@yesterday --target /srv/uploads
  vault restore app-db:app-db --stdout | psql app")]
pub struct Arguments {
    /// Which snapshot, and what of it
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Restore into this folder; it is made if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "stdout", conflicts_with = "stdout")]
    target: Option<PathBuf>,
    /// Only what this pattern names (can be repeated)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Not what this pattern names (can be repeated)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// What happens to an existing entry that differs
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    overwrite: Overwrite,
    /// Remove entries of the target that the snapshot lacks
    #[arg(long)]
    delete_extra: bool,
    /// Restore owners by number instead of by name
    #[arg(long)]
    numeric_owner: bool,
    /// Read every restored file back and compare
    #[arg(long)]
    verify: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Write one file to standard output instead of a folder
    #[arg(long, conflicts_with_all = ["include", "exclude", "overwrite", "delete_extra", "numeric_owner", "verify", "dry_run"])]
    stdout: bool,
    /// With --stdout: write everything as a tar archive
    #[arg(long, requires = "stdout")]
    tar: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Overwrite {
    /// It stays, and is named
    #[default]
    Never,
    /// It is replaced if type, size, time or target differ
    IfChanged,
    /// It is replaced
    Always,
}

#[derive(Serialize)]
struct Restored<'a> {
    snapshot: String,
    name: &'a str,
    time: String,
    target: String,
    dry_run: bool,
    files: u64,
    bytes: u64,
    same: u64,
    left: &'a [String],
    failed: &'a [String],
    notes: &'a [String],
}

/// Restores.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = format!("cannot restore {}", arguments.address);
    if arguments.stdout && std::io::stdout().is_terminal() && arguments.tar {
        return Err(Failure::new(code::USAGE, "an archive does not belong on a terminal".into())
            .hint("send it to a file or a program"));
    }
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let (snapshot, path) = list::find(&catalog, &arguments.address, &time::parse_address).context(&what)?;
    let progress = session.progress("restoring");
    let Some(directory) = &arguments.target else {
        let mut out = std::io::BufWriter::with_capacity(1 << 16, output::Output);
        let done = restore::restore_to(&repository, (&catalog, snapshot), &path, arguments.tar, &mut out, &progress)
            .and_then(|()| out.flush().map_err(vault::error::Error::Output));
        progress.done();
        if matches!(&done, Err(vault::error::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            progress.note("whoever reads standard output closed it before the end");
        }
        done.context(&what)?;
        session.say_requests(&repository);
        return Ok(code::DONE);
    };
    permit(session, arguments, directory)?;
    let options = options(arguments);
    let report = restore::restore(&repository, (&catalog, snapshot), &path, directory, &options, &progress);
    progress.done();
    let report = report.context(&what)?;
    progress.tell(&report.left.iter().map(|left| left_line(left)).collect::<Vec<_>>());
    progress.tell(&report.failed);
    show(session, arguments, directory, snapshot, &report);
    session.say_requests(&repository);
    if report.left.is_empty() && report.failed.is_empty() {
        return Ok(code::DONE);
    }
    Err(Failure::new(
        code::FAILED,
        format!(
            "the restore is not complete: {} left as they were, {} failed",
            render::count(report.left.len() as u64, "existing entry", "existing entries"),
            render::count(report.failed.len() as u64, "entry", "entries")
        ),
    )
    .hint(if report.left.is_empty() {
        "see above"
    } else {
        "restore to another folder, or say --overwrite if-changed"
    }))
}

fn show(
    session: &Session,
    arguments: &Arguments,
    directory: &Path,
    snapshot: &SnapshotEntry,
    report: &restore::Report,
) {
    if session.global.json {
        render::json(&Restored {
            snapshot: snapshot.id.to_string(),
            name: &snapshot.head.source,
            time: render::time_rfc3339(snapshot.head.time),
            target: directory.display().to_string(),
            dry_run: arguments.dry_run,
            files: report.files,
            bytes: report.bytes,
            same: report.same,
            left: &report.left,
            failed: &report.failed,
            notes: &report.notes,
        });
    }
    if arguments.dry_run {
        report.notes.iter().for_each(|note| session.say(&render::safe(note)));
    } else {
        session.say_notes(&report.notes);
    }
    session.say(&format!(
        "{} snapshot {} of {} ({}) {} {}: {}, {}; {} there already",
        if arguments.dry_run { "would restore" } else { "restored" },
        snapshot.id.short(),
        snapshot.head.source,
        render::time(snapshot.head.time),
        if arguments.dry_run { "into" } else { "to" },
        render::safe(&directory.display().to_string()),
        render::count(report.files, "file", "files"),
        render::size(report.bytes),
        render::count(report.same, "entry was", "entries were"),
    ));
}

fn left_line(left: &str) -> String {
    if left.contains(": ") { left.to_owned() } else { format!("{left}: it exists and differs, so it was left") }
}

fn options(arguments: &Arguments) -> restore::Options {
    restore::Options {
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
        target: target::Options {
            overwrite: match arguments.overwrite {
                Overwrite::Never => target::Overwrite::Never,
                Overwrite::IfChanged => target::Overwrite::IfChanged,
                Overwrite::Always => target::Overwrite::Always,
            },
            delete_extra: arguments.delete_extra,
            dry_run: arguments.dry_run,
            numeric_owner: arguments.numeric_owner,
        },
        verify: arguments.verify,
    }
}

/// Asks before anything that exists can be replaced or removed.
fn permit(session: &Session, arguments: &Arguments, directory: &Path) -> Result<(), Failure> {
    let harmless = arguments.overwrite == Overwrite::Never && !arguments.delete_extra;
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if harmless || arguments.dry_run || is_empty {
        return Ok(());
    }
    let verb = match (arguments.overwrite, arguments.delete_extra) {
        (Overwrite::Never, _) => "removed",
        (_, false) => "replaced",
        (_, true) => "replaced and removed",
    };
    secret::confirm(&session.global, &format!("Entries of {} can be {verb}.", directory.display()))
}
