//! The output of a command as a source. The command is started as given, without a shell, and its exit status decides
//! whether what it wrote is a dump or the beginning of one. It does not outlive its reader.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines of standard error that are kept.
const TAIL_LINES: usize = 20;
/// Bytes kept of one line.
const LINE_BYTES_MAX: usize = 1024;
/// How long to wait for the end of standard error after the command's end: a child of its own may hold it open.
const TAIL_WAIT: Duration = Duration::from_secs(1);

/// A running command; reading gives its standard output.
pub struct Command {
    program: OsString,
    child: Child,
    tail: Arc<Mutex<Tail>>,
    collector: Option<JoinHandle<()>>,
    ended: bool,
}

/// Why the output of a command is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailure {
    /// No words.
    #[error("no command given")]
    Empty,
    /// Not there, not a program, or the like.
    #[error("cannot start {}: {error}", program.display())]
    Start {
        /// First word.
        program: OsString,
        /// Why.
        error: io::Error,
    },
    /// It ended otherwise than with status 0.
    #[error("{} failed ({status}){}", program.display(), shown(stderr_tail))]
    Exit {
        /// First word.
        program: OsString,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its standard error.
        stderr_tail: Vec<String>,
    },
    /// Its end could not be learned.
    #[error("cannot wait for {}: {error}", program.display())]
    Wait {
        /// First word.
        program: OsString,
        /// Why.
        error: io::Error,
    },
}

impl CommandFailure {
    /// The signal that ended the command.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Exit { status, .. } => status.signal(),
            _ => None,
        }
    }

    /// Last lines of the command's standard error.
    pub fn stderr_tail(&self) -> &[String] {
        match self {
            Self::Exit { stderr_tail, .. } => stderr_tail,
            _ => &[],
        }
    }
}

fn shown(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!(": {}", tail.join("\n")) }
}

impl Command {
    /// Starts a program with its arguments.
    pub fn spawn(words: &[OsString]) -> Result<Self, CommandFailure> {
        let (program, arguments) = words.split_first().ok_or(CommandFailure::Empty)?;
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| CommandFailure::Start { program: program.clone(), error })?;
        let tail = Arc::new(Mutex::new(Tail::default()));
        let collector = child.stderr.take().map(|stderr| {
            let tail = Arc::clone(&tail);
            std::thread::spawn(move || collect(stderr, &tail))
        });
        Ok(Self { program: program.clone(), child, tail, collector, ended: false })
    }

    /// Waits for the end. What was not read by then is lost, and the command sees a closed pipe.
    pub fn finish(mut self) -> Result<(), CommandFailure> {
        drop(self.child.stdout.take());
        let program = self.program.clone();
        let status = self.child.wait().map_err(|error| CommandFailure::Wait { program: program.clone(), error })?;
        self.ended = true;
        self.await_tail();
        if status.success() {
            return Ok(());
        }
        let stderr_tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).lines();
        Err(CommandFailure::Exit { program, status, stderr_tail })
    }

    fn await_tail(&mut self) {
        const STEP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        while self.collector.as_ref().is_some_and(|collector| !collector.is_finished()) && waited < TAIL_WAIT {
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }
}

impl Read for Command {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.child.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody is left to tell: it has ended already, or it ends now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[derive(Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.open);
                self.keep(line);
            } else if self.open.len() < LINE_BYTES_MAX {
                self.open.push(*byte);
            }
        }
    }

    fn keep(&mut self, line: Vec<u8>) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn lines(&mut self) -> Vec<String> {
        if !self.open.is_empty() {
            let line = std::mem::take(&mut self.open);
            self.keep(line);
        }
        self.lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect()
    }
}

fn collect(mut stderr: ChildStderr, tail: &Mutex<Tail>) {
    let mut buffer = [0u8; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
