//! A plan written out: each table with all of its keys, what was not said filled in. Read again, it is the same plan.
//! Only `include` is gone, and paths begin where the plan was read. Invariant: it holds no secret, for a plan holds none.

use super::kind::{Bucket, Command, Connection, Databases, Directory, Kind, Mysql, Postgres, PostgresBase};
use super::kind::{Checkpoint, Dump, Globals, Redis, Snapshotting, Sqlite, Tablespaces, Wal};
use super::{Check, Delta, Drill, Hook, Must, Pick, Plan, Point, Scratch, Source, Tls};
use crate::retention::Policy;
use crate::size::{Share, show};
use crate::time::show_duration;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

/// A table with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// Without brackets; empty for the top.
    pub name: String,
    /// Each key with its value as TOML.
    pub keys: Vec<(&'static str, String)>,
}

impl Spelled {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), keys: Vec::new() }
    }

    fn put(&mut self, key: &'static str, value: String) {
        self.keys.push((key, value));
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.put(key, quoted(value));
    }

    fn plain(&mut self, key: &'static str, value: impl Display) {
        self.put(key, value.to_string());
    }

    fn length(&mut self, key: &'static str, length: Duration) {
        self.text(key, &show_duration(length));
    }

    fn interval(&mut self, key: &'static str, length: Option<Duration>) {
        self.text(key, &length.map_or_else(|| "never".to_owned(), show_duration));
    }

    fn list(&mut self, key: &'static str, list: &[String]) {
        if !list.is_empty() {
            self.put(key, texts(list));
        }
    }

    fn path(&mut self, key: &'static str, path: &Path) {
        self.text(key, &path.to_string_lossy());
    }

    fn some<T>(&mut self, key: &'static str, value: Option<T>, write: impl FnOnce(&mut Self, &'static str, T)) {
        if let Some(value) = value {
            write(self, key, value);
        }
    }
}

/// Text as TOML writes it; its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn texts(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// All tables of a plan.
pub fn spell(plan: &Plan) -> Vec<Spelled> {
    let mut all = vec![top(plan), repository(plan)];
    for source in &plan.sources {
        all.push(of_source(source));
        all.extend(source.drill.as_ref().map(|drill| of_drill(&source.name, drill)));
    }
    all.push(maintenance(plan));
    for copy in &plan.copies {
        let mut table = Spelled::new(format!("copy.{}", key_of(&copy.name)));
        table.text("location", &copy.location.to_string());
        table.interval("every", copy.every);
        table.list("sources", &copy.sources);
        table.some("rpo", copy.rpo, Spelled::length);
        table.some("to_password_command", copy.password_command.as_deref(), Spelled::text);
        table.some("to_password_file", copy.password_file.as_deref(), Spelled::path);
        table.some("to_key_file", copy.key_file.as_deref(), Spelled::path);
        all.push(table);
    }
    all.extend([alerts(plan), health(plan), metrics(plan)]);
    all.retain(|table| !table.keys.is_empty());
    all
}

