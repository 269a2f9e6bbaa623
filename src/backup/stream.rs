//! One pass over a stream or the output of a command: it becomes the only file of the snapshot. A command that failed
//! or wrote nothing gives no snapshot.

use super::files::ReadError;
use super::scan::{Found, Scan};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::source::{self, Command, CommandFailure};
use crate::time::WallTime;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use vault_format::id::BlobKind;
use vault_format::tree::{Metadata, Node, NodeKind, Time, TreePage, TreeRoot};

impl Scan<'_> {
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
            let stopped = runtime.check_stopped().err();
            stopped.map_or_else(|| Error::Source(failure.to_string()), Error::from)
        };
        let mut command = Command::spawn(words, runtime, self.progress).map_err(failed)?;
        let (mut scan, bytes) = self.one_file(&mut command, name)?;
        // the exit status comes first: a command that failed often gave no output either
        scan.found.body.messages = command.finish().map_err(failed)?;
        if bytes == 0 && !scan.options.allow_empty {
            let program = words.first().map(|word| Path::new(word).display().to_string()).unwrap_or_default();
            let said = source::last_words(&scan.found.body.messages).join(" / ");
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
            Err(ReadError::Input(error)) => {
                self.repository.runtime().check_stopped()?;
                return Err(Error::Source(format!("cannot read the stream: {error}")));
            }
        };
        let kind = NodeKind::File { size: bytes, content, holes: Vec::new() };
        let mut tree = self.tree(name, &kind, self.options.time.unwrap_or(self.started))?;
        if let Some(last) = self.origin.own_last.filter(|_| self.options.skip_if_unchanged) {
            // the time of reading is no change: with that of the last one it may be the tree of the last one
            let before = self.tree(name, &kind, last.claimed())?;
            tree = if before.root == last.head.root { before } else { tree };
        }
        for page in &tree.pages {
            self.writer.put(BlobKind::Tree, page)?;
        }
        self.found.root = tree.root;
        self.found.statistics.directories = tree.pages.len() as u64 - 1;
        self.found.profile = self.files.profile;
        self.found.statistics.files = 1;
        self.found.statistics.bytes = bytes;
        self.progress.advance(1, 0);
        Ok((self, bytes))
    }

    /// The tree with one file at a path, of a time; nothing of it is stored.
    fn tree(&self, path: &[u8], kind: &NodeKind, time: WallTime) -> Result<OneFile> {
        let mtime = Time::from(time);
        let mut kind = kind.clone();
        let mut pages = Vec::new();
        loop {
            let depth = pages.len();
            let name = path.rsplit(|byte| *byte == b'/').nth(depth).unwrap_or_default().to_vec();
            let mode = if depth == 0 { 0o600 } else { 0o700 };
            let metadata = Metadata { mode, mtime, ctime: mtime, ..Metadata::default() };
            let (bytes, count) = match &kind {
                NodeKind::Directory(root) => (root.bytes, root.count + 1),
                NodeKind::File { size, .. } => (*size, 1),
                _ => (0, 1),
            };
            let page = TreePage::Leaf(vec![Node { name, kind, metadata }]).encode();
            let page = page.map_err(|error| Error::Source(format!("cannot store the stream: {error}")))?;
            let root = TreeRoot { id: self.writer.id_of(BlobKind::Tree, &page), bytes, count };
            pages.push(page);
            if depth == path.iter().filter(|byte| **byte == b'/').count() {
                return Ok(OneFile { pages, root });
            }
            kind = NodeKind::Directory(root);
        }
    }
}

/// A tree with one file.
struct OneFile {
    pages: Vec<Vec<u8>>,
    root: TreeRoot,
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
