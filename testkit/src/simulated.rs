//! A store in memory with a clock and a listing lag, for replaying protocols from a seed.
//! Tests put it under `Backend`, alone or wrapped in `Faulty`. Invariant: everything it does follows from the seed, the
//! clock and the order of the calls; reads by name are always current, only listings lag.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vault::backend::{Entry, Error, ErrorKind, Operation, Result, Stat, Store};
use vault::runtime::Clock;
use vault::time::StoreTime;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// The in-memory store; clones are the same store.
#[derive(Clone)]
pub struct Simulated {
    clock: Clock,
    lag_max: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    random: ChaCha20Rng,
    objects: BTreeMap<String, Object>,
    /// Deleted objects that listings still show.
    ghosts: BTreeMap<String, Ghost>,
    torn_finals: bool,
    gone: bool,
    crashes: u64,
}

struct Object {
    bytes: Vec<u8>,
    modified: StoreTime,
    listed_from: StoreTime,
}

struct Ghost {
    size: u64,
    modified: StoreTime,
    listed_until: StoreTime,
}

impl Simulated {
    /// An empty store; a put or delete shows in listings after a time between nothing and `lag_max`.
    pub fn new(clock: Clock, lag_max: Duration, seed: u64) -> Self {
        let state = State {
            random: ChaCha20Rng::seed_from_u64(seed),
            objects: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            torn_finals: false,
            gone: false,
            crashes: 0,
        };
        Self { clock, lag_max, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether a crash in the middle of a put leaves half an object under the final name instead of under `tmp/`.
    pub fn torn_finals(&self, torn: bool) {
        self.state().torn_finals = torn;
    }

    /// Power loss: acknowledged objects stay (puts are atomic), the one in flight leaves a random part of its bytes
    /// under `tmp/`, or under its name if [`Simulated::torn_finals`] says so.
    pub fn crash(&self, in_flight: Option<(&str, &[u8])>) {
        let now = self.now();
        let mut state = self.state();
        state.crashes += 1;
        let Some((name, bytes)) = in_flight else { return };
        let kept = usize::try_from(state.random.next_u64() % (bytes.len() as u64 + 1)).unwrap_or(0);
        let target = if state.torn_finals { name.to_owned() } else { format!("tmp/torn-{}", state.crashes) };
        let half = Object { bytes: bytes.iter().take(kept).copied().collect(), modified: now, listed_from: now };
        state.objects.entry(target).or_insert(half);
    }

    /// Objects whose bytes are not those of their names.
    pub fn torn(&self) -> Vec<String> {
        let whole = |name: &str, bytes: &[u8]| {
            Name::parse(name).and_then(|name| name.id()).is_none_or(|id| id == ObjectId::of(bytes))
        };
        self.objects().into_iter().filter(|(name, bytes)| !whole(name, bytes)).map(|(name, _)| name).collect()
    }

    /// Every object with its bytes, listed or not, without what lies in `tmp/`.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let shown = state.objects.iter().filter(|(name, _)| !name.starts_with("tmp/"));
        shown.map(|(name, object)| (name.clone(), object.bytes.clone())).collect()
    }

    /// An independent copy as a reader would find it now; its later lags come from `seed`.
    pub fn snapshot(&self, seed: u64) -> Self {
        let copy = Self::new(self.clock.clone(), self.lag_max, seed);
        {
            let (from, mut to) = (self.state(), copy.state());
            for (name, o) in &from.objects {
                let object = Object { bytes: o.bytes.clone(), modified: o.modified, listed_from: o.listed_from };
                to.objects.insert(name.clone(), object);
            }
            to.gone = from.gone;
        }
        copy
    }

    /// An independent copy as a tool makes it that copies objects one by one: all of them arrive now, by their names.
    pub fn moved(&self, seed: u64, each: Duration) -> Self {
        let copy = Self::new(self.clock.clone(), self.lag_max, seed);
        for (name, bytes) in self.objects() {
            self.clock.sleep(each);
            let now = self.now();
            copy.state().objects.insert(name, Object { bytes, modified: now, listed_from: now });
        }
        copy
    }

    /// Changes an object's bytes in place, as rot or an attacker would; false if there is no such object.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state();
        let Some(object) = state.objects.get_mut(name) else { return false };
        change(&mut object.bytes);
        true
    }

