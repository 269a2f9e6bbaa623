//! A repository opened with the words of its recovery sheet: packs and snapshots suffice. What is lost is made again, the
//! config last, and nothing that is good is touched. Writers whose slots are gone can't be verified any more: what they
//! left and opens with the keys of its domain is vouched for by hash, in an order that revokes them.

use super::create::{new_config, owner_slot};
use super::opening;
use crate::backend::Backend;
use crate::progress::Progress;
use crate::repository::index::loose;
use crate::repository::index::loose::{Ends, LoosePack};
use crate::repository::index::rebuild::Indexer;
use crate::repository::keys::Keys;
use crate::repository::objects::orders;
use crate::repository::objects::trust::Trust;
use crate::repository::read::proven::Proofs;
use crate::repository::view::View;
use crate::repository::{Error, Options, Repository, Result, encoding, of_object};
use crate::runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::bundle::Role;
use vault_format::config::Config;
use vault_format::header::{HEADER_BYTES, Header, Kind};
use vault_format::id::{Class, DomainId, ObjectId, RepositoryId, WriterId};
use vault_format::key::Key;
use vault_format::name::{self, Name};
use vault_format::order::Action;
use vault_format::owner::OwnerKeys;
use vault_format::slot::{KDF_DEFAULT, KdfParams, NewPassword, Slot};
use vault_format::snapshot::Snapshot;

/// Packs read at a time: bounds what is in memory.
const BATCH: usize = 256;

/// What a repository is recovered with.
pub struct Recovery<'a> {
    /// The root, from the words.
    pub root: Key,
    /// The repository's id, if the sheet is at hand; else, or if the sheet is that of another repository with the same
    /// root, the stored objects tell it.
    pub repository: Option<RepositoryId>,
    /// Password of the new slot.
    pub password: &'a [u8],
    /// Cost of the password.
    pub kdf: KdfParams,
    /// Label of the new slot.
    pub label: String,
}

impl<'a> Recovery<'a> {
    /// Defaults for a root and a password.
    pub fn new(root: Key, repository: Option<RepositoryId>, password: &'a [u8]) -> Self {
        Self { root, repository, password, kdf: KDF_DEFAULT, label: "recovered".into() }
    }
}

/// What was found in no index.
#[derive(Clone, Debug, Default)]
pub struct Reindexed {
    /// Packs that an index tells of now.
    pub packs: u64,
    /// Their blobs.
    pub blobs: u64,
    /// Packs that can't be read or are not what they say, with the reason.
    pub unreadable: Vec<String>,
}

/// What had to be made again.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// The sheet was that of another repository with the same words.
    pub other_sheet: bool,
    /// The config or its copy was lost.
    pub config: bool,
    /// Neither was left, and keys that were made for the old config may no longer open the repository.
    pub new_config: bool,
    /// Snapshots of writers whose keys are lost, which count from now on because the owner vouches for them.
    pub vouched: BTreeMap<WriterId, u64>,
    /// Packs that were in no index.
    pub index: Reindexed,
    /// Snapshots that can't be used, with the reason.
    pub damaged: Vec<String>,
}

impl Repository {
    /// Opens a repository with its root, and makes again what is lost: index, config and its copy, and a slot.
    pub fn recover(
        backend: Backend,
        runtime: Runtime,
        options: Options,
        recovery: Recovery<'_>,
        progress: &dyn Progress,
    ) -> Result<(Self, Recovered)> {
        let owner = identify(&backend, &recovery)?;
        let found = Found::look(&backend, &owner)?;
        let other_sheet = recovery.repository.is_some_and(|id| id != owner.repository());
        let mut report = Recovered { other_sheet, config: !found.is_whole(), ..Recovered::default() };
        let (stored, config) = match found.good() {
            Some(good) => good,
            None => {
                report.new_config = true;
                // made at the same time as its first slot, so that slots that are left still vouch for the same bytes
                let created = first_slot(&backend, &owner)?.unwrap_or_else(|| runtime.clock.now().nanoseconds());
                let config = new_config(&owner, created);
                (encoding("the config", config.seal(owner.repository(), &owner.signing().signing_key()))?, config)
            }
        };
        let bundle = owner.bundle(ObjectId::of(&stored));
        let created = if report.new_config { config.created } else { runtime.clock.now().nanoseconds() };
        let password = NewPassword { password: recovery.password, kdf: recovery.kdf };
        let (slot_id, slot) = owner_slot(&owner, &bundle, (recovery.label, created), password, runtime.random())?;
        let keys = Keys::new(bundle.clone(), Some(slot_id));
        let repository = Self::assemble(backend, runtime, options, (config, keys));
        vouch(&repository, &mut report)?;
        let view = View::to_repair(&repository)?;
        report.index = reindex(&view, progress)?;
        repository.put(&Name::Slot(slot_id), &slot)?;
        found.restore(&repository, &stored)?;
        Ok((repository, report))
    }
}

