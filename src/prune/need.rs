//! From which frames of which packs the live blobs of a domain are read, and what of their neighbours is a base of them.
//! Of several places of a blob one is chosen: least depth first, then the pack that is fullest of life, so that what an
//! interrupted repack has copied replaces what it was copied from. Of what members wrote only the oldest place is
//! eligible: nobody makes a pack garbage by a claim to have its blobs too. A base is always read from the place chosen
//! for it, for no usable place is less deep.

use super::plan::{FrameUse, Held, Lineage, PackUse};
use super::survey::{Live, Survey, unsafe_because};
use crate::error::Result;
use crate::repository::lookup::{ANY_DEPTH, BlobLookup, Location, PackRecord};
use crate::repository::write::writer::Place;
use crate::repository::{Error, Repository};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId, WriterId};
use vault_format::mark::SnapshotPlace;

/// What one domain needs.
pub(super) struct Need {
    pub domain: DomainId,
    owner: WriterId,
    pub lookup: BlobLookup,
    pub live: HashSet<(BlobKind, BlobId)>,
    /// What members must be able to read of it.
    shared: HashSet<BlobId>,
    /// Plaintext needed of each frame: live, and only as a base.
    frames: Vec<(u32, u32)>,
    /// How full of life each pack is, in 1/1024.
    fullness: Vec<u32>,
    /// Bases that are not live themselves.
    dead: BTreeMap<BlobId, Location>,
    /// Live deltas with such bases.
    deltas: BTreeMap<BlobId, Location>,
}

fn outside(pack: &PackRecord) -> bool {
    pack.present && !pack.condemned
}

/// Repair makes no copy of a snapshot of which nothing is left, so such a one still needs what is lost.
fn lost(id: BlobId) -> crate::error::Error {
    let next = "`vault check` names the snapshots that need it: `vault forget` those that have no repaired copy";
    unsafe_because(format!("{}; {next}", Error::MissingBlob(id)))
}

impl Need {
    /// Finds out what the snapshots of a domain need, but for those that are `due`.
    pub fn of(
        repository: &Repository,
        survey: &Survey,
        domain: DomainId,
        due: &BTreeSet<SnapshotPlace>,
    ) -> Result<Self> {
        let lookup = survey.lookup(repository, domain);
        let Live { needed: live, shared, .. } = survey.live(repository, &lookup, domain, due)?;
        let frames = vec![(0, 0); lookup.frames().len()];
        let fullness = fullness(&lookup, &live);
        let (dead, deltas) = (BTreeMap::new(), BTreeMap::new());
        let owner = repository.keys().owner_writer();
        let mut need = Self { domain, owner, lookup, live, shared, frames, fullness, dead, deltas };
        need.count()?;
        Ok(need)
    }

    /// The place from which a blob is to be read, outside of all marks.
    pub fn place(&self, id: &BlobId) -> Option<Location> {
        let mut places: Vec<Location> = self.lookup.all_usable(id, ANY_DEPTH, &outside).collect();
        let pack = |place: &Location| self.lookup.pack_of(place.frame);
        let is_open = |place: &Location| pack(place).wraps.reaches(self.domain);
        if self.shared.contains(id) && places.iter().any(is_open) {
            places.retain(is_open);
        }
        let standing = |place: &Location| pack(place).standing(self.owner);
        let best = places.iter().map(standing).min()?;
        places.into_iter().filter(|place| standing(place) == best).min_by_key(|place| {
            let frame = self.lookup.frame(place.frame);
            let fullness = self.fullness.get(frame.pack as usize).copied().unwrap_or_default();
            (frame.depth, Reverse(fullness), pack(place).id)
        })
    }

    fn count(&mut self) -> Result<()> {
        let live = std::mem::take(&mut self.live);
        let is_dead = |base: &BlobId| !live.contains(&(BlobKind::Chunk, *base));
        for (_, id) in &live {
            let Some(place) = self.place(id) else {
                // what lies only in condemned packs is for the sweep to copy
                if self.lookup.usable_where(id, ANY_DEPTH, &|pack| pack.present).is_none() {
                    return Err(lost(*id));
                }
                continue;
            };
            let live = &mut self.frames[place.frame as usize].0;
            *live = live.saturating_add(place.length);
            let mut bases = self.lookup.frame(place.frame).bases.to_vec();
            bases.retain(is_dead);
            if !bases.is_empty() {
                self.deltas.insert(*id, place);
            }
            while let Some(base) = bases.pop() {
                let Some(place) = self.place(&base).filter(|_| !self.dead.contains_key(&base)) else { continue };
                let used = &mut self.frames[place.frame as usize].1;
                *used = used.saturating_add(place.length);
                self.dead.insert(base, place);
                bases.extend(self.lookup.frame(place.frame).bases.iter().filter(|base| is_dead(base)));
            }
        }
        self.live = live;
        Ok(())
    }

    /// True if this place of a blob is needed.
    pub fn needs(&self, kind: BlobKind, id: &BlobId, place: Location) -> bool {
        (self.live.contains(&(kind, *id)) || self.dead.contains_key(id)) && self.place(id) == Some(place)
    }

