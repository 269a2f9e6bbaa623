//! Whose objects count: the owner's, those of writers whose slots the owner signed, and of a revoked writer those that
//! the owner's order lists by hash, for which no key of the writer is needed. Read once per run from slots and clear
//! orders.

use super::orders;
use super::orders::{Revocation, Revocations};
use crate::repository::{Damage, Error, Judged, Repository, Result, STRANGE, of_object, strange};
use crate::retention::Counted;
use std::collections::BTreeMap;
use vault_format::bundle::Role;
use vault_format::header::Header;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::{self, Name};
use vault_format::owner::OWNER_DOMAIN;
use vault_format::slot::{Slot, SlotInfo};

/// Why an object whose bytes are sound is passed over.
const REVOKED: &str = "it was made with a key after the owner had revoked it";

/// One known signer.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Ed25519 verifying key.
    pub verifying: [u8; 32],
    /// Role of its key.
    pub role: Role,
    /// Its domain.
    pub domain: DomainId,
    /// In the owner's words.
    pub label: String,
}

impl Signer {
    fn is_at_home(&self, domain: DomainId) -> bool {
        self.role == Role::Owner || self.domain == domain
    }
}

/// All known signers.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    signers: BTreeMap<WriterId, Signer>,
    revoked: Revocations,
    /// Nanoseconds until everybody sees an order, if what may still be accepted counts.
    patience: Option<i64>,
    /// A slot reached this store long after the owner had signed it: the store is a copy, or was moved.
    pub saw_move: bool,
    /// Labels of the keys of each domain, oldest first.
    pub labels: BTreeMap<DomainId, Vec<String>>,
    /// Usable slots of the owner.
    pub owner_slots: usize,
    /// Slots that could not be used, with the reason.
    pub damaged: Vec<Damage>,
    /// Slots that are not the owner's, with the reason.
    pub ignored: Vec<String>,
}

impl Trust {
    /// Reads slots and clear orders.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut trust = Self::default();
        let keys = repository.keys();
        let owner = *keys.owner_verifying();
        trust.signers.insert(
            WriterId::of(&owner),
            Signer { verifying: owner, role: Role::Owner, domain: keys.domain(), label: "owner".into() },
        );
        trust.signers.entry(keys.writer()).or_insert_with(|| Signer {
            verifying: keys.signer().verifying_key().to_bytes(),
            role: keys.role(),
            domain: keys.domain(),
            label: String::new(),
        });
        let slots = slots(repository)?;
        (trust.damaged, trust.ignored, trust.saw_move) = (slots.damaged, slots.ignored, slots.moved);
        let mut good = slots.good;
        good.sort_by_key(|(id, info)| (info.created, *id));
        for (_, info) in good {
            let labels = trust.labels.entry(info.domain).or_default();
            if info.role == Role::Owner && labels.is_empty() {
                labels.push(OWNER_DOMAIN.to_owned());
            }
            labels.push(info.label.clone());
            if info.role == Role::Owner {
                trust.owner_slots += 1;
            } else {
                let signer =
                    Signer { verifying: info.verifying, role: info.role, domain: info.domain, label: info.label };
                trust.signers.insert(WriterId::of(&info.verifying), signer);
            }
        }
        trust.revoked.renew(repository)?;
        Ok(trust)
    }

    /// The same for somebody who decides what may go. The removal of a key may not be finished: of a writer whose slot is
    /// there what came before everybody could see the first order about it counts too, since an order may still list it.
    pub fn patient(mut self, repository: &Repository) -> Self {
        self.patience = Some(i64::try_from(repository.listing_lag().as_nanos()).unwrap_or(i64::MAX));
        self
    }

    /// The same with the revocations of now. What was listed before this counts for good: whoever revokes a key accepts
    /// what its holder had put by then.
    pub fn renewed(&self, repository: &Repository) -> Result<Self> {
        let mut renewed = self.clone();
        renewed.revoked.renew(repository)?;
        Ok(renewed)
    }

    /// Takes a writer as if it had never been revoked; returns what was said of it.
    pub fn pardon(&mut self, writer: WriterId) -> Option<Revocation> {
        self.revoked.pardon(writer)
    }

    /// Whether an object with this header, at home in `place`, counts; an error is an unknown writer, whose slot may be
    /// lost. With the object goes the time at which the store received it, where that is known.
    pub fn judge(
        &self,
        header: &Header,
        place: DomainId,
        (object, arrived): (ObjectId, Option<i64>),
        verify: impl FnOnce(&[u8; 32]) -> vault_format::Result<()>,
    ) -> vault_format::Result<Judged<()>> {
        let signer = self.signers.get(&header.writer);
        if let Some(revocation) = self.revoked.of(header.writer) {
            if header.domain != place {
                return Ok(Err(STRANGE));
            }
            if revocation.accepted.contains(&object) {
                return Ok(Ok(()));
            }
            if signer.is_none() || !self.may_be_accepted(revocation, arrived) {
                return Ok(Err(REVOKED));
            }
        }
        let signer = signer.ok_or(vault_format::Error::WrongOrigin)?;
        let at_home = header.domain == place && signer.is_at_home(place);
        Ok(if at_home && verify(&signer.verifying).is_ok() { Ok(()) } else { Err(STRANGE) })
    }

    fn may_be_accepted(&self, revocation: &Revocation, arrived: Option<i64>) -> bool {
        let Some(patience) = self.patience else { return false };
        arrived.zip(revocation.since).is_none_or(|(arrived, since)| arrived <= since.saturating_add(patience))
    }

    /// True if the writer of a header is known, not revoked, and may write in the domain.
    pub fn vouches(&self, header: &Header) -> bool {
        !self.is_revoked(header.writer) && self.signer(header.writer).is_some_and(|one| one.is_at_home(header.domain))
    }

    /// True if the owner has revoked a writer.
    pub fn is_revoked(&self, writer: WriterId) -> bool {
        self.revoked.of(writer).is_some()
    }

    /// Refuses a run whose snapshot nobody would count.
    pub fn may_write(&self, repository: &Repository) -> Result<()> {
        if self.is_revoked(repository.keys().writer()) {
            return Err(Error::Revoked(repository.location()));
        }
        Ok(())
    }

    /// A signer by identity.
    pub fn signer(&self, writer: WriterId) -> Option<&Signer> {
        self.signers.get(&writer)
    }

    /// All signers.
    pub fn signers(&self) -> impl Iterator<Item = (&WriterId, &Signer)> {
        self.signers.iter()
    }
}