/// Indexes packs that are in no index, as far as they are proven.
fn reindex(view: &View, progress: &dyn Progress) -> Result<Reindexed> {
    let (repository, loose) = (view.repository(), view.unindexed());
    let mut proofs = Proofs::new(repository, &view.trust, view.indexed()?, progress);
    progress.expect(loose.len() as u64, loose.iter().map(|(_, _, size)| size).sum());
    let (ends, mut indexer, mut report) = (Ends::new(repository), Indexer::new(repository), Reindexed::default());
    let mut unreadable = Vec::new();
    let mut index = |pack: &LoosePack| {
        report.packs += 1;
        report.blobs += pack.entry.directory.blobs.len() as u64;
        indexer.add(pack)
    };
    for batch in loose.chunks(BATCH) {
        let mut opened = Vec::new();
        for end in ends.read(batch)? {
            match end {
                Ok(pack) => opened.push(pack),
                Err((_, problem)) => unreadable.push(problem),
            }
        }
        proofs.read(&opened)?.into_iter().try_for_each(&mut index)?;
    }
    proofs.finish()?.iter().try_for_each(&mut index)?;
    unreadable.extend(proofs.refused.iter().map(|(name, why)| format!("{name} is not taken: {why}")));
    indexer.finish(&BTreeMap::new())?;
    Ok(Reindexed { unreadable, ..report })
}

/// The config and its copy as they lie in the store.
struct Found {
    both: [(Name, State); 2],
}

enum State {
    Missing,
    Damaged,
    Good(Vec<u8>, Config),
}

impl Found {
    fn look(backend: &Backend, owner: &OwnerKeys) -> Result<Self> {
        let verifying = owner.public().verifying;
        let look = |name: Name| {
            let Some(bytes) = opening::get(backend, &name)? else { return Ok((name, State::Missing)) };
            let state = match Config::open(&bytes, Some(&verifying)) {
                Ok((_, config)) => State::Good(bytes, config),
                // a newer program may know it
                Err(
                    newer @ (vault_format::Error::UnsupportedVersion(_)
                    | vault_format::Error::UnsupportedSuite(_)
                    | vault_format::Error::UnsupportedEpoch(_)
                    | vault_format::Error::UnsupportedFeature(_)),
                ) => return of_object(&name, Err(newer)),
                Err(_) => State::Damaged,
            };
            Ok((name, state))
        };
        Ok(Self { both: [look(Name::Config)?, look(Name::ConfigCopy)?] })
    }

    fn is_whole(&self) -> bool {
        self.both.iter().all(|(_, state)| matches!(state, State::Good(..)))
    }

    fn good(&self) -> Option<(Vec<u8>, Config)> {
        self.both.iter().find_map(|(_, state)| match state {
            State::Good(bytes, config) => Some((bytes.clone(), config.clone())),
            _ => None,
        })
    }

    /// Puts what is missing, the copy first: a config is there only once all else is.
    fn restore(&self, repository: &Repository, stored: &[u8]) -> Result<()> {
        for (name, state) in self.both.iter().rev() {
            match state {
                State::Good(..) => continue,
                State::Missing => {}
                // no name but these two can hold other bytes later on
                State::Damaged => repository.backend().delete(&name.to_string())?,
            }
            repository.put(name, stored)?;
        }
        Ok(())
    }
}

/// When the oldest of the owner's slots was made.
fn first_slot(backend: &Backend, owner: &OwnerKeys) -> Result<Option<i64>> {
    let verifying = owner.public().verifying;
    let mut created = None;
    for entry in backend.list(name::KEYS)? {
        let Some(name @ Name::Slot(id)) = Name::parse(&entry.name) else { continue };
        let Some(stored) = opening::get(backend, &name)? else { continue };
        let signed = Slot::parse(&stored).and_then(|slot| slot.verify(&verifying).map(|()| slot.info.clone()));
        if let Ok(info) = signed
            && ObjectId::of(&stored) == id
            && info.role == Role::Owner
        {
            created = Some(created.map_or(info.created, |known: i64| known.min(info.created)));
        }
    }
    Ok(created)
}

