//! Commands that look into snapshots: find, diff, stats, ls and the manual pages, in their words and exit codes.

use crate::{World, assert_fails, errors};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use testkit::world::with_content;

/// Two snapshots of uploads: notes.txt changed, the link is gone, and a file is new.
fn world() -> World {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    std::fs::write(world.path("uploads/notes.txt"), "hello again\n").expect("a file");
    std::fs::remove_file(world.path("uploads/link")).expect("a link");
    std::fs::write(world.path("uploads/photos/new.jpg"), "new").expect("a file");
    world.ok(&["snapshot", "uploads"]);
    world
}

fn ids(world: &World) -> Vec<String> {
    let listing: serde_json::Value = serde_json::from_str(&world.ok(&["snapshots", "--json"])).expect("JSON");
    let snapshots = listing["snapshots"].as_array().expect("a list");
    snapshots.iter().map(|snapshot| snapshot["id"].as_str().expect("an id")[..8].to_owned()).collect()
}

#[test]
fn find_tells_where_a_version_is_and_ends_with_1_if_it_is_nowhere() {
    let world = world();
    let ids = ids(&world);
    let found = world.ok(&["find", "notes.txt", "cat.jpg"]);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 5, "{found}");
    let (both, first, second) = (lines[3], lines[1], lines[2]);
    assert!(both.ends_with("photos/2026/cat.jpg") && both.contains(&ids[0]) && both.contains(&ids[1]), "{found}");
    assert!(first.contains(&ids[0]) && !first.contains(&ids[1]), "{found}");
    assert!(second.contains(&ids[1]) && !second.contains(&ids[0]), "{found}");
    assert_eq!(lines[4], "3 versions");
    assert!(world.ok(&["find", "link", "--long"]).contains(" link -> notes.txt"));
    assert_eq!(world.ok(&["find", "*.jpg", "--quiet"]), "");
    assert!(world.ok(&["find", "*.jpg", "--snapshot", &ids[0]]).ends_with("1 version\n"));
    assert!(world.ok(&["find", "*", "--type", "directory", "--newer", "1 hour ago"]).ends_with("2 versions\n"));
    world.fails(
        &["find", "*.jpg", "--snapshot", "latest", "--larger-than", "1MB"],
        1,
        &["nothing found", "1 snapshot"],
    );
    world.fails(&["find", "*.jpg", "--older", "yesterday"], 1, &["nothing found in 2 snapshots"]);
    world.fails(&["find", "*.jpg", "--name", "other"], 1, &["nothing found in 0 snapshots"]);
    world.fails(&["find", "["], 1, &["'['"]);
    world.fails(&["find", "*", "--snapshot", "latest:photos"], 2, &["latest:photos", "PATTERN"]);
    world.fails(&["find"], 2, &["PATTERN"]);
}

