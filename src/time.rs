//! Points in time, a type for each clock: no two clocks are compared by accident. `Clock` and stores tell them; what the
//! format keeps as plain numbers becomes one of them where it is loaded. Invariant: arithmetic saturates, and one clock
//! stands in for another only in functions that say so by name.

use jiff::{Span, SpanRelativeTo, Timestamp};
use std::ops::{Add, Sub};
use std::time::Duration;
use vault_format::tree::Time;

/// A length of time as people write it, on the command line and in a plan: `24h`, `90m` (minutes), `7d` or `12w`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span = text.trim().parse::<Span>().ok();
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    length
        .and_then(|length| length.try_into().ok())
        .ok_or_else(|| "a length of time is written like 24h, 90m or 7d".into())
}

/// The same the other way round, in its largest unit that leaves no rest.
pub fn show_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let unit = units.into_iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (letter, unit) = unit.unwrap_or(("s", 1));
    format!("{}{letter}", seconds / unit)
}

/// Nanoseconds of a length of time, as far as they fit.
pub fn nanoseconds(length: Duration) -> u64 {
    length.as_nanos().try_into().unwrap_or(u64::MAX)
}

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(i64);

        impl $name {
            /// The first of all.
            pub const MIN: Self = Self(i64::MIN);
            /// The last of all.
            pub const MAX: Self = Self(i64::MAX);

            /// So many nanoseconds after the clock's beginning.
            pub const fn new(nanoseconds: i64) -> Self {
                Self(nanoseconds)
            }

            /// Nanoseconds since the clock's beginning.
            pub const fn nanoseconds(self) -> i64 {
                self.0
            }

            /// How much later this is; nothing if it is not.
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(if self > earlier { self.0.abs_diff(earlier.0) } else { 0 })
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;

            fn add(self, length: Duration) -> Self {
                Self(self.0.saturating_add_unsigned(nanoseconds(length)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;

            fn sub(self, length: Duration) -> Self {
                Self(self.0.saturating_sub_unsigned(nanoseconds(length)))
            }
        }
    };
}

clock! {
    /// What a machine's wall clock shows, since 1970: anybody may set it, and what a writer claims is a time of its own.
    WallTime
}

clock! {
    /// What the store's clock shows, since 1970: when it received an object, which no writer can choose.
    StoreTime
}

clock! {
    /// A clock that runs from the machine's start, also while it sleeps, and that nobody sets: for ages, never shown.
    BootTime
}

impl WallTime {
    /// A moment on the calendar, as far as it fits.
    pub fn of(moment: Timestamp) -> Option<Self> {
        moment.as_nanosecond().try_into().ok().map(Self)
    }

    /// An arrival to measure a claim by, or to count instead of it.
    pub const fn from_store(arrived: StoreTime) -> Self {
        Self(arrived.0)
    }
}

impl StoreTime {
    /// A wall clock in place of the store's: where the store tells no time, or where a wrong clock does no harm.
    pub const fn from_wall(time: WallTime) -> Self {
        Self(time.0)
    }
}

impl From<WallTime> for Timestamp {
    fn from(time: WallTime) -> Self {
        // every i64 of nanoseconds lies within jiff's years
        Self::from_nanosecond(time.0.into()).unwrap_or_default()
    }
}

impl From<StoreTime> for Timestamp {
    fn from(time: StoreTime) -> Self {
        WallTime(time.0).into()
    }
}

/// Times of files, as far as they fit.
impl From<Time> for WallTime {
    fn from(time: Time) -> Self {
        Self(time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into()))
    }
}

impl From<WallTime> for Time {
    fn from(time: WallTime) -> Self {
        let nanoseconds = time.0.rem_euclid(1_000_000_000).try_into().unwrap_or_default();
        Self { seconds: time.0.div_euclid(1_000_000_000), nanoseconds }
    }
}

#[cfg(test)]
mod tests {
    use super::{BootTime, parse_duration, show_duration};
    use std::time::Duration;

    #[test]
    fn lengths_of_time_are_understood_and_shown() {
        let seconds = |text: &str| parse_duration(text).map(|length| length.as_secs()).ok();
        assert_eq!(["0s", "90m", "24h", "7d"].map(seconds), [Some(0), Some(5400), Some(86400), Some(604_800)]);
        assert_eq!(["", "7", "-1h", "soon"].map(seconds), [None; 4]);
        for text in ["0s", "45s", "90m", "25h", "7d", "84d"] {
            assert_eq!(parse_duration(text).map(show_duration), Ok(text.to_owned()));
        }
    }

    #[test]
    fn nothing_lies_beyond_the_ends() {
        let (least, most) = (BootTime::MIN, BootTime::MAX);
        assert_eq!((least - Duration::MAX, most + Duration::from_nanos(1)), (least, most));
        assert_eq!((most - most.since(least), least + most.since(least)), (least, most));
        assert_eq!(least.since(most), Duration::ZERO);
    }
}
