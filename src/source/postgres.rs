//! Databases of a PostgreSQL server, dumped by `pg_dump`: one file each, `NAME.dump` or `NAME.sql`, beside `globals.sql`
//! with the roles. The client is the lowest on this machine that reads the server. Each dump is proven to its end while
//! it flows, and its rows are counted; what ends early is an error. Signs in the name of a database that no file has are
//! written as in URLs.
//!
//! Facts: `server_version`, `tool_version`, `format`, `system_identifier`, and of each database `database`, `encoding`,
//! `collate`, `ctype`, `extension:NAME` with its version, `large_objects`, `table:SCHEMA.NAME` with its rows. If there are
//! several databases, the names of what belongs to one begin with its file: `app.dump/table:public.users`.

mod access;
mod connection;
mod flow;
mod hint;
mod run;
mod script;
mod server;
mod survey;
mod tables;
mod tools;

pub use survey::{Finding, Survey, SurveyedDatabase, survey};
pub use tools::{Client, Version};

use super::child::Environment;
use super::dump::{Dump, DumpFailure, DumpFile, Learned};
use crate::progress::Progress;
use crate::runtime::Runtime;
use run::Run;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;
use tables::Choice;
use zeroize::Zeroizing;

/// What is dumped, and how. It holds secrets, and so is not shown.
#[derive(Clone)]
pub struct Options {
    /// `postgresql://…`, or words like `host=db dbname=app`. Its password is never shown.
    pub url: Option<Zeroizing<String>>,
    /// A service of the file of services, instead.
    pub service: Option<String>,
    /// Variables: programs get PATH, HOME, TZ, LANG of them, those of libpq (PG…), what `variables` names, and
    /// `dump_command` those of containers (DOCKER_…, CONTAINER_…, KUBECONFIG).
    pub environment: Environment,
    /// Further variables for the programs.
    pub variables: Vec<OsString>,
    /// Which databases.
    pub databases: Databases,
    /// Form of the dumps.
    pub format: Format,
    /// Only these tables. Patterns as `pg_dump` takes them, here and below; one of this list that fits nothing is an error.
    pub tables: Vec<String>,
    /// Without these tables.
    pub exclude_tables: Vec<String>,
    /// Only these schemas; a pattern that fits nothing is an error.
    pub schemas: Vec<String>,
    /// Without these schemas.
    pub exclude_schemas: Vec<String>,
    /// These tables without their rows.
    pub exclude_table_data: Vec<String>,
    /// Roles and tablespaces.
    pub globals: Globals,
    /// Custom dumps are read along, to count their rows and to see their end.
    pub counts: bool,
    /// The folder of the programs, instead of what is found.
    pub tools: Option<PathBuf>,
    /// Writes the dump instead of `pg_dump`; it gets none of the options that make one.
    pub dump_command: Vec<OsString>,
    /// Further options of `pg_dump`.
    pub options: Vec<OsString>,
    /// How long to wait for a lock on the tables.
    pub lock_timeout: Duration,
    /// When all of it is ended.
    pub timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            service: None,
            environment: Environment::new(),
            variables: Vec::new(),
            databases: Databases::default(),
            format: Format::default(),
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            schemas: Vec::new(),
            exclude_schemas: Vec::new(),
            exclude_table_data: Vec::new(),
            globals: Globals::default(),
            counts: true,
            tools: None,
            dump_command: Vec::new(),
            options: Vec::new(),
            lock_timeout: Duration::from_secs(60),
            timeout: None,
        }
    }
}

impl Options {
    /// The patterns that choose tables.
    fn choice(&self) -> Choice<'_> {
        let Self { schemas, tables, exclude_schemas, exclude_tables, .. } = self;
        Choice { schemas, tables, exclude_schemas, exclude_tables }
    }
}

/// Which databases are dumped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Databases {
    /// That which the connection leads to.
    #[default]
    Connected,
    /// These.
    Named(Vec<String>),
    /// All that this user may enter.
    All,
}

/// Form of a dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For `pg_restore`, uncompressed: vault finds again what it has, and compresses better.
    #[default]
    Custom,
    /// SQL for `psql`.
    Plain,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Plain => "plain",
        }
    }
}

/// Whether roles and tablespaces are dumped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Globals {
    /// Without passwords; where that is not allowed it is noted, and the databases are dumped.
    #[default]
    Auto,
    /// With the hashes of passwords; where that is not allowed the snapshot has a gap.
    Passwords,
    /// No.
    Off,
}

/// The flag by which a command asks for a terminal, which ruins a dump: `docker exec -it`.
pub fn terminal_flag(words: &[OsString]) -> Option<&OsStr> {
    let mut rest = words.iter().map(OsString::as_os_str).skip_while(|word| *word != "exec");
    rest.next()?;
    rest.take_while(|word| word.as_encoded_bytes().starts_with(b"-")).find(|word| {
        let bytes = word.as_encoded_bytes();
        let is_short = |bytes: &[u8]| !bytes.starts_with(b"-") && bytes.contains(&b't') && !bytes.contains(&b'=');
        bytes == b"--tty" || bytes == b"--tty=true" || bytes.strip_prefix(b"-").is_some_and(is_short)
    })
}

/// Dumps of databases.
pub struct Postgres<'a> {
    options: Options,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    run: Option<Run<'a>>,
    learned: Learned,
}

impl<'a> Postgres<'a> {
    /// Nothing runs yet. What programs say will go to `progress` too.
    pub fn new(options: Options, runtime: &'a Runtime, progress: &'a dyn Progress) -> Self {
        Self { options, runtime, progress, run: None, learned: Learned::default() }
    }
}

impl Dump for Postgres<'_> {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        // what still runs ends before it runs again
        self.run = None;
        self.learned = Learned::default();
        self.run = Some(Run::start(&self.options, (self.runtime, self.progress), &mut self.learned)?);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        match self.run.as_mut() {
            Some(run) => run.next(&self.options, &mut self.learned),
            None => Ok(None),
        }
    }

    fn learned(&mut self) -> Learned {
        self.learned.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::terminal_flag;

    #[test]
    fn a_terminal_is_found_where_it_is_asked_for_and_nowhere_else() {
        let flag = |text: &str| {
            let words: Vec<_> = text.split(' ').map(Into::into).collect();
            terminal_flag(&words).map(|word| word.to_string_lossy().into_owned())
        };
        for (text, found) in [
            ("docker exec -it db pg_dump app", Some("-it")),
            ("docker exec -t db pg_dump app", Some("-t")),
            ("podman exec --user=postgres --tty db pg_dump", Some("--tty")),
            ("sudo kubectl exec -ti db -- pg_dump", Some("-ti")),
            ("docker exec db pg_dump -t users app", None),
            ("docker exec -i db pg_dump -Fc", None),
            ("pg_dump -t users", None),
            ("docker compose exec -T db pg_dump", None),
        ] {
            assert_eq!(flag(text).as_deref(), found, "{text}");
        }
    }
}
