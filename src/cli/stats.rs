//! `vault stats`: how much there is, what each source costs to store, and what each run added. With a NAME also what changed in
//! the newest run, and which paths made it grow.

use super::exit::{Context, Failure, code};
use super::session::Session;
use super::table::{Cell, Give, Table};
use super::{Outcome, diff, node, render};
use serde::Serialize;
use vault::list;
use vault::repository::Repository;
use vault::repository::{SnapshotEntry, View};
use vault::stats::{self, Cost, Costs, Files, Growth, Needed, Objects, Stored};
use vault_format::bundle::Role;

/// Show how much is stored, and what each run added
///
/// Without a NAME: every source, and what the repository holds. With one: its runs, and what changed in the newest.
/// ALONE is what would be freed without a source, SHARED what it needs and others need too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault stats
  vault stats uploads")]
pub struct Arguments {
    /// Only this source, and its runs
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Do not look at what each source costs: that reads all folders of all snapshots
    #[arg(long)]
    quick: bool,
}

/// What `vault stats` prints.
#[derive(Serialize)]
struct Figures {
    /// Each source that was asked for.
    sources: Vec<Source>,
    /// What the store holds.
    repository: RepositoryFigures,
}

/// One source.
#[derive(Serialize)]
struct Source {
    /// Name of the source.
    name: String,
    /// Id of its domain.
    domain: String,
    /// What the domain is called; null without a label.
    domain_label: Option<String>,
    /// How many snapshots it has.
    snapshots: u64,
    /// Time of the first.
    first_time: String,
    /// Time of the last.
    last_time: String,
    /// Files of the newest.
    files: u64,
    /// Content bytes of the newest.
    bytes: u64,
    /// Content bytes of all its snapshots together.
    logical_bytes: u64,
    /// Stored bytes that it needs; null with a writer's key or --quick.
    stored_bytes: Option<u64>,
    /// Stored bytes that only it needs; null like `stored_bytes`.
    alone_bytes: Option<u64>,
    /// Stored bytes that others need too; null like `stored_bytes`.
    shared_bytes: Option<u64>,
    /// Content bytes that its listed runs added.
    added_bytes: u64,
    /// Bytes of packs that its listed runs stored.
    runs_stored_bytes: u64,
    /// Its runs, only with NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<Run>>,
    /// What its newest run changed, only with NAME and the right to read content.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

/// One run of a source.
#[derive(Serialize)]
struct Run {
    /// Id of the snapshot.
    id: String,
    /// Its time.
    time: String,
    /// Files in it.
    files: u64,
    /// Files that were read.
    read_files: u64,
    /// Content bytes in it.
    bytes: u64,
    /// Content bytes that were new.
    added_bytes: u64,
    /// Bytes of packs that it stored.
    stored_bytes: u64,
    /// Entries that could not be read.
    unreadable: u64,
    /// How long the run took.
    duration_seconds: f64,
}

/// What the newest run changed.
#[derive(Serialize)]
struct Newest {
    /// Id of the snapshot.
    id: String,
    /// Id of the one before; null for the first.
    parent: Option<String>,
    /// Files that are new.
    new_files: u64,
    /// Their bytes.
    new_bytes: u64,
    /// Files of other content.
    changed_files: u64,
    /// Their bytes that the version before lacked.
    changed_bytes: u64,
    /// Files that are gone.
    removed_files: u64,
    /// Their bytes.
    removed_bytes: u64,
    /// The entries that added or removed most, largest first.
    largest: Vec<Largest>,
}

/// An entry that added or removed much.
#[derive(Serialize)]
struct Largest {
    /// Path; of a new or vanished folder only its own.
    path: String,
    /// The bytes of the path in hex, only if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    /// As in `diff`.
    change: &'static str,
    /// It is a folder.
    directory: bool,
    /// Bytes that it added.
    added_bytes: u64,
    /// Bytes that it removed.
    removed_bytes: u64,
}

/// What the store holds.
#[derive(Serialize)]
struct RepositoryFigures {
    /// All stored bytes.
    stored_bytes: u64,
    /// Packs of content.
    data_packs: u64,
    /// Their bytes.
    data_bytes: u64,
    /// Packs of trees and lists.
    tree_packs: u64,
    /// Their bytes.
    tree_bytes: u64,
    /// Index objects.
    index_objects: u64,
    /// Their bytes.
    index_bytes: u64,
    /// Snapshot objects.
    snapshot_objects: u64,
    /// Their bytes.
    snapshot_bytes: u64,
    /// All other objects.
    other_objects: u64,
    /// Their bytes.
    other_bytes: u64,
    /// Content bytes of all visible snapshots together.
    logical_bytes: u64,
    /// Content bytes in different blobs.
    unique_bytes: u64,
    /// Packs kept for runs that may go on, with the owner's key.
    unfinished_packs: u64,
    /// Their bytes.
    unfinished_bytes: u64,
    /// Until when the last of them is kept; null if there is none.
    unfinished_until: Option<String>,
    /// `logical_bytes` to `unique_bytes`; null of nothing.
    dedup_ratio: Option<f64>,
    /// Bytes of content before to those after compression; null of nothing.
    compression_ratio: Option<f64>,
}

/// Shows.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = "cannot tell what is stored";
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(what)?;
    let sources = stats::sources(&catalog, arguments.name.as_deref()).context(what)?;
    if let (Some(name), true) = (&arguments.name, sources.is_empty()) {
        return Err(Failure::new(code::FAILED, format!("{what}: there is no source {name:?}"))
            .hint("`vault stats` lists what there is"));
    }
    let stored = stats::stored(&repository, &catalog).context(what)?;
    let costs = costs(session, arguments, &repository, (&catalog, &sources)).context(what)?;
    let heads: Vec<String> = catalog.snapshots.damaged.iter().map(ToString::to_string).collect();
    let damaged = heads.iter().chain(&stored.damaged).chain(&costs.unread);
    damaged.for_each(|damage| render::complain(&format!("{}; see `vault check`", super::plain::line(damage))));
    let mut growths = Vec::new();
    for source in sources.iter().filter(|_| arguments.name.is_some()) {
        growths.push(newest(session, &repository, &catalog, source).context(what)?);
    }
    if session.global.json {
        let mut growths = growths.into_iter();
        let fields = |source: &stats::Source<'_>| Source {
            domain_label: catalog.snapshots.domains.label(source.domain).map(str::to_owned),
            ..fields(source, costs.of(source), arguments.name.is_some(), growths.next().flatten())
        };
        let sources = sources.iter().map(fields).collect();
        render::json(&Figures { sources, repository: repository_fields(&stored) });
    } else if !session.global.quiet {
        show_sources(&catalog, &sources, &costs);
        for (source, growth) in sources.iter().zip(&growths) {
            show_runs(source);
            growth.iter().for_each(show_growth);
        }
        if arguments.name.is_none() {
            show_repository(&stored, costs.needed);
        }
    }
    session.say_requests(&repository);
    Ok(code::DONE)
}

