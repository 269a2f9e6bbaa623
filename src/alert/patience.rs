//! How long somebody is tried who does not answer: three times, in a time that is fixed beforehand. Whatever that server
//! does, a run goes on when it is over.

use crate::http::Refusal;
use crate::runtime::Runtime;
use std::time::Duration;

/// All that delivery may cost a run.
pub const PATIENCE: Duration = Duration::from_secs(15);
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Calls `send`, each time with the time that it may take, until it does it, or is refused for good, or all time is over.
pub(super) fn insist(
    runtime: &Runtime,
    most: Duration,
    mut send: impl FnMut(Duration) -> Result<(), Refusal>,
) -> Result<(), String> {
    let began = runtime.clock.elapsed();
    let left = || most.saturating_sub(runtime.clock.elapsed().since(began));
    let mut reason = "earlier ones have used up the time".to_owned();
    for number in 0..TRIES {
        let time = left() / TRIES.saturating_sub(number).max(1);
        if runtime.is_stopped() {
            return Err("interrupted".to_owned());
        }
        if time.is_zero() {
            break;
        }
        let refusal = match send(time) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        reason = refusal.reason;
        let pause = refusal.wait.unwrap_or(PAUSE.saturating_mul(1 << number));
        if refusal.is_final || number.saturating_add(1) == TRIES {
            break;
        }
        if pause >= left() {
            if let Some(wait) = refusal.wait {
                reason.push_str(&format!(", and wants to be left alone for {wait:.0?}"));
            }
            break;
        }
        runtime.clock.sleep(pause);
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE, insist};
    use crate::http::Refusal;
    use crate::runtime::{Clock, Runtime};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    fn runtime() -> Runtime {
        Runtime::seeded(1, Clock::Manual(Default::default()), 0)
    }

    fn passed(runtime: &Runtime) -> Duration {
        Duration::from_nanos(runtime.clock.elapsed().nanoseconds().try_into().unwrap())
    }

    #[test]
    fn who_never_answers_costs_what_it_may_and_no_more() {
        let (runtime, mut times) = (runtime(), Vec::new());
        let refused = insist(&runtime, PATIENCE, |most| {
            times.push(most);
            runtime.clock.sleep(most);
            Err(Refusal::passing("no answer"))
        });
        assert_eq!((refused, times.len()), (Err("no answer".to_owned()), 3));
        assert!(times[0] == Duration::from_secs(5) && passed(&runtime) <= PATIENCE, "{times:?} {:?}", passed(&runtime));
    }

    #[test]
    fn a_second_try_may_do() {
        let (runtime, mut tries) = (runtime(), 0);
        let done = insist(&runtime, PATIENCE, |_| {
            tries += 1;
            if tries < 3 { Err(Refusal::passing("busy")) } else { Ok(()) }
        });
        assert_eq!((done, tries), (Ok(()), 3));
        assert!(passed(&runtime) < Duration::from_secs(2));
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        let (runtime, mut tries) = (runtime(), 0);
        let refused = insist(&runtime, PATIENCE, |_| {
            tries += 1;
            Err(Refusal::lasting("404"))
        });
        assert_eq!((refused, tries, passed(&runtime)), (Err("404".to_owned()), 1, Duration::ZERO));
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it_if_there_is_so_much() {
        for (wait, expected) in [(4, Ok(())), (60, Err("429, and wants to be left alone for 60s".to_owned()))] {
            let (runtime, mut tries) = (runtime(), 0);
            let done = insist(&runtime, PATIENCE, |_| {
                tries += 1;
                if tries > 1 {
                    return Ok(());
                }
                Err(Refusal { wait: Some(Duration::from_secs(wait)), ..Refusal::passing("429") })
            });
            assert_eq!(done, expected);
            assert_eq!(passed(&runtime), Duration::from_secs(if wait == 4 { 4 } else { 0 }));
        }
    }

    #[test]
    fn without_time_or_in_a_stopped_run_nothing_is_tried() {
        let runtime = runtime();
        let reason = insist(&runtime, Duration::ZERO, |_| Ok(())).unwrap_err();
        assert_eq!(reason, "earlier ones have used up the time");
        runtime.stop.store(true, Ordering::SeqCst);
        assert_eq!(insist(&runtime, PATIENCE, |_| Ok(())).unwrap_err(), "interrupted");
    }
}
