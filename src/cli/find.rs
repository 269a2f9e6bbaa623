//! `vault find`: in which snapshots an entry is, and which versions of it there are. Like grep it ends with 1 if there
//! is nothing, so that a script need not read the output.

use super::exit::{Context, Failure, code};
use super::{Outcome, Session, node, render, time};
use serde::Serialize;
use vault::find::{self, Type, Version};
use vault::list;
use vault::repository::snapshots::SnapshotEntry;

/// Find files in all snapshots
///
/// A PATTERN is one of --exclude: without a slash it is a name in any folder, with one it is a path from the root of
/// the snapshot, and with a slash at the end it names folders only. Each version of a file is shown once, with the first
/// and the last snapshot that hold it. The exit code is 1 if nothing is found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault find 'invoice-2026-*.pdf'
  vault find 'photos/**/*.jpg' --name uploads --larger-than 10MB --newer '2 weeks ago'")]
pub struct Arguments {
    /// What to look for (several: any of them)
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<String>,
    /// Only in snapshots of this source
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only in this snapshot (can be repeated)
    #[arg(long = "snapshot", value_name = "ADDRESS", conflicts_with = "name")]
    snapshots: Vec<String>,
    /// Only entries of this type (can be repeated)
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    types: Vec<Kind>,
    /// Only files larger than this
    #[arg(long, value_name = "SIZE", value_parser = render::parse_size)]
    larger_than: Option<u64>,
    /// Only files smaller than this
    #[arg(long, value_name = "SIZE", value_parser = render::parse_size)]
    smaller_than: Option<u64>,
    /// Only what was changed after this
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    newer: Option<i64>,
    /// Only what was changed before this
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    older: Option<i64>,
    /// Show type, permissions, owner, size and time as in ls
    #[arg(long, short)]
    long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Regular file
    File,
    /// Folder
    Directory,
    /// Symbolic link
    Symlink,
    /// Named pipe
    Fifo,
    /// Character device
    #[value(name = "char_device")]
    CharDevice,
    /// Block device
    #[value(name = "block_device")]
    BlockDevice,
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink => Self::Symlink,
            Kind::Fifo => Self::Fifo,
            Kind::CharDevice => Self::CharDevice,
            Kind::BlockDevice => Self::BlockDevice,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    domain: String,
    #[serde(flatten)]
    fields: node::Fields,
    snapshots: u64,
    first: String,
    first_time: String,
    last: String,
    last_time: String,
}

/// Finds.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = "cannot search";
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(what)?;
    let mut chosen: Vec<&SnapshotEntry> = Vec::new();
    for address in &arguments.snapshots {
        let (snapshot, path) = list::find(&catalog, address, &time::parse_address).context(what)?;
        if !path.is_empty() {
            return Err(Failure::new(code::USAGE, format!("--snapshot {address} names a path"))
                .hint("say the path in the PATTERN, as in 'photos/**'"));
        }
        chosen.push(snapshot);
    }
    if arguments.snapshots.is_empty() {
        let wanted =
            |snapshot: &&SnapshotEntry| arguments.name.as_ref().is_none_or(|name| snapshot.head.source == *name);
        chosen.extend(catalog.snapshots.visible().filter(wanted));
    }
    chosen.sort_by_key(|snapshot| (snapshot.counted.time, snapshot.id));
    chosen.dedup_by_key(|snapshot| snapshot.id);
    let options = find::Options {
        patterns: arguments.patterns.clone(),
        types: arguments.types.iter().copied().map(Type::from).collect(),
        larger_than: arguments.larger_than,
        smaller_than: arguments.smaller_than,
        newer: arguments.newer,
        older: arguments.older,
    };
    let report = find::find(&repository, &catalog, &chosen, &options).context(what)?;
    for damage in &report.damaged {
        render::complain(&format!("{}; see `vault check`", super::exit::plain(damage)));
    }
    show(session, arguments, &chosen, &report.versions);
    session.say_requests(&repository);
    if !report.damaged.is_empty() {
        let parts = render::count(report.damaged.len() as u64, "part", "parts");
        return Err(Failure::new(code::FAILED, format!("{parts} of the snapshots could not be read, named above")));
    }
    if report.versions.is_empty() {
        let looked = render::count(chosen.len() as u64, "snapshot", "snapshots");
        return Err(Failure::new(code::FAILED, format!("nothing found in {looked}")));
    }
    Ok(code::DONE)
}

fn show(session: &Session, arguments: &Arguments, snapshots: &[&SnapshotEntry], versions: &[Version]) {
    let heading = if arguments.long { "ENTRY" } else { "PATH" };
    let mut rows = vec![["NAME", "SNAPSHOTS", "FIRST", "", "LAST", "", heading].map(str::to_owned).to_vec()];
    for version in versions {
        let (Some(first), Some(last)) = (snapshots.get(version.first), snapshots.get(version.last)) else { continue };
        if session.global.json {
            render::json(&Line {
                name: &last.head.source,
                domain: last.place.domain.to_string(),
                fields: node::Fields::new(&version.path, &version.node),
                snapshots: version.snapshots,
                first: first.id.to_string(),
                first_time: render::time_rfc3339(first.counted.time),
                last: last.id.to_string(),
                last_time: render::time_rfc3339(last.counted.time),
            });
            continue;
        }
        let entry = if arguments.long { node::long } else { node::name };
        rows.push(vec![
            last.head.source.clone(),
            version.snapshots.to_string(),
            first.id.short(),
            render::time(first.counted.time),
            last.id.short(),
            render::time(last.counted.time),
            entry(&version.path, &version.node),
        ]);
    }
    if !session.global.json && !session.global.quiet && rows.len() > 1 {
        render::table(&rows);
        render::line(&render::count(versions.len() as u64, "version", "versions"));
    }
}
