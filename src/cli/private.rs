//! A new file for a secret, which only its owner can read. It is removed again unless it is kept in the end: half a
//! sheet, or a key that nobody announced, is of no use.

use super::exit::{Context, Failure};
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Such a file, until it is kept.
pub struct Private {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Private {
    /// Makes it; `what` is to be written to it.
    pub fn create(path: &Path, what: &str) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.context(&format!("cannot write {what} to {}", path.display()));
        let file = file.map_err(|failure| failure.hint("name a file that does not exist yet"))?;
        Ok(Self { file, path: path.to_owned(), is_kept: false })
    }

    /// Has it hold these bytes and no others, safe on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()
    }

    /// It stays.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if !self.is_kept {
            // what went wrong before is what matters
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
