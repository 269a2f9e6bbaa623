//! Where a Redis server is, as its URL tells: `redis://user:password@host:6379`, `rediss://…` for TLS,
//! `unix:///run/redis.sock`. The password is kept apart, so that what is shown of an address has none.

use super::Failure;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where Redis listens unless it is said.
const PORT: u16 = 6379;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over the network; with TLS, or without.
    Host {
        /// Name or number.
        host: String,
        /// Its port.
        port: u16,
        /// Encrypted, and its certificate checked.
        tls: bool,
    },
    /// On this machine.
    Socket(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::Host { host: "127.0.0.1".into(), port: PORT, tls: false }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a URL tells.
pub struct Parts {
    pub address: Address,
    pub user: String,
    pub password: Zeroizing<String>,
    /// Certificates of the authorities that are believed instead of the system's.
    pub authorities: Option<PathBuf>,
}

/// Takes a URL apart. No error quotes it, since it holds a password.
pub fn parse(url: &str) -> Result<Parts, Failure> {
    let refused = |why: &str| Failure::Address(why.to_owned());
    let url = url.trim();
    // a socket has no host, and yet a user may stand before it: `unix://user:password@/run/redis.sock`
    let is_socket =
        url.split_once(':').is_some_and(|(scheme, _)| matches!(scheme, "unix" | "redis+unix" | "redis-socket"));
    let hosted = if is_socket { url.replacen("@/", "@localhost/", 1) } else { url.to_owned() };
    let hosted = Zeroizing::new(hosted);
    let url = url::Url::parse(&hosted).map_err(|error| Failure::Address(error.to_string()))?;
    let decoded = |part: &str| match percent_decode_str(part).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(refused("it is not UTF-8 after its %-escapes")),
    };
    let address = match url.scheme() {
        "redis" | "valkey" | "rediss" | "valkeys" => {
            let host = decoded(url.host_str().unwrap_or_default())?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() { "127.0.0.1".to_owned() } else { host.to_owned() };
            let tls = matches!(url.scheme(), "rediss" | "valkeys");
            Address::Host { host, port: url.port().unwrap_or(PORT), tls }
        }
        "unix" | "redis+unix" | "redis-socket" => Address::Socket(decoded(url.path())?.into()),
        other => return Err(Failure::Address(format!("{other}: is none of redis:, rediss: and unix:"))),
    };
    let mut authorities = None;
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "ssl_ca_certs" | "cacert" => authorities = Some(PathBuf::from(value.as_ref())),
            "ssl_cert_reqs" | "insecure" if value != "required" => {
                return Err(refused("certificates are always checked; ssl_ca_certs=FILE names whom to believe"));
            }
            // which database, how long to wait: nothing that a whole copy would heed
            _ => {}
        }
    }
    let password = Zeroizing::new(decoded(url.password().unwrap_or_default())?);
    Ok(Parts { address, user: decoded(url.username())?, password, authorities })
}

#[cfg(test)]
mod tests {
    use super::{Address, parse};

    #[test]
    fn urls_are_taken_apart() {
        let host = |host: &str, port, tls| Address::Host { host: host.into(), port, tls };
        let table = [
            ("redis://cache", host("cache", 6379, false), "", ""),
            ("redis://:p%40ss@cache:7000/2", host("cache", 7000, false), "", "p@ss"),
            ("rediss://me:secret@cache.example:6380", host("cache.example", 6380, true), "me", "secret"),
            ("redis://[::1]:6379", host("::1", 6379, false), "", ""),
            ("unix:///run/redis.sock", Address::Socket("/run/redis.sock".into()), "", ""),
            ("unix://me:secret@/run/a%20b.sock?db=1", Address::Socket("/run/a b.sock".into()), "me", "secret"),
        ];
        for (url, address, user, password) in table {
            let parts = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(
                (parts.address, parts.user.as_str(), parts.password.as_str()),
                (address, user, password),
                "{url}"
            );
        }
    }

    #[test]
    fn no_error_tells_the_password() {
        for url in ["http://me:s3cr3t@host", "redis://me:s3cr3t@host:port", "rediss://me:s3cr3t@h?ssl_cert_reqs=none"] {
            let error = parse(url).map(|_| ()).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
