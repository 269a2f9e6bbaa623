//! Merges index objects, so that a run reads few of them, and takes packs out that are gone. A merged object names those
//! that it replaces; it is put before they are deleted, so a crash leaves at most entries twice, never none. Sketches
//! move along as far as their blobs are still there.

use crate::repository::objects::index_objects::{self, IndexObject, current};
use crate::repository::{Repository, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use vault_format::envelope::Wraps;
use vault_format::id::{BlobId, DomainId, ObjectId, SourceLabel, WriterId};
use vault_format::index::{INDEX_BLOBS_MAX, Index, PackEntry, Sketch, Sketches};
use vault_format::name::Name;
use vault_format::{index, name};

/// So many small objects of one source are merged.
const MERGE_AT: usize = 16;
/// Most packs of a merged object: each may bring a wrap of more than a kilobyte.
const MERGED_PACKS_MAX: usize = 4096;

/// Index objects of one source that become fewer.
pub struct Merge<'a> {
    place: (DomainId, SourceLabel),
    inputs: Vec<&'a IndexObject>,
    pub(super) kept: Vec<Held<'a>>,
    pub(super) replaced: BTreeSet<&'a Name>,
    /// All packs of the source that stay, merged or not.
    blobs: Vec<&'a PackEntry>,
    /// Those of the packs for which the owner vouches (T7). What a member has opened is nobody else's word.
    pub(super) opened: BTreeSet<ObjectId>,
}

pub(super) type Held<'a> = (&'a PackEntry, &'a Wraps);

/// What to merge: all objects that name a pack of `gone`, what the owner replaced already, and the small objects of a
/// source if there is something to write for it anyway, or if they are many.
pub fn plan<'a>(owner: WriterId, objects: &'a [IndexObject], gone: &BTreeSet<ObjectId>) -> Vec<Merge<'a>> {
    let live: BTreeSet<&Name> = current(objects, owner).map(|object| &object.name).collect();
    let mut believed: HashMap<(Option<DomainId>, ObjectId), &Name> = HashMap::new();
    for object in current(objects, owner) {
        for pack in &object.index.packs {
            believed.entry((object.name.domain(), pack.id)).or_insert(&object.name);
        }
    }
    let by_owner: BTreeSet<ObjectId> = objects
        .iter()
        .filter(|object| object.writer == owner)
        .flat_map(|object| object.index.supersedes.iter().copied())
        .collect();
    let mut sources: BTreeMap<(DomainId, SourceLabel), Vec<&IndexObject>> = BTreeMap::new();
    for object in objects {
        if let Name::Index(domain, label, _) = object.name {
            sources.entry((domain, label)).or_default().push(object);
        }
    }
    let merge = |(place, objects): ((DomainId, SourceLabel), Vec<&'a IndexObject>)| {
        let (live, stale): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| live.contains(&object.name));
        let names_gone = |object: &&IndexObject| object.index.packs.iter().any(|pack| gone.contains(&pack.id));
        let dirty = live.iter().any(names_gone);
        let small = live.iter().filter(|object| is_small(object)).count();
        let wanted = |object: &&&IndexObject| names_gone(object) || (dirty || small >= MERGE_AT) && is_small(object);
        let inputs: Vec<&IndexObject> = live.iter().filter(wanted).copied().collect();
        let over = stale
            .into_iter()
            .filter(|object| names_gone(object) || object.name.id().is_some_and(|id| by_owner.contains(&id)));
        let replaced = inputs.iter().copied().chain(over).map(|object| &object.name).collect();
        let stays = |pack: &&PackEntry| !gone.contains(&pack.id);
        let blobs = live.iter().flat_map(|object| object.index.packs.iter()).filter(stays).collect();
        let own = inputs.iter().filter(|object| object.writer == owner);
        let is_believed =
            |object: &IndexObject, pack: &ObjectId| believed.get(&(object.name.domain(), *pack)) == Some(&&object.name);
        let opened = own.flat_map(|object| object.index.opened.iter().filter(|pack| is_believed(object, pack)));
        let opened = opened.copied().collect();
        Merge { place, kept: kept(&inputs, gone, &believed), inputs, replaced, blobs, opened }
    };
    sources.into_iter().map(merge).filter(|merge| !merge.replaced.is_empty()).collect()
}

