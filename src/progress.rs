//! How far an operation is. Operations tell a `Progress` what they did; the command line draws it. Counters only grow,
//! so that any thread may tell in any order.

use std::path::Path;

/// What listens to an operation.
pub trait Progress: Send + Sync {
    /// This much is to do in all, as far as is known: files and bytes.
    fn expect(&self, files: u64, bytes: u64);
    /// This much was done: files and bytes.
    fn advance(&self, files: u64, bytes: u64);
    /// This is being worked on.
    fn at(&self, path: &Path);
    /// Something that the user should hear of, though the operation goes on.
    fn note(&self, note: &str);
    /// Stored bytes are damaged: what that means for one thing, and the same in full for those who want to know.
    fn damaged(&self, _brief: &str, full: &str) {
        self.note(full);
    }
    /// Nobody can read a mark, by its name: since it may condemn anything, what is older than it is not relied on.
    fn unread_mark(&self, mark: &str) {
        self.note(&format!("{mark} can't be read: what was stored before it is stored again"));
    }
    /// A line that a command said on its standard error.
    fn said(&self, _: &str) {}
    /// The operation ends early, and the next one like it will find so many stored bytes of what it has done.
    fn kept(&self, bytes: u64) {
        let _ = bytes;
    }
    /// Nothing goes on before this answers, like `the command`; said again while it lasts.
    fn waiting(&self, _: &str) {}
    /// True if somebody looks, so that it is worth to count what is to do.
    fn wants_total(&self) -> bool {
        false
    }
}

/// Listens to nothing.
pub struct Silent;

impl Progress for Silent {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, _: u64) {}
    fn at(&self, _: &Path) {}
    fn note(&self, _: &str) {}
}
