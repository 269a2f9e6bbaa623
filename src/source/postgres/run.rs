//! One run over the databases: what is asked before, the files in their order, and what is learned of each.

use super::access::Access;
use super::flow::{Flow, Whole};
use super::hint::{self, Clues};
use super::script::Script;
use super::server::{Asker, Server};
use super::survey::lacks_client;
use super::tools::{Client, clients, fitting};
use super::{Databases, Format, Globals, Options, terminal_flag};
use crate::progress::{Progress, Silent};
use crate::runtime::Runtime;
use crate::source::child::{Child, ChildFailure, Input};
use crate::source::dump::{self, DumpFailure, DumpFile, Learned};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Cursor;

/// The file of roles.
const GLOBALS: &str = "globals.sql";
/// What `options` may not say: where the dump goes, and in which form.
const NOT_OPTIONS: [&str; 8] = ["-f", "--file", "-F", "--format", "-j", "--jobs", "-d", "--dbname"];

/// Most facts, and the longest name of one: less than a snapshot holds.
const FACTS_MAX: usize = 60_000;
const FACT_NAME_BYTES_MAX: usize = 1_000;

/// The databases of one run.
pub struct Run<'a> {
    access: Access<'a>,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    clients: Vec<Client>,
    server: Option<Server>,
    files: VecDeque<(String, Content)>,
    /// What is being read.
    flow: Option<Flow<'a>>,
    globals: Cursor<Vec<u8>>,
    /// What facts of one database are told by, if there are several.
    prefix: String,
    has_several: bool,
}

/// What a file holds.
enum Content {
    Database(String),
    Globals(Vec<u8>),
}

type Tools<'a> = (&'a Runtime, &'a dyn Progress);

impl<'a> Run<'a> {
    /// Looks for the server and for programs that read it, and asks what is to be known before.
    pub fn start(
        options: &Options,
        (runtime, progress): Tools<'a>,
        learned: &mut Learned,
    ) -> Result<Self, DumpFailure> {
        refuse(options)?;
        let access = Access::new(options, runtime)?;
        note_foreign(&access, learned);
        let clients = clients(options.tools.as_deref(), &access);
        let (files, globals) = (VecDeque::new(), Cursor::default());
        let mut run = Self {
            access,
            runtime,
            progress,
            clients,
            server: None,
            files,
            flow: None,
            globals,
            prefix: String::new(),
            has_several: false,
        };
        let is_asked = options.dump_command.is_empty() || run.access.is_said();
        if is_asked {
            run.server = run.ask_server()?;
        }
        if options.dump_command.is_empty() {
            run.client(options)?;
        }
        let databases = run.databases(options, learned)?;
        run.has_several = databases.len() > 1;
        let end = if options.format == Format::Custom { "dump" } else { "sql" };
        let mut files: Vec<_> =
            databases.into_iter().map(|name| (file_name(&name, end), Content::Database(name))).collect();
        if options.globals != Globals::Off {
            let dumped = if is_asked { run.globals(options) } else { Err("nothing says where the server is".into()) };
            match dumped {
                Ok(bytes) => files.push((GLOBALS.into(), Content::Globals(bytes))),
                Err(why) if options.globals == Globals::Auto => {
                    learned
                        .notes
                        .push(format!("the roles are not in the snapshot: {why} (globals = \"none\" leaves them out)"));
                }
                Err(why) => learned.lacking.push(format!("{GLOBALS}: {why}")),
            }
        }
        files.sort_by(|(left, _), (right, _)| left.cmp(right));
        run.files = files.into();
        run.learn_server(options, learned);
        Ok(run)
    }

