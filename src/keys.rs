//! The keys that open a repository: who has one, a new one, one less, another password. A key slot announces its holder
//! to all, so a member's key counts from the moment its slot is there; taken away, it counts only for what the owner's
//! revoke order lists. All but the listing needs the owner.

mod gone;
mod revoke;

pub use gone::{Gone, Noted, gone};
pub use revoke::Dropped;

use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Operation, Run};
use crate::progress::Progress;
use crate::repository::objects::loaded::{Damage, Ignored};
use crate::repository::objects::orders;
use crate::repository::objects::orders::Orders;
use crate::repository::objects::slots::{Announced, Slots};
use crate::repository::objects::trust::Trust;
use crate::repository::{Repository, encoding};
use crate::time::{StoreTime, WallTime};
use revoke::Revoking;
use vault_format::bundle::{Bundle, Role};
use vault_format::facts::Facts;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::key::Key;
use vault_format::key_file;
use vault_format::name::{self, Name};
use vault_format::order::Action;
use vault_format::owner::OWNER_DOMAIN;
use vault_format::salt::Salt;
use vault_format::slot::{self, NewPassword, NewSlot, SlotInfo};
use vault_format::snapshot::is_source_name;
use zeroize::Zeroizing;

/// Longest label in bytes.
const LABEL_BYTES_MAX: usize = 128;

/// One key slot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Name of the slot.
    pub id: ObjectId,
    /// Role, label, domain, time.
    pub info: SlotInfo,
    /// Its password is the one in use.
    pub in_use: bool,
    /// The owner has revoked the key.
    pub is_revoked: bool,
}

impl Entry {
    /// The holder as a writer.
    pub fn writer(&self) -> WriterId {
        WriterId::of(&self.info.verifying)
    }

    /// What records tell of it.
    pub fn noted(&self) -> Noted {
        let SlotInfo { role, label, domain, verifying, .. } = &self.info;
        Noted { id: self.id, role: *role, label: label.clone(), domain: *domain, verifying: *verifying }
    }

    /// False for a key that exists only as a file.
    pub fn has_password(&self) -> bool {
        self.info.kdf.is_some()
    }
}

/// All key slots.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// Oldest first.
    pub keys: Vec<Entry>,
    /// Slots that can't be used, with the reason.
    pub damaged: Vec<String>,
}

impl Listing {
    /// The slot with this label, or whose id begins so.
    pub fn find(&self, text: &str) -> Result<&Entry> {
        self.look_up(text)?.ok_or_else(|| Error::refused(Refusal::NoKey(text.to_owned())))
    }

    /// The same, if there is one.
    pub fn look_up(&self, text: &str) -> Result<Option<&Entry>> {
        let digits = text.to_ascii_lowercase();
        let is_meant = |key: &&Entry| key.info.label == text || key.id.to_string().starts_with(&digits);
        let fitting: Vec<&Entry> = self.keys.iter().filter(|key| !text.is_empty() && is_meant(key)).collect();
        match fitting.as_slice() {
            [only] => Ok(Some(only)),
            [] => Ok(None),
            several => {
                let candidate = |key: &&Entry| format!("{} ({} {})", key.id.short(), key.info.role, key.info.label);
                let say: Vec<String> = several.iter().map(candidate).collect();
                Err(Error::refused(format!("key {text:?} is ambiguous: say the id of {}", say.join(" or "))))
            }
        }
    }
}

/// Lists all key slots. Every role may.
pub fn list(repository: &Repository) -> Result<Listing> {
    let orders = Orders::load(repository)?;
    let slots = Slots::load(repository, &orders)?;
    let trust = Trust::new(repository, &orders, &slots);
    let in_use = in_use(repository, &slots.good);
    let entry = |Announced { id, info, .. }| {
        let is_revoked = info.role != Role::Owner && trust.is_revoked(WriterId::of(&info.verifying));
        Entry { id, info, in_use: in_use == Some(id), is_revoked }
    };
    let mut keys: Vec<Entry> = slots.good.into_iter().map(entry).collect();
    keys.sort_by_key(|key| (key.info.created, key.id));
    let damaged = slots.damaged.iter().map(Damage::to_string);
    Ok(Listing { keys, damaged: damaged.chain(slots.ignored.iter().map(Ignored::to_string)).collect() })
}

