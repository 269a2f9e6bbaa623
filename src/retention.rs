//! What a policy keeps: a pure function from the snapshots of one source, a policy, a time and a time zone to a verdict
//! on each, with reasons in words. Every writer of a source has buckets of its own, so what one writer adds or claims
//! never costs a snapshot of another. Within a writer, leaving a snapshot out of the input never costs another one
//! either: a short listing only keeps more. The newest of a writer is always kept.

pub use jiff::tz::TimeZone;

use crate::time::{StoreTime, WallTime};
use jiff::{Span, Timestamp, Zoned};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use vault_format::id::{ObjectId, WriterId};

/// A claimed time may lie this far before the arrival: a long run, and a store that was out of reach.
const EARLY: Duration = Duration::from_hours(26);
/// And this far behind it: clocks differ.
const AHEAD: Duration = Duration::from_mins(10);

/// Why the newest stays, whatever the rules say.
pub(crate) const NEWEST: &str = "newest";
/// Why one goes that has not expired.
pub(crate) const NO_RULE: &str = "no rule keeps it";

/// The time that retention goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The claimed one, or else the arrival.
    pub time: WallTime,
    /// The claimed time did not fit to the arrival.
    pub late: bool,
}

impl Counted {
    /// A writer's word counts only near the arrival, so that nobody can forge a history.
    pub fn of_writer(claimed: WallTime, arrived: Option<StoreTime>) -> Self {
        match arrived.map(WallTime::from_store) {
            Some(at) if !(at - EARLY..=at + AHEAD).contains(&claimed) => Self { time: at, late: true },
            // a store without times gives nothing to doubt a writer with
            _ => Self { time: claimed, late: false },
        }
    }

    /// True if the claimed time is older than the arrival can explain.
    pub(crate) fn is_behind(self, claimed: WallTime) -> bool {
        self.late && claimed < self.time
    }

    /// The owner's word counts: imported history and copies keep their times.
    pub fn of_owner(claimed: WallTime) -> Self {
        Self { time: claimed, late: false }
    }
}

/// A length of time on the calendar: a whole number of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    number: u32,
    unit: Unit,
}

/// Each is its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Unit {
    Hours = b'h',
    Days = b'd',
    Weeks = b'w',
    Months = b'm',
    Years = b'y',
}

impl Unit {
    fn letter(self) -> char {
        char::from(self as u8)
    }
}

impl Length {
    /// That long behind `from`, on the calendar of its zone.
    pub fn after(self, from: &Zoned) -> Option<Zoned> {
        from.checked_add(self.span()?).ok()
    }

    /// That long before `from`, on the calendar of its zone.
    pub fn before(self, from: &Zoned) -> Option<Zoned> {
        from.checked_sub(self.span()?).ok()
    }

    fn span(self) -> Option<Span> {
        let (number, span) = (i64::from(self.number), Span::new());
        match self.unit {
            Unit::Hours => span.try_hours(number).ok(),
            Unit::Days => span.try_days(number).ok(),
            Unit::Weeks => span.try_weeks(number).ok(),
            Unit::Months => span.try_months(number).ok(),
            Unit::Years => span.try_years(number).ok(),
        }
    }
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a length of time is a number and h, d, w, m or y (months), like 7d, 12w or 12m".to_owned();
        let units = [Unit::Hours, Unit::Days, Unit::Weeks, Unit::Months, Unit::Years];
        let unit = units.into_iter().find(|unit| text.ends_with(unit.letter())).ok_or_else(wrong)?;
        let number = text.strip_suffix(unit.letter()).and_then(number).ok_or_else(wrong)?;
        Ok(Self { number, unit })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.letter())
    }
}

/// A number above 0, in digits alone.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How much a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// All of the last so long.
    For(Length),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::For(length) => length.fmt(f),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text)
            .map(Self::Count)
            .or_else(|| text.parse().ok().map(Self::For))
            .ok_or_else(|| "how much to keep is a number, like 24, or a length of time, like 7d, 12w, 12m or 7y".into())
    }
}

/// What to keep. Lengths count back from the newest snapshot of the writer, or from now if that is earlier: neither a
/// wrong clock nor a source that rests ages what is there.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The newest ones.
    pub last: Option<u32>,
    /// The newest of each hour.
    pub hourly: Option<Amount>,
    /// The newest of each day.
    pub daily: Option<Amount>,
    /// The newest of each ISO week.
    pub weekly: Option<Amount>,
    /// The newest of each month.
    pub monthly: Option<Amount>,
    /// The newest of each year.
    pub yearly: Option<Amount>,
    /// All of the last so long.
    pub within: Option<Length>,
    /// All with one of these tags.
    pub tags: Vec<String>,
    /// All of the last so long with such a tag.
    pub tags_for: Vec<(String, Length)>,
}

impl Policy {
    /// True if it names nothing to keep.
    pub fn is_empty(&self) -> bool {
        let counts = self.last.is_some_and(|count| count > 0)
            || self.periods().any(|(_, amount)| !matches!(amount, Amount::Count(0)));
        !counts && self.within.is_none() && !self.has_tags()
    }

    /// True if it asks for tags, which cost a read each.
    pub(crate) fn has_tags(&self) -> bool {
        !self.tags.is_empty() || !self.tags_for.is_empty()
    }

