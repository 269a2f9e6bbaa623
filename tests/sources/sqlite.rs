//! SQLite databases, while other processes write to them.

use crate::dumped::{Dumped, runtime, take};
use crate::taken::{Vault, fact};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::world::{Hand, folder, init, restore_folder};
use vault::progress::Silent;
use vault::source::sqlite::{self, Options, Sqlite};
use vault::source::{self, dump::DumpFailure};
use vault::{backup, list};

const WRITER: &str = "VAULT_TEST_SQLITE";
/// What each write makes of the number that tells all before it.
const FACTOR: i64 = 31;
const MODULUS: i64 = 1_000_000_007;

/// A process that writes a thousand times a second.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sqlite::writes", "--ignored", "--nocapture"]).env(WRITER, path);
        let writer = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while counter(path) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody writes");
            std::thread::sleep(Duration::from_millis(10));
        }
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
}

fn counter(path: &Path) -> i64 {
    open(path).query_row("SELECT n FROM state", [], |row| row.get(0)).unwrap()
}

/// The writer itself: a counter, a row for each write, and a number that follows from all of them in their order.
#[test]
#[ignore = "writes until it is killed: the process that other tests start"]
fn writes() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let connection = open(Path::new(&path));
    connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
    let begun = Instant::now();
    for write in 1u64.. {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let value = i64::try_from(write % 1000).unwrap();
        connection.execute("UPDATE state SET n = n + 1, sum = (sum * ?1 + ?2) % ?3", (FACTOR, value, MODULUS)).unwrap();
        connection.execute("INSERT INTO log SELECT n, ?1 FROM state", [value]).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        std::thread::sleep((begun + Duration::from_millis(write)).saturating_duration_since(Instant::now()));
    }
}

/// A database of some size in a folder of its own.
fn database(mode: &str, page_bytes: u32, megabytes: u32) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("app data.db");
    let connection = open(&path);
    connection.pragma_update(None, "page_size", page_bytes).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE state(n, sum); INSERT INTO state VALUES(0, 0); CREATE TABLE log(n, value); CREATE INDEX by_n ON log(n);
             CREATE TABLE \"odd \"\"name\"(x); INSERT INTO \"odd \"\"name\" VALUES(1), (2);
             CREATE TABLE bulk(x);",
        )
        .unwrap();
    for _ in 0..megabytes {
        connection.execute("INSERT INTO bulk VALUES(randomblob(1000000))", []).unwrap();
    }
    (place, path)
}

fn dump(options: Options) -> Result<Dumped, DumpFailure> {
    take(&mut Sqlite::new(options, &runtime(), &Silent))
}

fn of(path: &Path, scratch: &Path) -> Options {
    Options { path: path.into(), scratch: Some(scratch.into()), ..Options::default() }
}