/// The slot of the key in use. A key file does not say which it is: then it is the only one that it can be, if any.
fn in_use(repository: &Repository, slots: &[Announced]) -> Option<ObjectId> {
    if let Some(slot) = repository.keys().slot() {
        return Some(slot);
    }
    let own = repository.keys().signer().verifying_key().to_bytes();
    let only = |is_file: bool| {
        let is_it = |info: &SlotInfo| info.verifying == own && (!is_file || info.kdf.is_none());
        let mut fitting = slots.iter().filter(|slot| is_it(&slot.info));
        fitting.next().filter(|_| fitting.next().is_none()).map(|slot| slot.id)
    };
    only(false).or_else(|| only(true))
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it may do.
    pub role: Role,
    /// In the owner's words; `None` = the role and a number.
    pub label: Option<String>,
    /// Name of the domain that it joins; `None` = a domain of its own, named as the key.
    pub domain: Option<String>,
}

/// A new key that is not announced yet.
#[derive(Debug)]
pub struct Draft {
    /// The keys themselves.
    pub bundle: Bundle,
    /// In the owner's words.
    pub label: String,
    /// Its domain.
    pub domain: DomainId,
    verifying: [u8; 32],
}

impl Draft {
    /// The bytes of its key file.
    pub fn key_file(&self) -> Result<Zeroizing<Vec<u8>>> {
        Ok(encoding("a key file", key_file::encode(&self.bundle))?)
    }
}

/// Makes a key. It counts once [`add`] has put its slot, so that a key file can be safe on disk before.
pub fn draft(repository: &Repository, new: &NewKey) -> Result<Draft> {
    let owner = repository.keys().owner("add a key")?;
    let keys = list(repository)?.keys;
    let label = match &new.label {
        Some(label) => label.clone(),
        None => free_label(repository, &keys, new)?,
    };
    if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
        return Err(Error::refused(format!("a label has 1 to {LABEL_BYTES_MAX} bytes and no control characters")));
    }
    if new.role == Role::Owner {
        if new.domain.is_some() {
            return Err(Error::refused("an owner's key belongs to no domain but its own"));
        }
        let bundle = owner.bundle(repository.keys().config());
        let verifying = bundle.owner.verifying;
        return Ok(Draft { bundle, label, domain: owner.domain(OWNER_DOMAIN), verifying });
    }
    let name = new.domain.as_deref().unwrap_or(&label);
    if name == OWNER_DOMAIN || new.domain.as_ref().is_some_and(|name| !is_source_name(name)) {
        return Err(Error::refused(format!("{name:?} can't be the name of a domain of clients and writers")));
    }
    let domain = owner.domain(name);
    // whoever held a key of a domain once can read, for ever, what its clients write: none is joined by chance
    if new.domain.is_none() && is_taken(repository, &keys, domain)? {
        return Err(Error::refused(Refusal::DomainTaken(name.to_owned())));
    }
    let signing = Key::new(repository.runtime().random());
    let verifying = signing.signing_key().verifying_key().to_bytes();
    let bundle = owner.member_bundle(repository.keys().config(), domain, signing, new.role);
    Ok(Draft { bundle: encoding("a key", bundle)?, label, domain, verifying })
}

fn free_label(repository: &Repository, keys: &[Entry], new: &NewKey) -> Result<String> {
    let owner = repository.keys().owner("add a key")?;
    let mut number = 1u32;
    loop {
        let label = format!("{}-{number}", new.role);
        let named = keys.iter().any(|key| key.info.label == label);
        let own_domain = new.role != Role::Owner && new.domain.is_none();
        let taken = named || (own_domain && is_taken(repository, keys, owner.domain(&label))?);
        if !taken {
            return Ok(label);
        }
        number += 1;
    }
}

