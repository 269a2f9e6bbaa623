//! `vault completions`: a script that lets a shell complete commands and flags.

use super::exit::code;
use super::{Outcome, definition, render};

/// Print a script that completes commands and flags in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault completions bash > ~/.local/share/bash-completion/completions/vault
  vault completions fish > ~/.config/fish/completions/vault.fish")]
pub struct Arguments {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut definition(), "vault", &mut script);
    render::text(&String::from_utf8_lossy(&script));
    Ok(code::DONE)
}
