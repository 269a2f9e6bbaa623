//! `vault plan runbook`: what to type to get each source back on a new machine, from the plan and from what the repository
//! knows: which files a source has, how long restores took. Plain text of 80 columns, to be printed and kept elsewhere; it
//! holds no secret.

use super::proposal::quote;
use super::{Context, Failure, Outcome, Session, address, code, output, render};
use std::ffi::OsString;
use std::path::Path;
use vault::history::History;
use vault::list;
use vault::plan::{Dump, Globals, Kind, PLAN_NAME, Plan, Postgres, Source};
use vault::repository::{Repository, View};
use vault_format::bundle::Role;
use vault_format::facts::Facts;

/// Where restored dumps lie meanwhile.
const PLACE: &str = "/var/tmp/restored";

/// Print what to type to get everything back on a new machine
///
/// From the plan and the repository's history: install, open, fetch the plan, then each source with the steps of its kind
/// and the times that restores have taken. No secret stands in it. Print it, and keep it with the recovery sheet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault plan runbook > runbook.txt
  vault plan runbook app-db")]
pub struct Arguments {
    /// Only this source [default: all]
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
}

/// What is known of the plan's repository.
struct Known<'k> {
    session: &'k Session,
    repository: &'k Repository,
    history: &'k History,
    catalog: &'k View,
}

/// Prints, with a session that opens what the plan names.
pub fn run(session: &Session, plan: &Plan, arguments: &Arguments) -> Outcome {
    if let Some(name) = arguments.source.as_ref().filter(|name| plan.source(name).is_none()) {
        return Err(Failure::usage(format!("the plan has no source {name}")));
    }
    let repository = session.open()?;
    let history = History::read(&repository).context("cannot read the journal")?;
    let catalog = list::snapshots(&repository).context("cannot list snapshots")?;
    let known = Known { session, repository: &repository, history: &history, catalog: &catalog };
    let mut lines = beginning(&known, plan);
    let wanted = |source: &&Source| arguments.source.as_ref().is_none_or(|name| *name == source.name);
    for (number, source) in plan.sources.iter().filter(wanted).enumerate() {
        lines.push(String::new());
        lines.extend(of_source(&known, source, number.saturating_add(5)));
    }
    for copy in &plan.copies {
        lines.push(String::new());
        lines.push(format!("If the repository is lost too, the copy {} has the same snapshots:", copy.name));
        lines.push(command(&format!("export VAULT_REPOSITORY={}", quote(&copy.location.to_string()))));
    }
    let text: String = lines.iter().map(|line| format!("{}\n", render::safe(line))).collect();
    output::put(text.as_bytes());
    Ok(code::DONE)
}

/// A path that means the same wherever it is typed.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn command(text: &str) -> String {
    format!("     {text}")
}

