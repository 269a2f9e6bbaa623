//! From the text of a plan to a `Plan`, or to all that is wrong with it.

use super::alerts;
use super::document::{self, Table};
use super::finding::{Error, Finding, Gathered, Level, Place};
use super::kind::Kind;
use super::source::{self, Inherited, Source};
use super::table::Reader;
use super::{CopyTo, Destination, Maintenance, Plan, schema};
use crate::backend::Location;
use crate::retention::TimeZone;
use crate::size::Share;
use jiff::tz::TimeZoneDatabase;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a repository is checked if the plan does not say, and how much is read then.
const CHECK: (Duration, Share) = (Duration::from_hours(24 * 7), Share::Percent(10.0));
const FORGET: Duration = Duration::from_hours(24);
const PRUNE: Duration = Duration::from_hours(24 * 7);
/// How often a copy is due.
const COPY: Duration = Duration::from_hours(24);

/// Reads a plan, and the files that it includes.
pub fn read(path: &Path) -> Result<Plan, Error> {
    parse(path, &document::read(path)?)
}

/// The same, with the text of the file at `path`.
pub fn parse(path: &Path, text: &str) -> Result<Plan, Error> {
    let gathered = Gathered::default();
    let document = document::parse(path, text, &gathered)?;
    let plan = plan(path, &document.root, &gathered);
    let Gathered { findings, variables, needed } = gathered;
    let mut findings = findings.into_inner();
    // by place, those of the file itself first
    let is_included = |finding: &Finding| *finding.place.file != *path;
    findings.sort_by(|one, other| (is_included(one), &one.place).cmp(&(is_included(other), &other.place)));
    findings.dedup();
    if findings.iter().any(|finding| finding.level == Level::Error) {
        // warnings go by what the errors may have changed
        findings.retain(|finding| finding.level == Level::Error);
        return Err(Error::Findings(findings));
    }
    let (variables, needed) = (variables.into_inner(), needed.into_inner());
    Ok(Plan { files: document.files, digest: document.digest, warnings: findings, variables, needed, ..plan })
}

fn plan(path: &Path, table: &Table, gathered: &Gathered) -> Plan {
    let root = Reader::new(String::new(), Place::start(path), Some(table), gathered);
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let (name, _) = (root.text("name").unwrap_or(stem), root.list("include"));
    let timezone = root.parsed("timezone", zone);
    let (alerts, size_drop) = alerts::read(&root.table_or_none("alerts"));
    let defaults = root.table_or_none("defaults");
    let mut inherited = Inherited::read(&defaults);
    inherited.size_drop = inherited.size_drop.or(Some(size_drop));
    defaults.done(schema::DEFAULTS);
    let tables = root.table_or_none("source");
    let named = tables.entries().filter_map(|(name, entry)| Some((name, tables.inner(name, entry)?)));
    let mut sources: Vec<Source> = named.filter_map(|(name, table)| source::read(name, &table, &inherited)).collect();
    // in the order of the file, and those of included files behind
    sources
        .sort_by(|one, other| (*one.place.file != *path, &one.place).cmp(&(*other.place.file != *path, &other.place)));
    once_each(&sources, gathered);
    if tables.entries().next().is_none() {
        gathered.warn("source", &root.place, "it names no source", None);
    }
    let copies = copies(&root.table_or_none("copy"), tables.entries().map(|(name, _)| name.as_str()).collect());
    let plan = Plan {
        name,
        files: Vec::new(),
        digest: String::new(),
        timezone,
        repository: destination(&root.table_or_none("repository")),
        sources,
        maintenance: maintenance(&root.table_or_none("maintenance")),
        copies,
        alerts,
        health: alerts::health(&root.table_or_none("health")),
        metrics: alerts::metrics(&root.table_or_none("metrics")),
        warnings: Vec::new(),
        variables: Vec::new(),
        needed: Vec::new(),
    };
    root.finish(schema::ROOT, |key| {
        let is_of_source = schema::SOURCE.contains(&key) && !schema::DEFAULTS.contains(&key);
        let table = [
            (schema::REPOSITORY, "[repository]"),
            (schema::DEFAULTS, "[defaults] or a [source.NAME]"),
            (schema::ALERTS, "[alerts]"),
        ];
        let of = table.into_iter().find(|(keys, _)| keys.contains(&key)).map(|(_, table)| table);
        let of = of.or(is_of_source.then_some("a [source.NAME]"))?;
        Some(format!("belongs in {of}"))
    });
    plan
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| "a time zone is named like Europe/Berlin or UTC".into())
}

