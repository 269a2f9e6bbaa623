//! The whole job against a real S3 server, and against one that falls silent in the middle of a run.

use crate::round_trip::fill;
use crate::servers;
use crate::world::{PASSWORD, snapshot_stream};
use crate::world::{assert_clean, assert_restores, cheap, folder, noise, restore_stream, snapshot_folder};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use vault::backend::{Backend, BackendOptions, Location};
use vault::error::Error as OperationError;
use vault::repository::{Access, Error, Options, Repository};
use vault::runtime::{Clock, Runtime};

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

#[test]
fn the_whole_job_works_on_s3() {
    let Some(server) = servers::moto() else { return };
    let (source, stream) = (folder(fill), noise(1, 3_000_000));
    drop(init(&server.location));
    let repository = open(&server.location, 2);
    let first = snapshot_folder(&repository, source.path()).unwrap();
    let dump = snapshot_stream(&repository, &stream).unwrap();
    // files that are older than two seconds are believed
    std::thread::sleep(Duration::from_millis(2_100));
    let repository = open(&server.location, 3);
    let second = snapshot_folder(&repository, source.path()).unwrap();
    assert_eq!(second.head.statistics.unchanged_files, first.head.statistics.files);
    assert_eq!(second.head.statistics.stored_bytes, 0);
    let repository = open(&server.location, 4);
    for report in [&first, &second] {
        assert_restores(&repository, report.snapshot.unwrap(), source.path(), "s3");
    }
    assert!(restore_stream(&repository, dump.snapshot.unwrap()).unwrap() == stream);
    assert_clean(&repository, true, "s3");
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
