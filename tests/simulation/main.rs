//! The write protocol under random schedules: writers of all roles, pruners, orders, readers and check on one store
//! that lags, with suspended and dying processes and wrong clocks. A failing seed is printed; `VAULT_TEST_SEED=n`
//! replays it and prints every call; `VAULT_TEST_FIRST` and `VAULT_TEST_SEEDS` say which seeds are searched, and
//! `VAULT_TEST_COMMIT` has each commit search other ones. Breaking any single rule of the protocol must be noticed: for
//! each there is a script that does harm without it, which `VAULT_TEST_RULE` plays with every call printed.

mod actor;
mod audit;
mod baton;
mod harm;
mod liar;
mod program;
mod schedule;
mod script;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use testkit::rules::Rule;
use world::{Totals, World};

/// Lives through a world and audits it; the error says what was lost.
fn attempt(live: impl FnOnce() -> World) -> Result<Totals, String> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let world = live();
        audit::audit(&world)?;
        let totals = world.truth.lock().unwrap().totals;
        Ok(totals)
    }));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

/// Runs seeds on all cores until one fails; returns the totals, or the first failure found.
fn sweep(seeds: std::ops::Range<u64>, broken: Option<Rule>) -> Result<Totals, (u64, String)> {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (totals, failure) = (Mutex::new(Totals::default()), Mutex::new(None));
    let work = || {
        while !stop.load(Ordering::SeqCst) {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            match attempt(|| program::live(seed, broken, false)) {
                Ok(one) => totals.lock().unwrap().add(&one),
                Err(loss) => {
                    stop.store(true, Ordering::SeqCst);
                    failure.lock().unwrap().get_or_insert((seed, loss));
                }
            }
        }
    };
    // handing the baton on leaves cores idle
    let threads = 3 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    failure.into_inner().unwrap().map_or(Ok(totals.into_inner().unwrap()), Err)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn nothing_is_lost_in_any_schedule() {
    if let Some(seed) = number("VAULT_TEST_SEED") {
        println!("seed {seed}: {:?}", attempt(|| program::live(seed, None, true)).unwrap());
        return;
    }
    let commit = std::env::var("VAULT_TEST_COMMIT").ok();
    let moved = commit.as_deref().map(|commit| u64::from_str_radix(&commit[..7], 16).unwrap());
    let seeds = number("VAULT_TEST_SEEDS").unwrap_or(if moved.is_some() { 600 } else { 500 });
    let first = number("VAULT_TEST_FIRST").or(moved).unwrap_or(0);
    match sweep(first..first + seeds, None) {
        Ok(totals) => {
            println!("{seeds} seeds from {first}: {totals:?}");
            let is_at_stake = totals.packs_deleted > seeds / 10 && totals.rescued > 0 && totals.merged > 0;
            assert!(is_at_stake, "nothing was at stake: {totals:?}");
        }
        Err((seed, loss)) => panic!("VAULT_TEST_SEED={seed}: {loss}"),
    }
}

/// All rules, or the one that is asked for.
fn rules() -> impl Iterator<Item = Rule> {
    let only = std::env::var("VAULT_TEST_RULE").ok();
    Rule::ALL.into_iter().filter(move |rule| only.as_ref().is_none_or(|only| *only == format!("{rule:?}")))
}

#[test]
fn every_broken_rule_is_noticed() {
    let trace = std::env::var_os("VAULT_TEST_RULE").is_some();
    let mut missed = Vec::new();
    for rule in rules() {
        let script = harm::of(rule);
        if let Err(loss) = attempt(|| script.play(None, false)) {
            panic!("the script for {rule:?} does harm though all rules are kept: {loss}");
        }
        match attempt(|| script.play(Some(rule), trace)) {
            Ok(_) => missed.push(rule),
            Err(loss) => println!("{rule:?}: {loss}"),
        }
    }
    assert!(missed.is_empty(), "broken, and not noticed: {missed:?}");
}

/// What random schedules show soon if it is broken. The others take a search of thousands of seeds, or a script.
const SHOWN_SOON: [Rule; 6] = [
    Rule::IndexBeforeSnapshot,
    Rule::LookBeforeCommit,
    Rule::YoungMarksOnly,
    Rule::OrdersAgain,
    Rule::RescueFirst,
    Rule::IndexBeforeDelete,
];

#[test]
fn random_schedules_show_broken_rules() {
    let is_search = number("VAULT_TEST_SEEDS").is_some() || std::env::var_os("VAULT_TEST_RULE").is_some();
    let seeds = number("VAULT_TEST_SEEDS").unwrap_or(if is_search { 5_000 } else { 400 });
    let first = number("VAULT_TEST_FIRST").unwrap_or(0);
    let mut missed = Vec::new();
    for rule in rules().filter(|rule| is_search || SHOWN_SOON.contains(rule)) {
        match sweep(first..first + seeds, Some(rule)) {
            Ok(_) => missed.push(rule),
            Err((seed, loss)) => println!("{rule:?}: seed {seed}: {loss}"),
        }
    }
    assert!(missed.is_empty(), "not noticed in {seeds} seeds: {missed:?}");
}
