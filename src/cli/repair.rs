//! `vault repair`: brings back what can be brought back, and tells exactly what can't. Damage goes to standard error, so
//! that it is heard in a crontab too; what stays damaged makes the exit code that of check.

use super::printed::printed;
use super::{Context, Outcome, Session, code, render, secret};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use vault::repair::{self, Report};
use vault::repository::Repository;

/// How many lost paths are named unless more is asked for.
const PATHS_SHOWN: usize = 20;
/// The same of snapshots that lost something.
const LOST_SHOWN: usize = 8;

/// Bring back what is damaged or missing
///
/// Reads every pack, rebuilds the index of those that have none, and stores again what still decodes in damaged packs or
/// lies in another repository with the same ids. Snapshots that lost something are kept; a copy without the lost files,
/// tagged `repaired`, is put beside each. Nothing is written where nothing is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault repair --dry-run
  vault repair --from 's3://offsite/app?region=eu-west-1'")]
pub struct Arguments {
    /// Fetch what is missing from this repository: a copy, made with `init --like`
    #[arg(long, value_name = "LOCATION")]
    from: Option<String>,
    /// Pass over this torn or unreadable object from now on (its name, or its id or the beginning of it), and do no more
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    quarantine: Option<String>,
    /// Take the store as it is, an older copy that lacks orders or what this machine saw, and do no more
    #[arg(long, conflicts_with_all = ["from", "quarantine", "structure_only"])]
    accept_older: bool,
    /// Only tell what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Trust packs that are there with the right size, without reading them
    #[arg(long, conflicts_with = "quarantine")]
    structure_only: bool,
    /// Password of the other repository: the first line of this file [or in VAULT_FROM_PASSWORD; default: the same]
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with_all = ["from_password_command", "from_key_file"])]
    from_password_file: Option<PathBuf>,
    /// Password of the other repository: the first line that this prints
    #[arg(long, value_name = "COMMAND", requires = "from", conflicts_with = "from_key_file")]
    from_password_command: Option<OsString>,
    /// Open the other repository with an exported key [its text can be given in VAULT_FROM_KEY]
    #[arg(long, value_name = "FILE", requires = "from")]
    from_key_file: Option<PathBuf>,
}

printed! {
    /// What `vault repair` prints.
    struct Repaired<'a>(dry_run: bool, report: &'a Report) {
        /// Nothing was wrong.
        healthy: bool = report.is_healthy(),
        /// Nothing stays damaged or lost.
        whole: bool = report.is_whole(),
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Objects of the config that were restored from each other.
        config: &'a [String] = &report.config,
        /// Packs that are damaged or missing, with the reason.
        damaged_packs: &'a [String] = &report.damaged_packs,
        /// Packs that got an index.
        indexed_packs: u64 = report.indexed_packs,
        /// Index objects that were replaced, or are damaged and not needed any more.
        replaced_indexes: u64 = report.replaced_indexes,
        /// Blobs stored again from places in this repository.
        salvaged_blobs: u64 = report.salvaged_blobs,
        /// Blobs stored again from the other repository.
        fetched_blobs: u64 = report.fetched_blobs,
        /// Blobs that snapshots need and nobody has.
        lost_blobs: u64 = report.lost_blobs,
        /// Snapshots that lost something.
        lost: Vec<Lost<'a>> = report.lost.iter().map(Lost::of).collect(),
        /// Objects that repair can't mend, with the reason.
        left: &'a [String] = &report.left,
        /// Things worth knowing that are no damage.
        notes: &'a [String] = &report.notes,
        /// Packs looked at.
        packs: u64 = report.packs,
        /// Stored bytes read.
        read_bytes: u64 = report.read_bytes,
        /// Bytes of new packs.
        stored_bytes: u64 = report.stored_bytes,
    }

    /// A snapshot that lost something.
    struct Lost<'a>(lost: &'a repair::Lost) {
        /// Its id; it is kept.
        snapshot: String = lost.snapshot.to_string(),
        /// Name of its source.
        name: &'a str = &lost.name,
        /// Its time.
        time: String = render::time_rfc3339(lost.time),
        /// Id of the copy without what is lost; null for a dry run, or if nothing is left.
        copy: Option<String> = lost.copy.map(|copy| copy.to_string()),
        /// Files and folders that can't be restored in full.
        paths: &'a [String] = &lost.paths,
    }

    /// What `vault repair --accept-older` prints.
    struct Accepted<'a>(done: &'a repair::Accepted, dry_run: bool) {
        /// What was missing and is missed no longer.
        missing: &'a [String] = &done.missing,
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Ids of the orders that say so.
        orders: Vec<String> = done.orders.iter().map(ToString::to_string).collect(),
    }

    /// What `vault repair --quarantine ID` prints.
    struct Quarantined<'a>(done: &'a repair::Quarantined, dry_run: bool) {
        /// Name of the object that is passed over from now on.
        quarantined: &'a str = &done.name,
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Ids of the orders that say so.
        orders: Vec<String> = done.orders.iter().map(ToString::to_string).collect(),
    }
}

