//! What a plan needs around it: variables of the environment that are set, files that are there. Whoever asks gives the
//! environment; nothing is connected to.

use super::finding::{Finding, Level};
use super::kind::Kind;
use super::{Plan, Source};

const VARIABLE: &str = "export it; a file of variables is read by `set -a; . ./.env; set +a`";
/// Only a shell knows it.
const HOME: &str = "`~` means nothing in a plan: write the whole path";

/// What lacks around a plan. `is_set` tells whether a variable has a value.
pub fn lacking(plan: &Plan, is_set: impl Fn(&str) -> bool) -> Vec<Finding> {
    let unset = plan.variables.iter().filter(|variable| !is_set(&variable.name)).map(|variable| Finding {
        level: Level::Error,
        key: variable.key.clone(),
        place: variable.place.clone(),
        problem: format!("the variable {} is not set", variable.name),
        hint: Some(VARIABLE.into()),
    });
    let disabled: Vec<String> =
        plan.sources.iter().filter(|source| !source.enabled).map(|source| format!("source.{}.", source.name)).collect();
    let is_of_disabled = |key: &str| disabled.iter().any(|begin| key.starts_with(begin));
    let missing = plan.needed.iter().filter(|needed| !needed.path.exists()).map(|needed| Finding {
        level: if needed.may_lack || is_of_disabled(&needed.key) { Level::Warning } else { Level::Error },
        key: needed.key.clone(),
        place: needed.place.clone(),
        problem: format!("there is no {}", needed.path.display()),
        hint: needed.path.iter().any(|part| part == "~").then(|| HOME.into()),
    });
    let mut found: Vec<Finding> = unset.chain(missing).collect();
    found.sort_by_key(|finding| plan.order(&finding.place));
    found
}

/// What was seen of a source's server; `None` where nothing was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// It answers.
    pub reachable: Option<bool>,
    /// Its version.
    pub server_version: Option<String>,
    /// The program that would read it.
    pub tool: Option<String>,
    /// Version of that program.
    pub tool_version: Option<String>,
    /// About how many bytes there are to read.
    pub bytes_estimate: Option<u64>,
}

/// What this machine tells of a source, without a connection.
pub fn seen(source: &Source) -> Seen {
    let Kind::Sqlite(sqlite) = &source.kind else { return Seen::default() };
    let bytes = std::fs::metadata(&sqlite.path).ok().map(|metadata| metadata.len());
    Seen { reachable: Some(bytes.is_some()), bytes_estimate: bytes, ..Seen::default() }
}

/// What a plan asks for and this version does not do.
pub fn not_run(plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &plan.sources {
        let mut note = |key: &str, what: &str| {
            let key = format!("source.{}{key}", source.name);
            let problem = format!("{what} of {} is not run by this version", source.name);
            let place = source.place.clone();
            found.push(Finding { level: Level::Note, key, place, problem, hint: None });
        };
        if let Kind::PostgresBase(base) = &source.kind {
            note("", "the base backup");
            if base.wal_keep.is_some() {
                note(".wal_keep", "the archive of WAL");
            }
        }
        if source.drill.is_some() {
            note(".drill", "the drill");
        }
    }
    found
}
