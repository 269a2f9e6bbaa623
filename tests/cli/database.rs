//! The main job: a PostgreSQL dump goes in every hour and comes back into an empty database with every row. A dump that
//! broke off is refused with its reason.

use crate::{World, is_root};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SCHEMA: &str = "
create table users (id int primary key, email text not null, created timestamptz default now());
create table projects (id int primary key, owner int references users, title text, budget numeric);
create table events (id bigint primary key, user_id int references users, kind text, payload jsonb);
insert into users select n, 'user' || n || '@example.com' from generate_series(1, 2000) n;
insert into projects select n, 1 + n % 2000, md5(n::text), n * 1.5 from generate_series(1, 1000) n;
insert into events select n, 1 + n % 2000, 'click', jsonb_build_object('n', n, 'at', md5(n::text))
  from generate_series(1, 5000) n;
";

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

#[test]
fn a_database_goes_in_and_comes_back_with_every_row() {
    let Some(server) = Server::start() else {
        assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing");
        println!("SKIPPED database: there is no PostgreSQL in /usr/lib/postgresql");
        return;
    };
    server.sql("postgres", b"create database app; create database restored;");
    server.sql("app", SCHEMA.as_bytes());
    let (dump, home) = (server.program("pg_dump"), server.home().display().to_string());
    let world = World::made();
    let take = ["snapshot", "--name", "app-db", "--command", "--"];
    let words = |rest: &[&str]| take.iter().chain(rest).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = |rest: &[&str]| {
        let words = words(rest);
        world.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // a dump that breaks off, one that never began, and one without a word
    let half = format!("{dump} -h {home} -U owner app | head -c 20000; exit 1");
    crate::assert_fails(&run(&["sh", "-c", &half]), 1, &["app-db", "exit status: 1"]);
    let killed = format!("{dump} -h {home} -U owner app | head -c 20000; kill -9 $$");
    crate::assert_fails(&run(&["sh", "-c", &killed]), 1, &["app-db", "signal: 9"]);
    crate::assert_fails(&run(&[&dump, "-h", &home, "-U", "owner", "missing"]), 1, &["app-db", "missing"]);
    crate::assert_fails(&run(&["sh", "-c", "exit 0"]), 1, &["app-db", "no output"]);
    assert_eq!(world.count(), 0);

    let output = run(&[&dump, "-h", &home, "-U", "owner", "app"]);
    assert!(output.status.success(), "{}", crate::errors(&output));
    let back = world.run(&["restore", "app-db:app-db", "--stdout"]);
    assert!(back.status.success(), "{}", crate::errors(&back));
    server.sql("restored", &back.stdout);
    for (table, rows) in [("users", "2000"), ("projects", "1000"), ("events", "5000")] {
        let count = format!("select count(*) from {table}");
        assert_eq!(server.sql("restored", count.as_bytes()).trim(), rows, "{table}");
        let sum = format!("select md5(string_agg(t::text, '|' order by id)) from {table} t");
        assert_eq!(server.sql("restored", sum.as_bytes()), server.sql("app", sum.as_bytes()), "{table}");
    }
}
