//! Alerts by a program of the user's, which gets the message as JSON on its standard input. It sees few variables of the
//! environment, and is ended with all that it has started when its time is over. What it prints is nobody's business: it
//! may hold what it was given to send with.

use super::{Alert, payload};
use crate::http::Refusal;
use crate::runtime::{GRACE, Runtime};
use std::ffi::OsString;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// What a pipe takes that nobody reads yet.
const INPUT_MAX: usize = 60 << 10;
const STEP: Duration = Duration::from_millis(15);

/// A program and what it gets to see.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments; no shell is asked.
    pub argv: Vec<String>,
    /// All variables of its environment: the caller chooses.
    pub environment: Vec<(OsString, OsString)>,
}

/// Runs the program once. `most` holds also what it may take to end one that does not heed.
pub(super) fn send(command: &Command, alert: &Alert, runtime: &Runtime, most: Duration) -> Result<(), Refusal> {
    let (program, arguments) = command.argv.split_first().ok_or_else(|| Refusal::lasting("no program is named"))?;
    let failed = |error: std::io::Error| Refusal::lasting(error.to_string());
    let (input, mut feed) = std::io::pipe().map_err(failed)?;
    // a machine with very many pipes makes small ones: better no message than a run that hangs
    rustix::fs::fcntl_setfl(&feed, rustix::fs::OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
    feed.write_all(&message(alert)).map_err(failed)?;
    drop(feed);
    let mut started = std::process::Command::new(program);
    started.args(arguments).env_clear().envs(command.environment.iter().map(|(name, value)| (name, value)));
    started.stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
    let began = runtime.clock.elapsed();
    let start = runtime.children.start(&mut started, true);
    // it holds the end of the pipe that the program reads
    drop(started);
    let mut program = start.map_err(|error| Refusal::lasting(format!("it does not start: {error}")))?;
    let patience = most.saturating_sub(GRACE);
    while program.ended().map_err(failed)?.is_none() {
        if runtime.is_stopped() {
            return Err(Refusal::lasting("interrupted"));
        }
        if runtime.clock.elapsed().since(began) >= patience {
            return Err(Refusal::passing(format!("it was ended, since it ran longer than {patience:.1?}")));
        }
        runtime.clock.sleep(STEP);
    }
    let status = program.status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let ending = status.to_string().replace("exit status: ", "status ").replace("signal: ", "signal ");
    Err(Refusal::passing(format!("it failed ({ending})")))
}

/// One line. Of many alerts only so many go along as fit.
fn message(alert: &Alert) -> Vec<u8> {
    let mut alert = alert.clone();
    loop {
        let mut line = payload::generic(&alert).to_string().into_bytes();
        if line.len() < INPUT_MAX || alert.alerts.is_empty() {
            line.push(b'\n');
            return line;
        }
        alert.alerts.truncate(alert.alerts.len() / 2);
    }
}
