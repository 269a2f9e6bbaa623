//! `vault journal verify`: whether all records are there, and as they were written. What is not is named on standard
//! error, so that a quiet one in a crontab is still heard.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Outcome, Session, code, render};
use vault::journal::chain::{self, Chain, Writer};
use vault::repository::View;
use vault_format::id::ObjectId;

/// Tell whether a record is missing or was changed
///
/// Each record names those before it and is signed. Two machines that write at once are no offence. The newest record
/// is missed only by the machine that put it, and by who kept its id elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault journal verify
  vault journal verify --quiet --repository /mnt/offsite/vault")]
pub struct Arguments {
    /// A head that `vault journal` printed, and that was kept elsewhere
    #[arg(long, value_name = "ID", value_parser = parse_head)]
    head: Option<ObjectId>,
}

fn parse_head(text: &str) -> Result<ObjectId, String> {
    ObjectId::parse(text).map_err(|_| "a head is the 64 digits that `vault journal` prints".into())
}

printed! {
    /// What `vault journal verify` prints.
    struct Verified(chain: &Chain) {
        /// Nothing is missing, changed, or of a stranger.
        ok: bool = chain.is_whole(),
        /// Records that count.
        records: u64 = chain.records,
        /// Records of keys that were removed, which nobody can verify any more.
        revoked: u64 = chain.revoked,
        /// Each writer.
        writers: Vec<OfWriter> = chain.writers.iter().map(|writer| OfWriter::of(writer, &chain.view)).collect(),
        /// Id of the head that was kept elsewhere and is not there; null if it is, or if none was given.
        lost_head: Option<String> = chain.lost_head.map(|head| head.to_string()),
    }

    /// The records of one writer.
    struct OfWriter(writer: &Writer, view: &View) {
        /// Id of its key.
        writer: String = writer.id.to_string(),
        /// What its domain is called.
        domain: String = view.snapshots.domains.show(writer.domain),
        /// When its first run began; null without one that counts.
        first: Option<String> = writer.first.map(render::time_rfc3339),
        /// When its last run began; null without one that counts.
        last: Option<String> = writer.last.map(render::time_rfc3339),
        /// Id of its last record; null without one that counts.
        head: Option<String> = writer.head.map(|head| head.to_string()),
        /// Ids of records that its own name, or that this machine put, and that are not there.
        missing: Vec<String> = writer.missing.iter().map(ToString::to_string).collect(),
        /// Ids of records in its name that nobody signed whose key is known.
        unknown_signer: Vec<String> = writer.unknown_signer.iter().cloned().collect(),
        /// Ids of records in its name that are not what was written, or not where.
        altered: Vec<String> = writer.altered.iter().cloned().collect(),
        /// How often two of its records follow the same one: machines that wrote at once, or that remember nothing.
        concurrent: u64 = writer.concurrent,
    }
}

/// Verifies.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let chain = chain::verify(&repository, arguments.head).context("cannot verify the journal")?;
    let view = &chain.view;
    session.global.print(&Verified::of(&chain));
    if let Some(head) = chain.lost_head {
        render::complain(&format!("the head {head} is not in the journal"));
    }
    for writer in &chain.writers {
        let domain = view.snapshots.domains.show(writer.domain);
        for (ids, fault) in [
            (&writer.missing.iter().map(ToString::to_string).collect(), "is missing"),
            (&writer.unknown_signer, "is signed by nobody whose key is known here"),
            (&writer.altered, "was changed, or moved"),
        ] {
            ids.iter().for_each(|id| render::complain(&format!("record {id} of {domain} {fault}")));
        }
    }
    if !session.global.json && !session.global.quiet && !chain.writers.is_empty() {
        Table::of(&chain.writers)
            .text("WRITER", Give::Never, |one| one.id.to_string().chars().take(8).collect::<String>())
            .text("DOMAIN", Give::End(40), |one| view.snapshots.domains.show(one.domain))
            .text("FIRST", Give::Drop(2), |one| one.first.map_or("-".into(), render::time))
            .text("LAST", Give::Drop(3), |one| one.last.map_or("-".into(), render::time))
            .number("MISSING", Give::Never, |one| one.missing.len() as u64)
            .number("ALTERED", Give::Never, |one| (one.altered.len() + one.unknown_signer.len()) as u64)
            .number("AT ONCE", Give::Drop(1), |one| one.concurrent)
            .print();
    }
    let records = render::count(chain.records, "record", "records");
    session.say(&match chain.is_whole() {
        true => format!("{records}, and none is missing or was changed"),
        false => format!("{records}; what is missing or was changed is named above; a copy may still have it"),
    });
    session.say_requests(&repository);
    Ok(if chain.is_whole() { code::DONE } else { code::DAMAGE })
}