    /// The next file, once that before has come to its end.
    pub fn next(&mut self, options: &Options, learned: &mut Learned) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        if let Some(flow) = self.flow.take() {
            let database = flow.what.clone();
            let whole = flow.finish().map_err(|failure| self.explained(failure, &database, options))?;
            self.learn(&database, whole, options, learned);
        }
        let Some((name, content)) = self.files.pop_front() else { return Ok(None) };
        let content: &mut dyn std::io::Read = match content {
            Content::Globals(bytes) => {
                self.globals = Cursor::new(bytes);
                &mut self.globals
            }
            Content::Database(database) => {
                self.prefix = if self.has_several { format!("{name}/") } else { String::new() };
                self.learn_database(&database, learned);
                let words = self.dump_words(&database, options)?;
                if learned.command.is_empty() {
                    learned.command.clone_from(&words);
                }
                let dump = Child::spawn(self.access.start(words, Input::Nothing), self.runtime, self.progress)?;
                let proof = self.proof(options)?;
                self.flow.insert(Flow::new(database, options.format, dump, proof))
            }
        };
        Ok(Some(DumpFile { name: name.into_bytes(), content, allow_empty: false }))
    }

    fn asker(&self) -> Option<Asker<'_>> {
        let client = self.clients.iter().rfind(|client| client.has("psql"))?;
        Some(Asker { access: &self.access, client })
    }

    fn ask_server(&self) -> Result<Option<Server>, DumpFailure> {
        let Some(asker) = self.asker() else { return Ok(None) };
        asker.server().map_err(|failure| {
            let clues = Clues { is_pooled: self.access.is_pooled(), ..Clues::default() };
            unreachable(&self.access.place(), &failure, &clues)
        })
    }

    /// The client that reads the server.
    fn client(&self, options: &Options) -> Result<&Client, DumpFailure> {
        let server = self.server.as_ref().map(|server| server.version);
        fitting(&self.clients, server).ok_or_else(|| {
            let finding = lacks_client(options, &self.clients, server);
            DumpFailure::Refused(format!("{finding}; {}", finding.hint()))
        })
    }

    fn databases(&self, options: &Options, learned: &mut Learned) -> Result<Vec<String>, DumpFailure> {
        let connected = || {
            let said = self.access.connection.get("dbname").or_else(|| self.access.variable("PGDATABASE")?.to_str());
            let asked = self.server.as_ref().map(|server| server.database.as_str());
            asked.or(said).unwrap_or("database").to_owned()
        };
        let names = match &options.databases {
            Databases::Connected => vec![connected()],
            Databases::Named(names) => {
                let mut names = names.clone();
                names.sort();
                names.dedup();
                names
            }
            Databases::All => {
                let asker = self.asker().ok_or_else(|| {
                    DumpFailure::Refused("cannot tell which databases there are: psql is not installed".into())
                })?;
                let all = asker.databases()?;
                let closed = all.iter().filter(|(_, may)| !may).map(|(name, _)| name);
                learned
                    .lacking
                    .extend(closed.map(|name| format!("{name}: this user may not connect to that database")));
                all.into_iter().filter(|(_, may)| *may).map(|(name, _)| name).collect()
            }
        };
        if names.is_empty() {
            return Err(DumpFailure::Refused("there is no database to dump".into()));
        }
        Ok(names)
    }

    fn dump_words(&self, database: &str, options: &Options) -> Result<Vec<OsString>, DumpFailure> {
        if !options.dump_command.is_empty() {
            return Ok(options.dump_command.clone());
        }
        let mut words = vec![self.client(options)?.program("pg_dump")];
        let mut say = |word: String| words.push(word.into());
        match options.format {
            Format::Custom => ["--format=custom", "--compress=0"].map(String::from).into_iter().for_each(&mut say),
            Format::Plain => say("--format=plain".into()),
        }
        say("--no-password".into());
        say("--strict-names".into());
        say(format!("--lock-wait-timeout={}", options.lock_timeout.as_millis()));
        let lists = [
            ("table", &options.tables),
            ("exclude-table", &options.exclude_tables),
            ("schema", &options.schemas),
            ("exclude-schema", &options.exclude_schemas),
            ("exclude-table-data", &options.exclude_table_data),
        ];
        for (flag, patterns) in lists {
            patterns.iter().for_each(|pattern| say(format!("--{flag}={pattern}")));
        }
        words.extend(options.options.iter().cloned());
        words.push(self.database_word(database));
        Ok(words)
    }

    fn database_word(&self, database: &str) -> OsString {
        format!("--dbname={}", self.access.connection.words(Some(database))).into()
    }

    /// A `pg_restore` that reads along: of the version that dumps, or the newest for what somebody else dumps.
    fn proof(&self, options: &Options) -> Result<Option<Child<'a>>, DumpFailure> {
        if options.format == Format::Plain || !options.counts {
            return Ok(None);
        }
        let own = if options.dump_command.is_empty() { Some(self.client(options)?) } else { None };
        let newest = || self.clients.iter().rfind(|client| client.has("pg_restore"));
        let client = own.filter(|client| client.has("pg_restore")).or_else(newest).ok_or_else(|| {
            DumpFailure::Refused(
                "no pg_restore is installed that would read the dump along, to see that it is whole; install the client \
                 of PostgreSQL, or say counts = false"
                    .into(),
            )
        })?;
        let words = vec![client.program("pg_restore"), "--data-only".into(), "--file=-".into()];
        Ok(Some(Child::spawn(self.access.start(words, Input::Fed), self.runtime, &Silent)?))
    }

    /// Roles and tablespaces; an error is one line.
    fn globals(&self, options: &Options) -> Result<Vec<u8>, String> {
        let client = fitting(&self.clients, self.server.as_ref().map(|server| server.version));
        let client =
            client.filter(|client| client.has("pg_dumpall")).ok_or("no pg_dumpall is installed that reads it")?;
        let mut words = vec![client.program("pg_dumpall"), "--globals-only".into(), "--no-password".into()];
        if options.globals == Globals::Auto {
            words.push("--no-role-passwords".into());
        }
        let database = self.server.as_ref().map(|server| server.database.as_str());
        words.extend(database.map(|database| format!("--database={database}").into()));
        words.push(format!("--dbname={}", self.access.connection.words(None)).into());
        let bytes = self.access.output(words).map_err(|failure| failure.brief())?;
        let mut script = Script::default();
        script.push(&bytes);
        let (found, is_whole) = script.end();
        if found.is_cluster && is_whole { Ok(bytes) } else { Err("what pg_dumpall wrote is not whole".into()) }
    }

    fn learn_server(&self, options: &Options, learned: &mut Learned) {
        let mut say = |name: &str, value: String| learned.facts.push((name.into(), value));
        say("format", options.format.name().into());
        if let Some(server) = &self.server {
            say("server_version", server.shown.clone());
        }
        if let Some(system) = self.asker().filter(|_| self.server.is_some()).and_then(|asker| asker.system()) {
            say("system_identifier", system);
        }
    }

    /// What is asked of a database; a dump is worth having without it.
    fn learn_database(&self, database: &str, learned: &mut Learned) {
        learned.facts.push((format!("{}database", self.prefix), database.into()));
        let Some(asker) = self.asker().filter(|_| self.server.is_some()) else { return };
        match asker.facts(database) {
            Ok(facts) => {
                learned.facts.extend(facts.into_iter().map(|(name, value)| (format!("{}{name}", self.prefix), value)));
            }
            Err(failure) => learned.notes.push(format!("extensions of {database} are not noted: {}", failure.brief())),
        }
    }

    fn learn(&self, database: &str, whole: Whole, options: &Options, learned: &mut Learned) {
        let Whole { found, messages } = whole;
        let mut say = |name: String, value: String| {
            if learned.facts.iter().all(|(other, _)| *other != name) {
                learned.facts.push((name, value));
            }
        };
        found.server_version.into_iter().for_each(|version| say("server_version".into(), version));
        let own = || Some(self.client(options).ok()?.version.to_string()).filter(|_| options.dump_command.is_empty());
        found.tool_version.or_else(own).into_iter().for_each(|tool| say("tool_version".into(), tool));
        let is_counted = options.counts && !inserts(options);
        if is_counted {
            say(format!("{}large_objects", self.prefix), found.large_objects.to_string());
            let (prefix, room) = (&self.prefix, FACTS_MAX.saturating_sub(learned.facts.len()));
            let tables = found.rows.len();
            let rows = found.rows.into_iter().map(|(table, rows)| (format!("{prefix}table:{table}"), rows.to_string()));
            let short = rows.filter(|(name, _)| name.len() <= FACT_NAME_BYTES_MAX);
            let before = learned.facts.len();
            learned.facts.extend(short.take(room));
            if found.has_more || learned.facts.len() - before < tables {
                learned.notes.push(format!("{database} has more tables than are noted with their rows"));
            }
        }
        learned.messages = messages;
    }

    /// The same failure, with what to do about it where that is known.
    fn explained(&self, failure: DumpFailure, database: &str, options: &Options) -> DumpFailure {
        let DumpFailure::Child(failure @ ChildFailure::Exit { .. }) = failure else { return failure };
        let asker = self.asker().filter(|_| self.server.is_some());
        let unreadable = asker.and_then(|asker| asker.unreadable(database).ok()).unwrap_or_default();
        let clues = Clues {
            is_pooled: self.access.is_pooled(),
            unreadable: unreadable.chosen(&options.choice()),
            user: self.server.as_ref().map(|server| server.user.clone()).unwrap_or_default(),
        };
        match hint::of(&failure.to_string(), &clues) {
            Some(hint) => DumpFailure::Explained { failure, hint },
            None => failure.into(),
        }
    }
}

