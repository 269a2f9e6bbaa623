//! The whole job against real S3 servers, and against ones that fall silent or are killed in the middle of a run.

use crate::round_trip::fill;
use crate::servers;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use testkit::world::{
    PASSWORD, assert_clean, assert_restores, cheap, folder, noise, restore_stream, snapshot_folder, snapshot_reader,
    snapshot_stream,
};
use vault::backend::{Backend, BackendOptions, Location};
use vault::error::Error as OperationError;
use vault::prune;
use vault::repository::objects::orders;
use vault::repository::{Access, Error, Options, Repository};
use vault::runtime::{Clock, Runtime};
use vault_format::order::Action;

fn backend(location: &str, runtime: &Runtime) -> Backend {
    let options = BackendOptions { timeout: Duration::from_secs(3), create: true, ..BackendOptions::default() };
    Backend::open(&Location::parse(location).unwrap(), &options, runtime).unwrap()
}

fn init(location: &str) -> Repository {
    let runtime = Runtime::seeded(1, Clock::System, 2);
    Repository::init(backend(location, &runtime), runtime, Options::default(), cheap()).unwrap()
}

fn open(location: &str, seed: u64) -> Repository {
    let runtime = Runtime::seeded(seed, Clock::System, 2);
    let access = Access::Password(PASSWORD);
    Repository::open(backend(location, &runtime), runtime, Options::default(), access).unwrap()
}

/// Snapshots, restores, checks, and frees what a forgotten snapshot needed.
fn whole_job(location: &str) {
    let (source, stream) = (folder(fill), noise(1, 3_000_000));
    drop(init(location));
    let repository = open(location, 2);
    // files that are older than two seconds are believed
    std::thread::sleep(Duration::from_millis(2_100));
    let first = snapshot_folder(&repository, source.path()).unwrap();
    let dump = snapshot_stream(&repository, &stream).unwrap();
    let repository = open(location, 3);
    let second = snapshot_folder(&repository, source.path()).unwrap();
    assert_eq!(second.head.statistics.unchanged_files, first.head.statistics.files);
    assert_eq!(second.head.statistics.stored_bytes, 0);
    let repository = open(location, 4);
    for report in [&first, &second] {
        assert_restores(&repository, report.snapshot.unwrap(), source.path(), "s3");
    }
    assert!(restore_stream(&repository, dump.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&repository, true, "s3");

    orders::put(&repository, repository.keys().domain(), Action::Forget(vec![dump.snapshot.unwrap()])).unwrap();
    let options = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
    let marked = prune::mark(&repository, &options).unwrap();
    assert!(marked.bytes > 500_000 && !marked.packs.is_empty(), "{marked:?}");
    let swept = prune::sweep(&open(location, 5), &prune::Options::default()).unwrap();
    assert_eq!((swept.packs, swept.snapshots), (marked.packs.len() as u64, 1), "{swept:?}");
    let repository = open(location, 6);
    assert!(restore_stream(&repository, dump.snapshot.unwrap()).is_err());
    assert_restores(&repository, second.snapshot.unwrap(), source.path(), "swept");
    assert_clean(&repository, true, "swept");
}

#[test]
fn the_whole_job_works_on_s3() {
    if let Some(server) = servers::moto() {
        whole_job(&server.location);
    }
}

#[test]
fn the_whole_job_works_on_s3_in_files() {
    whole_job(&servers::s3s().location);
}

/// Kills the server when so many bytes of the stream are read.
struct Killer<'a> {
    stream: &'a [u8],
    left: usize,
    server: &'a mut servers::Server,
}

impl Read for Killer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            self.server.stop();
            self.left = usize::MAX;
        }
        let length = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..length])?;
        self.left -= read;
        Ok(read)
    }
}

#[test]
fn a_server_that_is_killed_in_a_run_loses_nothing() {
    let mut server = servers::s3s();
    let source = folder(fill);
    let repository = init(&server.location);
    let kept = snapshot_folder(&repository, source.path()).unwrap();
    let stream = noise(2, 40 << 20);
    // before the first pack, while packs are put, and before the index
    for (seed, bytes) in [(10, 1), (11, 20 << 20), (12, 40 << 20)] {
        let repository = open(&server.location, seed);
        let begun = Instant::now();
        let mut killer = Killer { stream: &stream, left: bytes, server: &mut server };
        let failure = snapshot_reader(&repository, &mut killer).unwrap_err();
        assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
        assert!(matches!(failure, OperationError::Repository(Error::Backend(_))), "{failure}");
        server.start_again();
        let repository = open(&server.location, 20 + seed);
        assert_restores(&repository, kept.snapshot.unwrap(), source.path(), "after the kill");
        assert_clean(&repository, true, "after the kill");
    }
    let repository = open(&server.location, 40);
    let report = snapshot_stream(&repository, &stream).unwrap();
    assert!(restore_stream(&repository, report.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&repository, true, "the next run");
}

/// Forwards to `upstream` until the counter of PUTs has come down to zero; from then on it swallows every byte of
/// both directions, as a server does that hangs.
fn proxy(upstream: u16, puts: Arc<AtomicI64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
            let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let (up, down) = (puts.clone(), puts.clone());
            std::thread::spawn(move || forward(client, server, &up, true));
            std::thread::spawn(move || forward(from, to, &down, false));
        }
    });
    port
}

fn forward(mut from: TcpStream, mut to: TcpStream, puts: &AtomicI64, is_request: bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if is_request && buffer.starts_with(b"PUT ") {
            puts.fetch_sub(1, Ordering::SeqCst);
        }
        // what is swallowed once must not be followed by more on the same connection
        if puts.load(Ordering::SeqCst) <= 0 {
            while let Ok(1..) = from.read(&mut buffer) {}
            break;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn a_server_that_falls_silent_in_a_run_loses_nothing() {
    let Some(server) = servers::moto() else { return };
    let puts = Arc::new(AtomicI64::new(i64::MAX));
    let port = proxy(server.port, puts.clone());
    let location = server.location.replace(&format!(":{}", server.port), &format!(":{port}"));
    let source = folder(fill);
    let repository = init(&location);
    let kept = snapshot_folder(&repository, source.path()).unwrap();
    let stream = noise(2, 40 << 20);
    for before in [1, 2, 3] {
        let repository = open(&location, 10 + before);
        puts.store(i64::try_from(before).unwrap(), Ordering::SeqCst);
        let begun = Instant::now();
        let failure = snapshot_stream(&repository, &stream).unwrap_err();
        assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
        assert!(matches!(failure, OperationError::Repository(Error::Backend(_))), "{failure}");
        puts.store(i64::MAX, Ordering::SeqCst);
    }
    let repository = open(&location, 20);
    assert_restores(&repository, kept.snapshot.unwrap(), source.path(), "after the silence");
    let report = snapshot_stream(&repository, &stream).unwrap();
    assert!(restore_stream(&repository, report.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&repository, true, "after the silence");
}
