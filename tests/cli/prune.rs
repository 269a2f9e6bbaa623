//! `vault prune` frees what nothing needs, says what it would do, and works on a disk that is full.

use crate::{World, errors, is_root};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use vault::repository::objects::orders;
use vault_format::order::Action;

/// Has the owner forget the snapshots of a source.
fn forget(world: &World, source: &str) {
    let repository = world.open();
    let snapshots = vault::list::snapshots(&repository).expect("snapshots").snapshots;
    let ids = snapshots.all.iter().filter(|one| one.head.source == source).map(|one| one.id).collect();
    orders::put(&repository, repository.keys().domain(), Action::Forget(ids)).expect("an order");
}

fn json(world: &World, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&world.ok(words)).expect("JSON")
}

fn size(folder: &Path) -> u64 {
    let output = Command::new("du").arg("-sb").arg(folder).output().expect("du");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .expect("a size")
}

#[test]
fn a_dry_run_a_mark_and_at_once() {
    let world = World::made();
    let script = "head -c 3000000 /dev/urandom";
    world.ok(&["snapshot", "--name", "old", "--command", "--", "sh", "-c", script]);
    world.ok(&["snapshot", "uploads"]);
    let full = size(&world.path("repository"));
    forget(&world, "old");
    let planned = json(&world, &["prune", "--dry-run", "--json"]);
    assert_eq!((&planned["condemned_snapshots"], &planned["mark"]), (&1.into(), &serde_json::Value::Null));
    assert!(planned["freed_bytes"].as_u64().is_some_and(|bytes| bytes > 3_000_000), "{planned}");
    let said = world.ok(&["prune", "-n"]);
    assert!(
        said.contains("would mark 1 snapshot and 2.9 MiB in ")
            && said.contains("2.9 MiB come free with a prune after 20"),
        "{said}"
    );
    assert!(said.lines().all(|line| line.len() <= 80), "{said}");
    let marked = json(&world, &["prune", "--json"]);
    for same in ["condemned_packs", "condemned_bytes", "freed_bytes", "live_bytes", "kept_bytes"] {
        assert_eq!(planned[same], marked[same], "{same}");
    }
    assert!(marked["mark"].is_string() && marked["deleted_packs"] == 0, "{marked}");
    assert!(size(&world.path("repository")) >= full);
    let output = world.run(&["prune", "--grace", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("grace"), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // the mark of the run before it is not a day old, but nobody writes
    assert!(text.contains("deleted 1 snapshot and 2.9 MiB in ") && text.contains("freed 2.9 MiB; "), "{text}");
    assert!(!text.contains("earlier run"), "{text}");
    assert!(size(&world.path("repository")) < full - 2_900_000);
    assert_eq!(world.ok(&["prune", "--quiet"]), "");
    world.ok(&["restore", "uploads", "--target", "out"]);
    world.ok(&["check", "--read-data"]);
    world.fails(&["prune", "--grace", "soon"], 2, &["24h"]);
    world.fails(&["prune", "--max-unused", "most"], 2, &["10%"]);
}

#[test]
fn a_full_disk_is_freed() {
    let world = World::empty();
    let disk = world.path("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&disk)
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        // Straight to the terminal: the harness would swallow it.
        let why = "a file system of a fixed size needs root and mount";
        return drop(writeln!(std::io::stderr(), "SKIPPED a_full_disk_is_freed: {why}"));
    }
    let outcome = std::panic::catch_unwind(|| {
        std::fs::create_dir(disk.join("repository")).expect("a folder");
        std::os::unix::fs::symlink(disk.join("repository"), world.path("repository")).expect("a link");
        world.ok(&["init"]);
        std::fs::write(world.path("small"), "small\n").expect("a file");
        world.ok(&["snapshot", "small"]);
        for (name, length) in [("a", 5_000_000), ("b", 3_000_000)] {
            let script = format!("head -c {length} /dev/urandom");
            world.ok(&["snapshot", "--name", name, "--command", "--", "sh", "-c", &script]);
        }
        forget(&world, "a");
        // something else fills the disk
        let filler = disk.join("filler");
        std::fs::write(&filler, vec![1u8; 12_000_000]).expect("a file");
        let more = disk.join("more");
        let _ = Command::new("sh").arg("-c").arg("cat /dev/zero > \"$0\"").arg(&more).output().expect("sh");
        let output = world.run(&["prune", "--grace", "0s", "--quiet"]);
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        assert!(errors(&output).contains("remove something else"), "{}", errors(&output));
        // one part in a hundred is left
        let left = std::fs::metadata(&more).expect("it").len();
        std::fs::File::options()
            .write(true)
            .open(&more)
            .and_then(|file| file.set_len(left - 240_000))
            .expect("smaller");
        let report = json(&world, &["prune", "--grace", "0s", "--json", "--quiet"]);
        assert!(report["deleted_bytes"].as_u64().is_some_and(|bytes| bytes > 5_000_000), "{report}");
        assert_eq!(world.ok(&["restore", "small:small", "--stdout"]), "small\n");
        world.ok(&["check", "--read-data"]);
        let script = "head -c 4000000 /dev/urandom";
        world.ok(&["snapshot", "--name", "c", "--command", "--", "sh", "-c", script]);
    });
    assert!(Command::new("umount").arg(&disk).status().expect("umount").success());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
