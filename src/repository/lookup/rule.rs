//! Which packs count. Index objects tell of packs; whether one is there, may be relied on, or serves those who must read
//! it, follows from the listing, the marks and its wraps. Whoever asks the lookup says by which rule, and a delta counts
//! only if its bases do by the same rule: no answer leans on a pack that the rule leaves out.

use super::table::{FrameNumber, PackRecord};
use std::collections::{BTreeSet, HashSet};
use vault_format::id::{DomainId, ObjectId};

/// What a pack must be at least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Footing {
    There,
    Unmarked,
    Reliable,
}

/// The packs that count for a question, for example `PackRule::RELIABLE.open_to(Some(domain))`.
#[derive(Clone, Copy)]
pub struct PackRule<'r> {
    footing: Footing,
    open_to: Option<DomainId>,
    without: Option<&'r BTreeSet<ObjectId>>,
    damaged: Option<&'r HashSet<FrameNumber>>,
    proven: Option<&'r dyn Fn(&ObjectId) -> bool>,
}

impl<'r> PackRule<'r> {
    /// Present, condemned or not: what can be read now.
    pub const THERE: Self = Self::at_least(Footing::There);
    /// Present and named in no mark: what stays when every mark is carried out.
    pub const OUTSIDE_MARKS: Self = Self::at_least(Footing::Unmarked);
    /// What new snapshots may rely on: present, in no mark, told of by an index, open to whoever must restore it, and
    /// vouched for (T7): of what others wrote nobody else knows that it holds what it is said to hold.
    pub const RELIABLE: Self = Self::at_least(Footing::Reliable);

    const fn at_least(footing: Footing) -> Self {
        Self { footing, open_to: None, without: None, damaged: None, proven: None }
    }

    /// Only packs that the members of a domain can read, if one is given.
    pub fn open_to(self, domain: Option<DomainId>) -> Self {
        Self { open_to: domain, ..self }
    }

    /// None of these packs.
    pub fn without(self, packs: &'r BTreeSet<ObjectId>) -> Self {
        Self { without: Some(packs), ..self }
    }

    /// None of these frames.
    pub fn without_frames(self, damaged: &'r HashSet<FrameNumber>) -> Self {
        Self { damaged: Some(damaged), ..self }
    }

    /// Also packs of which no index tells, once they are proven. The proof is asked for last, for it reads the pack.
    pub fn or_proven(self, is_proven: &'r dyn Fn(&ObjectId) -> bool) -> Self {
        Self { proven: Some(is_proven), ..self }
    }

    /// True if a pack counts.
    pub(super) fn counts(&self, pack: &PackRecord) -> bool {
        let has_footing = match self.footing {
            Footing::There => pack.present,
            Footing::Unmarked => pack.present && !pack.condemned,
            Footing::Reliable => pack.present && !pack.condemned && pack.within_reach && pack.vouched,
        };
        let is_told = || self.footing < Footing::Reliable || !pack.is_loose;
        has_footing
            && self.open_to.is_none_or(|domain| pack.wraps.reaches(domain))
            && self.without.is_none_or(|packs| !packs.contains(&pack.id))
            && (is_told() || self.proven.is_some_and(|is_proven| is_proven(&pack.id)))
    }

    /// True if a frame counts, as far as itself is concerned.
    pub(super) fn takes(&self, frame: FrameNumber) -> bool {
        self.damaged.is_none_or(|damaged| !damaged.contains(&frame))
    }
}
