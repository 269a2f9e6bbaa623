//! How a run secret reaches those who may read the run: sealed to the owner's public key by HPKE (RFC 9180 base mode,
//! X-Wing KEM 0x647a, HKDF-SHA256, ChaCha20-Poly1305), and by clients also under their domain's read key. Whoever opens
//! one wrap opens all content of the run; every pack and snapshot carries its wraps, so that no other object is needed.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, within};
use crate::id::{Class, DomainId};
use crate::key::Key;
use crate::salt::Salt;
use crate::seal;
use bincode::{Decode, Encode};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;

type PublicKey = <XWing as hpke::Kem>::PublicKey;
type PrivateKey = <XWing as hpke::Kem>::PrivateKey;
type Encapsulated = <XWing as hpke::Kem>::EncappedKey;

/// Length of an X-Wing encapsulation key in bytes.
pub const SEALING_KEY_BYTES: usize = 1216;
const ENCAPSULATION_BYTES: usize = 1120;
const SEALED_SECRET_BYTES: usize = 48;
const HPKE_INFO: &[u8] = b"vault v1 run secret";
/// Most recipients of one run.
pub const WRAPS_MAX: usize = 8;

/// The place goes into `info`, not into additional data: single-shot interfaces (RFC 9180, section 8.1) take only that.
fn hpke_info(scope: &[u8]) -> Vec<u8> {
    HPKE_INFO.iter().chain(scope).copied().collect()
}

/// The owner's X-Wing private key.
pub struct SealingKey(PrivateKey);

impl SealingKey {
    /// The private key whose 32-byte form is `seed`.
    pub fn from_seed(seed: &Key) -> Self {
        match PrivateKey::from_bytes(seed.expose()) {
            Ok(key) => Self(key),
            // every 32-byte string is an X-Wing private key
            Err(_) => Self(XWing::derive_keypair(seed.expose()).0),
        }
    }

    /// The public key.
    pub fn public_bytes(&self) -> Vec<u8> {
        XWing::sk_to_pk(&self.0).to_bytes().to_vec()
    }
}

/// The run secret for one recipient.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Wrap {
    /// For the owner, by HPKE.
    Owner {
        /// Encapsulated key, 1120 bytes.
        encapsulation: Vec<u8>,
        /// Sealed secret, 48 bytes.
        sealed: [u8; SEALED_SECRET_BYTES],
    },
    /// For the members of a domain who hold its read key.
    Domain {
        /// Whose read key opens it.
        domain: DomainId,
        /// Fresh for each wrap: one key seals only once.
        salt: [u8; 32],
        /// Sealed secret, 48 bytes.
        sealed: [u8; SEALED_SECRET_BYTES],
    },
}

/// All wraps of one run secret.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Wraps(pub Vec<Wrap>);

impl Stored for Wraps {
    const WHAT: &'static str = "the wraps of a run";
    type Codec = Limited<32768>;

    fn validate(&self) -> Result<()> {
        within((1..=WRAPS_MAX).contains(&self.0.len()), "the number of wraps")?;
        let lengths_fit = self.0.iter().all(|wrap| match wrap {
            Wrap::Owner { encapsulation, .. } => encapsulation.len() == ENCAPSULATION_BYTES,
            Wrap::Domain { .. } => true,
        });
        within(lengths_fit, "an encapsulated key")
    }
}

impl Wraps {
    /// Bytes of valid wraps.
    pub fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(self)
    }

    /// Valid wraps of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }

    /// True if the holder of the domain's read key can open the run.
    pub fn reaches(&self, domain: DomainId) -> bool {
        self.0.iter().any(|wrap| matches!(wrap, Wrap::Domain { domain: of, .. } if *of == domain))
    }
}

/// The secret of one run: all content keys of its packs and snapshots follow from it.
#[derive(Clone, Debug)]
pub struct RunSecret(Key);

