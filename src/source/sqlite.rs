//! A SQLite database as a source, while others write to it. Its pages are copied into a scratch folder under one read
//! transaction, so that they are of one moment however much is written meanwhile. The copy is taken out of WAL mode, so
//! that it needs no file beside it, and proven before its first byte is given. Invariant: the copy has no name any more
//! when it is read, so that nothing of it stays behind.

use super::Scratch;
use super::dump::{Dump, DumpFailure, DumpFile, Learned};
use super::scratch::place_of;
use crate::progress::Progress;
use crate::runtime::Runtime;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::Access;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Pages that are copied before anybody is asked whether to go on.
const STEP_PAGES: i32 = 1024;
/// A database of so many pages is copied in a moment: without WAL, writers wait for that.
const SMALL_PAGES: u64 = 16 * 1024;
/// How long SQLite waits for a lock at once, and how long nothing is tried after that.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(10);
/// Virtual instructions between two looks at whether to stop.
const INSTRUCTIONS: i32 = 10_000;
/// Faults that a damaged copy is refused with.
const FAULTS: usize = 5;

/// Which database, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// Where the copy is made; the system's folder for temporary files if it is not said.
    pub scratch: Option<PathBuf>,
    /// Name in the snapshot, that of the file if it is empty.
    pub filename: Vec<u8>,
    /// How long another program may hold the database locked.
    pub lock_timeout: Duration,
    /// A database in which nothing was ever stored, a file of no bytes, is taken as it is.
    pub allow_empty: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (path, scratch, filename) = Default::default();
        Self { path, scratch, filename, lock_timeout: Duration::from_mins(1), allow_empty: false }
    }
}

/// Why a database can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not there, or not a file.
    #[error("cannot open {}: {error}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its first bytes are others.
    #[error("{} is not a SQLite database, or an encrypted one", .0.display())]
    NotADatabase(PathBuf),
    /// SQLite keeps files beside a database, which this user may not make or write.
    #[error("cannot open {}: SQLite keeps files beside it that this user may not write; run as its owner", .0.display())]
    Beside(PathBuf),
    /// SQLite can't read it.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The database.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// Nobody else gets at it.
    #[error("another program has kept {} locked for {seconds} s; end it, or raise the time to wait", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The place for the copy is of no use.
    #[error("cannot copy a database to {}: {error}", path.display())]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The copy has no room.
    #[error("a copy of {needed} bytes has no room in {}, where {free} are free; name another scratch folder", path.display())]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Size of the database.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The database was damaged before.
    #[error("{} is damaged: {}", path.display(), what.join("; "))]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says of the copy.
        what: Vec<String>,
    },
    /// The run should end.
    #[error("interrupted")]
    Interrupted,
}

impl From<Failure> for DumpFailure {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.to_string())
    }
}

/// What a database is, before anything of it is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// `wal`, `delete` or another.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Its pages.
    pub pages: u64,
    /// The number that its program keeps in it.
    pub user_version: i64,
    /// What its program is.
    pub application_id: i64,
    /// Bytes that are free where it would be copied to.
    pub scratch_free: u64,
}

impl Survey {
    /// Bytes of the copy.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(self.page_bytes)
    }
}

/// Version of the SQLite that reads databases.
pub fn version() -> &'static str {
    rusqlite::version()
}

/// Looks at a database and copies nothing.
pub fn survey(options: &Options, runtime: &Runtime) -> Result<Survey, Failure> {
    Origin { options, runtime, connection: open(&options.path)? }.hold()
}

/// A database as a dump of one file.
pub struct Sqlite<'a> {
    options: Options,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    is_given: bool,
    /// Present while it is read.
    copy: Option<File>,
    learned: Learned,
}

impl<'a> Sqlite<'a> {
    /// Nothing is done yet.
    pub fn new(options: Options, runtime: &'a Runtime, progress: &'a dyn Progress) -> Self {
        Self { options, runtime, progress, is_given: false, copy: None, learned: Learned::default() }
    }

    fn name(&self) -> Vec<u8> {
        let own = || self.options.path.file_name().unwrap_or_default().as_bytes().to_vec();
        if self.options.filename.is_empty() { own() } else { self.options.filename.clone() }
    }

