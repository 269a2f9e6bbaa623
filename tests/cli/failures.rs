//! What goes wrong gets one line that says what, why and what next, and the exit code that scripts rely on. Nothing
//! that was stored before is lost.

use crate::{World, assert_fails, errors, is_root};
use std::io::Write;
use std::process::Command;

#[test]
fn the_wrong_password_is_12() {
    let world = World::made();
    let mut command = world.command(&["snapshots"]);
    assert_fails(&command.env("VAULT_PASSWORD", "wrong").output().expect("it runs"), 12, &["wrong password"]);
    let mut command = world.command(&["snapshots"]);
    assert_fails(&command.env_remove("VAULT_PASSWORD").output().expect("it runs"), 2, &["--password-file"]);
    std::fs::write(world.path("password"), "correct horse\n").expect("a file");
    let mut command = world.command(&["snapshots", "--password-file", "password"]);
    assert!(command.env("VAULT_PASSWORD", "wrong").status().expect("it runs").success());
    let mut command = world.command(&["snapshots", "--password-command", "cat password"]);
    assert!(command.env_remove("VAULT_PASSWORD").status().expect("it runs").success());
}

#[test]
fn no_repository_is_10_in_all_its_forms() {
    let world = World::empty();
    world.fails(&["snapshots"], 10, &["no repository at", "vault init --repository"]);
    std::fs::create_dir(world.path("repository")).expect("a folder");
    world.fails(&["snapshots"], 10, &["no repository at"]);
    std::fs::write(world.path("repository/holiday.txt"), "sun").expect("a file");
    world.fails(&["snapshots"], 10, &["is not a vault repository"]);
    world.fails(&["init"], 1, &["not empty"]);
    let world = World::made();
    for name in ["config", "config.copy"] {
        std::fs::remove_file(world.path("repository").join(name)).expect("it was there");
    }
    world.fails(&["snapshots"], 10, &["half-made", "remove"]);
    world.fails(&["init"], 10, &["half-made", "remove"]);
}

#[test]
fn a_newer_format_asks_for_an_update() {
    let world = World::made();
    let changed = ["config", "config.copy"].into_iter().all(|name| {
        let path = world.path("repository").join(name);
        let mut bytes = std::fs::read(&path).expect("a config");
        // the version is the first byte of value 1 after the magic
        let at = bytes.iter().position(|byte| *byte == 1).expect("a version");
        bytes[at] = 2;
        std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, bytes)).is_ok()
    });
    assert!(changed);
    world.fails(&["snapshots"], 1, &["version 2", "update vault"]);
}

#[test]
fn damage_is_20_even_where_it_keeps_the_repository_from_opening() {
    let flip = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).expect("an object");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(path).and_then(|()| std::fs::write(path, bytes)).expect("a damaged object");
    };
    let first = |world: &World, folder: &str| {
        let mut found = vec![world.path("repository").join(folder)];
        while found.last().is_some_and(|path| path.is_dir()) {
            let inner = std::fs::read_dir(found.pop().expect("a folder")).expect("entries");
            found.extend(inner.map(|entry| entry.expect("an entry").path()));
        }
        found.pop().expect("an object")
    };
    for (folder, flags) in
        [("packs", "--read-data"), ("snapshots", "--quiet"), ("index", "--quiet"), ("keys", "--quiet")]
    {
        let world = World::made();
        world.ok(&["snapshot", "uploads"]);
        assert!(world.ok(&["check", "--scrub"]).contains("every object is what its name says"));
        let path = first(&world, folder);
        flip(&path);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        for words in [["check", flags], ["check", "--scrub"]] {
            let output =
                world.command(&words).env_remove(if words[1] == "--scrub" { "VAULT_PASSWORD" } else { "X" }).output();
            let output = output.expect("it runs");
            assert_eq!(output.status.code(), Some(20), "{folder} {words:?}: {}", errors(&output));
            assert!(errors(&output).contains(&name), "{folder} {words:?}: {}", errors(&output));
        }
    }
}

#[test]
fn what_is_not_there_is_1_and_nonsense_is_2() {
    let world = World::made();
    world.fails(&["restore", "nothing", "--target", "out"], 1, &["nothing", "vault snapshots"]);
    world.fails(&["snapshot", "gone"], 1, &["gone", "No such file"]);
    world.ok(&["snapshot", "uploads"]);
    world.fails(&["ls", "uploads:gone"], 1, &["gone", "vault ls"]);
    world.fails(&["ls", "uploads@1 year ago"], 1, &["vault snapshots"]);
    world.fails(&["snapshot", "--bogus"], 2, &["--bogus", "--help"]);
    world.fails(&["snapshot"], 2, &["nothing to snapshot"]);
    world.fails(&["snapshot", "uploads", "repository"], 2, &["--name"]);
    world.fails(&["snapshot", "--command", "--", "true"], 2, &["--name"]);
    world.fails(&["restore", "uploads"], 2, &["--target"]);
    world.fails(&["snapshot", "uploads", "--reread", "3/2"], 2, &["1/20"]);
    world.fails(&["snapshot", "uploads", "--time", "2100-01-01"], 2, &["still to come; see `vault snapshot --help`"]);
    world.fails(&["check", "--read-data-subset", "3/2"], 2, &["1/7, 10% or 5GB"]);
    world.fails(&["check", "--scrub", "--read-data"], 2, &["--read-data"]);
    world.fails(&["check", "--max-age", "soon"], 2, &["7d"]);
    assert_eq!(world.count(), 1);
}

