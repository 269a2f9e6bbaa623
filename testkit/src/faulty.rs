//! A wrapper that makes the store under it fail by plan: crashes at a chosen write, errors at a chosen call, listings
//! that lie. Crash tests walk the number of the write from one to the end. Invariant: without a plan it changes
//! nothing, and after a crash nothing reaches the store until `revive`.

use crate::wrapped::{Wrapped, Wrapper};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vault::backend::{Entry, Error, ErrorKind, Operation, Result, Stat, Store};

/// The writes, of so many, at which a crash test strikes: every tenth one.
pub fn strikes(writes: u64) -> impl Iterator<Item = u64> {
    sample(writes, 10)
}

/// The numbers from 1 to `all` that a test tries: one in so many, and in CI other ones for each commit;
/// `VAULT_TEST_EVERY=1` has it try all.
pub fn sample(all: u64, every: u64) -> impl Iterator<Item = u64> {
    let every = std::env::var("VAULT_TEST_EVERY").ok().map_or(every, |every| every.parse().unwrap());
    let commit = std::env::var("VAULT_TEST_COMMIT").ok();
    let moved = commit.map_or(0, |commit| u64::from_str_radix(&commit[..7], 16).unwrap());
    (1..=all).filter(move |number| (number + moved).is_multiple_of(every))
}

/// What becomes of the write at which a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Nothing reached the store.
    NotApplied,
    /// The store has it, the answer was lost.
    AppliedUnacknowledged,
    /// The store keeps only this many bytes under the final name (a store whose puts are not atomic).
    TornBytes(usize),
    /// The store keeps only this part, between 0 and 1, of the bytes under the final name.
    TornFraction(f64),
}

/// A fault at one put or delete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Which put or delete, counted from 1.
    pub operation_number: u64,
    /// What becomes of it.
    pub mode: Mode,
    /// Whether the process is dead from then on: every later call fails.
    pub then_dead: bool,
}

/// A call of one kind that fails without reaching the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of call.
    pub operation: Operation,
    /// Which one of its kind, counted from 1.
    pub nth: u64,
    /// Whether all later ones fail too.
    pub from_then_on: bool,
    /// With what.
    pub kind: ErrorKind,
}

/// A listing that shows too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFault {
    /// Nothing, without an error.
    Empty,
    /// Only this many entries, without an error.
    FirstPage(usize),
}

#[derive(Default)]
struct State {
    mutations: u64,
    calls: [u64; 5],
    dead: bool,
    faults: Vec<Fault>,
    failures: Vec<Failure>,
    /// Prefix, which listing of that prefix from now on, what it shows.
    listings: Vec<(String, u64, ListFault)>,
}

/// What is planned for a store.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

/// The wrapper; clones are the same.
pub type Faulty = Wrapped<Faults>;

impl Faulty {
    /// Wraps `inner`; nothing fails until a plan says so.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self(Faults { inner, state: Arc::default() })
    }

    /// Plans a fault at one write.
    pub fn plan(&self, fault: Fault) {
        self.0.state().faults.push(fault);
    }

    /// Plans an error of one call, or of all calls of a kind from one on.
    pub fn fail(&self, failure: Failure) {
        self.0.state().failures.push(failure);
    }

    /// Plans that the `nth` listing of `prefix` from now on, counted from 1, shows too little.
    pub fn mislist(&self, prefix: &str, nth: u64, fault: ListFault) {
        self.0.state().listings.push((prefix.to_owned(), nth, fault));
    }

    /// Puts and deletes asked so far, failed ones included.
    pub fn mutations(&self) -> u64 {
        self.0.state().mutations
    }

    /// Whether a crash fault has struck.
    pub fn is_dead(&self) -> bool {
        self.0.state().dead
    }

    /// A new process: no plan, all counters at zero.
    pub fn revive(&self) {
        *self.0.state() = State::default();
    }
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call and fails it if the plan says so.
    fn enter(&self, operation: Operation, name: &str) -> Result<()> {
        let mut state = self.state();
        if state.dead {
            return Err(crashed(operation, name));
        }
        let slot = match operation {
            Operation::Open | Operation::Put => 0,
            Operation::Get => 1,
            Operation::Stat => 2,
            Operation::List => 3,
            Operation::Delete => 4,
        };
        let mut number = 0;
        if let Some(count) = state.calls.get_mut(slot) {
            *count += 1;
            number = *count;
        }
        let due = |f: &&Failure| f.operation == operation && (f.nth == number || f.from_then_on && f.nth < number);
        match state.failures.iter().find(due) {
            Some(failure) => Err(Error::new(failure.kind, operation, name, "planned failure")),
            None => Ok(()),
        }
    }

    fn count_only(&self) {
        let mut state = self.state();
        if !state.dead {
            state.mutations += 1;
        }
    }

    /// Counts a write and returns the fault that strikes it.
    fn strike(&self) -> Option<Fault> {
        let mut state = self.state();
        state.mutations += 1;
        let number = state.mutations;
        let fault = state.faults.iter().find(|f| f.operation_number == number).copied();
        state.dead |= fault.is_some_and(|f| f.then_dead);
        fault
    }
}

impl Wrapper for Faults {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // Counted before a planned failure too, so that numbers do not depend on the plan.
        self.enter(Operation::Put, name).inspect_err(|_| self.count_only())?;
        let Some(fault) = self.strike() else { return self.inner.put(name, bytes) };
        let kept = match fault.mode {
            Mode::NotApplied => return Err(lost(Operation::Put, name)),
            Mode::AppliedUnacknowledged => bytes.len(),
            Mode::TornBytes(kept) => kept,
            Mode::TornFraction(part) => fraction(bytes.len(), part),
        };
        self.inner.put(name, bytes.get(..kept).unwrap_or(bytes))?;
        Err(lost(Operation::Put, name))
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.enter(Operation::Get, name)?;
        self.inner.get(name, range)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.enter(Operation::Stat, name)?;
        self.inner.stat(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.enter(Operation::List, prefix)?;
        let mut entries = self.inner.list(prefix)?;
        let mut state = self.state();
        for (of, countdown, fault) in &mut state.listings {
            if of != prefix || *countdown == 0 {
                continue;
            }
            *countdown -= 1;
            if *countdown == 0 {
                entries.truncate(match fault {
                    ListFault::Empty => 0,
                    ListFault::FirstPage(length) => *length,
                });
            }
        }
        Ok(entries)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.enter(Operation::Delete, name).inspect_err(|_| self.count_only())?;
        let Some(fault) = self.strike() else { return self.inner.delete(name) };
        if fault.mode == Mode::AppliedUnacknowledged {
            self.inner.delete(name)?;
        }
        Err(lost(Operation::Delete, name))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a test's part"
)]
fn fraction(length: usize, part: f64) -> usize {
    ((length as f64 * part.clamp(0.0, 1.0)) as usize).min(length)
}

fn lost(operation: Operation, name: &str) -> Error {
    Error::new(ErrorKind::Unreachable, operation, name, "planned fault")
}

fn crashed(operation: Operation, name: &str) -> Error {
    Error::new(ErrorKind::Unreachable, operation, name, "this process has crashed by plan")
}
