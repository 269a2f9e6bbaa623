//! Whether a snapshot has a size that its source does not usually have: a pure function of the sizes before it. A dump of
//! half the usual size may be a broken one, or the day after a clean-up; only its owner can know, so it is stored, said
//! loudly, and what was there before is kept. Once somebody has accepted a size, or three in a row agree, it is the usual.

use std::num::NonZeroU64;
use vault_format::facts::Facts;

/// How many of the last sizes tell what is usual.
const USUAL: usize = 7;
/// So many in a row that agree are what is usual from now on.
const AGREEING: usize = 3;

/// Put on a snapshot of an unusual size.
pub const SUSPECT_TAG: &str = "suspect";
/// Put on the first snapshot of what is usual from then on.
pub const ACCEPTED_TAG: &str = "accepted";

/// In the record of a suspect one: the usual size in bytes.
pub const SUSPECT_FACT: &str = "suspect";
/// In the record of the first one of what is usual from then on: by whom.
pub const ACCEPTED_FACT: &str = "accepted";

/// A snapshot that is there, as its record tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// Its size.
    pub bytes: u64,
    /// It was taken for suspect.
    pub is_suspect: bool,
    /// From it on another size is usual.
    pub is_accepted: bool,
    /// How the source was described: what was taken by another description says nothing.
    pub description: String,
}

/// How far a size may lie from the usual.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Less than this part of the usual is suspect.
    pub drop: Option<f64>,
    /// More than so many times the usual is suspect.
    pub rise: Option<f64>,
}

/// What is asked of the size of a snapshot before it is committed.
#[derive(Clone, Debug)]
pub struct Question {
    /// What was there before, oldest first.
    pub before: Vec<Past>,
    /// How the source is described now.
    pub description: String,
    /// How far a size may lie from the usual.
    pub limits: Limits,
    /// Whatever it is, it is the usual one from now on.
    pub is_accepted: bool,
}

/// What a size is, compared with those before.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Verdict {
    /// As usual, or nothing is known.
    #[default]
    Usual,
    /// Somebody has said that this is the usual one from now on.
    Accepted,
    /// It differs from what was usual, but agrees with the last ones: this is what is usual now.
    Settled,
    /// Too small, or too large.
    Suspect {
        /// What is usual, in bytes.
        usual: u64,
    },
}

impl Question {
    /// Judges a size in bytes.
    pub fn judge(&self, bytes: u64) -> Verdict {
        if self.is_accepted {
            return Verdict::Accepted;
        }
        judge(bytes, &self.description, &self.before, self.limits)
    }
}

impl Verdict {
    /// What the record of the run says of it.
    pub fn facts(self) -> Facts {
        let fact = match self {
            Self::Usual => None,
            Self::Suspect { usual } => Some((SUSPECT_FACT, usual.to_string())),
            Self::Settled => Some((ACCEPTED_FACT, "settled".to_owned())),
            Self::Accepted => Some((ACCEPTED_FACT, "accepted".to_owned())),
        };
        fact.into_iter().collect()
    }

    /// The tag that tells of it.
    pub fn tag(self) -> Option<&'static str> {
        match self {
            Self::Usual => None,
            Self::Suspect { .. } => Some(SUSPECT_TAG),
            Self::Settled | Self::Accepted => Some(ACCEPTED_TAG),
        }
    }
}

/// True if one more of the usual size ends a trouble with sizes: so many in a row were no suspects then.
pub fn is_over(before: &[Past]) -> bool {
    before.len() >= AGREEING - 1 && before.iter().rev().take(AGREEING - 1).all(|past| !past.is_suspect)
}

/// Judges a size by what was there before, oldest first.
fn judge(bytes: u64, description: &str, before: &[Past], limits: Limits) -> Verdict {
    let same: Vec<&Past> = before.iter().filter(|past| past.description == description).collect();
    let since = same.iter().rposition(|past| past.is_accepted).unwrap_or_default();
    let recent = same.get(since..).unwrap_or_default();
    let good: Vec<u64> = recent.iter().filter(|past| !past.is_suspect).map(|past| past.bytes).collect();
    let Some(usual) = median(good.get(good.len().saturating_sub(USUAL)..).unwrap_or_default()) else {
        return Verdict::Usual;
    };
    if limits.allow(bytes, usual) {
        return Verdict::Usual;
    }
    let mut last: Vec<u64> = recent.iter().rev().take_while(|past| past.is_suspect).map(|past| past.bytes).collect();
    last.truncate(AGREEING - 1);
    let agrees = last.len() == AGREEING - 1 && last.iter().all(|other| limits.agree(bytes, *other));
    if agrees { Verdict::Settled } else { Verdict::Suspect { usual: usual.get() } }
}

