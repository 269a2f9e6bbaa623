//! How somebody hears of what a plan found. Whoever judges says what is so now, as `Alert`s; which of them are news to
//! whom follows from these and from what the journal holds of earlier ones, so a machine without a disk does not repeat
//! itself; what is told, and what could not be, goes back as data for the journal. Invariant: telling never fails a run,
//! takes no longer than it may, and no address of a receiver stands in a message or an error.

mod delivery;
mod due;
mod format;
mod mail;
mod moment;
mod patience;
mod payload;
mod ping;
mod program;
mod receivers;
mod text;
mod told;

pub use delivery::{Round, tell};
pub use due::{Due, Rules, due};
pub use mail::Mail;
pub use patience::PATIENCE;
pub use payload::Payload;
pub use ping::{Ping, Pinger, Signal};
pub use program::Command;
pub use receivers::{Channel, Receivers, Webhook};
pub use told::Told;

use crate::plan;
use crate::time::WallTime;
use serde::{Deserialize, Serialize};

/// What happened, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A run failed.
    Failed,
    /// An objective is missed.
    Missed,
    /// A snapshot is oddly small or large.
    Suspect,
    /// All is well: told to whoever heard otherwise.
    Recovered,
    /// A drill passed; one that did not is a failure.
    Drill,
    /// A run is done.
    Done,
    /// Somebody tries whether this arrives.
    Test,
}

impl Event {
    /// The word of the plan and of the messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::Suspect => "suspect",
            Self::Recovered => "recovered",
            Self::Drill => "drill",
            Self::Done => "done",
            Self::Test => "test",
        }
    }

    /// True while something is wrong.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Failed | Self::Missed | Self::Suspect)
    }

    /// True for what is told each time, since it does not last.
    pub fn is_news(self) -> bool {
        matches!(self, Self::Drill | Self::Done | Self::Test)
    }
}

impl From<plan::Event> for Event {
    fn from(event: plan::Event) -> Self {
        match event {
            plan::Event::Failed => Self::Failed,
            plan::Event::Missed => Self::Missed,
            plan::Event::Suspect => Self::Suspect,
            plan::Event::Recovered => Self::Recovered,
            plan::Event::Drill => Self::Drill,
            plan::Event::Done => Self::Done,
        }
    }
}

/// One message, and what is so of one objective of one source now: `Recovered` says that it is met.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// What happened.
    pub event: Event,
    /// Name of the plan.
    pub plan: String,
    /// Where it was noticed.
    pub host: String,
    /// Whom it concerns; empty for the repository, or for several.
    pub source: String,
    /// What was judged: `rpo`, `drill`, `size` and so on; empty for several.
    pub objective: String,
    /// What was found; empty if nothing was.
    pub observed: String,
    /// What it should be.
    pub limit: String,
    /// How long it has been so.
    #[serde(with = "moment::time", default)]
    pub since: Option<WallTime>,
    /// One line, with what was found and what it may be.
    pub message: String,
    /// The next command to try, or nothing.
    pub next: String,
    /// Id of the journal record that it is about, or nothing.
    pub record: String,
    /// What this one stands for, if it stands for many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
}

impl Alert {
    /// Nothing but what happened.
    pub fn new(event: Event, plan: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            event,
            plan: plan.into(),
            host: host.into(),
            source: String::new(),
            objective: String::new(),
            observed: String::new(),
            limit: String::new(),
            since: None,
            message: String::new(),
            next: String::new(),
            record: String::new(),
            alerts: Vec::new(),
        }
    }
}

/// A message by which somebody sees that messages arrive.
pub fn test_message(plan: impl Into<String>, host: impl Into<String>) -> Alert {
    let message = "this is a test: messages of this plan arrive here".to_owned();
    Alert { message, ..Alert::new(Event::Test, plan, host) }
}
