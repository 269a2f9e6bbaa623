//! `vault init`: makes a repository in an empty place, and hands out its recovery sheet. The sheet's file is made
//! before the repository, so that a sheet that can't be written leaves nothing behind.

use super::exit::{Context, Failure, code};
use super::{Outcome, Session, key, render, secret};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use vault::repository::{NewRepository, Repository};

/// Make a new repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault init --repository /srv/backup --password-file /etc/vault/password --sheet /root/vault-sheet.txt
  vault init --repository 's3://backups/app?region=eu-central-1'")]
pub struct Arguments {
    /// Write the recovery sheet to this new file: print it, lock it away, and delete the file
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made {
    repository: String,
    location: String,
}

/// Makes the repository.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    session.location()?;
    let secret::Secret::Password(password) = secret::find(&session.global, secret::Use::New)? else {
        return Err(Failure::new(code::USAGE, "a new repository needs a password".into()));
    };
    session.listen_to_signals()?;
    let backend = session.backend(true)?;
    let sheet = arguments.sheet.as_ref().map(|path| key::create_sheet(path)).transpose()?;
    let new = NewRepository::new(&password);
    let made = Repository::init(backend, session.runtime.clone(), session.repository_options(), new)
        .context("cannot make a repository");
    let repository = match made {
        Ok(repository) => repository,
        Err(failure) => {
            if let Some(path) = &arguments.sheet {
                // it is empty, and the failure is what matters
                let _ = std::fs::remove_file(path);
            }
            return Err(failure);
        }
    };
    let location = repository.location();
    if session.global.json {
        render::json(&Made { repository: repository.id().to_string(), location: location.clone() });
    }
    session.say(&format!("made repository {} at {location}", repository.id().short()));
    if let (Some(mut file), Some(path)) = (sheet, &arguments.sheet) {
        let text = key::sheet(&repository)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
            Failure::new(code::FAILED, format!("the repository is made, but its sheet could not be written: {error}"))
                .hint("`vault key sheet` prints it")
        })?;
        session.say(&format!("recovery sheet: {}; print it, lock it away, and delete the file", path.display()));
    } else if std::io::stdout().is_terminal() && !session.global.json && !session.global.quiet {
        render::text(&key::sheet(&repository)?);
    } else {
        render::complain(
            "note: no recovery sheet was written; without it a lost password loses everything; \
             `vault key sheet` prints it",
        );
    }
    Ok(code::DONE)
}
