//! `vault undelete`: takes a forgotten snapshot back, as long as prune has not deleted what it needs.

use super::exit::{Context, code};
use super::session::Session;
use super::{Outcome, render};
use serde::Serialize;
use vault::undelete::{self, Report};

/// Take a forgotten snapshot back, as long as prune has not deleted its data
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault undelete 3f9a02c1
  vault undelete 3f9a02c1 --reason 'still needed by the audit'")]
pub struct Arguments {
    /// The snapshot; `vault snapshots --forgotten` lists them
    #[arg(value_name = "ID")]
    id: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// What `vault undelete` prints.
#[derive(Serialize)]
struct Undeleted<'a> {
    /// Id of the snapshot that is there now: the same, or its copy.
    snapshot: String,
    /// Name of its source.
    name: &'a str,
    /// It was forgotten before.
    was_forgotten: bool,
    /// It is a copy: the old object is about to be deleted.
    is_copy: bool,
    /// Blobs that had to be copied.
    copied_blobs: u64,
    /// Their bytes.
    copied_bytes: u64,
    /// When it expires; null for never.
    expires: Option<String>,
    /// Things worth knowing.
    notes: &'a [String],
}

/// Undeletes.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let report = undelete::undelete(&repository, &arguments.id, &session.actor(&arguments.reason))
        .context(&format!("cannot undelete {}", render::safe(&arguments.id)))?;
    report.notes.iter().for_each(|note| render::complain(&super::plain::line(note)));
    if session.global.json {
        render::json(&Undeleted {
            snapshot: report.snapshot.to_string(),
            name: &report.source,
            was_forgotten: report.was_forgotten,
            is_copy: report.is_copy,
            copied_blobs: report.copied_blobs,
            copied_bytes: report.copied_bytes,
            expires: report.expires.map(render::time_rfc3339),
            notes: &report.notes,
        });
    }
    session.say(&summary(session, &report));
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn summary(session: &Session, report: &Report) -> String {
    let id = report.snapshot.short();
    if !report.was_forgotten {
        return format!("snapshot {id} of {} is not forgotten, and all that it needs is there", report.source);
    }
    let came = match (report.is_copy, report.copied_bytes) {
        (true, 0) => format!("is back as {id}"),
        (true, bytes) => format!("is back as {id}, {} copied", render::size(bytes)),
        (false, 0) => format!("{id} is back"),
        (false, bytes) => format!("{id} is back, {} copied", render::size(bytes)),
    };
    let next = match report.expires.filter(|at| *at <= session.runtime.clock.now()) {
        Some(_) => format!("it has expired, and the next forget drops it again: `vault tag {id} --expire never`"),
        None => format!("a policy may drop it again: `vault tag {id} --hold` keeps it"),
    };
    format!("snapshot {came} in {}; {next}", report.source)
}
