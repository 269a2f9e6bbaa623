//! Where a server is and as whom to speak to it, as a URL says it or `key=value` words. What is secret in it goes to
//! programs by their environment, all else as one argument without secrets. Parameters that are not PostgreSQL's, as
//! drivers and frameworks write them into URLs, are left out. No error quotes what it is about: it may hold a password.

use std::ffi::OsStr;
use zeroize::Zeroizing;

/// Parameters that drivers understand and libpq refuses.
const FOREIGN: [&str; 22] = [
    "advisory_locks",
    "checkout_timeout",
    "connection_limit",
    "currentSchema",
    "pgbouncer",
    "pool",
    "pool_mode",
    "pool_timeout",
    "prepareThreshold",
    "prepared_statements",
    "reconnect",
    "schema",
    "socket_timeout",
    "sslaccept",
    "sslidentity",
    "statement_cache_size",
    "statement_limit",
    "stringtype",
    "supa",
    "uselibpqcompat",
    "variables",
    "workaround",
];
/// Secrets that libpq takes from no variable of the environment.
const UNSPEAKABLE: [&str; 4] = ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];
/// Where poolers listen by custom.
const POOLER_PORT: &str = "6543";

/// How to reach a server.
#[derive(Clone, Default)]
pub struct Connection {
    /// Without secrets, as libpq names them.
    parameters: Vec<(String, String)>,
    password: Option<Zeroizing<String>>,
    /// What was left out, by name.
    pub foreign: Vec<String>,
}

impl Connection {
    /// Reads a URL, or words like `host=db dbname=app`. An error says why not, and nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let pairs = match text.split_once("://") {
            Some((scheme, rest)) => {
                let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme);
                if !matches!(scheme, "postgres" | "postgresql") {
                    return Err("it does not begin with postgresql://");
                }
                of_url(rest)?
            }
            None => of_words(text)?,
        };
        let mut connection = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "password" => connection.password = Some(value).filter(|value| !value.is_empty()),
                secret if UNSPEAKABLE.contains(&secret) => {
                    return Err(
                        "it holds what everybody could read while a program runs; put that into a service file, \
                                and say `service`",
                    );
                }
                foreign if FOREIGN.contains(&foreign) => connection.foreign.push(name),
                _ => connection.set(&name, value.as_str()),
            }
        }
        Ok(connection)
    }

    /// A service of the file of services.
    pub fn of_service(name: &str) -> Self {
        Self { parameters: vec![("service".into(), name.into())], ..Self::default() }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.parameters.retain(|(other, _)| other != name);
        self.parameters.push((name.into(), value.into()));
    }

    /// A parameter that is not secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// True if nothing was said: the environment decides.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty() && self.password.is_none()
    }

    /// All but secrets as one argument; of another database if one is named.
    pub fn words(&self, database: Option<&str>) -> String {
        let mut named = self.clone();
        database.iter().for_each(|database| named.set("dbname", database));
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let words = named.parameters.iter().map(|(name, value)| format!("{name}='{}'", quoted(value)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Secrets, as variables of the environment.
    pub fn secrets(&self) -> Vec<(String, Zeroizing<String>)> {
        self.password.iter().map(|password| ("PGPASSWORD".to_owned(), password.clone())).collect()
    }

    /// Host and port as they are known, the environment's where nothing else was said.
    pub fn place<'e>(&self, variable: impl Fn(&str) -> Option<&'e OsStr>) -> String {
        let get = |name: &str, other: &str| {
            let said = self.get(name).or_else(|| variable(other)?.to_str());
            said.filter(|said| !said.is_empty()).map(str::to_owned)
        };
        let host = get("host", "PGHOST").or_else(|| get("hostaddr", "PGHOSTADDR"));
        match (host, self.get("service")) {
            (None, Some(service)) => format!("service {service}"),
            (Some(host), _) => format!("{host}:{}", get("port", "PGPORT").unwrap_or_else(|| "5432".into())),
            (None, None) => "the local socket".to_owned(),
        }
    }

    /// True if this place seems to be a pooler, which a dump can't be taken through.
    pub fn is_pooled<'e>(&self, variable: impl Fn(&str) -> Option<&'e OsStr>) -> bool {
        let place = self.place(variable);
        let (host, port) = place.rsplit_once(':').unwrap_or((place.as_str(), ""));
        let is_host = host.contains("-pooler.") || host.contains(".pooler.") || host.starts_with("pooler.");
        is_host || port == POOLER_PORT || self.foreign.iter().any(|name| name == "pgbouncer")
    }
}

type Pairs = Vec<(String, Zeroizing<String>)>;

/// The part of a URL behind `postgresql://`.
fn of_url(rest: &str) -> Result<Pairs, &'static str> {
    const UNCODED: &str = "a password that holds @, / or : must be written with %40, %2F or %3A";
    let mut pairs = Pairs::new();
    let end = rest.find('/').unwrap_or(rest.len());
    let user_end = rest.find('@').filter(|at| *at < end);
    let (user, rest) = user_end.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))).unwrap_or(("", rest));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    if hosts.contains('@') || (user_end.is_none() && database.contains('@')) {
        return Err(UNCODED);
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let bracket = host.strip_prefix('[').and_then(|host| host.split_once(']'));
        let (name, port) = match bracket {
            Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("its port is no number; a password that holds @, / or : must be written with %40, %2F or %3A");
        }
        names.push(decoded(name)?.to_string());
        ports.push(port);
    }
    let said = [("user", user), ("password", password), ("dbname", database)];
    for (name, value) in said.into_iter().filter(|(_, value)| !value.is_empty()) {
        pairs.push((name.into(), decoded(value)?));
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".into(), names.join(",").into()));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".into(), ports.join(",").into()));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter has no value")?;
        match (decoded(name)?.as_str(), decoded(value)?) {
            // how JDBC says it, which libpq accepts in URLs too
            ("ssl", value) if value.as_str() == "true" => pairs.push(("sslmode".into(), "require".to_owned().into())),
            (name, value) => pairs.push((name.into(), value)),
        }
    }
    Ok(pairs)
}

