//! Snapshots that need what is lost: each is kept as it is, and a marked copy without the lost files is committed beside
//! it, so that what is left restores. A snapshot that has such a copy gets no second one.

use super::blobs::{Blobs, Mended};
use super::verdict::Verdict;
use super::{Context, Lost, Report, TAG};
use crate::error::Result;
use crate::repository;
use crate::repository::Error;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::orders;
use crate::repository::objects::snapshots::{SnapshotEntry, SourcePlace};
use crate::repository::read::reader::Reader;
use crate::repository::tree::build::Rewrite;
use crate::repository::tree::walk::{Step, Walk};
use crate::repository::tree::{build, reach};
use crate::repository::write::commit;
use crate::repository::write::writer::{Place, Writer, Written};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use vault_format::id::{ObjectId, OriginMark, RunId};
use vault_format::mark::SnapshotPlace;
use vault_format::order::Action;
use vault_format::snapshot::{Body, Head, Statistics};
use vault_format::tree::{Node, NodeKind, TreeRoot};

/// Commits a marked copy of every snapshot of the domain that lost something.
pub(super) fn rewrite(
    context: &Context<'_>,
    mended: &mut Mended,
    around: &[Reader],
    report: &mut Report,
) -> Result<()> {
    let Mended { domain, readable, reliable, lost } = mended;
    if lost.is_empty() {
        return Ok(());
    }
    let reader = Reader::new(context.repository, readable).or(around);
    let mut verdict = Verdict::new(&reader, lost);
    let mut heads: Vec<(SnapshotPlace, ObjectId)> = Vec::new();
    let live = || context.look.live(*domain);
    let mut originals: BTreeMap<ObjectId, BTreeSet<ObjectId>> = BTreeMap::new();
    for one in live() {
        originals.entry(one.id).or_default().extend(one.head.original);
        if one.left_of().is_some() {
            let whole = live().filter(|other| one.is_left_of(other)).map(|other| other.id);
            originals.entry(one.id).or_default().extend(whole);
        }
    }
    // copies before what they are copies of: a good copy speaks for all that it comes from
    let mut snapshots: Vec<&SnapshotEntry> = live().collect();
    snapshots.sort_by_key(|one| std::cmp::Reverse(ancestors(&originals, one.id).len()));
    let mut covered: BTreeSet<ObjectId> = BTreeSet::new();
    for snapshot in snapshots {
        context.repository.runtime().check_stopped()?;
        if verdict.is_whole(snapshot.head.root.id)? {
            if snapshot.is_visible() {
                covered.extend(ancestors(&originals, snapshot.id));
            }
            continue;
        }
        let paths = lost_paths(&reader, &verdict, &snapshot.head.root)?;
        let (name, time) = (snapshot.head.source.clone(), snapshot.counted.time);
        let mut found = Lost { snapshot: snapshot.id, name, time, paths, copy: None };
        let is_due = snapshot.is_visible() && !covered.contains(&snapshot.id);
        if is_due && !context.options.dry_run {
            let copier = Copier { context, reader: &reader, verdict: &verdict, lost, heads: &heads };
            match copier.copy(snapshot, reliable)? {
                Some((copy, written)) => {
                    found.copy = Some(copy);
                    heads.push((snapshot.place, copy));
                    covered.extend(ancestors(&originals, snapshot.id));
                    report.stored_bytes += written.stored_bytes();
                    // the next copy shares its pages
                    written.add_to(reliable)?;
                }
                None => report.notes.push(format!("nothing is left of snapshot {}", snapshot.id.short())),
            }
        }
        report.lost.push(found);
    }
    report.lost.sort_by_key(|lost| (lost.time, lost.snapshot));
    Ok(())
}

/// What a snapshot is a copy of, and what that is a copy of.
fn ancestors(originals: &BTreeMap<ObjectId, BTreeSet<ObjectId>>, id: ObjectId) -> BTreeSet<ObjectId> {
    let mut found = BTreeSet::new();
    let mut open = vec![id];
    while let Some(at) = open.pop() {
        open.extend(originals.get(&at).into_iter().flatten().filter(|original| found.insert(**original)));
    }
    found
}

/// Files and directories that are not whole, by path.
fn lost_paths(reader: &Reader, verdict: &Verdict<'_>, root: &TreeRoot) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut walk = Walk::new(reader, root, b"");
    while let Some(step) = walk.next() {
        let is_lost = match step {
            Step::Enter(_, root) => {
                if verdict.is_known_whole(&root.id) {
                    walk.pass();
                }
                false
            }
            Step::Node(Node { kind: NodeKind::File { content, .. }, .. }) => !verdict.has(&content)?,
            Step::Unread(error) if error.is_unanswered() => return Err(error.into()),
            Step::Unread(_) => {
                let slash = if walk.path().is_empty() { "" } else { "/" };
                paths.push(format!("{slash}{}/ (entries of this directory)", String::from_utf8_lossy(walk.path())));
                false
            }
            Step::Node(_) | Step::Leave => false,
        };
        if is_lost {
            paths.push(format!("/{}", String::from_utf8_lossy(walk.path())));
        }
    }
    paths.sort();
    Ok(paths)
}

