//! Ports for servers that tests start. The kernel would give one that a connection, or the server of another test, can have
//! taken before this one listens; these lie below those that it gives, and each is given once.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first, and how many there are.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens, and that this process was not given before.
pub fn free() -> u16 {
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::SeqCst)) % COUNT;
        let port = u16::try_from(FIRST + number).expect("ports below 32768");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free")
}
