//! What this process has put and deleted lately. The listings of some stores lag behind; with this a process at least
//! sees its own changes in them, so that the second half of an operation does not stumble over the first. After the lag
//! the store's word is all that counts.

use super::Entry;
use crate::runtime::{Clock, Locked};
use crate::time::BootTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Changes that listings may not show yet.
pub(super) struct Recent {
    clock: Clock,
    lag: Duration,
    /// By name: when, and the size in bytes of what was put; `None` = deleted.
    changes: Locked<BTreeMap<String, (BootTime, Option<u64>)>>,
}

impl Recent {
    /// For a store whose listings lag at most this much.
    pub(super) fn new(clock: Clock, lag: Duration) -> Self {
        Self { clock, lag, changes: Locked::default() }
    }

    /// Notes that an object was put, with its size, or deleted.
    pub(super) fn note(&self, name: &str, size: Option<u64>) {
        if !self.lag.is_zero() {
            let mut changes = self.changes.lock();
            changes.insert(name.to_owned(), (self.clock.elapsed(), size));
        }
    }

    /// Brings a listing of `prefix` up to date. What the store does not show yet has no time.
    pub(super) fn apply(&self, prefix: &str, listed: Vec<Entry>) -> Vec<Entry> {
        let mut changes = self.changes.lock();
        let now = self.clock.elapsed();
        changes.retain(|_, (at, _)| now.since(*at) <= self.lag);
        if changes.is_empty() {
            return listed;
        }
        let mut all: BTreeMap<String, Entry> = listed.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        for (name, (_, size)) in changes.iter().filter(|(name, _)| name.starts_with(prefix)) {
            match size {
                None => drop(all.remove(name)),
                Some(size) => {
                    let unseen = || Entry { name: name.clone(), size: *size, modified: None };
                    all.entry(name.clone()).or_insert_with(unseen);
                }
            }
        }
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Recent};
    use crate::backend::Entry;
    use crate::time::StoreTime;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    #[test]
    fn own_changes_show_until_the_store_has_to_know_them() {
        let time = Arc::new(AtomicI64::new(0));
        let recent = Recent::new(Clock::Manual(time.clone()), Duration::from_nanos(10));
        let entry = |name: &str| Entry { name: name.into(), size: 1, modified: Some(StoreTime::new(5)) };
        let names = |listed: Vec<Entry>| listed.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        let old = || vec![entry("packs/a"), entry("packs/c")];
        recent.note("packs/c", None);
        recent.note("packs/b", Some(7));
        recent.note("keys/b", Some(7));
        recent.note("packs/a", Some(1));
        time.store(10, Ordering::SeqCst);
        let shown = recent.apply("packs/", old());
        assert_eq!((shown[0].modified, shown[1].modified, shown[1].size), (Some(StoreTime::new(5)), None, 7));
        assert_eq!(names(shown), ["packs/a", "packs/b"]);
        time.store(11, Ordering::SeqCst);
        assert_eq!(names(recent.apply("packs/", old())), ["packs/a", "packs/c"]);
    }
}
