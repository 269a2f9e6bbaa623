//! The form of every object but packs, WAL segments and key files: header, salt, sections with their lengths, and a
//! signature (Ed25519, RFC 8032, with strict verification) over all of it. What lies in the store is believed only once
//! [`SignedObject::verify`] has passed with a key that the owner vouches for: anybody may put bytes there.

use crate::codec;
use crate::error::{Error, Result, ensure, within};
use crate::header::{HEADER_BYTES, Header, Kind};
use crate::id::{DomainId, RepositoryId, WriterId};
use crate::key::Key;
use crate::salt::Salt;
use crate::section::SectionSeal;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
const SIGNATURE_CONTEXT: &[u8] = b"vault v1 object\0";
/// Largest object in bytes that is no pack.
pub const OBJECT_BYTES_MAX: usize = 64 << 20;

/// Who signs an object, and for which domain.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Repository that it is put into.
    pub repository: RepositoryId,
    /// Domain that it lies under.
    pub domain: DomainId,
    /// The writer's key.
    pub signer: &'a SigningKey,
    /// Book key of the domain.
    pub book: &'a Key,
}

impl Author<'_> {
    /// The header of an object of this author.
    pub fn header(&self, kind: Kind) -> Header {
        Header { domain: self.domain, ..Header::without_domain(kind, self.repository, self.signer) }
    }

    /// Seals each section under the book key, and signs the object.
    pub(crate) fn seal(&self, kind: Kind, salt: Salt, sections: &[Vec<u8>]) -> Result<Vec<u8>> {
        let header = self.header(kind);
        let texts: Vec<&[u8]> = sections.iter().map(Vec::as_slice).collect();
        let salt = &salt.over(self.book, &texts);
        let seal = |number| SectionSeal { header: &header, salt, number, bound: &[] };
        let sealed = (0..).zip(sections).map(|(number, section)| seal(number).seal(self.book, section));
        SignedObject::assemble(&header, salt, &sealed.collect::<Result<Vec<_>>>()?, self.signer)
    }
}

/// How many sections an object of a kind has, and what errors call it. Packs and key files have a form of their own.
fn form(kind: Kind) -> Result<(usize, &'static str)> {
    match kind {
        Kind::Config => Ok((1, "the config")),
        Kind::Slot => Ok((2, "a key slot")),
        Kind::Index => Ok((2, "an index")),
        Kind::Snapshot => Ok((3, "a snapshot")),
        Kind::Order => Ok((1, "an order")),
        Kind::Mark => Ok((1, "a mark")),
        Kind::Journal => Ok((1, "a journal record")),
        Kind::Month => Ok((1, "a month of the journal")),
        Kind::DataPack | Kind::MetadataPack | Kind::Wal | Kind::KeyFile => Err(Error::WrongKind),
    }
}

/// An object taken apart.
#[derive(Debug)]
pub struct SignedObject<'a> {
    /// The clear header.
    pub header: Header,
    /// Salt of the section keys.
    pub salt: [u8; 32],
    sections: Vec<&'a [u8]>,
    signed: &'a [u8],
    signature: Signature,
}

/// False for bytes that nobody can have signed as an object of a kind, since they do not come apart as one. What is of
/// a later version can't be told, and may be formed in another way.
pub fn is_formed(bytes: &[u8], kind: Kind) -> bool {
    let later = |error: &Error| {
        matches!(error, Error::UnsupportedVersion(_) | Error::UnsupportedSuite(_) | Error::UnsupportedEpoch(_))
    };
    SignedObject::parse(bytes, kind, None).map_or_else(|error| later(&error), |_| true)
}

impl<'a> SignedObject<'a> {
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
        within(out.len() <= OBJECT_BYTES_MAX, "an object")?;
        Ok(out)
    }

    /// Takes an object apart. `repository` is `None` before it is known. The signature is not yet checked.
    pub fn parse(bytes: &'a [u8], kind: Kind, repository: Option<RepositoryId>) -> Result<Self> {
        let (count, what) = form(kind)?;
        within(bytes.len() <= OBJECT_BYTES_MAX, what)?;
        let header = match repository {
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
        ensure(rest.is_empty(), Error::Trailing(what))?;
        Ok(Self { header, salt, sections, signed, signature })
    }

    /// Checks the signature; the header must name the key's writer.
    pub fn verify(&self, verifying: &[u8; 32]) -> Result<()> {
        let (_, what) = form(self.header.kind)?;
        ensure(self.header.writer == WriterId::of(verifying), Error::WrongOrigin)?;
        let key = VerifyingKey::from_bytes(verifying).map_err(|_| Error::BadSignature(what))?;
        key.verify_strict(&signed_message(self.signed), &self.signature).map_err(|_| Error::BadSignature(what))
    }

    /// A section's stored bytes.
    pub fn section(&self, number: u8) -> &'a [u8] {
        self.sections.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// Opens a sealed section.
    pub fn open(&self, key: &Key, number: u8, bound: &[u8], what: &'static str) -> Result<Vec<u8>> {
        let seal = SectionSeal { header: &self.header, salt: &self.salt, number, bound };
        seal.open(key, self.section(number), what)
    }
}

fn signed_message(bytes: &[u8]) -> Vec<u8> {
    SIGNATURE_CONTEXT.iter().copied().chain(*blake3::hash(bytes).as_bytes()).collect()
}