    /// The frames of a pack, as they lie; none if this domain's index does not tell of it.
    pub fn uses(&self, pack: &ObjectId) -> Vec<FrameUse> {
        let Some((number, first)) = self.lookup.position(pack) else { return Vec::new() };
        let frames = self.lookup.frames().iter().enumerate().skip(first as usize);
        let own = frames.take_while(|(_, frame)| frame.pack == number);
        own.map(|(position, frame)| {
            let (live, base) = self.frames.get(position).copied().unwrap_or_default();
            // a directory that names a blob twice can't make a frame more than full
            let live = live.min(frame.plain);
            FrameUse { stored: frame.stored, plain: frame.plain, live, base: base.min(frame.plain - live), blobs: 0 }
        })
        .collect()
    }

    /// Dead bases with what needs them, those together that share a blob that needs them.
    pub fn lineages(&self, packs: &HashMap<ObjectId, usize>) -> Vec<Lineage> {
        let numbers: BTreeMap<&BlobId, usize> = self.dead.keys().zip(0..).collect();
        let mut groups = Groups((0..numbers.len()).collect());
        let dead_bases = |place: &Location| {
            let bases = self.lookup.frame(place.frame).bases.iter();
            bases.filter_map(|base| numbers.get(base).copied()).collect::<Vec<usize>>()
        };
        for (id, place) in &self.dead {
            dead_bases(place).into_iter().for_each(|base| groups.join(numbers[id], base));
        }
        for place in self.deltas.values() {
            dead_bases(place).windows(2).for_each(|pair| groups.join(pair[0], pair[1]));
        }
        let mut lineages: BTreeMap<usize, Lineage> = BTreeMap::new();
        for (id, place) in &self.dead {
            let Some(held) = self.held(packs, *id, place) else { continue };
            lineages.entry(groups.root(numbers[id])).or_default().dead.push(held);
        }
        for (id, place) in &self.deltas {
            let (Some(base), Some(held)) = (dead_bases(place).first().copied(), self.held(packs, *id, place)) else {
                continue;
            };
            lineages.entry(groups.root(base)).or_default().deltas.push(held);
        }
        lineages
            .into_values()
            .map(|mut lineage| {
                lineage.deltas.sort();
                lineage
            })
            .collect()
    }

    fn held(&self, packs: &HashMap<ObjectId, usize>, blob: BlobId, place: &Location) -> Option<Held> {
        let frame = self.lookup.frame(place.frame);
        let id = self.lookup.pack_of(place.frame).id;
        let (_, first) = self.lookup.position(&id)?;
        let number = usize::try_from(place.frame.checked_sub(first)?).ok()?;
        Some(Held { depth: frame.depth, pack: *packs.get(&id)?, frame: number, length: place.length, blob })
    }
}

fn fullness(lookup: &BlobLookup, live: &HashSet<(BlobKind, BlobId)>) -> Vec<u32> {
    let mut all = vec![0u64; lookup.packs().len()];
    let mut alive = all.clone();
    for frame in lookup.frames() {
        all[frame.pack as usize] += u64::from(frame.plain);
    }
    for (_, id) in live {
        for place in lookup.locations(id) {
            alive[lookup.frame(place.frame).pack as usize] += u64::from(place.length);
        }
    }
    let part = |(alive, all): (u64, u64)| u32::try_from(alive * 1024 / all.max(1)).unwrap_or(u32::MAX);
    alive.into_iter().zip(all).map(part).collect()
}

/// Sets that grow together.
struct Groups(Vec<usize>);

impl Groups {
    fn root(&mut self, mut of: usize) -> usize {
        while self.0[of] != of {
            self.0[of] = self.0[self.0[of]];
            of = self.0[of];
        }
        of
    }

    fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.root(left), self.root(right));
        self.0[left.max(right)] = left.min(right);
    }
}

/// All packs that the store lists and no mark names, as the plan sees them, and the packs by id.
pub(super) fn packs(survey: &Survey, needs: &[Need], fixed: &BTreeSet<ObjectId>) -> (Vec<PackUse>, Vec<Place>) {
    let mut places: Vec<Place> = Vec::new();
    let mut packs = Vec::new();
    for (id, (class, entry)) in survey.packs.iter().filter(|(id, _)| !survey.marks.names(id)) {
        let own = needs.iter().find_map(|need| {
            let record = need.lookup.packs().get(need.lookup.position(id)?.0 as usize)?;
            Some((need, survey.place_of(need.domain, record)?))
        });
        let mut frames = own.map_or_else(Vec::new, |(need, _)| need.uses(id));
        if let Some((_, entry)) = survey.entry(id) {
            frames.iter_mut().zip(&entry.directory.frames).for_each(|(used, frame)| used.blobs = frame.blobs);
        }
        let group = own.map_or(u32::MAX, |(_, place)| {
            let number = places.iter().position(|known| *known == place).unwrap_or_else(|| {
                places.push(place);
                places.len() - 1
            });
            u32::try_from(number).unwrap_or(u32::MAX)
        });
        // a pack that two domains claim is nothing that this program has written
        let is_foreign = needs.iter().filter(|need| need.uses(id).iter().any(|used| used.live + used.base > 0)).count()
            > usize::from(frames.iter().any(|used| used.live + used.base > 0));
        let fixed = fixed.contains(id) || is_foreign;
        packs.push(PackUse { id: *id, class: *class, size: entry.size, group, frames, fixed });
    }
    (packs, places)
}