/// Up to the plan.
fn beginning(known: &Known<'_>, plan: &Plan) -> Vec<String> {
    let name = &plan.name;
    let now = render::time(known.repository.runtime().clock.now());
    let place = known.session.global.repository.clone().unwrap_or_default();
    let place = if place.contains("://") { place } else { absolute(Path::new(&place)) };
    let mut lines = vec![
        format!("Runbook of the plan {name}, as of {now}"),
        String::new(),
        "1. On the new machine, install vault, this version or a later one:".into(),
        command(&format!("vault --version      # here: {}", env!("CARGO_PKG_VERSION"))),
        String::new(),
        "2. Say where the repository is. A bucket needs the variables of its provider.".into(),
        command(&format!("export VAULT_REPOSITORY={}", quote(&place))),
        String::new(),
        "3. Open it, with the password (vault asks for it) or an exported key file:".into(),
        command("export VAULT_KEY_FILE=FILE   # if there is one"),
        command("vault snapshots"),
        "   If both are lost, the 24 words of the recovery sheet make a new password:".into(),
        command("vault init --recover"),
        String::new(),
        "4. Fetch the plan, and set the variables that it names:".into(),
    ];
    lines.extend(match Newest::of(known, PLAN_NAME).files.as_slice() {
        [one] => vec![command(&format!("vault restore {PLAN_NAME}:{} --stdout > vault.toml", quote(one)))],
        _ => vec![command(&format!("vault restore {PLAN_NAME} --target plan"))],
    });
    let mut names: Vec<&str> = plan.variables.iter().map(|variable| variable.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    lines.extend(names.iter().map(|name| command(&format!("export {name}=…"))));
    if !names.is_empty() {
        lines.push("   Their values are in no snapshot: keep them, and what `.env` files hold,".into());
        lines.push("   where the recovery sheet is.".into());
    }
    lines
}

/// The newest snapshot of a source; nothing where this key may not see it, or where there is none.
#[derive(Default)]
struct Newest {
    files: Vec<String>,
    facts: Facts,
}

impl Newest {
    fn of(known: &Known<'_>, name: &str) -> Self {
        let mut newest = Self::default();
        if known.repository.keys().role() == Role::Writer {
            return newest;
        }
        let Ok(found) = address::find(known.session, known.catalog, &OsString::from(name), "") else { return newest };
        newest.facts = found.snapshot.body(known.repository).map(|body| body.facts).unwrap_or_default();
        let listed = list::nodes(&found, false, &mut |path, _| {
            newest.files.push(String::from_utf8_lossy(path).into_owned());
            Ok(())
        });
        // half a list would leave something out
        if listed.is_err() {
            newest.files.clear();
        }
        newest
    }

    /// What is known of the database in one of several files, or in the only one.
    fn fact(&self, file: &str, name: &str) -> Option<&str> {
        self.facts.get(&format!("{file}/{name}")).or_else(|| self.facts.get(name))
    }
}

fn of_source(known: &Known<'_>, source: &Source, number: usize) -> Vec<String> {
    let name = &source.name;
    let mut lines = vec![format!("{number}. {name} ({})", source.kind.name())];
    let runs = known.history.source(name);
    match runs.and_then(|runs| runs.last_good()) {
        None => {
            lines.push("   There is no snapshot of it yet.".into());
            return lines;
        }
        Some(last) => {
            let bytes = runs.and_then(|runs| runs.sizes().last().map(|past| past.bytes)).unwrap_or_default();
            lines.push(format!("   Newest: {}, {}.", render::time(last.began), render::size(bytes)));
        }
    }
    let restored = known.history.task("restore", name).and_then(|runs| runs.last_good());
    lines.push(match restored {
        Some(told) => {
            let took = render::duration(u64::try_from(told.took.as_nanos()).unwrap_or(u64::MAX));
            format!("   Its last restore, on {}, took {took}.", render::time(told.began))
        }
        None => "   A restore of it was never tried: nobody knows how long that takes.".into(),
    });
    lines.extend(source.rto.map(|rto| format!("   It should be back within {}.", vault::health::spoken(rto))));
    let folder = format!("{PLACE}/{name}");
    let fetch = command(&format!("vault restore {name} --target {folder}"));
    let newest = Newest::of(known, name);
    let files = &newest.files;
    lines.extend(match &source.kind {
        Kind::Directory(directory) => match directory.paths.as_slice() {
            [one] => vec![command(&format!("vault restore {name} --target {}", quote(&absolute(one))))],
            _ => vec![
                fetch,
                format!("   Its folders lie below {folder}, as below the folder that all of"),
                "   them were in. Put each back in its place.".into(),
            ],
        },
        Kind::Postgres(said) => [vec![fetch], postgres(&folder, &newest, said)].concat(),
        Kind::Mysql(_) => [vec![fetch], mysql(&folder, files)].concat(),
        Kind::Sqlite(said) => {
            let path = absolute(&said.path);
            let file = files.first().cloned().unwrap_or_else(|| "FILE".into());
            vec![
                fetch,
                "   Stop what writes to it, then:".into(),
                command(&format!(
                    "rm -f {0} {1} {2}",
                    quote(&path),
                    quote(&format!("{path}-wal")),
                    quote(&format!("{path}-shm"))
                )),
                command(&format!("cp {} {}", quote(&format!("{folder}/{file}")), quote(&path))),
                command(&format!("sqlite3 {} 'PRAGMA integrity_check'", quote(&path))),
            ]
        }
        Kind::Redis(_) => [vec![fetch], redis(&folder, files)].concat(),
        _ => vec![fetch],
    });
    lines
}

/// A name of a file without its ending, if it has that one.
fn stems<'f>(files: &'f [String], ending: &str) -> Vec<(&'f str, &'f str)> {
    files.iter().filter_map(|file| Some((file.strip_suffix(ending)?, file.as_str()))).collect()
}

