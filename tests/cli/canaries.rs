//! Secrets of every kind that a plan knows of, each with a value of its own, in a run in which much goes wrong: none of
//! them is in what the machine prints, keeps in clear or sends, nor in the command line or the environment of a program
//! that it is not for.

use crate::{World, errors};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::repository::NewRepository;
use vault_format::slot::KDF_FLOOR;

/// How each begins, and what no word of vault holds.
const MARK: &str = "c4n4ry";

/// A program that failed says things that vault never knew: that stays on the terminal.
const SAID: &str = "c4n4ry-said";

const PLAN: &str = r#"
name = "shop"
[repository]
location = "repository"
password_file = "words/password"
[source.ordered]
kind = "command"
command = ["sh", "-c", "env > seen-command; echo data; echo token $API_KEY >&2; sleep 0.3"]
env = ["API_KEY"]
before = [{ run = ["sh", "-c", "env > seen-before; cat words/said; cat words/said >&2; sleep 0.3"] }]
after = [{ run = ["sh", "-c", "cat words/said; cat words/said >&2; exit 4"] }]
finally = [{ run = ["sh", "-c", "env > seen-finally"] }]
[source.broken]
kind = "command"
command = ["sh", "-c", "echo key=$API_KEY $(cat words/said) >&2; exit 3"]
env = ["API_KEY"]
failed = [{ run = ["sh", "-c", "env > seen-failed"] }]
[source.silent]
kind = "command"
command = ["sh", "-c", "cat words/said >&2"]
[source.refused]
kind = "command"
command = ["true"]
before = [{ run = ["sh", "-c", "cat words/said >&2; exit 5"] }]
[source.pg]
kind = "postgres"
url_env = "DATABASE_URL"
[source.maria]
kind = "mysql"
url_env = "MYSQL_URL"
[source.cache]
kind = "redis"
url_env = "REDIS_URL"
[copy.second]
location = "second"
to_password_file = "words/second"
[alerts]
webhook_env = "WEBHOOK_URL"
ping_env = "PING_URL"
email = { to = "ops@example.org", from = "vault@example.org", server = "127.0.0.1", port = PORT, user_env = "SMTP_USER", password_env = "SMTP_PASSWORD" }
command = ["sh", "-c", "env >> seen-alerts; cat >> seen-alerts"]
on = ["failed", "missed", "suspect", "recovered", "done"]
[metrics]
textfile = "figures.prom"
push_env = "PUSH_URL"
"#;

/// Takes what comes, whatever it is, and says that all is well.
pub fn listen() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let keep = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..length]);
            }
            // whom it was for is on the first line, and no secret to him
            let line = request.iter().position(|byte| *byte == b'\n').unwrap_or_default();
            keep.lock().expect("nobody fails").extend_from_slice(&request[line..]);
            // who has left already hears nothing
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (port, heard)
}

fn secret(name: &str) -> String {
    format!("{MARK}-{name}")
}

fn variables(port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("API_KEY", secret("api-key")),
        ("UNNAMED", secret("unnamed")),
        ("DATABASE_URL", format!("postgres://app:{}@127.0.0.1:9/app", secret("pg"))),
        ("MYSQL_URL", format!("mysql://app:{}@127.0.0.1:9/app", secret("maria"))),
        ("REDIS_URL", format!("redis://:{}@127.0.0.1:9", secret("redis"))),
        ("WEBHOOK_URL", format!("http://127.0.0.1:{port}/{}", secret("webhook"))),
        ("PING_URL", format!("http://127.0.0.1:{port}/{}", secret("ping"))),
        ("PUSH_URL", format!("http://127.0.0.1:{port}/{}", secret("push"))),
        ("SMTP_USER", "ops".to_owned()),
        ("SMTP_PASSWORD", secret("smtp")),
    ]
}

/// Command line and environment of every process below one, by its number, until told to stop.
fn watch(top: u32, is_over: &AtomicBool) -> BTreeMap<u32, (String, String)> {
    let mut seen = BTreeMap::new();
    let text = |path: String| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    while !is_over.load(Ordering::SeqCst) {
        let mut below = vec![top];
        while let Some(pid) = below.pop() {
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                below.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
            let read = (text(format!("/proc/{pid}/cmdline")), text(format!("/proc/{pid}/environ")));
            if let (Ok(line), Ok(environment)) = read {
                seen.insert(pid, (line, environment));
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    seen
}

fn no_secret(what: &str, text: &str) {
    assert!(!text.contains(MARK), "{what}: {}", text.lines().filter(|line| line.contains(MARK)).collect::<String>());
}

/// Every file below a folder, as it lies there.
fn files(folder: &Path, seen: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, seen) } else { seen(&path, &fs::read(&path).unwrap_or_default()) }
    }
}

