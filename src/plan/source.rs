//! A source of the plan: what is backed up, when, what is expected of it, and how long its snapshots are kept. Keys that
//! every kind has are read here; `[defaults]` has some of them, and a source that does not say otherwise inherits those.
//! Invariant: the digest changes with what the snapshots hold, and not with when or for whom they are taken.

use super::document::{Entry, Value, short};
use super::drill::{self, Drill};
use super::finding::Place;
use super::kind::{self, Kind, Word};
use super::schema;
use super::table::{Reader, one_of, whole_days};
use crate::retention::{Amount, Length, Policy};
use jiff::civil::Time;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use vault_format::snapshot::is_source_name;

/// How often a source is due that does not say.
const EVERY: Duration = Duration::from_hours(24);
/// How long a run may take that does not say.
const TIMEOUT: Duration = Duration::from_hours(12);
/// How soon a failed run is tried again.
const RETRY: Duration = Duration::from_mins(10);
/// How long a hook may take.
const HOOK_TIMEOUT: Duration = Duration::from_mins(5);
/// Smaller than this part of the usual size is suspect.
pub(super) const SIZE_DROP: f64 = 0.8;
/// The plan itself is stored under this name.
pub const PLAN_NAME: &str = "vault-plan";

/// What is backed up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Source {
    /// Its name in the domain.
    pub name: String,
    /// What kind, with what only that kind has.
    pub kind: Kind,
    /// When it is due; `None`: only by name.
    pub every: Option<Duration>,
    /// Not before these times of a day, in order; empty for any.
    pub at: Vec<Time>,
    /// The longest random wait before the start.
    pub jitter: Duration,
    /// A failed run is due again after this, doubling up to `every`.
    pub retry: Duration,
    /// The newest good snapshot may be so old.
    pub rpo: Option<Duration>,
    /// A restore may take so long.
    pub rto: Option<Duration>,
    /// What is kept; `None` for all.
    pub keep: Option<Policy>,
    /// Put on snapshots, in order.
    pub tags: Vec<String>,
    /// Put on snapshots.
    pub description: String,
    /// Sources of one set run one after the other.
    pub set: Option<String>,
    /// A run that takes longer has failed.
    pub timeout: Duration,
    /// Commands around a run.
    pub hooks: Hooks,
    /// Less than this part of the usual bytes is suspect; 0 for never.
    pub size_drop: f64,
    /// More than so many times the usual bytes are suspect.
    pub size_rise: Option<f64>,
    /// Whether changed content is stored as a difference.
    pub delta: Delta,
    /// Nothing changed, no snapshot, and yet a success.
    pub skip_if_unchanged: bool,
    /// It is run and judged.
    pub enabled: bool,
    /// Names the variable with the URL that is told of start and end.
    pub ping_env: Option<String>,
    /// How a restore of it is tried.
    pub drill: Option<Drill>,
    /// Where it stands.
    pub place: Place,
    /// Where relative paths begin, and where its commands run.
    pub folder: PathBuf,
    /// Of what decides on the content of its snapshots: another one, and sizes are compared no further back.
    pub digest: String,
}

/// Whether content is stored as the difference to what was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delta {
    /// Where it pays.
    #[default]
    Auto,
    /// Wherever it can be.
    Always,
    /// Nowhere.
    Never,
}

impl Delta {
    /// All, with their words.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];

    /// The one of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, delta)| *delta)
    }
}

/// Commands around a run.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// First; if one fails, the source has failed.
    pub before: Vec<Hook>,
    /// After success.
    pub after: Vec<Hook>,
    /// After failure.
    pub failed: Vec<Hook>,
    /// Last, whatever happened.
    pub finally: Vec<Hook>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Hook {
    /// A program and its arguments.
    pub run: Vec<String>,
    /// Its process group is ended after this.
    pub timeout: Duration,
}

/// What a source takes from `[defaults]` unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited {
    keep: Option<Option<Policy>>,
    every: Option<Option<Duration>>,
    rpo: Option<Duration>,
    rto: Option<Duration>,
    timeout: Option<Duration>,
    jitter: Option<Duration>,
    tags: Option<Vec<String>>,
    pub size_drop: Option<f64>,
    size_rise: Option<f64>,
}

