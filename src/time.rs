//! Points in time, a type for each clock: no two clocks are compared by accident. `Clock` and stores tell them; what the
//! format keeps as plain numbers becomes one of them where it is loaded. Invariant: arithmetic saturates, and one clock
//! stands in for another only in functions that say so by name.

use std::ops::{Add, Sub};
use std::time::Duration;

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
    /// A clock that runs from the machine's start, also while it sleeps, and that nobody sets: for ages, never shown.
    BootTime
}

#[cfg(test)]
mod tests {
    use super::BootTime;
    use std::time::Duration;

    #[test]
    fn nothing_lies_beyond_the_ends() {
        let (least, most) = (BootTime::MIN, BootTime::MAX);
        assert_eq!((least - Duration::MAX, most + Duration::from_nanos(1)), (least, most));
        assert_eq!((most - most.since(least), least + most.since(least)), (least, most));
        assert_eq!(least.since(most), Duration::ZERO);
    }
}
