//! Standard output that can't be written is a failure of every command, said once; one that nobody reads is none. What
//! a reader can't see never reaches a terminal.

use crate::{World, errors};
use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("a full device")
}

#[test]
fn an_output_that_cannot_be_written_is_said_once_and_fails() {
    let world = World::made();
    for number in 0..50 {
        std::fs::write(world.path(&format!("uploads/{number}.txt")), "hello\n").expect("a file");
    }
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["snapshot", "uploads", "--tag", "second"]);
    let all: &[&[&str]] = &[
        &["snapshots"],
        &["snapshots", "--json"],
        &["ls", "uploads", "--recursive"],
        &["ls", "uploads", "--long", "--sort", "size"],
        &["ls", "uploads", "--json"],
        &["find", "*.txt"],
        &["find", "*.txt", "--json"],
        &["diff", "uploads", "uploads/photos"],
        &["diff", "uploads", "uploads", "--json"],
        &["stats"],
        &["stats", "uploads", "--json"],
        &["key", "list"],
        &["key", "list", "--json"],
        &["key", "sheet"],
        &["check"],
        &["check", "--json"],
        &["check", "--scrub"],
        &["forget", "--keep-last", "1", "--dry-run"],
        &["prune", "--dry-run", "--json"],
        &["repair", "--dry-run"],
        &["tag", "uploads", "--add", "x", "--json"],
        &["snapshot", "uploads"],
        &["snapshot", "uploads", "--json"],
        &["restore", "uploads", "--target", "out"],
        &["restore", "uploads:notes.txt", "--stdout"],
        &["restore", "uploads", "--stdout", "--tar"],
        &["completions", "bash"],
        &["--help"],
        &["snapshot", "--help"],
        &["--version"],
    ];
    for words in all {
        let output = world.command(words).stdout(full()).output().expect("vault starts");
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert_eq!(said.matches("No space left on device").count(), 1, "{words:?}: {said}");
        // how far a check reaches is said whatever becomes of its result
        let lines = said.lines().filter(|line| !line.contains("this machine last looked")).count();
        assert_eq!(lines, 1, "{words:?}: {said}");
    }
    let output = world.command(&["snapshot", "uploads", "--quiet"]).stdout(full()).output().expect("vault starts");
    assert!(output.status.success(), "nothing was to be written: {}", errors(&output));
}

#[test]
fn an_output_open_for_reading_only_is_not_taken_for_a_closed_one() {
    let world = World::made();
    let output =
        world.command(&["key", "sheet"]).stdout(File::open("/dev/null").expect("it")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let world = World::made();
    for number in 0..3000 {
        std::fs::write(world.path(&format!("uploads/a-rather-long-name-{number}.txt")), "hello\n").expect("a file");
    }
    world.ok(&["snapshot", "uploads"]);
    for words in [
        "ls uploads --recursive",
        "ls uploads --json",
        "find '*'",
        "diff uploads uploads/photos",
        "snapshots",
        "--help",
    ] {
        let script = format!("\"$VAULT\" {words} | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).env("VAULT", env!("CARGO_BIN_EXE_vault")).current_dir(world.path(""));
        shell.envs([
            ("VAULT_REPOSITORY", "repository"),
            ("VAULT_PASSWORD", "correct horse"),
            ("VAULT_CACHE_DIR", "cache"),
        ]);
        let output = shell.output().expect("bash");
        assert_eq!(output.status.code(), Some(0), "{words}: {}", errors(&output));
        assert_eq!(errors(&output), "", "{words}");
    }
}

#[test]
fn a_standard_error_that_cannot_be_written_stops_nothing() {
    let world = World::made();
    for words in [["snapshot", "uploads", "--verbose"], ["check", "--read-data", "--verbose"]] {
        let output = world.command(&words).stderr(full()).stdout(Stdio::piped()).output().expect("vault starts");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
}

#[test]
fn a_sheet_that_cannot_be_written_leaves_no_repository() {
    let world = World::empty();
    let mut shell = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$VAULT\" init --sheet sheet.txt";
    shell.args(["-c", script]).env("VAULT", env!("CARGO_BIN_EXE_vault")).current_dir(world.path(""));
    shell.envs([("VAULT_REPOSITORY", "repository"), ("VAULT_PASSWORD", "correct horse"), ("VAULT_CACHE_DIR", "cache")]);
    let output = shell.output().expect("sh");
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("no repository was made"), "{}", errors(&output));
    assert!(!world.path("sheet.txt").exists());
    world.ok(&["init", "--sheet", "sheet.txt"]);
    let sheet = std::fs::read_to_string(world.path("sheet.txt")).expect("a sheet");
    assert_eq!(world.ok(&["key", "sheet"]), sheet);
}

#[test]
fn what_nobody_sees_is_escaped_wherever_names_are_printed() {
    let world = World::made();
    let names = ["zero\u{200b}width", "joined\u{200d}name", "turned\u{202e}gpj.exe", "mark\u{feff}", "del\u{7f}"];
    for name in names {
        std::fs::write(world.path("uploads").join(name), "x").expect("a file");
    }
    world.ok(&[
        "snapshot",
        "uploads",
        "--tag",
        "odd\u{200b}tag",
        "--description",
        "d\u{202e}d",
        "--host",
        "h\u{2066}h",
    ]);
    let all: &[&[&str]] = &[
        &["ls", "uploads"],
        &["ls", "uploads", "--long"],
        &["ls", "uploads", "--json"],
        &["find", "*", "--json"],
        &["find", "*"],
        &["snapshots"],
        &["snapshots", "--json"],
        &["diff", "uploads", "uploads/photos"],
        &["diff", "uploads", "uploads/photos", "--json"],
        &["stats", "uploads"],
        &["restore", "uploads", "--target", "o\u{200b}ut", "--dry-run", "--verbose"],
        &["restore", "uploads:no\u{200b}thing", "--target", "out"],
        &["snapshots", "--name", "o\u{200b}"],
    ];
    for words in all {
        let output = world.run(words);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        let seen = |c: char| c == '\n' || !(c.is_control() || "\u{200b}\u{200d}\u{202e}\u{feff}\u{2066}".contains(c));
        assert!(said.chars().all(seen), "{words:?}: {said:?}");
    }
    assert!(world.ok(&["ls", "uploads"]).contains("zero\\u{200b}width"));
}
