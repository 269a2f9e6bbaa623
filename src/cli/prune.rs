//! `vault prune`: frees what no snapshot needs. Deletes what an earlier run condemned long enough ago, and condemns what
//! nothing needs now; the space comes back with the next run after the grace.

use super::printed::printed;
use super::{Context, Failure, Outcome, Session, code, hint, render, secret};
use std::io::IsTerminal;
use std::time::Duration;
use vault::backend::ErrorKind;
use vault::prune::{self, LeftOut, PlanFigures, Report, Unfinished, Unused};
use vault::repository;
use vault::repository::Repository;
use vault::size;
use vault::time::parse_duration;

/// Free the space of forgotten snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault prune --dry-run
  vault prune --max-unused 5% --max-repack 20GiB --quiet")]
pub struct Arguments {
    /// Time between condemning and deleting; 0s frees at once, what earlier runs marked too, and is right only while
    /// nobody else writes: at a terminal that is asked, elsewhere taken as said [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Garbage that may stay because it shares frames with what is needed: part of what lives, or a size
    #[arg(long, value_name = "PERCENT|SIZE", default_value = "10%", value_parser = parse_unused)]
    max_unused: Unused,
    /// Repack at most this much in one run, what is merged because it is small included
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_repack: Option<u64>,
    /// Free also what a domain holds that has no snapshot and no record of one
    #[arg(long)]
    without_snapshots: bool,
    /// Look and say what would be done, but do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Arguments {
    /// What `vault forget --prune` runs.
    pub fn after_forget(grace: Option<Duration>, dry_run: bool) -> Self {
        let max_unused = prune::Options::default().max_unused;
        Self { grace, max_unused, max_repack: None, without_snapshots: false, dry_run }
    }
}

fn parse_unused(text: &str) -> Result<Unused, String> {
    let wrong = || "say a part like 10% or 2.5%, or a size like 5GB".to_owned();
    let Some(percent) = text.trim().strip_suffix('%') else {
        return size::parse(text).map(Unused::Bytes).map_err(|_| wrong());
    };
    let (whole, tenths) = percent.trim().split_once('.').unwrap_or((percent.trim(), "0"));
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number <= 100_000);
    match (number(whole), number(tenths)) {
        (Some(whole), Some(tenths)) if tenths < 10 => Ok(Unused::Thousandths(whole * 10 + tenths)),
        _ => Err(wrong()),
    }
}

printed! {
    /// What `vault prune` prints.
    struct Pruned<'a>(dry_run: bool, report: &'a Report, figures: &PlanFigures) {
        /// Nothing was written or deleted.
        dry_run: bool = dry_run,
        /// Snapshots deleted.
        deleted_snapshots: u64 = report.swept.snapshots,
        /// Packs deleted.
        deleted_packs: u64 = report.swept.packs,
        /// Their bytes.
        deleted_bytes: u64 = report.swept.bytes,
        /// Blobs that had to be copied first.
        rescued_blobs: u64 = report.swept.rescued_blobs,
        /// Marks that are not old enough yet.
        waiting_marks: u64 = report.swept.waiting,
        /// Id of the mark; null if nothing was condemned.
        mark: Option<String> = report.marked.mark.map(|mark| mark.to_string()),
        /// Snapshots that will be deleted.
        condemned_snapshots: u64 = report.marked.snapshots.len() as u64,
        /// Packs that will be deleted.
        condemned_packs: u64 = report.marked.packs.len() as u64,
        /// Their bytes.
        condemned_bytes: u64 = report.marked.bytes,
        /// Of these, packs whose needed part was written again.
        repacked_packs: u64 = figures.repacked_packs,
        /// Their bytes.
        repacked_bytes: u64 = figures.repacked_bytes,
        /// Of these, packs that are merged because they are small.
        merged_packs: u64 = figures.merged_packs,
        /// Requests to read for that.
        reads: u64 = figures.reads,
        /// Bytes read.
        read_bytes: u64 = figures.read_bytes,
        /// New packs.
        writes: u64 = figures.writes,
        /// Their bytes.
        written_bytes: u64 = figures.written_bytes,
        /// Bytes that are free in the end.
        freed_bytes: u64 = figures.freed_bytes(),
        /// Packs that stay.
        kept_packs: u64 = figures.kept_packs,
        /// Their bytes.
        kept_bytes: u64 = figures.kept_bytes,
        /// Stored bytes of what snapshots need.
        live_bytes: u64 = figures.live_bytes,
        /// Dead, but kept: bytes that share a frame with needed ones.
        neighbour_bytes: u64 = figures.neighbour_bytes,
        /// Of snapshots that are gone, but needed: what newer versions are stored as the difference to.
        base_bytes: u64 = figures.base_bytes,
        /// Dead, but kept: whole frames in packs that stay.
        loose_bytes: u64 = figures.loose_bytes,
        /// Index objects put in place of many.
        merged_indexes: u64 = report.merged_indexes,
        /// Old marks deleted.
        old_marks: u64 = report.old_marks,
        /// Journal records, and months of them, put together.
        merged_records: u64 = report.merged_records,
        /// Those that were deleted, since months of the journal hold them.
        deleted_records: u64 = report.deleted_records,
        /// Packs kept for runs that may go on.
        unfinished_packs: u64 = report.unfinished.packs,
        /// Their bytes.
        unfinished_bytes: u64 = report.unfinished.bytes,
        /// Until when the last of them is kept; null if there is none.
        unfinished_until: Option<String> = report.unfinished.until.map(render::time_rfc3339),
        /// Unfinished files removed, by a grace of 0.
        leftover_files: u64 = report.leftovers.files,
        /// Their bytes.
        leftover_bytes: u64 = report.leftovers.bytes,
        /// Things worth knowing.
        notes: &'a [String] = &report.notes,
        /// Domains that can't be judged, so that nothing of them was condemned or deleted; the exit code is 3.
        left_out: Vec<Left<'a>> = report.left_out.iter().map(Left::of).collect(),
    }

    /// A domain that can't be judged.
    struct Left<'a>(left: &'a LeftOut) {
        /// Its id.
        domain: String = left.domain.to_string(),
        /// What it is called.
        name: &'a str = &left.name,
        /// Why it can't be judged.
        reason: String = left.doubt.to_string(),
    }
}