    fn periods(&self) -> impl Iterator<Item = (Period, Amount)> + use<> {
        [
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
        .into_iter()
        .filter_map(|(period, amount)| Some((period, amount?)))
    }
}

/// One snapshot of the source.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub id: ObjectId,
    /// Who took it, in a copy too.
    pub writer: WriterId,
    /// The time that counts.
    pub time: WallTime,
    /// Tags.
    pub tags: Vec<String>,
    /// The owner holds it.
    pub held: bool,
    /// When it expires.
    pub expires: Option<WallTime>,
}

/// What becomes of a snapshot, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Kept, or to forget.
    pub keep: bool,
    /// In words; never empty.
    pub reasons: Vec<String>,
}

/// Judges the snapshots of one source; verdicts come in the order of the candidates.
pub fn apply(candidates: &[Candidate], policy: &Policy, now: WallTime, zone: &TimeZone) -> Vec<Verdict> {
    let mut writers: BTreeMap<WriterId, Vec<usize>> = BTreeMap::new();
    for (at, candidate) in candidates.iter().enumerate() {
        writers.entry(candidate.writer).or_default().push(at);
    }
    let mut reasons = vec![Vec::new(); candidates.len()];
    for mut group in writers.into_values() {
        // newest first; of two at the same time the id decides, so the order of reading never matters
        group.sort_by_key(|at| candidates.get(*at).map(|one| std::cmp::Reverse((one.time, one.id))));
        let group: Vec<(usize, &Candidate)> = group.iter().filter_map(|at| Some((*at, candidates.get(*at)?))).collect();
        keep(&group, policy, now, zone, &mut reasons);
    }
    let verdict = |(candidate, reasons): (&Candidate, Vec<String>)| match candidate.expires {
        _ if !reasons.is_empty() => Verdict { keep: true, reasons },
        Some(at) if at <= now => Verdict { keep: false, reasons: vec![format!("expired on {}", shown(at, zone))] },
        _ => Verdict { keep: false, reasons: vec![NO_RULE.into()] },
    };
    candidates.iter().zip(reasons).map(verdict).collect()
}

/// Gives reasons to those of one writer, newest first, that are kept.
fn keep(group: &[(usize, &Candidate)], policy: &Policy, now: WallTime, zone: &TimeZone, reasons: &mut [Vec<String>]) {
    let Some(newest) = group.first() else { return };
    let mut give = |at: usize, reason: String| {
        if let Some(reasons) = reasons.get_mut(at) {
            reasons.push(reason);
        }
    };
    give(newest.0, NEWEST.into());
    let has_expired = |one: &Candidate| one.expires.is_some_and(|at| at <= now);
    // what has expired takes nobody's place, though it may be the newest
    let fresh = || group.iter().filter(|(_, one)| !has_expired(one));
    let last = policy.last.unwrap_or_default();
    for ((at, _), rank) in fresh().zip(1..=last) {
        give(*at, format!("last {rank} of {last}"));
    }
    let anchor = zoned(newest.1.time.min(now), zone);
    for (period, amount) in policy.periods() {
        let mut seen = BTreeSet::new();
        let since = if let Amount::For(length) = amount { first_of(length, &anchor) } else { WallTime::MIN };
        let most = if let Amount::Count(count) = amount { count as usize } else { usize::MAX };
        for (at, one) in fresh() {
            if one.time < since || seen.len() == most {
                break;
            }
            if seen.insert(period.bucket(&zoned(one.time, zone))) {
                let reason = match amount {
                    Amount::Count(count) => format!("{} {} of {count}", period.word(), seen.len()),
                    Amount::For(length) => format!("{} for {length}", period.word()),
                };
                give(*at, reason);
            }
        }
    }
    let since = policy.within.map(|length| (length, first_of(length, &anchor)));
    for (at, one) in fresh() {
        if let Some((length, _)) = since.filter(|(_, since)| one.time >= *since) {
            give(*at, format!("within {length}"));
        }
        if let Some(tag) = policy.tags.iter().find(|tag| one.tags.contains(tag)) {
            give(*at, format!("tag {tag}"));
        }
        let is_tagged =
            |(tag, length): &&(String, Length)| one.tags.contains(tag) && one.time >= first_of(*length, &anchor);
        if let Some((tag, length)) = policy.tags_for.iter().find(is_tagged) {
            give(*at, format!("tag {tag} for {length}"));
        }
    }
    group.iter().filter(|(_, one)| one.held).for_each(|(at, _)| give(*at, "held".into()));
}

/// The first moment that a length ending at `anchor` covers; the beginning of time if the calendar ends before.
fn first_of(length: Length, anchor: &Zoned) -> WallTime {
    length.before(anchor).and_then(|first| WallTime::of(first.timestamp())).unwrap_or(WallTime::MIN)
}

fn zoned(time: WallTime, zone: &TimeZone) -> Zoned {
    Timestamp::from(time).to_zoned(zone.clone())
}

fn shown(time: WallTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[derive(Clone, Copy)]
enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// Equal for two times in the same period. The offset tells apart the two hours of a night when clocks go back.
    fn bucket(self, time: &Zoned) -> (i16, i16, i8, i32) {
        match self {
            Self::Hour => (time.year(), time.day_of_year(), time.hour(), time.offset().seconds()),
            Self::Day => (time.year(), time.day_of_year(), 0, 0),
            Self::Week => (time.date().iso_week_date().year(), time.date().iso_week_date().week().into(), 0, 0),
            Self::Month => (time.year(), time.month().into(), 0, 0),
            Self::Year => (time.year(), 0, 0, 0),
        }
    }
}
