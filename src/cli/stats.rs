//! `vault stats`: how much there is, what each source costs to store, and what each run added. With a NAME also what changed in
//! the newest run, and which paths made it grow.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, code, diff, node, render};
use std::collections::BTreeMap;
use vault::list;
use vault::repository::{SnapshotEntry, View};
use vault::stats::{self, Added, Cost, Costs, Files, Growth, Large, Needed, Objects, Stored};
use vault_format::bundle::Role;
use vault_format::facts::Facts;
use vault_format::id::ObjectId;
use vault_format::snapshot::{Body, Statistics};

/// Facts of a snapshot that are shown.
const FACTS_SHOWN: usize = 40;

/// Show how much is stored, and what each run added
///
/// Without a NAME: every source, and what the repository holds. With one: its runs, and what changed in the newest.
/// ALONE is what would be freed without a source, SHARED what it needs and others need too.
///
/// With a NAME also what each of its snapshots needs that none before it needs, in stored bytes: CHUNKS new pieces of
/// content, of which WHOLE are stored as they are and DELTAS as the difference to others; PAGES of folders and of lists
/// of chunks; INDEX, what tells where that lies, what packs are filled up with, and the snapshot itself.
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

printed! {
    /// What `vault stats` prints.
    struct Figures<'a>(sources: Vec<Source<'a>>, stored: &Stored) {
        /// Each source that was asked for.
        sources: Vec<Source<'a>> = sources,
        /// What the store holds.
        repository: RepositoryFigures = RepositoryFigures::of(stored),
    }

    /// One source.
    struct Source<'a>(catalog: &View, is_named: bool, told: &'a Told<'_>) {
        /// Name of the source.
        name: &'a str = told.source.name,
        /// Id of its domain.
        domain: String = told.source.domain.to_string(),
        /// What the domain is called; null without a label.
        domain_label: Option<String> = catalog.snapshots.domains.label(told.source.domain).map(str::to_owned),
        /// What kind of source the newest is of, like `postgres`; empty if it was taken by hand.
        kind: &'a str = &told.last.head.kind,
        /// How many snapshots it has.
        snapshots: u64 = told.source.snapshots.len() as u64,
        /// Time of the first.
        first_time: String = render::time_rfc3339(told.first.counted.time),
        /// Time of the last.
        last_time: String = render::time_rfc3339(told.last.counted.time),
        /// Files of the newest.
        files: u64 = told.last.head.statistics.files,
        /// Content bytes of the newest.
        bytes: u64 = told.last.head.statistics.bytes,
        /// Content bytes of all its snapshots together.
        logical_bytes: u64 = told.sum(|figures| figures.bytes),
        /// Stored bytes that it needs; null with a writer's key or --quick.
        stored_bytes: Option<u64> = told.cost.map(|cost| cost.bytes()),
        /// Stored bytes that only it needs; null like `stored_bytes`.
        alone_bytes: Option<u64> = told.cost.map(|cost| cost.alone),
        /// Stored bytes that others need too; null like `stored_bytes`.
        shared_bytes: Option<u64> = told.cost.map(|cost| cost.shared),
        /// Content bytes that its listed runs added.
        added_bytes: u64 = told.sum(|figures| figures.added_bytes),
        /// Bytes of packs that its listed runs stored.
        runs_stored_bytes: u64 = told.sum(|figures| figures.stored_bytes),
        /// Its runs, only with NAME.
        #[serde(skip_serializing_if = "Option::is_none")]
        runs: Option<Vec<Run>> = is_named.then(|| told.runs().map(|(run, figures)| Run::of(told, run, figures)).collect()),
        /// What its newest run changed, only with NAME and the right to read content.
        #[serde(skip_serializing_if = "Option::is_none")]
        newest: Option<Newest> = told.growth.as_ref().map(|growth| Newest::of(told.last, growth, &told.facts)),
    }

    /// One run of a source.
    struct Run(told: &Told<'_>, run: &SnapshotEntry, figures: &Statistics) {
        /// Id of the snapshot.
        id: String = run.id.to_string(),
        /// Its time.
        time: String = render::time_rfc3339(run.counted.time),
        /// Files in it.
        files: u64 = figures.files,
        /// Files that were read.
        read_files: u64 = figures.files.saturating_sub(figures.unchanged_files),
        /// Content bytes in it.
        bytes: u64 = figures.bytes,
        /// Content bytes that were new.
        added_bytes: u64 = figures.added_bytes,
        /// Bytes of packs that it stored.
        stored_bytes: u64 = figures.stored_bytes,
        /// Entries that could not be read.
        unreadable: u64 = figures.errors,
        /// How long the run took.
        duration_seconds: f64 = std::time::Duration::from_nanos(figures.duration).as_secs_f64(),
        /// What it needs that no listed one before it needs; null with a writer's key or --quick.
        needs: Option<Causes> = told.added.get(&run.id).map(Causes::of),
    }

    /// What is stored, by cause.
    struct Causes(added: &Added) {
        /// Pieces of content that are stored as they are.
        whole_chunks: u64 = added.whole.count,
        /// Their stored bytes.
        whole_bytes: u64 = added.whole.bytes,
        /// Pieces of content that are stored as the difference to others.
        delta_chunks: u64 = added.deltas.count,
        /// Their stored bytes.
        delta_bytes: u64 = added.deltas.bytes,
        /// Pages of folders, and of lists of chunks.
        pages: u64 = added.pages.count,
        /// Their stored bytes.
        page_bytes: u64 = added.pages.bytes,
        /// The snapshot itself, and its part of index objects and of what packs hold beside content and pages: what tells where
        /// these lie, and what hides how long they are.
        index_bytes: u64 = added.index_bytes,
    }

    /// What the newest run changed.
    struct Newest(newest: &SnapshotEntry, growth: &Growth, facts: &Facts) {
        /// Id of the snapshot.
        id: String = newest.id.to_string(),
        /// Id of the one before; null for the first.
        parent: Option<String> = growth.parent.map(|parent| parent.to_string()),
        /// Files that are new.
        new_files: u64 = growth.new.count,
        /// Their bytes.
        new_bytes: u64 = growth.new.bytes,
        /// Files of other content.
        changed_files: u64 = growth.changed.count,
        /// Their bytes that the version before lacked.
        changed_bytes: u64 = growth.changed.bytes,
        /// Files that are gone.
        removed_files: u64 = growth.removed.count,
        /// Their bytes.
        removed_bytes: u64 = growth.removed.bytes,
        /// The entries that added or removed most, largest first.
        largest: Vec<Largest> = growth.largest.iter().map(Largest::of).collect(),
        /// What was known of it when it was taken, by name, like `server_version`.
        facts: BTreeMap<String, String> = facts.iter().map(|(name, value)| (name.into(), value.into())).collect(),
    }

    /// An entry that added or removed much.
    struct Largest(large: &Large) {
        /// Path; of a new or vanished folder only its own.
        path: String = node::lossy(&large.path),
        /// The bytes of the path in hex, only if it is not UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_hex: Option<String> = node::hex(&large.path),
        /// As in `diff`.
        change: &'static str = diff::word(large.difference),
        /// It is a folder.
        directory: bool = large.is_directory,
        /// Bytes that it added.
        added_bytes: u64 = large.added_bytes,
        /// Bytes that it removed.
        removed_bytes: u64 = large.removed_bytes,
    }

    /// What the store holds.
    struct RepositoryFigures(stored: &Stored) {
        /// All stored bytes.
        stored_bytes: u64 = stored.bytes(),
        /// Packs of content.
        data_packs: u64 = stored.data.count,
        /// Their bytes.
        data_bytes: u64 = stored.data.bytes,
        /// Packs of trees and lists.
        tree_packs: u64 = stored.metadata.count,
        /// Their bytes.
        tree_bytes: u64 = stored.metadata.bytes,
        /// Index objects.
        index_objects: u64 = stored.index.count,
        /// Their bytes.
        index_bytes: u64 = stored.index.bytes,
        /// Snapshot objects.
        snapshot_objects: u64 = stored.snapshots.count,
        /// Their bytes.
        snapshot_bytes: u64 = stored.snapshots.bytes,
        /// All other objects.
        other_objects: u64 = stored.other.count,
        /// Their bytes.
        other_bytes: u64 = stored.other.bytes,
        /// Content bytes of all visible snapshots together.
        logical_bytes: u64 = stored.logical_bytes,
        /// Content bytes in different blobs.
        unique_bytes: u64 = stored.unique_bytes,
        /// Packs kept for runs that may go on, with the owner's key.
        unfinished_packs: u64 = stored.unfinished.packs,
        /// Their bytes.
        unfinished_bytes: u64 = stored.unfinished.bytes,
        /// Until when the last of them is kept; null if there is none.
        unfinished_until: Option<String> = stored.unfinished.until.map(render::time_rfc3339),
        /// `logical_bytes` to `unique_bytes`; null of nothing.
        dedup_ratio: Option<f64> = ratio(stored.logical_bytes, stored.unique_bytes),
        /// Bytes of content before to those after compression; null of nothing.
        compression_ratio: Option<f64> = ratio(stored.plain_bytes, stored.compressed_bytes),
    }
}

