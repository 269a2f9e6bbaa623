//! What each source costs to store now: the stored bytes of the blobs that its visible snapshots need, those that it
//! needs alone apart from those that others need too; of a frame each blob has its part. That follows from the trees,
//! whatever runs have added and whatever was forgotten since; each page is read once for each source that needs it.

use super::Source;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::lookup::{BlobLookup, FrameNumber, PackRule};
use crate::repository::read::reader::Reader;
use crate::repository::tree::reach;
use crate::repository::view::View;
use std::collections::{BTreeMap, HashMap, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId};

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

/// Stored bytes of all sources that were asked for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Costs {
    /// By domain and name.
    by_source: BTreeMap<(DomainId, String), Cost>,
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
pub fn costs(repository: &Repository, catalog: &View, wanted: &[Source<'_>], progress: &dyn Progress) -> Result<Costs> {
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
        let mut needs = Needs::new();
        for (number, source) in (0u32..).zip(&own) {
            let reader = Reader::new(repository, &index);
            let (mut bytes, mut failed) = (0u64, None);
            let mut each = |id| match mark(&index, &mut needs, (id, number)) {
                Ok(more) => bytes = bytes.saturating_add(more),
                Err(error) => failed = Some(error),
            };
            walk(&reader, source, &mut each, (&mut costs.unread, progress))?;
            failed.map_or(Ok(()), Err)?;
            all.push(bytes);
        }
        let needed = costs.needed.get_or_insert_default();
        let mut alone = vec![0u64; own.len()];
        for need in needs.values() {
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

fn walk(
    reader: &Reader,
    source: &Source<'_>,
    each: &mut dyn FnMut(BlobId),
    (unread, progress): (&mut Vec<String>, &dyn Progress),
) -> Result<()> {
    let mut seen = HashSet::new();
    for snapshot in source.snapshots.iter().rev() {
        reader.repository().runtime().check_stopped()?;
        let failed = reach::reach(reader, snapshot.head.root.id, &mut seen, &mut |_, id| each(id));
        let failed = failed.map_or_else(Some, |lost| lost.into_iter().next());
        if let Some(first) = failed {
            unread.push(format!("snapshot {} of {}: {first}", snapshot.id.short(), source.name));
        }
        progress.advance(1, 0);
    }
    Ok(())
}

/// A blob and the bases of its frame are needed by a source; returns the stored bytes of those that were not before.
fn mark(index: &BlobLookup, needs: &mut Needs, (id, number): (BlobId, u32)) -> repository::Result<u64> {
    let mut bytes = 0u64;
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        let Some(place) = index.place(&id, &PackRule::THERE) else { continue };
        let frame = index.frame(place.frame)?;
        let need = needs.entry((place.frame, place.at)).or_default();
        if need.last == Some(number) {
            continue;
        }
        need.first = need.first.or(Some(number));
        need.last = Some(number);
        need.bytes = u64::from(frame.stored) * u64::from(place.length) / u64::from(frame.plain.max(1));
        need.content = if place.kind == BlobKind::Chunk { place.length.into() } else { 0 };
        bytes = bytes.saturating_add(need.bytes);
        pending.extend(frame.bases.iter().copied());
    }
    Ok(bytes)
}
