//! What stands between a source and its first dump, asked before the first night: is the server there, which client
//! reads it, may this user read all tables, is a pooler in the way. Nothing is dumped; what is found is data.

use super::access::Access;
use super::hint::{self, Clues};
use super::server::Asker;
use super::tools::{Client, Version, clients, fitting};
use super::{Databases, Options, terminal_flag};
use crate::runtime::Runtime;
use crate::source::child::Limit;
use std::time::Duration;

/// How long all answers may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// Host and port, or the service.
    pub place: String,
    /// The server answered.
    pub reachable: bool,
    /// As the server says it.
    pub server_version: Option<String>,
    /// The client that would dump.
    pub client: Option<Client>,
    /// All that are installed, by version.
    pub clients: Vec<Client>,
    /// The databases that would be dumped.
    pub databases: Vec<SurveyedDatabase>,
    /// What stands in the way, or may.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// True if nothing stands in the way.
    pub fn is_fine(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }

    /// Bytes of all databases on the server's disk: a dump has no indexes, and is mostly smaller.
    pub fn bytes(&self) -> u64 {
        self.databases.iter().fold(0, |sum, database| sum.saturating_add(database.bytes))
    }
}

/// A database that would be dumped.
#[derive(Clone, Debug)]
pub struct SurveyedDatabase {
    /// Its name.
    pub name: String,
    /// On the server's disk.
    pub bytes: u64,
    /// Tables and sequences, `schema.name`, that this user may not read and no option leaves out.
    pub unreadable: Vec<String>,
}

/// Something that stands in the way of a dump, or may.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The options contradict themselves or can't be understood.
    #[error("{0}")]
    Options(String),
    /// No server answers, or not to this user.
    #[error("cannot ask PostgreSQL at {place}: {why}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// In the words of `psql`.
        why: String,
        /// What to do, if that is known.
        hint: Option<String>,
    },
    /// No client at all.
    #[error("there is no pg_dump {place}")]
    NoClient {
        /// Where it was looked for.
        place: String,
        /// Version of the server, if it is known.
        server: Option<Version>,
    },
    /// All clients are older than the server.
    #[error("the server is PostgreSQL {server}, and the newest pg_dump {place} is {} in {}, which reads no newer server",
            newest.version, newest.folder.display())]
    OldClient {
        /// Version of the server.
        server: Version,
        /// The newest client.
        newest: Client,
        /// Where it was looked for.
        place: String,
        /// One that is new enough, if the options did not look elsewhere.
        other: Option<Client>,
    },
    /// The connection leads to a pooler, by its host or port.
    #[error("{0} seems to be a pooler")]
    Pooler(String),
    /// Tables that this user may not read.
    #[error("{user} may not read {} of {database}: {}", count(tables), first(tables))]
    Unreadable {
        /// The database.
        database: String,
        /// The user.
        user: String,
        /// Tables, `schema.name`.
        tables: Vec<String>,
        /// What to do.
        hint: String,
    },
    /// A database that this user may not enter.
    #[error("this user may not connect to the database {0}")]
    Closed(String),
    /// A part of the URL that is left out.
    #[error("`{0}` in the URL is no parameter of PostgreSQL, and is left out")]
    Foreign(String),
}

fn count(tables: &[String]) -> String {
    if tables.len() == 1 { "one table".into() } else { format!("{} tables", tables.len()) }
}

fn first(tables: &[String]) -> String {
    let shown = tables.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if tables.len() > 5 { shown + ", …" } else { shown }
}

impl Finding {
    /// True if no dump comes about.
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::Pooler(_) | Self::Foreign(_) | Self::Closed(_))
    }

    /// What to do about it; empty where the finding says it all.
    pub fn hint(&self) -> String {
        let install = |version: &Version| {
            let release = version.release();
            format!(
                "install the client of PostgreSQL {release} (Debian: postgresql-client-{release}), or name its folder by `tools`"
            )
        };
        match self {
            Self::Options(_) | Self::Foreign(_) => String::new(),
            Self::Unreachable { hint, .. } => hint.clone().unwrap_or_default(),
            Self::NoClient { server: None, .. } => {
                "install the client of PostgreSQL, or name its folder by `tools`".into()
            }
            Self::NoClient { server: Some(server), .. } => install(server),
            Self::OldClient { other: Some(other), .. } => {
                format!("say tools = \"{}\" ({})", other.folder.display(), other.version)
            }
            Self::OldClient { server, .. } => install(server),
            Self::Pooler(_) => hint::POOLER.into(),
            Self::Unreadable { hint, .. } => hint.clone(),
            Self::Closed(database) => format!("grant connect on database \"{database}\" to it, or name the databases"),
        }
    }
}

