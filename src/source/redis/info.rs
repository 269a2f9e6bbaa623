//! What a Redis server says of itself.

use super::connection::{Connection, Reply};
use super::{Failure, Method, Options};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Keys by the number of their database.
pub type Keyspace = BTreeMap<u64, u64>;

/// The reply to `INFO`: lines of `name:value`.
#[derive(Clone, Debug, Default)]
pub struct Info(BTreeMap<String, String>);

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `redis` or `valkey`.
    pub flavour: &'static str,
    /// Of the program.
    pub number: String,
}

/// What a server is, before anything is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// `redis` or `valkey`; empty if this user may not know.
    pub flavour: String,
    /// Of the program; empty if this user may not know.
    pub server_version: String,
    /// `master` or `slave`, in its words.
    pub role: String,
    /// Keys by the number of their database.
    pub keys: BTreeMap<u64, u64>,
    /// Bytes of memory that its data takes: a copy is rarely larger.
    pub bytes_estimate: Option<u64>,
    /// What keeps it from being copied as it is asked for.
    pub findings: Vec<Finding>,
}

/// What keeps a server from being copied as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// It has no whole data to give.
    #[error("it is a replica that has lost its master")]
    NoMaster,
    /// Its provider has switched that off.
    #[error("it gives no replication stream: use the method bgsave, with the path of its file")]
    NoReplication,
    /// The file that it saves to is not there, or not for this user.
    #[error("{} can't be read{}", path.display(), elsewhere(saves_to.as_ref()))]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// Where the server says that it saves.
        saves_to: Option<PathBuf>,
    },
}

/// Where a server says that it saves.
pub fn elsewhere(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(": it saves to {}", path.display())).unwrap_or_default()
}

impl Info {
    fn new(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Which server it is.
    pub fn version(&self) -> Version {
        let own = self.text("valkey_version");
        let number = own.or_else(|| self.text("redis_version")).unwrap_or_default().to_owned();
        Version { flavour: if own.is_some() { "valkey" } else { "redis" }, number }
    }

    /// Keys of each database that has any: `db0:keys=12,expires=3,avg_ttl=0`.
    pub fn keyspace(&self) -> Keyspace {
        let databases = self.0.iter().filter_map(|(name, value)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let keys = value.split(',').find_map(|part| part.strip_prefix("keys="))?;
            Some((number, keys.parse().ok()?))
        });
        databases.collect()
    }
}

/// What it says; `None` if this user may not know.
pub fn of(connection: &mut Connection<'_>) -> Result<Option<Info>, Failure> {
    match connection.ask(&[b"INFO"])? {
        Reply::Bytes(text) => Ok(Some(Info::new(&String::from_utf8_lossy(&text)))),
        Reply::Error(message) if message.starts_with("NOPERM") || message.contains("unknown command") => Ok(None),
        Reply::Error(message) => {
            Err(Failure::Refused { address: connection.address.clone(), command: "INFO", message })
        }
        _ => Err(connection.strange("no text to INFO")),
    }
}

/// Its time, in seconds since 1970.
pub fn time(connection: &mut Connection<'_>) -> Result<i64, Failure> {
    let Reply::List(parts) = connection.order("TIME", &[b"TIME"])? else { return Err(connection.strange("no time")) };
    let Some(Reply::Bytes(seconds)) = parts.first() else { return Err(connection.strange("no time")) };
    let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok());
    seconds.ok_or_else(|| connection.strange("no time"))
}

/// When it saved last, by its clock.
pub fn last_save(connection: &mut Connection<'_>) -> Result<i64, Failure> {
    match connection.order("LASTSAVE", &[b"LASTSAVE"])? {
        Reply::Number(seconds) => Ok(seconds),
        _ => Err(connection.strange("no time")),
    }
}

/// Where it saves to, if it tells.
pub fn saves_to(connection: &mut Connection<'_>) -> Option<PathBuf> {
    let mut asked = |name: &[u8]| match connection.ask(&[b"CONFIG", b"GET", name]) {
        Ok(Reply::List(pair)) => match pair.into_iter().nth(1) {
            Some(Reply::Bytes(value)) => Some(PathBuf::from(OsString::from_vec(value))),
            _ => None,
        },
        _ => None,
    };
    Some(asked(b"dir")?.join(asked(b"dbfilename")?))
}

/// All that is worth knowing before a copy.
pub fn survey(connection: &mut Connection<'_>, options: &Options) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    if let Some(info) = of(connection)? {
        let version = info.version();
        (survey.flavour, survey.server_version) = (version.flavour.into(), version.number);
        survey.role = info.text("role").unwrap_or_default().to_owned();
        (survey.keys, survey.bytes_estimate) = (info.keyspace(), info.number("used_memory_dataset"));
        if info.text("master_link_status").is_some_and(|status| status != "up") {
            survey.findings.push(Finding::NoMaster);
        }
    }
    match &options.method {
        Method::Replica => {
            let known = connection.ask(&[b"COMMAND", b"INFO", b"PSYNC"])?;
            if known == Reply::List(vec![Reply::Nothing]) {
                survey.findings.push(Finding::NoReplication);
            }
        }
        Method::Bgsave(path) if !super::is_readable(path) => {
            survey.findings.push(Finding::Unreadable { path: path.clone(), saves_to: saves_to(connection) });
        }
        Method::Bgsave(_) => {}
    }
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::{Info, Version};

    #[test]
    fn what_a_server_says_is_understood() {
        let info = Info::new("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\nused_memory_dataset:1234\r\n");
        assert_eq!(info.version(), Version { flavour: "valkey", number: "8.0.1".into() });
        assert_eq!(info.number("used_memory_dataset"), Some(1234));
        let info = Info::new("redis_version:7.0.15\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb11:keys=1,expires=0\r\n");
        assert_eq!(info.version().flavour, "redis");
        assert_eq!(info.keyspace().into_iter().collect::<Vec<_>>(), [(0, 12), (11, 1)]);
    }
}
