//! When a source is due: a pure function from how often it is to be taken, what was tried, and the time. Time is cut into
//! slots, and a source is due in each of them until it was taken; nothing is remembered but the journal. Slots of less
//! than a day begin anew each midnight of the zone and are counted in time that passes, so a change of the clocks makes
//! a day of 23 or 25 hours and no hole in it.

use crate::time::WallTime;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use std::time::Duration;

/// Of the length of a slot, what its begin is moved ahead, so that a timer that comes a moment early finds it begun.
const SLACK: u32 = 10;
/// The most of that.
const SLACK_MAX: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);

/// When something is to be done.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How often: in slots of less than a day, or of whole days; weeks begin on Mondays. `None`: only by name.
    pub every: Option<Duration>,
    /// Not before these times of the day; slots of less than a day know none.
    pub at: Vec<Time>,
    /// How long after a failure it is tried again; doubled with each further one.
    pub retry: Duration,
    /// For days and times of the day.
    pub zone: TimeZone,
}

/// What was tried, as the journal tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// When it began.
    pub began: WallTime,
    /// When it ended.
    pub ended: WallTime,
    /// True if it gave what was wished, or found that there is nothing new.
    pub is_good: bool,
}

/// Whether something is due, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// It was never taken.
    First,
    /// Nothing good began in the slot that began then.
    Slot(Timestamp),
    /// The last attempt failed, and that is long enough ago; so often in a row.
    Again(u32),
    /// Not now: next at that time.
    Later(Timestamp),
    /// Not before that time, since so many attempts in a row failed.
    Waiting(Timestamp, u32),
    /// Only when its name is said.
    ByName,
}

impl Due {
    /// True if it is to be done now.
    pub fn is_now(&self) -> bool {
        matches!(self, Self::First | Self::Slot(_) | Self::Again(_))
    }
}

impl Schedule {
    /// Judges by what was tried, in any order.
    pub fn judge(&self, attempts: &[Attempt], now: WallTime) -> Due {
        let Some(every) = self.every else { return Due::ByName };
        // what a clock that was ahead has noted lies ahead: it must not silence a source, nor make it due all the time
        let past = || attempts.iter().filter(|attempt| attempt.began <= now);
        let good = past().filter(|attempt| attempt.is_good).map(|attempt| attempt.began).max();
        let failed = past().filter(|attempt| !attempt.is_good && good.is_none_or(|good| attempt.began > good));
        let (mut failures, mut last) = (0u32, None);
        for attempt in failed {
            failures = failures.saturating_add(1);
            last = last.max(Some(attempt.ended));
        }
        let now_stamp = Timestamp::from(now);
        let slot = self.slot(every, now_stamp);
        if let Some(good) = good
            && self.slot(every, good.into()).begin >= slot.begin
        {
            return Due::Later(slot.end);
        }
        match last.filter(|last| *last <= now) {
            Some(last) => {
                let again = last + self.patience(every, failures);
                if again > now { Due::Waiting(again.into(), failures) } else { Due::Again(failures) }
            }
            None if !attempts.iter().any(|attempt| attempt.is_good) => Due::First,
            None => Due::Slot(slot.begin),
        }
    }

    /// When it is due behind one moment and up to another, if each run succeeds at once; no more than so many.
    pub fn slots(&self, from: WallTime, until: WallTime, most: usize) -> Vec<WallTime> {
        let Some(every) = self.every else { return Vec::new() };
        let mut next = self.slot(every, from.into()).end;
        let mut slots = Vec::new();
        while let Some(time) = WallTime::of(next).filter(|time| *time <= until && slots.len() < most) {
            slots.push(time);
            let end = self.slot(every, next).end;
            if end <= next {
                break;
            }
            next = end;
        }
        slots
    }

    /// How long to wait after so many failures: never longer than a slot, or a day.
    fn patience(&self, every: Duration, failures: u32) -> Duration {
        let doubled = self.retry.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(every.min(DAY).max(self.retry))
    }

