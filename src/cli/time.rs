//! Points in time as people write them: RFC 3339, a local date and time as it is shown, a day, or words like "2h ago".
//! What is written stands for all of the second, minute, day, week or month that it names, so that a time as it is shown
//! means what it was shown for; whoever asks takes one end of that.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Zoned};
use std::ops::RangeInclusive;
use std::time::Duration;
use vault::runtime::Clock;
use vault::time::WallTime;

/// What can be written.
pub const FORMS: &str = "write a time like 2026-11-20T14:00, 2026-11-20T14:00:00+01:00, 2026-11-20, 14:30, \
    \"2h ago\", \"3 days ago\", yesterday, \"last monday\" or \"last week\"";

/// From its first to its last nanosecond.
type Stretch = RangeInclusive<WallTime>;

/// All that is meant.
fn parse(text: &str, now: &Zoned) -> Option<Stretch> {
    let text = text.trim().to_ascii_lowercase();
    let exact = || WallTime::of(text.to_ascii_uppercase().parse().ok()?).map(|at| at..=at);
    date_and_time(&text, now).or_else(|| days(&text, now)).or_else(|| ago(&text, now).map(|at| at..=at)).or_else(exact)
}

/// A time that a flag takes.
pub fn parse_flag(text: &str) -> Result<WallTime, String> {
    parse(text, &now()).map(|meant| *meant.start()).ok_or_else(|| FORMS.into())
}

/// The same, but its end: until a day means until the end of it.
pub fn parse_end(text: &str) -> Result<WallTime, String> {
    parse_address(text).ok_or_else(|| FORMS.into())
}

/// A time that a flag takes, not later than now: files that change until the time of a snapshot would count as older than it.
pub fn parse_past(text: &str) -> Result<WallTime, String> {
    let time = parse_flag(text)?;
    if time > Clock::System.now() { Err("this is still to come".into()) } else { Ok(time) }
}

/// A time to come; a day means all of it.
pub fn parse_to_come(text: &str) -> Result<WallTime, String> {
    let time = parse(text, &now()).map(|meant| *meant.end()).ok_or_else(|| FORMS.to_owned())?;
    if time < Clock::System.now() { Err("this is past: write a day to come, like 2027-03-01".into()) } else { Ok(time) }
}

/// The time behind the `@` of an address: a second, a day and so on mean all of it.
pub fn parse_address(text: &str) -> Option<WallTime> {
    parse(text, &now()).map(|meant| *meant.end())
}

/// Now, in this machine's time zone.
pub fn now() -> Zoned {
    Timestamp::from(Clock::System.now()).to_zoned(TimeZone::system())
}

fn local(time: DateTime, zone: &TimeZone) -> Option<WallTime> {
    WallTime::of(time.to_zoned(zone.clone()).ok()?.timestamp())
}

/// A time of a day, which may be named before it and is today else, and may have an offset behind it.
fn date_and_time(text: &str, now: &Zoned) -> Option<Stretch> {
    let colon = text.find(':')?;
    let (text, offset) = match text.rfind(['+', '-']).filter(|at| *at > colon) {
        Some(at) => (text[..at].trim_end(), Some(offset(&text[at..])?)),
        None => text.strip_suffix('z').map_or((text, None), |text| (text, Some(Offset::UTC))),
    };
    let (day, time) = match text.rfind([' ', 't']) {
        Some(at) => (day(text[..at].trim_end(), now)?, &text[at + 1..]),
        None => (now.date(), text),
    };
    let width = match (time.matches(':').count(), time.contains(['.', ','])) {
        (1, false) => 60_000_000_000,
        (2, false) => 1_000_000_000,
        (2, true) => 1,
        _ => return None,
    };
    let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',');
    let time = &if time.find(':') == Some(1) { format!("0{time}") } else { time.to_owned() };
    let time = time.bytes().all(is_plain).then(|| time.parse::<Time>().ok())??;
    let first = match offset {
        Some(offset) => WallTime::of(offset.to_timestamp(day.to_datetime(time)).ok()?)?,
        None => local(day.to_datetime(time), now.time_zone())?,
    };
    Some(first..=first + Duration::from_nanos(width - 1))
}

/// `+01:00`, `+0100` or `+01`.
fn offset(text: &str) -> Option<Offset> {
    // with seconds it is longer, and nobody writes those
    let zone = DateTimeParser::new().parse_time_zone(Some(text).filter(|text| text.len() <= 6)?).ok()?;
    zone.to_fixed_offset().ok()
}

