//! What a user's words mean: a source with or without its domain, a snapshot by source and time, or by the first digits of
//! its id. Words that mean several things are refused with all that they may mean.

use crate::repository::objects::snapshots::{SnapshotEntry, Snapshots};
use crate::repository::{Error, Result};
use crate::time::WallTime;
use std::collections::BTreeSet;
use vault_format::id::DomainId;

/// A source that was asked for, as `NAME` or `DOMAIN/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    domain: Option<DomainId>,
    name: &'a str,
}

impl Asked<'_> {
    /// True if a snapshot is of this source; `latest` is any.
    pub fn fits(&self, snapshot: &SnapshotEntry) -> bool {
        self.domain.is_none_or(|domain| snapshot.place.domain == domain)
            && (self.name == "latest" || snapshot.head.source == self.name)
    }
}

impl Snapshots {
    /// The source that `NAME` or `DOMAIN/NAME` means; a domain is given by a label or the first digits of its id.
    pub fn source<'a>(&self, text: &'a str) -> Result<Asked<'a>> {
        let Some((domain, name)) = text.rsplit_once('/') else { return Ok(Asked { domain: None, name: text }) };
        let any = Asked { domain: None, name };
        let there = self.all.iter().filter(|one| any.fits(one)).map(|one| one.place.domain).collect();
        let meant = self.domains.meant(domain, &there);
        match meant.first() {
            Some(domain) if meant.len() == 1 => Ok(Asked { domain: Some(*domain), name }),
            Some(_) => Err(self.ambiguous(text, name, &meant)),
            None => Err(Error::NoSnapshot(text.to_owned())),
        }
    }

    /// Several domains have such a source.
    pub fn ambiguous(&self, address: &str, name: &str, domains: &BTreeSet<DomainId>) -> Error {
        let say: Vec<String> = domains.iter().map(|domain| format!("{}/{name}", self.domains.show(*domain))).collect();
        let candidates = format!("it is a source in several domains; say {}", say.join(" or "));
        Error::Ambiguous { address: address.into(), candidates }
    }

    /// The snapshot that an address without path means. `at` parses the time behind `@`.
    pub fn find(&self, address: &str, at: &dyn Fn(&str) -> Option<WallTime>) -> Result<&SnapshotEntry> {
        let missing = || Error::NoSnapshot(address.to_owned());
        if address == "latest" {
            return self.visible().next_back().ok_or_else(missing);
        }
        // a label may hold an @ too
        let name_at = address.rfind('/').map_or(0, |slash| slash + 1);
        let (source, time) = match address[name_at..].split_once('@') {
            Some((name, time)) => (&address[..name_at + name.len()], Some(time)),
            None => (address, None),
        };
        let asked = self.source(source)?;
        let time = match time.map(at) {
            Some(None) if self.visible().any(|one| asked.fits(one)) => {
                return Err(Error::UnreadableTime(address.to_owned()));
            }
            Some(None) => return Err(missing()),
            time => time.flatten(),
        };
        let fits =
            |snapshot: &&SnapshotEntry| asked.fits(snapshot) && time.is_none_or(|time| snapshot.counted.time <= time);
        if let Some(newest) = self.visible().rfind(fits) {
            let domains: BTreeSet<DomainId> = self.visible().filter(fits).map(|one| one.place.domain).collect();
            return if domains.len() < 2 || asked.name == "latest" {
                Ok(newest)
            } else {
                Err(self.ambiguous(address, asked.name, &domains))
            };
        }
        match self.visible().find(|one| asked.fits(one)).filter(|_| time.is_some()) {
            Some(first) => Err(Error::NotThatOld { name: source.to_owned(), first: first.counted.time }),
            None => self.by_id(address),
        }
    }

    /// The snapshot whose id begins with a prefix of at least four hex digits, forgotten or not.
    pub fn by_id(&self, prefix: &str) -> Result<&SnapshotEntry> {
        if prefix.len() < 4 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::NoSnapshot(prefix.to_owned()));
        }
        let prefix = prefix.to_ascii_lowercase();
        let mut fitting = self.all.iter().filter(|snapshot| snapshot.id.to_string().starts_with(&prefix));
        let first = fitting.next().ok_or_else(|| Error::NoSnapshot(prefix.clone()))?;
        match fitting.next() {
            None => Ok(first),
            Some(second) => Err(Error::Ambiguous {
                address: prefix,
                candidates: format!("{} and {} begin with it", first.id, second.id),
            }),
        }
    }
}
