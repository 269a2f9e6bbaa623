//! The unit of storage: header, sealed frames, padding, signature, sealed directory, trailer. One suffix read gives
//! trailer and directory, so a repository can be rebuilt from packs alone. A pack holds frames of one class, one domain
//! and one set of recipients. The directory lists frames as they lie; blobs tile each frame in order. Every member can
//! seal a directory: only the signature, over all other bytes, tells who has made a pack.

use crate::codec::{self, Limited, Stored, limited};
use crate::envelope::Wraps;
use crate::error::{Error, Result};
use crate::frame::{BASES_MAX, Codec, DEPTH_MAX, FRAME_BYTES_MAX, FrameSeal};
use crate::id::{BlobId, BlobKind, Class, WriterId};
use crate::seal::{self, HEADER_BYTES, Header, Kind, SIGNATURE_BYTES, TAG_BYTES};
use crate::secret::Key;
use bincode::{Decode, Encode};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Largest pack in bytes.
pub const PACK_BYTES_MAX: usize = 64 << 20;
/// Most blobs of one pack.
pub const PACK_BLOBS_MAX: usize = 65536;
/// Last bytes of a pack.
const END_MAGIC: [u8; 4] = *b"PACK";
const SIGNATURE_CONTEXT: &[u8] = b"vault v1 pack\0";
const SALT_BYTES: usize = 32;
const TAIL_BYTES: usize = 16;
/// A suffix of this length in bytes holds trailer and directory of nearly every pack.
pub const SUFFIX_BYTES: usize = 64 << 10;

/// One frame of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct FrameEntry {
    /// Nonce; unique in the pack.
    pub ordinal: u32,
    /// Sealed length in bytes, tag included.
    pub stored: u32,
    /// Codec.
    pub codec: Codec,
    /// 0 = whole, else 1 + the depth of its deepest base.
    pub depth: u8,
    /// Versions since the lineage was stored whole; a hint.
    pub generation: u32,
    /// Bases of a delta, in prefix order.
    pub bases: Vec<BlobId>,
    /// How many blobs it holds.
    pub blobs: u32,
}

/// One blob of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct BlobEntry {
    /// Identity.
    pub id: BlobId,
    /// Kind.
    pub kind: BlobKind,
    /// Plaintext length in bytes.
    pub length: u32,
}

/// What a pack holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Directory {
    /// Frames in the order in which they lie, the first right after the header, without gaps.
    pub frames: Vec<FrameEntry>,
    /// Blobs of the first frame, of the second, and so on.
    pub blobs: Vec<BlobEntry>,
}

impl Stored for Directory {
    const WHAT: &'static str = "a pack directory";
    type Codec = Limited<{ 32 << 20 }>;
    const CODEC: Self::Codec = limited();

    fn validate(&self) -> Result<()> {
        if self.frames.is_empty() || self.blobs.len() > PACK_BLOBS_MAX {
            return Err(Error::Limit("the number of blobs of a pack"));
        }
        let mut ordinals: Vec<u32> = self.frames.iter().map(|frame| frame.ordinal).collect();
        ordinals.sort_unstable();
        if !ordinals.is_sorted_by(|left, right| left < right) {
            return Err(Error::Invalid("two frames of a pack have one ordinal"));
        }
        let mut left = self.blobs.as_slice();
        for frame in &self.frames {
            let count = usize::try_from(frame.blobs).map_err(|_| Error::Limit("a frame"))?;
            validate_frame(frame, codec::take_slice(&mut left, count)?)?;
        }
        if !left.is_empty() {
            return Err(Error::Invalid("a directory has blobs without a frame"));
        }
        self.end().map(|_| ())
    }
}

fn validate_frame(frame: &FrameEntry, blobs: &[BlobEntry]) -> Result<()> {
    let plain = blobs.iter().try_fold(0usize, |total, blob| {
        let length = usize::try_from(blob.length).ok().filter(|length| *length > 0)?;
        total.checked_add(length).filter(|total| *total <= FRAME_BYTES_MAX)
    });
    if plain.is_none() || blobs.is_empty() {
        return Err(Error::Limit("the plaintext of a frame"));
    }
    let kind = blobs.first().map(|blob| blob.kind);
    if blobs.iter().any(|blob| Some(blob.kind) != kind) {
        return Err(Error::Invalid("a frame mixes kinds of blobs"));
    }
    match frame.codec {
        Codec::Delta => {
            let proper = blobs.len() == 1
                && (1..=BASES_MAX).contains(&frame.bases.len())
                && (1..=DEPTH_MAX).contains(&frame.depth)
                && !blobs.iter().any(|blob| frame.bases.contains(&blob.id));
            if proper {
                Ok(())
            } else {
                Err(Error::Invalid("a delta needs one blob, 1 to 4 bases and a depth of 1 to 8"))
            }
        }
        _ if frame.bases.is_empty() && frame.depth == 0 => Ok(()),
        _ => Err(Error::Invalid("a frame that is no delta has bases or a depth")),
    }
}

