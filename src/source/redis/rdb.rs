//! The file format of Redis, as far as a copy has to know it: what stands at its begin, and the checksum at its end. A
//! server sends it over a replication link with its length before it, or with a mark behind it that is no part of it.

use super::connection::Connection;
use crc::{Crc, Digest, Table};
use std::io::{self, Read};

/// The checksum of all but itself.
static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&crc::CRC_64_REDIS);
/// Its bytes at the end.
const CHECKSUM_BYTES: usize = 8;
/// The mark behind a stream of unknown length.
pub const MARK_BYTES: usize = 40;
/// What is read at once of a stream with a mark.
const CHUNK: usize = 64 << 10;
/// What the first database begins within, unless modules keep something before it.
const HEAD_BYTES: usize = 16 << 10;

const EOF: u8 = 0xff;
const SELECT: u8 = 0xfe;
const RESIZE: u8 = 0xfb;
const AUXILIARY: u8 = 0xfa;
const FUNCTION: u8 = 0xf5;

/// What a server sends on a replication link, without what frames it.
pub struct Payload<'a> {
    connection: Connection<'a>,
    frame: Frame,
}

enum Frame {
    /// So many bytes are left.
    Length(u64),
    /// Up to this mark: what has come, from where it was not given on yet.
    Mark {
        mark: [u8; MARK_BYTES],
        window: Vec<u8>,
        used: usize,
    },
    Done,
}

impl<'a> Payload<'a> {
    /// Reads what announces the payload: `$123` or `$EOF:` and a mark.
    pub fn begin(mut connection: Connection<'a>) -> Result<Self, super::Failure> {
        let line = connection.line()?;
        if let Some(message) = line.strip_prefix('-') {
            let address = connection.address.clone();
            return Err(super::Failure::Refused { address, command: "PSYNC", message: message.to_owned() });
        }
        let announced = line.strip_prefix('$').ok_or_else(|| connection.strange("no data after its promise"))?;
        let frame = match announced.strip_prefix("EOF:").map(|mark| mark.as_bytes().try_into()) {
            Some(Ok(mark)) => Frame::Mark { mark, window: Vec::new(), used: 0 },
            Some(Err(_)) => return Err(connection.strange("a mark of another length")),
            None => Frame::Length(announced.parse().map_err(|_| connection.strange("data of no length"))?),
        };
        Ok(Self { connection, frame })
    }
}

impl Read for Payload<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let failed = |failure: super::Failure| io::Error::other(failure.to_string());
        loop {
            match &mut self.frame {
                Frame::Done | Frame::Length(0) => return Ok(0),
                Frame::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
                    let read = self.connection.some(out.get_mut(..most).unwrap_or_default()).map_err(failed)?;
                    if read == 0 {
                        return Err(failed(self.connection.ended()));
                    }
                    *left = left.saturating_sub(read as u64);
                    return Ok(read);
                }
                Frame::Mark { mark, window, used } => {
                    let free = window.len().saturating_sub(MARK_BYTES);
                    if let Some(mut ready) = window.get(*used..free).filter(|ready| !ready.is_empty()) {
                        let read = ready.read(out)?;
                        *used = used.saturating_add(read);
                        return Ok(read);
                    }
                    window.drain(..*used);
                    *used = 0;
                    if window.as_slice() == mark {
                        self.frame = Frame::Done;
                        continue;
                    }
                    let held = window.len();
                    window.resize(held.saturating_add(CHUNK), 0);
                    let some = self.connection.some(window.get_mut(held..).unwrap_or_default());
                    window.truncate(held.saturating_add(*some.as_ref().unwrap_or(&0)));
                    if some.map_err(failed)? == 0 {
                        return Err(failed(self.connection.ended()));
                    }
                }
            }
        }
    }
}

/// Looks at a file of this format while it is read.
pub struct Watched<R> {
    inner: R,
    digest: Digest<'static, u64, Table<16>>,
    /// The last bytes, which may be the checksum.
    tail: Vec<u8>,
    /// The last byte before those.
    before: u8,
    head: Vec<u8>,
}

/// What a whole file tells of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Of the format.
    pub version: u32,
    /// Written by Valkey under its own name.
    pub is_valkey: bool,
    /// Of the server.
    pub server_version: Option<String>,
    /// When it was begun, in seconds since 1970.
    pub created: Option<i64>,
    /// The first database: its number, keys, and how many of them expire. None has keys if it is `None` and
    /// `is_known` is set.
    pub first: Option<Database>,
    /// All before the first database was understood.
    pub is_known: bool,
    /// Its checksum is switched off.
    pub is_unchecked: bool,
}

/// A database within a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    pub number: u64,
    pub keys: u64,
    pub expiring: u64,
}

impl<R: Read> Watched<R> {
    /// Nothing was read yet.
    pub fn new(inner: R) -> Self {
        Self { inner, digest: CHECKSUM.digest(), tail: Vec::new(), before: 0, head: Vec::new() }
    }

    fn watch(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let over = (self.tail.len() + bytes.len()).saturating_sub(CHECKSUM_BYTES);
        let from_tail = over.min(self.tail.len());
        let from_bytes = over - from_tail;
        for sure in [self.tail.get(..from_tail), bytes.get(..from_bytes)].into_iter().flatten() {
            self.digest.update(sure);
            self.before = sure.last().copied().unwrap_or(self.before);
        }
        self.tail.drain(..from_tail);
        self.tail.extend_from_slice(bytes.get(from_bytes..).unwrap_or_default());
    }

