//! MariaDB, on a socket of its own; what MySQL has of its own can't be had from Debian.

use crate::dumped::{Dumped, runtime, take};
use crate::private::{Server, find, ordinary, skipped};
use crate::taken::{Vault, fact};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use vault::progress::Silent;
use vault::source::dump::{Dump, DumpFailure};
use vault::source::mysql::{ChosenDatabase, Databases, Finding, Flavour, Mysql, Options, survey};

const PASSWORD: &str = "p\"a\\ s#";
/// The password as URLs have it.
const ENCODED: &str = "p%22a%5C%20s%23";

/// All kinds of things that a database holds.
const SCHEMA: &str = r#"
CREATE TABLE users (id int PRIMARY KEY AUTO_INCREMENT, name varchar(100), twice varchar(200) AS (concat(name, name)) STORED);
INSERT INTO users (name) VALUES ('a'), ('it''s (odd); \\ "x"'), ('line\nbreak'), (NULL), ('VALUES (1),(2)'), ('😀');
CREATE TABLE files (id int PRIMARY KEY, content longblob);
INSERT INTO files VALUES (1, x'00ff275c22283b29'), (2, ''), (3, NULL);
CREATE TABLE old (a int) ENGINE=MyISAM;
INSERT INTO old VALUES (1), (2);
CREATE TABLE empty (a int);
CREATE TABLE log (id int PRIMARY KEY AUTO_INCREMENT, what text);
CREATE VIEW names AS SELECT name FROM users WHERE name <> ';';
DELIMITER ;;
CREATE TRIGGER remembers AFTER INSERT ON users FOR EACH ROW BEGIN
  -- it's a body; with INSERT INTO `x` VALUES (1),(2)
  INSERT INTO log (what) VALUES (NEW.name);
END;;
CREATE PROCEDURE doubles(IN n int) BEGIN SELECT n * 2; END;;
CREATE FUNCTION three() RETURNS int DETERMINISTIC RETURN 3;;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM log;;
DELIMITER ;
"#;