/// Where a blob lies, within a pack whose key is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The blob.
    pub blob: BlobEntry,
    /// Position of its frame in the directory.
    pub frame: u32,
    /// First byte of the sealed frame in the pack.
    pub offset: u32,
    /// First byte of the blob in the frame's plaintext.
    pub at: u32,
    /// Plaintext length of the frame in bytes.
    pub plain: u32,
}

impl Directory {
    /// End of the last frame: offset in the pack.
    fn end(&self) -> Result<u32> {
        let start = codec::len_u32(HEADER_BYTES, "a pack")?;
        self.frames
            .iter()
            .try_fold(start, |end, frame| end.checked_add(frame.stored))
            .filter(|end| usize::try_from(*end).is_ok_and(|end| end <= PACK_BYTES_MAX))
            .ok_or(Error::Limit("a pack"))
    }

    /// Bytes of a valid directory.
    pub fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(self)
    }

    /// A valid directory of bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }

    /// Every blob with its place, in order. The directory must be valid, as all decoded ones are.
    pub fn places(&self) -> Vec<Place> {
        let mut out = Vec::with_capacity(self.blobs.len());
        let mut blobs = self.blobs.as_slice();
        let mut offset = u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX);
        for (number, frame) in self.frames.iter().enumerate() {
            let count = usize::try_from(frame.blobs).unwrap_or(usize::MAX);
            let (own, rest) = blobs.split_at_checked(count).unwrap_or((blobs, &[]));
            blobs = rest;
            let plain = own.iter().fold(0u32, |total, blob| total.saturating_add(blob.length));
            let mut at = 0u32;
            for blob in own {
                let frame = u32::try_from(number).unwrap_or(u32::MAX);
                out.push(Place { blob: *blob, frame, offset, at, plain });
                at = at.saturating_add(blob.length);
            }
            offset = offset.saturating_add(frame.stored);
        }
        out
    }
}

/// Collects sealed frames of one pack and lays it out.
#[derive(Debug)]
pub struct PackBuilder {
    header: Header,
    class: Class,
    salt: [u8; SALT_BYTES],
    key: Key,
    bytes: Vec<u8>,
    directory: Directory,
}

/// A finished pack: the stored bytes and what an index says of it.
#[derive(Debug)]
pub struct FinishedPack {
    /// Stored bytes.
    pub bytes: Vec<u8>,
    /// Directory.
    pub directory: Directory,
    /// Salt of the pack key.
    pub salt: [u8; SALT_BYTES],
}

impl PackBuilder {
    /// Starts a pack. `salt` must be fresh; `key` follows from it and the run secret.
    pub fn new(header: Header, salt: [u8; SALT_BYTES], key: Key) -> Result<Self> {
        let class = class_of(header.kind)?;
        Ok(Self { header, class, salt, key, bytes: header.encode().to_vec(), directory: Directory::default() })
    }