/// What each source costs; nothing if that is not wanted, or not for this key to know.
fn costs(
    session: &Session,
    arguments: &Arguments,
    repository: &Repository,
    (catalog, sources): (&View, &[stats::Source<'_>]),
) -> vault::error::Result<Costs> {
    if arguments.quick || repository.keys().role() == Role::Writer {
        return Ok(Costs::default());
    }
    let progress = session.progress("reading folders").watch(repository.backend());
    let costs = stats::costs(repository, catalog, sources, &progress);
    progress.done();
    costs
}

/// What the newest run changed; `None` if this key opens no trees.
fn newest(
    session: &Session,
    repository: &Repository,
    catalog: &View,
    source: &stats::Source<'_>,
) -> vault::error::Result<Option<Growth>> {
    let Some(newest) = source.snapshots.last().filter(|_| repository.keys().role() != Role::Writer) else {
        session.say_notes(&["a writer's key does not tell what changed: that is content".to_owned()]);
        return Ok(None);
    };
    stats::growth(repository, catalog, source, newest).map(Some)
}

fn sum(source: &stats::Source<'_>, figure: impl Fn(&SnapshotEntry) -> u64) -> u64 {
    source.snapshots.iter().fold(0, |sum, snapshot| sum.saturating_add(figure(snapshot)))
}

fn time_of(snapshot: Option<&&SnapshotEntry>) -> String {
    snapshot.map_or_else(String::new, |snapshot| render::time_rfc3339(snapshot.counted.time))
}

fn fields(source: &stats::Source<'_>, cost: Option<Cost>, runs: bool, growth: Option<Growth>) -> Source {
    let newest = source.snapshots.last();
    let id = newest.map_or_else(String::new, |snapshot| snapshot.id.to_string());
    let statistics = newest.map(|snapshot| snapshot.head.statistics).unwrap_or_default();
    Source {
        name: source.name.to_owned(),
        domain: source.domain.to_string(),
        domain_label: None,
        snapshots: source.snapshots.len() as u64,
        first_time: time_of(source.snapshots.first()),
        last_time: time_of(newest),
        files: statistics.files,
        bytes: statistics.bytes,
        logical_bytes: sum(source, |snapshot| snapshot.head.statistics.bytes),
        stored_bytes: cost.map(|cost| cost.bytes()),
        alone_bytes: cost.map(|cost| cost.alone),
        shared_bytes: cost.map(|cost| cost.shared),
        added_bytes: sum(source, |snapshot| snapshot.head.statistics.added_bytes),
        runs_stored_bytes: sum(source, |snapshot| snapshot.head.statistics.stored_bytes),
        runs: runs.then(|| source.snapshots.iter().map(|snapshot| run_fields(snapshot)).collect()),
        newest: growth.map(|growth| newest_fields(id, growth)),
    }
}

fn run_fields(snapshot: &SnapshotEntry) -> Run {
    let figures = &snapshot.head.statistics;
    Run {
        id: snapshot.id.to_string(),
        time: render::time_rfc3339(snapshot.counted.time),
        files: figures.files,
        read_files: figures.files.saturating_sub(figures.unchanged_files),
        bytes: figures.bytes,
        added_bytes: figures.added_bytes,
        stored_bytes: figures.stored_bytes,
        unreadable: figures.errors,
        duration_seconds: std::time::Duration::from_nanos(figures.duration).as_secs_f64(),
    }
}

fn newest_fields(id: String, growth: Growth) -> Newest {
    Newest {
        id,
        parent: growth.parent.map(|parent| parent.to_string()),
        new_files: growth.new.count,
        new_bytes: growth.new.bytes,
        changed_files: growth.changed.count,
        changed_bytes: growth.changed.bytes,
        removed_files: growth.removed.count,
        removed_bytes: growth.removed.bytes,
        largest: growth
            .largest
            .into_iter()
            .map(|large| Largest {
                path: node::lossy(&large.path),
                path_hex: node::hex(&large.path),
                change: diff::word(large.difference),
                directory: large.is_directory,
                added_bytes: large.added_bytes,
                removed_bytes: large.removed_bytes,
            })
            .collect(),
    }
}

fn repository_fields(stored: &Stored) -> RepositoryFigures {
    RepositoryFigures {
        stored_bytes: stored.bytes(),
        data_packs: stored.data.count,
        data_bytes: stored.data.bytes,
        tree_packs: stored.metadata.count,
        tree_bytes: stored.metadata.bytes,
        index_objects: stored.index.count,
        index_bytes: stored.index.bytes,
        snapshot_objects: stored.snapshots.count,
        snapshot_bytes: stored.snapshots.bytes,
        other_objects: stored.other.count,
        other_bytes: stored.other.bytes,
        logical_bytes: stored.logical_bytes,
        unique_bytes: stored.unique_bytes,
        unfinished_packs: stored.unfinished.packs,
        unfinished_bytes: stored.unfinished.bytes,
        unfinished_until: stored.unfinished.until.map(render::time_rfc3339),
        dedup_ratio: ratio(stored.logical_bytes, stored.unique_bytes),
        compression_ratio: ratio(stored.plain_bytes, stored.compressed_bytes),
    }
}

/// How many times the second the first is; `None` of nothing.
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| (of as f64 / to as f64 * 100.0).round() / 100.0)
}

