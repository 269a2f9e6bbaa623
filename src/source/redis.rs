//! The data of a Redis or Valkey server as a source: a file of its own format, as it sends one to a replica, or saves one
//! to a disk that this machine reads. It counts only if its end is there and the checksum fits. How many keys it holds is
//! told where that is exact. Invariant: nothing is written to the server, and no replica of it stays behind.

mod address;
mod connection;
mod failure;
mod info;
mod rdb;
mod tls;

pub use address::Address;
pub use failure::Failure;
pub use info::{Finding, Survey};

use super::dump::{Dump, DumpFailure, DumpFile, Learned};
use crate::progress::Progress;
use crate::runtime::Runtime;
use connection::{Connection, Reply};
use info::{Info, Keyspace};
use rdb::{Header, Payload, Watched};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long to wait between two looks at a server that saves.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks at a server that neither saves nor has saved, after which it won't.
const LOOKS: u32 = 50;

/// Which server, and how its data is had.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub address: Address,
    /// Empty for the default user.
    pub user: String,
    /// Empty if it asks for none.
    pub password: Zeroizing<String>,
    /// Certificates of the authorities that are believed instead of the system's.
    pub authorities: Option<PathBuf>,
    /// How the data is had.
    pub method: Method,
    /// Name in the snapshot.
    pub filename: Vec<u8>,
    /// How long the server may be silent: it says newlines while it prepares a copy.
    pub timeout: Duration,
}

/// How the data is had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// As a replica gets it, over the connection.
    #[default]
    Replica,
    /// The server saves to this file, which is then read.
    Bgsave(PathBuf),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: Address::default(),
            user: String::new(),
            password: Zeroizing::default(),
            authorities: None,
            method: Method::default(),
            filename: b"dump.rdb".to_vec(),
            timeout: Duration::from_mins(1),
        }
    }
}

impl Options {
    /// Those that a URL tells: `redis://user:password@host:6379`, `rediss://…?ssl_ca_certs=FILE` for TLS,
    /// `unix:///run/redis.sock`.
    pub fn of_url(url: &str) -> Result<Self, Failure> {
        let address::Parts { address, user, password, authorities } = address::parse(url)?;
        Ok(Self { address, user, password, authorities, ..Self::default() })
    }
}

/// Asks a server what it is, and copies nothing.
pub fn survey(options: &Options, runtime: &Runtime) -> Result<Survey, Failure> {
    let mut connection = enter(options, runtime)?;
    info::survey(&mut connection, options)
}

/// The data of a server as a dump of one file.
pub struct Redis<'a> {
    options: Options,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    is_given: bool,
    /// Present while it is read.
    reading: Option<Watched<Box<dyn Read + 'a>>>,
    /// What the server said of itself before.
    before: Option<Info>,
    /// When it was asked to save, by its own clock, in seconds since 1970.
    asked: Option<i64>,
    learned: Learned,
}

impl<'a> Redis<'a> {
    /// Nothing is done yet.
    pub fn new(options: Options, runtime: &'a Runtime, progress: &'a dyn Progress) -> Self {
        let (reading, before, asked, learned) = (None, None, None, Learned::default());
        Self { options, runtime, progress, is_given: false, reading, before, asked, learned }
    }

    fn start(&mut self) -> Result<Watched<Box<dyn Read + 'a>>, Failure> {
        let mut connection = enter(&self.options, self.runtime)?;
        self.before = info::of(&mut connection)?;
        self.progress.waiting("the Redis server");
        let content: Box<dyn Read + 'a> = match self.options.method.clone() {
            Method::Replica => Box::new(replicate(connection)?),
            Method::Bgsave(path) => {
                let asked = save(&mut connection, self.runtime)?;
                self.asked = Some(asked);
                let error = |error| Failure::File { path: path.clone(), error };
                Box::new(File::open(&path).map_err(error)?)
            }
        };
        Ok(Watched::new(content))
    }

    /// Judges what was read.
    fn end(&mut self, watched: Watched<Box<dyn Read + 'a>>) -> Result<(), Failure> {
        let address = self.options.address.to_string();
        let header = watched.finish().map_err(|what| Failure::Damaged { address: address.clone(), what })?;
        if let (Method::Bgsave(path), Some(asked)) = (&self.options.method, self.asked)
            && header.created.is_some_and(|created| created < asked)
        {
            let said = info::elsewhere(self.saves_to().as_ref());
            return Err(Failure::Stale { path: path.clone(), address, said });
        }
        let keyspace = self.exact(&header);
        self.learn(&header, &keyspace);
        Ok(())
    }

    fn saves_to(&self) -> Option<PathBuf> {
        info::saves_to(&mut enter(&self.options, self.runtime).ok()?)
    }

    /// How many keys each database has, as far as that is known for sure. The file tells it of the first; of the others
    /// it is known if the server said the same before and after.
    fn exact(&self, header: &Header) -> Keyspace {
        let mut keyspace = Keyspace::default();
        if let Some(first) = header.first {
            keyspace.insert(first.number, first.keys);
        }
        let Some(before) = self.before.as_ref().map(Info::keyspace).filter(|before| before.len() > 1) else {
            return keyspace;
        };
        let after = enter(&self.options, self.runtime).and_then(|mut connection| info::of(&mut connection));
        let after = after.ok().flatten().map(|info| info.keyspace()).unwrap_or_default();
        let same = before.into_iter().filter(|(number, keys)| after.get(number) == Some(keys));
        for (number, keys) in same {
            keyspace.entry(number).or_insert(keys);
        }
        keyspace
    }

    fn learn(&mut self, header: &Header, keyspace: &Keyspace) {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let facts = &mut self.learned.facts;
        let said = self.before.as_ref().map(Info::version);
        let flavour = said.as_ref().map_or(if header.is_valkey { "valkey" } else { "redis" }, |said| said.flavour);
        facts.push(fact("flavour", flavour.to_owned()));
        facts.push(fact("rdb_version", header.version.to_string()));
        let version = said.map(|said| said.number).or_else(|| header.server_version.clone());
        facts.extend(version.map(|version| fact("server_version", version)));
        facts.extend(keyspace.iter().map(|(number, keys)| fact(&format!("keys:db{number}"), keys.to_string())));
        if header.is_unchecked {
            let note = "the server writes no checksums (rdbchecksum no): what came could be checked for its end only";
            self.learned.notes.push(note.into());
        }
        if self.before.is_none() {
            self.learned.notes.push("this user may not run INFO: little is known of the server".into());
        }
        let others =
            self.before.as_ref().map(|info| info.keyspace().into_keys().collect::<Vec<_>>()).unwrap_or_default();
        let uncounted: Vec<String> =
            others.iter().filter(|number| !keyspace.contains_key(number)).map(u64::to_string).collect();
        if !uncounted.is_empty() {
            let note = format!("keys of database {} changed meanwhile and were not counted", uncounted.join(", "));
            self.learned.notes.push(note);
        }
    }
}

