//! Directories of many packs in one object, so that a run starts without touching packs. An index is signed by its
//! writer, and names objects that it replaces: that counts only from the same writer or the owner. Sketches of chunks
//! are a section of their own.

use crate::codec::{self, Limited, Stored};
use crate::directory::{Directory, PACK_BYTES_MAX};
use crate::envelope::Wraps;
use crate::error::{Result, rule, within};
use crate::header::Kind;
use crate::id::{BlobId, Class, ObjectId, RepositoryId, WriterId};
use crate::key::Key;
use crate::object::{Author, SignedObject};
use crate::salt::Salt;
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// Most blobs of one index object.
pub const INDEX_BLOBS_MAX: usize = 65536;
/// Most features of one sketch.
pub const SKETCH_FEATURES_MAX: usize = 8;

/// One pack of an index.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PackEntry {
    /// Name of the pack.
    pub id: ObjectId,
    /// What the pack holds, by its place in the store.
    pub class: Class,
    /// Stored size in bytes; a pack of another size is absent.
    pub size: u64,
    /// Writer in the pack's header; the owner repacks for others.
    pub writer: WriterId,
    /// Salt of the pack key.
    pub salt: [u8; 32],
    /// Position in the list of wraps.
    pub wraps: u16,
    /// What it holds.
    pub directory: Directory,
}

/// First section of an index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    /// Packs; each at most once.
    pub packs: Vec<PackEntry>,
    /// Wraps, each once.
    pub wraps: Vec<Wraps>,
    /// Index objects that this one replaces.
    pub supersedes: Vec<ObjectId>,
    /// Those of the packs that who signs this has opened whole, and found all blobs in them that they are said to hold,
    /// ascending. Others rely on what the owner vouches for so.
    pub opened: Vec<ObjectId>,
}

impl Encode for Index {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        (&self.packs, &self.wraps, &self.supersedes).encode(encoder)?;
        codec::encode_tail(&self.opened, encoder)
    }
}

impl<C> Decode<C> for Index {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (packs, wraps, supersedes) = Decode::decode(decoder)?;
        Ok(Self { packs, wraps, supersedes, opened: codec::decode_tail(decoder)? })
    }
}

/// Stored bytes that an index has at least for each blob, a quarter of those of an id.
const STORED_BYTES_PER_BLOB: usize = 8;
/// Blobs that any index may hold.
const BLOBS_FREE: usize = 256;

/// Features of one chunk, for finding similar ones.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Sketch {
    /// The chunk that it describes.
    pub blob: BlobId,
    /// At most eight, ascending; chunks that share some are alike.
    pub features: Vec<u32>,
}

/// Second section of an index.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Sketches(pub Vec<Sketch>);

impl Stored for Index {
    const WHAT: &'static str = "an index";
    type Codec = Limited<{ 128 << 20 }>;

    fn validate(&self) -> Result<()> {
        let mut blobs = 0usize;
        for pack in &self.packs {
            pack.directory.validate()?;
            blobs = blobs.saturating_add(pack.directory.blobs.len());
            rule(usize::from(pack.wraps) < self.wraps.len(), "a pack of an index has no wraps")?;
            within(usize::try_from(pack.size).is_ok_and(|size| size <= PACK_BYTES_MAX), "the size of a pack")?;
            let is_pure = pack.directory.blobs.iter().all(|blob| blob.kind.class() == pack.class);
            rule(is_pure, "a pack of an index mixes classes")?;
        }
        within(blobs <= INDEX_BLOBS_MAX, "the blobs of an index")?;
        let mut ids: Vec<ObjectId> = self.packs.iter().map(|pack| pack.id).collect();
        ids.sort_unstable();
        rule(ids.is_sorted_by(|left, right| left < right), "an index names a pack twice")?;
        let is_opened_pack = |id: &ObjectId| ids.binary_search(id).is_ok();
        let are_told = self.opened.is_sorted_by(|left, right| left < right) && self.opened.iter().all(is_opened_pack);
        rule(are_told, "an index vouches for a pack that it does not tell of")?;
        self.wraps.iter().try_for_each(Stored::validate)
    }
}

impl Stored for Sketches {
    const WHAT: &'static str = "the sketches of an index";
    type Codec = Limited<{ 32 << 20 }>;

    fn validate(&self) -> Result<()> {
        let proper = |sketch: &Sketch| {
            sketch.features.len() <= SKETCH_FEATURES_MAX && sketch.features.is_sorted_by(|left, right| left < right)
        };
        within(self.0.len() <= INDEX_BLOBS_MAX && self.0.iter().all(proper), "a sketch")
    }
}

/// Seals and signs an index.
pub fn seal(author: &Author<'_>, salt: impl Into<Salt>, index: &Index, sketches: &Sketches) -> Result<Vec<u8>> {
    author.seal(Kind::Index, salt.into(), &[codec::encode(index)?, codec::encode(sketches)?])
}

/// Takes an index apart; the signature must then be verified with the key of the writer in its header.
pub fn parse(bytes: &[u8], repository: RepositoryId) -> Result<SignedObject<'_>> {
    SignedObject::parse(bytes, Kind::Index, Some(repository))
}

/// Opens the directories of a verified index. Ids do not compress: far more blobs than the stored bytes explain are one
/// blob many times over, and thousands of such objects would fill the memory of whoever reads them.
pub fn open(object: &SignedObject<'_>, book: &Key) -> Result<Index> {
    let index: Index = codec::decode(&object.open(book, 0, &[], "an index")?)?;
    let explained = BLOBS_FREE.saturating_add(object.section(0).len() / STORED_BYTES_PER_BLOB);
    let blobs = index.packs.iter().map(|pack| pack.directory.blobs.len()).fold(0usize, usize::saturating_add);
    within(blobs <= explained, "the blobs of an index")?;
    Ok(index)
}

/// Opens the sketches of a verified index.
pub fn open_sketches(object: &SignedObject<'_>, book: &Key) -> Result<Sketches> {
    codec::decode(&object.open(book, 1, &[], "the sketches of an index")?)
}
