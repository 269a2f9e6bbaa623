//! The plan as people meet it: errors with their places, exit codes, what `plan show` fills in, and a first plan for a
//! folder. Numbers in names are those of the acceptance checks.

use crate::{PASSWORD, World, errors};
use serde_json::Value;
use std::process::Output;

fn with_plan(text: &str) -> World {
    let world = World::empty();
    std::fs::write(world.path("vault.toml"), text).expect("a file");
    world
}

fn checked(world: &World) -> (Option<i32>, String) {
    let output = world.run(&["plan", "check", "--offline"]);
    (output.status.code(), errors(&output))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn check_01_an_unknown_key_is_placed() {
    let world = with_plan(
        "[repository]\nlocation = \"s3://b/x?region=r\"\n\n[source.files]\nkind = \"directory\"\npaths = [\"up\"]\n\
         every = \"1d\"\n\nkeeep = { last = 3 }\n",
    );
    let (code, said) = checked(&world);
    assert_eq!(code, Some(2), "{said}");
    let says = "vault: vault.toml:9:1: unknown key `keeep`; did you mean `keep`?\n";
    assert_eq!(said, says);
    let output = world.run(&["plan", "check", "--json"]);
    let found = &json(&output)["findings"][0];
    assert_eq!((output.status.code(), &json(&output)["ok"]), (Some(2), &Value::Bool(false)));
    assert_eq!((&found["key"], &found["line"], &found["column"]), (&"source.files.keeep".into(), &9.into(), &1.into()));
    assert_eq!((&found["level"], &found["hint"]), (&"error".into(), &"did you mean `keep`?".into()));
}

#[test]
fn check_02_every_error_names_line_and_column_and_no_secret() {
    let cases = [
        ("[source.a]\nkind = \"stdin\"\nevery = 5\n", "3:9", "must be a text"),
        ("[source.a]\nkind = \"stdin\"\nkind = \"stdin\"\n", "3:1", "set twice"),
        ("[source.a]\nkind = \"postgresql\"\n", "2:8", "did you mean `postgres`?"),
        ("[source.a]\nkind = \"stdin\"\ntables = []\n", "3:1", "a key of the kinds"),
        ("[source.a]\nkind = \"postgres\"\nurl = \"postgres://u:hunter2@h/d\"\n", "3:7", "holds a password"),
        (
            "[source.a]\nkind = \"sqlite\"\npath = \"x\"\n[source.b]\nkind = \"sqlite\"\npath = \"x\"\n",
            "6:8",
            "[source.a]",
        ),
    ];
    for (text, place, says) in cases {
        let (code, said) = checked(&with_plan(text));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("vault.toml:{place}: ")) && said.contains(says), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let world = World::made();
    std::fs::write(world.path("vault.toml"), "[source.a]\nkind = \"postgres\"\nurl_env = \"VAULT_TEST_NO_SUCH\"\n")
        .expect("a file");
    world.fails(&["plan", "check"], 2, &["vault.toml:3:11: ", "VAULT_TEST_NO_SUCH"]);
    // somebody who only looks at the plan has not its variables
    let (code, said) = checked(&world);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: the variable VAULT_TEST_NO_SUCH is not set"), "{said}");
}

#[test]
fn check_05_a_folder_has_a_plan_that_is_accepted() {
    let world = World::made();
    std::fs::write(world.path("docker-compose.yml"), "services:\n  db:\n    image: postgres:16\n").expect("a file");
    std::fs::write(world.path(".env"), "REDIS_URL=redis://:canary-redis@h\n").expect("a file");
    let vault = |words: &[&str]| {
        let mut command = world.command(words);
        let output = command.env("DATABASE_URL", "postgres://app:canary-url@db/app").output().expect("vault starts");
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(vault(&["plan", "init"]).starts_with("wrote vault.toml with 4 sources"));
    let plan = std::fs::read_to_string(world.path("vault.toml")).expect("a plan");
    assert!(
        plan.contains("\"DATABASE_URL\"") && plan.contains("\"REDIS_URL\"") && plan.contains("[\"uploads\"]"),
        "{plan}"
    );
    assert!(!plan.contains("canary") && !plan.contains(PASSWORD), "{plan}");
    assert_eq!(vault(&["plan", "check", "--offline"]), "vault.toml: 4 sources, no errors, 1 warning\n");
    let again = world.fails(&["plan", "init"], 1, &["cannot write a plan to vault.toml", "--output"]);
    assert_eq!(std::fs::read_to_string(world.path("vault.toml")).expect("a plan"), plan, "{again}");
}

#[test]
fn a_plan_is_shown_as_the_plan_that_says_all() {
    let world =
        with_plan("[source.files]\nkind = \"directory\"\npaths = [\"up\"]\nrpo = \"6h\"\nkeep = { daily = 7 }\n");
    let shown = world.ok(&["plan", "show"]);
    assert!(shown.contains("[source.files]\nkind = \"directory\"\npaths = [\"up\"]\n"), "{shown}");
    assert!(shown.contains("every = \"6h\"\n") && shown.contains("keep = { daily = \"7\" }\n"), "{shown}");
    std::fs::write(world.path("all.toml"), &shown).expect("a file");
    let again = world.ok(&["plan", "show", "--plan", "all.toml"]);
    assert_eq!(again, shown);
    let output = world.run(&["plan", "show", "--json"]);
    assert_eq!(json(&output)["sources"][0]["every_seconds"], 21600);
}

#[test]
fn a_plan_is_found_or_asked_for() {
    let world = World::empty();
    world.fails(&["plan", "show", "--plan", "no.toml"], 2, &["cannot read the plan no.toml", "--plan FILE"]);
    if !std::path::Path::new("/etc/vault/vault.toml").exists() {
        world.fails(&["plan", "check"], 2, &["there is no plan", "`vault plan init`"]);
    }
    std::fs::write(world.path("other.toml"), "name = \"else\"\n").expect("a file");
    let output = world.command(&["plan", "show"]).env("VAULT_PLAN", "other.toml").output().expect("vault starts");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("name = \"else\"\n"), "{}", errors(&output));
}
