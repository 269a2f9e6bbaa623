//! The command line: flags to options, results to words and exit codes. The only place that prints, asks, and reads
//! the environment. Each command is one file below; this one lists them, and sends each to its file.

mod address;
mod chain;
mod check;
mod choice;
mod completions;
mod copy;
mod diff;
mod draft;
mod exit;
mod export;
mod find;
mod forget;
mod global;
mod grammar;
mod health;
mod heap;
mod hint;
mod init;
mod invisible;
mod journal;
mod key;
mod lacks;
mod ls;
mod machine;
mod man;
mod metrics;
mod node;
mod online;
mod outline;
mod output;
mod plain;
mod plan;
mod printed;
mod private;
mod progress;
mod proposal;
mod prune;
mod record;
mod render;
mod repair;
mod restore;
mod run;
mod runbook;
mod schedule;
mod secret;
mod session;
mod signal;
mod snapshot;
mod snapshots;
mod stats;
mod table;
mod tag;
mod time;
mod undelete;

use clap::{Parser, Subcommand};
use exit::{Context, Failure, code};
use global::Global;
use printed::printed;
use session::Session;
use std::process::ExitCode;

/// A content-addressed, deduplicating, encrypted backup repository.
#[derive(Debug, Parser)]
#[command(name = "vault", version, max_term_width = 100, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    #[command(visible_alias = "backup")]
    Snapshot(Box<snapshot::Arguments>),
    #[command(visible_alias = "list")]
    Snapshots(snapshots::Arguments),
    Ls(ls::Arguments),
    Find(find::Arguments),
    Diff(diff::Arguments),
    Stats(stats::Arguments),
    Restore(restore::Arguments),
    Forget(forget::Arguments),
    Undelete(undelete::Arguments),
    Tag(tag::Arguments),
    Check(check::Arguments),
    Journal(journal::Arguments),
    Prune(prune::Arguments),
    Repair(repair::Arguments),
    Copy(copy::Arguments),
    Key(key::Arguments),
    Plan(plan::Arguments),
    Run(run::Arguments),
    Health(health::Arguments),
    Metrics(metrics::Arguments),
    Schedule(schedule::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    /// Tell how to use a command
    #[command(
        hide = true,
        after_help = "Examples:
  vault help
  vault help key add"
    )]
    Help {
        /// Which command [default: all]
        #[arg(value_name = "COMMAND")]
        of: Vec<String>,
    },
    /// Tell the version
    #[command(
        hide = true,
        after_help = "Examples:
  vault version
  vault version --quiet"
    )]
    Version,
}

/// What a command returns: its exit code, or why it could not be done.
type Outcome = Result<u8, Failure>;

