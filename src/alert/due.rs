//! Which alerts are news to whom: a pure function of what is so now, what was told before, and the time. A trouble is told
//! when it begins, again after a while as long as it lasts, and once when it is over; each channel by what reached it
//! itself. What is not judged now is neither told nor over. Invariant: an outage of everything is a few messages, not one
//! for each objective.

use super::text::{matter, title};
use super::{Alert, Event, Told};
use crate::time::WallTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Troubles of more sources than this, or good news of more, are told as one.
const SINGLE_MAX: usize = 3;
/// So many names stand in the line of one that stands for many.
const NAMED_MAX: usize = 5;
/// What could not be told for so long is told no more.
const OWED: Duration = Duration::from_hours(7 * 24);
/// A timer comes early at times: the same trouble may be told this much sooner than it must be.
const SLACK_MAX: Duration = Duration::from_mins(10);

/// Who is told what, and how often.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is told at all.
    pub on: Vec<Event>,
    /// What lasts is told again after this.
    pub repeat: Duration,
    /// Names of the channels.
    pub channels: Vec<String>,
}

/// What one channel is to be told now.
#[derive(Clone, PartialEq, Debug)]
pub struct Due {
    /// Its name.
    pub channel: String,
    /// What, in order.
    pub alerts: Vec<Alert>,
}

/// What an alert is about: what is told later replaces what was told of the same. News are no state, and hide none.
fn subject(alert: &Alert) -> [&str; 3] {
    let news = if alert.event.is_news() { alert.event.name() } else { "" };
    [&alert.source, &alert.objective, news]
}

/// Judges what is so now by what this plan has told before; channels that need nothing are left out.
pub fn due(now: WallTime, said: &[Alert], told: &[Told], rules: &Rules) -> Vec<Due> {
    let for_each = rules.channels.iter().map(|channel| {
        let alerts = for_channel(now, said, told, &Channel { name: channel, rules });
        Due { channel: channel.clone(), alerts }
    });
    for_each.filter(|due| !due.alerts.is_empty()).collect()
}

struct Channel<'a> {
    name: &'a String,
    rules: &'a Rules,
}

fn for_channel(now: WallTime, said: &[Alert], told: &[Told], channel: &Channel<'_>) -> Vec<Alert> {
    let mut last: BTreeMap<[&str; 3], &Told> = BTreeMap::new();
    let is_for = |told: &&Told| told.reached.contains(channel.name) || told.missed.contains(channel.name);
    // what a clock that was ahead has noted must not hide for a day what was told since
    let age = |told: &Told| (told.at <= now, told.at);
    for one in told.iter().filter(is_for) {
        let known = last.entry(subject(&one.alert)).or_insert(one);
        if age(known) <= age(one) {
            *known = one;
        }
    }
    let mut alerts = Vec::new();
    for alert in said {
        let before = last.remove(&subject(alert));
        if !channel.rules.on.contains(&alert.event) && alert.event != Event::Test {
            continue;
        }
        match before {
            Some(before) if alert.event == Event::Recovered => {
                if before.alert.event != Event::Recovered {
                    alerts.push(recovered(alert, before));
                } else if channel.is_owed(now, before) {
                    alerts.push(before.alert.clone());
                }
            }
            None if alert.event == Event::Recovered => {}
            Some(before) if alert.event.is_trouble() && !channel.is_due(now, alert, before) => {}
            _ => alerts.push(alert.clone()),
        }
    }
    // what is not judged now, and did not arrive
    alerts.extend(last.into_values().filter(|told| channel.is_owed(now, told)).map(|told| told.alert.clone()));
    alerts
}

impl Channel<'_> {
    /// Whether it should still arrive. Nobody waits for a test.
    fn is_owed(&self, now: WallTime, told: &Told) -> bool {
        self.rules.on.contains(&told.alert.event) && !told.reached.contains(self.name) && now.since(told.at) < OWED
    }

    /// Whether a trouble is to be told after what was told of the same subject last.
    fn is_due(&self, now: WallTime, alert: &Alert, before: &Told) -> bool {
        let is_new = before.alert.event != alert.event || !before.reached.contains(self.name);
        // it was over for a while, and nobody looked
        let is_later =
            alert.since.is_some_and(|since| since > before.at && before.alert.since.is_none_or(|old| since > old));
        let slack = (self.rules.repeat / 10).min(SLACK_MAX);
        is_new || is_later || now.since(before.at).saturating_add(slack) >= self.rules.repeat
    }
}

