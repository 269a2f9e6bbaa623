//! What earlier runs of the same key have stored and no index tells of, since they were cut off: the next run looks for
//! it among the packs that it lists anyway, and relies on it instead of storing it again (W8). Whoever holds the book
//! key can seal a directory and name another writer in a header, so a pack counts only once it is proven: this
//! machine's cache knows that it was made here, or all of its bytes were read, and fit its name and the signature of
//! this key.

use super::loose;
use super::loose::{LoosePack, Pack};
use crate::repository::lookup::{BlobLookup, PackRecord};
use crate::repository::objects::index_objects::PackListing;
use crate::repository::{Repository, Result, of_object};
use crate::runtime::Locked;
use crate::time::StoreTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use vault_format::bundle::Role;
use vault_format::directory::PACK_BYTES_MAX;
use vault_format::header::Kind;
use vault_format::id::{Class, DomainId, ObjectId};
use vault_format::name::Name;
use vault_format::pack::{self, PackEnd};

/// Packs whose headers are read at a time, youngest first; where none of them is this key's, the search ends.
const BATCH: usize = 64;
/// Most packs that are looked at, and most of their blobs: bounds what is in memory.
const PACKS_MAX: usize = 4096;
const BLOBS_MAX: usize = 1 << 20;
/// Packs that are read whole at once.
const PROOFS_AT_ONCE: usize = 4;

/// How far it is with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its directory opens with the book key, and that says nothing.
    Claimed,
    /// This key has made it.
    Proven,
    /// Proven, and some index of this run tells of it, or will.
    Taken,
    /// Not this key's, or damaged.
    Refused,
}

/// Packs of this key that no index tells of.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    packs: BTreeMap<ObjectId, LoosePack>,
    arrived: BTreeMap<ObjectId, Option<StoreTime>>,
    /// In the order in which the store received them: that in which they will be asked for.
    order: Vec<ObjectId>,
    states: Locked<BTreeMap<ObjectId, State>>,
}

/// Looks among packs that are in no index for those of this key in one domain, or in all, that arrived after a time.
/// Whatever can't be read is passed over: what is not found is only stored again.
pub(crate) fn find(
    repository: &Repository,
    mut candidates: Vec<Pack>,
    packs: &PackListing,
    domain: Option<DomainId>,
    after: Option<StoreTime>,
) -> Inherited {
    let arrived = |id: &ObjectId| packs.get(id).and_then(|(_, entry)| entry.modified);
    candidates.retain(|(id, _, size)| {
        let is_late = arrived(id).zip(after).is_none_or(|(at, after)| at >= after);
        is_late && *size <= PACK_BYTES_MAX as u64
    });
    candidates.sort_by_key(|(id, ..)| std::cmp::Reverse((arrived(id), *id)));
    candidates.truncate(PACKS_MAX);
    let (mut found, mut blobs) = (Vec::new(), 0);
    for batch in candidates.chunks(BATCH) {
        let before = found.len();
        let connections = repository.backend().connections();
        let opened = repository.runtime().map(connections, batch, |pack| own(repository, *pack, domain));
        for own in opened.into_iter().flatten() {
            blobs += own.entry.directory.blobs.len();
            found.push(own);
        }
        if found.len() == before || blobs > BLOBS_MAX {
            break;
        }
    }
    let mut inherited = Inherited::default();
    for pack in found.into_iter().rev() {
        let id = pack.entry.id;
        inherited.order.push(id);
        inherited.arrived.insert(id, arrived(&id));
        inherited.states.lock().insert(id, State::Claimed);
        inherited.packs.insert(id, pack);
    }
    inherited
}