#[test]
fn the_journal_ends_with_a_head_that_check_looks_for() {
    let world = world();
    let first = world.run(&["check", "--no-cache"]);
    assert!(errors(&first).contains("this machine has not looked here before"), "{}", errors(&first));
    assert!(errors(&world.run(&["check"])).contains("when this machine last looked"));
    assert_eq!(errors(&world.run(&["check", "--quiet"])), "");
    let said = world.ok(&["journal"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("TIME") && lines[1].contains("snapshot") && lines[1].contains("uploads"), "{said}");
    let head = lines.last().and_then(|line| line.strip_prefix("head ")).expect("a head");
    assert_eq!(world.ok(&["journal", "-n", "1"]).lines().count(), 3);
    world.ok(&["check", "--head", head]);
    world.fails(&["check", "--head", "3f9a"], 2, &["64 digits"]);
    std::fs::remove_dir_all(world.path("repository/journal")).expect("a journal");
    let hidden = world.run(&["check", "--head", head]);
    assert_eq!(hidden.status.code(), Some(20));
    assert!(errors(&hidden).contains(head) && errors(&hidden).contains("kept as a head"), "{}", errors(&hidden));
}

#[test]
fn diff_shows_what_changed_and_ends_with_0() {
    let world = world();
    let ids = ids(&world);
    let changes = "- link\nM notes.txt\n+ photos/new.jpg\n";
    let said = world.ok(&["diff", &ids[0], &ids[1]]);
    assert!(said.starts_with(changes), "{said}");
    assert!(
        said.ends_with("1 new, 1 gone, 1 changed, 1 with other permissions, owner or time; 15 B added, 6 B removed\n"),
        "{said}"
    );
    assert_eq!(world.ok(&["diff", "uploads", "latest"]), "no differences\n");
    assert_eq!(world.ok(&["diff", &ids[0], &ids[1], "--quiet"]), "");
    // a name is a snapshot, a path a folder
    assert_eq!(world.ok(&["diff", "uploads", "./uploads"]), "no differences\n");
    assert!(world.ok(&["diff", &ids[0], "./uploads"]).starts_with(changes));
    assert!(world.ok(&["diff", &format!("{}:photos", ids[0]), "uploads:photos"]).starts_with("+ new.jpg\n"));
    std::fs::set_permissions(world.path("uploads/notes.txt"), PermissionsExt::from_mode(0o600)).expect("a mode");
    std::fs::create_dir(world.path("uploads/more")).expect("a folder");
    std::fs::write(world.path("uploads/more/x.tmp"), "x").expect("a file");
    let said = world.ok(&[
        "diff",
        "uploads",
        world.path("uploads").to_str().expect("text"),
        "--metadata",
        "--exclude",
        "*.tmp",
    ]);
    assert!(said.starts_with("+ more/\nU notes.txt (mode 0644 to 0600)\n1 new, 0 gone, 0 changed, 1 with"), "{said}");
    assert!(!world.ok(&["diff", "uploads", "./uploads"]).contains("notes.txt"));
    world.fails(&["diff", "uploads", "nowhere"], 1, &["nowhere", "vault snapshots"]);
    world.fails(&["diff", "uploads", "./nowhere"], 1, &["./nowhere", "No such file"]);
    world.fails(&["diff", "uploads", "uploads:notes.txt"], 1, &["folder"]);
    world.fails(&["diff", "uploads", "./uploads/notes.txt"], 1, &["not a folder"]);
    assert!(
        world.ok(&["diff", "uploads:notes.txt", "./uploads/notes.txt"]).starts_with("0 new, 0 gone, 0 changed, 1 with")
    );
}

#[test]
fn diff_says_so_where_only_reading_tells_of_other_content() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let first = &ids(&world)[0];
    let repository = world.open();
    let id = vault::list::snapshots(&repository).expect("a listing").snapshots.by_id(first).expect("it is there").id;
    let other = with_content(&repository, id, b"other").to_string();
    for flag in ["--read", "--read-all"] {
        let said = world.ok(&["diff", &other, "./uploads", flag]);
        assert!(said.starts_with("M notes.txt (size and times are the same)\n"), "{said}");
        assert_eq!(world.ok(&["diff", first, "./uploads", flag]), "no differences\n");
    }
    let said: serde_json::Value = serde_json::from_str(&world.ok(&["diff", first, &other, "--json"])).expect("JSON");
    assert_eq!(said["changes"][0]["hidden"], true);
}

#[test]
fn what_a_snapshot_left_out_is_not_new_in_the_folder() {
    let world = World::made();
    std::fs::write(world.path("uploads/a.tmp"), "x").expect("a file");
    world.ok(&["snapshot", "uploads", "--exclude", "*.tmp"]);
    assert_eq!(world.ok(&["diff", "uploads", "./uploads"]), "no differences\n");
}

