//! The command line: flags to options, results to words and exit codes. The only place that prints, asks, and reads
//! the environment. Each command is one file below; this one holds what they share and sends each to its file.

mod address;
mod check;
mod completions;
mod copy;
mod diff;
mod exit;
mod find;
mod forget;
mod grammar;
mod init;
mod invisible;
mod key;
mod lacks;
mod ls;
mod man;
mod node;
mod output;
mod progress;
mod proposal;
mod prune;
mod render;
mod repair;
mod restore;
mod secret;
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
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use vault::backend::location::Scheme;
use vault::backend::{Backend, BackendOptions, Location};
use vault::repository::journal::Actor;
use vault::repository::{self, Access, Repository};
use vault::runtime::Runtime;

/// A content-addressed, deduplicating, encrypted backup repository.
#[derive(Debug, Parser)]
#[command(name = "vault", version, max_term_width = 100, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Where the repository is: a folder, or s3://bucket/folder?region=…, sftp://user@host/folder and the like
    #[arg(long, short, global = true, value_name = "LOCATION", env = "VAULT_REPOSITORY", hide_env_values = true)]
    repository: Option<String>,
    /// Read the password from the first line of this file [env: VAULT_PASSWORD_FILE; the password itself can be given
    /// in VAULT_PASSWORD]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_command", "key_file"])]
    password_file: Option<PathBuf>,
    /// Run this with `sh -c` and take the first line of its output as the password [env: VAULT_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "key_file")]
    password_command: Option<std::ffi::OsString>,
    /// Open the repository with an exported key instead of a password [env: VAULT_KEY_FILE; the text of the key can be
    /// given in VAULT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where this machine keeps its cache [env: VAULT_CACHE_DIR; default: vault in the user's cache folder]
    // not by `env`: what only the environment says must not stand against --no-cache
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "no_cache")]
    cache_dir: Option<PathBuf>,
    /// Keep no cache, and use none
    #[arg(long, global = true)]
    no_cache: bool,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more: what was left out on purpose, requests and bytes moved
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Show progress on standard error also where no terminal is; with --json as JSON lines
    #[arg(long, global = true, conflicts_with = "quiet")]
    progress: bool,
    /// Answer every question with yes
    #[arg(long, short, global = true)]
    yes: bool,
    /// Threads for the work of the processor [default: one for each core]
    #[arg(long, global = true, value_name = "N")]
    workers: Option<usize>,
    /// Memory for data in flight, like 64MiB [default: 96MiB]
    #[arg(long, global = true, value_name = "SIZE", value_parser = render::parse_size)]
    memory: Option<u64>,
    /// Send at most this many bytes each second, like 2MB
    #[arg(long, global = true, value_name = "RATE", value_parser = render::parse_rate)]
    limit_upload: Option<u64>,
    /// Receive at most this many bytes each second, like 10MB
    #[arg(long, global = true, value_name = "RATE", value_parser = render::parse_rate)]
    limit_download: Option<u64>,
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
    Prune(prune::Arguments),
    Repair(repair::Arguments),
    Copy(copy::Arguments),
    Key(key::Arguments),
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
    match output::finish(outcome()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn outcome() -> Outcome {
    match completions::answer() {
        Ok(false) => {}
        Ok(true) => return Ok(code::DONE),
        Err(error) => return exit::usage(&error),
    }
    match grammar::parse(std::env::args_os().collect()) {
        Ok(arguments) => Session::new(arguments.global).and_then(|session| dispatch(&session, &arguments.command)),
        Err(error) => exit::usage(&error),
    }
}

fn dispatch(session: &Session, command: &Command) -> Outcome {
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
        Command::Tag(arguments) => tag::run(session, arguments),
        Command::Check(arguments) => check::run(session, arguments),
        Command::Prune(arguments) => prune::run(session, arguments),
        Command::Repair(arguments) => repair::run(session, arguments),
        Command::Copy(arguments) => copy::run(session, arguments),
        Command::Key(arguments) => key::run(session, arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(session, arguments),
        Command::Help { of } => grammar::help(of),
        Command::Version => grammar::version(),
    };
    let outcome = match command {
        Command::Snapshot(_) | Command::Snapshots(_) => outcome.map_err(Failure::for_a_first),
        _ => outcome,
    };
    // a command that a signal stopped fails in many ways; the signal is the reason
    outcome.map_err(|failure| if session.runtime.is_stopped() { failure.interrupted() } else { failure })
}

/// What all commands of one process share.
struct Session {
    global: Global,
    runtime: Runtime,
}

impl Session {
    fn new(global: Global) -> Result<Self, Failure> {
        proposal::remember(global.repository.as_deref());
        let workers = global.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let runtime = Runtime::system(workers)
            .map_err(|error| Failure::new(code::FAILED, format!("cannot get random numbers: {error}")))?;
        runtime.children.hide(secret::variables());
        signal::listen(&runtime, global.quiet)?;
        Ok(Self { global, runtime })
    }

    fn location(&self) -> Result<Location, Failure> {
        let text = self.global.repository.as_deref().ok_or_else(|| {
            Failure::new(code::USAGE, "no repository given".into())
                .hint("say which with --repository LOCATION or in VAULT_REPOSITORY")
        })?;
        parse_location(text)
    }

    fn backend(&self, create: bool) -> Result<Backend, Failure> {
        self.backend_at(&self.location()?, create)
    }

    fn backend_at(&self, location: &Location, create: bool) -> Result<Backend, Failure> {
        let options = BackendOptions {
            upload: self.global.limit_upload,
            download: self.global.limit_download,
            create,
            ..BackendOptions::default()
        };
        Backend::open(location, &options, &self.runtime).map_err(|error| exit::opening(error, create))
    }

    fn repository_options(&self) -> repository::Options {
        let default = if cfg!(debug_assertions) { test_times() } else { repository::Options::default() };
        let memory = self.global.memory.and_then(|bytes| usize::try_from(bytes).ok());
        repository::Options { memory_bytes: memory.unwrap_or(default.memory_bytes), ..default }
    }

    /// Opens the repository with the key that the user gave.
    fn open(&self) -> Result<Repository, Failure> {
        let backend = self.backend(false)?;
        // a place without a repository should not ask for a password first
        exit::probe(&backend)?;
        let secret = secret::find((&self.global, &self.runtime), secret::Use::Open)?;
        self.open_with(backend, secret)
    }

    fn open_with(&self, backend: Backend, secret: secret::Secret) -> Result<Repository, Failure> {
        // two repositories may be at hand
        let what = format!("cannot open the repository at {}", backend.describe());
        self.say_notes(&backend.caveat().into_iter().collect::<Vec<_>>());
        let options = self.repository_options();
        let runtime = self.runtime.clone();
        let opened = match secret {
            secret::Secret::Password(password) => {
                Repository::open(backend, runtime, options, Access::Password(&password))
            }
            secret::Secret::Bundle(bundle) => Repository::open(backend, runtime, options, Access::Bundle(bundle)),
        };
        let mut repository = opened.context(&what)?;
        let Some(folder) = self.cache_folder() else { return Ok(repository) };
        // without its cache a run is slower, and nothing else
        if let Err(error) = repository.use_cache(&folder) {
            self.say_notes(&[exit::one_line(&error.to_string())]);
        }
        Ok(repository)
    }

    /// Where the cache is; none if that was asked, or if there is no home for it.
    fn cache_folder(&self) -> Option<PathBuf> {
        if self.global.no_cache {
            return None;
        }
        let from = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || from("HOME").map(|home| home.join(".cache"));
        self.global
            .cache_dir
            .clone()
            .or_else(|| from("VAULT_CACHE_DIR"))
            .or_else(|| Some(from("XDG_CACHE_HOME").or_else(home)?.join("vault")))
    }

    /// Who runs this, for the journal.
    fn actor(&self, reason: &str) -> Actor {
        Actor { name: format!("{}@{}", snapshot::user(), snapshot::host()), reason: reason.to_owned() }
    }

    /// Opens the repository and a second one, which has the same password unless its own flags say otherwise.
    fn open_two(&self, second: &str, flags: &secret::Flags<'_>) -> Result<(Repository, Repository), Failure> {
        let own = self.backend(false)?;
        exit::probe(&own)?;
        let place = parse_location(second)?;
        let other = self.backend_at(&place, false).and_then(|other| exit::probe(&other).map(|()| other));
        let other = other.map_err(|failure| match &flags.missing {
            Some(how) => failure.hint_if_missing(how),
            None => failure,
        })?;
        let secret = secret::find((&self.global, &self.runtime), secret::Use::Open)?;
        let other_secret = secret::find_second(flags, &self.runtime)?.unwrap_or_else(|| secret.clone());
        Ok((self.open_with(own, secret)?, self.open_with(other, other_secret)?))
    }

    fn progress(&self, verb: &'static str) -> progress::Bar {
        let Global { quiet, progress, json, verbose, .. } = self.global;
        progress::Bar::new(verb, progress::Face::of(quiet, progress, json), verbose)
    }

    /// Prints a line of summary, unless there is JSON to print or nothing is wanted.
    fn say(&self, line: &str) {
        if !self.global.quiet && !self.global.json {
            render::line(&proposal::complete(line));
        }
    }

    /// Prints notes that only matter to those who ask.
    fn say_notes(&self, notes: &[String]) {
        if self.global.verbose {
            notes.iter().for_each(|note| render::complain(note));
        }
    }

    fn say_requests(&self, repository: &Repository) {
        if self.global.verbose {
            let counts = repository.backend().counts();
            render::complain(&format!(
                "requests: {}, {}, {}, {}; {} sent, {} received",
                render::count(counts.put, "write", "writes"),
                render::count(counts.get, "read", "reads"),
                render::count(counts.stat, "look-up", "look-ups"),
                render::count(counts.list, "listing", "listings"),
                render::size(counts.bytes_written),
                render::size(counts.bytes_read)
            ));
        }
    }
}

/// The protocol's times (W, D, e, G) in seconds from VAULT_TEST_TIMES, so that a test with real processes need not wait
/// for a day. Only builds with debug assertions ask.
fn test_times() -> repository::Options {
    let mut options = repository::Options::default();
    let text = std::env::var("VAULT_TEST_TIMES").unwrap_or_default();
    let seconds: Vec<_> = text.split(',').map_while(|text| text.parse().ok()).map(Duration::from_secs).collect();
    if let [window, lag, error, grace] = seconds[..] {
        options.commit_window = window;
        options.listing_lag = Some(lag);
        options.clock_error = error;
        options.grace = grace;
    }
    options
}

fn parse_location(text: &str) -> Result<Location, Failure> {
    let location = Location::parse(text)
        .map_err(|error| Failure::new(code::USAGE, exit::one_line(&error.to_string())).hint("see `vault --help`"))?;
    if let Location::Remote(remote) = &location
        && remote.scheme == Scheme::Memory
    {
        return Err(Failure::new(code::USAGE, "memory:// is for tests: nothing would stay".into()));
    }
    Ok(location)
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
        let documents = ["vault completions", "vault man", "vault key sheet", "vault help", "vault version"];
        let page = include_str!("../docs/json.md");
        for (name, command) in all().iter().filter(|(_, command)| !command.has_subcommands()) {
            let row = format!("| `{}` | ", name.trim_start_matches("vault "));
            let is_told = page.lines().any(|line| line.starts_with(&row));
            assert_eq!(is_told, !documents.contains(&name.as_str()), "{name}: {:?}", command.get_about());
        }
    }
}
