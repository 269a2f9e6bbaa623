//! `vault prune`: frees what no snapshot needs. Deletes what an earlier run condemned long enough ago, and condemns what
//! nothing needs now; the space comes back with the next run after the grace.

use super::exit::{Context, Failure, code};
use super::session::Session;
use super::{Outcome, render, secret, time};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::Duration;
use vault::backend::ErrorKind;
use vault::prune::{self, Unfinished, Unused};
use vault::repository;
use vault::repository::Repository;

/// Free the space of forgotten snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault prune --dry-run
  vault prune --max-unused 5% --max-repack 20GiB --quiet")]
pub struct Arguments {
    /// Time between condemning and deleting; 0s frees at once, what earlier runs marked too, and is right only while
    /// nobody else writes: at a terminal that is asked, elsewhere taken as said [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    grace: Option<Duration>,
    /// Garbage that may stay because it shares frames with what is needed: part of what lives, or a size
    #[arg(long, value_name = "PERCENT|SIZE", default_value = "10%", value_parser = parse_unused)]
    max_unused: Unused,
    /// Repack at most this much in one run
    #[arg(long, value_name = "SIZE", value_parser = render::parse_size)]
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
        return render::parse_size(text).map(Unused::Bytes).map_err(|_| wrong());
    };
    let (whole, tenths) = percent.trim().split_once('.').unwrap_or((percent.trim(), "0"));
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number <= 100_000);
    match (number(whole), number(tenths)) {
        (Some(whole), Some(tenths)) if tenths < 10 => Ok(Unused::Thousandths(whole * 10 + tenths)),
        _ => Err(wrong()),
    }
}

/// What `vault prune` prints.
#[derive(Serialize)]
struct Pruned<'a> {
    /// Nothing was written or deleted.
    dry_run: bool,
    /// Snapshots deleted.
    deleted_snapshots: u64,
    /// Packs deleted.
    deleted_packs: u64,
    /// Their bytes.
    deleted_bytes: u64,
    /// Blobs that had to be copied first.
    rescued_blobs: u64,
    /// Marks that are not old enough yet.
    waiting_marks: u64,
    /// Id of the mark; null if nothing was condemned.
    mark: Option<String>,
    /// Snapshots that will be deleted.
    condemned_snapshots: u64,
    /// Packs that will be deleted.
    condemned_packs: u64,
    /// Their bytes.
    condemned_bytes: u64,
    /// Of these, packs whose needed part was written again.
    repacked_packs: u64,
    /// Their bytes.
    repacked_bytes: u64,
    /// Requests to read for that.
    reads: u64,
    /// Bytes read.
    read_bytes: u64,
    /// New packs.
    writes: u64,
    /// Their bytes.
    written_bytes: u64,
    /// Bytes that are free in the end.
    freed_bytes: u64,
    /// Packs that stay.
    kept_packs: u64,
    /// Their bytes.
    kept_bytes: u64,
    /// Stored bytes of what snapshots need.
    live_bytes: u64,
    /// Dead, but kept: bytes that share a frame with needed ones.
    neighbour_bytes: u64,
    /// Dead, but kept: bases of deltas that are needed.
    base_bytes: u64,
    /// Dead, but kept: whole frames in packs that stay.
    loose_bytes: u64,
    /// Index objects put in place of many.
    merged_indexes: u64,
    /// Old marks deleted.
    old_marks: u64,
    /// Packs kept for runs that may go on.
    unfinished_packs: u64,
    /// Their bytes.
    unfinished_bytes: u64,
    /// Until when the last of them is kept; null if there is none.
    unfinished_until: Option<String>,
    /// Unfinished files removed, by a grace of 0.
    leftover_files: u64,
    /// Their bytes.
    leftover_bytes: u64,
    /// Things worth knowing.
    notes: &'a [String],
}

