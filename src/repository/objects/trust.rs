//! Whose objects count: the owner's, those of writers whose slots the owner signed, and of a revoked writer those that
//! the owner's order lists by hash, for which no key of the writer is needed. Read once per run from slots and clear
//! orders.

use super::loaded::{Damage, Ignored, Reason, Verdict};
use super::orders::{Orders, Revocation, Revocations};
use super::slots::{Announced, Slots};
use crate::repository::{Error, Repository, Result};
use crate::time::StoreTime;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vault_format::bundle::Role;
use vault_format::header::Header;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::Name;
use vault_format::owner::OWNER_DOMAIN;

/// One known signer.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Ed25519 verifying key.
    pub verifying: [u8; 32],
    /// Role of its key.
    pub role: Role,
    /// Its domain.
    pub domain: DomainId,
}

impl Signer {
    /// True if it may write in a domain.
    pub(crate) fn is_at_home(&self, domain: DomainId) -> bool {
        self.role == Role::Owner || self.domain == domain
    }
}

/// All known signers.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    signers: BTreeMap<WriterId, Signer>,
    revoked: Revocations,
    /// Time until everybody sees an order, if what may still be accepted counts.
    patience: Option<Duration>,
    /// A slot reached this store long after the owner had signed it: the store is a copy, or was moved.
    pub saw_move: bool,
    /// Labels of the keys of each domain, oldest first.
    pub labels: BTreeMap<DomainId, Vec<String>>,
    /// Usable slots of the owner.
    pub owner_slots: usize,
    /// Objects that the owner wants passed over.
    quarantined: BTreeSet<ObjectId>,
    /// Slots that can't be used.
    pub damaged: Vec<Damage>,
    /// Slots that are not the owner's.
    pub ignored: Vec<Ignored>,
}

/// An object that asks to count.
pub struct Claimant<'a> {
    /// Where it lies.
    pub name: &'a Name,
    /// Its clear header.
    pub header: &'a Header,
    /// When the store received it, where that is known.
    pub arrived: Option<StoreTime>,
    /// It opens with the book key of the domain that it lies in: a member made it, or had it made.
    pub opens: bool,
}

impl Trust {
    /// Reads orders, then slots.
    pub fn load(repository: &Repository) -> Result<Self> {
        let orders = Orders::load(repository)?;
        Ok(Self::new(repository, &orders, &Slots::load(repository, &orders)?))
    }

    /// Those whom slots announce, as far as the owner has not said otherwise.
    pub fn new(repository: &Repository, orders: &Orders, slots: &Slots) -> Self {
        let mut trust = Self {
            revoked: orders.revocations.clone(),
            quarantined: orders.quarantined.clone(),
            damaged: slots.damaged.clone(),
            ignored: slots.ignored.clone(),
            saw_move: slots.good.iter().any(|slot| slot.is_behind),
            ..Self::default()
        };
        let keys = repository.keys();
        let owner = *keys.owner_verifying();
        trust
            .signers
            .insert(WriterId::of(&owner), Signer { verifying: owner, role: Role::Owner, domain: keys.domain() });
        trust.signers.entry(keys.writer()).or_insert_with(|| Signer {
            verifying: keys.signer().verifying_key().to_bytes(),
            role: keys.role(),
            domain: keys.domain(),
        });
        let mut good: Vec<_> = slots.good.iter().collect();
        good.sort_by_key(|slot| (slot.info.created, slot.id));
        for Announced { info, .. } in good {
            let labels = trust.labels.entry(info.domain).or_default();
            if info.role == Role::Owner && labels.is_empty() {
                labels.push(OWNER_DOMAIN.to_owned());
            }
            labels.push(info.label.clone());
            if info.role == Role::Owner {
                trust.owner_slots += 1;
            } else {
                let signer = Signer { verifying: info.verifying, role: info.role, domain: info.domain };
                trust.signers.insert(WriterId::of(&info.verifying), signer);
            }
        }
        trust
    }

    /// The same for somebody who decides what may go. The removal of a key may not be finished: of a writer whose slot is
    /// there what came before everybody could see the first order about it counts too, since an order may still list it.
    pub fn patient(mut self, repository: &Repository) -> Self {
        self.patience = Some(repository.listing_lag());
        self
    }

    /// The same with the revocations of now. What was listed before this counts for good: whoever revokes a key accepts
    /// what its holder had put by then.
    pub fn renewed(&self, repository: &Repository) -> Result<Self> {
        let mut renewed = self.clone();
        renewed.revoked.renew(repository)?;
        Ok(renewed)
    }

    /// Takes a writer as if it had never been revoked. Without its slot nobody can tell what it signed, so then what was
    /// accepted of it stays all that counts.
    pub(crate) fn pardon(&mut self, writer: WriterId) {
        if self.signers.contains_key(&writer) {
            self.revoked.pardon(writer);
        }
    }

