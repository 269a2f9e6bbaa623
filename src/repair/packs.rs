//! Which packs are good: read, hashed and opened frame by frame, or with `structure_only` believed by their size. Index
//! objects that tell of bad packs are replaced, and good packs in no index get one, so that no writer relies on what is
//! damaged and every reader finds what is not.

use super::look::Look;
use super::{Options, Report};
use crate::backend::{self, ErrorKind};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::index::loose::LoosePack;
use crate::repository::index::rebuild::Indexer;
use crate::repository::objects::index_objects;
use crate::repository::objects::index_objects::IndexObject;
use crate::repository::objects::marks::Marks;
use crate::repository::read::proven::Proofs;
use crate::repository::read::reader::Reader;
use crate::repository::read::whole;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use vault_format::directory::BlobPlace;
use vault_format::id::{Class, DomainId, ObjectId};
use vault_format::index::{Index, PackEntry, Sketches};
use vault_format::name::Name;

/// What became of one pack.
enum State {
    Good,
    Missing,
    Bad(String),
    /// Good, though it is not listed.
    Unlisted(backend::Entry),
}

/// Judges every pack that an index in force tells of, and every loose one. Those in marks are left to the
/// sweep, but a blob that only a damaged one of them holds is wanted.
pub(super) fn judge(
    repository: &Repository,
    look: &mut Look,
    options: &Options,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<()> {
    let mut bad: BTreeMap<Name, String> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    let mut listed: Vec<(ObjectId, (Class, backend::Entry))> = Vec::new();
    for (domain, objects) in look.by_domain() {
        let readable = look.readable(repository, domain)?;
        let reader = Reader::new(repository, &readable);
        let mut entries: BTreeMap<ObjectId, &PackEntry> = BTreeMap::new();
        for entry in objects.iter().flat_map(|object| &object.index.packs) {
            entries.insert(entry.id, entry);
        }
        let is_read = !options.structure_only;
        let entries: Vec<(&PackEntry, bool)> = entries.into_values().map(|entry| (entry, is_read)).collect();
        progress.expect(entries.len() as u64, entries.iter().filter(|_| is_read).map(|(pack, _)| pack.size).sum());
        report.packs += entries.len() as u64;
        for ((entry, _), state) in
            entries.iter().zip(judge_all(repository, &reader, look, &entries, (report, progress))?)
        {
            match state {
                State::Good => {}
                State::Missing => {
                    missing.insert(entry.id);
                    bad.insert(Name::Pack(entry.class, entry.id), "missing, though an index tells of it".into());
                }
                State::Bad(problem) => {
                    bad.insert(Name::Pack(entry.class, entry.id), problem);
                }
                State::Unlisted(found) => listed.push((entry.id, (entry.class, found))),
            }
        }
    }
    look.packs.extend(listed);
    look.missing = missing;
    look.bad = bad.keys().filter_map(Name::id).collect();
    for (name, why) in prove(repository, look, (report, progress))? {
        report.notes.push(format!("{name} is in no index, and is not taken: {why}"));
        look.bad.extend(name.id());
    }
    for (name, problem) in bad {
        let Some(id) = name.id() else { continue };
        let is_gone = look.missing.contains(&id);
        if look.marks.names(&id) {
            // a sweep that was interrupted has deleted it already
            report.notes.extend((!is_gone).then(|| format!("{name} is condemned, and damaged: {problem}")));
        } else {
            report.damaged_packs.push(format!("{name}: {problem}"));
        }
    }
    Ok(())
}

fn judge_all(
    repository: &Repository,
    reader: &Reader,
    look: &Look,
    entries: &[(&PackEntry, bool)],
    (report, progress): (&mut Report, &dyn Progress),
) -> Result<Vec<State>> {
    let read_bytes = AtomicU64::new(0);
    let runtime = repository.runtime();
    let states = runtime.try_map(runtime.workers, entries, |(entry, is_read)| {
        let state = one(repository, reader, look, (entry, *is_read));
        if *is_read {
            read_bytes.fetch_add(entry.size, Ordering::SeqCst);
            progress.advance(1, entry.size);
        }
        state
    });
    report.read_bytes += read_bytes.into_inner();
    states
}

fn one(repository: &Repository, reader: &Reader, look: &Look, (entry, is_read): (&PackEntry, bool)) -> Result<State> {
    let name = Name::Pack(entry.class, entry.id).to_string();
    let listed = look.packs.get(&entry.id).map(|(_, at)| at.size);
    if !is_read && listed == Some(entry.size) {
        return Ok(State::Good);
    }
    // a listing may show too little: only the store's answer to the name itself counts
    let found = match repository.backend().stat(&name) {
        Ok(found) => found,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(error.into()),
    };
    if found.size != entry.size {
        return Ok(State::Bad(format!("has {} bytes, the index says {}", found.size, entry.size)));
    }
    let good = match listed {
        Some(_) => State::Good,
        None => State::Unlisted(backend::Entry { name: name.clone(), size: found.size, modified: found.modified }),
    };
    if !is_read {
        return Ok(good);
    }
    match repository.backend().get(&name, None) {
        Ok(bytes) => Ok(problem(reader, entry, &bytes)?.map_or(good, State::Bad)),
        Err(error) if error.is_unanswered() => Err(error.into()),
        Err(error) => Ok(State::Bad(error.to_string())),
    }
}

/// What is wrong with a pack whose bytes are here.
fn problem(reader: &Reader, entry: &PackEntry, bytes: &[u8]) -> Result<Option<String>> {
    if ObjectId::of(bytes) != entry.id {
        return Ok(Some("its bytes do not match its name".into()));
    }
    let (index, places) = (reader.index(), entry.directory.places());
    let is_told = |place: &BlobPlace, number| {
        index
            .known_places(&place.blob.id)
            .any(|at| (at.pack, at.at, at.length) == (number, place.at, place.blob.length))
    };
    let number = index.number_of(&entry.id).filter(|number| places.iter().all(|place| is_told(place, *number)));
    let Some(number) = number else { return Ok(Some("another index tells something else of it".into())) };
    for (frame, opened) in whole::frames(reader, number, &places, bytes) {
        let frame = index.frame(frame)?;
        let lacks_bases = || frame.bases.iter().any(|base| reader.blob(frame.kind, base).is_err());
        match opened {
            Ok(()) => {}
            // a delta without its bases is not this pack's fault
            Err(error) if error.is_unanswered() || lacks_bases() => {}
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}

/// Opens what is in no index: the owner tells of nothing that he has not seen.
fn prove(
    repository: &Repository,
    look: &Look,
    (report, progress): (&mut Report, &dyn Progress),
) -> Result<BTreeMap<Name, String>> {
    let domains: BTreeSet<DomainId> = look.loose.iter().map(|pack| pack.header.domain).collect();
    let good = domains.into_iter().map(|domain| Ok((domain, look.indexed(repository, domain)?)));
    let mut proofs = Proofs::new(repository, &look.trust, good.collect::<Result<_>>()?, progress);
    let bytes = look.loose.iter().map(|pack| pack.entry.size).sum();
    progress.expect(look.loose.len() as u64, bytes);
    report.packs += look.loose.len() as u64;
    report.read_bytes += bytes;
    proofs.read(&look.loose)?;
    proofs.finish()?;
    Ok(proofs.refused)
}

/// Puts an index for good packs that have none, and replaces those that tell of bad packs.
pub(super) fn reindex(repository: &Repository, look: &Look, options: &Options, report: &mut Report) -> Result<()> {
    let good: Vec<&LoosePack> = look.loose.iter().filter(|pack| !look.bad.contains(&pack.entry.id)).collect();
    let mut damaged: BTreeMap<DomainId, Vec<ObjectId>> = BTreeMap::new();
    for damage in &look.objects.damaged {
        if let Name::Index(domain, _, id) = &damage.name {
            damaged.entry(*domain).or_default().push(*id);
        }
    }
    report.indexed_packs = good.len() as u64;
    report.replaced_indexes = look.objects.damaged.len() as u64;
    let is_bad = |pack: &PackEntry| look.bad.contains(&pack.id) && !look.marks.names(&pack.id);
    let is_outdated = |object: &&IndexObject| object.index.packs.iter().any(is_bad);
    let current = look.objects.good.iter().filter(|object| look.current.contains(&object.name));
    let is_due = !good.is_empty() || !damaged.is_empty();
    if is_due && !options.dry_run {
        // a pack that a mark names by now is left to the sweep
        let marks = Marks::load(repository)?;
        let mut indexer = Indexer::new(repository);
        good.into_iter().filter(|pack| !marks.names(&pack.entry.id)).try_for_each(|pack| indexer.add(pack))?;
        indexer.finish(&damaged)?;
    }
    for object in current.filter(is_outdated) {
        let (Name::Index(domain, label, id), false) = (&object.name, options.dry_run) else {
            report.replaced_indexes += 1;
            continue;
        };
        let good: Vec<PackEntry> = object.index.packs.iter().filter(|pack| !is_bad(pack)).cloned().collect();
        // what the owner has vouched for he still does; what a member says so is not his word (T7)
        let is_own = object.writer == repository.keys().owner_writer();
        let stays = |id: &&ObjectId| is_own && good.iter().any(|pack| pack.id == **id);
        let index = Index {
            opened: object.index.opened.iter().filter(stays).copied().collect(),
            packs: good,
            wraps: object.index.wraps.clone(),
            supersedes: object.index.supersedes.iter().copied().chain([*id]).collect(),
        };
        index_objects::put(repository, (*domain, *label), &index, &Sketches::default())?;
        report.replaced_indexes += 1;
    }
    Ok(())
}