/// Asks all that can be asked without a dump.
pub fn survey(options: &Options, runtime: &Runtime) -> Survey {
    let mut survey = Survey::default();
    if let Some(flag) = terminal_flag(&options.dump_command) {
        let flag = flag.display();
        survey.findings.push(Finding::Options(format!(
            "dump_command asks for a terminal by {flag}, which ruins dumps: leave it out"
        )));
    }
    let access = match Access::new(options, runtime) {
        Ok(access) => access.within(Limit::new(runtime, PATIENCE)),
        Err(failure) => {
            survey.findings.push(Finding::Options(failure.to_string()));
            return survey;
        }
    };
    survey.place = access.place();
    survey.findings.extend(access.connection.foreign.iter().cloned().map(Finding::Foreign));
    if access.is_pooled() {
        survey.findings.push(Finding::Pooler(survey.place.clone()));
    }
    survey.clients = clients(options.tools.as_deref(), &access);
    let own = survey.clients.iter().rfind(|client| client.has("psql")).cloned();
    // any psql asks any server
    let others = if own.is_none() { clients(None, &access) } else { Vec::new() };
    let client = own.or_else(|| others.into_iter().rfind(|client| client.has("psql")));
    let is_asked = options.dump_command.is_empty() || access.is_said();
    let version = match client.filter(|_| is_asked) {
        Some(client) => ask(&Asker { access: &access, client: &client }, options, &mut survey),
        None => None,
    };
    if options.dump_command.is_empty() {
        survey.client = fitting(&survey.clients, version).cloned();
        if survey.client.is_none() {
            let mut finding = lacks_client(options, &survey.clients, version);
            if let Finding::OldClient { other, .. } = &mut finding {
                *other = fitting(&clients(None, &access), version).cloned();
            }
            survey.findings.push(finding);
        }
    }
    survey
}

/// What is wrong where no client fits.
pub fn lacks_client(options: &Options, clients: &[Client], server: Option<Version>) -> Finding {
    let folder = options.tools.as_ref().map(|folder| format!("in {}", folder.display()));
    let place = folder.unwrap_or_else(|| "on this machine".into());
    match (clients.last().cloned(), server) {
        (Some(newest), Some(server)) => Finding::OldClient { server, newest, place, other: None },
        (_, server) => Finding::NoClient { place, server },
    }
}

/// Asks the server; gives its version.
fn ask(asker: &Asker<'_>, options: &Options, survey: &mut Survey) -> Option<Version> {
    let is_pooled = asker.access.is_pooled();
    let server = match asker.server() {
        Ok(server) => server?,
        Err(failure) => {
            let hint = hint::of(&failure.to_string(), &Clues { is_pooled, ..Clues::default() });
            let (place, why) = (survey.place.clone(), failure.brief());
            survey.findings.push(Finding::Unreachable { place, why, hint });
            return None;
        }
    };
    survey.reachable = true;
    survey.server_version = Some(server.shown);
    let names = match &options.databases {
        Databases::Connected => vec![server.database.clone()],
        Databases::Named(names) => names.clone(),
        Databases::All => {
            let all = asker.databases().unwrap_or_default();
            survey.findings.extend(all.iter().filter(|(_, may)| !may).map(|(name, _)| Finding::Closed(name.clone())));
            all.into_iter().filter(|(_, may)| *may).map(|(name, _)| name).collect()
        }
    };
    for name in names {
        match (asker.bytes(&name), asker.unreadable(&name)) {
            (Ok(bytes), Ok(unreadable)) => {
                let unreadable = unreadable.chosen(&options.choice());
                let tables = unreadable.names();
                if !tables.is_empty() {
                    let clues = Clues { is_pooled, unreadable, user: server.user.clone() };
                    let hint = hint::of("permission denied", &clues).unwrap_or_default();
                    let (database, user, tables) = (name.clone(), server.user.clone(), tables.clone());
                    survey.findings.push(Finding::Unreadable { database, user, tables, hint });
                }
                survey.databases.push(SurveyedDatabase { name, bytes, unreadable: tables });
            }
            (Err(failure), _) | (_, Err(failure)) => {
                let (place, why) = (format!("{}/{name}", survey.place), failure.brief());
                survey.findings.push(Finding::Unreachable { place, why, hint: None });
            }
        }
    }
    Some(server.version)
}
