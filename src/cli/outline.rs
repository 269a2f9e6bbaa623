//! `vault plan show`: the plan with all that it does not say filled in, as the plan that says it.

use super::printed::printed;
use super::{Outcome, Session, code, render};
use vault::plan::{Plan, Spelled, spell};

/// Print the plan with all defaults filled in
///
/// What is printed is a plan itself, and means the same. It holds no secret, for a plan holds none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault plan show
  vault plan show --json --plan /etc/vault/vault.toml")]
pub struct Arguments {}

printed! {
    /// What `vault plan show` prints.
    struct Shown<'a>(plan: &'a Plan, spelled: &'a [Spelled]) {
        /// What the plan is called.
        plan: &'a str = &plan.name,
        /// Its file, and behind it those that it includes.
        files: Vec<String> = plan.files.iter().map(|file| file.display().to_string()).collect(),
        /// Of the bytes of these files.
        digest: &'a str = &plan.digest,
        /// Each source, in the order of the files.
        sources: Vec<Line<'a>> = plan.sources.iter().map(Line::of).collect(),
        /// All of its tables.
        tables: Vec<Table<'a>> = spelled.iter().map(Table::of).collect(),
    }

    /// A source.
    struct Line<'a>(source: &'a vault::plan::Source) {
        /// Its name.
        name: &'a str = &source.name,
        /// Its kind.
        kind: &'static str = source.kind.name(),
        /// It is run and judged.
        enabled: bool = source.enabled,
        /// When it is due; null: only by name.
        every_seconds: Option<u64> = source.every.map(|every| every.as_secs()),
        /// The newest good snapshot may be so old.
        rpo_seconds: Option<u64> = source.rpo.map(|rpo| rpo.as_secs()),
        /// A restore may take so long.
        rto_seconds: Option<u64> = source.rto.map(|rto| rto.as_secs()),
        /// Of what decides on the content of its snapshots.
        digest: &'a str = &source.digest,
    }

    /// A table.
    struct Table<'a>(spelled: &'a Spelled) {
        /// Its name; empty for the top.
        name: &'a str = &spelled.name,
        /// Its keys.
        keys: Vec<Key<'a>> = spelled.keys.iter().map(|(key, value)| Key::of(key, value)).collect(),
    }

    /// A key.
    struct Key<'a>(key: &'a str, value: &'a str) {
        /// Its name.
        key: &'a str = key,
        /// Its value as TOML.
        value: &'a str = value,
    }
}

/// Prints a plan.
pub fn run(session: &Session, plan: &Plan) -> Outcome {
    let spelled = spell(plan);
    session.global.print(&Shown::of(plan, &spelled));
    if !session.global.json && !session.global.quiet {
        render::text(&text(&spelled));
    }
    Ok(code::DONE)
}

fn text(spelled: &[Spelled]) -> String {
    let mut out = String::new();
    for table in spelled {
        if !table.name.is_empty() {
            out.push_str(&format!("\n[{}]\n", table.name));
        }
        for (key, value) in &table.keys {
            out.push_str(&format!("{key} = {}\n", render::safe(value)));
        }
    }
    out
}
