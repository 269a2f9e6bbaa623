//! The flags that every command takes: where the repository is, what opens it, how much to say, and what to spend.

use super::render;
use std::path::PathBuf;
use vault::size;

/// Flags of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// Where the repository is: a folder, or s3://bucket/folder?region=…, sftp://user@host/folder and the like [default:
    /// what the plan says]
    #[arg(long, short, global = true, value_name = "LOCATION", env = "VAULT_REPOSITORY", hide_env_values = true)]
    pub repository: Option<String>,
    /// The plan: what is backed up, and when; for every command also which repository, and what opens it [default:
    /// vault.toml here, else /etc/vault/vault.toml]
    #[arg(long, global = true, value_name = "FILE", env = "VAULT_PLAN")]
    pub plan: Option<PathBuf>,
    /// Read the password from the first line of this file [env: VAULT_PASSWORD_FILE; the password itself can be given
    /// in VAULT_PASSWORD]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_command", "key_file"])]
    pub password_file: Option<PathBuf>,
    /// Run this with `sh -c` and take the first line of its output as the password [env: VAULT_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "key_file")]
    pub password_command: Option<std::ffi::OsString>,
    /// Open the repository with an exported key instead of a password [env: VAULT_KEY_FILE; the text of the key can be
    /// given in VAULT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Where this machine keeps its cache [env: VAULT_CACHE_DIR; default: vault in the user's cache folder]
    // not by `env`: what only the environment says must not stand against --no-cache
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "no_cache")]
    pub cache_dir: Option<PathBuf>,
    /// Keep no cache, and use none
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: what was left out on purpose, requests and bytes moved
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Show progress on standard error also where no terminal is; with --json as JSON lines
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub progress: bool,
    /// Why this is run, in your words, for the journal
    #[arg(long, global = true, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Answer every question with yes
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Threads for the work of the processor [default: one for each core]
    #[arg(long, global = true, value_name = "N")]
    pub workers: Option<usize>,
    /// Memory for data in flight, like 64MiB [default: 96MiB]
    #[arg(long, global = true, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Option<u64>,
    /// Send at most this many bytes each second, like 2MB
    #[arg(long, global = true, value_name = "RATE", value_parser = size::parse_rate)]
    pub limit_upload: Option<u64>,
    /// Receive at most this many bytes each second, like 10MB
    #[arg(long, global = true, value_name = "RATE", value_parser = size::parse_rate)]
    pub limit_download: Option<u64>,
}

impl Global {
    /// Prints a result if JSON was asked for.
    pub fn print(&self, result: &impl serde::Serialize) {
        if self.json {
            render::json(result);
        }
    }

    /// Says on standard error what nobody needs to know who wants it quiet.
    pub fn remark(&self, line: &str) {
        if !self.quiet {
            render::complain(line);
        }
    }
}
