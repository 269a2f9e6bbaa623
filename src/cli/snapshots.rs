//! `vault snapshots`: lists what can be restored, oldest first, with what is not as it should be: gaps, repaired copies,
//! times that are not believed. A content part that this key may not open shows as `-`.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, address, code, hint, node, render};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use vault::repository::Repository;
use vault::repository::{SnapshotEntry, View};
use vault::time::WallTime;
use vault::{list, repair, restore};
use vault_format::facts::Facts;
use vault_format::snapshot::Body;

/// List snapshots
///
/// NEW are bytes that were not in the repository before, as they were read; `vault stats NAME` tells what they take
/// there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault snapshots
  vault snapshots app-db --latest 5
  vault snapshots --tag before-upgrade --json")]
pub struct Arguments {
    /// Only those of this source, NAME or DOMAIN/NAME, or the one of this id or address
    #[arg(value_name = "NAME", conflicts_with = "name")]
    source: Option<String>,
    /// The same as NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only the newest N of each source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    latest: Option<u32>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// List those that were forgotten and are not deleted yet; `vault undelete` takes them back
    #[arg(long)]
    forgotten: bool,
}

printed! {
    /// What `vault snapshots` prints.
    struct Listing<'a>(rows: &'a [Row<'_>], damaged: &'a [String]) {
        /// Each snapshot, oldest first.
        snapshots: Vec<&'a Line> = rows.iter().map(|row| &row.line).collect(),
        /// Snapshots that can't be used, with the reason.
        damaged: &'a [String] = damaged,
    }

    /// One snapshot.
    struct Line(catalog: &View, snapshot: &SnapshotEntry, body: Option<&Body>) {
        /// Id.
        id: String = snapshot.id.to_string(),
        /// The time that counts.
        time: String = render::time_rfc3339(snapshot.counted.time),
        /// Name of the source.
        name: String = snapshot.head.source.clone(),
        /// What kind of source it is, like `postgres`; empty if it was taken by hand.
        kind: String = snapshot.head.kind.clone(),
        /// Id that it shares with others that were taken one after the other as one set; null without one.
        set: Option<String> = snapshot.head.set.map(|set| set.to_string()),
        /// Id of its domain.
        domain: String = snapshot.place.domain.to_string(),
        /// What the domain is called; null without a label.
        domain_label: Option<String> = catalog.snapshots.domains.label(snapshot.place.domain).map(str::to_owned),
        /// Id of the snapshot that it was compared with; null without one.
        parent: Option<String> = snapshot.head.parent.map(|parent| parent.to_string()),
        /// Id of what it is a copy of; null unless it is a copy.
        original: Option<String> = snapshot.head.original.map(|original| original.to_string()),
        /// Its writer claims another time, which its arrival does not explain.
        late: bool = snapshot.counted.late,
        /// It is held: nothing drops it.
        held: bool = snapshot.state.is_held(),
        /// When it expires; null for never.
        expires: Option<String> = snapshot.expires().map(render::time_rfc3339),
        /// Files.
        files: u64 = snapshot.head.statistics.files,
        /// Folders.
        directories: u64 = snapshot.head.statistics.directories,
        /// Content bytes.
        bytes: u64 = snapshot.head.statistics.bytes,
        /// Content bytes that were new.
        added_bytes: u64 = snapshot.head.statistics.added_bytes,
        /// Bytes of packs that its run stored.
        stored_bytes: u64 = snapshot.head.statistics.stored_bytes,
        /// Entries that could not be read.
        unreadable: u64 = snapshot.head.statistics.errors,
        /// Host; null without the right to read it, as are all that follow.
        host: Option<String> = body.map(|body| body.host.clone()),
        /// User.
        user: Option<String> = body.map(|body| body.user.clone()),
        /// Tags.
        tags: Option<Vec<String>> = body.map(|body| snapshot.state.tags(&body.tags)),
        /// In the user's words.
        description: Option<String> = body.map(|body| body.description.clone()),
        /// Absolute paths that were read.
        paths: Option<Vec<String>> = body.map(|body| texts(&body.paths)),
        /// The command whose output it is, word by word.
        command: Option<Vec<String>> = body.map(|body| texts(&body.command)),
        /// The last lines that the command said on its standard error.
        messages: Option<Vec<String>> = body.map(|body| vault::source::said(&body.messages)),
        /// What was known of it when it was taken, by name, like `server_version`.
        facts: Option<BTreeMap<String, String>> = body.map(|body| texts_by_name(&body.facts)),
    }
}

/// One snapshot, with what only people are told.
struct Row<'c> {
    snapshot: &'c SnapshotEntry,
    line: Line,
    /// How many of what could not be read repair left out.
    lost: u64,
}

impl<'c> Row<'c> {
    fn of(repository: &Repository, catalog: &View, snapshot: &'c SnapshotEntry) -> Self {
        let body = snapshot.body(repository).ok();
        let line = Line::of(catalog, snapshot, body.as_ref());
        Self { snapshot, line, lost: body.map_or(0, |body| restore::lacks_of(catalog, snapshot, body).lost) }
    }
}

