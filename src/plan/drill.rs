//! How a restore of a source is tried: how often, into what, and what must then be true. Invariant: it never names a
//! place that holds anything else than what the drill puts there.

use super::document::Value;
use super::kind::Word;
use super::schema;
use super::table::{Reader, shown};
use crate::time::parse_duration;
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

/// A restore may take so many times its objective before a drill gives up.
const TIMEOUT_FACTOR: u32 = 4;
/// How long a check that is a command may take.
const CHECK_TIMEOUT: Duration = Duration::from_mins(5);

/// How a restore is tried.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drill {
    /// When it is due; `None`: only when it is asked for.
    pub every: Option<Duration>,
    /// Into what.
    pub into: Scratch,
    /// Which snapshot.
    pub pick: Pick,
    /// What must be true.
    pub expect: Vec<Check>,
    /// Every table has the rows that were noted.
    pub counts: bool,
    /// The database's own checks.
    pub integrity: bool,
    /// SQL before the restore.
    pub before_sql: Vec<String>,
    /// SQL behind it.
    pub after_sql: Vec<String>,
    /// So many parts at once.
    pub jobs: u32,
    /// Who runs the temporary server.
    pub run_as: String,
    /// Folder of the programs.
    pub tools: Option<PathBuf>,
    /// It has failed after this; `None`: as long as a run of the source may take.
    pub timeout: Option<Duration>,
    /// It may be the server of the source.
    pub same_server: bool,
    /// The point in time to recover to.
    pub at: Option<Point>,
}

/// Into what a drill restores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scratch {
    /// Something of its own, which goes again.
    #[default]
    Temporary,
    /// A new database on the server whose URL is in this variable.
    Variable(String),
}

/// Which snapshot is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// The newest.
    #[default]
    Latest,
    /// Any.
    Random,
}

/// A point in time to recover to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// So long ago.
    Ago(Duration),
    /// This moment.
    At(Timestamp),
}

/// What must be true of what was restored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Check {
    /// What a query gives.
    Sql {
        /// The query.
        sql: String,
        /// What its first value must be.
        must: Must,
    },
    /// A command ends with this status.
    Command {
        /// A program and its arguments.
        command: Vec<String>,
        /// Exit status.
        status: u32,
        /// It has failed after this.
        timeout: Duration,
    },
    /// So many files at least.
    Files(u32),
    /// A file has this SHA-256.
    Digest {
        /// Its path in the snapshot.
        path: String,
        /// In hexadecimal digits.
        sha256: String,
    },
    /// These tables are there.
    Tables(Vec<String>),
    /// So many keys at least.
    Keys(u32),
}

/// What a value must be; all that is said holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Must {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
    /// Exactly, as text.
    pub equals: Option<String>,
    /// A time that is so old at most.
    pub newer_than: Option<Duration>,
}

/// Reads the drill of a source of this kind.
pub(super) fn read(table: &Reader<'_>, kind: Word, rto: Option<Duration>) -> Drill {
    let into = table.word("into", &[("temporary", ())]);
    let variable = table.variable("into_env");
    if let (Some(()), Some(_)) = (into, &variable) {
        table.wrong("into", "`into` and `into_env` both say where to: say it once");
    }
    let at = table.parsed("at", point);
    if at.is_some() && kind != Word::PostgresBase {
        table.wrong("at", format!("`at` needs WAL, so it goes with kind postgres-base and not with {}", kind.name()));
    }
    let drill = Drill {
        every: table.interval("every").flatten(),
        into: variable.map_or(Scratch::Temporary, Scratch::Variable),
        pick: table.word("pick", &[("latest", Pick::Latest), ("random", Pick::Random)]).unwrap_or_default(),
        expect: table.tables("expect").unwrap_or_default().iter().filter_map(check).collect(),
        counts: table.flag("counts").unwrap_or(true),
        integrity: table.flag("integrity").unwrap_or(true),
        before_sql: table.list("before_sql").unwrap_or_default(),
        after_sql: table.list("after_sql").unwrap_or_default(),
        jobs: table.number("jobs", 1).unwrap_or(1),
        run_as: table.text("run_as").unwrap_or_else(|| "postgres".into()),
        tools: table.file("tools"),
        timeout: table.period("timeout").or(rto.map(|rto| rto.saturating_mul(TIMEOUT_FACTOR))),
        same_server: table.flag("same_server").unwrap_or(false),
        at,
    };
    for (at, check) in drill.expect.iter().enumerate() {
        fits(table, kind, (at, check));
    }
    table.done(schema::DRILL);
    drill
}