    /// The slot that a moment lies in.
    fn slot(&self, every: Duration, moment: Timestamp) -> Slot {
        // who says a time of the day means it: nothing begins earlier
        let slack = if self.at.is_empty() { (every / SLACK).min(SLACK_MAX) } else { Duration::ZERO };
        let moved = moment.checked_add(slack).unwrap_or(moment).to_zoned(self.zone.clone());
        let days = u32::try_from(every.as_nanos() / DAY.as_nanos()).unwrap_or(u32::MAX);
        let slot = if days == 0 { self.part(&moved, every) } else { self.days(&moved, days) };
        let back = |time: Timestamp| time.checked_sub(slack).unwrap_or(time);
        Slot { begin: back(slot.begin), end: back(slot.end) }
    }

    /// Counted from midnight in time that passes.
    fn part(&self, moment: &Zoned, length: Duration) -> Slot {
        let midnight = self.start_of(moment.date());
        let tomorrow = moment.date().tomorrow().map_or(Timestamp::MAX, |date| self.start_of(date));
        let passed = moment.timestamp().duration_since(midnight).unsigned_abs();
        let number = passed.as_nanos().checked_div(length.as_nanos()).unwrap_or_default();
        let number = u32::try_from(number).unwrap_or_default();
        let begin = midnight.checked_add(length.saturating_mul(number)).unwrap_or(midnight);
        let end = begin.checked_add(length).map_or(tomorrow, |end| end.min(tomorrow));
        Slot { begin, end }
    }

    /// Counted on the calendar: of the times of the days that begin a slot, the last one before, and the next one.
    fn days(&self, moment: &Zoned, number: u32) -> Slot {
        let mut times = self.at.clone();
        times.sort_unstable();
        if times.is_empty() {
            times.push(Time::midnight());
        }
        let date = first_day(moment.date(), number);
        // before the first time of its day a moment belongs to the slot before
        let before = date.checked_sub(days_of(number)).unwrap_or(Date::MIN);
        let behind = date.checked_add(days_of(number)).unwrap_or(Date::MAX);
        let all = [before, date, behind].map(|date| times.iter().map(move |time| self.moment(date, *time)));
        let all: Vec<Timestamp> = all.into_iter().flatten().collect();
        let begin = all.iter().copied().filter(|begin| *begin <= moment.timestamp()).max().unwrap_or(Timestamp::MIN);
        let end = all.iter().copied().filter(|begin| *begin > moment.timestamp()).min().unwrap_or(Timestamp::MAX);
        Slot { begin, end }
    }

    fn start_of(&self, date: Date) -> Timestamp {
        self.moment(date, Time::midnight())
    }

    /// A time that the clocks pass over comes as long behind the hole as it lies in it; of one that comes twice the first
    /// counts.
    fn moment(&self, date: Date, time: Time) -> Timestamp {
        self.zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().unwrap_or(Timestamp::MAX)
    }
}

/// From its begin to its end, which is the begin of the next.
#[derive(Clone, Copy)]
struct Slot {
    begin: Timestamp,
    end: Timestamp,
}

fn days_of(number: u32) -> Span {
    Span::new().try_days(i64::from(number.max(1))).unwrap_or_default()
}

/// The day on which the slot of so many days begins that a day lies in.
fn first_day(date: Date, number: u32) -> Date {
    let over = days_since_monday(date).rem_euclid(i64::from(number.max(1)));
    Span::new().try_days(over).ok().and_then(|over| date.checked_sub(over).ok()).unwrap_or(Date::MIN)
}

