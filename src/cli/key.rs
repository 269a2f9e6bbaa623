//! `vault key`: what belongs to the keys of a repository. So far the recovery sheet, which only the owner can print.

use super::exit::{Context, Failure, code};
use super::{Outcome, Session, render};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use vault::repository::Repository;
use vault_format::recovery;
use zeroize::Zeroizing;

/// Keys of the repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault key sheet --repository /srv/backup
  vault key sheet > /root/vault-sheet.txt")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the recovery sheet: 24 words that open the repository when every password is lost
    #[command(after_help = "Examples:
  vault key sheet --repository /srv/backup
  vault key sheet > /root/vault-sheet.txt")]
    Sheet,
}

/// Runs a command about keys.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    match arguments.command {
        Command::Sheet => {
            let repository = session.open()?;
            render::text(&sheet(&repository)?);
            Ok(code::DONE)
        }
    }
}

/// The text of the sheet.
pub fn sheet(repository: &Repository) -> Result<Zeroizing<String>, Failure> {
    let owner = repository.keys().owner("print the recovery sheet").context("")?;
    recovery::sheet(owner.root(), repository.id(), &repository.location())
        .map_err(|error| Failure::new(code::FAILED, format!("cannot print the recovery sheet: {error}")))
}

/// A new file that only its owner can read.
pub fn create_sheet(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let text = format!("cannot write the recovery sheet to {}: {error}", path.display());
        Failure::new(code::FAILED, super::exit::plain(&text)).hint("name a file that does not exist yet")
    })
}
