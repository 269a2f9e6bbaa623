//! Key files, as bytes and as one line of text (base64) for places that have only environment variables. A file that
//! is no key file is told by what it is instead, since the usual mistake is to give the password or the sheet.

use crate::cli::exit::Failure;
use vault_format::bundle::Bundle;
use vault_format::key_file;
use vault_format::recovery;
use zeroize::Zeroizing;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text of such letters that is longer is a key, whole or torn.
const TORN_LEAST: usize = 200;

/// Every sheet says so.
const SHEET: &str = "recovery sheet";

/// The text of a key file.
pub fn to_text(bytes: &[u8]) -> Zeroizing<String> {
    // at its full size from the start, so that no copy of a part is left behind
    let mut out = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    for three in bytes.chunks(3) {
        let byte = |at: usize| three.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4usize {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// The bytes of such a text, line breaks and missing padding allowed; `None` if it is none.
fn from_text(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let (mut bits, mut count) = (0u32, 0u32);
    let letters = text.iter().filter(|letter| !letter.is_ascii_whitespace());
    for letter in letters.take_while(|letter| **letter != b'=') {
        let letter = match letter {
            b'-' => &b'+',
            b'_' => &b'/',
            other => other,
        };
        let value = LETTERS.iter().position(|known| known == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

/// The keys in a key file, or in its text; `place` is where it came from.
pub fn open(bytes: &[u8], place: &str) -> Result<Box<Bundle>, Failure> {
    let opened = match key_file::decode(bytes) {
        // too short to be torn: a password of such letters
        Err(_)
            if bytes.len() > TORN_LEAST
                && let Some(bytes) = from_text(bytes) =>
        {
            key_file::decode(&bytes)
        }
        opened => opened,
    };
    opened.map(Box::new).map_err(|error| {
        let is = what_it_is(bytes);
        let cause = is.map_or_else(|| error.to_string(), |is| format!("it is {is}"));
        let failure = Failure::failed(format!("cannot use the key in {place}: {cause}"));
        match is {
            Some(_) => failure.hint("a key is what `vault key add --role writer --export-key-file FILE` writes"),
            None => failure.hint(
                "copy it again, or ask the owner for a new one: `vault key add --role writer --export-key-file FILE`",
            ),
        }
    })
}

/// Refuses a key or a sheet that was given for a password: it would only be a wrong one.
pub fn refuse_as_password(bytes: &[u8], place: &str) -> Result<(), Failure> {
    let no_password = |is: &str| Failure::failed(format!("{place} holds no password: it is {is}"));
    if key_file::decode(bytes).is_ok() || from_text(bytes).is_some_and(|bytes| key_file::decode(&bytes).is_ok()) {
        return Err(no_password("a key").hint("give it with --key-file"));
    }
    let is_sheet = std::str::from_utf8(bytes).is_ok_and(|text| text.contains(SHEET) && recovery::read(text).is_ok());
    if is_sheet { Err(no_password("a recovery sheet").hint("`vault init --recover` reads it")) } else { Ok(()) }
}

/// What stands in place of a key.
fn what_it_is(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("empty");
    }
    if bytes.starts_with(b"-----BEGIN ") {
        return Some("a key of another program");
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if recovery::read(text).is_ok() || text.contains(SHEET) {
        return Some("a recovery sheet, for `vault init --recover`");
    }
    // a torn key as text is long and has no other letters
    let is_torn = bytes.len() > TORN_LEAST && from_text(bytes).is_some();
    let is_text = !text.chars().any(|letter| letter.is_control() && !letter.is_whitespace());
    (is_text && !is_torn).then_some("text: perhaps a password, for --password-file")
}

#[cfg(test)]
mod tests {
    use super::{from_text, open, to_text};

    #[test]
    fn text_comes_back_as_it_was() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37) ^ 0xa5).collect();
            let text = to_text(&bytes);
            assert_eq!(text.len() % 4, 0);
            assert_eq!(from_text(text.as_bytes()).as_deref(), Some(&bytes));
            let broken: String = text.trim_end_matches('=').chars().flat_map(|letter| [letter, '\n']).collect();
            assert_eq!(from_text(broken.as_bytes()).as_deref(), Some(&bytes));
        }
        assert_eq!(to_text(b"any carnal pleas").as_str(), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(from_text(b"a password!"), None);
    }

    #[test]
    fn what_is_no_key_is_told_by_what_it_is() {
        let table: [(&[u8], &str); 5] = [
            (b"", "it is empty"),
            (b"correct horse\n", "perhaps a password"),
            (b"vault recovery sheet\n\nrepository ab", "a recovery sheet"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "another program"),
            (b"\x00\x01\x02", "cannot use the key in web.key"),
        ];
        for (bytes, says) in table {
            let failure = open(bytes, "web.key").map(drop).expect_err("it is none");
            let text = format!("{failure:?}");
            assert!(text.contains(says) && text.contains("vault key add --role writer"), "{text}");
        }
    }
}
