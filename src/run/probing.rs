//! Whether the store lets this machine delete, though the plan says that it must not. The only proof is to try, so an
//! object of the machine's own is put that holds nothing and that nobody reads, and then deleted. Its name and its bytes
//! are always the same: a store that refuses keeps one such object for each key, however often it is tried.

use super::{Context, Outcome};
use crate::backend::ErrorKind;
use crate::health::DELETES_FACT;
use crate::history::Runs;
use crate::operation::{Ending, Operation, Run};
use crate::repository::Repository;
use crate::repository::objects::foreign;
use std::time::Duration;

/// How often it is tried; where it could be deleted, somebody may just have put that right.
const EVERY: Duration = Duration::from_hours(24);
const SOON: Duration = Duration::from_hours(1);

const BYTES: &[u8] = b"vault tries to delete this, to see whether it may; it holds nothing\n";

/// How soon it is due after what this machine has seen before.
pub fn every(own: &Runs) -> Duration {
    let last = own.last_good().and_then(|told| told.facts.get(DELETES_FACT));
    if last.is_some_and(|deletes| deletes == "true") { SOON } else { EVERY }
}

/// Tries, and notes what came of it.
pub fn probe(context: &Context<'_>) -> Result<(Outcome, String), String> {
    let run = Run::start(context.repository, Operation::PROBE);
    let deletes = deletes(context.repository);
    let told = deletes.as_ref().map_or("", |deletes| said(*deletes));
    let facts = deletes.iter().map(|deletes| (DELETES_FACT, deletes.to_string())).collect();
    let ending = Ending { source: context.plan.name.clone(), facts, ..Ending::done(told) };
    run.finish(&deletes, ending).into_iter().for_each(|warning| context.progress.note(&warning));
    deletes.map(|deletes| (Outcome::Done, said(deletes).to_owned()))
}

fn said(deletes: bool) -> &'static str {
    if deletes { "the store lets this machine delete" } else { "the store refuses to delete for this machine" }
}

fn deletes(repository: &Repository) -> Result<bool, String> {
    let (backend, name) = (repository.backend(), foreign::probe(repository.keys().writer()));
    let failed = |error| format!("cannot try whether the store deletes: {error}");
    backend.put(&name, BYTES).map_err(failed)?;
    match backend.delete(&name) {
        // one that says so and keeps it has refused, too
        Ok(()) => match backend.stat(&name) {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(failed(error)),
        },
        Err(error) if error.kind == ErrorKind::Denied => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