/// The end of a trouble, which says what it was: maybe nobody could be told then.
fn recovered(alert: &Alert, before: &Told) -> Alert {
    let was = format!("{} (was: {})", alert.message, before.alert.message);
    Alert { message: was, since: before.alert.since, next: String::new(), ..alert.clone() }
}

/// One message, and what it tells.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Bundle {
    pub message: Alert,
    pub about: Vec<Alert>,
}

/// Alerts as messages: one for all that is the matter with a source, or that is over, since it has one cause more often
/// than two; and one for many sources at once.
pub(super) fn bundles(alerts: &[Alert]) -> Vec<Bundle> {
    let (troubles, others): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| alert.event.is_trouble());
    let mut bundles = Vec::new();
    for alike in [troubles, others] {
        let by_source = by_source(&alike);
        if by_source.len() <= SINGLE_MAX {
            bundles.extend(by_source.into_iter().filter_map(bundle));
        } else {
            bundles.extend(bundle(alike.into_iter().cloned().collect()));
        }
    }
    bundles
}

/// In the order of their first; what concerns no source stands alone.
fn by_source(alerts: &[&Alert]) -> Vec<Vec<Alert>> {
    let mut groups: Vec<Vec<Alert>> = Vec::new();
    for alert in alerts {
        let is_of = |group: &&mut Vec<Alert>| group.iter().all(|one| one.source == alert.source);
        match groups.iter_mut().find(is_of) {
            Some(group) if !alert.source.is_empty() => group.push((*alert).clone()),
            _ => groups.push(vec![(*alert).clone()]),
        }
    }
    groups
}

fn bundle(about: Vec<Alert>) -> Option<Bundle> {
    let message = if let [alone] = about.as_slice() { alone.clone() } else { many(&about)? };
    Some(Bundle { message, about })
}

/// One that stands for many: of one source the worst of it, and what else there is.
fn many(alerts: &[Alert]) -> Option<Alert> {
    let worst = alerts.iter().min_by_key(|alert| alert.event)?;
    let others = || alerts.iter().filter(|one| !std::ptr::eq(*one, worst));
    let since = alerts.iter().filter_map(|alert| alert.since).min();
    if others().all(|one| one.source == worst.source) {
        let also: Vec<String> = others().map(matter).collect();
        let message = format!("{}; also: {}", worst.message, also.join(", "));
        return Some(Alert { since, message, alerts: alerts.to_vec(), ..worst.clone() });
    }
    let mut names: Vec<String> = alerts.iter().take(NAMED_MAX).map(title).collect();
    if alerts.len() > NAMED_MAX {
        names.push(format!("and {} more", alerts.len().saturating_sub(NAMED_MAX)));
    }
    let next = if worst.event.is_trouble() { "vault health" } else { "" };
    Some(Alert {
        since,
        message: format!("{} at once: {}", alerts.len(), names.join(", ")),
        next: next.to_owned(),
        alerts: alerts.to_vec(),
        ..Alert::new(worst.event, &worst.plan, &worst.host)
    })
}

#[cfg(test)]
mod tests {
    use super::{Due, Rules, bundles, due};
    use crate::alert::{Alert, Event, Told};
    use crate::time::WallTime;
    use std::time::Duration;

    const BEGIN: WallTime = WallTime::new(1_790_000_000_000_000_000);

    /// A world that remembers what it told.
    struct World {
        now: WallTime,
        rules: Rules,
        told: Vec<Told>,
        /// Channels that take nothing.
        dead: Vec<String>,
    }

    impl World {
        fn new(channels: &[&str]) -> Self {
            let on = vec![Event::Failed, Event::Missed, Event::Suspect, Event::Recovered];
            let channels = channels.iter().map(ToString::to_string).collect();
            let rules = Rules { on, repeat: Duration::from_hours(24), channels };
            Self { now: BEGIN, rules, told: Vec::new(), dead: Vec::new() }
        }

        /// Tells what is due after so many minutes; gives it as `CHANNEL EVENT SOURCE` each.
        fn tell(&mut self, minutes: u64, said: &[Alert]) -> Vec<String> {
            self.now = self.now + Duration::from_mins(minutes);
            let mut lines = Vec::new();
            for Due { channel, alerts } in due(self.now, said, &self.told, &self.rules) {
                let is_dead = self.dead.contains(&channel);
                for alert in alerts {
                    lines.push(format!("{channel} {} {}", alert.event.name(), alert.source));
                    let (reached, missed) =
                        if is_dead { (vec![], vec![channel.clone()]) } else { (vec![channel.clone()], vec![]) };
                    self.told.push(Told { at: self.now, alert, reached, missed });
                }
            }
            lines
        }
    }

