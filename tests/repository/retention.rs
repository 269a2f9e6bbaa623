//! What a policy keeps, against an oracle of another style (labels of local time as text, every pair compared), over
//! nights when clocks change, days that never were and leap days; and as a game against a writer who forges times.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::Duration;
use vault::retention::{Amount, Candidate, Counted, Length, Policy, apply};
use vault::time::{StoreTime, WallTime};
use vault_format::id::{ObjectId, WriterId};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// Moments at which calendars do odd things, with the zone where they do them.
const ODD: &[(&str, &str)] = &[
    ("Europe/Berlin", "2025-03-30T01:00:00Z"),
    ("Europe/Berlin", "2025-10-26T01:00:00Z"),
    ("America/New_York", "2024-03-10T07:00:00Z"),
    ("America/New_York", "2024-11-03T06:00:00Z"),
    ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
    ("Australia/Lord_Howe", "2025-10-04T15:30:00Z"),
    // 30 December 2011 never was
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    // clocks went back over midnight, into the day before
    ("America/St_Johns", "2005-10-30T02:31:00Z"),
    ("UTC", "2024-02-29T12:00:00Z"),
    // an ISO year of 53 weeks
    ("UTC", "2021-01-03T23:59:59Z"),
    ("Asia/Kathmandu", "2100-02-28T18:15:00Z"),
];

/// From the data that is built in: a machine without /usr/share/zoneinfo has it too.
fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn nanoseconds(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_nanosecond().try_into().unwrap()
}

fn zoned(time: WallTime, zone: &TimeZone) -> Zoned {
    Timestamp::from(time).to_zoned(zone.clone())
}

fn counted(claimed: i64, arrived: i64) -> Counted {
    Counted::of_writer(WallTime::new(claimed), Some(StoreTime::new(arrived)))
}

struct Dice(ChaCha20Rng);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0.next_u64() % sides
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// So many steps of a random size to either side; few distinct values, so that ties happen.
    fn offset(&mut self) -> i64 {
        let step = self.pick(&[600 * SECOND, HOUR / 2, HOUR, 7 * HOUR, DAY, 10 * DAY, 100 * DAY]);
        (self.below(12) as i64 - 8) * step
    }

    fn amount(&mut self) -> Option<Amount> {
        if self.chance(2) {
            return None;
        }
        let text = match self.below(2) {
            0 => (1 + self.below(6)).to_string(),
            _ => self.length(),
        };
        Some(text.parse().unwrap())
    }

    fn length(&mut self) -> String {
        format!("{}{}", 1 + self.below(13), self.pick(&['h', 'd', 'w', 'm', 'y']))
    }

    fn policy(&mut self) -> Policy {
        Policy {
            last: self.chance(3).then(|| 1 + self.below(5) as u32),
            hourly: self.amount(),
            daily: self.amount(),
            weekly: self.amount(),
            monthly: self.amount(),
            yearly: self.amount(),
            within: self.chance(4).then(|| self.length().parse().unwrap()),
            tags: if self.chance(4) { vec!["gold".into()] } else { Vec::new() },
            tags_for: if self.chance(4) { vec![("gold".into(), self.length().parse().unwrap())] } else { Vec::new() },
        }
    }

    fn id(&mut self) -> ObjectId {
        let mut id = [0; 32];
        self.0.fill_bytes(&mut id);
        ObjectId(id)
    }

    fn candidate(&mut self, writer: u8, around: i64) -> Candidate {
        Candidate {
            id: self.id(),
            writer: WriterId([writer; 16]),
            time: WallTime::new(around + self.offset()),
            tags: if self.chance(8) { vec!["gold".into(), "other".into()] } else { Vec::new() },
            held: self.chance(12),
            expires: self.chance(6).then(|| WallTime::new(around + self.offset())),
        }
    }
}

/// The first moment of a length, by counting days and months on a paper calendar.
fn oracle_since(length: &str, anchor: &Zoned) -> WallTime {
    let (number, unit) = length.split_at(length.len() - 1);
    let number: i64 = number.parse().unwrap();
    let mut date: Date = anchor.date();
    match unit {
        "h" => return WallTime::of(anchor.timestamp()).unwrap() - Duration::from_hours(number.unsigned_abs()),
        "d" => (0..number).for_each(|_| date = date.yesterday().unwrap()),
        "w" => (0..number * 7).for_each(|_| date = date.yesterday().unwrap()),
        _ => {
            let back = if unit == "m" { number } else { number * 12 };
            let months = i64::from(date.year()) * 12 + i64::from(date.month()) - 1 - back;
            let first = Date::new((months / 12) as i16, (months % 12 + 1) as i8, 1).unwrap();
            date = Date::new(first.year(), first.month(), date.day().min(first.last_of_month().day())).unwrap();
        }
    }
    let moment = anchor.time_zone().to_ambiguous_timestamp(date.to_datetime(anchor.time())).compatible().unwrap();
    WallTime::of(moment).unwrap()
}

