//! `vault copy`: snapshots into a second repository, from which they restore like from the first. What could not be
//! copied is named, and the exit code tells.

use super::printed::printed;
use super::proposal::quote;
use super::{Context, Failure, Outcome, Session, code, hint, render, secret, time};
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

printed! {
    /// What `vault copy` prints.
    struct Copied<'a>(to: &Repository, dry_run: bool, report: &'a copy::Report, failed: &'a [String]) {
        /// Where the second repository is.
        to: String = to.location(),
        /// The two share a root: blob ids are equal.
        like: bool = report.like,
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Snapshots copied now.
        copied: Vec<Line<'a>> = report.copied.iter().map(Line::of).collect(),
        /// Snapshots whose copies were there.
        known: u64 = report.known,
        /// Snapshots that were dropped there, and stay so.
        dropped: u64 = report.dropped,
        /// Snapshots that could not be copied, each with the reason.
        failed: &'a [String] = failed,
        /// Blobs that were not there.
        added_blobs: u64 = report.added_blobs,
        /// Their content bytes.
        added_bytes: u64 = report.added_bytes,
        /// Bytes of new packs.
        stored_bytes: u64 = report.stored_bytes,
    }

    /// One snapshot.
    struct Line<'a>(copied: &'a copy::Copied) {
        /// Its id.
        snapshot: String = copied.source.to_string(),
        /// Id of its copy; null for a dry run.
        copy: Option<String> = copied.copy.map(|copy| copy.to_string()),
        /// Name of its source.
        name: &'a str = &copied.name,
        /// Its time.
        time: String = render::time_rfc3339(copied.time),
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
    let options = copy::Options { snapshots, name, again, dry_run };
    let progress = session.progress("copying").watch(to.backend());
    let report = progress.during(|progress| copy::copy(&from, &to, &options, progress)).context(&what)?;
    let failed: Vec<String> = report.failed.iter().map(|one| format!("{one}{}", hint::of_not_copied(one))).collect();
    progress.tell(&failed);
    session.global.print(&Copied::of(&to, dry_run, &report, &failed));
    show(session, &to.location(), dry_run, &report);
    session.say_requests(&to);
    if report.failed.is_empty() {
        return Ok(code::DONE);
    }
    let failed = render::count(report.failed.len() as u64, "snapshot was", "snapshots were");
    Err(Failure::failed(format!("the copy is not complete: {failed} not copied"))
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

fn show(session: &Session, to: &str, dry_run: bool, report: &copy::Report) {
    if !report.like {
        session.say("the two repositories share no root: all content is decoded and stored under new ids (slow; a second repository made with `vault init --like LOCATION` avoids it)");
    }
    let rest = render::if_any(report.known, |known| {
        format!("; {}", render::count(known, "was there already", "were there already"))
    });
    let count = render::count(report.copied.len() as u64, "snapshot", "snapshots");
    let new = render::size(report.added_bytes);
    session.say(&if dry_run {
        let most = if report.like { "" } else { "at most " };
        format!("would copy {count} to {to}: {most}{new} new{rest}")
    } else {
        format!("copied {count} to {to}: {new} new, {} stored{rest}", render::size(report.stored_bytes))
    });
    match report.dropped {
        0 => {}
        1 => session.say("1 was dropped there and stays so; --again copies it"),
        dropped => session.say(&format!("{dropped} were dropped there and stay so; --again copies them")),
    }
}
