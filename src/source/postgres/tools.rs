//! Clients of PostgreSQL on this machine: where they are and how new. A client reads servers as old as one likes and none
//! that is newer than itself, so the lowest one that is new enough is taken: its dump goes into the oldest servers.

use super::access::Access;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a system's packages put clients.
struct Place {
    parent: &'static str,
    /// How the folder of a version begins.
    prefix: &'static str,
    /// Where the programs are below it.
    programs: &'static str,
}

const PLACES: [Place; 6] = [
    Place { parent: "/usr/lib/postgresql", prefix: "", programs: "bin" },
    Place { parent: "/usr", prefix: "pgsql-", programs: "bin" },
    Place { parent: "/usr/libexec", prefix: "postgresql", programs: "" },
    Place { parent: "/usr/local", prefix: "pgsql", programs: "bin" },
    Place { parent: "/opt/homebrew/opt", prefix: "postgresql@", programs: "bin" },
    Place { parent: "/usr/local/opt", prefix: "postgresql@", programs: "bin" },
];

/// A version as the server numbers it: 180006 for 18.6, 90624 for 9.6.24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(u32);

impl Version {
    /// Of a number that the server gives.
    pub fn of_number(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }

    /// Of text like `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)` or `18beta1`.
    pub fn of_text(text: &str) -> Option<Self> {
        let begin = |word: &&str| word.starts_with(|sign: char| sign.is_ascii_digit());
        let word = text.split_whitespace().find(begin)?;
        let end = word.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(word.len());
        let mut parts = word.get(..end)?.split('.').map(|part| part.parse::<u32>().unwrap_or(0).min(9_999));
        let (major, second, third) = (parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let tail = if major < 10 { second * 100 + third } else { second };
        Some(Self(major * 10_000 + tail))
    }

    /// What has to be the same, or newer, to read a server.
    pub fn major(self) -> u32 {
        if self.0 >= 100_000 { self.0 / 10_000 * 100 } else { self.0 / 100 }
    }

    /// What packages are called by: `18`, `9.6`.
    pub fn release(self) -> String {
        match self.major() {
            new if new >= 1_000 => (new / 100).to_string(),
            old => format!("{}.{}", old / 100, old % 100),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = if self.0 >= 100_000 { self.0 % 10_000 } else { self.0 % 100 };
        write!(out, "{}.{last}", self.release())
    }
}

/// A folder with the programs of one version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// Where they are.
    pub folder: PathBuf,
    /// That of `pg_dump`.
    pub version: Version,
}

impl Client {
    /// Path of a program.
    pub fn program(&self, name: &str) -> OsString {
        self.folder.join(name).into_os_string()
    }

    /// True if the folder has it.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }
}

/// The clients in this folder, or else all that are found, by version.
pub fn clients(folder: Option<&Path>, access: &Access<'_>) -> Vec<Client> {
    let mut folders: Vec<PathBuf> = folder.map(Path::to_owned).into_iter().collect();
    if folder.is_none() {
        PLACES.iter().for_each(|place| folders.extend(below(place)));
        let path = access.variable("PATH").unwrap_or_default().as_bytes();
        let parts = path.split(|byte| *byte == b':').filter(|part| part.starts_with(b"/"));
        folders.extend(parts.map(|part| PathBuf::from(OsStr::from_bytes(part))));
    }
    folders.retain(|folder| folder.join("pg_dump").is_file());
    let mut found: Vec<Client> = Vec::new();
    for folder in folders {
        let asked = access.output(vec![folder.join("pg_dump").into_os_string(), "--version".into()]);
        // what does not tell its version is no client
        let version = asked.ok().and_then(|text| Version::of_text(&String::from_utf8_lossy(&text)));
        if let Some(version) = version.filter(|version| found.iter().all(|other| other.version != *version)) {
            found.push(Client { folder, version });
        }
    }
    found.sort_by_key(|client| client.version);
    found
}

fn below(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(place.prefix.as_bytes()));
    let mut folders: Vec<PathBuf> = named.map(|entry| entry.path().join(place.programs)).collect();
    folders.sort();
    folders
}

/// The lowest of these that reads such a server; the newest where its version is not known.
pub fn fitting(clients: &[Client], server: Option<Version>) -> Option<&Client> {
    match server {
        Some(server) => clients.iter().find(|client| client.version.major() >= server.major()),
        None => clients.last(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, Version, fitting};

    #[test]
    fn versions_are_read_and_shown_as_people_write_them() {
        for (text, shown, release) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", "15"),
            ("18.6", "18.6", "18"),
            ("pg_dump (PostgreSQL) 19beta1", "19.0", "19"),
            ("9.6.24", "9.6.24", "9.6"),
        ] {
            let version = Version::of_text(text).expect(text);
            assert_eq!((version.to_string().as_str(), version.release().as_str()), (shown, release), "{text}");
        }
        assert_eq!(Version::of_number("180006\n"), Version::of_text("18.6"));
        assert_eq!(Version::of_number("90624"), Version::of_text("9.6.24"));
        assert!(Version::of_text("pg_dump").is_none() && Version::of_number("x").is_none());
    }

    #[test]
    fn the_lowest_client_that_is_new_enough_is_taken() {
        let client = |text: &str| Client { folder: text.into(), version: Version::of_text(text).expect(text) };
        let all = ["9.6.24", "15.18", "17.1", "18.6"].map(client);
        let taken = |server: &str| fitting(&all, Version::of_text(server)).map(|client| client.version.to_string());
        assert_eq!(taken("9.5.1").as_deref(), Some("9.6.24"));
        assert_eq!(taken("15.99").as_deref(), Some("15.18"), "a later fix of the server is no newer server");
        assert_eq!(taken("16.1").as_deref(), Some("17.1"));
        assert_eq!(taken("19.0"), None);
        assert_eq!(fitting(&all, None).map(|client| client.version.to_string()).as_deref(), Some("18.6"));
    }
}