/// The counter of a copy, which must be of a state that was: its log tells how it came to be.
fn proven(dumped: &Dumped) -> i64 {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy.db");
    fs::write(&path, dumped.only()).unwrap();
    let copy = open(&path);
    let text = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!((text("PRAGMA journal_mode"), text("PRAGMA integrity_check")), ("delete".into(), "ok".into()));
    let (n, sum): (i64, i64) =
        copy.query_row("SELECT n, sum FROM state", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut log = copy.prepare("SELECT n, value FROM log ORDER BY n").unwrap();
    let rows = log.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
    let mut state = (0, 0);
    for row in rows {
        let (number, value) = row.unwrap();
        assert_eq!(number, state.0 + 1);
        state = (number, (state.1 * FACTOR + value) % MODULUS);
    }
    assert_eq!(state, (n, sum));
    assert_eq!(dumped.fact("table:log"), Some(n.to_string().as_str()));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "it needs a file beside it");
    n
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn check_18_fifty_copies_under_a_thousand_writes_a_second_are_of_states_that_were() {
    let (place, path) = database("wal", 4096, 20);
    let scratch = tempfile::tempdir().unwrap();
    let writer = Writer::start(&path);
    let mut last = 0;
    for _ in 0..50 {
        let dumped = dump(of(&path, scratch.path())).unwrap();
        let n = proven(&dumped);
        assert!(n > last, "nobody wrote between {last} and {n}");
        last = n;
        assert_eq!(dumped.learned.notes, [""; 0]);
    }
    let dumped = dump(of(&path, scratch.path())).unwrap();
    assert_eq!(dumped.files.keys().collect::<Vec<_>>(), ["app data.db"]);
    let facts =
        ["user_version", "page_size", "journal_mode", "table:odd \"name", "table:bulk"].map(|name| dumped.fact(name));
    assert_eq!(facts, [Some("7"), Some("4096"), Some("wal"), Some("2"), Some("20")]);
    assert!(dumped.fact("tool_version").unwrap().starts_with("SQLite 3."));
    // by way of a repository
    let vault = Vault::new();
    let report = vault.take(&mut Sqlite::new(of(&path, scratch.path()), &vault.runtime, &Silent)).unwrap();
    let n: i64 = fact(&report, "table:log").unwrap().parse().unwrap();
    let (_folder, restored) = vault.restored(&report);
    assert_eq!(counter(&restored.join("app data.db")), n);
    drop((writer, place));
    assert!(is_empty(scratch.path()));
}

#[test]
fn a_database_without_wal_is_copied_too_however_much_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    // small pages: so many that the copy first tries not to be in the way
    for (page_bytes, is_large) in [(4096, false), (512, true)] {
        let (_place, path) = database("delete", page_bytes, 12);
        let _writer = Writer::start(&path);
        let dumped = dump(of(&path, scratch.path())).unwrap();
        assert!(proven(&dumped) > 0);
        assert_eq!(
            dumped.learned.notes.iter().any(|note| note.contains("had to wait")),
            is_large,
            "{:?}",
            dumped.learned
        );
        let before = counter(&path);
        std::thread::sleep(Duration::from_millis(200));
        assert!(counter(&path) > before, "the writer was harmed");
    }
}

#[test]
fn a_large_database_without_wal_that_nobody_writes_to_makes_nobody_wait() {
    let (_place, path) = database("delete", 512, 12);
    let dumped = dump(of(&path, Path::new("/tmp"))).unwrap();
    assert_eq!((proven(&dumped), dumped.learned.notes.len()), (0, 0));
}

#[test]
fn nothing_of_the_copy_has_a_name_while_it_is_read() {
    let (_place, path) = database("wal", 4096, 1);
    let scratch = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let mut dump = Sqlite::new(of(&path, scratch.path()), &runtime, &Silent);
    let dump: &mut dyn source::dump::Dump = &mut dump;
    dump.begin().unwrap();
    let file = dump.next().unwrap().unwrap();
    assert!(is_empty(scratch.path()));
    assert!(std::io::copy(file.content, &mut std::io::sink()).unwrap() > 1_000_000);
    // overtaken: all anew
    dump.begin().unwrap();
    assert!(dump.next().unwrap().is_some() && dump.next().unwrap().is_none());
    assert!(is_empty(scratch.path()));
}

#[test]
fn what_is_no_whole_database_is_refused_with_the_reason() {
    let (_place, path) = database("delete", 4096, 1);
    let scratch = tempfile::tempdir().unwrap();
    let other = |name: &str| path.with_file_name(name);
    fs::write(other("text"), "no database at all, but long enough to be looked at as one".repeat(20)).unwrap();
    let mut damaged = fs::read(&path).unwrap();
    // the page of an index or a table, somewhere in the middle
    let pages = damaged.len() / 4096;
    for page in (2..pages).step_by(3) {
        damaged[page * 4096..][..64].fill(0xff);
    }
    fs::write(other("damaged"), damaged).unwrap();
    fs::create_dir(other("folder")).unwrap();
    for (name, says) in [
        ("text", "is not a SQLite database, or an encrypted one"),
        ("damaged", "damaged is damaged: "),
        ("folder", "it is not a file"),
        ("missing", "No such file or directory"),
    ] {
        let error = dump(of(&other(name), scratch.path())).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
        assert!(is_empty(scratch.path()), "{name}");
    }
}

