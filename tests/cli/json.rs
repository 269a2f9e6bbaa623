//! What docs/json.md says of `--json` is what commands print: the page is read, each command of it is run on a real
//! repository, and the fields must be the same both ways.

use crate::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use testkit::world::noise;
use vault_format::bundle::BundleKeys;
use vault_format::id::ObjectId;
use vault_format::journal::Record;
use vault_format::key_file;
use vault_format::name::Name;
use vault_format::object::Author;

/// Fields by path, as in `findings.object`, and whether they may be left out.
type Fields = BTreeMap<String, bool>;

/// The fields of docs/json.md by command.
fn table() -> BTreeMap<String, Fields> {
    let page = include_str!("../../docs/json.md");
    let sections = page.split("\n## `").skip(1);
    sections
        .map(|section| {
            let (command, text) = section.split_once("`\n").expect("a heading");
            let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
            let fields = rows.map(|row| {
                let (path, rest) = row.split_once("` | ").expect("three columns");
                let (kind, _) = rest.split_once(" | ").expect("three columns");
                (path.to_owned(), kind.ends_with("left out"))
            });
            (command.to_owned(), fields.collect())
        })
        .collect()
}

/// Notes the fields of an object; each that may not be left out must be there.
fn note(value: &Value, above: &str, documented: &Fields, printed: &mut BTreeSet<String>, context: &str) {
    let Value::Object(object) = value else { panic!("{context}: {value} is no object") };
    for (field, optional) in documented {
        let own = field.strip_prefix(above).filter(|own| !own.contains('.'));
        assert!(*optional || own.is_none_or(|own| object.contains_key(own)), "{context}: no {field} in {value}");
    }
    for (key, value) in object {
        let path = format!("{above}{key}");
        let below = format!("{path}.");
        match value {
            // of an object by name the names are no fields
            Value::Object(_) if documented.keys().any(|field| field.starts_with(&below)) => {
                note(value, &below, documented, printed, context);
            }
            Value::Array(list) => {
                list.iter().filter(|value| value.is_object()).for_each(|value| {
                    note(value, &below, documented, printed, context);
                });
            }
            _ => {}
        }
        printed.insert(path);
    }
}

/// What is run for each command, in this order.
const RUNS: &[(&str, &[&str])] = &[
    ("init", &["init", "--repository", "another"]),
    ("snapshot", &["snapshot", "uploads", "--tag", "t"]),
    ("snapshot", &["snapshot", "uploads", "--dry-run"]),
    ("snapshot", &["snapshot", "--name", "db", "--command", "--", "echo", "dump"]),
    ("snapshot", &["snapshot", "--name", "packed", "--command", "--", "cat", "packed"]),
    ("snapshots", &["snapshots"]),
    ("ls", &["ls", "uploads", "--recursive"]),
    ("find", &["find", "*"]),
    ("diff", &["diff", "uploads", "changed", "--metadata"]),
    ("diff", &["diff", "uploads", "uploads"]),
    ("stats", &["stats"]),
    ("stats", &["stats", "uploads"]),
    ("restore", &["restore", "uploads", "--target", "out"]),
    ("check", &["check"]),
    ("journal", &["journal", "-n", "3"]),
    ("journal verify", &["journal", "verify"]),
    ("journal export", &["journal", "export", "--since", "today", "--output", "audit"]),
    ("repair --accept-older", &["repair", "--accept-older"]),
    ("copy", &["copy", "--to", "another"]),
    ("snapshot", &["snapshot", "changed", "--name", "uploads"]),
    ("init --recover", &["init", "--recover", "--sheet", "sheet"]),
    ("key list", &["key", "list"]),
    ("key passwd", &["key", "passwd", "--new-password-file", "password"]),
    ("tag", &["tag", "uploads", "--add", "kept"]),
    ("plan check", &["plan", "check", "--alert"]),
    ("plan show", &["plan", "show"]),
    ("plan init", &["plan", "init", "--output", "drafted.toml"]),
    ("run", &["run", "--only", "sources"]),
    ("run", &["run", "--dry-run"]),
    ("health", &["health"]),
    ("forget", &["forget", "--by-plan", "--explain", "--on", "2099-01-01"]),
];

/// A plan with something to tell of in each command that goes by it.
const PLAN: &str = "name = \"p\"\n[source.planned]\nkind = \"directory\"\npaths = [\"changed\"]\nkeep = { daily = 3 }\n\
                    [source.piped]\nkind = \"command\"\ncommand = [\"cat\", \"packed\"]\n\
                    [source.later]\nkind = \"sqlite\"\npath = \"later.db\"\nenabled = false\n\
                    [alerts]\ncommand = [\"true\"]\n";

/// A record of the member with this key, which names an order that nobody gave.
fn name_a_ghost(world: &World, key: &str) {
    let bundle = key_file::decode(&std::fs::read(world.path(key)).expect("a key")).expect("a bundle");
    let BundleKeys::Member { domain, book, signing, .. } = &bundle.keys else { panic!("a member") };
    let author = Author { repository: world.open().id(), domain: *domain, signer: &signing.signing_key(), book };
    let record = Record { operation: "run".into(), orders: vec![ObjectId([66; 32])], ..Record::default() };
    let sealed = record.seal(&author, &[7; 32]).expect("sealed");
    let name = Name::Journal(*domain, 2026, 11, ObjectId::of(&sealed)).to_string();
    let path = world.path("repository").join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(path, sealed).expect("a record");
}

