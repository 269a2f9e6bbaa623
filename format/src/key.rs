//! A secret of 32 bytes, and all that is derived from one: other keys, blob ids, labels and marks. It is wiped when
//! dropped and never printed. Each derivation has a context of its own, so that what one yields tells nothing of what
//! another does.

use crate::id::{BlobId, BlobKind, OriginMark, SourceLabel, first};
use bincode::{Decode, Encode};
use ed25519_dalek::SigningKey;
use std::fmt;
use zeroize::Zeroize;

/// A symmetric key or seed of 32 bytes, wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Key(pub(crate) [u8; 32]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key of fresh random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who seals or wraps them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// BLAKE3 key derivation: `derive_key(context, self || parts)`.
    pub fn derive(&self, context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        for part in parts {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The id of a blob: keyed BLAKE3 over kind and plaintext. Use with the id key only.
    pub fn blob_id(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind as u8]);
        hasher.update(plaintext);
        BlobId(*hasher.finalize().as_bytes())
    }

    /// The folder of a source. Use with a domain's book key only.
    pub fn source_label(&self, source: &str) -> SourceLabel {
        SourceLabel(first(&self.derive("vault v1 source label", &[source.as_bytes()]).0))
    }

    /// A mark of some texts: equal for equal texts under one key, and of no use without it.
    pub fn origin_mark<'a>(&self, what: &str, texts: impl IntoIterator<Item = &'a [u8]>) -> OriginMark {
        let mut joined = Vec::new();
        for text in texts {
            joined.extend((text.len() as u64).to_le_bytes());
            joined.extend(text);
        }
        OriginMark(first(&self.derive("vault v1 origin", &[what.as_bytes(), &joined]).0))
    }

    /// The Ed25519 key whose seed this is.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }
}