#[test]
fn a_database_that_is_kept_locked_is_given_up() {
    let (_place, path) = database("delete", 4096, 1);
    let connection = open(&path);
    connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; UPDATE state SET n = 1; COMMIT").unwrap();
    let options = Options { lock_timeout: Duration::from_millis(300), ..of(&path, Path::new("/tmp")) };
    let error = sqlite::survey(&options, &runtime()).unwrap_err();
    assert!(matches!(error, sqlite::Failure::Locked { .. }), "{error}");
    drop(connection);
    let seen = sqlite::survey(&options, &runtime()).unwrap();
    assert_eq!(
        (seen.journal_mode.as_str(), seen.user_version, seen.bytes()),
        ("delete", 7, fs::metadata(&path).unwrap().len())
    );
}

#[test]
fn what_a_program_left_when_it_died_is_part_of_the_copy() {
    let (_place, path) = database("wal", 4096, 1);
    let writer = Writer::start(&path);
    let n = counter(&path);
    // killed: what it wrote lies in the journal beside the database
    drop(writer);
    assert!(fs::metadata(path.with_file_name("app data.db-wal")).unwrap().len() > 0);
    assert!(proven(&dump(of(&path, Path::new("/tmp"))).unwrap()) >= n);
}

#[test]
fn what_only_the_program_knows_does_not_stand_in_the_way() {
    let (_place, path) = database("delete", 4096, 0);
    let connection = open(&path);
    let own = "CREATE TABLE words(w COLLATE nocase UNIQUE); INSERT INTO words VALUES('a'), ('b'); \
               PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'own')";
    connection.execute_batch(own).unwrap();
    drop(connection);
    let dumped = dump(of(&path, Path::new("/tmp"))).unwrap();
    let notes = dumped.learned.notes.join("\n");
    assert!(notes.contains("could not be checked") && notes.contains("no such collation sequence"), "{notes}");
    assert_eq!(dumped.fact("table:log"), Some("0"));
}

#[test]
fn check_21_a_folder_leaves_out_the_database_of_another_source_and_says_so_once() {
    let root = folder(|root| {
        fs::create_dir_all(root.join("data")).unwrap();
        for name in ["app.db", "app.db-wal", "app.db-shm", "app.db-journal", "app.db-old", "other.db", "app.db.txt"] {
            fs::write(root.join("data").join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("data/app.db", root.join("link.db")).unwrap();
    });
    let world = Hand::new();
    let repository = init(world.store(), &world.runtime(1, 0));
    // by a link, as SQLite follows it
    let walk = source::Options { databases: vec![root.path().join("link.db")], ..source::Options::default() };
    let source = backup::Source::Paths(vec![root.path().to_owned()], walk);
    let options = backup::Options { name: "folder".into(), ..backup::Options::default() };
    let report = backup::backup(&repository, source, &options, &Silent).unwrap();
    let expected = format!("{}: belongs to a database source, left out", root.path().join("data/app.db").display());
    assert_eq!((report.remarks, report.failed), (vec![expected], Vec::<String>::new()));
    let id = report.snapshot.unwrap();
    let target = tempfile::tempdir().unwrap();
    assert!(restore_folder(&repository, id, target.path()).unwrap().failed.is_empty());
    let mut names: Vec<_> =
        fs::read_dir(target.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["app.db-old", "app.db.txt", "other.db"]);
    assert!(list::snapshots(&repository).unwrap().snapshots.by_id(&id.to_string()).is_ok());
}
