//! Commands of the plan around a run. Each gets an environment of few variables and what the run tells of itself; its
//! whole process group ends with its time.

use super::{Context, Trouble};
use crate::plan::{Hook, Source};
use crate::source::{Child, ChildFailure, Limit, Start, allowed};
use std::ffi::OsString;
use std::io::Read;

/// What the run tells.
#[derive(Clone, Default)]
pub struct Told {
    /// How it ended; empty before that.
    pub outcome: &'static str,
    /// Id of the snapshot, if there is one.
    pub snapshot: String,
    /// Why it failed.
    pub error: String,
}

/// Runs hooks one after the other; the first that fails ends that.
pub fn run(context: &Context<'_>, source: &Source, hooks: &[Hook], told: &Told) -> Result<(), Trouble> {
    hooks.iter().try_for_each(|hook| one(context, source, hook, told))
}

fn one(context: &Context<'_>, source: &Source, hook: &Hook, told: &Told) -> Result<(), Trouble> {
    let runtime = context.repository.runtime();
    let mut environment = allowed(context.machine.environment.clone(), |_| false);
    let said = [
        ("VAULT_SOURCE", source.name.as_str()),
        ("VAULT_OUTCOME", told.outcome),
        ("VAULT_SNAPSHOT", told.snapshot.as_str()),
        ("VAULT_ERROR", told.error.as_str()),
    ];
    environment.extend(said.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    let start = Start {
        words: hook.run.iter().map(OsString::from).collect(),
        environment: Some(environment),
        folder: Some(source.folder.clone()).filter(|folder| !folder.as_os_str().is_empty()),
        limit: Some(Limit::new(runtime, hook.timeout)),
        ..Start::default()
    };
    let failed = |failure: ChildFailure| {
        let word = hook.run.first().map(String::as_str).unwrap_or_default();
        Trouble { ours: format!("hook {}", failure.ours()), all: format!("hook {word}: {}", failure.brief()) }
    };
    let mut child = Child::spawn(start, runtime, context.progress).map_err(failed)?;
    // nobody wants its output, and it must not wait for a reader
    let mut buffer = [0u8; 4096];
    while child.read(&mut buffer).is_ok_and(|length| length > 0) {}
    child.finish().map(drop).map_err(failed)
}
