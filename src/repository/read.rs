//! The backward half of the flow: find, fetch, open, decode, verify.

mod frames;
pub(crate) mod lineage;
pub(crate) mod proven;
pub mod ranges;
pub mod reader;
pub mod whole;
