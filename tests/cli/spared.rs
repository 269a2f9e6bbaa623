//! What a restore must not touch, whatever it is told to replace or to delete: the repository that it reads, the cache,
//! and what was never a part of the snapshot, however the address is written.

use crate::{World, errors};
use std::os::unix::fs::symlink;
use std::path::Path;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(path, text).expect("a file");
}

#[test]
fn the_repository_and_the_cache_stay_where_all_else_that_is_extra_goes() {
    let world = World::empty();
    world.init();
    write(&world.path("source/file"), "1");
    world.ok(&["snapshot", "source"]);
    write(&world.path("extra/deep/file"), "2");
    symlink("repository", world.path("other-name")).expect("a link");
    let back = world.ok(&["restore", "source", "--target", ".", "--delete-extra", "--yes"]);
    assert!(back.contains("deleted"), "{back}");
    assert!(!world.path("extra").exists() && world.path("file").exists());
    assert!(world.path("cache").exists(), "the cache stays");
    world.ok(&["check", "--read-data"]);
    // in a folder that goes, and under another name
    std::fs::create_dir_all(world.path("disk/usb/more")).expect("folders");
    std::fs::rename(world.path("repository"), world.path("disk/usb/repository")).expect("a move");
    symlink("disk/usb/repository", world.path("repository")).expect("a link");
    let words = ["restore", "source", "--target", ".", "--delete-extra", "--yes"];
    let output = world.run(&words);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("disk/usb/repository: it belongs to the repository"), "{}", errors(&output));
    assert!(!world.path("disk/usb/more").exists());
    world.ok(&["check", "--read-data"]);
}

#[test]
fn nothing_takes_the_place_of_the_repository() {
    for is_file in [true, false] {
        let world = World::empty();
        world.init();
        let name = if is_file { "source/repository" } else { "source/repository/snapshots/mine" };
        write(&world.path(name), "1");
        write(&world.path("source/beside"), "1");
        world.ok(&["snapshot", "source"]);
        for more in [&["--overwrite", "always"][..], &["--overwrite", "always", "--delete-extra"]] {
            let words = [&["restore", "source", "--target", ".", "--yes"], more].concat();
            let output = world.run(&words);
            assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
            assert!(errors(&output).contains("repository: it belongs to the repository"), "{}", errors(&output));
            assert!(world.path("beside").exists());
            world.ok(&["check", "--read-data"]);
        }
    }
}

#[test]
fn a_folder_around_the_repository_comes_back_around_it() {
    let world = World::empty();
    std::fs::create_dir(world.path("disk")).expect("a folder");
    let vault = |words: &[&str]| {
        let mut command = world.command(words);
        let output = command.env("VAULT_REPOSITORY", world.path("disk/repository")).output().expect("vault starts");
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", errors(&output));
    };
    vault(&["init"]);
    write(&world.path("disk/file"), "1");
    vault(&["snapshot", "disk"]);
    std::fs::remove_file(world.path("disk/file")).expect("a file");
    vault(&["restore", "disk", "--target", "disk", "--overwrite", "if-changed", "--delete-extra", "--yes"]);
    assert!(world.path("disk/file").exists());
    vault(&["check", "--read-data"]);
}

#[test]
fn no_restore_goes_into_the_repository_or_the_cache() {
    let world = World::empty();
    world.init();
    write(&world.path("source/file"), "1");
    world.ok(&["snapshot", "source"]);
    symlink("repository", world.path("link")).expect("a link");
    let cache = std::fs::read_dir(world.path("cache")).expect("a cache").next().expect("one").expect("a folder").path();
    let cache = cache.display().to_string();
    for target in ["repository", "repository/new/deep", "link", "link/new", "source/../repository", &cache] {
        let words = ["restore", "source", "--target", target, "--delete-extra", "--yes"];
        world.fails(&words, 1, &["belongs to the repository itself", "another target"]);
        world.fails(&["restore", "source", "--target", target], 1, &["belongs to the repository itself"]);
    }
    assert!(!world.path("repository/new").exists() && !world.path("repository/file").exists());
    world.ok(&["check", "--read-data"]);
}

