//! Who did what, when, why and with what result: one or two records per run of anything. Health, reports and audits
//! read only these and the heads. Sealed with the domain's book key, signed by the one who ran.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, ensure};
use crate::facts::Facts;
use crate::header::Kind;
use crate::id::{ObjectId, RepositoryId, RunId};
use crate::key::Key;
use crate::object::{Author, SignedObject};
use crate::salt::Salt;
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub enum RunOutcome {
    /// It has begun; a second record tells the end.
    #[default]
    Begun,
    /// Ended with nothing left out.
    Done,
    /// Done, but something was left out.
    Partial,
    /// Ended without its result.
    Failed,
    /// Done: it found nothing to store, since the last snapshot is of this state.
    Unchanged,
    /// Not done, since the same ran already.
    Busy,
    /// Not done, since this key or the plan does not allow it; the message says why.
    Skipped,
}

impl RunOutcome {
    /// Each with its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("begun", Self::Begun),
        ("done", Self::Done),
        ("partial", Self::Partial),
        ("failed", Self::Failed),
        ("unchanged", Self::Unchanged),
        ("busy", Self::Busy),
        ("skipped", Self::Skipped),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Ties the records of one run together.
    pub run: RunId,
    /// What was run: `snapshot`, `restore`, `check`, `prune`, ...
    pub operation: String,
    /// Source that it concerned, empty if none.
    pub source: String,
    /// Start, nanoseconds since 1970.
    pub started: i64,
    /// Nanoseconds from the start to this record.
    pub duration: u64,
    /// How it ended, or that it has only begun.
    pub outcome: RunOutcome,
    /// One line: error or summary.
    pub message: String,
    /// Why, in the user's words.
    pub reason: String,
    /// Host and user, as `user@host`.
    pub actor: String,
    /// Named figures; the unit is the last word of the name.
    pub figures: Vec<(String, u64)>,
    /// What else there is to tell that is bookkeeping and no content.
    pub facts: Facts,
    /// The snapshot that it made, or that it was about.
    pub snapshot: Option<ObjectId>,
    /// Heads of this writer that it saw, and what it committed.
    pub heads: Vec<ObjectId>,
    /// Packs whose content was verified.
    pub verified: Vec<ObjectId>,
    /// The newest orders that it saw, and those that it gave, so that one that a store hides is missed.
    pub orders: Vec<ObjectId>,
    /// Records that this one follows: the last of the same machine, and of others the newest that it saw, so that one
    /// that a store hides leaves a gap.
    pub after: Vec<ObjectId>,
}

/// What a record ends with unless all of it is empty: orders, facts, snapshot, the records before it.
type Tail = (Vec<ObjectId>, Facts, Option<ObjectId>, Vec<ObjectId>);

impl Encode for Record {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        let Self { run, operation, source, started, duration, outcome, message, reason, actor, .. } = self;
        (run, operation, source, started, duration, outcome).encode(encoder)?;
        (message, reason, actor, &self.figures, &self.heads, &self.verified).encode(encoder)?;
        let tail: Tail = (self.orders.clone(), self.facts.clone(), self.snapshot, self.after.clone());
        codec::encode_tail(&tail, encoder)
    }
}

impl<C> Decode<C> for Record {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (run, operation, source, started, duration, outcome) = Decode::decode(decoder)?;
        let (message, reason, actor, figures, heads, verified) = Decode::decode(decoder)?;
        let (orders, facts, snapshot, after): Tail = codec::decode_tail(decoder)?;
        #[rustfmt::skip]
        let record = Self {
            run, operation, source, started, duration, outcome, message, reason, actor, figures, facts, snapshot, heads,
            verified, orders, after,
        };
        Ok(record)
    }
}

impl Stored for Record {
    const WHAT: &'static str = "a journal record";
    type Codec = Limited<{ 32 << 20 }>;

    fn validate(&self) -> Result<()> {
        ensure(!self.operation.is_empty(), Error::Invalid("a journal record has no operation"))?;
        self.facts.validate()
    }
}

impl Record {
    /// Seals and signs a record.
    pub fn seal(&self, author: &Author<'_>, salt: impl Into<Salt>) -> Result<Vec<u8>> {
        author.seal(Kind::Journal, salt.into(), &[codec::encode(self)?])
    }

    /// Takes a record apart; the signature must then be verified with the key of the writer in its header.
    pub fn parse(bytes: &[u8], repository: RepositoryId) -> Result<SignedObject<'_>> {
        SignedObject::parse(bytes, Kind::Journal, Some(repository))
    }

    /// Opens a verified record.
    pub fn open(object: &SignedObject<'_>, book: &Key) -> Result<Self> {
        codec::decode(&object.open(book, 0, &[], "a journal record")?)
    }
}
