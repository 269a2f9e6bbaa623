//! `vault key`: who may open the repository, as what, and with which password; new keys, keys taken away, and the
//! recovery sheet. Secrets come from files or the terminal and go to new private files, never to a screen or an argument.

use super::exit::{Context, Failure, code};
use super::progress::Bar;
use super::session::Session;
use super::table::{Cell, Give, Table};
use super::{Outcome, render, secret};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use vault::keys::{self, Draft, Entry};
use vault::repository::Repository;
use vault::time::WallTime;
use vault_format::bundle::Role;
use vault_format::recovery;
use vault_format::slot::{KDF_DEFAULT, NewPassword};
use zeroize::Zeroizing;

/// Keys of the repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault key list --repository /srv/backup
  vault key add --role writer --label web-1 --export-key-file web-1.key")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the keys: role, label, domain; every key may
    #[command(after_help = "Examples:
  vault key list --repository /srv/backup
  vault key list --json")]
    List,
    /// Add a key for a machine or a person, with a password or as a key file
    #[command(after_help = "Examples:
  vault key add --role writer --label web-1 --export-key-file web-1.key
  vault key add --role client --label ci --export-key-file -
  vault key add --role owner --label deputy --new-password-file deputy-password")]
    Add(AddArguments),
    /// Take a key away: what it wrote so far stays, what it writes from now on does not count
    #[command(after_help = "Examples:
  vault key remove web-1
  vault key remove 3f9a12 --yes")]
    Remove {
        /// Its label, or the first digits of its id, as `vault key list` shows them
        #[arg(value_name = "LABEL|ID")]
        id: String,
    },
    /// Change the password in use
    #[command(after_help = "Examples:
  vault key passwd
  vault key passwd --new-password-file /etc/vault/password.new")]
    Passwd {
        /// Read the new password from the first line of this file
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Print the recovery sheet: 24 words that open the repository when every password is lost
    #[command(after_help = "Examples:
  vault key sheet --repository /srv/backup
  vault key sheet --sheet /etc/vault/sheet.txt")]
    Sheet {
        /// Write it to this new file, which only its owner can read, instead of standard output
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
    },
}

/// What the new key is.
#[derive(Debug, clap::Args)]
struct AddArguments {
    /// writer: writes, reads nothing; client: writes, and reads what its domain wrote; owner: everything
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    role: Role,
    /// Join this domain: its members share what they store and see each other's ids and sizes [default: a domain of
    /// its own, named as the key]
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// What to call the key [default: its role and a number]
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Read the password of the key from the first line of this file [default: a question at the terminal, or none
    /// with --export-key-file]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Write the key to this new file, for --key-file: whoever reads the file has the key; - prints it as one line of
    /// text, for VAULT_KEY
    #[arg(long, value_name = "FILE")]
    export_key_file: Option<PathBuf>,
}

fn parse_role(text: &str) -> Result<Role, String> {
    [Role::Owner, Role::Client, Role::Writer]
        .into_iter()
        .find(|role| role.to_string() == text)
        .ok_or_else(|| "a role is writer, client or owner".into())
}

/// What `vault key list` prints.
#[derive(Serialize)]
struct Listing {
    /// Each key, oldest first.
    keys: Vec<Line>,
    /// Key slots that can't be used, with the reason.
    damaged: Vec<String>,
}

/// One key.
#[derive(Serialize)]
struct Line {
    /// Id of its slot.
    id: String,
    /// `owner`, `client` or `writer`.
    role: String,
    /// In the owner's words.
    label: String,
    /// Id of its domain.
    domain: String,
    /// Id under which it writes.
    writer: String,
    /// When it was made.
    created: String,
    /// A password opens it; false for a key file.
    password: bool,
    /// It is the key in use.
    in_use: bool,
    /// The owner has revoked it.
    revoked: bool,
}

/// What `vault key add` prints.
#[derive(Serialize)]
struct Added<'a> {
    /// Id of the new slot.
    id: String,
    /// `owner`, `client` or `writer`.
    role: String,
    /// In the owner's words.
    label: &'a str,
    /// Id of its domain.
    domain: String,
    /// The file that holds the key; null without one.
    key_file: Option<String>,
}

