//! Exit codes, and errors in words: what could not be done to which thing, the cause, and the next command to try, on
//! one line. Each layer's error is shown once; what an outer message already contains is not repeated.

use super::output::{self, End};
use super::proposal::quote;
use super::{hint, plain, render};
use std::error::Error as _;
use std::process::ExitCode;
use vault::backend::{self, Backend, ErrorKind};
use vault::run::Outage;
use vault::{error, repository};
use vault_format::Error as FormatError;
use vault_format::name::Name;

/// The next step after damage.
const AFFECTED: &str = "`vault check` tells what else is affected";

/// The exit codes that scripts rely on.
pub mod code {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// Done in part: a snapshot without files that could not be read, a prune without domains that can't be judged, be it
    /// all of them, a forget without some sources.
    pub const PARTIAL: u8 = 3;
    /// No repository there, something else, or a half-made one.
    pub const NO_REPOSITORY: u8 = 10;
    /// No key slot opens with this password, or the recovery words are not those of the repository.
    pub const WRONG_PASSWORD: u8 = 12;
    /// Check found damage.
    pub const DAMAGE: u8 = 20;
    /// An objective of the plan is missed, or can't be judged.
    pub const UNHEALTHY: u8 = 21;
    /// A signal stopped it.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command could not be done.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
    hint: Option<String>,
    /// Stored bytes are to blame.
    pub is_damage: bool,
    /// Standard output is to blame.
    is_output: bool,
    /// The place without a repository.
    missing: Option<String>,
}

impl Failure {
    /// A failure in words, which become one line.
    pub fn new(code: u8, text: String) -> Self {
        Self { code, text: plain::line(&text), hint: None, is_damage: false, is_output: false, missing: None }
    }

    /// True if the command line, or the plan, is to blame.
    pub fn is_usage(&self) -> bool {
        self.code == code::USAGE
    }

    /// What could not be done.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(code::FAILED, text.into())
    }

    /// A command line that makes no sense.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(code::USAGE, text.into())
    }

    /// With the next step.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With what it is about, for whoever could not know that.
    pub fn about(self, what: &str) -> Self {
        Self { text: format!("{} ({what})", self.text), ..self }
    }

    /// With another next step, if one is known.
    pub fn hint_instead(self, hint: Option<String>) -> Self {
        Self { hint: hint.or(self.hint), ..self }
    }

    /// What of it may be told to others, where a repository could not be opened.
    pub fn outage(&self) -> Outage {
        match self.code {
            code::NO_REPOSITORY => Outage::Absent,
            code::WRONG_PASSWORD => Outage::Locked,
            _ => Outage::Unknown,
        }
    }

    /// With what else is known of a password that is wrong.
    pub fn hint_if_wrong_password(self, known: &str) -> Self {
        match &self.hint {
            Some(hint) if self.code == code::WRONG_PASSWORD && !known.is_empty() => {
                let both = format!("{known} {hint}");
                self.hint(both)
            }
            _ => self,
        }
    }

    /// With one more step if there is no repository.
    pub fn hint_if_missing(self, hint: &str) -> Self {
        let first = self.hint.as_ref().filter(|_| self.missing.is_some());
        match first.map(|first| format!("{first}; if it was never made: {hint}")) {
            Some(both) => Self { missing: None, ..self }.hint(both),
            None => self,
        }
    }

    /// For commands with which people begin: how a first repository is made, if there is none.
    pub fn for_a_first(self) -> Self {
        let Some(place) = self.missing.clone() else { return self };
        self.hint_if_missing(&format!("`vault init --repository {}`", quote(&place)))
    }

    /// The same end, caused by a signal.
    pub fn interrupted(self) -> Self {
        Self::new(code::INTERRUPTED, "interrupted; run the same command again to go on".into())
    }

    /// What went wrong, and the next step.
    pub fn into_words(self) -> (String, Option<String>) {
        (self.text, self.hint)
    }

    /// Prints the one line.
    pub fn report(&self) -> ExitCode {
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        render::complain(&format!("{}{hint}", self.text));
        ExitCode::from(self.code)
    }
}

/// Adds what could not be done.
pub trait Context<T> {
    /// `what` reads like `cannot restore app-db`.
    fn context(self, what: &str) -> Result<T, Failure>;
}

impl<T> Context<T> for repository::Result<T> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(error::Error::Repository).context(what)
    }
}