#[test]
fn stats_tell_what_is_stored_and_what_grew() {
    let world = world();
    let all = world.ok(&["stats"]);
    assert!(all.contains("\nuploads ") && all.contains("stored for "), "{all}");
    let said = world.ok(&["stats", "uploads"]);
    assert!(said.contains("1 file new (3 B), 1 file changed (12 B)\n"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("M ") && line.ends_with(" notes.txt")), "{said}");
    let causes = said.split("what each needs that none before it needs, as it is stored:\n").nth(1).expect("a table");
    let heading: Vec<&str> = causes.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heading, ["TIME", "CHUNKS", "WHOLE", "DELTAS", "PAGES", "INDEX", "ALL"]);
    assert!(causes.lines().take_while(|line| !line.is_empty()).all(|line| line.len() <= 80), "{causes}");
    let json: serde_json::Value = serde_json::from_str(&world.ok(&["stats", "uploads", "--json"])).expect("JSON");
    let runs = json["sources"][0]["runs"].as_array().expect("runs");
    let needs: Vec<&serde_json::Value> = runs.iter().map(|run| &run["needs"]).collect();
    assert!(needs[0]["whole_chunks"].as_u64() >= Some(2) && needs[0]["delta_chunks"] == 0, "{needs:?}");
    assert_eq!(needs[1]["whole_chunks"], 2, "the new file and the changed one: {needs:?}");
    assert!(needs.iter().all(|one| one["index_bytes"].as_u64() > Some(100)), "{needs:?}");
    assert!(!world.ok(&["stats", "uploads", "--quick"]).contains("DELTAS"));
    assert_eq!(world.ok(&["stats", "--quiet"]), "");
    world.fails(&["stats", "other"], 1, &["other", "vault stats"]);
}

#[test]
fn ls_sorts_by_what_is_asked() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let names = |words: &[&str]| world.ok(&[&["ls", "uploads"], words].concat());
    assert_eq!(names(&["--sort", "size"]), "photos/\nlink\nnotes.txt\n");
    assert_eq!(names(&["--sort", "size", "--reverse"]), "notes.txt\nlink\nphotos/\n");
    assert_eq!(names(&["--reverse"]), "photos/\nnotes.txt\nlink\n");
    assert!(names(&["--sort", "time"]).starts_with("link\n"));
    let long = names(&["-l", "--recursive", "--sort", "size"]);
    assert!(long.lines().nth(2).expect("three lines").ends_with("photos/2026/cat.jpg"), "{long}");
    assert!(long.contains("293.0 KiB"), "{long}");
}

#[test]
fn every_command_has_a_manual_page_that_reads_without_complaint() {
    let world = World::empty();
    let help = world.ok(&["--help"]);
    let commands = help.split("\nCommands:\n").nth(1).expect("commands").lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"snapshot") && commands.contains(&"man"), "{commands:?}");
    world.ok(&["man", "--output", "man/man1"]);
    for command in &commands {
        let page = std::fs::read_to_string(world.path(&format!("man/man1/vault-{command}.1"))).expect("a page");
        assert!(page.contains("Examples:") && page.contains(".SH OPTIONS"), "{command}: {page}");
    }
    assert_fails(&world.run(&["man", "--output", "man/man1"]), 2, &["replaced", "--yes"]);
    world.ok(&["man", "--output", "man/man1", "--yes"]);
    let pages = || std::fs::read_dir(world.path("man/man1")).expect("pages").map(|page| page.expect("a page").path());
    assert!(pages().count() > commands.len());
    let lint = Command::new("groff").args(["-k", "-man", "-Tutf8", "-ww", "-z"]).args(pages()).output();
    match lint {
        Ok(lint) => assert!(lint.status.success() && lint.stderr.is_empty(), "{}", errors(&lint)),
        // Straight to the terminal: the harness would swallow it.
        Err(error) => drop(writeln!(std::io::stderr(), "SKIPPED groff reading the manual pages: {error}")),
    }
}

