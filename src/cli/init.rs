//! `vault init`: makes a repository in an empty place, perhaps like another one, and hands out its recovery sheet; or
//! makes again, from that sheet, what a repository has lost. The sheet's file is made before the repository, so that a
//! sheet that can't be written leaves nothing behind.

use super::printed::printed;
use super::private::Private;
use super::session::{Session, parse_location};
use super::{Context, Failure, Outcome, code, exit, key, render, secret};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use vault::repository::{NewRepository, Recovered, Recovery, Repository};
use vault_format::key::Key;
use vault_format::recovery;
use zeroize::Zeroizing;

/// No sheet is longer.
const SHEET_BYTES: usize = 8192;

/// Make a new repository, or recover one from its sheet
///
/// With --recover, packs and snapshots are all that has to be left: config, index and a key slot with the new password
/// are made again, and what is good stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault init --repository /srv/backup --password-file /etc/vault/password \\
    --sheet /etc/vault/sheet.txt
  vault init --recover --repository /srv/backup --sheet /etc/vault/sheet.txt")]
pub struct Arguments {
    /// Write the recovery sheet to this new file: print it, lock it away, and delete the file; with --recover, read the
    /// sheet, or its 24 words, from this file [default with --recover: standard input, or a question at the terminal]
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Share the root key, and so the ids of all content, with this other repository, so that copies between the two
    /// move only what is new; the password or key file given must be its owner's
    #[arg(long, value_name = "LOCATION", conflicts_with = "recover")]
    like: Option<String>,
    /// With --like, read the password of the new repository from the first line of this file [default: the same
    /// password]
    #[arg(long, value_name = "FILE", requires = "like")]
    new_password_file: Option<PathBuf>,
    /// Recover the repository from its sheet, and give it the password as a new one
    #[arg(long)]
    recover: bool,
}

printed! {
    /// What `vault init` prints.
    struct Made(made: &Repository) {
        /// Id of the repository.
        repository: String = made.id().to_string(),
        /// Where it is, without secrets.
        location: String = made.location(),
    }

    /// What `vault init --recover` prints.
    struct Recovering(recovered: &Repository, report: &Recovered, vouched_snapshots: u64, damaged: Vec<String>) {
        /// Id of the repository.
        repository: String = recovered.id().to_string(),
        /// Where it is, without secrets.
        location: String = recovered.location(),
        /// The config or its copy was lost, and made again.
        config_restored: bool = report.config,
        /// Neither was left: keys from before may no longer fit.
        new_config: bool = report.new_config,
        /// Packs that are in an index again.
        indexed_packs: u64 = report.index.packs,
        /// Snapshots of lost keys that count because the owner vouches for them.
        vouched_snapshots: u64 = vouched_snapshots,
        /// Snapshots and packs that can't be used, with the reason.
        damaged: Vec<String> = damaged,
    }
}

/// Makes or recovers the repository.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    session.location()?;
    if arguments.recover {
        return recover(session, arguments);
    }
    let (password, like) = secrets(session, arguments)?;
    let backend = session.backend(true)?;
    if let Some(caveat) = backend.caveat() {
        render::complain(&format!("note: {caveat}; see docs/locations.md"));
    }
    let lag = backend.listing_lag();
    if !lag.is_zero() && !backend.is_local() {
        session.say(&format!(
            "waiting {} minutes, since this kind of store may list late: another init there would be seen then",
            lag.as_secs().div_ceil(60)
        ));
    }
    let sheet = arguments.sheet.as_deref().map(reserve).transpose()?;
    let new = NewRepository { like, ..NewRepository::new(&password) };
    let repository = Repository::init(backend, session.runtime.clone(), session.repository_options(), new)
        .context("cannot make a repository")?;
    session.global.print(&Made::of(&repository));
    session.say(&format!("made repository {} at {}", repository.id().short(), repository.location()));
    if let (Some(mut file), Some(path)) = (sheet, &arguments.sheet) {
        let text = key::sheet(&repository)?;
        file.write(text.as_bytes())
            .context("the repository is made, but its sheet could not be written")
            .map_err(|failure| failure.hint("`vault key sheet --sheet FILE` writes it again"))?;
        file.keep();
        key::say_sheet(session, path);
    } else if std::io::stdout().is_terminal() && !session.global.json && !session.global.quiet {
        render::text(&key::sheet(&repository)?);
    } else {
        render::complain(
            "note: no recovery sheet was written; without it a lost password loses everything; \
             `vault key sheet --sheet FILE` writes it",
        );
    }
    Ok(code::DONE)
}

