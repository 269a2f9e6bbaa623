//! `vault tag`: tags, a hold and an expiry, given by the owner after the snapshot was taken.

use super::printed::printed;
use super::{Context, Failure, Outcome, Session, code, render, time};
use vault::retention::Length;
use vault::tag::{self, Change, Report};
use vault::time::WallTime;

/// Change the tags of a snapshot, hold it, or let it expire
///
/// A held snapshot is never forgotten. One that has expired is dropped by the next `vault forget` with rules, unless it
/// is held or the newest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault tag app-db --add before-upgrade --hold
  vault tag 3f9a02c1 --release --expire 90d")]
pub struct Arguments {
    /// The snapshot
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Add a tag (can be repeated)
    #[arg(long, value_name = "TAG")]
    add: Vec<String>,
    /// Remove a tag (can be repeated)
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
    /// Never forget it
    #[arg(long, conflicts_with = "release")]
    hold: bool,
    /// End a hold
    #[arg(long)]
    release: bool,
    /// Let it expire at this time, after a length of time from now like 90d or 7y, or never
    #[arg(long, value_name = "TIME|DUR|never", value_parser = parse_expiry)]
    expire: Option<Expiry>,
}

/// A time, or never.
#[derive(Clone, Copy, Debug)]
struct Expiry(Option<WallTime>);

printed! {
    /// What `vault tag` prints.
    struct Tagged<'a>(report: &'a Report) {
        /// Id of the snapshot.
        snapshot: String = report.snapshot.to_string(),
        /// Name of its source.
        name: &'a str = &report.source,
        /// All its tags.
        tags: &'a [String] = &report.tags,
        /// It is held: nothing drops it.
        held: bool = report.held,
        /// When it expires; null for never.
        expires: Option<String> = report.expires.map(render::time_rfc3339),
        /// Ids of the orders that were put.
        orders: Vec<String> = report.orders.iter().map(ToString::to_string).collect(),
        /// Things worth knowing.
        notes: &'a [String] = &report.notes,
    }
}

/// Tags.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let change = Change {
        add: arguments.add.clone(),
        remove: arguments.remove.clone(),
        hold: arguments.hold.then_some(true).or(arguments.release.then_some(false)),
        expire: arguments.expire.map(|Expiry(time)| time),
    };
    change.check().map_err(|error| Failure::usage(error.to_string()).hint("see `vault tag --help`"))?;
    let repository = session.open()?;
    let report = tag::tag(&repository, &arguments.address, &time::parse_address, &change)
        .context(&format!("cannot tag {}", render::safe(&arguments.address)))?;
    render::complain_each(&report.notes);
    session.global.print(&Tagged::of(&report));
    session.say(&summary(&report));
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn summary(report: &Report) -> String {
    let tags = if report.tags.is_empty() { "no tags".into() } else { format!("tags {}", report.tags.join(", ")) };
    let held = if report.held { ", held" } else { "" };
    let expires = report.expires.map_or_else(String::new, |at| format!(", expires {}", render::time(at)));
    render::safe(&format!("snapshot {} of {}: {tags}{held}{expires}", report.snapshot.short(), report.source))
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let after = |length: Length| WallTime::of(length.after(&time::now())?.timestamp());
    match text.parse::<Length>().ok().and_then(after) {
        Some(time) => Ok(Expiry(Some(time))),
        None => time::parse_flag(text).map(|time| Expiry(Some(time))).map_err(|forms| format!("{forms}, 90d or never")),
    }
}
