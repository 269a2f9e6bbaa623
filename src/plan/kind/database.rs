//! Sources that are servers of databases: how they are reached and what is asked of them. A secret is never among it:
//! a URL with one is named by a variable of the environment, and whoever connects looks it up.

use crate::plan::document::has_password;
use crate::plan::table::Reader;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// How long a dump waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// By the URL in this variable.
    Variable(String),
    /// By this URL, which holds no password.
    Url(String),
    /// By this service of `pg_service.conf`.
    Service(String),
    /// By what the client finds by itself: its variables, its files.
    Client,
}

/// Which databases of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Databases {
    /// That of the URL.
    #[default]
    Connected,
    /// These.
    Named(Vec<String>),
    /// All.
    All,
}

/// Forms of a dump of PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dump {
    /// `--format=custom --compress=0`.
    #[default]
    Custom,
    /// SQL.
    Plain,
}

/// What is stored of roles and other globals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Globals {
    /// Roles without passwords, and a warning where that is not allowed.
    #[default]
    Auto,
    /// With the hashes of passwords.
    Passwords,
    /// Nothing.
    None,
}

/// PostgreSQL by `pg_dump`.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// How it is reached.
    pub connection: Connection,
    /// One file each.
    pub database: Databases,
    /// The form.
    pub format: Dump,
    /// Patterns of `pg_dump`.
    pub tables: Vec<String>,
    /// Patterns of `pg_dump`.
    pub exclude_tables: Vec<String>,
    /// Patterns of `pg_dump`.
    pub schemas: Vec<String>,
    /// Patterns of `pg_dump`.
    pub exclude_schemas: Vec<String>,
    /// Patterns of `pg_dump`.
    pub exclude_table_data: Vec<String>,
    /// Roles and the like.
    pub globals: Globals,
    /// Rows are counted while they flow.
    pub counts: bool,
    /// Folder of the programs; `None`: the lowest that is new enough.
    pub tools: Option<PathBuf>,
    /// Run instead of `pg_dump`.
    pub dump_command: Option<Vec<String>>,
    /// In addition for `pg_dump`.
    pub options: Vec<String>,
    /// How long a lock is waited for.
    pub lock_timeout: Duration,
}

/// What WAL a base has inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wal {
    /// Its own: it restores alone.
    #[default]
    Fetch,
    /// None.
    None,
}

/// How the server's checkpoint before a base is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// At once.
    #[default]
    Fast,
    /// Spread over time.
    Spread,
}

/// What becomes of tablespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tablespaces {
    /// A cluster that has some is refused.
    #[default]
    Refuse,
    /// Each is stored beside the base.
    Directory,
}

/// A whole cluster of PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresBase {
    /// How it is reached.
    pub connection: Connection,
    /// What WAL the base has inside.
    pub wal: Wal,
    /// How long continuous WAL is kept; `None`: as long as the oldest base.
    pub wal_keep: Option<Duration>,
    /// How the checkpoint is made.
    pub checkpoint: Checkpoint,
    /// Bytes each second.
    pub max_rate: Option<u64>,
    /// What becomes of them.
    pub tablespaces: Tablespaces,
    /// Folder of the programs.
    pub tools: Option<PathBuf>,
}

/// MySQL or MariaDB.
#[derive(Clone, Debug)]
pub struct Mysql {
    /// How it is reached.
    pub connection: Connection,
    /// One file each.
    pub database: Databases,
    /// Only these.
    pub tables: Vec<String>,
    /// Not these.
    pub exclude_tables: Vec<String>,
    /// Folder of the programs.
    pub tools: Option<PathBuf>,
    /// Run instead of the client's dump.
    pub dump_command: Option<Vec<String>>,
    /// In addition for it.
    pub options: Vec<String>,
}

/// How Redis gives its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Snapshotting {
    /// As a replica gets it.
    #[default]
    Replica,
    /// `BGSAVE`, and then this file.
    Bgsave(PathBuf),
}

/// Redis or Valkey.
#[derive(Clone, Debug)]
pub struct Redis {
    /// How it is reached.
    pub connection: Connection,
    /// How it gives its data.
    pub method: Snapshotting,
}

pub(super) fn postgres(table: &Reader<'_>) -> Postgres {
    let patterns = |key| table.list(key).unwrap_or_default();
    Postgres {
        connection: connection(table),
        database: databases(table),
        format: table.word("format", &[("custom", Dump::Custom), ("plain", Dump::Plain)]).unwrap_or_default(),
        tables: patterns("tables"),
        exclude_tables: patterns("exclude_tables"),
        schemas: patterns("schemas"),
        exclude_schemas: patterns("exclude_schemas"),
        exclude_table_data: patterns("exclude_table_data"),
        globals: table
            .word("globals", &[("auto", Globals::Auto), ("passwords", Globals::Passwords), ("none", Globals::None)])
            .unwrap_or_default(),
        counts: table.flag("counts").unwrap_or(true),
        tools: tools(table),
        dump_command: dump_command(table),
        options: table.list("options").unwrap_or_default(),
        lock_timeout: table.period("lock_timeout").unwrap_or(LOCK_TIMEOUT),
    }
}

