//! From what the plan says of a source to what is read: values that it names are looked up in the environment here, and
//! nowhere else in a run.

use super::{Context, Machine, Trouble};
use crate::backend::{BackendOptions, Bucket};
use crate::backup;
use crate::plan::{self, Connection, Databases, Dump as Form, Globals, Kind, Snapshotting, Source};
use crate::source::dump::Dump;
use crate::source::{self, Command, CommandOptions, Excludes, Limit, allowed, mysql, postgres, redis, sqlite};
use std::ffi::OsString;
use std::path::PathBuf;
use vault_format::snapshot::LeftOut;
use zeroize::Zeroizing;

/// True for kinds that a later version runs.
pub fn is_for_later(source: &Source) -> bool {
    matches!(source.kind, Kind::PostgresBase(_) | Kind::Stdin)
}

/// Which part of unchanged files is read again.
pub fn reread(source: &Source) -> Option<(u32, u32)> {
    match &source.kind {
        Kind::Directory(directory) => Some(directory.reread),
        _ => None,
    }
}

/// Gives what a source is read from.
pub fn with<T>(
    context: &Context<'_>,
    (source, limit): (&Source, Limit),
    take: &mut dyn FnMut(backup::Source<'_>) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let (runtime, progress) = (context.repository.runtime(), context.progress);
    // programs have the time as a limit of their own, and say so when it is over
    let brief = limit.within(runtime);
    let mut dump = |dump: &mut dyn Dump| take(backup::Source::Dump(dump));
    match &source.kind {
        Kind::Directory(directory) => {
            let (paths, walk) = folders(context, directory)?;
            take(backup::Source::Paths(paths, walk))
        }
        Kind::Command(command) => {
            let options = CommandOptions {
                words: command.command.iter().map(OsString::from).collect(),
                filename: command.filename.clone().into_bytes(),
                environment: Some(allowed(context.machine.environment.clone(), |name| {
                    command.env.iter().any(|known| name == known.as_str())
                })),
                hidden: command.env.clone(),
                folder: Some(source.folder.clone()).filter(|folder| !folder.as_os_str().is_empty()),
                timeout: Some(source.timeout),
                allow_empty: command.allow_empty,
            };
            dump(&mut Command::new(options, runtime, progress))
        }
        Kind::Postgres(postgres) => {
            let options = postgres_options(context.machine, source, postgres)?;
            dump(&mut postgres::Postgres::new(options, runtime, progress))
        }
        Kind::Mysql(mysql) => {
            let options = mysql_options(context.machine, source, mysql)?;
            dump(&mut mysql::Mysql::new(options, runtime, progress))
        }
        Kind::Sqlite(sqlite) => {
            let options = sqlite_options(context.machine, sqlite);
            dump(&mut sqlite::Sqlite::new(options, &brief, progress))
        }
        Kind::Redis(redis) => {
            let options = redis_options(context.machine, source, redis)?;
            dump(&mut redis::Redis::new(options, &brief, progress))
        }
        Kind::Bucket(bucket) => {
            let options = BackendOptions::default();
            let place = Bucket::open(&bucket.location, &options, runtime).map_err(|error| error.to_string())?;
            take(backup::Source::Bucket(&place, bucket_options(bucket)))
        }
        Kind::Stdin | Kind::PostgresBase(_) => Err(format!("kind {} is not run", source.kind.name()).into()),
    }
}

fn bucket_options(bucket: &plan::Bucket) -> backup::BucketOptions {
    backup::BucketOptions {
        prefix: bucket.prefix.clone(),
        exclude: bucket.exclude.iter().map(|pattern| pattern.clone().into_bytes()).collect(),
        allow_empty: bucket.allow_empty,
    }
}

fn folders(context: &Context<'_>, directory: &plan::Directory) -> Result<(Vec<PathBuf>, source::Options), String> {
    let mut patterns: Vec<Vec<u8>> = directory.exclude.iter().map(|pattern| pattern.clone().into_bytes()).collect();
    for path in &directory.exclude_file {
        let read = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        patterns.extend(Excludes::lines(&read));
    }
    let rules = LeftOut {
        patterns,
        markers: directory.exclude_if_present.iter().map(|name| name.clone().into_bytes()).collect(),
        larger_than: directory.exclude_larger_than,
        other_file_systems: directory.one_file_system,
        ..LeftOut::default()
    };
    let databases = context.plan.databases_in_files().cloned().collect();
    Ok((directory.paths.clone(), source::Options { rules, databases, ..source::Options::default() }))
}

/// The URL of a connection, looked up where it has to be.
fn url(machine: &Machine<'_>, connection: &Connection) -> Result<Option<Zeroizing<String>>, String> {
    match connection {
        Connection::Variable(name) => match machine.variable(name) {
            Some(url) => Ok(Some(Zeroizing::new(url))),
            None => Err(format!("the variable {name} of the environment is not set")),
        },
        Connection::Url(url) => Ok(Some(Zeroizing::new(url.clone()))),
        Connection::Service(_) | Connection::Client => Ok(None),
    }
}

fn words<'a>(words: impl IntoIterator<Item = &'a String>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

/// What a dump of PostgreSQL goes by.
pub fn postgres_options(
    machine: &Machine<'_>,
    source: &Source,
    said: &plan::Postgres,
) -> Result<postgres::Options, String> {
    let service = match &said.connection {
        Connection::Service(service) => Some(service.clone()),
        _ => None,
    };
    Ok(postgres::Options {
        url: url(machine, &said.connection)?,
        service,
        environment: machine.environment.clone(),
        databases: match &said.database {
            Databases::Connected => postgres::Databases::Connected,
            Databases::Named(names) => postgres::Databases::Named(names.clone()),
            Databases::All => postgres::Databases::All,
        },
        format: match said.format {
            Form::Custom => postgres::Format::Custom,
            Form::Plain => postgres::Format::Plain,
        },
        tables: said.tables.clone(),
        exclude_tables: said.exclude_tables.clone(),
        schemas: said.schemas.clone(),
        exclude_schemas: said.exclude_schemas.clone(),
        exclude_table_data: said.exclude_table_data.clone(),
        globals: match said.globals {
            Globals::Auto => postgres::Globals::Auto,
            Globals::Passwords => postgres::Globals::Passwords,
            Globals::None => postgres::Globals::Off,
        },
        counts: said.counts,
        tools: said.tools.clone(),
        dump_command: words(said.dump_command.iter().flatten()),
        options: words(&said.options),
        lock_timeout: said.lock_timeout,
        timeout: Some(source.timeout),
        ..postgres::Options::default()
    })
}

/// What a dump of MySQL goes by.
pub fn mysql_options(machine: &Machine<'_>, source: &Source, said: &plan::Mysql) -> Result<mysql::Options, String> {
    Ok(mysql::Options {
        url: url(machine, &said.connection)?,
        environment: machine.environment.clone(),
        databases: match &said.database {
            Databases::Connected => mysql::Databases::Connected,
            Databases::Named(names) => mysql::Databases::Named(names.clone()),
            Databases::All => mysql::Databases::All,
        },
        tables: said.tables.clone(),
        exclude_tables: said.exclude_tables.clone(),
        tools: said.tools.clone(),
        dump_command: words(said.dump_command.iter().flatten()),
        options: words(&said.options),
        timeout: Some(source.timeout),
        ..mysql::Options::default()
    })
}

/// What a copy of SQLite goes by.
pub fn sqlite_options(machine: &Machine<'_>, said: &plan::Sqlite) -> sqlite::Options {
    let scratch = Some(said.scratch.clone().unwrap_or_else(|| machine.scratch.clone()));
    sqlite::Options { path: said.path.clone(), scratch, ..sqlite::Options::default() }
}

/// What a copy of Redis goes by.
pub fn redis_options(machine: &Machine<'_>, source: &Source, said: &plan::Redis) -> Result<redis::Options, String> {
    let options = match url(machine, &said.connection)? {
        Some(url) => redis::Options::of_url(&url).map_err(|error| error.to_string())?,
        None => redis::Options::default(),
    };
    let method = match &said.method {
        Snapshotting::Replica => redis::Method::Replica,
        Snapshotting::Bgsave(path) => redis::Method::Bgsave(path.clone()),
    };
    Ok(redis::Options { method, filename: format!("{}.rdb", source.name).into_bytes(), ..options })
}
