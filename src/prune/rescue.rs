//! What lives in packs that are about to go and has no other place: it is copied first (S3). A copy elsewhere counts as
//! another place if it is the owner's or older than those that go; else it is read, since a member may claim to have what
//! it only knows the id of. What only forgotten snapshots need is copied as far as it is there.

use super::survey::{self, Survey};
use crate::error::Result;
use crate::repository::index::{BlobIndex, Location, PackRecord};
use crate::repository::marks::Condemnation;
use crate::repository::reader::Reader;
use crate::repository::writer::{Place, Writer};
use crate::repository::{Error, Repository, Rule};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use vault_format::frame::DEPTH_MAX;
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::mark::SnapshotPlace;

const ANY_DEPTH: u8 = DEPTH_MAX + 1;

/// One domain before its condemned packs go.
struct Rescue<'a> {
    repository: &'a Repository,
    survey: &'a Survey,
    domain: DomainId,
    lookup: BlobIndex,
    ripe: &'a [Condemnation],
    going: &'a BTreeSet<ObjectId>,
    /// What members must be able to read.
    shared: HashSet<BlobId>,
    /// The lookup without the packs that any mark names.
    staying: OnceCell<BlobIndex>,
    /// The same without the packs that members can't read.
    staying_open: OnceCell<BlobIndex>,
}

/// Copies what lives and has no place wholly outside all marks; returns how many blobs.
pub(super) fn rescue(
    repository: &Repository,
    survey: &Survey,
    domain: DomainId,
    (ripe, going, due): (&[Condemnation], &BTreeSet<ObjectId>, &BTreeSet<SnapshotPlace>),
) -> Result<u64> {
    if !repository.options().keeps(Rule::RescueFirst) {
        return Ok(0);
    }
    let lookup = survey.lookup(repository, domain);
    let live = survey.live(repository, &lookup, domain, due)?;
    let (shared, staying, staying_open) = (live.shared, OnceCell::new(), OnceCell::new());
    let rescue = Rescue { repository, survey, domain, lookup, ripe, going, shared, staying, staying_open };
    let reader = Reader::new(repository, &rescue.lookup);
    let mut lost: BTreeMap<Place, Vec<(BlobKind, BlobId, bool)>> = BTreeMap::new();
    let needed = live.needed.iter().map(|blob| (*blob, true)).chain(live.wished.iter().map(|blob| (*blob, false)));
    for ((kind, id), is_needed) in needed {
        if rescue.survives(kind, &id)? {
            continue;
        }
        match rescue.place(&id) {
            Some(place) => lost.entry(place).or_default().push((kind, id, is_needed)),
            None if is_needed => return Err(survey::stop(Error::MissingBlob(id))),
            None => {}
        }
    }
    let mut rescued = 0;
    for (place, blobs) in lost {
        let mut writer = Writer::at(repository, &rescue.lookup, place)?;
        for (kind, id, is_needed) in blobs {
            let plaintext = match reader.blob(kind, &id) {
                Err(Error::MissingBlob(_) | Error::DamagedBlob { .. }) if !is_needed => continue,
                read => read?,
            };
            // not `put`, which would rely on the claim of a copy that could not be read
            writer.copy(kind, id, &plaintext)?;
            rescued += 1;
        }
        writer.flush()?;
    }
    Ok(rescued)
}

impl Rescue<'_> {
    /// True if a blob stays readable once the packs are gone.
    fn survives(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        if !self.repository.options().keeps(Rule::SurvivorOutsideMarks) {
            let apart = |mark: &Condemnation, pack: &PackRecord| pack.present && !mark.packs.contains(&pack.id);
            let has = |mark| self.lookup.usable_where(id, ANY_DEPTH, &|pack| apart(mark, pack)).is_some();
            return Ok(self.ripe.iter().all(has));
        }
        let is_open = self.is_open(id);
        let stays = |pack: &PackRecord| self.serves(pack, is_open) && !pack.condemned;
        let places: Vec<Location> = self.lookup.all_usable(id, ANY_DEPTH, &stays).collect();
        if places.is_empty() || places.iter().any(|place| self.is_proven(id, *place, &stays)) {
            return Ok(!places.is_empty());
        }
        let staying = if is_open { &self.staying_open } else { &self.staying };
        let staying = staying.get_or_init(|| self.survey.lookup_outside_marks(self.repository, self.domain, is_open));
        match Reader::new(self.repository, staying).blob(kind, id) {
            Ok(_) => Ok(true),
            Err(Error::MissingBlob(_) | Error::DamagedBlob { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True if members must be able to read a blob, and can.
    fn is_open(&self, id: &BlobId) -> bool {
        self.shared.contains(id) && self.lookup.usable_where(id, ANY_DEPTH, &|pack| self.serves(pack, true)).is_some()
    }

    fn serves(&self, pack: &PackRecord, is_open: bool) -> bool {
        pack.present && (!is_open || pack.wraps.reaches(self.domain))
    }

    /// True if this place, and those of its bases, may replace all places of the same blob that are going.
    fn is_proven(&self, id: &BlobId, place: Location, stays: &dyn Fn(&PackRecord) -> bool) -> bool {
        let frame = self.lookup.frame(place.frame);
        let pack = self.lookup.pack_of(place.frame);
        let owner = self.repository.keys().owner_writer();
        let packs = self.lookup.locations(id).map(|other| self.lookup.pack_of(other.frame));
        let mut going = packs.filter(|other| other.present && self.going.contains(&other.id));
        let has_place = |base: &BlobId| {
            self.lookup.all_usable(base, frame.depth, stays).any(|place| self.is_proven(base, place, stays))
        };
        going.all(|other| pack.standing(owner) <= other.standing(owner)) && frame.bases.iter().all(has_place)
    }

    /// Where the copy goes: to where what it is made from lies.
    fn place(&self, id: &BlobId) -> Option<Place> {
        let is_open = self.is_open(id);
        let found = self.lookup.usable_where(id, ANY_DEPTH, &|pack| self.serves(pack, is_open))?;
        self.survey.place_of(self.domain, self.lookup.pack_of(found.frame))
    }
}