    /// Copies, proves, and gives the copy without its name.
    fn take(&mut self) -> Result<File, Failure> {
        let failed = |error| Failure::Scratch { path: place_of(self.options.scratch.as_deref()), error };
        let origin = Origin { options: &self.options, runtime: self.runtime, connection: open(&self.options.path)? };
        let scratch = Scratch::new(self.options.scratch.as_deref()).map_err(failed)?;
        let path = scratch.path().join("copy");
        self.progress.waiting("the copy of the database");
        let (seen, is_held) = origin.copy(&path)?;
        let mut learned = Learned::default();
        if is_held {
            learned.notes.push(format!(
                "{}: those who write to it had to wait while it was copied; `PRAGMA journal_mode=WAL` spares them that",
                self.options.path.display()
            ));
        }
        let fact = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
        learned.facts = vec![
            fact("application_id", &seen.application_id),
            fact("journal_mode", &seen.journal_mode),
            fact("page_size", &seen.page_bytes),
            fact("tool_version", &format!("SQLite {}", version())),
            fact("user_version", &seen.user_version),
        ];
        Proof { origin: &self.options.path, runtime: self.runtime, learned: &mut learned }.of(&path)?;
        self.learned = learned;
        File::open(&path).map_err(failed)
    }
}

impl Dump for Sqlite<'_> {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        (self.is_given, self.copy, self.learned) = (false, None, Learned::default());
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        if std::mem::replace(&mut self.is_given, true) {
            self.copy = None;
            return Ok(None);
        }
        let (copy, name, allow_empty) = (self.take()?, self.name(), self.options.allow_empty);
        Ok(Some(DumpFile { name, content: self.copy.insert(copy), allow_empty }))
    }

    fn learned(&mut self) -> Learned {
        self.learned.clone()
    }
}

/// Opens a database that is there. A program that died may have left a journal, which whoever opens it next plays back:
/// that needs more than reading, where the file allows it.
fn open(path: &Path) -> Result<Connection, Failure> {
    let failed = |error| Failure::Open { path: path.to_owned(), error };
    // SQLite says "unable to open database file" whatever is wrong
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    // opened and closed, it would lose the locks that another part of this process has on it
    rustix::fs::access(path, Access::READ_OK).map_err(|error| failed(error.into()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(PATIENCE)?;
        // nobody but SQLite itself writes here
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    });
    opened.map_err(|error| read_failure(path, error))
}

fn read_failure(path: &Path, error: rusqlite::Error) -> Failure {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Failure::NotADatabase(path),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => Failure::Beside(path),
        Some(ErrorCode::OperationInterrupted) => Failure::Interrupted,
        _ => Failure::Read { path, error },
    }
}

/// The database that is copied.
struct Origin<'o> {
    options: &'o Options,
    runtime: &'o Runtime,
    connection: Connection,
}

impl Origin<'_> {
    /// Begins a read transaction: with WAL the others write on, and what they write is not seen; without it they wait
    /// with their commits.
    fn hold(&self) -> Result<Survey, Failure> {
        let clock = &self.runtime.clock;
        let begun = clock.elapsed();
        loop {
            if self.runtime.is_stopped() {
                return Err(Failure::Interrupted);
            }
            match self.try_hold() {
                Err(error) if is_busy(&error) => self.let_go(),
                other => return other.map_err(|error| read_failure(&self.options.path, error)),
            }
            if clock.elapsed().since(begun) >= self.options.lock_timeout {
                let seconds = self.options.lock_timeout.as_secs();
                return Err(Failure::Locked { path: self.options.path.clone(), seconds });
            }
            // some locks are not waited for by SQLite
            clock.sleep(PAUSE);
        }
    }

    fn try_hold(&self) -> rusqlite::Result<Survey> {
        self.connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let size = |name| number(name).map(|value| u64::try_from(value).unwrap_or_default());
        Ok(Survey {
            journal_mode: self.connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
            page_bytes: size("page_size")?,
            pages: size("page_count")?,
            user_version: number("user_version")?,
            application_id: number("application_id")?,
            scratch_free: Scratch::free(self.options.scratch.as_deref()).unwrap_or(u64::MAX),
        })
    }

    fn let_go(&self) {
        // fails only if nothing was begun
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    /// Copies all pages; tells whether writers had to wait for long.
    fn copy(&self, to: &Path) -> Result<(Survey, bool), Failure> {
        let mut seen = self.hold()?;
        let (needed, free) = (seen.bytes(), seen.scratch_free);
        if needed > free {
            let path = place_of(self.options.scratch.as_deref());
            return Err(Failure::NoRoom { path, needed, free });
        }
        let is_long = seen.journal_mode != "wal" && seen.pages > SMALL_PAGES;
        if is_long {
            self.let_go();
            if self.pages(to, seen.pages.saturating_mul(2))? {
                return Ok((seen, false));
            }
            seen = self.hold()?;
        }
        self.pages(to, u64::MAX)?;
        self.let_go();
        Ok((seen, is_long))
    }

    /// Copies all pages, in steps. Outside of a transaction each write of another process begins the copy anew, and a
    /// database that is written to all the time is never done: false once so many pages were copied in vain.
    fn pages(&self, to: &Path, most: u64) -> Result<bool, Failure> {
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Failure::Scratch { path: to.to_owned(), error: io::ErrorKind::StorageFull.into() }
            }
            _ => read_failure(&self.options.path, error),
        };
        let mut copy = Connection::open(to).map_err(failed)?;
        // it is worth nothing before it is proven
        copy.pragma_update(None, "synchronous", false).map_err(failed)?;
        let backup = Backup::new(&self.connection, &mut copy).map_err(failed)?;
        let mut copied = 0u64;
        loop {
            if self.runtime.is_stopped() {
                return Err(Failure::Interrupted);
            }
            match backup.step(STEP_PAGES).map_err(failed)? {
                StepResult::Done => return Ok(true),
                StepResult::More => {}
                // a lock of another one, for which it has waited
                _ => self.runtime.clock.sleep(PAUSE),
            }
            copied = copied.saturating_add(u64::from(STEP_PAGES.unsigned_abs()));
            if copied > most {
                return Ok(false);
            }
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Proves a copy, and learns what it holds.
struct Proof<'p> {
    origin: &'p Path,
    runtime: &'p Runtime,
    learned: &'p mut Learned,
}

