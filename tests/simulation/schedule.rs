//! One baton, many actors: each actor is a thread, but only the one that holds the baton runs, and it hands it back
//! before every call to the store. The schedule, its faults and the time between calls all come from one seed, so a
//! failing seed replays. Invariant: between two grants at most one actor moves, and no time passes unseen.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::runtime::Clock;

/// The store's time and that of each actor, whose clocks are wrong by a constant.
#[derive(Clone)]
pub struct Time {
    start: i64,
    store: Arc<AtomicI64>,
    actors: Vec<Arc<AtomicI64>>,
}

impl Time {
    pub fn new(start: i64, skews: &[i64]) -> Self {
        let actors = skews.iter().map(|skew| Arc::new(AtomicI64::new(start + skew))).collect();
        Self { start, store: Arc::new(AtomicI64::new(start)), actors }
    }

    /// Seconds since the start.
    pub fn passed(&self) -> i64 {
        (self.now() - self.start) / 1_000_000_000
    }

    pub fn now(&self) -> i64 {
        self.store.load(Ordering::SeqCst)
    }

    pub fn store(&self) -> Clock {
        Clock::Manual(self.store.clone())
    }

    /// The clock of an actor, who waits by handing the baton on.
    pub fn actor(&self, number: usize, turn: Arc<Mutex<Turn>>) -> Clock {
        Clock::Steered(self.actors[number].clone(), Arc::new(move |time| turn.lock().unwrap().sleep(time)))
    }

    pub fn advance(&self, time: i64) {
        for clock in self.actors.iter().chain([&self.store]) {
            clock.fetch_add(time, Ordering::SeqCst);
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It is made.
    Go,
    /// It fails, and nothing has reached the store.
    Refuse,
    /// It is made, and its answer is lost.
    Lose,
    /// The process dies before it.
    DieBefore,
    /// The process dies in the middle of it.
    DieWithin,
    /// The process dies after it, without the answer.
    DieAfter,
    /// A listing of snapshots shows nothing, without an error.
    ShowNothing,
}

/// What an actor asks before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To make a call that changes nothing.
    Look,
    /// To list snapshots.
    ListSnapshots,
    /// To list marks: from here to its next change a process is easiest to hurt.
    ListMarks,
    /// To put or delete.
    Change,
    /// To wait.
    Sleep(i64),
    /// Nothing more.
    End,
}

/// What an actor asks, and the call in words: `Put index/...`.
struct Asked {
    number: usize,
    what: Ask,
    call: String,
}

/// An actor's side of the baton.
pub struct Turn {
    pub number: usize,
    asks: Sender<Asked>,
    grants: Receiver<Grant>,
}

impl Turn {
    pub fn ask(&self, what: Ask, call: String) -> Grant {
        self.asks.send(Asked { number: self.number, what, call }).unwrap();
        self.grants.recv().unwrap()
    }

    pub fn sleep(&self, time: Duration) {
        self.ask(Ask::Sleep(i64::try_from(time.as_nanos()).unwrap()), String::new());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // also after a panic, or the schedule would wait for it
        let _ = self.asks.send(Asked { number: self.number, what: Ask::End, call: String::new() });
    }
}

/// How likely what is, in 10,000 calls, and how long.
#[derive(Clone, Debug)]
pub struct Odds {
    pub stay: u32,
    pub suspend: u32,
    pub crash: u32,
    pub fail: u32,
    pub mislist: u32,
    /// Longest time between two calls.
    pub step: i64,
    /// Lengths of suspensions.
    pub naps: Vec<i64>,
    /// The only actor who is suspended; `None` = all may be.
    pub sleeper: Option<usize>,
}

pub enum State {
    Waiting(Ask),
    Asleep(i64, Ask),
    Ended,
}

/// Where the baton lies: what each actor waits for. Whoever grants decides who goes on.
pub struct Stage {
    pub states: Vec<State>,
    /// In words, what each is about to call.
    pub calls: Vec<String>,
    pub time: Time,
    asks: Receiver<Asked>,
    grants: Vec<Sender<Grant>>,
}

impl Stage {
    pub fn new(actors: usize, time: Time) -> (Self, Vec<Turn>) {
        let (sender, asks) = channel();
        let (mut turns, mut grants) = (Vec::new(), Vec::new());
        for number in 0..actors {
            let (grant, receiver) = channel();
            turns.push(Turn { number, asks: sender.clone(), grants: receiver });
            grants.push(grant);
        }
        let states = (0..actors).map(|_| State::Ended).collect();
        (Self { states, calls: vec![String::new(); actors], time, asks, grants }, turns)
    }

    /// Waits until every actor has come to its first call.
    pub fn gather(&mut self) {
        for _ in 0..self.states.len() {
            self.hear();
        }
    }