/// Days since a Monday far back, so that weeks begin on Mondays.
fn days_since_monday(date: Date) -> i64 {
    date.since(Date::constant(1969, 12, 29)).map_or(0, |span| i64::from(span.get_days()))
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Due, Schedule};
    use crate::time::WallTime;
    use jiff::Timestamp;
    use jiff::civil::Time;
    use jiff::tz::TimeZone;
    use std::time::Duration;

    fn schedule(hours: u64, zone: &str) -> Schedule {
        let zone = TimeZone::get(zone).unwrap();
        Schedule { every: Some(Duration::from_hours(hours)), at: Vec::new(), retry: Duration::from_mins(10), zone }
    }

    fn at(text: &str) -> WallTime {
        WallTime::of(text.parse::<Timestamp>().unwrap()).unwrap()
    }

    fn good(text: &str) -> Attempt {
        Attempt { began: at(text), ended: at(text), is_good: true }
    }

    fn bad(text: &str) -> Attempt {
        Attempt { is_good: false, ..good(text) }
    }

    /// Runs every `step` with a jitter of up to 20 s to either side; gives the moments of what was done.
    fn play(schedule: &Schedule, from: &str, hours: u64, step: u64) -> Vec<WallTime> {
        let (begin, mut done) = (at(from), Vec::new());
        for tick in 1..=hours * 3600 / step {
            let jitter = (tick * 7919 % 41) as i64 - 20;
            let moment = begin + Duration::from_secs((tick * step).saturating_add_signed(jitter));
            let attempts: Vec<_> =
                done.iter().map(|began| Attempt { began: *began, ended: *began, is_good: true }).collect();
            if schedule.judge(&attempts, moment).is_now() {
                done.push(moment);
            }
        }
        done
    }

    fn longest_gap(done: &[WallTime]) -> Duration {
        done.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap()
    }

    #[test]
    fn hours_have_no_gap_in_days_of_23_24_and_25() {
        for (zone, from) in [
            ("UTC", "2026-11-03T00:00:00Z"),
            ("Europe/Berlin", "2026-03-28T12:00:00Z"),
            ("Europe/Berlin", "2026-10-24T12:00:00Z"),
            ("America/New_York", "2026-11-01T00:00:00Z"),
            ("Asia/Kolkata", "2026-11-01T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T06:00:00Z"),
        ] {
            for step in [60, 300, 3600] {
                let done = play(&schedule(1, zone), from, 24, step);
                let expected = if zone == "Australia/Lord_Howe" { 24..=26 } else { 24..=25 };
                assert!(expected.contains(&done.len()), "{zone}, every {step} s: {}", done.len());
                assert!(
                    longest_gap(&done) <= Duration::from_mins(61),
                    "{zone}, every {step} s: {:?}",
                    longest_gap(&done)
                );
            }
        }
    }

    #[test]
    fn a_timer_of_the_same_length_misses_nothing() {
        let done = play(&schedule(24, "Europe/Berlin"), "2026-03-25T23:00:00Z", 24 * 8, 24 * 3600);
        assert_eq!(done.len(), 8);
        let done = play(
            &Schedule { every: Some(Duration::from_mins(15)), ..schedule(1, "UTC") },
            "2026-03-25T00:00:00Z",
            24,
            15 * 60,
        );
        assert_eq!(done.len(), 96);
    }

    #[test]
    fn nothing_begins_before_its_time_of_the_day() {
        let mut schedule = schedule(24, "Europe/Berlin");
        schedule.at = vec![Time::constant(2, 30, 0, 0)];
        let before = [good("2026-03-27T01:30:00Z")];
        // that time does not exist on the 29th
        assert_eq!(
            schedule.judge(&before, at("2026-03-28T01:29:59Z")),
            Due::Later("2026-03-28T01:30:00Z".parse().unwrap())
        );
        assert!(schedule.judge(&before, at("2026-03-28T01:30:00Z")).is_now());
        let before = [good("2026-03-28T01:30:00Z")];
        assert_eq!(
            schedule.judge(&before, at("2026-03-29T01:29:59Z")),
            Due::Later("2026-03-29T01:30:00Z".parse().unwrap())
        );
        assert!(schedule.judge(&before, at("2026-03-29T01:30:00Z")).is_now());
        // it comes twice on the 25th of October
        schedule.at.push(Time::constant(14, 0, 0, 0));
        let before = [good("2026-10-25T00:30:00Z")];
        assert_eq!(
            schedule.judge(&before, at("2026-10-25T01:31:00Z")),
            Due::Later("2026-10-25T13:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn weeks_begin_on_mondays() {
        let done = [good("2026-11-29T10:00:00Z")];
        assert!(schedule(24 * 7, "UTC").judge(&done, at("2026-11-30T00:00:00Z")).is_now());
        let later = Due::Later("2026-11-29T23:50:00Z".parse().unwrap());
        assert_eq!(schedule(24 * 7, "UTC").judge(&done, at("2026-11-29T23:00:00Z")), later);
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let hourly = schedule(1, "UTC");
        assert_eq!(hourly.judge(&[], at("2026-11-03T00:30:00Z")), Due::First);
        let mut tried = vec![good("2026-11-03T00:00:00Z"), bad("2026-11-03T01:00:00Z")];
        let wait = |tried: &[Attempt], text: &str| hourly.judge(tried, at(text));
        assert_eq!(wait(&tried, "2026-11-03T01:09:00Z"), Due::Waiting("2026-11-03T01:10:00Z".parse().unwrap(), 1));
        assert_eq!(wait(&tried, "2026-11-03T01:10:00Z"), Due::Again(1));
        tried.push(bad("2026-11-03T01:10:00Z"));
        assert!(!wait(&tried, "2026-11-03T01:29:00Z").is_now());
        tried.extend((2..9).map(|hour| bad(&format!("2026-11-03T0{hour}:00:00Z"))));
        // a slot is the most
        assert!(!wait(&tried, "2026-11-03T08:59:00Z").is_now());
        assert_eq!(wait(&tried, "2026-11-03T09:00:00Z"), Due::Again(9));
        tried.push(good("2026-11-03T09:00:00Z"));
        assert!(!wait(&tried, "2026-11-03T09:30:00Z").is_now());
    }

    #[test]
    fn a_clock_that_was_ahead_neither_silences_a_source_nor_makes_it_due_all_the_time() {
        let hourly = schedule(1, "UTC");
        let mut tried = vec![good("2026-11-03T00:00:00Z"), good("2026-11-04T01:00:00Z")];
        assert!(hourly.judge(&tried, at("2026-11-03T01:00:00Z")).is_now());
        tried.push(good("2026-11-03T01:00:00Z"));
        assert!(!hourly.judge(&tried, at("2026-11-03T01:05:00Z")).is_now());
        assert!(hourly.judge(&tried, at("2026-11-03T02:00:00Z")).is_now());
        tried.push(bad("2026-11-03T02:00:00Z"));
        assert!(!hourly.judge(&tried, at("2026-11-03T02:05:00Z")).is_now());
        assert_eq!(hourly.judge(&tried, at("2026-11-03T02:10:00Z")), Due::Again(1));
    }

    #[test]
    fn slots_to_come_are_those_in_which_it_will_be_due() {
        let mut daily = schedule(24, "Europe/Berlin");
        daily.at = vec![Time::constant(2, 30, 0, 0)];
        let told = |slots: Vec<WallTime>| -> Vec<String> {
            slots.into_iter().map(|time| Timestamp::from(time).to_string()).collect()
        };
        let (from, until) = (at("2026-10-24T00:00:00Z"), at("2026-10-27T01:29:59Z"));
        let expected = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(told(daily.slots(from, until, 9)), expected, "also where the clocks change");
        assert_eq!(told(daily.slots(from, until, 2)), expected[..2]);
        let hourly = schedule(1, "UTC");
        let slots = hourly.slots(from, at("2026-10-25T00:00:00Z"), 99);
        assert_eq!(slots.len(), 24);
        for slot in slots {
            assert!(
                hourly
                    .judge(&[Attempt { began: slot - Duration::from_hours(1), ..good("2026-10-24T00:00:00Z") }], slot)
                    .is_now()
            );
        }
        assert!(Schedule { every: None, ..hourly }.slots(from, until, 9).is_empty());
    }

    #[test]
    fn a_clock_that_was_ahead_silences_nothing() {
        let hourly = schedule(1, "UTC");
        assert!(hourly.judge(&[good("2027-11-03T00:00:00Z")], at("2026-11-03T00:30:00Z")).is_now());
        assert!(hourly.judge(&[bad("2027-11-03T00:00:00Z")], at("2026-11-03T00:30:00Z")).is_now());
    }
}
