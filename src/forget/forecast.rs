//! What the rules of a plan will have kept by some day: the snapshots of today, and those that will have been taken until
//! then if runs go on as planned, judged as on that day. To judge once is enough, though `forget` runs every day: a rule
//! keeps the newest of a period, and what is dropped meanwhile had a newer one in each of its periods.

use super::{PlanRules, Report, SnapshotEntry, Verdict, candidates, sources, verdicts};
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::view::View;
use crate::retention::{self, Candidate, Policy};
use crate::time::WallTime;
use std::collections::BTreeMap;
use vault_format::id::ObjectId;

/// What will be taken of a source.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// When, oldest first.
    pub times: Vec<WallTime>,
    /// Tags that its snapshots will bear.
    pub tags: Vec<String>,
}

/// What will be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forecast {
    /// What will have become of the snapshots of today.
    pub report: Report,
    /// How many there will be.
    pub sources: Vec<Foretold>,
}

/// What there will be of one source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Foretold {
    /// What its domain is called.
    pub domain: String,
    /// Its name.
    pub source: String,
    /// Snapshots of today.
    pub today: u64,
    /// Those of today that will be gone.
    pub gone: u64,
    /// What will have been taken until then.
    pub taken: u64,
    /// What will be kept of both.
    pub kept: u64,
    /// The first words of the reasons, like `daily`, and how many each keeps: one snapshot may have several.
    pub rules: BTreeMap<String, u64>,
}

/// Judges as on a day to come. Needs the owner; puts nothing.
pub fn forecast(
    repository: &Repository,
    rules: &PlanRules,
    expected: &BTreeMap<String, Expected>,
    day: WallTime,
) -> Result<Forecast> {
    let mut foretold = Vec::new();
    let options = super::Options { dry_run: true, ..super::Options::default() };
    let report = super::forget(repository, "", &options, |view| {
        let mut report = Report::default();
        let mut sources = sources(view, |one| rules.policies.contains_key(&one.head.source));
        let own = repository.keys().domain();
        for name in expected.keys().filter(|name| rules.policies.contains_key(*name)) {
            if !sources.keys().any(|(_, known)| known == name) {
                sources.insert((own, name), Vec::new());
            }
        }
        for ((domain, name), source) in &sources {
            let Some(policy) = rules.policies.get(*name) else { continue };
            let question = Question { policy, rules, expected: expected.get(*name), day };
            let (verdicts, counted) = of_source(view, source, &question)?;
            let (domain, source) = (view.snapshots.domains.show(*domain), (*name).to_owned());
            foretold.push(Foretold { domain, source, ..counted });
            report.verdicts.extend(verdicts);
        }
        Ok(report)
    })?;
    Ok(Forecast { report, sources: foretold })
}

/// What is asked of one source.
struct Question<'q> {
    policy: &'q Policy,
    rules: &'q PlanRules,
    expected: Option<&'q Expected>,
    day: WallTime,
}

/// Verdicts on the snapshots of today, and how many of all there will be.
fn of_source(view: &View, source: &[&SnapshotEntry], asked: &Question<'_>) -> Result<(Vec<Verdict>, Foretold)> {
    let (mut all, mut kept) = candidates(view, source, asked.policy);
    let writer = all.iter().max_by_key(|one| one.time).map(|one| one.writer);
    let writer = writer.unwrap_or_else(|| view.repository().keys().writer());
    let to_come = asked.expected.cloned().unwrap_or_default();
    let today = all.len();
    all.extend(to_come.times.iter().zip(0..).map(|(time, number)| Candidate {
        id: made_up(number),
        writer,
        time: *time,
        tags: to_come.tags.clone(),
        held: false,
        expires: None,
    }));
    let judged = retention::apply(&all, asked.policy, asked.day, &asked.rules.zone);
    let mut counted = Foretold { taken: to_come.times.len() as u64, ..Foretold::default() };
    for (candidate, verdict) in all.iter().zip(&judged).take(today) {
        kept.insert(candidate.id, (verdict.keep, verdict.reasons.clone()));
    }
    for verdict in judged.iter().skip(today).filter(|verdict| verdict.keep) {
        counted.count(&verdict.reasons);
    }
    let mut verdicts = verdicts(view, source, kept)?;
    for verdict in &mut verdicts {
        if let Some(why) = asked.rules.spared.get(&verdict.place.id).filter(|_| !verdict.keep) {
            (verdict.keep, verdict.reasons) = (true, vec![why.clone()]);
        }
        counted.today = counted.today.saturating_add(1);
        if verdict.keep {
            counted.count(&verdict.reasons);
        } else {
            counted.gone = counted.gone.saturating_add(1);
        }
    }
    Ok((verdicts, counted))
}

impl Foretold {
    /// One more that is kept.
    fn count(&mut self, reasons: &[String]) {
        self.kept = self.kept.saturating_add(1);
        let mut words: Vec<&str> = reasons.iter().filter_map(|reason| reason.split_whitespace().next()).collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            let count = self.rules.entry(word.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// An id that no object has: two of them differ, and that is all that counts.
fn made_up(number: u64) -> ObjectId {
    let mut bytes = [0xff; 32];
    for (byte, value) in bytes.iter_mut().zip(number.to_be_bytes()) {
        *byte = value;
    }
    ObjectId(bytes)
}
