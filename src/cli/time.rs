//! Points in time as people write them: RFC 3339, a local date and time, a day, or words like "2 days ago". A day alone
//! has two ends; the caller says which one is meant.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use vault::runtime::Clock;

/// Which moment of a day that is named without a time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// Its first.
    Start,
    /// Its last.
    End,
}

/// What can be written.
pub const FORMS: &str = "write 2026-11-20T14:00:00+01:00, 2026-11-20T14:00, 2026-11-20, \"2 days ago\" or yesterday";

/// Nanoseconds since 1970.
pub fn parse(text: &str, now: &Zoned, day: Day) -> Option<i64> {
    let text = text.trim();
    let timestamp = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| words(text, now, day))
        .or_else(|| moment(text.parse::<DateTime>().ok().filter(|_| text.contains(':'))?))
        .or_else(|| whole_day(text.parse::<Date>().ok()?, day))?;
    timestamp.as_nanosecond().try_into().ok()
}

/// A time that a flag takes.
pub fn parse_flag(text: &str) -> Result<i64, String> {
    parse(text, &now(), Day::Start).ok_or_else(|| FORMS.into())
}

/// The same, not later than now: files that change until the time of a snapshot would count as older than it.
pub fn parse_past(text: &str) -> Result<i64, String> {
    let time = parse_flag(text)?;
    if time > Clock::System.now() { Err("this is still to come".into()) } else { Ok(time) }
}

/// A length of time like `24h`, `90m` or `7d`.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let span = text.trim().parse::<Span>().ok();
    let length = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    length
        .and_then(|length| length.try_into().ok())
        .ok_or_else(|| "a length of time is written like 24h, 90m or 7d".into())
}

/// The time behind the `@` of an address: a day means all of it.
pub fn parse_address(text: &str) -> Option<i64> {
    parse(text, &now(), Day::End)
}

fn now() -> Zoned {
    let now = Timestamp::from_nanosecond(i128::from(Clock::System.now())).unwrap_or_default();
    now.to_zoned(TimeZone::system())
}

fn moment(time: DateTime) -> Option<Timestamp> {
    time.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp())
}

fn whole_day(date: Date, day: Day) -> Option<Timestamp> {
    match day {
        Day::Start => moment(date.at(0, 0, 0, 0)),
        Day::End => moment(date.at(23, 59, 59, 999_999_999)),
    }
}

fn words(text: &str, now: &Zoned, day: Day) -> Option<Timestamp> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let back = |span: Span| now.checked_sub(span).ok();
    match words.as_slice() {
        ["now"] => Some(now.timestamp()),
        ["today"] => whole_day(now.date(), day),
        ["yesterday"] => whole_day(back(Span::new().days(1))?.date(), day),
        ["yesterday", time] => {
            let time = time.parse::<jiff::civil::Time>().ok()?;
            moment(back(Span::new().days(1))?.date().to_datetime(time))
        }
        [number, unit, "ago"] => {
            let number = number.parse::<i64>().ok().filter(|number| (0..=100_000).contains(number))?;
            let span = match unit.strip_suffix('s').unwrap_or(unit) {
                "second" => Span::new().try_seconds(number),
                "minute" => Span::new().try_minutes(number),
                "hour" => Span::new().try_hours(number),
                "day" => Span::new().try_days(number),
                "week" => Span::new().try_weeks(number),
                "month" => Span::new().try_months(number),
                "year" => Span::new().try_years(number),
                _ => return None,
            };
            back(span.ok()?).map(|zoned| zoned.timestamp())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, parse, parse_duration};
    use jiff::Zoned;

    #[test]
    fn every_promised_form_is_understood_and_nothing_else() {
        let now: Zoned = "2026-11-21T12:00:00+00:00[UTC]".parse().expect("a time");
        let seconds = |text: &str| parse(text, &now, Day::End).map(|time| time / 1_000_000_000);
        let noon = now.timestamp().as_second();
        assert_eq!(seconds("2026-11-21T13:00:00+01:00"), Some(noon));
        assert_eq!(seconds("2026-11-21T12:00:00Z"), Some(noon));
        assert_eq!(seconds("2 days ago"), Some(noon - 2 * 86400));
        assert_eq!(seconds("1 hour ago"), Some(noon - 3600));
        assert!(seconds("2026-11-20T14:00").is_some());
        assert!(seconds("2026-11-20 14:00:05").is_some());
        assert!(seconds("yesterday") > seconds("yesterday 14:00"));
        assert!(parse("2026-11-20", &now, Day::Start) < parse("2026-11-20", &now, Day::End));
        for nonsense in ["", "soon", "-1 days ago", "2 days", "14:00", "2026-13-01"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn lengths_of_time_are_understood() {
        let seconds = |text: &str| parse_duration(text).map(|length| length.as_secs()).ok();
        assert_eq!(["0s", "90m", "24h", "7d"].map(seconds), [Some(0), Some(5400), Some(86400), Some(604_800)]);
        assert_eq!(["", "7", "-1h", "soon"].map(seconds), [None; 4]);
    }
}
