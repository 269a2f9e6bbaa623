//! Two repositories on one machine: one is copied into the other, loses what it holds, and is mended from it.

use crate::{World, diff, errors};
use std::collections::BTreeMap;
use std::path::Path;
use vault::repository::NewRepository;
use vault_format::slot::KDF_FLOOR;

/// Makes `second` with the root of the world's repository, or with one of its own.
fn second(world: &World, is_like: bool, password: &str) {
    let like = is_like.then(|| world.open().keys().owner("test").expect("the owner").root().clone());
    world.make("second", NewRepository { like, kdf: KDF_FLOOR, ..NewRepository::new(password.as_bytes()) });
}

fn files(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below").display().to_string();
                found.insert(name, path.metadata().expect("a file").len());
            }
        }
    }
    found
}

fn json(world: &World, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&world.ok(words)).expect("JSON")
}

#[test]
fn what_the_first_lost_comes_back_from_the_second() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    std::fs::write(world.path("uploads/more"), "more\n".repeat(50_000)).expect("a file");
    world.ok(&["snapshot", "uploads", "--tag", "later"]);
    second(&world, true, "correct horse");
    assert!(world.ok(&["copy", "--to", "second", "--dry-run"]).starts_with("would copy 2 snapshots"));
    let copied = json(&world, &["copy", "--to", "second", "--json"]);
    assert_eq!((copied["like"].as_bool(), copied["copied"].as_array().map(Vec::len)), (Some(true), Some(2)));
    let before = files(&world.path("second"));
    let said = world.ok(&["copy", "--to", "second"]);
    assert!(said.contains("copied 0 snapshots") && said.contains("2 were there already"), "{said}");
    assert_eq!(files(&world.path("second")), before);
    world.ok(&["check", "--read-data", "--repository", "second"]);
    world.ok(&["restore", "uploads", "--target", "from-second", "--repository", "second"]);
    diff(&world.path("uploads"), &world.path("from-second"));
    assert!(world.ok(&["snapshots", "--repository", "second", "--tag", "later"]).contains("1 snapshot\n"));
    assert!(world.ok(&["repair"]).starts_with("nothing to repair"));

    std::fs::remove_dir_all(world.path("repository/packs")).expect("packs");
    assert_eq!(world.run(&["check"]).status.code(), Some(20));
    let output = world.run(&["repair", "--dry-run", "--json"]);
    assert_eq!(output.status.code(), Some(20), "{}", errors(&output));
    let mended = json(&world, &["repair", "--from", "second", "--json"]);
    assert_eq!((mended["whole"].as_bool(), mended["healthy"].as_bool()), (Some(true), Some(false)));
    assert!(world.ok(&["check", "--read-data"]).starts_with("no damage:"));
    for (address, folder) in [("uploads", "out"), ("uploads@now", "again")] {
        world.ok(&["restore", address, "--target", folder]);
        diff(&world.path("uploads"), &world.path(folder));
    }
    assert!(world.ok(&["repair"]).starts_with("nothing to repair"));
}

#[test]
fn what_nobody_has_is_left_out_of_a_marked_copy() {
    let world = World::made();
    std::fs::write(world.path("uploads/video"), (0..6_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .expect("a file");
    world.ok(&["snapshot", "uploads"]);
    let packs = files(&world.path("repository/packs/d"));
    let (largest, _) = packs.iter().max_by_key(|(_, size)| **size).expect("a pack");
    let path = world.path("repository/packs/d").join(largest);
    let mut bytes = std::fs::read(&path).expect("a pack");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, bytes)).expect("a damaged pack");
    let output = world.run(&["repair"]);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(20), "{text}");
    assert!(text.contains("do not match its name") && text.contains(":/video"), "{text}");
    // by its name the source means the one that restores
    world.ok(&["restore", "uploads", "--target", "out"]);
    std::fs::remove_file(world.path("uploads/video")).expect("it was there");
    diff(&world.path("uploads"), &world.path("out"));
    assert!(world.ok(&["snapshots", "--tag", "repaired"]).contains("1 snapshot\n"));
    assert_eq!(world.run(&["repair", "--quiet"]).status.code(), Some(20));
    assert_eq!(world.count(), 2);
}