/// What `vault key remove` prints.
#[derive(Serialize)]
struct Removed<'a> {
    /// Id of the slot that is gone.
    id: String,
    /// Its role.
    role: String,
    /// In the owner's words.
    label: &'a str,
    /// The key is revoked: what it writes from now on does not count.
    revoked: bool,
    /// Snapshots of it that still count.
    accepted_snapshots: u64,
}

/// What `vault key passwd` prints.
#[derive(Serialize)]
struct Changed {
    /// Id of the new slot.
    id: String,
}

/// Runs a command about keys.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    match &arguments.command {
        Command::List => list(session, &repository),
        Command::Add(arguments) => add(session, &repository, arguments),
        Command::Remove { id } => remove(session, &repository, id),
        Command::Passwd { new_password_file } => passwd(session, &repository, new_password_file.as_deref()),
        Command::Sheet { sheet: Some(path) } => write_sheet(session, &repository, path),
        Command::Sheet { sheet: None } => {
            render::text(&sheet(&repository)?);
            Ok(code::DONE)
        }
    }
}

impl Line {
    fn of(key: &Entry) -> Self {
        Self {
            id: key.id.to_string(),
            role: key.info.role.to_string(),
            label: key.info.label.clone(),
            domain: key.info.domain.to_string(),
            writer: key.writer().to_string(),
            created: render::time_rfc3339(WallTime::new(key.info.created)),
            password: key.has_password(),
            in_use: key.in_use,
            revoked: key.is_revoked,
        }
    }
}

fn list(session: &Session, repository: &Repository) -> Outcome {
    let listing = keys::list(repository).context("cannot list the keys")?;
    listing
        .damaged
        .iter()
        .for_each(|damage| render::complain(&format!("{}; see `vault check`", super::plain::line(damage))));
    if session.global.json {
        render::json(&Listing { keys: listing.keys.iter().map(Line::of).collect(), damaged: listing.damaged });
        return Ok(code::DONE);
    }
    let mut table = Table::new()
        .text("ID", Give::Never)
        .text("ROLE", Give::Never)
        .text("LABEL", Give::End(8))
        .text("DOMAIN", Give::Drop(2))
        .text("CREATED", Give::Drop(1))
        .text("OPENS WITH", Give::Never);
    for key in &listing.keys {
        let mut opens = if key.has_password() { "password" } else { "key file" }.to_owned();
        if key.in_use {
            opens.push_str(" (in use)");
        }
        if key.is_revoked {
            opens.push_str(" (revoked)");
        }
        let label = render::safe(&key.info.label);
        let (role, domain) = (key.info.role.to_string(), key.info.domain.short());
        let created = Cell::Time(WallTime::new(key.info.created));
        table.row(vec![key.id.short().into(), role.into(), label.into(), domain.into(), created, opens.into()]);
    }
    table.print();
    Ok(code::DONE)
}

fn add(session: &Session, repository: &Repository, arguments: &AddArguments) -> Outcome {
    let what = format!("cannot add a {}'s key", arguments.role);
    repository.keys().owner("add a key").context("")?;
    let (label, domain) = (arguments.label.clone(), arguments.domain.clone());
    let draft = keys::draft(repository, &keys::NewKey { role: arguments.role, label, domain }).context(&what)?;
    let password = match (&arguments.new_password_file, &arguments.export_key_file) {
        (None, Some(_)) => None,
        (file, _) => Some(secret::new_password(file.as_deref())?),
    };
    let password = password.as_ref().map(|password| NewPassword { password, kdf: KDF_DEFAULT });
    let progress = Bar::hidden();
    let exported = arguments.export_key_file.as_deref();
    let is_text = exported == Some(Path::new("-"));
    if is_text && session.global.json {
        return Err(Failure::new(code::USAGE, "--export-key-file - and --json both want standard output".into())
            .hint("give the key a file"));
    }
    let path = exported.filter(|_| !is_text);
    let file = path.map(|path| create_private(path, "the key file")).transpose()?;
    if is_text {
        // nothing else may stand there: `VAULT_KEY=$(vault key add …)`
        let text = secret::keyfile::to_text(&draft.key_file().context(&what)?);
        render::text(&Zeroizing::new(format!("{}\n", *text)));
    }
    let exported = file.map_or(Ok(()), |file| export(&draft, file));
    let added = exported.and_then(|()| keys::add(repository, &draft, password, &progress).context(&what));
    if let (Err(_), Some(path)) = (&added, path) {
        // a key that nobody announced is of no use, and the failure is what matters
        let _ = std::fs::remove_file(path);
    }
    let id = added?;
    if session.global.json {
        let key_file = path.map(|path| path.display().to_string());
        let (role, domain) = (arguments.role.to_string(), draft.domain.to_string());
        render::json(&Added { id: id.to_string(), role, label: &draft.label, domain, key_file });
    }
    let label = render::safe(&draft.label);
    let said = format!("added key {}: {} {label}, domain {}", id.short(), arguments.role, draft.domain.short());
    if is_text {
        if !session.global.quiet {
            render::complain(&format!("{said}; whoever reads this line has the key"));
        }
        return Ok(code::DONE);
    }
    session.say(&said);
    if let Some(path) = path {
        session.say(&format!("key file: {}; whoever reads it has the key", path.display()));
    }
    Ok(code::DONE)
}

