//! Packs that no index tells of, opened whole before the owner tells of them. Every member of a domain can seal a
//! directory and name anybody in a header, and the owner's word is believed by all. So a pack is taken only if its writer
//! has signed it, as far as that writer is known, and if all that it is said to hold is in it. A delta needs its bases in
//! packs that are taken too: else whoever stores the base later would bring junk to life.

use super::reader::Reader;
use super::whole;
use crate::progress::Progress;
use crate::repository::index::loose::{self, LoosePack};
use crate::repository::lookup::{BlobLookup, PackRecord, PackRule};
use crate::repository::objects::trust::Trust;
use crate::repository::{Error, Repository, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use vault_format::directory::PACK_BYTES_MAX;
use vault_format::id::{DomainId, ObjectId};
use vault_format::name::Name;
use vault_format::pack::{self, PackEnd};

/// What came of one pack: the error is why it is not taken.
type Proof = std::result::Result<(), String>;

/// Reads packs whole, and judges them.
pub(crate) struct Proofs<'p> {
    repository: &'p Repository,
    trust: &'p Trust,
    progress: &'p dyn Progress,
    /// What is good by now, of each domain.
    good: BTreeMap<DomainId, BlobLookup>,
    /// Packs with deltas: their bases may be in any other pack.
    waiting: Vec<LoosePack>,
    /// Packs that are not taken, and why.
    pub refused: BTreeMap<Name, String>,
}

impl<'p> Proofs<'p> {
    /// Nothing is read yet; `good` = what the index tells of.
    pub fn new(
        repository: &'p Repository,
        trust: &'p Trust,
        good: BTreeMap<DomainId, BlobLookup>,
        progress: &'p dyn Progress,
    ) -> Self {
        Self { repository, trust, progress, good, waiting: Vec::new(), refused: BTreeMap::new() }
    }

    /// Reads some packs; returns those that are good whatever the others are.
    pub fn read<'l>(&mut self, packs: &'l [LoosePack]) -> Result<Vec<&'l LoosePack>> {
        let mut lookup = BlobLookup::default();
        packs.iter().try_for_each(|pack| add(&mut lookup, pack))?;
        let reader = Reader::new(self.repository, &lookup);
        let proofs = self.repository.runtime().try_map(whole::threads(self.repository), packs, |pack| {
            let proof = self.one(&reader, pack, false);
            self.progress.advance(1, pack.entry.size);
            proof
        })?;
        let mut good = Vec::new();
        for (pack, proof) in packs.iter().zip(proofs) {
            match proof {
                Err(why) => drop(self.refused.insert(name_of(pack), why)),
                Ok(()) if has_deltas(pack) => self.waiting.push(pack.clone()),
                Ok(()) => {
                    add(self.good.entry(pack.header.domain).or_default(), pack)?;
                    good.push(pack);
                }
            }
        }
        Ok(good)
    }

    /// Judges the packs with deltas, once all were read; returns those that are good.
    pub fn finish(&mut self) -> Result<Vec<LoosePack>> {
        let mut waiting = std::mem::take(&mut self.waiting);
        loop {
            let mut lookups = self.good.clone();
            waiting.iter().try_for_each(|pack| add(lookups.entry(pack.header.domain).or_default(), pack))?;
            let readers: BTreeMap<DomainId, Reader> =
                lookups.iter().map(|(domain, lookup)| (*domain, Reader::new(self.repository, lookup))).collect();
            let proofs = self.repository.runtime().try_map(whole::threads(self.repository), &waiting, |pack| {
                let reader =
                    readers.get(&pack.header.domain).ok_or(Error::Bug("a pack has no lookup of its domain"))?;
                self.one(reader, pack, true)
            })?;
            let before = waiting.len();
            let mut proofs = proofs.into_iter();
            waiting.retain(|pack| match proofs.next() {
                Some(Err(why)) => {
                    self.refused.insert(name_of(pack), why);
                    false
                }
                _ => true,
            });
            // what lies above one that was refused is looked at again
            if waiting.len() == before {
                return Ok(waiting);
            }
        }
    }

    /// Judges one pack by all of its bytes; the outer error is a store that does not answer.
    fn one(&self, reader: &Reader, pack: &LoosePack, with_deltas: bool) -> Result<Proof> {
        let name = name_of(pack);
        if pack.entry.size > PACK_BYTES_MAX as u64 {
            return Ok(Err("it is larger than packs may be".into()));
        }
        let bytes = match self.repository.backend().get(&name.to_string(), Some(0..pack.entry.size)) {
            Ok(bytes) => bytes,
            Err(error) if error.is_unanswered() => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Err(why) = self.origin(pack, &bytes) {
            return Ok(Err(why));
        }
        let Some(number) = reader.index().number_of(&pack.entry.id) else {
            return Ok(Err("it is not the only one of its name".into()));
        };
        let places = pack.entry.directory.places();
        for (number, opened) in whole::frames(reader, number, &places, &bytes) {
            let frame = reader.index().frame(number)?;
            if frame.bases.is_empty() || with_deltas {
                match opened {
                    Ok(()) => {}
                    Err(error) if error.is_unanswered() => return Err(error),
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            let is_usable = |base| reader.index().place_below(base, frame.depth, &PackRule::THERE).is_some();
            if with_deltas && !frame.bases.iter().all(is_usable) {
                return Ok(Err(format!("frame {} is a delta whose base is nowhere", frame.ordinal)));
            }
        }
        Ok(Ok(()))
    }

    /// Whether the bytes are those of its name and header, and its writer's as far as anybody knows that one.
    fn origin(&self, pack: &LoosePack, bytes: &[u8]) -> Proof {
        let is_same = PackEnd::suffix_bytes(bytes).is_ok() && loose::end_hash(bytes) == pack.end;
        if ObjectId::of(bytes) != pack.entry.id || !is_same || !bytes.starts_with(&pack.header.encode()) {
            return Err("its bytes do not match its name".into());
        }
        match self.trust.signer(pack.header.writer) {
            Some(signer) if !signer.is_at_home(pack.header.domain) => {
                Err("the writer that it names may not write in its domain".into())
            }
            Some(signer) => pack::verify(bytes, &pack.header, &signer.verifying)
                .map_err(|error| format!("it is not by the writer that it names: {error}")),
            // its content has to speak for itself, and it stands behind the owner's
            None => Ok(()),
        }
    }
}

fn name_of(pack: &LoosePack) -> Name {
    Name::Pack(pack.entry.class, pack.entry.id)
}

fn has_deltas(pack: &LoosePack) -> bool {
    pack.entry.directory.frames.iter().any(|frame| !frame.bases.is_empty())
}

fn add(lookup: &mut BlobLookup, pack: &LoosePack) -> Result<()> {
    let record = PackRecord::new(&pack.entry, pack.header, Arc::new(pack.wraps.clone()));
    lookup.add_pack(record, &pack.entry.directory)
}
