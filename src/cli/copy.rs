//! `vault copy`: snapshots into a second repository, from which they restore like from the first. What could not be
//! copied is named, and the exit code tells.

use super::exit::{Context, Failure, code};
use super::proposal::quote;
use super::session::Session;
use super::{Outcome, hint, render, secret, time};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use vault::repository::Repository;
use vault::{copy, list};
use vault_format::id::ObjectId;

/// Copy snapshots into a second repository
///
/// All snapshots, unless some are named. What is there already is not stored again, and what the owner of the second
/// repository dropped there stays dropped, unless --again says otherwise. A second repository that was made
/// with `init --like` shares its ids with the first: only what it lacks moves, as it is. Else everything is read, decoded
/// and stored anew. The second repository needs its owner's password; if nothing says otherwise, it is the first one's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault copy --to 's3://offsite/app?region=eu-west-1'
  vault copy app-db@yesterday --to /mnt/disk/backup \\
    --to-password-file /etc/vault/disk-password")]
pub struct Arguments {
    /// Which snapshots [default: all]
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// The second repository
    #[arg(long, value_name = "LOCATION")]
    to: String,
    /// Only snapshots of this source, NAME or DOMAIN/NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Copy also what was dropped there, by `vault forget` in the second repository
    #[arg(long)]
    again: bool,
    /// Only tell what would be copied
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Password of the second repository: the first line of this file [or in VAULT_TO_PASSWORD]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_password_command", "to_key_file"])]
    to_password_file: Option<PathBuf>,
    /// Password of the second repository: the first line that this prints
    #[arg(long, value_name = "COMMAND", conflicts_with = "to_key_file")]
    to_password_command: Option<OsString>,
    /// Open the second repository with an exported key [its text can be given in VAULT_TO_KEY]
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<PathBuf>,
}

/// What `vault copy` prints.
#[derive(Serialize)]
struct Copied<'a> {
    /// Where the second repository is.
    to: String,
    /// The two share a root: blob ids are equal.
    like: bool,
    /// Nothing was written.
    dry_run: bool,
    /// Snapshots copied now.
    copied: Vec<Line<'a>>,
    /// Snapshots whose copies were there.
    known: u64,
    /// Snapshots that were dropped there, and stay so.
    dropped: u64,
    /// Snapshots that could not be copied, each with the reason.
    failed: &'a [String],
    /// Blobs that were not there.
    added_blobs: u64,
    /// Their content bytes.
    added_bytes: u64,
    /// Bytes of new packs.
    stored_bytes: u64,
}

/// One snapshot.
#[derive(Serialize)]
struct Line<'a> {
    /// Its id.
    snapshot: String,
    /// Id of its copy; null for a dry run.
    copy: Option<String>,
    /// Name of its source.
    name: &'a str,
    /// Its time.
    time: String,
}

impl<'a> Line<'a> {
    fn of(copied: &'a copy::Copied) -> Self {
        Self {
            snapshot: copied.source.to_string(),
            copy: copied.copy.map(|copy| copy.to_string()),
            name: &copied.name,
            time: render::time_rfc3339(copied.time),
        }
    }
}

/// Copies.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let own = session.global.repository.as_deref().unwrap_or_default();
    let like = format!("vault init --like {} --repository {}", quote(own), quote(&arguments.to));
    let flags = secret::Flags {
        missing: Some(format!("`{like}`, which has copies move only what is new")),
        file: arguments.to_password_file.as_ref(),
        command: arguments.to_password_command.as_ref(),
        key: arguments.to_key_file.as_ref(),
        variable: "VAULT_TO_PASSWORD",
        key_variable: "VAULT_TO_KEY",
    };
    let (from, to) = session.open_two(&arguments.to, &flags)?;
    let what = format!("cannot copy to {}", to.location());
    let snapshots = chosen(&from, &arguments.addresses).context(&what)?;
    let (name, again, dry_run) = (arguments.name.clone(), arguments.again, arguments.dry_run);
    let options = copy::Options { snapshots, name, again, dry_run, actor: session.actor("") };
    let progress = session.progress("copying").watch(to.backend());
    let report = copy::copy(&from, &to, &options, &progress);
    progress.done();
    let report = report.context(&what)?;
    let failed: Vec<String> = report.failed.iter().map(|one| format!("{one}{}", hint::of_not_copied(one))).collect();
    progress.tell(&failed);
    show(session, arguments, &to, (&report, &failed));
    session.say_requests(&to);
    if report.failed.is_empty() {
        return Ok(code::DONE);
    }
    let failed = render::count(report.failed.len() as u64, "snapshot was", "snapshots were");
    Err(Failure::new(code::FAILED, format!("the copy is not complete: {failed} not copied"))
        .hint("`vault check` tells what is damaged"))
}

fn chosen(from: &Repository, addresses: &[String]) -> vault::error::Result<Vec<ObjectId>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let catalog = list::snapshots(from)?;
    let find = |address: &String| Ok(catalog.snapshots.find(address, &time::parse_address)?.id);
    addresses.iter().map(find).collect()
}

fn show(session: &Session, arguments: &Arguments, to: &Repository, (report, failed): (&copy::Report, &[String])) {
    if session.global.json {
        render::json(&Copied {
            to: to.location(),
            like: report.like,
            dry_run: arguments.dry_run,
            copied: report.copied.iter().map(Line::of).collect(),
            known: report.known,
            dropped: report.dropped,
            failed,
            added_blobs: report.added_blobs,
            added_bytes: report.added_bytes,
            stored_bytes: report.stored_bytes,
        });
    }
    if !report.like {
        session.say("the two repositories share no root: all content is decoded and stored under new ids (slow; a second repository made with `vault init --like LOCATION` avoids it)");
    }
    let mut rest = String::new();
    if report.known > 0 {
        rest.push_str(&format!("; {}", render::count(report.known, "was there already", "were there already")));
    }
    let count = render::count(report.copied.len() as u64, "snapshot", "snapshots");
    let new = render::size(report.added_bytes);
    session.say(&if arguments.dry_run {
        let most = if report.like { "" } else { "at most " };
        format!("would copy {count} to {}: {most}{new} new{rest}", to.location())
    } else {
        format!("copied {count} to {}: {new} new, {} stored{rest}", to.location(), render::size(report.stored_bytes))
    });
    if report.dropped > 0 {
        session.say(&match report.dropped {
            1 => "1 was dropped there and stays so; --again copies it".to_owned(),
            dropped => format!("{dropped} were dropped there and stay so; --again copies them"),
        });
    }
}
