//! A bundle in the open, outside of the store: whoever reads the file has the key. A hash at its end tells a torn or
//! mistyped file from another one; nothing is signed, since the file is where trust begins.

use crate::bundle::Bundle;
use crate::error::{Error, Result, ensure};
use crate::header::{HEADER_BYTES, Header, Kind};
use crate::id::{DomainId, WriterId};
use zeroize::Zeroizing;

/// The bytes of a key file: a bundle in the open, to be kept like a private key.
pub fn encode(bundle: &Bundle) -> Result<Zeroizing<Vec<u8>>> {
    let header = Header {
        kind: Kind::KeyFile,
        repository: bundle.repository,
        domain: DomainId::default(),
        writer: WriterId::default(),
    };
    let mut out = Zeroizing::new(header.encode().to_vec());
    out.extend_from_slice(&bundle.encode()?);
    let check = blake3::hash(&out);
    out.extend_from_slice(check.as_bytes());
    Ok(out)
}

/// The bundle of a key file.
pub fn decode(bytes: &[u8]) -> Result<Bundle> {
    const WHAT: &str = "a key file";
    let header = Header::decode_any(bytes, Kind::KeyFile)?;
    let end = bytes.len().checked_sub(32).ok_or(Error::Truncated(WHAT))?;
    let (text, check) = bytes.split_at_checked(end).ok_or(Error::Truncated(WHAT))?;
    ensure(blake3::hash(text).as_bytes() == check, Error::Unauthentic(WHAT))?;
    let encoded = text.get(HEADER_BYTES..).ok_or(Error::Truncated(WHAT))?;
    ensure(header.domain == DomainId::default() && header.writer == WriterId::default(), Error::WrongOrigin)?;
    let bundle = Bundle::decode(encoded)?;
    if bundle.repository == header.repository { Ok(bundle) } else { Err(Error::WrongRepository) }
}
