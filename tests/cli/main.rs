//! The command line keeps its promises: real commands on real folders, their words, their JSON and their exit codes.
//! Each test has a repository of its own. What this machine lacks is named with a SKIPPED line, and with CI set in the
//! environment a missing PostgreSQL is a failure.

#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "a test ends at the first surprise")]

mod alerted;
mod canaries;
#[allow(dead_code, reason = "the tests of sources need more of it")]
#[path = "../sources/cluster.rs"]
mod cluster;
mod complete;
mod contained;
mod copied;
mod database;
mod domains;
mod durability;
mod examples;
mod failures;
mod forget;
#[allow(dead_code, reason = "the tests of backends need more of it")]
#[path = "../backends/inbox.rs"]
mod inbox;
mod json;
mod json_page;
mod keys;
mod kill;
mod look;
mod older;
mod output;
mod packaged;
mod pasted;
mod plan;
mod planned;
mod plans;
#[allow(dead_code, reason = "the tests of sources need more of it")]
#[path = "../sources/private.rs"]
mod private;
mod processes;
mod progress;
mod prune;
mod restored;
#[allow(dead_code, reason = "the tests of backends need more of it")]
#[path = "../backends/servers.rs"]
mod servers;
mod signals;
mod sources;
mod spared;
#[allow(dead_code, reason = "the tests of backends need more of it")]
#[path = "../backends/web.rs"]
mod web;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use vault::backend::{Backend, BackendOptions, Location};
use vault::repository::{Access, NewRepository, Options, Repository};
use vault::runtime::Runtime;
use vault_format::slot::KDF_FLOOR;

/// What `VAULT_PASSWORD` says.
pub const PASSWORD: &str = "correct horse";

/// A repository with everything around it.
pub struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// A place without a repository.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a folder") }
    }

    /// A place with a new repository and a small folder to back up.
    pub fn made() -> Self {
        let world = Self::empty();
        let uploads = world.path("uploads");
        std::fs::create_dir_all(uploads.join("photos/2026")).expect("folders");
        std::fs::write(uploads.join("photos/2026/cat.jpg"), vec![7u8; 300_000]).expect("a file");
        std::fs::write(uploads.join("notes.txt"), "hello\n").expect("a file");
        std::os::unix::fs::symlink("notes.txt", uploads.join("link")).expect("a link");
        world.init();
        world
    }

    /// Makes the repository as `vault init` does, with the cheapest password that a reader accepts: each command
    /// derives its key anew, and at the price of `vault init` that would be most of what these tests do.
    pub fn init(&self) {
        self.make("repository", NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(PASSWORD.as_bytes()) });
    }

    /// Makes a repository in this folder.
    pub fn make(&self, name: &str, new: NewRepository<'_>) {
        let (backend, runtime) = backend(&self.path(name), true);
        Repository::init(backend, runtime, Options::default(), new).expect("a repository");
    }

    /// The repository as the library sees it.
    pub fn open(&self) -> Repository {
        open(&self.path("repository"), Options::default())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command, not yet started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vault"));
        for name in ["VAULT_PASSWORD_FILE", "VAULT_PASSWORD_COMMAND", "VAULT_KEY_FILE"] {
            command.env_remove(name);
        }
        command.env("VAULT_REPOSITORY", self.path("repository")).env("VAULT_PASSWORD", PASSWORD);
        command.env("VAULT_CACHE_DIR", self.path("cache"));
        command.args(words).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// A copy of the program as nobody, who owns the folder of that name, with the repository in it. Only root can do that.
    pub fn as_nobody(&self, words: &[&str]) -> Command {
        let program = self.path("vault");
        if !program.exists() {
            // what a child of another test would hold open for writing could not be run
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_vault")).arg(&program).status();
            assert!(copied.expect("cp starts").success(), "the program is copied");
        }
        for path in [self.path(""), program.clone()] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a mode");
        }
        let place = self.path("nobody");
        std::fs::create_dir_all(&place).expect("a folder");
        std::os::unix::fs::chown(&place, Some(65534), Some(65534)).expect("an owner");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(words);
        command.env("VAULT_REPOSITORY", place.join("repository")).env("VAULT_PASSWORD", PASSWORD);
        command.env("VAULT_CACHE_DIR", place.join("cache")).current_dir(self.path(""));
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("vault starts")
    }

    /// Runs a command that must succeed, and gives its standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", errors(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must fail with this code, in one line that holds these words.
    pub fn fails(&self, words: &[&str], code: i32, says: &[&str]) -> String {
        assert_fails(&self.run(words), code, says)
    }

    pub fn count(&self) -> usize {
        let listing: serde_json::Value = serde_json::from_str(&self.ok(&["snapshots", "--json"])).expect("JSON");
        listing["snapshots"].as_array().expect("a list").len()
    }
}

