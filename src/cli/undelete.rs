//! `vault undelete`: takes a forgotten snapshot back, as long as prune has not deleted what it needs.

use super::printed::printed;
use super::{Context, Outcome, Session, code, render};
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
}

printed! {
    /// What `vault undelete` prints.
    struct Undeleted<'a>(report: &'a Report) {
        /// Id of the snapshot that is there now: the same, or its copy.
        snapshot: String = report.snapshot.to_string(),
        /// Name of its source.
        name: &'a str = &report.source,
        /// It was forgotten before.
        was_forgotten: bool = report.was_forgotten,
        /// It is a copy: the old object is about to be deleted.
        is_copy: bool = report.is_copy,
        /// Blobs that had to be copied.
        copied_blobs: u64 = report.copied_blobs,
        /// Their bytes.
        copied_bytes: u64 = report.copied_bytes,
        /// When it expires; null for never.
        expires: Option<String> = report.expires.map(render::time_rfc3339),
        /// Things worth knowing.
        notes: &'a [String] = &report.notes,
    }
}

/// Undeletes.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let report = undelete::undelete(&repository, &arguments.id)
        .context(&format!("cannot undelete {}", render::safe(&arguments.id)))?;
    render::complain_each(&report.notes);
    session.global.print(&Undeleted::of(&report));
    session.say(&summary(session, &report));
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn summary(session: &Session, report: &Report) -> String {
    let id = report.snapshot.short();
    if !report.was_forgotten {
        return format!("snapshot {id} of {} is not forgotten, and all that it needs is there", report.source);
    }
    let copied = render::if_any(report.copied_bytes, |bytes| format!(", {} copied", render::size(bytes)));
    let came = if report.is_copy { format!("is back as {id}{copied}") } else { format!("{id} is back{copied}") };
    let next = match report.expires.filter(|at| *at <= session.runtime.clock.now()) {
        Some(_) => format!("it has expired, and the next forget drops it again: `vault tag {id} --expire never`"),
        None => format!("a policy may drop it again: `vault tag {id} --hold` keeps it"),
    };
    format!("snapshot {came} in {}; {next}", report.source)
}
