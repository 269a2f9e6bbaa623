//! Bytes of a vault repository, both directions.
#![forbid(unsafe_code)]
pub mod codec;
pub mod error;
pub mod id;
pub mod list;
pub mod tree;
pub use error::{Error, Result};