    /// Seals an encoded frame into the pack.
    pub fn push(
        &mut self,
        codec: Codec,
        encoded: &[u8],
        blobs: &[BlobEntry],
        bases: Vec<BlobId>,
        (depth, generation): (u8, u32),
    ) -> Result<()> {
        let plain = blobs.iter().fold(0u32, |total, blob| total.saturating_add(blob.length));
        let ordinal = codec::len_u32(self.directory.frames.len(), "a pack")?;
        let seal = FrameSeal { repository: self.header.repository, class: self.class, ordinal, codec, plain };
        let sealed = seal.seal(&self.key, encoded)?;
        let frame = FrameEntry {
            ordinal,
            stored: codec::len_u32(sealed.len(), "a frame")?,
            codec,
            depth,
            generation,
            bases,
            blobs: codec::len_u32(blobs.len(), "a frame")?,
        };
        validate_frame(&frame, blobs)?;
        if blobs.iter().any(|blob| blob.kind.class() != self.class) {
            return Err(Error::Invalid("a pack holds blobs of another class"));
        }
        self.bytes.extend_from_slice(&sealed);
        self.directory.frames.push(frame);
        self.directory.blobs.extend_from_slice(blobs);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Blobs so far.
    pub fn blobs(&self) -> usize {
        self.directory.blobs.len()
    }

    /// True while there is no frame.
    pub fn is_empty(&self) -> bool {
        self.directory.frames.is_empty()
    }

    /// Pads, seals the directory with the domain's book key, signs all of it for the header's writer and ends the pack.
    pub fn finish(mut self, book: &Key, wraps: &Wraps, signer: &SigningKey) -> Result<FinishedPack> {
        let wraps = wraps.encode()?;
        let encoded = self.directory.encode()?;
        let sealed = seal_directory(book, &self.salt, &self.header, &wraps, &encoded)?;
        let tail = [SIGNATURE_BYTES, sealed.len(), wraps.len(), SALT_BYTES, TAIL_BYTES];
        let total = tail.iter().fold(self.bytes.len(), |a, b| a.saturating_add(*b));
        // bytes that look sealed: zeros would show where the frames end
        let mut filler = vec![0u8; padme(total).saturating_sub(total)];
        let pad_key = self.key.derive("vault v1 padding", &[]);
        blake3::Hasher::new_keyed(pad_key.expose()).finalize_xof().fill(&mut filler);
        self.bytes.extend_from_slice(&filler);
        let offset = codec::len_u32(self.bytes.len().saturating_add(SIGNATURE_BYTES), "a pack")?;
        let mut end = [sealed.as_slice(), &wraps, &self.salt].concat();
        for field in [offset, codec::len_u32(sealed.len(), "a pack")?, codec::len_u32(wraps.len(), "a pack")?] {
            end.extend_from_slice(&field.to_le_bytes());
        }
        end.extend_from_slice(&END_MAGIC);
        let signature = signer.sign(&signed_message(&self.bytes, &end));
        self.bytes.extend_from_slice(&signature.to_bytes());
        self.bytes.append(&mut end);
        if self.bytes.len() > PACK_BYTES_MAX {
            return Err(Error::Limit("a pack"));
        }
        Ok(FinishedPack { bytes: self.bytes, directory: self.directory, salt: self.salt })
    }
}

/// What is signed: all bytes of a pack but the signature.
fn signed_message(body: &[u8], end: &[u8]) -> Vec<u8> {
    let hashes = [body, end].map(|part| *blake3::hash(part).as_bytes());
    [SIGNATURE_CONTEXT, &hashes.concat()].concat()
}

/// Checks that the holder of a signing key has made a whole pack of this header. A pack without a signature fails
/// like one with a wrong one.
pub fn verify(bytes: &[u8], header: &Header, verifying: &[u8; 32]) -> Result<()> {
    const WHAT: &str = "a pack";
    let split = |at: Option<usize>| at.ok_or(Error::Truncated(WHAT));
    let at = split(bytes.len().checked_sub(PackEnd::suffix_bytes(bytes)?))?;
    let (front, end) = bytes.split_at_checked(at).ok_or(Error::Truncated(WHAT))?;
    let at = split(front.len().checked_sub(SIGNATURE_BYTES).filter(|at| *at >= HEADER_BYTES))?;
    let (body, signature) = front.split_at_checked(at).ok_or(Error::Truncated(WHAT))?;
    if header.writer != WriterId::of(verifying) || !body.starts_with(&header.encode()) {
        return Err(Error::WrongOrigin);
    }
    let signature = Signature::from_bytes(signature.try_into().map_err(|_| Error::Truncated(WHAT))?);
    let key = VerifyingKey::from_bytes(verifying).map_err(|_| Error::BadSignature(WHAT))?;
    key.verify_strict(&signed_message(body, end), &signature).map_err(|_| Error::BadSignature(WHAT))
}

fn class_of(kind: Kind) -> Result<Class> {
    match kind {
        Kind::DataPack | Kind::Wal => Ok(Class::Data),
        Kind::MetadataPack => Ok(Class::Metadata),
        _ => Err(Error::WrongKind),
    }
}

fn seal_directory(book: &Key, salt: &[u8; 32], header: &Header, wraps: &[u8], directory: &[u8]) -> Result<Vec<u8>> {
    seal::seal_section(book, salt, 0, header, blake3::hash(wraps).as_bytes(), directory)
}

/// Rounds a length up so that it tells little: at most 12 % more (Padmé; Nikitin et al., PETS 2019).
pub fn padme(length: usize) -> usize {
    let Some(exponent) = length.checked_ilog2().filter(|exponent| *exponent > 1) else { return length };
    let kept = exponent.checked_ilog2().unwrap_or(0).saturating_add(1);
    let mask = 1usize.wrapping_shl(exponent.saturating_sub(kept)).wrapping_sub(1);
    length.checked_add(mask).map_or(length, |sum| sum & !mask)
}

/// The end of a pack, taken apart.
#[derive(Debug)]
pub struct PackEnd {
    /// Wraps of the run secret.
    pub wraps: Wraps,
    /// Salt of the pack key.
    pub salt: [u8; SALT_BYTES],
    sealed: Vec<u8>,
    wraps_bytes: Vec<u8>,
    directory_offset: usize,
}

impl PackEnd {
    /// How many last bytes hold trailer and directory. `suffix` = at least the last 16 bytes of a pack.
    pub fn suffix_bytes(suffix: &[u8]) -> Result<usize> {
        let (_, directory, wraps) = Self::tail(suffix)?;
        Ok([directory, wraps, SALT_BYTES, TAIL_BYTES].iter().fold(0usize, |total, part| total.saturating_add(*part)))
    }

