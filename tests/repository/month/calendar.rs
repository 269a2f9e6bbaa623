//! Days, slots and periods as a person reads them off a calendar of the zone.

use super::script::{DAY, MINUTE};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::ObjectId;

fn local(zone: &TimeZone, moment: i64) -> Zoned {
    Timestamp::from_second(moment).unwrap().to_zoned(zone.clone())
}

fn moment(zone: &TimeZone, date: Date, (hour, minute): (i8, i8)) -> i64 {
    date.at(hour, minute, 0, 0).to_zoned(zone.clone()).unwrap().timestamp().as_second()
}

/// When the slot began that is now. One of less than a day is counted in time that passes since midnight; days begin at
/// midnight or at their time, weeks on Mondays. Without a time of the day all begins a little early.
pub fn begin_of_slot(zone: &TimeZone, every: i64, at: Option<(i8, i8)>, now: i64) -> i64 {
    if let Some(at) = at {
        let today = local(zone, now).date();
        let begin = moment(zone, today, at);
        return if begin <= now { begin } else { moment(zone, today.yesterday().unwrap(), at) };
    }
    let slack = (every / 10).min(10 * MINUTE);
    let mut day = local(zone, now + slack).date();
    if every < DAY {
        let midnight = moment(zone, day, (0, 0));
        return midnight + (now + slack - midnight) / every * every - slack;
    }
    while every == 7 * DAY && day.weekday() != Weekday::Monday {
        day = day.yesterday().unwrap();
    }
    moment(zone, day, (0, 0)) - slack
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Shot {
    pub time: i64,
    pub is_held: bool,
    /// What it holds, where that decides whether the next one is made.
    pub state: i64,
}

/// What a plan keeps of a source.
#[derive(Clone, Copy, Default)]
pub struct Keep {
    pub last: usize,
    /// All of so many days.
    pub within_days: Option<i64>,
    /// Of each hour of so many days.
    pub hours_of_days: Option<i64>,
    /// Of each day of so many days.
    pub days: Option<i64>,
    /// Of each week of so many weeks.
    pub weeks: Option<i64>,
    /// Of each of so many weeks that have any.
    pub weekly: usize,
}

impl Keep {
    pub fn kept(&self, zone: &TimeZone, shots: &BTreeMap<ObjectId, Shot>, now: i64) -> BTreeSet<ObjectId> {
        let mut all: Vec<(i64, ObjectId)> = shots.iter().map(|(id, shot)| (shot.time, *id)).collect();
        all.sort_unstable();
        all.reverse();
        let Some(newest) = all.first() else { return BTreeSet::new() };
        let anchor = local(zone, newest.0.min(now));
        let week = |time: i64| {
            let date = local(zone, time).date();
            (0..7).map(|back| date - back.days()).find(|date| date.weekday() == Weekday::Monday).unwrap()
        };
        let day = |time: i64| local(zone, time).date();
        // clocks that go back show an hour twice, with another offset
        let hour = |time: i64| (day(time), local(zone, time).hour(), local(zone, time).offset());
        let since = |span: jiff::Span| (&anchor - span).timestamp().as_second();
        let mut kept: BTreeSet<ObjectId> = all.iter().take(self.last.max(1)).map(|(_, id)| *id).collect();
        kept.extend(shots.iter().filter(|(_, shot)| shot.is_held).map(|(id, _)| *id));
        let from = |first: i64| all.iter().filter(move |(time, _)| *time >= first);
        if let Some(days) = self.within_days {
            kept.extend(from(since(days.days())).map(|(_, id)| *id));
        }
        if let Some(days) = self.hours_of_days {
            kept.extend(newest_of_each(from(since(days.days())), hour));
        }
        if let Some(days) = self.days {
            kept.extend(newest_of_each(from(since(days.days())), day));
        }
        if let Some(weeks) = self.weeks {
            kept.extend(newest_of_each(from(since(weeks.weeks())), week));
        }
        kept.extend(newest_of_each(all.iter(), week).into_iter().take(self.weekly));
        kept
    }
}

/// Newest first.
fn newest_of_each<'s, P: PartialEq>(
    all: impl Iterator<Item = &'s (i64, ObjectId)>,
    period: impl Fn(i64) -> P,
) -> Vec<ObjectId> {
    let mut last = None;
    let mut found = Vec::new();
    for (time, id) in all {
        let period = period(*time);
        if last.as_ref() != Some(&period) {
            found.push(*id);
        }
        last = Some(period);
    }
    found
}
