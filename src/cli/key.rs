//! `vault key`: who may open the repository, as what, and with which password; new keys, keys taken away, and the
//! recovery sheet. Secrets come from files or the terminal and go to new private files, never to a screen or an argument.

use super::printed::printed;
use super::private::Private;
use super::progress::Bar;
use super::table::{Give, Table};
use super::{Context, Failure, Outcome, Session, code, render, secret, time};
use std::path::{Path, PathBuf};
use vault::keys::{self, Draft, Entry, Noted};
use vault::repository::Repository;
use vault::time::WallTime;
use vault_format::bundle::Role;
use vault_format::id::ObjectId;
use vault_format::recovery;
use vault_format::slot::{KDF_DEFAULT, NewPassword};
use zeroize::Zeroizing;

/// Sources of which dropped snapshots are named without -v.
const SOURCES_SHOWN: usize = 20;

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
  vault key remove web-1 --drop-since '2026-11-20T14:00'")]
    Remove(RemoveArguments),
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

/// Which key goes, and what with it.
#[derive(Debug, clap::Args)]
struct RemoveArguments {
    /// Its label, or the first digits of its id, as `vault key list` shows them
    #[arg(value_name = "LABEL|ID")]
    id: String,
    /// The key was stolen: what the store received of it at this time or later does not count any more
    #[arg(long, value_name = "TIME", value_parser = time::parse_flag)]
    drop_since: Option<WallTime>,
    /// Only say what would be dropped
    #[arg(long, short = 'n', requires = "drop_since")]
    dry_run: bool,
}

fn parse_role(text: &str) -> Result<Role, String> {
    [Role::Owner, Role::Client, Role::Writer]
        .into_iter()
        .find(|role| role.to_string() == text)
        .ok_or_else(|| "a role is writer, client or owner".into())
}

printed! {
    /// What `vault key list` prints.
    struct Listing<'a>(listing: &'a keys::Listing) {
        /// Each key, oldest first.
        keys: Vec<Line<'a>> = listing.keys.iter().map(Line::of).collect(),
        /// Key slots that can't be used, with the reason.
        damaged: &'a [String] = &listing.damaged,
    }

    /// One key.
    struct Line<'a>(key: &'a Entry) {
        /// Id of its slot.
        id: String = key.id.to_string(),
        /// `owner`, `client` or `writer`.
        role: String = key.info.role.to_string(),
        /// In the owner's words.
        label: &'a str = &key.info.label,
        /// Id of its domain.
        domain: String = key.info.domain.to_string(),
        /// Id under which it writes.
        writer: String = key.writer().to_string(),
        /// When it was made.
        created: String = render::time_rfc3339(WallTime::new(key.info.created)),
        /// A password opens it; false for a key file.
        password: bool = key.has_password(),
        /// It is the key in use.
        in_use: bool = key.in_use,
        /// The owner has revoked it.
        revoked: bool = key.is_revoked,
    }

    /// What `vault key add` prints.
    struct Added<'a>(id: ObjectId, role: Role, draft: &'a Draft, file: Option<&Path>) {
        /// Id of the new slot.
        id: String = id.to_string(),
        /// `owner`, `client` or `writer`.
        role: String = role.to_string(),
        /// In the owner's words.
        label: &'a str = &draft.label,
        /// Id of its domain.
        domain: String = draft.domain.to_string(),
        /// The file that holds the key; null without one.
        key_file: Option<String> = file.map(|path| path.display().to_string()),
    }

    /// What `vault key remove` prints.
    struct Removed<'a>(key: &'a Noted, removed: &'a keys::Removed, dry_run: bool) {
        /// Id of the slot that is gone.
        id: String = key.id.to_string(),
        /// Its role.
        role: String = key.role.to_string(),
        /// In the owner's words.
        label: &'a str = &key.label,
        /// When it had been removed, if that was done before; else null.
        removed_before: Option<String> = removed.before.map(render::time_rfc3339),
        /// The key is revoked: what it writes from now on does not count.
        revoked: bool = removed.is_revoked,
        /// Snapshots of it that still count.
        accepted_snapshots: u64 = removed.snapshots,
        /// Nothing was changed.
        dry_run: bool = dry_run,
        /// What was dropped by --drop-since, by source.
        dropped: Vec<Drop<'a>> = removed.dropped.snapshots.iter().map(|(name, all)| Drop::of(name, *all)).collect(),
        /// Index objects that were dropped.
        dropped_indexes: u64 = removed.dropped.indexes,
        /// Snapshots that only this key names, and that the store does not show: lost, or never taken.
        unheard_snapshots: u64 = removed.unheard,
    }

    /// Snapshots of a source that do not count any more.
    struct Drop<'a>(name: &'a str, snapshots: u64) {
        /// Name of the source.
        name: &'a str = name,
        /// How many.
        snapshots: u64 = snapshots,
    }

    /// What `vault key passwd` prints.
    struct Changed(id: ObjectId) {
        /// Id of the new slot.
        id: String = id.to_string(),
    }
}

