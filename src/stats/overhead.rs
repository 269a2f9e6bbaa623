//! What is stored beside frames: index objects, snapshots, and of packs their directories and what hides their lengths. A small run stores more of
//! it than one would think, so whoever tells what a run added tells of it too. Each blob of a pack has an even part of
//! what that pack holds beside frames, and each blob of an index object an even part of that.

use crate::backend::Entry;
use crate::repository::Repository;
use crate::repository::objects::index_objects::{self, IndexObjects};
use std::collections::HashMap;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Parts of a byte in which the part of one blob is counted.
pub(super) const SHARE: u64 = 1024;

/// Bytes beside frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overhead {
    /// Of each object that is a snapshot or an index.
    objects: HashMap<ObjectId, u64>,
    /// Of each blob in a pack, in parts of a byte.
    blobs: HashMap<ObjectId, u64>,
}

impl Overhead {
    /// Notes an object of the listing.
    pub fn note(&mut self, name: &Name, entry: &Entry) {
        if let Name::Index(.., id) | Name::Snapshot(.., id) = name {
            self.objects.insert(*id, entry.size);
        }
    }

    /// Divides what was noted among the blobs that these tell of; of two that tell of a pack the first counts.
    pub fn divide(&mut self, repository: &Repository, objects: &IndexObjects) {
        let each = |bytes: u64, blobs: usize| bytes.saturating_mul(SHARE) / (blobs as u64).max(1);
        for object in index_objects::current(&objects.good, repository.keys().owner_writer()) {
            let blobs = object.index.packs.iter().map(|pack| pack.directory.blobs.len()).sum();
            let size = object.name.id().and_then(|id| self.objects.get(&id).copied()).unwrap_or_default();
            let of_index = each(size, blobs);
            for pack in &object.index.packs {
                let frames: u64 = pack.directory.frames.iter().map(|frame| u64::from(frame.stored)).sum();
                let of_pack = each(pack.size.saturating_sub(frames), pack.directory.blobs.len());
                self.blobs.entry(pack.id).or_insert_with(|| of_index.saturating_add(of_pack));
            }
        }
    }

    /// The part of one blob in a pack, in parts of a byte.
    pub fn of_blob_in(&self, pack: &ObjectId) -> u64 {
        self.blobs.get(pack).copied().unwrap_or_default()
    }

    /// The bytes of a snapshot's object.
    pub fn of_snapshot(&self, id: &ObjectId) -> u64 {
        self.objects.get(id).copied().unwrap_or_default()
    }
}
