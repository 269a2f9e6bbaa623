//! `vault forget`: drops snapshots by id or by policy, and says of each one why it goes or stays. To leave a source
//! without any snapshot is asked for first.

use super::printed::printed;
use super::proposal::quote;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, choice, code, hint, prune, render, secret, time};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault::error::Error;
use vault::forget::{self, Foretold, Late, LeftOut, PlanRules, Report, Verdict};
use vault::history::History;
use vault::plan::Plan;
use vault::repository::{self, Repository};
use vault::retention::{Amount, Length, Policy};
use vault::run::EXPECTED_MAX;
use vault::time::{WallTime, parse_duration};

/// The rules that a forecast counts by, and their headings.
static RULES: [(&str, &str); 9] = [
    ("last", "LAST"),
    ("hourly", "HOURLY"),
    ("daily", "DAILY"),
    ("weekly", "WEEKLY"),
    ("monthly", "MONTHLY"),
    ("yearly", "YEARLY"),
    ("within", "WITHIN"),
    ("tag", "TAG"),
    ("held", "HELD"),
];

/// What --late takes: the owner's answer.
const LATE: [(&str, &str, Late); 2] = [
    ("claimed", "They are as old as they say", Late::Claimed),
    ("arrived", "They came when the store says", Late::Arrived),
];

/// Drop snapshots by id, or those that no rule keeps
///
/// A rule takes a number or a length of time: 24, or 7d, 12w, 12m (months), 7y. Lengths count back from the newest
/// snapshot. Each source and writer is judged alone, and its newest snapshot always stays. `vault undelete` takes a
/// snapshot back until prune deletes its data.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault forget --keep-daily 30d --keep-weekly 12w --keep-monthly 12m
  vault forget --by-plan --explain --on 2027-03-01
  vault forget 3f9a02c1 --reason 'taken by mistake'")]
pub struct Arguments {
    /// Snapshots to drop, whatever the rules say
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only those of this source, NAME or DOMAIN/NAME (can be repeated)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    #[command(flatten)]
    keep: Keep,
    /// By the rules of the plan, each source by its own `keep`; of sources without one all is kept
    #[arg(long, conflicts_with_all = ["ids", "name", "keep_last", "keep_hourly", "keep_daily", "keep_weekly",
        "keep_monthly", "keep_yearly", "keep_within", "keep_tag"])]
    by_plan: bool,
    /// Only say which rule keeps each snapshot, and what would go
    #[arg(long, requires = "by_plan", conflicts_with_all = ["prune", "late"])]
    explain: bool,
    /// As it would be on that day, if the plan is run as it says until then: how many snapshots each rule keeps, and which
    /// of today will be gone
    #[arg(long, value_name = "DATE", value_parser = time::parse_to_come, requires = "explain")]
    on: Option<WallTime>,
    /// For late snapshots that were never seen before: which of their two times counts; say `claimed` after a repository
    /// was moved by copying its files
    #[arg(long, value_name = "TIME", value_parser = choice::one_of(LATE), conflicts_with = "ids")]
    late: Option<Late>,
    /// Only say what would be dropped
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Prune when it is done, as `vault prune` does; with --dry-run what would be forgotten still counts as kept
    #[arg(long)]
    prune: bool,
    /// With --prune: time between condemning and deleting; 0s frees at once, while nobody else writes [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "prune")]
    grace: Option<Duration>,
}

/// The rules.
#[derive(Debug, clap::Args)]
struct Keep {
    /// Keep the newest ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Keep the newest of each hour
    #[arg(long, value_name = "N|DUR")]
    keep_hourly: Option<Amount>,
    /// Keep the newest of each day
    #[arg(long, value_name = "N|DUR")]
    keep_daily: Option<Amount>,
    /// Keep the newest of each week (Monday to Sunday)
    #[arg(long, value_name = "N|DUR")]
    keep_weekly: Option<Amount>,
    /// Keep the newest of each month
    #[arg(long, value_name = "N|DUR")]
    keep_monthly: Option<Amount>,
    /// Keep the newest of each year
    #[arg(long, value_name = "N|DUR")]
    keep_yearly: Option<Amount>,
    /// Keep all of the last so long
    #[arg(long, value_name = "DUR")]
    keep_within: Option<Length>,
    /// Keep all with this tag, which at least one must have (can be repeated)
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
}

