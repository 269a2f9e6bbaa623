//! `vault restore`: brings a snapshot, or a part of it, back into a folder or onto standard output. What exists is only
//! replaced after a yes; what stays or fails is named, and the exit code tells.

use super::exit::{Context, Failure, code};
use super::lacks::{Told, names_line};
use super::progress::Bar;
use super::session::Session;
use super::{Outcome, address, output, render, secret};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use vault::list;
use vault::progress::{Progress, Silent};
use vault::repository::{Address, Repository, SnapshotEntry};
use vault::restore::{self, TargetOptions};

/// Bring files back
///
/// ADDRESS is an id or its beginning, latest, NAME, or NAME@TIME, and then :path if only a part is meant. A restore that
/// was interrupted goes on when it is run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault restore uploads@yesterday --target /srv/uploads
  vault restore app-db:app-db --stdout | pg_restore --dbname app")]
pub struct Arguments {
    /// Which snapshot, and what of it
    #[arg(value_name = "ADDRESS")]
    address: OsString,
    /// Restore into this folder; it is made if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "stdout", conflicts_with = "stdout")]
    target: Option<PathBuf>,
    /// Only what this pattern names (can be repeated)
    #[arg(long, value_name = "GLOB")]
    include: Vec<OsString>,
    /// Not what this pattern names (can be repeated)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// What happens to an existing entry that differs
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    overwrite: Overwrite,
    /// Remove what the snapshot was taken of and lacks. What it left out, could not read, or did not enter stays, and so
    /// do other file systems
    #[arg(long)]
    delete_extra: bool,
    /// Restore owners by number instead of by name
    #[arg(long)]
    numeric_owner: bool,
    /// Read every restored file back and compare
    #[arg(long)]
    verify: bool,
    /// Begin even if the disk seems to have too little room
    #[arg(long)]
    ignore_room: bool,
    /// Only tell what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Write one file to standard output instead of a folder
    #[arg(long, conflicts_with_all = ["include", "exclude", "overwrite", "delete_extra", "numeric_owner", "verify", "ignore_room", "dry_run"])]
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
    /// It is replaced if type, size, time or target differ; if only mode, owner or attributes do, they are set
    IfChanged,
    /// It is replaced
    Always,
}

/// What `vault restore` prints.
#[derive(Serialize)]
struct Restored<'a> {
    /// Id of the snapshot.
    snapshot: String,
    /// Name of its source.
    name: &'a str,
    /// Its time.
    time: String,
    /// Where it was restored.
    target: String,
    /// Nothing was written.
    dry_run: bool,
    /// Files written.
    files: u64,
    /// Their bytes.
    bytes: u64,
    /// Entries that were there already and are the same.
    same: u64,
    /// Entries that were there, and of which mode, owner or attributes were set.
    mended: u64,
    /// Entries that were replaced.
    replaced: u64,
    /// Extra entries that were deleted.
    deleted: u64,
    /// Extra entries that were never a part of the snapshot, and stay.
    kept: u64,
    /// Entries that differ and were left.
    left: Vec<String>,
    /// Entries that could not be restored, each with the reason.
    failed: &'a [String],
    /// What everybody should hear of, though nothing failed.
    warnings: &'a [String],
    /// Things worth knowing.
    notes: &'a [String],
}

