//! Where a MySQL or MariaDB server is and as whom it is asked, as a URL tells:
//! `mysql://user:password@host:3306/database?ssl-mode=REQUIRED`, or with `?socket=/run/mysqld/mysqld.sock`. Clients get it
//! as an option file, so that no secret stands among their arguments.

use super::flavour::Flavour;
use percent_encoding::percent_decode_str;
use std::fmt::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// A server, and who asks.
#[derive(Clone, Default)]
pub struct Connection {
    host: String,
    port: Option<u16>,
    socket: Option<String>,
    user: String,
    password: Zeroizing<String>,
    /// That of the URL.
    pub database: String,
    security: Option<Security>,
    authority: Option<PathBuf>,
}

/// How far the connection is secured, by the words of MySQL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Security {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Connection {
    /// Takes a URL apart. No error quotes it, since it holds a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        // with a socket there may be no host: `mysql://user:password@/database?socket=…`
        let hosted = if url.contains("socket=") { url.replacen("@/", "@localhost/", 1) } else { url.to_owned() };
        let hosted = Zeroizing::new(hosted);
        let url = url::Url::parse(&hosted).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "mysql" | "mariadb" | "mysql2") {
            return Err(format!("{}: is none of mysql: and mariadb:", url.scheme()));
        }
        let decoded = |part: &str| match percent_decode_str(part).decode_utf8() {
            Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
            _ => Err("it is not UTF-8 after its %-escapes".to_owned()),
        };
        let host = decoded(url.host_str().unwrap_or_default())?;
        let mut connection = Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port(),
            user: decoded(url.username())?,
            password: Zeroizing::new(decoded(url.password().unwrap_or_default())?),
            database: decoded(url.path().trim_matches('/'))?,
            ..Self::default()
        };
        for (key, value) in url.query_pairs() {
            match key.replace('_', "-").to_ascii_lowercase().as_str() {
                "socket" | "unix-socket" => connection.socket = Some(value.into_owned()),
                "ssl-mode" | "sslmode" | "tls" => connection.security = Some(security(&value)?),
                "ssl-ca" | "sslca" | "sslrootcert" => connection.authority = Some(value.into_owned().into()),
                // how programs speak to it, which a dump decides by itself
                _ => {}
            }
        }
        Ok(connection)
    }

    /// Host and port, or the socket.
    pub fn place(&self) -> String {
        let host = if self.host.is_empty() { "localhost" } else { &self.host };
        match (&self.socket, self.port) {
            (Some(socket), _) => socket.clone(),
            (None, Some(port)) => format!("{host}:{port}"),
            (None, None) => host.to_owned(),
        }
    }

    /// An option file for a client.
    pub fn options(&self, flavour: Flavour) -> Zeroizing<Vec<u8>> {
        let mut file = Zeroizing::new("[client]\n".to_owned());
        let mut line = |name: &str, value: &str| {
            // writing to a text does not fail
            let _ = writeln!(file, "{name}={}", *quoted(value));
        };
        let port = self.port.map(|port| port.to_string()).unwrap_or_default();
        let pairs = [("host", self.host.as_str()), ("port", &port), ("user", &self.user), ("password", &self.password)];
        pairs.iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| line(name, value));
        if let Some(socket) = &self.socket {
            line("socket", socket);
        } else if !matches!(self.host.as_str(), "" | "localhost") {
            line("protocol", "tcp");
        }
        if let Some(authority) = &self.authority {
            line("ssl-ca", &authority.to_string_lossy());
        }
        match (self.security, flavour) {
            (None, _) => {}
            (Some(security), Flavour::MySql) => line("ssl-mode", security.name()),
            (Some(Security::Disabled), Flavour::MariaDb) => line("ssl", "0"),
            // newer clients of MariaDB believe no certificate of a server's own, unless they are told
            (Some(Security::Preferred), Flavour::MariaDb) => line("ssl-verify-server-cert", "0"),
            (Some(Security::Required), Flavour::MariaDb) => {
                line("ssl", "1");
                line("ssl-verify-server-cert", "0");
            }
            (Some(Security::VerifyCa), Flavour::MariaDb) => line("ssl", "1"),
            (Some(Security::VerifyIdentity), Flavour::MariaDb) => {
                line("ssl", "1");
                line("ssl-verify-server-cert", "1");
            }
        }
        Zeroizing::new(std::mem::take(&mut *file).into_bytes())
    }
}

impl Security {
    fn name(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Preferred => "PREFERRED",
            Self::Required => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyIdentity => "VERIFY_IDENTITY",
        }
    }
}

fn security(text: &str) -> Result<Security, String> {
    match text.to_ascii_lowercase().replace('-', "_").as_str() {
        "disabled" | "disable" | "false" => Ok(Security::Disabled),
        "preferred" | "prefer" => Ok(Security::Preferred),
        "required" | "require" | "true" => Ok(Security::Required),
        "verify_ca" => Ok(Security::VerifyCa),
        "verify_identity" | "verify_full" => Ok(Security::VerifyIdentity),
        _ => Err("ssl-mode is none of DISABLED, PREFERRED, REQUIRED, VERIFY_CA and VERIFY_IDENTITY".into()),
    }
}

/// A value as option files have it: without quotes a `#` would begin a comment.
fn quoted(value: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(value.len() + 8));
    out.push('"');
    for sign in value.chars() {
        match sign {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{Connection, Flavour};

    fn file(url: &str, flavour: Flavour) -> String {
        let connection = Connection::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        String::from_utf8(connection.options(flavour).to_vec()).unwrap()
    }

    #[test]
    fn urls_become_option_files() {
        let url = "mysql://me:p%22a%5C%20s%23%0A@db.example:3307/app?ssl-mode=verify_ca&ssl_ca=/etc/ca.pem&charset=x";
        let common = "[client]\nhost=\"db.example\"\nport=\"3307\"\nuser=\"me\"\npassword=\"p\\\"a\\\\ s#\\n\"\n\
                      protocol=\"tcp\"\nssl-ca=\"/etc/ca.pem\"\n";
        assert_eq!(file(url, Flavour::MySql), format!("{common}ssl-mode=\"VERIFY_CA\"\n"));
        assert_eq!(file(url, Flavour::MariaDb), format!("{common}ssl=\"1\"\n"));
        let socket = "mariadb://root@localhost/app?socket=/run/my.sock";
        assert_eq!(
            file(socket, Flavour::MariaDb),
            "[client]\nhost=\"localhost\"\nuser=\"root\"\nsocket=\"/run/my.sock\"\n"
        );
        assert_eq!(file(&socket.replace("localhost", ""), Flavour::MariaDb), file(socket, Flavour::MariaDb));
        let connection = Connection::parse(socket).unwrap();
        assert_eq!((connection.place().as_str(), connection.database.as_str()), ("/run/my.sock", "app"));
        assert_eq!(Connection::parse(url).unwrap().place(), "db.example:3307");
    }

    #[test]
    fn no_error_tells_the_password() {
        for url in ["http://me:s3cr3t@host", "mysql://me:s3cr3t@host:port", "mysql://me:s3cr3t@h?ssl-mode=maybe"] {
            let error = Connection::parse(url).map(|_| ()).unwrap_err();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