/// The file of the sheet, with as much in it as any sheet is long: a place that has no room for it says so before there
/// is a repository.
fn reserve(path: &Path) -> Result<Private, Failure> {
    let mut file = Private::create(path, "the recovery sheet")?;
    file.write(&[b'\n'; SHEET_BYTES]).map_err(|error| {
        let what = format!("cannot write the recovery sheet to {}", path.display());
        Failure::failed(format!("{what}: {error}; no repository was made"))
    })?;
    Ok(file)
}

/// The password of the new repository, and the root of the one that it is to be like.
fn secrets(session: &Session, arguments: &Arguments) -> Result<(Zeroizing<Vec<u8>>, Option<Key>), Failure> {
    let Some(like) = &arguments.like else {
        return Ok((new_password(session)?, None));
    };
    let other = session.backend_at(&parse_location(like)?, false)?;
    exit::probe(&other)?;
    let opener = secret::find((&session.global, &session.runtime), secret::Use::Open)?;
    let same = match (&opener, &arguments.new_password_file) {
        (secret::Secret::Password(password), None) => Some(password.clone()),
        _ => None,
    };
    let what = format!("cannot make a repository like {like}");
    let other = session.open_with(other, opener)?;
    let root = other.keys().owner("share its root key").context(&what)?.root().clone();
    let password = match same {
        Some(password) => password,
        None => secret::new_password(arguments.new_password_file.as_deref())?,
    };
    Ok((password, Some(root)))
}

fn new_password(session: &Session) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match secret::find((&session.global, &session.runtime), secret::Use::New)? {
        secret::Secret::Password(password) => Ok(password),
        secret::Secret::Bundle(_) => Err(Failure::usage("a new repository needs a password")),
    }
}

fn recover(session: &Session, arguments: &Arguments) -> Outcome {
    let backend = session.backend(false)?;
    let text = secret::sheet(arguments.sheet.as_deref())?;
    let sheet = recovery::read(&text).map_err(|error| {
        Failure::new(code::WRONG_PASSWORD, format!("cannot use the recovery words: {error}"))
            .hint(recovery::doubt(&text).unwrap_or_else(|| "compare them with the sheet".into()))
    })?;
    let password = new_password(session)?;
    let (runtime, options) = (session.runtime.clone(), session.repository_options());
    let recovery = Recovery::new(sheet.root, sheet.repository, &password);
    let (repository, report) = session
        .progress("reading packs")
        .during(|progress| Repository::recover(backend, runtime, options, recovery, progress))
        .context("cannot recover the repository")?;
    let vouched_snapshots = report.vouched.values().sum();
    let damaged: Vec<String> = report.damaged.iter().chain(&report.index.unreadable).cloned().collect();
    render::damage(&damaged);
    session.global.print(&Recovering::of(&repository, &report, vouched_snapshots, damaged));
    let location = repository.location();
    session.say(&format!("recovered repository {} at {location}; the new password opens it", repository.id().short()));
    tell(session, &report, vouched_snapshots);
    session.say_requests(&repository);
    Ok(code::DONE)
}

/// What was made again, and what follows for other keys.
fn tell(session: &Session, report: &Recovered, vouched_snapshots: u64) {
    if report.other_sheet {
        session.say("the sheet is that of another repository with the same words; `vault key sheet` prints this one's");
    }
    if report.new_config {
        session.say("config: made again; key files and passwords from before may not open it any more");
    } else if report.config {
        session.say("config: restored from its copy, or the copy from it");
    }
    if report.index.packs > 0 {
        session.say(&format!("index: made again for {}", render::count(report.index.packs, "pack", "packs")));
    }
    if !report.vouched.is_empty() {
        session.say(&format!(
            "{} of {} without a key slot count as they are; give these machines new keys: `vault key add --role writer --export-key-file FILE`",
            render::count(vouched_snapshots, "snapshot", "snapshots"),
            render::count(report.vouched.len() as u64, "writer", "writers")
        ));
    }
}
