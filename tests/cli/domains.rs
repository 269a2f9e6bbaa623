//! Several domains with a source of the same name: a label, a domain's name and an id are the same address in every
//! command, what is ambiguous is refused with what can be said instead, and the tables tell the domains apart.

use crate::World;
use serde_json::Value;

fn json(world: &World, words: &[&str]) -> Value {
    serde_json::from_str(&world.ok(words)).expect("JSON")
}

/// The owner, a client with a domain of its own and one that joined a domain by name have a source `uploads`.
fn world() -> World {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let add = |words: &[&str]| drop(world.ok(&[&["key", "add", "--role", "client"], words].concat()));
    add(&["--label", "web-1", "--export-key-file", "1.key"]);
    add(&["--label", "eu: web@2", "--domain", "shared", "--export-key-file", "2.key"]);
    for key in ["1.key", "2.key"] {
        std::fs::write(world.path("uploads/notes.txt"), key).expect("a file");
        world.ok(&["snapshot", "uploads", "--key-file", key]);
    }
    world
}

#[test]
fn a_label_is_an_address_in_every_command() {
    let world = world();
    let key = |label: &str| {
        let keys = json(&world, &["key", "list", "--json"]);
        let keys = keys["keys"].as_array().expect("keys").clone();
        keys.into_iter().find(|key| key["label"] == label).expect("a key")
    };
    let id = key("web-1")["domain"].as_str().expect("an id").to_owned();
    let addresses =
        [("owner", "hello\n"), ("web-1", "1.key"), (&id[..6], "1.key"), ("shared", "2.key"), ("eu: web@2", "2.key")];
    for (number, (domain, content)) in addresses.into_iter().enumerate() {
        let source = format!("{domain}/uploads");
        let said = |words: &[&str]| world.ok(words);
        let note = format!("{source}:notes.txt");
        assert_eq!(said(&["restore", &note, "--stdout"]), content, "{domain}");
        assert_eq!(said(&["restore", &format!("{source}@now:notes.txt"), "--stdout"]), content, "{domain}");
        assert_eq!(said(&["ls", &note]), "notes.txt\n", "{domain}");
        assert!(said(&["find", "notes.txt", "--name", &source]).ends_with("1 version\n"), "{domain}");
        assert_eq!(said(&["diff", &source, &source]), "no differences\n", "{domain}");
        assert_eq!(
            json(&world, &["stats", &source, "--json"])["sources"].as_array().map(Vec::len),
            Some(1),
            "{domain}"
        );
        assert!(said(&["snapshots", "--name", &source]).ends_with("\n1 snapshot\n"), "{domain}");
        assert!(said(&["tag", &source, "--add", "seen"]).contains("seen"), "{domain}");
        let kept = json(&world, &["forget", "--name", &source, "--keep-last", "1", "--dry-run", "--json"]);
        assert_eq!(kept["kept"].as_array().map(Vec::len), Some(1), "{domain}");
        let second = format!("second-{number}");
        world.ok(&["init", "--like", "repository", "--repository", &second]);
        let copied = json(&world, &["copy", "--to", &second, "--name", &source, "--json"]);
        assert_eq!(copied["copied"].as_array().map(Vec::len), Some(1), "{domain}");
        assert_eq!(json(&world, &["copy", &source, "--to", &second, "--json"])["known"], 1, "{domain}");
    }
    let two =
        json(&world, &["forget", "--name", "web-1/uploads", "--name", "shared/uploads", "--keep-last", "1", "--json"]);
    assert_eq!(two["kept"].as_array().map(Vec::len), Some(2));
    // in the second place too, where nobody has a key of these domains
    world.ok(&["copy", "--to", "second-0"]);
    let there = ["--repository", "second-0"];
    for (source, content) in [("owner/uploads", "hello\n"), ("web-1/uploads", "1.key"), ("eu: web@2/uploads", "2.key")]
    {
        let note = format!("{source}:notes.txt");
        assert_eq!(world.ok(&[&["restore", &note, "--stdout"], &there[..]].concat()), content, "{source}");
    }
    assert!(world.ok(&[&["snapshots"], &there[..]].concat()).contains(" web-1 "));
    assert_eq!(json(&world, &["copy", "--to", "second-0", "--json"])["known"], 3);
    // after the last key of a domain is gone it is still called so
    world.ok(&["key", "remove", "web-1"]);
    assert_eq!(world.ok(&["restore", "web-1/uploads:notes.txt", "--stdout"]), "1.key");
    assert!(world.ok(&["snapshots"]).contains(" web-1 "));
}