struct Shop {
    world: World,
    variables: Vec<(&'static str, String)>,
}

impl Shop {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command.env_remove("VAULT_PASSWORD").env("VAULT_PASSWORD_FILE", "words/password");
        command.env("VAULT_RUNTIME_DIR", self.world.path("locks"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Both outputs of a command, which may fail.
    fn said(&self, words: &[&str]) -> String {
        let output = self.command(words).output().expect("vault starts");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output))
    }
}

fn shop(port: u16) -> Shop {
    let world = World::empty();
    for folder in ["locks", "words"] {
        fs::create_dir(world.path(folder)).expect("a folder");
    }
    fs::write(world.path("vault.toml"), PLAN.replace("PORT", &port.to_string())).expect("a plan");
    for (name, word) in [("password", "first"), ("second", "second"), ("said", "said")] {
        fs::write(world.path("words").join(name), secret(word) + "\n").expect("a file");
    }
    for (name, word) in [("repository", "first"), ("second", "second")] {
        world.make(name, NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(secret(word).as_bytes()) });
    }
    Shop { world, variables: variables(port) }
}

#[test]
fn no_secret_is_printed_kept_in_clear_sent_or_shown_to_whom_it_is_not_for() {
    let (port, heard) = listen();
    let shop = shop(port);
    let world = &shop.world;
    let mut command = shop.command(&["run", "--verbose"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vault starts");
    let (top, is_over) = (child.id(), AtomicBool::new(false));
    let (output, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(top, &is_over));
        let output = child.wait_with_output().expect("it ends");
        is_over.store(true, Ordering::SeqCst);
        (output, watching.join().expect("it watched"))
    });
    assert_eq!(output.status.code(), Some(1), "much goes wrong: {}", errors(&output));
    // on the terminal stands what programs said that failed, without the secrets that they were given
    let terminal = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
    assert!(terminal.contains(&format!("key=*** {SAID}")), "{terminal}");
    no_secret("terminal", &terminal.replace(SAID, ""));

    // processes
    let own = &seen[&top].0;
    // a child begins as a copy of vault itself
    let programs: Vec<_> = seen.values().filter(|(line, _)| line != own).collect();
    let given = programs.iter().filter(|(_, environment)| environment.contains(&secret("api-key"))).count();
    assert!(given > 0, "the program that it is for was seen: {programs:?}");
    for (line, environment) in programs {
        no_secret("command line", line);
        // what it starts has the same; and the client of the database is given its password
        no_secret(line, &environment.replace(&secret("api-key"), "").replace(&secret("pg"), ""));
    }

    // what hooks, alerts and the web got, and files
    for name in ["seen-command", "seen-before", "seen-finally", "seen-failed", "seen-alerts", "figures.prom"] {
        let text = fs::read_to_string(world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let own = if name == "seen-command" { secret("api-key") } else { "nothing of its own".to_owned() };
        no_secret(name, &text.replace(&own, ""));
    }
    let sent = String::from_utf8_lossy(&heard.lock().expect("nobody fails")).into_owned();
    assert!(sent.contains("broken") && sent.contains("status 3"), "it was told: {sent}");
    no_secret("sent", &sent);
    for folder in ["repository", "second", "cache", "locks"] {
        files(&world.path(folder), &mut |path, bytes| {
            no_secret(&path.display().to_string(), &String::from_utf8_lossy(bytes));
        });
    }
}

#[test]
fn no_command_that_tells_of_a_plan_shows_a_secret() {
    let (port, _) = listen();
    let shop = shop(port);
    shop.said(&["run", "--quiet"]);
    let run = shop.said(&["run", "broken", "ordered", "--json"]);
    assert!(run.contains("\"outcome\":\"failed\""), "{run}");
    no_secret("run", &run.replace(SAID, ""));
    for words in [
        "health",
        "health --json",
        "health --nagios",
        "journal",
        "journal --json",
        "journal --csv",
        "journal export --output out --since 2020-01-01 --until 2100-01-01",
        "journal verify --json",
        "metrics",
        "metrics --push PUSH_URL",
        "plan show",
        "plan show --json",
        "plan check",
        "plan check --json",
        "plan check --alert",
        "plan runbook",
        "schedule",
        "schedule --systemd",
        "snapshots --json",
        "stats --json",
        "forget --by-plan --explain",
        "man --output man",
        "completions bash",
        "run --help",
        "run --dry-run --verbose",
    ] {
        let said = shop.said(&words.split(' ').collect::<Vec<_>>());
        assert!(!said.contains("unexpected argument") && !said.contains("cannot open"), "{words}: {said}");
        no_secret(words, &said);
    }
    for folder in ["out", "man"] {
        files(&shop.world.path(folder), &mut |path, bytes| {
            no_secret(&path.display().to_string(), &String::from_utf8_lossy(bytes));
        });
    }
}
