//! What is to be dumped, found out before the first byte: the server and the client for it, the databases, and of each the
//! tables that are asked for. What stands in the way is data, for whoever asks before the first night.

use super::access::Access;
use super::flavour::Flavour;
use super::hint::hint;
use super::server::{Asker, Database, Hidden, Server, Table};
use super::tools::{Client, clients, fitting};
use super::{Databases, Options};
use crate::source::child::ChildFailure;
use globset::{GlobBuilder, GlobMatcher};
use std::path::PathBuf;

/// Engines whose tables a transaction sees as of one moment.
pub const CONSISTENT: [&str; 3] = ["InnoDB", "ROCKSDB", "TokuDB"];

/// What is dumped.
pub struct Choice {
    pub server: Server,
    pub client: Client,
    pub databases: Vec<ChosenDatabase>,
    /// Nothing that stands in the way.
    pub findings: Vec<Finding>,
}

/// A database that is dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChosenDatabase {
    /// Its name.
    pub name: String,
    /// Signs that its new tables hold.
    pub charset: String,
    /// And their order.
    pub collation: String,
    /// Only these tables; all if there are none.
    pub tables: Vec<String>,
    /// Not these.
    pub left_out: Vec<String>,
    /// What its rows take on the server's disk, about what a dump takes.
    pub bytes: u64,
}

/// Something that stands in the way of a dump, or may.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The options contradict themselves or can't be understood.
    #[error("{0}")]
    Options(String),
    /// No server answers, or not to this user.
    #[error("cannot ask the server at {place}: {why}{}", said(hint.as_ref()))]
    Unreachable {
        /// Host and port, or the socket.
        place: String,
        /// In the words of the client.
        why: String,
        /// What to do, if that is known.
        hint: Option<String>,
    },
    /// No client at all.
    #[error("there is no mariadb-dump or mysqldump{}; install mariadb-client or mysql-client", within(folder.as_ref()))]
    NoClient {
        /// Where it was looked for, if not everywhere.
        folder: Option<PathBuf>,
    },
    /// The only client is the other's.
    #[error("a server of {server} is dumped by a client of {}; its own dumps it best", client.flavour)]
    OtherClient {
        /// Whose the server is.
        server: Flavour,
        /// The client that is taken.
        client: Client,
    },
    /// No such database, or not for this user.
    #[error("there is no database {0} that this user may see")]
    NoDatabase(String),
    /// A table that is asked for is not there.
    #[error("there is no table {table} in the database {database}")]
    NoTable {
        /// As it was asked for.
        table: String,
        /// Where it was looked for.
        database: String,
    },
    /// A table that is to be left out is not there anyway.
    #[error("nothing in the database {database} fits {table}, which is to be left out")]
    NothingToLeaveOut {
        /// As it was said.
        table: String,
        /// Where it was looked for.
        database: String,
    },
    /// What this user is not shown of a database is not in its dump, and nobody says so.
    #[error(
        "{database}: this user is shown no {}, so that the dump has none, whether there are any or not; grant {}, or set \
         the option {}",
        what.name(), what.right(), what.option()
    )]
    Hidden {
        /// Its name.
        database: String,
        /// What is hidden.
        what: Hidden,
    },
    /// A table that no transaction holds still.
    #[error(
        "{database}: the table {table} is kept by {engine}, so that its rows may be of another moment than all others; \
         `ALTER TABLE {table} ENGINE=InnoDB` mends that"
    )]
    Inconsistent {
        /// Its database.
        database: String,
        /// Its name.
        table: String,
        /// What keeps it.
        engine: String,
    },
}

impl Finding {
    /// True if nothing can be dumped.
    pub fn is_error(&self) -> bool {
        let is_warning = matches!(self, Self::OtherClient { .. } | Self::Hidden { .. } | Self::Inconsistent { .. });
        !is_warning && !matches!(self, Self::NothingToLeaveOut { .. })
    }
}