/// Prunes.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    run_in(session, &session.open()?, arguments)
}

/// The same in a repository that is open.
pub fn run_in(session: &Session, repository: &Repository, arguments: &Arguments) -> Outcome {
    let grace = arguments.grace.unwrap_or(repository.options().grace);
    if !arguments.dry_run && grace < repository.shortest_grace() {
        warn(session, grace)?;
    }
    let options = prune::Options {
        grace: arguments.grace,
        max_unused: arguments.max_unused,
        max_repack: arguments.max_repack,
        without_snapshots: arguments.without_snapshots,
        dry_run: arguments.dry_run,
        ..prune::Options::default()
    };
    let progress = session.progress("repacking").watch(repository.backend());
    let report = progress.during(|progress| prune::prune(repository, &options, progress));
    let report = match report {
        Err(vault::error::Error::Repository(repository::Error::Backend(error))) if error.kind == ErrorKind::NoSpace => {
            return Err(Failure::failed(format!("cannot prune: {error}")).hint(
                "prune writes a mark and a record, a few kilobytes, before it deletes anything: remove something else \
                 from that disk, then run `vault prune --grace 0s` while nobody writes",
            ));
        }
        report => report.context("")?,
    };
    session.global.print(&Pruned::of(arguments.dry_run, &report, &report.marked.figures));
    report.notes.iter().for_each(|note| session.global.remark(note));
    show(session, arguments, &report, grace);
    session.say_requests(repository);
    for LeftOut { name, doubt, .. } in &report.left_out {
        let reason = super::plain::line(&doubt.to_string());
        render::complain(&format!("left out {}: {reason}{}", render::safe(name), hint::of_doubt(doubt)));
    }
    Ok(if report.left_out.is_empty() { code::DONE } else { code::PARTIAL })
}

fn warn(session: &Session, grace: Duration) -> Result<(), Failure> {
    let text = format!(
        "{} a snapshot that is being taken at the same time can lose its data.",
        match u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX) {
            0 => "without a grace".to_owned(),
            grace => format!("with a grace of {}", render::duration(grace)),
        }
    );
    if !session.global.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return secret::confirm(&session.global, &format!("{text} Is nobody writing?"));
    }
    session.global.remark(&format!("note: {text}"));
    Ok(())
}

/// What is kept for a run that may go on, in words.
pub fn unfinished(kept: &Unfinished) -> Option<String> {
    let until = kept.until.map_or(String::new(), |at| format!(", until {}", render::time(at)));
    let packs = render::count(kept.packs, "pack", "packs");
    (kept.packs > 0).then(|| format!("kept for runs that may go on: {}, {packs}{until}", render::size(kept.bytes)))
}