#[test]
fn what_is_ambiguous_names_all_that_it_may_mean() {
    let world = world();
    let all = ["several domains", "owner/uploads", "web-1/uploads", "eu: web@2/uploads"];
    world.fails(&["ls", "uploads"], 1, &all);
    world.fails(&["restore", "uploads:notes.txt", "--stdout"], 1, &all);
    world.fails(&["forget", "--name", "uploads", "--keep-last", "1"], 1, &all);
    let unknown = [
        (&["ls", "nobody/uploads"][..], "no domain is called \"nobody\""),
        (&["snapshots", "--name", "nobody/uploads"], "no domain is called \"nobody\""),
        (&["stats", "web-1/other"], "vault snapshots"),
    ];
    for (words, hint) in unknown {
        world.fails(words, 1, &[words.last().expect("an address"), hint]);
    }
    world.fails(&["key", "remove", "nobody"], 1, &["there is no key", "vault key list"]);
    // a second key of the same label, in another domain
    world.ok(&[
        "key",
        "add",
        "--role",
        "client",
        "--label",
        "web-1",
        "--domain",
        "other",
        "--export-key-file",
        "3.key",
    ]);
    world.ok(&["snapshot", "uploads", "--key-file", "3.key"]);
    let text = world.fails(&["key", "remove", "web-1"], 1, &["ambiguous", "client web-1"]);
    let ids =
        text.split_whitespace().filter(|word| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(ids.count(), 2, "{text}");
    world.fails(&["ls", "web-1/uploads"], 1, &["several domains", "/uploads or "]);
    assert_eq!(world.ok(&["restore", "other/uploads:notes.txt", "--stdout"]), "2.key");
}

#[test]
fn tables_tell_domains_apart_where_there_are_several() {
    let world = world();
    for words in [&["snapshots"][..], &["stats"], &["find", "notes.txt"], &["forget", "--keep-last", "1", "-n"]] {
        let table = world.ok(words);
        let heading = table.lines().next().expect("a heading");
        assert!(heading.contains("DOMAIN"), "{table}");
        for label in ["owner", "web-1", "eu: web@2"] {
            assert!(
                table.lines().any(|line| line.contains(&format!(" {label} ")) || line.starts_with(label)),
                "{label}: {table}"
            );
        }
    }
    for words in [&["snapshots"][..], &["stats"], &["find", "notes.txt"]] {
        let alone = world.ok(&[words, &["--key-file", "1.key"]].concat());
        assert!(!alone.contains("DOMAIN"), "{alone}");
    }
    let listed = json(&world, &["snapshots", "--json"]);
    let labels: Vec<_> =
        listed["snapshots"].as_array().expect("a list").iter().map(|one| one["domain_label"].clone()).collect();
    assert_eq!(labels, ["owner", "web-1", "eu: web@2"]);
}

#[test]
fn who_may_not_read_is_refused_once_and_plainly() {
    let world = World::made();
    world.ok(&["key", "add", "--role", "writer", "--label", "w", "--export-key-file", "w.key"]);
    world.ok(&["snapshot", "uploads", "--key-file", "w.key"]);
    std::fs::remove_dir_all(world.path("cache")).expect("a cache");
    for words in [
        &["find", "notes.txt"][..],
        &["ls", "uploads"],
        &["diff", "uploads", "uploads"],
        &["restore", "uploads", "--target", "o"],
    ] {
        world.fails(
            &[words, &["--key-file", "w.key", "--no-cache"]].concat(),
            1,
            &["a writer's", "owner's or the domain's client"],
        );
    }
}
