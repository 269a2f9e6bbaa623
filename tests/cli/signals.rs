//! A signal ends a run and everything that it has started, however silent or deaf that is, and leaves no snapshot of a
//! part. What a command does with its pipes, says, or asks of the environment has one answer each.

use crate::{World, assert_fails, errors, is_root, piped};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A snapshot of the output of a shell script that has started.
fn start(world: &World, words: &[&str]) -> Child {
    let vault = world.command(words);
    // where the tests run under `nohup`, vault would rightly ignore SIGHUP as well
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(vault.get_program()).args(vault.get_args()).current_dir(world.path("."));
    for (name, value) in vault.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("vault starts")
}

/// Waits until a process with this command line runs.
fn await_process(pattern: &str) {
    let started = Instant::now();
    while left(pattern).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "{pattern} did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn left(pattern: &str) -> String {
    let output = Command::new("pgrep").args(["-f", pattern]).output().expect("pgrep");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn end(mut child: Child, signal: Signal, most: Duration) -> Output {
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < most, "it still runs after {most:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("an end")
}

#[test]
fn a_signal_ends_a_silent_command_and_all_that_it_started() {
    let world = World::made();
    let cases = [
        (Signal::TERM, "echo data; exec sleep 8101", "^sleep 8101$"),
        (Signal::INT, "echo data; sleep 8102 | cat", "^sleep 8102$"),
        (Signal::HUP, "trap '' HUP TERM INT; echo data; sleep 8103; sleep 8103", "^sleep 8103$"),
        (Signal::QUIT, "echo data; timeout 9000 sleep 8104; true", "^(timeout 9000 )?sleep 8104$"),
        (Signal::TERM, "echo data; exec >&- 2>&-; sleep 8105", "^sleep 8105$"),
        (Signal::TERM, "echo data; sleep 8106 & kill -STOP $$", "^sleep 8106$"),
    ];
    for (signal, script, pattern) in cases {
        let child = start(&world, &["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]);
        await_process(pattern);
        let output = end(child, signal, Duration::from_millis(3_000));
        assert_eq!(output.status.code(), Some(130), "{script}: {}", errors(&output));
        let said = errors(&output);
        assert!(said.starts_with("vault: stopping: what runs is told to end"), "{script}: {said}");
        assert!(said.contains("interrupted"), "{script}: {said}");
        assert_eq!(left(pattern), "", "{script}");
    }
    assert_eq!(world.count(), 0);
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_orphan() {
    let world = World::made();
    let script = "trap '' TERM; echo data; while :; do sleep 8201; done";
    let child = start(&world, &["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]);
    await_process("^sleep 8201$");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    std::thread::sleep(Duration::from_millis(500));
    let output = end(child, Signal::TERM, Duration::from_millis(500));
    assert_eq!(output.status.code(), Some(130), "{}", errors(&output));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(left("^sleep 8201$"), "");
}

#[test]
fn a_signal_ends_a_silent_standard_input_and_a_silent_password_command() {
    let world = World::made();
    let child = start(&world, &["snapshot", "--stdin", "app.sql"]);
    std::thread::sleep(Duration::from_millis(700));
    let output = end(child, Signal::TERM, Duration::from_secs(1));
    assert_eq!(output.status.code(), Some(130), "{}", errors(&output));
    let child = start(&world, &["snapshots", "--password-command", "sleep 8301; echo x"]);
    await_process("^sleep 8301$");
    let output = end(child, Signal::INT, Duration::from_secs(2));
    assert_eq!(output.status.code(), Some(130), "{}", errors(&output));
    assert_eq!(left("^sleep 8301$"), "");
    assert_eq!(world.count(), 0);
}

#[test]
fn a_hangup_that_is_ignored_stays_so() {
    let world = World::made();
    let vault = world.command(&["snapshot", "--name", "db", "--command", "--", "sh", "-c", "sleep 2.5; echo data"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(vault.get_program()).args(vault.get_args());
    shell.current_dir(world.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in vault.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    let child = shell.spawn().expect("sh");
    await_process("^sleep 2.5$");
    let output = end(child, Signal::HUP, Duration::from_secs(20));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(world.count(), 1);
}

#[test]
fn an_output_that_somebody_else_still_holds_is_not_taken_for_whole() {
    let world = World::made();
    let words = ["snapshot", "--name", "db", "--command", "--", "sh", "-c", "echo data; sleep 8401 & exit 0"];
    world.fails(&words, 1, &["sh has ended", "still holds its output open", "> /dev/null"]);
    assert_eq!(left("^sleep 8401$"), "");
    assert_eq!(world.count(), 0);
    // what does not hold it may stay
    let script = "echo data; sleep 8402 > /dev/null 2>&1 & exit 0";
    world.ok(&["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]);
    assert_ne!(left("^sleep 8402$"), "");
    Command::new("pkill").args(["-f", "^sleep 8402$"]).status().expect("pkill");
}

#[test]
fn a_command_that_closes_its_output_early_still_decides_by_its_end() {
    let world = World::made();
    let run = |script| world.run(&["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]);
    assert_fails(&run("echo data; exec >&-; sleep 0.4; exit 3"), 1, &["sh failed", "3"]);
    assert_eq!(world.count(), 0);
    assert_eq!(run("echo data; exec >&-; sleep 0.4; exit 0").status.code(), Some(0));
    assert_eq!(world.ok(&["restore", "db:db", "--stdout"]), "data\n");
}

#[test]
fn no_secret_of_the_environment_reaches_what_is_started() {
    let world = World::made();
    let secrets = [
        "VAULT_PASSWORD",
        "VAULT_KEY",
        "VAULT_TO_PASSWORD",
        "VAULT_FROM_PASSWORD",
        "VAULT_NEW_PASSWORD",
        "VAULT_PASSWORD_NEXT",
    ];
    let with = |words: &[&str]| {
        let mut command = world.command(words);
        command.envs(secrets.iter().skip(2).map(|name| (name, "correct horse")));
        command.env("AWS_PROFILE", "dumps").env("VAULT_ADDR", "https://vault.example");
        command.output().expect("vault starts")
    };
    let output = with(&["snapshot", "--name", "env", "--command", "--", "env"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let seen = world.ok(&["restore", "env:env", "--stdout"]);
    assert!(seen.contains("AWS_PROFILE=dumps") && seen.contains("VAULT_ADDR="), "{seen}");
    secrets.iter().for_each(|name| assert!(!seen.contains(&format!("{name}=")), "{name}: {seen}"));
    assert!(!seen.contains("correct horse"), "{seen}");
    let script = "env | grep -q 'correct horse' && exit 9; echo correct horse";
    let output = with(&["snapshots", "--password-command", script]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let url = format!("file://{}", world.path("repository").display());
    let mut command = world.command(&["snapshot", "--name", "env", "--command", "--", "env"]);
    assert!(command.env("VAULT_REPOSITORY", url).status().expect("it runs").success());
    assert!(!world.ok(&["restore", "env:env", "--stdout"]).contains("VAULT_REPOSITORY"));
}

#[test]
fn what_a_command_says_is_shown_and_kept_whether_it_fails_or_not() {
    let world = World::made();
    let script = "echo 'warning: circular\x1b[31m keys' >&2; echo data";
    let words = ["snapshot", "--name", "db", "--command", "--", "sh", "-c", script];
    let said = |flags: &[&str]| {
        let output = world.run(&[flags, &words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(said(&[]).1, "vault: sh: warning: circular\\u{1b}[31m keys\n");
    assert_eq!(said(&["--verbose"]).1.matches("circular").count(), 1);
    assert_eq!(said(&["--quiet"]).1, "");
    let json: serde_json::Value = serde_json::from_str(&said(&["--json"]).0).expect("JSON");
    assert_eq!(json["messages"][0], "warning: circular\x1b[31m keys");
    let listing: serde_json::Value = serde_json::from_str(&world.ok(&["snapshots", "--json"])).expect("JSON");
    let kept = listing["snapshots"].as_array().expect("a list");
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|snapshot| snapshot["messages"] == json["messages"]), "{listing}");
    let many = "seq 1 3000 >&2; echo data";
    let output = world.run(&["snapshot", "--name", "db", "--command", "--", "sh", "-c", many]);
    assert!(errors(&output).ends_with("vault: sh: 2999\nvault: sh: 3000\n"), "{}", errors(&output));
    assert!(errors(&output).lines().count() <= 11, "{}", errors(&output));
    // nothing came, and the cause stands in what it said
    let silent = "echo 'error: no database nosuch' >&2 | cat";
    let words = ["snapshot", "--name", "db", "--command", "--", "sh", "-c", silent];
    world.fails(&words, 1, &["sh gave no output", "no database nosuch", "--allow-empty"]);
    let output = piped(world.command(&["snapshot", "--stdin", "app.sql"]), b"");
    assert_fails(&output, 1, &["standard input gave no output: an empty"]);
}

/// A core would hold keys. Many machines hand all cores to nobody, so that a crash shows little; but of a process that may
/// write none the kernel also keeps to root what it shows of it.
#[test]
#[cfg(target_os = "linux")]
fn a_crash_leaves_no_core() {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::ExitStatusExt;
    let world = World::made();
    let (own, mut cat, mut vault) = match is_root() {
        true => {
            assert!(world.as_nobody(&["init"]).output().expect("setpriv starts").status.success());
            let mut cat = Command::new("setpriv");
            cat.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"]);
            (65534, cat, world.as_nobody(&["snapshot", "--stdin", "dump"]))
        }
        false => {
            (rustix::process::geteuid().as_raw(), Command::new("cat"), world.command(&["snapshot", "--stdin", "dump"]))
        }
    };
    let crashed = |command: &mut Command| {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child: Child = command.spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().expect("a child").is_none(), "it runs");
        let shown_to = std::fs::metadata(format!("/proc/{}/status", child.id())).expect("it runs").uid();
        kill_process(Pid::from_child(&child), Signal::ABORT).expect("it runs");
        (shown_to, child.wait().expect("an end").core_dumped())
    };
    assert_eq!(crashed(&mut cat).0, own, "whoever may write a core");
    let (shown_to, has_core) = crashed(&mut vault);
    assert!(shown_to != own && !has_core, "shown to {shown_to}, with a core: {has_core}");
}