#[test]
fn a_source_that_is_not_there_is_told_with_those_that_are() {
    let world = world();
    let ids = ids(&world);
    world.fails(&["snapshots", "nosuch"], 1, &["there is no source \"nosuch\"", "sources: uploads"]);
    world.fails(&["snapshots", "--name", "UPLOADS"], 1, &["there is no source", "perhaps uploads"]);
    world.fails(&["snapshots", "nowhere/uploads"], 1, &["no domain is called \"nowhere\""]);
    world.fails(&["snapshots", "--tag", "nosuch"], 1, &["no snapshot has the tag"]);
    world.fails(&["restore", "uplaods", "--target", "back"], 1, &["perhaps uploads"]);
    assert!(world.ok(&["snapshots", "uploads"]).ends_with("2 snapshots\n"));
    for one in [ids[1].as_str(), "latest", "uploads@now"] {
        let listed = world.ok(&["snapshots", one]);
        assert!(listed.contains(&ids[1]) && listed.ends_with("\n1 snapshot\n"), "{one}: {listed}");
    }
}

#[test]
fn a_place_that_is_not_there_is_doubted_before_a_new_one_is_proposed() {
    let world = World::empty();
    let words = ["restore", "x", "--target", "back"];
    let said = world.fails(&words, 10, &["no repository at", "that the disk is mounted"]);
    assert!(!said.contains("vault init"), "{said}");
    for words in [["snapshot", "uploads"].as_slice(), &["snapshots"]] {
        world.fails(words, 10, &["disk is mounted; if it was never made: `vault init --repository"]);
    }
}

/// Whoever audits asks who did what, why, and of which snapshot.
#[test]
fn the_journal_tells_why_and_of_which_snapshot() {
    let world = World::made();
    let taken: serde_json::Value =
        serde_json::from_str(&world.ok(&["snapshot", "uploads", "--skip-if-unchanged", "--json"])).expect("JSON");
    world.ok(&["snapshot", "uploads", "--skip-if-unchanged", "--reason", "by hand"]);
    world.ok(&["restore", "uploads", "--target", "out", "--reason", "somebody asked"]);
    world.ok(&["check", "--reason", "monthly"]);
    let journal: serde_json::Value = serde_json::from_str(&world.ok(&["journal", "--json"])).expect("JSON");
    let records = journal["records"].as_array().expect("a list");
    let told = |operation: &str, field: &str| {
        let of = |record: &&serde_json::Value| record["operation"] == operation;
        records.iter().rev().find(of).expect("a record")[field].clone()
    };
    assert_eq!((told("snapshot", "outcome"), told("snapshot", "reason")), ("unchanged".into(), "by hand".into()));
    assert_eq!(told("snapshot", "snapshot"), taken["snapshot"]);
    assert_eq!((told("restore", "outcome"), told("restore", "reason")), ("done".into(), "somebody asked".into()));
    assert_eq!(told("restore", "figures")["restored_files"], 2);
    assert_eq!(told("restore", "snapshot"), taken["snapshot"]);
    assert_eq!(told("check", "reason"), "monthly");
    assert!(told("check", "actor").as_str().is_some_and(|actor| actor.contains('@')), "{journal}");
}

