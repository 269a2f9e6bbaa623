//! What can be wrong with stored bytes. Every decoder and opener of this crate returns these and nothing else;
//! the repository adds which object it was. Absence, refusal by the store and so on are not known here.

/// Why bytes could not be turned into a value, or a value into bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the value does.
    #[error("{0} is truncated")]
    Truncated(&'static str),
    /// Bytes are left over after the value.
    #[error("{0} has bytes after its end")]
    Trailing(&'static str),
    /// The first bytes are not vault's.
    #[error("not a vault object")]
    BadMagic,
    /// A format version that this program does not know.
    #[error("format version {0} is newer than this program; update vault")]
    UnsupportedVersion(u8),
    /// A cipher suite that this program does not know.
    #[error("cipher suite {0} is unknown to this program; update vault")]
    UnsupportedSuite(u8),
    /// An epoch other than 0.
    #[error("key epoch {0} is unknown to this program; update vault")]
    UnsupportedEpoch(u32),
    /// A required feature that this program does not know.
    #[error("the repository requires feature {0:#x}; update vault")]
    UnsupportedFeature(u64),
    /// The object belongs to another repository.
    #[error("the object belongs to another repository")]
    WrongRepository,
    /// The object is of another kind than its place says.
    #[error("the object is of another kind")]
    WrongKind,
    /// The object is of another domain or writer than expected.
    #[error("the object is of another domain or writer")]
    WrongOrigin,
    /// A seal does not open: other key, or changed bytes.
    #[error("{0} does not open: damaged, or sealed with another key")]
    Unauthentic(&'static str),
    /// A signature is not by the expected key over these bytes.
    #[error("the signature of {0} is not valid")]
    BadSignature(&'static str),
    /// The key commitment does not match: wrong password or damaged slot.
    #[error("wrong password or damaged key slot")]
    WrongPassword,
    /// A length, count or parameter is outside of its limits.
    #[error("{0} is outside of its limits")]
    Limit(&'static str),
    /// A value breaks a rule of the format.
    #[error("{0}")]
    Invalid(&'static str),
    /// Decompressed bytes do not match the promised length, or the compressor failed.
    #[error("a compressed frame does not decode")]
    BadFrame,
    /// The plaintext does not hash to the blob id.
    #[error("the content does not match its blob id")]
    WrongBlob,
    /// No wrap of the run secret can be opened with this key.
    #[error("this key may not read the content")]
    NoAccess,
}

/// The result of every fallible function here.
pub type Result<T> = std::result::Result<T, Error>;

/// Fails unless something holds.
pub(crate) fn ensure(holds: bool, error: Error) -> Result<()> {
    if holds { Ok(()) } else { Err(error) }
}

/// Fails if a rule of the format is broken, in the words that say so.
pub(crate) fn rule(holds: bool, broken: &'static str) -> Result<()> {
    ensure(holds, Error::Invalid(broken))
}

/// Fails unless a length, count or parameter of something lies within its limits.
pub(crate) fn within(holds: bool, what: &'static str) -> Result<()> {
    ensure(holds, Error::Limit(what))
}

impl Error {
    /// True if the bytes are sound, and just not by whom they should be: junk that somebody put there.
    pub fn is_strange(&self) -> bool {
        matches!(self, Self::WrongRepository | Self::WrongOrigin | Self::BadSignature(_))
    }
}
