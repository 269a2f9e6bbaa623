//! From which frames of which packs the live blobs of a domain are read, and what of their neighbours is a base of them.
//! Of several places that are known to be good one is chosen: least depth first, then the pack that is fullest of life, so
//! that what an interrupted repack has copied replaces what it was copied from. Where nobody has looked, all stay: a member
//! may claim to have what it only knows the id of. A base is read from the places chosen for its blob, if they are less
//! deep than the delta and open to the same readers; else it needs others, which are kept beside them.

use super::plan::{FrameUse, Held, Lineage, PackUse};
use super::survey::{Live, Survey, unsafe_because};
use crate::error::Result;
use crate::repository::lookup::{ANY_DEPTH, BlobLocation, BlobLookup, FrameNumber, FrameRecord, PackRecord, PackRule};
use crate::repository::write::writer::Place;
use crate::repository::{Doubt, Error, Repository};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use vault_format::directory::BlobEntry;
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::index::PackEntry;
use vault_format::mark::SnapshotPlace;

/// What one domain needs.
pub(super) struct Need {
    pub domain: DomainId,
    pub lookup: BlobLookup,
    pub live: Needed,
    /// What members must be able to read of it.
    pub shared: HashSet<BlobId>,
    /// By number.
    frames: Vec<FrameNeed>,
    /// How full of life each pack is, in 1/1024.
    fullness: Vec<u32>,
    /// Places of bases from which no live blob is read: all of a base that is not live, and those that a live one needs
    /// beside its own.
    dead: BTreeMap<InFrame, BlobLocation>,
    /// Live deltas with such bases.
    deltas: BTreeMap<InFrame, BlobLocation>,
}

/// What snapshots need.
type Needed = HashSet<(BlobKind, BlobId)>;

/// Frames whose bases were counted, and whether for members.
type Counted = HashSet<(FrameNumber, bool)>;

