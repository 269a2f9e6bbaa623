//! Where the content of a snapshot comes from: a directory, a stream, or a dump. A directory is walked over handles in
//! the order that trees are stored in, so that a consumer can build them bottom-up and join them with an older tree. What
//! can't be read is named and the walk goes on. A dump gives files as streams, and is whole or nothing.

mod child;
mod command;
mod databases;
mod directory;
pub mod dump;
mod exclude;
mod file;
mod folder;
mod marks;
pub mod mysql;
mod named;
mod pattern;
pub mod postgres;
pub mod redis;
mod scratch;
mod sizes;
pub mod sqlite;
mod stream;

pub use child::{Child, ChildFailure, Environment, Input, Limit, Start, allowed, ending, last_words, said};
pub use command::{Command, CommandOptions};
pub use directory::Directory;
pub use exclude::Excludes;
pub use file::{FileEnd, FileReader};
pub use scratch::Scratch;
pub use stream::Stream;

use crate::metadata::{self, At, Fault};
use folder::Folder;
use sizes::Sizes;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use vault_format::snapshot::LeftOut;
use vault_format::tree::Metadata;

/// What a walk leaves out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What a snapshot keeps of this: patterns are relative to its root.
    pub rules: LeftOut,
    /// The paths come from a list: what is not there any more is named, links are stored as links, and patterns apply.
    pub listed: bool,
    /// Folders of the repository's own: stored as empty directories, wherever they turn up.
    pub own: Vec<PathBuf>,
    /// SQLite databases that sources of their own take: left out with the files that SQLite keeps beside them.
    pub databases: Vec<PathBuf>,
}

/// One step of a walk. The root has no `Enter` and `Leave` of its own.
#[derive(Debug)]
pub enum Event {
    /// A directory begins, in the place of its name.
    Enter {
        /// A single plain component.
        name: Vec<u8>,
        /// As it was when the directory was opened.
        metadata: Metadata,
    },
    /// Anything but a directory.
    Entry(Entry),
    /// The directory entered last ends.
    Leave,
    /// An entry is not part of the snapshot.
    Skipped {
        /// Full path.
        path: PathBuf,
        /// Why.
        why: Skip,
    },
    /// An entry could not be read and is not part of the snapshot.
    Failed {
        /// Full path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// An entry, the root or what came last, is part of the snapshot without something that it has.
    Lacking {
        /// Full path.
        path: PathBuf,
        /// What it lacks.
        fault: Fault,
    },
}

/// Why an entry is not part of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Skip {
    /// A pattern says so.
    #[error("excluded by a pattern")]
    Excluded,
    /// The directory holds a marker.
    #[error("its folder is marked as excluded")]
    Marked,
    /// It lies on another file system; of a directory only the content is missing.
    #[error("lies on another file system")]
    OtherFileSystem,
    /// It is a folder of the repository that is written to; only the content is missing.
    #[error("belongs to the repository itself, left out")]
    Own,
    /// It is a SQLite database that a source of its own takes: read while others write to it, it would be torn.
    #[error("belongs to a database source, left out")]
    Database,
    /// SQLite keeps it beside such a database.
    #[error("lies beside a database that is left out")]
    BesideDatabase,
    /// It bears the attribute `nodump`.
    #[error("marked as nodump")]
    NoDump,
    /// It is larger than wished.
    #[error("larger than the limit")]
    TooLarge,
    /// Sockets are made by their programs, not restored.
    #[error("a socket, left out")]
    Socket,
    /// The kernel names a type that vault doesn't know.
    #[error("of an unknown type")]
    Unknown,
    /// It was listed, and gone when it was looked at.
    #[error("vanished while it was read")]
    Vanished,
}

impl Skip {
    /// True if the entry is there and was not looked into, by no rule that could tell so later: markers go, files shrink.
    pub(crate) fn is_passed_over(self) -> bool {
        let by_state = matches!(self, Self::Marked | Self::TooLarge | Self::NoDump);
        let by_owner = matches!(self, Self::Own | Self::Database | Self::BesideDatabase);
        by_state || by_owner || matches!(self, Self::OtherFileSystem | Self::Socket)
    }

    /// True if the snapshot lacks something that it should have.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Self::Vanished | Self::Unknown)
    }
}

/// An entry that is not a directory.
#[derive(Debug)]
pub struct Entry {
    /// A single plain component.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// All else.
    pub metadata: Metadata,
    /// Reached through a link that the user named himself.
    followed: bool,
    sizes: Sizes,
    /// Where it lies.
    folder: Arc<Folder>,
}

impl Entry {
    /// Full path, for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.path_of(&self.name)
    }

    /// Reads the attributes of a file that came without. What could not be read is told.
    pub(crate) fn read_attributes(&mut self) -> Option<Fault> {
        let folder = self.folder.as_fd();
        let (xattrs, fault) = match directory::followed_file(folder, &self.name, self.followed) {
            Ok(Some(file)) => metadata::attributes_of(At::Open(file.as_fd())),
            Ok(None) => metadata::attributes_of(At::Below(folder, &self.name)),
            // whoever wants its content will say so
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                (Vec::new(), None)
            }
            Err(error) => (Vec::new(), Some(Fault::new("read the attributes", error))),
        };
        self.metadata.xattrs = xattrs;
        fault
    }

    /// Opens a file. One that was written to or replaced since the walk looked at it is taken as it is now, and then the
    /// entry is, too.
    pub fn open(&mut self) -> io::Result<FileReader> {
        FileReader::open(self)
    }

    /// False for a file of which nobody knows how long it is before it is read: its times say nothing either.
    pub(crate) fn is_sized(&self) -> bool {
        !matches!(self.kind, EntryKind::File { size: 0 }) || self.sizes == Sizes::Known
    }
}

/// Type of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Apparent size in bytes.
        size: u64,
    },
    /// A link and its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
}

/// Why a walk can't begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No path at all.
    #[error("no path to snapshot")]
    Nothing,
    /// A list of which nothing is there.
    #[error("none of the {number} listed paths is there, not {first:?}{hint}")]
    Missing {
        /// How many.
        number: usize,
        /// One of them, as it was listed.
        first: PathBuf,
        /// What may be wrong with the list.
        hint: &'static str,
    },
    /// A path that can't be opened.
    #[error("cannot open {}: {error}", path.display())]
    Path {
        /// As it was given.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A path to something that has no content to walk.
    #[error("{} is {what}: its content can't be read by path; say {say}", path.display())]
    Special {
        /// As it was given.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// The form to use.
        say: String,
    },
    /// The repository itself.
    #[error("{} is the repository itself, or its cache", .0.display())]
    Own(PathBuf),
    /// A pattern that means nothing.
    #[error("cannot understand the pattern '{pattern}': {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        why: String,
    },
}
