//! The programs in `examples/` do what they say, on one repository in the order of a life.

use crate::{PASSWORD, World};
use std::path::Path;
use std::process::Command;

/// Runs an example that is to succeed, and gives what it printed.
fn example(name: &str, words: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_vault")).with_file_name("examples").join(name);
    assert!(program.exists(), "{}: build it with cargo build --examples", program.display());
    let output = Command::new(program).args(words).env("VAULT_PASSWORD", PASSWORD).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn examples_back_up_list_and_restore() {
    let world = World::made();
    let path = |name: &str| world.path(name).to_str().expect("text").to_owned();
    let (repository, uploads, restored) = (path("repository"), path("uploads"), path("restored"));

    let printed = example("backup", &[&repository, &uploads]);
    let (id, files) = printed.trim().split_once(": ").expect("a snapshot");
    assert_eq!(files, "2 files");

    let listed = example("list", &[&repository]);
    assert!(listed.starts_with(&format!("{id} example ")), "{listed}");
    assert!(listed.lines().any(|line| line == "  photos/2026/cat.jpg"), "{listed}");

    let end = example("read_at", &[&repository, "example:photos/2026/cat.jpg", "299990"]);
    assert_eq!(end.as_bytes(), [7; 10]);

    let printed = example("restore", &[&repository, "example:photos", &restored]);
    assert_eq!(printed, "1 files, 300000 bytes; 0 were there\n");
    let cat = |folder: &str| std::fs::read(Path::new(folder).join("2026/cat.jpg")).expect("a file");
    assert_eq!(cat(&restored), cat(&path("uploads/photos")));

    std::fs::write(world.path("uploads/new"), vec![1u8; 1000]).expect("a file");
    let watched = example("watch_progress", &[&repository, &uploads]);
    assert!(watched.contains(" bytes, at "), "{watched}");
    assert!(watched.ends_with(" bytes in all\n"), "{watched}");
    assert_eq!(example("list", &[&repository]).matches(" example ").count(), 2);
}
