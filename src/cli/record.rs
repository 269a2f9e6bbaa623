//! Records of the journal as they are handed out, as JSON and as CSV: the same fields in both, whether they go to a
//! terminal or into files for an auditor.

use super::printed::printed;
use super::{Context, Failure, Session, invisible, render};
use std::collections::BTreeMap;
use std::time::Duration;
use vault::journal::{Entry, Journal};
use vault::repository::View;
use vault::time::WallTime;

printed! {
    /// What `vault journal` prints.
    pub struct Listing<'a>(shown: &'a [Entry], journal: &'a Journal) {
        /// Each record, newest last.
        records: Vec<Line<'a>> = shown.iter().map(|entry| Line::of(entry, &journal.view)).collect(),
        /// Records that can't be used, with the reason.
        damaged: &'a [String] = &journal.damaged,
        /// Id of a record that names the newest of everything, to be kept elsewhere; null if none could be put.
        head: Option<String> = journal.head.map(|head| head.to_string()),
    }

    /// One record.
    pub struct Line<'a>(entry: &'a Entry, view: &'a View) {
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

impl Line<'_> {
    /// The heading of a table of records, and one record below it.
    pub const COLUMNS: [&'static str; 12] = [
        "time",
        "operation",
        "source",
        "outcome",
        "actor",
        "reason",
        "duration_seconds",
        "message",
        "snapshot",
        "figures",
        "facts",
        "id",
    ];

    /// Its fields in the order of the columns.
    pub fn cells(&self) -> [String; 12] {
        let named = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        let figures: Vec<String> = self.figures.iter().map(|(name, value)| named(name, value)).collect();
        let facts: Vec<String> = self.facts.iter().map(|(name, value)| named(name, value)).collect();
        [
            self.time.clone(),
            self.operation.to_owned(),
            self.source.to_owned(),
            self.outcome.to_owned(),
            self.actor.clone(),
            self.reason.to_owned(),
            self.duration_seconds.to_string(),
            self.message.to_owned(),
            self.snapshot.clone().unwrap_or_default(),
            figures.join(" "),
            facts.join(" "),
            self.id.clone(),
        ]
    }
}

/// Records as `vault journal --json` prints them.
pub fn json(listing: &Listing<'_>) -> Result<String, Failure> {
    let text = serde_json::to_string(listing).map_err(std::io::Error::from);
    text.map(|line| format!("{}\n", invisible::in_json(&line))).context("cannot write JSON")
}

/// Says what to keep elsewhere, or why there is nothing.
pub fn say_head(session: &Session, journal: &Journal) {
    journal.head.iter().for_each(|head| session.say(&format!("head {head}")));
    journal.warning.iter().for_each(|warning| session.global.remark(warning));
}

/// Records as CSV.
pub fn csv(listing: &Listing<'_>) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = "cannot write CSV";
    writer.write_record(Line::COLUMNS).map_err(std::io::Error::from).context(failed)?;
    for line in &listing.records {
        writer.write_record(line.cells().map(|cell| harmless(&cell))).map_err(std::io::Error::from).context(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| Failure::failed(format!("{failed}: {}", error.error())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Text that no spreadsheet takes for a formula: whoever can write a record must not run anything at who reads it.
fn harmless(cell: &str) -> String {
    let text = render::safe(cell);
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}
