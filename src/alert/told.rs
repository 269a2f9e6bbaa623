//! What somebody was told already, as facts of a journal record and back. The state of all alerts lies there and nowhere
//! else. Invariant: a fact that can't be read counts as never told, since an alert too many does no harm.

use super::{Alert, payload};
use crate::time::WallTime;
use serde::{Deserialize, Serialize};

/// What the names of these facts begin with.
const PREFIX: &str = "alert:";
/// So many alerts of one round are remembered: the longest that there can be fill a record.
const REMEMBERED_MAX: usize = 500;

/// An alert, and whom it reached when.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// When.
    pub at: WallTime,
    /// What.
    pub alert: Alert,
    /// Names of the channels that took it.
    pub reached: Vec<String>,
    /// Names of the channels that it is still owed to.
    pub missed: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Fact {
    alert: Alert,
    reached: Vec<String>,
    missed: Vec<String>,
}

impl Told {
    /// One round as facts of a record of that time.
    pub fn facts(round: &[Self]) -> Vec<(String, String)> {
        let fact = |told: &Self| {
            let alert = serde_json::from_value(payload::generic(&told.alert)).ok()?;
            let fact = Fact { alert, reached: told.reached.clone(), missed: told.missed.clone() };
            serde_json::to_string(&fact).ok()
        };
        let facts = round.iter().take(REMEMBERED_MAX).enumerate();
        facts.filter_map(|(number, told)| Some((format!("{PREFIX}{number:04}"), fact(told)?))).collect()
    }

    /// What a record of that time tells.
    pub fn read<'a>(at: WallTime, facts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Self> {
        let facts = facts.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
        let facts = facts.filter_map(|(_, fact)| serde_json::from_str::<Fact>(fact).ok());
        facts.map(|Fact { alert, reached, missed }| Self { at, alert, reached, missed }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Told;
    use crate::alert::{Alert, Event};
    use crate::time::WallTime;

    #[test]
    fn what_was_told_comes_back_from_the_journal() {
        let at = WallTime::new(1_790_000_000_000_000_000);
        let alert = Alert {
            source: "app-db".into(),
            objective: "rpo".into(),
            observed: "3 h".into(),
            limit: "1 h".into(),
            since: Some(at),
            message: "old".into(),
            ..Alert::new(Event::Missed, "shop", "web-1")
        };
        let told = |reached: &[&str], missed: &[&str]| Told {
            at,
            alert: alert.clone(),
            reached: reached.iter().map(ToString::to_string).collect(),
            missed: missed.iter().map(ToString::to_string).collect(),
        };
        let round = vec![told(&["mail"], &["HOOK"]), told(&["mail", "HOOK"], &[])];
        let facts = Told::facts(&round);
        assert!(
            facts[0].1.contains("\"observed\":\"3 h\",\"limit\":\"1 h\",\"since\":\"2026-09-21T14:13:20Z\""),
            "{facts:?}"
        );
        let pairs = || facts.iter().map(|(name, fact)| (name.as_str(), fact.as_str()));
        assert_eq!(Told::read(at, pairs()), round);
        let strange = [("alert:0002", "{\"alert\":1}"), ("server_version", "16.4")];
        assert_eq!(Told::read(at, pairs().chain(strange)), round);
    }
}
