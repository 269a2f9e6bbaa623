//! Every key that a plan can have, by the table that it stands in. What is read elsewhere is read by these names, what
//! is not among them is unknown, and docs/plan.md tells of each of them.

/// The top of a plan.
pub(super) const ROOT: &[&str] = &[
    "name",
    "include",
    "timezone",
    "repository",
    "defaults",
    "source",
    "maintenance",
    "copy",
    "alerts",
    "health",
    "metrics",
];
pub(super) const REPOSITORY: &[&str] =
    &["location", "password_command", "password_file", "key_file", "quota", "bandwidth"];
pub(super) const DEFAULTS: &[&str] =
    &["keep", "every", "rpo", "rto", "timeout", "jitter", "tags", "size_drop", "size_rise"];
/// What every kind of source has.
pub(super) const SOURCE: &[&str] = &[
    "kind",
    "every",
    "at",
    "jitter",
    "retry",
    "rpo",
    "rto",
    "keep",
    "tags",
    "description",
    "set",
    "timeout",
    "before",
    "after",
    "failed",
    "finally",
    "size_drop",
    "size_rise",
    "delta",
    "skip_if_unchanged",
    "enabled",
    "ping_env",
    "drill",
];
pub(super) const KEEP: &[&str] = &["last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "tags"];
pub(super) const HOOK: &[&str] = &["run", "timeout"];
pub(super) const DIRECTORY: &[&str] =
    &["paths", "exclude", "exclude_file", "exclude_if_present", "one_file_system", "exclude_larger_than", "reread"];
pub(super) const COMMAND: &[&str] = &["command", "filename", "env", "allow_empty"];
pub(super) const POSTGRES: &[&str] = &[
    "url_env",
    "url",
    "service",
    "database",
    "format",
    "tables",
    "exclude_tables",
    "schemas",
    "exclude_schemas",
    "exclude_table_data",
    "globals",
    "counts",
    "tools",
    "dump_command",
    "options",
    "lock_timeout",
];
pub(super) const POSTGRES_BASE: &[&str] =
    &["url_env", "url", "service", "wal", "wal_keep", "checkpoint", "max_rate", "tablespaces", "tools"];
pub(super) const MYSQL: &[&str] =
    &["url_env", "database", "tables", "exclude_tables", "tools", "dump_command", "options"];
pub(super) const SQLITE: &[&str] = &["path", "scratch"];
pub(super) const REDIS: &[&str] = &["url_env", "method", "path"];
pub(super) const BUCKET: &[&str] = &["location", "prefix", "exclude", "allow_empty"];
pub(super) const DRILL: &[&str] = &[
    "every",
    "into",
    "into_env",
    "pick",
    "expect",
    "counts",
    "integrity",
    "before_sql",
    "after_sql",
    "jobs",
    "run_as",
    "tools",
    "timeout",
    "same_server",
    "at",
];
pub(super) const EXPECT_SQL: &[&str] = &["sql", "min", "max", "equals", "newer_than"];
// each is looked for in this order, so that those before it were asked for as well
pub(super) const EXPECT_COMMAND: &[&str] = &["sql", "command", "status", "timeout"];
pub(super) const EXPECT_TABLES: &[&str] = &["sql", "command", "tables"];
pub(super) const EXPECT_DIGEST: &[&str] = &["sql", "command", "tables", "path", "sha256"];
pub(super) const EXPECT_FILES: &[&str] = &["sql", "command", "tables", "path", "files"];
pub(super) const EXPECT_KEYS: &[&str] = &["sql", "command", "tables", "path", "files", "keys"];
pub(super) const EXPECT_MIN: &[&str] = &["min"];
pub(super) const MAINTENANCE: &[&str] = &["check", "forget", "prune"];
pub(super) const CHECK: &[&str] = &["every", "read_data"];
pub(super) const TASK: &[&str] = &["every"];
pub(super) const COPY: &[&str] =
    &["location", "every", "sources", "rpo", "to_password_command", "to_password_file", "to_key_file"];
pub(super) const ALERTS: &[&str] =
    &["webhook_env", "format", "email", "command", "ping_env", "on", "repeat", "size_drop", "storage_low"];
pub(super) const EMAIL: &[&str] = &["to", "from", "server", "port", "user_env", "password_env", "tls"];
pub(super) const HEALTH: &[&str] = &["check_max_age", "drill_required", "no_delete", "clock_skew"];
pub(super) const METRICS: &[&str] = &["textfile", "push_env"];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    /// Headings of the page, and what stands below each.
    const SECTIONS: &[(&str, &[&[&str]])] = &[
        ("The top", &[super::ROOT]),
        ("`[repository]`", &[super::REPOSITORY]),
        ("`[defaults]`", &[super::DEFAULTS]),
        ("`[source.NAME]`", &[super::SOURCE]),
        ("`keep`", &[super::KEEP]),
        ("Hooks", &[super::HOOK]),
        ("`kind = \"directory\"`", &[super::DIRECTORY]),
        ("`kind = \"command\"`", &[super::COMMAND]),
        ("`kind = \"postgres\"`", &[super::POSTGRES]),
        ("`kind = \"postgres-base\"`", &[super::POSTGRES_BASE]),
        ("`kind = \"mysql\"`", &[super::MYSQL]),
        ("`kind = \"sqlite\"`", &[super::SQLITE]),
        ("`kind = \"redis\"`", &[super::REDIS]),
        ("`kind = \"bucket\"`", &[super::BUCKET]),
        ("`[source.NAME.drill]`", &[super::DRILL]),
        ("`expect`", &[super::EXPECT_SQL, super::EXPECT_COMMAND, super::EXPECT_DIGEST, super::EXPECT_KEYS]),
        ("`[maintenance]`", &[super::MAINTENANCE, super::CHECK, super::TASK]),
        ("`[copy.NAME]`", &[super::COPY]),
        ("`[alerts]`", &[super::ALERTS]),
        ("`email`", &[super::EMAIL]),
        ("`[health]`", &[super::HEALTH]),
        ("`[metrics]`", &[super::METRICS]),
    ];

    #[test]
    fn the_page_tells_of_every_key_and_of_no_other() {
        let mut told: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut heading = "";
        for line in include_str!("../../docs/plan.md").lines() {
            if line.starts_with('#') {
                heading = line.trim_start_matches(['#', ' ']);
            } else if let Some(cell) = line.strip_prefix("| `").and_then(|row| row.split('|').next()) {
                told.entry(heading)
                    .or_default()
                    .extend(cell.split('`').step_by(2).filter(|key| !key.trim().is_empty()));
            }
        }
        let known = SECTIONS.iter().map(|(heading, keys)| (*heading, keys.concat().into_iter().collect())).collect();
        assert_eq!(told, known);
    }
}
