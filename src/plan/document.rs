//! The files of a plan as one tree of keys and values, each with its place. Files that are included are merged into it,
//! and a key that is set twice, in one file or in two, is an error that names both places. Invariant: no text with a
//! password in a URL gets past here unseen.

use super::finding::{Error, Gathered, Place};
use globset::Glob;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table: its keys, in order.
pub(super) type Table = BTreeMap<String, Entry>;

/// One key.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// Where the value stands; for a table with a header of its own, the header.
    pub place: Place,
    pub value: Value,
}

/// What a key is set to.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Date,
    List(Vec<Entry>),
    Table(Table),
}

impl Value {
    /// What it is, in words.
    pub fn is(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The same without places: how it is written does not matter.
    pub fn json(&self) -> Json {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Date => Json::Null,
            Self::List(list) => list.iter().map(|entry| entry.value.json()).collect(),
            Self::Table(table) => table.iter().map(|(key, entry)| (key.clone(), entry.value.json())).collect(),
        }
    }
}

/// All files of a plan.
pub(super) struct Document {
    pub root: Table,
    /// The file itself, and those that it includes.
    pub files: Vec<PathBuf>,
    /// Of all that they hold.
    pub digest: String,
}

/// Takes the text of a plan apart and reads what it includes. What can't be read as TOML is found in `gathered`.
pub(super) fn parse(path: &Path, text: &str, gathered: &Gathered) -> Result<Document, Error> {
    let mut root = tree(path, text, gathered);
    let (mut files, mut hash) = (vec![path.to_owned()], blake3::Hasher::new());
    hash.update(text.as_bytes());
    for included in included(&root, gathered)? {
        let text = read(&included)?;
        hash.update(text.as_bytes());
        let mut table = tree(&included, &text, gathered);
        if let Some(entry) = table.remove("include") {
            gathered.error("include", &entry.key, "a file that is included includes no others", None);
        }
        merge(&mut root, table, "", gathered);
        files.push(included);
    }
    secrets(&root, "", gathered);
    Ok(Document { root, files, digest: short(&hash) })
}

/// Thirty-two digits of a hash.
pub(super) fn short(hash: &blake3::Hasher) -> String {
    hash.finalize().to_hex().chars().take(32).collect()
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// One file. What is no TOML leaves an empty tree, for the rest would only be guessed at.
fn tree(path: &Path, text: &str, gathered: &Gathered) -> Table {
    let lines = text.match_indices('\n').map(|(at, _)| at + 1);
    let file = File { path: path.into(), text, lines: std::iter::once(0).chain(lines).collect() };
    let (root, errors) = DeTable::parse_recoverable(text);
    let root = file.table(root.get_ref());
    let is_twice = |error: &toml::de::Error| error.message() == "duplicate key";
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let place = file.place(&span);
        if is_twice(error) {
            let key = file.key(&span);
            let first = file.first(&root, &span);
            let first = first.map_or_else(String::new, |first| format!(", first on line {}", first.line));
            gathered.error(key, &place, format!("`{key}` is set twice{first}"), None);
        } else {
            gathered.error("", &place, format!("this is no TOML: {}", error.message()), None);
        }
    }
    if errors.iter().all(is_twice) { root } else { Table::new() }
}

/// A file that is taken apart.
struct File<'t> {
    path: Arc<Path>,
    text: &'t str,
    /// Where each begins.
    lines: Vec<usize>,
}