#[test]
fn fields_are_those_of_the_page() {
    let world = World::made();
    let strange = OsStr::from_bytes(b"caf\xe9");
    std::fs::write(world.path("uploads").join(strange), "latin").expect("a file");
    std::fs::create_dir(world.path("changed")).expect("a folder");
    std::fs::write(world.path("changed").join(strange), "other").expect("a file");
    std::fs::write(world.path("packed"), [b"\x1f\x8b\x08", &noise(1, 1 << 20)[..]].concat()).expect("a file");
    let table = table();
    let mut printed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    std::fs::write(world.path("vault.toml"), PLAN).expect("a plan");
    std::fs::write(world.path("sheet"), world.ok(&["key", "sheet"])).expect("a file");
    std::fs::write(world.path("password"), "correct horse").expect("a file");
    let mut run = |command: &'static str, words: &[&str], code: i32| {
        let documented = table.get(command).unwrap_or_else(|| panic!("docs/json.md does not tell of {command}"));
        let output = world.run(&[&words[..1], &["--json"], &words[1..]].concat());
        let context = format!("{words:?}: {}", crate::errors(&output));
        assert_eq!(output.status.code(), Some(code), "{context}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.is_empty(), "{context}");
        let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for value in &values {
            note(value, "", documented, printed.entry(command).or_default(), &context);
        }
        values.into_iter().next().unwrap_or_default()
    };
    for (command, words) in RUNS {
        run(command, words, 0);
    }
    let words = ["key", "add", "--role", "writer", "--label", "web", "--export-key-file", "web.key"];
    let added = run("key add", &words, 0);
    run("snapshot", &["snapshot", "changed", "--name", "web", "--key-file", "web.key"], 0);
    let added = added["id"].as_str().expect("an id");
    run("key remove", &["key", "remove", added, "--drop-since", "2020-01-01", "--yes"], 0);
    let dropped = run("forget", &["forget", "--keep-last", "1"], 0);
    run("undelete", &["undelete", dropped["forgotten"][0]["id"].as_str().expect("an id")], 0);
    run("forget", &["forget", "--keep-last", "1"], 0);
    run("prune", &["prune", "--grace", "0s", "--yes"], 0);
    // a domain that has lost a snapshot is left out
    run("key add", &["key", "add", "--role", "writer", "--label", "cron", "--export-key-file", "cron.key"], 0);
    let lost = ["snapshot", "changed", "--name", "cron", "--key-file", "cron.key"];
    let [lost, _] = [0, 1].map(|_| run("snapshot", &lost, 0)["snapshot"].as_str().expect("an id").to_owned());
    for domain in std::fs::read_dir(world.path("repository/snapshots")).expect("domains").flatten() {
        for source in std::fs::read_dir(domain.path()).expect("sources").flatten() {
            drop(std::fs::remove_file(source.path().join(&lost)));
        }
    }
    run("prune", &["prune", "--grace", "0s", "--yes"], 3);
    // and so is one whose member names an order that is not there
    name_a_ghost(&world, "cron.key");
    run("forget", &["forget", "--keep-last", "1"], 3);
    let packs = world.path("repository/packs/d");
    std::fs::remove_dir_all(packs).expect("packs to lose");
    run("check", &["check"], 20);
    run("repair", &["repair"], 20);
    let torn = format!("marks/{}", "a".repeat(64));
    std::fs::create_dir_all(world.path("repository/marks")).expect("a folder");
    std::fs::write(world.path("repository").join(&torn), "torn").expect("a mark");
    run("repair --quarantine", &["repair", "--quarantine", &torn], 0);
    // what goes to standard error has tests of its own
    for (command, documented) in table.iter().filter(|(command, _)| !command.starts_with('-')) {
        let printed = printed.get(command.as_str()).unwrap_or_else(|| panic!("{command} is run nowhere here"));
        let documented: BTreeSet<String> = documented.keys().cloned().collect();
        let unprinted: Vec<_> = documented.difference(printed).collect();
        let untold: Vec<_> = printed.difference(&documented).collect();
        assert!(unprinted.is_empty() && untold.is_empty(), "{command}: never printed {unprinted:?}, untold {untold:?}");
    }
}

#[test]
fn values_are_those_of_the_run() {
    let world = World::made();
    let parse = |words: &[&str]| serde_json::from_str::<Value>(&world.ok(words)).expect("JSON");
    let taken = parse(&["snapshot", "uploads", "--json", "--tag", "t", "--time", "2024-11-20T14:00:00Z"]);
    assert_eq!(taken["files"], 2);
    assert_eq!(taken["dry_run"], false);
    let id = taken["snapshot"].as_str().expect("an id").to_owned();
    let listed = &parse(&["snapshots", "--json"])["snapshots"][0];
    assert_eq!((listed["id"].as_str(), &listed["tags"][0]), (Some(id.as_str()), &"t".into()));
    let nodes = world.ok(&["ls", &id[..8], "--recursive", "--json"]);
    assert!(nodes.lines().all(|line| serde_json::from_str::<Value>(line).expect("JSON")["path"].is_string()));
    assert_eq!(parse(&["restore", "uploads", "--target", "out", "--json"])["files"], 2);
    assert_eq!(parse(&["check", "--json"])["ok"], true);
    assert_eq!(parse(&["find", "cat.jpg", "--json"])["last"].as_str(), Some(id.as_str()));
    assert_eq!(parse(&["diff", "uploads", "out", "--json"])["changes"].as_array().map(Vec::len), Some(0));
    assert_eq!(parse(&["stats", "uploads", "--json"])["sources"][0]["newest"]["new_files"], 2);
    assert!(parse(&["snapshot", "uploads", "--json", "--dry-run"])["snapshot"].is_null());
    assert!(parse(&["snapshot", "uploads", "--json", "--tag", "t", "--skip-if-unchanged"])["snapshot"].is_null());
    assert_eq!(world.count(), 1);
}
