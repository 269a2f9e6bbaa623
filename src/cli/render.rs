//! Values as people read them: sizes, times, names; and the functions that print them. Control characters of names, and
//! others that nobody sees, never reach a terminal. What can't be printed is kept by `output`, and told at the end.

use super::{invisible, output, plain, proposal};
use bytesize::ByteSize;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Prints one line to standard output.
pub fn line(line: &str) {
    text(&format!("{}\n", safe(line)));
}

/// Prints one line to standard output, for people: where it is a terminal, in lines that break between words.
pub fn sentence(line: &str) {
    let (out, line) = (std::io::stdout(), safe(line));
    let width = columns(&out);
    let line = if out.is_terminal() && width >= 20 { fold(&line, width) } else { line };
    text(&format!("{line}\n"));
}

/// Prints text to standard output.
pub fn text(text: &str) {
    output::put(text.as_bytes());
}

/// Prints one JSON object to standard output.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => text(&format!("{}\n", invisible::in_json(&line))),
        Err(error) => output::failed(&error.into()),
    }
}

/// Prints one line to standard error, with the program's name.
pub fn complain(line: &str) {
    // nobody is left to tell if this fails
    let text = format!("vault: {}", safe(&proposal::complete(line)));
    let err = std::io::stderr();
    let width = columns(&err);
    let text = if err.is_terminal() && width >= 20 { fold(&text, width) } else { text };
    let _ = writeln!(err.lock(), "{text}");
}

/// Prints each of these to standard error.
pub fn complain_each(lines: &[String]) {
    lines.iter().for_each(|line| complain(&plain::line(line)));
}

/// Prints each of what is damaged to standard error.
pub fn damage<'a>(lines: impl IntoIterator<Item = &'a String>) {
    lines.into_iter().for_each(|line| complain(&format!("{}; see `vault check`", plain::line(line))));
}

/// A message in lines that break at spaces. A command between backticks is never broken: it is there to be pasted.
fn fold(text: &str, width: usize) -> String {
    let mut parts: Vec<String> = text.split('`').map(str::to_owned).collect();
    if parts.len().is_multiple_of(2) {
        return text.to_owned();
    }
    // no text has this sign, and what holds it is one word
    parts.iter_mut().skip(1).step_by(2).for_each(|command| *command = command.replace(' ', "\0"));
    fill(&parts.join("`"), width, usize::MAX).join("\n").replace('\0', " ")
}

/// Text without characters that can't be seen.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if invisible::is(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// A name of bytes for people.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.utf8_chunks() {
        out.push_str(&safe(part.valid()));
        part.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy)]
pub enum Cut {
    /// Of a path the end says more.
    Begin,
    Middle,
    End,
}

/// At most so many characters of a text.
pub fn shorten(text: &str, most: usize, cut: Cut) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let begin = match cut {
        Cut::Begin => 0,
        Cut::Middle => kept / 3,
        Cut::End => kept,
    };
    text.chars().take(begin).chain(['…']).chain(text.chars().skip(length - (kept - begin))).collect()
}

/// How many columns a terminal has, if it tells.
pub fn columns(terminal: impl std::os::fd::AsFd) -> usize {
    rustix::termios::tcgetwinsize(terminal).map_or(0, |size| usize::from(size.ws_col))
}

/// The text in lines of at most so many characters, broken at spaces; only a longer word is broken inside.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    fill(text, width, width.max(1))
}

/// The text in lines that break at spaces, and inside of words that are longer than `longest`.
fn fill(text: &str, width: usize, longest: usize) -> Vec<String> {
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while rest.len() > longest {
            lines.push(rest.drain(..longest).collect());
        }
        line.extend(rest);
        used = line.chars().count();
    }
    lines.push(line);
    lines
}

/// Bytes in the unit that fits.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A number with its noun.
pub fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// What there is to say of a number, unless it is zero.
pub fn if_any(number: u64, say: impl FnOnce(u64) -> String) -> String {
    if number == 0 { String::new() } else { say(number) }
}

/// Several numbers with their nouns, without those that are zero.
pub fn counts<const N: usize>(of: [(u64, &str, &str); N]) -> Vec<String> {
    of.into_iter().filter(|(number, ..)| *number > 0).map(|(number, one, many)| count(number, one, many)).collect()
}

/// A length of time.
pub fn duration(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    match seconds {
        0..=9 => format!("{seconds}.{} s", nanoseconds / 100_000_000 % 10),
        10..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3600),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Local time with offset.
pub fn time(time: impl Into<Timestamp>) -> String {
    time.into().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// RFC 3339 in local time, for programs.
pub fn time_rfc3339(time: impl Into<Timestamp>) -> String {
    time.into().to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::{fold, wrap};

    #[test]
    fn messages_break_between_words_and_commands_stay_whole() {
        let text = "vault: no repository at /srv/backup; `vault init --repository /srv/backup` makes one of these";
        let folded = fold(text, 30);
        assert_eq!(folded.replace('\n', " "), text);
        assert!(folded.lines().any(|line| line == "`vault init --repository /srv/backup`"), "{folded}");
        assert!(folded.lines().all(|line| line.starts_with('`') || line.chars().count() <= 30), "{folded}");
        assert_eq!(fold("an odd ` in it", 80), "an odd ` in it");
    }

    #[test]
    fn wrapped_text_is_the_same_text() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