/// True if some source has so many index objects that merging may help.
pub fn is_crowded(repository: &Repository) -> Result<bool> {
    let mut sources: BTreeMap<(DomainId, SourceLabel), usize> = BTreeMap::new();
    for (name, _) in repository.list(name::INDEX)?.0 {
        if let Name::Index(domain, label, _) = name {
            *sources.entry((domain, label)).or_default() += 1;
        }
    }
    Ok(sources.values().any(|objects| *objects >= MERGE_AT))
}

fn is_small(object: &IndexObject) -> bool {
    let blobs: usize = object.index.packs.iter().map(|pack| pack.directory.blobs.len()).sum();
    blobs < INDEX_BLOBS_MAX / 2 && object.index.packs.len() < MERGED_PACKS_MAX / 2
}

/// The packs that stay, each once, in the words of the object that is to be believed: the owner signs them.
fn kept<'a>(
    inputs: &[&'a IndexObject],
    gone: &BTreeSet<ObjectId>,
    believed: &HashMap<(Option<DomainId>, ObjectId), &Name>,
) -> Vec<Held<'a>> {
    let mut seen = BTreeSet::new();
    let entries = inputs.iter().flat_map(|object| object.index.packs.iter().map(move |pack| (*object, pack)));
    let is_believed =
        |object: &IndexObject, pack: &ObjectId| believed.get(&(object.name.domain(), *pack)) == Some(&&object.name);
    let stays = |pack: &ObjectId| !gone.contains(pack);
    let entries =
        entries.filter(|(object, pack)| stays(&pack.id) && is_believed(object, &pack.id) && seen.insert(pack.id));
    entries.filter_map(|(object, pack)| Some((pack, object.index.wraps.get(usize::from(pack.wraps))?))).collect()
}

impl<'a> Merge<'a> {
    /// Nothing is merged yet.
    pub(super) fn of(place: (DomainId, SourceLabel)) -> Self {
        let (inputs, kept, replaced, blobs, opened) = Default::default();
        Self { place, inputs, kept, replaced, blobs, opened }
    }

    /// Tells of those packs of an index object that stay, and replaces it or not.
    pub(super) fn take(&mut self, object: &'a IndexObject, stays: impl Fn(&PackEntry) -> bool, is_replaced: bool) {
        let kept = object.index.packs.iter().filter(|pack| stays(pack));
        self.kept.extend(kept.filter_map(|pack| Some((pack, object.index.wraps.get(usize::from(pack.wraps))?))));
        if is_replaced {
            self.inputs.push(object);
            self.replaced.insert(&object.name);
            self.blobs.extend(&object.index.packs);
        }
    }
}