fn said(hint: Option<&String>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn within(folder: Option<&PathBuf>) -> String {
    folder.map_or_else(|| " on this machine".into(), |folder| format!(" in {}", folder.display()))
}

/// Asks the server.
pub fn choose(options: &Options, access: &Access<'_>) -> Result<Choice, Finding> {
    let clients = clients(options.tools.as_deref(), access);
    let (first, rest) = clients.split_first().ok_or_else(|| Finding::NoClient { folder: options.tools.clone() })?;
    let place = access.place();
    let unreachable = |failure: &ChildFailure| {
        let why = failure.brief();
        Finding::Unreachable { place: place.clone(), hint: hint(&failure.to_string()).map(str::to_owned), why }
    };
    let mut found = Asker { access, client: first }.server();
    for client in rest.iter().filter(|client| client.flavour != first.flavour) {
        // a client that does not know how the server has its users log in
        if found.is_err() {
            found = Asker { access, client }.server().or(found);
        }
    }
    let server = found.map_err(|failure| unreachable(&failure))?;
    let client = fitting(&clients, server.flavour).unwrap_or(first).clone();
    let mut findings = Vec::new();
    if client.flavour != server.flavour {
        findings.push(Finding::OtherClient { server: server.flavour, client: client.clone() });
    }
    let asker = Asker { access, client: &client };
    let mut databases = Vec::new();
    let all = asker.databases().map_err(|failure| unreachable(&failure))?;
    for database in wanted(options, access, all)? {
        let tables = asker.tables(&database.name).map_err(|failure| unreachable(&failure))?;
        let hidden = asker.hidden(&database.name).map_err(|failure| unreachable(&failure))?;
        let is_wanted = |what: &Hidden| !options.options.iter().any(|option| *option == *what.option());
        let found = |what| Finding::Hidden { database: database.name.clone(), what };
        findings.extend(hidden.into_iter().filter(is_wanted).map(found));
        databases.push(chosen(options, database, &tables, &mut findings)?);
    }
    Ok(Choice { server, client, databases, findings })
}

/// The names that are asked for, of databases.
pub fn names(options: &Options, access: &Access<'_>) -> Vec<String> {
    match &options.databases {
        Databases::Named(names) => names.clone(),
        Databases::Connected => access
            .connection
            .iter()
            .map(|connection| connection.database.clone())
            .filter(|name| !name.is_empty())
            .collect(),
        Databases::All => Vec::new(),
    }
}

fn wanted(options: &Options, access: &Access<'_>, mut all: Vec<Database>) -> Result<Vec<Database>, Finding> {
    if options.databases == Databases::All {
        return Ok(all);
    }
    let names = names(options, access);
    if names.is_empty() {
        let why = "nothing says which database: name it at the end of the URL, or by itself";
        return Err(Finding::Options(why.into()));
    }
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|database| database.name == **name)) {
        return Err(Finding::NoDatabase(missing.clone()));
    }
    all.retain(|database| names.contains(&database.name));
    Ok(all)
}

fn chosen(
    options: &Options,
    database: Database,
    all: &[Table],
    findings: &mut Vec<Finding>,
) -> Result<ChosenDatabase, Finding> {
    let (mut tables, mut left_out) = (Vec::new(), Vec::new());
    for pattern in &options.tables {
        let fits = fitting_tables(pattern, all)?;
        if fits.is_empty() {
            return Err(Finding::NoTable { table: pattern.clone(), database: database.name });
        }
        tables.extend(fits);
    }
    for pattern in &options.exclude_tables {
        let fits = fitting_tables(pattern, all)?;
        if fits.is_empty() {
            findings.push(Finding::NothingToLeaveOut { table: pattern.clone(), database: database.name.clone() });
        }
        left_out.extend(fits);
    }
    tables.retain(|table| !left_out.contains(table));
    if tables.is_empty() && !options.tables.is_empty() {
        return Err(Finding::Options(format!(
            "every table of {} that is asked for is also to be left out",
            database.name
        )));
    }
    tables.sort();
    tables.dedup();
    let is_in = |table: &&Table| (tables.is_empty() || tables.contains(&table.name)) && !left_out.contains(&table.name);
    let mut bytes = 0u64;
    for table in all.iter().filter(is_in) {
        bytes = bytes.saturating_add(table.bytes);
        if let Some(engine) = table.engine.clone().filter(|engine| !CONSISTENT.contains(&engine.as_str())) {
            let (database, table) = (database.name.clone(), table.name.clone());
            findings.push(Finding::Inconsistent { database, table, engine });
        }
    }
    let Database { name, charset, collation } = database;
    Ok(ChosenDatabase { name, charset, collation, tables, left_out, bytes })
}

/// The tables that a pattern means: `*` and `?` stand for any signs.
fn fitting_tables(pattern: &str, all: &[Table]) -> Result<Vec<String>, Finding> {
    let matcher =
        matcher(pattern).map_err(|error| Finding::Options(format!("cannot understand {pattern}: {error}")))?;
    let fits = all.iter().filter(|table| table.name == pattern || matcher.is_match(&table.name));
    Ok(fits.map(|table| table.name.clone()).collect())
}

fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(false).build()?.compile_matcher())
}
