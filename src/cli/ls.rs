//! `vault ls`: lists what is in a snapshot, or below a path of it. Lines are printed as the tree is read, unless they
//! are to be sorted first.

use super::session::Session;
use super::{Context, Outcome, address, code, node, output, render};
use std::cmp::Reverse;
use std::ffi::OsString;
use vault::list;
use vault_format::tree::Node;

/// List the files of a snapshot
///
/// ADDRESS is an id or its beginning, latest, NAME, or NAME@TIME, and then :path if only a part is meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault ls uploads:photos --long --sort size
  vault ls 'app-db@2 days ago' --recursive")]
pub struct Arguments {
    /// Which snapshot, and what of it
    #[arg(value_name = "ADDRESS")]
    address: OsString,
    /// Show type, permissions, owner, size and time too
    #[arg(long, short)]
    long: bool,
    /// Show everything below too
    #[arg(long)]
    recursive: bool,
    /// Which comes first
    #[arg(long, value_enum, default_value_t, value_name = "BY")]
    sort: Sort,
    /// The other way round
    #[arg(long)]
    reverse: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// The first by name, a folder before what is in it
    #[default]
    Name,
    /// The largest
    Size,
    /// The one changed last
    Time,
}

/// Lists.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = format!("cannot list {}", arguments.address.display());
    let repository = session.open()?;
    repository.keys().content("list files").context("")?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let address = address::find(session, &catalog, &arguments.address, &what)?;
    let mut sorted = Vec::new();
    list::nodes(&address, arguments.recursive, &mut |path, node| {
        repository.runtime().check_stopped()?;
        output::go_on()?;
        if arguments.sort == Sort::Name && !arguments.reverse {
            show(session, arguments, path, node);
        } else {
            sorted.push((path.to_vec(), node.clone()));
        }
        Ok(())
    })
    .context(&what)?;
    match arguments.sort {
        Sort::Name => {}
        Sort::Size => sorted.sort_by_key(|(_, node)| Reverse(node::size(node))),
        Sort::Time => sorted.sort_by_key(|(_, node)| Reverse(node.metadata.mtime)),
    }
    if arguments.reverse {
        sorted.reverse();
    }
    sorted.iter().for_each(|(path, node)| show(session, arguments, path, node));
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn show(session: &Session, arguments: &Arguments, path: &[u8], node: &Node) {
    if session.global.json {
        render::json(&node::Fields::of(path, node));
    } else if arguments.long {
        render::line(&node::long(path, node));
    } else {
        render::line(&node::name(path, node));
    }
}