/// Runs a command about keys.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let repository = session.open()?;
    match &arguments.command {
        Command::List => list(session, &repository),
        Command::Add(arguments) => add(session, &repository, arguments),
        Command::Remove(arguments) => remove(session, &repository, arguments),
        Command::Passwd { new_password_file } => passwd(session, &repository, new_password_file.as_deref()),
        Command::Sheet { sheet: Some(path) } => write_sheet(session, &repository, path),
        Command::Sheet { sheet: None } => {
            render::text(&sheet(&repository)?);
            Ok(code::DONE)
        }
    }
}

fn list(session: &Session, repository: &Repository) -> Outcome {
    let listing = keys::list(repository).context("cannot list the keys")?;
    render::damage(&listing.damaged);
    if session.global.json {
        render::json(&Listing::of(&listing));
        return Ok(code::DONE);
    }
    Table::of(&listing.keys)
        .text("ID", Give::Never, |key| key.id.short())
        .text("ROLE", Give::Never, |key| key.info.role.to_string())
        .text("LABEL", Give::End(8), |key| key.info.label.as_str())
        .text("DOMAIN", Give::Drop(2), |key| key.info.domain.short())
        .text("CREATED", Give::Drop(1), |key| WallTime::new(key.info.created))
        .text("OPENS WITH", Give::Never, |key| {
            let opens = if key.has_password() { "password" } else { "key file" };
            let (in_use, revoked) = (key.in_use, key.is_revoked);
            format!("{opens}{}{}", if in_use { " (in use)" } else { "" }, if revoked { " (revoked)" } else { "" })
        })
        .print();
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
    let exported = arguments.export_key_file.as_deref();
    let is_text = exported == Some(Path::new("-"));
    if is_text && session.global.json {
        return Err(
            Failure::usage("--export-key-file - and --json both want standard output").hint("give the key a file")
        );
    }
    let path = exported.filter(|_| !is_text);
    let mut file = path.map(|path| Private::create(path, "the key file")).transpose()?;
    if is_text {
        // nothing else may stand there: `VAULT_KEY=$(vault key add …)`
        let text = secret::keyfile::to_text(&draft.key_file().context(&what)?);
        render::text(&Zeroizing::new(format!("{}\n", *text)));
    }
    if let Some(file) = &mut file {
        // safe on disk before the key counts
        let bytes = draft.key_file().context("cannot write the key file")?;
        file.write(&bytes).context("cannot write the key file")?;
    }
    let id = keys::add(repository, &draft, password, &Bar::hidden()).context(&what)?;
    file.into_iter().for_each(Private::keep);
    session.global.print(&Added::of(id, arguments.role, &draft, path));
    let label = render::safe(&draft.label);
    let said = format!("added key {}: {} {label}, domain {}", id.short(), arguments.role, draft.domain.short());
    if is_text {
        session.global.remark(&format!("{said}; whoever reads this line has the key"));
        return Ok(code::DONE);
    }
    session.say(&said);
    if let Some(path) = path {
        session.say(&format!("key file: {}; whoever reads it has the key", path.display()));
    }
    Ok(code::DONE)
}

fn remove(session: &Session, repository: &Repository, arguments: &RemoveArguments) -> Outcome {
    let what = format!("cannot remove key {}", render::safe(&arguments.id));
    repository.keys().owner("remove a key").context("")?;
    let listing = keys::list(repository).context(&what)?;
    let Some(key) = listing.look_up(&arguments.id).context(&what)? else {
        return match keys::gone(repository, &listing.keys, &arguments.id).context(&what)? {
            Some(gone) => remove_gone((session, repository), &gone, arguments, &what),
            None => listing.find(&arguments.id).map(|_| code::DONE).context(&what),
        };
    };
    if key.in_use && !arguments.dry_run {
        let question = format!("Key {} is the one in use: it will not open any more.", key.id.short());
        secret::confirm(&session.global, &question)?;
    }
    let removed = match arguments.drop_since {
        Some(since) if arguments.dry_run => {
            let mut would = keys::Removed::default();
            would.dropped = keys::would_drop(repository, key.id, since).context(&what)?;
            would
        }
        Some(since) => keys::remove_and_drop(repository, key.id, since, &Bar::hidden()).context(&what)?,
        None => keys::remove(repository, key.id, &Bar::hidden()).context(&what)?,
    };
    say_removed(session, &key.noted(), &removed, arguments);
    Ok(code::DONE)
}

