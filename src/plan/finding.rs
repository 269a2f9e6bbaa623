//! What is wrong with a plan, or worth knowing of it: where, which key, why, and what to write instead. Findings are
//! collected, so that one look at a plan names all that is wrong with it. Invariant: none holds a secret, so a value is
//! shown only where it is a plain word.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The plan can't be used so.
    Error,
    /// It can, and perhaps does not do what is meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl Level {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A place in a file of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Place {
    /// The beginning of a file.
    pub fn start(file: &Path) -> Self {
        Self { file: file.into(), line: 1, column: 1 }
    }

    /// The folder of the file: where the relative paths in it begin.
    pub fn folder(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// A path that stands here.
    pub(super) fn path(&self, text: impl AsRef<Path>) -> PathBuf {
        let path = self.folder().join(text);
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The key with its tables, like `source.app-db.keep`; empty for the file as a whole.
    pub key: String,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.problem)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(out, "; {hint}"))
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of it can't be read.
    #[error("cannot read the plan {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It has errors: all that was found, in the order of the file, at least one of them an error.
    #[error("{}", in_words(.0))]
    Findings(Vec<Finding>),
}

fn in_words(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A variable of the environment that a plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The key that names it.
    pub key: String,
    /// Where.
    pub place: Place,
}

/// A file that a plan names, and that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Which.
    pub path: PathBuf,
    /// The key that names it.
    pub key: String,
    /// Where.
    pub place: Place,
    /// It is missing at the worst for a while: a database that is not made yet.
    pub may_lack: bool,
}

/// What is gathered while a plan is read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub findings: RefCell<Vec<Finding>>,
    pub variables: RefCell<Vec<Variable>>,
    pub needed: RefCell<Vec<Needed>>,
}

impl Gathered {
    /// Adds an error.
    pub fn error(&self, key: &str, place: &Place, problem: impl Into<String>, hint: Option<String>) {
        let problem = problem.into();
        let finding = Finding { level: Level::Error, key: key.to_owned(), place: place.clone(), problem, hint };
        self.findings.borrow_mut().push(finding);
    }

    /// Adds a warning.
    pub fn warn(&self, key: &str, place: &Place, problem: impl Into<String>, hint: Option<String>) {
        self.error(key, place, problem, hint);
        if let Some(last) = self.findings.borrow_mut().last_mut() {
            last.level = Level::Warning;
        }
    }
}
