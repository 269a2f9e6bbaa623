//! The program is killed at random moments. Whatever it had acknowledged restores exactly afterwards, and a check of
//! all data finds nothing. `VAULT_TEST_SEED` replays a run; the moments still depend on the machine.

use crate::World;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const KILLS: u32 = 200;

/// Names and contents of a flat folder.
pub fn contents(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("a file"))).collect()
}

fn change(random: &mut ChaCha20Rng, folder: &Path) {
    for _ in 0..3 {
        let mut bytes = vec![0u8; random.next_u32() as usize % 200_000 + 1];
        random.fill_bytes(&mut bytes);
        std::fs::write(folder.join(format!("file-{}", random.next_u32() % 20)), bytes).expect("a file");
    }
}

#[test]
fn kills_at_random_moments_lose_nothing_acknowledged() {
    let seed = std::env::var("VAULT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7u64);
    println!("VAULT_TEST_SEED={seed}");
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let world = World::empty();
    world.init();
    let folder = world.path("source");
    std::fs::create_dir(&folder).expect("a folder");
    let mut acknowledged = BTreeMap::new();
    let mut killed = 0;
    // how long a run takes that is left alone: the moments spread over it, however fast the machine is
    let mut lasts = Duration::from_millis(250);
    for _ in 0..10 * KILLS {
        if killed == KILLS {
            break;
        }
        change(&mut random, &folder);
        let mut command = world.command(&["snapshot", "--json", "source"]);
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vault starts");
        // some runs are left alone, so that there is something to lose
        let is_alone = random.next_u32() % 8 == 0;
        if !is_alone {
            std::thread::sleep(lasts * (random.next_u32() % 1000) / 1000);
            drop(child.kill());
        }
        let output = child.wait_with_output().expect("an end");
        if is_alone {
            lasts = begun.elapsed();
        }
        match output.status.code() {
            Some(0) => {
                let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                let id = line["snapshot"].as_str().expect("an id").to_owned();
                acknowledged.insert(id, contents(&folder));
            }
            None => killed += 1,
            Some(code) => panic!("exit {code}: {}", crate::errors(&output)),
        }
    }
    assert_eq!(killed, KILLS);
    assert!(!acknowledged.is_empty());
    world.ok(&["check", "--read-data"]);
    for (number, (id, expected)) in acknowledged.iter().enumerate() {
        let target = format!("restored-{number}");
        world.ok(&["restore", id, "--target", &target]);
        assert!(contents(&world.path(&target)) == *expected, "snapshot {id} came back different");
        std::fs::remove_dir_all(world.path(&target)).expect("the restored folder");
    }
    println!("{killed} killed, {} acknowledged", acknowledged.len());
}

/// Bytes of all packs, and files in `tmp/`.
fn stored(world: &World) -> (u64, usize) {
    let mut folders = vec![world.path("repository/packs")];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    (bytes, std::fs::read_dir(world.path("repository/tmp")).into_iter().flatten().count())
}

/// Killed whenever it has stored a little more, a first upload ends all the same, stores nothing twice, and leaves no
/// unfinished file: whatever the key is, and whether this machine remembers or not.
#[test]
fn a_first_upload_that_is_killed_again_and_again_ends() {
    const SIZE: u64 = 12_000_000;
    const STEP: u64 = 2_000_000;
    for (role, has_cache) in [("owner", true), ("owner", false), ("writer", true), ("writer", false)] {
        let world = World::empty();
        world.init();
        let mut random = ChaCha20Rng::seed_from_u64(1);
        std::fs::create_dir(world.path("source")).expect("a folder");
        let mut file = |name: &str, length: u64| {
            let mut bytes = vec![0; usize::try_from(length).expect("a size")];
            random.fill_bytes(&mut bytes);
            std::fs::write(world.path("source").join(name), bytes).expect("a file");
        };
        file("large", SIZE / 2);
        (0..60).for_each(|number| file(&format!("small-{number}"), SIZE / 120));
        if role == "writer" {
            world.ok(&["key", "add", "--role", "writer", "--label", "web", "--export-key-file", "web.key"]);
        }
        let mut words = vec!["snapshot", "--memory", "2MB", "--limit-upload", "8MB", "source"];
        words.extend((role == "writer").then_some(["--key-file", "web.key"]).into_iter().flatten());
        words.extend((!has_cache).then_some("--no-cache"));
        let mut kills = 0;
        loop {
            let before = stored(&world).0;
            let mut command = world.command(&words);
            if !has_cache {
                command.env_remove("VAULT_CACHE_DIR");
            }
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("vault starts");
            let ended = loop {
                if let Some(status) = child.try_wait().expect("a child") {
                    break Some(status);
                }
                if stored(&world).0 > before + STEP {
                    drop(child.kill());
                    break None;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            let output = child.wait_with_output().expect("an end");
            if let Some(status) = ended {
                assert_eq!(status.code(), Some(0), "{role}: {}", crate::errors(&output));
                break;
            }
            kills += 1;
            assert!(kills < 20, "{role}, cache: {has_cache}: no end");
        }
        let (bytes, unfinished) = stored(&world);
        let context = format!("{role}, cache: {has_cache}, {kills} kills: {bytes} bytes of packs");
        assert!(kills > 3 && bytes < SIZE + SIZE * 15 / 100, "{context}");
        assert_eq!(unfinished, 0, "{context}");
        world.ok(&["restore", "source", "--target", "out"]);
        assert!(contents(&world.path("out")) == contents(&world.path("source")), "{context}");
        world.ok(&["check", "--read-data"]);
        println!("{context}");
    }
}
