//! Why there is no copy of a Redis server's data, and what helps.

use std::io;
use std::path::PathBuf;

/// Why a server gives no data, or none that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What it is reached by.
    #[error("cannot understand the address of the Redis server: {0}")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot reach the Redis server at {address}: {error}")]
    Unreached {
        /// Host and port, or the socket.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// It answered, and then no more.
    #[error("the Redis server at {address} said nothing for {seconds} s")]
    Silent {
        /// Host and port, or the socket.
        address: String,
        /// How long it was listened to.
        seconds: u64,
    },
    /// It refuses a command.
    #[error("the Redis server at {address} refuses {command}: {message}{}", help(command, message))]
    Refused {
        /// Host and port, or the socket.
        address: String,
        /// The command, without its arguments.
        command: &'static str,
        /// In its words.
        message: String,
    },
    /// It speaks otherwise than expected.
    #[error("{address} does not answer as a Redis server does: {what}")]
    Strange {
        /// Host and port, or the socket.
        address: String,
        /// How that shows.
        what: String,
    },
    /// Its data is not as it was written.
    #[error("the data of the Redis server at {address} came damaged: {what}")]
    Damaged {
        /// Host and port, or the socket.
        address: String,
        /// How that shows.
        what: String,
    },
    /// The file that it saves can't be read.
    #[error("cannot read {}, which the Redis server should have saved: {error}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file was saved by another one, or at another time.
    #[error("{} is not what the Redis server at {address} has just saved{said}", path.display())]
    Stale {
        /// Where it should be.
        path: PathBuf,
        /// Host and port, or the socket.
        address: String,
        /// Where the server says that it saves.
        said: String,
    },
    /// The run should end.
    #[error("interrupted")]
    Interrupted,
}

/// What to do about what a server says.
fn help(command: &str, message: &str) -> String {
    let code = message.split_whitespace().next().unwrap_or_default();
    let is_unknown = message.contains("unknown command") || code == "NOPERM";
    let help = match code {
        "NOAUTH" => "give the password in its URL",
        "WRONGPASS" => "check user and password in its URL",
        "LOADING" => "it still reads its own data; try again when it has",
        "NOMASTERLINK" | "MASTERDOWN" => {
            "this replica has lost its master; wait until it has it again, or ask the master"
        }
        _ if is_unknown && matches!(command, "PSYNC" | "SYNC") => {
            "this server gives no replication stream, or not to this user: use the method bgsave with the path of its file"
        }
        _ if command == "AUTH" => "check user and password in its URL",
        _ if code == "NOPERM" => "this user needs the right to run it",
        _ => return String::new(),
    };
    format!("; {help}")
}
