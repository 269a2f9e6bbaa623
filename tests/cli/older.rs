//! What the store shows no more, in words and exit codes: who backs up or restores is told in one line and goes on, and
//! who drops or deletes leaves out what it concerns, which is exit code 3, be it all that there is.

use crate::{World, backend, errors};
use std::fs;
use std::path::PathBuf;
use testkit::forged::Liar;
use vault::repository::{Access, Options, Repository};
use vault_format::id::ObjectId;
use vault_format::journal::Record;
use vault_format::key_file;

/// All files below a part of the repository.
fn objects(world: &World, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![world.path("repository").join(part)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn who_backs_up_or_restores_hears_that_the_store_shows_less_than_before() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let first = objects(&world, "snapshots");
    fs::write(world.path("uploads/notes.txt"), "more\n").expect("a file");
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["key", "add", "--role", "writer", "--label", "web-1", "--export-key-file", "web-1.key"]);
    world.ok(&["snapshots"]);
    let newest = objects(&world, "snapshots").into_iter().find(|path| !first.contains(path)).expect("the second");
    let slots = objects(&world, "keys");
    fs::remove_file(&newest).expect("it goes");
    let commands: [&[&str]; 2] =
        [&["snapshot", "uploads", "--quiet", "--dry-run"], &["restore", "uploads:notes.txt", "--stdout", "--quiet"]];
    for words in commands {
        let output = world.run(words);
        let said = errors(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(0), 1), "{words:?}: {said}");
        let id = newest.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(said.contains("the store does not show snapshots/") && said.contains(&id), "{words:?}: {said}");
    }
    world.ok(&["repair", "--accept-older", "--yes"]);
    for words in commands {
        world.ok(&["snapshots"]);
        let output = world.run(words);
        assert_eq!(errors(&output), "", "{words:?}: accepted");
        // that of the writer: it opens nothing here
        let slot = slots.iter().max_by_key(|path| fs::metadata(path).expect("it").modified().expect("a time"));
        let slot = slot.expect("the writer's");
        let bytes = fs::read(slot).expect("a slot");
        fs::remove_file(slot).expect("it goes");
        let said = errors(&world.run(words));
        assert!(said.contains("note: keys/") && said.contains("`vault journal`"), "{words:?}: {said}");
        fs::write(slot, bytes).expect("it comes back");
    }
}

#[test]
fn what_is_left_out_is_an_exit_code_of_its_own_though_it_is_all() {
    let world = World::made();
    world.ok(&["key", "add", "--role", "writer", "--label", "web-1", "--export-key-file", "web-1.key"]);
    world.ok(&["snapshot", "uploads", "--key-file", "web-1.key"]);
    let bundle = key_file::decode(&fs::read(world.path("web-1.key")).expect("a key")).expect("a bundle");
    let (backend, runtime) = backend(&world.path("repository"), false);
    let thief = Repository::open(backend, runtime, Options::default(), Access::Bundle(Box::new(bundle))).expect("it");
    let ghost = ObjectId([7; 32]);
    Liar(&thief).record(&Record { operation: "run".into(), orders: vec![ghost], ..Record::default() }).expect("it");
    let names_it = format!("order {ghost} is missing");
    for words in [&["forget", "--keep-last", "1"][..], &["prune"], &["prune", "--dry-run"]] {
        let output = world.run(words);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {}", errors(&output));
        let said = errors(&output);
        let left: Vec<&str> = said.lines().filter(|line| line.starts_with("vault: left out ")).collect();
        assert!(left.len() == 1 && left[0].contains(&names_it), "{words:?}: {said}");
        let output = world.run(&[words, &["--json"]].concat());
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(printed["left_out"][0]["domain"], thief.keys().domain().to_string(), "{printed}");
    }
    let said = String::from_utf8(world.run(&["prune"]).stdout).expect("text");
    assert!(said.contains("nothing marked or freed: no domain can be judged"), "{said}");
    // whoever removes the key is held up by nothing that it names, and then nobody is
    let removed = world.ok(&["key", "remove", "web-1"]);
    assert!(removed.contains("1 snapshot"), "{removed}");
    world.ok(&["forget", "--keep-last", "1"]);
    world.ok(&["prune"]);
}
