//! What stands between a plan and its first run: each source is asked what it is, with what a run would go by, and nothing
//! is dumped. What is found is data with the place of the source in the plan. Invariant: what lacks around a plan, like a
//! variable, is found without asking, and not said here again.

use super::{Machine, origin};
use crate::plan::{Finding, Kind, Level, Mysql, Plan, Postgres, Redis, Seen, Source, Sqlite};
use crate::runtime::Runtime;
use crate::source::{mysql, postgres, redis, sqlite};

/// What came of asking one source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Surveyed {
    /// What was seen of it.
    pub seen: Seen,
    /// What stands in the way, or may.
    pub findings: Vec<Finding>,
}

/// Asks all sources of a plan, in its order; those that are off are not asked.
pub fn survey(plan: &Plan, machine: &Machine<'_>, runtime: &Runtime) -> Vec<Surveyed> {
    plan.sources.iter().map(|source| of(source, machine, runtime)).collect()
}

fn of(source: &Source, machine: &Machine<'_>, runtime: &Runtime) -> Surveyed {
    let asked = match &source.kind {
        _ if !source.enabled => None,
        Kind::Postgres(said) => of_postgres(source, said, machine, runtime),
        Kind::Mysql(said) => of_mysql(source, said, machine, runtime),
        Kind::Redis(said) => of_redis(source, said, machine, runtime),
        Kind::Sqlite(said) => of_sqlite(source, said, machine, runtime),
        _ => None,
    };
    asked.unwrap_or_default()
}

/// Something about a source, where it stands in the plan.
fn finding(source: &Source, level: Level, problem: &impl ToString, hint: impl Into<Option<String>>) -> Finding {
    Finding {
        level,
        key: format!("source.{}", source.name),
        place: source.place.clone(),
        problem: format!("{}: {}", source.name, problem.to_string()),
        hint: hint.into().filter(|hint| !hint.is_empty()),
    }
}

fn level(is_error: bool) -> Level {
    if is_error { Level::Error } else { Level::Warning }
}

fn of_postgres(source: &Source, said: &Postgres, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let options = origin::postgres_options(machine, source, said).ok()?;
    let told = postgres::survey(&options, runtime);
    let is_silent = told.findings.iter().any(|one| matches!(one, postgres::Finding::Unreachable { .. }));
    let mut seen = Seen::default();
    seen.reachable = (told.reachable || is_silent).then_some(told.reachable);
    seen.bytes_estimate = told.reachable.then(|| told.bytes());
    seen.tool = told.client.as_ref().map(|client| client.folder.join("pg_dump").display().to_string());
    seen.tool_version = told.client.as_ref().map(|client| client.version.to_string());
    seen.server_version = told.server_version;
    let findings = told.findings.iter().map(|one| finding(source, level(one.is_error()), one, one.hint()));
    Some(Surveyed { seen, findings: findings.collect() })
}

fn of_mysql(source: &Source, said: &Mysql, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let options = origin::mysql_options(machine, source, said).ok()?;
    let told = mysql::survey(&options, runtime);
    let is_silent = told.findings.iter().any(|one| matches!(one, mysql::Finding::Unreachable { .. }));
    let is_there = told.server_version.is_some();
    let mut seen = Seen::default();
    seen.reachable = (is_there || is_silent).then_some(is_there);
    seen.bytes_estimate = is_there.then(|| told.bytes());
    seen.tool = told.client.as_ref().map(|client| client.dump.display().to_string());
    seen.tool_version = told.client.as_ref().map(|client| client.version.clone());
    seen.server_version = told.server_version;
    let findings = told.findings.iter().map(|one| finding(source, level(one.is_error()), one, None));
    Some(Surveyed { seen, findings: findings.collect() })
}

fn of_redis(source: &Source, said: &Redis, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let options = origin::redis_options(machine, source, said).ok()?;
    let mut seen = Seen::default();
    let told = match redis::survey(&options, runtime) {
        Ok(told) => told,
        Err(failure) => {
            seen.reachable = Some(false);
            return Some(Surveyed { seen, findings: vec![finding(source, Level::Error, &failure, None)] });
        }
    };
    seen.reachable = Some(true);
    seen.bytes_estimate = told.bytes_estimate;
    seen.server_version = Some(told.server_version).filter(|version| !version.is_empty());
    let findings = told.findings.iter().map(|one| finding(source, Level::Error, one, None));
    Some(Surveyed { seen, findings: findings.collect() })
}

fn of_sqlite(source: &Source, said: &Sqlite, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let mut seen = Seen::default();
    (seen.tool, seen.tool_version) = (Some("SQLite".into()), Some(sqlite::version().into()));
    seen.reachable = Some(false);
    if !said.path.exists() {
        return Some(Surveyed { seen, ..Surveyed::default() });
    }
    let options = origin::sqlite_options(machine, said);
    let told = match sqlite::survey(&options, runtime) {
        Ok(told) => told,
        Err(failure) => return Some(Surveyed { seen, findings: vec![finding(source, Level::Error, &failure, None)] }),
    };
    (seen.reachable, seen.bytes_estimate) = (Some(true), Some(told.bytes()));
    let (needed, free, path) = (told.bytes(), told.scratch_free, options.scratch.unwrap_or_default());
    let lacks = (needed > free).then(|| sqlite::Failure::NoRoom { path, needed, free });
    let findings = lacks.map(|failure| finding(source, Level::Error, &failure, None));
    Some(Surveyed { seen, findings: findings.into_iter().collect() })
}
