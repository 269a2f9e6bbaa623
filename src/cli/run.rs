//! `vault run`: does what the plan says is due. Made for cron: silent with `--quiet` when all is well, one line for each
//! thing that failed, and an exit code that tells.

use super::printed::printed;
use super::{Context, Failure, Outcome, Session, code, machine, plain, render, snapshot};
use vault::plan::CopyTo;
use vault::run::{self, Next, Part, Report, Taken, Task};
use vault::time::WallTime;

/// Do what the plan says is due
///
/// Takes the sources that are due, or those that are named; then check, forget, prune and copies, as far as the key may.
/// What is due follows from the repository: run it every few minutes, from any machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault run --quiet
  vault run --dry-run
  vault run app-db uploads
  vault run app-db --accept")]
pub struct Arguments {
    /// Sources of the plan, due or not
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Everything, due or not
    #[arg(long, alias = "force", conflicts_with = "sources")]
    all: bool,
    /// Only a part of it
    #[arg(long, value_name = "PART")]
    only: Option<Only>,
    /// Say what would run, and why
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// The sizes of these sources are the usual ones from now on: they are suspect no more
    #[arg(long, requires = "sources")]
    accept: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Only {
    Sources,
    Maintenance,
    Drills,
}

impl From<Only> for Part {
    fn from(only: Only) -> Self {
        match only {
            Only::Sources => Self::Sources,
            Only::Maintenance => Self::Maintenance,
            Only::Drills => Self::Drills,
        }
    }
}

printed! {
    /// What `vault run` prints.
    struct Ran<'a>(plan: &'a str, report: &'a Report) {
        /// Name of the plan.
        plan: &'a str = plan,
        /// When it began.
        started: String = render::time_rfc3339(report.started),
        /// How long it took.
        duration_seconds: f64 = report.duration.as_secs_f64(),
        /// Sources that were due or named.
        sources: Vec<OneTaken<'a>> = report.sources.iter().map(OneTaken::of).collect(),
        /// What else was due, and what this key may not do.
        maintenance: Vec<OneTask<'a>> = report.maintenance.iter().map(OneTask::of).collect(),
        /// Drills; this version runs none.
        drills: Vec<String> = Vec::new(),
        /// What is not due, the soonest first.
        next: Vec<OneNext<'a>> = report.next.iter().map(OneNext::of).collect(),
    }

    /// One source that was taken, in `vault run`.
    struct OneTaken<'a>(taken: &'a Taken) {
        /// Its name.
        name: &'a str = &taken.name,
        /// Its kind.
        kind: &'static str = taken.kind,
        /// `done`, `unchanged`, `partial`, `failed`, `busy`, `skipped`; `due` in a dry run.
        outcome: &'static str = taken.outcome.name(),
        /// Why it was due.
        due: &'a str = &taken.due,
        /// Id of the snapshot, or of the one that stands for this run; null without one.
        snapshot: Option<String> = taken.snapshot.map(|id| id.to_string()),
        /// Its bytes.
        bytes: u64 = taken.bytes,
        /// Bytes that were new.
        added_bytes: u64 = taken.added_bytes,
        /// Bytes that were stored.
        stored_bytes: u64 = taken.stored_bytes,
        /// How long it took.
        duration_seconds: f64 = taken.duration.as_secs_f64(),
        /// When it is tried again, if it failed; null if only by name.
        again: Option<String> = taken.again.map(render::time_rfc3339),
        /// The usual size in bytes, if this one is suspect; else null.
        suspect: Option<u64> = taken.suspect,
        /// What failed, in one line each.
        failed: Vec<&'a str> = taken.error.iter().chain(&taken.failed).map(|trouble| trouble.all.as_str()).collect(),
        /// Worth knowing.
        notes: &'a [String] = &taken.notes,
        /// What was compressed before vault read it, as in `vault snapshot`.
        compressed: Vec<snapshot::Compressed> = taken.compressed.iter().map(snapshot::Compressed::of).collect(),
    }

    /// One task, in `vault run`.
    struct OneTask<'a>(task: &'a Task) {
        /// `plan`, `check`, `forget`, `prune`, `probe`, or `copy` with the name of the second place.
        task: &'a str = &task.task,
        /// As of a source.
        outcome: &'static str = task.outcome.name(),
        /// What came of it.
        message: &'a str = &task.message,
    }

    /// One thing that is not due, in `vault run`.
    struct OneNext<'a>(next: &'a Next) {
        /// A source, or a task.
        name: &'a str = &next.name,
        /// When it is due; null if only by name.
        due: Option<String> = next.due.map(render::time_rfc3339),
    }
}