    /// True if an actor is about to make a call.
    pub fn is_waiting(&self, number: usize) -> bool {
        matches!(self.states[number], State::Waiting(_))
    }

    /// Lets an actor go on to its next call.
    pub fn grant(&mut self, number: usize, grant: Grant) {
        self.grants[number].send(grant).unwrap();
        self.hear();
    }

    fn hear(&mut self) {
        let Asked { number, what, call } = self.asks.recv().unwrap();
        self.calls[number] = call;
        self.states[number] = match what {
            Ask::End => State::Ended,
            Ask::Sleep(time) => State::Asleep(self.time.now() + time, Ask::Look),
            ask => State::Waiting(ask),
        };
    }
}

/// Who goes on, and what he meets, by chance.
pub struct Schedule {
    stage: Stage,
    /// Who has listed marks right after a change, as before a commit, and changed nothing since.
    tense: Vec<bool>,
    /// Whose last call was a change.
    changed: Vec<bool>,
    odds: Odds,
    random: ChaCha20Rng,
}

pub fn below(random: &mut ChaCha20Rng, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

pub fn chance(random: &mut ChaCha20Rng, in_ten_thousand: u32) -> bool {
    below(random, 10_000) < u64::from(in_ten_thousand)
}

pub fn one_of<T: Clone>(random: &mut ChaCha20Rng, from: &[T]) -> T {
    from[usize::try_from(below(random, from.len() as u64)).unwrap()].clone()
}

impl Schedule {
    pub fn new(stage: Stage, odds: Odds, random: ChaCha20Rng) -> Self {
        let (tense, changed) = (vec![false; stage.states.len()], vec![false; stage.states.len()]);
        Self { stage, tense, changed, odds, random }
    }

    /// Runs all actors to their ends.
    pub fn run(mut self) {
        self.stage.gather();
        let mut last = 0;
        while let Some(next) = self.choose(last) {
            last = next;
            let (ask, slept) = match self.stage.states[next] {
                State::Waiting(ask) => (ask, false),
                State::Asleep(_, ask) => (ask, true),
                State::Ended => continue,
            };
            if !slept && self.is_suspended(next, ask) {
                let nap = one_of(&mut self.random, &self.odds.naps);
                self.stage.states[next] = State::Asleep(self.stage.time.now() + nap, ask);
                continue;
            }
            let step = below(&mut self.random, u64::try_from(self.odds.step).unwrap());
            self.stage.time.advance(i64::try_from(step).unwrap());
            let grant = self.grant(ask);
            let begins = ask == Ask::ListMarks && self.changed[next];
            self.tense[next] = begins || self.tense[next] && ask != Ask::Change;
            self.changed[next] = ask == Ask::Change;
            self.stage.grant(next, grant);
        }
    }

    fn is_suspended(&mut self, number: usize, ask: Ask) -> bool {
        if self.odds.sleeper.is_some_and(|sleeper| sleeper != number) {
            return false;
        }
        let often = match (self.tense[number], ask) {
            (true, Ask::Look) => 15,
            (true, _) => 5,
            (false, _) => 1,
        };
        chance(&mut self.random, often * self.odds.suspend)
    }

    fn choose(&mut self, last: usize) -> Option<usize> {
        let now = self.stage.time.now();
        let is_ready = |state: &State| match state {
            State::Waiting(_) => true,
            State::Asleep(until, _) => *until <= now,
            State::Ended => false,
        };
        let ready: Vec<usize> =
            (0..self.stage.states.len()).filter(|number| is_ready(&self.stage.states[*number])).collect();
        if ready.contains(&last) && chance(&mut self.random, self.odds.stay) {
            return Some(last);
        }
        if !ready.is_empty() {
            return Some(one_of(&mut self.random, &ready));
        }
        let sleeper = self.stage.states.iter().enumerate().filter_map(|(number, state)| match state {
            State::Asleep(until, _) => Some((*until, number)),
            _ => None,
        });
        let (until, number) = sleeper.min()?;
        self.stage.time.advance(until - now);
        Some(number)
    }

    fn grant(&mut self, ask: Ask) -> Grant {
        let changes = ask == Ask::Change;
        if chance(&mut self.random, self.odds.crash) {
            let deaths = [Grant::DieBefore, Grant::DieWithin, Grant::DieAfter];
            return if changes { one_of(&mut self.random, &deaths) } else { Grant::DieBefore };
        }
        if chance(&mut self.random, self.odds.fail) {
            return if changes { one_of(&mut self.random, &[Grant::Refuse, Grant::Lose]) } else { Grant::Refuse };
        }
        if ask == Ask::ListSnapshots && chance(&mut self.random, self.odds.mislist) {
            return Grant::ShowNothing;
        }
        Grant::Go
    }
}
