//! What a signal does. The first asks the run to end, and the programs that it has started with it; it says so at once.
//! What does not end by itself in a few seconds, since a store or a disk does not answer, is left. A second signal ends
//! everything at once. A question at the terminal is ended by the first, and the terminal is as it was before.

use super::exit::{Context, Failure, code};
use super::{progress, render};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use vault::runtime::{GRACE, Runtime};

/// How long the run has to end by itself.
const PATIENCE: Duration = Duration::from_secs(8);
/// `timeout` and others send the same signal twice in a row.
const TWICE: Duration = Duration::from_millis(300);

static LISTENING: AtomicBool = AtomicBool::new(false);
static QUESTION: Mutex<Option<Terminal>> = Mutex::new(None);

/// The terminal as it was before a question.
struct Terminal(Option<(File, Termios)>);

/// A question that is open, until this is dropped.
pub struct Question;

impl Question {
    /// From here on a signal ends the question.
    pub fn open() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        let terminal = terminal.and_then(|terminal| tcgetattr(&terminal).ok().map(|state| (terminal, state)));
        *QUESTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(Terminal(terminal));
        Self
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        QUESTION.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Listens from now on.
pub fn listen(runtime: &Runtime, quiet: bool) -> Result<(), Failure> {
    if LISTENING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let what = "cannot listen to signals";
    let mut kinds = vec![SIGINT, SIGTERM, SIGQUIT];
    // `nohup` has it ignored, and that is to stay
    if !is_ignored(SIGHUP) {
        kinds.push(SIGHUP);
    }
    for kind in &kinds {
        // at once, whatever the thread below is at
        signal_hook::flag::register(*kind, runtime.stop.clone()).context(what)?;
    }
    runtime.children.adopt();
    let mut signals = Signals::new(&kinds).context(what)?;
    let runtime = runtime.clone();
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(move || serve(&mut signals, &runtime, quiet)).map(drop).context(what)
}

fn serve(signals: &mut Signals, runtime: &Runtime, quiet: bool) {
    let mut first: Option<Instant> = None;
    for _ in signals.forever() {
        match first {
            None => {
                first = Some(Instant::now());
                begin(runtime, quiet);
            }
            Some(first) if first.elapsed() < TWICE => {}
            Some(_) => end(runtime, "ended at once"),
        }
    }
}

/// The first signal.
fn begin(runtime: &Runtime, quiet: bool) {
    if restore_terminal() {
        end(runtime, "interrupted; nothing was done");
    }
    runtime.children.tell();
    if !quiet {
        progress::above(|| render::complain("stopping: what runs is told to end; a second signal ends it at once"));
    }
    let runtime = runtime.clone();
    std::thread::spawn(move || {
        std::thread::sleep(GRACE);
        runtime.children.kill();
        std::thread::sleep(PATIENCE.saturating_sub(GRACE));
        end(&runtime, "ended in the middle of what did not end by itself; run the same command again to go on");
    });
}

fn end(runtime: &Runtime, why: &str) {
    runtime.children.kill();
    runtime.children.kill_connections();
    progress::above(|| render::complain(why));
    signal_hook::low_level::exit(code::INTERRUPTED.into());
}

/// True if a question was open.
fn restore_terminal() -> bool {
    let Some(Terminal(terminal)) = QUESTION.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
    if let Some((terminal, state)) = terminal {
        // the terminal may be gone
        let _ = tcsetattr(&terminal, OptionalActions::Now, &state);
        let _ = std::io::Write::write_all(&mut &terminal, b"\n");
    }
    true
}

/// Whether a signal was ignored when the program started, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
