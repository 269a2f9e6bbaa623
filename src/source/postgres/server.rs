//! What a server tells of itself and of its databases, asked by `psql`.

use super::access::Access;
use super::tables::Tables;
use super::tools::{Client, Version};
use crate::source::child::ChildFailure;
use std::ffi::OsString;

/// What stands between columns, and between rows: no name holds it.
const COLUMN_END: char = '\u{1f}';
const ROW_END: char = '\u{1e}';

/// Databases of platforms, which nobody else may enter.
const OF_PLATFORMS: [&str; 5] = ["rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys", "alloydbadmin"];

const SERVER: &str = "select current_setting('server_version_num'), current_setting('server_version'), \
                      pg_catalog.current_database(), current_user";
const DATABASES: &str = "select datname, pg_catalog.has_database_privilege(datname, 'connect') \
                         from pg_catalog.pg_database where datallowconn and not datistemplate order by 1";
const EXTENSIONS: &str = "select extname, extversion from pg_catalog.pg_extension order by 1";
const FORM: &str = "select pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype \
                    from pg_catalog.pg_database where datname = pg_catalog.current_database()";
const SYSTEM: &str = "select system_identifier from pg_catalog.pg_control_system()";
const BYTES: &str = "select pg_catalog.pg_database_size(pg_catalog.current_database())";
/// What a dump reads: tables and sequences of its own, not those of extensions.
const UNREADABLE: &str = "select n.nspname, c.relname from pg_catalog.pg_class c \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
    and not exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass \
    and d.objid = c.oid and d.deptype = 'e') \
    and (not pg_catalog.has_schema_privilege(n.oid, 'usage') or \
    case c.relkind when 'S' then not pg_catalog.has_sequence_privilege(c.oid, 'select') \
    else not pg_catalog.has_table_privilege(c.oid, 'select') end) order by 1, 2";

/// A server, asked once.
#[derive(Clone, Debug)]
pub struct Server {
    /// As numbers, to compare.
    pub version: Version,
    /// As the server says it.
    pub shown: String,
    /// The database that the connection leads to.
    pub database: String,
    /// The user that it is of.
    pub user: String,
}

type Answer<T> = Result<T, ChildFailure>;

/// Asks with a client's `psql`.
pub struct Asker<'a> {
    /// How to reach the server.
    pub access: &'a Access<'a>,
    /// It has a `psql`.
    pub client: &'a Client,
}

impl Asker<'_> {
    /// Rows of columns as text.
    fn ask(&self, database: Option<&str>, question: &str) -> Answer<Vec<Vec<String>>> {
        let mut words = vec![self.client.program("psql")];
        let plain = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1"];
        words.extend(plain.map(OsString::from));
        words.push(format!("--field-separator={COLUMN_END}").into());
        words.push(format!("--record-separator={ROW_END}").into());
        words.push(format!("--dbname={}", self.access.connection.words(database)).into());
        words.push(format!("--command={question}").into());
        let answer = self.access.output(words)?;
        let answer = String::from_utf8_lossy(&answer);
        let rows = answer.trim_end_matches(['\n', ROW_END]).split(ROW_END).filter(|row| !row.is_empty());
        Ok(rows.map(|row| row.split(COLUMN_END).map(str::to_owned).collect()).collect())
    }

    /// Which server answers; `None` if its answer can't be understood.
    pub fn server(&self) -> Answer<Option<Server>> {
        let rows = self.ask(None, SERVER)?;
        let row = rows.into_iter().next().map(<[String; 4]>::try_from);
        Ok(row.and_then(Result::ok).and_then(|[number, shown, database, user]| {
            let shown = shown.split_whitespace().next().unwrap_or_default().to_owned();
            Some(Server { version: Version::of_number(&number)?, shown, database, user })
        }))
    }

    /// All databases but those of the platform, each with whether this user may enter it.
    pub fn databases(&self) -> Answer<Vec<(String, bool)>> {
        let rows = self.ask(None, DATABASES)?.into_iter();
        let all = rows.filter_map(|row| <[String; 2]>::try_from(row).ok());
        let others = all.filter(|[name, _]| !OF_PLATFORMS.contains(&name.as_str()));
        Ok(others.map(|[name, may]| (name, may == "t")).collect())
    }

    /// What is to be known of a database when it is made anew: extensions with versions, owner, encoding, locale.
    pub fn facts(&self, database: &str) -> Answer<Vec<(String, String)>> {
        let ask = |question| self.ask(Some(database), question);
        let extensions = ask(EXTENSIONS)?.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok());
        let mut facts: Vec<_> = extensions.map(|[name, version]| (format!("extension:{name}"), version)).collect();
        if let Some(Ok(form)) = ask(FORM)?.into_iter().next().map(<[String; 4]>::try_from) {
            let names = ["owner", "encoding", "collate", "ctype"].map(String::from);
            facts.extend(names.into_iter().zip(form));
        }
        Ok(facts)
    }

    /// What tells this cluster from any other, where the user may know.
    pub fn system(&self) -> Option<String> {
        self.ask(None, SYSTEM).ok()?.into_iter().flatten().next()
    }

    /// Bytes of a database on the server's disk.
    pub fn bytes(&self, database: &str) -> Answer<u64> {
        let answer = self.ask(Some(database), BYTES)?;
        Ok(answer.into_iter().flatten().next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0))
    }

    /// Tables of a database that this user may not read.
    pub fn unreadable(&self, database: &str) -> Answer<Tables> {
        let rows = self.ask(Some(database), UNREADABLE)?.into_iter();
        Ok(rows.filter_map(|row| <[String; 2]>::try_from(row).ok()).map(|[schema, name]| (schema, name)).collect())
    }
}