impl Dump for Redis<'_> {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        (self.is_given, self.reading, self.learned) = (false, None, Learned::default());
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        if std::mem::replace(&mut self.is_given, true) {
            if let Some(watched) = self.reading.take() {
                self.end(watched)?;
            }
            return Ok(None);
        }
        let watched = self.start()?;
        let name = self.options.filename.clone();
        Ok(Some(DumpFile { name, content: self.reading.insert(watched), allow_empty: false }))
    }

    fn learned(&mut self) -> Learned {
        self.learned.clone()
    }
}

impl From<Failure> for DumpFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged { address, what } => {
                Self::Cut { what: format!("the Redis server at {address}"), why: what }
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Connects, and says who asks.
fn enter<'a>(options: &Options, runtime: &'a Runtime) -> Result<Connection<'a>, Failure> {
    let mut connection = Connection::open(options, runtime)?;
    let (user, password) = (options.user.as_bytes(), options.password.as_bytes());
    if !user.is_empty() {
        // a user without a password is one too
        connection.order("AUTH", &[b"AUTH", user, password])?;
    } else if !password.is_empty() {
        connection.order("AUTH", &[b"AUTH", password])?;
    }
    connection.order("PING", &[b"PING"])?;
    Ok(connection)
}

/// Asks for all data, as a replica does that has nothing yet.
fn replicate(mut connection: Connection<'_>) -> Result<Payload<'_>, Failure> {
    // what a server does not know of it says so: it then keeps in memory what is written meanwhile, or uses its disk
    for words in [[&b"REPLCONF"[..], b"rdb-only", b"1"], [b"REPLCONF", b"capa", b"eof"]] {
        connection.ask(&words)?;
    }
    match connection.ask(&[b"PSYNC", b"?", b"-1"])? {
        Reply::Line(line) if line.starts_with("FULLRESYNC") => {}
        // before version 2.8 there was no other way
        Reply::Error(message) if message.contains("unknown command") => {
            connection.say(&[b"SYNC"])?;
        }
        Reply::Error(message) => {
            return Err(Failure::Refused { address: connection.address.clone(), command: "PSYNC", message });
        }
        _ => return Err(connection.strange("it offers something else than all its data")),
    }
    Payload::begin(connection)
}

/// Has the server save, and waits until it has; gives the time on its clock when it was asked.
fn save(connection: &mut Connection<'_>, runtime: &Runtime) -> Result<i64, Failure> {
    // by the second: what was saved in this one can't be told from what will be
    let mut asked = info::time(connection)?;
    while info::last_save(connection)? >= asked {
        pause(runtime)?;
        asked = info::time(connection)?;
    }
    while let Reply::Error(message) = connection.ask(&[b"BGSAVE", b"SCHEDULE"])? {
        if !message.contains("already in progress") {
            return Err(Failure::Refused { address: connection.address.clone(), command: "BGSAVE", message });
        }
        pause(runtime)?;
    }
    let mut idle = 0;
    while idle < LOOKS {
        pause(runtime)?;
        let state = info::of(connection)?.ok_or_else(|| connection.strange("no INFO"))?;
        let is_busy =
            ["rdb_bgsave_in_progress", "aof_rewrite_in_progress"].iter().any(|name| state.number(name) == Some(1));
        if !is_busy && info::last_save(connection)? >= asked {
            return Ok(asked);
        }
        idle = if is_busy { 0 } else { idle + 1 };
    }
    let message = "it could not save; its log says why".to_owned();
    Err(Failure::Refused { address: connection.address.clone(), command: "BGSAVE", message })
}

fn pause(runtime: &Runtime) -> Result<(), Failure> {
    runtime.check_stopped().map_err(|_| Failure::Interrupted)?;
    runtime.clock.sleep(PAUSE);
    Ok(())
}

/// Whether a file can be read.
fn is_readable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}
