//! Writes what is needed of half-dead packs again: frames move as they are, sealed anew under the new pack's key, or the
//! needed blobs in them are encoded anew. Nothing gets deeper. Dead bases are replaced by one of the versions that need
//! them, stored whole. All of it is stored and indexed when this returns; nothing is deleted here.

use super::Prepared;
use super::need::Need;
use super::plan::{Fate, Held, Lineage, PackUse, PlanFigures};
use super::survey;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::lookup::{BlobLookup, FrameNumber, PackRule};
use crate::repository::read::reader::Reader;
use crate::repository::view::Doubts;
use crate::repository::write::frame::EncodedFrame;
use crate::repository::write::writer::{Writer, Written};
use crate::repository::{Error, Repository, encoding};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use vault_format::compress::{LEVEL_DEFAULT, PREFIX_BYTES_MAX, compress, compress_delta};
use vault_format::directory::{BlobEntry, BlobPlace, Descent};
use vault_format::frame::{BASES_MAX, FrameCodec};
use vault_format::id::{BlobId, Class, DomainId, ObjectId};
use vault_format::index::PackEntry;

const UNTOLD: Error = Error::Bug("a pack is repacked whose directory is not the one of the plan");

/// Versions of one lineage that are kept at hand as bases of the others.
const WHOLE_VERSIONS: usize = 8;

/// What came of the repacks of a plan.
pub(super) struct Repacked {
    /// Those of the plan with what was really read and written.
    pub figures: PlanFigures,
    /// The new packs of each domain, in the order of the needs.
    pub written: Vec<Vec<Written>>,
    /// Domains in which something could not be read.
    pub doubts: Doubts,
    /// Packs that were only to be merged, and hold something else than they say: they stay as they are.
    pub stay: BTreeSet<usize>,
}

/// Carries out the repacks of a plan.
pub(super) fn repack(repository: &Repository, task: &Prepared, progress: &dyn Progress) -> Result<Repacked> {
    let after = task.plan.without_dead(&task.packs, &task.lineages);
    let mut figures = PlanFigures { writes: 0, written_bytes: 0, ..task.plan.figures };
    let (mut written, mut doubts, mut stay) = (Vec::new(), Doubts::new(), BTreeSet::new());
    let before = repository.backend().counts();
    for need in &task.needs {
        let own = match of_domain(repository, task, need, (&after, &mut stay), progress) {
            Ok(own) => own,
            Err(error) => {
                survey::leave_out(&mut doubts, need.domain, error)?;
                Vec::new()
            }
        };
        figures.writes += own.iter().map(Written::stored_packs).sum::<u64>();
        figures.written_bytes += own.iter().map(Written::stored_bytes).sum::<u64>();
        written.push(own);
    }
    let counts = repository.backend().counts();
    (figures.reads, figures.read_bytes) = (counts.get - before.get, counts.bytes_read - before.bytes_read);
    Ok(Repacked { figures, written, doubts, stay })
}

fn of_domain(
    repository: &Repository,
    task: &Prepared,
    need: &Need,
    (after, stay): (&[PackUse], &mut BTreeSet<usize>),
    progress: &dyn Progress,
) -> Result<Vec<Written>> {
    let mut own = Vec::new();
    for (group, place) in task.places.iter().enumerate().filter(|(_, place)| place.domain == need.domain) {
        let group = u32::try_from(group).map_err(|_| Error::Bug("copies go to more places than can be numbered"))?;
        let jobs = Jobs::of(task, group);
        if jobs.packs.is_empty() && jobs.lineages.is_empty() {
            continue;
        }
        let mut mover = Mover {
            repository,
            need,
            reader: Reader::keeping(repository, &need.lookup, repository.options().memory_bytes / 6),
            // half a repack helps nobody, and may have taken the last room
            writer: Writer::at(repository, &need.lookup, *place)?.all_or_nothing(),
            left: left(task),
            progress,
        };
        stay.extend(mover.run(task, after, &jobs)?);
        own.push(mover.writer.flush()?.uncommitted());
    }
    Ok(own)
}

/// What is written together.
struct Jobs {
    packs: Vec<usize>,
    lineages: Vec<usize>,
}

impl Jobs {
    fn of(task: &Prepared, group: u32) -> Self {
        let of_group = |pack: &usize| task.packs[*pack].group == group;
        let mut packs: Vec<usize> = task.plan.repack.keys().copied().filter(of_group).collect();
        // what was written together stays together
        packs.sort_by_key(|pack| {
            let id = task.packs[*pack].id;
            (task.survey.packs.get(&id).map(|(_, entry)| entry.modified), id)
        });
        let is_own = |number: &usize| task.lineages[*number].deltas.first().is_some_and(|delta| of_group(&delta.pack));
        Self { packs, lineages: task.plan.rebase.iter().copied().filter(is_own).collect() }
    }
}

/// What is not written as it lies: dead bases that go, and what is encoded against others.
fn left(task: &Prepared) -> HashSet<Left> {
    let lineages = task.plan.rebase.iter().map(|number| &task.lineages[*number]);
    let held = lineages.flat_map(|lineage| lineage.dead.iter().chain(&lineage.deltas));
    held.map(|held| (task.packs[held.pack].id, held.frame, held.blob)).collect()
}

