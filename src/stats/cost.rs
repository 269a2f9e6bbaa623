//! What each source costs to store now: the stored bytes of the blobs that its visible snapshots need, those that it
//! needs alone apart from those that others need too; of a frame each blob has its part. The same walk, oldest snapshot
//! first, tells what each of them needs that none before it did, and as what that is stored. All of it follows from the
//! trees, whatever runs have added and whatever was forgotten since; each page is read once for each source that needs it.

use super::overhead::SHARE;
use super::{Source, Stored};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::lookup::{BlobLookup, FrameNumber, PackRule};
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::View;
use std::collections::{BTreeMap, HashMap, HashSet};
use vault_format::frame::FrameCodec;
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};

/// Stored bytes of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Of blobs that no other source needs: what would be freed without it.
    pub alone: u64,
    /// Of blobs that others need too.
    pub shared: u64,
}

impl Cost {
    /// All that it needs.
    pub fn bytes(&self) -> u64 {
        self.alone.saturating_add(self.shared)
    }
}

/// What visible snapshots need, each blob counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needed {
    /// Its part of the stored bytes of packs.
    pub stored: u64,
    /// Content bytes.
    pub content: u64,
}

/// Blobs, and their part of what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blobs {
    /// How many.
    pub count: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What a snapshot needs that none of its source before it needs, by what it is. What was stored for a snapshot that was
/// forgotten since, or for another source, belongs to the first that needs it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Content that is stored as it is.
    pub whole: Blobs,
    /// Content that is stored as the difference to other content.
    pub deltas: Blobs,
    /// Pages of trees and of lists of chunks.
    pub pages: Blobs,
    /// What tells where those lie, and the snapshot itself: its object, and their parts of index objects and of what
    /// packs hold beside frames.
    pub index_bytes: u64,
}

impl Added {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.content().saturating_add(self.pages.bytes).saturating_add(self.index_bytes)
    }

    fn content(&self) -> u64 {
        self.whole.bytes.saturating_add(self.deltas.bytes)
    }
}

/// Stored bytes of all sources that were asked for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Costs {
    /// By domain and name.
    by_source: BTreeMap<(DomainId, String), Cost>,
    /// By snapshot.
    added: BTreeMap<ObjectId, Added>,
    /// What all visible snapshots of the domains that were looked at need; `None` if that was not asked.
    pub needed: Option<Needed>,
    /// What could not be read, so that the figures are too low, with the reason.
    pub unread: Vec<String>,
}

impl Costs {
    /// What a source costs; `None` if that was not asked.
    pub fn of(&self, source: &Source<'_>) -> Option<Cost> {
        self.by_source.get(&(source.domain, source.name.to_owned())).copied()
    }

    /// What a snapshot added to those of its source before it; `None` if that was not asked.
    pub fn added(&self, snapshot: &ObjectId) -> Option<Added> {
        self.added.get(snapshot).copied()
    }
}

/// Who needs a blob, as numbers of sources.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Need {
    /// The first who needed it.
    first: Option<u32>,
    /// The last; another than the first if several do.
    last: Option<u32>,
    /// Its part of the stored bytes of its frame.
    bytes: u64,
    /// Its plaintext bytes if it is content.
    content: u64,
}

impl Need {
    /// The one source that needs it.
    fn only(self) -> Option<u32> {
        self.first.filter(|_| self.first == self.last)
    }
}

/// Blobs by frame and place in it.
type Needs = HashMap<(FrameNumber, u32), Need>;