fn show_sources(catalog: &View, sources: &[stats::Source<'_>], costs: &Costs) {
    if sources.is_empty() {
        render::line("no snapshots");
        return;
    }
    let is_mixed = catalog.snapshots.are_mixed();
    let mut table = Table::new()
        .when(is_mixed, |table| table.text("DOMAIN", Give::End(8)))
        .text("NAME", Give::End(8))
        .number("SNAPSHOTS", Give::Drop(1))
        .text("FIRST", Give::Drop(5))
        .text("LAST", Give::Drop(2))
        .number("FILES", Give::Drop(3))
        .number("SIZE", Give::Never)
        .number("ALL SIZES", Give::Drop(4))
        .rare_number("ALONE", Give::Never)
        .rare_number("SHARED", Give::Never)
        .rare("NOTE", Give::End(9));
    for source in sources {
        let newest = source.snapshots.last().map(|snapshot| snapshot.head.statistics).unwrap_or_default();
        let mut row: Vec<Cell> = Vec::new();
        if is_mixed {
            row.push(render::safe(&catalog.snapshots.domains.show(source.domain)).into());
        }
        row.extend([source.name.into(), source.snapshots.len().to_string().into()]);
        let time = |snapshot: Option<&&SnapshotEntry>| snapshot.map_or("-".into(), |one| Cell::Time(one.counted.time));
        row.extend([time(source.snapshots.first()), time(source.snapshots.last())]);
        row.extend([newest.files.to_string().into(), render::size(newest.bytes).into()]);
        row.push(render::size(sum(source, |snapshot| snapshot.head.statistics.bytes)).into());
        let cost = costs.of(source);
        let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), render::size).into();
        row.extend([size(cost.map(|cost| cost.alone)), size(cost.map(|cost| cost.shared))]);
        row.push(unread(newest.errors).into());
        table.row(row);
    }
    table.print();
}

