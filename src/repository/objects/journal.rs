//! Writes and reads journal records, each a sealed object of its own under year and month. What a record says is for
//! people, but for two things: the heads that it names must stay visible, and a `begun` record serves as the object that
//! shows the store's clock.

use super::loaded::{Loaded, Verdict, gather, load};
use super::months::{self, Opened};
use super::orders;
use super::trust::{Claimant, Trust};
use crate::repository::{Listed, Repository, Result, encoding, of_object};
use crate::time::WallTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::header::Header;
use vault_format::id::{ObjectId, RunId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::salt::Salt;

/// Who runs something, and why, in the user's words.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// User and host, as `user@host`.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Actor {
    /// The machine, if it is told.
    pub fn host(&self) -> Option<&str> {
        self.name.rsplit_once('@').map(|(_, host)| host).filter(|host| !host.is_empty())
    }
}

/// Most records that one record names as those before it.
const AFTER_MAX: usize = 64;
/// Most packs that one record says were verified: 2 MiB of ids, where the format allows 32.
const VERIFIED_MAX: usize = 1 << 16;
/// Records that are in memory together.
const RECORDS_AT_ONCE: usize = 64;
/// Months that are.
const MONTHS_AT_ONCE: usize = 2;

/// Puts a record into the journal of the own domain.
fn put(repository: &Repository, record: &Record) -> Result<Name> {
    let keys = repository.keys();
    let book = &keys.own_book();
    let author = Author { repository: repository.id(), domain: keys.domain(), signer: keys.signer(), book };
    let orders = orders::to_record(repository, record.outcome != RunOutcome::Begun);
    let record = Record { orders, after: before(repository), ..record.clone() };
    let stored = encoding("a journal record", record.seal(&author, Salt::Fresh(repository.runtime().random())))?;
    let (year, month) = month(&record);
    let name = Name::Journal(keys.domain(), year, month, ObjectId::of(&stored));
    repository.put(&name, &stored)?;
    if let Some(id) = name.id() {
        repository.0.known.lock().records = vec![id];
        repository.0.cache.get().iter().for_each(|cache| cache.note_record(&id));
    }
    Ok(name)
}

/// Year and month under which a record lies: those of the begin of its run.
pub(crate) fn month(record: &Record) -> (u16, u8) {
    month_of(WallTime::new(record.started))
}

/// Year and month of a point in time.
pub(crate) fn month_of(time: WallTime) -> (u16, u8) {
    let time = Timestamp::from(time).to_zoned(TimeZone::UTC);
    (u16::try_from(time.year()).unwrap_or_default(), u8::try_from(time.month()).unwrap_or(1))
}

/// The record that this machine put last, as far as it remembers.
pub(crate) fn remembered(repository: &Repository) -> Option<ObjectId> {
    repository.0.cache.get().and_then(|cache| cache.last_record())
}

/// The records that the next one follows: what this process put or saw last, else what this machine put last.
fn before(repository: &Repository) -> Vec<ObjectId> {
    let mut before = repository.0.known.lock().records.clone();
    if let Some(own) = remembered(repository).filter(|own| !before.contains(own)) {
        before.push(own);
    }
    before
}

/// Takes what a look at the whole journal saw: records that no other one names are those that the next one follows.
pub(crate) fn note_newest(repository: &Repository, all: &BTreeMap<ObjectId, Vec<ObjectId>>) {
    let named: BTreeSet<&ObjectId> = all.values().flatten().collect();
    let newest = all.keys().filter(|id| !named.contains(id)).take(AFTER_MAX).copied();
    repository.0.known.lock().records = newest.collect();
}

/// Puts a record that says that a run has begun, and names snapshots that it saw: whoever deletes later must see them too.
pub(crate) fn put_begun(repository: &Repository, run: RunId, operation: &str, heads: Vec<ObjectId>) -> Result<Name> {
    let record = Record {
        run,
        operation: operation.to_owned(),
        actor: repository.options().actor.name.clone(),
        reason: repository.options().actor.reason.clone(),
        started: repository.runtime().clock.now().nanoseconds(),
        outcome: RunOutcome::Begun,
        heads,
        ..Record::default()
    };
    put(repository, &record)
}

