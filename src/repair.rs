//! Brings back what can be brought back. Index objects are rebuilt from packs; blobs that still decode in damaged packs,
//! or that another domain or a copy of the repository holds, are stored again; what stays lost is left out of marked
//! copies of the snapshots that need it. Repair writes new objects only, drops nothing that still decodes, and writes
//! nothing at all where nothing is wrong. The one exception is a rotten config, which its good copy replaces.

mod blobs;
mod look;
mod packs;
mod quarantine;
mod snapshots;
mod verdict;

pub use quarantine::{Accepted, Quarantined, accept, quarantine};

use crate::error::{Error, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::progress::Progress;
use crate::repository;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::orders::UNKNOWN_FEATURES;
use crate::repository::opening;
use crate::repository::read::reader::Reader;
use crate::repository::{Doubt, Repository};
use crate::time::WallTime;
use look::Look;
use std::collections::BTreeMap;
use vault_format::bundle::Role;
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::Name;

/// The tag of a snapshot that repair wrote.
pub const TAG: &str = "repaired";
/// The source under whose label recovered blobs are indexed.
const SOURCE: &str = "repair";

/// How to repair.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Trust packs that are there with the right size, without reading them.
    pub structure_only: bool,
    /// Look, but put nothing.
    pub dry_run: bool,
}

/// A snapshot that lost something.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The snapshot, which is kept.
    pub snapshot: ObjectId,
    /// Name of its source.
    pub name: String,
    /// Its time.
    pub time: WallTime,
    /// Files and directories that can't be restored in full.
    pub paths: Vec<String>,
    /// The marked copy without them; `None` for a dry run, or if nothing is left.
    pub copy: Option<ObjectId>,
}

/// What was found and done.
#[derive(Clone, Debug, Default)]
#[must_use = "it names what is lost"]
#[non_exhaustive]
pub struct Report {
    /// Objects of the config that were restored from each other.
    pub config: Vec<String>,
    /// Packs that are damaged or missing, with the reason.
    pub damaged_packs: Vec<String>,
    /// Packs that got an index.
    pub indexed_packs: u64,
    /// Index objects that were replaced, or are damaged and not needed any more.
    pub replaced_indexes: u64,
    /// Blobs that were stored again from places in this repository.
    pub salvaged_blobs: u64,
    /// Blobs that were stored again from the other repository.
    pub fetched_blobs: u64,
    /// Blobs that snapshots need and nobody has.
    pub lost_blobs: u64,
    /// Snapshots that need lost blobs.
    pub lost: Vec<Lost>,
    /// Objects that repair can't mend.
    pub left: Vec<String>,
    /// Things worth knowing that are no damage.
    pub notes: Vec<String>,
    /// Packs looked at.
    pub packs: u64,
    /// Stored bytes read.
    pub read_bytes: u64,
    /// Bytes of new packs.
    pub stored_bytes: u64,
}

impl Report {
    /// Forgets what was seen, but not what was done.
    fn start_over(&mut self) {
        *self = Self {
            config: std::mem::take(&mut self.config),
            salvaged_blobs: self.salvaged_blobs,
            fetched_blobs: self.fetched_blobs,
            read_bytes: self.read_bytes,
            stored_bytes: self.stored_bytes,
            ..Self::default()
        };
    }

    /// Nothing was wrong.
    pub fn is_healthy(&self) -> bool {
        let mended = self.indexed_packs + self.replaced_indexes + self.salvaged_blobs + self.fetched_blobs;
        mended == 0 && self.config.is_empty() && self.damaged_packs.is_empty() && self.is_whole()
    }

    /// Nothing stays damaged or lost.
    pub fn is_whole(&self) -> bool {
        self.lost_blobs == 0 && self.lost.is_empty() && self.left.is_empty()
    }
}

/// Repairs a repository; `from` = one with the same blob ids, to fetch what is missing. Needs the owner.
pub fn repair(
    repository: &Repository,
    from: Option<&Repository>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    repository.keys().owner("repair")?;
    repository.distrust_cache();
    if let Some(from) = from {
        usable(repository, from)?;
    }
    let run = Run::start(repository, Operation::REPAIR);
    let mut report = Report::default();
    let result = run.attempts(|_| {
        report.start_over();
        all(repository, from, options, &mut report, progress)
    });
    if !options.dry_run && (result.is_err() || !report.is_healthy()) {
        let summary = if report.is_whole() { "" } else { "some damage stays" };
        let ending = Ending {
            heads: report.lost.iter().filter_map(|lost| lost.copy).collect(),
            figures: figures(&report),
            ..Ending::done_or_partial(summary, !report.is_whole())
        };
        run.finish(&result, ending).into_iter().for_each(|warning| progress.note(&warning));
    }
    result.map(|()| report)
}

