//! `vault snapshots`: lists what can be restored, oldest first. A content part that this key may not open shows as `-`.

use super::exit::{Context, code};
use super::{Outcome, Session, address, render};
use serde::Serialize;
use std::collections::BTreeSet;
use vault::list;
use vault::repository::Repository;
use vault::repository::snapshots::SnapshotEntry;
use vault_format::snapshot::Body;

/// List snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault snapshots
  vault snapshots --name app-db --tag before-upgrade --json")]
pub struct Arguments {
    /// Only those of this source, NAME or DOMAIN/NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// List those that were forgotten and are not deleted yet; `vault undelete` takes them back
    #[arg(long)]
    forgotten: bool,
}

#[derive(Serialize)]
struct Listing {
    snapshots: Vec<Line>,
    damaged: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    id: String,
    time: String,
    name: String,
    domain: String,
    parent: Option<String>,
    late: bool,
    held: bool,
    expires: Option<String>,
    files: u64,
    directories: u64,
    bytes: u64,
    added_bytes: u64,
    stored_bytes: u64,
    unreadable: u64,
    host: Option<String>,
    user: Option<String>,
    tags: Option<Vec<String>>,
    description: Option<String>,
    paths: Option<Vec<String>>,
    command: Option<Vec<String>>,
}

/// Lists.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context("cannot list snapshots")?;
    let wanted = |snapshot: &&SnapshotEntry| {
        snapshot.is_visible() != arguments.forgotten && arguments.name.as_ref().is_none_or(|name| snapshot.is_of(name))
    };
    let mut lines = Vec::new();
    for snapshot in catalog.snapshots.all.iter().filter(wanted) {
        let line = line(&repository, snapshot);
        let tagged = |tag| line.tags.as_ref().is_some_and(|tags| tags.contains(tag));
        if arguments.tag.as_ref().is_none_or(tagged) {
            lines.push((snapshot.counted.time, line));
        }
    }
    let newest = catalog.snapshots.newest(&BTreeSet::new());
    for snapshot in catalog.snapshots.visible().filter(wanted).filter(|one| newest.contains(&one.id)) {
        address::say_oddities(session, snapshot);
    }
    let damaged: Vec<String> = catalog
        .snapshots
        .damaged
        .iter()
        .map(|(name, why)| if why.contains(&name.to_string()) { why.clone() } else { format!("{name}: {why}") })
        .collect();
    damaged.iter().for_each(|damage| render::complain(&format!("{}; see `vault check`", super::exit::plain(damage))));
    if session.global.json {
        render::json(&Listing { snapshots: lines.into_iter().map(|(_, line)| line).collect(), damaged });
    } else if lines.is_empty() {
        session.say("no snapshots");
    } else {
        show(&lines);
    }
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn show(lines: &[(i64, Line)]) {
    let heading = ["ID", "TIME", "NAME", "FILES", "SIZE", "NEW", "HOST", "TAGS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (time, line) in lines {
        let mut tags = line.tags.clone().map_or("-".into(), |tags| tags.join(","));
        if line.held {
            tags.push_str(" (held)");
        }
        if line.late {
            tags.push_str(" (late)");
        }
        if let Some(expires) = &line.expires {
            tags.push_str(&format!(" (expires {})", expires.chars().take(10).collect::<String>()));
        }
        rows.push(vec![
            line.id.chars().take(8).collect(),
            render::time(*time),
            line.name.clone(),
            line.files.to_string(),
            render::size(line.bytes),
            render::size(line.added_bytes),
            render::safe(line.host.as_deref().unwrap_or("-")),
            render::safe(&tags),
        ]);
    }
    render::table(&rows);
    render::line(&render::count(lines.len() as u64, "snapshot", "snapshots"));
}

fn line(repository: &Repository, snapshot: &SnapshotEntry) -> Line {
    let body: Option<Body> = snapshot.body(repository).ok();
    let body = body.as_ref();
    let texts = |texts: &Vec<Vec<u8>>| texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let head = &snapshot.head;
    Line {
        id: snapshot.id.to_string(),
        time: render::time_rfc3339(snapshot.counted.time),
        name: head.source.clone(),
        domain: snapshot.place.domain.to_string(),
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
        host: body.map(|body| body.host.clone()),
        user: body.map(|body| body.user.clone()),
        tags: body.map(|body| snapshot.state.tags(&body.tags)),
        description: body.map(|body| body.description.clone()),
        paths: body.map(|body| texts(&body.paths)),
        command: body.map(|body| texts(&body.command)),
    }
}
