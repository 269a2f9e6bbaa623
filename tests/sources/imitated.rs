//! Redis servers that behave in ways that the real one only does in bad moments: slow, cut off, old, damaged.

use crate::dumped::{Dumped, runtime, take};
use crate::taken::Vault;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use vault::progress::Silent;
use vault::source::dump::DumpFailure;
use vault::source::redis::{Options, Redis};

const MARK: &[u8; 40] = b"0123456789abcdefghij0123456789abcdefghij";

/// A server with two keys in its first database, as Redis 7 saves it.
fn file() -> Vec<u8> {
    let mut file = b"REDIS0010\xfa\x09redis-ver\x057.0.1\xfe\x00\xfb\x02\x00\x00\x01a\x011\x00\x01b\x012\xff".to_vec();
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&file);
    file.extend_from_slice(&checksum.to_le_bytes());
    file
}

/// Answers each command by its first word, until it is told to close the connection.
fn imitate(answer: impl Fn(&str, &mut TcpStream) -> bool + Send + 'static) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // the first that asks; others find nobody
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => said.extend_from_slice(&buffer[..length]),
            }
            let text = String::from_utf8_lossy(&said).into_owned();
            let word = text.lines().nth(2).unwrap_or_default().to_owned();
            said.clear();
            if !answer(&word, &mut stream) {
                return;
            }
        }
    });
    let mut options = Options::of_url(&format!("redis://127.0.0.1:{port}")).unwrap();
    options.timeout = Duration::from_secs(2);
    options
}

fn dump(options: Options) -> Result<Dumped, DumpFailure> {
    take(&mut Redis::new(options, &runtime(), &Silent))
}

/// A server that sends this after its promise, in pieces with pauses.
fn sends(pieces: Vec<Vec<u8>>) -> Options {
    imitate(move |word, stream| match word {
        "PING" => stream.write_all(b"+PONG\r\n").is_ok(),
        "PSYNC" => {
            stream.write_all(b"\n\n+FULLRESYNC 0123456789012345678901234567890123456789 0\r\n").unwrap();
            for piece in &pieces {
                std::thread::sleep(Duration::from_millis(150));
                stream.write_all(piece).unwrap();
            }
            false
        }
        _ => stream.write_all(b"-ERR unknown command\r\n").is_ok(),
    })
}

fn framed(file: &[u8]) -> Vec<Vec<u8>> {
    let length = format!("${}\r\n", file.len());
    vec![length.into_bytes(), file.to_vec()]
}

#[test]
fn a_server_may_prepare_for_long_and_send_in_pieces() {
    let newlines = vec![b"\n".to_vec(); 20];
    let begun = Instant::now();
    let dumped = dump(sends([newlines, framed(&file())].concat())).unwrap();
    assert!(begun.elapsed() > Duration::from_secs(2), "longer than it may be silent");
    assert_eq!((dumped.only(), dumped.fact("keys:db0")), (file().as_slice(), Some("2")));
    // the mark is cut wherever it likes
    for cut in [1, 20, 39] {
        let mut pieces = vec![b"\n$EOF:".to_vec(), [MARK, b"\r\n".as_slice()].concat()];
        pieces.push([file().as_slice(), &MARK[..cut]].concat());
        pieces.push(MARK[cut..].to_vec());
        assert_eq!(dump(sends(pieces)).unwrap().only(), file().as_slice(), "{cut}");
    }
}

#[test]
fn what_ends_early_or_comes_damaged_is_no_dump() {
    let refused = |pieces: Vec<Vec<u8>>, says: &str| {
        let error = dump(sends(pieces)).unwrap_err().to_string();
        assert!(error.contains(says), "{says:?} in: {error}");
    };
    let announced = format!("${}\r\n", file().len()).into_bytes();
    refused(vec![announced, file()[..30].to_vec()], "it closed the connection before all was said");
    let marked = [b"$EOF:".as_slice(), MARK, b"\r\n"].concat();
    refused(vec![marked.clone(), file()], "it closed the connection before all was said");
    let mut damaged = file();
    damaged[40] ^= 1;
    refused(framed(&damaged), "its checksum does not fit");
    let vault = Vault::new();
    let mut redis = Redis::new(sends(framed(&damaged)), &vault.runtime, &Silent);
    vault.refuses(&mut redis, &["the dump of the Redis server at 127.0.0.1:", "its checksum does not fit"]);
    // whole by its frame, but not by itself
    refused(framed(&file()[..30]), "it ends in the middle");
    refused(framed(b"<html>not a server of this kind</html>"), "it does not begin as an RDB file does");
    refused(vec![b"-ERR Unable to perform background save\r\n".to_vec()], "Unable to perform background save");
    refused(vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()], "does not answer as a Redis server does");
}

#[test]
fn an_old_server_is_asked_in_the_old_way() {
    let options = imitate(|word, stream| match word {
        "PING" => stream.write_all(b"+PONG\r\n").is_ok(),
        "SYNC" => framed(&file()).iter().any(|piece| stream.write_all(piece).is_err()),
        "PSYNC" => stream.write_all(b"-ERR unknown command 'PSYNC'\r\n").is_ok(),
        _ => stream.write_all(b"-ERR unknown command\r\n").is_ok(),
    });
    assert_eq!(dump(options).unwrap().only(), file().as_slice());
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_a_run_that_ends_does_not_wait() {
    let silent = || {
        imitate(|word, stream| match word {
            "PING" => {
                std::thread::sleep(Duration::from_secs(20));
                false
            }
            _ => stream.write_all(b"+OK\r\n").is_ok(),
        })
    };
    let begun = Instant::now();
    let error = dump(silent()).unwrap_err().to_string();
    assert!(error.contains("said nothing for 2 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let runtime = runtime();
    runtime.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let begun = Instant::now();
    let error = take(&mut Redis::new(silent(), &runtime, &Silent)).unwrap_err().to_string();
    assert!(error.contains("interrupted") && begun.elapsed() < Duration::from_secs(1), "{error}");
}
