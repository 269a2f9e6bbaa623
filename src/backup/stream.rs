//! One pass over a stream, which becomes the only file of the snapshot, or over a dump with its files. What ends early,
//! or has no bytes though it should, gives no snapshot.

use super::bounds::Bounds;
use super::compressed::Comes;
use super::files::{Input, ReadError};
use super::scan::{Found, Scan};
use crate::error::{Error, Result};
use crate::repository::tree::before::Before;
use crate::repository::tree::build::{Pages, TreeBuilder, Unstored};
use crate::source::dump::{Dump, DumpFailure, Learned};
use crate::source::{self, ChildFailure};
use crate::time::WallTime;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use vault_format::key::Key;
use vault_format::tree::{Metadata, Node, NodeKind, Time, TreeRoot};

/// Files by the parts of their paths, as trees are ordered.
type Files = BTreeMap<Vec<Vec<u8>>, NodeKind>;

impl Scan<'_> {
    /// Reads a stream, which becomes one file.
    pub fn stream(mut self, input: &mut dyn Read, name: &[u8]) -> Result<Found> {
        let (kind, bytes) = self.streamed(input, name, "the stream")?;
        if bytes == 0 && !self.options.allow_empty {
            return Err(Error::EmptySource("standard input".into(), String::new()));
        }
        let mut files = Files::new();
        add(&mut files, name, kind)?;
        self.store(&files)?;
        Ok(self.found)
    }

    /// Reads all files of a dump.
    pub fn dump(mut self, dump: &mut dyn Dump) -> Result<Found> {
        let bounds = self.files.bounds.clone();
        let failed = |failure: DumpFailure| match failure {
            // it says best itself what ran too long
            DumpFailure::Child(ChildFailure::TimeOut { .. }) => Error::Dump(failure),
            _ => bounds.go_on().err().unwrap_or(Error::Dump(failure)),
        };
        let (mut files, mut empty) = (Files::new(), None::<Vec<u8>>);
        dump.begin().map_err(failed)?;
        loop {
            // how the last one ended comes first: what failed often gave no output either
            let next = dump.next().map_err(failed)?;
            if let Some(name) = empty {
                return Err(nothing_in(&name, &dump.learned()));
            }
            let Some(file) = next else { break };
            let shown = String::from_utf8_lossy(&file.name).into_owned();
            let (kind, bytes) = self.streamed(file.content, &file.name, &shown)?;
            empty = (bytes == 0 && !file.allow_empty).then(|| file.name.clone());
            add(&mut files, &file.name, kind)?;
        }
        if files.is_empty() {
            return Err(Error::Source("what was to be dumped has no file".into()));
        }
        let learned = dump.learned();
        self.found.body.command = learned.command.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.found.body.messages = learned.messages;
        self.found.body.facts = learned.facts.into_iter().collect();
        self.found.failed.extend(learned.lacking);
        self.found.notes.extend(learned.notes);
        self.store(&files)?;
        Ok(self.found)
    }

    /// Reads one file to its end; gives its content and length.
    fn streamed(&mut self, input: &mut dyn Read, name: &[u8], what: &str) -> Result<(NodeKind, u64)> {
        let node = self.origin.node(self.reader, name);
        let before = node.as_ref().and_then(|node| Before::of(self.reader, node));
        let mut input = Stoppable { input, bounds: self.files.bounds.clone() };
        let input = Input::Stream(&mut input);
        let (content, bytes) = match self.files.write(self.writer, input, before.as_ref(), self.progress) {
            Ok(done) => done,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Input(error)) => {
                match error.kind() {
                    ErrorKind::TimedOut => self.files.bounds.runtime.check_stopped()?,
                    _ => self.files.bounds.go_on()?,
                }
                return Err(Error::Source(format!("cannot read {what}: {error}")));
            }
        };
        let is_first = self.found.statistics.files == 0;
        let profile = self.files.profile;
        self.found.profile = if is_first || self.found.profile == profile { profile } else { 0 };
        self.found.statistics.files += 1;
        self.found.statistics.bytes += bytes;
        self.note_compressed(name, Comes::AsStream, bytes, before.is_some());
        self.progress.advance(1, 0);
        Ok((NodeKind::File { size: bytes, content, holes: Vec::new() }, bytes))
    }

    /// Stores the tree that the files lie in.
    fn store(&mut self, files: &Files) -> Result<()> {
        let key = self.repository.keys().gear_key().clone();
        let mut time = self.options.time.unwrap_or(self.started);
        if let Some(last) = self.origin.own_last.filter(|_| self.options.skip_if_unchanged) {
            // the time of reading is no change: with that of the last one it may be the tree of the last one
            let (before, _) = tree(&mut Unstored(self.writer), &key, files, last.claimed())?;
            time = if before == last.head.root { last.claimed() } else { time };
        }
        let (root, directories) = tree(self.writer, &key, files, time)?;
        self.found.root = root;
        self.found.statistics.directories = directories;
        Ok(())
    }
}

