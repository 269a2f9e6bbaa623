//! The program in a container that holds nothing else: no home, no users, no zones, no certificates, nowhere to write but
//! one folder, and a user that nobody knows. It backs up to S3 over TLS, by certificates that it is given.

use crate::{PASSWORD, canaries::listen, errors, is_root};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// In no list of users.
const USER: u32 = 12345;

/// Says loudly that a test did not run; in CI that is a failure.
fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    // straight to the terminal: the harness would swallow it
    drop(writeln!(std::io::stderr(), "SKIPPED an_empty_container_backs_up_to_s3_by_certificates_of_its_own: {reason}"));
}

fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", errors(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An authority and what it signs: `ca.pem`, `cert.pem` and `key.pem` for 127.0.0.1.
fn certificates(folder: &Path) {
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority &&
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out asked.pem -subj /CN=server &&
        openssl x509 -req -in asked.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem";
    ok(Command::new("sh").args(["-c", script]).current_dir(folder));
}

/// S3 over TLS, which ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &Path, folder: &Path) -> Self {
        let port = testkit::port::free();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/s3.py");
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string()).args([folder.join("cert.pem"), folder.join("key.pem")]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says something");
        assert_eq!(line, "ready\n");
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A root with the program, what it is linked to, data, and one folder to write to.
fn container(root: &Path, ca: &Path) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vault"));
    // a static one is linked to nothing, and ldd says so by its exit code
    let linked = Command::new("ldd").arg(&program).output().expect("ldd starts");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
        let place = root.join(library.strip_prefix("/").expect("it begins so"));
        fs::create_dir_all(place.parent().expect("a folder")).expect("folders");
        fs::copy(library, place).expect("a library");
    }
    ok(Command::new("cp").arg(&program).arg(root.join("vault")));
    fs::copy(ca, root.join("ca.pem")).expect("a certificate");
    fs::create_dir(root.join("data")).expect("a folder");
    fs::write(root.join("data/notes.txt"), "hello\n").expect("a file");
    let table = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('create table t (a)'); \
                 d.executemany('insert into t values (?)', [(n,) for n in range(1000)]); d.commit()";
    ok(Command::new("python3").args(["-c", table]).arg(root.join("data/app.db")));
    fs::create_dir(root.join("scratch")).expect("a folder");
    std::os::unix::fs::chown(root.join("scratch"), Some(USER), Some(USER)).expect("an owner");
    fs::set_permissions(root, PermissionsExt::from_mode(0o755)).expect("a mode");
}

/// The program in there, with nothing in its environment but this.
fn inside(root: &Path, variables: &[(&str, &str)], words: &[&str]) -> Output {
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={USER}:{USER}")).arg(root).arg("/vault").args(words).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("VAULT_PASSWORD", PASSWORD);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").env("TZ", "Asia/Kolkata");
    command.env("TMPDIR", "/scratch").env("VAULT_CACHE_DIR", "/scratch/cache").env("VAULT_RUNTIME_DIR", "/scratch");
    command.envs(variables.iter().copied()).stdin(Stdio::null()).output().expect("chroot starts")
}

fn plan(location: &str) -> String {
    format!(
        "[repository]\nlocation = \"{location}\"\n[source.data]\nkind = \"directory\"\npaths = [\"/data\"]\n\
         [source.app-db]\nkind = \"sqlite\"\npath = \"/data/app.db\"\n[alerts]\nping_env = \"PING\"\n"
    )
}

#[test]
fn an_empty_container_backs_up_to_s3_by_certificates_of_its_own() {
    if !is_root() {
        return skipped("only root can change the root of a process");
    }
    let venv = std::env::var_os("VAULT_TEST_VENV").map(|venv| PathBuf::from(venv).join("bin/python"));
    let python = venv.unwrap_or_else(|| "python3".into());
    let has_moto = Command::new(&python).args(["-c", "import moto.server"]).stderr(Stdio::null()).status();
    if !has_moto.is_ok_and(|status| status.success()) {
        return skipped("moto is not installed (pip install 'moto[s3]' flask flask-cors)");
    }
    let (folder, root) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    certificates(folder.path());
    let server = Server::start(&python, folder.path());
    let root = root.path();
    container(root, &folder.path().join("ca.pem"));
    let (port, heard) = listen();
    let (ping, port) = (format!("http://127.0.0.1:{port}/x"), server.port);
    let location = format!("s3://bucket/repository?region=us-east-1&endpoint=https://127.0.0.1:{port}");
    fs::write(root.join("vault.toml"), plan(&location)).expect("a plan");
    fs::write(root.join("here.toml"), plan("/scratch/repository")).expect("a plan");
    let given = [("SSL_CERT_FILE", "/ca.pem"), ("VAULT_REPOSITORY", location.as_str()), ("PING", &ping)];
    let said = |variables: &[(&str, &str)], words: &[&str]| {
        let output = inside(root, variables, words);
        assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""), "{words:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(inside(root, &given, &["init"]).status.code(), Some(0));
    said(&given, &["snapshot", "/data", "--name", "by-hand"]);
    let ran = said(&given, &["run"]);
    assert!(ran.contains("app-db: snapshot ") && ran.contains("data: snapshot "), "{ran}");
    assert!(said(&given, &["health"]).starts_with("all is well"));
    assert!(said(&given, &["snapshots", "--json"]).contains("+05:30"), "the zone is known");
    assert_eq!(inside(root, &given, &["restore", "data", "--target", "/scratch/out"]).status.code(), Some(0));
    assert_eq!(fs::read(root.join("scratch/out/notes.txt")).expect("a file"), b"hello\n");

    // who is given no certificates believes nobody, learns what helps, and still reaches what needs none
    for other in ["/nothing.pem", ""] {
        let variables = [("SSL_CERT_FILE", other), ("VAULT_REPOSITORY", &location)];
        let variables = if other.is_empty() { &variables[1..] } else { &variables };
        let output = inside(root, variables, &["snapshots"]);
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        assert!(errors(&output).contains("let SSL_CERT_FILE name a file"), "{}", errors(&output));
    }
    let plain = [("PING", ping.as_str())];
    assert_eq!(inside(root, &plain, &["init", "--repository", "/scratch/repository"]).status.code(), Some(0));
    heard.lock().expect("nobody fails").clear();
    said(&plain, &["run", "--plan", "/here.toml"]);
    assert!(!heard.lock().expect("nobody fails").is_empty(), "it was pinged");
}
