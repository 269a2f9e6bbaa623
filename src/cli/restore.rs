//! `vault restore`: brings a snapshot, or a part of it, back into a folder or onto standard output. What exists is only
//! replaced after a yes; what stays or fails is named, and the exit code tells.

use super::lacks::{Told, names_line};
use super::progress::Bar;
use super::{Context, Failure, Outcome, Session, address, choice, code, hint, output, printed, render, secret};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use vault::error::{self, Error};
use vault::list;
use vault::progress::{Progress, Silent};
use vault::repository::SnapshotEntry;
use vault::restore::{self, Changes, Overwrite, Report, TargetOptions};

/// What --overwrite takes.
const OVERWRITE: [(&str, &str, Overwrite); 3] = [
    ("never", "It stays, and is named", Overwrite::Never),
    (
        "if-changed",
        "It is replaced if type, size, time or target differ; if only mode, owner or attributes do, they are set",
        Overwrite::IfChanged,
    ),
    ("always", "It is replaced", Overwrite::Always),
];

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
    #[arg(long, default_value = "never", value_name = "WHEN", value_parser = choice::one_of(OVERWRITE))]
    overwrite: Overwrite,
    /// Remove what the snapshot was taken of and lacks. What it left out, could not read, or did not enter stays, and so
    /// do other file systems
    #[arg(long)]
    delete_extra: bool,
    /// Restore owners by number instead of by name
    #[arg(long)]
    numeric_owner: bool,
    /// Make no devices and no pipes, for a snapshot of somebody whom you do not trust
    #[arg(long)]
    no_devices: bool,
    /// Restore no set-uid and set-gid bits and no capabilities, for the same
    #[arg(long)]
    no_setuid: bool,
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
    #[arg(long, conflicts_with_all = ["include", "exclude", "overwrite", "delete_extra", "numeric_owner", "no_devices", "no_setuid", "verify", "ignore_room", "dry_run"])]
    stdout: bool,
    /// With --stdout: write everything as a tar archive
    #[arg(long, requires = "stdout")]
    tar: bool,
}

printed! {
    /// What `vault restore` prints.
    struct Restored<'a>(dry_run: bool, directory: &Path, snapshot: &'a SnapshotEntry, report: &'a Report) {
        /// Id of the snapshot.
        snapshot: String = snapshot.id.to_string(),
        /// Name of its source.
        name: &'a str = &snapshot.head.source,
        /// Its time.
        time: String = render::time_rfc3339(snapshot.counted.time),
        /// Where it was restored.
        target: String = directory.display().to_string(),
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Files written.
        files: u64 = report.files,
        /// Their bytes.
        bytes: u64 = report.bytes,
        /// Entries that were there already and are the same.
        same: u64 = report.same,
        /// Entries that were there, and of which mode, owner or attributes were set.
        mended: u64 = report.changes.mended.count,
        /// Entries that were replaced.
        replaced: u64 = report.changes.replaced.count,
        /// Extra entries that were deleted.
        deleted: u64 = report.changes.deleted.count,
        /// Extra entries that were never a part of the snapshot, and stay.
        kept: u64 = report.changes.kept.count,
        /// Devices and pipes that were not made, by --no-devices.
        not_made: u64 = report.not_made,
        /// Entries restored without set-uid and set-gid bits and capabilities, by --no-setuid.
        without_setuid: u64 = report.without_setuid,
        /// Entries that differ and were left.
        left: Vec<String> = report.left.iter().map(ToString::to_string).collect(),
        /// Entries that could not be restored, each with the reason.
        failed: &'a [String] = &report.failed,
        /// What everybody should hear of, though nothing failed.
        warnings: &'a [String] = &report.warnings,
        /// Things worth knowing.
        notes: &'a [String] = &report.notes,
    }
}

