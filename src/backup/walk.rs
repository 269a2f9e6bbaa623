//! The walk over a source, ahead of whoever reads what it finds: what the file system takes to tell of the next entries
//! passes while the last ones are compared and stored. It is never far ahead, for what it has told of grows old; and
//! without workers it is not ahead at all.

use crate::error::Result;
use crate::repository;
use crate::runtime::Runtime;
use crate::source::{Directory, Event};
use crossbeam_channel::{Receiver, bounded};

/// Events that are handed over together: waking somebody for each costs more than most of them do.
const EVENTS_AT_ONCE: usize = 64;

/// How often as many wait: each may hold a directory open.
const WAITING: usize = 2;

/// Gives the events of a walk in their order to `take`, until there are no more or one fails.
pub fn ahead(runtime: &Runtime, directory: Directory, mut take: impl FnMut(Event) -> Result<()>) -> Result<()> {
    if runtime.workers == 0 {
        return directory.into_iter().try_for_each(take);
    }
    let (found, events) = bounded::<Vec<Event>>(WAITING);
    std::thread::scope(|scope| {
        let walk = move || {
            let mut directory = directory.peekable();
            while directory.peek().is_some() {
                // nobody waits for more once something has failed
                if found.send(directory.by_ref().take(EVENTS_AT_ONCE).collect()).is_err() {
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

fn take_all(events: Receiver<Vec<Event>>, take: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
    events.into_iter().flatten().try_for_each(take)
}
