//! Forget, tag and undelete as people use them: words, JSON, refusals and exit codes.

use crate::{World, errors};

/// A repository with snapshots of one source at these times, oldest first, and their ids.
fn world(times: &[&str]) -> (World, Vec<String>) {
    let world = World::made();
    let take = |time: &&str| {
        let taken = world.ok(&["snapshot", "uploads", "--json", "--time", time]);
        let taken: serde_json::Value = serde_json::from_str(&taken).expect("JSON");
        taken["snapshot"].as_str().expect("an id").to_owned()
    };
    let ids = times.iter().map(take).collect();
    (world, ids)
}

fn json(world: &World, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&world.ok(words)).expect("JSON")
}

const TIMES: [&str; 4] =
    ["2024-11-18T09:00:00Z", "2024-11-19T09:00:00Z", "2024-11-20T09:00:00Z", "2024-11-20T10:00:00Z"];

#[test]
fn a_policy_says_why_and_undelete_takes_it_back() {
    let (world, ids) = world(&TIMES);
    let said = world.ok(&["forget", "--keep-daily", "2", "--dry-run"]);
    assert!(said.contains("would forget 2 snapshots, kept 2\n"), "{said}");
    assert!(said.contains("newest, daily 1 of 2") && said.contains("no rule keeps it"), "{said}");
    assert_eq!(world.count(), 4);
    let report = json(&world, &["forget", "--keep-daily", "2", "--name", "uploads", "--json", "--reason", "a test"]);
    let dropped: Vec<&str> =
        report["forgotten"].as_array().expect("a list").iter().filter_map(|l| l["id"].as_str()).collect();
    assert_eq!(dropped, [ids[0].as_str(), ids[2].as_str()]);
    assert_eq!(report["kept"][1]["reasons"][0], "newest");
    assert_eq!((report["orders"].as_array().map(Vec::len), world.count()), (Some(1), 2));
    assert_eq!(world.ok(&["forget", "--keep-daily", "2", "--quiet"]), "");
    assert!(world.ok(&["snapshots", "--forgotten"]).contains("2 snapshots\n"));
    let said = world.ok(&["undelete", &ids[0][..8]]);
    assert!(said.contains("is back in uploads") && said.contains("--hold"), "{said}");
    assert_eq!(json(&world, &["undelete", &ids[2], "--json"])["was_forgotten"], true);
    assert_eq!(json(&world, &["undelete", &ids[2], "--json"])["was_forgotten"], false);
    assert_eq!(world.count(), 4);
    world.ok(&["restore", &ids[0], "--target", "out"]);
    assert!(world.ok(&["check"]).contains("4 snapshots"));
}

#[test]
fn the_last_one_of_a_source_needs_a_yes() {
    let (world, ids) = world(&TIMES[..2]);
    world.ok(&["forget", &ids[0][..10]]);
    world.fails(&["forget", &ids[1]], 2, &["uploads without any snapshot", "--yes"]);
    assert_eq!(world.count(), 1);
    assert!(world.ok(&["forget", &ids[1], "--dry-run"]).contains("would forget 1 snapshot"));
    assert!(world.ok(&["forget", &ids[1], "--yes"]).contains("forgot 1 snapshot\n"));
    assert_eq!(world.count(), 0);
    world.ok(&["undelete", &ids[1]]);
    assert_eq!(world.count(), 1);
}

#[test]
fn a_forget_that_makes_no_sense_is_refused() {
    let (world, ids) = world(&TIMES[..2]);
    world.fails(&["forget"], 2, &["what to keep", "--keep-daily", "--help"]);
    world.fails(&["forget", "--name", "uploads"], 2, &["what to keep"]);
    world.fails(&["forget", &ids[0], "--keep-last", "1"], 2, &["the one or the other"]);
    world.fails(&["forget", &ids[0], "--name", "uploads"], 2, &["--name"]);
    for words in [["--keep-daily", "0"], ["--keep-last", "0"], ["--keep-within", "24"], ["--keep-hourly", "soon"]] {
        world.fails(&["forget", words[0], words[1]], 2, &[words[0], "--help"]);
    }
    world.fails(&["forget", "--keep-last", "1", "--name", "nothing"], 1, &["nothing", "vault snapshots"]);
    world.fails(&["forget", "ffffffff"], 1, &["ffffffff", "vault snapshots"]);
    world.fails(&["undelete", "uploads"], 1, &["cannot undelete uploads"]);
    assert_eq!(world.count(), 2);
}

