//! `vault plan init`: a first plan for the folder that it is run in, from what lies there: names of variables, services
//! of compose, folders of uploads, files of SQLite, configuration. It asks nothing and overwrites nothing. Invariant: of a
//! variable only its name is read, also where a file has its value beside it.

mod compose;

use super::exit::Context;
use super::printed::printed;
use super::proposal::quote;
use super::{Outcome, Session, code, render};
use compose::Engine;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use vault_format::snapshot::is_source_name;

/// Files with variables.
const VARIABLES: [&str; 5] = [".env", ".env.local", ".env.production", ".env.example", ".env.sample"];
/// Files of compose.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Folders that people upload to.
const UPLOADS: [&str; 10] = [
    "uploads",
    "media",
    "storage",
    "attachments",
    "files",
    "public/uploads",
    "public/media",
    "data/uploads",
    "var/uploads",
    "static/uploads",
];
/// Folders in which files of SQLite are looked for besides this one.
const DATA: [&str; 6] = ["data", "db", "database", "instance", "prisma", "var"];
/// What says how a system is set up.
const CONFIGURATION: [&str; 16] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "Dockerfile",
    "Caddyfile",
    "nginx.conf",
    "nginx",
    "config",
    "deploy",
    "render.yaml",
    "railway.toml",
    "fly.toml",
    "app.yaml",
    "Procfile",
    "systemd",
];

/// Characters of a comment behind its sign: 80 with it.
const COMMENT_WIDTH: usize = 78;

/// Draft a plan for this folder
///
/// Looks at what lies here: names of variables in the environment and in .env files, services of compose, folders of
/// uploads, files of SQLite, configuration. It asks nothing, connects nowhere, and overwrites no file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault plan init
  vault plan init --output conf/vault.toml")]
pub struct Arguments {
    /// Where to write it; it must not be there yet [default: --plan, else vault.toml]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

printed! {
    /// What `vault plan init` prints.
    struct Drafted(path: &Path, found: &Found) {
        /// The file that was written.
        plan: String = path.display().to_string(),
        /// Names of the sources in it.
        sources: Vec<String> = found.names().into_iter().collect(),
    }
}

/// Drafts.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let output = arguments.output.clone().or_else(|| session.global.plan.clone());
    let path = output.unwrap_or_else(|| PathBuf::from("vault.toml"));
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let found = look(Path::new("."), names.filter(|name| is_set(name)));
    let stem = std::env::current_dir().ok().and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let text = write(&found, &stem.unwrap_or_default(), folder);
    let what = format!("cannot write a plan to {}", path.display());
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let file = file.context(&what).map_err(|failure| failure.hint("name a file that is not there yet with --output"));
    file?.write_all(text.as_bytes()).context(&what)?;
    session.global.print(&Drafted::of(&path, &found));
    let sources = render::count(found.sources.len() as u64, "source", "sources");
    let next = match path == Path::new("vault.toml") {
        true => "`vault plan check`".to_owned(),
        false => format!("`vault plan check --plan {}`", quote(&path.to_string_lossy())),
    };
    session.say(&format!("wrote {} with {sources}; look through it, then {next}", path.display()));
    Ok(code::DONE)
}

/// What lies in a folder.
#[derive(Debug, Default)]
struct Found {
    sources: Vec<Source>,
    /// A variable with the URL of a chat.
    webhook: Option<String>,
    has_repository: bool,
}

/// A source to propose.
#[derive(Debug)]
struct Source {
    name: String,
    /// Why it is proposed.
    why: String,
    /// Lines of TOML.
    lines: Vec<String>,
}

impl Found {
    fn names(&self) -> BTreeSet<String> {
        self.sources.iter().map(|source| source.name.clone()).collect()
    }

    fn add(&mut self, name: &str, why: impl Into<String>, lines: Vec<String>) {
        let plain: String =
            name.chars().map(|sign| if sign.is_ascii_alphanumeric() || sign == '-' { sign } else { '-' }).collect();
        let plain = plain.trim_matches('-').to_lowercase();
        let first = if is_source_name(&plain) { plain } else { "source".to_owned() };
        let taken = self.names();
        let mut name = first.clone();
        for number in 2..=taken.len() + 1 {
            if taken.contains(&name) {
                name = format!("{first}-{number}");
            }
        }
        self.sources.push(Source { name, why: why.into(), lines });
    }
}

