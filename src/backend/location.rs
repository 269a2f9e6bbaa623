//! A location: the text after `--repository`, a path or a URL, taken apart and checked before anything is contacted.
//! `Backend::open` takes it. Invariant: neither `Display` nor `Debug` shows a secret, and an option that the service
//! does not know is an error instead of being ignored.

mod foreign;

use super::error::{Error, ErrorKind, Operation, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Local(PathBuf),
    /// Anything that is reached through OpenDAL.
    Remote(Remote),
}

/// The kinds of remote place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// This process's memory: for trials and tests.
    Memory,
    /// S3 and what speaks it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
    /// Backblaze B2.
    B2,
    /// SFTP through the system's `ssh`.
    Sftp,
    /// WebDAV over HTTP.
    Webdav,
    /// WebDAV over HTTPS.
    Webdavs,
}

/// A remote place, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// What kind of place.
    pub scheme: Scheme,
    /// Bucket, container or `user@host:port`, without a password.
    pub authority: String,
    /// The folder inside, without slashes at its ends. For sftp it is absolute unless it starts with `~/`.
    pub root: String,
    /// The service's options, credentials among them if somebody put them into the URL.
    pub options: BTreeMap<String, String>,
}

impl Scheme {
    const ALL: [Self; 8] =
        [Self::Memory, Self::S3, Self::Gcs, Self::Azblob, Self::B2, Self::Sftp, Self::Webdav, Self::Webdavs];

    /// The word before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azblob => "azblob",
            Self::B2 => "b2",
            Self::Sftp => "sftp",
            Self::Webdav => "webdav",
            Self::Webdavs => "webdavs",
        }
    }

    /// OpenDAL's word for the service.
    pub(super) fn service(self) -> &'static str {
        if self == Self::Webdavs { "webdav" } else { self.name() }
    }

    /// The options that the service knows; `None` if it is not part of this build.
    fn options(self) -> Option<Vec<String>> {
        match self {
            Self::Memory => Some(Vec::new()),
            #[cfg(feature = "s3")]
            Self::S3 => Some(fields(&opendal::services::S3Config::default())),
            #[cfg(feature = "gcs")]
            Self::Gcs => Some(fields(&opendal::services::GcsConfig::default())),
            #[cfg(feature = "azblob")]
            Self::Azblob => Some(fields(&opendal::services::AzblobConfig::default())),
            #[cfg(feature = "b2")]
            Self::B2 => Some(fields(&opendal::services::B2Config::default())),
            #[cfg(feature = "sftp")]
            Self::Sftp => Some(fields(&opendal::services::SftpConfig::default())),
            #[cfg(feature = "webdav")]
            Self::Webdav | Self::Webdavs => Some(fields(&opendal::services::WebdavConfig::default())),
            #[allow(unreachable_patterns, reason = "reached when a service is left out of the build")]
            _ => None,
        }
    }

    /// Whether folders exist for themselves, and an upload is visible before it is complete.
    pub(super) fn has_folders(self) -> bool {
        matches!(self, Self::Sftp | Self::Webdav | Self::Webdavs)
    }

    pub(super) fn listing_lag(self) -> Duration {
        match self {
            Self::Memory | Self::S3 | Self::Gcs | Self::Azblob => Duration::ZERO,
            Self::B2 | Self::Sftp | Self::Webdav | Self::Webdavs => Duration::from_mins(10),
        }
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azblob", feature = "b2", feature = "sftp", feature = "webdav"))]
fn fields<T: serde::Serialize>(config: &T) -> Vec<String> {
    match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

impl Location {
    /// Takes `text` apart: a path, `file:///path`, or `scheme://place/folder?option=value`. A path of which the first
    /// part has a colon must be there already, or begin with `./`: other tools write their locations so.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(foreign) = foreign::of(text) {
            // not cut like causes, of which the queries of URLs go: this one is for reading
            let cause = format!("that is another tool's form; {}", foreign.advice);
            return Err(Error { cause, ..unsupported(&foreign.shown, "") });
        }
        let Some((scheme, _)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(refused("", "the location is empty"));
            }
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let name = scheme.to_ascii_lowercase();
        // Errors name only the scheme: what follows may hold a password.
        let shown = format!("{scheme}://…");
        let url = Url::parse(text).map_err(|e| match e {
            url::ParseError::InvalidPort => refused(&shown, foreign::no_port(text)),
            e => refused(&shown, format!("not a URL: {e}")),
        })?;
        if name == "file" {
            let path =
                url.to_file_path().map_err(|()| refused(&shown, "use file:///absolute/path, or the plain path"))?;
            return Ok(Self::Local(path));
        }
        let Some(scheme) = Scheme::ALL.into_iter().find(|s| s.name() == name) else {
            let known = Scheme::ALL.map(Scheme::name).join(", ");
            return Err(unsupported(&shown, format!("unknown kind of place; known: a path, file, {known}")));
        };
        let Some(known) = scheme.options() else {
            return Err(unsupported(&shown, format!("this build of vault has no {} support", scheme.name())));
        };
        Remote::from_url(scheme, &url, &known, &shown).map(Self::Remote)
    }

    /// True if it has a credential in it, which then stands wherever the location does.
    pub fn holds_secret(&self) -> bool {
        let Self::Remote(remote) = self else { return false };
        remote.options.iter().any(|(key, value)| remote.is_secret(key) || without_userinfo(value) != *value)
    }

    /// How many requests in flight this kind of place takes without refusing some.
    pub(super) fn default_connections(&self) -> usize {
        match self {
            // Stock sshd drops connections beyond ten, and its answer looks permanent.
            Self::Remote(remote) if remote.scheme == Scheme::Sftp => 4,
            _ => 8,
        }
    }
}

