//! Buckets taken as files, against a server that speaks S3: what is unchanged is not fetched, and what can't be stored
//! or read is named.

use crate::taken::{Vault, Watch};
use crate::timed::{runs_out, slow};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vault::backend::{BackendOptions, Bucket, Location};
use vault::backup::{self, BucketOptions, Report, Source};
use vault::error::Result;
use vault::list;
use vault::progress::{Progress, Silent};

/// S3 as moto speaks it, with one bucket.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn start() -> Option<Self> {
        let venv = std::env::var_os("VAULT_TEST_VENV").map(|venv| PathBuf::from(venv).join("bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = venv.into_iter().chain(std::env::split_paths(&path));
        let Some(program) = places.map(|place| place.join("moto_server")).find(|file| file.is_file()) else {
            assert!(std::env::var_os("CI").is_none(), "buckets must not be skipped in CI: moto_server is missing");
            drop(writeln!(std::io::stderr(), "SKIPPED buckets: no moto_server (pip install 'moto[s3,server]')"));
            return None;
        };
        let port = testkit::port::free();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "moto does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        request(port, "PUT", "", b"");
        Some(server)
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        request(self.port, "PUT", &format!("/{name}"), bytes);
    }

    fn delete(&self, name: &str) {
        request(self.port, "DELETE", &format!("/{name}"), b"");
    }

    /// The place anew, which counts from nothing.
    fn open(&self, vault: &Vault, folder: &str) -> Bucket {
        let location = format!(
            "s3://bucket{folder}?region=us-east-1&endpoint=http://127.0.0.1:{}&disable_config_load=true\
             &access_key_id=SECRET&secret_access_key=SECRET",
            self.port
        );
        let options = BackendOptions { timeout: Duration::from_secs(6), ..BackendOptions::default() };
        Bucket::open(&Location::parse(&location).unwrap(), &options, &vault.runtime).unwrap()
    }
}

fn request(port: u16, method: &str, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "{method} /bucket{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
}

fn take_watched(vault: &Vault, bucket: &Bucket, options: &BucketOptions, progress: &dyn Progress) -> Result<Report> {
    let named = backup::Options { name: "files".into(), skip_if_unchanged: true, ..backup::Options::default() };
    backup::backup(&vault.repository, Source::Bucket(bucket, options.clone()), &named, progress)
}

fn take(vault: &Vault, bucket: &Bucket, options: &BucketOptions) -> Result<Report> {
    take_watched(vault, bucket, options, &Silent)
}

/// All files below a folder, by path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let name = entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&entry).unwrap());
            }
        }
    }
    found
}

fn restored(vault: &Vault, report: &Report) -> BTreeMap<String, Vec<u8>> {
    files(&vault.restored(report).1)
}

fn wanted(objects: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    objects.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

/// What nobody can guess from a piece of it.
fn counted(length: usize) -> Vec<u8> {
    (0..length as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

#[test]
fn unchanged_objects_are_not_fetched() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    let long = counted(9 << 20);
    let mut objects: Vec<(&str, &[u8])> =
        vec![("a/long", &long), ("a-b", b"beside"), ("a/b/c.jpg", b"c"), ("empty", b""), ("z.txt", b"z")];
    objects.iter().for_each(|(name, bytes)| server.put(name, bytes));
    server.put("hollow/", b"");
    let options = BucketOptions::default();
    let bucket = server.open(&vault, "");
    let first = take(&vault, &bucket, &options).unwrap();
    assert!(first.failed.is_empty(), "{first:?}");
    // three pieces of the long one, one of each other that has bytes
    assert_eq!((bucket.counts().get, bucket.counts().list), (6, 1));
    assert_eq!((first.head.statistics.files, first.head.statistics.directories), (5, 3));
    let (kept, out) = vault.restored(&first);
    assert_eq!(files(&out), wanted(&objects));
    assert!(out.join("hollow").is_dir());
    drop(kept);

    let bucket = server.open(&vault, "");
    let again = take(&vault, &bucket, &options).unwrap();
    assert_eq!((bucket.counts().get, bucket.counts().stat), (0, 0));
    assert!(again.snapshot.is_none() && again.unchanged == first.snapshot, "{again:?}");
    assert_eq!(again.head.statistics.unchanged_files, 5);

    // of the same size, and within the same second perhaps: the tag tells
    server.put("z.txt", b"y");
    server.delete("a/b/c.jpg");
    objects.retain(|(name, _)| *name != "a/b/c.jpg" && *name != "z.txt");
    objects.push(("z.txt", b"y"));
    let bucket = server.open(&vault, "");
    let changed = take(&vault, &bucket, &options).unwrap();
    assert_eq!((bucket.counts().get, changed.head.statistics.unchanged_files), (1, 3));
    assert_eq!(restored(&vault, &changed), wanted(&objects));
}

#[test]
fn a_bucket_ends_with_the_time_of_its_source() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    ["a", "b", "c"].iter().for_each(|name| server.put(name, name.as_bytes()));
    runs_out(&vault, Source::Bucket(&server.open(&vault, ""), BucketOptions::default()), &slow());
}

#[test]
fn a_prefix_and_patterns_choose() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    for name in ["in/video/a.mp4", "in/video/a.tmp", "in/cache/x", "in/vid", "in/other", "out/video/b.mp4"] {
        server.put(name, name.as_bytes());
    }
    let some = |prefix: &str, exclude: &[&str]| BucketOptions {
        prefix: prefix.into(),
        exclude: exclude.iter().map(|pattern| pattern.as_bytes().to_vec()).collect(),
        ..BucketOptions::default()
    };
    let names = |folder: &str, options: &BucketOptions| {
        let bucket = server.open(&vault, folder);
        let report = take(&vault, &bucket, options).unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
        let files = restored(&vault, &report);
        assert_eq!(bucket.counts().get, files.len() as u64, "only what is taken is fetched");
        files.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names("", &some("in/vid", &[])), ["in/vid", "in/video/a.mp4", "in/video/a.tmp"]);
    assert_eq!(names("/out", &some("", &[])), ["video/b.mp4"]);
    let vault = Vault::new();
    let bucket = server.open(&vault, "/in");
    let report = take(&vault, &bucket, &some("", &["*.tmp", "/cache/"])).unwrap();
    assert_eq!(restored(&vault, &report).into_keys().collect::<Vec<_>>(), ["other", "vid", "video/a.mp4"]);
    assert!(report.notes.iter().any(|note| note.contains("cache: excluded by a pattern")), "{report:?}");
    let error = take(&vault, &bucket, &some("", &["["])).unwrap_err().to_string();
    assert!(error.contains("pattern"), "{error}");
}