/// All key slots.
#[derive(Debug, Default)]
pub struct Slots {
    /// Those that the owner signed.
    pub good: Vec<(ObjectId, SlotInfo)>,
    /// Those that could not be used, with the reason.
    pub damaged: Vec<Damage>,
    /// Those of nobody known, with the reason.
    pub ignored: Vec<String>,
    /// One reached this store long after it was signed.
    pub moved: bool,
}

/// Reads and verifies one slot.
pub(crate) fn read_slot(repository: &Repository, name: &Name) -> Result<SlotInfo> {
    let Some(id) = name.id() else { return of_object(name, Err(vault_format::Error::WrongKind)) };
    if let Some(known) = repository.known().slots.get(&id) {
        return Ok(known.clone());
    }
    let stored = repository.get_named(name)?;
    let parsed = Slot::parse(&stored).and_then(|slot| {
        slot.verify(repository.keys().owner_verifying())?;
        Ok(slot.info.clone())
    });
    let info = of_object(name, parsed)?;
    repository.known().slots.insert(id, info.clone());
    Ok(info)
}

/// Reads all slots.
pub fn slots(repository: &Repository) -> Result<Slots> {
    let mut slots = Slots::default();
    let mut damaged = Vec::new();
    for (name, entry) in repository.list(name::KEYS)?.0 {
        let Name::Slot(id) = name else { continue };
        match strange(read_slot(repository, &name)) {
            Ok(Ok(info)) => {
                slots.moved |= Counted::of_writer(info.created, entry.modified).is_behind(info.created);
                slots.good.push((id, info));
            }
            Ok(Err(why)) => slots.ignored.push(format!("{name}: {why}")),
            Err(error) => damaged.push((id, error)),
        }
    }
    if !damaged.is_empty() {
        let passed_over = orders::quarantined(repository);
        damaged.retain(|(id, _)| !passed_over.contains(id));
    }
    slots.damaged = damaged.into_iter().map(|(id, error)| (Name::Slot(id), error.to_string())).collect();
    Ok(slots)
}
