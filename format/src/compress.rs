//! zstd, plain and as a delta: against the plaintext of other blobs as prefix. What is compressed is decompressed again
//! and compared. Every decoder writes at most the promised length, whatever the compressed bytes claim, so that a bomb
//! of a few bytes costs no more memory than the frame that it says it is.

use crate::error::{Error, Result, ensure, within};
use std::cell::RefCell;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, ResetDirective};

/// zstd level of everything that is compressed by default.
pub const LEVEL_DEFAULT: i32 = 3;
/// Most plaintext bytes of all bases of one delta.
pub const PREFIX_BYTES_MAX: usize = 4 << 20;
/// A delta of at most this part of its plaintext is clearly small: nobody looks for a smaller encoding.
pub const CLEARLY_SMALL: usize = 16;
/// Plaintext and bases of more bytes than this are searched for distant matches, too.
const LONG_DISTANCE_BYTES_MIN: usize = 1 << 20;

thread_local! {
    // their tables cost more to make than a small frame to code
    static COMPRESS: RefCell<Option<CCtx<'static>>> = RefCell::new(CCtx::try_create());
    static DECOMPRESS: RefCell<Option<DCtx<'static>>> = RefCell::new(DCtx::try_create());
    // room for the worst that compressing can give
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses, and decompresses again to compare; `None` if that does not make it smaller.
pub fn compress(plaintext: &[u8], level: i32) -> Result<Option<Vec<u8>>> {
    let out = COMPRESS.with_borrow_mut(|context| {
        let context = context.as_mut().ok_or(Error::BadFrame)?;
        context.reset(ResetDirective::SessionAndParameters).map_err(|_| Error::BadFrame)?;
        set(context, CParameter::CompressionLevel(level))?;
        finish(context, plaintext)
    })?;
    let Some(out) = out else { return Ok(None) };
    // compressor bugs have lost data elsewhere: nothing is sealed that was not seen to come back
    ensure(decompress(&out, plaintext.len())? == plaintext, Error::BadFrame)?;
    Ok(Some(out))
}

/// Decompresses to exactly `length` bytes.
pub fn decompress(bytes: &[u8], length: usize) -> Result<Vec<u8>> {
    DECOMPRESS.with_borrow_mut(|context| {
        let context = context.as_mut().ok_or(Error::BadFrame)?;
        context.reset(ResetDirective::SessionAndParameters).map_err(|_| Error::BadFrame)?;
        decode(context, bytes, length)
    })
}

/// Compresses several plaintexts, each against a prefix of its own: the tables are made once for all of them.
pub struct DeltaCompressor<'p> {
    encoder: CCtx<'p>,
    decoder: DCtx<'p>,
}

impl<'p> DeltaCompressor<'p> {
    /// One that has compressed nothing yet.
    pub fn new() -> Result<Self> {
        let (encoder, decoder) = (CCtx::try_create(), DCtx::try_create());
        Ok(Self { encoder: encoder.ok_or(Error::BadFrame)?, decoder: decoder.ok_or(Error::BadFrame)? })
    }

    /// Compresses `plaintext` against `prefix`, and decompresses again to compare; `None` if it does not get smaller.
    /// The two must not share memory: zstd drops the part of a prefix that its input overlaps.
    pub fn compress(&mut self, plaintext: &[u8], prefix: &'p [u8], level: i32) -> Result<Option<Vec<u8>>> {
        let first = if level <= LEVEL_DEFAULT { self.search(plaintext, prefix, Search::Fast)? } else { None };
        let is_enough = |bytes: &Vec<u8>| bytes.len() <= plaintext.len() / CLEARLY_SMALL;
        let out = match first.filter(is_enough) {
            Some(bytes) => Some(bytes),
            None => self.search(plaintext, prefix, Search::Level(level))?,
        };
        let Some(out) = out else { return Ok(None) };
        ensure(decode_delta(&mut self.decoder, &out, prefix, plaintext.len())? == plaintext, Error::BadFrame)?;
        Ok(Some(out))
    }

