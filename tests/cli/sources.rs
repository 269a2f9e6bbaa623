//! What `vault snapshot` is pointed at: its own repository, pipes and disks, lists of paths, names that are no text.

use crate::{World, errors};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use testkit::world::noise;

#[test]
fn a_repository_is_not_stored_in_itself() {
    let world = World::made();
    fs::write(world.path("uploads/notes.txt"), "x").unwrap();
    std::os::unix::fs::symlink(world.path("repository"), world.path("uploads/way")).unwrap();
    let root = world.path("");
    let taken = world.run(&["snapshot", root.to_str().unwrap(), "--name", "all"]);
    assert_eq!(taken.status.code(), Some(0), "{}", errors(&taken));
    assert!(errors(&taken).contains("repository: belongs to the repository itself"), "{}", errors(&taken));
    let listed = world.ok(&["ls", "all", "--recursive"]);
    let below = |line: &str| ["repository/", "cache/"].iter().any(|own| line.starts_with(own) && line != *own);
    assert!(listed.contains("uploads/notes.txt") && !listed.lines().any(below), "{listed}");
    world.fails(&["snapshot", "repository"], 1, &["is the repository itself"]);
    // what was left out is not deleted by a restore that deletes
    let target = root.to_str().unwrap();
    world.ok(&["restore", "all", "--target", target, "--delete-extra", "--overwrite", "if-changed", "--yes"]);
    world.ok(&["check"]);
}

#[test]
fn a_pipe_or_a_device_as_a_path_is_refused_with_the_form_to_use() {
    let world = World::made();
    let fifo = world.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    std::os::unix::fs::symlink(&fifo, world.path("way")).unwrap();
    world.fails(&["snapshot", "pipe"], 1, &["is a pipe", "--stdin NAME < pipe"]);
    world.fails(&["snapshot", "way"], 1, &["is a pipe"]);
    world.fails(&["snapshot", "/dev/null"], 1, &["is a device", "--stdin"]);
    let socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    world.fails(&["snapshot", "socket"], 1, &["is a socket"]);
    drop(socket);
    // one that lies in a folder is a part of it
    fs::rename(&fifo, world.path("uploads/pipe")).unwrap();
    world.ok(&["snapshot", "uploads"]);
    assert!(world.ok(&["ls", "uploads"]).contains("pipe"));
}

#[test]
fn patterns_mean_what_people_write() {
    let world = World::made();
    let absolute = world.path("uploads/photos");
    for pattern in [absolute.to_str().unwrap(), "./photos", "photos/", "/photos"] {
        world.ok(&["snapshot", "uploads", "-e", pattern]);
        assert!(!world.ok(&["ls", "uploads", "--recursive"]).contains("photos"), "{pattern}");
    }
    world.ok(&["snapshot", "uploads", "--iexclude", "PHOTOS"]);
    assert!(!world.ok(&["ls", "uploads", "--recursive"]).contains("photos"));
    world.fails(&["snapshot", "uploads", "--exclude", "../photos"], 1, &["relative to the root"]);
    world.fails(&["snapshot", "uploads", "--exclude", world.path("uploads").to_str().unwrap()], 1, &["the root"]);
    let doubted = world.run(&["snapshot", "--quiet", "uploads", "--exclude", "/etc/hostname"]);
    assert!(errors(&doubted).contains("outside of"), "{}", errors(&doubted));
    let doubted = world.run(&["snapshot", "--quiet", "uploads", "--exclude", "uploads/photos"]);
    assert!(errors(&doubted).contains("say '/photos'"), "{}", errors(&doubted));
}

#[test]
fn words_need_not_be_text() {
    let world = World::made();
    let odd = OsStr::from_bytes(b"caf\xe9.txt");
    fs::write(world.path("uploads").join(odd), "odd").unwrap();
    let run = |words: &[&OsStr]| {
        let output = world.command(&[]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", errors(&output));
        output.stdout
    };
    let word = OsStr::new;
    run(&[word("snapshot"), word("uploads")]);
    let address = OsStr::from_bytes(b"uploads:caf\xe9.txt");
    assert_eq!(run(&[word("restore"), address, word("--stdout")]), b"odd");
    assert_eq!(run(&[word("restore"), word("uploads:caf\\xe9.txt"), word("--stdout")]), b"odd");
    let listed = run(&[word("ls"), address]);
    assert!(String::from_utf8_lossy(&listed).contains("caf"), "{listed:?}");
    assert!(String::from_utf8_lossy(&run(&[word("find"), odd])).contains("1 version"));
    run(&[word("diff"), address, address]);
    let out = world.path("out");
    run(&[word("restore"), word("uploads"), word("--include"), odd, word("--target"), out.as_os_str()]);
    assert_eq!(fs::read(out.join(odd)).unwrap(), b"odd");
    // left out by a pattern, and by a file of patterns
    run(&[word("snapshot"), word("uploads"), word("--exclude"), odd]);
    assert!(!world.ok(&["ls", "uploads"]).contains("caf"));
    fs::write(world.path("list"), b"caf\xe9.txt\n").unwrap();
    run(&[word("snapshot"), word("uploads"), word("--exclude-file"), word("list")]);
    assert!(!world.ok(&["ls", "uploads"]).contains("caf"));
}

#[test]
fn paths_come_from_lists() {
    let world = World::made();
    fs::write(world.path("uploads/two\nlines"), "2").unwrap();
    fs::write(world.path("text"), "uploads/notes.txt\n\nuploads/link\n").unwrap();
    world.fails(&["snapshot", "--files-from", "text"], 2, &["--name"]);
    world.ok(&["snapshot", "--files-from", "text", "--name", "listed"]);
    assert_eq!(world.ok(&["ls", "listed"]).lines().count(), 2);
    let mut child = world.command(&["snapshot", "--files-from0", "-", "--name", "nul"]);
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"uploads/two\nlines\0uploads/gone\0").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert!(errors(&output).contains("gone"), "{}", errors(&output));
    fs::write(world.path("empty"), "\n").unwrap();
    world.fails(&["snapshot", "--files-from", "empty", "--name", "none"], 1, &["names no path"]);
}

