//! Who hears of a run: pings before and after it, alerts of what is judged now, figures for a monitor. None of it fails
//! the run; what could not be told is a note, and is told by the next one.

use super::{Context, Outcome, Report, Taken};
use crate::alert::{self, Alert, Event, Ping, Pinger, Receivers, Signal, Told};
use crate::error::Result;
use crate::health::{self, Aim, Known, Objective, Seen, Status};
use crate::history::{self, History};
use crate::metrics;
use crate::operation::{self, Ending, Operation, Run};
use crate::source;
use vault_format::facts::Facts;
use vault_format::id::RunId;
use zeroize::Zeroizing;

/// Pings of one run.
pub struct Pings<'r> {
    context: &'r Context<'r>,
    pinger: Pinger<'r>,
}

impl<'r> Pings<'r> {
    pub fn new(context: &'r Context<'r>) -> Self {
        let runtime = context.repository.runtime();
        Self { context, pinger: Pinger::new(runtime, RunId(runtime.random()), alert::PATIENCE) }
    }

    /// Tells the address that a variable names, if the plan names one. Gives why that was not possible.
    pub fn send(&self, variable: Option<&String>, signal: Signal, line: &str) -> Option<String> {
        let name = variable?;
        let Some(url) = self.context.machine.variable(name) else {
            return Some(format!("cannot ping: the variable {name} of the environment is not set"));
        };
        self.pinger.ping(&Ping { name: name.clone(), url: Zeroizing::new(url) }, signal, line).err()
    }

    /// The end of a source. Taken with gaps is taken; the line says what is missing.
    pub fn end(&self, variable: Option<&String>, taken: &Taken) -> Option<String> {
        let line = taken.error.as_ref().or(taken.failed.first());
        let signal = if taken.outcome == Outcome::Failed { Signal::Fail } else { Signal::Success };
        self.send(variable, signal, line.map_or(taken.outcome.name(), |trouble| &trouble.ours))
    }
}

/// What came of telling.
#[derive(Default)]
pub struct Round {
    /// What could not be done.
    pub notes: Vec<String>,
    /// Objectives that are missed, or that nobody could judge.
    pub faults: usize,
}

/// Judges what is so now, tells who wants to know, and writes the figures.
pub fn tell(context: &Context<'_>, report: &Report, before: &History) -> Result<Round> {
    let plan = context.plan;
    let wants_alerts = !plan.alerts.webhooks.is_empty() || plan.alerts.email.is_some() || plan.alerts.command.is_some();
    let wants_figures = plan.metrics.textfile.is_some() || plan.metrics.push_env.is_some();
    if !wants_alerts && !wants_figures {
        return Ok(Round::default());
    }
    // where nothing was done the journal tells what it told a moment ago
    let is_idle = report.sources.is_empty() && report.maintenance.iter().all(|task| task.outcome == Outcome::Skipped);
    let after = if is_idle { None } else { Some(History::read(context.repository)?) };
    let history = after.as_ref().unwrap_or(before);
    let seen = Seen::of(context.repository, history, Some(plan))?;
    let known = Known { plan: Some(plan), history, seen, now: context.now() };
    let judged = health::judge(&known);
    let mut notes = Vec::new();
    if wants_alerts {
        notes.extend(alerts(context, report, history, &judged));
    }
    if wants_figures {
        notes.extend(figures(context, &known, &judged));
    }
    Ok(Round { notes, faults: judged.iter().filter(|one| one.is_fault()).count() })
}

fn alerts(context: &Context<'_>, report: &Report, history: &History, judged: &[Objective]) -> Vec<String> {
    let (plan, machine) = (context.plan, context.machine);
    let variable = |name: &str| machine.variable(name).map(Zeroizing::new);
    let environment = source::allowed(machine.environment.clone(), |_| false);
    let (receivers, lacking) = Receivers::of(&plan.alerts, &variable, &environment);
    let unset = |name| format!("cannot send alerts: the variable {name} of the environment is not set");
    let mut notes: Vec<String> = lacking.into_iter().map(unset).collect();
    let mut said: Vec<Alert> = judged.iter().filter_map(|one| as_alert(context, report, one)).collect();
    said.extend(report.sources.iter().filter_map(|taken| good_news(context, taken)));
    let run = Run::start(context.repository, Operation::ALERT);
    let round = alert::tell(context.repository.runtime(), &said, &told_before(history, &plan.name), &receivers);
    notes.extend(round.failures);
    if !round.told.is_empty() {
        let facts: Facts = Told::facts(&round.told).into_iter().collect();
        let ending = Ending { source: plan.name.clone(), facts, ..Ending::done(format!("{} told", round.told.len())) };
        notes.extend(run.conclude(ending).err().map(|error| format!("the alerts could not be recorded: {error}")));
    }
    notes
}

/// What this plan has told before.
fn told_before(history: &History, plan: &str) -> Vec<Told> {
    let facts = |one: &history::Told| {
        Told::read(one.began, one.facts.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    };
    let runs = history.task(operation::name(Operation::ALERT), plan).map(|runs| runs.all()).unwrap_or_default();
    runs.iter().flat_map(facts).collect()
}

/// An objective as it is told; what nobody can judge is neither told nor over.
fn as_alert(context: &Context<'_>, report: &Report, one: &Objective) -> Option<Alert> {
    let event = match (one.status, one.aim) {
        (Status::Met, _) => Event::Recovered,
        (Status::Missed, Aim::Runs) => Event::Failed,
        (Status::Missed, Aim::Size) => Event::Suspect,
        (Status::Missed, _) => Event::Missed,
        (Status::Unknown, _) => return None,
    };
    let taken = report.sources.iter().find(|taken| event == Event::Failed && taken.name == one.source);
    let again = taken.and_then(|taken| taken.again).map(|again| health::spoken(again.since(context.now())));
    Some(Alert {
        source: one.source.clone(),
        objective: one.aim.name().to_owned(),
        observed: one.observed.clone(),
        limit: one.limit.clone(),
        since: one.since,
        message: again.map_or(one.message.clone(), |again| format!("{}; tried again in {again}", one.message)),
        // nothing helps against good news
        next: if event == Event::Recovered { String::new() } else { one.next.clone() },
        ..Alert::new(event, &context.plan.name, &context.machine.host)
    })
}

/// For whoever asks for good news.
fn good_news(context: &Context<'_>, taken: &Taken) -> Option<Alert> {
    let is_good = matches!(taken.outcome, Outcome::Done | Outcome::Partial | Outcome::Unchanged);
    is_good.then(|| Alert {
        source: taken.name.clone(),
        message: format!("{}: {}", taken.name, taken.outcome.name()),
        ..Alert::new(Event::Done, &context.plan.name, &context.machine.host)
    })
}

fn figures(context: &Context<'_>, known: &Known<'_>, judged: &[Objective]) -> Vec<String> {
    let metrics = &context.plan.metrics;
    let told = health::figures(context.plan, known, judged);
    let mut notes = Vec::new();
    if let Some(path) = &metrics.textfile {
        notes.extend(metrics::write(&told, path).err().map(|error| error.to_string()));
    }
    if let Some(name) = &metrics.push_env {
        notes.extend(match context.machine.variable(name) {
            Some(url) => metrics::push(&told, &url, &context.machine.host).err().map(|error| error.to_string()),
            None => Some(format!("cannot push metrics: the variable {name} of the environment is not set")),
        });
    }
    notes
}