    fn tail(suffix: &[u8]) -> Result<(usize, usize, usize)> {
        const WHAT: &str = "the trailer of a pack";
        let start = suffix.len().checked_sub(TAIL_BYTES).ok_or(Error::Truncated(WHAT))?;
        let mut rest = suffix.get(start..).ok_or(Error::Truncated(WHAT))?;
        let mut field = || -> Result<usize> {
            let value = usize::try_from(codec::take_u32(&mut rest, WHAT)?).map_err(|_| Error::Limit(WHAT))?;
            if value > PACK_BYTES_MAX { Err(Error::Limit(WHAT)) } else { Ok(value) }
        };
        let fields = (field()?, field()?, field()?);
        if rest == END_MAGIC { Ok(fields) } else { Err(Error::Truncated(WHAT)) }
    }

    /// Takes the last bytes of a pack of `size` bytes apart.
    pub fn parse(suffix: &[u8], size: u64) -> Result<Self> {
        const WHAT: &str = "the trailer of a pack";
        let (directory_offset, directory_length, wraps_length) = Self::tail(suffix)?;
        let needed = Self::suffix_bytes(suffix)?;
        let whole = u64::try_from(directory_offset.saturating_add(needed)).unwrap_or(u64::MAX);
        if whole != size || directory_offset < HEADER_BYTES {
            return Err(Error::Invalid("the trailer of a pack contradicts its size"));
        }
        let start = suffix.len().checked_sub(needed).ok_or(Error::Truncated(WHAT))?;
        let mut rest = suffix.get(start..).ok_or(Error::Truncated(WHAT))?;
        let sealed = codec::take(&mut rest, directory_length, WHAT)?.to_vec();
        let wraps_bytes = codec::take(&mut rest, wraps_length, WHAT)?.to_vec();
        let wraps = Wraps::decode(&wraps_bytes)?;
        Ok(Self { wraps, salt: codec::take_array(&mut rest, WHAT)?, sealed, wraps_bytes, directory_offset })
    }

    /// Opens the directory with the book key of the domain that `header`, the pack's, names.
    pub fn directory(&self, header: &Header, book: &Key) -> Result<Directory> {
        let bound = blake3::hash(&self.wraps_bytes);
        let what = "a pack directory";
        let bytes = seal::open_section(book, &self.salt, 0, header, bound.as_bytes(), &self.sealed, what)?;
        let directory = Directory::decode(&bytes)?;
        let end = usize::try_from(directory.end()?).unwrap_or(usize::MAX);
        if end > self.directory_offset {
            return Err(Error::Invalid("the frames of a pack reach into its directory"));
        }
        let class = class_of(header.kind)?;
        if directory.blobs.iter().any(|blob| blob.kind.class() != class) {
            return Err(Error::Invalid("a pack holds blobs of another class"));
        }
        Ok(directory)
    }
}

impl FrameEntry {
    /// What the frame's seal binds.
    pub fn seal(&self, header: &Header, class: Class, plain: u32) -> FrameSeal {
        FrameSeal { repository: header.repository, class, ordinal: self.ordinal, codec: self.codec, plain }
    }

    /// Largest encoded length in bytes that a reader must expect.
    pub fn encoded_bytes(&self) -> usize {
        usize::try_from(self.stored).unwrap_or(usize::MAX).saturating_sub(TAG_BYTES)
    }
}
