//! Databases of a MySQL or MariaDB server, dumped by its own client: one file each, `NAME.sql`. A dump counts only if its
//! last line is there, and its rows are counted while it flows, so that the numbers are those of the dump itself. Users and
//! their rights are in no database, and in no dump.
//!
//! Facts: `flavour`, `server_version`, `tool_version`, and of each database `database`, `charset`, `collation`,
//! `sandbox` if its first line is one that other clients stumble over, `table:NAME` with its rows. If there are several
//! databases, the names of what belongs to one begin with its file: `app.sql/table:users`.

mod access;
mod choice;
mod connection;
mod flavour;
mod flow;
mod hint;
mod script;
mod server;
mod tools;

pub use choice::{ChosenDatabase, Finding};
pub use flavour::Flavour;
pub use server::Hidden;
pub use tools::Client;

use super::child::{Child, Environment, Limit, Start};
use super::dump::{Dump, DumpFailure, DumpFile, Learned, file_name};
use super::postgres::terminal_flag;
use crate::progress::Progress;
use crate::runtime::Runtime;
use access::Access;
use choice::{Choice, choose, names};
use flow::Flow;
use script::Found;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How every database is dumped: as of one moment, row by row, with all that is in it, and the same each time.
const FLAGS: [&str; 9] = [
    "--single-transaction",
    "--quick",
    "--routines",
    "--events",
    "--triggers",
    "--hex-blob",
    "--skip-dump-date",
    "--default-character-set=utf8mb4",
    // they are the server's; MySQL shows them to few users only, and MariaDB 10.11 has crashed when it was asked for them
    "--no-tablespaces",
];
/// What is not understood elsewhere: a dump sets no state of replication, and asks for no statistics.
const MYSQL_FLAGS: [&str; 2] = ["--loose-set-gtid-purged=OFF", "--loose-column-statistics=OFF"];
/// What `options` may not say: where the dump goes, in which form, of what, and secrets.
const NOT_OPTIONS: [&str; 14] = [
    "-r",
    "--result-file",
    "-T",
    "--tab",
    "-X",
    "--xml",
    "-B",
    "--databases",
    "-A",
    "--all-databases",
    "--compact",
    "--skip-comments",
    "-p",
    "--password",
];
/// How long all answers of a survey may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is dumped, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `mysql://user:password@host:3306/database`; without one the client's own files say where the server is.
    pub url: Option<Zeroizing<String>>,
    /// Variables: programs get PATH, HOME, TZ, LANG of them, what `variables` names, and `dump_command` those of
    /// containers (DOCKER_…, CONTAINER_…, KUBECONFIG).
    pub environment: Environment,
    /// Further variables for the programs.
    pub variables: Vec<OsString>,
    /// Which databases.
    pub databases: Databases,
    /// Only these tables and views: names, in which `*` and `?` stand for any signs. One that fits nothing is an error.
    pub tables: Vec<String>,
    /// Without these.
    pub exclude_tables: Vec<String>,
    /// The folder of the programs, instead of what is found.
    pub tools: Option<PathBuf>,
    /// Writes the dump instead; it gets none of the options that make one, and no URL.
    pub dump_command: Vec<OsString>,
    /// Further options of the program that dumps.
    pub options: Vec<OsString>,
    /// When all of it is ended.
    pub timeout: Option<Duration>,
}

/// Which databases are dumped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Databases {
    /// That of the URL.
    #[default]
    Connected,
    /// These.
    Named(Vec<String>),
    /// All that this user may see, but the server's own.
    All,
}

/// What a server is, before anything is dumped.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// Host and port, or the socket.
    pub place: String,
    /// As the server says it, if it answered.
    pub server_version: Option<String>,
    /// Whose it is.
    pub flavour: Option<Flavour>,
    /// The client that would dump.
    pub client: Option<Client>,
    /// What would be dumped.
    pub databases: Vec<ChosenDatabase>,
    /// What stands in the way, or may.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// True if nothing stands in the way.
    pub fn is_fine(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }

    /// What the rows take on the server's disk, about what the dumps take.
    pub fn bytes(&self) -> u64 {
        self.databases.iter().fold(0, |sum, database| sum.saturating_add(database.bytes))
    }
}

