//! A wrapper that calls back before every call, so that a test can let something happen just there: another run, a mark
//! that appears, time that passes. Invariant: the call itself passes through unchanged.

use crate::simulated::Simulated;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vault::backend::{Entry, Result as StoreResult, Stat, Store};

/// Calls a hook before every call, with the number of the call, the kind of call and the name.
pub struct Hooked<F> {
    inner: Simulated,
    calls: AtomicU64,
    hook: F,
}

impl<F: Fn(u64, &str, &str) + Send + Sync> Hooked<F> {
    pub fn new(inner: Simulated, hook: F) -> Self {
        Self { inner, calls: AtomicU64::new(0), hook }
    }

    fn call(&self, what: &str, name: &str) {
        (self.hook)(self.calls.fetch_add(1, Ordering::SeqCst) + 1, what, name);
    }
}

impl<F: Fn(u64, &str, &str) + Send + Sync> Store for Hooked<F> {
    fn put(&self, name: &str, bytes: &[u8]) -> StoreResult<()> {
        self.call("put", name);
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> StoreResult<Vec<u8>> {
        self.call("get", name);
        self.inner.get(name, range)
    }

    fn stat(&self, name: &str) -> StoreResult<Stat> {
        self.call("stat", name);
        self.inner.stat(name)
    }

    fn list(&self, prefix: &str) -> StoreResult<Vec<Entry>> {
        self.call("list", prefix);
        self.inner.list(prefix)
    }

    fn delete(&self, name: &str) -> StoreResult<()> {
        self.call("delete", name);
        self.inner.delete(name)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn listing_lag(&self) -> Duration {
        self.inner.listing_lag()
    }
}
