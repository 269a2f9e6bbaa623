//! Runs that end early, and those that come after them. Whatever ends a run, an index tells of what it has stored, as far
//! as the store still takes one; what a killed run has left in no index is relied on by the next run of the same key once
//! it is proven, and indexed with what that run stores itself.

use super::Writer;
use crate::repository::Result;
use crate::repository::lookup::PackRule;
use std::collections::BTreeSet;
use vault_format::id::{BlobId, ObjectId};
use vault_format::name::Name;

impl Writer {
    /// Relies on a blob in a pack that an earlier run of this key has left in no index.
    pub(super) fn inherit(&mut self, id: &BlobId) -> Result<bool> {
        let Some(inherited) = self.inherited.clone().filter(|inherited| !inherited.is_empty()) else {
            return Ok(false);
        };
        let repository = self.repository.clone();
        let is_proven = |pack: &ObjectId| inherited.is_proven(&repository, pack);
        let rule = PackRule::RELIABLE.open_to(self.for_members).or_proven(&is_proven);
        let Some(place) = self.index.place(id, &rule) else { return Ok(false) };
        let mut packs = BTreeSet::new();
        self.index.collect_packs(place, &rule, &mut packs)?;
        for number in &packs {
            let pack = self.index.pack(*number)?;
            if let Some(loose) = inherited.take(&pack.id).filter(|_| !self.is_dry) {
                self.run.stored.lock().inherit(loose);
            }
        }
        self.relied.extend(packs);
        if self.run.stored.lock().has_taken_enough() {
            // what can't be put now is put later, or says then why not
            let _ = self.put_index();
        }
        Ok(true)
    }

    /// Ends a run that can't go on. Returns the bytes of what it has stored, for the next run to find.
    pub fn leave(mut self) -> u64 {
        self.end();
        if self.is_dry { 0 } else { self.run.stored.lock().pack_bytes }
    }

    fn end(&mut self) {
        if self.is_dry {
            return;
        }
        self.engine.leave(&self.run);
        if self.all_or_nothing {
            self.take_back();
        } else if !self.run.is_silent() {
            // a store that does not answer would be waited for again; the packs are found without an index too
            let _ = self.put_index();
        }
    }

    /// Deletes the packs of this run that no index tells of: nobody else knows them. What can't be deleted is garbage.
    fn take_back(&self) {
        let pending = self.run.stored.lock().take_pending();
        // a store that refuses once would be waited for again with each
        let _ = pending
            .iter()
            .try_for_each(|(class, id)| self.repository.backend().delete(&Name::Pack(*class, *id).to_string()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // what is over has nothing left to index
        if !std::thread::panicking() {
            self.end();
        }
    }
}
