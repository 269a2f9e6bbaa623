//! Copies snapshots into a second repository, from which they restore like the first. If the two share a root (`like`),
//! blob ids are equal: the copy is a set difference, and whole frames move with nothing but their seals renewed. Else all
//! content is decoded and stored under new ids. What is there already, be it of a run that was interrupted, is not stored
//! again; a snapshot that was copied before is recognised, and one that the second owner has dropped stays dropped.
//!
//! The copies are signed by the owner of the second repository, and keep their time. What lies in the owner's domain goes
//! to the owner's domain there; every other domain keeps its id, so that `DOMAIN/NAME` means the same in both.

mod target;
mod translation;

use crate::error::{Error, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::View;
use crate::repository::write::writer::{Flushed, Place, Writer};
use crate::repository::write::{commit, transfer};
use crate::time::WallTime;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use target::{Domain, Target};
use translation::{Pass, Translation};
use vault_format::bundle::Role;
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId, RunId};
use vault_format::snapshot::{Body, Head};
use vault_format::tree::TreeRoot;

/// How long one look at the second repository serves.
const LOOK: Duration = Duration::from_hours(24);

/// What is copied.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these snapshots; empty = all that commands show.
    pub snapshots: Vec<ObjectId>,
    /// Only those of this source, `NAME` or `DOMAIN/NAME`.
    pub name: Option<String>,
    /// Copy also what the owner of the second repository has dropped there.
    pub again: bool,
    /// Look, but put nothing.
    pub dry_run: bool,
}

/// One snapshot that was copied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Copied {
    /// The snapshot.
    pub source: ObjectId,
    /// Its copy; `None` for a dry run.
    pub copy: Option<ObjectId>,
    /// Name of its source.
    pub name: String,
    /// Its time.
    pub time: WallTime,
}

/// One snapshot that was not copied.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotCopied {
    /// It can't be used at all.
    #[error("{0}")]
    Damaged(String),
    /// The owner of the second repository would sign for a time that nobody is sure of.
    #[error("snapshot {} of {source_name}: its time is in doubt", .snapshot.short())]
    Doubtful {
        /// The snapshot.
        snapshot: ObjectId,
        /// Name of its source.
        source_name: String,
    },
    /// Something of it can't be read.
    #[error("snapshot {} of {source_name}: {why}", .snapshot.short())]
    Unread {
        /// The snapshot.
        snapshot: ObjectId,
        /// Name of its source.
        source_name: String,
        /// What, and why not.
        why: String,
    },
}

/// What happened.
#[derive(Clone, Debug, Default)]
#[must_use = "it names what was not copied"]
#[non_exhaustive]
pub struct Report {
    /// The two share a root: blob ids are equal.
    pub like: bool,
    /// Snapshots copied now, oldest first within a domain.
    pub copied: Vec<Copied>,
    /// Snapshots whose copies were there.
    pub known: u64,
    /// Snapshots that were dropped there, and stay so.
    pub dropped: u64,
    /// Snapshots that could not be copied.
    pub failed: Vec<NotCopied>,
    /// Blobs that were not there.
    pub added_blobs: u64,
    /// Their plaintext bytes.
    pub added_bytes: u64,
    /// Bytes of new packs.
    pub stored_bytes: u64,
}