impl Inherited {
    pub fn read(table: &Reader<'_>) -> Self {
        Self {
            keep: table.table("keep").map(|keep| policy(&keep)),
            every: table.interval("every"),
            rpo: table.period("rpo"),
            rto: table.period("rto"),
            timeout: table.period("timeout"),
            jitter: table.duration("jitter"),
            tags: table.list("tags"),
            size_drop: size_drop(table),
            size_rise: size_rise(table),
        }
    }

    fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            keep: self.keep.or(other.keep),
            every: self.every.or(other.every),
            rpo: self.rpo.or(other.rpo),
            rto: self.rto.or(other.rto),
            timeout: self.timeout.or(other.timeout),
            jitter: self.jitter.or(other.jitter),
            tags: self.tags.or(other.tags),
            size_drop: self.size_drop.or(other.size_drop),
            size_rise: self.size_rise.or(other.size_rise),
        }
    }
}

/// A part from 0 to 1.
pub(super) fn size_drop(table: &Reader<'_>) -> Option<f64> {
    let part = table.figure("size_drop")?;
    if !(0.0..=1.0).contains(&part) {
        table.wrong("size_drop", "`size_drop` is a part of the usual size, like 0.8; 0 is never");
    }
    Some(part)
}

fn size_rise(table: &Reader<'_>) -> Option<f64> {
    let times = table.figure("size_rise")?;
    if times <= 1.0 {
        table.wrong("size_rise", "`size_rise` is a multiple of the usual size, like 3");
    }
    Some(times)
}

/// What is kept; nothing said is all.
fn policy(keep: &Reader<'_>) -> Option<Policy> {
    let tags = keep.table("tags");
    let length = |(tag, entry): (&String, &Entry)| {
        let length = match &entry.value {
            Value::Text(text) => Length::from_str(text),
            other => Err(format!("it must be a text like 1y, not {}", other.is())),
        };
        let wrong = |why| {
            let key = format!("{}.{tag}", keep.key("tags"));
            keep.gathered.error(&key, &entry.place, format!("`{tag}` is kept for how long? {why}"), None);
        };
        length.map_err(wrong).ok().map(|length| (tag.clone(), length))
    };
    let policy = Policy {
        last: keep.number("last", 1),
        hourly: amount(keep, "hourly"),
        daily: amount(keep, "daily"),
        weekly: amount(keep, "weekly"),
        monthly: amount(keep, "monthly"),
        yearly: amount(keep, "yearly"),
        within: keep.spelled("within"),
        tags: Vec::new(),
        tags_for: tags.iter().flat_map(Reader::entries).filter_map(length).collect(),
    };
    keep.done(schema::KEEP);
    (!policy.is_empty()).then_some(policy)
}

/// A number, or a length of time.
fn amount(keep: &Reader<'_>, key: &'static str) -> Option<Amount> {
    match keep.entry(key)?.value {
        Value::Integer(_) => keep.number(key, 1).map(Amount::Count),
        _ => keep.spelled(key),
    }
}

/// Times of a day, in order.
fn times(table: &Reader<'_>) -> Vec<Time> {
    let mut times = Vec::new();
    for (text, place) in table.some("at").unwrap_or_default() {
        let is_time = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        match text.parse::<Time>().ok().filter(|_| is_time) {
            Some(time) => times.push(time),
            None => {
                let key = table.key("at");
                table.gathered.error(&key, &place, "a time of a day is written like \"02:00\"", None);
            }
        }
    }
    times.sort_unstable();
    times.dedup();
    times
}

fn hooks(table: &Reader<'_>) -> Hooks {
    let read = |key: &'static str| {
        let hook = |hook: Reader<'_>| {
            let run = hook.argv("run");
            if run.is_none() && hook.entry("run").is_none() {
                hook.lacks("run", None);
            }
            let timeout = hook.period("timeout").unwrap_or(HOOK_TIMEOUT);
            hook.done(schema::HOOK);
            Some(Hook { run: run?, timeout })
        };
        table.tables(key).unwrap_or_default().into_iter().filter_map(hook).collect()
    };
    Hooks { before: read("before"), after: read("after"), failed: read("failed"), finally: read("finally") }
}