impl Keep {
    fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            tags: self.keep_tag.clone(),
            tags_for: Vec::new(),
        }
    }
}

printed! {
    /// What `vault forget` prints; with `--prune` a second object follows, that of `prune`.
    struct Forgotten<'a>(dry_run: bool, report: &'a Report, notes: &'a [String], foretold: &'a [Foretold]) {
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Snapshots that were forgotten.
        forgotten: Vec<Line<'a>> = report.verdicts.iter().filter(|one| !one.keep).map(Line::of).collect(),
        /// Snapshots that stay.
        kept: Vec<Line<'a>> = report.verdicts.iter().filter(|one| one.keep).map(Line::of).collect(),
        /// Ids of the orders that were put.
        orders: Vec<String> = report.orders.iter().map(ToString::to_string).collect(),
        /// Things worth knowing.
        notes: &'a [String] = notes,
        /// Sources that no rule was applied to; the exit code is 3.
        left_out: Vec<Left<'a>> = report.left_out.iter().map(Left::of).collect(),
        /// With `--on`: what there will be of each source; else empty. `forgotten` and `kept` are today's snapshots then.
        forecast: Vec<Told<'a>> = foretold.iter().map(Told::of).collect(),
    }

    /// What there will be of a source on a day to come.
    struct Told<'a>(one: &'a Foretold) {
        /// What its domain is called.
        domain: &'a str = &one.domain,
        /// Its name.
        name: &'a str = &one.source,
        /// Snapshots of today.
        today: u64 = one.today,
        /// Those of today that will be gone.
        gone: u64 = one.gone,
        /// Those that will have been taken until then.
        taken: u64 = one.taken,
        /// What will be kept of both.
        kept: u64 = one.kept,
        /// How many each rule keeps, like `daily`: a snapshot counts for each of its rules.
        rules: &'a BTreeMap<String, u64> = &one.rules,
    }

    /// A source that stays as it is.
    struct Left<'a>(left: &'a LeftOut) {
        /// Id of its domain.
        domain: String = left.domain.to_string(),
        /// Its name.
        name: &'a str = &left.source,
        /// Why no rule was applied.
        reason: String = left.hidden.to_string(),
    }

    /// One snapshot.
    struct Line<'a>(verdict: &'a Verdict) {
        /// Id.
        id: String = verdict.place.id.to_string(),
        /// The time that counts.
        time: String = render::time_rfc3339(verdict.time),
        /// Its writer claims another time, which its arrival does not explain.
        late: bool = verdict.late,
        /// Name of the source.
        name: &'a str = &verdict.source,
        /// What its domain is called.
        domain: String = verdict.place.domain.to_string(),
        /// Why, in words.
        reasons: &'a [String] = &verdict.reasons,
    }
}