/// Looks at a folder; `set` are the names of variables that are set.
fn look(folder: &Path, set: impl Iterator<Item = String>) -> Found {
    let set: BTreeSet<String> = set.collect();
    let mut found = Found { has_repository: set.contains("VAULT_REPOSITORY"), ..Found::default() };
    let text = |name: &&'static str| fs::read_to_string(folder.join(name)).ok().map(|text| (*name, text));
    let mut variables: Vec<(String, String)> = set.iter().map(|name| (name.clone(), "is set".to_owned())).collect();
    for (file, text) in VARIABLES.iter().filter_map(text) {
        variables.extend(
            names_in(&text)
                .map(|name| (name.to_owned(), format!("stands in {file}; set it: `set -a; . ./{file}; set +a`"))),
        );
    }
    let services: Vec<_> = COMPOSE.iter().filter_map(text).flat_map(|(_, text)| compose::services(&text)).collect();
    databases(&mut found, &variables, &services);
    let chat = |name: &&(String, String)| name.0.contains("WEBHOOK") && !name.0.contains("SECRET");
    found.webhook = variables.iter().find(chat).map(|(name, _)| name.clone());
    for name in UPLOADS.iter().filter(|name| folder.join(name).is_dir()) {
        let lines = vec!["kind = \"directory\"".to_owned(), format!("paths = [{}]", quoted(name))];
        found.add(name, "a folder of this name is here", lines);
    }
    for path in databases_in_files(folder) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.to_string_lossy().into_owned();
        found.add(&stem, "a file of SQLite", vec!["kind = \"sqlite\"".into(), format!("path = {}", quoted(&path))]);
    }
    let configuration: Vec<String> =
        CONFIGURATION.iter().filter(|name| folder.join(name).exists()).map(|name| quoted(name)).collect();
    if !configuration.is_empty() {
        let lines = vec!["kind = \"directory\"".into(), format!("paths = [{}]", configuration.join(", "))];
        found.add(
            "config",
            "how it is set up; .env is left out, for it holds secrets: add it if they are nowhere else",
            lines,
        );
    }
    found
}

/// Names of variables in a file of them; what they are set to is passed over.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let names = text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("export ").trim_start();
        line.split_once('=').map(|(name, _)| name.trim())
    });
    names.filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

/// Databases by the variables that name them, and those that only compose runs.
fn databases(found: &mut Found, variables: &[(String, String)], services: &[compose::Service]) {
    let only = |engine: Engine| services.iter().all(|service| service.engine == engine) && !services.is_empty();
    let mut seen = BTreeSet::new();
    let mut engines = BTreeSet::new();
    for (variable, why) in variables {
        // the pooled one is for the application
        let is_url = ["_URL", "_URI", "_DSN"].iter().any(|end| variable.ends_with(end)) && !variable.contains("POOL");
        let Some(engine) = Engine::of_variable(variable, only(Engine::Mysql)).filter(|_| is_url) else { continue };
        if !seen.insert(variable.clone()) || !engines.insert(engine) {
            continue;
        }
        let mut lines = vec![format!("kind = \"{}\"", engine.kind()), format!("url_env = \"{variable}\"")];
        if engine != Engine::Redis {
            lines.extend([
                "every = \"1h\"".into(),
                "keep = { hourly = \"7d\", daily = \"30d\", monthly = \"12m\" }".into(),
            ]);
        }
        found.add(engine.source(), format!("{variable} {why}"), lines);
    }
    for service in services.iter().filter(|service| !engines.contains(&service.engine)) {
        let lines = service.lines();
        found.add(&service.name, "a service of compose; no variable with its URL was found", lines);
    }
}

