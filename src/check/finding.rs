//! What is damaged: each object once, with every way in which that was noticed and the files that need it. The lists are
//! bounded, their counts are not, so that a lost disk does not become a lost memory.

use crate::repository::Damage;
use std::collections::BTreeMap;
use vault_format::id::ObjectId;
use vault_format::name;

/// Most files that one finding names.
pub(super) const AFFECTED_MAX: usize = 20;
/// Most problems that one finding tells.
const PROBLEMS_MAX: usize = 20;

/// One damaged object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Name of the object.
    pub object: String,
    /// How it was noticed; at most 20.
    pub problems: Vec<String>,
    /// Snapshots and files that need it, as `snapshot:/path`; at most 20.
    pub affected: Vec<String>,
    /// How many need it in all.
    pub affected_count: u64,
    /// The snapshot, if it is one that something names and that is not there: prune leaves its domain out, or stops.
    pub missing: Option<ObjectId>,
    /// The snapshot, if its writer made it against the rules: it is whole as it is, and no repair makes it better.
    pub mismade: Option<ObjectId>,
}

/// All findings of one check, by object.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    by_object: BTreeMap<String, (Finding, u64)>,
}

impl Findings {
    fn entry(&mut self, object: String) -> &mut (Finding, u64) {
        let new = Finding { object: object.clone(), ..Finding::default() };
        self.by_object.entry(object).or_insert((new, 0))
    }

    /// Notes a problem of an object.
    pub fn add(&mut self, object: impl ToString, problem: &str) {
        let (finding, more) = self.entry(object.to_string());
        if finding.problems.iter().any(|known| known == problem) {
            return;
        }
        if finding.problems.len() < PROBLEMS_MAX {
            finding.problems.push(problem.to_owned());
        } else {
            *more += 1;
        }
    }

    /// Notes a snapshot that was made against the rules.
    pub fn mismade(&mut self, snapshot: (impl ToString, ObjectId), why: &vault_format::Error) {
        let (name, id) = (snapshot.0.to_string(), snapshot.1);
        self.add(&name, &format!("its writer made it against the rules: {why}"));
        self.entry(name).0.mismade = Some(id);
    }

    /// Notes a snapshot that is missing.
    pub fn miss(&mut self, id: ObjectId, problem: &str) {
        let object = format!("{}…/{id}", name::SNAPSHOTS);
        self.add(&object, problem);
        self.entry(object).0.missing = Some(id);
    }

    /// Notes objects that could not be used.
    pub fn add_all<'a>(&mut self, damaged: impl IntoIterator<Item = &'a Damage>) {
        for damage in damaged {
            self.add(&damage.name, &damage.error.reason(&damage.name));
        }
    }

    /// Notes that `count` files need an object, some of them by name.
    pub fn affect(&mut self, object: impl ToString, names: impl Iterator<Item = String>, count: u64) {
        let (finding, _) = self.entry(object.to_string());
        let free = AFFECTED_MAX.saturating_sub(finding.affected.len());
        finding.affected.extend(names.take(free));
        finding.affected_count += count;
    }

    /// Takes over what was found besides.
    pub fn join(&mut self, others: Findings) {
        for (object, (other, more)) in others.by_object {
            other.problems.iter().for_each(|problem| self.add(&object, problem));
            self.affect(&object, other.affected.into_iter(), other.affected_count);
            let (finding, all) = self.entry(object);
            *all += more;
            finding.missing = finding.missing.or(other.missing);
            finding.mismade = finding.mismade.or(other.mismade);
        }
    }

    /// If all that was found is a problem of objects that nothing needs, takes it back and names them.
    pub fn take_unneeded(&mut self, problem: &str) -> Vec<String> {
        let is_unneeded = |finding: &Finding| finding.affected_count == 0 && finding.problems == [problem];
        // below what can't be read anything may be needed
        if !self.by_object.values().all(|(finding, _)| is_unneeded(finding)) {
            return Vec::new();
        }
        std::mem::take(&mut self.by_object).into_keys().collect()
    }

    /// Everything found, by name.
    pub fn finish(self) -> Vec<Finding> {
        let finish = |(mut finding, more): (Finding, u64)| {
            if more > 0 {
                finding.problems.push(format!("and {more} more"));
            }
            finding
        };
        self.by_object.into_values().map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{AFFECTED_MAX, Findings, PROBLEMS_MAX};

    #[test]
    fn an_object_is_named_once_and_its_lists_are_bounded() {
        let mut findings = Findings::default();
        findings.add("marks/1", "torn");
        for number in 0..2 * PROBLEMS_MAX {
            findings.add("packs/1", &format!("frame {number}"));
            findings.add("packs/1", "the same");
            let names = (0..3).map(|file| format!("{number}:/{file}"));
            findings.affect("packs/1", names, 3);
        }
        let found = findings.finish();
        assert_eq!(found.iter().map(|finding| finding.object.as_str()).collect::<Vec<_>>(), ["marks/1", "packs/1"]);
        assert_eq!(found[0].problems, ["torn"]);
        let pack = &found[1];
        assert_eq!((pack.affected.len(), pack.affected_count), (AFFECTED_MAX, 6 * PROBLEMS_MAX as u64));
        assert_eq!(pack.problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(pack.problems.iter().filter(|problem| *problem == "the same").count(), 1);
        assert_eq!(pack.problems.last().map(String::as_str), Some("and 21 more"));
    }
}