/// A blob and the frame from which it is read.
type InFrame = (BlobId, FrameNumber);

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
        let mut need = Self { domain, lookup, live, shared, frames, fullness, dead, deltas };
        need.count()?;
        Ok(need)
    }

    /// The places from which a blob is to be read, outside of all marks: one that is known to be good, or all.
    pub fn places(&self, id: &BlobId) -> Result<Vec<BlobLocation>> {
        Ok(self.one_or_all(&self.known(id, ANY_DEPTH, self.is_open(id))?, &[]))
    }

    /// The same for a base of what lies in a frame.
    fn base_places(&self, base: &BlobId, frame: &FrameRecord, is_open: bool) -> Result<Vec<BlobLocation>> {
        Ok(self.one_or_all(&self.known(base, frame.depth, is_open)?, &self.places(base)?))
    }

    /// The best of those that are known to be good, one of `rather` if there is one; all if none is.
    fn one_or_all(&self, places: &[(BlobLocation, &PackRecord)], rather: &[BlobLocation]) -> Vec<BlobLocation> {
        let good = places.iter().filter(|(_, pack)| pack.vouched);
        let best = good.min_by_key(|place| (!rather.contains(&place.0), self.rank(place)));
        best.map_or_else(|| places.iter().map(|(place, _)| *place).collect(), |(place, _)| vec![*place])
    }

    /// True if a blob is to be read from where members can read it: if they must, and there is such a place.
    fn is_open(&self, id: &BlobId) -> bool {
        self.shared.contains(id) && self.lookup.place(id, &self.outside_marks(true)).is_some()
    }

    fn outside_marks(&self, is_open: bool) -> PackRule<'static> {
        PackRule::OUTSIDE_MARKS.open_to(is_open.then_some(self.domain))
    }

    fn known(&self, id: &BlobId, below: u8, is_open: bool) -> Result<Vec<(BlobLocation, &PackRecord)>> {
        let rule = self.outside_marks(is_open);
        let with_pack = |place: BlobLocation| Ok((place, self.lookup.pack(place.pack)?));
        self.lookup.places_below(id, below, &rule).map(with_pack).collect()
    }

    /// Of places that are as good as each other the one with the least of this is taken.
    fn rank(&self, (place, pack): &(BlobLocation, &PackRecord)) -> (u8, Reverse<u32>, ObjectId) {
        let fullness = self.fullness.get(place.pack.index()).copied().unwrap_or_default();
        (place.depth, Reverse(fullness), pack.id)
    }

    fn count(&mut self) -> Result<()> {
        let live = std::mem::take(&mut self.live);
        let mut counted = Counted::new();
        for (_, id) in &live {
            let places = self.places(id)?;
            // what lies only in condemned packs is for the sweep to copy
            if places.is_empty() && !self.lookup.is_there(id) {
                return Err(lost(*id));
            }
            for place in places {
                let need = self.frames.get_mut(place.frame.index()).ok_or(UNKNOWN)?;
                need.live = need.live.saturating_add(place.length);
                if self.count_bases(place, self.is_open(id), (&live, &mut counted))? {
                    self.deltas.insert((*id, place.frame), place);
                }
            }
        }
        self.live = live;
        Ok(())
    }

    /// Counts the bases of what is read from a place, and theirs; true if one is read from where no live blob is.
    fn count_bases(
        &mut self,
        place: BlobLocation,
        is_open: bool,
        (live, counted): (&Needed, &mut Counted),
    ) -> Result<bool> {
        let frame = self.lookup.frame(place.frame)?;
        let mut has_dead = false;
        for base in &frame.bases {
            // a page is stored as the difference to pages
            let is_live = live.contains(&(place.kind, *base));
            let own = if is_live { self.places(base)? } else { Vec::new() };
            let places = self.base_places(base, &frame, is_open)?;
            for found in places.into_iter().filter(|found| found.kind == place.kind) {
                let is_own = own.contains(&found);
                if !is_own {
                    has_dead = true;
                    if self.dead.insert((*base, found.frame), found).is_none() {
                        let need = self.frames.get_mut(found.frame.index()).ok_or(UNKNOWN)?;
                        need.base = need.base.saturating_add(found.length);
                    }
                }
                // of a live one they are counted with it, but perhaps not those that members can read
                let is_done = found.depth == 0 || is_own && is_open == self.is_open(base);
                if !is_done && counted.insert((found.frame, is_open)) {
                    let has_dead = self.count_bases(found, is_open, (live, counted))?;
                    if is_own && has_dead {
                        self.deltas.insert((*base, found.frame), found);
                    }
                }
            }
        }
        Ok(has_dead)
    }

    /// True if a blob is read from this place.
    pub fn needs(&self, kind: BlobKind, id: &BlobId, place: BlobLocation) -> Result<bool> {
        Ok(self.is_base(id, place) || self.live.contains(&(kind, *id)) && self.places(id)?.contains(&place))
    }

    /// True if it is read from this place as a base alone.
    pub fn is_base(&self, id: &BlobId, place: BlobLocation) -> bool {
        self.dead.contains_key(&(*id, place.frame))
    }

    /// True if nobody knows that a pack holds what it says, and all that is needed of it lies elsewhere too.
    pub fn is_spare(&self, entry: &PackEntry) -> Result<bool> {
        let number = self.lookup.number_of(&entry.id).ok_or(UNKNOWN)?;
        let mut is_spare = !self.lookup.pack(number)?.vouched;
        for BlobEntry { id, kind, .. } in &entry.directory.blobs {
            let is_base = || self.lookup.known_places(id).any(|place| self.is_base(id, place));
            if self.live.contains(&(*kind, *id)) || is_base() {
                is_spare &= self.lookup.places(id, &PackRule::OUTSIDE_MARKS).any(|place| place.pack != number);
            }
        }
        Ok(is_spare)
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
        let numbers: BTreeMap<&InFrame, usize> = self.dead.keys().zip(0..).collect();
        let mut groups = Groups((0..numbers.len()).collect());
        // one rule may lead to another place of a base than the other: they stay or go together
        let dead_bases = |place: &BlobLocation| -> Result<Vec<usize>> {
            let bases = self.lookup.frame(place.frame)?.bases;
            let places = bases.iter().flat_map(|base| self.lookup.known_places(base).map(|place| (*base, place.frame)));
            Ok(places.filter_map(|base| numbers.get(&base).copied()).collect())
        };
        for (base, place) in &self.dead {
            dead_bases(place)?.into_iter().for_each(|other| groups.join(numbers[base], other));
        }
        for place in self.deltas.values() {
            dead_bases(place)?.windows(2).for_each(|pair| groups.join(pair[0], pair[1]));
        }
        let mut lineages: BTreeMap<usize, Lineage> = BTreeMap::new();
        for (base, place) in &self.dead {
            let Some(held) = self.held(packs, base.0, place)? else { continue };
            lineages.entry(groups.root(numbers[base])).or_default().dead.push(held);
        }
        for ((id, _), place) in &self.deltas {
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

fn fullness(lookup: &BlobLookup, live: &Needed) -> Vec<u32> {
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
