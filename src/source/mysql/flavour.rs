//! MySQL and MariaDB have one ancestor, and by now options of their own: whose a server or a client is decides.

use std::fmt;

/// Whose a server or a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// MySQL, or one that calls itself so.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// By what a version says, of a server or a program.
    pub fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }

    /// As facts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}