fn oracle(all: &[Candidate], policy: &Policy, now: i64, zone: &TimeZone) -> BTreeSet<ObjectId> {
    let now = WallTime::new(now);
    let is_newer = |left: &Candidate, right: &Candidate| (left.time, left.id) > (right.time, right.id);
    let is_newest = |one: &Candidate| !all.iter().any(|other| other.writer == one.writer && is_newer(other, one));
    let counts = |one: &Candidate| one.expires.is_none_or(|at| at > now);
    let rules = [
        ("%F %H %z", policy.hourly),
        ("%F", policy.daily),
        ("%G-W%V", policy.weekly),
        ("%Y-%m", policy.monthly),
        ("%Y", policy.yearly),
    ];
    let label = |one: &Candidate, format: &str| zoned(one.time, zone).strftime(format).to_string();
    let kept = |one: &&Candidate| {
        if one.held || is_newest(one) {
            return true;
        }
        let peers: Vec<&Candidate> = all.iter().filter(|peer| peer.writer == one.writer && counts(peer)).collect();
        let newer: Vec<&&Candidate> = peers.iter().filter(|peer| is_newer(peer, one)).collect();
        let newest = all.iter().find(|peer| peer.writer == one.writer && is_newest(peer)).unwrap();
        let anchor = zoned(newest.time.min(now), zone);
        let reaches = |length: Length| one.time >= oracle_since(&length.to_string(), &anchor);
        let by_period = rules.iter().any(|(format, amount)| {
            let own = label(one, format);
            let others: BTreeSet<String> = newer.iter().map(|peer| label(peer, format)).collect();
            amount.is_some_and(|amount| {
                let enough = match amount {
                    Amount::Count(count) => others.len() < count as usize,
                    Amount::For(length) => reaches(length),
                };
                enough && !others.contains(&own)
            })
        });
        let tagged = policy.tags.iter().any(|tag| one.tags.contains(tag))
            || policy.tags_for.iter().any(|(tag, length)| one.tags.contains(tag) && reaches(*length));
        let recent = newer.len() < policy.last.unwrap_or(0) as usize || policy.within.is_some_and(reaches);
        counts(one) && (by_period || tagged || recent)
    };
    all.iter().filter(kept).map(|one| one.id).collect()
}

fn kept(all: &[Candidate], policy: &Policy, now: i64, zone: &TimeZone) -> BTreeSet<ObjectId> {
    let verdicts = apply(all, policy, WallTime::new(now), zone);
    assert_eq!(verdicts.len(), all.len());
    assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
    all.iter().zip(verdicts).filter(|(_, verdict)| verdict.keep).map(|(one, _)| one.id).collect()
}

#[test]
fn ten_thousand_histories_agree_with_the_oracle() {
    for seed in 0..10_000 {
        let dice = &mut Dice(ChaCha20Rng::seed_from_u64(seed));
        let (name, moment) = dice.pick(ODD);
        let (zone, around) = (zone(name), nanoseconds(moment));
        let writers = 1 + dice.below(3);
        let count = 1 + dice.below(20);
        let mut all: Vec<Candidate> = (0..count)
            .map(|_| {
                let writer = dice.below(writers) as u8;
                dice.candidate(writer, around)
            })
            .collect();
        let (policy, now) = (dice.policy(), around + dice.offset());
        let expected = oracle(&all, &policy, now, &zone);
        let context = format!("seed {seed}, {name} {moment}, {policy:?}");
        assert_eq!(kept(&all, &policy, now, &zone), expected, "{context}");
        for writer in all.iter().map(|one| one.writer).collect::<BTreeSet<_>>() {
            let newest = all.iter().filter(|one| one.writer == writer).max_by_key(|one| (one.time, one.id)).unwrap();
            assert!(expected.contains(&newest.id), "{context}: the newest of a writer goes");
        }
        // neither the order of reading matters, nor can something that is not seen cost what is
        all.reverse();
        assert_eq!(kept(&all, &policy, now, &zone), expected, "{context}, reversed");
        all.retain(|_| !dice.chance(4));
        let seen: BTreeSet<ObjectId> = all.iter().map(|one| one.id).collect();
        let still = kept(&all, &policy, now, &zone);
        assert!(expected.intersection(&seen).all(|id| still.contains(id)), "{context}, short");
    }
}

/// An honest history, and somebody with another key who claims what he likes, as often as he likes.
#[test]
fn forged_snapshots_cost_no_other_writer_a_snapshot() {
    for seed in 0..1_000 {
        let dice = &mut Dice(ChaCha20Rng::seed_from_u64(seed));
        let (name, moment) = dice.pick(ODD);
        let (zone, now) = (zone(name), nanoseconds(moment));
        let honest: Vec<Candidate> = (0..1 + dice.below(15))
            .map(|_| {
                let mut one = dice.candidate(1, now);
                one.time = one.time.min(WallTime::new(now));
                one
            })
            .collect();
        let mut all = honest.clone();
        for _ in 0..dice.below(40) {
            let mut forged = dice.candidate(2, now);
            let claimed = forged.time.nanoseconds() + 10 * dice.offset();
            forged.time = counted(claimed, now - dice.below(5) as i64 * DAY).time;
            all.insert(dice.below(all.len() as u64 + 1) as usize, forged);
        }
        let policy = dice.policy();
        let alone = kept(&honest, &policy, now, &zone);
        let together = kept(&all, &policy, now, &zone);
        assert!(alone.is_subset(&together), "seed {seed}: {policy:?}");
    }
}

