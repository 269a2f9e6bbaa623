//! How a command line is read: the definition of all commands with their help, words that other programs use for the
//! same, and what to answer to those that mean nothing here. `-h` is short: what every command takes is in `--help`.

use super::{Arguments, Outcome, exit, render};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use vault::backend::nearby;

/// Pointer at the end of the short help.
const EVERYWHERE: &str =
    "Everywhere: -r LOCATION, --password-file, --key-file, --json, -q, -v, -y and more: see --help";

/// Commands that are proposed only for a slip of the finger.
const HARMFUL: [&str; 3] = ["forget", "prune", "restore"];

/// Words of other programs, and what to say here.
const FOREIGN: &[(&str, &str)] = &[
    ("archive", "snapshot PATH"),
    ("borg", "help"),
    ("cat", "restore ADDRESS --stdout"),
    ("change-passphrase", "key passwd"),
    ("change-password", "key passwd"),
    ("comment", "tag ADDRESS --add TAG"),
    ("compact", "prune"),
    ("connect", "snapshots"),
    ("create", "snapshot PATH"),
    ("delete", "forget ID"),
    ("du", "stats"),
    ("export", "restore ADDRESS --stdout --tar"),
    ("export-tar", "restore ADDRESS --stdout --tar"),
    ("extract", "restore ADDRESS --target DIR"),
    ("gc", "prune"),
    ("import", "snapshot PATH"),
    ("info", "stats"),
    ("log", "snapshots"),
    ("passwd", "key passwd"),
    ("purge", "prune"),
    ("rebuild-index", "repair"),
    ("recover", "init --recover"),
    ("reindex", "repair"),
    ("remove", "forget ID"),
    ("repoinfo", "stats"),
    ("rm", "forget ID"),
    ("save", "snapshot PATH"),
    ("show", "ls ADDRESS"),
    ("size", "stats"),
    ("status", "stats"),
    ("sync", "copy --to LOCATION"),
    ("verify", "check --read-data"),
];

/// Flags and words behind a command that other programs take, and what to say here: the command, the word, ours.
const FOREIGN_WORDS: &[(&str, &str, &str)] = &[
    ("repair", "index", "repair"),
    ("repair", "packs", "repair"),
    ("repair", "snapshots", "repair"),
    ("snapshot", "--stdin-filename", "snapshot --stdin FILENAME"),
    ("snapshot", "--stdin-from-command", "snapshot --name NAME --command -- CMD"),
    ("snapshot", "--content-from-command", "snapshot --name NAME --command -- CMD"),
];

/// The definition of all commands.
pub fn definition() -> clap::Command {
    let command = Arguments::command().mut_args(|argument| {
        let is_global = argument.is_global_set();
        argument.hide_short_help(is_global)
    });
    let command = command.after_help(EVERYWHERE).after_long_help("");
    command.mut_subcommands(point)
}

/// Has the short help of a command point to the long one.
fn point(command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(point);
    let Some(examples) = command.get_after_help().map(ToString::to_string) else { return command };
    command.after_help(format!("{examples}\n\n{EVERYWHERE}")).after_long_help(examples)
}

/// Reads a command line, the name of the program first.
pub fn parse(words: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let mut command = definition();
    let matches = command.try_get_matches_from_mut(in_own_words(words))?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The same line with `dump ADDRESS` as the restore that it is.
fn in_own_words(mut words: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = command_at(&words).filter(|at| words.get(*at).is_some_and(|word| word == "dump")) {
        words.splice(at..=at, ["restore", "--stdout"].map(OsString::from));
    }
    words
}

/// Where the command stands: the first word that is neither a flag nor the value of one.
fn command_at(words: &[OsString]) -> Option<usize> {
    let root = Arguments::command();
    let takes_value = |word: &str| {
        root.get_arguments().any(|argument| {
            let is_it = argument.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
                || argument.get_short().is_some_and(|short| word == format!("-{short}"));
            is_it && argument.get_action().takes_values()
        })
    };
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let word = word.to_string_lossy();
        if !word.starts_with('-') {
            return Some(at);
        }
        at += if takes_value(&word) { 2 } else { 1 };
    }
    None
}

/// Prints the help of a command, as `--help` after it does.
pub fn help(of: &[String]) -> Outcome {
    let words = std::iter::once("vault").chain(of.iter().map(String::as_str)).chain(["--help"]);
    match definition().try_get_matches_from(words) {
        Err(error) => usage(&error),
        Ok(_) => Ok(exit::code::DONE),
    }
}

