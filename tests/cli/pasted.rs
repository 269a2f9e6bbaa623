//! What an error proposes is pasted into a shell as it stands: quoted, complete, and the right command.

use crate::{World, errors};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs a command without the repository in the environment.
fn run(world: &World, words: &[&str]) -> Output {
    world.command(words).env_remove("VAULT_REPOSITORY").output().expect("vault starts")
}

/// The command between backticks that begins so, run by a shell.
fn paste(world: &World, said: &str, begins: &str) -> Output {
    let command = said.split('`').find(|part| part.starts_with(begins)).unwrap_or_else(|| panic!("{begins}: {said}"));
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_vault"));
    let folder = binary.parent().expect("a folder").to_str().expect("text");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(world.path("")).env_remove("VAULT_REPOSITORY");
    shell.env("PATH", format!("{folder}:{}", std::env::var("PATH").expect("a path")));
    shell.env("VAULT_PASSWORD", "correct horse").env("VAULT_CACHE_DIR", world.path("cache"));
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", errors(&output));
    output
}

#[test]
fn a_place_with_blanks_and_signs_is_quoted() {
    for place in ["my backup", "it's & here", "a;b$(c)"] {
        let world = World::empty();
        let said = errors(&run(&world, &["snapshots", "--repository", place]));
        paste(&world, &said, "vault init");
        assert!(world.path(place).join("config").exists(), "{said}");
        let said = errors(&run(&world, &["ls", "nothing", "--repository", place]));
        paste(&world, &said, "vault snapshots");
        // also where the summary of a command tells what comes next
        std::fs::write(world.path("note"), "hello").expect("a file");
        assert!(run(&world, &["snapshot", "note", "--repository", place]).status.success());
        let said = errors(&run(&world, &["ls", "note:nowhere", "--repository", place]));
        assert_eq!(paste(&world, &said, "vault ls").stdout, b"note\n", "{said}");
    }
}

#[test]
fn a_second_place_that_is_not_there_is_to_be_made_like_the_first() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let said = world.fails(&["copy", "--to", "second place"], 10, &["no repository", "--like"]);
    paste(&world, &said, "vault init --like");
    let copied = world.ok(&["copy", "--to", "second place"]);
    assert!(copied.starts_with("copied 1 snapshot") && !copied.contains("share no root"), "{copied}");
    world.fails(&["repair", "--from", "third"], 10, &["no repository", "check the location"]);
    // the first of the two is told as ever
    let said = errors(&run(&world, &["copy", "--to", "second place", "--repository", "none"]));
    assert!(said.contains("no repository at none; check") && !said.contains("vault init"), "{said}");
}

#[test]
fn what_is_taken_back_or_held_is_told_with_its_repository() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["snapshot", "uploads"]);
    let listing: serde_json::Value = serde_json::from_str(&world.ok(&["snapshots", "--json"])).expect("JSON");
    let id = listing["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    world.ok(&["forget", &id]);
    let place = world.path("repository");
    let place = place.to_str().expect("text");
    let said = errors(&run(&world, &["tag", &id, "--hold", "--repository", place]));
    paste(&world, &said, "vault undelete");
    assert_eq!(world.count(), 2);
}
