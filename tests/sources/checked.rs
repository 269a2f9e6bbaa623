//! `vault plan check` as it is run, against real servers. Numbers in names are those of the acceptance checks.

use crate::cluster::Cluster;
use crate::postgres::options;
use serde_json::Value;
use std::process::{Command, Output};
use tempfile::TempDir;
use vault::backend::{Backend, BackendOptions, Location};
use vault::repository::{NewRepository, Options, Repository};
use vault::runtime::Runtime;
use vault_format::slot::KDF_FLOOR;

/// A folder with a repository.
fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system(1).unwrap();
    let location = Location::parse(folder.path().join("repository").to_str().unwrap()).unwrap();
    let create = BackendOptions { create: true, ..BackendOptions::default() };
    let backend = Backend::open(&location, &create, &runtime).unwrap();
    let new = NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(b"word") };
    Repository::init(backend, runtime, Options::default(), new).unwrap();
    folder
}

/// Checks a plan of one source of PostgreSQL with these lines.
fn check(folder: &TempDir, url: &str, lines: &str, words: &[&str]) -> Output {
    let plan = format!("[repository]\nlocation = \"repository\"\n\n[source.app-db]\nkind = \"postgres\"\n{lines}\n");
    std::fs::write(folder.path().join("vault.toml"), plan + "url_env = \"VAULT_TEST_URL\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault"));
    command.args(["plan", "check", "--no-cache"]).args(words).current_dir(folder.path());
    command.env("VAULT_PASSWORD", "word").env("VAULT_TEST_URL", url).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_03_both_versions_are_named_and_a_fitting_client_makes_it_fine() {
    let (Some(old), Some(new)) = (Cluster::of_system(), Cluster::newest()) else { return };
    let folder = place();
    let url = options(&new).url.unwrap();
    let tools = |cluster: &Cluster| format!("tools = \"{}\"", cluster.programs.display());
    let output = check(&folder, &url, &tools(&old), &[]);
    let error = said(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let version = |cluster: &Cluster| cluster.sql("app", "show server_version").split(' ').next().unwrap().to_owned();
    assert!(error.contains("vault.toml:4:") && error.contains("app-db: "), "{error}");
    assert!(error.contains(version(&old).trim()) && error.contains(version(&new).trim()), "{error}");
    let output = check(&folder, &url, &tools(&new), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &found["sources"][0];
    assert_eq!((&source["reachable"], source["server_version"].as_str()), (&true.into(), Some(version(&new).trim())));
    assert!(source["tool"].as_str().unwrap().starts_with(new.programs.to_str().unwrap()), "{source}");
    assert!(source["bytes_estimate"].as_u64().unwrap() > 1 << 20, "{source}");
}

#[test]
fn check_04_a_pooler_is_a_warning_and_a_stopped_server_an_error_with_host_and_port() {
    let Some(cluster) = Cluster::on_port() else { return };
    let folder = place();
    let url = |more: &str| format!("postgresql://owner:canary@127.0.0.1:{}/app{more}", cluster.port);
    let output = check(&folder, &url("?pgbouncer=true"), "", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("warning: app-db: ") && said(&output).contains("pooler"), "{}", said(&output));
    cluster.stop();
    let output = check(&folder, &url(""), "", &[]);
    let error = said(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("127.0.0.1:{}", cluster.port)) && !error.contains("canary"), "{error}");
    let output = check(&folder, &url(""), "", &["--offline"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
