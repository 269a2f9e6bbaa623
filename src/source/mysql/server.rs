//! What a server says of itself and its databases, asked through a client.

use super::access::Access;
use super::flavour::Flavour;
use super::tools::Client;
use crate::source::child::ChildFailure;
use std::ffi::OsString;

/// Databases of the server's own.
const SYSTEM: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// In its words.
    pub version: String,
    /// Whose it is.
    pub flavour: Flavour,
}

/// A database as its server keeps it.
pub struct Database {
    pub name: String,
    pub charset: String,
    pub collation: String,
}

/// A table or view.
pub struct Table {
    pub name: String,
    /// None for a view.
    pub engine: Option<String>,
    /// On the server's disk.
    pub bytes: u64,
}

/// What a server shows only to those who have certain rights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// Of tables.
    Triggers,
    /// Procedures and functions.
    Routines,
}

impl Hidden {
    /// Counts the rights by which this user sees it; names of databases are patterns there.
    fn question(self, database: &str) -> String {
        let (global, local, of_system) = match self {
            Self::Triggers => ("'TRIGGER'", "'TRIGGER'", "0"),
            Self::Routines => (
                "'SELECT', 'EXECUTE', 'ALTER ROUTINE', 'CREATE ROUTINE', 'SHOW_ROUTINE'",
                "'EXECUTE', 'ALTER ROUTINE', 'CREATE ROUTINE'",
                "(SELECT count(*) FROM information_schema.schema_privileges WHERE privilege_type = 'SELECT' \
                 AND table_schema = 'mysql') + (SELECT count(*) FROM information_schema.table_privileges \
                 WHERE privilege_type = 'SELECT' AND table_schema = 'mysql' AND table_name = 'proc')",
            ),
        };
        format!(
            "SELECT (SELECT count(*) FROM information_schema.user_privileges WHERE privilege_type IN ({global})) + \
             (SELECT count(*) FROM information_schema.schema_privileges WHERE privilege_type IN ({local}) \
             AND {database} LIKE table_schema) + {of_system}"
        )
    }

    /// The option that leaves it out.
    pub fn option(self) -> &'static str {
        match self {
            Self::Triggers => "--skip-triggers",
            Self::Routines => "--skip-routines",
        }
    }

    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Triggers => "triggers",
            Self::Routines => "procedures and functions",
        }
    }

    /// What shows it.
    pub fn right(self) -> &'static str {
        match self {
            Self::Triggers => "TRIGGER on it",
            Self::Routines => "SHOW_ROUTINE, or in MariaDB SELECT on mysql.proc",
        }
    }
}

/// Who asks.
pub struct Asker<'a> {
    pub access: &'a Access<'a>,
    pub client: &'a Client,
}

impl Asker<'_> {
    /// The server.
    pub fn server(&self) -> Result<Server, ChildFailure> {
        let rows = self.ask("SELECT version(), @@version_comment")?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter();
        let (version, comment) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        Ok(Server { flavour: Flavour::of(&format!("{version} {comment}")), version })
    }

    /// All databases but the server's own.
    pub fn databases(&self) -> Result<Vec<Database>, ChildFailure> {
        let rows = self.ask(
            "SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata",
        )?;
        let database = |row: Vec<String>| {
            let mut row = row.into_iter();
            Some(Database { name: row.next()?, charset: row.next()?, collation: row.next()? })
        };
        let mut databases: Vec<Database> = rows.into_iter().filter_map(database).collect();
        databases.retain(|database| !SYSTEM.contains(&database.name.to_ascii_lowercase().as_str()));
        databases.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(databases)
    }

    /// Tables and views of a database.
    pub fn tables(&self, database: &str) -> Result<Vec<Table>, ChildFailure> {
        let rows = self.ask(&format!(
            "SELECT table_name, coalesce(engine, ''), coalesce(data_length, 0) FROM information_schema.tables \
             WHERE table_schema = {} ORDER BY table_name",
            literal(database)
        ))?;
        let table = |row: Vec<String>| {
            let mut row = row.into_iter();
            let (name, engine) = (row.next()?, row.next()?);
            let bytes = row.next()?.parse().unwrap_or_default();
            Some(Table { name, engine: Some(engine).filter(|engine| !engine.is_empty()), bytes })
        };
        Ok(rows.into_iter().filter_map(table).collect())
    }

    /// What this user can't see of a database, if it is there: a dump lacks it without a word.
    pub fn hidden(&self, database: &str) -> Result<Vec<Hidden>, ChildFailure> {
        let mut hidden = Vec::new();
        for what in [Hidden::Triggers, Hidden::Routines] {
            let rows = self.ask(&what.question(&literal(database)))?;
            if rows.first().and_then(|row| row.first()).is_some_and(|count| count == "0") {
                hidden.push(what);
            }
        }
        Ok(hidden)
    }

    fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, ChildFailure> {
        let flags = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4", "--connect-timeout=30"];
        let mut words: Vec<OsString> = vec![self.client.ask.clone().into_os_string()];
        words.extend(flags.map(OsString::from));
        words.push(format!("--execute={sql}").into());
        let answer = self.access.output(words, Some(self.client.flavour))?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.lines().map(|line| line.split('\t').map(plain).collect()).collect())
    }
}

/// Text as SQL has it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A value as it was before the client wrote it in one line.
fn plain(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut signs = value.chars();
    while let Some(sign) = signs.next() {
        out.push(match sign {
            '\\' => match signs.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                other => other.unwrap_or('\\'),
            },
            other => other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{literal, plain};

    #[test]
    fn names_survive_the_way_to_the_server_and_back() {
        assert_eq!(literal("it's a\\b"), "'it''s a\\\\b'");
        assert_eq!(plain("a\\tb\\\\n\\n"), "a\tb\\n\n");
    }
}