/// Prints name and version.
pub fn version() -> Outcome {
    render::line(&format!("vault {}", env!("CARGO_PKG_VERSION")));
    Ok(exit::code::DONE)
}

/// A command line that makes no sense, or a question about it.
pub fn usage(error: &clap::Error) -> Outcome {
    if !error.use_stderr() {
        render::text(&error.to_string());
        return Ok(exit::code::DONE);
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // its help as it is, without what every command takes
        render::text(&error.to_string());
        return Ok(exit::code::USAGE);
    }
    let text = format!("{}; see `{} --help`", complaint(error).trim_end_matches([';', ' ']), called());
    Err(exit::Failure::usage(text))
}

/// The command that was called, as far as the command line names one.
fn called() -> String {
    let mut command = definition();
    let mut called = "vault".to_owned();
    for word in std::env::args_os().skip(1) {
        if let Some(inner) = command.find_subcommand(word).cloned() {
            called = format!("{called} {}", inner.get_name());
            command = inner;
        }
    }
    called
}

/// What a command line that makes no sense says, in one line without the help.
fn complaint(error: &clap::Error) -> String {
    if lacks_target(error) {
        return "where to? --target DIR, or --stdout".into();
    }
    let text = error.to_string();
    let ends = ["Usage:", "For more information"].map(|end| text.find(end).unwrap_or(text.len()));
    let message = text.get(..ends[0].min(ends[1])).unwrap_or(&text);
    let message = message.trim_start_matches("error:");
    // to pass a mistyped flag as a value is never what was meant
    let parts = message.split("\n\n").filter(|part| !part.contains("tip: to pass '"));
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<String> = parts.map(words).filter(|part| !part.is_empty()).collect();
    let Some(word) = unknown_command(error) else {
        return unknown_word(error, &text).unwrap_or_else(|| parts.join("; "));
    };
    let foreign = FOREIGN.iter().find(|(foreign, _)| *foreign == word);
    match foreign {
        Some((_, own)) => format!("there is no command '{word}'; `vault {own}` does that"),
        None if word == "mount" || word == "serve" => {
            format!(
                "there is no command '{word}' yet; `vault ls ADDRESS` and `vault restore ADDRESS --stdout` read single files"
            )
        }
        None if word == "unlock" || word == "break-lock" => {
            format!("there is no command '{word}': nothing is ever locked")
        }
        None => {
            // a word that only looks alike means something else, and these do harm
            let near: Vec<String> = said(error, ContextKind::SuggestedSubcommand)
                .into_iter()
                .filter(|near| nearby::mistakes(word, near) <= if HARMFUL.contains(near) { 1 } else { 2 })
                .map(|near| format!("`vault {near}`"))
                .collect();
            let perhaps = if near.is_empty() { String::new() } else { format!(": perhaps {}", near.join(" or ")) };
            format!("there is no command '{word}'{perhaps}")
        }
    }
}

/// What to say of a word or flag behind a command that knows none such.
fn unknown_word(error: &clap::Error, text: &str) -> Option<String> {
    let word = *said(error, ContextKind::InvalidArg).first().filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let called = text.split("Usage: vault ").nth(1)?.split_whitespace().next()?;
    let own = FOREIGN_WORDS.iter().find(|(command, foreign, _)| *command == called && *foreign == word);
    if let Some((.., own)) = own {
        return Some(format!("`vault {called}` takes no '{word}'; `vault {own}` does that"));
    }
    if called == "restore" && !word.starts_with('-') {
        let place = super::proposal::quote(word);
        return Some(format!("one address is restored at a time; where to is said with --target {place}"));
    }
    let flag = word.strip_prefix("--")?;
    let (all, command) = (definition(), definition().find_subcommand(called)?.clone());
    let longs = command.get_arguments().chain(all.get_arguments()).filter_map(clap::Arg::get_long);
    let near = nearby::nearest(flag, longs)?;
    Some(format!("unexpected argument '{word}' found; perhaps --{near}"))
}

/// True if all that is missing is where to restore to.
fn lacks_target(error: &clap::Error) -> bool {
    let missing = said(error, ContextKind::InvalidArg);
    error.kind() == ErrorKind::MissingRequiredArgument && matches!(missing[..], [only] if only.starts_with("--target"))
}