#[test]
fn a_stream_may_have_a_path_and_short_flags_do_what_people_expect() {
    let world = World::made();
    let feed = |words: &[&str]| {
        let mut command = world.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"bytes").unwrap();
        child.wait_with_output().unwrap()
    };
    for path in ["db1/dump.sql", "/db2/dump.sql"] {
        let output = feed(&["snapshot", "--stdin", path]);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    }
    assert_eq!(world.ok(&["restore", "db1-dump.sql:db1/dump.sql", "--stdout"]), "bytes");
    assert_eq!(world.ok(&["restore", "db2-dump.sql:db2/dump.sql", "--stdout"]), "bytes");
    assert_eq!(feed(&["snapshot", "--stdin", "../dump"]).status.code(), Some(2));
    world.ok(&["snapshot", "uploads", "--compression", "19", "--dry-run"]);
    world.fails(&["snapshot", "uploads", "--compression", "20"], 2, &["1..=19"]);
    let dry = world.ok(&["snapshot", "uploads", "-n", "-x", "-t", "night", "-e", "*.jpg"]);
    assert!(dry.contains("would snapshot"), "{dry}");
    assert!(!world.ok(&["snapshots"]).contains("uploads"));
}

#[test]
fn a_folder_of_another_place_needs_a_name() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    fs::create_dir_all(world.path("other/uploads")).unwrap();
    world.fails(&["snapshot", "other/uploads"], 1, &["stands for", "--name other-uploads"]);
    // who was refused has not failed to take that source
    let health = world.ok(&["health"]);
    assert!(health.contains("all is well"), "{health}");
    world.ok(&["snapshot", "other/uploads", "--name", "uploads"]);
    world.ok(&["snapshot", "other/uploads"]);
    let told = world.run(&["snapshot", "other/uploads", "--quiet", "--host", "elsewhere"]);
    assert!(errors(&told).contains("comes from elsewhere"), "{}", errors(&told));
    let skipped = world.run(&["snapshot", "other/uploads", "--quiet", "--host", "third", "--skip-if-unchanged"]);
    assert_eq!(errors(&skipped), "", "nothing was taken");
    // a name that is said means what it says, whichever container says it
    let said = ["snapshot", "other/uploads", "--name", "uploads", "--host", "third"];
    assert_eq!(errors(&world.run(&[&said[..], &["--quiet"]].concat())), "");
    let said = ["snapshot", "other/uploads", "--name", "uploads", "--host", "fourth", "--verbose"];
    assert!(errors(&world.run(&said)).contains("comes from fourth"));
}

#[test]
fn a_compressed_dump_is_told_of_once_with_what_mends_it() {
    let world = World::made();
    let take = |seed: u64, flag: &str| {
        fs::write(world.path("db.zst"), [b"\x28\xb5\x2f\xfd", &noise(seed, 1 << 20)[..]].concat()).unwrap();
        let words = ["snapshot", "--name", "db", flag, "--command", "--", "cat", "db.zst"];
        let output = world.run(&words);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        (errors(&output), String::from_utf8(output.stdout).unwrap())
    };
    let plain = "--no-delta";
    assert_eq!(take(1, plain).0, "");
    let said = take(2, plain).0;
    assert_eq!(
        said,
        "vault: db is compressed by zstd: 1.0 MiB of 1.0 MiB are new again, though much may be as before; to store only \
         what changed, dump without zstd, or at least with zstd --rsyncable\n"
    );
    assert_eq!(take(3, plain).0, "");
    let (said, json) = take(4, "--json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!([{"path": "db", "by": "zstd", "size": (1 << 20) + 4, "added": (1 << 20) + 4}]);
    assert_eq!((said.as_str(), &json["compressed"]), ("", &expected));
    assert_eq!(take(5, "--quiet").0, "");
    assert!(world.ok(&["stats", "db"]).contains("compressed"), "a fact of the snapshot");
}