#[test]
fn what_is_no_path_is_named_and_all_else_is_stored() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    let long = "n".repeat(300);
    for name in ["f/ok", "f/a//b", "f//c", "f/d/./e", "f/both", "f/both/inner", &format!("f/{long}")] {
        server.put(name, b"bytes");
    }
    server.put("f/marker/", b"not empty");
    let bucket = server.open(&vault, "/f");
    let report = take(&vault, &bucket, &BucketOptions::default()).unwrap();
    let mut failed: Vec<&str> = report.failed.iter().filter_map(|what| what.split(':').next()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["/c", "a//b", "both", "d/./e"], "{report:?}");
    assert_eq!(report.head.statistics.errors, 4);
    assert!(report.notes.iter().any(|note| note.starts_with("marker/: stored as the folder")), "{report:?}");
    assert_eq!(report.head.statistics.files, 3);
    assert!(report.notes.iter().any(|note| note.contains("too long for most file systems")), "{report:?}");
}

#[test]
fn what_changes_or_vanishes_while_it_is_read_is_a_gap() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    let long = counted(32 << 20);
    server.put("changes", &long);
    server.put("stays", b"stays");
    let bucket = server.open(&vault, "");
    let port = server.port;
    let watch = Watch::new(1, move || request(port, "PUT", "/changes", b"another"));
    let report = take_watched(&vault, &bucket, &BucketOptions::default(), &watch).unwrap();
    assert_eq!(report.failed, ["changes: changed while it was read"]);
    assert_eq!(restored(&vault, &report), wanted(&[("stays", b"stays")]));
    server.put("changes", &long);
    let watch = Watch::new(1, move || request(port, "DELETE", "/changes", b""));
    let report = take_watched(&vault, &bucket, &BucketOptions::default(), &watch).unwrap();
    assert_eq!(report.failed, ["changes: vanished while it was read"]);
}

#[test]
fn nothing_where_something_was_is_no_snapshot() {
    let Some(mut server) = Server::start() else { return };
    let vault = Vault::new();
    server.put("one", b"1");
    let bucket = server.open(&vault, "");
    let options = BucketOptions::default();
    take(&vault, &bucket, &options).unwrap();
    server.delete("one");
    let error = take(&vault, &bucket, &options).unwrap_err().to_string();
    assert!(error.contains("has no objects, and had 1"), "{error}");
    let empty = take(&vault, &bucket, &BucketOptions { allow_empty: true, ..options.clone() }).unwrap();
    assert_eq!((empty.failed.len(), empty.head.statistics.files), (0, 0));
    // it stays so
    assert!(take(&vault, &bucket, &options).is_ok());
    let before = list::snapshots(&vault.repository).unwrap().snapshots.visible().count();
    server.stop();
    let error = take(&vault, &bucket, &options).unwrap_err().to_string();
    assert!(error.contains("cannot list") && error.contains("s3://bucket") && !error.contains("SECRET"), "{error}");
    assert_eq!(list::snapshots(&vault.repository).unwrap().snapshots.visible().count(), before);
}

#[test]
fn a_listing_has_pages() {
    let Some(server) = Server::start() else { return };
    let vault = Vault::new();
    for number in 0..1010u32 {
        server.put(&format!("{}/{number}", number % 7), &number.to_le_bytes());
    }
    let bucket = server.open(&vault, "");
    let report = take(&vault, &bucket, &BucketOptions::default()).unwrap();
    assert_eq!((report.failed.len(), report.head.statistics.files, bucket.counts().get), (0, 1010, 1010));
    let files = restored(&vault, &report);
    assert!((0..1010u32).all(|number| files[&format!("{}/{number}", number % 7)] == number.to_le_bytes()));
}