    fn alert(event: Event, source: &str, since: Option<u64>) -> Alert {
        Alert {
            source: source.into(),
            objective: "rpo".into(),
            since: since.map(|minutes| BEGIN + Duration::from_mins(minutes)),
            message: format!("{source} is {}", event.name()),
            ..Alert::new(event, "shop", "web-1")
        }
    }

    #[test]
    fn a_trouble_is_told_once_a_day_and_its_end_once() {
        let mut world = World::new(&["mail"]);
        let (missed, met) = ([alert(Event::Missed, "a", Some(0))], [alert(Event::Recovered, "a", None)]);
        assert!(world.tell(1, &met).is_empty(), "nobody was told of a trouble");
        assert_eq!(world.tell(1, &missed), ["mail missed a"]);
        let day = (0..24 * 12).map(|_| world.tell(5, &missed).len());
        assert_eq!(day.sum::<usize>(), 1, "again after a day");
        assert!(world.tell(5, &[]).is_empty(), "what is not judged is not over");
        assert_eq!(world.tell(5, &met), ["mail recovered a"]);
        let end = world.told.last().unwrap();
        assert_eq!(end.alert.message, "a is recovered (was: a is missed)");
        assert_eq!(end.alert.since, Some(BEGIN));
        assert!(world.tell(5, &met).is_empty());
        assert_eq!(world.tell(5, &[alert(Event::Missed, "a", Some(2000))]), ["mail missed a"]);
    }

    #[test]
    fn a_daily_timer_that_comes_early_repeats_each_day() {
        let mut world = World::new(&["mail"]);
        let missed = [alert(Event::Missed, "a", Some(0))];
        assert_eq!((0..5).map(|_| world.tell(24 * 60 - 3, &missed).len()).sum::<usize>(), 5);
    }

    #[test]
    fn a_trouble_that_ended_unseen_is_told_anew() {
        let mut world = World::new(&["mail"]);
        assert_eq!(world.tell(10, &[alert(Event::Failed, "a", Some(0))]).len(), 1);
        assert_eq!(world.tell(60, &[alert(Event::Failed, "a", Some(65))]).len(), 1);
        assert_eq!(world.tell(60, &[alert(Event::Failed, "a", Some(65))]).len(), 0);
        // of a machine whose clock is behind: what it told was told before it began
        let ahead = [alert(Event::Failed, "b", Some(5000))];
        assert_eq!(world.tell(1, &ahead).len() + world.tell(1, &ahead).len(), 1);
    }

    #[test]
    fn a_clock_that_was_ahead_makes_nobody_hear_the_same_again_and_again() {
        let mut world = World::new(&["mail"]);
        let (missed, met) = ([alert(Event::Missed, "a", Some(0))], [alert(Event::Recovered, "a", None)]);
        assert_eq!(world.tell(24 * 60, &missed).len() + world.tell(5, &met).len(), 2);
        world.now = BEGIN;
        assert_eq!(world.tell(5, &missed), ["mail missed a"]);
        assert!(world.tell(5, &missed).is_empty());
        assert_eq!(world.tell(5, &met), ["mail recovered a"]);
        assert!(world.tell(5, &met).is_empty());
    }

    #[test]
    fn another_event_of_the_same_objective_is_a_change() {
        let mut world = World::new(&["mail"]);
        assert_eq!(world.tell(1, &[alert(Event::Suspect, "a", None)]), ["mail suspect a"]);
        assert_eq!(world.tell(1, &[alert(Event::Missed, "a", None)]), ["mail missed a"]);
    }

    #[test]
    fn each_channel_is_told_what_it_does_not_know() {
        let mut world = World::new(&["mail", "hook"]);
        world.dead = vec!["hook".into()];
        let missed = [alert(Event::Missed, "a", Some(0))];
        assert_eq!(world.tell(1, &missed), ["mail missed a", "hook missed a"]);
        assert_eq!(world.tell(1, &missed), ["hook missed a"], "owed");
        world.dead.clear();
        assert_eq!(world.tell(1, &missed), ["hook missed a"]);
        assert!(world.tell(1, &missed).is_empty());
        world.rules.channels.push("new".into());
        assert_eq!(world.tell(1, &missed), ["new missed a"]);
    }