impl<'a> Pruned<'a> {
    fn of(report: &'a prune::Report, dry_run: bool) -> Self {
        let (swept, marked, figures) = (&report.swept, &report.marked, &report.marked.figures);
        Self {
            dry_run,
            deleted_snapshots: swept.snapshots,
            deleted_packs: swept.packs,
            deleted_bytes: swept.bytes,
            rescued_blobs: swept.rescued_blobs,
            waiting_marks: swept.waiting,
            mark: marked.mark.map(|mark| mark.to_string()),
            condemned_snapshots: marked.snapshots.len() as u64,
            condemned_packs: marked.packs.len() as u64,
            condemned_bytes: marked.bytes,
            repacked_packs: figures.repacked_packs,
            repacked_bytes: figures.repacked_bytes,
            reads: figures.reads,
            read_bytes: figures.read_bytes,
            writes: figures.writes,
            written_bytes: figures.written_bytes,
            freed_bytes: figures.freed_bytes(),
            kept_packs: figures.kept_packs,
            kept_bytes: figures.kept_bytes,
            live_bytes: figures.live_bytes,
            neighbour_bytes: figures.neighbour_bytes,
            base_bytes: figures.base_bytes,
            loose_bytes: figures.loose_bytes,
            merged_indexes: report.merged_indexes,
            old_marks: report.old_marks,
            unfinished_packs: report.unfinished.packs,
            unfinished_bytes: report.unfinished.bytes,
            unfinished_until: report.unfinished.until.map(render::time_rfc3339),
            leftover_files: report.leftovers.files,
            leftover_bytes: report.leftovers.bytes,
            notes: &report.notes,
        }
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
        actor: session.actor(""),
    };
    let progress = session.progress("repacking").watch(repository.backend());
    let report = prune::prune(repository, &options, &progress);
    progress.done();
    let report = match report {
        Err(vault::error::Error::Repository(repository::Error::Backend(error))) if error.kind == ErrorKind::NoSpace => {
            return Err(Failure::new(code::FAILED, super::plain::line(&format!("cannot prune: {error}"))).hint(
                "prune writes a mark and a record, a few kilobytes, before it deletes anything: remove something else \
                 from that disk, then run `vault prune --grace 0s` while nobody writes",
            ));
        }
        report => report.context("")?,
    };
    if session.global.json {
        render::json(&Pruned::of(&report, arguments.dry_run));
    }
    if !session.global.quiet {
        report.notes.iter().for_each(|note| render::complain(note));
    }
    show(session, arguments, &report, grace);
    session.say_requests(repository);
    Ok(code::DONE)
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
    if !session.global.quiet {
        render::complain(&format!("note: {text}"));
    }
    Ok(())
}

/// What is kept for a run that may go on, in words.
pub fn unfinished(kept: &Unfinished) -> Option<String> {
    let until = kept.until.map_or(String::new(), |at| format!(", until {}", render::time(at)));
    let packs = render::count(kept.packs, "pack", "packs");
    (kept.packs > 0).then(|| format!("kept for runs that may go on: {}, {packs}{until}", render::size(kept.bytes)))
}

fn show(session: &Session, arguments: &Arguments, report: &prune::Report, grace: Duration) {
    let (swept, marked, figures) = (&report.swept, &report.marked, &report.marked.figures);
    let done = |would: &str, did: &str| if arguments.dry_run { format!("would {would}") } else { did.to_owned() };
    let what = |snapshots: u64, packs: u64, bytes: u64| {
        let packs = format!("{} in {}", render::size(bytes), render::count(packs, "pack", "packs"));
        if snapshots == 0 {
            packs
        } else {
            format!("{} and {packs}", render::count(snapshots, "snapshot", "snapshots"))
        }
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
        session.say(&format!(
            "{} {} in {} without what is not needed: {} read, {} written",
            done("rewrite", "rewrote"),
            render::size(figures.repacked_bytes),
            render::count(figures.repacked_packs, "pack", "packs"),
            render::size(figures.read_bytes),
            render::size(figures.written_bytes),
        ));
    }
    session.say(&freed(session, arguments, report, grace));
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
fn freed(session: &Session, arguments: &Arguments, report: &prune::Report, grace: Duration) -> String {
    let (swept, figures) = (&report.swept, &report.marked.figures);
    let needed = render::size(figures.live_bytes);
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
fn kept(session: &Session, figures: &prune::PlanFigures) {
    let (beside, bases, loose) = (figures.neighbour_bytes, figures.base_bytes, figures.loose_bytes);
    let all = beside.saturating_add(bases).saturating_add(loose);
    if all == 0 {
        return;
    }
    session.say(&format!("{} more stay beside them: not worth rewriting (--max-unused)", render::size(all)));
    let parts =
        [(beside, "in frames with needed data"), (bases, "as bases of it"), (loose, "in packs with needed data")];
    let parts: Vec<String> = parts.iter().map(|(bytes, why)| format!("{} {why}", render::size(*bytes))).collect();
    session.say_notes(&[format!("of these {}", parts.join(", "))]);
}
