//! The commit point. The head is bookkeeping and opens with the domain's book key: a writer knows its parent and its
//! health. The body is content and opens only with the run secret: paths, host, tags, description. One signature covers
//! both, so no head can be put on another body.

use crate::codec::{self, Limited, Stored};
use crate::envelope::{RunSecret, Wraps};
use crate::error::{Result, rule};
use crate::facts::Facts;
use crate::header::{Header, Kind};
use crate::id::{ObjectId, OriginMark, RepositoryId, RunId, SetId, WriterId};
use crate::key::Key;
use crate::object::{Author, SignedObject};
use crate::salt::Salt;
use crate::section::SectionSeal;
use crate::tree::{Metadata, Time, TreeRoot};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// Longest source name in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;
/// Longest kind in bytes.
pub const KIND_BYTES_MAX: usize = 32;

/// Figures of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Statistics {
    /// Regular files in the snapshot.
    pub files: u64,
    /// Directories in the snapshot.
    pub directories: u64,
    /// Nodes of other kinds: links, pipes, devices.
    pub others: u64,
    /// Content bytes, holes included.
    pub bytes: u64,
    /// Files taken over from the parent without reading.
    pub unchanged_files: u64,
    /// Blobs that the repository did not have.
    pub added_blobs: u64,
    /// Plaintext bytes of new blobs.
    pub added_bytes: u64,
    /// Stored bytes of new packs.
    pub stored_bytes: u64,
    /// Entries that could not be read.
    pub errors: u64,
    /// Nanoseconds from start to commit.
    pub duration: u64,
}

/// The bookkeeping part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Name of the source.
    pub source: String,
    /// What kind of source it is, like `postgres`: how to restore it; empty if it was taken by hand.
    pub kind: String,
    /// Ties snapshots together that one run took one after the other; they are of no common moment.
    pub set: Option<SetId>,
    /// Claimed time, nanoseconds since 1970.
    pub time: i64,
    /// The run that made it.
    pub run: RunId,
    /// Page at the root of the tree.
    pub root: TreeRoot,
    /// The snapshot whose tree was compared with, if any.
    pub parent: Option<ObjectId>,
    /// Heads and last journal record of this writer that it saw.
    pub seen: Vec<ObjectId>,
    /// What the run met and stored.
    pub statistics: Statistics,
    /// Chunk profile; 0 = several.
    pub profile: u8,
    /// When it may be forgotten without a policy, nanoseconds since 1970.
    pub expires: Option<i64>,
    /// The snapshot that this one is a copy of, if any.
    pub original: Option<ObjectId>,
    /// What was read, as a mark that tells only whether two snapshots of a domain read the same; see [`Body::place`].
    pub place: OriginMark,
    /// The host, as such a mark.
    pub host: OriginMark,
    /// All but the tree that a restore goes by, as such a mark; see [`Body::terms`].
    pub terms: OriginMark,
    /// The snapshot, by its first id, of which repair has saved here what was left; counts only if the owner says it.
    pub left_of: Option<ObjectId>,
    /// How many runs have built on one another up to this one: whose turn it is to be read again though it seems
    /// unchanged follows from that.
    pub turn: u64,
    /// Who took it first, if this is a copy; counts only if the owner says it.
    pub taken_by: Option<WriterId>,
    /// The newest orders that its run saw, so that one that a store hides is missed.
    pub orders: Vec<ObjectId>,
}

/// The content part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// Metadata of the root directory itself; `None` for streams and single files.
    pub root: Option<Metadata>,
    /// Absolute path of the folder that is the root of the snapshot; empty for streams.
    pub base: Vec<u8>,
    /// Absolute paths that were read, as bytes: the base itself, or entries at any depth below it.
    pub paths: Vec<Vec<u8>>,
    /// Name of the host on which it was taken.
    pub host: String,
    /// Name of the user who took it.
    pub user: String,
    /// Tags, ascending.
    pub tags: Vec<String>,
    /// In the user's words.
    pub description: String,
    /// The command whose output it is.
    pub command: Vec<Vec<u8>>,
    /// What was left out on purpose.
    pub left_out: LeftOut,
    /// What is not in the snapshot, or not whole, against the user's wish.
    pub gaps: Gaps,
    /// The last that the command said on its standard error, as bytes.
    pub messages: Vec<u8>,
    /// What was known of it when it was taken: versions, rows of tables.
    pub facts: Facts,
    /// Program and version.
    pub program: String,
}

