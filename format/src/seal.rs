//! The seal of everything: the clear header of each object, the AEAD of frames, the sections of small objects, and
//! signatures. ChaCha20-Poly1305 (RFC 8439) with keys that are used once, or once per ordinal, so that no nonce repeats;
//! Ed25519 (RFC 8032) with strict verification.

use crate::error::{Error, Result};
use crate::id::{DomainId, RepositoryId, WriterId};
use crate::secret::Key;
use crate::{codec, frame};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// First bytes of every object.
pub const MAGIC: [u8; 5] = *b"vault";
/// The format version.
pub const VERSION: u8 = 1;
/// The cipher suite.
pub const SUITE: u8 = 1;
/// Length of the clear header in bytes.
pub const HEADER_BYTES: usize = 64;
/// Length of an AEAD tag in bytes.
pub const TAG_BYTES: usize = 16;
/// Length of a signature.
pub const SIGNATURE_BYTES: usize = 64;
const SIGNATURE_CONTEXT: &[u8] = b"vault v1 object\0";
/// Largest small object in bytes.
pub const SMALL_BYTES_MAX: usize = 64 << 20;
/// Largest plaintext of one section in bytes.
pub const SECTION_BYTES_MAX: usize = 64 << 20;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `config` and `config.copy`.
    Config = 1,
    /// A key slot.
    Slot = 2,
    /// A pack of data.
    DataPack = 3,
    /// A pack of trees and lists.
    MetadataPack = 4,
    /// An index object.
    Index = 5,
    /// A snapshot.
    Snapshot = 6,
    /// An owner's order.
    Order = 7,
    /// A mark of prune.
    Mark = 8,
    /// A journal record.
    Journal = 9,
    /// A WAL segment.
    Wal = 10,
    /// A key file, outside of the store.
    KeyFile = 11,
}

/// The clear header: what kind of object it is, and where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Kind.
    pub kind: Kind,
    /// Repository.
    pub repository: RepositoryId,
    /// Domain, zero where none applies.
    pub domain: DomainId,
    /// Writer, zero where none applies.
    pub writer: WriterId,
}

impl Header {
    /// The 64 stored bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0u8; HEADER_BYTES];
        let fields = MAGIC
            .into_iter()
            .chain([VERSION, SUITE, self.kind as u8])
            .chain(0u32.to_le_bytes())
            .chain(self.repository.0)
            .chain(self.domain.0)
            .chain(self.writer.0);
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }

    /// Reads the header of an object that must be of `kind` and in `repository`; returns the rest of the bytes.
    pub fn decode(bytes: &[u8], kind: Kind, repository: RepositoryId) -> Result<(Self, &[u8])> {
        let (header, rest) = Self::decode_any(bytes, kind)?;
        if header.repository != repository {
            return Err(Error::WrongRepository);
        }
        Ok((header, rest))
    }

    /// The same before the repository is known: for `config` and slots.
    pub fn decode_any(mut bytes: &[u8], kind: Kind) -> Result<(Self, &[u8])> {
        const WHAT: &str = "an object header";
        if codec::take_array::<5>(&mut bytes, WHAT)? != MAGIC {
            return Err(Error::BadMagic);
        }
        let [version, suite, stored_kind] = codec::take_array(&mut bytes, WHAT)?;
        if version != VERSION {
            return Err(Error::UnsupportedVersion(version));
        }
        if suite != SUITE {
            return Err(Error::UnsupportedSuite(suite));
        }
        let epoch = codec::take_u32(&mut bytes, WHAT)?;
        if epoch != 0 {
            return Err(Error::UnsupportedEpoch(epoch));
        }
        if stored_kind != kind as u8 {
            return Err(Error::WrongKind);
        }
        let repository = RepositoryId(codec::take_array(&mut bytes, WHAT)?);
        let domain = DomainId(codec::take_array(&mut bytes, WHAT)?);
        let writer = WriterId(codec::take_array(&mut bytes, WHAT)?);
        if codec::take_u32(&mut bytes, WHAT)? != 0 {
            return Err(Error::Invalid("reserved header bytes are not zero"));
        }
        Ok((Self { kind, repository, domain, writer }, bytes))
    }

    /// What wraps of a run are bound to: repository, domain, writer.
    pub fn scope(&self) -> Vec<u8> {
        self.repository.0.into_iter().chain(self.domain.0).chain(self.writer.0).collect()
    }
}

