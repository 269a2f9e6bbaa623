//! `vault journal`: what was run, newest last, and a head to keep elsewhere.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Outcome, Session, code, render};
use vault::journal::{self, Entry, Journal};
use vault::repository::View;
use vault::time::WallTime;
use vault_format::journal::RunOutcome;

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
        started: String = render::time_rfc3339(WallTime::new(entry.record.started)),
        /// Seconds from there to this record.
        seconds: u64 = entry.record.duration / 1_000_000_000,
        /// What was run, like `prune`.
        operation: &'a str = &entry.record.operation,
        /// Who ran it: user and host, or what the domain is called.
        who: String = entry.who(view),
        /// Id of the domain of the key in use.
        domain: String = entry.domain.to_string(),
        /// Source that it concerned; empty if none.
        name: &'a str = &entry.record.source,
        /// `begun`, `done`, `partial` or `failed`.
        outcome: &'static str = outcome(entry.record.outcome),
        /// What came of it.
        message: &'a str = &entry.record.message,
        /// Why it was run, in the user's words.
        reason: &'a str = &entry.record.reason,
    }
}

fn outcome(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Begun => "begun",
        RunOutcome::Done => "done",
        RunOutcome::Partial => "partial",
        RunOutcome::Failed => "failed",
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
            .text("OUTCOME", Give::Never, |one| outcome(one.record.outcome))
            .text("NAME", Give::End(40), |one| or_dash(&one.record.source))
            .text("WHO", Give::EndOrDrop(8, 1), |one| one.who(&journal.view))
            .text("MESSAGE", Give::Wrap(24), |one| or_dash(&one.record.message))
            .print();
    }
    session.say(&format!("head {}", journal.head));
    session.say_requests(&repository);
    Ok(code::DONE)
}
