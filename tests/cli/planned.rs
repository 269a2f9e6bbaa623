//! A plan that is carried out: what is due and what is not, one source failing beside another, hooks, roles, sizes that
//! are not usual, and who is told. The numbers are those of the list of what such a run must show.

use crate::{PASSWORD, World, errors};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use testkit::world::noise;

const REPOSITORY: &str = "[repository]\nlocation = \"repository\"\n";

/// A repository, a plan, and nothing that the machine remembers of locks.
pub fn planned(plan: &str) -> World {
    let world = World::made();
    fs::create_dir(world.path("locks")).expect("a folder");
    write(&world, plan);
    world
}

pub fn write(world: &World, plan: &str) {
    fs::write(world.path("vault.toml"), format!("{REPOSITORY}{plan}")).expect("a plan");
}

pub fn run(world: &World, words: &[&str]) -> Output {
    world.command(words).env("VAULT_RUNTIME_DIR", world.path("locks")).output().expect("vault starts")
}

/// What a command prints as JSON, which ends with this code.
pub fn json(world: &World, words: &[&str], code: i32) -> Value {
    let output = run(world, &[words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", errors(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn outcomes(ran: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sources = ran["sources"].as_array().expect("a list");
    sources.iter().map(|one| (text(&one["name"]), text(&one["outcome"]))).collect()
}

pub fn outcome(ran: &Value, name: &str) -> String {
    outcomes(ran).into_iter().find(|(one, _)| one == name).map(|(_, outcome)| outcome).unwrap_or_default()
}

fn task(ran: &Value, name: &str) -> String {
    let tasks = ran["maintenance"].as_array().expect("a list");
    let found = tasks.iter().find(|one| one["task"] == name);
    found.map(|one| one["outcome"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

fn snapshots_of(world: &World, name: &str) -> usize {
    let listing: Value = serde_json::from_str(&world.ok(&["snapshots", "--json"])).expect("JSON");
    listing["snapshots"].as_array().expect("a list").iter().filter(|one| one["name"] == name).count()
}

pub const UPLOADS: &str = "[source.uploads]\nkind = \"directory\"\npaths = [\"uploads\"]\nevery = \"1h\"\n";

#[test]
fn check_06_a_dry_run_tells_what_would_run_and_when_the_rest_is_due() {
    let world =
        planned(&format!("{UPLOADS}[source.once]\nkind = \"command\"\ncommand = [\"true\"]\nevery = \"never\"\n"));
    let ran = json(&world, &["run", "--dry-run"], 0);
    assert_eq!(outcomes(&ran), [("uploads".to_owned(), "due".to_owned())]);
    assert_eq!((task(&ran, "plan").as_str(), task(&ran, "check").as_str()), ("due", "due"));
    let next = ran["next"].as_array().expect("a list");
    assert!(next.iter().any(|one| one["name"] == "once" && one["due"].is_null()), "{ran}");
    assert_eq!(world.count(), 0);
    assert_eq!(run(&world, &["run", "--quiet"]).status.code(), Some(0));
    let ran = json(&world, &["run", "--dry-run"], 0);
    assert!(outcomes(&ran).is_empty(), "{ran}");
    assert!(
        ran["next"].as_array().expect("a list").iter().any(|one| one["name"] == "uploads" && one["due"].is_string())
    );
}

#[test]
fn check_08_what_is_unchanged_is_no_snapshot_and_yet_a_success() {
    let world = planned(UPLOADS);
    assert_eq!(outcome(&json(&world, &["run"], 0), "uploads"), "done");
    let ran = json(&world, &["run", "uploads"], 0);
    assert_eq!(outcome(&ran, "uploads"), "unchanged");
    assert_eq!(snapshots_of(&world, "uploads"), 1);
    let judged = json(&world, &["health"], 0);
    let rpo = judged["objectives"].as_array().expect("a list").iter().find(|one| one["objective"] == "rpo").cloned();
    let rpo = rpo.expect("it is judged");
    assert_eq!(rpo["status"], "met", "{rpo}");
    let since = |value: &Value| value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    let taken: Value = serde_json::from_str(&world.ok(&["snapshots", "uploads", "--json"])).expect("JSON");
    assert!(since(&rpo["since"]) > since(&taken["snapshots"][0]["time"]), "the second run counts");
    // and nothing at all is due now
    let text = run(&world, &["run"]);
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("nothing is due"), "{text:?}");
}

#[test]
fn check_09_a_second_run_leaves_the_first_alone_and_a_killed_one_blocks_nobody() {
    let slow = "[source.slow]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"touch begun; sleep 30; echo late\"]\n";
    let world = planned(slow);
    let mut first = world.command(&["run", "slow"]);
    let mut first = first.env("VAULT_RUNTIME_DIR", world.path("locks")).spawn().expect("vault starts");
    let began = Instant::now();
    while !world.path("begun").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the first run never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(outcome(&json(&world, &["run", "slow"], 0), "slow"), "busy");
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    write(&world, "[source.slow]\nkind = \"command\"\ncommand = [\"echo\", \"quick\"]\n");
    assert_eq!(outcome(&json(&world, &["run", "slow"], 0), "slow"), "done");
}

#[test]
fn check_10_one_source_that_fails_stops_no_other_and_is_tried_again_alone() {
    let plan = format!(
        "[source.a]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo no room >&2; exit 3\"]\nevery = \"1h\"\n\
         retry = \"1s\"\n{UPLOADS}"
    );
    let world = planned(&plan);
    let output = run(&world, &["run", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("a: ") && said.contains("no room"), "{said}");
    assert_eq!(snapshots_of(&world, "uploads"), 1);
    let journal: Value = serde_json::from_str(&world.ok(&["journal", "--json"])).expect("JSON");
    let records = journal["records"].as_array().expect("a list");
    let told = |source: &str, outcome: &str| {
        records.iter().any(|one| one["source"] == source && one["outcome"] == outcome && one["operation"] == "snapshot")
    };
    assert!(told("a", "failed") && told("uploads", "done"), "{journal}");
    std::thread::sleep(Duration::from_millis(1_200));
    write(&world, &plan.replace("echo no room >&2; exit 3", "echo fine"));
    let ran = json(&world, &["run"], 0);
    assert_eq!(outcomes(&ran), [("a".to_owned(), "done".to_owned())]);
    assert_eq!(ran["sources"][0]["due"], "the last run failed");
}

#[test]
fn check_11_who_is_not_the_owner_forgets_and_prunes_nothing() {
    let plan = format!(
        "{UPLOADS}[maintenance]\ncheck = {{ every = \"7d\" }}\nforget = {{ every = \"1d\" }}\nprune = {{ every = \"7d\" }}\n"
    );
    let world = planned(&plan);
    world.ok(&["key", "add", "--role", "client", "--label", "web", "--export-key-file", "web.key"]);
    let client = format!("key_file = \"web.key\"\n{plan}");
    write(&world, &client);
    let mut command = world.command(&["run", "--json"]);
    command.env_remove("VAULT_PASSWORD").env("VAULT_RUNTIME_DIR", world.path("locks"));
    let output = command.output().expect("vault starts");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let ran: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome(&ran, "uploads"), "done");
    assert_eq!([task(&ran, "check"), task(&ran, "forget"), task(&ran, "prune")], ["done", "skipped", "skipped"]);
    write(&world, &plan);
    let ran = json(&world, &["run"], 0);
    assert_eq!([task(&ran, "forget"), task(&ran, "prune")], ["done", "done"], "{ran}");
}

#[test]
fn check_12_hooks_run_around_a_source_and_end_with_their_time() {
    let hooks = |before: &str| {
        format!(
            "[source.up]\nkind = \"directory\"\npaths = [\"uploads\"]\nbefore = [{{ run = [\"sh\", \"-c\", \"{before}\"], \
             timeout = \"1s\" }}]\nafter = [{{ run = [\"sh\", \"-c\", \"echo after >> told\"] }}]\nfailed = [{{ run = \
             [\"sh\", \"-c\", \"echo failed $VAULT_OUTCOME >> told\"] }}]\nfinally = [{{ run = [\"sh\", \"-c\", \"echo \
             finally $VAULT_SOURCE $VAULT_OUTCOME >> told\"] }}]\n"
        )
    };
    let world = planned(&hooks("exit 7"));
    let ran = json(&world, &["run"], 1);
    assert_eq!(outcome(&ran, "up"), "failed");
    assert_eq!(snapshots_of(&world, "up"), 0);
    let told = || fs::read_to_string(world.path("told")).expect("hooks told");
    assert_eq!(told(), "failed failed\nfinally up failed\n");
    // whatever it has started goes with it
    write(&world, &hooks("sleep 600 & echo $! > child; wait"));
    assert_eq!(outcome(&json(&world, &["run", "up"], 1), "up"), "failed");
    let child = fs::read_to_string(world.path("child")).expect("it began");
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
    assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")), "the child of the hook lives on");
    write(&world, &hooks("echo before >> told"));
    assert_eq!(outcome(&json(&world, &["run", "up"], 0), "up"), "done");
    assert!(told().ends_with("before\nafter\nfinally up done\n"), "{}", told());
}

#[test]
fn check_16_half_the_usual_size_is_stored_told_and_held_against() {
    let world = planned(
        "[source.dump]\nkind = \"command\"\ncommand = [\"cat\", \"dump.sql\"]\nkeep = { last = 1 }\n[maintenance]\n\
         forget = { every = \"1d\" }\n[alerts]\ncommand = [\"sh\", \"-c\", \"cat >> alerts; echo >> alerts\"]\n",
    );
    let dump = |length: usize, seed: u8| {
        let line = |number: usize| format!("{number} {seed}\n");
        let text: String = (0..).map(line).take(length).collect();
        fs::write(world.path("dump.sql"), text).expect("a dump");
    };
    for seed in 0..3 {
        dump(20_000, seed);
        assert_eq!(outcome(&json(&world, &["run", "dump"], 0), "dump"), "done");
    }
    let listing = |tag: &str| -> Vec<Value> {
        let listing: Value = serde_json::from_str(&world.ok(&["snapshots", "dump", "--json"])).expect("JSON");
        let has = |one: &&Value| one["tags"].as_array().is_some_and(|tags| tags.iter().any(|one| one == tag));
        listing["snapshots"].as_array().expect("a list").iter().filter(has).cloned().collect()
    };
    dump(9_000, 9);
    let ran = json(&world, &["run", "dump"], 0);
    assert_eq!(outcome(&ran, "dump"), "done");
    assert!(ran["sources"][0]["suspect"].as_u64().is_some_and(|usual| usual > 100_000), "{ran}");
    assert_eq!((listing("suspect").len(), listing("before-suspect").len()), (1, 1));
    assert_eq!(listing("before-suspect")[0]["held"], true);
    let judged = json(&world, &["health"], 21);
    let size = judged["objectives"].as_array().expect("a list").iter().find(|one| one["objective"] == "size").cloned();
    assert_eq!(size.expect("it is judged")["status"], "missed");
    let alerts = || fs::read_to_string(world.path("alerts")).unwrap_or_default();
    assert_eq!(alerts().matches("\"event\":\"suspect\"").count(), 1, "{}", alerts());
    // a policy that keeps one keeps what was good, too
    let ran = json(&world, &["run"], 0);
    assert_eq!(task(&ran, "forget"), "done");
    assert_eq!(listing("before-suspect").len(), 1);
    assert_eq!(alerts().matches("\"event\":\"suspect\"").count(), 1, "told once");
    assert_eq!(outcome(&json(&world, &["run", "dump", "--accept"], 0), "dump"), "done");
    assert_eq!(listing("before-suspect").len(), 0, "it is let go");
    json(&world, &["health"], 0);
    assert_eq!(alerts().matches("\"event\":\"recovered\"").count(), 1, "{}", alerts());
}

#[test]
fn a_quota_that_is_used_up_takes_no_source_and_lets_prune_make_room() {
    let plan = |quota: &str| {
        let maintenance = "[maintenance]\nforget = { every = \"1d\" }\nprune = { every = \"1d\" }\n";
        format!("quota = \"{quota}\"\n{UPLOADS}failed = [{{ run = [\"sh\", \"-c\", \"touch told\"] }}]\n{maintenance}")
    };
    let world = planned(&plan("1GB"));
    assert_eq!(outcome(&json(&world, &["run"], 0), "uploads"), "done");
    write(&world, &plan("10B"));
    let ran = json(&world, &["run", "--all"], 1);
    assert_eq!(outcome(&ran, "uploads"), "failed");
    let why = ran["sources"][0]["failed"][0].as_str().expect("a reason");
    assert!(why.contains("the quota is used up") && why.contains("it is 10 B"), "{why}");
    assert_eq!([task(&ran, "forget"), task(&ran, "prune")], ["done", "done"], "{ran}");
    assert!(world.path("told").exists() && snapshots_of(&world, "uploads") == 1);
    let judged = json(&world, &["health"], 21);
    let is_missed = |one: &Value| one["objective"] == "storage" && one["status"] == "missed";
    assert!(judged["objectives"].as_array().expect("a list").iter().any(is_missed), "{judged}");
    write(&world, &plan("1GB"));
    fs::write(world.path("uploads/new"), "new").expect("a file");
    assert_eq!(outcome(&json(&world, &["run", "uploads"], 0), "uploads"), "done");
}

/// Answers the pings of one run; gives the paths that were asked.
fn pinged(listener: &TcpListener) -> Vec<String> {
    let mut asked = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().expect("a ping");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).expect("a request");
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("an answer");
        let path = text.split_whitespace().nth(1).unwrap_or_default();
        asked.push(path.split('?').next().unwrap_or_default().to_owned());
        if asked.last().is_some_and(|path| !path.ends_with("/start")) {
            return asked;
        }
    }
}

/// Runs a plan that pings; gives the paths that were asked.
fn ran_and_pinged(world: &World, listener: &TcpListener, words: &[&str], code: i32) -> Vec<String> {
    let url = format!("http://{}/plan", listener.local_addr().expect("an address"));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| pinged(listener));
        let mut command = world.command(&[&["run", "--quiet"], words].concat());
        command.env("VAULT_RUNTIME_DIR", world.path("locks")).env("VAULT_TEST_PING", &url);
        assert_eq!(command.status().expect("vault starts").code(), Some(code), "{words:?}");
        asked.join().expect("it was asked")
    })
}

