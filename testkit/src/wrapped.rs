//! A store over another one. A wrapper says only what it does otherwise; everything else passes through here, so that a
//! call that `Store` gets anew reaches the store below each of them.

use std::ops::Range;
use std::time::Duration;
use vault::backend::{Entry, Leftovers, Result, Stat, Store};

/// What becomes of the calls to a store; each passes through unless it is said otherwise.
pub trait Wrapper: Send + Sync {
    /// The store below.
    fn inner(&self) -> &dyn Store;

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner().put(name, bytes)
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.inner().get(name, range)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.inner().stat(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner().list(prefix)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.inner().delete(name)
    }
}

/// The store that a wrapper makes.
#[derive(Clone)]
pub struct Wrapped<W>(pub W);

impl<W: Wrapper> Store for Wrapped<W> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.put(name, bytes)
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.0.get(name, range)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.0.stat(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.0.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.0.delete(name)
    }

    fn remove_unfinished(&self) -> Result<Leftovers> {
        self.0.inner().remove_unfinished()
    }

    fn caveat(&self) -> Option<String> {
        self.0.inner().caveat()
    }

    fn describe(&self) -> String {
        self.0.inner().describe()
    }

    fn is_local(&self) -> bool {
        self.0.inner().is_local()
    }

    fn listing_lag(&self) -> Duration {
        self.0.inner().listing_lag()
    }
}
