//! Whose objects count: the owner's, those of writers whose slots the owner signed, and of a revoked writer those that
//! the owner's order lists by hash, for which no key of the writer is needed. Read once per run from slots and clear
//! orders.

use super::{Error, Repository, Result, of_object, orders};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::{self, Name};
use vault_format::seal::Header;
use vault_format::secret::Role;
use vault_format::slot::{Slot, SlotInfo};

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

/// All known signers.
#[derive(Debug, Default)]
pub struct Trust {
    signers: BTreeMap<WriterId, Signer>,
    revoked: BTreeMap<WriterId, BTreeSet<ObjectId>>,
    /// Slots that could not be used, with the reason.
    pub damaged: Vec<String>,
}

impl Trust {
    /// Reads slots and clear orders.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut trust = Self::default();
        let keys = repository.keys();
        let owner = *keys.owner_verifying();
        trust.signers.insert(
            WriterId::of(&owner),
            Signer {
                verifying: owner,
                role: Role::Owner,
                domain: keys.domain(),
                label: "owner".into(),
            },
        );
        trust.signers.entry(keys.writer()).or_insert_with(|| Signer {
            verifying: keys.signer().verifying_key().to_bytes(),
            role: keys.role(),
            domain: keys.domain(),
            label: String::new(),
        });
        for (slot, info) in slots(repository, &mut trust.damaged)? {
            let Name::Slot(_) = slot else { continue };
            if info.role != Role::Owner {
                let signer = Signer {
                    verifying: info.verifying,
                    role: info.role,
                    domain: info.domain,
                    label: info.label,
                };
                trust.signers.insert(WriterId::of(&info.verifying), signer);
            }
        }
        trust.revoked = orders::revocations(repository)?;
        // the owner's key follows from the root, and can't be taken back
        trust.revoked.remove(&keys.owner_writer());
        Ok(trust)
    }

    /// Whether an object with this header, at home in `place`, counts. `Ok(false)`: it comes from a key that the owner
    /// has revoked, and is passed over; an error: nobody known made it.
    pub fn judge(
        &self,
        header: &Header,
        place: DomainId,
        object: ObjectId,
        verify: impl FnOnce(&[u8; 32]) -> vault_format::Result<()>,
    ) -> vault_format::Result<bool> {
        if header.domain != place {
            return Err(vault_format::Error::WrongOrigin);
        }
        if let Some(accepted) = self.revoked.get(&header.writer) {
            return Ok(accepted.contains(&object));
        }
        let at_home = |signer: &&Signer| signer.role == Role::Owner || signer.domain == place;
        let signer = self.signers.get(&header.writer).filter(at_home).ok_or(vault_format::Error::WrongOrigin)?;
        verify(&signer.verifying).map(|()| true)
    }

    /// True if the owner has revoked a writer.
    pub fn is_revoked(&self, writer: WriterId) -> bool {
        self.revoked.contains_key(&writer)
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

/// All slots that the owner signed.
pub fn slots(repository: &Repository, damaged: &mut Vec<String>) -> Result<Vec<(Name, SlotInfo)>> {
    let mut out = Vec::new();
    for (name, _) in repository.list(name::KEYS)?.0 {
        let stored = match repository.get_named(&name) {
            Ok(stored) => stored,
            Err(error) => {
                damaged.push(error.to_string());
                continue;
            }
        };
        let parsed = Slot::parse(&stored).and_then(|slot| {
            slot.verify(repository.keys().owner_verifying())?;
            Ok(slot.info.clone())
        });
        match of_object(&name, parsed) {
            Ok(info) => out.push((name, info)),
            Err(error) => damaged.push(error.to_string()),
        }
    }
    Ok(out)
}