/// A pack of what a repository holds, and its bytes.
fn a_pack(world: &World) -> (PathBuf, Vec<u8>) {
    let only = |folder: PathBuf| fs::read_dir(folder).expect("a folder").next().expect("an entry").expect("one").path();
    let pack = only(only(world.path("repository/packs/d")));
    let bytes = fs::read(&pack).expect("a pack");
    (pack, bytes)
}

/// Objects can't be written to: there is another in its place.
fn put(pack: &Path, bytes: &[u8]) {
    fs::remove_file(pack).expect("a pack");
    fs::write(pack, bytes).expect("a pack");
}

#[test]
fn a_plan_is_not_well_before_a_check_has_seen_that_what_was_damaged_is_whole() {
    let world = planned(&format!(
        "{UPLOADS}[alerts]\nping_env = \"VAULT_TEST_PING\"\n[maintenance]\n\
         check = {{ every = \"7d\", read_data = \"100%\" }}\n"
    ));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let run = |words: &[&str], code: i32| ran_and_pinged(&world, &listener, words, code);
    assert_eq!(run(&[], 0), ["/plan/start", "/plan"]);
    let (pack, whole) = a_pack(&world);
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    put(&pack, &damaged);
    assert_eq!(run(&["--all"], 1), ["/plan/start", "/plan/fail"]);
    // no check is due for a week, and it is no better for that
    assert_eq!(run(&[], 0), ["/plan/fail"]);
    put(&pack, &whole);
    world.ok(&["check", "--read-data"]);
    assert_eq!(run(&[], 0), ["/plan"]);
}

