//! Completion in a real bash: with the script that the program prints, as bash itself calls it.

use crate::{World, errors};
use std::path::Path;
use std::process::{Command, Stdio};

/// What bash offers for the last word. The environment is that of `world` with `changes`.
fn complete(world: &World, words: &[&str], changes: &[(&str, Option<&str>)]) -> Vec<String> {
    let script = r#"
source <(vault completions bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
_clap_complete_vault "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let program = Path::new(env!("CARGO_BIN_EXE_vault"));
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("a path"));
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).args(words).env("PATH", path).stdin(Stdio::null());
    // a slow machine is no failure
    bash.env("VAULT_COMPLETE_SECONDS", "600");
    for (name, value) in world.command(&[]).get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    for (name, value) in changes {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    let output = bash.current_dir(world.path("")).output().expect("bash starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {}", errors(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_sources_and_snapshots() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["snapshot", "uploads", "--name", "up-2"]);
    let listing: serde_json::Value = serde_json::from_str(&world.ok(&["snapshots", "--json"])).expect("JSON");
    let id = listing["snapshots"][0]["id"].as_str().expect("an id")[..8].to_owned();
    let offered = |words: &[&str]| complete(&world, words, &[]);
    assert_eq!(offered(&["vault", "snapsh"]), ["snapshot", "snapshots"]);
    assert_eq!(offered(&["vault", "restore", "--targ"]), ["--target"]);
    assert_eq!(offered(&["vault", "restore", "up"]), ["up-2", "uploads"]);
    assert_eq!(offered(&["vault", "restore", &id[..5]]), [id.as_str()]);
    assert_eq!(offered(&["vault", "ls", "la"]), ["latest"]);
    assert_eq!(offered(&["vault", "snapshots", "--name", ""]), ["up-2", "uploads"]);
    assert_eq!(offered(&["vault", "diff", "latest", "uplo"]), ["uploads", "uploads/"]);
    let nothing_yet = offered(&["vault", "ls", ""]);
    let flags = nothing_yet.iter().filter(|offer| offer.starts_with('-')).count();
    assert_eq!(nothing_yet.len() - flags, 5, "{nothing_yet:?}");
}

#[test]
fn completion_neither_asks_nor_fails_without_a_key() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let offered = |changes: &[(&str, Option<&str>)]| complete(&world, &["vault", "ls", "up"], changes);
    assert_eq!(offered(&[]), ["uploads"]);
    assert!(offered(&[("VAULT_REPOSITORY", None)]).is_empty());
    assert!(offered(&[("VAULT_PASSWORD", None)]).is_empty());
    assert!(offered(&[("VAULT_PASSWORD", Some("wrong"))]).is_empty());
    assert!(offered(&[("VAULT_REPOSITORY", Some("nowhere"))]).is_empty());
    // a command may ask on its own, so it is not run
    let command = ("VAULT_PASSWORD_COMMAND", Some("touch asked; echo correct horse"));
    assert!(offered(&[("VAULT_PASSWORD", None), command]).is_empty());
    assert!(!world.path("asked").exists());
    let fifo = world.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    // nobody will ever write into it
    let stuck =
        [("VAULT_PASSWORD", None), ("VAULT_PASSWORD_FILE", fifo.to_str()), ("VAULT_COMPLETE_SECONDS", Some("1"))];
    assert!(offered(&stuck).is_empty());
}
