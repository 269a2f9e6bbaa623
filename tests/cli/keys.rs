//! Keys, roles and recovery through the program: a machine that only writes, a key that is taken away, a password that
//! changes, a repository like another, and the worst day with nothing left but packs, snapshots and the sheet.

use crate::{World, assert_fails, diff, errors, piped};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use vault_format::bundle::BundleKeys;
use vault_format::key_file;

fn json(world: &World, words: &[&str]) -> Value {
    serde_json::from_str(&world.ok(words)).expect("JSON")
}

/// Deletes everything in the repository but these folders and files.
fn keep(world: &World, names: &[&str]) {
    for entry in std::fs::read_dir(world.path("repository")).expect("a repository") {
        let entry = entry.expect("an entry");
        if !names.iter().any(|name| entry.file_name() == *name) {
            let removed = match entry.path().is_dir() {
                true => std::fs::remove_dir_all(entry.path()),
                false => std::fs::remove_file(entry.path()),
            };
            removed.expect("it can be deleted");
        }
    }
}

#[test]
fn a_machine_that_only_writes() {
    let world = World::made();
    let add = ["key", "add", "--role", "writer", "--label", "web-1", "--export-key-file", "web.key", "--json"];
    let added = json(&world, &add);
    assert_eq!(
        (&added["role"], &added["label"], &added["key_file"]),
        (&"writer".into(), &"web-1".into(), &"web.key".into())
    );
    let mode = std::fs::metadata(world.path("web.key")).expect("a key file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.fails(&["key", "add", "--role", "client", "--export-key-file", "web.key"], 1, &["web.key", "exists"]);

    // it stores, and what is the same it stores once
    let key = ["--key-file", "web.key"];
    let with = |words: &[&'static str]| [words, &key].concat();
    let first = json(&world, &with(&["snapshot", "uploads", "--json"]));
    assert_eq!((&first["files"], &first["unchanged_files"]), (&2.into(), &0.into()));
    let said = world.ok(&with(&["snapshot", "uploads"]));
    assert!(said.contains("of uploads: 2 files") && said.contains("0 B new"), "{said}");
    let listed = json(&world, &with(&["snapshots", "--json"]));
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(2));
    assert!(listed["snapshots"][0]["host"].is_null() && listed["snapshots"][1]["parent"] == first["snapshot"]);
    assert!(world.ok(&with(&["check"])).contains("2 snapshots"));

    // and reads, forgets and changes nothing
    let content = ["a writer's", "owner's or the domain's client role"];
    world.fails(&with(&["ls", "uploads"]), 1, &content);
    world.fails(&with(&["restore", "uploads", "--target", "out"]), 1, &content);
    let owner = ["a writer's", "needs the owner role"];
    world.fails(&with(&["key", "add", "--role", "owner", "--export-key-file", "x"]), 1, &owner);
    world.fails(&with(&["key", "remove", "00"]), 1, &owner);
    world.fails(&with(&["key", "passwd"]), 1, &owner);
    world.fails(&with(&["key", "sheet"]), 1, &owner);
    assert!(!world.path("x").exists() && !world.path("out").exists());
    assert!(world.ok(&with(&["key", "list"])).contains("web-1"));

    // the owner restores it, and takes the key away
    world.ok(&["restore", "uploads", "--target", "out"]);
    diff(&world.path("uploads"), &world.path("out"));
    let id = added["id"].as_str().expect("an id");
    let removed = json(&world, &["key", "remove", &id[..8], "--json"]);
    assert_eq!((&removed["revoked"], &removed["accepted_snapshots"]), (&true.into(), &2.into()));
    world.fails(&with(&["snapshot", "uploads"]), 1, &["revoked", "vault key add"]);
    world.ok(&["restore", "uploads", "--target", "out"]);
    assert!(world.ok(&["check", "--read-data"]).starts_with("no damage: 2 snapshots"));
}

/// A key with a snapshot of its own; gives its id.
fn used_key(world: &World, label: &'static str) -> String {
    let file = format!("{label}.key");
    let add = ["key", "add", "--role", "writer", "--label", label, "--export-key-file", &file, "--json"];
    let id = json(world, &add)["id"].as_str().expect("an id").to_owned();
    world.ok(&["snapshot", "uploads", "--key-file", &file]);
    id
}

#[test]
fn a_key_may_be_removed_twice() {
    let world = World::made();
    let id = used_key(&world, "web-1");
    let removed = json(&world, &["key", "remove", "web-1", "--json"]);
    assert_eq!((&removed["removed_before"], &removed["accepted_snapshots"]), (&Value::Null, &1.into()));
    for name in ["web-1", &id[..8], &id] {
        let said = world.ok(&["key", "remove", name]);
        assert!(said.starts_with("removed already on 20") && said.contains("writer web-1"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(world.ok(&["key", "remove", "web-1", "--quiet"]), "");
    assert!(json(&world, &["key", "remove", "web-1", "--json"])["removed_before"].is_string());
    for unknown in ["web-9", "ffffffff", &id[..3], ""] {
        world.fails(&["key", "remove", unknown], 1, &["there is no key"]);
    }

    // that it was stolen turns out later
    let drop =
        |words: &[&'static str]| [&["key", "remove", "web-1", "--drop-since", "2020-01-01T00:00"][..], words].concat();
    assert!(world.ok(&drop(&["--dry-run"])).contains("would drop 1 snapshot"));
    let said = world.ok(&drop(&[]));
    assert!(said.starts_with("removed already on") && said.contains("dropped 1 snapshot"), "{said}");
    assert!(world.ok(&drop(&[])).contains("dropped 0 snapshots"));
    assert_eq!(json(&world, &["snapshots", "--json"])["snapshots"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_key_whose_slot_is_lost_can_be_removed() {
    let world = World::made();
    let id = used_key(&world, "web-2");
    std::fs::remove_file(world.path("repository/keys").join(&id)).expect("its slot");
    for (command, code, says) in [("check", 20, "the key slot of its writer is missing"), ("prune", 3, "slot")] {
        let output = world.run(&[command]);
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        assert!(errors(&output).contains(says), "{}", errors(&output));
    }
    let said = world.ok(&["key", "remove", "web-2"]);
    assert!(said.starts_with("removed key") && said.contains("what it took stays: 1 snapshot"), "{said}");
    assert!(world.ok(&["check", "--read-data"]).starts_with("no damage: 1 snapshot"));
    world.ok(&["prune"]);
    world.fails(&["snapshot", "uploads", "--key-file", "web-2.key"], 1, &["revoked"]);
    for name in ["web-2", &id] {
        assert!(world.ok(&["key", "remove", name]).starts_with("removed already on"));
    }
}

#[test]
fn passwords_come_and_go() {
    let world = World::made();
    let write = |name: &str, text: &str| std::fs::write(world.path(name), text).expect("a file");
    write("new", "better horse\n");
    write("empty", "\n");
    world.fails(&["key", "passwd"], 2, &["--new-password-file"]);
    world.fails(&["key", "passwd", "--new-password-file", "empty"], 1, &["empty"]);
    world.ok(&["key", "passwd", "--new-password-file", "new"]);
    world.fails(&["key", "list"], 12, &["wrong password"]);
    let open = ["--password-file", "new"];
    let with = |words: &[&str]| world.run(&[words, &open].concat());
    let listing: Value = serde_json::from_slice(&with(&["key", "list", "--json"]).stdout).expect("JSON");
    let keys = listing["keys"].as_array().expect("keys");
    assert_eq!((keys.len(), &keys[0]["in_use"], &keys[0]["role"]), (1, &true.into(), &"owner".into()));
    let first = keys[0]["id"].as_str().expect("an id").to_owned();
    assert_fails(&with(&["key", "remove", &first[..6], "--yes"]), 1, &["last password of the owner"]);
    assert_fails(&with(&["key", "remove", "ffffffff"]), 1, &["there is no key"]);
    write("second", "deputy\n");
    let added = with(&["key", "add", "--role", "owner", "--label", "deputy", "--new-password-file", "second"]);
    assert!(added.status.success(), "{}", errors(&added));
    assert_fails(&with(&["key", "remove", &first[..6]]), 2, &["in use", "--yes"]);
    assert!(with(&["key", "remove", &first[..6], "--yes"]).status.success());
    assert_fails(&with(&["key", "list"]), 12, &["wrong password"]);
    assert!(world.run(&["key", "list", "--password-file", "second"]).status.success());
}

#[test]
fn the_worst_day() {
    let world = World::empty();
    std::fs::create_dir_all(world.path("uploads/sub")).expect("folders");
    std::fs::write(world.path("uploads/sub/photo"), vec![7u8; 300_000]).expect("a file");
    std::fs::write(world.path("uploads/note"), "hello\n").expect("a file");
    world.ok(&["init", "--sheet", "sheet.txt"]);
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["key", "add", "--role", "writer", "--export-key-file", "web.key"]);
    world.ok(&["snapshot", "uploads", "--name", "web", "--key-file", "web.key"]);
    // a config alone that vanished is not missed: its copy serves
    std::fs::remove_file(world.path("repository/config")).expect("a config");
    assert_eq!(world.count(), 2);
    let output = world.run(&["check"]);
    assert!(output.status.code() == Some(20) && errors(&output).contains("config: missing"), "{}", errors(&output));
    world.ok(&["init", "--recover", "--sheet", "sheet.txt", "--quiet"]);
    world.ok(&["check", "--quiet"]);

    keep(&world, &["packs", "snapshots"]);
    world.fails(&["snapshots"], 10, &["lost its config", "vault init --recover"]);
    let sheet = std::fs::read_to_string(world.path("sheet.txt")).expect("a sheet");
    // the last words are torn off
    let torn = sheet.split(" 21 ").next().expect("its beginning");
    std::fs::write(world.path("wrong.txt"), torn).expect("a file");
    world.fails(&["init", "--recover", "--sheet", "wrong.txt"], 12, &["words"]);
    let recovered = json(&world, &["init", "--recover", "--sheet", "sheet.txt", "--json"]);
    assert_eq!((&recovered["new_config"], &recovered["vouched_snapshots"]), (&true.into(), &1.into()));
    for (name, out) in [("uploads", "first"), ("web", "second")] {
        world.ok(&["restore", name, "--target", out, "--verify"]);
        diff(&world.path("uploads"), &world.path(out));
    }
    assert!(world.ok(&["check", "--read-data"]).starts_with("no damage: 2 snapshots"));
    world.fails(&["snapshot", "uploads", "--key-file", "web.key"], 1, &["not the one that this key vouches for"]);
    assert!(world.ok(&["snapshot", "uploads"]).contains("0 B new"));

    // words alone, from a pipe; and those of another repository
    keep(&world, &["packs", "snapshots"]);
    let words: Vec<&str> = sheet.split_whitespace().skip_while(|word| *word != "1").collect();
    let words: Vec<&str> = words.chunks(2).map_while(|pair| pair[0].parse::<u8>().ok().map(|_| pair[1])).collect();
    assert_eq!(words.len(), 24);
    let other = World::empty();
    other.ok(&["init", "--sheet", "sheet.txt"]);
    let foreign = other.path("sheet.txt");
    world.fails(&["init", "--recover", "--sheet", foreign.to_str().expect("a path")], 12, &["do not belong"]);
    let output = piped(world.command(&["init", "--recover", "--quiet"]), words.join(" ").as_bytes());
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
    world.ok(&["restore", "uploads", "--target", "third"]);
    diff(&world.path("uploads"), &world.path("third"));
}

#[test]
fn a_repository_like_another() {
    let world = World::made();
    let (second, third) = (world.path("second"), world.path("third"));
    let place = |path: &Path| path.to_str().expect("a path").to_owned();
    let (second, third) = (place(&second), place(&third));
    world.ok(&["init", "--like", "repository", "--repository", &second]);
    world.fails(&["init", "--like", "nowhere", "--repository", &third], 10, &["no repository at"]);
    std::fs::write(world.path("new"), "another\n").expect("a file");
    world.ok(&["key", "add", "--role", "owner", "--label", "file", "--export-key-file", "owner.key"]);
    let like = ["init", "--like", "repository", "--repository", &third, "--key-file", "owner.key"];
    world.ok(&[&like[..], &["--new-password-file", "new"]].concat());
    world.fails(&["key", "list", "--repository", &third], 12, &["wrong password"]);
    let content_key = |repository: &str, password: &[&str], file: &str| {
        let add = ["key", "add", "--role", "client", "--export-key-file", file, "--repository", repository];
        world.ok(&[&add[..], password].concat());
        let bundle = key_file::decode(&std::fs::read(world.path(file)).expect("a key file")).expect("a key");
        let BundleKeys::Member { id_key, gear_key, domain, .. } = bundle.keys else { panic!("a member's key") };
        (id_key, gear_key, domain)
    };
    let first = content_key("repository", &[], "1.key");
    let second = content_key(&second, &[], "2.key");
    let third = content_key(&third, &["--password-file", "new"], "3.key");
    assert!(first.0 == second.0 && first.1 == second.1 && first.0 == third.0, "equal content has equal ids");
    assert!(first.2 != second.2 && second.2 != third.2, "domains are each repository's own");
}

#[test]
fn a_key_is_a_line_of_text_where_there_are_only_variables() {
    let world = World::made();
    let add = world.run(&["key", "add", "--role", "client", "--label", "ci", "--export-key-file", "-"]);
    let text = String::from_utf8(add.stdout.clone()).expect("text");
    assert!(add.status.success() && text.lines().count() == 1 && text.len() > 500, "{}", errors(&add));
    assert!(errors(&add).contains("added key") && !errors(&add).contains(text.trim()), "{}", errors(&add));
    let with = |variable: &str, value: &str, words: &[&str]| {
        let mut command = world.command(words);
        command.env_remove("VAULT_PASSWORD").env(variable, value);
        command.output().expect("vault starts")
    };
    let ok = |output: std::process::Output| {
        assert!(output.status.success(), "{}", errors(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    ok(with("VAULT_KEY", &text, &["snapshot", "uploads"]));
    let listed = ok(with("VAULT_KEY", &text, &["key", "list"]));
    let in_use: Vec<&str> = listed.lines().filter(|line| line.contains("in use")).collect();
    assert!(in_use.len() == 1 && in_use[0].contains(" ci "), "{listed}");
    // the same text in a file, and the text of a file
    std::fs::write(world.path("ci.txt"), &text).expect("a file");
    ok(with("VAULT_KEY_FILE", "ci.txt", &["ls", "uploads"]));
    world.ok(&["key", "add", "--role", "owner", "--label", "deputy", "--export-key-file", "deputy.key"]);
    let base64 = Command::new("base64").arg(world.path("deputy.key")).output().expect("base64");
    let deputy = String::from_utf8(base64.stdout).expect("text");
    let listed = ok(with("VAULT_KEY", &deputy, &["key", "list"]));
    assert!(listed.lines().any(|line| line.contains(" deputy ") && line.contains("in use")), "{listed}");
    // it opens the second of two, and a flag wins over it
    world.ok(&["init", "--repository", "second"]);
    let mut second = world.command(&["copy", "--to", "second"]);
    let keyed = world.run(&["key", "add", "--role", "owner", "--export-key-file", "-", "--repository", "second"]);
    let key = String::from_utf8(keyed.stdout).expect("text");
    ok(second.env("VAULT_TO_KEY", &key).env("VAULT_TO_PASSWORD", "wrong").output().expect("vault starts"));
    std::fs::write(world.path("password"), "wrong\n").expect("a file");
    let output = with("VAULT_KEY", &text, &["snapshots", "--password-file", "password"]);
    assert_fails(&output, 12, &["wrong password", "vault init --recover"]);
    assert_fails(&with("VAULT_KEY", "correct horse", &["snapshots"]), 1, &["VAULT_KEY", "perhaps a password"]);
    assert_fails(&with("VAULT_KEY", &text[..text.len() - 40], &["snapshots"]), 1, &["VAULT_KEY", "copy it again"]);
    world.fails(&["snapshots", "--key-file", "password"], 1, &["perhaps a password", "--password-file"]);
    world.fails(&["key", "add", "--role", "client", "--export-key-file", "-", "--json"], 2, &["standard output"]);
    // the other way round: what is no password
    std::fs::write(world.path("sheet"), world.ok(&["key", "sheet"])).expect("a file");
    for (file, says) in [("deputy.key", "--key-file"), ("ci.txt", "--key-file"), ("sheet", "--recover")] {
        world.fails(&["snapshots", "--password-file", file], 1, &[file, "holds no password", says]);
    }
}

#[test]
fn the_sheet_of_the_first_opens_what_was_made_like_it() {
    let world = World::empty();
    std::fs::create_dir(world.path("source")).expect("a folder");
    std::fs::write(world.path("source/a"), "a").expect("a file");
    world.ok(&["init", "--sheet", "sheet"]);
    world.ok(&["snapshot", "source"]);
    world.ok(&["init", "--like", "repository", "--repository", "second", "--sheet", "other"]);
    world.ok(&["init", "--like", "second", "--repository", "third", "--quiet"]);
    world.ok(&["init", "--repository", "stranger", "--sheet", "strange"]);
    world.ok(&["copy", "--to", "second"]);
    world.ok(&["copy", "--to", "third"]);
    std::fs::remove_dir_all(world.path("repository")).expect("it is lost");
    for (place, sheet) in [("second", "sheet"), ("third", "sheet"), ("third", "other")] {
        let said = world.ok(&["init", "--recover", "--repository", place, "--sheet", sheet]);
        assert!(said.contains("another repository with the same words"), "{said}");
        world.ok(&["restore", "source", "--repository", place, "--target", &format!("{place}-{sheet}")]);
        diff(&world.path("source"), &world.path(&format!("{place}-{sheet}")));
    }
    // also when nothing but content is left
    let left = world.path("second");
    for entry in std::fs::read_dir(&left).expect("a repository") {
        let path = entry.expect("an entry").path();
        if !["packs", "snapshots"].iter().any(|name| path.ends_with(name)) {
            drop(std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)));
        }
    }
    world.ok(&["init", "--recover", "--repository", "second", "--sheet", "sheet"]);
    world.fails(&["init", "--recover", "--repository", "second", "--sheet", "strange"], 12, &["do not belong"]);
    world.fails(&["init", "--recover", "--repository", "stranger", "--sheet", "sheet"], 12, &["do not belong"]);
}

#[test]
fn a_sheet_goes_to_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::made();
    let printed = world.ok(&["key", "sheet"]);
    assert!(world.ok(&["key", "sheet", "--sheet", "sheet.txt"]).contains("sheet.txt"));
    let file = world.path("sheet.txt");
    assert_eq!(std::fs::read_to_string(&file).expect("a sheet"), printed);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    world.fails(&["key", "sheet", "--sheet", "sheet.txt"], 1, &["sheet.txt", "does not exist yet"]);
}
