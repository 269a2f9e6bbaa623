//! Where the password or the key comes from: a flag, the environment, or a question at the terminal, in this order.
//! Never from an argument, which everybody on the machine could read. Every copy is wiped after use.

pub mod keyfile;

use super::exit::{Context, Failure, code};
use super::global::Global;
use super::signal::Question;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use vault::runtime::Runtime;
use vault::source::Stream;
use vault_format::bundle::Bundle;
use vault_format::recovery;
use zeroize::Zeroizing;

/// Longest password or key file.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// What opens a repository.
#[derive(Clone)]
pub enum Secret {
    /// A password.
    Password(Zeroizing<Vec<u8>>),
    /// The bundle of a key file.
    Bundle(Box<Bundle>),
}

/// What the secret is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A repository that exists.
    Open,
    /// A new password: asked twice.
    New,
}

/// Where the secret of a second repository comes from.
pub struct Flags<'a> {
    /// File with a password.
    pub file: Option<&'a PathBuf>,
    /// Command that prints one.
    pub command: Option<&'a OsString>,
    /// Key file.
    pub key: Option<&'a PathBuf>,
    /// Variable that holds a password.
    pub variable: &'static str,
    /// How it is made, if there is none.
    pub missing: Option<String>,
    /// Variable that holds the text of a key.
    pub key_variable: &'static str,
}

