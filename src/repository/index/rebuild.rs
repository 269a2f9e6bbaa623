//! Index objects made again from the directories of packs, for packs that no index tells of. Only the owner can do this
//! for all domains, and signs them; he tells of no pack that he has not opened whole. Only adds: what is indexed stays as
//! it is, and packs that a mark names stay without.

use super::loose::LoosePack;
use crate::repository::objects::index_objects;
use crate::repository::{Repository, Result};
use std::collections::BTreeMap;
use vault_format::id::{DomainId, ObjectId};
use vault_format::index::{INDEX_BLOBS_MAX, Index, Sketches};

/// The source under whose label such index objects lie: a pack does not tell its source.
const SOURCE: &str = "reindex";
/// Most runs that one index object tells of; their wraps are its largest part.
const WRAPS_MAX: usize = 4096;

/// Puts index objects for packs, as few as their limits allow.
pub struct Indexer<'r> {
    repository: &'r Repository,
    /// The index object to come of each domain, and how many blobs it tells of.
    open: BTreeMap<DomainId, (Index, usize)>,
}

impl<'r> Indexer<'r> {
    /// Nothing is put yet.
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, open: BTreeMap::new() }
    }

    /// Adds a pack that was opened whole. Needs the owner.
    pub fn add(&mut self, pack: &LoosePack) -> Result<()> {
        let (domain, added) = (pack.header.domain, pack.entry.directory.blobs.len());
        let (index, blobs) = self.open.entry(domain).or_default();
        if *blobs + added > INDEX_BLOBS_MAX || index.wraps.len() == WRAPS_MAX {
            *blobs = 0;
            let full = std::mem::take(index);
            self.put(domain, &full)?;
        }
        let (index, blobs) = self.open.entry(domain).or_default();
        *blobs += added;
        index_objects::tell(index, &pack.entry, &pack.wraps)?;
        if self.repository.keys().agree(&pack.wraps, &pack.header) {
            index_objects::vouch(index, pack.entry.id);
        }
        Ok(())
    }

    /// Puts what is left. The last object of a domain replaces `supersedes` of it, so that an interruption leaves the old
    /// ones in force.
    pub fn finish(mut self, supersedes: &BTreeMap<DomainId, Vec<ObjectId>>) -> Result<()> {
        for (domain, replaced) in supersedes {
            self.open.entry(*domain).or_default().0.supersedes.extend(replaced);
        }
        for (domain, (index, _)) in std::mem::take(&mut self.open) {
            self.put(domain, &index)?;
        }
        Ok(())
    }

    fn put(&self, domain: DomainId, index: &Index) -> Result<()> {
        let label = self.repository.keys().owner("rebuild the index")?.book(domain).source_label(SOURCE);
        index_objects::put(self.repository, (domain, label), index, &Sketches::default())?;
        Ok(())
    }
}