/// A day by its date, its name, or its distance.
fn day(text: &str, now: &Zoned) -> Option<Date> {
    let today = now.date();
    match text {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        _ => {}
    }
    let (is_last, name) = text.strip_prefix("last ").map_or((false, text), |name| (true, name.trim_start()));
    if let Some(weekday) = weekday(name) {
        let back = today.weekday().since(weekday);
        return today.checked_sub(Span::new().days(if is_last && back == 0 { 7 } else { i64::from(back) })).ok();
    }
    let numbers = |separator| text.split(separator).collect::<Vec<_>>();
    let is = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if let [year, month, day] = numbers('-')[..] {
        let is_date = is(year, 4) && is(month, 2) && is(day, 2);
        return is_date.then(|| Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok())?;
    }
    let [day, month, year] = numbers('.')[..] else { return None };
    let is_date = (is(day, 1) || is(day, 2)) && (is(month, 1) || is(month, 2)) && is(year, 4);
    is_date.then(|| Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok())?
}

fn weekday(name: &str) -> Option<Weekday> {
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let at = names.iter().position(|full| *full == name || name.len() == 3 && full.starts_with(name))?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

/// A day, or the week, month or year before this one.
fn days(text: &str, now: &Zoned) -> Option<Stretch> {
    let (today, back) = (now.date(), |from: Date, span: Span| from.checked_sub(span).ok());
    let monday = back(today, Span::new().days(i64::from(today.weekday().to_monday_zero_offset())))?;
    let month = text.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2);
    let (first, next) = match text {
        "last week" => (back(monday, Span::new().weeks(1))?, monday),
        "last month" => (back(today.first_of_month(), Span::new().months(1))?, today.first_of_month()),
        "last year" => (back(today.first_of_year(), Span::new().years(1))?, today.first_of_year()),
        _ if month.is_some() => {
            let first = day(&format!("{text}-01"), now)?;
            (first, first.checked_add(Span::new().months(1)).ok()?)
        }
        _ => {
            let day = day(text, now)?;
            (day, day.tomorrow().ok()?)
        }
    };
    let start = |date: Date| local(date.at(0, 0, 0, 0), now.time_zone());
    Some(start(first)?..=start(next)? - Duration::from_nanos(1))
}

