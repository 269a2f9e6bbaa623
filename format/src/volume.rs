//! How many bytes a pack will have at most, before it is laid out: whoever fills packs asks this of every frame that one
//! may still take. One byte more could cost a whole step of padding, so only what the directory gains by compression is
//! not counted: a few bytes for each blob, since ids do not compress.

use crate::header::HEADER_BYTES;
use crate::object::SIGNATURE_BYTES;
use crate::pack::TRAILER_BYTES;
use crate::salt::SALT_BYTES;
use crate::seal::TAG_BYTES;

/// Bytes of a directory without frames, sealed, but for its tag; of one frame in it without bases, of one base, and of one
/// blob.
const DIRECTORY_BYTES: usize = 21;
const FRAME_BYTES: usize = 29;
const BASE_BYTES: usize = 32;
const BLOB_BYTES: usize = 40;

/// What a pack holds, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// Frames.
    pub frames: usize,
    /// Their sealed bytes.
    pub stored: usize,
    /// Bases that they name.
    pub bases: usize,
    /// Blobs in them.
    pub blobs: usize,
}

impl Volume {
    /// One frame of so many encoded bytes.
    pub fn frame(encoded: usize, bases: usize, blobs: usize) -> Self {
        Self { frames: 1, stored: encoded.saturating_add(TAG_BYTES), bases, blobs }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            stored: self.stored.saturating_add(other.stored),
            bases: self.bases.saturating_add(other.bases),
            blobs: self.blobs.saturating_add(other.blobs),
        }
    }

    /// Bytes of the pack without padding at most, with encoded wraps of so many bytes.
    pub fn pack_bytes(&self, wraps: usize) -> usize {
        let listed = [(self.frames, FRAME_BYTES), (self.bases, BASE_BYTES), (self.blobs, BLOB_BYTES)];
        let directory = listed.iter().map(|(count, each)| count.saturating_mul(*each));
        let fixed = [HEADER_BYTES, SIGNATURE_BYTES, DIRECTORY_BYTES, TAG_BYTES, SALT_BYTES, TRAILER_BYTES];
        directory.chain(fixed).fold(self.stored.saturating_add(wraps), usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::Volume;
    use crate::directory::{BlobEntry, Descent};
    use crate::envelope::{RunSecret, Wraps};
    use crate::frame::FrameCodec;
    use crate::header::{Header, Kind};
    use crate::id::{BlobId, BlobKind, DomainId, RepositoryId, WriterId};
    use crate::key::Key;
    use crate::pack::{NewFrame, PackBuilder, padme};
    use ed25519_dalek::SigningKey;

    #[test]
    fn tells_how_many_bytes_a_pack_has_at_most() {
        let signer = SigningKey::from_bytes(&[3; 32]);
        let writer = WriterId::of(&signer.verifying_key().to_bytes());
        let (repository, domain) = (RepositoryId([1; 16]), DomainId([2; 16]));
        let header = Header { kind: Kind::DataPack, repository, domain, writer };
        let secret = RunSecret::new([7; 32]);
        let wrap = secret.wrap_for_domain(domain, &Key::new([8; 32]), &header.scope(), &[9; 32]).unwrap();
        let wraps = Wraps(vec![wrap]);
        let id = |number: u8| BlobId(*blake3::hash(&[number]).as_bytes());
        let blob = |number: u8| BlobEntry { id: id(number), kind: BlobKind::Chunk, length: 1000 };
        let (mut told, mut exact) = (Volume::default(), 0);
        // small packs, where padding is a few bytes
        for count in 1..60u8 {
            let mut builder = PackBuilder::new(header, [4; 32], Key::new([5; 32])).unwrap();
            let mut volume = Volume::default();
            for number in 0..count {
                let (encoded, blobs) = (vec![7; usize::from(number) + 1], [blob(number), blob(number + 60)]);
                let (bases, blobs) = match number % 3 {
                    0 => (vec![id(200), id(201)], &blobs[..1]),
                    _ => (Vec::new(), &blobs[..]),
                };
                volume = volume.and(Volume::frame(encoded.len(), bases.len(), blobs.len()));
                let depth = u8::from(!bases.is_empty());
                let codec = if bases.is_empty() { FrameCodec::Zstd } else { FrameCodec::Delta };
                let descent = Descent { depth, generation: 0 };
                builder.push(NewFrame { codec, encoded: &encoded, blobs, bases, descent }).unwrap();
            }
            let bytes = volume.pack_bytes(wraps.encode().unwrap().len());
            let finished = builder.finish(&Key::new([6; 32]), &wraps, &signer).unwrap();
            let real = finished.bytes.len();
            assert!(real <= padme(bytes), "{count} frames: {real} bytes, {bytes} at most");
            assert!(
                bytes - real.min(bytes) <= 32 * volume.bases + 8 * volume.blobs + 29 * volume.frames,
                "{count} frames"
            );
            exact += usize::from(real == padme(bytes));
            told = told.and(volume);
        }
        assert!(told.bases > 0 && told.blobs > told.frames && exact > 0);
    }
}