/// The keys of the repository that lies here, if the root is its own.
fn identify(backend: &Backend, recovery: &Recovery<'_>) -> Result<OwnerKeys> {
    let found: Vec<(Name, u64)> =
        backend.list("")?.iter().filter_map(|entry| Some((Name::parse(&entry.name)?, entry.size))).collect();
    let content: Vec<&(Name, u64)> = match found.iter().any(|(name, _)| matches!(name, Name::Snapshot(..))) {
        true => found.iter().filter(|(name, _)| matches!(name, Name::Snapshot(..))).collect(),
        // the first snapshot never came to be
        false => found.iter().filter(|(name, _)| matches!(name, Name::Pack(..))).collect(),
    };
    let fits = |id: RepositoryId| -> Result<Option<OwnerKeys>> {
        let owner = OwnerKeys::new(recovery.root.clone(), id);
        if Found::look(backend, &owner)?.good().is_some() {
            return Ok(Some(owner));
        }
        for (name, size) in &content {
            if opens(backend, &owner, name, *size)? {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    };
    let mut asked = BTreeSet::new();
    if let Some(id) = recovery.repository {
        asked.insert(id);
        if let Some(owner) = fits(id)? {
            return Ok(owner);
        }
    }
    // the sheet may be that of the repository that this one was made like: the words are the same
    let small = found.iter().filter(|(name, _)| matches!(name, Name::Config | Name::ConfigCopy | Name::Slot(_)));
    for (name, _) in small.chain(content.iter().copied()) {
        if let Some(id) = repository_in(backend, name)?.filter(|id| asked.insert(*id))
            && let Some(owner) = fits(id)?
        {
            return Ok(owner);
        }
    }
    // an empty place, or a stranger's, is not a matter of words
    opening::probe(backend).or_else(|error| if content.is_empty() { Err(error) } else { Ok(()) })?;
    Err(Error::WrongWords(backend.describe().to_owned()))
}

/// The repository that an object's clear header names.
fn repository_in(backend: &Backend, name: &Name) -> Result<Option<RepositoryId>> {
    let kind = match name {
        Name::Config | Name::ConfigCopy => Kind::Config,
        Name::Slot(_) => Kind::Slot,
        Name::Pack(Class::Data, _) => Kind::DataPack,
        Name::Pack(Class::Metadata, _) => Kind::MetadataPack,
        _ => Kind::Snapshot,
    };
    let start = readable(backend.get(&name.to_string(), Some(0..HEADER_BYTES as u64)).map_err(Error::from))?;
    let header = |start: Vec<u8>| Header::decode_any(&start, kind).map(|header| header.repository).ok();
    Ok(start.and_then(header))
}

/// `None` for an object that can't be used; an error for a store that can't be read.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_unanswered() => Err(error),
        Err(_) => Ok(None),
    }
}

/// True if a snapshot's head or a pack's directory opens with keys of this root.
fn opens(backend: &Backend, owner: &OwnerKeys, name: &Name, size: u64) -> Result<bool> {
    match name {
        Name::Snapshot(domain, ..) => {
            let Some(stored) = readable(backend.get(&name.to_string(), None).map_err(Error::from))? else {
                return Ok(false);
            };
            let head = |snapshot: Snapshot<'_>| snapshot.head(&owner.book(*domain));
            Ok(Snapshot::parse(&stored, owner.repository()).and_then(head).is_ok())
        }
        Name::Pack(class, id) => {
            let book = |domain| Some(owner.book(domain));
            let read = loose::read_end(backend, (*id, *class, size), &[], (owner.repository(), &book));
            Ok(readable(read)?.is_some())
        }
        _ => Ok(false),
    }
}

/// Vouches for what unknown writers left, in one order for each of them.
fn vouch(repository: &Repository, report: &mut Recovered) -> Result<()> {
    let trust = Trust::load(repository)?;
    let mut left: BTreeMap<WriterId, Vec<ObjectId>> = BTreeMap::new();
    for (name, _) in repository.list(name::SNAPSHOTS)?.0 {
        let Name::Snapshot(domain, label, id) = name else { continue };
        let read = || -> Result<Option<WriterId>> {
            let stored = repository.get_named(&name)?;
            let snapshot = of_object(&name, Snapshot::parse(&stored, repository.id()))?;
            let header = *snapshot.header();
            let known = trust.signer(header.writer).is_some() || trust.is_revoked(header.writer);
            let book = repository.keys().owner("recover")?.book(domain);
            if known || header.domain != domain {
                return Ok(None);
            }
            let head = of_object(&name, snapshot.head(&book))?;
            Ok((book.source_label(&head.source) == label).then_some(header.writer))
        };
        match read() {
            Ok(Some(writer)) => left.entry(writer).or_default().push(id),
            Ok(None) => {}
            Err(error) => {
                report.damaged.push(error.to_string());
                readable::<()>(Err(error))?;
            }
        }
    }
    for (writer, accepted) in left {
        report.vouched.insert(writer, accepted.len() as u64);
        orders::put(repository, DomainId::default(), Action::Revoke { writer, accepted })?;
    }
    Ok(())
}