/// A distance from now. `m` alone could be minutes or months, so it is neither.
fn ago(text: &str, now: &Zoned) -> Option<WallTime> {
    if text == "now" {
        return WallTime::of(now.timestamp());
    }
    let text = text.strip_suffix(" ago")?.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = match text.split_once(' ') {
        Some(("a" | "an", unit)) => ("1", unit),
        _ => text.split_at(end),
    };
    let number = number.parse::<i64>().ok().filter(|number| (0..=100_000).contains(number))?;
    let unit = Some(unit.trim()).filter(|unit| *unit != "m" && unit.bytes().all(|byte| byte.is_ascii_lowercase()))?;
    let span = format!("{number} {unit}").parse::<Span>();
    WallTime::of(now.checked_sub(span.ok()?).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::{Duration, WallTime, parse};
    use jiff::tz::TimeZoneDatabase;
    use jiff::{Timestamp, Zoned};

    /// A Wednesday at noon in Berlin.
    fn now() -> Zoned {
        let berlin = TimeZoneDatabase::bundled().get("Europe/Berlin").expect("a zone");
        "2026-11-25T11:00:00Z".parse::<Timestamp>().expect("a time").to_zoned(berlin)
    }

    /// From when to when a text means.
    fn shown(text: &str) -> (String, String) {
        let Some(meant) = parse(text, &now()) else { return ("?".into(), "?".into()) };
        let show = |time: WallTime| {
            let time = Timestamp::from(time).to_zoned(now().time_zone().clone());
            time.strftime("%F %T%.f").to_string()
        };
        (show(*meant.start()), show(*meant.end()))
    }

    #[test]
    fn what_is_written_means_all_of_what_it_names() {
        let table = [
            ("2026-11-20T14:00:05+01:00", "2026-11-20 14:00:05", "2026-11-20 14:00:05.999999999"),
            ("2026-11-20 14:00:05 +01:00", "2026-11-20 14:00:05", "2026-11-20 14:00:05.999999999"),
            ("2026-11-20T13:00:05Z", "2026-11-20 14:00:05", "2026-11-20 14:00:05.999999999"),
            ("2026-11-20T13:00Z", "2026-11-20 14:00:00", "2026-11-20 14:00:59.999999999"),
            ("2026-11-20T09:30:00.25-0330", "2026-11-20 14:00:00.25", "2026-11-20 14:00:00.25"),
            ("2026-11-20 14:00:05", "2026-11-20 14:00:05", "2026-11-20 14:00:05.999999999"),
            ("2026-11-20T14:00", "2026-11-20 14:00:00", "2026-11-20 14:00:59.999999999"),
            ("20.11.2026 14:00", "2026-11-20 14:00:00", "2026-11-20 14:00:59.999999999"),
            ("2026-11-20 2:30", "2026-11-20 02:30:00", "2026-11-20 02:30:59.999999999"),
            ("14:30", "2026-11-25 14:30:00", "2026-11-25 14:30:59.999999999"),
            ("yesterday 14:30", "2026-11-24 14:30:00", "2026-11-24 14:30:59.999999999"),
            ("last Monday 14:30", "2026-11-23 14:30:00", "2026-11-23 14:30:59.999999999"),
            ("today", "2026-11-25 00:00:00", "2026-11-25 23:59:59.999999999"),
            ("yesterday", "2026-11-24 00:00:00", "2026-11-24 23:59:59.999999999"),
            ("2026-11-20", "2026-11-20 00:00:00", "2026-11-20 23:59:59.999999999"),
            ("20.11.2026", "2026-11-20 00:00:00", "2026-11-20 23:59:59.999999999"),
            ("2026-10", "2026-10-01 00:00:00", "2026-10-31 23:59:59.999999999"),
            // the day on which clocks went back has 25 hours
            ("2026-10-25", "2026-10-25 00:00:00", "2026-10-25 23:59:59.999999999"),
            ("monday", "2026-11-23 00:00:00", "2026-11-23 23:59:59.999999999"),
            ("wednesday", "2026-11-25 00:00:00", "2026-11-25 23:59:59.999999999"),
            ("last wednesday", "2026-11-18 00:00:00", "2026-11-18 23:59:59.999999999"),
            ("thu", "2026-11-19 00:00:00", "2026-11-19 23:59:59.999999999"),
            ("last week", "2026-11-16 00:00:00", "2026-11-22 23:59:59.999999999"),
            ("last month", "2026-10-01 00:00:00", "2026-10-31 23:59:59.999999999"),
            ("last year", "2025-01-01 00:00:00", "2025-12-31 23:59:59.999999999"),
            ("now", "2026-11-25 12:00:00", "2026-11-25 12:00:00"),
            ("2 days ago", "2026-11-23 12:00:00", "2026-11-23 12:00:00"),
            ("2h ago", "2026-11-25 10:00:00", "2026-11-25 10:00:00"),
            ("90 min ago", "2026-11-25 10:30:00", "2026-11-25 10:30:00"),
            ("30s ago", "2026-11-25 11:59:30", "2026-11-25 11:59:30"),
            ("an hour ago", "2026-11-25 11:00:00", "2026-11-25 11:00:00"),
            ("a week ago", "2026-11-18 12:00:00", "2026-11-18 12:00:00"),
            ("2 Years ago", "2024-11-25 12:00:00", "2024-11-25 12:00:00"),
        ];
        for (text, first, last) in table {
            assert_eq!(shown(text), (first.to_owned(), last.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_as_it_is_shown_means_what_it_was_shown_for() {
        for step in 0..2000_i64 {
            let time = step * 1_234_567_890_123_457 % 4_000_000_000_000_000_000;
            let (time, second) = (WallTime::new(time), WallTime::new(time - time.rem_euclid(1_000_000_000)));
            let meant = |text: &str| parse(text, &now()).expect("a time").into_inner();
            let shown = super::super::render::time(time);
            assert_eq!(meant(&shown), (second, second + Duration::from_nanos(999_999_999)), "{shown}");
            let exact = super::super::render::time_rfc3339(time);
            let (first, last) = meant(&exact);
            assert!(first == time && last.since(time) < Duration::from_secs(1), "{exact}");
        }
    }

    #[test]
    fn what_could_mean_two_things_or_nothing_is_refused() {
        let nonsense = [
            "",
            "soon",
            "-1 days ago",
            "2 days",
            "3m ago",
            "ago",
            "a ago",
            "2026-13-01",
            "2026-13-45T10:00",
            "2026-02-30",
            "11/20/2026",
            "2026",
            "20.13.2026",
            "25:00",
            "14:60",
            "14",
            "14:30:00:00",
            "2026-11-20T14",
            "last",
            "next monday",
            "last fortnight",
            "tomorrow",
            "2026-11-20T14:00+1",
            "2026-11-20T14:00+01:99",
            "\u{e9}:00",
            "1\u{e9} ago",
            "é ago",
        ];
        for text in nonsense {
            assert_eq!(shown(text).1, "?", "{text}");
        }
    }
}