/// True if somebody has, or had, a key of the domain.
fn is_taken(repository: &Repository, keys: &[Entry], domain: DomainId) -> Result<bool> {
    if keys.iter().any(|key| key.info.domain == domain) {
        return Ok(true);
    }
    for prefix in [name::SNAPSHOTS, name::INDEX, name::JOURNAL] {
        if !repository.backend().list(&format!("{prefix}{domain}/"))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Announces a key: from here on it counts. Without a password it opens only as a key file.
pub fn add(
    repository: &Repository,
    draft: &Draft,
    password: Option<NewPassword<'_>>,
    progress: &dyn Progress,
) -> Result<ObjectId> {
    repository.keys().owner("add a key")?;
    recorded(repository, Operation::ADD_KEY, progress, || {
        let id = put_slot(repository, draft, password)?;
        let message = format!("{} {}, slot {}", draft.bundle.role(), draft.label, id.short());
        let Draft { bundle, label, domain, verifying } = draft;
        let noted = Noted { id, role: bundle.role(), label: label.clone(), domain: *domain, verifying: *verifying };
        Ok((id, message, noted.facts(None)))
    })
}

fn put_slot(repository: &Repository, draft: &Draft, password: Option<NewPassword<'_>>) -> Result<ObjectId> {
    if password.is_some_and(|new| new.password.is_empty()) {
        return Err(Error::refused("the new password is empty"));
    }
    let runtime = repository.runtime();
    let new = NewSlot {
        bundle: &draft.bundle,
        label: draft.label.clone(),
        created: runtime.clock.now().nanoseconds(),
        domain: draft.domain,
        verifying: draft.verifying,
    };
    let sealed = slot::seal(&new, password, Salt::Fresh(runtime.random()), repository.keys().signer());
    let stored = encoding("a key slot", sealed)?;
    let id = ObjectId::of(&stored);
    repository.put(&Name::Slot(id), &stored)?;
    Ok(id)
}

/// What became of a key.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The key is revoked: only what the order lists still counts. False for the owner's, and while another slot holds
    /// the same key.
    pub is_revoked: bool,
    /// Snapshots of it that still count.
    pub snapshots: u64,
    /// What of it counts no longer.
    pub dropped: Dropped,
    /// Snapshots that it names, and the store does not show: lost, or never taken. Nobody misses them any more.
    pub unheard: u64,
    /// When it had been removed, if that was done before.
    pub before: Option<WallTime>,
}

/// Takes a key away: revokes it first, then deletes its slot.
pub fn remove(repository: &Repository, id: ObjectId, progress: &dyn Progress) -> Result<Removed> {
    repository.keys().owner("remove a key")?;
    recorded(repository, Operation::REMOVE_KEY, progress, || take_away(repository, id, None, progress))
}

/// The same for a stolen key: of what it wrote only what the store received before `since` goes on to count.
pub fn remove_and_drop(
    repository: &Repository,
    id: ObjectId,
    since: WallTime,
    progress: &dyn Progress,
) -> Result<Removed> {
    repository.keys().owner("remove a key")?;
    let since = Some(StoreTime::new(since.nanoseconds()));
    recorded(repository, Operation::REMOVE_KEY, progress, || take_away(repository, id, since, progress))
}

/// What [`remove_and_drop`] would drop; nothing is changed.
pub fn would_drop(repository: &Repository, id: ObjectId, since: WallTime) -> Result<Dropped> {
    repository.keys().owner("remove a key")?;
    let keys = list(repository)?.keys;
    let drop_since = Some(StoreTime::new(since.nanoseconds()));
    match revoking(repository, &keys, find(&keys, id)?, drop_since)? {
        Some(revoking) => revoking.would_drop(),
        None => Ok(Dropped::default()),
    }
}

fn find(keys: &[Entry], id: ObjectId) -> Result<&Entry> {
    let found = keys.iter().find(|key| key.id == id);
    found.ok_or_else(|| Error::refused(format!("there is no key {:?}", id.short())))
}

/// The revocation that a removal takes, if nobody else holds the key.
fn revoking<'r>(
    repository: &'r Repository,
    keys: &[Entry],
    key: &Entry,
    drop_since: Option<StoreTime>,
) -> Result<Option<Revoking<'r>>> {
    let is_shared = keys.iter().any(|other| other.id != key.id && other.info.verifying == key.info.verifying);
    if key.info.role != Role::Owner && !is_shared {
        let (writer, domain) = (key.writer(), key.info.domain);
        return Ok(Some(Revoking { repository, writer, domain, drop_since }));
    }
    match drop_since {
        Some(_) if is_shared => Err(Error::refused("another slot holds the same key, so all that it wrote counts")),
        Some(_) => Err(Error::refused("what was written with the owner's key always counts")),
        None => Ok(None),
    }
}

