//! `vault snapshots`: lists what can be restored, oldest first, with what is not as it should be: gaps, repaired copies,
//! times that are not believed. A content part that this key may not open shows as `-`.

use super::exit::{Context, Failure, code};
use super::session::Session;
use super::table::{Cell, Give, Table};
use super::{Outcome, address, render};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use vault::repository::Repository;
use vault::repository::{SnapshotEntry, View};
use vault::time::WallTime;
use vault::{list, repair, restore};
use vault_format::snapshot::Body;

/// List snapshots
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

/// What `vault snapshots` prints.
#[derive(Serialize)]
struct Listing {
    /// Each snapshot, oldest first.
    snapshots: Vec<Line>,
    /// Snapshots that can't be used, with the reason.
    damaged: Vec<String>,
}

/// One snapshot.
#[derive(Serialize)]
struct Line {
    /// Id.
    id: String,
    /// The time that counts.
    time: String,
    /// Name of the source.
    name: String,
    /// Id of its domain.
    domain: String,
    /// What the domain is called; null without a label.
    domain_label: Option<String>,
    /// Id of the snapshot that it was compared with; null without one.
    parent: Option<String>,
    /// Id of what it is a copy of; null unless it is a copy.
    original: Option<String>,
    #[serde(skip)]
    is_repaired: bool,
    /// Its writer claims another time, which its arrival does not explain.
    late: bool,
    /// It is held: nothing drops it.
    held: bool,
    /// When it expires; null for never.
    expires: Option<String>,
    /// Files.
    files: u64,
    /// Folders.
    directories: u64,
    /// Content bytes.
    bytes: u64,
    /// Content bytes that were new.
    added_bytes: u64,
    /// Bytes of packs that its run stored.
    stored_bytes: u64,
    /// Entries that could not be read.
    unreadable: u64,
    /// How many of these repair left out.
    #[serde(skip)]
    lost: u64,
    /// Host; null without the right to read it, as are all that follow.
    host: Option<String>,
    /// User.
    user: Option<String>,
    /// Tags.
    tags: Option<Vec<String>>,
    /// In the user's words.
    description: Option<String>,
    /// Absolute paths that were read.
    paths: Option<Vec<String>>,
    /// The command whose output it is, word by word.
    command: Option<Vec<String>>,
    /// The last lines that the command said on its standard error.
    messages: Option<Vec<String>>,
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
    let mut lines = Vec::new();
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    // the newest first, since they are counted
    for snapshot in catalog.snapshots.all.iter().rev().filter(wanted) {
        let place = (snapshot.place.domain, snapshot.place.label);
        if arguments.latest.is_some_and(|most| counts.get(&place).is_some_and(|count| *count >= most)) {
            continue;
        }
        let line = line(&repository, &catalog, snapshot);
        let tagged = |tag| line.tags.as_ref().is_some_and(|tags| tags.contains(tag));
        if arguments.tag.as_ref().is_none_or(tagged) {
            *counts.entry(place).or_default() += 1;
            lines.push((snapshot.counted.time, line));
        }
    }
    lines.reverse();
    let newest = catalog.snapshots.newest(&BTreeSet::new());
    for snapshot in catalog.snapshots.visible().filter(wanted).filter(|one| newest.contains(&one.id)) {
        address::say_oddities(session, snapshot);
    }
    let damaged: Vec<String> = catalog.snapshots.damaged.iter().map(ToString::to_string).collect();
    damaged.iter().for_each(|damage| render::complain(&format!("{}; see `vault check`", super::plain::line(damage))));
    if session.global.json {
        render::json(&Listing { snapshots: lines.into_iter().map(|(_, line)| line).collect(), damaged });
    } else if let Some(tag) = arguments.tag.as_ref().filter(|_| lines.is_empty()) {
        return Err(Failure::new(code::FAILED, format!("no snapshot has the tag {tag:?}"))
            .hint("`vault snapshots` shows the tags that there are"));
    } else if lines.is_empty() {
        session.say("no snapshots");
    } else {
        show(&catalog, &lines, session.runtime.clock.now());
    }
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn show(catalog: &View, lines: &[(WallTime, Line)], now: WallTime) {
    let is_mixed = catalog.snapshots.are_mixed();
    let is_terminal = std::io::stdout().is_terminal();
    let now = is_terminal.then(|| render::time(now));
    let hosts: BTreeSet<_> = lines.iter().filter_map(|(_, line)| line.host.as_deref()).collect();
    let times = catalog.snapshots.all.iter().map(|one| ((one.place.domain, one.place.label), one.counted.time));
    let mut table = Table::new()
        .text("ID", Give::Never)
        .text("TIME", Give::Never)
        .when(is_mixed, |table| table.text("DOMAIN", Give::End(40)))
        .text("NAME", Give::End(40))
        .number("FILES", Give::Drop(3))
        .number("SIZE", Give::Drop(1))
        .number("NEW", Give::Drop(4))
        .rare("NOTE", Give::End(40))
        .rare("HOST", Give::Drop(2))
        .rare("TAGS", Give::EndOrDrop(6, 8))
        .rare("PATHS", Give::StartOrDrop(8, 9))
        .telling_apart(times);
    for (time, line) in lines {
        let mut row: Vec<Cell> = vec![line.id.chars().take(8).collect::<String>().into(), Cell::Time(*time)];
        if is_mixed {
            let label = line.domain_label.clone().unwrap_or_else(|| line.domain.chars().take(8).collect());
            row.push(render::safe(&label).into());
        }
        row.extend([line.name.clone().into(), line.files.to_string().into()]);
        row.extend([render::size(line.bytes).into(), render::size(line.added_bytes).into()]);
        let tags = line.tags.as_ref().filter(|tags| !tags.is_empty()).map_or("-".into(), |tags| tags.join(","));
        // on a terminal one that all share tells nothing
        let is_told = hosts.len() > 1 || !is_terminal;
        let host = line.host.as_deref().filter(|_| is_told).unwrap_or("-");
        row.extend([
            note(line, now.as_deref()).into(),
            render::safe(host).into(),
            render::safe(&tags).into(),
            origin(line).into(),
        ]);
        table.row(row);
    }
    table.print();
    render::line(&render::count(lines.len() as u64, "snapshot", "snapshots"));
}

/// What is not as it should be, and what the owner said; short, for a reader of this time, or in full.
fn note(line: &Line, short_for: Option<&str>) -> String {
    let mut notes = Vec::new();
    for (count, what) in [(line.unreadable.saturating_sub(line.lost), "unread"), (line.lost, "lost")] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    let is_tagged = line.tags.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == repair::TAG));
    if line.is_repaired || is_tagged && line.original.is_some() {
        notes.push("repaired copy".into());
    }
    if line.late {
        notes.push("late".into());
    }
    if line.held {
        notes.push("held".into());
    }
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

