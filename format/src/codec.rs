//! The one place that knows bincode. Fixed-width little-endian integers, a byte limit for each type, and every byte
//! consumed, so that decoding is total, bounded and injective. `SPEC.md` describes the resulting bytes on its own.

use crate::error::{Error, Result, ensure};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::Decoder;
use bincode::de::read::Reader;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// A bincode configuration that refuses to claim more than `N` bytes of memory while decoding.
pub type Limited<const N: usize> = Configuration<LittleEndian, Fixint, Limit<N>>;

/// A configuration that its type tells.
pub trait Bounded: bincode::config::Config {
    /// The only value.
    const CONFIG: Self;
}

impl<const N: usize> Bounded for Limited<N> {
    const CONFIG: Self = bincode::config::standard().with_fixed_int_encoding().with_limit::<N>();
}

/// A value with a stored form of bounded size.
pub trait Stored: Encode + Decode<()> {
    /// What error messages call it.
    const WHAT: &'static str;
    /// Largest encoded size in bytes, and bound of the memory that decoding claims.
    type Codec: Bounded;
    /// The bounded configuration.
    const CODEC: Self::Codec = Self::Codec::CONFIG;

    /// Rules that the types alone do not express; called after decoding and before encoding.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// Turns a valid value into bytes.
pub fn encode<T: Stored>(value: &T) -> Result<Vec<u8>> {
    value.validate()?;
    let bytes = bincode::encode_to_vec(value, T::CODEC).map_err(|_| Error::Limit(T::WHAT))?;
    // the limit counts memory while decoding, which can exceed the bytes: nothing is written that cannot be read
    let limit = bincode::config::Config::limit(&T::CODEC).unwrap_or(usize::MAX);
    if bytes.len() > limit || (bytes.len() > limit.wrapping_div(8) && decode::<T>(&bytes).is_err()) {
        return Err(Error::Limit(T::WHAT));
    }
    Ok(bytes)
}

/// Turns bytes into a valid value; all of them must be used.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T> {
    let (value, used): (T, usize) = bincode::decode_from_slice(bytes, T::CODEC).map_err(|e| match e {
        bincode::error::DecodeError::UnexpectedEnd { .. } => Error::Truncated(T::WHAT),
        bincode::error::DecodeError::LimitExceeded => Error::Limit(T::WHAT),
        _ => Error::Invalid(T::WHAT),
    })?;
    ensure(used == bytes.len(), Error::Trailing(T::WHAT))?;
    value.validate()?;
    Ok(value)
}

/// Encodes the fields at the end of a value that are left out while all of them are empty.
pub fn encode_tail<T, E>(tail: &T, encoder: &mut E) -> std::result::Result<(), EncodeError>
where
    T: Encode + Default + PartialEq,
    E: Encoder,
{
    if *tail == T::default() { Ok(()) } else { tail.encode(encoder) }
}

/// Decodes such fields. A tail that is there and empty is refused, since it would be a second form of one value.
pub fn decode_tail<T, D>(decoder: &mut D) -> std::result::Result<T, DecodeError>
where
    T: Decode<D::Context> + Default + PartialEq,
    D: Decoder,
{
    if decoder.reader().peek_read(1).is_none() {
        return Ok(T::default());
    }
    let tail = T::decode(decoder)?;
    if tail == T::default() { Err(DecodeError::Other("a tail is there and empty")) } else { Ok(tail) }
}

/// Takes `len` bytes off the front, or says what is truncated.
pub fn take<'a>(bytes: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len).ok_or(Error::Truncated(what))?;
    *bytes = rest;
    Ok(head)
}

/// Takes a fixed-size array off the front.
pub fn take_array<const N: usize>(bytes: &mut &[u8], what: &'static str) -> Result<[u8; N]> {
    take(bytes, N, what)?.try_into().map_err(|_| Error::Truncated(what))
}

/// Takes a little-endian u32 off the front.
pub fn take_u32(bytes: &mut &[u8], what: &'static str) -> Result<u32> {
    Ok(u32::from_le_bytes(take_array(bytes, what)?))
}

/// Converts a length that the format bounds well below 4 GiB.
pub fn len_u32(len: usize, what: &'static str) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::Limit(what))
}

/// Takes `count` items off the front of a slice.
pub fn take_slice<'a, T>(items: &mut &'a [T], count: usize) -> Result<&'a [T]> {
    let (head, rest) = items.split_at_checked(count).ok_or(Error::Invalid("a count exceeds what follows"))?;
    *items = rest;
    Ok(head)
}