/// Copies snapshots from one repository to another. Needs the owner of the second, and a key that reads in the first.
pub fn copy(from: &Repository, to: &Repository, options: &Options, progress: &dyn Progress) -> Result<Report> {
    to.keys().owner("copy into a repository")?;
    if from.keys().role() == Role::Writer {
        return Err(repository::Error::Role { what: "copy content", needs: "owner", has: Role::Writer }.into());
    }
    if from.id() == to.id() {
        return Err(Error::refused("the two locations hold the same repository"));
    }
    // frames that move leave no pages behind for the cache of the second repository
    to.distrust_cache();
    let run = Run::start(to, Operation::COPY);
    let like = from.keys().id_key() == to.keys().id_key();
    let mut report = Report { like, ..Report::default() };
    let result = all(&run, from, options, progress, &mut report);
    if !options.dry_run && (result.is_err() || !report.copied.is_empty() || !report.failed.is_empty()) {
        let failed = report.failed.len();
        let summary = if failed == 0 { String::new() } else { format!("{failed} not copied") };
        let ending = Ending {
            heads: report.copied.iter().filter_map(|copied| copied.copy).collect(),
            figures: Figures::Copy {
                snapshots: report.copied.len() as u64,
                added_bytes: report.added_bytes,
                stored_bytes: report.stored_bytes,
            },
            ..Ending::done_or_partial(summary, failed > 0)
        };
        run.finish(&result, ending).into_iter().for_each(|warning| progress.note(&warning));
    }
    result.map(|()| report)
}

/// Looks and copies until nothing is left. What was copied so far the next look recognises; what was condemned it does
/// not see, so that it is copied again.
fn all(run: &Run, from: &Repository, options: &Options, progress: &dyn Progress, report: &mut Report) -> Result<()> {
    while !run.attempts(|_| attempt(from, run.repository(), options, progress, report))? {}
    Ok(())
}

/// One pass over what is chosen; false if it should start again because what it knows of the target has grown old.
fn attempt(
    from: &Repository,
    to: &Repository,
    options: &Options,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<bool> {
    let clock = &to.runtime().clock;
    let (loaded, before) = (clock.elapsed(), report.copied.len());
    (report.known, report.dropped) = (0, 0);
    let view = View::to_read(from)?;
    let mut domains: BTreeMap<DomainId, Vec<&SnapshotEntry>> = BTreeMap::new();
    for snapshot in chosen(&view.snapshots, options, report)? {
        domains.entry(snapshot.place.domain).or_default().push(snapshot);
    }
    let mut target = Target::load(to)?;
    for (domain, chosen) in domains {
        let lookup = view.lookup_of_listed(domain)?;
        let reader = Reader::new(from, &lookup);
        let is_owners = from.keys().role() == Role::Owner && domain == from.keys().domain();
        let there = if is_owners { to.keys().domain() } else { domain };
        if there == domain && !options.dry_run {
            target.call(domain, view.snapshots.domains.label(domain))?;
        }
        let domain = target.domain(there)?;
        let mut copier = Copier {
            from,
            to,
            options,
            progress,
            report,
            reader: &reader,
            target: &target,
            domain,
            translation: Translation::default(),
            seen: HashSet::new(),
            would: HashSet::new(),
            relied: BTreeSet::new(),
        };
        for snapshot in chosen {
            let is_old = clock.elapsed().since(loaded) > LOOK;
            if is_old && copier.report.copied.len() > before {
                return Ok(false);
            }
            copier.snapshot(snapshot)?;
        }
    }
    Ok(true)
}

fn chosen<'s>(snapshots: &'s Snapshots, options: &Options, report: &mut Report) -> Result<Vec<&'s SnapshotEntry>> {
    let asked = options.name.as_deref().map(|name| snapshots.source(name)).transpose()?;
    let wanted = |snapshot: &&SnapshotEntry| {
        let is_named = asked.as_ref().is_none_or(|asked| asked.fits(snapshot));
        let is_meant =
            if options.snapshots.is_empty() { snapshot.is_visible() } else { options.snapshots.contains(&snapshot.id) };
        is_named && is_meant
    };
    report.failed = snapshots.damaged.iter().map(|damage| NotCopied::Damaged(damage.to_string())).collect();
    if !options.snapshots.is_empty() {
        report.failed.clear();
    }
    Ok(snapshots.all.iter().filter(wanted).collect())
}