/// Forgets.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let policy = arguments.keep.policy();
    let usage = |text: &str| Err(Failure::usage(text).hint("see `vault forget --help`"));
    match (arguments.ids.is_empty(), policy.is_empty()) {
        (true, true) if arguments.late.is_none() && !arguments.by_plan => {
            return usage("nothing says what to keep: give a rule like --keep-daily 30d, or the IDs to drop");
        }
        (false, false) => return usage("IDs are dropped whatever the rules say: give the one or the other"),
        (false, true) if !arguments.name.is_empty() => return usage("--name goes with rules, not with IDs"),
        _ => {}
    }
    let plan = if arguments.by_plan { Some(super::plan::load(session)?) } else { None };
    let planned = plan.as_ref().map(|plan| super::plan::session_of(session, plan));
    let session = planned.as_ref().unwrap_or(session);
    let repository = session.open()?;
    if let (Some(plan), Some(day)) = (&plan, arguments.on) {
        return foretell(session, &repository, plan, day);
    }
    let (late, dry_run) = (arguments.late, arguments.dry_run || arguments.explain);
    let options = forget::Options { dry_run, may_empty: false, late };
    let report = if let Some(plan) = &plan {
        forget::by_plan(&repository, &rules(&repository, plan)?, &options).context("cannot forget snapshots")?
    } else if late.is_some() && policy.is_empty() {
        forget::settle(&repository, &options).context("cannot settle the times of snapshots")?
    } else if arguments.ids.is_empty() {
        let zone = TimeZone::system();
        forget::by_policy(&repository, arguments.name.iter().map(String::as_str), (&policy, &zone), &options)
            .context("cannot forget snapshots")?
    } else {
        named(session, &repository, &arguments.ids, options)?
    };
    let notes: Vec<String> = report.mixed.iter().map(mixed).chain(report.notes.iter().cloned()).collect();
    render::complain_each(&notes);
    for LeftOut { source, hidden, .. } in &report.left_out {
        render::complain(&format!("left out {}: {hidden}{}", render::safe(source), hint::of_hidden(hidden)));
    }
    session.global.print(&Forgotten::of(dry_run, &report, &notes, &[]));
    if !session.global.json && !session.global.quiet {
        show(&report, dry_run);
    }
    session.say_requests(&repository);
    let done = if arguments.prune {
        prune::run_in(session, &repository, &prune::Arguments::after_forget(arguments.grace, arguments.dry_run))?
    } else {
        code::DONE
    };
    let done = if report.left_out.is_empty() { done } else { code::PARTIAL };
    if report.doubtful.is_empty() || policy.is_empty() { Ok(done) } else { Err(in_doubt(&report)) }
}

/// What the plan keeps.
fn rules(repository: &Repository, plan: &Plan) -> Result<PlanRules, Failure> {
    let history = History::read(repository).context("cannot read the journal")?;
    Ok(vault::run::rules(plan, &history, zone(plan)))
}

fn zone(plan: &Plan) -> TimeZone {
    plan.timezone.clone().unwrap_or_else(TimeZone::system)
}

/// What there will be on a day to come.
fn foretell(session: &Session, repository: &Repository, plan: &Plan, day: WallTime) -> Outcome {
    let now = repository.runtime().clock.now();
    let expected = vault::run::expected(plan, &zone(plan), (now, day));
    let rules = rules(repository, plan)?;
    let told = forget::forecast(repository, &rules, &expected, day).context("cannot foretell what is kept")?;
    let too_many = expected.iter().filter(|(_, one)| one.times.len() == EXPECTED_MAX);
    let mut notes: Vec<String> = too_many
        .map(|(name, _)| {
            format!("{name}: only its next {} runs are reckoned with; choose an earlier day", EXPECTED_MAX)
        })
        .collect();
    notes.extend(told.report.notes.iter().cloned());
    render::complain_each(&notes);
    session.global.print(&Forgotten::of(true, &told.report, &notes, &told.sources));
    if session.global.json || session.global.quiet {
        return Ok(code::DONE);
    }
    let domains: BTreeSet<_> = told.sources.iter().map(|one| &one.domain).collect();
    let rule = |name: &'static str| move |one: &Foretold| one.rules.get(name).copied().unwrap_or_default();
    if !told.sources.is_empty() {
        let table = Table::of(&told.sources)
            .when(domains.len() > 1, |table| table.text("DOMAIN", Give::End(40), |one| one.domain.as_str()))
            .text("NAME", Give::End(40), |one| one.source.as_str())
            .number("TODAY", Give::Never, |one| one.today)
            .number("TAKEN", Give::Never, |one| one.taken)
            .number("KEPT", Give::Never, |one| one.kept);
        let named = RULES.iter().filter(|(name, _)| told.sources.iter().any(|one| one.rules.contains_key(*name)));
        named.fold(table, |table, (name, heading)| table.number(heading, Give::Never, rule(name))).print();
    }
    let gone: Vec<&Verdict> = told.report.verdicts.iter().filter(|one| !one.keep).collect();
    let all = render::count(told.report.verdicts.len() as u64, "snapshot", "snapshots");
    render::line(&format!("{} of today's {all} will be gone on {}", gone.len(), render::time(day)));
    for one in gone {
        render::line(&format!("  {}  {}  {}", one.place.id.short(), render::time(one.time), one.source));
    }
    Ok(code::DONE)
}

