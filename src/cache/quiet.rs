//! Until when a plan needs nothing, as the last run found: a run that comes earlier need not read what is stored. It is
//! sealed like all that this machine remembers, and it only ever says "not yet": what is done follows from the journal.

use super::Cache;
use crate::time::WallTime;
use rusqlite::{OptionalExtension, params};

/// One row for each plan of this machine.
pub(super) const TABLE: &str = "
    create table if not exists quiet (plan text primary key, noted integer not null, until integer not null,
        proof blob not null);";

impl Cache {
    /// Notes that a plan, known by the hash of its text, needs nothing from now until then.
    pub fn note_quiet(&self, plan: &str, now: WallTime, until: WallTime) {
        let proof = self.quiet_proof(plan, now, until);
        self.ask(|connection| {
            let row = params![plan, now.nanoseconds(), until.nanoseconds(), proof.as_slice()];
            connection.execute("insert or replace into quiet (plan, noted, until, proof) values (?1, ?2, ?3, ?4)", row)
        });
    }

    /// Until when it needs nothing, if that is later than now. A clock that was set back ends it.
    pub fn quiet(&self, plan: &str, now: WallTime) -> Option<WallTime> {
        let query = "select noted, until, proof from quiet where plan = ?1";
        let row = self.ask(|connection| {
            let mut query = connection.prepare_cached(query)?;
            query.query_row([plan], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        });
        let (noted, until, proof): (i64, i64, [u8; 32]) = row.flatten()?;
        let (noted, until) = (WallTime::new(noted), WallTime::new(until));
        // the comparison of hashes takes the same time whatever they are
        let is_own = blake3::Hash::from_bytes(proof) == blake3::Hash::from_bytes(self.quiet_proof(plan, noted, until));
        (is_own && noted <= now && now < until).then_some(until)
    }

    fn quiet_proof(&self, plan: &str, noted: WallTime, until: WallTime) -> [u8; 32] {
        let (noted, until) = (noted.nanoseconds().to_le_bytes(), until.nanoseconds().to_le_bytes());
        *self.key.derive("vault v1 quiet plan", &[&noted, &until, plan.as_bytes()]).expose()
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::Cache;
    use crate::time::WallTime;
    use vault_format::id::RepositoryId;
    use vault_format::key::Key;

    #[test]
    fn a_plan_is_quiet_between_two_moments_and_for_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let open = |key: u8| Cache::open(folder.path(), RepositoryId([1; 16]), Key::new([key; 32])).unwrap();
        let (cache, at) = (open(1), WallTime::new);
        assert_eq!(cache.quiet("a", at(50)), None);
        cache.note_quiet("a", at(10), at(100));
        let found = [9, 10, 99, 100].map(|now| cache.quiet("a", at(now)).map(WallTime::nanoseconds));
        assert_eq!(found, [None, Some(100), Some(100), None]);
        assert_eq!(cache.quiet("b", at(50)), None);
        cache.ask(|connection| connection.execute("update quiet set until = 1000", []));
        assert_eq!(cache.quiet("a", at(50)), None, "nobody noted that");
        cache.note_quiet("a", at(20), at(30));
        assert_eq!(cache.quiet("a", at(25)), Some(at(30)));
    }
}
