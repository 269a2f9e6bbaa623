//! What was known of a snapshot when it was taken, or of a run when it ended, as names with values: the version of a
//! server, the rows of a table. Whoever restores goes by them, and a drill compares with them. The names ascend and none
//! comes twice, so that one set of facts has one form; they are few and short, for whoever reads them comes for other
//! things.

use crate::error::{Result, rule, within};
use bincode::{Decode, Encode};
use std::collections::BTreeMap;

/// Most facts of one snapshot or record.
pub const FACTS_MAX: usize = 65536;
/// Longest name in bytes: that of a table with its schema.
pub const FACT_NAME_BYTES_MAX: usize = 1024;
/// Longest value in bytes.
pub const FACT_BYTES_MAX: usize = 65536;

/// Names with values, ascending by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Facts(Vec<(String, String)>);

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Facts {
    /// Of two with one name the later stays.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(facts: I) -> Self {
        let facts = facts.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(facts.collect::<BTreeMap<String, String>>().into_iter().collect())
    }
}

impl Facts {
    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and others, whose word counts more.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        self.iter().chain(others.iter()).collect()
    }

    /// Refuses what has a second form, or more than facts are for.
    pub fn validate(&self) -> Result<()> {
        within(self.0.len() <= FACTS_MAX, "the number of facts")?;
        rule(self.0.is_sorted_by(|(left, _), (right, _)| left < right), "facts are not in strict order")?;
        for (name, value) in &self.0 {
            within((1..=FACT_NAME_BYTES_MAX).contains(&name.len()), "the name of a fact")?;
            within(value.len() <= FACT_BYTES_MAX, "a fact")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FACT_BYTES_MAX, Facts};

    #[test]
    fn facts_have_one_form_whatever_order_they_came_in() {
        let facts: Facts = [("table:b", "2"), ("server_version", "16.4"), ("table:b", "3")].into_iter().collect();
        let shown: Vec<_> = facts.iter().collect();
        assert_eq!(shown, [("server_version", "16.4"), ("table:b", "3")]);
        assert_eq!((facts.get("table:b"), facts.get("table:a")), (Some("3"), None));
        assert_eq!(facts.validate(), Ok(()));
        let more: Facts = [("a", "1"), ("table:b", "4")].into_iter().collect();
        let both: Vec<_> = facts.with(&more).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(both, ["a=1", "server_version=16.4", "table:b=4"]);
    }

    #[test]
    fn a_second_form_and_what_is_too_much_are_refused() {
        let of = |facts: &[(&str, &str)]| {
            Facts(facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert!(of(&[("a", ""), ("b", "")]).validate().is_ok());
        assert!(of(&[("b", ""), ("a", "")]).validate().is_err());
        assert!(of(&[("a", "1"), ("a", "2")]).validate().is_err());
        assert!(of(&[("", "1")]).validate().is_err());
        assert!(of(&[("a", &"x".repeat(FACT_BYTES_MAX + 1))]).validate().is_err());
        assert!(of(&[(&"x".repeat(1025), "")]).validate().is_err());
    }
}