/// `-1h`, or a time with its offset.
fn point(text: &str) -> Result<Point, String> {
    if let Some(length) = text.strip_prefix('-') {
        return parse_duration(length).map(Point::Ago);
    }
    text.parse().map(Point::At).map_err(|_| "write -1h, or a time with an offset like 2026-11-20T14:00:00+01:00".into())
}

/// One of the list; what it asks is told by the keys that it has.
fn check(table: &Reader<'_>) -> Option<Check> {
    let read = if let Some(sql) = table.text("sql") {
        let must = must(table);
        table.done(schema::EXPECT_SQL);
        (must != Must::default()).then_some(Check::Sql { sql, must }).ok_or("needs min, max, equals or newer_than")
    } else if let Some(command) = table.argv("command") {
        let status = table.number("status", 0).unwrap_or(0);
        let timeout = table.period("timeout").unwrap_or(CHECK_TIMEOUT);
        table.done(schema::EXPECT_COMMAND);
        Ok(Check::Command { command, status, timeout })
    } else if let Some(tables) = table.list("tables") {
        table.done(schema::EXPECT_TABLES);
        Ok(Check::Tables(tables))
    } else if let Some(path) = table.text("path") {
        let sha256 = table.parsed("sha256", digest);
        table.done(schema::EXPECT_DIGEST);
        sha256.map(|sha256| Check::Digest { path, sha256 }).ok_or("needs sha256")
    } else if let Some(files) = table.table("files") {
        table.done(schema::EXPECT_FILES);
        at_least(&files).map(Check::Files).ok_or("needs min")
    } else if let Some(keys) = table.table("keys") {
        table.done(schema::EXPECT_KEYS);
        at_least(&keys).map(Check::Keys).ok_or("needs min")
    } else {
        Err("needs one of sql, command, tables, path, files and keys")
    };
    let said = |why: &str| table.gathered.error(&table.name, &table.place, format!("a check {why}"), None);
    read.map_err(said).ok()
}

fn at_least(table: &Reader<'_>) -> Option<u32> {
    let min = table.number("min", 1);
    table.done(schema::EXPECT_MIN);
    min
}

fn digest(text: &str) -> Result<String, String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hexadecimal digits".into()) }
}

fn must(table: &Reader<'_>) -> Must {
    let equals = table.entry("equals").and_then(|entry| match &entry.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Flag(flag) => Some(flag.to_string()),
        _ => {
            table.wrong("equals", "`equals` must be a text or a number");
            None
        }
    });
    let (min, max, newer_than) = (table.figure("min"), table.figure("max"), table.period("newer_than"));
    Must { min, max, equals, newer_than }
}

/// A check that a kind can't answer would never pass.
fn fits(table: &Reader<'_>, kind: Word, (at, check): (usize, &Check)) {
    let is_sql = !matches!(kind, Word::Redis) && kind.is_database();
    let (word, does) = match check {
        Check::Sql { .. } => ("sql", is_sql || kind == Word::Command || kind == Word::Stdin),
        Check::Tables(_) => ("tables", is_sql),
        Check::Keys(_) => ("keys", kind == Word::Redis),
        Check::Files(_) => ("files", !kind.is_database()),
        Check::Digest { .. } => ("path", !kind.is_database()),
        Check::Command { .. } => return,
    };
    if !does {
        let problem =
            format!("check {} of the drill asks for {}, which kind {} has not", at + 1, shown(word), kind.name());
        table.wrong("expect", problem);
    }
}