/// A source, and what is told of it.
struct Told<'a> {
    source: &'a stats::Source<'a>,
    first: &'a SnapshotEntry,
    last: &'a SnapshotEntry,
    /// What it costs; `None` if that was not asked.
    cost: Option<Cost>,
    /// What each of its runs added; empty if that was not asked.
    added: BTreeMap<ObjectId, Added>,
    /// What its newest run changed; `None` if that was not asked, or this key opens no trees.
    growth: Option<Growth>,
    /// What was known of the newest; empty where the growth is none.
    facts: Facts,
}

impl Told<'_> {
    fn runs(&self) -> impl Iterator<Item = (&SnapshotEntry, &Statistics)> {
        self.source.snapshots.iter().map(|snapshot| (*snapshot, &snapshot.head.statistics))
    }

    fn sum(&self, figure: impl Fn(&Statistics) -> u64) -> u64 {
        self.runs().fold(0, |sum, (_, figures)| sum.saturating_add(figure(figures)))
    }
}

/// Shows.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let (what, is_named) = ("cannot tell what is stored", arguments.name.is_some());
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context(what)?;
    let sources = stats::sources(&catalog, arguments.name.as_deref()).context(what)?;
    if let (Some(name), true) = (&arguments.name, sources.is_empty()) {
        return Err(
            Failure::failed(format!("{what}: there is no source {name:?}")).hint("`vault stats` lists what there is")
        );
    }
    let stored = stats::stored(&repository, &catalog).context(what)?;
    // what they cost is not for every key to know
    let is_writer = repository.keys().role() == Role::Writer;
    let costs = if arguments.quick || is_writer {
        Costs::default()
    } else {
        let progress = session.progress("reading folders").watch(repository.backend());
        progress.during(|progress| stats::costs(&repository, &catalog, &stored, &sources, progress)).context(what)?
    };
    let heads: Vec<String> = catalog.snapshots.damaged.iter().map(ToString::to_string).collect();
    render::damage(heads.iter().chain(&stored.damaged).chain(&costs.unread));
    let (mut all, mut failed) = (Vec::new(), None);
    for source in &sources {
        let (Some(first), Some(last)) = (source.snapshots.first(), source.snapshots.last()) else { continue };
        let growth = if is_named && is_writer {
            session.say_notes(&["a writer's key does not tell what changed: that is content".to_owned()]);
            None
        } else if is_named {
            let grown = stats::growth(&repository, &catalog, source, last);
            let of = format!("cannot tell what changed in snapshot {} of {}", last.id.short(), source.name);
            grown.context(&of).map_err(|failure| failed = Some(failure)).ok()
        } else {
            None
        };
        let body = if growth.is_some() { last.body(&repository).context(what)? } else { Body::default() };
        let added = source.snapshots.iter().filter_map(|one| Some((one.id, costs.added(&one.id)?))).collect();
        all.push(Told { source, first, last, cost: costs.of(source), added, growth, facts: body.facts });
    }
    if session.global.json {
        let sources = all.iter().map(|told| Source::of(&catalog, is_named, told)).collect();
        render::json(&Figures::of(sources, &stored));
    } else if !session.global.quiet {
        show_sources(&catalog, &all);
        for told in all.iter().filter(|_| is_named) {
            show_runs(told);
            show_causes(told);
            told.growth.iter().for_each(show_growth);
            show_facts(told);
        }
        if !is_named {
            show_repository(&stored, costs.needed);
        }
    }
    session.say_requests(&repository);
    // the rest can be told all the same
    failed.map_or(Ok(code::DONE), Err)
}

