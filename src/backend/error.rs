//! The one error of every store: what could not be done to which object where, and why.
//! Stores make it, `Backend` adds the location, operations above match on its kind. Invariant: one line, no secrets.

use std::fmt;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such object.
    NotFound,
    /// No such folder, bucket or container, or another one by now: nothing can be told of any object.
    NoPlace,
    /// A file lies where the folder should.
    NotAFolder,
    /// The name is taken by other bytes.
    Exists,
    /// The store refuses these credentials or this user.
    Denied,
    /// There are no credentials at all.
    NoCredentials,
    /// The store is full, or a quota is.
    NoSpace,
    /// The store did not answer, after every retry.
    Unreachable,
    /// The object has fewer bytes than it must have, or the disk can't read them.
    Damaged,
    /// The store, or this build, cannot do it.
    Unsupported,
    /// Anything else.
    Other,
}

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opening the backend.
    Open,
    /// Creating an object.
    Put,
    /// Reading an object.
    Get,
    /// Looking an object up.
    Stat,
    /// Listing objects.
    List,
    /// Removing an object.
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "write",
            Self::Get => "read",
            Self::Stat => "look up",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

/// Why an operation on a backend failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// What a caller can act on.
    pub kind: ErrorKind,
    /// What was attempted.
    pub operation: Operation,
    /// The object or prefix, empty for the whole place.
    pub name: String,
    /// The place, without secrets; empty until the backend fills it in.
    pub location: String,
    /// The cause in words, one line.
    pub cause: String,
}

/// What every operation of a backend returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error whose place is not known yet. Line breaks and the queries of URLs (signatures live there) go.
    pub fn new(kind: ErrorKind, operation: Operation, name: &str, cause: impl AsRef<str>) -> Self {
        let cause = one_line(cause.as_ref());
        Self { kind, operation, name: name.to_owned(), location: String::new(), cause }
    }

    /// The usual answer for a name that no object has.
    pub fn missing(operation: Operation, name: &str) -> Self {
        Self::new(ErrorKind::NotFound, operation, name, "object is missing")
    }

    /// The answer to a put over other bytes.
    pub fn exists(name: &str) -> Self {
        Self::new(ErrorKind::Exists, Operation::Put, name, "the name is taken by other bytes")
    }

    /// True if nothing is known of the object: the store may well give it another time.
    pub fn is_unanswered(&self) -> bool {
        !matches!(self.kind, ErrorKind::NotFound | ErrorKind::Damaged)
    }

    /// Fills in the place.
    pub(crate) fn at(mut self, location: &str) -> Self {
        if self.location.is_empty() {
            location.clone_into(&mut self.location);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        match (self.name.is_empty(), self.location.is_empty()) {
            (true, true) => write!(f, " the repository")?,
            (true, false) => write!(f, " {}", self.location)?,
            (false, true) => write!(f, " {}", self.name)?,
            (false, false) => write!(f, " {} in {}", self.name, self.location)?,
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for Error {}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match (word.find("://"), word.find('?')) {
        (Some(scheme), Some(query)) if scheme < query => {
            let rest = word.get(query..).unwrap_or_default();
            let tail = rest.find([')', '"', ',', '\'']).and_then(|at| rest.get(at..)).unwrap_or_default();
            format!("{}{tail}", word.get(..query).unwrap_or_default())
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind, Operation};

    #[test]
    fn an_error_is_one_line_and_hides_signed_queries() {
        let cause = "error sending request\nfor url (https://a.example/c/x?sv=1&sig=SECRET): refused";
        let error = Error::new(ErrorKind::Unreachable, Operation::Get, "packs/d/3f/ab", cause).at("azblob://c");
        assert_eq!(
            error.to_string(),
            "cannot read packs/d/3f/ab in azblob://c: error sending request for url (https://a.example/c/x): refused"
        );
    }

    #[test]
    fn a_missing_object_reads_well() {
        let error = Error::missing(Operation::Get, "packs/d/3f/ab");
        assert_eq!(error.to_string(), "cannot read packs/d/3f/ab: object is missing");
    }
}