/// A blob in a frame of a pack: it may be written from elsewhere.
type Left = (ObjectId, usize, BlobId);

/// A range of a pack, and its bytes.
type Fetched = (Range<u64>, Vec<u8>);

struct Mover<'m, 'r> {
    repository: &'r Repository,
    need: &'r Need,
    reader: Reader,
    writer: Writer,
    left: HashSet<Left>,
    progress: &'m dyn Progress,
}

impl Mover<'_, '_> {
    /// Returns packs that stay.
    fn run(&mut self, task: &Prepared, after: &[PackUse], jobs: &Jobs) -> Result<Vec<usize>> {
        let mut stay = Vec::new();
        let anew = |number: &usize| {
            task.plan.repack.get(number).copied().ok_or(Error::Bug("a pack is repacked without a plan"))
        };
        let mut rest = jobs.packs.as_slice();
        while !rest.is_empty() {
            let (some, later) = rest.split_at(self.at_once(after, rest));
            rest = later;
            let (repository, reader, lookup) = (self.repository, &self.reader, &self.need.lookup);
            let fetched = repository.runtime().map(repository.backend().connections(), some, |number| {
                repository.runtime().check_stopped()?;
                fetch((reader, lookup), &after[*number], anew(number)?)
            });
            for (number, fetched) in some.iter().zip(fetched) {
                let pack = &after[*number];
                // what is passed over here would be condemned all the same
                let (_, entry) = task.survey.entry(&pack.id).ok_or(UNTOLD)?;
                match fetched.and_then(|ranges| self.pack((pack, entry), anew(number)?, &ranges)) {
                    // nobody has to merge it, nor to move one of several claims; what moved of it lies there twice
                    Err(crate::error::Error::Repository(error))
                        if error.is_damage() && (task.plan.merged.contains(number) || self.need.is_spare(entry)?) =>
                    {
                        stay.push(*number);
                    }
                    done => done?,
                }
            }
        }
        for number in &jobs.lineages {
            self.lineage(&task.lineages[*number])?;
        }
        Ok(stay)
    }

    /// How many of these packs are fetched together: small ones one after the other would each cost the way to the store.
    fn at_once(&self, after: &[PackUse], packs: &[usize]) -> usize {
        let (mut bytes, most) = (0, (self.repository.options().memory_bytes / 6) as u64);
        let fits = |number: &&usize| {
            bytes += after[**number].size;
            bytes <= most
        };
        packs.iter().take_while(fits).count().max(1)
    }

    fn pack(&mut self, (pack, entry): (&PackUse, &PackEntry), anew: bool, ranges: &[Fetched]) -> Result<()> {
        let lookup = &self.need.lookup;
        let number = lookup.number_of(&pack.id).ok_or(UNTOLD)?;
        let fates = pack.fates(anew);
        if fates.len() != lookup.frames_of(number).len() {
            return Err(UNTOLD.into());
        }
        let mut blobs: BTreeMap<u32, Vec<BlobPlace>> = BTreeMap::new();
        for place in entry.directory.places() {
            blobs.entry(place.frame).or_default().push(place);
        }
        let fated = (0..).zip(lookup.frames_of(number)).zip(fates).filter(|(_, fate)| *fate != Fate::Left);
        for ((position, number), fate) in fated {
            let frame = lookup.frame(number)?;
            let places = blobs.remove(&position).ok_or(UNTOLD)?;
            let (start, stored) = (u64::from(frame.offset), frame.stored as usize);
            let (range, bytes) = ranges.iter().find(|(range, _)| range.contains(&start)).ok_or(UNTOLD)?;
            let sealed = usize::try_from(start - range.start).ok().and_then(|from| bytes.get(from..)?.get(..stored));
            // shorter than was asked for: the frame does not open
            let sealed = sealed.unwrap_or_default();
            match fate {
                Fate::Moved => self.move_frame(pack.class, number, sealed, &places)?,
                _ => self.recode((pack.id, position), number, sealed, &places)?,
            }
            self.progress.advance(0, sealed.len() as u64);
        }
        Ok(())
    }

    fn move_frame(&mut self, class: Class, number: FrameNumber, sealed: &[u8], places: &[BlobPlace]) -> Result<()> {
        let frame = self.need.lookup.frame(number)?;
        let is_vouched = self.need.lookup.pack(frame.pack)?.vouched;
        let bytes =
            if is_vouched { self.reader.open_seal(number, sealed)? } else { self.proven(number, sealed, places)? };
        let blobs = places.iter().map(|place| place.blob).collect();
        Ok(self.writer.copy_frame(EncodedFrame::again(class, &frame, bytes, blobs))?)
    }

    /// T7: in a pack of the owner everybody relies on it, so what a member says that a frame holds has to be true.
    fn proven(&self, number: FrameNumber, sealed: &[u8], places: &[BlobPlace]) -> Result<Vec<u8>> {
        let (encoded, plain) = self.reader.take_frame(number, sealed)?;
        for place in places {
            let at = self.need.lookup.known_places(&place.blob.id).find(|at| at.frame == number && at.at == place.at);
            self.reader.slice(place.blob.kind, &place.blob.id, at.ok_or(UNTOLD)?, &plain)?;
        }
        Ok(encoded)
    }

