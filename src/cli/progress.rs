//! Draws how far an operation is: a bar on standard error, only at a terminal. Notes about trouble are printed as they
//! come, bar or not, and remembered, so that the end of the command does not say them again.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use vault::progress::Progress;

/// Bytes done, rate, and what is being worked on.
const WITHOUT_END: &str = "{prefix} {decimal_bytes} ({decimal_bytes_per_sec}) {wide_msg}";
/// The same with a total.
const WITH_END: &str =
    "{prefix} {bar:30} {decimal_bytes} of {decimal_total_bytes} ({decimal_bytes_per_sec}, {eta} left) {wide_msg}";

/// The bar that is shown now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints while the bar that is shown, if any, is out of the way.
pub fn above(print: impl FnOnce()) {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// A progress bar.
pub struct Bar {
    bar: ProgressBar,
    told: Mutex<HashSet<String>>,
    /// Lines of a command are shown.
    verbose: bool,
}

impl Bar {
    /// A bar for `verb`, hidden if it is not wanted or nobody would see it.
    pub fn new(verb: &'static str, quiet: bool, verbose: bool) -> Self {
        let bar =
            if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { ProgressBar::no_length() };
        set_style(&bar, WITHOUT_END);
        bar.set_prefix(verb);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        }
        Self { bar, told: Mutex::default(), verbose }
    }

    /// Only notes: for what takes no time.
    pub fn hidden() -> Self {
        Self::new("", true, false)
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints while the bar is out of the way.
    pub fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Names each of these on standard error, unless that was done already.
    pub fn tell(&self, what: &[String]) {
        what.iter().for_each(|what| self.note(what));
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Progress for Bar {
    fn expect(&self, _: u64, bytes: u64) {
        set_style(&self.bar, WITH_END);
        self.bar.set_length(bytes);
    }

    fn advance(&self, _: u64, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn at(&self, path: &Path) {
        if !self.bar.is_hidden() {
            self.bar.set_message(super::render::safe(&path.to_string_lossy()));
        }
    }

    fn note(&self, note: &str) {
        let note = super::exit::plain(note);
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(note.clone()) {
            self.bar.suspend(|| super::render::complain(&note));
        }
    }

    fn said(&self, line: &str) {
        if self.verbose {
            self.bar.suspend(|| super::render::complain(&format!("the command: {line}")));
        }
    }

    fn kept(&self, bytes: u64) {
        if bytes > 0 {
            self.note(&format!("the next run will use the {} that this one has stored", super::render::size(bytes)));
        }
    }
}