#[test]
fn what_was_left_out_stays_however_the_address_is_written() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::empty();
    world.init();
    write(&world.path("s/sub/file"), "1");
    write(&world.path("s/sub/logs/log"), "1");
    let odd = world.path("s").join(std::ffi::OsStr::from_bytes(b"o\xffd"));
    write(&odd.join("file"), "1");
    write(&odd.join("logs/log"), "1");
    world.ok(&["snapshot", "s", "--exclude", "logs", "--exclude", "/sub/logs"]);
    world.ok(&["snapshot", "s", "--name", "rooted", "--exclude", "/sub/logs", "--exclude", "/o?d/logs"]);
    for name in ["s", "rooted"] {
        for path in ["sub", "./sub", "sub/.", "/./sub", "sub//./"] {
            let address = format!("{name}:{path}");
            world.ok(&["restore", &address, "--target", "s/sub", "--delete-extra", "--yes"]);
            assert!(world.path("s/sub/logs/log").exists(), "{address}");
        }
        let address = format!("{name}:o\\xffd");
        let mut command = world.command(&["restore", &address, "--delete-extra", "--yes", "--target"]);
        let output = command.arg(&odd).output().expect("vault starts");
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        assert!(odd.join("logs/log").exists(), "{address}");
    }
}

#[test]
fn a_link_on_the_way_to_what_is_restored_is_never_replaced() {
    let world = World::empty();
    world.init();
    for name in ["root/etc/conf", "root/lib/modules/m", "root/lib/firmware/f"] {
        write(&world.path(name), "saved");
    }
    world.ok(&["snapshot", "--name", "system", "root/etc", "root/lib/modules", "root/lib/firmware/f"]);
    std::fs::create_dir(world.path("root/usr")).expect("a folder");
    std::fs::rename(world.path("root/lib"), world.path("root/usr/lib")).expect("a move");
    write(&world.path("root/usr/lib/libc"), "needed");
    symlink("usr/lib", world.path("root/lib")).expect("a link");
    let whole: &[&str] = &["system"];
    for (what, advice) in
        [(whole, "ADDRESS:lib/firmware/f"), (&["system", "--include", "/lib/modules"], "ADDRESS:lib/modules")]
    {
        for policy in ["never", "if-changed", "always"] {
            write(&world.path("root/etc/conf"), "changed since");
            let more = ["--target", "root", "--overwrite", policy, "--delete-extra", "--yes"];
            let words = [&["restore"], what, &more].concat();
            let said = errors(&world.run(&words));
            assert!(said.contains("root/lib: it is a link here") && said.contains(advice), "{said}");
            assert!(world.path("root/lib").is_symlink() && world.path("root/lib/libc").exists(), "{said}");
            let is_restored = what.len() == 1 && policy != "never";
            let conf = std::fs::read_to_string(world.path("root/etc/conf")).expect("a file");
            assert_eq!(conf == "saved", is_restored, "all else is restored: {said}");
            assert_eq!(world.run(&words).status.code(), Some(1));
        }
    }
    std::fs::remove_dir_all(world.path("root/lib/modules")).expect("a folder");
    world.ok(&["restore", "system:lib/modules", "--target", "root/lib/modules"]);
    assert!(world.path("root/usr/lib/modules/m").exists(), "the advice does it");
}

#[test]
fn what_a_rule_left_out_stays_though_the_rule_would_take_it_now() {
    let world = World::empty();
    world.init();
    for name in ["s/kept", "s/marked/.nobackup", "s/marked/deep/file", "s/also/marked/.nobackup"] {
        write(&world.path(name), "1");
    }
    write(&world.path("s/large"), &"x".repeat(5000));
    write(&world.path("s/cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55");
    let rules = ["--exclude-if-present", ".nobackup", "--exclude-larger-than", "4000", "--exclude-caches"];
    world.ok(&[&["snapshot", "s"], &rules[..]].concat());
    for marker in ["s/marked/.nobackup", "s/also/marked/.nobackup", "s/cache/CACHEDIR.TAG"] {
        std::fs::remove_file(world.path(marker)).expect("a marker");
    }
    write(&world.path("s/large"), "shrunk");
    write(&world.path("s/extra/file"), "new");
    for (address, target) in [("s:also", "s/also"), ("s", "s")] {
        world.ok(&["restore", address, "--target", target, "--delete-extra", "--yes"]);
        for name in ["s/kept", "s/marked/deep/file", "s/also/marked", "s/large", "s/cache"] {
            assert!(world.path(name).exists(), "{name} was never in the snapshot");
        }
    }
    assert!(!world.path("s/extra").exists());
}