/// A name as a key, quoted where it must be.
fn key_of(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

fn top(plan: &Plan) -> Spelled {
    let mut table = Spelled::new("");
    table.text("name", &plan.name);
    table.some("timezone", plan.timezone.as_ref().and_then(|zone| zone.iana_name()), Spelled::text);
    table
}

fn repository(plan: &Plan) -> Spelled {
    let (mut table, repository) = (Spelled::new("repository"), &plan.repository);
    table.some("location", repository.text.as_deref(), Spelled::text);
    table.some("password_command", repository.password_command.as_deref(), Spelled::text);
    table.some("password_file", repository.password_file.as_deref(), Spelled::path);
    table.some("key_file", repository.key_file.as_deref(), Spelled::path);
    table.some("quota", repository.quota, size);
    table.some("bandwidth", repository.bandwidth, size);
    table
}

fn size(table: &mut Spelled, key: &'static str, bytes: u64) {
    table.put(key, quoted(&show(bytes)));
}

fn of_source(source: &Source) -> Spelled {
    let mut table = Spelled::new(format!("source.{}", key_of(&source.name)));
    table.text("kind", source.kind.name());
    of_kind(&mut table, &source.kind);
    table.interval("every", source.every);
    let at: Vec<String> = source.at.iter().map(|time| time.strftime("%H:%M").to_string()).collect();
    table.list("at", &at);
    table.length("jitter", source.jitter);
    table.length("retry", source.retry);
    table.some("rpo", source.rpo, Spelled::length);
    table.some("rto", source.rto, Spelled::length);
    table.put("keep", source.keep.as_ref().map_or_else(|| "{}".to_owned(), keep));
    table.list("tags", &source.tags);
    table.some("description", Some(source.description.as_str()).filter(|text| !text.is_empty()), Spelled::text);
    table.some("set", source.set.as_deref(), Spelled::text);
    table.length("timeout", source.timeout);
    let hooks = &source.hooks;
    for (key, hooks) in
        [("before", &hooks.before), ("after", &hooks.after), ("failed", &hooks.failed), ("finally", &hooks.finally)]
    {
        table.some(key, Some(hooks).filter(|hooks| !hooks.is_empty()), |table, key, hooks| {
            table.put(key, format!("[{}]", hooks.iter().map(hook).collect::<Vec<_>>().join(", ")));
        });
    }
    table.plain("size_drop", source.size_drop);
    table.some("size_rise", source.size_rise, Spelled::plain);
    let delta = Delta::WORDS.map(|(word, delta)| (delta, word));
    table.text("delta", word(&delta, source.delta));
    table.plain("skip_if_unchanged", source.skip_if_unchanged);
    table.plain("enabled", source.enabled);
    table.some("ping_env", source.ping_env.as_deref(), Spelled::text);
    table
}

fn word<T: PartialEq>(words: &[(T, &'static str)], of: T) -> &'static str {
    words.iter().find(|(value, _)| *value == of).map_or("", |(_, word)| word)
}

fn keep(policy: &Policy) -> String {
    let mut keys = Vec::new();
    keys.extend(policy.last.map(|count| format!("last = {count}")));
    let amounts = [
        ("hourly", policy.hourly),
        ("daily", policy.daily),
        ("weekly", policy.weekly),
        ("monthly", policy.monthly),
        ("yearly", policy.yearly),
    ];
    keys.extend(
        amounts.iter().filter_map(|(key, amount)| Some(format!("{key} = {}", quoted(&(*amount)?.to_string())))),
    );
    keys.extend(policy.within.map(|length| format!("within = {}", quoted(&length.to_string()))));
    let tag = |(tag, length): &(String, _)| format!("{} = {}", key_of(tag), quoted(&ToString::to_string(length)));
    let tags: Vec<String> = policy.tags_for.iter().map(tag).collect();
    keys.extend((!tags.is_empty()).then(|| format!("tags = {{ {} }}", tags.join(", "))));
    format!("{{ {} }}", keys.join(", "))
}

fn hook(hook: &Hook) -> String {
    format!("{{ run = {}, timeout = {} }}", texts(&hook.run), quoted(&show_duration(hook.timeout)))
}

fn of_kind(table: &mut Spelled, kind: &Kind) {
    match kind {
        Kind::Directory(directory) => of_directory(table, directory),
        Kind::Command(Command { command, filename, env, allow_empty }) => {
            table.put("command", texts(command));
            table.text("filename", filename);
            table.list("env", env);
            table.plain("allow_empty", allow_empty);
        }
        Kind::Stdin => {}
        Kind::Postgres(postgres) => of_postgres(table, postgres),
        Kind::PostgresBase(base) => of_base(table, base),
        Kind::Mysql(mysql) => {
            let Mysql { connection, database, tables, exclude_tables, tools, dump_command, options } = &**mysql;
            of_connection(table, connection);
            of_databases(table, database);
            table.list("tables", tables);
            table.list("exclude_tables", exclude_tables);
            table.some("tools", tools.as_deref(), Spelled::path);
            table.list("dump_command", dump_command.as_deref().unwrap_or_default());
            table.list("options", options);
        }
        Kind::Sqlite(Sqlite { path, scratch }) => {
            table.path("path", path);
            table.some("scratch", scratch.as_deref(), Spelled::path);
        }
        Kind::Redis(Redis { connection, method }) => {
            of_connection(table, connection);
            match method {
                Snapshotting::Replica => table.text("method", "replica"),
                Snapshotting::Bgsave(path) => {
                    table.text("method", "bgsave");
                    table.path("path", path);
                }
            }
        }
        Kind::Bucket(Bucket { location, prefix, exclude, allow_empty }) => {
            table.text("location", &location.to_string());
            table.text("prefix", prefix);
            table.list("exclude", exclude);
            table.plain("allow_empty", allow_empty);
        }
    }
}

fn of_directory(table: &mut Spelled, directory: &Directory) {
    let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    };
    table.list("paths", &paths(&directory.paths));
    table.list("exclude", &directory.exclude);
    table.list("exclude_file", &paths(&directory.exclude_file));
    table.list("exclude_if_present", &directory.exclude_if_present);
    table.plain("one_file_system", directory.one_file_system);
    table.some("exclude_larger_than", directory.exclude_larger_than, size);
    let (some, all) = directory.reread;
    table.text("reread", &format!("{some}/{all}"));
}

fn of_postgres(table: &mut Spelled, postgres: &Postgres) {
    of_connection(table, &postgres.connection);
    of_databases(table, &postgres.database);
    table.text("format", word(&[(Dump::Custom, "custom"), (Dump::Plain, "plain")], postgres.format));
    table.list("tables", &postgres.tables);
    table.list("exclude_tables", &postgres.exclude_tables);
    table.list("schemas", &postgres.schemas);
    table.list("exclude_schemas", &postgres.exclude_schemas);
    table.list("exclude_table_data", &postgres.exclude_table_data);
    let globals = [(Globals::Auto, "auto"), (Globals::Passwords, "passwords"), (Globals::None, "none")];
    table.text("globals", word(&globals, postgres.globals));
    table.plain("counts", postgres.counts);
    table.some("tools", postgres.tools.as_deref(), Spelled::path);
    table.list("dump_command", postgres.dump_command.as_deref().unwrap_or_default());
    table.list("options", &postgres.options);
    table.length("lock_timeout", postgres.lock_timeout);
}

fn of_base(table: &mut Spelled, base: &PostgresBase) {
    of_connection(table, &base.connection);
    table.text("wal", word(&[(Wal::Fetch, "fetch"), (Wal::None, "none")], base.wal));
    table.some("wal_keep", base.wal_keep, Spelled::length);
    let checkpoints = [(Checkpoint::Fast, "fast"), (Checkpoint::Spread, "spread")];
    table.text("checkpoint", word(&checkpoints, base.checkpoint));
    table.some("max_rate", base.max_rate, size);
    let tablespaces = [(Tablespaces::Refuse, "refuse"), (Tablespaces::Directory, "directory")];
    table.text("tablespaces", word(&tablespaces, base.tablespaces));
    table.some("tools", base.tools.as_deref(), Spelled::path);
}

fn of_connection(table: &mut Spelled, connection: &Connection) {
    match connection {
        Connection::Variable(name) => table.text("url_env", name),
        Connection::Url(url) => table.text("url", url),
        Connection::Service(name) => table.text("service", name),
        Connection::Client => {}
    }
}

fn of_databases(table: &mut Spelled, databases: &Databases) {
    match databases {
        Databases::Connected => {}
        Databases::Named(names) => table.list("database", names),
        Databases::All => table.text("database", "all"),
    }
}

fn of_drill(source: &str, drill: &Drill) -> Spelled {
    let mut table = Spelled::new(format!("source.{}.drill", key_of(source)));
    table.interval("every", drill.every);
    match &drill.into {
        Scratch::Temporary => table.text("into", "temporary"),
        Scratch::Variable(name) => table.text("into_env", name),
    }
    table.text("pick", word(&[(Pick::Latest, "latest"), (Pick::Random, "random")], drill.pick));
    if !drill.expect.is_empty() {
        table.put("expect", format!("[{}]", drill.expect.iter().map(check).collect::<Vec<_>>().join(", ")));
    }
    table.plain("counts", drill.counts);
    table.plain("integrity", drill.integrity);
    table.list("before_sql", &drill.before_sql);
    table.list("after_sql", &drill.after_sql);
    table.plain("jobs", drill.jobs);
    table.text("run_as", &drill.run_as);
    table.some("tools", drill.tools.as_deref(), Spelled::path);
    table.some("timeout", drill.timeout, Spelled::length);
    table.plain("same_server", drill.same_server);
    table.some("at", drill.at, |table, key, at| match at {
        Point::Ago(length) => table.text(key, &format!("-{}", show_duration(length))),
        Point::At(time) => table.text(key, &time.to_string()),
    });
    table
}

fn check(check: &Check) -> String {
    let keys = match check {
        Check::Sql { sql, must } => format!("sql = {}{}", quoted(sql), of_must(must)),
        Check::Command { command, status, timeout } => {
            let timeout = quoted(&show_duration(*timeout));
            format!("command = {}, status = {status}, timeout = {timeout}", texts(command))
        }
        Check::Files(min) => format!("files = {{ min = {min} }}"),
        Check::Digest { path, sha256 } => format!("path = {}, sha256 = {}", quoted(path), quoted(sha256)),
        Check::Tables(tables) => format!("tables = {}", texts(tables)),
        Check::Keys(min) => format!("keys = {{ min = {min} }}"),
    };
    format!("{{ {keys} }}")
}

fn of_must(must: &Must) -> String {
    let Must { min, max, equals, newer_than } = must;
    let parts = [
        min.map(|min| format!(", min = {min}")),
        max.map(|max| format!(", max = {max}")),
        equals.as_ref().map(|equals| format!(", equals = {}", quoted(equals))),
        newer_than.map(|length| format!(", newer_than = {}", quoted(&show_duration(length)))),
    ];
    parts.into_iter().flatten().collect()
}

fn maintenance(plan: &Plan) -> Spelled {
    let (mut table, tasks) = (Spelled::new("maintenance"), &plan.maintenance);
    let every = |length: Option<Duration>| quoted(&length.map_or_else(|| "never".to_owned(), show_duration));
    let share = match tasks.read_data {
        Share::Nothing => String::new(),
        Share::All => ", read_data = \"100%\"".to_owned(),
        Share::Part { number, of } => format!(", read_data = \"{number}/{of}\""),
        Share::Percent(percent) => format!(", read_data = \"{percent}%\""),
        Share::Bytes(bytes) => format!(", read_data = \"{}\"", show(bytes)),
    };
    table.put("check", format!("{{ every = {}{share} }}", every(tasks.check)));
    table.put("forget", format!("{{ every = {} }}", every(tasks.forget)));
    table.put("prune", format!("{{ every = {} }}", every(tasks.prune)));
    table
}

fn alerts(plan: &Plan) -> Spelled {
    let (mut table, alerts) = (Spelled::new("alerts"), &plan.alerts);
    let variables: Vec<String> = alerts.webhooks.iter().map(|webhook| webhook.variable.clone()).collect();
    table.list("webhook_env", &variables);
    let formats = alerts.webhooks.iter().filter_map(|webhook| Some(webhook.format?.name().to_owned()));
    table.list("format", &formats.collect::<Vec<_>>());
    if let Some(email) = &alerts.email {
        let tls = word(&[(Tls::Starttls, "starttls"), (Tls::Tls, "tls"), (Tls::None, "none")], email.tls);
        let mut keys = vec![
            format!("to = {}", texts(&email.to)),
            format!("from = {}", quoted(&email.from)),
            format!("server = {}", quoted(&email.server)),
            format!("port = {}", email.port),
            format!("tls = {}", quoted(tls)),
        ];
        keys.extend(email.user_env.as_ref().map(|name| format!("user_env = {}", quoted(name))));
        keys.extend(email.password_env.as_ref().map(|name| format!("password_env = {}", quoted(name))));
        table.put("email", format!("{{ {} }}", keys.join(", ")));
    }
    table.list("command", alerts.command.as_deref().unwrap_or_default());
    table.some("ping_env", alerts.ping_env.as_deref(), Spelled::text);
    table.put("on", texts(&alerts.on.iter().map(|event| event.name().to_owned()).collect::<Vec<_>>()));
    table.length("repeat", alerts.repeat);
    table.some("storage_low", alerts.storage_low, size);
    table
}

fn health(plan: &Plan) -> Spelled {
    let (mut table, health) = (Spelled::new("health"), &plan.health);
    table.length("check_max_age", health.check_max_age);
    table.plain("drill_required", health.drill_required);
    table.plain("no_delete", health.no_delete);
    table.length("clock_skew", health.clock_skew);
    table
}

fn metrics(plan: &Plan) -> Spelled {
    let mut table = Spelled::new("metrics");
    table.some("textfile", plan.metrics.textfile.as_deref(), Spelled::path);
    table.some("push_env", plan.metrics.push_env.as_deref(), Spelled::text);
    table
}
