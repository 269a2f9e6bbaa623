//! The end of what a program says on its standard error, in whole lines. Invariant: it is bounded, and no secret stands
//! in it that the program was given for its work.

use crate::progress::Progress;
use url::Url;
use zeroize::Zeroizing;

/// Bytes that are kept.
const TAIL_BYTES: usize = 4096;
/// Lines of it in an error.
const ERROR_LINES: usize = 20;
/// What is shorter is part of other words, and hides little.
const HIDDEN_BYTES_MIN: usize = 4;
/// Stands where a secret was.
const HIDDEN: &[u8] = b"***";

/// Lines of what a command said, as text.
pub fn said(messages: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        // a program that draws its progress goes back to the begin of the line
        let last = line.trim_ascii_end().rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
        String::from_utf8_lossy(last).trim_end().to_owned()
    };
    messages.split(|byte| *byte == b'\n').map(line).filter(|line| !line.is_empty()).collect()
}

/// The last of these lines, as many as an error can hold.
pub fn last_words(messages: &[u8]) -> Vec<String> {
    let mut lines = said(messages);
    lines.drain(..lines.len().saturating_sub(ERROR_LINES));
    lines
}

/// The end of what a program says.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// The line that is not complete yet.
    open: Vec<u8>,
    is_cut: bool,
    /// What is not shown, the longest first.
    hidden: Vec<Zeroizing<String>>,
}

impl Tail {
    /// Hides a secret, and a password in it if it is an address.
    pub fn hide(&mut self, secret: &str) {
        let url = Url::parse(secret).ok();
        let password = url.as_ref().and_then(Url::password);
        let plain = password.map(|password| percent_encoding::percent_decode_str(password).decode_utf8_lossy().into());
        // of a key of many lines each is one
        let lines = secret.lines().map(|line| line.trim().to_owned());
        let all = lines.chain(password.map(str::to_owned)).chain(plain);
        self.hidden.extend(all.filter(|one| one.len() >= HIDDEN_BYTES_MIN).map(Zeroizing::new));
        self.hidden.sort_by_key(|one| std::cmp::Reverse(one.len()));
    }

    pub fn push(&mut self, bytes: &[u8], progress: &dyn Progress) {
        for byte in bytes {
            if *byte == b'\n' || self.open.len() >= TAIL_BYTES {
                self.close(progress);
            }
            if *byte != b'\n' {
                self.open.push(*byte);
            }
        }
    }

    fn close(&mut self, progress: &dyn Progress) {
        for secret in &self.hidden {
            while let Some(at) = memchr::memmem::find(&self.open, secret.as_bytes()) {
                self.open.splice(at..at + secret.len(), HIDDEN.iter().copied());
            }
        }
        said(&self.open).iter().for_each(|line| progress.said(line));
        self.bytes.append(&mut self.open);
        self.bytes.push(b'\n');
        if self.bytes.len() > 4 * TAIL_BYTES {
            self.bytes.drain(..self.bytes.len() - 2 * TAIL_BYTES);
            self.is_cut = true;
        }
    }

    pub fn end(&mut self, progress: &dyn Progress) -> Vec<u8> {
        if !self.open.is_empty() {
            self.close(progress);
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let over = bytes.len().saturating_sub(TAIL_BYTES);
        if over > 0 || self.is_cut {
            let whole = bytes.get(over.saturating_sub(1)..).unwrap_or_default();
            let begin = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.drain(..over.saturating_sub(1) + begin);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{TAIL_BYTES, Tail, said};
    use crate::progress::Silent;

    #[test]
    fn of_many_lines_the_last_whole_ones_are_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes(), &Silent);
        }
        tail.push(b"the end", &Silent);
        let kept = tail.end(&Silent);
        assert!(kept.len() <= TAIL_BYTES && kept.len() > TAIL_BYTES - 20, "{}", kept.len());
        assert!(kept.starts_with(b"line 9") && kept.ends_with(b"\nline 9999\nthe end\n"));
        assert_eq!(said(&kept).last().map(String::as_str), Some("the end"));
    }

    #[test]
    fn one_line_without_an_end_does_not_grow() {
        let mut tail = Tail::default();
        (0..1000).for_each(|_| tail.push(&[b'x'; 4096], &Silent));
        assert!(tail.bytes.len() + tail.open.len() <= 5 * TAIL_BYTES);
        assert!(tail.end(&Silent).len() <= TAIL_BYTES);
    }

    #[test]
    fn a_secret_that_a_program_was_given_is_hidden_in_what_it_says() {
        let mut tail = Tail::default();
        let secrets = ["postgres://app:p%40ssword@db/app", "hunter2", "abc", "hunter2-longer"];
        secrets.iter().for_each(|secret| tail.hide(secret));
        tail.push(b"cannot reach postgres://app:p%40ssword@db/app\np@ssword, p%40ssword: hunter2-longer ", &Silent);
        tail.push(b"abc hunt", &Silent);
        tail.push(b"er2\nhunter2", &Silent);
        assert_eq!(tail.end(&Silent), b"cannot reach ***\n***, ***: *** abc ***\n***\n");
    }

    #[test]
    fn few_lines_are_kept_as_they_are_and_shown_as_a_terminal_would() {
        let mut tail = Tail::default();
        tail.push(b"a\n\n 10%\r 20%\r 30%\r\nb\xff", &Silent);
        let kept = tail.end(&Silent);
        assert_eq!(kept, b"a\n\n 10%\r 20%\r 30%\r\nb\xff\n");
        assert_eq!(said(&kept), ["a", " 30%", "b\u{fffd}"]);
    }
}
