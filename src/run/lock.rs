//! One run of a source at a time on a host. The kernel holds the lock and frees it with the process, whatever ends that;
//! a lock that can't be had for other reasons keeps nobody from running, for two runs at once are harmless.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use vault_format::id::RepositoryId;

/// Whoever can open it can hold it.
const MODE: u32 = 0o600;

/// What came of asking.
pub enum Lock {
    /// It lasts as long as this.
    Held(#[expect(dead_code, reason = "dropping it frees the lock")] File),
    /// Another run has it.
    Busy,
    /// There is none, for this reason.
    None(String),
}

/// Asks for the lock of a source.
pub fn take(folder: Option<&Path>, repository: RepositoryId, source: &str) -> Lock {
    let Some(folder) = folder else { return Lock::None("there is no folder for locks".into()) };
    let path = folder.join(format!("vault-{}-{source}.lock", repository.short()));
    // whose file it is does not matter, but what lies there must be a file
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(&path);
    let refused = |error: &dyn std::fmt::Display| Lock::None(format!("cannot lock {}: {error}", path.display()));
    match file {
        Err(error) => refused(&error),
        Ok(file) => match file.try_lock() {
            Ok(()) => Lock::Held(file),
            Err(TryLockError::WouldBlock) => Lock::Busy,
            Err(TryLockError::Error(error)) => refused(&error),
        },
    }
}