#[test]
fn a_part_that_damage_took_is_never_restored_as_if_it_were_whole() {
    let world = World::made();
    let noise = |seed: u32, count: u32| {
        let word = |number: u32| (number ^ seed).wrapping_mul(2_654_435_761).rotate_left(number % 31).to_le_bytes();
        (0..count).flat_map(word).collect::<Vec<u8>>()
    };
    std::fs::create_dir_all(world.path("uploads/whole/empty")).expect("a folder");
    std::fs::write(world.path("uploads/whole/kept"), noise(1, 20)).expect("a file");
    world.ok(&["snapshot", "uploads"]);
    let before = files(&world.path("repository/packs/d"));
    std::fs::create_dir(world.path("uploads/driver")).expect("a folder");
    for name in ["a.c", "b.c"] {
        std::fs::write(
            world.path("uploads/driver").join(name),
            noise(name.len() as u32 + name.as_bytes()[0] as u32, 90_000),
        )
        .expect("a file");
    }
    world.ok(&["snapshot", "uploads"]);
    for pack in files(&world.path("repository/packs/d")).keys().filter(|pack| !before.contains_key(*pack)) {
        std::fs::remove_file(world.path("repository/packs/d").join(pack)).expect("a pack");
    }
    assert_eq!(world.run(&["repair"]).status.code(), Some(20));
    let listing = world.ok(&["snapshots"]);
    assert!(listing.contains("2 lost, repaired copy") && !listing.contains("unread"), "{listing}");

    // all of it: what there is, with a word about the rest
    let output = world.run(&["restore", "uploads", "--target", "all"]);
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("2 entries were lost by damage") && !said.contains("could not be read when"), "{said}");
    // a part that is whole, be it empty, is whole
    world.ok(&["restore", "uploads:whole", "--target", "whole"]);
    world.ok(&["restore", "uploads:whole/empty", "--target", "empty"]);
    world.ok(&["restore", "uploads", "--include", "kept", "--target", "kept"]);
    assert_eq!(world.run(&["restore", "uploads:whole", "--stdout", "--tar"]).status.code(), Some(0));
    // a part that lost something is not, in whatever way it is asked for
    let lost = ["restore is not complete", "lost by damage in the repository", "vault snapshots uploads"];
    for words in [
        &["uploads:driver", "--target", "out"][..],
        &["uploads:driver", "--target", "out", "--dry-run"],
        &["uploads:driver/a.c", "--target", "out"],
        &["uploads:driver/a.c", "--stdout"],
        &["uploads:driver", "--stdout", "--tar"],
        &["uploads", "--include", "driver", "--target", "out"],
        &["uploads", "--include", "driver", "--exclude", "b.c", "--target", "out"],
    ] {
        let output = world.run(&[&["restore"], words].concat());
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        lost.iter().for_each(|word| assert!(said.contains(word), "{words:?}: {word} is not in {said}"));
    }
    let output = world.run(&["restore", "uploads:driver", "--target", "out", "--json"]);
    let restored: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(restored["notes"].to_string().contains("2 entries of driver were lost by damage"), "{restored}");
    // what never was there is no loss
    let said = errors(&world.run(&["restore", "uploads:nothing", "--target", "out"]));
    assert!(said.contains("nothing") && !said.contains("is not complete"), "{said}");
}

#[test]
fn a_copy_with_a_root_and_a_password_of_its_own_says_so() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    second(&world, false, "another horse");
    world.fails(&["copy", "--to", "second"], 12, &["wrong password", "second"]);
    let mut command = world.command(&["copy", "--to", "second"]);
    let output = command.env("VAULT_TO_PASSWORD", "another horse").output().expect("it runs");
    assert!(output.status.success(), "{}", errors(&output));
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("share no root") && said.contains("copied 1 snapshot"), "{said}");
    std::fs::write(world.path("password"), "another horse\n").expect("a file");
    let copied = json(&world, &["copy", "--to", "second", "--to-password-file", "password", "--json"]);
    assert_eq!((copied["like"].as_bool(), copied["known"].as_u64()), (Some(false), Some(1)));
    let flags = ["restore", "uploads", "--target", "out", "--repository", "second", "--password-file", "password"];
    world.ok(&flags);
    diff(&world.path("uploads"), &world.path("out"));
    let words = ["repair", "--from", "second", "--from-password-file", "password"];
    world.fails(&words, 1, &["--like"]);
    world.fails(&["copy", "--to", "repository"], 1, &["same repository"]);
    world.fails(&["copy", "--to", "nowhere"], 10, &["nowhere"]);
}

#[test]
fn torn_objects_are_quarantined_by_name() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["snapshot", "uploads"]);
    let snapshots = world.path("repository/snapshots");
    let (name, _) = files(&snapshots).pop_first().expect("a snapshot");
    world.fails(&["repair", "--quarantine", &format!("snapshots/{name}")], 1, &["is not damaged"]);
    let path = snapshots.join(&name);
    let bytes = std::fs::read(&path).expect("a snapshot");
    std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, &bytes[..100])).expect("a torn snapshot");
    let output = world.run(&["repair"]);
    assert_eq!(output.status.code(), Some(20), "{}", errors(&output));
    let id = name.rsplit('/').next().expect("an id");
    assert!(world.ok(&["repair", "--quarantine", &id[..10]]).contains(id));
    assert!(world.ok(&["repair"]).starts_with("nothing to repair"));
    world.ok(&["check", "--read-data"]);
    assert_eq!(world.count(), 1);
    // a mark that nobody can read stops who deletes, and says what to do
    let mark = format!("marks/{}", "a".repeat(64));
    std::fs::create_dir_all(world.path("repository/marks")).expect("a folder");
    std::fs::write(world.path("repository").join(&mark), b"torn").expect("a mark");
    let noted = errors(&world.run(&["snapshot", "uploads"]));
    assert!(noted.contains(&format!("vault repair --quarantine {mark}")), "{noted}");
    world.fails(&["prune"], 1, &[&format!("vault repair --quarantine {mark}")]);
    world.fails(&["repair"], 1, &["--quarantine"]);
    world.ok(&["repair", "--quarantine", &mark]);
    world.ok(&["snapshot", "uploads"]);
}