/// How many times the second the first is; `None` of nothing.
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| (of as f64 / to as f64 * 100.0).round() / 100.0)
}

fn show_sources(catalog: &View, sources: &[Told<'_>]) {
    if sources.is_empty() {
        render::line("no snapshots");
        return;
    }
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), render::size);
    let (domains, is_mixed) = (&catalog.snapshots.domains, catalog.snapshots.are_mixed());
    Table::of(sources)
        .when(is_mixed, |table| table.text("DOMAIN", Give::End(8), |told| domains.show(told.source.domain)))
        .text("NAME", Give::End(8), |told| told.source.name)
        .number("SNAPSHOTS", Give::Drop(1), |told| told.source.snapshots.len() as u64)
        .text("FIRST", Give::Drop(5), |told| told.first.counted.time)
        .text("LAST", Give::Drop(2), |told| told.last.counted.time)
        .number("FILES", Give::Drop(3), |told| told.last.head.statistics.files)
        .number("SIZE", Give::Never, |told| render::size(told.last.head.statistics.bytes))
        .number("ALL SIZES", Give::Drop(4), |told| render::size(told.sum(|figures| figures.bytes)))
        .rare_number("ALONE", Give::Never, |told| size(told.cost.map(|cost| cost.alone)))
        .rare_number("SHARED", Give::Never, |told| size(told.cost.map(|cost| cost.shared)))
        .rare("NOTE", Give::End(9), |told| unread(told.last.head.statistics.errors))
        .print();
}

/// How many entries the newest run could not read.
fn unread(errors: u64) -> String {
    if errors == 0 { "-".into() } else { format!("{errors} unread") }
}