impl Remote {
    fn from_url(scheme: Scheme, url: &Url, known: &[String], shown: &str) -> Result<Self> {
        let mut options = BTreeMap::new();
        for (key, value) in url.query_pairs() {
            if !known.iter().any(|k| k == key.as_ref()) {
                let near = super::nearby::nearest(&key, known.iter().map(String::as_str));
                let next = near.map_or("docs/locations.md tells of them".into(), |near| format!("perhaps {near}"));
                return Err(refused(shown, format!("unknown option {key}: {next}")));
            }
            options.insert(key.into_owned(), value.into_owned());
        }
        if url.fragment().is_some() {
            return Err(refused(shown, "write '#' as %23"));
        }
        let decoded = |part: &str| decode(part).ok_or_else(|| refused(shown, "not UTF-8 after its %-escapes"));
        let host = decoded(url.host_str().unwrap_or_default())?;
        if host.is_empty() && scheme != Scheme::Memory {
            return Err(refused(shown, "the part after :// names no bucket, container or host"));
        }
        let user = decoded(url.username())?;
        let mut authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        match scheme {
            Scheme::Sftp if url.password().is_some() => {
                return Err(refused(shown, "sftp takes keys or an agent, not a password"));
            }
            Scheme::Sftp if !user.is_empty() => authority = format!("{user}@{authority}"),
            Scheme::Webdav | Scheme::Webdavs if !user.is_empty() => {
                options.insert("username".into(), user);
                if let Some(password) = url.password() {
                    options.insert("password".into(), decoded(password)?);
                }
            }
            _ if !user.is_empty() || url.password().is_some() => {
                return Err(refused(shown, "credentials come from the environment, not from the location"));
            }
            _ => {}
        }
        let root = decoded(url.path().trim_matches('/'))?;
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if !root.is_empty() && root.split('/').any(odd) {
            return Err(refused(shown, "the folder has an empty, '.' or '..' part"));
        }
        Ok(Self { scheme, authority, root, options })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority)?;
        if !self.root.is_empty() {
            write!(f, "/{}", self.root)?;
        }
        for (at, (key, value)) in self.options.iter().enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            write!(f, "{sign}{key}={}", if self.is_secret(key) { "***".into() } else { without_userinfo(value) })?;
        }
        Ok(())
    }
}

impl Remote {
    fn is_secret(&self, key: &str) -> bool {
        // For sftp, `key` is the path of a file.
        let harmless = key == "credential_path" || (self.scheme == Scheme::Sftp && key == "key");
        let words = ["key", "secret", "password", "token", "credential", "external_id"];
        !harmless && words.iter().any(|word| key.contains(word))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({self})")
    }
}

/// An endpoint may be a URL with a password of its own, or with a signature in its query.
fn without_userinfo(value: &str) -> String {
    let Ok(mut url) = Url::parse(value) else { return value.to_owned() };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let cleaned = url.set_username("").is_ok() && url.set_password(None).is_ok();
    url.set_query(None);
    if plain {
        value.to_owned()
    } else if cleaned {
        url.to_string()
    } else {
        "***".to_owned()
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        let hex = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                out.push(byte);
                bytes = rest.get(2..).unwrap_or_default();
            }
            _ => out.push(first),
        }
    }
    String::from_utf8(out).ok()
}

fn refused(shown: &str, cause: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Other, Operation::Open, shown, cause)
}

fn unsupported(shown: &str, cause: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Unsupported, Operation::Open, shown, cause)
}
