//! `vault health`: whether what the plan wants holds. Any key will do; what it can't see is said. For monitoring there is
//! `--nagios`, whose codes are the plugins' own.

use super::printed::printed;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, code, render};
use vault::health::{self, Aim, Known, Objective, Seen, Status};
use vault::history::History;
use vault::time::WallTime;
use vault_format::bundle::Role;

/// Say whether what the plan wants holds
///
/// One line for each objective that is missed or can't be judged, with what was seen, what was wanted, and the command
/// that helps. Without a plan the journal implies what is usual.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault health
  vault health --verbose
  vault health app-db --nagios")]
pub struct Arguments {
    /// Only these sources
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// One line and exit codes 0 to 3, as plugins of Nagios give them
    #[arg(long, conflicts_with = "json")]
    nagios: bool,
}

printed! {
    /// What `vault health` prints.
    struct Judged<'a>(now: WallTime, view: &'static str, judged: &'a [Objective]) {
        /// Nothing is missed, and nothing can't be judged.
        ok: bool = !judged.iter().any(Objective::is_fault),
        /// When.
        judged_at: String = render::time_rfc3339(now),
        /// Role of the key in use.
        view: &'static str = view,
        /// All that was judged.
        objectives: Vec<OneObjective<'a>> = judged.iter().map(OneObjective::of).collect(),
    }

    /// One objective, in `vault health`.
    struct OneObjective<'a>(one: &'a Objective) {
        /// Of which source or copy; empty for the repository.
        source: &'a str = &one.source,
        /// `rpo`, `rto`, `drill`, `check`, `size`, `duration`, `wal`, `storage`, `no_delete`, `copy`, `clock`, `runs` or `chain`.
        objective: &'static str = one.aim.name(),
        /// `met`, `missed` or `unknown`.
        status: &'static str = one.status.name(),
        /// What was seen.
        observed: &'a str = &one.observed,
        /// What was wanted.
        limit: &'a str = &one.limit,
        /// Since when it is so; null if nobody knows.
        since: Option<String> = one.since.map(render::time_rfc3339),
        /// In one line.
        message: &'a str = &one.message,
        /// The command that helps; empty if there is none.
        next: &'a str = &one.next,
    }
}

/// Judges.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    match judge(session, arguments) {
        Ok((_, _, judged)) if arguments.nagios => Ok(nagios(&judged)),
        Ok((now, view, judged)) => Ok(tell(session, now, view, &judged)),
        // what keeps a monitor from an answer is an alarm, but for its own wrong words
        Err(failure) if arguments.nagios => {
            let is_usage = failure.is_usage();
            let word = if is_usage { "UNKNOWN" } else { "CRITICAL" };
            render::line(&format!("VAULT {word} - {}", failure.into_words().0));
            Ok(if is_usage { 3 } else { 2 })
        }
        Err(failure) => Err(failure),
    }
}

type Seeing = (WallTime, &'static str, Vec<Objective>);

fn judge(session: &Session, arguments: &Arguments) -> Result<Seeing, Failure> {
    let plan = match super::plan::find(session) {
        Ok(_) => Some(super::plan::load(session)?),
        Err(_) => None,
    };
    let named;
    let session = match &plan {
        Some(plan) => {
            named = super::plan::session_of(session, plan);
            &named
        }
        None => session,
    };
    for name in &arguments.sources {
        let is_known = plan.as_ref().is_none_or(|plan| plan.source(name).is_some());
        if !is_known {
            return Err(Failure::usage(format!("the plan has no source {name}")));
        }
    }
    let repository = session.open()?;
    let history = History::read(&repository).context("cannot read the journal")?;
    let now = repository.runtime().clock.now();
    let seen = Seen::of(&repository, &history, plan.as_ref()).context("cannot see how much is stored")?;
    let known = Known { plan: plan.as_ref(), history: &history, seen, now };
    let mut judged = health::judge(&known);
    if !arguments.sources.is_empty() {
        judged.retain(|one| arguments.sources.contains(&one.source));
    }
    let view = match repository.keys().role() {
        Role::Owner => "owner",
        Role::Client => "client",
        Role::Writer => "writer",
    };
    Ok((now, view, judged))
}

fn tell(session: &Session, now: WallTime, view: &'static str, judged: &[Objective]) -> u8 {
    session.global.print(&Judged::of(now, view, judged));
    let faults: Vec<&Objective> = judged.iter().filter(|one| one.is_fault()).collect();
    for fault in &faults {
        let next = if fault.next.is_empty() { String::new() } else { format!("; next: {}", fault.next) };
        render::complain(&format!("{}{next}", fault.message));
    }
    if session.global.verbose && !session.global.json {
        let shown: Vec<&Objective> = judged.iter().filter(|one| !one.is_fault()).collect();
        Table::of(&shown)
            .text("SOURCE", Give::End(40), |one| if one.source.is_empty() { "-" } else { one.source.as_str() })
            .text("OBJECTIVE", Give::Never, |one| one.aim.name())
            .text("MESSAGE", Give::Wrap(24), |one| one.message.as_str())
            .print();
    }
    let met = judged.iter().filter(|one| one.status == Status::Met).count();
    if faults.is_empty() {
        session.say(&format!("all is well: {} met", render::count(met as u64, "objective", "objectives")));
    }
    if let Some(left) = left_out(judged) {
        session.say(&left);
    }
    if faults.is_empty() { code::DONE } else { code::UNHEALTHY }
}

/// What is wanted, and what nobody looks at yet: it must not pass for met.
fn left_out(judged: &[Objective]) -> Option<String> {
    let left = judged.iter().filter(|one| one.is_later).map(|one| format!("{} of {}", one.aim.name(), one.source));
    let left: Vec<String> = left.collect();
    (!left.is_empty()).then(|| format!("not judged by this version: {}", left.join(", ")))
}

/// The first line is what a monitor shows, the others are its long text; what follows the bar are figures.
fn nagios(judged: &[Objective]) -> u8 {
    let missed = judged.iter().filter(|one| one.status == Status::Missed && one.is_fault());
    let unknown = judged.iter().filter(|one| one.status == Status::Unknown && one.is_fault());
    let (word, code) = match (missed.clone().next(), unknown.clone().next()) {
        (Some(_), _) => ("CRITICAL", 2),
        (None, Some(_)) => ("WARNING", 1),
        (None, None) => ("OK", 0),
    };
    let mut lines: Vec<String> = missed.chain(unknown).map(|one| one.message.replace('|', "/")).collect();
    if lines.is_empty() {
        lines.push(format!("{} objectives met", judged.iter().filter(|one| one.status == Status::Met).count()));
    }
    lines.extend(left_out(judged));
    let ages = judged.iter().filter(|one| one.aim == Aim::Rpo);
    let figures: Vec<String> = ages.filter_map(figure).collect();
    let first = lines.remove(0);
    let bar = if figures.is_empty() { String::new() } else { format!(" | {}", figures.join(" ")) };
    render::line(&format!("VAULT {word} - {first}{bar}"));
    lines.iter().for_each(|line| render::line(line));
    code
}

/// `'app-db_age'=11400s;;3600;0`: what is measured, and what is critical.
fn figure(one: &Objective) -> Option<String> {
    let (age, limit) = one.seconds?;
    Some(format!("'{}_age'={age}s;;{limit};0", one.source))
}