/// The repository in a folder as the library sees it.
pub fn open(folder: &Path, options: Options) -> Repository {
    let (backend, runtime) = backend(folder, false);
    Repository::open(backend, runtime, options, Access::Password(PASSWORD.as_bytes())).expect("it opens")
}

fn backend(folder: &Path, create: bool) -> (Backend, Runtime) {
    let runtime = Runtime::system(1).expect("randomness");
    let location = Location::parse(folder.to_str().expect("a name")).expect("a location");
    let options = BackendOptions { create, ..BackendOptions::default() };
    (Backend::open(&location, &options, &runtime).expect("a folder"), runtime)
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn assert_fails(output: &Output, code: i32, says: &[&str]) -> String {
    let text = errors(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(text.starts_with("vault: "), "{text}");
    says.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text}"));
    text
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn diff(left: &Path, right: &Path) {
    let output = Command::new("diff").args(["-r", "--no-dereference"]).args([left, right]).output().expect("diff");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn piped(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vault starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_folder_goes_in_and_comes_back() {
    let world = World::made();
    let said = world.ok(&["snapshot", "uploads", "--tag", "first"]);
    assert!(said.contains("of uploads: 2 files"), "{said}");
    let said = world.ok(&["snapshot", "uploads"]);
    assert!(said.contains("0 B new"), "{said}");
    assert_eq!(world.ok(&["snapshot", "uploads", "--quiet"]), "");
    assert!(world.ok(&["snapshots"]).contains("3 snapshots"));
    assert!(world.ok(&["snapshots", "--tag", "first"]).contains("1 snapshot\n"));
    assert_eq!(world.ok(&["ls", "uploads"]), "link\nnotes.txt\nphotos/\n");
    assert!(world.ok(&["ls", "latest:photos", "--recursive"]).contains("photos/2026/cat.jpg\n"));
    assert!(world.ok(&["ls", "uploads", "--long"]).contains("link -> notes.txt"));
    world.ok(&["restore", "uploads", "--target", "out"]);
    diff(&world.path("uploads"), &world.path("out"));
    world.ok(&["restore", "uploads@now", "--target", "out"]);
    world.ok(&["restore", "uploads:photos", "--target", "part", "--verify"]);
    diff(&world.path("uploads/photos"), &world.path("part"));
    assert!(world.ok(&["check"]).contains("3 snapshots"));
    assert!(world.ok(&["check", "--read-data"]).starts_with("no damage:"));
}

#[test]
fn what_exists_is_only_replaced_when_that_is_said_twice() {
    let world = World::made();
    world.ok(&["snapshot", "uploads"]);
    world.ok(&["restore", "uploads", "--target", "out"]);
    std::fs::write(world.path("out/notes.txt"), "changed since\n").expect("a file");
    let output = world.run(&["restore", "uploads", "--target", "out"]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("notes.txt"), "{}", errors(&output));
    world.fails(&["restore", "uploads", "--target", "out", "--overwrite", "always"], 2, &["--yes"]);
    assert_eq!(std::fs::read(world.path("out/notes.txt")).expect("it"), b"changed since\n");
    world.ok(&["restore", "uploads", "--target", "out", "--overwrite", "if-changed", "--yes"]);
    diff(&world.path("uploads"), &world.path("out"));
}

#[test]
fn a_stream_goes_in_and_comes_back() {
    let world = World::made();
    let output = piped(world.command(&["snapshot", "--stdin", "app.sql"]), b"create table t();\n");
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(world.ok(&["restore", "app.sql:app.sql", "--stdout"]), "create table t();\n");
    let output = piped(world.command(&["snapshot", "--stdin", "app.sql"]), b"");
    assert_fails(&output, 1, &["app.sql", "no output", "--allow-empty"]);
    assert_eq!(world.count(), 1);
}

#[test]
fn a_command_that_fails_or_says_nothing_leaves_no_snapshot() {
    let world = World::made();
    let script = "echo partial; echo 'the disk is gone' >&2; exit 7";
    world.fails(
        &["snapshot", "--name", "db", "--command", "--", "sh", "-c", script],
        1,
        &["db", "7", "the disk is gone"],
    );
    world.fails(&["snapshot", "--name", "db", "--command", "--", "true"], 1, &["true", "no output"]);
    world.fails(&["snapshot", "--name", "db", "--command", "--", "/no/such/program"], 1, &["/no/such/program"]);
    assert_eq!(world.count(), 0);
    world.ok(&["snapshot", "--name", "db", "--command", "--", "echo", "dump"]);
    assert_eq!(world.ok(&["restore", "db:db", "--stdout"]), "dump\n");
}

#[test]
fn the_recovery_sheet_is_written_once_and_printed_again() {
    let world = World::empty();
    world.ok(&["init", "--sheet", "sheet.txt"]);
    let sheet = std::fs::read_to_string(world.path("sheet.txt")).expect("a sheet");
    assert!(sheet.contains("recovery sheet"));
    assert_eq!(world.ok(&["key", "sheet"]), sheet);
}