impl<T> Context<T> for error::Result<T> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| failure(&error, what))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::failed(format!("{what}: {error}")))
    }
}

fn failure(error: &error::Error, what: &str) -> Failure {
    use repository::Error as R;
    let is_damage = match error {
        error::Error::Repository(R::Object { source, .. } | R::Frame { source, .. }) => undamaged(source).is_none(),
        error::Error::Repository(R::Rot(_) | R::DamagedBlob { .. }) => true,
        _ => false,
    };
    let mut failure = Failure { is_damage, ..in_words(error, what) };
    if let error::Error::Output(cause) = error {
        output::failed(cause);
        failure.is_output = true;
    }
    failure
}

/// What to do about an object that is as it should be, and that this program or this key can't open.
fn undamaged(error: &FormatError) -> Option<&'static str> {
    match error {
        FormatError::UnsupportedVersion(_)
        | FormatError::UnsupportedSuite(_)
        | FormatError::UnsupportedEpoch(_)
        | FormatError::UnsupportedFeature(_) => Some("the repository is not damaged"),
        FormatError::NoAccess => Some("use the owner's key"),
        FormatError::WrongRepository => Some("check --repository and --key-file"),
        _ => None,
    }
}

fn in_words(error: &error::Error, what: &str) -> Failure {
    let cause = chain(error);
    let full = if what.is_empty() { cause.clone() } else { format!("{what}: {cause}") };
    match error {
        error::Error::NoRoom(lack) => no_room(lack, what),
        error::Error::EmptySource(..) => Failure::failed(format!("{full} (say --allow-empty if this is right)")),
        error::Error::Request(refusal) => Failure::failed(full + &hint::of_refusal(refusal)),
        error::Error::Repository(error) => repository_in_words(error, cause, full),
        _ => Failure::failed(full),
    }
}

/// `full` is the cause and what could not be done.
fn repository_in_words(error: &repository::Error, cause: String, full: String) -> Failure {
    use repository::Error as R;
    let failed = |hint: &str| Failure::failed(&full).hint(hint);
    // where the cause says itself what could not be done
    let alone = |code, hint: &str| Failure::new(code, cause.clone()).hint(hint);
    match error {
        R::Interrupted(_) => Failure::new(code::INTERRUPTED, full).hint("run the same command again to go on"),
        R::NoRepository(place) => no_repository(place),
        R::NoPlace(..) => alone(code::NO_REPOSITORY, "check --repository"),
        R::NotARepository(place) => not_a_repository(place),
        R::HalfMade(place) => half_made(place),
        R::WrongPassword(_) => {
            alone(code::WRONG_PASSWORD, "if the password is lost, the recovery sheet opens it: `vault init --recover`")
        }
        R::LostConfig(place) => {
            let recover = format!("`vault init --recover --repository {}`", quote(place));
            alone(code::NO_REPOSITORY, &format!("make them again from the recovery sheet: {recover}"))
        }
        R::ForeignConfig(_) => failed(
            "somebody swapped it, or the repository was recovered after this key was made: use the key of the recovery, \
             or recover again with `vault init --recover`",
        ),
        R::WrongWords(_) => alone(code::WRONG_PASSWORD, "check the sheet and --repository"),
        R::Revoked(_) => failed("ask the owner for a new key: `vault key add --role writer --export-key-file FILE`"),
        R::NotEmpty(_) => alone(code::FAILED, "choose an empty place, or `vault snapshots` if this is a repository"),
        R::NoSnapshot(_) | R::Ambiguous { .. } => failed("`vault snapshots` lists what there is"),
        R::UnreadableTime(_) => failed(super::time::FORMS),
        R::NotThatOld { name, first } => {
            failed(&format!("its first is from {}; `vault snapshots {}` lists them", render::time(*first), quote(name)))
        }
        R::NoPath { snapshot, .. } => failed(&format!("`vault ls {snapshot} --recursive` lists what is in it")),
        R::Backend(error) => failed(hint::of_backend(error)),
        // it could name anything, so it stops everybody
        R::Rot(object) | R::Object { object, .. } if matches!(Name::parse(object), Some(Name::Mark(_))) => {
            failed(&hint::quarantine(object))
        }
        R::Object { source, .. } | R::Frame { source, .. } => failed(undamaged(source).unwrap_or(AFFECTED)),
        R::Role { .. } => alone(code::FAILED, "use such a password or key file"),
        R::Hidden(hidden) => Failure::failed(full + &hint::of_hidden(hidden)),
        R::Undecided(_) => failed(AFFECTED),
        R::Rot(_) | R::MissingBlob(_) | R::DamagedBlob { .. } => {
            failed("`vault check --read-data` tells what else is affected")
        }
        R::Swept => failed("run the same command again when prune is done"),
        R::TooSlow(_) | R::TooOld(_) | R::Condemned(_) => failed("run the same command again"),
        R::NoSnapshots(_) => failed("if none was ever completed there, `vault prune --without-snapshots` frees it"),
        R::Unsafe(doubt) => Failure::failed(full + &hint::of_doubt(doubt)).hint(
            "nothing more was deleted; `vault check` tells what is wrong; `vault repair --quarantine ID` has an object \
             passed over, `vault forget ID` a snapshot that is missing",
        ),
        R::Bug(_) => failed("please report it, with what was run and `vault --version`"),
        R::CannotRepair(doubt) => {
            Failure::failed(full + &hint::of_doubt(doubt)).hint("nothing was changed; a newer vault may know more")
        }
        _ => Failure::failed(full),
    }
}

