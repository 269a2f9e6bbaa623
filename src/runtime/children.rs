//! Programs that the run has started: commands whose output is stored, commands that print a password. They do not
//! outlive the run, whatever ends it: a signal goes to their process groups and to everything below them, and what does
//! not heed it is killed after a moment. None of them gets to see the secrets of the environment.

use super::Locked;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group, waitid};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a program may take to end after it was told to.
pub const GRACE: Duration = Duration::from_millis(1_500);
/// How long its end is waited for after it was killed: a process in the kernel's hands may not go.
const KILLED: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(15);

/// All programs that run for this process.
#[derive(Default)]
pub struct Children {
    running: Locked<Vec<Running>>,
    hidden: Locked<Vec<OsString>>,
    stop: Arc<AtomicBool>,
}

struct Running {
    /// The first process; it is not waited for while it stands here, so its number is its own.
    pid: Pid,
    has_group: bool,
    is_told: bool,
    /// What was seen below it; who loses his parent still belongs to it.
    below: HashSet<Process>,
}

/// A process, told by its start from a later one of the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    pid: Pid,
    started: u64,
}

/// One program that runs.
pub struct Program {
    child: Child,
    pid: Pid,
    children: Arc<Children>,
    /// When its end was first seen.
    ended: Option<Instant>,
    /// It has the terminal now.
    has_terminal: bool,
    is_reaped: bool,
}

impl Children {
    /// Programs that start no more once `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Variables of the environment that no program gets.
    pub fn hide(&self, variables: Vec<OsString>) {
        *self.hidden.lock() = variables;
    }

    /// Starts a program. In a group of its own a Ctrl-C at the terminal does not reach it: whoever started it tells it.
    pub fn start(self: &Arc<Self>, command: &mut Command, own_group: bool) -> io::Result<Program> {
        for variable in self.hidden.lock().iter() {
            command.env_remove(variable);
        }
        if own_group {
            command.process_group(0);
        }
        // under the lock: a signal finds the program here, or it does not start
        let mut running = self.running.lock();
        if self.stop.load(Ordering::SeqCst) {
            return Err(io::Error::other("interrupted"));
        }
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        running.push(Running { pid, has_group: own_group, is_told: false, below: HashSet::new() });
        drop(running);
        let children = Arc::clone(self);
        Ok(Program { child, pid, children, ended: None, has_terminal: false, is_reaped: false })
    }

    /// Asks all to end.
    pub fn tell(&self) {
        self.running.lock().iter_mut().for_each(Running::tell);
    }

    /// Ends all.
    pub fn kill(&self) {
        self.running.lock().iter_mut().for_each(|running| running.send(Signal::KILL));
    }

    /// Has what leaves its parent come to this process, so that [`Self::kill_connections`] finds it.
    pub fn adopt(&self) {
        // without it a connection outlives a run that ends at once
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }

    /// Ends the `ssh` processes that connections to a store run in: they leave their parent as soon as they stand.
    pub fn kill_connections(&self) {
        let own = rustix::process::getpid();
        for line in table().iter().filter(|line| line.is_ssh && line.parent == own) {
            // who is not there any more needs no signal
            let _ = kill_process(line.process.pid, Signal::KILL);
        }
    }

    fn with<T>(&self, pid: Pid, look: impl FnOnce(&mut Running) -> T) -> Option<T> {
        self.running.lock().iter_mut().find(|running| running.pid == pid).map(look)
    }
}

impl Running {
    fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.send(Signal::TERM);
            // a stopped process hears it only when it goes on
            self.send(Signal::CONT);
        }
    }

    fn send(&mut self, signal: Signal) {
        self.look();
        // who is not there any more needs no signal
        let _ = if self.has_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
        for process in &self.below {
            let _ = kill_process(process.pid, signal);
        }
    }

    /// Finds what runs below, in groups of its own (in the program's group it hears of everything anyway); returns
    /// whether anything runs at all but the dead first process.
    fn look(&mut self) -> bool {
        let all = table();
        let is_old = |line: &&Line| self.below.contains(&line.process);
        let mut known: HashSet<Pid> = all.iter().filter(is_old).map(|line| line.process.pid).collect();
        known.insert(self.pid);
        loop {
            let is_new = |line: &&Line| known.contains(&line.parent) || (self.has_group && line.group == self.pid);
            let more: HashSet<Pid> = all.iter().filter(is_new).map(|line| line.process.pid).collect();
            let before = known.len();
            known.extend(more);
            if known.len() == before {
                break;
            }
        }
        let found = || all.iter().filter(|line| known.contains(&line.process.pid));
        let is_apart = |line: &&Line| line.process.pid != self.pid && !(self.has_group && line.group == self.pid);
        self.below = found().filter(is_apart).map(|line| line.process).collect();
        found().any(|line| !line.is_dead)
    }
}

impl Program {
    /// Its standard output, if that is a pipe and was not taken yet.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The same of its standard input.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The same of its standard error.
    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How long ago it ended, as far as that was noticed; `None` while it runs.
    pub fn ended(&mut self) -> io::Result<Option<Duration>> {
        if self.ended.is_none() && self.is_over()? {
            self.ended = Some(Instant::now());
        }
        Ok(self.ended.map(|ended| ended.elapsed()))
    }