impl File<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..span.start).unwrap_or_default();
        Place { file: self.path.clone(), line, column: before.chars().count() + 1 }
    }

    fn key(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\''])
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<toml::de::DeString<'_>> = key;
            (key.get_ref().to_string(), self.entry(&key.span(), value))
        };
        table.iter().map(entry).collect()
    }

    fn entry(&self, key: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Entry {
        Entry { key: self.place(key), place: self.place(&value.span()), value: self.value(value.get_ref()) }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                // larger than any number that means something here
                Err(_) => Value::Float(f64::NAN),
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(list.iter().map(|item| self.entry(&item.span(), item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }

    /// Where a key that stands here a second time stood first: the nearest one above it.
    fn first(&self, root: &Table, span: &Range<usize>) -> Option<Place> {
        let second = self.place(span);
        let line = |number: usize| self.text.lines().nth(number.saturating_sub(1)).map(str::trim);
        if line(second.line).is_some_and(|line| line.starts_with('[')) {
            // the tree holds the place of one header only
            let first = (1..second.line).find(|number| line(*number) == line(second.line))?;
            return Some(Place { line: first, column: 1, ..second });
        }
        let mut places = Vec::new();
        places_of(root, self.key(span), &mut places);
        places.into_iter().filter(|place| *place < second).max()
    }
}

fn places_of(table: &Table, key: &str, places: &mut Vec<Place>) {
    for (name, entry) in table {
        if name == key {
            places.push(entry.key.clone());
        }
        if let Value::Table(inner) = &entry.value {
            places_of(inner, key, places);
        }
    }
}

/// Takes the keys of one file into the tree of others.
fn merge(into: &mut Table, from: Table, above: &str, gathered: &Gathered) {
    for (name, entry) in from {
        let key = joined(above, &name);
        let Some(first) = into.get_mut(&name) else {
            into.insert(name, entry);
            continue;
        };
        match (&mut first.value, entry.value) {
            (Value::Table(first), Value::Table(second)) => merge(first, second, &key, gathered),
            _ => gathered.error(&key, &entry.key, format!("`{key}` is set twice, first at {}", first.key), None),
        }
    }
}

/// A key with the tables that it stands in.
pub(super) fn joined(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

/// The files that a plan includes, in order of their names. A pattern matches names in one folder.
fn included(root: &Table, gathered: &Gathered) -> Result<Vec<PathBuf>, Error> {
    let Some(Entry { value: Value::List(patterns), .. }) = root.get("include") else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for Entry { place, value, .. } in patterns {
        // what is no text is told when the key is read
        let Value::Text(pattern) = value else { continue };
        let path = place.path(pattern);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(glob) = Glob::new(name).map(|glob| glob.compile_matcher()) else {
            gathered.error("include", place, format!("`{name}` is no pattern of names"), None);
            continue;
        };
        let in_folder = |source| Error::File { path: folder.to_owned(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(in_folder)? {
            let name = entry.map_err(in_folder)?.file_name();
            if glob.is_match(&name) {
                names.push(path.with_file_name(name));
            }
        }
        if names.is_empty() && !name.contains(['*', '?', '[', '{']) {
            gathered.error("include", place, format!("there is no file {}", path.display()), None);
        }
        names.sort();
        files.extend(names);
    }
    Ok(files)
}

/// Finds passwords in URLs, wherever they stand.
fn secrets(table: &Table, above: &str, gathered: &Gathered) {
    table.iter().for_each(|(name, entry)| secret(entry, &joined(above, name), gathered));
}

fn secret(entry: &Entry, key: &str, gathered: &Gathered) {
    match &entry.value {
        Value::Text(text) if has_password(text) => gathered.error(
            key,
            &entry.place,
            format!("`{key}` holds a password"),
            Some(
                "no secret stands in a plan: keep it in a variable of the environment, which a key that ends in _env \
                  names, or in a file"
                    .into(),
            ),
        ),
        Value::List(list) => list.iter().for_each(|item| secret(item, key, gathered)),
        Value::Table(table) => secrets(table, key, gathered),
        _ => {}
    }
}

/// True if a text has a URL with a password in it, or words like `password=`. One that a shell puts in is none.
pub(super) fn has_password(text: &str) -> bool {
    let is_word = |word: &&str| !word.is_empty() && !word.starts_with(['$', '<', '{']);
    let end = |sign: char| sign.is_whitespace() || "/?#\"'&".contains(sign);
    let in_urls = text.split("://").skip(1).any(|rest| {
        let authority = rest.split(end).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        user.split_once(':').map(|(_, password)| password).filter(is_word).is_some()
    });
    let lower = text.to_ascii_lowercase();
    let in_words = ["password=", "passwd=", "secret_access_key=", "account_key=", "application_key="];
    let is_said = |word: &&str| lower.split(*word).skip(1).any(|rest| is_word(&rest.split(end).next().unwrap_or("")));
    in_urls || in_words.iter().any(is_said)
}

#[cfg(test)]
mod tests {
    use super::has_password;

    #[test]
    fn passwords_are_seen_and_what_names_them_is_not() {
        let with = [
            "postgres://app:hunter2@db/app",
            "psql 'postgres://app:hunter2@db/app'",
            "mysql://root:p%40ss@[::1]:3306/x",
            "redis://:hunter2@cache:6379",
            "host=db user=app password=hunter2",
            "postgres://app@db/app?sslmode=require&password=hunter2",
            "s3://bucket/x?secret_access_key=abc",
        ];
        let without = [
            "postgres://app@db/app",
            "postgres://db:5432/app",
            "postgres://app:$PASSWORD@db/app",
            "postgres://app:@db/app",
            "https://example.com/a:b@c",
            "s3://bucket/folder?region=eu-west-1",
            "select 'password' from t",
            "--password-file=x",
            "plain",
        ];
        with.iter().for_each(|text| assert!(has_password(text), "{text}"));
        without.iter().for_each(|text| assert!(!has_password(text), "{text}"));
    }
}
