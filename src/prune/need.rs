//! From which frames of which packs the live blobs of a domain are read, and what of their neighbours is a base of them.
//! Of several places of a blob one is chosen: least depth first, then the pack that is fullest of life, so that what an
//! interrupted repack has copied replaces what it was copied from. Of what members wrote only the oldest place is
//! eligible: nobody makes a pack garbage by a claim to have its blobs too. A base is always read from the place chosen
//! for it, for no usable place is less deep.

use super::plan::{FrameUse, Held, Lineage, PackUse};
use super::survey::{Live, Survey, unsafe_because};
use crate::error::Result;
use crate::repository::lookup::{BlobLocation, BlobLookup, PackRecord, PackRule};
use crate::repository::write::writer::Place;
use crate::repository::{Doubt, Error, Repository};
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
    /// By number.
    frames: Vec<FrameNeed>,
    /// How full of life each pack is, in 1/1024.
    fullness: Vec<u32>,
    /// Bases that are not live themselves.
    dead: BTreeMap<BlobId, BlobLocation>,
    /// Live deltas with such bases.
    deltas: BTreeMap<BlobId, BlobLocation>,
}

/// Plaintext bytes that are needed of one frame.
#[derive(Clone, Copy, Default)]
struct FrameNeed {
    live: u32,
    /// Not live, but a base of something that is.
    base: u32,
}

/// What would otherwise pass for a frame that nothing needs.
const UNKNOWN: Error = Error::Bug("a frame is needed that was not in the lookup when needs were counted");

/// Repair makes no copy of a snapshot of which nothing is left, so such a one still needs what is lost.
fn lost(id: BlobId) -> crate::error::Error {
    unsafe_because(Doubt::Lost(id))
}

impl Need {
    /// Finds out what the snapshots of a domain need, but for those that are `due`.
    pub fn of(
        repository: &Repository,
        survey: &Survey,
        domain: DomainId,
        due: &BTreeSet<SnapshotPlace>,
    ) -> Result<Self> {
        let lookup = survey.lookup(repository, domain)?;
        let Live { needed: live, shared, .. } = survey.live(repository, &lookup, domain, due)?;
        let frames = vec![FrameNeed::default(); lookup.frame_count()];
        let fullness = fullness(&lookup, &live);
        let (dead, deltas) = (BTreeMap::new(), BTreeMap::new());
        let owner = repository.keys().owner_writer();
        let mut need = Self { domain, owner, lookup, live, shared, frames, fullness, dead, deltas };
        need.count()?;
        Ok(need)
    }

    /// The place from which a blob is to be read, outside of all marks.
    pub fn place(&self, id: &BlobId) -> Result<Option<BlobLocation>> {
        let mut places: Vec<(BlobLocation, &PackRecord)> = Vec::new();
        for place in self.lookup.places(id, &PackRule::OUTSIDE_MARKS) {
            places.push((place, self.lookup.pack(place.pack)?));
        }
        let is_open = |(_, pack): &(BlobLocation, &PackRecord)| pack.wraps.reaches(self.domain);
        if self.shared.contains(id) && places.iter().any(is_open) {
            places.retain(is_open);
        }
        let best = places.iter().map(|(_, pack)| pack.standing(self.owner)).min();
        let best = places.into_iter().filter(|(_, pack)| Some(pack.standing(self.owner)) == best);
        let chosen = best.min_by_key(|(place, pack)| {
            let fullness = self.fullness.get(place.pack.index()).copied().unwrap_or_default();
            (place.depth, Reverse(fullness), pack.id)
        });
        Ok(chosen.map(|(place, _)| place))
    }

    fn count(&mut self) -> Result<()> {
        let live = std::mem::take(&mut self.live);
        for (kind, id) in &live {
            // a page is stored as the difference to pages
            let is_dead = |base: &BlobId| !live.contains(&(*kind, *base));
            let Some(place) = self.place(id)? else {
                // what lies only in condemned packs is for the sweep to copy
                if !self.lookup.is_there(id) {
                    return Err(lost(*id));
                }
                continue;
            };
            let need = self.frames.get_mut(place.frame.index()).ok_or(UNKNOWN)?;
            need.live = need.live.saturating_add(place.length);
            let mut bases = self.lookup.frame(place.frame)?.bases.into_vec();
            bases.retain(is_dead);
            if !bases.is_empty() {
                self.deltas.insert(*id, place);
            }
            while let Some(base) = bases.pop() {
                let Some(place) = self.place(&base)?.filter(|_| !self.dead.contains_key(&base)) else { continue };
                let need = self.frames.get_mut(place.frame.index()).ok_or(UNKNOWN)?;
                need.base = need.base.saturating_add(place.length);
                self.dead.insert(base, place);
                bases.extend(self.lookup.frame(place.frame)?.bases.iter().filter(|base| is_dead(base)));
            }
        }
        self.live = live;
        Ok(())
    }

    /// True if this place of a blob is needed.
    pub fn needs(&self, kind: BlobKind, id: &BlobId, place: BlobLocation) -> Result<bool> {
        let is_needed = self.live.contains(&(kind, *id)) || self.dead.contains_key(id);
        Ok(is_needed && self.place(id)? == Some(place))
    }

    /// True if anything in a pack is needed.
    pub fn needs_of(&self, pack: &ObjectId) -> Result<bool> {
        Ok(self.uses(pack)?.iter().any(|used| used.live + used.base > 0))
    }

