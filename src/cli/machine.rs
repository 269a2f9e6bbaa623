//! What this machine lends to a run of a plan: its environment, its name, folders for locks and copies, and how second
//! places are opened. For every command that carries out a plan or tries what it would do.

use super::{Failure, Session, exit, secret};
use std::ffi::OsString;
use std::path::PathBuf;
use vault::plan::CopyTo;
use vault::repository::Repository;
use vault::retention::TimeZone;
use vault::run::Machine;

/// What this machine lends to a run.
pub fn of_this(open_copy: &dyn Fn(&CopyTo) -> Result<Repository, String>) -> Machine<'_> {
    Machine {
        environment: std::env::vars_os().collect(),
        host: super::session::host(),
        user: super::session::user(),
        locks: locks(),
        scratch: std::env::temp_dir(),
        zone: TimeZone::system(),
        open_copy,
    }
}

/// Opens a second place with what the plan says of it.
pub fn open_copy(session: &Session, place: &CopyTo) -> Result<Repository, Failure> {
    let backend = session.backend_at(&place.location, false)?;
    exit::probe(&backend)?;
    let command = place.password_command.as_ref().map(OsString::from);
    let flags = secret::Flags {
        missing: None,
        file: place.password_file.as_ref(),
        command: command.as_ref(),
        key: place.key_file.as_ref(),
        variable: "VAULT_TO_PASSWORD",
        key_variable: "VAULT_TO_KEY",
    };
    let secret = match secret::find_second(&flags, &session.runtime)? {
        Some(secret) => secret,
        None => secret::find((&session.global, &session.runtime), secret::Use::Open)?,
    };
    session.open_with(backend, secret)
}

/// Where locks lie: a folder that goes with the next start of the machine, and that other users can't fill.
fn locks() -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let all = [from("VAULT_RUNTIME_DIR"), Some(PathBuf::from("/run/vault")), Some(std::env::temp_dir())];
    all.into_iter()
        .flatten()
        .find(|folder| folder.is_dir() && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok())
}
