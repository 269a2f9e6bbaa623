//! `vault metrics`: the figures of a plan for Prometheus, as `vault run` writes them after each run: printed, into a file
//! for the node exporter, or to a Pushgateway.

use super::{Context, Failure, Outcome, Session, code, output, plain, session};
use std::path::PathBuf;
use vault::health::{self, Known, Seen};
use vault::history::History;
use vault::metrics;

/// Print the plan's figures for Prometheus
///
/// What `vault run` writes by itself if the plan has [metrics]. Any key will do. Labels are the same from run to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault metrics
  vault metrics --textfile /var/lib/prometheus/node-exporter/vault.prom
  vault metrics --push PUSHGATEWAY_URL")]
pub struct Arguments {
    /// Replace this file with them; its name must end in .prom for the node exporter
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// Push them to the gateway whose URL this variable of the environment holds
    #[arg(long, value_name = "VARIABLE", conflicts_with = "textfile")]
    push: Option<String>,
}

/// Prints, writes or pushes.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let plan = super::plan::load(session)?;
    let session = &super::plan::session_of(session, &plan);
    let gateway = arguments.push.as_deref().map(gateway).transpose()?;
    let repository = session.open()?;
    let history = History::read(&repository).context("cannot read the journal")?;
    let seen = Seen::of(&repository, &history, Some(&plan)).context("cannot see how much is stored")?;
    let now = repository.runtime().clock.now();
    let known = Known { plan: Some(&plan), history: &history, seen, now };
    let told = health::figures(&plan, &known, &health::judge(&known));
    let done = match (&arguments.textfile, gateway) {
        (Some(path), _) => metrics::write(&told, path),
        (None, Some(url)) => metrics::push(&told, &url, &session::host()),
        (None, None) => {
            output::put(told.text().as_bytes());
            Ok(())
        }
    };
    done.map_err(|error| Failure::failed(plain::joined(&error.to_string())))?;
    Ok(code::DONE)
}

/// The URL that a variable holds: it may be a secret, so it is no argument.
fn gateway(name: &str) -> Result<String, Failure> {
    if name.contains("://") {
        return Err(Failure::usage("--push takes the name of a variable: a URL may hold a password")
            .hint("set it in the environment, and say --push VARIABLE"));
    }
    let url = std::env::var(name).ok().filter(|url| !url.is_empty());
    url.ok_or_else(|| Failure::usage(format!("the variable {name} of the environment is not set")))
}
