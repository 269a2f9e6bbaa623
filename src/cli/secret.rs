//! Where the password or the key comes from: a flag, the environment, or a question at the terminal, in this order.
//! Never from an argument, which everybody on the machine could read. Every copy is wiped after use.

use super::Global;
use super::exit::{Failure, code};
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use vault_format::secret::Bundle;
use vault_format::slot;
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
}

enum Origin {
    File(PathBuf),
    Command(OsString),
    Key(PathBuf),
    Text(Zeroizing<Vec<u8>>),
    Question,
}

/// True if the secret can be found without a question, be it the program's own or one of a command that finds it.
pub fn is_silent(global: &Global) -> bool {
    !matches!(origin(global, Use::Open), Origin::Question | Origin::Command(_))
}

/// Finds the secret.
pub fn find(global: &Global, purpose: Use) -> Result<Secret, Failure> {
    from_origin(origin(global, purpose), purpose)
}

/// Finds the secret of a second repository; `None` if nothing says that it differs from the first one's.
pub fn find_second(flags: &Flags<'_>) -> Result<Option<Secret>, Failure> {
    let variable = std::env::var_os(flags.variable).filter(|value| !value.is_empty());
    let origins = [
        flags.file.cloned().map(Origin::File),
        flags.command.cloned().map(Origin::Command),
        flags.key.cloned().map(Origin::Key),
        variable.map(|text| Origin::Text(Zeroizing::new(text.into_vec()))),
    ];
    origins.into_iter().flatten().next().map(|origin| from_origin(origin, Use::Open)).transpose()
}

fn from_origin(origin: Origin, purpose: Use) -> Result<Secret, Failure> {
    let password = match origin {
        Origin::Key(path) => {
            let bytes = read(&path)?;
            let bundle = slot::open_key_file(&bytes).map_err(|error| {
                Failure::new(code::FAILED, format!("cannot use the key file {}: {error}", path.display()))
            })?;
            return Ok(Secret::Bundle(Box::new(bundle)));
        }
        Origin::File(path) => first_line(&read(&path)?),
        Origin::Command(command) => from_command(&command)?,
        Origin::Text(text) => text,
        Origin::Question => ask(purpose)?,
    };
    if password.is_empty() {
        return Err(Failure::new(code::FAILED, "the password is empty".into())
            .hint("check --password-file, --password-command or VAULT_PASSWORD"));
    }
    Ok(Secret::Password(password))
}

fn origin(global: &Global, purpose: Use) -> Origin {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // flags win over the environment; a new repository has no key file yet
    let flags = [
        global.password_file.clone().map(Origin::File),
        global.password_command.clone().map(Origin::Command),
        global.key_file.clone().filter(|_| purpose == Use::Open).map(Origin::Key),
    ];
    flags
        .into_iter()
        .flatten()
        .next()
        .or_else(|| {
            let key = variable("VAULT_KEY_FILE").filter(|_| purpose == Use::Open);
            key.map(|path| Origin::Key(path.into()))
        })
        .or_else(|| variable("VAULT_PASSWORD_FILE").map(|path| Origin::File(path.into())))
        .or_else(|| variable("VAULT_PASSWORD_COMMAND").map(Origin::Command))
        .or_else(|| variable("VAULT_PASSWORD").map(|text| Origin::Text(Zeroizing::new(text.into_vec()))))
        .unwrap_or(Origin::Question)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    std::fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)).map_err(
        |error| Failure::new(code::FAILED, super::exit::plain(&format!("cannot read {}: {error}", path.display()))),
    )?;
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn from_command(command: &OsStr) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed =
        |cause: String| Failure::new(code::FAILED, format!("cannot get the password from its command: {cause}"));
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let bytes = Zeroizing::new(output.stdout);
    if output.status.success() { Ok(first_line(&bytes)) } else { Err(failed(output.status.to_string())) }
}

fn ask(purpose: Use) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !std::io::stderr().is_terminal() {
        return Err(Failure::new(code::USAGE, "no password given, and no terminal to ask at".into())
            .hint("use --password-file, --password-command, VAULT_PASSWORD or --key-file"));
    }
    let prompt = |text: &str| {
        rpassword::prompt_password(text)
            .map(Zeroizing::new)
            .map_err(|error| Failure::new(code::FAILED, format!("cannot ask for the password: {error}")))
    };
    if purpose == Use::Open {
        let password = prompt("password: ")?;
        return Ok(Zeroizing::new(password.as_bytes().to_vec()));
    }
    let first = prompt("password of the new repository: ")?;
    let second = prompt("the same again: ")?;
    if *first != *second {
        return Err(Failure::new(code::FAILED, "the two passwords differ".into()).hint("run `vault init` again"));
    }
    Ok(Zeroizing::new(OsStr::as_bytes(first.as_str().as_ref()).to_vec()))
}

/// Asks whether to go on with something that can't be undone.
pub fn confirm(global: &Global, question: &str) -> Result<(), Failure> {
    if global.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Failure::new(code::USAGE, format!("{question} Nobody is here to answer")).hint("say --yes if it is right")
        );
    }
    super::render::complain(&format!("{question} Type yes to go on:"));
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(Failure::new(code::FAILED, "nothing was done".into())),
    }
}