    /// The frames of a pack, as they lie; none if this domain's index does not tell of it.
    pub fn uses(&self, pack: &ObjectId) -> Result<Vec<FrameUse>> {
        let Some(number) = self.lookup.number_of(pack) else { return Ok(Vec::new()) };
        let uses = self.lookup.frames_of(number).map(|number| {
            let frame = self.lookup.frame(number)?;
            let FrameNeed { live, base } = *self.frames.get(number.index()).ok_or(UNKNOWN)?;
            // a directory that names a blob twice can't make a frame more than full
            let live = live.min(frame.plain);
            let base = base.min(frame.plain - live);
            Ok(FrameUse { stored: frame.stored, plain: frame.plain, live, base, blobs: 0 })
        });
        uses.collect()
    }

    /// Dead bases with what needs them, those together that share a blob that needs them.
    pub fn lineages(&self, packs: &HashMap<ObjectId, usize>) -> Result<Vec<Lineage>> {
        let numbers: BTreeMap<&BlobId, usize> = self.dead.keys().zip(0..).collect();
        let mut groups = Groups((0..numbers.len()).collect());
        let dead_bases = |place: &BlobLocation| -> Result<Vec<usize>> {
            let bases = self.lookup.frame(place.frame)?.bases;
            Ok(bases.iter().filter_map(|base| numbers.get(base).copied()).collect())
        };
        for (id, place) in &self.dead {
            dead_bases(place)?.into_iter().for_each(|base| groups.join(numbers[id], base));
        }
        for place in self.deltas.values() {
            dead_bases(place)?.windows(2).for_each(|pair| groups.join(pair[0], pair[1]));
        }
        let mut lineages: BTreeMap<usize, Lineage> = BTreeMap::new();
        for (id, place) in &self.dead {
            let Some(held) = self.held(packs, *id, place)? else { continue };
            lineages.entry(groups.root(numbers[id])).or_default().dead.push(held);
        }
        for (id, place) in &self.deltas {
            let (Some(base), Some(held)) = (dead_bases(place)?.first().copied(), self.held(packs, *id, place)?) else {
                continue;
            };
            lineages.entry(groups.root(base)).or_default().deltas.push(held);
        }
        lineages.values_mut().for_each(|lineage| lineage.deltas.sort());
        Ok(lineages.into_values().collect())
    }

    /// `None` if it lies in a pack that is none of these.
    fn held(&self, packs: &HashMap<ObjectId, usize>, blob: BlobId, place: &BlobLocation) -> Result<Option<Held>> {
        let Some(pack) = packs.get(&self.lookup.pack(place.pack)?.id).copied() else { return Ok(None) };
        let first = self.lookup.frames_of(place.pack).next();
        let frame = first.and_then(|first| place.frame.index().checked_sub(first.index())).ok_or(UNKNOWN)?;
        Ok(Some(Held { depth: place.depth, pack, frame, length: place.length, kind: place.kind, blob }))
    }

    /// Where the copies of a pack go, if this domain's index tells of it.
    fn copies_to(&self, survey: &Survey, pack: &ObjectId) -> Result<Option<Place>> {
        let record = self.lookup.number_of(pack).map(|number| self.lookup.pack(number)).transpose()?;
        Ok(record.and_then(|record| survey.place_of(self.domain, record)))
    }
}

fn fullness(lookup: &BlobLookup, live: &HashSet<(BlobKind, BlobId)>) -> Vec<u32> {
    let mut all = vec![0u64; lookup.pack_count()];
    let mut alive = all.clone();
    for (_, frame) in lookup.frames() {
        all[frame.pack.index()] += u64::from(frame.plain);
    }
    for (_, id) in live {
        for place in lookup.known_places(id) {
            alive[place.pack.index()] += u64::from(place.length);
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

/// All packs that the store lists and no mark names, as the plan sees them, and the places for their copies.
pub(super) fn packs(survey: &Survey, needs: &[Need], fixed: &BTreeSet<ObjectId>) -> Result<(Vec<PackUse>, Vec<Place>)> {
    let mut places: Vec<Place> = Vec::new();
    let mut packs = Vec::new();
    for (id, (class, entry)) in survey.packs.iter().filter(|(id, _)| !survey.marks.names(id)) {
        let (mut own, mut users) = (None, 0);
        for need in needs {
            if own.is_none() {
                own = need.copies_to(survey, id)?.map(|place| (need, place));
            }
            users += usize::from(need.needs_of(id)?);
        }
        let (mut frames, mut group, mut own_users) = (Vec::new(), u32::MAX, 0);
        if let Some((need, place)) = own {
            (frames, own_users) = (need.uses(id)?, usize::from(need.needs_of(id)?));
            let number = places.iter().position(|known| *known == place).unwrap_or_else(|| {
                places.push(place);
                places.len() - 1
            });
            group = u32::try_from(number).map_err(|_| Error::Bug("copies go to more places than can be numbered"))?;
        }
        if let Some((_, entry)) = survey.entry(id) {
            frames.iter_mut().zip(&entry.directory.frames).for_each(|(used, frame)| used.blobs = frame.blobs);
        }
        // a pack that two domains claim is nothing that this program has written
        let fixed = fixed.contains(id) || users > own_users;
        packs.push(PackUse { id: *id, class: *class, size: entry.size, group, frames, fixed });
    }
    Ok((packs, places))
}