#[test]
fn a_repository_that_refuses_writes_says_so() {
    let world = World::made();
    let repository = world.path("repository");
    let mut command = if is_root() {
        let program = env!("CARGO_BIN_EXE_vault");
        let reachable = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", program, "--version"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !reachable {
            // Straight to the terminal: the harness would swallow it.
            let why = format!("setpriv can't run {program} as another user");
            return drop(writeln!(std::io::stderr(), "SKIPPED a_repository_that_refuses_writes_says_so: {why}"));
        }
        // the other user may read all of it, and write none of it
        for argument in [world.path("").as_path(), &repository] {
            assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(argument).status().expect("chmod").success());
        }
        let inner = world.command(&["snapshot", "uploads"]);
        let mut outer = Command::new("setpriv");
        outer
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(inner.get_program())
            .args(inner.get_args());
        outer.env("VAULT_REPOSITORY", &repository).env("VAULT_PASSWORD", "correct horse").current_dir(world.path(""));
        outer
    } else {
        assert!(Command::new("chmod").args(["-R", "a-w"]).arg(&repository).status().expect("chmod").success());
        world.command(&["snapshot", "uploads"])
    };
    let output = command.output().expect("it runs");
    assert!(Command::new("chmod").args(["-R", "u+w"]).arg(&repository).status().expect("chmod").success());
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("ermission"), "{}", errors(&output));
    assert_eq!(world.count(), 0);
}

#[test]
fn a_full_disk_loses_nothing() {
    let world = World::empty();
    let disk = world.path("repository");
    std::fs::create_dir(&disk).expect("a folder");
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&disk)
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        // Straight to the terminal: the harness would swallow it.
        let why = "a file system of a fixed size needs root and mount";
        return drop(writeln!(std::io::stderr(), "SKIPPED a_full_disk_loses_nothing: {why}"));
    }
    let outcome = std::panic::catch_unwind(|| {
        world.ok(&["init"]);
        std::fs::write(world.path("small"), "small\n").expect("a file");
        world.ok(&["snapshot", "small"]);
        let script = "head -c 8000000 /dev/urandom";
        let output = world.run(&["snapshot", "--name", "big", "--command", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        assert!(errors(&output).contains("free some space"), "{}", errors(&output));
        assert_eq!(world.ok(&["restore", "small:small", "--stdout"]), "small\n");
    });
    assert!(Command::new("umount").arg(&disk).status().expect("umount").success());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// As a disk that is unmounted shows the folder below: nothing goes there, and the run does not say that all is well.
#[test]
fn a_repository_that_is_replaced_in_the_middle_of_a_run_ends_it() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    for (script, words) in [
        ("mv repository away && mkdir -m 700 repository && echo data", "another folder"),
        ("mv repository away && echo data", "is missing"),
    ] {
        let output = world.run(&["snapshot", "--name", "db", "--command", "--", "sh", "-c", script]);
        // the journal record can't be written either, and says so
        let said = errors(&output);
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
        if let Ok(mut entries) = std::fs::read_dir(world.path("repository")) {
            assert!(entries.next().is_none(), "something went into the other folder");
            std::fs::remove_dir(world.path("repository")).expect("an empty folder");
        }
        std::fs::rename(world.path("away"), world.path("repository")).expect("the repository");
        world.ok(&["check"]);
        assert_eq!(world.count(), 1);
    }
}

/// A folder that its group shares serves all of it, whoever was first and whatever the umask.
#[test]
fn what_is_put_into_a_shared_folder_is_shared() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::empty();
    let root = world.path("repository");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o2770)).expect("rights");
    std::fs::create_dir(root.join("lost+found")).expect("a folder");
    std::fs::create_dir_all(world.path("source")).expect("a folder");
    std::fs::write(world.path("source/file"), "content").expect("a file");
    let vault = env!("CARGO_BIN_EXE_vault");
    for words in ["init", "snapshot source", "check", "prune --grace 0s --yes"] {
        let plain = world.command(&[]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask 077; exec '{vault}' {words}")]).current_dir(world.path(""));
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{words}: {}", errors(&output));
    }
    let mut folders = vec![root.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (meta, path) = (entry.metadata().expect("it is there"), entry.path());
            let mode = meta.permissions().mode() & 0o7777;
            if entry.file_name() == "lost+found" {
                continue;
            }
            assert_eq!(mode, if meta.is_dir() { 0o2770 } else { 0o660 }, "{}", path.display());
            files += u32::from(meta.is_file());
            folders.extend(meta.is_dir().then_some(path));
        }
    }
    assert!(files > 5, "{files} files");
}
