//! What this machine saw of the repository when it last looked: whoever can write this file, but has no key, can make it
//! forget, and can't make it remember what never was.

use super::Cache;
use rusqlite::{OptionalExtension, params};

/// Kept when all other tables are made anew: nothing else can tell it again.
pub(super) const TABLE: &str = "
    create table if not exists memory (number integer primary key, proof blob not null, seen blob not null);";

impl Cache {
    /// Notes what was seen, in place of what was noted before.
    pub fn note_seen(&self, seen: &[u8]) {
        let proof = self.seen_proof(seen);
        self.ask(|connection| {
            connection.execute("insert or replace into memory values (1, ?1, ?2)", params![proof.as_slice(), seen])
        });
    }

    /// What was noted last, by somebody who holds this key.
    pub fn seen(&self) -> Option<Vec<u8>> {
        let row = self.ask(|connection| {
            let mut query = connection.prepare_cached("select proof, seen from memory where number = 1")?;
            query.query_row([], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()
        });
        // the comparison of hashes takes the same time whatever they are
        let is_proven = |(proof, seen): &([u8; 32], Vec<u8>)| {
            blake3::Hash::from_bytes(*proof) == blake3::Hash::from_bytes(self.seen_proof(seen))
        };
        row.flatten().filter(is_proven).map(|(_, seen)| seen)
    }

    /// Forgets it.
    pub fn forget_seen(&self) {
        self.ask(|connection| connection.execute("delete from memory", []));
    }

    fn seen_proof(&self, seen: &[u8]) -> [u8; 32] {
        *self.key.derive("vault v1 seen", &[seen]).expose()
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::Cache;
    use crate::runtime::Locked;
    use vault_format::id::RepositoryId;
    use vault_format::key::Key;

    #[test]
    fn remembers_the_last_look_of_whoever_holds_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Cache::open(folder.path(), RepositoryId([1; 16]), Key::new([2; 32])).unwrap();
        let cache = open();
        assert_eq!(cache.seen(), None);
        cache.note_seen(b"one");
        cache.note_seen(b"two");
        assert_eq!(open().seen(), Some(b"two".to_vec()));
        // somebody who can write the file, but has another key
        let foreign = Cache {
            file: cache.file.clone(),
            connection: Locked::default(),
            key: Key::new([9; 32]),
            verified: Locked::default(),
        };
        *foreign.connection.lock() = Some(crate::cache::connect(&cache.file).unwrap());
        foreign.note_seen(b"three");
        assert_eq!(cache.seen(), None);
        cache.note_seen(b"four");
        cache.forget_seen();
        assert_eq!(cache.seen(), None);
    }
}
