//! What a backend promises, asked of every kind: folder, memory, simulated, and real servers that a test starts itself;
//! and what such servers hear of alerts, pings and figures. A server whose program is not installed is skipped aloud,
//! and fails in CI, so that nothing is skipped in silence.

mod alerts;
mod bucket;
mod conformance;
mod figures;
mod inbox;
mod locations;
mod mails;
mod pings;
mod servers;
mod web;
mod wrappers;

use conformance::{conformance, missing_root, objects};
use servers::{Server, azurite, moto, s3s, sshd, webdav};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::simulated::Simulated;
use vault::backend::{Backend, BackendOptions, ErrorKind, Location};
use vault::runtime::{Clock, Runtime};

pub(crate) fn runtime() -> Runtime {
    Runtime::seeded(7, Clock::System, 0)
}

pub(crate) fn open(location: &str, options: &BackendOptions) -> vault::backend::Result<Backend> {
    Backend::open(&Location::parse(location).unwrap(), options, &runtime())
}

fn create() -> BackendOptions {
    BackendOptions { create: true, ..BackendOptions::default() }
}

fn in_folder(root: &Path) -> String {
    root.display().to_string()
}

#[test]
fn a_folder_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/repository");
    let backend = open(&in_folder(&root), &create()).unwrap();
    assert!(backend.is_local());
    assert_eq!(backend.listing_lag(), Duration::ZERO);
    conformance(&backend, true);
    missing_root(&backend, || std::fs::remove_dir_all(&root).unwrap());
    assert_eq!(open(&in_folder(&root), &BackendOptions::default()).unwrap_err().kind, ErrorKind::NoPlace);
}

#[test]
fn memory_keeps_the_promises() {
    conformance(&open("memory://", &create()).unwrap(), false);
}

#[test]
fn the_simulated_store_keeps_the_promises() {
    let store = Simulated::new(Clock::System, Duration::ZERO, 1);
    let backend = Backend::from_store(Arc::new(store.clone()), &BackendOptions::default(), &runtime());
    conformance(&backend, true);
    missing_root(&backend, || store.vanish(true));
}

#[test]
fn s3_keeps_the_promises() {
    let Some(server) = moto() else { return };
    let backend = open(&server.location, &create()).unwrap();
    assert_eq!(backend.listing_lag(), Duration::ZERO);
    conformance(&backend, true);
    let gone = open(&server.location.replace("/bucket/", "/no-such-bucket/"), &create()).unwrap();
    missing_root(&gone, || {});
}

#[test]
fn s3_in_files_keeps_the_promises() {
    let server = s3s();
    let backend = open(&server.location, &create()).unwrap();
    // Asked for one of its folders it answers that it has failed, which S3 never does.
    objects(&backend, true);
    let gone = open(&server.location.replace("/bucket/", "/no-such-bucket/"), &create()).unwrap();
    missing_root(&gone, || {});
    let stranger = open(&server.location.replace("=SECRET", "=WRONG"), &create()).unwrap();
    assert_eq!(stranger.get("config", None).unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(stranger.put("packs/d/aa/one", b"one").unwrap_err().kind, ErrorKind::Denied);
}

#[test]
fn azblob_keeps_the_promises() {
    let Some(server) = azurite() else { return };
    conformance(&open(&server.location, &create()).unwrap(), true);
    let gone = open(&server.location.replace("/bucket/", "/no-such-container/"), &create()).unwrap();
    missing_root(&gone, || {});
}

#[test]
fn sftp_keeps_the_promises() {
    let Some(server) = sshd() else { return };
    let early = open(&server.location, &BackendOptions::default()).unwrap_err();
    assert_eq!(early.kind, ErrorKind::NoPlace, "{early}");
    let backend = open(&server.location, &create()).unwrap();
    assert_eq!((backend.connections(), backend.listing_lag()), (4, Duration::from_mins(10)));
    conformance(&backend, true);
    missing_root(&backend, || std::fs::remove_dir_all(server.data()).unwrap());
}

#[test]
fn webdav_keeps_the_promises() {
    let Some(server) = webdav() else { return };
    let backend = open(&server.location, &create()).unwrap();
    conformance(&backend, true);
    missing_root(&backend, || std::fs::remove_dir_all(server.data()).unwrap());
}

/// The last answer must come in time, and it must not say that the objects are gone.
fn stopped_server(server: &mut Server) {
    let options = BackendOptions { timeout: Duration::from_secs(6), create: true, ..BackendOptions::default() };
    let backend = open(&server.location, &options).unwrap();
    backend.put("packs/d/aa/one", b"one").unwrap();
    server.stop();
    let requests: [&(dyn Fn() -> vault::backend::Result<()> + Sync); 5] = [
        &|| backend.get("packs/d/aa/one", None).map(drop),
        &|| backend.put("packs/d/aa/two", b"two"),
        &|| backend.list("packs/").map(drop),
        &|| backend.stat("packs/d/aa/one").map(drop),
        &|| backend.delete("packs/d/aa/one"),
    ];
    let begun = Instant::now();
    let fail = |request: &(dyn Fn() -> vault::backend::Result<()> + Sync)| {
        let failure = request().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Unreachable, "{failure}");
        assert!(!failure.to_string().contains('\n'));
        assert!(!failure.to_string().contains("SECRET"), "{failure}");
        assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    };
    // each waits for itself, so they wait together
    std::thread::scope(|scope| requests.iter().for_each(|request| drop(scope.spawn(|| fail(*request)))));
}