fn destination(table: &Reader<'_>) -> Destination {
    let said = ["password_command", "password_file", "key_file"];
    let said: Vec<&str> = said.into_iter().filter(|key| table.entry(key).is_some()).collect();
    if let [first, .., last] = said[..] {
        table.wrong(last, format!("`{first}` and `{last}` both say how to open it: say it once"));
    }
    let location = table.location("location");
    let text = match &location {
        Some(Location::Local(path)) => Some(path.to_string_lossy().into_owned()),
        Some(Location::Remote(_)) => table.text("location"),
        None => None,
    };
    let place = table.entry("location").map_or_else(|| table.place.clone(), |entry| entry.place.clone());
    let destination = Destination {
        location,
        text,
        place,
        password_command: table.text("password_command"),
        password_file: table.file("password_file"),
        key_file: table.file("key_file"),
        quota: table.size("quota"),
        bandwidth: table.rate("bandwidth"),
    };
    table.done(schema::REPOSITORY);
    destination
}

fn maintenance(table: &Reader<'_>) -> Maintenance {
    let every = |task: &Reader<'_>, default| task.interval("every").unwrap_or(Some(default));
    let task = |key: &'static str, default| {
        let task = table.table_or_none(key);
        let every = every(&task, default);
        task.done(schema::TASK);
        every
    };
    let check = table.table_or_none("check");
    let maintenance = Maintenance {
        check: every(&check, CHECK.0),
        read_data: check.spelled("read_data").unwrap_or(CHECK.1),
        forget: task("forget", FORGET),
        prune: task("prune", PRUNE),
    };
    check.done(schema::CHECK);
    table.done(schema::MAINTENANCE);
    maintenance
}

fn copies(tables: &Reader<'_>, sources: Vec<&str>) -> Vec<CopyTo> {
    let copy = |(name, entry)| {
        let name: &String = name;
        let table = tables.inner(name, entry)?;
        let (every, location) = (table.interval("every").unwrap_or(Some(COPY)), table.location("location"));
        if table.entry("location").is_none() {
            table.lacks("location", Some("where the second repository is"));
        }
        let of = table.list("sources").unwrap_or_default();
        if let Some(unknown) = of.iter().find(|name| !sources.contains(&name.as_str())) {
            table.wrong("sources", format!("there is no [source.{unknown}]"));
        }
        let (command, file) = (table.text("to_password_command"), table.file("to_password_file"));
        let (rpo, key) = (table.period("rpo"), table.file("to_key_file"));
        table.done(schema::COPY);
        Some(CopyTo {
            name: name.clone(),
            location: location?,
            every,
            sources: of,
            rpo,
            password_command: command,
            password_file: file,
            key_file: key,
            place: table.place.clone(),
        })
    };
    tables.entries().filter_map(copy).collect()
}