impl Limits {
    fn allow(self, bytes: u64, usual: NonZeroU64) -> bool {
        let ratio = bytes as f64 / usual.get() as f64;
        self.drop.is_none_or(|drop| ratio >= drop) && self.rise.is_none_or(|rise| ratio <= rise)
    }

    /// True if none of the two is far from the other.
    fn agree(self, one: u64, other: u64) -> bool {
        let allows = |bytes, usual| NonZeroU64::new(usual).map_or(bytes == 0, |usual| self.allow(bytes, usual));
        allows(one, other) && allows(other, one)
    }
}

/// The one in the middle; of two the smaller. Nothing is usual about nothing.
fn median(sizes: &[u64]) -> Option<NonZeroU64> {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().and_then(NonZeroU64::new)
}

#[cfg(test)]
mod tests {
    use super::{Limits, Past, Verdict, is_over, judge};

    const LIMITS: Limits = Limits { drop: Some(0.8), rise: Some(3.0) };

    fn past(bytes: u64) -> Past {
        Past { bytes, is_suspect: false, is_accepted: false, description: "a".into() }
    }

    fn suspect(bytes: u64) -> Past {
        Past { is_suspect: true, ..past(bytes) }
    }

    #[test]
    fn half_the_usual_is_suspect_and_so_is_four_times_as_much() {
        let before: Vec<Past> = [1, 100, 105, 110, 108, 102, 99, 104].map(past).to_vec();
        assert_eq!(judge(52, "a", &before, LIMITS), Verdict::Suspect { usual: 104 });
        assert_eq!(judge(416, "a", &before, LIMITS), Verdict::Suspect { usual: 104 });
        assert_eq!(judge(84, "a", &before, LIMITS), Verdict::Usual);
        assert_eq!(judge(300, "a", &before, LIMITS), Verdict::Usual);
        assert_eq!(judge(0, "a", &before, Limits { drop: None, rise: None }), Verdict::Usual);
        assert_eq!(judge(52, "another", &before, LIMITS), Verdict::Usual);
        assert_eq!(judge(52, "a", &[], LIMITS), Verdict::Usual);
        assert_eq!(judge(52, "a", &[past(0)], LIMITS), Verdict::Usual);
    }

    #[test]
    fn what_is_suspect_does_not_move_what_is_usual() {
        let before = [past(100), past(100), suspect(50), past(101), suspect(20)];
        assert_eq!(judge(60, "a", &before, LIMITS), Verdict::Suspect { usual: 100 });
        assert_eq!(judge(100, "a", &before, LIMITS), Verdict::Usual);
    }

    #[test]
    fn three_that_agree_are_usual_from_then_on() {
        let mut before = vec![past(100), past(100), suspect(50)];
        assert!(matches!(judge(51, "a", &before, LIMITS), Verdict::Suspect { .. }));
        before.push(suspect(51));
        assert_eq!(judge(49, "a", &before, LIMITS), Verdict::Settled);
        assert!(matches!(judge(20, "a", &before, LIMITS), Verdict::Suspect { .. }), "two agree, the third does not");
        before.push(Past { is_accepted: true, ..past(49) });
        assert_eq!(judge(50, "a", &before, LIMITS), Verdict::Usual);
        assert_eq!(judge(20, "a", &before, LIMITS), Verdict::Suspect { usual: 49 });
    }

    #[test]
    fn a_trouble_is_over_after_three_that_are_usual() {
        let mut before = vec![past(100), suspect(50)];
        assert!(!is_over(&before));
        before.push(past(100));
        assert!(!is_over(&before));
        before.push(past(101));
        assert!(is_over(&before));
        assert!(!is_over(&[past(1)]));
    }
}
