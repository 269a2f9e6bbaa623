//! The unit of storage: header, sealed frames, padding, signature, sealed directory, trailer. One suffix read gives
//! trailer and directory, so a repository can be rebuilt from packs alone. A pack holds frames of one class, one domain
//! and one set of recipients. The directory lists frames as they lie; blobs tile each frame in order. Every member can
//! seal a directory: only the signature, over all other bytes, tells who has made a pack.

use crate::codec;
use crate::directory::{BlobEntry, Descent, Directory, FrameEntry, PACK_BYTES_MAX, validate_frame};
use crate::envelope::{RunSecret, Wraps};
use crate::error::{Error, Result, ensure, rule, within};
use crate::frame::{FrameCodec, FrameSeal};
use crate::header::{HEADER_BYTES, Header, Kind};
use crate::id::{BlobId, Class, ObjectId, WriterId};
use crate::key::Key;
use crate::object::SIGNATURE_BYTES;
use crate::salt::{SALT_BYTES, Salt};
use crate::seal::TAG_BYTES;
use crate::section::SectionSeal;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Last bytes of a pack.
const END_MAGIC: [u8; 4] = *b"PACK";
const SIGNATURE_CONTEXT: &[u8] = b"vault v1 pack\0";
pub(crate) const TRAILER_BYTES: usize = 16;
/// A suffix of this length in bytes holds trailer and directory of nearly every pack.
pub const SUFFIX_BYTES: usize = 64 << 10;

/// A frame to be sealed into a pack.
#[derive(Clone, Debug)]
pub struct NewFrame<'a> {
    /// How the plaintext is stored.
    pub codec: FrameCodec,
    /// Its plaintext as the codec stores it.
    pub encoded: &'a [u8],
    /// The blobs that tile its plaintext, all of one kind.
    pub blobs: &'a [BlobEntry],
    /// Bases of a delta, in prefix order.
    pub bases: Vec<BlobId>,
    /// Zero unless a delta.
    pub descent: Descent,
}

impl<'a> NewFrame<'a> {
    /// A frame without bases.
    pub fn whole(codec: FrameCodec, encoded: &'a [u8], blobs: &'a [BlobEntry]) -> Self {
        Self { codec, encoded, blobs, bases: Vec::new(), descent: Descent::default() }
    }
}

/// Collects the frames of one pack, and seals them and lays it out when all of them are there: the salt takes them in.
#[derive(Debug)]
pub struct PackBuilder {
    header: Header,
    class: Class,
    keyed: Keyed,
    /// The header, and each frame as it is encoded, with room for its tag.
    bytes: Vec<u8>,
    directory: Directory,
}

/// How salt and key of a pack come to be.
#[derive(Debug)]
enum Keyed {
    Given([u8; SALT_BYTES], Key),
    /// Of these random bytes, what the pack holds, and the secret of the run.
    Fresh([u8; SALT_BYTES], RunSecret),
}

/// A finished pack: the stored bytes and what an index says of it.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its name.
    pub id: ObjectId,
    /// The object, ready to be put.
    pub bytes: Vec<u8>,
    /// What the pack holds, as it was sealed at its end.
    pub directory: Directory,
    /// Salt of the pack key.
    pub salt: [u8; SALT_BYTES],
}

impl PackBuilder {
    /// Starts a pack with this salt, and the key that follows from it and the run secret: for what must come out the same
    /// each time.
    pub fn new(header: Header, salt: [u8; SALT_BYTES], key: Key) -> Result<Self> {
        Self::keyed(header, Keyed::Given(salt, key))
    }

    /// Starts a pack of a run; the random bytes are drawn for it alone.
    pub fn fresh(header: Header, random: [u8; SALT_BYTES], secret: &RunSecret) -> Result<Self> {
        Self::keyed(header, Keyed::Fresh(random, secret.clone()))
    }

    fn keyed(header: Header, keyed: Keyed) -> Result<Self> {
        let (class, bytes) = (class_of(header.kind)?, header.encode().to_vec());
        Ok(Self { header, class, keyed, bytes, directory: Directory::default() })
    }

    /// Adds a frame.
    pub fn push(&mut self, new: NewFrame<'_>) -> Result<()> {
        let NewFrame { codec, encoded, blobs, bases, descent } = new;
        let ordinal = codec::len_u32(self.directory.frames.len(), "a pack")?;
        let frame = FrameEntry {
            ordinal,
            stored: codec::len_u32(encoded.len().saturating_add(TAG_BYTES), "a frame")?,
            codec,
            depth: descent.depth,
            generation: descent.generation,
            bases,
            blobs: codec::len_u32(blobs.len(), "a frame")?,
        };
        validate_frame(&frame, blobs)?;
        rule(blobs.iter().all(|blob| blob.kind.class() == self.class), "a pack holds blobs of another class")?;
        self.bytes.extend_from_slice(encoded);
        self.bytes.extend_from_slice(&[0; TAG_BYTES]);
        self.directory.frames.push(frame);
        self.directory.blobs.extend_from_slice(blobs);
        Ok(())
    }