/// One source. `None` if its kind is not known, so that nothing more can be said of it.
pub(super) fn read(name: &str, table: &Reader<'_>, defaults: &Inherited) -> Option<Source> {
    if !is_source_name(name) || name == PLAN_NAME {
        let problem = if name == PLAN_NAME {
            format!("`{PLAN_NAME}` is the name under which the plan itself is stored")
        } else {
            "a name of a source has letters, digits, '.', '_' and '-', and is not latest".to_owned()
        };
        table.gathered.error(&table.name, &table.place, problem, None);
    }
    let word = table.parsed("kind", |text| one_of(text, kind::WORDS));
    if table.entry("kind").is_none() {
        let words: Vec<_> = kind::WORDS.iter().map(|(word, _)| *word).collect();
        table.lacks("kind", Some(&format!("it is one of {}", words.join(", "))));
    }
    let own = Inherited::read(table);
    let said = own.clone().or(defaults);
    let every = said.every.unwrap_or(Some(said.rpo.map_or(EVERY, whole_days)));
    let timing = Timing { every, at: times(table), rpo: said.rpo };
    let mut tags = said.tags.unwrap_or_default();
    tags.sort();
    tags.dedup();
    let (description, set) = (table.text("description").unwrap_or_default(), table.text("set"));
    let (hooks, retry) = (hooks(table), table.period("retry").unwrap_or(RETRY.min(every.unwrap_or(RETRY))));
    let delta = table.word("delta", &Delta::WORDS);
    let (skip, enabled) = (table.flag("skip_if_unchanged"), table.flag("enabled").unwrap_or(true));
    let (ping_env, drill) = (table.variable("ping_env"), table.table("drill"));
    let word = word?;
    timing.judge(table, word);
    let kind = kind::read(name, table, word);
    let drill = drill.map(|drill| drill::read(&drill, word, said.rto));
    Some(Source {
        name: name.to_owned(),
        kind: kind?,
        every,
        at: timing.at,
        jitter: said.jitter.unwrap_or_default(),
        retry,
        rpo: said.rpo,
        rto: said.rto,
        keep: said.keep.flatten(),
        tags,
        description,
        set,
        timeout: said.timeout.unwrap_or(TIMEOUT),
        hooks,
        size_drop: said.size_drop.unwrap_or(SIZE_DROP),
        size_rise: said.size_rise,
        delta: delta.unwrap_or_default(),
        skip_if_unchanged: skip.unwrap_or(matches!(word, Word::Directory | Word::Bucket | Word::Command)),
        enabled,
        ping_env,
        drill,
        place: table.place.clone(),
        folder: table.place.folder(),
        digest: digest(table, word),
    })
}

/// Of the keys that decide on the content, whatever their order and however they are written.
fn digest(table: &Reader<'_>, kind: Word) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(kind.name().as_bytes());
    for (key, entry) in table.entries().filter(|(key, _)| kind.keys().contains(&key.as_str())) {
        hash.update(format!("\n{key} = {}", entry.value.json()).as_bytes());
    }
    short(&hash)
}

/// When a source is due, and what is expected.
struct Timing {
    every: Option<Duration>,
    at: Vec<Time>,
    rpo: Option<Duration>,
}

impl Timing {
    fn judge(&self, table: &Reader<'_>, kind: Word) {
        if !self.at.is_empty() && self.every.is_none_or(|every| every < Duration::from_hours(24)) {
            let hint = "it goes with an `every` of a day or more".to_owned();
            table.gathered.error(&table.key("at"), &table.place, "`at` has no meaning here", Some(hint));
        }
        let is_late = self.every.zip(self.rpo).is_some_and(|(every, rpo)| every > rpo);
        // the data of a base is as new as the WAL behind it
        if is_late && kind != Word::PostgresBase && kind != Word::Stdin {
            let problem = "`every` is longer than `rpo`, which will be missed each time";
            table.gathered.warn(&table.key("every"), &table.place, problem, None);
        }
    }
}