/// Runs.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let plan = super::plan::load(session)?;
    let session = &super::plan::session_of(session, &plan);
    let options = run::Options {
        sources: arguments.sources.clone(),
        all: arguments.all,
        only: arguments.only.map(Part::from),
        dry_run: arguments.dry_run,
        accept: arguments.accept,
    };
    let open_copy = |place: &CopyTo| machine::open_copy(session, place).map_err(|failure| failure.into_words().0);
    let machine = machine::of_this(&open_copy);
    let ran = session.open().and_then(|repository| {
        let progress = session.progress("running").watch(repository.backend());
        let report = progress.during(|progress| run::run(&repository, &plan, &machine, &options, progress));
        Ok((repository, report.context("cannot run the plan")?))
    });
    // a run by hand is seen by who started it
    if !arguments.dry_run && arguments.sources.is_empty() && !session.runtime.is_stopped() {
        let outage = ran.as_ref().err().map(Failure::outage);
        render::complain_each(&run::tell_of_outage(&plan, &machine, &session.runtime, outage));
    }
    let (repository, report) = ran?;
    session.say_requests(&repository);
    session.global.print(&Ran::of(&plan.name, &report));
    tell(session, &report, arguments.dry_run);
    Ok(match (report.has_failed(), report.has_gaps()) {
        (true, _) => code::FAILED,
        (false, true) => code::PARTIAL,
        (false, false) => code::DONE,
    })
}

/// What failed goes to standard error also where it is quiet.
fn tell(session: &Session, report: &Report, is_dry: bool) {
    for taken in &report.sources {
        let name = &taken.name;
        for trouble in taken.error.iter().chain(&taken.failed) {
            render::complain(&format!("{name}: {}", plain::joined(&trouble.all)));
        }
        if let Some(usual) = taken.suspect {
            render::complain(&format!(
                "{name}: {} where {} is usual; if that is right: vault run {name} --accept",
                render::size(taken.bytes),
                render::size(usual)
            ));
        }
        let named = |notes: &[String]| notes.iter().map(|note| format!("{name}: {note}")).collect::<Vec<_>>();
        session.say_notes(&named(&taken.notes));
        if !session.global.quiet && !session.global.verbose {
            render::complain_each(&named(&taken.advice));
        }
        session.say(&source_line(taken));
    }
    render::complain_each(&report.notes);
    for task in &report.maintenance {
        let line = format!("{}: {}", task.task, plain::joined(&task.message));
        match task.outcome {
            run::Outcome::Failed | run::Outcome::Partial => render::complain(&line),
            run::Outcome::Skipped => session.say_notes(&[line]),
            run::Outcome::Due => session.say(&format!("would run {line}")),
            _ => session.say(&line),
        }
    }
    if is_dry || session.global.verbose {
        report.next.iter().for_each(|next| session.say(&next_line(next)));
    } else if report.sources.is_empty() && report.maintenance.is_empty() {
        let first = report.next.first().map(|next| format!("; {}", next_line(next))).unwrap_or_default();
        session.say(&format!("nothing is due{first}"));
    }
}

fn source_line(taken: &Taken) -> String {
    let name = &taken.name;
    let took = render::duration(u64::try_from(taken.duration.as_nanos()).unwrap_or(u64::MAX));
    match taken.outcome {
        run::Outcome::Done | run::Outcome::Partial => {
            let id = taken.snapshot.map(|id| id.short()).unwrap_or_default();
            let (bytes, stored) = (render::size(taken.bytes), render::size(taken.stored_bytes));
            format!("{name}: snapshot {id}, {bytes}, {stored} stored, {took}")
        }
        run::Outcome::Unchanged => format!("{name}: nothing changed, {took}"),
        run::Outcome::Failed => {
            let again = taken.again.map(|again| format!(", tried again after {}", render::time(again)));
            format!("{name}: failed after {took}{}", again.unwrap_or_default())
        }
        run::Outcome::Busy => format!("{name}: another run is going on"),
        run::Outcome::Skipped => format!("{name}: skipped: {}", taken.notes.join("; ")),
        run::Outcome::Due => format!("{name}: would run: {}", taken.due),
    }
}

fn next_line(next: &Next) -> String {
    let when = next.due.map(|due: WallTime| format!(", at {}", render::time(due))).unwrap_or_default();
    format!("{}: {}{when}", next.name, next.why)
}
