//! A wrapper that calls back before every call, so that a test can let something happen just there: another run, a mark
//! that appears, time that passes. Invariant: the call itself passes through unchanged.

use crate::simulated::Simulated;
use crate::wrapped::{Wrapped, Wrapper};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use vault::backend::{Entry, Result, Stat, Store};

/// A hook with the store that it watches.
pub struct Hook<F> {
    inner: Simulated,
    calls: AtomicU64,
    hook: F,
}

/// Calls a hook before every call, with the number of the call, the kind of call and the name.
pub type Hooked<F> = Wrapped<Hook<F>>;

impl<F: Fn(u64, &str, &str) + Send + Sync> Hooked<F> {
    pub fn new(inner: Simulated, hook: F) -> Self {
        Self(Hook { inner, calls: AtomicU64::new(0), hook })
    }
}

impl<F: Fn(u64, &str, &str)> Hook<F> {
    fn call(&self, what: &str, name: &str) {
        (self.hook)(self.calls.fetch_add(1, Ordering::SeqCst) + 1, what, name);
    }
}

impl<F: Fn(u64, &str, &str) + Send + Sync> Wrapper for Hook<F> {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.call("put", name);
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.call("get", name);
        self.inner.get(name, range)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.call("stat", name);
        self.inner.stat(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.call("list", prefix);
        self.inner.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.call("delete", name);
        self.inner.delete(name)
    }
}