/// What was removed before is a success once more, so that two machines or a line of cron may say it; of a key whose slot
/// somebody has deleted the rest is done.
fn remove_gone(
    (session, repository): (&Session, &Repository),
    gone: &keys::Gone,
    arguments: &RemoveArguments,
    what: &str,
) -> Outcome {
    let removed = match arguments.drop_since {
        Some(since) if arguments.dry_run => {
            let mut would = keys::Removed::default();
            would.before = gone.removed;
            would.dropped = gone.would_drop(repository, since).context(what)?;
            would
        }
        since => gone.remove(repository, since, &Bar::hidden()).context(what)?,
    };
    if gone.removed.is_none() && !arguments.dry_run {
        session.global.remark("note: its slot was not there any more: somebody has deleted it in the store");
    }
    say_removed(session, &gone.key, &removed, arguments);
    Ok(code::DONE)
}

fn say_removed(session: &Session, key: &Noted, removed: &keys::Removed, arguments: &RemoveArguments) {
    session.global.print(&Removed::of(key, removed, arguments.dry_run));
    let kept = match (key.role, removed.is_revoked) {
        (Role::Owner, _) => "; whoever opened the repository with it may still have the root key".to_owned(),
        (_, true) => format!("; what it took stays: {}", render::count(removed.snapshots, "snapshot", "snapshots")),
        (_, false) => "; another slot holds the same key, so it still counts".to_owned(),
    };
    let named = format!("key {}: {} {}", key.id.short(), key.role, render::safe(&key.label));
    match removed.before {
        Some(before) => session.say(&format!("removed already on {}: {named}", render::time(before))),
        None if arguments.dry_run => {}
        None => session.say(&format!("removed {named}{kept}")),
    }
    if removed.unheard > 0 && arguments.drop_since.is_none() {
        let snapshots = render::count(removed.unheard, "snapshot that", "snapshots that");
        session.global.remark(&format!("note: {snapshots} only this key names are not there: lost, or never taken"));
    }
    if arguments.drop_since.is_some() {
        say_dropped(session, &removed.dropped, if arguments.dry_run { "would drop" } else { "dropped" });
    }
}

/// How many snapshots, and of which sources.
fn say_dropped(session: &Session, dropped: &keys::Dropped, done: &str) {
    let objects = render::count(dropped.indexes, "index object", "index objects");
    session.say(&format!("{done} {}, {objects}", render::count(dropped.count(), "snapshot", "snapshots")));
    let shown = if session.global.verbose { usize::MAX } else { SOURCES_SHOWN };
    for (name, all) in dropped.snapshots.iter().take(shown) {
        session.say(&format!("  {}: {}", render::safe(name), render::count(*all, "snapshot", "snapshots")));
    }
    if let more @ 1.. = dropped.snapshots.len().saturating_sub(shown) {
        session.say(&format!("  and {}; -v names all", render::count(more as u64, "more source", "more sources")));
    }
}

fn passwd(session: &Session, repository: &Repository, file: Option<&Path>) -> Outcome {
    repository.keys().owner("change a password").context("")?;
    let password = secret::new_password(file)?;
    let new = NewPassword { password: &password, kdf: KDF_DEFAULT };
    let id = keys::change_password(repository, new, &Bar::hidden()).context("cannot change the password")?;
    session.global.print(&Changed::of(id));
    session.say(&format!("changed the password; it is key {} now", id.short()));
    Ok(code::DONE)
}

fn write_sheet(session: &Session, repository: &Repository, path: &Path) -> Outcome {
    let text = sheet(repository)?;
    let mut file = Private::create(path, "the recovery sheet")?;
    file.write(text.as_bytes()).context(&format!("cannot write the recovery sheet to {}", path.display()))?;
    file.keep();
    say_sheet(session, path);
    Ok(code::DONE)
}

/// Where the sheet is, and what to do with it.
pub fn say_sheet(session: &Session, path: &Path) {
    session.say(&format!("recovery sheet: {}; print it, lock it away, and delete the file", path.display()));
}

/// The text of the sheet.
pub fn sheet(repository: &Repository) -> Result<Zeroizing<String>, Failure> {
    let owner = repository.keys().owner("print the recovery sheet").context("")?;
    recovery::sheet(owner.root(), repository.id(), &repository.location())
        .map_err(|error| Failure::failed(format!("cannot print the recovery sheet: {error}")))
}