/// Rules by which a walk left entries out. A restore that deletes goes by them too: what they cover was never a part of
/// the snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeftOut {
    /// Patterns as in `.gitignore` that tell upper from lower case, relative to the base.
    pub patterns: Vec<Vec<u8>>,
    /// Patterns that count in upper and lower case alike, relative to the base.
    pub any_case: Vec<Vec<u8>>,
    /// A folder that holds an entry of such a name was left out.
    pub markers: Vec<Vec<u8>>,
    /// Larger files were left out, in bytes.
    pub larger_than: Option<u64>,
    /// Folders with a valid `CACHEDIR.TAG` were left out.
    pub caches: bool,
    /// Entries with the attribute `nodump` were left out.
    pub nodump: bool,
    /// File systems on which no named path lies were not entered.
    pub other_file_systems: bool,
}

/// What is missing, as paths relative to the base.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Gaps {
    /// Entries that could not be read, or not whole.
    pub unread: Vec<Vec<u8>>,
    /// Passed over: folders that are there and empty, since another file system or the repository itself lies there; and,
    /// not there, sockets and what was left out for what it was then: its marker, its size, its attribute `nodump`.
    pub not_entered: Vec<Vec<u8>>,
    /// True if there are more than these.
    pub more: bool,
}

/// What a head ends with unless all of it is empty: three marks, what it is left of, turn, who took it, orders, kind, set.
type HeadTail = ([OriginMark; 3], Option<ObjectId>, u64, Option<WriterId>, Vec<ObjectId>, String, Option<SetId>);

/// What a body ends with unless all of it is empty: base, rules but patterns, gaps, messages, facts.
type BodyTail = (Vec<u8>, (Vec<Vec<u8>>, Vec<Vec<u8>>, Option<u64>, [bool; 3]), Gaps, Vec<u8>, Facts);

impl Encode for Head {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        let Self { source, time, run, root, parent, seen, statistics, profile, expires, original, .. } = self;
        (source, time, run, root).encode(encoder)?;
        (parent, seen, statistics, profile, expires, original).encode(encoder)?;
        let marks = [self.place, self.host, self.terms];
        let (orders, kind) = (self.orders.clone(), self.kind.clone());
        let tail: HeadTail = (marks, self.left_of, self.turn, self.taken_by, orders, kind, self.set);
        codec::encode_tail(&tail, encoder)
    }
}

impl<C> Decode<C> for Head {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (source, time, run, root) = Decode::decode(decoder)?;
        let (parent, seen, statistics, profile, expires, original) = Decode::decode(decoder)?;
        let tail: HeadTail = codec::decode_tail(decoder)?;
        let ([place, host, terms], left_of, turn, taken_by, orders, kind, set) = tail;
        #[rustfmt::skip]
        let head = Self {
            source, kind, set, time, run, root, parent, seen, statistics, profile, expires, original,
            place, host, terms, left_of, turn, taken_by, orders,
        };
        Ok(head)
    }
}

impl Encode for Body {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        let LeftOut { patterns, any_case, markers, larger_than, caches, nodump, other_file_systems } = &self.left_out;
        (&self.root, &self.paths, &self.host, &self.user, &self.tags).encode(encoder)?;
        (&self.description, &self.command, patterns, &self.program).encode(encoder)?;
        let rules = (any_case.clone(), markers.clone(), *larger_than, [*caches, *nodump, *other_file_systems]);
        let (base, gaps, messages) = (self.base.clone(), self.gaps.clone(), self.messages.clone());
        let tail: BodyTail = (base, rules, gaps, messages, self.facts.clone());
        codec::encode_tail(&tail, encoder)
    }
}

impl<C> Decode<C> for Body {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (root, paths, host, user, tags) = Decode::decode(decoder)?;
        let (description, command, patterns, program) = Decode::decode(decoder)?;
        let (base, rules, gaps, messages, facts): BodyTail = codec::decode_tail(decoder)?;
        let (any_case, markers, larger_than, [caches, nodump, other_file_systems]) = rules;
        let left_out = LeftOut { patterns, any_case, markers, larger_than, caches, nodump, other_file_systems };
        #[rustfmt::skip]
        let body = Self {
            root, base, paths, host, user, tags, description, command, left_out, gaps, messages, facts, program,
        };
        Ok(body)
    }
}

