//! What only shows when what a plan names is connected to: servers, the repository with its key, second places, room and
//! clocks. Part of `vault plan check`; nothing is written and nothing is dumped.

use super::{Context, Session, exit, machine, render};
use std::collections::BTreeSet;
use vault::health::{self, Aim, Known, Status};
use vault::history::History;
use vault::plan::{CopyTo, Finding, Level, PLAN_NAME, Place, Plan, Seen};
use vault::repository::Repository;
use vault_format::bundle::Role;

/// What helps where a key may not do all that a plan asks for.
const OWNER: &str = "let the owner do that now and then: `vault run --only maintenance`";

/// What was found by a session that opens what the plan names, and what was seen of each source.
pub fn look(session: &Session, plan: &Plan) -> (Vec<Finding>, Vec<Seen>) {
    let open_copy = |place: &CopyTo| {
        machine::open_copy(session, place).map_err(|failure| match failure.into_words() {
            (problem, Some(hint)) => format!("{problem}; {hint}"),
            (problem, None) => problem,
        })
    };
    let lent = machine::of_this(&open_copy);
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for surveyed in vault::run::survey(plan, &lent, &session.runtime) {
        found.extend(surveyed.findings);
        seen.push(surveyed.seen);
    }
    if session.global.repository.is_some() {
        found.extend(repository(session, plan));
    }
    for copy in &plan.copies {
        let failed = (lent.open_copy)(copy).err();
        found.extend(failed.map(|why| {
            let problem = format!("copy {}: {why}", copy.name);
            let (level, key, place) = (Level::Error, format!("copy.{}", copy.name), copy.place.clone());
            Finding { level, key, place, problem, hint: None }
        }));
    }
    (found, seen)
}

/// Something about the repository.
fn about(place: &Place, level: Level, problem: impl Into<String>, hint: Option<String>) -> Finding {
    Finding { level, key: "repository".into(), place: place.clone(), problem: problem.into(), hint }
}

/// Whether it is there, the key opens it, and what that may not do.
fn repository(session: &Session, plan: &Plan) -> Vec<Finding> {
    let place = &plan.repository.place;
    // the finding has its place
    let session = Session { global: session.global.clone(), runtime: session.runtime.clone(), told_by: None };
    let repository = match session.open().map_err(exit::Failure::for_a_first) {
        Ok(repository) => repository,
        Err(failure) => {
            let (problem, hint) = failure.into_words();
            let finding = about(place, Level::Error, problem, hint);
            return vec![Finding { key: "repository.location".into(), ..finding }];
        }
    };
    let mut found: Vec<Finding> =
        role(&repository, plan).map(|(problem, hint)| about(place, Level::Note, problem, Some(hint))).collect();
    match state(&repository, plan) {
        Ok(more) => found.extend(more.into_iter().map(|(level, problem, hint)| about(place, level, problem, hint))),
        Err(failure) => {
            let (problem, hint) = failure.into_words();
            found.push(about(place, Level::Error, problem, hint));
        }
    }
    found
}

/// What the plan asks for and this key may not do.
fn role(repository: &Repository, plan: &Plan) -> impl Iterator<Item = (String, String)> + use<> {
    let (role, upkeep) = (repository.keys().role(), &plan.maintenance);
    let name = if role == Role::Client { "client" } else { "writer" };
    let owners = role != Role::Owner && (upkeep.forget.is_some() || upkeep.prune.is_some());
    let owners = owners.then(|| {
        let problem = format!("this is a key of a {name}: forget and prune need the owner's key");
        (problem, OWNER.to_owned())
    });
    let reads = role == Role::Writer && upkeep.check.is_some() && upkeep.read_data != vault::size::Share::Nothing;
    let reads = reads.then(|| {
        let problem = "this is a key of a writer: to check data needs the key of a client or the owner".to_owned();
        (problem, OWNER.to_owned())
    });
    owners.into_iter().chain(reads)
}

type Said = (Level, String, Option<String>);

/// Room and clocks, and what is left of earlier plans.
fn state(repository: &Repository, plan: &Plan) -> Result<Vec<Said>, exit::Failure> {
    let history = History::read(repository).context("cannot read the journal")?;
    let seen = health::Seen::of(repository, &history, Some(plan)).context("cannot see how much is stored")?;
    let mut said = Vec::new();
    if let (Some(quota), Some(stored), Some(free)) = (plan.repository.quota, seen.stored, repository.backend().free()) {
        let left = quota.saturating_sub(stored);
        if left > free {
            let (left, free) = (render::size(left), render::size(free));
            let problem = format!("the quota leaves {left}, and only {free} are free where the repository is");
            said.push((Level::Warning, problem, Some("lower `quota`, or make room".to_owned())));
        }
    }
    said.extend(unnamed(&history, plan));
    let now = repository.runtime().clock.now();
    let judged = health::judge(&Known { plan: Some(plan), history: &history, seen, now });
    let missed = judged.into_iter().filter(|one| matches!(one.aim, Aim::Storage | Aim::NoDelete | Aim::Clock));
    let missed = missed.filter(|one| one.status == Status::Missed);
    said.extend(missed.map(|one| (Level::Warning, one.message, Some(format!("see `{}`", one.next)))));
    Ok(said)
}

/// Sources that were taken here once, and that the plan does not name: renamed, or removed.
fn unnamed(history: &History, plan: &Plan) -> Vec<Said> {
    let names: BTreeSet<&str> = history.sources().map(|(_, name, _)| name).collect();
    let unnamed = names.into_iter().filter(|name| plan.source(name).is_none() && *name != PLAN_NAME);
    let counted = unnamed.map(|name| (name, history.snapshots_of(name))).filter(|(_, count)| *count > 0);
    let say = |(name, count): (&str, u64)| {
        let count = render::count(count, "snapshot", "snapshots");
        let problem =
            format!("{name} has {count}, and no source of the plan is called so: nothing judges or drops them");
        (Level::Note, problem, Some(format!("to keep the newest alone: `vault forget --name {name} --keep-last 1`")))
    };
    counted.map(say).collect()
}