impl Merge<'_> {
    /// Whose objects they are.
    pub fn domain(&self) -> DomainId {
        self.place.0
    }

    /// Puts the merged objects and returns how many. Needs the owner.
    pub fn put(&self, repository: &Repository) -> Result<u64> {
        let mut sketches = self.sketches(repository);
        let indexes = self.indexes()?;
        for index in &indexes {
            let own = Sketches(sketches.split_off(sketches.len().saturating_sub(INDEX_BLOBS_MAX)));
            index_objects::put(repository, self.place, index, &own)?;
        }
        Ok(indexes.len() as u64)
    }

    /// What the merged objects tell.
    fn indexes(&self) -> Result<Vec<Index>> {
        let index = |packs: &Vec<Held<'_>>| {
            let mut index = Index::default();
            packs.iter().try_for_each(|(pack, wraps)| index_objects::tell(&mut index, pack, wraps))?;
            let opened = packs.iter().map(|(pack, _)| pack.id).filter(|pack| self.opened.contains(pack));
            opened.for_each(|pack| index_objects::vouch(&mut index, pack));
            Ok(index)
        };
        let mut indexes = self.outputs().iter().map(index).collect::<Result<Vec<Index>>>()?;
        // only the last says what it replaces: until then the old objects hold what the others do not
        if let Some(last) = indexes.last_mut() {
            last.supersedes = self.replaced.iter().filter_map(|name| name.id()).collect();
        }
        Ok(indexes)
    }

    /// Deletes what the merged objects replace; they must be there.
    pub fn delete_replaced(&self, repository: &Repository) -> Result<u64> {
        for name in &self.replaced {
            repository.backend().delete(&name.to_string())?;
        }
        Ok(self.replaced.len() as u64)
    }

    /// The packs of each merged object.
    fn outputs(&self) -> Vec<Vec<Held<'_>>> {
        let (mut outputs, mut blobs) = (Vec::<Vec<Held<'_>>>::new(), 0);
        for held in &self.kept {
            let more = held.0.directory.blobs.len();
            let full = blobs + more > INDEX_BLOBS_MAX;
            match outputs.last_mut().filter(|packs| !full && packs.len() < MERGED_PACKS_MAX) {
                Some(packs) => packs.push(*held),
                None => {
                    outputs.push(vec![*held]);
                    blobs = 0;
                }
            }
            blobs += more;
        }
        outputs
    }

    /// The sketches of blobs that stay, oldest object first as far as names tell. A hint: what can't be read is left out.
    fn sketches(&self, repository: &Repository) -> Vec<Sketch> {
        let read = |object: &&IndexObject| {
            let stored = repository.get_named(&object.name).ok()?;
            let object = index::parse(&stored, repository.id()).ok()?;
            index::open_sketches(&object, &repository.keys().book(self.place.0)?).ok()
        };
        let found: Vec<Sketch> = self.inputs.iter().filter_map(read).flat_map(|sketches| sketches.0).collect();
        if found.is_empty() {
            return found;
        }
        // repack moves blobs into objects of their own: any place in this source will do
        let here: HashSet<BlobId> =
            self.blobs.iter().flat_map(|pack| pack.directory.blobs.iter()).map(|b| b.id).collect();
        let mut seen = HashSet::new();
        found.into_iter().filter(|sketch| here.contains(&sketch.blob) && seen.insert(sketch.blob)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MERGE_AT, MERGED_PACKS_MAX, Merge, plan};
    use crate::repository::objects::index_objects::IndexObject;
    use std::collections::BTreeSet;
    use vault_format::directory::Directory;
    use vault_format::envelope::Wraps;
    use vault_format::id::{Class, DomainId, ObjectId, SourceLabel, WriterId};
    use vault_format::index::{Index, PackEntry};
    use vault_format::name::Name;

    const OWNER: WriterId = WriterId([1; 16]);
    const MEMBER: WriterId = WriterId([2; 16]);

    fn id(number: usize) -> ObjectId {
        let mut id = ObjectId::default();
        id.0[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    /// An index object of one source; the sizes of its packs tell who wrote it.
    fn object(source: u8, number: usize, writer: WriterId, packs: impl IntoIterator<Item = usize>) -> IndexObject {
        let (size, salt, directory) = (writer.0[0].into(), [0; 32], Directory::default());
        let entry = |pack| PackEntry {
            id: id(pack),
            class: Class::Data,
            size,
            writer,
            salt,
            wraps: 0,
            directory: directory.clone(),
        };
        let packs = packs.into_iter().map(entry).collect();
        let index = Index { packs, wraps: vec![Wraps(Vec::new())], ..Index::default() };
        let name = Name::Index(DomainId::default(), SourceLabel([source; 8]), id(number));
        IndexObject { name, writer, index, arrived: None }
    }

    /// Objects that are replaced, and packs that are kept with their sizes.
    fn planned(objects: &[IndexObject], gone: &[usize]) -> (Vec<ObjectId>, Vec<(ObjectId, u64)>) {
        let merges = plan(OWNER, objects, &gone.iter().copied().map(id).collect());
        let replaced = merges.iter().flat_map(|merge| merge.replaced.iter().filter_map(|name| name.id()));
        let kept = merges.iter().flat_map(|merge| merge.kept.iter().map(|(pack, _)| (pack.id, pack.size)));
        (replaced.collect(), kept.collect())
    }

    #[test]
    fn a_pack_that_is_gone_leaves_the_index_and_what_stood_beside_it_stays() {
        let objects = [object(1, 1, MEMBER, [10, 11]), object(1, 2, MEMBER, [12]), object(2, 3, MEMBER, [13])];
        assert_eq!(planned(&objects, &[]), (vec![], vec![]));
        assert_eq!(planned(&objects, &[99]), (vec![], vec![]));
        // the other small one of the source comes along; another source has nothing to write
        assert_eq!(planned(&objects, &[10]), (vec![id(1), id(2)], vec![(id(11), 2), (id(12), 2)]));
        assert_eq!(planned(&objects, &[13]), (vec![id(3)], vec![]));
    }

    #[test]
    fn many_small_objects_of_one_source_are_merged_and_large_ones_left() {
        let large = object(1, 99, MEMBER, 1000..1000 + MERGED_PACKS_MAX / 2);
        let mut objects: Vec<_> = (1..MERGE_AT).map(|number| object(1, number, MEMBER, [number])).collect();
        objects.extend([large, object(2, 50, MEMBER, [50])]);
        assert_eq!(planned(&objects, &[]), (vec![], vec![]));
        objects.push(object(1, 51, MEMBER, [51]));
        let (replaced, kept) = planned(&objects, &[]);
        assert_eq!((replaced.len(), kept.len()), (MERGE_AT, MERGE_AT));
        assert!(!replaced.contains(&id(99)) && !replaced.contains(&id(50)));
        // that it names what is gone is a reason to write it anew
        assert!(planned(&objects, &[1000]).0.contains(&id(99)));
    }

    #[test]
    fn of_two_that_tell_of_one_pack_the_owner_is_believed() {
        let objects = [object(1, 1, MEMBER, [10, 11]), object(1, 2, OWNER, [10])];
        assert_eq!(planned(&objects, &[11]), (vec![id(1), id(2)], vec![(id(10), 1)]));
    }

    #[test]
    fn what_the_owner_vouches_for_stays_so_and_what_members_do_does_not() {
        let mut objects = [object(1, 1, MEMBER, [10]), object(1, 2, OWNER, [11]), object(1, 3, OWNER, [12, 13, 99])];
        objects[2].index.packs.extend(objects[0].index.packs.clone());
        objects[0].index.packs.extend(object(1, 1, MEMBER, [14]).index.packs);
        (objects[0].index.opened, objects[1].index.opened) = (vec![id(10), id(14)], vec![id(11)]);
        objects[2].index.opened = vec![id(13), id(99)];
        let merges = plan(OWNER, &objects, &BTreeSet::from([id(99)]));
        let index = merges[0].indexes().unwrap().remove(0);
        assert_eq!((index.packs.len(), index.opened), (5, vec![id(11), id(13)]));
    }

    #[test]
    fn what_the_owner_replaced_goes_and_no_member_replaces_what_is_not_its_own() {
        let mut objects = [object(1, 1, MEMBER, [10]), object(1, 2, OWNER, [10])];
        objects[1].index.supersedes = vec![id(1)];
        assert_eq!(planned(&objects, &[]), (vec![id(1)], vec![]));
        objects = [object(1, 1, OWNER, [10]), object(1, 2, MEMBER, [11, 12])];
        objects[1].index.supersedes = vec![id(1)];
        assert_eq!(planned(&objects, &[12]), (vec![id(1), id(2)], vec![(id(10), 1), (id(11), 2)]));
    }

    #[test]
    fn a_merged_object_holds_no_more_packs_than_it_may() {
        let objects = [object(1, 1, MEMBER, 10..10 + MERGED_PACKS_MAX), object(1, 2, MEMBER, [1, 2, 3])];
        let merges = plan(OWNER, &objects, &BTreeSet::from([id(10), id(1)]));
        let sizes: Vec<_> = merges.iter().flat_map(Merge::outputs).map(|packs| packs.len()).collect();
        assert_eq!(sizes, [MERGED_PACKS_MAX, 1]);
    }
}