#[test]
fn tags_holds_and_expiry_show_and_hold() {
    let (world, ids) = world(&TIMES);
    let said = world.ok(&["tag", &ids[0], "--add", "gold", "--hold", "--expire", "90d"]);
    assert!(said.contains("of uploads: tags gold, held, expires 2"), "{said}");
    assert!(world.ok(&["snapshots"]).contains("held, expires 2"));
    assert!(world.ok(&["snapshots", "--tag", "gold"]).contains("1 snapshot\n"));
    let listed = json(&world, &["snapshots", "--json", "--name", "uploads"]);
    assert_eq!(
        (&listed["snapshots"][0]["held"], &listed["snapshots"][1]["expires"]),
        (&true.into(), &serde_json::Value::Null)
    );
    world.fails(&["forget", &ids[0], "--yes"], 1, &["held", "--release"]);
    world.ok(&["tag", &ids[1], "--expire", "2024-11-19T10:00:00Z"]);
    let kept = json(&world, &["forget", "--keep-within", "10y", "--json"]);
    assert!(kept["forgotten"][0]["reasons"][0].as_str().is_some_and(|why| why.starts_with("expired on 2024-11-")));
    let said = world.ok(&["undelete", &ids[1]]);
    assert!(said.contains("has expired") && said.contains("--expire never"), "{said}");
    let tagged = json(
        &world,
        &["tag", "uploads@2024-11-18T12:00:00Z", "--release", "--remove", "gold", "--expire", "never", "--json"],
    );
    assert_eq!(
        (&tagged["snapshot"], &tagged["held"], &tagged["tags"]),
        (&ids[0].as_str().into(), &false.into(), &serde_json::json!([]))
    );
    world.fails(&["tag", "uploads"], 2, &["what to change", "--help"]);
    world.fails(&["tag", "uploads", "--add", ""], 2, &["empty"]);
    world.fails(&["tag", "uploads", "--hold", "--release"], 2, &["--release"]);
    world.fails(&["tag", "uploads", "--expire", "soon"], 2, &["never"]);
    world.fails(&["tag", "nothing", "--hold"], 1, &["nothing"]);
    world.ok(&["forget", &ids[0]]);
    world.fails(&["tag", &ids[0], "--hold"], 1, &["forgotten", "vault undelete"]);
}

#[test]
fn buckets_follow_the_zone_of_the_user() {
    // one hour around midnight in Apia is the same day in London
    let (world, _) = world(&["2024-11-18T10:30:00Z", "2024-11-18T11:30:00Z"]);
    for (zone, said) in [("Pacific/Apia", "would forget 0 snapshots"), ("Europe/London", "would forget 1 snapshot")] {
        let mut command = world.command(&["forget", "--keep-daily", "2", "--dry-run"]);
        let output = command.env("TZ", zone).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(said), "{zone}: {text}{}", errors(&output));
    }
}

/// Who gives forget the name of a source is told what it takes.
#[test]
fn a_name_in_place_of_an_id_is_told_the_two_ways() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let ways = ["forget takes ids", "`vault snapshots uploads`", "`vault forget --name uploads --keep-last 1`"];
    world.fails(&["forget", "uploads"], 1, &ways);
    world.fails(&["forget", "uploads@latest", "--dry-run"], 1, &ways);
    let said = world.fails(&["forget", "nobody"], 1, &["forget takes ids: `vault snapshots` lists them"]);
    assert!(!said.contains("--name"), "{said}");
}

