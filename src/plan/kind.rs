//! The kinds of source, each with the keys that only it has. Files, commands, SQLite and buckets are here, the servers
//! of databases in `database`. Invariant: whoever matches on `Kind` has checked values, with all defaults filled in.

mod database;

use super::schema;
use super::table::Reader;
use crate::backend::Location;
use crate::source::Excludes;
pub use database::{
    Checkpoint, Connection, Databases, Dump, Globals, Mysql, Postgres, PostgresBase, Redis, Snapshotting, Tablespaces,
    Wal,
};
use std::path::PathBuf;
use vault_format::tree::is_plain_name;

/// A kind as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Directory,
    Command,
    Stdin,
    Postgres,
    PostgresBase,
    Mysql,
    Sqlite,
    Redis,
    Bucket,
}

/// All of them.
pub(super) const WORDS: &[(&str, Word)] = &[
    ("directory", Word::Directory),
    ("command", Word::Command),
    ("stdin", Word::Stdin),
    ("postgres", Word::Postgres),
    ("postgres-base", Word::PostgresBase),
    ("mysql", Word::Mysql),
    ("sqlite", Word::Sqlite),
    ("redis", Word::Redis),
    ("bucket", Word::Bucket),
];

impl Word {
    pub fn name(self) -> &'static str {
        WORDS.iter().find(|(_, word)| *word == self).map_or("", |(name, _)| name)
    }

    /// The keys that this kind has besides those of every source.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Directory => schema::DIRECTORY,
            Self::Command => schema::COMMAND,
            Self::Stdin => &[],
            Self::Postgres => schema::POSTGRES,
            Self::PostgresBase => schema::POSTGRES_BASE,
            Self::Mysql => schema::MYSQL,
            Self::Sqlite => schema::SQLITE,
            Self::Redis => schema::REDIS,
            Self::Bucket => schema::BUCKET,
        }
    }

    /// True for what is not files.
    pub fn is_database(self) -> bool {
        matches!(self, Self::Postgres | Self::PostgresBase | Self::Mysql | Self::Sqlite | Self::Redis)
    }
}

/// A kind with its own keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Files and folders.
    Directory(Directory),
    /// What a command prints.
    Command(Command),
    /// What somebody else gives to `vault snapshot --stdin FILENAME`: never run, only judged and kept.
    Stdin,
    /// PostgreSQL by `pg_dump`.
    Postgres(Box<Postgres>),
    /// A whole PostgreSQL cluster, and its WAL.
    PostgresBase(Box<PostgresBase>),
    /// MySQL or MariaDB.
    Mysql(Box<Mysql>),
    /// A file of SQLite.
    Sqlite(Sqlite),
    /// Redis or Valkey.
    Redis(Redis),
    /// The objects of a bucket.
    Bucket(Bucket),
}

impl Kind {
    fn word(&self) -> Word {
        match self {
            Self::Directory(_) => Word::Directory,
            Self::Command(_) => Word::Command,
            Self::Stdin => Word::Stdin,
            Self::Postgres(_) => Word::Postgres,
            Self::PostgresBase(_) => Word::PostgresBase,
            Self::Mysql(_) => Word::Mysql,
            Self::Sqlite(_) => Word::Sqlite,
            Self::Redis(_) => Word::Redis,
            Self::Bucket(_) => Word::Bucket,
        }
    }

    /// The word of the plan.
    pub fn name(&self) -> &'static str {
        self.word().name()
    }

    /// True for a database of any kind.
    pub fn is_database(&self) -> bool {
        self.word().is_database()
    }
}

/// Files and folders.
#[derive(Clone, Debug)]
pub struct Directory {
    /// One: its content is the root. Several: each under its path below their common parent.
    pub paths: Vec<PathBuf>,
    /// Patterns as in `.gitignore`.
    pub exclude: Vec<String>,
    /// Files of such patterns.
    pub exclude_file: Vec<PathBuf>,
    /// Folders that hold an entry of such a name are left out.
    pub exclude_if_present: Vec<String>,
    /// Other file systems are not entered.
    pub one_file_system: bool,
    /// Larger files are left out.
    pub exclude_larger_than: Option<u64>,
    /// So many of so many unchanged files are read again.
    pub reread: (u32, u32),
}

/// What a command prints.
#[derive(Clone, Debug)]
pub struct Command {
    /// A program and its arguments.
    pub command: Vec<String>,
    /// What the file in the snapshot is called.
    pub filename: String,
    /// Variables that it gets besides the usual ones.
    pub env: Vec<String>,
    /// No output is taken too.
    pub allow_empty: bool,
}

/// A file of SQLite.
#[derive(Clone, Debug)]
pub struct Sqlite {
    /// Which.
    pub path: PathBuf,
    /// Folder for the copy; `None` for that of temporary files.
    pub scratch: Option<PathBuf>,
}

