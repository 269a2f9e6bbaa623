//! Progress goes to standard error, at a terminal or where it is asked for, and says how much of how much is done. It
//! is never in the way of what the command prints.

use crate::{World, errors};
use serde_json::Value;
use std::process::Stdio;

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn json_lines_tell_how_much_of_how_much_is_done() {
    let world = World::made();
    std::fs::write(world.path("uploads/left-out.tmp"), vec![1; 1000]).expect("a file");
    let words = ["snapshot", "uploads", "--exclude", "*.tmp", "--json", "--progress"];
    let output = world.run(&words);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let lines = lines(&errors(&output));
    let last = lines.last().expect("a line");
    assert_eq!(
        (&last["progress"], &last["done_files"], &last["done_bytes"]),
        (&"reading".into(), &2.into(), &300_006.into())
    );
    // a short run may end before the count does
    if !last["total_files"].is_null() {
        assert_eq!((&last["total_files"], &last["total_bytes"]), (&2.into(), &300_006.into()));
    }
    for field in ["total_files", "total_bytes", "seconds", "rate", "left_seconds", "waiting"] {
        assert!(last.get(field).is_some(), "{field}: {last}");
    }
    let taken: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(taken["files"], 2);
    for words in [
        &["check", "--read-data", "--json", "--progress"][..],
        &["restore", "uploads", "--target", "out", "--json", "--progress"],
        &["prune", "--json", "--progress"],
        &["repair", "--json", "--progress"],
    ] {
        let output = world.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", errors(&output));
        assert!(!self::lines(&errors(&output)).is_empty(), "{words:?}");
    }
}

#[test]
fn a_silent_command_is_said_to_be_waited_for() {
    let world = World::made();
    let script = "echo data; sleep 3.2";
    let words = ["snapshot", "--name", "db", "--json", "--progress", "--command", "--", "sh", "-c", script];
    let output = world.run(&words);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let lines = lines(&errors(&output));
    assert!(lines.iter().any(|line| line["waiting"] == "the command"), "{lines:?}");
    assert!(lines.iter().all(|line| line["total_bytes"].is_null()), "{lines:?}");
    assert_eq!(lines.last().expect("a line")["done_bytes"], 5);
    let mut command = world.command(&["snapshot", "--stdin", "app.sql", "--json", "--progress"]);
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(3_500));
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"x").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(
        self::lines(&errors(&output)).iter().any(|line| line["waiting"] == "standard input"),
        "{}",
        errors(&output)
    );
}

#[test]
fn without_a_terminal_there_is_none_unless_it_is_asked_for() {
    let world = World::made();
    let script = "echo data; sleep 5.5";
    let run = |flags: &[&str]| {
        let words = [flags, &["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]].concat();
        errors(&world.run(&words))
    };
    assert_eq!(run(&[]), "");
    let said = run(&["--progress"]);
    assert!(said.starts_with("vault: reading: ") && said.contains("waiting for the command, "), "{said}");
    world.fails(&["snapshots", "--quiet", "--progress"], 2, &["--progress", "--quiet"]);
}