    /// What was read to the end, or what is wrong with it.
    pub fn finish(self) -> Result<Header, String> {
        let mut header = Header::of(&self.head).ok_or("it does not begin as an RDB file does")?;
        if self.before != EOF {
            return Err("it ends in the middle".into());
        }
        let tail = self.tail.as_slice().try_into().map_err(|_| "it is too short")?;
        let stored = u64::from_le_bytes(tail);
        header.is_unchecked = stored == 0;
        if stored != 0 && stored != self.digest.finalize() {
            return Err("its checksum does not fit".into());
        }
        Ok(header)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.watch(out.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl Header {
    /// Reads as much of the begin as it understands; `None` if it is of another format.
    pub fn of(head: &[u8]) -> Option<Self> {
        let (magic, mut rest) = head.split_at_checked(9)?;
        let (is_valkey, version) = match (magic.strip_prefix(b"REDIS"), magic.strip_prefix(b"VALKEY")) {
            (Some(version), _) => (false, version),
            (_, Some(version)) => (true, version),
            _ => return None,
        };
        let version = std::str::from_utf8(version).ok()?.parse().ok()?;
        let mut header = Self { version, is_valkey, ..Self::default() };
        header.is_known = header.read(&mut rest).is_some();
        Some(header)
    }

    /// `None` where something is met that is not understood.
    fn read(&mut self, rest: &mut &[u8]) -> Option<()> {
        loop {
            match byte(rest)? {
                AUXILIARY => {
                    let (name, value) = (text(rest)?, text(rest)?);
                    match name.as_slice() {
                        b"redis-ver" | b"valkey-ver" => {
                            self.server_version = Some(String::from_utf8_lossy(&value).into_owned());
                        }
                        b"ctime" => self.created = std::str::from_utf8(&value).ok()?.parse().ok(),
                        _ => {}
                    }
                }
                FUNCTION => drop(text(rest)?),
                SELECT => {
                    let number = length(rest)?;
                    if byte(rest)? != RESIZE {
                        return None;
                    }
                    self.first = Some(Database { number, keys: length(rest)?, expiring: length(rest)? });
                    return Some(());
                }
                EOF => return Some(()),
                _ => return None,
            }
        }
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn take<'r>(rest: &mut &'r [u8], length: usize) -> Option<&'r [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// A number of 6, 14, 32 or 64 bits.
fn length(rest: &mut &[u8]) -> Option<u64> {
    let first = byte(rest)?;
    match first >> 6 {
        0 => Some(u64::from(first & 0x3f)),
        1 => Some(u64::from(first & 0x3f) << 8 | u64::from(byte(rest)?)),
        _ if first == 0x80 => Some(u64::from(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))),
        _ if first == 0x81 => Some(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?)),
        _ => None,
    }
}

/// A string; what looks like a number is stored as one. What is compressed is passed over.
fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let first = *rest.first()?;
    if first >> 6 != 3 {
        let length = usize::try_from(length(rest)?).ok()?;
        return Some(take(rest, length)?.to_vec());
    }
    byte(rest)?;
    let number = match first & 0x3f {
        0 => i64::from(i8::from_le_bytes(take(rest, 1)?.try_into().ok()?)),
        1 => i64::from(i16::from_le_bytes(take(rest, 2)?.try_into().ok()?)),
        2 => i64::from(i32::from_le_bytes(take(rest, 4)?.try_into().ok()?)),
        3 => {
            let compressed = usize::try_from(length(rest)?).ok()?;
            length(rest)?;
            take(rest, compressed)?;
            return Some(Vec::new());
        }
        _ => return None,
    };
    Some(number.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Database, Header, Watched};
    use std::io::Read;

    /// An empty database of Redis 7, as it saves it, but for its checksum.
    fn file() -> Vec<u8> {
        let mut file = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x05ctime\xc2\x00\xf1\x53\x65".to_vec();
        file.extend_from_slice(b"\xf5\x03abc\xfe\x03\xfb\x41\x00\x05\x00\x01k\x01v\xff");
        file
    }

    fn watched(bytes: &[u8], step: usize) -> Result<Header, String> {
        let mut watched = Watched::new(bytes);
        let mut out = vec![0; step];
        while watched.read(&mut out).unwrap() > 0 {}
        watched.finish()
    }

    #[test]
    fn a_whole_file_is_told_from_a_damaged_one_however_it_comes() {
        let mut whole = file();
        whole.extend_from_slice(&super::CHECKSUM.checksum(&whole).to_le_bytes());
        let expected = Header {
            version: 10,
            server_version: Some("7.0.15".into()),
            created: Some(1_700_000_000),
            first: Some(Database { number: 3, keys: 256, expiring: 5 }),
            is_known: true,
            ..Header::default()
        };
        for step in [1, 3, 8, 9, 1000] {
            assert_eq!(watched(&whole, step).as_ref(), Ok(&expected), "{step}");
        }
        for length in 0..whole.len() {
            assert!(watched(&whole[..length], 7).is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(watched(&changed, 7).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_checksum_may_be_off() {
        let mut file = file();
        file.extend_from_slice(&[0; 8]);
        assert!(watched(&file, 64).unwrap().is_unchecked);
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(super::CHECKSUM.checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let header = Header::of(b"VALKEY080\xf7\x81module").unwrap();
        assert_eq!((header.version, header.is_valkey, header.is_known, header.first), (80, true, false, None));
        assert!(Header::of(b"PGDMP\x01\x0e\x00\x04\x08").is_none());
    }
}
