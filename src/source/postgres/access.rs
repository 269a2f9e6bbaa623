//! How programs of PostgreSQL are started against one server: as whom, with which variables, for how long. Secrets go by
//! the environment alone, and of that only what these programs need.

use super::Options;
use super::connection::Connection;
use crate::progress::Silent;
use crate::runtime::Runtime;
use crate::source::child::{Child, ChildFailure, Environment, Input, Limit, Start, allowed, tells_containers};
use crate::source::dump::DumpFailure;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

/// Most bytes of an answer: a list of all tables fits in.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// What variables say if nobody says otherwise: seconds to reach the server, and words that hints are found by.
const DEFAULTS: [(&str, &str); 2] = [("PGCONNECT_TIMEOUT", "30"), ("PGAPPNAME", "vault")];

/// A server, and how to speak to it.
pub struct Access<'a> {
    /// Where and as whom.
    pub connection: Connection,
    environment: Environment,
    runtime: &'a Runtime,
    limit: Option<Limit>,
}

impl<'a> Access<'a> {
    /// As the options say it; nothing is started.
    pub fn new(options: &Options, runtime: &'a Runtime) -> Result<Self, DumpFailure> {
        let connection = match (&options.url, &options.service) {
            (Some(_), Some(_)) => {
                return Err(DumpFailure::Refused("both a URL and a service are given: say one".into()));
            }
            (Some(url), None) => Connection::parse(url)
                .map_err(|why| DumpFailure::Refused(format!("cannot understand the URL of the database: {why}")))?,
            (None, Some(service)) => Connection::of_service(service),
            (None, None) => Connection::default(),
        };
        let is_named = |name: &OsString| {
            let of_containers = !options.dump_command.is_empty() && tells_containers(name);
            name.as_bytes().starts_with(b"PG") || of_containers || options.variables.contains(name)
        };
        let mut environment = allowed(options.environment.iter().cloned(), is_named);
        for (name, value) in DEFAULTS {
            if !environment.iter().any(|(other, _)| other == name) {
                environment.push((name.into(), value.into()));
            }
        }
        environment.push(("LC_MESSAGES".into(), "C".into()));
        let limit = options.timeout.map(|timeout| Limit::new(runtime, timeout));
        Ok(Self { connection, environment, runtime, limit })
    }

    /// The same, for as long as an answer may take at most.
    pub fn within(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// A variable that programs get.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// Host and port.
    pub fn place(&self) -> String {
        self.connection.place(|name| self.variable(name))
    }

    /// True if they are those of a pooler.
    pub fn is_pooled(&self) -> bool {
        self.connection.is_pooled(|name| self.variable(name))
    }

    /// True if something says where the server is.
    pub fn is_said(&self) -> bool {
        let variables = ["PGHOST", "PGHOSTADDR", "PGSERVICE"];
        !self.connection.is_empty() || variables.iter().any(|name| self.variable(name).is_some())
    }

    /// How a program is started.
    pub fn start(&self, words: Vec<OsString>, input: Input) -> Start {
        let environment = Some(self.environment.clone());
        let secrets = self.connection.secrets();
        Start { words, environment, secrets, limit: self.limit, input, ..Start::default() }
    }

    /// All that a program writes.
    pub fn output(&self, words: Vec<OsString>) -> Result<Vec<u8>, ChildFailure> {
        let program = words.first().cloned().unwrap_or_default();
        let mut child = Child::spawn(self.start(words, Input::Nothing), self.runtime, &Silent)?;
        let mut bytes = Vec::new();
        let read = (&mut child).take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        child.finish()?;
        read.map_err(|error| ChildFailure::Wait { program, error })?;
        Ok(bytes)
    }
}