/// The objects of a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Which.
    pub location: Location,
    /// Only names that begin so.
    pub prefix: String,
    /// Patterns as in `.gitignore`.
    pub exclude: Vec<String>,
    /// That there are no objects any more is stored too.
    pub allow_empty: bool,
}

/// Reads the keys of a kind, and finds those of others.
pub(super) fn read(name: &str, table: &Reader<'_>, word: Word) -> Option<Kind> {
    let kind = match word {
        Word::Directory => directory(table).map(Kind::Directory),
        Word::Command => command(name, table).map(Kind::Command),
        Word::Stdin => Some(Kind::Stdin),
        Word::Postgres => Some(Kind::Postgres(Box::new(database::postgres(table)))),
        Word::PostgresBase => Some(Kind::PostgresBase(Box::new(database::postgres_base(table)))),
        Word::Mysql => Some(Kind::Mysql(Box::new(database::mysql(table)))),
        Word::Sqlite => sqlite(table).map(Kind::Sqlite),
        Word::Redis => Some(Kind::Redis(database::redis(table))),
        Word::Bucket => bucket(table).map(Kind::Bucket),
    };
    let known: Vec<&str> = schema::SOURCE.iter().chain(word.keys()).copied().collect();
    table.finish(&known, |key| {
        let kinds = WORDS.iter().filter(|(_, other)| other.keys().contains(&key));
        let kinds: Vec<&str> = kinds.map(|(name, _)| *name).collect();
        let article = if kinds.len() > 1 { "the kinds" } else { "the kind" };
        (!kinds.is_empty()).then(|| format!("is a key of {article} {}, and this is {}", kinds.join(", "), word.name()))
    });
    kind
}

fn directory(table: &Reader<'_>) -> Option<Directory> {
    let exclude_file = table.paths("exclude_file").unwrap_or_default();
    exclude_file.iter().for_each(|path| table.need("exclude_file", path, false));
    let paths = table.paths("paths");
    let read = Directory {
        paths: paths.clone().unwrap_or_default(),
        exclude: patterns(table),
        exclude_file,
        exclude_if_present: table.list("exclude_if_present").unwrap_or_default(),
        one_file_system: table.flag("one_file_system").unwrap_or(false),
        exclude_larger_than: table.size("exclude_larger_than"),
        reread: table.parsed("reread", crate::size::parse_part).unwrap_or((1, 64)),
    };
    if table.entry("paths").is_none() {
        table.lacks("paths", Some("a list of files and folders"));
    }
    if paths.as_ref().is_some_and(Vec::is_empty) {
        table.wrong("paths", "`paths` names nothing");
    }
    read.paths.iter().for_each(|path| table.need("paths", path, false));
    paths.map(|_| read)
}

fn patterns(table: &Reader<'_>) -> Vec<String> {
    let patterns = table.list("exclude").unwrap_or_default();
    for pattern in &patterns {
        if let Err(error) = Excludes::new(&[pattern.clone().into_bytes()], &[]) {
            table.wrong("exclude", error.to_string());
        }
    }
    patterns
}

fn command(name: &str, table: &Reader<'_>) -> Option<Command> {
    let argv = table.argv("command");
    if table.entry("command").is_none() {
        table.lacks("command", Some("a list: the program and its arguments"));
    }
    let filename = table.text("filename").unwrap_or_else(|| name.to_owned());
    if !is_plain_name(filename.as_bytes()) {
        table.wrong("filename", "`filename` must be the name of one file, without a folder");
    }
    let env = table.variables("env").unwrap_or_default();
    let allow_empty = table.flag("allow_empty").unwrap_or(false);
    Some(Command { command: argv?, filename, env, allow_empty })
}

fn sqlite(table: &Reader<'_>) -> Option<Sqlite> {
    let (path, scratch) = (table.path("path"), table.path("scratch"));
    match &path {
        Some(path) => table.need("path", path, true),
        None if table.entry("path").is_none() => table.lacks("path", Some("the file of the database")),
        None => {}
    }
    Some(Sqlite { path: path?, scratch })
}

fn bucket(table: &Reader<'_>) -> Option<Bucket> {
    let location = table.location("location");
    if table.entry("location").is_none() {
        table.lacks("location", Some("a URL like s3://bucket?region=eu-west-1"));
    }
    if matches!(location, Some(Location::Local(_))) {
        table.wrong("location", "a bucket is named by a URL; for a folder there is kind directory");
    }
    let prefix = table.text("prefix").unwrap_or_default();
    let exclude = patterns(table);
    let allow_empty = table.flag("allow_empty").unwrap_or(false);
    Some(Bucket { location: location?, prefix, exclude, allow_empty })
}
