//! `vault journal`: what was run, newest last, and a head to keep elsewhere.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Outcome, Session, code, render};
use std::collections::BTreeMap;
use std::time::Duration;
use vault::journal::{self, Entry, Journal};
use vault::repository::View;
use vault::time::WallTime;

/// Tell what was run, by whom, and how it ended
///
/// The last line is a head to keep elsewhere, on paper or in a mail: `vault check --head ID` tells later whether the
/// store still shows all that was there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault journal -n 20
  vault journal --json --quiet")]
pub struct Arguments {
    /// Only the newest N
    #[arg(long, short = 'n', value_name = "N")]
    latest: Option<usize>,
}

printed! {
    /// What `vault journal` prints.
    struct Listing<'a>(shown: &'a [Entry], journal: &'a Journal) {
        /// Each record, newest last.
        records: Vec<Line<'a>> = shown.iter().map(|entry| Line::of(entry, &journal.view)).collect(),
        /// Records that can't be used, with the reason.
        damaged: &'a [String] = &journal.damaged,
        /// Id of a record that names the newest of everything, to be kept elsewhere.
        head: String = journal.head.to_string(),
    }

    /// One record.
    struct Line<'a>(entry: &'a Entry, view: &'a View) {
        /// Id.
        id: String = entry.id.to_string(),
        /// When the run began.
        time: String = render::time_rfc3339(WallTime::new(entry.record.started)),
        /// What was run, like `prune`.
        operation: &'a str = &entry.record.operation,
        /// Source that it concerned; empty if none.
        source: &'a str = &entry.record.source,
        /// `begun`, `done`, `partial`, `failed`, `unchanged`, `busy` or `skipped`.
        outcome: &'static str = entry.record.outcome.name(),
        /// Who ran it: user and host, or what the domain is called.
        actor: String = entry.who(view),
        /// Id of the domain of the key in use.
        domain: String = entry.domain.to_string(),
        /// Why it was run, in the user's words.
        reason: &'a str = &entry.record.reason,
        /// From the begin to this record.
        duration_seconds: f64 = Duration::from_nanos(entry.record.duration).as_secs_f64(),
        /// What came of it.
        message: &'a str = &entry.record.message,
        /// Id of the snapshot that it made, or that it was about; null without one.
        snapshot: Option<String> = entry.record.snapshot.map(|id| id.to_string()),
        /// What came of it in numbers, by name; the unit is the last word of the name.
        figures: BTreeMap<&'a str, u64> = entry.record.figures.iter().map(|(name, value)| (&**name, *value)).collect(),
        /// What else it told, by name.
        facts: BTreeMap<&'a str, &'a str> = entry.record.facts.iter().collect(),
        /// Ids of the snapshots that it saw and made.
        seen: Vec<String> = entry.record.heads.iter().map(ToString::to_string).collect(),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Prints the journal.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let journal = journal::read(&repository).context("cannot read the journal")?;
    let first = journal.entries.len().saturating_sub(arguments.latest.unwrap_or(usize::MAX));
    let shown = journal.entries.get(first..).unwrap_or_default();
    render::damage(&journal.damaged);
    session.global.print(&Listing::of(shown, &journal));
    if !session.global.json && !session.global.quiet && !shown.is_empty() {
        Table::of(shown)
            .text("TIME", Give::Never, |one| WallTime::new(one.record.started))
            .text("OPERATION", Give::Never, |one| one.record.operation.as_str())
            .text("OUTCOME", Give::Never, |one| one.record.outcome.name())
            .text("NAME", Give::End(40), |one| or_dash(&one.record.source))
            .text("WHO", Give::EndOrDrop(8, 1), |one| one.who(&journal.view))
            .text("MESSAGE", Give::Wrap(24), |one| or_dash(&one.record.message))
            .print();
    }
    session.say(&format!("head {}", journal.head));
    session.say_requests(&repository);
    Ok(code::DONE)
}
