//! A program that runs for a source, and its output. It is started as given, without a shell, in a process group of its
//! own, and its exit status decides whether what it wrote is a dump or the beginning of one. What it says on its standard
//! error is kept, to its last lines. It does not outlive its reader nor its time, nor does what it has started.

mod tail;

use super::stream::{attempt, ready};
use crate::progress::Progress;
use crate::runtime::{Program, Runtime};
use crate::time::{BootTime, show_duration};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;
use tail::Tail;
pub use tail::{last_words, said};
use zeroize::Zeroizing;

/// How long to wait for the end of standard error after the program's end: a child of its own may hold it open.
const TAIL_WAIT: Duration = Duration::from_secs(1);
/// The same for standard output, after which nobody knows whether it is whole.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);
/// When it is said that a program runs on without an output, in looks of ten milliseconds.
const PATIENCE: u32 = 500;
/// What a pipe takes that nobody reads yet, with some room to spare.
const INPUT_BYTES_MAX: usize = 32 << 10;
/// Variables that every program gets that does not get all.
const PLAIN_VARIABLES: [&str; 4] = ["PATH", "HOME", "TZ", "LANG"];

/// How variables begin that tell where containers are.
const CONTAINERS: [&str; 3] = ["DOCKER_", "CONTAINER_", "KUBECONFIG"];

/// Variables with their values.
pub type Environment = Vec<(OsString, OsString)>;

/// How a program is started.
#[derive(Clone, Default)]
pub struct Start {
    /// The program and its arguments. No secrets: everybody on the machine can read them.
    pub words: Vec<OsString>,
    /// All that it gets; `None` for the environment of this process without secrets of vault.
    pub environment: Option<Environment>,
    /// Names in it whose values are secrets: in what the program says they are hidden.
    pub hidden: Vec<String>,
    /// Further variables of the environment, secrets all.
    pub secrets: Vec<(String, Zeroizing<String>)>,
    /// Working folder; `None` for that of this process.
    pub folder: Option<PathBuf>,
    /// When it is ended with all that it has started.
    pub limit: Option<Limit>,
    /// Its standard input.
    pub input: Input,
}

/// The standard input of a program.
#[derive(Clone, Default)]
pub enum Input {
    /// Ends at once.
    #[default]
    Nothing,
    /// These bytes, 32 KiB at most: how a secret file is handed over as `/dev/stdin`.
    Bytes(Zeroizing<Vec<u8>>),
    /// What [`Child::feed`] gives.
    Fed,
}

/// How long something may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    ends: BootTime,
    /// In all.
    pub length: Duration,
}

impl Limit {
    /// From now on.
    pub fn new(runtime: &Runtime, length: Duration) -> Self {
        Self { ends: runtime.clock.elapsed() + length, length }
    }

    /// What is to be had in this time.
    pub fn within(&self, runtime: &Runtime) -> Runtime {
        runtime.until(self.ends)
    }

    /// True once the time is over.
    pub fn is_over(&self, runtime: &Runtime) -> bool {
        runtime.clock.elapsed() >= self.ends
    }
}

/// Of an environment what a program gets: where programs and files lie, zone and language, and what is named.
pub fn allowed(
    all: impl IntoIterator<Item = (OsString, OsString)>,
    is_named: impl Fn(&OsString) -> bool,
) -> Environment {
    let is_plain = |name: &OsString| PLAIN_VARIABLES.iter().any(|plain| name == plain);
    all.into_iter().filter(|(name, _)| is_plain(name) || is_named(name)).collect()
}

/// True for a variable that tells `docker`, `podman` or `kubectl` where containers are: for a command that dumps in one.
pub(super) fn tells_containers(name: &OsString) -> bool {
    CONTAINERS.iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
}

/// A program that runs; reading gives its standard output.
pub struct Child<'a> {
    name: OsString,
    program: Program,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    tail: Tail,
    limit: Option<Limit>,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
}

/// Why the output of a program is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum ChildFailure {
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
    #[error("{} failed ({}){}", program.display(), ending(*status), shown(stderr_tail))]
    Exit {
        /// First word.
        program: OsString,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its standard error.
        stderr_tail: Vec<String>,
    },
    /// Its end could not be learned, or waited for.
    #[error("cannot wait for {}: {error}", program.display())]
    Wait {
        /// First word.
        program: OsString,
        /// Why.
        error: io::Error,
    },
    /// It ran longer than it may, and was ended with all that it had started.
    #[error("{} ran longer than {} and was ended", program.display(), show_duration(*limit))]
    TimeOut {
        /// First word.
        program: OsString,
        /// How long it may run.
        limit: Duration,
    },
}

