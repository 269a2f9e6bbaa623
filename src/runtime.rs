//! Everything that is not a function of the input: clock, randomness, number of workers. Injected everywhere, so that
//! a seed replays a run. With `workers = 0` all work happens on the caller's thread in call order.

mod children;

pub use children::{Children, GRACE, Program};

use crate::time::{BootTime, WallTime};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the time comes from.
#[derive(Clone)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A clock that only moves when it is told to: wall time and boot time at once.
    Manual(Arc<AtomicI64>),
    /// The same, and whoever waits asks the one who moves it.
    Steered(Arc<AtomicI64>, Arc<dyn Fn(Duration) + Send + Sync>),
}

impl Clock {
    /// Wall time.
    pub fn now(&self) -> WallTime {
        match self {
            Self::System => WallTime::of(jiff::Timestamp::now()).unwrap_or(WallTime::MAX),
            Self::Manual(time) | Self::Steered(time, _) => WallTime::new(time.load(Ordering::SeqCst)),
        }
    }

    /// Boot time.
    pub fn elapsed(&self) -> BootTime {
        BootTime::new(match self {
            Self::System => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
            }
            Self::Manual(time) | Self::Steered(time, _) => time.load(Ordering::SeqCst),
        })
    }

    /// Waits; a manual clock is moved instead.
    pub fn sleep(&self, time: Duration) {
        match self {
            Self::Steered(_, wait) => wait(time),
            Self::System => std::thread::sleep(time),
            Self::Manual(clock) => {
                clock.fetch_add(time.as_nanos().try_into().unwrap_or(i64::MAX), Ordering::SeqCst);
            }
        }
    }
}

/// A value with which threads take turns. What a panic has left is taken as it is: the panic goes on, and ends the run.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// Nobody has it yet.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for one's turn.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user stopped the run: nothing is committed after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Clock, randomness and worker count of one run.
#[derive(Clone)]
pub struct Runtime {
    /// The time.
    pub clock: Clock,
    random: Arc<Locked<ChaCha20Rng>>,
    /// Threads for CPU work; 0 = everything on the caller's thread.
    pub workers: usize,
    /// Set from outside when the run should end early, without a commit.
    pub stop: Arc<AtomicBool>,
    /// Programs that this run has started.
    pub children: Arc<Children>,
    /// It should end early from then on.
    ends: Option<BootTime>,
}

impl Runtime {
    /// The real world: system clock, a generator seeded by the operating system, `workers` threads.
    pub fn system(workers: usize) -> Result<Self, getrandom::Error> {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::new(Clock::System, ChaCha20Rng::from_seed(seed), workers))
    }

    /// A replayable world.
    pub fn seeded(seed: u64, clock: Clock, workers: usize) -> Self {
        Self::new(clock, ChaCha20Rng::seed_from_u64(seed), workers)
    }

    fn new(clock: Clock, random: ChaCha20Rng, workers: usize) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let children = Arc::new(Children::new(Arc::clone(&stop)));
        Self { clock, random: Arc::new(Locked::new(random)), workers, stop, children, ends: None }
    }

    /// The same for a part of it that should end early at some time.
    #[must_use]
    pub fn until(&self, ends: BootTime) -> Self {
        Self { ends: Some(ends), ..self.clone() }
    }

    /// True once the run should end early.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.ends.is_some_and(|ends| self.clock.elapsed() >= ends)
    }

    /// Ends, by `?`, a run that should end early. Whoever loops over something long asks this in each turn.
    pub fn check_stopped(&self) -> Result<(), Interrupted> {
        if self.is_stopped() { Err(Interrupted) } else { Ok(()) }
    }

    /// Fresh random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0u8; N];
        self.random.lock().fill_bytes(&mut out);
        out
    }

    /// Calls `work` for each item and gives the results in their order: on at most `threads` threads, the caller's among
    /// them, or, without workers, one after the other on the caller's. A panic of `work` is the caller's too.
    pub fn map<T: Sync, R: Send>(&self, threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let all: Result<Vec<R>, Infallible> = self.spread(threads, items, |item| Ok(work(item)));
        all.unwrap_or_else(|never| match never {})
    }

    /// The same for work that may fail: after an error, or once the run should end early, no further item is begun. Of
    /// several errors that of the first item counts.
    pub(crate) fn try_map<T: Sync, R: Send, E: From<Interrupted> + Send>(
        &self,
        threads: usize,
        items: &[T],
        work: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        self.spread(threads, items, |item| {
            self.check_stopped()?;
            work(item)
        })
    }

    /// Does two things at once, the first on the caller's thread, or, without workers, one after the other. A panic of
    /// either is the caller's too.
    pub(crate) fn beside<A, B: Send>(&self, one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
        if self.workers == 0 {
            return (one(), other());
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(other);
            let one = one();
            (one, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn spread<T: Sync, R: Send, E: Send>(
        &self,
        threads: usize,
        items: &[T],
        work: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let threads = if self.workers == 0 { 1 } else { threads.min(items.len()) };
        let next = AtomicUsize::new(0);
        let run = || {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let Some(item) = items.get(number) else { return own };
                let result = work(item);
                if result.is_err() {
                    next.fetch_add(items.len(), Ordering::SeqCst);
                }
                own.push((number, result));
            }
        };
        let mut all = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            let mut all = run();
            for other in others {
                match other.join() {
                    Ok(own) => all.extend(own),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        // items are begun in order: before the first error there is no gap
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// A generator of its own, seeded from this one.
    pub fn generator(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.random())
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Interrupted, Runtime};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn runtime(workers: usize) -> Runtime {
        Runtime::seeded(1, Clock::Manual(Arc::default()), workers)
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        for workers in [0, 4] {
            assert_eq!(runtime(workers).map(4, &items, |item| item + 1), (1..=1000).collect::<Vec<u32>>());
            assert!(runtime(workers).map(4, &[], |item: &u32| *item).is_empty());
        }
    }

    #[derive(Debug, PartialEq)]
    enum Failed {
        At(u32),
        Interrupted,
    }

    impl From<Interrupted> for Failed {
        fn from(_: Interrupted) -> Self {
            Self::Interrupted
        }
    }

    #[test]
    fn after_an_error_no_more_is_begun_and_the_first_counts() {
        let items: Vec<u32> = (0..100_000).collect();
        for workers in [0, 4] {
            let begun = AtomicUsize::new(0);
            let work = |item: &u32| {
                begun.fetch_add(1, Ordering::SeqCst);
                if *item < 10 { Ok(()) } else { Err(Failed::At(*item)) }
            };
            assert_eq!(runtime(workers).try_map(4, &items, work), Err(Failed::At(10)));
            let begun = begun.into_inner();
            assert!((11..=14).contains(&begun), "{begun} begun");
        }
    }

    #[test]
    fn a_run_that_is_stopped_begins_no_more() {
        let items: Vec<u32> = (0..100_000).collect();
        for workers in [0, 4] {
            let (runtime, begun) = (runtime(workers), AtomicUsize::new(0));
            let work = |item: &u32| {
                begun.fetch_add(1, Ordering::SeqCst);
                runtime.stop.fetch_or(*item == 10, Ordering::SeqCst);
                Ok(())
            };
            assert_eq!(runtime.try_map(4, &items, work), Err(Failed::Interrupted));
            assert!(begun.into_inner() < items.len());
        }
    }

    #[test]
    #[should_panic(expected = "of item 7")]
    fn a_panic_is_the_callers() {
        let items: Vec<u32> = (0..100).collect();
        runtime(4).map(4, &items, |item| assert!(*item != 7, "of item 7"));
    }
}