/// What was forgotten and not pruned yet counts neither as shared nor as different content of what is shown.
#[test]
fn stats_between_forget_and_prune_add_up() {
    let world = World::made();
    for name in ["a", "b"] {
        let script = "head -c 2000000 /dev/urandom";
        world.ok(&["snapshot", "--name", name, "--command", "--", "sh", "-c", script]);
    }
    let before = world.ok(&["stats"]);
    assert!(!before.contains("shared") && !before.contains("vault prune"), "{before}");
    let listed: serde_json::Value = serde_json::from_str(&world.ok(&["snapshots", "a", "--json"])).expect("JSON");
    let list = listed.as_array().or_else(|| listed["snapshots"].as_array()).expect("a list");
    world.ok(&["forget", list[0]["id"].as_str().expect("an id"), "--yes"]);
    let said = world.ok(&["stats"]);
    assert!(said.contains("1.9 MiB of it different") && !said.contains("shared"), "{said}");
    assert!(said.contains(" belong to forgotten snapshots or none: `vault prune`"), "{said}");
    world.ok(&["prune", "--grace", "0s", "--yes", "--quiet"]);
    assert!(!world.ok(&["stats"]).contains("vault prune"));
}

#[test]
fn a_plan_says_what_is_kept_today_and_on_a_day_to_come() {
    let now = jiff::Timestamp::now();
    let ago = |days: i64| (now - jiff::SignedDuration::from_hours(24 * days)).to_string();
    let times = [ago(40), ago(3), ago(2), ago(1)];
    let (world, ids) = world(&times.each_ref().map(String::as_str));
    std::fs::create_dir(world.path("other")).expect("a folder");
    world.ok(&["snapshot", "other", "--time", &ago(90)]);
    world.ok(&["snapshot", "other", "--time", &ago(80)]);
    let plan = "timezone = \"UTC\"\n[source.uploads]\nkind = \"directory\"\npaths = [\"uploads\"]\nevery = \
                \"12h\"\nkeep = { daily = 4 }\n[source.other]\nkind = \"directory\"\npaths = [\"other\"]\n";
    std::fs::write(world.path("vault.toml"), plan).expect("a plan");
    let said = world.ok(&["forget", "--by-plan", "--explain"]);
    assert!(said.contains("daily 1 of 4") && said.contains("would forget 0 snapshots, kept 4"), "{said}");
    // two a day, and of each of the last four days one stays
    let day = (now + jiff::SignedDuration::from_hours(24 * 20)).to_string();
    let told = json(&world, &["forget", "--by-plan", "--explain", "--on", &day, "--json"]);
    let one = &told["forecast"][0];
    assert_eq!(
        (&one["name"], &one["today"], one["taken"].as_u64()),
        (&"uploads".into(), &4.into(), Some(40)),
        "{told}"
    );
    assert_eq!(one["rules"]["daily"], 4);
    let gone: Vec<&str> =
        told["forgotten"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(
        (gone, one["gone"].as_u64(), one["kept"].as_u64()),
        (ids.iter().map(String::as_str).collect(), Some(4), Some(4))
    );
    assert_eq!(told["forecast"].as_array().map(Vec::len), Some(1), "{told}");
    let said = world.ok(&["forget", "--by-plan", "--explain", "--on", &day]);
    assert!(said.contains("DAILY") && said.contains("4 of today's 4 snapshots will be gone on"), "{said}");
    world.fails(&["forget", "--by-plan", "--explain", "--on", "2020-01-01"], 2, &["--on", "to come"]);
    world.fails(&["forget", "--by-plan", "--keep-last", "1"], 2, &["--by-plan"]);
    assert_eq!(world.count(), 6, "nothing was dropped");
    std::fs::write(world.path("vault.toml"), plan.replace("daily = 4", "last = 2")).expect("a plan");
    let said = world.ok(&["forget", "--by-plan"]);
    assert!(said.contains("forgot 2 snapshots, kept 2"), "{said}");
    assert_eq!(world.count(), 4, "what has no rule is kept");
}
