//! Commands that an error or a hint proposes, written between backticks: they can be pasted into a shell as they stand.
//! So what comes from outside is quoted, and the repository is named where only a flag of this call told it.

use std::borrow::Cow;
use std::sync::OnceLock;

/// The repository of this call, if the environment does not name it.
static GIVEN: OnceLock<String> = OnceLock::new();
/// How a proposed command begins.
const START: &str = "`vault ";
/// Commands that open no repository.
const WITHOUT: [&str; 4] = ["completions", "man", "help", "version"];

/// Keeps the location for [`complete`].
pub fn remember(location: Option<&str>) {
    if let Some(location) = location
        && std::env::var("VAULT_REPOSITORY").as_deref() != Ok(location)
    {
        // there is one call in a process
        let _ = GIVEN.set(location.to_owned());
    }
}

/// A word as a shell takes it for one.
pub fn quote(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "@%+=:,./_-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The text with each proposed command complete.
pub fn complete(text: &str) -> Cow<'_, str> {
    match GIVEN.get() {
        Some(location) if text.contains(START) => Cow::Owned(naming(text, location)),
        _ => Cow::Borrowed(text),
    }
}

fn naming(text: &str, location: &str) -> String {
    let mut out = String::with_capacity(text.len() + location.len() + 16);
    let mut rest = text;
    while let Some(start) = rest.find(START) {
        let (before, from) = rest.split_at(start + 1);
        out.push_str(before);
        let Some(end) = from.find('`') else {
            rest = from;
            break;
        };
        let (command, behind) = from.split_at(end);
        out.push_str(&with_repository(command, location));
        // the closing sign must not open the next one
        out.push('`');
        rest = behind.get(1..).unwrap_or_default();
    }
    out + rest
}

fn with_repository(command: &str, location: &str) -> String {
    let mut words = command.split_whitespace().skip(1);
    let first = words.next().unwrap_or_default();
    let is_said = first.starts_with('-') || WITHOUT.contains(&first);
    if is_said || words.any(|word| ["--repository", "-r", "--help"].contains(&word)) {
        return command.to_owned();
    }
    let place = format!(" --repository {}", quote(location));
    match command.split_once(" -- ") {
        Some((own, theirs)) => format!("{own}{place} -- {theirs}"),
        None => format!("{command}{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{naming, quote};
    use std::path::{Path, PathBuf};

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in [
            "plain",
            "/srv/my backup",
            "s3://b/p?region=x&endpoint=http://y",
            "it's",
            "a\"b$c`d",
            "",
            "-x",
            "*.tmp",
            "é",
            "~/x",
            "a\nb",
        ] {
            assert_eq!(shlex::split(&quote(word)), Some(vec![word.to_owned()]), "{word}");
        }
        assert_eq!(quote("/srv/backup"), "/srv/backup");
        assert_eq!(quote("s3://bucket/folder"), "s3://bucket/folder");
    }

    #[test]
    fn proposed_commands_name_the_repository_that_only_a_flag_told() {
        let table = [
            ("see `vault check`", "see `vault check --repository '/my r'`"),
            ("`vault a` and `vault b c`: d", "`vault a --repository '/my r'` and `vault b c --repository '/my r'`: d"),
            ("see `vault forget --help`", "see `vault forget --help`"),
            ("`vault --help`", "`vault --help`"),
            ("`vault init --repository x`", "`vault init --repository x`"),
            ("`vault snapshot -- ls`", "`vault snapshot --repository '/my r' -- ls`"),
            ("a `name` and `vault", "a `name` and `vault"),
        ];
        for (text, expected) in table {
            assert_eq!(naming(text, "/my r"), expected);
        }
    }

    fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                sources(&entry, out);
            } else {
                out.push(entry);
            }
        }
    }

    #[test]
    fn every_command_that_the_program_proposes_parses() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let (mut count, mut wrong) = (0, Vec::new());
        for file in files.iter().filter(|file| !file.ends_with("cli/proposal.rs")) {
            let text = std::fs::read_to_string(file).expect("text");
            for (number, line) in text.lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                for command in line.split('`').filter(|part| part.starts_with("vault ")) {
                    count += 1;
                    if let Some(why) = why_not(command, is_comment) {
                        wrong.push(format!("{}:{}: `{command}`: {why}", file.display(), number + 1));
                    }
                }
            }
        }
        assert!(count > 50, "they were found");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Why a command does not parse; `place` stands for what the program fills in.
    fn why_not(command: &str, is_comment: bool) -> Option<String> {
        use clap::error::ErrorKind as Kind;
        let mut text = String::new();
        let mut is_filled = false;
        for letter in command.chars() {
            match letter {
                '{' => (is_filled, text) = (true, text + "place"),
                '}' => is_filled = false,
                _ if is_filled => {}
                _ => text.push(letter),
            }
        }
        if text == "vault place" || ["…", "COMMAND", "SHELL", "--head ID"].iter().any(|part| text.contains(part)) {
            return None;
        }
        let words = shlex::split(&text).expect("quotes are closed");
        let error = crate::cli::grammar::parse(words.into_iter().map(Into::into).collect()).err()?;
        let is_mention = is_comment
            && matches!(
                error.kind(),
                Kind::MissingRequiredArgument
                    | Kind::MissingSubcommand
                    | Kind::DisplayHelpOnMissingArgumentOrSubcommand
            );
        let is_fine = is_mention || matches!(error.kind(), Kind::DisplayHelp | Kind::DisplayVersion);
        (!is_fine).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
