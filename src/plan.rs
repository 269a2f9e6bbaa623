//! The plan: `vault.toml` read, checked and typed, with all defaults filled in. It says what is backed up, how often, how
//! long it is kept, what is expected of it and who is told; `run`, `drill` and `health` do what it says. Reading never
//! looks at the environment and connects nowhere. Invariant: a `Plan` that exists has no errors, and holds no secret.

mod alerts;
mod document;
mod drill;
mod finding;
mod kind;
mod parse;
mod schema;
mod source;
mod spell;
mod surroundings;
mod table;

use crate::backend::Location;
use crate::retention::TimeZone;
use crate::size::Share;
pub use alerts::{Alerts, Email, Event, Format, Health, Metrics, Tls, Webhook};
pub use drill::{Check, Drill, Must, Pick, Point, Scratch};
pub use finding::{Error, Finding, Level, Needed, Place, Variable};
pub use kind::{
    Bucket, Checkpoint, Command, Connection, Databases, Directory, Dump, Globals, Kind, Mysql, Postgres, PostgresBase,
    Redis, Snapshotting, Sqlite, Tablespaces, Wal,
};
pub use parse::{parse, read};
pub use source::{Delta, Hook, Hooks, PLAN_NAME, Source};
pub use spell::{Spelled, spell};
use std::path::PathBuf;
use std::time::Duration;
pub use surroundings::{Seen, lacking, not_run, seen};

/// A plan.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Shown in alerts and reports.
    pub name: String,
    /// Its file, and behind it those that it includes.
    pub files: Vec<PathBuf>,
    /// Of the bytes of these files.
    pub digest: String,
    /// For times of a day, days and periods; `None`: that of the machine.
    pub timezone: Option<TimeZone>,
    /// Where snapshots go.
    pub repository: Destination,
    /// What is backed up, in the order of the files.
    pub sources: Vec<Source>,
    /// What the repository itself needs.
    pub maintenance: Maintenance,
    /// Second repositories, by name.
    pub copies: Vec<CopyTo>,
    /// Whom it tells.
    pub alerts: Alerts,
    /// What is judged besides the objectives.
    pub health: Health,
    /// Where figures are written.
    pub metrics: Metrics,
    /// What is not wrong and worth knowing.
    pub warnings: Vec<Finding>,
    /// Variables of the environment that it names.
    pub variables: Vec<Variable>,
    /// Files that it names.
    pub needed: Vec<Needed>,
}

impl Plan {
    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// What findings are sorted by: the file, in the order of `files`, and the place in it.
    pub fn order(&self, place: &Place) -> (usize, usize, usize) {
        let file = self.files.iter().position(|file| **file == *place.file);
        (file.unwrap_or(self.files.len()), place.line, place.column)
    }

    /// Files of SQLite that have a source of their own: a folder that they lie in is stored without them.
    pub fn databases_in_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().filter_map(|source| match &source.kind {
            Kind::Sqlite(sqlite) => Some(&sqlite.path),
            _ => None,
        })
    }
}

/// Where snapshots go, and what opens it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Destination {
    /// `None`: what the command line says.
    pub location: Option<Location>,
    /// The same as it is written; a folder with its path from here.
    pub text: Option<String>,
    /// Where that stands; else the beginning of the plan.
    pub place: Place,
    /// For `sh -c`; it prints the password.
    pub password_command: Option<String>,
    /// The password is its first line.
    pub password_file: Option<PathBuf>,
    /// An exported key.
    pub key_file: Option<PathBuf>,
    /// What may be stored, in bytes.
    pub quota: Option<u64>,
    /// What may be sent, in bytes each second.
    pub bandwidth: Option<u64>,
}

/// What the repository itself needs. `None`: never.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Maintenance {
    /// How often it is checked.
    pub check: Option<Duration>,
    /// How much of the data that reads.
    pub read_data: Share,
    /// How often snapshots that no rule keeps are dropped.
    pub forget: Option<Duration>,
    /// How often what none needs is freed.
    pub prune: Option<Duration>,
}

/// A second repository.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyTo {
    /// What the plan calls it.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// When it is due; `None`: only when it is asked for.
    pub every: Option<Duration>,
    /// Only these sources; empty for all.
    pub sources: Vec<String>,
    /// The newest copied snapshot may be so old.
    pub rpo: Option<Duration>,
    /// For `sh -c`; it prints the password.
    pub password_command: Option<String>,
    /// The password is its first line.
    pub password_file: Option<PathBuf>,
    /// An exported key.
    pub key_file: Option<PathBuf>,
    /// Where it stands.
    pub place: Place,
}