#[test]
fn the_journal_is_filtered_and_handed_out() {
    let world = World::made();
    world.ok(&["snapshot", "uploads", "--reason", "by hand, \"twice\""]);
    world.ok(&["snapshot", "uploads", "--name", "other", "--reason", "=1+2"]);
    world.ok(&["restore", "uploads", "--target", "out", "--reason", "somebody asked"]);
    std::fs::write(world.path("file"), "no folder").expect("a file");
    world.run(&["restore", "uploads", "--target", "file"]);
    let told = |words: &[&str]| -> Vec<String> {
        let said = world.ok(&[&["journal", "--json"], words].concat());
        let journal: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let records = journal["records"].as_array().expect("a list");
        records.iter().map(|record| format!("{} {}", record["operation"], record["outcome"]).replace('"', "")).collect()
    };
    assert_eq!(told(&["--source", "other"]), ["snapshot done"]);
    assert_eq!(told(&["--operation", "restore"]), ["restore done", "restore failed"]);
    assert_eq!(told(&["--operation", "restore", "--outcome", "failed"]), ["restore failed"]);
    assert_eq!(
        told(&["--operation", "restore", "--since", "today", "--until", "today", "-n", "1"]),
        ["restore failed"]
    );
    assert!(told(&["--until", "yesterday"]).is_empty() && told(&["--since", "now"]).is_empty());
    world.fails(&["journal", "--operation", "restored"], 2, &["restored"]);
    world.fails(&["journal", "--source", "other", "verify"], 2, &["the list alone"]);
    // a spreadsheet takes neither a comma nor a formula for what it is not
    let csv = world.ok(&["journal", "--csv", "--operation", "snapshot"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("time,operation,source,outcome,actor,reason,") && lines.len() == 3, "{csv}");
    assert!(lines[1].contains(r#","by hand, ""twice""","#) && lines[2].contains(",'=1+2,"), "{csv}");
    // for an auditor
    let words = ["journal", "export", "--since", "today", "--until", "today", "--output", "audit"];
    world.ok(&words);
    let read = |name: &str| std::fs::read_to_string(world.path("audit").join(name)).expect("a file");
    let journal: serde_json::Value = serde_json::from_str(&read("journal.json")).expect("JSON");
    let records = journal["records"].as_array().expect("a list");
    let restored = records.iter().find(|record| record["operation"] == "restore").expect("a restore");
    let host = restored["facts"]["target_host"].as_str().expect("a host");
    assert!(restored["actor"].as_str().expect("somebody").ends_with(&format!("@{host}")), "{restored}");
    assert_eq!(restored["reason"], "somebody asked");
    let csv = read("journal.csv");
    assert!(csv.contains("restore,uploads,done,") && csv.contains("restore,uploads,failed,"), "{csv}");
    world.fails(&words, 1, &["journal.json exists already"]);
    assert_eq!(csv, read("journal.csv"));
}

#[test]
fn a_record_that_was_taken_out_of_the_journal_is_named() {
    let world = World::made();
    (0..3).for_each(|_| drop(world.ok(&["snapshot", "uploads"])));
    let said = world.ok(&["journal", "verify"]);
    assert!(said.ends_with("none is missing or was changed\n"), "{said}");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let verified = parse(&world.ok(&["journal", "verify", "--json"]));
    assert_eq!((verified["ok"].as_bool(), verified["writers"][0]["concurrent"].as_u64()), (Some(true), Some(0)));
    let head = verified["writers"][0]["head"].as_str().expect("an id").to_owned();
    world.ok(&["journal", "verify", "--quiet", "--head", &head]);
    world.fails(&["journal", "verify", "--head", "3f9a"], 2, &["64 digits"]);
    for (id, says) in [(records(&world)[0].clone(), "is missing"), (head.clone(), "is not in the journal")] {
        let path = record_path(&world, &id);
        std::fs::remove_file(&path).expect("a record");
        let output = world.run(&["journal", "verify", "--quiet", "--no-cache", "--head", &head]);
        assert_eq!(output.status.code(), Some(20), "{}", errors(&output));
        assert!(errors(&output).contains(&id) && errors(&output).contains(says), "{}", errors(&output));
    }
    let output = world.run(&["journal", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(20));
    assert_eq!(parse(&String::from_utf8(output.stdout).expect("text"))["ok"], false);
}

/// Ids of all records of snapshots, oldest first.
fn records(world: &World) -> Vec<String> {
    let said = world.ok(&["journal", "--json", "--operation", "snapshot", "--outcome", "done"]);
    let journal: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let ids = journal["records"].as_array().expect("a list").iter();
    ids.map(|record| record["id"].as_str().expect("an id").to_owned()).collect()
}

fn record_path(world: &World, id: &str) -> std::path::PathBuf {
    let folders = |path: std::path::PathBuf| std::fs::read_dir(path).expect("a folder").flatten().map(|one| one.path());
    let months = folders(world.path("repository/journal")).flat_map(folders);
    months.map(|month| month.join(id)).find(|path| path.exists()).expect("a record")
}
