//! Whom a plan tells what happened, what health judges besides the objectives of sources, and where figures are written.
//! Addresses that let anybody send are secrets, and named by variables of the environment.

use super::schema;
use super::source::{SIZE_DROP, size_drop};
use super::table::{Reader, one_of};
use std::path::PathBuf;
use std::time::Duration;

/// The port of mail that programs hand in.
const SUBMISSION: u16 = 587;

/// Whom it tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Alerts {
    /// Where to, over HTTP.
    pub webhooks: Vec<Webhook>,
    /// By mail.
    pub email: Option<Email>,
    /// A program that gets the message as JSON.
    pub command: Option<Vec<String>>,
    /// Names the variable with the URL that is told of each run's start and end.
    pub ping_env: Option<String>,
    /// What is told, without repetitions.
    pub on: Vec<Event>,
    /// What lasts is told again after this.
    pub repeat: Duration,
    /// Less room than this is told.
    pub storage_low: Option<u64>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Names the variable with the URL.
    pub variable: String,
    /// Its form; `None`: what the host of the URL wants.
    pub format: Option<Format>,
}

/// Forms of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Slack.
    Slack,
    /// Discord.
    Discord,
    /// Teams.
    Teams,
    /// ntfy.
    Ntfy,
    /// Apprise's API.
    Apprise,
    /// Our own fields.
    Generic,
}

const FORMATS: &[(&str, Format)] = &[
    ("slack", Format::Slack),
    ("discord", Format::Discord),
    ("teams", Format::Teams),
    ("ntfy", Format::Ntfy),
    ("apprise", Format::Apprise),
    ("generic", Format::Generic),
];

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run failed.
    Failed,
    /// An objective is missed.
    Missed,
    /// A snapshot is oddly small or large.
    Suspect,
    /// What was wrong is no more.
    Recovered,
    /// A drill ended.
    Drill,
    /// A run is done.
    Done,
}

const EVENTS: &[(&str, Event)] = &[
    ("failed", Event::Failed),
    ("missed", Event::Missed),
    ("suspect", Event::Suspect),
    ("recovered", Event::Recovered),
    ("drill", Event::Drill),
    ("done", Event::Done),
];

impl Event {
    /// The word of the plan.
    pub fn name(self) -> &'static str {
        EVENTS.iter().find(|(_, event)| *event == self).map_or("", |(name, _)| name)
    }
}

impl Format {
    /// The word of the plan.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// By mail.
#[derive(Clone, Debug)]
pub struct Email {
    /// Addresses.
    pub to: Vec<String>,
    /// Address.
    pub from: String,
    /// Host that takes mail.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Names the variable with the user.
    pub user_env: Option<String>,
    /// Names the variable with the password.
    pub password_env: Option<String>,
    /// How the connection is secured.
    pub tls: Tls,
}

/// How mail is secured on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// From the first words on.
    #[default]
    Starttls,
    /// From the start.
    Tls,
    /// Not at all: for a server on this machine.
    None,
}

/// What health judges besides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The oldest data may have been verified so long ago.
    pub check_max_age: Duration,
    /// Every database needs a drill.
    pub drill_required: bool,
    /// The store must refuse to delete for this key.
    pub no_delete: bool,
    /// Clocks may differ so far.
    pub clock_skew: Duration,
}

/// Where figures are written after each run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// A file.
    pub textfile: Option<PathBuf>,
    /// Names the variable with the URL of a gateway.
    pub push_env: Option<String>,
}

/// Reads `[alerts]`, and the size that is suspect for sources that say none.
pub(super) fn read(table: &Reader<'_>) -> (Alerts, f64) {
    let mut on = vec![Event::Failed, Event::Missed, Event::Suspect, Event::Recovered];
    if let Some(words) = table.list("on") {
        on.clear();
        for word in words {
            match one_of(&word, EVENTS) {
                Ok(event) if !on.contains(&event) => on.push(event),
                Ok(_) => {}
                Err(why) => table.wrong("on", format!("nothing is called so in `on`: {why}")),
            }
        }
    }
    let alerts = Alerts {
        webhooks: webhooks(table),
        email: table.table("email").and_then(|email| mail(&email)),
        command: table.argv("command"),
        ping_env: table.variable("ping_env"),
        on,
        repeat: table.period("repeat").unwrap_or(Duration::from_hours(24)),
        storage_low: table.size("storage_low"),
    };
    let drop = size_drop(table).unwrap_or(SIZE_DROP);
    table.done(schema::ALERTS);
    (alerts, drop)
}

fn webhooks(table: &Reader<'_>) -> Vec<Webhook> {
    let variables = table.variables("webhook_env").unwrap_or_default();
    let mut formats = Vec::new();
    for (word, _) in table.some("format").unwrap_or_default() {
        match one_of(&word, FORMATS) {
            Ok(format) => formats.push(format),
            Err(why) => table.wrong("format", format!("there is no such format: {why}")),
        }
    }
    // one for all, or one for each
    let is_each = formats.len() == variables.len();
    if formats.len() > 1 && !is_each {
        table.wrong("format", "`format` needs one word for all of `webhook_env`, or one for each");
    }
    let format = |at: usize| formats.get(if is_each { at } else { 0 }).copied();
    variables.into_iter().enumerate().map(|(at, variable)| Webhook { variable, format: format(at) }).collect()
}

fn mail(table: &Reader<'_>) -> Option<Email> {
    let to = table.some("to").map(|all| all.into_iter().map(|(address, _)| address).collect());
    let (from, server) = (table.text("from"), table.text("server"));
    for key in ["to", "from", "server"] {
        if table.entries().all(|(set, _)| set != key) {
            table.lacks(key, None);
        }
    }
    let port = table.number("port", 1).map(u16::try_from);
    if matches!(port, Some(Err(_))) {
        table.wrong("port", "a port is a number up to 65535");
    }
    let tls = table.word("tls", &[("starttls", Tls::Starttls), ("tls", Tls::Tls), ("none", Tls::None)]);
    let (user_env, password_env) = (table.variable("user_env"), table.variable("password_env"));
    table.done(schema::EMAIL);
    let port = port.and_then(Result::ok).unwrap_or(SUBMISSION);
    Some(Email { to: to?, from: from?, server: server?, port, user_env, password_env, tls: tls.unwrap_or_default() })
}

/// Reads `[health]`.
pub(super) fn health(table: &Reader<'_>) -> Health {
    let health = Health {
        check_max_age: table.period("check_max_age").unwrap_or(Duration::from_hours(24 * 30)),
        drill_required: table.flag("drill_required").unwrap_or(false),
        no_delete: table.flag("no_delete").unwrap_or(false),
        clock_skew: table.duration("clock_skew").unwrap_or(Duration::from_mins(10)),
    };
    table.done(schema::HEALTH);
    health
}

/// Reads `[metrics]`.
pub(super) fn metrics(table: &Reader<'_>) -> Metrics {
    let metrics = Metrics { textfile: table.path("textfile"), push_env: table.variable("push_env") };
    table.done(schema::METRICS);
    metrics
}
