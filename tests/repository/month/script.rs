//! What happens to a shop and its machine in one month, by seed: a database that is down for a day, dumps that are too
//! small, a machine that is off, a store out of reach, a delivery that does not come, and changes of the clocks in it.

use jiff::Timestamp;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 86_400;
/// From one start of the timer to the next.
pub const TICK: i64 = 5 * MINUTE;

/// Zones, and a moment at which their clocks change, or might.
const CHANGES: [(&str, &str); 7] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Asia/Kathmandu", "2026-02-28T18:15:00Z"),
];

/// From a moment to another, which is not in it any more.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub i64, pub i64);

impl Span {
    pub fn has(self, moment: i64) -> bool {
        (self.0..self.1).contains(&moment)
    }
}

/// Numbers by seed.
pub struct Dice(ChaCha20Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// At least the first, and less than the second.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let width = (most - least).unsigned_abs();
        least + i64::try_from(self.0.next_u64() % width).unwrap()
    }

    pub fn one_in(&mut self, number: i64) -> bool {
        self.between(0, number) == 0
    }
}

/// Moments are seconds.
#[derive(Debug)]
pub struct Script {
    pub zone: &'static str,
    pub begin: i64,
    pub end: i64,
    /// The database answers nobody.
    pub down: Span,
    /// The machine is off.
    pub off: Vec<Span>,
    /// The store answers nobody.
    pub unreachable: Span,
    /// Dumps are half as large as they should be.
    pub thin: Span,
    /// From then on dumps are half as large, for good.
    pub cleaned: i64,
    /// Nobody hands over what is imported.
    pub forgotten: Span,
    /// Another machine takes over, which remembers nothing.
    pub moved: i64,
    /// Somebody edits the plan.
    pub edited: i64,
}

impl Script {
    /// So many days; in a few of them as much happens as in a month, only shorter.
    pub fn new(seed: u64, dice: &mut Dice, days: i64) -> Self {
        let is_month = days >= 31;
        let (earliest, latest) = if is_month { (3 * DAY, 28 * DAY) } else { (DAY, 4 * DAY) };
        let (zone, change) = CHANGES[usize::try_from(seed % 7).unwrap()];
        let begin = change.parse::<Timestamp>().unwrap().as_second() - dice.between(earliest, latest);
        // one thing after the other, so that each can be told from the others
        let part = |of_month: i64, of_days: i64| if is_month { of_month } else { of_days };
        let slot = part(2 * DAY + 8 * HOUR, 9 * HOUR);
        let mut turn = |number: i64, longest: i64| begin + DAY + number * slot + dice.between(0, slot - longest);
        let length = |from: i64, length: i64| Span(from, from + length);
        let thin = length(turn(0, 4 * HOUR), 2 * HOUR);
        let short = length(turn(1, 20 * MINUTE), 20 * MINUTE);
        let (day, night) = (part(DAY, 7 * HOUR), part(9 * HOUR, 5 * HOUR));
        let weekend = part(2 * DAY, 6 * HOUR);
        let down = length(turn(2, day), day);
        let night = length(turn(3, night), night);
        let cleaned = turn(4, 6 * HOUR);
        let unreachable = length(turn(5, 4 * HOUR), 2 * HOUR);
        let moved = turn(6, HOUR);
        let forgotten = length(turn(7, part(DAY, HOUR)), part(2 * DAY, 30 * HOUR));
        let weekend = length(turn(9, weekend), weekend);
        let edited = turn(10, HOUR);
        Self {
            zone,
            begin,
            end: begin + days * DAY,
            down,
            off: vec![short, night, weekend],
            unreachable,
            thin,
            cleaned,
            forgotten,
            moved,
            edited,
        }
    }

    pub fn is_off(&self, now: i64) -> bool {
        self.off.iter().any(|span| span.has(now))
    }

    /// What the database gives, if it answers.
    pub fn dump(&self, now: i64) -> Option<String> {
        let grown = 2_000 + (now - self.begin) / HOUR;
        let lines = if self.thin.has(now) || now >= self.cleaned { grown / 2 } else { grown };
        let line = |number: i64| format!("insert into orders values ({number}, {now});\n");
        (!self.down.has(now)).then(|| (0..lines).map(line).collect())
    }

    /// Which state of the uploads there is: a new one each day, but on two of seven.
    pub fn uploads(&self, now: i64) -> i64 {
        let day = (now - self.begin) / DAY;
        day / 7 * 5 + (day % 7).min(4)
    }

    /// Which state of the configuration.
    pub fn config(&self, now: i64) -> i64 {
        (now - self.begin) / (2 * DAY + 12 * HOUR)
    }
}