pub(super) fn postgres_base(table: &Reader<'_>) -> PostgresBase {
    let checkpoints = [("fast", Checkpoint::Fast), ("spread", Checkpoint::Spread)];
    let tablespaces = [("refuse", Tablespaces::Refuse), ("directory", Tablespaces::Directory)];
    PostgresBase {
        connection: connection(table),
        wal: table.word("wal", &[("fetch", Wal::Fetch), ("none", Wal::None)]).unwrap_or_default(),
        wal_keep: table.period("wal_keep"),
        checkpoint: table.word("checkpoint", &checkpoints).unwrap_or_default(),
        max_rate: table.rate("max_rate"),
        tablespaces: table.word("tablespaces", &tablespaces).unwrap_or_default(),
        tools: tools(table),
    }
}

pub(super) fn mysql(table: &Reader<'_>) -> Mysql {
    Mysql {
        connection: table.variable("url_env").map_or(Connection::Client, Connection::Variable),
        database: databases(table),
        tables: table.list("tables").unwrap_or_default(),
        exclude_tables: table.list("exclude_tables").unwrap_or_default(),
        tools: tools(table),
        dump_command: dump_command(table),
        options: table.list("options").unwrap_or_default(),
    }
}

pub(super) fn redis(table: &Reader<'_>) -> Redis {
    let connection = table.variable("url_env").map_or(Connection::Client, Connection::Variable);
    let (is_bgsave, path) = (table.word("method", &[("replica", false), ("bgsave", true)]), table.path("path"));
    let method = match (is_bgsave.unwrap_or_default(), path) {
        (true, Some(path)) => Snapshotting::Bgsave(path),
        (true, None) => {
            table.lacks("path", Some("where the server writes its RDB file"));
            Snapshotting::Replica
        }
        (false, Some(_)) => {
            table.wrong("path", "`path` goes with method = \"bgsave\"");
            Snapshotting::Replica
        }
        (false, None) => Snapshotting::Replica,
    };
    Redis { connection, method }
}

/// One way to reach a server of PostgreSQL.
fn connection(table: &Reader<'_>) -> Connection {
    let variable = table.variable("url_env").map(Connection::Variable);
    let url = table.parsed("url", parse_url).map(Connection::Url);
    let service = table.text("service").map(Connection::Service);
    let said: Vec<&str> = ["url_env", "url", "service"].into_iter().filter(|key| table.entry(key).is_some()).collect();
    if let [first, .., last] = said[..] {
        table.wrong(last, format!("`{first}` and `{last}` both say where the server is: say it once"));
    }
    variable.or(url).or(service).unwrap_or(Connection::Client)
}

/// A URL without a password; one with it has been told of.
fn parse_url(text: &str) -> Result<String, String> {
    let is_postgres = |url: &Url| matches!(url.scheme(), "postgres" | "postgresql");
    // libpq takes words like host=db as well
    let is_words = !text.contains("://") && text.contains('=');
    if has_password(text) || is_words || Url::parse(text).is_ok_and(|url| is_postgres(&url)) {
        return Ok(text.to_owned());
    }
    Err("write it like postgres://user@host:5432/name, and the password into ~/.pgpass or PGPASSFILE".into())
}

fn databases(table: &Reader<'_>) -> Databases {
    let Some(names) = table.some("database") else { return Databases::Connected };
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    match &names[..] {
        [] => {
            table.wrong("database", "`database` names nothing");
            Databases::Connected
        }
        [name] if name == "all" => Databases::All,
        _ => Databases::Named(names),
    }
}

fn tools(table: &Reader<'_>) -> Option<PathBuf> {
    let tools = table.path("tools")?;
    table.need("tools", &tools, false);
    Some(tools)
}

/// A terminal between docker and a dump turns line feeds into something else.
fn dump_command(table: &Reader<'_>) -> Option<Vec<String>> {
    let command = table.argv("dump_command")?;
    let is_of = |word: &&String, names: &[&str]| names.contains(&word.rsplit('/').next().unwrap_or_default());
    let containers = ["docker", "docker-compose", "podman", "nerdctl", "kubectl", "oc"];
    if !command.iter().any(|word| is_of(&word, &containers)) {
        return Some(command);
    }
    // behind the container's name stands the dump, and its -t names a table
    let flags = command.iter().skip_while(|word| !matches!(word.as_str(), "exec" | "run")).skip(1);
    let flags: Vec<&String> = flags.take_while(|word| !word.contains("dump")).collect();
    let is_terminal = |word: &&&String| {
        let short = word.strip_prefix('-').filter(|letters| letters.chars().all(|letter| "itd".contains(letter)));
        word.as_str() == "--tty" || short.is_some_and(|letters| letters.contains('t'))
    };
    if let Some(flag) = flags.iter().find(is_terminal) {
        table.wrong("dump_command", format!("{flag} gives the dump a terminal, which ruins it: say -i, or nothing"));
    }
    let is_compose = command.iter().any(|word| is_of(&word, &["docker-compose", "compose"]));
    if is_compose && !flags.iter().any(|word| matches!(word.as_str(), "-T" | "--no-TTY")) {
        let problem = "compose may give the dump a terminal, which ruins it: say -T";
        table.gathered.warn(&table.key("dump_command"), &table.place, problem, None);
    }
    Some(command)
}