impl ChildFailure {
    /// In our own words: what a program said may hold secrets of its own, or content.
    pub fn ours(&self) -> String {
        match self {
            Self::Exit { program, status, .. } => format!("{} failed ({})", program.display(), ending(*status)),
            other => other.to_string(),
        }
    }

    /// In one line: what the program called its error, or how it ended.
    pub fn brief(&self) -> String {
        match self {
            Self::Exit { stderr_tail, .. } => {
                let error = stderr_tail.iter().find(|line| line.to_ascii_lowercase().contains("error"));
                error.or_else(|| stderr_tail.last()).cloned().unwrap_or_else(|| self.to_string())
            }
            other => other.to_string(),
        }
    }
}

/// How a program ended, in words: `status 1`, `signal 9 (SIGKILL)`.
pub fn ending(status: ExitStatus) -> String {
    status.to_string().replace("exit status: ", "status ").replace("signal: ", "signal ")
}

fn shown(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!(": {}", tail.join("\n")) }
}

impl<'a> Child<'a> {
    /// Starts a program. What it says goes to `progress` too.
    pub fn spawn(start: Start, runtime: &'a Runtime, progress: &'a dyn Progress) -> Result<Self, ChildFailure> {
        let Start { words, environment, hidden, secrets, folder, limit, input } = start;
        let (name, arguments) = words.split_first().ok_or(ChildFailure::Empty)?;
        let mut command = std::process::Command::new(name);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if matches!(input, Input::Nothing) { Stdio::null() } else { Stdio::piped() });
        let mut tail = Tail::default();
        secrets.iter().for_each(|(_, value)| tail.hide(value));
        if let Some(environment) = environment {
            let is_hidden = |name: &OsString| hidden.iter().any(|known| name == known.as_str());
            let values = environment.iter().filter(|(name, _)| is_hidden(name)).filter_map(|(_, value)| value.to_str());
            values.for_each(|value| tail.hide(value));
            command.env_clear().envs(environment);
        }
        command.envs(secrets.iter().map(|(name, value)| (name, value.as_str())));
        if let Some(folder) = &folder {
            command.current_dir(folder);
        }
        let failed = |error| ChildFailure::Start { program: name.clone(), error };
        let mut program = runtime.children.start(&mut command, true).map_err(failed)?;
        let mut stdin = program.take_stdin();
        let (stdout, stderr) = (program.take_stdout(), program.take_stderr());
        match (&input, &mut stdin) {
            (Input::Bytes(bytes), Some(pipe)) if bytes.len() <= INPUT_BYTES_MAX => {
                // who ends without reading tells by its status what it thinks of it
                let _ = pipe.write_all(bytes);
                stdin = None;
            }
            (Input::Bytes(_), _) => return Err(failed(io::Error::other("its input is too long"))),
            (Input::Fed, Some(pipe)) => not_blocking(pipe).map_err(failed)?,
            _ => {}
        }
        Ok(Self { name: name.clone(), program, stdin, stdout, stderr, tail, limit, runtime, progress })
    }

    /// Gives it bytes to read, and hands on what it writes meanwhile. False if it reads no more.
    pub fn feed(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        while !bytes.is_empty() {
            let Some(stdin) = self.stdin.as_mut() else { return Ok(false) };
            match stdin.write(bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pump(take)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        Ok(self.stdin.is_some())
    }

    /// Ends what it reads, and hands on the rest of what it writes.
    pub fn drain(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.stdin = None;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                length => take(buffer.get(..length).unwrap_or_default()),
            }
        }
    }

    /// Waits for a moment until it reads or writes, and hands on what it writes.
    fn pump(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.check()?;
        let in_ = |stream| PollFd::from_borrowed_fd(stream, PollFlags::IN);
        let mut all: Vec<PollFd<'_>> = Vec::new();
        all.extend(self.stdout.as_ref().map(AsFd::as_fd).map(in_));
        all.extend(self.stderr.as_ref().map(AsFd::as_fd).map(in_));
        all.extend(self.stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        match poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
        drop(all);
        let has_output = self.stdout.is_some() && ready.first() == Some(&true);
        let place = usize::from(self.stdout.is_some());
        if self.stderr.is_some() && ready.get(place) == Some(&true) {
            self.hear()?;
        }
        let mut buffer = vec![0; 64 << 10];
        match self.stdout.as_mut().filter(|_| has_output) {
            None => {}
            Some(stdout) => match attempt(stdout, &mut buffer)? {
                None => {}
                Some(0) => self.stdout = None,
                Some(length) => take(buffer.get(..length).unwrap_or_default()),
            },
        }
        Ok(())
    }

    /// Waits for the end, and gives the last that the program said. What was not read by then is lost, and the program
    /// sees a closed pipe.
    pub fn finish(mut self) -> Result<Vec<u8>, ChildFailure> {
        drop((self.stdin.take(), self.stdout.take()));
        let name = self.name.clone();
        if let Err(error) = self.wait() {
            return Err(self.time_out().unwrap_or(ChildFailure::Wait { program: name, error }));
        }
        let messages = self.tail.end(self.progress);
        let status = self.program.status().map_err(|error| ChildFailure::Wait { program: name.clone(), error })?;
        if status.success() {
            return Ok(messages);
        }
        Err(ChildFailure::Exit { program: name, status, stderr_tail: last_words(&messages) })
    }

    fn wait(&mut self) -> io::Result<()> {
        let (mut looks, mut is_told) = (0u32, false);
        loop {
            match self.program.ended()? {
                Some(_) if self.stderr.is_none() => return Ok(()),
                Some(waited) if waited >= TAIL_WAIT => return Ok(()),
                Some(_) => {}
                None => looks = looks.saturating_add(if self.stderr.is_some() { 10 } else { 1 }),
            }
            if looks >= PATIENCE && !std::mem::replace(&mut is_told, true) {
                self.progress.note(&format!("{} gave all its output and still runs", self.name.display()));
            }
            self.listen()?;
        }
    }

    fn time_out(&self) -> Option<ChildFailure> {
        let limit = self.limit.filter(|limit| limit.is_over(self.runtime))?;
        Some(ChildFailure::TimeOut { program: self.name.clone(), limit: limit.length })
    }

    /// An error once the run should stop, or the time is over.
    fn check(&self) -> io::Result<()> {
        if self.runtime.is_stopped() {
            return Err(io::Error::other("interrupted"));
        }
        self.time_out().map_or(Ok(()), |failure| Err(io::Error::new(io::ErrorKind::TimedOut, failure.to_string())))
    }

    /// Waits for a moment for bytes of standard output; meanwhile hears what the program says.
    fn listen(&mut self) -> io::Result<bool> {
        self.check()?;
        let streams: Vec<_> = [self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)]
            .into_iter()
            .flatten()
            .collect();
        if streams.is_empty() {
            std::thread::sleep(Duration::from_millis(10));
            self.program.lend_terminal()?;
            return Ok(false);
        }
        let ready = ready(&streams)?;
        let has_output = self.stdout.is_some() && ready.first() == Some(&true);
        let has_words = self.stderr.is_some() && ready.last() == Some(&true);
        drop(streams);
        if has_words {
            self.hear()?;
        }
        if !has_output && !has_words {
            self.progress.waiting("the command");
            self.program.lend_terminal()?;
        }
        Ok(has_output)
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [0u8; 4096];
        let Some(stderr) = self.stderr.as_mut() else { return Ok(()) };
        match attempt(stderr, &mut buffer)? {
            None => {}
            Some(0) => self.stderr = None,
            Some(length) => self.tail.push(buffer.get(..length).unwrap_or_default(), self.progress),
        }
        Ok(())
    }
}

fn not_blocking(pipe: &ChildStdin) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(pipe)?;
    Ok(rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK)?)
}

impl Read for Child<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ended = Duration::ZERO;
        loop {
            let has_output = self.listen()?;
            let Some(stdout) = self.stdout.as_mut() else { return Ok(0) };
            if has_output {
                if let Some(length) = attempt(stdout, buffer)? {
                    return Ok(length);
                }
            } else if let Some(ago) = self.program.ended()? {
                // what comes late starts the wait anew
                let first = if ended.is_zero() { ago } else { ended };
                ended = first;
                if ago.saturating_sub(first) >= OUTPUT_WAIT {
                    return Err(io::Error::other(format!(
                        "{} has ended, but something that it started still holds its output open; send that elsewhere \
                         (> /dev/null)",
                        self.name.display()
                    )));
                }
            }
        }
    }
}