/// What it was taken of: paths, or the command.
fn origin(line: &Line) -> String {
    let named = |texts: &Option<Vec<String>>, between: &str| {
        texts.as_ref().filter(|texts| !texts.is_empty()).map(|texts| texts.join(between))
    };
    let text = named(&line.command, " ").or_else(|| named(&line.paths, ", "));
    render::safe(&text.unwrap_or_else(|| "-".into()))
}

fn line(repository: &Repository, catalog: &View, snapshot: &SnapshotEntry) -> Line {
    let body: Option<Body> = snapshot.body(repository).ok();
    let body = body.as_ref();
    let texts = |texts: &Vec<Vec<u8>>| texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let head = &snapshot.head;
    Line {
        id: snapshot.id.to_string(),
        time: render::time_rfc3339(snapshot.counted.time),
        name: head.source.clone(),
        domain: snapshot.place.domain.to_string(),
        domain_label: catalog.snapshots.domains.label(snapshot.place.domain).map(str::to_owned),
        original: head.original.map(|original| original.to_string()),
        is_repaired: snapshot.left_of().is_some(),
        parent: head.parent.map(|parent| parent.to_string()),
        late: snapshot.counted.late,
        held: snapshot.state.is_held(),
        expires: snapshot.expires().map(render::time_rfc3339),
        files: head.statistics.files,
        directories: head.statistics.directories,
        bytes: head.statistics.bytes,
        added_bytes: head.statistics.added_bytes,
        stored_bytes: head.statistics.stored_bytes,
        unreadable: head.statistics.errors,
        lost: body.map_or(0, |body| restore::lacks_of(catalog, snapshot, body.clone()).lost),
        host: body.map(|body| body.host.clone()),
        user: body.map(|body| body.user.clone()),
        tags: body.map(|body| snapshot.state.tags(&body.tags)),
        description: body.map(|body| body.description.clone()),
        paths: body.map(|body| texts(&body.paths)),
        command: body.map(|body| texts(&body.command)),
        messages: body.map(|body| vault::source::said(&body.messages)),
    }
}
