//! A ceiling on bytes per second. `Backend` spends before it sends and after it has received.
//! Whole objects are spent at once, and the debt is slept off before the next one: the average holds, single objects
//! may burst. Invariant: time comes from the injected clock alone.

use crate::runtime::{Locked, Runtime};
use crate::time::BootTime;
use std::time::Duration;

/// How often it is looked whether the run is stopped.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Bandwidth {
    bytes_per_second: u64,
    runtime: Runtime,
    /// When all that was spent is paid for.
    paid_at: Locked<BootTime>,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_second: u64, runtime: Runtime) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), runtime, paid_at: Locked::new(BootTime::MIN) }
    }

    /// Waits until earlier bytes are paid for, then puts these on the bill.
    pub(super) fn spend(&self, bytes: u64) {
        let price = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let price = Duration::from_nanos(price.try_into().unwrap_or(u64::MAX));
        let mut wait = {
            let mut paid_at = self.paid_at.lock();
            let now = self.runtime.clock.elapsed();
            let start = now.max(*paid_at);
            *paid_at = start + price;
            start.since(now)
        };
        // a run that is stopped has a few kilobytes to put, and somebody waits for it
        while !wait.is_zero() && !self.runtime.is_stopped() {
            let part = wait.min(LOOK);
            self.runtime.clock.sleep(part);
            wait -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bandwidth, BootTime};
    use crate::runtime::{Clock, Runtime};
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    #[test]
    fn the_average_keeps_to_the_ceiling() {
        let clock = Clock::Manual(Arc::new(AtomicI64::new(0)));
        let limit = Bandwidth::new(1000, Runtime::seeded(1, clock.clone(), 0));
        for _ in 0..11 {
            limit.spend(500);
        }
        assert_eq!(clock.elapsed(), BootTime::new(5_000_000_000));
    }
}