/// Restores.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = match arguments.stdout {
        true => format!("cannot write {} to standard output", arguments.address.display()),
        false => format!("cannot restore {}", arguments.address.display()),
    };
    if arguments.stdout && std::io::stdout().is_terminal() && arguments.tar {
        return Err(Failure::new(code::USAGE, "an archive does not belong on a terminal".into())
            .hint("send it to a file or a program"));
    }
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let address = address::find(session, &catalog, &arguments.address, &what)?;
    let options = options(arguments, session.global.verbose);
    let told = Told::of(&repository, &address);
    let Some(directory) = &arguments.target else {
        told.say(session);
        let progress = session.progress("restoring").watch(repository.backend());
        let mut out = std::io::BufWriter::with_capacity(1 << 16, output::Output);
        let done = restore::restore_to(&repository, &address, arguments.tar, &mut out, &progress)
            .and_then(|()| out.flush().map_err(vault::error::Error::Output));
        progress.done();
        if matches!(&done, Err(vault::error::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            progress.note("whoever reads standard output closed it before the end");
        }
        let lost = if is_to_compare(&done, arguments.tar) { told.lost(&options) } else { None };
        if let Some(lost) = lost {
            // what was written is written: whoever takes it must hear
            return Err(told.failure(&lost));
        }
        done.context(&what)?;
        session.say_requests(&repository);
        return Ok(code::DONE);
    };
    let job = Job { repository: &repository, address: &address, directory };
    permit(session, arguments, &options, &job)?;
    told.say(session);
    let progress = session.progress("restoring").watch(repository.backend());
    let report = job.restore(&options, &progress);
    progress.done();
    let lost = if is_to_compare(&report, true) { told.lost(&options) } else { None };
    if let (Err(_), Some(lost)) = (&report, &lost) {
        return Err(told.failure(lost));
    }
    let mut report = report.context(&what)?;
    session.say_notes(&report.notes);
    report.notes.splice(0..0, told.notes().into_iter().chain(lost.clone()));
    tell_damage(&progress, address.snapshot, &report);
    progress.tell(&report.left.iter().map(left_line).collect::<Vec<_>>());
    progress.tell(&report.failed);
    tell(session, directory, &report);
    show(session, arguments, directory, address.snapshot, &report);
    session.say_requests(&repository);
    end(&report, lost.as_deref(), &told)
}

/// Which objects are to blame, once, and what to try.
fn tell_damage(progress: &Bar, snapshot: &SnapshotEntry, report: &restore::Report) {
    progress.tell_more_damaged();
    if report.damaged.is_empty() {
        return;
    }
    let objects: Vec<String> = report.damaged.iter().cloned().collect();
    let name = super::proposal::quote(&snapshot.head.source);
    progress.note(&format!("damaged in the repository{}", names_line(&objects, objects.len() as u64)));
    progress.note(&format!(
        "`vault repair --dry-run` tells what can be brought back, `vault snapshots {name}` lists others to try"
    ));
}

/// True if what was lost by damage tells whether all is there: it ended well, or there is no such path.
fn is_to_compare<T>(done: &vault::error::Result<T>, is_tree: bool) -> bool {
    use vault::error::Error::Repository;
    match done {
        Ok(_) => is_tree,
        Err(error) => matches!(error, Repository(vault::repository::Error::NoPath { .. })),
    }
}

fn end(report: &restore::Report, lost: Option<&str>, told: &Told<'_>) -> Outcome {
    if report.left.is_empty() && report.failed.is_empty() {
        return lost.map_or(Ok(code::DONE), |lost| Err(told.failure(lost)));
    }
    let (left, failed) = (report.left.len() as u64, report.failed.len() as u64);
    let counts = [
        (left, render::count(left, "existing entry stays as it is", "existing entries stay as they are")),
        (failed, render::count(failed, "entry failed", "entries failed")),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text);
    let counts: Vec<String> = counts.chain(lost.map(str::to_owned)).collect();
    let text = format!("the restore is not complete: {}", counts.join(", "));
    Err(Failure::new(code::FAILED, text).hint(if report.left.is_empty() {
        "see above"
    } else {
        "restore to another folder, or say --overwrite if-changed"
    }))
}

/// One restore, looked at before the question and then done.
struct Job<'a> {
    repository: &'a Repository,
    address: &'a Address<'a>,
    directory: &'a Path,
}

impl Job<'_> {
    fn restore(&self, options: &restore::Options, progress: &dyn Progress) -> vault::error::Result<restore::Report> {
        restore::restore(self.repository, self.address, self.directory, options, progress)
    }
}

/// Warnings, and what was deleted or kept beyond the wish.
fn tell(session: &Session, directory: &Path, report: &restore::Report) {
    if session.global.quiet {
        return;
    }
    report.warnings.iter().for_each(|warning| render::complain(warning));
    for (run, leftover) in report.changes.leftovers.iter().filter(|_| report.changes.deleted.count == 0) {
        let entries = render::count(leftover.entries, "unfinished entry", "unfinished entries");
        let (size, place) = (render::size(leftover.bytes), directory.display());
        render::complain(&format!(
            "note: a restore that was cut off has left {entries} ({size}); if it is not running: \
             find {place} -name '{run}*' -delete"
        ));
    }
    let (kept, owned) = (&report.changes.kept, &report.changes.owned);
    if kept.count > 0 {
        let entries = render::count(kept.count, "entry that was", "entries that were");
        render::complain(&format!("note: {entries} never a part of the snapshot stay"));
        kept.first.iter().for_each(|name| render::complain(&format!("  {name}")));
    }
    if owned.count > 0 {
        let entries = render::count(owned.count, "entry belongs", "entries belong");
        render::complain(&format!(
            "note: {entries} to others in the snapshot, and to you here: only root can give them back"
        ));
    }
}

