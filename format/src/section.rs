//! A sealed part of an object: compressed if that helps, under a key that only this section has. Its seal binds the
//! header and the number, so that no section can be put in another one's stead, be it of the same object. What readers
//! open by the thousand says little that is not an id, and ids do not compress: such a section may not grow much.

use crate::codec;
use crate::compress::{LEVEL_DEFAULT, compress, decompress};
use crate::error::{Error, Result, within};
use crate::header::{Header, Kind};
use crate::key::Key;
use crate::seal;

/// Largest plaintext of one section in bytes.
pub const SECTION_BYTES_MAX: usize = 64 << 20;

/// Plaintext that any section may have, in bytes.
const PLAIN_BYTES_FREE: usize = 16 << 10;
/// Bytes of plaintext for each stored one. Where each id is new a section grows to twice its size, and where all name
/// each other to four times.
const PLAIN_BYTES_EACH: usize = 16;

/// What a section's seal binds besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct SectionSeal<'a> {
    /// Header of the object.
    pub header: &'a Header,
    /// Salt of the object's section keys; fresh for each object.
    pub salt: &'a [u8; 32],
    /// Position among the sections.
    pub number: u8,
    /// A hash of clear bytes that belong to the section, empty if none do.
    pub bound: &'a [u8],
}

impl SectionSeal<'_> {
    fn key(&self, key: &Key) -> Key {
        key.derive("vault v1 section", &[self.salt, &[self.number]])
    }

    fn aad(&self) -> Vec<u8> {
        self.header.encode().into_iter().chain([self.number]).chain(self.bound.iter().copied()).collect()
    }

    /// Most bytes of plaintext for so many stored ones. Thousands of sections of a few kilobytes must not fill the memory
    /// of whoever reads all of them; a snapshot's body is words and paths, and read alone.
    fn plain_bytes_max(&self, stored: usize) -> usize {
        match (self.header.kind, self.number) {
            (Kind::Snapshot, 2) => SECTION_BYTES_MAX,
            _ => SECTION_BYTES_MAX.min(stored.saturating_mul(PLAIN_BYTES_EACH).saturating_add(PLAIN_BYTES_FREE)),
        }
    }

    /// Compresses and seals a section under `key`, which may have other sections too.
    pub fn seal(&self, key: &Key, plaintext: &[u8]) -> Result<Vec<u8>> {
        within(plaintext.len() <= SECTION_BYTES_MAX, "a section")?;
        let smaller = compress(plaintext, LEVEL_DEFAULT)?;
        // what is much the same all over stays as it is, so that everybody opens it
        let (codec_byte, packed) = match smaller.filter(|small| plaintext.len() <= self.plain_bytes_max(small.len())) {
            Some(smaller) => (1u8, smaller),
            None => (0u8, plaintext.to_vec()),
        };
        let mut text = vec![codec_byte];
        text.extend_from_slice(&codec::len_u32(plaintext.len(), "a section")?.to_le_bytes());
        text.extend_from_slice(&packed);
        seal::seal(&self.key(key), 0, &self.aad(), &text)
    }

    /// Opens what [`SectionSeal::seal`] made. `what` names it in errors.
    pub fn open(&self, key: &Key, sealed: &[u8], what: &'static str) -> Result<Vec<u8>> {
        let text = seal::open(&self.key(key), 0, &self.aad(), sealed, what)?;
        let mut rest = text.as_slice();
        let [codec_byte] = codec::take_array(&mut rest, what)?;
        let length = usize::try_from(codec::take_u32(&mut rest, what)?).map_err(|_| Error::Limit(what))?;
        within(length <= self.plain_bytes_max(sealed.len()), what)?;
        match codec_byte {
            0 if rest.len() == length => Ok(rest.to_vec()),
            1 => decompress(rest, length),
            _ => Err(Error::Invalid("a section has an unknown codec or a wrong length")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::{Header, Kind, PLAIN_BYTES_EACH, PLAIN_BYTES_FREE, SectionSeal};
    use crate::compress::{LEVEL_DEFAULT, compress};
    use crate::id::{DomainId, RepositoryId, WriterId};
    use crate::key::Key;
    use crate::seal;

    fn header(kind: Kind) -> Header {
        Header { kind, repository: RepositoryId([1; 16]), domain: DomainId([2; 16]), writer: WriterId([3; 16]) }
    }

    /// A section of so many equal bytes, compressed whatever comes of it.
    fn bomb(seal: &SectionSeal<'_>, key: &Key, plain: usize) -> Vec<u8> {
        let packed = compress(&vec![0; plain], LEVEL_DEFAULT).unwrap().unwrap();
        let text = [&[1], u32::try_from(plain).unwrap().to_le_bytes().as_slice(), &packed].concat();
        seal::seal(&seal.key(key), 0, &seal.aad(), &text).unwrap()
    }

    #[test]
    fn a_section_grows_no_more_than_its_stored_bytes_explain() {
        let (key, salt) = (Key::new([4; 32]), [5; 32]);
        let (index, snapshot) = (header(Kind::Index), header(Kind::Snapshot));
        let of = |header, number| SectionSeal { header, salt: &salt, number, bound: &[] };
        for seal in [of(&index, 0), of(&index, 1), of(&snapshot, 1)] {
            assert!(seal.open(&key, &bomb(&seal, &key, PLAIN_BYTES_FREE), "x").is_ok());
            assert!(seal.open(&key, &bomb(&seal, &key, 1 << 20), "x").is_err());
            // whoever writes honestly is always understood
            let plain = vec![7; 1 << 20];
            let sealed = seal.seal(&key, &plain).unwrap();
            assert_eq!(seal.open(&key, &sealed, "x").unwrap(), plain);
            assert!(plain.len() <= PLAIN_BYTES_FREE + PLAIN_BYTES_EACH * sealed.len());
        }
        // a body is opened alone, and may say the same many times over
        let body = of(&snapshot, 2);
        assert!(body.open(&key, &bomb(&body, &key, 1 << 20), "x").is_ok());
    }
}
