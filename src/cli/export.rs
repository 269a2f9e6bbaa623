//! `vault journal export`: the journal of a period in files for whoever audits it, as JSON and as CSV for a
//! spreadsheet. Nothing is overwritten: what an auditor has been given stays as it was.

use super::printed::printed;
use super::record::{self, Listing};
use super::{Context, Failure, Outcome, Session, code, render, time};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use vault::journal::{self, Filter};
use vault::time::WallTime;
use vault_format::id::ObjectId;

/// Write the records of a period into files for an auditor
///
/// DIR gets journal.json, as `vault journal --json` prints it, and journal.csv for a spreadsheet: who ran what, on
/// which host, why, and how it ended. Nothing is overwritten. `vault journal verify` tells whether a record is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault journal export --since 2026-07-01 --until 2026-09-30 --output 2026-q3
  vault journal export --since 'last month' --until 'last month' --output audit")]
pub struct Arguments {
    /// Only runs that began at this time or later
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    since: Option<WallTime>,
    /// Only runs that began at this time or before; a day means all of it
    #[arg(long, value_name = "TIME", value_parser = time::parse_end)]
    until: Option<WallTime>,
    /// The folder to write into; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

printed! {
    /// What `vault journal export` prints.
    struct Exported(since: Option<WallTime>, until: Option<WallTime>, records: usize, head: Option<ObjectId>, files: &[PathBuf]) {
        /// Begin of the period; null for all before its end.
        since: Option<String> = since.map(render::time_rfc3339),
        /// End of the period; null for all after its begin.
        until: Option<String> = until.map(render::time_rfc3339),
        /// How many records there are in it.
        records: u64 = records as u64,
        /// Id of a record that names the newest of everything, to be kept elsewhere; null if none could be put.
        head: Option<String> = head.map(|head| head.to_string()),
        /// The files written.
        files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect(),
    }
}

/// Writes the files.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let Arguments { since, until, output } = arguments;
    let files = ["journal.json", "journal.csv"].map(|name| output.join(name));
    // before a password is asked for
    if let Some(file) = files.iter().find(|file| file.exists()) {
        let taken = format!("{} exists already, and is not overwritten", file.display());
        return Err(Failure::failed(taken).hint("say another --output"));
    }
    let repository = session.open()?;
    let mut journal = journal::read(&repository).context("cannot read the journal")?;
    let filter = Filter { since: *since, until: *until, ..Filter::default() };
    journal.entries.retain(|entry| filter.takes(&entry.record));
    render::damage(&journal.damaged);
    let listing = Listing::of(&journal.entries, &journal);
    let (json, csv) = (record::json(&listing)?, record::csv(&listing)?);
    let what = |file: &PathBuf| format!("cannot write {}", file.display());
    std::fs::create_dir_all(output).context(&what(output))?;
    for (file, text) in files.iter().zip([json, csv]) {
        let opened = File::create_new(file);
        opened
            .and_then(|mut open| open.write_all(text.as_bytes()).and_then(|()| open.sync_all()))
            .context(&what(file))?;
    }
    let records = journal.entries.len();
    session.global.print(&Exported::of(*since, *until, records, journal.head, &files));
    session.say(&format!("wrote {} to {}", render::count(records as u64, "record", "records"), output.display()));
    record::say_head(session, &journal);
    session.say_requests(&repository);
    Ok(code::DONE)
}