/// The file is safe on disk before the key counts.
fn export(draft: &Draft, mut file: File) -> Result<(), Failure> {
    let text = draft.key_file().context("cannot write the key file")?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::new(code::FAILED, super::plain::line(&format!("cannot write the key file: {error}"))))
}

fn remove(session: &Session, repository: &Repository, id: &str) -> Outcome {
    let what = format!("cannot remove key {}", render::safe(id));
    repository.keys().owner("remove a key").context("")?;
    let listing = keys::list(repository).context(&what)?;
    let key = listing.find(id).context(&what)?;
    if key.in_use {
        secret::confirm(
            &session.global,
            &format!("Key {} is the one in use: it will not open any more.", key.id.short()),
        )?;
    }
    let progress = Bar::hidden();
    let removed = keys::remove(repository, key.id, &progress);
    let removed = removed.context(&what)?;
    let (role, label) = (key.info.role.to_string(), &key.info.label);
    if session.global.json {
        let (revoked, accepted_snapshots) = (removed.is_revoked, removed.snapshots);
        render::json(&Removed { id: key.id.to_string(), role: role.clone(), label, revoked, accepted_snapshots });
    }
    let kept = match (key.info.role, removed.is_revoked) {
        (Role::Owner, _) => "; whoever opened the repository with it may still have the root key".to_owned(),
        (_, true) => format!("; what it took stays: {}", render::count(removed.snapshots, "snapshot", "snapshots")),
        (_, false) => "; another slot holds the same key, so it still counts".to_owned(),
    };
    session.say(&format!("removed key {}: {role} {}{kept}", key.id.short(), render::safe(label)));
    Ok(code::DONE)
}

fn passwd(session: &Session, repository: &Repository, file: Option<&Path>) -> Outcome {
    repository.keys().owner("change a password").context("")?;
    let password = secret::new_password(file)?;
    let progress = Bar::hidden();
    let changed = keys::change_password(repository, NewPassword { password: &password, kdf: KDF_DEFAULT }, &progress);
    let id = changed.context("cannot change the password")?;
    if session.global.json {
        render::json(&Changed { id: id.to_string() });
    }
    session.say(&format!("changed the password; it is key {} now", id.short()));
    Ok(code::DONE)
}

fn write_sheet(session: &Session, repository: &Repository, path: &Path) -> Outcome {
    let text = sheet(repository)?;
    let mut file = create_private(path, "the recovery sheet")?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // half a sheet is of no use, and the failure is what matters
        let _ = std::fs::remove_file(path);
        let text = format!("cannot write the recovery sheet to {}: {error}", path.display());
        Failure::new(code::FAILED, super::plain::line(&text))
    })?;
    session.say(&format!("recovery sheet: {}; print it, lock it away, and delete the file", path.display()));
    Ok(code::DONE)
}

/// The text of the sheet.
pub fn sheet(repository: &Repository) -> Result<Zeroizing<String>, Failure> {
    let owner = repository.keys().owner("print the recovery sheet").context("")?;
    recovery::sheet(owner.root(), repository.id(), &repository.location())
        .map_err(|error| Failure::new(code::FAILED, format!("cannot print the recovery sheet: {error}")))
}

/// A new file that only its owner can read.
pub fn create_private(path: &Path, what: &str) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let text = format!("cannot write {what} to {}: {error}", path.display());
        Failure::new(code::FAILED, super::plain::line(&text)).hint("name a file that does not exist yet")
    })
}
