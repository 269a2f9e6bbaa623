//! Restores into places that hold something, or have no room: what is asked before, what is said, what stays, and the
//! exit code.

use crate::{World, errors, is_root};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn skipped(test: &str, why: &str) {
    // Straight to the terminal: the harness would swallow it.
    drop(writeln!(std::io::stderr(), "SKIPPED {test}: {why}"));
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(output))
}

/// Runs a command at a terminal that types an answer, and gives all that the terminal shows.
fn at_terminal(world: &World, words: &[&str], answer: &str) -> Option<(String, Option<i32>)> {
    let line = [env!("CARGO_BIN_EXE_vault")].iter().chain(words).copied().collect::<Vec<_>>().join(" ");
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("VAULT_REPOSITORY", world.path("repository"))
        .env("VAULT_PASSWORD", "correct horse")
        .env("VAULT_CACHE_DIR", world.path("cache"))
        .current_dir(world.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take().expect("a pipe");
    // at a terminal what is typed too early is shown too early
    std::thread::sleep(std::time::Duration::from_millis(1500));
    input.write_all(format!("{answer}\n").as_bytes()).expect("it listens");
    let output = child.wait_with_output().expect("an end");
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

/// A snapshot, and a target in which one file differs, one has another mode, and two entries are extra.
fn changed() -> World {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["restore", "uploads", "--target", "out"]);
    std::fs::write(world.path("out/notes.txt"), "changed since\n").expect("a file");
    let cat = world.path("out/photos/2026/cat.jpg");
    std::fs::set_permissions(cat, PermissionsExt::from_mode(0o666)).expect("a mode");
    std::fs::create_dir(world.path("out/extra")).expect("a folder");
    std::fs::write(world.path("out/extra/mine"), "mine").expect("a file");
    world
}

const ALL: &[&str] = &["restore", "uploads", "--target", "out", "--overwrite", "if-changed", "--delete-extra"];

#[test]
fn the_question_counts_and_stands_alone() {
    let world = changed();
    let says = ["1 entry will be replaced: notes.txt", "1 entry will be mended", "2 entries will be deleted: extra"];
    world.fails(ALL, 2, &[&says[..], &["--yes"]].concat());
    for (answer, is_yes) in [("n", false), ("", false), ("no", false), ("y", true)] {
        let Some((shown, code)) = at_terminal(&world, ALL, answer) else {
            return skipped("the_question_counts_and_stands_alone", "script (util-linux) is not installed");
        };
        let (before, after) = shown.split_once("[y/N] ").unwrap_or_else(|| panic!("no question: {shown}"));
        says.iter().for_each(|word| assert!(before.contains(word), "{word:?} is not in {before}"));
        assert_eq!(before.lines().count(), 1, "nothing but the question: {before}");
        assert_eq!(code, Some(if is_yes { 0 } else { 1 }), "{shown}");
        assert_eq!(world.path("out/extra").exists(), !is_yes);
        if !is_yes {
            assert!(after.contains("nothing was done") && !after.contains("restoring"), "{after}");
        }
    }
    // nothing to replace or delete any more: nothing to ask
    world.ok(ALL);
}

#[test]
fn what_is_replaced_mended_and_deleted_is_said_and_counted() {
    let world = changed();
    let dry = world.ok(&[ALL, &["--dry-run"]].concat());
    let json = |words: &[&str]| serde_json::from_str::<Value>(&world.ok(&[ALL, words].concat())).expect("JSON");
    let planned = json(&["--dry-run", "--json"]);
    for word in ["would replace 1 entry", "would mend 1 entry", "would delete 2 entries", "extra", "notes.txt"] {
        assert!(dry.contains(word), "{word:?} is not in {dry}");
    }
    assert!(world.path("out/extra/mine").exists());
    let done = json(&["--yes", "--json"]);
    for (field, count) in [("replaced", 1), ("mended", 1), ("deleted", 2), ("kept", 0)] {
        assert_eq!((&done[field], &planned[field]), (&count.into(), &count.into()), "{field}");
    }
    crate::diff(&world.path("uploads"), &world.path("out"));
    let mode = |path: &str| world.path(path).metadata().expect("a file").mode();
    assert_eq!(mode("out/photos/2026/cat.jpg"), mode("uploads/photos/2026/cat.jpg"));
}

#[test]
fn names_that_are_not_shown_are_counted_and_shown_when_asked_for() {
    let world = World::made();
    for number in 0..30 {
        std::fs::write(world.path(&format!("uploads/file-{number}")), "text").expect("a file");
    }
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["restore", "uploads", "--target", "out"]);
    std::fs::create_dir(world.path("out/jd")).expect("a folder");
    for extra in ["out/jd/inside", "out/extra"] {
        std::fs::write(world.path(extra), "mine").expect("a file");
    }
    let words = ["restore", "uploads", "--target", "out", "--overwrite", "always", "--delete-extra", "--dry-run"];
    let said = world.ok(&words);
    for word in
        ["would replace 33 entries:", "  and 13 more; -v names all", "would delete 3 entries:", "  jd/ (with 1 entry)"]
    {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(said.lines().filter(|line| line.contains("file-")).count() <= 20, "{said}");
    assert!(!said.contains("there already"), "{said}");
    let said = world.ok(&[&words[..], &["--verbose"]].concat());
    assert_eq!(said.lines().filter(|line| line.starts_with("  file-")).count(), 30, "{said}");
    assert!(!said.contains(" more"), "{said}");
}

#[test]
fn where_to_is_asked_and_a_file_is_no_place() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.fails(&["restore", "uploads"], 2, &["where to? --target DIR, or --stdout"]);
    std::fs::write(world.path("file"), "mine").expect("a file");
    world.fails(&["restore", "uploads", "--target", "file"], 1, &["file: it is a file, not a folder"]);
    world.fails(&["restore", "uploads", "--target", "file", "--dry-run"], 1, &["file: it is a file, not a folder"]);
    world.fails(&["dump", "uploads:nothing"], 1, &["cannot write uploads:nothing to standard output"]);
}

