//! The output of a command as a source: one file, whole if the command ends with status 0.

use super::child::{Child, Environment, Limit, Start};
use super::dump::{Dump, DumpFailure, DumpFile, Learned};
use crate::progress::Progress;
use crate::runtime::Runtime;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What is run, and how. Its variables may be secrets, so it is not shown.
#[derive(Clone, Default)]
pub struct CommandOptions {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// Name of the file.
    pub filename: Vec<u8>,
    /// All variables that it gets, see [`super::allowed`]; `None` for those of this process without secrets of vault.
    pub environment: Option<Environment>,
    /// Names in it whose values are secrets: in what the command says they are hidden.
    pub hidden: Vec<String>,
    /// Working folder; `None` for that of this process.
    pub folder: Option<PathBuf>,
    /// When it is ended with all that it has started.
    pub timeout: Option<Duration>,
    /// No output is an output too.
    pub allow_empty: bool,
}

/// The output of a command.
pub struct Command<'a> {
    options: CommandOptions,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    child: Option<Child<'a>>,
    is_begun: bool,
    learned: Learned,
}

impl<'a> Command<'a> {
    /// Nothing runs yet. What the command says will go to `progress` too.
    pub fn new(options: CommandOptions, runtime: &'a Runtime, progress: &'a dyn Progress) -> Self {
        Self { options, runtime, progress, child: None, is_begun: false, learned: Learned::default() }
    }
}

impl Dump for Command<'_> {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        // what still runs ends before it runs again
        self.child = None;
        self.is_begun = false;
        self.learned = Learned { command: self.options.words.clone(), ..Learned::default() };
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        if std::mem::replace(&mut self.is_begun, true) {
            if let Some(child) = self.child.take() {
                self.learned.messages = child.finish()?;
            }
            return Ok(None);
        }
        let CommandOptions { words, filename, environment, hidden, folder, timeout, allow_empty } =
            self.options.clone();
        let limit = timeout.map(|timeout| Limit::new(self.runtime, timeout));
        let start = Start { words, environment, hidden, folder, limit, ..Start::default() };
        let child = self.child.insert(Child::spawn(start, self.runtime, self.progress)?);
        Ok(Some(DumpFile { name: filename, content: child, allow_empty }))
    }

    fn learned(&mut self) -> Learned {
        self.learned.clone()
    }
}