enum Origin {
    File(PathBuf),
    Command(OsString),
    Key(PathBuf),
    /// The text of a key, and the variable that holds it.
    KeyText(Zeroizing<Vec<u8>>, &'static str),
    Text(Zeroizing<Vec<u8>>),
    Question,
}

impl Origin {
    fn text(text: OsString) -> Self {
        Self::Text(Zeroizing::new(text.into_vec()))
    }
}

/// True if the secret can be found without a question, be it the program's own or one of a command that finds it.
pub fn is_silent(global: &Global) -> bool {
    !matches!(origin(global, Use::Open), Origin::Question | Origin::Command(_))
}

/// True if a flag or the environment says what opens it.
pub fn is_said(global: &Global) -> bool {
    !matches!(origin(global, Use::Open), Origin::Question)
}

/// Finds the secret.
pub fn find((global, runtime): (&Global, &Runtime), purpose: Use) -> Result<Secret, Failure> {
    from_origin(origin(global, purpose), purpose, runtime)
}

/// Finds the secret of a second repository; `None` if nothing says that it differs from the first one's.
pub fn find_second(flags: &Flags<'_>, runtime: &Runtime) -> Result<Option<Secret>, Failure> {
    let origin = by_flags(flags.file, flags.command, flags.key)
        .or_else(|| key_text(flags.key_variable))
        .or_else(|| variable(flags.variable).map(Origin::text));
    origin.map(|origin| from_origin(origin, Use::Open, runtime)).transpose()
}

/// True if nobody is asked for it, and nothing is run.
pub fn is_at_hand(global: &Global) -> bool {
    !matches!(origin(global, Use::Open), Origin::Question | Origin::Command(_))
}

/// Where the secret was looked for that opens nothing.
pub fn told(global: &Global) -> String {
    let told = match origin(global, Use::Open) {
        Origin::File(path) => format!("the password is the first line of {}", path.display()),
        Origin::Command(_) => "the password is what its command printed".to_owned(),
        Origin::Text(_) => "the password is that in VAULT_PASSWORD".to_owned(),
        Origin::Key(_) | Origin::KeyText(..) | Origin::Question => return String::new(),
    };
    format!("{told}: is it of this repository?")
}

fn from_origin(origin: Origin, purpose: Use, runtime: &Runtime) -> Result<Secret, Failure> {
    let password = match origin {
        Origin::Key(path) => {
            return Ok(Secret::Bundle(keyfile::open(&read(&path)?, &path.display().to_string())?));
        }
        // a shell drops NUL bytes, so that a key in bytes is none any more
        Origin::KeyText(text, variable) if !text.is_ascii() => {
            let what = format!("{variable} holds no text, and a key in bytes does not survive there");
            return Err(Failure::usage(what).hint("it takes what `--export-key-file -` prints"));
        }
        Origin::KeyText(text, variable) => return Ok(Secret::Bundle(keyfile::open(&text, variable)?)),
        Origin::File(path) => {
            let bytes = read(&path)?;
            keyfile::refuse_as_password(&bytes, &path.display().to_string())?;
            first_line(&bytes)
        }
        Origin::Command(command) => {
            first_line(&output_of(&command, runtime).context("cannot get the password from its command")?)
        }
        Origin::Text(text) => text,
        Origin::Question if purpose == Use::Open => {
            ask(purpose, "--password-file, --password-command, --key-file, VAULT_PASSWORD or VAULT_KEY")?
        }
        Origin::Question => ask(purpose, "--password-file, --password-command or VAULT_PASSWORD")?,
    };
    if password.is_empty() {
        return Err(Failure::failed("the password is empty")
            .hint("check --password-file, --password-command or VAULT_PASSWORD"));
    }
    Ok(Secret::Password(password))
}

/// A password for a key of a repository that is open already: from a file, or asked twice.
pub fn new_password(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let password = match file {
        Some(path) => first_line(&read(path)?),
        None => ask(Use::New, "--new-password-file")?,
    };
    if password.is_empty() {
        return Err(Failure::failed("the new password is empty").hint("check --new-password-file"));
    }
    Ok(password)
}

/// The text of a recovery sheet, or its words alone: from a file, from standard input, or asked for.
pub fn sheet(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let bytes = match file {
        Some(path) => read(path)?,
        None if !std::io::stdin().is_terminal() => take(std::io::stdin().lock(), "standard input")?,
        None => return sheet_words(),
    };
    let not_text = |_| Failure::failed("cannot use the recovery sheet: it is not text");
    std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(not_text)
}

/// The words, asked for line by line.
fn sheet_words() -> Result<Zeroizing<String>, Failure> {
    let mut words = Zeroizing::new(String::with_capacity(512));
    for first in (1..=24).step_by(4) {
        loop {
            let line = prompt(&format!("words {first} to {}: ", first + 3))?;
            let line = Zeroizing::new(line.to_lowercase());
            let wrong = line.split_whitespace().position(|word| !recovery::is_word(word));
            match wrong {
                Some(at) => super::render::complain(&format!("word {} is not on the list; again", first + at)),
                None if line.split_whitespace().count() != 4 => super::render::complain("four words a line; again"),
                None => {
                    words.push_str(&line);
                    words.push(' ');
                    break;
                }
            }
        }
    }
    Ok(words)
}

fn origin(global: &Global, purpose: Use) -> Origin {
    // a new repository has no key file yet
    let is_open = purpose == Use::Open;
    let key = global.key_file.as_ref().filter(|_| is_open);
    by_flags(global.password_file.as_ref(), global.password_command.as_ref(), key)
        .or_else(|| variable("VAULT_KEY_FILE").filter(|_| is_open).map(|path| Origin::Key(path.into())))
        .or_else(|| key_text("VAULT_KEY").filter(|_| is_open))
        .or_else(|| variable("VAULT_PASSWORD_FILE").map(|path| Origin::File(path.into())))
        .or_else(|| variable("VAULT_PASSWORD_COMMAND").map(Origin::Command))
        .or_else(|| variable("VAULT_PASSWORD").map(Origin::text))
        .unwrap_or(Origin::Question)
}

/// Flags win over the environment.
fn by_flags(file: Option<&PathBuf>, command: Option<&OsString>, key: Option<&PathBuf>) -> Option<Origin> {
    let file = file.cloned().map(Origin::File);
    file.or_else(|| command.cloned().map(Origin::Command)).or_else(|| key.cloned().map(Origin::Key))
}

fn key_text(name: &'static str) -> Option<Origin> {
    variable(name).map(|text| Origin::KeyText(Zeroizing::new(text.into_vec()), name))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = path.display().to_string();
    take(std::fs::File::open(path).context(&format!("cannot read {name}"))?, &name)
}

fn take(input: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    input.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).context(&format!("cannot read {name}"))?;
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// What a command prints. It may ask at the terminal, and so shares it, Ctrl-C included.
fn output_of(command: &OsStr, runtime: &Runtime) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut program = runtime.children.start(&mut shell, false)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    if let Some(stdout) = program.take_stdout() {
        Stream::new(stdout, runtime.stop.clone()).take(SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    while program.ended()?.is_none() {
        if runtime.is_stopped() {
            return Err(std::io::Error::other("interrupted"));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let status = program.status()?;
    if status.success() { Ok(bytes) } else { Err(std::io::Error::other(vault::source::ending(status))) }
}

/// Variables of the environment that open a repository, or tell how: no program that is started gets them. A place
/// that is a URL may hold a password; credentials of stores stay, since a dump may need the same.
pub fn variables() -> Vec<OsString> {
    const OURS: [&[u8]; 5] = [b"VAULT_PASSWORD", b"VAULT_KEY", b"VAULT_TO_", b"VAULT_FROM_", b"VAULT_NEW_"];
    let is_ours = |(name, value): &(OsString, OsString)| {
        let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
        OURS.iter().any(|ours| name.starts_with(ours))
            || (name == b"VAULT_REPOSITORY" && value.windows(3).any(|part| part == b"://"))
    };
    std::env::vars_os().filter(is_ours).map(|(name, _)| name).collect()
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    let question = Question::open();
    let answer = rpassword::prompt_password(text).map(Zeroizing::new);
    drop(question);
    answer.map_err(|error| match error.kind() {
        // Ctrl-C does not come as a signal here
        std::io::ErrorKind::Interrupted => Failure::new(code::INTERRUPTED, "interrupted; nothing was done".into()),
        _ => Failure::failed(format!("cannot ask at the terminal: {error}")),
    })
}

/// Asks for a password, for a new one twice. `flags` is what to use where there is no terminal.
fn ask(purpose: Use, flags: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let what = if purpose == Use::New { "new password" } else { "password" };
    if !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("no {what} given, and no terminal to ask at")).hint(format!("use {flags}")));
    }
    let first = prompt(&format!("{what}: "))?;
    if purpose == Use::New && *prompt("the same again: ")? != *first {
        return Err(Failure::failed("the two passwords differ").hint("run the command again"));
    }
    Ok(Zeroizing::new(first.as_bytes().to_vec()))
}

/// Asks whether to go on with something that can't be undone.
pub fn confirm(global: &Global, question: &str) -> Result<(), Failure> {
    if global.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody is here to answer")).hint("say --yes if it is right"));
    }
    // the answer is typed behind the question
    let asked = super::render::safe(&format!("vault: {question} Go on? [y/N] "));
    let mut out = std::io::stderr().lock();
    let shown = out.write_all(asked.as_bytes()).and_then(|()| out.flush());
    drop(out);
    let mut answer = String::new();
    let _question = Question::open();
    match shown.and_then(|()| std::io::stdin().read_line(&mut answer)) {
        Ok(_) if is_yes(&answer) => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_yes_is_yes() {
        for answer in ["y", "Y", "yes", "Yes", "YES\n", " y \r\n"] {
            assert!(is_yes(answer), "{answer:?}");
        }
        for answer in ["", "\n", "n", "no", "N", "ye", "yess", "yes no", "oui"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }
}