fn unknown_command(error: &clap::Error) -> Option<&str> {
    let words = said(error, ContextKind::InvalidSubcommand);
    words.first().copied().filter(|_| error.kind() == ErrorKind::InvalidSubcommand)
}

/// The words that an error is about.
fn said(error: &clap::Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word],
        Some(ContextValue::Strings(words)) => words.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{FOREIGN, FOREIGN_WORDS, complaint, definition, parse};
    use std::ffi::OsString;

    fn words(line: &str) -> Vec<OsString> {
        shlex::split(line).expect("quotes are closed").into_iter().map(OsString::from).collect()
    }

    #[test]
    fn the_words_of_other_programs_mean_the_same() {
        let same = [
            ("vault dump uploads:notes.txt", "vault restore --stdout uploads:notes.txt"),
            ("vault -q -r dump dump x", "vault -q -r dump restore --stdout x"),
            ("vault --password-file=p dump --tar x", "vault --password-file=p restore --stdout --tar x"),
            ("vault backup /srv/uploads", "vault snapshot /srv/uploads"),
            ("vault list uploads", "vault snapshots uploads"),
        ];
        for (theirs, own) in same {
            let read = |line: &str| format!("{:?}", parse(words(line)).expect("it parses"));
            assert_eq!(read(theirs), read(own), "{theirs}");
        }
        for line in
            ["vault restore dump --target x", "vault ls dump", "vault help", "vault help key add", "vault version"]
        {
            parse(words(line)).expect("it parses");
        }
        for command in ["copy --to x", "forget --keep-last 1", "prune", "repair", "restore a --target b", "snapshot a"]
        {
            let read =
                |flag: &str| format!("{:?}", parse(words(&format!("vault {command} {flag}"))).expect("it parses"));
            assert_eq!(read("-n"), read("--dry-run"), "{command}");
        }
    }

    #[test]
    fn what_is_proposed_for_a_strange_word_exists() {
        for (foreign, own) in FOREIGN {
            assert!(definition().find_subcommand(foreign).is_none(), "{foreign}");
            parse(words(&format!("vault {own}"))).expect("it parses");
            let error = parse(words(&format!("vault {foreign}"))).map(drop).expect_err("there is none");
            assert!(complaint(&error).contains(&format!("`vault {own}`")), "{foreign}");
        }
        let said = |line: &str| complaint(&parse(words(line)).map(drop).expect_err("it makes no sense"));
        assert!(said("vault restor x").contains("perhaps"), "{}", said("vault restor x"));
        assert!(said("vault mount x").contains("vault restore"), "{}", said("vault mount x"));
        for word in ["rename", "upgrade", "merge", "rewrite", "migrate", "reformat"] {
            assert!(!said(&format!("vault {word}")).contains("perhaps"), "{}", said(&format!("vault {word}")));
        }
        for (command, foreign, own) in FOREIGN_WORDS {
            parse(words(&format!("vault {own}"))).expect("it parses");
            let said = said(&format!("vault {command} {foreign}"));
            assert!(said.contains(&format!("`vault {own}`")), "{said}");
        }
        let target = said("vault restore x 'my dir'");
        assert!(target.contains("--target 'my dir'"), "{target}");
        assert!(said("vault key change-passphrase").contains("vault key passwd"));
        for slip in ["--exlude", "--exclud", "--taag"] {
            let said = said(&format!("vault snapshot {slip} x"));
            assert!(said.contains("--exclude") || said.contains("--tag"), "{said}");
        }
        let flag = said("vault snapshots --repo x");
        assert!(flag.contains("--repo") && !flag.contains("to pass"), "{flag}");
    }

    #[test]
    fn the_short_help_points_to_what_is_everywhere() {
        let help = |line: &str| parse(words(line)).map(drop).expect_err("help").to_string();
        for command in ["", "snapshots", "restore", "key add"] {
            let (short, long) = (help(&format!("vault {command} -h")), help(&format!("vault {command} --help")));
            assert!(short.contains("Everywhere: ") && !short.contains("--limit-upload"), "{short}");
            assert!(long.contains("--limit-upload") && !long.contains("Everywhere: "), "{long}");
            assert!(short.lines().count() < long.lines().count(), "{command}");
        }
    }
}
