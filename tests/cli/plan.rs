//! The plan as people meet it: errors with their places, exit codes, what `plan show` fills in, and a first plan for a
//! folder. Numbers in names are those of the acceptance checks.

use crate::{PASSWORD, World, diff, errors};
use serde_json::Value;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

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
fn what_cron_does_not_know_is_named_beside_its_line() {
    let world = with_plan(
        "[repository]\nlocation = \"r\"\n[source.db]\nkind = \"postgres\"\nurl_env = \"SHOP_URL\"\nevery = \"5m\"\n",
    );
    let output =
        world.command(&["schedule"]).env("PGSSLMODE", "x").env("AWS_REGION", "x").output().expect("vault starts");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(line.starts_with("* * * * * /") && line.ends_with("vault.toml run --quiet\n"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let said = errors(&output);
    assert!(
        ["NAME=value above this line for ", "SHOP_URL", "VAULT_PASSWORD", "PGSSLMODE"]
            .iter()
            .all(|word| said.contains(word))
            && !said.contains("AWS_"),
        "{said}"
    );
    assert_eq!(errors(&world.run(&["schedule", "--quiet"])), "");
    // who is due so often is tried again as often
    assert!(world.ok(&["plan", "show"]).contains("retry = \"5m\"\n"));
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

#[test]
fn check_04_offline_connects_to_nothing_and_a_stopped_server_is_named() {
    let world = World::made();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is");
    let address = listener.local_addr().expect("an address").to_string();
    let plan = "[source.cache]\nkind = \"redis\"\nurl_env = \"VAULT_TEST_REDIS\"\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    let check = |words: &[&str]| {
        let mut command = world.command(&[&["plan", "check"], words].concat());
        command.env("VAULT_TEST_REDIS", format!("redis://:canary-word@{address}")).output().expect("vault starts")
    };
    let output = check(&["--offline", "--json"]);
    assert_eq!((output.status.code(), json(&output)["sources"][0]["reachable"].is_null()), (Some(0), true));
    assert!(listener.accept().is_err(), "somebody has connected");
    // what answers nothing is no server, and shows that it is asked at all
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            while listener.accept().is_err() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let output = check(&[]);
        asked.join().expect("it was asked");
        output
    });
    assert_eq!(asked.status.code(), Some(2), "{}", errors(&asked));
    drop(listener);
    let stopped = crate::assert_fails(&check(&[]), 2, &["vault.toml:1:", "cache: ", &address]);
    assert!(!stopped.contains("canary-word"), "{stopped}");
    let found = json(&check(&["--json"]));
    assert_eq!((&found["sources"][0]["reachable"], &found["findings"][0]["level"]), (&false.into(), &"error".into()));
    assert_eq!(found["findings"][0]["key"], "source.cache");
}

