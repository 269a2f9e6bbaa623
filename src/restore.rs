//! The backward flow: snapshot -> tree -> find -> fetch -> open -> verify -> target. Directories are made while the tree
//! is walked, files are collected and filled in pack order, and metadata of directories comes last. What exists and
//! differs stays unless the caller says otherwise, so that a repeated restore resumes.

mod lost;
mod plan;
mod rules;
mod run;
mod stream;

pub use crate::target::{Changes, Leftover, Named, Options as TargetOptions, Overwrite};
pub use lost::{Lacks, Lost, lacks, lacks_of, lost};
pub use stream::restore_to;

use crate::error::{Error, Lack, Result};
use crate::operation::{self, Ending, Figures, Operation};
use crate::progress::{Progress, Silent};
use crate::repository::Repository;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::path::Address;
use crate::source::Excludes;
use crate::target::{self, Need, Target};
use crate::{metadata, repository};
use rules::{Rules, Scope};
use run::Run;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault_format::snapshot::Body;
use vault_format::tree::{Metadata, Node, NodeKind, TreeRoot};

/// What an entry takes on a disk beside its content, at most.
const BLOCK_BYTES: u64 = 4096;

/// Bits of a mode by which a program runs as its owner or group.
const SET_IDS: u32 = 0o6000;

/// The attribute that gives a program rights of root.
const CAPABILITY: &[u8] = b"security.capability";

/// What is restored, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only what one of these patterns names; empty = all.
    pub include: Vec<Vec<u8>>,
    /// Not what one of these patterns names.
    pub exclude: Vec<Vec<u8>>,
    /// How the target is treated.
    pub target: target::Options,
    /// Read every restored file back and compare.
    pub verify: bool,
    /// Begin even if the disk seems to have too little room.
    pub ignore_room: bool,
    /// Neither devices nor pipes are made.
    pub no_devices: bool,
    /// No entry gets set-uid or set-gid bits, or capabilities.
    pub no_setuid: bool,
}

impl Options {
    /// An entry of the snapshot as it may be made; `None` if it may not.
    fn allowed<'n>(&self, node: &'n Node) -> Option<Cow<'n, Node>> {
        use NodeKind::{BlockDevice, CharDevice, Fifo};
        if self.no_devices && matches!(node.kind, BlockDevice(..) | CharDevice(..) | Fifo) {
            return None;
        }
        Some(match self.allowed_metadata(&node.metadata) {
            Cow::Borrowed(_) => Cow::Borrowed(node),
            Cow::Owned(metadata) => Cow::Owned(Node { metadata, ..node.clone() }),
        })
    }

    fn allowed_metadata<'m>(&self, metadata: &'m Metadata) -> Cow<'m, Metadata> {
        let gives = metadata.mode & SET_IDS != 0 || metadata.xattrs.iter().any(|one| one.name == CAPABILITY);
        if !self.no_setuid || !gives {
            return Cow::Borrowed(metadata);
        }
        let mut plain = Metadata { mode: metadata.mode & !SET_IDS, ..metadata.clone() };
        plain.xattrs.retain(|one| one.name != CAPABILITY);
        Cow::Owned(plain)
    }
}

/// An existing entry that differs from the snapshot's and was left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Left {
    /// Where it is.
    pub path: PathBuf,
    /// By what it differs, like `another owner`; `None` = by its content or its type.
    pub how: Option<String>,
}