/// Why a server can't be asked, and what to do.
fn unreachable(place: &str, failure: &ChildFailure, clues: &Clues) -> DumpFailure {
    let hint = hint::of(&failure.to_string(), clues).map(|hint| format!("; {hint}")).unwrap_or_default();
    DumpFailure::Refused(format!("cannot ask PostgreSQL at {place}: {}{hint}", failure.brief()))
}

fn refuse(options: &Options) -> Result<(), DumpFailure> {
    let no = |why: String| Err(DumpFailure::Refused(why));
    if let Some(flag) = terminal_flag(&options.dump_command) {
        return no(format!("dump_command asks for a terminal by {}, which ruins dumps: leave it out", flag.display()));
    }
    if !options.dump_command.is_empty() {
        if options.databases != Databases::Connected {
            return no("dump_command gives one dump: it can't be combined with `database`".into());
        }
        return Ok(());
    }
    let is_wrong = |word: &&OsString| {
        let name = word.to_string_lossy();
        let name = name.split('=').next().unwrap_or_default();
        NOT_OPTIONS
            .iter()
            .any(|wrong| name == *wrong || (wrong.len() == 2 && !name.starts_with("--") && name.starts_with(wrong)))
    };
    match options.options.iter().find(is_wrong) {
        Some(word) => no(format!("`options` may not hold {}: the source itself says that", word.display())),
        None => Ok(()),
    }
}