/// Repairs.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    if arguments.accept_older {
        return accept(session, &session.open()?, arguments.dry_run);
    }
    if let Some(object) = &arguments.quarantine {
        return quarantine(session, &session.open()?, object, arguments.dry_run);
    }
    let (repository, from) = match &arguments.from {
        Some(from) => {
            let flags = secret::Flags {
                missing: None,
                file: arguments.from_password_file.as_ref(),
                command: arguments.from_password_command.as_ref(),
                key: arguments.from_key_file.as_ref(),
                variable: "VAULT_FROM_PASSWORD",
                key_variable: "VAULT_FROM_KEY",
            };
            let (repository, from) = session.open_two(from, &flags)?;
            (repository, Some(from))
        }
        None => (session.open()?, None),
    };
    let (structure_only, dry_run) = (arguments.structure_only, arguments.dry_run);
    let options = repair::Options { structure_only, dry_run };
    let progress = session.progress("repairing").watch(repository.backend());
    let report = progress.during(|progress| repair::repair(&repository, from.as_ref(), &options, progress));
    let report = report.context("cannot repair the repository")?;
    session.global.print(&Repaired::of(dry_run, &report));
    tell(session, &report, dry_run);
    session.say_notes(&report.notes);
    summary(session, dry_run, &report);
    session.say_requests(&repository);
    Ok(if report.is_whole() { code::DONE } else { code::DAMAGE })
}

fn accept(session: &Session, repository: &Repository, dry_run: bool) -> Outcome {
    let done = repair::accept(repository, dry_run).context("cannot accept an older copy")?;
    session.global.print(&Accepted::of(&done, dry_run));
    done.missing.iter().for_each(|line| session.say(line));
    let verb = if dry_run { "would accept" } else { "accepted" };
    session.say(&format!("{verb} the store without {}", render::count(done.missing.len() as u64, "object", "objects")));
    session.say_requests(repository);
    Ok(code::DONE)
}

fn quarantine(session: &Session, repository: &Repository, object: &str, dry_run: bool) -> Outcome {
    let done = repair::quarantine(repository, object, dry_run).context("cannot quarantine")?;
    session.global.print(&Quarantined::of(&done, dry_run));
    let verb = if dry_run { "would pass" } else { "everybody passes" };
    session.say(&format!("{verb} over {} from now on", done.name));
    Ok(code::DONE)
}

/// What is wrong, one line each.
fn tell(session: &Session, report: &Report, dry_run: bool) {
    render::complain_each(&report.damaged_packs);
    render::complain_each(&report.left);
    for lost in &report.lost {
        let what = format!("snapshot {} of {} ({})", lost.snapshot.short(), lost.name, render::time(lost.time));
        let rest = match lost.copy {
            Some(copy) => format!("; without them it is snapshot {}", copy.short()),
            None if dry_run => String::new(),
            None => "; no new copy was made".into(),
        };
        let count = render::count(lost.paths.len() as u64, "path is", "paths are");
        render::complain(&format!("{what}: {count} lost{rest}"));
    }
    let all = lost_paths(&report.lost);
    let shown = if session.global.verbose { all.len() } else { PATHS_SHOWN };
    all.iter().take(shown).for_each(|line| render::complain(line));
    let more = all.len().saturating_sub(shown);
    if more > 0 {
        render::complain(&format!("and {}; -v names all", render::count(more as u64, "path more", "paths more")));
    }
}

/// Each lost path once, with the snapshots that lost it.
fn lost_paths(lost: &[repair::Lost]) -> Vec<String> {
    let mut holders: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for one in lost {
        for path in &one.paths {
            holders.entry((&one.name, path)).or_default().push(one.snapshot.short());
        }
    }
    let line = |((name, path), ids): ((&str, &str), Vec<String>)| match ids.as_slice() {
        [only] => format!("lost: {only}:{path}"),
        [first, .., last] => format!("lost: {name}:{path} in {} snapshots, {first} to {last}", ids.len()),
        [] => String::new(),
    };
    holders.into_iter().map(line).collect()
}