impl fmt::Display for Left {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            None => write!(out, "{}", self.path.display()),
            Some(how) => write!(out, "{}: it has {how}, and was left", self.path.display()),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
#[must_use = "it names what was not restored"]
#[non_exhaustive]
pub struct Report {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Entries that were there already and are the same.
    pub same: u64,
    /// Files that were there already, and of which mode, owner or attributes were set.
    pub mended: u64,
    /// What happened, or in a dry run would happen, to what exists.
    pub changes: Changes,
    /// In a dry run: what would be made, by file system.
    pub needs: Vec<Need>,
    /// Devices and pipes that were not made, since that was asked.
    pub not_made: u64,
    /// Entries without their set-uid and set-gid bits and capabilities, since that was asked.
    pub without_setuid: u64,
    /// Existing entries that differ and were left.
    pub left: Vec<Left>,
    /// Entries that could not be restored, each with the reason.
    pub failed: Vec<String>,
    /// Packs and blobs of the repository that are damaged, because of which entries failed.
    pub damaged: BTreeSet<String>,
    /// What everybody should hear of, though nothing failed.
    pub warnings: Vec<String>,
    /// Other notes.
    pub notes: Vec<String>,
    /// Ranges of packs fetched.
    pub fetched: u64,
    /// Decoded frames that had to be dropped to stay within the memory for them.
    pub evicted_frames: u64,
}

fn patterns(patterns: &[Vec<u8>]) -> Result<Excludes> {
    Excludes::new(patterns, &[]).map_err(|error| Error::refused(error.to_string()))
}

/// Restores what lies at an address into the directory `target`.
pub fn restore(
    repository: &Repository,
    address: &Address<'_>,
    target: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    repository.keys().content("restore")?;
    let run = operation::Run::start(repository, Operation::RESTORE);
    let (reader, snapshot) = (address.reader()?, address.snapshot);
    let (path, found) = address.locate(&reader)?;
    let path = path.as_slice();
    let mut options = options.clone();
    options.target.nonce = u64::from_le_bytes(repository.runtime().random());
    let job = Job { reader: &reader, snapshot, path, found, body: snapshot.body(repository), target };
    if options.target.dry_run {
        return job.run(&options, progress);
    }
    if !options.ignore_room {
        job.check_room(&options)?;
    }
    let result = match job.run(&options, progress) {
        Err(Error::File { source, .. }) if target::is_full(&source) => job.shortage(&options).and_then(Err),
        result => result,
    };
    let failed = Report::default();
    record(run, &reader, snapshot, (&result, result.as_ref().unwrap_or(&failed)), progress);
    result
}

/// One restore, done once or looked at before.
struct Job<'a> {
    reader: &'a Reader,
    snapshot: &'a SnapshotEntry,
    /// As the names in the tree say it, however it was written.
    path: &'a [u8],
    /// What lies at the path; `None` is the root.
    found: Option<Node>,
    body: repository::Result<Body>,
    target: &'a Path,
}

