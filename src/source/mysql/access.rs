//! How programs of MySQL and MariaDB are started against one server: as whom, with which variables, for how long. What is
//! secret goes to them as an option file on their standard input.

use super::Options;
use super::connection::Connection;
use super::flavour::Flavour;
use crate::progress::Silent;
use crate::runtime::Runtime;
use crate::source::child::{Child, ChildFailure, Environment, Input, Limit, Start, allowed, tells_containers};
use crate::source::dump::DumpFailure;
use std::ffi::{OsStr, OsString};
use std::io::Read;

/// Most bytes of an answer: a list of all tables fits in.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A server, and how to speak to it.
pub struct Access<'a> {
    /// Where and as whom; clients find it out by themselves if it is not said.
    pub connection: Option<Connection>,
    environment: Environment,
    runtime: &'a Runtime,
    limit: Option<Limit>,
}

impl<'a> Access<'a> {
    /// As the options say it; nothing is started.
    pub fn new(options: &Options, runtime: &'a Runtime) -> Result<Self, DumpFailure> {
        let connection = options.url.as_ref().map(|url| Connection::parse(url)).transpose();
        let connection = connection
            .map_err(|why| DumpFailure::Refused(format!("cannot understand the URL of the database: {why}")))?;
        let is_named = |name: &OsString| {
            let of_containers = !options.dump_command.is_empty() && tells_containers(name);
            of_containers || options.variables.contains(name)
        };
        let environment = allowed(options.environment.iter().cloned(), is_named);
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

    /// Host and port, or the socket.
    pub fn place(&self) -> String {
        self.connection.as_ref().map_or_else(|| "localhost".into(), Connection::place)
    }

    /// The words that name the server to a client.
    fn named(&self, program: &OsStr, flavour: Flavour) -> (Vec<OsString>, Input) {
        match &self.connection {
            None => (vec![program.to_owned()], Input::Nothing),
            // this file and no other: what a user keeps for himself would win over what the plan says
            Some(connection) => {
                let words = vec![program.to_owned(), "--defaults-file=/dev/stdin".into()];
                (words, Input::Bytes(connection.options(flavour)))
            }
        }
    }

    /// How a program is started that knows the server.
    pub fn start(&self, program: &OsStr, flavour: Flavour, words: Vec<OsString>) -> Start {
        let (mut all, input) = self.named(program, flavour);
        all.extend(words);
        Start { input, ..self.plain(all) }
    }

    /// How a program is started that knows nothing.
    pub fn plain(&self, words: Vec<OsString>) -> Start {
        Start { words, environment: Some(self.environment.clone()), limit: self.limit, ..Start::default() }
    }

    /// All that a program writes; `flavour` for one that asks the server.
    pub fn output(&self, words: Vec<OsString>, flavour: Option<Flavour>) -> Result<Vec<u8>, ChildFailure> {
        let program = words.first().cloned().unwrap_or_default();
        let start = match flavour {
            None => self.plain(words),
            Some(flavour) => self.start(&program, flavour, words.into_iter().skip(1).collect()),
        };
        let mut child = Child::spawn(start, self.runtime, &Silent)?;
        let mut bytes = Vec::new();
        let read = (&mut child).take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        child.finish()?;
        read.map_err(|error| ChildFailure::Wait { program, error })?;
        Ok(bytes)
    }
}
