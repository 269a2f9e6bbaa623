//! When a pass over a source ends before the source does: the run should stop, or has had its time.

use crate::error::{Error, Result};
use crate::runtime::Runtime;
use crate::source::Limit;
use crate::time::show_duration;

/// What ends a pass.
#[derive(Clone)]
pub struct Bounds {
    pub runtime: Runtime,
    pub limit: Option<Limit>,
}

impl Bounds {
    /// Ends, by `?`, a pass that must not go on. Whoever loops over something long asks this in each turn.
    pub fn go_on(&self) -> Result<()> {
        self.runtime.check_stopped()?;
        let over = self.limit.filter(|limit| limit.is_over(&self.runtime));
        over.map_or(Ok(()), |limit| {
            Err(Error::Source(format!(
                "it took longer than its timeout of {} and was ended",
                show_duration(limit.length)
            )))
        })
    }
}
