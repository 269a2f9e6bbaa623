//! The output of a command: which variables it gets, where it runs, how long it may, and what its end says.

use crate::taken::{Vault, words};
use std::time::{Duration, Instant};
use vault::progress::Silent;
use vault::source::{Command, CommandOptions, allowed};

fn shell(script: &str) -> CommandOptions {
    CommandOptions { words: words(&["sh", "-c", script]), filename: b"a/out".to_vec(), ..CommandOptions::default() }
}

#[test]
fn a_command_gets_what_is_named_and_no_other_variable() {
    let vault = Vault::new();
    let all = ["PATH", "HOME", "SECRET", "TOKEN"].map(|name| (name.into(), format!("{name}'s value").into()));
    let all = all.into_iter().chain([("PATH".into(), "/usr/bin:/bin".into())]);
    let environment = Some(allowed(all, |name| name == "TOKEN"));
    let folder = tempfile::tempdir().unwrap();
    let options = CommandOptions { environment, folder: Some(folder.path().to_owned()), ..shell("pwd; env") };
    let report = vault.take(&mut Command::new(options, &vault.runtime, &Silent)).unwrap();
    let (_place, out) = vault.restored(&report);
    let text = std::fs::read_to_string(out.join("a/out")).unwrap();
    assert!(text.starts_with(folder.path().to_str().unwrap()), "{text}");
    assert!(text.contains("\nTOKEN=TOKEN's value\n") && text.contains("\nHOME=HOME's value\n"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}

#[test]
fn a_command_ends_with_all_that_it_started_when_its_time_is_over() {
    let vault = Vault::new();
    // one writes, one is silent, one has closed its output
    for script in ["yes & sleep 6171", "sleep 6172 & sleep 6172", "exec >&- 2>&-; sleep 6173 & sleep 6173"] {
        let options = CommandOptions { timeout: Some(Duration::from_secs(1)), ..shell(script) };
        let begun = Instant::now();
        vault.refuses(&mut Command::new(options, &vault.runtime, &Silent), &["sh ran longer than 1s and was ended"]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    let left = std::process::Command::new("pgrep").args(["-f", "^sleep 617[123]$"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn an_output_without_a_byte_is_refused_unless_it_is_allowed() {
    let vault = Vault::new();
    let error =
        vault.refuses(&mut Command::new(shell("echo why >&2"), &vault.runtime, &Silent), &["sh gave no output"]);
    assert!(error.contains("said: why"), "{error}");
    vault.refuses(&mut Command::new(shell("exit 4"), &vault.runtime, &Silent), &["status 4"]);
    let options = CommandOptions { allow_empty: true, ..shell("exit 0") };
    assert!(vault.take(&mut Command::new(options, &vault.runtime, &Silent)).unwrap().snapshot.is_some());
}
