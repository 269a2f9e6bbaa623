//! `vault man`: manual pages for whoever packages the program, one for each command. Nobody needs it
//! every day.

use super::session::Session;
use super::{Context, Outcome, code, grammar, render, secret};
use std::path::PathBuf;

/// Write a manual page for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault man --output /usr/local/share/man/man1
  vault man --output man --yes")]
pub struct Arguments {
    /// The folder to write into; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// Writes the pages.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let directory = &arguments.output;
    let mut pages = Vec::new();
    let mut command = grammar::definition();
    command.build();
    collect(&command, &mut pages);
    let existing = pages.iter().filter(|page| directory.join(page.get_filename()).exists()).count();
    if existing > 0 {
        let existing = render::count(existing as u64, "page", "pages");
        secret::confirm(&session.global, &format!("{existing} of {} can be replaced.", directory.display()))?;
    }
    let what = "cannot write manual pages to";
    std::fs::create_dir_all(directory).context(&format!("{what} {}", directory.display()))?;
    for page in &pages {
        page.generate_to(directory).context(&format!("{what} {}", directory.join(page.get_filename()).display()))?;
    }
    session.say(&format!("wrote {} to {}", render::count(pages.len() as u64, "page", "pages"), directory.display()));
    Ok(code::DONE)
}

fn collect(command: &clap::Command, pages: &mut Vec<clap_mangen::Man>) {
    pages.push(clap_mangen::Man::new(command.clone()));
    command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| collect(command, pages));
}
