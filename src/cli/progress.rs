//! Draws how far an operation is, on standard error: a line at a terminal, lines in a log if that was asked, objects of
//! JSON for programs. Notes about trouble are printed as they come, bar or not, and remembered, so that the end of the
//! command does not say them again.

mod line;

use super::printed::printed;
use indicatif::{ProgressBar, ProgressStyle};
use line::State;
use std::collections::{HashSet, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vault::backend::Backend;
use vault::progress::Progress;

/// The rate is that of so long ago until now.
const WINDOW: Duration = Duration::from_secs(10);
/// Without anything done for so long, it is said what is being waited for.
const IDLE: Duration = Duration::from_millis(1_500);
/// Before, nobody can tell how long it will take.
const EARLY: Duration = Duration::from_secs(2);

/// So many damaged things are named, unless all are asked for.
const DAMAGED_SHOWN: u64 = 20;

/// The bar that is shown now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints while the bar that is shown, if any, is out of the way.
pub fn above(print: impl FnOnce()) {
    let shown = lock(&SHOWN).clone();
    match shown {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Face {
    /// Not at all.
    #[default]
    Hidden,
    /// A line at a terminal.
    Terminal,
    /// A line now and then.
    Log,
    /// JSON, a few times a second.
    Json,
}

impl Face {
    /// What flags and place ask for.
    pub fn of(quiet: bool, asked: bool, json: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Hidden,
            (_, _) if asked && json => Self::Json,
            (_, true) => Self::Terminal,
            (_, false) if asked => Self::Log,
            _ => Self::Hidden,
        }
    }

    fn tick(self) -> Duration {
        match self {
            Self::Log => Duration::from_secs(5),
            Self::Json => Duration::from_millis(500),
            _ => Duration::from_millis(200),
        }
    }
}

/// Progress of one operation.
pub struct Bar {
    shared: Arc<Shared>,
    /// What draws, until the other end of this is gone.
    drawing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    told: Mutex<HashSet<String>>,
    /// Damaged things that were told of.
    damaged: AtomicU64,
    /// Lines of a command are shown.
    verbose: bool,
}

struct Shared {
    face: Face,
    verb: &'static str,
    bar: ProgressBar,
    started: Instant,
    files: AtomicU64,
    bytes: AtomicU64,
    seen: Mutex<Seen>,
}

/// What the drawing thread and the operation tell each other.
#[derive(Default)]
struct Seen {
    total: Option<(u64, u64)>,
    path: String,
    /// What the operation said that it waits for.
    waits: Option<(String, Instant)>,
    /// What it waits for if neither it nor the store says anything.
    input: Option<&'static str>,
    store: Option<Backend>,
    samples: VecDeque<(Instant, u64)>,
    /// Files and bytes, and since when there are no more; `None` for since the start.
    counts: (u64, u64),
    moved: Option<Instant>,
}

printed! {
    /// What `--json --progress` prints to standard error twice a second.
    struct Line<'a>(state: &'a State, elapsed: Duration) {
        /// What is done, like `reading`.
        progress: &'a str = state.verb,
        /// Files done so far, or entries, packs or objects, by the command.
        done_files: u64 = state.files,
        /// Bytes done so far.
        done_bytes: u64 = state.bytes,
        /// How many there are to do; null while unknown: a stream, or a folder that is still being counted.
        total_files: Option<u64> = state.total.map(|(files, _)| files),
        /// Bytes of all there is to do; null while unknown.
        total_bytes: Option<u64> = state.total.map(|(_, bytes)| bytes),
        /// Since the start.
        seconds: f64 = elapsed.as_secs_f64(),
        /// Bytes each second, of late.
        rate: u64 = state.rate,
        /// How long it will take; null while unknown.
        left_seconds: Option<u64> = state.left.map(|left| left.as_secs()),
        /// What nothing goes on without, like `the store` or `the command`; else null.
        waiting: Option<&'a str> = state.waiting.as_ref().map(|(what, _)| what.as_str()),
    }
}

impl Bar {
    /// Progress of `verb`.
    pub fn new(verb: &'static str, face: Face, verbose: bool) -> Self {
        let bar = if face == Face::Terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
        // shortened to the terminal as it is at that moment
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        let shared = Arc::new(Shared {
            face,
            verb,
            bar,
            started: Instant::now(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let drawing = (face != Face::Hidden).then(|| {
            let (shared, (over, is_over)) = (Arc::clone(&shared), channel());
            (over, std::thread::spawn(move || shared.draw(&is_over)))
        });
        if face == Face::Terminal {
            *lock(&SHOWN) = Some(shared.bar.clone());
        }
        Self { shared, drawing: Mutex::new(drawing), told: Mutex::default(), damaged: AtomicU64::new(0), verbose }
    }

    /// Only notes: for what takes no time.
    pub fn hidden() -> Self {
        Self::new("", Face::Hidden, false)
    }

    /// Says when it is the store that is being waited for.
    pub fn watch(self, store: &Backend) -> Self {
        lock(&self.shared.seen).store = Some(store.clone());
        self
    }

    /// Says when it is this that is being waited for.
    pub fn reads(self, input: &'static str) -> Self {
        lock(&self.shared.seen).input = Some(input);
        self
    }

    /// Runs an operation while it is shown.
    pub fn during<T>(&self, run: impl FnOnce(&Self) -> T) -> T {
        let result = run(self);
        self.done();
        result
    }

    /// Removes the bar.
    fn done(&self) {
        if let Some((over, thread)) = lock(&self.drawing).take() {
            drop(over);
            // it draws nothing more
            let _ = thread.join();
        }
        self.shared.bar.finish_and_clear();
        if self.shared.face == Face::Terminal {
            *lock(&SHOWN) = None;
        }
    }

    /// Says how many damaged things were not named.
    pub fn tell_more_damaged(&self) {
        let more = self.damaged.load(Ordering::Relaxed).saturating_sub(DAMAGED_SHOWN);
        if more > 0 {
            self.note(&format!("… and {more} more; -v names all"));
        }
    }

    /// Prints while the bar is out of the way.
    pub fn above(&self, print: impl FnOnce()) {
        self.shared.bar.suspend(print);
    }

    /// Names each of these on standard error, unless that was done already.
    pub fn tell(&self, what: &[String]) {
        what.iter().for_each(|what| self.note(what));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done();
    }
}

impl Shared {
    fn draw(&self, is_over: &Receiver<()>) {
        loop {
            let is_over = is_over.recv_timeout(self.face.tick()) != Err(RecvTimeoutError::Timeout);
            match self.face {
                Face::Terminal if !is_over => self.bar.set_message(self.state().line(columns())),
                Face::Log if !is_over => super::render::complain(&self.state().line(usize::MAX)),
                Face::Json => self.write_json(),
                _ => {}
            }
            if is_over {
                return;
            }
        }
    }

    fn write_json(&self) {
        if let Ok(line) = serde_json::to_string(&Line::of(&self.state(), self.started.elapsed())) {
            // whoever reads it may be gone, and the work goes on
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    fn state(&self) -> State {
        let now = Instant::now();
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let mut seen = lock(&self.seen);
        if seen.counts != (files, bytes) {
            (seen.counts, seen.moved) = ((files, bytes), Some(now));
        }
        seen.samples.push_back((now, bytes));
        while seen.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            seen.samples.pop_front();
        }
        let (since, before) =
            seen.samples.front().copied().filter(|_| seen.samples.len() > 1).unwrap_or((self.started, 0));
        let rate = per_second(bytes.saturating_sub(before), now.duration_since(since));
        State {
            verb: self.verb,
            noun: noun(self.verb),
            files,
            bytes,
            total: seen.total,
            rate,
            left: self.left(seen.total, (files, bytes), rate),
            waiting: seen.waiting(now, now.duration_since(seen.moved.unwrap_or(self.started))),
            path: super::render::safe(&seen.path),
        }
    }

    fn left(&self, total: Option<(u64, u64)>, (files, bytes): (u64, u64), rate: u64) -> Option<Duration> {
        let elapsed = self.started.elapsed();
        let (all_files, all_bytes) = total.filter(|_| elapsed >= EARLY)?;
        if all_bytes > 0 {
            return Some(Duration::from_secs(all_bytes.saturating_sub(bytes).checked_div(rate)?));
        }
        let each = elapsed.as_millis().checked_div(files.into())?;
        let left = u128::from(all_files.saturating_sub(files)).saturating_mul(each);
        Some(Duration::from_millis(left.try_into().unwrap_or(u64::MAX)))
    }
}

impl Seen {
    fn waiting(&self, now: Instant, idle: Duration) -> Option<(String, Duration)> {
        if idle < IDLE {
            return None;
        }
        let said = self.waits.as_ref().filter(|(_, at)| now.duration_since(*at) < IDLE).map(|(what, _)| what.clone());
        let store = || self.store.as_ref().is_some_and(Backend::is_busy).then(|| "the store".to_owned());
        let what = said.or_else(store).or_else(|| self.input.map(str::to_owned))?;
        Some((what, idle))
    }
}

/// What an operation counts.
fn noun(verb: &str) -> (&'static str, &'static str) {
    match verb {
        "checking" | "repacking" | "repairing" | "reading packs" => ("pack", "packs"),
        "restoring" => ("entry", "entries"),
        "scrubbing" => ("object", "objects"),
        _ => ("file", "files"),
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    (u128::from(bytes) * 1000 / milliseconds).try_into().unwrap_or(u64::MAX)
}

/// Columns of the terminal; the last one stays free, since some go to the next line with it.
fn columns() -> usize {
    let columns = super::render::columns(rustix::stdio::stderr());
    if columns == 0 { 79 } else { columns - 1 }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress for Bar {
    fn expect(&self, files: u64, bytes: u64) {
        lock(&self.shared.seen).total = Some((files, bytes));
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.shared.files.fetch_add(files, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn at(&self, path: &Path) {
        if self.shared.face == Face::Terminal {
            lock(&self.shared.seen).path = path.to_string_lossy().into_owned();
        }
    }

    fn note(&self, note: &str) {
        let note = super::plain::line(note);
        if lock(&self.told).insert(note.clone()) {
            self.shared.bar.suspend(|| super::render::complain(&note));
        }
    }

    fn damaged(&self, brief: &str, full: &str) {
        if self.verbose {
            return self.note(full);
        }
        if lock(&self.told).insert(super::plain::line(full))
            && self.damaged.fetch_add(1, Ordering::Relaxed) < DAMAGED_SHOWN
        {
            self.note(brief);
        }
    }

    fn unread_mark(&self, mark: &str) {
        self.note(&format!(
            "{mark} can't be read: what was stored before it is stored again{}",
            super::hint::of_mark(mark)
        ));
    }

    fn said(&self, line: &str) {
        if self.verbose {
            self.shared.bar.suspend(|| super::render::complain(&format!("the command: {line}")));
        }
    }

    fn kept(&self, bytes: u64) {
        if bytes > 0 {
            self.note(&format!("the next run will use the {} that this one has stored", super::render::size(bytes)));
        }
    }

    fn waiting(&self, what: &str) {
        if self.shared.face != Face::Hidden {
            lock(&self.shared.seen).waits = Some((what.to_owned(), Instant::now()));
        }
    }

    fn wants_total(&self) -> bool {
        self.shared.face != Face::Hidden
    }
}