fn show(session: &Session, arguments: &Arguments, report: &Report, grace: Duration) {
    let (swept, marked, figures) = (&report.swept, &report.marked, &report.marked.figures);
    let done = |would: &str, did: &str| if arguments.dry_run { format!("would {would}") } else { did.to_owned() };
    let what = |snapshots: u64, packs: u64, bytes: u64| {
        let snapshots =
            render::if_any(snapshots, |all| format!("{} and ", render::count(all, "snapshot", "snapshots")));
        format!("{snapshots}{} in {}", render::size(bytes), render::count(packs, "pack", "packs"))
    };
    if swept.marks > 0 {
        let deleted = what(swept.snapshots, swept.packs, swept.bytes);
        let by = if grace.is_zero() { "" } else { ", marked by an earlier run" };
        session.say(&format!("{} {deleted}{by}", done("delete", "deleted")));
    }
    let is_more = !marked.snapshots.is_empty() || !marked.packs.is_empty();
    if is_more && (arguments.dry_run || !grace.is_zero()) {
        let condemned = what(marked.snapshots.len() as u64, marked.packs.len() as u64, marked.bytes);
        session.say(&format!("{} {condemned}", done("mark", "marked")));
    }
    if figures.repacked_packs > 0 {
        let rest = figures.repacked_packs.saturating_sub(figures.merged_packs);
        let why = match (figures.merged_packs, rest) {
            (0, _) => "without what is not needed",
            (_, 0) => "that were small, as few",
            _ => "that were small, or hold much that is not needed",
        };
        session.say(&format!(
            "{} {} in {} {why}: {} read, {} written",
            done("rewrite", "rewrote"),
            render::size(figures.repacked_bytes),
            render::count(figures.repacked_packs, "pack", "packs"),
            render::size(figures.read_bytes),
            render::size(figures.written_bytes),
        ));
    }
    if report.is_idle {
        session.say("nothing marked or freed: no domain can be judged");
    } else {
        session.say(&freed(session, arguments, report, grace));
    }
    kept(session, figures);
    if report.leftovers.files > 0 {
        let files = render::count(report.leftovers.files, "unfinished file", "unfinished files");
        session.say(&format!("removed {files}, {}", render::size(report.leftovers.bytes)));
    }
    if let Some(kept) = unfinished(&report.unfinished) {
        session.say(&kept);
        session.say("  if nobody writes, `vault prune --grace 0s` frees it now");
    }
    if swept.waiting > 0 {
        let marks = render::count(swept.waiting, "earlier run waits", "earlier runs wait");
        session.say(&format!("what {marks} to delete goes once its grace is over: prune again then,"));
        session.say("  or now, if nobody writes: `vault prune --grace 0s`");
    }
}

/// What comes free, and when: a mark alone frees nothing.
fn freed(session: &Session, arguments: &Arguments, report: &Report, grace: Duration) -> String {
    let (swept, figures) = (&report.swept, &report.marked.figures);
    let needed = render::size(figures.live_bytes.saturating_add(figures.base_bytes));
    let later = figures.freed_bytes();
    if grace.is_zero() {
        // what was marked is among what was swept, unless nothing was done
        return if arguments.dry_run {
            format!("would free {}; {needed} are needed", render::size(later.saturating_add(swept.bytes)))
        } else {
            format!("freed {}; {needed} are needed", render::size(swept.bytes.saturating_sub(figures.written_bytes)))
        };
    }
    if later == 0 {
        return format!("nothing more to free; {needed} are needed");
    }
    let due = render::time(session.runtime.clock.now() + grace);
    format!("{} come free with a prune after {due}; {needed} stay", render::size(later))
}

/// What nothing needs, and why it stays.
fn kept(session: &Session, figures: &PlanFigures) {
    let (beside, bases, loose) = (figures.neighbour_bytes, figures.base_bytes, figures.loose_bytes);
    if bases > 0 {
        let bases = render::size(bases);
        session.say_notes(&[format!("of what is needed, {bases} are older versions that newer ones rest on")]);
    }
    let all = beside.saturating_add(loose);
    if all == 0 {
        return;
    }
    session.say(&format!("{} more stay beside them: not worth rewriting (--max-unused)", render::size(all)));
    let parts = [(beside, "in frames with needed data"), (loose, "in packs with needed data")];
    let parts: Vec<String> = parts.iter().map(|(bytes, why)| format!("{} {why}", render::size(*bytes))).collect();
    session.say_notes(&[format!("of these {}", parts.join(", "))]);
}
