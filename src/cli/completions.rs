//! `vault completions`: a script that lets a shell complete commands, flags, and the snapshots and sources of the
//! repository. The script asks the program itself at each key press. That must neither ask back nor hang, so the
//! repository is only looked at if the environment alone opens it, and only for a moment; else there is nothing.

use super::session::Session;
use super::{Arguments as Program, Context, Failure, Outcome, code, grammar, render, secret};
use clap::Parser;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;
use vault::list;

/// By this the script tells the program that it is asked.
const VARIABLE: &str = "VAULT_COMPLETE";
/// How many seconds the repository has for an answer.
const PATIENCE: &str = "VAULT_COMPLETE_SECONDS";
/// Longer nobody waits for a completion, unless he says so.
const SECONDS: u64 = 3;

/// Print a script that completes commands, flags, snapshots and sources in a shell
///
/// Write it again after an upgrade. Snapshots and sources are completed if VAULT_REPOSITORY is set, and VAULT_KEY_FILE, VAULT_KEY,
/// VAULT_PASSWORD_FILE or VAULT_PASSWORD; a command that finds the password is not run, since it may ask. A repository
/// that does not answer within VAULT_COMPLETE_SECONDS, 3 if that is not set, offers nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault completions bash > ~/.local/share/bash-completion/completions/vault
  vault completions fish > ~/.config/fish/completions/vault.fish")]
pub struct Arguments {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(&arguments.shell.to_string());
    let unknown = || Failure::usage(format!("no completions for {}", arguments.shell));
    shell
        .ok_or_else(unknown)?
        .write_registration(VARIABLE, "vault", "vault", "vault", &mut script)
        .context("cannot write the script")?;
    render::text(String::from_utf8_lossy(&script).trim_start());
    Ok(code::DONE)
}

/// Answers the script; false if it is not the script that runs the program.
pub fn answer() -> Result<bool, clap::Error> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(completing)
        .var(VARIABLE)
        .bin("vault")
        .completer("vault")
        .try_complete(std::env::args_os(), directory.as_deref())
}

/// All commands, with completers wherever an argument names a snapshot or a source.
fn completing() -> clap::Command {
    add_completers(grammar::definition())
}

fn add_completers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default();
        match names.first().map(|name| name.as_str()) {
            Some("ADDRESS" | "ID") => argument.add(ArgValueCompleter::new(address)),
            Some("ADDRESS|DIR") => argument.add(ArgValueCompleter::new(address_or_folder)),
            Some("NAME") if ["name", "source"].iter().any(|id| argument.get_id() == id) => {
                argument.add(ArgValueCompleter::new(source))
            }
            _ => argument,
        }
    });
    command.mut_subcommands(add_completers)
}

fn source(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(current, look().into_iter().filter(|(_, is_source, _)| *is_source))
}

fn address(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(current, look().into_iter())
}

fn address_or_folder(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut candidates = address(current);
    let folders = PathCompleter::dir().complete(current).into_iter();
    candidates.extend(folders.map(|folder| folder.display_order(Some(usize::MAX))));
    candidates
}

/// What can be completed: text, whether it is a source, and what it means.
type Known = (String, bool, String);

fn beginning(current: &OsStr, known: impl Iterator<Item = Known>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    known
        .filter(|(text, ..)| text.starts_with(&*current))
        .enumerate()
        .map(|(order, (text, _, help))| {
            CompletionCandidate::new(text).help(Some(help.into())).display_order(Some(order))
        })
        .collect()
}

/// Sources and snapshots of the repository of the environment: `latest`, names, then ids, the newest first.
fn look() -> Vec<Known> {
    let (send, receive) = std::sync::mpsc::channel();
    // a store that does not answer is left behind with its thread when the process ends
    std::thread::spawn(move || {
        if let Ok(Some(known)) = known() {
            // nobody is left to tell if it came too late
            let _ = send.send(known);
        }
    });
    let seconds = std::env::var(PATIENCE).ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS);
    receive.recv_timeout(Duration::from_secs(seconds)).unwrap_or_default()
}

fn known() -> Result<Option<Vec<Known>>, Failure> {
    let Ok(program) = Program::try_parse_from(["vault", "snapshots", "--quiet"]) else { return Ok(None) };
    if program.global.repository.is_none() || !secret::is_silent(&program.global) {
        return Ok(None);
    }
    let session = Session::new(program.global)?;
    let repository = session.open()?;
    let catalog = list::snapshots(&repository).context("")?;
    let snapshots = &catalog.snapshots;
    let sources: BTreeSet<_> = snapshots.visible().map(|one| (&one.head.source, one.place.domain)).collect();
    let mut known: Vec<Known> = Vec::new();
    for snapshot in snapshots.visible().rev() {
        let (name, domain) = (&snapshot.head.source, snapshot.place.domain);
        let is_elsewhere = sources.iter().any(|(other, place)| *other == name && *place != domain);
        let text = if is_elsewhere { format!("{}/{name}", snapshots.domains.show(domain)) } else { name.clone() };
        if !known.iter().any(|(known, ..)| *known == text) {
            known.push((text, true, format!("newest: {}", render::time(snapshot.counted.time))));
        }
    }
    if !known.is_empty() {
        known.insert(0, ("latest".into(), false, "the newest snapshot".into()));
    }
    let ids = catalog.snapshots.visible().rev();
    known.extend(ids.map(|snapshot| {
        (snapshot.id.short(), false, format!("{} {}", snapshot.head.source, render::time(snapshot.counted.time)))
    }));
    Ok(Some(known))
}