    /// Makes room for a pack of so many bytes at once: what grows is moved again and again.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes.min(PACK_BYTES_MAX).saturating_sub(self.bytes.len()));
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

    /// What the salt takes in besides directory and wraps: the header, and each frame that its blobs' ids do not name byte
    /// for byte. Those of a raw frame do, being hashes of all that it holds, and stand in the directory.
    fn texts(&self) -> Vec<&[u8]> {
        let (header, mut rest) = self.bytes.split_at_checked(HEADER_BYTES).unwrap_or_default();
        let mut texts = vec![header];
        for frame in &self.directory.frames {
            let (stored, after) = rest.split_at_checked(frame.stored as usize).unwrap_or((rest, &[]));
            if frame.codec != FrameCodec::Raw {
                texts.push(stored);
            }
            rest = after;
        }
        texts
    }

    /// Seals every frame where it lies.
    fn seal_frames(&mut self, key: &Key) -> Result<()> {
        let (repository, class) = (self.header.repository, self.class);
        let mut rest = self.bytes.get_mut(HEADER_BYTES..).unwrap_or_default();
        let mut blobs = self.directory.blobs.iter();
        for frame in &self.directory.frames {
            let lengths = blobs.by_ref().take(frame.blobs as usize).map(|blob| blob.length);
            let plain = lengths.fold(0u32, u32::saturating_add);
            let seal = FrameSeal { repository, class, ordinal: frame.ordinal, codec: frame.codec, plain };
            let (encoded, after) =
                rest.split_at_mut_checked(frame.stored as usize).ok_or(Error::Truncated("a pack"))?;
            seal.seal_in_place(key, encoded)?;
            rest = after;
        }
        Ok(())
    }

    /// Seals the frames, pads, seals the directory with the domain's book key, signs all of it for the header's writer and
    /// ends the pack.
    pub fn finish(mut self, book: &Key, wraps: &Wraps, signer: &SigningKey) -> Result<FinishedPack> {
        let wraps = wraps.encode()?;
        let encoded = self.directory.encode()?;
        let (salt, key) = match &self.keyed {
            Keyed::Given(salt, key) => (*salt, key.clone()),
            Keyed::Fresh(random, secret) => {
                let mut texts = self.texts();
                texts.extend([encoded.as_slice(), wraps.as_slice()]);
                let salt = Salt::Fresh(*random).over(book, &texts);
                (salt, secret.pack_key(self.class, &salt))
            }
        };
        self.seal_frames(&key)?;
        let bound = blake3::hash(&wraps);
        let seal = SectionSeal { header: &self.header, salt: &salt, number: 0, bound: bound.as_bytes() };
        let sealed = seal.seal(book, &encoded)?;
        let tail = [SIGNATURE_BYTES, sealed.len(), wraps.len(), SALT_BYTES, TRAILER_BYTES];
        let total = tail.iter().fold(self.bytes.len(), |a, b| a.saturating_add(*b));
        // bytes that look sealed: zeros would show where the frames end
        let mut filler = vec![0u8; padme(total).saturating_sub(total)];
        let pad_key = key.derive("vault v1 padding", &[]);
        blake3::Hasher::new_keyed(pad_key.expose()).finalize_xof().fill(&mut filler);
        self.bytes.extend_from_slice(&filler);
        let offset = codec::len_u32(self.bytes.len().saturating_add(SIGNATURE_BYTES), "a pack")?;
        let mut end = [sealed.as_slice(), &wraps, &salt].concat();
        for field in [offset, codec::len_u32(sealed.len(), "a pack")?, codec::len_u32(wraps.len(), "a pack")?] {
            end.extend_from_slice(&field.to_le_bytes());
        }
        end.extend_from_slice(&END_MAGIC);
        // one pass over the frames for what is signed and for the name
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bytes);
        let signature = signer.sign(&signed_message(&hasher.finalize(), &end)).to_bytes();
        let id = ObjectId(*hasher.update(&signature).update(&end).finalize().as_bytes());
        self.bytes.extend_from_slice(&signature);
        self.bytes.append(&mut end);
        within(self.bytes.len() <= PACK_BYTES_MAX, "a pack")?;
        Ok(FinishedPack { id, bytes: self.bytes, directory: self.directory, salt })
    }
}