    #[test]
    fn what_did_not_arrive_arrives_with_the_next_run() {
        let mut world = World::new(&["hook"]);
        world.rules.on.push(Event::Drill);
        world.dead = vec!["hook".into()];
        assert_eq!(world.tell(1, &[alert(Event::Drill, "a", None), alert(Event::Failed, "b", Some(0))]).len(), 2);
        world.dead.clear();
        // the next run judges b alone, and finds it well: its end tells what it was
        let met = [alert(Event::Recovered, "b", None)];
        assert_eq!(world.tell(1, &met), ["hook recovered b", "hook drill a"]);
        assert!(world.told.iter().any(|told| told.alert.message.ends_with("(was: b is failed)")));
        assert!(world.tell(1, &met).is_empty());
        // an end that did not arrive
        assert_eq!(world.tell(1, &[alert(Event::Failed, "c", Some(4))]).len(), 1);
        world.dead = vec!["hook".into()];
        assert_eq!(world.tell(1, &[alert(Event::Recovered, "c", None)]), ["hook recovered c"]);
        world.dead.clear();
        assert_eq!(world.tell(1, &[alert(Event::Recovered, "c", None)]), ["hook recovered c"]);
        // after a week nobody wants it any more
        world.dead = vec!["hook".into()];
        assert_eq!(world.tell(1, &[alert(Event::Drill, "d", None)]).len(), 1);
        world.dead.clear();
        assert!(world.tell(7 * 24 * 60, &[]).is_empty());
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_owed() {
        let mut world = World::new(&["hook"]);
        world.dead = vec!["hook".into()];
        assert_eq!(world.tell(1, &[alert(Event::Test, "", None), alert(Event::Missed, "a", None)]).len(), 2);
        world.dead.clear();
        world.rules.on = vec![Event::Failed];
        assert!(world.tell(1, &[]).is_empty());
    }

    #[test]
    fn only_what_is_asked_for_is_told() {
        let mut world = World::new(&["mail"]);
        world.rules.on = vec![Event::Failed];
        let all = [Event::Missed, Event::Suspect, Event::Done, Event::Drill].map(|event| alert(event, "a", None));
        assert!(world.tell(1, &all).is_empty());
        assert_eq!(world.tell(1, &[alert(Event::Failed, "a", None)]).len(), 1);
        assert!(world.tell(1, &[alert(Event::Recovered, "a", None)]).is_empty());
        assert_eq!(world.tell(1, &[alert(Event::Test, "", None)]).len(), 1, "a test is always told");
        world.rules.on.push(Event::Done);
        let done = [alert(Event::Done, "a", None)];
        assert_eq!(world.tell(1, &done).len() + world.tell(1, &done).len(), 2, "news are told each time");
    }

    #[test]
    fn an_outage_of_everything_is_one_message() {
        let troubles: Vec<Alert> = (0..50).map(|n| alert(Event::Missed, &format!("s{n}"), Some(n))).collect();
        let found = bundles(&troubles);
        assert_eq!((found.len(), found[0].about.len(), found[0].message.alerts.len()), (1, 50, 50));
        assert_eq!(found[0].message.since, Some(BEGIN));
        let line =
            "50 at once: s0: RPO missed, s1: RPO missed, s2: RPO missed, s3: RPO missed, s4: RPO missed, and 45 more";
        assert_eq!(found[0].message.message, line);
        assert_eq!(bundles(&troubles[..3]).len(), 3);
        let mut mixed = troubles[..4].to_vec();
        mixed.push(alert(Event::Failed, "x", None));
        mixed.push(alert(Event::Recovered, "y", None));
        let found = bundles(&mixed);
        assert_eq!((found.len(), found[0].message.event, found[1].message.event), (2, Event::Failed, Event::Recovered));
    }

    #[test]
    fn what_is_the_matter_with_one_source_is_one_message() {
        let of = |event, source: &str, objective: &str, next: &str| Alert {
            objective: objective.into(),
            next: next.into(),
            ..alert(event, source, Some(5))
        };
        let down = [
            of(Event::Missed, "db", "rpo", "vault run db"),
            of(Event::Missed, "", "storage", "vault prune"),
            of(Event::Failed, "db", "runs", "vault run db"),
            of(Event::Missed, "", "check", "vault check --read-data"),
        ];
        let found = bundles(&down);
        let about: Vec<usize> = found.iter().map(|one| one.about.len()).collect();
        assert_eq!(about, [2, 1, 1], "what concerns no source has nothing in common");
        let message = &found[0].message;
        assert_eq!((message.event, message.source.as_str()), (Event::Failed, "db"));
        assert_eq!((message.next.as_str(), message.alerts.len()), ("vault run db", 2));
        assert_eq!(message.message, "db is failed; also: RPO missed");
        let over = ["rpo", "runs"].map(|objective| of(Event::Recovered, "db", objective, ""));
        assert_eq!(bundles(&over).len(), 1, "its end is one, too");
    }
}
