//! Which snapshots this machine has committed itself (W10), and which journal record it put last. A key may have been copied; what only this file tells, sealed
//! with a key of the holder's, whoever has the copy can't add to.

use super::Cache;
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use std::collections::BTreeSet;
use vault_format::id::{ObjectId, SourceLabel};

/// Kept when all other tables are made anew: nothing else can tell it again.
pub(super) const TABLE: &str = "
    create table if not exists committed (source blob not null, id blob not null, proof blob not null,
        at integer primary key autoincrement, unique (source, id));
    create table if not exists record (number integer primary key, id blob not null);";

/// The newest of each source that are known: a source is seldom of more places than these.
const KNOWN_MAX: i64 = 64;

impl Cache {
    /// Notes that a snapshot of a source is committed from here.
    pub fn note_committed(&self, source: SourceLabel, id: &ObjectId) {
        let (proof, label) = (self.committed_proof(source, id), source.0.as_slice());
        self.ask(|connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let row = params![label, id.0.as_slice(), proof.as_slice()];
            change.execute("insert or ignore into committed (source, id, proof) values (?1, ?2, ?3)", row)?;
            let old = "delete from committed where source = ?1 and at not in
                (select at from committed where source = ?1 order by at desc limit ?2)";
            change.execute(old, params![label, KNOWN_MAX])?;
            change.commit()
        });
    }

    /// Those of a source that were noted by somebody who holds this key.
    pub fn committed(&self, source: SourceLabel) -> BTreeSet<ObjectId> {
        let rows = self.ask(|connection| {
            let mut query = connection.prepare_cached("select id, proof from committed where source = ?1")?;
            let rows = query.query_map([source.0.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<([u8; 32], [u8; 32])>>>()
        });
        let is_proven = |(id, proof): &(ObjectId, [u8; 32])| {
            // the comparison of hashes takes the same time whatever they are
            blake3::Hash::from_bytes(*proof) == blake3::Hash::from_bytes(self.committed_proof(source, id))
        };
        let rows = rows.unwrap_or_default().into_iter().map(|(id, proof)| (ObjectId(id), proof));
        rows.filter(is_proven).map(|(id, _)| id).collect()
    }

    /// Notes the journal record that was put from here last: the next one follows it. It needs no proof, for whoever reads
    /// the journal sees whether it is there.
    pub fn note_record(&self, id: &ObjectId) {
        self.ask(|connection| {
            connection.execute("insert or replace into record values (1, ?1)", params![id.0.as_slice()])
        });
    }

    /// That record.
    pub fn last_record(&self) -> Option<ObjectId> {
        let row = self.ask(|connection| {
            let mut query = connection.prepare_cached("select id from record where number = 1")?;
            query.query_row([], |row| row.get::<_, [u8; 32]>(0)).optional()
        });
        row.flatten().map(ObjectId)
    }

    fn committed_proof(&self, source: SourceLabel, id: &ObjectId) -> [u8; 32] {
        *self.key.derive("vault v1 committed snapshot", &[&source.0, &id.0]).expose()
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::Cache;
    use std::collections::BTreeSet;
    use vault_format::id::{ObjectId, RepositoryId, SourceLabel};
    use vault_format::key::Key;

    const SOURCE: SourceLabel = SourceLabel([3; 8]);

    fn open(folder: &std::path::Path) -> Cache {
        Cache::open(folder, RepositoryId([1; 16]), Key::new([2; 32])).unwrap()
    }

    #[test]
    fn the_newest_that_were_committed_here_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let id = |number: u8| ObjectId([number; 32]);
        (0..70).for_each(|number| open(folder.path()).note_committed(SOURCE, &id(number)));
        open(folder.path()).note_committed(SourceLabel([4; 8]), &id(99));
        let expected: BTreeSet<_> = (6..70).map(id).collect();
        assert_eq!(open(folder.path()).committed(SOURCE), expected);
        assert_eq!(open(folder.path()).committed(SourceLabel([5; 8])), BTreeSet::new());
    }

    #[test]
    fn what_another_key_or_source_noted_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, id) = (open(folder.path()), ObjectId([1; 32]));
        cache.note_committed(SOURCE, &id);
        cache.ask(|connection| {
            connection.execute_batch(
                "insert into committed (source, id, proof) select x'0404040404040404', id, proof from committed;
                 insert into committed (source, id, proof) values (x'0303030303030303', zeroblob(32), zeroblob(32));",
            )
        });
        assert_eq!(cache.committed(SOURCE), BTreeSet::from([id]));
        assert_eq!(cache.committed(SourceLabel([4; 8])), BTreeSet::new());
    }

    #[test]
    fn it_outlives_a_change_of_the_other_tables() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, id) = (open(folder.path()), ObjectId([1; 32]));
        cache.note_committed(SOURCE, &id);
        cache.keep_object("index/a", b"one");
        cache.ask(|connection| connection.pragma_update(None, "user_version", 1));
        let again = open(folder.path());
        assert_eq!((again.committed(SOURCE), again.object("index/a")), (BTreeSet::from([id]), None));
    }
}