fn texts_by_name(facts: &Facts) -> BTreeMap<String, String> {
    facts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn texts(texts: &[Vec<u8>]) -> Vec<String> {
    texts.iter().map(|text| node::lossy(text)).collect()
}

/// Lists.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context("cannot list snapshots")?;
    let asked = arguments.source.as_deref().or(arguments.name.as_deref());
    let asked = asked.map(|text| address::listed(&catalog, text)).transpose()?;
    let asked: Option<BTreeSet<_>> = asked.map(|all| all.into_iter().map(|one| one.id).collect());
    let wanted = |snapshot: &&SnapshotEntry| {
        snapshot.is_visible() != arguments.forgotten && asked.as_ref().is_none_or(|asked| asked.contains(&snapshot.id))
    };
    let mut rows = Vec::new();
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    // the newest first, since they are counted
    for snapshot in catalog.snapshots.all.iter().rev().filter(wanted) {
        let place = (snapshot.place.domain, snapshot.place.label);
        if arguments.latest.is_some_and(|most| counts.get(&place).is_some_and(|count| *count >= most)) {
            continue;
        }
        let row = Row::of(&repository, &catalog, snapshot);
        let tagged = |tag| row.line.tags.as_ref().is_some_and(|tags| tags.contains(tag));
        if arguments.tag.as_ref().is_none_or(tagged) {
            *counts.entry(place).or_default() += 1;
            rows.push(row);
        }
    }
    rows.reverse();
    let newest = catalog.snapshots.newest(&BTreeSet::new());
    for snapshot in catalog.snapshots.visible().filter(wanted).filter(|one| newest.contains(&one.id)) {
        address::say_oddities(session, snapshot);
    }
    if let Some(hidden) = list::hidden(&catalog).context("cannot list snapshots")?.first() {
        render::complain(&format!("{hidden}{}", hint::of_hidden(hidden)));
    }
    let damaged: Vec<String> = catalog.snapshots.damaged.iter().map(ToString::to_string).collect();
    render::damage(&damaged);
    if session.global.json {
        render::json(&Listing::of(&rows, &damaged));
    } else if let Some(tag) = arguments.tag.as_ref().filter(|_| rows.is_empty()) {
        return Err(Failure::failed(format!("no snapshot has the tag {tag:?}"))
            .hint("`vault snapshots` shows the tags that there are"));
    } else if rows.is_empty() {
        session.say("no snapshots");
    } else {
        show(&catalog, &rows, session.runtime.clock.now());
    }
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn show(catalog: &View, rows: &[Row<'_>], now: WallTime) {
    let is_terminal = std::io::stdout().is_terminal();
    let now = is_terminal.then(|| render::time(now));
    let hosts: BTreeSet<_> = rows.iter().filter_map(|row| row.line.host.as_deref()).collect();
    // on a terminal one that all share tells nothing
    let is_told = hosts.len() > 1 || !is_terminal;
    let times = catalog.snapshots.all.iter().map(|one| ((one.place.domain, one.place.label), one.counted.time));
    let (domains, is_mixed) = (&catalog.snapshots.domains, catalog.snapshots.are_mixed());
    Table::of(rows)
        .text("ID", Give::Never, |row| row.snapshot.id.short())
        .text("TIME", Give::Never, |row| row.snapshot.counted.time)
        .when(is_mixed, |table| table.text("DOMAIN", Give::End(40), |row| domains.show(row.snapshot.place.domain)))
        .text("NAME", Give::End(40), |row| row.line.name.as_str())
        .rare("KIND", Give::Drop(5), |row| if row.line.kind.is_empty() { "-" } else { row.line.kind.as_str() })
        .number("FILES", Give::Drop(3), |row| row.line.files)
        .number("SIZE", Give::Drop(1), |row| render::size(row.line.bytes))
        .number("NEW", Give::Drop(4), |row| render::size(row.line.added_bytes))
        .rare("NOTE", Give::End(40), |row| note(row, now.as_deref()))
        .rare("HOST", Give::Drop(2), |row| row.line.host.as_deref().filter(|_| is_told).unwrap_or("-"))
        .rare("TAGS", Give::EndOrDrop(6, 8), |row| said(&row.line.tags, ",").unwrap_or_else(|| "-".into()))
        .rare("PATHS", Give::StartOrDrop(8, 9), |row| {
            said(&row.line.command, " ").or_else(|| said(&row.line.paths, ", ")).unwrap_or_else(|| "-".into())
        })
        .telling_apart(times)
        .print();
    render::line(&render::count(rows.len() as u64, "snapshot", "snapshots"));
}

/// All of these, if there are any.
fn said(texts: &Option<Vec<String>>, between: &str) -> Option<String> {
    texts.as_ref().filter(|texts| !texts.is_empty()).map(|texts| texts.join(between))
}

/// What is not as it should be, and what the owner said; short, for a reader of this time, or in full.
fn note(row: &Row<'_>, short_for: Option<&str>) -> String {
    let line = &row.line;
    let unread = line.unreadable.saturating_sub(row.lost);
    let mut notes = render::counts([(unread, "unread", "unread"), (row.lost, "lost", "lost")]);
    let is_tagged = line.tags.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == repair::TAG));
    let is_repaired = row.snapshot.left_of().is_some() || is_tagged && line.original.is_some();
    let words = [(is_repaired, "repaired copy"), (line.late, "late"), (line.held, "held")];
    notes.extend(words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    if let Some(expires) = &line.expires {
        let day: String = expires.chars().take(10).collect();
        notes.push(match (short_for, day.split_once('-')) {
            (Some(now), Some((year, rest))) if now.starts_with(year) => format!("exp. {rest}"),
            (Some(_), _) => format!("exp. {day}"),
            (None, _) => format!("expires {day}"),
        });
    }
    if notes.is_empty() { "-".into() } else { notes.join(", ") }
}
