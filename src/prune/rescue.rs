//! What lives in packs that are about to go and has no other place: it is copied first (S3). A copy elsewhere counts as
//! another place if it is the owner's or he has opened it; else it is read, since a member may claim to have what it only
//! knows the id of. What only forgotten snapshots need is copied as far as it is there.

use super::survey::{self, Live, Survey};
use crate::error::Result;
use crate::repository;
use crate::repository::lookup::{BlobLocation, BlobLookup, PackRule};
use crate::repository::objects::marks::Condemnation;
use crate::repository::protocol::Survival;
use crate::repository::read::reader::Reader;
use crate::repository::write::writer::{Place, Writer};
use crate::repository::{Error, Repository};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use vault_format::id::{BlobId, BlobKind, DomainId, ObjectId};
use vault_format::mark::SnapshotPlace;

/// A blob that something lives by.
struct Wanted {
    kind: BlobKind,
    id: BlobId,
    /// It must be had: what needs it is not forgotten.
    is_needed: bool,
}

/// One domain before its condemned packs go.
struct Rescue<'a> {
    repository: &'a Repository,
    survey: &'a Survey,
    domain: DomainId,
    lookup: BlobLookup,
    going: &'a Going,
    /// What members must be able to read.
    shared: HashSet<BlobId>,
}

/// What a sweep is about to delete.
#[derive(Default)]
pub(super) struct Going {
    /// The marks that say so.
    pub marks: Vec<Condemnation>,
    pub packs: BTreeSet<ObjectId>,
    pub snapshots: BTreeSet<SnapshotPlace>,
}

/// Copies what lives and has no place wholly outside all marks; returns how many blobs.
pub(super) fn rescue(repository: &Repository, survey: &Survey, domain: DomainId, going: &Going) -> Result<u64> {
    let lookup = survey.lookup(repository, domain)?;
    let Live { needed, shared, wished } = survey.live(repository, &lookup, domain, &going.snapshots)?;
    let rescue = Rescue { repository, survey, domain, lookup, going, shared };
    let mut lost = Vec::new();
    let mut claimed: BTreeMap<bool, Vec<Wanted>> = BTreeMap::new();
    let needed = needed.into_iter().map(|(kind, id)| Wanted { kind, id, is_needed: true });
    let wished = wished.into_iter().map(|(kind, id)| Wanted { kind, id, is_needed: false });
    for blob in needed.chain(wished) {
        let is_open = rescue.is_open(&blob.id);
        let outlook = |stays: PackRule<'_>| rescue.survives(&blob.id, is_open, stays);
        match repository.protocol().survival(&going.marks, &outlook)? {
            Survival::Sure => {}
            Survival::Claimed => claimed.entry(is_open).or_default().push(blob),
            Survival::No => lost.push(blob),
        }
    }
    for (is_open, blobs) in claimed {
        lost.extend(rescue.unread(is_open, blobs)?);
    }
    rescue.copy(lost)
}

impl Rescue<'_> {
    /// What becomes of a blob if only packs that count by `stays` are left.
    fn survives(&self, id: &BlobId, is_open: bool, stays: PackRule<'_>) -> repository::Result<Survival> {
        let stays = stays.open_to(is_open.then_some(self.domain));
        let mut survival = Survival::No;
        for place in self.lookup.places(id, &stays) {
            if self.is_proven(id, place, &stays)? {
                return Ok(Survival::Sure);
            }
            survival = Survival::Claimed;
        }
        Ok(survival)
    }

    /// Those that can't be read from what no mark names; what members need, from what they can read.
    fn unread(&self, is_open: bool, mut claimed: Vec<Wanted>) -> Result<Vec<Wanted>> {
        claimed.sort_by_cached_key(|blob| self.lookup.order_of(&blob.id));
        let staying = self.survey.lookup_outside_marks(self.repository, self.domain, is_open)?;
        let reader = Reader::new(self.repository, &staying);
        let mut unread = Vec::new();
        for blob in claimed {
            match reader.blob(blob.kind, &blob.id) {
                Ok(_) => {}
                Err(error) if error.is_lost() => unread.push(blob),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unread)
    }

    fn copy(&self, mut lost: Vec<Wanted>) -> Result<u64> {
        lost.sort_by_cached_key(|blob| self.lookup.order_of(&blob.id));
        let mut places: BTreeMap<Place, Vec<Wanted>> = BTreeMap::new();
        for blob in lost {
            match self.place(&blob.id)? {
                Some(place) => places.entry(place).or_default().push(blob),
                None if blob.is_needed => return Err(survey::stop(Error::MissingBlob(blob.id))),
                None => {}
            }
        }
        let reader = Reader::new(self.repository, &self.lookup);
        let mut rescued = 0;
        for (place, blobs) in places {
            let mut writer = Writer::at(self.repository, &self.lookup, place)?;
            for Wanted { kind, id, is_needed } in blobs {
                let plaintext = match reader.blob(kind, &id) {
                    Err(error) if error.is_lost() && !is_needed => continue,
                    read => read?,
                };
                // not `put`, which would rely on the claim of a copy that could not be read
                writer.copy(kind, id, &plaintext)?;
                rescued += 1;
            }
            writer.flush()?.uncommitted();
        }
        Ok(rescued)
    }

    /// True if members must be able to read a blob, and can.
    fn is_open(&self, id: &BlobId) -> bool {
        self.shared.contains(id) && self.lookup.place(id, &self.serves(true)).is_some()
    }

    fn serves(&self, is_open: bool) -> PackRule<'static> {
        PackRule::THERE.open_to(is_open.then_some(self.domain))
    }

    /// True if this place, and those of its bases, may replace all places of the same blob that are going.
    fn is_proven(&self, id: &BlobId, place: BlobLocation, stays: &PackRule<'_>) -> repository::Result<bool> {
        if !self.lookup.pack(place.pack)?.vouched && self.loses_a_place(id)? {
            return Ok(false);
        }
        for base in &self.lookup.frame(place.frame)?.bases {
            let mut has_place = false;
            for place in self.lookup.places_below(base, place.depth, stays) {
                has_place = has_place || self.is_proven(base, place, stays)?;
            }
            if !has_place {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn loses_a_place(&self, id: &BlobId) -> repository::Result<bool> {
        for place in self.lookup.known_places(id) {
            let pack = self.lookup.pack(place.pack)?;
            if pack.present && self.going.packs.contains(&pack.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the copy goes: to where what it is made from lies.
    fn place(&self, id: &BlobId) -> Result<Option<Place>> {
        let Some(found) = self.lookup.place(id, &self.serves(self.is_open(id))) else { return Ok(None) };
        Ok(self.survey.place_of(self.domain, self.lookup.pack(found.pack)?))
    }
}
