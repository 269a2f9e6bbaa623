//! `vault ls`: lists what is in a snapshot, or below a path of it. Lines are printed as the tree is read.

use super::exit::{Context, code};
use super::{Outcome, Session, render, time};
use serde::Serialize;
use vault::list;
use vault::repository::index::BlobIndex;
use vault::repository::reader::Reader;
use vault_format::tree::{Node, NodeKind};

/// List the files of a snapshot
///
/// ADDRESS is an id or its beginning, latest, NAME, or NAME@TIME, and then :path if only a part is meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault ls uploads:photos --long
  vault ls 'app-db@2 days ago' --recursive")]
pub struct Arguments {
    /// Which snapshot, and what of it
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Show type, permissions, owner, size and time too
    #[arg(long, short)]
    long: bool,
    /// Show everything below too
    #[arg(long)]
    recursive: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: &'a str,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    user: String,
    group: String,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Lists.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let what = format!("cannot list {}", arguments.address);
    let repository = session.open()?;
    repository.keys().content("list files").context("")?;
    let catalog = list::snapshots(&repository).context(&what)?;
    let (snapshot, path) = list::find(&catalog, &arguments.address, &time::parse_address).context(&what)?;
    let index = BlobIndex::for_reading(&repository, &catalog.trust, snapshot.place.domain).context(&what)?;
    let reader = Reader::new(&repository, &index);
    list::nodes(&reader, snapshot, &path, arguments.recursive, &mut |path, node| {
        if repository.runtime().is_stopped() {
            return Err(vault::error::Error::Interrupted);
        }
        if session.global.json {
            render::json(&line(path, node));
        } else if arguments.long {
            render::line(&long(path, node));
        } else {
            let slash = if matches!(node.kind, NodeKind::Directory(_)) { "/" } else { "" };
            render::line(&format!("{}{slash}", render::name(path)));
        }
        Ok(())
    })
    .context(&what)?;
    session.say_requests(&repository);
    Ok(code::DONE)
}

fn kind(node: &Node) -> (&'static str, char, u64) {
    match &node.kind {
        NodeKind::File { size, .. } => ("file", '-', *size),
        NodeKind::Directory(root) => ("directory", 'd', root.bytes),
        NodeKind::Symlink(target) => ("symlink", 'l', target.len() as u64),
        NodeKind::Fifo => ("fifo", 'p', 0),
        NodeKind::CharDevice(..) => ("char_device", 'c', 0),
        NodeKind::BlockDevice(..) => ("block_device", 'b', 0),
    }
}

fn line<'a>(path: &[u8], node: &Node) -> Line<'a> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let hex = || path.iter().map(|byte| format!("{byte:02x}")).collect();
    let metadata = &node.metadata;
    let (kind, _, size) = kind(node);
    Line {
        path: lossy(path),
        path_hex: std::str::from_utf8(path).is_err().then(hex),
        kind,
        size,
        mode: format!("{:04o}", metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        user: lossy(&metadata.user),
        group: lossy(&metadata.group),
        mtime: render::time_rfc3339(render::nanoseconds(metadata.mtime)),
        target: match &node.kind {
            NodeKind::Symlink(target) => Some(lossy(target)),
            _ => None,
        },
    }
}

fn long(path: &[u8], node: &Node) -> String {
    let metadata = &node.metadata;
    let (_, letter, size) = kind(node);
    let who = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { render::name(name) };
    let arrow = match &node.kind {
        NodeKind::Symlink(target) => format!(" -> {}", render::name(target)),
        NodeKind::Directory(_) => "/".into(),
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => format!(" ({major}, {minor})"),
        _ => String::new(),
    };
    format!(
        "{letter}{} {:<8} {:<8} {:>10} {} {}{arrow}",
        permissions(metadata.mode),
        who(&metadata.user, metadata.uid),
        who(&metadata.group, metadata.gid),
        render::size(size),
        render::time(render::nanoseconds(metadata.mtime)),
        render::name(path)
    )
}

/// Permission bits in letters, setuid, setgid and sticky bits included.
fn permissions(mode: u32) -> String {
    let mut out = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}
