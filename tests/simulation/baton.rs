//! The store as one process sees it: every call waits for the baton, and meets what the schedule has for it. Notes when
//! marks were listed and snapshots put, for a snapshot that the store received later than the protocol allows may be
//! broken, as long as its run does not call it a success.

use crate::schedule::{Ask, Grant, Time, Turn};
use crate::world::{Place, World, nanoseconds};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use testkit::simulated::Simulated;
use vault::backend::{Entry, Error, ErrorKind, Operation, Result, Stat, Store};

/// What was put, by anybody, ever.
#[derive(Default)]
pub struct Log {
    /// Salts of objects, each with the object's name.
    pub salts: Mutex<Vec<(Vec<u8>, String)>>,
    /// Snapshots that the store received too late, though their runs were in time when they sent them.
    pub late: Mutex<BTreeSet<String>>,
}

/// Whether a process, which may use two stores, has died.
pub type Life = Arc<AtomicBool>;

/// What a process has seen of its store.
struct State {
    /// When marks were last asked for.
    looked_at: i64,
    /// An order came too late, though it was sent in time.
    late_order: bool,
}

/// A store behind the baton.
pub struct Baton {
    store: Simulated,
    turn: Arc<Mutex<Turn>>,
    time: Time,
    window: i64,
    log: Arc<Log>,
    trace: bool,
    dead: Life,
    state: Mutex<State>,
}

fn failed(operation: Operation, name: &str) -> Error {
    Error::new(ErrorKind::Unreachable, operation, name, "by plan")
}

impl Baton {
    pub fn new(world: &World, place: Place, turn: Arc<Mutex<Turn>>, dead: Life) -> Self {
        let store = match place {
            Place::First(_) => world.store.clone(),
            Place::Second => world.second.clone(),
        };
        let (time, log) = (world.time.clone(), world.log.clone());
        let state = Mutex::new(State { looked_at: time.now(), late_order: false });
        Self {
            store,
            turn,
            time,
            window: nanoseconds(world.options.commit_window),
            log,
            trace: world.trace,
            dead,
            state,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn life(&self) -> &Life {
        &self.dead
    }

    /// True if the store received an order later than the protocol allows.
    pub fn has_late_order(&self) -> bool {
        self.state.lock().unwrap().late_order
    }

    fn ask(&self, what: Ask, operation: Operation, name: &str) -> Result<Grant> {
        if self.is_dead() {
            return Err(failed(operation, name));
        }
        let turn = self.turn.lock().unwrap();
        let grant = turn.ask(what, format!("{operation:?} {name}"));
        if self.trace {
            println!("{:>7} s, actor {}: {operation:?} {name}: {grant:?}", self.time.passed(), turn.number);
        }
        drop(turn);
        if matches!(grant, Grant::DieBefore | Grant::DieWithin | Grant::DieAfter) {
            self.dead.store(true, Ordering::SeqCst);
        }
        match grant {
            Grant::Refuse | Grant::DieBefore => Err(failed(operation, name)),
            grant => Ok(grant),
        }
    }

    fn note_put(&self, name: &str, bytes: &[u8], asked: i64) {
        let salt = salt_of(name, bytes);
        self.log.salts.lock().unwrap().push((salt, name.to_owned()));
        let looked_at = self.state.lock().unwrap().looked_at;
        let (sent_in_time, came_late) = (asked - looked_at <= self.window, self.time.now() - looked_at > self.window);
        if name.starts_with("snapshots/") && sent_in_time && came_late {
            self.log.late.lock().unwrap().insert(name.to_owned());
        }
        if name.starts_with("orders/") && sent_in_time && came_late {
            self.state.lock().unwrap().late_order = true;
        }
    }
}

/// What an object's keys are derived with: 32 bytes behind the header, or, for packs, near the end.
fn salt_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    if name.starts_with("packs/") {
        let end = vault_format::pack::PackEnd::parse(bytes, bytes.len() as u64).unwrap();
        return end.salt.to_vec();
    }
    bytes.get(64..96).unwrap_or_default().to_vec()
}

impl Store for Baton {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let asked = self.time.now();
        match self.ask(Ask::Change, Operation::Put, name)? {
            Grant::DieWithin => {
                self.store.crash(Some((name, bytes)));
                Err(failed(Operation::Put, name))
            }
            grant => {
                self.store.put(name, bytes)?;
                self.note_put(name, bytes, asked);
                if grant == Grant::Go { Ok(()) } else { Err(failed(Operation::Put, name)) }
            }
        }
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.ask(Ask::Look, Operation::Get, name)?;
        self.store.get(name, range)
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        self.ask(Ask::Look, Operation::Stat, name)?;
        self.store.stat(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        if prefix == "marks/" {
            self.state.lock().unwrap().looked_at = self.time.now();
        }
        let what = match prefix {
            "snapshots/" => Ask::ListSnapshots,
            "marks/" => Ask::ListMarks,
            _ => Ask::Look,
        };
        match self.ask(what, Operation::List, prefix)? {
            Grant::ShowNothing => Ok(Vec::new()),
            _ => self.store.list(prefix),
        }
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.ask(Ask::Change, Operation::Delete, name)? {
            Grant::Go => self.store.delete(name),
            Grant::DieWithin => Err(failed(Operation::Delete, name)),
            _ => {
                self.store.delete(name)?;
                Err(failed(Operation::Delete, name))
            }
        }
    }

    fn describe(&self) -> String {
        "simulated store".into()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn listing_lag(&self) -> std::time::Duration {
        self.store.listing_lag()
    }
}