    fn is_over(&self) -> io::Result<bool> {
        self.peek(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).map(|status| status.is_some())
    }

    fn peek(&self, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        match waitid(WaitId::Pid(self.pid), options | WaitIdOptions::NOHANG) {
            // a process that has ended is never stopped again
            Err(rustix::io::Errno::CHILD) if options.contains(WaitIdOptions::STOPPED) => Ok(None),
            status => Ok(status?),
        }
    }

    /// A program that asks at the terminal, which belongs to this process, is stopped by the system. It gets the
    /// terminal; an error says that there is none to give.
    pub(crate) fn lend_terminal(&mut self) -> io::Result<()> {
        let status = self.peek(WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT)?;
        let Some(signal) = status.and_then(|status| status.stopping_signal()) else { return Ok(()) };
        let wants = [Signal::TTIN, Signal::TTOU].iter().any(|wanted| wanted.as_raw() == signal);
        // with the terminal it also hears of Ctrl-Z, after which nobody could wake it
        if !(wants || self.has_terminal && signal == Signal::TSTP.as_raw()) {
            return Ok(());
        }
        self.peek(WaitIdOptions::STOPPED)?;
        if wants {
            let denied = || io::Error::other("it asks at the terminal, and there is none for it");
            let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty").map_err(|_| denied())?;
            let is_ours = rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp());
            if !is_ours {
                return Err(denied());
            }
            rustix::termios::tcsetpgrp(&terminal, self.pid)?;
            self.has_terminal = true;
        }
        Ok(kill_process_group(self.pid, Signal::CONT)?)
    }

    /// The status of a program that has ended; waits for it if need be.
    pub fn status(mut self) -> io::Result<ExitStatus> {
        self.reap()
    }

    /// Under the lock: its number may be another's as soon as it was waited for.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let mut running = self.children.running.lock();
        running.retain(|running| running.pid != self.pid);
        self.is_reaped = true;
        self.child.wait()
    }

    fn wait(&self, most: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let started = Instant::now();
        while !is_done(self) {
            if started.elapsed() > most {
                return false;
            }
            std::thread::sleep(STEP);
        }
        true
    }
}

impl Drop for Program {
    /// Ends it, and what it has started.
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        // a full pipe would keep it from ending
        drop((self.child.stdout.take(), self.child.stderr.take()));
        self.children.with(self.pid, Running::tell);
        let is_over = |program: &Self| program.is_over().unwrap_or(true);
        let is_alone = |program: &Self| !program.children.with(program.pid, Running::look).unwrap_or(false);
        self.wait(GRACE, |program| is_over(program) && is_alone(program));
        self.children.with(self.pid, |running| running.send(Signal::KILL));
        if self.wait(KILLED, is_over) {
            // nobody is left to tell how it ended
            let _ = self.reap();
        } else {
            self.children.running.lock().retain(|running| running.pid != self.pid);
        }
    }
}

/// One process of the machine.
struct Line {
    process: Process,
    parent: Pid,
    group: Pid,
    is_dead: bool,
    is_ssh: bool,
}

/// All processes, where the system shows them in `/proc`; elsewhere only groups are known.
fn table() -> Vec<Line> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbered = folder.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    numbered.filter_map(|entry| line(&std::fs::read(entry.path().join("stat")).ok()?)).collect()
}

/// Reads `PID (NAME) STATE PARENT GROUP …`; the name may hold anything.
fn line(stat: &[u8]) -> Option<Line> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let pid = std::str::from_utf8(stat.get(..stat.iter().position(|byte| *byte == b' ')?)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |text: &str| Pid::from_raw(text.parse().ok()?);
    // the kernel's own have no parent, and are nobody's
    Some(Line {
        process: Process { pid: number(pid)?, started: fields.get(19)?.parse().ok()? },
        parent: number(fields.get(1)?)?,
        group: number(fields.get(2)?)?,
        is_ssh: stat.get(..end)?.ends_with(b"(ssh"),
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Children, line};
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn a_line_of_the_table_is_read_whatever_the_name_is() {
        let text = b"42 (a) R 7 (b) S 1 40 40 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0";
        let line = line(text).expect("a line");
        assert_eq!((line.process.pid.as_raw_pid(), line.parent.as_raw_pid(), line.group.as_raw_pid()), (42, 1, 40));
        assert_eq!((line.process.started, line.is_dead), (987, false));
        assert!(super::line(b"42 (x").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn dropping_a_program_ends_all_that_it_started() {
        let children = Arc::new(Children::default());
        // one heeds nothing, one has a group of its own, one has lost its parent
        let script = "trap '' TERM; setsid -w sleep 71 & (sleep 72 & exec true); sleep 73 | cat";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
        let program = children.start(&mut command, true).expect("it starts");
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        drop(program);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(children.running.lock().is_empty());
        let left = Command::new("pgrep").args(["-f", "^sleep 7[123]$"]).output().expect("pgrep");
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    }
}
