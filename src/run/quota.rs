//! What a plan lets a repository take in its store. Once that is used up no source is taken any more; forget and prune
//! go on, for they make room.

use super::Context;
use crate::health;
use crate::size::rounded;

/// The quota of a plan, and what is stored.
pub struct Quota {
    most: Option<u64>,
    /// As listed once, and added to since; nobody has asked before.
    stored: Option<u64>,
}

impl Quota {
    pub fn of(context: &Context<'_>) -> Self {
        Self { most: context.plan.repository.quota, stored: None }
    }

    /// Ends, by `?`, what would store more though the quota is used up.
    pub fn leaves_room(&mut self, context: &Context<'_>) -> Result<(), String> {
        let Some(most) = self.most else { return Ok(()) };
        let stored = match self.stored {
            Some(stored) => stored,
            None => health::stored(context.repository)
                .map_err(|error| format!("cannot tell how much of the quota is used: {error}"))?,
        };
        self.stored = Some(stored);
        if stored < most {
            return Ok(());
        }
        let (stored, most) = (rounded(stored), rounded(most));
        Err(format!(
            "the quota is used up: {stored} are stored, and it is {most}; raise `quota`, or keep less and prune"
        ))
    }

    /// A source has stored so much.
    pub fn add(&mut self, bytes: u64) {
        self.stored = self.stored.map(|stored| stored.saturating_add(bytes));
    }
}
