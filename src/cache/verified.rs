//! Which signatures this machine has verified already: to do so again takes longer than all else of a look at ten
//! thousand heads. What is noted is bound to the hash of an object and to the key that signed it, and to a key of the
//! holder's, so nobody else can add to it. It says nothing of whether that signer counts, which is judged each time.

use super::Cache;
use rusqlite::{TransactionBehavior, params};
use std::collections::HashSet;
use vault_format::id::ObjectId;

/// One row for each signature.
pub(super) const TABLE: &str = "
    create table verified (proof blob primary key, at integer not null default (unixepoch())) without rowid;";

/// How long a signature need not be verified again, in seconds: what is not there any more is forgotten so, too.
const KNOWN_SECONDS: i64 = 90 * 24 * 3600;

/// Rows that are written in one transaction.
const AT_ONCE: usize = 1024;

/// What is bound to an object and a signer by a key of the holder's.
type Proof = [u8; 16];

/// What is known, once somebody has asked, and what of it is not written yet.
#[derive(Default)]
pub(super) struct Verified {
    known: Option<HashSet<Proof>>,
    fresh: Vec<Proof>,
}

impl Cache {
    /// Runs `verify` unless it is known that this object, whose bytes were compared with its hash, bears the signature
    /// of this key. Only what succeeds is noted.
    pub fn verify_once<E>(
        &self,
        object: &ObjectId,
        signer: &[u8; 32],
        verify: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut proof = Proof::default();
        let whole = self.key.derive("vault v1 verified signature", &[&object.0, signer]);
        proof.copy_from_slice(&whole.expose()[..16]);
        if self.is_verified(&proof) {
            return Ok(());
        }
        verify()?;
        let mut verified = self.verified.lock();
        if verified.known.as_mut().is_some_and(|known| known.insert(proof)) {
            verified.fresh.push(proof);
        }
        let is_much = verified.fresh.len() >= AT_ONCE;
        drop(verified);
        if is_much {
            self.write_verified();
        }
        Ok(())
    }

    fn is_verified(&self, proof: &Proof) -> bool {
        let mut verified = self.verified.lock();
        let read = || {
            self.ask(|connection| {
                let mut query = connection.prepare("select proof from verified where at >= unixepoch() - ?1")?;
                query.query_map([KNOWN_SECONDS], |row| row.get(0))?.collect()
            })
        };
        verified.known.get_or_insert_with(|| read().unwrap_or_default()).contains(proof)
    }

    /// Notes what was verified since.
    pub(super) fn write_verified(&self) {
        let fresh = std::mem::take(&mut self.verified.lock().fresh);
        if fresh.is_empty() {
            return;
        }
        self.ask(|connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change.execute("delete from verified where at < unixepoch() - ?1", [KNOWN_SECONDS])?;
            for proof in &fresh {
                change.prepare_cached("insert or ignore into verified (proof) values (?1)")?.execute(params![proof])?;
            }
            change.commit()
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::Cache;
    use vault_format::id::{ObjectId, RepositoryId};
    use vault_format::key::Key;

    #[test]
    fn a_signature_is_verified_once_for_one_object_one_signer_and_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let open = |key: u8| Cache::open(folder.path(), RepositoryId([1; 16]), Key::new([key; 32])).unwrap();
        let asks = |cache: &Cache, object: u8, signer: u8, is_good: bool| {
            let mut asked = false;
            let verify = || {
                asked = true;
                if is_good { Ok(()) } else { Err(()) }
            };
            let answer = cache.verify_once(&ObjectId([object; 32]), &[signer; 32], verify);
            assert_eq!(answer.is_ok(), is_good || !asked);
            asked
        };
        let cache = open(1);
        assert!(asks(&cache, 1, 1, true) && !asks(&cache, 1, 1, true));
        assert!(asks(&cache, 2, 1, false) && asks(&cache, 2, 1, false), "what fails is asked again");
        drop(cache);
        assert!(!asks(&open(1), 1, 1, false), "the next process knows it");
        assert!(asks(&open(1), 1, 2, false) && asks(&open(1), 3, 1, false));
        let (file, other) = (open(1).file.clone(), open(9));
        // somebody who can write the file, but has another key
        other.ask(|connection| connection.execute("attach ?1 as mine", [file.to_str()]));
        other.ask(|connection| connection.execute("insert into main.verified select * from mine.verified", []));
        assert!(asks(&other, 1, 1, false));
    }
}
