//! Takes a forgotten snapshot back. That is a commit: all that the snapshot needs must lie, or be copied to, where the
//! next sweep leaves it, and marks are looked at before and after (W1 to W5). A snapshot whose own object may be swept
//! at any moment comes back as a copy that the owner signs. What prune has deleted is gone: then this says so.

use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::repository;
use crate::repository::Repository;
use crate::repository::objects::marks::Condemnation;
use crate::repository::objects::orders;
use crate::repository::objects::snapshots::{SnapshotEntry, SourcePlace};
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::View;
use crate::repository::write::commit;
use crate::repository::write::writer::{Place, Writer};
use crate::time::WallTime;
use std::collections::HashSet;
use vault_format::id::{ObjectId, RunId};
use vault_format::order::Action;

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot that is there now: the same, or its copy.
    pub snapshot: ObjectId,
    /// Its source.
    pub source: String,
    /// It was forgotten before.
    pub was_forgotten: bool,
    /// It is a copy: the old object is about to be deleted.
    pub is_copy: bool,
    /// Blobs that had to be copied, since prune is about to delete the packs that hold them.
    pub copied_blobs: u64,
    /// Plaintext bytes of these.
    pub copied_bytes: u64,
    /// When it expires.
    pub expires: Option<WallTime>,
    /// Other notes.
    pub notes: Vec<String>,
}

/// Takes back the snapshot whose id begins with `prefix`. Needs the owner.
pub fn undelete(repository: &Repository, prefix: &str) -> Result<Report> {
    repository.keys().owner("undelete a snapshot")?;
    let run = Run::start(repository, Operation::UNDELETE);
    let mut result = run.attempts(|number| {
        let mut result = attempt(&run, prefix);
        match &mut result {
            // what was relied on is copied the next time
            Err(error) if error.is_overtaken() => commit::forget_late(repository, run.id())?,
            Err(_) => {}
            // an order that came too late counts as put by the next try
            Ok(report) => report.was_forgotten |= number > 1,
        }
        result
    });
    let ending = match &result {
        Ok(report) => Ending {
            source: report.source.clone(),
            heads: vec![report.snapshot],
            snapshot: Some(report.snapshot),
            figures: Figures::Undelete { copied_bytes: report.copied_bytes },
            ..Ending::done(prefix)
        },
        Err(_) => Ending::done(""),
    };
    let warning = run.finish(&result, ending);
    if let Ok(report) = &mut result {
        report.notes.extend(warning);
    }
    result
}

fn attempt(run: &Run, prefix: &str) -> Result<Report> {
    let repository = run.repository();
    let view = View::to_undelete(repository)?;
    let snapshot = find(&view, prefix)?;
    let is_back = |other: &&SnapshotEntry| other.id != snapshot.id && other.first_id() == snapshot.first_id();
    if let Some(copy) = view.snapshots.visible().find(is_back) {
        let (old, new) = (snapshot.id.short(), copy.id.short());
        return Err(Error::refused(format!("snapshot {old} is back already, as {new}")));
    }
    let domain = snapshot.place.domain;
    let lookup = view.lookup_of_listed(domain)?;
    // whoever could not read it can't read its copy either
    let place = Place { domain, label: snapshot.place.label, shared: snapshot.is_shared() };
    let mut writer = Writer::at(repository, &lookup, place)?;
    rely_or_copy(&Reader::new(repository, &lookup), snapshot, &mut writer)?;
    repository.runtime().check_stopped()?;
    let counts = writer.counts;
    let names_it = |mark: &&Condemnation| mark.snapshots.iter().any(|place| place.id == snapshot.id);
    let dooms: Vec<&Condemnation> = view.marks.condemnations.iter().filter(names_it).collect();
    let was_forgotten = snapshot.state.is_forgotten();
    let mut report = Report {
        snapshot: snapshot.id,
        source: snapshot.head.source.clone(),
        was_forgotten,
        is_copy: false,
        copied_blobs: counts.added_blobs,
        copied_bytes: counts.added_bytes,
        expires: snapshot.expires(),
        notes: view.damaged_index(domain).iter().map(ToString::to_string).collect(),
    };
    // a run that was cut off may have put the order, and no more
    if !was_forgotten && counts.added_blobs == 0 && dooms.iter().all(|mark| mark.swept) {
        // a listing may still show what a sweep has deleted
        repository.backend().stat(&snapshot.name().to_string())?;
        return Ok(report);
    }
    if dooms.is_empty() {
        writer.flush()?.commit_undelete(snapshot.id)?;
    } else {
        report.snapshot = copy(repository, (&view, snapshot), run.id(), writer)?;
        report.is_copy = true;
    }
    Ok(report)
}

/// The snapshot, or why there is none.
fn find<'v>(view: &'v View, prefix: &str) -> Result<&'v SnapshotEntry> {
    let found = view.snapshots.by_id(prefix);
    if let Err(repository::Error::NoSnapshot(asked)) = &found {
        let mut condemned = view.marks.condemnations.iter().flat_map(|mark| &mark.snapshots);
        if condemned.any(|place| asked.len() >= 4 && place.id.to_string().starts_with(asked)) {
            return Err(Error::refused(format!("prune has deleted snapshot {asked}")));
        }
    }
    Ok(found?)
}

/// W1 and W2: relies on each blob where no mark of age names it, and stores it again where one does.
fn rely_or_copy(reader: &Reader, snapshot: &SnapshotEntry, writer: &mut Writer) -> Result<()> {
    let mut needed = HashSet::new();
    // a run that was cut off may have taken it back too late, and prune stops at what is not there
    let is_forgotten = snapshot.state.is_forgotten();
    let gone = |error: repository::Error| match error.is_lost() {
        true => Error::refused(Refusal::Gone { error: Box::new(error), is_forgotten }),
        false => error.into(),
    };
    reach::all(reader, snapshot.head.root.id, &mut HashSet::new(), &mut needed).map_err(gone)?;
    let mut missing: Vec<_> = needed.into_iter().filter(|(_, id)| !writer.rely(id)).collect();
    missing.sort_by_cached_key(|(_, id)| reader.index().order_of(id));
    for (kind, id) in missing {
        writer.put(kind, &reader.blob(kind, &id).map_err(gone)?)?;
    }
    Ok(())
}

/// Commits the same snapshot as a new object: with its orders in it, and signed by the owner, so that its time stands.
fn copy(
    repository: &Repository,
    (view, snapshot): (&View, &SnapshotEntry),
    run: RunId,
    writer: Writer,
) -> Result<ObjectId> {
    let mut body = snapshot.body(repository)?;
    body.tags = snapshot.state.tags(&body.tags);
    let source = SourcePlace { domain: snapshot.place.domain, label: snapshot.place.label };
    let head = snapshot.copied(run, view.snapshots.seen_by(repository.keys().writer(), source));
    let name = writer.flush()?.commit(&head, &body)?;
    let id = name.id().ok_or_else(|| repository::Error::NoSnapshot(name.to_string()))?;
    if snapshot.state.is_held() {
        orders::put(repository, snapshot.place.domain, Action::Hold(vec![id]))?;
    }
    Ok(id)
}
