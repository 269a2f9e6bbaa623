//! What this machine remembers of its last look: the newest snapshot of each source, the newest orders, the key slots. A
//! store that later shows an older state lacks one of them (D5); what names nothing that is left only who saw it can miss.

use crate::cache::Cache;
use crate::repository::objects::orders::Orders;
use crate::repository::objects::snapshots::{Snapshots, SourcePlace};
use crate::time::WallTime;
use std::collections::BTreeSet;
use std::fmt::Write;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Most names that are remembered: 1 MiB.
const NAMES_MAX: usize = 8192;

/// What an earlier look saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// When; `None` = this machine has never looked, or keeps no memory.
    pub at: Option<WallTime>,
    /// What this look should have shown too, and did not: it stays remembered until something explains that it is gone.
    pub lacks: BTreeSet<Name>,
}

/// What a look shows.
pub(super) struct Shown<'s> {
    pub orders: &'s Orders,
    pub slots: BTreeSet<ObjectId>,
    pub snapshots: &'s Snapshots,
    /// Only snapshots of this source were listed.
    pub source: Option<SourcePlace>,
}

impl Shown<'_> {
    /// False for what was not looked at.
    fn covers(&self, name: &Name) -> bool {
        match (name, self.source) {
            (Name::Snapshot(domain, label, _), Some(source)) => (source.domain, source.label) == (*domain, *label),
            _ => true,
        }
    }

    fn has(&self, name: &Name) -> bool {
        match name {
            Name::Snapshot(_, _, id) => self.snapshots.listed.contains(id),
            Name::Order(id) => self.orders.chain.is_listed(id),
            Name::Slot(id) => self.slots.contains(id),
            _ => true,
        }
    }

    fn names(&self) -> BTreeSet<Name> {
        let newest: BTreeSet<ObjectId> = self.snapshots.newest(&BTreeSet::new()).into_iter().collect();
        let heads = self.snapshots.all.iter().filter(|one| newest.contains(&one.id)).map(|one| one.name());
        let orders = self.orders.chain.newest().into_iter().map(Name::Order);
        orders.chain(self.slots.iter().copied().map(Name::Slot)).chain(heads).collect()
    }
}

/// True if the owner's word explains that something is not there.
pub(super) fn is_explained(name: &Name, orders: &Orders) -> bool {
    match name {
        Name::Snapshot(_, _, id) => orders.state(*id).is_forgotten() || orders.quarantined.contains(id),
        Name::Order(id) => orders.quarantined.contains(id),
        _ => false,
    }
}

impl Memory {
    /// Compares a look with the last one, and remembers it in its place.
    pub(super) fn renew(cache: &Cache, shown: &Shown<'_>, now: WallTime) -> Self {
        let (at, names) = cache.seen().and_then(|seen| parse(&seen)).unzip();
        let (old, elsewhere): (BTreeSet<Name>, BTreeSet<Name>) =
            names.unwrap_or_default().into_iter().partition(|name| shown.covers(name));
        let lacks: BTreeSet<Name> =
            old.into_iter().filter(|name| !shown.has(name) && !is_explained(name, shown.orders)).collect();
        // a slot goes with its key: that it is gone is told once
        let missed = lacks.iter().filter(|name| !matches!(name, Name::Slot(_)));
        let names: BTreeSet<Name> = missed.cloned().chain(shown.names()).chain(elsewhere).collect();
        let mut text = now.nanoseconds().to_string();
        for name in names.iter().take(NAMES_MAX) {
            // a string takes everything
            let _ = write!(text, "\n{name}");
        }
        cache.note_seen(text.as_bytes());
        Self { at, lacks }
    }
}

fn parse(seen: &[u8]) -> Option<(WallTime, BTreeSet<Name>)> {
    let mut lines = std::str::from_utf8(seen).ok()?.lines();
    let at = WallTime::new(lines.next()?.parse().ok()?);
    Some((at, lines.filter_map(Name::parse).collect()))
}