/// How many entries the newest run could not read.
fn unread(errors: u64) -> String {
    if errors == 0 { "-".into() } else { format!("{errors} unread") }
}

fn show_runs(source: &stats::Source<'_>) {
    render::line("");
    let mut table = Table::new()
        .text("ID", Give::Never)
        .text("TIME", Give::Never)
        .number("FILES", Give::Drop(1))
        .number("READ", Give::Drop(3))
        .number("SIZE", Give::Never)
        .number("ADDED", Give::Never)
        .number("STORED", Give::Drop(2))
        .number("TOOK", Give::Drop(4))
        .rare("NOTE", Give::Never)
        .telling_apart(source.snapshots.iter().map(|snapshot| ((), snapshot.counted.time)));
    for snapshot in &source.snapshots {
        let figures = &snapshot.head.statistics;
        table.row(vec![
            snapshot.id.short().into(),
            Cell::Time(snapshot.counted.time),
            figures.files.to_string().into(),
            figures.files.saturating_sub(figures.unchanged_files).to_string().into(),
            render::size(figures.bytes).into(),
            render::size(figures.added_bytes).into(),
            render::size(figures.stored_bytes).into(),
            render::duration(figures.duration).into(),
            unread(figures.errors).into(),
        ]);
    }
    table.print();
}

fn show_growth(growth: &Growth) {
    let files = |files: Files, verb| {
        format!("{} {verb} ({})", render::count(files.count, "file", "files"), render::size(files.bytes))
    };
    let against = growth.parent.map_or("as the first".into(), |parent| format!("against {}", parent.short()));
    render::line("");
    render::line(&format!(
        "the newest, {against}: {}, {}, {}",
        files(growth.new, "new"),
        files(growth.changed, "changed"),
        files(growth.removed, "gone")
    ));
    let mut table =
        Table::new().text("", Give::Never).number("", Give::Never).number("", Give::Never).text("", Give::Start(16));
    for large in &growth.largest {
        let slash = if large.is_directory { "/" } else { "" };
        table.row(vec![
            diff::letter(large.difference).to_string().into(),
            format!("+{}", render::size(large.added_bytes)).into(),
            format!("-{}", render::size(large.removed_bytes)).into(),
            format!("{}{slash}", render::name(&large.path)).into(),
        ]);
    }
    table.print();
}

/// What of it is different content, and what visible snapshots do not need. The index tells of what was forgotten until
/// prune is through with it: where nobody looked at what is needed, its sum may be no part of what snapshots hold.
fn totals(stored: &Stored, needed: Option<Needed>) -> Vec<String> {
    let times = |of, to| ratio(of, to).filter(|ratio| *ratio > 1.0).map(|ratio| format!("{ratio:.2} times"));
    let different = needed.map_or(stored.unique_bytes, |needed| needed.content.min(stored.unique_bytes));
    let shared = times(stored.logical_bytes, different).map(|times| format!("shared {times}"));
    let compressed = times(stored.plain_bytes, stored.compressed_bytes).map(|times| format!("compressed {times}"));
    let mut parts = vec![format!("{} of it different", render::size(different))];
    if different > stored.logical_bytes {
        parts.clear();
    }
    parts.extend(shared.into_iter().chain(compressed));
    let mut lines = vec![parts.join(", ")];
    lines.retain(|line| !line.is_empty());
    let packs = stored.data.bytes.saturating_add(stored.metadata.bytes).saturating_sub(stored.unfinished.bytes);
    let unneeded = needed.map_or(0, |needed| packs.saturating_sub(needed.stored));
    // what prune leaves beside what is needed, and directories of packs, are always there
    if needed.is_some_and(|needed| unneeded > needed.stored / 8 + (1 << 16)) {
        lines.push(format!("{} belong to forgotten snapshots or none: `vault prune`", render::size(unneeded)));
    }
    lines
}

fn show_repository(stored: &Stored, needed: Option<Needed>) {
    render::line("");
    let mut table = Table::new().text("STORED", Give::Never).number("OBJECTS", Give::Never).number("SIZE", Give::Never);
    let kinds: [(&str, Objects); 5] = [
        ("content", stored.data),
        ("folders", stored.metadata),
        ("index", stored.index),
        ("snapshots", stored.snapshots),
        ("other", stored.other),
    ];
    for (name, objects) in kinds {
        table.row(vec![name.into(), objects.count.to_string().into(), render::size(objects.bytes).into()]);
    }
    table.print();
    render::line(&format!(
        "{} stored for {} in all snapshots",
        render::size(stored.bytes()),
        render::size(stored.logical_bytes)
    ));
    totals(stored, needed).into_iter().for_each(|line| render::line(&line));
    super::prune::unfinished(&stored.unfinished).into_iter().for_each(|kept| render::line(&kept));
}
