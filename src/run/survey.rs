//! What stands between a plan and its first run: each source is asked what it is, with what a run would go by, and nothing
//! is dumped. What is found is data with the place of the source in the plan. Invariant: what lacks around a plan, like a
//! variable, is found without asking, and not said here again.

use super::{Machine, origin};
use crate::backend::{BackendOptions, Bucket};
use crate::plan::{self, Finding, Kind, Level, Mysql, Plan, Postgres, Redis, Seen, Source, Sqlite};
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
        Kind::Bucket(said) => Some(of_bucket(source, said, runtime)),
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
    let client = told.client.as_ref();
    let seen = Seen {
        reachable: (told.reachable || is_silent).then_some(told.reachable),
        bytes_estimate: told.reachable.then(|| told.bytes()),
        tool: client.map(|client| client.folder.join("pg_dump").display().to_string()),
        tool_version: client.map(|client| client.version.to_string()),
        server_version: told.server_version.clone(),
    };
    let findings = told.findings.iter().map(|one| finding(source, level(one.is_error()), one, one.hint()));
    Some(Surveyed { seen, findings: findings.collect() })
}

fn of_mysql(source: &Source, said: &Mysql, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let options = origin::mysql_options(machine, source, said).ok()?;
    let told = mysql::survey(&options, runtime);
    let is_silent = told.findings.iter().any(|one| matches!(one, mysql::Finding::Unreachable { .. }));
    let is_there = told.server_version.is_some();
    let client = told.client.as_ref();
    let seen = Seen {
        reachable: (is_there || is_silent).then_some(is_there),
        bytes_estimate: is_there.then(|| told.bytes()),
        tool: client.map(|client| client.dump.display().to_string()),
        tool_version: client.map(|client| client.version.clone()),
        server_version: told.server_version.clone(),
    };
    let findings = told.findings.iter().map(|one| finding(source, level(one.is_error()), one, None));
    Some(Surveyed { seen, findings: findings.collect() })
}

fn of_redis(source: &Source, said: &Redis, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let options = origin::redis_options(machine, source, said).ok()?;
    let (seen, findings) = match redis::survey(&options, runtime) {
        Err(failure) => {
            let seen = Seen { reachable: Some(false), ..Seen::default() };
            (seen, vec![finding(source, Level::Error, &failure, None)])
        }
        Ok(told) => {
            let findings = told.findings.iter().map(|one| finding(source, Level::Error, one, None)).collect();
            let server_version = Some(told.server_version).filter(|version| !version.is_empty());
            let bytes_estimate = told.bytes_estimate;
            (Seen { reachable: Some(true), bytes_estimate, server_version, ..Seen::default() }, findings)
        }
    };
    Some(Surveyed { seen, findings })
}

fn of_sqlite(source: &Source, said: &Sqlite, machine: &Machine<'_>, runtime: &Runtime) -> Option<Surveyed> {
    let (tool, tool_version) = (Some("SQLite".to_owned()), Some(sqlite::version().to_owned()));
    let away = Seen { reachable: Some(false), tool, tool_version, ..Seen::default() };
    if !said.path.exists() {
        return Some(Surveyed { seen: away, findings: Vec::new() });
    }
    let options = origin::sqlite_options(machine, said);
    let told = match sqlite::survey(&options, runtime) {
        Ok(told) => told,
        Err(failure) => {
            return Some(Surveyed { seen: away, findings: vec![finding(source, Level::Error, &failure, None)] });
        }
    };
    let (needed, free, path) = (told.bytes(), told.scratch_free, options.scratch.unwrap_or_default());
    let lacks = (needed > free).then_some(sqlite::Failure::NoRoom { path, needed, free });
    let findings = lacks.map(|failure| finding(source, Level::Error, &failure, None));
    let seen = Seen { reachable: Some(true), bytes_estimate: Some(needed), ..away };
    Some(Surveyed { seen, findings: findings.into_iter().collect() })
}

/// How large it is only a listing of all of it would tell.
fn of_bucket(source: &Source, said: &plan::Bucket, runtime: &Runtime) -> Surveyed {
    let place = Bucket::open(&said.location, &BackendOptions::default(), runtime);
    let asked = place.and_then(|place| place.check());
    let seen = Seen { reachable: Some(asked.is_ok()), ..Seen::default() };
    let failure = asked.err().map(|error| finding(source, Level::Error, &error, None));
    Surveyed { seen, findings: failure.into_iter().collect() }
}