fn no_room(lack: &error::Lack, what: &str) -> Failure {
    let place = lack.place.display();
    let show = |number: u64| match lack.is_entries {
        true => render::count(number, "new entry", "new entries"),
        false => render::size(number),
    };
    let (needed, free) = (show(lack.needed), show(lack.free));
    let missing = show(lack.needed.saturating_sub(lack.free));
    let failed = |text: String| Failure::failed(format!("{what}: {text}"));
    if !lack.has_begun {
        return failed(format!("{place} needs {needed}, and only {free} are free there: {missing} are missing")).hint(
            "make room, restore elsewhere or only a part (--include), or say --ignore-room if it fits all the same",
        );
    }
    // nothing of it is lost: what is there counts as there already
    let again = "then run it again: it goes on where it stopped";
    if lack.needed > lack.free {
        return failed(format!("the disk of {place} is full: {needed} are still needed and {free} are free"))
            .hint(format!("make room for {missing}, {again}"));
    }
    failed(format!("no more may be written to {place}: the disk is full, or a quota is used up"))
        .hint(format!("make room, {again}"))
}

fn no_repository(place: &str) -> Failure {
    // a new one under the mount point of a disk that is not mounted would hide that it is missing
    let disk = if place.contains("://") { "" } else { ", and that the disk is mounted" };
    let missing = Some(place.to_owned());
    Failure { missing, ..Failure::new(code::NO_REPOSITORY, format!("no repository at {place}")) }
        .hint(format!("check the location{disk}"))
}

fn not_a_repository(place: &str) -> Failure {
    Failure::new(code::NO_REPOSITORY, format!("{place} is not a vault repository")).hint("check --repository")
}

fn half_made(place: &str) -> Failure {
    Failure::new(code::NO_REPOSITORY, format!("the repository at {place} is half-made: its init did not finish")).hint(
        format!("nothing is stored in it: remove {place} and run `vault init --repository {}` again", quote(place)),
    )
}

/// A place that can't be opened at all.
pub fn opening(error: backend::Error, create: bool) -> Failure {
    match error.kind {
        ErrorKind::NoPlace if !create => no_repository(&error.location),
        ErrorKind::NotAFolder => not_a_repository(&error.location),
        _ => Failure::failed(error.to_string()).hint(hint::of_backend(&error)),
    }
}

/// Fails early if there is nothing that a password could open.
pub fn probe(backend: &Backend) -> Result<(), Failure> {
    repository::probe(backend).context("cannot open the repository")
}

/// The exit code at the end of the program. A result that nobody got is a failure, though its work is done; that whoever
/// read it has seen enough is none.
pub fn finish(outcome: Result<u8, Failure>) -> Result<u8, Failure> {
    let text = |cause: &str| format!("cannot write to standard output: {cause}");
    match (output::finish(), outcome) {
        (Some(End::Closed), Err(failure)) if failure.is_output => Ok(code::DONE),
        (Some(End::Failed(_)), Err(failure)) if failure.is_output => Err(failure),
        (Some(End::Failed(cause)), Ok(code::DONE | code::PARTIAL)) => Err(Failure::failed(text(cause))),
        (Some(End::Failed(cause)), outcome) => {
            render::complain(&text(cause));
            outcome
        }
        (_, outcome) => outcome,
    }
}

fn chain(error: &error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    text
}