/// Restores.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = match arguments.stdout {
        true => format!("cannot write {} to standard output", arguments.address.display()),
        false => format!("cannot restore {}", arguments.address.display()),
    };
    if arguments.stdout && std::io::stdout().is_terminal() && arguments.tar {
        return Err(Failure::usage("an archive does not belong on a terminal").hint("send it to a file or a program"));
    }
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let unseen = hint::of_unseen(&list::unseen(&catalog).context(&what)?);
    unseen.iter().for_each(|line| render::complain(line));
    let address = address::find(session, &catalog, &arguments.address, &what)?;
    let options = options(arguments, session.global.verbose);
    let told = Told::of(&repository, &address);
    let progress = || session.progress("restoring").watch(repository.backend());
    let Some(directory) = &arguments.target else {
        told.say(session);
        let (progress, mut out) = (progress(), std::io::BufWriter::with_capacity(1 << 16, output::Output));
        let done = progress.during(|progress| {
            restore::restore_to(&repository, &address, arguments.tar, &mut out, progress)
                .and_then(|()| out.flush().map_err(Error::Output))
        });
        if matches!(&done, Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe) {
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
    let restore = |options: &restore::Options, progress: &dyn Progress| {
        restore::restore(&repository, &address, directory, options, progress)
    };
    if is_to_ask(session, arguments, directory) {
        // all is looked at first, so that the question can count
        let target = TargetOptions { dry_run: true, ..options.target };
        let looked = restore(&restore::Options { target, ..options.clone() }, &Silent).context(&what)?;
        ask(session, directory, &looked.changes)?;
    }
    told.say(session);
    let progress = progress();
    let report = progress.during(|progress| restore(&options, progress));
    let lost = if is_to_compare(&report, true) { told.lost(&options) } else { None };
    if let (Err(_), Some(lost)) = (&report, &lost) {
        return Err(told.failure(lost));
    }
    let mut report = report.context(&what)?;
    session.say_notes(&report.notes);
    report.notes.splice(0..0, unseen.into_iter().chain(told.notes()).chain(lost.clone()));
    tell_damage(&progress, address.snapshot, &report);
    progress.tell(&report.left.iter().map(left_line).collect::<Vec<_>>());
    progress.tell(&report.failed);
    tell(session, directory, &report);
    session.global.print(&Restored::of(arguments.dry_run, directory, address.snapshot, &report));
    show(session, arguments.dry_run, directory, address.snapshot, &report);
    session.say_requests(&repository);
    end(&report, lost.as_deref(), &told)
}

/// Which objects are to blame, once, and what to try.
fn tell_damage(progress: &Bar, snapshot: &SnapshotEntry, report: &Report) {
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
fn is_to_compare<T>(done: &error::Result<T>, is_tree: bool) -> bool {
    match done {
        Ok(_) => is_tree,
        Err(error) => matches!(error, Error::Repository(vault::repository::Error::NoPath { .. })),
    }
}

fn end(report: &Report, lost: Option<&str>, told: &Told<'_>) -> Outcome {
    if report.left.is_empty() && report.failed.is_empty() {
        return lost.map_or(Ok(code::DONE), |lost| Err(told.failure(lost)));
    }
    let counts = render::counts([
        (report.left.len() as u64, "existing entry stays as it is", "existing entries stay as they are"),
        (report.failed.len() as u64, "entry failed", "entries failed"),
    ]);
    let counts: Vec<String> = counts.into_iter().chain(lost.map(str::to_owned)).collect();
    let text = format!("the restore is not complete: {}", counts.join(", "));
    Err(Failure::failed(text).hint(if report.left.is_empty() {
        "see above"
    } else {
        "restore to another folder, or say --overwrite if-changed"
    }))
}

/// Warnings, and what was deleted or kept beyond the wish.
fn tell(session: &Session, directory: &Path, report: &Report) {
    if session.global.quiet {
        return;
    }
    render::complain_each(&report.warnings);
    for (run, leftover) in report.changes.leftovers.iter().filter(|_| report.changes.deleted.count == 0) {
        let entries = render::count(leftover.entries, "unfinished entry", "unfinished entries");
        let (size, place) = (render::size(leftover.bytes), directory.display());
        render::complain(&format!(
            "note: a restore that was cut off has left {entries} ({size}); if it is not running: \
             find {place} -name '{run}*' -delete"
        ));
    }
    let (not_made, without) = (report.not_made, report.without_setuid);
    if not_made > 0 {
        let entries = render::count(not_made, "device or pipe is", "devices and pipes are");
        render::complain(&format!("note: {entries} not made (--no-devices)"));
    }
    if without > 0 {
        let entries = render::count(without, "entry has", "entries have");
        render::complain(&format!("note: {entries} no set-uid or set-gid bit and no capability here (--no-setuid)"));
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

fn show(session: &Session, would: bool, directory: &Path, snapshot: &SnapshotEntry, report: &Report) {
    let changes = &report.changes;
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
    let same = render::if_any(report.same, |same| {
        format!("; {} there already", render::count(same, "entry was", "entries were"))
    });
    let (done, into) = if would { ("would restore", "into") } else { ("restored", "to") };
    session.say(&format!(
        "{done} snapshot {} of {} ({}) {into} {}: {}, {}{same}",
        snapshot.id.short(),
        snapshot.head.source,
        render::time(snapshot.counted.time),
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
            overwrite: arguments.overwrite,
            delete_extra: arguments.delete_extra,
            dry_run: arguments.dry_run,
            numeric_owner: arguments.numeric_owner,
            name_all,
            nonce: 0,
        },
        verify: arguments.verify,
        ignore_room: arguments.ignore_room,
        no_devices: arguments.no_devices,
        no_setuid: arguments.no_setuid,
    }
}

/// True if something that exists may be replaced or removed, and nobody has said yes.
fn is_to_ask(session: &Session, arguments: &Arguments, directory: &Path) -> bool {
    let is_harmless = arguments.overwrite == Overwrite::Never && !arguments.delete_extra;
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    !(is_harmless || arguments.dry_run || session.global.yes || is_empty)
}

fn ask(session: &Session, directory: &Path, changes: &Changes) -> Result<(), Failure> {
    let kinds = [("replaced", &changes.replaced), ("mended", &changes.mended), ("deleted", &changes.deleted)];
    let counts = kinds.iter().filter(|(_, named)| named.count > 0).map(|(verb, named)| {
        let entries = render::count(named.count, "entry", "entries");
        format!("{entries} will be {verb}{}.", names_line(&named.first, named.count))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() {
        return Ok(());
    }
    secret::confirm(&session.global, &format!("In {}: {}", directory.display(), counts.join(" ")))
}
