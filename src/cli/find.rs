//! `vault find`: in which snapshots an entry is, and which versions of it there are. Like grep it ends with 1 if there
//! is nothing, so that a script need not read the output.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, address, choice, code, node, render, time};
use std::ffi::OsString;
use vault::find::{self, Type, Version};
use vault::list;
use vault::repository::{SnapshotEntry, View};
use vault::size;
use vault::time::WallTime;

/// What --type takes.
const TYPES: [(&str, &str, Type); 6] = [
    ("file", "Regular file", Type::File),
    ("directory", "Folder", Type::Directory),
    ("symlink", "Symbolic link", Type::Symlink),
    ("fifo", "Named pipe", Type::Fifo),
    ("char_device", "Character device", Type::CharDevice),
    ("block_device", "Block device", Type::BlockDevice),
];

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
    #[arg(long = "type", value_name = "TYPE", value_parser = choice::one_of(TYPES))]
    types: Vec<Type>,
    /// Only files larger than this
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    larger_than: Option<u64>,
    /// Only files smaller than this
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
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

printed! {
    /// What `vault find` prints, one object for each version of an entry.
    struct Line<'a>(catalog: &View, found: &Found<'a>) {
        /// Name of the source.
        name: &'a str = &found.last.head.source,
        /// Id of its domain.
        domain: String = found.last.place.domain.to_string(),
        /// What the domain is called; null without a label.
        domain_label: Option<String> = catalog.snapshots.domains.label(found.last.place.domain).map(str::to_owned),
        #[serde(flatten)]
        fields: node::Fields = node::Fields::of(&found.version.path, &found.version.node),
        /// How many snapshots hold this version.
        snapshots: u64 = found.version.snapshots,
        /// Id of the first of them.
        first: String = found.first.id.to_string(),
        /// Its time.
        first_time: String = render::time_rfc3339(found.first.counted.time),
        /// Id of the last of them.
        last: String = found.last.id.to_string(),
        /// Its time.
        last_time: String = render::time_rfc3339(found.last.counted.time),
    }
}

/// A version of an entry, with the first and the last snapshot that hold it.
struct Found<'a> {
    version: &'a Version,
    first: &'a SnapshotEntry,
    last: &'a SnapshotEntry,
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
            return Err(Failure::usage(format!("--snapshot {address} names a path"))
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
        types: arguments.types.clone(),
        larger_than: arguments.larger_than,
        smaller_than: arguments.smaller_than,
        newer: arguments.newer,
        older: arguments.older,
    };
    let report = find::find(&repository, &catalog, &chosen, &options).context(what)?;
    render::damage(&report.damaged);
    let of = |number: usize| chosen.get(number).copied();
    let found = |version| Some(Found { version, first: of(version.first)?, last: of(version.last)? });
    let found: Vec<Found<'_>> = report.versions.iter().filter_map(found).collect();
    show(session, arguments.long, &catalog, &found);
    session.say_requests(&repository);
    if !report.damaged.is_empty() {
        let parts = render::count(report.damaged.len() as u64, "part", "parts");
        return Err(Failure::failed(format!("{parts} of the snapshots could not be read, named above")));
    }
    if report.versions.is_empty() {
        let looked = render::count(chosen.len() as u64, "snapshot", "snapshots");
        return Err(Failure::failed(format!("nothing found in {looked}")));
    }
    Ok(code::DONE)
}

fn show(session: &Session, is_long: bool, catalog: &View, found: &[Found<'_>]) {
    let heading = if is_long { "ENTRY" } else { "PATH" };
    let entry = if is_long { node::long } else { node::name };
    let snapshots = &catalog.snapshots;
    if session.global.json {
        found.iter().for_each(|one| render::json(&Line::of(catalog, one)));
    } else if !session.global.quiet && !found.is_empty() {
        Table::of(found)
            .when(snapshots.are_mixed(), |table| {
                table.text("DOMAIN", Give::End(6), |one| snapshots.domains.show(one.last.place.domain))
            })
            .text("NAME", Give::End(6), |one| one.last.head.source.as_str())
            .number("SNAPSHOTS", Give::Drop(1), |one| one.version.snapshots)
            .text("FIRST", Give::Never, |one| one.first.id.short())
            .text("", Give::Drop(3), |one| one.first.counted.time)
            .text("LAST", Give::Never, |one| one.last.id.short())
            .text("", Give::Drop(2), |one| one.last.counted.time)
            .text(heading, Give::Start(24), |one| entry(&one.version.path, &one.version.node))
            .telling_apart(snapshots.visible().map(|one| ((one.place.domain, one.place.label), one.counted.time)))
            .print();
        render::line(&render::count(found.len() as u64, "version", "versions"));
    }
}