    /// Whether an object counts where it lies. The error is an unknown writer that had the key of the domain: its slot is
    /// lost, or was taken away by somebody who may delete, and nobody can tell what of it is needed.
    pub fn judge(
        &self,
        claimant: &Claimant<'_>,
        verify: impl FnOnce(&[u8; 32]) -> vault_format::Result<()>,
    ) -> Result<Verdict<()>> {
        let Claimant { name, header, arrived, opens } = claimant;
        let (Some(place), Some(object)) = (name.domain(), name.id()) else {
            return Ok(Verdict::Ignored(Reason::Unsigned));
        };
        let signer = self.signers.get(&header.writer);
        if let Some(revocation) = self.revoked.of(header.writer) {
            if header.domain != place {
                return Ok(Verdict::Ignored(Reason::Unsigned));
            }
            // T8: accepted once, and dropped since
            if self.quarantined.contains(&object) {
                return Ok(Verdict::Ignored(Reason::Revoked));
            }
            if revocation.accepted.contains(&object) {
                return Ok(Verdict::Counts(()));
            }
            if signer.is_none() || !self.may_be_accepted(revocation, *arrived) {
                return Ok(Verdict::Ignored(Reason::Revoked));
            }
        }
        match signer {
            None if *opens => Err(Error::LostSlot(name.to_string())),
            Some(signer) if header.domain == place && signer.is_at_home(place) && verify(&signer.verifying).is_ok() => {
                Ok(Verdict::Counts(()))
            }
            _ => Ok(Verdict::Ignored(Reason::Unsigned)),
        }
    }

    fn may_be_accepted(&self, revocation: &Revocation, arrived: Option<StoreTime>) -> bool {
        let Some(patience) = self.patience else { return false };
        arrived.zip(revocation.since).is_none_or(|(arrived, since)| arrived <= since + patience)
    }

    /// True if the owner has revoked a writer.
    pub fn is_revoked(&self, writer: WriterId) -> bool {
        self.revoked.of(writer).is_some()
    }

    /// D2: true if what a writer names is missing when it is not there.
    pub(crate) fn believes(&self, writer: WriterId, named: &ObjectId) -> bool {
        self.revoked.believes(writer, named)
    }

    /// Refuses a run whose snapshot nobody would count.
    pub fn may_write(&self, repository: &Repository) -> Result<()> {
        if self.is_revoked(repository.keys().writer()) {
            return Err(Error::Revoked(repository.location()));
        }
        Ok(())
    }

    /// Objects that the owner wants passed over.
    pub fn quarantined(&self) -> &BTreeSet<ObjectId> {
        &self.quarantined
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::{Claimant, Duration, Reason, Revocation, Role, Signer, StoreTime, Trust, Verdict};
    use vault_format::header::{Header, Kind};
    use vault_format::id::{DomainId, ObjectId, RepositoryId, SourceLabel, WriterId};
    use vault_format::name::Name;

    const HOME: DomainId = DomainId([1; 16]);
    const ABROAD: DomainId = DomainId([2; 16]);
    const OBJECT: ObjectId = ObjectId([3; 32]);
    const MEMBER: [u8; 32] = [4; 32];

    /// One member at home in one domain.
    fn trust() -> Trust {
        let signer = Signer { verifying: MEMBER, role: Role::Client, domain: HOME };
        Trust { signers: [(WriterId::of(&MEMBER), signer)].into(), ..Trust::default() }
    }

    /// What becomes of an index object that lies in `place`, says that it belongs to `domain`, and verifies or not.
    fn verdict(trust: &Trust, place: DomainId, domain: DomainId, verifies: bool) -> Verdict<()> {
        let name = Name::Index(place, SourceLabel([0; 8]), OBJECT);
        let writer = WriterId::of(&MEMBER);
        let header = Header { kind: Kind::Index, repository: RepositoryId([0; 16]), domain, writer };
        let claimant = Claimant { name: &name, header: &header, arrived: Some(StoreTime::new(100)), opens: true };
        let bad = vault_format::Error::BadSignature("an index");
        trust.judge(&claimant, |_| if verifies { Ok(()) } else { Err(bad) }).unwrap()
    }

    #[test]
    fn a_member_counts_at_home_with_a_signature() {
        assert!(matches!(verdict(&trust(), HOME, HOME, true), Verdict::Counts(())));
        for (place, domain, verifies) in [(HOME, HOME, false), (ABROAD, HOME, true), (ABROAD, ABROAD, true)] {
            assert!(matches!(verdict(&trust(), place, domain, verifies), Verdict::Ignored(Reason::Unsigned)));
        }
    }

    #[test]
    fn of_a_revoked_writer_only_what_was_accepted_counts() {
        let revoked = |revocation: Revocation, patience: Option<Duration>| {
            let mut trust = Trust { patience, ..trust() };
            trust.revoked.by_writer.insert(WriterId::of(&MEMBER), revocation);
            trust
        };
        let none = Revocation { since: Some(StoreTime::new(90)), ..Revocation::default() };
        let accepted = Revocation { accepted: [OBJECT].into(), ..none.clone() };
        assert!(matches!(verdict(&revoked(none.clone(), None), HOME, HOME, true), Verdict::Ignored(Reason::Revoked)));
        assert!(matches!(verdict(&revoked(accepted, None), HOME, HOME, false), Verdict::Counts(())), "by its hash");
        // whoever deletes waits until the order that may still accept it can be seen
        let verdict =
            |patience| verdict(&revoked(none.clone(), Some(Duration::from_nanos(patience))), HOME, HOME, true);
        assert!(matches!(verdict(10), Verdict::Counts(())));
        assert!(matches!(verdict(9), Verdict::Ignored(Reason::Revoked)));
    }

    #[test]
    fn an_unknown_writer_who_had_the_key_has_lost_its_slot() {
        let name = Name::Index(HOME, SourceLabel([0; 8]), OBJECT);
        let writer = WriterId::of(&[9; 32]);
        let header = Header { kind: Kind::Index, repository: RepositoryId([0; 16]), domain: HOME, writer };
        let judge = |opens| {
            let claimant = Claimant { name: &name, header: &header, arrived: None, opens };
            trust().judge(&claimant, |_| Ok(()))
        };
        assert!(judge(true).is_err());
        assert!(matches!(judge(false), Ok(Verdict::Ignored(Reason::Unsigned))));
    }
}
