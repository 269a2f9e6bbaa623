//! The owner's word on snapshots, keys and objects, signed. `Revoke` and `Require` lie in clear, the others are sealed
//! with the book key of the one domain that they concern. Numbers only grow: the highest wins, a tie keeps the snapshot.

use crate::codec::{self, Limited, Stored};
use crate::error::{Error, Result, rule};
use crate::header::{Header, Kind};
use crate::id::{DomainId, ObjectId, RepositoryId, WriterId};
use crate::key::Key;
use crate::object::{Author, SignedObject};
use crate::salt::Salt;
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// What is ordered.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Action {
    /// The snapshots may be removed by prune.
    Forget(Vec<ObjectId>),
    /// The snapshots are wanted again.
    Undelete(Vec<ObjectId>),
    /// Tags change.
    Tag {
        /// Snapshots whose tags change.
        snapshots: Vec<ObjectId>,
        /// Tags to add.
        add: Vec<String>,
        /// Tags to remove.
        remove: Vec<String>,
    },
    /// The snapshots are live whatever else is ordered.
    Hold(Vec<ObjectId>),
    /// Ends a hold.
    Release(Vec<ObjectId>),
    /// The snapshots expire at a time, nanoseconds since 1970; `None` = never.
    Expire(Vec<ObjectId>, Option<i64>),
    /// A writer's key counts only for the objects listed.
    Revoke {
        /// Whose key.
        writer: WriterId,
        /// Snapshots and index objects of it that are still accepted.
        accepted: Vec<ObjectId>,
    },
    /// Programs must know these features from now on.
    Require(u64),
    /// The objects are valid but unreadable, and to be passed over.
    Quarantine(Vec<ObjectId>),
    /// Snapshots, by the ids under which they were first taken, that no copy is to bring back.
    Decline(Vec<ObjectId>),
    /// When the store received snapshots, nanoseconds since 1970, whatever it says after a move.
    Arrived(Vec<(ObjectId, i64)>),
    /// A domain is called so, though no key here bears the label.
    Call {
        /// The domain that gets the label.
        domain: DomainId,
        /// In the owner's words.
        label: String,
    },
}

impl Action {
    fn is_clear(&self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Require(_))
    }
}

/// One order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// 1 + the highest number seen.
    pub number: u64,
    /// When it was given, nanoseconds since 1970, by the clock of the one who gave it.
    pub time: i64,
    /// What is ordered.
    pub action: Action,
    /// The orders before it: those of the highest number seen. So each order shows whether those before it are all there.
    pub after: Vec<ObjectId>,
}

impl Encode for Order {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        (self.number, self.time, &self.action).encode(encoder)?;
        codec::encode_tail(&self.after, encoder)
    }
}

impl<C> Decode<C> for Order {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> std::result::Result<Self, DecodeError> {
        let (number, time, action) = Decode::decode(decoder)?;
        let after = codec::decode_tail(decoder)?;
        Ok(Self { number, time, action, after })
    }
}

impl Stored for Order {
    const WHAT: &'static str = "an order";
    type Codec = Limited<{ 16 << 20 }>;

    fn validate(&self) -> Result<()> {
        if self.number == 0 { Err(Error::Invalid("an order has the number 0")) } else { Ok(()) }
    }
}

impl Order {
    /// Seals and signs an order that concerns the author's domain. An order in clear concerns all domains: it names none,
    /// and nothing is sealed under the book key.
    pub fn seal(&self, author: &Author<'_>, salt: impl Into<Salt>) -> Result<Vec<u8>> {
        let (encoded, salt) = (codec::encode(self)?, salt.into());
        if !self.action.is_clear() {
            return author.seal(Kind::Order, salt, &[encoded]);
        }
        let header = Header::without_domain(Kind::Order, author.repository, author.signer);
        SignedObject::assemble(&header, &salt.over(author.book, &[&encoded]), &[encoded], author.signer)
    }

    /// Takes an order apart and verifies the owner's signature.
    pub fn parse<'a>(bytes: &'a [u8], repository: RepositoryId, owner: &[u8; 32]) -> Result<SignedObject<'a>> {
        let object = SignedObject::parse(bytes, Kind::Order, Some(repository))?;
        object.verify(owner)?;
        Ok(object)
    }

    /// Opens a verified order. `book` = the key of the domain in its header, `None` if the holder has none.
    pub fn open(object: &SignedObject<'_>, book: Option<&Key>) -> Result<Self> {
        let clear = object.header.domain == DomainId::default();
        let order: Self = if clear {
            codec::decode(object.section(0))?
        } else {
            codec::decode(&object.open(book.ok_or(Error::NoAccess)?, 0, &[], "an order")?)?
        };
        rule(order.action.is_clear() == clear, "an order lies in clear that should be sealed, or the reverse")?;
        Ok(order)
    }
}