fn decoded(text: &str) -> Result<Zeroizing<String>, &'static str> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(match byte {
            b'%' => {
                let two = digit(rest.next()).zip(digit(rest.next()));
                two.map(|(high, low)| high << 4 | low).ok_or("a % is not followed by two hexadecimal digits")?
            }
            byte => byte,
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8")?;
    if text.contains('\0') { Err("it holds a zero byte") } else { Ok(text.to_owned().into()) }
}

/// `key=value` words, values perhaps in quotes.
fn of_words(text: &str) -> Result<Pairs, &'static str> {
    const FORM: &str = "it is neither a URL (postgresql://USER@HOST/DATABASE) nor words like host=HOST dbname=DATABASE";
    let mut pairs = Pairs::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|sign| sign.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return if pairs.is_empty() { Err(FORM) } else { Ok(pairs) };
        }
        let mut name = String::new();
        while let Some(sign) = rest.next_if(|sign| *sign != '=' && !sign.is_whitespace()) {
            name.push(sign);
        }
        while rest.next_if(|sign| sign.is_whitespace()).is_some() {}
        if name.is_empty() || rest.next() != Some('=') {
            return Err(FORM);
        }
        while rest.next_if(|sign| sign.is_whitespace()).is_some() {}
        let is_quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            match rest.next() {
                Some('\'') if is_quoted => break,
                Some(sign) if !is_quoted && sign.is_whitespace() => break,
                Some('\\') => value.push(rest.next().ok_or(FORM)?),
                Some(sign) => value.push(sign),
                None if is_quoted => return Err("a quote is not closed"),
                None => break,
            }
        }
        pairs.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::Connection;

    fn words(text: &str) -> String {
        let connection = Connection::parse(text).expect(text);
        let secret = connection.secrets().first().map(|(_, secret)| format!(" / {}", secret.as_str()));
        connection.words(None) + &secret.unwrap_or_default()
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it_and_its_password_set_apart() {
        assert_eq!(words("postgres://u:p%40s%2f@db/app"), "user='u' dbname='app' host='db' / p@s/");
        assert_eq!(words("postgresql+asyncpg://u@[::1]:5433/a%27b"), "user='u' dbname='a\\'b' host='::1' port='5433'");
        assert_eq!(
            words("postgresql://%2Fvar%2Frun/app?sslmode=require"),
            "dbname='app' host='/var/run' sslmode='require'"
        );
        assert_eq!(words("postgresql://a:1,b:2/app?ssl=true"), "dbname='app' host='a,b' port='1,2' sslmode='require'");
        assert_eq!(words("postgres://h/d?password=x&user=y"), "dbname='d' host='h' user='y' / x");
        assert_eq!(words("postgres:///d?host=/run"), "dbname='d' host='/run'");
        assert_eq!(words(r"host = db password='a\'b c' dbname=x\ y"), r"host='db' dbname='x y' / a'b c");
    }

    #[test]
    fn what_is_not_postgresqls_is_left_out_and_named() {
        let found = Connection::parse("postgres://u@h/d?schema=public&connection_limit=1&sslmode=x").unwrap();
        assert_eq!(found.foreign, ["schema", "connection_limit"]);
        assert_eq!(found.words(Some("e f")), "user='u' host='h' sslmode='x' dbname='e f'");
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_a_word_of_it() {
        for (text, why) in [
            ("postgres://u:se/cret@host/db", "%2F"),
            ("postgres://u:se@cret@host/db", "%40"),
            ("postgres://u:se:cret/x@host/db", "%3A"),
            ("mysql://u:secret@host/db", "postgresql://"),
            ("postgres://u:secr%zzet@host/db", "hexadecimal"),
            ("secret", "neither"),
            ("password='secret", "closed"),
            ("postgres://h/d?sslpassword=secret", "service"),
        ] {
            let error = Connection::parse(text).err().expect(text);
            assert!(error.contains(why) && !error.contains("cret"), "{text}: {error}");
        }
    }

    #[test]
    fn poolers_are_told_by_host_and_port() {
        let none = |_: &str| None;
        let is_pooled = |text: &str| Connection::parse(text).unwrap().is_pooled(none);
        assert!(is_pooled("postgres://u@ep-x-pooler.eu.aws.neon.tech/d"));
        assert!(is_pooled("postgres://u@aws-0-eu.pooler.supabase.com:5432/d"));
        assert!(is_pooled("postgres://u@db:6543/d") && is_pooled("postgres://u@db/d?pgbouncer=true"));
        assert!(!is_pooled("postgres://u@db.pool.example:5432/d"));
        let port = std::ffi::OsString::from("6543");
        let pooled = Connection::parse("postgres://u@db/d").unwrap();
        assert!(pooled.is_pooled(|name| (name == "PGPORT").then_some(port.as_os_str())));
        assert_eq!(pooled.place(none), "db:5432");
    }
}