#[test]
fn a_plan_is_not_well_before_what_failed_was_taken_again() {
    let plan = |command: &str| {
        format!(
            "{UPLOADS}[source.a]\nkind = \"command\"\ncommand = [\"{command}\"]\nretry = \"1h\"\n[alerts]\n\
             ping_env = \"VAULT_TEST_PING\"\n"
        )
    };
    let world = planned(&plan("false"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let run = |words: &[&str], code: i32| ran_and_pinged(&world, &listener, words, code);
    assert_eq!(run(&[], 1), ["/plan/start", "/plan/fail"]);
    // nothing is due now, and it is no better for that
    assert_eq!(run(&[], 0), ["/plan/fail"]);
    write(&world, &plan("id"));
    assert_eq!(run(&["a"], 0), ["/plan/start", "/plan"]);
    assert_eq!(run(&[], 0), ["/plan"]);
}

#[test]
fn the_plan_itself_comes_back_and_a_plan_of_another_place_is_not_used() {
    let world = planned(UPLOADS);
    json(&world, &["run"], 0);
    let plan = world.ok(&["restore", "vault-plan", "--stdout"]);
    assert_eq!(plan, fs::read_to_string(world.path("vault.toml")).expect("a plan"));
    // a change is stored, and the same plan is not stored again
    json(&world, &["run", "uploads"], 0);
    json(&world, &["run"], 0);
    assert_eq!(snapshots_of(&world, "vault-plan"), 1);
    write(&world, &format!("{UPLOADS}tags = [\"new\"]\n"));
    json(&world, &["run"], 0);
    assert_eq!(snapshots_of(&world, "vault-plan"), 2);
}

#[test]
fn secrets_of_the_environment_are_nowhere() {
    let canary = "c4n4ry-s3cr3t";
    let world = planned(
        "[source.dump]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"env; exit 3\"]\nenv = [\"SHOWN\"]\n\
         after = [{ run = [\"sh\", \"-c\", \"env > hook\"] }]\nfinally = [{ run = [\"sh\", \"-c\", \"env > hook\"] }]\n\
         [alerts]\ncommand = [\"sh\", \"-c\", \"env >> alerts; cat >> alerts\"]\nping_env = \"PING\"\n",
    );
    let mut command = world.command(&["run", "--json", "--verbose"]);
    command.env("VAULT_RUNTIME_DIR", world.path("locks")).env("HIDDEN", canary).env("SHOWN", "yes");
    command.env("PING", format!("http://127.0.0.1:9/{canary}"));
    let output = command.output().expect("vault starts");
    assert_eq!(output.status.code(), Some(1));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
    assert!(!said.contains(canary) && !said.contains(PASSWORD), "{said}");
    assert!(said.contains("cannot ping"), "a dead server is a note: {said}");
    for file in ["hook", "alerts"] {
        let text = fs::read_to_string(world.path(file)).expect("it was run");
        assert!(!text.contains(canary) && !text.contains(PASSWORD), "{file}: {text}");
    }
    let journal = world.ok(&["journal", "--json"]);
    assert!(!journal.contains(canary) && !journal.contains(PASSWORD), "{journal}");
    // locks lie where others may look, and nobody else may hold one
    let locks: Vec<_> = fs::read_dir(world.path("locks")).expect("a folder").map(|one| one.expect("a lock")).collect();
    assert!(!locks.is_empty());
    for lock in locks {
        let (name, found) = (lock.file_name(), lock.metadata().expect("a file"));
        assert!(!name.to_string_lossy().contains(canary), "{name:?}");
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (0, 0o600), "{name:?}");
    }
}

#[test]
fn what_the_plan_names_no_more_stays_and_is_named_by_the_check() {
    let world = planned(&format!("{UPLOADS}keep = {{ last = 1 }}\n[maintenance]\nforget = {{ every = \"1d\" }}\n"));
    json(&world, &["run"], 0);
    write(&world, &UPLOADS.replace("source.uploads", "source.files"));
    json(&world, &["run"], 0);
    let output = run(&world, &["plan", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("uploads has 1 snapshot, and no source of the plan is called so"), "{output:?}");
    json(&world, &["health"], 0);
    json(&world, &["forget", "--by-plan"], 0);
    assert_eq!((snapshots_of(&world, "uploads"), snapshots_of(&world, "files")), (1, 1));
}

#[test]
fn a_store_that_is_away_is_told_of_once_and_so_is_its_return() {
    let world = planned(&format!("{UPLOADS}[alerts]\ncommand = [\"sh\", \"-c\", \"cat >> alerts; echo >> alerts\"]\n"));
    let told = |event: &str| {
        let alerts = fs::read_to_string(world.path("alerts")).unwrap_or_default();
        alerts.matches(&format!("\"event\":\"{event}\"")).count()
    };
    json(&world, &["run"], 0);
    let (here, away) = (world.path("repository"), world.path("away"));
    for _ in 0..2 {
        fs::rename(&here, &away).expect("it goes");
        for _ in 0..3 {
            assert_eq!(run(&world, &["run", "--quiet"]).status.code(), Some(10));
        }
        // who looks, or tries one by hand, tells nobody
        assert_eq!(run(&world, &["run", "--dry-run"]).status.code(), Some(10));
        fs::rename(&away, &here).expect("it comes back");
        json(&world, &["run"], 0);
        json(&world, &["run"], 0);
    }
    assert_eq!((told("failed"), told("recovered")), (2, 2));
    let alerts = fs::read_to_string(world.path("alerts")).expect("alerts");
    assert!(
        alerts.contains("nothing of vault can be backed up: ") && alerts.contains("answers again (was: "),
        "{alerts}"
    );
}

#[test]
fn a_dump_that_comes_compressed_is_told_of_in_the_second_run_alone() {
    let world = planned("[source.dump]\nkind = \"command\"\ncommand = [\"cat\", \"dump.gz\"]\n");
    let told = [1, 2, 3].map(|seed| {
        fs::write(world.path("dump.gz"), [b"\x1f\x8b\x08", &noise(seed, 1 << 20)[..]].concat()).expect("a dump");
        let output = run(&world, &["run", "dump"]);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        errors(&output)
    });
    assert!(told[1].starts_with("vault: dump: dump is compressed by gzip: 1.0 MiB of 1.0 MiB are new"), "{told:?}");
    assert_eq!((told[0].as_str(), told[1].lines().count(), told[2].as_str()), ("", 1, ""));
}