impl RunSecret {
    /// A secret of fresh random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Key::new(random))
    }

    /// The key of one pack.
    pub fn pack_key(&self, class: Class, salt: &[u8; 32]) -> Key {
        self.0.derive("vault v1 class key", &[&[class.byte()]]).derive("vault v1 pack key", &[salt])
    }

    /// The key of snapshot bodies.
    pub fn body_key(&self) -> Key {
        self.0.derive("vault v1 body key", &[])
    }

    /// Randomness for the owner's wrap of this secret, of the bytes that were drawn for it: drawn twice, for two secrets,
    /// they would else seal both with one key.
    pub fn wrapping_seed(&self, random: [u8; 32]) -> [u8; 32] {
        Salt::Fresh(random).over(&self.0, &[])
    }

    /// Wraps the secret for the owner. `scope` binds the wrap to its place: repository, domain and writer.
    pub fn wrap_for_owner(&self, sealing: &[u8], scope: &[u8], random: &mut impl CryptoRng) -> Result<Wrap> {
        let failed = |_| Error::Invalid("the owner's sealing key is not valid");
        let public = PublicKey::from_bytes(sealing).map_err(failed)?;
        let (encapsulation, mut context) = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            &hpke_info(scope),
            random,
        )
        .map_err(failed)?;
        let sealed = context.seal(self.0.expose(), &[]).map_err(failed)?;
        Ok(Wrap::Owner {
            encapsulation: encapsulation.to_bytes().to_vec(),
            sealed: sealed.try_into().map_err(|_| Error::Limit("a sealed run secret"))?,
        })
    }

    /// Wraps the secret under the read key of a domain.
    pub fn wrap_for_domain(&self, domain: DomainId, read: &Key, scope: &[u8], salt: impl Into<Salt>) -> Result<Wrap> {
        let salt = salt.into().over(read, &[scope, self.0.expose()]);
        let key = read.derive("vault v1 domain wrap", &[&salt]);
        let sealed = seal::seal(&key, 0, scope, self.0.expose())?;
        Ok(Wrap::Domain { domain, salt, sealed: sealed.try_into().map_err(|_| Error::Limit("a sealed run secret"))? })
    }

    /// Opens the owner's wrap.
    pub fn open_as_owner(wraps: &Wraps, key: &SealingKey, scope: &[u8]) -> Result<Self> {
        for wrap in &wraps.0 {
            if let Wrap::Owner { encapsulation, sealed } = wrap {
                let failed = |_| Error::Unauthentic("a run secret");
                let encapsulated = Encapsulated::from_bytes(encapsulation).map_err(failed)?;
                let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, XWing>(
                    &OpModeR::Base,
                    &key.0,
                    &encapsulated,
                    &hpke_info(scope),
                )
                .map_err(failed)?;
                let secret = zeroize::Zeroizing::new(context.open(sealed, &[]).map_err(failed)?);
                return Self::from_slice(&secret);
            }
        }
        Err(Error::NoAccess)
    }

    /// Opens the wrap of a domain.
    pub fn open_as_member(wraps: &Wraps, domain: DomainId, read: &Key, scope: &[u8]) -> Result<Self> {
        for wrap in &wraps.0 {
            if let Wrap::Domain { domain: of, salt, sealed } = wrap
                && *of == domain
            {
                let key = read.derive("vault v1 domain wrap", &[salt]);
                let secret = zeroize::Zeroizing::new(seal::open(&key, 0, scope, sealed, "a run secret")?);
                return Self::from_slice(&secret);
            }
        }
        Err(Error::NoAccess)
    }

    /// True if every wrap opens with the owner's keys, who can derive the read key of each domain, and all give one secret:
    /// then who opens any of them reads what the owner reads.
    pub fn is_one(wraps: &Wraps, key: &SealingKey, read: impl Fn(DomainId) -> Key, scope: &[u8]) -> bool {
        let opened = wraps.0.iter().map(|wrap| {
            let alone = Wraps(vec![wrap.clone()]);
            match wrap {
                Wrap::Owner { .. } => Self::open_as_owner(&alone, key, scope),
                Wrap::Domain { domain, .. } => Self::open_as_member(&alone, *domain, &read(*domain), scope),
            }
        });
        let secrets: Result<Vec<Self>> = opened.collect();
        secrets.is_ok_and(|all| {
            !all.is_empty() && all.windows(2).all(|pair| matches!(pair, [one, other] if one.0 == other.0))
        })
    }

    fn from_slice(secret: &[u8]) -> Result<Self> {
        Ok(Self(Key::new(secret.try_into().map_err(|_| Error::Unauthentic("a run secret"))?)))
    }
}
