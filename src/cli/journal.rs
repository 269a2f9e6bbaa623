//! `vault journal`: what was run, newest last, and a head to keep elsewhere. Whether the record is whole and how it is
//! handed out are commands of their own, `verify` and `export`.

use super::record::{self, Listing};
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, chain, choice, code, export, render, time};
use clap::builder::PossibleValuesParser;
use vault::journal::{self, Entry, Filter};
use vault::operation;
use vault::time::WallTime;
use vault_format::journal::RunOutcome;

/// What --outcome takes.
const OUTCOMES: [(&str, &str, RunOutcome); 7] = [
    ("begun", "It has begun; another record tells the end", RunOutcome::Begun),
    ("done", "All is done", RunOutcome::Done),
    ("partial", "Something was left out", RunOutcome::Partial),
    ("failed", "It ended without its result", RunOutcome::Failed),
    ("unchanged", "There was nothing new to store", RunOutcome::Unchanged),
    ("busy", "The same ran already", RunOutcome::Busy),
    ("skipped", "It may or must not be done", RunOutcome::Skipped),
];

/// Tell what was run, by whom, and how it ended
///
/// The last line is a head to keep elsewhere, on paper or in a mail: `vault check --head ID` tells later whether the
/// store still shows all that was there, and `vault journal verify --head ID` whether all records are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault journal -n 20
  vault journal --operation restore --since 'last month'
  vault journal --json --quiet")]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    wanted: Wanted,
    /// Only the newest N
    #[arg(long, short = 'n', value_name = "N")]
    latest: Option<usize>,
    /// Print the records as CSV, for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(chain::Arguments),
    Export(export::Arguments),
}

/// Which records are wanted.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those of this operation
    #[arg(long, value_name = "OPERATION", value_parser = PossibleValuesParser::new(operation::names()))]
    operation: Option<String>,
    /// Only those that ended so
    #[arg(long, value_name = "OUTCOME", value_parser = choice::one_of(OUTCOMES))]
    outcome: Option<RunOutcome>,
    /// Only runs that began at this time or later
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    since: Option<WallTime>,
    /// Only runs that began at this time or before; a day means all of it
    #[arg(long, value_name = "TIME", value_parser = time::parse_end)]
    until: Option<WallTime>,
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Prints the journal.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let Wanted { source, operation, outcome, since, until } = &arguments.wanted;
    let (source, operation) = (source.clone(), operation.clone());
    let filter = Filter { source, operation, outcome: *outcome, since: *since, until: *until };
    let is_plain = filter == Filter::default() && arguments.latest.is_none() && !arguments.csv;
    match &arguments.command {
        Some(_) if !is_plain => {
            return Err(
                Failure::usage("flags that choose records go with the list alone").hint("see `vault journal --help`")
            );
        }
        Some(Command::Verify(arguments)) => return chain::run(session, arguments),
        Some(Command::Export(arguments)) => return export::run(session, arguments),
        None => {}
    }
    let repository = session.open()?;
    let mut journal = journal::read(&repository).context("cannot read the journal")?;
    let all = std::mem::take(&mut journal.entries);
    let wanted: Vec<Entry> = all.into_iter().filter(|entry| filter.takes(&entry.record)).collect();
    let first = wanted.len().saturating_sub(arguments.latest.unwrap_or(usize::MAX));
    let shown = wanted.get(first..).unwrap_or_default();
    render::damage(&journal.damaged);
    if arguments.csv {
        render::text(&record::csv(&Listing::of(shown, &journal))?);
        return Ok(code::DONE);
    }
    session.global.print(&Listing::of(shown, &journal));
    if !session.global.json && !session.global.quiet && !shown.is_empty() {
        Table::of(shown)
            .text("TIME", Give::Never, |one| WallTime::new(one.record.started))
            .text("OPERATION", Give::Never, |one| one.record.operation.as_str())
            .text("OUTCOME", Give::Never, |one| one.record.outcome.name())
            .text("NAME", Give::End(40), |one| or_dash(&one.record.source))
            .text("WHO", Give::EndOrDrop(8, 1), |one| one.who(&journal.view))
            .rare("REASON", Give::EndOrDrop(8, 2), |one| or_dash(&one.record.reason))
            .text("MESSAGE", Give::Wrap(24), |one| or_dash(&one.record.message))
            .print();
    }
    record::say_head(session, &journal);
    session.say_requests(&repository);
    Ok(code::DONE)
}
