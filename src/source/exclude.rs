//! Patterns that leave entries out of a walk, in the manner of `.gitignore`. A pattern is relative to the root of the
//! snapshot: with a slash at the start or in the middle it is bound to it, else it matches at any depth. A slash at
//! the end matches directories only, `!` takes an entry back in, and the last match decides. Patterns and paths are
//! bytes.

use super::OpenError;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that are no text are matched as characters that nobody uses, the last of all.
const STRAY: u32 = 0x0010_ff00;

/// The compiled patterns of one walk.
#[derive(Clone, Debug)]
pub struct Excludes {
    sets: Vec<Set>,
    /// Some pattern is bound to the root.
    is_bound: bool,
}

/// Patterns that see a path in the same form.
#[derive(Clone, Debug)]
struct Set {
    form: Form,
    globs: GlobSet,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As it is.
    Plain,
    /// Bytes that are no text as characters.
    Text,
    /// The same in lower case.
    Lower,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Place among all patterns.
    number: usize,
    directories_only: bool,
    keeps: bool,
}

impl Excludes {
    /// Compiles patterns, and behind them those that match in upper and lower case.
    pub fn new(patterns: &[Vec<u8>], any_case: &[Vec<u8>]) -> Result<Self, OpenError> {
        let numbered = patterns.iter().map(|pattern| (pattern, false)).chain(any_case.iter().map(|one| (one, true)));
        let mut is_bound = false;
        let mut builders = [Form::Plain, Form::Text, Form::Lower].map(|form| (form, GlobSetBuilder::new(), Vec::new()));
        for (number, (pattern, any_case)) in numbered.enumerate() {
            let wrong = |why: String| OpenError::Pattern { pattern: shown(pattern), why };
            let text = as_text(pattern);
            let form = match (any_case, &text) {
                (true, _) => Form::Lower,
                (false, Cow::Borrowed(_)) => Form::Plain,
                (false, Cow::Owned(_)) => Form::Text,
            };
            let text = if any_case { lower(&text) } else { text.into_owned() };
            let (keeps, text) = text.strip_prefix('!').map_or((false, text.as_str()), |text| (true, text));
            let (directories_only, text) = text.strip_suffix('/').map_or((false, text), |text| (true, text));
            let bound = text.contains('/');
            is_bound |= bound;
            let text = text.strip_prefix('/').unwrap_or(text);
            if text.is_empty() {
                return Err(wrong("it names nothing".to_owned()));
            }
            let text = if bound { text.to_owned() } else { format!("**/{text}") };
            let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|error| wrong(error.kind().to_string()))?;
            if let Some((_, builder, rules)) = builders.iter_mut().find(|(of, ..)| *of == form) {
                builder.add(glob);
                rules.push(Rule { number, directories_only, keeps });
            }
        }
        let mut sets = Vec::new();
        for (form, builder, rules) in builders.into_iter().filter(|(_, _, rules)| !rules.is_empty()) {
            let whole = |error: globset::Error| OpenError::Pattern { pattern: "all".into(), why: error.to_string() };
            sets.push(Set { form, globs: builder.build().map_err(whole)?, rules });
        }
        Ok(Self { sets, is_bound })
    }

    /// The patterns in a file: one a line, `#` begins a comment.
    pub fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(<[u8]>::to_vec).collect()
    }

    /// True if there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// True if more than an entry's name decides.
    pub fn see_paths(&self) -> bool {
        self.is_bound
    }

    /// True if the entry at this path below the root is left out. Parents are not looked at: they are never entered.
    pub fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        let last = self.sets.iter().filter_map(|set| set.last(path, is_directory)).max_by_key(|rule| rule.number);
        last.is_some_and(|rule| !rule.keeps)
    }
}

impl Set {
    /// The last rule that fits.
    fn last(&self, path: &[u8], is_directory: bool) -> Option<Rule> {
        let seen: Cow<'_, [u8]> = match self.form {
            Form::Plain => Cow::Borrowed(path),
            Form::Text => Cow::Owned(as_text(path).into_owned().into_bytes()),
            Form::Lower => Cow::Owned(lower(&as_text(path)).into_bytes()),
        };
        let matches = self.globs.matches(Path::new(OsStr::from_bytes(&seen)));
        let rules = matches.iter().rev().filter_map(|index| self.rules.get(*index));
        rules.copied().find(|rule| is_directory || !rule.directories_only)
    }
}

