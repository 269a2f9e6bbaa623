//! Patterns that leave entries out of a walk, in the manner of `.gitignore`. A pattern is relative to the root of the
//! snapshot: with a slash at the start or in the middle it is bound to it, else it matches at any depth. A slash at
//! the end matches directories only, `!` takes an entry back in, and the last match decides.

use super::{OpenError, Options};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The compiled patterns of one walk.
#[derive(Clone, Debug)]
pub struct Excludes {
    globs: GlobSet,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    directories_only: bool,
    keeps: bool,
}

impl Excludes {
    /// Compiles the patterns of the options, and then those of their files.
    pub fn new(options: &Options) -> Result<Self, OpenError> {
        let mut patterns: Vec<String> = options.exclude.clone();
        for path in &options.exclude_files {
            let text = std::fs::read_to_string(path).map_err(|error| OpenError::Path { path: path.clone(), error })?;
            let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
            patterns.extend(lines.map(str::to_owned));
        }
        Self::compile(&patterns)
    }

    fn compile(patterns: &[String]) -> Result<Self, OpenError> {
        let mut builder = GlobSetBuilder::new();
        let mut rules = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let wrong = |why: String| OpenError::Pattern { pattern: pattern.clone(), why };
            let (keeps, text) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |text| (true, text));
            let (directories_only, text) = text.strip_suffix('/').map_or((false, text), |text| (true, text));
            let bound = text.contains('/');
            let text = text.strip_prefix('/').unwrap_or(text);
            if text.is_empty() {
                return Err(wrong("it names nothing".to_owned()));
            }
            let text = if bound { text.to_owned() } else { format!("**/{text}") };
            let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
            builder.add(glob.map_err(|error| wrong(error.kind().to_string()))?);
            rules.push(Rule { directories_only, keeps });
        }
        let whole = |error: globset::Error| OpenError::Pattern { pattern: patterns.join(" "), why: error.to_string() };
        Ok(Self { globs: builder.build().map_err(whole)?, rules })
    }

    /// True if there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True if the entry at this path below the root is left out. Parents are not looked at: they are never entered.
    pub fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let matches = self.globs.matches(Path::new(OsStr::from_bytes(path)));
        let rules = matches.iter().rev().filter_map(|index| self.rules.get(*index));
        let mut rules = rules.filter(|rule| is_directory || !rule.directories_only);
        rules.next().is_some_and(|rule| !rule.keeps)
    }
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
            let excludes = Excludes::compile(&[pattern.to_owned()]).unwrap();
            assert_eq!(excludes.excludes(path.as_bytes(), is_directory), expected, "{pattern} on {path}");
        }
        let excludes = Excludes::compile(&["*.log".into(), "!keep.log".into()]).unwrap();
        assert!(excludes.excludes(b"a.log", false) && !excludes.excludes(b"keep.log", false));
        assert!(excludes.excludes(b"\xff\xfe.log", false));
        assert!(Excludes::compile(&["/".into()]).is_err() && Excludes::compile(&["[".into()]).is_err());
    }
}