fn nothing_in(name: &[u8], learned: &Learned) -> Error {
    let program = learned.command.first().map(|word| Path::new(word).display().to_string());
    let said = source::last_words(&learned.messages).join(" / ");
    let said = if said.is_empty() { said } else { format!(", but said: {said}") };
    Error::EmptySource(program.unwrap_or_else(|| String::from_utf8_lossy(name).into_owned()), said)
}

/// Adds a file; no other may have its path, or a part of it.
fn add(files: &mut Files, path: &[u8], kind: NodeKind) -> Result<()> {
    let parts: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    let before = files.range(..=parts.clone()).next_back().is_some_and(|(before, _)| parts.starts_with(before));
    let after = files.range(parts.clone()..).next().is_some_and(|(after, _)| after.starts_with(&parts));
    if before || after {
        let name = String::from_utf8_lossy(path);
        return Err(Error::Source(format!("cannot store {name}: another file of the dump takes its place")));
    }
    files.insert(parts, kind);
    Ok(())
}

/// The tree with these files, of one time; and how many directories it has besides the root.
fn tree(pages: &mut dyn Pages, key: &Key, files: &Files, time: WallTime) -> Result<(TreeRoot, u64)> {
    let mtime = Time::from(time);
    let node = |name: &[u8], kind: NodeKind| {
        let mode = if matches!(kind, NodeKind::Directory(_)) { 0o700 } else { 0o600 };
        Node { name: name.to_vec(), kind, metadata: Metadata { mode, mtime, ctime: mtime, ..Metadata::default() } }
    };
    let (mut top, mut directories) = (TreeBuilder::default(), 0);
    // directories under way: the name, and what was built of the directory above it
    let mut above: Vec<(Vec<u8>, TreeBuilder)> = Vec::new();
    let last: [(&[Vec<u8>], Option<&NodeKind>); 1] = [(&[], None)];
    for (path, kind) in files.iter().map(|(path, kind)| (path.as_slice(), Some(kind))).chain(last) {
        let folders = path.split_last().map_or(path, |(_, folders)| folders);
        let same = above.iter().zip(folders).take_while(|((open, _), folder)| open == *folder).count();
        while above.len() > same {
            let Some((name, before)) = above.pop() else { break };
            let root = std::mem::replace(&mut top, before).finish(pages, key)?;
            top.push(pages, key, node(&name, NodeKind::Directory(root)))?;
        }
        for folder in folders.iter().skip(same) {
            above.push((folder.clone(), std::mem::take(&mut top)));
            directories += 1;
        }
        if let Some((name, kind)) = path.last().zip(kind) {
            top.push(pages, key, node(name, kind.clone()))?;
        }
    }
    Ok((top.finish(pages, key)?, directories))
}

/// A stream that ends with an error once the pass must not go on.
struct Stoppable<'a> {
    input: &'a mut dyn Read,
    bounds: Bounds,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.bounds.go_on().map_err(std::io::Error::other)?;
        self.input.read(out)
    }
}