#[test]
fn what_a_key_may_not_do_and_a_repository_that_does_not_open_are_told_before_the_first_night() {
    let world = World::made();
    world.ok(&["key", "add", "--role", "writer", "--export-key-file", "web.key"]);
    let database = rusqlite::Connection::open(world.path("app.db")).expect("a database");
    database.execute_batch("create table users (id integer)").expect("a table");
    let plan = "[repository]\nlocation = \"repository\"\nquota = \"900EB\"\n[source.app]\nkind = \"sqlite\"\npath = \
                \"app.db\"\n[source.later]\nkind = \"sqlite\"\npath = \"later.db\"\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    let output = world.run(&["plan", "check", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let found = json(&output);
    let said: Vec<&str> =
        found["findings"].as_array().expect("a list").iter().filter_map(|one| one["problem"].as_str()).collect();
    assert!(said.iter().any(|line| line.contains("the quota leaves")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("need the owner's key")), "{said:?}");
    assert_eq!((&found["sources"][0]["reachable"], &found["sources"][0]["tool"]), (&true.into(), &"SQLite".into()));
    assert!(found["sources"][0]["bytes_estimate"].as_u64() >= Some(4096), "{found}");
    assert_eq!(found["sources"][1]["reachable"], false);
    // a folder that is not there would fail each run; one that is not taken fails none
    let folder = |more: &str| format!("{plan}[source.uploads]\nkind = \"directory\"\npaths = [\"~/upload\"]\n{more}");
    std::fs::write(world.path("vault.toml"), folder("")).expect("a file");
    let output = world.run(&["plan", "check"]);
    let said = errors(&output);
    assert!(output.status.code() == Some(2) && said.contains("vault.toml:12:9: there is no ~/upload; `~`"), "{said}");
    std::fs::write(world.path("vault.toml"), folder("enabled = false\n")).expect("a file");
    world.ok(&["plan", "check"]);
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    let output = world.run(&["plan", "check", "--key-file", "web.key"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let said = errors(&output);
    assert!(said.contains("note: this is a key of a writer: forget and prune need the owner's key"), "{said}");
    assert!(said.contains("to check data needs"), "{said}");
    let output = world.command(&["plan", "check"]).env("VAULT_PASSWORD", "another").output().expect("vault starts");
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    assert!(errors(&output).contains("vault.toml:2:") && errors(&output).contains("password"), "{}", errors(&output));
}

/// A server of pings: gives the first line that it is asked, and answers that all is well.
fn answer_once(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().expect("somebody");
    let mut asked = String::new();
    let mut reader = std::io::BufReader::new(stream.try_clone().expect("it"));
    std::io::BufRead::read_line(&mut reader, &mut asked).expect("a line");
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
        .expect("sent");
    asked
}

#[test]
fn every_command_takes_the_repository_from_a_plan() {
    let world = World::made();
    let bare = |words: &[&str]| {
        let mut command = world.command(words);
        command.env_remove("VAULT_REPOSITORY").env_remove("VAULT_PASSWORD");
        command
    };
    let end = |command: &mut Command| {
        let output = command.output().expect("vault starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
        (output.status.code().expect("it ends"), said)
    };
    let (code, said) = end(&mut bare(&["snapshots"]));
    assert!(code == 2 && said.contains("no repository given") && said.contains("--plan"), "{code} {said}");

    let plan = |location: &str| {
        let open = "password_file = \"password\"";
        format!("[repository]\nlocation = \"{location}\"\n{open}\n[source.a]\nkind = \"stdin\"\n")
    };
    let path = world.path("vault.toml");
    std::fs::write(world.path("password"), PASSWORD).expect("a file");
    std::fs::write(&path, plan("repository")).expect("a plan");
    for words in [
        &["snapshot", "uploads"][..],
        &["snapshots"],
        &["check"],
        &["journal"],
        &["stats"],
        &["restore", "uploads", "--target", "out"],
        &["key", "list"],
    ] {
        let (code, said) = end(&mut bare(words));
        assert_eq!(code, 0, "{words:?}: {said}");
    }
    diff(&world.path("uploads"), &world.path("out"));

    // what is said beside it wins, and what the plan says is named where it fails
    std::fs::write(&path, plan("nowhere")).expect("a plan");
    let (code, said) = end(&mut bare(&["snapshots"]));
    assert!(code == 10 && said.contains("vault.toml:2:12"), "{code} {said}");
    assert_eq!(world.command(&["snapshots"]).status().expect("vault starts").code(), Some(0));
    let named = ["snapshots", "--repository", "repository", "--password-file", "password"];
    assert_eq!(end(&mut bare(&named)).0, 0);
    std::fs::create_dir(world.path("conf")).expect("a folder");
    std::fs::write(world.path("conf/plan.toml"), plan("../repository").replace("\"password\"", "\"../password\""))
        .expect("a plan");
    assert_eq!(end(&mut bare(&["snapshots", "--plan", "conf/plan.toml"])).0, 0);
    assert_eq!(end(bare(&["snapshots"]).env("VAULT_PLAN", "conf/plan.toml")).0, 0);
    let (code, said) = end(bare(&["snapshots"]).env("VAULT_PLAN", "conf/plan.toml").env("VAULT_PASSWORD", "another"));
    assert!(code == 12 && said.contains("conf/plan.toml:2:12"), "{code} {said}");

    // a plan that somebody else could have put there is not taken by itself
    std::fs::write(&path, plan("repository")).expect("a plan");
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("its mode");
    let (code, said) = end(&mut bare(&["snapshots"]));
    assert!(code == 2 && said.contains("others can write it"), "{code} {said}");
    assert_eq!(end(&mut bare(&["snapshots", "--plan", "vault.toml"])).0, 0);
    std::fs::write(&path, "nme = 1\n").expect("a plan");
    let (code, said) = end(&mut bare(&["snapshots", "--plan", "vault.toml"]));
    assert!(code == 2 && said.contains("vault.toml:1:1"), "{code} {said}");
}

#[test]
fn a_test_message_reaches_all_whom_the_plan_tells() {
    let world = World::made();
    let plan = "[source.files]\nkind = \"directory\"\npaths = [\"uploads\"]\n[alerts]\ncommand = [\"sh\", \"-c\", \"cat > \
                told.json\"]\non = [\"failed\"]\nping_env = \"VAULT_TEST_PING\"\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/canary-path", listener.local_addr().expect("an address"));
    let check = |words: &[&str]| {
        let mut command = world.command(&[&["plan", "check"], words].concat());
        command.env("VAULT_TEST_PING", &url).output().expect("vault starts")
    };
    assert_eq!(check(&[]).status.code(), Some(0));
    assert!(!world.path("told.json").exists(), "nobody has asked for it");
    let (output, asked) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| answer_once(&listener));
        (check(&["--alert"]), asked.join().expect("it was asked"))
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("command: arrived\n") && said.contains("VAULT_TEST_PING: arrived\n"), "{said}");
    assert!(asked.contains("/canary-path/log") && !said.contains("canary"), "{asked}{said}");
    let told: Value = serde_json::from_slice(&std::fs::read(world.path("told.json")).expect("it")).expect("JSON");
    assert_eq!((&told["event"], &told["plan"]), (&"test".into(), &"vault".into()));
    drop(listener);
    std::fs::write(world.path("vault.toml"), plan.replace("cat > told.json", "exit 3")).expect("a file");
    let output = check(&["--alert", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let found = json(&output);
    assert!(
        found["ok"] == true && found["messages"].as_array().expect("a list").iter().all(|one| one["arrived"] == false)
    );
}

#[test]
fn figures_are_printed_and_put_where_they_are_wanted() {
    let world = World::made();
    let plan = "[source.files]\nkind = \"directory\"\npaths = [\"uploads\"]\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    world.ok(&["run", "--quiet"]);
    let told = world.ok(&["metrics"]);
    assert!(told.contains("source=\"files\"") && told.starts_with("# HELP"), "{told}");
    assert_eq!(world.ok(&["metrics", "--textfile", "vault.prom"]), "");
    let written = std::fs::read_to_string(world.path("vault.prom")).expect("a file");
    // what tells the time of now may differ
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    assert_eq!(names(&written), names(&told));
    let said = world.fails(&["metrics", "--push", "http://u:canary@h/"], 2, &["--push VARIABLE"]);
    assert!(!said.contains("canary"), "{said}");
    world.fails(&["metrics", "--push", "VAULT_TEST_NO_SUCH"], 2, &["VAULT_TEST_NO_SUCH"]);
}

#[test]
fn a_runbook_brings_everything_back_on_a_machine_that_has_nothing() {
    let world = World::made();
    let database = rusqlite::Connection::open(world.path("app.db")).expect("a database");
    database.execute_batch("create table users (id integer); insert into users values (7)").expect("a table");
    let plan = "name = \"shop\"\n[source.uploads]\nkind = \"directory\"\npaths = [\"uploads\"]\nrto = \"2h\"\n\
                [source.app]\nkind = \"sqlite\"\npath = \"app.db\"\n\
                [source.main]\nkind = \"postgres\"\nurl_env = \"VAULT_TEST_URL\"\nenabled = false\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a file");
    world.ok(&["run", "--quiet"]);
    let said = world.ok(&["plan", "runbook"]);
    assert!(said.starts_with("Runbook of the plan shop, as of "), "{said}");
    assert!(
        said.contains("never tried") && said.contains("within 2 h") && said.contains("export VAULT_TEST_URL="),
        "{said}"
    );
    assert!(said.contains("7. main (postgres)\n   There is no snapshot of it yet.\n"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    let words = said.lines().filter(|line| !line.contains(world.path("").to_str().expect("a name")));
    assert!(words.clone().all(|line| line.chars().count() <= 80), "{said}");
    // what it says is typed elsewhere
    std::fs::create_dir(world.path("new")).expect("a folder");
    let home = world.path("new").display().to_string();
    let typed: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("vault restore ")).collect();
    let program = env!("CARGO_BIN_EXE_vault");
    for line in &typed {
        let line = line.replacen("vault", program, 1).replace("/var/tmp/restored", &home);
        let line = line.replace(&world.path("uploads").display().to_string(), &format!("{home}/uploads"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).current_dir(&home).env("VAULT_REPOSITORY", world.path("repository"));
        let output = shell.env("VAULT_PASSWORD", PASSWORD).output().expect("a shell");
        assert!(output.status.success(), "{line}: {}", errors(&output));
    }
    assert_eq!(typed.len(), 3, "{said}");
    assert_eq!(std::fs::read_to_string(world.path("new/vault.toml")).expect("a plan"), plan);
    assert_eq!(std::fs::read(world.path("new/uploads/notes.txt")).expect("a file"), b"hello\n");
    let back = rusqlite::Connection::open(world.path("new/app/app.db")).expect("a database");
    assert_eq!(back.query_row("select id from users", [], |row| row.get::<_, i64>(0)).expect("a row"), 7);
    let said = world.ok(&["plan", "runbook", "uploads"]);
    assert!(said.contains("Its last restore, on ") && !said.contains("(sqlite)"), "{said}");
    world.fails(&["plan", "runbook", "nothing"], 2, &["no source nothing"]);
}