/// Walks what the sources of these domains need. Needs a key that reads.
pub fn costs(
    repository: &Repository,
    catalog: &View,
    stored: &Stored,
    wanted: &[Source<'_>],
    progress: &dyn Progress,
) -> Result<Costs> {
    repository.keys().content("tell what each source costs")?;
    let mut costs = Costs::default();
    let mut domains: Vec<DomainId> = wanted.iter().map(|source| source.domain).collect();
    domains.sort();
    domains.dedup();
    // what a source shares is known only once all of its domain are walked
    let sources = super::sources(catalog, None)?;
    for domain in domains {
        let index = catalog.lookup(domain)?;
        let own: Vec<&Source<'_>> = sources.iter().filter(|source| source.domain == domain).collect();
        let mut all: Vec<u64> = Vec::new();
        let mut tally = Tally { index: &index, stored, number: 0, needs: Needs::new(), bytes: 0 };
        for (number, source) in (0u32..).zip(&own) {
            (tally.number, tally.bytes) = (number, 0);
            walk(&Reader::new(repository, &index), source, &mut tally, (&mut costs, progress))?;
            all.push(tally.bytes);
        }
        let needed = costs.needed.get_or_insert_default();
        let mut alone = vec![0u64; own.len()];
        for need in tally.needs.values() {
            needed.stored = needed.stored.saturating_add(need.bytes);
            needed.content = needed.content.saturating_add(need.content);
            if let Some(bytes) = need.only().and_then(|only| alone.get_mut(only as usize)) {
                *bytes = bytes.saturating_add(need.bytes);
            }
        }
        for ((source, all), alone) in own.iter().zip(all).zip(alone) {
            let cost = Cost { alone, shared: all.saturating_sub(alone) };
            costs.by_source.insert((domain, source.name.to_owned()), cost);
        }
    }
    Ok(costs)
}

/// Walks the snapshots of a source, oldest first: what one needs is added by the first that needs it.
fn walk(
    reader: &Reader,
    source: &Source<'_>,
    tally: &mut Tally<'_>,
    (costs, progress): (&mut Costs, &dyn Progress),
) -> Result<()> {
    let mut seen = HashSet::new();
    for snapshot in &source.snapshots {
        reader.repository().runtime().check_stopped()?;
        let (mut added, mut failed) = (Added::default(), None);
        let mut each = |_, id| failed = failed.take().or_else(|| tally.mark(id, &mut added).err());
        let lost = reach::reach(reader, snapshot.head.root.id, &mut seen, &mut each);
        failed.map_or(Ok(()), Err)?;
        if let Some(first) = lost.map_or_else(Some, |lost| lost.into_iter().next()) {
            costs.unread.push(format!("snapshot {} of {}: {first}", snapshot.id.short(), source.name));
        }
        added.index_bytes = added.index_bytes / SHARE + tally.stored.overhead.of_snapshot(&snapshot.id);
        costs.added.insert(snapshot.id, added);
        progress.advance(1, 0);
    }
    Ok(())
}

/// What the sources of a domain need, one after the other.
struct Tally<'a> {
    index: &'a BlobLookup,
    stored: &'a Stored,
    /// That of the source that is walked.
    number: u32,
    needs: Needs,
    /// What the source needs so far.
    bytes: u64,
}

impl Tally<'_> {
    /// The source needs a blob and the bases of its frame; what it did not need before is added.
    fn mark(&mut self, id: BlobId, added: &mut Added) -> repository::Result<()> {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(place) = self.index.place(&id, &PackRule::THERE) else { continue };
            let frame = self.index.frame(place.frame)?;
            let need = self.needs.entry((place.frame, place.at)).or_default();
            if need.last == Some(self.number) {
                continue;
            }
            need.first = need.first.or(Some(self.number));
            need.last = Some(self.number);
            need.bytes = u64::from(frame.stored) * u64::from(place.length) / u64::from(frame.plain.max(1));
            need.content = if place.kind == BlobKind::Chunk { place.length.into() } else { 0 };
            self.bytes = self.bytes.saturating_add(need.bytes);
            let part = match (place.kind, frame.codec) {
                (BlobKind::Chunk, FrameCodec::Delta) => &mut added.deltas,
                (BlobKind::Chunk, _) => &mut added.whole,
                _ => &mut added.pages,
            };
            part.count += 1;
            part.bytes = part.bytes.saturating_add(need.bytes);
            let share = self.stored.overhead.of_blob_in(&self.index.pack(place.pack)?.id);
            added.index_bytes = added.index_bytes.saturating_add(share);
            pending.extend(frame.bases.iter().copied());
        }
        Ok(())
    }
}
