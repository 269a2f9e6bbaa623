//! SQLite databases that sources of their own take, as a walk meets them: the file itself, and what SQLite keeps beside it
//! for a while. They are known by their folder and name, since the files beside come and go, and a link to the folder
//! must not bring them back in.

use super::Skip;
use super::named::open_path;
use crate::metadata;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What SQLite adds to the name of a database.
const BESIDE: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];

/// Databases by the identity of their folder.
pub struct Databases(HashMap<(u64, u64), Vec<Vec<u8>>>);

impl Databases {
    /// Those at these paths. One whose folder is not there can't be met.
    pub fn new(paths: &[PathBuf]) -> Self {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        for path in paths {
            // SQLite follows links, and keeps its files beside the file itself
            let path = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_default();
            let (Some(name), Some(folder)) = (path.file_name(), path.parent().and_then(identity)) else { continue };
            names.entry(folder).or_default().push(name.as_bytes().to_vec());
        }
        Self(names)
    }

    /// Why an entry of this folder is left out, if it is.
    pub fn claim(&self, folder: (u64, u64), name: &[u8]) -> Option<Skip> {
        let names = self.0.get(&folder)?;
        let is_beside = |own: &Vec<u8>| name.strip_prefix(own.as_slice()).is_some_and(|rest| BESIDE.contains(&rest));
        if names.iter().any(|own| own == name) {
            return Some(Skip::Database);
        }
        names.iter().any(is_beside).then_some(Skip::BesideDatabase)
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    let folder = open_path(folder).ok()?;
    Some(metadata::identity(&rustix::fs::fstat(&folder).ok()?))
}