    /// Takes an object away at once, from listings too; false if there is no such object.
    pub fn remove(&self, name: &str) -> bool {
        self.state().objects.remove(name).is_some()
    }

    /// Makes the root vanish (an unmounted disk), or come back.
    pub fn vanish(&self, gone: bool) {
        self.state().gone = gone;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self, operation: Operation, name: &str) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.gone {
            return Err(Error::new(ErrorKind::NoPlace, operation, name, "the root is missing"));
        }
        Ok(state)
    }

    fn now(&self) -> StoreTime {
        StoreTime::from_wall(self.clock.now())
    }

    fn lag(&self, state: &mut State) -> Duration {
        let most = u64::try_from(self.lag_max.as_nanos()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1);
        Duration::from_nanos(state.random.next_u64() % (most + 1))
    }
}

impl Store for Simulated {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let now = self.now();
        let mut state = self.present(Operation::Put, name)?;
        if let Some(object) = state.objects.get(name) {
            return if object.bytes == bytes { Ok(()) } else { Err(Error::exists(name)) };
        }
        let listed_from = now + self.lag(&mut state);
        state.objects.insert(name.to_owned(), Object { bytes: bytes.to_vec(), modified: now, listed_from });
        Ok(())
    }

    fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let state = self.present(Operation::Get, name)?;
        let bytes = &state.objects.get(name).ok_or_else(|| Error::missing(Operation::Get, name))?.bytes;
        let Some(range) = range else { return Ok(bytes.clone()) };
        let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        part.and_then(|(start, end)| bytes.get(start..end)).map(<[u8]>::to_vec).ok_or_else(|| {
            let text = format!("bytes {} to {} are wanted, it has {}", range.start, range.end, bytes.len());
            Error::new(ErrorKind::Damaged, Operation::Get, name, text)
        })
    }

    fn stat(&self, name: &str) -> Result<Stat> {
        let state = self.present(Operation::Stat, name)?;
        let object = state.objects.get(name).ok_or_else(|| Error::missing(Operation::Stat, name))?;
        Ok(Stat { size: object.bytes.len() as u64, modified: Some(object.modified) })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let now = self.now();
        let mut state = self.present(Operation::List, prefix)?;
        state.ghosts.retain(|_, ghost| ghost.listed_until > now);
        let hidden = |name: &str| name.starts_with("tmp/") || !name.starts_with(prefix);
        let mut found = BTreeMap::new();
        for (name, g) in state.ghosts.iter().filter(|(name, _)| !hidden(name)) {
            found.insert(name, (g.size, g.modified));
        }
        for (name, o) in state.objects.iter().filter(|(name, o)| !hidden(name) && o.listed_from <= now) {
            found.insert(name, (o.bytes.len() as u64, o.modified));
        }
        let entry =
            |(name, (size, modified)): (&String, _)| Entry { name: name.clone(), size, modified: Some(modified) };
        Ok(found.into_iter().map(entry).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let now = self.now();
        let mut state = self.present(Operation::Delete, name)?;
        let Some(object) = state.objects.remove(name) else { return Ok(()) };
        let listed_until = now + self.lag(&mut state);
        // What no listing has shown yet does not appear in one after its deletion.
        if object.listed_from <= now {
            let ghost = Ghost { size: object.bytes.len() as u64, modified: object.modified, listed_until };
            state.ghosts.insert(name.to_owned(), ghost);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "simulated store".to_owned()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn listing_lag(&self) -> Duration {
        self.lag_max
    }
}