/// What stops rules, and the way on.
fn mixed(mixed: &forget::Mixed) -> String {
    let what = match (mixed.places, mixed.hosts) {
        (places, 0) => format!("{places} different sets of paths"),
        (0, hosts) => format!("{hosts} hosts"),
        (places, hosts) => format!("{places} different sets of paths and {hosts} hosts"),
    };
    format!(
        "{} has snapshots of {what}, and the rules take them for one history; a name of its own for each, by --name of \
         `vault snapshot`, keeps them apart",
        mixed.name
    )
}

fn in_doubt(report: &Report) -> Failure {
    let count = render::count(report.doubtful.len() as u64, "late snapshot is", "late snapshots are");
    Failure::failed(format!(
        "{count} kept, since the repository seems to have been moved: they arrived at once, and say they are older"
    ))
    .hint("settle it with `vault forget --late claimed` if it was moved, else with --late arrived; --dry-run shows it")
}

/// By id; asks before a source loses its last snapshot.
fn named(
    session: &Session,
    repository: &Repository,
    ids: &[String],
    options: forget::Options,
) -> Result<Report, Failure> {
    let what = "cannot forget snapshots";
    let looked = forget::by_id(repository, ids, &forget::Options { dry_run: true, ..options.clone() });
    let hint = match &looked {
        Err(Error::Repository(repository::Error::NoSnapshot(asked))) => Some(takes_ids(repository, asked)),
        _ => None,
    };
    let looked = looked.context(what).map_err(|failure| failure.hint_instead(hint))?;
    if options.dry_run {
        return Ok(looked);
    }
    let may_empty = !looked.emptied.is_empty();
    if may_empty {
        let question = format!("This leaves {} without any snapshot.", looked.emptied.join(", "));
        secret::confirm(&session.global, &question)?;
    }
    forget::by_id(repository, ids, &forget::Options { may_empty, ..options }).context(what)
}

/// What was given may be a name, or an address: those are shown, and ids taken.
fn takes_ids(repository: &Repository, asked: &str) -> String {
    let name = asked.split('@').next().unwrap_or(asked);
    let is_source = vault::list::snapshots(repository)
        .is_ok_and(|catalog| vault::stats::sources(&catalog, Some(name)).is_ok_and(|sources| !sources.is_empty()));
    if !is_source {
        return "forget takes ids: `vault snapshots` lists them".into();
    }
    let name = quote(name);
    format!(
        "forget takes ids: `vault snapshots {name}` lists them; with rules: `vault forget --name {name} --keep-last 1`"
    )
}

fn show(report: &Report, dry_run: bool) {
    let domains: BTreeSet<_> = report.verdicts.iter().map(|verdict| verdict.place.domain).collect();
    if !report.verdicts.is_empty() {
        Table::of(&report.verdicts)
            .text("", Give::Never, |one| if one.keep { "keep" } else { "drop" })
            .text("ID", Give::Never, |one| one.place.id.short())
            .text("TIME", Give::Never, |one| one.time)
            .when(domains.len() > 1, |table| table.text("DOMAIN", Give::End(40), |one| one.domain.as_str()))
            .text("NAME", Give::End(40), |one| one.source.as_str())
            .rare("NOTE", Give::Never, |one| if one.late { "late" } else { "-" })
            .text("WHY", Give::Wrap(24), |one| one.reasons.join(", "))
            .telling_apart(report.verdicts.iter().map(|one| ((one.place.domain, one.place.label), one.time)))
            .print();
    }
    let forgotten = render::count(report.forgotten() as u64, "snapshot", "snapshots");
    let kept = report.verdicts.len() - report.forgotten();
    let verb = if dry_run { "would forget" } else { "forgot" };
    let kept = render::if_any(kept as u64, |kept| format!(", kept {kept}"));
    render::line(&format!("{verb} {forgotten}{kept}"));
}
