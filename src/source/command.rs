//! The output of a command as a source. The command is started as given, without a shell, and its exit status decides
//! whether what it wrote is a dump or the beginning of one. What it says on its standard error is kept, to its last
//! lines. It does not outlive its reader, nor what it has started, unless all went well.

use super::stream::{attempt, ready};
use crate::progress::Progress;
use crate::runtime::{Program, Runtime};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

/// Bytes of standard error that are kept, in whole lines.
const TAIL_BYTES: usize = 4096;
/// Lines of it in an error.
const ERROR_LINES: usize = 20;
/// How long to wait for the end of standard error after the command's end: a child of its own may hold it open.
const TAIL_WAIT: Duration = Duration::from_secs(1);
/// The same for standard output, after which nobody knows whether it is whole.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);
/// When it is said that a command runs on without an output, in looks of ten milliseconds.
const PATIENCE: u32 = 500;

/// A running command; reading gives its standard output.
pub struct Command<'a> {
    name: OsString,
    program: Program,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    tail: Tail,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
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
    #[error("{} failed ({}){}", program.display(), ending(*status), shown(stderr_tail))]
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

/// How a program ended, in words: `status 1`, `signal 9 (SIGKILL)`.
pub fn ending(status: ExitStatus) -> String {
    status.to_string().replace("exit status: ", "status ").replace("signal: ", "signal ")
}

fn shown(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!(": {}", tail.join("\n")) }
}

/// Lines of what a command said, as text.
pub fn said(messages: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        // a program that draws its progress goes back to the begin of the line
        let last = line.trim_ascii_end().rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
        String::from_utf8_lossy(last).trim_end().to_owned()
    };
    messages.split(|byte| *byte == b'\n').map(line).filter(|line| !line.is_empty()).collect()
}

/// The last of these lines, as many as an error can hold.
pub fn last_words(messages: &[u8]) -> Vec<String> {
    let mut lines = said(messages);
    lines.drain(..lines.len().saturating_sub(ERROR_LINES));
    lines
}

impl<'a> Command<'a> {
    /// Starts a program with its arguments. What it says goes to `progress` too.
    pub fn spawn(words: &[OsString], runtime: &'a Runtime, progress: &'a dyn Progress) -> Result<Self, CommandFailure> {
        let (name, arguments) = words.split_first().ok_or(CommandFailure::Empty)?;
        let mut command = std::process::Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = runtime
            .children
            .start(&mut command, true)
            .map_err(|error| CommandFailure::Start { program: name.clone(), error })?;
        let (stdout, stderr) = (program.take_stdout(), program.take_stderr());
        Ok(Self { name: name.clone(), program, stdout, stderr, tail: Tail::default(), runtime, progress })
    }

    /// Waits for the end, and gives the last that the command said. What was not read by then is lost, and the command
    /// sees a closed pipe.
    pub fn finish(mut self) -> Result<Vec<u8>, CommandFailure> {
        drop(self.stdout.take());
        let name = self.name.clone();
        let waited = self.wait();
        waited.map_err(|error| CommandFailure::Wait { program: name.clone(), error })?;
        let messages = self.tail.end(self.progress);
        let status = self.program.status().map_err(|error| CommandFailure::Wait { program: name.clone(), error })?;
        if status.success() {
            return Ok(messages);
        }
        Err(CommandFailure::Exit { program: name, status, stderr_tail: last_words(&messages) })
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

    /// Waits for a moment for bytes of standard output; meanwhile hears what the command says.
    fn listen(&mut self) -> io::Result<bool> {
        if self.runtime.is_stopped() {
            return Err(io::Error::other("interrupted"));
        }
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

impl Read for Command<'_> {
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

/// The end of what a command says.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// The line that is not complete yet.
    open: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8], progress: &dyn Progress) {
        for byte in bytes {
            if *byte == b'\n' || self.open.len() >= TAIL_BYTES {
                self.close(progress);
            }
            if *byte != b'\n' {
                self.open.push(*byte);
            }
        }
    }

    fn close(&mut self, progress: &dyn Progress) {
        said(&self.open).iter().for_each(|line| progress.said(line));
        self.bytes.append(&mut self.open);
        self.bytes.push(b'\n');
        if self.bytes.len() > 4 * TAIL_BYTES {
            self.bytes.drain(..self.bytes.len() - 2 * TAIL_BYTES);
            self.is_cut = true;
        }
    }

    fn end(&mut self, progress: &dyn Progress) -> Vec<u8> {
        if !self.open.is_empty() {
            self.close(progress);
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let over = bytes.len().saturating_sub(TAIL_BYTES);
        if over > 0 || self.is_cut {
            let whole = bytes.get(over.saturating_sub(1)..).unwrap_or_default();
            let begin = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.drain(..over.saturating_sub(1) + begin);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{TAIL_BYTES, Tail, said};
    use crate::progress::Silent;

    #[test]
    fn of_many_lines_the_last_whole_ones_are_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes(), &Silent);
        }
        tail.push(b"the end", &Silent);
        let kept = tail.end(&Silent);
        assert!(kept.len() <= TAIL_BYTES && kept.len() > TAIL_BYTES - 20, "{}", kept.len());
        assert!(kept.starts_with(b"line 9") && kept.ends_with(b"\nline 9999\nthe end\n"));
        assert_eq!(said(&kept).last().map(String::as_str), Some("the end"));
    }

    #[test]
    fn one_line_without_an_end_does_not_grow() {
        let mut tail = Tail::default();
        (0..1000).for_each(|_| tail.push(&[b'x'; 4096], &Silent));
        assert!(tail.bytes.len() + tail.open.len() <= 5 * TAIL_BYTES);
        assert!(tail.end(&Silent).len() <= TAIL_BYTES);
    }

    #[test]
    fn few_lines_are_kept_as_they_are_and_shown_as_a_terminal_would() {
        let mut tail = Tail::default();
        tail.push(b"a\n\n 10%\r 20%\r 30%\r\nb\xff", &Silent);
        let kept = tail.end(&Silent);
        assert_eq!(kept, b"a\n\n 10%\r 20%\r 30%\r\nb\xff\n");
        assert_eq!(said(&kept), ["a", " 30%", "b\u{fffd}"]);
    }
}
