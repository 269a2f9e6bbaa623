//! The plan as a source: whoever has lost the machine finds in the repository what was to be backed up, how, and how
//! often. It is stored after each change, files that it includes with it.

use super::{Context, Outcome, Task};
use crate::backup;
use crate::history::{DESCRIPTION_FACT, History};
use crate::plan::PLAN_NAME;
use crate::source::dump::{Dump, DumpFailure, DumpFile, Learned};
use std::collections::BTreeMap;
use std::io::Cursor;
use vault_format::facts::Facts;

/// Stores it if it is not what was stored last.
pub fn store(context: &Context<'_>, history: &History) -> Option<Task> {
    let plan = context.plan;
    let last = history.source(PLAN_NAME).and_then(|runs| runs.last_good());
    let is_known = last.is_some_and(|told| {
        told.facts.get(DESCRIPTION_FACT) == Some(&plan.digest)
            && told.snapshot.is_some_and(|id| history.is_visible(&id))
    });
    if is_known || plan.files.is_empty() {
        return None;
    }
    if context.options.dry_run {
        return Some(Task::new("plan", Outcome::Due, "it has changed"));
    }
    let facts: Facts = [(DESCRIPTION_FACT, plan.digest.as_str())].into_iter().collect();
    let options = backup::Options {
        name: PLAN_NAME.into(),
        kind: "plan".into(),
        host: context.machine.host.clone(),
        user: context.machine.user.clone(),
        told: facts,
        ..backup::Options::default()
    };
    let mut files = Files::default();
    for path in &plan.files {
        match std::fs::read(path) {
            Ok(bytes) => {
                let name = path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes().to_vec();
                files.all.insert(name, bytes);
            }
            Err(error) => {
                return Some(Task::new("plan", Outcome::Failed, format!("cannot read {}: {error}", path.display())));
            }
        }
    }
    let stored = backup::backup(context.repository, backup::Source::Dump(&mut files), &options, context.progress);
    Some(match stored {
        Ok(_) => Task::new("plan", Outcome::Done, format!("stored as {PLAN_NAME}")),
        Err(error) => Task::new("plan", Outcome::Failed, error.to_string()),
    })
}

/// Files that are in memory.
#[derive(Default)]
struct Files {
    all: BTreeMap<Vec<u8>, Vec<u8>>,
    next: usize,
    current: Cursor<Vec<u8>>,
}

impl Dump for Files {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        self.next = 0;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        let Some((name, bytes)) = self.all.iter().nth(self.next) else { return Ok(None) };
        self.next += 1;
        self.current = Cursor::new(bytes.clone());
        Ok(Some(DumpFile { name: name.clone(), content: &mut self.current, allow_empty: true }))
    }

    fn learned(&mut self) -> Learned {
        Learned::default()
    }
}
