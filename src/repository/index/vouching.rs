//! The owner vouches for packs of others that he has opened whole (T7), so that the members of a domain need not store
//! twice what one of them has. What he says so replaces what they said, so that the index hardly grows: prune deletes
//! what is replaced. Index objects that tell of a pack in a mark stay as they are, for a sweep writes them anew.

use super::merge::Merge;
use crate::repository::objects::index_objects::{IndexObject, current};
use crate::repository::objects::marks::Marks;
use crate::repository::{Repository, Result};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::envelope::Wraps;
use vault_format::header::{Header, Kind};
use vault_format::id::{DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::PackEntry;
use vault_format::name::Name;

/// What is asked of a pack of one domain before the owner vouches for it.
type Test<'t> = dyn Fn(DomainId, &PackEntry, &Wraps) -> bool + 't;

/// Vouches for those of the packs `opened`, of which these index objects tell, for which the owner does not yet; returns
/// how many index objects were put. Needs the owner.
pub(crate) fn vouch(repository: &Repository, objects: &[IndexObject], opened: &[ObjectId]) -> Result<u64> {
    let (keys, opened): (_, BTreeSet<&ObjectId>) = (repository.keys(), opened.iter().collect());
    let is_sound = |domain: DomainId, pack: &PackEntry, wraps: &Wraps| {
        let header = Header { kind: Kind::DataPack, repository: repository.id(), domain, writer: pack.writer };
        opened.contains(&pack.id) && keys.agree(wraps, &header)
    };
    if plan(keys.owner_writer(), objects, &is_sound, &|_| false).is_empty() {
        return Ok(0);
    }
    let marks = Marks::load(repository)?;
    let merges = plan(keys.owner_writer(), objects, &is_sound, &|pack| marks.names(pack));
    merges.iter().map(|merge| merge.put(repository)).sum()
}

/// The index objects to put, by source.
fn plan<'a>(
    owner: WriterId,
    objects: &'a [IndexObject],
    is_sound: &Test<'_>,
    is_marked: &dyn Fn(&ObjectId) -> bool,
) -> Vec<Merge<'a>> {
    let mut believed: BTreeMap<ObjectId, &IndexObject> = BTreeMap::new();
    for object in current(objects, owner) {
        for pack in &object.index.packs {
            believed.entry(pack.id).or_insert(object);
        }
    }
    let is_own = |object: &IndexObject| object.writer == owner;
    let is_free = |object: &IndexObject| !object.index.packs.iter().any(|pack| is_marked(&pack.id));
    let by = |pack: &PackEntry| believed.get(&pack.id).copied();
    let is_fresh = |object: &'a IndexObject, pack: &PackEntry| {
        let is_due = pack.writer != owner && by(pack).is_some_and(|by| by.name == object.name) && !is_marked(&pack.id);
        let is_vouched = is_own(object) && object.index.opened.binary_search(&pack.id).is_ok();
        // where another index of the owner tells of it, that one is believed
        let may_tell = !is_own(object) || is_free(object);
        let wraps = || object.index.wraps.get(usize::from(pack.wraps));
        let test = |domain| wraps().is_some_and(|wraps| is_sound(domain, pack, wraps));
        is_due && !is_vouched && may_tell && object.name.domain().is_some_and(test)
    };
    let mut sources: BTreeMap<(DomainId, SourceLabel), Merge<'a>> = BTreeMap::new();
    for object in current(objects, owner) {
        let Name::Index(domain, label, _) = object.name else { continue };
        let fresh: BTreeSet<ObjectId> =
            object.index.packs.iter().filter(|pack| is_fresh(object, pack)).map(|pack| pack.id).collect();
        if fresh.is_empty() {
            continue;
        }
        let is_told = |pack: &PackEntry| fresh.contains(&pack.id) || by(pack).is_some_and(is_own);
        let is_replaced = is_free(object) && (is_own(object) || object.index.packs.iter().all(is_told));
        let merge = sources.entry((domain, label)).or_insert_with(|| Merge::of((domain, label)));
        let stays = |pack: &PackEntry| {
            fresh.contains(&pack.id) || is_own(object) && by(pack).is_some_and(|by| by.name == object.name)
        };
        merge.take(object, stays, is_replaced);
        merge
            .opened
            .extend(object.index.opened.iter().filter(|_| is_own(object)).copied().chain(fresh.iter().copied()));
    }
    sources.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::repository::objects::index_objects::IndexObject;
    use vault_format::directory::Directory;
    use vault_format::envelope::Wraps;
    use vault_format::id::{Class, DomainId, ObjectId, SourceLabel, WriterId};
    use vault_format::index::{Index, PackEntry};
    use vault_format::name::Name;

    const OWNER: WriterId = WriterId([1; 16]);
    const MEMBER: WriterId = WriterId([2; 16]);

    const NOTHING: [Vec<u8>; 3] = [const { Vec::new() }; 3];

    fn id(number: u8) -> ObjectId {
        ObjectId([number; 32])
    }

    /// An index object of packs that a member has made, some of which its signer has opened.
    fn object(number: u8, writer: WriterId, packs: &[u8], opened: &[u8]) -> IndexObject {
        let (class, salt, directory) = (Class::Data, [0; 32], Directory::default());
        let entry = |pack: &u8| PackEntry {
            id: id(*pack),
            class,
            size: 1,
            writer: MEMBER,
            salt,
            wraps: 0,
            directory: directory.clone(),
        };
        let opened = opened.iter().map(|pack| id(*pack)).collect();
        let packs = packs.iter().map(entry).collect();
        let index = Index { packs, wraps: vec![Wraps(Vec::new())], opened, ..Index::default() };
        IndexObject {
            name: Name::Index(DomainId::default(), SourceLabel([1; 8]), id(number)),
            writer,
            index,
            arrived: None,
        }
    }

    /// Packs told anew, packs vouched for, and index objects replaced.
    fn planned(objects: &[IndexObject], good: &[u8], marked: &[u8]) -> [Vec<u8>; 3] {
        let is_good = |pack: &ObjectId| good.contains(&pack.0[0]);
        let is_marked = |pack: &ObjectId| marked.contains(&pack.0[0]);
        let merges = plan(OWNER, objects, &|_, pack, _| is_good(&pack.id), &is_marked);
        let mut all = [Vec::new(), Vec::new(), Vec::new()];
        for merge in &merges {
            all[0].extend(merge.kept.iter().map(|(pack, _)| pack.id.0[0]));
            all[1].extend(merge.opened.iter().map(|pack| pack.0[0]));
            all[2].extend(merge.replaced.iter().filter_map(|name| Some(name.id()?.0[0])));
        }
        all
    }

    #[test]
    fn what_is_vouched_for_replaces_what_members_said() {
        let objects = [object(101, MEMBER, &[1, 2], &[1, 2]), object(102, MEMBER, &[3, 4], &[])];
        assert_eq!(planned(&objects, &[1, 2, 3], &[]), [vec![1, 2, 3], vec![1, 2, 3], vec![101]]);
        assert_eq!(planned(&objects, &[], &[]), NOTHING, "what a member has opened says nothing");
        // with what the owner said before, all of the second one is told
        let objects = [object(102, MEMBER, &[3, 4], &[]), object(103, OWNER, &[3], &[3])];
        assert_eq!(planned(&objects, &[3, 4], &[]), [vec![4], vec![4], vec![102]]);
        assert_eq!(planned(&objects, &[3], &[]), NOTHING, "nothing is new");
    }

    #[test]
    fn what_the_owner_said_stays_and_grows() {
        let objects = [object(101, OWNER, &[1, 2, 3], &[1]), object(102, MEMBER, &[1, 2, 3], &[])];
        assert_eq!(planned(&objects, &[2], &[]), [vec![1, 2, 3], vec![1, 2], vec![101]]);
    }

    #[test]
    fn what_a_member_has_opened_is_nobody_elses_word() {
        let objects = [object(101, OWNER, &[2, 3], &[]), object(102, MEMBER, &[1], &[1, 3])];
        assert_eq!(planned(&objects, &[1, 2], &[]), [vec![2, 3, 1], vec![1, 2], vec![101, 102]]);
    }

    #[test]
    fn what_a_sweep_will_write_anew_is_left_to_it() {
        let objects = [object(101, MEMBER, &[1, 2], &[])];
        assert_eq!(planned(&objects, &[1, 2], &[2]), [vec![1], vec![1], vec![]]);
        let objects = [object(101, OWNER, &[1, 2], &[])];
        assert_eq!(planned(&objects, &[1, 2], &[2]), NOTHING);
        let objects = [object(101, MEMBER, &[1, 2], &[]), object(102, OWNER, &[2], &[2])];
        assert_eq!(planned(&objects, &[1, 2], &[2]), [vec![1], vec![1], vec![]]);
    }
}
