//! Whether rules cut a history in which several folders or hosts take turns: each then takes the places of the others.

use super::{Mixed, Verdict};
use crate::repository::objects::snapshots::SnapshotEntry;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{ObjectId, OriginMark};

/// Tells if rules cut a history in which several folders or hosts take turns: each takes the places of the others. One
/// that changed for good is no mixture.
pub fn find(name: &str, source: &[&SnapshotEntry], verdicts: &[Verdict]) -> Option<Mixed> {
    let mut source = source.to_vec();
    source.sort_by_key(|one| (one.counted.time, one.id));
    let dropped: BTreeSet<_> = verdicts.iter().filter(|one| !one.keep).map(|one| one.place.id).collect();
    let places = taking_turns(&source, &dropped, |one| one.head.place);
    let hosts = taking_turns(&source, &dropped, |one| one.head.host);
    (places + hosts > 0).then(|| Mixed { name: name.to_owned(), places, hosts })
}

/// How many marks there are of which one comes between two of another, if one of those that do so loses a snapshot.
fn taking_turns(
    source: &[&SnapshotEntry],
    dropped: &BTreeSet<ObjectId>,
    mark: impl Fn(&SnapshotEntry) -> OriginMark,
) -> usize {
    let marks: Vec<_> = source.iter().map(|one| (mark(one), one.id)).filter(|(mark, _)| mark.is_told()).collect();
    let mut spans: BTreeMap<[u8; 16], (usize, usize)> = BTreeMap::new();
    for (at, (mark, _)) in marks.iter().enumerate() {
        spans.entry(mark.0).or_insert((at, at)).1 = at;
    }
    let meets = |(mark, (first, last)): &(&[u8; 16], &(usize, usize))| {
        spans.iter().any(|(other, (from, to))| other != *mark && from <= last && first <= to)
    };
    let turns: BTreeSet<_> = spans.iter().filter(meets).map(|(mark, _)| *mark).collect();
    let is_cut = marks.iter().any(|(mark, id)| turns.contains(&mark.0) && dropped.contains(id));
    if is_cut { turns.len() } else { 0 }
}