/// What is signed: all bytes of a pack but the signature.
fn signed_message(body: &blake3::Hash, end: &[u8]) -> Vec<u8> {
    [SIGNATURE_CONTEXT, body.as_bytes(), blake3::hash(end).as_bytes()].concat()
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
    ensure(header.writer == WriterId::of(verifying) && body.starts_with(&header.encode()), Error::WrongOrigin)?;
    let signature = Signature::from_bytes(signature.try_into().map_err(|_| Error::Truncated(WHAT))?);
    let key = VerifyingKey::from_bytes(verifying).map_err(|_| Error::BadSignature(WHAT))?;
    key.verify_strict(&signed_message(&blake3::hash(body), end), &signature).map_err(|_| Error::BadSignature(WHAT))
}

fn class_of(kind: Kind) -> Result<Class> {
    match kind {
        Kind::DataPack | Kind::Wal => Ok(Class::Data),
        Kind::MetadataPack => Ok(Class::Metadata),
        _ => Err(Error::WrongKind),
    }
}

/// Rounds a length up so that it tells little: at most 12 % more (Padmé; Nikitin et al., PETS 2019).
pub fn padme(length: usize) -> usize {
    let Some(exponent) = length.checked_ilog2().filter(|exponent| *exponent > 1) else { return length };
    let kept = exponent.checked_ilog2().unwrap_or(0).saturating_add(1);
    let mask = 1usize.wrapping_shl(exponent.saturating_sub(kept)).wrapping_sub(1);
    length.checked_add(mask).map_or(length, |sum| sum & !mask)
}

/// The last 16 bytes of a pack: where its other parts are.
struct PackTrailer {
    directory_offset: usize,
    directory_length: usize,
    wraps_length: usize,
}

impl PackTrailer {
    const WHAT: &str = "the trailer of a pack";

    fn parse(suffix: &[u8]) -> Result<Self> {
        let start = suffix.len().checked_sub(TRAILER_BYTES).ok_or(Error::Truncated(Self::WHAT))?;
        let mut rest = suffix.get(start..).ok_or(Error::Truncated(Self::WHAT))?;
        let mut field = || -> Result<usize> {
            let value =
                usize::try_from(codec::take_u32(&mut rest, Self::WHAT)?).map_err(|_| Error::Limit(Self::WHAT))?;
            if value > PACK_BYTES_MAX { Err(Error::Limit(Self::WHAT)) } else { Ok(value) }
        };
        let trailer = Self { directory_offset: field()?, directory_length: field()?, wraps_length: field()? };
        if rest == END_MAGIC { Ok(trailer) } else { Err(Error::Truncated(Self::WHAT)) }
    }

    /// Bytes from the directory to the end of the pack.
    fn suffix_bytes(&self) -> usize {
        let parts = [self.directory_length, self.wraps_length, SALT_BYTES, TRAILER_BYTES];
        parts.iter().fold(0usize, |total, part| total.saturating_add(*part))
    }
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
        PackTrailer::parse(suffix).map(|trailer| trailer.suffix_bytes())
    }

    /// Takes the last bytes of a pack of `size` bytes apart.
    pub fn parse(suffix: &[u8], size: u64) -> Result<Self> {
        const WHAT: &str = PackTrailer::WHAT;
        let trailer = PackTrailer::parse(suffix)?;
        let needed = trailer.suffix_bytes();
        let whole = u64::try_from(trailer.directory_offset.saturating_add(needed)).unwrap_or(u64::MAX);
        rule(whole == size && trailer.directory_offset >= HEADER_BYTES, "the trailer of a pack contradicts its size")?;
        let start = suffix.len().checked_sub(needed).ok_or(Error::Truncated(WHAT))?;
        let mut rest = suffix.get(start..).ok_or(Error::Truncated(WHAT))?;
        let sealed = codec::take(&mut rest, trailer.directory_length, WHAT)?.to_vec();
        let wraps_bytes = codec::take(&mut rest, trailer.wraps_length, WHAT)?.to_vec();
        let wraps = Wraps::decode(&wraps_bytes)?;
        let salt = codec::take_array(&mut rest, WHAT)?;
        Ok(Self { wraps, salt, sealed, wraps_bytes, directory_offset: trailer.directory_offset })
    }

    /// Opens the directory with the book key of the domain that `header`, the pack's, names.
    pub fn directory(&self, header: &Header, book: &Key) -> Result<Directory> {
        let bound = blake3::hash(&self.wraps_bytes);
        let seal = SectionSeal { header, salt: &self.salt, number: 0, bound: bound.as_bytes() };
        let directory = Directory::decode(&seal.open(book, &self.sealed, "a pack directory")?)?;
        let end = usize::try_from(directory.end()?).unwrap_or(usize::MAX);
        rule(end <= self.directory_offset, "the frames of a pack reach into its directory")?;
        let class = class_of(header.kind)?;
        rule(directory.blobs.iter().all(|blob| blob.kind.class() == class), "a pack holds blobs of another class")?;
        Ok(directory)
    }
}