    fn recode(
        &mut self,
        (pack, position): (ObjectId, u32),
        number: FrameNumber,
        sealed: &[u8],
        places: &[BlobPlace],
    ) -> Result<()> {
        let plain = self.reader.open_frame(number, sealed)?;
        for place in places {
            let (kind, id) = (place.blob.kind, place.blob.id);
            let here = self.need.lookup.known_places(&id).find(|at| at.frame == number && at.at == place.at);
            let here = here.ok_or(UNTOLD)?;
            if !self.need.needs(kind, &id, here)? || self.left.contains(&(pack, position as usize, id)) {
                continue;
            }
            let plaintext = self.reader.slice(kind, &id, here, &plain)?;
            if self.need.is_base(&id, here) {
                self.writer.copy_base(kind, id, &plaintext)?;
            } else {
                self.writer.copy(kind, id, &plaintext)?;
            }
        }
        Ok(())
    }

    /// Stores the first version whole and the others against it, or against others that are whole.
    fn lineage(&mut self, lineage: &Lineage) -> Result<()> {
        self.repository.runtime().check_stopped()?;
        let mut whole: Vec<(BlobId, Vec<u8>)> = Vec::new();
        let mut stored = HashSet::new();
        for held in lineage.deltas.iter().filter(|held| stored.insert(held.blob)) {
            let Held { kind, blob: id, length, .. } = *held;
            let plaintext = self.reader.blob(kind, &id)?;
            match against(&whole, &plaintext, length)? {
                Some((bytes, bases)) => {
                    let blobs = vec![BlobEntry { id, kind, length }];
                    let (class, codec, descent) =
                        (kind.class(), FrameCodec::Delta, Descent { depth: 1, generation: 1 });
                    self.writer.copy_frame(EncodedFrame { class, codec, bytes, blobs, bases, descent })?;
                }
                None => {
                    // as a deeper frame moves, it may be there already
                    self.writer.copy_base(kind, id, &plaintext)?;
                    whole.truncate(WHOLE_VERSIONS - 1);
                    whole.insert(0, (id, plaintext));
                }
            }
        }
        Ok(())
    }
}

/// Fetches what of a pack is needed.
fn fetch((reader, lookup): (&Reader, &BlobLookup), pack: &PackUse, anew: bool) -> Result<Vec<Fetched>> {
    let number = lookup.number_of(&pack.id).ok_or(UNTOLD)?;
    let fetch = |range: Range<u64>| Ok((range.clone(), reader.fetch(lookup.pack(number)?, range)?));
    pack.ranges(anew).into_iter().map(fetch).collect()
}

/// A delta against versions that are stored whole; `None` if there is none that makes it clearly smaller.
fn against(whole: &[(BlobId, Vec<u8>)], plaintext: &[u8], length: u32) -> Result<Option<(Vec<u8>, Vec<BlobId>)>> {
    let (mut prefix, mut bases) = (Vec::new(), Vec::new());
    for (id, bytes) in whole.iter().take(BASES_MAX) {
        if prefix.len() + bytes.len() <= PREFIX_BYTES_MAX {
            prefix.extend_from_slice(bytes);
            bases.push(*id);
        }
    }
    if bases.is_empty() {
        return Ok(None);
    }
    let alone = encoding("a frame", compress(plaintext, LEVEL_DEFAULT))?.map_or(length as usize, |bytes| bytes.len());
    let delta = encoding("a frame", compress_delta(plaintext, &prefix, LEVEL_DEFAULT))?;
    Ok(delta.filter(|delta| 2 * delta.len() <= alone).map(|delta| (delta, bases)))
}

/// A blob that can be read now, but could not be from the new packs and the old ones outside of `going`: there is none if
/// the plan was right.
pub(super) fn lost(needs: &mut [Need], written: &[Vec<Written>], going: &BTreeSet<ObjectId>) -> Result<Option<BlobId>> {
    let (outside, stays) = (PackRule::OUTSIDE_MARKS, PackRule::OUTSIDE_MARKS.without(going));
    let mut written = written.iter();
    for need in needs {
        for packs in written.next().into_iter().flatten() {
            packs.add_to(&mut need.lookup)?;
        }
        let has = |id: &BlobId, rule: &PackRule<'_>| {
            let cost = need.lookup.place(id, rule).and_then(|place| need.lookup.cost(place, rule));
            cost.is_some_and(|cost| cost.is_readable())
        };
        let goes =
            |id: &BlobId, open: Option<DomainId>| !has(id, &stays.open_to(open)) && has(id, &outside.open_to(open));
        let loses = |id: &BlobId| goes(id, None) || need.shared.contains(id) && goes(id, Some(need.domain));
        let lost = need.live.iter().map(|(_, id)| *id).find(loses);
        if lost.is_some() {
            return Ok(lost);
        }
    }
    Ok(None)
}