/// Files of SQLite here, and in folders where they usually lie.
fn databases_in_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for inner in std::iter::once("").chain(DATA) {
        let Ok(entries) = fs::read_dir(folder.join(inner)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let end = Path::new(&name).extension().and_then(|end| end.to_str()).unwrap_or_default();
            let mut head = [0; 15];
            let is_sqlite = ["sqlite", "sqlite3", "db", "db3"].contains(&end)
                && File::open(entry.path()).and_then(|mut file| file.read_exact(&mut head)).is_ok()
                && head == *b"SQLite format 3";
            if is_sqlite {
                files.push(Path::new(inner).join(name));
            }
        }
    }
    files.sort();
    files
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The plan as text. `folder`: where it is written, if that is not here.
fn write(found: &Found, name: &str, folder: Option<&Path>) -> String {
    let mut out = String::from(
        "# The plan of this system: what is backed up, how often, how long it is kept,\n\
         # and who is told. All keys: docs/plan.md. No secret stands here: keys that end\n\
         # in _env name variables of the environment.\n",
    );
    if let Some(folder) = folder {
        out.push_str(&format!(
            "# Paths begin at {}: those below may need more.\n",
            render::safe(&folder.to_string_lossy())
        ));
    }
    if !name.is_empty() {
        out.push_str(&format!("name = {}\n", quoted(name)));
    }
    out.push_str("\n[repository]\n");
    let set = if found.has_repository { "VAULT_REPOSITORY says it" } else { "else VAULT_REPOSITORY must say it" };
    out.push_str(&format!("# where snapshots go, a folder or a bucket; {set}\n"));
    out.push_str("# location = \"/mnt/backup/FOLDER\"\n# location = \"s3://BUCKET/FOLDER?region=REGION\"\n");
    out.push_str("# what opens it: the password, or a key of this machine alone, which the owner\n");
    out.push_str("# makes with `vault key add --role client --export-key-file FILE`\n");
    out.push_str("# password_file = \"/home/USER/vault/password\"\n# key_file = \"/etc/vault/client.key\"\n");
    out.push_str("\n[defaults]\nevery = \"1d\"\nkeep = { daily = \"30d\", weekly = \"12w\", monthly = \"12m\" }\n");
    for Source { name, why, lines } in &found.sources {
        let why = render::wrap(why, COMMENT_WIDTH).join("\n# ");
        out.push_str(&format!("\n# {why}\n[source.{name}]\n{}\n", lines.join("\n")));
    }
    if found.sources.is_empty() {
        out.push_str("\n# nothing was found here; a source looks like this\n# [source.uploads]\n# kind = \"directory\"\n# paths = [\"/srv/uploads\"]\n");
    }
    match &found.webhook {
        Some(variable) => out.push_str(&format!("\n[alerts]\nwebhook_env = \"{variable}\"\n")),
        None => out.push_str("\n# who is told when something fails\n# [alerts]\n# webhook_env = \"WEBHOOK_URL\"\n"),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{look, names_in, write};
    use std::path::Path;
    use vault::plan::parse;

    fn drafted(files: &[(&str, &str)], set: &[&str]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            if !name.ends_with('/') {
                std::fs::write(path, text).expect("a file");
            }
        }
        let text = write(&look(folder.path(), set.iter().map(|name| (*name).to_owned())), "shop", None);
        parse(Path::new("vault.toml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        text
    }

    #[test]
    fn of_variables_only_names_are_read() {
        let text = "# A=1\nexport DATABASE_URL=postgres://u:hunter2@h/x\nB = 'c=d'\n=x\nno\nBAD NAME=1\n";
        assert_eq!(names_in(text).collect::<Vec<_>>(), ["DATABASE_URL", "B"]);
        let plan = drafted(&[(".env", text), ("uploads/a", "x")], &["SLACK_WEBHOOK_URL"]);
        assert!(plan.contains("url_env = \"DATABASE_URL\"") && plan.contains("stands in .env"), "{plan}");
        assert!(plan.contains("[source.uploads]") && plan.contains("webhook_env = \"SLACK_WEBHOOK_URL\""), "{plan}");
        assert!(!plan.contains("hunter2"), "{plan}");
    }

    #[test]
    fn services_and_files_become_sources() {
        let compose = "services:\n  db:\n    image: postgres:16\n  app:\n    build: .\n  queue:\n    image: \"redis:7-alpine\"\n  old:\n    image: mariadb\n";
        let files = [
            ("docker-compose.yml", compose),
            ("data/app.sqlite3", "SQLite format 3\0"),
            ("thumbs.db", "no"),
            ("config/a", ""),
        ];
        let plan = drafted(&files, &["REDIS_URL", "HOME"]);
        assert!(plan.contains("[source.db]") && plan.contains("\"exec\", \"-T\", \"db\", \"pg_dump\""), "{plan}");
        assert!(plan.contains("url_env = \"REDIS_URL\"") && !plan.contains("[source.queue]"), "{plan}");
        assert!(
            plan.contains("[source.old]\nkind = \"mysql\"") && plan.contains("path = \"data/app.sqlite3\""),
            "{plan}"
        );
        assert!(!plan.contains("thumbs") && plan.contains("paths = [\"docker-compose.yml\", \"config\"]"), "{plan}");
    }

    #[test]
    fn an_empty_folder_has_a_plan_to_begin_with() {
        let plan = drafted(&[], &[]);
        assert!(plan.contains("# [source.uploads]") && plan.contains("name = \"shop\""), "{plan}");
    }

    #[test]
    fn a_name_is_taken_once() {
        let plan = drafted(&[("media/a", ""), ("media.db", "SQLite format 3\0"), ("Ünï.db", "SQLite format 3\0")], &[]);
        assert!(plan.contains("[source.media]") && plan.contains("[source.media-2]"), "{plan}");
    }
}
