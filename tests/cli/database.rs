//! The main job: a PostgreSQL dump goes in every hour and comes back into an empty database with every row. The rows
//! are those that the benchmarks work on, only fewer. A dump that broke off is refused with its reason.

use crate::{World, is_root};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A throw-away server on a Unix socket; it refuses root, so it runs as an ordinary user.
struct Server {
    programs: PathBuf,
    home: tempfile::TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        found.sort();
        let programs = found.into_iter().rfind(|path| path.join("initdb").exists())?;
        let home = tempfile::Builder::new().prefix("vault-pg-").tempdir_in("/tmp").ok()?;
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(home.path()).status().ok()?.success());
        }
        let server = Self { programs, home };
        let data = server.home.path().join("data");
        let data = data.to_str()?;
        server.as_user(&["initdb", "-D", data, "-A", "trust", "-U", "owner", "--no-sync"]);
        let options = format!("-k {} -c listen_addresses= -c fsync=off", server.home.path().display());
        let log = server.home.path().join("log");
        server.as_user(&["pg_ctl", "-D", data, "-w", "-l", log.to_str()?, "-o", &options, "start"]);
        Some(server)
    }

    fn as_user(&self, words: &[&str]) {
        let program = self.programs.join(words[0]);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let status = command.args(&words[1..]).current_dir(self.home.path()).stdout(Stdio::null()).status();
        assert!(status.expect("it starts").success(), "{words:?}");
    }

    fn program(&self, name: &str) -> String {
        self.programs.join(name).display().to_string()
    }

    fn sql(&self, database: &str, sql: &[u8]) -> String {
        let mut child = Command::new(self.programs.join("psql"))
            .args(["-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", "owner", "-h"])
            .arg(self.home.path())
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        child.stdin.take().expect("a pipe").write_all(sql).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "psql failed");
        String::from_utf8(output.stdout).expect("text")
    }

    fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.home.path().join("data");
        self.as_user(&["pg_ctl", "-D", &data.display().to_string(), "-m", "immediate", "stop"]);
    }
}

/// Says loudly that this test did not run; in CI that is a failure.
fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    // Straight to the terminal: the harness would swallow it.
    drop(writeln!(std::io::stderr(), "SKIPPED {name}: {reason}"));
}

/// One small dump as the benchmarks make them, by a server that is gone afterwards.
fn benchmark_dump(folder: &Path) -> Vec<u8> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/make_data.py");
    let made = Command::new("python3")
        .arg(program)
        .arg(folder)
        .args(["--only", "dumps", "--hours", "1", "--rows", "500"])
        .output()
        .expect("python3 starts");
    assert!(made.status.success(), "{}", crate::errors(&made));
    std::fs::read(folder.join("dumps/h00.sql")).expect("a dump")
}

#[test]
fn a_database_goes_in_and_comes_back_with_every_row() {
    let Some(server) = Server::start() else {
        return skipped("PostgreSQL is not installed (apt-get install postgresql)");
    };
    if !Path::new("/usr/share/dict/words").exists() {
        return skipped("there is no word list to fill tables with (apt-get install wamerican)");
    }
    server.sql("postgres", b"create database app; create database restored;");
    let world = World::made();
    server.sql("app", &benchmark_dump(&world.path("data")));
    let (dump, home) = (server.program("pg_dump"), server.home().display().to_string());
    let take = ["snapshot", "--name", "app-db", "--command", "--"];
    let words = |rest: &[&str]| take.iter().chain(rest).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = |rest: &[&str]| {
        let words = words(rest);
        world.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // a dump that breaks off, one that never began, and one without a word
    let half = format!("{dump} -h {home} -U owner app | head -c 20000; exit 1");
    crate::assert_fails(&run(&["sh", "-c", &half]), 1, &["app-db", "(status 1)"]);
    let killed = format!("{dump} -h {home} -U owner app | head -c 20000; kill -9 $$");
    crate::assert_fails(&run(&["sh", "-c", &killed]), 1, &["app-db", "signal 9"]);
    crate::assert_fails(&run(&[&dump, "-h", &home, "-U", "owner", "missing"]), 1, &["app-db", "missing"]);
    crate::assert_fails(&run(&["sh", "-c", "exit 0"]), 1, &["app-db", "no output"]);
    assert_eq!(world.count(), 0);

    let output = run(&[&dump, "-h", &home, "-U", "owner", "app"]);
    assert!(output.status.success(), "{}", crate::errors(&output));
    let back = world.run(&["restore", "app-db:app-db", "--stdout"]);
    assert!(back.status.success(), "{}", crate::errors(&back));
    server.sql("restored", &back.stdout);
    let tables = b"select tablename from pg_tables where schemaname = 'public' order by 1";
    let tables = server.sql("app", tables);
    let tables: Vec<&str> = tables.lines().collect();
    assert_eq!(tables, ["events", "messages", "projects", "sessions", "users", "words"]);
    for table in tables {
        let rows = format!("select count(*), md5(string_agg(t::text, '|' order by t::text)) from {table} t");
        let (before, after) = (server.sql("app", rows.as_bytes()), server.sql("restored", rows.as_bytes()));
        assert_eq!(before, after, "{table}");
        let count: u64 = before.split('|').next().and_then(|count| count.parse().ok()).expect("a count");
        assert!(count >= 300, "{table} has {count} rows");
    }
}

#[test]
fn what_the_runbook_says_gives_a_database_back_to_its_owner() {
    let (Some(server), Some(new)) = (Server::start(), Server::start()) else {
        return skipped("PostgreSQL's server is not installed (apt-get install postgresql)");
    };
    server.sql("postgres", b"create role app login");
    server.sql("postgres", b"create database \"the shop\" owner app");
    server.sql("the shop", b"set role app; create table t(i int); insert into t values (7)");
    let world = World::made();
    let plan = "[source.db]\nkind = \"postgres\"\nurl_env = \"SHOP_URL\"\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    let url = format!("postgres://owner@/the%20shop?host={}", server.home().display());
    let output = world.command(&["run", "--quiet"]).env("SHOP_URL", url).output().expect("vault starts");
    assert!(output.status.success(), "{}", crate::errors(&output));

    let said = world.ok(&["plan", "runbook"]);
    let typed = said.split("(postgres)\n").nth(1).expect("the steps of the source");
    let typed: Vec<&str> = typed.lines().filter_map(|line| line.strip_prefix("     ")).collect();
    let typed = typed.into_iter().filter(|line| !line.contains("ROLE")).collect::<Vec<_>>().join("\n");
    let typed = typed.replace("vault restore", &format!("{} restore", env!("CARGO_BIN_EXE_vault")));
    let typed = typed.replace("/var/tmp/restored", &world.path("back").display().to_string());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &typed]).env("PGHOST", new.home()).env("PGUSER", "owner").current_dir(world.path(""));
    let path = std::env::join_paths([new.programs.clone(), "/usr/bin".into(), "/bin".into()]).expect("a path");
    shell.env("PATH", path).env("VAULT_REPOSITORY", world.path("repository")).env("VAULT_PASSWORD", crate::PASSWORD);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{typed}\n{}", crate::errors(&output));
    assert_eq!(new.sql("the shop", b"set role app; create table after(i int); select i from t").trim(), "7");
}
