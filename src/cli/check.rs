//! `vault check`: looks for damage, and names what needs the damaged parts. Findings go to standard error, so that a
//! quiet check in a crontab is still heard.

use super::exit::{Context, code};
use super::{Outcome, Session, render};
use serde::Serialize;
use vault::check;

/// Check that everything that snapshots need is there and reads back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault check
  vault check --read-data --quiet")]
pub struct Arguments {
    /// Read, open and hash every pack too, not only structure and presence
    #[arg(long)]
    read_data: bool,
}

#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    read_data: bool,
    snapshots: u64,
    packs: u64,
    blobs: u64,
    read_bytes: u64,
    findings: Vec<Finding<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Finding<'a> {
    object: &'a str,
    problem: &'a str,
    affected: &'a [String],
}

impl<'a> Finding<'a> {
    fn of(finding: &'a check::Finding) -> Self {
        Self { object: &finding.object, problem: &finding.problem, affected: &finding.affected }
    }
}

/// Checks.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let options = check::Options { read_data: arguments.read_data, ..Default::default() };
    let progress = session.progress("checking");
    let report = check::check(&repository, &options, &progress);
    progress.done();
    let report = report.context("cannot check the repository")?;
    for finding in &report.findings {
        let affected = match finding.affected.as_slice() {
            [] => String::new(),
            affected => format!("; needed by {}", affected.join(", ")),
        };
        render::complain(&format!("{}: {}{affected}", finding.object, super::exit::plain(&finding.problem)));
    }
    if session.global.json {
        let findings = report.findings.iter().map(Finding::of).collect();
        render::json(&Checked {
            ok: report.findings.is_empty(),
            read_data: arguments.read_data,
            snapshots: report.snapshots,
            packs: report.packs,
            blobs: report.blobs,
            read_bytes: report.read_bytes,
            findings,
            notes: &report.notes,
        });
    }
    session.say_notes(&report.notes);
    session.say_requests(&repository);
    let looked = format!(
        "{}, {}, {}, {} read",
        render::count(report.snapshots, "snapshot", "snapshots"),
        render::count(report.packs, "pack", "packs"),
        render::count(report.blobs, "blob", "blobs"),
        render::size(report.read_bytes)
    );
    if report.findings.is_empty() {
        let depth = if arguments.read_data { "no damage" } else { "no damage found (content was not read)" };
        session.say(&format!("{depth}: {looked}"));
        Ok(code::DONE)
    } else {
        render::complain(&format!(
            "check found damage in {}; looked at {looked}",
            render::count(report.findings.len() as u64, "place", "places")
        ));
        Ok(code::DAMAGE)
    }
}