fn usable(repository: &Repository, from: &Repository) -> Result<()> {
    let refuse = |why: &str| Err(Error::refused(format!("cannot repair from {}: {why}", from.location())));
    if from.id() == repository.id() {
        return refuse("it is the same repository");
    }
    if from.keys().id_key() != repository.keys().id_key() {
        return refuse("its blobs have other ids, since it was not made with `init --like`");
    }
    if from.keys().role() == Role::Writer {
        return refuse("a writer's key opens no content");
    }
    Ok(())
}

/// One pass. It ends early if a sweep was there meanwhile: then what seems lost need not be.
fn all(
    repository: &Repository,
    from: Option<&Repository>,
    options: &Options,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some(unknown) = repository.later_object()? {
        return Err(unsafe_because(unknown));
    }
    let mut look = Look::take(repository, (options, report))?;
    if !look.orders.are_understood() {
        return Err(unsafe_because(UNKNOWN_FEATURES));
    }
    config(repository, options, report)?;
    packs::judge(repository, &mut look, options, report, progress)?;
    let domains = look.domains();
    let mut readable: BTreeMap<DomainId, BlobLookup> =
        domains.iter().map(|domain| Ok((*domain, look.readable(repository, *domain)?))).collect::<Result<_>>()?;
    let foreign = from.map(|from| blobs::foreign(from).map(|index| (from, index))).transpose()?;
    let context = Context { repository, look: &look, options, progress };
    for domain in domains {
        let own = readable.remove(&domain).unwrap_or_default();
        let mut readers: Vec<Reader> = readable.values().map(|index| Reader::new(repository, index)).collect();
        let others = readers.len();
        readers.extend(foreign.iter().map(|(from, index)| Reader::new(from, index)));
        // what was lost first, so that an interruption leaves the old index in force
        let mut mended = blobs::recover(&context, (domain, own), readers.split_at(others), &readers, report)?;
        if !mended.lost.is_empty() && look.was_swept(repository)? {
            return Err(repository::Error::Swept.into());
        }
        snapshots::rewrite(&context, &mut mended, &readers, report)?;
        readable.insert(domain, mended.readable);
    }
    packs::reindex(repository, &look, options, report)
}

/// What all parts of one repair look at.
struct Context<'c> {
    repository: &'c Repository,
    look: &'c Look,
    options: &'c Options,
    progress: &'c dyn Progress,
}

/// Both copies of the config must be good. The open repository vouches for one of them.
fn config(repository: &Repository, options: &Options, report: &mut Report) -> Result<()> {
    let mut good = None;
    let mut wanting = Vec::new();
    for name in [Name::Config, Name::ConfigCopy] {
        match opening::get(repository.backend(), &name)? {
            Some(bytes) if ObjectId::of(&bytes) == repository.keys().config() => good = Some(bytes),
            found => wanting.push((name, found.is_some())),
        }
    }
    let Some(good) = good else { return Ok(()) };
    for (name, is_there) in wanting {
        if !options.dry_run {
            if is_there {
                // nothing is overwritten: the other one stands in until the next line
                repository.backend().delete(&name.to_string())?;
            }
            repository.put(&name, &good)?;
        }
        report.config.push(name.to_string());
    }
    Ok(())
}

fn unsafe_because(why: impl Into<Doubt>) -> Error {
    repository::Error::CannotRepair(why.into()).into()
}

/// Stops at what a store did not give just now: it must not pass for lost.
fn answered(unread: impl IntoIterator<Item = repository::Error>) -> Result<()> {
    let unanswered = unread.into_iter().find(repository::Error::is_unanswered);
    unanswered.map_or(Ok(()), |error| Err(error.into()))
}

fn figures(report: &Report) -> Figures {
    Figures::Repair {
        damaged_packs: report.damaged_packs.len() as u64,
        indexed_packs: report.indexed_packs,
        recovered_blobs: report.salvaged_blobs + report.fetched_blobs,
        lost_blobs: report.lost_blobs,
        stored_bytes: report.stored_bytes,
    }
}