fn summary(session: &Session, dry_run: bool, report: &Report) {
    let looked =
        format!("looked at {}, {} read", render::count(report.packs, "pack", "packs"), render::size(report.read_bytes));
    if report.is_healthy() {
        session.say(&format!("nothing to repair: {looked}"));
        return;
    }
    report.config.iter().for_each(|name| session.say(&format!("{name} restored from its copy")));
    let mut parts = render::counts([
        (report.damaged_packs.len() as u64, "pack is damaged", "packs are damaged"),
        (report.indexed_packs, "pack entered into the index again", "packs entered into the index again"),
        (report.salvaged_blobs, "piece stored again from here", "pieces stored again from here"),
        (report.fetched_blobs, "piece fetched from the other repository", "pieces fetched from the other repository"),
    ]);
    if report.stored_bytes > 0 {
        parts.push(format!("{} written", render::size(report.stored_bytes)));
    }
    parts.extend(render::counts([(report.lost_blobs, "piece lost", "pieces lost")]));
    let verb = if dry_run { "would repair" } else { "repaired" };
    let what = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let is_as_before = report.damaged_packs.is_empty()
        && report.indexed_packs + report.replaced_indexes + report.salvaged_blobs + report.fetched_blobs == 0
        && report.config.is_empty()
        && report.lost.iter().all(|lost| lost.copy.is_none());
    if is_as_before && report.lost_blobs > 0 {
        let verb = if dry_run { "repair would bring" } else { "repair brought" };
        let lost = render::count(report.lost_blobs, "piece stays", "pieces stay");
        session.say(&format!("{verb} back nothing new: {lost} lost"));
    } else {
        session.say(&format!("{verb}{what}"));
    }
    session.say(&looked);
    lost_for_good(&report.lost).iter().for_each(|line| session.say(line));
    if !report.left.is_empty() {
        session.say("what stays unreadable stops prune, until `vault repair --quarantine ID` has it passed over");
    }
}

/// What is lost here, and the ways on.
fn lost_for_good(lost: &[repair::Lost]) -> Vec<String> {
    let count = |one: &repair::Lost| render::count(one.paths.len() as u64, "path", "paths");
    let line = |one: &repair::Lost| format!("lost for good here: {} of {}", count(one), one.snapshot.short());
    let mut lines: Vec<String> = lost.iter().take(LOST_SHOWN).map(line).collect();
    let more = lost.len().saturating_sub(LOST_SHOWN);
    if more > 0 {
        lines.push(format!("and of {}", render::count(more as u64, "snapshot more", "snapshots more")));
    }
    if !lost.is_empty() {
        let pairs: Vec<(String, &str)> = lost.iter().map(|one| (one.snapshot.short(), one.name.as_str())).collect();
        lines.extend(ways(pairs.iter().map(|(id, name)| (id.as_str(), *name))));
    }
    lines
}

/// How a loss ends, given ids and sources of the snapshots that have it: none of these is another repair of the same.
pub fn ways<'a>(lost: impl Iterator<Item = (&'a str, &'a str)>) -> [String; 3] {
    let (ids, names): (Vec<&str>, BTreeSet<&str>) = lost.unzip();
    let names: Vec<String> = names.into_iter().map(render::safe).collect();
    let ids = if ids.len() > LOST_SHOWN { "ID...".to_owned() } else { ids.join(" ") };
    [
        format!("  if the files still exist: take a snapshot of {} again", names.join(", ")),
        "  with a copy of the repository: `vault repair --from LOCATION`".to_owned(),
        format!("  else: `vault forget {ids}`, then `vault prune`: check is clean again"),
    ]
}

#[cfg(test)]
mod tests {
    use super::lost_paths;
    use vault::repair::Lost;
    use vault::time::WallTime;
    use vault_format::id::ObjectId;

    #[test]
    fn the_ways_out_of_a_loss_name_its_snapshots() {
        let told = super::ways([("01010101", "a"), ("02020202", "a")].into_iter()).join("\n");
        assert!(told.contains("snapshot of a again") && told.contains("`vault forget 01010101 02020202`"), "{told}");
        let many = vec![("01010101", "a"); 30];
        assert!(super::ways(many.into_iter()).join("\n").contains("`vault forget ID...`"));
    }

    #[test]
    fn a_path_that_many_snapshots_lost_is_named_once() {
        let lost = |number: u8, name: &str, paths: &[&str]| Lost {
            snapshot: ObjectId([number; 32]),
            name: name.to_owned(),
            time: WallTime::default(),
            copy: None,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        let all = [lost(1, "a", &["/x", "/y"]), lost(2, "a", &["/x"]), lost(3, "a", &["/x"]), lost(4, "b", &["/x"])];
        let lines = lost_paths(&all);
        assert_eq!(
            lines,
            ["lost: a:/x in 3 snapshots, 01010101 to 03030303", "lost: 01010101:/y", "lost: 04040404:/x"]
        );
    }
}
