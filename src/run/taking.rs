//! One source taken: its lock, the wait, the hooks around it, the snapshot, the judgement of its size, and what is held
//! because of that. Whatever fails becomes the outcome of this source, and a record says so even where no snapshot was
//! begun, since what is due next follows from records.

use super::choice::{self, Chosen};
use super::hooks::{self, Told};
use super::lock::{self, Lock};
use super::quota::Quota;
use super::telling::Pings;
use super::{Context, Outcome, Taken, Trouble, origin};
use crate::alert::Signal;
use crate::backup;
use crate::history::{DESCRIPTION_FACT, History};
use crate::operation::{Ending, Operation, Run};
use crate::plan::{Kind, Source};
use crate::source::Limit;
use crate::tag;
use crate::usual::{self, Limits, Question, Verdict};
use std::time::Duration;
use vault_format::bundle::Role;
use vault_format::facts::Facts;
use vault_format::id::{ObjectId, SetId};

/// Put on a snapshot that is held since the next one is suspect.
const HELD_TAG: &str = "before-suspect";

/// Takes it.
pub fn take(
    context: &Context<'_>,
    history: &History,
    (pings, quota): (&Pings<'_>, &mut Quota),
    (chosen, set): (&Chosen<'_>, Option<SetId>),
) -> Taken {
    let source = chosen.source;
    let mut taken = Taken::new(source, &chosen.why);
    if context.options.dry_run {
        taken.outcome = Outcome::Due;
        return taken;
    }
    if origin::is_for_later(source) {
        taken.outcome = Outcome::Skipped;
        taken.notes.push(match source.kind {
            Kind::Stdin => format!("others give it: vault snapshot --name {0} --stdin {0}", source.name),
            _ => format!("sources of kind {} are not run by this version", source.kind.name()),
        });
        return taken;
    }
    let lock = lock::take(context.machine.locks.as_deref(), context.repository.id(), &source.name);
    match &lock {
        Lock::Busy => {
            taken.outcome = Outcome::Busy;
            taken.notes.push("another run of it is going on".into());
            return taken;
        }
        Lock::None(why) => taken.notes.push(format!("without a lock: {why}")),
        Lock::Held(_) => {}
    }
    let runtime = context.repository.runtime();
    let wait = up_to(source.jitter, runtime.random());
    runtime.clock.sleep(wait);
    let newer;
    let mut history = history;
    if chosen.is_due && (!wait.is_zero() || context.is_late()) {
        // another host may have taken it while this run waited for its turn
        match History::read(context.repository) {
            Ok(read) => newer = read,
            Err(error) => return Taken { error: Some(error.to_string().into()), ..taken },
        }
        history = &newer;
        let due = choice::due(&context.zone(), source, history, context.now());
        if !due.is_now() {
            taken.outcome = Outcome::Skipped;
            taken.notes.push(format!("it was taken meanwhile; {}", choice::later("", &due, context.now()).why));
            return taken;
        }
    }
    let run = Run::start(context.repository, Operation::SNAPSHOT);
    let (started, began) = (context.now(), runtime.clock.elapsed());
    taken.unheard.extend(pings.send(source.ping_env.as_ref(), Signal::Start, &source.name));
    attempt((context, history), source, (set, quota), &mut taken);
    quota.add(taken.stored_bytes);
    if let Some(error) = taken.error.clone().filter(|_| !taken.is_on_record) {
        let facts = facts(context, source);
        let ending = Ending { source: source.name.clone(), facts, ..Ending::done("") };
        taken.notes.extend(run.finish(&Err::<(), _>(error.ours), ending));
    }
    taken.duration = runtime.clock.elapsed().since(began);
    if taken.outcome == Outcome::Failed {
        taken.again = choice::again(context, history, source, started);
    }
    let unheard = pings.end(source.ping_env.as_ref(), &taken);
    taken.unheard.extend(unheard);
    drop(lock);
    taken
}

/// From the first hook to the last.
fn attempt(
    (context, history): (&Context<'_>, &History),
    source: &Source,
    (set, quota): (Option<SetId>, &mut Quota),
    taken: &mut Taken,
) {
    let mut told = Told::default();
    match quota
        .leaves_room(context)
        .map_err(Trouble::from)
        .and_then(|()| hooks::run(context, source, &source.hooks.before, &told))
    {
        Err(error) => fail(taken, error),
        Ok(()) => snapshot(context, history, source, set, taken),
    }
    told.outcome = taken.outcome.name();
    told.snapshot = taken.snapshot.map(|id| id.to_string()).unwrap_or_default();
    told.error = taken.error.as_ref().map(|trouble| trouble.ours.clone()).unwrap_or_default();
    let then = if taken.outcome == Outcome::Failed { &source.hooks.failed } else { &source.hooks.after };
    for hooks in [then, &source.hooks.finally] {
        if let Err(error) = hooks::run(context, source, hooks, &told) {
            // the snapshot is there, and what should have followed is not
            taken.failed.push(error);
            if matches!(taken.outcome, Outcome::Done | Outcome::Unchanged) {
                taken.outcome = Outcome::Partial;
            }
        }
    }
}

fn fail(taken: &mut Taken, error: Trouble) {
    taken.outcome = Outcome::Failed;
    taken.error = Some(error);
}

fn snapshot(context: &Context<'_>, history: &History, source: &Source, set: Option<SetId>, taken: &mut Taken) {
    let (repository, machine) = (context.repository, context.machine);
    let limit = Limit::new(repository.runtime(), source.timeout);
    let before = history.source(&source.name).map(|runs| runs.sizes()).unwrap_or_default();
    let options = backup::Options {
        name: source.name.clone(),
        kind: source.kind.name().to_owned(),
        set,
        tags: source.tags.clone(),
        description: source.description.clone(),
        host: machine.host.clone(),
        user: machine.user.clone(),
        skip_if_unchanged: source.skip_if_unchanged && !context.options.accept,
        reread: origin::reread(source),
        delta: source.delta,
        limit: Some(limit),
        told: facts(context, source),
        usual: Some(Question {
            before,
            description: source.digest.clone(),
            limits: Limits { drop: Some(source.size_drop).filter(|drop| *drop > 0.0), rise: source.size_rise },
            is_accepted: context.options.accept,
        }),
        ..backup::Options::default()
    };
    let result = origin::with(context, (source, limit), &mut |origin| {
        let result = backup::backup(repository, origin, &options, context.progress);
        taken.is_on_record = true;
        result.map_err(|error| Trouble { ours: error.ours(), all: error.to_string() })
    });
    let report = match result {
        Ok(report) => report,
        Err(error) => return fail(taken, error),
    };
    let figures = report.head.statistics;
    taken.snapshot = report.snapshot.or(report.unchanged);
    (taken.bytes, taken.added_bytes, taken.stored_bytes) = (figures.bytes, figures.added_bytes, figures.stored_bytes);
    taken.outcome = match report.snapshot {
        None => Outcome::Unchanged,
        Some(_) if report.failed.is_empty() => Outcome::Done,
        Some(_) => Outcome::Partial,
    };
    taken.failed = report.failed.into_iter().map(Trouble::from).collect();
    taken.notes.extend(report.notes);
    (taken.advice, taken.compressed) = (report.advice, report.compressed);
    judge(context, history, source, report.verdict, taken);
}

/// Holds what was there before a suspect one, and lets go once the size is the usual one, be it the old or a new one.
fn judge(context: &Context<'_>, history: &History, source: &Source, verdict: Verdict, taken: &mut Taken) {
    let name = &source.name;
    match verdict {
        Verdict::Usual => {
            if history.source(name).is_some_and(|runs| usual::is_over(&runs.sizes())) {
                release(context, history, name, taken);
            }
        }
        Verdict::Suspect { usual } => {
            taken.suspect = Some(usual);
            let last = history.source(name).and_then(|runs| {
                let good = runs.all().iter().rev().filter(|told| told.suspect().is_none());
                good.filter_map(|told| told.snapshot).find(|id| history.is_visible(id))
            });
            if let Some(last) = last {
                hold(context, &last, true, taken);
            }
        }
        Verdict::Settled | Verdict::Accepted => release(context, history, name, taken),
    }
}

fn release(context: &Context<'_>, history: &History, name: &str, taken: &mut Taken) {
    for held in history.tagged(name, HELD_TAG) {
        hold(context, &held, false, taken);
    }
}

/// The owner alone holds; until the owner's next run `forget` spares what comes before a suspect one by itself.
fn hold(context: &Context<'_>, id: &ObjectId, is_held: bool, taken: &mut Taken) {
    let repository = context.repository;
    if repository.keys().role() != Role::Owner {
        return;
    }
    let tag = vec![HELD_TAG.to_owned()];
    let (add, remove) = if is_held { (tag, Vec::new()) } else { (Vec::new(), tag) };
    let change = tag::Change { add, remove, hold: Some(is_held), expire: None };
    let result = tag::tag(repository, &id.to_string(), &|_| None, &change);
    let verb = if is_held { "held" } else { "released" };
    taken.notes.push(match result {
        Ok(_) => format!("snapshot {} is {verb}", id.short()),
        Err(error) => format!("snapshot {} could not be {verb}: {error}", id.short()),
    });
}

/// What the record of each run says.
fn facts(context: &Context<'_>, source: &Source) -> Facts {
    [(DESCRIPTION_FACT, source.digest.as_str()), ("plan", context.plan.name.as_str())].into_iter().collect()
}

/// A length of time between none and the whole, by eight random bytes.
fn up_to(most: Duration, random: [u8; 8]) -> Duration {
    let part = u64::from_le_bytes(random) as f64 / u64::MAX as f64;
    most.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::up_to;
    use std::time::Duration;

    #[test]
    fn a_wait_is_never_longer_than_the_longest() {
        let most = Duration::from_secs(20);
        assert_eq!(up_to(most, [0; 8]), Duration::ZERO);
        assert!(up_to(most, [0xff; 8]) <= most && up_to(most, [0, 0, 0, 0, 0, 0, 0, 0x80]) > Duration::from_secs(9));
    }
}