fn show_runs(told: &Told<'_>) {
    render::line("");
    let runs: Vec<_> = told.runs().collect();
    Table::of(&runs)
        .text("ID", Give::Never, |(run, _)| run.id.short())
        .text("TIME", Give::Never, |(run, _)| run.counted.time)
        .number("FILES", Give::Drop(1), |(_, figures)| figures.files)
        .number("READ", Give::Drop(3), |(_, figures)| figures.files.saturating_sub(figures.unchanged_files))
        .number("SIZE", Give::Never, |(_, figures)| render::size(figures.bytes))
        .number("ADDED", Give::Never, |(_, figures)| render::size(figures.added_bytes))
        .number("STORED", Give::Drop(2), |(_, figures)| render::size(figures.stored_bytes))
        .number("TOOK", Give::Drop(4), |(_, figures)| render::duration(figures.duration))
        .rare("NOTE", Give::Never, |(_, figures)| unread(figures.errors))
        .telling_apart(runs.iter().map(|(run, _)| ((), run.counted.time)))
        .print();
}

fn show_causes(told: &Told<'_>) {
    let runs: Vec<_> = told.runs().filter_map(|(run, _)| Some((run, told.added.get(&run.id)?))).collect();
    if runs.is_empty() {
        return;
    }
    render::line("");
    render::line("what each needs that none before it needs, as it is stored:");
    Table::of(&runs)
        .text("TIME", Give::Never, |(run, _)| run.counted.time)
        .number("CHUNKS", Give::Drop(3), |(_, added)| added.whole.count + added.deltas.count)
        .number("WHOLE", Give::Never, |(_, added)| render::size(added.whole.bytes))
        .number("DELTAS", Give::Never, |(_, added)| render::size(added.deltas.bytes))
        .number("PAGES", Give::Drop(1), |(_, added)| render::size(added.pages.bytes))
        .number("INDEX", Give::Drop(2), |(_, added)| render::size(added.index_bytes))
        .number("ALL", Give::Never, |(_, added)| render::size(added.bytes()))
        .telling_apart(runs.iter().map(|(run, _)| ((), run.counted.time)))
        .print();
}

fn show_growth(growth: &Growth) {
    let files = |files: Files, verb| {
        format!("{} {verb} ({})", render::count(files.count, "file", "files"), render::size(files.bytes))
    };
    let against = growth.parent.map_or("as the first".into(), |parent| format!("against {}", parent.short()));
    render::line("");
    let parts = [(growth.new, "new"), (growth.changed, "changed"), (growth.removed, "gone")];
    let parts: Vec<String> =
        parts.into_iter().filter(|(some, _)| some.count > 0).map(|(some, verb)| files(some, verb)).collect();
    let parts = if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") };
    render::line(&format!("the newest, {against}: {parts}"));
    Table::of(&growth.largest)
        .text("", Give::Never, |large| diff::letter(large.difference).to_string())
        .number("", Give::Never, |large| render::if_any(large.added_bytes, |bytes| format!("+{}", render::size(bytes))))
        .number("", Give::Never, |large| {
            render::if_any(large.removed_bytes, |bytes| format!("-{}", render::size(bytes)))
        })
        .text("", Give::Start(16), |large| {
            format!("{}{}", render::name(&large.path), if large.is_directory { "/" } else { "" })
        })
        .print();
}

fn show_facts(told: &Told<'_>) {
    let facts: Vec<_> = told.facts.iter().collect();
    if facts.is_empty() {
        return;
    }
    render::line("");
    render::line("what was known of the newest:");
    let shown = facts.get(..facts.len().min(FACTS_SHOWN)).unwrap_or_default();
    Table::of(shown)
        .text("", Give::Never, |(name, _)| render::safe(name))
        .text("", Give::End(24), |(_, value)| render::safe(value))
        .print();
    if facts.len() > shown.len() {
        render::line(&format!("and {} more, which --json tells", facts.len() - shown.len()));
    }
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
    let kinds: [(&str, Objects); 5] = [
        ("content", stored.data),
        ("folders", stored.metadata),
        ("index", stored.index),
        ("snapshots", stored.snapshots),
        ("other", stored.other),
    ];
    Table::of(&kinds)
        .text("STORED", Give::Never, |(name, _)| *name)
        .number("OBJECTS", Give::Never, |(_, objects)| objects.count)
        .number("SIZE", Give::Never, |(_, objects)| render::size(objects.bytes))
        .print();
    render::line(&format!(
        "{} stored for {} in all snapshots",
        render::size(stored.bytes()),
        render::size(stored.logical_bytes)
    ));
    totals(stored, needed).into_iter().for_each(|line| render::line(&line));
    super::prune::unfinished(&stored.unfinished).into_iter().for_each(|kept| render::line(&kept));
}
