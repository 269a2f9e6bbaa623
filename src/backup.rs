//! The forward flow: source -> walk -> chunk -> dedup -> frame -> seal -> pack -> store, and the commit of a snapshot.
//! What the protocol refuses at commit is read and stored again.

mod ahead;
mod bounds;
mod bucket;
mod compressed;
mod files;
mod gaps;
mod origin;
mod parent;
mod reread;
mod scan;
mod stream;
mod walk;

use crate::backend::Bucket;
use crate::chunk::Gear;
use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::plan::Delta;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::objects::snapshots::SourcePlace;
use crate::repository::read::reader::Reader;
use crate::repository::view::View;
use crate::repository::write::bases::Reach;
use crate::repository::write::commit;
use crate::repository::write::writer::Writer;
use crate::source;
use crate::source::dump::Dump;
use crate::time::{self, WallTime};
use crate::usual::{Question, Verdict};
use bounds::Bounds;
pub use compressed::CompressedInput;
use files::FileWriter;
use origin::Origin;
use reread::Reread;
use scan::{Found, Scan};
use std::io::Read;
use std::path::PathBuf;
use vault_format::bundle::Role;
use vault_format::facts::Facts;
use vault_format::id::{ObjectId, SetId};
use vault_format::journal::RunOutcome;
use vault_format::name::Name;
use vault_format::snapshot::{Body, Head, Statistics};

