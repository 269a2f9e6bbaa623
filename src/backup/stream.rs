//! One pass over a stream or the output of a command: it becomes the only file of the snapshot. A command that failed
//! or wrote nothing gives no snapshot.

use super::files::ReadError;
use super::scan::{Found, Scan};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::trees::TreeBuilder;
use crate::source::{self, Command, CommandFailure};
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use vault_format::tree::{Metadata, Node, NodeKind, Time};

impl Scan<'_, '_> {
    /// Reads a stream, which becomes one file.
    pub fn stream(self, input: &mut dyn Read, name: &[u8]) -> Result<Found> {
        let (scan, bytes) = self.one_file(input, name)?;
        if bytes == 0 && !scan.options.allow_empty {
            return Err(Error::EmptySource("standard input".into(), String::new()));
        }
        Ok(scan.found)
    }

    /// Reads what a command writes, which becomes one file. A command that fails gives nothing.
    pub fn command(self, words: &[OsString], name: &[u8]) -> Result<Found> {
        let runtime = self.repository.runtime();
        let failed = |failure: CommandFailure| {
            if runtime.is_stopped() { Error::Interrupted } else { Error::Source(failure.to_string()) }
        };
        let mut command = Command::spawn(words, runtime, self.progress).map_err(failed)?;
        let (mut scan, bytes) = self.one_file(&mut command, name)?;
        // the exit status comes first: a command that failed often gave no output either
        scan.found.messages = command.finish().map_err(failed)?;
        if bytes == 0 && !scan.options.allow_empty {
            let program = words.first().map(|word| Path::new(word).display().to_string()).unwrap_or_default();
            let said = source::last_words(&scan.found.messages).join(" / ");
            let said = if said.is_empty() { said } else { format!(", but said: {said}") };
            return Err(Error::EmptySource(program, said));
        }
        Ok(scan.found)
    }

    fn one_file(mut self, input: &mut dyn Read, name: &[u8]) -> Result<(Self, u64)> {
        let mut input = Stoppable { input, repository: self.repository };
        let (content, bytes) = match self.files.write(self.writer, &mut input, self.progress) {
            Ok(done) => done,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(_)) if self.repository.runtime().is_stopped() => return Err(Error::Interrupted),
            Err(ReadError::Input(error)) => return Err(Error::Source(format!("cannot read the stream: {error}"))),
        };
        let time = self.options.time.unwrap_or(self.started);
        let mtime = Time {
            seconds: time.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(time.rem_euclid(1_000_000_000)).unwrap_or_default(),
        };
        let metadata = Metadata { mode: 0o600, mtime, ctime: mtime, ..Metadata::default() };
        let kind = NodeKind::File { size: bytes, content, holes: Vec::new() };
        let mut builder = TreeBuilder::default();
        let key = self.repository.keys().gear_key().clone();
        builder.push(self.writer, &key, Node { name: name.to_vec(), kind, metadata })?;
        self.found.root = builder.finish(self.writer, &key)?;
        self.found.profile = self.files.profile;
        self.found.statistics.files = 1;
        self.found.statistics.bytes = bytes;
        self.progress.advance(1, 0);
        Ok((self, bytes))
    }
}

/// A stream that ends with an error once the run should stop.
struct Stoppable<'a> {
    input: &'a mut dyn Read,
    repository: &'a Repository,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.repository.runtime().is_stopped() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.input.read(out)
    }
}