fn postgres(folder: &str, newest: &Newest, said: &Postgres) -> Vec<String> {
    let mut lines = Vec::new();
    if newest.files.iter().any(|file| file == "globals.sql") {
        lines.push("   Roles first, as a superuser; of those that exist it complains:".into());
        lines.push(command(&format!("psql -d postgres -f {folder}/globals.sql")));
        if said.globals == Globals::Auto {
            lines.push("   They come without passwords. Give one to each that signs in with it:".into());
            lines.push(command(r"psql -d postgres -c '\password ROLE'"));
        }
    }
    let ending = if said.format == Dump::Custom { ".dump" } else { ".sql" };
    let mut found: Vec<_> = stems(&newest.files, ending).into_iter().filter(|(stem, _)| *stem != "globals").collect();
    if found.is_empty() {
        found.push(("DATABASE", if said.format == Dump::Custom { "DATABASE.dump" } else { "DATABASE.sql" }));
    }
    lines.push("   With a client of the server's version or a later one:".into());
    for (stem, file) in found {
        let database = quote(newest.fact(file, "database").unwrap_or(stem));
        lines.extend(create(newest, file, &database));
        let file = quote(&format!("{folder}/{file}")).into_owned();
        lines.push(match said.format {
            Dump::Custom => command(&format!("pg_restore --exit-on-error --jobs 4 -d {database} {file}")),
            Dump::Plain => command(&format!("psql -v ON_ERROR_STOP=1 -d {database} -f {file}")),
        });
        lines.push(command(&format!("psql -d {database} -c ANALYZE")));
    }
    lines
}

/// As it was: who owns a database may make tables in it.
fn create(newest: &Newest, file: &str, database: &str) -> Vec<String> {
    let words = [("owner", "-O"), ("encoding", "-E"), ("collate", "--lc-collate"), ("ctype", "--lc-ctype")];
    let words = words.map(|(fact, word)| newest.fact(file, fact).map(|value| format!("{word} {}", quote(value))));
    let [owner, encoding, collate, ctype] = words.map(Option::unwrap_or_default);
    if encoding.is_empty() {
        let words = [owner.as_str(), database].join(" ");
        return vec![command(&format!("createdb {}", words.trim_start()))];
    }
    let form = [encoding, collate, ctype].join(" ");
    vec![command(&format!("createdb {owner} -T template0 \\")), command(&format!("  {form} {database}"))]
}

fn mysql(folder: &str, files: &[String]) -> Vec<String> {
    let mut found = stems(files, ".sql");
    if found.is_empty() {
        found.push(("DATABASE", "DATABASE.sql"));
    }
    let mut lines = vec!["   Users and their rights are in no dump: make them first.".into()];
    for (database, file) in found {
        lines.push(command(&format!("mysqladmin create {}", quote(database))));
        lines.push(command(&format!("mysql {} < {}", quote(database), quote(&format!("{folder}/{file}")))));
    }
    lines
}

fn redis(folder: &str, files: &[String]) -> Vec<String> {
    let file = files.first().cloned().unwrap_or_else(|| "dump.rdb".into());
    let file = quote(&format!("{folder}/{file}")).into_owned();
    vec![
        "   Stop the server, put the file in its place, start it without its log (with".into(),
        "   `appendonly yes` it would start empty), then switch that on again:".into(),
        command("systemctl stop redis-server"),
        command(&format!("install -o redis -g redis -m 660 {file} /var/lib/redis/dump.rdb")),
        command("redis-server /etc/redis/redis.conf --appendonly no --daemonize yes"),
        command("redis-cli CONFIG SET appendonly yes"),
    ]
}