/// Bytes as text, each byte that is none as a character of its own. No two byte strings give the same text.
fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    let is_stray = |character: char| u32::from(character) >= STRAY;
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(is_stray)
    {
        return Cow::Borrowed(text);
    }
    let stray = |byte: u8| char::from_u32(STRAY + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_stray(character) {
                out.extend(character.encode_utf8(&mut [0; 4]).bytes().map(stray));
            } else {
                out.push(character);
            }
        }
        out.extend(chunk.invalid().iter().copied().map(stray));
    }
    Cow::Owned(out)
}

/// Letter by letter, whatever stands beside.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// A pattern for messages.
pub fn shown(pattern: &[u8]) -> String {
    String::from_utf8_lossy(pattern).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Excludes;

    #[test]
    fn patterns_match_as_in_gitignore() {
        // Pattern, path, is a directory, is left out.
        let table = [
            ("*.tmp", "a.tmp", false, true),
            ("*.tmp", "x/y/a.tmp", false, true),
            ("*.tmp", "a.tmp.txt", false, false),
            ("cache/", "x/cache", true, true),
            ("cache/", "x/cache", false, false),
            ("/cache", "cache", true, true),
            ("/cache", "x/cache", true, false),
            ("x/*.log", "x/a.log", false, true),
            ("x/*.log", "y/x/a.log", false, false),
            ("x/*.log", "x/y/a.log", false, false),
            ("x/**/a", "x/y/z/a", false, true),
            ("**/y/a", "x/y/a", false, true),
            ("[ab]?", "a1", false, true),
            ("\\*", "*", false, true),
            ("\\*", "a", false, false),
            (".*", ".hidden", false, true),
        ];
        for (pattern, path, is_directory, expected) in table {
            let excludes = Excludes::new(&[pattern.into()], &[]).unwrap();
            assert_eq!(excludes.excludes(path.as_bytes(), is_directory), expected, "{pattern} on {path}");
        }
        let excludes = Excludes::new(&["*.log".into(), "!keep.log".into()], &[]).unwrap();
        assert!(excludes.excludes(b"a.log", false) && !excludes.excludes(b"keep.log", false));
        assert!(excludes.excludes(b"\xff\xfe.log", false));
        assert!(Excludes::new(&["/".into()], &[]).is_err() && Excludes::new(&["[".into()], &[]).is_err());
    }

    #[test]
    fn patterns_and_paths_are_bytes() {
        let one = |pattern: &[u8], path: &[u8]| Excludes::new(&[pattern.into()], &[]).unwrap().excludes(path, false);
        assert!(one(b"caf\xe9.txt", b"x/caf\xe9.txt") && one(b"caf?.txt", b"caf\xe9.txt"));
        assert!(!one(b"caf\xe9.txt", b"caf\xe8.txt") && !one(b"caf\xe9.txt", "café.txt".as_bytes()));
        // characters that stand for bytes are no bytes
        let stands = "caf\u{10ffe9}.txt".as_bytes();
        assert!(!one(b"caf\xe9.txt", stands) && one(stands, stands) && !one(stands, b"caf\xe9.txt"));
        // what comes last decides, whatever form it has
        let excludes = Excludes::new(&[b"*.txt".into(), b"!caf\xe9.txt".into()], &[]).unwrap();
        assert!(!excludes.excludes(b"caf\xe9.txt", false) && excludes.excludes(b"a.txt", false));
    }

    #[test]
    fn case_does_not_matter_where_it_should_not() {
        let excludes = Excludes::new(&["/Keep".into()], &["*.TMP".into(), "ÉTÉ/".into(), "[A-C]x".into()]).unwrap();
        assert!(excludes.excludes(b"x/a.tMp", false) && excludes.excludes("x/été".as_bytes(), true));
        assert!(excludes.excludes(b"Bx", false) && excludes.excludes(b"bX", false));
        assert!(excludes.excludes(b"Keep", false) && !excludes.excludes(b"keep", false));
        assert!(!excludes.excludes("été".as_bytes(), false));
    }

    #[test]
    fn a_file_of_patterns_has_one_a_line() {
        let text = b"\xef\xbb\xbf# comment\r\n\r\n*.tmp \r\ncaf\xe9\n\\#odd";
        let lines: Vec<Vec<u8>> = vec![b"*.tmp".into(), b"caf\xe9".into(), b"\\#odd".into()];
        assert_eq!(Excludes::lines(text), lines);
    }
}
