//! The walk over a source and its parent's tree, ahead of whoever reads what it finds: what the file system takes to tell
//! of the next entries, and what the parent has for them, passes while the last ones are stored. It is never far ahead,
//! for what it has told of grows old; and without workers it is not ahead at all.

use super::parent::{Met, ParentTree};
use crate::error::Result;
use crate::repository;
use crate::runtime::Runtime;
use crate::source::Directory;
use crossbeam_channel::{Receiver, bounded};

/// Events that are handed over together: waking somebody for each costs more than most of them do.
const EVENTS_AT_ONCE: usize = 64;

/// How often as many wait: each may hold a directory open.
const WAITING: usize = 2;

/// Gives the events of a walk in their order to `take`, each with what the parent has for it, until there are no more or
/// one fails.
pub fn ahead(
    runtime: &Runtime,
    (directory, mut parent): (Directory, ParentTree),
    mut take: impl FnMut(Met) -> Result<()>,
) -> Result<()> {
    let met = directory.bare().map(move |event| parent.meet(event));
    if runtime.workers == 0 {
        return met.into_iter().try_for_each(take);
    }
    let (found, events) = bounded::<Vec<Met>>(WAITING);
    std::thread::scope(|scope| {
        let walk = move || {
            let mut met = met.peekable();
            while met.peek().is_some() {
                // nobody waits for more once something has failed
                if found.send(met.by_ref().take(EVENTS_AT_ONCE).collect()).is_err() {
                    return;
                }
            }
        };
        let walking = std::thread::Builder::new().name("walk".into()).spawn_scoped(scope, walk);
        let walking = walking.map_err(|error| repository::Error::Threads(error.to_string()))?;
        let taken = take_all(events, &mut take);
        // its receiver is gone by now
        walking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken
    })
}

fn take_all(events: Receiver<Vec<Met>>, take: &mut dyn FnMut(Met) -> Result<()>) -> Result<()> {
    events.into_iter().flatten().try_for_each(take)
}