fn nonce(ordinal: u32) -> Nonce {
    let [a, b, c, d] = ordinal.to_le_bytes();
    Nonce::from([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Seals `plaintext`; (key, ordinal) must never repeat. Returns ciphertext and tag.
pub fn seal(key: &Key, ordinal: u32, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
    out.extend_from_slice(plaintext);
    let tag = ChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(&nonce(ordinal), aad, out.as_mut_slice().into())
        .map_err(|_| Error::Limit("a sealed text"))?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens what [`seal`] made. `what` names it in errors.
pub fn open(key: &Key, ordinal: u32, aad: &[u8], sealed: &[u8], what: &'static str) -> Result<Vec<u8>> {
    let split = sealed.len().checked_sub(TAG_BYTES).ok_or(Error::Truncated(what))?;
    let (text, tag) = sealed.split_at_checked(split).ok_or(Error::Truncated(what))?;
    let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| Error::Truncated(what))?;
    let mut out = text.to_vec();
    ChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(&nonce(ordinal), aad, out.as_mut_slice().into(), &Tag::from(tag))
        .map_err(|_| Error::Unauthentic(what))?;
    Ok(out)
}

fn section_key(key: &Key, salt: &[u8; 32], number: u8) -> Key {
    key.derive("vault v1 section", &[salt, &[number]])
}

fn section_aad(header: &[u8; HEADER_BYTES], bound: &[u8], number: u8) -> Vec<u8> {
    header.iter().copied().chain([number]).chain(bound.iter().copied()).collect()
}

/// Seals one section of a small object: compressed if that helps, under a key of its own. `bound` is authenticated too.
pub fn seal_section(
    key: &Key,
    salt: &[u8; 32],
    number: u8,
    header: &Header,
    bound: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    if plaintext.len() > SECTION_BYTES_MAX {
        return Err(Error::Limit("a section"));
    }
    let (codec_byte, packed) = match frame::compress(plaintext, frame::LEVEL_DEFAULT)? {
        Some(smaller) => (1u8, smaller),
        None => (0u8, plaintext.to_vec()),
    };
    let mut text = vec![codec_byte];
    text.extend_from_slice(&codec::len_u32(plaintext.len(), "a section")?.to_le_bytes());
    text.extend_from_slice(&packed);
    seal(&section_key(key, salt, number), 0, &section_aad(&header.encode(), bound, number), &text)
}

/// Opens what [`seal_section`] made.
pub fn open_section(
    key: &Key,
    salt: &[u8; 32],
    number: u8,
    header: &Header,
    bound: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<Vec<u8>> {
    let aad = section_aad(&header.encode(), bound, number);
    let text = open(&section_key(key, salt, number), 0, &aad, sealed, what)?;
    let mut rest = text.as_slice();
    let [codec_byte] = codec::take_array(&mut rest, what)?;
    let length = usize::try_from(codec::take_u32(&mut rest, what)?).map_err(|_| Error::Limit(what))?;
    if length > SECTION_BYTES_MAX {
        return Err(Error::Limit(what));
    }
    match codec_byte {
        0 if rest.len() == length => Ok(rest.to_vec()),
        1 => frame::decompress(rest, length),
        _ => Err(Error::Invalid("a section has an unknown codec or a wrong length")),
    }
}

/// A small object: header, salt, sections with their lengths, signature over all of it.
#[derive(Debug)]
pub struct Small<'a> {
    /// The clear header.
    pub header: Header,
    /// Salt of the section keys.
    pub salt: [u8; 32],
    sections: Vec<&'a [u8]>,
    signed: &'a [u8],
    signature: Signature,
}

/// False for bytes that nobody can have signed as an object of a kind, since they do not come apart as one. What is of a
/// later version can't be told, and may be formed in another way.
pub fn is_formed(bytes: &[u8], kind: Kind, sections: usize) -> bool {
    let later = |error: &Error| {
        matches!(error, Error::UnsupportedVersion(_) | Error::UnsupportedSuite(_) | Error::UnsupportedEpoch(_))
    };
    Small::parse(bytes, kind, None, sections, "an object").map_or_else(|error| later(&error), |_| true)
}

/// True if these bytes begin as objects do, and are not known to be of another repository.
pub fn may_be_of(bytes: &[u8], repository: RepositoryId) -> bool {
    let version_and_id = bytes.get(MAGIC.len()).zip(bytes.get(12..28));
    let is_ours = |(version, id): (&u8, &[u8])| *version != VERSION || *id == repository.0;
    bytes.len() >= HEADER_BYTES && bytes.starts_with(&MAGIC[..]) && version_and_id.is_some_and(is_ours)
}

impl<'a> Small<'a> {
    /// Lays out and signs an object.
    pub fn assemble(header: &Header, salt: &[u8; 32], sections: &[Vec<u8>], signer: &SigningKey) -> Result<Vec<u8>> {
        let mut out = header.encode().to_vec();
        out.extend_from_slice(salt);
        for section in sections {
            out.extend_from_slice(&codec::len_u32(section.len(), "a section")?.to_le_bytes());
            out.extend_from_slice(section);
        }
        let signature = signer.sign(&signed_message(&out));
        out.extend_from_slice(&signature.to_bytes());
        if out.len() > SMALL_BYTES_MAX {
            return Err(Error::Limit("an object"));
        }
        Ok(out)
    }

    /// Takes an object of `count` sections apart. `repository` is `None` before it is known. The signature is not yet checked.
    pub fn parse(
        bytes: &'a [u8],
        kind: Kind,
        repository: Option<RepositoryId>,
        count: usize,
        what: &'static str,
    ) -> Result<Self> {
        if bytes.len() > SMALL_BYTES_MAX {
            return Err(Error::Limit(what));
        }
        let (header, _) = match repository {
            Some(repository) => Header::decode(bytes, kind, repository)?,
            None => Header::decode_any(bytes, kind)?,
        };
        let end = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(Error::Truncated(what))?;
        let (signed, signature) = bytes.split_at_checked(end).ok_or(Error::Truncated(what))?;
        let signature = Signature::from_bytes(signature.try_into().map_err(|_| Error::Truncated(what))?);
        let mut rest = signed;
        codec::take(&mut rest, HEADER_BYTES, what)?;
        let salt = codec::take_array(&mut rest, what)?;
        let mut sections = Vec::with_capacity(count);
        for _ in 0..count {
            let length = usize::try_from(codec::take_u32(&mut rest, what)?).map_err(|_| Error::Limit(what))?;
            sections.push(codec::take(&mut rest, length, what)?);
        }
        if !rest.is_empty() {
            return Err(Error::Trailing(what));
        }
        Ok(Self { header, salt, sections, signed, signature })
    }

    /// Checks the signature; the header must name the key's writer.
    pub fn verify(&self, verifying: &[u8; 32], what: &'static str) -> Result<()> {
        if self.header.writer != WriterId::of(verifying) {
            return Err(Error::WrongOrigin);
        }
        let key = VerifyingKey::from_bytes(verifying).map_err(|_| Error::BadSignature(what))?;
        key.verify_strict(&signed_message(self.signed), &self.signature).map_err(|_| Error::BadSignature(what))
    }

    /// A section's stored bytes.
    pub fn section(&self, number: u8) -> &'a [u8] {
        self.sections.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// Opens a sealed section.
    pub fn open(&self, key: &Key, number: u8, bound: &[u8], what: &'static str) -> Result<Vec<u8>> {
        open_section(key, &self.salt, number, &self.header, bound, self.section(number), what)
    }
}

fn signed_message(bytes: &[u8]) -> Vec<u8> {
    SIGNATURE_CONTEXT.iter().copied().chain(*blake3::hash(bytes).as_bytes()).collect()
}
