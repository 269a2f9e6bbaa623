//! Blobs that snapshots need and no good pack holds: looked for in damaged packs, in other domains and in another
//! repository, and stored again in new packs of the domain. What nobody has is lost.

use super::{Context, Report, SOURCE};
use crate::error::Result;
use crate::repository;
use crate::repository::Repository;
use crate::repository::lookup::BlobLookup;
use crate::repository::objects::index_objects::IndexObjects;
use crate::repository::objects::marks::Marks;
use crate::repository::objects::trust::Trust;
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::write::transfer;
use crate::repository::write::writer::{Place, Writer};
use std::collections::{HashMap, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId};

/// A set of blobs.
pub(super) type Blobs = HashSet<(BlobKind, BlobId)>;

/// A domain after its blobs were recovered.
pub(super) struct Mended {
    pub domain: DomainId,
    /// Every place that anybody tells of, the new ones among them.
    pub readable: BlobLookup,
    /// Good packs, the new ones among them.
    pub reliable: BlobLookup,
    /// Blobs that nobody has.
    pub lost: Blobs,
}

/// Stores again what can be had: from the domain itself, from other domains, from another repository.
pub(super) fn recover(
    context: &Context<'_>,
    (domain, mut readable): (DomainId, BlobLookup),
    (home, foreign): (&[Reader], &[Reader]),
    around: &[Reader],
    report: &mut Report,
) -> Result<Mended> {
    let repository = context.repository;
    let mut reliable = context.look.reliable(repository, domain)?;
    let (mut lost, mut seen) = (Blobs::new(), HashSet::new());
    let label = repository.keys().owner("repair")?.book(domain).source_label(SOURCE);
    // what members of the domain can't read stays closed to them
    for shared in [true, false] {
        let reader = Reader::new(repository, &readable).or(around);
        let mut wanted = wanted(context, (domain, shared), &reader, &reliable, &mut seen)?;
        if wanted.is_empty() {
            continue;
        }
        let own = [Reader::new(repository, &readable)];
        if context.options.dry_run {
            report.salvaged_blobs += readable_in(own.iter().chain(home), &mut wanted);
            report.fetched_blobs += readable_in(foreign.iter(), &mut wanted);
        } else {
            let mut writer = Writer::at(repository, &reliable, Place { domain, label, shared })?;
            let mut doubts = HashMap::new();
            for reader in own.iter().chain(home) {
                report.salvaged_blobs += take(context, reader, (&mut wanted, &mut doubts), &mut writer)?;
            }
            for reader in foreign {
                report.fetched_blobs += take(context, reader, (&mut wanted, &mut doubts), &mut writer)?;
            }
            let written = writer.flush()?.uncommitted();
            super::answered(wanted.iter().filter_map(|(_, id)| doubts.remove(id)))?;
            report.stored_bytes += written.stored_bytes();
            written.add_to(&mut reliable)?;
            written.add_to(&mut readable)?;
        }
        lost.extend(wanted);
    }
    report.lost_blobs += lost.len() as u64;
    Ok(Mended { domain, readable, reliable, lost })
}

/// Moves what a reader has of what is wanted; returns how many blobs. Where the store did not answer goes to `doubts`.
fn take(
    context: &Context<'_>,
    reader: &Reader,
    (wanted, doubts): (&mut Blobs, &mut HashMap<BlobId, repository::Error>),
    writer: &mut Writer,
) -> Result<u64> {
    let moved = |bytes| {
        context.progress.advance(0, bytes);
        Ok(context.repository.runtime().check_stopped()?)
    };
    let all = wanted.len();
    let unread = transfer::blobs(reader, wanted, writer, &moved)?;
    *wanted = unread.iter().map(|(kind, id, _)| (*kind, *id)).collect();
    doubts.extend(unread.into_iter().filter(|(.., error)| error.is_unanswered()).map(|(_, id, error)| (id, error)));
    Ok((all - wanted.len()) as u64)
}

/// What live snapshots, those that members may read or the others, need and no good pack holds.
fn wanted(
    context: &Context<'_>,
    (domain, shared): (DomainId, bool),
    reader: &Reader,
    reliable: &BlobLookup,
    seen: &mut HashSet<BlobId>,
) -> Result<Blobs> {
    let mut wanted = Blobs::new();
    for snapshot in context.look.live(domain).filter(|snapshot| snapshot.is_shared() == shared) {
        context.repository.runtime().check_stopped()?;
        // what can't be read is wanted; what lies below it comes with it, or is lost
        let mut each = |kind, id| {
            if !reliable.is_there(&id) {
                wanted.insert((kind, id));
            }
        };
        reach::reach(reader, snapshot.head.root.id, seen, &mut each)?;
    }
    Ok(wanted)
}

fn readable_in<'a, 'r: 'a>(readers: impl Iterator<Item = &'a Reader> + Clone, wanted: &mut Blobs) -> u64 {
    let all = wanted.len();
    wanted.retain(|(kind, id)| !readers.clone().any(|reader| reader.blob(*kind, id).is_ok()));
    (all - wanted.len()) as u64
}

/// The lookup over all domains of another repository.
pub(super) fn foreign(from: &Repository) -> Result<BlobLookup> {
    let trust = Trust::load(from)?;
    let objects = IndexObjects::load(from, &trust, None)?;
    Ok(BlobLookup::new(from, objects, None, &Marks::default())?)
}
