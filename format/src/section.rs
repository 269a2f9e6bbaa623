//! A sealed part of an object: compressed if that helps, under a key that only this section has. Its seal binds the
//! header and the number, so that no section can be put in another one's stead, be it of the same object.

use crate::codec;
use crate::compress::{LEVEL_DEFAULT, compress, decompress};
use crate::error::{Error, Result, within};
use crate::header::Header;
use crate::key::Key;
use crate::seal;

/// Largest plaintext of one section in bytes.
pub const SECTION_BYTES_MAX: usize = 64 << 20;

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

    /// Compresses and seals a section under `key`, which may have other sections too.
    pub fn seal(&self, key: &Key, plaintext: &[u8]) -> Result<Vec<u8>> {
        within(plaintext.len() <= SECTION_BYTES_MAX, "a section")?;
        let (codec_byte, packed) = match compress(plaintext, LEVEL_DEFAULT)? {
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
        within(length <= SECTION_BYTES_MAX, what)?;
        match codec_byte {
            0 if rest.len() == length => Ok(rest.to_vec()),
            1 => decompress(rest, length),
            _ => Err(Error::Invalid("a section has an unknown codec or a wrong length")),
        }
    }
}
