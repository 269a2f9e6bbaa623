//! `vault find`: in which snapshots an entry is, and which versions of it there are. Like grep it ends with 1 if there
//! is nothing, so that a script need not read the output.

use super::exit::{Context, Failure, code};
use super::session::Session;
use super::table::{Cell, Give, Table};
use super::{Outcome, address, node, render, time};
use serde::Serialize;
use std::ffi::OsString;
use vault::find::{self, Type, Version};
use vault::list;
use vault::repository::{SnapshotEntry, View};
use vault::time::WallTime;

/// Find files in all snapshots
///
/// A PATTERN is one of --exclude: without a slash it is a name in any folder, with one it is a path from the root of
/// the snapshot, and with a slash at the end it names folders only. Each version of a file is shown once, with the first
/// and the last snapshot that hold it. The exit code is 1 if nothing is found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault find 'invoice-2026-*.pdf'
  vault find '*.jpg' --name uploads --larger-than 10MB --newer '2 weeks ago'")]
pub struct Arguments {
    /// What to look for (several: any of them)
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<OsString>,
    /// Only in snapshots of this source, NAME or DOMAIN/NAME
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
    newer: Option<WallTime>,
    /// Only what was changed before this
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    older: Option<WallTime>,
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

/// What `vault find` prints, one object for each version of an entry.
#[derive(Serialize)]
struct Line<'a> {
    /// Name of the source.
    name: &'a str,
    /// Id of its domain.
    domain: String,
    /// What the domain is called; null without a label.
    domain_label: Option<String>,
    #[serde(flatten)]
    fields: node::Fields,
    /// How many snapshots hold this version.
    snapshots: u64,
    /// Id of the first of them.
    first: String,
    /// Its time.
    first_time: String,
    /// Id of the last of them.
    last: String,
    /// Its time.
    last_time: String,
}

/// Finds.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = "cannot search";
    let repository = session.open()?;
    repository.keys().content("search in files").context("")?;
    let catalog = list::snapshots(&repository).context(what)?;
    let mut chosen: Vec<&SnapshotEntry> = Vec::new();
    for address in &arguments.snapshots {
        let found = list::find(&catalog, address.as_bytes(), &time::parse_address).context(what)?;
        if !found.path.is_empty() {
            return Err(Failure::new(code::USAGE, format!("--snapshot {address} names a path"))
                .hint("say the path in the PATTERN, as in 'photos/**'"));
        }
        chosen.push(found.snapshot);
    }
    if arguments.snapshots.is_empty() {
        let asked = arguments.name.as_deref().map(|name| catalog.snapshots.source(name)).transpose().context(what)?;
        let is_wanted = |snapshot: &&SnapshotEntry| asked.as_ref().is_none_or(|asked| asked.fits(snapshot));
        chosen.extend(catalog.snapshots.visible().filter(is_wanted));
    }
    chosen.sort_by_key(|snapshot| (snapshot.counted.time, snapshot.id));
    chosen.dedup_by_key(|snapshot| snapshot.id);
    let options = find::Options {
        patterns: address::bytes(&arguments.patterns),
        types: arguments.types.iter().copied().map(Type::from).collect(),
        larger_than: arguments.larger_than,
        smaller_than: arguments.smaller_than,
        newer: arguments.newer,
        older: arguments.older,
    };
    let report = find::find(&repository, &catalog, &chosen, &options).context(what)?;
    for damage in &report.damaged {
        render::complain(&format!("{}; see `vault check`", super::plain::line(damage)));
    }
    show(session, arguments, &catalog, (&chosen, &report.versions));
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

fn show(
    session: &Session,
    arguments: &Arguments,
    catalog: &View,
    (snapshots, versions): (&[&SnapshotEntry], &[Version]),
) {
    let heading = if arguments.long { "ENTRY" } else { "PATH" };
    let is_mixed = catalog.snapshots.are_mixed();
    let times = catalog.snapshots.visible().map(|one| ((one.place.domain, one.place.label), one.counted.time));
    let mut table = Table::new()
        .when(is_mixed, |table| table.text("DOMAIN", Give::End(6)))
        .text("NAME", Give::End(6))
        .number("SNAPSHOTS", Give::Drop(1))
        .text("FIRST", Give::Never)
        .text("", Give::Drop(3))
        .text("LAST", Give::Never)
        .text("", Give::Drop(2))
        .text(heading, Give::Start(24))
        .telling_apart(times);
    for version in versions {
        let (Some(first), Some(last)) = (snapshots.get(version.first), snapshots.get(version.last)) else { continue };
        if session.global.json {
            render::json(&Line {
                name: &last.head.source,
                domain: last.place.domain.to_string(),
                domain_label: catalog.snapshots.domains.label(last.place.domain).map(str::to_owned),
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
        let mut row: Vec<Cell> = Vec::new();
        if is_mixed {
            row.push(render::safe(&catalog.snapshots.domains.show(last.place.domain)).into());
        }
        row.extend([last.head.source.clone().into(), version.snapshots.to_string().into()]);
        row.extend([first.id.short().into(), Cell::Time(first.counted.time)]);
        row.extend([last.id.short().into(), Cell::Time(last.counted.time)]);
        row.push(entry(&version.path, &version.node).into());
        table.row(row);
    }
    if !session.global.json && !session.global.quiet && !versions.is_empty() {
        table.print();
        render::line(&render::count(versions.len() as u64, "version", "versions"));
    }
}
