//! Whose signatures count: the owner's, and those of writers whose slots the owner signed and has not revoked. Read
//! once per run from slots and clear orders.

use super::{Repository, Result, of_object, orders};
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::name::{self, Name};
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
    /// `Some` if revoked: the only objects of it that still count.
    pub accepted: Option<BTreeSet<ObjectId>>,
}

/// All known signers.
#[derive(Debug, Default)]
pub struct Trust {
    signers: BTreeMap<WriterId, Signer>,
    /// Slots that could not be used, with the reason.
    pub damaged: Vec<String>,
    /// Objects that the owner ordered to be passed over.
    pub quarantined: BTreeSet<ObjectId>,
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
                accepted: None,
            },
        );
        trust.signers.entry(keys.writer()).or_insert_with(|| Signer {
            verifying: keys.signer().verifying_key().to_bytes(),
            role: keys.role(),
            domain: keys.domain(),
            label: String::new(),
            accepted: None,
        });
        let standing = orders::standing(repository)?;
        let mut damaged = Vec::new();
        for (_, info) in read_slots(repository, &standing.quarantined, &mut damaged)? {
            if info.role != Role::Owner {
                let signer = Signer {
                    verifying: info.verifying,
                    role: info.role,
                    domain: info.domain,
                    label: info.label,
                    accepted: None,
                };
                trust.signers.insert(WriterId::of(&info.verifying), signer);
            }
        }
        trust.damaged = damaged;
        for (writer, accepted) in standing.revocations {
            if let Some(signer) = trust.signers.get_mut(&writer) {
                signer.accepted = Some(accepted);
            }
        }
        trust.quarantined = standing.quarantined;
        Ok(trust)
    }

    /// The verifying key that an object must be signed with: known, of this domain or the owner, and not revoked.
    pub fn verifying(&self, writer: WriterId, domain: DomainId, object: ObjectId) -> Option<&[u8; 32]> {
        let signer = self.signers.get(&writer)?;
        let at_home = signer.role == Role::Owner || signer.domain == domain;
        let counts = signer.accepted.as_ref().is_none_or(|accepted| accepted.contains(&object));
        (at_home && counts).then_some(&signer.verifying)
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
    read_slots(repository, &BTreeSet::new(), damaged)
}

fn read_slots(
    repository: &Repository,
    quarantined: &BTreeSet<ObjectId>,
    damaged: &mut Vec<String>,
) -> Result<Vec<(Name, SlotInfo)>> {
    let mut out = Vec::new();
    for (name, _) in repository.list(name::KEYS)?.0 {
        if name.id().is_none_or(|id| quarantined.contains(&id)) {
            continue;
        }
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