fn take_away(
    repository: &Repository,
    id: ObjectId,
    drop_since: Option<StoreTime>,
    progress: &dyn Progress,
) -> Result<(Removed, String, Facts)> {
    let keys = list(repository)?.keys;
    let key = match find(&keys, id) {
        Ok(key) => key,
        // somebody else was faster
        Err(error) => {
            return match gone(repository, &keys, &id.to_string())? {
                Some(one) if one.removed.is_some() && drop_since.is_none() => {
                    Ok((one.already(), "removed before".into(), one.key.facts(None)))
                }
                _ => Err(error),
            };
        }
    };
    let others = || keys.iter().filter(|other| other.id != id);
    let mut removed = Removed::default();
    let is_needed = key.info.role == Role::Owner && key.has_password();
    if is_needed && !others().any(|other| other.info.role == Role::Owner && other.has_password()) {
        return Err(Error::refused(Refusal::LastPassword(id)));
    }
    if let Some(revoking) = revoking(repository, &keys, key, drop_since)? {
        removed = revoking.run(progress)?;
    }
    let (domain, label) = (key.info.domain, key.info.label.clone());
    if key.info.role != Role::Owner && !others().any(|other| other.info.domain == domain) {
        // what it stored stays, and so does what it is called
        orders::put(repository, domain, Action::Call { domain, label })?;
    }
    repository.backend().delete(&Name::Slot(id).to_string())?;
    let dropped = match removed.dropped.count() {
        0 => String::new(),
        all => format!(", {all} of its snapshots dropped"),
    };
    let message = format!("{} {}, slot {}{dropped}", key.info.role, key.info.label, id.short());
    Ok((removed, message, key.noted().facts(drop_since)))
}

/// Gives the slot in use another password: the new slot first, then the old one goes, so that one always opens.
pub fn change_password(
    repository: &Repository,
    password: NewPassword<'_>,
    progress: &dyn Progress,
) -> Result<ObjectId> {
    let owner = repository.keys().owner("change a password")?;
    recorded(repository, Operation::CHANGE_PASSWORD, progress, || {
        let listing = list(repository)?;
        let Some(old) = listing.keys.iter().find(|key| repository.keys().slot() == Some(key.id)) else {
            return Err(Error::refused(Refusal::NoPassword));
        };
        let bundle = owner.bundle(repository.keys().config());
        let (domain, verifying) = (old.info.domain, bundle.owner.verifying);
        let draft = Draft { bundle, label: old.info.label.clone(), domain, verifying };
        let new = put_slot(repository, &draft, Some(password))?;
        repository.backend().delete(&Name::Slot(old.id).to_string())?;
        Ok((new, format!("slot {} replaces {}", new.short(), old.id.short()), Facts::default()))
    })
}

/// Makes a change, and puts the record of it even if it fails: whoever audits keys asks for what was tried, too.
fn recorded<T>(
    repository: &Repository,
    operation: Operation,
    progress: &dyn Progress,
    change: impl FnOnce() -> Result<(T, String, Facts)>,
) -> Result<T> {
    let run = Run::start(repository, operation);
    let changed = change();
    let told = changed.as_ref().ok().map(|(_, message, facts)| (message.clone(), facts.clone()));
    let (message, facts) = told.unwrap_or_default();
    let ending = Ending { facts, ..Ending::done(message) };
    run.finish(&changed, ending).into_iter().for_each(|warning| progress.note(&warning));
    changed.map(|(done, ..)| done)
}