    fn search(&mut self, plaintext: &[u8], prefix: &'p [u8], search: Search) -> Result<Option<Vec<u8>>> {
        let total = plaintext.len().saturating_add(prefix.len());
        let window = total.next_power_of_two().ilog2().clamp(10, 27);
        self.encoder.reset(ResetDirective::SessionAndParameters).map_err(|_| Error::BadFrame)?;
        set(&mut self.encoder, CParameter::CompressionLevel(search.level()))?;
        set(&mut self.encoder, CParameter::WindowLog(window))?;
        match search {
            Search::Fast => {
                set(&mut self.encoder, CParameter::HashLog(window.saturating_sub(2).clamp(10, 20)))?;
                set(&mut self.encoder, CParameter::MinMatch(6))?;
            }
            Search::Level(_) => {
                // over less the tables for near matches reach everything, and these cost a twentieth of an hour of a database
                let is_long = total > LONG_DISTANCE_BYTES_MIN;
                set(&mut self.encoder, CParameter::EnableLongDistanceMatching(is_long))?;
            }
        }
        self.encoder.ref_prefix(prefix).map_err(|_| Error::BadFrame)?;
        finish(&mut self.encoder, plaintext)
    }
}

/// How zstd looks for what plaintext and prefix have in common.
#[derive(Clone, Copy)]
enum Search {
    /// With the fastest of its strategies and a table that reaches over the whole prefix, which level 1 alone has not: what differs in
    /// a few places gets as small as at level 3 in half the time.
    Fast,
    /// As this level does.
    Level(i32),
}

impl Search {
    fn level(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Level(level) => level,
        }
    }
}

/// The same for one alone.
pub fn compress_delta(plaintext: &[u8], prefix: &[u8], level: i32) -> Result<Option<Vec<u8>>> {
    DeltaCompressor::new()?.compress(plaintext, prefix, level)
}

/// Decompresses a delta against its prefix to exactly `length` bytes.
pub fn decompress_delta(bytes: &[u8], prefix: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut context = DCtx::try_create().ok_or(Error::BadFrame)?;
    decode_delta(&mut context, bytes, prefix, length)
}

fn decode_delta<'p>(context: &mut DCtx<'p>, bytes: &[u8], prefix: &'p [u8], length: usize) -> Result<Vec<u8>> {
    within(prefix.len() <= PREFIX_BYTES_MAX, "the bases of a delta")?;
    context.reset(ResetDirective::SessionAndParameters).map_err(|_| Error::BadFrame)?;
    context.ref_prefix(prefix).map_err(|_| Error::BadFrame)?;
    decode(context, bytes, length)
}

fn set(context: &mut CCtx, parameter: CParameter) -> Result<()> {
    context.set_parameter(parameter).map(|_| ()).map_err(|_| Error::BadFrame)
}

fn finish(context: &mut CCtx, plaintext: &[u8]) -> Result<Option<Vec<u8>>> {
    // what is compressed waits for its pack, and should hold no more than it needs then
    ROOM.with_borrow_mut(|room| {
        room.clear();
        room.reserve(zstd_safe::compress_bound(plaintext.len()));
        context.compress2(room, plaintext).map_err(|_| Error::BadFrame)?;
        Ok((room.len() < plaintext.len()).then(|| room.to_vec()))
    })
}

fn decode(context: &mut DCtx, bytes: &[u8], length: usize) -> Result<Vec<u8>> {
    context.set_parameter(DParameter::WindowLogMax(27)).map_err(|_| Error::BadFrame)?;
    // exactly one zstd frame: concatenated or skippable frames would be a second encoding of the same bytes
    if zstd_safe::find_frame_compressed_size(bytes).map_err(|_| Error::BadFrame)? != bytes.len() {
        return Err(Error::BadFrame);
    }
    let mut out = Vec::with_capacity(length);
    // the capacity may exceed the request: the length is compared below
    context.decompress(&mut out, bytes).map_err(|_| Error::BadFrame)?;
    if out.len() == length { Ok(out) } else { Err(Error::BadFrame) }
}