/// Who steals a writer's key can fill its counts, but with lengths of time he reaches no further back than the rules of
/// arrival let him: what lies before stays.
#[test]
fn a_stolen_key_does_not_reach_far_back() {
    let policy =
        Policy { daily: Some("30d".parse().unwrap()), hourly: Some("7d".parse().unwrap()), ..Policy::default() };
    for seed in 0..200 {
        let dice = &mut Dice(ChaCha20Rng::seed_from_u64(seed));
        let (name, moment) = dice.pick(ODD);
        let (zone, now) = (zone(name), nanoseconds(moment));
        let honest: Vec<Candidate> = (0..24 * 20)
            .map(|hour| WallTime::new(now - hour * HOUR))
            .map(|time| Candidate { time, expires: None, held: false, ..dice.candidate(1, now) })
            .collect();
        let mut all = honest.clone();
        for _ in 0..200 {
            let claimed = now - dice.below(40) as i64 * DAY + dice.offset();
            let time = counted(claimed, now - dice.below(60) as i64 * 60 * SECOND).time;
            all.push(Candidate { time, expires: None, held: false, ..dice.candidate(1, now) });
        }
        let together = kept(&all, &policy, now, &zone);
        // the day that the earliest of his claims falls into may be 25 hours long
        let reach = WallTime::new(now - (1 + 26 + 25) * HOUR);
        let before: BTreeSet<ObjectId> = kept(&honest, &policy, now, &zone);
        let lost: Vec<_> = honest
            .iter()
            .filter(|one| one.time < reach && before.contains(&one.id) && !together.contains(&one.id))
            .collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:#?}");
    }
}

#[test]
fn claimed_times_count_only_near_the_arrival() {
    let at = nanoseconds("2026-11-20T14:00:00Z");
    for fine in [at, at - 26 * HOUR, at + 600 * SECOND] {
        assert_eq!(counted(fine, at), Counted { time: WallTime::new(fine), late: false });
    }
    for forged in [at - 26 * HOUR - 1, at + 600 * SECOND + 1, i64::MIN, i64::MAX] {
        assert_eq!(counted(forged, at), Counted { time: WallTime::new(at), late: true });
        let time = WallTime::new(forged);
        assert_eq!(Counted::of_owner(time), Counted { time, late: false });
    }
}

#[test]
fn the_words_of_a_policy_are_understood() {
    let length = |text: &str| text.parse::<Length>().map(|length| length.to_string());
    for text in ["1h", "7d", "12w", "12m", "7y"] {
        assert_eq!(length(text).as_deref(), Ok(text));
    }
    assert_eq!("24".parse::<Amount>(), Ok(Amount::Count(24)));
    for text in ["", "0", "0d", "-1", "+1", "1.5d", "d", "7 d", "7days", "7D", "99999999999", "é"] {
        assert!(text.parse::<Amount>().is_err(), "{text}");
    }
    assert!(Policy::default().is_empty());
    assert!(!Policy { tags: vec!["a".into()], ..Policy::default() }.is_empty());
    // more than the calendar holds: nothing is too old
    let policy = Policy { within: Some("4000000000y".parse().unwrap()), ..Policy::default() };
    let dice = &mut Dice(ChaCha20Rng::seed_from_u64(1));
    let all = [WallTime::default(), WallTime::MIN, WallTime::MAX].map(|time| Candidate {
        time,
        expires: None,
        ..dice.candidate(1, 0)
    });
    assert_eq!(kept(&all, &policy, 0, &TimeZone::UTC).len(), 3);
}

/// By hand, the reasons in words too.
#[test]
fn each_reason_is_said() {
    let zone = zone("Europe/Berlin");
    let now = nanoseconds("2025-10-26T12:00:00Z");
    // the hour from two to three came twice that night
    let times = ["2025-10-26T01:30:00Z", "2025-10-26T00:30:00Z", "2025-10-25T00:30:00Z", "2025-10-24T00:30:00Z"];
    let dice = &mut Dice(ChaCha20Rng::seed_from_u64(7));
    let mut all: Vec<Candidate> = times
        .iter()
        .map(|time| Candidate {
            time: WallTime::new(nanoseconds(time)),
            tags: Vec::new(),
            held: false,
            expires: None,
            ..dice.candidate(1, now)
        })
        .collect();
    let hourly = Policy { hourly: Some(Amount::Count(2)), daily: Some("1d".parse().unwrap()), ..Policy::default() };
    let now = WallTime::new(now);
    all[2].expires = Some(now - Duration::from_hours(1));
    let said: Vec<String> = apply(&all, &hourly, now, &zone).iter().map(|verdict| verdict.reasons.join(", ")).collect();
    assert_eq!(said[0], "newest, hourly 1 of 2, daily for 1d");
    assert_eq!(said[1], "hourly 2 of 2");
    assert_eq!(said[2], "expired on 2025-10-26 12:00:00 +01:00");
    assert_eq!(said[3], "no rule keeps it");
}
