//! A key slot: a bundle wrapped under a password. Argon2id (RFC 9106) with parameters between a floor and a cap that
//! are checked before any work, and a key commitment, since ChaCha20-Poly1305 does not commit to its key. Signed by the
//! owner; role, label and verifying key lie in clear, so that signatures of writers can be checked by all.

use crate::bundle::{Bundle, Role};
use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, ensure, rule, within};
use crate::header::{Header, Kind};
use crate::id::{DomainId, RepositoryId};
use crate::key::Key;
use crate::object::SignedObject;
use crate::salt::Salt;
use crate::section::SectionSeal;
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

/// Parameters of Argon2id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes, computed in parallel.
    pub lanes: u32,
}

/// What new slots use.
pub const KDF_DEFAULT: KdfParams = KdfParams { memory_kib: 64 << 10, passes: 3, lanes: 4 };
/// The least that a reader accepts.
pub const KDF_FLOOR: KdfParams = KdfParams { memory_kib: 8 << 10, passes: 1, lanes: 1 };
/// The most that a reader accepts: a hostile slot must not exhaust it.
pub const KDF_CAP: KdfParams = KdfParams { memory_kib: 1 << 20, passes: 16, lanes: 16 };

/// The clear part of a slot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SlotInfo {
    /// Role of the bundle.
    pub role: Role,
    /// In the owner's words.
    pub label: String,
    /// Verifying key of the holder.
    pub verifying: [u8; 32],
    /// Domain of the holder.
    pub domain: DomainId,
    /// When it was made, nanoseconds since 1970.
    pub created: i64,
    /// `None` for a key that exists only as a file: nothing is wrapped here.
    pub kdf: Option<KdfParams>,
    /// Commits to the key-encryption key.
    pub commitment: [u8; 32],
}

impl Stored for SlotInfo {
    const WHAT: &'static str = "a key slot";
    type Codec = Limited<4096>;

    fn validate(&self) -> Result<()> {
        let Some(kdf) = self.kdf else { return Ok(()) };
        let fits = (KDF_FLOOR.memory_kib..=KDF_CAP.memory_kib).contains(&kdf.memory_kib)
            && (KDF_FLOOR.passes..=KDF_CAP.passes).contains(&kdf.passes)
            && (KDF_FLOOR.lanes..=KDF_CAP.lanes).contains(&kdf.lanes);
        within(fits, "the password parameters of a key slot")
    }
}

fn password_key(password: &[u8], salt: &[u8; 32], kdf: KdfParams) -> Result<(Key, [u8; 32])> {
    let limit = |_| Error::Limit("the password parameters of a key slot");
    let params = argon2::Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).map_err(limit)?;
    let mut out = Zeroizing::new([0u8; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(password, salt, out.as_mut_slice())
        .map_err(limit)?;
    let stretched = Key::new(*out);
    let commitment = *stretched.derive("vault v1 slot commitment", &[]).expose();
    Ok((stretched.derive("vault v1 slot wrap", &[]), commitment))
}

/// What a new slot is made of.
#[derive(Debug)]
pub struct NewSlot<'a> {
    /// The bundle to wrap.
    pub bundle: &'a Bundle,
    /// In the owner's words.
    pub label: String,
    /// When, nanoseconds since 1970.
    pub created: i64,
    /// Domain of the holder.
    pub domain: DomainId,
    /// Verifying key of the holder.
    pub verifying: [u8; 32],
}

/// The password of a new slot.
#[derive(Clone, Copy, Debug)]
pub struct NewPassword<'a> {
    /// In the bytes that the user typed.
    pub password: &'a [u8],
    /// How much work a guess at it costs.
    pub kdf: KdfParams,
}

/// Wraps a bundle under a password and signs the slot. Without a password the slot only announces the holder's verifying
/// key.
pub fn seal(
    new: &NewSlot<'_>,
    password: Option<NewPassword<'_>>,
    salt: impl Into<Salt>,
    owner: &SigningKey,
) -> Result<Vec<u8>> {
    let header = Header::without_domain(Kind::Slot, new.bundle.repository, owner);
    let mut info = SlotInfo {
        role: new.bundle.role(),
        label: new.label.clone(),
        verifying: new.verifying,
        domain: new.domain,
        created: new.created,
        kdf: password.map(|new| new.kdf),
        commitment: [0; 32],
    };
    info.validate()?;
    let (said, bundle) = (codec::encode(&info)?, new.bundle.encode()?);
    // the password is not in it: it would be what is guessed; the bundle can't be
    let salt = &salt.into().over(&Key::new([0; 32]), &[&said, &bundle]);
    let Some(NewPassword { password, kdf }) = password else {
        return SignedObject::assemble(&header, salt, &[said, Vec::new()], owner);
    };
    let (key, commitment) = password_key(password, salt, kdf)?;
    info.commitment = commitment;
    let info = codec::encode(&info)?;
    let bound = blake3::hash(&info);
    let seal = SectionSeal { header: &header, salt, number: 1, bound: bound.as_bytes() };
    let wrapped = seal.seal(&key, &bundle)?;
    SignedObject::assemble(&header, salt, &[info, wrapped], owner)
}

/// A slot taken apart.
#[derive(Debug)]
pub struct Slot<'a> {
    object: SignedObject<'a>,
    /// The clear part.
    pub info: SlotInfo,
}

impl<'a> Slot<'a> {
    /// Takes a slot apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let object = SignedObject::parse(bytes, Kind::Slot, None)?;
        let info: SlotInfo = codec::decode(object.section(0))?;
        ensure(object.header.domain == DomainId::default(), Error::WrongOrigin)?;
        let is_bare = info.commitment == [0; 32] && object.section(1).is_empty();
        rule(info.kdf.is_some() || is_bare, "a key slot without a password wraps something")?;
        Ok(Self { object, info })
    }

    /// The repository that it says it belongs to.
    pub fn repository(&self) -> RepositoryId {
        self.object.header.repository
    }

    /// Checks that the owner signed it.
    pub fn verify(&self, owner: &[u8; 32]) -> Result<()> {
        self.object.verify(owner)
    }

    /// Opens the bundle, and checks that slot and bundle belong together and the owner signed.
    pub fn open(&self, password: &[u8]) -> Result<Bundle> {
        let kdf = self.info.kdf.ok_or(Error::NoAccess)?;
        let (key, commitment) = password_key(password, &self.object.salt, kdf)?;
        ensure(blake3::Hash::from(commitment) == blake3::Hash::from(self.info.commitment), Error::WrongPassword)?;
        let bound = blake3::hash(self.object.section(0));
        let bundle = Bundle::decode(&Zeroizing::new(self.object.open(&key, 1, bound.as_bytes(), "a key slot")?))?;
        ensure(bundle.repository == self.repository(), Error::WrongRepository)?;
        self.verify(&bundle.owner.verifying)?;
        if bundle.role() == self.info.role { Ok(bundle) } else { Err(Error::Invalid("a key slot lies about its role")) }
    }
}
