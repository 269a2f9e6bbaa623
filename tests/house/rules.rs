//! The rules of the house as data: who may use whom, what only some may name, and how large a thing may grow. A module
//! is called by its path with the crate first: `vault::repository::write`, `vault_format::seal`.

/// Children of a folder of modules, from low to high. A child may use the rows below its own and its own children.
pub const ORDERS: &[(&str, &[&[&str]])] = &[
    ("", &[&["vault_format"], &["vault"], &["testkit"]]),
    (
        "vault",
        &[
            &["certificate", "time", "size"],
            &["metadata", "progress", "runtime"],
            &["source", "target", "chunk", "compression", "similar", "retention", "due", "usual"],
            &["cache", "backend", "http"],
            &["repository"],
            &["error", "plan"],
            &["operation"],
            &[
                "backup", "restore", "list", "find", "diff", "stats", "forget", "undelete", "tag", "prune", "check",
                "repair", "copy", "keys", "journal", "wal",
            ],
            &["alert", "history", "metrics"],
            &["health"],
            &["run", "drill", "report"],
            &["cli"],
            &["main"],
        ],
    ),
    (
        "vault::repository",
        &[
            &["error"],
            &["keys"],
            &["objects"],
            &["lookup"],
            &["protocol"],
            &["index"],
            &["view"],
            &["read"],
            &["write"],
            &["tree"],
            &["access"],
        ],
    ),
];

/// The command line: the library never prints, and never reads the environment or asks somebody.
const COMMAND_LINE: &[&str] = &["vault::cli", "vault::main"];
/// All but the format, which is a function of its input.
const NOT_THE_FORMAT: &[&str] = &["vault"];
const NOBODY: &[&str] = &[];

/// Bound only by what nobody may: no user runs it.
pub const UNBOUND: &[&str] = &["testkit"];

/// Paths, macros (`name!`) and words that only some modules may name.
pub const RESERVED: &[(&str, &[&str])] = &[
    ("rusqlite", &["vault::cache", "vault::source::sqlite"]),
    ("opendal", &["vault::backend"]),
    ("toml", &["vault::plan"]),
    ("tokio", &["vault::backend"]),
    ("reqwest", &["vault::http", "vault::backend"]),
    ("lettre", &["vault::alert::mail"]),
    ("getrandom", &["vault::runtime"]),
    ("SystemTime::now", &["vault::runtime"]),
    ("Timestamp::now", &["vault::runtime"]),
    ("Zoned::now", &["vault::runtime"]),
    ("Instant::now", &["vault::runtime", "vault::cli"]),
    ("clap", COMMAND_LINE),
    ("clap_complete", COMMAND_LINE),
    ("clap_mangen", COMMAND_LINE),
    ("indicatif", COMMAND_LINE),
    ("rpassword", COMMAND_LINE),
    ("std::env", COMMAND_LINE),
    ("print!", COMMAND_LINE),
    ("println!", COMMAND_LINE),
    ("eprint!", COMMAND_LINE),
    ("eprintln!", COMMAND_LINE),
    ("std::fs", NOT_THE_FORMAT),
    ("std::net", NOT_THE_FORMAT),
    ("std::thread", NOT_THE_FORMAT),
    ("std::time", NOT_THE_FORMAT),
    ("std::process", NOT_THE_FORMAT),
    ("SystemTime", NOT_THE_FORMAT),
    ("Instant", NOT_THE_FORMAT),
    ("unsafe", &["vault::cli::heap"]),
    ("todo!", NOBODY),
    ("unimplemented!", NOBODY),
    ("dbg!", NOBODY),
];

/// Names of files and folders that say nothing.
pub const EMPTY_NAMES: &[&str] = &["util", "utils", "misc", "common", "helper", "helpers", "manager", "managers"];

pub const FILE_LINES_MAX: usize = 500;
/// Counted as clippy does: lines of the body that hold code.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Counted as clippy does: with `self`, and not where a trait gives the signature.
pub const PARAMETERS_MAX: usize = 5;
/// A longer one only packs parameters.
pub const TUPLE_MAX: usize = 2;

/// Faults that are known: where, what, and why. One that is mended must go from the list, which only shrinks.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[];