#[test]
fn a_stopped_s3_server_gives_a_final_error() {
    if let Some(mut server) = moto() {
        stopped_server(&mut server);
    }
}

#[test]
fn a_killed_s3_server_that_comes_back_has_what_it_had() {
    let mut server = s3s();
    stopped_server(&mut server);
    server.start_again();
    let backend = open(&server.location, &create()).unwrap();
    assert_eq!(backend.list("").unwrap().len(), 1);
    assert_eq!(backend.get("packs/d/aa/one", None).unwrap(), b"one");
}

#[test]
fn a_stopped_sftp_server_gives_a_final_error() {
    if let Some(mut server) = sshd() {
        stopped_server(&mut server);
    }
}

/// The first put reaches the server and its answer is lost: the retry finds the name taken, by its own bytes.
#[test]
fn a_put_whose_answer_was_lost_succeeds() {
    let Some(server) = moto() else { return };
    let (port, puts) = servers::lossy_proxy(server.port);
    let location = server.location.replace(&format!(":{}", server.port), &format!(":{port}"));
    let backend = open(&location, &BackendOptions::default()).unwrap();
    backend.put("packs/d/aa/one", b"one").unwrap();
    assert_eq!(puts.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(backend.put("packs/d/aa/one", b"two").unwrap_err().kind, ErrorKind::Exists);
    assert_eq!(backend.get("packs/d/aa/one", None).unwrap(), b"one");
}

/// A crashed upload is never shown, and is gone after a day.
#[test]
fn leftovers_on_sftp_are_swept() {
    let Some(server) = sshd() else { return };
    let tmp = server.data().join("tmp");
    std::fs::create_dir_all(&tmp).unwrap();
    for (name, age) in [("old", 25), ("young", 23)] {
        let file = std::fs::File::create(tmp.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_hours(age)).unwrap();
    }
    let backend = open(&server.location, &BackendOptions::default()).unwrap();
    assert_eq!(backend.list("").unwrap(), []);
    assert!(!tmp.join("old").exists() && tmp.join("young").exists());
}

/// Accepts connections and never answers: the worst kind of dead.
#[test]
fn a_silent_server_gives_a_final_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let location = format!(
        "s3://bucket/x?region=us-east-1&endpoint=http://127.0.0.1:{port}&access_key_id=a&secret_access_key=SECRET\
         &disable_config_load=true"
    );
    let options = BackendOptions { timeout: Duration::from_secs(3), ..BackendOptions::default() };
    let backend = open(&location, &options).unwrap();
    let begun = Instant::now();
    let failure = backend.put("packs/d/aa/one", &vec![7; 4 << 20]).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Unreachable, "{failure}");
    assert_eq!(backend.get("config", None).unwrap_err().kind, ErrorKind::Unreachable);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(listener);
}

/// One plain sentence, whoever refuses: no insides of a program, of XML or of JSON.
fn assert_said(location: &str, kind: ErrorKind, words: &str) {
    // `ssh` is tried several times
    let timeout = Duration::from_secs(if location.starts_with("sftp") { 20 } else { 3 });
    let options = BackendOptions { timeout, ..BackendOptions::default() };
    let failure = match open(location, &options) {
        Ok(backend) => backend.list("").unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.cause.contains(words), "{failure}");
    assert!(!failure.cause.contains(['{', '}', '<', '>', '"', '\n']) && failure.cause.len() < 170, "{failure}");
    assert!(!failure.to_string().contains("SECRET"), "{failure}");
}

#[test]
fn what_s3_refuses_is_said_in_words() {
    let server = s3s();
    assert_said(&server.location.replace("/bucket/", "/no-such-bucket/"), ErrorKind::NoPlace, "does not exist");
    assert_said(&server.location.replace("=SECRET", "=WRONG"), ErrorKind::Denied, "credentials");
    assert_said(&server.location.replace("=ACCESS", "=NOBODY"), ErrorKind::Denied, "credentials");
    let port = format!(":{}", server.port);
    assert_said(&server.location.replace(&port, ":1"), ErrorKind::Unreachable, "refused");
    assert_said(&server.location.replace("127.0.0.1", "nowhere.invalid"), ErrorKind::Unreachable, "host is not known");
    assert_said(&server.location.replace("http:", "https:"), ErrorKind::Unreachable, "TLS");
}

#[test]
fn what_azure_refuses_is_said_in_words() {
    let Some(server) = azurite() else { return };
    assert_said(&server.location.replace("/bucket/", "/no-such-container/"), ErrorKind::NoPlace, "does not exist");
    assert_said(&server.location.replace("=Eby8", "=Aby8"), ErrorKind::Denied, "credentials");
}

#[test]
fn what_ssh_refuses_is_said_in_words() {
    let Some(server) = sshd() else { return };
    let strict = server.location.replace("=accept", "=strict");
    assert_said(&strict, ErrorKind::Denied, "host key");
    let key = server.location.split("key=").nth(1).unwrap().split('&').next().unwrap();
    assert_said(&server.location.replace(key, &format!("{key}.none")), ErrorKind::Denied, "none of the keys");
    assert_said(&server.location, ErrorKind::NoPlace, "folder of the repository is missing");
}