/// Runs the program.
pub fn run() -> ExitCode {
    heap::bound();
    // a core dump would hold keys and passwords; where that can't be had nothing else changes
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    match exit::finish(outcome()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn outcome() -> Outcome {
    match completions::answer() {
        Ok(false) => {}
        Ok(true) => return Ok(code::DONE),
        Err(error) => return grammar::usage(&error),
    }
    match grammar::parse(std::env::args_os().collect()) {
        Ok(arguments) => Session::new(arguments.global).and_then(|session| dispatch(&session, &arguments.command)),
        Err(error) => grammar::usage(&error),
    }
}

/// True for what goes by a plan itself, or opens no repository.
fn is_of_a_plan(command: &Command) -> bool {
    use Command as C;
    matches!(command, C::Plan(_) | C::Run(_) | C::Health(_) | C::Metrics(_) | C::Schedule(_))
        || matches!(command, C::Completions(_) | C::Man(_) | C::Help { .. } | C::Version)
}

fn dispatch(session: &Session, command: &Command) -> Outcome {
    let lent = if is_of_a_plan(command) { None } else { plan::lend(session)? };
    let session = lent.as_ref().unwrap_or(session);
    let outcome = match command {
        Command::Init(arguments) => init::run(session, arguments),
        Command::Snapshot(arguments) => snapshot::run(session, arguments),
        Command::Snapshots(arguments) => snapshots::run(session, arguments),
        Command::Ls(arguments) => ls::run(session, arguments),
        Command::Find(arguments) => find::run(session, arguments),
        Command::Diff(arguments) => diff::run(session, arguments),
        Command::Stats(arguments) => stats::run(session, arguments),
        Command::Restore(arguments) => restore::run(session, arguments),
        Command::Forget(arguments) => forget::run(session, arguments),
        Command::Undelete(arguments) => undelete::run(session, arguments),
        Command::Journal(arguments) => journal::run(session, arguments),
        Command::Tag(arguments) => tag::run(session, arguments),
        Command::Check(arguments) => check::run(session, arguments),
        Command::Prune(arguments) => prune::run(session, arguments),
        Command::Repair(arguments) => repair::run(session, arguments),
        Command::Copy(arguments) => copy::run(session, arguments),
        Command::Key(arguments) => key::run(session, arguments),
        Command::Plan(arguments) => plan::run(session, arguments),
        Command::Run(arguments) => run::run(session, arguments),
        Command::Health(arguments) => health::run(session, arguments),
        Command::Metrics(arguments) => metrics::run(session, arguments),
        Command::Schedule(arguments) => schedule::run(session, arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(session, arguments),
        Command::Help { of } => grammar::help(of),
        Command::Version => grammar::version(),
    };
    let outcome = match command {
        Command::Snapshot(_) | Command::Snapshots(_) | Command::Run(_) | Command::Health(_) => {
            outcome.map_err(Failure::for_a_first)
        }
        _ => outcome,
    };
    // a command that a signal stopped fails in many ways; the signal is the reason
    outcome.map_err(|failure| if session.runtime.is_stopped() { failure.interrupted() } else { failure })
}

#[cfg(test)]
mod tests {
    use super::grammar::{definition, parse};

    /// All commands that can be run, with their full names.
    fn leaves(command: &clap::Command, above: &str, out: &mut Vec<(String, clap::Command)>) {
        for command in command.get_subcommands() {
            let name = format!("{above} {}", command.get_name());
            if command.has_subcommands() {
                leaves(command, &name, out);
            }
            out.push((name, command.clone()));
        }
    }

    fn all() -> Vec<(String, clap::Command)> {
        let mut out = Vec::new();
        leaves(&definition(), "vault", &mut out);
        assert!(out.len() > 8, "the commands were found");
        out
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_shows_two_examples_that_parse() {
        for (name, command) in all() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter(|line| line.starts_with("  "));
            let widest = examples.map(|line| line.chars().count()).max();
            assert!(widest <= Some(79), "{name}: from a terminal it can't be pasted: {help}");
            let help = help.replace(" \\\n", " ");
            let examples: Vec<&str> = help.lines().map(str::trim).filter(|line| line.starts_with("vault ")).collect();
            assert!(help.starts_with("Examples:") && examples.len() >= 2, "{name}: {help}");
            for example in examples {
                assert!(example.starts_with(&format!("{name} ")) || example == name, "{name}: {example}");
                let words = shlex::split(example).expect("quotes are closed");
                let words = words.into_iter().take_while(|word| !["|", ">", "<", "&&"].contains(&word.as_str()));
                if let Err(error) = parse(words.map(Into::into).collect()) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    #[test]
    fn the_docs_tell_the_json_of_every_command() {
        // what these print is a document of its own
        let documents = [
            "vault completions",
            "vault man",
            "vault key sheet",
            "vault metrics",
            "vault plan runbook",
            "vault schedule",
            "vault help",
            "vault version",
        ];
        let page = include_str!("../docs/json.md");
        for (name, command) in all().iter().filter(|(_, command)| !command.has_subcommands()) {
            let heading = format!("## `{}`", name.trim_start_matches("vault "));
            let is_told = page.lines().any(|line| line == heading);
            assert_eq!(is_told, !documents.contains(&name.as_str()), "{name}: {:?}", command.get_about());
        }
    }
}
