//! What a snapshot lacks, told before it is restored, and a restore that is not complete because damage took some of
//! what was asked for. The whole of a copy that repair made is what there is, and no failure; a part of it that damage
//! took is one.

use super::render;
use super::{Failure, Session};
use vault::repository::{Address, Repository};
use vault::restore::{self, Lacks};

/// What is to be restored, and what its snapshot lacks.
pub struct Told<'a> {
    address: &'a Address<'a>,
    lacks: Lacks,
}

impl<'a> Told<'a> {
    /// Looks what the snapshot was meant to hold and does not.
    pub fn of(repository: &Repository, address: &'a Address<'a>) -> Self {
        let lacks = restore::lacks(repository, address.view, address.snapshot).unwrap_or_default();
        Self { address, lacks }
    }

    /// Whoever restores it must know.
    pub fn say(&self, session: &Session) {
        self.notes().iter().for_each(|note| session.global.remark(&format!("note: {note}")));
    }

    /// The same as texts.
    pub fn notes(&self) -> Vec<String> {
        let (id, lacks) = (self.address.snapshot.id.short(), &self.lacks);
        let mut notes = Vec::new();
        if lacks.is_repaired {
            let lost = match lacks.lost {
                0 => "what was lost is not in it".into(),
                lost => render::count(lost, "entry was lost by damage", "entries were lost by damage"),
            };
            notes.push(format!("snapshot {id} is what repair saved of a damaged one; {lost}"));
        }
        if lacks.unread > 0 {
            let entries = render::count(lacks.unread, "entry", "entries");
            let names: Vec<String> = lacks.names.iter().map(|name| render::name(name)).collect();
            let names = names_line(&names, lacks.unread);
            notes.push(format!("snapshot {id} has gaps: {entries} could not be read when it was taken{names}"));
        }
        notes
    }

    /// What damage took of what was asked for, if that makes the restore incomplete.
    pub fn lost(&self, options: &restore::Options) -> Option<String> {
        if !self.lacks.is_repaired {
            return None;
        }
        let path = self.address.path.as_slice();
        let is_part = !options.include.is_empty() || path.iter().any(|byte| !b"/.".contains(byte));
        // if the store stops to answer now, the restore itself has been done
        let lost = restore::lost(self.address, options).ok()?;
        let asked = match path {
            _ if !is_part => format!("snapshot {}", self.address.snapshot.id.short()),
            [] => "what --include names".into(),
            path => render::name(path),
        };
        match lost.entries {
            Some(entries) if entries > 0 && (is_part || lost.is_empty) => {
                let were = if entries == 1 { "was" } else { "were" };
                let entries = render::count(entries, "entry", "entries");
                Some(format!("{entries} of {asked} {were} lost by damage in the repository"))
            }
            None if lost.is_empty && self.lacks.lost > 0 => {
                Some(format!("the files of {asked} were lost by damage in the repository"))
            }
            _ => None,
        }
    }

    /// The failure that this is.
    pub fn failure(&self, lost: &str) -> Failure {
        Failure::failed(format!("the restore is not complete: {lost}")).hint(self.hint())
    }

    /// What to try.
    pub fn hint(&self) -> String {
        let name = super::proposal::quote(&self.address.snapshot.head.source);
        format!("try an earlier snapshot: `vault snapshots {name}` lists them")
    }
}

/// The first few names behind a colon.
pub fn names_line(names: &[String], count: u64) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = render::if_any(count.saturating_sub(shown.len() as u64), |more| format!(" and {more} more"));
    if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) }
}