/// A file of SQLite with two sources would be stored twice, and one of them is a slip.
fn once_each(sources: &[Source], gathered: &Gathered) {
    let mut seen: BTreeMap<PathBuf, &Source> = BTreeMap::new();
    for source in sources {
        let Kind::Sqlite(sqlite) = &source.kind else { continue };
        let path = std::fs::canonicalize(&sqlite.path).unwrap_or_else(|_| sqlite.path.clone());
        let Some(first) = seen.get(&path) else {
            seen.insert(path, source);
            continue;
        };
        let key = format!("source.{}.path", source.name);
        let place = gathered.needed.borrow().iter().find(|needed| needed.key == key).map(|needed| needed.place.clone());
        let problem =
            format!("{} has a source already: [source.{}] at {}", sqlite.path.display(), first.name, first.place);
        gathered.error(&key, &place.unwrap_or_else(|| source.place.clone()), problem, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Plan, parse, read};
    use crate::plan::{Check, Connection, Kind, Level, Must, Point, Scratch, Spelled, spell};
    use std::fmt::Write as _;
    use std::path::Path;
    use std::time::Duration;

    const DAY: Duration = Duration::from_hours(24);

    fn plan_of(text: &str) -> Plan {
        parse(Path::new("vault.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// All that is wrong, a line each.
    fn wrong(text: &str) -> String {
        match parse(Path::new("vault.toml"), text) {
            Err(Error::Findings(found)) => found.iter().fold(String::new(), |mut all, finding| {
                writeln!(all, "{} {finding} ({})", finding.level.name(), finding.key).expect("room");
                all
            }),
            other => panic!("{other:?}\n{text}"),
        }
    }

    #[test]
    fn every_example_is_a_plan_and_so_is_what_is_shown_of_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plans");
        let entries = std::fs::read_dir(folder).expect("the examples").map(|entry| entry.expect("an entry").path());
        let paths: Vec<_> = entries.collect();
        assert!(paths.len() >= 5, "{paths:?}");
        for path in paths {
            let plan = read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(plan.warnings, []);
            let text = |tables: &[Spelled]| {
                tables.iter().fold(String::new(), |mut all, table| {
                    let header = if table.name.is_empty() { String::new() } else { format!("[{}]\n", table.name) };
                    all.push_str(&header);
                    table.keys.iter().for_each(|(key, value)| writeln!(all, "{key} = {value}").expect("room"));
                    all
                })
            };
            let tables = spell(&plan);
            let again = plan_of(&text(&tables));
            assert_eq!(spell(&again), tables);
            assert_eq!(again.sources.len(), plan.sources.len());
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let plan = plan_of(
            "[source.db]\nkind = \"postgres\"\nurl_env = \"DB\"\nrpo = \"1h\"\n[source.f]\nkind = \"directory\"\npaths = [\"up\"]",
        );
        assert_eq!((plan.name.as_str(), plan.sources.len()), ("vault", 2));
        let db = plan.source("db").expect("it");
        assert_eq!((db.every, db.retry, db.timeout), (Some(DAY / 24), DAY / 144, DAY / 2));
        assert_eq!((db.skip_if_unchanged, db.size_drop, db.keep.is_none()), (false, 0.8, true));
        let files = plan.source("f").expect("it");
        assert_eq!((files.every, files.skip_if_unchanged, files.enabled), (Some(DAY), true, true));
        let Kind::Directory(directory) = &files.kind else { panic!("{:?}", files.kind) };
        assert_eq!((directory.paths[0].as_path(), directory.reread), (Path::new("up"), (1, 64)));
        assert_eq!(plan.maintenance.prune, Some(DAY * 7));
        assert_eq!(plan.variables.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["DB"]);
    }

    #[test]
    fn defaults_are_inherited_and_what_a_source_says_wins() {
        let text = "[defaults]\nevery = \"6h\"\nkeep = { daily = 7 }\ntags = [\"b\", \"a\"]\n[alerts]\nsize_drop = 0.5\n\
            [source.a]\nkind = \"stdin\"\n[source.b]\nkind = \"stdin\"\nevery = \"never\"\nkeep = {}\ntags = []\nsize_drop = 0.1";
        let plan = plan_of(text);
        let [a, b] = &plan.sources[..] else { panic!("two") };
        assert_eq!((a.every, a.size_drop, a.tags.join(" ").as_str()), (Some(DAY / 4), 0.5, "a b"));
        assert!(a.keep.as_ref().is_some_and(|keep| keep.daily.is_some()));
        // what is due by itself is due in whole days
        let said = |text: &str| plan_of(&format!("[source.a]\nkind = \"stdin\"\n{text}")).sources.remove(0).every;
        assert_eq!((said("rpo = \"36h\""), said("rpo = \"5h\"")), (Some(DAY), Some(DAY / 24 * 5)));
        assert_eq!(said("every = \"48h\""), Some(DAY * 2));
        assert_eq!((b.every, b.size_drop, b.keep.is_none(), b.tags.len()), (None, 0.1, true, 0));
    }

    #[test]
    fn every_error_has_its_place() {
        let cases = [
            (
                "[source.a]\nkind = \"stdin\"\nkeeep = { last = 1 }",
                "3:1: unknown key `keeep`; did you mean `keep`? (source.a.keeep)",
            ),
            ("nme = \"x\"", "1:1: unknown key `nme`; did you mean `name`?"),
            ("rpo = \"1h\"", "1:1: `rpo` belongs in [defaults] or a [source.NAME]"),
            ("[source.a]\nkind = \"stdin\"\nevery = 5", "3:9: `every` must be a text, not a number"),
            (
                "[source.a]\nkind = \"stdin\"\nevery = \"36h\"",
                "3:9: `every` is longer than a day, and not of whole days; write `every = \"1d\"` or `every = \"2d\"`",
            ),
            ("[maintenance]\ncheck = { every = \"49h\" }", "2:19: `every` is longer than a day"),
            ("[defaults]\nevery = \"25h\"", "2:9: `every` is longer than a day"),
            (
                "[source.a]\nkind = \"stdin\"\nevery = \"soon\"",
                "3:9: \"soon\" is no value for `every`: a length of time",
            ),
            ("[source.a]\nkind = \"stdin\"\nenabled = \"no\"", "3:11: `enabled` must be true or false, not a text"),
            ("[source.a]\nkind = \"stdin\"\n kind = \"stdin\"", "3:2: `kind` is set twice, first on line 2"),
            ("[source.a]\nkind = \"stdin\"\n[source.a]\n", "3:9: `a` is set twice, first on line 1"),
            ("[source.a]\nkind = \"postgress\"", "2:8: \"postgress\" is no value for `kind`: did you mean `postgres`?"),
            ("[source.a]\nevery = \"1d\"", "1:1: `kind` is missing in [source.a]; it is one of directory,"),
            (
                "[source.a]\nkind = \"stdin\"\ntables = []",
                "3:1: `tables` is a key of the kinds postgres, mysql, and this is stdin",
            ),
            ("[source.a]\nkind = \"sqlite\"\npath = \"x\"\nprefix = \"\"", "4:1: `prefix` is a key of the kind bucket"),
            ("[source.latest]\nkind = \"stdin\"", "1:1: a name of a source has letters"),
            ("[source.\"a b\"]\nkind = \"stdin\"", "1:1: a name of a source has letters"),
            ("[source.vault-plan]\nkind = \"stdin\"", "1:1: `vault-plan` is the name under which"),
            ("[source.a]\nkind = \"directory\"", "1:1: `paths` is missing in [source.a]"),
            ("[source.a]\nkind = \"stdin\"\nat = \"2:00\"", "3:6: a time of a day is written like"),
            (
                "[source.a]\nkind = \"stdin\"\nat = \"02:00\"\nevery = \"1h\"",
                "1:1: `at` has no meaning here; it goes with",
            ),
            ("[source.a]\nkind = \"stdin\"\nsize_drop = 8", "3:13: `size_drop` is a part"),
            (
                "[source.a]\nkind = \"stdin\"\nkeep = { dayly = 3 }",
                "3:10: unknown key `dayly`; did you mean `daily`? (source.a.keep.dayly)",
            ),
            ("[source.a]\nkind = \"stdin\"\nkeep = { daily = 0 }", "3:18: `daily` must be a whole number from 1 on"),
            ("[source.a]\nkind = \"stdin\"\nkeep = { tags = { x = \"soon\" } }", "3:23: `x` is kept for how long?"),
            ("[source.a]\nkind = \"stdin\"\nbefore = [{ runn = [\"x\"] }]", "3:11: `run` is missing"),
            ("[source.a]\nkind = \"stdin\"\nafter = [{ run = [] }]", "3:18: `run` names no program"),
            ("[copy.b]\nlocation = \"s3://x\"\nsources = [\"db\"]", "3:11: there is no [source.db]"),
            ("[alerts]\non = [\"fialed\"]", "2:6: nothing is called so in `on`: did you mean `failed`?"),
            ("timezone = \"Mars\"", "1:12: \"Mars\" is no value for `timezone`"),
            ("[maintenance]\ncheck = { read_data = \"all\" }", "2:23: \"all\" is no value for `read_data`: write 1/7"),
            ("source = 5", "1:10: `source` must be a table, not a number"),
            ("[source]\na = 5", "2:5: `a` must be a table, not a number"),
            ("[source.a\n", "1:10: this is no TOML"),
            ("[source.a]\nkind = \"redis\"\nmethod = \"bgsave\"", "1:1: `path` is missing"),
            ("[source.a]\nkind = \"stdin\"\ndrill = { at = \"-1h\" }", "3:16: `at` needs WAL"),
            (
                "[source.a]\nkind = \"stdin\"\ndrill = { expect = [{ keys = { min = 1 } }] }",
                "check 1 of the drill asks for",
            ),
            ("[source.a]\nkind = \"stdin\"\ndrill = { expect = [{ sql = \"x\" }] }", "3:21: a check needs min, max"),
            ("source = { a = { kind = \"stdin\", description = \"äö\", keeep = 1 } }", "1:54: unknown key `keeep`"),
        ];
        for (text, says) in cases {
            let found = wrong(text);
            assert!(found.contains(&format!("error vault.toml:{says}")) || found.contains(says), "{text}\n{found}");
        }
    }

    #[test]
    fn all_errors_are_told_in_their_order() {
        let found = wrong(
            "nme = 1\n[source.a]\nkind = \"stdin\"\nkeeep = 1\nevery = 5\n[alerts]\nrepeat = true\nrepeat = true",
        );
        let lines: Vec<&str> = found.lines().map(|line| line.split(':').nth(1).expect("a line")).collect();
        assert_eq!(lines, ["1", "4", "5", "7", "8"], "{found}");
    }

    #[test]
    fn a_secret_is_refused_and_not_shown() {
        let cases = [
            ("[source.a]\nkind = \"postgres\"\nurl = \"postgres://app:hunter2@db/app\"", "3:7"),
            ("[source.a]\nkind = \"hunter2://x:hunter2@y\"", "2:8"),
            ("[source.a]\nkind = \"postgres\"\nurl_env = \"postgres://app:hunter2@db/app\"", "3:11"),
            ("[source.a]\nkind = \"stdin\"\nping_env = \"https://hc.example/hunter2\"", "3:12"),
            ("[source.a]\nkind = \"command\"\ncommand = [\"mysqldump\", \"--password=hunter2\"]", "3:25"),
            (
                "[alerts]\nwebhook = \"https://hooks.example/hunter2\"",
                "2:1: unknown key `webhook`; no secret stands in",
            ),
            ("[source.a]\nkind = \"postgres\"\nurl = \"postgres://app:hunter2@db/app", "3:"),
            ("[repository]\nlocation = \"s3://hunter2:hunter2@bucket/x\"", "2:12"),
        ];
        for (text, says) in cases {
            let found = wrong(text);
            assert!(found.contains(&format!("vault.toml:{says}")), "{text}\n{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn one_file_has_one_source() {
        let found =
            wrong("[source.b]\nkind = \"sqlite\"\npath = \"x.db\"\n[source.a]\nkind = \"sqlite\"\npath = \"./x.db\"");
        assert!(found.contains("6:8: ") && found.contains("[source.b] at vault.toml:1:1"), "{found}");
    }

    #[test]
    fn a_terminal_ruins_a_dump() {
        let text = |words: &str| format!("[source.a]\nkind = \"postgres\"\ndump_command = [{words}]");
        for words in [
            "\"docker\", \"exec\", \"-it\", \"db\", \"pg_dump\"",
            "\"/usr/bin/docker\", \"exec\", \"-u\", \"postgres\", \"-t\", \"db\", \"pg_dump\"",
            "\"podman\", \"exec\", \"--tty\", \"db\", \"pg_dump\"",
        ] {
            assert!(wrong(&text(words)).contains("3:16: "), "{words}");
        }
        for words in
            ["\"docker\", \"exec\", \"-i\", \"db\", \"pg_dump\", \"-t\", \"users\"", "\"pg_dump\", \"-t\", \"x\""]
        {
            assert!(plan_of(&text(words)).warnings.is_empty(), "{words}");
        }
        let compose = plan_of(&text("\"docker\", \"compose\", \"exec\", \"db\", \"pg_dump\""));
        assert_eq!(compose.warnings.first().map(|warning| warning.level), Some(Level::Warning));
    }

    #[test]
    fn the_digest_follows_the_content_alone() {
        let digest =
            |text: &str| plan_of(&format!("[source.a]\nkind = \"postgres\"\n{text}")).sources[0].digest.clone();
        let first = digest("tables = [\"a\", \"b\"]\nurl_env = \"X\"");
        assert_eq!(
            first,
            digest("url_env = 'X' # where\nevery = \"1h\"\ntables = [ \"a\",\n \"b\" ]\ndescription = \"x\"")
        );
        assert_ne!(first, digest("tables = [\"a\"]\nurl_env = \"X\""));
        assert_eq!(first.len(), 32);
    }

    #[test]
    fn a_drill_is_read() {
        let text = "[source.a]\nkind = \"postgres-base\"\nservice = \"main\"\nrto = \"1h\"\n[source.a.drill]\nevery = \"30d\"\ninto_env = \"D\"\n\
            at = \"-1h\"\nexpect = [{ sql = \"select 1\", min = 1, newer_than = \"26h\" }, { command = [\"t\"], timeout = \"10m\" }, { tables = [\"u\"] }]";
        let plan = plan_of(text);
        let drill = plan.sources[0].drill.clone().expect("it");
        assert_eq!((drill.every, drill.timeout, drill.jobs), (Some(DAY * 30), Some(DAY / 6), 1));
        assert_eq!((drill.into, drill.at), (Scratch::Variable("D".into()), Some(Point::Ago(DAY / 24))));
        let must = Must { min: Some(1.0), newer_than: Some(Duration::from_hours(26)), ..Must::default() };
        assert_eq!(drill.expect[0], Check::Sql { sql: "select 1".into(), must });
        let Kind::PostgresBase(base) = &plan.sources[0].kind else { panic!("a base") };
        assert_eq!(base.connection, Connection::Service("main".into()));
    }

    #[test]
    fn files_are_merged_and_say_where_a_key_is_set_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("conf.d")).expect("a folder");
        let main = path("vault.toml");
        let text = "include = [\"conf.d/*.toml\"]\n[source.a]\nkind = \"stdin\"\n";
        std::fs::write(path("conf.d/b.toml"), "[source.b]\nkind = \"directory\"\npaths = [\"up\"]\n").expect("a file");
        std::fs::write(path("conf.d/no.txt"), "[[[").expect("a file");
        let plan = parse(&main, text).expect("a plan");
        assert_eq!((plan.files.len(), plan.sources.len()), (2, 2));
        let Kind::Directory(directory) = &plan.source("b").expect("it").kind else { panic!("a folder") };
        assert_eq!(directory.paths, [path("conf.d/up")]);
        std::fs::write(path("conf.d/c.toml"), "[source.a]\nkind = \"stdin\"\n").expect("a file");
        let error = parse(&main, text).expect_err("twice").to_string();
        let says = format!(
            "{}:2:1: `source.a.kind` is set twice, first at {}:3:1",
            path("conf.d/c.toml").display(),
            main.display()
        );
        assert!(error.contains(&says), "{error}");
        let error = parse(&main, "include = [\"d.toml\"]").expect_err("missing").to_string();
        assert!(error.contains(":1:12: there is no file"), "{error}");
    }
}