struct Copier<'c, 'v> {
    context: &'c Context<'c>,
    reader: &'c Reader,
    verdict: &'c Verdict<'v>,
    lost: &'c Blobs,
    /// Copies so far, and what they are copies of.
    heads: &'c [(SnapshotPlace, ObjectId)],
}

impl Copier<'_, '_> {
    /// The marked copy; `None` if it would be empty.
    fn copy(&self, snapshot: &SnapshotEntry, reliable: &BlobLookup) -> Result<Option<(ObjectId, Written)>> {
        let (repository, head) = (self.context.repository, &snapshot.head);
        let (domain, label) = (snapshot.place.domain, snapshot.place.label);
        let mut writer = Writer::at(repository, reliable, Place { domain, label, shared: snapshot.is_shared() })?;
        self.rely(&mut writer, &head.root)?;
        let key = repository.keys().gear_key();
        let root = build::rewrite(self.reader, &head.root, &mut writer, key, &mut Without { verdict: self.verdict })?;
        if root.count == 0 {
            return Ok(None);
        }
        let counts = writer.counts;
        let flushed = writer.flush()?;
        let written = flushed.written();
        // nodes, among them the directories that went with their pages
        let gone = head.root.count.saturating_sub(root.count);
        let statistics = Statistics {
            files: head.statistics.files.saturating_sub(gone),
            bytes: root.bytes,
            errors: head.statistics.errors.saturating_add(gone),
            added_blobs: counts.added_blobs,
            added_bytes: counts.added_bytes,
            stored_bytes: written.stored_bytes(),
            ..head.statistics
        };
        let new = Head {
            // what is left is no snapshot that a run may stop at
            terms: OriginMark::default(),
            // just behind the original, so that the name of the source means the one that restores; as the owner's it is
            // believed, so a time that was not can't be taken over
            time: (snapshot.counted.time + Duration::from_nanos(1)).nanoseconds(),
            root,
            parent: Some(snapshot.id),
            statistics,
            original: Some(snapshot.id),
            left_of: Some(snapshot.left_of().unwrap_or(snapshot.first_id())),
            ..snapshot.copied(RunId(repository.runtime().random()), self.seen(snapshot.place))
        };
        // a body that does not open is lost with the rest
        let body = match snapshot.body(repository) {
            Err(error) if error.is_unanswered() => return Err(error.into()),
            body => body.unwrap_or_default(),
        };
        let mut tags = snapshot.state.tags(&body.tags);
        tags.push(TAG.into());
        tags.sort();
        tags.dedup();
        let name = match flushed.commit(&new, &Body { tags, ..body }) {
            Err(error @ repository::Error::Condemned(_)) => {
                commit::forget_late(repository, new.run)?;
                return Err(error.into());
            }
            committed => committed?,
        };
        if let Some(id) = name.id().filter(|_| snapshot.state.is_held()) {
            orders::put(repository, domain, Action::Hold(vec![id]))?;
        }
        Ok(name.id().map(|id| (id, written)))
    }

    /// The newest heads of the owner in a source.
    fn seen(&self, place: SnapshotPlace) -> Vec<ObjectId> {
        let is_near = |(of, _): &&(SnapshotPlace, ObjectId)| (of.domain, of.label) == (place.domain, place.label);
        let new = self.heads.iter().rev().filter(is_near).map(|(_, copy)| *copy);
        let writer = self.context.repository.keys().writer();
        let source = SourcePlace { domain: place.domain, label: place.label };
        new.chain(self.context.look.snapshots.seen_by(writer, source)).take(4).collect()
    }

    /// Relies on everything that is not lost. What lies only in condemned packs is stored again.
    fn rely(&self, writer: &mut Writer, root: &TreeRoot) -> Result<()> {
        let mut absent = Vec::new();
        let mut each = |kind, id| {
            if !self.lost.contains(&(kind, id)) && !writer.rely(&id) {
                absent.push((kind, id));
            }
        };
        reach::reach(self.reader, root.id, &mut HashSet::new(), &mut each)?;
        for (kind, id) in absent {
            writer.put(kind, &self.reader.blob(kind, &id)?)?;
        }
        Ok(())
    }
}

/// Leaves out what is lost.
struct Without<'w, 'v> {
    verdict: &'w Verdict<'v>,
}

impl Rewrite for Without<'_, '_> {
    fn file(&mut self, _: &mut Writer, node: Node) -> repository::Result<Option<Node>> {
        let is_kept = match &node.kind {
            NodeKind::File { content, .. } => self.verdict.has(content)?,
            _ => true,
        };
        Ok(is_kept.then_some(node))
    }

    fn unread(&mut self, error: Error) -> repository::Result<()> {
        if error.is_unanswered() { Err(error) } else { Ok(()) }
    }

    fn known(&self, root: &TreeRoot) -> Option<TreeRoot> {
        self.verdict.is_known_whole(&root.id).then_some(*root)
    }

    fn wrote(&mut self, _: &TreeRoot, _: &TreeRoot) {}
}
