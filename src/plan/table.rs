//! One table of a plan while it is read: each key is asked for with the type that it must have. What does not fit is
//! noted with its place, and reading goes on, so that all errors of a plan are told at once. Invariant: a key that
//! nobody asks for is unknown, and unknown keys are errors.

use super::document::{Entry, Table, Value, has_password, joined};
use super::finding::{Gathered, Needed, Place, Variable};
use crate::backend::Location;
use crate::backend::nearby;
use crate::{size, time};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// A table that is read.
pub(super) struct Reader<'a> {
    /// Its name with the tables above it.
    pub name: String,
    pub place: Place,
    pub gathered: &'a Gathered,
    entries: Option<&'a Table>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    /// A table that may lack: then nothing is set in it.
    pub fn new(name: String, place: Place, entries: Option<&'a Table>, gathered: &'a Gathered) -> Self {
        Self { name, place, gathered, entries, asked: RefCell::default() }
    }

    /// The key with its tables.
    pub fn key(&self, key: &str) -> String {
        joined(&self.name, key)
    }

    /// Its entry, if it is set.
    pub fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.asked.borrow_mut().insert(key);
        self.entries?.get(key)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a> {
        self.entries.into_iter().flatten()
    }

    /// Notes an error in the value of a key.
    pub fn wrong(&self, key: &str, problem: impl Into<String>) {
        let place = self.entries.and_then(|entries| entries.get(key)).map_or(&self.place, |entry| &entry.place);
        self.gathered.error(&self.key(key), place, problem, None);
    }

    /// Notes that a key must be set.
    pub fn lacks(&self, key: &str, hint: Option<&str>) {
        let problem = format!("`{key}` is missing in [{}]", self.name);
        self.gathered.error(&self.key(key), &self.place, problem, hint.map(str::to_owned));
    }

    /// Notes a value of the wrong type.
    fn mistyped(&self, key: &str, entry: &Entry, wants: &str) {
        let problem = format!("`{key}` must be {wants}, not {}", entry.value.is());
        self.gathered.error(&self.key(key), &entry.place, problem, None);
    }

    fn text_of(&self, key: &str, entry: &'a Entry) -> Option<&'a str> {
        match &entry.value {
            Value::Text(text) => Some(text),
            _ => {
                self.mistyped(key, entry, "a text");
                None
            }
        }
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        self.text_of(key, self.entry(key)?).map(str::to_owned)
    }

    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        match entry.value {
            Value::Flag(flag) => Some(flag),
            _ => {
                self.mistyped(key, entry, "true or false");
                None
            }
        }
    }

    /// A whole number from `least` on.
    pub fn number(&self, key: &'static str, least: u32) -> Option<u32> {
        let entry = self.entry(key)?;
        let number = if let Value::Integer(number) = entry.value { u32::try_from(number).ok() } else { None };
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            let problem = format!("`{key}` must be a whole number from {least} on");
            self.gathered.error(&self.key(key), &entry.place, problem, None);
        }
        number
    }

    /// Any number.
    pub fn figure(&self, key: &'static str) -> Option<f64> {
        let entry = self.entry(key)?;
        match entry.value {
            #[allow(clippy::cast_precision_loss, reason = "a plan names no number beyond 2^53 that matters")]
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) if number.is_finite() => Some(number),
            _ => {
                self.mistyped(key, entry, "a number");
                None
            }
        }
    }

    /// A text that stands for something else.
    pub fn parsed<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let entry = self.entry(key)?;
        self.parse_entry(key, entry, parse)
    }

    fn parse_entry<T>(&self, key: &str, entry: &'a Entry, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text_of(key, entry)?;
        let wrong = |why: String| {
            let problem = format!("{} is no value for `{key}`: {why}", shown(text));
            self.gathered.error(&self.key(key), &entry.place, problem, None);
        };
        parse(text).map_err(wrong).ok()
    }

    /// What implements reading from a text.
    pub fn spelled<T: FromStr<Err = String>>(&self, key: &'static str) -> Option<T> {
        self.parsed(key, str::parse)
    }

    /// A length of time.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, time::parse_duration)
    }

    /// A length of time above nothing.
    pub fn period(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, |text| match time::parse_duration(text) {
            Ok(Duration::ZERO) => Err("it must be longer than nothing".into()),
            length => length,
        })
    }

    /// How often something is due, or `never`. Longer than a day it is counted on the calendar, and so in whole days.
    pub fn interval(&self, key: &'static str) -> Option<Option<Duration>> {
        if matches!(self.entry(key), Some(Entry { value: Value::Text(text), .. }) if text == "never") {
            return Some(None);
        }
        let length = self.period(key)?;
        let below = whole_days(length);
        if below != length
            && let Some(entry) = self.entry(key)
        {
            let problem = format!("`{key}` is longer than a day, and not of whole days");
            let [below, above] = [below, below + DAY].map(time::show_duration);
            let hint = format!("write `{key} = \"{below}\"` or `{key} = \"{above}\"`");
            self.gathered.error(&self.key(key), &entry.place, problem, Some(hint));
        }
        Some(Some(below))
    }

    pub fn size(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, size::parse)
    }

    pub fn rate(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, size::parse_rate)
    }

    /// One of a few words, each with what it means.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.parsed(key, |text| one_of(text, words))
    }

    /// A list of texts.
    pub fn list(&self, key: &'static str) -> Option<Vec<String>> {
        Some(self.items(key)?.into_iter().map(|(text, _)| text).collect())
    }

    /// The same, or a single text, each with its place.
    pub fn some(&self, key: &'static str) -> Option<Vec<(String, Place)>> {
        match self.entry(key)? {
            Entry { value: Value::Text(text), place, .. } => Some(vec![(text.clone(), place.clone())]),
            _ => self.items(key),
        }
    }

    fn items(&self, key: &'static str) -> Option<Vec<(String, Place)>> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value else {
            self.mistyped(key, entry, "a list of texts");
            return None;
        };
        Some(items.iter().filter_map(|item| Some((self.text_of(key, item)?.to_owned(), item.place.clone()))).collect())
    }

    /// A program and its arguments.
    pub fn argv(&self, key: &'static str) -> Option<Vec<String>> {
        let words = self.list(key)?;
        if words.first().is_none_or(String::is_empty) {
            self.wrong(key, format!("`{key}` names no program"));
        }
        Some(words)
    }

    /// A path, from the folder of the file that it stands in.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        let entry = self.entry(key)?;
        let text = self.text_of(key, entry)?;
        if text.is_empty() {
            self.wrong(key, format!("`{key}` is empty"));
        }
        Some(entry.place.path(text))
    }

    /// One or several paths.
    pub fn paths(&self, key: &'static str) -> Option<Vec<PathBuf>> {
        let texts = self.some(key)?;
        Some(texts.into_iter().map(|(text, place)| place.path(text)).collect())
    }

    /// The file that a key names must be there.
    pub fn need(&self, key: &'static str, path: &std::path::Path, may_lack: bool) {
        let Some(entry) = self.entry(key) else { return };
        let needed = Needed { path: path.to_owned(), key: self.key(key), place: entry.place.clone(), may_lack };
        self.gathered.needed.borrow_mut().push(needed);
    }

    /// A file that must be there.
    pub fn file(&self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.need(key, &path, false);
        Some(path)
    }

    /// The name of a variable of the environment.
    pub fn variable(&self, key: &'static str) -> Option<String> {
        let entry = self.entry(key)?;
        let name = self.text_of(key, entry)?.to_owned();
        self.is_variable(key, &name, &entry.place).then_some(name)
    }

    /// One or several of them.
    pub fn variables(&self, key: &'static str) -> Option<Vec<String>> {
        let names = self.some(key)?;
        Some(
            names
                .into_iter()
                .filter(|(name, place)| self.is_variable(key, name, place))
                .map(|(name, _)| name)
                .collect(),
        )
    }

    fn is_variable(&self, key: &str, name: &str, place: &Place) -> bool {
        let is_one = !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let key = self.key(key);
        if is_one {
            let variable = Variable { name: name.to_owned(), key, place: place.clone() };
            self.gathered.variables.borrow_mut().push(variable);
        } else {
            // it may be the secret itself
            let problem = format!("`{key}` must be the name of a variable of the environment, like DATABASE_URL");
            self.gathered.error(&key, place, problem, None);
        }
        is_one
    }

    /// Where objects lie.
    pub fn location(&self, key: &'static str) -> Option<Location> {
        let entry = self.entry(key)?;
        let text = self.text_of(key, entry)?;
        match Location::parse(text) {
            Ok(location) if location.holds_secret() && !has_password(text) => {
                let problem = format!("`{}` holds a secret", self.key(key));
                let hint = "no secret stands in a plan: credentials come from the environment".to_owned();
                self.gathered.error(&self.key(key), &entry.place, problem, Some(hint));
                None
            }
            Ok(Location::Local(path)) => Some(Location::Local(entry.place.path(path))),
            Ok(location) => Some(location),
            // of a password in it there is a finding already
            Err(_) if has_password(text) => None,
            Err(error) => {
                self.wrong(key, format!("`{}` is no location: {error}", self.key(key)));
                None
            }
        }
    }

    /// A table inside of this one.
    pub fn table(&self, key: &'static str) -> Option<Reader<'a>> {
        let entry = self.entry(key)?;
        self.inner(key, entry)
    }

    /// The same, of which nothing is set if it is not there.
    pub fn table_or_none(&self, key: &'static str) -> Reader<'a> {
        self.table(key).unwrap_or_else(|| Reader::new(self.key(key), self.place.clone(), None, self.gathered))
    }

    /// The table that one of the entries is.
    pub fn inner(&self, key: &str, entry: &'a Entry) -> Option<Reader<'a>> {
        match &entry.value {
            Value::Table(table) => Some(Reader::new(self.key(key), entry.place.clone(), Some(table), self.gathered)),
            _ => {
                self.mistyped(key, entry, "a table");
                None
            }
        }
    }

    /// A list of tables.
    pub fn tables(&self, key: &'static str) -> Option<Vec<Reader<'a>>> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value else {
            self.mistyped(key, entry, "a list of tables");
            return None;
        };
        Some(items.iter().filter_map(|item| self.inner(key, item)).collect())
    }

    /// At the end: keys that nobody asked for are unknown. `elsewhere` tells where such a key would belong.
    pub fn finish(&self, known: &[&str], elsewhere: impl Fn(&str) -> Option<String>) {
        let asked = self.asked.borrow();
        debug_assert_eq!(*asked, known.iter().copied().collect(), "all keys of [{}] are asked for", self.name);
        for (key, entry) in self.entries().filter(|(key, _)| !known.contains(&key.as_str())) {
            let secret = format!("{key}_env");
            let (problem, hint) = if let Some(where_to) = elsewhere(key) {
                (format!("`{key}` {where_to}"), None)
            } else if known.contains(&secret.as_str()) {
                let hint = format!("no secret stands in a plan: `{secret}` names the variable that holds it");
                (format!("unknown key `{key}`"), Some(hint))
            } else {
                // a secret is what comes to mind first
                let variable = key.strip_suffix("_url").map(|of| format!("{of}_env"));
                let variable = known.iter().find(|known| Some(**known) == variable.as_deref()).copied();
                let near = variable.or_else(|| nearby::nearest(key, known.iter().copied()));
                (format!("unknown key `{key}`"), near.map(|near| format!("did you mean `{near}`?")))
            };
            self.gathered.error(&self.key(key), &entry.key, problem, hint);
        }
    }

    /// At the end of a table of which all keys are known.
    pub fn done(&self, known: &[&str]) {
        self.finish(known, |_| None);
    }
}

/// The whole days of a length of more than one; less is left as it is.
pub(super) fn whole_days(length: Duration) -> Duration {
    let over = length.as_nanos() % DAY.as_nanos();
    if length < DAY { length } else { length.saturating_sub(Duration::from_nanos(over.try_into().unwrap_or(u64::MAX))) }
}

/// What one of a few words means.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    let meant = words.iter().find(|(word, _)| *word == text).map(|(_, means)| *means);
    meant.ok_or_else(|| {
        let names = words.iter().map(|(word, _)| *word);
        match nearby::nearest(text, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it is one of {}", names.collect::<Vec<_>>().join(", ")),
        }
    })
}

/// A value as it may be shown: words that could be a secret are not.
pub(super) fn shown(text: &str) -> String {
    let is_plain = text.len() <= 40 && !text.contains("://") && !text.contains('@');
    if is_plain { format!("\"{}\"", text.escape_debug()) } else { "this".to_owned() }
}
