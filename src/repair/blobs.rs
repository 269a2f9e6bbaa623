//! Blobs that snapshots need and no good pack holds: looked for in damaged packs, in other domains and in another
//! repository, and stored again in new packs of the domain. What nobody has is lost.

use super::{Context, Report, SOURCE};
use crate::error::Result;
use crate::repository::index::{BlobIndex, IndexObjects, Purpose};
use crate::repository::marks::Marks;
use crate::repository::reader::Reader;
use crate::repository::trust::Trust;
use crate::repository::writer::Writer;
use crate::repository::{self, Repository, moved, reach};
use std::collections::HashSet;
use vault_format::id::{BlobId, BlobKind, DomainId};

/// A set of blobs.
pub(super) type Blobs = HashSet<(BlobKind, BlobId)>;

/// A domain after its blobs were recovered.
pub(super) struct Mended {
    pub domain: DomainId,
    /// Every place that anybody tells of, the new ones among them.
    pub readable: BlobIndex,
    /// Good packs, the new ones among them.
    pub reliable: BlobIndex,
    /// Blobs that nobody has.
    pub lost: Blobs,
}

/// Stores again what can be had: from the domain itself, from other domains, from another repository.
pub(super) fn recover(
    context: &Context<'_>,
    (domain, mut readable): (DomainId, BlobIndex),
    (home, foreign): (&[Reader<'_>], &[Reader<'_>]),
    around: &[Reader<'_>],
    report: &mut Report,
) -> Result<Mended> {
    let repository = context.repository;
    let mut reliable = context.look.reliable(repository, domain);
    let mut wanted = wanted(context, domain, &Reader::new(repository, &readable).or(around), &reliable)?;
    if wanted.is_empty() {
        return Ok(Mended { domain, readable, reliable, lost: wanted });
    }
    let own = [Reader::new(repository, &readable)];
    if context.options.dry_run {
        report.salvaged_blobs += readable_in(own.iter().chain(home), &mut wanted);
        report.fetched_blobs += readable_in(foreign.iter(), &mut wanted);
        report.lost_blobs += wanted.len() as u64;
        return Ok(Mended { domain, readable, reliable, lost: wanted });
    }
    let mut writer = Writer::new(repository, &reliable, domain, SOURCE)?;
    let moved = |bytes| {
        context.progress.advance(0, bytes);
        if repository.runtime().is_stopped() { Err(repository::Error::Interrupted) } else { Ok(()) }
    };
    let mut take = |reader: &Reader<'_>, wanted: &mut Blobs| -> Result<u64> {
        let all = wanted.len();
        let unread = moved::blobs(reader, wanted, &mut writer, &moved)?;
        *wanted = unread.into_iter().map(|(kind, id, _)| (kind, id)).collect();
        Ok((all - wanted.len()) as u64)
    };
    for reader in own.iter().chain(home) {
        report.salvaged_blobs += take(reader, &mut wanted)?;
    }
    for reader in foreign {
        report.fetched_blobs += take(reader, &mut wanted)?;
    }
    writer.flush()?;
    report.stored_bytes += writer.stored_bytes();
    report.lost_blobs += wanted.len() as u64;
    let written = writer.written();
    drop(writer);
    written.add_to(&mut reliable);
    written.add_to(&mut readable);
    Ok(Mended { domain, readable, reliable, lost: wanted })
}

/// What live snapshots need and no good pack holds.
fn wanted(context: &Context<'_>, domain: DomainId, reader: &Reader<'_>, reliable: &BlobIndex) -> Result<Blobs> {
    let (mut wanted, mut seen) = (Blobs::new(), HashSet::new());
    for snapshot in context.look.live(domain) {
        super::stopped(context.repository)?;
        // what can't be read is wanted; what lies below it comes with it, or is lost
        let mut each = |kind, id| {
            if reliable.usable(&id, Purpose::Read).is_none() {
                wanted.insert((kind, id));
            }
        };
        reach::reach(reader, snapshot.head.root.id, &mut seen, &mut each);
    }
    Ok(wanted)
}

fn readable_in<'a, 'r: 'a>(readers: impl Iterator<Item = &'a Reader<'r>> + Clone, wanted: &mut Blobs) -> u64 {
    let all = wanted.len();
    wanted.retain(|(kind, id)| !readers.clone().any(|reader| reader.blob(*kind, id).is_ok()));
    (all - wanted.len()) as u64
}

/// The lookup over all domains of another repository.
pub(super) fn foreign(from: &Repository) -> Result<BlobIndex> {
    let trust = Trust::load(from)?;
    let objects = IndexObjects::load(from, &trust, None)?;
    Ok(BlobIndex::new(from, &objects, None, &Marks::default()))
}
