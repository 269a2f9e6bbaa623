//! What a pattern means where the walk begins. A pattern is relative to the root of the snapshot, and people write paths
//! all the same: one below the root is made relative to it, and what can match nothing is refused or doubted.

use super::OpenError;
use super::exclude::shown;
use globset::GlobBuilder;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where patterns are read from: the root as it was named, and as the kernel calls it.
pub struct Root {
    bases: Vec<PathBuf>,
}

impl Root {
    /// The root of a snapshot.
    pub fn new(base: &Path) -> Self {
        let mut bases = vec![base.to_owned()];
        bases.extend(std::fs::canonicalize(base).ok().filter(|real| real != base));
        Self { bases }
    }

    /// The pattern relative to the root, and why it may match nothing.
    pub fn relative(&self, pattern: &[u8]) -> Result<(Vec<u8>, Option<String>), OpenError> {
        let wrong = |why: &str| OpenError::Pattern { pattern: shown(pattern), why: why.to_owned() };
        let (sign, path) = pattern.strip_prefix(b"!").map_or((&b""[..], pattern), |path| (&b"!"[..], path));
        let (path, end) = path.strip_suffix(b"/").map_or((path, &b""[..]), |path| (path, &b"/"[..]));
        let is_bound = path.contains(&b'/') || end == b"/" && path == b".";
        let parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&b"..".as_slice()) {
            return Err(wrong("`..` leads nowhere: patterns are relative to the root of the snapshot"));
        }
        if parts.is_empty() {
            return Err(wrong("it names nothing"));
        }
        let below = path.starts_with(b"/").then(|| self.below(&parts)).flatten();
        let parts = match &below {
            Some([]) => return Err(wrong("it is the root of the snapshot, and nothing would be left")),
            Some(below) => below,
            None => parts.as_slice(),
        };
        let slash: &[u8] = if is_bound && parts.first() != Some(&b"**".as_slice()) { b"/" } else { b"" };
        let relative = [sign, slash, &parts.join(&b'/'), end].concat();
        let doubt = if below.is_none() && is_bound { self.doubt(path, parts) } else { None };
        Ok((relative, doubt.map(|why| format!("the pattern '{}' matches nothing: {why}", shown(pattern)))))
    }

    /// What is left of an absolute pattern below the root.
    fn below<'p>(&self, parts: &'p [&'p [u8]]) -> Option<&'p [&'p [u8]]> {
        self.bases.iter().find_map(|base| strip(parts, base))
    }

    /// Why a pattern that leads through folders matches nothing, if it looks as if it means a path elsewhere.
    fn doubt(&self, path: &[u8], parts: &[&[u8]]) -> Option<String> {
        let is_plain = !path.iter().any(|byte| b"*?[]{}\\".contains(byte));
        let base = self.bases.first()?;
        let here = base.join(OsStr::from_bytes(&parts.join(&b'/')));
        if !is_plain || here.symlink_metadata().is_ok() {
            return None;
        }
        let meant = std::path::absolute(OsStr::from_bytes(path)).ok()?;
        meant.symlink_metadata().ok()?;
        let all: Vec<&[u8]> = meant.components().filter_map(plain).collect();
        Some(match self.below(&all) {
            Some(below) => format!("say '/{}', from the root of the snapshot", shown(&below.join(&b'/'))),
            None => format!("it lies outside of {}", base.display()),
        })
    }
}

fn plain<'p>(part: Component<'p>) -> Option<&'p [u8]> {
    if let Component::Normal(name) = part { Some(name.as_bytes()) } else { None }
}

/// What is left of a path with wildcards below a folder; `None` if it does not lead there, or if that is the root of
/// all.
fn strip<'p>(parts: &'p [&'p [u8]], base: &Path) -> Option<&'p [&'p [u8]]> {
    let mut left = parts;
    for name in base.components().filter_map(plain) {
        let (first, rest) = left.split_first()?;
        if *first == b"**" {
            return Some(left);
        }
        if *first != name && !fits(first, name) {
            return None;
        }
        left = rest;
    }
    (left.len() < parts.len()).then_some(left)
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let glob = std::str::from_utf8(pattern).ok().and_then(|text| GlobBuilder::new(text).build().ok());
    glob.is_some_and(|glob| glob.compile_matcher().is_match(Path::new(OsStr::from_bytes(name))))
}

#[cfg(test)]
mod tests {
    use super::Root;
    use std::path::PathBuf;

    fn relative(base: &str, pattern: &str) -> Option<String> {
        let root = Root { bases: vec![PathBuf::from(base)] };
        root.relative(pattern.as_bytes()).ok().map(|(pattern, _)| String::from_utf8(pattern).unwrap())
    }

    #[test]
    fn a_path_below_the_root_is_made_relative_to_it() {
        // Root, pattern, what it means there.
        let table = [
            ("/srv/up", "/srv/up/cache", Some("/cache")),
            ("/srv/up", "/srv/up/cache/", Some("/cache/")),
            ("/srv/up", "!/srv/up/a/*.log", Some("!/a/*.log")),
            ("/srv/up", "/srv/*/cache", Some("/cache")),
            ("/srv/up", "/srv/**/cache", Some("**/cache")),
            ("/srv/up", "/srv//./up/x", Some("/x")),
            ("/srv/up", "./cache", Some("/cache")),
            ("/srv/up", "././cache/", Some("/cache/")),
            ("/srv/up", "a//b", Some("/a/b")),
            ("/srv/up", "/cache", Some("/cache")),
            ("/srv/up", "/srv/upper/x", Some("/srv/upper/x")),
            ("/srv/up", "/srv", Some("/srv")),
            ("/srv/up", "*.tmp", Some("*.tmp")),
            ("/srv/up", "cache/", Some("cache/")),
            ("/srv/up", "**/x/y", Some("**/x/y")),
            ("/", "/srv/up", Some("/srv/up")),
            ("/srv/up", "/srv/up", None),
            ("/srv/up", "../x", None),
            ("/srv/up", "a/../b", None),
            ("/srv/up", ".", None),
            ("/srv/up", "./", None),
            ("/srv/up", "/", None),
        ];
        for (base, pattern, expected) in table {
            assert_eq!(relative(base, pattern).as_deref(), expected, "{pattern} from {base}");
        }
    }

    #[test]
    fn a_path_elsewhere_is_doubted() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().join("source");
        std::fs::create_dir_all(base.join("inner/deep")).unwrap();
        std::fs::create_dir(place.path().join("other")).unwrap();
        let doubt = |pattern: String| Root::new(&base).relative(pattern.as_bytes()).unwrap().1;
        let other = place.path().join("other").display().to_string();
        assert!(doubt(other.clone()).unwrap().contains("outside"));
        assert_eq!(doubt(base.join("inner").display().to_string()), None);
        assert_eq!(doubt("/inner/deep".into()), None);
        assert_eq!(doubt(format!("{other}/*")), None);
        assert_eq!(doubt("/nowhere/at/all".into()), None);
    }
}
