//! Journal records become months: few objects instead of thousands, with each record in them as it was stored. First they
//! are put, and read back; what they hold is deleted by a later prune, once they have lain there for the grace, so that
//! whoever has listed a record finds it. Invariant: nothing goes that is not in a month which was read and stays.

use super::Options;
use super::plan::merged;
use crate::backend::ErrorKind;
use crate::error::Result;
use crate::repository;
use crate::repository::objects::journal;
use crate::repository::objects::loaded::{Loaded, Reason, Verdict, load};
use crate::repository::objects::months::{self, Folder};
use crate::repository::objects::trust::Trust;
use crate::repository::view::Doubts;
use crate::repository::{Listed, Repository};
use crate::time::{StoreTime, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault_format::id::ObjectId;
use vault_format::name::{self, Name};

/// A month that is over is merged even if there are only so many objects of it.
const MERGE_OVER_AT: usize = 2;
/// No month is made larger than this: it is read at once.
const MONTH_BYTES_MAX: u64 = 16 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tidied {
    /// Records, and months, that were put together.
    pub merged: u64,
    /// Those that were deleted, since months hold them.
    pub deleted: u64,
}

/// What lies under one month of one domain.
#[derive(Default)]
struct Content {
    records: Vec<Listed>,
    months: Vec<Listed>,
    /// What months hold that were read.
    held: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
}

/// Deletes what months hold that are old enough, and merges what is there by itself.
pub(super) fn tidy(repository: &Repository, options: &Options, doubts: &Doubts) -> Result<Tidied> {
    let mut done = Tidied::default();
    let mut folders = folders(repository, doubts)?;
    let grace = options.grace(repository).max(repository.listing_lag());
    for content in folders.values_mut() {
        done.deleted += content.delete_held(repository, grace)?;
    }
    let mut trust = None;
    for (folder, content) in folders {
        let parts = content.parts(repository, (folder, options.merge_at));
        if parts.is_empty() {
            continue;
        }
        let trust = match &trust {
            Some(trust) => trust,
            None => trust.insert(Trust::load(repository)?),
        };
        match merge(repository, trust, (folder, &parts)) {
            Ok(merged) => done.merged += merged,
            // a full disk is no reason to stop: it all stays as it is
            Err(repository::Error::Backend(error)) if error.kind == ErrorKind::NoSpace => break,
            Err(error) => return Err(error.into()),
        }
    }
    if done.merged > 0 && grace.is_zero() {
        for content in self::folders(repository, doubts)?.values_mut() {
            done.deleted += content.delete_held(repository, grace)?;
        }
    }
    Ok(done)
}

fn folders(repository: &Repository, doubts: &Doubts) -> Result<BTreeMap<Folder, Content>> {
    let mut folders: BTreeMap<Folder, Content> = BTreeMap::new();
    for listed in repository.list(name::JOURNAL)?.0 {
        let Some(folder) = months::folder(&listed).filter(|(domain, ..)| !doubts.contains_key(domain)) else {
            continue;
        };
        let content = folders.entry(folder).or_default();
        let place = if matches!(listed.0, Name::Month(..)) { &mut content.months } else { &mut content.records };
        place.push(listed);
    }
    Ok(folders)
}

impl Content {
    /// Reads the months, if they may hold what lies beside them; one that can't be used holds nothing.
    fn read(&mut self, repository: &Repository) -> Result<()> {
        if self.months.len() + usize::from(!self.records.is_empty()) < 2 {
            return Ok(());
        }
        for month in self.months.chunks(1) {
            let loaded = load(repository, month, |(name, _)| months::read(repository, name))?;
            for opened in loaded.good {
                let held = opened.records.iter().filter_map(|(name, _)| name.id()).collect();
                self.held.insert(opened.id, held);
            }
        }
        Ok(())
    }

    fn delete_held(&mut self, repository: &Repository, grace: Duration) -> Result<u64> {
        self.read(repository)?;
        if self.held.is_empty() {
            return Ok(0);
        }
        let is_ripe = |(_, entry): &&Listed, now: StoreTime| {
            grace.is_zero() || entry.modified.is_some_and(|at| now.since(at) >= grace)
        };
        let id = |(name, _): &Listed| name.id().unwrap_or_default();
        let now = repository.presumed_store_now();
        if !self.months.iter().any(|month| is_ripe(&month, now)) {
            return Ok(0);
        }
        // the store's clock decides; it is asked only if it may say yes
        let now = if grace.is_zero() { now } else { repository.store_now()? };
        let ripe: BTreeSet<ObjectId> = self.months.iter().filter(|month| is_ripe(month, now)).map(id).collect();
        let going = going(&self.held, ripe);
        let (gone, months): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.months).into_iter().partition(|month| going.months.contains(&id(month)));
        let (held, records): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.records).into_iter().partition(|record| going.records.contains(&id(record)));
        (self.months, self.records) = (months, records);
        for (name, _) in held.iter().chain(&gone) {
            repository.backend().delete(&name.to_string()).map_err(repository::Error::from)?;
        }
        Ok((held.len() + gone.len()) as u64)
    }

    /// What is to be put together: what no month holds yet, and small months; nothing if it is not worth it.
    fn parts(&self, repository: &Repository, (folder, at): (Folder, usize)) -> Vec<Listed> {
        let (_, year, month) = folder;
        let now = WallTime::from_store(repository.presumed_store_now());
        let at = if (year, month) < journal::month_of(now) { MERGE_OVER_AT } else { at.max(MERGE_OVER_AT) };
        let held: BTreeSet<&ObjectId> = self.held.values().flatten().collect();
        let is_free = |(name, _): &Listed| name.id().is_some_and(|id| !held.contains(&id));
        let is_covered = |(name, _): &Listed| {
            let Some(own) = name.id().and_then(|id| self.held.get(&id)) else { return self.months.len() > 1 };
            let others = self.held.iter().filter(|(id, _)| name.id() != Some(**id));
            let others: BTreeSet<&ObjectId> = others.flat_map(|(_, held)| held).collect();
            own.iter().all(|id| others.contains(id))
        };
        let months = self.months.iter().filter(|month| !is_covered(month));
        let mut parts: Vec<&Listed> = self.records.iter().filter(|record| is_free(record)).chain(months).collect();
        parts.retain(|(_, entry)| entry.size < MONTH_BYTES_MAX / 2);
        parts.sort_by_key(|(name, entry)| (entry.size, name.clone()));
        let sizes: Vec<u64> = parts.iter().map(|(_, entry)| entry.size).collect();
        parts.truncate(merged(&sizes, 0));
        if parts.len() < at { Vec::new() } else { parts.into_iter().cloned().collect() }
    }
}

