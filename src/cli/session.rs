//! What all commands of one process share: the global flags, clock and threads, and how they open the repository, name who
//! runs them, and say what happened. The only way from flags to an open repository.

use super::exit::{self, Context, Failure, code};
use super::global::Global;
use super::{plain, progress, proposal, render, secret, signal};
use std::path::PathBuf;
use vault::backend::location::Scheme;
use vault::backend::{Backend, BackendOptions, Location};
use vault::repository::{self, Access, Actor, Repository};
use vault::runtime::Runtime;

/// What all commands of one process share.
pub(super) struct Session {
    pub global: Global,
    pub runtime: Runtime,
    /// Where a plan says which repository is meant, if it does.
    pub told_by: Option<String>,
}

impl Session {
    pub fn new(global: Global) -> Result<Self, Failure> {
        proposal::remember(global.repository.as_deref());
        let workers = global.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let runtime = Runtime::system(workers)
            .map_err(|error| Failure::new(code::FAILED, format!("cannot get random numbers: {error}")))?;
        runtime.children.hide(secret::variables());
        signal::listen(&runtime, global.quiet)?;
        Ok(Self { global, runtime, told_by: None })
    }

    pub fn location(&self) -> Result<Location, Failure> {
        let text = self.global.repository.as_deref().ok_or_else(|| {
            Failure::new(code::USAGE, "no repository given".into())
                .hint("say which with --repository LOCATION, in VAULT_REPOSITORY, or in a plan: a vault.toml here, or --plan FILE")
        })?;
        parse_location(text)
    }

    pub fn backend(&self, create: bool) -> Result<Backend, Failure> {
        self.backend_at(&self.location()?, create)
    }

    pub fn backend_at(&self, location: &Location, create: bool) -> Result<Backend, Failure> {
        let options = BackendOptions {
            upload: self.global.limit_upload,
            download: self.global.limit_download,
            create,
            ..BackendOptions::default()
        };
        Backend::open(location, &options, &self.runtime).map_err(|error| exit::opening(error, create))
    }

    pub fn repository_options(&self) -> repository::Options {
        let default = repository::Options::default();
        let memory = self.global.memory.and_then(|bytes| usize::try_from(bytes).ok());
        let actor = Actor { name: format!("{}@{}", user(), host()), reason: self.global.reason.clone() };
        repository::Options { memory_bytes: memory.unwrap_or(default.memory_bytes), actor, ..default }
    }

    /// Opens the repository with the key that the user gave.
    pub fn open(&self) -> Result<Repository, Failure> {
        let open = || {
            let backend = self.backend(false)?;
            // a place without a repository should not ask for a password first
            if !secret::is_at_hand(&self.global) {
                exit::probe(&backend)?;
            }
            let secret = secret::find((&self.global, &self.runtime), secret::Use::Open)?;
            self.open_with(backend, secret)
                .map_err(|failure| failure.hint_if_wrong_password(&secret::told(&self.global)))
        };
        open().map_err(|failure| self.placed(failure))
    }

    /// Says where it stands which repository is meant, for whoever has not said it himself just now.
    fn placed(&self, failure: Failure) -> Failure {
        match &self.told_by {
            Some(place) => failure.about(&format!("the repository is the one of {place}")),
            None => failure,
        }
    }

    pub fn open_with(&self, backend: Backend, secret: secret::Secret) -> Result<Repository, Failure> {
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
        let repository = opened.context(&what)?;
        let Some(folder) = self.cache_folder() else { return Ok(repository) };
        // without its cache a run is slower, and nothing else
        if let Err(error) = repository.use_cache(&folder) {
            self.say_notes(&[plain::joined(&error.to_string())]);
        }
        Ok(repository)
    }

    /// Where the cache is; none if that was asked, or if there is no home for it.
    pub fn cache_folder(&self) -> Option<PathBuf> {
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

    /// Opens the repository and a second one, which has the same password unless its own flags say otherwise.
    pub fn open_two(&self, second: &str, flags: &secret::Flags<'_>) -> Result<(Repository, Repository), Failure> {
        let own = self.backend(false).and_then(|own| exit::probe(&own).map(|()| own));
        let own = own.map_err(|failure| self.placed(failure))?;
        let place = parse_location(second)?;
        let other = self.backend_at(&place, false).and_then(|other| exit::probe(&other).map(|()| other));
        let other = other.map_err(|failure| match &flags.missing {
            Some(how) => failure.hint_if_missing(how),
            None => failure,
        })?;
        let secret = secret::find((&self.global, &self.runtime), secret::Use::Open)?;
        let other_secret = secret::find_second(flags, &self.runtime)?.unwrap_or_else(|| secret.clone());
        let own = self.open_with(own, secret).map_err(|failure| self.placed(failure))?;
        Ok((own, self.open_with(other, other_secret)?))
    }

    pub fn progress(&self, verb: &'static str) -> progress::Bar {
        let Global { quiet, progress, json, verbose, .. } = self.global;
        progress::Bar::new(verb, progress::Face::of(quiet, progress, json), verbose)
    }

    /// Prints a line of summary, unless there is JSON to print or nothing is wanted.
    pub fn say(&self, line: &str) {
        if !self.global.quiet && !self.global.json {
            render::sentence(&proposal::complete(line));
        }
    }

    /// Prints notes that only matter to those who ask.
    pub fn say_notes(&self, notes: &[String]) {
        if self.global.verbose {
            notes.iter().for_each(|note| render::complain(note));
        }
    }

    pub fn say_requests(&self, repository: &Repository) {
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

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who runs this.
pub fn user() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string())
}

pub(super) fn parse_location(text: &str) -> Result<Location, Failure> {
    let location = Location::parse(text)
        .map_err(|error| Failure::new(code::USAGE, plain::joined(&error.to_string())).hint("see `vault --help`"))?;
    if let Location::Remote(remote) = &location
        && remote.scheme == Scheme::Memory
    {
        return Err(Failure::new(code::USAGE, "memory:// is for tests: nothing would stay".into()));
    }
    Ok(location)
}