fn server() -> Option<Server> {
    let (Some(install), Some(program)) = (find("mariadb-install-db"), find("mariadbd")) else {
        return skipped("MariaDB is not installed (apt-get install mariadb-server)");
    };
    let mut server = Server::prepare("vault-my-");
    let data = format!("--datadir={}", server.path("data"));
    // a server that starts removes the temporary tables of others in a folder that they share: each has its own
    let temporary = format!("--tmpdir={}", server.path(""));
    let mut command = ordinary(&install);
    command.args(["--no-defaults", &data, &temporary, "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let output = command.current_dir(server.home()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut command = ordinary(&program);
    let socket = format!("--socket={}", server.path("socket"));
    command.args(["--no-defaults", &data, &socket, &temporary, "--skip-networking"]);
    command.arg("--innodb-flush-log-at-trx-commit=0");
    command.args(["--innodb-buffer-pool-size=16M", "--character-set-server=utf8mb4", "--max-allowed-packet=64M"]);
    server.start(command, |server| client(server, "", "SELECT 1").is_ok());
    let user = format!("CREATE USER me@localhost IDENTIFIED BY '{}'", PASSWORD.replace('\\', "\\\\"));
    sql(&server, "", &format!("{user}; GRANT ALL ON *.* TO me@localhost"));
    Some(server)
}

/// What the client prints, or complains of.
fn client(server: &Server, database: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "-uroot", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
    command.arg(format!("--socket={}", server.path("socket"))).arg(database);
    let pipes = || Stdio::piped();
    let mut child = command.stdin(pipes()).stdout(pipes()).stderr(pipes()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sql = sql.to_owned();
    let feeder = std::thread::spawn(move || drop(input.write_all(sql.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn sql(server: &Server, database: &str, sql: &str) -> String {
    client(server, database, sql).unwrap()
}

fn of(server: &Server, database: &str) -> Options {
    let url = format!("mysql://me:{ENCODED}@localhost/{database}?socket={}", server.path("socket"));
    let path = std::env::var_os("PATH").unwrap();
    Options { url: Some(url.into()), environment: vec![("PATH".into(), path)], ..Options::default() }
}

fn dump(options: Options) -> Result<Dumped, DumpFailure> {
    take(&mut Mysql::new(options, &runtime(), &Silent))
}

fn refused(options: Options, says: &str) {
    let error = dump(options).unwrap_err().to_string();
    assert!(error.contains(says) && !error.contains(PASSWORD), "{says:?} in: {error}");
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[test]
fn check_20_all_that_a_database_holds_is_in_the_dump_and_comes_back() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app COLLATE utf8mb4_bin");
    sql(&server, "app", SCHEMA);
    let dumped = dump(of(&server, "app")).unwrap();
    assert_eq!(dumped.files.keys().collect::<Vec<_>>(), ["app.sql"]);
    let tables = ["users", "files", "old", "empty", "log"];
    let rows = tables.map(|table| dumped.fact(&format!("table:{table}")).unwrap().to_owned());
    assert_eq!(rows, ["6", "3", "2", "0", "0"]);
    let facts = ["flavour", "database", "charset", "collation", "table:names"].map(|name| dumped.fact(name));
    assert_eq!(facts, [Some("mariadb"), Some("app"), Some("utf8mb4"), Some("utf8mb4_bin"), None]);
    assert!(dumped.fact("server_version").unwrap().contains("MariaDB"));
    assert!(dumped.fact("tool_version").unwrap().starts_with("mariadb-dump "));
    let notes = dumped.learned.notes.join("\n");
    assert!(notes.contains("the table old is kept by MyISAM") && !notes.contains("users"), "{notes}");
    let said = format!("{:?}", dumped.learned);
    assert!(!said.contains("p\\\"a") && !said.contains(ENCODED), "a secret: {said}");

    // by way of a repository
    let vault = Vault::new();
    let report = vault.take(&mut Mysql::new(of(&server, "app"), &vault.runtime, &Silent)).unwrap();
    assert_eq!(fact(&report, "table:users"), Some("6"));
    let (_folder, restored) = vault.restored(&report);
    let text = fs::read_to_string(restored.join("app.sql")).unwrap();
    assert_eq!(text.as_bytes(), dumped.only());
    sql(&server, "", "CREATE DATABASE other COLLATE utf8mb4_bin");
    sql(&server, "other", &text);
    for (table, rows) in tables.iter().zip(&rows) {
        let checksum =
            |database: &str| sql(&server, database, &format!("CHECKSUM TABLE {table}")).replace(database, "");
        assert_eq!(checksum("other"), checksum("app"), "{table}");
        assert_eq!(&sql(&server, "other", &format!("SELECT count(*) FROM {table}")), rows);
    }
    assert_eq!(sql(&server, "other", "SELECT three(), (SELECT count(*) FROM names); CALL doubles(4)"), "3\t5\n8");
    sql(&server, "other", "INSERT INTO users (name) VALUES ('z')");
    assert_eq!(
        sql(&server, "other", "SELECT what FROM log; SHOW EVENTS").split_whitespace().take(3).collect::<Vec<_>>(),
        ["z", "other", "nightly"]
    );
}

#[test]
fn a_dump_is_of_one_moment_while_others_write() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app");
    let body = "CREATE TABLE a (x int PRIMARY KEY AUTO_INCREMENT, y char(200)); CREATE TABLE b LIKE a;\nDELIMITER ;;\n
        CREATE PROCEDURE fills(IN n int) BEGIN DECLARE i int DEFAULT 0; WHILE i < n DO START TRANSACTION;
        INSERT INTO a (y) VALUES ('x;('); INSERT INTO b (y) VALUES ('y\\'z'); COMMIT; SET i = i + 1; END WHILE; END;;\n";
    sql(&server, "app", body);
    sql(&server, "app", "CALL fills(1000)");
    let rows = std::thread::scope(|scope| {
        let writer = scope.spawn(|| sql(&server, "app", "CALL fills(20000)"));
        let mut rows = Vec::new();
        while !writer.is_finished() && rows.len() < 8 {
            let dumped = dump(of(&server, "app")).unwrap();
            assert_eq!(dumped.fact("table:a"), dumped.fact("table:b"));
            rows.push(dumped.fact("table:a").unwrap().parse::<u64>().unwrap());
        }
        rows
    });
    assert!(rows.iter().any(|rows| (1_001..21_000).contains(rows)), "none while it was written to: {rows:?}");
}

#[test]
fn databases_and_tables_are_chosen_and_what_is_missing_is_named() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app; CREATE DATABASE `a/b`");
    sql(
        &server,
        "app",
        "CREATE TABLE t1 (a int); CREATE TABLE t2 (a int); CREATE TABLE logs (a int); INSERT INTO t1 VALUES (1)",
    );
    sql(&server, "a/b", "CREATE TABLE `it's %` (a int); INSERT INTO `it's %` VALUES (1), (2)");
    let dumped = dump(Options { databases: Databases::All, ..of(&server, "") }).unwrap();
    assert_eq!(dumped.files.keys().collect::<Vec<_>>(), ["a%2Fb.sql", "app.sql"]);
    let facts = ["a%2Fb.sql/table:it's %", "app.sql/table:t1", "app.sql/database"].map(|name| dumped.fact(name));
    assert_eq!(facts, [Some("2"), Some("1"), Some("app")]);

    let tables = |tables: &[&str], without: &[&str]| Options {
        tables: tables.iter().map(ToString::to_string).collect(),
        exclude_tables: without.iter().map(ToString::to_string).collect(),
        ..of(&server, "app")
    };
    let named = |options| {
        let dumped = dump(options).unwrap();
        let names = dumped.learned.facts.iter().filter_map(|(name, _)| name.strip_prefix("table:"));
        (names.map(str::to_owned).collect::<Vec<_>>(), dumped.learned.notes)
    };
    assert_eq!(named(tables(&["t?"], &["t2"])), (vec!["t1".into()], vec![]));
    let (names, notes) = named(tables(&[], &["logs", "gone*"]));
    assert_eq!((names, notes.len()), (vec!["t1".into(), "t2".into()], 1));
    assert!(notes[0].contains("nothing in the database app fits gone*"), "{notes:?}");
    refused(tables(&["t1", "gone"], &[]), "there is no table gone in the database app");
    refused(tables(&["t1"], &["t*"]), "is also to be left out");
    refused(of(&server, "gone"), "there is no database gone");
    refused(of(&server, ""), "nothing says which database");
    let wrong = format!("mysql://me:wrong@localhost/app?socket={}", server.path("socket"));
    refused(Options { url: Some(wrong.into()), ..of(&server, "app") }, "check user and password in the URL");
    let nobody = "mysql://me@127.0.0.1:1/app".to_owned();
    refused(Options { url: Some(nobody.into()), ..of(&server, "app") }, "cannot ask the server at 127.0.0.1:1");
    refused(
        Options { tools: Some("/nowhere".into()), ..of(&server, "app") },
        "no mariadb-dump or mysqldump in /nowhere",
    );
    refused(Options { options: words(&["--password=x"]), ..of(&server, "app") }, "the option --password can't be set");

    sql(&server, "app", "CREATE TABLE old (a int) ENGINE=Aria");
    let found = survey(&of(&server, "app"), &runtime());
    assert_eq!((found.flavour, found.is_fine()), (Some(Flavour::MariaDb), true));
    assert_eq!(
        found.databases.iter().map(|database: &ChosenDatabase| database.name.as_str()).collect::<Vec<_>>(),
        ["app"]
    );
    let (database, table, engine) = ("app".into(), "old".into(), "Aria".into());
    assert_eq!(found.findings, [Finding::Inconsistent { database, table, engine }]);
    assert!(found.bytes() > 0 && found.client.is_some());
    assert!(!survey(&of(&server, "gone"), &runtime()).is_fine());
}

#[test]
fn rights_that_a_user_lacks_are_named_though_the_client_says_nothing_of_some() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app; CREATE USER low@localhost IDENTIFIED BY 'low'");
    sql(&server, "app", "CREATE TABLE t (a int); CREATE PROCEDURE one() SELECT 1");
    sql(&server, "app", "CREATE TRIGGER doubles BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 2 * NEW.a");
    let url = format!("mysql://low:low@localhost/app?socket={}", server.path("socket"));
    let low = || Options { url: Some(url.clone().into()), ..of(&server, "app") };
    sql(&server, "", "GRANT SELECT ON app.t TO low@localhost");
    refused(low(), "grant this user EVENT on the database, or set the option --skip-events");
    sql(&server, "", "GRANT SELECT, EVENT ON app.* TO low@localhost");
    let dumped = dump(low()).unwrap();
    let text = String::from_utf8_lossy(dumped.only());
    assert!(!text.contains("TRIGGER") && !text.contains("PROCEDURE"), "{text}");
    let notes = dumped.learned.notes.join("\n");
    assert!(notes.contains("shown no triggers") && notes.contains("shown no procedures"), "{notes}");
    assert!(survey(&low(), &runtime()).is_fine());
    let without = words(&["--skip-triggers", "--skip-routines"]);
    assert_eq!(dump(Options { options: without, ..low() }).unwrap().learned.notes, [""; 0]);
    sql(&server, "", "GRANT TRIGGER ON app.* TO low@localhost; GRANT SELECT ON mysql.proc TO low@localhost");
    let dumped = dump(low()).unwrap();
    let text = String::from_utf8_lossy(dumped.only());
    assert!(text.contains("TRIGGER doubles") && text.contains("PROCEDURE `one`"), "{text}");
    assert_eq!(dumped.learned.notes, [""; 0]);
}

#[test]
fn check_14_a_dump_that_ends_early_is_refused_though_its_program_says_that_all_is_well() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app");
    sql(&server, "app", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)");
    let script = |tail: &str| {
        let dump = format!("mariadb-dump --no-defaults -uroot --socket={} app {tail}", server.path("socket"));
        Options { dump_command: words(&["sh", "-c", &dump]), ..of(&server, "app") }
    };
    // it learns where containers are, and nothing else
    let environment =
        [("PATH", std::env::var_os("PATH").unwrap()), ("DOCKER_HOST", "here".into()), ("TOKEN", "x".into())];
    let environment = environment.map(|(name, value)| (name.into(), value)).to_vec();
    let dumped = dump(Options { environment, ..script("; test \"$DOCKER_HOST$TOKEN\" = here") }).unwrap();
    assert_eq!(dumped.files.keys().collect::<Vec<_>>(), ["app.sql"]);
    assert_eq!(["table:t", "flavour"].map(|name| dumped.fact(name)), [Some("2"), Some("mariadb")]);
    assert!(dumped.fact("server_version").unwrap().starts_with("10."));
    refused(script("| head -c 1500"), "the dump of app is not whole: its last line, \"Dump completed\", is missing");
    let vault = Vault::new();
    let mut mysql = Mysql::new(script("| sed '$d'"), &vault.runtime, &Silent);
    vault.refuses(&mut mysql, &["\"Dump completed\", is missing"]);
    refused(script("| sed 's/$/\\r/'"), "each of its lines ends with CR LF");
    refused(script("--compact"), "--compact leave it out");
    refused(script("gone"), "Couldn't find table");
    let terminal = words(&["docker", "exec", "-it", "db", "mariadb-dump", "app"]);
    refused(Options { dump_command: terminal, ..of(&server, "app") }, "asks for a terminal (-it)");
}

#[test]
fn a_server_that_dies_leaves_no_dump() {
    let Some(mut server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app");
    sql(&server, "app", "CREATE TABLE t (a longtext)");
    for _ in 0..30 {
        sql(&server, "app", "INSERT INTO t SELECT repeat('abc(;', 400000)");
    }
    let runtime = runtime();
    let mut mysql = Mysql::new(of(&server, "app"), &runtime, &Silent);
    let mysql: &mut dyn Dump = &mut mysql;
    mysql.begin().unwrap();
    let file = mysql.next().unwrap().unwrap();
    file.content.read_exact(&mut [0; 1000]).unwrap();
    server.stop();
    let mut rest = Vec::new();
    let read = file.content.read_to_end(&mut rest);
    let failed = read.is_err() || mysql.next().is_err();
    assert!(failed && rest.len() < 60_000_000, "{} bytes", rest.len());
}

#[test]
fn no_secret_stands_among_the_arguments_or_in_a_file() {
    let Some(server) = server() else { return };
    sql(&server, "", "CREATE DATABASE app");
    sql(&server, "app", "CREATE TABLE t (a longtext); INSERT INTO t SELECT repeat('x', 4000000)");
    let runtime = runtime();
    let mut mysql = Mysql::new(of(&server, "app"), &runtime, &Silent);
    let mysql: &mut dyn Dump = &mut mysql;
    mysql.begin().unwrap();
    let file = mysql.next().unwrap().unwrap();
    file.content.read_exact(&mut [0; 1000]).unwrap();
    let running = fs::read_dir("/proc").unwrap().flatten();
    let mut seen = 0;
    for process in
        running.filter(|entry| entry.file_name().to_string_lossy().starts_with(|sign: char| sign.is_ascii_digit()))
    {
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let (words, environment) = (read("cmdline"), read("environ"));
        if !words.windows(12).any(|part| part == b"mariadb-dump") {
            continue;
        }
        seen += 1;
        for bytes in [words, environment] {
            assert!(!bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()));
        }
    }
    assert!(seen > 0);
}