/// Asks a server what would be dumped, and dumps nothing.
pub fn survey(options: &Options, runtime: &Runtime) -> Survey {
    let access = match refuse(options).and_then(|()| Access::new(options, runtime)) {
        Ok(access) => access.within(Limit::new(runtime, PATIENCE)),
        Err(failure) => {
            return Survey { findings: vec![Finding::Options(failure.to_string())], ..Survey::default() };
        }
    };
    let place = access.place();
    if !options.dump_command.is_empty() {
        return Survey { place, ..Survey::default() };
    }
    match choose(options, &access) {
        Err(finding) => Survey { place, findings: vec![finding], ..Survey::default() },
        Ok(Choice { server, client, databases, findings }) => Survey {
            place,
            server_version: Some(server.version),
            flavour: Some(server.flavour),
            client: Some(client),
            databases,
            findings,
        },
    }
}

/// Dumps of databases.
pub struct Mysql<'a> {
    options: Options,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    run: Option<Run<'a>>,
    learned: Learned,
}

impl<'a> Mysql<'a> {
    /// Nothing runs yet. What programs say will go to `progress` too.
    pub fn new(options: Options, runtime: &'a Runtime, progress: &'a dyn Progress) -> Self {
        Self { options, runtime, progress, run: None, learned: Learned::default() }
    }
}

impl Dump for Mysql<'_> {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        // what still runs ends before it runs again
        self.run = None;
        self.learned = Learned::default();
        self.run = Some(Run::start(&self.options, (self.runtime, self.progress), &mut self.learned)?);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        match self.run.as_mut() {
            Some(run) => run.next(&mut self.learned),
            None => Ok(None),
        }
    }

    fn learned(&mut self) -> Learned {
        self.learned.clone()
    }
}

/// The databases of one run.
struct Run<'a> {
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    files: VecDeque<File>,
    has_several: bool,
    /// What is being read, with its file.
    flow: Option<(Flow<'a>, File)>,
    /// The server's words are known.
    is_asked: bool,
}

/// A file of a run, and how it comes to be.
#[derive(Clone)]
struct File {
    name: String,
    database: ChosenDatabase,
    start: Start,
}

impl<'a> Run<'a> {
    fn start(
        options: &Options,
        (runtime, progress): (&'a Runtime, &'a dyn Progress),
        learned: &mut Learned,
    ) -> Result<Self, DumpFailure> {
        refuse(options)?;
        let access = Access::new(options, runtime)?;
        let is_asked = options.dump_command.is_empty();
        let files = if is_asked { asked(options, &access, learned)? } else { given(options, &access) };
        let has_several = files.len() > 1;
        Ok(Self { runtime, progress, files: files.into(), has_several, flow: None, is_asked })
    }

    /// The next file, once that before has come to its end.
    fn next(&mut self, learned: &mut Learned) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        if let Some((flow, file)) = self.flow.take() {
            let database = flow.what.clone();
            let (found, messages) = flow.finish().map_err(|failure| explained(failure, &database))?;
            self.learn(&file, found, learned);
            learned.messages.extend(messages);
        }
        let Some(file) = self.files.pop_front() else { return Ok(None) };
        if learned.command.is_empty() {
            learned.command.clone_from(&file.start.words);
        }
        let child = Child::spawn(file.start.clone(), self.runtime, self.progress)?;
        let name = file.name.clone().into_bytes();
        let flow = Flow::new(file.database.name.clone(), child);
        let (content, _) = self.flow.insert((flow, file));
        Ok(Some(DumpFile { name, content, allow_empty: false }))
    }

    fn learn(&self, file: &File, found: Found, learned: &mut Learned) {
        let prefix = if self.has_several { format!("{}/", file.name) } else { String::new() };
        let ChosenDatabase { name, charset, collation, .. } = &file.database;
        let mut fact = |key: String, value: String| {
            if !value.is_empty() && !learned.facts.iter().any(|(other, _)| *other == key) {
                learned.facts.push((key, value));
            }
        };
        if !self.is_asked {
            let version = found.server_version.unwrap_or_default();
            fact("flavour".into(), Flavour::of(&version).name().into());
            fact("server_version".into(), version);
        }
        fact("tool_version".into(), found.tool_version.unwrap_or_default());
        fact(format!("{prefix}database"), name.clone());
        fact(format!("{prefix}charset"), charset.clone());
        fact(format!("{prefix}collation"), collation.clone());
        if found.is_sandboxed {
            fact(format!("{prefix}sandbox"), "true".into());
        }
        learned.count(&prefix, found.tables);
        let notes = found
            .inconsistent
            .into_iter()
            .map(|(table, engine)| Finding::Inconsistent { database: name.clone(), table, engine }.to_string());
        learned.notes.extend(notes);
    }
}