/// Copies the snapshots of one domain.
struct Copier<'c> {
    from: &'c Repository,
    to: &'c Repository,
    options: &'c Options,
    progress: &'c dyn Progress,
    report: &'c mut Report,
    reader: &'c Reader,
    target: &'c Target,
    domain: Domain,
    translation: Translation,
    /// Pages whose content is there.
    seen: HashSet<BlobId>,
    /// What a dry run would have stored.
    would: HashSet<BlobId>,
    /// Packs that the pages seen rely on.
    relied: BTreeSet<ObjectId>,
}

impl Copier<'_> {
    fn snapshot(&mut self, snapshot: &SnapshotEntry) -> Result<()> {
        self.from.runtime().check_stopped()?;
        self.to.runtime().check_stopped()?;
        let known = match self.domain.recognise(snapshot, self.report.like) {
            None => self.target.whole(&self.domain, snapshot)?,
            known => known,
        };
        if let Some(copy) = known {
            self.domain.copies.insert(snapshot.id, copy);
            self.report.known += u64::from(!self.report.copied.iter().any(|copied| copied.source == snapshot.id));
            return Ok(());
        }
        if !self.options.again && self.target.declines(snapshot) {
            self.report.dropped += 1;
            return Ok(());
        }
        if snapshot.doubtful {
            // the copy would be the owner's, and believed
            let source_name = snapshot.head.source.clone();
            self.report.failed.push(NotCopied::Doubtful { snapshot: snapshot.id, source_name });
            return Ok(());
        }
        match snapshot.body(self.from) {
            Ok(body) => self.store(snapshot, body),
            Err(error) => {
                self.fail(snapshot, &error);
                Ok(())
            }
        }
    }

    fn fail(&mut self, snapshot: &SnapshotEntry, why: &repository::Error) {
        let source_name = snapshot.head.source.clone();
        self.report.failed.push(NotCopied::Unread { snapshot: snapshot.id, source_name, why: why.to_string() });
    }

    /// Stores what the second repository lacks of a snapshot, and the snapshot last.
    fn store(&mut self, snapshot: &SnapshotEntry, body: Body) -> Result<()> {
        let mut index = std::mem::take(&mut self.domain.index);
        let domain = self.domain.id;
        let label = self.to.keys().owner("copy into a repository")?.book(domain).source_label(&snapshot.head.source);
        let place = Place { domain, label, shared: snapshot.is_shared() };
        let writer = Writer::at(self.to, &index, place)?.inheriting(self.target.left());
        let mut writer = if self.options.dry_run { writer.dry() } else { writer };
        writer.carry(std::mem::take(&mut self.relied));
        let moved =
            if self.report.like { self.move_blobs(snapshot, &mut writer) } else { self.rewrite(snapshot, &mut writer) };
        self.report.added_blobs += writer.counts.added_blobs;
        self.report.added_bytes += writer.counts.added_bytes;
        let root = match moved {
            Ok(root) => Ok(root),
            // the first repository's damage costs this snapshot, not the others
            Err(Error::Repository(
                error @ (repository::Error::MissingBlob(_)
                | repository::Error::DamagedBlob { .. }
                | repository::Error::Object { .. }
                | repository::Error::Frame { .. }),
            )) if !error.is_unanswered() => Err(error),
            Err(error) => {
                self.progress.kept(writer.leave());
                return Err(error);
            }
        };
        self.relied = writer.relied_packs()?;
        let copy = if self.options.dry_run {
            drop(writer);
            root.map(|_| {
                self.domain.came(snapshot, snapshot.id);
                None
            })
        } else {
            // also what was moved for a snapshot that fails serves the next ones
            let flushed = writer.flush()?;
            let written = flushed.written();
            self.report.stored_bytes += written.stored_bytes();
            self.relied = flushed.relied_packs()?;
            let copy = match root {
                Ok(root) => Ok(self.commit(flushed, snapshot, root, body)?),
                Err(error) => {
                    flushed.uncommitted();
                    Err(error)
                }
            };
            written.add_to(&mut index)?;
            copy
        };
        self.domain.index = index;
        match copy {
            Ok(copy) => {
                let (source, name, time) = (snapshot.id, snapshot.head.source.clone(), snapshot.counted.time);
                self.report.copied.push(Copied { source, copy, name, time });
                self.progress.advance(1, 0);
            }
            Err(error) => self.fail(snapshot, &error),
        }
        Ok(())
    }

    fn commit(
        &mut self,
        flushed: Flushed,
        snapshot: &SnapshotEntry,
        root: TreeRoot,
        body: Body,
    ) -> Result<Option<ObjectId>> {
        let book = self.to.keys().owner("copy into a repository")?.book(self.domain.id);
        let head = Head {
            place: body.place(&book),
            host: body.host_mark(&book),
            terms: body.terms(&book),
            root,
            parent: snapshot.head.parent.and_then(|parent| self.domain.copies.get(&parent).copied()),
            ..snapshot.copied(RunId(self.to.runtime().random()), self.domain.seen(&snapshot.head.source))
        };
        let body = Body { tags: snapshot.state.tags(&body.tags), ..body };
        let name = match flushed.commit(&head, &body) {
            // else the next try would take it for a copy that is there
            Err(error) if error.is_overtaken() => {
                commit::forget_late(self.to, head.run)?;
                return Err(error.into());
            }
            committed => committed?,
        };
        if let Some(copy) = name.id() {
            self.domain.add(snapshot, copy);
        }
        Ok(name.id())
    }

    /// Moves what the other repository lacks; the ids stay.
    fn move_blobs(&mut self, snapshot: &SnapshotEntry, writer: &mut Writer) -> Result<TreeRoot> {
        let (mut wanted, mut pages) = (HashSet::new(), HashSet::new());
        let mut each = |kind: BlobKind, id: BlobId| {
            if kind != BlobKind::Chunk {
                pages.insert(id);
            }
            if !writer.rely(&id) {
                wanted.insert((kind, id));
            }
        };
        let reached = reach::reach(self.reader, snapshot.head.root.id, &mut self.seen, &mut each);
        let result = match reached.map(|lost| lost.into_iter().next()) {
            Err(error) | Ok(Some(error)) => Err(error.into()),
            Ok(None) if self.options.dry_run => {
                self.would_move(&wanted);
                Ok(())
            }
            Ok(None) => self.move_wanted(&wanted, writer),
        };
        if result.is_err() {
            // another snapshot that shares these pages must not take them for complete
            self.seen.retain(|id| !pages.contains(id));
        }
        result.map(|()| snapshot.head.root)
    }

    fn move_wanted(&mut self, wanted: &HashSet<(BlobKind, BlobId)>, writer: &mut Writer) -> Result<()> {
        let moved = |bytes: u64| {
            self.progress.advance(0, bytes);
            // an interruption ends the run like an error of the store would
            Ok(self.to.runtime().check_stopped()?)
        };
        let unread = transfer::blobs(self.reader, wanted, writer, &moved)?;
        unread.into_iter().next().map_or(Ok(()), |(.., error)| Err(error.into()))
    }

    fn would_move(&mut self, wanted: &HashSet<(BlobKind, BlobId)>) {
        for (_, id) in wanted {
            if self.would.insert(*id) {
                let place = self.reader.index().known_places(id).next();
                self.report.added_blobs += 1;
                self.report.added_bytes += place.map_or(0, |place| u64::from(place.length));
            }
        }
    }

    /// Stores everything under the ids that the other repository gives.
    fn rewrite(&mut self, snapshot: &SnapshotEntry, writer: &mut Writer) -> Result<TreeRoot> {
        if self.options.dry_run {
            // what is there can't be told without reading all content
            self.report.added_bytes += snapshot.head.root.bytes;
            return Ok(snapshot.head.root);
        }
        let (reader, to, progress) = (self.reader, self.to, self.progress);
        Ok(Pass { reader, to, progress, known: &mut self.translation }.rewrite(&snapshot.head.root, writer)?)
    }
}