/// Opens a pack whose header names this key.
fn own(repository: &Repository, pack: Pack, domain: Option<DomainId>) -> Option<LoosePack> {
    let (backend, keys) = (repository.backend(), repository.keys());
    let kind = if pack.1 == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
    let header = loose::header(backend, &Name::Pack(pack.1, pack.0), kind, repository.id()).ok()?;
    if header.writer != keys.writer() || domain.is_some_and(|domain| domain != header.domain) {
        return None;
    }
    let book = |domain| keys.book(domain);
    loose::read_end(backend, pack, &[header], (repository.id(), &book)).ok()
}

impl Inherited {
    /// Adds what there is in a domain to its lookup, where nothing counts before a writer has it proven.
    pub fn add_to(&self, index: &mut BlobLookup, repository: &Repository, domain: DomainId) -> Result<()> {
        let keys = repository.keys();
        let own = self.order.iter().filter_map(|id| self.packs.get(id)).filter(|pack| pack.header.domain == domain);
        for pack in own {
            let arrived = self.arrived.get(&pack.entry.id).copied().flatten();
            let within_reach = keys.role() != Role::Client || keys.opens(&pack.wraps, &pack.header);
            let record = PackRecord::new(&pack.entry, pack.header, Arc::new(pack.wraps.clone()));
            let record = PackRecord { is_loose: true, arrived, within_reach, ..record };
            index.add_pack(record, &pack.entry.directory)?;
        }
        Ok(())
    }

    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// True if this key has made a pack. Proves it and those that will be asked for next, unless that was done.
    pub fn is_proven(&self, repository: &Repository, id: &ObjectId) -> bool {
        match self.state(id) {
            None | Some(State::Refused) => return false,
            Some(State::Proven | State::Taken) => return true,
            Some(State::Claimed) => {}
        }
        let from = self.order.iter().position(|other| other == id).unwrap_or_default();
        let ahead = if repository.runtime().workers == 0 { 1 } else { PROOFS_AT_ONCE };
        let is_claimed = |id: &&ObjectId| self.state(id) == Some(State::Claimed);
        let next: Vec<Pack> =
            self.order.iter().skip(from).filter(is_claimed).take(ahead).filter_map(|id| self.pack(id)).collect();
        let threads = repository.backend().connections().min(PROOFS_AT_ONCE);
        let proofs = repository.runtime().map(threads, &next, |(id, ..)| {
            self.packs.get(id).is_some_and(|pack| is_made_by_this_key(repository, pack))
        });
        for ((id, ..), proven) in next.into_iter().zip(proofs) {
            self.states.lock().insert(id, if proven { State::Proven } else { State::Refused });
        }
        self.state(id) == Some(State::Proven)
    }

    /// A proven pack, to be indexed; only the first who asks gets it.
    pub fn take(&self, id: &ObjectId) -> Option<&LoosePack> {
        let mut states = self.states.lock();
        let state = states.get_mut(id).filter(|state| **state == State::Proven)?;
        *state = State::Taken;
        self.packs.get(id)
    }

    fn pack(&self, id: &ObjectId) -> Option<Pack> {
        let entry = &self.packs.get(id)?.entry;
        Some((entry.id, entry.class, entry.size))
    }

    fn state(&self, id: &ObjectId) -> Option<State> {
        self.states.lock().get(id).copied()
    }
}

/// The directory was read before: it must be that of the bytes that are proven.
fn is_made_by_this_key(repository: &Repository, pack: &LoosePack) -> bool {
    let entry = &pack.entry;
    if repository.cache().is_some_and(|cache| cache.has_made(&entry.id, &pack.end)) {
        return true;
    }
    let name = Name::Pack(entry.class, entry.id);
    let Ok(bytes) = repository.backend().get(&name.to_string(), Some(0..entry.size)) else { return false };
    let verifying = repository.keys().signer().verifying_key().to_bytes();
    let same_end = |bytes: &[u8]| PackEnd::suffix_bytes(bytes).is_ok() && loose::end_hash(bytes) == pack.end;
    ObjectId::of(&bytes) == entry.id
        && same_end(&bytes)
        && of_object(&name, pack::verify(&bytes, &pack.header, &verifying)).is_ok()
}