/// The files of what the server has and the options ask for.
fn asked(options: &Options, access: &Access<'_>, learned: &mut Learned) -> Result<Vec<File>, DumpFailure> {
    let choice = choose(options, access).map_err(|finding| DumpFailure::Refused(finding.to_string()))?;
    learned.facts.push(("flavour".into(), choice.server.flavour.name().into()));
    learned.facts.push(("server_version".into(), choice.server.version));
    // the dump itself tells which tables are of another moment
    let told = choice.findings.iter().filter(|finding| !matches!(finding, Finding::Inconsistent { .. }));
    learned.notes.extend(told.map(Finding::to_string));
    let mut files: Vec<File> = choice
        .databases
        .into_iter()
        .map(|database| {
            let words = words(options, &choice.client, &database);
            let start = access.start(choice.client.dump.as_os_str(), choice.client.flavour, words);
            File { name: file_name(&database.name, "sql"), database, start }
        })
        .collect();
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

/// The file of a command that is given.
fn given(options: &Options, access: &Access<'_>) -> Vec<File> {
    let name = names(options, access).into_iter().next().unwrap_or_else(|| "dump".into());
    let file = file_name(&name, "sql");
    let database = ChosenDatabase { name, ..ChosenDatabase::default() };
    vec![File { name: file, database, start: access.plain(options.dump_command.clone()) }]
}

/// The words behind the program, for one database.
fn words(options: &Options, client: &Client, database: &ChosenDatabase) -> Vec<OsString> {
    let mut words: Vec<OsString> = FLAGS.map(OsString::from).into();
    if client.flavour == Flavour::MySql {
        words.extend(MYSQL_FLAGS.map(OsString::from));
    }
    words.extend(options.options.iter().cloned());
    words.extend(database.left_out.iter().map(|table| format!("--ignore-table={}.{table}", database.name).into()));
    words.extend(["--".into(), database.name.clone().into()]);
    words.extend(database.tables.iter().map(OsString::from));
    words
}

/// What can be told without a server.
fn refuse(options: &Options) -> Result<(), DumpFailure> {
    let refused = |why: String| Err(DumpFailure::Refused(why));
    if let Some(flag) = terminal_flag(&options.dump_command) {
        return refused(format!(
            "dump_command asks for a terminal ({}), which ruins a dump: leave that out",
            flag.display()
        ));
    }
    if let (Databases::Named(names), false) = (&options.databases, options.dump_command.is_empty())
        && names.len() > 1
    {
        return refused("dump_command writes one dump: make a source for each database".into());
    }
    for option in &options.options {
        let text = option.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        // `-psecret` is `-p` with a value
        let is_short = |known: &str| known.len() == 2 && text.starts_with(known);
        if NOT_OPTIONS.iter().any(|known| name == *known || is_short(known)) {
            return refused(format!(
                "the option {name} can't be set: it says where the dump goes, of what it is, or who asks"
            ));
        }
    }
    Ok(())
}

/// A failure with what helps against it.
fn explained(failure: DumpFailure, database: &str) -> DumpFailure {
    let DumpFailure::Child(child) = &failure else { return failure };
    match hint::hint(&child.to_string()) {
        Some(hint) => DumpFailure::Refused(format!("cannot dump {database}: {}; {hint}", child.brief())),
        None => failure,
    }
}
