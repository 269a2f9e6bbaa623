//! Clients of MySQL and MariaDB on this machine. The two have grown apart: each dumps its own server best, and what is
//! called `mysqldump` may be either's.

use super::access::Access;
use super::flavour::Flavour;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where clients lie besides `PATH`.
const PLACES: [&str; 5] =
    ["/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/opt/homebrew/bin", "/opt/homebrew/opt/mysql-client/bin"];
/// Programs that dump, each with the one beside it that asks.
const PROGRAMS: [(&str, &str); 2] = [("mariadb-dump", "mariadb"), ("mysqldump", "mysql")];

/// A client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// The program that dumps.
    pub dump: PathBuf,
    /// The program that asks.
    pub ask: PathBuf,
    /// Whose it is.
    pub flavour: Flavour,
    /// In its words.
    pub version: String,
}

/// The clients in this folder, or else all that are found.
pub fn clients(folder: Option<&Path>, access: &Access<'_>) -> Vec<Client> {
    let mut folders: Vec<PathBuf> = folder.map(Path::to_owned).into_iter().collect();
    if folder.is_none() {
        let path = access.variable("PATH").unwrap_or_default().as_bytes();
        let parts = path.split(|byte| *byte == b':').filter(|part| part.starts_with(b"/"));
        folders.extend(parts.map(|part| PathBuf::from(OsStr::from_bytes(part))));
        folders.extend(PLACES.map(PathBuf::from));
    }
    let mut found: Vec<Client> = Vec::new();
    for (folder, (dump, ask)) in folders.iter().flat_map(|folder| PROGRAMS.map(|programs| (folder, programs))) {
        let (dump, ask) = (folder.join(dump), folder.join(ask));
        if !dump.is_file() || !ask.is_file() || found.iter().any(|client| client.dump == dump) {
            continue;
        }
        let asked = access.output(vec![dump.clone().into_os_string(), OsString::from("--version")], None);
        // what does not tell its version is no client
        let Ok(said) = asked else { continue };
        let said = String::from_utf8_lossy(&said).into_owned();
        let flavour = Flavour::of(&said);
        found.push(Client { dump, ask, flavour, version: version(&said) });
    }
    found
}

/// Of `mysqldump  Ver 8.0.36 for Linux` or `mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for …` the version.
fn version(said: &str) -> String {
    let from = ["from ", "Distrib ", "Ver "].iter().find_map(|begin| said.split_once(begin));
    let version = from.map_or(said, |(_, version)| version);
    version.split([',', ' ', '\n']).next().unwrap_or_default().to_owned()
}

/// The first client of this flavour, or else any.
pub fn fitting(clients: &[Client], flavour: Flavour) -> Option<&Client> {
    clients.iter().find(|client| client.flavour == flavour).or_else(|| clients.first())
}

#[cfg(test)]
mod tests {
    use super::{Client, Flavour, fitting, version};

    #[test]
    fn versions_tell_whose_a_program_is() {
        for (said, number, flavour) in [
            ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)\n", "8.0.36", Flavour::MySql),
            (
                "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)",
                "10.11.19-MariaDB",
                Flavour::MariaDb,
            ),
            ("mysqldump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", "11.4.2-MariaDB", Flavour::MariaDb),
        ] {
            assert_eq!((version(said).as_str(), Flavour::of(said)), (number, flavour), "{said}");
        }
    }

    #[test]
    fn a_server_is_dumped_by_its_own_client_where_there_is_one() {
        let client = |flavour| Client { dump: "dump".into(), ask: "ask".into(), flavour, version: "1".into() };
        let both = [client(Flavour::MariaDb), client(Flavour::MySql)];
        assert_eq!(fitting(&both, Flavour::MySql).unwrap().flavour, Flavour::MySql);
        assert_eq!(fitting(&both[..1], Flavour::MySql).unwrap().flavour, Flavour::MariaDb);
        assert!(fitting(&[], Flavour::MySql).is_none());
    }
}
