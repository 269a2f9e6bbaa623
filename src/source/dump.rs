//! What gives files as streams, one after the other: the output of a command, dumps of a database. It knows at the end of
//! each file whether that is whole, and then says so by giving the next one, so that a file that ended early never
//! becomes a snapshot. What was learned on the way (versions, rows) is told at the end.

use super::child::ChildFailure;
use std::ffi::OsString;
use std::io::Read;

/// One or more files, one after the other.
pub trait Dump {
    /// Begins anew from the first file: a run that was overtaken reads everything again.
    fn begin(&mut self) -> Result<(), DumpFailure>;
    /// The next file; names ascend. Comes back with an error if the file before is not whole.
    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure>;
    /// What was learned so far: all of it once `next` has given `None`.
    fn learned(&mut self) -> Learned;
}

/// A file of a dump; it must be read to its end.
pub struct DumpFile<'d> {
    /// Its name; `/` makes folders.
    pub name: Vec<u8>,
    /// Its bytes.
    pub content: &'d mut dyn Read,
    /// False if a file without a byte is a failure.
    pub allow_empty: bool,
}

/// What is known of a dump besides its files.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The words that ran, without secrets: what the snapshot names as its command.
    pub command: Vec<OsString>,
    /// By name, like `server_version`, or `table:public.users` with the number of its rows.
    pub facts: Vec<(String, String)>,
    /// What is missing against the user's wish: the snapshot has gaps.
    pub lacking: Vec<String>,
    /// Worth knowing.
    pub notes: Vec<String>,
    /// The last lines on standard error of what ran.
    pub messages: Vec<u8>,
}

/// Most facts, and the longest name of one: less than a snapshot holds.
const FACTS_MAX: usize = 60_000;
const FACT_NAME_BYTES_MAX: usize = 1_000;

impl Learned {
    /// Notes how many rows tables have, by names that begin with this; what a snapshot has no room for is told once.
    pub(super) fn count(&mut self, prefix: &str, tables: impl IntoIterator<Item = (String, u64)>) {
        let mut is_cut = false;
        for (table, rows) in tables {
            let name = format!("{prefix}table:{table}");
            if self.facts.len() < FACTS_MAX && name.len() <= FACT_NAME_BYTES_MAX {
                self.facts.push((name, rows.to_string()));
            } else {
                is_cut = true;
            }
        }
        if is_cut {
            self.notes.push("there are more tables than a snapshot notes with their rows".into());
        }
    }
}

/// Why there is no whole dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpFailure {
    /// What gives it did not run to a good end.
    #[error(transparent)]
    Child(#[from] ChildFailure),
    /// The same, and what helps against it.
    #[error("{failure}\n{hint}")]
    Explained {
        /// How it ended.
        failure: ChildFailure,
        /// In our own words.
        hint: String,
    },
    /// All that ran said that it ended well, and yet something is missing.
    #[error("the dump of {what} is not whole: {why}")]
    Cut {
        /// A database, or the like.
        what: String,
        /// How that shows, and what may help.
        why: String,
    },
    /// It can't be made as it was asked for, in words: why, and what to do.
    #[error("{0}")]
    Refused(String),
}

impl DumpFailure {
    /// In our own words, as [`ChildFailure::ours`].
    pub fn ours(&self) -> String {
        match self {
            Self::Child(failure) => failure.ours(),
            Self::Explained { failure, hint } => format!("{}; {hint}", failure.ours()),
            other => other.to_string(),
        }
    }
}

/// A name for the file of a database; what no file name may hold is written as in URLs.
pub(super) fn file_name(database: &str, end: &str) -> String {
    let mut name = String::new();
    for sign in database.chars() {
        if sign == '/' || sign == '%' || sign.is_ascii_control() {
            name.push_str(&format!("%{:02X}", u32::from(sign)));
        } else {
            name.push(sign);
        }
    }
    format!("{name}.{end}")
}
