//! The zoo goes through the real program and a repository, as root and as an ordinary user, and comes back equal. An
//! unchanged tree is backed up without opening one of its files.

use crate::copy::copy_program;
use crate::zoo;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::compare::compare;
use testkit::world::{PASSWORD, cheap};
use vault::backend::{Backend, BackendOptions, Location};
use vault::repository::{Options, Repository};
use vault::runtime::Runtime;

pub fn program() -> PathBuf {
    // an ordinary user may not reach the build folder, and is given a copy
    std::env::var_os("VAULT_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_vault").into(), PathBuf::from)
}

/// Makes a repository whose password costs each command nothing: at the price of `vault init` the derivation of keys
/// would be most of what these tests do.
pub fn init(place: &Path) {
    let runtime = Runtime::system(1).unwrap();
    let location = Location::parse(place.join("repository").to_str().unwrap()).unwrap();
    let options = BackendOptions { create: true, ..BackendOptions::default() };
    let backend = Backend::open(&location, &options, &runtime).unwrap();
    Repository::init(backend, runtime, Options::default(), cheap()).unwrap();
}

pub fn vault(place: &Path, words: &[&str], paths: &[&Path]) -> Output {
    let paths = paths.iter().map(OsString::from);
    let words = words.iter().map(OsString::from).chain(paths);
    let command = &mut Command::new(program());
    command
        .args(words)
        .env("VAULT_REPOSITORY", place.join("repository"))
        .env("VAULT_PASSWORD", OsStr::from_bytes(PASSWORD));
    command.env("VAULT_CACHE_DIR", place.join("cache"));
    command.env_remove("VAULT_PASSWORD_FILE").current_dir("/").output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn zoo_goes_through_a_repository() {
    let is_root = rustix::process::geteuid().is_root();
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    zoo::build(&from, &zoo::Zoo::default());
    init(place.path());
    let taken = vault(place.path(), &["snapshot", "--name", "zoo"], &[&from]);
    let expected = if is_root { 0 } else { 3 };
    assert_eq!(taken.status.code(), Some(expected), "{}", text(&taken));
    assert_eq!(text(&taken).contains("from/unreadable: "), !is_root, "{}", text(&taken));
    let restored = vault(place.path(), &["restore", "zoo", "--verify", "--target"], &[&to]);
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored));
    if !is_root {
        std::fs::remove_file(from.join("unreadable")).unwrap();
    }
    std::fs::remove_file(from.join("socket")).unwrap();
    zoo::set_mtime(&from, 1_100_000_000, 2);
    let differences = compare(&from, &to);
    assert!(differences.is_empty(), "{differences:#?}");
    let again = vault(place.path(), &["restore", "zoo", "--target"], &[&to]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert!(compare(&from, &to).is_empty());
    let checked = vault(place.path(), &["check", "--read-data"], &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    for root in [&from, &to] {
        for folder in ["read-only", "read-only/inner"] {
            std::fs::set_permissions(root.join(folder), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        }
    }
}

#[test]
fn the_zoo_goes_through_a_repository() {
    zoo_goes_through_a_repository();
}

#[test]
fn the_zoo_of_an_ordinary_user_goes_through_a_repository() {
    if !rustix::process::geteuid().is_root() {
        return zoo_goes_through_a_repository();
    }
    let place = tempfile::tempdir().unwrap();
    let (tests, vault) = (place.path().join("files"), place.path().join("vault"));
    copy_program(&std::env::current_exe().unwrap(), &tests);
    copy_program(&program(), &vault);
    for path in [place.path(), &tests, &vault] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&tests)
        .args(["--exact", "program::the_zoo_goes_through_a_repository"])
        .env("VAULT_TEST_PROGRAM", &vault)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success() && text(&output).contains("1 passed"), "{}", text(&output));
}

#[test]
fn an_unchanged_tree_is_not_opened() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        // Straight to the terminal: the harness would swallow it.
        let name = "an_unchanged_tree_is_not_opened";
        return drop(writeln!(std::io::stderr(), "SKIPPED {name}: strace is not installed (apt-get install strace)"));
    }
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    std::fs::create_dir_all(source.join("below")).unwrap();
    for number in 0..50 {
        std::fs::write(source.join(format!("below/file-{number}.data")), vec![number; 5000]).unwrap();
    }
    // younger files are read again: they may change within one tick of their clock
    std::thread::sleep(std::time::Duration::from_millis(2100));
    init(place.path());
    assert!(vault(place.path(), &["snapshot"], &[&source]).status.success());
    let objects = || list(&place.path().join("repository"));
    let before = objects();
    let log = place.path().join("calls");
    let traced = Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&log)
        .arg(program())
        .arg("snapshot")
        .arg(&source)
        .env("VAULT_REPOSITORY", place.path().join("repository"))
        .env("VAULT_PASSWORD", OsStr::from_bytes(PASSWORD))
        .env("VAULT_CACHE_DIR", place.path().join("cache"))
        .output()
        .unwrap();
    assert!(traced.status.success(), "{}", text(&traced));
    let calls = std::fs::read_to_string(&log).unwrap();
    assert!(calls.contains("openat("), "strace saw nothing");
    assert!(!calls.contains(".data"), "a file of an unchanged tree was opened");
    let added: Vec<_> = objects().into_iter().filter(|object| !before.contains(object)).collect();
    let bytes: u64 = added.iter().map(|(_, size)| size).sum();
    assert!(added.len() <= 4 && bytes < 20_000, "{added:?}");
}

fn list(root: &Path) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { folders.push(entry.path()) } else { out.push((entry.path(), metadata.len())) }
        }
    }
    out
}