/// Puts a record, and the packs that its run verified: as many more records of the same run as they need.
pub(crate) fn put_verified(repository: &Repository, record: &Record, packs: &[ObjectId]) -> Result<Name> {
    let (first, rest) = packs.split_at(packs.len().min(VERIFIED_MAX));
    for more in rest.chunks(VERIFIED_MAX) {
        put(repository, &Record { verified: more.to_vec(), heads: Vec::new(), figures: Vec::new(), ..record.clone() })?;
    }
    put(repository, &Record { verified: first.to_vec(), ..record.clone() })
}

/// Gives every record among those that were listed that this key can open, be it an object of its own or in a month, with
/// its name and its header, once, and keeps none; returns the names of what lies in months, what could not be used, and
/// what does not count.
pub fn visit(
    repository: &Repository,
    trust: &Trust,
    mut listed: Vec<Listed>,
    each: &mut dyn FnMut(&Name, &Header, Record),
) -> Result<Loaded<(ObjectId, Vec<Name>)>> {
    let mut others = Loaded::default();
    let mut told: BTreeSet<Name> = BTreeSet::new();
    listed.retain(|(name, _)| name.domain().is_some_and(|domain| repository.keys().book(domain).is_some()));
    let (months, mut records): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|(name, _)| matches!(name, Name::Month(..)));
    for some in months.chunks(MONTHS_AT_ONCE) {
        let opened = load(repository, some, |(name, _)| months::read(repository, name))?;
        for Opened { id, mut records } in others.keep(opened, trust.quarantined()) {
            let names = records.iter().map(|(name, _)| name.clone()).collect();
            records.retain(|(name, _)| told.insert(name.clone()));
            let judge = |(name, stored): &(Name, Vec<u8>)| Verdict::sorted(judge(repository, trust, name, stored));
            let judged = repository.runtime().map(repository.runtime().workers, &records, judge);
            let judged = gather(records.iter().map(|(name, _)| name).zip(judged))?;
            others
                .keep(judged, trust.quarantined())
                .into_iter()
                .for_each(|one| each(&one.name, &one.header, one.record));
            others.good.push((id, names));
        }
    }
    records.retain(|(name, _)| matches!(name, Name::Journal(..)) && !told.contains(name));
    for some in records.chunks(RECORDS_AT_ONCE) {
        let loaded = load(repository, some, |(name, _)| read(repository, trust, name))?;
        others.keep(loaded, trust.quarantined()).into_iter().for_each(|one| each(&one.name, &one.header, one.record));
    }
    Ok(others)
}

/// One record that counts.
pub(crate) struct Read {
    name: Name,
    header: Header,
    record: Record,
}

/// Reads and judges one record.
pub(crate) fn read(repository: &Repository, trust: &Trust, name: &Name) -> Result<Verdict<Read>> {
    judge(repository, trust, name, &repository.get_named(name)?)
}

/// Judges the stored bytes of a record, wherever they lay.
pub(crate) fn judge(repository: &Repository, trust: &Trust, name: &Name, stored: &[u8]) -> Result<Verdict<Read>> {
    let object = of_object(name, Record::parse(stored, repository.id()))?;
    let header = object.header;
    let book = name.domain().and_then(|domain| repository.keys().book(domain)).ok_or(vault_format::Error::NoAccess);
    let record = Record::open(&object, &of_object(name, book)?);
    let claimant = Claimant { name, header: &header, arrived: None, opens: record.is_ok() };
    if let Verdict::Ignored(reason) =
        trust.judge(&claimant, |key| repository.verify_once(name, key, || object.verify(key)))?
    {
        return Ok(Verdict::Ignored(reason));
    }
    Ok(Verdict::Counts(Read { name: name.clone(), header, record: of_object(name, record)? }))
}