impl Proof<'_> {
    fn of(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |error| read_failure(self.origin, error);
        let mut copy = Connection::open(path).map_err(failed)?;
        let stop = Arc::clone(&self.runtime.stop);
        let stopped = move || stop.load(std::sync::atomic::Ordering::Relaxed);
        copy.progress_handler(INSTRUCTIONS, Some(stopped)).map_err(failed)?;
        // what a database says of itself runs no code that its tables name
        let plain = "PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-65536";
        copy.execute_batch(plain).map_err(failed)?;
        let mode: String = copy.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0)).map_err(failed)?;
        if mode != "delete" {
            let what = vec![format!("its copy stays in the journal mode {mode}")];
            return Err(Failure::Damaged { path: self.origin.to_owned(), what });
        }
        self.integrity(&copy)?;
        self.count(&copy)?;
        copy.close().map_err(|(_, error)| read_failure(self.origin, error))
    }

    /// What a program brings along itself, an order of words or a kind of table, SQLite alone can't check.
    fn integrity(&mut self, copy: &Connection) -> Result<(), Failure> {
        let mut said = faults(copy, "integrity_check");
        if let Err(error) = &said
            && is_foreign(error)
        {
            self.learned.notes.push(format!("{}: its indexes could not be checked: {error}", self.origin.display()));
            said = faults(copy, "quick_check");
            if said.as_ref().is_err_and(is_foreign) {
                return Ok(());
            }
        }
        let said = said.map_err(|error| read_failure(self.origin, error))?;
        if said == ["ok"] { Ok(()) } else { Err(Failure::Damaged { path: self.origin.to_owned(), what: said }) }
    }

    fn count(&mut self, copy: &Connection) -> Result<(), Failure> {
        let failed = |error| read_failure(self.origin, error);
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                     AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name";
        let mut tables = copy.prepare(names).map_err(failed)?;
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let mut counted = Vec::new();
        for table in tables {
            let table = table.map_err(failed)?;
            let count = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
            match copy.query_row(&count, [], |row| row.get::<_, i64>(0)) {
                Ok(rows) => counted.push((table, u64::try_from(rows).unwrap_or_default())),
                Err(error) if is_foreign(&error) => {
                    self.learned.notes.push(format!("rows of {table} were not counted: {error}"));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        self.learned.count("", counted);
        Ok(())
    }
}

fn faults(copy: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut check = copy.prepare(&format!("PRAGMA {check}({FAULTS})"))?;
    check.query_map([], |row| row.get(0))?.collect()
}

/// True for an error that says only that something is not built into SQLite.
fn is_foreign(error: &rusqlite::Error) -> bool {
    let text = error.to_string();
    ["no such collation sequence", "no such module", "no such function", "unknown function", "unsafe use of"]
        .iter()
        .any(|known| text.contains(known))
}