impl Job<'_> {
    fn run(&self, options: &Options, progress: &dyn Progress) -> Result<Report> {
        let mut options = options.clone();
        let mut warnings = Vec::new();
        let rules = match Rules::of(self.snapshot, &self.body, self.path) {
            _ if !options.target.delete_extra => None,
            Ok(rules) => Some(rules),
            Err(why) => {
                options.target.delete_extra = false;
                warnings.push(format!("nothing is deleted: {why}"));
                None
            }
        };
        let own = self.reader.repository().own_folders();
        self.refuse_own(&own)?;
        let open = Target::open(self.target, options.target);
        let open = open.map_err(|source| Error::File { what: "restore into", path: self.target.into(), source });
        let mut open = open?;
        // folders that were only made now may lead elsewhere than it seemed
        self.refuse_own(&own)?;
        open.spare_own(&own);
        if let Some(rules) = rules {
            open.spare(Arc::new(rules));
        }
        let run = Run::new(self.reader.repository(), self.reader, &options, progress, open)?;
        let run = run.within(self.body.as_ref().ok().and_then(|body| Scope::of(body, self.path)));
        let mut report = match &self.found {
            None => {
                let root = self.body.as_ref().ok().and_then(|body| body.root.as_ref());
                run.whole(&self.snapshot.head.root, root)?
            }
            Some(Node { kind: NodeKind::Directory(root), metadata, .. }) => run.whole(root, Some(metadata))?,
            Some(node) => run.single(node)?,
        };
        report.warnings.splice(0..0, warnings);
        Ok(report)
    }

    /// Refuses a target inside of the repository itself: what is put there, or deleted, is the next restore's loss.
    fn refuse_own(&self, own: &[PathBuf]) -> Result<()> {
        let identity = |path: &Path| rustix::fs::stat(path).ok().map(|stat| metadata::identity(&stat));
        let own: Vec<(u64, u64)> = own.iter().filter_map(|path| identity(path)).collect();
        let there = std::path::absolute(self.target).ok();
        let there = there.iter().flat_map(|path| path.ancestors()).find_map(|path| path.canonicalize().ok());
        let is_own = |path: &Path| identity(path).is_some_and(|identity| own.contains(&identity));
        match there.iter().flat_map(|path| path.ancestors()).find(|path| is_own(path)) {
            None => Ok(()),
            Some(path) => Err(Error::refused(format!(
                "{} lies in {}, which belongs to the repository itself; name another target",
                self.target.display(),
                path.display()
            ))),
        }
    }

    /// Refuses what can't fit. A look at every entry is only worth it where the whole might not.
    fn check_room(&self, options: &Options) -> Result<()> {
        let tree = match &self.found {
            None => self.snapshot.head.root,
            Some(Node { kind: NodeKind::Directory(root), .. }) => *root,
            Some(node) => TreeRoot { count: 1, bytes: node_size(node), ..self.snapshot.head.root },
        };
        let Some(room) = target::room(self.target) else { return Ok(()) };
        let most = tree.count.saturating_mul(BLOCK_BYTES).saturating_add(tree.bytes);
        if most <= room.bytes && room.entries.is_none_or(|entries| tree.count <= entries) {
            return Ok(());
        }
        self.lack(options)?.map_or(Ok(()), |lack| Err(Error::NoRoom(Box::new(lack))))
    }

    /// Why a full disk stopped the restore.
    fn shortage(&self, options: &Options) -> Result<Error> {
        let found = self.lack(options)?;
        let here = || Lack { place: self.target.into(), needed: 0, free: 0, is_entries: false, has_begun: true };
        let lack = found.unwrap_or_else(here);
        Ok(Error::NoRoom(Box::new(Lack { has_begun: true, ..lack })))
    }

    /// Compares what is still to be made with the room for it.
    fn lack(&self, options: &Options) -> Result<Option<Lack>> {
        let look = Options { target: target::Options { dry_run: true, ..options.target }, ..options.clone() };
        let report = self.run(&look, &Silent)?;
        Ok(report.needs.iter().find_map(|need| {
            let room = target::room(&need.place)?;
            let bytes = need.bytes.saturating_sub(need.freed);
            let lack = |needed, free, is_entries| {
                Some(Lack { place: need.place.clone(), needed, free, is_entries, has_begun: false })
            };
            match room.entries {
                _ if bytes > room.bytes => lack(bytes, room.bytes, false),
                Some(entries) if need.entries > entries => lack(need.entries, entries, true),
                _ => None,
            }
        }))
    }
}

/// What of the repository is damaged, if that is the error.
fn damaged_object(error: &repository::Error) -> Option<String> {
    match error {
        _ if !error.is_lost() => None,
        repository::Error::DamagedBlob { pack, .. } => Some(format!("pack {}", pack.short())),
        repository::Error::MissingBlob(blob) => Some(format!("blob {}", blob.short())),
        _ => None,
    }
}

fn node_size(node: &Node) -> u64 {
    match &node.kind {
        NodeKind::File { size, .. } => *size,
        _ => 0,
    }
}

/// The audit trail; whoever may only read the store restores without it.
fn record<T>(
    run: operation::Run,
    reader: &Reader,
    snapshot: &SnapshotEntry,
    (result, report): (&Result<T>, &Report),
    progress: &dyn Progress,
) {
    let host = run.repository().options().actor.host().map(|host| ("target_host", host));
    let ending = Ending {
        facts: host.into_iter().collect(),
        source: snapshot.head.source.clone(),
        heads: vec![snapshot.id],
        snapshot: Some(snapshot.id),
        figures: Figures::Restore { restored_bytes: report.bytes, restored_files: report.files },
        // what was read in full need not be read soon by a check
        verified: reader.verified_packs(),
        ..Ending::done_or_partial("", !report.failed.is_empty())
    };
    run.finish(result, ending).into_iter().for_each(|warning| progress.note(&warning));
}