/// Puts months of these, each as large as it may be; returns of how many.
fn merge(repository: &Repository, trust: &Trust, (folder, mut parts): (Folder, &[Listed])) -> repository::Result<u64> {
    let mut done = 0;
    while parts.len() >= MERGE_OVER_AT {
        let (mut bytes, mut count) = (0, 0);
        while let Some((_, entry)) = parts.get(count).filter(|(_, entry)| bytes + entry.size <= MONTH_BYTES_MAX) {
            (bytes, count) = (bytes + entry.size, count + 1);
        }
        let (some, later) = parts.split_at(count);
        parts = later;
        let records = stored(repository, trust, some)?;
        if records.len() >= MERGE_OVER_AT {
            done += some.len() as u64;
            months::put(repository, folder, records)?;
        }
    }
    Ok(done)
}

/// What may go of one month of one domain.
#[derive(Debug, Default, PartialEq, Eq)]
struct Going {
    months: BTreeSet<ObjectId>,
    records: BTreeSet<ObjectId>,
}

/// Months all of whose records others hold that are ripe and stay, the smallest first, and the records that those hold.
fn going(held: &BTreeMap<ObjectId, BTreeSet<ObjectId>>, mut ripe: BTreeSet<ObjectId>) -> Going {
    let mut order: Vec<&ObjectId> = held.keys().collect();
    order.sort_by_key(|id| (held[id].len(), **id));
    let mut going = Going::default();
    for id in order {
        let others = ripe.iter().filter(|other| *other != id).filter_map(|other| held.get(other));
        let others: BTreeSet<&ObjectId> = others.flatten().collect();
        if held[id].iter().all(|record| others.contains(record)) {
            ripe.remove(id);
            going.months.insert(*id);
        }
    }
    going.records = ripe.iter().filter_map(|id| held.get(id)).flatten().copied().collect();
    going
}

/// The stored bytes of records, and of those in months, that count, or are of a key that was removed: what nobody signed
/// who may, and what is damaged, stays where it is.
fn stored(repository: &Repository, trust: &Trust, parts: &[Listed]) -> repository::Result<Vec<Vec<u8>>> {
    let read = |(name, _): &Listed| {
        if matches!(name, Name::Month(..)) {
            return Ok(match months::read(repository, name)? {
                Verdict::Counts(opened) => {
                    Verdict::Counts(opened.records.into_iter().map(|(_, bytes)| bytes).collect())
                }
                Verdict::Ignored(reason) => Verdict::Ignored(reason),
            });
        }
        let bytes = repository.get_named(name)?;
        Ok(match journal::judge(repository, trust, name, &bytes)? {
            Verdict::Counts(_) | Verdict::Ignored(Reason::Revoked) => Verdict::Counts(vec![bytes]),
            Verdict::Ignored(reason) => Verdict::Ignored(reason),
        })
    };
    let loaded: Loaded<Vec<Vec<u8>>> = load(repository, parts, read)?;
    Ok(loaded.good.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::{Going, going};
    use std::collections::{BTreeMap, BTreeSet};
    use vault_format::id::ObjectId;

    fn ids(numbers: &[u8]) -> BTreeSet<ObjectId> {
        numbers.iter().map(|number| ObjectId([*number; 32])).collect()
    }

    /// What goes of months, each with its number and its records, of which some are ripe.
    fn of(months: &[(u8, &[u8])], ripe: &[u8]) -> Going {
        let held: BTreeMap<ObjectId, BTreeSet<ObjectId>> =
            months.iter().map(|(id, records)| (ObjectId([*id; 32]), ids(records))).collect();
        going(&held, ids(ripe))
    }

    #[test]
    fn only_what_a_ripe_month_holds_that_stays_may_go() {
        let all = |months: &[u8], records: &[u8]| Going { months: ids(months), records: ids(records) };
        assert_eq!(of(&[(100, &[1, 2])], &[]), all(&[], &[]));
        assert_eq!(of(&[(100, &[1, 2])], &[100]), all(&[], &[1, 2]));
        // a young one that holds more: the old one stays until that is ripe too
        assert_eq!(of(&[(100, &[1, 2]), (101, &[1, 2, 3])], &[100]), all(&[], &[1, 2]));
        assert_eq!(of(&[(100, &[1, 2]), (101, &[1, 2, 3])], &[100, 101]), all(&[100], &[1, 2, 3]));
        // of two that hold the same one stays
        assert_eq!(of(&[(100, &[1, 2]), (101, &[1, 2])], &[100, 101]), all(&[100], &[1, 2]));
        // two together hold what a third does
        assert_eq!(
            of(&[(100, &[1, 2]), (101, &[3, 4, 5]), (102, &[2, 3])], &[100, 101]),
            all(&[102], &[1, 2, 3, 4, 5])
        );
    }
}
