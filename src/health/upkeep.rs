//! The objectives of the repository itself: it was checked, there is room, copies are not behind, clocks agree, and
//! nothing is missing that somebody names.

use super::{Aim, Known, Objective, Seen, Status, figures, spoken};
use crate::history::{Runs, Told};
use crate::operation::{self, Operation};
use crate::plan::{CopyTo, Plan};
use crate::size::rounded;
use std::time::Duration;

/// How old the last look at the data may be where no plan says.
const CHECK_MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// How far clocks may differ where no plan says.
const SKEW_MAX: Duration = Duration::from_mins(10);
/// How often a copy is due that does not say.
const COPY_EVERY: Duration = Duration::from_hours(24);

/// All of them.
pub fn judge(known: &Known<'_>) -> Vec<Objective> {
    let mut judged = vec![checked(known)];
    judged.extend(known.plan.iter().flat_map(|plan| &plan.copies).map(|copy| copied(known, copy)));
    judged.extend(room(known.plan, known.seen));
    judged.extend(clock(known));
    judged.extend(deletes(known));
    judged.push(chain(known));
    judged
}

/// The newest look at the data, and whether it found damage.
fn checked(known: &Known<'_>) -> Objective {
    let limit = known.plan.map_or(CHECK_MAX_AGE, |plan| plan.health.check_max_age);
    let runs = known.history.task(operation::name(Operation::CHECK), "").cloned().unwrap_or_default();
    let figure = |told: &Told, name: &str| told.figures.get(name).copied().unwrap_or_default();
    let reads = |told: &&Told| told.is_good() && figure(told, "read_bytes") + figure(told, "skipped_packs") > 0;
    let next = "vault check --read-data";
    let damaged = || runs.all().iter().rev().take_while(|told| figure(told, "findings") > 0);
    if let (Some(last), Some(first)) = (damaged().next(), damaged().last()) {
        let found = format!("{} damaged", figure(last, "findings"));
        let message = format!("the last check found damage in {} objects", figure(last, "findings"));
        return Objective::new("", Aim::Check, Status::Missed, message)
            .seen(found, "0 damaged")
            .since(first.began)
            .next(next);
    }
    let wanted = spoken(limit);
    match runs.all().iter().rev().find(reads) {
        Some(last) => {
            let age = known.now.since(last.began);
            let status = if age > limit { Status::Missed } else { Status::Met };
            let oldest =
                figures::oldest_verified(known.history).map(|at| known.now.since(at)).filter(|oldest| *oldest > age);
            let all = oldest.map_or(String::new(), |oldest| format!("; the oldest was read {} ago", spoken(oldest)));
            let message = format!("a check last read data {} ago; at most {wanted} may pass{all}", spoken(age));
            Objective::new("", Aim::Check, status, message).seen(spoken(age), wanted).since(last.began).next(next)
        }
        None => {
            // a repository that is younger than that could not be late
            let first = known.history.first().unwrap_or(known.now);
            let status = if known.now.since(first) > limit { Status::Missed } else { Status::Met };
            let message = format!("no check has read data yet; at most {wanted} may pass");
            Objective::new("", Aim::Check, status, message).seen("never", wanted).since(first).next(next)
        }
    }
}

fn copied(known: &Known<'_>, copy: &CopyTo) -> Objective {
    let limit = copy.rpo.unwrap_or_else(|| copy.every.unwrap_or(COPY_EVERY) * 2);
    let runs: Runs = known.history.task(operation::name(Operation::COPY), &copy.name).cloned().unwrap_or_default();
    let (name, wanted) = (&copy.name, spoken(limit));
    let next = format!("vault run {name}");
    let Some(good) = runs.last_good() else {
        let why = runs.last().map(|last| format!(": {}", last.message)).unwrap_or_default();
        let message = format!("copy {name}: never done{why}");
        return Objective::new(name, Aim::Copy, Status::Missed, message).seen("never", wanted).next(next);
    };
    let age = known.now.since(good.began);
    let status = if age > limit { Status::Missed } else { Status::Met };
    let message = format!("copy {name}: last done {} ago; at most {wanted}", spoken(age));
    Objective::new(name, Aim::Copy, status, message).seen(spoken(age), wanted).since(good.began).next(next)
}

/// What a quota leaves, or what the place has.
fn room(plan: Option<&Plan>, seen: Seen) -> Option<Objective> {
    let plan = plan?;
    let (quota, low) = (plan.repository.quota, plan.alerts.storage_low);
    if quota.is_none() && low.is_none() {
        return None;
    }
    let left = match quota {
        Some(quota) => seen.stored.map(|stored| quota.saturating_sub(stored)),
        None => seen.free,
    };
    let least = low.unwrap_or_default();
    let wanted = rounded(least);
    let Some(left) = left else {
        let message = "nobody can tell how much room is left: the store does not say; set `quota`";
        return Some(Objective::new("", Aim::Storage, Status::Unknown, message).seen("", wanted));
    };
    let is_low = left < least || quota.is_some() && left == 0;
    let status = if is_low { Status::Missed } else { Status::Met };
    let message = format!("{} of room is left; at least {wanted}", rounded(left));
    Some(Objective::new("", Aim::Storage, status, message).seen(rounded(left), wanted).next("vault prune"))
}

fn clock(known: &Known<'_>) -> Option<Objective> {
    let skew = known.seen.skew?;
    let limit = known.plan.map_or(SKEW_MAX, |plan| plan.health.clock_skew);
    let status = if skew > limit { Status::Missed } else { Status::Met };
    let message =
        format!("the clocks of this machine and of the store differ by {}; at most {}", spoken(skew), spoken(limit));
    Some(Objective::new("", Aim::Clock, status, message).seen(spoken(skew), spoken(limit)).next("timedatectl"))
}

fn deletes(known: &Known<'_>) -> Option<Objective> {
    known.plan.filter(|plan| plan.health.no_delete)?;
    let (status, observed, message) = match known.seen.deletes {
        Some(true) => {
            (Status::Missed, "it deletes", "the store lets a machine of this plan delete; take that right away")
        }
        Some(false) => (Status::Met, "it refuses", "the store refuses to delete for the machines of this plan"),
        None => (Status::Unknown, "", "no run of the last days has tried whether the store refuses to delete"),
    };
    Some(Objective::new("", Aim::NoDelete, status, message).seen(observed, "it refuses").next("vault run --all"))
}

fn chain(known: &Known<'_>) -> Objective {
    let missing = known.history.missing();
    match missing.first() {
        None => Objective::new("", Aim::Chain, Status::Met, "nothing is missing that a record names")
            .seen("0 missing", "0 missing"),
        Some(first) => {
            let message =
                if missing.len() == 1 { first.clone() } else { format!("{first}; and {} more", missing.len() - 1) };
            let observed = format!("{} missing", missing.len());
            Objective::new("", Aim::Chain, Status::Missed, message).seen(observed, "0 missing").next("vault check")
        }
    }
}
