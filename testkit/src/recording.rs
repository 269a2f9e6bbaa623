//! A wrapper that writes down every call to the store under it.
//! Tests compare the log of two runs, or assert the order of writes. Invariant: calls appear in the order in which
//! they returned, and the wrapped store's answers pass through unchanged.

use crate::wrapped::{Wrapped, Wrapper};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use vault::backend::{Entry, ErrorKind, Operation, Result, Stat, Store};

/// One call to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// The object, or the prefix of a listing.
    pub name: String,
    /// Bytes written or read; for a listing, its entries.
    pub amount: u64,
    /// The range of a read, if it was not the whole object.
    pub range: Option<Range<u64>>,
    /// How it ended.
    pub outcome: std::result::Result<(), ErrorKind>,
}

impl Call {
    /// One that is still without an answer.
    fn begin(operation: Operation, name: &str) -> Self {
        Self { operation, name: name.to_owned(), amount: 0, range: None, outcome: Ok(()) }
    }
}

/// Writes calls down.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<dyn Store>,
    log: Arc<Mutex<Vec<Call>>>,
}

/// The wrapper; clones share one log.
pub type Recording = Wrapped<Recorder>;

impl Recording {
    /// Records calls to `inner` into a log of its own.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::into_log(inner, Arc::default())
    }

    /// Records into a log that others share.
    pub fn into_log(inner: Arc<dyn Store>, log: Arc<Mutex<Vec<Call>>>) -> Self {
        Self(Recorder { inner, log })
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All calls so far, forgotten after this.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorder {
    fn note<T>(&self, call: Call, result: Result<T>, amount: impl Fn(&T) -> u64) -> Result<T> {
        let outcome = result.as_ref().map(|_| ()).map_err(|error| error.kind);
        let call = Call { amount: result.as_ref().map_or(0, amount), outcome, ..call };
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        result
    }
}

impl Wrapper for Recorder {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.note(Call::begin(Operation::Put, name), self.inner.put(name, bytes), |()| bytes.len() as u64)
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let call = Call { range: range.clone(), ..Call::begin(Operation::Get, name) };
        self.note(call, self.inner.get(name, range), |bytes| bytes.len() as u64)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.note(Call::begin(Operation::Stat, name), self.inner.stat(name), |_| 0)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.note(Call::begin(Operation::List, prefix), self.inner.list(prefix), |entries| entries.len() as u64)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.note(Call::begin(Operation::Delete, name), self.inner.delete(name), |()| 0)
    }
}