/// What is backed up.
pub enum Source<'a> {
    /// Files and folders.
    Paths(Vec<PathBuf>, source::Options),
    /// A stream that becomes one file.
    Stream(&'a mut dyn Read, Vec<u8>),
    /// Files that come as streams, whole or not at all: the output of a command, a database.
    Dump(&'a mut dyn Dump),
    /// The objects of a bucket, or of another place on a server, as files.
    Bucket(&'a Bucket, BucketOptions),
}

/// What of a bucket is taken.
#[derive(Clone, Debug, Default)]
pub struct BucketOptions {
    /// Only objects whose names begin so. It stays a part of their paths.
    pub prefix: String,
    /// Patterns as in `.gitignore`, from the root of the snapshot.
    pub exclude: Vec<Vec<u8>>,
    /// That there are no objects is taken as it is, though there were some.
    pub allow_empty: bool,
}

impl BucketOptions {
    /// Where the objects come from, for those who ask what a snapshot is of.
    fn paths(&self, place: &str) -> Vec<Vec<u8>> {
        let prefix = self.prefix.trim_end_matches('/');
        let path = if prefix.is_empty() { place.to_owned() } else { format!("{place}/{prefix}") };
        vec![path.into_bytes()]
    }
}

/// How it is backed up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the source.
    pub name: String,
    /// What kind of source it is, like `postgres`: as which it is restored; empty for what is taken by hand.
    pub kind: String,
    /// Drawn by whoever takes several sources one after the other as one set.
    pub set: Option<SetId>,
    /// What is known of the source before it is read; what it tells while it is read comes to these, and counts more.
    pub facts: Facts,
    /// Tags.
    pub tags: Vec<String>,
    /// In the user's words.
    pub description: String,
    /// Host name to record.
    pub host: String,
    /// User name to record.
    pub user: String,
    /// Time to record instead of now.
    pub time: Option<WallTime>,
    /// An empty stream is taken as it is.
    pub allow_empty: bool,
    /// No snapshot if nothing changed since the parent.
    pub skip_if_unchanged: bool,
    /// The name was not said, but taken from the path.
    pub derived: bool,
    /// A file is unchanged whatever its inode number is.
    pub ignore_inode: bool,
    /// A file is unchanged whatever its time of change is.
    pub ignore_ctime: bool,
    /// Read again a part of the unchanged files, another one after each snapshot: numerator, denominator.
    pub reread: Option<(u32, u32)>,
    /// What is asked of its size before it is committed.
    pub usual: Option<Question>,
    /// What the record of the run says besides.
    pub told: Facts,
    /// Whether content is stored as the difference to what the last snapshot holds.
    pub delta: Delta,
    /// zstd level of what is stored, 1 to 19, where it is to be another than the default.
    pub level: Option<i32>,
    /// A run that is not through with the source by then has failed.
    pub limit: Option<source::Limit>,
    /// Look, but put nothing.
    pub dry_run: bool,
}

impl Options {
    /// True if less than everything tells whether a file is unchanged.
    fn ignores(&self) -> bool {
        self.ignore_inode || self.ignore_ctime
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot; `None` for a dry run, or if nothing changed and that was asked.
    pub snapshot: Option<ObjectId>,
    /// The snapshot that stands for this run, if nothing changed since and that was asked.
    pub unchanged: Option<ObjectId>,
    /// Its head.
    pub head: Head,
    /// Entries that were left out against the user's wish, each with the reason.
    pub failed: Vec<String>,
    /// Other notes.
    pub notes: Vec<String>,
    /// What this machine saw in the store, and is not there any more.
    pub unseen: Vec<Name>,
    /// The last lines that a command said on its standard error.
    pub messages: Vec<String>,
    /// Those of them that everybody should see who looks at all.
    pub remarks: Vec<String>,
    /// Those that say how the next runs become cheaper: each is said once.
    pub advice: Vec<String>,
    /// What the source has told of itself.
    pub facts: Facts,
    /// What was compressed before it was read, and stored: what added most, first.
    pub compressed: Vec<CompressedInput>,
    /// What its size is, compared with those before.
    pub verdict: Verdict,
}

impl Report {
    fn new(snapshot: Option<ObjectId>, head: Head, found: Found) -> Self {
        let messages = source::said(&found.body.messages);
        let Found { failed, notes, remarks, advice, unseen, body, .. } = found;
        let (facts, compressed, verdict) = (body.facts, found.compressed.largest, Verdict::default());
        Self {
            snapshot,
            unchanged: None,
            head,
            failed,
            notes,
            unseen,
            messages,
            remarks,
            advice,
            facts,
            compressed,
            verdict,
        }
    }
}

/// Takes one snapshot.
pub fn backup(
    repository: &Repository,
    mut source: Source<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    let run = Run::start(repository, Operation::SNAPSHOT);
    // a stream can't be read again
    let is_once = matches!(source, Source::Stream(..));
    let mut take = |_| {
        let result = attempt(&run, &mut source, options, progress);
        // a snapshot that was put too late may lack what it needs, and would stop prune
        if result.as_ref().is_err_and(Error::is_overtaken)
            && repository.keys().role() == Role::Owner
            && let Err(error) = commit::forget_late(repository, run.id())
        {
            progress.note(&format!("what was put too late could not be forgotten: {error}"));
        }
        result
    };
    // condemned data is absent for the next try, and is read and stored again
    let result = if is_once { take(1) } else { run.attempts(take) };
    if !options.dry_run {
        let ending = result.as_ref().map_or_else(|_| Ending::done(""), ending);
        let facts = options.told.with(&ending.facts);
        // a name that was only made of a path, and is that of something else, is no run of that
        let is_of_another = matches!(&result, Err(Error::Request(Refusal::OtherOrigin { .. })));
        let source = if is_of_another { String::new() } else { options.name.clone() };
        let ending = Ending { source, facts, ..ending };
        let result = result.as_ref().map_err(Error::ours);
        run.finish(&result, ending).into_iter().for_each(|warning| progress.note(&warning));
    }
    result
}

fn ending(report: &Report) -> Ending {
    let Statistics { bytes, added_bytes, stored_bytes, files, .. } = report.head.statistics;
    let ended = match report.failed.len() {
        0 if report.snapshot.is_none() => Ending { outcome: RunOutcome::Unchanged, ..Ending::done("nothing changed") },
        0 => Ending::done(""),
        failed => Ending::done_or_partial(format!("{failed} left out"), true),
    };
    Ending {
        heads: report.head.seen.iter().copied().chain(report.snapshot).collect(),
        snapshot: report.snapshot.or(report.unchanged),
        facts: report.verdict.facts(),
        figures: Figures::Snapshot { read_bytes: bytes, added_bytes, stored_bytes, files },
        ..ended
    }
}

fn attempt(run: &Run, source: &mut Source<'_>, options: &Options, progress: &dyn Progress) -> Result<Report> {
    let repository = run.repository();
    let clock = &repository.runtime().clock;
    let (started, elapsed) = (clock.now(), clock.elapsed());
    let domain = repository.keys().domain();
    let label = repository.keys().own_book().source_label(&options.name);
    let place = SourcePlace { domain, label };
    let mut view = View::to_write(repository, Some(place))?;
    view.trust.may_write(repository)?;
    let unseen = view.unseen()?;
    view.marks.unread().for_each(|mark| progress.unread_mark(&mark.to_string()));
    let damaged = view.objects.damaged.iter().chain(&view.snapshots.damaged);
    damaged.for_each(|damage| progress.note(&damage.to_string()));
    let lookup = view.lookup_to_write(domain)?;
    let View { snapshots, left, .. } = view;
    let origin = Origin::of(repository, &snapshots, source, options)?;
    let reader = Reader::keeping(repository, &lookup, BASES_BYTES).trusting_bases();
    let mut writer = writer(&reader, options)?.inheriting(&left);
    let bounds = Bounds { runtime: repository.runtime().clone(), limit: options.limit };
    let scan = Scan {
        repository,
        options,
        progress,
        reader: &reader,
        writer: &mut writer,
        files: FileWriter::new(Gear::new(repository.keys().gear_key()), bounds),
        found: Found { unseen, ..Found::default() },
        started,
        origin: &origin,
        reread: options.reread.map(|part| Reread::new(repository.keys().id_key(), part, origin.turn())),
    };
    let mut found = match pass(scan, source) {
        Ok(found) => found,
        Err(error) => {
            progress.kept(writer.leave());
            return Err(error);
        }
    };
    let counts = writer.counts;
    let verdict = options.usual.as_ref().map_or(Verdict::Usual, |asked| asked.judge(found.statistics.bytes));
    let mut body = body(options, &found);
    body.tags.extend(verdict.tag().map(ToOwned::to_owned));
    body.tags.sort();
    body.tags.dedup();
    let seen = snapshots.seen_by(repository.keys().writer(), place);
    let mut head = head(repository, options, &found, &body);
    (head.run, head.parent, head.seen) = (run.id(), origin.parent.as_ref().map(|parent| parent.entry.id), seen);
    head.turn = origin.turn();
    // what was stored again heals what the parent has lost
    let unchanged =
        options.skip_if_unchanged && counts.added_blobs == 0 && origin.is_unchanged(repository, &head, &body);
    let remarks = if unchanged { Vec::new() } else { origin.remarks(repository, options) };
    // whoever reads only errors must hear of what nobody has said
    remarks.iter().filter(|_| options.derived).for_each(|remark| progress.note(remark));
    found.notes.extend(remarks);
    head.time = options.time.unwrap_or(started).nanoseconds();
    (head.statistics.added_blobs, head.statistics.added_bytes) = (counts.added_blobs, counts.added_bytes);
    if options.dry_run || unchanged {
        let stands = origin.own_last.filter(|_| unchanged).map(|last| last.id);
        return Ok(Report { unchanged: stands, ..Report::new(None, head, found) });
    }
    let written = writer.written();
    let flushed = writer.flush().map_err(Error::from);
    let flushed = flushed.and_then(|flushed| Ok(repository.runtime().check_stopped().map(|()| flushed)?));
    let flushed = flushed.inspect_err(|_| progress.kept(written.stored_bytes()))?;
    head.statistics.stored_bytes = written.stored_bytes();
    head.statistics.duration = time::nanoseconds(clock.elapsed().since(elapsed));
    let id = flushed.commit(&head, &body)?.id();
    if let (Some(cache), Some(id)) = (repository.cache(), &id) {
        cache.note_committed(label, id);
    }
    Ok(Report { verdict, ..Report::new(id, head, found) })
}

/// Plaintext that is kept at hand of what new content is stored as the difference to, in bytes.
const BASES_BYTES: usize = 24 << 20;

/// Writes for a source what a run is to store.
fn writer(reader: &Reader, options: &Options) -> Result<Writer> {
    let repository = reader.repository();
    let writer = Writer::new(repository, reader.index(), repository.keys().domain(), &options.name)?;
    let writer = match reach(repository, options.delta) {
        Some(reach) => writer.with_bases(reader, reach),
        None => writer,
    };
    let writer = match options.level {
        Some(level) => writer.at_level(level),
        None => writer,
    };
    Ok(if options.dry_run { writer.dry() } else { writer })
}

/// Where bases of deltas are read from: without being told so, only where that costs nothing.
fn reach(repository: &Repository, delta: Delta) -> Option<Reach> {
    // a writer's key opens nothing
    let is_wanted = delta != Delta::Never && repository.keys().role() != Role::Writer;
    let reach = match delta {
        _ if repository.backend().is_local() => Reach::Store,
        Delta::Always => Reach::StoreAndCache,
        _ => Reach::Cache,
    };
    (is_wanted && (reach != Reach::Cache || repository.cache().is_some())).then_some(reach)
}

/// Reads the source once, from its first byte to its last.
fn pass(scan: Scan<'_>, source: &mut Source<'_>) -> Result<Found> {
    let (repository, progress, origin) = (scan.repository, scan.progress, scan.origin);
    let mut found = match source {
        Source::Paths(paths, walk) => {
            let walk = source::Options { own: repository.own_folders(), ..walk.clone() };
            ahead::while_counting(repository.runtime(), (paths, &walk), progress, || scan.paths(paths, &walk))
        }
        Source::Stream(input, name) => scan.stream(input, name),
        Source::Dump(dump) => scan.dump(*dump),
        Source::Bucket(bucket, options) => scan.bucket(bucket, options),
    }?;
    if found.compressed.is_to_be_settled() {
        let last = origin.last_facts(repository);
        let (facts, told) = found.compressed.settle(last.as_ref(), origin.turn() == 1);
        found.body.facts = found.body.facts.with(&facts);
        found.notes.extend_from_slice(&told);
        found.advice = told;
    }
    Ok(found)
}

/// What of the head the pass over the source tells.
fn head(repository: &Repository, options: &Options, found: &Found, body: &Body) -> Head {
    let book = repository.keys().own_book();
    Head {
        source: options.name.clone(),
        kind: options.kind.clone(),
        set: options.set,
        root: found.root,
        statistics: Statistics { errors: found.failed.len() as u64, ..found.statistics },
        profile: found.profile,
        place: body.place(&book),
        host: body.host_mark(&book),
        terms: body.terms(&book),
        ..Head::default()
    }
}

fn body(options: &Options, found: &Found) -> Body {
    let mut tags = options.tags.clone();
    tags.sort();
    tags.dedup();
    Body {
        host: options.host.clone(),
        user: options.user.clone(),
        tags,
        description: options.description.clone(),
        gaps: found.gaps.finish(),
        facts: options.facts.with(&found.body.facts),
        program: concat!("vault ", env!("CARGO_PKG_VERSION")).into(),
        ..found.body.clone()
    }
}
