//! Names of objects in the store. A name is a pure function of kind, place and content, so names never recur and
//! anybody can compare an object with its name. Unknown names are not errors here: readers ignore them, deleters stop.

use crate::id::{Class, DomainId, ObjectId, SourceLabel};
use crate::snapshot::is_source_name;
use crate::wal;
use std::fmt;

/// Where an object lies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Name {
    /// The config.
    Config,
    /// Its copy.
    ConfigCopy,
    /// A key slot.
    Slot(ObjectId),
    /// A pack.
    Pack(Class, ObjectId),
    /// An index object.
    Index(DomainId, SourceLabel, ObjectId),
    /// A snapshot.
    Snapshot(DomainId, SourceLabel, ObjectId),
    /// An order.
    Order(ObjectId),
    /// A mark.
    Mark(ObjectId),
    /// A journal record: domain, year, month.
    Journal(DomainId, u16, u8, ObjectId),
    /// Records of a month of the journal.
    Month(DomainId, u16, u8, ObjectId),
    /// A WAL segment: cluster, timeline, segment.
    Wal(String, u32, String, ObjectId),
}

/// Prefix of key slots.
pub const KEYS: &str = "keys/";
/// Prefix of packs.
pub const PACKS: &str = "packs/";
/// Prefix of index objects.
pub const INDEX: &str = "index/";
/// Prefix of snapshots.
pub const SNAPSHOTS: &str = "snapshots/";
/// Prefix of orders.
pub const ORDERS: &str = "orders/";
/// Prefix of marks.
pub const MARKS: &str = "marks/";
/// Prefix of journal records.
pub const JOURNAL: &str = "journal/";
/// Prefix of WAL segments.
pub const WAL: &str = "wal/";

/// False for a folder below which nothing of any version lies: the first part of an object's path has lower-case letters
/// only, the others begin with a letter or a digit. What systems and other tools leave is told from objects by this.
pub fn may_hold_objects(folder: &str) -> bool {
    let mut parts = folder.split('/');
    let first = parts.next().unwrap_or_default();
    let is_word = |part: &str| {
        let begins = part.starts_with(|letter: char| letter.is_ascii_alphanumeric());
        // names of clusters may begin with a sign
        part != "lost+found" && (begins || first == "wal" && !part.is_empty())
    };
    !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_lowercase()) && parts.all(is_word)
}

/// The id of a path that is none of this version, and that a later one may have brought: under a first part of its own,
/// with an id at the end. Everything else that is no name is foreign.
pub fn later(path: &str) -> Option<ObjectId> {
    let (folder, file) = path.rsplit_once('/')?;
    let known = [KEYS, PACKS, INDEX, SNAPSHOTS, ORDERS, MARKS, JOURNAL, WAL];
    let is_known = known.iter().any(|prefix| path.starts_with(prefix));
    let (before, id) = file.split_at_checked(file.len().checked_sub(64)?)?;
    let is_named = before.is_empty() || before.ends_with('-');
    (!is_known && is_named && may_hold_objects(folder)).then(|| ObjectId::parse(id).ok()).flatten()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("config"),
            Self::ConfigCopy => f.write_str("config.copy"),
            Self::Slot(id) => write!(f, "{KEYS}{id}"),
            Self::Pack(class, id) => {
                let first = id.0.first().copied().unwrap_or_default();
                write!(f, "{PACKS}{}/{first:02x}/{id}", char::from(class.byte()))
            }
            Self::Index(domain, label, id) => write!(f, "{INDEX}{domain}/{label}/{id}"),
            Self::Snapshot(domain, label, id) => write!(f, "{SNAPSHOTS}{domain}/{label}/{id}"),
            Self::Order(id) => write!(f, "{ORDERS}{id}"),
            Self::Mark(id) => write!(f, "{MARKS}{id}"),
            Self::Journal(domain, year, month, id) => write!(f, "{JOURNAL}{domain}/{year:04}-{month:02}/{id}"),
            Self::Month(domain, year, month, id) => write!(f, "{JOURNAL}{domain}/{year:04}-{month:02}-{id}"),
            Self::Wal(cluster, timeline, segment, id) => write!(f, "{WAL}{cluster}/{timeline:08X}/{segment}-{id}"),
        }
    }
}

impl Name {
    /// The name of a stored path; `None` for whatever is not vault's.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let id = |text: &str| ObjectId::parse(text).ok();
        let name = match parts.as_slice() {
            ["config"] => Self::Config,
            ["config.copy"] => Self::ConfigCopy,
            ["keys", hash] => Self::Slot(id(hash)?),
            ["packs", "d", _, hash] => Self::Pack(Class::Data, id(hash)?),
            ["packs", "m", _, hash] => Self::Pack(Class::Metadata, id(hash)?),
            ["index", domain, label, hash] => {
                Self::Index(DomainId::parse(domain).ok()?, SourceLabel::parse(label).ok()?, id(hash)?)
            }
            ["snapshots", domain, label, hash] => {
                Self::Snapshot(DomainId::parse(domain).ok()?, SourceLabel::parse(label).ok()?, id(hash)?)
            }
            ["orders", hash] => Self::Order(id(hash)?),
            ["marks", hash] => Self::Mark(id(hash)?),
            ["journal", domain, month, hash] => {
                let (year, month) = month.split_once('-')?;
                Self::Journal(DomainId::parse(domain).ok()?, year.parse().ok()?, month.parse().ok()?, id(hash)?)
            }
            ["journal", domain, month] => {
                let (month, hash) = month.rsplit_once('-')?;
                let (year, month) = month.split_once('-')?;
                Self::Month(DomainId::parse(domain).ok()?, year.parse().ok()?, month.parse().ok()?, id(hash)?)
            }
            ["wal", cluster, timeline, segment] => {
                let (segment, hash) = segment.rsplit_once('-')?;
                let timeline = u32::from_str_radix(timeline, 16).ok()?;
                let fits = is_source_name(cluster) && wal::timeline(segment).is_ok_and(|found| found == timeline);
                fits.then_some(())?;
                Self::Wal((*cluster).to_owned(), timeline, segment.to_owned(), id(hash)?)
            }
            _ => return None,
        };
        // one object has one name: what prints differently is not ours
        (name.to_string() == path).then_some(name)
    }

    /// The hash in the name; `None` for the config.
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Config | Self::ConfigCopy => None,
            Self::Slot(id)
            | Self::Pack(_, id)
            | Self::Index(_, _, id)
            | Self::Snapshot(_, _, id)
            | Self::Order(id)
            | Self::Mark(id)
            | Self::Journal(_, _, _, id)
            | Self::Month(_, _, _, id)
            | Self::Wal(_, _, _, id) => Some(*id),
        }
    }

    /// The domain under which the object lies, if its name tells one.
    pub fn domain(&self) -> Option<DomainId> {
        match self {
            Self::Index(domain, ..)
            | Self::Snapshot(domain, ..)
            | Self::Journal(domain, ..)
            | Self::Month(domain, ..) => Some(*domain),
            _ => None,
        }
    }
}
