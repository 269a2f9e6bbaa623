//! The AEAD that closes frames, sections and wraps: ChaCha20-Poly1305 (RFC 8439). Two texts under one key and ordinal
//! would give away what differs between them, so each key is used once, or once per ordinal.

use crate::error::{Error, Result};
use crate::key::Key;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

/// Length of an AEAD tag in bytes.
pub const TAG_BYTES: usize = 16;

fn nonce(ordinal: u32) -> Nonce {
    let [a, b, c, d] = ordinal.to_le_bytes();
    Nonce::from([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Seals `plaintext`; (key, ordinal) must never repeat. Returns ciphertext and tag.
pub fn seal(key: &Key, ordinal: u32, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
    out.extend_from_slice(plaintext);
    out.extend_from_slice(&[0; TAG_BYTES]);
    seal_in_place(key, ordinal, aad, &mut out)?;
    Ok(out)
}

/// The same where the plaintext lies, with room for the tag behind it.
pub fn seal_in_place(key: &Key, ordinal: u32, aad: &[u8], text: &mut [u8]) -> Result<()> {
    let plain = text.len().checked_sub(TAG_BYTES).ok_or(Error::Limit("a sealed text"))?;
    let (text, room) = text.split_at_mut_checked(plain).ok_or(Error::Limit("a sealed text"))?;
    let tag = ChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(&nonce(ordinal), aad, text.into())
        .map_err(|_| Error::Limit("a sealed text"))?;
    room.copy_from_slice(&tag);
    Ok(())
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