fn show(
    session: &Session,
    arguments: &Arguments,
    directory: &Path,
    snapshot: &SnapshotEntry,
    report: &restore::Report,
) {
    let changes = &report.changes;
    if session.global.json {
        render::json(&Restored {
            snapshot: snapshot.id.to_string(),
            name: &snapshot.head.source,
            time: render::time_rfc3339(snapshot.counted.time),
            target: directory.display().to_string(),
            dry_run: arguments.dry_run,
            files: report.files,
            bytes: report.bytes,
            same: report.same,
            mended: changes.mended.count,
            replaced: changes.replaced.count,
            deleted: changes.deleted.count,
            kept: changes.kept.count,
            left: report.left.iter().map(ToString::to_string).collect(),
            failed: &report.failed,
            warnings: &report.warnings,
            notes: &report.notes,
        });
    }
    let would = arguments.dry_run;
    for (verb, named) in [
        (if would { "would replace" } else { "replaced" }, &changes.replaced),
        (if would { "would mend" } else { "mended" }, &changes.mended),
        (if would { "would delete" } else { "deleted" }, &changes.deleted),
    ] {
        if named.count > 0 {
            session.say(&format!("{verb} {}", render::count(named.count, "entry:", "entries:")));
            named.first.iter().for_each(|name| session.say(&format!("  {}", render::safe(name))));
            if named.more() > 0 {
                session.say(&format!("  and {} more; -v names all", named.more()));
            }
        }
    }
    let same = match report.same {
        0 => String::new(),
        same => format!("; {} there already", render::count(same, "entry was", "entries were")),
    };
    session.say(&format!(
        "{} snapshot {} of {} ({}) {} {}: {}, {}{same}",
        if arguments.dry_run { "would restore" } else { "restored" },
        snapshot.id.short(),
        snapshot.head.source,
        render::time(snapshot.counted.time),
        if arguments.dry_run { "into" } else { "to" },
        render::safe(&directory.display().to_string()),
        render::count(report.files, "file", "files"),
        render::size(report.bytes),
    ));
}

fn left_line(left: &restore::Left) -> String {
    if left.how.is_some() { left.to_string() } else { format!("{left}: it exists and differs, so it was left") }
}

fn options(arguments: &Arguments, name_all: bool) -> restore::Options {
    restore::Options {
        include: address::bytes(&arguments.include),
        exclude: address::bytes(&arguments.exclude),
        target: TargetOptions {
            overwrite: match arguments.overwrite {
                Overwrite::Never => restore::Overwrite::Never,
                Overwrite::IfChanged => restore::Overwrite::IfChanged,
                Overwrite::Always => restore::Overwrite::Always,
            },
            delete_extra: arguments.delete_extra,
            dry_run: arguments.dry_run,
            numeric_owner: arguments.numeric_owner,
            name_all,
            nonce: 0,
        },
        verify: arguments.verify,
        ignore_room: arguments.ignore_room,
    }
}

/// Asks before anything that exists is replaced or removed: first all is looked at, so that the question can count.
fn permit(session: &Session, arguments: &Arguments, options: &restore::Options, job: &Job<'_>) -> Result<(), Failure> {
    let harmless = arguments.overwrite == Overwrite::Never && !arguments.delete_extra;
    let is_empty = std::fs::read_dir(job.directory).map_or(true, |mut entries| entries.next().is_none());
    if harmless || arguments.dry_run || session.global.yes || is_empty {
        return Ok(());
    }
    let target = TargetOptions { dry_run: true, ..options.target };
    let look = job.restore(&restore::Options { target, ..options.clone() }, &Silent);
    let report = look.context(&format!("cannot restore {}", arguments.address.display()))?;
    let changes = &report.changes;
    let kinds = [("replaced", &changes.replaced), ("mended", &changes.mended), ("deleted", &changes.deleted)];
    let counts = kinds.iter().filter(|(_, named)| named.count > 0).map(|(verb, named)| {
        let entries = render::count(named.count, "entry", "entries");
        format!("{entries} will be {verb}{}.", names_line(&named.first, named.count))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() {
        return Ok(());
    }
    let place = job.directory.display();
    secret::confirm(&session.global, &format!("In {place}: {}", counts.join(" ")))
}
