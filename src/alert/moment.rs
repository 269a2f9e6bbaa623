//! Times of an alert: RFC 3339 in JSON, and as people read them.

/// A time, or nothing.
pub(super) mod time {
    use crate::time::WallTime;
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::alert) fn serialize<S: Serializer>(time: &Option<WallTime>, to: S) -> Result<S::Ok, S::Error> {
        time.map(super::written).serialize(to)
    }

    pub(in crate::alert) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WallTime>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.and_then(|text| text.parse::<Timestamp>().ok()).and_then(WallTime::of))
    }
}

use crate::time::WallTime;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// RFC 3339 in UTC, to the second.
pub(super) fn written(time: WallTime) -> String {
    let stamp = Timestamp::from(time);
    stamp.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor)).unwrap_or(stamp).to_string()
}

/// For people: `2026-11-30 03:00 UTC`.
pub(super) fn shown(time: WallTime) -> String {
    Timestamp::from(time).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Seconds since 1970.
pub(super) fn seconds(time: WallTime) -> i64 {
    Timestamp::from(time).as_second()
}
