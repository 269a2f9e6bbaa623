//! What operations return: an error of the repository, of a file, of a source or of the request itself. The command
//! line turns it into words and an exit code.

mod refusal;

use crate::repository;
use crate::runtime::Interrupted;
use crate::source::dump::DumpFailure;
pub use refusal::Refusal;
use std::io;
use std::path::PathBuf;

/// Why an operation did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A file or folder.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The source as a whole can't be read.
    #[error("{0}")]
    Source(String),
    /// What was to give the source has failed, and perhaps said why.
    #[error(transparent)]
    Dump(DumpFailure),
    /// The source gave no bytes, and perhaps said why.
    #[error("{0} gave no output{1}: an empty snapshot is not taken")]
    EmptySource(String, String),
    /// Standard output or another sink.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The target of a restore has too little room.
    #[error("{0}")]
    NoRoom(Box<Lack>),
    /// Nothing is wrong with the repository, but what was asked can't be done so.
    #[error(transparent)]
    Request(#[from] Refusal),
}

impl Error {
    /// A refusal, typed or in words.
    pub(crate) fn refused(why: impl Into<Refusal>) -> Self {
        Self::Request(why.into())
    }

    /// In our own words, for whoever is told: what a program said may hold its secrets, or content, and stays with
    /// whoever started the run.
    pub(crate) fn ours(&self) -> String {
        match self {
            Self::Dump(failure) => failure.ours(),
            Self::EmptySource(program, _) => Self::EmptySource(program.clone(), String::new()).to_string(),
            other => other.to_string(),
        }
    }

    /// True if somebody else changed meanwhile what the operation relied on: begun again, it sees the change.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Repository(error) if error.is_overtaken())
    }
}

/// Room that is missing on a disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lack {
    /// A folder on it.
    pub place: PathBuf,
    /// Bytes, or entries, that are still to be made. 0: nobody can tell.
    pub needed: u64,
    /// How many there is room for.
    pub free: u64,
    /// Entries are meant, not bytes.
    pub is_entries: bool,
    /// Some of it is there already.
    pub has_begun: bool,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = if self.is_entries { "entries" } else { "bytes" };
        write!(out, "no room in {}: {} {unit} are needed, {} are free", self.place.display(), self.needed, self.free)
    }
}

/// The result of every operation.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Interrupted> for Error {
    fn from(interrupted: Interrupted) -> Self {
        Self::Repository(interrupted.into())
    }
}

impl From<crate::backend::Error> for Error {
    fn from(error: crate::backend::Error) -> Self {
        Self::Repository(error.into())
    }
}
