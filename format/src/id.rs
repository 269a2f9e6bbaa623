//! Identities: of blobs (keyed hash of plaintext), of objects (hash of stored bytes), of repositories, domains,
//! writers and runs. All are fixed-size byte strings, printed in lower-case hex, and never mixed up by type.

use crate::error::{Error, Result, rule};
use bincode::{Decode, Encode};
use std::fmt;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The first eight hex digits, for people.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }

            /// Parses the full lower-case hex form.
            pub fn parse(text: &str) -> Result<Self> {
                let mut out = [0u8; $len];
                decode_hex(text, &mut out)?;
                Ok(Self(out))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

identity!(
    /// Keyed BLAKE3-256 over kind and plaintext of a blob.
    BlobId, 32
);
identity!(
    /// BLAKE3-256 of an object's stored bytes: its name in the store.
    ObjectId, 32
);
identity!(
    /// Random identity of a repository.
    RepositoryId, 16
);
identity!(
    /// Identity of a domain: the writers that dedup against each other.
    DomainId, 16
);
identity!(
    /// First 16 bytes of the BLAKE3 hash of a writer's verifying key.
    WriterId, 16
);
identity!(
    /// Keyed hash of a source name: the folder of its index and snapshots.
    SourceLabel, 8
);
identity!(
    /// Keyed hash of where a snapshot comes from, its paths or its host: tells only whether two are the same.
    OriginMark, 16
);
identity!(
    /// Random identity of one run.
    RunId, 16
);
identity!(
    /// Random identity of snapshots that were taken one after the other as one set.
    SetId, 16
);

impl ObjectId {
    /// The name of an object: the hash of its stored bytes.
    pub fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }
}

impl OriginMark {
    /// False for the mark of a snapshot that tells of no origin.
    pub fn is_told(&self) -> bool {
        *self != Self::default()
    }
}

impl WriterId {
    /// The identity that goes with an Ed25519 verifying key.
    pub fn of(verifying_key: &[u8; 32]) -> Self {
        Self(first(&blake3::derive_key("vault v1 writer id", verifying_key)))
    }
}

/// The first bytes of a hash, as many as an identity takes.
pub(crate) fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    out
}

/// What a blob is: part of its identity, and which packs it lies in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[repr(u8)]
pub enum BlobKind {
    /// A piece of file content: `packs/d`.
    Chunk = 0,
    /// A page of a directory: `packs/m`.
    Tree = 1,
    /// A page of a content list: `packs/m`.
    List = 2,
}

impl BlobKind {
    /// The class of pack that holds this kind.
    pub fn class(self) -> Class {
        match self {
            Self::Chunk => Class::Data,
            Self::Tree | Self::List => Class::Metadata,
        }
    }
}

/// Secrecy and placement class of packs: data, or trees and lists. Never mixed in one pack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub enum Class {
    /// Chunks of file content.
    Data,
    /// Pages of trees and lists.
    Metadata,
}

impl Class {
    /// The stored byte of this class, also its letter in object names.
    pub fn byte(self) -> u8 {
        match self {
            Self::Data => b'd',
            Self::Metadata => b'm',
        }
    }
}

fn decode_hex(text: &str, out: &mut [u8]) -> Result<()> {
    let digits = text.as_bytes();
    rule(digits.len() == out.len().saturating_mul(2), "an id has the wrong length")?;
    for (pair, byte) in digits.chunks_exact(2).zip(out.iter_mut()) {
        let value = pair.iter().try_fold(0u8, |value, digit| {
            let nibble = match digit {
                b'0'..=b'9' => digit.wrapping_sub(b'0'),
                b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
                _ => return Err(Error::Invalid("an id is not lower-case hex")),
            };
            Ok(value.wrapping_shl(4) | nibble)
        })?;
        *byte = value;
    }
    Ok(())
}