/// True for a source name: letters, digits and `._-`, not `latest`, at most 128 bytes.
pub fn is_source_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= SOURCE_BYTES_MAX
        && name != "latest"
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// True for the kind of a source: lower-case letters, digits and `-`, at most 32 bytes; empty for none.
pub fn is_source_kind(kind: &str) -> bool {
    kind.len() <= KIND_BYTES_MAX
        && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Stored for Head {
    const WHAT: &'static str = "the head of a snapshot";
    type Codec = Limited<{ 1 << 20 }>;

    fn validate(&self) -> Result<()> {
        rule(is_source_name(&self.source), "a snapshot has no proper source name")?;
        rule(is_source_kind(&self.kind), "a snapshot is of no proper kind")
    }
}

impl Stored for Body {
    const WHAT: &'static str = "the body of a snapshot";
    type Codec = Limited<{ 64 << 20 }>;

    fn validate(&self) -> Result<()> {
        rule(self.tags.is_sorted_by(|left, right| left < right), "the tags of a snapshot are not in strict order")?;
        self.facts.validate()?;
        self.root.as_ref().map_or(Ok(()), Metadata::validate)
    }
}

impl Body {
    /// The mark of what was read: the set of paths; streams and commands have none and are all alike.
    pub fn place(&self, book: &Key) -> OriginMark {
        let mut paths: Vec<&[u8]> = self.paths.iter().map(Vec::as_slice).collect();
        paths.sort_unstable();
        paths.dedup();
        book.origin_mark("place", paths)
    }

    /// The mark of the host.
    pub fn host_mark(&self, book: &Key) -> OriginMark {
        book.origin_mark("host", [self.host.as_bytes()])
    }

    /// The mark of what makes a snapshot another one though its tree is the same: metadata of the root, paths, rules,
    /// gaps, tags, description, command. What no restore brings back, who took it, with what, and facts are no part; nor is the
    /// mtime of a root that was not read for itself, since its other entries change it.
    pub fn terms(&self, book: &Key) -> OriginMark {
        let is_named = self.paths.contains(&self.base);
        let root = self.root.clone().map(|root| Metadata {
            mtime: if is_named { root.mtime } else { Time::default() },
            ctime: Time::default(),
            inode: 0,
            link_group: 0,
            ..root
        });
        let mut paths = self.paths.clone();
        paths.sort_unstable();
        let (host, user, program, messages, facts) = Default::default();
        let bare = Self { root, paths, host, user, program, messages, facts, ..self.clone() };
        // what no snapshot can hold has no mark
        codec::encode(&bare)
            .map_or_else(|_| OriginMark::default(), |bytes| book.origin_mark("terms", [bytes.as_slice()]))
    }
}

/// A snapshot taken apart, its signature not yet checked.
#[derive(Debug)]
pub struct Snapshot<'a> {
    object: SignedObject<'a>,
    /// Wraps of the run secret.
    pub wraps: Wraps,
}

/// What a new snapshot is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewSnapshot<'a> {
    /// Secret of the run.
    pub secret: &'a RunSecret,
    /// Wraps of the secret.
    pub wraps: &'a Wraps,
    /// The bookkeeping part.
    pub head: &'a Head,
    /// The content part.
    pub body: &'a Body,
}

/// Seals and signs a snapshot.
pub fn seal(author: &Author<'_>, salt: impl Into<Salt>, new: &NewSnapshot<'_>) -> Result<Vec<u8>> {
    let header = author.header(Kind::Snapshot);
    let (wraps, head, body) = (new.wraps.encode()?, codec::encode(new.head)?, codec::encode(new.body)?);
    let salt = &salt.into().over(author.book, &[&wraps, &head, &body]);
    let section = |number| SectionSeal { header: &header, salt, number, bound: &[] };
    let (head, body) = (section(1).seal(author.book, &head)?, section(2).seal(&new.secret.body_key(), &body)?);
    let sections = [wraps, head, body];
    SignedObject::assemble(&header, salt, &sections, author.signer)
}

impl<'a> Snapshot<'a> {
    /// Takes a stored snapshot apart.
    pub fn parse(bytes: &'a [u8], repository: RepositoryId) -> Result<Self> {
        let object = SignedObject::parse(bytes, Kind::Snapshot, Some(repository))?;
        let wraps = Wraps::decode(object.section(0))?;
        Ok(Self { object, wraps })
    }

    /// The clear header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Checks the signature.
    pub fn verify(&self, verifying: &[u8; 32]) -> Result<()> {
        self.object.verify(verifying)
    }

    /// Opens the bookkeeping.
    pub fn head(&self, book: &Key) -> Result<Head> {
        codec::decode(&self.object.open(book, 1, &[], "the head of a snapshot")?)
    }

    /// Opens the content part.
    pub fn body(&self, secret: &RunSecret) -> Result<Body> {
        codec::decode(&self.object.open(&secret.body_key(), 2, &[], "the body of a snapshot")?)
    }
}
