//! The independent reader in Python opens every golden repository: the bytes, not this crate, are the format.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODULES: &str =
    "import blake3, zstandard, argon2, cryptography.hazmat.primitives.hpke as h; h.KEM.MLKEM768_X25519";

/// Python with the modules that the reader needs: of the virtual environment `VAULT_TEST_VENV`, else on the path.
fn python() -> Option<PathBuf> {
    let venv = std::env::var_os("VAULT_TEST_VENV").map(|folder| Path::new(&folder).join("bin/python"));
    let python = venv.unwrap_or_else(|| PathBuf::from("python3"));
    let found = Command::new(&python).args(["-c", MODULES]).output().is_ok_and(|output| output.status.success());
    if found {
        return Some(python);
    }
    let why = format!("{} lacks cryptography >= 50, blake3, zstandard or argon2-cffi", python.display());
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Straight to the terminal: the harness would swallow it.
    drop(writeln!(std::io::stderr(), "SKIPPED the independent reader: {why}"));
    None
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn reader(python: &Path, golden: &str, key: &[&str], command: &[&str]) -> Output {
    let place = folder().join("golden").join(golden);
    Command::new(python)
        .current_dir(&place)
        .arg(folder().join("reader.py"))
        .arg("repository")
        .args(key)
        .args(command)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn reads_all_that_each_key_may_read() {
    let Some(python) = python() else { return };
    let verify = ["verify", "expected.json"];
    let cases = [
        ("v1-owner", ["--password-file", "password"], 2),
        ("v1-roles", ["--password-file", "password"], 3),
        ("v1-roles", ["--key-file", "client.key"], 1),
        ("v1-roles", ["--key-file", "writer.key"], 0),
    ];
    for (golden, key, snapshots) in cases {
        let said = text(&reader(&python, golden, &key, &verify));
        assert_eq!(said, format!("verified {snapshots} snapshots\n"), "{golden} {key:?}");
    }
}

#[test]
fn a_writer_sees_its_heads_only() {
    let Some(python) = python() else { return };
    let said = text(&reader(&python, "v1-roles", &["--key-file", "writer.key"], &["list"]));
    assert!(said.lines().count() == 1 && said.contains("server-etc") && said.ends_with("(sealed)\n"), "{said}");
}

#[test]
fn refuses_a_wrong_password() {
    let Some(python) = python() else { return };
    let output = reader(&python, "v1-owner", &["--password-file", "expected.json"], &["list"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("wrong password"));
}