/// True if rows come as statements, which nobody counts.
fn inserts(options: &Options) -> bool {
    let is_insert = |word: &OsString| {
        let word = word.to_string_lossy();
        ["--inserts", "--column-inserts", "--rows-per-insert"].iter().any(|flag| word.starts_with(flag))
    };
    options.options.iter().chain(&options.dump_command).any(is_insert)
}

fn note_foreign(access: &Access<'_>, learned: &mut Learned) {
    let foreign = access.connection.foreign.iter();
    learned
        .notes
        .extend(foreign.map(|name| format!("`{name}` in the URL is no parameter of PostgreSQL, and is left out")));
    if access.is_pooled() {
        learned.notes.push(format!("{} seems to be a pooler: {}", access.place(), hint::POOLER));
    }
}

/// A name for the file of a database, which is not that of the roles.
fn file_name(database: &str, end: &str) -> String {
    let name = dump::file_name(database, end);
    name.strip_prefix('g').filter(|_| name == GLOBALS).map(|rest| format!("%67{rest}")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn every_database_has_a_file_name_of_its_own() {
        let names = ["app", "a/b", "a%2Fb", "globals", ".."].map(|name| file_name(name, "sql"));
        assert_eq!(names, ["app.sql", "a%2Fb.sql", "a%252Fb.sql", "%67lobals.sql", "...sql"]);
        assert_eq!(file_name("globals", "dump"), "globals.dump");
    }
}