#[test]
fn another_mode_is_named_and_ends_with_1() {
    let world = changed();
    std::fs::write(world.path("out/notes.txt"), "hello\n").expect("a file");
    let output = world.run(&["restore", "uploads:photos/2026", "--target", "out/photos/2026"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("cat.jpg: it has mode 666 instead of 644"), "{}", errors(&output));
    // the folder that a single file is put into is nobody's business
    std::fs::set_permissions(world.path("out/extra"), PermissionsExt::from_mode(0o711)).expect("a mode");
    world.ok(&["restore", "uploads:notes.txt", "--target", "out/extra", "--delete-extra", "--yes"]);
    assert_eq!(world.path("out/extra").metadata().expect("a folder").mode() & 0o777, 0o711);
    assert!(world.path("out/extra/mine").exists(), "one file is not the folder that it lies in");
    world.ok(&["restore", "uploads", "--include", "photos/2026/cat.jpg", "--target", "part"]);
    std::fs::set_permissions(world.path("part/photos"), PermissionsExt::from_mode(0o700)).expect("a mode");
    std::fs::remove_file(world.path("part/photos/2026/cat.jpg")).expect("a file");
    world.ok(&["restore", "uploads", "--include", "photos/2026/cat.jpg", "--target", "part"]);
    assert_eq!(world.path("part/photos").metadata().expect("a folder").mode() & 0o777, 0o700);
}

#[test]
fn folders_that_nobody_named_stay_as_they_are() {
    let world = World::made();
    let mode = |name: &str| world.path(name).metadata().expect("an entry").mode() & 0o777;
    let set = |name: &str, mode: u32| {
        std::fs::set_permissions(world.path(name), PermissionsExt::from_mode(mode)).expect("a mode");
    };
    std::fs::create_dir_all(world.path("uploads/other/inner")).expect("folders");
    world.ok(&["snapshot", "--name", "file", "uploads/notes.txt"]);
    world.ok(&["snapshot", "--name", "two", "uploads/photos/2026", "uploads/other/inner"]);
    std::fs::create_dir_all(world.path("live/photos")).expect("a folder");
    set("live", 0o711);
    set("live/photos", 0o700);
    for overwrite in ["never", "always"] {
        for name in ["file", "two"] {
            world.ok(&["restore", name, "--target", "live", "--overwrite", overwrite, "--yes"]);
            assert_eq!((mode("live"), mode("live/photos")), (0o711, 0o700), "{name} {overwrite}");
        }
    }
    // what was named is judged
    set("live/photos/2026", 0o700);
    assert_eq!(world.run(&["restore", "two", "--target", "live"]).status.code(), Some(1));
    world.ok(&["restore", "two", "--target", "live", "--overwrite", "if-changed", "--yes"]);
    assert_eq!(mode("live/photos/2026"), mode("uploads/photos/2026"));
}

#[test]
fn a_pattern_that_names_nothing_is_said() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    let nothing = world.run(&["restore", "uploads", "--include", "/srv/uploads/notes.txt", "--target", "out"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(errors(&nothing).contains("/srv/uploads/notes.txt: nothing in the snapshot"), "{}", errors(&nothing));
    let some = ["restore", "uploads", "--include", "notes.txt", "--include", "*.png", "--target", "out"];
    let some = world.run(&some);
    assert_eq!(some.status.code(), Some(1));
    assert!(errors(&some).contains("*.png") && !errors(&some).contains("notes.txt:"), "{}", errors(&some));
    assert!(world.path("out/notes.txt").exists());
    world.ok(&["restore", "uploads", "--include", "cat.jpg", "--include", "photos", "--target", "all"]);
}

#[test]
fn a_stream_deletes_nothing() {
    let world = World::made();
    world.ok(&["snapshot", "--name", "db", "--command", "--", "echo", "dump"]);
    std::fs::create_dir(world.path("out")).expect("a folder");
    std::fs::write(world.path("out/mine"), "mine").expect("a file");
    let output = world.run(&["restore", "db", "--target", "out", "--delete-extra", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(errors(&output).contains("nothing is deleted"), "{}", said(&output));
    assert!(world.path("out/mine").exists() && world.path("out/db").exists());
}

#[test]
fn paths_given_in_any_form_are_the_same_paths() {
    let world = World::made();
    std::fs::create_dir_all(world.path("uploads/other")).expect("a folder");
    let forms: [&[&str]; 4] = [&["uploads"], &["./uploads/"], &["uploads/../uploads"], &["other/../uploads/photos/.."]];
    std::fs::create_dir_all(world.path("other")).expect("a folder");
    for form in forms {
        world.ok(&[&["snapshot", "--name", "same"], form].concat());
        std::fs::write(world.path("uploads/extra"), "x").expect("a file");
        std::fs::write(world.path("beside"), "x").expect("a file");
        let output = world.run(&["restore", "same", "--target", "uploads", "--delete-extra", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{form:?}: {}", said(&output));
        assert!(!world.path("uploads/extra").exists() && world.path("beside").exists(), "{form:?}: {}", said(&output));
    }
}

fn as_nobody(world: &World, words: &[&str]) -> Output {
    world.as_nobody(words).output().expect("setpriv starts")
}

#[test]
fn gaps_are_told_and_never_deleted() {
    let test = "gaps_are_told_and_never_deleted";
    if !is_root() {
        return skipped(test, "only root can be somebody else");
    }
    let world = World::empty();
    std::fs::create_dir_all(world.path("source/folder")).expect("folders");
    for name in ["seen", "secret", "folder/secret"] {
        std::fs::write(world.path("source").join(name), "x").expect("a file");
    }
    for name in ["secret", "folder/secret"] {
        std::fs::set_permissions(world.path("source").join(name), PermissionsExt::from_mode(0o600)).expect("a mode");
    }
    assert_eq!(as_nobody(&world, &["init"]).status.code(), Some(0));
    let taken = as_nobody(&world, &["snapshot", "source"]);
    assert_eq!(taken.status.code(), Some(3), "{}", said(&taken));
    let restored = as_nobody(&world, &["restore", "source", "--target", "nobody/out"]);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert!(errors(&restored).contains("2 entries could not be read"), "{}", said(&restored));
    let quiet = as_nobody(&world, &["restore", "source", "--target", "nobody/out", "--quiet"]);
    assert_eq!(said(&quiet), "");
    let owner = |words: &[&str]| {
        let mut command = world.command(words);
        command.env("VAULT_REPOSITORY", world.path("nobody/repository")).output().expect("vault starts")
    };
    std::fs::remove_file(world.path("source/seen")).expect("a file");
    let back = owner(&["restore", "source", "--target", "source", "--delete-extra", "--yes"]);
    assert!(world.path("source/seen").exists(), "{}", said(&back));
    assert!(world.path("source/secret").exists() && world.path("source/folder/secret").exists(), "{}", said(&back));
}

#[test]
fn what_only_root_may_make_is_named_and_ends_with_1() {
    let test = "what_only_root_may_make_is_named_and_ends_with_1";
    if !is_root() {
        return skipped(test, "only root can be somebody else");
    }
    let world = World::empty();
    std::fs::create_dir(world.path("source")).expect("a folder");
    std::fs::write(world.path("source/file"), "x").expect("a file");
    let kind = rustix::fs::FileType::CharacterDevice;
    let made = rustix::fs::mknodat(rustix::fs::CWD, world.path("source/null"), kind, 0o666.into(), 0x103);
    if made.is_err() {
        return skipped(test, "devices can't be made here");
    }
    assert_eq!(as_nobody(&world, &["init"]).status.code(), Some(0));
    assert_eq!(as_nobody(&world, &["snapshot", "source"]).status.code(), Some(0));
    for is_first in [true, false] {
        let output = as_nobody(&world, &["restore", "source", "--target", "nobody/out"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(errors(&output).contains("nobody/out/null: a device"), "{}", said(&output));
        assert_eq!(errors(&output).contains("only root can give them back"), is_first, "{}", said(&output));
        assert!(world.path("nobody/out/file").exists());
    }
}

/// One capability, to bind low ports, as the kernel stores it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn what_a_stranger_took_comes_without_devices_and_rights_of_others() {
    let world = World::made();
    let made = |name: &str, kind| {
        rustix::fs::mknodat(rustix::fs::CWD, world.path("uploads").join(name), kind, 0o644.into(), 0x103).is_ok()
    };
    assert!(made("pipe", rustix::fs::FileType::Fifo));
    let not_made = 1 + u64::from(made("null", rustix::fs::FileType::CharacterDevice));
    let mode = |path: &str, mode| std::fs::set_permissions(world.path(path), PermissionsExt::from_mode(mode));
    mode("uploads/notes.txt", 0o6755).expect("a mode");
    mode("uploads/photos", 0o2755).expect("a mode");
    let attribute = |path: &str| {
        let mut value = [0; 64];
        rustix::fs::getxattr(world.path(path), "security.capability", &mut value).is_ok()
    };
    let (cat, flags) = (world.path("uploads/photos/2026/cat.jpg"), rustix::fs::XattrFlags::empty());
    let is_capable = rustix::fs::setxattr(cat, "security.capability", &CAPABILITY, flags).is_ok();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["restore", "uploads", "--target", "trusted"]);
    let mode = |path: &str| std::fs::metadata(world.path(path)).expect("it").mode() & 0o7777;
    assert_eq!((mode("trusted/notes.txt"), mode("trusted/photos")), (0o6755, 0o2755));
    assert!(world.path("trusted/pipe").exists() && attribute("trusted/photos/2026/cat.jpg") == is_capable);
    let words = ["restore", "uploads", "--target", "out", "--no-devices", "--no-setuid", "--delete-extra", "--yes"];
    for run in 0..2 {
        let printed: Value = serde_json::from_str(&world.ok(&[&words[..], &["--json"]].concat())).expect("JSON");
        assert_eq!(printed["not_made"], not_made, "{printed}");
        assert_eq!(printed["without_setuid"], 2 + u64::from(is_capable), "{printed}");
        assert_eq!(printed["files"], if run == 0 { 2 } else { 0 }, "{printed}");
        assert_eq!((mode("out/notes.txt"), mode("out/photos")), (0o755, 0o755));
        assert!(!world.path("out/null").exists() && !attribute("out/photos/2026/cat.jpg"));
        // no pipe of the snapshot, and nothing extra either
        assert_eq!(world.path("out/pipe").exists(), run == 1);
        std::fs::write(world.path("out/pipe"), "mine").expect("a file");
    }
    let output = world.run(&words);
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(" not made (--no-devices)") && said.contains(" here (--no-setuid)"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(errors(&world.run(&[&words[..], &["--quiet"]].concat())), "");
}

/// Runs vault with a small file system on `small`.
fn on_small_disk(world: &World, size: &str, script: &str) -> Output {
    let small = world.path("small");
    std::fs::create_dir_all(&small).expect("a folder");
    let line = format!("mount -t tmpfs -o {size} none {} && {script}", small.display());
    let mut command = world.command(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(Into::into))).collect();
    command = Command::new("unshare");
    for (name, value) in environment {
        let value: Option<std::ffi::OsString> = value;
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["-m", "sh", "-c", &line]).env("V", env!("CARGO_BIN_EXE_vault"));
    command.current_dir(world.path("")).output().expect("unshare starts")
}

fn may_mount(test: &str) -> bool {
    let mounted = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let may = mounted.is_ok_and(|output| output.status.success());
    if !may {
        skipped(test, "nothing can be mounted here (needs root)");
    }
    may
}

fn fill(folder: &Path, files: usize, bytes: usize) {
    std::fs::create_dir_all(folder).expect("a folder");
    for number in 0..files {
        let content: Vec<u8> = (0..bytes).map(|at| ((at * 31 + number * 7919) >> 3) as u8).collect();
        std::fs::write(folder.join(format!("f{number:03}")), content).expect("a file");
    }
}

#[test]
fn a_disk_without_room_is_one_line_before_or_during_the_run() {
    if !may_mount("a_disk_without_room_is_one_line_before_or_during_the_run") {
        return;
    }
    let world = World::empty();
    world.init();
    fill(&world.path("big"), 200, 50_000);
    fill(&world.path("many"), 300, 1);
    world.ok(&["snapshot", "big"]);
    world.ok(&["snapshot", "many"]);
    let one_line = |output: &Output, says: &[&str]| {
        assert_eq!(output.status.code(), Some(1), "{}", said(output));
        let text = errors(output);
        assert_eq!(text.lines().count(), 1, "{text}");
        says.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text}"));
    };
    let before = on_small_disk(&world, "size=4m", "\"$V\" restore big --target small/out; C=$?; ls small >&2; exit $C");
    one_line(&before, &["needs 10.2 MiB", "4.0 MiB are free", "6.2 MiB are missing", "--ignore-room"]);
    let entries = on_small_disk(&world, "size=9m,nr_inodes=100", "\"$V\" restore many --target small/out");
    one_line(&entries, &["needs 300 new entries", "only 9", "are free"]);
    // told to go on all the same, it stops at the first write that fails, and goes on when there is room
    let during = "\"$V\" restore big --target small/out --ignore-room; C=$?; find small -name '.vault*' >&2
        mount -o remount,size=20m small && \"$V\" restore big --target small/out && diff -r big small/out >&2; exit $C";
    let during = on_small_disk(&world, "size=4m", during);
    one_line(&during, &["the disk of", "is full", "are still needed", "make room for", "goes on where it stopped"]);
    // what is there already needs no room, nor do holes
    let sparse = std::fs::File::create(world.path("sparse")).expect("a file");
    sparse.set_len(1 << 40).expect("a hole");
    world.ok(&["snapshot", "sparse"]);
    let fits = "\"$V\" restore big --target small/out && \"$V\" restore big --target small/out && \"$V\" restore sparse --target small";
    let fits = on_small_disk(&world, "size=11m", fits);
    assert_eq!(fits.status.code(), Some(0), "{}", said(&fits));
}

#[test]
fn damage_is_told_by_file_in_plain_words_and_its_reason_once() {
    let world = World::made();
    for number in 0..30u32 {
        let bytes: Vec<u8> =
            (0..2000u32).flat_map(|at| (at ^ number << 16).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(world.path(&format!("uploads/power-{number}.c")), bytes).expect("a file");
    }
    world.ok(&["snapshot", "uploads"]);
    for shard in std::fs::read_dir(world.path("repository/packs/d")).expect("packs") {
        for pack in std::fs::read_dir(shard.expect("a folder").path()).expect("packs") {
            let path = pack.expect("a pack").path();
            let length = std::fs::metadata(&path).expect("a pack").len();
            std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, vec![0; length as usize])).expect("a pack");
        }
    }
    let restore = |words: &[&str]| {
        let output = world.run(&[&["restore", "uploads", "--target", "out"], words].concat());
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        output
    };
    let said = errors(&restore(&[]));
    let named = said.lines().filter(|line| line.ends_with("its content is damaged in the repository")).count();
    assert_eq!(named, 20, "{said}");
    assert!(said.contains("vault: … and 12 more; -v names all\n"), "{said}");
    assert!(!said.contains("blob") && !said.contains("frame") && !said.contains("/out/"), "{said}");
    for word in ["damaged in the repository: pack ", "`vault repair --dry-run`", "`vault snapshots uploads`"] {
        assert_eq!(said.matches(word).count(), 1, "{word}: {said}");
    }
    assert!(said.contains("the restore is not complete: 32 entries failed"), "{said}");
    let said = errors(&restore(&["--verbose"]));
    assert_eq!(said.matches(": blob ").count(), 32, "{said}");
    let output = restore(&["--json"]);
    let restored: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(restored["failed"].as_array().map(Vec::len), Some(32), "{restored}");
}
